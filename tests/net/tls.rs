//! Encrypted sessions over real sockets: ours with ours, and ours with rustls' own connections (network.md B.22, A.10
//! row 20).

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::certificates::{Authority, Folder, Issued};
use crate::fixture::*;
use seamio::net::*;

/// An authority, and what it issued for servers here.
pub(crate) struct World {
    pub(crate) authority: Authority,
    pub(crate) server: ServerTlsOptions,
    pub(crate) client: ClientTlsOptions,
}

impl World {
    pub(crate) fn new() -> World {
        let authority = Authority::new("authority");
        let issued = authority.issue(&["localhost", "127.0.0.1"]);
        World {
            server: ServerTlsOptions::new(identity(&issued)),
            client: ClientTlsOptions {
                trust: Trust::Roots(Pem::text(authority.pem())),
                ..ClientTlsOptions::default()
            },
            authority,
        }
    }

    pub(crate) fn speaking(versions: Versions) -> World {
        let mut world = World::new();
        world.server.versions = versions;
        world
    }

    pub(crate) fn listen_options(&self) -> ListenOptions {
        ListenOptions {
            tls: Some(ServerTls::new(self.server.clone()).expect("server")),
            ..ListenOptions::default()
        }
    }

    pub(crate) fn connect_options(&self) -> ConnectOptions {
        ConnectOptions {
            tls: Some(ClientTls::new(self.client.clone()).expect("client")),
            backoff: Backoff {
                base: Duration::from_millis(20),
                cap: Duration::from_millis(100),
                seed: 1,
                ..Backoff::default()
            },
            ..ConnectOptions::default()
        }
    }

    /// A client that is not ours.
    fn foreign(&self, address: SocketAddr) -> Foreign {
        Foreign::connect(address, &self.foreign_config()).expect("handshake")
    }

    fn foreign_config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).expect("pem");
        roots.add(root).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }
}

pub(crate) fn identity(issued: &Issued) -> Identity {
    Identity::new(Pem::text(&*issued.chain), Pem::text(&*issued.key))
}

pub(crate) const VERSIONS: [Versions; 2] = [Versions::Only1_2, Versions::Only1_3];

/// A blocking connection of rustls that does what it is told.
struct Foreign {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

impl Foreign {
    fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Foreign> {
        let Client { mut stream } = Client::connect(address);
        let name = ServerName::try_from("localhost").expect("name");
        let mut session = ClientConnection::new(Arc::clone(config), name).expect("client");
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(Foreign {
            stream: StreamOwned::new(session, stream),
        })
    }

    fn send(&mut self, payload: &[u8]) {
        self.stream.write_all(&frame(payload)).expect("send");
        self.stream.flush().expect("flush");
    }

    fn receive(&mut self) -> Vec<u8> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).expect("head");
        let mut payload = vec![0; u32::from_be_bytes(head) as usize];
        self.stream.read_exact(&mut payload).expect("payload");
        payload
    }

    fn ask(&mut self, payload: &[u8]) -> Vec<u8> {
        self.send(payload);
        self.receive()
    }

    /// Everything up to the goodbye; an end without one is an error.
    fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).map(|_| rest)
    }

    fn say_goodbye(&mut self) {
        self.stream.conn.send_close_notify();
        self.stream.flush().expect("flush");
    }
}

pub(crate) type Sessions = Arc<Mutex<Vec<Session<App>>>>;

/// Remembers the sessions that open.
pub(crate) fn remembering(app: &mut App) -> Sessions {
    let sessions: Sessions = Arc::default();
    let keep = Arc::clone(&sessions);
    app.on_open = Box::new(move |_, session, _| {
        keep.lock().expect("lock").push(session.clone());
        Ok(())
    });
    sessions
}

/// The session that was opened last. Its note comes a moment before it is remembered.
pub(crate) fn last(sessions: &Sessions) -> Session<App> {
    for _ in 0..3000 {
        if let Some(session) = sessions.lock().expect("lock").pop() {
            return session;
        }
        pause(10);
    }
    panic!("no session was opened");
}

/// A server with an encrypted port beside its plain one.
pub(crate) fn serve(
    config: Config,
    options: ListenOptions,
    app: (App, crossbeam_channel::Receiver<Note>),
) -> (Server, SocketAddr) {
    let server = Server::start(config, app);
    let at: Endpoint = "tls://127.0.0.1:0".parse().expect("endpoint");
    let listening = server.handle.listen(at, options).wait().expect("listening");
    let Address::Ip(address) = listening.address else {
        panic!("{:?}", listening.address);
    };
    (server, address)
}

fn echo_server(world: &World) -> (Server, SocketAddr) {
    serve(Config::default(), world.listen_options(), App::new())
}

pub(crate) fn endpoint(address: SocketAddr) -> Endpoint {
    format!("tls://{address}").parse().expect("endpoint")
}

fn with_session(session: SessionConfig) -> Config {
    Config {
        session,
        ..Config::default()
    }
}

#[test]
fn echoes_through_the_same_handler_and_codec_as_tcp() {
    for versions in VERSIONS {
        for lanes in [0, 2] {
            let (mut app, notes) = App::new();
            if lanes > 0 {
                app.route = Box::new(|s, _| Route::Keyed(s.id().as_u64()));
            }
            let config = Config {
                workers: Workers {
                    threads: lanes.min(1),
                    lanes,
                    ..Workers::default()
                },
                ..Config::default()
            };
            let world = World::speaking(versions);
            let (server, address) = serve(config, world.listen_options(), (app, notes));
            let mut client = world.foreign(address);
            for payload in mixed(5, 60) {
                assert!(client.ask(&payload) == payload);
            }
            // Several frames in records of a byte.
            let frames = [b"one".to_vec(), Vec::new(), vec![3; 500]];
            let bytes: Vec<u8> = frames.iter().flat_map(|f| frame(f)).collect();
            for piece in bytes.chunks(1) {
                client.stream.write_all(piece).expect("write");
                client.stream.flush().expect("flush");
            }
            for payload in frames {
                assert_eq!(client.receive(), payload);
            }
            drop(server);
        }
    }
}

#[test]
fn ten_mebibytes_flow_both_ways_between_two_of_ours() {
    const COUNT: usize = 160;
    const AHEAD: usize = 12;
    fn payload(number: usize) -> Bytes {
        let bytes: Vec<u8> = (0..65_536)
            .map(|i| (i * 7 + number * 13 + i / 256) as u8)
            .collect();
        Bytes::from(bytes)
    }
    for versions in VERSIONS {
        let world = World::speaking(versions);
        let (server, address) = echo_server(&world);
        let (mut app, notes) = App::new();
        app.on_open = Box::new(|cx, _, _| {
            for number in 0..AHEAD {
                let _ = cx.send(&payload(number)).expect("sends");
            }
            Ok(())
        });
        let next = Mutex::new(0);
        app.on_message = Box::new(move |cx, session, message| {
            let mut next = next.lock().expect("lock");
            assert!(message == payload(*next), "number {next}");
            *next += 1;
            if *next + AHEAD <= COUNT {
                let _ = cx.send(&payload(*next + AHEAD - 1)).expect("sends");
            } else if *next == COUNT {
                session.close();
            }
        });
        let client = Server::start(Config::default(), (app, notes));
        client
            .handle
            .connect(endpoint(address), world.connect_options());
        assert_eq!(client.closed(), CloseReason::Local);
        assert_eq!(server.closed(), CloseReason::Peer);
        let metrics = server.handle.metrics();
        assert_eq!(
            (metrics.frames_in, metrics.frames_out),
            (COUNT as u64, COUNT as u64)
        );
    }
}

#[test]
fn both_ends_know_who_the_other_is() {
    for versions in VERSIONS {
        let mut world = World::speaking(versions);
        world.server.client_auth = ClientAuth::Required(Pem::text(world.authority.pem()));
        world.client.identity = Some(identity(&world.authority.issue(&["client.test"])));
        world.server.alpn = vec![b"echo/2".to_vec(), b"echo/1".to_vec()];
        world.client.alpn = vec![b"echo/1".to_vec()];
        let (mut app, notes) = App::new();
        let accepted = remembering(&mut app);
        let (server, address) = serve(Config::default(), world.listen_options(), (app, notes));
        let (mut app, notes) = App::new();
        let made = remembering(&mut app);
        app.on_message = Box::new(|_, session, _| session.close());
        let client = Server::start(Config::default(), (app, notes));
        let options = world.connect_options();
        for resumed in [false, true] {
            client.handle.connect(endpoint(address), options.clone());
            client.expect(|n| matches!(n, Note::Open(_)));
            let made = last(&made);
            // An answer brings the tickets with it.
            let _ = made.send(Bytes::from_static(b"hello")).expect("sends");
            client.expect(|n| matches!(n, Note::Close(..)));
            let accepted = last(&accepted);
            for end in [made.peer(), accepted.peer()] {
                let tls = end.tls.as_ref().expect("encrypted");
                assert_eq!(tls.alpn.as_deref(), Some(&b"echo/1"[..]));
                assert_eq!(tls.certificates.len(), 1);
                assert_eq!(tls.resumed, resumed, "{versions:?}");
                assert_eq!(
                    tls.version == TlsVersion::V1_3,
                    versions == Versions::Only1_3
                );
            }
            assert_eq!(made.peer().remote, Address::Ip(address));
        }
        // Beside it the same handler serves a plain port.
        assert_eq!(server.client().ask(b"in the open"), b"in the open");
        let plain = last(&accepted);
        assert_eq!(plain.peer().tls, None);
    }
}

#[test]
fn a_client_that_says_nothing_costs_one_timeout_and_no_turns() {
    let world = World::new();
    let timeout = Duration::from_secs(1);
    let options = ListenOptions {
        handshake_timeout: timeout,
        ..world.listen_options()
    };
    let (server, address) = serve(Config::default(), options, App::new());
    let before = server.wait_for("listening", |m| m.registrations >= 2);
    let began = now();
    // One that stops in the middle of its hello.
    let mut begun = Client::connect(address);
    begun
        .stream
        .write_all(b"\x16\x03\x01\x02\x00")
        .expect("write");
    let mut silent: Vec<Client> = (1..5).map(|_| Client::connect(address)).collect();
    silent.push(begun);
    for client in &mut silent {
        assert_eq!(client.rest().expect("closed, not reset"), b"");
    }
    assert!(began.elapsed() >= timeout);
    drop(silent);
    let after = server.wait_for("five failures", |m| m.handshake_failures == 5);
    assert!(
        after.polls - before.polls < 40,
        "it slept: {} polls for five connections",
        after.polls - before.polls
    );
    assert_eq!(after.opened, 0);
    assert!(server.notes.is_empty(), "no callback knows of it");
    assert_eq!(world.foreign(address).ask(b"others"), b"others");
}

#[test]
fn handshakes_in_flight_are_limited_and_the_rest_waits() {
    let world = World::new();
    let config = Config {
        limits: Limits {
            handshakes: 2,
            ..Limits::default()
        },
        ..Config::default()
    };
    let options = ListenOptions {
        // Time enough for the third client to come.
        handshake_timeout: Duration::from_secs(2),
        ..world.listen_options()
    };
    let (server, address) = serve(config, options, App::new());
    let silent: Vec<Client> = (0..2).map(|_| Client::connect(address)).collect();
    server.wait_for("two handshakes", |m| m.handshakes == 2);
    // The kernel takes this one, and the listener leaves it there until one of the others has failed.
    let mut client = world.foreign(address);
    assert_eq!(client.ask(b"at last"), b"at last");
    let metrics = server.settled();
    assert!(metrics.handshake_pauses >= 1);
    assert!(metrics.handshake_failures >= 1);
    drop(silent);
}

#[test]
fn plain_text_to_an_encrypted_port_gets_an_alert_and_an_end() {
    let world = World::new();
    let (server, address) = echo_server(&world);
    let mut client = Client::connect(address);
    client
        .stream
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .expect("write");
    let answer = client.rest().expect("closed, not reset");
    assert_eq!((answer.len(), answer[0]), (7, 21), "one alert: {answer:?}");
    server.wait_for("a failure", |m| m.handshake_failures == 1);
    // And the other way round: a plain port that takes a hello for a frame of hundreds of megabytes.
    let (app, notes) = App::new();
    let errors = Arc::clone(&app.connect_errors);
    let ours = Server::start(Config::default(), (app, notes));
    ours.handle
        .connect(endpoint(server.address), world.connect_options());
    ours.expect(|n| matches!(n, Note::ConnectError(Some(_))));
    let error = errors.lock().expect("lock").remove(0);
    assert!(error.contains("handshake failed"), "{error}");
}

#[test]
fn a_certificate_that_is_not_trusted_is_a_failed_attempt_with_a_reason() {
    for versions in VERSIONS {
        let world = World::speaking(versions);
        let (server, address) = echo_server(&world);
        let mut distrustful = World::new();
        let fails = |world: &World, at: Endpoint, text: &str| {
            // A client for each, so that no late attempt of another is taken for one of these.
            let (app, notes) = App::new();
            let errors = Arc::clone(&app.connect_errors);
            let client = Server::start(Config::default(), (app, notes));
            client.handle.connect(at, world.connect_options());
            for _ in 0..3 {
                let note = client.expect(|n| matches!(n, Note::ConnectError(_)));
                assert!(matches!(note, Note::ConnectError(Some(wait)) if wait.as_millis() <= 100));
            }
            let errors = std::mem::take(&mut *errors.lock().expect("lock"));
            assert!(errors.len() >= 3, "backed off and tried again");
            for error in errors {
                assert!(error.contains(text), "{error:?} does not say {text:?}");
            }
        };
        fails(&distrustful, endpoint(address), "invalid peer certificate");
        distrustful.client = world.client.clone();
        distrustful.client.server_name = Some("another.test".into());
        fails(&distrustful, endpoint(address), "not valid for name");
        // A client without certificate at a server that wants one.
        let mut strict = World::speaking(versions);
        strict.server.client_auth = ClientAuth::Required(Pem::text(strict.authority.pem()));
        if versions == Versions::Only1_2 {
            let (_strict_server, address) = echo_server(&strict);
            fails(&strict, endpoint(address), "CertificateRequired");
        }
        let metrics = server.wait_for("failures", |m| m.handshake_failures >= 6);
        assert_eq!(metrics.opened, 0, "no session was opened for any of them");
    }
}

#[test]
fn a_refusal_after_the_client_thought_it_was_done_closes_the_session_and_backs_off() {
    // In TLS 1.3 a client is done before the server has seen its certificate, or that it has none.
    let mut world = World::speaking(Versions::Only1_3);
    world.server.client_auth = ClientAuth::Required(Pem::text(world.authority.pem()));
    let (server, address) = echo_server(&world);
    let client = Server::start(Config::default(), App::new());
    client
        .handle
        .connect(endpoint(address), world.connect_options());
    for _ in 0..3 {
        client.expect(|n| matches!(n, Note::Open(_)));
        let note = client.expect(|n| matches!(n, Note::Error(..)));
        assert!(
            matches!(&note, Note::Error(_, text) if text.contains("CertificateRequired")),
            "{note:?}"
        );
        assert_eq!(client.closed(), CloseReason::Transport);
    }
    assert_eq!(server.handle.metrics().opened, 0);
}

#[test]
fn an_end_without_a_goodbye_is_told_apart_from_one_with() {
    for versions in VERSIONS {
        let world = World::speaking(versions);
        let (server, address) = echo_server(&world);
        let mut client = world.foreign(address);
        assert_eq!(client.ask(b"hello"), b"hello");
        client
            .stream
            .sock
            .shutdown(std::net::Shutdown::Write)
            .expect("shutdown");
        server.expect(|n| matches!(n, Note::Error(..)));
        assert_eq!(server.closed(), CloseReason::Truncated);

        let mut client = world.foreign(address);
        client.send(b"last words");
        client.say_goodbye();
        assert_eq!(
            client.rest().expect("a goodbye in return"),
            frame(b"last words")
        );
        assert_eq!(server.closed(), CloseReason::Peer);

        // A goodbye in the middle of a frame is no proper end either.
        let mut client = world.foreign(address);
        client
            .stream
            .write_all(&frame(b"cut short")[..7])
            .expect("write");
        client.say_goodbye();
        server.expect(|n| matches!(n, Note::Error(..)));
        assert_eq!(server.closed(), CloseReason::Truncated);
    }
}

#[test]
fn a_graceful_close_delivers_everything_and_says_goodbye() {
    for versions in VERSIONS {
        let (mut app, notes) = App::new();
        app.on_message = Box::new(|cx, session, _| {
            for _ in 0..20 {
                let _ = cx
                    .send(&Bytes::from(vec![9; 50_000]))
                    .expect("below the limit");
            }
            session.close();
        });
        let world = World::speaking(versions);
        let (server, address) = serve(Config::default(), world.listen_options(), (app, notes));
        let mut client = world.foreign(address);
        client.send(b"go");
        for _ in 0..20 {
            assert_eq!(client.receive(), [9; 50_000]);
        }
        assert_eq!(client.rest().expect("a goodbye, no truncation"), b"");
        client.say_goodbye();
        drop(client);
        assert_eq!(server.closed(), CloseReason::Local);
    }
}

#[test]
fn a_drained_server_says_goodbye_to_all_and_forgets_unfinished_handshakes() {
    let world = World::new();
    let (server, address) = echo_server(&world);
    let mut silent = Client::connect(address);
    let mut clients: Vec<_> = (0..3).map(|_| world.foreign(address)).collect();
    for client in &mut clients {
        assert_eq!(client.ask(b"hello"), b"hello");
    }
    server.handle.drain(2 * PATIENCE);
    for client in &mut clients {
        assert_eq!(client.rest().expect("a goodbye"), b"");
        client.say_goodbye();
    }
    drop(clients);
    let began = now();
    let _ = silent.rest();
    server.join().expect("drained");
    assert!(began.elapsed() < PATIENCE, "not held up by a silent client");
}

#[test]
fn abort_resets_without_a_goodbye() {
    let (mut app, notes) = App::new();
    app.on_message = Box::new(|_, session, _| session.abort());
    let world = World::new();
    let (server, address) = serve(Config::default(), world.listen_options(), (app, notes));
    let mut client = world.foreign(address);
    client.send(b"abort");
    let error = client.rest().expect_err("no proper end");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(server.closed(), CloseReason::Aborted);
}

#[test]
fn half_close_keeps_the_session_for_writing() {
    for versions in VERSIONS {
        let (mut app, notes) = App::new();
        let kept: Sessions = Arc::default();
        let keep = Arc::clone(&kept);
        app.on_message = Box::new(move |_, session, _| {
            keep.lock().expect("lock").push(session.clone());
        });
        let config = with_session(SessionConfig {
            half_close: true,
            ..SessionConfig::default()
        });
        let world = World::speaking(versions);
        let (server, address) = serve(config, world.listen_options(), (app, notes));
        let mut client = world.foreign(address);
        client.send(b"question");
        client.say_goodbye();
        server.expect(|n| matches!(n, Note::Finished(_)));
        let session = kept
            .lock()
            .expect("lock")
            .pop()
            .expect("the question arrived");
        assert!(session.is_open(), "still there after the peer's goodbye");
        let _ = session.send(Bytes::from_static(b"answer")).expect("sent");
        assert_eq!(client.receive(), b"answer");
        session.close();
        assert_eq!(client.rest().expect("clean end"), b"");
        drop(client);
        assert_eq!(server.closed(), CloseReason::Local);
    }
}

#[test]
fn a_peer_that_does_not_read_is_no_longer_read() {
    let small = SessionConfig {
        send_buffer: Some(8 << 10),
        recv_buffer: Some(8 << 10),
        ..SessionConfig::default()
    };
    let world = World::new();
    let (server, address) = serve(with_session(small), world.listen_options(), App::new());
    let mut client = world.foreign(address);
    let Foreign { stream } = &mut client;
    let (conn, sock) = (&mut stream.conn, &mut stream.sock);
    sock.set_nonblocking(true).expect("option");
    let count = 4000;
    let mut bytes: Vec<u8> = (0..count).flat_map(|i| frame(&[i as u8; 2000])).collect();
    let total = bytes.len();
    // Write until nothing goes any more, without reading.
    let mut refused = 0;
    let mut write = |conn: &mut ClientConnection, sock: &mut TcpStream| -> bool {
        if !bytes.is_empty() {
            let taken = conn.writer().write(&bytes).expect("takes what it can");
            bytes.drain(..taken);
        }
        while conn.wants_write() {
            match conn.write_tls(sock) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return false,
                Err(e) => panic!("{e}"),
            }
        }
        true
    };
    let until = now() + PATIENCE;
    while refused < 50 {
        assert!(now() < until, "the kernel takes all of it");
        if write(conn, sock) {
            refused = 0;
        } else {
            refused += 1;
            pause(10);
        }
    }
    let settled = server.wait_for("congestion", |m| m.congestion_pauses > 0);
    assert!(
        settled.buffered <= 300 << 10,
        "memory stays bounded: {}",
        settled.buffered
    );
    assert!(settled.frames_in < count as u64, "reading stopped");
    assert_eq!(world.foreign(address).ask(b"others go on"), b"others go on");
    let mut heard = Vec::new();
    let until = now() + PATIENCE;
    while heard.len() < total {
        assert!(now() < until, "{} bytes of {total} came", heard.len());
        write(conn, sock);
        match conn.read_tls(sock) {
            Ok(0) => panic!("ended"),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => pause(1),
            Err(e) => panic!("{e}"),
        }
        conn.process_new_packets().expect("understands");
        let _ = conn.reader().read_to_end(&mut heard);
    }
    for (i, frame) in heard.chunks(2004).enumerate() {
        assert!(frame[4..] == [i as u8; 2000], "number {i}");
    }
    server.expect(|n| matches!(n, Note::Writable(_)));
}

#[test]
fn certificates_are_rotated_while_the_server_runs() {
    let folder = Folder::new("rotation");
    let world = World::new();
    let old = world.authority.issue(&["localhost"]);
    let new = world.authority.issue(&["localhost"]);
    let chain = folder.put("chain.pem", &old.chain);
    let key = folder.put("key.pem", &old.key);
    let tls = ServerTls::from_files(chain, key).expect("files");
    let options = ListenOptions {
        tls: Some(tls.clone()),
        ..ListenOptions::default()
    };
    let (_server, address) = serve(Config::default(), options, App::new());
    let shown =
        |client: &Foreign| client.stream.conn.peer_certificates().expect("shown")[0].to_vec();
    let der = |issued: &Issued| {
        CertificateDer::from_pem_slice(issued.chain.as_bytes())
            .expect("pem")
            .to_vec()
    };
    let mut before = world.foreign(address);
    assert_eq!(shown(&before), der(&old));
    folder.put("chain.pem", &new.chain);
    folder.put("key.pem", &new.key);
    tls.reload().expect("reloads");
    assert_eq!(shown(&world.foreign(address)), der(&new));
    assert_eq!(before.ask(b"still here"), b"still here");
}

#[test]
fn resumption_works_with_a_client_that_is_not_ours() {
    for versions in VERSIONS {
        let world = World::speaking(versions);
        let (_server, address) = echo_server(&world);
        let config = world.foreign_config();
        let mut kinds = Vec::new();
        for _ in 0..3 {
            let mut client = Foreign::connect(address, &config).expect("handshake");
            assert_eq!(client.ask(b"hello"), b"hello");
            kinds.push(client.stream.conn.handshake_kind().expect("done"));
        }
        assert_eq!(
            kinds,
            [
                rustls::HandshakeKind::Full,
                rustls::HandshakeKind::Resumed,
                rustls::HandshakeKind::Resumed
            ]
        );
    }
}

#[test]
fn an_encrypted_port_without_a_certificate_is_refused_at_once() {
    let server = Server::start(Config::default(), App::new());
    let at: Endpoint = "tls://127.0.0.1:0".parse().expect("endpoint");
    match server.handle.listen(at, ListenOptions::default()).wait() {
        Err(Error::Io(e)) => {
            assert_eq!(e.kind(), io::ErrorKind::InvalidInput);
            assert!(e.to_string().contains("certificate"), "{e}");
        }
        other => panic!("should not listen: {other:?}"),
    }
}

#[test]
fn sessions_that_end_in_the_middle_of_a_handshake_leave_nothing_behind() {
    let world = World::new();
    let (server, address) = echo_server(&world);
    for round in 0..20 {
        let mut client = Client::connect(address);
        let hello = [22, 3, 1, 0, 200];
        client.stream.write_all(&hello[..round % 6]).expect("write");
    }
    server.wait_for("all gone", |m| m.handshake_failures == 20);
    assert_eq!(world.foreign(address).ask(b"fine"), b"fine");
    let metrics = server.wait_for("none left", |m| m.sessions == 0);
    assert_eq!(metrics.opened, 1);
}
