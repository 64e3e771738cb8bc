//! What a client did so far, as counters.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident),+ $(,)?) => {
        /// Counters of a client since it was built.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Metrics { $($(#[doc = $doc])* pub $name: u64),+ }

        /// The same, written by the client's threads.
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $(pub(crate) $name: Counter),+ }

        impl Counters {
            pub(crate) fn snapshot(&self) -> Metrics {
                Metrics { $($name: self.$name.0.load(Ordering::Relaxed)),+ }
            }
        }
    };
}

counters! {
    /// Global transactions begun.
    begun,
    /// Global transactions that this client asked to commit and that were decided so.
    committed,
    /// Global transactions of this client that are rolled back or will be.
    rolled_back,
    /// Commits that were asked for and not answered.
    unknown,
    /// Guards dropped without commit or rollback; each sent a rollback.
    dropped,
    /// Branches registered.
    branches,
    /// Branches refused because a row was locked.
    lock_conflicts,
    /// Requests sent, each attempt counted.
    requests,
    /// Attempts that failed and were made again.
    retries,
    /// Merged messages sent.
    merged_messages,
    /// Requests that travelled in them.
    merged_requests,
    /// Answers nobody waited for any more.
    late_answers,
    /// Requests without an answer in time.
    timeouts,
    /// Registered connections that were lost.
    lost_connections,
    /// Second phases asked for.
    phase_two,
    /// Second phases answered with a failure.
    phase_two_failed,
    /// Second phases that panicked.
    phase_two_panics,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
}
