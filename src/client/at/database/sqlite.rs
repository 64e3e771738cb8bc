//! SQLite.

use futures_core::future::BoxFuture;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteQueryResult, SqliteRow};
use sqlx::{Arguments, Executor, Row, SqlStr, TypeInfo, ValueRef};

use super::sqlite_tables;
use super::{
    Aftermath, Answer, Bound, CommitFailure, Database, Driver, Plain, Reuse, Server, Stored,
    TableName, code, next, run_on_connection, unbindable,
};
use crate::client::at::meta::{ColumnMeta, TableMeta};
use crate::client::at::session::Setting;
use crate::client::at::statement::{Dialect, Returning};
use crate::client::at::value::Value;

impl Database for Sqlite {}

impl Driver for Sqlite {
    const DIALECT: Dialect = Dialect::Sqlite;

    /// Without it a transaction that has read cannot write after another one wrote.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";

    /// Its statements are read one way only, and its values have no form of the session.
    const SETTINGS: &'static [Setting] = &[];

    run_on_connection!();

    fn rows_affected(result: &SqliteQueryResult) -> u64 {
        result.rows_affected()
    }

    fn last_insert_id(result: &SqliteQueryResult) -> Option<i64> {
        Some(result.last_insert_rowid()).filter(|id| *id != 0)
    }

    fn table<'e>(
        conn: &'e mut Self::Connection,
        name: &'e TableName,
    ) -> BoxFuture<'e, Result<Option<TableMeta>, sqlx::Error>> {
        Box::pin(sqlite_tables::describe(conn, name))
    }

    fn server(conn: &mut Self::Connection) -> BoxFuture<'_, Result<Server, sqlx::Error>> {
        Box::pin(async move {
            let version: String = sqlx::query_scalar("SELECT sqlite_version()")
                .fetch_one(conn)
                .await?;
            let mut numbers = version
                .split('.')
                .map(|part| part.parse::<u32>().unwrap_or(0));
            let number = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
            Ok(Server {
                returning: match number >= (3, 35) {
                    true => Returning::Supported,
                    false => Returning::Unsupported,
                },
                version,
                packet_max: None,
            })
        })
    }

    fn add(arguments: &mut SqliteArguments, value: Plain<'_>) -> Result<(), sqlx::Error> {
        let added = match value {
            Plain::Integer(number) => arguments.add(number),
            Plain::Text(text) => arguments.add(text),
            Plain::Bytes(bytes) => arguments.add(bytes),
        };
        added.map_err(sqlx::Error::Encode)
    }

    fn get(row: &SqliteRow, index: usize) -> Result<Stored, sqlx::Error> {
        Ok(match class(row, index)?.as_str() {
            "NULL" => Stored::Null,
            "INTEGER" => Stored::Integer(row.try_get_unchecked(index)?),
            "BLOB" => Stored::Bytes(row.try_get_unchecked(index)?),
            _ => Stored::Text(row.try_get_unchecked(index)?),
        })
    }

    fn get_truth(row: &SqliteRow, index: usize) -> Result<bool, sqlx::Error> {
        row.try_get_unchecked(index)
    }

    fn image_query(sql: String, _: &[&ColumnMeta]) -> String {
        sql
    }

    /// The storage class of the value counts, not the type of the column.
    fn read(row: &SqliteRow, index: usize, _: &ColumnMeta) -> Result<Value, sqlx::Error> {
        Ok(match class(row, index)?.as_str() {
            "NULL" => Value::Null,
            "REAL" => Value::Double(row.try_get_unchecked(index)?),
            "BLOB" => Value::Bytes(row.try_get_unchecked(index)?),
            "TEXT" => Value::Text(row.try_get_unchecked(index)?),
            _ => Value::BigInt(row.try_get_unchecked(index)?),
        })
    }

    fn bind(
        arguments: &mut SqliteArguments,
        value: &Value,
        _: &ColumnMeta,
    ) -> Result<(), sqlx::Error> {
        let added = match value {
            Value::Null => arguments.add(None::<i64>),
            Value::Bool(truth) => arguments.add(i64::from(*truth)),
            Value::Int(number) => arguments.add(*number),
            Value::BigInt(number) => arguments.add(*number),
            Value::Year(year) => arguments.add(i64::from(*year)),
            Value::Float(number) => arguments.add(f64::from(*number)),
            Value::Double(number) => arguments.add(*number),
            Value::Text(text) => arguments.add(text.as_str()),
            Value::Bytes(bytes) => arguments.add(bytes.as_slice()),
            other => Err(unbindable(other, "SQLite")),
        };
        added.map_err(sqlx::Error::Encode)
    }

    fn aftermath(error: &sqlx::Error) -> Aftermath {
        let primary = code(error).and_then(|code| code.parse::<u32>().ok());
        match primary.map(|code| code & 0xff) {
            // A wrong statement, a wrong type, too long.
            Some(1 | 18 | 20 | 25) => Aftermath::Continues,
            // A constraint: with ON CONFLICT ROLLBACK in the table's definition the whole transaction is gone.
            Some(19) => Aftermath::Unsure,
            _ => Aftermath::Ended,
        }
    }

    fn commit_failure(error: &sqlx::Error) -> CommitFailure {
        let primary = code(error).and_then(|code| code.parse::<u32>().ok());
        match primary.map(|code| code & 0xff) {
            // Busy, locked, a deferred constraint: the transaction is still open.
            Some(5 | 6 | 19) => CommitFailure::Refused,
            _ => CommitFailure::Unknown,
        }
    }

    fn is_deadlock(error: &sqlx::Error) -> bool {
        let primary = code(error).and_then(|code| code.parse::<u32>().ok());
        matches!(primary.map(|code| code & 0xff), Some(5 | 6))
    }
}

/// The storage class of a value; `type_info` alone tells the column's type for NULL.
fn class(row: &SqliteRow, index: usize) -> Result<String, sqlx::Error> {
    let value = row.try_get_raw(index)?;
    Ok(match value.is_null() {
        true => "NULL".to_owned(),
        false => value.type_info().name().to_owned(),
    })
}
