//! The same application over every stream transport: nothing it can see is different.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use crate::certificates::Authority;
use crate::fixture::*;
use seamio::net::*;

/// Where to listen, with what, and how to get there.
struct Way {
    scheme: &'static str,
    compression: Compression,
    listen: ListenOptions,
    connect: ConnectOptions,
}

fn ways() -> Vec<Way> {
    let authority = Authority::new("root");
    let issued = authority.issue(&["127.0.0.1"]);
    let identity = Identity::new(Pem::text(issued.chain), Pem::text(issued.key));
    let server = ServerTls::new(ServerTlsOptions::new(identity)).expect("server");
    let client = ClientTls::new(ClientTlsOptions {
        trust: Trust::Roots(Pem::text(authority.pem())),
        ..ClientTlsOptions::default()
    });
    let client = client.expect("client");
    let deflated = WsDeflate::default();
    let mut ways = Vec::new();
    for (scheme, compression, deflate) in [
        ("tcp", Compression::None, false),
        ("tcp", Compression::Deflate(DeflateLevel::Default), false),
        ("tcp", Compression::Snappy, false),
        ("tls", Compression::None, false),
        ("tls", Compression::Deflate(DeflateLevel::Fast), false),
        ("ws", Compression::None, false),
        ("ws", Compression::None, true),
        ("wss", Compression::None, false),
        ("wss", Compression::None, true),
    ] {
        let session = SessionConfig {
            compression,
            ..SessionConfig::default()
        };
        let encrypted = matches!(scheme, "tls" | "wss");
        ways.push(Way {
            scheme,
            compression,
            listen: ListenOptions {
                tls: encrypted.then(|| server.clone()),
                ws: WsServer {
                    deflate: deflate.then(|| deflated.clone()),
                    ..WsServer::default()
                },
                session: Some(session.clone()),
                ..ListenOptions::default()
            },
            connect: ConnectOptions {
                tls: encrypted.then(|| client.clone()),
                ws: WsClient {
                    deflate: deflate.then(|| deflated.clone()),
                    ..WsClient::default()
                },
                session: Some(session),
                backoff: Backoff {
                    base: Duration::from_millis(10),
                    ..Backoff::default()
                },
                ..ConnectOptions::default()
            },
        });
    }
    ways
}

fn start(
    way: &Way,
    app: (App, crossbeam_channel::Receiver<Note>),
    config: Config,
) -> (Server, Endpoint) {
    let at = format!("{}://127.0.0.1:0", way.scheme);
    let server = Server::at(
        at.parse().expect("endpoint"),
        config,
        way.listen.clone(),
        app,
    );
    let to = format!("{}://{}", way.scheme, server.address);
    (server, to.parse().expect("endpoint"))
}

/// A reactor without a listener of use, whose sessions send `frames` at once and collect what comes back.
fn client(frames: Vec<Vec<u8>>) -> (Server, Arc<Mutex<Vec<Vec<u8>>>>) {
    client_of(frames, Config::default())
}

fn client_of(frames: Vec<Vec<u8>>, config: Config) -> (Server, Arc<Mutex<Vec<Vec<u8>>>>) {
    let (mut app, notes) = App::new();
    let got: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let (all, collected) = (frames.len(), Arc::clone(&got));
    app.on_open = Box::new(move |_, session, _| {
        for frame in &frames {
            let sent = session.send(Bytes::from(frame.clone()));
            assert!(sent.is_ok());
        }
        Ok(())
    });
    app.on_message = Box::new(move |_, session, message| {
        let mut got = collected.lock().expect("lock");
        got.push(message.to_vec());
        if got.len() == all {
            session.close();
        }
    });
    (Server::start(config, (app, notes)), got)
}

#[test]
fn frames_come_back_in_order_and_both_ends_close_properly() {
    for way in ways() {
        for (threads, lanes) in [(0, 0), (2, 3)] {
            let (mut app, notes) = App::new();
            if lanes > 0 {
                app.route = Box::new(|s, _| Route::Keyed(s.id().as_u64()));
            }
            let workers = Workers {
                threads,
                lanes,
                ..Workers::default()
            };
            let config = Config {
                workers,
                ..Config::default()
            };
            let (server, to) = start(&way, (app, notes), config);
            let frames = mixed(5, 60);
            let (client, got) = client(frames.clone());
            client.handle.connect(to.clone(), way.connect.clone());
            assert_eq!(
                client.closed(),
                CloseReason::Local,
                "{to} {:?}",
                way.compression
            );
            assert!(
                *got.lock().expect("lock") == frames,
                "{to} {:?}",
                way.compression
            );
            assert_eq!(
                server.closed(),
                CloseReason::Peer,
                "{to} {:?}",
                way.compression
            );
        }
    }
}

#[test]
fn handshakes_may_be_worked_out_on_other_threads() {
    let workers = Workers {
        blocking: 2,
        handshakes: true,
        ..Workers::default()
    };
    for way in ways() {
        let config = Config {
            workers,
            ..Config::default()
        };
        let (server, to) = start(&way, App::new(), config.clone());
        let frames = mixed(7, 20);
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let (client, got) = client_of(frames.clone(), config.clone());
                client.handle.connect(to.clone(), way.connect.clone());
                (client, got)
            })
            .collect();
        for (client, got) in clients {
            assert_eq!(client.closed(), CloseReason::Local, "{to}");
            assert!(*got.lock().expect("lock") == frames, "{to}");
        }
        let metrics = server.handle.metrics();
        assert_eq!(metrics.handshake_failures, 0, "{to}");
    }
}

#[test]
fn a_peer_knows_what_it_came_through() {
    for way in ways() {
        let (mut app, notes) = App::new();
        let said = app.notes.clone();
        app.on_open = Box::new(move |_, session, _| {
            let peer = session.peer();
            said.say(format!(
                "tls={} ws={}",
                peer.tls.is_some(),
                peer.ws.is_some()
            ));
            Ok(())
        });
        let (server, to) = start(&way, (app, notes), Config::default());
        let (client, _) = client(vec![b"x".to_vec()]);
        client.handle.connect(to, way.connect.clone());
        let (tls, ws) = match way.scheme {
            "tls" => (true, false),
            "ws" => (false, true),
            "wss" => (true, true),
            _ => (false, false),
        };
        server.expect(|n| *n == Note::Text(format!("tls={tls} ws={ws}")));
        client.closed();
    }
}

#[test]
fn a_session_that_was_aborted_is_made_anew() {
    for way in ways() {
        let (mut app, notes) = App::new();
        app.on_message = Box::new(|_, session, _| session.abort());
        let (server, to) = start(&way, (app, notes), Config::default());
        let (client, _) = client(vec![b"x".to_vec()]);
        let connector = client.handle.connect(to.clone(), way.connect.clone());
        for _ in 0..3 {
            server.expect(|n| matches!(n, Note::Close(_, CloseReason::Aborted)));
        }
        client.handle.disconnect(connector);
    }
}

/// A WebSocket server that echoes, and a connection that has shaken hands.
fn raw_websocket() -> (Server, TcpStream) {
    let options = ListenOptions::default();
    let at = "ws://127.0.0.1:0".parse().expect("endpoint");
    let server = Server::at(at, Config::default(), options, App::new());
    let mut stream = TcpStream::connect(server.address).expect("connect");
    let request = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("request");
    server.expect(|n| matches!(n, Note::Open(_)));
    (server, stream)
}

#[test]
fn reads_are_counted_as_the_socket_sees_them() {
    let (server, mut stream) = raw_websocket();
    let before = server.handle.metrics();
    let frame: Vec<u8> = [&[0x82, 0x80 | 5, 0, 0, 0, 0][..], &frame(b"x")].concat();
    stream.write_all(&frame.repeat(64)).expect("frames");
    let after = server.wait_for("64 frames", |m| m.frames_in == 64);
    // One read or a few, also counting one of the handshake that the first look missed; not one for each frame.
    let reads = after.reads - before.reads;
    assert!(reads < 32, "{reads} reads");
}

#[test]
fn a_peer_that_asks_and_does_not_listen_is_not_heard_for_ever() {
    let (_server, mut stream) = raw_websocket();
    // Each ping has to be answered, and no answer is ever read.
    let ping: Vec<u8> = [&[0x89, 0x80 | 125, 0, 0, 0, 0][..], &[7; 125]].concat();
    let pings = ping.repeat(500);
    stream
        .set_write_timeout(Some(Duration::from_secs(2)))
        .expect("timeout");
    let mut sent = 0;
    while sent < 128 << 20 {
        // A write may take a part of them: the next one goes on from there, or its pings would be garbage.
        match stream.write(&pings[sent % pings.len()..]) {
            Ok(n) => sent += n,
            Err(_) => break,
        }
    }
    assert!(sent < 128 << 20, "the pings are left in the socket");
    // And once it listens, everything is answered.
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let mut answers = 0;
    let mut buffer = vec![0; 64 << 10];
    while answers < sent / ping.len() * (125 + 2) {
        let read = stream.read(&mut buffer).expect("pongs");
        assert_ne!(read, 0, "closed after {answers} bytes of pongs");
        answers += read;
    }
}

#[test]
fn a_peer_that_goes_on_after_our_goodbye_is_read_up_to_its_own() {
    for way in ways() {
        let (mut app, notes) = App::new();
        app.on_message = Box::new(|_, session, _| session.close());
        let (server, to) = start(&way, (app, notes), Config::default());
        let frames = vec![vec![3; 200_000]; 20];
        let (client, _) = client(frames);
        client.handle.connect(to.clone(), way.connect.clone());
        assert_eq!(server.closed(), CloseReason::Local, "{to}");
        assert_eq!(server.settled().buffered, 0, "{to}");
    }
}

#[test]
fn encryption_that_would_not_be_used_is_an_error() {
    let encrypted = ways()
        .into_iter()
        .find(|w| w.scheme == "tls")
        .expect("a way");
    for at in [
        "tcp://127.0.0.1:0",
        "ws://127.0.0.1:0",
        "udp://127.0.0.1:0",
        "unix://@unused",
    ] {
        let (app, _) = App::new();
        let mut reactor = Reactor::new(Config::default(), app).expect("reactor");
        let at: Endpoint = at.parse().expect("endpoint");
        let error = reactor
            .listen(at, encrypted.listen.clone())
            .expect_err("refused");
        assert!(
            error.to_string().contains("use tls:// or wss://"),
            "{error}"
        );
    }
    let (client, _) = client(Vec::new());
    let to = Endpoint::from(client.address);
    client.handle.connect(to, encrypted.connect.clone());
    assert_eq!(
        client.expect(|n| matches!(n, Note::ConnectError(_))),
        Note::ConnectError(None)
    );
}
