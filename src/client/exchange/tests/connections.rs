//! The life of the connections, and what coordinators ask over them.

use super::*;

fn resources(rpc: &Rpc) -> Text {
    match &rpc.message {
        Message::RegisterRm(register) => register.resource_ids.clone(),
        other => panic!("{other:?}"),
    }
}

fn add(world: &mut World, resource: &str) -> Ticket<Result<(), Error>> {
    let (sink, done) = ticket();
    world
        .exchange
        .handle_resource(world.now, resource.into(), sink);
    world.turn();
    done
}

#[test]
fn every_connection_introduces_itself_with_everything() {
    let mut world = World::new(ClientOptions::default(), &[HERE]);
    assert_eq!(
        add(&mut world, "b").try_take(),
        Some(Ok(())),
        "nobody to tell"
    );
    add(&mut world, "a");
    let (tm, rm) = (world.link(Role::Tm, HERE), world.link(Role::Rm, HERE));
    let (_, registration) = world.open(tm);
    let Message::RegisterTm(register) = &registration.message else {
        panic!("{registration:?}");
    };
    assert_eq!(register.application_id, "app");
    assert_eq!(register.extra_data, "extra");
    let (session, registration) = world.open(rm);
    assert_eq!(resources(&registration), "a,b");
    // Added while the registration is under way: told right behind it.
    let mut done = add(&mut world, "c");
    let (to, added) = world.only_sent();
    assert_eq!((to, resources(&added)), (session, "c".into()));
    world.answer_registration(session, &registration, true);
    assert!(done.try_take().is_none());
    world.answer_registration(session, &added, true);
    assert_eq!(done.try_take(), Some(Ok(())));
    world.close(rm);
    let (_, registration) = world.open(rm);
    assert_eq!(resources(&registration), "a,b,c", "all of them again");
}

#[test]
fn a_resource_is_confirmed_by_those_that_stay() {
    let mut world = World::connected(ClientOptions::default(), &[HERE, THERE]);
    let mut done = add(&mut world, "a");
    let sent = world.take_sent();
    assert_eq!(sent.len(), 2, "the RM connections");
    world.answer_registration(sent[0].0, &sent[0].1, true);
    assert!(done.try_take().is_none());
    let lost = world.exchange.roster.of_session(sent[1].0).expect("open");
    world.close(lost);
    assert_eq!(done.try_take(), Some(Ok(())));
    let mut refused = add(&mut world, "b");
    let (session, rpc) = world.only_sent();
    world.answer_registration(session, &rpc, false);
    assert!(refused.try_take().expect("an answer").is_err());
}

#[test]
fn a_resource_that_is_not_confirmed_in_time_stays_registered() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    let mut done = add(&mut world, "a");
    world.take_sent();
    world.pass(15 * SECOND);
    let error = done.try_take().expect("in time").expect_err("unconfirmed");
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    let rm = world.link(Role::Rm, HERE);
    world.take_sent();
    world.close(rm);
    let (_, registration) = world.open(rm);
    assert_eq!(resources(&registration), "a");
}

#[test]
fn unregistered_connections_carry_no_requests() {
    let mut world = World::new(ClientOptions::default(), &[HERE]);
    let tm = world.link(Role::Tm, HERE);
    world.open(tm);
    let _waiting = world.ask(begin());
    assert!(world.take_sent().is_empty());
}

#[test]
fn a_refused_connection_is_tried_again_later() {
    let mut world = World::new(ClientOptions::default(), &[HERE]);
    let tm = world.link(Role::Tm, HERE);
    let (session, registration) = world.open(tm);
    world.answer_registration(session, &registration, false);
    world.pass(5 * SECOND);
    assert!(world.aborted.is_empty(), "not at once");
    world.pass(5 * SECOND);
    assert_eq!(world.aborted, [session]);
}

#[test]
fn a_registration_without_an_answer_ends_its_connection() {
    let mut world = World::new(ClientOptions::default(), &[HERE]);
    let tm = world.link(Role::Tm, HERE);
    let (session, _) = world.open(tm);
    world.pass_stepwise(30 * SECOND);
    assert_eq!(world.aborted, [session]);
}

#[test]
fn heartbeats_follow_silence_of_ours_only() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    world.pass(3 * SECOND);
    let _asked = world.ask(begin());
    world.take_sent();
    world.pass_stepwise(4 * SECOND);
    let pings: Vec<_> = world.take_sent();
    assert_eq!(pings.len(), 1, "the RM's; the TM spoke: {pings:?}");
    assert_eq!(pings[0].1.kind, MessageKind::Ping);
    world.pass_stepwise(SECOND);
    let (_, ping) = world.only_sent();
    assert_eq!(ping.kind, MessageKind::Ping);
    let silent = ClientOptions {
        heartbeat: None,
        ..ClientOptions::default()
    };
    let mut world = World::connected(silent, &[HERE]);
    world.pass_stepwise(60 * SECOND);
    assert!(world.take_sent().is_empty());
}

#[test]
fn times_without_end_or_without_length_stop_nothing() {
    let endless = RetryPolicy {
        total: Duration::MAX,
        longest: Duration::MAX,
        ..ClientOptions::default().commit_retry
    };
    let options = ClientOptions {
        tm_request_timeout: Duration::MAX,
        rm_request_timeout: Duration::MAX,
        commit_retry: endless,
        connection_patience: Duration::MAX,
        heartbeat: Some(Duration::ZERO),
        ..ClientOptions::default()
    };
    let mut world = World::connected(options, &[HERE]);
    let request = Request {
        retry: endless,
        attempt: Duration::MAX,
        ..commit("10.0.0.1:8091:1")
    };
    let (_, mut answer) = world.ask(request);
    let _added = add(&mut world, "a");
    world.exchange.handle_close(world.now, Duration::MAX, None);
    world.pass(SECOND);
    let tm = world.link(Role::Tm, HERE);
    world.close(tm);
    world.pass(SECOND);
    assert!(answer.try_take().is_none(), "it waits for ever");
}

#[test]
fn the_start_fails_only_when_nobody_can_be_reached() {
    let begin = |world: &mut World| {
        let (sink, ready) = ticket();
        world.exchange.handle_start(world.now, 10 * SECOND, sink);
        world.turn();
        ready
    };
    let mut world = World::new(ClientOptions::default(), &[HERE, THERE]);
    assert!(matches!(
        ClientOptions::default().start,
        Start::WithinOrFail(_)
    ));
    let mut ready = begin(&mut world);
    let (here, there) = (world.link(Role::Tm, HERE), world.link(Role::Tm, THERE));
    world.exchange.handle_connect_failed(here, "refused");
    world.turn();
    assert!(ready.try_take().is_none(), "one is left");
    world.register(there);
    assert!(ready.try_take().is_none(), "the RM is missing");
    let rm = world.link(Role::Rm, THERE);
    world.register(rm);
    assert_eq!(ready.try_take(), Some(Ok(())));

    let mut world = World::new(ClientOptions::default(), &[HERE, THERE]);
    let mut ready = begin(&mut world);
    for address in [HERE, THERE] {
        let link = world.link(Role::Rm, address);
        world.exchange.handle_connect_failed(link, "refused");
    }
    world.turn();
    let error = ready.try_take().expect("at once").expect_err("nobody");
    let Error::Unreachable(text) = &error else {
        panic!("{error:?}");
    };
    assert!(text.contains(HERE) && text.contains(THERE), "{text}");

    let mut world = World::new(ClientOptions::default(), &[HERE]);
    let mut ready = begin(&mut world);
    world.pass(10 * SECOND);
    assert!(ready.try_take().expect("in time").is_err());
}

#[test]
fn a_new_list_connects_who_came_and_disconnects_who_left() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    world.set_addresses(&[THERE]);
    assert_eq!(world.links.len(), 4);
    assert_eq!(world.disconnected.len(), 2);
    let _waits = world.ask(begin());
    assert!(world.take_sent().is_empty(), "nobody is asked who left");
    let tm = world.link(Role::Tm, THERE);
    world.register(tm);
    assert_eq!(world.take_sent().len(), 1);
    world.set_addresses(&[THERE, HERE]);
    assert_eq!(world.links.len(), 6, "it came back with new connections");
}

/// Addresses of pods that come and go must not pile up.
#[test]
fn who_left_is_forgotten_when_its_connections_have_ended() {
    let mut world = World::connected(ClientOptions::default(), &[HERE, THERE]);
    let links = |world: &World| world.exchange.roster.ids().count();
    let (tm, rm) = (world.link(Role::Tm, HERE), world.link(Role::Rm, HERE));
    let (_, mut answer) = world.ask(branch(&format!("{HERE}:7"), "t:1"));
    world.take_sent();
    world.set_addresses(&[THERE]);
    assert_eq!(links(&world), 4, "its connections are there still");
    world.close(tm);
    assert_eq!(links(&world), 3);
    // What was under way on it is another one's matter, or has failed.
    world.close(rm);
    assert_eq!(links(&world), 2);
    assert!(answer.try_take().is_some() || world.exchange.calls.len() == 1);
    world.exchange.handle_connect_failed(rm, "too late");
    let late = SessionId::from_u64(99);
    world.exchange.handle_open(world.now, tm, late, "".into());
    world.turn();
    assert_eq!(world.aborted, [late]);
    for number in 0..100 {
        let address = format!("10.0.1.{number}:8091");
        world.set_addresses(&[THERE, &address]);
        world.set_addresses(&[THERE]);
        assert_eq!(links(&world), 2, "nobody ever connected");
    }
}

/// While the former connections are still closing, there are two of one address.
#[test]
fn who_comes_back_at_once_is_at_home_again() {
    let mut world = World::connected(ClientOptions::default(), &[HERE, THERE]);
    let (tm, rm) = (world.link(Role::Tm, HERE), world.link(Role::Rm, HERE));
    world.set_addresses(&[THERE]);
    world.set_addresses(&[THERE, HERE]);
    let again = world.link(Role::Rm, HERE);
    assert_ne!(again, rm);
    let session = world.register(again);
    for number in 0..10 {
        let _waits = world.ask(branch(&format!("{HERE}:{number}"), "t:1"));
        assert_eq!(world.only_sent().0, session);
    }
    world.close(rm);
    world.close(tm);
    let _waits = world.ask(branch(&format!("{HERE}:11"), "t:1"));
    assert_eq!(world.only_sent().0, session);
}

#[test]
fn a_coordinators_request_is_answered_over_its_own_connection() {
    let mut world = World::connected(ClientOptions::default(), &[HERE, THERE]);
    let rm = world.sessions[&world.link(Role::Rm, THERE)];
    let end = BranchEnd {
        xid: "x:1:1".into(),
        branch_id: 5,
        branch_type: BranchType::At,
        resource_id: "db".into(),
        application_data: Text::new(),
    };
    world.receive(rm, 77, Message::BranchCommit(end));
    let (session, mut head, asked) = world.serve.pop().expect("something to do");
    head.serializer = 1;
    let answer = asked.answer(TxResult::Success, BranchStatus::PhaseTwoCommitted);
    world
        .exchange
        .handle_served(world.now, session, &head, answer);
    world.turn();
    let (to, rpc) = world.only_sent();
    assert_eq!((to, rpc.id, rpc.kind), (rm, 77, MessageKind::Response));
    assert!(matches!(rpc.message, Message::BranchCommitResponse(_)));
}

#[test]
fn closing_waits_for_what_is_under_way_and_refuses_what_is_new() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    let (_, mut answer) = world.ask(commit("10.0.0.1:8091:1"));
    let (session, rpc) = world.only_sent();
    let (sink, mut closed) = ticket();
    world
        .exchange
        .handle_close(world.now, 13 * SECOND, Some(sink));
    let (_, mut refused) = world.ask(begin());
    let error = refused.try_take().expect("at once").expect_err("closed");
    assert_eq!(error, Error::Closed);
    assert!(closed.try_take().is_none() && !world.exchange.is_closed());
    world.receive(session, rpc.id, committed());
    assert!(answer.try_take().expect("an answer").is_ok());
    assert_eq!(closed.try_take(), Some(Ok(())));
    assert!(world.exchange.is_closed());

    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    let _never = world.ask(commit("10.0.0.1:8091:1"));
    let (sink, mut closed) = ticket();
    world
        .exchange
        .handle_close(world.now, 13 * SECOND, Some(sink));
    world.pass(13 * SECOND);
    assert_eq!(closed.try_take(), Some(Ok(())));
}
