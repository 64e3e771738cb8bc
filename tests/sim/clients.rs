//! The applications: processes with a TM and an RM connection each, running transactions and serving branches.

use std::collections::BTreeSet;

use seamio::proto::Text;
use seamio::proto::codec::Rpc;
use seamio::proto::message::{
    BranchEnd, BranchEndResponse, BranchRegister, BranchReport, GlobalBegin, GlobalEnd, Message,
    TxResult,
};
use seamio::proto::status::{BranchStatus, BranchType, ExceptionCode, GlobalStatus};

use crate::checker::Checker;
use crate::env::{Env, Event, MS, Micros, SECOND};
use crate::link::{Link, What};
use crate::wire::{Arrival, Wire};

/// How resource managers answer, in thousandths of all calls; the rest succeeds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    pub(crate) retryable: u32,
    pub(crate) unretryable: u32,
    pub(crate) nonsense: u32,
    pub(crate) never: u32,
    pub(crate) late: u32,
    pub(crate) twice: u32,
}

/// All clients.
pub(crate) struct Clients {
    /// All links to the first coordinator, then all to the next: a TM and an RM link of each process.
    links: Vec<Link>,
    processes: usize,
    txs: Vec<Tx>,
    jobs: Vec<Job>,
    manners: Manners,
}

/// One transaction of one application.
struct Tx {
    home: usize,
    xid: Text,
    timeout_ms: i32,
    legs: Vec<Leg>,
    next: usize,
    tries: u32,
    stage: Stage,
    commit: bool,
    after: After,
    last_branch: i64,
}

#[derive(Clone, Copy)]
struct Leg {
    process: usize,
    over_tm: bool,
    kind: BranchType,
    resource: &'static str,
    table: char,
    pks: [u8; 2],
    fail_fast: bool,
    report: Option<BranchStatus>,
    decides: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Beginning,
    Working,
    Asked,
    Ending,
    Done,
}

/// What an application does besides what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Nothing,
    /// Asks for the same end again.
    Repeat,
    /// Asks for the opposite.
    Regret,
    /// Asks how it went.
    Poll,
    /// Forgets the transaction before it ends.
    Abandon,
    /// Another process wants the opposite at the same time.
    Rival,
}

struct Job {
    link: usize,
    conn: u64,
    rpc: Rpc,
    call: BranchEnd,
    status: BranchStatus,
    times: u32,
}

const VERSIONS: [&str; 10] = [
    "1.4.2", "", "1.5.2", "1.6.1", "1.7.1", "1.8.0", "2.0.0", "2.2.0", "2.3.0", "2.6.0",
];
const DB: [&str; 2] = ["jdbc:mysql://db0/shop", "jdbc:mysql://db1/stock"];
const TCC: [&str; 2] = ["reserve-a", "reserve-b"];

impl Clients {
    /// Processes and their plans, from the seed.
    pub(crate) fn new(
        env: &mut Env,
        processes: usize,
        servers: usize,
        txs: usize,
        until: Micros,
        manners: Manners,
    ) -> Self {
        let mut links = Vec::new();
        for process in 0..processes {
            let version = VERSIONS[env.rng.index(VERSIONS.len())];
            let side = process % 2;
            let application = ["app-a", "app-b"][side];
            let mut resources = vec![TCC[side]];
            resources.extend(DB.iter().filter(|_| process < 2 || env.rng.chance(700)));
            links.push(Link::new(
                2 * process,
                application,
                version,
                false,
                Vec::new(),
            ));
            links.push(Link::new(
                2 * process + 1,
                application,
                version,
                true,
                resources,
            ));
        }
        let unused = twins(env, &mut links, processes, servers);
        let plans = (0..txs)
            .map(|_| Tx::plan(env, &links[..2 * processes]))
            .collect();
        for tx in 0..txs {
            let start = env.rng.below(until);
            env.at(start, Event::Step { tx });
        }
        for link in (0..links.len()).filter(|link| !unused.contains(link)) {
            let start = env.rng.below(300 * MS);
            env.at(start, Event::Connect { link });
            env.at(SECOND + start, Event::Patience { link });
        }
        Self {
            links,
            processes,
            txs: plans,
            jobs: Vec::new(),
            manners,
        }
    }

    /// From now on everybody answers well and at once, and no transaction is begun.
    pub(crate) fn heal(&mut self) {
        self.manners = Manners {
            retryable: 0,
            unretryable: 0,
            nonsense: 0,
            never: 0,
            late: 0,
            twice: 0,
        };
        for tx in &mut self.txs {
            if tx.stage == Stage::Waiting {
                tx.stage = Stage::Done;
            }
        }
    }

    /// Every transaction has been told its end, or nobody waits for it.
    pub(crate) fn is_done(&self) -> bool {
        self.txs.iter().all(|tx| tx.stage == Stage::Done)
    }

    /// The process of a random link is killed: it forgets its transactions and connects again.
    pub(crate) fn kill(&mut self, env: &mut Env, wire: &mut Wire, link: usize) {
        let process = link % (2 * self.processes) / 2;
        env.trace(format_args!("process {process} dies"));
        for first in (2 * process..self.links.len()).step_by(2 * self.processes) {
            wire.lose_link(env, first);
            wire.lose_link(env, first + 1);
        }
        for tx in self.txs.iter_mut().filter(|tx| tx.home == process) {
            if tx.stage != Stage::Waiting {
                tx.stage = Stage::Done;
            }
        }
    }

    /// The coordinator that a link leads to.
    pub(crate) fn server(&self, link: usize) -> usize {
        link / (2 * self.processes)
    }

    /// One of the links of a process in one of its roles that may be used, if there is one; else the first.
    fn any_link(&self, env: &mut Env, role: usize) -> usize {
        let all = (role..self.links.len()).step_by(2 * self.processes);
        if all.len() == 1 {
            return role;
        }
        let ready: Vec<_> = all.filter(|link| self.links[*link].ready).collect();
        match ready.is_empty() {
            true => role,
            false => ready[env.rng.index(ready.len())],
        }
    }

    /// How many links there are.
    pub(crate) fn links(&self) -> usize {
        self.links.len()
    }

    /// A link tries to connect; `accepts` says whether the coordinator listens.
    pub(crate) fn connect(
        &mut self,
        env: &mut Env,
        wire: &mut Wire,
        link: usize,
        accept: &mut dyn FnMut(&Env, u64, std::net::SocketAddr) -> bool,
    ) {
        if self.links[link].conn.is_some() {
            return;
        }
        match wire.open(env, link) {
            Some((conn, address)) if accept(env, conn, address) => {
                env.trace(format_args!("link {link} is conn {conn} from {address}"));
                self.links[link].connected(env, wire, conn);
            }
            refused => {
                if let Some((conn, _)) = refused {
                    wire.gone(conn, true);
                    wire.gone(conn, false);
                }
                let pause = env.rng.between(20 * MS, 500 * MS);
                env.after(pause, Event::Connect { link });
            }
        }
    }

    /// A connection is gone.
    pub(crate) fn gone(&mut self, env: &mut Env, wire: &mut Wire, conn: u64) {
        let link = wire.link(conn);
        wire.gone(conn, false);
        let Some(link) = link.filter(|link| self.links[*link].conn == Some(conn)) else {
            return;
        };
        for what in self.links[link].lost() {
            self.lost(env, what);
        }
        let pause = env.rng.between(5 * MS, 300 * MS);
        env.after(pause, Event::Connect { link });
    }

    /// Sends what a link has gathered.
    pub(crate) fn flush(&mut self, env: &mut Env, wire: &mut Wire, link: usize) {
        self.links[link].flush(env, wire);
    }

    /// Gives up what waits for too long; keeps the connection alive.
    pub(crate) fn patience(&mut self, env: &mut Env, wire: &mut Wire, link: usize) {
        for what in self.links[link].out_of_patience(env.now) {
            self.lost(env, what);
        }
        if let Some(conn) = self.links[link].silent(env.now) {
            wire.lose(env, conn);
        }
        if let (Some(conn), true) = (self.links[link].conn, env.rng.chance(200)) {
            wire.send(env, conn, true, &Rpc::ping(0), self.links[link].table());
        }
        env.after(SECOND, Event::Patience { link });
    }

    /// Bytes arrived.
    pub(crate) fn arrive(
        &mut self,
        env: &mut Env,
        wire: &mut Wire,
        checker: &mut Checker,
        conn: u64,
    ) {
        let Some(link) = wire.link(conn) else { return };
        if !matches!(wire.arrive(env, conn, false), Arrival::Some) {
            return;
        }
        while let Some(rpc) = wire.take(conn, false, self.links[link].table()) {
            self.links[link].heard(env.now);
            match &rpc.message {
                Message::HeartbeatPong | Message::UndoLogDelete(_) => {}
                Message::BranchCommit(call) => self.take_call(env, link, conn, &rpc, call, true),
                Message::BranchRollback(call) => self.take_call(env, link, conn, &rpc, call, false),
                _ => match self.links[link].answered(&rpc) {
                    Ok(answers) => {
                        for (what, message) in answers {
                            self.answered(env, wire, checker, link, what, message);
                        }
                    }
                    Err(text) => checker.broken(27, format!("link {link}: {text}")),
                },
            }
        }
    }

    /// A resource manager has done a piece of work.
    pub(crate) fn serve(&mut self, env: &mut Env, wire: &mut Wire, job: usize) {
        let job = &self.jobs[job];
        let link = &self.links[job.link];
        if link.conn != Some(job.conn) {
            return;
        }
        let answer = BranchEndResponse {
            result: TxResult::Success,
            xid: job.call.xid.clone(),
            branch_id: job.call.branch_id,
            branch_status: job.status,
        };
        let message = match job.rpc.message {
            Message::BranchCommit(_) => Message::BranchCommitResponse(answer),
            _ => Message::BranchRollbackResponse(answer),
        };
        for _ in 0..job.times {
            wire.send(
                env,
                job.conn,
                true,
                &job.rpc.reply(message.clone()),
                link.table(),
            );
        }
    }

    /// A transaction takes its next step.
    pub(crate) fn step(&mut self, env: &mut Env, wire: &mut Wire, tx: usize) {
        let home = self.any_link(env, 2 * self.txs[tx].home);
        match self.txs[tx].stage {
            Stage::Waiting if !self.links[home].ready => env.after(100 * MS, Event::Step { tx }),
            Stage::Waiting => {
                self.txs[tx].stage = Stage::Beginning;
                let begin = GlobalBegin {
                    timeout_ms: self.txs[tx].timeout_ms,
                    transaction_name: Text::from("shop"),
                };
                let message = Message::GlobalBegin(begin);
                self.links[home].request(env, wire, What::Begin { tx }, message);
            }
            Stage::Working => self.work(env, wire, tx),
            Stage::Ending => self.end(env, wire, tx),
            Stage::Beginning | Stage::Asked | Stage::Done => {}
        }
    }

    fn work(&mut self, env: &mut Env, wire: &mut Wire, tx: usize) {
        let plan = &mut self.txs[tx];
        let Some(leg) = plan.legs.get(plan.next).copied() else {
            if plan.after == After::Abandon {
                plan.stage = Stage::Done;
                return;
            }
            plan.stage = Stage::Ending;
            let think = if env.rng.chance(100) {
                20 * SECOND
            } else {
                300 * MS
            };
            let think = env.rng.below(think);
            return env.after(think, Event::Step { tx });
        };
        let link = self.any_link(env, 2 * leg.process + usize::from(!leg.over_tm));
        let plan = &mut self.txs[tx];
        if !self.links[link].ready {
            plan.tries += 1;
            if plan.tries > 20 {
                self.fail(env, tx);
            } else {
                env.after(100 * MS, Event::Step { tx });
            }
            return;
        }
        let register = BranchRegister {
            xid: plan.xid.clone(),
            branch_type: leg.kind,
            resource_id: Text::from(leg.resource),
            lock_key: Text::from(format!("{}:{},{}", leg.table, leg.pks[0], leg.pks[1])),
            application_data: match leg.fail_fast {
                true => Text::from_static("{\"autoCommit\":false}"),
                false => Text::new(),
            },
        };
        plan.stage = Stage::Asked;
        if env.rng.chance(100) {
            let query = Message::GlobalLockQuery(register.clone());
            self.links[link].request(env, wire, What::Extra, query);
        }
        let message = Message::BranchRegister(register);
        self.links[link].request(env, wire, What::Branch { tx }, message);
    }

    fn end(&mut self, env: &mut Env, wire: &mut Wire, tx: usize) {
        let processes = self.processes;
        let plan = &self.txs[tx];
        let home = if env.rng.chance(50) {
            env.rng.index(processes)
        } else {
            plan.home
        };
        let home = self.any_link(env, 2 * home);
        let other = match plan.after == After::Rival && plan.tries == 0 {
            true => {
                let other = 2 * env.rng.index(processes);
                Some(self.any_link(env, other))
            }
            false => None,
        };
        if !self.links[home].ready {
            return env.after(100 * MS, Event::Step { tx });
        }
        let plan = &mut self.txs[tx];
        plan.stage = Stage::Asked;
        let (commit, xid) = (plan.commit, plan.xid.clone());
        plan.tries += 1;
        if let Some(other) = other {
            let message = end_message(&xid, !commit || env.rng.chance(300));
            self.links[other].request(env, wire, What::Extra, message);
        }
        let what = What::End { tx, commit };
        self.links[home].request(env, wire, what, end_message(&xid, commit));
    }

    fn take_call(
        &mut self,
        env: &mut Env,
        link: usize,
        conn: u64,
        rpc: &Rpc,
        call: &BranchEnd,
        commit: bool,
    ) {
        let manners = self.manners;
        let dice = env.rng.below(1000) as u32;
        let mut floor = 0;
        let mut falls = |share: u32| {
            floor += share;
            dice < floor && dice >= floor - share
        };
        let mut delay = env.rng.between(100, 20 * MS);
        let (mut status, mut times) = match commit {
            true => (BranchStatus::PhaseTwoCommitted, 1),
            false => (BranchStatus::PhaseTwoRollbacked, 1),
        };
        if falls(manners.retryable) {
            status = match (
                commit,
                call.branch_type == BranchType::Xa && env.rng.chance(300),
            ) {
                (true, false) => BranchStatus::PhaseTwoCommitFailedRetryable,
                (false, false) => BranchStatus::PhaseTwoRollbackFailedRetryable,
                (true, true) => BranchStatus::PhaseTwoCommitFailedXaerNotaRetryable,
                (false, true) => BranchStatus::PhaseTwoRollbackFailedXaerNotaRetryable,
            };
        } else if falls(manners.unretryable) {
            status = match commit {
                true => BranchStatus::PhaseTwoCommitFailedUnretryable,
                false => BranchStatus::PhaseTwoRollbackFailedUnretryable,
            };
        } else if falls(manners.nonsense) {
            status = [BranchStatus::Unknown, BranchStatus::PhaseOneDone][env.rng.index(2)];
        } else if falls(manners.never) {
            times = 0;
        } else if falls(manners.late) {
            delay = env.rng.between(SECOND, 40 * SECOND);
        } else if falls(manners.twice) {
            times = 2;
        }
        let job = self.jobs.len();
        self.jobs.push(Job {
            link,
            conn,
            rpc: rpc.clone(),
            call: call.clone(),
            status,
            times,
        });
        env.after(delay, Event::Serve { job });
    }

    fn answered(
        &mut self,
        env: &mut Env,
        wire: &mut Wire,
        checker: &mut Checker,
        link: usize,
        what: What,
        message: Message,
    ) {
        match (what, message) {
            (
                What::Registration,
                Message::RegisterTmResponse(told) | Message::RegisterRmResponse(told),
            ) => {
                self.links[link].ready = told.identified;
            }
            (What::Extra, _) | (What::Report { .. }, Message::BranchReportResponse(_)) => {}
            (What::Begin { tx }, Message::GlobalBeginResponse(told)) => {
                let plan = &mut self.txs[tx];
                if plan.stage != Stage::Beginning {
                    return;
                }
                plan.xid = told.xid;
                plan.stage = if told.result == TxResult::Success {
                    Stage::Working
                } else {
                    Stage::Done
                };
                env.after(0, Event::Step { tx });
            }
            (What::Branch { tx }, Message::BranchRegisterResponse(told)) => {
                self.branch_answered(env, wire, link, tx, &told.result, told.branch_id);
            }
            (What::End { tx, commit }, Message::GlobalCommitResponse(told))
            | (What::End { tx, commit }, Message::GlobalRollbackResponse(told)) => {
                self.end_answered(env, wire, tx, commit, told.global_status);
            }
            (what, message) => checker.broken(27, format!("{what:?} was answered {message:?}")),
        }
    }

    fn branch_answered(
        &mut self,
        env: &mut Env,
        wire: &mut Wire,
        link: usize,
        tx: usize,
        result: &TxResult,
        branch: i64,
    ) {
        let plan = &mut self.txs[tx];
        if plan.stage != Stage::Asked {
            return;
        }
        match result {
            TxResult::Success => {
                let leg = plan.legs[plan.next];
                plan.last_branch = branch;
                plan.stage = Stage::Working;
                plan.next += 1;
                plan.tries = 0;
                if let Some(status) = leg.report {
                    let report = Message::BranchReport(BranchReport {
                        xid: plan.xid.clone(),
                        branch_id: branch,
                        status,
                        resource_id: Text::from(leg.resource),
                        application_data: Text::new(),
                        branch_type: leg.kind,
                    });
                    self.links[link].request(env, wire, What::Report { tx }, report);
                }
                if leg.decides {
                    return self.fail(env, tx);
                }
                let pause = env.rng.below(50 * MS);
                env.after(pause, Event::Step { tx });
            }
            TxResult::Failed {
                code: ExceptionCode::LockKeyConflict,
                ..
            } if plan.tries < 10 => {
                plan.tries += 1;
                plan.stage = Stage::Working;
                env.after(10 * MS, Event::Step { tx });
            }
            TxResult::Failed { .. } => self.fail(env, tx),
        }
    }

    fn end_answered(
        &mut self,
        env: &mut Env,
        wire: &mut Wire,
        tx: usize,
        commit: bool,
        told: GlobalStatus,
    ) {
        let plan = &mut self.txs[tx];
        if plan.stage != Stage::Asked {
            return;
        }
        env.trace(format_args!("tx {tx} is told {told}"));
        plan.stage = Stage::Done;
        let (home, xid) = (plan.home, plan.xid.clone());
        let message = match plan.after {
            After::Repeat => end_message(&xid, commit),
            After::Regret => end_message(&xid, !commit),
            After::Poll => Message::GlobalStatus(GlobalEnd {
                xid,
                extra_data: Text::new(),
            }),
            _ => return,
        };
        if env.rng.chance(300) && !env.healing {
            // Asks again and again.
            plan.stage = Stage::Ending;
            plan.tries = 0;
            env.after(100 * MS, Event::Step { tx });
            plan.after = After::Nothing;
            return;
        }
        let home = self.any_link(env, 2 * home);
        self.links[home].request(env, wire, What::Extra, message);
    }

    /// An answer will never come.
    fn lost(&mut self, env: &mut Env, what: What) {
        match what {
            What::Begin { tx } if self.txs[tx].stage == Stage::Beginning => {
                self.txs[tx].stage = Stage::Done;
            }
            What::Branch { tx } if self.txs[tx].stage == Stage::Asked => {
                if env.rng.chance(100) {
                    // Goes on as if nothing had happened: a branch may exist that nobody knows.
                    self.txs[tx].stage = Stage::Working;
                    self.txs[tx].next += 1;
                    env.after(0, Event::Step { tx });
                } else {
                    self.fail(env, tx);
                }
            }
            What::End { tx, .. } if self.txs[tx].stage == Stage::Asked => {
                self.txs[tx].stage = Stage::Ending;
                let pause = env.rng.between(10 * MS, SECOND);
                env.after(pause, Event::Step { tx });
            }
            _ => {}
        }
    }

    /// Phase one failed: the transaction is rolled back.
    fn fail(&mut self, env: &mut Env, tx: usize) {
        let plan = &mut self.txs[tx];
        plan.commit = false;
        plan.tries = 0;
        plan.stage = Stage::Ending;
        env.after(0, Event::Step { tx });
    }
}

impl Tx {
    fn plan(env: &mut Env, links: &[Link]) -> Self {
        let legs = (0..env.rng.below(5))
            .map(|_| Leg::plan(env, links))
            .collect();
        let timeout_ms = match env.rng.below(10) {
            0 => env.rng.below(200) as i32 - 50,
            1 | 2 => env.rng.between(200, 3_000) as i32,
            _ => env.rng.between(10_000, 60_000) as i32,
        };
        let after = match env.rng.below(20) {
            0..3 => After::Repeat,
            3 => After::Regret,
            4..6 => After::Poll,
            6 | 7 => After::Abandon,
            8 | 9 => After::Rival,
            _ => After::Nothing,
        };
        Self {
            home: env.rng.index(links.len() / 2),
            xid: Text::new(),
            timeout_ms,
            legs,
            next: 0,
            tries: 0,
            stage: Stage::Waiting,
            commit: env.rng.chance(750),
            after,
            last_branch: 0,
        }
    }
}

impl Leg {
    fn plan(env: &mut Env, links: &[Link]) -> Self {
        let process = env.rng.index(links.len() / 2);
        let kind = [
            BranchType::At,
            BranchType::At,
            BranchType::At,
            BranchType::Tcc,
            BranchType::Xa,
        ];
        let kind = kind[env.rng.index(kind.len())];
        let resource = match kind {
            BranchType::Tcc => TCC[process % 2],
            // What a process prepared it can finish; undo logs of AT are in the database, for everybody.
            BranchType::Xa => *links[2 * process + 1]
                .resources
                .last()
                .expect("at least one"),
            _ => DB[env.rng.index(2)],
        };
        let kind = match DB.contains(&resource) {
            false => BranchType::Tcc,
            true => kind,
        };
        let report = match env.rng.below(20) {
            0..5 => Some(BranchStatus::PhaseOneDone),
            5 => Some(BranchStatus::PhaseOneFailed),
            6 if kind == BranchType::Xa => Some(BranchStatus::PhaseOneRdonly),
            _ => None,
        };
        Self {
            process,
            over_tm: env.rng.chance(50),
            kind,
            resource,
            table: ['t', 'u'][env.rng.index(2)],
            pks: [env.rng.below(6) as u8, env.rng.below(6) as u8],
            fail_fast: env.rng.chance(200),
            report,
            decides: report == Some(BranchStatus::PhaseOneFailed) && env.rng.chance(700),
        }
    }
}

fn end_message(xid: &Text, commit: bool) -> Message {
    let end = GlobalEnd {
        xid: xid.clone(),
        extra_data: Text::new(),
    };
    match commit {
        true => Message::GlobalCommit(end),
        false => Message::GlobalRollback(end),
    }
}

/// Adds the links to all coordinators but the first. Gives those that are never connected.
fn twins(
    env: &mut Env,
    links: &mut Vec<Link>,
    processes: usize,
    servers: usize,
) -> BTreeSet<usize> {
    let mut unused = BTreeSet::new();
    for server in 1..servers {
        for role in 0..2 * processes {
            links.push(links[role].twin(2 * processes * server + role));
        }
    }
    if servers == 1 {
        return unused;
    }
    // Some RMs, and some whole processes, know some of the coordinators only.
    let some = [0, 200, 500][env.rng.index(3)];
    for process in 0..processes {
        let sure = env.rng.index(servers);
        for server in (0..servers).filter(|server| *server != sure) {
            let tm = 2 * processes * server + 2 * process;
            if env.rng.chance(some) {
                unused.insert(tm + 1);
                unused.extend(env.rng.chance(300).then_some(tm));
            }
        }
    }
    unused
}
