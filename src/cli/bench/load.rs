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
