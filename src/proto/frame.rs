//! V1 frames: where they end, what their head says, and what is not a frame at all (wire.md 1 and 2).
//!
//! Every length is checked before it is used, and reading needs no particular split of the bytes: [`peek_frame`] gives
//! the same verdict whether they come at once or one by one. The version byte is not judged, except that 0 means the
//! frame of releases before 0.7, which has no length and is refused (wire.md 1.5).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::codec::{COMPRESSOR_NONE, SERIALIZER_SEATA};
use super::{EncodeError, FrameError, HeadMap};

/// The largest frame that Seata's receivers accept, in bytes.
pub const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of a frame before head map and body.
pub const HEAD_BYTES: usize = 16;

/// Byte 9 of a frame. Whether an answer is expected depends on the message, not on this (wire.md 6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MessageKind {
    /// A request whose sender waits.
    Request = 0,
    /// An answer, with the id of its request.
    Response = 1,
    /// A request whose sender does not wait, or says so: it may want an answer all the same.
    OneWay = 2,
    /// Heartbeat request, without body.
    Ping = 3,
    /// Heartbeat response, without body.
    Pong = 4,
}

impl MessageKind {
    /// The kind with this number.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Request),
            1 => Some(Self::Response),
            2 => Some(Self::OneWay),
            3 => Some(Self::Ping),
            4 => Some(Self::Pong),
            _ => None,
        }
    }

    /// Whether frames of this kind have no body.
    pub const fn is_heartbeat(self) -> bool {
        matches!(self, Self::Ping | Self::Pong)
    }
}

/// What stands before the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Request, response or heartbeat.
    pub kind: MessageKind,
    /// How the body is written, see [`codec`](super::codec).
    pub serializer: u8,
    /// How the body is compressed, see [`codec`](super::codec).
    pub compressor: u8,
    /// Ties an answer to its request. May be negative.
    pub id: i32,
    /// Pairs of texts, nearly always none.
    pub head_map: HeadMap,
}

/// A frame, its body neither uncompressed nor decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What stands before the body.
    pub head: FrameHead,
    /// The body; shares the memory of the frame. Empty in heartbeats.
    pub body: Bytes,
}

/// What [`peek_frame`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameLength {
    /// No frame yet. This many bytes from the start of the frame are needed: its whole length if that can be known
    /// already, else enough to know it.
    Need(usize),
    /// The frame is this many bytes long, and they are all there.
    Complete(usize),
}

/// Looks at the unread bytes of a connection, which begin where a frame should begin. `limit` is the largest frame to
/// accept, in bytes; Seata's own is [`FRAME_BYTES_MAX`].
///
/// # Errors
/// These bytes cannot become a frame, however many more follow. Close the connection.
pub fn peek_frame(input: &[u8], limit: usize) -> Result<FrameLength, FrameError> {
    if let Some(need) = check_start(input)? {
        return Ok(FrameLength::Need(need));
    }
    let Some(length) = chunk::<4>(input, 3) else {
        return Ok(FrameLength::Need(HEAD_BYTES));
    };
    let length = i32::from_be_bytes(length);
    let bytes = match usize::try_from(length) {
        Ok(0) => return Err(FrameError::Zeroed),
        Ok(bytes) if bytes >= HEAD_BYTES => bytes,
        _ => return Err(FrameError::Length(length)),
    };
    if bytes > limit {
        return Err(FrameError::TooLong { bytes, limit });
    }
    if let Some(head) = chunk::<2>(input, 7) {
        head_length(i16::from_be_bytes(head), bytes)?;
    }
    if let Some(kind) = input.get(9) {
        let kind = MessageKind::from_code(*kind).ok_or(FrameError::Kind(*kind))?;
        check_body_start(input, kind)?;
    }
    Ok(match input.len() >= bytes {
        true => FrameLength::Complete(bytes),
        false => FrameLength::Need(bytes),
    })
}

/// Takes one whole frame apart, without a copy. Bytes behind the frame are ignored, and so is what a heartbeat carries
/// behind its head.
///
/// # Errors
/// As [`peek_frame`], and when the head map is malformed or the bytes are fewer than the frame.
pub fn decode_frame(frame: Bytes) -> Result<Frame, FrameError> {
    let FrameLength::Complete(full) = peek_frame(&frame, usize::MAX)? else {
        return Err(FrameError::Cut);
    };
    let head_bytes = head_length(i16::from_be_bytes([frame[7], frame[8]]), full)?;
    let kind = MessageKind::from_code(frame[9]).ok_or(FrameError::Kind(frame[9]))?;
    let head_map = match head_bytes {
        HEAD_BYTES => HeadMap::new(),
        _ => HeadMap::decode(frame.slice(HEAD_BYTES..head_bytes))?,
    };
    let head = FrameHead {
        kind,
        serializer: frame[10],
        compressor: frame[11],
        id: i32::from_be_bytes([frame[12], frame[13], frame[14], frame[15]]),
        head_map,
    };
    // The frame becomes the body: one reference to the memory is enough.
    let mut body = match kind.is_heartbeat() {
        true => Bytes::new(),
        false => frame,
    };
    body.truncate(full);
    body.advance(head_bytes.min(body.len()));
    Ok(Frame { head, body })
}

/// Appends a frame whose body `write_body` appends. On an error `out` is as it was.
///
/// # Errors
/// What `write_body` gives, or [`EncodeError::FrameTooLong`] above [`FRAME_BYTES_MAX`].
pub fn encode_frame(
    head: &FrameHead,
    out: &mut BytesMut,
    write_body: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    let written = write_frame(head, out, write_body);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn write_frame(
    head: &FrameHead,
    out: &mut BytesMut,
    write_body: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    let map = head.head_map.as_bytes();
    let head_bytes = i16::try_from(HEAD_BYTES + map.len())
        .map_err(|_| EncodeError::HeadMapTooLong(map.len()))?;
    out.put_slice(&[MAGIC, MAGIC, VERSION]);
    out.put_i32(0);
    out.put_i16(head_bytes);
    out.put_slice(&[head.kind as u8, head.serializer, head.compressor]);
    out.put_i32(head.id);
    out.put_slice(map);
    write_body(out)?;
    let full = out.len() - start;
    if full > FRAME_BYTES_MAX {
        return Err(EncodeError::FrameTooLong(full));
    }
    let full = i32::try_from(full).map_err(|_| EncodeError::FrameTooLong(full))?;
    out[start + 3..start + 7].copy_from_slice(&full.to_be_bytes());
    Ok(())
}

/// Judges the first bytes. `Some(n)` when n bytes are needed to know; the verdict depends on what the bytes are and not
/// on how many come at a time.
fn check_start(input: &[u8]) -> Result<Option<usize>, FrameError> {
    if input.len() < 3 {
        let foreign = input.len() == 2 && input != [MAGIC, MAGIC];
        if !foreign || is_greeting_start(input) {
            return Ok(Some(HEAD_BYTES));
        }
    }
    match input {
        [MAGIC, MAGIC, 0, ..] => Err(FrameError::V0),
        [MAGIC, MAGIC, ..] => Ok(None),
        [0x16, 0x03, ..] => Err(FrameError::Tls),
        _ if input.starts_with(HTTP2) => Err(FrameError::Http2),
        _ if HTTP1.iter().any(|method| input.starts_with(method)) => Err(FrameError::Http1),
        _ if is_greeting_start(input) => Ok(Some(HEAD_BYTES)),
        _ => Err(FrameError::Magic([input[0], input[1]])),
    }
}

/// Finds the next frame where a body should be. Java senders fill in the length last: when they fail in between, what goes
/// out is a head whose length bytes are those of an older frame (wire.md 1.1). No type code of the SEATA serializer
/// looks like the magic.
fn check_body_start(input: &[u8], kind: MessageKind) -> Result<(), FrameError> {
    let plain = matches!(input.get(10..12), Some([SERIALIZER_SEATA, COMPRESSOR_NONE]));
    let Some(head) = chunk::<2>(input, 7) else {
        return Ok(());
    };
    let body = usize::from(u16::from_be_bytes(head));
    match plain && !kind.is_heartbeat() && chunk(input, body) == Some([MAGIC, MAGIC]) {
        true => Err(FrameError::Stale),
        false => Ok(()),
    }
}

/// Whether more bytes could make this an HTTP request.
fn is_greeting_start(input: &[u8]) -> bool {
    HTTP2.starts_with(input) || HTTP1.iter().any(|method| method.starts_with(input))
}

/// A head length that lies in its frame.
fn head_length(head: i16, full: usize) -> Result<usize, FrameError> {
    usize::try_from(head)
        .ok()
        .filter(|head| (HEAD_BYTES..=full).contains(head))
        .ok_or(FrameError::HeadLength { head, full })
}

fn chunk<const N: usize>(input: &[u8], at: usize) -> Option<[u8; N]> {
    input.get(at..)?.first_chunk().copied()
}

const MAGIC: u8 = 0xda;
const VERSION: u8 = 1;
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n";
const HTTP1: [&[u8]; 7] = [
    b"GET ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"HEAD ",
    b"OPTIONS ",
    b"PATCH ",
];
