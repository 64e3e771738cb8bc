//! What a turn works with besides the sockets: time, timers, lists of who has something to do, buffers, lanes, counters.
//! Independent of the network driver, so that callbacks can be handed a piece of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::blocking::Blocking;
use super::buffer::Pools;
use super::codec::{Arena, Link};
use super::config::{Budget, Limits, Prepare};
use super::error::CloseReason;
use super::handler::Handler;
use super::lane::Gather;
use super::metrics::Metrics;
use super::remote::TimerFn;
use super::shared::Shared;
use super::slots::Key;
use super::wheel::{Tick, TimerId, Wheel};

/// The turn's tools.
pub(crate) struct Engine<H: Handler> {
    pub(crate) shared: Arc<Shared<H>>,
    /// Read once per turn; set by [`Engine::begin_turn`].
    pub(crate) now: Instant,
    /// The same as a tick.
    present: Tick,
    pub(crate) metrics: Metrics,
    pub(crate) wheel: Wheel<(Tick, Timer)>,
    /// Timers of the application, by the number their handles carry.
    pub(crate) app_timers: BTreeMap<u64, (TimerId, TimerFn)>,
    /// Sessions and listeners that may have something to read, in the order they are visited.
    pub(crate) ready: VecDeque<Key>,
    /// Sessions to be written at the end of the turn.
    pub(crate) dirty: Vec<Key>,
    /// Sessions whose life has ended, still in their slots.
    pub(crate) dead: VecDeque<Key>,
    /// Sessions not read because too many bytes wait in all.
    pub(crate) starved: Vec<Key>,
    pub(crate) gather: Gather<H>,
    pub(crate) blocking: Blocking<H>,
    pub(crate) pools: Pools,
    pub(crate) arena: Arena,
    pub(crate) links: Vec<Link>,
    pub(crate) budget: Budget,
    pub(crate) limits: Limits,
    /// Bytes in all outboxes.
    pub(crate) buffered: usize,
    /// No new requests are read.
    pub(crate) draining: bool,
}

/// What a timer of the wheel is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    Session(Key, SessionTimer),
    Call(Key, u64),
    Connecting(Key),
    Handshake(Key),
    Listener(Key),
    Connector(u64, usize),
    App(u64),
    Drain,
}

/// The timers of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionTimer {
    Tick,
    Idle,
    Stall,
    Drain,
    Probe,
}

impl<H: Handler> Engine<H> {
    pub(crate) fn new(
        shared: &Arc<Shared<H>>,
        budget: Budget,
        blocking: usize,
        now: Instant,
    ) -> Self {
        let limits = shared.limits;
        Engine {
            shared: Arc::clone(shared),
            now,
            present: Tick::floor(now.saturating_duration_since(shared.epoch)),
            metrics: Metrics::default(),
            wheel: Wheel::new(),
            app_timers: BTreeMap::new(),
            ready: VecDeque::new(),
            dirty: Vec::new(),
            dead: VecDeque::new(),
            starved: Vec::new(),
            gather: Gather::new(Arc::clone(&shared.lanes)),
            blocking: Blocking::new(shared, blocking),
            pools: Pools::new(limits.pool),
            arena: Arena::default(),
            links: Vec::new(),
            budget: budget.at_least_one(),
            // With none, nothing would ever end that makes room for one.
            limits: Limits {
                handshakes: limits.handshakes.max(1),
                ..limits
            },
            buffered: 0,
            draining: false,
        }
    }

    /// Takes memory now that would be taken later. Nothing may have been done yet.
    pub(crate) fn prepare(&mut self, prepare: &Prepare) {
        self.wheel = Wheel::with_capacity(prepare.timers);
        self.ready.reserve(prepare.sessions);
        self.dirty.reserve(prepare.sessions);
        self.dead.reserve(prepare.sessions);
        self.starved.reserve(prepare.sessions);
        if prepare.buffers > 0 {
            self.pools.prepare(prepare.buffers);
            self.arena.prepare();
        }
    }

    /// Sets a timer `delay` from the time of this turn.
    pub(crate) fn set_timer(&mut self, delay: Duration, timer: Timer) -> TimerId {
        self.set_timer_at(later(self.now, delay), timer)
    }

    /// Sets a timer for a moment.
    pub(crate) fn set_timer_at(&mut self, at: Instant, timer: Timer) -> TimerId {
        self.metrics.timer_inserts += 1;
        let deadline = Tick::ceil(at.saturating_duration_since(self.shared.epoch));
        self.wheel.insert(deadline, (deadline, timer))
    }

    /// Takes a timer off the wheel, if it is there.
    pub(crate) fn cancel_timer(&mut self, id: &mut Option<TimerId>) {
        if let Some(id) = id.take() {
            self.wheel.cancel(id);
        }
    }

    /// From here on it is so late.
    pub(crate) fn begin_turn(&mut self, now: Instant) {
        self.now = now;
        self.present = Tick::floor(now.saturating_duration_since(self.shared.epoch));
    }

    /// The present tick.
    pub(crate) fn tick(&self) -> Tick {
        self.present
    }

    /// Whether more bytes wait in all outboxes than may.
    pub(crate) fn is_overfull(&self) -> bool {
        self.buffered > self.limits.buffered
    }

    /// Why sessions end now that nobody asked to.
    pub(crate) fn default_reason(&self) -> CloseReason {
        if self.draining {
            CloseReason::Shutdown
        } else {
            CloseReason::Local
        }
    }
}

/// The moment `delay` after another. A delay of more than a hundred years counts as that.
pub(crate) fn later(at: Instant, delay: Duration) -> Instant {
    at + delay.min(FAR)
}

/// A delay longer than this is as good as never; it keeps sums of times in range.
pub(crate) const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
