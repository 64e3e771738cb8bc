//! The end of a branch: register it with its locks, write its undo log, commit (client.md 3.3 and 3.5).
//!
//! The coordinator forgets a branch that reports a failed phase one. So that is reported only when the local transaction is known
//! not to be committed; what is not known is not reported, and the undo log that may be there or not tells phase two.

use std::sync::Arc;

use super::{AtBranch, Mode, Record};
use crate::client::at::database::{CommitFailure, Database};
use crate::client::at::image::{BranchUndoLog, UndoItem};
use crate::client::at::resource::AtResource;
use crate::client::at::{Error, ReportSuccess, lock_key, undo_rows};
use crate::client::{BranchError, NewBranch};
use crate::proto::Text;
use crate::proto::message::BranchReport;
use crate::proto::status::{BranchStatus, BranchType};
use crate::xid::BranchId;

/// What is done again when a global lock is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client::at) enum Unit {
    /// Only the question: the application's statements cannot be repeated here, and their rows stay locked while it waits.
    Explicit,
    /// The whole local transaction, by [`At::run`](crate::client::at::At::run).
    Replayed {
        /// How often it was done before.
        attempt: u32,
    },
}

/// What the coordinator is told about a branch: whether its rows stay locked while it waits, so that it may be said at once that
/// waiting is no use; and, where the caller has its own way with locks, whether they may be taken unseen.
fn application_data(is_explicit: bool, skip_check: Option<bool>) -> Text {
    let text = match (is_explicit, skip_check) {
        (false, None) => return Text::new(),
        (true, None) => r#"{"autoCommit":false}"#,
        (false, Some(true)) => r#"{"skipCheckLock":true}"#,
        (false, Some(false)) => r#"{"skipCheckLock":false}"#,
        (true, Some(true)) => r#"{"autoCommit":false,"skipCheckLock":true}"#,
        (true, Some(false)) => r#"{"autoCommit":false,"skipCheckLock":false}"#,
    };
    Text::from_static(text)
}

impl<DB: Database> AtBranch<'_, DB> {
    /// Registers the branch with the rows it changed, writes its undo log and commits the local transaction.
    ///
    /// Without a change there is nothing to register, and the local transaction is just committed.
    ///
    /// # Errors
    ///
    /// After any of them but [`Error::OutcomeUnknown`] the local transaction is rolled back. See the variants of [`Error`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing, or a committed branch that is undone when the global transaction rolls back.
    pub async fn commit(mut self) -> Result<(), Error> {
        if let Err(error) = self.check_usable() {
            self.transaction.rollback().await.map_err(Error::Database)?;
            return Err(error);
        }
        if self.bypassed {
            // What went past may have aborted the transaction, and a COMMIT of PostgreSQL then rolls back without a complaint.
            self.run_text("SELECT 1").await?;
        }
        if self.recorded.items().is_empty() {
            return self.commit_local(None).await;
        }
        match self.mode.clone() {
            Mode::Outside => self.commit_local(None).await,
            Mode::LockOnly => {
                self.wait_for_locks().await?;
                self.commit_local(None).await
            }
            Mode::Global(xid) => {
                self.check_recordable()?;
                let branch_id = match self.register(&xid).await {
                    Ok(branch_id) => branch_id,
                    Err(error) => {
                        let resource = self.resource.id.clone();
                        self.roll_back_logged(&resource).await;
                        return Err(error);
                    }
                };
                self.commit_registered(xid, branch_id).await
            }
        }
    }

    async fn commit_registered(mut self, xid: Text, branch_id: BranchId) -> Result<(), Error> {
        if let Err(error) = self.write_undo_log(&xid, branch_id).await {
            let resource = Arc::clone(&self.resource);
            // Without a COMMIT there is nothing that could be committed, whatever becomes of the ROLLBACK.
            self.roll_back_logged(&resource.id).await;
            report(&resource, xid, branch_id, BranchStatus::PhaseOneFailed).await;
            return Err(error);
        }
        let resource = Arc::clone(&self.resource);
        match self.commit_local(Some((xid.clone(), branch_id))).await {
            Ok(()) => {
                log::debug!("xid={xid} branch={} event=phase-one-done", branch_id.0);
                if resource.options.report_success == ReportSuccess::Reported {
                    report(&resource, xid, branch_id, BranchStatus::PhaseOneDone).await;
                }
                Ok(())
            }
            Err(error) => {
                match &error {
                    Error::OutcomeUnknown { .. } => {
                        log::error!(
                            "xid={xid} branch={} event=phase-one-unknown error={error}",
                            branch_id.0
                        );
                    }
                    _ => report(&resource, xid, branch_id, BranchStatus::PhaseOneFailed).await,
                }
                Err(error)
            }
        }
    }

    /// Commits the local transaction, and finds out what an error means.
    async fn commit_local(self, registered: Option<(Text, BranchId)>) -> Result<(), Error> {
        let Err(source) = self.transaction.commit().await else {
            return Ok(());
        };
        // Where a refused COMMIT leaves the transaction open, sqlx's ROLLBACK is the next thing on the connection.
        if DB::commit_failure(&source) == CommitFailure::Refused {
            return Err(Error::Database(source));
        }
        let (xid, branch_id) = registered.unzip();
        Err(Error::OutcomeUnknown {
            xid: xid.unwrap_or_default(),
            branch_id,
            source,
        })
    }

    async fn roll_back_logged(self, resource: &Text) {
        if let Err(error) = self.transaction.rollback().await {
            log::warn!("resource={resource} event=rollback-unconfirmed error={error}");
        }
    }

    /// Before anything is registered: whether the undo log can hold what it has to.
    fn check_recordable(&self) -> Result<(), Error> {
        let records = self.recorded.items().iter();
        let items: Vec<&UndoItem> = records.map(|record| &record.item).collect();
        let lost = undo_rows::first_lost(&items, &self.resource.options.format)?;
        let Some((table, field)) = lost else {
            return Ok(());
        };
        Err(Error::NotRecordable {
            table: table.to_owned(),
            column: field.name.clone(),
            value: field.value.to_string(),
        })
    }

    /// The lock key of all that was changed.
    fn lock_key(&self) -> String {
        lock_key::join(self.recorded.items().iter().map(|record| &record.keys))
    }

    async fn register(&mut self, xid: &Text) -> Result<BranchId, Error> {
        let lock_key = Text::from(self.lock_key());
        let all_new = |record: &Record| record.item.before.is_empty();
        let all_new = self.recorded.items().iter().all(all_new);
        let skips = self.call.map(|call| call.skips_check(all_new));
        let replays = match self.unit {
            Unit::Explicit => 0,
            Unit::Replayed { attempt } => attempt,
        };
        let retry = self.lock_retry();
        let mut attempt = 0;
        loop {
            let branch = NewBranch {
                xid: xid.clone(),
                branch_type: BranchType::At,
                resource_id: self.resource.id.clone(),
                lock_key: lock_key.clone(),
                application_data: application_data(
                    self.unit == Unit::Explicit,
                    skips.map(|skips| skips && attempt + replays == 0),
                ),
            };
            let error = match self.resource.coordinator.register(branch).await {
                Ok(branch_id) => return Ok(branch_id),
                Err(error) => error,
            };
            match error {
                BranchError::LockConflict { .. }
                    if self.unit == Unit::Explicit && attempt < retry.times =>
                {
                    attempt += 1;
                    self.resource.coordinator.sleep(retry.interval).await;
                }
                BranchError::LockConflict { message }
                | BranchError::LockConflictFailFast { message } => {
                    let xid = xid.clone();
                    return Err(Error::LockWaitTimeout { xid, message });
                }
                BranchError::NotActive { message } => {
                    let xid = xid.clone();
                    return Err(Error::NotActive { xid, message });
                }
                other => return Err(Error::NotRegistered(other)),
            }
        }
    }

    /// A local transaction without a global one waits until none holds its rows.
    async fn wait_for_locks(&mut self) -> Result<(), Error> {
        let lock_key = self.lock_key();
        let retry = self.lock_retry();
        let mut attempt = 0;
        loop {
            let lockable = self.ask_lockable(lock_key.clone()).await;
            if lockable.map_err(Error::Coordinator)? {
                return Ok(());
            }
            if attempt >= retry.times || self.unit != Unit::Explicit {
                return Err(Error::LockWaitTimeout {
                    xid: Text::new(),
                    message: format!("one of {lock_key} is held"),
                });
            }
            attempt += 1;
            self.resource.coordinator.sleep(retry.interval).await;
        }
    }

    async fn write_undo_log(&mut self, xid: &Text, branch_id: BranchId) -> Result<(), Error> {
        let resource = Arc::clone(&self.resource);
        let records = self.recorded.take().into_iter();
        let log = BranchUndoLog {
            xid: xid.to_string(),
            branch_id: branch_id.0,
            items: records.map(|record| record.item).collect(),
        };
        let rows = undo_rows::rows_of(&log, &resource.options.format, resource.server.packet_max)?;
        let written =
            undo_rows::insert::<DB>(&mut self.transaction, &resource.undo, xid.as_str(), &rows);
        written.await.map_err(|error| match &error {
            sqlx::Error::Database(said) if said.is_unique_violation() => Error::NotActive {
                xid: xid.clone(),
                message: "it was rolled back while the branch was at work".to_owned(),
            },
            _ => Error::Database(error),
        })
    }
}

/// Tells the coordinator; it is no harm when that fails.
async fn report<DB: Database>(
    resource: &AtResource<DB>,
    xid: Text,
    branch_id: BranchId,
    status: BranchStatus,
) {
    let report = BranchReport {
        xid: xid.clone(),
        branch_id: branch_id.0,
        status,
        resource_id: resource.id.clone(),
        application_data: Text::new(),
        branch_type: BranchType::At,
    };
    if let Err(error) = resource.coordinator.report(report).await {
        log::warn!(
            "xid={xid} branch={} event=not-reported status={status} error={error}",
            branch_id.0
        );
    }
}
