//! What a phase of an action knows: which branch it is for, what the branch carries, and the fence's open transaction.

use std::fmt;
use std::future::Future;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::document::{ContextError, Document};
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
use super::fence::{FenceError, Held};
use super::reporting::Reporting;
use crate::client::Error;
use crate::client::resource::PhaseTwo;
use crate::proto::Text;
use crate::xid::BranchId;

/// What a phase of an action is told, and what a try can leave for the second phase.
pub struct ActionContext {
    pub(super) xid: Text,
    pub(super) branch_id: BranchId,
    pub(super) action: &'static str,
    pub(super) document: Document,
    pub(super) reporting: Reporting,
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    pub(super) transaction: Option<Held>,
}

/// Why something could not be left for the second phase.
#[derive(Debug)]
#[non_exhaustive]
pub enum AddError {
    /// The name or the value is not fit, or the context would become too long. Nothing was added.
    Context(ContextError),
    /// A second phase cannot leave anything: nobody reads it.
    NotInTry,
    /// The coordinator did not take it, or did not say so. The second phase may see it or not: the try should fail.
    Report(Error),
}

impl ActionContext {
    /// The context of a branch as its second phase sees it: for tests of actions, and for tools that look at branches. It has
    /// no connection to a database.
    ///
    /// # Errors
    /// [`ContextError::Malformed`] when the branch carries something else than a context.
    pub fn of_branch(action: &'static str, branch: &PhaseTwo) -> Result<Self, ContextError> {
        Ok(Self {
            xid: branch.xid.clone(),
            branch_id: branch.branch_id,
            action,
            document: Document::read(&branch.application_data)?,
            reporting: Reporting::Never,
            #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
            transaction: None,
        })
    }

    /// The global transaction.
    pub fn xid(&self) -> &str {
        &self.xid
    }

    /// The branch; a number that no other has.
    pub fn branch_id(&self) -> BranchId {
        self.branch_id
    }

    /// The action's name.
    pub fn action_name(&self) -> &str {
        self.action
    }

    /// A member of the context: an argument, or what the try added. None if it is not there or null. Numbers are read from text
    /// and as text, structures from text too.
    ///
    /// # Errors
    /// [`ContextError::Type`] when it is something else.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, ContextError> {
        self.document.get(key)
    }

    /// The arguments of the try, read as forgivingly as [`ActionContext::get`] reads.
    ///
    /// # Errors
    /// [`ContextError::Type`] when the context holds others.
    pub fn args<A: DeserializeOwned>(&self) -> Result<A, ContextError> {
        self.document.args()
    }

    /// The names of all members, those that the client writes about itself among them.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.document.keys()
    }

    /// Leaves something for the second phase, in a try. It is with the coordinator when this returns, or when the try is over:
    /// see [`ReportTime`](super::ReportTime). A structure or list travels as JSON in a text, as with Java's clients.
    ///
    /// Dropping the future leaves it added here, and with the coordinator or not.
    ///
    /// # Errors
    /// See [`AddError`].
    pub fn add<'a, T: Serialize + ?Sized>(
        &'a mut self,
        key: &str,
        value: &T,
    ) -> impl Future<Output = Result<(), AddError>> + Send + use<'a, T> {
        let added = self.set(key, value);
        async move {
            match added? {
                Added::Nothing => Ok(()),
                Added::Something => {
                    self.reporting
                        .added(&self.xid, self.branch_id, &self.document)
                        .await
                }
            }
        }
    }

    /// The connection of the fence's transaction: what is done over it is committed together with the phase, or not at all.
    ///
    /// ```no_run
    /// # async fn example(ctx: &mut seamio::client::tcc::ActionContext) -> Result<(), Box<dyn std::error::Error>> {
    /// let connection = ctx.connection::<sqlx::Sqlite>()?;
    /// sqlx::query("UPDATE account SET frozen = frozen + ? WHERE id = ?")
    ///     .bind(5)
    ///     .bind(7)
    ///     .execute(connection)
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`FenceError::NoConnection`] when the action has no fence, or one on another kind of database.
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    pub fn connection<DB: sqlx::Database>(&mut self) -> Result<&mut DB::Connection, FenceError> {
        let open = self.transaction.as_mut().map(|open| open.as_any());
        match open.and_then(|any| any.downcast_mut::<sqlx::Transaction<'static, DB>>()) {
            Some(transaction) => Ok(transaction),
            None => Err(FenceError::NoConnection),
        }
    }

    /// Commits the fence's transaction, if there is one.
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    pub(super) async fn commit(&mut self) -> Result<(), FenceError> {
        match self.transaction.take() {
            Some(open) => Ok(open.take().commit().await?),
            None => Ok(()),
        }
    }

    /// Rolls the fence's transaction back, if there is one. Where that fails the database does it, with the connection.
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    pub(super) async fn undo(&mut self) {
        if let Some(open) = self.transaction.take()
            && let Err(error) = open.take().rollback().await
        {
            let (xid, id) = (&self.xid, self.branch_id);
            log::warn!("xid={xid} branch={id} event=local_rollback_failed reason={error}");
        }
    }

    fn set<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<Added, AddError> {
        let Some(limit) = self.reporting.limit() else {
            return Err(AddError::NotInTry);
        };
        let mut changed = self.document.clone();
        if !changed.set(key, value).map_err(AddError::Context)? {
            return Ok(Added::Nothing);
        }
        changed.check_length(limit).map_err(AddError::Context)?;
        self.document = changed;
        Ok(Added::Something)
    }
}

enum Added {
    Nothing,
    Something,
}

impl fmt::Debug for ActionContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActionContext")
            .field("xid", &self.xid)
            .field("branch_id", &self.branch_id)
            .field("action", &self.action)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Context(error) => error.fmt(f),
            Self::NotInTry => f.write_str("only a try can add to its context"),
            Self::Report(error) => write!(f, "the coordinator was not told: {error}"),
        }
    }
}

impl std::error::Error for AddError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Context(error) => Some(error),
            Self::NotInTry => None,
            Self::Report(error) => Some(error),
        }
    }
}
