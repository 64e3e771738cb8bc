//! Where decisions are kept. A store speaks the domain: begin, register a branch with its locks, decide, end.
//!
//! What must hold for every store (design.md 4):
//! - each [`Operation`] is atomic and answers with one [`Outcome`];
//! - operations are carried out in the order they were submitted;
//! - an outcome may be told to a client only when the store says that its [`Seq`] is durable;
//! - every store gives the same outcomes for the same operations, also across crash and reopen. The memory store is
//!   the reference model.
//!
//! No store reads a clock: each operation carries the time.

mod change;
mod decision;
mod direction;
pub mod journal;
mod limits;
mod memory;
#[cfg(any(test, feature = "sim"))]
mod ownership;
#[cfg(feature = "sql-store")]
pub mod sql;
mod state;
mod texts;
mod tombstones;

pub use journal::{Durable, JournalConfig, JournalStore, Notify};
pub use limits::StoreLimits;
pub use memory::MemoryStore;
#[cfg(any(test, feature = "sim"))]
pub use ownership::Ownership;

use std::time::Instant;

use crate::proto::Text;
use crate::proto::status::{BranchStatus, BranchType, GlobalStatus};
use crate::xid::{BranchId, Xid};

/// Ties a [`Completion`] to its [`Operation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Position in the order of changes. What a completion tells is durable once [`Store::durable`] has reached its number;
/// 0 is always durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// Keeps global transactions, branches, row locks and tombstones.
pub trait Store: Send {
    /// Takes an operation. Its completion follows, for a resident store at once, else later.
    fn submit(&mut self, ticket: Ticket, operation: Operation);

    /// The next completion, in the order of submission per xid.
    fn poll_completion(&mut self) -> Option<Completion>;

    /// Ends a batch: what was submitted so far starts its way to stable storage.
    fn flush(&mut self);

    /// Everything up to here is on stable storage.
    fn durable(&self) -> Seq;

    /// Shows every live global transaction with its branches, in the order of transaction ids.
    fn scan(&self, visit: &mut dyn FnMut(&Global));

    /// The highest transaction or branch id ever stored, so that none is given out twice.
    fn highest_id(&self) -> i64;

    /// What happened beside the operations: only a store that several coordinators share has anything to tell.
    fn poll_event(&mut self) -> Option<StoreEvent> {
        None
    }

    /// The node that the store has given this coordinator for its ids; none when the store leaves that to its owner.
    fn node(&self) -> Option<u16> {
        None
    }

    /// Why nothing can be kept any more, once that is so. It is final: a store that failed to sync does not try again,
    /// and its owner answers nothing from then on. The memory store never fails.
    fn failure(&self) -> Option<String> {
        None
    }

    /// Counters and gauges.
    fn stats(&self) -> StoreStats;
}

/// What the coordinator asks of a store. `now_ms` is wall time in ms since 1970, advanced by a monotonic clock while
/// the process runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Keeps a new global transaction. → [`Outcome::Done`], [`Outcome::Limit`], [`Outcome::Duplicate`]
    Begin(NewGlobal),
    /// Keeps a branch with all its row locks, or neither. → `Done`, `Conflict`, or a refusal: `Expired`, `Status`,
    /// `Ended`, `Unknown`, `Limit`, `Duplicate`
    Register(NewBranch),
    /// Keeps how phase one of a branch ended. Applied while Begin, or at any status in a SAGA session.
    /// → `Done`, `Status` (ignored: the decision stands), `NoBranch`, `Expired`, `Ended`, `Unknown`
    Report {
        /// The global transaction.
        xid: Xid,
        /// The branch.
        branch_id: BranchId,
        /// The new status (only those that coordinator.md 1.7 stores are submitted).
        status: BranchStatus,
        /// Replaces the registered data when not blank.
        application_data: Text,
        /// Now.
        now_ms: i64,
    },
    /// Compare and set from Begin; closes the branch set. On commit every lock of the xid is released with it, on
    /// rollback its locks are marked as rolling back. A commit or rollback without branches, unless SAGA, ends the transaction with the decision.
    /// → `Decided`, `Finished` (ended at once), `Expired` (only commit), `Status`, `Ended`, `Unknown`
    Decide {
        /// The global transaction.
        xid: Xid,
        /// What to decide.
        decision: Decision,
        /// Now.
        now_ms: i64,
    },
    /// A branch is done: it goes, with its locks (a row another branch of the xid listed too stays locked). When it
    /// was the last one and the status is one of a drive in progress (2 to 8), the transaction ends.
    /// → `Done`, `Finished`, `NoBranch`, `Status`, `Ended`, `Unknown`
    EndBranch {
        /// The global transaction.
        xid: Xid,
        /// The branch.
        branch_id: BranchId,
        /// Whether anybody waits for it.
        urgency: Urgency,
        /// Now.
        now_ms: i64,
    },
    /// Compare and set of the status after the decision; never to Begin, never across directions unless SAGA. A SAGA
    /// session may also leave Begin this way, to any status: its engine decides (coordinator.md 1.4), and `now_ms` then
    /// becomes the time of the decision. Locks and branches stay as they are.
    /// → `Done`, `Status` (it was not `from`, or the move is forbidden), `Ended`, `Unknown`
    SetStatus {
        /// The global transaction.
        xid: Xid,
        /// What it must be.
        from: GlobalStatus,
        /// What it becomes.
        to: GlobalStatus,
        /// Now.
        now_ms: i64,
    },
    /// Ends the transaction, whatever its status, with all that is left of it: branches, locks. Leaves a tombstone.
    /// → `Finished`, `Ended`, `Unknown`
    Finish {
        /// The global transaction.
        xid: Xid,
        /// How it ended.
        end: End,
        /// Now.
        now_ms: i64,
    },
    /// Frees the locks of a transaction that stays (an operator's act or `rollbackRetryTimeoutUnlockEnable`).
    /// → `Done`, `Ended`, `Unknown`
    ReleaseLocks {
        /// The global transaction.
        xid: Xid,
    },
    /// Asks for the status. → `Status`, `Expired`, `Ended`, `Unknown`
    LookUp {
        /// The global transaction.
        xid: Xid,
        /// Now.
        now_ms: i64,
    },
    /// Asks for the transaction with none of its branches but the one named: to learn whether it is a SAGA, or to drive
    /// it as one. However many branches there are, it costs the same.
    /// → `Found`, `Expired`, `Ended`, `Unknown`
    Fetch {
        /// The global transaction.
        xid: Xid,
        /// The branch to show, if there is one of this id.
        branch_id: Option<BranchId>,
        /// Now.
        now_ms: i64,
    },
    /// Asks whether rows are free. → `Done` (free or held by the asking xid), `Conflict`, `Expired` (the asking xid)
    QueryLocks {
        /// Who asks; may be empty.
        xid: Text,
        /// The resource.
        resource_id: Text,
        /// The rows; well-formed (see `lock::parse`).
        lock_key: Text,
        /// Now.
        now_ms: i64,
    },
    /// Lets go of a decided transaction that is this coordinator's, because no RM of a resource it needs next is connected here: a sibling that has
    /// one takes it with [`Operation::Adopt`]. Only for a store that several coordinators share.
    /// → `Done`, `Status` (a sibling has it already), `Ended`, `Unknown`
    Offer {
        /// The global transaction.
        xid: Xid,
        /// The resource.
        resource_id: Text,
    },
    /// Takes on a decided transaction that a sibling has let go of, or that is this coordinator's already.
    /// → `Decided`, `Status` (a sibling has it, or it is undecided), `Ended`, `Unknown`
    Adopt {
        /// The global transaction.
        xid: Xid,
    },
    /// Forgets tombstones that ended before `before_ms`, the oldest first and only so many at once: as long as the number
    /// of the completion grows there may be more. → `Done`
    Forget {
        /// The oldest end to keep.
        before_ms: i64,
    },
}

/// What a store that several coordinators share tells its owner.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreEvent {
    /// Until then nobody else drives what this coordinator drives; told anew at each renewal. From then on no branch may
    /// be called until it is told again.
    Leased(Instant),
    /// A transaction, undecided or to be driven, is this coordinator's from now on: the one that had it is gone. Told
    /// once.
    Adopted(Global),
    /// A sibling has let go of a transaction for want of an RM of this resource; told again until somebody has taken it.
    Offered {
        /// The global transaction.
        xid: Xid,
        /// What it needs.
        resource_id: Text,
    },
    /// This coordinator was taken for dead and its transactions are others' now: it forgets them all, and makes ids with
    /// another node, above an earlier id. Completions of what was carried out for the node before come before it; what
    /// comes after was carried out for the new one, or failed.
    Replaced {
        /// The node from now on.
        node: u16,
        /// Ids are made later than this one.
        not_below: i64,
    },
    /// Somebody else works on what is stored who does not keep to its rules, as the text says: no transaction may begin
    /// until this is told again, with nothing.
    Barred(Option<String>),
}

/// A global transaction to begin.
#[derive(Clone, Debug, PartialEq)]
pub struct NewGlobal {
    /// Its id.
    pub xid: Xid,
    /// Of the registration of the connection that began it.
    pub application_id: Text,
    /// Of the same registration.
    pub transaction_service_group: Text,
    /// Given by the client; may be empty.
    pub name: Text,
    /// Given by the client.
    pub timeout_ms: i32,
    /// Now.
    pub begin_ms: i64,
}

/// A branch to register.
#[derive(Clone, Debug, PartialEq)]
pub struct NewBranch {
    /// The global transaction.
    pub xid: Xid,
    /// Its id.
    pub branch_id: BranchId,
    /// Its kind. Only AT locks rows.
    pub branch_type: BranchType,
    /// The resource.
    pub resource_id: Text,
    /// `application:ip:port` of the connection that registered it.
    pub client_id: Text,
    /// Opaque.
    pub application_data: Text,
    /// As sent; well-formed (see `lock::parse`).
    pub lock_key: Text,
    /// Now.
    pub now_ms: i64,
}

/// Whether anybody waits for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody does.
    Now,
    /// Nobody does: a store may keep it back for a moment, to write it together with others.
    Later,
}

/// What can be decided about a transaction in Begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Becomes AsyncCommitting when every branch is AT or PhaseOne_Failed, else Committing.
    Commit,
    /// Becomes Rollbacking.
    Rollback,
    /// Becomes TimeoutRollbacking; only when the deadline has passed.
    Timeout,
}

/// How a transaction ended: what its tombstone says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Committed.
    Committed,
    /// Rolled back.
    RolledBack,
    /// Rolled back because its time was over.
    TimedOut,
    /// A SAGA whose commit was answered PhaseOne_Failed: told as Finished from then on.
    Finished,
}

/// What is remembered of a transaction that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// How it ended.
    pub end: End,
    /// When it was decided.
    pub decided_ms: i64,
    /// When it ended.
    pub ended_ms: i64,
}

/// How an operation went.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// A Begin session whose deadline has passed: decide [`Decision::Timeout`] first, then ask again. Nothing changed.
    Expired,
    /// The transaction is there, in this status, and the operation does not apply. Nothing changed.
    Status(GlobalStatus),
    /// The transaction has ended.
    Ended(Tombstone),
    /// No transaction and no tombstone has this xid.
    Unknown,
    /// The transaction is there, the branch is not (or no longer).
    NoBranch,
    /// The id exists already: take another and ask again.
    Duplicate,
    /// Another transaction holds a row.
    Conflict(Conflict),
    /// The transaction as it is kept, with the branch that was asked for and no other.
    Found(Global),
    /// Decided now; this is what is to be driven.
    Decided(Global),
    /// The operation ended the transaction.
    Finished(Tombstone),
    /// A limit is met; the text names it.
    Limit(&'static str),
    /// The store could not keep it; nothing changed.
    Failed(String),
}

/// Who holds a row that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// The row: `resource^^^table^^^pk`.
    pub row: String,
    /// The holder.
    pub xid: Xid,
    /// The branch that took it first.
    pub branch_id: BranchId,
    /// Since when.
    pub since_ms: i64,
    /// The holder is being rolled back.
    pub rolling_back: bool,
}

/// A finished operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// Which.
    pub ticket: Ticket,
    /// How it went.
    pub outcome: Outcome,
    /// What it tells may be told once this is durable.
    pub after: Seq,
}

/// A live global transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Global {
    /// Its id.
    pub xid: Xid,
    /// The stored status.
    pub status: GlobalStatus,
    /// Who began it.
    pub application_id: Text,
    /// Its group.
    pub transaction_service_group: Text,
    /// Its name.
    pub name: Text,
    /// The client's timeout.
    pub timeout_ms: i32,
    /// When it began.
    pub begin_ms: i64,
    /// When it was decided; 0 while Begin.
    pub decided_ms: i64,
    /// In the order of registration.
    pub branches: Vec<Branch>,
    /// Whether it is a SAGA: decided by its first branch, or by its name while it has none (coordinator.md 1.4). Once a branch has
    /// been registered it never changes.
    pub saga: bool,
}

/// A branch of a live global transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Branch {
    /// Its id.
    pub branch_id: BranchId,
    /// Its kind.
    pub branch_type: BranchType,
    /// Registered, or what was reported.
    pub status: BranchStatus,
    /// The resource.
    pub resource_id: Text,
    /// `application:ip:port`.
    pub client_id: Text,
    /// As registered or reported.
    pub application_data: Text,
    /// As registered; empty unless AT.
    pub lock_key: Text,
    /// When it was registered.
    pub registered_ms: i64,
}

/// Counters and gauges of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Live global transactions.
    pub globals: usize,
    /// Live branches.
    pub branches: usize,
    /// Locked rows.
    pub locks: usize,
    /// Tombstones.
    pub tombstones: usize,
    /// Syncs of the disk.
    pub syncs: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Bytes of the log that no snapshot stands for, without the part that is being written.
    pub uncompacted_bytes: u64,
    /// Round trips to a database.
    pub round_trips: u64,
    /// Statements carried out by a database.
    pub statements: u64,
    /// Batches that started over, because another transaction was in the way.
    pub repeats: u64,
}
