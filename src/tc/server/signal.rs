//! One event for any number of wakes: the store's sync thread raises a flag and posts an event only when the flag was down;
//! the lane takes the flag down before it looks how far the store is durable.
//!
//! # Why no wake is lost
//!
//! Both sides change the flag by a read-modify-write, so one of the two comes first. Either the lane's comes later: then it
//! reads what the sync thread raised, and with it sees everything the sync thread did before, the durable number included.
//! Or it comes first: then the sync thread reads a flag that is down, and posts. A plain store by the lane would not do: it
//! may become visible after the lane has read the durable number, and the sync thread, still reading a raised flag, posts
//! nothing. `tests/loom_wake.rs` shows both.

#[cfg(seamio_loom)]
use loom::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(seamio_loom))]
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether an event is on its way that the lane has not seen. See the [module](self).
#[derive(Debug, Default)]
pub struct Signal(AtomicBool);

impl Signal {
    /// After something changed: whether an event has to be posted.
    #[must_use]
    pub fn raise(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Before looking at what changed.
    pub fn take(&self) {
        self.0.swap(false, Ordering::AcqRel);
    }
}
