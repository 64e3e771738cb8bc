//! When something is tried again: a schedule, and which answers are none.

use std::time::Duration;

use super::chance::Chance;
use crate::client::RetryPolicy;
use crate::proto::message::{GlobalEndResponse, Message, TxResult};
use crate::proto::status::{ExceptionCode, GlobalStatus};

/// The pause before the attempt after `made`; None when there is no further one.
pub(super) fn pause(policy: &RetryPolicy, made: u32, chance: &mut Chance) -> Option<Duration> {
    if made >= policy.attempts.max(1) {
        return None;
    }
    let doubled = 2u32.checked_pow(made.saturating_sub(1)).unwrap_or(u32::MAX);
    let step = policy.first.saturating_mul(doubled).min(policy.longest);
    Some(chance.part_of(step))
}

/// Whether this answer leaves the request undone in a way that another attempt may mend.
pub(super) fn is_undone(answer: &Message) -> bool {
    match answer {
        Message::GlobalCommitResponse(end) | Message::GlobalRollbackResponse(end) => is_open(end),
        Message::BranchReportResponse(report) => code(&report.result).is_some_and(is_passing),
        _ => false,
    }
}

/// The coordinator failed and has not decided.
fn is_open(end: &GlobalEndResponse) -> bool {
    let undecided = matches!(
        end.global_status,
        GlobalStatus::Begin | GlobalStatus::Unknown
    );
    match code(&end.result) {
        Some(ExceptionCode::NotRaftLeader) => true,
        Some(_) => undecided,
        None => false,
    }
}

/// Whether the coordinator does not know the transaction.
pub(super) fn is_unknown_transaction(answer: &Message) -> bool {
    match answer {
        Message::GlobalCommitResponse(end) | Message::GlobalRollbackResponse(end) => {
            end.global_status == GlobalStatus::Finished
        }
        Message::BranchReportResponse(report) => {
            code(&report.result) == Some(ExceptionCode::GlobalTransactionNotExist)
        }
        _ => false,
    }
}

fn is_passing(code: ExceptionCode) -> bool {
    matches!(
        code,
        ExceptionCode::NotRaftLeader
            | ExceptionCode::FailedStore
            | ExceptionCode::FailedWriteSession
            | ExceptionCode::FailedLockGlobalTransaction
            | ExceptionCode::Io
    )
}

fn code(result: &TxResult) -> Option<ExceptionCode> {
    match result {
        TxResult::Success => None,
        TxResult::Failed { code, .. } => Some(*code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_end() {
        let policy = RetryPolicy {
            attempts: 5,
            first: Duration::from_millis(100),
            longest: Duration::from_millis(300),
            total: Duration::from_secs(60),
        };
        let mut chance = Chance::new(1);
        for (made, step) in [(1, 100), (2, 200), (3, 300), (4, 300)] {
            let step = Duration::from_millis(step);
            let pause = pause(&policy, made, &mut chance).expect("another attempt");
            assert!(pause >= step / 2 && pause <= step, "{made}: {pause:?}");
        }
        assert_eq!(pause(&policy, 5, &mut chance), None);
        let none = RetryPolicy {
            attempts: 0,
            ..policy
        };
        assert_eq!(pause(&none, 1, &mut chance), None);
    }

    #[test]
    fn a_failure_without_a_decision_is_tried_again() {
        let answer = |code: Option<ExceptionCode>, status| {
            let result = match code {
                None => TxResult::Success,
                Some(code) => TxResult::Failed {
                    code,
                    message: "".into(),
                },
            };
            Message::GlobalCommitResponse(GlobalEndResponse {
                result,
                global_status: status,
            })
        };
        for (code, status, again) in [
            (None, GlobalStatus::Committed, false),
            (None, GlobalStatus::Begin, false),
            (Some(ExceptionCode::FailedStore), GlobalStatus::Begin, true),
            (Some(ExceptionCode::Unknown), GlobalStatus::Unknown, true),
            (
                Some(ExceptionCode::NotRaftLeader),
                GlobalStatus::Committing,
                true,
            ),
            (
                Some(ExceptionCode::TransactionTimeout),
                GlobalStatus::TimeoutRollbacking,
                false,
            ),
            (
                Some(ExceptionCode::GlobalTransactionNotExist),
                GlobalStatus::Finished,
                false,
            ),
        ] {
            assert_eq!(is_undone(&answer(code, status)), again, "{code:?} {status}");
        }
    }
}
