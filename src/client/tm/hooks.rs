//! Who is told of the steps of a transaction, and of what goes wrong with it (client.md 1.7 and 2.4).

use super::GlobalTx;
use crate::client::Error;
use crate::proto::Text;
use crate::proto::status::GlobalStatus;

/// Is called around the steps of a transaction by the one who launched it, in the task that runs it. Each method does nothing
/// unless it is written. A panic in one is logged and ignored.
#[allow(unused_variables)]
pub trait TxHook: Send + Sync + 'static {
    /// It is about to begin.
    fn before_begin(&self, name: &str) {}
    /// It has begun.
    fn after_begin(&self, tx: &GlobalTx) {}
    /// It is about to be committed.
    fn before_commit(&self, tx: &GlobalTx) {}
    /// It is decided to commit.
    fn after_commit(&self, tx: &GlobalTx) {}
    /// It is about to be rolled back.
    fn before_rollback(&self, tx: &GlobalTx) {}
    /// The rollback has been asked for and answered.
    fn after_rollback(&self, tx: &GlobalTx) {}
    /// Everything is over, whatever came of it; `tx` is None when it did not begin.
    fn after_completion(&self, tx: Option<&GlobalTx>) {}
}

/// Is told when a transaction of [`Seata::transaction`](crate::client::Seata::transaction) does not go as it should. Each
/// method writes a line to the log unless it does something else.
pub trait FailureHandler: Send + Sync + 'static {
    /// It could not begin.
    fn on_begin_failure(&self, name: &str, error: &Error) {
        log::error!("name={name} event=begin-failed error={error}");
    }

    /// A commit was asked for and nobody knows what became of it.
    fn on_commit_failure(&self, xid: &Text, error: &Error) {
        log::error!("xid={xid} event=commit-unknown error={error}");
    }

    /// A rollback could not be asked for, or the coordinator has given up on it.
    fn on_rollback_failure(&self, xid: &Text, status: GlobalStatus) {
        log::error!("xid={xid} event=rollback-failed status={status}");
    }

    /// The coordinator goes on rolling back.
    fn on_rollbacking(&self, xid: &Text, status: GlobalStatus) {
        log::warn!("xid={xid} event=rollbacking status={status}");
    }
}

/// Writes to the log.
pub(in crate::client) struct LogFailures;

impl FailureHandler for LogFailures {}
