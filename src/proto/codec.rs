//! Whole messages: frame and body together, and where serializers and compressors plug in (wire.md 3.1 and 4).
//!
//! A body is written by a serializer and then perhaps compressed; the frame's head names both. Spoken here: SEATA
//! without compression. Everything else is refused by name. Another serializer is one more arm in [`decode_message`] and
//! [`encode_rpc`], another compressor one more arm in the functions around the body.
//!
//! ```
//! use bytes::BytesMut;
//! use seamio::proto::codec::{Rpc, decode_rpc, encode_rpc};
//! use seamio::proto::frame::{FRAME_BYTES_MAX, FrameLength, decode_frame, peek_frame};
//! use seamio::proto::message::{GlobalBegin, Message};
//! use seamio::proto::version::PeerVersion;
//!
//! let table = PeerVersion::parse("2.2.0").exception_table();
//! let begin = GlobalBegin { timeout_ms: 60_000, transaction_name: "order".into() };
//! let request = Rpc::request(7, Message::GlobalBegin(begin));
//! let mut buffer = BytesMut::new();
//! encode_rpc(&request, table, &mut buffer)?;
//!
//! let FrameLength::Complete(bytes) = peek_frame(&buffer, FRAME_BYTES_MAX)? else {
//!     panic!("more bytes are needed");
//! };
//! let frame = decode_frame(buffer.split_to(bytes).freeze())?;
//! assert_eq!(decode_rpc(frame, table)?, request);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::frame::{Frame, FrameHead, MessageKind, encode_frame};
use super::message::Message;
use super::version::ExceptionTable;
use super::{DecodeError, EncodeError, HeadMap, seata};

/// Number of Seata's own serializer, the default of every client.
pub const SERIALIZER_SEATA: u8 = 1;

/// Number of "not compressed", the default of every client.
pub const COMPRESSOR_NONE: u8 = 0;

/// A message with what its frame says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rpc {
    /// Ties an answer to its request.
    pub id: i32,
    /// Request, response or heartbeat.
    pub kind: MessageKind,
    /// How the body is written. An answer copies it from its request.
    pub serializer: u8,
    /// How the body is compressed. An answer copies it from its request.
    pub compressor: u8,
    /// Pairs of texts, nearly always none.
    pub head_map: HeadMap,
    /// The message.
    pub message: Message,
}

impl Rpc {
    /// A request whose answer is waited for, with serializer SEATA and no compression.
    pub fn request(id: i32, message: Message) -> Self {
        Self {
            id,
            kind: MessageKind::Request,
            serializer: SERIALIZER_SEATA,
            compressor: COMPRESSOR_NONE,
            head_map: HeadMap::new(),
            message,
        }
    }

    /// A request that is never answered.
    pub fn one_way(id: i32, message: Message) -> Self {
        Self {
            kind: MessageKind::OneWay,
            ..Self::request(id, message)
        }
    }

    /// A heartbeat request.
    pub fn ping(id: i32) -> Self {
        Self {
            kind: MessageKind::Ping,
            ..Self::request(id, Message::HeartbeatPing)
        }
    }

    /// The answer to the frame with this head: its id, serializer and compressor; the head map is not echoed.
    pub fn response_to(head: &FrameHead, message: Message) -> Self {
        Self {
            kind: match message {
                Message::HeartbeatPong => MessageKind::Pong,
                _ => MessageKind::Response,
            },
            serializer: head.serializer,
            compressor: head.compressor,
            ..Self::request(head.id, message)
        }
    }

    /// The answer to this request, as [`Rpc::response_to`].
    pub fn reply(&self, message: Message) -> Self {
        Self {
            kind: match message {
                Message::HeartbeatPong => MessageKind::Pong,
                _ => MessageKind::Response,
            },
            serializer: self.serializer,
            compressor: self.compressor,
            ..Self::request(self.id, message)
        }
    }
}

/// Reads the message in a frame. `table` is that of the peer that sent it. Text of the message shares the frame's
/// memory.
///
/// # Errors
/// The serializer or compressor is not spoken here, or the body is not a message. Close the connection: its peer would
/// wait for an answer that cannot be given.
pub fn decode_message(frame: &Frame, table: ExceptionTable) -> Result<Message, DecodeError> {
    match frame.head.kind {
        MessageKind::Ping => return Ok(Message::HeartbeatPing),
        MessageKind::Pong => return Ok(Message::HeartbeatPong),
        MessageKind::Request | MessageKind::Response | MessageKind::OneWay => {}
    }
    let body = uncompressed(frame)?;
    match frame.head.serializer {
        SERIALIZER_SEATA => seata::decode(&body, table),
        id => Err(DecodeError::Serializer(id)),
    }
}

/// Reads the message in a frame and keeps it with the head.
///
/// # Errors
/// As [`decode_message`].
pub fn decode_rpc(frame: Frame, table: ExceptionTable) -> Result<Rpc, DecodeError> {
    let message = decode_message(&frame, table)?;
    let head = frame.head;
    Ok(Rpc {
        id: head.id,
        kind: head.kind,
        serializer: head.serializer,
        compressor: head.compressor,
        head_map: head.head_map,
        message,
    })
}

/// Appends the whole frame of a message to `out`. `table` is that of the peer that shall read it. On an error `out` is
/// as it was.
///
/// # Errors
/// The serializer or compressor is not spoken here, or the message does not fit the format.
pub fn encode_rpc(rpc: &Rpc, table: ExceptionTable, out: &mut BytesMut) -> Result<(), EncodeError> {
    let heartbeat = match rpc.message {
        Message::HeartbeatPing => Some(MessageKind::Ping),
        Message::HeartbeatPong => Some(MessageKind::Pong),
        _ => None,
    };
    if rpc.kind.is_heartbeat() != heartbeat.is_some() || heartbeat.is_some_and(|k| k != rpc.kind) {
        return Err(EncodeError::Kind);
    }
    let head = FrameHead {
        kind: rpc.kind,
        serializer: rpc.serializer,
        compressor: rpc.compressor,
        id: rpc.id,
        head_map: rpc.head_map.clone(),
    };
    if heartbeat.is_some() {
        return encode_frame(&head, out, |_| Ok(()));
    }
    encode_frame(&head, out, |out| {
        let start = out.len();
        match rpc.serializer {
            SERIALIZER_SEATA => seata::encode(&rpc.message, table, out)?,
            id => return Err(EncodeError::Serializer(id)),
        }
        compress(rpc.compressor, out, start)
    })
}

/// Seata's name of a serializer number.
pub const fn serializer_name(id: u8) -> Option<&'static str> {
    Some(match id {
        1 => "SEATA",
        2 => "PROTOBUF",
        4 => "KRYO",
        8 => "FST",
        22 => "HESSIAN",
        40 => "GRPC",
        50 => "JACKSON",
        86 => "FURY",
        87 => "FORY",
        100 => "FASTJSON2",
        _ => return None,
    })
}

/// Seata's name of a compressor number.
pub const fn compressor_name(id: u8) -> Option<&'static str> {
    Some(match id {
        0 => "NONE",
        1 => "GZIP",
        2 => "ZIP",
        3 => "SEVENZ",
        4 => "BZIP2",
        5 => "LZ4",
        6 => "DEFLATER",
        7 => "ZSTD",
        _ => return None,
    })
}

/// The body as its serializer wrote it.
fn uncompressed(frame: &Frame) -> Result<Cow<'_, Bytes>, DecodeError> {
    match frame.head.compressor {
        COMPRESSOR_NONE => Ok(Cow::Borrowed(&frame.body)),
        id => Err(DecodeError::Compressor(id)),
    }
}

/// Compresses what was appended to `out` from `start` on.
fn compress(compressor: u8, _out: &mut BytesMut, _start: usize) -> Result<(), EncodeError> {
    match compressor {
        COMPRESSOR_NONE => Ok(()),
        id => Err(EncodeError::Compressor(id)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::GlobalBegin;
    use super::*;
    use crate::proto::frame::{FRAME_BYTES_MAX, decode_frame};

    const TABLE: ExceptionTable = ExceptionTable::V2_0;

    fn begin(name: &str) -> Message {
        Message::GlobalBegin(GlobalBegin {
            timeout_ms: 1,
            transaction_name: name.into(),
        })
    }

    /// Encodes behind bytes that are there already.
    fn encoded(rpc: &Rpc) -> Result<BytesMut, EncodeError> {
        let mut out = BytesMut::from(&b"kept"[..]);
        let result = encode_rpc(rpc, TABLE, &mut out);
        let rest = out.split_off(4);
        assert_eq!(out[..], b"kept"[..]);
        if result.is_err() {
            assert!(rest.is_empty(), "an error leaves nothing behind");
        }
        result.map(|()| rest)
    }

    #[test]
    fn an_answer_takes_id_and_serializer_but_no_head_map() {
        let request = Rpc {
            head_map: HeadMap::from_pairs([("trace", Some("1"))]).unwrap(),
            ..Rpc::request(-7, begin("tx"))
        };
        let bytes = encoded(&request).unwrap().freeze();
        let frame = decode_frame(bytes).unwrap();
        let answer = request.reply(begin("answer"));
        assert_eq!(Rpc::response_to(&frame.head, begin("answer")), answer);
        assert_eq!((answer.id, answer.kind), (-7, MessageKind::Response));
        assert!(answer.head_map.is_empty());
        assert_eq!(decode_rpc(frame, TABLE), Ok(request));
        let pong = Rpc::ping(9).reply(Message::HeartbeatPong);
        assert_eq!((pong.id, pong.kind), (9, MessageKind::Pong));
    }

    #[test]
    fn heartbeats_and_messages_do_not_mix() {
        for (kind, message) in [
            (MessageKind::Ping, begin("tx")),
            (MessageKind::Ping, Message::HeartbeatPong),
            (MessageKind::Request, Message::HeartbeatPing),
        ] {
            let rpc = Rpc {
                kind,
                ..Rpc::request(1, message)
            };
            assert_eq!(encoded(&rpc), Err(EncodeError::Kind));
        }
    }

    #[test]
    fn what_is_not_spoken_is_refused_both_ways() {
        let spoken = Rpc::request(1, begin("tx"));
        for (id, name) in [
            (2, "PROTOBUF"),
            (4, "KRYO"),
            (22, "HESSIAN"),
            (7, "unknown"),
        ] {
            let rpc = Rpc {
                serializer: id,
                ..spoken.clone()
            };
            assert_eq!(encoded(&rpc), Err(EncodeError::Serializer(id)));
            let mut frame = decode_frame(encoded(&spoken).unwrap().freeze()).unwrap();
            frame.head.serializer = id;
            let error = decode_message(&frame, TABLE).unwrap_err();
            assert_eq!(error, DecodeError::Serializer(id));
            let expected = format!(
                "serializer {name} ({id}) is not supported: set transport.serialization=seata on the client"
            );
            assert_eq!(error.to_string(), expected);
        }
        let rpc = Rpc {
            compressor: 1,
            ..spoken.clone()
        };
        assert_eq!(encoded(&rpc), Err(EncodeError::Compressor(1)));
        let mut frame = decode_frame(encoded(&spoken).unwrap().freeze()).unwrap();
        frame.head.compressor = 5;
        let error = decode_message(&frame, TABLE).unwrap_err();
        assert_eq!(
            error.to_string(),
            "compressor LZ4 (5) is not supported: set transport.compressor=none on the client"
        );
    }

    #[test]
    fn a_frame_above_the_limit_is_not_sent() {
        use super::super::message::MergeResult;
        let message = begin(&"x".repeat(32_000));
        let merged = |children| {
            Rpc::request(
                1,
                Message::MergeResult(MergeResult {
                    messages: vec![message.clone(); children],
                }),
            )
        };
        let error = encoded(&merged(263)).unwrap_err();
        assert!(matches!(error, EncodeError::FrameTooLong(bytes) if bytes > FRAME_BYTES_MAX));
        assert!(encoded(&merged(260)).is_ok());
        let many = Message::MergeResult(MergeResult {
            messages: vec![begin(""); 32_768],
        });
        assert_eq!(
            encoded(&Rpc::request(1, many)),
            Err(EncodeError::TooManyChildren(32_768))
        );
    }
}
