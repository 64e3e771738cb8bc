//! What every part of the world shares: time, chance, the queue of events and the trace.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::time::{Duration, Instant};

use seamio::sim::Rng;
use seamio::tc::Now;

/// Microseconds since the start of the run.
pub(crate) type Micros = u64;

/// One millisecond.
pub(crate) const MS: Micros = 1_000;
/// One second.
pub(crate) const SECOND: Micros = 1_000_000;

/// Something that happens at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The next piece of bytes of a connection arrives.
    Arrive { conn: u64, to_server: bool },
    /// One side learns that the connection is gone.
    Gone { conn: u64, server: bool },
    /// A client tries to connect.
    Connect { link: usize },
    /// A client sends what it has gathered.
    Flush { link: usize },
    /// A client looks whether its requests were answered in time.
    Patience { link: usize },
    /// A transaction takes its next step.
    Step { tx: usize },
    /// A resource manager does a piece of work and answers it.
    Serve { job: usize },
    /// The coordinator's timer.
    Wake { life: u32 },
    /// A sync of the disk ends.
    Synced { life: u32 },
    /// The coordinator's process is started.
    Start { life: u32 },
    /// Between a coordinator and the store that it shares.
    Store { step: StoreStep, life: u32 },
    /// Something goes wrong.
    Fault,
    /// The store is compared with what is known.
    Audit,
    /// Faults end.
    Heal,
}

/// What happens between a coordinator and a store that it shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreStep {
    /// Operations reach the store.
    Reach,
    /// What the store said reaches the coordinator.
    Answer,
    /// The coordinator asks for its lease, for lapsed siblings and for offers.
    Keep,
}

/// Time, chance, what will happen, and what has happened.
pub(crate) struct Env {
    /// Now.
    pub(crate) now: Micros,
    /// All chance of the run.
    pub(crate) rng: Rng,
    /// Faults have ended.
    pub(crate) healing: bool,
    queue: BinaryHeap<Reverse<(Micros, u64, Slot)>>,
    order: u64,
    base: Instant,
    hash: u64,
    lines: Option<Vec<String>>,
    /// Events so far.
    pub(crate) events: u64,
}

impl Env {
    /// The start of a run. With `keep_lines` the trace can be shown.
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn new(seed: u64, keep_lines: bool) -> Self {
        Self {
            now: 0,
            rng: Rng::new(seed),
            healing: false,
            queue: BinaryHeap::new(),
            order: 0,
            base: Instant::now(),
            hash: 0xcbf2_9ce4_8422_2325,
            lines: keep_lines.then(Vec::new),
            events: 0,
        }
    }

    /// Lets an event happen after a while.
    pub(crate) fn after(&mut self, delay: Micros, event: Event) {
        self.at(self.now + delay, event);
    }

    /// Lets an event happen at a moment; one that has passed counts as now. Events of one moment keep their order.
    pub(crate) fn at(&mut self, time: Micros, event: Event) {
        self.order += 1;
        self.queue
            .push(Reverse((time.max(self.now), self.order, Slot(event))));
    }

    /// Moves time to the next event.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let Reverse((time, _, Slot(event))) = self.queue.pop()?;
        self.now = self.now.max(time);
        self.events += 1;
        Some(event)
    }

    /// When the next event happens.
    pub(crate) fn next_time(&self) -> Option<Micros> {
        self.queue.peek().map(|Reverse((time, _, _))| *time)
    }

    /// Time went on without an event.
    pub(crate) fn advance(&mut self, now: Micros) {
        self.now = self.now.max(now);
    }

    /// The moment as the coordinator sees it; `wall_ms` is its wall clock at the start of the run.
    pub(crate) fn clock(&self, wall_ms: i64) -> Now {
        Now {
            instant: self.base + Duration::from_micros(self.now),
            wall_ms: wall_ms + (self.now / MS) as i64,
        }
    }

    /// When an instant is.
    pub(crate) fn micros_of(&self, instant: Instant) -> Micros {
        // Rounded up: a timer never fires early.
        instant
            .saturating_duration_since(self.base)
            .as_nanos()
            .div_ceil(1000) as Micros
    }

    /// Adds a line to the trace, if somebody is to read it.
    pub(crate) fn trace(&mut self, line: fmt::Arguments<'_>) {
        self.mix(0);
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>12.6} {line}", self.now as f64 / SECOND as f64));
        }
    }

    /// Adds bytes to the hash of the run.
    pub(crate) fn note(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn mix(&mut self, word: u64) {
        let mixed = self.hash.rotate_left(5) ^ word ^ self.now;
        self.hash = mixed.wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    /// A hash over every byte sent, every step traced, and when.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The trace, if it was kept.
    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        self.lines.take().unwrap_or_default()
    }
}

/// An event in the queue; the queue orders by time and order of arrival alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot(Event);

impl PartialOrd for Slot {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Slot {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}
