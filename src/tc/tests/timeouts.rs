//! Deadlines: a Begin session whose time is over is rolled back, whoever notices first (rule 2 of coordinator.md 1.7).

use super::*;
use BranchStatus::{
    PhaseOneFailed, PhaseTwoRollbackFailedRetryable, PhaseTwoRollbackFailedUnretryable,
    PhaseTwoRollbacked,
};
use GlobalStatus::*;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_passed_deadline_is_acted_on_within_100_ms() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm("app", "r");
    let with = world.begin_with(tm, "n", 5000);
    world.register(rm, at(&with, "r", "t:1"));
    let without = world.begin_with(tm, "n", 5000);
    world.close(tm);
    world.advance(ms(4999));
    assert_eq!(world.stored_status(&with), Some(Begin));
    world.advance(ms(100));
    assert_eq!(world.stored_status(&with), Some(TimeoutRollbacking));
    assert_eq!(world.stored_status(&without), None);
    let call = world.call();
    assert!(!call.commit);
    world.reply(&call, PhaseTwoRollbacked);
    assert_eq!(world.stored_status(&with), None);
    assert_eq!(world.locks(), 0);
    let stats = world.stats();
    assert_eq!(
        (stats.timeouts_decided, stats.timed_out, stats.rolled_back),
        (2, 2, 0)
    );
    let tm = world.tm("app", "2.2.0");
    for xid in [&with, &without] {
        assert_eq!(world.commit(tm, xid), TimeoutRollbacked);
        assert_eq!(world.rollback(tm, xid), TimeoutRollbacked);
        assert_eq!(world.status(tm, xid), Finished);
    }
}

/// A transaction with one branch whose deadline has passed before any timer fired.
fn overdue(version: &str) -> (World, ChannelId, Text, i64) {
    let mut world = World::new();
    let tm = world.tm("app", version);
    let xid = world.begin_with(tm, "n", 5000);
    let branch = world.register(tm, at(&xid, "r", "t:1"));
    world.elapsed += ms(5001);
    (world, tm, xid, branch)
}

#[test]
fn whoever_asks_after_the_deadline_finds_the_timeout_decided() {
    for version in VERSIONS {
        let (mut world, tm, xid, _) = overdue(version);
        assert_eq!(world.commit(tm, &xid), TimeoutRollbacking);
        let stored = Some(TimeoutRollbackRetrying);
        assert_eq!(world.stored_status(&xid), stored, "nobody serves r");
        assert_eq!(world.stats().timeouts_decided, 1);

        let (mut world, tm, xid, _) = overdue(version);
        assert_eq!(world.status(tm, &xid), TimeoutRollbacking);

        let (mut world, tm, xid, _) = overdue(version);
        let refused = world.try_register(tm, at(&xid, "r", "t:2")).unwrap_err();
        assert_eq!(refused.0, ExceptionCode::GlobalTransactionStatusInvalid);
        assert_eq!(world.locks(), 1);

        let (mut world, tm, xid, _) = overdue(version);
        let query = Message::GlobalLockQuery(at(&xid, "r", "t:1"));
        match world.ask(tm, query) {
            Message::GlobalLockQueryResponse(r) => assert!(r.lockable, "its own row"),
            other => panic!("{other:?}"),
        }
        assert_eq!(world.stats().timeouts_decided, 1);

        let (mut world, tm, xid, branch) = overdue(version);
        assert_eq!(world.report(tm, &xid, branch, PhaseOneFailed, ""), Ok(()));
        assert_eq!(world.stats().reports_ignored, 1);

        let (mut world, tm, xid, _) = overdue(version);
        let report = Message::GlobalReport(GlobalReport {
            xid: xid.clone(),
            extra_data: Text::new(),
            global_status: Some(Committed),
        });
        assert_eq!(told(world.ask(tm, report)), TimeoutRollbacking);

        let (mut world, tm, xid, _) = overdue(version);
        let request = world.start_rollback(tm, &xid);
        assert_eq!(
            world.stored_status(&xid),
            Some(RollbackRetrying),
            "nobody serves r"
        );
        assert_eq!(world.told_failed(tm, request), RollbackRetrying);
        assert_eq!(world.stats().timeouts_decided, 0);
        assert_eq!(world.stats().rollbacks_decided, 1);
    }
}

#[test]
fn an_overdue_commit_without_branches_is_told_the_timeout() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let old = world.tm("app", "1.6.1");
    let xid = world.begin_with(tm, "n", 5000);
    world.elapsed += ms(5001);
    assert_eq!(
        world.commit(tm, &xid),
        TimeoutRollbacking,
        "status 6 as it was met"
    );
    world.advance(ms(10));
    assert_eq!(world.commit(tm, &xid), TimeoutRollbacked);
    assert_eq!(world.commit(old, &xid), Finished);
    assert_eq!(world.stats().timed_out, 1);
}

#[test]
fn a_timeout_of_zero_or_less_is_due_at_once() {
    for timeout in [0, -1, i32::MIN] {
        let mut world = World::new();
        let tm = world.tm("app", "2.2.0");
        let xid = world.begin_with(tm, "n", timeout);
        world.advance(ms(1));
        assert_eq!(world.stored_status(&xid), None);
        assert_eq!(world.stats().timed_out, 1);
    }
}

#[test]
fn a_timeout_decision_is_retried_and_fails_under_its_own_names() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm("app", "r");
    let xid = world.begin_with(tm, "n", 1000);
    world.register(rm, tcc(&xid, "r"));
    world.advance(ms(1100));
    let call = world.call();
    world.reply(&call, PhaseTwoRollbackFailedRetryable);
    assert_eq!(world.stored_status(&xid), Some(TimeoutRollbackRetrying));
    assert_eq!(world.commit(tm, &xid), TimeoutRollbackRetrying);
    world.advance(ms(1500));
    let call = world.call();
    world.reply(&call, PhaseTwoRollbackFailedUnretryable);
    assert_eq!(world.stored_status(&xid), Some(TimeoutRollbackFailed));
    assert_eq!(world.commit(tm, &xid), TimeoutRollbackFailed);
}

#[test]
fn a_commit_that_outlives_the_timeout_still_commits() {
    let mut world = World::with(CoordinatorConfig {
        call_timeout: ms(120_000),
        ..CoordinatorConfig::default()
    });
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm("app", "r");
    let xid = world.begin_with(tm, "n", 10_000);
    world.register(rm, tcc(&xid, "r"));
    let request = world.start_commit(tm, &xid);
    world.advance(ms(30_000));
    assert_eq!(world.told(tm, request), Some(Committing));
    assert_eq!(world.commit(tm, &xid), Committing);
    let call = world.call();
    world.reply(&call, BranchStatus::PhaseTwoCommitted);
    assert_eq!(world.commit(tm, &xid), Committed);
    assert_eq!(world.stats().timeouts_decided, 0);
}

#[test]
fn a_timeout_that_cannot_be_stored_is_tried_again() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let xid = world.begin_with(tm, "n", 1000);
    world.failing = Some(|operation| matches!(operation, Operation::Decide { .. }));
    world.advance(ms(1500));
    assert_eq!(world.stored_status(&xid), Some(Begin));
    world.failing = None;
    world.advance(ms(1000));
    assert_eq!(world.stored_status(&xid), None);
}

#[test]
fn a_hundred_thousand_deadlines_are_kept_to_the_millisecond() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let mut due = Vec::new();
    for i in 0..100_000 {
        let timeout = 10_000 + (i * 7919) % 50_000;
        due.push((timeout, world.begin_with(tm, "n", timeout)));
    }
    assert!(world.coordinator.next_deadline().unwrap() >= world.start + ms(9000));
    due.sort();
    world.advance(ms(30_050));
    let gone = due.iter().filter(|(timeout, _)| *timeout < 30_050).count();
    assert_eq!(world.stats().timed_out, gone as u64);
    assert_eq!(world.stats().live, 100_000 - gone);
}
