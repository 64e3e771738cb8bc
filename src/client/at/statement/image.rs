//! The queries that read images: cut out of the user's statement, or by primary key.

use std::ops::Range;

use super::Dialect;
use super::name::{quote, quote_columns, quote_table};
use super::refused::{Cause, Refused};
use super::source::{Part, Source, Span};
use crate::client::at::meta::{ColumnMeta, TableMeta};

/// A query made out of the user's statement, and how its parameters are bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derived {
    /// The text.
    pub sql: String,
    /// Its parameters.
    pub binding: Binding,
}

/// What is bound to a query made out of the user's statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding {
    /// The user's whole list, as it is.
    Whole,
    /// These of the user's values, by their position from 0, in this order; one may be there several times.
    Picked(Vec<usize>),
}

/// How the values of the user's statement can be bound to other queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameters {
    /// Only all of them, in their order.
    Whole,
    /// Each alone, in any order, any number of times.
    Picked,
}

/// Which columns go into the images of updates and inserts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageColumns {
    /// Those that are written, with the primary key and those that the database writes itself
    /// (`client.undo.onlyCareUpdateColumns`, the default).
    Written,
    /// All.
    All,
}

/// The image before a statement: what to select, and the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeforeImage {
    /// Positions in [`TableMeta::columns`], in the order of the selected columns.
    pub columns: Vec<usize>,
    /// The query. It locks the rows, where the database has row locks.
    pub query: Derived,
}

/// A query of rows by primary key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedQuery {
    /// The text. The columns of each key are bound in the order of the primary key's index, the keys one after the other.
    pub sql: String,
    /// Which of the keys it is for.
    pub keys: Range<usize>,
}

/// Keys in one query at most.
pub const KEYS_PER_QUERY_MAX: usize = 1000;

impl Derived {
    /// The text, for who can only bind the user's whole list.
    ///
    /// # Errors
    ///
    /// [`Refused`] with [`Cause::Parameters`] when the query needs another order.
    pub fn whole(self) -> Result<String, Refused> {
        match self.binding {
            Binding::Whole => Ok(self.sql),
            Binding::Picked(_) => Err(Refused::new(
                "its image query needs the parameters in another order, or one of them twice",
                "bind the values with `at::query`, where each can be bound again",
            )
            .cause(Cause::Parameters)),
        }
    }
}

/// Queries for the rows with these many keys, locking them. Nothing for no keys.
///
/// Reads the after image of updates, the rows that an insert returned, and the current rows before an undo.
/// Locking, because MySQL's plain reads may show an older state than the one the statement has seen.
///
/// # Errors
///
/// [`Refused`] when the table has no primary key.
pub fn rows_by_key(
    dialect: Dialect,
    meta: &TableMeta,
    columns: &[usize],
    keys: usize,
) -> Result<Vec<KeyedQuery>, Refused> {
    let key = super::name::primary_key(meta)?;
    let list = quote_columns(meta, columns, "", dialect);
    let table = quote_table(meta, dialect);
    let mut queries = Vec::new();
    let mut from = 0;
    while from < keys {
        let to = keys.min(from + KEYS_PER_QUERY_MAX);
        let mut placeholders = Placeholders::new(dialect);
        let mut sql = format!("SELECT {list} FROM {table} WHERE ");
        push_key_list(&mut sql, meta, key, to - from, &mut placeholders);
        sql.push_str(dialect.lock_rows());
        queries.push(KeyedQuery {
            sql,
            keys: from..to,
        });
        from = to;
    }
    Ok(queries)
}

fn push_key_list(
    sql: &mut String,
    meta: &TableMeta,
    key: &[usize],
    rows: usize,
    placeholders: &mut Placeholders,
) {
    let dialect = placeholders.dialect;
    let columns = quote_columns(meta, key, "", dialect);
    let composite = key.len() > 1;
    // SQLite compares row values with rows, not with a list of rows.
    let (open, close) = match (composite, dialect) {
        (false, _) => (format!("{columns} IN ("), ")"),
        (true, Dialect::Sqlite) => (format!("({columns}) IN (VALUES "), ")"),
        (true, _) => (format!("({columns}) IN ("), ")"),
    };
    sql.push_str(&open);
    for row in 0..rows {
        if row > 0 {
            sql.push_str(", ");
        }
        if composite {
            sql.push('(');
        }
        for (at, column) in key.iter().enumerate() {
            if at > 0 {
                sql.push_str(", ");
            }
            placeholders.push(sql, &meta.columns[*column]);
        }
        if composite {
            sql.push(')');
        }
    }
    sql.push_str(close);
}

/// The placeholders of a query whose values come from images.
pub(super) struct Placeholders {
    dialect: Dialect,
    last: usize,
}

impl Placeholders {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, last: 0 }
    }

    /// The next placeholder, for a value of this column: PostgreSQL is told the type, MySQL's JSON the character set.
    pub(super) fn push(&mut self, sql: &mut String, column: &ColumnMeta) {
        self.last += 1;
        let text = match self.dialect {
            Dialect::MySql if column.type_name == "json" => "CONVERT(? USING utf8mb4)".to_owned(),
            Dialect::MySql => "?".to_owned(),
            Dialect::Postgres if column.type_name.is_empty() => format!("${}", self.last),
            Dialect::Postgres => format!("${}::{}", self.last, column.type_name),
            Dialect::Sqlite => format!("?{}", self.last),
        };
        sql.push_str(&text);
    }
}

/// A query that is being put together out of parts of the user's statement.
pub(super) struct Assembly<'a> {
    source: &'a Source,
    pieces: Vec<Piece>,
}

enum Piece {
    Text(String),
    Parameter(usize),
    /// A condition follows. Parameters that are not wanted can be given a place here, as conditions that are always true.
    BeforeCondition,
    /// A condition has ended, with the same use.
    BehindCondition,
}

impl<'a> Assembly<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        Self {
            source,
            pieces: Vec::new(),
        }
    }

    pub(super) fn text(&mut self, text: impl Into<String>) {
        self.pieces.push(Piece::Text(text.into()));
    }

    /// A part of the user's statement as it was written.
    pub(super) fn span(&mut self, span: Span) {
        for part in self.source.parts(span) {
            self.pieces.push(match part {
                Part::Text(text) => Piece::Text(text.to_owned()),
                Part::Parameter(position) => Piece::Parameter(position),
            });
        }
    }

    pub(super) fn before_condition(&mut self) {
        self.pieces.push(Piece::BeforeCondition);
    }

    pub(super) fn behind_condition(&mut self) {
        self.pieces.push(Piece::BehindCondition);
    }

    pub(super) fn finish(self, parameters: Parameters) -> Derived {
        let numbered = |sign: char| Derived {
            sql: self.write(|sql, position| {
                sql.push(sign);
                sql.push_str(&(position + 1).to_string());
            }),
            binding: Binding::Whole,
        };
        match (self.source.dialect(), parameters) {
            // Values without a placeholder are legal in both.
            (Dialect::Postgres, _) => numbered('$'),
            (Dialect::Sqlite, _) => numbered('?'),
            (Dialect::MySql, Parameters::Whole) => self.whole().unwrap_or_else(|| self.picked()),
            (Dialect::MySql, Parameters::Picked) => self.picked(),
        }
    }

    fn picked(&self) -> Derived {
        let mut picked = Vec::new();
        let sql = self.write(|sql, position| {
            sql.push('?');
            picked.push(position);
        });
        Derived {
            sql,
            binding: Binding::Picked(picked),
        }
    }

    fn write(&self, mut placeholder: impl FnMut(&mut String, usize)) -> String {
        let mut sql = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => sql.push_str(text),
                Piece::Parameter(position) => placeholder(&mut sql, *position),
                Piece::BeforeCondition | Piece::BehindCondition => {}
            }
        }
        sql
    }

    /// Every parameter once, in the user's order. Nothing when the query needs them otherwise.
    fn whole(&self) -> Option<Derived> {
        let mut sql = String::new();
        let mut next = 0;
        let mut free: Option<(usize, &str)> = None;
        let fill = |sql: &mut String, free: Option<(usize, &str)>, unwanted: usize| {
            if unwanted > 0 {
                let (at, text) = free?;
                sql.insert_str(at, &text.repeat(unwanted));
            }
            Some(())
        };
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => sql.push_str(text),
                Piece::Parameter(position) => {
                    fill(&mut sql, free.take(), position.checked_sub(next)?)?;
                    sql.push('?');
                    next = position + 1;
                }
                Piece::BeforeCondition => free = Some((sql.len(), "(? IS NULL OR TRUE) AND ")),
                Piece::BehindCondition => free = Some((sql.len(), " AND (? IS NULL OR TRUE)")),
            }
        }
        fill(&mut sql, free, self.source.parameters() - next)?;
        Some(Derived {
            sql,
            binding: Binding::Whole,
        })
    }
}

/// Positions of these columns, each once, in the order of Java's images: by name, whatever the case.
pub(super) fn in_image_order(meta: &TableMeta, mut columns: Vec<usize>) -> Vec<usize> {
    columns.sort_by_cached_key(|column| (meta.columns[*column].name.to_lowercase(), *column));
    columns.dedup();
    columns
}

/// All columns, in the order of the table.
pub(super) fn all_columns(meta: &TableMeta) -> Vec<usize> {
    (0..meta.columns.len()).collect()
}

/// `prefix.column` in quotes, where the prefix is empty or ends with a dot.
pub(super) fn qualified(meta: &TableMeta, column: usize, prefix: &str, dialect: Dialect) -> String {
    format!("{prefix}{}", quote(&meta.columns[column].name, dialect))
}
