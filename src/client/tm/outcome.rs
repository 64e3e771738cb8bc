//! What a coordinator's answer means for who asked (client.md 2.4): a table.

use crate::client::{Error, GlobalTxError, RollbackReason};
use crate::proto::Text;
use crate::proto::message::{GlobalEndResponse, TxResult};
use crate::proto::status::{ExceptionCode, GlobalStatus};

/// How a global transaction ended, as far as it can be told. `Committed` and `RolledBack` are decisions: durable, and never
/// taken back, even while branches are still being worked on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "only one of the three means that the transaction is committed"]
pub enum Outcome {
    /// Decided to commit.
    Committed {
        /// What the coordinator said.
        status: GlobalStatus,
    },
    /// Decided to roll back, or never to be committed: the coordinator rolls it back when its timeout has passed.
    RolledBack {
        /// Why.
        reason: RollbackReason,
        /// What the coordinator said; [`GlobalStatus::Unknown`] when it could not be asked.
        status: GlobalStatus,
    },
    /// The commit was asked for and it is not known what became of it. Ask for the status later.
    Unknown {
        /// The transaction.
        xid: Text,
        /// What went wrong.
        error: Error,
    },
}

impl Outcome {
    /// Whether it is decided to commit.
    pub fn is_committed(&self) -> bool {
        matches!(self, Self::Committed { .. })
    }

    /// As a result, for `?`: everything but a commit is an error.
    ///
    /// # Errors
    /// [`GlobalTxError::RolledBack`], [`GlobalTxError::Unknown`].
    pub fn into_result<E>(self) -> Result<(), GlobalTxError<E>> {
        match self {
            Self::Committed { .. } => Ok(()),
            Self::RolledBack { reason, status } => Err(GlobalTxError::RolledBack {
                reason,
                source: None,
                settled: is_settled(status),
                status,
            }),
            Self::Unknown { xid, error } => Err(GlobalTxError::Unknown {
                xid,
                source: None,
                error,
            }),
        }
    }

    /// What became of a commit.
    pub(super) fn of_commit(xid: &Text, answer: &GlobalEndResponse) -> Self {
        let status = answer.global_status;
        match decision(status) {
            Decided::Commit => Self::Committed { status },
            Decided::Rollback => Self::RolledBack {
                reason: RollbackReason::Coordinator,
                status,
            },
            Decided::Timeout => Self::RolledBack {
                reason: RollbackReason::Timeout,
                status,
            },
            Decided::Ended | Decided::Nothing => Self::Unknown {
                xid: xid.clone(),
                error: explain(answer),
            },
        }
    }

    /// What became of a rollback. Without a decision the timeout brings one: nobody else commits.
    pub(super) fn of_rollback(answer: &GlobalEndResponse) -> Self {
        let status = answer.global_status;
        let reason = match decision(status) {
            Decided::Commit => return Self::Committed { status },
            Decided::Timeout => RollbackReason::Timeout,
            Decided::Rollback | Decided::Ended | Decided::Nothing => RollbackReason::Requested,
        };
        Self::RolledBack { reason, status }
    }
}

/// Whether every branch is known to be rolled back.
pub(super) fn is_settled(status: GlobalStatus) -> bool {
    matches!(
        status,
        GlobalStatus::Rollbacked | GlobalStatus::TimeoutRollbacked | GlobalStatus::Finished
    )
}

/// Whether nothing more will be done about a transaction.
pub(super) fn is_over(status: GlobalStatus) -> bool {
    matches!(
        status,
        GlobalStatus::Committed
            | GlobalStatus::CommitFailed
            | GlobalStatus::CommitRetryTimeout
            | GlobalStatus::Rollbacked
            | GlobalStatus::RollbackFailed
            | GlobalStatus::RollbackRetryTimeout
            | GlobalStatus::TimeoutRollbacked
            | GlobalStatus::TimeoutRollbackFailed
            | GlobalStatus::Finished
            | GlobalStatus::Deleting
    )
}

/// What a status says about the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decided {
    Commit,
    Rollback,
    /// Rolled back because its time was over.
    Timeout,
    /// It is over, and how is not known any more.
    Ended,
    Nothing,
}

fn decision(status: GlobalStatus) -> Decided {
    match status {
        GlobalStatus::Committing
        | GlobalStatus::CommitRetrying
        | GlobalStatus::AsyncCommitting
        | GlobalStatus::Committed
        | GlobalStatus::CommitFailed
        | GlobalStatus::CommitRetryTimeout
        | GlobalStatus::StopCommitOrCommitRetry => Decided::Commit,
        GlobalStatus::Rollbacking
        | GlobalStatus::RollbackRetrying
        | GlobalStatus::Rollbacked
        | GlobalStatus::RollbackFailed
        | GlobalStatus::RollbackRetryTimeout
        | GlobalStatus::StopRollbackOrRollbackRetry => Decided::Rollback,
        GlobalStatus::TimeoutRollbacking
        | GlobalStatus::TimeoutRollbackRetrying
        | GlobalStatus::TimeoutRollbacked
        | GlobalStatus::TimeoutRollbackFailed => Decided::Timeout,
        // Deleting follows either decision.
        GlobalStatus::Finished | GlobalStatus::Deleting => Decided::Ended,
        GlobalStatus::Unknown | GlobalStatus::Begin => Decided::Nothing,
    }
}

fn explain(answer: &GlobalEndResponse) -> Error {
    match &answer.result {
        TxResult::Failed { code, message } => Error::Refused {
            code: *code,
            message: message.to_string(),
        },
        TxResult::Success if answer.global_status == GlobalStatus::Finished => Error::Refused {
            code: ExceptionCode::CommitHeuristic,
            message: "the coordinator does not know the transaction any more: it may have been rolled back".to_owned(),
        },
        TxResult::Success => Error::Protocol(format!(
            "a commit was answered with the status {}",
            answer.global_status
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: GlobalStatus) -> GlobalEndResponse {
        GlobalEndResponse {
            result: TxResult::Success,
            global_status: status,
        }
    }

    #[test]
    fn every_status_after_a_commit() {
        let xid = Text::from("h:1:2");
        let mut counts = [0; 4];
        for status in GlobalStatus::ALL {
            let kind = match Outcome::of_commit(&xid, &answer(*status)) {
                Outcome::Committed { .. } => 0,
                Outcome::RolledBack { reason, .. } => match reason {
                    RollbackReason::Timeout => 1,
                    _ => 2,
                },
                Outcome::Unknown { .. } => 3,
            };
            counts[kind] += 1;
            let name = status.name();
            let expected = match name {
                _ if name.starts_with("Timeout") => 1,
                "UnKnown" | "Begin" | "Finished" | "Deleting" => 3,
                _ if name.contains("Rollback") => 2,
                _ => 0,
            };
            assert_eq!(kind, expected, "{name}");
        }
        assert_eq!(counts, [7, 4, 6, 4]);
    }

    #[test]
    fn a_failed_answer_with_a_decision_is_the_decision() {
        let late = GlobalEndResponse {
            result: TxResult::Failed {
                code: ExceptionCode::TransactionTimeout,
                message: "late".into(),
            },
            global_status: GlobalStatus::TimeoutRollbacking,
        };
        let outcome = Outcome::of_commit(&"x".into(), &late);
        assert!(matches!(
            outcome,
            Outcome::RolledBack {
                reason: RollbackReason::Timeout,
                ..
            }
        ));
    }

    #[test]
    fn a_forgotten_transaction_is_no_success() {
        let outcome = Outcome::of_commit(&"x".into(), &answer(GlobalStatus::Finished));
        let Outcome::Unknown { error, .. } = outcome else {
            panic!("{outcome:?}");
        };
        assert!(matches!(
            error,
            Error::Refused {
                code: ExceptionCode::CommitHeuristic,
                ..
            }
        ));
    }

    #[test]
    fn a_rollback_is_one_unless_it_was_committed() {
        for status in GlobalStatus::ALL {
            let outcome = Outcome::of_rollback(&answer(*status));
            let committed = decision(*status) == Decided::Commit;
            assert_eq!(outcome.is_committed(), committed, "{status}");
        }
    }
}
