//! A database of its own for each test, on each of the three.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::BoxFuture;
use seamio::client::at::Database;
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, MySql, Pool, Postgres, Row, Sqlite};

mod futures {
    pub(crate) type BoxFuture<'a, T> =
        std::pin::Pin<Box<dyn std::future::Future<Output = T> + Send + 'a>>;
}

/// Which SQL it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    MariaDb,
    Postgres,
    Sqlite,
}

/// A database that the tests run on.
pub(crate) trait Tried: Database {
    const KIND: Kind;

    /// A pool on a new, empty database; None when there is no server.
    fn open() -> BoxFuture<'static, Option<Place<Self>>>;

    /// Runs a text that may hold several statements.
    fn script<'a>(pool: &'a Pool<Self>, sql: &'a str) -> BoxFuture<'a, Result<(), sqlx::Error>>;

    /// The first column of a query, as text.
    fn column<'a>(pool: &'a Pool<Self>, sql: &'a str) -> BoxFuture<'a, Vec<String>>;
}

/// A database that was made for one test.
pub(crate) struct Place<DB: sqlx::Database> {
    pub(crate) pool: Pool<DB>,
    /// Removed with it.
    directory: Option<PathBuf>,
}

impl<DB: sqlx::Database> Drop for Place<DB> {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

static NEXT: AtomicU64 = AtomicU64::new(1);

fn fresh_name() -> String {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("at_{}_{number}", std::process::id())
}

fn skipped(variable: &str) -> Option<String> {
    let url = std::env::var(variable).ok();
    if url.is_none() {
        println!("SKIPPED: {variable} is not set (tests/databases/run up)");
    }
    url
}

macro_rules! text_methods {
    () => {
        fn script<'a>(
            pool: &'a Pool<Self>,
            sql: &'a str,
        ) -> BoxFuture<'a, Result<(), sqlx::Error>> {
            Box::pin(async move {
                let query = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
                query.execute(pool).await.map(|_| ())
            })
        }

        fn column<'a>(pool: &'a Pool<Self>, sql: &'a str) -> BoxFuture<'a, Vec<String>> {
            Box::pin(async move {
                let query = sqlx::query(AssertSqlSafe(sql.to_owned()));
                let rows = query.fetch_all(pool).await;
                let rows = rows.unwrap_or_else(|error| panic!("{sql}: {error}"));
                let text = |row: &<Self as sqlx::Database>::Row| {
                    let text = row.try_get_unchecked::<Option<String>, _>(0);
                    let text = text.unwrap_or_else(|error| panic!("{sql}: {error}"));
                    text.unwrap_or_else(|| "NULL".to_owned())
                };
                rows.iter().map(text).collect()
            })
        }
    };
}

/// Long enough for a busy machine.
const ACQUIRE: Duration = Duration::from_secs(60);

impl Tried for Sqlite {
    const KIND: Kind = Kind::Sqlite;

    fn open() -> BoxFuture<'static, Option<Place<Self>>> {
        Box::pin(async {
            let directory = std::env::temp_dir().join(format!("seamio-{}", fresh_name()));
            std::fs::create_dir_all(&directory).expect("a directory");
            let options = SqliteConnectOptions::new()
                .filename(directory.join("test.db"))
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .busy_timeout(ACQUIRE);
            let pool = SqlitePoolOptions::new().max_connections(4);
            let pool = pool.acquire_timeout(ACQUIRE).connect_with(options).await;
            Some(Place {
                pool: pool.expect("a file"),
                directory: Some(directory),
            })
        })
    }

    text_methods!();
}

impl Tried for MySql {
    const KIND: Kind = Kind::MariaDb;

    fn open() -> BoxFuture<'static, Option<Place<Self>>> {
        Box::pin(async {
            let url = skipped("SEAMIO_MYSQL_URL")?;
            let options = MySqlConnectOptions::from_str(&url).expect("a URL");
            let pool = MySqlPoolOptions::new().max_connections(1);
            let server = pool.connect_with(options.clone()).await.expect("a server");
            let name = fresh_name();
            Self::script(&server, &format!("DROP DATABASE IF EXISTS {name}"))
                .await
                .expect("dropped");
            Self::script(
                &server,
                &format!("CREATE DATABASE {name} CHARACTER SET utf8mb4"),
            )
            .await
            .expect("created");
            server.close().await;
            let pool = MySqlPoolOptions::new().max_connections(4);
            let pool = pool.acquire_timeout(ACQUIRE);
            let pool = pool.connect_with(options.database(&name)).await;
            Some(Place {
                pool: pool.expect("a database"),
                directory: None,
            })
        })
    }

    text_methods!();
}

impl Tried for Postgres {
    const KIND: Kind = Kind::Postgres;

    fn open() -> BoxFuture<'static, Option<Place<Self>>> {
        Box::pin(async {
            let url = skipped("SEAMIO_POSTGRES_URL")?;
            let options = PgConnectOptions::from_str(&url).expect("a URL");
            let pool = PgPoolOptions::new().max_connections(1);
            let server = pool.connect_with(options.clone()).await.expect("a server");
            let name = fresh_name();
            Self::script(&server, &format!("DROP DATABASE IF EXISTS {name}"))
                .await
                .expect("dropped");
            Self::script(&server, &format!("CREATE DATABASE {name}"))
                .await
                .expect("created");
            server.close().await;
            let pool = PgPoolOptions::new().max_connections(4);
            let pool = pool.acquire_timeout(ACQUIRE);
            let pool = pool.connect_with(options.database(&name)).await;
            Some(Place {
                pool: pool.expect("a database"),
                directory: None,
            })
        })
    }

    text_methods!();
}

/// Makes a test of each database out of a scenario.
macro_rules! on_every_database {
    ($($scenario:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() { super::$scenario::<sqlx::Sqlite>().await })+
        }
        mod mariadb {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() { super::$scenario::<sqlx::MySql>().await })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() { super::$scenario::<sqlx::Postgres>().await })+
        }
    };
}
