//! Timers, ticks, idle sessions.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use crate::fixture::*;
use seamio::net::*;

const MS: Duration = Duration::from_millis(1);

#[test]
fn timers_fire_in_order_never_early_and_can_be_taken_back() {
    let server = Server::start(Config::default(), App::new());
    let (sender, fired) = crossbeam_channel::unbounded();
    let began = now();
    for delay in [50u64, 10, 30] {
        let sender = sender.clone();
        let after = Duration::from_millis(delay);
        let _timer = server.handle.after(after, move || {
            sender
                .send((delay, began.elapsed() >= after))
                .expect("receiver");
        });
    }
    let cancelled = server.handle.after(20 * MS, || panic!("taken back"));
    cancelled.cancel();
    let fired: Vec<_> = (0..3)
        .map(|_| fired.recv_timeout(5000 * MS).expect("fires"))
        .collect();
    assert_eq!(fired, [(10, true), (30, true), (50, true)]);
    assert_eq!(server.handle.metrics().panics, 0);
}

#[test]
fn a_period_repeats_without_drift_until_taken_back() {
    let server = Server::start(Config::default(), App::new());
    let (sender, fired) = crossbeam_channel::unbounded();
    let began = now();
    let timer = server
        .handle
        .every(10 * MS, move || _ = sender.send(began.elapsed()));
    for i in 1..=20 {
        let at = fired.recv_timeout(5000 * MS).expect("fires");
        assert!(at >= 10 * MS * i, "tick {i} at {at:?}");
    }
    timer.cancel();
    pause(50);
    while fired.try_recv().is_ok() {}
    pause(50);
    assert!(fired.is_empty());
}

#[test]
fn ticks_of_many_sessions_are_spread_over_the_period() {
    let (mut app, notes) = App::new();
    app.on_open = Box::new(|_, _, config| {
        config.tick = 400 * MS;
        Ok(())
    });
    let server = Server::start(Config::default(), (app, notes));
    let clients: Vec<_> = (0..40).map(|_| server.client()).collect();
    server.wait_for("sessions", |m| m.sessions == 40);
    let began = now();
    let mut moments = BTreeSet::new();
    let mut ticked = BTreeSet::new();
    while ticked.len() < 40 {
        if let Note::Tick(id) = server.expect(|n| matches!(n, Note::Tick(_))) {
            ticked.insert(id);
            moments.insert(began.elapsed().as_millis() / 20);
        }
    }
    assert!(
        moments.len() >= 10,
        "first ticks fall into {} of 20 parts",
        moments.len()
    );
    assert!(began.elapsed() < 2000 * MS);
    drop(clients);
}

#[test]
fn a_silent_peer_is_closed_and_a_talking_one_is_not() {
    let session = SessionConfig {
        idle_timeout: Some(150 * MS),
        ..SessionConfig::default()
    };
    let server = Server::start(
        Config {
            session,
            ..Config::default()
        },
        App::new(),
    );
    let mut talking = server.client();
    let mut silent = server.client();
    let began = now();
    let silent_end = std::thread::spawn(move || {
        let rest = silent.rest();
        (rest, began.elapsed())
    });
    for _ in 0..20 {
        assert_eq!(talking.ask(b"still here"), b"still here");
        pause(25);
    }
    let (rest, after) = silent_end.join().expect("no panic");
    assert_eq!(rest.expect("a clean end"), b"");
    assert!(after >= 150 * MS && after < 2000 * MS, "{after:?}");
    assert_eq!(server.closed(), CloseReason::Idle);
    assert_eq!(talking.ask(b"still here"), b"still here");
    let before = server.handle.metrics();
    assert!(
        before.timer_inserts < 40,
        "traffic sets no timers: {}",
        before.timer_inserts
    );
}

#[test]
fn silence_that_we_caused_does_not_count() {
    let (mut app, notes) = App::new();
    app.route = Box::new(|_, _| Route::Keyed(0));
    let gate = Arc::new(Barrier::new(2));
    let lane_gate = Arc::clone(&gate);
    let batches = AtomicUsize::new(0);
    app.on_batch = Arc::new(move |batch, out, _| {
        if batches.fetch_add(1, Ordering::SeqCst) == 0 {
            lane_gate.wait();
        }
        for input in batch.drain(..) {
            if let LaneInput::Message(from, message) = input {
                out.send(from, &message).expect("encodes");
            }
        }
    });
    let config = Config {
        session: SessionConfig {
            idle_timeout: Some(100 * MS),
            ..SessionConfig::default()
        },
        workers: Workers {
            threads: 1,
            lanes: 1,
            lane_depth: 1,
            ..Workers::default()
        },
        ..Config::default()
    };
    let server = Server::start(config, (app, notes));
    let mut client = server.client();
    for _ in 0..3 {
        client.stream.write_all(&frame(b"work")).expect("write");
    }
    server.wait_for("the pause", |m| m.lane_pauses > 0);
    pause(400);
    assert_eq!(
        server.handle.metrics().closed,
        0,
        "paused sessions do not expire"
    );
    gate.wait();
    for _ in 0..3 {
        assert_eq!(client.receive(), b"work");
    }
    assert_eq!(
        server.closed(),
        CloseReason::Idle,
        "later silence is its own"
    );
}

#[test]
fn the_longest_durations_mean_never() {
    let session = SessionConfig {
        idle_timeout: Some(Duration::MAX),
        write_stall: Duration::MAX,
        drain_timeout: Duration::MAX,
        tick: Duration::MAX,
        recv_buffer: Some(8 << 10),
        send_buffer: Some(8 << 10),
        ..SessionConfig::default()
    };
    let config = Config {
        session,
        ..Config::default()
    };
    let server = Server::start(config, App::new());
    let _once = server.handle.after(Duration::MAX, || {});
    let _again = server.handle.every(Duration::MAX, || {});
    let mut client = server.client();
    client.send(&vec![1; 8 << 20]);
    pause(50);
    assert_eq!(client.receive().len(), 8 << 20);
    let options = ConnectOptions {
        timeout: Duration::MAX,
        backoff: Backoff {
            growth: Growth::Linear,
            base: Duration::MAX,
            cap: Duration::MAX,
            ..Backoff::default()
        },
        ..ConnectOptions::default()
    };
    let nobody = "tcp://127.0.0.1:1".parse().expect("endpoint");
    let _link = server.handle.connect(nobody, options);
    server.expect(|n| matches!(n, Note::ConnectError(Some(_))));
    drop(client);
    server.handle.drain(Duration::MAX);
    server.join().expect("drained");
}
