//! What one transaction of a run does, and the requests it is made of.

use std::fmt;

use clap::ValueEnum;

use crate::proto::Text;
use crate::proto::message::{
    BranchRegister, GlobalBegin, GlobalEnd, Message, RegisterRm, RegisterTm,
};
use crate::proto::status::BranchType;

/// The shape of each transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Scenario {
    /// Begin and commit
    Empty,
    /// One AT branch with one row lock of its own, committed
    At1,
    /// One TCC branch, committed
    Tcc1,
    /// Two AT branches, rolled back
    Rollback2,
    /// One AT branch on one of a few rows that everybody wants, committed
    Hot,
}

impl Scenario {
    /// How many branches a transaction registers.
    pub(super) fn branches(self) -> usize {
        match self {
            Self::Empty => 0,
            Self::At1 | Self::Tcc1 | Self::Hot => 1,
            Self::Rollback2 => 2,
        }
    }

    /// Whether the transaction is meant to be committed.
    pub(super) fn commits(self) -> bool {
        self != Self::Rollback2
    }

    /// The resource that the RM connections register.
    pub(super) fn resource(self) -> &'static str {
        match self {
            Self::Tcc1 => "benchTccAction",
            _ => "jdbc:mysql://127.0.0.1:3306/bench",
        }
    }

    /// Registers a branch; `row` is the row it locks.
    pub(super) fn register(self, xid: &Text, row: u64) -> Message {
        let tcc = self == Self::Tcc1;
        let lock_key = if tcc {
            Text::new()
        } else {
            Text::from(format!("account:{row}"))
        };
        let application_data = if tcc {
            r#"{"actionContext":{"sys::prepare":"prepare","sys::commit":"commit","sys::rollback":"cancel"}}"#
        } else {
            ""
        };
        Message::BranchRegister(BranchRegister {
            xid: xid.clone(),
            branch_type: if tcc { BranchType::Tcc } else { BranchType::At },
            resource_id: Text::from_static(self.resource()),
            lock_key,
            application_data: Text::from_static(application_data),
        })
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "empty",
            Self::At1 => "at1",
            Self::Tcc1 => "tcc1",
            Self::Rollback2 => "rollback2",
            Self::Hot => "hot",
        })
    }
}

/// Begins a transaction.
pub(super) fn begin() -> Message {
    Message::GlobalBegin(GlobalBegin {
        timeout_ms: TRANSACTION_TIMEOUT_MS,
        transaction_name: Text::from_static("bench"),
    })
}

/// Commits or rolls back.
pub(super) fn end(xid: &Text, commit: bool) -> Message {
    let end = GlobalEnd {
        xid: xid.clone(),
        extra_data: Text::new(),
    };
    if commit {
        Message::GlobalCommit(end)
    } else {
        Message::GlobalRollback(end)
    }
}

/// Introduces a TM connection.
pub(super) fn register_tm(version: &str) -> Message {
    Message::RegisterTm(RegisterTm {
        version: Text::from(version),
        application_id: Text::from_static(APPLICATION),
        transaction_service_group: Text::from_static(GROUP),
        extra_data: Text::new(),
    })
}

/// Introduces an RM connection.
pub(super) fn register_rm(version: &str, resource: &'static str) -> Message {
    Message::RegisterRm(RegisterRm {
        version: Text::from(version),
        application_id: Text::from_static(APPLICATION),
        transaction_service_group: Text::from_static(GROUP),
        extra_data: Text::new(),
        resource_ids: Text::from_static(resource),
    })
}

const APPLICATION: &str = "seamio-bench";
const GROUP: &str = "default_tx_group";
const TRANSACTION_TIMEOUT_MS: i32 = 60_000;
