//! MySQL and MariaDB.

use futures_core::future::BoxFuture;
use sqlx::mysql::{MySql, MySqlArguments, MySqlDatabaseError, MySqlQueryResult, MySqlRow};
use sqlx::{Arguments, Executor, Row, SqlStr};

use super::mysql_tables;
use super::mysql_values;
use super::{
    Aftermath, Answer, Bound, CommitFailure, Database, Driver, Plain, Reuse, Server, Stored,
    TableName, next, run_on_connection,
};
use crate::client::at::meta::{ColumnMeta, TableMeta};
use crate::client::at::session::{Rule, Setting, ZONE};
use crate::client::at::statement::{Dialect, Returning};
use crate::client::at::value::Value;

impl Database for MySql {}

impl Driver for MySql {
    const DIALECT: Dialect = Dialect::MySql;

    const BEGIN: &'static str = "BEGIN";

    const SETTINGS: &'static [Setting] = &SETTINGS;

    run_on_connection!();

    fn rows_affected(result: &MySqlQueryResult) -> u64 {
        result.rows_affected()
    }

    fn last_insert_id(result: &MySqlQueryResult) -> Option<i64> {
        i64::try_from(result.last_insert_id())
            .ok()
            .filter(|id| *id != 0)
    }

    fn table<'e>(
        conn: &'e mut Self::Connection,
        name: &'e TableName,
    ) -> BoxFuture<'e, Result<Option<TableMeta>, sqlx::Error>> {
        Box::pin(mysql_tables::describe(conn, name))
    }

    fn server(conn: &mut Self::Connection) -> BoxFuture<'_, Result<Server, sqlx::Error>> {
        Box::pin(async move {
            let row = sqlx::query("SELECT VERSION(), @@max_allowed_packet")
                .fetch_one(conn)
                .await?;
            let version: String = row.try_get_unchecked(0)?;
            let packet_max: u64 = row.try_get_unchecked(1)?;
            Ok(Server {
                returning: returning(&version),
                version,
                packet_max: usize::try_from(packet_max).ok(),
            })
        })
    }

    fn add(arguments: &mut MySqlArguments, value: Plain<'_>) -> Result<(), sqlx::Error> {
        let added = match value {
            Plain::Integer(number) => arguments.add(number),
            Plain::Text(text) => Arguments::add(arguments, text),
            Plain::Bytes(bytes) => Arguments::add(arguments, bytes),
        };
        added.map_err(sqlx::Error::Encode)
    }

    fn get(row: &MySqlRow, index: usize) -> Result<Stored, sqlx::Error> {
        mysql_values::stored(row, index)
    }

    fn get_truth(row: &MySqlRow, index: usize) -> Result<bool, sqlx::Error> {
        row.try_get_unchecked(index)
    }

    fn image_query(sql: String, _: &[&ColumnMeta]) -> String {
        sql
    }

    fn read(row: &MySqlRow, index: usize, column: &ColumnMeta) -> Result<Value, sqlx::Error> {
        mysql_values::read(row, index, column)
    }

    fn bind(
        arguments: &mut MySqlArguments,
        value: &Value,
        column: &ColumnMeta,
    ) -> Result<(), sqlx::Error> {
        mysql_values::bind(arguments, value, column).map_err(sqlx::Error::Encode)
    }

    fn aftermath(error: &sqlx::Error) -> Aftermath {
        let Some((number, state)) = said(error) else {
            return Aftermath::Ended;
        };
        match number {
            // Deadlock, lock wait timeout, changed since the snapshot.
            1213 | 1205 | 1020 => Aftermath::Ended,
            // No default, a wrong value for a column, a check.
            1364 | 1366 | 3819 => Aftermath::Continues,
            _ => match state.get(..2) {
                // A wrong value, a constraint, a wrong statement.
                Some("22" | "23" | "42" | "21") => Aftermath::Continues,
                _ => Aftermath::Ended,
            },
        }
    }

    fn commit_failure(error: &sqlx::Error) -> CommitFailure {
        match said(error) {
            // Deadlock, which is also what a cluster answers to a commit that lost against another; the rollback of a group.
            Some((1213 | 1205 | 3101, _)) => CommitFailure::Refused,
            _ => CommitFailure::Unknown,
        }
    }

    fn is_deadlock(error: &sqlx::Error) -> bool {
        matches!(said(error), Some((1213 | 1205 | 1020, _)))
    }
}

/// What decides where literals end, in which form values come and go, which rows a query gives, and what a name means.
const SETTINGS: [Setting; 9] = [
    mode(
        "ANSI_QUOTES in sql_mode",
        "IF(FIND_IN_SET('ANSI_QUOTES', @@sql_mode) > 0, 'on', 'off')",
    ),
    mode(
        "NO_BACKSLASH_ESCAPES in sql_mode",
        "IF(FIND_IN_SET('NO_BACKSLASH_ESCAPES', @@sql_mode) > 0, 'on', 'off')",
    ),
    mode(
        "PAD_CHAR_TO_FULL_LENGTH in sql_mode",
        "IF(FIND_IN_SET('PAD_CHAR_TO_FULL_LENGTH', @@sql_mode) > 0, 'on', 'off')",
    ),
    mode(
        "ORACLE or EMPTY_STRING_IS_NULL in sql_mode",
        "IF(FIND_IN_SET('ORACLE', @@sql_mode) + FIND_IN_SET('EMPTY_STRING_IS_NULL', @@sql_mode) > 0, 'on', 'off')",
    ),
    mode(
        "a sql_select_limit",
        "IF(@@sql_select_limit >= 18446744073709551615, 'off', 'on')",
    ),
    mode("sql_auto_is_null", "IF(@@sql_auto_is_null, 'on', 'off')"),
    Setting {
        name: "character_set_client, _connection, _results",
        sql: "CONCAT_WS(', ', @@character_set_client, @@character_set_connection, @@character_set_results)",
        rule: Rule::Is("utf8mb4, utf8mb4, utf8mb4"),
    },
    Setting {
        name: ZONE,
        sql: "CASE WHEN @@time_zone IN ('+00:00', 'UTC', 'Etc/UTC') THEN 'UTC' \
              WHEN @@time_zone <> 'SYSTEM' THEN @@time_zone \
              WHEN @@system_time_zone = 'UTC' THEN 'UTC' \
              ELSE CONCAT('SYSTEM ', @@system_time_zone) END",
        rule: Rule::Same,
    },
    Setting {
        name: "the database",
        sql: "COALESCE(DATABASE(), 'none')",
        rule: Rule::Same,
    },
];

/// Something that is off as the server comes.
const fn mode(name: &'static str, sql: &'static str) -> Setting {
    Setting {
        name,
        sql,
        rule: Rule::Is("off"),
    }
}

/// Number and SQLSTATE of the server's own error.
fn said(error: &sqlx::Error) -> Option<(u16, &str)> {
    let sqlx::Error::Database(error) = error else {
        return None;
    };
    let error = error.try_downcast_ref::<MySqlDatabaseError>()?;
    Some((error.number(), error.code().unwrap_or_default()))
}

/// MariaDB has RETURNING since 10.5, MySQL has not.
fn returning(version: &str) -> Returning {
    let Some(before) = version.find("MariaDB") else {
        return Returning::Unsupported;
    };
    // Old clients are told a version of 5.5.5 in front.
    let head = version[..before].trim_end_matches('-');
    let head = head.rsplit_once("5.5.5-").map_or(head, |(_, rest)| rest);
    let mut numbers = head.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    match (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (10, 5) {
        true => Returning::Supported,
        false => Returning::Unsupported,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mariadb_returns() {
        assert_eq!(returning("8.0.36"), Returning::Unsupported);
        assert_eq!(returning("10.11.6-MariaDB-0+deb12u1"), Returning::Supported);
        assert_eq!(returning("5.5.5-10.4.1-MariaDB"), Returning::Unsupported);
        assert_eq!(returning("11.4.2-MariaDB"), Returning::Supported);
    }

    #[test]
    fn nobody_knows_what_a_lost_commit_did() {
        let lost = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert_eq!(MySql::commit_failure(&lost), CommitFailure::Unknown);
        assert_eq!(MySql::aftermath(&lost), Aftermath::Ended);
    }
}
