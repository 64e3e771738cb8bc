//! Lanes: bounded queues, each in front of a state that one thread owns (network.md B.28, B.29, B.32, C.1).
//!
//! The reactor gathers what one turn brings for each lane and hands it over as a whole; the lane takes everything that
//! waits as one batch. Deques change places under a lock held for a few instructions and never across a callback; the
//! reactor does not even wait for that: if the lock is taken, it comes back with its next turn.
//!
//! Room is counted in messages: those queued, those of the batch being worked on, and those taken and not answered yet
//! ([`Lane::held`]). Events have a limit of their own, with a place reserved for each session's last one.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::config::{Limits, Workers};
use super::handler::{Handler, In};
use super::id::{LaneId, SessionId};
use super::outbound::Outbound;
use super::remote::Remote;
use super::slots::Key;
use super::wake::Producer;
use super::workers::Parker;

/// The state behind one lane, for example a coordinator. Owned by one thread: `&mut self`, no lock.
///
/// A lane is not told of sessions that open or close; a handler that wants it to know posts an event from `on_open` or
/// `on_close`. Events and messages of one turn arrive in the order in which they came.
///
/// ```
/// use std::collections::{BTreeMap, VecDeque};
/// use std::time::Instant;
/// use seamio::net::*;
///
/// /// Counts the lines of each session, and says how many there were when it is asked.
/// struct Counting;
/// struct Counts(BTreeMap<SessionId, u64>);
/// struct Left(SessionId);
///
/// impl Handler for Counting {
///     type Codec = Lines;
///     type Lane = Counts;
///     type Event = Left;
///
///     fn codec(&self) -> &Lines {
///         &Lines
///     }
///     fn lane(&self, _: LaneId, _: Lanes<Self>) -> Counts {
///         Counts(BTreeMap::new())
///     }
///     fn route(&self, _: &Session<Self>, _: &String) -> Route {
///         Route::Lane(LaneId(0))
///     }
///     fn on_message(&self, _: &mut Cx<'_, Self>, _: &Session<Self>, _: String) {}
///     fn on_close(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>, _: CloseReason) {
///         let _ = cx.post(LaneId(0), Left(session.id())); // there is always room for the last one
///     }
/// }
///
/// impl Lane<Counting> for Counts {
///     fn on_batch(
///         &mut self,
///         _now: Instant,
///         batch: &mut VecDeque<LaneInput<Counting>>,
///         out: &mut Outbound<Counting>,
///     ) {
///         for input in batch.drain(..) {
///             match input {
///                 LaneInput::Message(from, line) if line == "how many?" => {
///                     let count = self.0.get(&from).copied().unwrap_or_default();
///                     let _ = out.send(from, &count.to_string());
///                 }
///                 LaneInput::Message(from, _) => *self.0.entry(from).or_default() += 1,
///                 LaneInput::Event(Left(who)) => drop(self.0.remove(&who)),
///             }
///         }
///     }
/// }
///
/// let config = Config { workers: Workers::of(1), ..Config::default() };
/// let reactor = Reactor::new(config, Counting)?;
/// assert_eq!(reactor.lanes().count(), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Lane<H: Handler>: Send + 'static {
    /// Works on everything that waited. What is left in `batch` comes again, at the front, with the next one.
    ///
    /// A panic here leaves a half-changed state behind: the lane is closed for good and the reactor ends with an error.
    fn on_batch(&mut self, now: Instant, batch: &mut VecDeque<LaneInput<H>>, out: &mut Outbound<H>);

    /// When `on_batch` is to be called even if nothing waits.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// Messages taken and not answered yet: parked replies. They count against the lane's depth.
    fn held(&self) -> usize {
        0
    }
}

/// No lane: for handlers that use none.
impl<H: Handler> Lane<H> for () {
    fn on_batch(&mut self, _: Instant, batch: &mut VecDeque<LaneInput<H>>, _: &mut Outbound<H>) {
        batch.clear();
    }
}

/// What reaches a lane.
pub enum LaneInput<H: Handler> {
    /// A message of a session.
    Message(SessionId, In<H>),
    /// An event of the application.
    Event(H::Event),
}

/// The way into the lanes for events without a socket. Clone it freely.
pub struct Lanes<H: Handler> {
    pub(crate) table: Arc<LaneTable<H>>,
}

impl<H: Handler> Lanes<H> {
    /// Posts an event. Never blocks.
    ///
    /// # Errors
    /// Gives the event back when too many wait already, or when the lane does not exist or is closed for good.
    pub fn post(&self, lane: LaneId, event: H::Event) -> Result<(), H::Event> {
        self.table.post(lane, event, false)
    }

    /// Posts the completion of something the lane itself asked for, which is never refused for want of room: what the
    /// lane has under way bounds it.
    ///
    /// # Errors
    /// Gives the event back when the lane does not exist or is closed for good.
    pub fn complete(&self, lane: LaneId, event: H::Event) -> Result<(), H::Event> {
        self.table.post(lane, event, true)
    }

    /// Number of lanes.
    pub fn count(&self) -> usize {
        self.table.lanes.len()
    }
}

impl<H: Handler> Clone for Lanes<H> {
    fn clone(&self) -> Self {
        Lanes {
            table: Arc::clone(&self.table),
        }
    }
}

impl<H: Handler> fmt::Debug for Lanes<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes")
            .field("count", &self.count())
            .finish()
    }
}

/// All lanes of a reactor, as every thread sees them.
pub(crate) struct LaneTable<H: Handler> {
    lanes: Vec<LaneQueue<H>>,
    /// One per worker thread; none when the lanes run inline.
    pub(crate) parkers: Vec<Parker>,
    pub(crate) remote: Producer<Remote<H>>,
    depth: usize,
    bytes_max: usize,
    events_max: usize,
    /// The reactor waits for the lanes to become empty.
    draining: AtomicBool,
    stop: AtomicBool,
}

struct LaneQueue<H: Handler> {
    inputs: Mutex<VecDeque<LaneInput<H>>>,
    /// Length of `inputs`, to look without the lock.
    waiting: AtomicUsize,
    /// Messages queued or in the batch being worked on.
    messages: AtomicUsize,
    /// Bytes of the frames of the messages queued.
    bytes: AtomicUsize,
    /// Events queued or in the batch being worked on.
    events: AtomicUsize,
    held: AtomicUsize,
    /// Sessions are paused until there is room.
    wants_notice: AtomicBool,
    dead: AtomicBool,
}

impl<H: Handler> LaneTable<H> {
    pub(crate) fn new(workers: &Workers, limits: &Limits, remote: Producer<Remote<H>>) -> Self {
        let queue = |_| LaneQueue {
            inputs: Mutex::new(VecDeque::new()),
            waiting: AtomicUsize::new(0),
            messages: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            events: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            wants_notice: AtomicBool::new(false),
            dead: AtomicBool::new(false),
        };
        LaneTable {
            lanes: (0..workers.lanes).map(queue).collect(),
            parkers: (0..workers.threads.min(workers.lanes))
                .map(|_| Parker::default())
                .collect(),
            remote,
            depth: workers.lane_depth.max(1),
            bytes_max: limits.lane_bytes.max(1),
            events_max: limits.lane_events,
            draining: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        }
    }

    fn post(&self, lane: LaneId, event: H::Event, always: bool) -> Result<(), H::Event> {
        let Some(queue) = self.lanes.get(lane.0) else {
            return Err(event);
        };
        if queue.dead.load(Ordering::Relaxed) || self.stopped() {
            return Err(event);
        }
        // Not counted before it is taken: a lane that became quiet meanwhile would not say so.
        let more = |n: usize| (always || n < self.events_max).then_some(n + 1);
        let counted = queue
            .events
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        if counted.is_err() {
            return Err(event);
        }
        let mut inputs = queue.lock();
        inputs.push_back(LaneInput::Event(event));
        let first = inputs.len() == 1;
        queue.waiting.store(inputs.len(), Ordering::Relaxed);
        drop(inputs);
        if !self.parkers.is_empty() {
            self.parker(lane.0).kick();
        } else if first {
            // The reactor is gone when this fails, and with it the lane.
            let _ = self.remote.push_always(Remote::LaneWork);
        }
        Ok(())
    }

    /// Whether a lane has room for a message when the reactor has gathered some already.
    fn has_room(&self, lane: usize, gathered: usize, gathered_bytes: usize) -> bool {
        let queue = &self.lanes[lane];
        let messages = queue.occupancy() + gathered;
        let bytes = queue.bytes.load(Ordering::Relaxed) + gathered_bytes;
        messages < self.depth && bytes < self.bytes_max
    }

    /// Asks for a notice when there is room again. `false`: there is some already. `busy`: more is on its way to the lane.
    fn ask_for_room(&self, lane: usize, busy: bool) -> bool {
        let queue = &self.lanes[lane];
        queue.wants_notice.store(true, Ordering::Relaxed);
        // Against the fence in `settle`: either the lane sees the wish, or we see its room.
        fence(Ordering::SeqCst);
        // The wish stays even if there is room: it may be that of others who wait, whom the lane has not told yet.
        busy || !self.is_roomy(lane)
    }

    /// Whether a lane is at half its capacity or below.
    fn is_roomy(&self, lane: usize) -> bool {
        let queue = &self.lanes[lane];
        queue.occupancy() <= self.depth / 2
            && queue.bytes.load(Ordering::Relaxed) <= self.bytes_max / 2
    }

    /// Whether something waits in one of these lanes.
    pub(crate) fn any_waiting(&self, mut lanes: impl Iterator<Item = usize>) -> bool {
        lanes.any(|lane| self.lanes[lane].waiting.load(Ordering::Relaxed) > 0)
    }

    /// Inputs waiting in a lane.
    pub(crate) fn waiting(&self, lane: usize) -> usize {
        self.lanes[lane].waiting.load(Ordering::Relaxed)
    }

    /// Whether nothing is queued, being worked on or held anywhere.
    pub(crate) fn is_quiet(&self) -> bool {
        let busy = |q: &LaneQueue<H>| q.occupancy() > 0 || q.events.load(Ordering::Acquire) > 0;
        !self
            .lanes
            .iter()
            .any(|q| !q.dead.load(Ordering::Relaxed) && busy(q))
    }

    /// Messages in all lanes.
    pub(crate) fn occupancy(&self) -> usize {
        self.lanes.iter().map(LaneQueue::occupancy).sum()
    }

    pub(crate) fn start_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.parkers.iter().for_each(Parker::kick);
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    pub(crate) fn len(&self) -> usize {
        self.lanes.len()
    }

    fn parker(&self, lane: usize) -> &Parker {
        &self.parkers[lane % self.parkers.len()]
    }

    /// Moves at most `max` waiting inputs to the end of `batch`.
    fn take(&self, lane: usize, batch: &mut VecDeque<LaneInput<H>>, max: usize) {
        let queue = &self.lanes[lane];
        if queue.waiting.load(Ordering::Relaxed) == 0 || max == 0 {
            return;
        }
        let mut inputs = queue.lock();
        if batch.is_empty() && inputs.len() <= max {
            std::mem::swap(&mut *inputs, batch);
        } else {
            let n = inputs.len().min(max);
            batch.extend(inputs.drain(..n));
        }
        if inputs.is_empty() {
            // Under the lock, as the reactor adds under it.
            queue.bytes.store(0, Ordering::Relaxed);
        }
        queue.waiting.store(inputs.len(), Ordering::Relaxed);
    }

    /// Publishes what a batch changed, and says that there is room again to who waits for it.
    fn settle(&self, lane: usize, done: Counts, held: usize) {
        let queue = &self.lanes[lane];
        queue.held.store(held, Ordering::Release);
        queue.messages.fetch_sub(done.messages, Ordering::Release);
        queue.events.fetch_sub(done.events, Ordering::Release);
        fence(Ordering::SeqCst);
        let notice = self.is_roomy(lane)
            && queue.wants_notice.load(Ordering::Relaxed)
            && queue.wants_notice.swap(false, Ordering::Relaxed);
        if notice {
            let _ = self.remote.push_always(Remote::LaneRoom(lane));
        } else if self.draining.load(Ordering::Relaxed) && self.is_quiet() {
            let _ = self.remote.push_always(Remote::LaneWork);
        }
    }

    fn bury(&self, lane: usize) {
        let queue = &self.lanes[lane];
        queue.dead.store(true, Ordering::Relaxed);
        queue.lock().clear();
        queue.waiting.store(0, Ordering::Relaxed);
    }
}

impl<H: Handler> LaneQueue<H> {
    fn occupancy(&self) -> usize {
        // In this order: a message on its way from queued to held is counted twice rather than not at all.
        self.messages.load(Ordering::Acquire) + self.held.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<LaneInput<H>>> {
        // No user code runs under this lock, so a poisoned one holds nothing half done.
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    messages: usize,
    events: usize,
}

impl Counts {
    fn of<H: Handler>(batch: &VecDeque<LaneInput<H>>) -> Self {
        let messages = batch
            .iter()
            .filter(|i| matches!(i, LaneInput::Message(..)))
            .count();
        Counts {
            messages,
            events: batch.len() - messages,
        }
    }
}

/// What the reactor gathers for the lanes in one turn.
pub(crate) struct Gather<H: Handler> {
    table: Arc<LaneTable<H>>,
    lanes: Vec<Gathered<H>>,
}

struct Gathered<H: Handler> {
    inputs: VecDeque<LaneInput<H>>,
    messages: usize,
    bytes: usize,
    /// Sessions that hold a message for which there was no room.
    waiters: Vec<Key>,
}

impl<H: Handler> Gather<H> {
    pub(crate) fn new(table: Arc<LaneTable<H>>) -> Self {
        let gathered = |_| Gathered {
            inputs: VecDeque::new(),
            messages: 0,
            bytes: 0,
            waiters: Vec::new(),
        };
        let lanes = (0..table.len()).map(gathered).collect();
        Gather { table, lanes }
    }

    /// Adds a message, or gives it back when the lane is full.
    pub(crate) fn message(
        &mut self,
        lane: usize,
        from: SessionId,
        message: In<H>,
        bytes: usize,
    ) -> Result<(), In<H>> {
        let gathered = &mut self.lanes[lane];
        if !self.table.has_room(lane, gathered.messages, gathered.bytes) {
            return Err(message);
        }
        gathered.messages += 1;
        gathered.bytes += bytes;
        gathered.inputs.push_back(LaneInput::Message(from, message));
        Ok(())
    }

    /// Adds an event, or gives it back when too many wait.
    pub(crate) fn event(
        &mut self,
        lane: LaneId,
        event: H::Event,
        always: bool,
    ) -> Result<(), H::Event> {
        let Some(queue) = self.table.lanes.get(lane.0) else {
            return Err(event);
        };
        let before = queue.events.fetch_add(1, Ordering::Relaxed);
        let refused = before >= self.table.events_max && !always;
        if refused || queue.dead.load(Ordering::Relaxed) {
            queue.events.fetch_sub(1, Ordering::Relaxed);
            return Err(event);
        }
        self.lanes[lane.0].inputs.push_back(LaneInput::Event(event));
        Ok(())
    }

    /// Remembers a session whose message found no room. `false`: there is room again already.
    pub(crate) fn wait_for_room(&mut self, lane: usize, key: Key) -> bool {
        // What was gathered in this turn makes the lane work, and it speaks up after that.
        let gathered = self.lanes[lane].messages > 0;
        let waits = self.table.ask_for_room(lane, gathered);
        if waits {
            self.lanes[lane].waiters.push(key);
        }
        waits
    }

    /// The sessions that waited for room in a lane.
    pub(crate) fn take_waiters(&mut self, lane: usize) -> Vec<Key> {
        std::mem::take(&mut self.lanes[lane].waiters)
    }

    /// Hands everything over, each lane's share as one. Returns the number of batches and messages.
    pub(crate) fn hand_over(&mut self) -> (u64, u64) {
        let (mut batches, mut messages) = (0, 0);
        for (lane, gathered) in self.lanes.iter_mut().enumerate() {
            if gathered.inputs.is_empty() {
                continue;
            }
            let queue = &self.table.lanes[lane];
            if queue.dead.load(Ordering::Relaxed) {
                gathered.inputs.clear();
                (gathered.messages, gathered.bytes) = (0, 0);
                continue;
            }
            let Ok(mut inputs) = queue.inputs.try_lock() else {
                continue;
            };
            queue
                .messages
                .fetch_add(gathered.messages, Ordering::Relaxed);
            queue.bytes.fetch_add(gathered.bytes, Ordering::Relaxed);
            if inputs.is_empty() {
                std::mem::swap(&mut *inputs, &mut gathered.inputs);
            } else {
                inputs.append(&mut gathered.inputs);
            }
            queue.waiting.store(inputs.len(), Ordering::Relaxed);
            drop(inputs);
            batches += 1;
            messages += gathered.messages as u64;
            (gathered.messages, gathered.bytes) = (0, 0);
            if !self.table.parkers.is_empty() {
                self.table.parker(lane).kick();
            }
        }
        (batches, messages)
    }

    /// Whether nothing waits to be handed over.
    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.iter().all(|g| g.inputs.is_empty())
    }
}

/// One lane at work, on a worker's thread or inline.
pub(crate) struct LaneRunner<H: Handler> {
    index: usize,
    lane: H::Lane,
    batch: VecDeque<LaneInput<H>>,
    pub(crate) out: Outbound<H>,
    dead: bool,
}

impl<H: Handler> LaneRunner<H> {
    pub(crate) fn new(index: usize, lane: H::Lane, out: Outbound<H>) -> Self {
        LaneRunner {
            index,
            lane,
            batch: VecDeque::new(),
            out,
            dead: false,
        }
    }

    /// Whether a batch would be run now.
    pub(crate) fn has_work(&self, table: &LaneTable<H>, now: Instant) -> bool {
        !self.dead
            && (!self.batch.is_empty()
                || table.any_waiting(std::iter::once(self.index))
                || self.next_deadline().is_some_and(|at| at <= now))
    }

    /// Runs one batch of at most `max` inputs, then calls `publish` to send what it sent. Whether there was anything to
    /// do; the text of a panic is an error.
    pub(crate) fn run(
        &mut self,
        table: &LaneTable<H>,
        now: Instant,
        max: usize,
        publish: impl FnOnce(&mut Outbound<H>),
    ) -> Result<bool, String> {
        if self.dead {
            return Ok(false);
        }
        table.take(self.index, &mut self.batch, max);
        if self.batch.is_empty() && self.next_deadline().is_none_or(|at| at > now) {
            return Ok(false);
        }
        let before = Counts::of(&self.batch);
        let (lane, batch, out) = (&mut self.lane, &mut self.batch, &mut self.out);
        let outcome = catch_unwind(AssertUnwindSafe(|| lane.on_batch(now, batch, out)));
        // Before the messages count as done: who sees the lane quiet must find its answers in the queue.
        publish(&mut self.out);
        if let Err(panic) = outcome {
            self.dead = true;
            self.batch.clear();
            table.bury(self.index);
            return Err(panic_text(&*panic));
        }
        let left = Counts::of(&self.batch);
        let done = Counts {
            messages: before.messages.saturating_sub(left.messages),
            events: before.events.saturating_sub(left.events),
        };
        table.settle(self.index, done, self.lane.held());
        Ok(true)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        if self.dead {
            None
        } else {
            self.lane.next_deadline()
        }
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::fixture;
    use crate::net::slots::Slots;

    #[test]
    fn room_that_one_session_finds_does_not_keep_others_from_being_told() {
        let workers = Workers {
            lanes: 1,
            lane_depth: 2,
            ..Workers::default()
        };
        let (shared, mut remote) = fixture::shared(&workers, Limits::default());
        let table = &shared.lanes;
        let mut gather = Gather::new(Arc::clone(table));
        let mut slots = Slots::new();
        let (a, b) = (slots.insert(()), slots.insert(()));
        for _ in 0..2 {
            assert!(gather.message(0, a.session(), (), 1).is_ok());
        }
        gather.hand_over();
        assert!(gather.message(0, a.session(), (), 1).is_err(), "full");
        assert!(gather.wait_for_room(0, a));
        // The lane has finished its batch and is about to look whether anybody waits.
        table.lanes[0].messages.store(0, Ordering::Release);
        assert!(!gather.wait_for_room(0, b), "there is room");
        table.settle(0, Counts::default(), 0);
        let told = remote
            .drain(9)
            .any(|item| matches!(item, Remote::LaneRoom(0)));
        assert!(told, "a session waits and nobody would ever tell it");
        assert_eq!(gather.take_waiters(0), [a]);
    }
}
