//! Registering an action, and its try.

use std::fmt;
use std::sync::Arc;

use super::context::ActionContext;
use super::document::{ContextError, Document, Origin};
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
use super::fence::{Entry, FenceError, Held, Key, Phase};
use super::reporting::Reporting;
use super::second_phase::Registered;
use super::{Isolation, TccAction, TccOptions};
use crate::client::resource::Resource;
use crate::client::wire::epoch_ms;
use crate::client::{BranchError, Error, GlobalTx, NewBranch, Seata};
use crate::proto::Text;
use crate::proto::status::BranchType;
use crate::xid::BranchId;

/// A registered action. Clones are the same.
pub struct Tcc<A> {
    registered: Arc<Registered<A>>,
    seata: Seata,
}

/// Why an action could not be registered. Nothing is registered then.
#[derive(Debug)]
#[non_exhaustive]
pub enum RegisterError {
    /// The name is empty, has a comma, or is too long for the fence.
    Name(String),
    /// The fence cannot do its work; the text says what to do.
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    Fence(FenceError),
    /// The client refused, for example because another action has the name.
    Client(Error),
}

/// Why a try failed. Whatever it is: the global transaction should be rolled back, and the branch, if it was registered, will be
/// cancelled.
#[derive(Debug)]
#[non_exhaustive]
pub enum TryError<E> {
    /// The action itself failed.
    Action(E),
    /// The arguments cannot be sent along. The action did not run.
    Context(ContextError),
    /// The coordinator did not take the branch, or did not say so. The action did not run.
    NotRegistered(BranchError),
    /// What the action added did not reach the coordinator. Under a fence its work is undone.
    Report(Error),
    /// The branch was cancelled already, or tried before. The action did not run.
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    Refused,
    /// The database failed. Whether the action's work is done or undone, the cancel will know.
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    Fence(FenceError),
}

impl Seata {
    /// Registers an action, so that its branches can be finished here. See [`Seata::register_tcc_with`].
    ///
    /// # Errors
    /// See [`RegisterError`].
    pub async fn register_tcc<A: TccAction>(&self, action: A) -> Result<Tcc<A>, RegisterError> {
        self.register_tcc_with(action, TccOptions::new()).await
    }

    /// Registers an action with a fence or other options. The second phases run within the future that the client was built with.
    ///
    /// Dropping the future leaves it registered or not.
    ///
    /// # Errors
    /// See [`RegisterError`].
    pub async fn register_tcc_with<A: TccAction>(
        &self,
        action: A,
        options: TccOptions,
    ) -> Result<Tcc<A>, RegisterError> {
        check_name(A::NAME)?;
        #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
        if let Some(fence) = &options.fence {
            check_fenced_name(A::NAME)?;
            fence.check().await.map_err(RegisterError::Fence)?;
        }
        let registered = Arc::new(Registered { action, options });
        let done = self.rm().register_resource(registered.clone()).await;
        done.map_err(RegisterError::Client)?;
        #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
        if let Some(fence) = &registered.options.fence {
            let client = Arc::downgrade(&self.inner);
            let cleaning = super::cleaning::clean(client, fence.clone());
            self.rm().spawn_loop(Box::pin(cleaning));
        }
        let seata = self.clone();
        Ok(Tcc { registered, seata })
    }
}

impl<A: TccAction> Tcc<A> {
    /// Registers a branch of the transaction and runs the try.
    ///
    /// A try that fails is not reported: the branch stays, and rolling the transaction back cancels it.
    ///
    /// Dropping the future at any point leaves the branch registered or not, and a fenced try undone. The transaction should
    /// then be rolled back.
    ///
    /// # Errors
    /// See [`TryError`].
    pub async fn try_in(&self, tx: &GlobalTx, args: A::Args) -> Result<A::Out, TryError<A::Error>> {
        let xid = tx.xid().clone();
        let document = self.document(&args).map_err(TryError::Context)?;
        let branch = NewBranch {
            xid: xid.clone(),
            branch_type: BranchType::Tcc,
            resource_id: Text::from(A::NAME),
            lock_key: Text::new(),
            application_data: document.to_text(),
        };
        let branch_id = self.seata.rm().register_branch(branch).await;
        let branch_id = branch_id.map_err(TryError::NotRegistered)?;
        let mut ctx = self.context(xid, branch_id, document);
        let hooks = &self.registered.options.hooks;
        hooks.call(|hook| hook.before_try(&ctx));
        let tried = self.run(&mut ctx, &args).await;
        hooks.call(|hook| hook.after_try(&ctx));
        tried
    }

    /// What the coordinator asks: for tests of an action, which can ask twice, late or in the wrong order.
    pub fn resource(&self) -> Arc<dyn Resource> {
        self.registered.clone()
    }

    /// The action.
    pub fn action(&self) -> &A {
        &self.registered.action
    }

    fn document(&self, args: &A::Args) -> Result<Document, ContextError> {
        let host = self.seata.inner.local_address();
        let origin = Origin {
            action: A::NAME,
            started_ms: epoch_ms(),
            fenced: self.is_fenced(),
            isolation: self.registered.options.isolation.map(Isolation::number),
            host: &host.map_or_else(String::new, |address| address.to_string()),
        };
        let document = Document::new(args, &origin)?;
        document.check_length(self.registered.options.context_characters_max)?;
        Ok(document)
    }

    fn context(&self, xid: Text, branch_id: BranchId, document: Document) -> ActionContext {
        let options = &self.registered.options;
        ActionContext {
            xid,
            branch_id,
            action: A::NAME,
            document,
            reporting: Reporting::By {
                rm: self.seata.rm(),
                action: A::NAME,
                time: options.report,
                limit: options.context_characters_max,
                owes: false,
            },
            #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
            transaction: None,
        }
    }

    fn is_fenced(&self) -> bool {
        #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
        return self.registered.options.fence.is_some();
        #[cfg(not(any(feature = "mysql", feature = "postgres", feature = "sqlite")))]
        false
    }

    async fn run(
        &self,
        ctx: &mut ActionContext,
        args: &A::Args,
    ) -> Result<A::Out, TryError<A::Error>> {
        #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
        if let Some(fence) = &self.registered.options.fence {
            let key = Key {
                xid: ctx.xid.clone(),
                branch_id: ctx.branch_id,
                action: A::NAME,
            };
            let level = self.registered.options.isolation;
            match fence.enter(Phase::Try, &key, level).await {
                Ok(Entry::Run(transaction)) => ctx.transaction = Some(Held::new(transaction)),
                Ok(_) => return Err(TryError::Refused),
                Err(error) => return Err(TryError::Fence(error)),
            }
        }
        let tried = self.registered.action.try_(ctx, args).await;
        // Before the work is committed: a confirm must not find it without what was added.
        let ActionContext {
            xid,
            branch_id,
            document,
            reporting,
            ..
        } = &mut *ctx;
        let told = reporting.settle(xid, *branch_id, document).await;
        match (tried, told) {
            (Ok(out), Ok(())) => {
                #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
                ctx.commit().await.map_err(TryError::Fence)?;
                Ok(out)
            }
            (Ok(_), Err(error)) => {
                #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
                ctx.undo().await;
                Err(TryError::Report(error))
            }
            (Err(error), told) => {
                if let Err(report) = told {
                    let (xid, id) = (&ctx.xid, ctx.branch_id);
                    log::warn!("xid={xid} branch={id} event=report_failed reason={report}");
                }
                #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
                ctx.undo().await;
                Err(TryError::Action(error))
            }
        }
    }
}

impl<A> Clone for Tcc<A> {
    fn clone(&self) -> Self {
        Self {
            registered: self.registered.clone(),
            seata: self.seata.clone(),
        }
    }
}

impl<A: TccAction> fmt::Debug for Tcc<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tcc")
            .field("name", &A::NAME)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(reason) => write!(f, "the action's name: {reason}"),
            #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
            Self::Fence(error) => error.fmt(f),
            Self::Client(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RegisterError {}

impl<E: fmt::Display> fmt::Display for TryError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action(error) => error.fmt(f),
            Self::Context(error) => error.fmt(f),
            Self::NotRegistered(error) => write!(f, "the branch was not registered: {error}"),
            Self::Report(error) => {
                write!(f, "the coordinator was not told what was added: {error}")
            }
            #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
            Self::Refused => f.write_str("the branch was cancelled already, or tried before"),
            #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
            Self::Fence(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for TryError<E> {}

fn check_name(name: &str) -> Result<(), RegisterError> {
    // The coordinator is told all names as one text with commas between them.
    if name.is_empty() || name.contains(',') {
        let reason = format!("`{name}` is empty or has a comma, which parts names on the wire");
        return Err(RegisterError::Name(reason));
    }
    Ok(())
}

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
fn check_fenced_name(name: &str) -> Result<(), RegisterError> {
    if name.chars().count() > FENCED_NAME_CHARACTERS_MAX {
        let reason = format!(
            "`{name}` has more than the {FENCED_NAME_CHARACTERS_MAX} characters that a fence keeps"
        );
        return Err(RegisterError::Name(reason));
    }
    Ok(())
}

/// The width of the fence's column.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
const FENCED_NAME_CHARACTERS_MAX: usize = 64;
