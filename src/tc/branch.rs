//! One branch in phase two: what its RM's answer means (coordinator.md 1.4, 2.2, 2.3), and when it is tried again.

use std::time::Instant;

use super::coordinator::ChannelId;
use super::store::{Branch, Global};
use crate::proto::Text;
use crate::proto::status::{BranchStatus, BranchType, GlobalStatus};
use crate::xid::BranchId;

/// Which way phase two goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Commit,
    Rollback,
}

impl Direction {
    /// The direction in which a stored status is driven, if it is.
    pub(super) fn of(status: GlobalStatus) -> Option<Self> {
        use GlobalStatus::*;
        match status {
            Committing | CommitRetrying | AsyncCommitting | Committed | CommitFailed => {
                Some(Self::Commit)
            }
            Unknown
            | Rollbacking
            | RollbackRetrying
            | TimeoutRollbacking
            | TimeoutRollbackRetrying
            | Rollbacked
            | RollbackFailed
            | TimeoutRollbacked
            | TimeoutRollbackFailed => Some(Self::Rollback),
            Begin
            | Finished
            | CommitRetryTimeout
            | RollbackRetryTimeout
            | Deleting
            | StopCommitOrCommitRetry
            | StopRollbackOrRollbackRetry => None,
        }
    }
}

/// What came of calling a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Done.
    Success,
    /// An XA branch whose database knows nothing of it; done once it has been asked for long enough.
    NotKnown,
    /// Not done; the RM wants to be asked again, or said something that makes no sense.
    Retryable,
    /// No channel, connection lost, no answer in time.
    Unreachable,
    /// Never.
    Unretryable,
    /// The engine of a SAGA took the other direction.
    Crossed(Crossing),
}

/// What the engine of a SAGA did instead of what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crossing {
    /// Rolled back where a commit was asked.
    RolledBack,
    /// Cannot go forward: roll back, and try again.
    ToRollback,
    /// Goes forward where a rollback was asked: try again.
    ToCommit,
    /// It has failed in phase one: nothing is left.
    Finished,
}

impl Verdict {
    /// What an RM's answer means. Only the branch status counts.
    pub(super) fn of(direction: Direction, saga: bool, answer: BranchStatus) -> Self {
        use BranchStatus::*;
        match (direction, answer) {
            (Direction::Commit, PhaseTwoCommitted) => Self::Success,
            (Direction::Commit, PhaseTwoCommitFailedUnretryable) => Self::Unretryable,
            (Direction::Commit, PhaseTwoCommitFailedXaerNotaRetryable) if !saga => Self::NotKnown,
            (Direction::Commit, PhaseTwoRollbacked) if saga => Self::Crossed(Crossing::RolledBack),
            (Direction::Commit, PhaseTwoRollbackFailedRetryable) if saga => {
                Self::Crossed(Crossing::ToRollback)
            }
            (Direction::Commit, PhaseOneFailed) if saga => Self::Crossed(Crossing::Finished),
            (Direction::Rollback, PhaseTwoRollbacked) => Self::Success,
            (Direction::Rollback, PhaseTwoRollbackFailedUnretryable) => Self::Unretryable,
            (Direction::Rollback, PhaseTwoRollbackFailedXaerNotaRetryable) if !saga => {
                Self::NotKnown
            }
            (Direction::Rollback, PhaseTwoCommitFailedRetryable) if saga => {
                Self::Crossed(Crossing::ToCommit)
            }
            _ => Self::Retryable,
        }
    }
}

/// Where a branch stands in phase two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// To be called at this instant, or as soon as its resource comes back.
    Due(Instant),
    /// Waits for room on this connection.
    Queued(ChannelId),
    /// Called; the id of the request.
    Calling(i32),
    /// Done, the store is being told.
    Ending,
    /// Done.
    Done,
    /// Answered that it never can.
    Failed,
}

/// A branch in phase two, or the one call of a SAGA.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) branch_id: BranchId,
    pub(super) branch_type: BranchType,
    pub(super) resource_id: Text,
    pub(super) client_id: Text,
    pub(super) application_data: Text,
    /// Kept only when a rollback given up frees its rows, for the record.
    pub(super) lock_key: Text,
    /// Ends without a call.
    pub(super) silent: bool,
    /// Nobody waits for its commit.
    pub(super) commits_later: bool,
    /// The branch of the same resource that has to be done before, when the order counts.
    pub(super) behind: Option<usize>,
    pub(super) state: State,
    /// Tries that failed.
    pub(super) failures: u32,
    /// Calls sent.
    pub(super) calls: u32,
    /// It is in the index of those that wait for its resource.
    pub(super) waits: bool,
    /// The last try found nobody here who may be called.
    pub(super) unrouted: bool,
}

impl Step {
    pub(super) fn new(branch: Branch, direction: Direction, due: Instant) -> Self {
        // One that failed to prepare has nothing to commit, but may have something to roll back (coordinator.md 10.3).
        let failed = branch.status == BranchStatus::PhaseOneFailed
            || direction == Direction::Commit
                && branch.status == BranchStatus::PhaseOnePrepareFailed;
        let read_only = direction == Direction::Commit
            && branch.branch_type == BranchType::Xa
            && branch.status == BranchStatus::PhaseOneRdonly;
        Self {
            silent: failed || read_only,
            commits_later: branch.branch_type == BranchType::At,
            branch_id: branch.branch_id,
            branch_type: branch.branch_type,
            resource_id: branch.resource_id,
            client_id: branch.client_id,
            application_data: branch.application_data,
            lock_key: branch.lock_key,
            behind: None,
            state: State::Due(due),
            failures: 0,
            calls: 0,
            waits: false,
            unrouted: false,
        }
    }

    /// The one call that drives a SAGA, however many branches it has.
    pub(super) fn saga(global: &Global, due: Instant) -> Self {
        let resource = format!(
            "{}#{}",
            global.application_id, global.transaction_service_group
        );
        Self {
            branch_id: SAGA_BRANCH,
            branch_type: BranchType::Saga,
            resource_id: Text::from(resource),
            client_id: Text::new(),
            application_data: Text::new(),
            lock_key: Text::new(),
            silent: false,
            commits_later: false,
            behind: None,
            state: State::Due(due),
            failures: 0,
            calls: 0,
            waits: false,
            unrouted: false,
        }
    }

    /// Whether the RM or the store is at work on it.
    pub(super) fn is_active(&self) -> bool {
        matches!(self.state, State::Calling(_) | State::Ending)
    }
}

/// The branch id of the one call of a SAGA.
pub(super) const SAGA_BRANCH: BranchId = BranchId(-1);

#[cfg(test)]
mod tests {
    use super::*;
    use BranchStatus::*;

    #[test]
    fn only_the_fitting_success_is_a_success() {
        for answer in BranchStatus::ALL {
            for saga in [false, true] {
                let commit = Verdict::of(Direction::Commit, saga, *answer);
                assert_eq!(commit == Verdict::Success, *answer == PhaseTwoCommitted);
                let rollback = Verdict::of(Direction::Rollback, saga, *answer);
                assert_eq!(rollback == Verdict::Success, *answer == PhaseTwoRollbacked);
            }
        }
    }

    #[test]
    fn answers_of_the_other_direction_count_only_in_a_saga() {
        for (direction, answer, saga) in [
            (Direction::Commit, PhaseTwoRollbacked, Crossing::RolledBack),
            (
                Direction::Commit,
                PhaseTwoRollbackFailedRetryable,
                Crossing::ToRollback,
            ),
            (Direction::Commit, PhaseOneFailed, Crossing::Finished),
            (
                Direction::Rollback,
                PhaseTwoCommitFailedRetryable,
                Crossing::ToCommit,
            ),
        ] {
            assert_eq!(Verdict::of(direction, true, answer), Verdict::Crossed(saga));
            assert_eq!(Verdict::of(direction, false, answer), Verdict::Retryable);
        }
    }

    #[test]
    fn unretryable_counts_only_in_its_own_direction() {
        use Verdict::*;
        let of = Verdict::of;
        let (commit, rollback) = (Direction::Commit, Direction::Rollback);
        for saga in [false, true] {
            assert_eq!(
                of(commit, saga, PhaseTwoCommitFailedUnretryable),
                Unretryable
            );
            assert_eq!(
                of(rollback, saga, PhaseTwoRollbackFailedUnretryable),
                Unretryable
            );
            assert_eq!(
                of(rollback, saga, PhaseTwoCommitFailedUnretryable),
                Retryable
            );
            assert_eq!(
                of(commit, saga, PhaseTwoRollbackFailedUnretryable),
                Retryable
            );
        }
        assert_eq!(
            of(commit, false, PhaseTwoCommitFailedXaerNotaRetryable),
            NotKnown
        );
        assert_eq!(
            of(commit, false, PhaseTwoRollbackFailedXaerNotaRetryable),
            Retryable
        );
        assert_eq!(
            of(rollback, false, PhaseTwoRollbackFailedXaerNotaRetryable),
            NotKnown
        );
    }
}
