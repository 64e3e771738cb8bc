//! One event loop: sockets, timers, lanes and the handler's callbacks, a turn at a time.
//!
//! # A turn
//!
//! Wait for readiness; visit the sessions that have something, each within its budget; take what other threads sent;
//! fire timers; hand each lane its batch; write each session that has something once. Then say what was done.
//!
//! Nothing in a turn waits for anything but the poll at its start. What a callback asks for (a send to another session, a
//! close, a timer, a connection) is queued and takes effect after it.
//!
//! # Embedding
//!
//! A host with a loop of its own calls [`Reactor::poll_once`]. It may sleep as long as [`Reactor::next_timeout`] says, and
//! no longer than until the descriptor of [`AsRawFd`] becomes readable. The descriptor alone is not enough: neither work
//! left over from the last turn nor a timer makes it readable, and a request of another thread does so only after
//! [`Reactor::next_timeout`] was asked, since a reactor that is awake is not woken. With
//! [`Config::descriptor_tells_all`] the descriptor alone is enough, from the first turn on. No thread is started unless workers are configured or a
//! name has to be resolved; signals are left alone.
//!
//! Follows network.md B.1 to B.6, B.12, B.16, B.20, B.33 to B.35 and C.1.

mod accepting;
mod associating;
mod connecting;
mod draining;
mod handle;
mod handshaking;
mod turn;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::address::Address;
use super::config::{
    Config, ConnectOptions, IdleStrategy, ListenOptions, PLACES_MAX, SessionConfig,
};
use super::connection::Connection;
use super::connector::{Connecting, Connector};
use super::driver::SocketOptions;
use super::driver::{Clock, Driver, Event, Listener, ListenerOptions, MioDriver, Monotonic};
use super::endpoint::{Endpoint, HostPort};
use super::engine::Engine;
use super::handler::Handler;
use super::id::{ConnectorId, ListenerId};
use super::lane::{LaneRunner, LaneTable, Lanes};
use super::listener::ListenerSlot;
use super::metrics::Metrics;
use super::remote::Remote;
use super::resolver::Resolver;
use super::shared::Shared;
use super::slots::{Key, Slots};
use super::transport::plan::Plan;
use super::wake::{self, Consumer};
use super::workers::{Workers, open_lane};
use draining::Drain;
use handshaking::Handshake;

pub use handle::{Handle, Listening, Timer};

/// One event loop. Generic over network and clock for simulation; nothing an application writes mentions them.
pub struct Reactor<H: Handler, D: Driver = MioDriver, C: Clock = Monotonic> {
    slots: Slots<Slot<H, D>>,
    driver: D,
    clock: C,
    engine: Engine<H>,
    remote: Consumer<Remote<H>>,
    events: Vec<Event>,
    listeners: BTreeMap<ListenerId, Key>,
    connectors: BTreeMap<ConnectorId, Connector>,
    resolver: Resolver,
    /// The lanes, when no worker has them.
    inline: Vec<LaneRunner<H>>,
    /// Those of them that have work, while a turn runs them.
    lanes_ready: Vec<usize>,
    workers: Workers,
    idle: IdleStrategy,
    session_config: SessionConfig,
    /// Open sessions.
    sessions: usize,
    /// Streams with an unfinished handshake.
    handshakes: usize,
    /// The elastic pool does their arithmetic.
    lends_handshakes: bool,
    drain: Drain,
    /// Why the reactor cannot go on.
    failure: Option<String>,
    /// Connections taken and not opened yet; empty between two accepts.
    accepted: Vec<(D::Stream, Address)>,
    alarm: Option<Set>,
}

/// What the driver's alarm is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    Never,
    Soon,
    At(Instant),
}

/// What lies in a slot.
enum Slot<H: Handler, D: Driver> {
    Session(Box<Connection<H, D::Stream>>),
    Connecting(Box<Connecting<D::Stream>>),
    Handshake(Box<Handshake<D::Stream>>),
    Listener(Box<ListenerSlot<D::Listener>>),
}

/// What a turn did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// There was something to do.
    Worked,
    /// There was nothing to do.
    Idle,
    /// The reactor has been drained: there will never be anything to do again.
    Drained,
}

impl<H: Handler> Reactor<H> {
    /// A reactor on the real network and clock.
    ///
    /// # Errors
    /// When the poller or a worker thread cannot be had.
    pub fn new(config: Config, handler: H) -> io::Result<Self> {
        Reactor::with(config, handler, MioDriver::new()?, Monotonic)
    }
}

impl<H: Handler, D: Driver, C: Clock> Reactor<H, D, C> {
    /// A reactor on a given network and clock.
    ///
    /// # Errors
    /// When a worker thread cannot be started; `InvalidInput` when there would be too many lanes or threads.
    pub fn with(config: Config, handler: H, mut driver: D, clock: C) -> io::Result<Self> {
        config.workers.check()?;
        let now = clock.now();
        let mut alarm = None;
        if let Some(options) = &config.busy_poll {
            driver.busy_poll(options)?;
        }
        if config.descriptor_tells_all {
            driver.alarm(None)?;
            alarm = Some(Set::Never);
        }
        let (producer, remote) = wake::queue(usize::MAX, driver.waker());
        let table = Arc::new(LaneTable::new(
            &config.workers,
            &config.limits,
            producer.clone(),
        ));
        let shared = Arc::new(Shared::new(handler, producer, table, config.limits, now));
        let workers = Workers::start(&shared, config.workers.spin)?;
        let inline = if config.workers.threads == 0 {
            0..config.workers.lanes
        } else {
            0..0
        };
        let prepare = config.prepare.at_most(PLACES_MAX);
        let mut engine = Engine::new(&shared, config.budget, config.workers.blocking, now);
        engine.prepare(&prepare);
        let mut slots = Slots::new();
        slots.reserve(prepare.sessions);
        Ok(Reactor {
            slots,
            driver,
            clock,
            engine,
            remote,
            events: Vec::with_capacity(prepare.sessions.min(EVENTS_KEPT)),
            listeners: BTreeMap::new(),
            connectors: BTreeMap::new(),
            resolver: Resolver::default(),
            inline: inline.filter_map(|lane| open_lane(&shared, lane)).collect(),
            lanes_ready: Vec::new(),
            workers,
            idle: config.idle,
            session_config: config.session,
            sessions: 0,
            handshakes: 0,
            lends_handshakes: config.workers.handshakes && config.workers.blocking > 0,
            drain: Drain::No,
            failure: None,
            accepted: Vec::new(),
            alarm,
        })
    }

    /// Binds and listens. The port may be 0: see [`Reactor::local_addr`]. A socket for datagrams is one session from then
    /// on, which hears all senders.
    ///
    /// # Errors
    /// What the operating system says, or `InvalidInput` for an endpoint that is not an address.
    pub fn listen(&mut self, at: Endpoint, mut options: ListenOptions) -> io::Result<ListenerId> {
        if !matches!(self.drain, Drain::No) {
            return Err(io::Error::other("the reactor is draining"));
        }
        options.name = at.name_or_scheme(options.name);
        let plan = Plan::serve(&at, &options)?;
        let address = match (&at, at.host_port()) {
            (Endpoint::Udp(_), Some(HostPort::Address(address))) => {
                return self.bind(*address, &options);
            }
            (_, Some(HostPort::Address(address))) => Address::Ip(*address),
            (Endpoint::Unix(address), _) => Address::Unix(address.clone()),
            _ => {
                let what = format!(
                    "{at} has a name where an address is needed to listen on, such as 127.0.0.1 or [::]"
                );
                return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
            }
        };
        let (session, listener_options) = self.listener_options(&options);
        if plan.keeps_messages {
            self.engine.shared.keep_messages();
        }
        let token = self.slots.next_key().token();
        let socket = self.driver.listen(&address, &listener_options, token)?;
        self.engine.metrics.registrations += 1;
        let id = ListenerId(self.engine.shared.next_serial());
        let slot = ListenerSlot::new(id, socket, &options, session, plan);
        let key = self.slots.insert(Slot::Listener(Box::new(slot)));
        self.listeners.insert(id, key);
        Ok(id)
    }

    fn listener_options(&self, options: &ListenOptions) -> (SessionConfig, ListenerOptions) {
        let session = options
            .session
            .clone()
            .unwrap_or_else(|| self.session_config.clone());
        let listener = ListenerOptions {
            socket: socket_options(&session),
            backlog: options.backlog,
            reuse_port: options.reuse_port,
            only_v6: options.only_v6,
            mode: options.mode,
        };
        (session, listener)
    }

    /// Connects, and stays connected. The attempts begin with the next turn.
    pub fn connect(&mut self, to: Endpoint, options: ConnectOptions) -> ConnectorId {
        self.handle().connect(to, options)
    }

    /// One turn. Sleeps no longer than `timeout`, and than [`Reactor::next_timeout`].
    ///
    /// # Errors
    /// When polling fails or a lane panicked: the reactor is over, its sessions are closed.
    pub fn poll_once(&mut self, timeout: Option<Duration>) -> io::Result<Turn> {
        if matches!(self.drain, Drain::Done) {
            return Ok(Turn::Drained);
        }
        let woken = match self.wait(timeout) {
            Ok(woken) => woken,
            Err(error) => {
                log::error!("event=poll-failed error={error}");
                self.end();
                return Err(error);
            }
        };
        let worked = self.turn() | woken;
        if let Some(failure) = &self.failure {
            let error = io::Error::other(failure.clone());
            self.end();
            return Err(error);
        }
        self.set_alarm()?;
        Ok(match self.drain {
            Drain::Done => Turn::Drained,
            _ if worked => Turn::Worked,
            _ => Turn::Idle,
        })
    }

    /// Turns until drained.
    ///
    /// # Errors
    /// As [`Reactor::poll_once`].
    pub fn run(&mut self) -> io::Result<()> {
        let mut last_work = self.clock.now();
        loop {
            let timeout = match self.idle {
                IdleStrategy::Block => None,
                IdleStrategy::Never => Some(Duration::ZERO),
                IdleStrategy::Spin(spin) => {
                    (self.clock.now().duration_since(last_work) < spin).then_some(Duration::ZERO)
                }
            };
            match self.poll_once(timeout)? {
                Turn::Worked => last_work = self.engine.now,
                Turn::Idle => {}
                Turn::Drained => return Ok(()),
            }
        }
    }

    /// Starts an orderly end and returns; the turns that follow do the work. No connection is accepted and no request
    /// read any more; what was read is answered, sessions are flushed and closed. What is not done after `deadline`, or
    /// when this is called again, is cut off.
    pub fn drain(&mut self, deadline: Duration) {
        self.start_drain(deadline);
        // A host that sleeps on the descriptor alone has to take the first step.
        if let Err(e) = self.set_alarm() {
            log::error!("event=alarm-failed error={e}");
        }
    }

    /// The same operations from any thread.
    pub fn handle(&self) -> Handle<H> {
        Handle::new(&self.engine.shared)
    }

    /// The way into the lanes for events without a socket.
    pub fn lanes(&self) -> Lanes<H> {
        Lanes {
            table: Arc::clone(&self.engine.shared.lanes),
        }
    }

    /// How long there is nothing to do if nothing happens. `None`: for ever. From this call to the next turn a request of
    /// another thread makes the descriptor readable, so ask right before sleeping on it.
    pub fn next_timeout(&self) -> Option<Duration> {
        let timeout = self.time_left();
        if timeout != Some(Duration::ZERO) && !self.remote.try_sleep() {
            return Some(Duration::ZERO);
        }
        timeout
    }

    /// How long there is nothing to do, as things stand.
    fn time_left(&self) -> Option<Duration> {
        let engine = &self.engine;
        let leftover = !engine.ready.is_empty()
            || !engine.dirty.is_empty()
            || !engine.dead.is_empty()
            || !engine.gather.is_empty()
            || !self.remote.is_empty()
            || matches!(self.drain, Drain::Done);
        if leftover {
            return Some(Duration::ZERO);
        }
        if !self.inline.is_empty() {
            let now = self.clock.now();
            let has_work = |lane: &LaneRunner<H>| lane.has_work(&engine.shared.lanes, now);
            if self.inline.iter().any(has_work) {
                return Some(Duration::ZERO);
            }
        }
        let deadline = self.next_deadline();
        deadline.map(|at| at.saturating_duration_since(self.clock.now()))
    }

    /// When the next timer fires or the next lane wants to be called.
    fn next_deadline(&self) -> Option<Instant> {
        let engine = &self.engine;
        let timer = engine.wheel.next_deadline();
        let timer = timer.map(|tick| engine.shared.epoch + Duration::from_millis(tick.0));
        let lanes = self.inline.iter().filter_map(LaneRunner::next_deadline);
        lanes.chain(timer).min()
    }

    /// Leaves the descriptor such that it becomes readable when there is something to do, if the host asked for that.
    fn set_alarm(&mut self) -> io::Result<()> {
        let Some(before) = self.alarm else {
            return Ok(());
        };
        let timeout = self.next_timeout();
        let set = match (timeout, self.next_deadline()) {
            (Some(Duration::ZERO), _) => Set::Soon,
            (Some(_), Some(at)) => Set::At(at),
            _ => Set::Never,
        };
        if set == Set::Soon || set != before {
            self.driver.alarm(timeout)?;
            self.alarm = Some(set);
        }
        Ok(())
    }

    /// What the reactor did so far.
    pub fn metrics(&self) -> &Metrics {
        &self.engine.metrics
    }

    /// The internet address a listener is bound to, with the port that was chosen. `None` for a listener that is gone, and
    /// for a unix socket: see [`Reactor::address`].
    pub fn local_addr(&self, listener: ListenerId) -> Option<SocketAddr> {
        self.address(listener)?.ip()
    }

    /// The address a listener is bound to. `None` for one that is gone.
    pub fn address(&self, listener: ListenerId) -> Option<Address> {
        match self.slots.get(*self.listeners.get(&listener)?)? {
            Slot::Listener(slot) => slot.socket.local_addr().ok(),
            Slot::Session(session) => Some(session.session.peer().local.clone()),
            _ => None,
        }
    }

    /// The network below, for a simulation to look at.
    pub fn driver(&mut self) -> &mut D {
        &mut self.driver
    }

    fn clock_now(&self) -> Instant {
        self.clock.now()
    }
}

/// The poller's descriptor: becomes readable when a socket or another thread has something. See the module's notes on
/// embedding.
impl<H: Handler, C: Clock> AsRawFd for Reactor<H, MioDriver, C> {
    fn as_raw_fd(&self) -> RawFd {
        self.driver.as_raw_fd()
    }
}

/// Sessions still open are cut off and told so; worker threads get a moment to end.
impl<H: Handler, D: Driver, C: Clock> Drop for Reactor<H, D, C> {
    fn drop(&mut self) {
        self.end();
        self.workers.join(JOIN_PATIENCE);
    }
}

fn socket_options(session: &SessionConfig) -> SocketOptions {
    SocketOptions {
        nodelay: session.nodelay,
        keepalive: session.keepalive,
        recv_buffer: session.recv_buffer,
        send_buffer: session.send_buffer,
    }
}

/// Readiness reports room is prepared for at most.
const EVENTS_KEPT: usize = 16 << 10;

/// How long a dropped reactor waits for its workers.
const JOIN_PATIENCE: Duration = Duration::from_secs(3);
