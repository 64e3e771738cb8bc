//! Seata's wire format: bytes to messages and back. No I/O, no other room.
//!
//! | module | what lives there |
//! |---|---|
//! | [`frame`] | V1 frames: finding their end, head, head map; recognising what is not a frame |
//! | [`codec`] | whole messages in frames; where serializers and compressors plug in |
//! | [`message`] | the messages, as values |
//! | [`status`] | the enumerations that travel |
//! | [`version`] | what a peer of a given version can read |
//!
//! Everything here is a pure function of its arguments, and any bytes give a value or an error: no panic, no
//! allocation larger than a small multiple of the frame. Text of a decoded message shares the frame's buffer.

pub mod codec;
mod error;
pub mod frame;
mod head_map;
pub mod message;
mod seata;
pub mod status;
mod text;
pub mod version;

pub use error::{DecodeError, EncodeError, FrameError};
pub use head_map::HeadMap;
pub use text::Text;
