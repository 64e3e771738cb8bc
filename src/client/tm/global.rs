//! A global transaction, and the guard of who began it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::outcome::is_over;
use super::{Outcome, TxOptions};
use crate::client::exchange::{Request, Role};
use crate::client::rm::{checked, wrong};
use crate::client::seata::Inner;
use crate::client::{Error, RetryPolicy, RollbackReason, Seata};
use crate::proto::Text;
use crate::proto::message::{GlobalEnd, GlobalReport, Message, TxResult};
use crate::proto::status::GlobalStatus;

/// A handle of a global transaction: what branches and calls to other services need. Cheap to clone; to have one ends
/// nothing.
#[derive(Clone)]
pub struct GlobalTx {
    inner: Arc<Shared>,
}

struct Shared {
    seata: Arc<Inner>,
    xid: Text,
    name: String,
    role: TxRole,
    timeout: Duration,
    /// When the begin was asked for.
    begun: Option<Instant>,
    status: AtomicU8,
}

/// What a handle may do with its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxRole {
    /// This process began it and ends it.
    Launcher,
    /// Somebody else began it and ends it.
    Participant,
    /// There is none: the code runs without. The xid is empty, and no branch can be registered.
    Absent,
}

/// The one who began a transaction and has to end it. Dropped without an end, it has the transaction rolled back: a request
/// is handed to the client's thread, nothing blocks.
#[must_use = "dropping it rolls the transaction back"]
pub struct TxGuard {
    /// None once it is being ended.
    tx: Option<GlobalTx>,
}

impl Seata {
    /// Begins a global transaction, whatever transaction there may be already. For the other propagations use
    /// [`Seata::transaction`].
    ///
    /// # Errors
    /// [`Error::Refused`] when the coordinator does not take it, else as for every request: then there is none, or one that
    /// nobody knows and that is rolled back when its timeout has passed.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing, or a transaction that is rolled back: at once, or when its timeout has passed.
    pub async fn begin(&self, options: TxOptions) -> Result<TxGuard, Error> {
        let inner = &self.inner;
        let attempt = inner.options.tm_request_timeout;
        let request = Request {
            role: Role::Tm,
            message: Message::GlobalBegin(options.request()?),
            attempt,
            retry: RetryPolicy::once(attempt),
            not_after: None,
        };
        let reply = inner.ask(request).await?;
        let begin = match reply.message {
            Message::GlobalBeginResponse(begin) => begin,
            other => return Err(wrong(&other)),
        };
        checked(begin.result)?;
        if begin.xid.is_empty() {
            return Err(Error::Protocol(
                "a begin was answered without an xid".to_owned(),
            ));
        }
        inner.counters.begun.increment();
        log::debug!("xid={} event=begun name={}", begin.xid, options.name());
        let xid = begin.xid.detached();
        let shared = Shared {
            name: options.name,
            timeout: options.timeout,
            ..Shared::new(inner, xid, TxRole::Launcher, Some(reply.asked))
        };
        let tx = GlobalTx {
            inner: Arc::new(shared),
        };
        Ok(TxGuard { tx: Some(tx) })
    }

    /// Takes part in a transaction that somebody else began, for example one that came with a request.
    pub fn join(&self, xid: impl Into<Text>) -> GlobalTx {
        GlobalTx::new(&self.inner, xid.into(), TxRole::Participant, None)
    }

    /// Takes over the end of a transaction that was begun elsewhere, for example before a restart. Dropped without an end,
    /// the guard has it rolled back.
    pub fn reload(&self, xid: impl Into<Text>) -> TxGuard {
        let tx = GlobalTx::new(&self.inner, xid.into(), TxRole::Launcher, None);
        TxGuard { tx: Some(tx) }
    }

    /// A handle that stands for running without a transaction.
    pub(super) fn absent(&self) -> GlobalTx {
        GlobalTx::new(&self.inner, Text::new(), TxRole::Absent, None)
    }
}

impl Shared {
    fn new(seata: &Arc<Inner>, xid: Text, role: TxRole, begun: Option<Instant>) -> Self {
        let status = match role {
            TxRole::Absent => GlobalStatus::Unknown,
            _ => GlobalStatus::Begin,
        };
        Self {
            seata: Arc::clone(seata),
            xid,
            name: String::new(),
            role,
            timeout: Duration::MAX,
            begun,
            status: AtomicU8::new(status.code()),
        }
    }
}

impl GlobalTx {
    fn new(seata: &Arc<Inner>, xid: Text, role: TxRole, begun: Option<Instant>) -> Self {
        Self {
            inner: Arc::new(Shared::new(seata, xid, role, begun)),
        }
    }

    /// The transaction's id; empty for [`TxRole::Absent`].
    pub fn xid(&self) -> &Text {
        &self.inner.xid
    }

    /// What this handle may do.
    pub fn role(&self) -> TxRole {
        self.inner.role
    }

    /// The name it was begun with; empty when that was elsewhere.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The status as this process knows it, without asking.
    pub fn local_status(&self) -> GlobalStatus {
        GlobalStatus::from_code(self.inner.status.load(Ordering::Relaxed))
            .unwrap_or(GlobalStatus::Unknown)
    }

    /// The client that the handle belongs to.
    pub fn seata(&self) -> Seata {
        Seata {
            inner: Arc::clone(&self.inner.seata),
        }
    }

    /// Asks the coordinator for the status. [`GlobalStatus::Finished`] means that it is over and forgotten.
    ///
    /// # Errors
    /// As for every request; without a transaction [`GlobalStatus::Unknown`] is the answer.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing.
    pub async fn status(&self) -> Result<GlobalStatus, Error> {
        if self.inner.role == TxRole::Absent {
            return Ok(GlobalStatus::Unknown);
        }
        let message = Message::GlobalStatus(self.end_request());
        match self.ask(message, self.once(), None).await?.message {
            Message::GlobalStatusResponse(answer) => {
                if answer.result != TxResult::Success
                    && answer.global_status != GlobalStatus::Finished
                {
                    checked(answer.result)?;
                }
                self.set_status(answer.global_status);
                Ok(answer.global_status)
            }
            other => Err(wrong(&other)),
        }
    }

    /// Asks for the status again and again until the transaction is over with all its branches, and gives the last answer:
    /// one that is not over when it was asked `times` times. Between two questions lies `pause`.
    ///
    /// # Errors
    /// As for every request.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing.
    pub async fn await_end(&self, pause: Duration, times: u32) -> Result<GlobalStatus, Error> {
        let mut status = self.status().await?;
        for _ in 1..times {
            if is_over(status) {
                break;
            }
            self.seata().rm().sleep(pause).await;
            status = self.status().await?;
        }
        Ok(status)
    }

    /// Tells the coordinator how the transaction went, as engines of SAGA do. Gives the status it has now.
    ///
    /// # Errors
    /// As for every request.
    ///
    /// # Cancel safety
    /// Dropping the future leaves a report that was made, or none.
    pub async fn report(&self, status: GlobalStatus) -> Result<GlobalStatus, Error> {
        let message = Message::GlobalReport(GlobalReport {
            xid: self.inner.xid.clone(),
            extra_data: Text::new(),
            global_status: Some(status),
        });
        match self.ask(message, self.once(), None).await?.message {
            Message::GlobalReportResponse(answer) => {
                checked(answer.result)?;
                self.set_status(answer.global_status);
                Ok(answer.global_status)
            }
            other => Err(wrong(&other)),
        }
    }

    pub(super) fn client(&self) -> &Arc<Inner> {
        &self.inner.seata
    }

    fn set_status(&self, status: GlobalStatus) {
        self.inner.status.store(status.code(), Ordering::Relaxed);
    }

    fn end_request(&self) -> GlobalEnd {
        GlobalEnd {
            xid: self.inner.xid.clone(),
            extra_data: Text::new(),
        }
    }

    fn once(&self) -> RetryPolicy {
        RetryPolicy::once(self.inner.seata.options.tm_request_timeout)
    }

    fn ask(
        &self,
        message: Message,
        retry: RetryPolicy,
        not_after: Option<Instant>,
    ) -> crate::client::seata::Asking {
        self.inner.seata.ask(Request {
            role: Role::Tm,
            message,
            attempt: self.inner.seata.options.tm_request_timeout,
            retry,
            not_after,
        })
    }

    /// Asks for the commit, within the transaction's time.
    async fn commit(&self) -> Outcome {
        let seata = &self.inner.seata;
        let not_after = self
            .inner
            .begun
            .and_then(|begun| begun.checked_add(self.inner.timeout));
        let message = Message::GlobalCommit(self.end_request());
        let asked = self.ask(message, seata.options.commit_retry, not_after);
        let outcome = match asked.await {
            Ok(reply) => match reply.message {
                Message::GlobalCommitResponse(answer) => {
                    self.set_status(answer.global_status);
                    Outcome::of_commit(&self.inner.xid, &answer)
                }
                other => self.unknown(wrong(&other)),
            },
            Err(Error::Expired) => {
                log::warn!("xid={} event=timeout-before-commit", self.inner.xid);
                return match self.rollback().await {
                    Outcome::RolledBack { status, .. } => Outcome::RolledBack {
                        reason: RollbackReason::Timeout,
                        status,
                    },
                    other => other,
                };
            }
            Err(error @ (Error::Unreachable(_) | Error::Limit(_) | Error::Invalid(_))) => {
                log::warn!(
                    "xid={} event=commit-not-asked error={error}",
                    self.inner.xid
                );
                seata.abandon(self.inner.xid.clone());
                Outcome::RolledBack {
                    reason: RollbackReason::NotAsked,
                    status: GlobalStatus::Unknown,
                }
            }
            Err(error) => self.unknown(error),
        };
        self.count(&outcome);
        outcome
    }

    /// Asks for the rollback. Unanswered, it is one all the same: nobody commits, and its time will be over.
    async fn rollback(&self) -> Outcome {
        let message = Message::GlobalRollback(self.end_request());
        let retry = self.inner.seata.options.rollback_retry;
        let outcome = match self
            .ask(message, retry, None)
            .await
            .map(|reply| reply.message)
        {
            Ok(Message::GlobalRollbackResponse(answer)) => {
                self.set_status(answer.global_status);
                Outcome::of_rollback(&answer)
            }
            Ok(other) => self.unanswered_rollback(&wrong(&other)),
            Err(error) => self.unanswered_rollback(&error),
        };
        self.count(&outcome);
        outcome
    }

    fn unanswered_rollback(&self, error: &Error) -> Outcome {
        log::warn!(
            "xid={} event=rollback-unanswered error={error}",
            self.inner.xid
        );
        Outcome::RolledBack {
            reason: RollbackReason::Requested,
            status: GlobalStatus::Unknown,
        }
    }

    fn unknown(&self, error: Error) -> Outcome {
        Outcome::Unknown {
            xid: self.inner.xid.clone(),
            error,
        }
    }

    fn count(&self, outcome: &Outcome) {
        let counters = &self.inner.seata.counters;
        let (counter, event) = match outcome {
            Outcome::Committed { .. } => (&counters.committed, "committed"),
            Outcome::RolledBack { .. } => (&counters.rolled_back, "rolled-back"),
            Outcome::Unknown { .. } => (&counters.unknown, "unknown"),
        };
        counter.increment();
        log::debug!(
            "xid={} event={event} status={}",
            self.inner.xid,
            self.local_status()
        );
    }
}

impl TxGuard {
    /// Commits. Tried again as [`commit_retry`](crate::client::ClientOptions::commit_retry) says; when the transaction's time
    /// is over by this process' own clock, it is rolled back instead.
    ///
    /// # Cancel safety
    /// Dropping the future before the request left rolls the transaction back. After that the coordinator decides: it
    /// commits if the request reached it, else the transaction is rolled back, by request or timeout. A line in the log says
    /// so.
    pub async fn commit(mut self) -> Outcome {
        let tx = self.take();
        tx.commit().await
    }

    /// Rolls back. Tried again as [`rollback_retry`](crate::client::ClientOptions::rollback_retry) says.
    ///
    /// The outcome is [`Outcome::RolledBack`] also when nobody could be asked: the coordinator rolls the transaction back when
    /// its timeout has passed. Only of a transaction that was decided already, which takes [`Seata::reload`], can it be
    /// [`Outcome::Committed`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves the rollback under way.
    pub async fn rollback(mut self) -> Outcome {
        let tx = self.take();
        tx.rollback().await
    }

    /// Gives up the guard and leaves the transaction as it is: for who ends it elsewhere, with [`Seata::reload`]. Otherwise
    /// it is rolled back when its timeout has passed.
    pub fn detach(mut self) -> GlobalTx {
        self.take()
    }

    fn take(&mut self) -> GlobalTx {
        self.tx
            .take()
            .expect("only what consumes the guard takes it")
    }
}

impl Deref for TxGuard {
    type Target = GlobalTx;

    fn deref(&self) -> &GlobalTx {
        self.tx
            .as_ref()
            .expect("only what consumes the guard takes it")
    }
}

impl Drop for TxGuard {
    fn drop(&mut self) {
        if let Some(tx) = self.tx.take() {
            log::warn!("xid={} event=dropped", tx.xid());
            let seata = tx.client();
            seata.counters.dropped.increment();
            seata.abandon(tx.xid().clone());
        }
    }
}

impl fmt::Debug for GlobalTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GlobalTx")
            .field("xid", self.xid())
            .field("role", &self.role())
            .field("status", &self.local_status())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TxGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TxGuard").field(&self.tx).finish()
    }
}
