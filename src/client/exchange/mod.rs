//! Everything the client says to the coordinators and hears from them, as a pure value: who is asked, what is under way, what
//! is tried again. No socket, no clock, no thread.
//!
//! | group | methods |
//! |---|---|
//! | input | `handle_*`, with the time where it matters |
//! | output | [`Exchange::poll_output`] until there is none, after each round of inputs and [`Exchange::flush`] |
//! | time | [`Exchange::next_deadline`], [`Exchange::handle_timeout`] |
//!
//! Guarantees: each request gets one answer; none is completed by another connection than the one it left over; what was
//! under way on a connection that is lost fails or is tried again at once; what is forgotten by its caller leaves nothing, or
//! a transaction that is rolled back. Follows client.md 1 and wire.md 6.

mod balance;
mod calls;
pub(crate) mod chance;
mod connections;
mod dispatch;
mod merge;
mod retry;
mod roster;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::metrics::Counters;
use super::ticket::Sink;
use super::{ClientOptions, Error};
use crate::net::SessionId;
use crate::proto::Text;
use crate::proto::codec::Rpc;
use crate::proto::frame::FrameHead;
use crate::proto::message::{BranchEnd, BranchEndResponse, Message, TxResult, UndoLogDelete};
use crate::proto::status::{BranchStatus, ExceptionCode};
use crate::proto::version::ExceptionTable;
use balance::Balancer;
use calls::Call;
use chance::Chance;
use merge::Merges;
use roster::Roster;

pub(crate) use calls::{Answer, CallId, Reply, Request};
pub(crate) use roster::{LinkId, Role};

/// What the connections introduce themselves with.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) application: Text,
    pub(crate) group: Text,
}

/// What is to be done now.
pub(crate) enum Output {
    /// Connect, and stay connected.
    Connect { link: LinkId, address: String },
    /// End a connector for good.
    Disconnect { link: LinkId },
    /// Send a message over a connection.
    Send {
        session: SessionId,
        rpc: Rpc,
        table: ExceptionTable,
    },
    /// End a connection; its connector makes a new one.
    Abort { session: SessionId },
    /// Answer a request.
    Answer { sink: Sink<Answer>, answer: Answer },
    /// Answer something else.
    Done {
        sink: Sink<Result<(), Error>>,
        result: Result<(), Error>,
    },
    /// Do what a coordinator asks, and answer with [`Exchange::handle_served`].
    Serve {
        session: SessionId,
        head: FrameHead,
        asked: Asked,
    },
}

/// What a coordinator asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Commit a branch.
    Commit(BranchEnd),
    /// Roll a branch back.
    Rollback(BranchEnd),
    /// Delete old undo logs.
    DeleteUndoLog(UndoLogDelete),
}

/// The state of the whole client towards its coordinators.
pub(crate) struct Exchange {
    options: ClientOptions,
    identity: Identity,
    roster: Roster,
    balancer: Balancer,
    chance: Chance,
    calls: BTreeMap<CallId, Call>,
    by_message: BTreeMap<i32, CallId>,
    merges: Merges,
    next_message: i32,
    next_own: u64,
    timers: BTreeSet<(Instant, Timer)>,
    resources: BTreeSet<Text>,
    announcements: Vec<Announcement>,
    starting: Option<Sink<Result<(), Error>>>,
    closing: Closing,
    /// Requests of coordinators that are being worked on, and what else an orderly end waits for.
    serving: usize,
    outputs: VecDeque<Output>,
    counters: Arc<Counters>,
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Call(CallId),
    Link(LinkId),
    Start,
    Close,
    Announcements,
}

/// How far the orderly end is.
enum Closing {
    No,
    /// Something is under way still; who wants to know of the end.
    Waiting(Vec<Sink<Result<(), Error>>>),
    Done,
}

/// A resource that was added while connections were open: which of them still have to confirm it.
struct Announcement {
    sink: Sink<Result<(), Error>>,
    waiting: BTreeMap<i32, LinkId>,
    until: Instant,
}

impl Exchange {
    pub(crate) fn new(options: ClientOptions, identity: Identity, counters: Arc<Counters>) -> Self {
        let options = ClientOptions {
            heartbeat: options.heartbeat.map(|period| period.max(HEARTBEAT_MIN)),
            ..options
        };
        let chance = Chance::new(options.seed);
        let balancer = Balancer::new(options.load_balance, chance.clone());
        Self {
            balancer,
            chance,
            options,
            identity,
            roster: Roster::default(),
            calls: BTreeMap::new(),
            by_message: BTreeMap::new(),
            merges: Merges::default(),
            next_message: 0,
            next_own: OWN_CALLS,
            timers: BTreeSet::new(),
            resources: BTreeSet::new(),
            announcements: Vec::new(),
            starting: None,
            closing: Closing::No,
            serving: 0,
            outputs: VecDeque::new(),
            counters,
        }
    }

    /// Fires what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, timer)) = self.timers.first().copied() {
            if at > now {
                return;
            }
            self.timers.pop_first();
            match timer {
                Timer::Call(id) => self.call_due(now, id),
                Timer::Link(id) => self.link_due(now, id),
                Timer::Start => {
                    if let Some(sink) = self.starting.take() {
                        let result = Err(Error::Unreachable(self.missing()));
                        self.outputs.push_back(Output::Done { sink, result });
                    }
                }
                Timer::Close => self.end_closing(),
                Timer::Announcements => self.announcements_due(now),
            }
        }
    }

    /// Answers `sink` once a TM and an RM connection are registered, or no coordinator can be reached, or after `within`.
    pub(crate) fn handle_start(
        &mut self,
        now: Instant,
        within: Duration,
        sink: Sink<Result<(), Error>>,
    ) {
        self.starting = Some(sink);
        self.timers.insert((later(now, within), Timer::Start));
        self.check_start();
    }

    /// From now on nothing new is begun; answers `sink` when nothing is under way any more, or after `grace`.
    pub(crate) fn handle_close(
        &mut self,
        now: Instant,
        grace: Duration,
        sink: Option<Sink<Result<(), Error>>>,
    ) {
        if matches!(self.closing, Closing::Done) {
            if let Some(sink) = sink {
                let result = Ok(());
                self.outputs.push_back(Output::Done { sink, result });
            }
            return;
        }
        let mut sinks = match std::mem::replace(&mut self.closing, Closing::No) {
            Closing::Waiting(sinks) => sinks,
            Closing::No | Closing::Done => Vec::new(),
        };
        sinks.extend(sink);
        self.closing = Closing::Waiting(sinks);
        self.timers.insert((later(now, grace), Timer::Close));
        self.check_closing();
    }

    /// A request of a coordinator has been worked on.
    pub(crate) fn handle_served(
        &mut self,
        now: Instant,
        session: SessionId,
        head: &FrameHead,
        answer: Option<Message>,
    ) {
        if let (Some(answer), Some(_)) = (answer, self.roster.of_session(session)) {
            self.push_send(now, session, Rpc::response_to(head, answer));
        }
        self.handle_release();
    }

    /// Something runs that an orderly end waits for.
    pub(crate) fn handle_hold(&mut self) {
        self.serving += 1;
    }

    /// It is over.
    pub(crate) fn handle_release(&mut self) {
        self.serving = self.serving.saturating_sub(1);
        self.check_closing();
    }

    /// What is to be done next.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Exchange::handle_timeout`] is to be called.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// How the peer of this connection numbers exception codes.
    pub(crate) fn table(&self, session: SessionId) -> ExceptionTable {
        match self.roster.of_session(session) {
            Some(link) => self.roster.link(link).table,
            None => ExceptionTable::default(),
        }
    }

    /// Whether the client has been closed and nothing keeps it.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.closing, Closing::Done)
    }

    fn push_send(&mut self, now: Instant, session: SessionId, rpc: Rpc) {
        let Some(id) = self.roster.of_session(session) else {
            return;
        };
        let link = self.roster.link_mut(id);
        link.last_sent = now;
        let table = link.table;
        self.outputs.push_back(Output::Send {
            session,
            rpc,
            table,
        });
    }

    /// A message id that nobody waits for.
    fn message_id(&mut self) -> i32 {
        loop {
            self.next_message = self.next_message.wrapping_add(1) & i32::MAX;
            let id = self.next_message;
            if !self.by_message.contains_key(&id) && !self.merges.is_waiting(id) {
                return id;
            }
        }
    }

    fn check_start(&mut self) {
        if self.starting.is_none() {
            return;
        }
        let is_up = |role| self.roster.ready(role).next().is_some();
        let result = if is_up(Role::Tm) && is_up(Role::Rm) {
            Ok(())
        } else {
            let failed = [Role::Tm, Role::Rm]
                .into_iter()
                .find_map(|role| self.roster.all_failed(role));
            match failed {
                Some(why) => Err(Error::Unreachable(why)),
                None => return,
            }
        };
        if let Some(sink) = self.starting.take() {
            self.outputs.push_back(Output::Done { sink, result });
        }
    }

    fn missing(&self) -> String {
        match self.roster.ready(Role::Tm).next().is_none() {
            true => self.roster.missing(Role::Tm),
            false => self.roster.missing(Role::Rm),
        }
    }

    fn check_closing(&mut self) {
        if self.is_closing() && self.calls.is_empty() && self.serving == 0 {
            self.end_closing();
        }
    }

    fn end_closing(&mut self) {
        if let Closing::Waiting(sinks) = std::mem::replace(&mut self.closing, Closing::Done) {
            for sink in sinks {
                let result = Ok(());
                self.outputs.push_back(Output::Done { sink, result });
            }
        }
    }

    fn is_closing(&self) -> bool {
        !matches!(self.closing, Closing::No)
    }
}

impl Asked {
    /// The answer that makes the coordinator ask again later; none where none is expected. `message` is for people.
    pub(crate) fn retry_later(&self, message: &str) -> Option<Message> {
        let failed = TxResult::Failed {
            code: ExceptionCode::Unknown,
            message: message.into(),
        };
        self.answer(failed, self.retryable()?)
    }

    /// The answer with this status; none where none is expected.
    pub(crate) fn answer(&self, result: TxResult, status: BranchStatus) -> Option<Message> {
        let response = |end: &BranchEnd| BranchEndResponse {
            result,
            xid: end.xid.clone(),
            branch_id: end.branch_id,
            branch_status: status,
        };
        match self {
            Self::Commit(end) => Some(Message::BranchCommitResponse(response(end))),
            Self::Rollback(end) => Some(Message::BranchRollbackResponse(response(end))),
            Self::DeleteUndoLog(_) => None,
        }
    }

    /// The status of a failure that may be mended by asking again.
    pub(crate) fn retryable(&self) -> Option<BranchStatus> {
        match self {
            Self::Commit(_) => Some(BranchStatus::PhaseTwoCommitFailedRetryable),
            Self::Rollback(_) => Some(BranchStatus::PhaseTwoRollbackFailedRetryable),
            Self::DeleteUndoLog(_) => None,
        }
    }
}

/// A moment that far away, or one that nobody will see.
fn later(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or_else(|| now + AGES)
}

/// A heartbeat needs some silence before it.
const HEARTBEAT_MIN: Duration = Duration::from_millis(1);

/// Longer than any process runs.
const AGES: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Requests of our own are numbered from here on.
const OWN_CALLS: u64 = 1 << 63;
