//! Compressed sessions (network.md B.24): what is promised of plain ones holds for them too.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::Receiver;
use seamio::net::*;

use crate::fixture::{App, Client, Note, Server, any_port, expect, frame, mixed};

const ALL: [Compression; 5] = [
    Compression::Deflate(DeflateLevel::Default),
    Compression::Deflate(DeflateLevel::Fast),
    Compression::Deflate(DeflateLevel::Best),
    Compression::Deflate(DeflateLevel::HuffmanOnly),
    Compression::Snappy,
];

fn compressed(compression: Compression) -> Config {
    let session = SessionConfig {
        compression,
        ..SessionConfig::default()
    };
    Config {
        session,
        ..Config::default()
    }
}

/// A reactor that is connected to `server`, and what happens on it.
fn connected(server: &Server, compression: Compression, app: App) -> Server {
    let (_, notes) = App::new();
    let client = Server::start(compressed(compression), (app, notes));
    let to = Endpoint::from(server.address);
    client.handle.connect(to, ConnectOptions::default());
    client
}

/// Sends `messages` when connected, checks that they come back in order, then closes.
fn asking(messages: Vec<Vec<u8>>) -> (App, Receiver<Note>) {
    let (mut app, notes) = App::new();
    let messages = Arc::new(messages);
    let sent = Arc::clone(&messages);
    app.on_open = Box::new(move |cx, _, config| {
        config.hard_limit = 64 << 20;
        config.pause_reads_when_congested = false;
        for message in sent.iter() {
            let _ = cx.send(&Bytes::copy_from_slice(message)).expect("room");
        }
        Ok(())
    });
    let (came, heard) = (AtomicUsize::new(0), app.notes.clone());
    app.on_message = Box::new(move |_, session, message| {
        let n = came.fetch_add(1, Ordering::Relaxed);
        if message != messages[n] {
            heard.say(format!("echo {n} is another"));
        }
        if n + 1 == messages.len() {
            heard.say("all");
            session.close();
        }
    });
    (app, notes)
}

#[test]
fn compressed_sessions_echo_frames_of_all_sizes_and_end_in_order() {
    for compression in ALL {
        let server = Server::start(compressed(compression), App::new());
        let (app, notes) = asking(mixed(7, 60));
        let _client = connected(&server, compression, app);
        let said = expect(&notes, |n| matches!(n, Note::Text(_)));
        assert_eq!(said, Note::Text("all".into()), "{compression:?}");
        assert_eq!(server.closed(), CloseReason::Peer, "{compression:?}");
        let end = expect(&notes, |n| matches!(n, Note::Close(..) | Note::Error(..)));
        assert!(
            matches!(end, Note::Close(_, CloseReason::Local)),
            "{compression:?}: {end:?}"
        );
    }
}

/// getty's snappy writer kept small messages until it was closed (network.md A.10-7).
#[test]
fn a_small_compressed_message_leaves_with_its_turn() {
    for compression in ALL {
        let server = Server::start(compressed(compression), App::new());
        let (mut app, notes) = App::new();
        app.on_open = Box::new(|cx, _, _| {
            let _ = cx.send(&Bytes::from_static(b"0")).expect("room");
            Ok(())
        });
        let heard = app.notes.clone();
        app.on_message = Box::new(move |cx, _, message| {
            // One at a time: each has to come back before the next is sent.
            let n: u32 = std::str::from_utf8(&message)
                .ok()
                .and_then(|text| text.parse().ok())
                .expect("a number");
            match n {
                100 => heard.say("all"),
                _ => drop(cx.send(&Bytes::from((n + 1).to_string())).expect("room")),
            }
        });
        let _client = connected(&server, compression, app);
        expect(&notes, |n| *n == Note::Text("all".into()));
    }
}

/// getty wrote several buffers at once past its compressor (network.md A.10-8): here small frames and linked payloads
/// leave in one turn, through it.
#[test]
fn what_is_written_at_once_is_compressed_as_a_whole() {
    for compression in [
        Compression::Deflate(DeflateLevel::Default),
        Compression::Snappy,
    ] {
        let (mut app, notes) = App::new();
        app.on_message = Box::new(|_, session, _| {
            let sizes = [10, 100_000, 10, 50_000, 4096];
            let answers = sizes.map(|size| Bytes::from(vec![b'a'; size]));
            let _ = session.send_all(answers).expect("room");
            session.close();
        });
        let server = Server::start(compressed(compression), (app, notes));
        let mut client = Client::connect(server.address);
        client
            .stream
            .write_all(&question(compression))
            .expect("send");
        let answer = client.rest().expect("an orderly end");
        drop(client);
        assert!(
            answer.len() < 15_000,
            "{compression:?}: {} bytes for 154,136",
            answer.len()
        );
        assert_eq!(server.closed(), CloseReason::Local);
    }
}

#[test]
fn a_stream_that_is_not_compressed_ends_the_session_and_says_why() {
    for compression in ALL {
        let server = Server::start(compressed(compression), App::new());
        let mut client = server.client();
        client.send(b"not compressed at all");
        let error = server.expect(|n| matches!(n, Note::Error(..)));
        assert!(
            matches!(&error, Note::Error(_, text) if text.contains("stream")),
            "{error:?}"
        );
        drop(client);
        assert_eq!(server.closed(), CloseReason::Transport, "{compression:?}");
    }
}

#[test]
fn a_compressed_stream_cut_short_is_truncated() {
    for compression in [
        Compression::Deflate(DeflateLevel::Default),
        Compression::Snappy,
    ] {
        let server = Server::start(compressed(compression), App::new());
        let mut client = server.client();
        let wire = question(compression);
        client
            .stream
            .write_all(&wire[..wire.len() - 3])
            .expect("send");
        client.finish();
        assert_eq!(server.closed(), CloseReason::Truncated, "{compression:?}");
    }
}

/// What came in one read with the goodbye, or with what broke the stream, was thrown away.
#[test]
fn what_comes_with_the_end_of_a_stream_is_delivered() {
    let compression = Compression::Deflate(DeflateLevel::Default);
    let last_block = [3, 0];
    let broken_block = [7];
    for (end, reason) in [
        (&last_block[..], CloseReason::Peer),
        (&broken_block[..], CloseReason::Transport),
    ] {
        let (mut app, notes) = App::new();
        let heard = app.notes.clone();
        app.on_message = Box::new(move |_, _, message| {
            heard.say(String::from_utf8_lossy(&message));
        });
        let server = Server::start(compressed(compression), (app, notes));
        let mut client = server.client();
        let wire = [&question(compression), end].concat();
        client.stream.write_all(&wire).expect("send");
        client.finish();
        server.expect(|n| *n == Note::Text("?".into()));
        assert_eq!(server.closed(), reason);
    }
}

/// A few kilobytes that mean megabytes of empty frames: they are inflated as far as each turn's budget goes, so others
/// are served in between.
#[test]
fn a_bomb_is_inflated_under_the_budget_while_others_are_served() {
    let compression = Compression::Deflate(DeflateLevel::Default);
    let (mut app, _notes) = App::new();
    let counted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&counted);
    app.on_message = Box::new(move |cx, _, message| {
        if message.is_empty() {
            count.fetch_add(1, Ordering::Relaxed);
        } else {
            let _ = cx.send(&message).expect("room");
        }
    });
    let mut server = Reactor::new(compressed(compression), app).expect("reactor");
    let id = server.listen(any_port(), ListenOptions::default());
    let address = server.local_addr(id.expect("listen")).expect("address");
    let mut bomb = Client::connect(address);
    bomb.stream.write_all(&zeros(BOMB)).expect("send");
    let messages = mixed(3, 20).into_iter().filter(|m| !m.is_empty());
    let (app, notes) = asking(messages.collect());
    let mut polite = Reactor::new(compressed(compression), app).expect("reactor");
    polite.connect(Endpoint::from(address), ConnectOptions::default());
    let before = counted.load(Ordering::Relaxed);
    let all = Note::Text("all".into());
    while !notes.try_iter().any(|note| note == all) {
        // Turn by turn on one thread, so that it does not depend on who is faster.
        server.poll_once(Some(Duration::ZERO)).expect("turn");
        polite
            .poll_once(Some(Duration::from_millis(1)))
            .expect("turn");
    }
    let served = counted.load(Ordering::Relaxed);
    assert!(before < served, "the bomb has not gone off");
    assert!(
        served < BOMB / 4,
        "the polite one had to wait for all of it"
    );
    assert!(server.metrics().budget_stops > 0);
}

/// Bytes of empty frames, in about a two hundredth of them.
const BOMB: usize = 12 << 20;

/// One frame of payload `?` in the form of `compression`, ready to be followed by the end of the stream.
fn question(compression: Compression) -> Vec<u8> {
    let plain = frame(b"?");
    match compression {
        Compression::Snappy => {
            // A chunk that is not compressed: kind, length, masked sum, bytes.
            let sum = crc32c::crc32c(&plain)
                .rotate_right(15)
                .wrapping_add(0xa282_ead8);
            let mut wire = b"\xff\x06\0\0sNaPpY\x01\x09\0\0".to_vec();
            wire.extend_from_slice(&sum.to_le_bytes());
            wire.extend_from_slice(&plain);
            wire
        }
        _ => {
            // A stored block: kind, length, its complement, bytes.
            let mut wire = vec![0, 5, 0, 0xfa, 0xff];
            wire.extend_from_slice(&plain);
            wire
        }
    }
}

/// A deflate stream of `count` zeros: one literal, then matches of 258 at distance 1, in fixed codes.
fn zeros(count: usize) -> Vec<u8> {
    let (mut wire, mut bits, mut used) = (Vec::new(), 0u32, 0);
    let mut put = |value: u32, width: u32| {
        bits |= value << used;
        used += width;
        while used >= 8 {
            wire.push(bits as u8);
            bits >>= 8;
            used -= 8;
        }
    };
    put(0b010, 3);
    // The literal 0 is 00110000, first bit first.
    put(0b0000_1100, 8);
    for _ in 0..count / 258 {
        // Length 258 is 11000101, distance 1 is 00000.
        put(0b1010_0011, 8);
        put(0, 5);
    }
    wire
}

/// Empty stored blocks of deflate: five bytes that stand for none.
#[test]
fn bytes_that_mean_nothing_use_up_the_budget() {
    let mut config = compressed(Compression::Deflate(DeflateLevel::Default));
    config.budget.read = 16 << 10;
    config.session.recv_buffer = Some(1 << 20);
    let (app, _notes) = App::new();
    let mut reactor = Reactor::new(config, app).expect("reactor");
    let id = reactor
        .listen(any_port(), ListenOptions::default())
        .expect("listen");
    let mut client = Client::connect(reactor.local_addr(id).expect("address"));
    let nothing = [0, 0, 0, 0xff, 0xff].repeat(1 << 20);
    let pouring = std::thread::spawn(move || client.stream.write_all(&nothing).map(|()| client));
    let mut most = 0;
    let (mut reads, mut idle) = (0, 0);
    while idle < 20 || !pouring.is_finished() {
        crate::fixture::pause(1);
        reactor.poll_once(Some(Duration::ZERO)).expect("turn");
        let now = reactor.metrics().reads;
        (most, idle) = (
            most.max(now - reads),
            if now == reads { idle + 1 } else { 0 },
        );
        reads = now;
    }
    let _client = pouring.join().expect("no panic").expect("all was taken");
    assert!(reads > 20, "{reads}");
    assert!(
        most <= 2,
        "{most} reads of 64 KiB in one turn for a budget of 16 KiB"
    );
    assert_eq!(
        (reactor.metrics().sessions, reactor.metrics().bytes_in),
        (1, 0)
    );
}
