//! Unix stream sockets: the same sessions over a file or an abstract name (network.md B.8, B.26).

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use crate::fixture::*;
use seamio::net::*;

/// A folder of its own, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("seamio-unix-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // A process of this number may have been killed once.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("a folder");
        Folder(path)
    }

    fn socket(&self) -> UnixAddress {
        UnixAddress::Path(self.0.join("socket"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn path(at: &UnixAddress) -> &std::path::Path {
    at.path().expect("a path")
}

/// A server on a unix socket, beside its own TCP port, and the sessions it opened.
fn serve(at: &UnixAddress, options: ListenOptions) -> (Server, Arc<Mutex<Vec<Session<App>>>>) {
    let (mut app, notes) = App::new();
    let sessions: Arc<Mutex<Vec<Session<App>>>> = Arc::default();
    let keep = Arc::clone(&sessions);
    app.on_open = Box::new(move |_, session, _| {
        keep.lock().expect("lock").push(session.clone());
        Ok(())
    });
    let server = Server::start(Config::default(), (app, notes));
    let listening = server.handle.listen(at.clone().into(), options).wait();
    let address = listening.expect("listening").address;
    assert_eq!(address, Address::Unix(at.clone()));
    (server, sessions)
}

fn refused(server: &Server, at: &UnixAddress) -> String {
    let options = ListenOptions::default();
    match server.handle.listen(at.clone().into(), options).wait() {
        Err(Error::Io(e)) => e.to_string(),
        other => panic!("should not listen: {other:?}"),
    }
}

fn echo(stream: &mut UnixStream, payload: &[u8]) {
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    stream.write_all(&frame(payload)).expect("write");
    let mut answer = vec![0; 4 + payload.len()];
    stream.read_exact(&mut answer).expect("an answer");
    assert!(answer == frame(payload));
}

#[test]
fn echoes_over_a_file_which_is_gone_after_the_end() {
    let folder = Folder::new();
    let at = folder.socket();
    let (server, sessions) = serve(&at, ListenOptions::default());
    let mut stream = UnixStream::connect(path(&at)).expect("connect");
    for payload in mixed(7, 60) {
        echo(&mut stream, &payload);
    }
    let session = sessions.lock().expect("lock")[0].clone();
    let peer = session.peer();
    assert_eq!(peer.local, Address::Unix(at.clone()));
    assert_eq!(peer.remote, Address::Unix(UnixAddress::Unnamed));
    stream.shutdown(std::net::Shutdown::Write).expect("finish");
    let mut rest = Vec::new();
    assert_eq!(stream.read_to_end(&mut rest).expect("end"), 0);
    assert_eq!(server.closed(), CloseReason::Peer);
    drop(server);
    assert!(!path(&at).exists(), "the file is removed");
}

#[test]
fn sessions_on_both_ends_are_ours_and_reconnect_over_a_restart() {
    let folder = Folder::new();
    let at = folder.socket();
    let (mut app, notes) = App::new();
    app.on_open = Box::new(|cx, _, _| {
        let _ = cx.send(&Bytes::from_static(b"hello"));
        Ok(())
    });
    app.on_message = Box::new(|_, _, _| {});
    let client = Server::start(Config::default(), (app, notes));
    let backoff = Backoff {
        base: Duration::from_millis(20),
        cap: Duration::from_millis(100),
        ..Backoff::default()
    };
    let options = ConnectOptions {
        backoff,
        ..ConnectOptions::default()
    };
    let endpoint: Endpoint = at.to_string().parse().expect("endpoint");
    client.handle.connect(endpoint, options);
    // Nobody is there yet.
    client.expect(|n| matches!(n, Note::ConnectError(Some(_))));
    for _ in 0..2 {
        let (server, _) = serve(&at, ListenOptions::default());
        client.expect(|n| matches!(n, Note::Open(_)));
        server.wait_for("the greeting", |m| m.frames_in == 1);
        drop(server);
        client.expect(|n| matches!(n, Note::Close(..)));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn both_ends_know_who_the_other_is() {
    let folder = Folder::new();
    let at = folder.socket();
    let (server, accepted) = serve(&at, ListenOptions::default());
    let connected: Arc<Mutex<Option<Credentials>>> = Arc::default();
    let keep = Arc::clone(&connected);
    let (mut app, notes) = App::new();
    app.on_open = Box::new(move |_, session, _| {
        *keep.lock().expect("lock") = session.peer().credentials;
        Ok(())
    });
    let client = Server::start(Config::default(), (app, notes));
    client.handle.connect(at.into(), ConnectOptions::default());
    client.expect(|n| matches!(n, Note::Open(_)));
    server.expect(|n| matches!(n, Note::Open(_)));
    let seen = accepted.lock().expect("lock")[0].peer().credentials;
    let seen = seen.expect("credentials");
    assert_eq!(seen.pid, std::process::id());
    assert_eq!(*connected.lock().expect("lock"), Some(seen));
    let mine = fs::metadata("/proc/self").expect("this process");
    use std::os::unix::fs::MetadataExt;
    assert_eq!((seen.uid, seen.gid), (mine.uid(), mine.gid()));
    // Over TCP nobody tells.
    let _tcp = server.client();
    server.expect(|n| matches!(n, Note::Open(_)));
    assert_eq!(accepted.lock().expect("lock")[1].peer().credentials, None);
}

#[test]
fn a_stale_file_is_replaced_but_a_live_server_and_other_files_are_not() {
    let folder = Folder::new();
    let at = folder.socket();
    // A server that died leaves its file behind.
    drop(UnixListener::bind(path(&at)).expect("bind"));
    assert!(path(&at).exists());
    let (server, _) = serve(&at, ListenOptions::default());
    let mut stream = UnixStream::connect(path(&at)).expect("connect");
    echo(&mut stream, b"first");
    // The live one keeps its file, and its clients, whoever tries to take it.
    let other = Server::start(Config::default(), App::new());
    let why = refused(&other, &at);
    assert!(why.contains("a server listens there"), "{why}");
    echo(&mut stream, b"second");
    echo(
        &mut UnixStream::connect(path(&at)).expect("connect"),
        b"third",
    );
    drop(server);
    // A file that is no socket is nobody's to remove.
    fs::write(path(&at), "precious").expect("write");
    let why = refused(&other, &at);
    assert!(why.contains("no socket"), "{why}");
    assert_eq!(fs::read(path(&at)).expect("still there"), b"precious");
}

#[test]
fn a_file_that_was_replaced_meanwhile_is_left_alone() {
    let folder = Folder::new();
    let at = folder.socket();
    let (server, _) = serve(&at, ListenOptions::default());
    fs::remove_file(path(&at)).expect("removed by somebody");
    let _theirs = UnixListener::bind(path(&at)).expect("bind");
    drop(server);
    assert!(path(&at).exists(), "it belongs to another server now");
}

#[test]
fn the_file_has_the_permissions_asked_for() {
    let folder = Folder::new();
    let at = folder.socket();
    for mode in [0o600, 0o666] {
        let options = ListenOptions {
            mode: Some(mode),
            ..ListenOptions::default()
        };
        let (_server, _) = serve(&at, options);
        let found = fs::metadata(path(&at)).expect("file").permissions().mode();
        assert_eq!(found & 0o777, mode);
        UnixStream::connect(path(&at)).expect("its owner may connect");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_abstract_name_needs_no_file() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    let name = format!("seamio-{}", std::process::id());
    let at: UnixAddress = format!("unix://@{name}").parse().expect("address");
    let (server, sessions) = serve(&at, ListenOptions::default());
    let address = SocketAddr::from_abstract_name(name).expect("name");
    let mut stream = UnixStream::connect_addr(&address).expect("connect");
    echo(&mut stream, b"abstract");
    let local = sessions.lock().expect("lock")[0].peer().local.clone();
    assert_eq!(local, Address::Unix(at.clone()));
    let why = refused(&server, &at);
    assert!(why.contains("in use"), "{why}");
}

#[test]
fn names_that_cannot_be_are_said_so() {
    let server = Server::start(Config::default(), App::new());
    let long = UnixAddress::Path("/tmp".repeat(40).into());
    let why = refused(&server, &long);
    assert!(why.contains("160 bytes, but no more than"), "{why}");
    let why = refused(&server, &UnixAddress::Unnamed);
    assert!(why.contains("needs a name"), "{why}");
    let why = refused(&server, &UnixAddress::Abstract(b"a\0b".to_vec()));
    assert!(why.contains("zero byte"), "{why}");
    let options = ConnectOptions {
        backoff: Backoff {
            attempts: Some(1),
            ..Backoff::default()
        },
        ..ConnectOptions::default()
    };
    server.handle.connect(long.into(), options);
    server.expect(|n| matches!(n, Note::ConnectError(None)));
}

/// Unlike TCP, a unix connect to a full queue fails at once; nothing would ever tell when there is room.
#[test]
fn a_full_queue_is_a_failed_attempt_and_tried_again() {
    let folder = Folder::new();
    let at = folder.socket();
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
    let socket = socket.expect("socket");
    let address = socket2::SockAddr::unix(path(&at)).expect("address");
    socket.bind(&address).expect("bind");
    socket.listen(0).expect("listen");
    let fill = || {
        let filler = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
        let filler = filler.expect("socket");
        filler.set_nonblocking(true).expect("nonblocking");
        filler.connect(&address).map(|()| filler)
    };
    let mut fillers = Vec::new();
    while let Ok(filler) = fill() {
        fillers.push(filler);
    }
    let client = Server::start(Config::default(), App::new());
    let options = ConnectOptions {
        backoff: Backoff {
            base: Duration::from_millis(20),
            cap: Duration::from_millis(50),
            ..Backoff::default()
        },
        ..ConnectOptions::default()
    };
    client.handle.connect(at.into(), options);
    for _ in 0..3 {
        client.expect(|n| matches!(n, Note::ConnectError(Some(_))));
    }
    assert_eq!(client.handle.metrics().opened, 0);
    for _ in 0..=fillers.len() {
        let taken = socket.accept();
        taken.expect("a waiting connection");
        if client.handle.metrics().opened > 0 {
            break;
        }
    }
    client.expect(|n| matches!(n, Note::Open(_)));
}

#[test]
fn accepted_sockets_have_the_buffers_asked_for() {
    let folder = Folder::new();
    let at = folder.socket();
    let session = SessionConfig {
        send_buffer: Some(32 << 10),
        recv_buffer: Some(48 << 10),
        ..SessionConfig::default()
    };
    let options = ListenOptions {
        session: Some(session),
        ..ListenOptions::default()
    };
    let (server, sessions) = serve(&at, options);
    let _stream = UnixStream::connect(path(&at)).expect("connect");
    server.expect(|n| matches!(n, Note::Open(_)));
    let session = sessions.lock().expect("lock")[0].clone();
    let (sender, found) = crossbeam_channel::bounded(1);
    session.with_socket(move |socket| {
        let sizes = (socket.send_buffer_size(), socket.recv_buffer_size());
        let _ = sender.send(sizes);
    });
    let (send, receive) = found.recv_timeout(PATIENCE).expect("sizes");
    // Linux doubles what is asked for.
    assert!((32 << 10..=64 << 10).contains(&send.expect("size")));
    assert!((48 << 10..=96 << 10).contains(&receive.expect("size")));
}
