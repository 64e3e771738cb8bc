//! Retries, restarts, limits: what goes on for long, and what a stuck branch must not hold up.

use super::*;
use BranchStatus::{
    PhaseTwoCommitFailedRetryable, PhaseTwoCommitted, PhaseTwoRollbackFailedRetryable,
    PhaseTwoRollbacked,
};
use GlobalStatus::*;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A coordinator that starts over what another one left.
fn restart(world: World, config: CoordinatorConfig) -> World {
    World::over(config, world.store)
}

#[test]
fn pauses_double_up_to_ten_seconds() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm("app", "r");
    let xid = world.begin(tm);
    world.register(rm, tcc(&xid, "r"));
    world.start_commit(tm, &xid);
    let mut pauses = Vec::new();
    let mut call = world.call();
    for _ in 0..8 {
        world.reply(&call, PhaseTwoCommitFailedRetryable);
        let from = world.elapsed;
        call = loop {
            let next = world.coordinator.next_deadline().unwrap() - world.start;
            world.advance(next - world.elapsed);
            if let Some(call) = world.calls().pop() {
                break call;
            }
        };
        pauses.push((world.elapsed - from).as_millis());
    }
    for (pause, middle) in pauses.iter().zip([1000, 2000, 4000, 8000, 10_000, 10_000]) {
        assert!(
            (middle * 9 / 10..=middle * 11 / 10).contains(pause),
            "{pauses:?}"
        );
        assert!(*pause <= 10_000);
    }
}

#[test]
fn one_stuck_resource_does_not_hold_up_the_branches_of_another() {
    for commit in [true, false] {
        let mut world = World::new();
        let tm = world.tm("app", "2.2.0");
        let rm = world.rm("app", "good");
        let xid = world.begin(tm);
        let one = world.register(rm, tcc(&xid, "good"));
        world.register(rm, tcc(&xid, "stuck"));
        let two = world.register(rm, tcc(&xid, "good"));
        let request = match commit {
            true => world.start_commit(tm, &xid),
            false => world.start_rollback(tm, &xid),
        };
        let called: Vec<_> = world.reply_all().iter().map(|c| c.end.branch_id).collect();
        assert_eq!(called, if commit { [one, two] } else { [two, one] });
        let retrying = if commit {
            CommitRetrying
        } else {
            RollbackRetrying
        };
        assert_eq!(world.told_failed(tm, request), retrying);
        assert_eq!(world.stored(&xid).unwrap().branches.len(), 1);
        let late = world.rm("app", "stuck");
        assert_eq!(world.call().to, late);
    }
}

#[test]
fn a_failed_branch_holds_up_only_earlier_ones_of_its_resource_in_a_rollback() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm("app", "r,q");
    let xid = world.begin(tm);
    let first = world.register(rm, at(&xid, "r", "t:1"));
    let other = world.register(rm, at(&xid, "q", "t:1"));
    let last = world.register(rm, at(&xid, "r", "t:2"));
    world.start_rollback(tm, &xid);
    let call = world.call();
    assert_eq!(call.end.branch_id, last);
    world.reply(&call, PhaseTwoRollbackFailedRetryable);
    let call = world.call();
    assert_eq!(call.end.branch_id, other);
    world.reply(&call, PhaseTwoRollbacked);
    assert_eq!(world.calls(), []);
    world.advance(secs(2));
    let call = world.call();
    assert_eq!(call.end.branch_id, last);
    world.reply(&call, PhaseTwoRollbacked);
    assert_eq!(world.call().end.branch_id, first);
}

#[test]
fn branches_of_different_resources_overlap_only_where_that_is_switched_on() {
    for commit in [true, false] {
        let mut world = World::with(CoordinatorConfig {
            parallel_branches: true,
            ..CoordinatorConfig::default()
        });
        let tm = world.tm("app", "2.2.0");
        let rm = world.rm("app", "a,b,c");
        let xid = world.begin(tm);
        let mut of = std::collections::BTreeMap::<_, Vec<_>>::new();
        for i in 0..9 {
            let resource = ["a", "b", "c"][i % 3];
            let branch = world.register(rm, tcc(&xid, resource));
            of.entry(Text::from(resource)).or_default().push(branch);
        }
        let request = match commit {
            true => world.start_commit(tm, &xid),
            false => world.start_rollback(tm, &xid),
        };
        let mut order = std::collections::BTreeMap::<_, Vec<_>>::new();
        let mut waiting = world.calls();
        assert_eq!(waiting.len(), 3);
        while let Some(call) = waiting.pop() {
            assert!(
                waiting
                    .iter()
                    .all(|w| w.end.resource_id != call.end.resource_id)
            );
            let resource = call.end.resource_id.clone();
            order.entry(resource).or_default().push(call.end.branch_id);
            world.reply(
                &call,
                if commit {
                    PhaseTwoCommitted
                } else {
                    PhaseTwoRollbacked
                },
            );
            waiting.extend(world.calls());
        }
        if !commit {
            of.values_mut().for_each(|branches| branches.reverse());
        }
        assert_eq!(order, of);
        assert!(world.told(tm, request).is_some());
        assert_eq!(world.stats().live, 0);
    }
}

#[test]
fn retries_end_after_the_retry_timeout_counted_from_the_decision() {
    for (unlock, commit) in [(false, true), (false, false), (true, false)] {
        let mut world = World::with(CoordinatorConfig {
            commit_retry_timeout: Some(secs(20)),
            rollback_retry_timeout: Some(secs(20)),
            rollback_retry_timeout_unlock: unlock,
            ..CoordinatorConfig::default()
        });
        let tm = world.tm("app", "2.2.0");
        let xid = world.begin_with(tm, "n", 600_000);
        world.register(tm, at(&xid, "nobody", "t:1"));
        world.register(tm, tcc(&xid, "nobody"));
        world.advance(secs(300));
        let (request, retrying, given_up) = match commit {
            true => (
                world.start_commit(tm, &xid),
                CommitRetrying,
                CommitRetryTimeout,
            ),
            false => (
                world.start_rollback(tm, &xid),
                RollbackRetrying,
                RollbackRetryTimeout,
            ),
        };
        assert_eq!(world.told_failed(tm, request), retrying);
        world.advance(Duration::from_millis(19_900));
        assert_eq!(world.stored_status(&xid), Some(retrying));
        world.advance(Duration::from_millis(200));
        assert_eq!(world.stored_status(&xid), Some(given_up));
        assert_eq!(world.locks(), usize::from(!commit && !unlock));
        world.rm("app", "nobody");
        world.advance(secs(100));
        assert_eq!(world.calls(), [], "kept for the operator, not called");
        assert_eq!(
            world.stored(&xid).unwrap().branches.len(),
            2,
            "and not deleted"
        );
        let stats = world.stats();
        assert_eq!(
            (stats.retries_given_up, stats.drives, stats.live),
            (1, 0, 1)
        );
        let world = restart(world, CoordinatorConfig::default());
        assert_eq!(world.stored_status(&xid), Some(given_up));
    }
}

#[test]
fn an_at_commit_is_retried_for_ever() {
    let mut world = World::with(CoordinatorConfig {
        commit_retry_timeout: Some(Duration::ZERO),
        ..CoordinatorConfig::default()
    });
    let tm = world.tm("app", "2.2.0");
    let xid = world.begin(tm);
    world.register(tm, at(&xid, "r", "t:1"));
    assert_eq!(world.commit(tm, &xid), Committed);
    world.advance(secs(3600));
    assert_eq!(world.stored_status(&xid), Some(AsyncCommitting));
    world.rm("app", "r");
    world.reply_all();
    assert_eq!(world.stored_status(&xid), None);
}

#[test]
fn an_end_that_cannot_be_stored_keeps_the_branch_and_is_tried_again() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm("app", "r");
    let xid = world.begin(tm);
    world.register(rm, at(&xid, "r", "t:1"));
    let request = world.start_rollback(tm, &xid);
    let call = world.call();
    world.failing = Some(|operation| {
        matches!(
            operation,
            Operation::EndBranch { .. } | Operation::SetStatus { .. }
        )
    });
    world.reply(&call, PhaseTwoRollbacked);
    assert_eq!(world.told(tm, request), Some(Rollbacking), "what is stored");
    assert_eq!(world.locks(), 1);
    world.failing = None;
    world.advance(secs(11));
    let call = world.call();
    world.reply(&call, PhaseTwoRollbacked);
    assert_eq!(world.stored_status(&xid), None);
    assert_eq!(world.locks(), 0);
}

#[test]
fn two_thousand_stuck_transactions_do_not_delay_a_fresh_one() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm("app", "r,stuck");
    for _ in 0..2000 {
        let xid = world.begin_with(tm, "n", 3_600_000);
        world.register(rm, tcc(&xid, "stuck"));
        world.start_rollback(tm, &xid);
    }
    world.outputs.clear();
    world.advance(secs(300));
    assert_eq!(world.stats().drives, 2000);
    world.outputs.clear();
    let xid = world.begin(tm);
    world.register(rm, tcc(&xid, "r"));
    let request = world.start_rollback(tm, &xid);
    let call = world.call();
    world.reply(&call, PhaseTwoRollbacked);
    assert_eq!(world.told(tm, request), Some(Rollbacked));
    // When the resource works again, all of them go through.
    for _ in 0..120 {
        world.reply_all();
        world.advance(secs(1));
    }
    assert_eq!(world.stats().live, 0);
}

#[test]
fn a_returning_rm_is_called_for_all_who_wait_without_a_long_pause_for_others() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm("app", "r");
    for _ in 0..1000 {
        let xid = world.begin_with(tm, "n", 3_600_000);
        world.register(rm, tcc(&xid, "r"));
        world.start_rollback(tm, &xid);
    }
    world.calls();
    world.close(rm);
    world.advance(secs(60));
    world.outputs.clear();
    let from = world.elapsed;
    world.rm("app", "r");
    let mut done = 0;
    while done < 1000 {
        let calls = world.calls();
        assert!(calls.len() <= CoordinatorConfig::default().calls_per_route_max);
        done += calls.len();
        for call in calls {
            world.reply(&call, PhaseTwoRollbacked);
        }
        world.advance(Duration::from_millis(1));
        assert!(world.elapsed - from < secs(1));
    }
    assert_eq!(world.stats().live, 0);
}

#[test]
fn a_begin_session_keeps_locks_and_deadline_over_a_restart() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let xid = world.begin_with(tm, "n", 5000);
    world.register(tm, at(&xid, "r", "t:1"));
    let mut world = restart(world, CoordinatorConfig::default());
    assert_eq!(world.locks(), 1);
    assert_eq!(world.stats().recovered, 1);
    let tm = world.tm("app", "2.2.0");
    let other = world.begin(tm);
    assert_ne!(other, xid);
    assert!(parsed(&other).transaction_id() > parsed(&xid).transaction_id());
    assert!(world.try_register(tm, at(&other, "r", "t:1")).is_err());
    world.advance(Duration::from_millis(5100));
    assert_eq!(
        world.stored_status(&xid),
        Some(TimeoutRollbackRetrying),
        "nobody serves r"
    );
    world.rm("app", "r");
    world.reply_all();
    assert_eq!(world.locks(), 0);
    assert_eq!(world.stats().timed_out, 1);
}

#[test]
fn decisions_go_on_after_a_restart_as_soon_as_an_rm_registers() {
    for commit in [true, false] {
        let mut world = World::new();
        let tm = world.tm("app", "2.2.0");
        let rm = world.rm("app", "r");
        let xid = world.begin(tm);
        let one = world.register(rm, tcc(&xid, "r"));
        let two = world.register(rm, tcc(&xid, "r"));
        match commit {
            true => world.start_commit(tm, &xid),
            false => world.start_rollback(tm, &xid),
        };
        let mut world = restart(world, CoordinatorConfig::default());
        let tm = world.tm("app", "2.2.0");
        let (driven, told) = match commit {
            true => (Committing, Committing),
            false => (Rollbacking, TimeoutRollbacking),
        };
        assert_eq!(world.commit(tm, &xid), told);
        assert_eq!(world.stored_status(&xid), Some(driven));
        world.rm("app", "r");
        let called: Vec<_> = world.reply_all().iter().map(|c| c.end.branch_id).collect();
        assert_eq!(called, if commit { [one, two] } else { [two, one] });
        assert_eq!(world.stored_status(&xid), None);
        assert_eq!(world.stats().calls_repeated, 0);
    }
}

fn begin_message() -> Message {
    Message::GlobalBegin(GlobalBegin {
        timeout_ms: 60_000,
        transaction_name: "n".into(),
    })
}

/// The text with which a begin is refused.
fn refused(world: &mut World, channel: ChannelId) -> Text {
    match world.ask(channel, begin_message()) {
        Message::GlobalBeginResponse(r) => match r.result {
            TxResult::Failed { code, message } => {
                assert_eq!(code, ExceptionCode::BeginFailed);
                assert_eq!(r.xid, "");
                message
            }
            TxResult::Success => panic!("begun"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_begins_are_refused_at_a_limit_and_the_text_names_it() {
    let mut world = World::with(CoordinatorConfig {
        globals_max: 2,
        branches_per_global_max: 2,
        ..CoordinatorConfig::default()
    });
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm("app", "r");
    let (one, two) = (world.begin(tm), world.begin(tm));
    assert!(refused(&mut world, tm).contains("globals_max=2"));
    world.register(rm, tcc(&one, "r"));
    world.register(rm, tcc(&one, "r"));
    let (code, text) = world.try_register(rm, tcc(&one, "r")).unwrap_err();
    assert_eq!(code, ExceptionCode::FailedToAddBranch);
    assert!(text.contains("branches_per_global_max=2"));
    let waiting = world.start_commit(tm, &one);
    assert_eq!(world.rollback(tm, &two), Rollbacked);
    world.begin(tm);
    world.reply_all();
    assert_eq!(world.told(tm, waiting), Some(Committed));
}

#[test]
fn requests_that_wait_count_against_new_begins_only() {
    for (held_max, own_max, name) in [(1, 100, "held_max=1"), (100, 1, "held_per_channel_max=1")] {
        let mut world = World::with(CoordinatorConfig {
            held_max,
            held_per_channel_max: own_max,
            ..CoordinatorConfig::default()
        });
        let tm = world.tm("app", "2.2.0");
        let rm = world.rm("app", "r");
        let xid = world.begin(tm);
        let other = world.begin(rm);
        world.register(rm, tcc(&xid, "r"));
        let waiting = world.start_commit(tm, &xid);
        assert!(refused(&mut world, tm).contains(name));
        if own_max == 1 {
            world.begin(rm);
        }
        assert_eq!(world.rollback(tm, &other), Rollbacked);
        world.reply_all();
        assert_eq!(world.told(tm, waiting), Some(Committed));
        world.begin(tm);
        assert_eq!(world.stats().begins_refused, 1);
    }
}

#[test]
fn a_limit_of_the_store_and_a_store_that_fails_refuse_a_begin() {
    let mut world = World::over(
        CoordinatorConfig::default(),
        MemoryStore::new(StoreLimits {
            globals_max: 1,
            ..StoreLimits::default()
        }),
    );
    let tm = world.tm("app", "2.2.0");
    let xid = world.begin(tm);
    assert!(refused(&mut world, tm).contains("live global transactions"));
    world.commit(tm, &xid);
    world.failing = Some(|operation| matches!(operation, Operation::Begin(_)));
    match world.ask(tm, begin_message()) {
        Message::GlobalBeginResponse(r) => assert!(matches!(
            r.result,
            TxResult::Failed {
                code: ExceptionCode::FailedStore,
                ..
            }
        )),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.stats().live, 0);
}

#[test]
fn draining_refuses_begins_and_finishes_the_rest() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm("app", "r");
    let xid = world.begin(tm);
    let now = world.now();
    world.coordinator.handle_drain(now);
    let begin = Message::GlobalBegin(GlobalBegin {
        timeout_ms: 60_000,
        transaction_name: "n".into(),
    });
    match world.ask(tm, begin) {
        Message::GlobalBeginResponse(r) => assert!(matches!(
            r.result,
            TxResult::Failed {
                code: ExceptionCode::BeginFailed,
                ..
            }
        )),
        other => panic!("{other:?}"),
    }
    world.register(rm, tcc(&xid, "r"));
    let request = world.start_commit(tm, &xid);
    assert_eq!(world.coordinator.held(), 1);
    world.reply_all();
    assert_eq!(world.told(tm, request), Some(Committed));
    assert_eq!(world.coordinator.held(), 0);
}

#[test]
fn an_id_that_exists_is_replaced_by_the_next() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let xids: Vec<_> = (0..5).map(|_| world.begin(tm)).collect();
    let branch = world.register(tm, tcc(&xids[0], "r"));
    world.coordinator.ids = IdGenerator::new(1, START_MS);
    let again = world.begin(tm);
    assert!(!xids.contains(&again), "{again}");
    assert_eq!(world.stats().begun, 6);
    world.coordinator.ids = IdGenerator::new(1, START_MS);
    for _ in 0..4 {
        world.coordinator.ids.next_id();
    }
    assert_ne!(world.register(tm, tcc(&xids[1], "r")), branch);
}

#[test]
fn the_same_inputs_give_the_same_outputs() {
    let run = |seed| {
        let mut world = World::with(CoordinatorConfig {
            seed,
            ..CoordinatorConfig::default()
        });
        let tm = world.tm("app", "2.2.0");
        let rms: Vec<_> = (0..5)
            .map(|i| world.rm_at(&format!("10.1.0.{i}"), "app", "r"))
            .collect();
        for i in 0..50 {
            let xid = world.begin(tm);
            world.register(rms[i % 5], tcc(&xid, "r"));
            world.start_rollback(tm, &xid);
        }
        for rm in rms {
            world.close(rm);
        }
        world.advance(secs(20));
        world.rm("app", "r");
        world.advance(secs(20));
        let outputs: Vec<_> = world.outputs.drain(..).map(|o| format!("{o:?}")).collect();
        (outputs, world.stats())
    };
    assert_eq!(run(1), run(1));
    assert_eq!(run(1).1.rolled_back, run(2).1.rolled_back);
}

#[test]
fn an_at_branch_whose_rm_is_lost_in_a_call_goes_to_another_at_once() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let (one, two) = (world.rm("app", "a"), world.rm_at("10.0.0.3", "app", "a"));
    let xid = world.begin(tm);
    world.register(one, at(&xid, "a", "t:1"));
    let request = world.start_rollback(tm, &xid);
    assert_eq!(world.call().to, one);
    world.close(one);
    let again = world.call();
    assert_eq!(again.to, two);
    world.reply(&again, PhaseTwoRollbacked);
    assert_eq!(world.told(tm, request), Some(Rollbacked));
}

#[test]
fn a_failure_in_one_group_of_parallel_branches_leaves_the_others_alone() {
    for lost in [true, false] {
        let mut world = World::with(CoordinatorConfig {
            parallel_branches: true,
            ..CoordinatorConfig::default()
        });
        let tm = world.tm("app", "2.2.0");
        let (one, two) = (world.rm("app", "a"), world.rm_at("10.0.0.3", "app", "b"));
        let xid = world.begin(tm);
        let branches: Vec<_> = (0..4)
            .map(|i| world.register(tm, at(&xid, ["a", "b"][i % 2], &format!("t:{i}"))))
            .collect();
        let request = world.start_rollback(tm, &xid);
        let calls = world.calls();
        assert_eq!(calls.len(), 2);
        let (failing, good) = (&calls[1], &calls[0]);
        assert_eq!((failing.to, good.to), (one, two));
        match lost {
            true => {
                world.close(one);
                assert_eq!(world.told_failed(tm, request), RollbackRetrying);
            }
            false => {
                world.reply(failing, PhaseTwoRollbackFailedRetryable);
                assert_eq!(world.told(tm, request), Some(RollbackRetrying));
            }
        }
        world.reply(good, PhaseTwoRollbacked);
        let next = world.call();
        assert_eq!(next.end.branch_id, branches[1]);
        world.reply(&next, PhaseTwoRollbacked);
        if lost {
            world.rm("app", "a");
        }
        world.advance(secs(2));
        let called: Vec<_> = world.reply_all().iter().map(|c| c.end.branch_id).collect();
        assert_eq!(called, [branches[2], branches[0]]);
        assert_eq!(world.stored_status(&xid), None);
    }
}

#[test]
fn a_commit_that_takes_long_is_not_driven_a_second_time() {
    let mut world = World::with(CoordinatorConfig {
        call_timeout: secs(600),
        ..CoordinatorConfig::default()
    });
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm("app", "r");
    let xid = world.begin_with(tm, "n", 600_000);
    world.register(rm, tcc(&xid, "r"));
    world.advance(secs(200));
    world.start_commit(tm, &xid);
    let call = world.call();
    world.advance(secs(300));
    assert_eq!(world.commit(tm, &xid), Committing);
    assert_eq!(world.calls(), []);
    world.reply(&call, PhaseTwoCommitted);
    assert_eq!(world.stored_status(&xid), None);
    assert_eq!(world.stats().calls, 1);
}

#[test]
fn an_idle_coordinator_with_many_transactions_wakes_a_few_times_a_minute() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    for _ in 0..1000 {
        world.begin_with(tm, "n", 3_600_000);
    }
    world.advance(secs(700));
    let mut wakes = 0;
    let end = world.elapsed + secs(60);
    while let Some(next) = world.coordinator.next_deadline() {
        let next = next - world.start;
        if next > end {
            break;
        }
        wakes += 1;
        world.advance(next.saturating_sub(world.elapsed));
    }
    assert!(wakes <= 20, "{wakes}");
}
