//! The fixed pool of threads behind the lanes: worker i owns the lanes i modulo the number of workers (network.md B.28,
//! B.32).
//!
//! A worker runs its lanes as long as something waits or a deadline has passed, then spins for the configured time, then
//! sleeps. Whoever brings work wakes it only if it sleeps; the order of the steps is that of [`super::wake`].

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use super::driver::{Clock, Monotonic};
use super::handler::Handler;
use super::id::LaneId;
use super::lane::{LaneRunner, Lanes, panic_text};
use super::outbound::Outbound;
use super::remote::Remote;
use super::shared::Shared;

/// The threads of a reactor's lanes.
#[derive(Debug)]
pub(crate) struct Workers {
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts a thread for each parker of the lane table.
    pub(crate) fn start<H: Handler>(shared: &Arc<Shared<H>>, spin: Duration) -> io::Result<Self> {
        let mut workers = Workers {
            threads: Vec::new(),
        };
        for index in 0..shared.lanes.parkers.len() {
            let shared_here = Arc::clone(shared);
            let thread = thread::Builder::new()
                .name(format!("net-lane-{index}"))
                .spawn(move || serve(&shared_here, index, spin));
            match thread {
                Ok(thread) => workers.threads.push(thread),
                Err(e) => {
                    shared.lanes.stop();
                    return Err(e);
                }
            }
        }
        Ok(workers)
    }

    /// Whether every thread has ended.
    pub(crate) fn finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits for the threads that have ended or end within `patience`. One that does not is left to itself.
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn join(&mut self, patience: Duration) {
        let until = Monotonic.now() + patience;
        while !self.finished() && Monotonic.now() < until {
            thread::sleep(Duration::from_millis(1));
        }
        for thread in self.threads.drain(..) {
            if thread.is_finished() {
                let _ = thread.join();
            } else {
                log::warn!("thread={:?} event=left-running", thread.thread().name());
            }
        }
    }
}

/// How one worker sleeps and is woken.
#[derive(Debug, Default)]
pub(crate) struct Parker {
    thread: OnceLock<Thread>,
    state: AtomicU8,
}

impl Parker {
    /// Wakes the worker if it sleeps. What it is to find must have been stored before.
    pub(crate) fn kick(&self) {
        fence(Ordering::SeqCst);
        if self.state.load(Ordering::Relaxed) == SLEEPING
            && self.state.swap(NOTIFIED, Ordering::Relaxed) == SLEEPING
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Sleeps until kicked or `timeout` passed, unless `has_work` says no.
    fn sleep(&self, timeout: Option<Duration>, has_work: impl Fn() -> bool) {
        self.state.store(SLEEPING, Ordering::Relaxed);
        // Against the fence in `kick`: either the second look sees the work, or the kick sees a sleeper.
        fence(Ordering::SeqCst);
        if !has_work() {
            match timeout {
                Some(timeout) => thread::park_timeout(timeout),
                None => thread::park(),
            }
        }
        self.state.store(RUNNING, Ordering::Relaxed);
    }
}

fn serve<H: Handler>(shared: &Arc<Shared<H>>, worker: usize, spin: Duration) {
    let table = &shared.lanes;
    let parker = &table.parkers[worker];
    let _ = parker.thread.set(thread::current());
    let owned = || (worker..table.len()).step_by(table.parkers.len());
    let mut runners: Vec<LaneRunner<H>> =
        owned().filter_map(|lane| open_lane(shared, lane)).collect();
    let mut idle_since: Option<Instant> = None;
    while !table.stopped() {
        let now = Monotonic.now();
        let mut worked = false;
        for runner in &mut runners {
            worked |= run(shared, runner, now);
        }
        if worked {
            idle_since = None;
            continue;
        }
        if now.duration_since(*idle_since.get_or_insert(now)) < spin {
            std::hint::spin_loop();
            continue;
        }
        let deadline = runners.iter().filter_map(LaneRunner::next_deadline).min();
        let timeout = deadline.map(|at| at.saturating_duration_since(now));
        parker.sleep(timeout, || table.stopped() || table.any_waiting(owned()));
    }
    drop(runners);
    let _ = shared.remote.push_always(Remote::LaneWork);
}

/// Makes the state of one lane. `None`, and the reactor is told, when the handler panicked.
pub(crate) fn open_lane<H: Handler>(shared: &Arc<Shared<H>>, lane: usize) -> Option<LaneRunner<H>> {
    let lanes = Lanes {
        table: Arc::clone(&shared.lanes),
    };
    match catch_unwind(AssertUnwindSafe(|| {
        shared.handler.lane(LaneId(lane), lanes)
    })) {
        Ok(state) => Some(LaneRunner::new(
            lane,
            state,
            Outbound::new(Arc::clone(shared)),
        )),
        Err(panic) => {
            fail(shared, lane, panic_text(&*panic));
            None
        }
    }
}

fn run<H: Handler>(shared: &Arc<Shared<H>>, runner: &mut LaneRunner<H>, now: Instant) -> bool {
    let outcome = runner.run(&shared.lanes, now, usize::MAX, |out| {
        if let Some(batch) = out.take() {
            // The reactor is gone when this fails, and the sessions with it.
            let _ = shared.remote.push_always(Remote::Batch(batch));
        }
    });
    match outcome {
        Ok(worked) => worked,
        Err(text) => {
            fail(shared, runner.index(), text);
            true
        }
    }
}

fn fail<H: Handler>(shared: &Arc<Shared<H>>, lane: usize, text: String) {
    log::error!("lane={lane} event=panicked error={text}");
    let _ = shared.remote.push_always(Remote::LaneFailed(lane, text));
}

const RUNNING: u8 = 0;
const SLEEPING: u8 = 1;
const NOTIFIED: u8 = 2;
