//! The orderly end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use bytes::Bytes;

use crate::fixture::*;
use seamio::net::*;

const LONG: Duration = PATIENCE;

#[test]
fn drain_answers_what_was_read_then_closes_in_order() {
    for threads in [0, 1] {
        let (mut app, notes) = App::new();
        app.route = Box::new(|_, _| Route::Keyed(0));
        // Replies are parked until an event releases them, as behind a slow disk.
        let parked: Arc<Mutex<Vec<(SessionId, Bytes)>>> = Arc::default();
        let (park, count) = (Arc::clone(&parked), Arc::clone(&parked));
        app.held = Arc::new(move || count.lock().expect("lock").len());
        app.on_batch = Arc::new(move |batch, out, notes| {
            for input in batch.drain(..) {
                let mut parked = park.lock().expect("lock");
                match input {
                    LaneInput::Message(from, message) => parked.push((from, message)),
                    LaneInput::Event(event) => {
                        notes.say(event);
                        for (from, message) in parked.drain(..) {
                            out.send(from, &message).expect("encodes");
                        }
                    }
                }
            }
        });
        let config = Config {
            workers: Workers {
                threads,
                lanes: 1,
                ..Workers::default()
            },
            ..Config::default()
        };
        let server = Server::start(config, (app, notes));
        let mut client = server.client();
        client.send(b"asked before");
        server.wait_for("the question", |m| m.frames_in == 1);
        let address = server.address;
        let lanes = server.handle.lanes();
        server.handle.drain(LONG);
        assert_eq!(server.expect(|n| !matches!(n, Note::Open(_))), Note::Drain);
        client.send(b"asked after");
        pause(100);
        assert!(
            server.notes.is_empty(),
            "waits for what is parked, closes nothing yet"
        );
        assert!(server.handle.is_alive());
        lanes.complete(LaneId(0), "durable".into()).expect("taken");
        assert_eq!(client.receive(), b"asked before");
        assert_eq!(
            client.rest().expect("no reset"),
            b"",
            "asked after is not answered"
        );
        drop(client);
        assert_eq!(server.expect(|_| true), Note::Text("durable".into()));
        assert_eq!(server.closed(), CloseReason::Shutdown);
        server.join().expect("drained");
        assert!(
            std::net::TcpStream::connect(address).is_err(),
            "the listener is closed"
        );
        assert!(lanes.post(LaneId(0), "late".into()).is_err() || threads == 0);
    }
}

#[test]
fn an_idle_reactor_drains_at_once_and_says_so() {
    let (app, _notes) = App::new();
    let config = Config {
        workers: Workers {
            threads: 2,
            lanes: 3,
            ..Workers::default()
        },
        ..Config::default()
    };
    let mut reactor = Reactor::new(config, app).expect("reactor");
    reactor
        .listen(any_port(), ListenOptions::default())
        .expect("listen");
    reactor.drain(LONG);
    let began = now();
    reactor.run().expect("drained");
    assert!(began.elapsed() < LONG / 2);
    assert_eq!(reactor.poll_once(None).expect("over"), Turn::Drained);
}

#[test]
fn the_deadline_cuts_off_what_is_stuck() {
    let (mut app, notes) = App::new();
    app.route = Box::new(|_, _| Route::Keyed(0));
    let gate = Arc::new(Barrier::new(2));
    let lane_gate = Arc::clone(&gate);
    app.on_batch = Arc::new(move |batch, _, _| {
        if !batch.is_empty() {
            lane_gate.wait();
        }
        batch.clear();
    });
    let config = Config {
        workers: Workers {
            threads: 1,
            lanes: 1,
            ..Workers::default()
        },
        ..Config::default()
    };
    let server = Server::start(config, (app, notes));
    let mut client = server.client();
    client.send(b"never answered");
    server.wait_for("the question", |m| m.frames_in == 1);
    let began = now();
    server.handle.drain(Duration::from_millis(150));
    assert_eq!(server.closed(), CloseReason::Shutdown);
    assert!(began.elapsed() >= Duration::from_millis(150));
    gate.wait();
    server.join().expect("over");
}

#[test]
fn a_second_drain_is_the_deadline() {
    let mut config = Config::default();
    config.session.drain_timeout = LONG;
    let server = Server::start(config, App::new());
    let mut client = server.client();
    client.ask(b"hello");
    // The peer does not finish, so a graceful end would take the whole drain timeout.
    let began = now();
    server.handle.drain(LONG);
    server.handle.drain(LONG);
    assert_eq!(server.closed(), CloseReason::Shutdown);
    server.join().expect("over");
    assert!(began.elapsed() < LONG);
}

#[test]
fn drain_from_a_callback_does_not_deadlock() {
    let (mut app, notes) = App::new();
    app.on_message = Box::new(|cx, _, message| {
        let _ = cx.send(&message);
        cx.handle().drain(LONG);
    });
    let server = Server::start(Config::default(), (app, notes));
    let mut client = server.client();
    assert_eq!(client.ask(b"shut down"), b"shut down");
    assert_eq!(client.rest().expect("clean end"), b"");
    drop(client);
    server.join().expect("drained");
}

#[test]
fn calls_under_way_are_waited_for() {
    let (mut app, notes) = App::new();
    let kept: Arc<Mutex<Option<Session<App>>>> = Arc::default();
    let keep = Arc::clone(&kept);
    app.on_open = Box::new(move |_, session, _| {
        *keep.lock().expect("lock") = Some(session.clone());
        Ok(())
    });
    app.route = Box::new(|_, _| Route::Reply(1));
    let server = Server::start(Config::default(), (app, notes));
    let mut client = server.client();
    server.expect(|n| matches!(n, Note::Open(_)));
    let session = kept.lock().expect("lock").take().expect("opened");
    let call = session.call(1, Bytes::from_static(b"?"), LONG);
    assert_eq!(client.receive(), b"?");
    server.handle.drain(LONG);
    pause(50);
    client.send(b"!");
    assert_eq!(&call.wait().expect("answered during the drain")[..], b"!");
    assert_eq!(client.rest().expect("clean end"), b"");
}

#[test]
fn dropping_a_reactor_closes_every_session_once() {
    let (mut app, notes) = App::new();
    let closes = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&closes);
    app.on_close = Box::new(move |_, _| _ = count.fetch_add(1, Ordering::SeqCst));
    let mut reactor = Reactor::new(Config::default(), app).expect("reactor");
    let id = reactor
        .listen(any_port(), ListenOptions::default())
        .expect("listen");
    let address = reactor.local_addr(id).expect("address");
    let clients: Vec<_> = (0..5).map(|_| Client::connect(address)).collect();
    while reactor.metrics().sessions < 5 {
        reactor
            .poll_once(Some(Duration::from_millis(10)))
            .expect("turn");
    }
    let handle = reactor.handle();
    drop(reactor);
    assert_eq!(closes.load(Ordering::SeqCst), 5);
    assert!(
        notes
            .try_iter()
            .filter(|n| matches!(n, Note::Close(..)))
            .count()
            == 5
    );
    assert!(!handle.is_alive());
    let listening = handle.listen(any_port(), ListenOptions::default());
    assert!(matches!(listening.wait(), Err(Error::ReactorGone)));
    drop(clients);
}
