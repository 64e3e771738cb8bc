//! The way into a reactor from other threads: one queue, and one wake-up per burst.
//!
//! [`queue`] makes a [`Producer`] (clone it freely) and a [`Consumer`] (one, owned by the reactor). Producers push
//! without locks and call the wake-up, whatever it is, only when the consumer sleeps and nobody woke it before. Under
//! load that is never: the consumer finds the items on its way round.
//!
//! # Protocol
//!
//! One word says *running*, *sleeping* or *notified*.
//!
//! | consumer, before it may block | producer |
//! |---|---|
//! | store *sleeping* | push |
//! | full fence | full fence |
//! | look at the queue again; not empty: do not block | look at the word; *sleeping*: swap in *notified*, and wake if the swap met *sleeping* |
//! | after the poll: store *running* | |
//!
//! Of two full fences one comes first. If the producer's does, the consumer's second look sees the item; if the
//! consumer's does, the producer sees *sleeping*. So an item is never left behind a sleeping consumer. The producer
//! reads before it swaps, so that producers share the word's cache line while the consumer runs. A consumer that
//! finds *notified* when it wants to sleep stores *sleeping* all the same: the second look decides.
//!
//! # Guarantees
//!
//! - Items arrive in the order in which their pushes took effect, thus in order for each producer.
//! - No item is lost while the consumer lives. Those it has not taken when it is dropped are dropped too, at the
//!   latest by the push that put them there; later pushes give the item back.
//! - [`Producer::push`] never waits. It refuses beyond the limit; [`Producer::push_always`] does not, for what must
//!   not be refused and is bounded by its nature (one close per session, one completion per job).
//!
//! # Left out
//!
//! Priorities, and any wait for room. One allocation per push: a producer with several messages pushes one batch.
//!
//! # Checking
//!
//! `tests/loom_wake.rs` explores the interleavings, and shows that without the second look or a fence a wake-up gets
//! lost. It needs its own target directory, since the flag rebuilds everything:
//!
//! ```text
//! RUSTFLAGS="--cfg seamio_loom" CARGO_TARGET_DIR=target/loom cargo test --release --lib --manifest-path tests/loom/Cargo.toml
//! ```
//!
//! Follows network.md B-18 and B-19.

use std::fmt;
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;

#[cfg(seamio_loom)]
use loom::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering, fence};
#[cfg(not(seamio_loom))]
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering, fence};

/// What ends the consumer's sleep: writes an eventfd, unparks a thread, or counts in a test. It may be called from any
/// thread, also when the consumer is awake already, and must not block.
pub type WakeUp = Arc<dyn Fn() + Send + Sync>;

/// How many items a consumer should take per turn before it looks after its sockets again.
pub const DRAIN_MAX: usize = 4096;

/// Makes a queue for at most `limit` items whose sleeping consumer is woken by `wake_up`.
///
/// ```
/// use std::sync::Arc;
/// use seamio::net::wake;
///
/// let (producer, mut consumer) = wake::queue(1000, Arc::new(|| println!("get up")));
/// assert!(consumer.try_sleep()); // nothing to do: the owner would block in poll now
/// producer.push(1).unwrap();     // wakes
/// producer.push(2).unwrap();     // need not
/// consumer.wake();               // poll returned
/// assert_eq!(consumer.drain(wake::DRAIN_MAX).collect::<Vec<_>>(), [1, 2]);
/// assert_eq!((producer.stats().wakes, producer.stats().suppressed()), (1, 1));
/// ```
pub fn queue<T: Send>(limit: usize, wake_up: WakeUp) -> (Producer<T>, Consumer<T>) {
    build(limit, wake_up, Fault::None)
}

/// The same with one step of the protocol left out, to show that the test notices.
#[cfg(seamio_loom)]
#[doc(hidden)]
pub fn queue_with_fault<T: Send>(
    limit: usize,
    wake_up: WakeUp,
    fault: Fault,
) -> (Producer<T>, Consumer<T>) {
    build(limit, wake_up, fault)
}

/// A step of the protocol to leave out.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    #[cfg(seamio_loom)]
    NoSecondLook,
    #[cfg(seamio_loom)]
    NoConsumerFence,
    #[cfg(seamio_loom)]
    NoProducerFence,
}

/// The pushing end. Any number of threads may hold clones of it.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Producer<T> {
    /// Appends an item and wakes the consumer if it sleeps. Never waits.
    ///
    /// # Errors
    /// Gives the item back when `limit` items are waiting already or the consumer is gone.
    pub fn push(&self, item: T) -> Result<(), PushError<T>> {
        let shared = &*self.shared;
        let before = shared.pushed.fetch_add(1, Ordering::Relaxed);
        // `drained` may be read late, never early, so this errs towards refusing.
        if before.saturating_sub(shared.drained.load(Ordering::Relaxed)) >= shared.limit {
            shared.pushed.fetch_sub(1, Ordering::Relaxed);
            return Err(PushError::Full(item));
        }
        self.publish(item)
    }

    /// Appends an item whatever the limit says, and wakes the consumer if it sleeps. Never waits.
    ///
    /// # Errors
    /// Gives the item back when the consumer is gone.
    pub fn push_always(&self, item: T) -> Result<(), PushError<T>> {
        self.shared.pushed.fetch_add(1, Ordering::Relaxed);
        self.publish(item)
    }

    /// How many items wait, at about this moment.
    pub fn len(&self) -> usize {
        self.shared.stats().waiting()
    }

    /// Whether nothing waits, at about this moment.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the consumer is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.state.load(Ordering::Relaxed) == CLOSED
    }

    /// Whether both ends belong to one queue.
    pub fn same_queue(&self, other: &Producer<T>) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Counters of the queue.
    pub fn stats(&self) -> WakeStats {
        self.shared.stats()
    }

    fn publish(&self, item: T) -> Result<(), PushError<T>> {
        let shared = &*self.shared;
        if self.is_closed() {
            shared.pushed.fetch_sub(1, Ordering::Relaxed);
            return Err(PushError::Closed(item));
        }
        shared.stack.push(item);
        if shared.fault.keeps_producer_fence() {
            fence(Ordering::SeqCst);
        }
        match shared.state.load(Ordering::Relaxed) {
            SLEEPING => {
                // Not a plain swap: *closed* must stay.
                let swapped = shared.state.compare_exchange(
                    SLEEPING,
                    NOTIFIED,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
                match swapped {
                    Ok(_) => {
                        shared.wakes.fetch_add(1, Ordering::Relaxed);
                        (shared.wake_up)();
                    }
                    Err(CLOSED) => drop(shared.stack.take()),
                    Err(_) => {}
                }
            }
            // The consumer went while we pushed and may have emptied the queue before our item came.
            CLOSED => drop(shared.stack.take()),
            _ => {}
        }
        Ok(())
    }
}

impl<T> Clone for Producer<T> {
    fn clone(&self) -> Self {
        Producer {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("stats", &self.stats())
            .finish()
    }
}

/// The taking end, owned by the one thread that sleeps.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// Taken from the shared stack, in order, and not handed out yet.
    taken: Chain<T>,
    drained: u64,
}

impl<T> Consumer<T> {
    /// Announces that the owner is about to block. `true`: it may, a push will wake it. `false`: items wait, so it has
    /// to poll without blocking. Call [`wake`](Self::wake) when the poll returned, in the first case.
    #[must_use = "blocking in spite of `false` leaves items waiting"]
    pub fn try_sleep(&self) -> bool {
        if !self.taken.is_empty() {
            return false;
        }
        self.shared.state.store(SLEEPING, Ordering::Relaxed);
        if self.shared.fault.keeps_consumer_fence() {
            fence(Ordering::SeqCst);
        }
        if self.shared.fault.keeps_second_look() && !self.shared.stack.is_empty() {
            self.wake();
            return false;
        }
        true
    }

    /// Announces that the owner is awake: pushes need not wake it until it sleeps again.
    pub fn wake(&self) {
        // Nobody else stores *running*, and the word's cache line stays shared while nothing changes.
        if self.shared.state.load(Ordering::Relaxed) != RUNNING {
            self.shared.state.store(RUNNING, Ordering::Relaxed);
        }
    }

    /// Whether nothing waits. A push may change that at any moment.
    pub fn is_empty(&self) -> bool {
        self.taken.is_empty() && self.shared.stack.is_empty()
    }

    /// Takes at most `max` items, oldest first. What the iterator has not yielded when it is dropped stays queued.
    pub fn drain(&mut self, max: usize) -> Drain<'_, T> {
        Drain {
            consumer: self,
            left: max,
        }
    }

    /// Counters of the queue.
    pub fn stats(&self) -> WakeStats {
        self.shared.stats()
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.shared.state.store(CLOSED, Ordering::Relaxed);
        // Against the producer's fence: either this takes its item, or the producer sees *closed* and does.
        fence(Ordering::SeqCst);
        drop(self.shared.stack.take());
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("stats", &self.stats())
            .finish()
    }
}

/// Iterator of [`Consumer::drain`].
#[derive(Debug)]
pub struct Drain<'a, T> {
    consumer: &'a mut Consumer<T>,
    left: usize,
}

impl<T> Iterator for Drain<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        if self.consumer.taken.is_empty() {
            // Looking costs less than taking. What comes right after the look is found before the next sleep.
            if self.consumer.shared.stack.is_empty() {
                return None;
            }
            self.consumer.taken = self.consumer.shared.stack.take().reversed();
        }
        let item = self.consumer.taken.next()?;
        self.consumer.drained += 1;
        Some(item)
    }
}

impl<T> Drop for Drain<'_, T> {
    fn drop(&mut self) {
        // One writer, so a store will do.
        self.consumer
            .shared
            .drained
            .store(self.consumer.drained, Ordering::Relaxed);
    }
}

/// Counters since the queue was made, each read at about the same moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WakeStats {
    /// Items pushed.
    pub pushed: u64,
    /// Items taken out.
    pub drained: u64,
    /// Times the wake-up was called.
    pub wakes: u64,
}

impl WakeStats {
    /// Pushes that did not have to call the wake-up.
    pub fn suppressed(&self) -> u64 {
        self.pushed.saturating_sub(self.wakes)
    }

    fn waiting(&self) -> usize {
        usize::try_from(self.pushed.saturating_sub(self.drained)).unwrap_or(usize::MAX)
    }
}

/// Why a push gave its item back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PushError<T> {
    /// The limit is reached. Try again when something else happens, or slow the source down.
    Full(T),
    /// The consumer is gone for good.
    Closed(T),
}

impl<T> PushError<T> {
    /// The item.
    pub fn into_inner(self) -> T {
        match self {
            PushError::Full(item) | PushError::Closed(item) => item,
        }
    }
}

impl<T> fmt::Debug for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PushError::Full(_) => "Full(..)",
            PushError::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Display for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PushError::Full(_) => "the reactor's queue is full",
            PushError::Closed(_) => "the reactor is gone",
        })
    }
}

impl<T> std::error::Error for PushError<T> {}

impl Fault {
    #[cfg(not(seamio_loom))]
    const fn keeps_second_look(self) -> bool {
        true
    }
    #[cfg(not(seamio_loom))]
    const fn keeps_consumer_fence(self) -> bool {
        true
    }
    #[cfg(not(seamio_loom))]
    const fn keeps_producer_fence(self) -> bool {
        true
    }
    #[cfg(seamio_loom)]
    fn keeps_second_look(self) -> bool {
        self != Fault::NoSecondLook
    }
    #[cfg(seamio_loom)]
    fn keeps_consumer_fence(self) -> bool {
        self != Fault::NoConsumerFence
    }
    #[cfg(seamio_loom)]
    fn keeps_producer_fence(self) -> bool {
        self != Fault::NoProducerFence
    }
}

fn build<T: Send>(limit: usize, wake_up: WakeUp, fault: Fault) -> (Producer<T>, Consumer<T>) {
    let shared = Arc::new(Shared {
        state: AtomicU8::new(RUNNING),
        stack: Stack::new(),
        pushed: AtomicU64::new(0),
        drained: AtomicU64::new(0),
        wakes: AtomicU64::new(0),
        limit: u64::try_from(limit).unwrap_or(u64::MAX),
        wake_up,
        fault,
    });
    let producer = Producer {
        shared: Arc::clone(&shared),
    };
    (
        producer,
        Consumer {
            shared,
            taken: Chain::empty(),
            drained: 0,
        },
    )
}

struct Shared<T> {
    state: AtomicU8,
    stack: Stack<T>,
    pushed: AtomicU64,
    drained: AtomicU64,
    wakes: AtomicU64,
    limit: u64,
    wake_up: WakeUp,
    fault: Fault,
}

impl<T> Shared<T> {
    fn stats(&self) -> WakeStats {
        let drained = self.drained.load(Ordering::Relaxed);
        let wakes = self.wakes.load(Ordering::Relaxed);
        WakeStats {
            pushed: self.pushed.load(Ordering::Relaxed),
            drained,
            wakes,
        }
    }
}

const RUNNING: u8 = 0;
const SLEEPING: u8 = 1;
const NOTIFIED: u8 = 2;
const CLOSED: u8 = 3;

/// A linked stack: anyone pushes one, anyone takes all. Nobody takes one, so no address can come back under a
/// comparison (the ABA problem).
struct Stack<T> {
    head: AtomicPtr<Node<T>>,
    owns: PhantomData<Chain<T>>,
}

// SAFETY: the stack hands items from thread to thread, so `T: Send`. It never gives out a reference to an item in the
// stack, so `T: Sync` is not needed.
unsafe impl<T: Send> Send for Stack<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Stack<T> {}

impl<T> Stack<T> {
    fn new() -> Self {
        Stack {
            head: AtomicPtr::new(ptr::null_mut()),
            owns: PhantomData,
        }
    }

    fn push(&self, item: T) {
        let mut head = self.head.load(Ordering::Relaxed);
        let node = Box::into_raw(Box::new(Node { next: head, item }));
        // Release: whoever takes the node sees its contents. Earlier nodes are covered too, since each later push is a
        // read-modify-write of the same word and continues their release sequence.
        while let Err(seen) =
            self.head
                .compare_exchange_weak(head, node, Ordering::Release, Ordering::Relaxed)
        {
            head = seen;
            // SAFETY: the exchange failed, so `node` is still ours alone.
            unsafe { (*node).next = head };
        }
    }

    /// Everything in it, newest first.
    fn take(&self) -> Chain<T> {
        Chain {
            next: self.head.swap(ptr::null_mut(), Ordering::Acquire),
        }
    }

    fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed).is_null()
    }
}

impl<T> Drop for Stack<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

struct Node<T> {
    next: *mut Node<T>,
    item: T,
}

/// Nodes that belong to one owner: each pointer comes from `Box::into_raw` and is in no other chain.
struct Chain<T> {
    next: *mut Node<T>,
}

// SAFETY: a chain owns its items, as a list of boxes would.
unsafe impl<T: Send> Send for Chain<T> {}

impl<T> Chain<T> {
    fn empty() -> Self {
        Chain {
            next: ptr::null_mut(),
        }
    }

    fn is_empty(&self) -> bool {
        self.next.is_null()
    }

    fn reversed(mut self) -> Self {
        let mut done = ptr::null_mut();
        let mut next = std::mem::replace(&mut self.next, ptr::null_mut());
        while !next.is_null() {
            // SAFETY: `next` is a live node which this chain owned and no longer points to.
            let rest = unsafe { std::mem::replace(&mut (*next).next, done) };
            done = next;
            next = rest;
        }
        Chain { next: done }
    }
}

impl<T> Iterator for Chain<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.next.is_null() {
            return None;
        }
        // SAFETY: the chain owns the node, and stops pointing to it before anything else can happen.
        let node = unsafe { Box::from_raw(self.next) };
        self.next = node.next;
        Some(node.item)
    }
}

impl<T> Drop for Chain<T> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

#[cfg(all(test, not(seamio_loom)))]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn counted<T: Send>(limit: usize) -> (Producer<T>, Consumer<T>, Arc<AtomicUsize>) {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&wakes);
        let wake_up: WakeUp = Arc::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let (producer, consumer) = queue(limit, wake_up);
        (producer, consumer, wakes)
    }

    #[test]
    fn wakes_once_per_sleep_and_never_while_running() {
        let (producer, mut consumer, wakes) = counted(100);
        producer.push(1).unwrap();
        assert_eq!(wakes.load(Ordering::Relaxed), 0, "it was running");
        assert!(!consumer.try_sleep(), "an item waits");
        assert!(consumer.drain(DRAIN_MAX).eq([1]));
        assert!(consumer.try_sleep());
        for item in 2..10 {
            producer.push(item).unwrap();
        }
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        consumer.wake();
        assert!(consumer.drain(DRAIN_MAX).eq(2..10));
        assert_eq!(
            consumer.stats(),
            WakeStats {
                pushed: 9,
                drained: 9,
                wakes: 1
            }
        );
        assert_eq!(consumer.stats().suppressed(), 8);
        assert!(consumer.try_sleep());
        producer.push(10).unwrap();
        assert_eq!(wakes.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_bounded_drain_leaves_the_rest_in_order() {
        let (producer, mut consumer, _) = counted(100);
        (0..10).for_each(|item| producer.push(item).unwrap());
        assert!(consumer.drain(4).eq(0..4));
        (10..12).for_each(|item| producer.push(item).unwrap());
        assert!(!consumer.try_sleep());
        assert_eq!(consumer.drain(DRAIN_MAX).next(), Some(4));
        assert_eq!(producer.len(), 7);
        assert!(consumer.drain(DRAIN_MAX).eq(5..12));
        assert!(consumer.is_empty() && producer.is_empty());
    }

    #[test]
    fn the_limit_refuses_and_push_always_does_not() {
        let (producer, mut consumer, _) = counted(2);
        producer.push('a').unwrap();
        producer.push('b').unwrap();
        assert_eq!(producer.push('c'), Err(PushError::Full('c')));
        producer.push_always('d').unwrap();
        assert!(consumer.drain(2).eq(['a', 'b']));
        producer.push('e').unwrap();
        assert!(consumer.drain(2).eq(['d', 'e']));
    }

    #[test]
    fn a_gone_consumer_drops_what_waits_and_gives_the_rest_back() {
        let (producer, mut consumer, _) = counted(100);
        let item = Arc::new(());
        for _ in 0..6 {
            producer.push(Arc::clone(&item)).unwrap();
        }
        assert_eq!(consumer.drain(3).count(), 3);
        producer.push(Arc::clone(&item)).unwrap();
        drop(consumer);
        assert_eq!(Arc::strong_count(&item), 1);
        assert!(producer.is_closed());
        assert!(matches!(
            producer.push(Arc::clone(&item)),
            Err(PushError::Closed(_))
        ));
        assert!(matches!(
            producer.push_always(Arc::clone(&item)),
            Err(PushError::Closed(_))
        ));
        assert_eq!(Arc::strong_count(&item), 1);
    }

    #[test]
    fn no_item_outlives_a_consumer_dropped_amid_pushes() {
        for _ in 0..200 {
            let (producer, consumer, _) = counted(usize::MAX);
            let item = Arc::new(());
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let (producer, item) = (producer.clone(), Arc::clone(&item));
                    std::thread::spawn(move || while producer.push(Arc::clone(&item)).is_ok() {})
                })
                .collect();
            drop(consumer);
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
            assert_eq!(Arc::strong_count(&item), 1);
        }
    }

    #[test]
    fn many_producers_never_strand_a_sleeping_consumer() {
        const PRODUCERS: u64 = 3;
        const ITEMS: u64 = 20_000;
        let (wake, woken) = mpsc::channel();
        let (producer, mut consumer) = queue(
            usize::MAX,
            Arc::new(move || wake.send(()).expect("the test is listening")),
        );
        let threads: Vec<_> = (0..PRODUCERS)
            .map(|who| {
                let producer = producer.clone();
                std::thread::spawn(move || {
                    for item in 0..ITEMS {
                        producer.push((who, item)).unwrap();
                        if item % 64 == 0 {
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        let mut next = [0; PRODUCERS as usize];
        while next.iter().sum::<u64>() < PRODUCERS * ITEMS {
            if consumer.try_sleep() {
                woken
                    .recv_timeout(Duration::from_secs(60))
                    .expect("a wake-up was lost");
                consumer.wake();
            }
            for (who, item) in consumer.drain(DRAIN_MAX) {
                assert_eq!(item, next[who as usize], "out of order");
                next[who as usize] += 1;
            }
        }
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        let stats = producer.stats();
        assert_eq!(
            (stats.pushed, stats.drained),
            (PRODUCERS * ITEMS, PRODUCERS * ITEMS)
        );
    }
}
