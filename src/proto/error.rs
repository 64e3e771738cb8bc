//! What can be wrong with bytes from a peer, and with a message that should be sent.
//!
//! Every text says what was met and, where a setting of the peer is the cause, what to set there. After a
//! [`FrameError`] or a [`DecodeError`] the position in the byte stream or the peer's state is unknown; the connection
//! should be closed (wire.md 6.8). An [`EncodeError`] leaves the output as it was.

use std::fmt;

use super::codec::{compressor_name, serializer_name};

/// The bytes are not a frame this side reads. The connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// Magic, then zero where V1 has its version: the frame of clients before Seata 0.7.
    V0,
    /// An HTTP/1 request line.
    Http1,
    /// The preface of HTTP/2: a browser, a proxy, or a Seata client with `transport.protocol=grpc`.
    Http2,
    /// A TLS handshake.
    Tls,
    /// Anything else than the magic `da da`.
    Magic([u8; 2]),
    /// The head that Java sends when it failed to serialize a message: a full length of zero (wire.md T7).
    Zeroed,
    /// The same with the length of an older frame instead of zero: where its body should be, the next frame begins.
    Stale,
    /// Full length below the 16 bytes of a head, or negative.
    Length(i32),
    /// Full length above the limit.
    TooLong {
        /// What the frame announces.
        bytes: usize,
        /// What is accepted.
        limit: usize,
    },
    /// Head length below 16 or beyond the frame.
    HeadLength {
        /// What the frame announces as its head.
        head: i16,
        /// Its full length.
        full: usize,
    },
    /// A message type byte other than 0 to 4.
    Kind(u8),
    /// The entries of the head map do not fill the head exactly, or a length is below -1.
    HeadMap,
    /// Fewer bytes than a whole frame were given to be decoded.
    Cut,
}

/// The body of a frame is not a message this side reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// No body where there must be one.
    Empty,
    /// The peer uses a serializer that is not spoken here.
    Serializer(u8),
    /// The peer uses a compressor that is not spoken here.
    Compressor(u8),
    /// No message has this type code.
    TypeCode(i16),
    /// The body ends inside a field.
    Short {
        /// The message.
        type_code: i16,
        /// The field.
        field: &'static str,
    },
    /// An enumeration has no such number.
    Number {
        /// The message.
        type_code: i16,
        /// The field.
        field: &'static str,
        /// What was read.
        number: u8,
    },
    /// A count of children below zero.
    Count {
        /// The message.
        type_code: i16,
        /// What was read.
        count: i16,
    },
    /// A merged message inside a merged message.
    Nested {
        /// The outer one.
        type_code: i16,
        /// The inner one.
        inner: i16,
    },
}

/// The message cannot be put on the wire. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The serializer is not spoken here.
    Serializer(u8),
    /// The compressor is not spoken here.
    Compressor(u8),
    /// A text is longer than its length prefix can tell.
    TextTooLong {
        /// The message.
        type_code: i16,
        /// The field.
        field: &'static str,
        /// Bytes of UTF-8.
        bytes: usize,
    },
    /// More than 32767 children.
    TooManyChildren(usize),
    /// The ids do not match the children one to one.
    IdCount {
        /// Children.
        messages: usize,
        /// Ids.
        ids: usize,
    },
    /// A merged message or a heartbeat inside a merged message.
    Nested {
        /// The inner one.
        inner: i16,
    },
    /// The head map does not fit the 32767 bytes of a head.
    HeadMapTooLong(usize),
    /// The frame would be larger than receivers accept.
    FrameTooLong(usize),
    /// A heartbeat in a frame of another kind, or another message in a heartbeat frame.
    Kind,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V0 => f.write_str(
                "protocol v0 (before Seata 0.7) is not supported: use a client of Seata 1.2 or later",
            ),
            Self::Http1 => {
                f.write_str("this is an HTTP/1 request, and the port speaks Seata's protocol")
            }
            Self::Http2 => f.write_str(
                "this is HTTP/2 (gRPC), and the port speaks Seata's protocol: set transport.protocol=seata on the client",
            ),
            Self::Tls => {
                f.write_str("this is a TLS handshake, and the port expects plain Seata frames")
            }
            Self::Magic([a, b]) => write!(
                f,
                "not a Seata frame: starts with {a:02x} {b:02x} instead of da da"
            ),
            Self::Zeroed => f.write_str(
                "frame of length 0: the peer failed to serialize a message and sent its head only",
            ),
            Self::Stale => f.write_str(
                "a frame begins inside another: the peer failed to serialize a message and sent its head only",
            ),
            Self::Length(length) => {
                write!(
                    f,
                    "frame length {length} is below the 16 bytes of a frame head"
                )
            }
            Self::TooLong { bytes, limit } => {
                write!(
                    f,
                    "frame of {bytes} bytes is above the limit of {limit} bytes"
                )
            }
            Self::HeadLength { head, full } => {
                write!(f, "head length {head} is outside a frame of {full} bytes")
            }
            Self::Kind(kind) => write!(f, "unknown message type {kind} in a frame head"),
            Self::HeadMap => f.write_str("the head map does not end where the head ends"),
            Self::Cut => f.write_str("the frame is cut off"),
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => f.write_str("a frame without a body"),
            Self::Serializer(id) => write!(
                f,
                "serializer {} ({id}) is not supported: set transport.serialization=seata on the client",
                serializer_name(id).unwrap_or("unknown")
            ),
            Self::Compressor(id) => write!(
                f,
                "compressor {} ({id}) is not supported: set transport.compressor=none on the client",
                compressor_name(id).unwrap_or("unknown")
            ),
            Self::TypeCode(code) => write!(f, "unknown message type code {code}"),
            Self::Short { type_code, field } => {
                write!(f, "message {type_code} ends inside its field {field}")
            }
            Self::Number {
                type_code,
                field,
                number,
            } => {
                write!(f, "message {type_code} has an unknown {field}: {number}")
            }
            Self::Count { type_code, count } => {
                write!(f, "message {type_code} announces {count} children")
            }
            Self::Nested { type_code, inner } => {
                write!(f, "message {type_code} contains a merged message ({inner})")
            }
        }
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Serializer(id) => {
                let name = serializer_name(id).unwrap_or("unknown");
                write!(f, "serializer {name} ({id}) is not supported")
            }
            Self::Compressor(id) => {
                let name = compressor_name(id).unwrap_or("unknown");
                write!(f, "compressor {name} ({id}) is not supported")
            }
            Self::TextTooLong {
                type_code,
                field,
                bytes,
            } => write!(
                f,
                "field {field} of message {type_code} has {bytes} bytes, more than its length prefix can tell"
            ),
            Self::TooManyChildren(count) => {
                write!(f, "{count} messages in one, the limit is 32767")
            }
            Self::IdCount { messages, ids } => {
                write!(f, "{messages} merged messages with {ids} ids")
            }
            Self::Nested { inner } => {
                write!(f, "message {inner} cannot be inside a merged message")
            }
            Self::HeadMapTooLong(bytes) => {
                write!(f, "a head map of {bytes} bytes does not fit a frame head")
            }
            Self::FrameTooLong(bytes) => write!(
                f,
                "a frame of {bytes} bytes is larger than receivers accept"
            ),
            Self::Kind => f.write_str("a heartbeat must be in a heartbeat frame, and alone there"),
        }
    }
}

impl std::error::Error for FrameError {}
impl std::error::Error for DecodeError {}
impl std::error::Error for EncodeError {}
