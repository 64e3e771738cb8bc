//! Begin, run the application's code, end: the whole of a transaction as one call (client.md 2.4).

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::outcome::is_settled;
use super::propagation::Plan;
use super::{GlobalTx, Outcome, TxGuard, TxHook, TxOptions};
use crate::client::context::{self, Scope};
use crate::client::{Error, GlobalTxError, RollbackReason, Seata};
use crate::proto::status::GlobalStatus;

/// What becomes of a transaction whose code failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is rolled back.
    Rollback,
    /// It is committed all the same; the error is raised afterwards.
    Commit,
}

impl Seata {
    /// Runs code in a global transaction: begins one or joins the current one, as
    /// [`propagation`](TxOptions::propagation) says; commits when the code succeeds, rolls back when it fails.
    ///
    /// The code gets a handle for its branches, and finds the same with [`Seata::current`]. Who joined ends nothing.
    ///
    /// # Errors
    /// See [`GlobalTxError`]. `Ok` means that the transaction is decided to commit (or, for who joined or runs without, that
    /// the code succeeded).
    ///
    /// # Panics
    /// When the code does. The transaction is rolled back before: the request is handed to the client's thread.
    ///
    /// # Cancel safety
    /// Dropping the future drops the code and rolls the transaction back, see [`TxGuard`]; a commit that has left already is
    /// the exception described at [`TxGuard::commit`].
    ///
    /// ```no_run
    /// use seamio::client::{GlobalTxError, Seata, TxOptions};
    ///
    /// # async fn run(seata: Seata) -> Result<(), GlobalTxError<std::io::Error>> {
    /// let stock = seata
    ///     .transaction(TxOptions::new("place-order"), |tx| async move {
    ///         println!("working in {}", tx.xid());
    ///         Ok(7)
    ///     })
    ///     .await?;
    /// assert_eq!(stock, 7);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn transaction<T, E, F, Fut>(
        &self,
        options: TxOptions,
        code: F,
    ) -> Result<T, GlobalTxError<E>>
    where
        F: FnOnce(GlobalTx) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.transaction_with(options, |_| Decision::Rollback, code)
            .await
    }

    /// As [`Seata::transaction`], with a rule that says which errors roll back.
    ///
    /// # Errors
    /// As [`Seata::transaction`]; [`GlobalTxError::Committed`] when the rule said to commit.
    ///
    /// # Panics
    /// When the code does.
    ///
    /// # Cancel safety
    /// As [`Seata::transaction`].
    pub async fn transaction_with<T, E, F, Fut>(
        &self,
        options: TxOptions,
        rule: impl Fn(&E) -> Decision,
        code: F,
    ) -> Result<T, GlobalTxError<E>>
    where
        F: FnOnce(GlobalTx) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let present = context::current();
        let plan = match self.inner.bypass.is_on() {
            true => Plan::Without,
            false => options
                .propagation
                .plan(present.as_ref().map(GlobalTx::xid)),
        };
        let tx = match plan {
            Plan::Launch => return self.launch(options, rule, code).await,
            Plan::Refuse(error) => {
                return Err(GlobalTxError::NotBegun(Error::Propagation(error)));
            }
            Plan::Join => match present {
                Some(tx) => self.join(tx.xid().clone()),
                None => self.absent(),
            },
            Plan::Without => self.absent(),
        };
        tx.scope(code(tx.clone()))
            .await
            .map_err(GlobalTxError::Failed)
    }

    async fn launch<T, E, F, Fut>(
        &self,
        options: TxOptions,
        rule: impl Fn(&E) -> Decision,
        code: F,
    ) -> Result<T, GlobalTxError<E>>
    where
        F: FnOnce(GlobalTx) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let hooks = Hooks {
            list: [&self.inner.hooks[..], &options.hooks[..]].concat(),
        };
        let name = options.name.clone();
        hooks.call(|hook| hook.before_begin(&name));
        let guard = match self.begin(options).await {
            Ok(guard) => guard,
            Err(error) => {
                self.inner.bypass.failed();
                self.inner.failures.on_begin_failure(&name, &error);
                hooks.call(|hook| hook.after_completion(None));
                return Err(GlobalTxError::NotBegun(error));
            }
        };
        let tx = GlobalTx::clone(&guard);
        hooks.call(|hook| hook.after_begin(&tx));
        let ran = tx.scope(code(tx.clone())).await;
        let ended = match ran {
            Ok(value) => self.commit(guard, &hooks).await.map(|()| value),
            Err(error) => Err(match rule(&error) {
                Decision::Rollback => self.roll_back(guard, &hooks, error).await,
                Decision::Commit => match self.commit(guard, &hooks).await {
                    Ok(()) => GlobalTxError::Committed(error),
                    Err(failed) => with_source(failed, error),
                },
            }),
        };
        hooks.call(|hook| hook.after_completion(Some(&tx)));
        ended
    }

    async fn commit<E>(&self, guard: TxGuard, hooks: &Hooks) -> Result<(), GlobalTxError<E>> {
        let tx = GlobalTx::clone(&guard);
        hooks.call(|hook| hook.before_commit(&tx));
        let outcome = guard.commit().await;
        match &outcome {
            Outcome::Committed { .. } => {
                self.inner.bypass.succeeded();
                hooks.call(|hook| hook.after_commit(&tx));
            }
            Outcome::RolledBack { status, .. } => self.tell_of_rollback(&tx, *status),
            Outcome::Unknown { xid, error } => {
                self.inner.bypass.failed();
                self.inner.failures.on_commit_failure(xid, error);
            }
        }
        outcome.into_result()
    }

    async fn roll_back<E>(&self, guard: TxGuard, hooks: &Hooks, source: E) -> GlobalTxError<E> {
        let tx = GlobalTx::clone(&guard);
        hooks.call(|hook| hook.before_rollback(&tx));
        let outcome = guard.rollback().await;
        hooks.call(|hook| hook.after_rollback(&tx));
        match outcome {
            Outcome::Committed { .. } => GlobalTxError::Committed(source),
            Outcome::RolledBack { status, .. } => {
                self.tell_of_rollback(&tx, status);
                GlobalTxError::RolledBack {
                    reason: RollbackReason::Requested,
                    source: Some(source),
                    settled: is_settled(status),
                    status,
                }
            }
            Outcome::Unknown { xid, error } => GlobalTxError::Unknown {
                xid,
                source: Some(source),
                error,
            },
        }
    }

    fn tell_of_rollback(&self, tx: &GlobalTx, status: GlobalStatus) {
        let failures = &self.inner.failures;
        match status {
            status if is_settled(status) => {}
            GlobalStatus::Unknown
            | GlobalStatus::RollbackFailed
            | GlobalStatus::TimeoutRollbackFailed
            | GlobalStatus::RollbackRetryTimeout => failures.on_rollback_failure(tx.xid(), status),
            status => failures.on_rollbacking(tx.xid(), status),
        }
    }

    /// The global transaction that the running code is in, see [`GlobalTx::scope`].
    pub fn current() -> Option<GlobalTx> {
        context::current()
    }
}

impl GlobalTx {
    /// Runs a future with this as the current transaction: [`Seata::current`] finds it, and
    /// [`Seata::transaction`] joins it. With [`TxRole::Absent`](super::TxRole::Absent) none is current.
    ///
    /// Works with every executor: what is current is set for each poll and restored after it, also when the future panics or
    /// is dropped. A task that the future spawns has none, unless it is given one with this method.
    pub fn scope<F: Future>(&self, future: F) -> Scope<F> {
        Scope::new(Some(self.clone()), future)
    }
}

/// The hooks of one transaction.
struct Hooks {
    list: Vec<Arc<dyn TxHook>>,
}

impl Hooks {
    /// Calls each in turn. What goes wrong in one concerns nobody else.
    fn call(&self, step: impl Fn(&dyn TxHook)) {
        for hook in &self.list {
            if catch_unwind(AssertUnwindSafe(|| step(&**hook))).is_err() {
                log::error!("event=hook-panicked");
            }
        }
    }
}

fn with_source<E>(failed: GlobalTxError<E>, error: E) -> GlobalTxError<E> {
    match failed {
        GlobalTxError::RolledBack {
            reason,
            settled,
            status,
            ..
        } => GlobalTxError::RolledBack {
            reason,
            source: Some(error),
            settled,
            status,
        },
        GlobalTxError::Unknown {
            xid, error: why, ..
        } => GlobalTxError::Unknown {
            xid,
            source: Some(error),
            error: why,
        },
        other => other,
    }
}
