//! WebSocket (RFC 6455) as a layer: the handshake of both sides, then messages. What the session sends and receives are
//! whole messages; a message is sent as one frame and received in any number of them.
//!
//! # Guarantees
//!
//! - Nothing the peer sends makes it hold more than the longest message allowed, nor panic. What is refused is answered
//!   with an HTTP status before the connection is made, with a close code afterwards.
//! - Frames never interleave: whatever is appended is whole. Pings are answered in order, each once.
//! - The same seed makes the same bytes: masks and keys come from it.
//! - Payloads are unmasked where they lie or are copied to; there is no allocation per message.
//!
//! # Left out
//!
//! HTTP but for the upgrade: no redirects, no authentication but by headers the application gives, no HTTP/2. Of extensions
//! there is permessage-deflate (RFC 7692), with feature `compress`. A handler is not told whether a message was text or
//! binary.
//!
//! Accept keys and the bits of frame heads come from tungstenite; its message layer is not used, since it works on a stream
//! of its own and refuses extensions (network.md B.23).

mod client;
#[cfg(feature = "compress")]
mod deflate;
#[cfg(not(feature = "compress"))]
#[path = "no_deflate.rs"]
mod deflate;
#[cfg(feature = "compress")]
mod extension;
mod frame;
mod head;
mod mask;
mod messages;
mod options;
mod server;
#[cfg(test)]
mod tests;
mod utf8;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use super::layer::{Layer, LayerError, Progress};
use crate::net::endpoint::Peer;
use client::ExpectAnswer;
pub(crate) use client::WsTarget;
use deflate::Deflate;
use mask::Masks;
use messages::{Messages, Side, Terms};
pub use options::{WsClient, WsMessage, WsOrigins, WsPeer, WsServer};
#[cfg(feature = "compress")]
pub use options::{WsContext, WsDeflate};
use server::ExpectRequest;

/// One connection.
pub(crate) struct WebSocket {
    stage: Stage,
    peer: Option<WsPeer>,
    ping: Duration,
    max_message: usize,
    seed: u64,
}

enum Stage {
    ExpectRequest(ExpectRequest),
    ExpectAnswer(ExpectAnswer),
    Open(Messages),
    Refused,
}

impl WebSocket {
    /// The server's side. `max_message` is the longest message accepted, in bytes.
    pub(crate) fn server(options: Arc<WsServer>, max_message: usize, seed: u64) -> Self {
        WebSocket {
            ping: options.ping,
            stage: Stage::ExpectRequest(ExpectRequest::new(options)),
            peer: None,
            max_message,
            seed,
        }
    }

    /// The client's side; its options must have been checked. Masks and the key are made from `seed`.
    pub(crate) fn client(
        options: Arc<WsClient>,
        target: WsTarget,
        max_message: usize,
        seed: u64,
    ) -> Self {
        let nonce = Masks::new(!seed).nonce();
        WebSocket {
            ping: options.ping,
            stage: Stage::ExpectAnswer(ExpectAnswer::new(options, target, nonce)),
            peer: None,
            max_message,
            seed,
        }
    }

    /// Goes on with the handshake. Whether messages may flow.
    fn shake_hands(
        &mut self,
        below: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<bool, LayerError> {
        let refused = |why: String| LayerError::Handshake(why.into());
        let (peer, terms) = match &mut self.stage {
            Stage::Open(_) => return Ok(true),
            Stage::Refused => return Err(refused("it has failed before".to_owned())),
            Stage::ExpectRequest(request) => match request.receive(below, out) {
                Ok(None) => return Ok(false),
                Ok(Some(granted)) => {
                    let options = &request.options;
                    let terms = (options.message, options.max_fragments, granted.deflate);
                    (granted.peer, (Side::Server, terms))
                }
                Err(why) => {
                    self.stage = Stage::Refused;
                    return Err(refused(why));
                }
            },
            Stage::ExpectAnswer(answer) => match answer.receive(below) {
                Ok(None) => return Ok(false),
                Ok(Some((peer, deflate))) => {
                    let options = &answer.options;
                    let terms = (options.message, options.max_fragments, deflate);
                    (peer, (Side::Client, terms))
                }
                Err(why) => {
                    self.stage = Stage::Refused;
                    return Err(refused(why));
                }
            },
        };
        let (side, (send_as, max_fragments, deflate)) = terms;
        self.open(peer, side, send_as, max_fragments, deflate);
        Ok(true)
    }

    fn open(
        &mut self,
        peer: WsPeer,
        side: Side,
        send_as: WsMessage,
        max_fragments: u32,
        deflate: Option<Deflate>,
    ) {
        self.peer = Some(peer);
        self.stage = Stage::Open(Messages::new(Terms {
            side,
            masks: Masks::new(self.seed),
            send_as,
            max_message: self.max_message,
            max_fragments,
            deflate,
        }));
    }
}

impl Layer for WebSocket {
    fn describe(&self, peer: &mut Peer) {
        peer.ws = self.peer.clone().map(Box::new);
    }

    fn start(&mut self, out: &mut BytesMut) -> Result<(), LayerError> {
        if let Stage::ExpectAnswer(answer) = &self.stage {
            answer.start(out);
        }
        Ok(())
    }

    fn is_established(&self) -> bool {
        matches!(self.stage, Stage::Open(_))
    }

    fn receive(
        &mut self,
        below: &mut BytesMut,
        above: &mut BytesMut,
        limit: usize,
        out: &mut BytesMut,
    ) -> Result<Progress, LayerError> {
        if !self.is_established() {
            // What came behind the handshake belongs to the session, also if it is wrong.
            return Ok(match self.shake_hands(below, out)? {
                true => Progress::More,
                false => Progress::Hungry,
            });
        }
        match &mut self.stage {
            Stage::Open(messages) => messages.receive(below, above, limit, out),
            _ => Ok(Progress::Hungry),
        }
    }

    fn send(&mut self, piece: &[u8], out: &mut BytesMut) -> Result<(), LayerError> {
        match &mut self.stage {
            Stage::Open(messages) => messages.send(piece, out),
            _ => Err(LayerError::Handshake("not established".into())),
        }
    }

    fn sends_after_failure(&self) -> bool {
        matches!(self.stage, Stage::Open(_))
    }

    fn finish(&mut self, out: &mut BytesMut) {
        if let Stage::Open(messages) = &mut self.stage {
            messages.finish(out);
        }
    }

    fn ended(&mut self) -> Result<(), LayerError> {
        match &self.stage {
            Stage::Open(messages) => messages.ended(),
            _ => Err(LayerError::Truncated),
        }
    }

    fn keeps_messages(&self) -> bool {
        true
    }

    fn limit_message(&mut self, bytes: usize) {
        self.max_message = bytes;
        if let Stage::Open(messages) = &mut self.stage {
            messages.max_message = bytes;
        }
    }

    fn probe_period(&self) -> Option<Duration> {
        (self.ping > Duration::ZERO).then_some(self.ping)
    }

    fn probe(&mut self, out: &mut BytesMut) -> Result<(), LayerError> {
        match &mut self.stage {
            Stage::Open(messages) => messages.probe(out),
            _ => Ok(()),
        }
    }
}
