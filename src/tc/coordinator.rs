//! The coordinator as a value: messages, store completions and time go in, answers, branch calls and store operations
//! come out. It has no socket, clock, thread or random source and keeps nothing on disk (design.md 4).
//!
//! # What it guarantees
//!
//! - All work on one xid is done in the order it came, one store operation at a time; so every decision has one order.
//! - No answer and no branch call leaves before what it tells is durable.
//! - Every request that has an answer gets exactly one, on the connection that asked, or none if that has closed.
//! - Only beginning a transaction is ever refused for load; what was begun can always be finished.
//!
//! Several may share a store: see `shared`.
//!
//! The decisions are those of coordinator.md 1.7, phase two follows section 2, connections section 5.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use super::CoordinatorConfig;
use super::admission::{LogGates, Topic};
use super::answers::Reader;
use super::calls::Calls;
use super::global::{Entry, Pending, Tickets};
use super::outbox::{Outbox, Reply};
use super::roster::Roster;
use super::shared::{Claim, Share};
use super::stats::CoordinatorStats;
use super::store::{Completion, Operation, Seq, Ticket};
use super::timers::{Timer, Timers};
use crate::proto::codec::Rpc;
use crate::proto::message::Message;
use crate::proto::status::GlobalStatus;
use crate::proto::version::{ExceptionTable, PeerVersion};
use crate::xid::{IdGenerator, Xid};

/// A connection, named by whoever owns it. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u64);

/// The time, twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For waiting.
    pub instant: Instant,
    /// For records: ms since 1970. The wall clock at the start of the process plus the monotonic time since, so that
    /// a clock that is set does not time everything out.
    pub wall_ms: i64,
}

/// What the owner of the connections is to do.
///
/// Nearly every output is a message, so boxing it would only cost an allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)]
pub enum Output {
    /// Send a message.
    Send {
        /// To this connection; if it has closed meanwhile the message is dropped.
        to: ChannelId,
        /// The message.
        rpc: Rpc,
        /// How its peer numbers exception codes.
        table: ExceptionTable,
    },
    /// Close a connection.
    Close {
        /// Which.
        channel: ChannelId,
        /// Why.
        reason: CloseReason,
    },
}

/// Why the coordinator wants a connection closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseReason {
    /// It sent something other than a registration or heartbeat before it registered.
    Unregistered,
    /// It sent a merged request with something in it that is no transaction request.
    BadMerge,
    /// It sends no more and has all its answers.
    Finished,
    /// Its decision could not be stored: no answer is true, so its call has to fail and be repeated.
    StoreFailed,
}

/// The coordinator as a value.
///
/// Feed inputs with `handle_*`. After each batch drain [`poll_operation`](Self::poll_operation) into a
/// [`Store`](super::store::Store) and feed its completions, then its events
/// ([`handle_store_event`](Self::handle_store_event)), back until all are empty, flush the store, tell how far it is
/// durable with [`handle_durable`](Self::handle_durable), then drain [`poll_output`](Self::poll_output). Call
/// [`handle_timeout`](Self::handle_timeout) when [`next_deadline`](Self::next_deadline) has come.
#[derive(Debug)]
pub struct Coordinator {
    pub(super) config: CoordinatorConfig,
    pub(super) ids: IdGenerator,
    pub(super) roster: Roster,
    pub(super) globals: HashMap<Xid, Entry>,
    pub(super) tickets: Tickets,
    pub(super) operations: VecDeque<(Ticket, Operation)>,
    pub(super) outbox: Outbox,
    pub(super) timers: Timers,
    pub(super) calls: Calls,
    pub(super) share: Share,
    pub(super) draining: bool,
    pub(super) held: usize,
    /// Begins at the store.
    pub(super) beginning: usize,
    pub(super) stats: CoordinatorStats,
    pub(super) gates: LogGates,
    /// The last change that forgot tombstones.
    pub(super) forgot: Seq,
    /// How far the clock is behind the latest record found at start.
    behind_ms: i64,
}

impl Coordinator {
    /// A coordinator without transactions. `ids` has to be above every id ever given out
    /// ([`IdGenerator::not_below`] with [`Store::highest_id`](super::store::Store::highest_id)).
    pub fn new(config: CoordinatorConfig, ids: IdGenerator, now: Now) -> Self {
        let mut timers = Timers::new(now.instant);
        // What was found at start is kept for a whole life: the clock may have been set forward while stopped.
        let first_sweep = config.tombstone_life.max(config.tombstone_sweep);
        timers.insert(now.instant + first_sweep, Timer::Forget);
        timers.insert(now.instant + config.undo_log_first, Timer::UndoLogs);
        Self {
            roster: Roster::new(now.instant, config.departed_max),
            calls: Calls::new(config.seed),
            gates: LogGates::new(now.instant),
            config,
            ids,
            timers,
            globals: HashMap::new(),
            share: Share::default(),
            tickets: Tickets::default(),
            operations: VecDeque::new(),
            outbox: Outbox::default(),
            draining: false,
            held: 0,
            beginning: 0,
            stats: CoordinatorStats::default(),
            forgot: Seq(0),
            behind_ms: 0,
        }
    }

    /// A connection opened.
    pub fn handle_open(&mut self, _now: Now, channel: ChannelId, peer: SocketAddr) {
        self.roster.open(channel, peer);
    }

    /// A connection closed, whoever closed it. Its transactions go on; calls that waited for it fail at once.
    pub fn handle_closed(&mut self, now: Now, channel: ChannelId) {
        let now = self.dated(now);
        let takeover = self.config.xa_takeover;
        let left = self.roster.close(channel, now.instant, takeover);
        for call in left.calls {
            self.call_lost(now, call);
        }
        for xid in left.queued {
            self.unqueue(now, &xid, channel, None);
        }
    }

    /// A connection will send no more but still reads: it is told to close when it has all its answers.
    pub fn handle_finished(&mut self, channel: ChannelId) {
        if self.roster.finish(channel) {
            self.part(channel);
        }
    }

    /// A message came.
    pub fn handle_message(&mut self, now: Now, channel: ChannelId, rpc: Rpc) {
        let now = self.dated(now);
        if !self.roster.is_open(channel) {
            return;
        }
        match &rpc.message {
            Message::HeartbeatPong => return,
            Message::HeartbeatPing => {
                let answer = rpc.reply(Message::HeartbeatPong);
                return self.send(Seq(0), channel, answer);
            }
            Message::RegisterTm(_) | Message::RegisterRm(_) => {
                return self.take_registration(now, channel, &rpc);
            }
            _ if self.roster.context(channel).is_none() => {
                return self.close(now, channel, CloseReason::Unregistered);
            }
            _ => {}
        }
        match &rpc.message {
            Message::BranchCommitResponse(answer) | Message::BranchRollbackResponse(answer) => {
                self.take_branch_answer(now, channel, rpc.id, answer);
            }
            Message::MergedWarp(_) => self.take_merged(now, channel, rpc),
            _ => {
                let reply = Reply::to(channel, &rpc, now.instant);
                self.take_request(now, reply, rpc.message);
            }
        }
    }

    /// The store carried out an operation.
    pub fn handle_completion(&mut self, now: Now, completion: Completion) {
        let now = self.dated(now);
        match self.tickets.take(completion.ticket) {
            Some(pending) => self.complete(now, pending, completion.outcome, completion.after),
            None => debug_assert!(false, "{completion:?} was never asked for"),
        }
    }

    /// Everything up to `durable` is on stable storage: what waited for it may go.
    pub fn handle_durable(&mut self, durable: Seq) {
        self.outbox.note_durable(durable);
        while let Some((channel, requests)) = self.outbox.ripen() {
            self.release(channel, requests);
        }
    }

    /// Carries out what is due. Nothing happens before [`Coordinator::next_deadline`].
    pub fn handle_timeout(&mut self, now: Now) {
        let now = self.dated(now);
        while let Some(timer) = self.timers.pop(now.instant) {
            match timer {
                Timer::Deadline(xid) => self.deadline_passed(now, xid),
                Timer::Call(call) => self.call_timed_out(now, call),
                Timer::Drive(xid) => self.drive_due(now, &xid),
                Timer::Requester(xid) => self.requester_waited(now, &xid),
                Timer::Woken => {
                    // Its own successor may be due already; the owner asks again at once.
                    if self.woken(now) {
                        break;
                    }
                }
                Timer::Adopt(xid) => self.adopt(now, &xid, Claim::Own),
                Timer::Leased => {
                    if self.go_on(now) {
                        break;
                    }
                }
                Timer::Forget => self.forget(now),
                Timer::UndoLogs => self.announce_undo_logs(now),
            }
        }
    }

    /// From now on no transaction is begun; what was begun goes on.
    pub fn handle_drain(&mut self, _now: Now) {
        if !self.draining {
            self.draining = true;
            log::info!("event=draining live={}", self.stats.live);
        }
    }

    /// The next operation for the store.
    pub fn poll_operation(&mut self) -> Option<(Ticket, Operation)> {
        self.operations.pop_front()
    }

    /// The next thing to do whose cause is durable.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outbox.poll()
    }

    /// When [`Coordinator::handle_timeout`] has to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Requests taken whose answer has not left: it is not known, or what it tells is not durable yet.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Branch calls in flight: what a stop may wait for, though every call is repeated after a start.
    pub fn calls_in_flight(&self) -> usize {
        self.calls.len()
    }

    /// Whether others carry on what this coordinator leaves undecided.
    pub fn is_shared(&self) -> bool {
        self.config.shared
    }

    /// Counters and gauges.
    pub fn stats(&self) -> CoordinatorStats {
        CoordinatorStats {
            channels: self.roster.len(),
            held: self.held,
            calls_in_flight: self.calls.len(),
            parked: self.outbox.parked(),
            ..self.stats
        }
    }

    /// How the peer of this connection numbers exception codes: for reading what it sends.
    pub fn exception_table(&self, channel: ChannelId) -> ExceptionTable {
        self.roster.table(channel).unwrap_or_default()
    }

    /// A record found at start was written at `written_ms`: time goes on from there, not from a clock that was set back.
    /// Otherwise a transaction begun before would wait for its deadline, and hold its locks, for as long as the clock
    /// went back.
    pub(super) fn not_before(&mut self, now: Now, written_ms: i64) {
        let behind_ms = written_ms.saturating_sub(now.wall_ms);
        if behind_ms > self.behind_ms {
            log::warn!(
                "event=clock_behind behind_ms={behind_ms}: the clock was set back while stopped"
            );
            self.behind_ms = behind_ms;
        }
    }

    /// The time by which records are written.
    pub(super) fn dated(&self, now: Now) -> Now {
        Now {
            wall_ms: now.wall_ms.saturating_add(self.behind_ms),
            ..now
        }
    }

    /// Submits an operation, whose completion will find `pending`.
    pub(super) fn submit(&mut self, pending: Pending, operation: Operation) {
        let ticket = self.tickets.put(pending);
        self.operations.push_back((ticket, operation));
    }

    /// Who reads the answer to a request.
    pub(super) fn reader(&self, reply: &Reply) -> Reader {
        let context = self.roster.context(reply.channel);
        Reader {
            version: context.map_or(PeerVersion::UNKNOWN, |c| c.version),
            java_answers: self.config.java_answers,
        }
    }

    /// Answers a request that was counted as held.
    pub(super) fn answer(&mut self, reply: Reply, after: Seq, message: Message) {
        let channel = reply.channel;
        let table = self.roster.table(channel);
        let released = self.outbox.answer(reply, after, table, message);
        self.release(channel, released);
    }

    /// Closes a connection behind its last answer, which may leave already.
    fn part(&mut self, channel: ChannelId) {
        if self.roster.condemn(channel) {
            let reason = CloseReason::Finished;
            self.outbox.push(Seq(0), Output::Close { channel, reason });
        }
    }

    /// Gives up a request that no true answer exists for: its connection closes.
    pub(super) fn abandon(&mut self, now: Now, reply: Reply) {
        let channel = reply.channel;
        // A merged answer must become complete for its place to be given back; it goes nowhere.
        let released = self
            .outbox
            .answer(reply, Seq(0), None, Message::HeartbeatPong);
        self.release(channel, released);
        self.close(now, channel, CloseReason::StoreFailed);
    }

    /// Counts a request as held until its answer leaves.
    pub(super) fn hold(&mut self, channel: ChannelId) {
        self.held += 1;
        if let Some(held) = self.roster.held(channel) {
            *held += 1;
        }
    }

    /// Answers to so many requests of a connection leave.
    fn release(&mut self, channel: ChannelId, requests: usize) {
        if requests > 0 {
            self.held -= requests;
            if self.roster.release(channel, requests) {
                self.part(channel);
            }
        }
    }

    /// Sends something that answers no held request.
    pub(super) fn send(&mut self, after: Seq, to: ChannelId, rpc: Rpc) {
        if let Some(table) = self.roster.table(to) {
            self.outbox.push(after, Output::Send { to, rpc, table });
        }
    }

    pub(super) fn close(&mut self, now: Now, channel: ChannelId, reason: CloseReason) {
        if !self.roster.condemn(channel) {
            return;
        }
        self.stats.closed_by_rule += 1;
        if let Some(skipped) = self.gates.admit(Topic::Closing, now.instant) {
            log::warn!(
                "channel={} event=closing reason={reason:?} skipped={skipped}",
                channel.0
            );
        }
        self.outbox.push(Seq(0), Output::Close { channel, reason });
    }

    /// Keeps the gauges in step with the status of a live transaction.
    pub(super) fn note_status(&mut self, xid: &Xid, status: Option<GlobalStatus>) {
        let Some(entry) = self.globals.get_mut(xid) else {
            return;
        };
        let earlier = std::mem::replace(&mut entry.status, status);
        if let Some(earlier) = earlier {
            self.stats.live_by_status[usize::from(earlier.code())] -= 1;
            self.stats.live -= 1;
        }
        if let Some(status) = status {
            self.stats.live_by_status[usize::from(status.code())] += 1;
            self.stats.live += 1;
        }
    }
}
