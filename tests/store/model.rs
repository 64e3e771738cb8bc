//! The store's contract once more, as slowly and plainly as it can be written: no hash, no index, no log. Outcomes are
//! compared with it, and the lock table's size with what it says that live transactions list.

use std::collections::{BTreeMap, BTreeSet};

use seamio::proto::Text;
use seamio::proto::status::{BranchStatus, BranchType, GlobalStatus};
use seamio::tc::store::{
    Branch, Conflict, Decision, End, Global, Operation, Outcome, StoreLimits, Tombstone,
};
use seamio::xid::Xid;

pub(crate) struct Model {
    limits: StoreLimits,
    /// By transaction id: the transaction, and which of its branches hold rows.
    live: BTreeMap<i64, (Global, Vec<bool>, bool)>,
    ended: Vec<(Xid, Tombstone)>,
}

type Row = (String, String, String);

impl Model {
    pub(crate) fn new(limits: StoreLimits) -> Self {
        Self {
            limits,
            live: BTreeMap::new(),
            ended: Vec::new(),
        }
    }

    pub(crate) fn live(&self) -> Vec<Global> {
        self.live
            .values()
            .map(|(global, ..)| global.clone())
            .collect()
    }

    pub(crate) fn ended(&self) -> usize {
        self.ended.len()
    }

    pub(crate) fn locked_rows(&self) -> BTreeSet<Row> {
        let mut rows = BTreeSet::new();
        for (global, holds, _) in self.live.values() {
            for (branch, _) in global
                .branches
                .iter()
                .zip(holds)
                .filter(|(_, holds)| **holds)
            {
                rows.extend(rows_of(&branch.resource_id, &branch.lock_key));
            }
        }
        rows
    }

    pub(crate) fn run(&mut self, operation: &Operation) -> Outcome {
        match operation.clone() {
            Operation::Begin(new) => {
                let id = new.xid.transaction_id();
                let ended = self.ended.iter().any(|(xid, _)| xid.transaction_id() == id);
                if self.live.contains_key(&id) || ended {
                    return Outcome::Duplicate;
                }
                if self.live.len() >= self.limits.globals_max {
                    return Outcome::Limit("live global transactions");
                }
                let global = Global {
                    xid: new.xid,
                    status: GlobalStatus::Begin,
                    application_id: new.application_id,
                    transaction_service_group: new.transaction_service_group,
                    saga: new.name.starts_with("$Saga_"),
                    name: new.name,
                    timeout_ms: new.timeout_ms,
                    begin_ms: new.begin_ms,
                    decided_ms: 0,
                    branches: Vec::new(),
                };
                self.live.insert(id, (global, Vec::new(), false));
                Outcome::Done
            }
            Operation::Register(new) => self.register(new),
            Operation::Report {
                xid,
                branch_id,
                status,
                application_data,
                now_ms,
            } => {
                if let Some(outcome) = self.absent(&xid, Some(now_ms)) {
                    return outcome;
                }
                let (global, ..) = self.at(&xid);
                let now = global.status;
                let saga = global.saga;
                let branch = global
                    .branches
                    .iter_mut()
                    .find(|b| b.branch_id == branch_id);
                let Some(branch) = branch else {
                    return Outcome::NoBranch;
                };
                if now != GlobalStatus::Begin && !saga {
                    return Outcome::Status(now);
                }
                branch.status = status;
                if !application_data.trim().is_empty() {
                    branch.application_data = application_data;
                }
                Outcome::Done
            }
            Operation::Decide {
                xid,
                decision,
                now_ms,
            } => self.decide(&xid, decision, now_ms),
            Operation::EndBranch {
                xid,
                branch_id,
                now_ms,
                ..
            } => self.end_branch(&xid, branch_id, now_ms),
            Operation::SetStatus {
                xid,
                from,
                to,
                now_ms,
            } => self.set_status(&xid, from, to, now_ms),
            Operation::Finish { xid, end, now_ms } => match self.absent(&xid, None) {
                Some(outcome) => outcome,
                None => self.end(&xid, end, now_ms),
            },
            Operation::ReleaseLocks { xid } => match self.absent(&xid, None) {
                Some(outcome) => outcome,
                None => {
                    self.at(&xid).1.fill(false);
                    Outcome::Done
                }
            },
            Operation::LookUp { xid, now_ms } => match self.absent(&xid, Some(now_ms)) {
                Some(outcome) => outcome,
                None => Outcome::Status(self.at(&xid).0.status),
            },
            Operation::Fetch {
                xid,
                branch_id,
                now_ms,
            } => match self.absent(&xid, Some(now_ms)) {
                Some(outcome) => outcome,
                None => {
                    let mut global = self.at(&xid).0.clone();
                    global.branches.retain(|b| Some(b.branch_id) == branch_id);
                    Outcome::Found(global)
                }
            },
            Operation::QueryLocks {
                xid,
                resource_id,
                lock_key,
                now_ms,
            } => {
                let asker = Xid::parse(&xid).and_then(|xid| self.absent(&xid, Some(now_ms)));
                match self.conflict(&xid, &resource_id, &lock_key) {
                    _ if asker == Some(Outcome::Expired) => Outcome::Expired,
                    Some(conflict) => Outcome::Conflict(conflict),
                    None => Outcome::Done,
                }
            }
            Operation::Offer { .. } | Operation::Adopt { .. } => {
                unreachable!("only coordinators that share a store ask for it")
            }
            Operation::Forget { before_ms } => {
                self.ended
                    .retain(|(_, tombstone)| tombstone.ended_ms >= before_ms);
                Outcome::Done
            }
        }
    }

    fn register(&mut self, new: seamio::tc::store::NewBranch) -> Outcome {
        if let Some(outcome) = self.absent(&new.xid, Some(new.now_ms)) {
            return outcome;
        }
        let id_taken = self
            .live
            .values()
            .any(|(global, ..)| global.branches.iter().any(|b| b.branch_id == new.branch_id));
        let (global, ..) = self.at(&new.xid);
        use GlobalStatus::*;
        let over = [Committed, Rollbacked, TimeoutRollbacked, Finished, Deleting];
        let forward =
            global.saga && new.branch_type == BranchType::Saga && !over.contains(&global.status);
        if global.status != Begin && !forward {
            return Outcome::Status(global.status);
        }
        if id_taken {
            return Outcome::Duplicate;
        }
        if self.limits.application_data_bytes_max < new.application_data.len() {
            return Outcome::Limit("bytes of application data");
        }
        let branches = self.at(&new.xid).0.branches.len();
        if branches >= self.limits.branches_per_global_max {
            return Outcome::Limit("branches of one transaction");
        }
        let at = new.branch_type == BranchType::At;
        if at {
            let xid = new.xid.as_text().clone();
            if let Some(conflict) = self.conflict(&xid, &new.resource_id, &new.lock_key) {
                return Outcome::Conflict(conflict);
            }
            let listed = rows_of(&new.resource_id, &new.lock_key).len();
            if self.locked_rows().len() + listed > self.limits.locks_max {
                return Outcome::Limit("locked rows");
            }
        }
        let (global, holds, settled) = self.at(&new.xid);
        if !*settled {
            *settled = true;
            global.saga = new.branch_type == BranchType::Saga;
        }
        holds.push(at && !new.lock_key.is_empty());
        global.branches.push(Branch {
            branch_id: new.branch_id,
            branch_type: new.branch_type,
            status: BranchStatus::Registered,
            resource_id: new.resource_id,
            client_id: new.client_id,
            application_data: new.application_data,
            lock_key: if at { new.lock_key } else { Text::new() },
            registered_ms: new.now_ms,
        });
        Outcome::Done
    }

    fn decide(&mut self, xid: &Xid, decision: Decision, now_ms: i64) -> Outcome {
        if let Some(outcome) = self.absent(xid, None) {
            return outcome;
        }
        let (global, holds, _) = self.at(xid);
        if global.status != GlobalStatus::Begin {
            return Outcome::Status(global.status);
        }
        let late = expired(global, now_ms);
        let bare = global.branches.is_empty() && !global.saga;
        let later = global
            .branches
            .iter()
            .all(|b| b.branch_type == BranchType::At || has_nothing_to_commit(b.status));
        match decision {
            Decision::Commit if late => return Outcome::Expired,
            Decision::Timeout if !late => return Outcome::Status(global.status),
            Decision::Commit if bare => return self.end(xid, End::Committed, now_ms),
            Decision::Rollback if bare => return self.end(xid, End::RolledBack, now_ms),
            Decision::Commit => {
                holds.fill(false);
                global.status = match later {
                    true => GlobalStatus::AsyncCommitting,
                    false => GlobalStatus::Committing,
                };
            }
            Decision::Rollback => global.status = GlobalStatus::Rollbacking,
            Decision::Timeout => global.status = GlobalStatus::TimeoutRollbacking,
        }
        global.decided_ms = now_ms;
        Outcome::Decided(global.clone())
    }

    fn end_branch(&mut self, xid: &Xid, branch_id: seamio::xid::BranchId, now_ms: i64) -> Outcome {
        if let Some(outcome) = self.absent(xid, None) {
            return outcome;
        }
        let (global, holds, _) = self.at(xid);
        let index = global
            .branches
            .iter()
            .position(|b| b.branch_id == branch_id);
        let Some(index) = index else {
            return Outcome::NoBranch;
        };
        if global.status == GlobalStatus::Begin {
            return Outcome::Status(global.status);
        }
        global.branches.remove(index);
        holds.remove(index);
        let end = match global.status.code() {
            2 | 3 | 8 => End::Committed,
            4 | 5 => End::RolledBack,
            6 | 7 => End::TimedOut,
            _ => return Outcome::Done,
        };
        match global.branches.is_empty() {
            true => self.end(xid, end, now_ms),
            false => Outcome::Done,
        }
    }

    fn set_status(
        &mut self,
        xid: &Xid,
        from: GlobalStatus,
        to: GlobalStatus,
        now_ms: i64,
    ) -> Outcome {
        if let Some(outcome) = self.absent(xid, None) {
            return outcome;
        }
        let (global, ..) = self.at(xid);
        if global.status != from {
            return Outcome::Status(global.status);
        }
        if from == to {
            return Outcome::Done;
        }
        let commit = [2, 3, 8, 9, 10, 16, 19];
        let rollback = [4, 5, 6, 7, 11, 12, 13, 14, 17, 20];
        let same_way = |way: &[u8]| way.contains(&from.code()) && way.contains(&to.code());
        let decided = from != GlobalStatus::Begin;
        let allowed = to != GlobalStatus::Begin
            && ![9, 11, 13, 15, 18].contains(&from.code())
            && (global.saga
                || decided
                    && (to == GlobalStatus::Deleting || same_way(&commit) || same_way(&rollback)));
        if !allowed {
            return Outcome::Status(global.status);
        }
        global.status = to;
        if !decided {
            global.decided_ms = now_ms;
        }
        Outcome::Done
    }

    fn end(&mut self, xid: &Xid, end: End, now_ms: i64) -> Outcome {
        let (global, ..) = self.live.remove(&xid.transaction_id()).expect("it is live");
        let decided_ms = match global.decided_ms {
            0 => now_ms,
            decided_ms => decided_ms,
        };
        let tombstone = Tombstone {
            end,
            decided_ms,
            ended_ms: now_ms,
        };
        while self.ended.len() >= self.limits.tombstones_max {
            let age = |(xid, t): &&(Xid, Tombstone)| (t.ended_ms, xid.transaction_id());
            let oldest = self
                .ended
                .iter()
                .min_by_key(age)
                .expect("there are some")
                .0
                .clone();
            self.ended.retain(|(xid, _)| *xid != oldest);
        }
        self.ended.push((global.xid, tombstone));
        Outcome::Finished(tombstone)
    }

    fn at(&mut self, xid: &Xid) -> &mut (Global, Vec<bool>, bool) {
        self.live
            .get_mut(&xid.transaction_id())
            .expect("it is live")
    }

    fn absent(&self, xid: &Xid, now_ms: Option<i64>) -> Option<Outcome> {
        let live = self.live.get(&xid.transaction_id());
        if let Some((global, ..)) = live.filter(|(global, ..)| global.xid == *xid) {
            let begin = global.status == GlobalStatus::Begin;
            let late = now_ms.is_some_and(|now_ms| begin && expired(global, now_ms));
            return late.then_some(Outcome::Expired);
        }
        let tombstone = self.ended.iter().find(|(ended, _)| ended == xid);
        Some(tombstone.map_or(Outcome::Unknown, |(_, tombstone)| {
            Outcome::Ended(*tombstone)
        }))
    }

    fn conflict(&self, asker: &str, resource_id: &str, lock_key: &str) -> Option<Conflict> {
        for row in rows_of(resource_id, lock_key) {
            for (global, holds, _) in self.live.values() {
                if **global.xid.as_text() == *asker {
                    continue;
                }
                let holder = global.branches.iter().zip(holds).find(|(branch, holds)| {
                    **holds && rows_of(&branch.resource_id, &branch.lock_key).contains(&row)
                });
                if let Some((branch, _)) = holder {
                    let (resource, table, pk) = row;
                    return Some(Conflict {
                        row: format!("{resource}^^^{table}^^^{pk}"),
                        xid: global.xid.clone(),
                        branch_id: branch.branch_id,
                        since_ms: branch.registered_ms,
                        rolling_back: [4, 5, 6, 7, 11, 12, 13, 14, 17, 20]
                            .contains(&global.status.code()),
                    });
                }
            }
        }
        None
    }
}

fn expired(global: &Global, now_ms: i64) -> bool {
    global.timeout_ms <= 0 || now_ms - global.begin_ms > i64::from(global.timeout_ms)
}

fn rows_of(resource_id: &str, lock_key: &str) -> Vec<Row> {
    let groups = lock_key.split(';').filter(|group| !group.is_empty());
    let rows = groups.flat_map(|group| {
        let (table, pks) = group.split_once(':').expect("the key is well-formed");
        let pks = pks.split(',').filter(|pk| !pk.trim().is_empty());
        pks.map(|pk| (resource_id.to_owned(), table.to_owned(), pk.to_owned()))
    });
    rows.collect()
}

fn has_nothing_to_commit(status: BranchStatus) -> bool {
    matches!(
        status,
        BranchStatus::PhaseOneFailed | BranchStatus::PhaseOnePrepareFailed
    )
}
