//! Why a statement is not run inside a branch, and what its author can do.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

/// A statement that a branch does not run: it may write, and it could not be undone exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What kind of refusal it is, for programs.
    pub cause: Cause,
    /// What is wrong, a sentence without its full stop.
    pub reason: Cow<'static, str>,
    /// What helps, a sentence without its full stop.
    pub what_to_do: Cow<'static, str>,
}

/// The kind of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Statements of this form are never run inside a branch.
    Statement,
    /// The table has no primary key, or not the one that would be needed.
    Key,
    /// The description of the table has no such column. Read it again before giving up: the table may have been altered.
    UnknownColumn,
    /// The image queries need parameters in another order or more than once, which a list that can only be taken whole does
    /// not give. A statement whose values are bound one by one can be run.
    Parameters,
}

impl Refused {
    pub(in crate::client::at) fn new(
        reason: impl Into<Cow<'static, str>>,
        what_to_do: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            cause: Cause::Statement,
            reason: reason.into(),
            what_to_do: what_to_do.into(),
        }
    }

    pub(super) fn cause(mut self, cause: Cause) -> Self {
        self.cause = cause;
        self
    }

    /// The text breaks a rule of the language that is needed to find its clauses.
    pub(super) fn unread(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(reason, "correct the statement")
    }

    /// A form that no rollback could undo.
    pub(super) fn not_undoable(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(
            reason,
            "run it outside of the branch, or past it with `bypass()` if it needs no undo",
        )
    }

    pub(super) fn unknown_column(column: &str, table: &str) -> Self {
        Self::new(
            format!("the table {table} has no column {column} that is known"),
            "check the name; if the table was altered just now, try again",
        )
        .cause(Cause::UnknownColumn)
    }

    pub(super) fn no_primary_key(table: &str) -> Self {
        Self::new(
            format!("the table {table} has no primary key"),
            "give it one: images and row locks are found by it",
        )
        .cause(Cause::Key)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not run in a global transaction: {}; {}",
            self.reason, self.what_to_do
        )
    }
}

impl Error for Refused {}
