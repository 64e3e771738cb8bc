//! The databases that AT knows, each behind one trait: what they are asked and how they answer.
//!
//! | module | what lives there |
//! |---|---|
//! | `mysql` | MySQL and MariaDB |
//! | `postgres` | PostgreSQL |
//! | `sqlite` | SQLite |
//!
//! Everything above works with any of them and names none.

use std::fmt;

use futures_core::future::BoxFuture;
use sqlx::{Either, SqlStr};

use super::meta::{ColumnMeta, TableMeta};
use super::session::Setting;
use super::statement::{Dialect, Returning};
use super::value::Value;

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "mysql")]
mod mysql_tables;
#[cfg(feature = "mysql")]
mod mysql_values;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod postgres_binary;
#[cfg(feature = "postgres")]
mod postgres_tables;
#[cfg(feature = "postgres")]
mod postgres_values;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "sqlite")]
mod sqlite_tables;

/// A database of sqlx that AT knows: `sqlx::MySql` (feature `mysql`), `sqlx::Postgres` (feature `postgres`), `sqlx::Sqlite`
/// (feature `sqlite`).
///
/// Nobody else can implement it: what is undone has to be known exactly.
pub trait Database: driver::Driver {}

pub(super) use driver::Driver;

/// Keeps the trait sealed: its methods are ours, and may change.
mod driver {
    use super::*;

    /// What AT asks of a database.
    pub trait Driver: sqlx::Database<Arguments: Clone + Sync> + Sync {
        /// Its SQL.
        const DIALECT: Dialect;

        /// How a local transaction begins.
        const BEGIN: &'static str;

        /// What its statements and values depend on.
        const SETTINGS: &'static [Setting];

        /// Runs one statement and collects all it answers.
        fn run(
            conn: &mut Self::Connection,
            statement: Bound<Self>,
        ) -> BoxFuture<'_, Result<Answer<Self>, sqlx::Error>>;

        /// As `Executor::prepare_with`.
        fn prepare<'e>(
            conn: &'e mut Self::Connection,
            sql: SqlStr,
            parameters: &'e [Self::TypeInfo],
        ) -> BoxFuture<'e, Result<Self::Statement, sqlx::Error>>;

        /// As `Executor::describe`.
        fn describe(
            conn: &mut Self::Connection,
            sql: SqlStr,
        ) -> BoxFuture<'_, Result<sqlx::Describe<Self>, sqlx::Error>>;

        /// Rows that a statement changed, or found to change.
        fn rows_affected(result: &Self::QueryResult) -> u64;

        /// The first key that the database counted for the last INSERT, where it says so.
        fn last_insert_id(result: &Self::QueryResult) -> Option<i64>;

        /// Describes a table; None when there is none of that name.
        fn table<'e>(
            conn: &'e mut Self::Connection,
            name: &'e TableName,
        ) -> BoxFuture<'e, Result<Option<TableMeta>, sqlx::Error>>;

        /// What has to be known of the server.
        fn server(conn: &mut Self::Connection) -> BoxFuture<'_, Result<Server, sqlx::Error>>;

        /// Appends a plain value to the parameters.
        fn add(arguments: &mut Self::Arguments, value: Plain<'_>) -> Result<(), sqlx::Error>;

        /// A column of a row as a plain value.
        fn get(row: &Self::Row, index: usize) -> Result<Stored, sqlx::Error>;

        /// A column of a row as a truth value.
        fn get_truth(row: &Self::Row, index: usize) -> Result<bool, sqlx::Error>;

        /// Wraps a query for images where a column's own form cannot be read back in full.
        fn image_query(sql: String, columns: &[&ColumnMeta]) -> String;

        /// Reads the value of a column in an image, losing nothing.
        fn read(row: &Self::Row, index: usize, column: &ColumnMeta) -> Result<Value, sqlx::Error>;

        /// Appends a value of an image to the parameters, so that the column gets it back exactly.
        fn bind(
            arguments: &mut Self::Arguments,
            value: &Value,
            column: &ColumnMeta,
        ) -> Result<(), sqlx::Error>;

        /// What a failed statement left of its transaction.
        fn aftermath(error: &sqlx::Error) -> Aftermath;

        /// Whether a failed COMMIT may have committed.
        fn commit_failure(error: &sqlx::Error) -> CommitFailure;

        /// Whether the database gave up one of several transactions that waited for each other, or waited too long.
        fn is_deadlock(error: &sqlx::Error) -> bool;
    }
}

/// A statement with its parameters.
#[cfg_attr(
    not(any(feature = "mysql", feature = "postgres", feature = "sqlite")),
    allow(dead_code)
)]
pub struct Bound<DB: sqlx::Database> {
    /// The text.
    pub(super) sql: SqlStr,
    /// None: no preparation, answers as text.
    pub(super) arguments: Option<DB::Arguments>,
    /// Whether it is worth keeping.
    pub(super) reuse: Reuse,
}

/// Whether a statement is kept prepared on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reuse {
    /// It will come again.
    Kept,
    /// It depends on the number of rows, or comes once.
    Once,
}

/// How many places a list of so many values gets in a statement: the next power of two, so that few texts serve all lists and each
/// stays prepared. The last value fills what is left.
///
/// A statement that is not kept costs more than its preparation: MySQL does not answer when one is closed, and where the driver
/// leaves Nagle's algorithm on, what is sent next waits for the server's delayed acknowledgement, 40 ms.
pub(super) fn places_for(values: usize, most: usize) -> usize {
    let rest = values % most;
    match rest {
        0 => values,
        rest => values - rest + rest.next_power_of_two().min(most),
    }
}

/// All that a statement answered, in order.
pub struct Answer<DB: sqlx::Database> {
    pub(super) steps: Vec<Either<DB::QueryResult, DB::Row>>,
}

impl<DB: Driver> Answer<DB> {
    /// The rows.
    pub(super) fn rows(&self) -> impl Iterator<Item = &DB::Row> {
        self.steps.iter().filter_map(|step| match step {
            Either::Left(_) => None,
            Either::Right(row) => Some(row),
        })
    }

    /// Rows that were changed, or found to change.
    pub(super) fn affected(&self) -> u64 {
        let results = self.steps.iter().filter_map(|step| match step {
            Either::Left(result) => Some(DB::rows_affected(result)),
            Either::Right(_) => None,
        });
        results.sum()
    }

    /// The first key that the database counted.
    pub(super) fn last_insert_id(&self) -> Option<i64> {
        self.steps.iter().rev().find_map(|step| match step {
            Either::Left(result) => DB::last_insert_id(result),
            Either::Right(_) => None,
        })
    }
}

/// A table as a statement names it: in the spelling that the database looks up, without quotes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TableName {
    /// Where the statement said it.
    pub schema: Option<String>,
    /// The table.
    pub name: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// What has to be known of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// As it says it.
    pub(super) version: String,
    /// Whether INSERT takes RETURNING.
    pub(super) returning: Returning,
    /// The longest message it takes, in bytes, where it has such a limit.
    pub(super) packet_max: Option<usize>,
}

/// A parameter of a statement of ours.
#[derive(Clone, Copy, Debug)]
pub enum Plain<'a> {
    /// A number.
    Integer(i64),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

/// An answer to a statement of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// NULL.
    Null,
    /// A number.
    Integer(i64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Stored {
    /// As a number; None for anything else.
    pub(super) fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// As bytes, of text its UTF-8; None for anything else.
    pub(super) fn into_bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => Some(text.into_bytes()),
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// What a failed statement left of its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aftermath {
    /// The statement did nothing; the transaction goes on.
    Continues,
    /// The transaction goes on, unless the database ended it without saying so.
    Unsure,
    /// It can only be rolled back, or is already.
    Ended,
}

/// What a failed COMMIT did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitFailure {
    /// Nothing: the database said no.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// Implements the methods that are the same text for every database, since sqlx's executors are connections of one each.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
macro_rules! run_on_connection {
    () => {
        fn run(
            conn: &mut Self::Connection,
            statement: Bound<Self>,
        ) -> BoxFuture<'_, Result<Answer<Self>, sqlx::Error>> {
            Box::pin(async move {
                let mut steps = Vec::new();
                let mut answers = match statement.arguments {
                    Some(arguments) => {
                        let query = sqlx::query_with(statement.sql, arguments);
                        conn.fetch_many(query.persistent(statement.reuse == Reuse::Kept))
                    }
                    None => conn.fetch_many(sqlx::raw_sql(statement.sql)),
                };
                while let Some(step) = next(&mut answers).await {
                    steps.push(step?);
                }
                drop(answers);
                Ok(Answer { steps })
            })
        }

        fn prepare<'e>(
            conn: &'e mut Self::Connection,
            sql: SqlStr,
            parameters: &'e [Self::TypeInfo],
        ) -> BoxFuture<'e, Result<Self::Statement, sqlx::Error>> {
            conn.prepare_with(sql, parameters)
        }

        fn describe(
            conn: &mut Self::Connection,
            sql: SqlStr,
        ) -> BoxFuture<'_, Result<sqlx::Describe<Self>, sqlx::Error>> {
            Executor::describe(conn, sql)
        }
    };
}
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
use run_on_connection;

/// The next item of a stream.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
async fn next<S: futures_core::Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    std::future::poll_fn(|cx| std::pin::Pin::new(&mut *stream).poll_next(cx)).await
}

/// The code of a database's own error, if it is one.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
fn code(error: &sqlx::Error) -> Option<String> {
    match error {
        sqlx::Error::Database(error) => error.code().map(|code| code.into_owned()),
        _ => None,
    }
}

/// The complaint about a value that a database of this kind cannot have given.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
fn unbindable(value: &Value, database: &str) -> sqlx::error::BoxDynError {
    let kind = value.kind();
    format!("{database} has no place for {kind}: the undo log was written for another database")
        .into()
}

#[cfg(test)]
mod tests {
    use super::places_for;

    #[test]
    fn few_lengths_serve_all_lists() {
        let lengths = [0, 1, 2, 3, 5, 8, 9, 600, 1000, 1001, 2000, 2700];
        let places = [0, 1, 2, 4, 8, 8, 16, 1000, 1000, 1001, 2000, 3000];
        assert_eq!(lengths.map(|values| places_for(values, 1000)), places);
        assert_eq!(places_for(200, usize::MAX), 256);
    }
}
