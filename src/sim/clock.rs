//! A clock that stands still until the simulation moves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::net::Clock;

/// Simulated monotonic time. Clones show the same time.
///
/// It starts at one real [`Instant`], since there is no other way to make one, and counts from there. Nothing may
/// depend on that instant; what a run can see is [`SimClock::elapsed`].
#[derive(Clone, Debug)]
pub struct SimClock {
    start: Instant,
    nanos: Arc<AtomicU64>,
    fast: bool,
}

impl SimClock {
    /// A clock that has just been started.
    #[allow(clippy::disallowed_methods)]
    pub fn new() -> Self {
        SimClock {
            start: Instant::now(),
            nanos: Arc::default(),
            fast: false,
        }
    }

    /// Simulated time since the start.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.nanos())
    }

    /// The same time, shown by a clock that runs a fifth too fast: to show that a test notices.
    pub fn running_fast(&self) -> Self {
        SimClock {
            fast: true,
            ..self.clone()
        }
    }

    /// Moves time forward.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.advance_to(self.nanos().saturating_add(by));
    }

    /// Nanoseconds since the start.
    pub(crate) fn nanos(&self) -> u64 {
        self.nanos.load(Ordering::Relaxed)
    }

    /// Moves time to `nanos` since the start, never back.
    pub(crate) fn advance_to(&self, nanos: u64) {
        self.nanos.fetch_max(nanos, Ordering::Relaxed);
    }
}

impl Default for SimClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        let elapsed = self.elapsed();
        let ahead = if self.fast {
            elapsed / 5
        } else {
            Duration::ZERO
        };
        self.start + elapsed + ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_move_together_and_never_back() {
        let clock = SimClock::new();
        let other = clock.clone();
        let before = other.now();
        clock.advance(Duration::from_millis(7));
        other.advance_to(3);
        assert_eq!(other.now() - before, Duration::from_millis(7));
        assert_eq!(other.elapsed(), Duration::from_millis(7));
    }
}
