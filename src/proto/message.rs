//! The messages, as values. Field order and meaning: wire.md 3.4.
//!
//! Null and empty text are one on the wire, so absent text is empty. A number that its enumeration does not know is
//! refused by the decoder, as Java does.

use super::Text;
use super::status::{BranchStatus, BranchType, ExceptionCode, GlobalStatus};

/// A request or a response, without its frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// 1
    GlobalBegin(GlobalBegin),
    /// 2
    GlobalBeginResponse(GlobalBeginResponse),
    /// 3
    BranchCommit(BranchEnd),
    /// 4
    BranchCommitResponse(BranchEndResponse),
    /// 5
    BranchRollback(BranchEnd),
    /// 6
    BranchRollbackResponse(BranchEndResponse),
    /// 7
    GlobalCommit(GlobalEnd),
    /// 8
    GlobalCommitResponse(GlobalEndResponse),
    /// 9
    GlobalRollback(GlobalEnd),
    /// 10
    GlobalRollbackResponse(GlobalEndResponse),
    /// 11
    BranchRegister(BranchRegister),
    /// 12
    BranchRegisterResponse(BranchRegisterResponse),
    /// 13
    BranchReport(BranchReport),
    /// 14
    BranchReportResponse(BranchReportResponse),
    /// 15
    GlobalStatus(GlobalEnd),
    /// 16
    GlobalStatusResponse(GlobalEndResponse),
    /// 17
    GlobalReport(GlobalReport),
    /// 18
    GlobalReportResponse(GlobalEndResponse),
    /// 21: the fields of a branch registration
    GlobalLockQuery(BranchRegister),
    /// 22
    GlobalLockQueryResponse(GlobalLockQueryResponse),
    /// 59
    MergedWarp(MergedWarp),
    /// 60
    MergeResult(MergeResult),
    /// 101
    RegisterTm(RegisterTm),
    /// 102
    RegisterTmResponse(RegisterResponse),
    /// 103
    RegisterRm(RegisterRm),
    /// 104
    RegisterRmResponse(RegisterResponse),
    /// 111
    UndoLogDelete(UndoLogDelete),
    /// 120, a frame without body
    HeartbeatPing,
    /// 120, a frame without body
    HeartbeatPong,
    /// 121
    BatchResult(BatchResult),
}

impl Message {
    /// Whether it is a request of a TM or RM about a transaction: what a [`MergedWarp`] may hold. Registrations, heartbeats and
    /// answers are not.
    pub fn is_transaction_request(&self) -> bool {
        matches!(
            self,
            Message::GlobalBegin(_)
                | Message::GlobalCommit(_)
                | Message::GlobalRollback(_)
                | Message::GlobalStatus(_)
                | Message::GlobalReport(_)
                | Message::BranchRegister(_)
                | Message::BranchReport(_)
                | Message::GlobalLockQuery(_)
        )
    }

    /// The number that stands before the fields, 120 for heartbeats.
    pub const fn type_code(&self) -> i16 {
        match self {
            Self::GlobalBegin(_) => 1,
            Self::GlobalBeginResponse(_) => 2,
            Self::BranchCommit(_) => 3,
            Self::BranchCommitResponse(_) => 4,
            Self::BranchRollback(_) => 5,
            Self::BranchRollbackResponse(_) => 6,
            Self::GlobalCommit(_) => 7,
            Self::GlobalCommitResponse(_) => 8,
            Self::GlobalRollback(_) => 9,
            Self::GlobalRollbackResponse(_) => 10,
            Self::BranchRegister(_) => 11,
            Self::BranchRegisterResponse(_) => 12,
            Self::BranchReport(_) => 13,
            Self::BranchReportResponse(_) => 14,
            Self::GlobalStatus(_) => 15,
            Self::GlobalStatusResponse(_) => 16,
            Self::GlobalReport(_) => 17,
            Self::GlobalReportResponse(_) => 18,
            Self::GlobalLockQuery(_) => 21,
            Self::GlobalLockQueryResponse(_) => 22,
            Self::MergedWarp(_) => 59,
            Self::MergeResult(_) => 60,
            Self::RegisterTm(_) => 101,
            Self::RegisterTmResponse(_) => 102,
            Self::RegisterRm(_) => 103,
            Self::RegisterRmResponse(_) => 104,
            Self::UndoLogDelete(_) => 111,
            Self::HeartbeatPing | Self::HeartbeatPong => 120,
            Self::BatchResult(_) => 121,
        }
    }
}

/// RESULT and TXRESULT of wire.md 3.3: how a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxResult {
    /// Success; the exception code byte is 0.
    Success,
    /// Failed, with the code that clients decide by and a text for people.
    Failed {
        /// Why.
        code: ExceptionCode,
        /// For people; clients grep it for `TransactionException[` and `RuntimeException[`.
        message: Text,
    },
}

/// Begin a global transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalBegin {
    /// Milliseconds; zero or less is due at once.
    pub timeout_ms: i32,
    /// Free text; may be empty.
    pub transaction_name: Text,
}

/// Answer to [`GlobalBegin`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalBeginResponse {
    /// How it ended.
    pub result: TxResult,
    /// Empty when failed.
    pub xid: Text,
    /// Empty in practice.
    pub extra_data: Text,
}

/// Commit or roll back one branch (coordinator to RM).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BranchEnd {
    /// The global transaction.
    pub xid: Text,
    /// The branch; -1 for the one call of a SAGA.
    pub branch_id: i64,
    /// Its kind.
    pub branch_type: BranchType,
    /// The resource it ran on.
    pub resource_id: Text,
    /// As registered or reported, byte for byte.
    pub application_data: Text,
}

/// Answer to [`BranchEnd`]. Only `branch_status` counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BranchEndResponse {
    /// Ignored by the coordinator.
    pub result: TxResult,
    /// The global transaction.
    pub xid: Text,
    /// The branch.
    pub branch_id: i64,
    /// What the RM did.
    pub branch_status: BranchStatus,
}

/// Commit, roll back or ask for the status of a global transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalEnd {
    /// The global transaction.
    pub xid: Text,
    /// Empty in practice.
    pub extra_data: Text,
}

/// Answer to [`GlobalEnd`] and [`GlobalReport`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalEndResponse {
    /// How the request ended; Java TMs ignore it and read the status.
    pub result: TxResult,
    /// The status.
    pub global_status: GlobalStatus,
}

/// Register a branch, or ask whether its rows are free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BranchRegister {
    /// The global transaction.
    pub xid: Text,
    /// Its kind.
    pub branch_type: BranchType,
    /// The resource.
    pub resource_id: Text,
    /// `table:pk[,pk...][;table:pk...]`.
    pub lock_key: Text,
    /// Opaque, returned in phase two.
    pub application_data: Text,
}

/// Answer to a branch registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BranchRegisterResponse {
    /// How it ended.
    pub result: TxResult,
    /// 0 when failed.
    pub branch_id: i64,
}

/// How phase one of a branch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BranchReport {
    /// The global transaction.
    pub xid: Text,
    /// The branch.
    pub branch_id: i64,
    /// How phase one ended.
    pub status: BranchStatus,
    /// The resource.
    pub resource_id: Text,
    /// Replaces the registered data when not blank.
    pub application_data: Text,
    /// Its kind; last on the wire.
    pub branch_type: BranchType,
}

/// Answer to [`BranchReport`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BranchReportResponse {
    /// How it ended.
    pub result: TxResult,
}

/// A SAGA engine tells how the transaction went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalReport {
    /// The global transaction.
    pub xid: Text,
    /// Empty in practice.
    pub extra_data: Text,
    /// None is written as -1.
    pub global_status: Option<GlobalStatus>,
}

/// Answer to a lock query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalLockQueryResponse {
    /// How it ended.
    pub result: TxResult,
    /// No listed row is held by another transaction.
    pub lockable: bool,
}

/// Several requests in one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergedWarp {
    /// The requests.
    pub messages: Vec<Message>,
    /// The id each caller waits on; empty from clients below 1.5, else as many as messages.
    pub ids: Vec<i32>,
}

/// Answers to a [`MergedWarp`], in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeResult {
    /// The answers.
    pub messages: Vec<Message>,
}

/// Answers with their ids (1.5 and later, when configured).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchResult {
    /// The answers.
    pub messages: Vec<Message>,
    /// Their ids.
    pub ids: Vec<i32>,
}

/// A TM introduces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterTm {
    /// The client's product version.
    pub version: Text,
    /// The application.
    pub application_id: Text,
    /// Its transaction service group.
    pub transaction_service_group: Text,
    /// Lines `key=value`, see wire.md 6.3.
    pub extra_data: Text,
}

/// An RM introduces itself or adds resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterRm {
    /// The client's product version.
    pub version: Text,
    /// The application.
    pub application_id: Text,
    /// Its transaction service group.
    pub transaction_service_group: Text,
    /// Empty in practice.
    pub extra_data: Text,
    /// Joined by commas; may be empty.
    pub resource_ids: Text,
}

/// Answer to a registration. It has no result code and no message on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterResponse {
    /// Whether the connection may be used.
    pub identified: bool,
    /// The coordinator's version; never empty.
    pub version: Text,
}

/// Old undo logs may go (coordinator to RM, one way).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndoLogDelete {
    /// AT in practice.
    pub branch_type: BranchType,
    /// The resource.
    pub resource_id: Text,
    /// Days to keep.
    pub save_days: i16,
}

impl UndoLogDelete {
    /// Days to keep when nothing else is said.
    pub const SAVE_DAYS: i16 = 7;
}
