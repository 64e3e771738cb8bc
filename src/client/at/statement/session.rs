//! Which kind of statement a text is, and what is neither a query nor a change of rows.

use super::lexer::Kind;
use super::query::check_only_reads;
use super::refused::Refused;
use super::source::{Cursor, Source, Span};
use super::{Dialect, Statement, change, query, values};

/// A statement about a savepoint. Undo records follow it: those behind a savepoint that is rolled back are dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Savepoint {
    /// `SAVEPOINT name`
    Set(String),
    /// `RELEASE name`
    Release(String),
    /// `ROLLBACK TO name`
    RollBackTo(String),
}

/// Finds out what a statement is.
pub(super) fn read(source: Source) -> Result<Statement, Refused> {
    let dialect = source.dialect();
    let cursor = Cursor::new(&source);
    if cursor.is_end() {
        return Ok(Statement::PassThrough);
    }
    if cursor.is_symbol('(') || cursor.is_any(&["SELECT", "VALUES", "TABLE", "WITH"]) {
        return query::read(source);
    }
    let verb = match source.kind(0) {
        Some(Kind::Word) => source.token(0).to_ascii_uppercase(),
        _ => return Err(cursor.unexpected("a statement")),
    };
    match verb.as_str() {
        "INSERT" => values::read(source),
        "UPDATE" => change::read_update(source),
        "DELETE" => change::read_delete(source),
        "REPLACE" => Err(Refused::not_undoable(
            "REPLACE deletes the rows that are in the way without saying which",
        )),
        "MERGE" => Err(Refused::not_undoable(
            "MERGE does not say which rows it changes",
        )),
        "SAVEPOINT" | "RELEASE" | "ROLLBACK" => savepoint(cursor, dialect),
        "BEGIN" | "START" | "COMMIT" | "END" | "ABORT" | "XA" | "PREPARE" => Err(control(&verb)),
        "TRUNCATE" => Err(Refused::not_undoable("TRUNCATE keeps no image of the rows")),
        "CALL" | "DO" | "EXEC" | "EXECUTE" => Err(Refused::not_undoable(format!(
            "{verb} may change data in ways that are not seen from outside"
        ))),
        "COPY" | "LOAD" | "IMPORT" => Err(Refused::not_undoable(format!(
            "{verb} moves rows that are not seen"
        ))),
        "CREATE" | "ALTER" | "DROP" | "RENAME" | "COMMENT" | "GRANT" | "REVOKE" | "REINDEX"
        | "VACUUM" | "ANALYZE" | "OPTIMIZE" | "CLUSTER" | "REFRESH" | "ATTACH" | "DETACH" => {
            Err(Refused::not_undoable(format!(
                "{verb} changes the database itself, which no rollback of a branch undoes"
            )))
        }
        "SET" => set(&source),
        "SHOW" if dialect != Dialect::Sqlite => Ok(Statement::PassThrough),
        "DESCRIBE" | "DESC" | "EXPLAIN" => explain(&source, &verb),
        "LOCK" if dialect == Dialect::Postgres => Ok(Statement::PassThrough),
        "LOCK" | "UNLOCK" if dialect == Dialect::MySql => Err(control(&verb)),
        "USE" if dialect == Dialect::MySql => Err(other_settings("USE")),
        "PRAGMA" if dialect == Dialect::Sqlite => pragma(&source),
        _ => Err(Refused::not_undoable(format!(
            "{verb} is not known to only read"
        ))),
    }
}

fn control(verb: &str) -> Refused {
    Refused::new(
        format!("{verb} ends or begins a local transaction, and the branch is one"),
        "end the branch with `commit()` or `rollback()`",
    )
}

fn savepoint(mut cursor: Cursor<'_>, dialect: Dialect) -> Result<Statement, Refused> {
    type Make = fn(String) -> Savepoint;
    let make: Make = if cursor.accept("SAVEPOINT") {
        Savepoint::Set
    } else if cursor.accept("RELEASE") {
        cursor.accept("SAVEPOINT");
        Savepoint::Release
    } else {
        cursor.accept("ROLLBACK");
        if !cursor.accept("WORK") {
            cursor.accept("TRANSACTION");
        }
        if !cursor.accept("TO") {
            return Err(control("ROLLBACK"));
        }
        cursor.accept("SAVEPOINT");
        Savepoint::RollBackTo
    };
    let name = cursor.name();
    let name = name.ok_or_else(|| cursor.unexpected("the name of a savepoint"))?;
    cursor.expect_end()?;
    let name = match dialect {
        Dialect::Postgres => name.folded(dialect),
        Dialect::MySql | Dialect::Sqlite => name.value.to_lowercase(),
    };
    Ok(Statement::Savepoint(make(name)))
}

/// Settings of the session pass, but for those that change what statements mean or when they are committed.
fn set(source: &Source) -> Result<Statement, Refused> {
    check_only_reads(source, source.all())?;
    // MariaDB: SET STATEMENT … FOR and any statement.
    if source.is_word(1, "STATEMENT") {
        return Err(Refused::new(
            "SET STATEMENT hides the statement that it sets something for",
            "run the statement alone",
        ));
    }
    for at in 0..source.len() {
        let Some(name) = source.name(at) else {
            continue;
        };
        let name = match source.is_word(at, "TIME") && source.is_word(at + 1, "ZONE") {
            true => "TIMEZONE".to_owned(),
            false => name.value.to_ascii_uppercase(),
        };
        if NOT_SET.contains(&name.as_str()) {
            return Err(other_settings(&format!("SET {name}")));
        }
    }
    Ok(Statement::PassThrough)
}

pub(super) fn other_settings(what: &str) -> Refused {
    Refused::new(
        format!("{what} changes how statements of the branch are read or committed"),
        "set it on the connection before the branch begins",
    )
}

/// What is explained is not executed, unless it is analysed as well.
fn explain(source: &Source, verb: &str) -> Result<Statement, Refused> {
    let verbs = [
        "SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE", "VALUES", "TABLE", "WITH",
        "CREATE", "EXECUTE", "DECLARE", "REFRESH",
    ];
    let from = (1..source.len()).find(|at| source.is_any(*at, &verbs));
    let from = from.unwrap_or(source.len());
    let analysed = (0..from).any(|at| source.is_any(at, &["ANALYZE", "ANALYSE"]));
    let reads = source.is_any(from, &["SELECT", "VALUES", "TABLE", "WITH"]);
    if analysed && !reads {
        return Err(Refused::not_undoable(format!(
            "{verb} ANALYZE executes what it explains"
        )));
    }
    if analysed {
        let span = Span {
            from,
            to: source.len(),
        };
        check_only_reads(source, span)?;
    }
    Ok(Statement::PassThrough)
}

fn pragma(source: &Source) -> Result<Statement, Refused> {
    let mut cursor = Cursor::new(source);
    cursor.accept("PRAGMA");
    let name = cursor.path().and_then(|mut path| path.pop());
    let name = name.map_or_else(String::new, |name| name.value.to_ascii_lowercase());
    let argument = cursor.group().is_some();
    let about_tables = ABOUT_TABLES.contains(&name.as_str());
    let read = about_tables || (SETTINGS.contains(&name.as_str()) && !argument);
    if read && cursor.is_end() {
        return Ok(Statement::PassThrough);
    }
    Err(Refused::not_undoable(format!(
        "PRAGMA {name} is not known to only read"
    )))
}

/// Settings, with quotes or without, that a branch must find as they were when it began.
const NOT_SET: [&str; 33] = [
    "ARRAY_NULLS",
    "AUTHORIZATION",
    "AUTOCOMMIT",
    "BYTEA_OUTPUT",
    "CHARACTER",
    "CHARACTER_SET_CLIENT",
    "CHARACTER_SET_CONNECTION",
    "CHARACTER_SET_RESULTS",
    "CHARSET",
    "CLIENT_ENCODING",
    "COMPLETION_TYPE",
    "DATESTYLE",
    "EXTRA_FLOAT_DIGITS",
    "GLOBAL",
    "INTERVALSTYLE",
    "LC_MONETARY",
    "NAMES",
    "PASSWORD",
    "PERSIST",
    "PERSIST_ONLY",
    "SCHEMA",
    "SEARCH_PATH",
    "SESSION_REPLICATION_ROLE",
    "SQL_AUTO_IS_NULL",
    "SQL_MODE",
    "SQL_SAFE_UPDATES",
    "SQL_SELECT_LIMIT",
    "STANDARD_CONFORMING_STRINGS",
    "BACKSLASH_QUOTE",
    "TIMEZONE",
    "TIME_ZONE",
    "XMLBINARY",
    "XMLOPTION",
];

/// Pragmas that describe what is there.
const ABOUT_TABLES: [&str; 12] = [
    "collation_list",
    "compile_options",
    "database_list",
    "foreign_key_check",
    "foreign_key_list",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "table_info",
    "table_list",
    "table_xinfo",
];

/// Pragmas that tell a setting when they have no argument.
const SETTINGS: [&str; 10] = [
    "application_id",
    "busy_timeout",
    "cache_size",
    "data_version",
    "encoding",
    "foreign_keys",
    "journal_mode",
    "page_count",
    "schema_version",
    "user_version",
];
