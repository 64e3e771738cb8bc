//! Encrypted sessions with OpenSSL's command-line client and server (network.md B.22). Skipped, and said so, where there is no
//! `openssl`.

use std::io::{BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use bytes::Bytes;
use crossbeam_channel::{Receiver, unbounded};

use crate::certificates::Folder;
use crate::fixture::*;
use crate::tls::*;
use seamio::net::*;

/// Whether to go on.
fn installed() -> bool {
    let there = Command::new("openssl")
        .arg("version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !there {
        println!("SKIPPED: openssl is not installed");
    }
    there
}

/// A running `openssl`, killed at the end.
struct Openssl {
    child: Child,
    input: ChildStdin,
    output: Receiver<u8>,
    errors: Receiver<u8>,
}

impl Openssl {
    fn start(arguments: &[&str]) -> Openssl {
        let mut child = Command::new("openssl")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl");
        Openssl {
            input: child.stdin.take().expect("piped"),
            output: listen(child.stdout.take().expect("piped")),
            errors: listen(child.stderr.take().expect("piped")),
            child,
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.input.write_all(bytes).expect("write");
        self.input.flush().expect("flush");
    }

    fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            match self.output.recv_timeout(PATIENCE) {
                Ok(byte) => bytes.push(byte),
                Err(e) => panic!("{e} after {bytes:?}: {}", self.end()),
            }
        }
        bytes
    }

    /// Reads until it has said this.
    fn says(&mut self, text: &str) {
        wait_for(&self.output, text);
    }

    /// Reads until it has said this beside its data.
    fn remarks(&mut self, text: &str) {
        wait_for(&self.errors, text);
    }

    fn ask(&mut self, payload: &[u8]) {
        self.write(&frame(payload));
        assert!(self.read(payload.len() + 4) == frame(payload));
    }

    /// Ends it and tells what it complained about.
    fn end(&mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        String::from_utf8_lossy(&self.errors.iter().collect::<Vec<u8>>()).into_owned()
    }
}

/// Whatever comes, byte by byte.
fn listen(stream: impl Read + Send + 'static) -> Receiver<u8> {
    let (sender, receiver) = unbounded();
    std::thread::spawn(move || {
        for byte in BufReader::new(stream).bytes().map_while(Result::ok) {
            if sender.send(byte).is_err() {
                break;
            }
        }
    });
    receiver
}

fn wait_for(bytes: &Receiver<u8>, text: &str) {
    let (began, mut seen) = (now(), Vec::new());
    while !seen.ends_with(text.as_bytes()) {
        let left = PATIENCE.saturating_sub(began.elapsed());
        match bytes.recv_timeout(left) {
            Ok(byte) => seen.push(byte),
            Err(e) => panic!("{e}, no {text:?} in {:?}", String::from_utf8_lossy(&seen)),
        }
    }
}

impl Drop for Openssl {
    fn drop(&mut self) {
        self.end();
    }
}

fn flag(versions: Versions) -> &'static str {
    match versions {
        Versions::Only1_2 => "-tls1_2",
        _ => "-tls1_3",
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn client<'a>(at: &'a str, root: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["s_client", "-connect", at, "-servername", "localhost"];
    arguments.extend([
        "-CAfile",
        root,
        "-verify_return_error",
        "-verify_hostname",
        "localhost",
    ]);
    arguments.extend(more);
    arguments
}

#[test]
fn openssl_talks_to_our_server() {
    if !installed() {
        return;
    }
    let folder = Folder::new("openssl-client");
    for versions in VERSIONS {
        let mut world = World::new();
        world.server.client_auth = ClientAuth::Required(Pem::text(world.authority.pem()));
        world.server.alpn = vec![b"echo".to_vec()];
        let ours = match versions {
            Versions::Only1_2 => world.authority.issue_ecdsa(&["localhost"]),
            _ => world.authority.issue(&["localhost"]),
        };
        world.server.identity = identity(&ours);
        let root = folder.put("root.pem", world.authority.pem());
        let theirs = world.authority.issue_ecdsa(&["openssl.test"]);
        let chain = folder.put("client.pem", &theirs.chain);
        let key = folder.put("client.key", &theirs.key);
        let (mut app, notes) = App::new();
        let sessions = remembering(&mut app);
        let (server, address) = serve(Config::default(), world.listen_options(), (app, notes));
        let at = address.to_string();
        let more = [
            "-quiet",
            flag(versions),
            "-alpn",
            "echo",
            "-cert",
            text(&chain),
            "-key",
            text(&key),
        ];
        let mut openssl = Openssl::start(&client(&at, text(&root), &more));
        openssl.ask(b"hello");
        for payload in mixed(3, 30) {
            openssl.ask(&payload);
        }
        let session = last(&sessions);
        let tls = session.peer().tls.clone().expect("encrypted");
        assert_eq!(tls.alpn.as_deref(), Some(&b"echo"[..]));
        assert_eq!(tls.server_name.as_deref(), Some("localhost"));
        assert!(!tls.certificates.is_empty(), "its own, and maybe the root");
        assert_eq!(
            tls.version == TlsVersion::V1_2,
            versions == Versions::Only1_2
        );
        // It takes our goodbye for one, says its own and ends.
        session.close();
        assert_eq!(server.closed(), CloseReason::Local);
        let errors = openssl.end();
        assert!(!errors.contains("unexpected eof"), "{errors}");
    }
}

#[test]
fn openssl_updates_its_keys_and_resumes() {
    if !installed() {
        return;
    }
    let folder = Folder::new("openssl-resume");
    let world = World::new();
    let root = folder.put("root.pem", world.authority.pem());
    let (server, address) = serve(Config::default(), world.listen_options(), App::new());
    let at = address.to_string();
    let mut openssl = Openssl::start(&client(&at, text(&root), &["-tls1_3"]));
    openssl.says("Verify return code: 0 (ok)\n");
    for round in 0..3 {
        // A key update that asks for ours, then a frame in two lines: head and payload.
        openssl.write(b"K\n");
        openssl.remarks("KEYUPDATE\n");
        openssl.write(&frame(format!("round {round}\n").as_bytes()));
        openssl.says(&format!("round {round}\n"));
    }
    drop(openssl);
    server.expect(|n| matches!(n, Note::Close(..)));
    for versions in VERSIONS {
        let saved = folder.0.join(format!("session{}", flag(versions)));
        for (option, kind) in [("-sess_out", "New, "), ("-sess_in", "Reused, ")] {
            let more = [flag(versions), option, text(&saved)];
            let mut openssl = Openssl::start(&client(&at, text(&root), &more));
            openssl.says(kind);
            openssl.write(&frame(b"hello\n"));
            openssl.says("hello\n");
            server.expect(|n| matches!(n, Note::Open(_)));
        }
    }
}

#[test]
fn openssl_is_refused_without_a_certificate() {
    if !installed() {
        return;
    }
    let folder = Folder::new("openssl-refused");
    let mut world = World::new();
    world.server.client_auth = ClientAuth::Required(Pem::text(world.authority.pem()));
    let root = folder.put("root.pem", world.authority.pem());
    let (server, address) = serve(Config::default(), world.listen_options(), App::new());
    let at = address.to_string();
    for versions in VERSIONS {
        let more = ["-quiet", flag(versions)];
        let mut openssl = Openssl::start(&client(&at, text(&root), &more));
        let status = openssl.child.wait().expect("ends");
        let errors = openssl.end();
        assert!(
            !status.success() && errors.contains("certificate required"),
            "{errors}"
        );
    }
    assert_eq!(server.handle.metrics().opened, 0);
}

#[test]
fn our_client_talks_to_openssl() {
    if !installed() {
        return;
    }
    let folder = Folder::new("openssl-server");
    for versions in VERSIONS {
        let mut world = World::new();
        world.client.identity = Some(identity(&world.authority.issue_ecdsa(&["client.test"])));
        world.client.alpn = vec![b"other".to_vec(), b"echo".to_vec()];
        let root = folder.put("root.pem", world.authority.pem());
        let issued = world.authority.issue_ecdsa(&["127.0.0.1"]);
        let chain = folder.put("server.pem", &issued.chain);
        let key = folder.put("server.key", &issued.key);
        // It cannot tell which port it got.
        let reserved = HeldPort::new();
        let address = reserved.address;
        let at = address.to_string();
        let mut openssl = Openssl::start(&[
            "s_server",
            "-quiet",
            flag(versions),
            "-accept",
            &at,
            "-cert",
            text(&chain),
            "-key",
            text(&key),
            "-CAfile",
            text(&root),
            "-Verify",
            "2",
            "-verify_return_error",
            "-alpn",
            "echo",
        ]);
        let (mut app, notes) = App::new();
        let sessions = remembering(&mut app);
        app.on_message = Box::new(|cx, session, message| {
            let _ = cx.send(&message).expect("sends");
            if message == "enough" {
                session.close();
            }
        });
        let ours = Server::start(Config::default(), (app, notes));
        let connector = ours
            .handle
            .connect(endpoint(address), world.connect_options());
        ours.expect(|n| matches!(n, Note::Open(_)));
        for payload in mixed(4, 30) {
            openssl.ask(&payload);
        }
        let session = last(&sessions);
        let tls = session.peer().tls.clone().expect("encrypted");
        assert_eq!(tls.alpn.as_deref(), Some(&b"echo"[..]));
        assert_eq!(tls.server_name.as_deref(), Some("127.0.0.1"));
        assert_eq!(
            tls.version == TlsVersion::V1_2,
            versions == Versions::Only1_2
        );
        assert!(!tls.resumed);
        let _ = session
            .send(Bytes::from_static(b"by itself"))
            .expect("sends");
        assert_eq!(openssl.read(13), frame(b"by itself"));
        // The second time it remembers us.
        ours.handle.disconnect(connector);
        ours.expect(|n| matches!(n, Note::Close(..)));
        ours.handle
            .connect(endpoint(address), world.connect_options());
        ours.expect(|n| matches!(n, Note::Open(_)));
        openssl.ask(b"enough");
        assert_eq!(ours.closed(), CloseReason::Local);
    }
}

#[test]
fn a_server_of_openssl_that_is_not_trusted_is_refused() {
    if !installed() {
        return;
    }
    let folder = Folder::new("openssl-distrust");
    let world = World::new();
    let issued = world.authority.issue_ecdsa(&["127.0.0.1"]);
    let chain = folder.put("server.pem", &issued.chain);
    let key = folder.put("server.key", &issued.key);
    let reserved = HeldPort::new();
    let address = reserved.address;
    let at = address.to_string();
    let arguments = [
        "s_server",
        "-accept",
        &at,
        "-cert",
        text(&chain),
        "-key",
        text(&key),
    ];
    let mut openssl = Openssl::start(&arguments);
    openssl.says("ACCEPT\n");
    let (app, notes) = App::new();
    let errors = std::sync::Arc::clone(&app.connect_errors);
    let ours = Server::start(Config::default(), (app, notes));
    ours.handle
        .connect(endpoint(address), World::new().connect_options());
    ours.expect(|n| matches!(n, Note::ConnectError(Some(_))));
    let error = errors.lock().expect("lock").remove(0);
    assert!(error.contains("invalid peer certificate"), "{error}");
    openssl.remarks("alert");
}
