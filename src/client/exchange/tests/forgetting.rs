//! What becomes of requests whose callers go away.

use super::*;

const XID: &str = "10.0.0.1:8091:1";

#[test]
fn a_begin_that_was_not_sent_leaves_nothing() {
    let mut world = World::new(ClientOptions::default(), &[HERE]);
    let (id, _gone) = world.ask(begin());
    world.forget(id);
    world.assert_empty();
    let tm = world.link(Role::Tm, HERE);
    world.register(tm);
    assert!(world.take_sent().is_empty());
}

#[test]
fn a_begin_under_way_is_rolled_back_when_it_is_answered() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    let (id, _gone) = world.ask(begin());
    let (session, rpc) = world.only_sent();
    world.forget(id);
    assert!(world.take_sent().is_empty());
    world.receive(session, rpc.id, begun(XID));
    let (session, rpc) = world.only_sent();
    assert!(is_rollback_of(&rpc, XID));
    let done = ended(TxResult::Success, GlobalStatus::Rollbacked);
    world.receive(session, rpc.id, Message::GlobalRollbackResponse(done));
    world.assert_empty();
}

/// Found by dropping begins in a loop: the answer came between the caller's last look and its word to forget the request,
/// and the transaction lived until its timeout.
#[test]
fn a_begin_answered_while_its_caller_goes_away_is_rolled_back() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    let (id, waiting) = world.ask(begin());
    let (session, rpc) = world.only_sent();
    assert!(waiting.close().is_none(), "it has not come yet");
    world.receive(session, rpc.id, begun(XID));
    world.forget(id);
    let (_, rpc) = world.only_sent();
    assert!(is_rollback_of(&rpc, XID));
}

#[test]
fn a_commit_that_was_not_sent_becomes_a_rollback() {
    let mut world = World::new(ClientOptions::default(), &[HERE]);
    let (id, _gone) = world.ask(commit(XID));
    world.forget(id);
    let tm = world.link(Role::Tm, HERE);
    world.register(tm);
    let (_, rpc) = world.only_sent();
    assert!(is_rollback_of(&rpc, XID));

    // The same while it waits for company.
    let merged = ClientOptions {
        tm_sending: Sending::Merged,
        ..ClientOptions::default()
    };
    let mut world = World::connected(merged, &[HERE]);
    let (id, _gone) = world.post(commit(XID));
    world.forget(id);
    let (_, rpc) = world.only_sent();
    assert!(is_rollback_of(&rpc, XID));
}

#[test]
fn a_commit_under_way_is_left_to_the_coordinator() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    let (id, _gone) = world.ask(commit(XID));
    let (session, rpc) = world.only_sent();
    world.forget(id);
    world.receive(session, rpc.id, committed());
    assert!(world.take_sent().is_empty(), "decided");
    world.assert_empty();
}

#[test]
fn a_commit_that_came_to_nothing_is_rolled_back_when_nobody_waits() {
    // Lost while it was under way, and forgotten before or after.
    for forget_first in [true, false] {
        let mut world = World::connected(ClientOptions::default(), &[HERE]);
        let (id, _gone) = world.ask(commit(XID));
        world.take_sent();
        let tm = world.link(Role::Tm, HERE);
        if forget_first {
            world.forget(id);
            world.close(tm);
        } else {
            world.close(tm);
            world.forget(id);
        }
        world.register(tm);
        world.pass_stepwise(SECOND);
        let (_, rpc) = world.only_sent();
        assert!(is_rollback_of(&rpc, XID), "{rpc:?}");
    }
}

#[test]
fn a_rollback_goes_on_without_its_caller() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    let options = ClientOptions::default();
    let (id, _gone) = world.ask(Request::rollback(
        XID.into(),
        SECOND,
        options.rollback_retry,
    ));
    world.take_sent();
    world.forget(id);
    let tm = world.link(Role::Tm, HERE);
    world.close(tm);
    world.register(tm);
    world.pass_stepwise(SECOND / 2);
    let (_, rpc) = world.only_sent();
    assert!(is_rollback_of(&rpc, XID));
}

#[test]
fn everything_else_is_dropped() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    let (id, _gone) = world.ask(branch(XID, "t:1"));
    let (session, rpc) = world.only_sent();
    world.forget(id);
    world.assert_empty();
    world.receive(session, rpc.id, registered(5));
    world.assert_empty();
}
