//! The two threads of a journal: one writes and syncs, one does the housekeeping.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use super::disk::Disk;
use super::keeper::{Keeper, Step};
use super::segment::{Segment, SegmentHead};
use super::writer::{Batch, Progress, Writer};
use super::{Durable, Notify, Seq, Shared};

/// The store's end of the threads.
///
/// The channel to the sync thread has no bound of its own: what waits in it are operations whose requests the coordinator
/// still holds, and those are bounded (network.md, lane depth).
pub(super) struct Threads {
    batches: Option<Sender<Batch>>,
    buffers: Receiver<Vec<u8>>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    pub(super) fn start<D: Disk>(
        writer: Writer<D>,
        keeper: Keeper<D>,
        shared: Arc<Shared>,
        notify: Notify,
    ) -> io::Result<Self> {
        let (batches, waiting) = unbounded();
        let (used, buffers) = bounded(BUFFERS_MAX);
        let (news, told) = unbounded();
        let (made, spares) = unbounded();
        let sync = SyncThread {
            writer,
            shared: shared.clone(),
            notify,
            waiting,
            used,
            news,
            spares,
        };
        let keep = KeeperThread {
            keeper,
            shared,
            told,
            made,
        };
        let spawn = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let keep = spawn("journal-keep").spawn(move || keep.run())?;
        let sync = spawn("journal-sync").spawn(move || sync.run())?;
        Ok(Self {
            batches: Some(batches),
            buffers,
            handles: vec![sync, keep],
        })
    }

    pub(super) fn send(&self, batch: Batch) {
        if let Some(batches) = &self.batches {
            // A thread that is gone has said so: the store failed, and nothing of this batch is ever told.
            let _ = batches.send(batch);
        }
    }

    /// A buffer that was written before.
    pub(super) fn spare_buffer(&self) -> Option<Vec<u8>> {
        self.buffers.try_recv().ok()
    }

    /// Lets the threads finish what waits, and waits for them.
    pub(super) fn stop(&mut self) {
        self.batches = None;
        for handle in self.handles.drain(..) {
            // A panic of theirs has been told as a failure already.
            let _ = handle.join();
        }
    }
}

struct SyncThread<D: Disk> {
    writer: Writer<D>,
    shared: Arc<Shared>,
    notify: Notify,
    waiting: Receiver<Batch>,
    used: Sender<Vec<u8>>,
    news: Sender<News>,
    spares: Receiver<Segment<D::File>>,
}

enum News {
    Sealed(SegmentHead),
    SpareUsed(u64),
    Made(u64),
    Late(SegmentHead),
}

impl<D: Disk> SyncThread<D> {
    fn run(mut self) {
        let mut batches = Vec::new();
        while let Ok(first) = self.waiting.recv() {
            batches.push(first);
            batches.extend(self.waiting.try_iter());
            self.writer.spares.extend(self.spares.try_iter());
            let panics = PanicGuard(&self.shared, &self.notify);
            let (shared, news, notify) = (&self.shared, &self.news, &self.notify);
            let written = self.writer.write(&batches, &mut |progress| {
                shared.note(&progress);
                let _ = match progress {
                    Progress::Synced { durable, .. } => {
                        notify(Durable::UpTo(Seq(durable)));
                        Ok(())
                    }
                    Progress::Sealed { head, .. } => news.send(News::Sealed(head)),
                    Progress::SpareUsed(id) => news.send(News::SpareUsed(id)),
                    Progress::Made { id, .. } => news.send(News::Made(id)),
                    Progress::Late(head) => news.send(News::Late(head)),
                };
            });
            std::mem::forget(panics);
            self.shared.taken(&batches);
            if let Err(error) = written {
                log::error!("journal: writing failed, nothing is acknowledged any more: {error}");
                self.shared.fail(&error);
                (self.notify)(Durable::Failed(error));
                return;
            }
            for mut batch in batches.drain(..) {
                if batch.records.capacity() <= BUFFER_BYTES_KEPT {
                    batch.records.clear();
                    let _ = self.used.try_send(batch.records);
                }
            }
            if self.writer.buffer.capacity() > WRITE_BYTES_KEPT {
                self.writer.buffer = Vec::new();
            }
        }
        if let Err(error) = self.writer.close() {
            log::warn!("journal: the mark of an orderly stop could not be written: {error}");
        }
    }
}

/// Tells a panic of the sync thread as a failure, since nobody would be answered otherwise.
struct PanicGuard<'a>(&'a Shared, &'a Notify);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        let error = io::Error::other("the sync thread panicked");
        self.0.fail(&error);
        (self.1)(Durable::Failed(error));
    }
}

struct KeeperThread<D: Disk> {
    keeper: Keeper<D>,
    shared: Arc<Shared>,
    told: Receiver<News>,
    made: Sender<Segment<D::File>>,
}

impl<D: Disk> KeeperThread<D> {
    fn run(mut self) {
        let mut wait = None;
        loop {
            if wait.is_none() {
                wait = match self.keep() {
                    Ok(()) => Some(None),
                    Err(()) => Some(Some(RETRY)),
                };
            }
            let received = match wait.flatten() {
                None => self.told.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(retry) => self.told.recv_timeout(retry),
            };
            match received {
                Ok(news) => {
                    self.learn(news);
                    while let Ok(news) = self.told.try_recv() {
                        self.learn(news);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            wait = None;
        }
    }

    fn learn(&mut self, news: News) {
        match news {
            News::Sealed(head) => self.keeper.handle_sealed(head),
            News::SpareUsed(id) => self.keeper.handle_spare_used(id),
            News::Made(id) => self.keeper.handle_made(id),
            News::Late(head) => self.keeper.handle_late(head),
        }
    }

    /// Steps until there is nothing left to do; an error is tried again later.
    fn keep(&mut self) -> Result<(), ()> {
        loop {
            match self.keeper.step() {
                Ok(Step::Idle) => {
                    if self.shared.full.swap(false, Ordering::AcqRel) {
                        log::info!("journal: there is room on the disk again");
                    }
                    return Ok(());
                }
                Ok(Step::Removed) => {}
                Ok(Step::Compacted(bytes)) => log::debug!("journal: snapshot of {bytes} bytes"),
                Ok(Step::Spare(spare)) => {
                    self.shared.add_room(spare.head.room());
                    let _ = self.made.send(spare);
                }
                Err(error) => {
                    let full = error.is_full();
                    if !full {
                        log::error!("{error}");
                    } else if !self.shared.full.swap(true, Ordering::AcqRel) {
                        log::error!("{error}; begins will be refused when the reserve is reached");
                    }
                    return Err(());
                }
            }
            while let Ok(news) = self.told.try_recv() {
                self.learn(news);
            }
        }
    }
}

/// Buffers that go round between the store and the sync thread.
const BUFFERS_MAX: usize = 8;
const BUFFER_BYTES_KEPT: usize = 256 << 10;
const WRITE_BYTES_KEPT: usize = 4 << 20;
/// A failed step of the keeper is tried again after this.
const RETRY: Duration = Duration::from_secs(1);
