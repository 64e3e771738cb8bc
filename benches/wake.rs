//! What it costs to hand the reactor something: a push, a push that wakes, a round trip between two threads.
//!
//! `cargo bench --bench wake [-- --csv]`. The wake-up is mio's, an eventfd, as in the reactor. Floors: the bare push into
//! a `std` channel for pushes, one bare eventfd write for wakes, and for the round trip two threads that bounce an
//! eventfd through the same two epolls with no queue.

mod report;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};
use report::{Table, Times, measure};
use seamio::net::wake::{Consumer, DRAIN_MAX, Producer, WakeUp, queue};

fn main() {
    let table = Table::new(&["pushes", "wakes", "wakes/push"]);
    let row = |name: &str, producer: &Producer<u64>, times: Times, floor: f64| {
        let stats = producer.stats();
        let share = stats.wakes as f64 / stats.pushed.max(1) as f64;
        table.row(
            name,
            &[stats.pushed as f64, stats.wakes as f64, share],
            Some(times),
            Some(floor),
        );
    };
    let (producer, times) = push_while_running();
    row(
        "push, reactor running (suppressed)",
        &producer,
        times,
        channel_push(),
    );
    let (producer, times) = push_and_wake();
    row(
        "push and wake, reactor asleep",
        &producer,
        times,
        eventfd_write(),
    );
    let (producer, times) = drain();
    row(
        "push and drain, same thread",
        &producer,
        times,
        channel_push_and_take(),
    );
    let (producer, times) = crowd();
    row("push, 2 threads at once", &producer, times, channel_push());
    let floor = bounce();
    let (producer, times) = round_trip();
    row("round trip between threads", &producer, times, floor.p50);
}

/// A reactor's sleep: the queue and the poll it is woken from.
struct Sleeper {
    poll: Poll,
    events: Events,
    consumer: Consumer<u64>,
}

impl Sleeper {
    fn new() -> (Producer<u64>, Sleeper) {
        let poll = Poll::new().expect("epoll");
        let waker = Waker::new(poll.registry(), Token(0)).expect("eventfd");
        let wake_up: WakeUp = Arc::new(move || waker.wake().expect("eventfd write"));
        let (producer, consumer) = queue(usize::MAX, wake_up);
        (
            producer,
            Sleeper {
                poll,
                events: Events::with_capacity(8),
                consumer,
            },
        )
    }

    /// Waits until something came and takes it.
    fn take(&mut self) -> u64 {
        loop {
            if let Some(item) = self.consumer.drain(DRAIN_MAX).next() {
                return item;
            }
            if self.consumer.try_sleep() {
                self.poll.poll(&mut self.events, None).expect("epoll_wait");
                self.consumer.wake();
            }
        }
    }
}

fn push_while_running() -> (Producer<u64>, Times) {
    let (producer, mut sleeper) = Sleeper::new();
    let times = measure(SAMPLES, RUNS, |n| {
        if n % DRAIN_MAX == 0 {
            sleeper.consumer.drain(DRAIN_MAX).for_each(drop);
        }
        producer.push(n as u64)
    });
    (producer, times)
}

fn channel_push() -> f64 {
    let (sender, receiver) = std::sync::mpsc::channel();
    let times = measure(SAMPLES, RUNS, |n| {
        if n % DRAIN_MAX == 0 {
            receiver.try_iter().for_each(drop);
        }
        sender.send(n as u64)
    });
    times.p50
}

fn drain() -> (Producer<u64>, Times) {
    let (producer, mut sleeper) = Sleeper::new();
    let times = measure(SAMPLES, RUNS, |n| {
        producer.push(n as u64).expect("the consumer lives");
        sleeper.consumer.drain(1).next()
    });
    (producer, times)
}

fn channel_push_and_take() -> f64 {
    let (sender, receiver) = std::sync::mpsc::channel();
    let times = measure(SAMPLES, RUNS, |n| {
        sender.send(n as u64).expect("the receiver lives");
        receiver.try_recv()
    });
    times.p50
}

fn push_and_wake() -> (Producer<u64>, Times) {
    let (producer, mut sleeper) = Sleeper::new();
    let times = measure(SAMPLES, RUNS, |n| {
        // What the reactor does to sleep and to wake is not free, but small beside the system call.
        sleeper.consumer.drain(DRAIN_MAX).for_each(drop);
        assert!(sleeper.consumer.try_sleep());
        producer.push(n as u64)
    });
    (producer, times)
}

fn eventfd_write() -> f64 {
    let poll = Poll::new().expect("epoll");
    let waker = Waker::new(poll.registry(), Token(0)).expect("eventfd");
    measure(SAMPLES, RUNS, |_| waker.wake()).p50
}

/// Two threads push as fast as they can while a third takes; the times are those of one of the two.
fn crowd() -> (Producer<u64>, Times) {
    let (producer, mut sleeper) = Sleeper::new();
    let each = (SAMPLES * RUNS) as u64;
    let taker = thread::spawn(move || (0..2 * each).for_each(|_| assert!(sleeper.take() < each)));
    let other = producer.clone();
    let other = thread::spawn(move || {
        for n in 0..each {
            other.push(n).expect("the consumer lives");
        }
    });
    let times = measure(SAMPLES, RUNS, |n| producer.push(n as u64));
    other.join().expect("pushes");
    taker.join().expect("takes");
    (producer, times)
}

/// One item there and one back, both sides asleep in between.
fn round_trip() -> (Producer<u64>, Times) {
    let (to, mut there) = Sleeper::new();
    let (back, mut here) = Sleeper::new();
    let echo = thread::spawn(move || {
        for _ in 0..TRIPS {
            let item = there.take();
            back.push(item).expect("the consumer lives");
        }
    });
    let times = measure(TRIPS, 1, |n| {
        to.push(n as u64).expect("the consumer lives");
        here.take()
    });
    echo.join().expect("echoes");
    (to, times)
}

fn bounce() -> Times {
    let end = || {
        let poll = Poll::new().expect("epoll");
        let waker = Waker::new(poll.registry(), Token(0)).expect("eventfd");
        (poll, waker)
    };
    let ((mut there, to), (mut here, back)) = (end(), end());
    let wait = |poll: &mut Poll, events: &mut Events| {
        poll.poll(events, Some(Duration::from_secs(10)))
            .expect("epoll_wait");
    };
    let echo = thread::spawn(move || {
        let mut events = Events::with_capacity(8);
        for _ in 0..TRIPS {
            wait(&mut there, &mut events);
            back.wake().expect("eventfd write");
        }
    });
    let mut events = Events::with_capacity(8);
    let times = measure(TRIPS, 1, |_| {
        to.wake().expect("eventfd write");
        wait(&mut here, &mut events);
    });
    echo.join().expect("echoes");
    times
}

const SAMPLES: usize = 2000;
const RUNS: usize = 100;
const TRIPS: usize = 20_000;
