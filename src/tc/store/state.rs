//! Everything a resident store knows, and how a change is applied to it. What to change is decided in `decision`, which
//! only reads.
//!
//! The state is a function of the changes applied to it, in their order. It reads no clock and no configuration while it
//! applies, so a log of changes gives the same state each time it is replayed.

use std::collections::{HashMap, HashSet};

use super::change::Change;
use super::texts::Texts;
use super::tombstones::{Tombstones, address_of};
use super::{
    Branch, Global, NewGlobal, Operation, Outcome, Seq, StoreLimits, StoreStats, Tombstone,
};
use crate::proto::Text;
use crate::proto::status::{BranchType, GlobalStatus};
use crate::tc::lock::{Holder, HolderKey, LockTable};
use crate::xid::{BranchId, Xid, later_made};

/// The resident state of a store.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(super) globals: HashMap<i64, GlobalEntry>,
    /// Every live branch id, whatever its transaction.
    pub(super) branch_ids: HashSet<i64>,
    pub(super) locks: LockTable,
    pub(super) tombstones: Tombstones,
    /// Number of the last change.
    pub(super) seq: Seq,
    /// The last change that freed rows.
    pub(super) freed: Seq,
    /// The last change that forgot tombstones.
    pub(super) forgot: Seq,
    /// The id made last, see [`later_made`].
    pub(super) highest_id: i64,
    texts: Texts,
}

/// A live transaction.
#[derive(Debug)]
pub(crate) struct GlobalEntry {
    pub(super) global: Global,
    /// What each branch holds in the lock table, in the order of `global.branches`.
    pub(super) held: Vec<Option<HolderKey>>,
    /// A branch has been registered, so SAGA or not is settled.
    pub(super) settled: bool,
    /// The last change to it.
    pub(super) after: Seq,
}

/// A change does not fit the state: the log that it came from is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Misfit(pub(crate) &'static str);

/// Branches as a snapshot keeps them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KeptBranch {
    pub(crate) branch: Branch,
    pub(crate) locked: bool,
}

impl State {
    /// Decides an operation and applies what it changes. The number is that of the last change the outcome tells about.
    pub(crate) fn carry_out(
        &mut self,
        limits: &StoreLimits,
        operation: Operation,
    ) -> (Outcome, Seq) {
        let verdict = self.decide(limits, operation);
        if let Some(change) = verdict.change {
            self.apply(change)
                .expect("a change that was just decided fits the state");
        }
        (verdict.outcome, verdict.after)
    }

    /// An empty state, with what a snapshot says of its past.
    pub(crate) fn at(seq: Seq, highest_id: i64) -> Self {
        Self {
            seq,
            highest_id,
            ..Self::default()
        }
    }

    /// Applies one change and counts it.
    ///
    /// # Errors
    ///
    /// The change does not fit; the state is of no use then. Never so for a change that [`State::decide`] has just given.
    pub(crate) fn apply(&mut self, change: Change) -> Result<(), Misfit> {
        let seq = Seq(self.seq.0 + 1);
        match change {
            Change::Began(new) => self.begin(new, seq)?,
            Change::Registered {
                transaction_id,
                branch,
            } => self.register(transaction_id, branch, seq)?,
            Change::Reported {
                transaction_id,
                branch_id,
                status,
                application_data,
            } => {
                let entry = self.entry(transaction_id)?;
                let index = entry.position(branch_id).ok_or(NO_BRANCH)?;
                let branch = &mut entry.global.branches[index];
                branch.status = status;
                if !is_blank(&application_data) {
                    branch.application_data = application_data.detached();
                }
                entry.after = seq;
            }
            Change::Moved {
                transaction_id,
                status,
                decided_ms,
                unlock,
            } => {
                let entry = self.entry(transaction_id)?;
                entry.global.status = status;
                entry.global.decided_ms = decided_ms;
                entry.after = seq;
                if unlock {
                    self.unlock(transaction_id, seq);
                }
            }
            Change::BranchEnded {
                transaction_id,
                branch_id,
            } => {
                let entry = self.entry(transaction_id)?;
                let index = entry.position(branch_id).ok_or(NO_BRANCH)?;
                entry.global.branches.remove(index);
                let held = entry.held.remove(index);
                entry.after = seq;
                if let Some(held) = held {
                    self.locks.release(held);
                    self.freed = seq;
                }
                self.branch_ids.remove(&branch_id.0);
            }
            Change::Ended {
                transaction_id,
                tombstone,
                forgotten,
            } => {
                self.unlock(transaction_id, seq);
                let entry = self.globals.remove(&transaction_id).ok_or(NO_GLOBAL)?;
                for branch in &entry.global.branches {
                    self.branch_ids.remove(&branch.branch_id.0);
                }
                // A damaged count must not keep a start busy.
                if forgotten as usize > self.tombstones.len() {
                    return Err(NO_TOMBSTONE);
                }
                for _ in 0..forgotten {
                    self.tombstones.forget_oldest();
                    self.forgot = seq;
                }
                let address = address_of(&entry.global.xid);
                self.tombstones
                    .insert(address, transaction_id, tombstone, seq);
            }
            Change::Unlocked { transaction_id } => {
                self.entry(transaction_id)?.after = seq;
                self.unlock(transaction_id, seq);
            }
            Change::Forgot { before_ms } => {
                self.tombstones.forget_before(before_ms);
                self.forgot = seq;
            }
        }
        self.seq = seq;
        Ok(())
    }

    /// Puts back a transaction from a snapshot.
    pub(crate) fn restore(
        &mut self,
        mut global: Global,
        branches: Vec<KeptBranch>,
        settled: bool,
    ) -> Result<(), Misfit> {
        let transaction_id = global.xid.transaction_id();
        if self.globals.contains_key(&transaction_id) || self.tombstones.has_id(transaction_id) {
            return Err(ID_TAKEN);
        }
        self.highest_id = later_made(self.highest_id, transaction_id);
        global.xid = global.xid.detached();
        global.application_id = self.texts.shared(&global.application_id);
        global.transaction_service_group = self.texts.shared(&global.transaction_service_group);
        global.name = global.name.detached();
        let mut held = Vec::with_capacity(branches.len());
        global.branches.reserve_exact(branches.len());
        for KeptBranch { mut branch, locked } in branches {
            self.keep_branch(&mut branch)?;
            held.push(match locked {
                true => Some(self.lock(transaction_id, &branch)?),
                false => None,
            });
            global.branches.push(branch);
        }
        let entry = GlobalEntry {
            global,
            held,
            settled,
            after: Seq(0),
        };
        self.globals.insert(transaction_id, entry);
        Ok(())
    }

    /// Puts back a tombstone from a snapshot.
    pub(crate) fn restore_tombstone(
        &mut self,
        xid: &Xid,
        tombstone: Tombstone,
    ) -> Result<(), Misfit> {
        let id = xid.transaction_id();
        if self.globals.contains_key(&id) || self.tombstones.has_id(id) {
            return Err(ID_TAKEN);
        }
        self.highest_id = later_made(self.highest_id, id);
        self.tombstones
            .insert(address_of(xid), id, tombstone, Seq(0));
        Ok(())
    }

    /// Live transactions in the order of their ids.
    pub(crate) fn entries(&self) -> Vec<&GlobalEntry> {
        let mut entries: Vec<_> = self.globals.values().collect();
        entries.sort_unstable_by_key(|entry| entry.global.xid.transaction_id());
        entries
    }

    pub(crate) fn scan(&self, visit: &mut dyn FnMut(&Global)) {
        for entry in self.entries() {
            visit(&entry.global);
        }
    }

    /// Gauges; the counters of a disk are zero.
    pub(crate) fn stats(&self) -> StoreStats {
        StoreStats {
            globals: self.globals.len(),
            branches: self.branch_ids.len(),
            locks: self.locks.len(),
            tombstones: self.tombstones.len(),
            ..StoreStats::default()
        }
    }

    pub(crate) fn seq(&self) -> Seq {
        self.seq
    }

    pub(crate) fn highest_id(&self) -> i64 {
        self.highest_id
    }

    /// The live transaction with this xid.
    pub(super) fn live(&self, xid: &Xid) -> Option<&GlobalEntry> {
        let entry = self.globals.get(&xid.transaction_id())?;
        (entry.global.xid.as_text().as_bytes() == xid.as_text().as_bytes()).then_some(entry)
    }

    fn begin(&mut self, new: NewGlobal, seq: Seq) -> Result<(), Misfit> {
        let transaction_id = new.xid.transaction_id();
        if self.globals.contains_key(&transaction_id) || self.tombstones.has_id(transaction_id) {
            return Err(ID_TAKEN);
        }
        let global = Global {
            xid: new.xid.detached(),
            status: GlobalStatus::Begin,
            application_id: self.texts.shared(&new.application_id),
            transaction_service_group: self.texts.shared(&new.transaction_service_group),
            saga: new.name.starts_with(SAGA_NAME),
            name: new.name.detached(),
            timeout_ms: new.timeout_ms,
            begin_ms: new.begin_ms,
            decided_ms: 0,
            branches: Vec::new(),
        };
        let entry = GlobalEntry {
            global,
            held: Vec::new(),
            settled: false,
            after: seq,
        };
        self.globals.insert(transaction_id, entry);
        self.highest_id = later_made(self.highest_id, transaction_id);
        Ok(())
    }

    fn register(
        &mut self,
        transaction_id: i64,
        mut branch: Branch,
        seq: Seq,
    ) -> Result<(), Misfit> {
        if !self.globals.contains_key(&transaction_id) {
            return Err(NO_GLOBAL);
        }
        self.keep_branch(&mut branch)?;
        let held = match branch.lock_key.as_bytes().is_empty() {
            true => None,
            false => Some(self.lock(transaction_id, &branch)?),
        };
        let entry = self.entry(transaction_id)?;
        if !entry.settled {
            entry.settled = true;
            entry.global.saga = branch.branch_type == BranchType::Saga;
        }
        entry.global.branches.push(branch);
        entry.held.push(held);
        entry.after = seq;
        Ok(())
    }

    /// Gives a branch texts of its own, or shared ones, and counts its id.
    fn keep_branch(&mut self, branch: &mut Branch) -> Result<(), Misfit> {
        if !self.branch_ids.insert(branch.branch_id.0) {
            return Err(ID_TAKEN);
        }
        self.highest_id = later_made(self.highest_id, branch.branch_id.0);
        branch.resource_id = self.texts.shared(&branch.resource_id);
        branch.client_id = self.texts.shared(&branch.client_id);
        branch.application_data = branch.application_data.detached();
        branch.lock_key = branch.lock_key.detached();
        Ok(())
    }

    fn lock(&mut self, transaction_id: i64, branch: &Branch) -> Result<HolderKey, Misfit> {
        let holder = Holder {
            transaction_id,
            branch_id: branch.branch_id,
            since_ms: branch.registered_ms,
            resource_id: branch.resource_id.clone(),
            lock_key: branch.lock_key.clone(),
        };
        let taken = self.locks.acquire(holder);
        taken.map_err(|_| Misfit("a row is held by another transaction"))
    }

    /// Frees every row of a transaction.
    fn unlock(&mut self, transaction_id: i64, seq: Seq) {
        let Some(entry) = self.globals.get_mut(&transaction_id) else {
            return;
        };
        // The last first: what branches share is handed on least often that way.
        for held in entry.held.iter_mut().rev().filter_map(Option::take) {
            self.locks.release(held);
            self.freed = seq;
        }
    }

    fn entry(&mut self, transaction_id: i64) -> Result<&mut GlobalEntry, Misfit> {
        self.globals.get_mut(&transaction_id).ok_or(NO_GLOBAL)
    }
}

impl GlobalEntry {
    /// The transaction with none of its branches but this one.
    pub(super) fn excerpt(&self, branch_id: Option<BranchId>) -> Global {
        let branch = branch_id.and_then(|id| self.position(id));
        let global = &self.global;
        Global {
            xid: global.xid.clone(),
            status: global.status,
            application_id: global.application_id.clone(),
            transaction_service_group: global.transaction_service_group.clone(),
            name: global.name.clone(),
            timeout_ms: global.timeout_ms,
            begin_ms: global.begin_ms,
            decided_ms: global.decided_ms,
            saga: global.saga,
            branches: branch
                .map(|i| global.branches[i].clone())
                .into_iter()
                .collect(),
        }
    }

    /// Where a branch stands. Commits end branches from the front, rollbacks from the back, so both are quick.
    pub(super) fn position(&self, branch_id: BranchId) -> Option<usize> {
        let branches = &self.global.branches;
        if branches.last()?.branch_id == branch_id {
            return Some(branches.len() - 1);
        }
        branches.iter().position(|b| b.branch_id == branch_id)
    }
}

pub(crate) fn is_blank(text: &Text) -> bool {
    text.chars().all(char::is_whitespace)
}

/// Names of transactions that a SAGA engine begins start so (coordinator.md 1.4).
const SAGA_NAME: &str = "$Saga_";
const NO_GLOBAL: Misfit = Misfit("no such transaction");
const NO_BRANCH: Misfit = Misfit("no such branch");
const NO_TOMBSTONE: Misfit = Misfit("more tombstones are forgotten than there are");
const ID_TAKEN: Misfit = Misfit("an id is there twice");
