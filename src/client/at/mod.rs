//! AT mode: local transactions on the host's own sqlx connections that can be undone after they were committed.
//!
//! | module | what lives there |
//! |---|---|
//! | [`comparison`] | whether rows may be undone |
//! | [`image`] | rows before and after a statement, and what an undo log keeps of them |
//! | [`java`] | how Java holds and writes values, for resources shared with Java clients |
//! | [`lock_key`] | the rows of a branch, as the coordinator locks them |
//! | [`meta`] | what a table looks like: columns, keys, JDBC type numbers |
//! | [`statement`] | what a statement does to which rows, and the queries that read them |
//! | [`undo_log`] | the content of `undo_log` rows |
//! | [`value`] | what a column holds, without loss |
//! | [`zone`] | the time zone of the Java clients |
//!
//! [`Seata::at`](crate::client::Seata::at) prepares a database, [`At::begin`] begins a local transaction on a connection of the
//! host, and [`AtBranch`] runs statements of sqlx on it, reads their rows before and behind them, and commits them together with
//! an undo log. The coordinator keeps others from the changed rows until the global transaction is decided.
//!
//! What is not undone: rows that triggers and cascading foreign keys change, what runs past the branch ([`AtBranch::bypass`]),
//! and what a function in a query writes. Statements that could not be undone are refused before they run.
//!
//! All connections to a resource need the same session settings, since undo runs on the pool's; those that statements and
//! values depend on are looked at where a branch or a rollback begins, and others refused ([`Error::Session`]).
//!
//! Follows client.md 3, 4 and 5.

mod branch;
mod cleanup;
pub mod comparison;
mod coordination;
mod database;
mod error;
mod handle;
pub mod image;
mod images;
pub mod java;
mod local;
pub mod lock_key;
pub mod meta;
mod options;
mod recorded;
mod resource;
mod session;
mod start;
pub mod statement;
mod tables;
mod undo;
pub mod undo_log;
mod undo_rows;
mod undo_table;
pub mod value;
pub mod zone;

#[cfg(all(test, feature = "sqlite"))]
mod tests;

pub use branch::AtBranch;
pub use branch::query::{Query, query};
pub use database::Database;
pub use error::Error;
pub use handle::At;
pub use options::{
    AtOptions, LockCall, LockRetry, LockStrategy, MissingUndoTable, ReportSuccess, Validation,
};
pub use statement::ImageColumns;
pub use undo_table::Purge;
