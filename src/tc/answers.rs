//! What a client is told: the columns of coordinator.md 1.7, as pure functions of what the store said.
//!
//! The state machine knows nothing of client versions. They count here and only here: a status that a client would
//! read as the opposite of the truth, or could not read at all, is replaced by its nearest kin. Numbers of exception
//! codes are the codec's affair.

use super::store::{Conflict, End, Tombstone};
use crate::proto::Text;
use crate::proto::message::{
    BranchRegisterResponse, BranchReportResponse, GlobalBeginResponse, GlobalEndResponse,
    GlobalLockQueryResponse, Message, TxResult,
};
use crate::proto::status::{ExceptionCode, GlobalStatus};
use crate::proto::version::PeerVersion;
use crate::xid::BranchId;

/// The three requests that ask for a global status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Commit,
    Rollback,
    Status,
}

/// Who reads the answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    pub(super) version: PeerVersion,
    /// `server.javaAnswers`.
    pub(super) java_answers: bool,
}

impl Reader {
    /// What a live transaction is told as. The stored status 0 is a row that Java left for rolling back a SAGA.
    pub(super) fn live(self, asked: Asked, stored: GlobalStatus) -> GlobalStatus {
        use GlobalStatus::*;
        let told = match (asked, stored) {
            (_, Unknown) => RollbackRetrying,
            (Asked::Commit, AsyncCommitting) => Committed,
            (Asked::Commit | Asked::Rollback, Deleting) => Finished,
            (_, stored) => stored,
        };
        self.readable(asked, told)
    }

    /// What an ended transaction is told as: `None` when nothing is known of it.
    pub(super) fn ended(self, asked: Asked, tombstone: Option<Tombstone>) -> GlobalStatus {
        use GlobalStatus::*;
        let told = match (asked, tombstone.map(|t| t.end)) {
            (_, None | Some(End::Finished)) | (Asked::Status, _) => Finished,
            (Asked::Commit, Some(End::Committed)) if self.modern() => Committed,
            (Asked::Commit, Some(End::TimedOut)) if self.modern() => TimeoutRollbacked,
            (Asked::Commit, _) => Finished,
            (Asked::Rollback, Some(End::Committed)) => AsyncCommitting,
            (Asked::Rollback, Some(End::RolledBack)) => Rollbacked,
            (Asked::Rollback, Some(End::TimedOut)) => TimeoutRollbacked,
        };
        self.readable(asked, told)
    }

    /// What the request that drove a transaction to its end is told.
    pub(super) fn driven_to(self, asked: Asked, end: End) -> GlobalStatus {
        let told = match end {
            End::Committed => GlobalStatus::Committed,
            End::RolledBack => GlobalStatus::Rollbacked,
            End::TimedOut => GlobalStatus::TimeoutRollbacked,
            End::Finished => GlobalStatus::Finished,
        };
        self.readable(asked, told)
    }

    /// Clients of 1.7 and later take every commit answer but the timeout family and Finished for success, so they are
    /// told of a rollback by its timeout twin.
    fn readable(self, asked: Asked, status: GlobalStatus) -> GlobalStatus {
        use GlobalStatus::*;
        let told = match status {
            _ if asked != Asked::Commit || !self.modern() => status,
            Rollbacking => TimeoutRollbacking,
            RollbackRetrying | StopRollbackOrRollbackRetry => TimeoutRollbackRetrying,
            Rollbacked => TimeoutRollbacked,
            RollbackFailed | RollbackRetryTimeout => TimeoutRollbackFailed,
            status => status,
        };
        self.version.readable_status(told)
    }

    fn modern(self) -> bool {
        !self.java_answers && self.version.at_least(1, 7)
    }
}

/// Which response type answers a request for a global status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Commit,
    Rollback,
    Status,
    Report,
}

impl From<Asked> for Shape {
    fn from(asked: Asked) -> Self {
        match asked {
            Asked::Commit => Self::Commit,
            Asked::Rollback => Self::Rollback,
            Asked::Status => Self::Status,
        }
    }
}

/// A global status, as the response that `shape` names.
pub(super) fn global(shape: Shape, result: TxResult, global_status: GlobalStatus) -> Message {
    let response = GlobalEndResponse {
        result,
        global_status,
    };
    match shape {
        Shape::Commit => Message::GlobalCommitResponse(response),
        Shape::Rollback => Message::GlobalRollbackResponse(response),
        Shape::Status => Message::GlobalStatusResponse(response),
        Shape::Report => Message::GlobalReportResponse(response),
    }
}

/// Answers a begin.
pub(super) fn begun(xid: Text) -> Message {
    Message::GlobalBeginResponse(GlobalBeginResponse {
        result: TxResult::Success,
        xid,
        extra_data: Text::new(),
    })
}

/// Refuses a begin.
pub(super) fn begin_refused(code: ExceptionCode, text: &str) -> Message {
    Message::GlobalBeginResponse(GlobalBeginResponse {
        result: failed(code, text),
        xid: Text::new(),
        extra_data: Text::new(),
    })
}

/// Answers a registration.
pub(super) fn registered(branch: BranchId) -> Message {
    Message::BranchRegisterResponse(BranchRegisterResponse {
        result: TxResult::Success,
        branch_id: branch.0,
    })
}

/// Refuses a registration.
pub(super) fn register_refused(refusal: Refusal) -> Message {
    Message::BranchRegisterResponse(BranchRegisterResponse {
        result: failed(refusal.code, &refusal.text),
        branch_id: 0,
    })
}

/// Answers a branch report.
pub(super) fn reported(result: TxResult) -> Message {
    Message::BranchReportResponse(BranchReportResponse { result })
}

/// Answers a lock query.
pub(super) fn lockable(result: TxResult, lockable: bool) -> Message {
    Message::GlobalLockQueryResponse(GlobalLockQueryResponse { result, lockable })
}

/// Why a request about a branch failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: ExceptionCode,
    pub(super) text: String,
}

impl Refusal {
    pub(super) fn new(code: ExceptionCode, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }

    pub(super) fn no_global(xid: &str) -> Self {
        Self::new(
            ExceptionCode::GlobalTransactionNotExist,
            format!("Could not found global transaction xid = {xid}, may be has finished."),
        )
    }

    pub(super) fn no_branch(xid: &str, branch: i64) -> Self {
        Self::new(
            ExceptionCode::BranchTransactionNotExist,
            format!("Could not found branch session xid = {xid} branchId = {branch}"),
        )
    }

    pub(super) fn not_begin(xid: &str, status: GlobalStatus) -> Self {
        Self::new(
            ExceptionCode::GlobalTransactionStatusInvalid,
            format!(
                "Could not register branch into global session xid = {xid} \
                 status = {status} while expecting Begin"
            ),
        )
    }

    pub(super) fn conflict(xid: &str, branch: BranchId, held: &Conflict, fail_fast: bool) -> Self {
        let code = match fail_fast {
            true => ExceptionCode::LockKeyConflictFailFast,
            false => ExceptionCode::LockKeyConflict,
        };
        Self::new(
            code,
            format!(
                "Global lock acquire failed xid = {xid} branchId = {branch}, \
                 held by xid = {} branchId = {}",
                held.xid, held.branch_id
            ),
        )
    }

    pub(super) fn store(operation: &str, xid: &str, reason: &str) -> Self {
        Self::new(
            ExceptionCode::FailedStore,
            format!("{operation} request failed. xid={xid}, msg={reason}"),
        )
    }
}

/// A failure with the prefix that older clients search for.
pub(super) fn failed(code: ExceptionCode, text: &str) -> TxResult {
    TxResult::Failed {
        code,
        message: Text::from(format!("TransactionException[{text}]")),
    }
}
