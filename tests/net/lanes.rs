//! Lanes: batches, order, bounds, deadlines, events.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use bytes::Bytes;

use crate::fixture::*;
use seamio::net::*;

fn workers(threads: usize, lanes: usize, lane_depth: usize) -> Config {
    let workers = Workers {
        threads,
        lanes,
        lane_depth,
        ..Workers::default()
    };
    Config {
        workers,
        ..Config::default()
    }
}

#[test]
fn what_waited_arrives_as_one_batch_and_replies_leave_together() {
    let (mut app, notes) = App::new();
    app.route = Box::new(|_, _| Route::Keyed(0));
    let gate = Arc::new(Barrier::new(2));
    let lane_gate = Arc::clone(&gate);
    app.on_batch = Arc::new(move |batch, out, notes| {
        notes.say(format!("batch of {}", batch.len()));
        let first = matches!(batch.front(), Some(LaneInput::Message(_, m)) if &m[..] == b"wait");
        if first {
            lane_gate.wait();
        }
        for input in batch.drain(..) {
            if let LaneInput::Message(from, message) = input {
                out.send(from, &message).expect("encodes");
            }
        }
    });
    let server = Server::start(workers(1, 1, 8192), (app, notes));
    let mut clients: Vec<_> = (0..10).map(|_| server.client()).collect();
    clients[0].send(b"wait");
    server.expect(|n| *n == Note::Text("batch of 1".into()));
    for client in &mut clients {
        for i in 0..50u8 {
            client.send(&[i; 20]);
        }
    }
    server.wait_for("all frames", |m| m.frames_in == 501);
    let before = server.handle.metrics();
    gate.wait();
    // Several turns, ten sessions: one batch.
    server.expect(|n| *n == Note::Text("batch of 500".into()));
    assert_eq!(clients[0].receive(), b"wait");
    for client in &mut clients {
        for i in 0..50u8 {
            assert_eq!(client.receive(), [i; 20]);
        }
    }
    let after = server.handle.metrics();
    assert!(
        after.writes - before.writes <= 11,
        "each session is written once"
    );
    assert!(
        after.wakes - before.wakes <= 2,
        "one wake for a batch of replies"
    );
}

#[test]
fn a_full_lane_pauses_its_sessions_and_loses_nothing() {
    for (threads, depth) in [(1, 4), (1, 64), (2, 16)] {
        let (mut app, notes) = App::new();
        app.route = Box::new(|s, _| Route::Keyed(s.id().as_u64()));
        let most = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&most);
        let (gate, met) = crossbeam_channel::bounded::<()>(0);
        app.on_batch = Arc::new(move |batch, out, _| {
            seen.fetch_max(batch.len(), Ordering::SeqCst);
            // Until the depth was met, whoever is faster.
            let _ = met.recv();
            pause(1);
            for input in batch.drain(..) {
                if let LaneInput::Message(from, message) = input {
                    out.send(from, &message).expect("encodes");
                }
            }
        });
        let server = Server::start(workers(threads, 2, depth), (app, notes));
        let clients: Vec<_> = (0..8u32)
            .map(|c| {
                let mut client = server.client();
                std::thread::spawn(move || {
                    let mut reader = Client {
                        stream: client.stream.try_clone().expect("clone"),
                    };
                    let feeding = std::thread::spawn(move || {
                        (0..300u32).for_each(|i| client.send(&(c * 1000 + i).to_be_bytes()));
                        client
                    });
                    for i in 0..300u32 {
                        assert_eq!(reader.receive(), (c * 1000 + i).to_be_bytes(), "in order");
                    }
                    feeding.join().expect("fed");
                })
            })
            .collect();
        server.wait_for(&format!("{depth} met"), |m| m.lane_pauses > 0);
        drop(gate);
        clients
            .into_iter()
            .for_each(|c| c.join().expect("all answers"));
        server.wait_for("quiet", |m| m.lane_depth == 0);
        assert!(most.load(Ordering::SeqCst) <= depth, "and never exceeded");
    }
}

#[test]
fn parked_replies_count_against_the_depth() {
    let (mut app, notes) = App::new();
    app.route = Box::new(|_, _| Route::Keyed(0));
    let parked: Arc<Mutex<Vec<(SessionId, Bytes)>>> = Arc::default();
    let (park, count) = (Arc::clone(&parked), Arc::clone(&parked));
    app.held = Arc::new(move || count.lock().expect("lock").len());
    app.on_batch = Arc::new(move |batch, out, _| {
        for input in batch.drain(..) {
            let mut parked = park.lock().expect("lock");
            match input {
                LaneInput::Message(from, message) => parked.push((from, message)),
                LaneInput::Event(_) => {
                    for (from, message) in parked.drain(..) {
                        out.send(from, &message).expect("encodes");
                    }
                }
            }
        }
    });
    for threads in [0, 1] {
        let app = App {
            route: Box::new(|_, _| Route::Keyed(0)),
            on_batch: Arc::clone(&app.on_batch),
            held: Arc::clone(&app.held),
            ..App::new().0
        };
        let server = Server::start(workers(threads, 1, 10), (app, notes.clone()));
        let mut client = server.client();
        for i in 0..100u8 {
            client.send(&[i; 3]);
        }
        server.wait_for("a pause", |m| m.lane_pauses > 0);
        wait_until("a full lane", || parked.lock().expect("lock").len() >= 10);
        pause(50);
        assert_eq!(
            parked.lock().expect("lock").len(),
            10,
            "no more than the depth is taken"
        );
        let lanes = server.handle.lanes();
        let (answered, waiting) = crossbeam_channel::bounded::<()>(0);
        let release = std::thread::spawn(move || {
            while waiting.try_recv() == Err(crossbeam_channel::TryRecvError::Empty) {
                lanes
                    .complete(LaneId(0), "durable".into())
                    .expect("never refused");
                pause(10);
            }
        });
        for i in 0..100u8 {
            assert_eq!(client.receive(), [i; 3]);
        }
        drop(answered);
        release.join().expect("released");
    }
}

#[test]
fn opened_comes_before_the_first_message_and_closed_after_the_last() {
    for threads in [0, 2] {
        let (mut app, notes) = App::new();
        app.route = Box::new(|_, _| Route::Keyed(0));
        app.on_open = Box::new(|cx, session, _| {
            let opened = format!("opened {}", session.id());
            cx.post(LaneId(0), opened)
                .map_err(|_| Refused("full".into()))
        });
        app.on_close = Box::new(|cx, session| {
            cx.post(LaneId(0), format!("closed {}", session.id()))
                .expect("a reserved place");
        });
        app.on_batch = Arc::new(|batch, out, notes| {
            for input in batch.drain(..) {
                match input {
                    LaneInput::Message(from, message) => {
                        notes.say(format!("message {from}"));
                        out.send(from, &message).expect("encodes");
                    }
                    LaneInput::Event(event) => notes.say(event),
                }
            }
        });
        // One place for a session that opens, and one that the last session's end may still take: a batch gives its
        // places back when it is over, which is after the test has heard of what it did.
        let mut config = workers(threads, 1, 100);
        config.limits.lane_events = 2;
        let server = Server::start(config, (app, notes));
        for _ in 0..20 {
            let mut client = server.client();
            client.send(b"x");
            client.receive();
            drop(client);
            let close = server.expect(|n| matches!(n, Note::Text(t) if t.starts_with("opened")));
            let Note::Text(opened) = close else {
                unreachable!()
            };
            let id = opened.trim_start_matches("opened ").to_owned();
            let next = server.expect(|n| matches!(n, Note::Text(_)));
            assert_eq!(next, Note::Text(format!("message {id}")));
            let next = server.expect(|n| matches!(n, Note::Text(_)));
            assert_eq!(next, Note::Text(format!("closed {id}")));
        }
    }
}

#[test]
fn posts_never_block_and_come_back_when_there_is_no_room() {
    let (mut app, notes) = App::new();
    let gate = Arc::new(Barrier::new(2));
    let lane_gate = Arc::clone(&gate);
    let first = AtomicUsize::new(0);
    app.on_batch = Arc::new(move |batch, _, notes| {
        if first.fetch_add(1, Ordering::SeqCst) == 0 {
            lane_gate.wait();
        }
        batch.drain(..).for_each(|i| {
            if let LaneInput::Event(e) = i {
                notes.say(e);
            }
        });
    });
    let mut config = workers(1, 1, 100);
    config.limits.lane_events = 5;
    let server = Server::start(config, (app, notes));
    let lanes = server.handle.lanes();
    assert_eq!(
        lanes.post(LaneId(1), "no such lane".into()),
        Err("no such lane".into())
    );
    let taken = (0..10)
        .filter(|i| lanes.post(LaneId(0), i.to_string()).is_ok())
        .count();
    assert_eq!(taken, 5);
    lanes
        .complete(LaneId(0), "completion".into())
        .expect("never refused");
    gate.wait();
    for i in 0..5 {
        assert_eq!(server.expect(|_| true), Note::Text(i.to_string()));
    }
    assert_eq!(server.expect(|_| true), Note::Text("completion".into()));
    wait_until("room", || lanes.post(LaneId(0), "again".into()).is_ok());
}

#[test]
fn a_lane_is_called_when_its_deadline_has_passed() {
    for threads in [0, 1] {
        let (app, notes) = App::new();
        let deadline = Arc::clone(&app.deadline);
        let at = now() + Duration::from_millis(80);
        *deadline.lock().expect("lock") = Some(at);
        let server = Server::start(workers(threads, 1, 100), (app, notes));
        server.expect(|n| *n == Note::Text("deadline".into()));
        assert!(now() >= at, "never early");
    }
}

#[test]
fn replies_to_a_session_that_is_gone_are_dropped() {
    let (mut app, notes) = App::new();
    app.route = Box::new(|_, _| Route::Keyed(0));
    let (closed, gone) = crossbeam_channel::bounded::<()>(0);
    app.on_batch = Arc::new(move |batch, out, _| {
        let _ = gone.recv();
        for input in batch.drain(..) {
            if let LaneInput::Message(from, message) = input {
                out.send(from, &message).expect("encodes");
                out.close(from);
            }
        }
    });
    let server = Server::start(workers(1, 1, 100), (app, notes));
    let mut client = server.client();
    client.send(b"and gone");
    drop(client);
    server.closed();
    drop(closed);
    server.wait_for("stale replies", |m| m.stale >= 2);
}

#[test]
fn a_lane_closes_a_session_after_its_last_answer() {
    let (mut app, notes) = App::new();
    app.route = Box::new(|_, _| Route::Keyed(0));
    app.on_batch = Arc::new(|batch, out, _| {
        for input in batch.drain(..) {
            if let LaneInput::Message(from, _) = input {
                // Large enough to be linked beside the buffer.
                out.send(from, &Bytes::from(vec![5; 10_000]))
                    .expect("encodes");
                out.send(from, &Bytes::from_static(b"!encode"))
                    .expect_err("refused by the codec");
                out.send(from, &Bytes::from_static(b"bye"))
                    .expect("encodes");
                out.close(from);
            }
        }
    });
    let server = Server::start(workers(1, 1, 100), (app, notes));
    let mut client = server.client();
    client.send(b"go");
    assert_eq!(client.receive(), [5; 10_000]);
    assert_eq!(client.receive(), b"bye");
    assert_eq!(client.rest().expect("clean end"), b"");
    drop(client);
    assert_eq!(server.closed(), CloseReason::Local);
}

#[test]
fn the_elastic_pool_grows_to_its_cap_and_pauses_beyond_its_queue() {
    let (mut app, notes) = App::new();
    app.route = Box::new(|_, _| Route::Blocking);
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (r, m) = (Arc::clone(&running), Arc::clone(&most));
    let (gate, grown) = crossbeam_channel::bounded::<()>(0);
    app.on_blocking = Box::new(move |session, message| {
        m.fetch_max(r.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // Until it has grown and paused, however long that takes.
        let _ = grown.recv();
        pause(5);
        r.fetch_sub(1, Ordering::SeqCst);
        let _ = session.send(message).expect("sent");
    });
    let config = Config {
        workers: Workers {
            blocking: 4,
            ..Workers::default()
        },
        limits: Limits {
            blocking_queue: 4,
            ..Limits::default()
        },
        ..Config::default()
    };
    let server = Server::start(config, (app, notes));
    let mut client = server.client();
    for i in 0..100u8 {
        client.send(&[i]);
    }
    server.wait_for("a pause", |m| m.lane_pauses > 0);
    wait_until("four at work", || running.load(Ordering::SeqCst) >= 4);
    drop(gate);
    let mut got: Vec<u8> = (0..100).map(|_| client.receive()[0]).collect();
    got.sort_unstable();
    assert_eq!(got, (0..100).collect::<Vec<u8>>());
    assert_eq!(most.load(Ordering::SeqCst), 4);
}

/// Two threads, three lanes, twenty sessions: each session hears its echoes in the order of its requests.
#[test]
fn lanes_on_threads_keep_the_order_of_each_session() {
    let (mut app, notes) = App::new();
    app.route = Box::new(|s, _| Route::Keyed(s.id().as_u64()));
    let server = Server::start(workers(2, 3, 16), (app, notes));
    let talking: Vec<_> = (0..20)
        .map(|_| {
            let mut client = server.client();
            std::thread::spawn(move || {
                for burst in 0..20u32 {
                    let numbers = burst * 30..(burst + 1) * 30;
                    for number in numbers.clone() {
                        client.send(&number.to_be_bytes());
                    }
                    for number in numbers {
                        assert_eq!(client.receive(), number.to_be_bytes());
                    }
                }
            })
        })
        .collect();
    talking
        .into_iter()
        .for_each(|t| t.join().expect("in order"));
    assert_eq!(server.settled().lane_messages, 12_000);
}
