//! Configuration of a reactor: plain structs with defaults, every limit named and finite (network.md B.39, C.1).

use std::io;
use std::time::Duration;

/// Everything a reactor can be told at its creation. There is no value that makes it panic: nonsense is taken as the nearest
/// sense, as said at each field.
///
/// ```
/// use std::time::Duration;
/// use seamio::net::{Config, IdleStrategy, SessionConfig, Workers};
///
/// let config = Config {
///     session: SessionConfig {
///         idle_timeout: Some(Duration::from_secs(30)),
///         ..SessionConfig::default()
///     },
///     workers: Workers::of(2),
///     idle: IdleStrategy::Spin(Duration::from_micros(50)),
///     ..Config::default()
/// };
/// # let _ = config;
/// ```
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// What a session gets unless its listener, its connector or `on_open` say otherwise.
    pub session: SessionConfig,
    /// Threads beside the reactor.
    pub workers: Workers,
    /// What the reactor does when there is nothing to do.
    pub idle: IdleStrategy,
    /// What the reactor holds at most.
    pub limits: Limits,
    /// What one session, listener or turn may use before the others get theirs.
    pub budget: Budget,
    /// Each turn leaves the poller's descriptor such that it becomes readable when the next turn is due, whatever for: a
    /// host that has taken its first turn may sleep on it alone. Costs a system call when the next timer changes. Linux
    /// only. Default off.
    pub descriptor_tells_all: bool,
    /// Ask the kernel to poll the network devices instead of waiting for their interrupts: less latency for more of the
    /// processor. Linux only, 6.9 or later; a reactor that cannot have it is not made, and the error says why. Default off.
    pub busy_poll: Option<BusyPoll>,
    /// Memory taken at the start instead of when it is first needed.
    pub prepare: Prepare,
}

/// Memory taken at the start, for hosts that cannot have an allocation while they run. A number too small costs
/// allocations later, nothing else; one too large costs memory. All zero by default, each at most 1,048,576.
///
/// Opening a session allocates all the same, and so does what the handler and the codec do. What a session then receives
/// and sends in frames below 4 KiB does not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Prepare {
    /// Sessions, connection attempts and listeners at once.
    pub sessions: usize,
    /// Timers at once. A session has one each for `tick`, `idle_timeout`, a stalled peer and its own close.
    pub timers: usize,
    /// Sessions that have bytes waiting in both directions at once: about 116 KiB each, within [`Limits::pool`].
    pub buffers: usize,
}

impl Prepare {
    pub(crate) fn at_most(self, most: usize) -> Prepare {
        Prepare {
            sessions: self.sessions.min(most),
            timers: self.timers.min(most),
            buffers: self.buffers.min(most),
        }
    }
}

/// How the kernel polls network devices for a reactor. See its documentation of `SO_BUSY_POLL` and of the busy polling of
/// epoll; devices without a driver that knows how, the loopback among them, are not affected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusyPoll {
    /// How long one wait polls before it sleeps; counted in microseconds. Default 50 µs.
    pub time: Duration,
    /// Packets taken at once. More than 64 needs the capability CAP_NET_ADMIN. Default 8.
    pub packets: u16,
    /// Keep the device's interrupts off as long as polling keeps up. Default off.
    pub prefer: bool,
}

impl Default for BusyPoll {
    fn default() -> Self {
        BusyPoll {
            time: Duration::from_micros(50),
            packets: 8,
            prefer: false,
        }
    }
}

/// Settings of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionConfig {
    /// Longest frame accepted, in bytes. A frame that announces more ends the session; a longer datagram is dropped.
    /// Default 16 MiB.
    pub max_frame: usize,
    /// Period of `on_tick`; zero switches it off, which is the default.
    pub tick: Duration,
    /// Silence of the peer after which the session is closed. Silence we caused by not reading does not count. Default:
    /// `None`, never.
    pub idle_timeout: Option<Duration>,
    /// How long a peer may take no byte while some are waiting for it. Default 30 s.
    ///
    /// Datagrams that could not leave for so long are dropped, and their session stays.
    pub write_stall: Duration,
    /// How long a graceful close may take before it becomes an abort. Default 3 s.
    pub drain_timeout: Duration,
    /// Bytes waiting to be sent above which the session counts as congested. Default 64 KiB.
    pub high_water: usize,
    /// Bytes waiting at which a congested session is writable again; no more than `high_water` counts. Default 32 KiB.
    pub low_water: usize,
    /// Bytes waiting that are never exceeded, see [`SessionConfig::overflow`]. Only a single message may be longer, when
    /// nothing else waits. Default 8 MiB.
    pub hard_limit: usize,
    /// What happens to a send that would exceed the hard limit. Default: it is refused. A datagram is dropped then, whatever
    /// this says.
    pub overflow: Overflow,
    /// Stop reading a congested session, so that a peer that does not read cannot make us hold its answers. Default on.
    pub pause_reads_when_congested: bool,
    /// Send small segments at once. Default on.
    pub nodelay: bool,
    /// Let the kernel probe silent connections. Default off.
    pub keepalive: Option<Keepalive>,
    /// Fixed receive buffer of the socket in bytes. `None`, the default, keeps the kernel's autotuning.
    pub recv_buffer: Option<usize>,
    /// Fixed send buffer of the socket in bytes. `None`, the default, keeps the kernel's autotuning.
    pub send_buffer: Option<usize>,
    /// Compression of the byte stream; both ends must agree beforehand.
    pub compression: Compression,
    /// Keep the session for writing after the peer finished sending. Default off: flush what is queued, then close.
    pub half_close: bool,
}

impl Default for SessionConfig {
    fn default() -> Self {
        SessionConfig {
            max_frame: 16 << 20,
            tick: Duration::ZERO,
            idle_timeout: None,
            write_stall: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(3),
            high_water: 64 << 10,
            low_water: 32 << 10,
            hard_limit: 8 << 20,
            overflow: Overflow::Refuse,
            pause_reads_when_congested: true,
            nodelay: true,
            keepalive: None,
            recv_buffer: None,
            send_buffer: None,
            compression: Compression::None,
            half_close: false,
        }
    }
}

/// What happens when a send would exceed the hard limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The send fails, the session stays.
    #[default]
    Refuse,
    /// The session is closed.
    Close,
}

/// Compression of a stream session's bytes, in both directions (feature `compress`).
///
/// Nothing is negotiated: both ends must be configured alike, as with getty's `SetCompressType`, whose formats these are.
/// [`Compression::None`] means the bytes as they are (getty's `SetCompressType(CompressNone)` does not: it sends stored
/// deflate blocks, which [`Compression::Deflate`] understands and getty's side understands of it).
///
/// The state spans the stream, so later messages profit from earlier ones, and everything sent in one turn can be read by
/// the peer at its end. Inflating is done piece by piece under the same budgets and limits as reading, so a small input
/// that means a huge one fills no memory. A corrupt stream ends the session.
///
/// It is for byte streams: TCP, TLS and unix sockets. WebSocket has its own, `WsDeflate`; over WebSocket and UDP this setting
/// is ignored with a warning. Do not compress secrets together with text an attacker chooses over TLS: lengths tell.
///
/// # Costs
/// Memory is taken when a direction is first used and kept until the session closes:
///
/// | | sending | receiving | made for |
/// |---|---|---|---|
/// | `Deflate` | about 320 KiB | 43 KiB | slow or metered links with few sessions |
/// | `Snappy` | 2 KiB, 34 KiB once pieces exceed 1 KiB | up to 75 KiB, the longest chunk that came | fast links, large repetitive payloads |
///
/// Each turn that sends costs 5 to 10 bytes of its own. On a fast network neither pays for small messages; the
/// processor time is spent on the reactor's thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Compression {
    /// The bytes as they are.
    #[default]
    None,
    /// Raw deflate, without header and checksum. The level concerns what we send; every level is understood.
    #[cfg(feature = "compress")]
    Deflate(DeflateLevel),
    /// Snappy's framing format. A getty peer does not flush its own until it closes, so its messages arrive only then.
    #[cfg(feature = "compress")]
    Snappy,
}

/// How hard deflate tries.
#[cfg(feature = "compress")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum DeflateLevel {
    /// A balance: getty's `CompressZip`.
    #[default]
    Default,
    /// Least time: getty's `CompressBestSpeed`.
    Fast,
    /// Fewest bytes: getty's `CompressBestCompression`.
    Best,
    /// Shorter codes for frequent bytes and no search for repetition: getty's `CompressHuffman`.
    HuffmanOnly,
}

/// Times of the kernel's own probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// Probes without an answer after which the connection is broken.
    pub probes: u32,
}

/// Threads beside the reactor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workers {
    /// Threads that serve the lanes, at most 1024; worker i owns the lanes with index i modulo this. 0, the default: the lanes run on
    /// the reactor's thread. More threads than lanes are not started: see [`Workers::of`].
    pub threads: usize,
    /// Number of lanes, at most 65,536. 0, the default: there are none, whatever `threads` says, and what is routed to one goes to
    /// `on_message` instead. More lanes than threads are for states that want keys of their own, not for more cores.
    pub lanes: usize,
    /// Messages a lane may hold, queued or taken and not yet answered, before the sessions that feed it are paused.
    /// Default 8192.
    pub lane_depth: usize,
    /// Most threads of the elastic pool behind `Route::Blocking`. 0, the default: such messages are
    /// handled on the reactor's thread, which only a simulation wants.
    pub blocking: usize,
    /// Let the elastic pool do the arithmetic of handshakes, up to a millisecond each, so that a storm of them delays no
    /// session that is established. Without threads in that pool it has no effect. Default off.
    pub handshakes: bool,
    /// How long a worker without work spins before it sleeps. Zero, the default, where cores are few.
    pub spin: Duration,
}

impl Workers {
    /// So many threads with a lane each, and nothing else.
    ///
    /// ```
    /// use seamio::net::{Config, Workers};
    /// let config = Config { workers: Workers::of(2), ..Config::default() };
    /// assert_eq!((config.workers.threads, config.workers.lanes), (2, 2));
    /// ```
    pub fn of(threads: usize) -> Self {
        Workers {
            threads,
            lanes: threads,
            ..Workers::default()
        }
    }
}

impl Workers {
    /// Whether so many can be had at all.
    pub(crate) fn check(&self) -> io::Result<()> {
        let what = match self {
            Workers { threads, .. } if *threads > THREADS_MAX => "threads",
            Workers { lanes, .. } if *lanes > LANES_MAX => "lanes",
            _ => return Ok(()),
        };
        let what = format!("too many {what} in Config::workers");
        Err(io::Error::new(io::ErrorKind::InvalidInput, what))
    }
}

const THREADS_MAX: usize = 1024;
const LANES_MAX: usize = 65_536;

/// Most places made in advance for a queue.
pub(crate) const PLACES_MAX: usize = 1 << 20;

impl Default for Workers {
    fn default() -> Self {
        Workers {
            threads: 0,
            lanes: 0,
            lane_depth: 8192,
            blocking: 0,
            handshakes: false,
            spin: Duration::ZERO,
        }
    }
}

/// What `run` does when there is nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdleStrategy {
    /// Sleep until something happens.
    #[default]
    Block,
    /// Poll without sleeping for this long after the last work, then sleep: saves the wake-up of a sleeping thread, for a
    /// core.
    Spin(Duration),
    /// Never sleep: takes a core for good.
    Never,
}

/// What a reactor holds at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open sessions of all listeners and connectors. Further connections are accepted and closed. Default 65,536.
    pub sessions: usize,
    /// Bytes waiting to be sent in all sessions, above which no session is read. Default 1 GiB.
    pub buffered: usize,
    /// Bytes of decoded frames that wait in one lane before the sessions that feed it are paused. Default 64 MiB.
    pub lane_bytes: usize,
    /// Events waiting in one lane; one more is refused. Each open session has a reserved place beyond. Default 65,536.
    pub lane_events: usize,
    /// Messages waiting for a thread of the elastic pool, at most 1,048,576: their places are made at once. Default 4096.
    pub blocking_queue: usize,
    /// Calls of one session waiting for their reply; one more fails. Default 65,536.
    pub calls: usize,
    /// Timers of `Handle::after` and `Handle::every`; one more fails. Default 65,536.
    pub timers: usize,
    /// Bytes of emptied buffers kept for reuse. Default 8 MiB.
    pub pool: usize,
    /// Names waiting to be resolved, at most 1,048,576. Default 256.
    pub resolving: usize,
    /// Handshakes of encryption or WebSocket under way. Listeners then leave further connections to the kernel's queue,
    /// connectors fail the attempt. 0 counts as 1. Default 1024.
    pub handshakes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            sessions: 65_536,
            buffered: 1 << 30,
            lane_bytes: 64 << 20,
            lane_events: 65_536,
            blocking_queue: 4096,
            calls: 65_536,
            timers: 65_536,
            pool: 8 << 20,
            resolving: 256,
            handshakes: 1024,
        }
    }
}

/// What one source may use up in one turn before the others get theirs. A zero counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes read from one session. Default 64 KiB.
    pub read: usize,
    /// Frames decoded of one session. Default 256.
    pub frames: usize,
    /// Bytes written to one session. Default 256 KiB.
    pub write: usize,
    /// Connections taken from one listener. Default 64.
    pub accepts: usize,
    /// Sessions and listeners visited before timers and other threads get their turn. Default 1024.
    pub visits: usize,
    /// Items taken from other threads. Default 4096.
    pub remote: usize,
    /// Timers fired. Default 4096.
    pub timers: usize,
    /// Time spent on reading before timers and other threads get their turn. Default 1 ms.
    pub slice: Duration,
}

impl Budget {
    /// With nothing to use up nothing would ever be done.
    pub(crate) fn at_least_one(self) -> Budget {
        Budget {
            read: self.read.max(1),
            frames: self.frames.max(1),
            write: self.write.max(1),
            accepts: self.accepts.max(1),
            visits: self.visits.max(1),
            remote: self.remote.max(1),
            timers: self.timers.max(1),
            slice: self.slice,
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Budget {
            read: 64 << 10,
            frames: 256,
            write: 256 << 10,
            accepts: 64,
            visits: 1024,
            remote: 4096,
            timers: 4096,
            slice: Duration::from_millis(1),
        }
    }
}

/// How to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenOptions {
    /// Shown in logs and by sessions. Empty, the default: the endpoint's scheme, such as `tcp`.
    pub name: String,
    /// Connections the kernel queues before they are accepted. Default 4096.
    pub backlog: u32,
    /// Let several reactors share the port. Default off.
    pub reuse_port: bool,
    /// Whether an IPv6 wildcard address refuses IPv4; `None`, the default, leaves the system's setting.
    pub only_v6: Option<bool>,
    /// Permission bits of the file of a unix socket, `0o600` for its owner only: who may not write to it cannot connect.
    /// `None`, the default, leaves what the process's umask allows.
    pub mode: Option<u32>,
    /// Certificate and rules of an encrypted listener, which needs them.
    #[cfg(feature = "tls")]
    pub tls: Option<super::ServerTls>,
    /// What a WebSocket listener serves and to whom.
    #[cfg(feature = "ws")]
    pub ws: super::WsServer,
    /// How long the handshakes of encryption and WebSocket may take together. Default 3 s.
    pub handshake_timeout: Duration,
    /// Open sessions of this listener; further connections are accepted and closed. Default: no limit of its own.
    pub connections: usize,
    /// Settings of accepted sessions; `None`, the default, takes [`Config::session`].
    pub session: Option<SessionConfig>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions {
            name: String::new(),
            backlog: 4096,
            reuse_port: false,
            only_v6: None,
            mode: None,
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "ws")]
            ws: super::WsServer::default(),
            handshake_timeout: Duration::from_secs(3),
            connections: usize::MAX,
            session: None,
        }
    }
}

/// How to connect, and to stay connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectOptions {
    /// Shown in logs and by sessions. Empty, the default: the endpoint's scheme, such as `tcp`.
    pub name: String,
    /// Connections kept alive, at most [`Limits::sessions`]. Default 1.
    pub connections: usize,
    /// How long one attempt may take. Default 3 s.
    pub timeout: Duration,
    /// Whom an encrypted connection trusts; `None`, the default, takes the system's roots and the name connected to.
    #[cfg(feature = "tls")]
    pub tls: Option<super::ClientTls>,
    /// What a WebSocket connection asks for.
    #[cfg(feature = "ws")]
    pub ws: super::WsClient,
    /// How long the handshakes of encryption and WebSocket may take together, once connected. Default 3 s.
    pub handshake_timeout: Duration,
    /// Waiting time between attempts.
    pub backoff: Backoff,
    /// Settings of the sessions; `None`, the default, takes [`Config::session`].
    pub session: Option<SessionConfig>,
    /// UDP only: begin each session with the 12 bytes `connect-ping`, which a receiver swallows, and count an answer of
    /// the other machine that nobody listens, before the first datagram came, as a failed attempt. Default off: there is
    /// no telling whether anybody is there.
    pub connect_ping: bool,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        ConnectOptions {
            name: String::new(),
            connections: 1,
            timeout: Duration::from_secs(3),
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "ws")]
            ws: super::WsClient::default(),
            handshake_timeout: Duration::from_secs(3),
            backoff: Backoff::default(),
            session: None,
            connect_ping: false,
        }
    }
}

/// Waiting times between attempts to connect. They start again from the beginning when the first frame of the peer
/// arrives, not when a connection is made: a server at its limit accepts and closes at once.
///
/// ```
/// use std::time::Duration;
/// use seamio::net::{Backoff, ConnectOptions};
///
/// // Tries for ever, at most every two seconds; four connections.
/// let options = ConnectOptions {
///     connections: 4,
///     backoff: Backoff { cap: Duration::from_secs(2), ..Backoff::default() },
///     ..ConnectOptions::default()
/// };
/// # let _ = options;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// How the waiting time grows.
    pub growth: Growth,
    /// First step. Default 300 ms.
    pub base: Duration,
    /// Longest step. Default 30 s.
    pub cap: Duration,
    /// Attempts in a row without a frame after which the connector gives up; `None`, the default, never.
    pub attempts: Option<u32>,
    /// Seed of the jitter. 0, the default, takes one from the operating system.
    pub seed: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff {
            growth: Growth::Exponential,
            base: Duration::from_millis(300),
            cap: Duration::from_secs(30),
            attempts: None,
            seed: 0,
        }
    }
}

/// How waiting times grow with the number of failed attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Growth {
    /// A random part of the step; the step doubles each time up to the cap.
    #[default]
    Exponential,
    /// The number of the attempt, at most 10, times the base, without jitter: what getty does.
    Linear,
}
