//! Names of tables and columns: as statements write them, and as the queries made here do.

use super::Dialect;
use super::refused::Refused;
use super::source::{Cursor, Source};
use crate::client::at::meta::{KeyKind, TableMeta};

/// A name in a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Without quotes, and with doubled quotes inside made single.
    pub value: String,
    /// Whether it stood in quotes.
    pub quoting: Quoting,
}

/// Whether a name stood in quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quoting {
    /// Without: its case may not count.
    Plain,
    /// In the quotes of the database.
    Quoted,
}

impl Name {
    pub(super) fn plain(text: &str) -> Self {
        Self {
            value: text.to_owned(),
            quoting: Quoting::Plain,
        }
    }

    /// Nothing when it has escapes that are not read here (PostgreSQL's `U&"…"`).
    pub(super) fn unquoted(text: &str) -> Option<Self> {
        let open = text.chars().next()?;
        let inner = text.get(1..text.len().checked_sub(1)?)?;
        let value = match open {
            '[' => inner.to_owned(),
            '"' => inner.replace("\"\"", "\""),
            '`' => inner.replace("``", "`"),
            _ => return None,
        };
        Some(Self {
            value,
            quoting: Quoting::Quoted,
        })
    }

    /// As the database looks it up: PostgreSQL makes names without quotes lower case.
    pub fn folded(&self, dialect: Dialect) -> String {
        match (dialect, self.quoting) {
            (Dialect::Postgres, Quoting::Plain) => self.value.to_ascii_lowercase(),
            _ => self.value.clone(),
        }
    }
}

/// A table as a statement names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName {
    /// What stood in front of the dot: a schema, or MySQL's database.
    pub schema: Option<Name>,
    /// The table.
    pub name: Name,
    /// The whole as it was written, with quotes: undo records keep it.
    pub text: String,
}

impl TableName {
    /// Reads what an undo record calls a table.
    ///
    /// # Errors
    ///
    /// [`Refused`] when it is no name of a table.
    pub fn parse(text: &str, dialect: Dialect) -> Result<Self, Refused> {
        let source = Source::read(text, dialect)?;
        let mut cursor = Cursor::new(&source);
        let table = cursor.table()?;
        cursor.expect_end()?;
        Ok(table)
    }
}

/// A name in quotes. SQLite takes a name in double quotes that is no column for a literal, hence the others.
pub(super) fn quote(name: &str, dialect: Dialect) -> String {
    let quote = match dialect {
        Dialect::MySql | Dialect::Sqlite => '`',
        Dialect::Postgres => '"',
    };
    let mut quoted = String::with_capacity(name.len() + 2);
    quoted.push(quote);
    for char in name.chars() {
        if char == quote {
            quoted.push(quote);
        }
        quoted.push(char);
    }
    quoted.push(quote);
    quoted
}

/// The table in quotes, with its schema where it has to be named.
pub(super) fn quote_table(meta: &TableMeta, dialect: Dialect) -> String {
    match &meta.schema {
        Some(schema) => format!("{}.{}", quote(schema, dialect), quote(&meta.name, dialect)),
        None => quote(&meta.name, dialect),
    }
}

/// The columns in quotes with commas between them, each behind the prefix.
pub(super) fn quote_columns(
    meta: &TableMeta,
    columns: &[usize],
    prefix: &str,
    dialect: Dialect,
) -> String {
    let mut list = String::new();
    for (at, column) in columns.iter().enumerate() {
        if at > 0 {
            list.push_str(", ");
        }
        list.push_str(prefix);
        list.push_str(&quote(&meta.columns[*column].name, dialect));
    }
    list
}

/// The position of a column.
pub(super) fn find(meta: &TableMeta, column: &Name) -> Result<usize, Refused> {
    let exact = meta.columns.iter().position(|c| c.name == column.value);
    let any_case = || {
        let same = |name: &str| name.eq_ignore_ascii_case(&column.value);
        meta.columns.iter().position(|c| same(&c.name))
    };
    exact
        .or_else(any_case)
        .ok_or_else(|| Refused::unknown_column(&column.value, &meta.qualified_name()))
}

/// Positions of the columns of the primary key, in the order of the index.
pub(super) fn primary_key(meta: &TableMeta) -> Result<&[usize], Refused> {
    let key = meta.keys.iter().find(|key| key.kind == KeyKind::Primary);
    match key {
        Some(key)
            if !key.columns.is_empty() && key.columns.iter().all(|c| *c < meta.columns.len()) =>
        {
            Ok(&key.columns)
        }
        _ => Err(Refused::no_primary_key(&meta.qualified_name())),
    }
}
