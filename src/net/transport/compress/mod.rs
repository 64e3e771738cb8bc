//! Compression of a session's byte stream, between its buffers and its socket (network.md B.24).
//!
//! The formats are those a getty endpoint uses after `SetCompressType`: raw deflate without header or checksum, and
//! snappy's framing format. Nothing is negotiated; both ends must have been told.
//!
//! Guarantees: the state spans the whole stream; what a turn sends is decodable by the peer at the end of that turn; one
//! call inflates no more than it is allowed to, however well the input was compressed; bytes that are no stream of the
//! format are an error and never a panic. Left out: negotiation, dictionaries, and the per-message compression of
//! WebSocket, which is a matter of that protocol.

mod deflate;
mod inflate;
mod snappy;

use super::layer::Layer;
use crate::net::config::Compression;

/// The layer that `compression` asks for; none where it asks for none.
pub(crate) fn layer(compression: Compression) -> Option<Box<dyn Layer>> {
    match compression {
        Compression::None => None,
        Compression::Deflate(level) => Some(Box::new(deflate::Deflate::new(level))),
        Compression::Snappy => Some(Box::new(snappy::Snappy::default())),
    }
}

#[cfg(test)]
mod tests;
