//! What an INSERT gives: its columns and the values of its rows.

use super::change::{Assigned, assignments, skip_modifiers};
use super::insert::{Insert, Skips};
use super::lexer::Kind;
use super::name::Name;
use super::refused::Refused;
use super::source::{Cursor, Source, Span};
use super::upsert::{self, Conflict};
use super::{Dialect, Statement};

/// A value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) kind: CellKind,
    pub(super) span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CellKind {
    Null,
    Default,
    /// A literal.
    Literal,
    /// A parameter, alone or cast.
    Parameter,
    Expression,
}

/// A statement that begins with INSERT.
pub(super) fn read(source: Source) -> Result<Statement, Refused> {
    let dialect = source.dialect();
    let mut cursor = Cursor::new(&source);
    cursor.expect("INSERT")?;
    skip_modifiers(&mut cursor, dialect)?;
    if !cursor.accept("INTO") && dialect != Dialect::MySql {
        return Err(cursor.unexpected("INTO"));
    }
    let table = cursor.table()?;
    if cursor.is("PARTITION") {
        return Err(Refused::new("it names a partition", "name the table alone"));
    }
    if dialect != Dialect::MySql && cursor.accept("AS") && cursor.name().is_none() {
        return Err(cursor.unexpected("an alias"));
    }
    let (columns, rows) = read_rows(&mut cursor, &source)?;
    // MySQL: a name for the new rows, for ON DUPLICATE KEY UPDATE.
    if dialect == Dialect::MySql && cursor.accept("AS") {
        if cursor.name().is_none() {
            return Err(cursor.unexpected("a name for the rows"));
        }
        cursor.group();
    }
    let conflict = upsert::read_conflict(&mut cursor, &source)?;
    let mut returning = None;
    if cursor.accept("RETURNING") {
        let list = cursor.clause(&[]);
        if list.is_empty() {
            return Err(cursor.unexpected("what to return"));
        }
        returning = Some(list);
    }
    cursor.expect_end()?;
    let skips = match conflict {
        Some(Conflict::Nothing) => Skips::Conflicts,
        _ => Skips::Nothing,
    };
    let insert = Insert {
        table,
        columns,
        rows,
        returning,
        skips,
        source,
    };
    Ok(match conflict {
        Some(Conflict::Update(update)) => Statement::Upsert(upsert::Upsert::new(insert, update)),
        Some(Conflict::Nothing) | None => Statement::Insert(insert),
    })
}

type Rows = (Option<Vec<Name>>, Vec<Vec<Cell>>);

/// The columns and the rows of the statement.
fn read_rows(cursor: &mut Cursor<'_>, source: &Source) -> Result<Rows, Refused> {
    let dialect = source.dialect();
    let select = || Refused::not_undoable("INSERT … SELECT does not say which rows it inserts");
    let queries = ["SELECT", "WITH", "TABLE"];
    let mut columns = None;
    if cursor.is_symbol('(') {
        let list = cursor.group().unwrap_or(Span { from: 0, to: 0 });
        if source.is_any(list.from, &queries) || source.is_symbol(list.from, '(') {
            return Err(select());
        }
        columns = Some(read_columns(source, list)?);
    }
    if cursor.accept("OVERRIDING") {
        if !cursor.accept("SYSTEM") {
            cursor.expect("USER")?;
        }
        cursor.expect("VALUE")?;
    }
    if cursor.is_any(&queries) || cursor.is_symbol('(') {
        return Err(select());
    }
    if cursor.accept_all(&["DEFAULT", "VALUES"]) {
        return Ok((Some(Vec::new()), vec![Vec::new()]));
    }
    if dialect == Dialect::MySql && columns.is_none() && cursor.accept("SET") {
        let list = cursor.clause(&["AS", "ON", "RETURNING"]);
        return read_assignments(source, list);
    }
    if !(cursor.accept("VALUES") || (dialect == Dialect::MySql && cursor.accept("VALUE"))) {
        return Err(cursor.unexpected("VALUES"));
    }
    if cursor.is("ROW") {
        return Err(Refused::new(
            "it gives its rows with ROW",
            "leave out ROW in front of the brackets",
        ));
    }
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    loop {
        let Some(row) = cursor.group() else {
            return Err(cursor.unexpected("a row in brackets"));
        };
        let row = read_row(source, row)?;
        if rows.first().is_some_and(|first| first.len() != row.len()) {
            return Err(Refused::unread("its rows have different numbers of values"));
        }
        rows.push(row);
        if !cursor.accept_symbol(',') {
            return Ok((columns, rows));
        }
    }
}

fn read_columns(source: &Source, list: Span) -> Result<Vec<Name>, Refused> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let mut columns = Vec::new();
    for item in source.split(list) {
        let mut cursor = Cursor::within(source, item);
        columns.push(
            Assigned::read(&mut cursor, source.dialect())?
                .column()
                .clone(),
        );
        cursor.expect_end()?;
    }
    Ok(columns)
}

/// MySQL's `INSERT … SET a = 1, b = 2`: one row.
fn read_assignments(source: &Source, list: Span) -> Result<Rows, Refused> {
    let assigned = assignments(source, list)?;
    let columns = assigned.iter().map(|a| a.column().clone()).collect();
    let mut row = Vec::new();
    for item in source.split(list) {
        let mut cursor = Cursor::within(source, item);
        while !cursor.is_end() && !cursor.is_symbol('=') {
            cursor.step();
        }
        cursor.step();
        row.push(Cell::read(
            source,
            Span {
                from: cursor.at(),
                to: item.to,
            },
        ));
    }
    Ok((Some(columns), vec![row]))
}

fn read_row(source: &Source, row: Span) -> Result<Vec<Cell>, Refused> {
    if row.is_empty() {
        return Ok(Vec::new());
    }
    let mut cells = Vec::new();
    for span in source.split(row) {
        if span.is_empty() {
            return Err(Refused::unread("a value is missing between two commas"));
        }
        cells.push(Cell::read(source, span));
    }
    Ok(cells)
}

impl Cell {
    /// What kind of value these tokens are.
    pub(super) fn read(source: &Source, span: Span) -> Self {
        let mut at = span.from;
        let mut kind = CellKind::Expression;
        let mut behind = at;
        if source.is_symbol(at, '-') || source.is_symbol(at, '+') {
            at += 1;
            if source.kind(at) == Some(Kind::Number) {
                (kind, behind) = (CellKind::Literal, at + 1);
            }
        } else {
            match source.kind(at) {
                Some(Kind::Number | Kind::Text) => (kind, behind) = (CellKind::Literal, at + 1),
                Some(Kind::Parameter) => (kind, behind) = (CellKind::Parameter, at + 1),
                Some(Kind::Word) if source.is_word(at, "NULL") => {
                    (kind, behind) = (CellKind::Null, at + 1);
                }
                Some(Kind::Word) if source.is_word(at, "DEFAULT") => {
                    (kind, behind) = (CellKind::Default, at + 1);
                }
                Some(Kind::Word) if source.is_any(at, &["TRUE", "FALSE"]) => {
                    (kind, behind) = (CellKind::Literal, at + 1);
                }
                // `DATE '2024-01-01'`, MySQL's `_utf8mb4'text'`.
                Some(Kind::Word)
                    if source.kind(at + 1) == Some(Kind::Text)
                        && (source.is_any(at, &["DATE", "TIME", "TIMESTAMP"])
                            || source.token(at).starts_with('_')) =>
                {
                    (kind, behind) = (CellKind::Literal, at + 2);
                }
                _ => {}
            }
        }
        if behind < span.to
            && !is_cast(
                source,
                Span {
                    from: behind,
                    to: span.to,
                },
            )
        {
            kind = CellKind::Expression;
        }
        Self { kind, span }
    }
}

/// PostgreSQL's `::type`, any number of times.
fn is_cast(source: &Source, span: Span) -> bool {
    let mut at = span.from;
    if source.dialect() != Dialect::Postgres {
        return false;
    }
    while at < span.to {
        if !(source.is_symbol(at, ':') && source.is_symbol(at + 1, ':')) {
            return false;
        }
        at += 2;
        let from = at;
        while at < span.to && !source.is_symbol(at, ':') {
            let belongs = source.name(at).is_some()
                || source.is_symbol(at, '.')
                || source.is_symbol(at, '(')
                || source.is_symbol(at, '[');
            if !belongs {
                return false;
            }
            at = source.behind(at);
        }
        if at == from {
            return false;
        }
    }
    true
}
