//! Coordinators that go away, come back, answer oddly or not at all.

use std::time::Duration;

use seamio::client::{
    ClientOptions, Error, File, NewBranch, Outcome, RetryPolicy, RollbackReason, Seata, Start,
    TxOptions, wait,
};
use seamio::proto::Text;
use seamio::proto::message::{
    GlobalBeginResponse, GlobalEndResponse, Message, RegisterResponse, TxResult,
};
use seamio::proto::status::{BranchType, ExceptionCode, GlobalStatus};
use seamio::tc::server::{ServerConfig, StoreChoice};

use crate::fixture::{
    Asked, Coordinator, HeldPort, Ledger, TestDir, builder, connect, options, run,
};
use crate::script::{Reaction, Script};

fn branch(xid: &Text) -> NewBranch {
    NewBranch {
        xid: xid.clone(),
        branch_type: BranchType::At,
        resource_id: "db".into(),
        lock_key: "t:1".into(),
        application_data: Text::new(),
    }
}

#[test]
fn a_coordinator_that_comes_back_finds_everything_registered_again() {
    let dir = TestDir::new();
    let config = |listen| ServerConfig {
        listen,
        store: StoreChoice::Journal(dir.path()),
        ..ServerConfig::default()
    };
    let held = HeldPort::new();
    let address = held.address;
    let tc = Coordinator::with(config(address));
    let seata = connect(builder(&[address]));
    let rm = seata.rm();
    let ledger = Ledger::new("db", BranchType::At);
    wait(rm.register_resource(ledger.clone())).expect("registered");
    let tx = wait(seata.begin(TxOptions::default())).expect("begun");
    let id = wait(rm.register_branch(branch(tx.xid()))).expect("a branch");
    drop(tc);
    let tc = Coordinator::with(config(address));
    // Asked while the connections are down or being made again.
    let outcome = wait(tx.commit());
    assert!(outcome.is_committed(), "{outcome:?}");
    let Asked::Commit(asked) = &ledger.wait_for(1)[0] else {
        panic!("a commit");
    };
    assert_eq!(asked.branch_id, id);
    assert!(seata.metrics().lost_connections >= 2);
    drop(tc);
}

#[test]
fn nobody_there_is_an_error_at_once_or_later() {
    let nobody = HeldPort::new();
    let address = nobody.address;
    let error = wait(builder(&[address]).build())
        .map(|_| ())
        .expect_err("nobody");
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
    let patient = ClientOptions {
        start: Start::AtOnce,
        connection_patience: Duration::from_millis(50),
        ..options()
    };
    let seata = connect(builder(&[address]).options(patient));
    let error = wait(seata.begin(TxOptions::default()))
        .map(|_| ())
        .expect_err("nobody");
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
    // The first coordinator is late.
    let tc = Coordinator::start_at(address);
    let tx = begin_patiently(&seata);
    assert!(wait(tx.commit()).is_committed());
    drop(tc);
}

fn begin_patiently(seata: &Seata) -> seamio::client::TxGuard {
    for _ in 0..1000 {
        match wait(seata.begin(TxOptions::default())) {
            Ok(tx) => return tx,
            Err(error) => assert!(error.is_retryable(), "{error:?}"),
        }
    }
    panic!("it never connected");
}

#[test]
fn transactions_stay_with_the_coordinator_that_began_them() {
    let coordinators = [Coordinator::start(), Coordinator::start()];
    let addresses = [coordinators[0].address, coordinators[1].address];
    let seata = connect(builder(&addresses));
    let rm = seata.rm();
    let ledger = Ledger::new("db", BranchType::At);
    wait(rm.register_resource(ledger.clone())).expect("registered");
    let mut begun = [0; 2];
    for _ in 0..1000 {
        let tx = wait(seata.begin(TxOptions::default())).expect("begun");
        let home = addresses
            .iter()
            .position(|address| tx.xid().starts_with(&address.to_string()))
            .expect("one of the two");
        begun[home] += 1;
        wait(rm.register_branch(branch(tx.xid()))).expect("the coordinator knows it");
        assert!(wait(tx.commit()).is_committed());
        ledger.wait_for(begun[0] + begun[1]);
        if begun[0] > 1 && begun[1] > 1 {
            return;
        }
    }
    panic!("one of them is never asked: {begun:?}");
}

#[test]
fn a_new_list_of_coordinators_is_followed() {
    let (old, new) = (Coordinator::start(), Coordinator::start());
    let seata = connect(builder(&[old.address]));
    seata
        .set_addresses([new.address.to_string()])
        .expect("an address");
    assert!(seata.set_addresses(["nonsense"]).is_err());
    let tx = begin_patiently(&seata);
    assert!(tx.xid().starts_with(&new.address.to_string()), "{tx:?}");
    let _ = wait(tx.rollback());
}

/// Answers registrations, and everything else as the test says.
fn registering(rest: impl Fn(&Message) -> Vec<Reaction> + Send + Sync + 'static) -> Script {
    Script::start(move |request| {
        let registered = RegisterResponse {
            identified: true,
            version: "2.3.0".into(),
        };
        match request {
            Message::RegisterTm(_) => {
                vec![Reaction::Answer(Message::RegisterTmResponse(registered))]
            }
            Message::RegisterRm(_) => {
                vec![Reaction::Answer(Message::RegisterRmResponse(registered))]
            }
            Message::HeartbeatPing => vec![Reaction::Answer(Message::HeartbeatPong)],
            other => rest(other),
        }
    })
}

fn begun() -> Message {
    Message::GlobalBeginResponse(GlobalBeginResponse {
        result: TxResult::Success,
        xid: "127.0.0.1:8091:7".into(),
        extra_data: Text::new(),
    })
}

#[test]
fn a_begin_that_failed_is_no_transaction() {
    let tc = registering(|_| {
        let result = TxResult::Failed {
            code: ExceptionCode::BeginFailed,
            message: "TransactionException[full]".into(),
        };
        vec![Reaction::Answer(Message::GlobalBeginResponse(
            GlobalBeginResponse {
                result,
                xid: Text::new(),
                extra_data: Text::new(),
            },
        ))]
    });
    let seata = connect(builder(&[tc.address]));
    let error = wait(seata.begin(TxOptions::default()))
        .map(|_| ())
        .expect_err("refused");
    let Error::Refused { code, message } = error else {
        panic!("{error:?}");
    };
    assert_eq!(code, ExceptionCode::BeginFailed);
    assert!(message.contains("full"));
}

#[test]
fn a_commit_that_is_never_answered_is_unknown() {
    let tc = registering(|request| match request {
        Message::GlobalBegin(_) => vec![Reaction::Answer(begun())],
        _ => vec![Reaction::Close],
    });
    let impatient = ClientOptions {
        commit_retry: RetryPolicy {
            attempts: 3,
            first: Duration::from_millis(1),
            longest: Duration::from_millis(10),
            total: Duration::from_secs(200),
        },
        connection_patience: Duration::from_secs(60),
        ..options()
    };
    let seata = connect(builder(&[tc.address]).options(impatient));
    let tx = wait(seata.begin(TxOptions::default())).expect("begun");
    let outcome = wait(tx.commit());
    let Outcome::Unknown { xid, error } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(xid, "127.0.0.1:8091:7");
    assert!(error.is_unknown(), "{error:?}");
    let commits = tc.heard(|message| matches!(message, Message::GlobalCommit(_)));
    assert_eq!(commits, 3);
}

#[test]
fn a_commit_that_cannot_be_asked_for_is_none() {
    let tc = Coordinator::start();
    let impatient = ClientOptions {
        commit_retry: RetryPolicy::once(Duration::from_secs(60)),
        connection_patience: Duration::from_millis(50),
        ..options()
    };
    let seata = connect(builder(&[tc.address]).options(impatient));
    let tx = wait(seata.begin(TxOptions::default())).expect("begun");
    drop(tc);
    // Whether the connections are known to be down yet or not, nothing was committed.
    let outcome = wait(tx.commit());
    match outcome {
        Outcome::RolledBack { reason, .. } => assert_eq!(reason, RollbackReason::NotAsked),
        Outcome::Unknown { error, .. } => assert!(error.is_unknown(), "{error:?}"),
        Outcome::Committed { status } => panic!("{status}"),
    }
}

#[test]
fn a_commit_of_a_forgotten_transaction_is_no_success() {
    let tc = registering(|request| match request {
        Message::GlobalBegin(_) => vec![Reaction::Answer(begun())],
        _ => {
            let answer = GlobalEndResponse {
                result: TxResult::Success,
                global_status: GlobalStatus::Finished,
            };
            vec![Reaction::Answer(Message::GlobalCommitResponse(answer))]
        }
    });
    let seata = connect(builder(&[tc.address]));
    let tx = wait(seata.begin(TxOptions::default())).expect("begun");
    let outcome = wait(tx.commit());
    assert!(matches!(outcome, Outcome::Unknown { .. }), "{outcome:?}");
}

#[test]
fn bytes_that_are_no_frame_end_the_connection_and_a_new_one_is_made() {
    let tc = registering(|request| match request {
        Message::GlobalBegin(begin) if begin.transaction_name == "bad" => {
            vec![Reaction::Bytes(b"HTTP/1.1 200 OK\r\n\r\n")]
        }
        Message::GlobalBegin(_) => vec![Reaction::Answer(begun())],
        _ => vec![],
    });
    let seata = connect(builder(&[tc.address]));
    let error = wait(seata.begin(TxOptions::new("bad")))
        .map(|_| ())
        .expect_err("lost");
    assert!(matches!(error, Error::Lost { .. }), "{error:?}");
    let tx = wait(seata.begin(TxOptions::new("good"))).expect("over a new connection");
    let _ = tx.detach();
}

#[test]
fn a_refused_registration_fails_the_start() {
    let tc = Script::start(|request| {
        let refused = RegisterResponse {
            identified: false,
            version: "2.3.0".into(),
        };
        match request {
            Message::RegisterTm(_) => vec![Reaction::Answer(Message::RegisterTmResponse(refused))],
            Message::RegisterRm(_) => vec![Reaction::Answer(Message::RegisterRmResponse(refused))],
            _ => vec![],
        }
    });
    let error = wait(builder(&[tc.address]).build())
        .map(|_| ())
        .expect_err("refused");
    let Error::Unreachable(text) = error else {
        panic!("{error:?}");
    };
    assert!(text.contains("refused"), "{text}");
}

#[test]
fn a_tm_signs_its_registration() {
    let tc = registering(|_| vec![]);
    let signed = builder(&[tc.address])
        .credentials("key", "secret")
        .group("my_group");
    let seata = connect(signed);
    let found = tc.heard(|message| match message {
        Message::RegisterTm(register) => {
            let lines: Vec<&str> = register.extra_data.lines().collect();
            assert_eq!(lines[0], "ak=key");
            assert!(lines[1].starts_with("digest=") && !lines[1].contains(','));
            assert_eq!(
                &lines[3..],
                ["authVersion=V4", "vgroup=my_group", "ip=127.0.0.1"]
            );
            true
        }
        Message::RegisterRm(register) => {
            assert!(register.extra_data.is_empty());
            false
        }
        _ => false,
    });
    assert_eq!(found, 1);
    drop(seata);
}

#[test]
fn second_phases_fail_until_somebody_runs_them() {
    let tc = Coordinator::start();
    let (seata, background) = wait(builder(&[tc.address]).build()).expect("built");
    let rm = seata.rm();
    let ledger = Ledger::new("db", BranchType::At);
    wait(rm.register_resource(ledger.clone())).expect("registered");
    let tx = wait(seata.begin(TxOptions::default())).expect("begun");
    wait(rm.register_branch(branch(tx.xid()))).expect("a branch");
    let outcome = wait(tx.rollback());
    let Outcome::RolledBack { status, .. } = outcome else {
        panic!("{outcome:?}");
    };
    assert_ne!(status, GlobalStatus::Rollbacked, "nobody did it yet");
    run(background);
    assert!(matches!(ledger.wait_for(1)[0], Asked::Rollback(_)));
}

#[test]
fn what_cannot_be_used_is_refused_before_anything_starts() {
    for (builder, text) in [
        (Seata::builder(), "application()"),
        (Seata::builder().application("a,b"), "application()"),
        (Seata::builder().application("a").group(""), "group"),
        (
            Seata::builder().application("a").registry(File::default()),
            "service.vgroupMapping.default_tx_group",
        ),
    ] {
        let error = wait(builder.build()).map(|_| ()).expect_err(text);
        assert!(error.to_string().contains(text), "{error}");
    }
}
