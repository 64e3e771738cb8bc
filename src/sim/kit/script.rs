//! The faults that a test ordered.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::proto::message::Message;
use crate::proto::status::ExceptionCode;

/// A kind of request. The first seven are asked by clients, the last two by the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Begin a global transaction.
    Begin,
    /// Commit one.
    Commit,
    /// Roll one back.
    Rollback,
    /// Its status.
    Status,
    /// Register a branch.
    Register,
    /// Report how a branch went, or its data.
    Report,
    /// Whether rows are free.
    LockQuery,
    /// Confirm a branch.
    BranchCommit,
    /// Cancel or undo a branch.
    BranchRollback,
}

/// What goes wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is refused with this code and text, and not carried out. A second phase counts as answered with a failure that is to
    /// be tried again.
    Refuse(ExceptionCode, String),
    /// It never arrives. Whoever asked waits until its time is over.
    LoseRequest,
    /// It is carried out, and its answer never arrives.
    LoseAnswer,
    /// The connection breaks before it is heard.
    KillBefore,
    /// It is carried out, and the connection breaks before its answer arrives.
    KillAfter,
    /// It is carried out, and its answer takes so long.
    Delay(Duration),
}

/// What was ordered and has not happened.
#[derive(Debug, Default)]
pub(super) struct Script {
    orders: Mutex<VecDeque<(Asked, Fault)>>,
    kills: AtomicBool,
}

impl Asked {
    /// What a message asks; None for answers and for what no fault can be ordered for.
    pub(super) fn of(message: &Message) -> Option<Self> {
        Some(match message {
            Message::GlobalBegin(_) => Self::Begin,
            Message::GlobalCommit(_) => Self::Commit,
            Message::GlobalRollback(_) => Self::Rollback,
            Message::GlobalStatus(_) => Self::Status,
            Message::BranchRegister(_) => Self::Register,
            Message::BranchReport(_) => Self::Report,
            Message::GlobalLockQuery(_) => Self::LockQuery,
            Message::BranchCommit(_) => Self::BranchCommit,
            Message::BranchRollback(_) => Self::BranchRollback,
            _ => return None,
        })
    }
}

impl Script {
    pub(super) fn order(&self, asked: Asked, fault: Fault) {
        self.lock().push_back((asked, fault));
    }

    /// The fault of this request, the one ordered first.
    pub(super) fn take(&self, asked: Asked) -> Option<Fault> {
        let mut orders = self.lock();
        let index = orders.iter().position(|(kind, _)| *kind == asked)?;
        orders.remove(index).map(|(_, fault)| fault)
    }

    pub(super) fn left(&self) -> usize {
        self.lock().len()
    }

    pub(super) fn kill_all(&self) {
        self.kills.store(true, Ordering::Release);
    }

    /// Whether every connection is to end now; once.
    pub(super) fn take_kill_all(&self) -> bool {
        self.kills.swap(false, Ordering::AcqRel)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Asked, Fault)>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_meets_the_oldest_fault_of_its_kind() {
        let script = Script::default();
        script.order(Asked::Commit, Fault::LoseAnswer);
        script.order(Asked::Begin, Fault::KillBefore);
        script.order(Asked::Commit, Fault::LoseRequest);
        assert_eq!(script.take(Asked::Rollback), None);
        assert_eq!(script.take(Asked::Commit), Some(Fault::LoseAnswer));
        assert_eq!(script.take(Asked::Commit), Some(Fault::LoseRequest));
        assert_eq!(script.take(Asked::Commit), None);
        assert_eq!(script.left(), 1);
    }

    #[test]
    fn a_kill_is_taken_once() {
        let script = Script::default();
        assert!(!script.take_kill_all());
        script.kill_all();
        assert!(script.take_kill_all() && !script.take_kill_all());
    }
}
