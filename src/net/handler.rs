//! What an application implements: the handler that runs on the reactor, and what its callbacks may do.

use std::net::SocketAddr;
use std::time::Instant;

use super::codec::Codec;
use super::config::SessionConfig;
use super::engine::Engine;
use super::error::{CloseReason, Error, Refused, SendError, Sent};
use super::id::{ConnectorId, LaneId};
use super::lane::{Lane, Lanes};
use super::outgoing::Outgoing;
use super::reactor::Handle;
use super::session::Session;

/// What a handler's codec decodes.
pub type In<H> = <<H as Handler>::Codec as Codec>::In;
/// What a handler's codec encodes.
pub type Out<H> = <<H as Handler>::Codec as Codec>::Out;

/// What the application does on the reactor.
///
/// Callbacks run one at a time on the reactor's thread and must not block: whatever takes long belongs to a lane or to
/// the elastic pool, see [`Route`]. A callback that panics closes its session only, unless the program is built with
/// `panic = "abort"`. No callback of a session comes after its `on_close`.
#[allow(unused_variables)]
pub trait Handler: Sized + Send + Sync + 'static {
    /// The protocol.
    type Codec: Codec;
    /// The state behind each lane; `()` where no lanes are used.
    type Lane: Lane<Self>;
    /// What the application itself sends to lanes; `()` or an uninhabited type where it sends nothing.
    type Event: Send + 'static;

    /// The protocol's one codec.
    fn codec(&self) -> &Self::Codec;

    /// Makes the state of one lane, on the thread that will own it. A handler without lanes says `type Lane = ();` and leaves
    /// the body empty.
    fn lane(&self, id: LaneId, lanes: Lanes<Self>) -> Self::Lane;

    /// A session is there. `config` starts as the listener's or connector's; its socket options are applied already, what
    /// else is changed in it holds from now on. Which listener or connector it was: [`Peer::origin`](super::Peer::origin).
    ///
    /// # Errors
    /// A refused session is closed after what was sent to it is flushed; `on_close` follows as for any other.
    fn on_open(
        &self,
        cx: &mut Cx<'_, Self>,
        session: &Session<Self>,
        config: &mut SessionConfig,
    ) -> Result<(), Refused> {
        Ok(())
    }

    /// Where a message goes. Must be quick. The default keeps a session's messages in order on one of the lanes, or leads to
    /// `on_message` where there are none. See the module's table of routes.
    fn route(&self, session: &Session<Self>, message: &In<Self>) -> Route {
        Route::Keyed(session.id().as_u64())
    }

    /// A message routed inline, or routed to a lane where there are none.
    fn on_message(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>, message: In<Self>);

    /// A message routed to the elastic pool, on one of its threads. May block.
    fn on_blocking(&self, session: &Session<Self>, message: In<Self>) {}

    /// The period of [`SessionConfig::tick`] passed: the place for heartbeats. Comes while the session is paused or its
    /// workers are busy, too.
    fn on_tick(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>) {}

    /// A congested session has room again: at most [`SessionConfig::low_water`] waits.
    fn on_writable(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>) {}

    /// The peer will send no more and may still read: only with `half_close`. Close the session when it has its answers.
    fn on_finished(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>) {}

    /// Something went wrong; the session is about to close. What is sent here is flushed if the connection still works.
    ///
    /// Where messages have boundaries of their own (WebSocket, UDP), one that cannot be decoded is told here, as
    /// [`Error::Codec`], and dropped; the session lives.
    fn on_error(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>, error: &Error) {}

    /// The session is gone. Exactly once per session that saw `on_open`.
    fn on_close(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>, reason: CloseReason) {}

    /// A connector's attempt failed. `again` is when it tries next; `None`: it gave up.
    fn on_connect_error(&self, connector: ConnectorId, error: &Error, again: Option<Instant>) {}

    /// The reactor was told to drain: no new work comes in from now on. What lanes still hold back they should finish.
    fn on_drain(&self, lanes: &Lanes<Self>) {}
}

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// To `on_message`, on the reactor's thread, now. For heartbeats and what is answered from memory.
    Inline,
    /// To this lane.
    Lane(LaneId),
    /// To the lane with this number modulo the number of lanes: equal keys keep their order.
    Keyed(u64),
    /// To `on_blocking`, on a thread of the elastic pool. No order is kept.
    Blocking,
    /// To the caller that waits for this reply, without a detour. Dropped and counted when nobody does.
    Reply(u64),
    /// Nowhere.
    Drop,
}

/// The reactor as a callback sees it: the running session's outbox, the lanes and the turn's time.
///
/// Everything a callback does to another session, or to its own through the [`Session`] handle, takes effect after the
/// callback.
pub struct Cx<'a, H: Handler> {
    pub(crate) engine: &'a mut Engine<H>,
    pub(crate) out: Option<&'a mut Outgoing>,
    pub(crate) closing: bool,
}

impl<H: Handler> Cx<'_, H> {
    /// Sends to the running session, straight into its outbox. On a bound socket for datagrams: to the sender of the one
    /// being handled.
    ///
    /// # Errors
    /// [`SendError::Closed`] when the session is closing, [`SendError::Full`] at its hard limit, [`SendError::Address`]
    /// when it hears many and none is being handled, or what the codec says.
    #[inline]
    pub fn send(&mut self, message: &Out<H>) -> Result<Sent, SendError> {
        self.encode(message, None)
    }

    /// Sends a datagram from the running session, a bound socket, to an address.
    ///
    /// # Errors
    /// [`SendError::Address`] on any other session, else as [`Cx::send`].
    pub fn send_to(&mut self, message: &Out<H>, to: SocketAddr) -> Result<Sent, SendError> {
        self.encode(message, Some(to))
    }

    #[inline]
    fn encode(&mut self, message: &Out<H>, to: Option<SocketAddr>) -> Result<Sent, SendError> {
        match &mut self.out {
            Some(out) => out.encode(self.engine, message, to),
            None => Err(SendError::Closed),
        }
    }

    /// Posts an event to a lane, in order with the messages of this turn.
    ///
    /// # Errors
    /// Gives the event back when too many wait already, or when the lane does not exist or is closed for good. In
    /// `on_close` there is always a place.
    pub fn post(&mut self, lane: LaneId, event: H::Event) -> Result<(), H::Event> {
        self.engine.gather.event(lane, event, self.closing)
    }

    /// The time, read once per turn.
    pub fn now(&self) -> Instant {
        self.engine.now
    }

    /// The reactor's handle, to listen, connect or set timers.
    pub fn handle(&self) -> Handle<H> {
        Handle::new(&self.engine.shared)
    }
}
