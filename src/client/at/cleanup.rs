//! Branches whose commit is decided and whose undo log is still there: those that come while others are deleted go together.
//!
//! A branch counts as committed when its undo log is gone. So the coordinator asks again for what a client that was killed had
//! still to delete, and nothing stays behind that only its age could tell from what is unresolved.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::client::ticket::{Sink, Ticket, ticket};
use crate::proto::Text;

/// Branches that one statement deletes at most. Longer conditions are slow to plan.
const BATCH_MAX: usize = 200;

/// A branch, by its transaction and its id.
pub(super) type Branch = (Text, i64);

/// The queue of one resource. It holds no more than there are second phases at work.
#[derive(Default)]
pub(super) struct Cleanup {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(Branch, Sink<Deleted>)>,
    worker: Worker,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Worker {
    #[default]
    None,
    Running,
    /// It waits for the database.
    Refusing,
}

/// The undo log of a branch is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deleted;

/// The future of a branch: None when it could not be deleted.
pub(super) type Waiting = Ticket<Deleted>;

/// Branches taken out of the queue. Who waits for those that are dropped without being done is told that they are not.
pub(super) struct Batch {
    branches: Vec<Branch>,
    sinks: Vec<Sink<Deleted>>,
}

/// The one worker. However it ends, nobody waits for it any more.
pub(super) struct Working {
    cleanup: Arc<Cleanup>,
    stopped: bool,
}

impl Cleanup {
    /// From the first branch to the deletion: more may come in between.
    pub(super) const PAUSE: Duration = Duration::from_millis(5);

    /// From a failure to the next look at the database.
    pub(super) const FIRST_RETRY: Duration = Duration::from_millis(200);

    /// The pause after one that ended with a failure.
    pub(super) fn next_retry(pause: Duration) -> Duration {
        (pause * 2).min(LAST_RETRY)
    }

    /// Queues a branch, and gives a worker that has to be run unless one is. None while the database fails: who waited for it
    /// would take the place of second phases that have nothing to do with it.
    pub(super) fn push(self: &Arc<Self>, branch: Branch) -> Option<(Waiting, Option<Working>)> {
        let mut state = self.lock();
        if state.worker == Worker::Refusing {
            return None;
        }
        let (sink, waiting) = ticket();
        state.queue.push_back((branch, sink));
        if state.worker == Worker::Running {
            return Some((waiting, None));
        }
        state.worker = Worker::Running;
        drop(state);
        let working = Working {
            cleanup: Arc::clone(self),
            stopped: false,
        };
        Some((waiting, Some(working)))
    }

    /// Tells everybody that waits that there is nothing to wait for.
    fn leave(&self, worker: Worker) {
        let mut state = self.lock();
        state.worker = worker;
        let left = std::mem::take(&mut state.queue);
        drop(state);
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batch {
    pub(super) fn branches(&self) -> &[Branch] {
        &self.branches
    }

    /// Their undo log is deleted.
    pub(super) fn done(self) {
        for sink in self.sinks {
            // Whoever asked may be gone.
            let _ = sink.send(Deleted);
        }
    }
}

impl Working {
    /// The oldest branches. None when there are none left, and the worker has stopped: the next branch needs another.
    pub(super) fn take(&mut self) -> Option<Batch> {
        let mut state = self.cleanup.lock();
        let count = state.queue.len().min(BATCH_MAX);
        if count == 0 {
            state.worker = Worker::None;
            self.stopped = true;
            return None;
        }
        let (branches, sinks) = state.queue.drain(..count).unzip();
        Some(Batch { branches, sinks })
    }
}

impl Working {
    /// The database fails: nobody waits for it until [`Working::accept`].
    pub(super) fn refuse(&mut self) {
        self.cleanup.leave(Worker::Refusing);
    }

    pub(super) fn accept(&mut self) {
        self.cleanup.lock().worker = Worker::Running;
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        if !self.stopped {
            self.cleanup.leave(Worker::None);
        }
    }
}

/// The longest pause after failures.
const LAST_RETRY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::wait;

    fn branch(id: i64) -> Branch {
        (Text::from("1:1:1".to_owned()), id)
    }

    fn push(cleanup: &Arc<Cleanup>, id: i64) -> (Waiting, Option<Working>) {
        cleanup.push(branch(id)).expect("it is not refused")
    }

    #[test]
    fn one_worker_empties_the_queue() {
        let cleanup = Arc::new(Cleanup::default());
        let (first, working) = push(&cleanup, 1);
        let mut working = working.expect("the first needs a worker");
        let (second, other) = push(&cleanup, 2);
        assert!(other.is_none(), "one is enough");
        let batch = working.take().expect("two branches");
        assert_eq!(batch.branches(), [branch(1), branch(2)]);
        batch.done();
        assert_eq!(wait(first), Some(Deleted));
        assert_eq!(wait(second), Some(Deleted));
        assert!(working.take().is_none());
        let (_third, next) = push(&cleanup, 3);
        assert!(next.is_some(), "the first has stopped");
        // The next one is not taken for gone with the first.
        drop(working);
        assert!(push(&cleanup, 4).1.is_none());
    }

    #[test]
    fn what_could_not_be_deleted_is_told() {
        let cleanup = Arc::new(Cleanup::default());
        let (first, working) = push(&cleanup, 1);
        let mut working = working.expect("a worker");
        drop(working.take());
        assert_eq!(wait(first), None);
        let (second, _) = push(&cleanup, 2);
        working.refuse();
        assert_eq!(wait(second), None);
        assert!(cleanup.push(branch(3)).is_none());
        working.accept();
        let (fourth, other) = push(&cleanup, 4);
        assert!(other.is_none(), "the worker is there still");
        let left = working.take().expect("the fourth");
        assert_eq!(left.branches(), [branch(4)]);
        left.done();
        assert_eq!(wait(fourth), Some(Deleted));
    }

    #[test]
    fn a_worker_that_ended_early_keeps_nobody_waiting() {
        let cleanup = Arc::new(Cleanup::default());
        let (first, working) = push(&cleanup, 1);
        let mut working = working.expect("a worker");
        working.refuse();
        drop(working);
        assert_eq!(wait(first), None);
        assert!(push(&cleanup, 2).1.is_some());
    }

    #[test]
    fn a_statement_deletes_no_more_than_it_can() {
        let cleanup = Arc::new(Cleanup::default());
        let (_first, working) = push(&cleanup, 0);
        let mut working = working.expect("a worker");
        for id in 1..=300 {
            drop(push(&cleanup, id));
        }
        let counts: Vec<usize> = std::iter::from_fn(|| working.take())
            .map(|batch| batch.branches().len())
            .collect();
        assert_eq!(counts, [BATCH_MAX, 101]);
    }

    #[test]
    fn pauses_grow() {
        let mut pause = Cleanup::FIRST_RETRY;
        let mut pauses = Vec::new();
        for _ in 0..7 {
            pause = Cleanup::next_retry(pause);
            pauses.push(pause.as_millis());
        }
        assert_eq!(pauses, [400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    }
}
