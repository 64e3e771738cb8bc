//! A layer between a session's buffers and its socket, as a pure value: bytes in, bytes out, no socket, no clock.
//!
//! Layers are stacked: the one above reads what the one below understood and writes into what the one below sends. The
//! stack does the reading and writing, bounds both directions and keeps what does not fit; a layer only transforms. All
//! four buffers are appended to at the back and consumed at the front.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::BytesMut;

use crate::net::endpoint::Peer;

/// Encryption, message framing or compression of one connection.
pub(crate) trait Layer: Send {
    /// Appends what has to be said before the peer has said anything: a client's first flight.
    fn start(&mut self, out: &mut BytesMut) -> Result<(), LayerError>;

    /// Whether application bytes may flow. [`Layer::send`] is not called before.
    fn is_established(&self) -> bool;

    /// Consumes bytes of the peer from the front of `below` and appends what they mean to `above`, which grows by little
    /// more than `limit` bytes. What the layer answers by itself (a handshake, an alert, a pong) is appended to `out`.
    ///
    /// On an error `out` may hold a last word for the peer, which is sent before the connection ends.
    fn receive(
        &mut self,
        below: &mut BytesMut,
        above: &mut BytesMut,
        limit: usize,
        out: &mut BytesMut,
    ) -> Result<Progress, LayerError>;

    /// Appends `piece` to `out` in the form the peer's layer understands. A layer that keeps messages apart is given
    /// exactly one.
    fn send(&mut self, piece: &[u8], out: &mut BytesMut) -> Result<(), LayerError>;

    /// The last piece of this turn has been given: nothing may be held back.
    fn flush(&mut self, out: &mut BytesMut) -> Result<(), LayerError> {
        let _ = out;
        Ok(())
    }

    /// Appends the layer's own goodbye; nothing is sent after it. Called at most once.
    fn finish(&mut self, out: &mut BytesMut);

    /// The layer below has ended. `Err(Truncated)` if this one had not.
    fn ended(&mut self) -> Result<(), LayerError>;

    /// Whether it can still be sent to when [`Layer::receive`] has failed. Then what waits goes out first, and
    /// [`Layer::finish`] tells the peer why nothing follows.
    fn sends_after_failure(&self) -> bool {
        false
    }

    /// Whether what it appends above are whole messages, see [`Progress::Message`].
    fn keeps_messages(&self) -> bool {
        false
    }

    /// The longest message wanted from now on, in bytes.
    fn limit_message(&mut self, bytes: usize) {
        let _ = bytes;
    }

    /// Adds what it knows about the other end; called once established.
    fn describe(&self, peer: &mut Peer) {
        let _ = peer;
    }

    /// How often [`Layer::probe`] wants to be called, if at all.
    fn probe_period(&self) -> Option<Duration> {
        None
    }

    /// A liveness period is over: appends a probe, or fails when the last one was not answered.
    fn probe(&mut self, out: &mut BytesMut) -> Result<(), LayerError> {
        let _ = out;
        Ok(())
    }
}

/// How far receiving came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Everything in `below` that makes sense so far was used; more bytes are needed.
    Hungry,
    /// `above` has taken its fill: call again before reading more.
    More,
    /// What `above` holds now is one whole message. Call again, with `above` emptied.
    Message,
    /// The peer said goodbye properly. What `below` still holds means nothing.
    Finished,
}

/// Why a layer gave up. The connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LayerError {
    /// The two ends did not come to terms.
    Handshake(Cow<'static, str>),
    /// Bytes that break the layer's protocol.
    Protocol(Cow<'static, str>),
    /// More than a configured limit; its name.
    Limit(&'static str),
    /// The connection ended without the layer's goodbye.
    Truncated,
    /// The peer did not answer a probe.
    Dead,
}

impl fmt::Display for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LayerError::Handshake(what) => write!(f, "handshake failed: {what}"),
            LayerError::Protocol(what) => write!(f, "protocol error: {what}"),
            LayerError::Limit(name) => write!(f, "limit reached: {name}"),
            LayerError::Truncated => f.write_str("ended without a goodbye"),
            LayerError::Dead => f.write_str("no answer to a probe"),
        }
    }
}
