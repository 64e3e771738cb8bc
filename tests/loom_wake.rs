//! Every interleaving of the sleep protocol of `net::wake`, within loom's bounds: no wake-up is lost, and the same test
//! finds the loss as soon as one step of the protocol is left out. The same for the signal by which a store tells the lane
//! that more is durable. Empty unless built with `--cfg seamio_loom`:
//!
//! ```text
//! RUSTFLAGS="--cfg seamio_loom" CARGO_TARGET_DIR=target/loom cargo test --release --lib --manifest-path tests/loom/Cargo.toml
//! ```
#![cfg(seamio_loom)]

use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::sync::{Condvar, Mutex};
use seamio::net::wake::{self, Fault};
use seamio::tc::server::signal::Signal;

/// An eventfd with its poll: writes add up, the poll waits until there is one and takes all.
#[derive(Default)]
struct Event {
    written: Mutex<bool>,
    changed: Condvar,
}

impl Event {
    fn write(&self) {
        *self.written.lock().unwrap() = true;
        self.changed.notify_one();
    }

    fn poll(&self) {
        let mut written = self.written.lock().unwrap();
        while !*written {
            written = self.changed.wait(written).unwrap();
        }
        *written = false;
    }
}

/// A value that is leaked while a failed run unwinds: loom's atomics must not be touched then.
struct Kept<T>(ManuallyDrop<T>);

impl<T> Kept<T> {
    fn new(value: T) -> Self {
        Kept(ManuallyDrop::new(value))
    }
}

impl<T> Deref for Kept<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Kept<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: this is the only place that drops it, and the last.
            unsafe { ManuallyDrop::drop(&mut self.0) }
        }
    }
}

/// `producers` threads push `items` each while this one sleeps whenever it may, until it has them all.
/// `preemptions` bounds how often a thread is interrupted amid its work in one run.
fn exchange(producers: u32, items: u32, preemptions: usize, fault: Fault) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(move || {
        let event = Arc::new(Event::default());
        let wake_up = Arc::clone(&event);
        let (producer, consumer) =
            wake::queue_with_fault(usize::MAX, Arc::new(move || wake_up.write()), fault);
        let (producer, mut consumer) = (Kept::new(producer), Kept::new(consumer));
        let threads: Vec<_> = (0..producers)
            .map(|who| {
                let producer = Kept::new(producer.clone());
                loom::thread::spawn(move || {
                    for item in 0..items {
                        producer.push((who, item)).expect("the consumer lives");
                    }
                })
            })
            .collect();
        let mut next = vec![0; producers as usize];
        while next.iter().sum::<u32>() < producers * items {
            if consumer.try_sleep() {
                event.poll(); // a lost wake-up is a deadlock here
                consumer.wake();
            }
            for (who, item) in consumer.drain(wake::DRAIN_MAX) {
                assert_eq!(item, next[who as usize], "out of order");
                next[who as usize] += 1;
            }
        }
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        let stats = consumer.stats();
        assert_eq!(stats.pushed, stats.drained);
        assert!(stats.wakes <= stats.pushed);
    });
}

#[test]
fn one_producer_is_always_heard() {
    exchange(1, 3, 3, Fault::None);
}

#[test]
fn two_producers_are_always_heard() {
    exchange(2, 1, 2, Fault::None);
}

#[test]
fn an_item_pushed_while_the_consumer_goes_is_dropped_or_given_back() {
    loom::model(|| {
        let (producer, consumer) = wake::queue(usize::MAX, Arc::new(|| {}));
        let item = Arc::new(());
        let pushed = Arc::clone(&item);
        let thread = loom::thread::spawn(move || {
            let _ = producer.push(pushed);
            producer
        });
        drop(consumer);
        let producer = thread.join().unwrap();
        assert_eq!(Arc::strong_count(&item), 1, "left behind");
        assert!(producer.push(item).is_err());
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_second_look_a_wake_up_is_lost() {
    exchange(1, 1, 3, Fault::NoSecondLook);
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_consumers_fence_a_wake_up_is_lost() {
    exchange(1, 1, 3, Fault::NoConsumerFence);
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_producers_fence_a_wake_up_is_lost() {
    exchange(1, 1, 3, Fault::NoProducerFence);
}

/// A sync thread makes two numbers durable and signals each; the lane sleeps until it has seen the last.
fn hear_of_the_last_sync(raise: fn(&Signals) -> bool, take: fn(&Signals)) {
    loom::model(move || {
        let signals = Arc::new(Signals::default());
        let syncing = Arc::clone(&signals);
        let thread = loom::thread::spawn(move || {
            for number in 1..=2 {
                syncing.durable.store(number, Ordering::Release);
                if raise(&syncing) {
                    syncing.event.write();
                }
            }
        });
        let mut seen = 0;
        while seen < 2 {
            signals.event.poll(); // a lost signal is a deadlock here
            take(&signals);
            seen = signals.durable.load(Ordering::Acquire);
        }
        thread.join().unwrap();
    });
}

#[derive(Default)]
struct Signals {
    signal: Signal,
    /// A signal as it must not be made.
    flag: AtomicBool,
    durable: AtomicU64,
    event: Event,
}

#[test]
fn the_lane_always_hears_of_the_last_sync() {
    hear_of_the_last_sync(|s| s.signal.raise(), |s| s.signal.take());
}

#[test]
#[should_panic(expected = "deadlock")]
fn with_a_flag_taken_down_by_a_plain_store_the_last_sync_goes_unheard() {
    hear_of_the_last_sync(
        |s| !s.flag.swap(true, Ordering::AcqRel),
        |s| s.flag.store(false, Ordering::Release),
    );
}
