//! What an operation answers and changes: a pure reading of the state (coordinator.md 1.2, 1.4, 1.7, 3).

use super::change::Change;
use super::direction::{Direction, direction, end_of_drive, is_end, may_move};
use super::state::{GlobalEntry, State, is_blank};
use super::{
    Branch, Conflict, Decision, End, Global, NewBranch, NewGlobal, Operation, Outcome, Seq,
    StoreLimits, Tombstone,
};
use crate::proto::Text;
use crate::proto::status::{BranchStatus, BranchType, GlobalStatus};
use crate::tc::lock;
use crate::xid::{BranchId, Xid};

/// What an operation comes to.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) outcome: Outcome,
    /// What is to be applied; none when nothing changes.
    pub(crate) change: Option<Change>,
    /// The last change that the outcome tells about: this one, or an earlier one that is perhaps not durable yet.
    pub(crate) after: Seq,
}

/// Why there is no transaction to look at.
enum Absent {
    Expired(Seq),
    Ended(Tombstone, Seq),
    Unknown(Seq),
}

impl From<Absent> for Verdict {
    fn from(absent: Absent) -> Self {
        match absent {
            Absent::Expired(after) => told(Outcome::Expired, after),
            Absent::Ended(tombstone, after) => told(Outcome::Ended(tombstone), after),
            Absent::Unknown(after) => told(Outcome::Unknown, after),
        }
    }
}

impl State {
    /// Decides an operation. Changes nothing.
    pub(crate) fn decide(&self, limits: &StoreLimits, operation: Operation) -> Verdict {
        match operation {
            Operation::Begin(new) => self.decide_begin(limits, new),
            Operation::Register(new) => self.decide_register(limits, new),
            Operation::Report {
                xid,
                branch_id,
                status,
                application_data,
                now_ms,
            } => match self.undecided(&xid, now_ms) {
                Ok(entry) => self.decide_report(limits, entry, branch_id, status, application_data),
                Err(absent) => absent.into(),
            },
            Operation::Decide {
                xid,
                decision,
                now_ms,
            } => match self.present(&xid) {
                Ok(entry) => self.decide_decision(limits, entry, decision, now_ms),
                Err(absent) => absent.into(),
            },
            Operation::EndBranch {
                xid,
                branch_id,
                now_ms,
                ..
            } => match self.present(&xid) {
                Ok(entry) => self.decide_end_branch(limits, entry, branch_id, now_ms),
                Err(absent) => absent.into(),
            },
            Operation::SetStatus {
                xid,
                from,
                to,
                now_ms,
            } => match self.present(&xid) {
                Ok(entry) => self.decide_status(entry, from, to, now_ms),
                Err(absent) => absent.into(),
            },
            Operation::Finish { xid, end, now_ms } => match self.present(&xid) {
                Ok(entry) => self.end(limits, entry, end, now_ms),
                Err(absent) => absent.into(),
            },
            Operation::ReleaseLocks { xid } => match self.present(&xid) {
                Ok(entry) if entry.held.iter().all(Option::is_none) => {
                    told(Outcome::Done, entry.after)
                }
                Ok(entry) => self.changed(
                    Outcome::Done,
                    Change::Unlocked {
                        transaction_id: id(entry),
                    },
                ),
                Err(absent) => absent.into(),
            },
            Operation::LookUp { xid, now_ms } => match self.undecided(&xid, now_ms) {
                Ok(entry) => told(Outcome::Status(entry.global.status), entry.after),
                Err(absent) => absent.into(),
            },
            Operation::Fetch {
                xid,
                branch_id,
                now_ms,
            } => match self.undecided(&xid, now_ms) {
                Ok(entry) => told(Outcome::Found(entry.excerpt(branch_id)), entry.after),
                Err(absent) => absent.into(),
            },
            Operation::QueryLocks {
                xid,
                resource_id,
                lock_key,
                now_ms,
            } => self.decide_query(&xid, &resource_id, &lock_key, now_ms),
            // There is nobody else.
            Operation::Offer { xid, .. } => match self.present(&xid) {
                Ok(entry) => told(Outcome::Done, entry.after),
                Err(absent) => absent.into(),
            },
            Operation::Adopt { xid } => match self.present(&xid) {
                Ok(entry) if entry.global.status == GlobalStatus::Begin => {
                    told(Outcome::Status(GlobalStatus::Begin), entry.after)
                }
                Ok(entry) => told(Outcome::Decided(entry.global.clone()), entry.after),
                Err(absent) => absent.into(),
            },
            Operation::Forget { before_ms } => {
                match self.tombstones.some_before(before_ms, FORGOTTEN_AT_ONCE) {
                    Some(before_ms) => self.changed(Outcome::Done, Change::Forgot { before_ms }),
                    None => told(Outcome::Done, self.forgot),
                }
            }
        }
    }

    fn decide_begin(&self, limits: &StoreLimits, new: NewGlobal) -> Verdict {
        let transaction_id = new.xid.transaction_id();
        if self.globals.contains_key(&transaction_id) || self.tombstones.has_id(transaction_id) {
            return told(Outcome::Duplicate, Seq(0));
        }
        let texts = [
            ("xid", new.xid.as_text()),
            ("application id", &new.application_id),
            ("transaction service group", &new.transaction_service_group),
            ("transaction name", &new.name),
        ];
        if let Some(verdict) = too_long(limits, &texts) {
            return verdict;
        }
        if self.globals.len() >= limits.globals_max {
            return told(Outcome::Limit("live global transactions"), Seq(0));
        }
        self.changed(Outcome::Done, Change::Began(new))
    }

    fn decide_register(&self, limits: &StoreLimits, new: NewBranch) -> Verdict {
        let entry = match self.undecided(&new.xid, new.now_ms) {
            Ok(entry) => entry,
            Err(absent) => return absent.into(),
        };
        let global = &entry.global;
        if global.status != GlobalStatus::Begin {
            // The engine of a SAGA recovers forward: its branches may come at any status but an end.
            let forward = global.saga
                && new.branch_type == BranchType::Saga
                && !is_end(global.status)
                && global.status != GlobalStatus::Deleting;
            if !forward {
                return told(Outcome::Status(global.status), entry.after);
            }
        }
        if self.branch_ids.contains(&new.branch_id.0) {
            return told(Outcome::Duplicate, Seq(0));
        }
        let texts = [
            ("resource id", &new.resource_id),
            ("client id", &new.client_id),
        ];
        if let Some(verdict) = too_long(limits, &texts) {
            return verdict;
        }
        if new.application_data.as_bytes().len() > limits.application_data_bytes_max {
            return told(Outcome::Limit("bytes of application data"), Seq(0));
        }
        if global.branches.len() >= limits.branches_per_global_max {
            return told(Outcome::Limit("branches of one transaction"), Seq(0));
        }
        if new.branch_type == BranchType::At
            && let Some(verdict) = self.refuse_locks(limits, id(entry), &new)
        {
            return verdict;
        }
        let locks = new.branch_type == BranchType::At;
        let branch = Branch {
            branch_id: new.branch_id,
            branch_type: new.branch_type,
            status: BranchStatus::Registered,
            resource_id: new.resource_id,
            client_id: new.client_id,
            application_data: new.application_data,
            lock_key: if locks { new.lock_key } else { Text::new() },
            registered_ms: new.now_ms,
        };
        let change = Change::Registered {
            transaction_id: id(entry),
            branch,
        };
        self.changed(Outcome::Done, change)
    }

    fn refuse_locks(
        &self,
        limits: &StoreLimits,
        transaction_id: i64,
        new: &NewBranch,
    ) -> Option<Verdict> {
        if new.lock_key.as_bytes().len() > limits.lock_key_bytes_max {
            return Some(told(Outcome::Limit("bytes of a lock key"), Seq(0)));
        }
        let key = new.lock_key.as_str();
        let rows = match lock::parse(key) {
            Ok(rows) => rows,
            Err(malformed) => return Some(told(Outcome::Failed(malformed.to_string()), Seq(0))),
        };
        if let Some(verdict) = self.conflict(Some(transaction_id), &new.resource_id, key) {
            return Some(verdict);
        }
        (self.locks.len() + rows.count() > limits.locks_max)
            .then(|| told(Outcome::Limit("locked rows"), Seq(0)))
    }

    fn decide_report(
        &self,
        limits: &StoreLimits,
        entry: &GlobalEntry,
        branch_id: BranchId,
        status: BranchStatus,
        application_data: Text,
    ) -> Verdict {
        let Some(index) = entry.position(branch_id) else {
            return told(Outcome::NoBranch, entry.after);
        };
        let global = &entry.global;
        if global.status != GlobalStatus::Begin && !global.saga {
            return told(Outcome::Status(global.status), entry.after);
        }
        if application_data.as_bytes().len() > limits.application_data_bytes_max {
            return told(Outcome::Limit("bytes of application data"), Seq(0));
        }
        let branch = &global.branches[index];
        let same_data = is_blank(&application_data)
            || application_data.as_bytes() == branch.application_data.as_bytes();
        if branch.status == status && same_data {
            return told(Outcome::Done, entry.after);
        }
        let change = Change::Reported {
            transaction_id: id(entry),
            branch_id,
            status,
            application_data,
        };
        self.changed(Outcome::Done, change)
    }

    fn decide_decision(
        &self,
        limits: &StoreLimits,
        entry: &GlobalEntry,
        decision: Decision,
        now_ms: i64,
    ) -> Verdict {
        let global = &entry.global;
        if global.status != GlobalStatus::Begin {
            return told(Outcome::Status(global.status), entry.after);
        }
        let expired = is_expired(global, now_ms);
        let (status, end) = match decision {
            Decision::Commit if expired => return told(Outcome::Expired, entry.after),
            Decision::Timeout if !expired => {
                return told(Outcome::Status(global.status), entry.after);
            }
            Decision::Commit if global.branches.iter().all(commits_later) => {
                (GlobalStatus::AsyncCommitting, Some(End::Committed))
            }
            Decision::Commit => (GlobalStatus::Committing, Some(End::Committed)),
            Decision::Rollback => (GlobalStatus::Rollbacking, Some(End::RolledBack)),
            Decision::Timeout => (GlobalStatus::TimeoutRollbacking, None),
        };
        if let Some(end) = end.filter(|_| global.branches.is_empty() && !global.saga) {
            return self.end(limits, entry, end, now_ms);
        }
        let mut decided = global.clone();
        decided.status = status;
        decided.decided_ms = now_ms;
        let change = Change::Moved {
            transaction_id: id(entry),
            status,
            decided_ms: now_ms,
            unlock: decision == Decision::Commit,
        };
        self.changed(Outcome::Decided(decided), change)
    }

    fn decide_end_branch(
        &self,
        limits: &StoreLimits,
        entry: &GlobalEntry,
        branch_id: BranchId,
        now_ms: i64,
    ) -> Verdict {
        let status = entry.global.status;
        if entry.position(branch_id).is_none() {
            return told(Outcome::NoBranch, entry.after);
        }
        if status == GlobalStatus::Begin {
            return told(Outcome::Status(status), entry.after);
        }
        match end_of_drive(status) {
            Some(end) if entry.global.branches.len() == 1 => self.end(limits, entry, end, now_ms),
            _ => {
                let change = Change::BranchEnded {
                    transaction_id: id(entry),
                    branch_id,
                };
                self.changed(Outcome::Done, change)
            }
        }
    }

    fn decide_status(
        &self,
        entry: &GlobalEntry,
        from: GlobalStatus,
        to: GlobalStatus,
        now_ms: i64,
    ) -> Verdict {
        let global = &entry.global;
        if global.status != from || (from != to && !may_move(global.saga, from, to)) {
            return told(Outcome::Status(global.status), entry.after);
        }
        if from == to {
            return told(Outcome::Done, entry.after);
        }
        let decided = from != GlobalStatus::Begin;
        let change = Change::Moved {
            transaction_id: id(entry),
            status: to,
            decided_ms: if decided { global.decided_ms } else { now_ms },
            unlock: false,
        };
        self.changed(Outcome::Done, change)
    }

    fn decide_query(&self, xid: &Text, resource_id: &str, lock_key: &str, now_ms: i64) -> Verdict {
        if let Err(malformed) = lock::parse(lock_key) {
            return told(Outcome::Failed(malformed.to_string()), Seq(0));
        }
        let asker = match Xid::parse(xid).map(|xid| self.undecided(&xid, now_ms)) {
            Some(Err(expired @ Absent::Expired(_))) => return expired.into(),
            Some(Ok(entry)) => Some(id(entry)),
            _ => None,
        };
        // Free rows may have been freed by a change that is not durable yet, which would bring them back.
        self.conflict(asker, resource_id, lock_key)
            .unwrap_or_else(|| told(Outcome::Done, self.freed))
    }

    fn conflict(&self, asker: Option<i64>, resource_id: &str, lock_key: &str) -> Option<Verdict> {
        let (row, holder) = self.locks.conflict(asker, resource_id, lock_key)?;
        let entry = &self.globals[&holder.transaction_id];
        let conflict = Conflict {
            row: lock::row_name(resource_id, &row),
            xid: entry.global.xid.clone(),
            branch_id: holder.branch_id,
            since_ms: holder.since_ms,
            rolling_back: direction(entry.global.status) == Some(Direction::Rollback),
        };
        Some(told(Outcome::Conflict(conflict), entry.after))
    }

    fn end(&self, limits: &StoreLimits, entry: &GlobalEntry, end: End, now_ms: i64) -> Verdict {
        let tombstone = Tombstone {
            end,
            decided_ms: match entry.global.decided_ms {
                0 => now_ms,
                decided_ms => decided_ms,
            },
            ended_ms: now_ms,
        };
        let forgotten = (self.tombstones.len() + 1).saturating_sub(limits.tombstones_max.max(1));
        let change = Change::Ended {
            transaction_id: id(entry),
            tombstone,
            forgotten: u32::try_from(forgotten).unwrap_or(u32::MAX),
        };
        self.changed(Outcome::Finished(tombstone), change)
    }

    /// The live transaction, or what to answer without one.
    fn present(&self, xid: &Xid) -> Result<&GlobalEntry, Absent> {
        self.live(xid)
            .ok_or_else(|| match self.tombstones.get(xid) {
                Some((tombstone, after)) => Absent::Ended(tombstone, after),
                None => Absent::Unknown(self.forgot),
            })
    }

    /// As [`State::present`], but one that should time out first is refused.
    fn undecided(&self, xid: &Xid, now_ms: i64) -> Result<&GlobalEntry, Absent> {
        let entry = self.present(xid)?;
        if entry.global.status == GlobalStatus::Begin && is_expired(&entry.global, now_ms) {
            return Err(Absent::Expired(entry.after));
        }
        Ok(entry)
    }

    fn changed(&self, outcome: Outcome, change: Change) -> Verdict {
        Verdict {
            outcome,
            change: Some(change),
            after: Seq(self.seq.0 + 1),
        }
    }
}

/// Tombstones that one operation forgets, about: no other work has its turn meanwhile.
const FORGOTTEN_AT_ONCE: usize = 4096;

fn told(outcome: Outcome, after: Seq) -> Verdict {
    Verdict {
        outcome,
        change: None,
        after,
    }
}

fn id(entry: &GlobalEntry) -> i64 {
    entry.global.xid.transaction_id()
}

/// A timeout of 0 or less is due at once.
fn is_expired(global: &Global, now_ms: i64) -> bool {
    global.timeout_ms <= 0 || now_ms.saturating_sub(global.begin_ms) > i64::from(global.timeout_ms)
}

/// AT branches have committed locally, failed ones have nothing to commit: neither keeps the caller waiting.
fn commits_later(branch: &Branch) -> bool {
    let failed = matches!(
        branch.status,
        BranchStatus::PhaseOneFailed | BranchStatus::PhaseOnePrepareFailed
    );
    failed || branch.branch_type == BranchType::At
}

fn too_long(limits: &StoreLimits, texts: &[(&'static str, &Text)]) -> Option<Verdict> {
    texts.iter().find_map(|(name, text)| {
        let long = text.as_bytes().len() > limits.text_bytes_max;
        long.then(|| told(Outcome::Limit(name), Seq(0)))
    })
}
