//! Which rows a statement works on: its table, condition, order and limit, and the query that reads the same rows.

use super::Dialect;
use super::image::{Assembly, Derived, Parameters};
use super::lexer::Kind;
use super::name::{Name, TableName};
use super::refused::{Cause, Refused};
use super::source::{Cursor, Source, Span};
use crate::client::at::meta::{KeyKind, Nullability, TableMeta};

/// A table in a statement, under the name that columns are qualified with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Factor {
    pub(super) table: TableName,
    pub(super) alias: Option<Name>,
}

/// The clauses that choose rows. Empty where the statement has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rows {
    /// The tables, with aliases, hints and joins.
    pub(super) from: Span,
    /// Behind WHERE.
    pub(super) condition: Span,
    /// From ORDER BY or LIMIT on.
    pub(super) tail: Span,
}

/// What a query of rows selects, and how.
pub(super) struct Selection<'a> {
    /// Behind SELECT.
    pub(super) list: &'a str,
    /// One more condition; may be empty.
    pub(super) and: &'a str,
    /// The clause that locks the rows, with a blank in front; may be empty.
    pub(super) lock: &'a str,
}

impl Rows {
    /// Reads WHERE, ORDER BY and LIMIT, up to one of these words or the end.
    pub(super) fn read(
        cursor: &mut Cursor<'_>,
        from: Span,
        ends: &[&str],
    ) -> Result<Self, Refused> {
        let mut condition = empty(cursor.at());
        if cursor.accept("WHERE") {
            // To the others OFFSET and FETCH are names like any.
            let first: &[&str] = match cursor.dialect() {
                Dialect::Postgres => &["ORDER", "LIMIT", "OFFSET", "FETCH"],
                Dialect::MySql | Dialect::Sqlite => &["ORDER", "LIMIT"],
            };
            let stops = [first, ends].concat();
            condition = cursor.clause(&stops);
            if condition.is_empty() {
                return Err(cursor.unexpected("a condition"));
            }
        }
        let tail = cursor.clause(ends);
        Ok(Self {
            from,
            condition,
            tail,
        })
    }

    /// Refuses what might choose other rows when it is asked a second time.
    pub(super) fn check(&self, source: &Source) -> Result<(), Refused> {
        for span in [self.from, self.condition, self.tail] {
            check_repeatable(source, span)?;
        }
        Ok(())
    }

    /// With a limit the order has to be total, else the image may show other rows than the statement takes.
    pub(super) fn check_limit(&self, source: &Source, meta: &TableMeta) -> Result<(), Refused> {
        let mut cursor = Cursor::within(source, self.tail);
        let mut ordered = Vec::new();
        if cursor.accept_all(&["ORDER", "BY"]) {
            let order = cursor.clause(&["LIMIT", "OFFSET", "FETCH"]);
            for item in source.split(order) {
                ordered.extend(ordered_column(source, item));
            }
        }
        if cursor.is_end() {
            return Ok(());
        }
        let is_ordered = |column: &usize| {
            let column = &meta.columns[*column].name;
            ordered.iter().any(|name| name.eq_ignore_ascii_case(column))
        };
        let never_null = |column: &usize| meta.columns[*column].nullability == Nullability::NotNull;
        let total = meta.keys.iter().any(|key| {
            let known = key.columns.iter().all(|c| *c < meta.columns.len());
            known
                && key.columns.iter().all(is_ordered)
                && (key.kind == KeyKind::Primary || key.columns.iter().all(never_null))
        });
        if total {
            return Ok(());
        }
        Err(Refused::new(
            "it has a limit, but no order that tells every two rows apart",
            "add the columns of the primary key to ORDER BY",
        )
        .cause(Cause::Key))
    }

    /// The query of these rows.
    pub(super) fn select(
        &self,
        source: &Source,
        selection: &Selection<'_>,
        parameters: Parameters,
    ) -> Derived {
        let mut query = Assembly::new(source);
        query.text(format!("SELECT {} FROM ", selection.list));
        query.span(self.from);
        // A parameter that is not wanted needs a condition beside it.
        let placing = source.dialect() == Dialect::MySql
            && parameters == Parameters::Whole
            && source.parameters() > 0;
        let mut conditions = Vec::new();
        if !self.condition.is_empty() {
            conditions.push("");
        }
        if !selection.and.is_empty() {
            conditions.push(selection.and);
        }
        if conditions.is_empty() && placing {
            conditions.push("TRUE");
        }
        for (at, condition) in conditions.iter().enumerate() {
            query.text(if at == 0 { " WHERE " } else { " AND " });
            query.before_condition();
            if condition.is_empty() {
                query.text("(");
                query.span(self.condition);
                query.text(")");
            } else {
                query.text(*condition);
            }
            query.behind_condition();
        }
        if !self.tail.is_empty() {
            query.text(" ");
            query.span(self.tail);
        }
        query.text(selection.lock);
        query.finish(parameters)
    }
}

impl Factor {
    /// Reads a table with its alias and hints.
    pub(super) fn read(cursor: &mut Cursor<'_>, dialect: Dialect) -> Result<Self, Refused> {
        if cursor.is_symbol('(') || cursor.is("LATERAL") {
            return Err(Refused::new(
                "a sub-query or a bracket stands where a table was expected",
                "name the table itself",
            ));
        }
        if dialect == Dialect::Postgres && cursor.is("ONLY") {
            return Err(Refused::new(
                "ONLY leaves out the tables that inherit",
                "name a table that no other inherits from, without ONLY",
            ));
        }
        let table = cursor.table()?;
        if cursor.is("PARTITION") {
            return Err(Refused::new(
                "it names a partition",
                "name the table, and choose the partition by a condition",
            ));
        }
        let alias = if cursor.accept("AS") {
            let alias = cursor.name();
            Some(alias.ok_or_else(|| cursor.unexpected("an alias"))?)
        } else if cursor.is_any(&NOT_AN_ALIAS) {
            None
        } else {
            cursor.name()
        };
        if alias.is_some() && cursor.is_symbol('(') {
            return Err(Refused::new(
                "the alias gives the columns other names",
                "use the names of the table",
            ));
        }
        skip_hints(cursor, dialect)?;
        Ok(Self { table, alias })
    }
}

fn skip_hints(cursor: &mut Cursor<'_>, dialect: Dialect) -> Result<(), Refused> {
    match dialect {
        Dialect::MySql => {
            while cursor.is_any(&["USE", "IGNORE", "FORCE"]) {
                cursor.step();
                while !cursor.is_end() && !cursor.is_symbol('(') {
                    if !cursor.is_any(&["INDEX", "KEY", "FOR", "JOIN", "ORDER", "GROUP", "BY"]) {
                        return Err(cursor.unexpected("a list of indexes"));
                    }
                    cursor.step();
                }
                if cursor.group().is_none() {
                    return Err(cursor.unexpected("a list of indexes"));
                }
                // More lists may follow, with commas or without.
                let mut ahead = cursor.clone();
                if ahead.accept_symbol(',') && ahead.is_any(&["USE", "IGNORE", "FORCE"]) {
                    *cursor = ahead;
                }
            }
        }
        Dialect::Sqlite => {
            if cursor.accept_all(&["INDEXED", "BY"]) && cursor.name().is_none() {
                return Err(cursor.unexpected("the name of an index"));
            }
            cursor.accept_all(&["NOT", "INDEXED"]);
        }
        Dialect::Postgres => {}
    }
    Ok(())
}

/// The column that this item of ORDER BY is, if it is a plain one.
fn ordered_column(source: &Source, item: Span) -> Option<String> {
    let mut cursor = Cursor::within(source, item);
    let column = cursor.path()?.pop()?;
    if !cursor.accept("ASC") {
        cursor.accept("DESC");
    }
    if cursor.accept("NULLS") && !cursor.accept("FIRST") {
        cursor.accept("LAST");
    }
    cursor.is_end().then_some(column.value)
}

/// Refuses sub-queries, and what gives another answer each time.
pub(super) fn check_repeatable(source: &Source, span: Span) -> Result<(), Refused> {
    for at in span.from..span.to {
        let behind_bracket = at > span.from && source.is_symbol(at - 1, '(');
        let sub_query = source.is_word(at, "SELECT")
            || (behind_bracket && source.is_any(at, &["TABLE", "VALUES", "WITH"]));
        // SQLite: `x IN t`.
        let in_table = source.is_word(at, "IN") && !source.is_symbol(at + 1, '(');
        if sub_query || (in_table && source.dialect() == Dialect::Sqlite) {
            return Err(Refused::new(
                "a sub-query chooses the rows",
                "read the keys first with SELECT … FOR UPDATE, and name them in the condition",
            ));
        }
        if source.is_word(at, "CURRENT") && source.is_word(at + 1, "OF") {
            return Err(Refused::new(
                "a cursor chooses the row",
                "name the row by its primary key",
            ));
        }
        let assigns = source.is_symbol(at, ':') && source.is_symbol(at + 1, '=');
        if assigns && source.dialect() == Dialect::MySql {
            return Err(Refused::new(
                "its condition assigns a variable",
                "assign the variable in a SET statement of its own",
            ));
        }
        let called = source.kind(at) == Some(Kind::Word) && source.is_symbol(at + 1, '(');
        if called && is_volatile(source.token(at)) {
            let function = source.token(at);
            return Err(Refused::new(
                format!("{function}() gives another value each time it is asked"),
                "ask for the value first, and bind it as a parameter",
            ));
        }
    }
    Ok(())
}

pub(super) fn is_volatile(function: &str) -> bool {
    VOLATILE
        .iter()
        .any(|name| name.eq_ignore_ascii_case(function))
}

fn empty(at: usize) -> Span {
    Span { from: at, to: at }
}

/// Functions of the databases whose value changes from one call to the next.
const VOLATILE: [&str; 20] = [
    "RAND",
    "RANDOM",
    "RANDOM_BYTES",
    "RANDOMBLOB",
    "UUID",
    "UUID_SHORT",
    "UUIDV4",
    "UUIDV7",
    "SYS_GUID",
    "GEN_RANDOM_UUID",
    "UUID_GENERATE_V1",
    "UUID_GENERATE_V1MC",
    "UUID_GENERATE_V4",
    "CLOCK_TIMESTAMP",
    "TIMEOFDAY",
    "SYSDATE",
    "NEXTVAL",
    "SETVAL",
    "LAST_INSERT_ID",
    "SLEEP",
];

/// Words that begin what comes behind a table, where an alias without AS might stand.
const NOT_AN_ALIAS: [&str; 36] = [
    "CROSS",
    "DEFAULT",
    "EXCEPT",
    "FETCH",
    "FOR",
    "FORCE",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "IGNORE",
    "INDEXED",
    "INNER",
    "INTERSECT",
    "INTO",
    "JOIN",
    "LEFT",
    "LIMIT",
    "LOCK",
    "NATURAL",
    "NOT",
    "OFFSET",
    "ON",
    "ORDER",
    "OVERRIDING",
    "RETURNING",
    "RIGHT",
    "SELECT",
    "SET",
    "STRAIGHT_JOIN",
    "TABLESAMPLE",
    "UNION",
    "USE",
    "USING",
    "VALUES",
    "WHERE",
];
