//! The state behind a simulated network: connections, what travels, and when it arrives. No handles, no traits.
//!
//! Everything happens through one heap of happenings, ordered by time and then by the order in which they were caused.
//! Collections are ordered, chance comes from one generator: the same calls in the same order give the same run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::net::driver::{Event, Token};
use crate::net::{Address, UnixAddress};

use super::clock::SimClock;
use super::fault::{Defect, Faults};
use super::packet::PacketSocket;
use super::rng::{Rng, mix};

/// Everything that exists in one simulated network.
#[derive(Debug)]
pub(super) struct World {
    pub(super) clock: SimClock,
    pub(super) rng: Rng,
    pub(super) faults: Faults,
    /// What this network does that no network may.
    pub(super) defect: Option<Defect>,
    pub(super) nodes: Vec<Node>,
    pub(super) listeners: BTreeMap<u64, Listening>,
    pub(super) conns: BTreeMap<u64, Conn>,
    pub(super) sockets: BTreeMap<u64, PacketSocket>,
    happenings: BinaryHeap<Reverse<Scheduled>>,
    sequence: u64,
    next_id: u64,
    next_port: u16,
    trace: Trace,
}

/// One machine: the sources one driver has registered.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) sources: BTreeMap<Source, Token>,
    /// Sources whose readiness changed since it was last reported.
    pub(super) ready: BTreeSet<Source>,
    /// Tokens of sources that are gone: reports of them may still be under way.
    pub(super) stale: Vec<Token>,
    pub(super) woken: bool,
    /// When the last poll asked to sleep: until then, or `u64::MAX` for as long as nothing happens.
    pub(super) sleeps_until: Option<u64>,
    no_descriptors_until: u64,
    /// The machine it runs on, named by the first node there.
    host: usize,
}

/// What a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Listener(u64),
    End(EndId),
    Socket(u64),
}

/// One end of a connection: 0 connected, 1 accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EndId {
    pub(super) conn: u64,
    pub(super) side: usize,
}

impl EndId {
    pub(super) fn other(self) -> EndId {
        EndId {
            conn: self.conn,
            side: 1 - self.side,
        }
    }
}

#[derive(Debug)]
pub(super) struct Listening {
    pub(super) node: usize,
    pub(super) at: Address,
    pub(super) backlog: usize,
    pub(super) waiting: VecDeque<u64>,
}

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) ends: [End; 2],
    /// Bytes each direction holds.
    pub(super) window: usize,
    /// Bytes until the connection is lost, and how.
    pub(super) loss: Option<(u64, Loss)>,
    pub(super) silent: bool,
    /// Whether the reset of a peer destroys what has arrived and was not read, as some systems have it.
    reset_discards: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    Reset,
    Silence,
}

/// How far an end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Of the connecting end: undecided. Of the other: not at its listener yet, and nobody's.
    Connecting,
    Connected,
    Failed,
    /// The handle is gone.
    Dropped,
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) node: usize,
    pub(super) local: Address,
    pub(super) peer: Address,
    pub(super) phase: Phase,
    pub(super) abort: bool,
    /// The pending error of the socket.
    pub(super) error: Option<i32>,
    pub(super) arrived: VecDeque<u8>,
    /// Bytes sent to this end and not read by it yet.
    pub(super) unread: usize,
    pub(super) fin: bool,
    pub(super) reset: bool,
    pub(super) sent_fin: bool,
    pub(super) wants_room: bool,
    pub(super) last_arrival: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Scheduled {
    at: u64,
    sequence: u64,
    what: Happening,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Happening {
    Incoming {
        conn: u64,
        listener: u64,
    },
    Decided {
        conn: u64,
        error: Option<i32>,
    },
    Segment {
        to: EndId,
        bytes: Vec<u8>,
    },
    Fin {
        to: EndId,
    },
    Reset {
        to: EndId,
    },
    Report {
        source: Source,
    },
    Packet {
        sender: u64,
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    Unreachable {
        socket: u64,
    },
}

/// What the trace remembers of a step. The numbers are part of the hash of a run.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Step {
    Poll = 1,
    Report = 2,
    Connect = 3,
    Accept = 4,
    Read = 5,
    Write = 6,
    Shutdown = 7,
    Drop = 8,
    Happening = 9,
    Lanes = 10,
    Note = 11,
}

/// A running hash over every step.
#[derive(Debug, Default)]
struct Trace {
    hash: u64,
    steps: u64,
}

impl World {
    pub(super) fn new(seed: u64, faults: Faults, clock: SimClock) -> Self {
        World {
            clock,
            rng: Rng::new(seed),
            faults,
            defect: None,
            nodes: Vec::new(),
            listeners: BTreeMap::new(),
            conns: BTreeMap::new(),
            sockets: BTreeMap::new(),
            happenings: BinaryHeap::new(),
            sequence: 0,
            next_id: 0,
            next_port: EPHEMERAL,
            trace: Trace::default(),
        }
    }

    /// A node on a machine of its own, or on that of another node.
    pub(super) fn add_node(&mut self, beside: Option<usize>) -> usize {
        let node = self.nodes.len();
        self.nodes.push(Node {
            host: beside.map_or(node, |other| self.nodes[other].host),
            ..Node::default()
        });
        node
    }

    pub(super) fn note(&mut self, step: Step, a: u64, b: u64) {
        let at = self.clock.nanos();
        log::trace!("at={at} step={step:?} a={a} b={b}");
        for word in [step as u64, at, a, b] {
            self.trace.hash = mix(self.trace.hash ^ word).wrapping_add(GOLDEN);
        }
        self.trace.steps += 1;
    }

    pub(super) fn trace(&self) -> (u64, u64) {
        (self.trace.hash, self.trace.steps)
    }

    /// When something happens next without anybody's doing: `Some(0)` when reports wait already.
    pub(super) fn next_happening(&self) -> Option<u64> {
        let waiting = self
            .nodes
            .iter()
            .any(|node| node.woken || !node.ready.is_empty());
        if waiting {
            Some(0)
        } else {
            self.next_scheduled()
        }
    }

    /// When the next of what is under way arrives.
    pub(super) fn next_scheduled(&self) -> Option<u64> {
        self.happenings.peek().map(|Reverse(next)| next.at)
    }

    /// Lets everything happen that is due.
    pub(super) fn settle(&mut self) {
        let now = self.clock.nanos();
        while self
            .happenings
            .peek()
            .is_some_and(|Reverse(next)| next.at <= now)
        {
            let Some(Reverse(next)) = self.happenings.pop() else {
                return;
            };
            self.note(Step::Happening, next.sequence, next.at);
            self.happen(next.what);
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Incoming { conn, listener } => self.incoming(conn, listener),
            Happening::Decided { conn, error } => self.decided(conn, error),
            Happening::Segment { to, bytes } => self.segment(to, bytes),
            Happening::Fin { to } => {
                if let Some(end) = self.end(to) {
                    end.fin = true;
                    self.mark(Source::End(to));
                }
            }
            Happening::Reset { to } => self.reset_arrived(to),
            Happening::Report { source } => self.mark(source),
            Happening::Packet {
                sender,
                from,
                to,
                bytes,
            } => self.packet(sender, from, to, bytes),
            Happening::Unreachable { socket } => self.unreachable(socket),
        }
    }

    fn incoming(&mut self, conn: u64, listener: u64) {
        let Some(listening) = self.listeners.get_mut(&listener) else {
            self.drop_end(EndId { conn, side: 1 });
            return;
        };
        if listening.waiting.len() >= listening.backlog {
            // The first segment of the handshake is dropped and sent again.
            self.later(RETRANSMIT, Happening::Incoming { conn, listener });
        } else if let Some(there) = self.conns.get_mut(&conn) {
            there.ends[1].phase = Phase::Connected;
            listening.waiting.push_back(conn);
            self.mark(Source::Listener(listener));
        }
    }

    fn decided(&mut self, conn: u64, error: Option<i32>) {
        let id = EndId { conn, side: 0 };
        let Some(end) = self.end(id).filter(|end| end.phase == Phase::Connecting) else {
            return;
        };
        end.phase = if error.is_some() {
            Phase::Failed
        } else {
            Phase::Connected
        };
        // A reset may have come first.
        end.error = error.or(end.error);
        self.mark(Source::End(id));
    }

    fn segment(&mut self, to: EndId, mut bytes: Vec<u8>) {
        let defect = self.breaks_now();
        let Some(end) = self.end(to) else { return };
        match defect {
            Some(Defect::Swap) if bytes.len() > 1 => bytes.swap(0, 1),
            Some(Defect::Repeat) => {
                end.unread += bytes.len();
                bytes.extend_from_within(..);
            }
            Some(Defect::Lose) => {
                end.unread -= bytes.len();
                bytes.clear();
            }
            _ => {}
        }
        if end.phase == Phase::Dropped {
            self.reset_to(to.other());
        } else if !end.reset {
            end.arrived.extend(bytes);
            self.mark(Source::End(to));
        }
    }

    fn reset_arrived(&mut self, to: EndId) {
        let Some(conn) = self.conns.get_mut(&to.conn) else {
            return;
        };
        let discards = conn.reset_discards;
        let end = &mut conn.ends[to.side];
        if end.reset {
            return;
        }
        end.reset = true;
        end.error = Some(libc::ECONNRESET);
        if discards {
            end.arrived.clear();
        }
        self.mark(Source::End(to));
    }

    /// The rule to be broken this time, if any.
    pub(super) fn breaks_now(&mut self) -> Option<Defect> {
        self.defect.filter(|_| self.rng.chance(DEFECTS))
    }

    /// Puts a source on the ready list of its node, if it is registered.
    pub(super) fn mark(&mut self, source: Source) {
        if self.defect == Some(Defect::Deaf) && self.breaks_now().is_some() {
            return;
        }
        let Some(node) = self.node_of(source) else {
            return;
        };
        let node = &mut self.nodes[node];
        if node.sources.contains_key(&source) {
            node.ready.insert(source);
        }
    }

    fn node_of(&self, source: Source) -> Option<usize> {
        match source {
            Source::Listener(id) => self.listeners.get(&id).map(|listening| listening.node),
            Source::End(id) => self.conns.get(&id.conn).map(|conn| conn.ends[id.side].node),
            Source::Socket(id) => self.sockets.get(&id).map(|socket| socket.node),
        }
    }

    pub(super) fn end(&mut self, id: EndId) -> Option<&mut End> {
        self.conns
            .get_mut(&id.conn)
            .map(|conn| &mut conn.ends[id.side])
    }

    pub(super) fn register(&mut self, source: Source, token: Token) {
        let Some(node) = self.node_of(source) else {
            return;
        };
        self.nodes[node].sources.insert(source, token);
        // As epoll does: what is ready already is reported once.
        self.mark(source);
    }

    /// The report of a source, from its state at this moment.
    pub(super) fn report(&self, source: Source, token: Token) -> Event {
        let mut event = Event {
            token,
            readable: false,
            writable: false,
            read_closed: false,
            error: false,
        };
        match source {
            Source::Listener(id) => {
                event.readable = self
                    .listeners
                    .get(&id)
                    .is_some_and(|l| !l.waiting.is_empty());
            }
            Source::Socket(id) => {
                if let Some(socket) = self.sockets.get(&id) {
                    event.error = socket.error.is_some();
                    event.readable = event.error || !socket.waiting.is_empty();
                    event.writable = true;
                }
            }
            Source::End(id) => {
                let Some(conn) = self.conns.get(&id.conn) else {
                    return event;
                };
                let end = &conn.ends[id.side];
                if end.phase != Phase::Connecting {
                    let broken = end.reset || end.phase == Phase::Failed;
                    event.readable = broken || end.fin || !end.arrived.is_empty();
                    event.writable = broken || conn.ends[1 - id.side].unread < conn.window;
                    event.read_closed = broken || end.fin;
                    event.error = broken;
                }
            }
        }
        event
    }

    /// Starts a connection attempt and returns its connecting end.
    pub(super) fn connect(&mut self, node: usize, to: &Address) -> io::Result<EndId> {
        self.take_descriptor(node)?;
        let to = self.resolve(node, to);
        let listener = self.listener_at(node, &to);
        let local = match to {
            Address::Ip(_) => Address::from((address(node), self.ephemeral())),
            _ => self.check_unix(listener)?,
        };
        let conn = self.fresh_id();
        let (refuse, hang) = (self.faults.refuse, self.faults.hang);
        let same_host = |a: &Address, b: &Address| match (a.ip(), b.ip()) {
            (Some(a), Some(b)) => a.ip() == b.ip(),
            _ => false,
        };
        let itself = listener.is_none() && same_host(&to, &local) && {
            let chance = self.faults.self_connect;
            self.rng.chance(chance)
        };
        let local = if itself { to.clone() } else { local };
        let other = listener.map_or(node, |id| self.listeners[&id].node);
        let made = self.new_conn([(node, local.clone(), to.clone()), (other, to, local)]);
        self.conns.insert(conn, made);
        let error = if self.rng.chance(hang) {
            None
        } else if itself || (listener.is_some() && !self.rng.chance(refuse)) {
            Some(None)
        } else {
            Some(Some(libc::ECONNREFUSED))
        };
        self.note(Step::Connect, conn, error.flatten().unwrap_or(0) as u64);
        let there = self.latency();
        if let Some(error) = error {
            let back = there + self.latency();
            self.later(back, Happening::Decided { conn, error });
        }
        let accepted = EndId { conn, side: 1 };
        let now = self.clock.nanos();
        let Some(end) = self.end(accepted) else {
            return Err(io::ErrorKind::Other.into());
        };
        match listener {
            Some(listener) if error == Some(None) => {
                // What the connecting end sends must not overtake its arrival at the listener.
                end.last_arrival = now + there;
                self.later(there, Happening::Incoming { conn, listener });
            }
            // Nobody will ever hold this end.
            _ => end.phase = Phase::Dropped,
        }
        Ok(EndId { conn, side: 0 })
    }

    fn listener_at(&self, node: usize, at: &Address) -> Option<u64> {
        let host = |node: usize| self.nodes[node].host;
        let here = |l: &Listening| l.at == *at && (at.ip().is_some() || host(l.node) == host(node));
        self.listeners
            .iter()
            .find(|(_, listening)| here(listening))
            .map(|(&id, _)| id)
    }

    /// What a unix socket decides at once. The address of the connecting end.
    fn check_unix(&self, listener: Option<u64>) -> io::Result<Address> {
        let Some(listening) = listener.and_then(|id| self.listeners.get(&id)) else {
            return Err(io::Error::from_raw_os_error(libc::ENOENT));
        };
        if listening.waiting.len() >= listening.backlog {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        Ok(UnixAddress::Unnamed.into())
    }

    fn new_conn(&mut self, ends: [(usize, Address, Address); 2]) -> Conn {
        let faults = &self.faults;
        let (low, high) = (faults.window_min.max(1) as u64, faults.window_max as u64);
        let loss = if self.rng.chance(faults.reset) {
            Some(Loss::Reset)
        } else if self.rng.chance(faults.silence) {
            Some(Loss::Silence)
        } else {
            None
        };
        let within = self.faults.loss_within;
        Conn {
            window: self.rng.between(low, high) as usize,
            loss: loss.map(|how| (self.rng.below(within.max(1)), how)),
            silent: false,
            reset_discards: self.rng.chance(500),
            ends: ends.map(|(node, local, peer)| End {
                node,
                local,
                peer,
                phase: Phase::Connecting,
                abort: false,
                error: None,
                arrived: VecDeque::new(),
                unread: 0,
                fin: false,
                reset: false,
                sent_fin: false,
                wants_room: false,
                last_arrival: 0,
            }),
        }
    }

    pub(super) fn listen(
        &mut self,
        node: usize,
        at: &Address,
        backlog: u32,
    ) -> io::Result<(u64, Address)> {
        self.take_descriptor(node)?;
        let mut at = self.resolve(node, at);
        if let Address::Ip(ip) = &mut at
            && ip.port() == 0
        {
            ip.set_port(self.ephemeral());
        }
        if self.listener_at(node, &at).is_some() {
            return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
        }
        let id = self.fresh_id();
        let backlog = backlog.max(1) as usize;
        self.listeners.insert(
            id,
            Listening {
                node,
                at: at.clone(),
                backlog,
                waiting: VecDeque::new(),
            },
        );
        Ok((id, at))
    }

    pub(super) fn accept(&mut self, listener: u64) -> io::Result<EndId> {
        let Some(listening) = self.listeners.get(&listener) else {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        };
        let node = listening.node;
        if listening.waiting.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.take_descriptor(node)?;
        let chance = self.faults.accept_error;
        if self.rng.chance(chance) {
            let passing = [libc::EINTR, libc::ECONNABORTED, libc::EPROTO, libc::EPERM];
            let error = passing[self.rng.index(passing.len())];
            // As with the real ones, the connection the error belongs to is gone; EINTR takes none.
            if error != libc::EINTR {
                self.shed(listener);
            }
            return Err(io::Error::from_raw_os_error(error));
        }
        let waiting = self
            .listeners
            .get_mut(&listener)
            .and_then(|l| l.waiting.pop_front());
        let conn = waiting.ok_or(io::ErrorKind::WouldBlock)?;
        self.note(Step::Accept, listener, conn);
        Ok(EndId { conn, side: 1 })
    }

    /// Takes one waiting connection and resets it.
    pub(super) fn shed(&mut self, listener: u64) -> bool {
        let waiting = self
            .listeners
            .get_mut(&listener)
            .and_then(|l| l.waiting.pop_front());
        let Some(conn) = waiting else { return false };
        self.drop_end(EndId { conn, side: 1 });
        true
    }

    pub(super) fn take_descriptor(&mut self, node: usize) -> io::Result<()> {
        let now = self.clock.nanos();
        let chance = self.faults.no_descriptors;
        if now >= self.nodes[node].no_descriptors_until && self.rng.chance(chance) {
            let until = now + self.rng.between(1, DESCRIPTORS_BACK);
            self.nodes[node].no_descriptors_until = until;
        }
        if now < self.nodes[node].no_descriptors_until {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        Ok(())
    }

    pub(super) fn drop_listener(&mut self, id: u64) {
        self.forget(Source::Listener(id));
        let Some(listening) = self.listeners.remove(&id) else {
            return;
        };
        for conn in listening.waiting {
            self.drop_end(EndId { conn, side: 1 });
        }
    }

    /// Takes a source off its node, which may still see a late report of it.
    pub(super) fn forget(&mut self, source: Source) {
        let Some(node) = self.node_of(source) else {
            return;
        };
        let node = &mut self.nodes[node];
        node.ready.remove(&source);
        if let Some(token) = node.sources.remove(&source) {
            node.stale.push(token);
            if node.stale.len() > STALE_MAX {
                node.stale.remove(0);
            }
        }
    }

    pub(super) fn later(&mut self, after: u64, what: Happening) {
        self.at(self.clock.nanos().saturating_add(after), what);
    }

    pub(super) fn at(&mut self, at: u64, what: Happening) {
        self.sequence += 1;
        self.happenings.push(Reverse(Scheduled {
            at,
            sequence: self.sequence,
            what,
        }));
    }

    /// How long the next thing is under way, in nanoseconds.
    pub(super) fn latency(&mut self) -> u64 {
        let nanos = |duration: std::time::Duration| duration.as_nanos() as u64;
        let (low, high) = (
            nanos(self.faults.latency_min),
            nanos(self.faults.latency_max),
        );
        self.rng.between(low, high)
    }

    /// The address as seen from outside: a wildcard and the loopback stand for the node itself.
    pub(super) fn resolve(&self, node: usize, at: &Address) -> Address {
        match at.ip() {
            Some(ip) if ip.ip().is_unspecified() || ip.ip().is_loopback() => {
                Address::from((address(node), ip.port()))
            }
            _ => at.clone(),
        }
    }

    pub(super) fn ephemeral(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = if port == u16::MAX {
            EPHEMERAL
        } else {
            port + 1
        };
        port
    }

    pub(super) fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

/// The address of a node.
pub(super) fn address(node: usize) -> IpAddr {
    let [high, low] = ((node + 1) as u16).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, 0, high, low))
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// First port of the range for connecting ends.
const EPHEMERAL: u16 = 49_152;
/// After how long the first segment of a handshake is sent again, in nanoseconds.
const RETRANSMIT: u64 = 1_000_000_000;
/// After how long descriptors are there again at the latest, in nanoseconds.
const DESCRIPTORS_BACK: u64 = 500_000_000;
const STALE_MAX: usize = 16;
/// How often, in thousandths, a rule is broken that must not be.
const DEFECTS: u32 = 100;
