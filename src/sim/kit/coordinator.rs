//! The coordinator of a kit: a real one, whose messages pass a script on their way in and out.
//!
//! Requests that came merged are taken apart, so that each has its own answer and its own fault.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::history::{Entry, Fate, History};
use super::script::{Asked, Fault, Script};
use super::stage::Part;
use crate::codec::{Outgoing, SeataCodec};
use crate::net::{
    Clock, CloseReason, Config, Cx, Endpoint, Handler, Lane, LaneId, LaneInput, Lanes,
    ListenOptions, Outbound, Reactor, Refused, Route, Session, SessionConfig, SessionId, Workers,
};
use crate::proto::Text;
use crate::proto::codec::{Rpc, decode_rpc};
use crate::proto::frame::{Frame, MessageKind};
use crate::proto::message::{
    BranchEnd, BranchEndResponse, BranchRegisterResponse, BranchReportResponse,
    GlobalBeginResponse, GlobalEndResponse, GlobalLockQueryResponse, Message, TxResult,
};
use crate::proto::status::{BranchStatus, ExceptionCode, GlobalStatus};
use crate::proto::version::ExceptionTable;
use crate::sim::{Network, SimClock, SimDriver};
use crate::tc::store::{MemoryStore, Store, StoreLimits};
use crate::tc::{ChannelId, Coordinator, CoordinatorConfig, Now, Output};
use crate::xid::IdGenerator;

/// Starts it on a machine of its own. With its address.
pub(super) fn start(
    network: &Network,
    script: &Arc<Script>,
    history: &Arc<History>,
) -> io::Result<(impl Part + use<>, String)> {
    let (driver, clock) = (network.driver(), network.clock());
    let address = SocketAddr::new(driver.address(), PORT);
    let host = Host::new(address, clock.clone(), script.clone(), history.clone());
    let door = Door {
        codec: SeataCodec::default(),
        host: Mutex::new(Some(host)),
    };
    let config = Config {
        workers: Workers {
            lanes: 1,
            ..Workers::default()
        },
        ..Config::default()
    };
    let mut reactor = Reactor::with(config, door, driver, clock)?;
    reactor.listen(Endpoint::from(address), ListenOptions::default())?;
    let lanes = reactor.lanes();
    Ok((
        Started {
            reactor,
            script: script.clone(),
            lanes,
        },
        address.to_string(),
    ))
}

struct Started {
    reactor: Reactor<Door, SimDriver, SimClock>,
    script: Arc<Script>,
    lanes: Lanes<Door>,
}

impl Part for Started {
    fn turn(&mut self) -> io::Result<Option<bool>> {
        if self.script.take_kill_all() {
            // Refused only when the lane is closed for good.
            let _ = self.lanes.complete(LANE, Event::KillAll);
        }
        Part::turn(&mut self.reactor)
    }

    fn rest(&mut self) -> Option<Duration> {
        Part::rest(&mut self.reactor)
    }
}

/// The handler of all connections.
struct Door {
    codec: SeataCodec,
    host: Mutex<Option<Host>>,
}

enum Event {
    Opened(SessionId, SocketAddr),
    Closed(SessionId),
    KillAll,
}

/// The lane's state: coordinator, store, and what the script holds back.
struct Host {
    coordinator: Coordinator,
    store: MemoryStore,
    start: Instant,
    clock: SimClock,
    script: Arc<Script>,
    history: Arc<History>,
    /// Open connections by their numbers in the history.
    connections: BTreeMap<SessionId, usize>,
    opened: usize,
    /// Faults of answers that are to come, by connection and number of the request.
    faults: HashMap<(SessionId, i32), Fault>,
    /// Second phases whose answers have not come.
    at_work: HashSet<(SessionId, i32)>,
    /// Delayed messages, in the order in which they leave.
    delayed: BTreeMap<(Instant, u64), (SessionId, Rpc, ExceptionTable)>,
    delays: u64,
}

impl Handler for Door {
    type Codec = SeataCodec;
    type Lane = Option<Host>;
    type Event = Event;

    fn codec(&self) -> &SeataCodec {
        &self.codec
    }

    fn lane(&self, _id: LaneId, _lanes: Lanes<Self>) -> Option<Host> {
        let mut host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        host.take()
    }

    fn on_open(
        &self,
        cx: &mut Cx<'_, Self>,
        session: &Session<Self>,
        _config: &mut SessionConfig,
    ) -> Result<(), Refused> {
        let Some(peer) = session.peer().remote.ip() else {
            return Err(Refused("not from the kit's network".into()));
        };
        cx.post(LANE, Event::Opened(session.id(), peer))
            .map_err(|_| Refused("too many events wait".into()))
    }

    fn route(&self, _session: &Session<Self>, frame: &Frame) -> Route {
        match frame.head.kind {
            MessageKind::Ping => Route::Inline,
            MessageKind::Pong => Route::Drop,
            _ => Route::Lane(LANE),
        }
    }

    /// A heartbeat.
    fn on_message(&self, cx: &mut Cx<'_, Self>, _session: &Session<Self>, frame: Frame) {
        let rpc = Rpc::response_to(&frame.head, Message::HeartbeatPong);
        let table = ExceptionTable::V2_0;
        // A peer that takes no bytes is the session's own affair.
        let _ = cx.send(&Outgoing { rpc, table });
    }

    fn on_close(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>, _reason: CloseReason) {
        // Each open session has a place for this event.
        let _ = cx.post(LANE, Event::Closed(session.id()));
    }
}

impl Lane<Door> for Option<Host> {
    fn on_batch(
        &mut self,
        instant: Instant,
        batch: &mut VecDeque<LaneInput<Door>>,
        out: &mut Outbound<Door>,
    ) {
        match self {
            Some(host) => host.handle_batch(instant, batch, out),
            None => batch.clear(),
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let host = self.as_ref()?;
        let delayed = host.delayed.keys().next().map(|(at, _)| *at);
        delayed
            .into_iter()
            .chain(host.coordinator.next_deadline())
            .min()
    }
}

impl Host {
    fn new(
        address: SocketAddr,
        clock: SimClock,
        script: Arc<Script>,
        history: Arc<History>,
    ) -> Self {
        let start = clock.now();
        let now = Now {
            instant: start,
            wall_ms: START_MS,
        };
        let config = CoordinatorConfig {
            advertised: address.to_string(),
            ..CoordinatorConfig::default()
        };
        Self {
            coordinator: Coordinator::new(config, IdGenerator::new(0, START_MS), now),
            store: MemoryStore::new(StoreLimits::default()),
            start,
            clock,
            script,
            history,
            connections: BTreeMap::new(),
            opened: 0,
            faults: HashMap::new(),
            at_work: HashSet::new(),
            delayed: BTreeMap::new(),
            delays: 0,
        }
    }

    fn handle_batch(
        &mut self,
        instant: Instant,
        batch: &mut VecDeque<LaneInput<Door>>,
        out: &mut Outbound<Door>,
    ) {
        let since = instant.saturating_duration_since(self.start).as_millis();
        let now = Now {
            instant,
            wall_ms: START_MS + i64::try_from(since).unwrap_or(i64::MAX - START_MS),
        };
        for input in batch.drain(..) {
            match input {
                LaneInput::Message(session, frame) => self.frame(now, session, frame, out),
                LaneInput::Event(Event::Opened(session, peer)) => {
                    self.connections.insert(session, self.opened);
                    self.opened += 1;
                    self.coordinator.handle_open(now, channel(session), peer);
                }
                LaneInput::Event(Event::Closed(session)) => self.closed(now, session),
                LaneInput::Event(Event::KillAll) => {
                    let all: Vec<_> = self.connections.keys().copied().collect();
                    all.into_iter()
                        .for_each(|session| self.kill(now, session, out));
                }
            }
        }
        self.send_delayed(instant, out);
        if self
            .coordinator
            .next_deadline()
            .is_some_and(|at| at <= instant)
        {
            self.coordinator.handle_timeout(now);
        }
        self.settle(now, out);
        self.history.set_at_work(self.at_work.len());
    }

    fn frame(&mut self, now: Now, session: SessionId, frame: Frame, out: &mut Outbound<Door>) {
        if !self.connections.contains_key(&session) {
            return;
        }
        let table = self.coordinator.exception_table(channel(session));
        let rpc = match decode_rpc(frame, table) {
            Ok(rpc) => rpc,
            Err(error) => {
                log::error!("session={session} event=unreadable-message error={error}");
                return self.kill(now, session, out);
            }
        };
        let Message::MergedWarp(merged) = rpc.message else {
            return self.message(now, session, rpc, table, out);
        };
        for (message, id) in merged.messages.into_iter().zip(merged.ids) {
            let single = Rpc {
                serializer: rpc.serializer,
                compressor: rpc.compressor,
                ..Rpc::request(id, message)
            };
            self.message(now, session, single, table, out);
        }
    }

    /// A single request or answer of a client.
    fn message(
        &mut self,
        now: Now,
        session: SessionId,
        rpc: Rpc,
        table: ExceptionTable,
        out: &mut Outbound<Door>,
    ) {
        if rpc.kind == MessageKind::Response {
            self.at_work.remove(&(session, rpc.id));
            return match self.faults.remove(&(session, rpc.id)) {
                Some(Fault::KillAfter) => {
                    self.note(session, &rpc, Fate::Lost);
                    self.kill(now, session, out);
                }
                Some(_) => self.note(session, &rpc, Fate::Lost),
                None => self.hear(now, session, rpc),
            };
        }
        let Some(asked) = Asked::of(&rpc.message) else {
            return self.hear(now, session, rpc);
        };
        match self.script.take(asked) {
            None => self.hear(now, session, rpc),
            Some(Fault::LoseRequest) => self.note(session, &rpc, Fate::Lost),
            Some(Fault::KillBefore) => {
                self.note(session, &rpc, Fate::Lost);
                self.kill(now, session, out);
            }
            Some(Fault::Refuse(code, text)) => {
                self.note(session, &rpc, Fate::Arrived);
                if let Some(message) = refusal(&rpc.message, code, &text) {
                    let answer = rpc.reply(message);
                    self.send(session, answer, table, out);
                }
            }
            Some(of_answer) => {
                self.faults.insert((session, rpc.id), of_answer);
                self.hear(now, session, rpc);
            }
        }
    }

    fn hear(&mut self, now: Now, session: SessionId, rpc: Rpc) {
        self.note(session, &rpc, Fate::Arrived);
        self.coordinator.handle_message(now, channel(session), rpc);
    }

    /// What the coordinator wants sent.
    fn output(
        &mut self,
        now: Now,
        session: SessionId,
        rpc: Rpc,
        table: ExceptionTable,
        out: &mut Outbound<Door>,
    ) {
        let fault = match Asked::of(&rpc.message) {
            Some(asked) => self.script.take(asked),
            None => self.faults.remove(&(session, rpc.id)),
        };
        let second_phase = second_phase(&rpc.message).cloned();
        match (fault, second_phase) {
            (Some(Fault::LoseRequest | Fault::LoseAnswer), None)
            | (Some(Fault::LoseRequest), Some(_)) => self.note(session, &rpc, Fate::Lost),
            (Some(Fault::KillBefore | Fault::KillAfter), None)
            | (Some(Fault::KillBefore), Some(_)) => {
                self.note(session, &rpc, Fate::Lost);
                self.kill(now, session, out);
            }
            (Some(Fault::Delay(time)), _) => {
                self.delays += 1;
                let at = (now.instant + time, self.delays);
                self.delayed.insert(at, (session, rpc, table));
            }
            (Some(Fault::Refuse(..)), Some(branch)) => {
                self.note(session, &rpc, Fate::Lost);
                let answer = rpc.reply(failed_for_now(&rpc.message, branch));
                self.coordinator
                    .handle_message(now, channel(session), answer);
            }
            (Some(of_answer), Some(_)) => {
                self.faults.insert((session, rpc.id), of_answer);
                self.send(session, rpc, table, out);
            }
            (_, _) => self.send(session, rpc, table, out),
        }
    }

    fn send(
        &mut self,
        session: SessionId,
        rpc: Rpc,
        table: ExceptionTable,
        out: &mut Outbound<Door>,
    ) {
        self.note(session, &rpc, Fate::Arrived);
        if second_phase(&rpc.message).is_some() {
            self.at_work.insert((session, rpc.id));
        }
        if let Err(error) = out.send(session, &Outgoing { rpc, table }) {
            log::error!("session={session} event=unencodable reason={error}");
            out.abort(session);
        }
    }

    fn send_delayed(&mut self, instant: Instant, out: &mut Outbound<Door>) {
        while let Some(first) = self.delayed.first_entry()
            && first.key().0 <= instant
        {
            let (session, rpc, table) = first.remove();
            if self.connections.contains_key(&session) {
                self.send(session, rpc, table, out);
            }
        }
    }

    fn kill(&mut self, now: Now, session: SessionId, out: &mut Outbound<Door>) {
        out.abort(session);
        self.closed(now, session);
    }

    fn closed(&mut self, now: Now, session: SessionId) {
        if self.connections.remove(&session).is_some() {
            self.faults.retain(|(of, _), _| *of != session);
            self.at_work.retain(|(of, _)| *of != session);
            self.coordinator.handle_closed(now, channel(session));
        }
    }

    /// Store operations until none is left, then everything goes out.
    fn settle(&mut self, now: Now, out: &mut Outbound<Door>) {
        loop {
            while let Some((ticket, operation)) = self.coordinator.poll_operation() {
                self.store.submit(ticket, operation);
            }
            let mut idle = true;
            while let Some(completion) = self.store.poll_completion() {
                self.coordinator.handle_completion(now, completion);
                idle = false;
            }
            if !idle {
                continue;
            }
            self.store.flush();
            self.coordinator.handle_durable(self.store.durable());
            let Some(output) = self.coordinator.poll_output() else {
                return;
            };
            match output {
                Output::Send { to, rpc, table } => {
                    let session = SessionId::from_u64(to.0);
                    self.output(now, session, rpc, table, out);
                }
                Output::Close { channel, reason } => {
                    log::error!("event=kit-closes reason={reason:?}");
                    self.kill(now, SessionId::from_u64(channel.0), out);
                }
            }
        }
    }

    fn note(&self, session: SessionId, rpc: &Rpc, fate: Fate) {
        let registers = matches!(
            rpc.message,
            Message::RegisterTm(_)
                | Message::RegisterTmResponse(_)
                | Message::RegisterRm(_)
                | Message::RegisterRmResponse(_)
        );
        let Some(connection) = self.connections.get(&session).filter(|_| !registers) else {
            return;
        };
        self.history.note(Entry {
            at: self.clock.elapsed(),
            connection: *connection,
            id: rpc.id,
            message: rpc.message.clone(),
            fate,
        });
    }
}

fn channel(session: SessionId) -> ChannelId {
    ChannelId(session.as_u64())
}

/// The branch that the coordinator wants finished.
fn second_phase(message: &Message) -> Option<&BranchEnd> {
    match message {
        Message::BranchCommit(branch) | Message::BranchRollback(branch) => Some(branch),
        _ => None,
    }
}

/// The answer of a client that could not finish a branch yet.
fn failed_for_now(request: &Message, branch: BranchEnd) -> Message {
    let commits = matches!(request, Message::BranchCommit(_));
    let answer = BranchEndResponse {
        result: TxResult::Success,
        xid: branch.xid,
        branch_id: branch.branch_id,
        branch_status: match commits {
            true => BranchStatus::PhaseTwoCommitFailedRetryable,
            false => BranchStatus::PhaseTwoRollbackFailedRetryable,
        },
    };
    match commits {
        true => Message::BranchCommitResponse(answer),
        false => Message::BranchRollbackResponse(answer),
    }
}

/// The answer of a coordinator that refuses a request.
fn refusal(request: &Message, code: ExceptionCode, text: &str) -> Option<Message> {
    let result = TxResult::Failed {
        code,
        message: Text::from(text),
    };
    let end = |result| GlobalEndResponse {
        result,
        global_status: GlobalStatus::Unknown,
    };
    Some(match request {
        Message::GlobalBegin(_) => Message::GlobalBeginResponse(GlobalBeginResponse {
            result,
            xid: Text::new(),
            extra_data: Text::new(),
        }),
        Message::GlobalCommit(_) => Message::GlobalCommitResponse(end(result)),
        Message::GlobalRollback(_) => Message::GlobalRollbackResponse(end(result)),
        Message::GlobalStatus(_) => Message::GlobalStatusResponse(end(result)),
        Message::BranchRegister(_) => Message::BranchRegisterResponse(BranchRegisterResponse {
            result,
            branch_id: 0,
        }),
        Message::BranchReport(_) => Message::BranchReportResponse(BranchReportResponse { result }),
        Message::GlobalLockQuery(_) => Message::GlobalLockQueryResponse(GlobalLockQueryResponse {
            result,
            lockable: false,
        }),
        _ => return None,
    })
}

const LANE: LaneId = LaneId(0);
/// Where it listens, on its own machine.
const PORT: u16 = 8091;
/// Its wall clock at the start: a moment of 2026.
const START_MS: i64 = 1_767_225_600_000;
