//! Some operations as one database transaction, in at most two round trips: read and lock the rows, decide in memory as
//! the memory store would, write what changed and commit.
//!
//! # Why it is right
//!
//! - Every decision about a transaction is made while its row in `global_table` is locked, on what is committed at that
//!   moment (READ COMMITTED), and changes the status only from what was read. So all coordinators decide one after the
//!   other.
//! - A lock is a row with the locked row's key as primary key: of two that take it at once one gets a duplicate key,
//!   starts over, and then sees who holds it.
//! - Whoever loses the connection behind the COMMIT asks the writer's mark. It is the first thing that a batch writes, a
//!   round trip before the COMMIT, so the answer waits until the lost transaction is over. (Begins alone have one round
//!   trip: what arrives late there finds its xids taken.)

use super::Writer;
use super::connection::{Fault, Link, Rows};
use super::reading::{Found, Questions, list};
use super::schema::{Limits, Width};
use super::writing::{Changed, FORGOTTEN_AT_ONCE, Kept, Writes};
use crate::proto::Text;
use crate::proto::status::BranchType;
use crate::tc::lock;
use crate::tc::store::change::Change;
use crate::tc::store::{Branch, Operation, Outcome, StoreLimits};
use crate::xid::Xid;

/// How a batch went.
#[derive(Debug)]
pub(super) enum Done {
    /// One outcome for each operation.
    Outcomes(Answers),
    /// Nothing was changed.
    Not(Fault),
    /// It was on its way when the connection was lost: [`was_committed`] tells, and these are the answers if it was.
    InDoubt(String, Answers),
}

/// The answers to a batch.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) outcomes: Vec<Outcome>,
    /// More tombstones than one statement forgets may be left.
    pub(super) more_to_forget: bool,
    /// Something was written. Once it is known that it was committed, this counts as a commit.
    pub(super) wrote: bool,
}

/// What a writer decides by.
pub(super) struct Rules<'a> {
    pub(super) writer: Writer,
    pub(super) columns: &'a Limits,
    pub(super) limits: &'a StoreLimits,
}

/// Carries out operations as one transaction, marked as `batch`.
pub(super) async fn carry_out(
    link: &mut Link,
    rules: &Rules<'_>,
    batch: i64,
    operations: &[&Operation],
) -> Done {
    let dialect = link.dialect();
    let questions = Questions::of(operations.iter().copied());
    let only_new = operations.iter().all(|o| matches!(o, Operation::Begin(_)));
    let mut found = Found::default();
    if !only_new {
        let reading = questions.reading(dialect, &Writes::mark(rules.writer, batch));
        let results = match reading.sql.is_empty() {
            true => Ok(Vec::new()),
            false => link.run(&reading.sql).await,
        };
        let results = match results {
            Ok(results) => results,
            Err(fault) => return undo(link, fault).await,
        };
        if !reading.is_marked(&results) {
            let taken = format!(
                "node {} was given to another coordinator",
                rules.writer.node
            );
            return undo(link, Fault::Again(taken)).await;
        }
        found = match questions.found(&reading, results) {
            Ok(found) => found,
            Err(problem) => return undo(link, Fault::Refused(problem)).await,
        };
    }
    let mut deciding = Deciding {
        kept: Kept::of(&mut found),
        found,
        rules,
        writes: Writes::default(),
    };
    let outcomes = operations
        .iter()
        .map(|operation| deciding.decide(operation))
        .collect();
    let mut answers = Answers {
        outcomes,
        ..Answers::default()
    };
    if questions.read_only {
        return Done::Outcomes(answers);
    }
    let mut statements = deciding.writes.statements(dialect, rules.writer);
    if statements.is_empty() {
        if !only_new {
            // Nothing was written, so it does not matter how it ends.
            let _ = link.run("ROLLBACK").await;
        }
        return Done::Outcomes(answers);
    }
    if only_new {
        let mark = Writes::mark(rules.writer, batch);
        statements.splice(0..0, [dialect.begin().to_owned(), mark]);
    }
    statements.push("COMMIT".to_owned());
    answers.wrote = true;
    match link.run(&statements.join("; ")).await {
        Ok(results) => {
            answers.note(&results, operations);
            let first = if only_new { 2 } else { 0 };
            let begun = results.get(first).map_or(0, |rows| rows.affected);
            match answers.begun(operations) {
                all if all.is_empty() || begun >= all.len() as u64 => Done::Outcomes(answers),
                all => answers.without_taken(link, &all).await,
            }
        }
        Err(Fault::Lost(why)) => Done::InDoubt(why, answers),
        Err(fault) => undo(link, fault).await,
    }
}

/// Whether a batch was committed. Waits for a transaction of the lost connection that still holds the marker.
pub(super) async fn was_committed(
    link: &mut Link,
    writer: Writer,
    batch: i64,
) -> Result<bool, Fault> {
    let dialect = link.dialect();
    let sql = format!(
        "{}; SELECT batch FROM seamio_writer WHERE node_id = {} AND writer = {}{}; COMMIT",
        dialect.begin(),
        writer.node,
        writer.number,
        dialect.for_update()
    );
    let results = link.run(&sql).await?;
    let marker = results.get(1).and_then(|rows| rows.rows.first());
    let marker = marker.and_then(|row| row.first().cloned().flatten());
    Ok(marker.is_some_and(|marker| marker == batch.to_string()))
}

async fn undo(link: &mut Link, fault: Fault) -> Done {
    if let Fault::Lost(_) = fault {
        return Done::Not(fault);
    }
    match link.run("ROLLBACK").await {
        // SQLite has ended the transaction itself after some errors.
        Ok(_) | Err(Fault::Refused(_)) => Done::Not(fault),
        Err(lost) => Done::Not(lost),
    }
}

impl Answers {
    fn note(&mut self, results: &[Rows], operations: &[&Operation]) {
        let from_end = |n: usize| {
            let rows = results.len().checked_sub(n).and_then(|at| results.get(at));
            rows.map_or(0, |rows| rows.affected)
        };
        let forgets = |o: &&Operation| matches!(o, Operation::Forget { .. });
        self.more_to_forget =
            operations.iter().any(forgets) && from_end(2) >= FORGOTTEN_AT_ONCE as u64;
    }
}

impl Answers {
    /// The transactions that were begun, by the number of their operation.
    fn begun(&self, operations: &[&Operation]) -> Vec<(usize, Xid)> {
        let all = operations.iter().zip(&self.outcomes).enumerate();
        all.filter_map(|(i, (operation, outcome))| match (operation, outcome) {
            (Operation::Begin(new), Outcome::Done) => Some((i, new.xid.clone())),
            _ => None,
        })
        .collect()
    }

    /// Some were not kept, since ended ones have had their numbers: they need others.
    async fn without_taken(mut self, link: &mut Link, begun: &[(usize, Xid)]) -> Done {
        let texts = list(
            link.dialect(),
            begun.iter().map(|(_, xid)| &**xid.as_text()),
        );
        let sql = format!("SELECT xid FROM global_table WHERE xid IN ({texts})");
        match link.run(&sql).await {
            Ok(results) => {
                let rows = results.first().map_or(&[][..], |rows| &rows.rows);
                let kept: Vec<&str> = rows
                    .iter()
                    .filter_map(|row| row.first()?.as_deref())
                    .collect();
                for (i, xid) in begun {
                    if !kept.contains(&xid.as_text().as_str()) {
                        self.outcomes[*i] = Outcome::Duplicate;
                    }
                }
                Done::Outcomes(self)
            }
            Err(fault) => {
                // Which of them is there is not known: none is told.
                for (i, _) in begun {
                    self.outcomes[*i] = Outcome::Failed(fault.text().to_owned());
                }
                Done::Outcomes(self)
            }
        }
    }
}

/// A batch between reading and writing.
struct Deciding<'a> {
    found: Found,
    kept: Kept,
    rules: &'a Rules<'a>,
    writes: Writes,
}

impl Deciding<'_> {
    fn decide(&mut self, operation: &Operation) -> Outcome {
        let mut operation = operation.clone();
        if let Operation::Begin(new) = &mut operation {
            new.name = cut_name(self.rules.columns, &new.name);
        }
        let (limits, state) = (self.rules.limits, &self.found.state);
        match operation {
            Operation::Forget { before_ms } => {
                self.writes.forget(before_ms);
                Outcome::Done
            }
            Operation::Offer { .. } | Operation::Adopt { .. } => self.hand_over(operation),
            Operation::ReleaseLocks { ref xid } => {
                let verdict = state.decide(limits, operation.clone());
                if verdict.outcome == Outcome::Done {
                    // What it holds was not read: nobody asked for it.
                    self.writes.unlock(xid.clone());
                }
                verdict.outcome
            }
            operation => {
                let verdict = state.decide(limits, operation);
                let Some(change) = verdict.change else {
                    return verdict.outcome;
                };
                if let Some(limit) = unkept(self.rules.columns, &change) {
                    return Outcome::Limit(limit);
                }
                self.change(change);
                verdict.outcome
            }
        }
    }

    fn change(&mut self, change: Change) {
        let id = transaction_of(&change);
        let entry = id.and_then(|id| self.found.state.globals.get(&id));
        let before = entry.map(|entry| entry.excerpt(None));
        let branches = entry.map_or(&[][..], |entry| &entry.global.branches);
        let changed = Changed {
            change: change.clone(),
            before: before.as_ref(),
            branches: !branches.is_empty(),
            locking: branches
                .iter()
                .filter(|b| b.branch_type == BranchType::At)
                .count(),
        };
        self.writes.take(changed, &mut self.kept);
        // What was decided just now fits; if it did not, the batch would be refused by the database.
        let applied = self.found.state.apply(change);
        debug_assert!(applied.is_ok(), "{applied:?}");
    }

    /// A decided transaction goes from one coordinator to nobody, or from nobody to this one.
    fn hand_over(&mut self, operation: Operation) -> Outcome {
        let outcome = self
            .found
            .state
            .decide(self.rules.limits, operation.clone())
            .outcome;
        let (Operation::Offer { xid, .. } | Operation::Adopt { xid }) = &operation else {
            return outcome;
        };
        let driver = self.found.drivers.get(xid).copied();
        let here = Some(Some(i64::from(self.rules.writer.node)));
        match (operation, outcome) {
            (Operation::Offer { xid, resource_id }, Outcome::Done) => {
                if driver != here {
                    return self.status_of(&xid);
                }
                self.found.drivers.insert(xid.clone(), None);
                self.writes.offer(xid, resource_id);
                Outcome::Done
            }
            (Operation::Adopt { xid }, Outcome::Decided(global)) => {
                if driver == Some(None) {
                    self.found.drivers.insert(xid.clone(), here.flatten());
                    self.writes.adopt(xid);
                } else if driver != here {
                    return Outcome::Status(global.status);
                }
                Outcome::Decided(global)
            }
            (_, outcome) => outcome,
        }
    }

    fn status_of(&self, xid: &Xid) -> Outcome {
        let live = self.found.state.live(xid);
        live.map_or(Outcome::Unknown, |e| Outcome::Status(e.global.status))
    }
}

fn transaction_of(change: &Change) -> Option<i64> {
    match change {
        Change::Registered { transaction_id, .. }
        | Change::Reported { transaction_id, .. }
        | Change::Moved { transaction_id, .. }
        | Change::BranchEnded { transaction_id, .. }
        | Change::Ended { transaction_id, .. }
        | Change::Unlocked { transaction_id } => Some(*transaction_id),
        Change::Began(_) | Change::Forgot { .. } => None,
    }
}

/// A name as it fits its column: Java cuts it too, and nothing depends on it.
fn cut_name(limits: &Limits, name: &Text) -> Text {
    let width = &limits.transaction_name;
    if width.fits(name) {
        return name.clone();
    }
    let mut cut = String::new();
    for c in name.chars() {
        cut.push(c);
        if !width.fits(&cut) {
            cut.pop();
            if !width.fits(c.encode_utf8(&mut [0; 4])) {
                continue;
            }
            break;
        }
    }
    Text::from(cut)
}

/// What its column would not keep as it is, if anything: it is refused, never cut.
fn unkept(limits: &Limits, change: &Change) -> Option<&'static str> {
    let refused = |name, width: &Width, text: &str| (!width.fits(text)).then_some(name);
    match change {
        Change::Began(new) => refused("characters of an xid", &limits.xid, new.xid.as_text())
            .or_else(|| {
                refused(
                    "characters of an application id",
                    &limits.application_id,
                    &new.application_id,
                )
            })
            .or_else(|| {
                let group = &new.transaction_service_group;
                refused(
                    "characters of a transaction service group",
                    &limits.transaction_service_group,
                    group,
                )
            }),
        Change::Registered { branch, .. } => refused(
            "characters of a resource id",
            &limits.resource_id,
            &branch.resource_id,
        )
        .or_else(|| {
            refused(
                "characters of a client id",
                &limits.client_id,
                &branch.client_id,
            )
        })
        .or_else(|| {
            refused(
                APPLICATION_DATA,
                &limits.application_data,
                &branch.application_data,
            )
        })
        .or_else(|| unkept_row(limits, branch)),
        Change::Reported {
            application_data, ..
        } => refused(APPLICATION_DATA, &limits.application_data, application_data),
        _ => None,
    }
}

fn unkept_row(limits: &Limits, branch: &Branch) -> Option<&'static str> {
    // A key that cannot be read was refused.
    lock::parse(&branch.lock_key)
        .into_iter()
        .flatten()
        .find_map(|row| {
            let key = lock::row_name(&branch.resource_id, &row);
            [
                (
                    "characters of a table name",
                    limits.table_name.fits(row.table),
                ),
                ("characters of a primary key", limits.pk.fits(row.pk)),
                ("characters of a row key", limits.row_key.fits(&key)),
            ]
            .into_iter()
            .find_map(|(name, fits)| (!fits).then_some(name))
        })
}

const APPLICATION_DATA: &str = "characters of application data";
