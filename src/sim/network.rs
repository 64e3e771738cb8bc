//! The simulated network as a reactor and a test see it: drivers, streams, listeners, and the runner that moves time.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::net::driver::{
    Driver, Event, Listener, ListenerOptions, ReadSpace, SocketOptions, Stream, Token, WakeFn,
};
use crate::net::{Address, Credentials, Handler, Reactor, Turn};

use super::clock::SimClock;
use super::fault::{Defect, Faults};
use super::packet::SimDatagram;
use super::rng::Rng;
use super::wire::{EndId, Phase, Source, Step, World, address};

/// One simulated network and its time. Clones are the same network.
#[derive(Clone)]
pub struct Network {
    world: Arc<Mutex<World>>,
    clock: SimClock,
    wake: Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>,
}

impl Network {
    /// A network whose chances all come from `seed`.
    pub fn new(seed: u64, faults: Faults) -> Self {
        let clock = SimClock::new();
        let world = World::new(seed, faults, clock.clone());
        Network {
            world: Arc::new(Mutex::new(world)),
            clock,
            wake: Arc::default(),
        }
    }

    /// The driver of one more machine, with an address of its own.
    pub fn driver(&self) -> SimDriver {
        let node = self.lock().add_node(None);
        SimDriver {
            network: self.clone(),
            node,
        }
    }

    /// The time of this network.
    pub fn clock(&self) -> SimClock {
        self.clock.clone()
    }

    /// Changes what goes wrong from now on. Connections that are to be lost already stay so.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// From now on the network breaks a rule now and then that no network may break, to show that a test notices.
    pub fn break_rule(&self, defect: Defect) {
        self.lock().defect = Some(defect);
    }

    /// A generator for decisions of the test, independent of how the network uses its own.
    pub fn fork_rng(&self) -> Rng {
        self.lock().rng.fork()
    }

    /// The hash over everything that happened, and the number of steps behind it. Two runs with equal hashes did the
    /// same things at the same times.
    pub fn trace(&self) -> (u64, u64) {
        self.lock().trace()
    }

    /// Makes something the test saw part of the trace.
    pub fn note(&self, a: u64, b: u64) {
        self.lock().note(Step::Note, a, b);
    }

    /// Has a function called whenever another thread wakes a driver of this network: for hosts that turn its machines on a
    /// thread that sleeps.
    pub fn on_wake(&self, wake: impl Fn() + Send + Sync + 'static) {
        // The first stays; there is one such thread.
        let _ = self.wake.set(Box::new(wake));
    }

    /// How long until something that is under way arrives; None: nothing is.
    #[cfg(feature = "client")]
    pub(super) fn next_arrival(&self) -> Option<Duration> {
        let next = self.lock().next_scheduled()?;
        Some(Duration::from_nanos(
            next.saturating_sub(self.clock.nanos()),
        ))
    }

    /// Handles that exist: streams held or waiting in an accept queue, listeners, and sockets for datagrams.
    pub fn handles(&self) -> usize {
        let world = self.lock();
        let held = |(side, phase)| match phase {
            Phase::Dropped => false,
            Phase::Connecting => side == 0,
            Phase::Connected | Phase::Failed => true,
        };
        let ends = world
            .conns
            .values()
            .flat_map(|conn| conn.ends.iter().map(|end| end.phase).enumerate());
        ends.filter(|end| held(*end)).count() + world.listeners.len() + world.sockets.len()
    }

    /// Gives every machine one turn, in random order. If none had anything to do, moves time to the next event instead.
    ///
    /// # Errors
    /// What a machine's turn failed with.
    pub fn step(&self, machines: &mut [&mut dyn Machine]) -> io::Result<Progress> {
        let mut order: Vec<usize> = (0..machines.len()).collect();
        self.lock().rng.shuffle(&mut order);
        let mut worked = false;
        for which in order {
            worked |= machines[which].turn()?;
        }
        let mut world = self.lock();
        if worked || world.nodes.iter().any(|node| node.sleeps_until.is_none()) {
            return Ok(Progress::Worked);
        }
        let sleepers = world.nodes.iter().filter_map(|node| node.sleeps_until);
        let next = sleepers
            .chain(world.next_happening())
            .min()
            .unwrap_or(u64::MAX);
        if next == u64::MAX {
            return Ok(Progress::Quiet);
        }
        let now = self.clock.nanos();
        if next <= now {
            return Ok(Progress::Worked);
        }
        let (chance, most) = (world.faults.clock_jump, world.faults.jump_max);
        let jumps = world.rng.chance(chance);
        let jump = if jumps {
            world.rng.below(most.as_nanos() as u64)
        } else {
            0
        };
        self.clock.advance_to(next.saturating_add(jump));
        Ok(Progress::Waited(Duration::from_nanos(
            self.clock.nanos() - now,
        )))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        // The world is not left half-changed by a panic of a test that holds no lock itself.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hash, steps) = self.trace();
        write!(
            f,
            "Network {{ at: {:?}, steps: {steps}, trace: {hash:016x} }}",
            self.clock.elapsed()
        )
    }
}

/// Something that lives in the simulation and gets turns: a reactor, or a scripted peer.
///
/// A turn has to poll its driver at least once, with the timeout it would really sleep for, and must not wait by itself.
pub trait Machine {
    /// Does what can be done at this moment. `true` when there was something.
    ///
    /// # Errors
    /// Whatever ends the simulation.
    fn turn(&mut self) -> io::Result<bool>;
}

impl<H: Handler> Machine for Reactor<H, SimDriver, SimClock> {
    fn turn(&mut self) -> io::Result<bool> {
        match self.poll_once(None)? {
            Turn::Worked => Ok(true),
            Turn::Idle => Ok(false),
            Turn::Drained => {
                self.driver().rest();
                Ok(false)
            }
        }
    }
}

/// What a step of the simulation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Somebody did something, at the same time as before.
    Worked,
    /// Nobody had anything to do, time moved by this much.
    Waited(Duration),
    /// Nothing will ever happen again by itself.
    Quiet,
}

/// The driver of one simulated machine.
#[derive(Debug)]
pub struct SimDriver {
    network: Network,
    node: usize,
}

impl SimDriver {
    /// The address of the machine. Wildcard and loopback addresses stand for it when it listens or connects.
    pub fn address(&self) -> IpAddr {
        address(self.node)
    }

    /// The driver of another process on the same machine: it has an address of its own, and reaches the machine's unix
    /// sockets.
    pub fn neighbour(&self) -> SimDriver {
        let node = self.network.lock().add_node(Some(self.node));
        SimDriver {
            network: self.network.clone(),
            node,
        }
    }

    /// Nobody polls this driver any more: time need not wait for it.
    fn rest(&mut self) {
        self.network.lock().nodes[self.node].sleeps_until = Some(u64::MAX);
    }

    fn open_datagram(
        &mut self,
        at: Option<SocketAddr>,
        peer: Option<SocketAddr>,
        token: Token,
    ) -> io::Result<SimDatagram> {
        let mut world = self.network.lock();
        let id = world.open_socket(self.node, at, peer)?;
        world.register(Source::Socket(id), token);
        Ok(SimDatagram::new(&self.network, id))
    }

    fn stream(&self, id: EndId) -> SimStream {
        SimStream {
            network: self.network.clone(),
            id,
        }
    }
}

impl Driver for SimDriver {
    type Stream = SimStream;
    type Listener = SimListener;
    type Datagram = SimDatagram;

    /// Never waits: it returns what is there and remembers until when the caller wanted to sleep.
    fn poll(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<bool> {
        let mut world = self.network.lock();
        world.settle();
        let before = events.len();
        let woken = std::mem::take(&mut world.nodes[self.node].woken);
        report(&mut world, self.node, events);
        let idle = events.len() == before && !woken;
        let now = world.clock.nanos();
        world.nodes[self.node].sleeps_until = match timeout {
            None if idle => Some(u64::MAX),
            Some(timeout) if idle && !timeout.is_zero() => {
                Some(now.saturating_add(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX)))
            }
            _ => None,
        };
        world.note(Step::Poll, self.node as u64, (events.len() - before) as u64);
        Ok(woken)
    }

    fn connect(
        &mut self,
        to: &Address,
        _options: &SocketOptions,
        token: Token,
    ) -> io::Result<SimStream> {
        let mut world = self.network.lock();
        let id = world.connect(self.node, to)?;
        world.register(Source::End(id), token);
        drop(world);
        Ok(self.stream(id))
    }

    fn listen(
        &mut self,
        at: &Address,
        options: &ListenerOptions,
        token: Token,
    ) -> io::Result<SimListener> {
        let mut world = self.network.lock();
        let (id, at) = world.listen(self.node, at, options.backlog)?;
        world.register(Source::Listener(id), token);
        drop(world);
        Ok(SimListener {
            network: self.network.clone(),
            id,
            at,
        })
    }

    fn bind_datagram(
        &mut self,
        at: SocketAddr,
        _options: &ListenerOptions,
        token: Token,
    ) -> io::Result<SimDatagram> {
        self.open_datagram(Some(at), None, token)
    }

    fn connect_datagram(
        &mut self,
        to: SocketAddr,
        _options: &SocketOptions,
        token: Token,
    ) -> io::Result<SimDatagram> {
        self.open_datagram(None, Some(to), token)
    }

    fn accept(&mut self, listener: &mut SimListener) -> io::Result<(SimStream, Address)> {
        let mut world = self.network.lock();
        let id = world.accept(listener.id)?;
        let peer = world
            .end(id)
            .map(|end| end.peer.clone())
            .ok_or(io::ErrorKind::ConnectionAborted)?;
        drop(world);
        Ok((self.stream(id), peer))
    }

    fn register(&mut self, stream: &mut SimStream, token: Token) -> io::Result<()> {
        self.network.lock().register(Source::End(stream.id), token);
        Ok(())
    }

    fn shed(&mut self, listener: &mut SimListener) -> bool {
        self.network.lock().shed(listener.id)
    }

    fn waker(&self) -> WakeFn {
        let (network, node) = (self.network.clone(), self.node);
        Arc::new(move || {
            network.lock().nodes[node].woken = true;
            if let Some(wake) = network.wake.get() {
                wake();
            }
        })
    }

    fn schedule_lanes(&mut self, ready: &mut Vec<usize>) {
        let mut world = self.network.lock();
        let chance = world.faults.lanes;
        world.rng.shuffle(ready);
        ready.retain(|_| !world.rng.chance(chance));
        world.note(Step::Lanes, self.node as u64, ready.len() as u64);
    }

    fn batch_size(&mut self, waiting: usize) -> usize {
        let mut world = self.network.lock();
        let chance = world.faults.lanes;
        if world.rng.chance(chance) {
            world.rng.size(waiting).min(waiting)
        } else {
            waiting
        }
    }
}

impl Drop for SimDriver {
    fn drop(&mut self) {
        self.rest();
        // Nobody will ever take what it would report.
        let mut world = self.network.lock();
        let node = &mut world.nodes[self.node];
        node.woken = false;
        node.ready.clear();
    }
}

/// Appends what a poll of the node reports.
fn report(world: &mut World, node: usize, events: &mut Vec<Event>) {
    let (defer, spurious) = (world.faults.defer, world.faults.spurious);
    if world.rng.chance(defer / 4) {
        return; // an interrupted wait: everything stays for the next
    }
    let mut ready: Vec<Source> = std::mem::take(&mut world.nodes[node].ready)
        .into_iter()
        .collect();
    world.rng.shuffle(&mut ready);
    for source in ready {
        let Some(&token) = world.nodes[node].sources.get(&source) else {
            continue;
        };
        if world.rng.chance(defer) {
            world.nodes[node].ready.insert(source);
            continue;
        }
        let event = world.report(source, token);
        if event.readable || event.writable || world.rng.chance(spurious) {
            events.push(event);
        }
    }
    if world.rng.chance(spurious) {
        let sources = &world.nodes[node].sources;
        let pick = world.rng.index(sources.len());
        if let Some((_, &token)) = sources.iter().nth(pick) {
            let claim = |token| Event {
                token,
                readable: true,
                writable: true,
                read_closed: false,
                error: false,
            };
            events.push(claim(token));
            if let Some(stale) = world.nodes[node].stale.pop() {
                events.push(claim(stale));
            }
        }
    }
    for event in &events[..] {
        let flags = [
            event.readable,
            event.writable,
            event.read_closed,
            event.error,
        ];
        let bits = flags
            .iter()
            .fold(0, |bits, &flag| bits << 1 | u64::from(flag));
        world.note(Step::Report, event.token.0, bits);
    }
}

/// One end of a simulated connection.
pub struct SimStream {
    network: Network,
    id: EndId,
}

impl SimStream {
    /// Appends what has arrived to `into`, at most `room` bytes; 0 means that the peer finished. For scripted peers, as
    /// [`Stream::read`] is for reactors.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there, or what broke the connection.
    pub fn receive(&mut self, into: &mut Vec<u8>, room: usize) -> io::Result<usize> {
        let mut put = |bytes: &[u8]| into.extend_from_slice(bytes);
        self.network.lock().take(self.id, room, &mut put)
    }
}

impl Stream for SimStream {
    fn read(&mut self, space: &mut ReadSpace<'_>) -> io::Result<usize> {
        self.network.lock().read(self.id, space)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.network.lock().write(self.id, bytes)
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        if slices.len() > SLICES_MAX {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let mut world = self.network.lock();
        // More than fits need not be copied together.
        let most = world
            .conns
            .get(&self.id.conn)
            .map_or(0, |conn| conn.window + 1);
        let bytes = slices.iter().flat_map(|slice| slice.iter().copied());
        let bytes: Vec<u8> = bytes.take(most).collect();
        world.write(self.id, &bytes)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.network.lock().finish(self.id)
    }

    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        Ok(self.network.lock().take_error(self.id))
    }

    fn abort(&mut self) {
        if let Some(end) = self.network.lock().end(self.id) {
            end.abort = true;
        }
    }

    fn peer_addr(&self) -> io::Result<Address> {
        self.network.lock().peer_addr(self.id)
    }

    fn local_addr(&self) -> io::Result<Address> {
        self.network.lock().local_addr(self.id)
    }

    /// Each machine runs one process, with its own number for everything.
    fn credentials(&self) -> Option<Credentials> {
        let mut world = self.network.lock();
        let number = world.end(self.id.other())?.node as u32 + 1;
        Some(Credentials {
            pid: number,
            uid: number,
            gid: number,
        })
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.network.lock().drop_end(self.id);
    }
}

impl fmt::Debug for SimStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimStream({}.{})", self.id.conn, self.id.side)
    }
}

/// A listening socket of a simulated machine.
pub struct SimListener {
    network: Network,
    id: u64,
    at: Address,
}

impl Listener for SimListener {
    fn local_addr(&self) -> io::Result<Address> {
        Ok(self.at.clone())
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.network.lock().drop_listener(self.id);
    }
}

impl fmt::Debug for SimListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimListener({})", self.at)
    }
}

/// More slices than this are an error of the caller, as with the kernel.
const SLICES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;

    use super::*;

    const OPTIONS: ListenerOptions = ListenerOptions {
        socket: SocketOptions {
            nodelay: true,
            keepalive: None,
            recv_buffer: None,
            send_buffer: None,
        },
        backlog: 16,
        reuse_port: false,
        only_v6: None,
        mode: None,
    };

    /// Sends numbered bytes to whoever connects or is connected to, and collects what comes, by readiness alone.
    struct Pump {
        driver: SimDriver,
        listener: Option<SimListener>,
        stream: Option<SimStream>,
        to_send: usize,
        sent: usize,
        got: Vec<u8>,
        ended: Option<io::Result<()>>,
        readable: bool,
        writable: bool,
    }

    impl Pump {
        fn new(network: &Network, to_send: usize) -> Self {
            Pump {
                driver: network.driver(),
                listener: None,
                stream: None,
                to_send,
                sent: 0,
                got: Vec::new(),
                ended: None,
                readable: false,
                writable: false,
            }
        }

        fn server(network: &Network) -> (Self, Address) {
            let mut pump = Pump::new(network, 0);
            let any = Address::from(([0, 0, 0, 0], 0));
            let listener = pump.driver.listen(&any, &OPTIONS, Token(1)).unwrap();
            let at = listener.local_addr().unwrap();
            pump.listener = Some(listener);
            (pump, at)
        }

        fn client(network: &Network, to: Address, to_send: usize) -> Self {
            let mut pump = Pump::new(network, to_send);
            let stream = pump
                .driver
                .connect(&to, &SocketOptions::default(), Token(2))
                .unwrap();
            pump.stream = Some(stream);
            pump
        }

        fn accept(&mut self) {
            let Some(listener) = &mut self.listener else {
                return;
            };
            if let Ok((mut stream, _)) = self.driver.accept(listener) {
                self.driver.register(&mut stream, Token(3)).unwrap();
                self.stream = Some(stream);
            }
        }

        fn transfer(&mut self) {
            let Some(stream) = &mut self.stream else {
                return;
            };
            while self.writable && self.sent < self.to_send {
                let bytes: Vec<u8> = (self.sent..self.to_send.min(self.sent + 100))
                    .map(|n| n as u8)
                    .collect();
                match stream.write(&bytes) {
                    Ok(count) => {
                        self.sent += count;
                        self.writable = count == bytes.len();
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.writable = false
                    }
                    Err(error) => {
                        self.ended = Some(Err(error));
                        return;
                    }
                }
                if self.sent == self.to_send {
                    stream.shutdown_write().unwrap();
                }
            }
            while self.readable && self.ended.is_none() {
                let mut memory = [MaybeUninit::uninit(); 64];
                let mut space = ReadSpace::new(&mut memory);
                match stream.read(&mut space) {
                    Ok(0) => self.ended = Some(Ok(())),
                    Ok(count) => {
                        assert_eq!(count, space.filled());
                        // SAFETY: `filled` bytes were written by the stream.
                        let new = memory[..count]
                            .iter()
                            .map(|byte| unsafe { byte.assume_init() });
                        self.got.extend(new);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.readable = false
                    }
                    Err(error) => self.ended = Some(Err(error)),
                }
            }
        }
    }

    impl Machine for Pump {
        fn turn(&mut self) -> io::Result<bool> {
            let mut events = Vec::new();
            self.driver.poll(&mut events, None)?;
            for event in &events {
                match event.token {
                    Token(1) if self.stream.is_none() => self.accept(),
                    Token(1) => {}
                    _ => {
                        self.readable |= event.readable;
                        self.writable |= event.writable;
                    }
                }
            }
            self.transfer();
            Ok(!events.is_empty())
        }
    }

    fn pump(seed: u64, faults: Faults, bytes: usize) -> (Pump, Pump, (u64, u64)) {
        let network = Network::new(seed, faults);
        let (mut server, at) = Pump::server(&network);
        let mut client = Pump::client(&network, at, bytes);
        for _ in 0..1_000_000 {
            if network.step(&mut [&mut server, &mut client]).unwrap() == Progress::Quiet {
                break;
            }
        }
        (server, client, network.trace())
    }

    #[test]
    fn bytes_arrive_whole_and_in_order_however_they_are_cut() {
        for seed in 0..50 {
            let mut faults = Faults::storm(&mut Rng::new(seed));
            (faults.reset, faults.silence, faults.refuse, faults.hang) = (0, 0, 0, 0);
            (faults.accept_error, faults.no_descriptors) = (0, 0);
            let (server, client, _) = pump(seed, faults, 3000);
            assert_eq!(client.sent, 3000, "seed {seed}");
            assert!(
                server.got.iter().copied().eq((0..3000).map(|n| n as u8)),
                "seed {seed}"
            );
            assert!(matches!(server.ended, Some(Ok(()))), "seed {seed}");
        }
    }

    #[test]
    fn a_lost_connection_delivers_a_prefix_and_an_error_to_both() {
        let faults = Faults {
            reset: 1000,
            loss_within: 2000,
            split: 500,
            ..Faults::none()
        };
        for seed in 0..50 {
            let (server, client, _) = pump(seed, faults.clone(), 3000);
            assert!(server.got.len() < 2000, "seed {seed}");
            assert!(
                server
                    .got
                    .iter()
                    .enumerate()
                    .all(|(n, &byte)| byte == n as u8),
                "seed {seed}"
            );
            assert!(matches!(server.ended, Some(Err(_))), "seed {seed}");
            assert!(matches!(client.ended, Some(Err(_))), "seed {seed}");
        }
    }

    #[test]
    fn one_seed_is_one_run() {
        for seed in 0..20 {
            let storm = || Faults::storm(&mut Rng::new(seed));
            assert_eq!(pump(seed, storm(), 500).2, pump(seed, storm(), 500).2);
        }
        let traces = [0, 1].map(|seed| pump(seed, Faults::none(), 500).2);
        assert_ne!(traces[0], traces[1]);
    }

    #[test]
    fn a_port_without_listener_refuses() {
        let network = Network::new(1, Faults::none());
        let mut driver = network.driver();
        let to = Address::from(([10, 0, 9, 9], 1));
        let mut stream = driver
            .connect(&to, &SocketOptions::default(), Token(7))
            .unwrap();
        assert_eq!(
            stream.peer_addr().unwrap_err().kind(),
            io::ErrorKind::NotConnected
        );
        network.clock().advance(Duration::from_millis(1));
        let mut events = Vec::new();
        driver.poll(&mut events, None).unwrap();
        assert!(events[0].token == Token(7) && events[0].writable && events[0].error);
        let error = stream.take_error().unwrap().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        drop(stream);
        assert_eq!(network.handles(), 0);
    }

    #[test]
    fn a_closed_end_answers_data_with_a_reset() {
        let narrow = Faults {
            window_min: 64,
            window_max: 64,
            ..Faults::none()
        };
        let network = Network::new(1, narrow);
        let (mut server, at) = Pump::server(&network);
        let mut client = Pump::client(&network, at, 1000);
        while server.got.is_empty() {
            network.step(&mut [&mut server, &mut client]).unwrap();
        }
        server.stream = None;
        while network.step(&mut [&mut server, &mut client]).unwrap() != Progress::Quiet {}
        assert!(matches!(client.ended, Some(Err(_))), "{:?}", client.ended);
        client.stream = None;
        assert_eq!(network.handles(), 1, "the listener");
    }
}
