//! Bodies to messages.

use bytes::Bytes;

use super::reader::Reader;
use crate::proto::message::*;
use crate::proto::status::{BranchStatus, BranchType, GlobalStatus, ResultCode};
use crate::proto::version::ExceptionTable;
use crate::proto::{DecodeError, Text};

/// Reads one message. Its texts share the body.
pub(in crate::proto) fn decode(
    body: &Bytes,
    table: ExceptionTable,
) -> Result<Message, DecodeError> {
    if body.is_empty() {
        return Err(DecodeError::Empty);
    }
    let mut reader = Reader::new(body);
    let code = reader.i16("type code")?;
    reader.type_code = code;
    match code {
        4 => branch_end_response(reader, table).map(Message::BranchCommitResponse),
        6 => branch_end_response(reader, table).map(Message::BranchRollbackResponse),
        59 => merged_warp(reader, table).map(Message::MergedWarp),
        60 => merge_result(reader, table).map(Message::MergeResult),
        121 => batch_result(reader, table).map(Message::BatchResult),
        _ => plain(&mut reader, table),
    }
}

/// Every message that may stand inside a merged one. The reader is behind the type code.
fn plain(reader: &mut Reader<'_>, table: ExceptionTable) -> Result<Message, DecodeError> {
    Ok(match reader.type_code {
        1 => Message::GlobalBegin(GlobalBegin {
            timeout_ms: reader.i32("timeout")?,
            transaction_name: reader.s16("transaction name")?,
        }),
        2 => Message::GlobalBeginResponse(GlobalBeginResponse {
            result: tx_result(reader, table)?,
            xid: reader.s16("xid")?,
            extra_data: reader.s16("extra data")?,
        }),
        3 => Message::BranchCommit(branch_end(reader)?),
        4 => Message::BranchCommitResponse(branch_end_fields(reader, table, Reader::s16)?),
        5 => Message::BranchRollback(branch_end(reader)?),
        6 => Message::BranchRollbackResponse(branch_end_fields(reader, table, Reader::s16)?),
        7 => Message::GlobalCommit(global_end(reader)?),
        8 => Message::GlobalCommitResponse(global_end_response(reader, table)?),
        9 => Message::GlobalRollback(global_end(reader)?),
        10 => Message::GlobalRollbackResponse(global_end_response(reader, table)?),
        11 => Message::BranchRegister(branch_register(reader)?),
        12 => Message::BranchRegisterResponse(BranchRegisterResponse {
            result: tx_result(reader, table)?,
            branch_id: reader.i64("branch id")?,
        }),
        13 => Message::BranchReport(branch_report(reader)?),
        14 => Message::BranchReportResponse(BranchReportResponse {
            result: tx_result(reader, table)?,
        }),
        15 => Message::GlobalStatus(global_end(reader)?),
        16 => Message::GlobalStatusResponse(global_end_response(reader, table)?),
        17 => Message::GlobalReport(global_report(reader)?),
        18 => Message::GlobalReportResponse(global_end_response(reader, table)?),
        21 => Message::GlobalLockQuery(branch_register(reader)?),
        22 => Message::GlobalLockQueryResponse(GlobalLockQueryResponse {
            result: tx_result(reader, table)?,
            lockable: reader.i16("lockable")? == 1,
        }),
        101 => Message::RegisterTm(RegisterTm {
            version: reader.trailing_s16("version"),
            application_id: reader.trailing_s16("application id"),
            transaction_service_group: reader.trailing_s16("transaction service group"),
            extra_data: reader.trailing_s16("extra data"),
        }),
        102 => Message::RegisterTmResponse(register_response(reader)?),
        103 => Message::RegisterRm(RegisterRm {
            version: reader.trailing_s16("version"),
            application_id: reader.trailing_s16("application id"),
            transaction_service_group: reader.trailing_s16("transaction service group"),
            extra_data: reader.trailing_s16("extra data"),
            resource_ids: reader.trailing_s32("resource ids"),
        }),
        104 => Message::RegisterRmResponse(register_response(reader)?),
        111 => Message::UndoLogDelete(undo_log_delete(reader)?),
        code => return Err(DecodeError::TypeCode(code)),
    })
}

/// RESULT and the exception code behind it.
fn tx_result(reader: &mut Reader<'_>, table: ExceptionTable) -> Result<TxResult, DecodeError> {
    tx_result_with(reader, table, Reader::s16)
}

type ReadText<'a> = fn(&mut Reader<'a>, &'static str) -> Result<Text, DecodeError>;

fn tx_result_with<'a>(
    reader: &mut Reader<'a>,
    table: ExceptionTable,
    read_message: ReadText<'a>,
) -> Result<TxResult, DecodeError> {
    const EXCEPTION_CODE: &str = "transaction exception code";
    match reader.number("result code", ResultCode::from_code)? {
        // The byte says nothing here, so that no number in it can spoil a success.
        ResultCode::Success => reader.u8(EXCEPTION_CODE).map(|_| TxResult::Success),
        ResultCode::Failed => {
            let message = read_message(reader, "failure text")?;
            let code = reader.number(EXCEPTION_CODE, |number| table.code(number))?;
            Ok(TxResult::Failed { code, message })
        }
    }
}

fn branch_end(reader: &mut Reader<'_>) -> Result<BranchEnd, DecodeError> {
    Ok(BranchEnd {
        xid: reader.s16("xid")?,
        branch_id: reader.i64("branch id")?,
        branch_type: reader.number("branch type", BranchType::from_code)?,
        resource_id: reader.trailing_s16("resource id"),
        application_data: reader.trailing_s32("application data"),
    })
}

/// Reads an answer to phase two. seata-go writes the failure text behind an i8 length here (wire.md T12): when the
/// regular form cannot be read, or gives an xid that is none, and the other form fits to the last byte, that one it is.
fn branch_end_response(
    reader: Reader<'_>,
    table: ExceptionTable,
) -> Result<BranchEndResponse, DecodeError> {
    let regular = branch_end_fields(&mut reader.clone(), table, Reader::s16);
    if let Ok(read) = &regular
        && (is_xid(&read.xid) || read.result == TxResult::Success)
    {
        return regular;
    }
    let mut narrow = reader;
    match branch_end_fields(&mut narrow, table, Reader::s8) {
        Ok(read) if narrow.remaining() == 0 && is_xid(&read.xid) => Ok(read),
        _ => regular,
    }
}

/// Whether a text ends like a transaction id: a colon and digits.
fn is_xid(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(_, number)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn branch_end_fields<'a>(
    reader: &mut Reader<'a>,
    table: ExceptionTable,
    read_message: ReadText<'a>,
) -> Result<BranchEndResponse, DecodeError> {
    Ok(BranchEndResponse {
        result: tx_result_with(reader, table, read_message)?,
        xid: reader.s16("xid")?,
        branch_id: reader.i64("branch id")?,
        branch_status: reader.number("branch status", BranchStatus::from_code)?,
    })
}

fn global_end(reader: &mut Reader<'_>) -> Result<GlobalEnd, DecodeError> {
    Ok(GlobalEnd {
        xid: reader.s16("xid")?,
        extra_data: reader.s16("extra data")?,
    })
}

fn global_end_response(
    reader: &mut Reader<'_>,
    table: ExceptionTable,
) -> Result<GlobalEndResponse, DecodeError> {
    Ok(GlobalEndResponse {
        result: tx_result(reader, table)?,
        global_status: reader.number("global status", GlobalStatus::from_code)?,
    })
}

fn branch_register(reader: &mut Reader<'_>) -> Result<BranchRegister, DecodeError> {
    Ok(BranchRegister {
        xid: reader.s16("xid")?,
        branch_type: reader.number("branch type", BranchType::from_code)?,
        resource_id: reader.s16("resource id")?,
        lock_key: reader.s32("lock key")?,
        application_data: reader.s32("application data")?,
    })
}

fn branch_report(reader: &mut Reader<'_>) -> Result<BranchReport, DecodeError> {
    Ok(BranchReport {
        xid: reader.s16("xid")?,
        branch_id: reader.i64("branch id")?,
        status: reader.number("branch status", BranchStatus::from_code)?,
        resource_id: reader.s16("resource id")?,
        application_data: reader.s32("application data")?,
        branch_type: reader.number("branch type", BranchType::from_code)?,
    })
}

fn global_report(reader: &mut Reader<'_>) -> Result<GlobalReport, DecodeError> {
    Ok(GlobalReport {
        xid: reader.s16("xid")?,
        extra_data: reader.s16("extra data")?,
        global_status: reader.number("global status", |number| match number {
            // -1 stands for null.
            u8::MAX => Some(None),
            number => GlobalStatus::from_code(number).map(Some),
        })?,
    })
}

fn register_response(reader: &mut Reader<'_>) -> Result<RegisterResponse, DecodeError> {
    Ok(RegisterResponse {
        identified: reader.u8("identified")? == 1,
        version: reader.trailing_s16("version"),
    })
}

fn undo_log_delete(reader: &mut Reader<'_>) -> Result<UndoLogDelete, DecodeError> {
    Ok(UndoLogDelete {
        branch_type: reader.number("branch type", BranchType::from_code)?,
        resource_id: reader.trailing_s16("resource id"),
        save_days: reader
            .i16("days to keep")
            .unwrap_or(UndoLogDelete::SAVE_DAYS),
    })
}

fn merged_warp(reader: Reader<'_>, table: ExceptionTable) -> Result<MergedWarp, DecodeError> {
    let mut reader = measured(reader)?;
    let messages = children(&mut reader, table)?;
    // Clients below 1.5 write no ids.
    let ids = match reader.remaining() {
        0 => Vec::new(),
        _ => child_ids(&mut reader, messages.len())?,
    };
    Ok(MergedWarp { messages, ids })
}

fn merge_result(reader: Reader<'_>, table: ExceptionTable) -> Result<MergeResult, DecodeError> {
    let mut reader = measured(reader)?;
    Ok(MergeResult {
        messages: children(&mut reader, table)?,
    })
}

fn batch_result(reader: Reader<'_>, table: ExceptionTable) -> Result<BatchResult, DecodeError> {
    let mut reader = measured(reader)?;
    let messages = children(&mut reader, table)?;
    let ids = child_ids(&mut reader, messages.len())?;
    Ok(BatchResult { messages, ids })
}

/// The bytes that the length at the head of a merged message announces.
fn measured(mut reader: Reader<'_>) -> Result<Reader<'_>, DecodeError> {
    let length = reader.i32("length")?;
    reader
        .part(length)
        .ok_or_else(|| reader.short("merged messages"))
}

fn children(reader: &mut Reader<'_>, table: ExceptionTable) -> Result<Vec<Message>, DecodeError> {
    let type_code = reader.type_code;
    let count = reader.i16("count of merged messages")?;
    let count = usize::try_from(count).map_err(|_| DecodeError::Count { type_code, count })?;
    // What the bytes there are can hold, so that a false count reserves nothing.
    let mut messages = Vec::with_capacity(count.min(reader.remaining() / CHILD_BYTES_MIN));
    for _ in 0..count {
        let inner = reader.i16("type code of a merged message")?;
        if let 59 | 60 | 121 = inner {
            return Err(DecodeError::Nested { type_code, inner });
        }
        reader.type_code = inner;
        messages.push(plain(reader, table)?);
        reader.type_code = type_code;
    }
    Ok(messages)
}

fn child_ids(reader: &mut Reader<'_>, count: usize) -> Result<Vec<i32>, DecodeError> {
    const FIELD: &str = "ids of merged messages";
    if reader.remaining() / size_of::<i32>() < count {
        return Err(reader.short(FIELD));
    }
    let mut ids = Vec::with_capacity(count);
    for _ in 0..count {
        ids.push(reader.i32(FIELD)?);
    }
    Ok(ids)
}

/// The shortest messages inside a merged one: a type code and two bytes.
const CHILD_BYTES_MIN: usize = 4;
