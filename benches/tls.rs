//! What it costs to come to terms: full and resumed handshakes, one after the other.
//!
//! `cargo bench --bench tls [-- --csv]`. A server of ours on its own thread; a blocking client of rustls that connects, shakes
//! hands, sends one frame of 64 bytes, waits for its echo and closes. The arithmetic of both ends is in the time, since they
//! take turns. Certificates have ECDSA P-256 keys. Floor: the same over plain TCP. The two ends want a core each; with
//! one the numbers are higher by the switching between them.

#[path = "../tests/net/certificates.rs"]
mod certificates;
mod report;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use certificates::Authority;
use report::{Table, measure};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, Stream};
use seamio::net::*;

fn main() {
    let authority = Authority::new("authority");
    let issued = authority.issue_ecdsa(&["localhost"]);
    let identity = Identity::new(Pem::text(issued.chain), Pem::text(issued.key));
    let table = Table::new(&["per_second"]);
    let floor = {
        let address = serve("tcp://127.0.0.1:0", ListenOptions::default());
        measure(SAMPLES, 1, |_| exchange(&mut connect(address))).p50
    };
    for (name, versions, resumed) in [
        ("TLS 1.3, full", Versions::Only1_3, HandshakeKind::Full),
        (
            "TLS 1.3, resumed",
            Versions::Only1_3,
            HandshakeKind::Resumed,
        ),
        ("TLS 1.2, full", Versions::Only1_2, HandshakeKind::Full),
        (
            "TLS 1.2, resumed",
            Versions::Only1_2,
            HandshakeKind::Resumed,
        ),
    ] {
        let tls = ServerTlsOptions {
            versions,
            ..ServerTlsOptions::new(identity.clone())
        };
        let options = ListenOptions {
            tls: Some(ServerTls::new(tls).expect("server")),
            ..ListenOptions::default()
        };
        let address = serve("tls://127.0.0.1:0", options);
        let client = Client::new(&authority, resumed);
        // The first one is full in any case.
        client.visit(address);
        let times = measure(SAMPLES, 1, |_| assert_eq!(client.visit(address), resumed));
        table.row(name, &[1e9 / times.p50], Some(times), Some(floor));
    }
}

/// Echoes, until the process ends.
fn serve(at: &str, options: ListenOptions) -> SocketAddr {
    let echo = Callbacks::new(LengthDelimited).on_message(|cx, _, frame: Bytes| {
        let _ = cx.send(&frame);
    });
    let mut reactor = Reactor::new(Config::default(), echo).expect("reactor");
    let id = reactor
        .listen(at.parse().expect("endpoint"), options)
        .expect("listen");
    let address = reactor.local_addr(id).expect("address");
    thread::spawn(move || reactor.run());
    address
}

struct Client(Arc<ClientConfig>);

impl Client {
    fn new(authority: &Authority, kind: HandshakeKind) -> Client {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("pem");
        roots.add(root).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        if kind == HandshakeKind::Full {
            config.resumption = rustls::client::Resumption::disabled();
        }
        Client(Arc::new(config))
    }

    /// One connection, and how it began.
    fn visit(&self, address: SocketAddr) -> HandshakeKind {
        let mut socket = connect(address);
        let name = ServerName::try_from("localhost").expect("name");
        let mut session = ClientConnection::new(Arc::clone(&self.0), name).expect("client");
        exchange(&mut Stream::new(&mut session, &mut socket));
        let kind = session.handshake_kind().expect("a handshake");
        session.send_close_notify();
        session.write_tls(&mut socket).expect("write");
        kind
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("connect");
    socket.set_nodelay(true).expect("option");
    socket
}

/// One frame there and back.
fn exchange(stream: &mut (impl Read + Write)) {
    let mut frame = [7; 68];
    frame[..4].copy_from_slice(&64u32.to_be_bytes());
    stream.write_all(&frame).expect("write");
    stream.flush().expect("flush");
    stream.read_exact(&mut frame).expect("echo");
}

const SAMPLES: usize = 2000;
