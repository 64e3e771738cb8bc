//! How sessions end: once, with the right reason, losing nothing that was promised.

use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use crate::fixture::*;
use seamio::net::*;

fn with_session(session: SessionConfig) -> Config {
    Config {
        session,
        ..Config::default()
    }
}

#[test]
fn a_peer_that_finishes_gets_what_was_queued_and_a_clean_close() {
    let server = Server::start(Config::default(), App::new());
    let mut client = server.client();
    client.send(b"one");
    client.send(&[2; 100_000]);
    client.finish();
    let mut expected = frame(b"one");
    expected.extend(frame(&[2; 100_000]));
    assert_eq!(client.rest().expect("clean end"), expected);
    assert_eq!(server.closed(), CloseReason::Peer);
}

#[test]
fn a_finish_within_a_frame_is_an_error_and_told_apart() {
    let server = Server::start(Config::default(), App::new());
    let mut client = server.client();
    client
        .stream
        .write_all(&frame(b"cut short")[..7])
        .expect("write");
    client.finish();
    server.expect(|n| matches!(n, Note::Error(..)));
    assert_eq!(server.closed(), CloseReason::Truncated);
}

#[test]
fn half_close_keeps_the_session_for_writing() {
    let (mut app, notes) = App::new();
    let kept: Arc<Mutex<Option<Session<App>>>> = Arc::default();
    let keep = Arc::clone(&kept);
    app.on_message = Box::new(move |_, session, _| {
        *keep.lock().expect("lock") = Some(session.clone());
    });
    let config = SessionConfig {
        half_close: true,
        ..SessionConfig::default()
    };
    let server = Server::start(with_session(config), (app, notes));
    let mut client = server.client();
    client.send(b"question");
    client.finish();
    server.expect(|n| matches!(n, Note::Finished(_)));
    let session = kept
        .lock()
        .expect("lock")
        .take()
        .expect("the question arrived");
    assert!(session.is_open(), "still there after the peer finished");
    let _ = session.send(Bytes::from_static(b"answer")).expect("sent");
    assert_eq!(client.receive(), b"answer");
    session.close();
    assert_eq!(client.rest().expect("clean end"), b"");
    assert_eq!(server.closed(), CloseReason::Local);
}

#[test]
fn graceful_close_delivers_everything_even_to_a_peer_that_keeps_talking() {
    let (mut app, notes) = App::new();
    app.on_message = Box::new(|cx, session, _| {
        for _ in 0..20 {
            let _ = cx
                .send(&Bytes::from(vec![9; 50_000]))
                .expect("below the hard limit");
        }
        session.close();
    });
    let server = Server::start(Config::default(), (app, notes));
    let mut client = server.client();
    client.send(b"go");
    // Unread input at the close would turn into a reset and could destroy the answers in flight.
    for _ in 0..50 {
        client.send(&[0; 1000]);
    }
    for _ in 0..20 {
        assert_eq!(client.receive(), [9; 50_000]);
    }
    client.finish();
    assert_eq!(client.rest().expect("no reset"), b"");
    assert_eq!(server.closed(), CloseReason::Local);
}

#[test]
fn a_peer_that_does_not_finish_is_cut_off_after_the_drain_timeout() {
    let (mut app, notes) = App::new();
    app.on_message = Box::new(|_, session, _| session.close());
    let drain_timeout = Duration::from_millis(100);
    let config = SessionConfig {
        drain_timeout,
        ..SessionConfig::default()
    };
    let server = Server::start(with_session(config), (app, notes));
    let mut client = server.client();
    let began = now();
    client.send(b"close me");
    assert_eq!(server.closed(), CloseReason::DrainTimeout);
    assert!(began.elapsed() >= drain_timeout);
}

#[test]
fn abort_resets() {
    let (mut app, notes) = App::new();
    app.on_message = Box::new(|cx, session, _| {
        let _ = cx.send(&Bytes::from(vec![0; 1000]));
        session.abort();
    });
    let server = Server::start(Config::default(), (app, notes));
    let mut client = server.client();
    client.send(b"abort me");
    assert_eq!(server.closed(), CloseReason::Aborted);
    let error = client.rest().expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_reset_by_the_peer_is_reported_once() {
    let server = Server::start(Config::default(), App::new());
    let mut client = server.client();
    client.ask(b"hello");
    socket2::SockRef::from(&client.stream)
        .set_linger(Some(Duration::ZERO))
        .expect("linger");
    drop(client);
    server.expect(|n| matches!(n, Note::Error(..)));
    assert_eq!(server.closed(), CloseReason::Io(ErrorKind::ConnectionReset));
}

#[test]
fn no_callback_comes_after_the_close_and_handles_stay_harmless() {
    let (mut app, notes) = App::new();
    let kept: Arc<Mutex<Option<Session<App>>>> = Arc::default();
    let keep = Arc::clone(&kept);
    app.on_open = Box::new(move |_, session, config| {
        config.tick = Duration::from_millis(5);
        *keep.lock().expect("lock") = Some(session.clone());
        Ok(())
    });
    let server = Server::start(Config::default(), (app, notes));
    let client = server.client();
    server.expect(|n| matches!(n, Note::Tick(_)));
    drop(client);
    assert_eq!(server.closed(), CloseReason::Peer);
    let session = kept.lock().expect("lock").take().expect("opened");
    assert!(!session.is_open());
    assert_eq!(
        session.send(Bytes::from_static(b"late")),
        Err(SendError::Closed)
    );
    session.close();
    session.abort();
    session.set_tick(Duration::from_millis(1));
    let seen = Arc::new(AtomicUsize::new(0));
    let see = Arc::clone(&seen);
    session.on_closed(move |reason| {
        assert_eq!(reason, CloseReason::Peer);
        see.fetch_add(1, Ordering::SeqCst);
    });
    assert_eq!(
        seen.load(Ordering::SeqCst),
        1,
        "a hook set late runs at once"
    );
    pause(50);
    assert!(server.notes.is_empty(), "nothing after the close");
    server.wait_for("the stale abort", |m| m.stale >= 1);
    // The slot serves another session; the old handle does not reach it.
    let mut other = server.client();
    session.abort();
    assert_eq!(other.ask(b"alive"), b"alive");
    assert_eq!(
        session.peer().remote.ip().expect("address").ip(),
        other.stream.local_addr().expect("address").ip()
    );
}

#[test]
fn hooks_run_once_and_can_be_taken_back() {
    let (mut app, notes) = App::new();
    let ran = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&ran);
    app.on_open = Box::new(move |_, session, _| {
        for step in [1, 10] {
            let counter = Arc::clone(&counter);
            session.on_closed(move |_| _ = counter.fetch_add(step, Ordering::SeqCst));
        }
        let never = session.on_closed(|_| panic!("taken back"));
        assert!(session.remove_hook(never) && !session.remove_hook(never));
        Ok(())
    });
    let server = Server::start(Config::default(), (app, notes));
    drop(server.client());
    server.closed();
    server.wait_for("the close", |m| m.closed == 1 && m.panics == 0);
    assert_eq!(ran.load(Ordering::SeqCst), 11);
}

#[test]
fn a_refused_session_gets_its_goodbye_and_one_close() {
    let (mut app, notes) = App::new();
    app.on_open = Box::new(|cx, _, _| {
        let _ = cx.send(&Bytes::from_static(b"go away"));
        Err(Refused("full".into()))
    });
    let server = Server::start(Config::default(), (app, notes));
    let mut client = server.client();
    assert_eq!(client.receive(), b"go away");
    assert_eq!(client.rest().expect("clean end"), b"");
    drop(client);
    assert_eq!(server.closed(), CloseReason::Refused);
    assert!(
        server
            .notes
            .try_iter()
            .all(|n| !matches!(n, Note::Close(..)))
    );
}

#[test]
fn malformed_and_oversized_frames_end_their_session_only() {
    let config = SessionConfig {
        max_frame: 1000,
        ..SessionConfig::default()
    };
    let server = Server::start(with_session(config), App::new());
    let mut good = server.client();
    let mut malformed = server.client();
    malformed.send(b"malformed");
    assert_eq!(malformed.rest().expect("clean end"), b"");
    drop(malformed);
    assert_eq!(server.closed(), CloseReason::Codec);
    let mut oversized = server.client();
    // Only the head: refused before the body arrives.
    oversized
        .stream
        .write_all(&997u32.to_be_bytes())
        .expect("write");
    assert_eq!(oversized.rest().expect("clean end"), b"");
    drop(oversized);
    assert_eq!(server.closed(), CloseReason::Codec);
    assert_eq!(good.ask(&[1; 996]), [1; 996]);
}

#[test]
fn a_reset_after_the_peer_finished_ends_a_session_that_has_nothing_to_write() {
    let (mut app, notes) = App::new();
    app.on_message = Box::new(|_, _, _| {});
    let half_close = SessionConfig {
        half_close: true,
        ..SessionConfig::default()
    };
    let server = Server::start(with_session(half_close), (app, notes));
    let mut client = server.client();
    client.send(b"never answered");
    client.finish();
    server.expect(|n| matches!(n, Note::Finished(_)));
    socket2::SockRef::from(&client.stream)
        .set_linger(Some(Duration::ZERO))
        .expect("linger");
    drop(client);
    assert!(matches!(server.closed(), CloseReason::Io(_)));
}

/// Bytes that a broken layer can no longer wrap used to be offered to it for ever, and the reactor's thread with them.
#[test]
fn what_is_sent_when_a_layer_broke_is_dropped_and_the_session_ends() {
    let (tell, closed) = crossbeam_channel::unbounded();
    let handler = Callbacks::new(LengthDelimited)
        .on_error(|cx, _, _| drop(cx.send(&Bytes::from_static(b"what do you mean?"))))
        .on_close(move |_, _, reason| tell.send(reason).expect("somebody waits"));
    let mut config = Config::default();
    config.session.compression = Compression::Snappy;
    config.session.drain_timeout = Duration::from_millis(50);
    let mut reactor = Reactor::new(config, handler).expect("a reactor");
    let any = "127.0.0.1:0".parse().expect("an endpoint");
    let id = reactor
        .listen(any, ListenOptions::default())
        .expect("listening");
    let address = reactor.local_addr(id).expect("an address");
    let handle = reactor.handle();
    let thread = std::thread::spawn(move || reactor.run());
    let cut_short = b"\xff\x06\x00\x00sNaPpY\x00\x99";
    for (bytes, expected) in [
        (
            &b"not snappy at all, whatever you try"[..],
            CloseReason::Transport,
        ),
        (cut_short, CloseReason::Truncated),
    ] {
        let mut peer = std::net::TcpStream::connect(address).expect("connected");
        peer.write_all(bytes).expect("sent");
        peer.shutdown(std::net::Shutdown::Write).expect("finished");
        let reason = closed.recv_timeout(PATIENCE);
        assert_eq!(reason.expect("the session ends"), expected);
    }
    // The counters of a turn are published when it ends.
    wait_until("nothing buffered", || handle.metrics().buffered == 0);
    handle.drain(Duration::ZERO);
    thread.join().expect("no panic").expect("drained");
}
