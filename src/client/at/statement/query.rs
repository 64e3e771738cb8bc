//! Reads: what passes through, and `SELECT … FOR UPDATE`.

use super::image::{Derived, Parameters};
use super::name::{TableName, primary_key, quote_columns};
use super::refused::Refused;
use super::rows::{Factor, Rows, Selection};
use super::session::other_settings;
use super::source::{Cursor, Source, Span};
use super::{Dialect, Statement};
use crate::client::at::meta::TableMeta;

/// `SELECT … FOR UPDATE` of one table: the global locks of its rows have to be asked for.
#[derive(Clone, Debug)]
pub struct SelectForUpdate {
    source: Source,
    factor: Factor,
    rows: Rows,
    /// `FOR UPDATE` and all behind it.
    lock: Span,
}

impl SelectForUpdate {
    pub(super) fn table(&self) -> &TableName {
        &self.factor.table
    }

    /// The query of the same rows' primary keys, in the order of the index.
    ///
    /// # Errors
    ///
    /// [`Refused`] when the table has no primary key, or a limit chooses rows that cannot be told again.
    pub fn keys(&self, meta: &TableMeta, parameters: Parameters) -> Result<Derived, Refused> {
        let key = primary_key(meta)?;
        self.rows.check_limit(&self.source, meta)?;
        let dialect = self.source.dialect();
        let selection = Selection {
            list: &quote_columns(meta, key, "", dialect),
            and: "",
            lock: &format!(" {}", self.source.text(self.lock)),
        };
        Ok(self.rows.select(&self.source, &selection, parameters))
    }
}

/// A statement that begins like a query.
pub(super) fn read(source: Source) -> Result<Statement, Refused> {
    let whole = source.all();
    check_only_reads(&source, whole)?;
    let Some(lock) = find_lock(&source, whole)? else {
        return Ok(Statement::PassThrough);
    };
    for_update(source, lock)
}

/// Refuses a query with a part that writes.
pub(super) fn check_only_reads(source: &Source, span: Span) -> Result<(), Refused> {
    let changes = ["INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE"];
    let changing = || {
        Refused::not_undoable(
            "it is a query with a part that changes data (WITH … INSERT, UPDATE, DELETE)",
        )
    };
    if source.is_word(span.from, "WITH") {
        let verbs = [&changes[..], &["SELECT", "VALUES", "TABLE"]].concat();
        let mut cursor = Cursor::within(source, span);
        cursor.step();
        cursor.clause(&verbs);
        if cursor.is_any(&changes) {
            return Err(changing());
        }
    }
    let mut depth = 0;
    for at in span.from..span.to {
        depth += usize::from(source.is_symbol(at, '('));
        depth -= usize::from(source.is_symbol(at, ')'));
        // `replace(a, b, c)` is a function, FOR UPDATE a lock, and AS gives a name.
        let verb = depth > 0 && source.is_any(at, &changes) && source.name(at + 1).is_some();
        if verb && !source.is_any(at - 1, &["FOR", "KEY", "AS"]) {
            return Err(changing());
        }
        let setting = source.dialect() == Dialect::Postgres && source.is_symbol(at + 1, '(');
        if setting && source.is_any(at, &["SET_CONFIG"]) {
            return Err(other_settings("set_config()"));
        }
        let variable = source.dialect() == Dialect::MySql && source.is_symbol(at + 1, '@');
        if source.is_word(at, "INTO") && !variable {
            return Err(Refused::not_undoable(
                "SELECT … INTO makes a table or a file",
            ));
        }
    }
    Ok(())
}

/// Where `FOR UPDATE` begins. Locks for reading are no matter of the coordinator.
fn find_lock(source: &Source, span: Span) -> Result<Option<usize>, Refused> {
    let is_lock = |at: usize| {
        source.is_word(at, "FOR")
            && (source.is_word(at + 1, "UPDATE")
                || (source.is_word(at + 1, "NO") && source.is_word(at + 2, "KEY")))
    };
    let mut outside = None;
    let mut at = span.from;
    while at < span.to {
        if is_lock(at) {
            outside = outside.or(Some(at));
        }
        let behind = source.behind(at);
        if (at + 1..behind).any(is_lock) {
            return Err(Refused::new(
                "a sub-query locks rows with FOR UPDATE",
                "lock the rows in a query of their own",
            ));
        }
        at = behind;
    }
    Ok(outside)
}

fn for_update(source: Source, lock: usize) -> Result<Statement, Refused> {
    let dialect = source.dialect();
    if dialect == Dialect::Sqlite {
        return Err(Refused::new(
            "SQLite has no FOR UPDATE",
            "leave it out: a branch locks the whole database for writing",
        ));
    }
    let span = Span {
        from: 0,
        to: source.len(),
    };
    let mut cursor = Cursor::new(&source);
    if !cursor.accept("SELECT") {
        return Err(not_of_one_table("it is no simple SELECT"));
    }
    if cursor.is_any(&["DISTINCT", "DISTINCTROW"]) {
        return Err(not_of_one_table("it has DISTINCT"));
    }
    cursor.clause(&["FROM", "WHERE", "UNION", "EXCEPT", "INTERSECT", "FOR"]);
    if !cursor.accept("FROM") {
        return Err(not_of_one_table("it has no FROM of its own"));
    }
    let from = cursor.at();
    let factor = Factor::read(&mut cursor, dialect)?;
    let from = Span {
        from,
        to: cursor.at(),
    };
    if !cursor.is_any(&["WHERE", "ORDER", "LIMIT", "OFFSET", "FETCH", "FOR"]) {
        return Err(not_of_one_table(format!(
            "{} stands behind its table",
            source.token(cursor.at())
        )));
    }
    let other = [
        "GROUP",
        "HAVING",
        "WINDOW",
        "UNION",
        "EXCEPT",
        "INTERSECT",
        "PROCEDURE",
        "INTO",
    ];
    let ends = [&other[..], &["FOR"]].concat();
    let rows = Rows::read(&mut cursor, from, &ends)?;
    if cursor.at() != lock {
        return Err(not_of_one_table(format!(
            "{} stands in front of FOR UPDATE",
            source.token(cursor.at())
        )));
    }
    rows.check(&source)?;
    let lock = Span {
        from: lock,
        to: span.to,
    };
    check_lock(&source, lock, &rows)?;
    Ok(Statement::SelectForUpdate(SelectForUpdate {
        factor,
        rows,
        lock,
        source,
    }))
}

/// Only what belongs to the lock may follow it.
fn check_lock(source: &Source, lock: Span, rows: &Rows) -> Result<(), Refused> {
    let mut cursor = Cursor::within(source, lock);
    cursor.accept("FOR");
    cursor.accept_all(&["NO", "KEY"]);
    cursor.expect("UPDATE")?;
    if cursor.accept("OF") && cursor.path().is_none() {
        return Err(cursor.unexpected("the name of a table"));
    }
    if cursor.accept_all(&["SKIP", "LOCKED"]) {
        let limited = (rows.tail.from..rows.tail.to)
            .any(|at| source.is_any(at, &["LIMIT", "OFFSET", "FETCH"]));
        if limited {
            return Err(Refused::new(
                "SKIP LOCKED with a limit may take other rows each time it is asked",
                "leave out SKIP LOCKED, or choose the row without a lock and lock it by its key",
            ));
        }
    } else if cursor.accept("WAIT") {
        cursor.step();
    } else {
        cursor.accept("NOWAIT");
    }
    cursor.expect_end()
}

fn not_of_one_table(reason: impl Into<String>) -> Refused {
    let reason = reason.into();
    Refused::new(
        format!("FOR UPDATE is checked for rows of one table only, and {reason}"),
        "lock the rows of each table in a query of its own",
    )
}
