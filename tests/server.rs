//! The real binary from outside: transactions, restarts, stops, wrong configuration, hostile peers.

mod peer;

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use peer::{Coordinator, PATIENCE, Peer, TestDir, commit, encoded, now, pause, run};
use seamio::proto::codec::Rpc;
use seamio::proto::frame::MessageKind;
use seamio::proto::message::{GlobalBegin, Message};
use seamio::proto::status::{BranchType, ExceptionCode, GlobalStatus};

/// Every way to run it: inline or with a lane thread, with and without a disk.
fn each_setup(test: impl Fn(&Coordinator)) {
    for workers in ["0", "1"] {
        let dir = TestDir::new();
        for store in ["memory", "journal"] {
            let data = dir.path(store);
            test(&Coordinator::start(
                &["--store", store, "--data", &data, "--workers", workers],
                &[],
            ));
        }
    }
}

fn journal(dir: &TestDir) -> Coordinator {
    Coordinator::start(&["--data", &dir.path("data")], &[])
}

#[test]
fn transactions_are_committed_and_rolled_back() {
    each_setup(|server| {
        let (mut tm, mut rm) = (Peer::tm(server.address), Peer::rm(server.address));
        tm.prove_alive();
        let xid = tm.begin();
        assert!(
            xid.starts_with(&format!("{}:", server.address)),
            "{xid} names the server"
        );
        assert_eq!(tm.rollback(&xid), GlobalStatus::Rollbacked);

        let xid = tm.begin();
        let branch = rm.branch(&xid, BranchType::Tcc, "").expect("registered");
        let id = tm.ask(commit(&xid)).expect("sent");
        let call = rm.call().expect("a call");
        match &call.message {
            Message::BranchCommit(end) => {
                assert_eq!((end.branch_id, &end.xid), (branch, &xid));
            }
            other => panic!("{other:?}"),
        }
        rm.obey(&call).expect("sent");
        assert_eq!(
            peer::ended(tm.answer(id).expect("an answer")),
            GlobalStatus::Committed
        );
        assert_eq!(tm.status(&xid), GlobalStatus::Finished);
    });
}

#[test]
fn a_locked_row_is_refused_until_its_holder_ends() {
    each_setup(|server| {
        let (mut tm, mut rm) = (Peer::tm(server.address), Peer::rm(server.address));
        let (first, second) = (tm.begin(), tm.begin());
        rm.branch(&first, BranchType::At, "t:1,2").expect("free");
        let refused = rm.branch(&second, BranchType::At, "t:2,3");
        assert_eq!(refused, Err(ExceptionCode::LockKeyConflict));
        rm.branch(&second, BranchType::At, "t:3")
            .expect("nothing of the refused one is held");
        assert_eq!(tm.commit(&first), GlobalStatus::Committed);
        rm.branch(&second, BranchType::At, "t:2")
            .expect("free after the commit");
        let call = rm.call().expect("the commit of the first");
        rm.obey(&call).expect("sent");
        let id = tm.ask(peer::rollback(&second)).expect("sent");
        let mut undone = Vec::new();
        for _ in 0..2 {
            let call = rm.call().expect("a rollback");
            match &call.message {
                Message::BranchRollback(end) => undone.push(end.branch_id),
                other => panic!("{other:?}"),
            }
            rm.obey(&call).expect("sent");
        }
        assert!(undone[0] > undone[1], "in reverse order");
        assert_eq!(
            peer::ended(tm.answer(id).expect("an answer")),
            GlobalStatus::Rollbacked
        );
    });
}

#[test]
fn a_kill_between_decision_and_phase_two_loses_nothing() {
    let dir = TestDir::new();
    let mut server = journal(&dir);
    let (mut tm, mut rm) = (Peer::tm(server.address), Peer::rm(server.address));
    let (told, untold, open) = (tm.begin(), tm.begin(), tm.begin());
    rm.branch(&told, BranchType::At, "t:1").expect("registered");
    rm.branch(&untold, BranchType::Tcc, "").expect("registered");
    rm.branch(&open, BranchType::At, "t:2").expect("registered");
    assert_eq!(tm.commit(&told), GlobalStatus::Committed);
    tm.ask(commit(&untold)).expect("sent");
    let calls = [rm.call().expect("a call"), rm.call().expect("a call")];
    assert!(
        calls
            .iter()
            .all(|call| matches!(call.message, Message::BranchCommit(_)))
    );
    server.kill();

    let server = journal(&dir);
    let (mut tm, mut rm) = (Peer::tm(server.address), Peer::rm(server.address));
    assert_eq!(
        rm.branch(&tm.begin(), BranchType::At, "t:2"),
        Err(ExceptionCode::LockKeyConflict),
        "the undecided one still holds its row"
    );
    for _ in 0..2 {
        let call = rm.call().expect("the decision is carried out");
        assert!(matches!(call.message, Message::BranchCommit(_)), "{call:?}");
        rm.obey(&call).expect("sent");
    }
    for xid in [&told, &untold] {
        let until = now() + PATIENCE;
        while tm.status(xid) != GlobalStatus::Finished {
            assert!(now() < until, "{xid} never ends");
            pause(Duration::from_millis(10));
        }
    }
    assert_eq!(tm.status(&open), GlobalStatus::Begin);
    let id = tm.ask(peer::rollback(&open)).expect("sent");
    let call = rm.call().expect("a rollback");
    rm.obey(&call).expect("sent");
    assert_eq!(
        peer::ended(tm.answer(id).expect("an answer")),
        GlobalStatus::Rollbacked
    );
}

#[test]
fn a_stop_refuses_begins_and_finishes_what_is_in_flight() {
    let dir = TestDir::new();
    let mut server = journal(&dir);
    let (mut tm, mut rm) = (Peer::tm(server.address), Peer::rm(server.address));
    let xid = tm.begin();
    rm.branch(&xid, BranchType::Tcc, "").expect("registered");
    server.signal("TERM");
    let until = now() + PATIENCE;
    while let Ok(other) = tm.try_begin(60_000).expect("still served") {
        assert!(now() < until, "begins are still accepted");
        assert_eq!(tm.rollback(&other), GlobalStatus::Rollbacked);
    }
    let id = tm.ask(commit(&xid)).expect("sent");
    let call = rm.call().expect("a call");
    rm.obey(&call).expect("sent");
    assert_eq!(
        peer::ended(tm.answer(id).expect("an answer")),
        GlobalStatus::Committed
    );
    assert_eq!(server.wait(), 0);
    assert!(tm.is_closed_within(PATIENCE));
}

/// `timeout` tells a process to stop twice, itself and by its group; that ended a drain before it began.
#[test]
fn a_signal_told_twice_drains_and_a_later_one_does_not_wait() {
    let dir = TestDir::new();
    let mut server = journal(&dir);
    let mut tm = Peer::tm(server.address);
    let xid = tm.begin();
    server.signal_times("TERM", 2);
    assert_eq!(tm.rollback(&xid), GlobalStatus::Rollbacked);
    assert_eq!(server.wait(), 0);

    let long = [("SEAMIO_TRANSPORT_SHUTDOWN_WAIT", "1h")];
    let mut server = Coordinator::start(&["--data", &dir.path("data")], &long);
    Peer::tm(server.address).begin();
    let until = now() + PATIENCE;
    while server.is_running() {
        assert!(now() < until, "signals are not heard");
        server.signal("INT");
        pause(Duration::from_millis(300));
    }
    assert_eq!(server.wait(), 3);
}

#[test]
fn a_stop_with_undecided_transactions_says_so_and_keeps_them() {
    let dir = TestDir::new();
    let quick = [("SEAMIO_TRANSPORT_SHUTDOWN_WAIT", "100ms")];
    let mut server = Coordinator::start(&["--data", &dir.path("data")], &quick);
    let mut tm = Peer::tm(server.address);
    let xid = tm.begin();
    server.signal("INT");
    assert_eq!(server.wait(), 3);
    let mut server = journal(&dir);
    let mut tm = Peer::tm(server.address);
    assert_eq!(tm.commit(&xid), GlobalStatus::Committed);
    server.signal("TERM");
    assert_eq!(server.wait(), 0);
}

#[test]
fn wrong_configuration_names_key_and_place() {
    let dir = TestDir::new();
    let file = dir.write(
        "f.toml",
        "[server]\nmaxCommitRetryTimeout = \"5s\"\nservice-prot = 1\n",
    );
    let (code, _, errors) = run(&["serve", "--config", &file], &[]);
    assert_eq!(code, 2, "{errors}");
    assert!(
        errors.contains(&format!("{file}:3: server.service-prot: no such key")),
        "{errors}"
    );
    assert!(
        errors.contains("did you mean server.service-port?"),
        "{errors}"
    );
    let (code, _, errors) = run(&["serve"], &[("SEAMIO_WORKERS", "x")]);
    assert_eq!(code, 2);
    assert!(
        errors.contains("SEAMIO_WORKERS: server.workers: expected a whole number"),
        "{errors}"
    );
    for (store, said) in [
        ("redis", "use journal"),
        #[cfg(feature = "sql-store")]
        ("db", "store.db.url"),
        #[cfg(feature = "sql-store")]
        ("mysql://u:secret@h", "names no database"),
    ] {
        let (code, _, errors) = run(&["serve", "-m", store], &[]);
        assert_eq!(code, 2);
        assert!(
            errors.contains(said) && !errors.contains("secret"),
            "{errors}"
        );
    }
    assert_eq!(run(&["serve", "--nonsense"], &[]).0, 2);
    assert_eq!(run(&[], &[]).0, 2);
    assert_eq!(run(&["--help"], &[]).0, 0);
    let (code, listing, _) = run(&["config"], &[]);
    assert_eq!(code, 0);
    assert!(listing.contains("server.service-port = 8091"), "{listing}");
}

#[test]
fn a_taken_port_is_a_wrong_configuration() {
    let server = Coordinator::start(&["--store", "memory"], &[]);
    let port = server.address.port().to_string();
    let arguments = [
        "serve",
        "--store",
        "memory",
        "--host",
        "127.0.0.1",
        "--port",
        &port,
    ];
    let (code, _, errors) = run(&arguments, &[]);
    assert_eq!(code, 2);
    assert!(
        errors.contains(&format!("cannot listen on 127.0.0.1:{port}")),
        "{errors}"
    );
}

#[test]
fn heartbeats_are_answered_before_registration_and_nothing_else_is() {
    each_setup(|server| {
        let mut peer = Peer::connect(server.address);
        let ping = Rpc {
            serializer: 2,
            compressor: 1,
            ..Rpc::ping(-7)
        };
        peer.send(&ping).expect("sent");
        let pong = peer.receive().expect("a pong");
        assert_eq!(
            (pong.id, pong.kind, pong.serializer, pong.compressor),
            (-7, MessageKind::Pong, 2, 1)
        );
        let begin = GlobalBegin {
            timeout_ms: 1,
            transaction_name: peer::text("x"),
        };
        peer.ask(Message::GlobalBegin(begin)).expect("sent");
        assert!(peer.is_closed_within(PATIENCE));
    });
}

#[test]
fn hostile_peers_are_closed_and_disturb_nobody() {
    each_setup(|server| {
        let mut good = Peer::tm(server.address);
        let begin = GlobalBegin {
            timeout_ms: 60_000,
            transaction_name: peer::text("x"),
        };
        let whole = encoded(&Rpc::request(9, Message::GlobalBegin(begin)));
        let mut huge = whole.to_vec();
        huge[3..7].copy_from_slice(&i32::MAX.to_be_bytes());
        let mut negative = whole.to_vec();
        negative[3..7].copy_from_slice(&(-1i32).to_be_bytes());
        let mut unknown_type = whole.to_vec();
        unknown_type[16..18].copy_from_slice(&999u16.to_be_bytes());
        let mut unknown_serializer = whole.to_vec();
        unknown_serializer[10] = 77;
        let http = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
        let garbage = vec![0x5a; 70_000];
        for bytes in [
            huge,
            negative,
            unknown_type,
            unknown_serializer,
            http,
            garbage,
        ] {
            let mut bad = Peer::tm(server.address);
            // The other end may close before it has read all of it.
            let _ = bad.stream.write_all(&bytes);
            assert!(bad.is_closed_within(PATIENCE), "{:?}…", &bytes[..16]);
            good.prove_alive();
        }

        let mut half = Peer::tm(server.address);
        half.stream.write_all(&whole).expect("sent");
        half.stream.shutdown(Shutdown::Write).expect("half closed");
        assert!(matches!(
            half.answer(9).expect("still answered"),
            Message::GlobalBeginResponse(_)
        ));
        assert!(half.is_closed_within(PATIENCE));

        let mut bytewise = Peer::tm(server.address);
        for byte in whole.iter() {
            bytewise.stream.write_all(&[*byte]).expect("sent");
        }
        assert!(matches!(
            bytewise.answer(9).expect("answered"),
            Message::GlobalBeginResponse(_)
        ));
        good.prove_alive();
    });
}

#[test]
fn silence_and_endless_beginnings_are_closed() {
    let quick = [("SEAMIO_TRANSPORT_IDLE_TIMEOUT", "2s")];
    let server = Coordinator::start(&["--store", "memory"], &quick);
    let mut silent = Peer::connect(server.address);
    let mut registered = Peer::tm(server.address);
    let mut slow = Peer::connect(server.address);
    let mut good = Peer::tm(server.address);
    let frame = encoded(&Rpc::ping(1));
    let mut closed = false;
    for byte in &frame[..frame.len() - 1] {
        good.prove_alive();
        closed = slow.stream.write_all(&[*byte]).is_err()
            || slow.is_closed_within(Duration::from_millis(400));
        if closed {
            break;
        }
    }
    assert!(closed, "a frame that never ends");
    assert!(silent.is_closed_within(PATIENCE));
    assert!(registered.is_closed_within(PATIENCE));
    good.prove_alive();
}

#[test]
fn one_address_gets_no_more_than_its_connections() {
    let few = [("SEAMIO_TRANSPORT_CONNECTIONS_PER_IP_MAX", "50")];
    let server = Coordinator::start(&["--store", "memory"], &few);
    let mut good = Peer::tm(server.address);
    let mut flood: Vec<_> = (0..200).map(|_| Peer::connect(server.address)).collect();
    let mut served = 0;
    for peer in &mut flood {
        served += usize::from(peer.register_tm().is_ok());
    }
    assert_eq!(served, 49);
    good.prove_alive();
    drop(flood);
    let until = now() + PATIENCE;
    while !Peer::try_connect(server.address).is_ok_and(|mut peer| peer.register_tm().is_ok()) {
        assert!(now() < until, "the places are never free again");
        pause(Duration::from_millis(10));
    }
    good.prove_alive();
}

#[test]
fn running_out_of_descriptors_disturbs_nobody() {
    let mut server = Coordinator::start_after("ulimit -n 40", &["--store", "memory"]);
    server.wait_for_log("the system allows 40 open files");
    let mut good = Peer::tm(server.address);
    let flood: Vec<_> = (0..100)
        .filter_map(|_| Peer::try_connect(server.address).ok())
        .collect();
    for _ in 0..20 {
        good.prove_alive();
    }
    drop(flood);
    let until = now() + PATIENCE;
    while !Peer::try_connect(server.address).is_ok_and(|mut peer| peer.register_tm().is_ok()) {
        assert!(now() < until, "nobody is accepted any more");
        pause(Duration::from_millis(10));
    }
    good.prove_alive();
    assert!(server.is_running());
}

/// A short run that has measured at least one transaction: a busy machine needs longer for that. Its report.
fn load(target: &str, scenario: &str) -> serde_json::Value {
    let what = ["bench", "--target", target, "--scenario", scenario];
    let how = ["--clients", "8", "--warmup", "0.1", "--quiet", "--json"];
    for seconds in ["0.4", "5", "30"] {
        let time = ["--duration", seconds, "--connect-within", "60"];
        let (code, output, errors) = run(&[&what[..], &how[..], &time[..]].concat(), &[]);
        let report: serde_json::Value =
            serde_json::from_str(&output).unwrap_or_else(|e| panic!("{e}: {output}{errors}"));
        if report["transactions"] != 0 {
            assert_eq!(code, 0, "{scenario}: {output}{errors}");
            assert_eq!(report["passed"], true, "{report}");
            return report;
        }
    }
    panic!("{scenario}: no transaction in half a minute");
}

#[test]
fn the_load_generator_passes_its_own_check_in_every_scenario() {
    each_setup(|server| {
        let target = server.address.to_string();
        for scenario in ["empty", "at1", "tcc1", "rollback2", "hot"] {
            let report = load(&target, scenario);
            assert!(
                report["total"]["p99_ms"]
                    .as_f64()
                    .is_some_and(|ms| ms > 0.0),
                "{report}"
            );
            assert_eq!(report["lost_connections"], 0, "{report}");
        }
    });
    let nobody = [
        "bench",
        "--target",
        "127.0.0.1:1",
        "--quiet",
        "--connect-within",
        "0.2",
    ];
    assert_eq!(run(&nobody, &[]).0, 1, "nobody listens there");
    assert_eq!(run(&["bench", "--rate", "0"], &[]).0, 2);
}

#[test]
fn a_journal_is_verified_and_damage_is_shown_with_its_place() {
    let dir = TestDir::new();
    let mut server = journal(&dir);
    let mut tm = Peer::tm(server.address);
    let xids: Vec<_> = (0..20).map(|_| tm.begin()).collect();
    let data = dir.path("data");
    let (code, output, errors) = run(&["journal", "verify", &data], &[]);
    assert_eq!(code, 0, "while it is in use: {errors}");
    assert!(output.contains("20 transactions"), "{output}");
    server.kill();
    let (code, output, _) = run(&["journal", "inspect", &data], &[]);
    assert_eq!(code, 0);
    assert!(output.contains(xids[7].as_str()), "{output}");

    let segment = std::fs::read_dir(&data)
        .expect("directory")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            let bytes = std::fs::read(path).expect("file");
            bytes
                .windows(xids[7].len())
                .any(|window| window == xids[7].as_bytes())
        })
        .expect("the segment with the transactions");
    let mut bytes = std::fs::read(&segment).expect("segment");
    let at = bytes
        .windows(xids[7].len())
        .position(|window| window == xids[7].as_bytes());
    bytes[at.expect("found above")] ^= 1;
    std::fs::write(&segment, bytes).expect("written");
    let (code, _, errors) = run(&["journal", "verify", &data], &[]);
    assert_eq!(code, 1, "{errors}");
    assert!(errors.contains("is damaged at offset"), "{errors}");
    let (code, _, errors) = run(
        &[
            "serve",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--data",
            &data,
        ],
        &[],
    );
    assert_eq!(code, 4, "{errors}");
    assert!(errors.contains("is damaged at offset"), "{errors}");
}

/// Ticks are spread over their period, the patience for a first frame is not.
#[test]
fn every_connection_gets_the_same_time_for_its_first_frame() {
    let patient = [("SEAMIO_TRANSPORT_IDLE_TIMEOUT", "8s")];
    let server = Coordinator::start(&["--store", "memory"], &patient);
    let began = now();
    let mut silent: Vec<_> = (0..100).map(|_| Peer::connect(server.address)).collect();
    pause(Duration::from_secs(4));
    let mut early = 0;
    for peer in &mut silent {
        early += usize::from(peer.is_closed_within(Duration::from_millis(1)));
    }
    // A machine that takes so long for this tells nothing.
    let told = now() < began + Duration::from_secs(8);
    assert!(early == 0 || !told, "{early} closed before their time");
    assert!(
        silent
            .iter_mut()
            .all(|peer| peer.is_closed_within(PATIENCE))
    );
}
