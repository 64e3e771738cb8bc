//! Writers take turns, so that what comes while one is at work grows into one batch instead of being divided.
//!
//! Half as many batches cost the coordinator and the database about a third less (`benches/sql/run`, at1, 64 clients). More than
//! one writer is for when a batch is held up, by a row lock of somebody else or a slow connection: nobody waits for its turn
//! for longer than about two usual batches.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Who is at work, and how long that usually takes.
#[derive(Debug, Default)]
pub(super) struct Turns {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    at_work: usize,
    /// Of one turn, the last ones weighing most.
    usual: Duration,
}

/// A writer's turn; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    since: Instant,
}

impl Turns {
    /// Waits until no other writer is at work, or for long enough.
    #[allow(clippy::disallowed_methods)] // for waiting only
    pub(super) fn take(&self) -> Turn<'_> {
        let mut state = self.lock();
        let patience = (2 * state.usual).min(PATIENCE_MAX);
        if state.at_work > 0 {
            let waiting = self
                .freed
                .wait_timeout_while(state, patience, |state| state.at_work > 0);
            state = waiting.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.at_work += 1;
        Turn {
            turns: self,
            since: Instant::now(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let took = self.since.elapsed();
        let mut state = self.turns.lock();
        state.at_work -= 1;
        state.usual = (7 * state.usual + took) / 8;
        drop(state);
        self.turns.freed.notify_one();
    }
}

/// However slow the database is.
const PATIENCE_MAX: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_waited_for_and_a_stuck_one_is_not() {
        let turns = Turns::default();
        let stuck = turns.take();
        // Nothing is usual yet, so nobody waits.
        drop(turns.take());
        turns.lock().usual = Duration::from_secs(3600);
        let other = turns.take();
        assert_eq!(turns.lock().at_work, 2, "it did not wait for ever");
        drop((stuck, other));
        assert_eq!(turns.lock().at_work, 0);
    }

    #[test]
    fn one_comes_after_the_other() {
        let turns = Turns::default();
        let turn = turns.take();
        turns.lock().usual = Duration::from_secs(3600);
        std::thread::scope(|scope| {
            let next = scope.spawn(|| drop(turns.take()));
            drop(turn);
            assert!(next.join().is_ok());
        });
        assert_eq!(turns.lock().at_work, 0);
    }
}
