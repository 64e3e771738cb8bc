//! Messages to bodies.

use bytes::BytesMut;

use super::writer::Writer;
use crate::proto::EncodeError;
use crate::proto::message::*;
use crate::proto::status::ResultCode;
use crate::proto::version::ExceptionTable;

/// Appends one message. What was appended before an error stays and is the caller's to take back.
pub(in crate::proto) fn encode(
    message: &Message,
    table: ExceptionTable,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let type_code = message.type_code();
    let mut writer = Writer {
        out,
        table,
        type_code,
    };
    match message {
        Message::MergedWarp(warp) => {
            writer.i16(type_code);
            if !warp.ids.is_empty() {
                check_ids(&warp.messages, &warp.ids)?;
            }
            merged(&mut writer, &warp.messages, &warp.ids)
        }
        Message::MergeResult(result) => {
            writer.i16(type_code);
            merged(&mut writer, &result.messages, &[])
        }
        Message::BatchResult(batch) => {
            writer.i16(type_code);
            check_ids(&batch.messages, &batch.ids)?;
            merged(&mut writer, &batch.messages, &batch.ids)
        }
        _ => plain(&mut writer, message),
    }
}

/// A child without an id would never get its answer, so the lists match or nothing is sent.
fn check_ids(messages: &[Message], ids: &[i32]) -> Result<(), EncodeError> {
    match messages.len() == ids.len() {
        true => Ok(()),
        false => Err(EncodeError::IdCount {
            messages: messages.len(),
            ids: ids.len(),
        }),
    }
}

fn merged(writer: &mut Writer<'_>, messages: &[Message], ids: &[i32]) -> Result<(), EncodeError> {
    let count =
        i16::try_from(messages.len()).map_err(|_| EncodeError::TooManyChildren(messages.len()))?;
    writer.measured(|writer| {
        writer.i16(count);
        for message in messages {
            writer.type_code = message.type_code();
            plain(writer, message)?;
        }
        for id in ids {
            writer.i32(*id);
        }
        Ok(())
    })
}

/// A type code and the fields of every message that may stand inside a merged one.
fn plain(writer: &mut Writer<'_>, message: &Message) -> Result<(), EncodeError> {
    writer.i16(message.type_code());
    match message {
        Message::GlobalBegin(begin) => {
            writer.i32(begin.timeout_ms);
            writer.s16("transaction name", &begin.transaction_name)
        }
        Message::GlobalBeginResponse(response) => {
            tx_result(writer, &response.result);
            writer.s16("xid", &response.xid)?;
            writer.s16("extra data", &response.extra_data)
        }
        Message::BranchCommit(end) | Message::BranchRollback(end) => branch_end(writer, end),
        Message::BranchCommitResponse(response) | Message::BranchRollbackResponse(response) => {
            tx_result(writer, &response.result);
            writer.s16("xid", &response.xid)?;
            writer.i64(response.branch_id);
            writer.u8(response.branch_status.code());
            Ok(())
        }
        Message::GlobalCommit(end) | Message::GlobalRollback(end) | Message::GlobalStatus(end) => {
            writer.s16("xid", &end.xid)?;
            writer.s16("extra data", &end.extra_data)
        }
        Message::GlobalCommitResponse(response)
        | Message::GlobalRollbackResponse(response)
        | Message::GlobalStatusResponse(response)
        | Message::GlobalReportResponse(response) => {
            tx_result(writer, &response.result);
            writer.u8(response.global_status.code());
            Ok(())
        }
        Message::BranchRegister(register) | Message::GlobalLockQuery(register) => {
            branch_register(writer, register)
        }
        Message::BranchRegisterResponse(response) => {
            tx_result(writer, &response.result);
            writer.i64(response.branch_id);
            Ok(())
        }
        Message::BranchReport(report) => branch_report(writer, report),
        Message::BranchReportResponse(response) => {
            tx_result(writer, &response.result);
            Ok(())
        }
        Message::GlobalReport(report) => {
            writer.s16("xid", &report.xid)?;
            writer.s16("extra data", &report.extra_data)?;
            // -1 stands for null.
            writer.u8(report.global_status.map_or(u8::MAX, |status| status.code()));
            Ok(())
        }
        Message::GlobalLockQueryResponse(response) => {
            tx_result(writer, &response.result);
            writer.i16(i16::from(response.lockable));
            Ok(())
        }
        Message::RegisterTm(register) => register_tm(writer, register),
        Message::RegisterRm(register) => register_rm(writer, register),
        Message::RegisterTmResponse(response) | Message::RegisterRmResponse(response) => {
            writer.u8(u8::from(response.identified));
            writer.s16("version", &response.version)
        }
        Message::UndoLogDelete(delete) => {
            writer.u8(delete.branch_type.code());
            writer.s16("resource id", &delete.resource_id)?;
            writer.i16(delete.save_days);
            Ok(())
        }
        Message::MergedWarp(_)
        | Message::MergeResult(_)
        | Message::BatchResult(_)
        | Message::HeartbeatPing
        | Message::HeartbeatPong => Err(EncodeError::Nested {
            inner: message.type_code(),
        }),
    }
}

fn tx_result(writer: &mut Writer<'_>, result: &TxResult) {
    match result {
        TxResult::Success => {
            writer.u8(ResultCode::Success.code());
            writer.u8(0);
        }
        TxResult::Failed { code, message } => {
            writer.u8(ResultCode::Failed.code());
            writer.failure_text(message);
            writer.u8(writer.table.number(*code));
        }
    }
}

fn branch_end(writer: &mut Writer<'_>, end: &BranchEnd) -> Result<(), EncodeError> {
    writer.s16("xid", &end.xid)?;
    writer.i64(end.branch_id);
    writer.u8(end.branch_type.code());
    writer.s16("resource id", &end.resource_id)?;
    writer.s32("application data", &end.application_data)
}

fn branch_register(writer: &mut Writer<'_>, register: &BranchRegister) -> Result<(), EncodeError> {
    writer.s16("xid", &register.xid)?;
    writer.u8(register.branch_type.code());
    writer.s16("resource id", &register.resource_id)?;
    writer.s32("lock key", &register.lock_key)?;
    writer.s32("application data", &register.application_data)
}

fn branch_report(writer: &mut Writer<'_>, report: &BranchReport) -> Result<(), EncodeError> {
    writer.s16("xid", &report.xid)?;
    writer.i64(report.branch_id);
    writer.u8(report.status.code());
    writer.s16("resource id", &report.resource_id)?;
    writer.s32("application data", &report.application_data)?;
    writer.u8(report.branch_type.code());
    Ok(())
}

fn register_tm(writer: &mut Writer<'_>, register: &RegisterTm) -> Result<(), EncodeError> {
    writer.s16("version", &register.version)?;
    writer.s16("application id", &register.application_id)?;
    writer.s16(
        "transaction service group",
        &register.transaction_service_group,
    )?;
    writer.s16("extra data", &register.extra_data)
}

fn register_rm(writer: &mut Writer<'_>, register: &RegisterRm) -> Result<(), EncodeError> {
    writer.s16("version", &register.version)?;
    writer.s16("application id", &register.application_id)?;
    writer.s16(
        "transaction service group",
        &register.transaction_service_group,
    )?;
    writer.s16("extra data", &register.extra_data)?;
    writer.s32("resource ids", &register.resource_ids)
}
