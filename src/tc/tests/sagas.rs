//! SAGA: reports of the engine, the one call, and answers that cross over (coordinator.md 1.4).

use super::*;
use BranchStatus::{
    PhaseOneFailed, PhaseTwoCommitFailedRetryable, PhaseTwoCommitFailedUnretryable,
    PhaseTwoCommitted, PhaseTwoRollbackFailedRetryable, PhaseTwoRollbackFailedUnretryable,
    PhaseTwoRollbacked,
};
use GlobalStatus::*;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn saga(xid: &Text) -> BranchRegister {
    branch(xid, BranchType::Saga, "service", "t:1")
}

fn report(xid: &Text, status: Option<GlobalStatus>) -> Message {
    Message::GlobalReport(GlobalReport {
        xid: xid.clone(),
        extra_data: Text::new(),
        global_status: status,
    })
}

/// A SAGA with two branches, and its engine.
fn world(version: &str) -> (World, ChannelId, ChannelId, Text) {
    let mut world = World::new();
    let tm = world.tm("app", version);
    let engine = world.rm("elsewhere", "app#group");
    let xid = world.begin(tm);
    world.register(tm, saga(&xid));
    world.register(tm, saga(&xid));
    assert_eq!(world.locks(), 0);
    (world, tm, engine, xid)
}

#[test]
fn one_call_ends_all_branches() {
    for commit in [true, false] {
        let (mut world, tm, engine, xid) = world("2.2.0");
        let (request, data, good, end) = match commit {
            true => (
                world.start_commit(tm, &xid),
                "Committing",
                PhaseTwoCommitted,
                Committed,
            ),
            false => (
                world.start_rollback(tm, &xid),
                "Rollbacking",
                PhaseTwoRollbacked,
                Rollbacked,
            ),
        };
        let call = world.call();
        assert_eq!((call.to, call.commit), (engine, commit));
        assert_eq!(
            call.end,
            BranchEnd {
                xid: xid.clone(),
                branch_id: -1,
                branch_type: BranchType::Saga,
                resource_id: "app#group".into(),
                application_data: data.into(),
            }
        );
        assert_eq!(world.told(tm, request), None);
        world.reply(&call, good);
        assert_eq!(world.told(tm, request), Some(end));
        assert_eq!(world.stored_status(&xid), None);
    }
}

/// Answer to the call, the answer to the requester, what is stored then (none when it has ended).
type Case = (BranchStatus, GlobalStatus, Option<GlobalStatus>);

#[test]
fn answers_to_the_call_for_every_version() {
    let commit: [Case; 7] = [
        (PhaseTwoCommitted, Committed, None),
        (
            PhaseTwoCommitFailedRetryable,
            CommitRetrying,
            Some(CommitRetrying),
        ),
        (BranchStatus::Unknown, CommitRetrying, Some(CommitRetrying)),
        (
            PhaseTwoCommitFailedUnretryable,
            CommitFailed,
            Some(CommitFailed),
        ),
        (PhaseTwoRollbacked, Rollbacked, None),
        (
            PhaseTwoRollbackFailedRetryable,
            RollbackRetrying,
            Some(RollbackRetrying),
        ),
        (PhaseOneFailed, Finished, None),
    ];
    let rollback: [Case; 5] = [
        (PhaseTwoRollbacked, Rollbacked, None),
        (
            PhaseTwoRollbackFailedRetryable,
            RollbackRetrying,
            Some(RollbackRetrying),
        ),
        (
            PhaseTwoRollbackFailedUnretryable,
            RollbackFailed,
            Some(RollbackFailed),
        ),
        (
            PhaseTwoCommitFailedRetryable,
            CommitRetrying,
            Some(CommitRetrying),
        ),
        (PhaseTwoCommitted, RollbackRetrying, Some(RollbackRetrying)),
    ];
    for version in VERSIONS {
        let new = matches!(version, "1.7.1" | "2.2.0" | "2.6.0");
        for (asked, cases) in [(true, &commit[..]), (false, &rollback[..])] {
            for (answer, answered, stored) in cases {
                let (mut world, tm, _, xid) = world(version);
                let request = match asked {
                    true => world.start_commit(tm, &xid),
                    false => world.start_rollback(tm, &xid),
                };
                let call = world.call();
                world.reply(&call, *answer);
                let expected = match answered {
                    Rollbacked if asked && new => TimeoutRollbacked,
                    RollbackRetrying if asked && new => TimeoutRollbackRetrying,
                    status => *status,
                };
                let context = format!("{asked} {answer} {version:?}");
                assert_eq!(world.told(tm, request), Some(expected), "{context}");
                assert_eq!(world.stored_status(&xid), *stored, "{context}");
            }
        }
    }
}

#[test]
fn a_missing_engine_is_no_failure_and_a_lost_one_does_not_turn_a_commit() {
    for commit in [true, false] {
        for lost in [true, false] {
            let (mut world, tm, engine, xid) = world("1.4.2");
            if !lost {
                world.close(engine);
            }
            let (request, retrying) = match commit {
                true => (world.start_commit(tm, &xid), CommitRetrying),
                false => (world.start_rollback(tm, &xid), RollbackRetrying),
            };
            if lost {
                assert_eq!(world.calls().len(), 1);
                world.close(engine);
            }
            assert_eq!(
                world.told(tm, request),
                Some(retrying),
                "a success, not an exception"
            );
            assert_eq!(world.stored_status(&xid), Some(retrying));
            world.rm("elsewhere", "app#group");
            let call = world.call();
            assert_eq!(call.commit, commit);
            assert_eq!(call.end.application_data, retrying.name());
        }
    }
}

#[test]
fn crossed_over_it_goes_on_in_the_other_direction() {
    let (mut world, tm, _, xid) = world("1.4.2");
    let request = world.start_commit(tm, &xid);
    let call = world.call();
    world.reply(&call, PhaseTwoRollbackFailedRetryable);
    assert_eq!(world.told(tm, request), Some(RollbackRetrying));
    world.advance(secs(2));
    let call = world.call();
    assert!(!call.commit);
    assert_eq!(call.end.application_data, "RollbackRetrying");
    world.reply(&call, PhaseTwoCommitFailedRetryable);
    assert_eq!(world.stored_status(&xid), Some(CommitRetrying));
    world.advance(secs(2));
    let call = world.call();
    assert!(call.commit);
    world.reply(&call, PhaseTwoCommitted);
    assert_eq!(world.stored_status(&xid), None);
    assert_eq!(world.stats().committed, 1);
}

#[test]
fn without_branches_the_name_makes_it_a_saga() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let engine = world.rm("app", "app#group");
    let xid = world.begin_with(tm, "$Saga_trip", 60_000);
    assert_eq!(world.commit(tm, &xid), Committed);
    assert_eq!(world.stored_status(&xid), Some(AsyncCommitting));
    let call = world.call();
    assert_eq!((call.to, call.end.branch_id), (engine, -1));
    assert_eq!(call.end.application_data, "AsyncCommitting");
    world.reply(&call, PhaseTwoCommitFailedUnretryable);
    assert_eq!(world.stored_status(&xid), Some(CommitFailed));
    let xid = world.begin_with(tm, "$Saga_trip", 60_000);
    let request = world.start_rollback(tm, &xid);
    let call = world.call();
    assert_eq!(call.end.application_data, "Rollbacking");
    world.reply(&call, PhaseTwoRollbacked);
    assert_eq!(world.told(tm, request), Some(Rollbacked));
}

#[test]
fn every_reported_status_of_a_live_saga() {
    for reported in GlobalStatus::ALL {
        let (mut world, tm, _, xid) = world("2.6.0");
        let answered = told(world.ask(tm, report(&xid, Some(*reported))));
        let (stored, expected) = match reported {
            Committed => (None, Committed),
            Rollbacked | Finished => (None, Rollbacked),
            TimeoutRollbacked => (None, TimeoutRollbacked),
            Begin | Deleting => (Some(Begin), Begin),
            Unknown => (Some(RollbackRetrying), RollbackRetrying),
            status => (Some(*status), *status),
        };
        assert_eq!(answered, expected, "{reported}");
        assert_eq!(world.stored_status(&xid), stored, "{reported}");
        let stats = world.stats();
        match reported {
            Committed => assert_eq!(stats.committed, 1),
            Rollbacked | Finished => assert_eq!(stats.rolled_back, 1),
            TimeoutRollbacked => assert_eq!(stats.timed_out, 1),
            _ => assert_eq!(stats.live, 1),
        }
        world.advance(secs(3));
        let calls = world.calls();
        match reported {
            CommitRetrying | AsyncCommitting => assert!(calls[0].commit, "{reported}"),
            Unknown | RollbackRetrying | TimeoutRollbacking | TimeoutRollbackRetrying => {
                assert!(!calls[0].commit, "{reported}");
            }
            _ => assert_eq!(calls, [], "{reported}"),
        }
        if let (Some(name), Some(call)) = (stored, calls.first()) {
            assert_eq!(call.end.application_data, name.name());
        }
    }
    let (mut world, tm, _, xid) = world("2.6.0");
    assert_eq!(told(world.ask(tm, report(&xid, None))), Begin);
}

#[test]
fn an_engine_that_works_is_left_alone_until_it_has_been_silent_for_long() {
    for (reported, commit) in [(Committing, true), (Rollbacking, false)] {
        let (mut world, tm, _, xid) = world("2.2.0");
        world.ask(tm, report(&xid, Some(reported)));
        world.advance(secs(129));
        assert_eq!(world.calls(), []);
        world.advance(secs(2));
        assert_eq!(world.call().commit, commit);
    }
}

#[test]
fn a_report_overtakes_a_call_in_flight_and_answers_who_waits() {
    let (mut world, tm, _, xid) = world("1.4.2");
    let request = world.start_commit(tm, &xid);
    let call = world.call();
    assert_eq!(
        told(world.ask(tm, report(&xid, Some(Rollbacked)))),
        Rollbacked
    );
    assert_eq!(world.told(tm, request), Some(Rollbacked));
    assert_eq!(world.stats().calls_in_flight, 0);
    world.reply(&call, PhaseTwoCommitted);
    assert_eq!(world.stats().answers_unexpected, 1);
    assert_eq!(world.stats().rolled_back, 1);
}

#[test]
fn forward_recovery_after_a_timeout_registers_and_reports() {
    let (mut world, tm, _, xid) = world("2.2.0");
    world.advance(secs(61));
    assert_eq!(world.stored_status(&xid), Some(TimeoutRollbacking));
    let call = world.call();
    assert_eq!(call.end.application_data, "TimeoutRollbacking");
    let late = world.register(tm, saga(&xid));
    let refused = world.try_register(tm, at(&xid, "r", "t:1")).unwrap_err();
    assert_eq!(refused.0, ExceptionCode::GlobalTransactionStatusInvalid);
    assert_eq!(world.report(tm, &xid, late, PhaseTwoCommitted, ""), Ok(()));
    world.reply(&call, PhaseTwoCommitFailedRetryable);
    assert_eq!(world.stored_status(&xid), Some(CommitRetrying));
    assert_eq!(
        told(world.ask(tm, report(&xid, Some(Committed)))),
        Committed
    );
    assert_eq!(world.stored_status(&xid), None);
    assert_eq!(world.stats().drives, 0);
}

#[test]
fn a_saga_branch_does_not_slip_into_a_decided_at_transaction() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let xid = world.begin(tm);
    world.register(tm, at(&xid, "r", "t:1"));
    world.start_rollback(tm, &xid);
    let refused = world.try_register(tm, saga(&xid)).unwrap_err();
    assert_eq!(refused.0, ExceptionCode::GlobalTransactionStatusInvalid);
}

#[test]
fn an_operator_stop_reported_by_nobody_but_kept_is_not_driven() {
    for stopped in [StopCommitOrCommitRetry, StopRollbackOrRollbackRetry] {
        let (mut world, tm, _, xid) = world("2.6.0");
        world.start_commit(tm, &xid);
        assert_eq!(world.calls().len(), 1);
        world.ask(tm, report(&xid, Some(stopped)));
        world.advance(secs(600));
        assert_eq!(world.calls(), []);
        assert_eq!(world.stored_status(&xid), Some(stopped));
    }
}

#[test]
fn a_report_is_not_undone_by_an_answer_to_an_earlier_call() {
    let (mut world, tm, engine, xid) = world("2.2.0");
    world.start_rollback(tm, &xid);
    let call = world.call();
    world.asleep = true;
    let reported = world.send(engine, report(&xid, Some(CommitRetrying)));
    world.reply(&call, PhaseTwoRollbackFailedRetryable);
    world.asleep = false;
    world.pump();
    assert!(world.answer(engine, reported).is_some());
    assert_eq!(world.stored_status(&xid), Some(CommitRetrying));
    world.advance(secs(2));
    let call = world.call();
    assert!(call.commit, "the engine went forward");
    world.reply(&call, PhaseTwoCommitted);
    assert_eq!(world.stored_status(&xid), None);
}
