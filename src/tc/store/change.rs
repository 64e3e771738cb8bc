//! What an operation changes: the effects that a journal keeps. A change is decided once and carries everything that
//! applying it needs, so applying the same changes gives the same state, whatever the limits and the clock are then.

use super::{Branch, NewGlobal, Tombstone};
use crate::proto::Text;
use crate::proto::status::{BranchStatus, GlobalStatus};
use crate::xid::BranchId;

/// One effect. Transactions are named by their number, which is unique in a store.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// A transaction began.
    Began(NewGlobal),
    /// A branch was registered, with its locks.
    Registered {
        transaction_id: i64,
        /// Its lock key is empty unless it locks.
        branch: Branch,
    },
    /// Phase one of a branch was reported; blank data keeps what is there.
    Reported {
        transaction_id: i64,
        branch_id: BranchId,
        status: BranchStatus,
        application_data: Text,
    },
    /// The status changed, by a decision or after it.
    Moved {
        transaction_id: i64,
        status: GlobalStatus,
        decided_ms: i64,
        /// All its rows are freed with it.
        unlock: bool,
    },
    /// A branch is done.
    BranchEnded {
        transaction_id: i64,
        branch_id: BranchId,
    },
    /// The transaction ended; `forgotten` of the oldest tombstones went to make room for its own.
    Ended {
        transaction_id: i64,
        tombstone: Tombstone,
        forgotten: u32,
    },
    /// Its locks were freed, it stays.
    Unlocked { transaction_id: i64 },
    /// Tombstones that ended before this went.
    Forgot { before_ms: i64 },
}
