//! The lane that owns the coordinator and its store, and drives the one with the other.
//!
//! Each batch goes through in one piece: bodies are decoded and handled, store operations carried out, the store is
//! flushed, and what is durable is sent. Replies that are not wait in the coordinator; the store's sync thread wakes the
//! lane when it got further. A store that fails is final: nothing is answered from then on (proof.md 23).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::edge::Edge;
use super::signal::Signal;
use super::{Stop, Stopped};
use crate::codec::Outgoing;
use crate::net::{Lane, LaneInput, Outbound, SessionId};
use crate::proto::codec::decode_rpc;
use crate::proto::frame::Frame;
use crate::proto::status::GlobalStatus;
use crate::tc::admission::LogGate;
use crate::tc::coordinator::{ChannelId, Coordinator, Now, Output};
use crate::tc::store::Store;

/// What reaches the lane beside messages.
#[derive(Debug)]
pub(crate) enum Event {
    /// The coordinator may start: nothing is handled before.
    Start(Box<Start>),
    /// A connection opened.
    Opened(SessionId, SocketAddr),
    /// A connection will send no more but still reads.
    Finished(SessionId),
    /// A connection closed.
    Closed(SessionId),
    /// More is durable.
    Durable,
    /// Begin no more, finish what is in flight for so long, then stop.
    Drain(Duration),
}

/// What the lane owns.
pub(crate) struct Start {
    pub(crate) coordinator: Coordinator,
    pub(crate) store: Box<dyn Store>,
    pub(crate) clock: WallClock,
}

/// The wall clock at one moment, carried on by the monotonic one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WallClock {
    instant: Instant,
    wall_ms: i64,
}

/// Owned by one thread.
pub(crate) struct CoordinatorLane {
    parts: Option<Start>,
    /// What came before the start.
    early: VecDeque<LaneInput<Edge>>,
    pending_wake: Arc<Signal>,
    stop: Arc<Stop>,
    drain_until: Option<Instant>,
    over: bool,
    gate: Option<LogGate>,
}

impl WallClock {
    pub(crate) fn new(instant: Instant, wall: SystemTime) -> Self {
        let since = wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            instant,
            wall_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        }
    }

    pub(crate) fn at(&self, instant: Instant) -> Now {
        let since = instant.saturating_duration_since(self.instant).as_millis();
        let since = i64::try_from(since).unwrap_or(i64::MAX);
        Now {
            instant,
            wall_ms: self.wall_ms.saturating_add(since),
        }
    }
}

impl std::fmt::Debug for Start {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Start")
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

impl CoordinatorLane {
    pub(crate) fn new(pending_wake: Arc<Signal>, stop: Arc<Stop>) -> Self {
        Self {
            parts: None,
            early: VecDeque::new(),
            pending_wake,
            stop,
            drain_until: None,
            over: false,
            gate: None,
        }
    }
}

impl Lane<Edge> for CoordinatorLane {
    fn on_batch(
        &mut self,
        instant: Instant,
        batch: &mut VecDeque<LaneInput<Edge>>,
        out: &mut Outbound<Edge>,
    ) {
        // Before the store is asked: a wake that comes later is a new one.
        self.pending_wake.take();
        if self.over {
            batch.clear();
            return;
        }
        let mut parts = match self.parts.take() {
            Some(parts) => parts,
            None => match self.take_start(batch) {
                Some(parts) => parts,
                None => return,
            },
        };
        let now = parts.clock.at(instant);
        while let Some(input) = self.early.pop_front() {
            self.take(&mut parts, now, input, out);
        }
        for input in batch.drain(..) {
            self.take(&mut parts, now, input, out);
        }
        if parts
            .coordinator
            .next_deadline()
            .is_some_and(|at| at <= instant)
        {
            parts.coordinator.handle_timeout(now);
        }
        match parts.settle(now, out) {
            Ok(()) => self.look_for_end(&parts, instant),
            Err(failure) => {
                self.over = true;
                self.stop.finish(Err(failure));
            }
        }
        self.parts = Some(parts);
    }

    fn next_deadline(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        let own = self
            .parts
            .as_ref()
            .and_then(|parts| parts.coordinator.next_deadline());
        [own, self.drain_until].into_iter().flatten().min()
    }

    fn held(&self) -> usize {
        match &self.parts {
            Some(parts) if !self.over => parts.coordinator.held(),
            _ => 0,
        }
    }
}

impl CoordinatorLane {
    /// The start event; what is before it is kept.
    fn take_start(&mut self, batch: &mut VecDeque<LaneInput<Edge>>) -> Option<Start> {
        while let Some(input) = batch.pop_front() {
            match input {
                LaneInput::Event(Event::Start(parts)) => return Some(*parts),
                other => self.early.push_back(other),
            }
        }
        None
    }

    fn take(
        &mut self,
        parts: &mut Start,
        now: Now,
        input: LaneInput<Edge>,
        out: &mut Outbound<Edge>,
    ) {
        let coordinator = &mut parts.coordinator;
        match input {
            LaneInput::Message(session, frame) => {
                self.take_frame(coordinator, now, session, frame, out)
            }
            LaneInput::Event(Event::Opened(session, peer)) => {
                coordinator.handle_open(now, channel(session), peer);
            }
            LaneInput::Event(Event::Finished(session)) => {
                coordinator.handle_finished(channel(session));
            }
            LaneInput::Event(Event::Closed(session)) => {
                coordinator.handle_closed(now, channel(session));
            }
            LaneInput::Event(Event::Drain(wait)) => {
                coordinator.handle_drain(now);
                let until = now.instant + wait.min(FOREVER);
                self.drain_until =
                    Some(self.drain_until.map_or(until, |earlier| earlier.min(until)));
            }
            LaneInput::Event(Event::Durable | Event::Start(_)) => {}
        }
    }

    fn take_frame(
        &mut self,
        coordinator: &mut Coordinator,
        now: Now,
        session: SessionId,
        frame: Frame,
        out: &mut Outbound<Edge>,
    ) {
        let id = channel(session);
        match decode_rpc(frame, coordinator.exception_table(id)) {
            Ok(rpc) => coordinator.handle_message(now, id, rpc),
            Err(error) => {
                // What follows from it in this batch is not to be trusted either.
                coordinator.handle_closed(now, id);
                out.close(session);
                let gate = self.gate.get_or_insert_with(|| LogGate::new(now.instant));
                if let Some(skipped) = gate.admit(now.instant) {
                    log::warn!(
                        "session={session} event=bad_message skipped={skipped} reason={error}"
                    );
                }
            }
        }
    }

    /// Draining ends when nothing is undecided or in flight, or when its time is over.
    fn look_for_end(&mut self, parts: &Start, instant: Instant) {
        let Some(until) = self.drain_until else {
            return;
        };
        let stats = parts.coordinator.stats();
        // On a shared store undecided ones are no less at home with the siblings.
        let undecided = match parts.coordinator.is_shared() {
            true => 0,
            false => stats.live_by_status[usize::from(GlobalStatus::Begin.code())],
        };
        let busy = undecided + stats.held + stats.calls_in_flight + stats.parked;
        if busy == 0 || instant >= until {
            self.over = true;
            let stopped = Stopped {
                undecided,
                live: stats.live,
            };
            self.stop.finish(Ok(stopped));
        }
    }
}

impl Start {
    /// Store operations until none is left, then what is durable goes out.
    fn settle(&mut self, now: Now, out: &mut Outbound<Edge>) -> Result<(), String> {
        loop {
            let mut idle = true;
            while let Some((ticket, operation)) = self.coordinator.poll_operation() {
                self.store.submit(ticket, operation);
                idle = false;
                while let Some(completion) = self.store.poll_completion() {
                    self.coordinator.handle_completion(now, completion);
                }
            }
            while let Some(completion) = self.store.poll_completion() {
                self.coordinator.handle_completion(now, completion);
                idle = false;
            }
            while let Some(event) = self.store.poll_event() {
                self.coordinator.handle_store_event(now, event);
                idle = false;
            }
            if idle {
                break;
            }
        }
        self.store.flush();
        let durable = self.store.durable();
        if let Some(failure) = self.store.failure() {
            return Err(failure);
        }
        self.coordinator.handle_durable(durable);
        while let Some(output) = self.coordinator.poll_output() {
            match output {
                Output::Send { to, rpc, table } => send(to, Outgoing { rpc, table }, out),
                Output::Close { channel, reason } => {
                    log::debug!("session={} event=close reason={reason:?}", session(channel));
                    out.close(session(channel));
                }
            }
        }
        Ok(())
    }
}

/// A message without bytes would leave its peer waiting; closing lets it ask again.
fn send(to: ChannelId, message: Outgoing, out: &mut Outbound<Edge>) {
    let to = session(to);
    if let Err(error) = out.send(to, &message) {
        log::error!("session={to} event=unencodable reason={error}");
        out.close(to);
    }
}

fn channel(session: SessionId) -> ChannelId {
    ChannelId(session.as_u64())
}

fn session(channel: ChannelId) -> SessionId {
    SessionId::from_u64(channel.0)
}

/// A longer wait is as good as none; it keeps the sum in range.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
