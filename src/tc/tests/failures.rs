//! Failures that meet each other: a store that refuses, branches that never can, resources that come back meanwhile.

use super::*;
use BranchStatus::{
    PhaseTwoCommitFailedRetryable, PhaseTwoCommitFailedUnretryable, PhaseTwoCommitted,
    PhaseTwoRollbackFailedRetryable, PhaseTwoRollbackFailedUnretryable, PhaseTwoRollbacked,
};
use GlobalStatus::*;

#[test]
fn a_failure_that_could_not_be_stored_is_stored_though_another_branch_is_put_off() {
    for commit in [true, false] {
        let mut world = World::new();
        let tm = world.tm("app", "2.2.0");
        let rm = world.rm("app", "r,q");
        let xid = world.begin(tm);
        world.register(rm, tcc(&xid, "r"));
        world.register(rm, tcc(&xid, "q"));
        let (never, later, good, failed) = match commit {
            true => (
                PhaseTwoCommitFailedUnretryable,
                PhaseTwoCommitFailedRetryable,
                PhaseTwoCommitted,
                CommitFailed,
            ),
            false => (
                PhaseTwoRollbackFailedUnretryable,
                PhaseTwoRollbackFailedRetryable,
                PhaseTwoRollbacked,
                RollbackFailed,
            ),
        };
        match commit {
            true => world.start_commit(tm, &xid),
            false => world.start_rollback(tm, &xid),
        };
        let first = world.call();
        world.failing = Some(|operation| matches!(operation, Operation::SetStatus { .. }));
        world.reply(&first, never);
        let second = world.call();
        world.failing = None;
        world.reply(&second, later);
        world.advance(Duration::from_secs(2));
        let second = world.call();
        world.reply(&second, good);
        world.advance(Duration::from_secs(30));
        assert_eq!(world.stored_status(&xid), Some(failed));
        assert_eq!(world.calls(), []);
    }
}

#[test]
fn who_is_woken_while_a_call_fails_does_not_stay_in_line() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm("app", "r");
    let xid = world.begin(tm);
    world.register(rm, tcc(&xid, "r"));
    world.start_commit(tm, &xid);
    let call = world.call();
    world.reply(&call, PhaseTwoCommitFailedRetryable);
    world.advance(Duration::from_secs(2));
    let call = world.call();
    // It comes back and the call fails before anybody could be woken.
    let other = world.connect("10.0.0.3", 3);
    world.ask(
        other,
        Message::RegisterRm(RegisterRm {
            version: "2.2.0".into(),
            application_id: "app".into(),
            transaction_service_group: "group".into(),
            extra_data: Text::new(),
            resource_ids: "r".into(),
        }),
    );
    world.reply(&call, PhaseTwoCommitFailedRetryable);
    world.advance(Duration::from_millis(1));
    let call = world.call();
    world.reply(&call, PhaseTwoCommitted);
    assert_eq!(world.stored_status(&xid), None);
    world.coordinator.audit().unwrap();
    assert_eq!(world.coordinator.calls.waiting().count(), 0);
}
