//! What a resource manager offers the coordinator: resources whose branches it can finish.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::proto::Text;
use crate::proto::status::{BranchStatus, BranchType};
use crate::xid::BranchId;

/// A future that can be handed to any executor.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// Something that has branches: a database in AT mode, an action in TCC mode.
///
/// Both second phases may be asked more than once, late, and by a coordinator that has forgotten why: they have to be
/// idempotent, and answer what is true now.
pub trait Resource: Send + Sync + 'static {
    /// What the coordinator knows it by; without commas, and the same in every process that can finish its branches.
    fn id(&self) -> &str;

    /// The kind of its branches.
    fn branch_type(&self) -> BranchType;

    /// Commits a branch. Answers with `PhaseTwoCommitted`, or one of the statuses of a failed commit.
    fn commit(self: Arc<Self>, branch: PhaseTwo) -> BoxFuture<BranchStatus>;

    /// Rolls a branch back. Answers with `PhaseTwoRollbacked`, or one of the statuses of a failed rollback.
    fn rollback(self: Arc<Self>, branch: PhaseTwo) -> BoxFuture<BranchStatus>;

    /// Deletes undo logs older than so many days. Only AT has any.
    fn delete_undo_log(self: Arc<Self>, save_days: i16) -> BoxFuture<()> {
        let _ = save_days;
        Box::pin(std::future::ready(()))
    }
}

/// The branch that phase two is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseTwo {
    /// The global transaction.
    pub xid: Text,
    /// The branch.
    pub branch_id: BranchId,
    /// As registered or last reported, byte for byte; may be empty.
    pub application_data: Text,
}
