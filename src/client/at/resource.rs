//! A database as a resource: what its branches share, and the second phases that the coordinator asks for.

use std::sync::Arc;

use sqlx::Pool;

use super::cleanup::{Branch, Cleanup, Deleted, Working};
use super::coordination::Coordination;
use super::database::{Database, Plain, Reuse, Server};
use super::lock_key::KeyRules;
use super::meta::TableMeta;
use super::session::Session;
use super::statement::{self, Returning};
use super::tables::{Freshness, Tables};
use super::undo::{self, Undone};
use super::undo_rows;
use super::undo_table::{PURGE_ROWS, UndoTable};
use super::{AtOptions, Error};
use crate::client::resource::{BoxFuture, PhaseTwo, Resource};
use crate::proto::Text;
use crate::proto::status::{BranchStatus, BranchType};

/// A database in AT mode.
pub(super) struct AtResource<DB: Database> {
    pub(super) options: AtOptions,
    pub(super) id: Text,
    /// For second phases, and for branches that bring no connection of their own.
    pub(super) pool: Pool<DB>,
    pub(super) coordinator: Arc<dyn Coordination>,
    pub(super) server: Server,
    pub(super) session: Session,
    pub(super) undo: UndoTable,
    pub(super) tables: Tables,
    pub(super) cleanup: Arc<Cleanup>,
    pub(super) keys: KeyRules,
}

impl<DB: Database> AtResource<DB> {
    /// How keys of inserted rows become known. MariaDB's RETURNING would cost its clients the number of rows and the last
    /// inserted id, which the protocol does not tell beside returned rows.
    pub(super) fn returning(&self) -> Returning {
        match DB::DIALECT {
            super::statement::Dialect::MySql => Returning::Unsupported,
            _ => self.server.returning,
        }
    }

    /// The description of a table as a statement names it, where its values come as they are.
    pub(super) async fn table(
        &self,
        conn: &mut DB::Connection,
        name: &statement::TableName,
        freshness: Freshness,
    ) -> Result<Arc<TableMeta>, Error> {
        let table = self.tables.get::<DB>(conn, name, freshness).await?;
        self.session.check_table::<DB>(&table)?;
        Ok(table)
    }

    /// Deletes the undo logs of committed branches as long as there are any. What fails, the coordinator asks for again.
    async fn clean(self: Arc<Self>, mut working: Working) {
        self.coordinator.sleep(Cleanup::PAUSE).await;
        while let Some(batch) = working.take() {
            let Err(error) = self.delete(batch.branches()).await else {
                batch.done();
                continue;
            };
            drop(batch);
            working.refuse();
            let mut error = Some(error);
            let mut pause = Cleanup::FIRST_RETRY;
            while let Some(why) = error {
                log::warn!(
                    "resource={} event=undo-log-not-deleted retry_in={pause:?} error={why}",
                    self.id
                );
                self.coordinator.sleep(pause).await;
                pause = Cleanup::next_retry(pause);
                error = self.probe().await.err();
            }
            working.accept();
        }
    }

    /// Whether the undo log can be read.
    async fn probe(&self) -> Result<(), sqlx::Error> {
        let mut conn = self.pool.acquire().await?;
        undo_rows::ask::<DB>(&mut conn, self.undo.probe()).await?;
        Ok(())
    }

    async fn delete(&self, branches: &[Branch]) -> Result<(), sqlx::Error> {
        let mut conn = self.pool.acquire().await?;
        undo_rows::delete::<DB>(&mut conn, &self.undo, branches).await
    }

    async fn purge(&self, save_days: i16) {
        let days = match save_days {
            ..=0 => 7,
            days => i64::from(days),
        };
        loop {
            let deleted = async {
                let mut conn = self.pool.acquire().await?;
                let sql = self.undo.delete_old(self.options.purge);
                let values = [Plain::Integer(days)];
                let answer = undo_rows::execute::<DB>(&mut conn, sql, &values, Reuse::Once).await?;
                Ok::<u64, sqlx::Error>(answer.affected())
            };
            match deleted.await {
                Ok(rows) if rows >= PURGE_ROWS => {}
                Ok(rows) => {
                    log::info!(
                        "resource={} event=undo-log-purged days={days} last={rows}",
                        self.id
                    );
                    return;
                }
                Err(error) => {
                    log::warn!(
                        "resource={} event=undo-log-not-purged error={error}",
                        self.id
                    );
                    return;
                }
            }
        }
    }
}

impl<DB: Database> Resource for AtResource<DB> {
    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn branch_type(&self) -> BranchType {
        BranchType::At
    }

    /// What is committed stays committed; done is this when the undo log is gone, so that the coordinator asks again for one
    /// that could not be deleted, or whose client was killed. It has let the rows go before, and nobody waits for the answer.
    fn commit(self: Arc<Self>, branch: PhaseTwo) -> BoxFuture<BranchStatus> {
        Box::pin(async move {
            let branch = (branch.xid, branch.branch_id.0);
            let Some((deleted, working)) = self.cleanup.push(branch) else {
                return BranchStatus::PhaseTwoCommitFailedRetryable;
            };
            if let Some(working) = working {
                let resource = Arc::clone(&self);
                self.coordinator.spawn(Box::pin(resource.clean(working)));
            }
            match deleted.await {
                Some(Deleted) => BranchStatus::PhaseTwoCommitted,
                None => BranchStatus::PhaseTwoCommitFailedRetryable,
            }
        })
    }

    fn rollback(self: Arc<Self>, branch: PhaseTwo) -> BoxFuture<BranchStatus> {
        Box::pin(async move {
            let (xid, id) = (branch.xid.as_str(), branch.branch_id.0);
            match undo::undo_branch(&self, xid, id).await {
                Ok(Undone::Restored(items)) => {
                    log::info!("xid={xid} branch={id} event=undone items={items}");
                    BranchStatus::PhaseTwoRollbacked
                }
                Ok(Undone::Nothing) => {
                    log::info!("xid={xid} branch={id} event=nothing-to-undo");
                    BranchStatus::PhaseTwoRollbacked
                }
                Err(failure) if failure.is_final() => {
                    log::error!("xid={xid} branch={id} event=undo-failed final=true {failure}");
                    BranchStatus::PhaseTwoRollbackFailedUnretryable
                }
                Err(failure) => {
                    log::warn!("xid={xid} branch={id} event=undo-failed final=false {failure}");
                    BranchStatus::PhaseTwoRollbackFailedRetryable
                }
            }
        })
    }

    fn delete_undo_log(self: Arc<Self>, save_days: i16) -> BoxFuture<()> {
        Box::pin(async move { self.purge(save_days).await })
    }
}
