//! What a message costs over each transport, and a handshake: system calls by kind, CPU of the server's thread, throughput.
//!
//! `cargo bench --bench transports [-- --csv]`. Server and client are both ours, each a reactor on a thread of its own; the
//! client keeps a fixed number of messages under way on each connection. The counts are the server's own, so that what a
//! layer adds can be compared with plain TCP; `calls` is all of them. Handshakes are those of a second round on the same
//! connector settings too, which can resume.

#[path = "../tests/net/certificates.rs"]
mod certificates;
mod report;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use seamio::net::{
    Address, ClientTls, ClientTlsOptions, Compression, Config, ConnectOptions, Cx, DeflateLevel,
    Endpoint, Handle, Handler, Identity, LaneId, Lanes, LengthDelimited, ListenOptions, Metrics,
    Pem, Reactor, Refused, Route, ServerTls, ServerTlsOptions, Session, SessionConfig, Trust,
    WsServer,
};

use certificates::Authority;
use report::Table;

fn main() {
    let table = Table::new(&[
        "payload", "depth", "polls", "reads", "writes", "calls", "cpu_ns", "per_sec",
    ]);
    let credentials = Credentials::new();
    for (name, scheme, compression) in [
        ("tcp", "tcp", Compression::None),
        ("unix", "unix", Compression::None),
        ("udp", "udp", Compression::None),
        ("tls", "tls", Compression::None),
        ("ws", "ws", Compression::None),
        ("wss", "wss", Compression::None),
        ("deflate", "tcp", Compression::Deflate(DeflateLevel::Fast)),
        ("snappy", "tcp", Compression::Snappy),
    ] {
        for (payload, depth) in [(64, 1), (64, 16), (16 << 10, 16)] {
            if scheme == "udp" && payload > 1 << 10 {
                continue; // many of them at once would not fit the socket's buffer, and nobody sends them again
            }
            let way = Way::new(&credentials, scheme, compression);
            let row = way.echo(payload, depth);
            table.row(name, &row, None, None);
        }
    }
    for scheme in ["tcp", "tls", "ws", "wss"] {
        let way = Way::new(&credentials, scheme, Compression::None);
        for (round, row) in way.handshakes().into_iter().enumerate() {
            let name = format!("open {scheme}, round {}", round + 1);
            table.row(&name, &row, None, None);
        }
    }
    table.remark("open: per connection, with its handshake and one echo.");
}

struct Credentials {
    server: ServerTls,
    client: ClientTls,
}

impl Credentials {
    fn new() -> Self {
        let authority = Authority::new("bench");
        let issued = authority.issue_ecdsa(&["127.0.0.1"]);
        let identity = Identity::new(Pem::text(issued.chain), Pem::text(issued.key));
        let trust = Trust::Roots(Pem::text(authority.pem()));
        let options = ClientTlsOptions {
            trust,
            ..ClientTlsOptions::default()
        };
        Credentials {
            server: ServerTls::new(ServerTlsOptions::new(identity)).expect("an identity"),
            client: ClientTls::new(options).expect("a root"),
        }
    }
}

/// How to listen and how to get there.
struct Way {
    scheme: &'static str,
    listen: ListenOptions,
    connect: ConnectOptions,
}

impl Way {
    fn new(credentials: &Credentials, scheme: &'static str, compression: Compression) -> Self {
        let session = Some(SessionConfig {
            compression,
            ..SessionConfig::default()
        });
        let encrypted = matches!(scheme, "tls" | "wss");
        Way {
            scheme,
            listen: ListenOptions {
                tls: encrypted.then(|| credentials.server.clone()),
                ws: WsServer::default(),
                session: session.clone(),
                ..ListenOptions::default()
            },
            connect: ConnectOptions {
                tls: encrypted.then(|| credentials.client.clone()),
                session,
                ..ConnectOptions::default()
            },
        }
    }

    /// Messages back and forth on one connection; the numbers of the row.
    fn echo(&self, payload: usize, depth: u64) -> [f64; 8] {
        let server = Server::start(self);
        let message = Bytes::from((0..payload).map(|n| (n * 7) as u8).collect::<Vec<u8>>());
        let warm = self.exchange(&server, &message, depth, MESSAGES / 10, 1);
        assert!(warm > 0.0);
        let (before, cpu) = server.look();
        let seconds = self.exchange(&server, &message, depth, MESSAGES, 1);
        let (after, cpu_after) = server.look();
        let frames = (after.frames_in - before.frames_in) as f64;
        assert!(frames >= MESSAGES as f64);
        let each = |count: fn(&Metrics) -> u64| (count(&after) - count(&before)) as f64 / frames;
        let row = [
            payload as f64,
            depth as f64,
            each(|m| m.polls),
            each(|m| m.reads),
            each(|m| m.writes),
            each(Metrics::system_calls),
            (cpu_after - cpu) as f64 / frames,
            (frames / seconds).round(),
        ];
        server.end();
        row
    }

    /// Connections opened at once, twice; the numbers of both rows, each per connection.
    fn handshakes(&self) -> [[f64; 8]; 2] {
        let server = Server::start(self);
        let message = Bytes::from_static(b"hello");
        let rows = [(); 2].map(|()| {
            let (before, cpu) = server.look();
            let seconds = self.exchange(&server, &message, 1, OPENED, OPENED as usize);
            let (after, cpu_after) = server.look();
            let each = |count: fn(&Metrics) -> u64| {
                (count(&after) - count(&before)) as f64 / OPENED as f64
            };
            [
                message.len() as f64,
                1.0,
                each(|m| m.polls),
                each(|m| m.reads),
                each(|m| m.writes),
                each(Metrics::system_calls),
                (cpu_after - cpu) as f64 / OPENED as f64,
                (OPENED as f64 / seconds).round(),
            ]
        });
        server.end();
        rows
    }

    /// A client that gets `total` answers over `connections`. Seconds it took.
    #[allow(clippy::disallowed_methods)] // A benchmark reads the clock.
    fn exchange(
        &self,
        server: &Server,
        message: &Bytes,
        depth: u64,
        total: u64,
        connections: usize,
    ) -> f64 {
        let asker = Peer::Asker {
            message: message.clone(),
            depth,
            left: AtomicU64::new(total),
            got: Arc::default(),
        };
        let got = asker.got();
        let mut client = Reactor::new(Config::default(), asker).expect("a poller");
        let options = ConnectOptions {
            connections,
            ..self.connect.clone()
        };
        let start = Instant::now();
        client.connect(server.to.clone(), options);
        let (mut seen, mut moved) = (0, start);
        while seen < total {
            let turn = client.poll_once(Some(PATIENCE));
            turn.expect("a turn");
            let now = got.load(Ordering::Relaxed);
            if now > seen {
                (seen, moved) = (now, Instant::now());
            }
            let stuck = moved.elapsed() >= PATIENCE;
            assert!(!stuck, "{}: {seen} of {total}", self.scheme);
        }
        start.elapsed().as_secs_f64()
    }
}

struct Server {
    handle: Handle<Peer>,
    to: Endpoint,
    clock: libc::clockid_t,
    thread: thread::JoinHandle<()>,
}

impl Server {
    fn start(way: &Way) -> Self {
        let (tell, told) = mpsc::channel();
        let at: Endpoint = match way.scheme {
            "unix" => {
                let path = std::env::temp_dir().join(format!("seamio-{}", std::process::id()));
                format!("unix://{}", path.display())
            }
            scheme => format!("{scheme}://127.0.0.1:0"),
        }
        .parse()
        .expect("an endpoint");
        let (listen, scheme) = (way.listen.clone(), way.scheme);
        let thread = thread::spawn(move || {
            let mut reactor = Reactor::new(Config::default(), Peer::Echo).expect("a poller");
            let listener = reactor.listen(at, listen).expect("a free address");
            let to = match reactor.address(listener) {
                Some(Address::Unix(at)) => Endpoint::from(at),
                _ => {
                    let at = reactor.local_addr(listener).expect("bound");
                    format!("{scheme}://{at}").parse().expect("an endpoint")
                }
            };
            tell.send((reactor.handle(), to, own_clock()))
                .expect("the case waits");
            reactor.run().expect("the reactor ends in order");
        });
        let (handle, to, clock) = told.recv().expect("the server starts");
        Server {
            handle,
            to,
            clock,
            thread,
        }
    }

    /// The counters and the CPU of the thread, once it has nothing left to do.
    #[allow(clippy::disallowed_methods)] // A benchmark waits.
    fn look(&self) -> (Metrics, u64) {
        let mut last = self.handle.metrics();
        loop {
            thread::sleep(Duration::from_millis(20));
            let now = self.handle.metrics();
            if now == last {
                return (now, nanos(self.clock));
            }
            last = now;
        }
    }

    fn end(self) {
        self.handle.drain(Duration::from_secs(1));
        self.thread.join().expect("the server ends");
    }
}

/// Both ends: one answers, the other asks.
enum Peer {
    Echo,
    Asker {
        message: Bytes,
        depth: u64,
        /// Messages still to be sent.
        left: AtomicU64,
        got: Arc<AtomicU64>,
    },
}

impl Peer {
    fn got(&self) -> Arc<AtomicU64> {
        match self {
            Peer::Echo => Arc::default(),
            Peer::Asker { got, .. } => Arc::clone(got),
        }
    }

    fn ask(&self, cx: &mut Cx<'_, Self>) {
        if let Peer::Asker { message, left, .. } = self {
            let more = |left: u64| left.checked_sub(1);
            if left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
                .is_ok()
            {
                let _ = cx.send(message).expect("a message");
            }
        }
    }
}

impl Handler for Peer {
    type Codec = LengthDelimited;
    type Lane = ();
    type Event = ();

    fn codec(&self) -> &LengthDelimited {
        &LengthDelimited
    }

    fn lane(&self, _id: LaneId, _lanes: Lanes<Self>) {}

    fn route(&self, _session: &Session<Self>, _message: &Bytes) -> Route {
        Route::Inline
    }

    fn on_open(
        &self,
        cx: &mut Cx<'_, Self>,
        _session: &Session<Self>,
        _config: &mut SessionConfig,
    ) -> Result<(), Refused> {
        if let Peer::Asker { depth, .. } = self {
            (0..*depth).for_each(|_| self.ask(cx));
        }
        Ok(())
    }

    fn on_message(&self, cx: &mut Cx<'_, Self>, _session: &Session<Self>, message: Bytes) {
        match self {
            Peer::Echo => {
                let _ = cx.send(&message).expect("an answer");
            }
            Peer::Asker { got, .. } => {
                got.fetch_add(1, Ordering::Relaxed);
                self.ask(cx);
            }
        }
    }
}

/// The CPU clock of the calling thread, for others to read.
fn own_clock() -> libc::clockid_t {
    let mut clock = 0;
    // SAFETY: the thread is this one, and the clock's number is written to a place of its type.
    let failed = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut clock) };
    assert_eq!(failed, 0, "every thread has a clock");
    clock
}

fn nanos(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one timespec.
    let failed = unsafe { libc::clock_gettime(clock, &mut time) };
    assert_eq!(failed, 0, "the thread lives");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

const MESSAGES: u64 = 20_000;
const OPENED: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(30);
