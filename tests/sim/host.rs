//! The coordinator's process: the real coordinator over a store, started, killed and started again.

use std::net::SocketAddr;

use seamio::proto::Text;
use seamio::proto::codec::Rpc;
use seamio::proto::message::Message;
use seamio::proto::status::GlobalStatus;
use seamio::tc::store::{Completion, End, Operation, Outcome, Seq, Store, Ticket, Tombstone};
use seamio::tc::{ChannelId, Coordinator, CoordinatorConfig, Output};
use seamio::xid::IdGenerator;

use crate::checker::Checker;
use crate::env::{Env, Event, MS, Micros, SECOND, StoreStep};
use crate::medium::{Medium, SyncEnd};
use crate::wire::{Arrival, Wire};

/// A bug put into the process from outside, so that the checkers can be seen to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostBug {
    /// None.
    None,
    /// A repeated commit call goes out as a rollback.
    CallFlipped,
    /// A commit that lost against a rollback is told Committed.
    LossToldAsSuccess,
    /// A registered branch is never called and counts as done.
    BranchForgotten,
    /// Row locks are not asked for.
    LocksDropped,
    /// The end of a transaction is not stored.
    EndIgnored,
    /// A report frees the row locks of its transaction.
    LocksFreedEarly,
    /// Whoever asks for the status is told Begin.
    StatusToldBegin,
    /// The second commit answer says UnKnown, as after a store error in Java.
    CommitToldUnknown,
    /// Phase two goes to the connection that was opened last, whatever it is.
    WrongChannel,
    /// Answers go to the connection that was opened last.
    WrongAsker,
    /// Rollback runs in the order of registration.
    ForwardRollback,
    /// Ids start again after a restart.
    IdsRepeat,
    /// The transaction of a timed-out caller is forgotten at a restart instead of rolled back.
    TimersLost,
}

/// How the process and its disk are treated. Chances are in thousandths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Treatment {
    /// A sync takes at most this long.
    pub(crate) sync_max: Micros,
    /// A sync takes up to two seconds.
    pub(crate) sync_slow: u32,
    /// A sync fails.
    pub(crate) sync_fails: u32,
    /// In a second, the disk gets full for a while.
    pub(crate) disk_fills: u32,
    /// The wall clock jumps by up to an hour at a start.
    pub(crate) clock_jumps: bool,
}

impl Treatment {
    /// Everything is well from now on.
    pub(crate) fn heal(&mut self) {
        *self = Self {
            sync_max: MS,
            sync_slow: 0,
            sync_fails: 0,
            disk_fills: 0,
            clock_jumps: false,
        };
    }

    /// How long the next sync takes.
    pub(crate) fn sync_time(&self, env: &mut Env) -> Micros {
        let most = match env.rng.chance(self.sync_slow) {
            true => 2 * SECOND,
            false => self.sync_max,
        };
        env.rng.between(50, most)
    }

    /// A second has passed: the disk may get full, or have room again.
    pub(crate) fn fill(&self, env: &mut Env, medium: &mut dyn Medium) {
        if !env.healing && env.rng.chance(self.disk_fills) {
            let room = env.rng.below(64 << 10);
            env.trace(format_args!("the disk has room for {room} bytes"));
            medium.fill(Some(room));
        } else if env.healing || env.rng.chance(200) {
            medium.fill(None);
        }
        medium.rest();
    }
}

/// How a sync that took place ends.
pub(crate) fn sync_end(env: &mut Env, treatment: &Treatment) -> SyncEnd {
    match env.rng.chance(treatment.sync_fails) {
        true if env.rng.chance(500) => SyncEnd::PowerCut,
        true => SyncEnd::Refused,
        false => SyncEnd::Fine,
    }
}

/// Who connects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// The coordinator that is meant, where there are several.
    pub(crate) server: usize,
}

/// Where the coordinator runs.
pub(crate) trait Site {
    /// Shows the running store, if there is one.
    fn look(&self, look: &mut dyn FnMut(&dyn Store));
    /// Nothing waits inside.
    fn is_idle(&self) -> bool;
    /// The books of the coordinator balance (invariant 32), where they can be seen.
    fn check_books(&self, checker: &mut Checker);
    /// The process dies after so many more steps; 0 is now.
    fn kill_after(&mut self, steps: u32);
    /// A second has passed.
    fn rest(&mut self, env: &mut Env);
    /// Faults end.
    fn heal(&mut self);
    /// The process starts.
    fn start(&mut self, env: &mut Env, checker: &mut Checker, life: u32);
    /// A connection is accepted. False: nobody listens.
    fn open(&mut self, env: &Env, checker: &mut Checker, conn: u64, peer: Peer) -> bool;
    /// Bytes arrived.
    fn arrive(&mut self, env: &mut Env, wire: &mut Wire, checker: &mut Checker, conn: u64);
    /// A connection is gone.
    fn gone(&mut self, env: &mut Env, wire: &mut Wire, checker: &mut Checker, conn: u64);
    /// The coordinator's timer fired.
    fn wake(&mut self, env: &mut Env, wire: &mut Wire, checker: &mut Checker, life: u32);
    /// Something goes wrong with the process.
    fn trouble(&mut self, env: &mut Env) {
        let steps = env.rng.size(200) as u32 - 1;
        self.kill_after(steps);
    }
    /// Something goes on between a process and the store that it shares.
    fn store(
        &mut self,
        _env: &mut Env,
        _wire: &mut Wire,
        _checker: &mut Checker,
        _step: StoreStep,
        _life: u32,
    ) {
    }
    /// A sync ended.
    fn synced(&mut self, env: &mut Env, wire: &mut Wire, checker: &mut Checker, life: u32);
    /// Lets time of its own pass, not beyond the next event. False: it is there.
    fn advance(&mut self, _env: &mut Env, _wire: &mut Wire, _checker: &mut Checker) -> bool {
        false
    }
    /// A hash over what happened inside.
    fn hash(&self) -> u64 {
        0
    }
}

/// A machine with the coordinator itself, driven as a server drives it.
pub(crate) struct Host {
    medium: Box<dyn Medium>,
    process: Option<Process>,
    config: CoordinatorConfig,
    /// Counts processes.
    life: u32,
    wall_ms: i64,
    /// The process dies after so many more steps.
    kill_in: Option<u32>,
    treatment: Treatment,
    bug: HostBug,
    newest: u64,
    calls: u64,
    commits_told: u64,
}

struct Process {
    coordinator: Coordinator,
    store: Box<dyn Store>,
    wake_at: Option<Micros>,
}

impl Host {
    /// A machine that is switched off. [`Event::Start`] starts it.
    pub(crate) fn new(
        medium: Box<dyn Medium>,
        config: CoordinatorConfig,
        treatment: Treatment,
        bug: HostBug,
    ) -> Self {
        Self {
            medium,
            process: None,
            config,
            life: 0,
            wall_ms: 1_750_000_000_000,
            kill_in: None,
            treatment,
            bug,
            newest: 0,
            calls: 0,
            commits_told: 0,
        }
    }

    /// Carries out what the coordinator wants until it wants nothing more.
    fn pump(&mut self, env: &mut Env, wire: &mut Wire, checker: &mut Checker) {
        loop {
            if !self.operate(env, wire, checker) || !self.tell(env, wire, checker) {
                return;
            }
            let Some(process) = &mut self.process else {
                return;
            };
            match process.coordinator.poll_operation() {
                Some((ticket, operation)) => {
                    if self.submit(env, wire, checker, ticket, operation) {
                        return;
                    }
                }
                None => break,
            }
        }
        if self.medium.begin_sync() {
            let delay = self.treatment.sync_time(env);
            env.after(delay, Event::Synced { life: self.life });
        }
        let Some(process) = &mut self.process else {
            return;
        };
        if let Some(at) = process.coordinator.next_deadline() {
            let at = env.micros_of(at).max(env.now);
            if process
                .wake_at
                .is_none_or(|before| before > at || before < env.now)
            {
                process.wake_at = Some(at);
                env.at(at, Event::Wake { life: self.life });
            }
        }
    }

    /// Feeds the store. False: the process died.
    fn operate(&mut self, env: &mut Env, wire: &mut Wire, checker: &mut Checker) -> bool {
        loop {
            let Some(process) = &mut self.process else {
                return false;
            };
            let Some((ticket, operation)) = process.coordinator.poll_operation() else {
                break;
            };
            if self.submit(env, wire, checker, ticket, operation) {
                return false;
            }
        }
        let Some(process) = &mut self.process else {
            return false;
        };
        process.store.flush();
        if process.store.failure().is_some() {
            self.die(env, wire);
            return false;
        }
        !self.step(env, wire)
    }

    /// One operation and what comes of it. True: the process died.
    fn submit(
        &mut self,
        env: &mut Env,
        wire: &mut Wire,
        checker: &mut Checker,
        ticket: Ticket,
        operation: Operation,
    ) -> bool {
        let now = env.clock(self.wall_ms);
        let Some(process) = &mut self.process else {
            return true;
        };
        let (operation, forced) = self.bug.tamper(operation);
        env.trace(format_args!("  store {operation:?}"));
        process.store.submit(ticket, operation.clone());
        while let Some(done) = process.store.poll_completion() {
            env.trace(format_args!(
                "  store {:?} after {}",
                done.outcome, done.after.0
            ));
            checker.carried_out(operation.clone(), done.clone());
            let outcome = forced.clone().unwrap_or(done.outcome);
            process
                .coordinator
                .handle_completion(now, Completion { outcome, ..done });
        }
        self.step(env, wire)
    }

    /// Sends what is ripe. False: the process died.
    fn tell(&mut self, env: &mut Env, wire: &mut Wire, checker: &mut Checker) -> bool {
        let Some(process) = &mut self.process else {
            return false;
        };
        let durable = process.store.durable();
        checker.durable(durable);
        process.coordinator.handle_durable(durable);
        while let Some(process) = &mut self.process {
            let Some(output) = process.coordinator.poll_output() else {
                return true;
            };
            match output {
                Output::Send { to, rpc, table } => {
                    let (to, rpc) = self.distort(to.0, rpc, checker);
                    env.trace(format_args!("conn {to} <- {} {:?}", rpc.id, rpc.message));
                    checker.sent(to, &rpc);
                    wire.send(env, to, false, &rpc, table);
                }
                Output::Close { channel, reason } => {
                    env.trace(format_args!("conn {} closed: {reason:?}", channel.0));
                    wire.close(env, channel.0, true);
                    checker.closed(channel.0);
                    let now = env.clock(self.wall_ms);
                    process.coordinator.handle_closed(now, channel);
                }
            }
            if self.step(env, wire) {
                return false;
            }
        }
        false
    }

    /// One more step of the process. True: it was its last.
    fn step(&mut self, env: &mut Env, wire: &mut Wire) -> bool {
        match &mut self.kill_in {
            Some(0) => self.die(env, wire),
            Some(left) => *left -= 1,
            None => {}
        }
        self.process.is_none()
    }

    /// The process is gone; a new one comes up after a while.
    pub(crate) fn die(&mut self, env: &mut Env, wire: &mut Wire) {
        if self.process.take().is_none() {
            return;
        }
        env.trace(format_args!("life {} ends", self.life));
        self.kill_in = None;
        self.life += 1;
        self.medium.crash(&mut env.rng);
        wire.server_died(env);
        let most = if env.healing { 100 * MS } else { 5 * SECOND };
        let pause = env.rng.between(20 * MS, most);
        env.after(pause, Event::Start { life: self.life });
    }

    /// Applies the bug, if there is one, to what leaves.
    fn distort(&mut self, to: u64, mut rpc: Rpc, checker: &Checker) -> (u64, Rpc) {
        let is_call = matches!(
            rpc.message,
            Message::BranchCommit(_) | Message::BranchRollback(_)
        );
        let to = match self.bug {
            HostBug::WrongChannel if is_call => self.newest,
            HostBug::WrongAsker if !is_call && checker.counts.begun > 5 => self.newest,
            _ => to,
        };
        match (&mut rpc.message, self.bug) {
            (Message::BranchCommit(call), HostBug::CallFlipped) => {
                self.calls += 1;
                if self.calls.is_multiple_of(5) {
                    rpc.message = Message::BranchRollback(call.clone());
                }
            }
            (Message::GlobalCommitResponse(told), HostBug::LossToldAsSuccess)
                if matches!(
                    told.global_status,
                    GlobalStatus::TimeoutRollbacking | GlobalStatus::TimeoutRollbacked
                ) =>
            {
                told.global_status = GlobalStatus::Committed;
            }
            (Message::GlobalCommitResponse(told), HostBug::CommitToldUnknown) => {
                self.commits_told += 1;
                if self.commits_told.is_multiple_of(3) {
                    told.global_status = GlobalStatus::Begin;
                }
            }
            (Message::GlobalStatusResponse(told), HostBug::StatusToldBegin) => {
                told.global_status = GlobalStatus::Begin;
            }
            _ => {}
        }
        (to, rpc)
    }
}

impl Site for Host {
    fn look(&self, look: &mut dyn FnMut(&dyn Store)) {
        if let Some(process) = &self.process {
            look(&*process.store);
        }
    }

    fn is_idle(&self) -> bool {
        self.process.as_ref().is_some_and(|p| {
            let stats = p.coordinator.stats();
            stats.held == 0 && stats.parked == 0 && stats.drives == 0
        })
    }

    fn check_books(&self, checker: &mut Checker) {
        let Some(process) = &self.process else { return };
        let stats = process.coordinator.stats();
        let ended = stats.committed + stats.rolled_back + stats.timed_out + stats.finished;
        if stats.begun + stats.recovered != ended + stats.live as u64 {
            checker.broken(32, format!("the books do not balance: {stats:?}"));
        }
        if stats.live != process.store.stats().globals {
            let kept = process.store.stats().globals;
            checker.broken(
                32,
                format!("{} live transactions, the store has {kept}", stats.live),
            );
        }
    }

    fn kill_after(&mut self, steps: u32) {
        self.kill_in = Some(steps);
    }

    fn rest(&mut self, env: &mut Env) {
        self.treatment.fill(env, &mut *self.medium);
    }

    fn heal(&mut self) {
        self.kill_in = None;
        self.treatment.heal();
    }

    fn start(&mut self, env: &mut Env, checker: &mut Checker, life: u32) {
        if life != self.life || self.process.is_some() {
            return;
        }
        if self.treatment.clock_jumps && life > 0 && env.rng.chance(300) {
            self.wall_ms += env.rng.between(0, 7_200_000) as i64 - 3_600_000;
        }
        let mut store = match self.medium.open() {
            Ok(store) => store,
            Err(text) => return checker.broken(21, format!("the store cannot be opened: {text}")),
        };
        checker.recovered(&mut *store);
        let now = env.clock(self.wall_ms);
        let mut ids = IdGenerator::new(1, now.wall_ms);
        match self.bug {
            HostBug::IdsRepeat => ids = IdGenerator::new(1, 0),
            _ => ids.not_below(store.highest_id()),
        }
        let mut coordinator = Coordinator::new(self.config.clone(), ids, now);
        let bug = self.bug;
        store.scan(&mut |global| {
            let mut global = global.clone();
            if bug == HostBug::ForwardRollback {
                global.branches.reverse();
            }
            if bug != HostBug::TimersLost || global.status != GlobalStatus::Begin {
                coordinator.handle_recovered(now, &global);
            }
        });
        env.trace(format_args!("start life {life} wall {}", now.wall_ms));
        self.process = Some(Process {
            coordinator,
            store,
            wake_at: None,
        });
    }

    fn open(&mut self, env: &Env, checker: &mut Checker, conn: u64, peer: Peer) -> bool {
        let peer = peer.address;
        let now = env.clock(self.wall_ms);
        let Some(process) = &mut self.process else {
            return false;
        };
        checker.opened(conn, peer);
        process.coordinator.handle_open(now, ChannelId(conn), peer);
        self.newest = conn;
        true
    }

    fn arrive(&mut self, env: &mut Env, wire: &mut Wire, checker: &mut Checker, conn: u64) {
        if !matches!(wire.arrive(env, conn, true), Arrival::Some) {
            return;
        }
        let now = env.clock(self.wall_ms);
        while let Some(process) = &mut self.process {
            let channel = ChannelId(conn);
            let table = process.coordinator.exception_table(channel);
            let Some(rpc) = wire.take(conn, true, table) else {
                break;
            };
            env.trace(format_args!("conn {conn} -> {} {:?}", rpc.id, rpc.message));
            checker.arrived(conn, &rpc);
            process.coordinator.handle_message(now, channel, rpc);
        }
        self.pump(env, wire, checker);
    }

    fn gone(&mut self, env: &mut Env, wire: &mut Wire, checker: &mut Checker, conn: u64) {
        if !wire.gone(conn, true) {
            return;
        }
        let now = env.clock(self.wall_ms);
        let Some(process) = &mut self.process else {
            return;
        };
        checker.closed(conn);
        process.coordinator.handle_closed(now, ChannelId(conn));
        self.pump(env, wire, checker);
    }

    fn wake(&mut self, env: &mut Env, wire: &mut Wire, checker: &mut Checker, life: u32) {
        let now = env.clock(self.wall_ms);
        let Some(process) = self.process.as_mut().filter(|_| life == self.life) else {
            return;
        };
        process.wake_at = None;
        if process
            .coordinator
            .next_deadline()
            .is_some_and(|at| at <= now.instant)
        {
            process.coordinator.handle_timeout(now);
        }
        self.pump(env, wire, checker);
    }

    fn synced(&mut self, env: &mut Env, wire: &mut Wire, checker: &mut Checker, life: u32) {
        if life != self.life || self.process.is_none() {
            return;
        }
        let end = sync_end(env, &self.treatment);
        let durable = self.process.as_ref().map_or(Seq(0), |p| p.store.durable());
        if self.medium.synced(end, &mut env.rng) {
            env.trace(format_args!("sync failed: {end:?}"));
            checker.sync_failed(durable);
        }
        if !self.step(env, wire) {
            self.pump(env, wire, checker);
        }
    }
}

impl HostBug {
    /// Applies the bug to what the store is asked, and to what it is said to have answered.
    fn tamper(self, mut operation: Operation) -> (Operation, Option<Outcome>) {
        match (&mut operation, self) {
            (Operation::Register(branch), Self::LocksDropped) => branch.lock_key = Text::new(),
            (Operation::Register(branch), Self::BranchForgotten) if branch.branch_id.0 % 4 == 0 => {
                let xid = branch.xid.clone();
                return (Operation::LookUp { xid, now_ms: 0 }, Some(Outcome::Done));
            }
            (Operation::EndBranch { xid, .. }, Self::EndIgnored) => {
                let xid = xid.clone();
                let tombstone = Tombstone {
                    end: End::Committed,
                    decided_ms: 1,
                    ended_ms: 1,
                };
                let finished = Outcome::Finished(tombstone);
                return (Operation::LookUp { xid, now_ms: 0 }, Some(finished));
            }
            (Operation::Report { xid, .. }, Self::LocksFreedEarly) => {
                let xid = xid.clone();
                return (Operation::ReleaseLocks { xid }, None);
            }
            _ => {}
        }
        (operation, None)
    }
}
