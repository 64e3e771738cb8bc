//! Datagrams: the same sessions over UDP (network.md A.4, A.10 rows 22 and 31, B.25).

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::Receiver;

use crate::fixture::*;
use seamio::net::*;

fn local_port() -> Endpoint {
    "udp://127.0.0.1:0".parse().expect("endpoint")
}

fn udp(at: SocketAddr) -> Endpoint {
    Endpoint::Udp(HostPort::Address(at))
}

/// A reactor with a bound socket beside its TCP port.
struct Udp {
    server: Server,
    at: SocketAddr,
    sessions: Arc<Mutex<Vec<Session<App>>>>,
}

impl Udp {
    fn echo() -> Udp {
        Udp::serve(Config::default(), ListenOptions::default(), App::new())
    }

    fn serve(config: Config, options: ListenOptions, app: (App, Receiver<Note>)) -> Udp {
        Udp::bind(local_port(), config, options, app)
    }

    fn bind(
        at: Endpoint,
        config: Config,
        options: ListenOptions,
        (mut app, notes): (App, Receiver<Note>),
    ) -> Udp {
        let sessions: Arc<Mutex<Vec<Session<App>>>> = Arc::default();
        let keep = Arc::clone(&sessions);
        let on_open = app.on_open;
        app.on_open = Box::new(move |cx, session, config| {
            keep.lock().expect("lock").push(session.clone());
            on_open(cx, session, config)
        });
        let server = Server::start(config, (app, notes));
        let listening = server.handle.listen(at, options).wait().expect("listening");
        let at = listening.address.ip().expect("an internet address");
        server.expect(|n| matches!(n, Note::Open(_)));
        Udp {
            server,
            at,
            sessions,
        }
    }

    fn session(&self) -> Session<App> {
        self.sessions.lock().expect("lock")[0].clone()
    }
}

/// A plain socket that talks to one address.
fn plain(to: SocketAddr) -> UdpSocket {
    let any = if to.is_ipv4() {
        "127.0.0.1:0"
    } else {
        "[::1]:0"
    };
    let socket = UdpSocket::bind(any).expect("bind");
    socket.connect(to).expect("connect");
    socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
    socket
}

fn ask(socket: &UdpSocket, payload: &[u8]) -> Vec<u8> {
    socket.send(&frame(payload)).expect("send");
    hear(socket)
}

/// The payload of the next datagram, which is one frame.
fn hear(socket: &UdpSocket) -> Vec<u8> {
    let mut bytes = vec![0; 66_000];
    let n = socket.recv(&mut bytes).expect("an answer");
    assert_eq!(frame(&bytes[4..n]), &bytes[..n]);
    bytes[4..n].to_vec()
}

/// A client reactor whose session is handed out once it is open; what it hears goes to the receiver.
fn client(to: SocketAddr, options: ConnectOptions) -> (Server, Session<App>, Receiver<Bytes>) {
    let (mut app, notes) = App::new();
    let (opened, opening) = crossbeam_channel::unbounded();
    let (heard, hearing) = crossbeam_channel::unbounded();
    app.on_open = Box::new(move |_, session, _| {
        let _ = opened.send(session.clone());
        Ok(())
    });
    app.on_message = Box::new(move |_, _, message| {
        let _ = heard.send(message);
    });
    let server = Server::start(Config::default(), (app, notes));
    server.handle.connect(udp(to), options);
    let session = opening.recv_timeout(PATIENCE);
    (server, session.expect("a session"), hearing)
}

fn next(heard: &Receiver<Bytes>) -> Bytes {
    heard.recv_timeout(PATIENCE).expect("an answer")
}

#[test]
fn a_bound_socket_answers_every_sender() {
    let udp = Udp::echo();
    let clients: Vec<_> = (0..20).map(|_| plain(udp.at)).collect();
    for round in 0..5u8 {
        for (n, socket) in clients.iter().enumerate() {
            let payload = vec![round; n * 70];
            assert_eq!(ask(socket, &payload), payload);
        }
    }
    let metrics = udp.server.wait_for("frames", |m| m.frames_out == 100);
    assert_eq!((metrics.opened, metrics.frames_in), (1, 100));
    let session = udp.session();
    assert!(matches!(session.peer().origin, Origin::Bound(_)));
    assert_eq!(session.peer().local, Address::Ip(udp.at));
    // And those who never asked.
    let silent = plain(udp.at);
    let to = silent.local_addr().expect("address");
    let _ = session
        .send_to(Bytes::from_static(b"by the way"), to)
        .expect("sent");
    assert_eq!(hear(&silent), b"by the way");
}

#[test]
fn both_ends_are_ours_and_any_size_goes_through() {
    for host in ["udp://127.0.0.1:0", "udp://[::1]:0"] {
        let at = host.parse().expect("endpoint");
        let options = ListenOptions::default();
        let udp = Udp::bind(at, Config::default(), options, App::new());
        let (_client, session, heard) = client(udp.at, ConnectOptions::default());
        assert_eq!(session.peer().remote, Address::Ip(udp.at));
        assert!(matches!(session.peer().origin, Origin::Connected(_)));
        for size in [0, 1, 64, 255, 256, 257, 1472, 4096, 9000, 40_000, 65_000] {
            let payload = Bytes::from(vec![size as u8; size]);
            let _ = session.send(payload.clone()).expect("sent");
            assert!(next(&heard) == payload, "{size} bytes");
        }
        // Several at once stay apart.
        let many: Vec<_> = (0..50u8).map(|n| Bytes::from(vec![n; 30])).collect();
        let _ = session.send_all(many.clone()).expect("sent");
        for payload in many {
            assert_eq!(next(&heard), payload);
        }
    }
}

/// Two reactors in one thread take turns, so that the number of system calls depends on nothing but them. Datagrams
/// under way are few enough for the kernel's buffers.
#[test]
fn under_load_a_system_call_moves_many() {
    const ROUNDS: usize = 200;
    const FLIGHT: usize = 64;
    let any = local_port();
    let mut server = Reactor::new(Config::default(), App::new().0).expect("reactor");
    let id = server
        .listen(any, ListenOptions::default())
        .expect("listen");
    let at = server.local_addr(id).expect("address");
    let (mut app, _notes) = App::new();
    let heard: Arc<Mutex<Vec<Bytes>>> = Arc::default();
    let (keep, opened) = (Arc::clone(&heard), crossbeam_channel::unbounded());
    app.on_open = Box::new(move |_, session, _| {
        let _ = opened.0.send(session.clone());
        Ok(())
    });
    app.on_message = Box::new(move |_, _, message| keep.lock().expect("lock").push(message));
    let mut client = Reactor::new(Config::default(), app).expect("reactor");
    client.connect(udp(at), ConnectOptions::default());
    let mut turn = |client: &mut Reactor<App>| {
        client.poll_once(Some(Duration::ZERO)).expect("turn");
        server.poll_once(Some(Duration::ZERO)).expect("turn");
        server.metrics().clone()
    };
    turn(&mut client);
    let session = opened.1.try_recv().expect("a session");
    let mut sent = Vec::new();
    for round in 0..ROUNDS {
        let flight = (0..FLIGHT).map(|n| Bytes::from((round * FLIGHT + n).to_be_bytes().to_vec()));
        sent.extend(flight.clone());
        let _ = session.send_all(flight).expect("queued");
        for _ in 0..1000 {
            turn(&mut client);
            if heard.lock().expect("lock").len() == sent.len() {
                break;
            }
        }
        assert!(*heard.lock().expect("lock") == sent, "in order, none lost");
    }
    let all = (ROUNDS * FLIGHT) as u64;
    assert!(all > 10_000);
    let server = turn(&mut client);
    for metrics in [&server, client.metrics()] {
        assert_eq!((metrics.frames_in, metrics.frames_out), (all, all));
        assert_eq!(metrics.dropped_messages, 0);
        let (reads, writes) = (metrics.reads, metrics.writes);
        assert!(reads < all / 8, "{reads} reads for {all}");
        assert!(writes < all / 8, "{writes} writes for {all}");
    }
}

#[test]
fn a_datagram_that_is_too_long_or_malformed_is_dropped_and_reported_and_the_next_one_is_fine() {
    let session = SessionConfig {
        max_frame: 100,
        ..SessionConfig::default()
    };
    let options = ListenOptions {
        session: Some(session),
        ..ListenOptions::default()
    };
    let udp = Udp::serve(Config::default(), options, App::new());
    let socket = plain(udp.at);
    assert_eq!(ask(&socket, &[1; 96]), [1; 96]);
    let bad: [(&[u8], &str); 4] = [
        (
            &frame(&[2; 97]),
            "frame of 101 bytes exceeds the limit of 100",
        ),
        (
            &frame(&[3; 5000]),
            "frame of 5004 bytes exceeds the limit of 100",
        ),
        (&frame(b"malformed"), "asked to"),
        (&frame(&[4; 50])[..30], "ends within a frame"),
    ];
    for (n, (bytes, why)) in bad.iter().enumerate() {
        socket.send(bytes).expect("send");
        let note = udp.server.expect(|n| matches!(n, Note::Error(..)));
        assert!(
            matches!(&note, Note::Error(_, text) if text.contains(why)),
            "{note:?}"
        );
        assert_eq!(ask(&socket, b"next"), b"next");
        assert_eq!(udp.session().stats().dropped, n as u64 + 1);
    }
    let metrics = udp.server.handle.metrics();
    assert_eq!(metrics.closed, 0);
    udp.server.wait_for("four", |m| m.dropped_messages == 4);
}

#[test]
fn what_the_kernel_will_not_send_is_dropped_and_reported_and_the_next_one_goes() {
    let udp = Udp::echo();
    let (client, session, heard) = client(udp.at, ConnectOptions::default());
    let long = Bytes::from(vec![7; 65_506]);
    let huge = Bytes::from(vec![7; 300_000]);
    for payload in [long, huge] {
        let messages = [
            Bytes::from_static(b"before"),
            payload,
            Bytes::from_static(b"after"),
        ];
        let _ = session.send_all(messages).expect("queued");
        let note = client.expect(|n| matches!(n, Note::Error(..)));
        assert!(matches!(&note, Note::Error(_, text) if text.contains("too long")));
        assert_eq!(
            (&next(&heard)[..], &next(&heard)[..]),
            (&b"before"[..], &b"after"[..])
        );
    }
    assert_eq!((session.stats().dropped, session.stats().waiting), (2, 0));
    assert_eq!(client.handle.metrics().closed, 0);
}

#[test]
fn a_refusal_does_not_end_the_session() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let at = socket.local_addr().expect("address");
    drop(socket);
    let (client, session, heard) = client(at, ConnectOptions::default());
    for _ in 0..3 {
        let _ = session.send(Bytes::from_static(b"anybody?")).expect("sent");
        let note = client.expect(|n| matches!(n, Note::Error(..)));
        assert!(matches!(&note, Note::Error(_, text) if text.contains("refused")));
    }
    // Somebody came.
    let options = ListenOptions::default();
    let _udp = Udp::bind(udp(at), Config::default(), options, App::new());
    let _ = session.send(Bytes::from_static(b"and now?")).expect("sent");
    assert_eq!(next(&heard), &b"and now?"[..]);
    assert_eq!(client.handle.metrics().closed, 0);
}

#[test]
fn a_ping_finds_out_whether_anybody_is_there_and_is_swallowed() {
    let nobody = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let at = nobody.local_addr().expect("address");
    drop(nobody);
    let backoff = Backoff {
        base: Duration::from_millis(20),
        cap: Duration::from_millis(100),
        ..Backoff::default()
    };
    let options = ConnectOptions {
        connect_ping: true,
        backoff,
        ..ConnectOptions::default()
    };
    let (client, _, heard) = client(at, options);
    for _ in 0..3 {
        client.expect(|n| matches!(n, Note::ConnectError(Some(_))));
    }
    let (mut app, notes) = App::new();
    app.on_open = Box::new(|_, _, _| Ok(()));
    let bound = Udp::bind(
        udp(at),
        Config::default(),
        ListenOptions::default(),
        (app, notes),
    );
    // An attempt that was on its way may still be refused; then there is a session that stays.
    let received = |m: &Metrics| m.reads > 0;
    bound.server.wait_for("the ping", received);
    let socket = plain(at);
    socket.send(b"connect-ping").expect("send");
    // Its like is not: 12 bytes that say something else are a malformed frame.
    socket.send(b"connect-pong").expect("send");
    bound.server.expect(|n| matches!(n, Note::Error(..)));
    assert_eq!(ask(&socket, b"hello"), b"hello");
    let metrics = bound.server.wait_for("it", |m| m.frames_in == 1);
    assert_eq!((metrics.frames_in, metrics.dropped_messages), (1, 1));
    assert!(heard.is_empty());
}

#[test]
fn an_address_is_given_where_it_belongs_and_nowhere_else() {
    let udp = Udp::echo();
    let (_client, session, _) = client(udp.at, ConnectOptions::default());
    let hello = Bytes::from_static(b"hello");
    let bound = udp.session();
    assert_eq!(bound.send(hello.clone()), Err(SendError::Address));
    assert_eq!(bound.send_bytes(hello.clone()), Err(SendError::Address));
    let call = bound.call(1, hello.clone(), Duration::from_secs(1));
    assert!(matches!(call.wait(), Err(Error::Io(_))));
    assert_eq!(session.send_to(hello, udp.at), Err(SendError::Address));
}

#[test]
fn calls_find_their_replies_and_lost_ones_time_out() {
    let (mut app, notes) = App::new();
    app.on_message = Box::new(|cx, _, message| {
        if message[..] != b"\x02drop me"[..] {
            let _ = cx.send(&message).expect("sent");
        }
    });
    let udp = Udp::serve(Config::default(), ListenOptions::default(), (app, notes));
    let (mut app, notes) = App::new();
    let (opened, opening) = crossbeam_channel::unbounded();
    app.on_open = Box::new(move |_, session, _| {
        let _ = opened.send(session.clone());
        Ok(())
    });
    app.route = Box::new(|_, message| Route::Reply(u64::from(message[0])));
    let client = Server::start(Config::default(), (app, notes));
    client
        .handle
        .connect(super::udp::udp(udp.at), ConnectOptions::default());
    let session = opening.recv_timeout(PATIENCE);
    let session = session.expect("a session");
    let first = session.call(1, Bytes::from_static(b"\x01first"), PATIENCE);
    let lost = session.call(
        2,
        Bytes::from_static(b"\x02drop me"),
        Duration::from_millis(50),
    );
    let third = session.call(3, Bytes::from_static(b"\x03third"), PATIENCE);
    assert_eq!(third.wait().expect("a reply"), &b"\x03third"[..]);
    assert_eq!(first.wait().expect("a reply"), &b"\x01first"[..]);
    assert!(matches!(lost.wait(), Err(Error::Timeout)));
    client.wait_for("the timeout", |m| m.call_timeouts == 1);
}

#[test]
fn closing_sends_what_is_queued_and_an_abort_does_not_wait() {
    let udp = Udp::echo();
    let (client, session, _) = client(udp.at, ConnectOptions::default());
    let many = (0..500u16).map(|n| Bytes::from(n.to_be_bytes().to_vec()));
    let _ = session.send_all(many).expect("queued");
    session.close();
    assert_eq!(client.closed(), CloseReason::Local);
    assert_eq!(session.stats().frames_out, 500);
    assert_eq!(session.stats().bytes_out, 500 * 6);
    assert_eq!(session.send(Bytes::new()), Err(SendError::Closed));
    let bound = udp.session();
    bound.abort();
    assert_eq!(udp.server.closed(), CloseReason::Aborted);
    // The port is free again.
    let options = ListenOptions::default();
    let again = udp.server.handle.listen(super::udp::udp(udp.at), options);
    again.wait().expect("the same port");
}

#[test]
fn draining_answers_what_was_read_and_frees_the_port() {
    let udp = Udp::echo();
    let socket = plain(udp.at);
    assert_eq!(ask(&socket, b"hello"), b"hello");
    udp.server.handle.drain(PATIENCE);
    assert_eq!(udp.server.closed(), CloseReason::Shutdown);
    let Udp { server, at, .. } = udp;
    server.join().expect("drained");
    UdpSocket::bind(at).expect("the port is free");
}

#[test]
fn lanes_and_blocking_handlers_answer_senders_too() {
    // The fixture's codec does not keep the sender, so the first bytes of a message say where to answer.
    fn asker(message: &Bytes) -> SocketAddr {
        let port = u16::from_be_bytes([message[0], message[1]]);
        SocketAddr::from(([127, 0, 0, 1], port))
    }
    for threads in [0, 2] {
        let (mut app, notes) = App::new();
        app.route = Box::new(|_, message| match message.len() {
            2 => Route::Blocking,
            n => Route::Keyed(n as u64),
        });
        app.on_batch = Arc::new(|batch, out, _| {
            for input in batch.drain(..) {
                if let LaneInput::Message(from, message) = input {
                    out.send_to(from, asker(&message), &message)
                        .expect("encodes");
                }
            }
        });
        app.on_blocking = Box::new(|session, message| {
            let to = asker(&message);
            let _ = session.send_to(message, to).expect("sent");
        });
        let workers = Workers {
            threads,
            lanes: 2,
            blocking: threads,
            ..Workers::default()
        };
        let config = Config {
            workers,
            ..Config::default()
        };
        let udp = Udp::serve(config, ListenOptions::default(), (app, notes));
        let sockets: Vec<_> = (0..8).map(|_| plain(udp.at)).collect();
        for size in [2, 3, 4, 500, 5000, 30_000] {
            for socket in &sockets {
                let port = socket.local_addr().expect("address").port();
                let mut payload = vec![9; size];
                payload[..2].copy_from_slice(&port.to_be_bytes());
                assert!(ask(socket, &payload) == payload);
            }
        }
    }
}

/// The messages of a session that a full lane pauses wait where they are, and none is lost.
#[test]
fn a_full_lane_pauses_the_reading() {
    let (mut app, notes) = App::new();
    app.route = Box::new(|_, _| Route::Lane(LaneId(0)));
    let (gate, opened) = crossbeam_channel::bounded::<()>(0);
    app.on_batch = Arc::new(move |batch, _, notes| {
        let _ = opened.recv();
        for input in batch.drain(..) {
            if let LaneInput::Message(_, message) = input {
                notes.say(String::from_utf8_lossy(&message));
            }
        }
    });
    let workers = Workers {
        threads: 1,
        lanes: 1,
        lane_depth: 4,
        ..Workers::default()
    };
    let config = Config {
        workers,
        ..Config::default()
    };
    let udp = Udp::serve(config, ListenOptions::default(), (app, notes));
    let socket = plain(udp.at);
    for n in 0..100 {
        socket.send(&frame(n.to_string().as_bytes())).expect("send");
    }
    udp.server.wait_for("a pause", |m| m.lane_pauses > 0);
    drop(gate);
    for n in 0..100 {
        let expected = n.to_string();
        let note = udp.server.expect(|note| matches!(note, Note::Text(_)));
        assert_eq!(note, Note::Text(expected));
    }
}

#[test]
fn ticks_and_the_idle_timeout_work_as_on_streams() {
    let session = SessionConfig {
        tick: Duration::from_millis(20),
        // From the moment it is bound: time enough to ask.
        idle_timeout: Some(Duration::from_secs(2)),
        ..SessionConfig::default()
    };
    let options = ListenOptions {
        session: Some(session),
        ..ListenOptions::default()
    };
    let udp = Udp::serve(Config::default(), options, App::new());
    let socket = plain(udp.at);
    assert_eq!(ask(&socket, b"hello"), b"hello");
    udp.server.expect(|n| matches!(n, Note::Tick(_)));
    udp.server.expect(|n| matches!(n, Note::Tick(_)));
    assert_eq!(udp.server.closed(), CloseReason::Idle);
}

#[test]
fn two_sockets_share_a_port_only_if_both_want_to() {
    let options = || ListenOptions {
        reuse_port: true,
        ..ListenOptions::default()
    };
    let first = Udp::serve(Config::default(), options(), App::new());
    let second = Udp::bind(udp(first.at), Config::default(), options(), App::new());
    for _ in 0..50 {
        assert_eq!(ask(&plain(first.at), b"either"), b"either");
    }
    let frames = |udp: &Udp| udp.server.handle.metrics().frames_in;
    first
        .server
        .wait_for("all", |m| m.frames_in + frames(&second) == 50);
    let refused = first
        .server
        .handle
        .listen(udp(first.at), ListenOptions::default());
    assert!(
        matches!(refused.wait(), Err(Error::Io(e)) if e.kind() == std::io::ErrorKind::AddrInUse)
    );
}
