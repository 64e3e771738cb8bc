//! The reference beside the real store: a memory store that holds what the real one calls durable, no more.

use seamio::proto::status::GlobalStatus;
use seamio::tc::store::{
    Completion, End, Global, MemoryStore, Operation, Outcome, Seq, Store, StoreLimits, Ticket,
};
use seamio::xid::Xid;

/// Which way a transaction went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Commit,
    Rollback,
    Timeout,
}

impl Way {
    /// The direction a status belongs to.
    pub(crate) fn of(status: GlobalStatus) -> Option<Self> {
        use GlobalStatus as S;
        match status {
            S::Committing | S::CommitRetrying | S::AsyncCommitting | S::Committed => {
                Some(Self::Commit)
            }
            S::CommitFailed | S::CommitRetryTimeout | S::StopCommitOrCommitRetry => {
                Some(Self::Commit)
            }
            S::Rollbacking | S::RollbackRetrying | S::Rollbacked | S::RollbackFailed => {
                Some(Self::Rollback)
            }
            S::RollbackRetryTimeout | S::StopRollbackOrRollbackRetry => Some(Self::Rollback),
            S::TimeoutRollbacking | S::TimeoutRollbackRetrying => Some(Self::Timeout),
            S::TimeoutRollbacked | S::TimeoutRollbackFailed => Some(Self::Timeout),
            S::Unknown | S::Begin | S::Finished | S::Deleting => None,
        }
    }

    /// Whether branches are committed.
    pub(crate) fn is_commit(self) -> bool {
        self == Self::Commit
    }
}

/// What a store knows of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Unknown,
    Live(GlobalStatus),
    Ended(End),
}

impl Standing {
    /// What was decided.
    pub(crate) fn way(self) -> Option<Way> {
        match self {
            Self::Unknown | Self::Ended(End::Finished) => None,
            Self::Live(status) => Way::of(status),
            Self::Ended(End::Committed) => Some(Way::Commit),
            Self::Ended(End::RolledBack) => Some(Way::Rollback),
            Self::Ended(End::TimedOut) => Some(Way::Timeout),
        }
    }
}

/// Asks a store how a transaction stands, without changing anything.
pub(crate) fn standing(store: &mut dyn Store, xid: &Xid) -> Standing {
    let look = Operation::LookUp {
        xid: xid.clone(),
        now_ms: 0,
    };
    store.submit(Ticket(u64::MAX), look);
    match store.poll_completion().map(|done| done.outcome) {
        Some(Outcome::Status(status)) => Standing::Live(status),
        // Due at once, as a timeout of 0 is, or by a clock that went back.
        Some(Outcome::Expired) => Standing::Live(GlobalStatus::Begin),
        Some(Outcome::Ended(tombstone)) => Standing::Ended(tombstone.end),
        _ => Standing::Unknown,
    }
}

/// Everything a store shows of its live transactions.
pub(crate) fn contents(store: &dyn Store) -> Vec<Global> {
    let mut globals = Vec::new();
    store.scan(&mut |global| globals.push(global.clone()));
    globals
}

/// The reference.
pub(crate) struct Shadow {
    reference: MemoryStore,
    operations: Vec<(Operation, Completion)>,
    applied: usize,
}

impl Shadow {
    /// Nothing is kept.
    pub(crate) fn new() -> Self {
        Self {
            reference: MemoryStore::new(StoreLimits::default()),
            operations: Vec::new(),
            applied: 0,
        }
    }

    /// The real store carried out an operation.
    pub(crate) fn carried_out(&mut self, operation: Operation, completion: Completion) {
        // A full or failed disk refuses: nothing has changed, and the reference has no disk.
        if matches!(completion.outcome, Outcome::Limit(_) | Outcome::Failed(_)) {
            return;
        }
        self.operations.push((operation, completion));
    }

    /// The real store says that everything up to here is durable.
    ///
    /// # Errors
    /// It had answered something else than the reference does.
    pub(crate) fn durable(&mut self, durable: Seq) -> Result<(), String> {
        while let Some((operation, completion)) = self.operations.get(self.applied) {
            if completion.after > durable {
                break;
            }
            let outcome = carry_out(&mut self.reference, operation.clone());
            if outcome != completion.outcome {
                let told = &completion.outcome;
                return Err(format!(
                    "{operation:?}: the store answered {told:?}, the reference {outcome:?}"
                ));
            }
            self.applied += 1;
        }
        Ok(())
    }

    /// How a transaction stands on stable storage.
    pub(crate) fn standing(&mut self, xid: &Xid) -> Standing {
        standing(&mut self.reference, xid)
    }

    /// A live transaction on stable storage.
    pub(crate) fn global(&self, xid: &Xid) -> Option<Global> {
        contents(&self.reference)
            .into_iter()
            .find(|global| global.xid == *xid)
    }

    /// A new process opened the store: it must hold what some prefix of the operations makes, at least the durable
    /// part. The reference becomes that prefix.
    ///
    /// # Errors
    /// No prefix fits.
    pub(crate) fn recover(&mut self, store: &dyn Store) -> Result<(), String> {
        let found = contents(store);
        loop {
            if sizes(&self.reference) == sizes(store) && contents(&self.reference) == found {
                break;
            }
            let Some((operation, _)) = self.operations.get(self.applied) else {
                let sure = contents(&self.reference).len();
                return Err(format!(
                    "{} transactions recovered, of {sure} by all {} operations; no prefix fits: {}",
                    found.len(),
                    self.operations.len(),
                    difference(&contents(&self.reference), &found),
                ));
            };
            carry_out(&mut self.reference, operation.clone());
            self.applied += 1;
        }
        // What a crash took is forgotten; what is kept is in the reference.
        self.operations.clear();
        self.applied = 0;
        Ok(())
    }
}

fn carry_out(store: &mut MemoryStore, operation: Operation) -> Outcome {
    store.submit(Ticket(0), operation);
    store
        .poll_completion()
        .expect("a memory store answers at once")
        .outcome
}

/// Tells apart states that differ in what has ended only.
fn sizes(store: &dyn Store) -> [usize; 4] {
    let stats = store.stats();
    [stats.globals, stats.branches, stats.locks, stats.tombstones]
}

fn difference(expected: &[Global], found: &[Global]) -> String {
    for global in expected {
        match found.iter().find(|other| other.xid == global.xid) {
            None => return format!("{} ({}) is missing", global.xid, global.status),
            Some(other) if other != global => return format!("{other:?} instead of {global:?}"),
            Some(_) => {}
        }
    }
    found
        .iter()
        .find(|g| !expected.contains(g))
        .map_or_else(String::new, |g| format!("{} is extra", g.xid))
}
