//! What one session, handler or callback does must not hurt the others.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use bytes::Bytes;

use crate::fixture::*;
use seamio::net::*;

#[test]
fn a_panic_closes_its_session_only() {
    let (mut app, notes) = App::new();
    app.route = Box::new(|_, m| match &m[..] {
        b"blocking" => Route::Blocking,
        b"route" => panic!("asked to"),
        _ => Route::Inline,
    });
    app.on_message = Box::new(|cx, _, message| match &message[..] {
        b"inline" => panic!("asked to"),
        b"encode" => {
            let _ = cx.send(&Bytes::from_static(b"before"));
            let _ = cx.send(&Bytes::from_static(b"!encode-panic"));
        }
        _ => _ = cx.send(&message),
    });
    app.on_blocking = Box::new(|_, _| panic!("asked to"));
    let config = Config {
        workers: Workers {
            blocking: 1,
            ..Workers::default()
        },
        ..Config::default()
    };
    let server = Server::start(config, (app, notes));
    let mut other = server.client();
    for (what, answer) in [
        ("inline", frame(b"")),
        ("panic!", vec![]),
        ("route", vec![]),
        ("blocking", vec![]),
        ("encode", frame(b"before")),
    ] {
        let mut client = server.client();
        client.send(what.as_bytes());
        let answer = if what == "encode" { answer } else { vec![] };
        assert_eq!(client.rest().expect("a clean end"), answer, "{what}");
        drop(client);
        assert_eq!(server.closed(), CloseReason::Panic, "{what}");
        assert_eq!(other.ask(b"alive"), b"alive");
    }
    assert!(server.handle.metrics().panics >= 5);
}

#[test]
fn a_panic_in_any_callback_is_contained() {
    for at in ["open", "tick", "close"] {
        let (mut app, notes) = App::new();
        let armed = Arc::new(AtomicUsize::new(1));
        let fire = move |here: &str| {
            if here == at && armed.swap(0, Ordering::SeqCst) == 1 {
                panic!("asked to");
            }
        };
        let (open, tick, close) = (fire.clone(), fire.clone(), fire);
        app.on_open = Box::new(move |_, _, config| {
            config.tick = Duration::from_millis(20);
            open("open");
            Ok(())
        });
        app.on_tick = Box::new(move |_, _| tick("tick"));
        app.on_close = Box::new(move |_, _| close("close"));
        let server = Server::start(Config::default(), (app, notes));
        let mut client = server.client();
        if at == "close" {
            client.ask(b"hi");
            drop(client);
            assert_eq!(server.closed(), CloseReason::Peer);
        } else {
            assert_eq!(client.rest().expect("a clean end"), b"");
            drop(client);
            assert_eq!(server.closed(), CloseReason::Panic);
        }
        assert_eq!(server.client().ask(b"alive"), b"alive", "{at}");
    }
}

#[test]
fn a_blocked_handler_delays_no_heartbeat() {
    let (mut app, notes) = App::new();
    app.route = Box::new(|_, m| match &m[..] {
        b"ping" => Route::Inline,
        b"slow query" => Route::Blocking,
        _ => Route::Keyed(0),
    });
    let gate = Arc::new(Barrier::new(3));
    let (lane_gate, pool_gate) = (Arc::clone(&gate), Arc::clone(&gate));
    app.on_batch = Arc::new(move |batch, out, _| {
        lane_gate.wait();
        for input in batch.drain(..) {
            if let LaneInput::Message(from, message) = input {
                out.send(from, &message).expect("encodes");
            }
        }
    });
    app.on_blocking = Box::new(move |session, message| {
        pool_gate.wait();
        let _ = session.send(message);
    });
    let config = Config {
        workers: Workers {
            threads: 1,
            lanes: 1,
            blocking: 1,
            ..Workers::default()
        },
        ..Config::default()
    };
    let server = Server::start(config, (app, notes));
    let mut blocked = server.client();
    blocked.send(b"slow query");
    blocked.send(b"work");
    // On the blocked session itself, and on others.
    assert_eq!(blocked.ask(b"ping"), b"ping");
    for _ in 0..20 {
        assert_eq!(server.client().ask(b"ping"), b"ping");
    }
    gate.wait();
    let mut answers = [blocked.receive(), blocked.receive()];
    answers.sort();
    assert_eq!(answers, [b"slow query".to_vec(), b"work".to_vec()]);
}

#[test]
fn a_lane_that_panics_ends_the_reactor_with_an_error() {
    for threads in [0, 1] {
        let (mut app, notes) = App::new();
        app.route = Box::new(|_, _| Route::Keyed(0));
        app.on_batch = Arc::new(|batch, _, _| {
            if batch.iter().any(|i| matches!(i, LaneInput::Message(..))) {
                panic!("half-changed");
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
        let lanes = server.handle.lanes();
        let handle = server.handle.clone();
        let mut client = server.client();
        client.send(b"boom");
        assert_eq!(server.closed(), CloseReason::Shutdown);
        let error = server.join().expect_err("the reactor is over");
        assert!(error.to_string().contains("half-changed"), "{error}");
        assert!(client.rest().is_err() || client.rest().expect("end").is_empty());
        assert!(lanes.post(LaneId(0), "late".into()).is_err());
        assert!(!handle.is_alive());
    }
}

/// Each callback asks for each thing; all of it happens, after the callback.
#[test]
fn callbacks_may_ask_for_anything() {
    for at in ["open", "message", "tick", "writable", "close"] {
        let (mut app, notes) = App::new();
        let target = Server::start(Config::default(), App::new());
        let address = target.address;
        let victim: Arc<Mutex<Option<Session<App>>>> = Arc::default();
        let (said, kept) = (app.notes.clone(), Arc::clone(&victim));
        let done = Arc::new(AtomicUsize::new(0));
        let act = move |here: &str, cx: &mut Cx<'_, App>, session: &Session<App>| {
            if here != at || done.fetch_add(1, Ordering::SeqCst) > 0 {
                return;
            }
            let said_here = said.clone();
            let handle = cx.handle();
            let _timer = handle.after(Duration::from_millis(1), move || said_here.say("timer"));
            handle.connect(address.into(), ConnectOptions::default());
            let listening = handle.listen(any_port(), ListenOptions::default());
            let said_here = said.clone();
            listening.then(move |l| said_here.say(format!("listening {}", l.is_ok())));
            let _ = session.send(Bytes::from_static(b"own"));
            let _ = cx.send(&Bytes::from_static(b"direct"));
            if let Some(other) = kept.lock().expect("lock").take() {
                let _ = other.send(Bytes::from_static(b"other"));
                other.close();
                assert!(other.is_open(), "takes effect after the callback");
            }
            session.close();
            said.say("acted");
        };
        let act = Arc::new(act);
        let (a, b, c, d, e) = (act.clone(), act.clone(), act.clone(), act.clone(), act);
        let keep = Arc::clone(&victim);
        let first = AtomicUsize::new(0);
        app.on_open = Box::new(move |cx, session, config| {
            if first.fetch_add(1, Ordering::SeqCst) == 0 {
                *keep.lock().expect("lock") = Some(session.clone());
                return Ok(());
            }
            config.tick = Duration::from_millis(10);
            (config.high_water, config.low_water) = (10, 5);
            a("open", cx, session);
            Ok(())
        });
        app.on_message = Box::new(move |cx, session, message| {
            let _ = cx.send(&message);
            b("message", cx, session);
        });
        app.on_tick = Box::new(move |cx, session| c("tick", cx, session));
        app.on_writable = Box::new(move |cx, session| d("writable", cx, session));
        app.on_close = Box::new(move |cx, session| e("close", cx, session));
        let server = Server::start(Config::default(), (app, notes));
        let mut other = server.client();
        server.expect(|n| matches!(n, Note::Open(_)));
        let mut client = server.client();
        client.send(b"a message that is longer than the high water mark");
        if at == "close" {
            pause(20);
            drop(client);
        }
        // Their order is free: collect until all came.
        let mut missing = vec!["acted", "timer", "listening true"];
        while !missing.is_empty() {
            if let Note::Text(text) = server.expect(|n| matches!(n, Note::Text(_))) {
                missing.retain(|m| *m != text);
            }
        }
        assert_eq!(other.receive(), b"other", "{at}");
        assert_eq!(other.rest().expect("closed gracefully"), b"", "{at}");
        let opened = |n: &Note| matches!(n, Note::Open(_));
        expect(&target.notes, opened);
    }
}

#[test]
fn nothing_of_a_message_is_sent_whose_encoding_panicked() {
    for text in ["!encode-panic", "!encode-much-panic"] {
        let server = Server::start(Config::default(), App::new());
        let mut client = server.client();
        client.send(b"whole");
        client.send(text.as_bytes());
        assert_eq!(
            client.rest().expect("a clean end"),
            frame(b"whole"),
            "{text}"
        );
        drop(client);
        assert_eq!(server.closed(), CloseReason::Panic);
        assert_eq!(server.client().ask(b"alive"), b"alive", "{text}");
        assert_eq!(server.handle.metrics().buffered, 0);
    }
}

#[test]
fn a_callback_of_a_call_that_panics_disturbs_nobody() {
    let (mut app, notes) = App::new();
    let (sender, sessions) = crossbeam_channel::unbounded();
    app.on_open = Box::new(move |_, session, _| {
        let _ = sender.send(session.clone());
        Ok(())
    });
    let server = Server::start(Config::default(), (app, notes));
    let mut client = server.client();
    let session = sessions.recv().expect("opened");
    let wait = Duration::from_secs(60);
    let first = session.call(7, Bytes::from_static(b"question"), wait);
    // This one ends after `then` was called, so that the panic is the reactor's and not ours.
    let soon = Duration::from_millis(300);
    let late = session.call(8, Bytes::from_static(b"question"), soon);
    late.then(|_| panic!("asked to"));
    server.wait_for("the panic", |m| m.panics == 1);
    assert_eq!(client.ask(b"alive"), b"question");
    assert_eq!(client.receive(), b"question");
    assert_eq!(client.receive(), b"alive");
    drop(first);
}

/// Seconds of every kind of blocking at once, while others talk and nobody may be taken for silent.
#[test]
fn a_handler_that_blocks_for_seconds_delays_nobody_else() {
    const BLOCKED: Duration = Duration::from_secs(3);
    let (mut app, notes) = App::new();
    let (release, blocking) = crossbeam_channel::bounded::<()>(0);
    let of_lane = blocking.clone();
    app.route = Box::new(|session, m| match &m[..] {
        b"ping" => Route::Inline,
        b"slow query" => Route::Blocking,
        b"slow work" => Route::Keyed(0),
        _ => Route::Keyed(1 + session.id().as_u64() % 2 * 2),
    });
    app.on_batch = Arc::new(move |batch, out, notes| {
        for input in batch.drain(..) {
            if let LaneInput::Message(from, message) = input {
                if &message[..] == b"slow work" {
                    let _ = of_lane.recv();
                    notes.say("worked");
                }
                out.send(from, &message).expect("encodes");
            }
        }
    });
    let said = app.notes.clone();
    app.on_blocking = Box::new(move |session, message| {
        let _ = blocking.recv();
        said.say("queried");
        let _ = session.send(message);
    });
    let config = Config {
        session: SessionConfig {
            idle_timeout: Some(Duration::from_secs(2)),
            ..SessionConfig::default()
        },
        workers: Workers {
            threads: 2,
            lanes: 4,
            blocking: 2,
            ..Workers::default()
        },
        ..Config::default()
    };
    let server = Server::start(config, (app, notes));
    let mut blocked = server.client();
    let mut other = server.client();
    blocked.send(b"slow query");
    blocked.send(b"slow work");
    let (mut answered, mut answers) = (0, Vec::new());
    let (began, mut release) = (now(), Some(release));
    let finished = || {
        let notes = server
            .notes
            .try_iter()
            .filter(|n| matches!(n, Note::Text(_)));
        notes.count()
    };
    let mut done = 0;
    while done < 2 {
        // The heartbeats of the very session that waits, and the work of others, which has lanes of its own.
        blocked.send(b"ping");
        loop {
            match blocked.receive() {
                pong if pong == b"ping" => break,
                answer => answers.push(answer),
            }
        }
        assert_eq!(other.ask(b"work"), b"work");
        assert_eq!(server.client().ask(b"ping"), b"ping");
        answered += 1;
        done += finished();
        assert!(done == 0 || release.is_none(), "they are blocked");
        if answered >= 10 && began.elapsed() >= BLOCKED {
            release = None;
        }
        pause(10);
    }
    while answers.len() < 2 {
        answers.push(blocked.receive());
    }
    answers.sort();
    assert_eq!(answers, [b"slow query".to_vec(), b"slow work".to_vec()]);
}

/// The callbacks that are no session's, or come from other threads: each sends, closes, sets a timer and connects.
#[test]
fn callbacks_outside_of_a_session_may_ask_for_anything_too() {
    for at in [
        "timer",
        "hook",
        "call",
        "blocking",
        "drain",
        "error",
        "connect error",
    ] {
        let target = Server::start(Config::default(), App::new());
        let (mut app, notes) = App::new();
        let said = app.notes.clone();
        let first: Arc<Mutex<Option<Session<App>>>> = Arc::default();
        let handle: Arc<Mutex<Option<Handle<App>>>> = Arc::default();
        let (kept, own, address) = (Arc::clone(&first), Arc::clone(&handle), target.address);
        let done = AtomicUsize::new(0);
        let act = Arc::new(move |here: &str| {
            if here != at || done.fetch_add(1, Ordering::SeqCst) > 0 {
                return;
            }
            let handle = own.lock().expect("lock").clone().expect("a handle");
            let said_here = said.clone();
            let _timer = handle.after(Duration::from_millis(1), move || said_here.say("timer"));
            if at != "drain" {
                handle.connect(address.into(), ConnectOptions::default());
            }
            if let Some(other) = kept.lock().expect("lock").take() {
                let _ = other.send(Bytes::from_static(b"other"));
                other.close();
            }
            said.say("acted");
        });
        let keep = Arc::clone(&first);
        app.on_open = Box::new(move |_, session, _| {
            keep.lock()
                .expect("lock")
                .get_or_insert_with(|| session.clone());
            Ok(())
        });
        app.route = Box::new(|_, m| match &m[..] {
            b"block" => Route::Blocking,
            b"reply" => Route::Reply(1),
            _ => Route::Inline,
        });
        let acts = Arc::clone(&act);
        app.on_blocking = Box::new(move |_, _| acts("blocking"));
        let acts = Arc::clone(&act);
        app.on_drain = Box::new(move |_| acts("drain"));
        let acts = Arc::clone(&act);
        app.on_error = Box::new(move |_, _| acts("error"));
        let acts = Arc::clone(&act);
        app.on_connect_error = Box::new(move || acts("connect error"));
        let config = Config {
            workers: Workers {
                blocking: 1,
                ..Workers::default()
            },
            ..Config::default()
        };
        let server = Server::start(config, (app, notes));
        *handle.lock().expect("lock") = Some(server.handle.clone());
        let mut other = server.client();
        other.ask(b"hello");
        let session = first.lock().expect("lock").clone().expect("a session");
        let mut client = server.client();
        let nobody = HeldPort::new();
        let acts = Arc::clone(&act);
        match at {
            "timer" => drop(server.handle.after(Duration::ZERO, move || acts("timer"))),
            "hook" => drop(session.on_closed(move |_| acts("hook"))),
            "call" => {
                let call = session.call(1, Bytes::from_static(b"?"), Duration::from_secs(20));
                call.then(move |_| acts("call"));
                assert_eq!(other.receive(), b"?");
                other.send(b"reply");
            }
            "blocking" => client.send(b"block"),
            "drain" => server.handle.drain(Duration::from_secs(20)),
            "error" => client.send(b"malformed"),
            _ => {
                let to = nobody.address.into();
                server.handle.connect(to, ConnectOptions::default());
            }
        }
        if at == "hook" {
            drop(other);
            server.expect(|n| *n == Note::Text("acted".into()));
        } else {
            server.expect(|n| *n == Note::Text("acted".into()));
            if at != "drain" {
                assert_eq!(other.receive(), b"other", "{at}");
            }
            assert!(other.rest().is_ok(), "{at}");
        }
        if at != "drain" {
            server.expect(|n| *n == Note::Text("timer".into()));
            expect(&target.notes, |n| matches!(n, Note::Open(_)));
        }
    }
}
