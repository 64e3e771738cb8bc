//! What can go wrong on the application's side. Each variant says what to do next.

use std::fmt;
use std::time::Duration;

use crate::proto::Text;
use crate::proto::status::{ExceptionCode, GlobalStatus};

/// What went wrong with a request to the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// No coordinator could be asked; nothing was sent. Try again when one is back.
    Unreachable(String),
    /// The connection was lost after the request left and before its answer came: whether it was carried out is not known.
    Lost {
        /// The coordinator's address.
        coordinator: String,
        /// Why the connection ended.
        reason: String,
    },
    /// No answer came in time: whether the request was carried out is not known.
    Timeout {
        /// The coordinator's address.
        coordinator: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The coordinator said no.
    Refused {
        /// Why, for programs.
        code: ExceptionCode,
        /// Why, for people.
        message: String,
    },
    /// The coordinator answered with something that is no answer to the request. A bug of one of the two.
    Protocol(String),
    /// A limit of the client's options was met; its name. Nothing was sent. Try again when less is under way.
    Limit(&'static str),
    /// The transaction's time was over before the request left, by this process' own clock. Nothing was sent.
    Expired,
    /// The propagation of the call does not allow it to run here; nothing was begun.
    Propagation(PropagationError),
    /// Options or arguments cannot be used; says which, and what to correct. Nothing was sent.
    Invalid(String),
    /// The client was closed, or its thread ended. Build another one.
    Closed,
}

impl Error {
    /// Whether the same call may succeed later without anything being corrected.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Lost { .. } | Self::Timeout { .. } | Self::Limit(_) => {
                true
            }
            Self::Refused { code, .. } => matches!(
                code,
                ExceptionCode::LockKeyConflict
                    | ExceptionCode::NotRaftLeader
                    | ExceptionCode::FailedLockGlobalTransaction
                    | ExceptionCode::FailedWriteSession
                    | ExceptionCode::FailedStore
                    | ExceptionCode::Io
            ),
            _ => false,
        }
    }

    /// Whether the request left and its effect is not known.
    pub fn is_unknown(&self) -> bool {
        matches!(
            self,
            Self::Lost { .. } | Self::Timeout { .. } | Self::Protocol(_)
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(what) => write!(f, "no coordinator is reachable: {what}"),
            Self::Lost {
                coordinator,
                reason,
            } => write!(
                f,
                "the connection to {coordinator} was lost before the answer came: {reason}"
            ),
            Self::Timeout { coordinator, after } => {
                write!(f, "no answer from {coordinator} within {after:?}")
            }
            Self::Refused { code, message } => {
                write!(f, "the coordinator refused: {code}: {message}")
            }
            Self::Protocol(what) => write!(f, "unexpected answer: {what}"),
            Self::Limit(name) => write!(f, "limit reached: {name}"),
            Self::Expired => f.write_str("the transaction's time is over"),
            Self::Propagation(error) => error.fmt(f),
            Self::Invalid(what) => f.write_str(what),
            Self::Closed => f.write_str("the client is closed"),
        }
    }
}

impl std::error::Error for Error {}

/// Why a call may not run where it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PropagationError {
    /// The call must not run within a global transaction, and does.
    Never {
        /// The transaction it was found in.
        xid: Text,
    },
    /// The call must run within a global transaction, and does not.
    Mandatory,
}

impl fmt::Display for PropagationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never { xid } => write!(
                f,
                "existing transaction found for transaction marked with propagation 'never', xid = {xid}"
            ),
            Self::Mandatory => f.write_str(
                "no existing transaction found for transaction marked with propagation 'mandatory'",
            ),
        }
    }
}

impl std::error::Error for PropagationError {}

/// Why a branch was not registered. Roll the local transaction back; only [`BranchError::LockConflict`] is worth waiting for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BranchError {
    /// Another global transaction holds one of the rows. It will let go when it ends.
    LockConflict {
        /// Which row, and who holds it, as the coordinator says.
        message: String,
    },
    /// Another global transaction holds one of the rows and is rolling back, which it may be unable to finish as long as the
    /// local transaction keeps its own row locks: give up at once.
    LockConflictFailFast {
        /// Which row, and who holds it, as the coordinator says.
        message: String,
    },
    /// The global transaction has been decided, timed out or is unknown, or there is none.
    NotActive {
        /// What the coordinator says.
        message: String,
    },
    /// The coordinator refused for another reason.
    Refused {
        /// Why, for programs.
        code: ExceptionCode,
        /// Why, for people.
        message: String,
    },
    /// No answer: the branch may be registered or not. An unfinished branch is rolled back with its transaction.
    Unreachable(Error),
}

impl BranchError {
    /// Whether another transaction holds a row.
    pub fn is_lock_conflict(&self) -> bool {
        matches!(
            self,
            Self::LockConflict { .. } | Self::LockConflictFailFast { .. }
        )
    }
}

impl fmt::Display for BranchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LockConflict { message } => write!(f, "a row is locked: {message}"),
            Self::LockConflictFailFast { message } => {
                write!(
                    f,
                    "a row is locked by a transaction that rolls back: {message}"
                )
            }
            Self::NotActive { message } => {
                write!(f, "the global transaction takes no branches: {message}")
            }
            Self::Refused { code, message } => write!(f, "branch refused: {code}: {message}"),
            Self::Unreachable(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BranchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a global transaction was rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RollbackReason {
    /// The application asked for it: its work failed, or it called `rollback`.
    Requested,
    /// It took longer than its timeout, by this process' clock or the coordinator's.
    Timeout,
    /// The coordinator had decided so for another reason, for example because somebody else asked.
    Coordinator,
    /// The commit could not be asked for: no request left this process. The transaction is rolled back as soon as a coordinator
    /// can be reached, at the latest when its timeout has passed.
    NotAsked,
}

impl fmt::Display for RollbackReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requested => "as requested",
            Self::Timeout => "it took longer than its timeout",
            Self::Coordinator => "the coordinator decided so",
            Self::NotAsked => "the commit could not be asked for",
        })
    }
}

/// How [`transaction`](super::Seata::transaction) failed. `E` is the application's own error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GlobalTxError<E> {
    /// The transaction could not begin; the application's code did not run.
    NotBegun(Error),
    /// The transaction is rolled back, or will be.
    RolledBack {
        /// Why.
        reason: RollbackReason,
        /// The application's error, when that was the reason.
        source: Option<E>,
        /// Whether every branch is known to be rolled back. If not, the coordinator goes on with it.
        settled: bool,
        /// What the coordinator said last; [`GlobalStatus::Unknown`] when it could not be asked.
        status: GlobalStatus,
    },
    /// The transaction was committed although the application's code failed, because the rule said so.
    Committed(E),
    /// The commit was asked for and not answered: ask for the status later.
    Unknown {
        /// The transaction.
        xid: Text,
        /// The application's error, when the rule said to commit all the same.
        source: Option<E>,
        /// What went wrong.
        error: Error,
    },
    /// The application's code failed within a transaction of somebody else, or without any: nothing was ended here.
    Failed(E),
}

impl<E> GlobalTxError<E> {
    /// The application's own error, if there is one.
    pub fn into_source(self) -> Option<E> {
        match self {
            Self::NotBegun(_) => None,
            Self::RolledBack { source, .. } | Self::Unknown { source, .. } => source,
            Self::Committed(source) | Self::Failed(source) => Some(source),
        }
    }

    /// Whether it is not known how the transaction ended.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }
}

impl<E: fmt::Display> fmt::Display for GlobalTxError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBegun(error) => write!(f, "the global transaction did not begin: {error}"),
            Self::RolledBack {
                reason,
                source: None,
                status,
                ..
            } => write!(f, "rolled back, {reason} (status {status})"),
            Self::RolledBack {
                source: Some(source),
                status,
                ..
            } => write!(f, "rolled back (status {status}): {source}"),
            Self::Committed(source) => write!(f, "committed in spite of: {source}"),
            Self::Unknown { xid, error, .. } => {
                write!(f, "it is not known how {xid} ended: {error}")
            }
            Self::Failed(source) => source.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for GlobalTxError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotBegun(error) | Self::Unknown { error, .. } => Some(error),
            Self::RolledBack { source, .. } => source.as_ref().map(|e| e as _),
            Self::Committed(source) | Self::Failed(source) => Some(source),
        }
    }
}
