//! What a lane sends: encoded on its own thread, carried to the reactor as one item with one wake-up (network.md B.19).

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::codec::{Codec, Link, Output};
use super::error::CodecError;
use super::handler::{Handler, Out};
use super::id::SessionId;
use super::shared::Shared;

/// Where a lane puts its answers. They leave when the batch has been worked on.
pub struct Outbound<H: Handler> {
    shared: Arc<Shared<H>>,
    batch: OutBatch,
}

impl<H: Handler> Outbound<H> {
    pub(crate) fn new(shared: Arc<Shared<H>>) -> Self {
        Outbound {
            shared,
            batch: OutBatch::default(),
        }
    }

    /// Encodes a message for a session, now, on this thread. If the session is gone when it gets there, it is dropped;
    /// if the session holds more than its hard limit then, it is closed.
    ///
    /// # Errors
    /// What the codec says; nothing of the message is sent.
    pub fn send(&mut self, to: SessionId, message: &Out<H>) -> Result<(), CodecError> {
        let batch = &mut self.batch;
        let start = batch.bytes.len();
        let mut output = Output::new(&mut batch.bytes, &mut batch.links);
        if let Err(e) = self.shared.handler.codec().encode(message, &mut output) {
            output.undo();
            return Err(e);
        }
        let mut from = start;
        for link in batch.links.drain(..) {
            batch.entries.push_back(Entry::Piece {
                to,
                bytes: link.at - from,
                frames: 0,
            });
            from = link.at;
            batch.entries.push_back(Entry::Linked {
                to,
                bytes: link.bytes,
            });
        }
        let bytes = batch.bytes.len() - from;
        match batch.entries.back_mut() {
            // Messages to one session in a row are one piece.
            Some(Entry::Piece {
                to: last,
                bytes: b,
                frames,
            }) if *last == to && from == start && !self.shared.keeps_messages() => {
                *b += bytes;
                *frames += 1;
            }
            _ => batch.entries.push_back(Entry::Piece {
                to,
                bytes,
                frames: 1,
            }),
        }
        Ok(())
    }

    /// Encodes a datagram for an address, to be sent from a session that is a bound socket. What that has no room for is
    /// dropped and counted; the session stays.
    ///
    /// # Errors
    /// What the codec says; nothing of the message is sent.
    pub fn send_to(
        &mut self,
        from: SessionId,
        address: SocketAddr,
        message: &Out<H>,
    ) -> Result<(), CodecError> {
        let batch = &mut self.batch;
        let start = batch.bytes.len();
        let mut output = Output::new(&mut batch.bytes, &mut batch.links);
        if let Err(e) = self.shared.handler.codec().encode(message, &mut output) {
            output.undo();
            return Err(e);
        }
        if !batch.links.is_empty() {
            // A datagram is small enough to be copied.
            let encoded = batch.bytes.split_off(start);
            let mut from = start;
            for link in batch.links.drain(..) {
                let before = &encoded[from - start..link.at - start];
                batch.bytes.extend_from_slice(before);
                batch.bytes.extend_from_slice(&link.bytes);
                from = link.at;
            }
            batch.bytes.extend_from_slice(&encoded[from - start..]);
        }
        batch.entries.push_back(Entry::Packet {
            to: from,
            bytes: batch.bytes.len() - start,
            address,
        });
        Ok(())
    }

    /// Closes a session gracefully, after what was sent to it before.
    pub fn close(&mut self, id: SessionId) {
        self.batch.entries.push_back(Entry::Close(id));
    }

    /// Aborts a session: what waits for it is thrown away.
    pub fn abort(&mut self, id: SessionId) {
        self.batch.entries.push_back(Entry::Abort(id));
    }

    /// Takes what was sent, if anything was, leaving a recycled buffer.
    pub(crate) fn take(&mut self) -> Option<OutBatch> {
        if self.batch.entries.is_empty() {
            return None;
        }
        let next = self.shared.recycled_batch();
        Some(std::mem::replace(&mut self.batch, next))
    }
}

impl<H: Handler> fmt::Debug for Outbound<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound")
            .field("entries", &self.batch.entries.len())
            .finish()
    }
}

/// Everything one batch sent, in order: the bytes in one buffer, and whose they are.
#[derive(Debug, Default)]
pub(crate) struct OutBatch {
    pub(crate) bytes: BytesMut,
    pub(crate) entries: VecDeque<Entry>,
    links: Vec<Link>,
}

impl OutBatch {
    /// Empties it for reuse, unless it grew too large to be kept.
    pub(crate) fn recycle(mut self) -> Option<OutBatch> {
        self.bytes.clear();
        self.entries.clear();
        (self.bytes.capacity() <= BATCH_KEPT_MAX).then_some(self)
    }
}

/// One step of a batch.
#[derive(Debug)]
pub(crate) enum Entry {
    /// The next bytes of the buffer, which end this many frames.
    Piece {
        to: SessionId,
        bytes: usize,
        frames: u32,
    },
    /// The next bytes of the buffer, a datagram for this address.
    Packet {
        to: SessionId,
        bytes: usize,
        address: SocketAddr,
    },
    /// A payload beside the buffer.
    Linked {
        to: SessionId,
        bytes: Bytes,
    },
    Close(SessionId),
    Abort(SessionId),
}

const BATCH_KEPT_MAX: usize = 1 << 20;
