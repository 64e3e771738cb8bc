//! Conformance of the wire format: recorded frames of every Java release read as Java reads them and are written back
//! byte for byte, generated messages survive a round trip, and no bytes do harm.

mod allocation;
mod fields;
mod hostile;
mod round_trip;
mod vectors;

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use seamio::proto::codec::{COMPRESSOR_NONE, SERIALIZER_SEATA, decode_rpc, encode_rpc};
use seamio::proto::frame::{FRAME_BYTES_MAX, FrameLength, decode_frame, peek_frame};
use seamio::proto::version::ExceptionTable;
use seamio::proto::{DecodeError, FrameError};
use serde_json::{Map, Value, json};
use vectors::Vector;

#[test]
fn recorded_frames_read_and_write_as_in_java() {
    let mut covered: BTreeMap<String, usize> = BTreeMap::new();
    let mut skipped = BTreeMap::new();
    for vector in vectors::all() {
        let group = judge(&vector);
        *match group {
            Ok(class) => covered.entry(class).or_default(),
            Err(reason) => skipped.entry(reason).or_default(),
        } += 1;
    }
    println!(
        "{} frames read and written:",
        covered.values().sum::<usize>()
    );
    for (class, count) in &covered {
        println!("  {count:4} {class}");
    }
    println!(
        "{} refused with their own error:",
        skipped.values().sum::<usize>()
    );
    for (reason, count) in &skipped {
        println!("  {count:4} {reason}");
    }
    assert_eq!(
        covered.values().sum::<usize>(),
        241,
        "every SEATA frame without compression, and heartbeats with any"
    );
    assert_eq!(
        covered.len(),
        29,
        "every message, and the heartbeat: {covered:?}"
    );
    let refused: Vec<_> = skipped.into_iter().collect();
    let expected = [
        ("compressor BZIP2", 5),
        ("compressor DEFLATER", 5),
        ("compressor GZIP", 6),
        ("compressor LZ4", 8),
        ("compressor SEVENZ", 2),
        ("compressor ZIP", 4),
        ("compressor ZSTD", 3),
        ("frame of protocol v0", 13),
        ("head of a message that Java failed to write", 2),
        ("payload of gRPC", 3),
        ("serializer FASTJSON2", 1),
        ("serializer FST", 1),
        ("serializer HESSIAN", 4),
        ("serializer KRYO", 3),
        ("serializer PROTOBUF", 99),
    ]
    .map(|(reason, count)| (reason.to_owned(), count));
    assert_eq!(refused, expected);
}

/// Ok with the message's class, or the reason why this frame is refused.
fn judge(vector: &Vector) -> Result<String, String> {
    let name = &vector.name;
    match vector.protocol_version() {
        None => {
            let verdict = peek_frame(&vector.bytes, FRAME_BYTES_MAX);
            assert!(matches!(verdict, Err(FrameError::Magic(_))), "{name}");
            return Err("payload of gRPC".into());
        }
        Some(0) => {
            let verdict = peek_frame(&vector.bytes, FRAME_BYTES_MAX);
            assert_eq!(verdict, Err(FrameError::V0), "{name}");
            return Err("frame of protocol v0".into());
        }
        Some(_) if vector.is_broken_head() => {
            let verdict = decode_frame(vector.bytes.clone());
            assert_eq!(verdict, Err(FrameError::Zeroed), "{name}");
            return Err("head of a message that Java failed to write".into());
        }
        Some(_) => {}
    }
    let verdict = peek_frame(&vector.bytes, FRAME_BYTES_MAX);
    assert_eq!(
        verdict,
        Ok(FrameLength::Complete(vector.bytes.len())),
        "{name}"
    );
    let frame = decode_frame(vector.bytes.clone()).unwrap_or_else(|e| panic!("{name}: {e}"));
    let head = frame.head.clone();
    assert_eq!(i64::from(head.id), vector.number("requestId"), "{name}");
    assert_eq!(
        head.kind as u8 as i64,
        vector.number("messageType"),
        "{name}"
    );
    assert_eq!(i64::from(head.serializer), vector.number("codec"), "{name}");
    assert_eq!(
        i64::from(head.compressor),
        vector.number("compressor"),
        "{name}"
    );
    let map: Map<String, Value> = head
        .head_map
        .iter()
        .map(|(key, value)| (key.to_string(), json!(value.as_deref())))
        .collect();
    assert_eq!(&Value::Object(map), vector.head_map(), "{name}");

    let rpc = match decode_rpc(frame, vector.table()) {
        Ok(rpc) => rpc,
        Err(error) => {
            let text = error.to_string();
            match error {
                DecodeError::Compressor(id) => assert_eq!(id, head.compressor),
                DecodeError::Serializer(id) => {
                    assert_eq!((id, COMPRESSOR_NONE), (head.serializer, head.compressor));
                }
                other => panic!("{name}: {other}"),
            }
            assert!(text.contains("on the client"), "{text}");
            let named = text.split(" (").next().unwrap_or_default();
            return Err(named.to_owned());
        }
    };
    let written_by = (head.serializer, head.compressor);
    if !head.kind.is_heartbeat() {
        assert_eq!(written_by, (SERIALIZER_SEATA, COMPRESSOR_NONE), "{name}");
    }
    let read = fields::of(&rpc.message);
    assert_eq!(read, fields::normal(vector.fields()), "{name}");

    let mut written = BytesMut::from(&b"before"[..]);
    encode_rpc(&rpc, vector.table(), &mut written).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(written[..6], b"before"[..], "{name}");
    assert_eq!(written[6..], vector.bytes[..], "{name}");
    Ok(read["class"].as_str().expect("a class").to_owned())
}

/// Whatever the split, the verdict is the same: more bytes are asked for until the last one is there.
#[test]
fn frames_may_come_byte_by_byte() {
    for vector in vectors::all() {
        if vector.protocol_version() != Some(1) || vector.is_broken_head() {
            continue;
        }
        let whole = vector.bytes.len();
        let mut read = Vec::with_capacity(whole);
        for byte in &vector.bytes {
            let verdict = peek_frame(&read, FRAME_BYTES_MAX);
            let Ok(FrameLength::Need(need)) = verdict else {
                panic!(
                    "{}: {verdict:?} after {} of {whole} bytes",
                    vector.name,
                    read.len()
                );
            };
            assert!(need > read.len() && need <= whole, "{}", vector.name);
            let cut = decode_frame(Bytes::copy_from_slice(&read));
            assert_eq!(cut, Err(FrameError::Cut), "{}", vector.name);
            read.push(*byte);
        }
        // A following frame does not change the verdict on this one.
        read.extend_from_slice(&vector.bytes);
        assert_eq!(
            peek_frame(&read, FRAME_BYTES_MAX),
            Ok(FrameLength::Complete(whole))
        );
        let coalesced = decode_frame(Bytes::from(read));
        assert_eq!(
            coalesced,
            decode_frame(vector.bytes.clone()),
            "{}",
            vector.name
        );
    }
}

/// Any version byte but 0 is read as V1, and V1 is answered.
#[test]
fn the_version_byte_is_not_judged() {
    for vector in vectors::all() {
        if vector.protocol_version() != Some(1) || vector.is_broken_head() {
            continue;
        }
        for version in [2, 7, 0x80, 0xff] {
            let mut bytes = vector.bytes.to_vec();
            bytes[2] = version;
            let frame = decode_frame(Bytes::from(bytes)).expect("read as V1");
            assert_eq!(
                Ok(&frame),
                decode_frame(vector.bytes.clone()).as_ref(),
                "{}",
                vector.name
            );
        }
    }
}

/// A text shares the frame's memory instead of being copied.
#[test]
fn decoding_copies_no_text() {
    for vector in vectors::all() {
        let Ok(class) = judge(&vector) else { continue };
        if class.starts_with("Merge") || class.starts_with("Batch") {
            continue;
        }
        let bytes = vector.bytes.clone();
        let (spent, _) = allocation::measured(|| {
            decode_rpc(decode_frame(bytes).expect("read"), ExceptionTable::V2_0)
        });
        // The first slice of a buffer that was a vector makes its reference count.
        assert!(
            spent.count <= 1 && spent.bytes <= 64,
            "{}: {spent:?}",
            vector.name
        );
    }
}
