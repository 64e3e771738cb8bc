//! decode(encode(m)) = m for generated messages, under every table of exception codes.

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use seamio::proto::HeadMap;
use seamio::proto::Text;
use seamio::proto::codec::{Rpc, decode_rpc, encode_rpc};
use seamio::proto::frame::{MessageKind, decode_frame};
use seamio::proto::message::*;
use seamio::proto::status::*;
use seamio::proto::version::ExceptionTable;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read((table, rpc) in table_and_rpc()) {
        let mut out = BytesMut::new();
        encode_rpc(&rpc, table, &mut out).expect("within the format's limits");
        let frame = decode_frame(out.freeze()).expect("a frame");
        prop_assert_eq!(decode_rpc(frame, table), Ok(rpc));
    }
}

fn table_and_rpc() -> impl Strategy<Value = (ExceptionTable, Rpc)> {
    select(ExceptionTable::ALL.to_vec()).prop_flat_map(|table| (Just(table), rpc(table)))
}

fn rpc(table: ExceptionTable) -> impl Strategy<Value = Rpc> {
    let kinds = select(vec![
        MessageKind::Request,
        MessageKind::Response,
        MessageKind::OneWay,
    ]);
    (any::<i32>(), kinds, head_map(), message(table)).prop_map(|(id, kind, head_map, message)| {
        let kind = match message {
            Message::HeartbeatPing => MessageKind::Ping,
            Message::HeartbeatPong => MessageKind::Pong,
            _ => kind,
        };
        Rpc {
            kind,
            head_map,
            ..Rpc::request(id, message)
        }
    })
}

fn head_map() -> impl Strategy<Value = HeadMap> {
    vec((short(), proptest::option::of(short())), 0..4).prop_map(|pairs| {
        let pairs = pairs
            .iter()
            .map(|(key, value)| (&**key, value.as_ref().map(|value| &**value)));
        HeadMap::from_pairs(pairs).expect("small")
    })
}

fn message(table: ExceptionTable) -> impl Strategy<Value = Message> {
    let merged = (vec(plain(table), 0..6), any::<bool>(), any::<i32>());
    let merged = (merged, 0..3).prop_map(|((messages, with_ids, first), form)| {
        let ids = (0..messages.len() as i32).map(|at| first.wrapping_add(at));
        match form {
            0 => Message::MergedWarp(MergedWarp {
                ids: if with_ids { ids.collect() } else { Vec::new() },
                messages,
            }),
            1 => Message::MergeResult(MergeResult { messages }),
            _ => Message::BatchResult(BatchResult {
                ids: ids.collect(),
                messages,
            }),
        }
    });
    let heartbeat = select(vec![Message::HeartbeatPing, Message::HeartbeatPong]);
    prop_oneof![12 => plain(table), 3 => merged, 1 => heartbeat]
}

/// Every message that may be inside a merged one.
fn plain(table: ExceptionTable) -> BoxedStrategy<Message> {
    prop_oneof![requests(), responses(table), registrations()].boxed()
}

fn requests() -> impl Strategy<Value = Message> {
    let begin = (any::<i32>(), short()).prop_map(|(timeout_ms, transaction_name)| {
        Message::GlobalBegin(GlobalBegin {
            timeout_ms,
            transaction_name,
        })
    });
    let branch_end = (branch(), long(), any::<bool>()).prop_map(
        |((xid, branch_id, branch_type, resource_id), application_data, commit)| {
            let end = BranchEnd {
                xid,
                branch_id,
                branch_type,
                resource_id,
                application_data,
            };
            match commit {
                true => Message::BranchCommit(end),
                false => Message::BranchRollback(end),
            }
        },
    );
    let global_end = (xid(), short(), 0..3).prop_map(|(xid, extra_data, form)| {
        let end = GlobalEnd { xid, extra_data };
        match form {
            0 => Message::GlobalCommit(end),
            1 => Message::GlobalRollback(end),
            _ => Message::GlobalStatus(end),
        }
    });
    let register = (branch(), long(), long(), any::<bool>()).prop_map(
        |((xid, _, branch_type, resource_id), lock_key, application_data, query)| {
            let register = BranchRegister {
                xid,
                branch_type,
                resource_id,
                lock_key,
                application_data,
            };
            match query {
                true => Message::GlobalLockQuery(register),
                false => Message::BranchRegister(register),
            }
        },
    );
    let report = (branch(), one_of(BranchStatus::ALL), long()).prop_map(
        |((xid, branch_id, branch_type, resource_id), status, application_data)| {
            Message::BranchReport(BranchReport {
                xid,
                branch_id,
                status,
                resource_id,
                application_data,
                branch_type,
            })
        },
    );
    let status = proptest::option::of(one_of(GlobalStatus::ALL));
    let global_report = (xid(), short(), status).prop_map(|(xid, extra_data, global_status)| {
        Message::GlobalReport(GlobalReport {
            xid,
            extra_data,
            global_status,
        })
    });
    let undo = (one_of(BranchType::ALL), short(), any::<i16>()).prop_map(
        |(branch_type, resource_id, save_days)| {
            Message::UndoLogDelete(UndoLogDelete {
                branch_type,
                resource_id,
                save_days,
            })
        },
    );
    prop_oneof![
        begin,
        branch_end,
        global_end,
        register,
        report,
        global_report,
        undo
    ]
}

fn responses(table: ExceptionTable) -> impl Strategy<Value = Message> {
    let begin = (result(table), xid(), short()).prop_map(|(result, xid, extra_data)| {
        Message::GlobalBeginResponse(GlobalBeginResponse {
            result,
            xid,
            extra_data,
        })
    });
    let status = one_of(BranchStatus::ALL);
    let branch_end = (result(table), xid(), any::<i64>(), status, any::<bool>()).prop_map(
        |(result, xid, branch_id, branch_status, commit)| {
            let response = BranchEndResponse {
                result,
                xid,
                branch_id,
                branch_status,
            };
            match commit {
                true => Message::BranchCommitResponse(response),
                false => Message::BranchRollbackResponse(response),
            }
        },
    );
    let global_end = (result(table), one_of(GlobalStatus::ALL), 0..4).prop_map(
        |(result, global_status, form)| {
            let response = GlobalEndResponse {
                result,
                global_status,
            };
            match form {
                0 => Message::GlobalCommitResponse(response),
                1 => Message::GlobalRollbackResponse(response),
                2 => Message::GlobalStatusResponse(response),
                _ => Message::GlobalReportResponse(response),
            }
        },
    );
    let register = (result(table), any::<i64>()).prop_map(|(result, branch_id)| {
        Message::BranchRegisterResponse(BranchRegisterResponse { result, branch_id })
    });
    let report = result(table)
        .prop_map(|result| Message::BranchReportResponse(BranchReportResponse { result }));
    let query = (result(table), any::<bool>()).prop_map(|(result, lockable)| {
        Message::GlobalLockQueryResponse(GlobalLockQueryResponse { result, lockable })
    });
    prop_oneof![begin, branch_end, global_end, register, report, query]
}

fn registrations() -> impl Strategy<Value = Message> {
    let request = (
        short(),
        short(),
        short(),
        short(),
        proptest::option::of(long()),
    )
        .prop_map(
            |(version, application_id, transaction_service_group, extra_data, resource_ids)| {
                match resource_ids {
                    None => Message::RegisterTm(RegisterTm {
                        version,
                        application_id,
                        transaction_service_group,
                        extra_data,
                    }),
                    Some(resource_ids) => Message::RegisterRm(RegisterRm {
                        version,
                        application_id,
                        transaction_service_group,
                        extra_data,
                        resource_ids,
                    }),
                }
            },
        );
    let response =
        (any::<bool>(), short(), any::<bool>()).prop_map(|(identified, version, of_tm)| {
            let response = RegisterResponse {
                identified,
                version,
            };
            match of_tm {
                true => Message::RegisterTmResponse(response),
                false => Message::RegisterRmResponse(response),
            }
        });
    prop_oneof![request, response]
}

fn result(table: ExceptionTable) -> impl Strategy<Value = TxResult> {
    let codes = ExceptionCode::ALL.iter().copied();
    let codes: Vec<_> = codes
        .filter(|code| table.code(table.number(*code)) == Some(*code))
        .collect();
    let failed = (select(codes), short()).prop_map(|(code, message)| {
        // 1.3 and older write no more than this.
        let message = message.chars().take(64).collect::<String>().into();
        TxResult::Failed { code, message }
    });
    prop_oneof![Just(TxResult::Success), failed]
}

fn branch() -> impl Strategy<Value = (Text, i64, BranchType, Text)> {
    (xid(), any::<i64>(), one_of(BranchType::ALL), short())
}

fn one_of<T: Copy + std::fmt::Debug>(all: &'static [T]) -> impl Strategy<Value = T> {
    select(all.to_vec())
}

fn xid() -> impl Strategy<Value = Text> {
    prop_oneof![
        4 => (1..i64::MAX).prop_map(|id| Text::from(format!("127.0.0.1:8091:{id}"))),
        1 => short(),
    ]
}

fn short() -> impl Strategy<Value = Text> {
    prop_oneof![
        1 => Just(Text::new()),
        4 => vec(any::<char>(), 0..40).prop_map(|text| Text::from(text.into_iter().collect::<String>())),
    ]
}

/// Texts behind an i32 length may be longer than an i16 can tell.
fn long() -> impl Strategy<Value = Text> {
    prop_oneof![
        8 => short(),
        1 => (30_000usize..40_000).prop_map(|bytes| Text::from("x".repeat(bytes))),
    ]
}
