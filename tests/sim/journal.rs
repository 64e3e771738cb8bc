//! The real journal over the simulated disk: syncs that fail, tear or are cut by the power, and a disk that fills up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seamio::sim::Rng;
use seamio::sim::disk::{Fault, SimDisk};
use seamio::tc::store::{
    Completion, Durable, Global, JournalConfig, JournalStore, Operation, Seq, Store, StoreLimits,
    StoreStats, Ticket,
};

use crate::medium::{Medium, SyncEnd};

type Shared = Arc<Mutex<JournalStore<SimDisk>>>;

/// A journal and its disk.
pub(crate) struct JournalMedium {
    disk: SimDisk,
    store: Option<Shared>,
    syncing: bool,
}

impl JournalMedium {
    /// An empty disk.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            disk: SimDisk::new(seed),
            store: None,
            syncing: false,
        }
    }

    fn lock(&self) -> Option<MutexGuard<'_, JournalStore<SimDisk>>> {
        self.store.as_ref().map(lock)
    }
}

impl Medium for JournalMedium {
    fn open(&mut self) -> Result<Box<dyn Store>, String> {
        let store = JournalStore::open_inline(self.disk.clone(), config());
        let store = Arc::new(Mutex::new(store.map_err(|error| error.to_string())?));
        self.store = Some(Arc::clone(&store));
        self.syncing = false;
        Ok(Box::new(Handle(store)))
    }

    fn begin_sync(&mut self) -> bool {
        let due = !self.syncing && self.lock().is_some_and(|store| store.is_sync_due());
        self.syncing |= due;
        due
    }

    fn synced(&mut self, end: SyncEnd, rng: &mut Rng) -> bool {
        self.syncing = false;
        let fault = match end {
            SyncEnd::Fine => None,
            SyncEnd::Refused => Some(if rng.chance(500) {
                Fault::Fail
            } else {
                Fault::Short
            }),
            SyncEnd::PowerCut => Some(Fault::Power),
        };
        if let Some(fault) = fault {
            self.disk
                .set_fault(self.disk.operations() + rng.below(6), fault);
        }
        match self.lock().and_then(|mut store| store.poll_sync()) {
            Some(Durable::Failed(_)) => true,
            Some(Durable::UpTo(_)) | None => false,
        }
    }

    fn rest(&mut self) {
        if let Some(mut store) = self.lock().filter(|store| !store.is_sync_due()) {
            // Nothing waits: only looks whether a full disk has room again.
            store.poll_sync();
        }
    }

    fn fill(&mut self, room: Option<u64>) {
        let used = self.disk.used();
        self.disk.set_capacity(room.map(|room| used + room));
    }

    fn crash(&mut self, rng: &mut Rng) {
        self.store = None;
        self.disk = if rng.chance(500) {
            self.disk.crash()
        } else {
            self.disk.kill()
        };
    }
}

/// Small enough that segments end, are used again, and are replaced by snapshots within one run.
fn config() -> JournalConfig {
    JournalConfig {
        limits: StoreLimits {
            application_data_bytes_max: 128,
            lock_key_bytes_max: 128,
            text_bytes_max: 128,
            ..StoreLimits::default()
        },
        segment_bytes: 16 << 10,
        first_segment_bytes: 12 << 10,
        spare_segments: 1,
        compact_bytes: 32 << 10,
        reserve_bytes: 8 << 10,
        ..JournalConfig::default()
    }
}

fn lock(store: &Shared) -> MutexGuard<'_, JournalStore<SimDisk>> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The process's end of the store; the simulation keeps the other to let its syncs happen.
struct Handle(Shared);

impl Store for Handle {
    fn submit(&mut self, ticket: Ticket, operation: Operation) {
        lock(&self.0).submit(ticket, operation);
    }

    fn poll_completion(&mut self) -> Option<Completion> {
        lock(&self.0).poll_completion()
    }

    fn flush(&mut self) {
        lock(&self.0).flush();
    }

    fn durable(&self) -> Seq {
        lock(&self.0).durable()
    }

    fn scan(&self, visit: &mut dyn FnMut(&Global)) {
        lock(&self.0).scan(visit);
    }

    fn highest_id(&self) -> i64 {
        lock(&self.0).highest_id()
    }

    fn failure(&self) -> Option<String> {
        lock(&self.0).failure()
    }

    fn stats(&self) -> StoreStats {
        lock(&self.0).stats()
    }
}
