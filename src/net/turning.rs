//! Whether this thread is in the middle of a reactor's turn: what would block it can then be refused instead.
//!
//! Known only from the beginning of a turn to its end, so a host may take its turns on one thread now and on another later.

use std::cell::Cell;

/// A turn on this thread, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turning {
    outer: bool,
}

impl Turning {
    /// Enters a turn. Turns of different reactors may be nested.
    pub(crate) fn enter() -> Self {
        Turning {
            outer: TURNING.replace(true),
        }
    }
}

impl Drop for Turning {
    fn drop(&mut self) {
        TURNING.set(self.outer);
    }
}

/// Whether a reactor is in its turn on this thread.
pub(crate) fn here() -> bool {
    TURNING.get()
}

thread_local! {
    static TURNING: Cell<bool> = const { Cell::new(false) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_lasts_until_its_end() {
        assert!(!here());
        let outer = Turning::enter();
        drop(Turning::enter());
        assert!(here(), "still in the outer one");
        std::thread::scope(|s| s.spawn(|| assert!(!here())).join().expect("another thread"));
        drop(outer);
        assert!(!here());
    }
}
