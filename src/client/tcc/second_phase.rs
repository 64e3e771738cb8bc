//! The second phases of an action, as the resource that the coordinator asks (client.md 6.3, 6.4).

use std::sync::Arc;

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
use super::Isolation;
use super::context::ActionContext;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
use super::fence::{Entry, Fence, Held, Key, Phase};
use super::{TccAction, TccError, TccOptions};
use crate::client::resource::{BoxFuture, PhaseTwo, Resource};
use crate::proto::status::{BranchStatus, BranchType};

/// An action with what it was registered with.
pub(super) struct Registered<A> {
    pub(super) action: A,
    pub(super) options: TccOptions,
}

/// Which second phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Confirm,
    Cancel,
}

impl<A: TccAction> Resource for Registered<A> {
    fn id(&self) -> &str {
        A::NAME
    }

    fn branch_type(&self) -> BranchType {
        BranchType::Tcc
    }

    fn commit(self: Arc<Self>, branch: PhaseTwo) -> BoxFuture<BranchStatus> {
        Box::pin(async move { self.answer(Direction::Confirm, branch).await })
    }

    fn rollback(self: Arc<Self>, branch: PhaseTwo) -> BoxFuture<BranchStatus> {
        Box::pin(async move { self.answer(Direction::Cancel, branch).await })
    }
}

impl<A: TccAction> Registered<A> {
    async fn answer(&self, direction: Direction, branch: PhaseTwo) -> BranchStatus {
        let done = self.run(direction, &branch).await;
        let (xid, id, action) = (&branch.xid, branch.branch_id, A::NAME);
        match &done {
            Ok(()) => {}
            Err(TccError::Retryable(reason)) => {
                log::warn!(
                    "xid={xid} branch={id} action={action} event={direction:?}_failed reason={reason}"
                );
            }
            Err(TccError::Unretryable(reason)) => {
                log::error!(
                    "xid={xid} branch={id} action={action} event={direction:?}_impossible reason={reason}"
                );
            }
        }
        status(direction, &done)
    }

    async fn run(&self, direction: Direction, branch: &PhaseTwo) -> Result<(), TccError> {
        let mut ctx = ActionContext::of_branch(A::NAME, branch)?;
        self.options.hooks.call(|hook| match direction {
            Direction::Confirm => hook.before_confirm(&ctx),
            Direction::Cancel => hook.before_cancel(&ctx),
        });
        let done = self.run_guarded(direction, &mut ctx).await;
        self.options.hooks.call(|hook| match direction {
            Direction::Confirm => hook.after_confirm(&ctx),
            Direction::Cancel => hook.after_cancel(&ctx),
        });
        done
    }

    #[cfg(not(any(feature = "mysql", feature = "postgres", feature = "sqlite")))]
    async fn run_guarded(
        &self,
        direction: Direction,
        ctx: &mut ActionContext,
    ) -> Result<(), TccError> {
        match ctx.document.is_fenced() {
            true => Err(no_fence()),
            false => self.call(direction, ctx).await,
        }
    }

    /// What the branch carries decides: it may have been tried by a version of the action with or without a fence.
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    async fn run_guarded(
        &self,
        direction: Direction,
        ctx: &mut ActionContext,
    ) -> Result<(), TccError> {
        let level = level_of(ctx).or(self.options.isolation);
        let transaction = match (&self.options.fence, ctx.document.is_fenced()) {
            (None, true) => return Err(no_fence()),
            (None, false) => return self.call(direction, ctx).await,
            (Some(fence), false) => fence.begin(level).await?,
            (Some(fence), true) => match enter(fence, direction, ctx, level).await? {
                Entry::Run(transaction) => transaction,
                Entry::Done => return Ok(()),
                Entry::NotTried => return Err(TccError::retryable("no try was done")),
                Entry::Refused => return Err(TccError::unretryable(contradiction(direction))),
            },
        };
        ctx.transaction = Some(Held::new(transaction));
        let done = self.call(direction, ctx).await;
        match &done {
            // Not knowing whether it was committed is no harm: the fence will know when this is asked again.
            Ok(()) => ctx.commit().await?,
            Err(_) => ctx.undo().await,
        }
        done
    }

    async fn call(&self, direction: Direction, ctx: &mut ActionContext) -> Result<(), TccError> {
        match direction {
            Direction::Confirm => {
                let args = ctx.document.args()?;
                self.action.confirm(ctx, args).await
            }
            Direction::Cancel => {
                let args = match ctx.document.args() {
                    Ok(args) => Some(args),
                    Err(_) if ctx.document.is_empty() => None,
                    Err(error) => return Err(error.into()),
                };
                self.action.cancel(ctx, args).await
            }
        }
    }
}

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
async fn enter(
    fence: &Fence,
    direction: Direction,
    ctx: &ActionContext,
    level: Option<Isolation>,
) -> Result<Entry, super::FenceError> {
    let phase = match direction {
        Direction::Confirm => Phase::Confirm,
        Direction::Cancel => Phase::Cancel,
    };
    let key = Key {
        xid: ctx.xid.clone(),
        branch_id: ctx.branch_id,
        action: ctx.action,
    };
    fence.enter(phase, &key, level).await
}

/// What the try asked for, wherever it ran.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
fn level_of(ctx: &ActionContext) -> Option<Isolation> {
    let number = ctx.get::<i64>("isolation").ok().flatten();
    number.and_then(Isolation::of_number)
}

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
fn contradiction(direction: Direction) -> &'static str {
    match direction {
        Direction::Confirm => "it was cancelled before",
        Direction::Cancel => "it was confirmed before",
    }
}

fn no_fence() -> TccError {
    TccError::retryable("the try was fenced, this action has no fence: register it with one")
}

/// What the coordinator is answered.
fn status(direction: Direction, done: &Result<(), TccError>) -> BranchStatus {
    match (direction, done) {
        (Direction::Confirm, Ok(())) => BranchStatus::PhaseTwoCommitted,
        (Direction::Confirm, Err(TccError::Retryable(_))) => {
            BranchStatus::PhaseTwoCommitFailedRetryable
        }
        (Direction::Confirm, Err(TccError::Unretryable(_))) => {
            BranchStatus::PhaseTwoCommitFailedUnretryable
        }
        (Direction::Cancel, Ok(())) => BranchStatus::PhaseTwoRollbacked,
        (Direction::Cancel, Err(TccError::Retryable(_))) => {
            BranchStatus::PhaseTwoRollbackFailedRetryable
        }
        (Direction::Cancel, Err(TccError::Unretryable(_))) => {
            BranchStatus::PhaseTwoRollbackFailedUnretryable
        }
    }
}
