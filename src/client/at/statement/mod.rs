//! What a statement does to which rows, and the queries that read those rows: no I/O, only text.
//!
//! [`Statement::recognise`] says whether a statement only reads, which rows it changes, or why it is refused: inside a branch
//! every statement that may write is either undone exactly or not run. What is not understood is refused.
//!
//! The queries of the images are cut out of the user's own text by the positions of its tokens, so that every expression means
//! to the database what it means in the statement itself. Clauses end at keywords outside of brackets; what stands between
//! them is not understood here and does not have to be. Names made here are always in quotes.
//!
//! # What this cannot know
//!
//! A function called in a query may write, and a trigger or a cascading foreign key may write more than the statement says. The
//! text does not show it, and none of it is undone.
//!
//! Text is read with the databases' own settings: MySQL without `ANSI_QUOTES` and `NO_BACKSLASH_ESCAPES`, PostgreSQL with
//! `standard_conforming_strings`.
//!
//! | module | what lives there |
//! |---|---|
//! | `lexer`, `source` | tokens with their positions, and a reader that goes through them |
//! | `name` | names of tables and columns |
//! | `session`, `query` | which kind of statement it is; queries and `FOR UPDATE` |
//! | `rows`, `change` | conditions, UPDATE and DELETE |
//! | `values`, `insert`, `upsert` | what an INSERT gives, how its keys become known, and what it does about rows that are there |
//! | `image` | queries of images, and how their parameters are bound |
//! | `undo` | the statements that undo |
//!
//! Follows client.md 3.2, 3.6 to 3.10, 5.3 and 9.4.

mod change;
mod image;
mod insert;
mod lexer;
mod name;
mod query;
mod refused;
mod rows;
mod session;
mod source;
mod undo;
mod upsert;
mod values;

#[cfg(test)]
mod tests;

pub use change::{Delete, JoinedImage, Update, UpdateJoin};
pub use image::{
    BeforeImage, Binding, Derived, ImageColumns, KEYS_PER_QUERY_MAX, KeyedQuery, Parameters,
    rows_by_key,
};
pub use insert::{Insert, InsertPlan, InsertedKeys, Marker, MayCount, Returned, Returning, Skips};
pub use name::{Name, Quoting, TableName};
pub use query::SelectForUpdate;
pub use refused::{Cause, Refused};
pub use session::Savepoint;
pub use undo::{RowStatement, undo_delete, undo_insert, undo_update};
pub use upsert::{Upsert, UpsertPlan};

/// The language of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// MySQL and MariaDB.
    MySql,
    /// PostgreSQL.
    Postgres,
    /// SQLite.
    Sqlite,
}

/// What a statement is to a branch.
#[derive(Clone, Debug)]
pub enum Statement {
    /// It changes no rows, and no global lock has to be asked for.
    PassThrough,
    /// It reads and locks rows.
    SelectForUpdate(SelectForUpdate),
    /// It inserts rows.
    Insert(Insert),
    /// It inserts rows, and updates those that are there.
    Upsert(Upsert),
    /// It updates rows of one table.
    Update(Update),
    /// It updates rows of joined tables.
    UpdateJoin(UpdateJoin),
    /// It deletes rows.
    Delete(Delete),
    /// It is about a savepoint.
    Savepoint(Savepoint),
}

impl Statement {
    /// Finds out what a statement does.
    ///
    /// # Errors
    ///
    /// [`Refused`] when it may write and could not be undone exactly, and when it could not be read.
    pub fn recognise(sql: &str, dialect: Dialect) -> Result<Self, Refused> {
        session::read(source::Source::read(sql, dialect)?)
    }

    /// The tables whose descriptions its image queries need, in the order of the statement.
    pub fn tables(&self) -> Vec<&TableName> {
        match self {
            Self::PassThrough | Self::Savepoint(_) => Vec::new(),
            Self::SelectForUpdate(select) => vec![select.table()],
            Self::Insert(insert) => vec![insert.table()],
            Self::Upsert(upsert) => vec![upsert.table()],
            Self::Update(update) => vec![update.table()],
            Self::UpdateJoin(update) => update.tables().collect(),
            Self::Delete(delete) => vec![delete.table()],
        }
    }
}

impl Dialect {
    /// The clause that locks the rows of a query, with a blank in front. SQLite's branches lock the whole database.
    fn lock_rows(self) -> &'static str {
        match self {
            Self::MySql | Self::Postgres => " FOR UPDATE",
            Self::Sqlite => "",
        }
    }
}
