//! A local transaction whose BEGIN also looks at the session's settings, in one round trip.
//!
//! What sqlx's own type does, but for one thing: when the settings do not fit, the connection is still in hand, and can be
//! asked which one it is.

use std::ops::{Deref, DerefMut};

use sqlx::SqlStr;
use sqlx::pool::MaybePoolConnection;
use sqlx_core::transaction::TransactionManager as _;

use super::Error;
use super::database::{Bound, Database, Reuse};
use super::session::Session;

/// A local transaction. Dropped without an end, a ROLLBACK is queued for the next use of the connection.
pub(super) struct Local<'c, DB: Database> {
    connection: MaybePoolConnection<'c, DB>,
    open: bool,
}

impl<'c, DB: Database> Local<'c, DB> {
    /// Begins where the session's settings are those of the resource.
    pub(super) async fn begin_checked(
        connection: impl Into<MaybePoolConnection<'c, DB>>,
        session: &Session,
    ) -> Result<Self, Error> {
        let mut connection = connection.into();
        let Err(error) = begin::<DB>(&mut connection, session.begin()).await else {
            return Ok(Self {
                connection,
                open: true,
            });
        };
        if session.is_checked() && matches!(error, sqlx::Error::Database(_)) {
            // The guard stands behind BEGIN, so the transaction is there.
            let rolled_back = text::<DB>(&mut connection, "ROLLBACK").await;
            rolled_back.map_err(Error::Database)?;
            session.check::<DB>(&mut connection).await?;
        }
        Err(Error::Database(error))
    }

    /// Begins whatever the settings are: nothing is going to be read or undone.
    pub(super) async fn begin_plain(
        connection: impl Into<MaybePoolConnection<'c, DB>>,
    ) -> Result<Self, Error> {
        let mut connection = connection.into();
        let begun = begin::<DB>(&mut connection, SqlStr::from_static(DB::BEGIN)).await;
        begun.map_err(Error::Database)?;
        Ok(Self {
            connection,
            open: true,
        })
    }

    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        <DB as sqlx::Database>::TransactionManager::commit(&mut self.connection).await?;
        self.open = false;
        Ok(())
    }

    pub(super) async fn rollback(mut self) -> Result<(), sqlx::Error> {
        <DB as sqlx::Database>::TransactionManager::rollback(&mut self.connection).await?;
        self.open = false;
        Ok(())
    }
}

impl<DB: Database> Deref for Local<'_, DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        &self.connection
    }
}

impl<DB: Database> DerefMut for Local<'_, DB> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        &mut self.connection
    }
}

impl<DB: Database> Drop for Local<'_, DB> {
    fn drop(&mut self) {
        if self.open {
            <DB as sqlx::Database>::TransactionManager::start_rollback(&mut self.connection);
        }
    }
}

async fn begin<DB: Database>(conn: &mut DB::Connection, sql: SqlStr) -> Result<(), sqlx::Error> {
    <DB as sqlx::Database>::TransactionManager::begin(conn, Some(sql)).await
}

async fn text<DB: Database>(
    conn: &mut DB::Connection,
    sql: &'static str,
) -> Result<(), sqlx::Error> {
    let bound = Bound {
        sql: SqlStr::from_static(sql),
        arguments: None,
        reuse: Reuse::Once,
    };
    DB::run(conn, bound).await.map(|_| ())
}
