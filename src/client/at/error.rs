//! What can go wrong with a local transaction of AT. Each variant says what to do next.

use std::fmt;

use super::{lock_key, statement, undo_log};
use crate::client::{BranchError, Error as ClientError};
use crate::proto::Text;
use crate::xid::BranchId;

/// What went wrong with a branch of AT.
///
/// From an `Executor` it comes inside of a [`sqlx::Error`]; [`Error::of`] finds it there.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The statement may write and could not be undone exactly; it was not run. The branch goes on.
    Refused(statement::Refused),
    /// A row cannot be locked as it is. The statement has run: roll back.
    NotLockable(lock_key::Refused),
    /// The database said no, or could not be reached. Whether the branch goes on depends on the database and the error; it says
    /// so when it is used again.
    Database(sqlx::Error),
    /// Another global transaction held a row until the patience of [`LockRetry`](super::LockRetry) ended. At the commit the
    /// local transaction is rolled back; try again later.
    LockWaitTimeout {
        /// The transaction that waited; empty for one that only asked.
        xid: Text,
        /// What the coordinator said last.
        message: String,
    },
    /// The branch cannot be used any more: roll it back, or back to a savepoint.
    Unusable(String),
    /// The statement changed other rows than its image shows: a trigger, or another transaction in between. It has run: roll
    /// back.
    RowsDiffer {
        /// The table.
        table: String,
        /// Rows of the image.
        image: usize,
        /// Rows that the statement changed, or that were found afterwards.
        found: u64,
    },
    /// There is no such table, or it is a view or temporary: its rows could not be found again.
    NoTable {
        /// As the statement calls it.
        table: String,
    },
    /// The connection is in a transaction already, which is not ours to end. End it first.
    InTransaction,
    /// The connection's settings are not those that statements are read by, or not those of the pool, which undoes. Nothing was
    /// run; the text says which setting it is.
    Session(String),
    /// The undo log cannot be written as it is. The local transaction is rolled back.
    UndoLog(undo_log::Error),
    /// A value that the layout of the undo log cannot hold: Java's classes have no time of day with a fraction, for example. The
    /// local transaction is rolled back. Resources without Java clients have no such limits with
    /// [`AtOptions::only_seamio`](super::AtOptions::only_seamio).
    NotRecordable {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// What it held, shortened.
        value: String,
    },
    /// The global transaction takes no branches any more, and the local transaction is rolled back.
    NotActive {
        /// The transaction.
        xid: Text,
        /// Why.
        message: String,
    },
    /// The branch was not registered, and the local transaction is rolled back.
    NotRegistered(BranchError),
    /// The coordinator could not be asked; the local transaction is rolled back.
    Coordinator(ClientError),
    /// The connection was lost while the database committed: nobody knows if it did. The branch is registered, so both the
    /// commit and the rollback of the global transaction leave the right thing; roll the global transaction back if in doubt.
    OutcomeUnknown {
        /// The transaction.
        xid: Text,
        /// The branch; none when there was nothing to register.
        branch_id: Option<BranchId>,
        /// What happened to the COMMIT.
        source: sqlx::Error,
    },
    /// The database is not prepared for AT. The text says what is missing, and how to make it.
    NotPrepared(String),
}

impl Error {
    /// Whether another global transaction was in the way.
    pub fn is_lock_conflict(&self) -> bool {
        matches!(self, Self::LockWaitTimeout { .. })
    }

    /// The error of ours inside one of sqlx, if it is one.
    pub fn of(error: &sqlx::Error) -> Option<&Error> {
        match error {
            sqlx::Error::AnyDriverError(inner) => inner.downcast_ref(),
            _ => None,
        }
    }
}

/// Errors of the database itself stay what they are, so that who asks for a violated key finds it.
impl From<Error> for sqlx::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Database(error) => error,
            other => Self::AnyDriverError(Box::new(other)),
        }
    }
}

/// Finds our own again inside of what an `Executor` gave.
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::AnyDriverError(inner) => match inner.downcast() {
                Ok(ours) => *ours,
                Err(inner) => Self::Database(sqlx::Error::AnyDriverError(inner)),
            },
            other => Self::Database(other),
        }
    }
}

impl From<statement::Refused> for Error {
    fn from(refused: statement::Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<lock_key::Refused> for Error {
    fn from(refused: lock_key::Refused) -> Self {
        Self::NotLockable(refused)
    }
}

impl From<undo_log::Error> for Error {
    fn from(error: undo_log::Error) -> Self {
        Self::UndoLog(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::NotLockable(refused) => refused.fmt(f),
            Self::Database(error) => error.fmt(f),
            Self::LockWaitTimeout { xid, message } => {
                write!(f, "global lock wait timeout, xid={xid}: {message}")
            }
            Self::Unusable(why) => write!(
                f,
                "the branch can only be rolled back, or back to a savepoint: {why}"
            ),
            Self::RowsDiffer {
                table,
                image,
                found,
            } => write!(
                f,
                "the statement changed other rows of {table} than were read before it ({image} before, {found} after): \
                 a trigger or another transaction; roll back"
            ),
            Self::NoTable { table } => write!(
                f,
                "there is no table {table}, or it is a view or a temporary table, whose rows could not be undone"
            ),
            Self::InTransaction => f.write_str(
                "the connection is in a transaction already; end it before a branch begins on it",
            ),
            Self::UndoLog(error) => error.fmt(f),
            Self::NotRecordable {
                table,
                column,
                value,
            } => write!(
                f,
                "the undo log in Java's layout cannot hold {value} of {table}.{column}, so it could not be undone, and is rolled \
                 back; where no Java client shares the resource, use AtOptions::only_seamio"
            ),
            Self::NotActive { xid, message } => write!(
                f,
                "the global transaction xid={xid} takes no branches any more, the local one is rolled back: {message}"
            ),
            Self::NotRegistered(error) => {
                write!(
                    f,
                    "the branch was not registered, and is rolled back: {error}"
                )
            }
            Self::Coordinator(error) => write!(f, "the local transaction is rolled back: {error}"),
            Self::OutcomeUnknown { xid, source, .. } => write!(
                f,
                "it is not known whether the local transaction of xid={xid} was committed: {source}"
            ),
            Self::NotPrepared(what) | Self::Session(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(refused) => Some(refused),
            Self::NotLockable(refused) => Some(refused),
            Self::Database(error) | Self::OutcomeUnknown { source: error, .. } => Some(error),
            Self::UndoLog(error) => Some(error),
            Self::NotRegistered(error) => Some(error),
            Self::Coordinator(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_found_again_inside_of_those_of_sqlx() {
        let outer = sqlx::Error::from(Error::InTransaction);
        assert!(matches!(Error::of(&outer), Some(Error::InTransaction)));
        assert!(matches!(Error::from(outer), Error::InTransaction));
        let plain = sqlx::Error::from(Error::Database(sqlx::Error::RowNotFound));
        assert!(matches!(plain, sqlx::Error::RowNotFound));
        assert!(Error::of(&plain).is_none());
    }
}
