//! What branches ask of the coordinator: the seam between AT and the connections to it.

use std::time::Duration;

use crate::client::resource::BoxFuture;
use crate::client::{BranchError, Error, LockQuery, NewBranch, Rm};
use crate::proto::message::BranchReport;
use crate::xid::BranchId;

/// What branches ask of the coordinator.
pub(super) trait Coordination: Send + Sync + 'static {
    /// Registers a branch and takes its locks, all or none.
    fn register(&self, branch: NewBranch) -> BoxFuture<Result<BranchId, BranchError>>;

    /// Tells how phase one ended.
    fn report(&self, report: BranchReport) -> BoxFuture<Result<(), Error>>;

    /// Whether no other transaction holds one of the rows.
    fn is_lockable(&self, query: LockQuery) -> BoxFuture<Result<bool, Error>>;

    /// A pause.
    fn sleep(&self, pause: Duration) -> BoxFuture<()>;

    /// Has a future run where the host wants it.
    fn spawn(&self, future: BoxFuture<()>);
}

impl Coordination for Rm {
    fn register(&self, branch: NewBranch) -> BoxFuture<Result<BranchId, BranchError>> {
        let rm = self.clone();
        Box::pin(async move { rm.register_branch(branch).await })
    }

    fn report(&self, report: BranchReport) -> BoxFuture<Result<(), Error>> {
        let rm = self.clone();
        Box::pin(async move { rm.report_branch(report).await })
    }

    fn is_lockable(&self, query: LockQuery) -> BoxFuture<Result<bool, Error>> {
        let rm = self.clone();
        Box::pin(async move { rm.is_lockable(query).await })
    }

    fn sleep(&self, pause: Duration) -> BoxFuture<()> {
        Box::pin(Rm::sleep(self, pause))
    }

    fn spawn(&self, future: BoxFuture<()>) {
        Rm::spawn(self, future);
    }
}
