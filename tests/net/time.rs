//! Timers, ticks, idle sessions.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use crate::fixture::*;
use crate::sessions::{Bench, Kept, of_sessions};
use seamio::net::*;

const MS: Duration = Duration::from_millis(1);

#[test]
fn timers_fire_in_order_never_early_and_can_be_taken_back() {
    let server = Server::start(Config::default(), App::new());
    let (sender, fired) = crossbeam_channel::unbounded();
    let began = now();
    let handle = server.handle.clone();
    // Asked for in one turn, so that the order is that of the delays however busy the machine is.
    let _first = server.handle.after(Duration::ZERO, move || {
        for delay in [500u64, 100, 300] {
            let sender = sender.clone();
            let after = Duration::from_millis(delay);
            let _timer = handle.after(after, move || {
                sender
                    .send((delay, began.elapsed() >= after))
                    .expect("receiver");
            });
        }
        handle.after(200 * MS, || panic!("taken back")).cancel();
    });
    let fired: Vec<_> = (0..3)
        .map(|_| fired.recv_timeout(PATIENCE).expect("fires"))
        .collect();
    assert_eq!(fired, [(100, true), (300, true), (500, true)]);
    assert_eq!(server.settled().panics, 0);
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
        let at = fired.recv_timeout(PATIENCE).expect("fires");
        assert!(at >= 10 * MS * i, "tick {i} at {at:?}");
    }
    timer.cancel();
    server.settled();
    while fired.try_recv().is_ok() {}
    pause(50);
    assert!(fired.is_empty());
}

#[test]
fn ticks_of_many_sessions_are_spread_over_the_period() {
    let mut bench = Bench::new(of_sessions(SessionConfig {
        tick: 400 * MS,
        ..SessionConfig::default()
    }));
    let _clients: Vec<_> = (0..40).map(|_| Client::connect(bench.address)).collect();
    bench.until("sessions", |m| m.sessions == 40);
    let mut ticked = BTreeSet::new();
    let mut moments = 0;
    for _ in 0..20 {
        bench.pass(20);
        let before = ticked.len();
        for note in bench.notes.try_iter() {
            if let Note::Tick(id) = note {
                ticked.insert(id);
            }
        }
        moments += usize::from(ticked.len() > before);
    }
    assert_eq!(ticked.len(), 40, "each within its first period");
    assert!(
        moments >= 10,
        "first ticks fall into {moments} of 20 parts of the period"
    );
}

#[test]
fn a_silent_peer_is_closed_and_a_talking_one_is_not() {
    let mut bench = Bench::new(of_sessions(SessionConfig {
        idle_timeout: Some(150 * MS),
        ..SessionConfig::default()
    }));
    let mut talking = Client::connect(bench.address);
    let mut silent = Client::connect(bench.address);
    bench.until("sessions", |m| m.sessions == 2);
    let mut passed = 0;
    for round in 1..=20 {
        talking.send(b"still here");
        bench.until("an answer", |m| m.frames_out == round);
        assert_eq!(talking.receive(), b"still here");
        if passed < 150 {
            assert_eq!(bench.reactor.metrics().closed, 0, "after {passed} ms");
        }
        bench.pass(25);
        passed += 25;
    }
    assert_eq!(silent.rest().expect("a clean end"), b"");
    drop(silent);
    bench.until("the end", |m| m.closed == 1);
    let closed = |n: &Note| matches!(n, Note::Close(_, CloseReason::Idle));
    expect(&bench.notes, closed);
    talking.send(b"still here");
    bench.until("an answer", |m| m.frames_out == 21);
    let inserts = bench.reactor.metrics().timer_inserts;
    assert!(inserts < 40, "traffic sets no timers: {inserts}");
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
        workers: Workers {
            threads: 1,
            lanes: 1,
            lane_depth: 1,
            ..Workers::default()
        },
        ..of_sessions(SessionConfig {
            idle_timeout: Some(100 * MS),
            ..SessionConfig::default()
        })
    };
    let mut bench = Bench::of(config, app, notes, Kept::default());
    let mut client = Client::connect(bench.address);
    bench.until("a session", |m| m.sessions == 1);
    for _ in 0..3 {
        client.stream.write_all(&frame(b"work")).expect("write");
    }
    bench.until("the pause", |m| m.lane_pauses > 0);
    bench.pass(400);
    let closed = bench.reactor.metrics().closed;
    assert_eq!(closed, 0, "paused sessions do not expire");
    gate.wait();
    bench.until("the answers", |m| m.frames_out == 3);
    for _ in 0..3 {
        assert_eq!(client.receive(), b"work");
    }
    bench.pass(200);
    assert_eq!(client.rest().expect("a clean end"), b"");
    drop(client);
    bench.until("the end", |m| m.closed == 1);
    // Later silence is its own.
    let closed = |n: &Note| matches!(n, Note::Close(_, CloseReason::Idle));
    expect(&bench.notes, closed);
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
