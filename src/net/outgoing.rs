//! The sending side of one session as callbacks see it: the outbox with its watermarks (network.md B.16, B.17).

use std::net::SocketAddr;

use bytes::Bytes;

use super::codec::{Codec, Output};
use super::config::{Overflow, SessionConfig};
use super::engine::Engine;
use super::error::{SendError, Sent};
use super::handler::{Handler, Out};
use super::outbox::Outbox;
use super::slots::Key;

/// Outbox and watermarks of one session.
#[derive(Debug)]
pub(crate) struct Outgoing {
    key: Key,
    pub(crate) outbox: Outbox,
    /// To be written: at the end of its visit, or on the list of those written at the end of the turn.
    pub(crate) dirty: bool,
    /// Its session is being visited.
    visited: bool,
    /// Sends are taken.
    pub(crate) open: bool,
    /// Above high and not yet below low again.
    pub(crate) congested: bool,
    /// The hard limit was met and the configuration says to close for it.
    pub(crate) overflowed: bool,
    pub(crate) frames: u64,
    /// Those of them that were there at the last flush.
    pub(crate) flushed: u64,
    /// Where in the tail the message starts that is being encoded.
    unfinished: Option<usize>,
    high: usize,
    low: usize,
    hard: usize,
    overflow: Overflow,
    carriage: Carriage,
    /// Who sent the datagram that is being handled.
    pub(crate) reply_to: Option<SocketAddr>,
    /// The rest of a message of a lane that is being dropped.
    pub(crate) skipping: bool,
}

/// How messages travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carriage {
    /// As bytes in a row.
    Stream,
    /// Each by itself, over a connection.
    Messages,
    /// As datagrams to one peer: what cannot leave is dropped, not waited for.
    Datagrams,
    /// As datagrams, each with an address of its own.
    Addressed,
}

impl Carriage {
    /// Whether messages travel as datagrams.
    pub(crate) fn is_lossy(self) -> bool {
        matches!(self, Carriage::Datagrams | Carriage::Addressed)
    }
}

impl Outgoing {
    pub(crate) fn new(key: Key, config: &SessionConfig, carriage: Carriage) -> Self {
        let mut outbox = Outbox::default();
        if carriage != Carriage::Stream {
            outbox.keep_messages();
        }
        Outgoing {
            key,
            outbox,
            dirty: false,
            visited: false,
            open: true,
            congested: false,
            overflowed: false,
            frames: 0,
            flushed: 0,
            unfinished: None,
            high: config.high_water,
            low: config.low_water,
            hard: config.hard_limit,
            overflow: config.overflow,
            carriage,
            reply_to: None,
            skipping: false,
        }
    }

    pub(crate) fn configure(&mut self, config: &SessionConfig) {
        self.high = config.high_water;
        self.low = config.low_water.min(config.high_water);
        self.hard = config.hard_limit;
        self.overflow = config.overflow;
    }

    /// Encodes a message straight into the outbox; for `to`, or for whoever this session sends to.
    #[inline]
    pub(crate) fn encode<H: Handler>(
        &mut self,
        engine: &mut Engine<H>,
        message: &Out<H>,
        to: Option<SocketAddr>,
    ) -> Result<Sent, SendError> {
        if !self.open {
            return Err(SendError::Closed);
        }
        if self.carriage == Carriage::Stream && to.is_none() {
            return self.encode_bytes(engine, message);
        }
        self.encode_message(engine, message, to)
    }

    /// Encodes a message that travels by itself. Out of line: most sessions are streams.
    #[inline(never)]
    fn encode_message<H: Handler>(
        &mut self,
        engine: &mut Engine<H>,
        message: &Out<H>,
        to: Option<SocketAddr>,
    ) -> Result<Sent, SendError> {
        let to = self.address(to)?;
        if self.outbox.messages() >= MESSAGES_MAX {
            return Err(self.refuse(engine));
        }
        let sent = self.encode_bytes(engine, message)?;
        self.outbox.end_message(to);
        Ok(sent)
    }

    /// Where a message goes: to the address given, else to the sender of the one being handled.
    fn address(&self, to: Option<SocketAddr>) -> Result<Option<SocketAddr>, SendError> {
        match (self.carriage, to) {
            (Carriage::Addressed, to) => to.or(self.reply_to).map(Some).ok_or(SendError::Address),
            (_, None) => Ok(None),
            (_, Some(_)) => Err(SendError::Address),
        }
    }

    /// Encodes a message and says nothing of where it ends.
    #[inline]
    fn encode_bytes<H: Handler>(
        &mut self,
        engine: &mut Engine<H>,
        message: &Out<H>,
    ) -> Result<Sent, SendError> {
        let before = self.outbox.len();
        let tail = self.outbox.tail(&mut engine.pools.tails);
        self.unfinished = Some(tail.len());
        let mut output = Output::new(tail, &mut engine.links);
        let encoded = engine.shared.handler.codec().encode(message, &mut output);
        self.unfinished = None;
        if let Err(e) = encoded {
            output.undo();
            return Err(SendError::Codec(e));
        }
        // A session with nothing waiting takes any message.
        if before > 0 && before + output.len() > self.hard {
            output.undo();
            return Err(self.refuse(engine));
        }
        if !engine.links.is_empty() {
            self.outbox.place(&mut engine.links);
        }
        self.frames += 1;
        engine.metrics.frames_out += 1;
        Ok(self.grown(engine, before))
    }

    /// There is no room for a message.
    #[cold]
    fn refuse<H: Handler>(&mut self, engine: &mut Engine<H>) -> SendError {
        if self.carriage.is_lossy() {
            engine.metrics.dropped_messages += 1;
        } else {
            self.overflowed |= self.overflow == Overflow::Close;
        }
        self.mark_dirty(engine);
        SendError::Full
    }

    /// Takes back what a codec that panicked had appended.
    pub(crate) fn repair<H: Handler>(&mut self, engine: &mut Engine<H>) {
        if let Some(start) = self.unfinished.take() {
            self.outbox.cut_tail(start);
            engine.links.clear();
        }
    }

    /// Appends bytes encoded elsewhere: all of one slice.
    pub(crate) fn copy<H: Handler>(&mut self, engine: &mut Engine<H>, bytes: &[u8]) {
        let before = self.outbox.len();
        self.outbox
            .tail(&mut engine.pools.tails)
            .extend_from_slice(bytes);
        let _ = self.grown(engine, before);
    }

    /// Appends bytes encoded elsewhere, linked if they are many.
    pub(crate) fn append<H: Handler>(&mut self, engine: &mut Engine<H>, bytes: Bytes) {
        let before = self.outbox.len();
        self.outbox.append(bytes, &mut engine.pools.tails);
        let _ = self.grown(engine, before);
    }

    /// Counts frames encoded elsewhere.
    pub(crate) fn count_frames<H: Handler>(&mut self, engine: &mut Engine<H>, frames: u64) {
        self.frames += frames;
        engine.metrics.frames_out += frames;
    }

    /// Sees to it that the session is written: at the end of its visit, else at the end of the turn.
    pub(crate) fn mark_dirty<H: Handler>(&mut self, engine: &mut Engine<H>) {
        if !self.dirty {
            self.dirty = true;
            if !self.visited {
                engine.dirty.push(self.key);
            }
        }
    }

    /// A visit begins. What is sent during it can leave at its end, while the socket is warm in the cache, without the
    /// detour over the list.
    pub(crate) fn begin_visit(&mut self) {
        // One that is on the list already stays there.
        self.visited = !self.dirty;
    }

    /// The visit is over. Whether it is to be written now.
    pub(crate) fn end_visit(&mut self) -> bool {
        let visited = std::mem::take(&mut self.visited);
        visited && std::mem::take(&mut self.dirty)
    }

    /// Whether `bytes` more would be too many. A session with nothing waiting takes any message.
    pub(crate) fn would_overflow(&self, bytes: usize) -> bool {
        let before = self.outbox.len();
        self.outbox.messages() >= MESSAGES_MAX || (before > 0 && before + bytes > self.hard)
    }

    /// How messages travel.
    pub(crate) fn carriage(&self) -> Carriage {
        self.carriage
    }

    /// Leaves congestion if the outbox is low enough. Whether it did.
    pub(crate) fn relax(&mut self) -> bool {
        let relaxed = self.congested && self.outbox.len() <= self.low;
        if relaxed {
            self.congested = false;
        }
        relaxed
    }

    #[inline]
    fn grown<H: Handler>(&mut self, engine: &mut Engine<H>, before: usize) -> Sent {
        let len = self.outbox.len();
        engine.buffered += len - before;
        self.mark_dirty(engine);
        if len > self.high {
            self.congested = true;
        }
        if self.congested {
            Sent::Congested
        } else {
            Sent::Ok
        }
    }
}

/// Most messages that wait where each leaves by itself: empty ones count for nothing against the limit of bytes.
const MESSAGES_MAX: usize = 1 << 16;
