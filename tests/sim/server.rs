//! The coordinator's machine in its second form: the whole server, reactor and all, under the simulated network.
//!
//! Bytes of the clients' connections go over [`Network`] as well, which splits, delays and breaks them in its own ways, and
//! which owns the time of such a run. The checker reads what the clients' side of those connections sends and receives.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use seamio::proto::codec::{decode_rpc, encode_rpc};
use seamio::proto::frame::{FRAME_BYTES_MAX, FrameLength, decode_frame, peek_frame};
use seamio::proto::message::Message;
use seamio::proto::version::{ExceptionTable, PeerVersion};
use seamio::sim::{Faults, Network, News, Plugs, SimServer};
use seamio::tc::server::ServerConfig;
use seamio::tc::store::{Completion, Global, Operation, Seq, Store, StoreStats, Ticket};

use crate::checker::Checker;
use crate::env::{Env, Event, MS, Micros, SECOND};
use crate::host::{Peer, Site, Treatment, sync_end};
use crate::medium::Medium;
use crate::wire::{Arrival, Wire};

/// A machine with the whole server on it.
pub(crate) struct ServerSite {
    medium: Box<dyn Medium>,
    config: ServerConfig,
    treatment: Treatment,
    network: Network,
    server: Option<SimServer>,
    plugs: Plugs,
    conns: BTreeMap<u64, Conn>,
    watch: Shared,
    life: u32,
    wall_ms: u64,
    kill_in: Option<u32>,
}

#[derive(Default)]
struct Conn {
    table: ExceptionTable,
    read: BytesMut,
}

type Shared = Arc<Mutex<Watch>>;

/// The store, seen from both sides of the server.
#[derive(Default)]
struct Watch {
    store: Option<Box<dyn Store>>,
    asked: BTreeMap<Ticket, Operation>,
    notes: Vec<Note>,
}

enum Note {
    Done(Box<(Operation, Completion)>),
    Durable(Seq),
}

impl ServerSite {
    /// A machine that is switched off.
    pub(crate) fn new(
        medium: Box<dyn Medium>,
        config: ServerConfig,
        treatment: Treatment,
        seed: u64,
        faults: Faults,
    ) -> Self {
        let network = Network::new(seed, faults);
        Self {
            medium,
            config,
            treatment,
            plugs: Plugs::new(&network),
            network,
            server: None,
            conns: BTreeMap::new(),
            watch: Shared::default(),
            life: 0,
            wall_ms: 1_750_000_000_000,
            kill_in: None,
        }
    }

    fn micros(&self) -> Micros {
        self.network.clock().elapsed().as_micros() as Micros
    }

    /// Tells the checker what the store did, in order.
    fn report(&mut self, checker: &mut Checker) {
        for note in std::mem::take(&mut lock(&self.watch).notes) {
            match note {
                Note::Done(pair) => checker.carried_out(pair.0, pair.1),
                Note::Durable(seq) => checker.durable(seq),
            }
        }
    }

    /// Passes on what the server sent.
    fn deliver(&mut self, env: &mut Env, wire: &mut Wire, checker: &mut Checker) {
        while let Some((name, news)) = self.plugs.poll_news() {
            let Some(conn) = self.conns.get_mut(&name) else {
                continue;
            };
            match news {
                News::Closed => {
                    self.conns.remove(&name);
                    checker.closed(name);
                    wire.close(env, name, true);
                }
                News::Bytes(bytes) => {
                    conn.read.extend_from_slice(&bytes);
                    while let Ok(FrameLength::Complete(length)) =
                        peek_frame(&conn.read, FRAME_BYTES_MAX)
                    {
                        let frame = decode_frame(conn.read.split_to(length).freeze());
                        let rpc = decode_rpc(frame.expect("the server writes frames"), conn.table);
                        let rpc = rpc.expect("the server writes messages");
                        env.trace(format_args!("conn {name} <- {} {:?}", rpc.id, rpc.message));
                        checker.sent(name, &rpc);
                        wire.send(env, name, false, &rpc, conn.table);
                    }
                }
            }
        }
    }

    fn die(&mut self, env: &mut Env, wire: &mut Wire, checker: &mut Checker) {
        if self.server.take().is_none() {
            return;
        }
        self.report(checker);
        env.trace(format_args!("life {} ends", self.life));
        self.kill_in = None;
        self.life += 1;
        self.plugs.abort_all();
        self.conns.clear();
        *lock(&self.watch) = Watch::default();
        self.medium.crash(&mut env.rng);
        wire.server_died(env);
        let most = if env.healing { 100 * MS } else { 5 * SECOND };
        let pause = env.rng.between(20 * MS, most);
        env.after(pause, Event::Start { life: self.life });
    }
}

impl Site for ServerSite {
    fn look(&self, look: &mut dyn FnMut(&dyn Store)) {
        if let Some(store) = &lock(&self.watch).store {
            look(&**store);
        }
    }

    fn is_idle(&self) -> bool {
        self.server.is_some()
    }

    fn check_books(&self, _checker: &mut Checker) {}

    fn kill_after(&mut self, steps: u32) {
        self.kill_in = Some(steps);
    }

    fn rest(&mut self, env: &mut Env) {
        self.treatment.fill(env, &mut *self.medium);
    }

    fn heal(&mut self) {
        self.kill_in = None;
        self.treatment.heal();
        self.network.set_faults(Faults::none());
    }

    fn start(&mut self, env: &mut Env, checker: &mut Checker, life: u32) {
        if life != self.life || self.server.is_some() {
            return;
        }
        if self.treatment.clock_jumps && life > 0 && env.rng.chance(300) {
            self.wall_ms = self.wall_ms + env.rng.between(0, 7_200_000) - 3_600_000;
        }
        let mut store = match self.medium.open() {
            Ok(store) => store,
            Err(text) => return checker.broken(21, format!("the store cannot be opened: {text}")),
        };
        checker.recovered(&mut *store);
        lock(&self.watch).store = Some(store);
        let watched = Box::new(Watched(Arc::clone(&self.watch)));
        let wall_ms = self.wall_ms + env.now / MS;
        match SimServer::bind(&self.config, watched, &self.network, wall_ms) {
            Ok(server) => self.server = Some(server),
            Err(error) => {
                // It exits, and is started again.
                env.trace(format_args!("the server cannot start: {error}"));
                self.life += 1;
                *lock(&self.watch) = Watch::default();
                self.medium.crash(&mut env.rng);
                return env.after(SECOND, Event::Start { life: self.life });
            }
        }
        env.trace(format_args!("start life {life} wall {wall_ms}"));
    }

    fn open(&mut self, _env: &Env, checker: &mut Checker, conn: u64, peer: Peer) -> bool {
        let peer = peer.address;
        let Some(server) = &self.server else {
            return false;
        };
        // All of them come from one address in that network.
        let host = IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9));
        checker.opened(conn, SocketAddr::new(host, peer.port()));
        self.plugs.connect(conn, server.address());
        self.conns.insert(conn, Conn::default());
        true
    }

    fn arrive(&mut self, env: &mut Env, wire: &mut Wire, checker: &mut Checker, conn: u64) {
        if !matches!(wire.arrive(env, conn, true), Arrival::Some) {
            return;
        }
        while let Some(found) = self.conns.get_mut(&conn) {
            // A registration fixes how its sender numbers codes; requests have none.
            let Some(rpc) = wire.take(conn, true, found.table) else {
                break;
            };
            match &rpc.message {
                Message::RegisterTm(tm) => {
                    found.table = PeerVersion::parse(&tm.version).exception_table();
                }
                Message::RegisterRm(rm) => {
                    found.table = PeerVersion::parse(&rm.version).exception_table();
                }
                _ => {}
            }
            env.trace(format_args!("conn {conn} -> {} {:?}", rpc.id, rpc.message));
            checker.arrived(conn, &rpc);
            let mut bytes = BytesMut::new();
            encode_rpc(&rpc, found.table, &mut bytes).expect("what was read can be written");
            self.plugs.send(conn, &bytes);
        }
    }

    fn gone(&mut self, _env: &mut Env, wire: &mut Wire, checker: &mut Checker, conn: u64) {
        if wire.gone(conn, true) && self.conns.remove(&conn).is_some() {
            checker.closed(conn);
            self.plugs.abort(conn);
        }
    }

    fn wake(&mut self, _env: &mut Env, _wire: &mut Wire, _checker: &mut Checker, _life: u32) {}

    fn synced(&mut self, env: &mut Env, _wire: &mut Wire, _checker: &mut Checker, life: u32) {
        if life != self.life || self.server.is_none() {
            return;
        }
        let end = sync_end(env, &self.treatment);
        let failed = self.medium.synced(end, &mut env.rng);
        env.trace(format_args!("synced, failed: {failed}"));
        if let Some(server) = &self.server {
            server.wake();
        }
    }

    fn advance(&mut self, env: &mut Env, wire: &mut Wire, checker: &mut Checker) -> bool {
        let until = env.next_time().unwrap_or(env.now + SECOND);
        let now = self.micros();
        if now >= until {
            return false;
        }
        self.plugs.set_nap(Duration::from_micros(until - now));
        let stepped = match &mut self.server {
            Some(server) => self.network.step(&mut [server, &mut self.plugs]),
            None => self.network.step(&mut [&mut self.plugs]),
        };
        if let Err(error) = stepped {
            checker.broken(26, format!("the reactor failed: {error}"));
        }
        env.advance(self.micros());
        checker.now = env.now;
        self.report(checker);
        self.deliver(env, wire, checker);
        if self.medium.begin_sync() {
            let delay = self.treatment.sync_time(env);
            env.after(delay, Event::Synced { life: self.life });
        }
        let ended = self.server.as_ref().and_then(SimServer::outcome);
        let killed = match &mut self.kill_in {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        if ended.is_some() || killed {
            self.die(env, wire, checker);
        }
        true
    }

    fn hash(&self) -> u64 {
        self.network.trace().0
    }
}

/// What the server is given as its store.
struct Watched(Shared);

impl Watched {
    fn with<T>(&self, act: impl FnOnce(&mut Watch, &mut dyn Store) -> T) -> Option<T> {
        let mut watch = lock(&self.0);
        let mut store = watch.store.take()?;
        let done = act(&mut watch, &mut *store);
        watch.store = Some(store);
        Some(done)
    }
}

impl Store for Watched {
    fn submit(&mut self, ticket: Ticket, operation: Operation) {
        self.with(|watch, store| {
            watch.asked.insert(ticket, operation.clone());
            store.submit(ticket, operation);
        });
    }

    fn poll_completion(&mut self) -> Option<Completion> {
        self.with(|watch, store| {
            let done = store.poll_completion()?;
            if let Some(operation) = watch.asked.remove(&done.ticket) {
                let pair = Box::new((operation, done.clone()));
                watch.notes.push(Note::Done(pair));
            }
            Some(done)
        })?
    }

    fn flush(&mut self) {
        self.with(|_, store| store.flush());
    }

    fn durable(&self) -> Seq {
        let durable = self.with(|watch, store| {
            let durable = store.durable();
            watch.notes.push(Note::Durable(durable));
            durable
        });
        durable.unwrap_or_default()
    }

    fn scan(&self, visit: &mut dyn FnMut(&Global)) {
        self.with(|_, store| store.scan(visit));
    }

    fn highest_id(&self) -> i64 {
        self.with(|_, store| store.highest_id()).unwrap_or_default()
    }

    fn failure(&self) -> Option<String> {
        self.with(|_, store| store.failure())?
    }

    fn stats(&self) -> StoreStats {
        self.with(|_, store| store.stats()).unwrap_or_default()
    }
}

fn lock(watch: &Shared) -> MutexGuard<'_, Watch> {
    watch.lock().unwrap_or_else(PoisonError::into_inner)
}
