//! The machines: a coordinator over a log, two applications, two resource managers, and the wires between them.
//!
//! A request is handled in the step in which it arrives, so one that is lost is one that never arrived. Replies,
//! phase-two calls and their answers travel and can be lost. Everything a client may be told goes through the queue
//! behind the records it depends on, and is checked at the moment it leaves.

use crate::log::{Queue, Status, Tables, Write};

/// Bounds of one exploration.
pub(crate) struct Scenario {
    /// For the report.
    pub(crate) name: &'static str,
    /// Which transaction each application decides about; the first owner of a transaction begins it.
    pub(crate) owners: [Option<u8>; 2],
    /// The branches that may be registered, each at most once.
    pub(crate) branches: Vec<Place>,
    /// Crashes of the coordinator.
    pub(crate) crashes: u8,
    /// Partitions of one peer.
    pub(crate) cuts: u8,
    /// Phase-two calls answered "retryable".
    pub(crate) refusals: u8,
    /// Requests or answers that arrive twice, calls that time out.
    pub(crate) repeats: u8,
    /// Records that may wait for the disk at once.
    pub(crate) queue: usize,
}

/// Where a branch runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// Its transaction.
    pub(crate) xid: u8,
    /// Its resource.
    pub(crate) resource: u8,
    /// AT: locks row 0 of the resource, and the application is answered before it is called.
    pub(crate) at: bool,
    /// Bit set of the resource managers that serve it.
    pub(crate) served: u8,
}

impl Place {
    /// An AT branch.
    pub(crate) fn at(xid: u8, resource: u8, served: u8) -> Self {
        Self {
            xid,
            resource,
            at: true,
            served,
        }
    }

    /// A TCC branch.
    pub(crate) fn tcc(xid: u8, resource: u8, served: u8) -> Self {
        Self {
            xid,
            resource,
            at: false,
            served,
        }
    }
}

/// A bug that was made somewhere once, put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// None.
    None,
    /// Outputs do not wait for the records before them.
    ReplyBeforeSync,
    /// A commit that saw Begin a moment ago overwrites a timeout.
    DecideWithoutCompare,
    /// Register does not look at the status.
    RegisterAfterDecision,
    /// Branches are rolled back in the order of registration.
    ForwardRollback,
    /// Locks go in a record of their own before the commit.
    ReleaseBeforeDecision,
    /// Register takes a row whoever holds it.
    LockWithoutCheck,
    /// Commit releases nothing.
    CommitKeepsLocks,
    /// A commit that lost against the timeout is told Committed.
    TimeoutToldAsCommit,
    /// An ended transaction is unknown at once.
    NoTombstone,
    /// After a restart nobody calls the branches.
    NoDriveAfterRestart,
    /// A commit that was refused once is tried as a rollback.
    RetryAsRollback,
    /// Nothing looks at deadlines.
    NoTimeout,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Direction {
    Commit,
    Rollback,
    Timeout,
}

impl Direction {
    fn forward(self) -> bool {
        self == Self::Commit
    }
}

/// What an application is told. Wording within a family does not matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    Begun,
    Committed,
    RolledBack,
    TimedOut,
    Unknown,
}

/// Something that leaves the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Output {
    Reply(u8, Answer),
    Registered(u8),
    Call { branch: u8, forward: bool, rm: u8 },
}

/// One step of the whole system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Begin(u8),
    Receive(u8),
    Ask(u8, Direction),
    Register(u8),
    Timeout(u8),
    Call { branch: u8, rm: u8 },
    Serve(u8),
    Refuse(u8),
    Answer { branch: u8, again: bool },
    GiveUpCall(u8),
    GiveUpWaiting(u8),
    Persist,
    Crash,
    Cut(u8),
    Heal,
}

impl Step {
    /// Whether it is a fault: after healing none of these happens.
    pub(crate) fn is_fault(self) -> bool {
        matches!(
            self,
            Self::Crash | Self::Cut(_) | Self::Refuse(_) | Self::GiveUpCall(_)
        ) || matches!(self, Self::Answer { again: true, .. })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Idle,
    Beginning,
    Active,
    /// Decided, and asks until it is told.
    Asking(Direction),
    Told(Direction),
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Leg {
    Free,
    Asked,
    Answered,
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Call {
    forward: bool,
    rm: u8,
}

/// Everything at one moment, with what has been said so far.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    memory: Tables,
    durable: Tables,
    queue: Queue,
    /// Branches whose call is not answered: volatile.
    outstanding: u8,
    /// Applications whose request waits for branches: volatile.
    waiting: u8,
    idle_after_restart: bool,
    refused: bool,

    apps: [Phase; 2],
    /// A request of this application is at the coordinator or its reply is under way.
    asked: u8,
    replies: [Option<Answer>; 2],
    legs: [Leg; 3],
    calls: [Option<Call>; 3],
    answers: [Option<(Call, bool)>; 3],

    cut: Option<u8>,
    crashes: u8,
    cuts: u8,
    refusals: u8,
    repeats: u8,

    /// The first decision that was durable.
    decided: [Option<Direction>; 2],
    /// What each application was told about the outcome first.
    told: [Option<Answer>; 2],
    acknowledged: u8,
    called: [(bool, bool); 2],
    /// What was done to each branch, as the resource knows it.
    done: [Option<bool>; 3],
    broken: Option<(u8, &'static str)>,
}

impl State {
    /// Nothing has happened.
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            memory: Tables::default(),
            durable: Tables::default(),
            queue: Queue::default(),
            outstanding: 0,
            waiting: 0,
            idle_after_restart: false,
            refused: false,
            apps: [Phase::Idle; 2],
            asked: 0,
            replies: [None; 2],
            legs: [Leg::Free; 3],
            calls: [None; 3],
            answers: [None; 3],
            cut: None,
            crashes: scenario.crashes,
            cuts: scenario.cuts,
            refusals: scenario.refusals,
            repeats: scenario.repeats,
            decided: [None; 2],
            told: [None; 2],
            acknowledged: 0,
            called: [(false, false); 2],
            done: [None; 3],
            broken: None,
        }
    }

    /// Every step that can be taken, with the state after it.
    pub(crate) fn steps(&self, scenario: &Scenario, bug: Bug, found: &mut Vec<(Step, State)>) {
        let mut run = Run {
            scenario,
            bug,
            found,
        };
        let busy = self.queue.records() >= scenario.queue;
        for app in 0..2 {
            run.application(self, app, busy);
        }
        for branch in 0..scenario.branches.len() as u8 {
            run.branch(self, branch, busy);
        }
        if !busy && bug != Bug::NoTimeout {
            for xid in 0..2 {
                if self.memory.status(xid) == Status::Begin {
                    run.push(self, Step::Timeout(xid));
                }
            }
        }
        if self.queue.records() > 0 {
            run.push(self, Step::Persist);
        }
        if self.crashes > 0 {
            run.push(self, Step::Crash);
        }
        match self.cut {
            Some(_) => run.push(self, Step::Heal),
            None if self.cuts > 0 => (0..4).for_each(|peer| run.push(self, Step::Cut(peer))),
            None => {}
        }
    }

    /// The first invariant that does not hold here.
    pub(crate) fn violation(&self, scenario: &Scenario) -> Option<(u8, String)> {
        for xid in 0..2 {
            let (first, now) = (self.decided[xid as usize], self.durable.status(xid));
            if first.is_some() && now != Status::Forgotten && now.direction() != first {
                return Some((1, format!("{first:?} became {now:?}")));
            }
        }
        if let Some((invariant, text)) = self.broken {
            return Some((invariant, text.to_owned()));
        }
        for (tables, which) in [(&self.memory, "memory"), (&self.durable, "stable storage")] {
            if let Some((invariant, text)) = tables.violation(scenario) {
                return Some((invariant, format!("{text} ({which})")));
            }
        }
        for branch in 0..scenario.branches.len() {
            let xid = scenario.branches[branch].xid;
            let counted = self.acknowledged & 1 << branch != 0;
            if counted && self.durable.status(xid).is_end() && self.done[branch].is_none() {
                return Some((
                    6,
                    format!("branch {branch} was acknowledged and never called"),
                ));
            }
        }
        None
    }

    /// Nothing is left to do.
    pub(crate) fn is_end(&self, scenario: &Scenario) -> bool {
        let apps = self
            .apps
            .iter()
            .all(|p| !matches!(p, Phase::Asking(_) | Phase::Beginning));
        let ended = |xid| {
            matches!(self.durable.status(xid), Status::Absent | Status::Forgotten)
                || self.durable.status(xid).is_end()
        };
        let used = scenario.owners.iter().flatten().all(|xid| ended(*xid));
        apps && used && self.queue.records() == 0 && self.durable.locks == 0
    }

    /// Something was decided, durably, and is not done.
    pub(crate) fn is_undone(&self) -> bool {
        (0..2).any(|xid| self.durable.status(xid).is_driven())
    }

    fn connected(&self, peer: u8) -> bool {
        self.cut != Some(peer)
    }

    fn knows_xid(&self, scenario: &Scenario, xid: u8) -> bool {
        let beginner = scenario.owners.iter().position(|owner| *owner == Some(xid));
        beginner.is_some_and(|app| {
            !matches!(self.apps[app], Phase::Idle | Phase::Beginning | Phase::Gone)
        })
    }
}

/// Collects the steps of one state.
struct Run<'a> {
    scenario: &'a Scenario,
    bug: Bug,
    found: &'a mut Vec<(Step, State)>,
}

impl Run<'_> {
    fn push(&mut self, from: &State, step: Step) {
        let mut state = from.clone();
        let mut turn = Turn {
            state: &mut state,
            scenario: self.scenario,
            bug: self.bug,
        };
        turn.take(step);
        if state != *from {
            self.found.push((step, state));
        }
    }

    fn application(&mut self, state: &State, app: u8, busy: bool) {
        let Some(xid) = self.scenario.owners[app as usize] else {
            return;
        };
        if state.replies[app as usize].is_some() {
            self.push(state, Step::Receive(app));
        }
        if state.waiting & 1 << app != 0 {
            self.push(state, Step::GiveUpWaiting(app));
        }
        if busy || !state.connected(app) {
            return;
        }
        let first = self.scenario.owners.iter().position(|o| *o == Some(xid)) == Some(app.into());
        let asked = state.asked & 1 << app != 0;
        match state.apps[app as usize] {
            Phase::Idle if first => self.push(state, Step::Begin(app)),
            Phase::Idle if !state.knows_xid(self.scenario, xid) => {}
            Phase::Idle | Phase::Active => {
                self.push(state, Step::Ask(app, Direction::Commit));
                self.push(state, Step::Ask(app, Direction::Rollback));
            }
            Phase::Asking(way) if !asked || state.repeats > 0 => {
                self.push(state, Step::Ask(app, way));
            }
            Phase::Told(way) if state.repeats > 0 => self.push(state, Step::Ask(app, way)),
            _ => {}
        }
    }

    fn branch(&mut self, state: &State, branch: u8, busy: bool) {
        let at = branch as usize;
        let place = self.scenario.branches[at];
        if state.calls[at].is_some() {
            self.push(state, Step::Serve(branch));
            if state.refusals > 0 {
                self.push(state, Step::Refuse(branch));
            }
        }
        let outstanding = state.outstanding & 1 << branch != 0;
        if outstanding && state.repeats > 0 {
            self.push(state, Step::GiveUpCall(branch));
        }
        if busy {
            return;
        }
        if state.answers[at].is_some() {
            self.push(
                state,
                Step::Answer {
                    branch,
                    again: false,
                },
            );
            if state.repeats > 0 {
                self.push(
                    state,
                    Step::Answer {
                        branch,
                        again: true,
                    },
                );
            }
        }
        let registrar = 2 + place.served.trailing_zeros() as u8;
        let known = state.knows_xid(self.scenario, place.xid);
        if state.legs[at] == Leg::Free && known && state.connected(registrar) {
            self.push(state, Step::Register(branch));
        }
        let status = state.memory.status(place.xid);
        let due = status.is_driven() && state.memory.is_live(branch) && !outstanding;
        if due && !state.idle_after_restart && self.is_next(state, branch) {
            for rm in (0..2).filter(|rm| place.served & 1 << rm != 0 && state.connected(2 + rm)) {
                self.push(state, Step::Call { branch, rm });
            }
        }
    }

    /// Rollback: the last registered of a resource goes first. Commit: any order.
    fn is_next(&self, state: &State, branch: u8) -> bool {
        let place = self.scenario.branches[branch as usize];
        if state.memory.status(place.xid).direction() == Some(Direction::Commit) {
            return true;
        }
        let order = |b: u8| state.memory.order(b);
        (0..self.scenario.branches.len() as u8)
            .filter(|other| *other != branch && state.memory.is_live(*other))
            .filter(|other| {
                let there = self.scenario.branches[*other as usize];
                (there.xid, there.resource) == (place.xid, place.resource)
            })
            .all(|other| (order(other) < order(branch)) != (self.bug == Bug::ForwardRollback))
    }
}

/// One step being taken.
struct Turn<'a> {
    state: &'a mut State,
    scenario: &'a Scenario,
    bug: Bug,
}

impl Turn<'_> {
    fn take(&mut self, step: Step) {
        match step {
            Step::Begin(app) => {
                let xid = self.owned(app);
                self.write(Write::Begin(xid));
                self.state.apps[app as usize] = Phase::Beginning;
                self.emit(Output::Reply(app, Answer::Begun));
            }
            Step::Receive(app) => self.receive(app),
            Step::Ask(app, way) => self.ask(app, way),
            Step::Register(branch) => self.register(branch),
            Step::Timeout(xid) => self.write(Write::Decide(xid, Direction::Timeout)),
            Step::Call { branch, rm } => {
                let status = self.state.memory.status(self.place(branch).xid);
                let wrong = self.bug == Bug::RetryAsRollback && self.state.refused;
                let forward = status.direction() == Some(Direction::Commit) && !wrong;
                self.state.outstanding |= 1 << branch;
                self.emit(Output::Call {
                    branch,
                    forward,
                    rm,
                });
            }
            Step::Serve(branch) => self.serve(branch),
            Step::Refuse(branch) => {
                let call = self.state.calls[branch as usize]
                    .take()
                    .expect("a call is there");
                self.state.refusals -= 1;
                self.state.answers[branch as usize] = Some((call, false));
            }
            Step::Answer { branch, again } => self.answer(branch, again),
            Step::GiveUpCall(branch) => {
                self.state.repeats -= 1;
                self.state.outstanding &= !(1 << branch);
            }
            Step::GiveUpWaiting(app) => {
                self.state.waiting &= !(1 << app);
                self.tell_status(app);
            }
            Step::Persist => self.persist(),
            Step::Crash => self.crash(),
            Step::Cut(peer) => self.cut(peer),
            Step::Heal => self.state.cut = None,
        }
    }

    fn receive(&mut self, app: u8) {
        let answer = self.state.replies[app as usize]
            .take()
            .expect("a reply is there");
        self.state.asked &= !(1 << app);
        let phase = &mut self.state.apps[app as usize];
        *phase = match (*phase, answer) {
            (Phase::Beginning, Answer::Begun) => Phase::Active,
            (Phase::Asking(way), _) => Phase::Told(way),
            (phase, _) => phase,
        };
    }

    fn ask(&mut self, app: u8, way: Direction) {
        let asked = self.state.asked & 1 << app != 0;
        if asked || matches!(self.state.apps[app as usize], Phase::Told(_)) {
            self.state.repeats -= 1;
        }
        if !matches!(self.state.apps[app as usize], Phase::Told(_)) {
            self.state.apps[app as usize] = Phase::Asking(way);
        }
        self.state.asked |= 1 << app;
        let xid = self.owned(app);
        let status = self.state.memory.status(xid);
        let blind = self.bug == Bug::DecideWithoutCompare
            && way.forward()
            && status == Status::TimeoutRollbacking;
        if status != Status::Begin && !blind {
            if self.bug == Bug::TimeoutToldAsCommit && way.forward() {
                return self.emit(Output::Reply(app, Answer::Committed));
            }
            return self.tell_status(app);
        }
        if way.forward() && self.bug == Bug::ReleaseBeforeDecision {
            self.write(Write::Release(xid));
        }
        self.write(Write::Decide(xid, way));
        let all_at = (0..self.scenario.branches.len() as u8)
            .filter(|b| self.place(*b).xid == xid && self.state.memory.is_live(*b))
            .all(|b| self.place(b).at);
        if self.state.memory.status(xid).is_end() || (way.forward() && all_at) {
            self.tell_status(app);
        } else {
            self.state.waiting |= 1 << app;
        }
    }

    fn register(&mut self, branch: u8) {
        let place = self.place(branch);
        self.state.legs[branch as usize] = Leg::Asked;
        let status = self.state.memory.status(place.xid);
        let open = status == Status::Begin
            || (self.bug == Bug::RegisterAfterDecision && status.is_driven());
        let free = self.bug == Bug::LockWithoutCheck
            || (0..self.scenario.branches.len() as u8)
                .filter(|other| self.state.memory.locks & 1 << other != 0)
                .all(|other| {
                    let there = self.place(other);
                    there.xid == place.xid || there.resource != place.resource
                });
        if open && (free || !place.at) {
            if status.direction().is_some() {
                self.break_rule(6, "a branch was registered after the decision");
            }
            self.write(Write::Register(branch, place));
            self.emit(Output::Registered(branch));
        } else {
            self.state.legs[branch as usize] = Leg::Answered;
        }
    }

    fn serve(&mut self, branch: u8) {
        let call = self.state.calls[branch as usize]
            .take()
            .expect("a call is there");
        let place = self.place(branch);
        if !call.forward {
            let order = |b: u8| self.state.durable.order(b);
            let later = (0..self.scenario.branches.len() as u8).any(|other| {
                let there = self.place(other);
                other != branch
                    && (there.xid, there.resource) == (place.xid, place.resource)
                    && order(other) > order(branch)
                    && self.state.done[other as usize].is_none()
            });
            if later {
                self.break_rule(16, "a branch was rolled back before a later one");
            }
        }
        self.state.done[branch as usize] = Some(call.forward);
        self.state.answers[branch as usize] = Some((call, true));
    }

    fn answer(&mut self, branch: u8, again: bool) {
        let (call, done) = self.state.answers[branch as usize].expect("an answer is there");
        if again {
            self.state.repeats -= 1;
        } else {
            self.state.answers[branch as usize] = None;
        }
        if self.state.outstanding & 1 << branch == 0 {
            return;
        }
        self.state.outstanding &= !(1 << branch);
        let xid = self.place(branch).xid;
        if done {
            self.write(Write::EndBranch(branch, self.place(branch)));
            if self.bug == Bug::NoTombstone && self.state.memory.status(xid).is_end() {
                self.write(Write::Forget(xid));
            }
        } else {
            self.state.refused = call.forward;
        }
        if !done || !self.state.memory.status(xid).is_driven() {
            for app in 0..2 {
                if self.scenario.owners[app as usize] == Some(xid)
                    && self.state.waiting & 1 << app != 0
                {
                    self.state.waiting &= !(1 << app);
                    self.tell_decided(app);
                }
            }
        }
    }

    fn persist(&mut self) {
        let write = self.state.queue.pop_record();
        self.state.durable.apply(write, self.bug);
        for xid in 0..2 {
            if self.state.decided[xid].is_none() {
                self.state.decided[xid] = self.state.durable.status(xid as u8).direction();
            }
        }
        while let Some(output) = self.state.queue.pop_ripe() {
            self.release(output);
        }
    }

    fn crash(&mut self) {
        let state = &mut *self.state;
        state.crashes -= 1;
        state.memory = state.durable.clone();
        state.queue = Queue::default();
        (state.outstanding, state.waiting, state.asked) = (0, 0, 0);
        (state.replies, state.calls, state.answers) = ([None; 2], [None; 3], [None; 3]);
        state.idle_after_restart = self.bug == Bug::NoDriveAfterRestart;
        for phase in &mut state.apps {
            if *phase == Phase::Beginning {
                *phase = Phase::Gone;
            }
        }
        for leg in &mut state.legs {
            if *leg == Leg::Asked {
                *leg = Leg::Lost;
            }
        }
    }

    fn cut(&mut self, peer: u8) {
        let scenario = self.scenario;
        let state = &mut *self.state;
        state.cuts -= 1;
        state.cut = Some(peer);
        if peer < 2 {
            let app = peer as usize;
            state
                .queue
                .drop_outputs(|o| matches!(o, Output::Reply(to, _) if *to == peer));
            state.replies[app] = None;
            state.asked &= !(1 << peer);
            state.waiting &= !(1 << peer);
            if state.apps[app] == Phase::Beginning {
                state.apps[app] = Phase::Gone;
            }
            return;
        }
        let rm = peer - 2;
        let registrar = |b: u8| scenario.branches[b as usize].served.trailing_zeros() as u8;
        state.queue.drop_outputs(|o| match o {
            Output::Call { rm: to, .. } => *to == rm,
            Output::Registered(branch) => registrar(*branch) == rm,
            Output::Reply(..) => false,
        });
        for branch in 0..scenario.branches.len() {
            state.calls[branch] = state.calls[branch].filter(|call| call.rm != rm);
            state.answers[branch] = state.answers[branch].filter(|(call, _)| call.rm != rm);
            if state.legs[branch] == Leg::Asked && registrar(branch as u8) == rm {
                state.legs[branch] = Leg::Lost;
            }
            let queued = state
                .queue
                .has(|o| matches!(o, Output::Call { branch: b, .. } if usize::from(*b) == branch));
            if state.calls[branch].is_none() && state.answers[branch].is_none() && !queued {
                state.outstanding &= !(1 << branch);
            }
        }
    }

    fn tell_status(&mut self, app: u8) {
        let status = self.state.memory.status(self.owned(app));
        self.emit(Output::Reply(app, status.answer()));
    }

    /// The reply to who decided; its words were known before the tombstone was written.
    fn tell_decided(&mut self, app: u8) {
        match self.state.memory.status(self.owned(app)) {
            Status::Forgotten => {
                let answer = match self.state.apps[app as usize] {
                    Phase::Asking(Direction::Commit) => Answer::Committed,
                    _ => Answer::RolledBack,
                };
                self.emit(Output::Reply(app, answer));
            }
            _ => self.tell_status(app),
        }
    }

    fn write(&mut self, write: Write) {
        self.state.memory.apply(write, self.bug);
        self.state.queue.push_record(write);
    }

    fn emit(&mut self, output: Output) {
        if self.state.queue.records() == 0 || self.bug == Bug::ReplyBeforeSync {
            self.release(output);
        } else {
            self.state.queue.push_output(output);
        }
    }

    fn release(&mut self, output: Output) {
        match output {
            Output::Reply(app, answer) if self.state.connected(app) => {
                if answer != Answer::Begun {
                    self.judge_reply(app, answer);
                }
                self.state.replies[app as usize] = Some(answer);
            }
            Output::Reply(..) => {}
            Output::Registered(branch) => {
                self.state.legs[branch as usize] = Leg::Answered;
                self.state.acknowledged |= 1 << branch;
            }
            Output::Call {
                branch,
                forward,
                rm,
            } => {
                self.judge_call(self.place(branch).xid, forward);
                self.state.calls[branch as usize] = Some(Call { forward, rm });
            }
        }
    }

    fn judge_reply(&mut self, app: u8, answer: Answer) {
        let xid = self.owned(app);
        let durable = self.state.decided[xid as usize];
        match (answer, durable) {
            (Answer::Committed, Some(Direction::Timeout)) => {
                self.break_rule(5, "told committed, the timeout had won");
            }
            (Answer::Committed, way) if way != Some(Direction::Commit) => {
                self.break_rule(2, "told committed before that was durable");
            }
            (Answer::RolledBack | Answer::TimedOut, None | Some(Direction::Commit)) => {
                self.break_rule(2, "told rolled back before that was durable");
            }
            _ => {}
        }
        let rolled = |a: Answer| matches!(a, Answer::RolledBack | Answer::TimedOut);
        match self.state.told[app as usize] {
            Some(before) if before != answer && !(rolled(before) && rolled(answer)) => {
                self.break_rule(15, "told something else than before");
            }
            _ => self.state.told[app as usize] = Some(answer),
        }
    }

    fn judge_call(&mut self, xid: u8, forward: bool) {
        let durable = self.state.durable.status(xid).direction();
        let called = &mut self.state.called[xid as usize];
        *(if forward {
            &mut called.0
        } else {
            &mut called.1
        }) = true;
        if *called == (true, true) {
            return self.break_rule(3, "one transaction was called in both directions");
        }
        let committed = (0..2).any(|app| {
            self.scenario.owners[app] == Some(xid)
                && self.state.told[app] == Some(Answer::Committed)
        });
        if !forward && committed {
            return self.break_rule(4, "rolled back after the application was told committed");
        }
        if durable.map(Direction::forward) != Some(forward) {
            self.break_rule(2, "a branch was called before the decision was durable");
        }
    }

    fn break_rule(&mut self, invariant: u8, text: &'static str) {
        self.state.broken.get_or_insert((invariant, text));
    }

    fn owned(&self, app: u8) -> u8 {
        self.scenario.owners[app as usize].expect("the application has a transaction")
    }

    fn place(&self, branch: u8) -> Place {
        self.scenario.branches[branch as usize]
    }
}
