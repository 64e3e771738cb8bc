//! The coordinator as a server: coordinator and store bound to the network runtime.
//!
//! One network thread owns the sockets and answers heartbeats; one lane, on a thread of its own or (with no workers) on
//! the network thread, owns the coordinator and the store (design.md 3). A host embeds it with [`Server::bind`] and
//! [`Server::run`] on a thread of its own choice; [`ServerHandle`] stops it from anywhere.
//!
//! Odd peers are handled as coordinator.md 5.4, 5.5 and 9 say: what is no frame closes its connection and disturbs no
//! other, silence closes, an address has a limit of connections. Left out: TLS, HTTP, authentication.

pub(crate) mod edge;
pub(crate) mod lane;
#[doc(hidden)]
pub mod signal;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use edge::Edge;
use lane::Event;

use crate::codec::SeataCodec;
use crate::net::{
    Clock, Config, Driver, Endpoint, Handle, Lanes, Limits, ListenOptions, MioDriver, Monotonic,
    Overflow, Reactor, SessionConfig, Workers,
};
use crate::tc::CoordinatorConfig;
use crate::tc::coordinator::Coordinator;
use crate::tc::store::journal::{Durable, JournalConfig, JournalStore};
#[cfg(feature = "sql-store")]
use crate::tc::store::sql::{SqlConfig, SqlStore};
use crate::tc::store::{MemoryStore, Store, StoreLimits};
use crate::xid::IdGenerator;

/// What a server is told once.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The host that clients reach this coordinator at: the start of every xid.
    pub advertised_host: String,
    /// The port that clients reach it at; None is the port listened on.
    pub advertised_port: Option<u16>,
    /// 0 to 1023, different on each coordinator of a cluster.
    pub node: u16,
    /// Threads beside the network thread; 0 coordinates on the network thread. More than one is of no use to a store that
    /// never blocks.
    pub workers: usize,
    /// Where decisions are kept.
    pub store: StoreChoice,
    /// What the store accepts.
    pub store_limits: StoreLimits,
    /// Waited before each sync of the journal: a slow disk, for measurements. Zero otherwise.
    pub sync_delay: Duration,
    /// Limits and periods of the coordinator. `advertised` is set by the server.
    pub coordinator: CoordinatorConfig,
    /// Silence after which a connection is closed; None is never.
    pub idle_timeout: Option<Duration>,
    /// Longest frame read, in bytes.
    pub frame_bytes_max: usize,
    /// Open connections.
    pub connections_max: usize,
    /// Open connections of one address.
    pub connections_per_ip_max: usize,
    /// Bytes that may wait for one connection that does not read, before it is closed.
    pub queued_bytes_max: usize,
}

/// Which store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreChoice {
    /// Nothing survives the process.
    Memory,
    /// Durable, in this directory.
    Journal(PathBuf),
    /// Durable, in a database that several coordinators may share. The server sets its address and its limits.
    #[cfg(feature = "sql-store")]
    Sql(SqlConfig),
}

/// Why a server could not start or go on.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// The network runtime failed.
    Network(io::Error),
    /// The store could not be opened, or failed while serving. Nothing was answered that it does not hold.
    Store(String),
}

/// How a server that was drained ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Transactions without a decision. They are in the store.
    pub undecided: usize,
    /// Transactions that have not ended, those included.
    pub live: usize,
}

/// A server that listens.
pub struct Server {
    assembly: Assembly<MioDriver, Monotonic>,
}

/// Reactor, lane, coordinator and store put together, on the real network or a simulated one.
pub(crate) struct Assembly<D: Driver, C: Clock> {
    pub(crate) reactor: Reactor<Edge, D, C>,
    pub(crate) address: SocketAddr,
    advertised: String,
    node: u16,
    recovered: usize,
    stop: Arc<Stop>,
}

/// Stops a server from any thread.
#[derive(Clone)]
pub struct ServerHandle {
    handle: Handle<Edge>,
}

/// Tells a server that its store got further. Never blocks; wakes that were not seen yet are one.
#[derive(Clone)]
pub struct StoreWaker(Arc<edge::Wake>);

/// How the lane tells that it is over.
#[derive(Default)]
pub(crate) struct Stop {
    outcome: Mutex<Option<Result<Stopped, String>>>,
    handle: OnceLock<Handle<Edge>>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8091)),
            advertised_host: "127.0.0.1".to_owned(),
            advertised_port: None,
            node: 0,
            workers: 0,
            store: StoreChoice::Memory,
            store_limits: StoreLimits::default(),
            sync_delay: Duration::ZERO,
            coordinator: CoordinatorConfig::default(),
            idle_timeout: Some(Duration::from_secs(15)),
            frame_bytes_max: crate::proto::frame::FRAME_BYTES_MAX,
            connections_max: 20_000,
            connections_per_ip_max: 10_000,
            queued_bytes_max: 16 << 20,
        }
    }
}

impl Server {
    /// Opens the store, recovers what is in it and listens. Connections are served once [`Server::run`] is called.
    ///
    /// # Errors
    /// See [`Error`]. Nothing is left behind but, for a journal, its directory.
    pub fn bind(config: ServerConfig) -> Result<Self, Error> {
        let mut choice = config.store.clone();
        choice.serve(&config);
        let journal = journal_config(config.store_limits, config.sync_delay);
        Self::bind_with(config, |waker| open_store(&choice, journal, waker))
    }

    /// As [`Server::bind`] with a store of the caller's own; [`ServerConfig::store`] does not count. The store calls the
    /// waker, from any thread, whenever more has become durable, has completed or has failed.
    ///
    /// # Errors
    /// As [`Server::bind`], and what `open` says.
    pub fn bind_with(
        config: ServerConfig,
        open: impl FnOnce(StoreWaker) -> Result<Box<dyn Store>, Error>,
    ) -> Result<Self, Error> {
        let wake = Arc::new(edge::Wake::default());
        let store = open(StoreWaker(wake.clone()))?;
        let driver = MioDriver::new().map_err(Error::Network)?;
        Ok(Self {
            assembly: Assembly::new(&config, store, wake, driver, Monotonic, clock())?,
        })
    }

    /// The address listened on, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.assembly.address
    }

    /// `host:port` as it stands in xids.
    pub fn advertised(&self) -> &str {
        &self.assembly.advertised
    }

    /// The node for ids: the configured one, or what a shared store has given.
    pub fn node(&self) -> u16 {
        self.assembly.node
    }

    /// Live transactions found in the store.
    pub fn recovered(&self) -> usize {
        self.assembly.recovered
    }

    /// Stops it from another thread.
    pub fn handle(&self) -> ServerHandle {
        ServerHandle {
            handle: self.assembly.reactor.handle(),
        }
    }

    /// Serves until it is drained or fails.
    pub fn run(mut self) -> Result<Stopped, Error> {
        let ran = self.assembly.reactor.run();
        match (self.assembly.outcome(), ran) {
            (Some(Err(failure)), _) => Err(Error::Store(failure)),
            (_, Err(error)) => Err(Error::Network(error)),
            (Some(Ok(stopped)), Ok(())) => Ok(stopped),
            (None, Ok(())) => Err(Error::Network(io::Error::other("the lane ended early"))),
        }
    }
}

/// Without a password.
impl std::fmt::Display for StoreChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Memory => f.write_str("memory, nothing survives the process"),
            Self::Journal(dir) => write!(f, "journal in {}", dir.display()),
            #[cfg(feature = "sql-store")]
            Self::Sql(config) => write!(f, "database {}", config.url),
        }
    }
}

impl StoreChoice {
    /// A coordinator is known to its siblings by the address that its clients know.
    fn serve(&mut self, server: &ServerConfig) {
        #[cfg(feature = "sql-store")]
        if let Self::Sql(config) = self {
            let port = server.advertised_port.unwrap_or(server.listen.port());
            config.limits = server.store_limits;
            config.address = match port {
                // The system chooses a port, another one each time.
                0 => format!(
                    "{}:0 of process {}",
                    server.advertised_host,
                    std::process::id()
                ),
                port => format!("{}:{port}", server.advertised_host),
            };
        }
        #[cfg(not(feature = "sql-store"))]
        let _ = server;
    }
}

impl<D: Driver, C: Clock> Assembly<D, C> {
    /// Recovers what is in the store and listens.
    pub(crate) fn new(
        config: &ServerConfig,
        store: Box<dyn Store>,
        wake: Arc<edge::Wake>,
        driver: D,
        clock: C,
        time: (lane::WallClock, Instant),
    ) -> Result<Self, Error> {
        let stop = Arc::new(Stop::default());
        let codec = SeataCodec {
            frame_bytes_max: config.frame_bytes_max,
        };
        let patience = config.idle_timeout.unwrap_or(FIRST_FRAME_WITHIN);
        let per_ip_max = config.connections_per_ip_max;
        let edge = Edge::new(codec, per_ip_max, patience, wake, stop.clone());
        let mut reactor =
            Reactor::with(net_config(config), edge, driver, clock).map_err(Error::Network)?;
        let listener = reactor
            .listen(Endpoint::from(config.listen), ListenOptions::default())
            .map_err(|error| Error::Listen(config.listen, error))?;
        let address = reactor
            .local_addr(listener)
            .ok_or_else(|| Error::Network(io::Error::other("the listener has no address")))?;
        let _ = stop.handle.set(reactor.handle());
        let node = store.node().unwrap_or(config.node);
        let (advertised, recovered) = start(config, address, store, &reactor.lanes(), time)?;
        Ok(Self {
            reactor,
            address,
            advertised,
            node,
            recovered,
            stop,
        })
    }

    /// How the lane ended, once; None while it works.
    pub(crate) fn outcome(&self) -> Option<Result<Stopped, String>> {
        let outcome = self.stop.outcome.lock();
        outcome.unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ServerHandle {
    /// Refuses new transactions, finishes what is in flight for at most `wait`, flushes, closes every connection and
    /// lets [`Server::run`] return. A second call can only shorten the wait.
    pub fn drain(&self, wait: Duration) {
        // Refused only when the lane is closed for good.
        let _ = self.handle.lanes().complete(edge::LANE, Event::Drain(wait));
    }
}

impl StoreWaker {
    /// Wakes the thread that owns the store.
    pub fn wake(&self) {
        self.0.wake();
    }
}

impl Stop {
    /// The lane handled its last batch: sessions are flushed and closed. After a store failure nothing is flushed.
    pub(crate) fn finish(&self, outcome: Result<Stopped, String>) {
        let flush = if outcome.is_ok() {
            FLUSH_WITHIN
        } else {
            Duration::ZERO
        };
        self.outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(outcome);
        if let Some(handle) = self.handle.get() {
            handle.drain(flush);
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::Network(error) => write!(f, "the network runtime failed: {error}"),
            Self::Store(failure) => write!(f, "the store failed: {failure}"),
        }
    }
}

impl std::error::Error for Error {}

fn open_store(
    choice: &StoreChoice,
    journal: JournalConfig,
    waker: StoreWaker,
) -> Result<Box<dyn Store>, Error> {
    let dir = match choice {
        StoreChoice::Journal(dir) => dir,
        StoreChoice::Memory => return Ok(Box::new(MemoryStore::new(journal.limits))),
        #[cfg(feature = "sql-store")]
        StoreChoice::Sql(config) => {
            let wake = Arc::new(move || waker.wake());
            let store = SqlStore::open(config.clone(), wake).map_err(Error::Store)?;
            return Ok(Box::new(store));
        }
    };
    let notify = Box::new(move |durable| {
        if let Durable::Failed(error) = durable {
            log::error!("event=store_failed reason={error}");
        }
        waker.wake();
    });
    match JournalStore::open(dir, journal, notify) {
        Ok(store) => Ok(Box::new(store)),
        Err(error) => Err(Error::Store(format!("{}: {error}", dir.display()))),
    }
}

/// The default sizes of segments, or larger ones when the limits allow large records.
fn journal_config(limits: StoreLimits, sync_delay: Duration) -> JournalConfig {
    let default = JournalConfig::default();
    let least = 4 * (limits.change_bytes_max() as u64 + SEGMENT_SLACK);
    JournalConfig {
        limits,
        segment_bytes: default.segment_bytes.max(least),
        first_segment_bytes: default.first_segment_bytes.max(least),
        sync_delay,
        ..default
    }
}

/// Makes the coordinator with what the store holds and hands it to the lane.
fn start(
    config: &ServerConfig,
    address: SocketAddr,
    store: Box<dyn Store>,
    lanes: &Lanes<Edge>,
    clock: (lane::WallClock, Instant),
) -> Result<(String, usize), Error> {
    let port = config.advertised_port.unwrap_or(address.port());
    let advertised = format!("{}:{port}", config.advertised_host);
    let now = clock.0.at(clock.1);
    let node = store.node();
    let mut ids = IdGenerator::new(node.unwrap_or(config.node), now.wall_ms);
    ids.not_below(store.highest_id());
    let coordinator = CoordinatorConfig {
        advertised: advertised.clone(),
        shared: node.is_some(),
        ..config.coordinator.clone()
    };
    let mut coordinator = Coordinator::new(coordinator, ids, now);
    let mut recovered = 0;
    store.scan(&mut |global| {
        coordinator.handle_recovered(now, global);
        recovered += 1;
    });
    let start = Event::Start(Box::new(lane::Start {
        coordinator,
        store,
        clock: clock.0,
    }));
    match lanes.complete(edge::LANE, start) {
        Ok(()) => Ok((advertised, recovered)),
        Err(_) => Err(Error::Network(io::Error::other("the lane takes no event"))),
    }
}

#[allow(clippy::disallowed_methods)] // read once, at the start of a server
fn clock() -> (lane::WallClock, Instant) {
    let now = Instant::now();
    (lane::WallClock::new(now, SystemTime::now()), now)
}

fn net_config(config: &ServerConfig) -> Config {
    Config {
        session: SessionConfig {
            max_frame: config.frame_bytes_max,
            idle_timeout: config.idle_timeout,
            hard_limit: config.queued_bytes_max,
            overflow: Overflow::Close,
            half_close: true,
            ..SessionConfig::default()
        },
        workers: Workers {
            threads: config.workers.min(1),
            lanes: 1,
            // Reading pauses only after begins are refused, so that what was begun is finished first.
            lane_depth: 2 * config.coordinator.held_max,
            ..Workers::default()
        },
        limits: Limits {
            sessions: config.connections_max,
            ..Limits::default()
        },
        ..Config::default()
    }
}

/// How long answers of the last batch may take to leave at a stop.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);
/// When silence closes nothing, a connection still has to say something first.
const FIRST_FRAME_WITHIN: Duration = Duration::from_secs(15);
/// Room for the head of a segment.
const SEGMENT_SLACK: u64 = 64 << 10;
