//! The two threads of a journal: one writes and syncs, one does the housekeeping.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded, unbounded};

use super::disk::Disk;
use super::keeper::{Keeper, Step};
use super::segment::{Segment, SegmentHead};
use super::writer::{Batch, Progress, Writer};
use super::{Durable, Notify, OpenError, Seq, Shared};

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
        let notify = Arc::new(notify);
        let (batches, waiting) = unbounded();
        let (used, buffers) = bounded(BUFFERS_MAX);
        let (news, told) = unbounded();
        let (made, spares) = unbounded();
        let sync = SyncThread {
            writer,
            shared: shared.clone(),
            notify: notify.clone(),
            waiting,
            used,
            news,
            spares,
        };
        let keep = KeeperThread {
            keeper,
            shared,
            notify,
            told,
            made,
            pause: None,
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
    notify: Arc<Notify>,
    waiting: Receiver<Batch>,
    used: Sender<Vec<u8>>,
    news: Sender<News>,
    spares: Receiver<Segment<D::File>>,
}

enum News {
    Sealed(SegmentHead),
    SpareUsed,
    Made,
    Late(SegmentHead),
    Full,
}

impl<D: Disk> SyncThread<D> {
    fn run(mut self) {
        let (shared, notify) = (self.shared.clone(), self.notify.clone());
        let panics = PanicGuard("the sync thread panicked", &shared, &notify);
        let written = self.write_all();
        std::mem::forget(panics);
        if let Err(error) = written {
            log::error!("journal: writing failed, nothing is acknowledged any more: {error}");
            shared.fail(&error);
            notify(Durable::Failed(error));
        } else if let Err(error) = self.writer.close() {
            log::warn!("journal: the mark of an orderly stop could not be written: {error}");
        }
    }

    /// Writes until the store is gone and nothing waits.
    fn write_all(&mut self) -> io::Result<()> {
        let mut batches = Vec::new();
        while let Ok(first) = self.waiting.recv() {
            batches.push(first);
            batches.extend(self.waiting.try_iter());
            loop {
                self.write(&mut batches)?;
                if batches.is_empty() {
                    break;
                }
                self.wait_for_room(&mut batches)?;
            }
        }
        Ok(())
    }

    /// Writes batches and takes those that are durable out of `batches`.
    fn write(&mut self, batches: &mut Vec<Batch>) -> io::Result<()> {
        if self.shared.failed.get().is_some() {
            return Err(io::Error::other("the housekeeping failed"));
        }
        self.writer.add_spares(self.spares.try_iter());
        let (shared, news, notify) = (&self.shared, &self.news, &self.notify);
        let progress = &mut |progress| {
            shared.note(&progress);
            let _ = match progress {
                Progress::Synced { durable, .. } => {
                    notify(Durable::UpTo(Seq(durable)));
                    Ok(())
                }
                Progress::Sealed { head, .. } => news.send(News::Sealed(head)),
                Progress::SpareUsed => news.send(News::SpareUsed),
                Progress::Made { .. } => news.send(News::Made),
                Progress::Late(head) => news.send(News::Late(head)),
                Progress::Full => news.send(News::Full),
            };
        };
        let written = self.writer.write(batches, progress)?;
        shared.taken(&batches[..written]);
        self.writer.add_spares(self.spares.try_iter());
        self.writer.make_ahead(progress);
        for mut batch in batches.drain(..written) {
            if batch.records.capacity() <= BUFFER_BYTES_KEPT {
                batch.records.clear();
                let _ = self.used.try_send(batch.records);
            }
        }
        if self.writer.buffer.capacity() > WRITE_BYTES_KEPT {
            self.writer.buffer = Vec::new();
        }
        Ok(())
    }

    /// Waits for a spare segment, or until it is time to look whether the disk has room again.
    fn wait_for_room(&mut self, batches: &mut Vec<Batch>) -> io::Result<()> {
        match self.spares.recv_timeout(RETRY) {
            Ok(spare) => self.writer.add_spare(spare),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("the housekeeping ended"));
            }
        }
        loop {
            match self.waiting.try_recv() {
                Ok(batch) => batches.push(batch),
                Err(TryRecvError::Disconnected) if self.writer.spares.is_empty() => {
                    return Err(io::Error::new(
                        io::ErrorKind::StorageFull,
                        "the journal's disk was still full at the stop",
                    ));
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return Ok(()),
            }
        }
    }
}

/// Tells a panic of a thread as a failure, since nobody would be answered otherwise, or the disk would fill up unnoticed.
struct PanicGuard<'a>(&'static str, &'a Shared, &'a Notify);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        let error = io::Error::other(self.0);
        self.1.fail(&error);
        (self.2)(Durable::Failed(error));
    }
}

struct KeeperThread<D: Disk> {
    keeper: Keeper<D>,
    shared: Arc<Shared>,
    notify: Arc<Notify>,
    told: Receiver<News>,
    made: Sender<Segment<D::File>>,
    /// The last snapshot failed: none is tried for a while.
    pause: Option<Pause>,
}

/// How long no snapshot is tried. To try reads every full segment, so a disk that goes on failing is not asked each second.
#[derive(Clone, Copy, Debug)]
struct Pause {
    length: Duration,
    until: Instant,
    /// The disk was full.
    full: bool,
}

impl Pause {
    /// After one more failure. A full disk is asked as often as for a segment.
    fn after(last: Option<Self>, now: Instant, full: bool) -> Self {
        let longer = last.filter(|last| !last.full);
        let longer = longer.map_or(RETRY, |last| (last.length * 2).min(PAUSE_MAX));
        let length = if full { RETRY } else { longer };
        Self {
            length,
            until: now + length,
            full,
        }
    }
}

impl<D: Disk> KeeperThread<D> {
    fn run(mut self) {
        let (shared, notify) = (self.shared.clone(), self.notify.clone());
        let panics = PanicGuard("the journal's housekeeping panicked", &shared, &notify);
        self.keep_up();
        std::mem::forget(panics);
    }

    /// Keeps until the sync thread is gone.
    fn keep_up(&mut self) {
        loop {
            let wait = self.keep();
            let uncompacted = self.keeper.uncompacted();
            self.shared
                .uncompacted
                .store(uncompacted, Ordering::Relaxed);
            let received = match wait {
                None => self.told.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(wait) => self.told.recv_timeout(wait),
            };
            match received {
                Ok(news) => {
                    self.learn(news);
                    self.learn_all();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn learn_all(&mut self) {
        while let Ok(news) = self.told.try_recv() {
            self.learn(news);
        }
    }

    fn learn(&mut self, news: News) {
        match news {
            News::Sealed(head) => self.keeper.handle_sealed(head),
            News::SpareUsed => self.keeper.handle_spare_used(),
            News::Made => self.keeper.handle_made(),
            News::Late(head) => self.keeper.handle_late(head),
            News::Full => self.keeper.handle_full(),
        }
    }

    /// Steps until there is nothing left to do; returns after which time there may be, should nothing happen before.
    fn keep(&mut self) -> Option<Duration> {
        loop {
            let now = now();
            let pause = self.pause.filter(|pause| now < pause.until);
            match self.keeper.step(pause.is_none()) {
                Ok(Step::Idle) => {
                    let full = pause.is_some_and(|pause| pause.full);
                    if !full && self.shared.full.swap(false, Ordering::AcqRel) {
                        log::info!("journal: there is room on the disk again");
                    }
                    return pause.map(|pause| pause.until - now);
                }
                Ok(Step::Removed) => {}
                Ok(Step::Compacted(bytes)) => {
                    log::debug!("journal: snapshot of {bytes} bytes");
                    self.pause = None;
                }
                Ok(Step::NotCompacted(error)) => {
                    self.tell(&error);
                    self.pause = Some(Pause::after(self.pause, now, error.is_full()));
                }
                Ok(Step::Spare(spare)) => {
                    self.shared.add_room(spare.head.room());
                    let _ = self.made.send(spare);
                }
                Err(error) => {
                    self.tell(&error);
                    return Some(RETRY);
                }
            }
            self.learn_all();
        }
    }

    fn tell(&self, error: &OpenError) {
        if !error.is_full() {
            log::error!("{error}");
        } else if !self.shared.full.swap(true, Ordering::AcqRel) {
            log::error!("{error}; begins will be refused when the reserve is reached");
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a thread of its own, without a clock of its owner"
)]
fn now() -> Instant {
    Instant::now()
}

/// Buffers that go round between the store and the sync thread.
const BUFFERS_MAX: usize = 8;
const BUFFER_BYTES_KEPT: usize = 256 << 10;
const WRITE_BYTES_KEPT: usize = 4 << 20;
/// What failed is tried again after this.
const RETRY: Duration = Duration::from_secs(1);
/// A snapshot that goes on failing is tried at least this often.
const PAUSE_MAX: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_goes_on_failing_is_tried_ever_less_often() {
        let now = now();
        let mut pause = Pause::after(None, now, false);
        let mut lengths = vec![pause.length.as_secs()];
        for _ in 0..10 {
            pause = Pause::after(Some(pause), now, false);
            lengths.push(pause.length.as_secs());
        }
        assert_eq!(lengths, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(pause.until, now + PAUSE_MAX);
        let full = Pause::after(Some(pause), now, true);
        assert_eq!(full.length, RETRY, "a full disk may have room any time");
        assert_eq!(Pause::after(Some(full), now, false).length, RETRY);
    }
}
