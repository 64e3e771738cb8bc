//! The load: virtual clients that run one transaction after another, and the RMs that answer phase two. No I/O.
//!
//! A client has one request in flight. In a closed loop it starts again as soon as it is done; in an open loop
//! transactions become due at a fixed rate whether or not the coordinator keeps up, and latency counts from the moment
//! one was due, so that a stall is seen by every transaction it delayed. The generator's own timer may be late by up to
//! [`TIMER_SLACK`]; so much is not charged to the coordinator.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::audit::{Audit, Promise};
use super::scenario::{self, Scenario};
use super::tally::{Latency, Tally};
use crate::proto::Text;
use crate::proto::message::{BranchEnd, BranchEndResponse, GlobalEndResponse, Message, TxResult};
use crate::proto::status::{BranchStatus, ExceptionCode, GlobalStatus};

/// What a run is made of.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) scenario: Scenario,
    pub(super) clients: usize,
    /// TM connections; as many RM connections when there are branches.
    pub(super) connections: usize,
    /// Transactions per second; None is a closed loop.
    pub(super) rate: Option<f64>,
    pub(super) warmup: Duration,
    pub(super) duration: Duration,
    /// How long late answers and phase-two calls are waited for.
    pub(super) settle: Duration,
    /// The version that the connections register with.
    pub(super) version: String,
    /// Rows of the hot scenario.
    pub(super) hot_rows: u64,
    /// Makes the locked rows of one run differ from those of another.
    pub(super) salt: u64,
}

impl Plan {
    /// Connections in all.
    pub(super) fn links(&self) -> usize {
        if self.scenario.branches() > 0 {
            2 * self.connections
        } else {
            self.connections
        }
    }

    /// Whether a connection is an RM's: they come after those of TMs.
    pub(super) fn is_rm(&self, link: usize) -> bool {
        link >= self.connections
    }
}

/// A frame to send.
#[derive(Debug, PartialEq)]
pub(super) struct Frame {
    /// The connection.
    pub(super) link: usize,
    /// The request id.
    pub(super) id: i32,
    /// What to send.
    pub(super) content: Content,
}

/// What a frame carries.
#[derive(Debug, PartialEq)]
pub(super) enum Content {
    /// A request, answered under the same id.
    Request(Message),
    /// An answer to a request with this id.
    Response(Message),
    /// A heartbeat.
    Ping,
}

/// The state of a run.
#[derive(Debug)]
pub(super) struct Load {
    plan: Plan,
    links: Vec<Link>,
    clients: Vec<Client>,
    idle: Vec<usize>,
    /// Clients that wait before they ask for a lock again, in the order of time.
    patient: VecDeque<(Instant, usize)>,
    phase: Phase,
    begun: Option<Instant>,
    /// Open loop: transactions started so far.
    started: u64,
    row: u64,
    lost: u64,
    /// When connections and unanswered requests are looked at next.
    next_look: Option<Instant>,
    next_ping: Instant,
    interval: Latency,
    audit: Audit,
    tally: Tally,
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    open: bool,
    registered: bool,
    quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not every connection is registered yet.
    Connecting,
    /// Transactions run until then.
    Running(Instant),
    /// No new transaction; those in flight and their branches are waited for until then.
    Settling(Instant),
    /// Over.
    Over,
}

#[derive(Clone, Debug)]
struct Client {
    step: Step,
    /// Counts requests, so that a late answer is not taken for a new one.
    turn: u32,
    /// When the transaction counts from.
    since: Instant,
    sent: Instant,
    xid: Text,
    row: u64,
    tries: u32,
    branches: [i64; 2],
    registered: usize,
    /// Why it is rolled back although it was to be committed.
    gave_up: Option<&'static str>,
    measured: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Idle,
    Begin,
    Register,
    /// Before the next try for a lock.
    Wait,
    End,
}

impl Load {
    /// A run that waits for its connections.
    pub(super) fn new(plan: Plan, now: Instant) -> Self {
        let client = Client {
            step: Step::Idle,
            turn: 0,
            since: now,
            sent: now,
            xid: Text::new(),
            row: 0,
            tries: 0,
            branches: [0; 2],
            registered: 0,
            gave_up: None,
            measured: false,
        };
        Self {
            links: vec![Link::default(); plan.links()],
            clients: vec![client; plan.clients],
            idle: (0..plan.clients).rev().collect(),
            patient: VecDeque::new(),
            phase: Phase::Connecting,
            begun: None,
            started: 0,
            row: 0,
            lost: 0,
            next_look: None,
            next_ping: now,
            interval: Latency::new(),
            audit: Audit::default(),
            tally: Tally::new(),
            plan,
        }
    }

    /// A connection is open.
    pub(super) fn handle_open(&mut self, link: usize, out: &mut Vec<Frame>) {
        self.links[link] = Link {
            open: true,
            registered: false,
            quiet: false,
        };
        let message = if self.plan.is_rm(link) {
            scenario::register_rm(&self.plan.version, self.plan.scenario.resource())
        } else {
            scenario::register_tm(&self.plan.version)
        };
        out.push(Frame {
            link,
            id: REGISTRATION_ID,
            content: Content::Request(message),
        });
    }

    /// A connection is lost: what its clients asked has no answer any more.
    pub(super) fn handle_closed(&mut self, now: Instant, link: usize, out: &mut Vec<Frame>) {
        if !std::mem::take(&mut self.links[link]).open || self.phase == Phase::Over {
            return;
        }
        self.lost += u64::from(self.phase != Phase::Connecting);
        for client in 0..self.clients.len() {
            let waits = match self.clients[client].step {
                Step::Idle | Step::Wait => false,
                step => self.link_of(client, step) == link,
            };
            if waits {
                self.fail(client, "connection lost");
            }
        }
        self.start_due(now, out);
    }

    /// A frame came in.
    pub(super) fn handle_message(
        &mut self,
        now: Instant,
        link: usize,
        id: i32,
        message: Message,
        out: &mut Vec<Frame>,
    ) {
        match message {
            Message::RegisterTmResponse(answer) | Message::RegisterRmResponse(answer) => {
                self.links[link].registered = answer.identified;
                self.begin_run(now, out);
            }
            Message::BranchCommit(call) => self.answer_call(link, id, call, true, out),
            Message::BranchRollback(call) => self.answer_call(link, id, call, false, out),
            answer => self.handle_answer(now, id, answer, out),
        }
    }

    /// Time passed: starts what is due, tries again, gives up, ends the run.
    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Frame>) {
        while self.patient.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, client)) = self.patient.pop_front() {
                self.register(now, client, out);
            }
        }
        if let Phase::Running(until) = self.phase
            && now >= until
        {
            self.phase = Phase::Settling(now + self.plan.settle);
        }
        self.start_due(now, out);
        if self.next_look.is_some_and(|at| now >= at) {
            self.look(now, out);
        }
    }

    /// When [`Load::handle_timeout`] is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Running(until) | Phase::Settling(until) => Some(until),
            Phase::Connecting | Phase::Over => None,
        };
        let due = match (self.phase, self.plan.rate, self.idle.is_empty()) {
            (Phase::Running(_), Some(rate), false) => self.due_at(rate, self.started),
            _ => None,
        };
        let patient = self.patient.front().map(|(at, _)| *at);
        [phase, due, patient, self.next_look]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether the run has ended.
    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// When the first transaction was started.
    pub(super) fn begun(&self) -> Option<Instant> {
        self.begun
    }

    /// How many connections are registered.
    pub(super) fn registered(&self) -> usize {
        self.links.iter().filter(|link| link.registered).count()
    }

    /// Connections lost during the run.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Latency of whole transactions since the last look.
    pub(super) fn interval(&mut self) -> &mut Latency {
        &mut self.interval
    }

    /// Transactions that were due by the end and never started.
    pub(super) fn unstarted(&self) -> u64 {
        let all = self.plan.rate.map_or(0.0, |rate| {
            rate * (self.plan.warmup + self.plan.duration).as_secs_f64()
        });
        (all as u64).saturating_sub(self.started)
    }

    /// What was counted.
    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What was counted and what is to be checked.
    pub(super) fn into_results(self) -> (Tally, Audit) {
        (self.tally, self.audit)
    }

    fn begin_run(&mut self, now: Instant, out: &mut Vec<Frame>) {
        if self.phase == Phase::Connecting && self.links.iter().all(|link| link.registered) {
            self.begun = Some(now);
            self.next_look = Some(now + LOOK_PERIOD);
            self.next_ping = now + PING_PERIOD;
            self.phase = Phase::Running(now + self.plan.warmup + self.plan.duration);
        }
        self.start_due(now, out);
    }

    /// When the n-th transaction of the open loop is due.
    fn due_at(&self, rate: f64, n: u64) -> Option<Instant> {
        Some(self.begun? + Duration::from_secs_f64(n as f64 / rate))
    }

    fn start_due(&mut self, now: Instant, out: &mut Vec<Frame>) {
        if !matches!(self.phase, Phase::Running(until) if now < until) {
            return;
        }
        while let Some(&client) = self.idle.last() {
            let since = match self.plan.rate {
                None => now,
                Some(rate) => match self.due_at(rate, self.started) {
                    Some(due) if due <= now => now.min(due + self.slack(client, due)),
                    _ => return,
                },
            };
            if !self.links[self.link_of(client, Step::Begin)].registered {
                return;
            }
            self.idle.pop();
            self.started += 1;
            self.begin(now, since, client, out);
        }
    }

    /// A client that stood ready when the transaction was due lost at most the timer's own lateness.
    fn slack(&self, client: usize, due: Instant) -> Duration {
        if self.clients[client].sent <= due {
            TIMER_SLACK
        } else {
            Duration::ZERO
        }
    }

    fn begin(&mut self, now: Instant, since: Instant, client: usize, out: &mut Vec<Frame>) {
        self.row += 1;
        let row = match self.plan.scenario {
            Scenario::Hot => self.row % self.plan.hot_rows,
            _ => self.plan.salt.wrapping_add(2 * self.row),
        };
        let measured = self
            .begun
            .is_some_and(|begun| since >= begun + self.plan.warmup);
        let state = &mut self.clients[client];
        (state.since, state.row, state.measured) = (since, row, measured);
        (state.registered, state.tries, state.gave_up) = (0, 0, None);
        self.ask(now, client, Step::Begin, scenario::begin(), out);
    }

    fn register(&mut self, now: Instant, client: usize, out: &mut Vec<Frame>) {
        let state = &self.clients[client];
        let row = state.row + state.registered as u64;
        let message = self.plan.scenario.register(&state.xid, row);
        self.ask(now, client, Step::Register, message, out);
    }

    fn end(&mut self, now: Instant, client: usize, out: &mut Vec<Frame>) {
        let state = &self.clients[client];
        let commit = self.plan.scenario.commits() && state.gave_up.is_none();
        let message = scenario::end(&state.xid, commit);
        self.ask(now, client, Step::End, message, out);
    }

    fn ask(
        &mut self,
        now: Instant,
        client: usize,
        step: Step,
        message: Message,
        out: &mut Vec<Frame>,
    ) {
        let link = self.link_of(client, step);
        let turns = (i32::MAX as u32 - FIRST_ID) / self.clients.len() as u32;
        let state = &mut self.clients[client];
        state.step = step;
        state.sent = now;
        state.turn = (state.turn + 1) % turns;
        let id = FIRST_ID + state.turn * self.plan.clients as u32 + client as u32;
        self.links[link].quiet = false;
        out.push(Frame {
            link,
            id: id as i32,
            content: Content::Request(message),
        });
    }

    fn link_of(&self, client: usize, step: Step) -> usize {
        let connection = client % self.plan.connections;
        if step == Step::Register {
            self.plan.connections + connection
        } else {
            connection
        }
    }

    fn handle_answer(&mut self, now: Instant, id: i32, answer: Message, out: &mut Vec<Frame>) {
        let Some(number) = u32::try_from(id)
            .ok()
            .and_then(|id| id.checked_sub(FIRST_ID))
        else {
            return;
        };
        let (client, turn) = (
            (number as usize) % self.clients.len(),
            number / self.clients.len() as u32,
        );
        let state = &self.clients[client];
        if state.turn != turn || matches!(state.step, Step::Idle | Step::Wait) {
            return;
        }
        let (step, took) = (state.step, now.saturating_duration_since(state.sent));
        if state.measured {
            match step {
                Step::Begin => self.tally.begin.record(took),
                Step::Register => self.tally.register.record(took),
                _ => self.tally.end.record(took),
            }
        }
        match (step, answer) {
            (Step::Begin, Message::GlobalBeginResponse(answer)) => match answer.result {
                TxResult::Success => {
                    self.clients[client].xid = answer.xid;
                    self.advance(now, client, out);
                }
                TxResult::Failed { code, .. } => self.fail(client, code.name()),
            },
            (Step::Register, Message::BranchRegisterResponse(answer)) => match answer.result {
                TxResult::Success => {
                    let state = &mut self.clients[client];
                    let previous = if state.registered > 0 {
                        state.branches[state.registered - 1]
                    } else {
                        0
                    };
                    state.branches[state.registered] = answer.branch_id;
                    state.registered += 1;
                    self.audit.registered(answer.branch_id, previous);
                    self.advance(now, client, out);
                }
                TxResult::Failed { code, .. } => self.handle_refusal(now, client, code, out),
            },
            (
                Step::End,
                Message::GlobalCommitResponse(answer) | Message::GlobalRollbackResponse(answer),
            ) => {
                self.handle_end(now, client, &answer);
            }
            _ => self.fail(client, "an answer of the wrong kind"),
        }
        self.start_due(now, out);
    }

    fn advance(&mut self, now: Instant, client: usize, out: &mut Vec<Frame>) {
        if self.clients[client].registered < self.plan.scenario.branches() {
            self.register(now, client, out);
        } else {
            self.end(now, client, out);
        }
    }

    /// A branch was refused: another try after a wait when a row is locked, as RMs do, else a rollback.
    fn handle_refusal(
        &mut self,
        now: Instant,
        client: usize,
        code: ExceptionCode,
        out: &mut Vec<Frame>,
    ) {
        let state = &mut self.clients[client];
        if code == ExceptionCode::LockKeyConflict && state.tries < LOCK_TRIES {
            state.tries += 1;
            state.step = Step::Wait;
            self.tally.conflicts += u64::from(state.measured);
            self.patient.push_back((now + LOCK_WAIT, client));
        } else {
            state.gave_up = Some(code.name());
            self.end(now, client, out);
        }
    }

    fn handle_end(&mut self, now: Instant, client: usize, answer: &GlobalEndResponse) {
        let promise = match answer.result {
            TxResult::Success => promise(answer.global_status),
            // The status beside a failure may be a mere preset.
            TxResult::Failed { .. } => Promise::Unclear,
        };
        let state = &self.clients[client];
        for branch in &state.branches[..state.registered] {
            self.audit.answered(*branch, promise);
        }
        let wanted = if self.plan.scenario.commits() {
            Promise::Commit
        } else {
            Promise::Rollback
        };
        match (&answer.result, state.gave_up) {
            (TxResult::Success, None) if promise == wanted => {
                let took = now.saturating_duration_since(state.since);
                if state.measured {
                    self.tally.total.record(took);
                    self.tally.completed += 1;
                }
                self.interval.record(took);
                self.clients[client].step = Step::Idle;
                self.idle.push(client);
            }
            (TxResult::Success, Some(reason)) => self.fail(client, reason),
            (TxResult::Success, None) => self.fail(client, answer.global_status.name()),
            (TxResult::Failed { code, .. }, _) => {
                let code = code.name();
                self.fail(client, code);
            }
        }
    }

    fn fail(&mut self, client: usize, reason: &str) {
        let state = &mut self.clients[client];
        let step = match state.step {
            _ if state.gave_up.is_some() => "register",
            Step::Begin => "begin",
            Step::Register | Step::Wait => "register",
            Step::Idle | Step::End => "end",
        };
        if state.measured {
            *self
                .tally
                .errors
                .entry(format!("{step}: {reason}"))
                .or_default() += 1;
        }
        state.step = Step::Idle;
        self.idle.push(client);
    }

    fn answer_call(
        &mut self,
        link: usize,
        id: i32,
        call: BranchEnd,
        commit: bool,
        out: &mut Vec<Frame>,
    ) {
        self.audit.called(call.branch_id, commit);
        self.tally.calls += 1;
        let answer = BranchEndResponse {
            result: TxResult::Success,
            xid: call.xid,
            branch_id: call.branch_id,
            branch_status: if commit {
                BranchStatus::PhaseTwoCommitted
            } else {
                BranchStatus::PhaseTwoRollbacked
            },
        };
        let message = if commit {
            Message::BranchCommitResponse(answer)
        } else {
            Message::BranchRollbackResponse(answer)
        };
        self.links[link].quiet = false;
        out.push(Frame {
            link,
            id,
            content: Content::Response(message),
        });
    }

    /// Gives up on what is never answered, sends heartbeats, and ends the run when nothing is missing.
    fn look(&mut self, now: Instant, out: &mut Vec<Frame>) {
        for client in 0..self.clients.len() {
            let state = &self.clients[client];
            let waits = !matches!(state.step, Step::Idle | Step::Wait);
            if waits && now >= state.sent + ANSWER_TIMEOUT {
                self.fail(client, "no answer");
            }
        }
        if now >= self.next_ping {
            self.ping(out);
            self.next_ping = now + PING_PERIOD;
        }
        self.next_look = Some(now + LOOK_PERIOD);
        if let Phase::Settling(until) = self.phase {
            let done = self.idle.len() == self.clients.len() && self.audit.waiting() == 0;
            if done || now >= until {
                self.phase = Phase::Over;
                self.next_look = None;
            }
        }
    }

    /// A connection that sent nothing for a period sends a heartbeat, as Seata's clients do.
    fn ping(&mut self, out: &mut Vec<Frame>) {
        for (link, state) in self.links.iter_mut().enumerate() {
            if state.open && state.quiet {
                out.push(Frame {
                    link,
                    id: PING_ID,
                    content: Content::Ping,
                });
            }
            state.quiet = true;
        }
    }
}

/// What a status promises about the branches.
fn promise(status: GlobalStatus) -> Promise {
    match status {
        GlobalStatus::Committing
        | GlobalStatus::CommitRetrying
        | GlobalStatus::AsyncCommitting
        | GlobalStatus::Committed => Promise::Commit,
        GlobalStatus::Rollbacking
        | GlobalStatus::RollbackRetrying
        | GlobalStatus::TimeoutRollbacking
        | GlobalStatus::TimeoutRollbackRetrying
        | GlobalStatus::Rollbacked
        | GlobalStatus::TimeoutRollbacked => Promise::Rollback,
        _ => Promise::Unclear,
    }
}

/// As Seata's clients: a heartbeat after 5 s of silence; a half of it, since it is looked at once a period.
const PING_PERIOD: Duration = Duration::from_millis(2500);
/// As Seata's clients wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// As RMs ask again for a lock.
const LOCK_WAIT: Duration = Duration::from_millis(10);
const LOCK_TRIES: u32 = 30;
/// How late the generator's own timer may be.
const TIMER_SLACK: Duration = Duration::from_millis(1);
const LOOK_PERIOD: Duration = Duration::from_millis(20);
const REGISTRATION_ID: i32 = 1;
const PING_ID: i32 = 2;
/// Ids of transaction requests begin here.
const FIRST_ID: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::message::{BranchRegisterResponse, GlobalBeginResponse, RegisterResponse};
    use crate::proto::status::BranchType;

    fn plan(scenario: Scenario, rate: Option<f64>) -> Plan {
        Plan {
            scenario,
            clients: 3,
            connections: 2,
            rate,
            warmup: Duration::ZERO,
            duration: Duration::from_secs(1),
            settle: Duration::from_secs(1),
            version: "1.4.2".into(),
            hot_rows: 1,
            salt: 0,
        }
    }

    /// A coordinator that answers at once, and then calls the branches.
    #[derive(Default)]
    struct Fake {
        ids: i64,
        open: Vec<(Text, i64, usize)>,
        conflicts: usize,
        forget_calls: bool,
    }

    impl Fake {
        fn answer(&mut self, frame: &Frame) -> Vec<(usize, i32, Message)> {
            let Content::Request(message) = &frame.content else {
                return Vec::new();
            };
            let identified = RegisterResponse {
                identified: true,
                version: Text::from("x"),
            };
            let mut answers = Vec::new();
            let answer = match message {
                Message::RegisterTm(_) => Message::RegisterTmResponse(identified),
                Message::RegisterRm(_) => Message::RegisterRmResponse(identified),
                Message::GlobalBegin(_) => {
                    self.ids += 1;
                    Message::GlobalBeginResponse(GlobalBeginResponse {
                        result: TxResult::Success,
                        xid: Text::from(format!("h:1:{}", self.ids)),
                        extra_data: Text::new(),
                    })
                }
                Message::BranchRegister(register) => {
                    self.ids += 1;
                    let refused = self.conflicts > 0;
                    self.conflicts = self.conflicts.saturating_sub(1);
                    if !refused {
                        self.open.push((register.xid.clone(), self.ids, frame.link));
                    }
                    Message::BranchRegisterResponse(BranchRegisterResponse {
                        result: if refused {
                            let code = ExceptionCode::LockKeyConflict;
                            TxResult::Failed {
                                code,
                                message: Text::new(),
                            }
                        } else {
                            TxResult::Success
                        },
                        branch_id: self.ids,
                    })
                }
                Message::GlobalCommit(end) => {
                    self.call(&end.xid, true, &mut answers);
                    Message::GlobalCommitResponse(ended(GlobalStatus::Committed))
                }
                Message::GlobalRollback(end) => {
                    self.call(&end.xid, false, &mut answers);
                    Message::GlobalRollbackResponse(ended(GlobalStatus::Rollbacked))
                }
                other => panic!("{other:?}"),
            };
            answers.push((frame.link, frame.id, answer));
            answers
        }

        fn call(&mut self, xid: &Text, commit: bool, calls: &mut Vec<(usize, i32, Message)>) {
            for (xid, branch_id, link) in self.open.extract_if(.., |(of, ..)| of == xid) {
                let end = BranchEnd {
                    xid,
                    branch_id,
                    branch_type: BranchType::At,
                    resource_id: Text::from("r"),
                    application_data: Text::new(),
                };
                let call = if commit {
                    Message::BranchCommit(end)
                } else {
                    Message::BranchRollback(end)
                };
                if !self.forget_calls {
                    calls.insert(0, (link, 1 << 30, call));
                }
            }
        }
    }

    fn ended(global_status: GlobalStatus) -> GlobalEndResponse {
        GlobalEndResponse {
            result: TxResult::Success,
            global_status,
        }
    }

    /// Runs a plan in simulated time, each round trip taking 1 ms, until it is over.
    fn run(plan: Plan, mut fake: Fake, start: Instant) -> Load {
        let mut load = Load::new(plan.clone(), start);
        let mut out = Vec::new();
        let mut now = start;
        for link in 0..plan.links() {
            load.handle_open(link, &mut out);
        }
        while !load.is_over() {
            let frames = std::mem::take(&mut out);
            let idle = frames.is_empty();
            now = match load.next_deadline() {
                Some(deadline) if idle => now.max(deadline),
                _ => now + Duration::from_millis(1),
            };
            for frame in &frames {
                for (link, id, message) in fake.answer(frame) {
                    load.handle_message(now, link, id, message, &mut out);
                }
            }
            load.handle_timeout(now, &mut out);
        }
        load
    }

    #[allow(clippy::disallowed_methods)] // the time to start simulated time from
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn every_scenario_runs_and_passes_its_check() {
        for scenario in [
            Scenario::Empty,
            Scenario::At1,
            Scenario::Tcc1,
            Scenario::Rollback2,
            Scenario::Hot,
        ] {
            let load = run(plan(scenario, None), Fake::default(), start());
            let (tally, audit) = load.into_results();
            let requests = 2 + scenario.branches() as u64;
            // Three clients, one round trip per request and ms, for a second.
            let expected = 3 * 1000 / requests;
            assert!(
                tally.completed.abs_diff(expected) <= 6,
                "{scenario}: {}",
                tally.completed
            );
            assert!(tally.errors.is_empty(), "{:?}", tally.errors);
            let verdict = audit.verdict();
            assert!(verdict.passed(), "{scenario}: {verdict:?}");
            assert_eq!(
                verdict.branches as u64,
                tally.completed * scenario.branches() as u64
            );
        }
    }

    #[test]
    fn an_open_loop_keeps_its_rate_and_counts_from_the_due_time() {
        let load = run(plan(Scenario::Empty, Some(100.0)), Fake::default(), start());
        assert_eq!(load.unstarted(), 0);
        assert!(
            load.tally().completed.abs_diff(100) <= 1,
            "{}",
            load.tally().completed
        );
        assert!(load.tally().total.quantile(0.99) < 4.0);
        // Three clients at 2 ms each can do 1500 a second: 3000 is too much, and the delay is seen.
        let load = run(
            plan(Scenario::Empty, Some(3000.0)),
            Fake::default(),
            start(),
        );
        assert!(load.unstarted() > 1000, "{}", load.unstarted());
        assert!(load.tally().total.quantile(0.5) > 100.0);
    }

    #[test]
    fn conflicts_are_tried_again_and_given_up_in_the_end() {
        let fake = Fake {
            conflicts: 5,
            ..Fake::default()
        };
        let load = run(plan(Scenario::Hot, None), fake, start());
        assert_eq!(load.tally().conflicts, 5);
        assert!(load.tally().errors.is_empty());
        let fake = Fake {
            conflicts: usize::MAX,
            ..Fake::default()
        };
        let load = run(plan(Scenario::Hot, None), fake, start());
        assert_eq!(load.tally().completed, 0);
        assert!(
            load.tally()
                .errors
                .contains_key("register: LockKeyConflict")
        );
        assert!(
            load.into_results().1.verdict().passed(),
            "nothing was promised a commit"
        );
    }

    #[test]
    fn a_coordinator_that_forgets_phase_two_fails_the_check() {
        let fake = Fake {
            forget_calls: true,
            ..Fake::default()
        };
        let load = run(plan(Scenario::At1, None), fake, start());
        let (tally, audit) = load.into_results();
        assert_eq!(audit.verdict().missing as u64, tally.completed);
    }

    #[test]
    fn a_lost_connection_fails_what_waited_on_it() {
        let (mut out, now) = (Vec::new(), start());
        let mut load = Load::new(plan(Scenario::Empty, None), now);
        let mut fake = Fake::default();
        for link in 0..2 {
            load.handle_open(link, &mut out);
        }
        for frame in std::mem::take(&mut out) {
            for (link, id, message) in fake.answer(&frame) {
                load.handle_message(now, link, id, message, &mut out);
            }
        }
        assert_eq!(out.len(), 3, "each client began");
        load.handle_closed(now, 0, &mut out);
        assert_eq!(load.tally().failed(), 2, "clients 0 and 2 use connection 0");
        assert_eq!(load.lost(), 1);
    }
}
