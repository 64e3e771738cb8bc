//! A local transaction that can be undone after it was committed.
//!
//! | module | what lives there |
//! |---|---|
//! | `executor` | sqlx's own queries, run on a branch |
//! | `query` | queries whose values can be bound again |
//! | `given` | the parameters of a statement, for its image queries |
//! | `perform` | one statement with its images |
//! | `inserting` | the same for INSERT, whose keys have to be found out |
//! | `ending` | commit: register, write the undo log, commit; and what to do when one of them fails |

mod ending;
mod executor;
mod given;
mod inserting;
mod perform;
pub(super) mod query;

use std::fmt;
use std::sync::Arc;

use sqlx::{SqlSafeStr, SqlStr};

use super::database::{Bound, Database, Reuse};
use super::image::UndoItem;
use super::local::Local;
use super::lock_key::TableKeys;
use super::recorded::{Recorded, SameName};
use super::resource::AtResource;
use super::statement::{Dialect, Savepoint};
use super::{Error, LockCall, LockRetry};
use crate::proto::Text;

pub(super) use ending::Unit;

/// A local transaction that is a branch of a global one, once it is committed.
///
/// Made by [`At::begin`](super::At::begin) and its like. Statements run on it through sqlx:
/// `sqlx::query("…").bind(…).execute(&mut branch)`; or through [`at::query`](super::query), whose values can be bound again
/// where the image of a statement needs that. Statements that could not be undone are refused before they run.
///
/// Dropped without an end, the local transaction is rolled back: sqlx queues a ROLLBACK for the next use of the connection, and
/// its row locks stay until then. Nothing is registered before [`AtBranch::commit`].
///
/// # Cancel safety
///
/// When the future of a statement is dropped before it is done, nobody knows what ran: the branch can only be rolled back, or
/// back to a savepoint.
#[must_use = "dropping it rolls the local transaction back"]
pub struct AtBranch<'c, DB: Database> {
    resource: Arc<AtResource<DB>>,
    transaction: Local<'c, DB>,
    mode: Mode,
    unit: Unit,
    /// How it deals with global locks, where that is not the resource's way.
    call: Option<LockCall>,
    recorded: Recorded<Record>,
    condition: Condition,
    /// Whether the statement that runs has changed something.
    touched: bool,
    /// Whether a global lock was in the way, or the database gave the transaction up for another: worth another try.
    conflict: Option<String>,
    /// Whether somebody had the raw connection.
    bypassed: bool,
    /// Whether somebody had it since the session's settings were looked at.
    unchecked: bool,
}

/// What the branch is to the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// A branch of this transaction.
    Global(Text),
    /// No branch, but it respects the locks of global transactions.
    LockOnly,
    /// A plain local transaction: the code runs without a global one.
    Outside,
}

/// What one statement left behind.
#[derive(Debug)]
struct Record {
    item: UndoItem,
    keys: TableKeys,
}

/// Whether statements may run.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Usable,
    /// A statement has begun; if that is still so when the next one comes, it was cancelled.
    Running,
    Failed(String),
}

impl<'c, DB: Database> AtBranch<'c, DB> {
    pub(super) fn new(
        resource: Arc<AtResource<DB>>,
        transaction: Local<'c, DB>,
        mode: Mode,
        unit: Unit,
        call: Option<LockCall>,
    ) -> Self {
        Self {
            resource,
            transaction,
            mode,
            unit,
            call,
            recorded: Recorded::default(),
            condition: Condition::Usable,
            touched: false,
            conflict: None,
            bypassed: false,
            unchecked: false,
        }
    }

    /// The global transaction; empty when there is none.
    pub fn xid(&self) -> Text {
        match &self.mode {
            Mode::Global(xid) => xid.clone(),
            Mode::LockOnly | Mode::Outside => Text::new(),
        }
    }

    /// Rolls the local transaction back. Nothing was registered.
    ///
    /// # Errors
    ///
    /// [`Error::Database`] when the ROLLBACK was not confirmed; the database rolls back all the same when the connection ends.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the ROLLBACK to the next use of the connection.
    pub async fn rollback(self) -> Result<(), Error> {
        self.transaction.rollback().await.map_err(Error::Database)
    }

    /// Sets a savepoint. A statement `SAVEPOINT name` does the same.
    ///
    /// # Errors
    ///
    /// [`Error::Database`], and [`Error::Unusable`] after a failure.
    pub async fn savepoint(&mut self, name: &str) -> Result<(), Error> {
        self.check_usable()?;
        let text = format!("SAVEPOINT {}", quoted(name, DB::DIALECT));
        self.run_savepoint(owned(text), Savepoint::Set(folded(name, DB::DIALECT)))
            .await
    }

    /// Takes back what came after a savepoint, which stays. It makes a branch usable again that a failed or cancelled
    /// statement has left unusable, if the database still knows the savepoint.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn rollback_to(&mut self, name: &str) -> Result<(), Error> {
        let text = format!("ROLLBACK TO SAVEPOINT {}", quoted(name, DB::DIALECT));
        self.run_savepoint(
            owned(text),
            Savepoint::RollBackTo(folded(name, DB::DIALECT)),
        )
        .await
    }

    /// Forgets a savepoint and those after it; what was done stays.
    ///
    /// # Errors
    ///
    /// [`Error::Database`], and [`Error::Unusable`] after a failure.
    pub async fn release(&mut self, name: &str) -> Result<(), Error> {
        self.check_usable()?;
        let text = format!("RELEASE SAVEPOINT {}", quoted(name, DB::DIALECT));
        self.run_savepoint(owned(text), Savepoint::Release(folded(name, DB::DIALECT)))
            .await
    }

    /// The connection itself, past everything that can undo.
    ///
    /// What runs on it is part of the local transaction, but leaves no undo log and takes no global lock: when the global
    /// transaction rolls back, it stays. Never end the transaction here.
    pub fn bypass(&mut self) -> &mut DB::Connection {
        self.bypassed = true;
        self.unchecked = true;
        &mut self.transaction
    }

    /// How long a global lock that another transaction holds is waited for.
    fn lock_retry(&self) -> LockRetry {
        let resource = self.resource.options.lock_retry;
        self.call.map_or(resource, |call| call.retry(resource))
    }

    /// Looks at the settings of a session that somebody else had.
    async fn check_session(&mut self) -> Result<(), Error> {
        if !std::mem::take(&mut self.unchecked) || self.mode == Mode::Outside {
            return Ok(());
        }
        let checked = self
            .resource
            .session
            .check::<DB>(&mut self.transaction)
            .await;
        if let Err(error) = &checked {
            self.condition = Condition::Failed(error.to_string());
        }
        checked
    }

    /// What is worth another try, if something was.
    pub(super) fn conflict(&self) -> Option<&str> {
        self.conflict.as_deref()
    }

    fn check_usable(&mut self) -> Result<(), Error> {
        match &self.condition {
            Condition::Usable => Ok(()),
            Condition::Running => {
                let why = "a statement was cancelled before it was done".to_owned();
                self.condition = Condition::Failed(why.clone());
                Err(Error::Unusable(why))
            }
            Condition::Failed(why) => Err(Error::Unusable(why.clone())),
        }
    }

    async fn run_savepoint(&mut self, sql: SqlStr, savepoint: Savepoint) -> Result<(), Error> {
        let before = std::mem::replace(&mut self.condition, Condition::Running);
        let bound = Bound {
            sql,
            arguments: None,
            reuse: Reuse::Once,
        };
        if let Err(error) = DB::run(&mut self.transaction, bound).await {
            // An unknown savepoint aborts a transaction of PostgreSQL, and changes nothing elsewhere.
            self.condition = match before {
                Condition::Usable => self.condition_after(&error).await,
                before => before,
            };
            return Err(Error::Database(error));
        }
        self.condition = before;
        self.note_savepoint(savepoint);
        Ok(())
    }

    /// The savepoint is done in the database; what was recorded follows.
    fn note_savepoint(&mut self, savepoint: Savepoint) {
        let same_name = match DB::DIALECT {
            Dialect::MySql => SameName::Replaces,
            Dialect::Postgres | Dialect::Sqlite => SameName::Hides,
        };
        match savepoint {
            Savepoint::Set(name) => self.recorded.set(name, same_name),
            Savepoint::Release(name) => self.recorded.release(&name),
            Savepoint::RollBackTo(name) => {
                self.recorded.roll_back_to(&name);
                self.condition = Condition::Usable;
            }
        }
    }
}

impl<DB: Database> fmt::Debug for AtBranch<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtBranch")
            .field("resource", &self.resource.id)
            .field("mode", &self.mode)
            .field("condition", &self.condition)
            .finish_non_exhaustive()
    }
}

fn owned(text: String) -> SqlStr {
    sqlx::AssertSqlSafe(text).into_sql_str()
}

fn quoted(name: &str, dialect: Dialect) -> String {
    match dialect {
        Dialect::MySql => format!("`{}`", name.replace('`', "``")),
        Dialect::Postgres | Dialect::Sqlite => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// The name as the database compares it; written in quotes, so PostgreSQL keeps its case.
fn folded(name: &str, dialect: Dialect) -> String {
    match dialect {
        Dialect::Postgres => name.to_owned(),
        Dialect::MySql | Dialect::Sqlite => name.to_lowercase(),
    }
}
