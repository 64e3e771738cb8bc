//! Seata's frames as a codec of the runtime: where `proto` and `net` meet, for the coordinator and for clients.
//!
//! Decoding stops at the frame, its head and its body; the body is read by whoever owns the peer's version. Anything
//! that is no frame ends the session, since the place of the next one is lost (coordinator.md 5.5).

use crate::net::{Codec, CodecError, Decoded, Input, Output, Peer};
use crate::proto::codec::{Rpc, encode_rpc};
use crate::proto::frame::{FRAME_BYTES_MAX, Frame, FrameLength, decode_frame, peek_frame};
use crate::proto::version::ExceptionTable;

/// Frames in, whole messages out.
#[derive(Clone, Copy, Debug)]
pub struct SeataCodec {
    /// Longest frame accepted, in bytes.
    pub frame_bytes_max: usize,
}

/// A message to send, and how its reader numbers exception codes.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The message.
    pub rpc: Rpc,
    /// Of the peer.
    pub table: ExceptionTable,
}

impl Default for SeataCodec {
    fn default() -> Self {
        Self {
            frame_bytes_max: FRAME_BYTES_MAX,
        }
    }
}

impl Codec for SeataCodec {
    type In = Frame;
    type Out = Outgoing;
    type State = ();

    fn open(&self, _peer: &Peer) {}

    fn decode(&self, _state: &mut (), input: &mut Input<'_>) -> Result<Decoded<Frame>, CodecError> {
        let malformed = |error: crate::proto::FrameError| CodecError::malformed(error.to_string());
        match peek_frame(input.as_slice(), self.frame_bytes_max).map_err(malformed)? {
            FrameLength::Need(bytes) => Ok(Decoded::Need(bytes)),
            FrameLength::Complete(bytes) => decode_frame(input.take(bytes))
                .map(Decoded::Message)
                .map_err(malformed),
        }
    }

    fn encode(&self, message: &Outgoing, output: &mut Output<'_>) -> Result<(), CodecError> {
        encode_rpc(&message.rpc, message.table, output.buffer())
            .map_err(|error| CodecError::malformed(error.to_string()))
    }
}
