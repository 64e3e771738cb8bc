//! Several coordinators over one store that they share: each is killed, paused beyond its lease, or cut off from the
//! store, and started again under another node.
//!
//! The store is a memory store with the rules of [`Ownership`] around it. Between it and each coordinator is a network:
//! operations and answers take their time, in order; while it is cut, operations hang and then fail, answers wait. A
//! process that dies may leave operations behind that are still carried out.
//!
//! Beside what `checker.rs` sees, a branch may be called only by the driver of its transaction (25), and every
//! coordinator's own audit has to pass (32).

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use seamio::proto::message::Message;
use seamio::proto::status::GlobalStatus;
use seamio::tc::store::{
    Completion, Global, MemoryStore, Operation, Outcome, Ownership, Seq, Store, StoreEvent,
    StoreLimits, Ticket,
};
use seamio::tc::{ChannelId, Coordinator, CoordinatorConfig, Output};
use seamio::xid::{IdGenerator, Xid};

use crate::checker::Checker;
use crate::counts::Counts;
use crate::env::{Env, Event, MS, Micros, SECOND, StoreStep};
use crate::host::{Peer, Site};
use crate::shadow::contents;
use crate::wire::{Arrival, Wire};

/// How long a lease lasts.
const LEASE: Micros = 9 * SECOND;
/// So long after its deadline everybody is told of an undecided transaction.
const OVERDUE_GRACE_MS: i64 = 2000;
/// How long an operation may wait for the store before it fails.
const PATIENCE: Micros = 5 * SECOND;

/// A bug put into the rules, so that the checkers can be seen to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FleetBug {
    /// None.
    None,
    /// A lease that is told never ends.
    LeaseForEver,
    /// What others left is told to nobody.
    OrphansLeft,
    /// A transaction on offer goes to everybody who asks.
    OfferTakenTwice,
    /// Nobody is told that its lease was over.
    NotReplaced,
    /// Who drives a transaction is not written down.
    DriverNotNoted,
}

/// The machines.
pub(crate) struct Fleet {
    base: Base,
    seats: Vec<Seat>,
    config: CoordinatorConfig,
    /// Which coordinator each connection leads to.
    conns: BTreeMap<u64, usize>,
    links_each: usize,
    wall_ms: i64,
    delay_max: Micros,
    bug: FleetBug,
}

/// The store and the rules around it.
struct Base {
    store: MemoryStore,
    ownership: Ownership,
    bug: FleetBug,
}

/// A machine for one coordinator.
#[derive(Default)]
struct Seat {
    process: Option<Process>,
    /// Counts processes.
    life: u32,
    /// The process dies after so many more steps.
    kill_in: Option<u32>,
    /// Until when the process stands still.
    paused: Micros,
    /// Until when the store cannot be reached.
    cut: Micros,
}

struct Process {
    coordinator: Coordinator,
    node: u16,
    /// When its lease ends, as it counts.
    until: Option<Instant>,
    wake_at: Option<Micros>,
    /// Operations on their way to the store, since when.
    asked: VecDeque<(Ticket, Operation, Micros)>,
    reaching: bool,
    /// What the store said, and when it arrives.
    news: VecDeque<(Micros, News)>,
}

/// A renewal of a lease.
struct Keeping {
    /// The one before was over.
    late: bool,
    until: Instant,
    /// Now.
    wall_ms: i64,
}

enum News {
    Done(Completion),
    Event(StoreEvent),
}

impl Base {
    /// Carries out an operation for a node.
    fn carry_out(&mut self, node: u16, operation: &Operation) -> (Outcome, Seq) {
        let id = match operation {
            Operation::Offer { xid, .. }
            | Operation::Adopt { xid }
            | Operation::Decide { xid, .. }
            | Operation::SetStatus { xid, .. }
            | Operation::EndBranch { xid, .. }
            | Operation::Finish { xid, .. } => xid.transaction_id(),
            _ => 0,
        };
        self.store.submit(Ticket(0), operation.clone());
        let done = self.store.poll_completion().expect("it answers at once");
        let after = done.after;
        let outcome = match (operation, done.outcome) {
            (Operation::Offer { xid, resource_id }, Outcome::Done)
                if !self.ownership.offer(id, node, resource_id) =>
            {
                Outcome::Status(self.status(xid))
            }
            (Operation::Adopt { .. }, Outcome::Decided(global))
                if !self.ownership.adopt(id, node) && self.bug != FleetBug::OfferTakenTwice =>
            {
                Outcome::Status(global.status)
            }
            (Operation::SetStatus { from, .. }, Outcome::Done) if *from == GlobalStatus::Begin => {
                self.ownership.decided(id, node);
                Outcome::Done
            }
            (Operation::Decide { .. }, Outcome::Decided(global)) => {
                if self.bug != FleetBug::DriverNotNoted {
                    self.ownership.decided(id, node);
                }
                Outcome::Decided(global)
            }
            (_, Outcome::Finished(tombstone)) => {
                self.ownership.ended(id);
                Outcome::Finished(tombstone)
            }
            (_, outcome) => outcome,
        };
        (outcome, after)
    }

    fn status(&self, xid: &Xid) -> GlobalStatus {
        let mut status = GlobalStatus::Unknown;
        self.store.scan(&mut |global| {
            if global.xid == *xid {
                status = global.status;
            }
        });
        status
    }

    /// Renews the lease of a node and tells what is its own from now on: what it had, when it comes late; what others
    /// abandoned, what nobody decided in time, and offers.
    fn keep(
        &mut self,
        node: u16,
        keeping: &Keeping,
        now_ms: i64,
        counts: &mut Counts,
    ) -> Vec<StoreEvent> {
        self.ownership.renew(node, now_ms);
        let globals = contents(&self.store);
        let mut events = Vec::new();
        if keeping.late && self.bug != FleetBug::NotReplaced {
            let not_below = self.store.highest_id();
            events.push(StoreEvent::Replaced { node, not_below });
            let own = |global: &&Global| self.ownership.is_own(global, node);
            let own = globals.iter().filter(own).cloned();
            events.extend(own.map(StoreEvent::Adopted));
        }
        events.push(StoreEvent::Leased(keeping.until));
        let abandoned = self.ownership.abandoned(now_ms);
        counts.takeovers += u64::from(!abandoned.is_empty());
        let mut adopted = Vec::new();
        for global in globals {
            let id = global.xid.transaction_id();
            let due_ms = global.begin_ms + i64::from(global.timeout_ms) + OVERDUE_GRACE_MS;
            let overdue = global.status == GlobalStatus::Begin && due_ms < keeping.wall_ms;
            let taken = abandoned.contains(&id) && self.ownership.take(id, node, now_ms);
            counts.adopted += u64::from(taken);
            if overdue || taken {
                adopted.push(StoreEvent::Adopted(global));
            }
        }
        if self.bug != FleetBug::OrphansLeft {
            events.extend(adopted);
        }
        for (id, resource_id) in self.ownership.offers() {
            self.store.scan(&mut |global| {
                if global.xid.transaction_id() == id {
                    let (xid, resource_id) = (global.xid.clone(), resource_id.clone());
                    events.push(StoreEvent::Offered { xid, resource_id });
                }
            });
        }
        events
    }
}

impl Fleet {
    /// Machines that are switched off. [`Event::Start`] starts each.
    pub(crate) fn new(
        env: &mut Env,
        config: CoordinatorConfig,
        servers: usize,
        links_each: usize,
        bug: FleetBug,
    ) -> Self {
        let most = [MS, 20 * MS, 500 * MS][env.rng.index(3)];
        Self {
            base: Base {
                store: MemoryStore::new(StoreLimits::default()),
                ownership: Ownership::new((LEASE / MS) as i64),
                bug,
            },
            seats: (0..servers)
                .map(|server| Seat {
                    life: server as u32,
                    ..Seat::default()
                })
                .collect(),
            config: CoordinatorConfig {
                shared: true,
                ..config
            },
            conns: BTreeMap::new(),
            links_each,
            wall_ms: 1_750_000_000_000,
            delay_max: most,
            bug,
        }
    }

    fn seat(&self, life: u32) -> Option<usize> {
        let seat = life as usize % self.seats.len();
        let found = &self.seats[seat];
        (found.life == life && found.process.is_some()).then_some(seat)
    }

    /// Puts an event off while the process it is for stands still. True: it is put off.
    fn stands_still(&self, env: &mut Env, seat: usize, event: Event) -> bool {
        let until = self.seats[seat].paused;
        let stands = until > env.now;
        if stands {
            env.at(until, event);
        }
        stands
    }

    fn links(&self, seat: usize) -> Range<usize> {
        self.links_each * seat..self.links_each * (seat + 1)
    }

    /// Carries out what a coordinator wants until it wants nothing more.
    fn pump(&mut self, env: &mut Env, wire: &mut Wire, checker: &mut Checker, seat: usize) {
        loop {
            self.tell(env, wire, checker, seat);
            let Some(process) = &mut self.seats[seat].process else {
                return;
            };
            let Some((ticket, operation)) = process.coordinator.poll_operation() else {
                break;
            };
            process.asked.push_back((ticket, operation, env.now));
            self.step(env, wire, checker, seat);
        }
        self.reach_out(env, seat);
        let found = &mut self.seats[seat];
        let Some(process) = &mut found.process else {
            return;
        };
        if let Some(at) = process.coordinator.next_deadline() {
            let at = env.micros_of(at).max(env.now);
            if process
                .wake_at
                .is_none_or(|before| before > at || before < env.now)
            {
                process.wake_at = Some(at);
                env.at(at, Event::Wake { life: found.life });
            }
        }
    }

    /// Sends what waits to the store.
    fn reach_out(&mut self, env: &mut Env, seat: usize) {
        let delay = self.delay(env);
        let found = &mut self.seats[seat];
        let Some(process) = &mut found.process else {
            return;
        };
        if process.reaching || process.asked.is_empty() {
            return;
        }
        process.reaching = true;
        let at = (env.now + delay).max(found.cut);
        let patience = process.asked.front().map_or(at, |(_, _, at)| at + PATIENCE);
        let step = StoreStep::Reach;
        env.at(
            at.min(patience),
            Event::Store {
                step,
                life: found.life,
            },
        );
    }

    fn delay(&self, env: &mut Env) -> Micros {
        env.rng.between(50, self.delay_max)
    }

    /// Sends what is ripe.
    fn tell(&mut self, env: &mut Env, wire: &mut Wire, checker: &mut Checker, seat: usize) {
        while let Some(process) = &mut self.seats[seat].process {
            process.coordinator.handle_durable(Seq(u64::MAX));
            let Some(output) = process.coordinator.poll_output() else {
                return;
            };
            let node = process.node;
            match output {
                Output::Send { to, rpc, table } => {
                    env.trace(format_args!(
                        "conn {} <- {} {:?}",
                        to.0, rpc.id, rpc.message
                    ));
                    checker.sent(to.0, &rpc);
                    if let Message::BranchCommit(call) | Message::BranchRollback(call) =
                        &rpc.message
                    {
                        self.may_call(checker, node, &call.xid);
                    }
                    wire.send(env, to.0, false, &rpc, table);
                }
                Output::Close { channel, reason } => {
                    env.trace(format_args!("conn {} closed: {reason:?}", channel.0));
                    wire.close(env, channel.0, true);
                    checker.closed(channel.0);
                    self.conns.remove(&channel.0);
                    let now = env.clock(self.wall_ms);
                    process.coordinator.handle_closed(now, channel);
                }
            }
            self.step(env, wire, checker, seat);
        }
    }

    /// A node calls a branch: the transaction has to be its own.
    fn may_call(&self, checker: &mut Checker, node: u16, xid: &str) {
        let globals = contents(&self.base.store);
        let global = globals.iter().find(|g| g.xid.as_text() == xid);
        let id = global.map(|global| global.xid.transaction_id());
        let driver = id.and_then(|id| self.base.ownership.driver(id));
        if driver != Some(node) {
            let text = format!("{xid}: driven by node {node}, its driver is {driver:?}");
            checker.broken(25, text);
        }
    }

    /// One more step of a process, which may be its last.
    fn step(&mut self, env: &mut Env, wire: &mut Wire, checker: &mut Checker, seat: usize) {
        match &mut self.seats[seat].kill_in {
            Some(0) => self.die(env, wire, checker, seat),
            Some(left) => *left -= 1,
            None => {}
        }
    }

    /// A process is gone; a new one comes up after a while.
    fn die(&mut self, env: &mut Env, wire: &mut Wire, checker: &mut Checker, seat: usize) {
        let Some(process) = self.seats[seat].process.take() else {
            return;
        };
        let count = self.seats.len() as u32;
        let found = &mut self.seats[seat];
        env.trace(format_args!(
            "life {} of node {} ends",
            found.life, process.node
        ));
        found.life += count;
        (found.kill_in, found.paused) = (None, 0);
        // What it had sent may arrive, though nobody waits for the answer.
        if found.cut <= env.now && env.rng.chance(500) {
            let sent = env.rng.index(process.asked.len() + 1);
            for (_, operation, _) in process.asked.into_iter().take(sent) {
                self.execute(env, checker, process.node, operation);
            }
        }
        self.conns.retain(|conn, at| {
            if *at == seat {
                checker.closed(*conn);
            }
            *at != seat
        });
        wire.server_of_links_died(env, self.links(seat));
        let most = if env.healing { SECOND } else { 20 * SECOND };
        let pause = env.rng.between(20 * MS, most);
        let life = self.seats[seat].life;
        env.after(pause, Event::Start { life });
    }

    /// The store carries out an operation.
    fn execute(
        &mut self,
        env: &mut Env,
        checker: &mut Checker,
        node: u16,
        operation: Operation,
    ) -> (Outcome, Seq) {
        let (outcome, after) = self.base.carry_out(node, &operation);
        env.trace(format_args!("  store of {node}: {operation:?}"));
        env.trace(format_args!("  store of {node}: {outcome:?}"));
        match (&operation, &outcome) {
            (Operation::Offer { .. }, Outcome::Done) => checker.counts.offered += 1,
            (Operation::Adopt { .. }, Outcome::Decided(_)) => checker.counts.taken += 1,
            _ => {}
        }
        // To the reference they mean nothing: nobody else is there.
        if !matches!(operation, Operation::Offer { .. } | Operation::Adopt { .. }) {
            let (ticket, outcome) = (Ticket(0), outcome.clone());
            let completion = Completion {
                ticket,
                outcome,
                after,
            };
            checker.carried_out(operation, completion);
            checker.durable(self.base.store.durable());
        }
        (outcome, after)
    }

    /// Operations of a process reach the store, or are given up.
    fn reach(&mut self, env: &mut Env, checker: &mut Checker, seat: usize) {
        let cut = self.seats[seat].cut > env.now;
        let now = env.now;
        let Some(process) = &mut self.seats[seat].process else {
            return;
        };
        process.reaching = false;
        let node = process.node;
        let mut asked = std::mem::take(&mut process.asked);
        let mut done = Vec::new();
        while let Some((ticket, operation, since)) = asked.pop_front() {
            if !cut {
                let (outcome, after) = self.execute(env, checker, node, operation);
                done.push(Completion {
                    ticket,
                    outcome,
                    after,
                });
            } else if since + PATIENCE <= now {
                done.push(Completion {
                    ticket,
                    outcome: Outcome::Failed("the store cannot be reached".to_owned()),
                    after: Seq(0),
                });
            } else {
                asked.push_front((ticket, operation, since));
                break;
            }
        }
        if let Some(process) = &mut self.seats[seat].process {
            process.asked = asked;
        }
        let news = done.into_iter().map(News::Done).collect();
        // What failed here needs no network.
        self.answer(env, seat, news, !cut);
        self.reach_out(env, seat);
    }

    /// The store says something to a process.
    fn answer(&mut self, env: &mut Env, seat: usize, news: Vec<News>, travels: bool) {
        let delay = match travels {
            true => self.delay(env),
            false => 0,
        };
        let found = &mut self.seats[seat];
        let Some(process) = &mut found.process else {
            return;
        };
        for piece in news {
            let earlier = process.news.back().map_or(0, |(at, _)| *at);
            let at = (env.now + delay).max(earlier);
            process.news.push_back((at, piece));
            let step = StoreStep::Answer;
            env.at(
                at,
                Event::Store {
                    step,
                    life: found.life,
                },
            );
        }
    }

    /// A process renews its lease, and looks for what others left and for offers.
    fn keep(&mut self, env: &mut Env, checker: &mut Checker, seat: usize) {
        let life = self.seats[seat].life;
        let step = StoreStep::Keep;
        env.after(SECOND, Event::Store { step, life });
        if self.seats[seat].cut > env.now {
            return;
        }
        let Some(process) = &mut self.seats[seat].process else {
            return;
        };
        // It counts from before it asks; the store from when it is asked.
        let asked = env.clock(self.wall_ms);
        let life = match self.bug {
            FleetBug::LeaseForEver => 1000 * SECOND,
            _ => LEASE,
        };
        let keeping = Keeping {
            late: process.until.is_some_and(|until| until <= asked.instant),
            until: asked.instant + Duration::from_micros(life),
            wall_ms: asked.wall_ms,
        };
        process.until = Some(keeping.until);
        let (node, now_ms) = (process.node, (env.now / MS) as i64 + 1);
        if keeping.late {
            env.trace(format_args!("node {node} is late"));
        }
        let counts = &mut checker.counts;
        let events = self.base.keep(node, &keeping, now_ms, counts);
        let news = events.into_iter().map(News::Event).collect();
        self.answer(env, seat, news, true);
    }

    /// What the store said arrives.
    fn hear(&mut self, env: &mut Env, wire: &mut Wire, checker: &mut Checker, seat: usize) {
        let now = env.clock(self.wall_ms);
        let Some(process) = &mut self.seats[seat].process else {
            return;
        };
        let ripe = process.news.front().is_some_and(|(at, _)| *at <= env.now);
        if let Some((_, news)) = process.news.pop_front_if(|_| ripe) {
            match news {
                News::Done(done) => process.coordinator.handle_completion(now, done),
                News::Event(event) => {
                    env.trace(format_args!("  node {} hears {event:?}", process.node));
                    process.coordinator.handle_store_event(now, event);
                }
            }
        }
        self.pump(env, wire, checker, seat);
    }
}

impl Site for Fleet {
    fn look(&self, look: &mut dyn FnMut(&dyn Store)) {
        look(&self.base.store);
    }

    fn is_idle(&self) -> bool {
        let kept = self.base.store.stats().globals;
        let mut live = 0;
        let idle = |process: &Process| {
            let stats = process.coordinator.stats();
            let work = stats.held + stats.parked + stats.drives + process.asked.len();
            work == 0
        };
        for seat in &self.seats {
            match &seat.process {
                Some(process) if idle(process) => live += process.coordinator.stats().live,
                _ => return false,
            }
        }
        // Each of them knows what it began until its deadline.
        live == kept
    }

    fn check_books(&self, checker: &mut Checker) {
        for process in self.seats.iter().filter_map(|seat| seat.process.as_ref()) {
            if let Err(text) = process.coordinator.audit() {
                checker.broken(32, format!("node {}: {text}", process.node));
            }
        }
    }

    fn kill_after(&mut self, steps: u32) {
        self.seats[0].kill_in = Some(steps);
    }

    fn trouble(&mut self, env: &mut Env) {
        let seat = env.rng.index(self.seats.len());
        let steps = env.rng.size(200) as u32 - 1;
        let length = env.rng.size(30_000) as u64 * MS;
        let found = &mut self.seats[seat];
        match env.rng.below(3) {
            0 => found.kill_in = Some(steps),
            1 => {
                env.trace(format_args!("seat {seat} stands still for {length}"));
                found.paused = env.now + length;
            }
            _ => {
                env.trace(format_args!("seat {seat} is cut off for {length}"));
                found.cut = env.now + length;
            }
        }
    }

    fn rest(&mut self, _env: &mut Env) {}

    fn heal(&mut self) {
        self.delay_max = MS;
        for seat in &mut self.seats {
            (seat.kill_in, seat.paused, seat.cut) = (None, 0, 0);
        }
    }

    fn start(&mut self, env: &mut Env, checker: &mut Checker, life: u32) {
        let seat = life as usize % self.seats.len();
        if self.seats[seat].life != life || self.seats[seat].process.is_some() {
            return;
        }
        if self.seats[seat].cut > env.now {
            return env.at(self.seats[seat].cut, Event::Start { life });
        }
        let claimed = self.base.ownership.claim((env.now / MS) as i64);
        let node = claimed.expect("few nodes are used in a run");
        let now = env.clock(self.wall_ms);
        let mut ids = IdGenerator::new(node, now.wall_ms);
        ids.not_below(self.base.store.highest_id());
        let coordinator = Coordinator::new(self.config.clone(), ids, now);
        env.trace(format_args!(
            "start life {life} of seat {seat} as node {node}"
        ));
        self.seats[seat].process = Some(Process {
            coordinator,
            node,
            until: None,
            wake_at: None,
            asked: VecDeque::new(),
            reaching: false,
            news: VecDeque::new(),
        });
        self.keep(env, checker, seat);
    }

    fn open(&mut self, env: &Env, checker: &mut Checker, conn: u64, peer: Peer) -> bool {
        let now = env.clock(self.wall_ms);
        let found = &mut self.seats[peer.server];
        let Some(process) = found.process.as_mut().filter(|_| found.paused <= env.now) else {
            return false;
        };
        checker.opened_at(peer.server, conn, peer.address);
        self.conns.insert(conn, peer.server);
        process
            .coordinator
            .handle_open(now, ChannelId(conn), peer.address);
        true
    }

    fn arrive(&mut self, env: &mut Env, wire: &mut Wire, checker: &mut Checker, conn: u64) {
        let seat = self.conns.get(&conn).copied();
        let to_server = true;
        if seat.is_some_and(|seat| self.stands_still(env, seat, Event::Arrive { conn, to_server }))
            || !matches!(wire.arrive(env, conn, true), Arrival::Some)
        {
            return;
        }
        let Some(seat) = seat else { return };
        let now = env.clock(self.wall_ms);
        while let Some(process) = &mut self.seats[seat].process {
            let channel = ChannelId(conn);
            let table = process.coordinator.exception_table(channel);
            let Some(rpc) = wire.take(conn, true, table) else {
                break;
            };
            env.trace(format_args!("conn {conn} -> {} {:?}", rpc.id, rpc.message));
            checker.arrived(conn, &rpc);
            process.coordinator.handle_message(now, channel, rpc);
        }
        self.pump(env, wire, checker, seat);
    }

    fn gone(&mut self, env: &mut Env, wire: &mut Wire, checker: &mut Checker, conn: u64) {
        let seat = self.conns.get(&conn).copied();
        let server = true;
        if seat.is_some_and(|seat| self.stands_still(env, seat, Event::Gone { conn, server }))
            || !wire.gone(conn, true)
        {
            return;
        }
        let Some(seat) = self.conns.remove(&conn) else {
            return;
        };
        let now = env.clock(self.wall_ms);
        let Some(process) = &mut self.seats[seat].process else {
            return;
        };
        checker.closed(conn);
        process.coordinator.handle_closed(now, ChannelId(conn));
        self.pump(env, wire, checker, seat);
    }

    fn wake(&mut self, env: &mut Env, wire: &mut Wire, checker: &mut Checker, life: u32) {
        let Some(seat) = self.seat(life) else { return };
        if self.stands_still(env, seat, Event::Wake { life }) {
            return;
        }
        let now = env.clock(self.wall_ms);
        if let Some(process) = &mut self.seats[seat].process {
            process.wake_at = None;
            let due = process.coordinator.next_deadline();
            if due.is_some_and(|at| at <= now.instant) {
                process.coordinator.handle_timeout(now);
            }
        }
        self.pump(env, wire, checker, seat);
    }

    fn synced(&mut self, _: &mut Env, _: &mut Wire, _: &mut Checker, _life: u32) {}

    fn store(
        &mut self,
        env: &mut Env,
        wire: &mut Wire,
        checker: &mut Checker,
        step: StoreStep,
        life: u32,
    ) {
        let Some(seat) = self.seat(life) else { return };
        // What has been sent arrives, whatever its sender does.
        let own = step != StoreStep::Reach;
        if own && self.stands_still(env, seat, Event::Store { step, life }) {
            return;
        }
        let cut = self.seats[seat].cut;
        match step {
            StoreStep::Reach => self.reach(env, checker, seat),
            StoreStep::Keep => self.keep(env, checker, seat),
            StoreStep::Answer if cut > env.now => {
                let travels = |p: &Process| match p.news.front() {
                    Some((_, News::Done(done))) => !matches!(done.outcome, Outcome::Failed(_)),
                    _ => true,
                };
                match self.seats[seat].process.as_ref().is_some_and(travels) {
                    true => env.at(cut, Event::Store { step, life }),
                    false => self.hear(env, wire, checker, seat),
                }
            }
            StoreStep::Answer => self.hear(env, wire, checker, seat),
        }
    }
}
