//! The application's handle of a database in AT mode.

use std::fmt;
use std::sync::Arc;

use futures_core::future::BoxFuture;
use sqlx::{Connection, Pool};

use super::branch::{AtBranch, Mode, Unit};
use super::database::Database;
use super::local::Local;
use super::resource::AtResource;
use super::{AtOptions, Error, LockCall, start};
use crate::client::{GlobalTx, Seata, TxRole};
use crate::proto::Text;

/// A database in AT mode: begins local transactions that can be undone after they were committed. Cheap to clone.
pub struct At<DB: Database> {
    resource: Arc<AtResource<DB>>,
    call: Option<LockCall>,
}

impl Seata {
    /// Prepares a database for AT and registers it as a resource.
    ///
    /// The pool is used for second phases and for [`At::begin_pooled`]; branches may bring their own connections to the same
    /// database. All connections need the session settings of the pool, the time zone above all.
    ///
    /// ```no_run
    /// # async fn run(seata: seamio::client::Seata, pool: sqlx::SqlitePool) -> Result<(), Box<dyn std::error::Error>> {
    /// use seamio::client::TxOptions;
    /// use seamio::client::at::AtOptions;
    ///
    /// let at = seata.at(pool, AtOptions::new("jdbc:sqlite:/srv/stock.db").create_undo_log()).await?;
    /// let tx = seata.begin(TxOptions::new("place-order")).await?;
    /// let mut branch = at.begin_pooled(&tx).await?;
    /// sqlx::query("UPDATE stock SET qty = qty - ? WHERE id = ?").bind(3).bind(7_i64).execute(&mut branch).await?;
    /// branch.commit().await?;
    /// tx.commit().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotPrepared`] when the undo log's table or its unique index is missing; the text has the statements that make
    /// it. [`Error::Session`] when statements would be read wrongly on the pool's connections. [`Error::Database`];
    /// [`Error::Coordinator`] when the resource cannot be registered.
    pub async fn at<DB: Database>(
        &self,
        pool: Pool<DB>,
        options: AtOptions,
    ) -> Result<At<DB>, Error> {
        let rm = self.rm();
        let resource = start::open(pool, options, Arc::new(rm.clone())).await?;
        rm.register_resource(resource.clone())
            .await
            .map_err(Error::Coordinator)?;
        Ok(At {
            resource,
            call: None,
        })
    }
}

impl<DB: Database> At<DB> {
    /// A handle whose branches deal with global locks in this way, and not as [`AtOptions::lock_retry`] says.
    ///
    /// ```no_run
    /// # async fn run(at: seamio::client::at::At<sqlx::MySql>, tx: seamio::client::GlobalTx) -> Result<(), seamio::client::at::Error> {
    /// use seamio::client::at::LockCall;
    ///
    /// // A user waits: rather fail at once than after a third of a second.
    /// let at_once = at.with_lock(LockCall { times: Some(0), ..LockCall::default() });
    /// let branch = at_once.begin_pooled(&tx).await?;
    /// # branch.rollback().await
    /// # }
    /// ```
    pub fn with_lock(&self, call: LockCall) -> Self {
        Self {
            resource: Arc::clone(&self.resource),
            call: Some(call),
        }
    }

    /// Begins a local transaction on the application's own connection. Within a transaction that runs without a global one
    /// ([`TxRole::Absent`]) it is a plain one.
    ///
    /// # Errors
    ///
    /// [`Error::InTransaction`] when the connection is in a transaction already; [`Error::Session`] when its settings are not
    /// those of the pool; [`Error::Database`].
    pub fn begin<'f, 'c: 'f>(
        &'f self,
        tx: &GlobalTx,
        conn: &'c mut DB::Connection,
    ) -> BoxFuture<'f, Result<AtBranch<'c, DB>, Error>> {
        self.begin_as(mode_of(tx), conn)
    }

    /// Begins a local transaction on a connection of the pool.
    ///
    /// # Errors
    ///
    /// [`Error::Session`] and [`Error::Database`] as for [`At::begin`].
    pub async fn begin_pooled(&self, tx: &GlobalTx) -> Result<AtBranch<'static, DB>, Error> {
        self.begin_from_pool(mode_of(tx), Unit::Explicit).await
    }

    /// Begins a local transaction that is no branch but respects the locks of global transactions: its commit waits until none
    /// holds a row that it changed, and its `SELECT … FOR UPDATE` gives rows that none holds.
    ///
    /// # Errors
    ///
    /// As for [`At::begin`].
    pub fn global_lock<'f, 'c: 'f>(
        &'f self,
        conn: &'c mut DB::Connection,
    ) -> BoxFuture<'f, Result<AtBranch<'c, DB>, Error>> {
        self.begin_as(Mode::LockOnly, conn)
    }

    /// Runs a whole local transaction and commits it. When a global lock is in the way, or the database gives the transaction up
    /// for another, it is rolled back and run again after a pause, up to [`LockRetry::times`](super::LockRetry::times): its own
    /// row locks are free while it waits, so that the other can end.
    ///
    /// ```no_run
    /// # async fn run(at: seamio::client::at::At<sqlx::MySql>, tx: seamio::client::GlobalTx) -> Result<(), seamio::client::at::Error> {
    /// at.run(&tx, |branch| Box::pin(async move {
    ///     sqlx::query("UPDATE stock SET qty = qty - 1 WHERE id = 7").execute(branch).await?;
    ///     Ok::<(), seamio::client::at::Error>(())
    /// })).await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// That of the unit, after its local transaction was rolled back; else as for [`AtBranch::commit`].
    pub async fn run<T, E, F>(&self, tx: &GlobalTx, mut unit: F) -> Result<T, E>
    where
        T: Send,
        E: From<Error> + Send,
        F: for<'b> FnMut(&'b mut AtBranch<'static, DB>) -> BoxFuture<'b, Result<T, E>> + Send,
    {
        let retry = match &self.call {
            Some(call) => call.retry(self.resource.options.lock_retry),
            None => self.resource.options.lock_retry,
        };
        let mut attempt = 0;
        loop {
            let unit_of = Unit::Replayed { attempt };
            let mut branch = self.begin_from_pool(mode_of(tx), unit_of).await?;
            let (error, is_conflict) = match unit(&mut branch).await {
                Ok(value) => match branch.commit().await {
                    Ok(()) => return Ok(value),
                    Err(error) => {
                        let is_conflict = error.is_lock_conflict();
                        (error.into(), is_conflict)
                    }
                },
                Err(error) => {
                    let conflict = branch.conflict().is_some();
                    if let Err(error) = branch.rollback().await {
                        let resource = &self.resource.id;
                        log::warn!("resource={resource} event=rollback-unconfirmed error={error}");
                    }
                    (error, conflict)
                }
            };
            if !is_conflict || attempt >= retry.times {
                return Err(error);
            }
            attempt += 1;
            self.resource.coordinator.sleep(retry.interval).await;
        }
    }

    /// The id under which the coordinator knows it.
    pub fn resource_id(&self) -> &str {
        self.resource.id.as_str()
    }

    /// Boxed: what awaits it could not be sent to another thread, since the compiler takes the lifetimes of the connection
    /// for more general than they are.
    fn begin_as<'f, 'c: 'f>(
        &'f self,
        mode: Mode,
        conn: &'c mut DB::Connection,
    ) -> BoxFuture<'f, Result<AtBranch<'c, DB>, Error>> {
        Box::pin(async move {
            if conn.is_in_transaction() {
                // SQLite counts a transaction that was dropped until its queued ROLLBACK has run.
                conn.ping().await.map_err(Error::Database)?;
                if conn.is_in_transaction() {
                    return Err(Error::InTransaction);
                }
            }
            let local = match mode {
                Mode::Outside => Local::begin_plain(conn).await?,
                _ => Local::begin_checked(conn, &self.resource.session).await?,
            };
            Ok(self.branch(local, mode, Unit::Explicit))
        })
    }

    async fn begin_from_pool(
        &self,
        mode: Mode,
        unit: Unit,
    ) -> Result<AtBranch<'static, DB>, Error> {
        let conn = self
            .resource
            .pool
            .acquire()
            .await
            .map_err(Error::Database)?;
        let local = match mode {
            Mode::Outside => Local::begin_plain(conn).await?,
            _ => Local::begin_checked(conn, &self.resource.session).await?,
        };
        Ok(self.branch(local, mode, unit))
    }

    fn branch<'c>(&self, local: Local<'c, DB>, mode: Mode, unit: Unit) -> AtBranch<'c, DB> {
        AtBranch::new(Arc::clone(&self.resource), local, mode, unit, self.call)
    }
}

fn mode_of(tx: &GlobalTx) -> Mode {
    match tx.role() {
        TxRole::Absent => Mode::Outside,
        TxRole::Launcher | TxRole::Participant => Mode::Global(Text::clone(tx.xid())),
    }
}

impl<DB: Database> Clone for At<DB> {
    fn clone(&self) -> Self {
        Self {
            resource: Arc::clone(&self.resource),
            call: self.call,
        }
    }
}

impl<DB: Database> fmt::Debug for At<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("At")
            .field("resource", &self.resource.id)
            .finish_non_exhaustive()
    }
}
