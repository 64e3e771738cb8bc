//! What survives the process: stores whose syncs the simulation carries out, slowly, badly or not at all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seamio::sim::Rng;
use seamio::tc::store::{
    Completion, Decision, Global, MemoryStore, Operation, Seq, Store, StoreLimits, StoreStats,
    Ticket,
};

/// How a disk misbehaves on purpose, so that the checkers can be seen to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskBug {
    /// It does not.
    None,
    /// The store says "durable" as soon as it has written.
    EagerDurable,
    /// The disk says "synced" and loses some of it.
    LyingSync,
    /// The store goes on after a failed sync as if it had been a slow one.
    ForgivenSync,
    /// A decision is read back as another one.
    FlippedDecision,
    /// One lock stays when everything has ended.
    OrphanedLock,
}

/// How a sync ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncEnd {
    /// As it should.
    Fine,
    /// With an error; any part of it may be done.
    Refused,
    /// With everything.
    PowerCut,
}

/// A place where a store keeps things, and what the simulation does to it.
pub(crate) trait Medium {
    /// Opens what is there.
    ///
    /// # Errors
    /// It cannot be opened; the text says why.
    fn open(&mut self) -> Result<Box<dyn Store>, String>;

    /// Whether something waits for a sync; if so it has begun and [`Medium::synced`] has to follow.
    fn begin_sync(&mut self) -> bool;

    /// The sync that had begun ends. Returns whether it failed: the process has to end.
    fn synced(&mut self, end: SyncEnd, rng: &mut Rng) -> bool;

    /// Nothing has happened for a while.
    fn rest(&mut self) {}

    /// The disk has room for so many more bytes; none: as much as one likes.
    fn fill(&mut self, _room: Option<u64>) {}

    /// The process is gone, and perhaps the power: of what was not synced any part may be lost.
    fn crash(&mut self, rng: &mut Rng);
}

/// Operations in order: the simplest log there is. Keeps a memory store durable by repeating them.
pub(crate) struct OperationLog {
    shared: Arc<Mutex<Platter>>,
    bug: DiskBug,
}

#[derive(Default)]
struct Platter {
    operations: Vec<(Operation, Seq)>,
    written: Seq,
    durable: Seq,
    /// What the disk really has.
    kept: Seq,
    syncing: Option<Seq>,
    failure: Option<String>,
}

impl OperationLog {
    /// An empty log.
    pub(crate) fn new(bug: DiskBug) -> Self {
        Self {
            shared: Arc::default(),
            bug,
        }
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Medium for OperationLog {
    fn open(&mut self) -> Result<Box<dyn Store>, String> {
        let mut inner = MemoryStore::new(StoreLimits::default());
        let mut platter = self.platter();
        for (ticket, (operation, _)) in platter.operations.iter().enumerate() {
            inner.submit(Ticket(ticket as u64), operation.clone());
        }
        while inner.poll_completion().is_some() {}
        let at = inner.durable();
        (platter.written, platter.durable, platter.kept) = (at, at, at);
        (platter.syncing, platter.failure) = (None, None);
        let eager = self.bug == DiskBug::EagerDurable;
        let orphan = self.bug == DiskBug::OrphanedLock;
        drop(platter);
        Ok(Box::new(LoggedStore {
            inner,
            shared: Arc::clone(&self.shared),
            eager,
            orphan,
        }))
    }

    fn begin_sync(&mut self) -> bool {
        let mut platter = self.platter();
        if platter.syncing.is_some() || platter.written == platter.durable {
            return false;
        }
        platter.syncing = Some(platter.written);
        true
    }

    fn synced(&mut self, end: SyncEnd, _rng: &mut Rng) -> bool {
        let bug = self.bug;
        let mut platter = self.platter();
        let Some(reached) = platter.syncing.take() else {
            return false;
        };
        let failed = end != SyncEnd::Fine;
        if failed && bug != DiskBug::ForgivenSync {
            platter.failure = Some("the disk refused to sync".to_owned());
            return true;
        }
        platter.durable = reached;
        if !failed && bug != DiskBug::LyingSync {
            platter.kept = reached;
        }
        failed
    }

    fn crash(&mut self, rng: &mut Rng) {
        let mut platter = self.platter();
        let kept = platter.kept;
        let sure = platter.operations.partition_point(|(_, seq)| *seq <= kept);
        let torn = rng.index(platter.operations.len() - sure + 1);
        platter.operations.truncate(sure + torn);
        if self.bug == DiskBug::FlippedDecision {
            for (operation, _) in &mut platter.operations {
                if let Operation::Decide {
                    decision: decision @ Decision::Commit,
                    ..
                } = operation
                {
                    *decision = Decision::Rollback;
                }
            }
        }
    }
}

struct LoggedStore {
    inner: MemoryStore,
    shared: Arc<Mutex<Platter>>,
    eager: bool,
    orphan: bool,
}

impl LoggedStore {
    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for LoggedStore {
    fn submit(&mut self, ticket: Ticket, operation: Operation) {
        let before = self.inner.durable();
        self.inner.submit(ticket, operation.clone());
        let after = self.inner.durable();
        if after != before {
            self.platter().operations.push((operation, after));
        }
    }

    fn poll_completion(&mut self) -> Option<Completion> {
        self.inner.poll_completion()
    }

    fn flush(&mut self) {
        let written = self.inner.durable();
        self.platter().written = written;
    }

    fn durable(&self) -> Seq {
        match self.eager {
            true => self.inner.durable(),
            false => self.platter().durable,
        }
    }

    fn scan(&self, visit: &mut dyn FnMut(&Global)) {
        self.inner.scan(visit);
    }

    fn highest_id(&self) -> i64 {
        self.inner.highest_id()
    }

    fn failure(&self) -> Option<String> {
        self.platter().failure.clone()
    }

    fn stats(&self) -> StoreStats {
        let stats = self.inner.stats();
        let locks = stats.locks + usize::from(self.orphan && stats.tombstones > 2);
        StoreStats { locks, ..stats }
    }
}
