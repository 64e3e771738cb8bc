//! The first half of a batch: which rows are read, and the small [`State`] that is made of them.
//!
//! Deciding is not done here or in SQL: the state of these rows answers as the memory store would (see `batch`). Rows of
//! other transactions appear in it only where they hold a lock that somebody asks for.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::connection::Rows;
use super::dialect::Dialect;
use crate::proto::Text;
use crate::proto::status::{BranchStatus, BranchType, GlobalStatus};
use crate::tc::lock::{self, Holder};
use crate::tc::store::state::{KeptBranch, State};
use crate::tc::store::{Branch, End, Global, Operation, Tombstone};
use crate::xid::{BranchId, Xid};

/// What has to be read for some operations.
#[derive(Debug, Default)]
pub(super) struct Questions {
    pub(super) xids: BTreeSet<Xid>,
    /// Asked rows by their key: table and primary key.
    rows: BTreeMap<String, (String, String)>,
    /// Transactions a branch of which ends.
    ending: BTreeSet<Xid>,
    /// Transactions of which it matters who decided, and when.
    decided: BTreeSet<Xid>,
    /// Nothing is written whatever comes of it.
    pub(super) read_only: bool,
}

/// What one statement of the reading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Begin,
    Mark,
    Globals,
    Branches,
    Decisions,
    Ended,
    Locks,
    Shares,
}

/// The statements, and what each of them is.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) sql: String,
    parts: Vec<Part>,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) state: State,
    /// Who drives, by xid: None is nobody, no entry is no decision of ours.
    pub(super) drivers: HashMap<Xid, Option<i64>>,
    /// Asked rows that are held: by whom, for which branch.
    pub(super) held: HashMap<String, (Text, i64)>,
    pub(super) shares: Vec<Share>,
}

/// A row that several branches of one transaction listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) row_key: String,
    /// The branch in whose name it is locked.
    pub(super) owner: i64,
    /// A branch that listed it as well.
    pub(super) lister: i64,
}

#[derive(Debug)]
struct LockRow {
    row_key: String,
    xid: Text,
    branch_id: i64,
    rolling_back: bool,
    since_ms: i64,
}

impl Questions {
    pub(super) fn of<'a>(operations: impl Iterator<Item = &'a Operation>) -> Self {
        let mut questions = Self {
            read_only: true,
            ..Self::default()
        };
        for operation in operations {
            questions.add(operation);
        }
        questions
    }

    fn add(&mut self, operation: &Operation) {
        match operation {
            Operation::LookUp { xid, .. } => {
                self.xids.insert(xid.clone());
            }
            Operation::Fetch { xid, .. } => self.ask_all(xid),
            Operation::QueryLocks {
                xid,
                resource_id,
                lock_key,
                ..
            } => {
                self.xids.extend(Xid::parse(xid));
                self.ask_rows(resource_id, lock_key);
            }
            Operation::Begin(_) | Operation::Forget { .. } => self.read_only = false,
            Operation::Register(new) => {
                self.read_only = false;
                self.xids.insert(new.xid.clone());
                match new.branch_type {
                    BranchType::At => self.ask_rows(&new.resource_id, &new.lock_key),
                    // It may come behind the decision.
                    BranchType::Saga => self.ask_all(&new.xid),
                    _ => {}
                }
            }
            Operation::EndBranch { xid, .. } => {
                self.read_only = false;
                self.ask_all(xid);
                self.ending.insert(xid.clone());
            }
            // What is decided already is only told its status.
            Operation::Decide { xid, .. } => {
                self.read_only = false;
                self.xids.insert(xid.clone());
            }
            Operation::Report { xid, .. }
            | Operation::SetStatus { xid, .. }
            | Operation::Finish { xid, .. }
            | Operation::ReleaseLocks { xid }
            | Operation::Offer { xid, .. }
            | Operation::Adopt { xid } => {
                self.read_only = false;
                self.ask_all(xid);
            }
        }
    }

    fn ask_all(&mut self, xid: &Xid) {
        self.xids.insert(xid.clone());
        self.decided.insert(xid.clone());
    }

    fn ask_rows(&mut self, resource_id: &str, lock_key: &str) {
        // A malformed key is refused when its operation has its turn.
        for row in lock::parse(lock_key).into_iter().flatten() {
            let place = (row.table.to_owned(), row.pk.to_owned());
            self.rows.insert(lock::row_name(resource_id, &row), place);
        }
    }

    /// The statements that answer them. When something may be written a transaction is begun, and marked before anything
    /// else: who asks for the mark waits until it is over.
    pub(super) fn reading(&self, dialect: Dialect, mark: &str) -> Reading {
        let mut reading = Reading::default();
        let lock = match self.read_only {
            true => "",
            false => {
                reading.add(Part::Begin, dialect.begin().to_owned());
                reading.add(Part::Mark, mark.to_owned());
                dialect.for_update()
            }
        };
        let of = |xids: &BTreeSet<Xid>| {
            let texts = xids.iter().map(|xid| xid.as_text().as_str());
            list(dialect, texts)
        };
        if !self.xids.is_empty() {
            let xids = of(&self.xids);
            let modified = dialect.time_ms("gmt_modified");
            // In one order, so that two coordinators do not wait for each other.
            reading.add(
                Part::Globals,
                format!(
                    "SELECT xid, status, application_id, transaction_service_group, transaction_name, timeout, \
                     begin_time, {modified} FROM global_table WHERE xid IN ({xids}) ORDER BY xid{lock}"
                ),
            );
            let created = dialect.time_ms("gmt_create");
            reading.add(
                Part::Branches,
                format!(
                    "SELECT xid, branch_id, resource_id, branch_type, status, client_id, application_data, {created} \
                     FROM branch_table WHERE xid IN ({xids}) ORDER BY gmt_create, branch_id"
                ),
            );
            reading.add(
                Part::Ended,
                format!("SELECT xid, outcome, decided_ms, ended_ms FROM seamio_ended WHERE xid IN ({xids})"),
            );
        }
        if !self.decided.is_empty() {
            let xids = of(&self.decided);
            reading.add(
                Part::Decisions,
                format!("SELECT xid, decided_ms, saga, driver FROM seamio_decision WHERE xid IN ({xids})"),
            );
        }
        if !self.ending.is_empty() {
            let xids = of(&self.ending);
            reading.add(
                Part::Shares,
                format!(
                    "SELECT s.row_key, l.branch_id, s.branch_id FROM seamio_share s JOIN lock_table l \
                     ON l.row_key = s.row_key AND l.xid = s.xid WHERE s.xid IN ({xids}) ORDER BY s.row_key, s.branch_id"
                ),
            );
        }
        let rows: Vec<&String> = self.rows.keys().collect();
        for some in rows.chunks(KEYS_AT_ONCE) {
            let keys = list(dialect, some.iter().map(|key| key.as_str()));
            let created = dialect.time_ms("gmt_create");
            reading.add(
                Part::Locks,
                format!(
                    "SELECT row_key, xid, branch_id, status, {created} FROM lock_table WHERE row_key IN ({keys})"
                ),
            );
        }
        reading
    }

    /// What was read.
    ///
    /// # Errors
    /// A row that cannot be: it names the table and what is wrong.
    pub(super) fn found(&self, reading: &Reading, results: Vec<Rows>) -> Result<Found, String> {
        let mut raw = Raw::default();
        for (part, rows) in reading.parts.iter().zip(results) {
            raw.take(*part, rows.rows)?;
        }
        let mut found = Found {
            shares: std::mem::take(&mut raw.shares),
            ..Found::default()
        };
        for lock in &raw.locks {
            for key in self.meant(&lock.row_key) {
                let holder = (lock.xid.clone(), lock.branch_id);
                found.held.insert(key.clone(), holder);
            }
        }
        for (xid, decision) in &raw.decisions {
            found.drivers.insert(xid.clone(), decision.driver);
        }
        self.fill(&mut found.state, raw)?;
        Ok(found)
    }

    /// The asked rows that a locked row stands for. A column that compares without case or ignores blanks at the end takes
    /// rows for equal that are not: what is locked for the database is locked.
    fn meant<'a>(&'a self, row_key: &str) -> Vec<&'a String> {
        if let Some((key, _)) = self.rows.get_key_value(row_key) {
            return vec![key];
        }
        let fold = |key: &str| key.trim_end().to_lowercase();
        let folded = fold(row_key);
        self.rows.keys().filter(|key| fold(key) == folded).collect()
    }

    fn fill(&self, state: &mut State, raw: Raw) -> Result<(), String> {
        let Raw {
            globals,
            mut branches,
            decisions,
            ended,
            locks,
            ..
        } = raw;
        let gone: HashSet<&Xid> = ended.iter().map(|(xid, _)| xid).collect();
        let mut own: HashMap<(Text, i64), Vec<LockRow>> = HashMap::new();
        for lock in locks {
            own.entry((lock.xid.clone(), lock.branch_id))
                .or_default()
                .push(lock);
        }
        for mut global in globals.into_iter().filter(|g| !gone.contains(&g.xid)) {
            let mine = branches.remove(&global.xid).unwrap_or_default();
            if let Some(first) = mine.first() {
                global.saga = first.branch_type == BranchType::Saga;
            }
            if let Some(decision) = decisions.get(&global.xid) {
                global.decided_ms = decision.decided_ms;
                global.saga |= decision.saga;
            }
            let settled = !mine.is_empty();
            let kept = mine
                .into_iter()
                .map(|mut branch| {
                    let rows = own.remove(&(global.xid.as_text().clone(), branch.branch_id.0));
                    let locked = rows.is_some();
                    if let Some(rows) = rows {
                        branch.lock_key = self.key_of(&branch.resource_id, &rows);
                    }
                    KeptBranch { branch, locked }
                })
                .collect();
            let xid = global.xid.clone();
            state
                .restore(global, kept, settled)
                .map_err(|misfit| format!("{xid}: {}", misfit.0))?;
        }
        for (xid, tombstone) in &ended {
            state
                .restore_tombstone(xid, *tombstone)
                .map_err(|misfit| format!("{xid}: {}", misfit.0))?;
        }
        self.fill_others(state, own)
    }

    /// Locks of transactions that the batch is not about, or of branches that are not there.
    fn fill_others(
        &self,
        state: &mut State,
        own: HashMap<(Text, i64), Vec<LockRow>>,
    ) -> Result<(), String> {
        for ((text, branch_id), rows) in own {
            let known = Xid::parse(&text);
            let live = known.as_ref().filter(|xid| state.live(xid).is_some());
            // A lock without its transaction must not bring it back to life.
            let orphan = known.as_ref().is_none_or(|xid| self.xids.contains(xid));
            let id = match (live, &known) {
                (Some(xid), _) => xid.transaction_id(),
                (None, Some(xid)) if !orphan => xid.transaction_id(),
                _ => -1 - i64::try_from(state.globals.len()).unwrap_or(0),
            };
            if live.is_none() && !state.globals.contains_key(&id) {
                let xid = match (&known, orphan) {
                    (Some(xid), false) => xid.clone(),
                    _ => Xid::new(&text, id),
                };
                let stub = stub(xid, rows[0].rolling_back);
                state
                    .restore(stub, Vec::new(), true)
                    .map_err(|misfit| format!("{text}: {}", misfit.0))?;
            }
            for row in &rows {
                for key in self.meant(&row.row_key) {
                    let (resource, place) = self.place(key);
                    let holder = Holder {
                        transaction_id: id,
                        branch_id: BranchId(branch_id),
                        since_ms: row.since_ms,
                        resource_id: Text::from(resource),
                        lock_key: Text::from(place),
                    };
                    // Refused only where two rows are one for the database; then it is held already.
                    let _ = state.locks.acquire(holder);
                }
            }
        }
        Ok(())
    }

    /// The lock key of rows that are held by a branch.
    fn key_of(&self, resource_id: &str, rows: &[LockRow]) -> Text {
        let mut places = BTreeSet::new();
        for key in rows.iter().flat_map(|row| self.meant(&row.row_key)) {
            let (resource, place) = self.place(key);
            if resource == resource_id {
                places.insert(place);
            }
        }
        let places: Vec<String> = places.into_iter().collect();
        Text::from(places.join(";"))
    }

    /// The resource of an asked row, and its lock key.
    fn place<'a>(&self, key: &'a str) -> (&'a str, String) {
        let (table, pk) = &self.rows[key];
        let rest = table.len() + pk.len() + 2 * SEPARATOR.len();
        (&key[..key.len() - rest], format!("{table}:{pk}"))
    }
}

impl Reading {
    /// Whether the mark is where it belongs, or none was to be set.
    pub(super) fn is_marked(&self, results: &[Rows]) -> bool {
        let mut parts = self.parts.iter().zip(results);
        parts.all(|(part, rows)| *part != Part::Mark || rows.affected == 1)
    }

    fn add(&mut self, part: Part, statement: String) {
        if !self.sql.is_empty() {
            self.sql.push_str("; ");
        }
        self.sql.push_str(&statement);
        self.parts.push(part);
    }
}

#[derive(Debug, Default)]
struct Raw {
    globals: Vec<Global>,
    branches: HashMap<Xid, Vec<Branch>>,
    decisions: HashMap<Xid, Decision>,
    ended: Vec<(Xid, Tombstone)>,
    locks: Vec<LockRow>,
    shares: Vec<Share>,
}

#[derive(Debug)]
struct Decision {
    decided_ms: i64,
    saga: bool,
    driver: Option<i64>,
}

impl Raw {
    fn take(&mut self, part: Part, rows: Vec<Vec<Option<String>>>) -> Result<(), String> {
        for row in rows {
            let row = Columns(&row);
            match part {
                Part::Begin | Part::Mark => {}
                Part::Globals => self.globals.push(global(&row)?),
                Part::Branches => {
                    let (xid, branch) = branch(&row)?;
                    self.branches.entry(xid).or_default().push(branch);
                }
                Part::Decisions => {
                    let decision = Decision {
                        decided_ms: row.number(1)?,
                        saga: row.number(2)? != 0,
                        driver: row.optional(3)?,
                    };
                    self.decisions.insert(row.xid(0)?, decision);
                }
                Part::Ended => {
                    let end = row.number(1)?;
                    let tombstone = Tombstone {
                        end: end_of(end).ok_or_else(|| format!("seamio_ended: outcome {end}"))?,
                        decided_ms: row.number(2)?,
                        ended_ms: row.number(3)?,
                    };
                    self.ended.push((row.xid(0)?, tombstone));
                }
                Part::Locks => self.locks.push(LockRow {
                    row_key: row.text(0).to_owned(),
                    xid: Text::from(row.text(1)),
                    branch_id: row.number(2)?,
                    rolling_back: row.number(3)? != 0,
                    since_ms: row.optional(4)?.unwrap_or(0),
                }),
                Part::Shares => self.shares.push(Share {
                    row_key: row.text(0).to_owned(),
                    owner: row.number(1)?,
                    lister: row.number(2)?,
                }),
            }
        }
        Ok(())
    }
}

/// One row as text.
pub(super) struct Columns<'a>(pub(super) &'a [Option<String>]);

impl Columns<'_> {
    /// A text; NULL is the empty one.
    pub(super) fn text(&self, at: usize) -> &str {
        self.0.get(at).and_then(Option::as_deref).unwrap_or("")
    }

    pub(super) fn optional(&self, at: usize) -> Result<Option<i64>, String> {
        match self.0.get(at).and_then(Option::as_deref) {
            None => Ok(None),
            Some(text) => {
                // PostgreSQL and MySQL may give a fraction where they compute.
                let whole = text.split('.').next().unwrap_or(text);
                let number = whole
                    .parse()
                    .map_err(|_| format!("{text:?} is no number"))?;
                Ok(Some(number))
            }
        }
    }

    pub(super) fn number(&self, at: usize) -> Result<i64, String> {
        self.optional(at)?
            .ok_or_else(|| format!("column {at} is NULL"))
    }

    pub(super) fn xid(&self, at: usize) -> Result<Xid, String> {
        let text = self.text(at);
        Xid::parse(&Text::from(text)).ok_or_else(|| format!("{text:?} is no xid"))
    }
}

/// A row of `global_table`, as [`Questions::reading`] and the keeper select it.
pub(super) fn global(row: &Columns<'_>) -> Result<Global, String> {
    let status = row.number(1)?;
    let name = Text::from(row.text(4));
    let known = u8::try_from(status).ok().and_then(GlobalStatus::from_code);
    let status = known.ok_or_else(|| format!("global_table: status {status} is unknown"))?;
    let decided_ms = match status {
        GlobalStatus::Begin => 0,
        _ => row.optional(7)?.unwrap_or(0),
    };
    Ok(Global {
        xid: row.xid(0)?,
        status,
        application_id: Text::from(row.text(2)),
        transaction_service_group: Text::from(row.text(3)),
        saga: name.starts_with("$Saga_"),
        name,
        timeout_ms: i32::try_from(row.optional(5)?.unwrap_or(60_000)).unwrap_or(i32::MAX),
        begin_ms: row.optional(6)?.unwrap_or(0),
        decided_ms,
        branches: Vec::new(),
    })
}

/// A row of `branch_table`, with its xid.
pub(super) fn branch(row: &Columns<'_>) -> Result<(Xid, Branch), String> {
    let (name, status) = (row.text(3), row.number(4)?);
    let branch_type = BranchType::ALL
        .iter()
        .copied()
        .find(|one| one.name().eq_ignore_ascii_case(name));
    let known = u8::try_from(status).ok().and_then(BranchStatus::from_code);
    let branch = Branch {
        branch_id: BranchId(row.number(1)?),
        branch_type: branch_type
            .ok_or_else(|| format!("branch_table: type {name:?} is unknown"))?,
        status: known.ok_or_else(|| format!("branch_table: status {status} is unknown"))?,
        resource_id: Text::from(row.text(2)),
        client_id: Text::from(row.text(5)),
        application_data: Text::from(row.text(6)),
        lock_key: Text::new(),
        registered_ms: row.optional(7)?.unwrap_or(0),
    };
    Ok((row.xid(0)?, branch))
}

/// Of a holder nothing is known but that it holds.
fn stub(xid: Xid, rolling_back: bool) -> Global {
    Global {
        xid,
        status: match rolling_back {
            true => GlobalStatus::Rollbacking,
            false => GlobalStatus::Committing,
        },
        application_id: Text::new(),
        transaction_service_group: Text::new(),
        name: Text::new(),
        timeout_ms: i32::MAX,
        begin_ms: 0,
        decided_ms: 0,
        branches: Vec::new(),
        saga: false,
    }
}

/// The number of an end in `seamio_ended`: that of the status it is told as.
pub(super) fn code_of(end: End) -> u8 {
    match end {
        End::Committed => GlobalStatus::Committed.code(),
        End::RolledBack => GlobalStatus::Rollbacked.code(),
        End::TimedOut => GlobalStatus::TimeoutRollbacked.code(),
        End::Finished => GlobalStatus::Finished.code(),
    }
}

fn end_of(code: i64) -> Option<End> {
    [
        End::Committed,
        End::RolledBack,
        End::TimedOut,
        End::Finished,
    ]
    .into_iter()
    .find(|end| i64::from(code_of(*end)) == code)
}

/// Texts as literals, with commas between them.
pub(super) fn list<'a>(dialect: Dialect, texts: impl Iterator<Item = &'a str>) -> String {
    let mut sql = String::new();
    for text in texts {
        if !sql.is_empty() {
            sql.push(',');
        }
        dialect.text(&mut sql, text);
    }
    sql
}

/// Keys in one IN list, or rows in one INSERT.
pub(super) const KEYS_AT_ONCE: usize = 1000;
/// Between the parts of a row key.
const SEPARATOR: &str = "^^^";
