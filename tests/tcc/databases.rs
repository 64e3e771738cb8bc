//! The databases that tests run on: SQLite in a file of the test's own, and the servers that the environment names.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use seamio::client::tcc::{ActionContext, Fence, FenceError};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, MySqlPool, PgPool, Row, SqlitePool};

/// A database with names of the test's own for its tables.
#[derive(Clone)]
pub(crate) struct Database {
    pool: AnyPool,
    /// After each name of a table.
    suffix: String,
}

#[derive(Clone)]
enum AnyPool {
    Sqlite(SqlitePool),
    MySql(MySqlPool),
    Postgres(PgPool),
}

/// Runs `$work` with each pool under the name `$pool`.
macro_rules! on {
    ($database:expr, $pool:ident => $work:expr) => {
        match &$database.pool {
            AnyPool::Sqlite($pool) => $work,
            AnyPool::MySql($pool) => $work,
            AnyPool::Postgres($pool) => $work,
        }
    };
}

/// Every database that is there. Those that are not are counted and named.
pub(crate) async fn all() -> Vec<Database> {
    let mut all = vec![sqlite().await];
    let mut skipped = Vec::new();
    match std::env::var("SEAMIO_MYSQL_URL") {
        Ok(url) => {
            let pool = MySqlPool::connect(&url)
                .await
                .expect("the server of SEAMIO_MYSQL_URL");
            all.push(Database::new(AnyPool::MySql(pool)));
        }
        Err(_) => skipped.push("SEAMIO_MYSQL_URL"),
    }
    match std::env::var("SEAMIO_POSTGRES_URL") {
        Ok(url) => {
            let pool = PgPool::connect(&url)
                .await
                .expect("the server of SEAMIO_POSTGRES_URL");
            all.push(Database::new(AnyPool::Postgres(pool)));
        }
        Err(_) => skipped.push("SEAMIO_POSTGRES_URL"),
    }
    if !skipped.is_empty() {
        println!(
            "{} databases skipped: no {}",
            skipped.len(),
            skipped.join(", no ")
        );
    }
    all
}

/// SQLite in a new file.
pub(crate) async fn sqlite() -> Database {
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    let name = format!("tcc-{}-{number}.db", std::process::id());
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    for suffix in ["", "-journal", "-wal", "-shm"] {
        let mut left = file.clone().into_os_string();
        left.push(suffix);
        // One that is not there is as good as removed.
        let _ = std::fs::remove_file(left);
    }
    let options = SqliteConnectOptions::new()
        .filename(&file)
        .create_if_missing(true)
        .synchronous(SqliteSynchronous::Off)
        .busy_timeout(crate::fixture::PATIENCE);
    let pool = SqlitePoolOptions::new()
        .max_connections(4)
        .connect_with(options);
    Database::new(AnyPool::Sqlite(pool.await.expect("a new file")))
}

impl Database {
    fn new(pool: AnyPool) -> Self {
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let suffix = format!("_{}_{number}", std::process::id());
        Self { pool, suffix }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self.pool {
            AnyPool::Sqlite(_) => "SQLite",
            AnyPool::MySql(_) => "MySQL",
            AnyPool::Postgres(_) => "PostgreSQL",
        }
    }

    /// A table's name that no other test has.
    pub(crate) fn table(&self, name: &str) -> String {
        format!("{name}{}", self.suffix)
    }

    /// A fence in a table that is not there yet.
    pub(crate) fn absent_fence(&self) -> Fence {
        let fence = on!(self, pool => Fence::new(pool.clone()));
        fence.table(&self.table("fence")).expect("a plain name")
    }

    /// A fence that works.
    pub(crate) async fn fence(&self) -> Fence {
        let fence = self.absent_fence();
        fence.create_table().await.expect("a new table");
        fence
    }

    pub(crate) async fn execute(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        on!(self, pool => {
            sqlx::raw_sql(sql).execute(pool).await.expect("carried out");
        });
    }

    /// The number in the first column of the only row.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        on!(self, pool => {
            let row = sqlx::query(sql).fetch_one(pool).await.expect("one row");
            row.try_get(0).expect("a number")
        })
    }

    /// Executes within a phase's transaction; how many rows.
    pub(crate) async fn execute_in(
        &self,
        ctx: &mut ActionContext,
        sql: String,
    ) -> Result<u64, FenceError> {
        let query = sqlx::raw_sql(AssertSqlSafe(sql));
        Ok(match &self.pool {
            AnyPool::Sqlite(_) => {
                let connection = ctx.connection::<sqlx::Sqlite>()?;
                query.execute(connection).await?.rows_affected()
            }
            AnyPool::MySql(_) => {
                let connection = ctx.connection::<sqlx::MySql>()?;
                query.execute(connection).await?.rows_affected()
            }
            AnyPool::Postgres(_) => {
                let connection = ctx.connection::<sqlx::Postgres>()?;
                query.execute(connection).await?.rows_affected()
            }
        })
    }

    /// Ages every row of the fence by an hour.
    pub(crate) async fn age_fence(&self) {
        let earlier = match self.pool {
            AnyPool::Sqlite(_) => "gmt_modified - 3600000",
            AnyPool::MySql(_) => "gmt_modified - INTERVAL 1 HOUR",
            AnyPool::Postgres(_) => "gmt_modified - INTERVAL '1 hour'",
        };
        let table = self.table("fence");
        self.execute(&format!("UPDATE {table} SET gmt_modified = {earlier}"))
            .await;
    }

    pub(crate) async fn drop_tables(&self, names: &[&str]) {
        for name in names {
            self.execute(&format!("DROP TABLE IF EXISTS {}", self.table(name)))
                .await;
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.pool {
            AnyPool::Sqlite(_) => Kind::Sqlite,
            AnyPool::MySql(_) => Kind::MySql,
            AnyPool::Postgres(_) => Kind::Postgres,
        }
    }
}

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    MySql,
    Postgres,
}

/// Names that no other test of this process has.
static NUMBERS: AtomicU32 = AtomicU32::new(0);
