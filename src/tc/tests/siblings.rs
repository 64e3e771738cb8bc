//! One of several coordinators on a shared store: it was replaced, or siblings were quicker. The helpers are those of
//! `shared.rs`.

use super::shared::{secs, world};
use super::*;
use crate::tc::store::{Decision, Outcome, StoreEvent};
use GlobalStatus::*;

#[test]
fn one_that_was_replaced_forgets_what_it_drove_and_makes_other_ids() {
    let (mut world, tm, rm) = world("r");
    let undecided = world.begin_with(tm, "n", 5_000);
    let decided = world.begin(tm);
    world.register(rm, tcc(&decided, "r"));
    let id = world.start_commit(tm, &decided);
    let call = world.call();
    let not_below = (900_i64 << 53) + (1 << 52);
    world.event(StoreEvent::Replaced {
        node: 77,
        not_below,
    });
    assert_eq!(world.told(tm, id), Some(Committing), "as after 25 s");
    world.assert_forgotten();
    assert_eq!(world.stats().passed_on, 2);
    assert_eq!(world.stats().calls_in_flight, 0);
    world.reply(&call, BranchStatus::PhaseTwoCommitted);
    assert_eq!(world.stats().answers_unexpected, 1);
    assert_eq!(world.global(&decided).branches.len(), 1);
    world.advance(secs(100));
    assert_eq!(world.stored_status(&undecided), Some(Begin), "its heir's");
    let fresh = parsed(&world.begin(tm)).transaction_id();
    assert_eq!(fresh >> 53, 77);
    assert!(fresh & ((1 << 53) - 1) > 1 << 52);
    // Without a lease of the new node nothing is called.
    let xid = world.begin(tm);
    world.register(rm, tcc(&xid, "r"));
    world.start_commit(tm, &xid);
    assert_eq!(world.calls(), []);
    world.lease(secs(9));
    assert_eq!(world.reply_all().len(), 1);
}

/// One that stood still for longer than its lease, and whose node nobody wanted, began its ids anew: the node was claimed
/// with ids ahead of the clock, so that both the clock and the claim were behind what it had given out. Transactions then
/// had the ids of ended ones, whose ends answered for them.
#[test]
fn one_that_keeps_its_node_repeats_no_id() {
    let (mut world, tm, rm) = world("r");
    let ahead = (900_i64 << 53) + (1 << 52);
    let replaced = |node| StoreEvent::Replaced {
        node,
        not_below: ahead,
    };
    world.event(replaced(77));
    let mut made: Vec<i64> = Vec::new();
    for node in [77, 77, 78, 77] {
        let xid = world.begin(tm);
        made.push(parsed(&xid).transaction_id());
        // The store of these tests looks at a transaction's id, and not at a branch's, before it takes it.
        made.push(world.register(rm, tcc(&xid, "r")));
        world.event(replaced(node));
    }
    made.push(parsed(&world.begin(tm)).transaction_id());
    let distinct: std::collections::BTreeSet<i64> = made.iter().copied().collect();
    assert_eq!(distinct.len(), made.len(), "{made:?}");
}

#[test]
fn requests_and_work_at_the_store_outlive_the_replacement() {
    let (mut world, tm, rm) = world("r");
    let xid = world.begin(tm);
    world.register(rm, tcc(&xid, "r"));
    let id = world.start_rollback(tm, &xid);
    let call = world.call();
    world.asleep = true;
    world.reply(&call, BranchStatus::PhaseTwoRollbackFailedRetryable);
    let status = world.send(tm, Message::GlobalStatus(end(&xid)));
    world.event(StoreEvent::Replaced {
        node: 77,
        not_below: 0,
    });
    assert_eq!(world.told(tm, id), Some(Rollbacking));
    world.asleep = false;
    world.pump();
    assert_eq!(world.told(tm, status), Some(RollbackRetrying));
    world.assert_forgotten();

    // The same with a branch that had just been done.
    world.lease(secs(3600));
    let xid = world.begin(tm);
    world.register(rm, tcc(&xid, "r"));
    world.start_rollback(tm, &xid);
    let call = world.call();
    world.asleep = true;
    world.reply(&call, BranchStatus::PhaseTwoRollbacked);
    world.event(StoreEvent::Replaced {
        node: 78,
        not_below: 0,
    });
    world.asleep = false;
    world.pump();
    assert_eq!(world.status(tm, &xid), Finished);
    world.assert_forgotten();
}

#[test]
fn a_deadline_finds_what_a_sibling_did() {
    for ended in [false, true] {
        let (mut world, tm, rm) = world("r");
        let xid = world.begin_with(tm, "n", 5_000);
        let branch = world.register(rm, tcc(&xid, "r"));
        world.sibling_decides(&xid, Decision::Commit);
        if ended {
            world.sibling_ends(&xid, branch);
        }
        assert_eq!(world.stats().live, 1);
        world.advance(secs(6));
        assert_eq!(world.stats().timeouts_decided, 0);
        assert_eq!(world.calls(), []);
        world.assert_forgotten();
    }
}

#[test]
fn a_request_finds_what_a_sibling_did() {
    type Ask = fn(&mut World, ChannelId, &Text);
    let asks: [Ask; 5] = [
        |world, tm, xid| assert_eq!(world.commit(tm, xid), Committing),
        |world, tm, xid| assert_eq!(world.rollback(tm, xid), Committing),
        |world, tm, xid| assert_eq!(world.status(tm, xid), Committing),
        |world, tm, xid| assert!(world.try_register(tm, tcc(xid, "r")).is_err()),
        |world, tm, xid| {
            let done = BranchStatus::PhaseOneDone;
            let branch = world.global(xid).branches[0].branch_id.0;
            world.report(tm, xid, branch, done, "").unwrap();
        },
    ];
    for ask in asks {
        let (mut world, tm, rm) = world("r");
        let own = world.begin(tm);
        world.register(rm, tcc(&own, "r"));
        let (foreign, _) = world.sibling_begins(60_000, "r");
        for xid in [own, foreign] {
            world.sibling_decides(&xid, Decision::Commit);
            ask(&mut world, tm, &xid);
            world.assert_forgotten();
        }
        world.advance(secs(100));
        assert_eq!(world.calls(), []);
        assert_eq!(world.stats().passed_on, 1);
    }
}

#[test]
fn requests_for_a_foreign_transaction_leave_no_trace() {
    let (mut world, tm, rm) = world("r");
    let (xid, branch) = world.sibling_begins(60_000, "r");
    assert_eq!(world.status(tm, &xid), Begin);
    world.register(rm, at(&xid, "r", "t:1"));
    world
        .report(rm, &xid, branch, BranchStatus::PhaseOneDone, "")
        .unwrap();
    world.assert_forgotten();
    // Decided here, it is driven here.
    world.start_rollback(tm, &xid);
    assert_eq!(world.reply_all().len(), 2);
    world.assert_forgotten();
}

#[test]
fn a_drive_that_a_sibling_overtook_ends_quietly() {
    let (mut world, tm, rm) = world("r");
    let xid = world.begin(tm);
    let branch = world.register(rm, tcc(&xid, "r"));
    let id = world.start_commit(tm, &xid);
    let call = world.call();
    world.sibling_ends(&xid, branch);
    world.reply(&call, BranchStatus::PhaseTwoCommitted);
    assert_eq!(world.told(tm, id), Some(Committed));
    world.assert_forgotten();

    // One branch of two: the other is called from here.
    let xid = world.begin(tm);
    let first = world.register(rm, tcc(&xid, "r"));
    world.register(rm, tcc(&xid, "r"));
    world.start_commit(tm, &xid);
    let call = world.call();
    world.sibling_ends(&xid, first);
    world.reply(&call, BranchStatus::PhaseTwoCommitted);
    assert_eq!(world.reply_all().len(), 1);
    world.assert_forgotten();
}

#[test]
fn a_drive_whose_status_a_sibling_moved_goes_on_from_there() {
    let (mut world, tm, rm) = world("r");
    let xid = world.begin(tm);
    world.register(rm, tcc(&xid, "r"));
    let id = world.start_rollback(tm, &xid);
    let call = world.call();
    world.sibling(Operation::SetStatus {
        xid: parsed(&xid),
        from: Rollbacking,
        to: RollbackRetrying,
        now_ms: 0,
    });
    world.reply(&call, BranchStatus::PhaseTwoRollbackFailedRetryable);
    assert_eq!(world.told(tm, id), Some(RollbackRetrying));
    assert_eq!(world.adoptions(), 1);
    assert_eq!(world.reply_all().len(), 1);
    world.assert_forgotten();
}

#[test]
fn the_engine_of_a_saga_may_report_to_another_coordinator() {
    let (mut world, tm, _) = world("app#group");
    let (xid, _) = world.sibling_begins(60_000, "ignored");
    // No SAGA by its branch: a report changes nothing and leaves nothing.
    let report = |xid: &Text, status| {
        Message::GlobalReport(GlobalReport {
            xid: xid.clone(),
            extra_data: Text::new(),
            global_status: Some(status),
        })
    };
    world.ask(tm, report(&xid, CommitRetrying));
    world.assert_forgotten();
    let saga = Xid::new("other:8091", 42);
    let now_ms = world.now().wall_ms;
    world.sibling(Operation::Begin(crate::tc::store::NewGlobal {
        xid: saga.clone(),
        application_id: "app".into(),
        transaction_service_group: "group".into(),
        name: "$Saga_x".into(),
        timeout_ms: 60_000,
        begin_ms: now_ms,
    }));
    world.sibling_decides(saga.as_text(), Decision::Commit);
    // A sibling drives it: the report is stored, and driven by whom the store says.
    world.asleep = true;
    let id = world.send(tm, report(saga.as_text(), RollbackRetrying));
    world.store_answers(None);
    world.store_answers(None);
    world.store_answers(Some(Outcome::Status(RollbackRetrying)));
    assert_eq!(world.told(tm, id), Some(RollbackRetrying));
    world.assert_forgotten();
}
