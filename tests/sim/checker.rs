//! Who watches: knows what was sent and received at the coordinator's sockets and what is durable, nothing else, and
//! says which invariant of proof.md is broken.
//!
//! | invariant | how it is seen |
//! |---|---|
//! | 1, 2 | every answer and every phase-two call that names a decision is compared with the shadow at the moment it is sent, and with what a new process recovers |
//! | 3, 4, 5 | calls and answers of one xid are compared with all before them |
//! | 6 | each branch that was answered with success is called before its transaction is over |
//! | 8, 10 | a row granted while another transaction holds it; rows of the store's content counted again |
//! | 11 | locks in the store are those of its live branches |
//! | 15 | repeated questions get answers of the same kind |
//! | 16 | a rollback call while a later branch of the resource is not rolled back |
//! | 17 | phase two on a connection that did not register the resource, or of another application |
//! | 21 | recovery is a prefix with everything durable ([`Shadow::recover`]) |
//! | 23 | nothing becomes durable in a process after a failed sync |
//! | 24 | no id is given out twice |
//! | 27 | an answer for which there is no question on that connection |

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use seamio::proto::codec::Rpc;
use seamio::proto::message::{BranchEnd, BranchEndResponse, BranchRegister, Message, TxResult};
use seamio::proto::status::{BranchStatus, BranchType, GlobalStatus};
use seamio::proto::version::PeerVersion;
use seamio::tc::store::{Completion, End, Operation, Outcome, Seq, Store};
use seamio::xid::Xid;

use crate::counts::Counts;
use crate::env::{Micros, SECOND};
use crate::shadow::{Shadow, Standing, Way, contents, standing};

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Its number in proof.md.
    pub(crate) invariant: u8,
    /// What was seen.
    pub(crate) text: String,
}

/// The checker.
pub(crate) struct Checker {
    /// Now; kept by the world.
    pub(crate) now: Micros,
    /// The first broken invariant.
    pub(crate) violation: Option<Violation>,
    pub(crate) shadow: Shadow,
    channels: BTreeMap<u64, Channel>,
    stories: BTreeMap<Xid, Story>,
    /// Counts everything that arrives or leaves, so that "before" has a meaning.
    clock: u64,
    ids: BTreeSet<i64>,
    /// Branches in the order in which the store registered them.
    places: BTreeMap<i64, usize>,
    sync_failed: Option<Seq>,
    /// When a client was last connected, by application, address and port.
    left: BTreeMap<String, Micros>,
    pub(crate) counts: Counts,
}

#[derive(Default)]
struct Channel {
    address: Option<SocketAddr>,
    /// The coordinator it leads to.
    server: usize,
    version: PeerVersion,
    application: String,
    is_rm: bool,
    resources: BTreeSet<String>,
    /// Requests without an answer, by the id that is waited on, with the moment they arrived.
    asked: BTreeMap<i32, (Vec<Message>, Vec<i32>, u64)>,
}

#[derive(Default)]
struct Story {
    way: Option<Way>,
    told_commit: bool,
    /// When a decision was first told or a branch first called.
    decided_at: Option<u64>,
    called: [u32; 2],
    told_end: bool,
    legs: BTreeMap<i64, Leg>,
    /// What happened to branches whose registration has not been answered: calls, and whether they are done.
    early: BTreeMap<i64, ([u32; 2], bool)>,
}

struct Leg {
    resource: String,
    kind: BranchType,
    rows: Vec<String>,
    application: String,
    address: SocketAddr,
    /// The coordinator that registered it.
    server: usize,
    /// Reported as failed or read only: may be skipped.
    skip: bool,
    calls: [u32; 2],
    /// Its final answer reached the coordinator.
    done: bool,
}

impl Checker {
    /// Nothing has happened.
    pub(crate) fn new() -> Self {
        Self {
            now: 0,
            violation: None,
            shadow: Shadow::new(),
            channels: BTreeMap::new(),
            stories: BTreeMap::new(),
            clock: 0,
            ids: BTreeSet::new(),
            places: BTreeMap::new(),
            sync_failed: None,
            left: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    /// Notes a broken invariant; the first one counts.
    pub(crate) fn broken(&mut self, invariant: u8, text: impl Into<String>) {
        let text = text.into();
        self.violation.get_or_insert(Violation { invariant, text });
    }

    // --- the store

    /// The store carried out an operation.
    pub(crate) fn carried_out(&mut self, operation: Operation, completion: Completion) {
        if let (Operation::Register(new), Outcome::Done) = (&operation, &completion.outcome) {
            let place = self.places.len();
            self.places.insert(new.branch_id.0, place);
        }
        self.shadow.carried_out(operation, completion);
    }

    /// The store says how far it is durable.
    pub(crate) fn durable(&mut self, durable: Seq) {
        if self.sync_failed.is_some_and(|at| durable > at) {
            self.broken(23, "something became durable after a failed sync");
        }
        if let Err(text) = self.shadow.durable(durable) {
            self.broken(22, text);
        }
    }

    /// A sync failed in the process whose store is durable up to here.
    pub(crate) fn sync_failed(&mut self, durable: Seq) {
        self.sync_failed.get_or_insert(durable);
    }

    /// A new process opened the store.
    pub(crate) fn recovered(&mut self, store: &mut dyn Store) {
        self.counts.recoveries += 1;
        self.sync_failed = None;
        self.channels.clear();
        if let Err(text) = self.shadow.recover(store) {
            self.broken(21, text);
        }
        let mut found = Vec::new();
        for (xid, story) in &self.stories {
            let now = standing(store, xid);
            if story.way.is_some() && now.way() != story.way {
                found.push((
                    2,
                    format!("{xid}: {:?} was told, {now:?} recovered", story.way),
                ));
            }
            if story.way.is_none() && now == Standing::Unknown && !story.told_end {
                found.push((21, format!("{xid}: told as begun, unknown after recovery")));
            }
        }
        found
            .into_iter()
            .for_each(|(invariant, text)| self.broken(invariant, text));
        self.audit(store);
    }

    /// Counts the locks of a store again (invariants 8, 10, 11).
    pub(crate) fn audit(&mut self, store: &dyn Store) {
        let mut rows: BTreeMap<String, Xid> = BTreeMap::new();
        for global in contents(store) {
            let holds = match Way::of(global.status) {
                Some(way) => !way.is_commit(),
                None => true,
            };
            for branch in global
                .branches
                .iter()
                .filter(|b| holds && b.branch_type == BranchType::At)
            {
                for row in rows_of(&branch.resource_id, &branch.lock_key) {
                    let earlier = rows.insert(row.clone(), global.xid.clone());
                    if let Some(other) = earlier.filter(|other| *other != global.xid) {
                        self.broken(8, format!("{row} is held by {other} and {}", global.xid));
                    }
                }
            }
        }
        let locks = store.stats().locks;
        if locks > rows.len() {
            self.broken(
                11,
                format!("{locks} rows are locked, {} are needed", rows.len()),
            );
        }
        if locks < rows.len() {
            self.broken(
                10,
                format!("{locks} rows are locked, {} are needed", rows.len()),
            );
        }
    }

    // --- the sockets

    /// The coordinator accepted a connection.
    pub(crate) fn opened(&mut self, conn: u64, address: SocketAddr) {
        self.opened_at(0, conn, address);
    }

    /// As [`Checker::opened`], at one of several coordinators.
    pub(crate) fn opened_at(&mut self, server: usize, conn: u64, address: SocketAddr) {
        let channel = Channel {
            address: Some(address),
            server,
            ..Channel::default()
        };
        self.channels.insert(conn, channel);
    }

    /// The coordinator learned that a connection is gone.
    pub(crate) fn closed(&mut self, conn: u64) {
        let Some(channel) = self.channels.remove(&conn) else {
            return;
        };
        if let Some(address) = channel.address {
            let client = format!("{}:{address}", channel.application);
            self.left.insert(client, self.now);
        }
    }

    /// A message reached the coordinator.
    pub(crate) fn arrived(&mut self, conn: u64, rpc: &Rpc) {
        self.clock += 1;
        let clock = self.clock;
        self.note_reports(&rpc.message);
        let Some(channel) = self.channels.get_mut(&conn) else {
            return;
        };
        let mut ask = |id, messages, ids| channel.asked.insert(id, (messages, ids, clock));
        match &rpc.message {
            Message::HeartbeatPing | Message::HeartbeatPong => {}
            Message::BranchCommitResponse(answer) => self.answered(answer, 0),
            Message::BranchRollbackResponse(answer) => self.answered(answer, 1),
            Message::MergedWarp(warp) => {
                ask(rpc.id, warp.messages.clone(), warp.ids.clone());
                for (id, message) in warp.ids.iter().zip(&warp.messages) {
                    ask(*id, vec![message.clone()], Vec::new());
                }
            }
            message => {
                ask(rpc.id, vec![message.clone()], Vec::new());
                if let Message::RegisterTm(tm) = message {
                    channel.version = PeerVersion::parse(&tm.version);
                    channel.application = tm.application_id.to_string();
                }
                if let Message::RegisterRm(rm) = message {
                    channel.version = PeerVersion::parse(&rm.version);
                    channel.application = rm.application_id.to_string();
                    channel.is_rm = true;
                    let named = rm.resource_ids.split(',').filter(|r| !r.is_empty());
                    channel.resources.extend(named.map(str::to_owned));
                }
            }
        }
    }

    /// A branch that may have been reported as failed need not be called: the report counts from its arrival on, since
    /// its answer can be lost.
    fn note_reports(&mut self, message: &Message) {
        match message {
            Message::MergedWarp(warp) => warp.messages.iter().for_each(|m| self.note_reports(m)),
            Message::BranchReport(report) => {
                let skips = matches!(
                    report.status,
                    BranchStatus::PhaseOneFailed
                        | BranchStatus::PhaseOneRdonly
                        | BranchStatus::PhaseOnePrepareFailed
                );
                let leg = Xid::parse(&report.xid)
                    .and_then(|xid| self.stories.get_mut(&xid))
                    .and_then(|story| story.legs.get_mut(&report.branch_id));
                if let Some(leg) = leg.filter(|_| skips) {
                    leg.skip = true;
                }
            }
            _ => {}
        }
    }

    /// A message leaves the coordinator.
    pub(crate) fn sent(&mut self, conn: u64, rpc: &Rpc) {
        self.clock += 1;
        match &rpc.message {
            Message::HeartbeatPong | Message::UndoLogDelete(_) => return,
            Message::BranchCommit(call) => return self.called(conn, call, Way::Commit),
            Message::BranchRollback(call) => return self.called(conn, call, Way::Rollback),
            _ => {}
        }
        let Some(channel) = self.channels.get_mut(&conn) else {
            return;
        };
        let version = channel.version;
        let pairs = match &rpc.message {
            Message::MergeResult(result) => {
                let Some((asked, ids, at)) = channel.asked.remove(&rpc.id) else {
                    return self.broken(27, format!("a merged answer {} to no request", rpc.id));
                };
                ids.iter().for_each(|id| _ = channel.asked.remove(id));
                if asked.len() != result.messages.len() {
                    let text = format!(
                        "{} answers to {} requests",
                        result.messages.len(),
                        asked.len()
                    );
                    return self.broken(27, text);
                }
                asked
                    .into_iter()
                    .zip(result.messages.clone())
                    .map(|(q, a)| (q, a, at))
                    .collect()
            }
            Message::BatchResult(result) => {
                let answers = result.ids.iter().zip(&result.messages);
                let pairs = answers.map(|(id, answer)| {
                    let asked = channel.asked.remove(id)?;
                    Some((asked.0.into_iter().next()?, answer.clone(), asked.2))
                });
                match pairs.collect::<Option<Vec<_>>>() {
                    Some(pairs) => pairs,
                    None => return self.broken(27, "a batch answers something not asked"),
                }
            }
            answer => match channel.asked.remove(&rpc.id) {
                Some((asked, _, at)) if asked.len() == 1 => {
                    vec![(asked[0].clone(), answer.clone(), at)]
                }
                _ => return self.broken(27, format!("{answer:?} answers no request ({})", rpc.id)),
            },
        };
        for (question, answer, at) in pairs {
            self.told(conn, version, &question, &answer, at);
        }
    }

    /// The end of the run: everything must be over.
    pub(crate) fn finish(&mut self, store: &dyn Store, failures_allowed: bool) {
        self.audit(store);
        for global in contents(store) {
            use GlobalStatus as S;
            let failed = matches!(
                global.status,
                S::CommitFailed | S::RollbackFailed | S::TimeoutRollbackFailed
            );
            if !failures_allowed || !failed {
                let names: Vec<_> = global
                    .branches
                    .iter()
                    .map(|b| (b.branch_id.0, b.status))
                    .collect();
                self.broken(
                    20,
                    format!("{} is still {} with {names:?}", global.xid, global.status),
                );
            }
        }
        let mut found = Vec::new();
        for (xid, story) in &self.stories {
            let Some(way) = self.shadow.standing(xid).way().or(story.way) else {
                continue;
            };
            for (branch, leg) in &story.legs {
                let called = leg.calls[usize::from(!way.is_commit())];
                if called == 0 && !leg.skip && !failures_allowed {
                    found.push(format!(
                        "{xid} is over ({way:?}), its branch {branch} was never called"
                    ));
                }
            }
        }
        found.into_iter().for_each(|text| self.broken(6, text));
    }

    fn answered(&mut self, answer: &BranchEndResponse, way: usize) {
        let done = match answer.branch_status {
            BranchStatus::PhaseTwoCommitted => way == 0,
            BranchStatus::PhaseTwoRollbacked => way == 1,
            // Counts as done after a grace time that the checker does not repeat.
            BranchStatus::PhaseTwoRollbackFailedXaerNotaRetryable => true,
            _ => false,
        };
        let story = Xid::parse(&answer.xid).and_then(|xid| self.stories.get_mut(&xid));
        let Some(story) = story.filter(|_| done) else {
            return;
        };
        match story.legs.get_mut(&answer.branch_id) {
            Some(leg) => leg.done = true,
            None => story.early.entry(answer.branch_id).or_default().1 = true,
        }
    }

    fn called(&mut self, conn: u64, call: &BranchEnd, way: Way) {
        self.counts.calls += 1;
        let Some(xid) = Xid::parse(&call.xid) else {
            return;
        };
        let durable = self.shadow.standing(&xid).way();
        if durable.map(Way::is_commit) != Some(way.is_commit()) {
            return self.broken(
                2,
                format!("{xid}: called to {way:?} while {durable:?} is durable"),
            );
        }
        let clock = self.clock;
        let story = self.stories.entry(xid.clone()).or_default();
        let at = usize::from(!way.is_commit());
        story.called[at] += 1;
        story.decided_at.get_or_insert(clock);
        if story.called[1 - at] > 0 {
            return self.broken(3, format!("{xid}: called in both directions"));
        }
        if at == 1 && story.told_commit {
            return self.broken(4, format!("{xid}: rolled back after it was told committed"));
        }
        if story.way.is_some_and(|before| Some(before) != durable) {
            let text = format!("{xid}: {:?} became {durable:?}", story.way);
            return self.broken(1, text);
        }
        story.way = durable;
        match story.legs.get_mut(&call.branch_id) {
            Some(leg) => leg.calls[at] += 1,
            None => story.early.entry(call.branch_id).or_default().0[at] += 1,
        }
        if at == 1 {
            self.rolled_back_in_order(&xid, call);
        }
        self.right_channel(conn, &xid, call);
    }

    fn rolled_back_in_order(&mut self, xid: &Xid, call: &BranchEnd) {
        let Some(story) = self.stories.get(xid) else {
            return;
        };
        let place = self.places.get(&call.branch_id);
        let later = story.legs.iter().find(|(id, leg)| {
            self.places.get(id) > place
                && leg.resource == *call.resource_id
                && !leg.done
                && !leg.skip
        });
        if let Some((later, _)) = later {
            let text = format!(
                "{xid}: {} rolled back before the later {later}",
                call.branch_id
            );
            self.broken(16, text);
        }
    }

    fn right_channel(&mut self, conn: u64, xid: &Xid, call: &BranchEnd) {
        let Some(channel) = self.channels.get(&conn) else {
            return;
        };
        if !channel.is_rm || !channel.resources.contains(call.resource_id.as_str()) {
            let text = format!(
                "{xid}: {} called on {conn}, which does not serve it",
                call.branch_id
            );
            return self.broken(17, text);
        }
        let leg = self
            .stories
            .get(xid)
            .and_then(|story| story.legs.get(&call.branch_id));
        let Some(leg) = leg.filter(|leg| leg.kind != BranchType::At) else {
            return;
        };
        if leg.application != channel.application {
            let text = format!(
                "{xid}: {} called at application {}",
                call.branch_id, channel.application
            );
            return self.broken(17, text);
        }
        let ip = channel.address.map(|a| a.ip());
        // A coordinator knows of its own connections only.
        let seen = leg.server == channel.server;
        if leg.kind == BranchType::Xa && seen && ip != Some(leg.address.ip()) {
            let gone = self
                .left
                .get(&format!("{}:{}", leg.application, leg.address));
            if gone.is_some_and(|at| self.now < at + 10 * SECOND) {
                self.broken(
                    17,
                    format!("{xid}: XA branch {} taken over too early", call.branch_id),
                );
            }
        }
    }

    fn told(
        &mut self,
        conn: u64,
        version: PeerVersion,
        question: &Message,
        answer: &Message,
        at: u64,
    ) {
        match (question, answer) {
            (Message::RegisterTm(_), Message::RegisterTmResponse(_))
            | (Message::RegisterRm(_), Message::RegisterRmResponse(_))
            | (Message::BranchReport(_), Message::BranchReportResponse(_))
            | (Message::GlobalLockQuery(_), Message::GlobalLockQueryResponse(_)) => {}
            (Message::GlobalBegin(_), Message::GlobalBeginResponse(begun)) => {
                if begun.result == TxResult::Success {
                    self.begun(&begun.xid);
                }
            }
            (Message::BranchRegister(asked), Message::BranchRegisterResponse(told)) => {
                match &told.result {
                    TxResult::Success => self.registered(conn, asked, told.branch_id, at),
                    TxResult::Failed { .. } => self.counts.conflicts += 1,
                }
            }
            (Message::GlobalCommit(asked), Message::GlobalCommitResponse(told)) => {
                self.told_commit(version, &asked.xid, told.global_status);
            }
            (Message::GlobalRollback(asked), Message::GlobalRollbackResponse(told)) => {
                self.told_rollback(&asked.xid, told.global_status);
            }
            // The store could not be asked: that is no status.
            (Message::GlobalStatus(_), Message::GlobalStatusResponse(told))
                if told.result != TxResult::Success => {}
            (Message::GlobalStatus(asked), Message::GlobalStatusResponse(told)) => {
                self.told_status(&asked.xid, told.global_status, at);
            }
            _ => self.broken(27, format!("{question:?} was answered {answer:?}")),
        }
    }

    fn begun(&mut self, xid: &str) {
        self.counts.begun += 1;
        match Xid::parse(&xid.into()) {
            Some(xid) => {
                if !self.ids.insert(xid.transaction_id()) {
                    self.broken(24, format!("{xid} was given out twice"));
                }
                if self.shadow.standing(&xid) == Standing::Unknown {
                    self.broken(2, format!("{xid} was told before it was durable"));
                }
                self.stories.entry(xid).or_default();
            }
            None => self.broken(24, format!("{xid} is no xid")),
        }
    }

    fn registered(&mut self, conn: u64, asked: &BranchRegister, branch: i64, at: u64) {
        self.counts.registered += 1;
        let Some(xid) = Xid::parse(&asked.xid) else {
            return self.broken(6, "a branch was registered for something that is no xid");
        };
        let Some(channel) = self.channels.get(&conn) else {
            return;
        };
        let leg = Leg {
            resource: asked.resource_id.to_string(),
            kind: asked.branch_type,
            rows: match asked.branch_type {
                BranchType::At => rows_of(&asked.resource_id, &asked.lock_key).collect(),
                _ => Vec::new(),
            },
            application: channel.application.clone(),
            address: channel.address.expect("set when it opened"),
            server: channel.server,
            skip: false,
            calls: [0; 2],
            done: false,
        };
        if !self.ids.insert(branch) {
            return self.broken(24, format!("branch id {branch} was given out twice"));
        }
        // An answer that comes late tells what was so.
        let kept = self.shadow.global(&xid);
        if kept.is_some_and(|g| g.branches.iter().any(|b| b.branch_id.0 == branch)) {
            self.rows_are_free(&xid, &leg.rows);
        }
        let story = self.stories.entry(xid.clone()).or_default();
        let (calls, done) = story.early.remove(&branch).unwrap_or_default();
        let leg = Leg { calls, done, ..leg };
        let late = story.decided_at.is_some_and(|decided| decided < at);
        story.legs.insert(branch, leg);
        if late {
            self.broken(
                6,
                format!("{xid}: branch {branch} was registered after the decision"),
            );
        }
        let durable = self.shadow.standing(&xid);
        if durable == Standing::Unknown {
            self.broken(
                2,
                format!("{xid}: branch {branch} was told before it was durable"),
            );
        }
    }

    /// A row was granted: whoever was granted it before must have lost it in a way that is durable.
    fn rows_are_free(&mut self, xid: &Xid, rows: &[String]) {
        let mut found = None;
        for (other, story) in self.stories.iter().filter(|(other, _)| *other != xid) {
            for (branch, leg) in &story.legs {
                let Some(row) = leg.rows.iter().find(|row| rows.contains(row)) else {
                    continue;
                };
                let standing = self.shadow.standing(other);
                let live = matches!(standing, Standing::Live(_));
                if !live || standing.way().is_some_and(Way::is_commit) {
                    continue;
                }
                let global = self.shadow.global(other);
                if global.is_some_and(|g| g.branches.iter().any(|b| b.branch_id.0 == *branch)) {
                    found = Some(format!(
                        "{row} was granted to {xid} while {other} ({branch}) holds it"
                    ));
                }
            }
        }
        if let Some(text) = found {
            self.broken(8, text);
        }
    }

    fn told_commit(&mut self, version: PeerVersion, xid: &str, status: GlobalStatus) {
        let Some(parsed) = Xid::parse(&xid.into()) else {
            return;
        };
        let durable = self.shadow.standing(&parsed);
        let told = match (Way::of(status), status) {
            (Some(way), _) => way,
            (None, GlobalStatus::Finished) => {
                let ended = match durable {
                    Standing::Unknown | Standing::Ended(End::RolledBack | End::Finished) => true,
                    Standing::Ended(_) => !version.at_least(1, 7),
                    Standing::Live(_) => false,
                };
                if !ended {
                    self.broken(15, format!("{xid}: commit told Finished while {durable:?}"));
                }
                return;
            }
            // A client takes Begin and UnKnown for success.
            _ => return self.broken(4, format!("{xid}: commit answered {status}")),
        };
        let clock = self.clock;
        let story = self.stories.entry(parsed).or_default();
        story.decided_at.get_or_insert(clock);
        match told.is_commit() {
            true => {
                story.told_commit = true;
                self.counts.told_commit += 1;
                match durable.way() {
                    Some(Way::Commit) => {}
                    Some(Way::Timeout) => {
                        return self
                            .broken(5, format!("{xid}: told {status}, the timeout had won"));
                    }
                    _ => return self.broken(2, format!("{xid}: told {status} while {durable:?}")),
                }
            }
            false => {
                // To clients that read it, any rollback is told as one by timeout.
                if durable.way().is_none_or(Way::is_commit) {
                    return self.broken(2, format!("{xid}: told {status} while {durable:?}"));
                }
            }
        }
        self.settled(xid, durable);
    }

    fn told_rollback(&mut self, xid: &str, status: GlobalStatus) {
        let Some(parsed) = Xid::parse(&xid.into()) else {
            return;
        };
        let durable = self.shadow.standing(&parsed);
        if status == GlobalStatus::Finished {
            if durable != Standing::Unknown {
                self.broken(
                    15,
                    format!("{xid}: rollback told Finished while {durable:?}"),
                );
            }
            return;
        }
        self.counts.told_rollback += 1;
        let clock = self.clock;
        self.stories
            .entry(parsed)
            .or_default()
            .decided_at
            .get_or_insert(clock);
        if durable.way() != Way::of(status) {
            return self.broken(2, format!("{xid}: told {status} while {durable:?}"));
        }
        self.settled(xid, durable);
    }

    fn told_status(&mut self, xid: &str, status: GlobalStatus, at: u64) {
        let Some(parsed) = Xid::parse(&xid.into()) else {
            return;
        };
        let durable = self.shadow.standing(&parsed);
        let Some(story) = self.stories.get_mut(&parsed) else {
            return;
        };
        match status {
            GlobalStatus::Begin if story.decided_at.is_some_and(|decided| decided < at) => {
                self.broken(15, format!("{xid}: told Begin after its decision was told"));
            }
            GlobalStatus::Begin => {}
            GlobalStatus::Finished => {
                story.told_end = true;
                if matches!(durable, Standing::Live(_)) {
                    self.broken(2, format!("{xid}: told Finished while {durable:?}"));
                }
            }
            status if durable.way() != Way::of(status) => {
                self.broken(2, format!("{xid}: told {status} while {durable:?}"));
            }
            _ => self.settled(xid, durable),
        }
    }

    /// What was told once stays so.
    fn settled(&mut self, xid: &str, durable: Standing) {
        let Some(story) = Xid::parse(&xid.into()).and_then(|xid| self.stories.get_mut(&xid)) else {
            return;
        };
        let before = story.way;
        if before.is_some() && before != durable.way() {
            return self.broken(1, format!("{xid}: {before:?} became {durable:?}"));
        }
        story.way = durable.way();
        if story.told_commit && durable.way() != Some(Way::Commit) {
            self.broken(15, format!("{xid}: told committed, then {durable:?}"));
        }
    }
}

/// The rows of a lock key as the simulation writes it: `table:pk,pk;table:pk`.
fn rows_of(resource: &str, key: &str) -> impl Iterator<Item = String> {
    let resource = resource.to_owned();
    let groups: Vec<_> = key
        .split(';')
        .filter_map(|group| group.split_once(':'))
        .collect();
    let rows: Vec<_> = groups
        .into_iter()
        .flat_map(|(table, pks)| pks.split(',').map(move |pk| format!("{table}^{pk}")))
        .collect();
    rows.into_iter().map(move |row| format!("{resource}^{row}"))
}
