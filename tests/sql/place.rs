//! A database of its own for each test, on each of the three.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use seamio::tc::store::sql::DatabaseUrl;
use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection, Row};

/// Which SQL it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    MySql,
    Postgres,
    Sqlite,
}

/// A database that was made for one test, and goes with it.
pub(crate) struct Place {
    pub(crate) kind: Kind,
    /// With what it takes to get in.
    pub(crate) url: String,
    /// The server and the name of the database on it, or the directory of the file.
    home: Home,
}

enum Home {
    Server(String, String),
    Directory(PathBuf),
}

/// The rows of a query as text, column by column.
pub(crate) type Cells = Vec<Vec<Option<String>>>;

impl Place {
    /// A new, empty database; None when there is no server, which is said.
    pub(crate) fn open(kind: Kind) -> Option<Self> {
        let name = fresh_name();
        let variable = match kind {
            Kind::Sqlite => {
                let directory = std::env::temp_dir().join(format!("seamio-{name}"));
                std::fs::create_dir_all(&directory).expect("a directory");
                let file = directory.join("store.db");
                return Some(Self {
                    kind,
                    url: format!("sqlite://{}?mode=rwc", file.display()),
                    home: Home::Directory(directory),
                });
            }
            Kind::MySql => "SEAMIO_MYSQL_URL",
            Kind::Postgres => "SEAMIO_POSTGRES_URL",
        };
        let Ok(server) = std::env::var(variable) else {
            println!("SKIPPED: {variable} is not set (tests/databases/run up)");
            return None;
        };
        run(kind, &server, &format!("DROP DATABASE IF EXISTS {name}")).expect("dropped");
        run(kind, &server, &format!("CREATE DATABASE {name}")).expect("created");
        let (place, _) = server.rsplit_once('/').expect("a URL with a database");
        Some(Self {
            kind,
            url: format!("{place}/{name}"),
            home: Home::Server(server, name),
        })
    }

    /// The URL as the store takes it.
    pub(crate) fn database(&self) -> DatabaseUrl {
        DatabaseUrl::parse(&self.url).expect("a URL")
    }

    /// Runs a text that may hold several statements, and gives the rows of all of them.
    pub(crate) fn run(&self, sql: &str) -> Cells {
        run(self.kind, &self.url, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The first column of a query.
    pub(crate) fn column(&self, sql: &str) -> Vec<String> {
        let rows = self.run(sql).into_iter();
        rows.map(|mut row| row.remove(0).unwrap_or_else(|| "NULL".to_owned()))
            .collect()
    }

    /// One of two texts: for MySQL and MariaDB, or for the other two.
    pub(crate) fn choose<'a>(&self, mysql: &'a str, other: &'a str) -> &'a str {
        match self.kind {
            Kind::MySql => mysql,
            Kind::Postgres | Kind::Sqlite => other,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be removed is left behind; the test said what it had to say.
        match &self.home {
            Home::Directory(directory) => drop(std::fs::remove_dir_all(directory)),
            Home::Server(server, name) => {
                let force = match self.kind {
                    Kind::Postgres => " WITH (FORCE)",
                    Kind::MySql | Kind::Sqlite => "",
                };
                let sql = format!("DROP DATABASE IF EXISTS {name}{force}");
                drop(run(self.kind, server, &sql));
            }
        }
    }
}

fn fresh_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("sql_{}_{number}", std::process::id())
}

macro_rules! over {
    ($connection:ty, $url:expr, $sql:expr) => {{
        let mut connection = <$connection>::connect($url).await?;
        let query = sqlx::raw_sql(AssertSqlSafe($sql.to_owned()));
        let rows = query.fetch_all(&mut connection).await?;
        let mut cells = Vec::new();
        for row in rows {
            let row: Result<_, sqlx::Error> = (0..row.len())
                .map(|at| row.try_get_unchecked::<Option<String>, _>(at))
                .collect();
            cells.push(row?);
        }
        connection.close().await?;
        Ok(cells)
    }};
}

/// Over a connection of its own.
fn run(kind: Kind, url: &str, sql: &str) -> Result<Cells, sqlx::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        match kind {
            Kind::MySql => over!(MySqlConnection, url, sql),
            Kind::Postgres => over!(PgConnection, url, sql),
            Kind::Sqlite => over!(SqliteConnection, url, sql),
        }
    })
}

/// Makes a test on each database out of a scenario, which takes a [`Place`].
macro_rules! on_every_database {
    ($($scenario:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $scenario() { crate::place::Place::open(crate::place::Kind::Sqlite).iter().for_each(super::$scenario) })+
        }
        mod mysql {
            $(#[test]
            fn $scenario() { crate::place::Place::open(crate::place::Kind::MySql).iter().for_each(super::$scenario) })+
        }
        mod postgres {
            $(#[test]
            fn $scenario() { crate::place::Place::open(crate::place::Kind::Postgres).iter().for_each(super::$scenario) })+
        }
    };
}
