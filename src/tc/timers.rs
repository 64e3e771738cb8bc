//! The coordinator's timers: what is due, and when to be asked again.

use std::time::Instant;

use crate::net::wheel::{Tick, TimerId, Wheel};
use crate::xid::Xid;

/// What happens at a deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// The time of a Begin session is over.
    Deadline(Xid),
    /// A branch call got no answer.
    Call(i32),
    /// A branch may be called again.
    Drive(Xid),
    /// Whoever asked for the decision has waited long enough.
    Requester(Xid),
    /// Transactions that wait for a resource which came back go on.
    Woken,
    /// A transaction that could not be taken on is asked for again.
    Adopt(Xid),
    /// Drives that waited for the lease go on.
    Leased,
    /// Old tombstones go.
    Forget,
    /// Old undo logs go.
    UndoLogs,
}

/// All timers of a coordinator.
#[derive(Debug)]
pub(super) struct Timers {
    wheel: Wheel<Timer>,
    start: Instant,
}

impl Timers {
    pub(super) fn new(start: Instant) -> Self {
        Self {
            wheel: Wheel::new(),
            start,
        }
    }

    /// Adds a timer; one in the past is due at once.
    pub(super) fn insert(&mut self, at: Instant, timer: Timer) -> TimerId {
        let deadline = Tick::ceil(at.saturating_duration_since(self.start));
        self.wheel.insert(deadline, timer)
    }

    /// Takes a timer out; one that fired already is no matter.
    pub(super) fn cancel(&mut self, id: Option<TimerId>) {
        if let Some(id) = id {
            self.wheel.cancel(id);
        }
    }

    /// The next timer that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Timer> {
        let now = Tick::floor(now.saturating_duration_since(self.start));
        self.wheel.pop_expired(now).map(|(_, timer)| timer)
    }

    /// When to ask again.
    pub(super) fn next(&self) -> Option<Instant> {
        let wait = self.wheel.next_deadline()?.since(Tick(0));
        self.start.checked_add(wait)
    }
}
