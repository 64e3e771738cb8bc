//! Which way a decided transaction goes, and which moves between statuses are forbidden (coordinator.md 1.2).

use super::End;
use crate::proto::status::GlobalStatus;

/// The way a status belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Being committed, or committed.
    Commit,
    /// Being rolled back, or rolled back, also because of a timeout.
    Rollback,
}

/// The way of a status; none for those that belong to neither.
pub(crate) fn direction(status: GlobalStatus) -> Option<Direction> {
    use GlobalStatus::*;
    match status {
        Committing
        | CommitRetrying
        | AsyncCommitting
        | Committed
        | CommitFailed
        | CommitRetryTimeout
        | StopCommitOrCommitRetry => Some(Direction::Commit),
        Rollbacking
        | RollbackRetrying
        | TimeoutRollbacking
        | TimeoutRollbackRetrying
        | Rollbacked
        | RollbackFailed
        | TimeoutRollbacked
        | TimeoutRollbackFailed
        | RollbackRetryTimeout
        | StopRollbackOrRollbackRetry => Some(Direction::Rollback),
        Unknown | Begin | Finished | Deleting => None,
    }
}

/// Whether nothing may follow the status.
pub(crate) fn is_end(status: GlobalStatus) -> bool {
    use GlobalStatus::*;
    matches!(
        status,
        Committed | Rollbacked | TimeoutRollbacked | Finished
    )
}

/// Whether a status may be set, other than by a decision. A SAGA's engine decides, so it may cross from one direction to
/// the other and out of Begin; nothing goes back to Begin, nothing leaves an end, and Deleting is left only by ending.
pub(crate) fn may_move(saga: bool, from: GlobalStatus, to: GlobalStatus) -> bool {
    use GlobalStatus::*;
    if to == Begin || is_end(from) || from == Deleting {
        return false;
    }
    if saga {
        return true;
    }
    from != Begin && (to == Deleting || direction(to).is_some_and(|to| Some(to) == direction(from)))
}

/// How the drive in progress ends when its last branch is done; none for statuses that wait for somebody.
pub(crate) fn end_of_drive(status: GlobalStatus) -> Option<End> {
    use GlobalStatus::*;
    match status {
        Committing | CommitRetrying | AsyncCommitting => Some(End::Committed),
        Rollbacking | RollbackRetrying => Some(End::RolledBack),
        TimeoutRollbacking | TimeoutRollbackRetrying => Some(End::TimedOut),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_status_crosses_directions_returns_to_begin_or_leaves_an_end() {
        for from in GlobalStatus::ALL.iter().copied() {
            for to in GlobalStatus::ALL.iter().copied() {
                let moves = may_move(false, from, to);
                if let (Some(a), Some(b)) = (direction(from), direction(to)) {
                    assert!(!moves || a == b, "{from} to {to}");
                }
                if to == GlobalStatus::Begin || is_end(from) || from == GlobalStatus::Begin {
                    assert!(!moves, "{from} to {to}");
                }
            }
        }
        use GlobalStatus::*;
        assert!(may_move(false, Committing, CommitRetrying));
        assert!(may_move(false, TimeoutRollbacking, RollbackRetryTimeout));
        assert!(may_move(false, RollbackFailed, RollbackRetrying));
        assert!(may_move(false, Committing, StopCommitOrCommitRetry));
        assert!(may_move(true, TimeoutRollbacking, CommitRetrying));
        assert!(may_move(true, Begin, RollbackRetrying));
        assert!(!may_move(true, Rollbacking, Begin));
    }
}
