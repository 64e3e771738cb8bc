//! The tables of the store: their definitions, what makes or completes them, and what is checked at start.
//!
//! - [`script`] shows the definitions;
//! - [`apply_to`] makes what is missing. It never narrows, drops or rewrites anything, so it may be run beside
//!   coordinators that work, also Java's;
//! - [`inspect_at`] says whether a coordinator can work with what is there, and how long texts may be.
//!
//! The tables of Java Seata are as coordinator.md 4.2 says; those whose names begin with `seamio_` are ours. The manual's
//! page [`sql_store`](crate::manual::sql_store) lists all of them.

mod applying;
mod catalog;
mod ddl;
mod limits;
mod tables;
mod verdict;

use std::fmt;
use std::time::Duration;

pub use applying::{Applied, TableApplied};
pub use limits::{Limits, Width};

use super::connection::{DatabaseUrl, Fault, Link, runtime};
use super::dialect::Dialect;
use catalog::Catalog;

/// What a coordinator can work with.
#[derive(Clone, Debug)]
pub struct Schema {
    /// Product and version of the server, for people.
    pub product: String,
    /// How long texts may be. A longer one has to be refused: it would not be kept whole.
    pub limits: Limits,
    /// Whether rows are told apart as Java's strings are.
    pub row_keys: RowKeys,
    /// What the operator should know.
    pub warnings: Vec<Problem>,
}

/// When two keys in `lock_table` are one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowKeys {
    /// Only when all their characters are the same.
    Exact,
    /// Also when case or blanks at the end differ, as the collation of the column has it: the database may call a key
    /// taken that was not found under the text that was asked for.
    Folded,
}

/// One sentence: what is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(String);

/// Why a schema could not be used or completed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The database cannot be reached, or did not do what it was asked. Ask again later, or do what the text says.
    Database(String),
    /// A coordinator cannot work with what is there; each problem says what to do.
    Unfit(Vec<Problem>),
}

/// The definitions of all tables, as text for the command line of the database: of `mysql`, `mariadb`, `postgres`,
/// `postgresql` or `sqlite`, or of the database that a URL leads to, which is not connected to.
///
/// # Errors
/// Says what was expected; never repeats a URL, which may hold a password.
pub fn script(database: &str) -> Result<String, String> {
    let scheme = database.split("://").next().unwrap_or_default();
    let dialect = match scheme.to_ascii_lowercase().as_str() {
        "mysql" | "mariadb" => Dialect::MySql,
        "postgres" | "postgresql" => Dialect::Postgres,
        "sqlite" => Dialect::Sqlite,
        _ => return Err("expected mysql, postgres, sqlite or a URL of one of them".to_owned()),
    };
    Ok(ddl::script(dialect))
}

/// Makes the tables, columns, indexes and first rows that are missing, and says what it did and what is left. Blocks,
/// over a connection of its own.
///
/// # Errors
/// [`Error::Database`]; what was made until then stays, and the same call goes on from there.
pub fn apply_to(url: &DatabaseUrl) -> Result<Applied, Error> {
    alone(url, APPLY_WITHIN, async |link| apply(link).await)
}

/// Whether a coordinator can work with the database, and what the operator should know. Blocks, over a connection of its
/// own. Writes nothing.
///
/// # Errors
/// See [`Error`].
pub fn inspect_at(url: &DatabaseUrl) -> Result<Schema, Error> {
    alone(url, INSPECT_WITHIN, async |link| inspect(link).await)?.map_err(Error::Unfit)
}

/// As [`apply_to`], over a connection that is there.
pub(crate) async fn apply(link: &mut Link) -> Result<Applied, Fault> {
    applying::apply(link).await
}

/// Whether a coordinator can work with what is there: the server, the tables, their columns, keys and engines, and
/// whether they can be written.
///
/// # Errors
/// The outer one when the database did not answer, the inner one with everything that is wrong.
pub(crate) async fn inspect(link: &mut Link) -> Result<Result<Schema, Vec<Problem>>, Fault> {
    let catalog = Catalog::read(link).await?;
    let mut verdict = verdict::judge(&catalog, link.dialect());
    if verdict.problems.is_empty() {
        verdict.problems = verdict::probe(link).await?;
    }
    if !verdict.problems.is_empty() {
        return Ok(Err(verdict.problems));
    }
    Ok(Ok(Schema {
        limits: Limits::of(&catalog, link.dialect()),
        row_keys: verdict::row_keys(&catalog),
        product: catalog.server.product,
        warnings: verdict.warnings,
    }))
}

/// Runs something over a connection that is there for it alone.
fn alone<T>(
    url: &DatabaseUrl,
    within: Duration,
    work: impl AsyncFnOnce(&mut Link) -> Result<T, Fault>,
) -> Result<T, Error> {
    let told = |fault: Fault| Error::Database(fault.text().to_owned());
    let runtime = runtime().map_err(|error| Error::Database(error.to_string()))?;
    runtime.block_on(async {
        let mut link = Link::open(url, within).await.map_err(told)?;
        let done = work(&mut link).await;
        link.close().await;
        done.map_err(told)
    })
}

impl Problem {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(text) => f.write_str(text),
            Self::Unfit(problems) => {
                f.write_str("a coordinator cannot work with what is there:")?;
                problems
                    .iter()
                    .try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for Error {}

/// An index on a large table takes its time.
const APPLY_WITHIN: Duration = Duration::from_secs(600);
const INSPECT_WITHIN: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::tables::{Kind, Owner, TABLES, table};
    use super::*;

    const ALL: [Dialect; 3] = [Dialect::MySql, Dialect::Postgres, Dialect::Sqlite];

    /// coordinator.md 4.2, each table with its columns.
    const JAVA: &[(&str, &str)] = &[
        (
            "global_table",
            "xid transaction_id status application_id transaction_service_group transaction_name timeout \
             begin_time application_data gmt_create gmt_modified",
        ),
        (
            "branch_table",
            "branch_id xid transaction_id resource_group_id resource_id branch_type status client_id \
             application_data gmt_create gmt_modified",
        ),
        (
            "lock_table",
            "row_key xid transaction_id branch_id resource_id table_name pk status gmt_create gmt_modified",
        ),
        ("distributed_lock", "lock_key lock_value expire"),
        ("vgroup_table", "vGroup namespace cluster"),
    ];

    #[test]
    fn every_table_and_column_of_java_is_there() {
        for (name, columns) in JAVA {
            let table = table(name).expect(name);
            assert_eq!(table.owner, Owner::Java);
            let ours: Vec<_> = table.columns.iter().map(|column| column.name).collect();
            assert_eq!(
                ours,
                columns.split_whitespace().collect::<Vec<_>>(),
                "{name}"
            );
        }
        let ours = TABLES.iter().filter(|table| table.owner == Owner::Seamio);
        for table in ours {
            assert!(table.name.starts_with("seamio_"), "{}", table.name);
        }
    }

    #[test]
    fn no_text_is_narrower_than_javas() {
        for (name, column, least) in [
            ("global_table", "xid", 128),
            ("global_table", "application_id", 128),
            ("global_table", "transaction_service_group", 128),
            ("global_table", "transaction_name", 128),
            ("branch_table", "xid", 128),
            ("branch_table", "resource_group_id", 32),
            ("branch_table", "resource_id", 512),
            ("branch_table", "branch_type", 8),
            ("branch_table", "client_id", 255),
            ("lock_table", "row_key", 512),
            ("lock_table", "xid", 128),
            ("lock_table", "resource_id", 512),
            ("lock_table", "table_name", 128),
            ("lock_table", "pk", 512),
            ("distributed_lock", "lock_key", 20),
            ("distributed_lock", "lock_value", 64),
            ("vgroup_table", "vGroup", 255),
        ] {
            let found = table(name).and_then(|table| table.column(column));
            let Some(Kind::Text(characters)) = found.map(|column| column.kind) else {
                panic!("{name}.{column} is no text");
            };
            assert!(characters >= least, "{name}.{column}");
        }
    }

    #[test]
    fn keys_and_indexes_are_of_columns_that_are_there() {
        for table in TABLES {
            let indexed = table.indexes.iter().flat_map(|index| index.columns);
            for column in table.key.iter().chain(table.unique_on_mysql).chain(indexed) {
                assert!(table.column(column).is_some(), "{}.{column}", table.name);
            }
        }
        let lock = table("lock_table").expect("there");
        let by_xid = |index: &tables::Index| index.columns == ["xid"];
        assert!(lock.indexes.iter().any(by_xid), "releasing goes by xid");
    }

    #[test]
    fn mysql_can_index_every_key() {
        // InnoDB takes 3072 bytes, four for a character.
        for table in TABLES {
            let indexes = table.indexes.iter().map(|index| index.columns);
            for columns in indexes.chain([table.identity(Dialect::MySql)]) {
                let characters = columns.iter().map(|name| match table.column(name) {
                    // Java's own width; it fits because MySQL counts three bytes there or takes the longer rows.
                    _ if table.name == "vgroup_table" => 0,
                    Some(column) => match column.kind {
                        Kind::Text(characters) => characters,
                        _ => 2,
                    },
                    None => unreachable!("checked above"),
                });
                assert!(
                    characters.sum::<u32>() * 4 <= 3072,
                    "{} {columns:?}",
                    table.name
                );
            }
        }
    }

    #[test]
    fn a_script_has_every_table_and_column() {
        for dialect in ALL {
            let text = ddl::script(dialect);
            for table in TABLES {
                assert!(text.contains(&format!("CREATE TABLE IF NOT EXISTS {} (", table.name)));
                for column in table.columns {
                    let definition = ddl::definition(column, dialect);
                    assert!(
                        text.contains(&format!("\n  {definition},\n")),
                        "{definition}"
                    );
                }
                for index in table.indexes {
                    assert!(text.contains(&index.name(table, dialect)), "{}", table.name);
                }
            }
            for seed in [
                "AsyncCommitting",
                "RetryCommitting",
                "RetryRollbacking",
                "TxTimeoutCheck",
            ] {
                assert!(text.contains(&format!("('{seed}', ' ', 0)")), "{seed}");
            }
        }
    }

    #[test]
    fn a_script_is_found_by_name_or_url_and_no_url_is_repeated() {
        let mysql = script("mysql").expect("known");
        assert!(mysql.contains("ENGINE = InnoDB") && mysql.contains("utf8mb4"));
        for same in ["MariaDB", "mysql://u:p@h/d", "mariadb://h/d"] {
            assert_eq!(script(same).as_ref(), Ok(&mysql), "{same}");
        }
        assert_eq!(script("postgres"), script("postgresql://h/d"));
        assert!(script("sqlite://f").is_ok_and(|text| text.contains("WITHOUT ROWID")));
        let error = script("redis://u:secret@h").expect_err("unknown");
        assert!(!error.contains("secret"), "{error}");
    }
}
