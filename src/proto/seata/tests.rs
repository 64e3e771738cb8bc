//! Round trips, limits and odd input of the SEATA serializer.

use bytes::{Bytes, BytesMut};

use super::{decode, encode};
use crate::proto::message::*;
use crate::proto::status::*;
use crate::proto::version::ExceptionTable::{self, *};
use crate::proto::{DecodeError, EncodeError, Text};

const XID: Text = Text::from_static("192.168.0.1:8091:2612341069705662465");

fn read(bytes: &[u8], table: ExceptionTable) -> Result<Message, DecodeError> {
    decode(&Bytes::copy_from_slice(bytes), table)
}

fn written(message: &Message, table: ExceptionTable) -> Result<BytesMut, EncodeError> {
    let mut out = BytesMut::new();
    encode(message, table, &mut out).map(|()| out)
}

fn body(message: &Message) -> BytesMut {
    written(message, V2_0).unwrap()
}

fn failed_commit(message: &str) -> Message {
    Message::BranchCommitResponse(BranchEndResponse {
        result: TxResult::Failed {
            code: ExceptionCode::Io,
            message: message.into(),
        },
        xid: XID,
        branch_id: 7,
        branch_status: BranchStatus::PhaseTwoCommitFailedRetryable,
    })
}

fn begin(name: &str) -> Message {
    Message::GlobalBegin(GlobalBegin {
        timeout_ms: 60_000,
        transaction_name: name.into(),
    })
}

#[test]
fn registrations_may_end_early() {
    let whole = Message::RegisterRm(RegisterRm {
        version: "1.4.2".into(),
        application_id: "app".into(),
        transaction_service_group: "group".into(),
        extra_data: "x".into(),
        resource_ids: "a,b".into(),
    });
    let bytes = body(&whole);
    assert_eq!(read(&bytes, V1_2), Ok(whole));
    for end in 2..bytes.len() {
        let Ok(Message::RegisterRm(cut)) = read(&bytes[..end], V1_2) else {
            panic!("cut at {end}");
        };
        assert_eq!(cut.version.is_empty(), end < 9, "cut at {end}");
        assert_eq!(cut.application_id.is_empty(), end < 14, "cut at {end}");
        assert!(cut.resource_ids.is_empty());
    }
}

#[test]
fn an_empty_field_does_not_hide_the_ones_behind_it() {
    let message = Message::RegisterRm(RegisterRm {
        version: Text::new(),
        application_id: "app".into(),
        transaction_service_group: "group".into(),
        extra_data: Text::new(),
        resource_ids: "a".into(),
    });
    assert_eq!(read(&body(&message), V1_2), Ok(message));
}

#[test]
fn other_messages_must_be_whole() {
    let message = Message::BranchRegister(BranchRegister {
        xid: XID,
        branch_type: BranchType::At,
        resource_id: "r".into(),
        lock_key: "t:1".into(),
        application_data: "d".into(),
    });
    let bytes = body(&message);
    for end in 1..bytes.len() {
        let error = read(&bytes[..end], V2_0).unwrap_err();
        assert!(matches!(error, DecodeError::Short { .. }), "cut at {end}");
    }
    assert_eq!(read(&[], V2_0), Err(DecodeError::Empty));
    let mut longer = bytes.to_vec();
    longer.extend_from_slice(b"ignored");
    assert_eq!(read(&longer, V2_0), Ok(message));
}

#[test]
fn undo_log_delete_has_a_default() {
    let read = read(&[0, 111, 0, 0, 1, b'r'], V2_0);
    let expected = UndoLogDelete {
        branch_type: BranchType::At,
        resource_id: "r".into(),
        save_days: 7,
    };
    assert_eq!(read, Ok(Message::UndoLogDelete(expected)));
}

#[test]
fn unknown_numbers_name_their_field() {
    let mut bytes = body(&Message::GlobalStatusResponse(GlobalEndResponse {
        result: TxResult::Success,
        global_status: GlobalStatus::Begin,
    }));
    *bytes.last_mut().unwrap() = 21;
    let error = read(&bytes, V2_0).unwrap_err();
    let expected = DecodeError::Number {
        type_code: 16,
        field: "global status",
        number: 21,
    };
    assert_eq!(error, expected);
    assert_eq!(
        error.to_string(),
        "message 16 has an unknown global status: 21"
    );
    assert_eq!(read(&[0x7f, 0xff], V2_0), Err(DecodeError::TypeCode(32767)));
    assert_eq!(read(&[0, 120], V2_0), Err(DecodeError::TypeCode(120)));
}

#[test]
fn exception_codes_follow_the_table() {
    let message = |code| {
        Message::BranchReportResponse(BranchReportResponse {
            result: TxResult::Failed {
                code,
                message: Text::new(),
            },
        })
    };
    let fail_fast = message(ExceptionCode::LockKeyConflictFailFast);
    for (table, number) in [(V1_2, 2), (V1_4, 2), (V1_5, 19), (V1_7, 19), (V2_0, 20)] {
        assert_eq!(
            written(&fail_fast, table).unwrap()[..],
            [0, 14, 0, 0, 0, number]
        );
    }
    assert_eq!(
        read(&[0, 14, 0, 0, 0, 19], V2_0),
        Ok(message(ExceptionCode::NotRaftLeader))
    );
    assert!(read(&[0, 14, 0, 0, 0, 19], V1_4).is_err());
    // On a success the byte is not read as a code.
    assert!(read(&[0, 14, 1, 99], V1_4).is_ok());
}

#[test]
fn long_identifiers_are_refused_and_long_failure_texts_cut() {
    let long = "x".repeat(32768);
    let error = written(&begin(&long), V2_0).unwrap_err();
    let expected = EncodeError::TextTooLong {
        type_code: 1,
        field: "transaction name",
        bytes: 32768,
    };
    assert_eq!(error, expected);
    assert!(written(&begin(&long[1..]), V2_0).is_ok());
    for (text, table, bytes) in [
        (long.clone(), V2_0, 32767),
        (long, V1_2, 128),
        ("é".repeat(20_000), V1_4, 32766),
        ("é".repeat(20_000), V1_2, 256),
    ] {
        let out = written(&failed_commit(&text), table).unwrap();
        let Ok(Message::BranchCommitResponse(response)) = decode(&out.freeze(), table) else {
            panic!("unreadable");
        };
        let TxResult::Failed { message, .. } = response.result else {
            panic!("not failed");
        };
        assert_eq!(message.len(), bytes);
        assert!(text.starts_with(&*message));
    }
}

/// seata-go writes the failure text of these two answers behind an i8 length.
#[test]
fn a_narrow_failure_text_is_understood() {
    for code in [4, 6] {
        for text in ["", "x", "commit failed", &"long".repeat(63)] {
            let mut message = failed_commit(text);
            if code == 6 {
                let Message::BranchCommitResponse(response) = message else {
                    unreachable!()
                };
                message = Message::BranchRollbackResponse(response);
            }
            let regular = body(&message);
            assert_eq!(read(&regular, V1_5).as_ref(), Ok(&message));
            let mut narrow = regular[..3].to_vec();
            narrow.extend_from_slice(&regular[4..]);
            assert_eq!(read(&narrow, V1_5).as_ref(), Ok(&message), "{text:?}");
            // Not in another message, and not when bytes are left over.
            narrow.push(0);
            assert_ne!(read(&narrow, V1_5).as_ref(), Ok(&message), "{text:?}");
        }
    }
}

#[test]
fn merged_requests_have_ids_or_none() {
    for ids in [vec![], vec![11, -12]] {
        let message = Message::MergedWarp(MergedWarp {
            messages: vec![begin("a"), begin("b")],
            ids,
        });
        assert_eq!(read(&body(&message), V1_2), Ok(message));
    }
    let uneven = Message::MergedWarp(MergedWarp {
        messages: vec![begin("a"), begin("b")],
        ids: vec![11],
    });
    let expected = EncodeError::IdCount {
        messages: 2,
        ids: 1,
    };
    assert_eq!(written(&uneven, V2_0), Err(expected));
    let empty = Message::MergedWarp(MergedWarp {
        messages: vec![],
        ids: vec![],
    });
    let bytes = body(&empty);
    assert_eq!(bytes[..], [0, 59, 0, 0, 0, 2, 0, 0]);
    assert_eq!(read(&bytes, V1_2), Ok(empty));
}

#[test]
fn merged_messages_must_be_whole_and_flat() {
    let message = Message::BatchResult(BatchResult {
        messages: vec![begin("a"), begin("b")],
        ids: vec![1, 2],
    });
    let bytes = body(&message);
    for end in 2..bytes.len() {
        assert!(read(&bytes[..end], V2_0).is_err(), "cut at {end}");
    }
    assert_eq!(read(&bytes, V2_0).as_ref(), Ok(&message));
    // Bytes behind the announced length are not part of it.
    let mut longer = bytes.to_vec();
    longer.push(9);
    assert_eq!(read(&longer, V2_0), Ok(message));

    let nested = Message::MergedWarp(MergedWarp {
        messages: vec![Message::MergeResult(MergeResult { messages: vec![] })],
        ids: vec![],
    });
    assert_eq!(
        written(&nested, V2_0),
        Err(EncodeError::Nested { inner: 60 })
    );
    for inner in [59, 60, 121] {
        let bytes = [0, 59, 0, 0, 0, 10, 0, 1, 0, inner, 0, 0, 0, 2, 0, 0];
        let expected = DecodeError::Nested {
            type_code: 59,
            inner: i16::from(inner),
        };
        assert_eq!(read(&bytes, V2_0), Err(expected));
    }
    let negative = [0, 60, 0, 0, 0, 2, 0xff, 0xff];
    assert!(matches!(
        read(&negative, V2_0),
        Err(DecodeError::Count { count: -1, .. })
    ));
    let negative = [0, 60, 0xff, 0xff, 0xff, 0xff, 0, 0];
    assert!(matches!(
        read(&negative, V2_0),
        Err(DecodeError::Short { .. })
    ));
}
