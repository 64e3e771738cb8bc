//! One connection to a database, whichever it is: text in, text out, several statements in one round trip.
//!
//! Statements go out as text (never prepared): a batch differs from the one before in its number of rows, and only text
//! carries several statements at once. Every value in them is written by [`Dialect::text`] or is a number.

use std::str::FromStr;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlDatabaseError};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _, Either, Error, Row};

use super::dialect::Dialect;

/// The results of all statements of a text.
macro_rules! gather {
    ($connection:expr, $sql:expr) => {{
        let mut all = Vec::new();
        let mut rows = Vec::new();
        let mut stream = sqlx::raw_sql(AssertSqlSafe($sql)).fetch_many(&mut **$connection);
        while let Some(next) = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
            match next.map_err(|error| fault(&error))? {
                Either::Left(done) => all.push(Rows {
                    rows: std::mem::take(&mut rows),
                    affected: done.rows_affected(),
                }),
                Either::Right(row) => {
                    let columns = (0..row.len())
                        .map(|i| row.try_get_unchecked::<Option<String>, _>(i))
                        .collect::<Result<_, _>>()
                        .map_err(|error| fault(&error))?;
                    rows.push(columns);
                }
            }
        }
        Ok::<_, Fault>(all)
    }};
}
/// Where the database is, with what it takes to get in.
#[derive(Clone)]
pub struct DatabaseUrl {
    options: Options,
    shown: String,
}

#[derive(Clone)]
enum Options {
    MySql(Box<MySqlConnectOptions>),
    Postgres(Box<PgConnectOptions>),
    Sqlite(Box<SqliteConnectOptions>),
}

/// A connection. After a [`Fault::Lost`] it is of no more use.
pub(crate) struct Link {
    inner: Inner,
    dialect: Dialect,
    statement_timeout: Duration,
    counts: Counts,
    /// Names the session on the server, so that it can be ended from another one.
    session: Option<(String, String)>,
}

enum Inner {
    MySql(Box<MySqlConnection>),
    Postgres(Box<PgConnection>),
    Sqlite(Box<SqliteConnection>),
}

/// What a thread works with that has connections of its own.
pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// What a connection has cost so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) round_trips: u64,
    pub(crate) statements: u64,
}

/// What one statement gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rows {
    /// Each row as text, column by column.
    pub(crate) rows: Vec<Vec<Option<String>>>,
    /// Rows changed, or found although they had that value already.
    pub(crate) affected: u64,
}

/// Why a database did not do what it was asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// The connection is gone, or cannot be had; whether the statements were carried out is not known.
    Lost(String),
    /// Another transaction was in the way (dead-lock, lock wait): the same once more may succeed.
    Again(String),
    /// A key is there already.
    Duplicate(String),
    /// The database refuses it, now and later.
    Refused(String),
}

impl Fault {
    pub(crate) fn text(&self) -> &str {
        let (Self::Lost(text) | Self::Again(text) | Self::Duplicate(text) | Self::Refused(text)) =
            self;
        text
    }
}

impl DatabaseUrl {
    /// Reads `mysql://`, `mariadb://`, `postgres://`, `postgresql://` or `sqlite://`.
    ///
    /// # Errors
    /// Says what is wrong; never repeats the URL, which may hold a password.
    pub fn parse(url: &str) -> Result<Self, String> {
        let wrong = |error: Error| format!("the URL of the database cannot be read: {error}");
        let (scheme, rest) = url
            .split_once(':')
            .ok_or("the URL of the database has no scheme")?;
        let options = match scheme.to_ascii_lowercase().as_str() {
            "mysql" | "mariadb" => {
                let options = MySqlConnectOptions::from_str(&format!("mysql:{rest}"))
                    .map_err(wrong)?
                    // Times are the server's, as a Java coordinator writes them.
                    .timezone(None)
                    .pipes_as_concat(false)
                    .statement_cache_capacity(0)
                    .disable_statement_logging();
                if options.get_database().is_none() {
                    return Err(
                        "the URL names no database: mysql://USER:PASSWORD@HOST:PORT/DATABASE"
                            .into(),
                    );
                }
                Options::MySql(Box::new(options))
            }
            "postgres" | "postgresql" => {
                let options = PgConnectOptions::from_str(&format!("postgres:{rest}"))
                    .map_err(wrong)?
                    .application_name("seamio")
                    .statement_cache_capacity(0)
                    .disable_statement_logging();
                Options::Postgres(Box::new(options))
            }
            "sqlite" => {
                let options = SqliteConnectOptions::from_str(&format!("sqlite:{rest}"))
                    .map_err(wrong)?
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
                    .busy_timeout(Duration::from_secs(5))
                    .disable_statement_logging();
                Options::Sqlite(Box::new(options))
            }
            other => return Err(format!("there is no SQL store for {other}://")),
        };
        let shown = shown(url);
        Ok(Self { options, shown })
    }

    /// Which SQL it speaks.
    pub(crate) fn dialect(&self) -> Dialect {
        match self.options {
            Options::MySql(_) => Dialect::MySql,
            Options::Postgres(_) => Dialect::Postgres,
            Options::Sqlite(_) => Dialect::Sqlite,
        }
    }
}

/// Without the password and the parameters.
impl std::fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

impl PartialEq for DatabaseUrl {
    fn eq(&self, other: &Self) -> bool {
        self.shown == other.shown
    }
}

impl Eq for DatabaseUrl {}

fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
            format!("{scheme}://{place}")
        }
        None => String::new(),
    }
}

impl Link {
    /// Connects and prepares the session.
    ///
    /// # Errors
    /// [`Fault::Lost`] when there is no server, it has no room, or it takes longer than `timeout`; [`Fault::Refused`]
    /// when it lets nobody of this name in.
    pub(crate) async fn open(url: &DatabaseUrl, timeout: Duration) -> Result<Self, Fault> {
        let connecting = async {
            Ok(match &url.options {
                Options::MySql(options) => {
                    Inner::MySql(Box::new(MySqlConnection::connect_with(options).await?))
                }
                Options::Postgres(options) => {
                    Inner::Postgres(Box::new(PgConnection::connect_with(options).await?))
                }
                Options::Sqlite(options) => {
                    Inner::Sqlite(Box::new(SqliteConnection::connect_with(options).await?))
                }
            })
        };
        let inner = match tokio::time::timeout(timeout, connecting).await {
            Ok(inner) => inner.map_err(|error: Error| fault(&error))?,
            Err(_) => {
                return Err(Fault::Lost(format!(
                    "{url} does not answer within {timeout:?}"
                )));
            }
        };
        let mut link = Self {
            inner,
            dialect: url.dialect(),
            statement_timeout: timeout,
            counts: Counts::default(),
            session: None,
        };
        let session = link.dialect.session();
        if !session.is_empty() {
            let results = link.run(session).await?;
            let named = results.last().and_then(|rows| rows.rows.first());
            link.session = match named.map(Vec::as_slice) {
                Some([Some(id), Some(proof)]) => Some((id.clone(), proof.clone())),
                _ => None,
            };
        }
        link.counts = Counts::default();
        Ok(link)
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Round trips and statements so far.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Carries out one or more statements, in one round trip, and gives what each of them gave. After the first that
    /// fails the rest is not carried out, and an open transaction has to be rolled back.
    pub(crate) async fn run(&mut self, sql: &str) -> Result<Vec<Rows>, Fault> {
        self.counts.round_trips += 1;
        let timeout = self.statement_timeout;
        let all = tokio::time::timeout(timeout, async {
            match &mut self.inner {
                Inner::MySql(connection) => gather!(connection, sql),
                Inner::Postgres(connection) => gather!(connection, sql),
                Inner::Sqlite(connection) => gather!(connection, sql),
            }
        });
        let all = match all.await {
            Ok(all) => all?,
            Err(_) => return Err(Fault::Lost(format!("no answer within {timeout:?}"))),
        };
        self.counts.statements += all.len() as u64;
        Ok(all)
    }

    /// What ends the session from another connection, and no other session that has its number by then.
    pub(crate) fn end_of_session(&self) -> Option<String> {
        let (id, proof) = self.session.as_ref()?;
        self.dialect.end_of_session(id, proof)
    }

    /// Says goodbye to the server; a connection that is dropped is only cut.
    pub(crate) async fn close(self) {
        // The server notices either way.
        let _ = match self.inner {
            Inner::MySql(connection) => connection.close().await,
            Inner::Postgres(connection) => connection.close().await,
            Inner::Sqlite(connection) => connection.close().await,
        };
    }
}

fn fault(error: &Error) -> Fault {
    let text = error.to_string();
    match error {
        Error::Database(error) => of_database(error.as_ref(), text),
        Error::Configuration(_) | Error::ColumnDecode { .. } | Error::Decode(_) => {
            Fault::Refused(text)
        }
        _ => Fault::Lost(text),
    }
}

fn of_database(error: &dyn DatabaseError, text: String) -> Fault {
    if error.is_unique_violation() {
        return Fault::Duplicate(text);
    }
    if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() {
        return match error.number() {
            MYSQL_DEADLOCK | MYSQL_LOCK_WAIT | MYSQL_CHANGED => Fault::Again(text),
            number if MYSQL_AWAY.contains(&number) => Fault::Lost(text),
            _ => Fault::Refused(text),
        };
    }
    let code = error.code().unwrap_or_default();
    match &*code {
        // PostgreSQL: serialization failure, dead-lock, lock not available, cancelled.
        "40001" | "40P01" | "55P03" | "57014" => Fault::Again(text),
        // Too many connections; shutting down, crashed, starting up; a standby.
        "53300" | "57P01" | "57P02" | "57P03" | "25006" => Fault::Lost(text),
        code if code.len() == 5 && code.starts_with("08") => Fault::Lost(text),
        // SQLite: busy, locked, and their extended codes.
        "5" | "6" | "261" | "262" | "517" => Fault::Again(text),
        _ => Fault::Refused(text),
    }
}

const MYSQL_LOCK_WAIT: u16 = 1205;
const MYSQL_DEADLOCK: u16 = 1213;
/// MariaDB with `innodb_snapshot_isolation`.
const MYSQL_CHANGED: u16 = 1020;
/// Too many connections (also of this user); shutting down; connection killed; read-only, as a server is that was
/// primary until now.
const MYSQL_AWAY: [u16; 8] = [1040, 1203, 1226, 1053, 1927, 1290, 1836, 1792];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_never_shown_with_its_password() {
        let url = DatabaseUrl::parse("mysql://u:se@cret@h:3306/d?ssl-mode=disabled");
        assert_eq!(
            url.map(|url| url.to_string()),
            Ok("mysql://h:3306/d".into())
        );
        for wrong in [
            "mysql://u:secret@h:3306",
            "redis://u:secret@h",
            "mysql://u:secret@h:x/d",
        ] {
            let error = DatabaseUrl::parse(wrong).expect_err(wrong);
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn each_statement_gives_one_result() {
        runtime().expect("a runtime").block_on(async {
            let url = DatabaseUrl::parse("sqlite::memory:").expect("a URL");
            let mut link = Link::open(&url, Duration::from_secs(60))
                .await
                .expect("opens");
            let sql = "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT); BEGIN IMMEDIATE; \
                       INSERT INTO t VALUES (1, 'x'), (2, NULL); SELECT a, b FROM t ORDER BY a; \
                       UPDATE t SET b = 'y' WHERE a > 5; COMMIT";
            let results = link.run(sql).await.expect("runs");
            let affected: Vec<u64> = results.iter().map(|rows| rows.affected).collect();
            assert_eq!(results.len(), 6, "{results:?}");
            assert_eq!((affected[2], affected[4]), (2, 0));
            let text = |text: &str| Some(text.to_owned());
            assert_eq!(results[3].rows, [[text("1"), text("x")], [text("2"), None]]);
            let again = link.run("INSERT INTO t VALUES (1, 'z')").await;
            assert!(matches!(again, Err(Fault::Duplicate(_))), "{again:?}");
            assert_eq!(link.counts().round_trips, 2);
            link.close().await;
        });
    }
}
