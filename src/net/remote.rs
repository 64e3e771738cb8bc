//! What other threads ask of the reactor.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use socket2::SockRef;

use super::codec::Link;
use super::config::{ConnectOptions, ListenOptions};
use super::endpoint::Endpoint;
use super::error::CloseReason;
use super::handler::{Handler, In};
use super::id::{ConnectorId, SessionId};
use super::outbound::OutBatch;
use super::pending::Completion;
use super::reactor::Listening;
use super::slots::Key;
use super::transport::{Advance, Stack};

/// One item of the reactor's queue.
pub(crate) enum Remote<H: Handler> {
    /// Bytes for one session.
    Bytes(SessionId, Payload),
    /// A request whose reply somebody waits for.
    Call(SessionId, Payload, Call<In<H>>),
    /// Nobody waits for a reply any more.
    ForgetCall(SessionId, u64),
    /// What a batch of a lane sent.
    Batch(OutBatch),
    Close(SessionId),
    Abort(SessionId, CloseReason),
    /// `on_blocking` panicked.
    Panicked(SessionId, String),
    Tick(SessionId, Duration),
    Socket(SessionId, SocketFn),
    /// A full lane has room again.
    LaneRoom(usize),
    /// Something happened that the turn looks at anyway.
    LaneWork,
    LaneFailed(usize, String),
    /// The elastic pool has room again.
    BlockingRoom,
    /// The elastic pool has gone on with a handshake.
    Handshaken(Key, Box<Stack>, Advance),
    Listen(Box<(Endpoint, ListenOptions, Completion<Listening>)>),
    Connect(Box<(ConnectorId, Endpoint, ConnectOptions)>),
    Disconnect(ConnectorId),
    Resolved(Resolved),
    SetTimer(u64, Duration, TimerFn),
    CancelTimer(u64),
    Drain(Duration),
}

/// Encoded messages on their way to one session.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) bytes: BytesMut,
    pub(crate) links: Vec<Link>,
    pub(crate) frames: u64,
    /// Where each message ends, if there are several.
    pub(crate) ends: Vec<usize>,
    /// Where they go, if the session does not say.
    pub(crate) to: Option<SocketAddr>,
}

impl Payload {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.links.iter().map(|l| l.bytes.len()).sum::<usize>()
    }
}

/// A reply somebody waits for.
pub(crate) struct Call<T> {
    pub(crate) id: u64,
    /// Tells calls apart that use the same id one after the other.
    pub(crate) serial: u64,
    pub(crate) timeout: Duration,
    pub(crate) completion: Completion<T>,
}

/// What a name resolved to.
pub(crate) struct Resolved {
    pub(crate) connector: ConnectorId,
    pub(crate) link: usize,
    pub(crate) outcome: io::Result<Vec<SocketAddr>>,
}

/// What a timer of the application does.
pub(crate) enum TimerFn {
    Once(Box<dyn FnOnce() + Send>),
    Every(Duration, Box<dyn FnMut() + Send>),
    /// Its function runs at this moment.
    Running,
}

pub(crate) type SocketFn = Box<dyn FnOnce(&SockRef<'_>) + Send>;
