//! Starting over what is stored: every one of the 21 statuses has its rule (table of `recovery`).

use super::decisions::{BRANCH, apply, stored, xid};
use super::*;
use crate::tc::store::{NewBranch, Outcome, Urgency};
use crate::xid::BranchId;
use BranchStatus::{
    PhaseTwoCommitFailedUnretryable, PhaseTwoCommitted, PhaseTwoRollbackFailedUnretryable,
    PhaseTwoRollbacked,
};
use GlobalStatus::*;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What becomes of a stored status when an RM that can do everything is there.
#[derive(Debug, PartialEq)]
enum Fate {
    Committed,
    RolledBack,
    TimedOut,
    Finished,
    Kept,
}

fn fate(status: GlobalStatus) -> Fate {
    match status {
        Committing | CommitRetrying | AsyncCommitting | Committed => Fate::Committed,
        Unknown | Rollbacking | RollbackRetrying | Rollbacked => Fate::RolledBack,
        Begin | TimeoutRollbacking | TimeoutRollbackRetrying | TimeoutRollbacked => Fate::TimedOut,
        Finished => Fate::Finished,
        CommitFailed
        | RollbackFailed
        | TimeoutRollbackFailed
        | CommitRetryTimeout
        | RollbackRetryTimeout
        | Deleting
        | StopCommitOrCommitRetry
        | StopRollbackOrRollbackRetry => Fate::Kept,
    }
}

#[test]
fn every_stored_status_is_read_back_and_has_its_rule() {
    for status in GlobalStatus::ALL {
        for saga in [true, false] {
            if matches!(status, Unknown | Finished) && !saga {
                continue; // only a SAGA gets there
            }
            let mut world = World::over(CoordinatorConfig::default(), stored(*status, saga));
            assert_eq!(world.stats().recovered, 1);
            world.rm("app", "nobody,app#group");
            let mut called = world.reply_all();
            world.advance(secs(70));
            called.extend(world.reply_all());
            let stats = world.stats();
            let seen = match stats {
                _ if stats.committed == 1 => Fate::Committed,
                _ if stats.rolled_back == 1 => Fate::RolledBack,
                _ if stats.timed_out == 1 => Fate::TimedOut,
                _ if stats.finished == 1 => Fate::Finished,
                _ => Fate::Kept,
            };
            assert_eq!(seen, fate(*status), "{status} saga {saga}");
            let expected = match seen {
                Fate::Kept | Fate::Finished => vec![],
                _ => vec![(seen == Fate::Committed, if saga { -1 } else { BRANCH })],
            };
            let called: Vec<_> = called.iter().map(|c| (c.commit, c.end.branch_id)).collect();
            assert_eq!(called, expected, "{status} saga {saga}");
            let kept = (seen == Fate::Kept).then_some(*status);
            assert_eq!(
                world.stored_status(&xid()),
                kept,
                "neither lost nor changed"
            );
        }
    }
}

#[test]
fn left_overs_without_branches_go_at_once() {
    for status in [Committed, Rollbacked, TimeoutRollbacked] {
        let mut store = stored(status, false);
        let end = Operation::EndBranch {
            xid: parsed(&xid()),
            branch_id: BranchId(BRANCH),
            urgency: Urgency::Now,
            now_ms: START_MS,
        };
        assert_eq!(apply(&mut store, end), Outcome::Done);
        let mut world = World::over(CoordinatorConfig::default(), store);
        world.advance(secs(2));
        assert_eq!(world.stored_status(&xid()), None, "{status}");
        assert_eq!(world.calls(), []);
    }
}

#[test]
fn after_a_failure_every_branch_is_called_at_least_once_even_over_a_restart() {
    for (status, failed, good) in [
        (
            CommitFailed,
            PhaseTwoCommitFailedUnretryable,
            PhaseTwoCommitted,
        ),
        (
            RollbackFailed,
            PhaseTwoRollbackFailedUnretryable,
            PhaseTwoRollbacked,
        ),
        (
            TimeoutRollbackFailed,
            PhaseTwoRollbackFailedUnretryable,
            PhaseTwoRollbacked,
        ),
    ] {
        let mut store = stored(Begin, false);
        let register = Operation::Register(NewBranch {
            xid: parsed(&xid()),
            branch_id: BranchId(BRANCH + 1),
            branch_type: BranchType::Tcc,
            resource_id: "other".into(),
            client_id: "app:10.0.0.2:5".into(),
            application_data: Text::new(),
            lock_key: Text::new(),
            now_ms: START_MS,
        });
        assert_eq!(apply(&mut store, register), Outcome::Done);
        decisions::decide(&mut store, status);
        let mut world = World::over(CoordinatorConfig::default(), store);
        let rm = world.rm("app", "nobody,other");
        for _ in 0..2 {
            let call = world.call();
            assert_eq!(call.to, rm);
            let bad = call.end.branch_id == BRANCH;
            world.reply(&call, if bad { failed } else { good });
        }
        world.advance(secs(100));
        assert_eq!(world.calls(), []);
        let left = world.stored(&xid()).unwrap();
        assert_eq!((left.status, left.branches.len()), (status, 1));
        assert_eq!(left.branches[0].branch_id, BranchId(BRANCH));
        // The one that is left is the one that failed: it is not called again.
        let mut world = World::over(CoordinatorConfig::default(), world.store);
        world.rm("app", "nobody,other");
        world.advance(secs(100));
        assert_eq!(world.calls(), []);
        assert_eq!(world.stored_status(&xid()), Some(status));
    }
}
