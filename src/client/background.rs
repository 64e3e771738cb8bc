//! The work that runs where the host wants it: second phases of branches, and what resources have to do beside them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::exchange::Asked;
use super::inbox::{Command, Inbox};
use super::metrics::Counters;
use super::resource::{BoxFuture, PhaseTwo, Resource};
use crate::net::SessionId;
use crate::proto::Text;
use crate::proto::frame::FrameHead;
use crate::proto::message::{Message, TxResult};
use crate::proto::status::BranchStatus;
use crate::xid::BranchId;

/// Runs second phases of branches, undo and everything else that needs the host's runtime. The host spawns it; nothing else
/// runs it.
///
/// A second phase that comes before the future was first polled waits for that, at most five seconds: a coordinator asks as soon
/// as it sees the resource, and the host may still be on its way. Without it every second phase is answered with a failure that
/// the coordinator tries again. It ends when the client is closed, or when its last handle is dropped. Second phases of one global transaction run one after the other in the order
/// of the coordinator's requests, those of different ones at once up to
/// [`phase_two_concurrency`](super::ClientOptions::phase_two_concurrency). One that panics counts as a failure to be tried
/// again.
///
/// # Cancel safety
/// Dropping it drops what is at work; the coordinator asks again.
#[must_use = "second phases fail until the host spawns it"]
pub struct Background {
    jobs: Arc<Jobs>,
    ready: Arc<Ready>,
    running: BTreeMap<usize, Running>,
    next: usize,
    /// Second phases at work.
    at_work: usize,
    /// Transactions with a second phase at work, and what waits for it.
    orders: HashMap<Text, VecDeque<Job>>,
    inbox: Arc<Inbox>,
    counters: Arc<Counters>,
    concurrency: usize,
}

/// A coordinator's request with the way back.
pub(crate) struct Work {
    pub(crate) session: SessionId,
    pub(crate) head: FrameHead,
    pub(crate) asked: Asked,
}

/// Work that cannot be done now, and why.
pub(crate) struct Unserved {
    pub(crate) work: Work,
    pub(crate) why: &'static str,
}

/// What a resource has run beside the second phases.
pub(crate) enum Spawned {
    /// Ends by itself; an orderly end waits for it.
    Finite(BoxFuture<()>),
    /// Runs until it is dropped.
    Loop(BoxFuture<()>),
}

/// Work waiting for [`Background`].
pub(crate) struct Jobs {
    state: Mutex<JobState>,
    queue_max: usize,
}

#[derive(Default)]
struct JobState {
    queue: VecDeque<Job>,
    spawned: Vec<Spawned>,
    waker: Option<Waker>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Never polled: what comes waits for it.
    #[default]
    Unspawned,
    /// Never polled, and what came has waited long enough.
    Late,
    Polled,
    Dropped,
    /// The client is gone: what is there is finished, nothing new comes.
    Closed,
}

/// What waits for the first poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queued {
    /// Nothing has to be done about it.
    Soon,
    /// It is the first that waits for a future which was not polled yet: [`Jobs::give_up`] is due after [`SPAWN_WITHIN`].
    Unspawned,
}

struct Job {
    work: Work,
    resource: Arc<dyn Resource>,
}

struct Running {
    future: BoxFuture<Option<BranchStatus>>,
    waker: Waker,
    task: Task,
}

/// Whose future it is.
enum Task {
    SecondPhase(Work),
    Finite,
    Loop,
}

/// Which of the futures want to be polled.
struct Ready {
    state: Mutex<ReadyState>,
}

#[derive(Default)]
struct ReadyState {
    list: Vec<usize>,
    outer: Option<Waker>,
}

struct Nudge {
    index: usize,
    ready: Arc<Ready>,
}

impl Jobs {
    pub(crate) fn new(queue_max: usize) -> Self {
        Self {
            state: Mutex::new(JobState::default()),
            queue_max,
        }
    }

    /// Queues a coordinator's request, or gives it back with the reason why it cannot be served now.
    pub(crate) fn push(
        &self,
        work: Work,
        resource: Arc<dyn Resource>,
    ) -> Result<Queued, Box<Unserved>> {
        let mut state = self.lock();
        let why = match state.stage {
            Stage::Late => UNSPAWNED,
            Stage::Dropped => "the future returned by build() was dropped",
            Stage::Closed => "the client is closed",
            Stage::Unspawned | Stage::Polled if state.queue.len() >= self.queue_max => {
                "limit reached: phase_two_queue"
            }
            Stage::Unspawned | Stage::Polled => {
                state.queue.push_back(Job { work, resource });
                let queued = match state.stage {
                    Stage::Unspawned if state.queue.len() == 1 => Queued::Unspawned,
                    _ => Queued::Soon,
                };
                wake(state);
                return Ok(queued);
            }
        };
        drop(state);
        log::error!("resource={} event=phase-two-refused {why}", resource.id());
        Err(Box::new(Unserved { work, why }))
    }

    /// What has waited long enough for the first poll, if that has not come. From now on nothing waits for it.
    pub(crate) fn give_up(&self) -> Vec<Unserved> {
        let mut state = self.lock();
        if state.stage != Stage::Unspawned {
            return Vec::new();
        }
        state.stage = Stage::Late;
        let queue = std::mem::take(&mut state.queue);
        drop(state);
        let unserved = queue.into_iter().map(|job| {
            let resource = job.resource.id();
            log::error!("resource={resource} event=phase-two-refused {UNSPAWNED}");
            Unserved {
                work: job.work,
                why: UNSPAWNED,
            }
        });
        unserved.collect()
    }

    /// Has a future run beside the second phases, or gives it back when nothing runs any more.
    pub(crate) fn spawn(&self, future: Spawned) -> Result<(), Spawned> {
        let mut state = self.lock();
        if matches!(state.stage, Stage::Dropped | Stage::Closed) {
            return Err(future);
        }
        state.spawned.push(future);
        wake(state);
        Ok(())
    }

    /// Nothing new will come.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        if state.stage != Stage::Dropped {
            state.stage = Stage::Closed;
        }
        wake(state);
    }

    fn lock(&self) -> MutexGuard<'_, JobState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(mut state: MutexGuard<'_, JobState>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Background {
    pub(crate) fn new(
        jobs: Arc<Jobs>,
        inbox: Arc<Inbox>,
        counters: Arc<Counters>,
        concurrency: usize,
    ) -> Self {
        Self {
            jobs,
            ready: Arc::new(Ready {
                state: Mutex::new(ReadyState::default()),
            }),
            running: BTreeMap::new(),
            next: 0,
            at_work: 0,
            orders: HashMap::new(),
            inbox,
            counters,
            concurrency: concurrency.max(1),
        }
    }

    /// Takes in what is new. Whether the client is gone.
    fn take_new(&mut self, cx: &Context<'_>) -> bool {
        let mut state = self.jobs.lock();
        if matches!(state.stage, Stage::Unspawned | Stage::Late) {
            state.stage = Stage::Polled;
        }
        let spawned = std::mem::take(&mut state.spawned);
        let mut jobs = Vec::new();
        while self.at_work + jobs.len() < self.concurrency {
            let Some(job) = state.queue.pop_front() else {
                break;
            };
            match job.order().and_then(|xid| self.orders.get_mut(&xid)) {
                Some(waiting) => {
                    // The coordinator asks again when it has given up on an answer: the later request stands for both.
                    match waiting
                        .iter_mut()
                        .find(|other| other.work.asked == job.work.asked)
                    {
                        Some(other) => {
                            *other = job;
                            // An orderly end waits for as many as came.
                            self.inbox.push(Command::Release);
                        }
                        None => waiting.push_back(job),
                    }
                }
                None => {
                    if let Some(xid) = job.order() {
                        self.orders.insert(xid, VecDeque::new());
                    }
                    jobs.push(job);
                }
            }
        }
        state.waker = Some(cx.waker().clone());
        let closed = state.stage == Stage::Closed;
        drop(state);
        for spawned in spawned {
            let (future, task) = match spawned {
                Spawned::Finite(future) => (future, Task::Finite),
                Spawned::Loop(future) => (future, Task::Loop),
            };
            let future = Box::pin(async move {
                future.await;
                None
            });
            self.add(future, task);
        }
        for job in jobs {
            self.start(job);
        }
        closed
    }

    fn start(&mut self, job: Job) {
        let Job { work, resource } = job;
        let future: BoxFuture<Option<BranchStatus>> = match work.asked.clone() {
            Asked::Commit(end) => {
                let branch = branch(end.xid, end.branch_id, end.application_data);
                Box::pin(async move { Some(resource.commit(branch).await) })
            }
            Asked::Rollback(end) => {
                let branch = branch(end.xid, end.branch_id, end.application_data);
                Box::pin(async move { Some(resource.rollback(branch).await) })
            }
            Asked::DeleteUndoLog(delete) => Box::pin(async move {
                resource.delete_undo_log(delete.save_days).await;
                None
            }),
        };
        self.at_work += 1;
        self.add(future, Task::SecondPhase(work));
    }

    fn add(&mut self, future: BoxFuture<Option<BranchStatus>>, task: Task) {
        let index = self.next;
        self.next += 1;
        let ready = Arc::clone(&self.ready);
        let waker = Waker::from(Arc::new(Nudge { index, ready }));
        let running = Running {
            future,
            waker,
            task,
        };
        self.running.insert(index, running);
        self.ready.lock().list.push(index);
    }

    fn poll_one(&mut self, index: usize) {
        let Some(running) = self.running.get_mut(&index) else {
            return;
        };
        let waker = running.waker.clone();
        let mut cx = Context::from_waker(&waker);
        let future = running.future.as_mut();
        let polled = catch_unwind(AssertUnwindSafe(|| future.poll(&mut cx)));
        let status = match polled {
            Ok(Poll::Pending) => return,
            Ok(Poll::Ready(status)) => status,
            Err(_) => {
                self.counters.phase_two_panics.increment();
                log::error!("event=phase-two-panicked");
                None
            }
        };
        match self.running.remove(&index).map(|running| running.task) {
            Some(Task::SecondPhase(work)) => self.finish(work, status),
            Some(Task::Finite) => self.inbox.push(Command::Release),
            Some(Task::Loop) | None => {}
        }
    }

    /// Answers the coordinator, and goes on with the next of the same transaction.
    fn finish(&mut self, work: Work, status: Option<BranchStatus>) {
        self.at_work = self.at_work.saturating_sub(1);
        let answer = match status {
            Some(status) => work.asked.answer(TxResult::Success, status),
            None => work.asked.retry_later("the second phase panicked"),
        };
        if let Asked::Commit(end) | Asked::Rollback(end) = &work.asked {
            let done = matches!(
                status,
                Some(BranchStatus::PhaseTwoCommitted | BranchStatus::PhaseTwoRollbacked)
            );
            if !done {
                self.counters.phase_two_failed.increment();
            }
            log::debug!(
                "xid={} branch={} event=phase-two status={}",
                end.xid,
                end.branch_id,
                status.map_or("panicked", BranchStatus::name)
            );
        }
        let next = work.order().and_then(|xid| self.next_of(xid));
        self.answer(work, answer);
        if let Some(job) = next {
            self.start(job);
        }
    }

    fn next_of(&mut self, xid: Text) -> Option<Job> {
        let next = self.orders.get_mut(&xid)?.pop_front();
        if next.is_none() {
            self.orders.remove(&xid);
        }
        next
    }

    fn answer(&self, work: Work, answer: Option<Message>) {
        self.inbox.push(Command::Served {
            session: work.session,
            head: work.head,
            answer,
        });
    }
}

impl Future for Background {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.ready.lock().outer = Some(cx.waker().clone());
        for _ in 0..ROUNDS_MAX {
            let closed = self.take_new(cx);
            if closed && self.at_work == 0 {
                // What was spawned beside has had its time.
                return Poll::Ready(());
            }
            let list = std::mem::take(&mut self.ready.lock().list);
            if list.is_empty() {
                return Poll::Pending;
            }
            for index in list {
                self.poll_one(index);
            }
        }
        // The other tasks of the host want their turn too.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let mut state = self.jobs.lock();
        state.stage = Stage::Dropped;
        let queue = std::mem::take(&mut state.queue);
        let spawned = std::mem::take(&mut state.spawned);
        drop(state);
        let orders = std::mem::take(&mut self.orders);
        let mut works: Vec<Work> = queue
            .into_iter()
            .chain(orders.into_values().flatten())
            .map(|job| job.work)
            .collect();
        let mut finite = spawned
            .iter()
            .filter(|spawned| matches!(spawned, Spawned::Finite(_)))
            .count();
        drop(spawned);
        for running in std::mem::take(&mut self.running).into_values() {
            match running.task {
                Task::SecondPhase(work) => works.push(work),
                Task::Finite => finite += 1,
                Task::Loop => {}
            }
        }
        for _ in 0..finite {
            self.inbox.push(Command::Release);
        }
        for work in works {
            let answer = work
                .asked
                .retry_later("the future returned by build() was dropped");
            self.answer(work, answer);
        }
    }
}

impl std::fmt::Debug for Background {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Background")
            .field("at_work", &self.at_work)
            .finish_non_exhaustive()
    }
}

impl Job {
    fn order(&self) -> Option<Text> {
        self.work.order()
    }
}

impl Work {
    /// The transaction whose second phases run one after the other.
    fn order(&self) -> Option<Text> {
        match &self.asked {
            Asked::Commit(end) | Asked::Rollback(end) => Some(end.xid.clone()),
            Asked::DeleteUndoLog(_) => None,
        }
    }
}

impl Ready {
    fn lock(&self) -> MutexGuard<'_, ReadyState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut ready = self.ready.lock();
        ready.list.push(self.index);
        let outer = ready.outer.take();
        drop(ready);
        if let Some(outer) = outer {
            outer.wake();
        }
    }
}

fn branch(xid: Text, branch_id: i64, application_data: Text) -> PhaseTwo {
    PhaseTwo {
        xid,
        branch_id: BranchId(branch_id),
        application_data,
    }
}

const UNSPAWNED: &str = "the future returned by build() has not been spawned";

/// How long second phases wait for the first poll. Less than coordinators wait for an answer.
pub(crate) const SPAWN_WITHIN: Duration = Duration::from_secs(5);

/// Rounds over what is ready before other tasks of the host get their turn.
const ROUNDS_MAX: usize = 32;

#[cfg(test)]
mod tests;
