//! PostgreSQL.

use futures_core::future::BoxFuture;
use sqlx::postgres::{PgArguments, PgDatabaseError, PgQueryResult, PgRow, PgSeverity, Postgres};
use sqlx::{Arguments, Executor, Row, SqlStr};

use super::postgres_tables;
use super::postgres_values;
use super::{
    Aftermath, Answer, Bound, CommitFailure, Database, Driver, Plain, Reuse, Server, Stored,
    TableName, code, next, run_on_connection,
};
use crate::client::at::meta::{ColumnMeta, TableMeta};
use crate::client::at::session::{Rule, Setting};
use crate::client::at::statement::{Dialect, Returning};
use crate::client::at::value::Value;

impl Database for Postgres {}

/// What decides where literals end, in which form those values come and go that are not read in binary, and what a name means.
const SETTINGS: [Setting; 12] = [
    Setting {
        name: "standard_conforming_strings",
        sql: "current_setting('standard_conforming_strings')",
        rule: Rule::Is("on"),
    },
    Setting {
        name: "client_encoding",
        sql: "current_setting('client_encoding')",
        rule: Rule::Is("UTF8"),
    },
    Setting {
        name: "DateStyle",
        sql: "split_part(current_setting('DateStyle'), ',', 1)",
        rule: Rule::Is("ISO"),
    },
    Setting {
        name: "extra_float_digits",
        sql: "CASE WHEN current_setting('extra_float_digits')::int > 0 THEN '1 or more' \
              ELSE current_setting('extra_float_digits') END",
        rule: Rule::Is("1 or more"),
    },
    same("IntervalStyle", "current_setting('IntervalStyle')"),
    same("TimeZone", "current_setting('TimeZone')"),
    same("bytea_output", "current_setting('bytea_output')"),
    same("lc_monetary", "current_setting('lc_monetary')"),
    same("xmlbinary", "current_setting('xmlbinary')"),
    same("array_nulls", "current_setting('array_nulls')"),
    same("the database", "current_database()::text"),
    same("the schemas of search_path", "current_schemas(false)::text"),
];

const fn same(name: &'static str, sql: &'static str) -> Setting {
    Setting {
        name,
        sql,
        rule: Rule::Same,
    }
}

impl Driver for Postgres {
    const DIALECT: Dialect = Dialect::Postgres;

    const BEGIN: &'static str = "BEGIN";

    const SETTINGS: &'static [Setting] = &SETTINGS;

    run_on_connection!();

    fn rows_affected(result: &PgQueryResult) -> u64 {
        result.rows_affected()
    }

    fn last_insert_id(_: &PgQueryResult) -> Option<i64> {
        None
    }

    fn table<'e>(
        conn: &'e mut Self::Connection,
        name: &'e TableName,
    ) -> BoxFuture<'e, Result<Option<TableMeta>, sqlx::Error>> {
        Box::pin(postgres_tables::describe(conn, name))
    }

    fn server(conn: &mut Self::Connection) -> BoxFuture<'_, Result<Server, sqlx::Error>> {
        Box::pin(async move {
            let version = sqlx::query_scalar("SELECT current_setting('server_version')")
                .fetch_one(conn)
                .await?;
            Ok(Server {
                version,
                returning: Returning::Supported,
                packet_max: None,
            })
        })
    }

    fn add(arguments: &mut PgArguments, value: Plain<'_>) -> Result<(), sqlx::Error> {
        let added = match value {
            Plain::Integer(number) => arguments.add(number),
            Plain::Text(text) => Arguments::add(arguments, text),
            Plain::Bytes(bytes) => Arguments::add(arguments, bytes),
        };
        added.map_err(sqlx::Error::Encode)
    }

    fn get(row: &PgRow, index: usize) -> Result<Stored, sqlx::Error> {
        postgres_values::stored(row, index)
    }

    fn get_truth(row: &PgRow, index: usize) -> Result<bool, sqlx::Error> {
        row.try_get_unchecked(index)
    }

    fn image_query(sql: String, columns: &[&ColumnMeta]) -> String {
        postgres_values::image_query(sql, columns)
    }

    fn read(row: &PgRow, index: usize, column: &ColumnMeta) -> Result<Value, sqlx::Error> {
        postgres_values::read(row, index, column)
    }

    fn bind(
        arguments: &mut PgArguments,
        value: &Value,
        column: &ColumnMeta,
    ) -> Result<(), sqlx::Error> {
        postgres_values::bind(arguments, value, column).map_err(sqlx::Error::Encode)
    }

    /// Any error aborts the transaction.
    fn aftermath(_: &sqlx::Error) -> Aftermath {
        Aftermath::Ended
    }

    fn commit_failure(error: &sqlx::Error) -> CommitFailure {
        let sqlx::Error::Database(said) = error else {
            return CommitFailure::Unknown;
        };
        let Some(said) = said.try_downcast_ref::<PgDatabaseError>() else {
            return CommitFailure::Unknown;
        };
        // A connection that ends with the answer may have ended after the commit; 40003 says so of itself.
        let refused = said.severity() == PgSeverity::Error
            && matches!(said.code().get(..2), Some("23" | "40" | "25"))
            && said.code() != "40003";
        match refused {
            true => CommitFailure::Refused,
            false => CommitFailure::Unknown,
        }
    }

    fn is_deadlock(error: &sqlx::Error) -> bool {
        matches!(code(error).as_deref(), Some("40P01" | "40001" | "55P03"))
    }
}
