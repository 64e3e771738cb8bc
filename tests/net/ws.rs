//! WebSocket over real sockets: the same handler and codec as over TCP, where a message is a frame (network.md B.23).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::Receiver;
use seamio::net::*;

use crate::certificates::{Authority, Folder};
use crate::fixture::{App, Client, Note, PATIENCE, Server, expect, frame, mixed};

/// An echo server on `ws://127.0.0.1`.
fn serve(ws: WsServer, app: (App, Receiver<Note>)) -> Server {
    let options = ListenOptions {
        ws,
        ..ListenOptions::default()
    };
    Server::at(any("ws"), Config::default(), options, app)
}

fn any(scheme: &str) -> Endpoint {
    format!("{scheme}://127.0.0.1:0").parse().expect("endpoint")
}

fn ws_at(address: SocketAddr, path: &str) -> Endpoint {
    format!("ws://{address}{path}").parse().expect("endpoint")
}

/// A reactor that connects to `to` and what happens on it.
fn connect(to: Endpoint, options: ConnectOptions, (app, notes): (App, Receiver<Note>)) -> Server {
    let client = Server::start(Config::default(), (app, notes));
    client.handle.connect(to, options);
    client
}

/// Sends `messages` when connected, checks that they come back in order, then closes.
fn asking(messages: Vec<Vec<u8>>) -> (App, Receiver<Note>) {
    let (mut app, notes) = App::new();
    let messages = Arc::new(messages);
    let sent = Arc::clone(&messages);
    app.on_open = Box::new(move |cx, _, _| {
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

/// A raw connection that has shaken hands.
fn raw(address: SocketAddr) -> Client {
    let mut client = Client::connect(address);
    let request = request("/", &[]);
    client.stream.write_all(request.as_bytes()).expect("sent");
    let answer = head(&mut client.stream);
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    client
}

fn request(path: &str, headers: &[&str]) -> String {
    let more: String = headers.iter().map(|h| format!("{h}\r\n")).collect();
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

/// The head of an HTTP answer.
fn head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).expect("text")
}

/// A client's frame of at most 125 bytes, masked with zeros. The first byte has flags and opcode.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    bytes.extend_from_slice(payload);
    bytes
}

/// A server's frame of at most 125 bytes.
fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, payload.len() as u8];
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn messages_of_all_sizes_come_back_in_order() {
    let server = serve(WsServer::default(), App::new());
    let (app, notes) = asking(mixed(7, 60));
    let client = connect(
        ws_at(server.address, "/"),
        ConnectOptions::default(),
        (app, notes),
    );
    client.expect(|n| *n == Note::Text("all".into()));
    assert_eq!(client.closed(), CloseReason::Local);
    assert_eq!(server.closed(), CloseReason::Peer);
}

#[test]
fn compressed_messages_come_back_in_order() {
    let deflate = Some(WsDeflate::default());
    let ws = WsServer {
        deflate: deflate.clone(),
        ..WsServer::default()
    };
    let (mut app, notes) = App::new();
    let heard = app.notes.clone();
    app.on_open = Box::new(move |_, session, _| {
        let ws = session.peer().ws.as_ref().expect("a peer");
        heard.say(format!("deflate {}", ws.deflate));
        Ok(())
    });
    let server = serve(ws, (app, notes));
    let options = ConnectOptions {
        ws: WsClient {
            deflate,
            ..WsClient::default()
        },
        ..ConnectOptions::default()
    };
    let client = connect(ws_at(server.address, "/"), options, asking(mixed(8, 40)));
    server.expect(|n| *n == Note::Text("deflate true".into()));
    client.expect(|n| *n == Note::Text("all".into()));
    assert_eq!(client.closed(), CloseReason::Local);
}

#[test]
fn handlers_see_who_is_there() {
    let (mut app, notes) = App::new();
    let heard = app.notes.clone();
    app.on_open = Box::new(move |_, session, _| {
        let ws = session.peer().ws.as_ref().expect("a peer");
        let (origin, chosen) = (ws.origin.as_deref(), ws.subprotocol.as_deref());
        let query = ws.query.as_deref();
        heard.say(format!("{} {query:?} {origin:?} {chosen:?}", ws.path));
        match ws.header("authorization") {
            Some("Bearer abc") => Ok(()),
            _ => Err(Refused("not logged in".into())),
        }
    });
    let ws = WsServer {
        paths: vec!["/chat".into()],
        subprotocols: vec!["b".into()],
        ..WsServer::default()
    };
    let server = serve(ws, (app, notes));
    let options = ConnectOptions {
        ws: WsClient {
            origin: Some("https://app.example".into()),
            subprotocols: vec!["a".into(), "b".into()],
            headers: vec![("Authorization".into(), "Bearer abc".into())],
            ..WsClient::default()
        },
        ..ConnectOptions::default()
    };
    let (mut app, notes) = asking(vec![b"x".to_vec()]);
    let (open, heard) = (app.on_open, app.notes.clone());
    app.on_open = Box::new(move |cx, session, config| {
        let ws = session.peer().ws.as_ref().expect("a peer");
        heard.say(format!("{:?}", ws.subprotocol));
        open(cx, session, config)
    });
    let client = connect(ws_at(server.address, "/chat?room=1"), options, (app, notes));
    let said = r#"/chat Some("room=1") Some("https://app.example") Some("b")"#;
    server.expect(|n| *n == Note::Text(said.into()));
    client.expect(|n| *n == Note::Text(r#"Some("b")"#.into()));
    client.expect(|n| *n == Note::Text("all".into()));
}

#[test]
fn several_messages_leave_in_one_write_and_stay_apart() {
    let (mut app, notes) = App::new();
    app.on_message = Box::new(|_, session, _| {
        let answers = ["one", "two", "three"].map(Bytes::from);
        let _ = session.send_all(answers).expect("room");
    });
    let server = serve(WsServer::default(), (app, notes));
    let mut client = raw(server.address);
    client
        .stream
        .write_all(&masked(0x82, &frame(b"go")))
        .expect("sent");
    let expected: Vec<u8> = ["one", "two", "three"]
        .iter()
        .flat_map(|m| plain(0x82, &frame(m.as_bytes())))
        .collect();
    let mut got = vec![0; expected.len()];
    client.stream.read_exact(&mut got).expect("answers");
    assert_eq!(got, expected);
}

#[test]
fn a_message_in_fragments_is_one_message() {
    let server = serve(WsServer::default(), App::new());
    let mut client = raw(server.address);
    let message = frame(b"fragments");
    let mut bytes = masked(0x02, &message[..3]);
    bytes.extend(masked(0x00, &message[3..7]));
    bytes.extend(masked(0x89, b"ping"));
    bytes.extend(masked(0x80, &message[7..]));
    for piece in bytes.chunks(5) {
        client.stream.write_all(piece).expect("sent");
    }
    let expected = [plain(0x8a, b"ping"), plain(0x82, &message)].concat();
    let mut got = vec![0; expected.len()];
    client.stream.read_exact(&mut got).expect("answers");
    assert_eq!(got, expected);
}

#[test]
fn a_message_that_is_no_frame_is_dropped_and_nothing_else() {
    let server = serve(WsServer::default(), App::new());
    let mut client = raw(server.address);
    for wrong in [
        &b""[..],
        b"abc",
        &frame(b"cut off")[..8],
        &frame(b"malformed"),
    ] {
        client.stream.write_all(&masked(0x82, wrong)).expect("sent");
        server.expect(|n| matches!(n, Note::Error(..)));
        client
            .stream
            .write_all(&masked(0x82, &frame(b"good")))
            .expect("sent");
        let mut got = vec![0; 10];
        client.stream.read_exact(&mut got).expect("an echo");
        assert_eq!(got, plain(0x82, &frame(b"good")));
    }
    assert_eq!(server.handle.metrics().dropped_messages, 4);
}

/// A message that is answered and, in the same packet, a frame that is illegal: the answer, then the goodbye that says why,
/// then the end. The reactor once stood still here.
#[test]
fn what_was_asked_before_an_illegal_frame_is_answered() {
    let server = serve(WsServer::default(), App::new());
    let mut client = raw(server.address);
    let message = frame(b"asked");
    let bytes = [
        masked(0x82, &message),
        masked(0x83, b""),
        masked(0x82, &message),
    ]
    .concat();
    client.stream.write_all(&bytes).expect("sent");
    let expected = [
        plain(0x82, &message),
        plain(0x88, b"\x03\xeareserved opcode"),
    ]
    .concat();
    assert_eq!(client.rest().expect("an orderly end"), expected);
    drop(client);
    assert_eq!(server.closed(), CloseReason::Transport);
    let mut other = raw(server.address);
    other
        .stream
        .write_all(&masked(0x82, &message))
        .expect("sent");
    let mut got = vec![0; message.len() + 2];
    other.stream.read_exact(&mut got).expect("an echo");
}

/// A frame that came in one packet with the request, and was illegal, once counted as a failed handshake: no session saw it and
/// the peer got no goodbye.
#[test]
fn an_illegal_frame_right_behind_the_request_is_the_sessions() {
    let server = serve(WsServer::default(), App::new());
    let mut client = Client::connect(server.address);
    let bytes = [request("/", &[]).into_bytes(), masked(0x83, b"")].concat();
    client.stream.write_all(&bytes).expect("sent");
    let answer = head(&mut client.stream);
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    let expected = plain(0x88, b"\x03\xeareserved opcode");
    assert_eq!(client.rest().expect("an orderly end"), expected);
    drop(client);
    assert_eq!(server.closed(), CloseReason::Transport);
    assert_eq!(server.handle.metrics().handshake_failures, 0);
}

#[test]
fn goodbyes_are_answered_and_answers_waited_for() {
    let server = serve(WsServer::default(), App::new());
    let mut client = raw(server.address);
    let message = frame(b"last words");
    let bytes = [masked(0x82, &message), masked(0x88, b"\x03\xe9leaving")].concat();
    client.stream.write_all(&bytes).expect("sent");
    let expected = [plain(0x82, &message), plain(0x88, b"\x03\xe9")].concat();
    assert_eq!(client.rest().expect("an orderly end"), expected);
    assert_eq!(server.closed(), CloseReason::Peer);

    let (mut app, notes) = App::new();
    app.on_open = Box::new(|_, session, _| {
        session.close();
        Ok(())
    });
    let server = serve(WsServer::default(), (app, notes));
    let mut client = raw(server.address);
    let mut goodbye = [0; 4];
    client.stream.read_exact(&mut goodbye).expect("a goodbye");
    assert_eq!(goodbye, [0x88, 2, 0x03, 0xe8]);
    // What crosses it is thrown away; the answer ends it.
    client
        .stream
        .write_all(&masked(0x82, &message))
        .expect("sent");
    client
        .stream
        .write_all(&masked(0x88, b"\x03\xe8"))
        .expect("sent");
    assert!(client.rest().expect("an orderly end").is_empty());
    assert_eq!(server.closed(), CloseReason::Local);
}

#[test]
fn a_connection_that_ends_without_a_goodbye_is_truncated() {
    let server = serve(WsServer::default(), App::new());
    let mut client = raw(server.address);
    client.finish();
    server.expect(|n| matches!(n, Note::Error(..)));
    assert_eq!(server.closed(), CloseReason::Truncated);
}

#[test]
fn a_peer_that_answers_no_ping_is_closed_and_told_why() {
    // Time enough for the first answer.
    let ws = WsServer {
        ping: Duration::from_secs(1),
        ..WsServer::default()
    };
    let server = serve(ws, App::new());
    let mut client = raw(server.address);
    let mut ping = [0; 6];
    client.stream.read_exact(&mut ping).expect("a ping");
    assert_eq!(ping, [0x89, 4, 0, 0, 0, 1]);
    client
        .stream
        .write_all(&masked(0x8a, &ping[2..]))
        .expect("sent");
    client.stream.read_exact(&mut ping).expect("another");
    assert_eq!(ping, [0x89, 4, 0, 0, 0, 2]);
    let rest = plain(0x88, b"\x03\xf3no answer to a ping");
    let mut goodbye = vec![0; rest.len()];
    client.stream.read_exact(&mut goodbye).expect("a goodbye");
    assert_eq!(goodbye, rest);
    client.finish();
    assert_eq!(server.closed(), CloseReason::Idle);
}

#[test]
fn our_own_ends_answer_pings() {
    // Time enough for each answer.
    let ping = Duration::from_secs(1);
    let server = serve(
        WsServer {
            ping,
            ..WsServer::default()
        },
        App::new(),
    );
    let options = ConnectOptions {
        ws: WsClient {
            ping,
            ..WsClient::default()
        },
        ..ConnectOptions::default()
    };
    let client = connect(ws_at(server.address, "/"), options, App::new());
    client.expect(|n| matches!(n, Note::Open(_)));
    let (sender, passed) = std::sync::mpsc::channel();
    let _timer = (server.handle).after(ping * 7 / 2, move || _ = sender.send(()));
    passed.recv_timeout(PATIENCE).expect("three pings");
    assert!(client.notes.is_empty(), "{:?}", client.notes.try_recv());
    assert!(server.notes.try_iter().all(|n| matches!(n, Note::Open(_))));
}

#[test]
fn a_message_over_the_limit_ends_the_session_with_its_code() {
    let (mut app, notes) = App::new();
    app.on_open = Box::new(|_, _, config| {
        config.max_frame = 100;
        Ok(())
    });
    let server = serve(WsServer::default(), (app, notes));
    let mut client = raw(server.address);
    let good = frame(&[1; 96]);
    client.stream.write_all(&masked(0x82, &good)).expect("sent");
    client
        .stream
        .write_all(&masked(0x82, &[1; 101])[..6])
        .expect("sent");
    let expected = [
        plain(0x82, &good),
        plain(0x88, b"\x03\xf1message too large"),
    ]
    .concat();
    assert_eq!(client.rest().expect("an orderly end"), expected);
    drop(client);
    assert_eq!(server.closed(), CloseReason::Transport);
}

/// getty's client took its read limit from the default, whatever the application set (network.md A.10 row 35).
#[test]
fn a_client_takes_messages_as_large_as_its_options_say() {
    let (mut app, notes) = App::new();
    app.on_open = Box::new(|cx, _, config| {
        config.hard_limit = 64 << 20;
        let _ = cx.send(&Bytes::from(vec![7; 20 << 20])).expect("room");
        Ok(())
    });
    let server = serve(WsServer::default(), (app, notes));
    let (mut app, notes) = App::new();
    let heard = app.notes.clone();
    app.on_message = Box::new(move |_, _, message| heard.say(format!("{} bytes", message.len())));
    let options = ConnectOptions {
        session: Some(SessionConfig {
            max_frame: 21 << 20,
            ..SessionConfig::default()
        }),
        ..ConnectOptions::default()
    };
    let client = connect(ws_at(server.address, "/"), options, (app, notes));
    let said = format!("{} bytes", 20 << 20);
    client.expect(|n| *n == Note::Text(said.clone()));
}

#[test]
fn refused_requests_are_answered_and_open_no_session() {
    let ws = WsServer {
        paths: vec!["/chat".into()],
        origins: WsOrigins::Only(vec!["https://app.example".into()]),
        max_head: 600,
        ..WsServer::default()
    };
    let server = serve(ws, App::new());
    let long = format!("X: {}", "y".repeat(600));
    let cases = [
        (
            request("/other", &["Origin: https://app.example"]),
            "404 Not Found",
        ),
        (
            request("/chat", &["Origin: https://evil.example"]),
            "403 Forbidden",
        ),
        (request("/chat", &[]), "403 Forbidden"),
        (
            request("/chat", &[&long]),
            "431 Request Header Fields Too Large",
        ),
        (
            request("/chat", &[]).replace("GET", "PUT"),
            "405 Method Not Allowed",
        ),
        (
            request("/chat", &[]).replace("Version: 13", "Version: 7"),
            "426 Upgrade Required",
        ),
        ("\u{16}\u{3}\u{1}".into(), "400 Bad Request"),
    ];
    for (request, status) in &cases {
        let mut client = Client::connect(server.address);
        client.stream.write_all(request.as_bytes()).expect("sent");
        let answer = client.rest().expect("an answer and an orderly end");
        let answer = String::from_utf8(answer).expect("text");
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{answer}"
        );
    }
    let count = cases.len() as u64;
    server.wait_for("the refusals", |m| m.handshake_failures == count);
    assert_eq!(server.notes.try_iter().count(), 0);
}

#[test]
fn a_client_is_told_what_went_wrong() {
    let ws = WsServer {
        paths: vec!["/chat".into()],
        ..WsServer::default()
    };
    let server = serve(ws, App::new());
    let (said, heard) = std::sync::mpsc::channel();
    let handler = Callbacks::new(LengthDelimited)
        .on_connect_error(move |_, error, _| drop(said.send(error.to_string())));
    let mut reactor = Reactor::new(Config::default(), handler).expect("reactor");
    let options = ConnectOptions {
        ws: WsClient {
            headers: vec![("Host".into(), "x".into())],
            ..WsClient::default()
        },
        ..ConnectOptions::default()
    };
    reactor.connect(ws_at(server.address, "/chat"), options);
    reactor.connect(ws_at(server.address, "/other"), ConnectOptions::default());
    let mut errors = Vec::new();
    while errors.len() < 2 {
        reactor.poll_once(Some(PATIENCE)).expect("a turn");
        errors.extend(heard.try_iter());
    }
    errors.sort();
    assert!(
        errors[1].contains("not a header that can be sent"),
        "{errors:?}"
    );
    assert!(
        errors[0].contains("the server answered 404 Not Found"),
        "{errors:?}"
    );
}

#[test]
fn a_client_that_never_asks_is_given_up() {
    let options = ListenOptions {
        handshake_timeout: Duration::from_secs(1),
        ..ListenOptions::default()
    };
    let server = Server::at(any("ws"), Config::default(), options, App::new());
    let mut client = Client::connect(server.address);
    client
        .stream
        .write_all(b"GET / HTTP/1.1\r\n")
        .expect("sent");
    assert!(client.rest().expect("an orderly end").is_empty());
    server.wait_for("the failure", |m| m.handshake_failures == 1);
}

#[test]
fn texts_are_sent_as_text() {
    let ws = WsServer {
        message: WsMessage::AsReceived,
        ..WsServer::default()
    };
    let server = serve(ws, App::new());
    let mut client = raw(server.address);
    for first in [0x81, 0x82, 0x81] {
        let message = frame("grüße".as_bytes());
        client
            .stream
            .write_all(&masked(first, &message))
            .expect("sent");
        let mut got = vec![0; message.len() + 2];
        client.stream.read_exact(&mut got).expect("an echo");
        assert_eq!(got, plain(first, &message));
    }
}

#[test]
fn messages_over_tls_come_back_in_order() {
    let authority = Authority::new("seamio test");
    let issued = authority.issue(&["127.0.0.1"]);
    let folder = Folder::new("wss");
    let chain = folder.put("chain.pem", &issued.chain);
    let key = folder.put("key.pem", &issued.key);
    let roots = folder.put("roots.pem", authority.pem());
    let options = ListenOptions {
        tls: Some(ServerTls::from_files(chain, key).expect("identity")),
        ..ListenOptions::default()
    };
    let server = Server::at(any("wss"), Config::default(), options, App::new());
    let to: Endpoint = format!("wss://{}/", server.address)
        .parse()
        .expect("endpoint");
    let options = ConnectOptions {
        tls: Some(ClientTls::trusting(roots).expect("roots")),
        ..ConnectOptions::default()
    };
    let (app, notes) = asking(mixed(9, 40));
    let client = connect(to, options, (app, notes));
    expect(&client.notes, |n| *n == Note::Text("all".into()));
    assert_eq!(client.closed(), CloseReason::Local);
    assert_eq!(server.closed(), CloseReason::Peer);
}
