//! What a decision leads to: answers, calls and stored statuses of a Begin session (second table of coordinator.md 1.7).

use super::*;
use BranchStatus::{
    PhaseOneFailed, PhaseOnePrepareFailed, PhaseOneRdonly, PhaseTwoCommitFailedRetryable,
    PhaseTwoCommitFailedUnretryable, PhaseTwoCommitFailedXaerNotaRetryable, PhaseTwoCommitted,
    PhaseTwoRollbackFailedRetryable, PhaseTwoRollbackFailedUnretryable,
    PhaseTwoRollbackFailedXaerNotaRetryable, PhaseTwoRollbacked,
};
use GlobalStatus::*;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ids(calls: &[Called]) -> Vec<i64> {
    calls.iter().map(|call| call.end.branch_id).collect()
}

#[test]
fn an_at_commit_is_answered_before_any_branch_is_called() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm("app", "r");
    let xid = world.begin(tm);
    let mut request = at(&xid, "r", "t:1");
    request.application_data = "{\"autoCommit\":true}".into();
    let one = world.register(rm, request);
    let two = world.register(rm, at(&xid, "r", "t:2"));
    assert_eq!(world.locks(), 2);
    assert_eq!(world.commit(tm, &xid), Committed);
    assert_eq!(world.stored_status(&xid), Some(AsyncCommitting));
    assert_eq!(world.locks(), 0, "freed with the decision");
    assert_eq!(world.commit(tm, &xid), Committed);
    assert_eq!(world.rollback(tm, &xid), AsyncCommitting);
    assert_eq!(world.status(tm, &xid), AsyncCommitting);
    let call = world.call();
    assert_eq!(
        (call.to, call.commit, call.end.clone()),
        (
            rm,
            true,
            BranchEnd {
                xid: xid.clone(),
                branch_id: one,
                branch_type: BranchType::At,
                resource_id: "r".into(),
                application_data: "{\"autoCommit\":true}".into(),
            }
        )
    );
    assert!(call.id >= 1 << 30);
    world.reply(&call, PhaseTwoCommitted);
    let next = world.call();
    assert_eq!(next.end.branch_id, two);
    assert_ne!(next.id, call.id);
    world.reply(&next, PhaseTwoCommitted);
    assert_eq!(world.stored_status(&xid), None);
    assert_eq!(world.status(tm, &xid), Finished);
    let stats = world.stats();
    assert_eq!((stats.committed, stats.drives, stats.calls), (1, 0, 2));
}

#[test]
fn a_commit_that_calls_branches_is_answered_when_all_have_answered() {
    for version in VERSIONS {
        let mut world = World::new();
        let tm = world.tm("app", version);
        let rm = world.rm("app", "r,q");
        let xid = world.begin(tm);
        let first = world.register(rm, tcc(&xid, "r"));
        let second = world.register(rm, branch(&xid, BranchType::SagaAnnotation, "q", ""));
        let third = world.register(rm, branch(&xid, BranchType::Xa, "r", "ignored"));
        let request = world.start_commit(tm, &xid);
        for id in [first, second, third] {
            assert_eq!(world.told(tm, request), None);
            assert_eq!(world.stored_status(&xid), Some(Committing));
            let call = world.call();
            assert_eq!(call.end.branch_id, id);
            assert_eq!(world.calls(), [], "one call at a time");
            world.reply(&call, PhaseTwoCommitted);
        }
        assert_eq!(world.told(tm, request), Some(Committed));
        assert_eq!(world.stored_status(&xid), None);
    }
}

#[test]
fn a_rollback_calls_in_exact_reverse_order() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm("app", "r,q");
    let xid = world.begin(tm);
    let mut registered = Vec::new();
    for i in 0..25 {
        let resource = if i % 3 == 0 { "q" } else { "r" };
        registered.push(world.register(rm, at(&xid, resource, &format!("t:{i}"))));
    }
    let request = world.start_rollback(tm, &xid);
    assert_eq!(world.told(tm, request), None);
    let called = ids(&world.reply_all());
    registered.reverse();
    assert_eq!(called, registered);
    assert_eq!(world.told(tm, request), Some(Rollbacked));
    assert_eq!(world.locks(), 0);
    assert_eq!(world.stored_status(&xid), None);
}

#[test]
fn at_beside_tcc_is_answered_when_the_tcc_branches_are_committed() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm("app", "r,q");
    let xid = world.begin(tm);
    let at_branch = world.register(rm, at(&xid, "r", "t:1"));
    let tcc_branch = world.register(rm, tcc(&xid, "q"));
    let xa_branch = world.register(rm, branch(&xid, BranchType::Xa, "q", ""));
    let request = world.start_commit(tm, &xid);
    assert_eq!(world.locks(), 0);
    for id in [tcc_branch, xa_branch] {
        let call = world.call();
        assert_eq!(call.end.branch_id, id);
        assert_eq!(world.told(tm, request), None);
        world.reply(&call, PhaseTwoCommitted);
    }
    assert_eq!(world.told(tm, request), Some(Committed));
    assert_eq!(world.stored_status(&xid), Some(AsyncCommitting));
    assert_eq!(world.commit(tm, &xid), Committed);
    let call = world.call();
    assert_eq!(call.end.branch_id, at_branch);
    world.reply(&call, PhaseTwoCommitted);
    assert_eq!(world.stored_status(&xid), None);
}

#[test]
fn a_retryable_answer_is_told_at_once_and_tried_again() {
    for (status, commit) in [
        (PhaseTwoCommitFailedRetryable, true),
        (PhaseTwoRollbacked, true),
        (BranchStatus::Unknown, true),
        (PhaseTwoRollbackFailedUnretryable, true),
        (PhaseTwoRollbackFailedRetryable, false),
        (PhaseTwoCommitted, false),
        (PhaseOneFailed, false),
    ] {
        let mut world = World::new();
        let tm = world.tm("app", "1.4.2");
        let rm = world.rm("app", "r");
        let xid = world.begin(tm);
        let branch = world.register(rm, tcc(&xid, "r"));
        let (request, retrying, done, good) = match commit {
            true => (
                world.start_commit(tm, &xid),
                CommitRetrying,
                Committed,
                PhaseTwoCommitted,
            ),
            false => (
                world.start_rollback(tm, &xid),
                RollbackRetrying,
                Rollbacked,
                PhaseTwoRollbacked,
            ),
        };
        let call = world.call();
        world.reply(&call, status);
        assert_eq!(world.told(tm, request), Some(retrying), "{status}");
        assert_eq!(world.stored_status(&xid), Some(retrying));
        world.advance(Duration::from_millis(890));
        assert_eq!(world.calls(), [], "a pause of about a second");
        world.advance(Duration::from_millis(220));
        let call = world.call();
        assert_eq!((call.end.branch_id, call.commit), (branch, commit));
        world.reply(&call, status);
        world.advance(Duration::from_millis(1790));
        assert_eq!(world.calls(), [], "then of two");
        world.advance(Duration::from_millis(420));
        let call = world.call();
        world.reply(&call, good);
        assert_eq!(world.stored_status(&xid), None);
        assert_eq!(world.stats().calls_repeated, 2);
        let again = match commit {
            true => Finished,
            false => done,
        };
        let asked = match commit {
            true => world.commit(tm, &xid),
            false => world.rollback(tm, &xid),
        };
        assert_eq!(asked, again);
    }
}

#[test]
fn a_branch_that_cannot_be_reached_fails_the_answer_and_is_tried_again() {
    for commit in [true, false] {
        for cause in ["no channel", "closed", "silent"] {
            for version in VERSIONS {
                let mut world = World::new();
                let tm = world.tm("app", version);
                let rm = world.rm("app", "r");
                let xid = world.begin(tm);
                world.register(rm, tcc(&xid, "r"));
                if cause == "no channel" {
                    world.close(rm);
                }
                let request = match commit {
                    true => world.start_commit(tm, &xid),
                    false => world.start_rollback(tm, &xid),
                };
                let calls = world.calls().len();
                assert_eq!(calls, usize::from(cause != "no channel"));
                match cause {
                    "closed" => world.close(rm),
                    "silent" => {
                        world.advance(Duration::from_millis(14_999));
                        assert_eq!(world.told(tm, request), None);
                        world.advance(Duration::from_millis(1));
                    }
                    _ => {}
                }
                let stored = if commit {
                    CommitRetrying
                } else {
                    RollbackRetrying
                };
                assert_eq!(world.told_failed(tm, request), stored, "{cause}");
                assert_eq!(world.stored_status(&xid), Some(stored));
                assert_eq!(world.stats().calls_in_flight, 0);
                if cause == "silent" {
                    world.close(rm);
                }
                let back = world.rm("app", "r");
                let call = world.call();
                assert_eq!(call.to, back, "called at once: {cause}");
                world.reply_on(
                    back,
                    &call,
                    if commit {
                        PhaseTwoCommitted
                    } else {
                        PhaseTwoRollbacked
                    },
                );
                assert_eq!(world.stored_status(&xid), None);
            }
        }
    }
}

#[test]
fn an_unretryable_commit_is_told_at_once_and_the_rest_is_still_delivered() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm("app", "r,q");
    let xid = world.begin(tm);
    let bad = world.register(rm, tcc(&xid, "r"));
    let good = world.register(rm, tcc(&xid, "r"));
    let request = world.start_commit(tm, &xid);
    let call = world.call();
    assert_eq!(call.end.branch_id, bad);
    world.reply(&call, PhaseTwoCommitFailedUnretryable);
    assert_eq!(world.told(tm, request), Some(CommitFailed));
    assert_eq!(world.stored_status(&xid), Some(CommitFailed));
    let call = world.call();
    assert_eq!(call.end.branch_id, good);
    world.reply(&call, PhaseTwoCommitFailedRetryable);
    assert_eq!(world.stored_status(&xid), Some(CommitFailed));
    world.advance(secs(2));
    let call = world.call();
    assert_eq!(call.end.branch_id, good);
    world.reply(&call, PhaseTwoCommitted);
    world.advance(secs(3600));
    assert_eq!(world.calls(), [], "the failed one is not called again");
    let left = world.stored(&xid).unwrap();
    assert_eq!(left.status, CommitFailed);
    assert_eq!(left.branches.len(), 1);
    assert_eq!(world.commit(tm, &xid), CommitFailed);
    assert_eq!(world.stats().drives, 0);
    assert_eq!(world.stats().live_by_status[CommitFailed as usize], 1);
}

#[test]
fn an_unretryable_rollback_keeps_its_rows_and_goes_on_elsewhere() {
    let mut world = World::new();
    let tm = world.tm("app", "1.6.1");
    let rm = world.rm("app", "r,q");
    let xid = world.begin(tm);
    world.register(rm, at(&xid, "r", "t:1"));
    let other = world.register(rm, at(&xid, "q", "t:1"));
    let bad = world.register(rm, at(&xid, "r", "t:2"));
    let request = world.start_rollback(tm, &xid);
    let call = world.call();
    assert_eq!(call.end.branch_id, bad);
    world.reply(&call, PhaseTwoRollbackFailedUnretryable);
    assert_eq!(world.told(tm, request), Some(RollbackFailed));
    let call = world.call();
    assert_eq!(call.end.branch_id, other);
    world.reply(&call, PhaseTwoRollbacked);
    world.advance(secs(3600));
    assert_eq!(
        world.calls(),
        [],
        "the one before on the same resource waits for the operator"
    );
    let left = world.stored(&xid).unwrap();
    assert_eq!((left.status, left.branches.len()), (RollbackFailed, 2));
    assert_eq!(world.locks(), 2);
    assert_eq!(world.stats().drives, 0);
}

#[test]
fn whoever_waits_25_seconds_is_told_how_far_it_is() {
    for commit in [true, false] {
        let mut world = World::with(CoordinatorConfig {
            call_timeout: secs(60),
            ..CoordinatorConfig::default()
        });
        let tm = world.tm("app", "2.2.0");
        let rm = world.rm("app", "r");
        let xid = world.begin(tm);
        world.register(rm, tcc(&xid, "r"));
        let request = match commit {
            true => world.start_commit(tm, &xid),
            false => world.start_rollback(tm, &xid),
        };
        world.advance(Duration::from_millis(24_999));
        assert_eq!(world.told(tm, request), None);
        world.advance(Duration::from_millis(1));
        let (stored, good) = match commit {
            true => (Committing, PhaseTwoCommitted),
            false => (Rollbacking, PhaseTwoRollbacked),
        };
        assert_eq!(world.told(tm, request), Some(stored));
        assert_eq!(world.stored_status(&xid), Some(stored));
        let call = world.call();
        world.reply(&call, good);
        assert_eq!(world.stored_status(&xid), None);
        assert_eq!(world.told(tm, request), None, "answered once");
        assert_eq!(world.coordinator.held(), 0);
    }
}

#[test]
fn a_decision_that_cannot_be_stored_closes_the_connection_and_says_nothing() {
    for commit in [true, false] {
        let mut world = World::new();
        let tm = world.tm("app", "2.2.0");
        let xid = world.begin(tm);
        world.failing = Some(|operation| matches!(operation, Operation::Decide { .. }));
        let request = match commit {
            true => world.start_commit(tm, &xid),
            false => world.start_rollback(tm, &xid),
        };
        assert_eq!(world.answer(tm, request), None);
        assert_eq!(world.closed(), [(tm, CloseReason::StoreFailed)]);
        assert_eq!(world.stored_status(&xid), Some(Begin));
        assert_eq!(world.coordinator.held(), 0);
        world.close(tm);
        world.failing = None;
        let tm = world.tm("app", "2.2.0");
        assert_eq!(
            world.commit(tm, &xid),
            Committed,
            "the repeated call decides"
        );
    }
}

#[test]
fn answers_and_calls_leave_only_when_what_they_tell_is_durable() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm("app", "r");
    let xid = world.begin(tm);
    world.register(rm, tcc(&xid, "r"));
    world.unsynced = true;
    let begin = Message::GlobalBegin(GlobalBegin {
        timeout_ms: 1000,
        transaction_name: "n".into(),
    });
    let begun = world.send(tm, begin);
    let request = world.start_commit(tm, &xid);
    let status = world.send(tm, Message::GlobalStatus(end(&xid)));
    let late = world.send(rm, Message::BranchRegister(tcc(&xid, "r")));
    assert_eq!(world.outputs, [], "nothing at all");
    assert_eq!(world.stats().parked, 4);
    let unrelated = world.commit(tm, &"h:1:5".into());
    assert_eq!(unrelated, Finished, "what tells nothing new does not wait");
    world.unsynced = false;
    world.pump();
    assert!(world.answer(tm, begun).is_some());
    assert_eq!(world.told(tm, status), Some(Committing));
    assert!(world.answer(rm, late).is_some());
    let call = world.call();
    world.unsynced = true;
    world.reply(&call, PhaseTwoCommitted);
    assert_eq!(world.told(tm, request), None);
    world.unsynced = false;
    world.pump();
    assert_eq!(world.told(tm, request), Some(Committed));
}

#[test]
fn many_commits_at_once_drive_once() {
    let mut world = World::new();
    let tm = world.tm("app", "1.7.1");
    let rm = world.rm("app", "r");
    let xid = world.begin(tm);
    world.register(rm, tcc(&xid, "r"));
    let first = world.start_commit(tm, &xid);
    let others: Vec<_> = (0..7).map(|_| world.start_commit(tm, &xid)).collect();
    let rollback = world.start_rollback(tm, &xid);
    for other in others {
        assert_eq!(world.told(tm, other), Some(Committing));
    }
    assert_eq!(world.told(tm, rollback), Some(Committing));
    let call = world.call();
    world.reply(&call, PhaseTwoCommitted);
    assert_eq!(world.told(tm, first), Some(Committed));
    assert_eq!(world.stats().calls, 1);
}

#[test]
fn a_commit_during_a_rollback_frees_nothing_and_is_told_the_truth() {
    for (version, told) in [("1.6.1", Rollbacking), ("1.7.1", TimeoutRollbacking)] {
        let mut world = World::new();
        let tm = world.tm("app", version);
        let rm = world.rm("app", "r");
        let xid = world.begin(tm);
        world.register(rm, at(&xid, "r", "t:1"));
        let request = world.start_rollback(tm, &xid);
        assert_eq!(world.commit(tm, &xid), told);
        assert_eq!(world.rollback(tm, &xid), Rollbacking);
        assert_eq!(world.locks(), 1);
        let call = world.call();
        world.reply(&call, PhaseTwoRollbacked);
        assert_eq!(world.told(tm, request), Some(Rollbacked));
        assert_eq!(world.stats().calls, 1);
    }
}

#[test]
fn requests_of_one_xid_are_decided_in_the_order_they_came() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm("app", "r");
    let (one, two) = (world.begin(tm), world.begin(tm));
    world.asleep = true;
    let early = world.send(rm, Message::BranchRegister(tcc(&one, "r")));
    let commit = world.start_commit(tm, &one);
    let late = world.send(rm, Message::BranchRegister(tcc(&one, "r")));
    let rollback = world.start_rollback(tm, &one);
    let other = world.start_rollback(tm, &two);
    world.log.clear();
    world.asleep = false;
    world.pump();
    assert!(matches!(
        world.answer(rm, early),
        Some(Message::BranchRegisterResponse(r)) if r.result == TxResult::Success
    ));
    assert!(matches!(
        world.answer(rm, late),
        Some(Message::BranchRegisterResponse(r)) if r.branch_id == 0
    ));
    assert_eq!(world.told(tm, rollback), Some(Committing));
    assert_eq!(world.told(tm, other), Some(Rollbacked));
    assert!(matches!(world.log[0], Operation::Register(_)));
    assert!(
        matches!(world.log[1], Operation::Decide { .. }),
        "the other xid does not wait"
    );
    let call = world.call();
    world.reply(&call, PhaseTwoCommitted);
    assert_eq!(world.told(tm, commit), Some(Committed));
}

#[test]
fn branches_without_work_end_without_a_call() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm("app", "r");
    for commit in [true, false] {
        let xid = world.begin(tm);
        let failed_at = world.register(rm, at(&xid, "r", "t:1"));
        let failed_tcc = world.register(rm, tcc(&xid, "r"));
        let read_only = world.register(rm, branch(&xid, BranchType::Xa, "r", ""));
        let unprepared = world.register(rm, branch(&xid, BranchType::Xa, "r", ""));
        for (id, status) in [
            (failed_at, PhaseOneFailed),
            (failed_tcc, PhaseOneFailed),
            (read_only, PhaseOneRdonly),
            (unprepared, PhaseOnePrepareFailed),
        ] {
            world.report(rm, &xid, id, status, "").unwrap();
        }
        let request = match commit {
            true => world.start_commit(tm, &xid),
            false => world.start_rollback(tm, &xid),
        };
        let called = ids(&world.reply_all());
        let (expected, end) = match commit {
            true => (vec![], Committed),
            false => (vec![unprepared, read_only], Rollbacked),
        };
        assert_eq!(called, expected);
        assert_eq!(world.told(tm, request), Some(end));
        assert_eq!(world.locks(), 0);
    }
    let xid = world.begin(tm);
    let failed = world.register(rm, tcc(&xid, "r"));
    world.report(rm, &xid, failed, PhaseOneFailed, "").unwrap();
    assert_eq!(world.commit(tm, &xid), Committed);
    assert_eq!(world.calls(), []);
    assert_eq!(world.stored_status(&xid), None);
}

#[test]
fn an_xa_branch_its_database_does_not_know_is_done_after_the_grace() {
    for commit in [true, false] {
        let mut world = World::new();
        let tm = world.tm("app", "2.2.0");
        let rm = world.rm("app", "r");
        let xid = world.begin_with(tm, "n", 30_000);
        world.register(rm, branch(&xid, BranchType::Xa, "r", ""));
        let (request, not_known, retrying) = match commit {
            true => (
                world.start_commit(tm, &xid),
                PhaseTwoCommitFailedXaerNotaRetryable,
                CommitRetrying,
            ),
            false => (
                world.start_rollback(tm, &xid),
                PhaseTwoRollbackFailedXaerNotaRetryable,
                RollbackRetrying,
            ),
        };
        let call = world.call();
        world.reply(&call, not_known);
        assert_eq!(world.told(tm, request), Some(retrying));
        while world.stored_status(&xid).is_some() {
            assert!(world.elapsed < secs(110), "at last");
            world.advance(Duration::from_millis(100));
            for call in world.calls() {
                world.reply(&call, not_known);
            }
        }
        assert!(world.elapsed > secs(90), "begin + timeout + 60 s");
        assert_eq!(world.stats().xaer_nota_accepted, 1);
    }
}

#[test]
fn two_branches_on_one_row_keep_it_until_the_first_is_undone() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm("app", "r");
    let (xid, other) = (world.begin(tm), world.begin(tm));
    let first = world.register(rm, at(&xid, "r", "t:1"));
    let second = world.register(rm, at(&xid, "r", "t:1,2"));
    let request = world.start_rollback(tm, &xid);
    let call = world.call();
    assert_eq!(call.end.branch_id, second);
    world.reply(&call, PhaseTwoRollbacked);
    let (code, _) = world.try_register(rm, at(&other, "r", "t:1")).unwrap_err();
    assert_eq!(code, ExceptionCode::LockKeyConflict);
    world.register(rm, at(&other, "r", "t:2"));
    let call = world.call();
    assert_eq!(call.end.branch_id, first);
    world.reply(&call, PhaseTwoRollbacked);
    assert_eq!(world.told(tm, request), Some(Rollbacked));
    world.register(rm, at(&other, "r", "t:1"));
}

#[test]
fn fail_fast_only_for_a_client_that_holds_a_transaction_open_and_a_holder_that_rolls_back() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm("app", "r");
    let (holder, other) = (world.begin(tm), world.begin(tm));
    let held = world.register(rm, at(&holder, "r", "t:1"));
    let with = |data: &str| {
        let mut request = at(&other, "r", "t:3,1,2");
        request.application_data = data.into();
        request
    };
    let open = "{\"autoCommit\":false}";
    for data in ["", open, "{\"autoCommit\":true}"] {
        let (code, text) = world.try_register(rm, with(data)).unwrap_err();
        assert_eq!(code, ExceptionCode::LockKeyConflict);
        let holder = format!("held by xid = {holder} branchId = {held}");
        assert!(
            text.contains(&*holder) && text.contains(other.as_str()),
            "{text}"
        );
        assert_eq!(world.locks(), 1, "nothing lingers");
    }
    world.start_rollback(tm, &holder);
    let refused = |world: &mut World, data| world.try_register(rm, with(data)).unwrap_err().0;
    assert_eq!(refused(&mut world, ""), ExceptionCode::LockKeyConflict);
    assert_eq!(
        refused(&mut world, "nonsense"),
        ExceptionCode::LockKeyConflict
    );
    assert_eq!(
        refused(&mut world, open),
        ExceptionCode::LockKeyConflictFailFast
    );
    let stats = world.stats();
    assert_eq!((stats.conflicts, stats.conflicts_fail_fast), (6, 1));
    // A holder that commits has freed its rows with the decision.
    let call = world.call();
    world.reply(&call, PhaseTwoRollbacked);
    world.register(rm, with(open));
    world.register(rm, with("{\"skipCheckLock\":true}"));
    assert_eq!(world.locks(), 3);
}
