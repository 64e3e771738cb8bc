//! Watermarks, slow readers, stalls.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use crate::fixture::*;
use seamio::net::*;

fn small_buffers() -> SessionConfig {
    SessionConfig {
        send_buffer: Some(8 << 10),
        recv_buffer: Some(8 << 10),
        ..SessionConfig::default()
    }
}

fn with_session(session: SessionConfig) -> Config {
    Config {
        session,
        ..Config::default()
    }
}

#[test]
fn a_peer_that_does_not_read_is_no_longer_read() {
    let server = Server::start(with_session(small_buffers()), App::new());
    let mut client = server.client();
    let mut other = server.client();
    let mut writer = client.stream.try_clone().expect("clone");
    let count = 4000;
    let feeding = std::thread::spawn(move || {
        for i in 0..count {
            writer.write_all(&frame(&[i as u8; 2000])).expect("write");
        }
    });
    let metrics = server.wait_for("congestion", |m| m.congestion_pauses > 0);
    pause(200);
    let settled = server.handle.metrics();
    assert!(
        settled.buffered <= 300 << 10,
        "memory stays bounded: {}",
        settled.buffered
    );
    assert!(settled.frames_in < count as u64, "reading stopped");
    assert_eq!(other.ask(b"others go on"), b"others go on");
    for i in 0..count {
        assert_eq!(client.receive(), [i as u8; 2000]);
    }
    feeding.join().expect("fed");
    assert!(metrics.congestion_pauses > 0);
    server.expect(|n| matches!(n, Note::Writable(_)));
}

#[test]
fn sends_report_congestion_and_stop_at_the_hard_limit() {
    let (mut app, notes) = App::new();
    let kept: Arc<Mutex<Option<Session<App>>>> = Arc::default();
    let keep = Arc::clone(&kept);
    app.on_open = Box::new(move |_, session, config| {
        (config.high_water, config.low_water, config.hard_limit) = (50_000, 20_000, 300_000);
        *keep.lock().expect("lock") = Some(session.clone());
        Ok(())
    });
    let server = Server::start(with_session(small_buffers()), (app, notes));
    let mut client = server.client();
    server.expect(|n| matches!(n, Note::Open(_)));
    // What `on_open` set holds once it has returned.
    server.settled();
    let session = kept.lock().expect("lock").take().expect("opened");
    let mut sent = 0;
    let mut congested = false;
    let error = loop {
        match session.send(Bytes::from(vec![sent as u8; 10_000])) {
            Ok(outcome) => {
                sent += 1;
                congested |= outcome == Sent::Congested;
                assert!(session.stats().waiting <= 300_000);
            }
            Err(e) => break e,
        }
        assert!(sent < 2000, "the kernel does not take this much");
    };
    assert_eq!((error, congested), (SendError::Full, true));
    for i in 0..sent {
        assert_eq!(client.receive(), [i as u8; 10_000]);
    }
    server.expect(|n| matches!(n, Note::Writable(_)));
    assert_eq!(session.send(Bytes::from_static(b"again")), Ok(Sent::Ok));
    assert_eq!(client.receive(), b"again");
    assert_eq!(session.stats().frames_out, sent as u64 + 1);
}

/// Bytes used to be counted nowhere for a moment, on their way from the queue of other threads to the outbox. Sends of
/// that moment were let in above the limit.
#[test]
fn the_hard_limit_holds_while_bytes_change_hands() {
    let (mut app, notes) = App::new();
    let kept: Arc<Mutex<Option<Session<App>>>> = Arc::default();
    let keep = Arc::clone(&kept);
    app.on_open = Box::new(move |_, session, config| {
        config.hard_limit = 1000;
        *keep.lock().expect("lock") = Some(session.clone());
        Ok(())
    });
    let server = Server::start(Config::default(), (app, notes));
    let mut client = server.client();
    server.expect(|n| matches!(n, Note::Open(_)));
    // What `on_open` set holds once it has returned.
    server.settled();
    let session = kept.lock().expect("lock").take().expect("opened");
    const MESSAGES: usize = 30_000;
    let reading = std::thread::spawn(move || {
        for i in 0..MESSAGES {
            assert_eq!(client.receive(), [i as u8; 100]);
        }
    });
    let mut most = 0;
    for i in 0..MESSAGES {
        while session.send(Bytes::from(vec![i as u8; 100])).is_err() {
            std::thread::yield_now();
        }
        most = most.max(session.stats().waiting);
    }
    reading.join().expect("all of it arrived");
    assert!(most <= 1000, "{most} bytes waited");
    server.wait_for("the end", |_| session.stats().waiting == 0);
}

#[test]
fn overflow_closes_where_so_configured() {
    let (mut app, notes) = App::new();
    app.on_message = Box::new(|cx, _, message| while cx.send(&message).is_ok() {});
    let config = SessionConfig {
        hard_limit: 200_000,
        overflow: Overflow::Close,
        ..small_buffers()
    };
    let server = Server::start(with_session(config), (app, notes));
    let mut client = server.client();
    client.send(&[1; 5000]);
    assert_eq!(server.closed(), CloseReason::Overflow);
}

#[test]
fn a_lane_that_sends_too_much_loses_the_session_not_the_memory() {
    let (mut app, notes) = App::new();
    app.route = Box::new(|_, _| Route::Keyed(0));
    app.on_batch = Arc::new(|batch, out, _| {
        for input in batch.drain(..) {
            if let LaneInput::Message(from, message) = input {
                for _ in 0..100 {
                    out.send(from, &message).expect("encodes");
                }
            }
        }
    });
    let config = Config {
        session: SessionConfig {
            hard_limit: 200_000,
            ..small_buffers()
        },
        workers: Workers {
            threads: 1,
            lanes: 1,
            ..Workers::default()
        },
        ..Config::default()
    };
    let server = Server::start(config, (app, notes));
    let mut client = server.client();
    client.send(&[1; 50_000]);
    assert_eq!(server.closed(), CloseReason::Overflow);
    server.wait_for("memory back", |m| m.buffered == 0);
}

#[test]
fn a_peer_that_takes_no_bytes_is_closed_and_one_that_takes_some_is_not() {
    let (mut app, notes) = App::new();
    app.on_message = Box::new(|cx, _, _| {
        let _ = cx.send(&Bytes::from(vec![0; 32 << 20]));
    });
    // Longer than the one that takes some is ever kept from it by a busy machine.
    let write_stall = Duration::from_secs(2);
    let config = SessionConfig {
        write_stall,
        ..small_buffers()
    };
    let server = Server::start(with_session(config), (app, notes));
    let opened = || match server.expect(|n| matches!(n, Note::Open(_))) {
        Note::Open(id) => id,
        other => panic!("not an open: {other:?}"),
    };
    let mut slow = server.client();
    let slow_id = opened();
    let mut stuck = server.client();
    let stuck_id = opened();
    slow.send(b"much");
    // The slow one takes a little all the time.
    let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
    let taking = std::thread::spawn(move || {
        let mut buffer = vec![0; 8 << 10];
        while stopped.try_recv() == Err(crossbeam_channel::TryRecvError::Empty) {
            slow.stream.read_exact(&mut buffer).expect("still served");
            pause(5);
        }
        slow
    });
    let began = now();
    stuck.send(b"much");
    let closed = server.expect(|n| matches!(n, Note::Close(..)));
    assert_eq!(
        closed,
        Note::Close(stuck_id, CloseReason::Stalled),
        "{slow_id} is the slow one"
    );
    assert!(began.elapsed() >= write_stall);
    drop(stop);
    taking.join().expect("it was served all the time");
}

#[test]
fn too_many_bytes_in_all_stop_all_reading_until_they_are_fewer() {
    let (mut app, notes) = App::new();
    app.on_message = Box::new(|cx, _, message| {
        // More than the kernel keeps for a peer that does not read.
        let size = if message[0] == b'a' { 10 << 20 } else { 10 };
        let _ = cx.send(&Bytes::from(vec![message[0]; size]));
    });
    let config = Config {
        session: SessionConfig {
            pause_reads_when_congested: false,
            ..small_buffers()
        },
        limits: Limits {
            buffered: 500_000,
            ..Limits::default()
        },
        ..Config::default()
    };
    let server = Server::start(config, (app, notes));
    let mut greedy = server.client();
    let mut other = server.client();
    greedy.send(b"a");
    server.wait_for("the pile", |m| m.buffered > 500_000);
    other.send(b"b");
    pause(100);
    let metrics = server.handle.metrics();
    assert!(
        metrics.buffered > 500_000 && metrics.frames_in == 1,
        "nobody is read"
    );
    assert!(greedy.receive().iter().all(|b| *b == b'a'));
    assert_eq!(other.receive(), [b'b'; 10]);
}

#[test]
fn reading_goes_on_when_the_session_with_the_pile_is_gone() {
    let (mut app, notes) = App::new();
    app.on_message = Box::new(|cx, _, message| {
        let size = if message[0] == b'a' { 30 << 20 } else { 10 };
        let _ = cx.send(&Bytes::from(vec![message[0]; size]));
    });
    let config = Config {
        session: small_buffers(),
        limits: Limits {
            buffered: 500_000,
            ..Limits::default()
        },
        ..Config::default()
    };
    let server = Server::start(config, (app, notes));
    let mut greedy = server.client();
    let mut other = server.client();
    greedy.send(b"a");
    server.wait_for("the pile", |m| m.buffered > 500_000);
    other.send(b"b");
    pause(100);
    assert_eq!(server.handle.metrics().frames_in, 1, "nobody is read");
    // Closed with answers unread: a reset.
    drop(greedy);
    assert!(matches!(server.closed(), CloseReason::Io(_)));
    assert_eq!(other.receive(), [b'b'; 10]);
}
