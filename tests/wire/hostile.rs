//! No bytes make the decoder panic or reserve more than a small multiple of what was received.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use seamio::proto::codec::{decode_rpc, encode_rpc};
use seamio::proto::frame::{FRAME_BYTES_MAX, FrameLength, decode_frame, peek_frame};
use seamio::proto::message::Message;
use seamio::proto::version::ExceptionTable;
use seamio::proto::{DecodeError, FrameError};

use crate::{allocation, vectors};

/// The largest list of children that `bytes` can hold, each of at least four bytes, and their texts once more where
/// they had to be made valid UTF-8.
fn bytes_spent_max(bytes: usize) -> usize {
    256 + bytes / 4 * size_of::<Message>() + bytes * 8
}

/// What the bytes of a connection go through.
fn feed(bytes: &Bytes, table: ExceptionTable) {
    let (spent, result) = allocation::measured(|| -> Result<_, FrameError> {
        match peek_frame(bytes, FRAME_BYTES_MAX)? {
            FrameLength::Need(need) => {
                assert!(need > bytes.len() && need <= FRAME_BYTES_MAX);
                Ok(None)
            }
            FrameLength::Complete(length) => {
                assert!(length <= bytes.len());
                let frame = decode_frame(bytes.slice(..length))?;
                Ok(decode_rpc(frame, table).ok())
            }
        }
    });
    assert!(
        spent.bytes <= bytes_spent_max(bytes.len()),
        "{spent:?} for {} bytes",
        bytes.len()
    );
    if let Ok(Some(rpc)) = result {
        // What was read can be written, unless it was made longer by the repair of its text.
        let _ = encode_rpc(&rpc, table, &mut BytesMut::new());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..300)) {
        feed(&Bytes::from(bytes), ExceptionTable::V2_0);
    }

    #[test]
    fn any_body(body in vec(any::<u8>(), 0..300), code in any::<u8>(), id in any::<i32>()) {
        let mut bytes = vec![0xda, 0xda, 1];
        bytes.extend_from_slice(&(18 + body.len() as i32).to_be_bytes());
        bytes.extend_from_slice(&[0, 16, 0, 1, 0]);
        bytes.extend_from_slice(&id.to_be_bytes());
        bytes.extend_from_slice(&[0, code % 128]);
        bytes.extend_from_slice(&body);
        feed(&Bytes::from(bytes), ExceptionTable::V1_7);
    }

    #[test]
    fn damaged_vectors(
        which in any::<prop::sample::Index>(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        thread_local! {
            static FRAMES: Vec<Bytes> = vectors::all().into_iter().map(|v| v.bytes).collect();
        }
        let mut bytes = FRAMES.with(|frames| which.get(frames).to_vec());
        for (at, byte) in damage {
            // Most damage goes behind the head, where the fields are.
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        for table in ExceptionTable::ALL {
            feed(&Bytes::copy_from_slice(&bytes), table);
        }
    }
}

/// Counts and lengths that promise much more than there is.
#[test]
fn false_promises_reserve_nothing() {
    let frame = |body: &[u8]| {
        let mut bytes = vec![0xda, 0xda, 1];
        bytes.extend_from_slice(&(16 + body.len() as i32).to_be_bytes());
        bytes.extend_from_slice(&[0, 16, 0, 1, 0, 0, 0, 0, 1]);
        bytes.extend_from_slice(body);
        Bytes::from(bytes)
    };
    for body in [
        // 32767 children in six bytes.
        &[0, 59, 0, 0, 0, 6, 0x7f, 0xff, 0, 14, 1, 0][..],
        &[0, 121, 0, 0, 0, 6, 0x7f, 0xff, 0, 14, 1, 0],
        // Two gigabytes of merged messages, of lock key.
        &[0, 59, 0x7f, 0xff, 0xff, 0xff, 0, 1],
        &[0, 11, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff],
    ] {
        let bytes = frame(body);
        let (spent, result) = allocation::measured(|| {
            decode_rpc(decode_frame(bytes).expect("a frame"), ExceptionTable::V2_0)
        });
        assert!(matches!(result, Err(DecodeError::Short { .. })), "{body:?}");
        assert!(spent.bytes < 4096, "{body:?}: {spent:?}");
    }
    // A frame that announces 8 MiB reserves nothing before its bytes are there.
    let mut bytes = vec![0xda, 0xda, 1, 0, 0x80, 0, 0, 0, 16];
    let (spent, verdict) = allocation::measured(|| peek_frame(&bytes, FRAME_BYTES_MAX));
    assert_eq!(verdict, Ok(FrameLength::Need(FRAME_BYTES_MAX)));
    assert_eq!(spent.count, 0);
    bytes[6] = 1;
    let expected = FrameError::TooLong {
        bytes: FRAME_BYTES_MAX + 1,
        limit: FRAME_BYTES_MAX,
    };
    assert_eq!(peek_frame(&bytes, FRAME_BYTES_MAX), Err(expected));
}

/// What a Java RM 1.4.2 sent when the application's code threw: the head of its answer, with the length that an older frame
/// left in its buffer, and ten seconds later a heartbeat. Taken for a body, that heartbeat and the next ones went
/// unanswered until the RM gave up after 15 s, and so long no branch of its resources could be finished.
const HEAD_BEFORE_PING: [u8; 18] = [
    0xda, 0xda, 1, 0, 0, 0, 0x55, 0, 16, 1, 1, 0, 0x40, 0, 0, 0, 0xda, 0xda,
];

#[test]
fn a_body_that_may_begin_like_a_frame_is_no_error() {
    let mut bytes = HEAD_BEFORE_PING;
    for (at, other) in [(9, 3), (10, 2), (11, 1)] {
        bytes[at] = other;
        let verdict = peek_frame(&bytes, FRAME_BYTES_MAX);
        assert_eq!(verdict, Ok(FrameLength::Need(0x55)), "byte {at}");
        bytes = HEAD_BEFORE_PING;
    }
}

#[test]
fn what_is_no_frame_is_named() {
    for (bytes, expected) in [
        (&b"GET / HTTP/1.1\r\n"[..], FrameError::Http1),
        (b"POST /x", FrameError::Http1),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", FrameError::Http2),
        (&[0x16, 0x03, 0x01, 0x02, 0x00], FrameError::Tls),
        (b"hello", FrameError::Magic(*b"he")),
        (b"PRINT", FrameError::Magic(*b"PR")),
        (&[0xda, 0xdb, 1], FrameError::Magic([0xda, 0xdb])),
        (&[0xda, 0xda, 0, 0xa0], FrameError::V0),
        (&[0xda, 0xda, 1, 0, 0, 0, 0], FrameError::Zeroed),
        (&[0xda, 0xda, 1, 0, 0, 0, 15], FrameError::Length(15)),
        (
            &[0xda, 0xda, 1, 0xff, 0xff, 0xff, 0xff],
            FrameError::Length(-1),
        ),
        (
            &[0xda, 0xda, 1, 0, 0, 0, 20, 0, 15],
            FrameError::HeadLength { head: 15, full: 20 },
        ),
        (
            &[0xda, 0xda, 1, 0, 0, 0, 20, 0, 21],
            FrameError::HeadLength { head: 21, full: 20 },
        ),
        (
            &[0xda, 0xda, 1, 0, 0, 0, 20, 0x80, 0],
            FrameError::HeadLength {
                head: i16::MIN,
                full: 20,
            },
        ),
        (&[0xda, 0xda, 1, 0, 0, 0, 20, 0, 16, 5], FrameError::Kind(5)),
        (&HEAD_BEFORE_PING, FrameError::Stale),
    ] {
        assert_eq!(
            peek_frame(bytes, FRAME_BYTES_MAX),
            Err(expected),
            "{bytes:?}"
        );
        assert!(!expected.to_string().is_empty());
        // Byte by byte the verdict is the same one.
        let verdict =
            (0..=bytes.len()).find_map(|end| peek_frame(&bytes[..end], FRAME_BYTES_MAX).err());
        assert_eq!(verdict, Some(expected), "{bytes:?}");
    }
    assert_eq!(
        FrameError::V0.to_string().split(':').next(),
        Some("protocol v0 (before Seata 0.7) is not supported")
    );
}

/// What follows the head of a heartbeat is skipped with its frame.
#[test]
fn a_heartbeat_has_no_body() {
    let bytes = [
        0xda, 0xda, 1, 0, 0, 0, 18, 0, 16, 3, 9, 9, 0xff, 0xff, 0xff, 0xfe, 1, 2, 0xda,
    ];
    assert_eq!(
        peek_frame(&bytes, FRAME_BYTES_MAX),
        Ok(FrameLength::Complete(18))
    );
    let frame = decode_frame(Bytes::copy_from_slice(&bytes)).expect("a heartbeat");
    assert!(frame.body.is_empty());
    let rpc = decode_rpc(frame, ExceptionTable::V1_2).expect("neither serializer nor compressor");
    assert_eq!((rpc.id, &rpc.message), (-2, &Message::HeartbeatPing));
    let mut out = BytesMut::new();
    let pong = rpc.reply(Message::HeartbeatPong);
    encode_rpc(&pong, ExceptionTable::V1_2, &mut out).expect("a heartbeat");
    let expected = [
        0xda, 0xda, 1, 0, 0, 0, 16, 0, 16, 4, 9, 9, 0xff, 0xff, 0xff, 0xfe,
    ];
    assert_eq!(out[..], expected);
}
