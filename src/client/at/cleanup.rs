//! Committed branches whose undo log is still to be deleted: a queue with a bound, and one worker that empties it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::proto::Text;

/// Branches that one statement deletes at most. Longer conditions are slow to plan.
const BATCH_MAX: usize = 200;

/// A branch, by its transaction and its id.
pub(super) type Branch = (Text, i64);

/// The queue of one resource.
#[derive(Debug)]
pub(super) struct Cleanup {
    queue_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Branch>,
    worker: Worker,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Worker {
    #[default]
    None,
    Running,
}

/// What happened to a branch that was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// It is queued, and a worker has to be started.
    Idle,
    /// It is queued, and the worker will come to it.
    Working,
    /// It is queued in spite of the bound: who queued it has to delete some.
    Full,
}

/// Branches taken out of the queue. Those that are dropped without being done are queued again.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    cleanup: &'a Cleanup,
    branches: Vec<Branch>,
}

/// Says that the worker is gone, however it ended.
#[derive(Debug)]
pub(super) struct Working<'a> {
    cleanup: &'a Cleanup,
    stopped: bool,
}

impl Cleanup {
    /// From the first branch to the deletion: more may come in between.
    pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(10);

    /// The longest pause after failures.
    const LAST_PAUSE: Duration = Duration::from_secs(60);

    pub(super) fn new(queue_max: usize) -> Self {
        Self {
            queue_max,
            state: Mutex::default(),
        }
    }

    /// The pause after one that ended with a failure.
    pub(super) fn next_pause(pause: Duration) -> Duration {
        (pause * 4).clamp(Duration::from_secs(1), Self::LAST_PAUSE)
    }

    pub(super) fn push(&self, branch: Branch) -> Room {
        let mut state = self.lock();
        state.queue.push_back(branch);
        match state.worker {
            Worker::None => {
                state.worker = Worker::Running;
                Room::Idle
            }
            Worker::Running if state.queue.len() > self.queue_max => Room::Full,
            Worker::Running => Room::Working,
        }
    }

    /// The oldest branches; none when the queue is empty.
    pub(super) fn take(&self) -> Batch<'_> {
        let mut state = self.lock();
        let count = state.queue.len().min(BATCH_MAX);
        Batch {
            cleanup: self,
            branches: state.queue.drain(..count).collect(),
        }
    }

    pub(super) fn working(&self) -> Working<'_> {
        Working {
            cleanup: self,
            stopped: false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batch<'_> {
    pub(super) fn branches(&self) -> &[Branch] {
        &self.branches
    }

    /// Their undo log is deleted.
    pub(super) fn done(mut self) {
        self.branches.clear();
    }
}

impl Working<'_> {
    /// Lets the worker stop if there is nothing left; then the next branch starts another.
    pub(super) fn stop_when_empty(&mut self) -> bool {
        let mut state = self.cleanup.lock();
        if state.queue.is_empty() {
            state.worker = Worker::None;
            self.stopped = true;
        }
        self.stopped
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if self.branches.is_empty() {
            return;
        }
        let mut state = self.cleanup.lock();
        for branch in self.branches.drain(..).rev() {
            // Beyond the bound they are left for the deletion of old rows.
            if state.queue.len() >= self.cleanup.queue_max {
                break;
            }
            state.queue.push_front(branch);
        }
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        if !self.stopped {
            self.cleanup.lock().worker = Worker::None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn branch(id: i64) -> Branch {
        (Text::from("1:1:1".to_owned()), id)
    }

    #[test]
    fn one_worker_empties_the_queue() {
        let cleanup = Cleanup::new(10);
        assert_eq!(cleanup.push(branch(1)), Room::Idle);
        assert_eq!(cleanup.push(branch(2)), Room::Working);
        let mut working = cleanup.working();
        assert!(!working.stop_when_empty());
        let batch = cleanup.take();
        assert_eq!(batch.branches().len(), 2);
        batch.done();
        assert!(working.stop_when_empty());
        assert_eq!(cleanup.push(branch(3)), Room::Idle);
        // The next one is not taken for gone with the first.
        drop(working);
        assert_eq!(cleanup.push(branch(4)), Room::Working);
    }

    #[test]
    fn what_was_not_deleted_is_queued_again_in_front() {
        let cleanup = Cleanup::new(3);
        for id in 1..=3 {
            cleanup.push(branch(id));
        }
        drop(cleanup.take());
        let batch = cleanup.take();
        let ids: Vec<i64> = batch.branches().iter().map(|(_, id)| *id).collect();
        assert_eq!(ids, [1, 2, 3]);
        // Meanwhile others came; only as many as fit return.
        cleanup.push(branch(4));
        cleanup.push(branch(5));
        drop(batch);
        let ids: Vec<i64> = cleanup
            .take()
            .branches()
            .iter()
            .map(|(_, id)| *id)
            .collect();
        assert_eq!(ids, [3, 4, 5]);
    }

    #[test]
    fn beyond_the_bound_the_caller_helps() {
        let cleanup = Cleanup::new(1);
        cleanup.push(branch(1));
        assert_eq!(cleanup.push(branch(2)), Room::Full);
    }

    #[test]
    fn a_worker_that_ended_early_is_replaced() {
        let cleanup = Cleanup::new(5);
        cleanup.push(branch(1));
        drop(cleanup.working());
        assert_eq!(cleanup.push(branch(2)), Room::Idle);
    }

    #[test]
    fn pauses_grow_to_a_minute() {
        let mut pause = Cleanup::FIRST_PAUSE;
        let mut pauses = Vec::new();
        for _ in 0..5 {
            pause = Cleanup::next_pause(pause);
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [1, 4, 16, 60, 60]);
    }
}
