//! Completing a schema: what is missing is made, what is there stays as it is.

use std::fmt;

use super::super::connection::{Fault, Link};
use super::super::dialect::Dialect;
use super::catalog::{Catalog, FoundTable};
use super::tables::{Rule, TABLES, Table};
use super::{Problem, ddl, verdict};

/// What was done and what is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Each table, in the order in which they are made; empty when the server is not fit for any.
    pub tables: Vec<TableApplied>,
    /// What keeps a coordinator from working and only a person can change.
    pub left: Vec<Problem>,
    /// What the operator should know.
    pub warnings: Vec<Problem>,
}

/// What was done to a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableApplied {
    /// Its name.
    pub name: &'static str,
    /// Each change in a few words; empty when there was nothing to do.
    pub changes: Vec<String>,
}

impl fmt::Display for TableApplied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changes = match self.changes.as_slice() {
            [] => "nothing to do".to_owned(),
            changes => changes.join(", "),
        };
        write!(f, "{}: {changes}", self.name)
    }
}

pub(super) async fn apply(link: &mut Link) -> Result<Applied, Fault> {
    let dialect = link.dialect();
    enter(link).await?;
    let before = Catalog::read(link).await?;
    let mut tables = Vec::new();
    let server = &before.server;
    if server.too_old.is_none() && server.nowhere.is_none() && server.read_only.is_empty() {
        for table in TABLES {
            let changes = match before.table(table.name) {
                None => {
                    for statement in ddl::create(table, dialect) {
                        link.run(&statement).await?;
                    }
                    vec!["made".to_owned()]
                }
                // The verdict below says what is wrong with it.
                Some(found) if found.unfit.is_some() || !is_ours(table, found) => Vec::new(),
                Some(found) => complete(link, table, found).await?,
            };
            tables.push(TableApplied {
                name: table.name,
                changes,
            });
        }
    }
    let after = Catalog::read(link).await?;
    leave(link).await?;
    let verdict = verdict::judge(&after, dialect);
    Ok(Applied {
        tables,
        left: verdict.problems,
        warnings: verdict.warnings,
    })
}

/// Whether the table is what its name says: it has the columns whose values nobody could make up.
fn is_ours(table: &Table, found: &FoundTable) -> bool {
    let mut needed = table.columns.iter().filter(|c| c.rule == Rule::Needed);
    needed.all(|column| found.column(column.name).is_some())
}

/// Adds the columns, indexes and rows that a table has not.
async fn complete(
    link: &mut Link,
    table: &Table,
    found: &FoundTable,
) -> Result<Vec<String>, Fault> {
    let dialect = link.dialect();
    let mut changes = Vec::new();
    for column in table.columns {
        if found.column(column.name).is_none() {
            link.run(&ddl::add_column(table, column, dialect)).await?;
            changes.push(format!("column {} added", column.name));
        }
    }
    for index in table.indexes {
        if found.has_index(index.columns) {
            continue;
        }
        let own = index.name(table, dialect);
        let taken = found
            .indexes
            .iter()
            .any(|i| i.name.eq_ignore_ascii_case(&own));
        let name = if taken { format!("{own}_seamio") } else { own };
        let sql = ddl::create_index(table, index, dialect, Some(name.clone()));
        link.run(&sql).await?;
        changes.push(format!("index {name} added"));
    }
    if let Some(sql) = ddl::seeds(table, dialect) {
        let done = link.run(&sql).await?;
        let rows: u64 = done.iter().map(|rows| rows.affected).sum();
        if rows > 0 {
            changes.push(format!("{rows} rows added"));
        }
    }
    Ok(changes)
}

/// One at a time: tables that two make at once are an error in PostgreSQL. The lock goes with the connection.
async fn enter(link: &mut Link) -> Result<(), Fault> {
    let busy = || Fault::Again("another `seamio schema apply` works on this database".to_owned());
    match link.dialect() {
        Dialect::MySql => {
            // Waiting for the transactions that use a table has no end by default.
            let sql =
                format!("SET SESSION lock_wait_timeout = 30; SELECT GET_LOCK({MYSQL_LOCK}, 30)");
            let got = link.run(&sql).await?.pop().unwrap_or_default();
            let got = got
                .rows
                .first()
                .and_then(|row| row.first().cloned().flatten());
            (got.as_deref() == Some("1")).then_some(()).ok_or_else(busy)
        }
        Dialect::Postgres => match link
            .run(&format!("SELECT pg_advisory_lock({POSTGRES_LOCK})"))
            .await
        {
            Err(Fault::Again(_)) => Err(busy()),
            other => other.map(drop),
        },
        Dialect::Sqlite => Ok(()),
    }
}

async fn leave(link: &mut Link) -> Result<(), Fault> {
    let sql = match link.dialect() {
        Dialect::MySql => format!("SELECT RELEASE_LOCK({MYSQL_LOCK})"),
        Dialect::Postgres => format!("SELECT pg_advisory_unlock({POSTGRES_LOCK})"),
        Dialect::Sqlite => return Ok(()),
    };
    link.run(&sql).await.map(drop)
}

const MYSQL_LOCK: &str = "CONCAT('seamio schema ', SHA1(DATABASE()))";
/// "seamio" in the digits of its letters.
const POSTGRES_LOCK: i64 = 0x7365_616d_696f;
