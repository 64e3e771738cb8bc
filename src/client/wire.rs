//! The exchange bound to the network runtime: sessions and frames in, frames and answers out, on one thread.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime};

use super::background::{Jobs, Queued, SPAWN_WITHIN, Unserved, Work};
use super::credentials::Credentials;
use super::exchange::{Asked, Exchange, LinkId, Output};
use super::inbox::{Command, Inbox};
use super::resource::Resource;
use crate::codec::{Outgoing, SeataCodec};
use crate::net::{
    Address, CloseReason, ConnectOptions, ConnectorId, Cx, Endpoint, Error as NetError, Handle,
    Handler, Lane, LaneId, LaneInput, Lanes, Origin, Outbound, Refused, Route, Session,
    SessionConfig, SessionId,
};
use crate::proto::Text;
use crate::proto::codec::decode_message;
use crate::proto::frame::Frame;
use crate::proto::status::BranchType;

/// The handler of all connections. Everything happens in the lane.
pub(crate) struct Wire {
    codec: SeataCodec,
    inbox: Arc<Inbox>,
    lanes: OnceLock<Lanes<Wire>>,
    desk: Mutex<Option<Desk>>,
}

/// What reaches the lane.
pub(crate) enum Event {
    /// Something lies in the inbox.
    Asked,
    Opened(ConnectorId, SessionId, Option<IpAddr>),
    Closed(SessionId, CloseReason),
    ConnectFailed(ConnectorId, String),
}

/// The lane's state.
pub(crate) struct Desk {
    pub(crate) exchange: Exchange,
    pub(crate) inbox: Arc<Inbox>,
    /// Empty between two turns.
    pub(crate) commands: VecDeque<Command>,
    pub(crate) jobs: Arc<Jobs>,
    pub(crate) connect: ConnectOptions,
    pub(crate) credentials: Credentials,
    pub(crate) group: String,
    /// The wall clock, in ms since 1970.
    pub(crate) wall_ms: fn() -> u64,
    pub(crate) handle: Option<Handle<Wire>>,
    pub(crate) links: BTreeMap<ConnectorId, LinkId>,
    pub(crate) resources: BTreeMap<(Text, BranchType), Arc<dyn Resource>>,
}

impl Wire {
    pub(crate) fn new(frame_bytes_max: usize, desk: Desk) -> Self {
        Self {
            codec: SeataCodec { frame_bytes_max },
            inbox: Arc::clone(&desk.inbox),
            lanes: OnceLock::new(),
            desk: Mutex::new(Some(desk)),
        }
    }
}

impl Handler for Wire {
    type Codec = SeataCodec;
    type Lane = Option<Desk>;
    type Event = Event;

    fn codec(&self) -> &SeataCodec {
        &self.codec
    }

    fn lane(&self, _id: LaneId, lanes: Lanes<Self>) -> Option<Desk> {
        self.inbox.connect(lanes.clone());
        let _ = self.lanes.set(lanes);
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        desk.take()
    }

    fn on_open(
        &self,
        cx: &mut Cx<'_, Self>,
        session: &Session<Self>,
        _config: &mut SessionConfig,
    ) -> Result<(), Refused> {
        let Origin::Connected(connector) = session.peer().origin else {
            return Err(Refused("not one of our connections".into()));
        };
        let local = match &session.peer().local {
            Address::Ip(address) => Some(address.ip()),
            _ => None,
        };
        self.inbox.note_local(local);
        cx.post(LANE, Event::Opened(connector, session.id(), local))
            .map_err(|_| Refused("too many events wait".into()))
    }

    fn route(&self, _session: &Session<Self>, _frame: &Frame) -> Route {
        Route::Lane(LANE)
    }

    /// Everything goes to the lane.
    fn on_message(&self, _cx: &mut Cx<'_, Self>, _session: &Session<Self>, _frame: Frame) {}

    fn on_error(&self, _cx: &mut Cx<'_, Self>, session: &Session<Self>, error: &NetError) {
        log::warn!("session={session} event=connection-error error={error}");
    }

    fn on_close(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>, reason: CloseReason) {
        // Each open session has a place for this event.
        let _ = cx.post(LANE, Event::Closed(session.id(), reason));
    }

    fn on_connect_error(&self, connector: ConnectorId, error: &NetError, _again: Option<Instant>) {
        if let Some(lanes) = self.lanes.get() {
            let failed = Event::ConnectFailed(connector, error.to_string());
            let _ = lanes.complete(LANE, failed);
        }
    }
}

impl Lane<Wire> for Option<Desk> {
    fn on_batch(
        &mut self,
        now: Instant,
        batch: &mut VecDeque<LaneInput<Wire>>,
        out: &mut Outbound<Wire>,
    ) {
        match self {
            Some(desk) => desk.handle_batch(now, batch, out),
            None => batch.clear(),
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.as_ref()?.exchange.next_deadline()
    }
}

impl Desk {
    fn handle_batch(
        &mut self,
        now: Instant,
        batch: &mut VecDeque<LaneInput<Wire>>,
        out: &mut Outbound<Wire>,
    ) {
        for input in batch.drain(..) {
            match input {
                LaneInput::Message(session, frame) => self.message(now, session, frame, out),
                LaneInput::Event(event) => self.event(now, event, out),
            }
        }
        let mut commands = std::mem::take(&mut self.commands);
        self.inbox.swap(&mut commands);
        for command in commands.drain(..) {
            self.command(now, command);
        }
        self.commands = commands;
        self.exchange.handle_timeout(now);
        self.exchange.flush(now);
        while let Some(output) = self.exchange.poll_output() {
            self.obey(now, output, out);
        }
        if self.exchange.is_closed()
            && let Some(handle) = self.handle.take()
        {
            handle.drain(FLUSH_WITHIN);
        }
    }

    fn message(
        &mut self,
        now: Instant,
        session: SessionId,
        frame: Frame,
        out: &mut Outbound<Wire>,
    ) {
        match decode_message(&frame, self.exchange.table(session)) {
            Ok(message) => self
                .exchange
                .handle_message(now, session, frame.head, message),
            Err(error) => {
                log::error!("session={session} event=unreadable-message error={error}");
                out.abort(session);
            }
        }
    }

    fn event(&mut self, now: Instant, event: Event, out: &mut Outbound<Wire>) {
        match event {
            Event::Asked => {}
            Event::Opened(connector, session, local) => {
                let Some(link) = self.links.get(&connector).copied() else {
                    // Its coordinator left the list in the meantime.
                    return out.abort(session);
                };
                let extra = self
                    .credentials
                    .extra_data(&self.group, local, (self.wall_ms)());
                self.exchange.handle_open(now, link, session, extra);
            }
            Event::Closed(session, reason) => {
                self.exchange
                    .handle_closed(now, session, &reason.to_string());
            }
            Event::ConnectFailed(connector, error) => {
                if let Some(link) = self.links.get(&connector).copied() {
                    self.exchange.handle_connect_failed(link, &error);
                }
            }
        }
    }

    fn command(&mut self, now: Instant, command: Command) {
        let exchange = &mut self.exchange;
        match command {
            Command::Start {
                handle,
                addresses,
                ready,
            } => {
                self.handle = Some(handle);
                exchange.handle_addresses(now, &addresses);
                if let Some((within, sink)) = ready {
                    exchange.handle_start(now, within, sink);
                }
            }
            Command::Ask { id, request, sink } => exchange.handle_request(now, id, request, sink),
            Command::Forget(id) => exchange.handle_forget(now, id),
            Command::Resource { resource, sink } => {
                let key = (Text::from(resource.id()), resource.branch_type());
                if self.resources.contains_key(&key) {
                    let what = format!("the resource {} is registered already", key.0);
                    return drop(sink.send(Err(super::Error::Invalid(what))));
                }
                exchange.handle_resource(now, key.0.clone(), sink);
                self.resources.insert(key, resource);
            }
            Command::Addresses(addresses) => exchange.handle_addresses(now, &addresses),
            Command::Served {
                session,
                head,
                answer,
            } => exchange.handle_served(now, session, &head, answer),
            Command::Hold => exchange.handle_hold(),
            Command::Release => exchange.handle_release(),
            Command::Close { grace, sink } => exchange.handle_close(now, grace, sink),
        }
    }

    fn obey(&mut self, now: Instant, output: Output, out: &mut Outbound<Wire>) {
        match output {
            Output::Connect { link, address } => self.connect(link, &address),
            Output::Disconnect { link } => {
                let connector = self
                    .links
                    .iter()
                    .find(|(_, l)| **l == link)
                    .map(|(c, _)| *c);
                if let (Some(handle), Some(connector)) = (&self.handle, connector) {
                    self.links.remove(&connector);
                    handle.disconnect(connector);
                }
            }
            Output::Send {
                session,
                rpc,
                table,
            } => {
                let id = rpc.id;
                if let Err(error) = out.send(session, &Outgoing { rpc, table }) {
                    log::error!("session={session} event=unwritable-message error={error}");
                    self.exchange.handle_unsent(id, &error.to_string());
                }
            }
            Output::Abort { session } => out.abort(session),
            Output::Answer { sink, answer } => {
                if let Err(answer) = sink.send(answer) {
                    self.exchange.handle_unclaimed(now, answer);
                }
            }
            Output::Done { sink, result } => drop(sink.send(result)),
            Output::Serve {
                session,
                head,
                asked,
            } => {
                let work = Work {
                    session,
                    head,
                    asked,
                };
                self.serve(now, work);
            }
        }
    }

    fn connect(&mut self, link: LinkId, address: &str) {
        let Some(handle) = &self.handle else { return };
        match address.parse::<Endpoint>() {
            Ok(endpoint) => {
                let options = ConnectOptions {
                    name: format!("seata-{}", link.0),
                    ..self.connect.clone()
                };
                let connector = handle.connect(endpoint, options);
                self.links.insert(connector, link);
            }
            // The builder has read every address once.
            Err(error) => self
                .exchange
                .handle_connect_failed(link, &error.to_string()),
        }
    }

    fn serve(&mut self, now: Instant, work: Work) {
        let (id, branch_type) = match &work.asked {
            Asked::Commit(end) | Asked::Rollback(end) => (&end.resource_id, end.branch_type),
            Asked::DeleteUndoLog(delete) => (&delete.resource_id, delete.branch_type),
        };
        let (work, why) = match self.resources.get(&(id.clone(), branch_type)) {
            Some(resource) => match self.jobs.push(work, Arc::clone(resource)) {
                Ok(Queued::Soon) => return,
                Ok(Queued::Unspawned) => return self.wait_for_spawn(),
                Err(unserved) => (unserved.work, unserved.why.to_owned()),
            },
            None => {
                log::error!("resource={id} event=unknown-resource type={branch_type}");
                let why = format!("no resource {id} of type {branch_type} is registered here");
                (work, why)
            }
        };
        let answer = work.asked.retry_later(&why);
        self.exchange
            .handle_served(now, work.session, &work.head, answer);
    }

    /// Answers what waits for the host to spawn the client's future, if that takes too long.
    fn wait_for_spawn(&self) {
        let Some(handle) = &self.handle else { return };
        let (jobs, inbox) = (Arc::clone(&self.jobs), Arc::clone(&self.inbox));
        handle.after(SPAWN_WITHIN, move || {
            for Unserved { work, why } in jobs.give_up() {
                inbox.push(Command::Served {
                    session: work.session,
                    answer: work.asked.retry_later(why),
                    head: work.head,
                });
            }
        });
    }
}

/// Milliseconds since 1970, for the signature of a registration and the context of a try.
#[allow(clippy::disallowed_methods)] // other machines compare it with their own wall clocks
pub(super) fn epoch_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

/// The one lane.
pub(crate) const LANE: LaneId = LaneId(0);

/// How long the last messages may take to leave when the client is closed.
const FLUSH_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);
