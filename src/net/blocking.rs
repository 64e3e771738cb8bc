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

use super::buffer::Pools;
use super::config::PLACES_MAX;
use super::handler::{Handler, In};
use super::lane::panic_text;
use super::remote::Remote;
use super::session::Session;
use super::shared::Shared;
use super::slots::Key;
use super::transport::Stack;
use super::transport::layer::LayerError;

/// The reactor's end of the pool.
pub(crate) struct Blocking<H: Handler> {
    jobs: Sender<Job<H>>,
    pool: Arc<Pool<H>>,
    /// Sessions that hold a message for which there was no room.
    waiters: Vec<Key>,
}

struct Pool<H: Handler> {
    shared: Arc<Shared<H>>,
    jobs: Receiver<Job<H>>,
    /// Most threads.
    cap: usize,
    threads: AtomicUsize,
    idle: AtomicUsize,
    /// Jobs queued or running.
    pending: AtomicUsize,
    wants_notice: AtomicBool,
    draining: AtomicBool,
}

/// What a thread of the pool is given.
enum Job<H: Handler> {
    Message(Session<H>, In<H>),
    /// The arithmetic of a handshake.
    Handshake(Key, Box<Stack>),
}

impl<H: Handler> Blocking<H> {
    pub(crate) fn new(shared: &Arc<Shared<H>>, cap: usize) -> Self {
        let (jobs, receiver) = bounded(shared.limits.blocking_queue.clamp(1, PLACES_MAX));
        let pool = Pool {
            shared: Arc::clone(shared),
            jobs: receiver,
            cap,
            threads: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            pending: AtomicUsize::new(0),
            wants_notice: AtomicBool::new(false),
            draining: AtomicBool::new(false),
        };
        Blocking {
            jobs,
            pool: Arc::new(pool),
            waiters: Vec::new(),
        }
    }

    /// Queues a message, or gives it back when there is no room.
    pub(crate) fn submit(&mut self, session: &Session<H>, message: In<H>) -> Result<(), In<H>> {
        if self.pool.cap == 0 {
            self.pool.handle(session, message);
            return Ok(());
        }
        match self.queue(Job::Message(session.clone(), message)) {
            Err(Job::Message(_, message)) => Err(message),
            _ => Ok(()),
        }
    }

    /// Queues the arithmetic of a handshake, or gives it back when there is no room.
    pub(crate) fn shake_hands(&mut self, key: Key, stack: Box<Stack>) -> Result<(), Box<Stack>> {
        if !self.is_prompt() {
            return Err(stack);
        }
        match self.queue(Job::Handshake(key, stack)) {
            Err(Job::Handshake(_, stack)) => Err(stack),
            _ => Ok(()),
        }
    }

    /// Whether a job would be begun at once.
    fn is_prompt(&self) -> bool {
        let pool = &self.pool;
        let free = pool.cap.saturating_sub(pool.threads.load(Ordering::SeqCst));
        self.jobs.len() < free + pool.idle.load(Ordering::SeqCst)
    }

    fn queue(&mut self, job: Job<H>) -> Result<(), Job<H>> {
        self.pool.pending.fetch_add(1, Ordering::SeqCst);
        match self.jobs.try_send(job) {
            Ok(()) => {
                self.grow();
                Ok(())
            }
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => {
                self.pool.pending.fetch_sub(1, Ordering::SeqCst);
                Err(job)
            }
        }
    }

    /// Remembers a session whose message found no room. `false`: there is room again already.
    pub(crate) fn wait_for_room(&mut self, key: Key) -> bool {
        self.pool.wants_notice.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        // The wish stays even if there is room: it may be that of others who wait and have not been told yet.
        let waits = !self.pool.is_roomy();
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

    /// Messages that wait or are being worked on.
    pub(crate) fn pending(&self) -> usize {
        self.pool.pending.load(Ordering::Relaxed)
    }

    /// Whether nothing is queued or running.
    pub(crate) fn is_quiet(&self) -> bool {
        self.pool.pending.load(Ordering::SeqCst) == 0
    }

    fn grow(&self) {
        let pool = &self.pool;
        // Against the fence in `leave`: either that thread sees the job, or its place is free here.
        fence(Ordering::SeqCst);
        if self.jobs.len() <= pool.idle.load(Ordering::SeqCst) || !pool.enter() {
            return;
        }
        let pool_here = Arc::clone(pool);
        let name = "net-blocking".to_owned();
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
        let Some(job) = job.ok().or_else(|| pool.jobs.try_recv().ok()) else {
            if pool.leave() {
                return;
            }
            continue;
        };
        pool.work(job);
        let left = pool.pending.fetch_sub(1, Ordering::SeqCst) - 1;
        fence(Ordering::SeqCst);
        let notice = pool.is_roomy()
            && pool.wants_notice.load(Ordering::Relaxed)
            && pool.wants_notice.swap(false, Ordering::Relaxed);
        if notice || (left == 0 && pool.draining.load(Ordering::SeqCst)) {
            let _ = pool.shared.remote.push_always(Remote::BlockingRoom);
        }
    }
}

impl<H: Handler> Pool<H> {
    /// Takes the place of one more thread. `false`: there is none.
    fn enter(&self) -> bool {
        let more = |n: usize| (n < self.cap).then_some(n + 1);
        self.threads
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more)
            .is_ok()
    }

    /// Gives a thread's place up. `false`: a job came meanwhile for which no thread was started, since this one still had
    /// its place; it has it again.
    fn leave(&self) -> bool {
        self.threads.fetch_sub(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.jobs.is_empty() || !self.enter()
    }

    /// Whether at most half of the queue is taken.
    fn is_roomy(&self) -> bool {
        self.jobs.len() <= self.shared.limits.blocking_queue.min(PLACES_MAX) / 2
    }

    fn work(&self, job: Job<H>) {
        match job {
            Job::Message(session, message) => self.handle(&session, message),
            Job::Handshake(key, mut stack) => {
                // Its buffers come from nowhere and go back to the reactor with it.
                let mut pools = Pools::new(0);
                let advance = catch_unwind(AssertUnwindSafe(|| stack.advance(&mut pools)))
                    .unwrap_or_else(|panic| Err(LayerError::Handshake(panic_text(&*panic).into())));
                let back = Remote::Handshaken(key, stack, advance);
                let _ = self.shared.remote.push_always(back);
            }
        }
    }

    fn handle(&self, session: &Session<H>, message: In<H>) {
        let handler = &self.shared.handler;
        let work = || handler.on_blocking(session, message);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::config::{Limits, Workers};
    use crate::net::fixture;
    use crate::net::slots::Slots;

    #[test]
    fn a_job_that_comes_while_the_last_thread_leaves_is_done() {
        let (shared, _remote) = fixture::shared(&Workers::default(), Limits::default());
        let mut blocking = Blocking::new(&shared, 1);
        // A thread has waited in vain and is about to end.
        blocking.pool.threads.store(1, Ordering::SeqCst);
        let session = fixture::session(&shared, Slots::new().insert(()));
        assert!(blocking.submit(&session, ()).is_ok());
        assert!(!blocking.pool.leave(), "it has to stay");
        let Ok(Job::Message(session, ())) = blocking.pool.jobs.try_recv() else {
            panic!("the job");
        };
        assert!(session.is_open());
        assert!(blocking.pool.leave());
        assert_eq!(blocking.pool.threads.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn room_that_one_session_finds_does_not_keep_others_from_being_told() {
        let limits = Limits {
            blocking_queue: 2,
            ..Limits::default()
        };
        let (shared, _remote) = fixture::shared(&Workers::default(), limits);
        let mut blocking = Blocking::new(&shared, 1);
        // Its one thread is busy.
        blocking.pool.threads.store(1, Ordering::SeqCst);
        let mut slots = Slots::new();
        let (a, b) = (slots.insert(()), slots.insert(()));
        let session = fixture::session(&shared, a);
        for _ in 0..2 {
            assert!(blocking.submit(&session, ()).is_ok());
        }
        assert!(blocking.submit(&session, ()).is_err(), "full");
        assert!(blocking.wait_for_room(a));
        drop(blocking.pool.jobs.try_recv());
        assert!(!blocking.wait_for_room(b), "there is room");
        assert!(blocking.pool.wants_notice.load(Ordering::SeqCst));
        assert_eq!(blocking.take_waiters(), [a]);
    }
}
