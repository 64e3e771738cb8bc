//! A fence over sqlx: the same steps on each database, within its own types.

use std::any::Any;
use std::sync::Arc;

use sqlx::{AssertSqlSafe, Database, Executor, Pool, Row, Transaction};

use super::state::{self, State, Verdict};
use super::table::{self, Dialect, Statements};
use super::{Entry, FenceError, Key, LocalTransaction, Phase};
use crate::client::resource::BoxFuture;
use crate::client::tcc::Isolation;
use crate::proto::Text;
use crate::xid::BranchId;

/// A database that can hold a fence: sqlx's `MySql`, `Postgres` and `Sqlite`, as far as their features are on.
#[expect(private_bounds, reason = "sealed")]
pub trait FenceDatabase: Rows {}

/// A fence's database, whatever its kind.
pub(super) trait Store: Send + Sync {
    fn dialect(&self) -> Dialect;
    fn begin(
        self: Arc<Self>,
        level: Option<Isolation>,
    ) -> BoxFuture<Result<Box<dyn LocalTransaction>, sqlx::Error>>;
    fn enter(
        self: Arc<Self>,
        statements: Arc<Statements>,
        phase: Phase,
        key: Key,
        level: Option<Isolation>,
    ) -> BoxFuture<Result<Entry, FenceError>>;
    fn check(self: Arc<Self>, statements: Arc<Statements>) -> BoxFuture<Result<(), String>>;
    fn clean(
        self: Arc<Self>,
        statements: Arc<Statements>,
        age_micros: i64,
    ) -> BoxFuture<Result<u64, sqlx::Error>>;
    fn script(self: Arc<Self>, sql: String) -> BoxFuture<Result<(), sqlx::Error>>;
}

/// The statements of a fence on a connection of one kind.
trait Rows: Database + Sized {
    const DIALECT: Dialect;

    /// Begins a transaction that will write.
    fn begin(
        pool: &Pool<Self>,
        level: Option<Isolation>,
    ) -> impl Future<Output = Result<Transaction<'static, Self>, sqlx::Error>> + Send;

    /// Inserts a row.
    fn insert(
        connection: &mut Self::Connection,
        sql: &Arc<str>,
        key: &Key,
        state: State,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// The number of a branch's state; its row stays locked.
    fn find(
        connection: &mut Self::Connection,
        sql: &Arc<str>,
        key: &Key,
    ) -> impl Future<Output = Result<Option<i64>, sqlx::Error>> + Send;

    /// Changes the state of a branch that is tried; how many rows changed.
    fn advance(
        connection: &mut Self::Connection,
        sql: &Arc<str>,
        key: &Key,
        to: State,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Deletes some rows that are old enough; how many.
    fn clean(
        pool: &Pool<Self>,
        sql: &Arc<str>,
        age_micros: i64,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Carries out a text of several statements.
    fn script(
        pool: &Pool<Self>,
        sql: String,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

pub(super) fn open<DB: FenceDatabase>(pool: Pool<DB>) -> Arc<dyn Store> {
    Arc::new(Opened { pool })
}

struct Opened<DB: Database> {
    pool: Pool<DB>,
}

impl<DB: Rows> Store for Opened<DB> {
    fn dialect(&self) -> Dialect {
        DB::DIALECT
    }

    fn begin(
        self: Arc<Self>,
        level: Option<Isolation>,
    ) -> BoxFuture<Result<Box<dyn LocalTransaction>, sqlx::Error>> {
        Box::pin(async move { Ok(boxed(DB::begin(&self.pool, level).await?)) })
    }

    fn enter(
        self: Arc<Self>,
        statements: Arc<Statements>,
        phase: Phase,
        key: Key,
        level: Option<Isolation>,
    ) -> BoxFuture<Result<Entry, FenceError>> {
        Box::pin(async move {
            let mut attempt = 1;
            loop {
                match self.enter_once(&statements, phase, &key, level).await {
                    // Nothing but the row was touched yet, so it is asked again; two cancels on MySQL can meet like that.
                    Err(FenceError::Database(error))
                        if is_deadlock(&error) && attempt < ATTEMPTS_MAX =>
                    {
                        let (xid, branch) = (&key.xid, key.branch_id);
                        log::debug!(
                            "xid={xid} branch={branch} event=fence_deadlock attempt={attempt}"
                        );
                        attempt += 1;
                    }
                    other => return other,
                }
            }
        })
    }

    fn check(self: Arc<Self>, statements: Arc<Statements>) -> BoxFuture<Result<(), String>> {
        Box::pin(async move {
            let mut attempt = 1;
            loop {
                match self.probe(&statements).await {
                    Err(Probe::Failed(error)) if is_deadlock(&error) && attempt < ATTEMPTS_MAX => {
                        attempt += 1;
                    }
                    Err(Probe::Failed(error)) => return Err(error.to_string()),
                    Err(Probe::Wrong(what)) => return Err(what.to_owned()),
                    Ok(()) => return Ok(()),
                }
            }
        })
    }

    fn clean(
        self: Arc<Self>,
        statements: Arc<Statements>,
        age_micros: i64,
    ) -> BoxFuture<Result<u64, sqlx::Error>> {
        Box::pin(async move { DB::clean(&self.pool, &statements.clean, age_micros).await })
    }

    fn script(self: Arc<Self>, sql: String) -> BoxFuture<Result<(), sqlx::Error>> {
        Box::pin(async move { DB::script(&self.pool, sql).await })
    }
}

impl<DB: Rows> Opened<DB> {
    async fn enter_once(
        &self,
        statements: &Statements,
        phase: Phase,
        key: &Key,
        level: Option<Isolation>,
    ) -> Result<Entry, FenceError> {
        let mut transaction = DB::begin(&self.pool, level).await?;
        let verdict = match phase {
            Phase::Try => {
                let insert = DB::insert(&mut transaction, &statements.insert, key, State::Tried);
                return match insert.await {
                    Ok(()) => Ok(Entry::Run(boxed(transaction))),
                    Err(error) if is_duplicate(&error) => {
                        transaction.rollback().await?;
                        Ok(Entry::Refused)
                    }
                    Err(error) => Err(error.into()),
                };
            }
            Phase::Confirm => state::confirm(find(&mut transaction, statements, key).await?),
            Phase::Cancel => {
                // First, so that no cancel locks a row that is not there, which on MySQL locks the gap around it.
                let sql = &statements.insert_absent;
                DB::insert(&mut transaction, sql, key, State::Suspended).await?;
                state::cancel(find(&mut transaction, statements, key).await?)
            }
        };
        match verdict {
            Verdict::Run { to } => {
                let changed = DB::advance(&mut transaction, &statements.advance, key, to).await?;
                if changed != 1 {
                    return Err(FenceError::Changed);
                }
                Ok(Entry::Run(boxed(transaction)))
            }
            Verdict::Done => {
                transaction.commit().await?;
                Ok(Entry::Done)
            }
            Verdict::NotTried => {
                transaction.rollback().await?;
                Ok(Entry::NotTried)
            }
            Verdict::Contradiction => {
                transaction.rollback().await?;
                Ok(Entry::Refused)
            }
        }
    }

    async fn probe(&self, statements: &Statements) -> Result<(), Probe> {
        let key = Key {
            xid: Text::from(PROBE),
            branch_id: BranchId(0),
            action: PROBE,
        };
        let mut transaction = DB::begin(&self.pool, None).await?;
        DB::insert(&mut transaction, &statements.insert, &key, State::Tried).await?;
        let again = DB::insert(&mut transaction, &statements.insert, &key, State::Tried).await;
        transaction.rollback().await?;
        match again {
            Err(error) if is_duplicate(&error) => {}
            Err(error) => return Err(error.into()),
            Ok(()) => return Err(Probe::Wrong("it takes two rows of one xid and branch_id")),
        }
        let mut transaction = DB::begin(&self.pool, None).await?;
        let left = DB::find(&mut transaction, &statements.find, &key).await?;
        transaction.rollback().await?;
        match left {
            None => Ok(()),
            Some(_) => Err(Probe::Wrong(
                "it keeps a row whose transaction was rolled back",
            )),
        }
    }
}

/// Why a table is not fit.
enum Probe {
    Failed(sqlx::Error),
    Wrong(&'static str),
}

impl From<sqlx::Error> for Probe {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error)
    }
}

impl<DB: Database> LocalTransaction for Transaction<'static, DB> {
    fn as_any(&mut self) -> &mut dyn Any {
        self
    }

    fn commit(self: Box<Self>) -> BoxFuture<Result<(), sqlx::Error>> {
        Box::pin(Transaction::commit(*self))
    }

    fn rollback(self: Box<Self>) -> BoxFuture<Result<(), sqlx::Error>> {
        Box::pin(Transaction::rollback(*self))
    }
}

fn boxed<DB: Database>(transaction: Transaction<'static, DB>) -> Box<dyn LocalTransaction> {
    Box::new(transaction)
}

async fn find<DB: Rows>(
    transaction: &mut Transaction<'static, DB>,
    statements: &Statements,
    key: &Key,
) -> Result<Option<State>, FenceError> {
    match DB::find(transaction, &statements.find, key).await? {
        None => Ok(None),
        Some(code) => match State::from_code(code) {
            Some(state) => Ok(Some(state)),
            None => Err(FenceError::State(code)),
        },
    }
}

fn is_duplicate(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| error.is_unique_violation())
}

/// SQLSTATEs of a victim of a deadlock: MySQL's, PostgreSQL's.
fn is_deadlock(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| matches!(&*code, "40001" | "40P01"))
}

macro_rules! fence_database {
    ($feature:literal, $database:ident, $connection:ident, $status:ty) => {
        #[cfg(feature = $feature)]
        impl FenceDatabase for sqlx::$database {}

        #[cfg(feature = $feature)]
        impl Rows for sqlx::$database {
            const DIALECT: Dialect = Dialect::$database;

            async fn begin(
                pool: &Pool<Self>,
                level: Option<Isolation>,
            ) -> Result<Transaction<'static, Self>, sqlx::Error> {
                pool.begin_with(table::begin(Self::DIALECT, level)).await
            }

            async fn insert(
                connection: &mut sqlx::$connection,
                sql: &Arc<str>,
                key: &Key,
                state: State,
            ) -> Result<(), sqlx::Error> {
                let query = sqlx::query(AssertSqlSafe(Arc::clone(sql)))
                    .bind(key.xid.as_str())
                    .bind(key.branch_id.0)
                    .bind(key.action)
                    .bind(<$status>::from(state.code()));
                connection.execute(query).await.map(drop)
            }

            async fn find(
                connection: &mut sqlx::$connection,
                sql: &Arc<str>,
                key: &Key,
            ) -> Result<Option<i64>, sqlx::Error> {
                let query = sqlx::query(AssertSqlSafe(Arc::clone(sql)))
                    .bind(key.xid.as_str())
                    .bind(key.branch_id.0);
                match connection.fetch_optional(query).await? {
                    None => Ok(None),
                    Some(row) => Ok(Some(i64::from(row.try_get::<$status, _>(0)?))),
                }
            }

            async fn advance(
                connection: &mut sqlx::$connection,
                sql: &Arc<str>,
                key: &Key,
                to: State,
            ) -> Result<u64, sqlx::Error> {
                let query = sqlx::query(AssertSqlSafe(Arc::clone(sql)))
                    .bind(<$status>::from(to.code()))
                    .bind(key.xid.as_str())
                    .bind(key.branch_id.0)
                    .bind(<$status>::from(State::Tried.code()));
                Ok(connection.execute(query).await?.rows_affected())
            }

            async fn clean(
                pool: &Pool<Self>,
                sql: &Arc<str>,
                age_micros: i64,
            ) -> Result<u64, sqlx::Error> {
                let query = sqlx::query(AssertSqlSafe(Arc::clone(sql))).bind(age_micros);
                Ok(pool.execute(query).await?.rows_affected())
            }

            async fn script(pool: &Pool<Self>, sql: String) -> Result<(), sqlx::Error> {
                pool.execute(sqlx::raw_sql(AssertSqlSafe(sql)))
                    .await
                    .map(drop)
            }
        }
    };
}

fence_database!("mysql", MySql, MySqlConnection, i8);
fence_database!("postgres", Postgres, PgConnection, i16);
fence_database!("sqlite", Sqlite, SqliteConnection, i64);

/// How often a phase that was the victim of a deadlock is begun anew.
const ATTEMPTS_MAX: u32 = 5;
/// The xid and action of the row that a check puts in and takes out.
const PROBE: &str = "seamio-check";
