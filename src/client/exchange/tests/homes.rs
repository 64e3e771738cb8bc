//! Transactions stay where they began.

use super::*;

fn address_of(world: &World, session: SessionId) -> String {
    let link = world.exchange.roster.of_session(session).expect("open");
    world.exchange.roster.address(link).to_owned()
}

#[test]
fn a_transaction_stays_where_it_began() {
    let mut world = World::connected(ClientOptions::default(), &[HERE, THERE]);
    for home in [HERE, THERE] {
        for number in 0..10 {
            let _waits = world.ask(branch(&format!("{home}:{number}"), "t:1"));
            let (session, _) = world.only_sent();
            assert_eq!(address_of(&world, session), home);
        }
    }
}

#[test]
fn a_home_with_another_name_is_learned_from_its_begins() {
    let mut world = World::connected(ClientOptions::default(), &[HERE, THERE]);
    let _waits = world.ask(begin());
    let (session, rpc) = world.only_sent();
    let home = address_of(&world, session);
    world.receive(session, rpc.id, begun("tc.example:9000:5"));
    for _ in 0..10 {
        let _waits = world.ask(commit("tc.example:9000:5"));
        let (session, _) = world.only_sent();
        assert_eq!(address_of(&world, session), home);
    }
}

#[test]
fn others_are_asked_while_the_home_is_away_and_not_believed_that_it_is_unknown() {
    let mut world = World::connected(ClientOptions::default(), &[HERE, THERE]);
    let tm = world.link(Role::Tm, HERE);
    world.close(tm);
    let xid = format!("{HERE}:7");
    let (_, mut answer) = world.ask(commit(&xid));
    let (session, rpc) = world.only_sent();
    assert_eq!(address_of(&world, session), THERE);
    let unknown = TxResult::Failed {
        code: ExceptionCode::GlobalTransactionNotExist,
        message: "?".into(),
    };
    let finished = ended(unknown, GlobalStatus::Finished);
    world.receive(session, rpc.id, Message::GlobalCommitResponse(finished));
    assert!(answer.try_take().is_none());
    let back = world.register(tm);
    world.pass_stepwise(SECOND);
    let (session, rpc) = world.only_sent();
    assert_eq!(session, back);
    world.receive(session, rpc.id, committed());
    assert!(answer.try_take().expect("an answer").is_ok());
    world.assert_empty();
}
