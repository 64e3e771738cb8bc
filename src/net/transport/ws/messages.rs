//! Messages out of frames and into frames, once the handshake is done: unmasking, fragments, control frames between them,
//! limits, the closing handshake (RFC 6455, 5 to 7).
//!
//! A message grows in the buffer above, piece by piece as its bytes come; nothing of it is held here. What breaks the
//! protocol is answered with a close frame that says why.

use std::borrow::Cow;

use bytes::{Buf, BytesMut};

use super::deflate::{Deflate, TAIL};
use super::frame::{self, Head, INTERNAL, Kind, NORMAL, POLICY, Packing, TOO_BIG, Violation};
use super::mask::{self, Masks};
use super::options::WsMessage;
use super::utf8::Utf8;
use crate::net::transport::layer::{LayerError, Progress};

/// Which end this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    /// Masks what it sends.
    Client,
}

/// One connection's messages in both directions.
pub(super) struct Messages {
    side: Side,
    masks: Masks,
    send_as: WsMessage,
    /// Most bytes of a message received.
    pub(super) max_message: usize,
    max_fragments: u32,
    deflate: Option<Deflate>,
    frame: Option<Frame>,
    message: Option<Message>,
    utf8: Utf8,
    received_kind: Kind,
    goodbye: Goodbye,
    pings: u32,
    unanswered: bool,
}

/// A data frame whose payload is being received.
#[derive(Debug)]
struct Frame {
    mask: [u8; 4],
    last: bool,
    /// Bytes still to come.
    left: u64,
    /// Bytes that came.
    at: u64,
    /// Bytes at the front of what is below that are unmasked already.
    clear: usize,
    /// Bytes of [`TAIL`] that have been inflated.
    tail: usize,
}

/// A message being received.
#[derive(Debug)]
struct Message {
    kind: Kind,
    compressed: bool,
    fragments: u32,
    /// Bytes as they were sent.
    carried: u64,
    /// Bytes of the message itself.
    bytes: usize,
}

#[derive(Debug, Default)]
struct Goodbye {
    sent: bool,
    /// The peer's, and the code it gave.
    received: Option<Option<u16>>,
    /// Why ours had to come.
    cause: Option<Violation>,
}

/// What both ends have agreed on and configured.
pub(super) struct Terms {
    pub(super) side: Side,
    pub(super) masks: Masks,
    pub(super) send_as: WsMessage,
    pub(super) max_message: usize,
    pub(super) max_fragments: u32,
    pub(super) deflate: Option<Deflate>,
}

impl Messages {
    pub(super) fn new(terms: Terms) -> Self {
        Messages {
            side: terms.side,
            masks: terms.masks,
            send_as: terms.send_as,
            max_message: terms.max_message,
            max_fragments: terms.max_fragments.max(1),
            deflate: terms.deflate,
            frame: None,
            message: None,
            utf8: Utf8::default(),
            received_kind: Kind::Binary,
            goodbye: Goodbye::default(),
            pings: 0,
            unanswered: false,
        }
    }

    pub(super) fn receive(
        &mut self,
        below: &mut BytesMut,
        above: &mut BytesMut,
        limit: usize,
        out: &mut BytesMut,
    ) -> Result<Progress, LayerError> {
        if !below.is_empty() {
            self.unanswered = false;
        }
        let full = above.len().saturating_add(limit.max(1));
        let said = out.len() + ANSWERS_MAX;
        loop {
            if self.goodbye.received.is_some() {
                return Ok(Progress::Finished);
            }
            if above.len() >= full || out.len() >= said {
                return Ok(Progress::More);
            }
            let step = match self.frame {
                None => self.begin(below, out),
                Some(_) => self.proceed(below, above, full - above.len()),
            };
            match step {
                Ok(Step::Again) => {}
                Ok(Step::Hungry) => return Ok(Progress::Hungry),
                Ok(Step::Message) => return Ok(Progress::Message),
                Err(violation) => return Err(self.fail(violation)),
            }
        }
    }

    pub(super) fn send(&mut self, piece: &[u8], out: &mut BytesMut) -> Result<(), LayerError> {
        if self.goodbye.sent {
            return Ok(());
        }
        let kind = match self.send_as {
            WsMessage::Binary => Kind::Binary,
            WsMessage::Text => Kind::Text,
            WsMessage::AsReceived => self.received_kind,
        };
        if kind == Kind::Text && std::str::from_utf8(piece).is_err() {
            return Err(LayerError::Protocol(NOT_TEXT_TO_SEND));
        }
        let mask = self.mask();
        if let Some(deflate) = &mut self.deflate
            && let Some(packed) = deflate.pack(piece)
        {
            frame::put(out, kind, packed, mask, Packing::Deflated);
            deflate.settle();
            return Ok(());
        }
        frame::put(out, kind, piece, mask, Packing::Plain);
        Ok(())
    }

    /// Says goodbye and why, or answers the peer's with its own code.
    pub(super) fn finish(&mut self, out: &mut BytesMut) {
        if std::mem::replace(&mut self.goodbye.sent, true) {
            return;
        }
        let (code, reason) = match (self.goodbye.received, self.goodbye.cause) {
            (Some(code), _) => (code, ""),
            (None, Some(Violation { code, what })) => (Some(code), what),
            (None, None) => (Some(NORMAL), ""),
        };
        let mask = self.mask();
        frame::put_close(out, code, reason, mask);
    }

    pub(super) fn ended(&self) -> Result<(), LayerError> {
        match self.goodbye.sent || self.goodbye.received.is_some() {
            true => Ok(()),
            false => Err(LayerError::Truncated),
        }
    }

    /// Sends a ping, unless nothing came since the last one. Anything that came counts: a peer in the middle of a large
    /// frame cannot answer.
    pub(super) fn probe(&mut self, out: &mut BytesMut) -> Result<(), LayerError> {
        if self.goodbye.sent || self.goodbye.received.is_some() {
            return Ok(());
        }
        if self.unanswered {
            self.goodbye.cause = Some(UNANSWERED);
            return Err(LayerError::Dead);
        }
        self.unanswered = true;
        self.pings = self.pings.wrapping_add(1);
        let (number, mask) = (self.pings.to_be_bytes(), self.mask());
        frame::put(out, Kind::Ping, &number, mask, Packing::Plain);
        Ok(())
    }

    /// Reads the head of the next frame; if it is one of control, its payload too.
    fn begin(&mut self, below: &mut BytesMut, out: &mut BytesMut) -> Result<Step, Violation> {
        let Some((head, size)) = frame::parse(below)? else {
            return Ok(Step::Hungry);
        };
        match (self.side, head.mask) {
            (Side::Server, None) => return Err(Violation::protocol("client frame without a mask")),
            (Side::Client, Some(_)) => return Err(Violation::protocol("masked server frame")),
            _ => {}
        }
        if head.kind.is_control() {
            return self.control(&head, size, below, out);
        }
        self.admit(&head)?;
        below.advance(size);
        self.frame = Some(Frame {
            mask: head.mask.unwrap_or_default(),
            last: head.last,
            left: head.length,
            at: 0,
            clear: 0,
            tail: 0,
        });
        Ok(Step::Again)
    }

    /// Takes a data frame into its message, or refuses it before its payload comes.
    fn admit(&mut self, head: &Head) -> Result<(), Violation> {
        match (&self.message, head.kind) {
            (None, Kind::Continuation) => {
                return Err(Violation::protocol("continuation of no message"));
            }
            (Some(_), Kind::Text | Kind::Binary) => {
                return Err(Violation::protocol("message within a message"));
            }
            _ => {}
        }
        let begins = head.kind != Kind::Continuation;
        if head.compressed && !(begins && self.deflate.is_some()) {
            return Err(Violation::protocol("reserved bit set"));
        }
        let message = self.message.get_or_insert(Message {
            kind: head.kind,
            compressed: head.compressed,
            fragments: 0,
            carried: 0,
            bytes: 0,
        });
        message.fragments += 1;
        message.carried = message.carried.saturating_add(head.length);
        if message.fragments > self.max_fragments {
            return Err(Violation {
                code: POLICY,
                what: "message in too many frames",
            });
        }
        let most = self.max_message as u64;
        // What cannot be compressed grows a little.
        let slack = if message.compressed {
            most / 64 + 64
        } else {
            0
        };
        if message.carried > most.saturating_add(slack) {
            return Err(TOO_LARGE);
        }
        Ok(())
    }

    /// Receives payload of the current frame, and the end of its message.
    fn proceed(
        &mut self,
        below: &mut BytesMut,
        above: &mut BytesMut,
        room: usize,
    ) -> Result<Step, Violation> {
        let (Some(frame), Some(message)) = (&mut self.frame, &mut self.message) else {
            return Ok(Step::Again);
        };
        let start = above.len();
        let there = below
            .len()
            .min(usize::try_from(frame.left).unwrap_or(usize::MAX));
        // Whether this frame has given all it can for now.
        let dry;
        if message.compressed {
            // One byte more than allowed shows that there are too many.
            let room = room.min(
                self.max_message
                    .saturating_sub(message.bytes)
                    .saturating_add(1),
            );
            let deflate = self
                .deflate
                .as_mut()
                .ok_or(Violation::protocol("reserved bit set"))?;
            let clear = frame.clear;
            mask::apply(
                &mut below[clear..there],
                frame.mask,
                frame.at + clear as u64,
            );
            let mut inflated = deflate.inflate(&below[..there], room, above)?;
            frame.take(inflated.used, below);
            frame.clear = there - inflated.used;
            // Some send an empty message as nothing at all.
            if frame.left == 0 && frame.last && !inflated.full && message.carried > 0 {
                let room = room - (above.len() - start);
                if room > 0 {
                    inflated = deflate.inflate(&TAIL[frame.tail..], room, above)?;
                    frame.tail += inflated.used;
                } else {
                    inflated.full = true;
                }
            }
            dry = !inflated.full;
        } else {
            let take = there.min(room);
            above.extend_from_slice(&below[..take]);
            mask::apply(&mut above[start..], frame.mask, frame.at);
            frame.take(take, below);
            dry = take == there;
        }
        message.bytes += above.len() - start;
        if message.bytes > self.max_message {
            return Err(TOO_LARGE);
        }
        if message.kind == Kind::Text && self.utf8.push(&above[start..]).is_err() {
            return Err(Violation::not_text());
        }
        if frame.left > 0 || !dry {
            return Ok(if dry { Step::Hungry } else { Step::Again });
        }
        let last = frame.last;
        self.frame = None;
        if last {
            self.complete()
        } else {
            Ok(Step::Again)
        }
    }

    /// The message is whole.
    fn complete(&mut self) -> Result<Step, Violation> {
        let Some(message) = self.message.take() else {
            return Ok(Step::Again);
        };
        if message.compressed
            && let Some(deflate) = &mut self.deflate
        {
            deflate.end()?;
        }
        if message.kind == Kind::Text && self.utf8.end().is_err() {
            return Err(Violation::not_text());
        }
        self.received_kind = message.kind;
        Ok(Step::Message)
    }

    /// Receives a whole control frame, which may stand between the frames of a message.
    fn control(
        &mut self,
        head: &Head,
        size: usize,
        below: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<Step, Violation> {
        if head.compressed {
            return Err(Violation::protocol("reserved bit set"));
        }
        let whole = size + head.length as usize;
        if below.len() < whole {
            return Ok(Step::Hungry);
        }
        let payload = &mut below[size..whole];
        mask::apply(payload, head.mask.unwrap_or_default(), 0);
        match head.kind {
            Kind::Ping if !self.goodbye.sent => {
                let mask = (self.side == Side::Client).then(|| self.masks.next());
                frame::put(out, Kind::Pong, payload, mask, Packing::Plain);
            }
            Kind::Close => {
                let (code, reason) = frame::parse_close(payload)?;
                log::debug!(
                    "websocket close code={} reason={reason:?}",
                    code.unwrap_or(NO_CODE)
                );
                self.goodbye.received = Some(code);
            }
            _ => {}
        }
        below.advance(whole);
        Ok(Step::Again)
    }

    /// What was queued before still goes out; the goodbye says what was wrong.
    fn fail(&mut self, violation: Violation) -> LayerError {
        self.goodbye.cause = Some(violation);
        match violation.code {
            TOO_BIG => LayerError::Limit("max_frame"),
            POLICY => LayerError::Limit("max_fragments"),
            _ => LayerError::Protocol(Cow::Borrowed(violation.what)),
        }
    }

    fn mask(&mut self) -> Option<[u8; 4]> {
        (self.side == Side::Client).then(|| self.masks.next())
    }
}

impl Frame {
    /// `n` bytes of the payload have been used.
    fn take(&mut self, n: usize, below: &mut BytesMut) {
        below.advance(n);
        self.left -= n as u64;
        self.at += n as u64;
    }
}

/// What one step of receiving came to.
enum Step {
    Again,
    Hungry,
    Message,
}

const TOO_LARGE: Violation = Violation {
    code: TOO_BIG,
    what: "message too large",
};

const UNANSWERED: Violation = Violation {
    code: INTERNAL,
    what: "no answer to a ping",
};

const NOT_TEXT_TO_SEND: Cow<'static, str> = Cow::Borrowed("a text to send that is not UTF-8");

/// Stands for a close frame without a code; never sent (RFC 6455, 7.4.1).
const NO_CODE: u16 = 1005;

/// Bytes of answers to pings in one go, before what is below gets its turn to be written.
const ANSWERS_MAX: usize = 16 << 10;
