//! The load on the network runtime: one thread, an inline lane, one connector per connection.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::load::{Content, Frame, Load, Plan};
use super::tally::{Report, own_cpu};
use crate::codec::{Outgoing, SeataCodec};
use crate::net::{
    Backoff, CloseReason, Config, ConnectOptions, ConnectorId, Cx, Endpoint, Handle, Handler, Lane,
    LaneId, LaneInput, Lanes, Limits, Origin, Outbound, Reactor, Refused, Route, Session,
    SessionConfig, SessionId, Workers,
};
use crate::proto;
use crate::proto::codec::{Rpc, decode_message};
use crate::proto::frame::{FrameHead, MessageKind};
use crate::proto::version::{ExceptionTable, PeerVersion};

/// Runs a plan against a coordinator.
pub(super) fn run(
    target: Endpoint,
    plan: Plan,
    connect_within: Duration,
    progress: bool,
) -> Result<Report, String> {
    let shared = Arc::new(Shared::default());
    let client = Client {
        codec: SeataCodec::default(),
        plan: plan.clone(),
        connect_within,
        progress,
        shared: shared.clone(),
    };
    let config = Config {
        workers: Workers {
            threads: 0,
            lanes: 1,
            ..Workers::default()
        },
        limits: Limits {
            sessions: plan.links() + 16,
            ..Limits::default()
        },
        ..Config::default()
    };
    let mut reactor = Reactor::new(config, client).map_err(|error| error.to_string())?;
    let _ = shared.handle.set(reactor.handle());
    let started = reactor.lanes().complete(LANE, Event::Start);
    started.map_err(|_| "the lane takes no event".to_owned())?;
    for link in 0..plan.links() {
        let options = ConnectOptions {
            backoff: Backoff {
                base: Duration::from_millis(50),
                cap: Duration::from_secs(1),
                ..Backoff::default()
            },
            ..ConnectOptions::default()
        };
        let connector = reactor.connect(target.clone(), options);
        shared.links().insert(connector, link);
    }
    reactor.run().map_err(|error| error.to_string())?;
    let results = shared
        .results
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let (load, elapsed) = results.ok_or("the run was cut short")??;
    let (unstarted, lost_connections) = (load.unstarted(), load.lost());
    let (tally, audit) = load.into_results();
    Ok(Report {
        target: target.to_string(),
        scenario: plan.scenario.to_string(),
        clients: plan.clients,
        connections: plan.links(),
        rate: plan.rate,
        warmup: plan.warmup,
        elapsed,
        tally,
        verdict: audit.verdict(),
        unstarted,
        lost_connections,
        own_cpu: own_cpu(),
    })
}

/// A number that differs from run to run.
#[allow(clippy::disallowed_methods)] // rows of two runs against one coordinator should not meet
pub(super) fn salt() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(0)
}

/// The handler of all connections.
struct Client {
    codec: SeataCodec,
    plan: Plan,
    connect_within: Duration,
    progress: bool,
    shared: Arc<Shared>,
}

/// What outlives the reactor.
#[derive(Default)]
struct Shared {
    links: Mutex<HashMap<ConnectorId, usize>>,
    handle: OnceLock<Handle<Client>>,
    results: Mutex<Option<Result<(Load, Duration), String>>>,
}

enum Event {
    /// The first: starts the clock of connecting.
    Start,
    Opened(SessionId, usize),
    Closed(SessionId, usize),
}

struct LoadLane {
    load: Option<Load>,
    plan: Plan,
    connect_within: Duration,
    table: ExceptionTable,
    sessions: Vec<Option<SessionId>>,
    links: HashMap<SessionId, usize>,
    frames: Vec<Frame>,
    connect_until: Option<Instant>,
    next_line: Option<Instant>,
    progress: bool,
    shared: Arc<Shared>,
}

impl Shared {
    fn links(&self) -> std::sync::MutexGuard<'_, HashMap<ConnectorId, usize>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, results: Result<(Load, Duration), String>) {
        *self.results.lock().unwrap_or_else(PoisonError::into_inner) = Some(results);
        if let Some(handle) = self.handle.get() {
            handle.drain(Duration::ZERO);
        }
    }
}

impl Client {
    fn link(&self, session: &Session<Self>) -> Option<usize> {
        match session.peer().origin {
            Origin::Connected(connector) => self.shared.links().get(&connector).copied(),
            Origin::Accepted(_) | Origin::Bound(_) => None,
        }
    }
}

impl Handler for Client {
    type Codec = SeataCodec;
    type Lane = LoadLane;
    type Event = Event;

    fn codec(&self) -> &SeataCodec {
        &self.codec
    }

    fn lane(&self, _id: LaneId, _lanes: Lanes<Self>) -> LoadLane {
        LoadLane {
            load: None,
            table: PeerVersion::parse(&self.plan.version).exception_table(),
            sessions: vec![None; self.plan.links()],
            links: HashMap::new(),
            frames: Vec::new(),
            connect_until: None,
            next_line: None,
            plan: self.plan.clone(),
            connect_within: self.connect_within,
            progress: self.progress,
            shared: self.shared.clone(),
        }
    }

    fn on_open(
        &self,
        cx: &mut Cx<'_, Self>,
        session: &Session<Self>,
        _config: &mut SessionConfig,
    ) -> Result<(), Refused> {
        let link = self
            .link(session)
            .ok_or(Refused("not a connection of the run".into()))?;
        cx.post(LANE, Event::Opened(session.id(), link))
            .map_err(|_| Refused("the generator's queue is full".into()))
    }

    fn route(&self, _session: &Session<Self>, frame: &proto::frame::Frame) -> Route {
        if frame.head.kind.is_heartbeat() {
            Route::Drop
        } else {
            Route::Lane(LANE)
        }
    }

    /// Everything goes to the lane.
    fn on_message(
        &self,
        _cx: &mut Cx<'_, Self>,
        _session: &Session<Self>,
        _frame: proto::frame::Frame,
    ) {
    }

    fn on_close(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>, _reason: CloseReason) {
        if let Some(link) = self.link(session) {
            // Each open session has a place for this event.
            let _ = cx.post(LANE, Event::Closed(session.id(), link));
        }
    }
}

impl Lane<Client> for LoadLane {
    fn on_batch(
        &mut self,
        now: Instant,
        batch: &mut VecDeque<LaneInput<Client>>,
        out: &mut Outbound<Client>,
    ) {
        let Some(mut load) = self.load.take().or_else(|| self.first(now)) else {
            batch.clear();
            return;
        };
        for input in batch.drain(..) {
            self.take(&mut load, now, input);
        }
        load.handle_timeout(now, &mut self.frames);
        for frame in self.frames.drain(..) {
            let Some(session) = self.sessions[frame.link] else {
                continue;
            };
            let message = Outgoing {
                rpc: rpc(frame.id, frame.content),
                table: self.table,
            };
            if out.send(session, &message).is_err() {
                out.close(session);
            }
        }
        if self.progress {
            self.tell(&mut load, now);
        }
        self.end_or_keep(load, now);
    }

    fn next_deadline(&self) -> Option<Instant> {
        let load = self.load.as_ref()?;
        let connect = self.connect_until.filter(|_| load.begun().is_none());
        let line = self.next_line.filter(|_| load.begun().is_some());
        [load.next_deadline(), connect, line]
            .into_iter()
            .flatten()
            .min()
    }
}

impl LoadLane {
    /// The load, made at the first batch; None when it has ended.
    fn first(&mut self, now: Instant) -> Option<Load> {
        if self.connect_until.is_some() {
            return None;
        }
        self.connect_until = Some(now + self.connect_within);
        Some(Load::new(self.plan.clone(), now))
    }

    fn take(&mut self, load: &mut Load, now: Instant, input: LaneInput<Client>) {
        match input {
            LaneInput::Event(Event::Start) => {}
            LaneInput::Event(Event::Opened(session, link)) => {
                self.sessions[link] = Some(session);
                self.links.insert(session, link);
                load.handle_open(link, &mut self.frames);
            }
            LaneInput::Event(Event::Closed(session, link)) => {
                self.links.remove(&session);
                if self.sessions[link] == Some(session) {
                    self.sessions[link] = None;
                    load.handle_closed(now, link, &mut self.frames);
                }
            }
            LaneInput::Message(session, frame) => {
                let Some(&link) = self.links.get(&session) else {
                    return;
                };
                match decode_message(&frame, self.table) {
                    Ok(message) => {
                        load.handle_message(now, link, frame.head.id, message, &mut self.frames);
                    }
                    Err(error) => log::warn!("event=bad_message reason={error}"),
                }
            }
        }
    }

    fn end_or_keep(&mut self, load: Load, now: Instant) {
        if load.is_over() {
            self.shared.finish(Ok((load, self.plan.duration)));
        } else if load.begun().is_none() && self.connect_until.is_some_and(|until| now >= until) {
            let (have, want) = (load.registered(), self.plan.links());
            let within = self.connect_within.as_secs_f64();
            self.shared.finish(Err(format!(
                "{have} of {want} connections registered within {within} s"
            )));
        } else {
            self.load = Some(load);
        }
    }

    /// A line each second.
    fn tell(&mut self, load: &mut Load, now: Instant) {
        let Some(begun) = load.begun() else { return };
        let next = *self.next_line.get_or_insert(begun + LINE_PERIOD);
        if now < next {
            return;
        }
        self.next_line = Some(next + LINE_PERIOD);
        let failed = load.tally().failed();
        let interval = load.interval();
        eprintln!(
            "{:>5.0} s {:>8} tx/s   p50 {:>8.3} ms   p99 {:>8.3} ms   errors {failed}",
            now.duration_since(begun).as_secs_f64(),
            interval.count(),
            interval.quantile(0.5),
            interval.quantile(0.99),
        );
        interval.clear();
    }
}

fn rpc(id: i32, content: Content) -> Rpc {
    match content {
        Content::Request(message) => Rpc::request(id, message),
        Content::Response(message) => {
            let head = FrameHead { id, ..head() };
            Rpc::response_to(&head, message)
        }
        Content::Ping => Rpc::ping(id),
    }
}

fn head() -> FrameHead {
    FrameHead {
        kind: MessageKind::Request,
        serializer: proto::codec::SERIALIZER_SEATA,
        compressor: proto::codec::COMPRESSOR_NONE,
        id: 0,
        head_map: proto::HeadMap::new(),
    }
}

const LANE: LaneId = LaneId(0);
const LINE_PERIOD: Duration = Duration::from_secs(1);
