//! What was asked and answered.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::script::Asked;
use crate::proto::message::Message;

/// A message that passed the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When, since the start of the kit.
    pub at: Duration,
    /// Which connection, counted from 0. A client has two, one for each role.
    pub connection: usize,
    /// The number that ties an answer to its request.
    pub id: i32,
    /// The request or answer.
    pub message: Message,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrived.
    Arrived,
    /// A fault of the script kept it from arriving.
    Lost,
}

#[derive(Debug, Default)]
pub(super) struct History {
    past: Mutex<Past>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Past {
    entries: Vec<Entry>,
    /// Second phases that clients work on.
    at_work: usize,
}

impl History {
    pub(super) fn note(&self, entry: Entry) {
        self.lock().entries.push(entry);
        self.changed.notify_all();
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.lock().entries.clone()
    }

    /// How many second phases clients work on.
    pub(super) fn set_at_work(&self, count: usize) {
        self.lock().at_work = count;
    }

    pub(super) fn at_work(&self) -> usize {
        self.lock().at_work
    }

    #[track_caller]
    pub(super) fn wait_for(&self, asked: Asked, times: usize) {
        let count = |past: &Past| {
            let kinds = past.entries.iter().map(|entry| Asked::of(&entry.message));
            kinds.filter(|kind| *kind == Some(asked)).count()
        };
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), PATIENCE, |past| count(past) < times);
        let (past, _) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(
            count(&past) >= times,
            "{asked:?} was asked {} times, not {times}: {:#?}",
            count(&past),
            past.entries
        );
    }

    fn lock(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
