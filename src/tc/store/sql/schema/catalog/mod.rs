//! What a database says of itself: its server, and the tables that have the names of ours.
//!
//! Each database has its own words; here they become the same few facts, which `inspect` and `apply` judge.

mod mysql;
mod postgres;
mod sqlite;

use super::super::connection::{Fault, Link, Rows};
use super::super::dialect::Dialect;
use super::tables::TABLES;

/// Everything that was read.
#[derive(Debug)]
pub(super) struct Catalog {
    pub(super) server: Server,
    pub(super) tables: Vec<FoundTable>,
}

/// The server.
#[derive(Debug, Default)]
pub(super) struct Server {
    /// For people: product and version.
    pub(super) product: String,
    /// What this server is too old for, with what is needed.
    pub(super) too_old: Option<String>,
    /// Why it takes no writes, each with the setting.
    pub(super) read_only: Vec<String>,
    /// Settings with which a commit that was told may be lost.
    pub(super) forgetful: Vec<String>,
    /// The URL leads to no place for tables.
    pub(super) nowhere: Option<String>,
}

/// A table that is there.
#[derive(Debug)]
pub(super) struct FoundTable {
    pub(super) name: String,
    /// Why no decision can be kept in it, with what to do.
    pub(super) unfit: Option<String>,
    pub(super) columns: Vec<FoundColumn>,
    pub(super) indexes: Vec<FoundIndex>,
}

/// A column that is there.
#[derive(Debug)]
pub(super) struct FoundColumn {
    pub(super) name: String,
    /// The type as the database calls it, for people.
    pub(super) type_name: String,
    pub(super) class: Class,
    /// Longest text, in characters; none for no limit, or no text.
    pub(super) characters: Option<usize>,
    /// Longest text, in bytes of UTF-8; none for no limit, or no text.
    pub(super) bytes: Option<usize>,
    pub(super) alphabet: Alphabet,
    pub(super) comparison: Comparison,
    /// Must be given by whoever inserts a row.
    pub(super) demanded: bool,
}

/// What a type can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Text,
    /// A whole number of so many bits.
    Whole(u32),
    Moment,
    Other,
}

/// Which characters a column takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alphabet {
    /// Only those of ASCII for certain.
    Ascii,
    /// Those of up to three bytes of UTF-8.
    Basic,
    /// All.
    Full,
}

/// When two texts of a column are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    /// Only when all their characters are.
    Exact,
    /// Also when only blanks at the end differ: by this collation.
    Padded(String),
    /// Also when case differs, or more: by this collation.
    Folded(String),
}

/// An index that is there.
#[derive(Debug)]
pub(super) struct FoundIndex {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
    /// No two rows have the same values in these columns, all of them and whole.
    pub(super) unique: bool,
}

impl Catalog {
    pub(super) async fn read(link: &mut Link) -> Result<Self, Fault> {
        let server = match link.dialect() {
            Dialect::MySql => mysql::server(link).await?,
            Dialect::Postgres => postgres::server(link).await?,
            Dialect::Sqlite => sqlite::server(link).await?,
        };
        let tables = if server.too_old.is_some() || server.nowhere.is_some() {
            Vec::new()
        } else {
            match link.dialect() {
                Dialect::MySql => mysql::tables(link).await?,
                Dialect::Postgres => postgres::tables(link).await?,
                Dialect::Sqlite => sqlite::tables(link).await?,
            }
        };
        Ok(Self { server, tables })
    }

    pub(super) fn table(&self, name: &str) -> Option<&FoundTable> {
        self.tables.iter().find(|table| table.name == name)
    }
}

impl FoundTable {
    fn new(name: String) -> Self {
        Self {
            name,
            unfit: None,
            columns: Vec::new(),
            indexes: Vec::new(),
        }
    }

    pub(super) fn column(&self, name: &str) -> Option<&FoundColumn> {
        let same = |column: &&FoundColumn| column.name.eq_ignore_ascii_case(name);
        self.columns.iter().find(same)
    }

    /// Whether an index helps to find rows by these columns.
    pub(super) fn has_index(&self, columns: &[&str]) -> bool {
        let leads = |index: &FoundIndex| {
            index.columns.len() >= columns.len() && equal(&index.columns[..columns.len()], columns)
        };
        self.indexes.iter().any(leads)
    }

    /// Whether no two rows can have the same values in all of these columns, whatever their order.
    pub(super) fn has_unique(&self, columns: &[&str]) -> bool {
        let covers = |index: &FoundIndex| {
            let known = |column: &String| columns.iter().any(|c| c.eq_ignore_ascii_case(column));
            index.unique && index.columns.len() == columns.len() && index.columns.iter().all(known)
        };
        self.indexes.iter().any(covers)
    }

    fn index(&mut self, name: &str, unique: bool, column: String) {
        match self.indexes.iter_mut().find(|index| index.name == name) {
            Some(index) => {
                index.columns.push(column);
                index.unique &= unique;
            }
            None => self.indexes.push(FoundIndex {
                name: name.to_owned(),
                columns: vec![column],
                unique,
            }),
        }
    }
}

fn equal(found: &[String], wanted: &[&str]) -> bool {
    let same = |(found, wanted): (&String, &&str)| found.eq_ignore_ascii_case(wanted);
    found.len() == wanted.len() && found.iter().zip(wanted).all(same)
}

/// The names of all tables as a list of literals.
fn names() -> String {
    let quoted: Vec<_> = TABLES.iter().map(|t| format!("'{}'", t.name)).collect();
    quoted.join(", ")
}

/// The rows of the only or last statement of a text.
fn rows(mut all: Vec<Rows>) -> Vec<Vec<Option<String>>> {
    all.pop().map(|last| last.rows).unwrap_or_default()
}

/// A cell as text; a null is an empty one.
fn cell(row: &[Option<String>], at: usize) -> &str {
    row.get(at).and_then(Option::as_deref).unwrap_or_default()
}

/// A cell that is a number of characters or bytes.
fn length(row: &[Option<String>], at: usize) -> Option<usize> {
    cell(row, at)
        .parse::<u64>()
        .ok()
        .map(|n| usize::try_from(n).unwrap_or(usize::MAX))
}

/// Whether a setting or a flag is on.
fn on(text: &str) -> bool {
    matches!(
        text.to_ascii_lowercase().as_str(),
        "1" | "on" | "yes" | "t" | "true"
    )
}
