//! Requests that share a message.

use super::*;

fn three(world: &mut World) -> (Vec<Ticket<Answer>>, SessionId, Rpc) {
    let answers = (0..3)
        .map(|row| world.post(branch("10.0.0.1:8091:1", &format!("t:{row}"))).1)
        .collect();
    world.turn();
    let (session, rpc) = world.only_sent();
    (answers, session, rpc)
}

fn ids(rpc: &Rpc) -> Vec<i32> {
    match &rpc.message {
        Message::MergedWarp(merged) => merged.ids.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn requests_of_one_turn_share_a_message_and_are_answered_by_position() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    let (mut answers, session, rpc) = three(&mut world);
    assert_eq!(rpc.kind, MessageKind::OneWay);
    assert_eq!(ids(&rpc).len(), 3);
    let messages = (1..=3).map(registered).collect();
    world.receive(
        session,
        rpc.id,
        Message::MergeResult(MergeResult { messages }),
    );
    let branches: Vec<i64> = answers
        .iter_mut()
        .map(|a| branch_of(a.try_take()))
        .collect();
    assert_eq!(branches, [1, 2, 3]);
    world.assert_empty();
}

#[test]
fn answers_with_ids_are_matched_by_them_in_any_grouping() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    let (mut answers, session, rpc) = three(&mut world);
    // Another merge is under way meanwhile, and is answered by position afterwards.
    let (mut others, _, other) = three(&mut world);
    let ids = ids(&rpc);
    let batch = |ids: &[i32], branches: &[i64]| {
        Message::BatchResult(BatchResult {
            messages: branches.iter().copied().map(registered).collect(),
            ids: ids.to_vec(),
        })
    };
    world.receive(session, rpc.id, batch(&[ids[2], ids[0]], &[3, 1]));
    world.receive(session, rpc.id, batch(&ids[1..2], &[2]));
    let branches: Vec<i64> = answers
        .iter_mut()
        .map(|a| branch_of(a.try_take()))
        .collect();
    assert_eq!(branches, [1, 2, 3]);
    let messages = (4..=6).map(registered).collect();
    world.receive(
        session,
        other.id,
        Message::MergeResult(MergeResult { messages }),
    );
    let branches: Vec<i64> = others.iter_mut().map(|a| branch_of(a.try_take())).collect();
    assert_eq!(branches, [4, 5, 6]);
    world.assert_empty();
}

#[test]
fn plain_answers_are_matched_too() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    let (mut answers, session, rpc) = three(&mut world);
    for (at, id) in ids(&rpc).into_iter().enumerate().rev() {
        world.receive(session, id, registered(at as i64));
    }
    let branches: Vec<i64> = answers
        .iter_mut()
        .map(|a| branch_of(a.try_take()))
        .collect();
    assert_eq!(branches, [0, 1, 2]);
    world.assert_empty();
}

#[test]
fn a_list_that_is_too_short_fails_the_rest() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    let (mut answers, session, rpc) = three(&mut world);
    let messages = vec![registered(1)];
    world.receive(
        session,
        rpc.id,
        Message::MergeResult(MergeResult { messages }),
    );
    assert_eq!(branch_of(answers[0].try_take()), 1);
    for answer in &mut answers[1..] {
        let error = answer.try_take().expect("an answer").expect_err("missing");
        assert!(matches!(error, Error::Protocol(_)), "{error:?}");
    }
    world.assert_empty();
}

#[test]
fn a_list_that_is_too_long_or_of_another_connection_harms_nobody() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    let (mut answers, session, rpc) = three(&mut world);
    let tm = world.sessions[&world.link(Role::Tm, HERE)];
    let messages = |n: i64| {
        Message::MergeResult(MergeResult {
            messages: (0..n).map(registered).collect(),
        })
    };
    world.receive(tm, rpc.id, messages(3));
    assert!(answers[0].try_take().is_none());
    world.receive(session, rpc.id, messages(9));
    assert_eq!(branch_of(answers[2].try_take()), 2);
    world.receive(session, rpc.id, messages(3));
    world.assert_empty();
}

#[test]
fn one_request_travels_alone_and_too_many_travel_in_several_messages() {
    let options = ClientOptions {
        merge_requests_max: 2,
        ..ClientOptions::default()
    };
    let mut world = World::connected(options, &[HERE]);
    for row in 0..5 {
        world.post(branch("10.0.0.1:8091:1", &format!("t:{row}")));
    }
    world.turn();
    let kinds: Vec<i16> = world
        .take_sent()
        .iter()
        .map(|(_, rpc)| rpc.message.type_code())
        .collect();
    assert_eq!(kinds, [59, 59, 11]);
}

#[test]
fn what_is_forgotten_or_lost_before_it_left_does_not_leave() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    let (first, _gone) = world.post(branch("10.0.0.1:8091:1", "t:1"));
    let (_, mut kept) = world.post(branch("10.0.0.1:8091:1", "t:2"));
    world.forget(first);
    let (_, rpc) = world.only_sent();
    assert!(matches!(rpc.message, Message::BranchRegister(b) if b.lock_key == "t:2"));
    let rm = world.link(Role::Rm, HERE);
    world.close(rm);
    assert!(kept.try_take().expect("at once").is_err());
    world.assert_empty();
}

#[test]
fn a_message_that_cannot_be_written_fails_all_that_are_in_it() {
    let mut world = World::connected(ClientOptions::default(), &[HERE]);
    let (mut answers, _, rpc) = three(&mut world);
    world.exchange.handle_unsent(rpc.id, "too long");
    world.turn();
    for answer in &mut answers {
        let error = answer.try_take().expect("at once").expect_err("unsent");
        assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    }
    world.assert_empty();
}

#[test]
fn a_tm_sends_one_by_one_unless_it_is_told_to_merge() {
    for (sending, messages) in [(Sending::OneByOne, 2), (Sending::Merged, 1)] {
        let options = ClientOptions {
            tm_sending: sending,
            ..ClientOptions::default()
        };
        let mut world = World::connected(options, &[HERE]);
        world.post(begin());
        world.post(begin());
        world.turn();
        assert_eq!(world.take_sent().len(), messages, "{sending:?}");
    }
}
