//! A message as the fields of Seata's Java class, to compare with what a Java codec read.

use seamio::proto::Text;
use seamio::proto::message::*;
use serde_json::{Map, Value, json};

/// The fields as in the vectors. Null and empty text are one on the wire; both are `""` here.
pub(crate) fn of(message: &Message) -> Value {
    let (class, fields) = match message {
        Message::GlobalBegin(m) => (
            "GlobalBeginRequest",
            json!({"timeout": m.timeout_ms, "transactionName": text(&m.transaction_name)}),
        ),
        Message::GlobalBeginResponse(m) => (
            "GlobalBeginResponse",
            with_result(
                &m.result,
                json!({"xid": text(&m.xid), "extraData": text(&m.extra_data)}),
            ),
        ),
        Message::BranchCommit(m) => ("BranchCommitRequest", branch_end(m)),
        Message::BranchCommitResponse(m) => ("BranchCommitResponse", branch_end_response(m)),
        Message::BranchRollback(m) => ("BranchRollbackRequest", branch_end(m)),
        Message::BranchRollbackResponse(m) => ("BranchRollbackResponse", branch_end_response(m)),
        Message::GlobalCommit(m) => ("GlobalCommitRequest", global_end(m)),
        Message::GlobalCommitResponse(m) => ("GlobalCommitResponse", global_end_response(m)),
        Message::GlobalRollback(m) => ("GlobalRollbackRequest", global_end(m)),
        Message::GlobalRollbackResponse(m) => ("GlobalRollbackResponse", global_end_response(m)),
        Message::GlobalStatus(m) => ("GlobalStatusRequest", global_end(m)),
        Message::GlobalStatusResponse(m) => ("GlobalStatusResponse", global_end_response(m)),
        Message::GlobalReport(m) => (
            "GlobalReportRequest",
            json!({
                "xid": text(&m.xid),
                "extraData": text(&m.extra_data),
                "globalStatus": m.global_status.map_or("", |status| status.name()),
            }),
        ),
        Message::GlobalReportResponse(m) => ("GlobalReportResponse", global_end_response(m)),
        Message::BranchRegister(m) => ("BranchRegisterRequest", branch_register(m)),
        Message::GlobalLockQuery(m) => ("GlobalLockQueryRequest", branch_register(m)),
        Message::BranchRegisterResponse(m) => (
            "BranchRegisterResponse",
            with_result(&m.result, json!({"branchId": m.branch_id})),
        ),
        Message::BranchReport(m) => (
            "BranchReportRequest",
            json!({
                "xid": text(&m.xid),
                "branchId": m.branch_id,
                "resourceId": text(&m.resource_id),
                "status": m.status.name(),
                "applicationData": text(&m.application_data),
                "branchType": m.branch_type.name(),
            }),
        ),
        Message::BranchReportResponse(m) => {
            ("BranchReportResponse", with_result(&m.result, json!({})))
        }
        Message::GlobalLockQueryResponse(m) => (
            "GlobalLockQueryResponse",
            with_result(&m.result, json!({"lockable": m.lockable})),
        ),
        Message::RegisterTm(m) => ("RegisterTMRequest", register_tm(m)),
        Message::RegisterRm(m) => ("RegisterRMRequest", register_rm(m)),
        Message::RegisterTmResponse(m) => ("RegisterTMResponse", register_response(m)),
        Message::RegisterRmResponse(m) => ("RegisterRMResponse", register_response(m)),
        Message::UndoLogDelete(m) => (
            "UndoLogDeleteRequest",
            json!({
                "resourceId": text(&m.resource_id),
                "saveDays": m.save_days,
                "branchType": m.branch_type.name(),
            }),
        ),
        Message::MergedWarp(m) => (
            "MergedWarpMessage",
            json!({"msgs": all(&m.messages), "msgIds": m.ids}),
        ),
        Message::MergeResult(m) => ("MergeResultMessage", json!({"msgs": all(&m.messages)})),
        Message::BatchResult(m) => (
            "BatchResultMessage",
            json!({"resultMessages": all(&m.messages), "msgIds": m.ids}),
        ),
        Message::HeartbeatPing => ("HeartbeatMessage", json!({"ping": true})),
        Message::HeartbeatPong => ("HeartbeatMessage", json!({"ping": false})),
    };
    let mut fields = fields;
    fields["class"] = json!(class);
    fields["typeCode"] = json!(message.type_code());
    fields
}

/// The fields of a vector in the same form: null is empty, what is not on the wire is gone, and the one respelled name
/// is in its new spelling.
pub(crate) fn normal(vector: &Value) -> Value {
    match vector {
        Value::Null => json!(""),
        Value::String(text) if text == "FailedLockGlobalTranscation" => {
            json!("FailedLockGlobalTransaction")
        }
        Value::Array(all) => all.iter().map(normal).collect(),
        Value::Object(fields) => {
            let registered = matches!(
                fields.get("class").and_then(Value::as_str),
                Some("RegisterTMResponse" | "RegisterRMResponse")
            );
            let off_the_wire =
                |name: &str| registered && ["resultCode", "msg", "extraData"].contains(&name);
            let kept = fields.iter().filter(|(name, _)| !off_the_wire(name));
            let kept: Map<_, _> = kept.map(|(n, v)| (n.clone(), normal(v))).collect();
            Value::Object(kept)
        }
        other => other.clone(),
    }
}

fn all(messages: &[Message]) -> Vec<Value> {
    messages.iter().map(of).collect()
}

fn text(text: &Text) -> &str {
    text
}

fn with_result(result: &TxResult, mut fields: Value) -> Value {
    let (result, message, code) = match result {
        TxResult::Success => ("Success", "", "Unknown"),
        TxResult::Failed { code, message } => ("Failed", text(message), code.name()),
    };
    fields["resultCode"] = json!(result);
    fields["msg"] = json!(message);
    fields["transactionExceptionCode"] = json!(code);
    fields
}

fn branch_end(m: &BranchEnd) -> Value {
    json!({
        "xid": text(&m.xid),
        "branchId": m.branch_id,
        "branchType": m.branch_type.name(),
        "resourceId": text(&m.resource_id),
        "applicationData": text(&m.application_data),
    })
}

fn branch_end_response(m: &BranchEndResponse) -> Value {
    let fields = json!({
        "xid": text(&m.xid),
        "branchId": m.branch_id,
        "branchStatus": m.branch_status.name(),
    });
    with_result(&m.result, fields)
}

fn global_end(m: &GlobalEnd) -> Value {
    json!({"xid": text(&m.xid), "extraData": text(&m.extra_data)})
}

fn global_end_response(m: &GlobalEndResponse) -> Value {
    with_result(&m.result, json!({"globalStatus": m.global_status.name()}))
}

fn branch_register(m: &BranchRegister) -> Value {
    json!({
        "xid": text(&m.xid),
        "branchType": m.branch_type.name(),
        "resourceId": text(&m.resource_id),
        "lockKey": text(&m.lock_key),
        "applicationData": text(&m.application_data),
    })
}

fn register_tm(m: &RegisterTm) -> Value {
    json!({
        "version": text(&m.version),
        "applicationId": text(&m.application_id),
        "transactionServiceGroup": text(&m.transaction_service_group),
        "extraData": text(&m.extra_data),
    })
}

fn register_rm(m: &RegisterRm) -> Value {
    json!({
        "version": text(&m.version),
        "applicationId": text(&m.application_id),
        "transactionServiceGroup": text(&m.transaction_service_group),
        "extraData": text(&m.extra_data),
        "resourceIds": text(&m.resource_ids),
    })
}

fn register_response(m: &RegisterResponse) -> Value {
    json!({"identified": m.identified, "version": text(&m.version)})
}
