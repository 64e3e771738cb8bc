//! The fence of an action: a table beside its data that tells what was done for a branch (client.md 6.4).
//!
//! Each of the three phases runs in one local transaction together with its row of the fence. So a second phase that is asked twice
//! runs once, a cancel for a try that never ran does nothing, and a try that comes after its cancel is refused, as often as it
//! comes.
//!
//! | module | what lives there |
//! |---|---|
//! | [`state`] | the states of a branch, and what a phase has to do in each |
//! | [`table`] | the table and the statements on it, in the words of each database |
//! | [`store`] | carrying them out over sqlx |

mod state;
mod store;
mod table;

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Isolation;
use crate::client::resource::BoxFuture;
use crate::proto::Text;
use crate::xid::BranchId;

pub(super) use state::Phase;
pub use store::FenceDatabase;
use store::Store;
use table::Statements;

/// A table of states in the database that an action's three phases work on. Clones are the same fence.
///
/// ```no_run
/// # async fn example(pool: sqlx::SqlitePool) -> Result<(), Box<dyn std::error::Error>> {
/// use seamio::client::tcc::Fence;
///
/// let fence = Fence::new(pool);
/// fence.create_table().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Fence {
    store: Arc<dyn Store>,
    table: String,
    statements: Arc<Statements>,
    kept: Duration,
}

/// What went wrong with a fence.
#[derive(Debug)]
#[non_exhaustive]
pub enum FenceError {
    /// The database said no, or went away. Phases are asked for again.
    Database(sqlx::Error),
    /// A name that no table of a fence may have: letters, digits and `_`, with at most one dot.
    TableName(String),
    /// The table is missing, may not be written, or does not do what it is for. The text says what, and how to make it.
    Unusable(String),
    /// A row has a state that this version does not know.
    State(i64),
    /// A row changed although its transaction has it: the table's rows are not locked.
    Changed,
    /// The action runs without a fence, or its fence is on a database of another kind.
    NoConnection,
}

/// Which branch a row is about.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) xid: Text,
    pub(super) branch_id: BranchId,
    pub(super) action: &'static str,
}

/// A local transaction, whatever its database. Dropped, it is rolled back.
pub(super) trait LocalTransaction: Send {
    /// The `sqlx::Transaction`.
    fn as_any(&mut self) -> &mut dyn Any;
    /// Commits it.
    fn commit(self: Box<Self>) -> BoxFuture<Result<(), sqlx::Error>>;
    /// Rolls it back.
    fn rollback(self: Box<Self>) -> BoxFuture<Result<(), sqlx::Error>>;
}

/// An open transaction in a context, which may be shared between threads although only one of them uses it.
pub(super) struct Held(Mutex<Box<dyn LocalTransaction>>);

/// What a phase that wants to enter is told.
pub(super) enum Entry {
    /// Run it within this transaction, and commit.
    Run(Box<dyn LocalTransaction>),
    /// It was done already, or there is nothing to do.
    Done,
    /// A try: it came twice, or after its cancel. A second phase: the other one was done.
    Refused,
    /// A second phase: no try was done.
    NotTried,
}

impl Held {
    pub(super) fn new(transaction: Box<dyn LocalTransaction>) -> Self {
        Self(Mutex::new(transaction))
    }

    /// The `sqlx::Transaction`.
    pub(super) fn as_any(&mut self) -> &mut dyn Any {
        let transaction = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        transaction.as_any()
    }

    /// To end it.
    pub(super) fn take(self) -> Box<dyn LocalTransaction> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fence {
    /// A fence in the table `tcc_fence_log` of this database.
    pub fn new<DB: FenceDatabase>(pool: sqlx::Pool<DB>) -> Self {
        let store = store::open(pool);
        let statements = Arc::new(Statements::new(store.dialect(), table::TABLE));
        Self {
            store,
            table: table::TABLE.to_owned(),
            statements,
            kept: KEPT,
        }
    }

    /// In a table of another name, with its schema before a dot if it has one.
    ///
    /// # Errors
    /// [`FenceError::TableName`].
    pub fn table(mut self, name: &str) -> Result<Self, FenceError> {
        self.table = table::checked_name(name)?;
        self.statements = Arc::new(Statements::new(self.store.dialect(), name));
        Ok(self)
    }

    /// How long rows of branches that ended are kept; a day if nothing is said. A try that comes later than that after its
    /// cancel is not recognised any more.
    pub fn keep_for(mut self, time: Duration) -> Self {
        self.kept = time;
        self
    }

    /// The definition of the table, for whoever sets up the database.
    pub fn ddl(&self) -> String {
        self.store.dialect().ddl(&self.table)
    }

    /// Makes the table if it is not there.
    ///
    /// Dropping the future leaves the table made or not made.
    ///
    /// # Errors
    /// [`FenceError::Database`], for example without the right to make tables.
    pub async fn create_table(&self) -> Result<(), FenceError> {
        Ok(self.store.clone().script(self.ddl()).await?)
    }

    /// Tries, in transactions that are rolled back, whether the table does what it is for: takes a row, refuses it twice, and
    /// forgets it with its transaction. Registration does this by itself.
    ///
    /// # Errors
    /// [`FenceError::Unusable`] says what is wrong and how to make the table.
    pub async fn check(&self) -> Result<(), FenceError> {
        let checked = self.store.clone().check(self.statements.clone()).await;
        checked.map_err(|reason| {
            let (table, ddl) = (&self.table, self.ddl());
            FenceError::Unusable(format!(
                "the table {table} cannot be a fence: {reason}. Make it by Fence::create_table or by:\n{ddl};"
            ))
        })
    }

    /// Deletes the rows of branches that ended longer ago than [`Fence::keep_for`] says; how many. Rows of branches that are
    /// only tried stay, however old.
    ///
    /// Dropping the future leaves some rows deleted.
    ///
    /// # Errors
    /// [`FenceError::Database`]. Some rows may be deleted.
    pub async fn clean(&self) -> Result<u64, FenceError> {
        let age = i64::try_from(self.kept.as_micros()).unwrap_or(i64::MAX);
        let mut all = 0;
        loop {
            let cleaned = self.store.clone().clean(self.statements.clone(), age);
            let cleaned = cleaned.await?;
            all += cleaned;
            if cleaned < table::CLEANED_AT_ONCE {
                return Ok(all);
            }
        }
    }

    /// How long between two cleanings.
    pub(super) fn kept(&self) -> Duration {
        self.kept
    }

    /// Lets a phase in, or says why not. What it is told is in the transaction it gets, or committed.
    pub(super) async fn enter(
        &self,
        phase: Phase,
        key: &Key,
        level: Option<Isolation>,
    ) -> Result<Entry, FenceError> {
        let (store, statements) = (self.store.clone(), self.statements.clone());
        store.enter(statements, phase, key.clone(), level).await
    }

    /// A transaction without a row, for a branch that was tried before the action had a fence.
    pub(super) async fn begin(
        &self,
        level: Option<Isolation>,
    ) -> Result<Box<dyn LocalTransaction>, FenceError> {
        Ok(self.store.clone().begin(level).await?)
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fence")
            .field("table", &self.table)
            .field("dialect", &self.store.dialect())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for FenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(error) => write!(f, "the database of the fence: {error}"),
            Self::TableName(name) => write!(
                f,
                "`{name}` is no name for the table of a fence: letters, digits, `_` and at most one dot"
            ),
            Self::Unusable(reason) => f.write_str(reason),
            Self::State(code) => write!(f, "a row of the fence has the unknown state {code}"),
            Self::Changed => f.write_str("a row of the fence changed in the middle of a transaction"),
            Self::NoConnection => f.write_str(
                "the action has no fence on a database of this kind: give one with TccOptions::fence",
            ),
        }
    }
}

impl std::error::Error for FenceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Database(error) => Some(error),
            _ => None,
        }
    }
}

impl From<sqlx::Error> for FenceError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// A day, as `tcc.fence.cleanPeriod` of Seata.
const KEPT: Duration = Duration::from_secs(24 * 3600);
