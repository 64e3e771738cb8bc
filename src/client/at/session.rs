//! What a connection's settings have to be, so that statements mean what is read and values are put back as they were.
//!
//! Some have one right value: with `ANSI_QUOTES`, text in double quotes is a name and the statement another one. Others only
//! have to be the same wherever a branch is done and undone: the database, the schemas that are searched. They are read once
//! from the pool. From then on the BEGIN of each branch and of each rollback carries a query that fails where they are others,
//! which costs no round trip.

use std::fmt::Write as _;

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use super::Error;
use super::database::{Database, Reuse};
use super::meta::TableMeta;
use super::statement::Dialect;
use super::undo_rows;

/// A setting that statements or values depend on.
#[cfg_attr(not(any(feature = "mysql", feature = "postgres")), allow(dead_code))]
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// What it is called in errors.
    pub(super) name: &'static str,
    /// The expression that gives it as text, and never NULL. It may not depend on any of the settings.
    pub(super) sql: &'static str,
    /// What it has to be.
    pub(super) rule: Rule,
}

/// What a setting has to be.
#[cfg_attr(not(any(feature = "mysql", feature = "postgres")), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// This.
    Is(&'static str),
    /// The same on all connections.
    Same,
}

/// The settings of a resource's connections, as its pool had them when it was prepared.
#[derive(Debug)]
pub(super) struct Session {
    values: Vec<String>,
    begin: SqlStr,
}

impl Session {
    /// Reads the settings, and refuses those that nothing could be read or undone with.
    pub(super) async fn of<DB: Database>(conn: &mut DB::Connection) -> Result<Self, Error> {
        let values = read::<DB>(conn).await.map_err(Error::Database)?;
        let wrong = DB::SETTINGS.iter().zip(&values).filter_map(wrong_alone);
        refuse(wrong.collect())?;
        let begin = match guard(DB::DIALECT, DB::SETTINGS, &values) {
            None => SqlStr::from_static(DB::BEGIN),
            Some(guard) => AssertSqlSafe(guarded(DB::DIALECT, DB::BEGIN, &guard)).into_sql_str(),
        };
        Ok(Self { values, begin })
    }

    /// How a local transaction begins: with an error of the database where the settings are others.
    pub(super) fn begin(&self) -> SqlStr {
        self.begin.clone()
    }

    /// Whether that can fail for the settings.
    pub(super) fn is_checked(&self) -> bool {
        !self.values.is_empty()
    }

    /// Says which settings of a connection are others.
    pub(super) async fn check<DB: Database>(&self, conn: &mut DB::Connection) -> Result<(), Error> {
        let found = read::<DB>(conn).await.map_err(Error::Database)?;
        let settings = DB::SETTINGS.iter().zip(&found).zip(&self.values);
        let wrong = settings.filter_map(|((setting, found), known)| {
            wrong_alone((setting, found)).or_else(|| {
                let name = setting.name;
                (found != known).then(|| format!("{name} is {found}, on the pool it was {known}"))
            })
        });
        refuse(wrong.collect())
    }

    /// Refuses a table whose values are put out in a zone in which some cannot be told apart.
    pub(super) fn check_table<DB: Database>(&self, table: &TableMeta) -> Result<(), Error> {
        let settings = DB::SETTINGS.iter().zip(&self.values);
        let zone = settings
            .filter(|(setting, _)| setting.name == ZONE)
            .map(|(_, zone)| zone.as_str())
            .find(|zone| *zone != UTC);
        let Some(zone) = zone else {
            return Ok(());
        };
        let mut columns = table.columns.iter();
        let Some(column) = columns.find(|column| column.type_name.starts_with("timestamp")) else {
            return Ok(());
        };
        let table = table.qualified_name();
        Err(Error::Session(format!(
            "{table}.{} is a TIMESTAMP, which MySQL puts out in the session's {ZONE} {zone}, where an hour may come twice; \
             leave the {ZONE} of the pool and of all connections for branches at +00:00, as sqlx sets it",
            column.name
        )))
    }
}

/// MySQL's name of the setting that its TIMESTAMP depends on.
pub(super) const ZONE: &str = "time_zone";

/// What that setting is called when it is one of the names of UTC.
pub(super) const UTC: &str = "UTC";

fn wrong_alone((setting, found): (&Setting, &String)) -> Option<String> {
    match setting.rule {
        Rule::Is(wanted) if wanted != found => Some(format!(
            "{} is {found} and has to be {wanted}",
            setting.name
        )),
        _ => None,
    }
}

fn refuse(wrong: Vec<String>) -> Result<(), Error> {
    match wrong.as_slice() {
        [] => Ok(()),
        wrong => Err(Error::Session(format!(
            "statements would be read or undone wrongly on a connection with these settings: {}. Set all connections for \
             branches as the pool is, for example in its after_connect, or leave them as sqlx makes them",
            wrong.join("; ")
        ))),
    }
}

async fn read<DB: Database>(conn: &mut DB::Connection) -> Result<Vec<String>, sqlx::Error> {
    if DB::SETTINGS.is_empty() {
        return Ok(Vec::new());
    }
    let sql = query(DB::DIALECT, DB::SETTINGS);
    let answer = undo_rows::execute::<DB>(conn, sql, &[], Reuse::Once).await?;
    let row = answer.rows().next().ok_or(sqlx::Error::RowNotFound)?;
    (0..DB::SETTINGS.len())
        .map(|at| {
            let bytes = DB::get(row, at)?.into_bytes().unwrap_or_default();
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        })
        .collect()
}

/// The query of all settings.
fn query(dialect: Dialect, settings: &[Setting]) -> String {
    let listed = settings.iter().map(|setting| match dialect {
        Dialect::MySql => format!("CAST({} AS CHAR)", setting.sql),
        Dialect::Postgres | Dialect::Sqlite => format!("({})::text", setting.sql),
    });
    format!("SELECT {}", listed.collect::<Vec<_>>().join(", "))
}

/// A query that is an error where the settings have other values. They are compared in hexadecimal digits, which every setting
/// reads the same.
fn guard(dialect: Dialect, settings: &[Setting], values: &[String]) -> Option<String> {
    if settings.is_empty() {
        return None;
    }
    let expressions: Vec<&str> = settings.iter().map(|setting| setting.sql).collect();
    let all = format!("concat_ws('|', {})", expressions.join(", "));
    let wanted = hex(&values.join("|"));
    Some(match dialect {
        // More than one row where one has to be.
        Dialect::MySql => format!(
            "SELECT (SELECT 1 UNION ALL SELECT 2 FROM DUAL WHERE HEX(CONVERT({all} USING utf8mb4)) <> '{wanted}')"
        ),
        // A division by zero.
        Dialect::Postgres | Dialect::Sqlite => format!(
            "SELECT 1 / CASE WHEN encode(convert_to({all}, 'UTF8'), 'hex') = '{}' THEN 1 ELSE 0 END",
            wanted.to_ascii_lowercase()
        ),
    })
}

/// BEGIN with the guard behind it, where proxies send both to the server that writes.
fn guarded(dialect: Dialect, begin: &str, guard: &str) -> String {
    match dialect {
        // A query without a table makes no snapshot.
        Dialect::MySql | Dialect::Sqlite => format!("{begin}; {guard}"),
        // Here it does, after which the level of isolation cannot be set any more: a transaction of its own.
        Dialect::Postgres => format!("{begin}; {guard}; COMMIT; {begin}"),
    }
}

fn hex(text: &str) -> String {
    let mut digits = String::with_capacity(2 * text.len());
    for byte in text.bytes() {
        let _ = write!(digits, "{byte:02X}");
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: [Setting; 2] = [
        Setting {
            name: "a",
            sql: "@@a",
            rule: Rule::Is("on"),
        },
        Setting {
            name: "b",
            sql: "@@b",
            rule: Rule::Same,
        },
    ];

    #[test]
    fn values_are_compared_without_quotes_of_theirs() {
        let values = ["on".to_owned(), "it's \\ \"x\"".to_owned()];
        let mysql = guard(Dialect::MySql, &SETTINGS, &values).expect("settings");
        assert!(mysql.contains("concat_ws('|', @@a, @@b)"), "{mysql}");
        assert!(
            mysql.ends_with("<> '6F6E7C69742773205C20227822')"),
            "{mysql}"
        );
        let postgres = guard(Dialect::Postgres, &SETTINGS, &values).expect("settings");
        assert!(
            postgres.contains("= '6f6e7c69742773205c20227822'"),
            "{postgres}"
        );
        assert_eq!(guard(Dialect::Sqlite, &[], &[]), None);
    }

    #[test]
    fn the_guard_of_postgresql_leaves_no_snapshot() {
        let begin = guarded(Dialect::Postgres, "BEGIN", "SELECT 1");
        assert_eq!(begin, "BEGIN; SELECT 1; COMMIT; BEGIN");
        assert_eq!(
            guarded(Dialect::MySql, "BEGIN", "SELECT 1"),
            "BEGIN; SELECT 1"
        );
    }

    #[test]
    fn errors_say_what_is_wrong_and_what_to_do() {
        let found = ["off".to_owned(), "any".to_owned()];
        let wrong: Vec<String> = SETTINGS
            .iter()
            .zip(&found)
            .filter_map(wrong_alone)
            .collect();
        assert_eq!(wrong, ["a is off and has to be on"]);
        let error = refuse(wrong).expect_err("refused").to_string();
        assert!(
            error.contains("a is off and has to be on. Set all"),
            "{error}"
        );
        assert!(refuse(Vec::new()).is_ok());
    }
}
