//! What happens on the network thread: heartbeats, the door, and the way to the lane.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::Stop;
use super::lane::{CoordinatorLane, Event};
use super::signal::Signal;
use crate::codec::{Outgoing, SeataCodec};
use crate::net::{
    CloseReason, Cx, Error, Handler, LaneId, Lanes, Refused, Route, Session, SessionConfig,
};
use crate::proto::codec::Rpc;
use crate::proto::frame::{Frame, MessageKind};
use crate::proto::message::Message;
use crate::proto::version::ExceptionTable;
use crate::tc::admission::LogGate;

/// The handler of all connections.
pub(crate) struct Edge {
    codec: SeataCodec,
    connections_per_ip_max: usize,
    first_frame_within: Duration,
    doors: Mutex<Doors>,
    /// The way to the lane, for the store's sync thread.
    wake: Arc<Wake>,
    stop: Arc<Stop>,
}

/// Wakes the lane when more is durable. Wakes that the lane has not seen yet are one.
#[derive(Default)]
pub(crate) struct Wake {
    lanes: OnceLock<Lanes<Edge>>,
    pending: Arc<Signal>,
}

#[derive(Default)]
struct Doors {
    per_ip: HashMap<IpAddr, usize>,
    gate: Option<LogGate>,
}

/// The coordinator's lane.
pub(crate) const LANE: LaneId = LaneId(0);

/// How often a connection without a first frame is looked at within its time. The first look can come at any moment,
/// since ticks are spread over their period.
const LOOKS: u32 = 4;

impl Wake {
    /// Never blocks.
    pub(crate) fn wake(&self) {
        let Some(lanes) = self.lanes.get() else {
            return;
        };
        if self.pending.raise() {
            // Refused only when the lane is closed for good.
            let _ = lanes.complete(LANE, Event::Durable);
        }
    }
}

impl Edge {
    pub(crate) fn new(
        codec: SeataCodec,
        connections_per_ip_max: usize,
        first_frame_within: Duration,
        wake: Arc<Wake>,
        stop: Arc<Stop>,
    ) -> Self {
        Self {
            codec,
            connections_per_ip_max,
            first_frame_within,
            doors: Mutex::new(Doors::default()),
            wake,
            stop,
        }
    }

    fn doors(&self) -> std::sync::MutexGuard<'_, Doors> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handler for Edge {
    type Codec = SeataCodec;
    type Lane = CoordinatorLane;
    type Event = Event;

    fn codec(&self) -> &SeataCodec {
        &self.codec
    }

    fn lane(&self, _id: LaneId, lanes: Lanes<Self>) -> CoordinatorLane {
        // There is one lane, so this is the first call.
        let _ = self.wake.lanes.set(lanes);
        CoordinatorLane::new(self.wake.pending.clone(), self.stop.clone())
    }

    fn on_open(
        &self,
        cx: &mut Cx<'_, Self>,
        session: &Session<Self>,
        config: &mut SessionConfig,
    ) -> Result<(), Refused> {
        // Clients are told apart by host and port, which a peer on a unix socket has not.
        let Some(peer) = session.peer().remote.ip() else {
            return Err(Refused("a coordinator takes TCP connections only".into()));
        };
        {
            let mut doors = self.doors();
            let open = doors.per_ip.entry(peer.ip()).or_default();
            if *open >= self.connections_per_ip_max {
                return Err(Refused("limit connections_per_ip_max is met".into()));
            }
            *open += 1;
        }
        config.tick = self.first_frame_within / LOOKS;
        cx.post(LANE, Event::Opened(session.id(), peer))
            .map_err(|_| {
                self.forget(peer.ip());
                Refused("the coordinator's queue is full".into())
            })
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
        let pong = Outgoing {
            rpc,
            table: ExceptionTable::V2_0,
        };
        // A peer that takes no bytes is the session's own affair.
        let _ = cx.send(&pong);
    }

    /// A connection that has not sent one whole frame in time is no client. One that has ticks no more.
    fn on_tick(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>) {
        let age = cx.now().saturating_duration_since(session.opened());
        if session.stats().frames_in > 0 {
            session.set_tick(Duration::ZERO);
        } else if age >= self.first_frame_within {
            session.abort();
        }
    }

    /// It has asked its last; the lane closes it when it has its answers.
    fn on_finished(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>) {
        if cx.post(LANE, Event::Finished(session.id())).is_err() {
            session.close();
        }
    }

    fn on_error(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>, error: &Error) {
        let now = cx.now();
        let mut doors = self.doors();
        let gate = doors.gate.get_or_insert_with(|| LogGate::new(now));
        if let Some(skipped) = gate.admit(now) {
            let (id, peer) = (session.id(), &session.peer().remote);
            log::warn!("session={id} peer={peer} event=error skipped={skipped} reason={error}");
        }
    }

    fn on_close(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>, reason: CloseReason) {
        let (id, peer) = (session.id(), &session.peer().remote);
        log::debug!("session={id} peer={peer} event=closed reason={reason}");
        if reason == CloseReason::Refused {
            return;
        }
        if let Some(peer) = peer.ip() {
            self.forget(peer.ip());
        }
        let kept = cx.post(LANE, Event::Closed(id));
        debug_assert!(kept.is_ok(), "each open session has a place for this event");
    }
}

impl Edge {
    fn forget(&self, ip: IpAddr) {
        let mut doors = self.doors();
        if let Some(open) = doors.per_ip.get_mut(&ip) {
            *open -= 1;
            if *open == 0 {
                doors.per_ip.remove(&ip);
            }
        }
    }
}
