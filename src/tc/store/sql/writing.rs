//! The second half of a batch: changes as statements, each kind of all operations in one.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write;

use super::Writer;
use super::dialect::Dialect;
use super::reading::{Found, KEYS_AT_ONCE, code_of, list};
use crate::proto::Text;
use crate::proto::status::{BranchStatus, GlobalStatus};
use crate::tc::lock;
use crate::tc::store::change::Change;
use crate::tc::store::direction::{Direction, direction};
use crate::tc::store::state::is_blank;
use crate::tc::store::{Branch, Global, NewGlobal, Tombstone};
use crate::xid::{BranchId, Xid};

/// What a batch writes.
#[derive(Debug, Default)]
pub(super) struct Writes {
    begun: Vec<NewGlobal>,
    branches: Vec<(Xid, Branch)>,
    /// Row key: xid, branch, resource, table, primary key.
    locks: BTreeMap<String, Lock>,
    shares: Vec<(String, i64, Xid)>,
    reports: Vec<(Xid, BranchId, BranchStatus, Text)>,
    moves: BTreeMap<(u8, u8), Vec<Xid>>,
    decisions: Vec<(Xid, i64, bool)>,
    rolling_back: Vec<Xid>,
    unlocked: BTreeSet<Xid>,
    /// Those of them that may have rows which several branches listed.
    unshared: BTreeSet<Xid>,
    ended_branches: Vec<i64>,
    /// Branches whose rows go with them.
    freed_branches: Vec<i64>,
    handed_on: Vec<(String, i64)>,
    /// Ended ones that had branches until now.
    left: Vec<Xid>,
    /// And whether they had been decided before.
    ended: Vec<(Xid, Tombstone, bool)>,
    offered: Vec<(Xid, Text)>,
    adopted: Vec<Xid>,
    forget_before_ms: Option<i64>,
}

#[derive(Debug)]
struct Lock {
    xid: Xid,
    branch_id: i64,
    resource_id: Text,
    table: String,
    pk: String,
}

/// A change, with the transaction as it was before.
pub(super) struct Changed<'a> {
    pub(super) change: Change,
    /// Without its branches.
    pub(super) before: Option<&'a Global>,
    /// It has branches.
    pub(super) branches: bool,
    /// How many of them may lock rows.
    pub(super) locking: usize,
}

impl Writes {
    pub(super) fn offer(&mut self, xid: Xid, resource_id: Text) {
        self.offered.push((xid, resource_id));
    }

    pub(super) fn adopt(&mut self, xid: Xid) {
        self.adopted.push(xid);
    }

    pub(super) fn forget(&mut self, before_ms: i64) {
        let before = self.forget_before_ms.get_or_insert(before_ms);
        *before = (*before).max(before_ms);
    }

    pub(super) fn unlock(&mut self, xid: Xid) {
        self.unlocked.insert(xid.clone());
        self.unshared.insert(xid);
    }

    /// Takes up a change that was decided just now. `held` and `shares` of what was found are kept in step.
    pub(super) fn take(&mut self, changed: Changed<'_>, found: &mut Kept) {
        let Changed {
            branches, locking, ..
        } = changed;
        match (changed.change, changed.before) {
            (Change::Began(new), _) => self.begun.push(new),
            (Change::Registered { branch, .. }, Some(before)) => {
                self.register(&before.xid, branch, found);
            }
            (
                Change::Reported {
                    branch_id,
                    status,
                    application_data,
                    ..
                },
                Some(before),
            ) => {
                let xid = before.xid.clone();
                self.reports
                    .push((xid, branch_id, status, application_data));
            }
            (
                Change::Moved {
                    status,
                    decided_ms,
                    unlock,
                    ..
                },
                Some(before),
            ) => {
                self.shift(before, status, decided_ms);
                let decided = before.status == GlobalStatus::Begin;
                if locking > 0 && decided && direction(status) == Some(Direction::Rollback) {
                    self.rolling_back.push(before.xid.clone());
                }
                if unlock {
                    self.free(&before.xid, locking, found);
                }
            }
            (Change::BranchEnded { branch_id, .. }, Some(before)) => {
                self.end_branch(before, branch_id, found);
            }
            (Change::Ended { tombstone, .. }, Some(before)) => {
                // Once more, whatever was freed before.
                self.free(&before.xid, locking, found);
                if branches {
                    self.left.push(before.xid.clone());
                }
                let decided = before.status != GlobalStatus::Begin;
                self.ended.push((before.xid.clone(), tombstone, decided));
            }
            (Change::Unlocked { .. }, Some(before)) => self.free(&before.xid, locking, found),
            // Tombstones are forgotten by their own statement; nothing else comes without its transaction.
            (Change::Forgot { .. }, _) | (_, None) => {}
        }
    }

    fn register(&mut self, xid: &Xid, branch: Branch, found: &mut Kept) {
        let id = branch.branch_id.0;
        // A key that cannot be read was refused.
        for row in lock::parse(&branch.lock_key).into_iter().flatten() {
            let key = lock::row_name(&branch.resource_id, &row);
            match found.held.get(&key) {
                Some((_, holder)) if *holder == id => {}
                Some(_) => self.shares.push((key, id, xid.clone())),
                None => {
                    found.held.insert(key.clone(), (xid.as_text().clone(), id));
                    let lock = Lock {
                        xid: xid.clone(),
                        branch_id: id,
                        resource_id: branch.resource_id.clone(),
                        table: row.table.to_owned(),
                        pk: row.pk.to_owned(),
                    };
                    self.locks.insert(key, lock);
                }
            }
        }
        self.branches.push((xid.clone(), branch));
    }

    fn shift(&mut self, before: &Global, status: GlobalStatus, decided_ms: i64) {
        let xid = before.xid.clone();
        if before.status == GlobalStatus::Begin {
            self.decisions.push((xid.clone(), decided_ms, before.saga));
        }
        let moves = self.moves.entry((before.status.code(), status.code()));
        moves.or_default().push(xid);
    }

    /// All rows of a transaction are free. Of `locking` branches one alone shares none.
    fn free(&mut self, xid: &Xid, locking: usize, found: &mut Kept) {
        found.forget_locks(xid);
        if locking > 0 {
            self.unlocked.insert(xid.clone());
        }
        if locking > 1 {
            self.unshared.insert(xid.clone());
        }
    }

    fn end_branch(&mut self, before: &Global, branch_id: BranchId, found: &mut Kept) {
        let id = branch_id.0;
        self.ended_branches.push(id);
        // All rows of a commit were freed with the decision.
        if direction(before.status) == Some(Direction::Commit) && !before.saga {
            return;
        }
        for (key, heir) in found.hand_on(id) {
            self.handed_on.push((key, heir));
        }
        self.freed_branches.push(id);
    }

    /// The statements, in an order in which none is in another's way.
    pub(super) fn statements(&self, dialect: Dialect, writer: Writer) -> Vec<String> {
        let sql = Sql { dialect, writer };
        let mut all = Vec::new();
        all.extend(sql.begun(&self.begun));
        for (xid, branch_id, status, data) in &self.reports {
            all.push(sql.report(xid, *branch_id, *status, data));
        }
        for ((from, to), xids) in &self.moves {
            all.push(sql.shift(*from, *to, xids));
        }
        all.extend(sql.decisions(&self.decisions));
        if !self.rolling_back.is_empty() {
            let xids = sql.xids(self.rolling_back.iter());
            let now = dialect.now_in_seconds();
            all.push(format!(
                "UPDATE lock_table SET status = 1, gmt_modified = {now} WHERE xid IN ({xids})"
            ));
        }
        for (key, heir) in &self.handed_on {
            let key = dialect.literal(key);
            all.push(format!(
                "UPDATE lock_table SET branch_id = {heir} WHERE row_key = {key}"
            ));
        }
        all.extend(sql.delete_numbers("lock_table", &self.freed_branches));
        all.extend(sql.delete_numbers("seamio_share", &self.freed_branches));
        all.extend(sql.delete_numbers("branch_table", &self.ended_branches));
        all.extend(sql.delete_xids("lock_table", self.unlocked.iter()));
        all.extend(sql.delete_xids("seamio_share", self.unshared.iter()));
        all.extend(sql.delete_xids("branch_table", self.left.iter()));
        all.extend(sql.delete_xids("global_table", self.ended.iter().map(|(xid, ..)| xid)));
        let decided = self.ended.iter().filter(|(.., decided)| *decided);
        all.extend(sql.delete_xids("seamio_decision", decided.map(|(xid, ..)| xid)));
        all.extend(sql.ended(&self.ended));
        all.extend(sql.branches(&self.branches));
        all.extend(sql.locks(&self.locks));
        all.extend(sql.shares(&self.shares));
        for (xid, resource_id) in &self.offered {
            all.push(sql.offer(xid, resource_id));
        }
        if !self.adopted.is_empty() {
            let (xids, node) = (sql.xids(self.adopted.iter()), writer.node);
            all.push(format!(
                "UPDATE seamio_decision SET driver = {node}, wanted = NULL WHERE xid IN ({xids}) AND driver IS NULL"
            ));
        }
        all.extend(self.forget_before_ms.map(|ms| sql.forget(ms)));
        all
    }

    /// What tells later whether the batch was committed.
    pub(super) fn mark(writer: Writer, batch: i64) -> String {
        format!(
            "UPDATE seamio_writer SET batch = {batch} WHERE node_id = {} AND writer = {}",
            writer.node, writer.number
        )
    }
}

/// What was found, in step with what the batch has written so far.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) held: std::collections::HashMap<String, (Text, i64)>,
    pub(super) shares: Vec<super::reading::Share>,
}

impl Kept {
    pub(super) fn of(found: &mut Found) -> Self {
        Self {
            held: std::mem::take(&mut found.held),
            shares: std::mem::take(&mut found.shares),
        }
    }

    fn forget_locks(&mut self, xid: &Xid) {
        self.held.retain(|_, (holder, _)| holder != xid.as_text());
    }

    /// A branch ends: the rows that another one of its transaction listed too are that one's now.
    fn hand_on(&mut self, branch_id: i64) -> Vec<(String, i64)> {
        self.shares.retain(|share| share.lister != branch_id);
        let mut handed = Vec::new();
        let mut seen = HashSet::new();
        for share in &self.shares {
            if share.owner == branch_id && seen.insert(share.row_key.clone()) {
                handed.push((share.row_key.clone(), share.lister));
            }
        }
        for (key, heir) in &handed {
            for share in self.shares.iter_mut().filter(|s| s.row_key == *key) {
                share.owner = *heir;
            }
            if let Some((_, holder)) = self.held.get_mut(key) {
                *holder = *heir;
            }
        }
        self.held.retain(|_, (_, holder)| *holder != branch_id);
        handed
    }
}

/// Writes statements for one writer.
struct Sql {
    dialect: Dialect,
    writer: Writer,
}

impl Sql {
    fn xids<'a>(&self, xids: impl Iterator<Item = &'a Xid>) -> String {
        list(self.dialect, xids.map(|xid| xid.as_text().as_str()))
    }

    /// One row of values in brackets: texts and numbers as they are given.
    fn row(&self, rows: &mut String, values: &[Value<'_>]) {
        rows.push_str(if rows.is_empty() { "(" } else { ",(" });
        for (i, value) in values.iter().enumerate() {
            if i > 0 {
                rows.push(',');
            }
            match value {
                Value::Text(text) => self.dialect.text(rows, text),
                // Writing to a String cannot fail.
                Value::Number(number) => drop(write!(rows, "{number}")),
                Value::Sql(sql) => rows.push_str(sql),
            }
        }
        rows.push(')');
    }

    /// Not those whose number an ended transaction has had: that one's end would be told of them.
    fn begun(&self, begun: &[NewGlobal]) -> Option<String> {
        let mut rows = String::new();
        let now = Value::Sql(self.dialect.now_in_seconds());
        for new in begun {
            let mut row = String::new();
            self.row(
                &mut row,
                &[
                    Value::Text(new.xid.as_text()),
                    Value::Number(new.xid.transaction_id()),
                    Value::Number(i64::from(GlobalStatus::Begin.code())),
                    Value::Text(&new.application_id),
                    Value::Text(&new.transaction_service_group),
                    Value::Text(&new.name),
                    Value::Number(i64::from(new.timeout_ms)),
                    Value::Number(new.begin_ms),
                    now,
                    now,
                ],
            );
            // Without its brackets.
            let values = &row[1..row.len() - 1];
            let condition = format!(
                "WHERE NOT EXISTS (SELECT 1 FROM seamio_ended WHERE transaction_id = {})",
                new.xid.transaction_id()
            );
            let union = if rows.is_empty() { "" } else { " UNION ALL " };
            // Writing to a String cannot fail.
            let _ = write!(
                rows,
                "{union}SELECT {values}{} {condition}",
                self.dialect.no_table()
            );
        }
        (!rows.is_empty()).then(|| {
            format!(
                "INSERT INTO global_table (xid, transaction_id, status, application_id, transaction_service_group, \
                 transaction_name, timeout, begin_time, gmt_create, gmt_modified) {rows}"
            )
        })
    }

    fn branches(&self, branches: &[(Xid, Branch)]) -> Option<String> {
        let mut rows = String::new();
        let now = Value::Sql(self.dialect.now());
        for (xid, branch) in branches {
            self.row(
                &mut rows,
                &[
                    Value::Number(branch.branch_id.0),
                    Value::Text(xid.as_text()),
                    Value::Number(xid.transaction_id()),
                    Value::Text(&branch.resource_id),
                    Value::Text(branch.branch_type.name()),
                    Value::Number(i64::from(branch.status.code())),
                    Value::Text(&branch.client_id),
                    Value::Text(&branch.application_data),
                    now,
                    now,
                ],
            );
        }
        (!rows.is_empty()).then(|| {
            format!(
                "INSERT INTO branch_table (branch_id, xid, transaction_id, resource_id, branch_type, status, \
                 client_id, application_data, gmt_create, gmt_modified) VALUES {rows}"
            )
        })
    }

    /// In the order of their keys, so that two coordinators do not wait for each other.
    fn locks(&self, locks: &BTreeMap<String, Lock>) -> Vec<String> {
        let now = Value::Sql(self.dialect.now_in_seconds());
        let all: Vec<_> = locks.iter().collect();
        let statement = |some: &[(&String, &Lock)]| {
            let mut rows = String::new();
            for (key, lock) in some {
                self.row(
                    &mut rows,
                    &[
                        Value::Text(key),
                        Value::Text(lock.xid.as_text()),
                        Value::Number(lock.xid.transaction_id()),
                        Value::Number(lock.branch_id),
                        Value::Text(&lock.resource_id),
                        Value::Text(&lock.table),
                        Value::Text(&lock.pk),
                        Value::Number(0),
                        now,
                        now,
                    ],
                );
            }
            format!(
                "INSERT INTO lock_table (row_key, xid, transaction_id, branch_id, resource_id, table_name, pk, status, \
                 gmt_create, gmt_modified) VALUES {rows}"
            )
        };
        all.chunks(KEYS_AT_ONCE).map(statement).collect()
    }

    fn shares(&self, shares: &[(String, i64, Xid)]) -> Option<String> {
        let mut rows = String::new();
        for (key, branch_id, xid) in shares {
            let values = [
                Value::Text(key),
                Value::Number(*branch_id),
                Value::Text(xid.as_text()),
            ];
            self.row(&mut rows, &values);
        }
        (!rows.is_empty())
            .then(|| format!("INSERT INTO seamio_share (row_key, branch_id, xid) VALUES {rows}"))
    }

    fn report(&self, xid: &Xid, branch_id: BranchId, status: BranchStatus, data: &Text) -> String {
        let data = match is_blank(data) {
            true => String::new(),
            false => format!(", application_data = {}", self.dialect.literal(data)),
        };
        format!(
            "UPDATE branch_table SET status = {}{data}, gmt_modified = {} WHERE xid = {} AND branch_id = {branch_id}",
            status.code(),
            self.dialect.now(),
            self.dialect.literal(xid.as_text())
        )
    }

    /// Compare and set, though the row is locked: nothing else may decide.
    fn shift(&self, from: u8, to: u8, xids: &[Xid]) -> String {
        let (now, xids) = (self.dialect.now_in_seconds(), self.xids(xids.iter()));
        format!(
            "UPDATE global_table SET status = {to}, gmt_modified = {now} WHERE xid IN ({xids}) AND status = {from}"
        )
    }

    fn decisions(&self, decisions: &[(Xid, i64, bool)]) -> Option<String> {
        let mut rows = String::new();
        for (xid, decided_ms, saga) in decisions {
            let values = [
                Value::Text(xid.as_text()),
                Value::Number(xid.transaction_id()),
                Value::Number(*decided_ms),
                Value::Number(i64::from(*saga)),
                Value::Number(i64::from(self.writer.node)),
            ];
            self.row(&mut rows, &values);
        }
        (!rows.is_empty()).then(|| {
            format!(
                "INSERT INTO seamio_decision (xid, transaction_id, decided_ms, saga, driver) VALUES {rows}"
            )
        })
    }

    fn ended(&self, ended: &[(Xid, Tombstone, bool)]) -> Option<String> {
        let mut rows = String::new();
        for (xid, tombstone, _) in ended {
            let values = [
                Value::Text(xid.as_text()),
                Value::Number(xid.transaction_id()),
                Value::Number(i64::from(code_of(tombstone.end))),
                Value::Number(tombstone.decided_ms),
                Value::Number(tombstone.ended_ms),
            ];
            self.row(&mut rows, &values);
        }
        (!rows.is_empty()).then(|| {
            format!(
                "INSERT INTO seamio_ended (xid, transaction_id, outcome, decided_ms, ended_ms) VALUES {rows}"
            )
        })
    }

    fn delete_numbers(&self, table: &str, branches: &[i64]) -> Option<String> {
        let ids: Vec<String> = branches.iter().map(i64::to_string).collect();
        (!ids.is_empty())
            .then(|| format!("DELETE FROM {table} WHERE branch_id IN ({})", ids.join(",")))
    }

    fn delete_xids<'a>(&self, table: &str, xids: impl Iterator<Item = &'a Xid>) -> Option<String> {
        let xids = self.xids(xids);
        (!xids.is_empty()).then(|| format!("DELETE FROM {table} WHERE xid IN ({xids})"))
    }

    fn offer(&self, xid: &Xid, resource_id: &Text) -> String {
        format!(
            "UPDATE seamio_decision SET driver = NULL, wanted = {} WHERE xid = {} AND driver = {}",
            self.dialect.literal(resource_id),
            self.dialect.literal(xid.as_text()),
            self.writer.node
        )
    }

    fn forget(&self, before_ms: i64) -> String {
        match self.dialect {
            Dialect::MySql => format!(
                "DELETE FROM seamio_ended WHERE ended_ms < {before_ms} ORDER BY ended_ms LIMIT {FORGOTTEN_AT_ONCE}"
            ),
            Dialect::Postgres | Dialect::Sqlite => format!(
                "DELETE FROM seamio_ended WHERE xid IN (SELECT xid FROM seamio_ended WHERE ended_ms < {before_ms} \
                 ORDER BY ended_ms LIMIT {FORGOTTEN_AT_ONCE})"
            ),
        }
    }
}

#[derive(Clone, Copy)]
enum Value<'a> {
    Text(&'a str),
    Number(i64),
    Sql(&'a str),
}

/// Tombstones that one statement forgets: locks on more would be in others' way.
pub(super) const FORGOTTEN_AT_ONCE: usize = 4096;
