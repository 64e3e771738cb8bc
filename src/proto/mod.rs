//! Seata's wire format: bytes to messages and back. No I/O, no other room.

pub mod message;
pub mod status;
mod text;

pub use text::Text;
