//! The elastic pool: threads for handlers that wait for a network or a database (network.md B.28).
//!
//! A thread is started when more messages wait than threads idle, up to the cap, and ends after ten idle seconds. The
//! queue is bounded; a message that finds no place stays in its session, whose reads pause. With a cap of 0 there are no
//! threads and the handler runs where it is.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::handler::{Handler, In};
use super::lane::panic_text;
use super::remote::Remote;
use super::session::Session;
use super::shared::Shared;
use super::slots::Key;

/// The reactor's end of the pool.
pub(crate) struct Blocking<H: Handler> {
    cap: usize,
    jobs: Sender<Job<H>>,
    pool: Arc<Pool<H>>,
    /// Sessions that hold a message for which there was no room.
    waiters: Vec<Key>,
}

struct Pool<H: Handler> {
    shared: Arc<Shared<H>>,
    jobs: Receiver<Job<H>>,
    threads: AtomicUsize,
    idle: AtomicUsize,
    /// Jobs queued or running.
    pending: AtomicUsize,
    wants_notice: AtomicBool,
    draining: AtomicBool,
}

type Job<H> = (Session<H>, In<H>);

impl<H: Handler> Blocking<H> {
    pub(crate) fn new(shared: &Arc<Shared<H>>, cap: usize) -> Self {
        let (jobs, receiver) = bounded(shared.limits.blocking_queue.max(1));
        let pool = Pool {
            shared: Arc::clone(shared),
            jobs: receiver,
            threads: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            pending: AtomicUsize::new(0),
            wants_notice: AtomicBool::new(false),
            draining: AtomicBool::new(false),
        };
        Blocking {
            cap,
            jobs,
            pool: Arc::new(pool),
            waiters: Vec::new(),
        }
    }

    /// Queues a message, or gives it back when there is no room.
    pub(crate) fn submit(&mut self, session: &Session<H>, message: In<H>) -> Result<(), In<H>> {
        if self.cap == 0 {
            self.pool.work(session.clone(), message);
            return Ok(());
        }
        self.pool.pending.fetch_add(1, Ordering::SeqCst);
        match self.jobs.try_send((session.clone(), message)) {
            Ok(()) => {
                self.grow();
                Ok(())
            }
            Err(TrySendError::Full((_, message)) | TrySendError::Disconnected((_, message))) => {
                self.pool.pending.fetch_sub(1, Ordering::SeqCst);
                Err(message)
            }
        }
    }

    /// Remembers a session whose message found no room. `false`: there is room again already.
    pub(crate) fn wait_for_room(&mut self, key: Key) -> bool {
        self.pool.wants_notice.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let waits = !(self.jobs.len() <= self.pool.shared.limits.blocking_queue / 2
            && self.pool.wants_notice.swap(false, Ordering::Relaxed));
        if waits {
            self.waiters.push(key);
        }
        waits
    }

    /// The sessions that waited for room.
    pub(crate) fn take_waiters(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.waiters)
    }

    /// From now on the reactor is told when the last job is done.
    pub(crate) fn start_drain(&self) {
        self.pool.draining.store(true, Ordering::SeqCst);
    }

    /// Whether nothing is queued or running.
    pub(crate) fn is_quiet(&self) -> bool {
        self.pool.pending.load(Ordering::SeqCst) == 0
    }

    fn grow(&self) {
        let pool = &self.pool;
        let threads = pool.threads.load(Ordering::SeqCst);
        if self.jobs.len() <= pool.idle.load(Ordering::SeqCst) || threads >= self.cap {
            return;
        }
        pool.threads.fetch_add(1, Ordering::SeqCst);
        let pool_here = Arc::clone(pool);
        let name = format!("net-blocking-{threads}");
        if let Err(e) = thread::Builder::new()
            .name(name)
            .spawn(move || serve(&pool_here))
        {
            pool.threads.fetch_sub(1, Ordering::SeqCst);
            log::error!("event=no-thread error={e}");
        }
    }
}

fn serve<H: Handler>(pool: &Pool<H>) {
    loop {
        pool.idle.fetch_add(1, Ordering::SeqCst);
        let job = pool.jobs.recv_timeout(IDLE_MAX);
        pool.idle.fetch_sub(1, Ordering::SeqCst);
        // A job sent while this thread still counted as idle started no other thread: look once more.
        let Some((session, message)) = job.ok().or_else(|| pool.jobs.try_recv().ok()) else {
            break;
        };
        pool.work(session, message);
        let left = pool.pending.fetch_sub(1, Ordering::SeqCst) - 1;
        let roomy = pool.jobs.len() <= pool.shared.limits.blocking_queue / 2;
        let notice = roomy
            && pool.wants_notice.load(Ordering::Relaxed)
            && pool.wants_notice.swap(false, Ordering::Relaxed);
        if notice || (left == 0 && pool.draining.load(Ordering::SeqCst)) {
            let _ = pool.shared.remote.push_always(Remote::BlockingRoom);
        }
    }
    pool.threads.fetch_sub(1, Ordering::SeqCst);
}

impl<H: Handler> Pool<H> {
    fn work(&self, session: Session<H>, message: In<H>) {
        let handler = &self.shared.handler;
        let work = || handler.on_blocking(&session, message);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            let text = panic_text(&*panic);
            let _ = self
                .shared
                .remote
                .push_always(Remote::Panicked(session.id(), text));
        }
    }
}

const IDLE_MAX: Duration = Duration::from_secs(10);
