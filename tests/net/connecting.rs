//! Connectors: attempts, backoff, staying connected.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use crate::fixture::*;
use seamio::net::driver::*;
use seamio::net::*;

fn quick() -> ConnectOptions {
    let backoff = Backoff {
        base: Duration::from_millis(20),
        cap: Duration::from_millis(100),
        seed: 1,
        ..Backoff::default()
    };
    ConnectOptions {
        backoff,
        ..ConnectOptions::default()
    }
}

/// A client reactor whose sessions are remembered.
fn client() -> (Server, Arc<Mutex<Vec<Session<App>>>>) {
    let (mut app, notes) = App::new();
    let sessions: Arc<Mutex<Vec<Session<App>>>> = Arc::default();
    let keep = Arc::clone(&sessions);
    app.on_open = Box::new(move |cx, session, _| {
        keep.lock().expect("lock").push(session.clone());
        let _ = cx.send(&Bytes::from_static(b"hello"));
        Ok(())
    });
    app.on_message = Box::new(|_, _, _| {});
    (Server::start(Config::default(), (app, notes)), sessions)
}

#[test]
fn keeps_the_number_of_connections_alive_over_a_restart() {
    let (client, sessions) = client();
    let reserved = HeldPort::new();
    let address = reserved.address;
    let server = Server::at(
        address.into(),
        Config::default(),
        ListenOptions::default(),
        App::new(),
    );
    let options = ConnectOptions {
        connections: 3,
        ..quick()
    };
    let connector = client.handle.connect(address.into(), options);
    server.wait_for("three", |m| m.sessions == 3 && m.frames_in == 3);
    let peer = sessions.lock().expect("lock")[0].peer().clone();
    assert_eq!(
        (peer.remote, peer.origin),
        (address.into(), Origin::Connected(connector))
    );
    drop(server);
    client.expect(|n| matches!(n, Note::Close(..)));
    client.expect(|n| matches!(n, Note::ConnectError(Some(_))));
    // The same port again.
    let (app, notes) = App::new();
    let mut reactor = Reactor::new(Config::default(), app).expect("reactor");
    reactor
        .listen(address.into(), ListenOptions::default())
        .expect("the same address");
    let handle = reactor.handle();
    let thread = std::thread::spawn(move || reactor.run());
    for _ in 0..3 {
        expect(&notes, |n| matches!(n, Note::Open(_)));
    }
    client.handle.disconnect(connector);
    for _ in 0..3 {
        let close = expect(&notes, |n| matches!(n, Note::Close(..)));
        assert!(
            matches!(close, Note::Close(_, CloseReason::Peer)),
            "closed gracefully"
        );
    }
    pause(300);
    assert!(notes.is_empty(), "a connector that was ended stays ended");
    handle.drain(Duration::ZERO);
    thread.join().expect("no panic").expect("drained");
}

#[test]
fn a_refused_port_is_tried_again_until_the_attempts_are_used_up() {
    let nobody = HeldPort::new();
    let address = nobody.address;
    let (client, _) = client();
    let backoff = Backoff {
        attempts: Some(4),
        ..quick().backoff
    };
    client
        .handle
        .connect(address.into(), ConnectOptions { backoff, ..quick() });
    for _ in 0..3 {
        let note = client.expect(|n| matches!(n, Note::ConnectError(_)));
        assert!(matches!(note, Note::ConnectError(Some(wait)) if wait <= quick().backoff.cap));
    }
    assert_eq!(client.expect(|_| true), Note::ConnectError(None));
    pause(250);
    assert!(client.notes.is_empty(), "it gave up");
    assert_eq!(client.settled().connects, 4);
}

#[test]
fn names_are_resolved_off_the_reactor_and_bad_ones_back_off() {
    let (client, _) = client();
    let server = Server::start(Config::default(), App::new());
    let endpoint = format!("tcp://localhost:{}", server.address.port());
    client
        .handle
        .connect(endpoint.parse().expect("endpoint"), quick());
    server.expect(|n| matches!(n, Note::Open(_)));
    let nowhere = "tcp://no-such-host.invalid:1".parse().expect("endpoint");
    let backoff = Backoff {
        attempts: Some(2),
        ..quick().backoff
    };
    client
        .handle
        .connect(nowhere, ConnectOptions { backoff, ..quick() });
    client.expect(|n| matches!(n, Note::ConnectError(None)));
}

#[test]
fn a_server_that_accepts_and_closes_at_once_does_not_reset_the_backoff() {
    let (client, _) = client();
    let (mut app, notes) = App::new();
    app.on_open = Box::new(|_, _, _| Err(Refused("full".into())));
    let server = Server::start(Config::default(), (app, notes));
    let backoff = Backoff {
        attempts: Some(3),
        ..quick().backoff
    };
    client
        .handle
        .connect(server.address.into(), ConnectOptions { backoff, ..quick() });
    client.expect(|n| matches!(n, Note::ConnectError(None)));
    assert_eq!(
        client.settled().connects,
        3,
        "connecting alone is no success"
    );
}

#[test]
fn our_own_close_ends_the_link_but_an_abort_or_the_peer_does_not() {
    let (client, sessions) = client();
    let server = Server::start(Config::default(), App::new());
    client.handle.connect(server.address.into(), quick());
    let next = |n: usize| {
        client.wait_for("a session with an answer", |m| m.opened == n as u64);
        client.wait_for("an answer", |m| m.frames_in >= n as u64);
        sessions
            .lock()
            .expect("lock")
            .last()
            .expect("a session")
            .clone()
    };
    next(1).abort();
    next(2).close();
    client.wait_for("closes", |m| m.closed == 2);
    pause(200);
    assert_eq!(client.settled().connects, 2);
}

#[test]
fn an_attempt_times_out() {
    // A listener that never accepts, with a full backlog, lets further attempts hang.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("socket");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("address");
    socket.bind(&any.into()).expect("bind");
    socket.listen(0).expect("listen");
    let address = socket
        .local_addr()
        .expect("address")
        .as_socket()
        .expect("inet");
    let _fill: Vec<_> = (0..4)
        .map(|_| {
            let filler = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
                .expect("s");
            filler.set_nonblocking(true).expect("nonblocking");
            let _ = filler.connect(&address.into());
            filler
        })
        .collect();
    pause(50);
    let (client, _) = client();
    let timeout = Duration::from_millis(100);
    let backoff = Backoff {
        attempts: Some(1),
        ..quick().backoff
    };
    let began = now();
    client.handle.connect(
        address.into(),
        ConnectOptions {
            timeout,
            backoff,
            ..quick()
        },
    );
    client.expect(|n| matches!(n, Note::ConnectError(None)));
    assert!(began.elapsed() >= timeout);
}

/// A network in which every connection turns out to be one with itself, as the kernel makes them now and then when the
/// port lies in the ephemeral range and nobody listens.
struct Mirror {
    connecting: Vec<Token>,
}

struct MirrorStream(Address);

impl Stream for MirrorStream {
    fn read(&mut self, _: &mut ReadSpace<'_>) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
    fn write_vectored(&mut self, _: &[io::IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }
    fn abort(&mut self) {}
    fn peer_addr(&self) -> io::Result<Address> {
        Ok(self.0.clone())
    }
    fn local_addr(&self) -> io::Result<Address> {
        Ok(self.0.clone())
    }
}

struct NoListener;

impl Listener for NoListener {
    fn local_addr(&self) -> io::Result<Address> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Driver for Mirror {
    type Stream = MirrorStream;
    type Listener = NoListener;
    type Datagram = NoDatagrams;

    fn poll(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<bool> {
        events.extend(self.connecting.drain(..).map(|token| Event {
            token,
            readable: false,
            writable: true,
            read_closed: false,
            error: false,
        }));
        if events.is_empty() {
            pause(timeout.map_or(1, |t| t.as_millis() as u64).min(5));
        }
        Ok(false)
    }
    fn connect(
        &mut self,
        to: &Address,
        _: &SocketOptions,
        token: Token,
    ) -> io::Result<MirrorStream> {
        self.connecting.push(token);
        Ok(MirrorStream(to.clone()))
    }
    fn listen(&mut self, _: &Address, _: &ListenerOptions, _: Token) -> io::Result<NoListener> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn accept(&mut self, _: &mut NoListener) -> io::Result<(MirrorStream, Address)> {
        Err(io::ErrorKind::WouldBlock.into())
    }
    fn register(&mut self, _: &mut MirrorStream, _: Token) -> io::Result<()> {
        Ok(())
    }
    fn shed(&mut self, _: &mut NoListener) -> bool {
        false
    }
    fn waker(&self) -> WakeFn {
        Arc::new(|| {})
    }
}

#[test]
fn a_connection_to_itself_counts_as_refused() {
    let (app, notes) = App::new();
    let driver = Mirror {
        connecting: Vec::new(),
    };
    let mut reactor = Reactor::with(Config::default(), app, driver, Monotonic).expect("reactor");
    let backoff = Backoff {
        attempts: Some(3),
        ..quick().backoff
    };
    let to: SocketAddr = "127.0.0.1:40000".parse().expect("address");
    reactor.connect(to.into(), ConnectOptions { backoff, ..quick() });
    let mut seen = Vec::new();
    while !seen.contains(&Note::ConnectError(None)) {
        reactor
            .poll_once(Some(Duration::from_millis(5)))
            .expect("turn");
        seen.extend(notes.try_iter());
    }
    assert_eq!(seen.len(), 3, "three refusals and no session: {seen:?}");
    assert_eq!(reactor.metrics().connect_failures, 3);
}

/// A backoff that does not end within a test.
fn patient() -> ConnectOptions {
    let backoff = Backoff {
        growth: Growth::Linear,
        base: Duration::from_secs(3600),
        cap: Duration::from_secs(3600),
        ..Backoff::default()
    };
    ConnectOptions {
        backoff,
        ..ConnectOptions::default()
    }
}

fn again_in_an_hour(note: &Note) -> bool {
    matches!(note, Note::ConnectError(Some(wait)) if wait.as_secs() > 1800)
}

#[test]
fn a_close_is_told_while_the_peer_is_still_away() {
    let (client, sessions) = client();
    let server = Server::start(Config::default(), App::new());
    client.handle.connect(server.address.into(), patient());
    server.wait_for("a session", |m| m.sessions == 1);
    drop(server);
    // Nobody is there and nobody will be tried for an hour: the close is told all the same, and only then the failure.
    client.expect(|n| matches!(n, Note::Close(..)));
    client.expect(again_in_an_hour);
    assert!(!sessions.lock().expect("lock")[0].is_open());
    client.handle.drain(Duration::from_secs(60));
    client.join().expect("drained without waiting for the peer");
}

#[test]
fn a_connector_ended_amid_its_work_leaves_nothing_behind() {
    let (client, _) = client();
    // Waiting for the next attempt.
    let nobody = HeldPort::new();
    let waiting = client.handle.connect(nobody.address.into(), patient());
    client.expect(again_in_an_hour);
    client.handle.disconnect(waiting);
    client.wait_for("no timer", |m| m.timers == 0);
    // Connected, and asked to connect just now.
    let server = Server::start(Config::default(), App::new());
    let live = client.handle.connect(server.address.into(), patient());
    server.wait_for("a session", |m| m.sessions == 1);
    client.handle.disconnect(live);
    let begun = client.handle.connect(server.address.into(), patient());
    client.handle.disconnect(begun);
    client.settled();
    client.wait_for("the end", |m| m.sessions == 0 && m.timers == 0);
    server.wait_for("the end", |m| m.sessions == 0);
    let before = client.settled().connects;
    pause(100);
    assert_eq!(client.settled().connects, before);
}

#[test]
fn a_session_refused_by_its_handler_is_tried_again_after_a_pause() {
    let (mut app, notes) = App::new();
    app.on_open = Box::new(|_, _, _| Err(Refused("not this one".into())));
    let client = Server::start(Config::default(), (app, notes));
    let server = Server::start(Config::default(), App::new());
    client.handle.connect(server.address.into(), patient());
    assert_eq!(client.closed(), CloseReason::Refused);
    client.expect(again_in_an_hour);
    pause(100);
    assert_eq!(server.settled().accepts, 1);
}

#[test]
fn a_session_that_dies_in_its_first_callback_is_replaced() {
    let (mut app, notes) = App::new();
    let opened = std::sync::atomic::AtomicUsize::new(0);
    app.on_open = Box::new(move |_, session, _| {
        match opened.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => {
                session.abort();
                Ok(())
            }
            1 => panic!("the second one as well"),
            _ => Ok(()),
        }
    });
    let client = Server::start(Config::default(), (app, notes));
    let server = Server::start(Config::default(), App::new());
    client.handle.connect(server.address.into(), quick());
    assert_eq!(client.closed(), CloseReason::Aborted);
    assert_eq!(client.closed(), CloseReason::Panic);
    client.wait_for("the third", |m| m.opened == 3 && m.sessions == 1);
}

#[test]
fn a_handshake_that_stalls_times_out() {
    let handshake_timeout = Duration::from_millis(50);
    // A peer that says nothing to our server, and a server that says nothing to us.
    let server = Server::start(Config::default(), App::new());
    let options = ListenOptions {
        handshake_timeout,
        ..ListenOptions::default()
    };
    let at = "ws://127.0.0.1:0/".parse().expect("endpoint");
    let listening = server.handle.listen(at, options).wait().expect("listens");
    let mut silent = Client::connect(listening.address.ip().expect("an address"));
    assert!(silent.rest().is_ok(), "closed in good order");
    drop(silent);
    server.wait_for("the end", |m| m.handshake_failures == 1 && m.timers == 0);
    let mute = TcpListener::bind("127.0.0.1:0").expect("bind");
    let to = format!("ws://{}/", mute.local_addr().expect("address"));
    let options = ConnectOptions {
        handshake_timeout,
        ..patient()
    };
    let to = to.parse().expect("endpoint");
    server.handle.connect(to, options);
    server.expect(again_in_an_hour);
    let polls = server.handle.metrics().polls;
    pause(200);
    assert!(server.handle.metrics().polls - polls <= 2, "nobody spins");
    assert_eq!(server.handle.metrics().opened, 0);
}
