//! The RM's side: resources, branches, lock queries.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::exchange::{Request, Role};
use super::inbox::Command;
use super::resource::{BoxFuture, Resource};
use super::seata::Inner;
use super::ticket::{Ticket, ticket};
use super::wire::Wire;
use super::{BranchError, Error, RetryPolicy};
use crate::net::Timer;
use crate::proto::Text;
use crate::proto::message::{BranchRegister, BranchReport, Message, TxResult};
use crate::proto::status::{BranchType, ExceptionCode};
use crate::xid::BranchId;

/// The side of a client that owns resources: what AT, TCC and any other mode are built on. Cheap to clone.
#[derive(Clone)]
pub struct Rm {
    inner: Arc<Inner>,
}

/// A branch to be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBranch {
    /// The global transaction.
    pub xid: Text,
    /// Its kind.
    pub branch_type: BranchType,
    /// The resource, registered before.
    pub resource_id: Text,
    /// `table:pk[,pk…][;table:pk…]`; empty where no rows are locked.
    pub lock_key: Text,
    /// Given back in phase two; may be empty.
    pub application_data: Text,
}

/// Rows that are asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockQuery {
    /// The global transaction that wants them, whose own locks do not count; empty outside of any.
    pub xid: Text,
    /// The resource.
    pub resource_id: Text,
    /// As in [`NewBranch::lock_key`].
    pub lock_key: Text,
}

impl Rm {
    pub(super) fn new(inner: &Arc<Inner>) -> Self {
        Self {
            inner: Arc::clone(inner),
        }
    }

    /// Adds a resource: its branches can be finished by this process from now on. It is told to every coordinator that is
    /// connected, and to each again whenever it connects.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an id that is empty, too long or holds a comma, for a second resource with the same id and
    /// type, and when a coordinator refuses it; [`Error::Closed`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves the resource registered.
    pub async fn register_resource(&self, resource: Arc<dyn Resource>) -> Result<(), Error> {
        check_resource_id(resource.id())?;
        let (sink, done) = ticket();
        self.inner.push(Command::Resource { resource, sink });
        done.await.unwrap_or(Err(Error::Closed))
    }

    /// Registers a branch and takes its row locks, all or none.
    ///
    /// # Errors
    /// See [`BranchError`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing, or a branch without work of its own: it is finished with its transaction, and a
    /// rollback finds nothing to undo.
    pub async fn register_branch(&self, branch: NewBranch) -> Result<BranchId, BranchError> {
        if branch.xid.is_empty() {
            let message = "the call runs without a global transaction".to_owned();
            return Err(BranchError::NotActive { message });
        }
        let xid = branch.xid.clone();
        let message = Message::BranchRegister(BranchRegister {
            xid: branch.xid,
            branch_type: branch.branch_type,
            resource_id: branch.resource_id,
            lock_key: branch.lock_key,
            application_data: branch.application_data,
        });
        let answer = self.ask(message, self.once()).await;
        let response = match answer.map_err(BranchError::Unreachable)? {
            Message::BranchRegisterResponse(response) => response,
            other => return Err(BranchError::Unreachable(wrong(&other))),
        };
        match response.result {
            TxResult::Success => {
                self.inner.counters.branches.increment();
                log::debug!("xid={xid} branch={} event=registered", response.branch_id);
                Ok(BranchId(response.branch_id))
            }
            TxResult::Failed { code, message } => {
                let error = branch_error(code, message.to_string());
                if error.is_lock_conflict() {
                    self.inner.counters.lock_conflicts.increment();
                }
                log::debug!("xid={xid} event=branch-refused code={code}");
                Err(error)
            }
        }
    }

    /// Tells how phase one of a branch ended, or replaces its application data. Tried again as
    /// [`report_retry`](super::ClientOptions::report_retry) says.
    ///
    /// # Errors
    /// [`Error::Refused`] when the coordinator does not take it, else as for every request.
    ///
    /// # Cancel safety
    /// Dropping the future leaves a report that was made, or none.
    pub async fn report_branch(&self, report: BranchReport) -> Result<(), Error> {
        let retry = self.inner.options.report_retry;
        match self.ask(Message::BranchReport(report), retry).await? {
            Message::BranchReportResponse(response) => checked(response.result),
            other => Err(wrong(&other)),
        }
    }

    /// Whether no other global transaction holds one of the rows.
    ///
    /// # Errors
    /// [`Error::Refused`] when the coordinator cannot tell, else as for every request.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing.
    pub async fn is_lockable(&self, query: LockQuery) -> Result<bool, Error> {
        let message = Message::GlobalLockQuery(BranchRegister {
            xid: query.xid,
            branch_type: BranchType::At,
            resource_id: query.resource_id,
            lock_key: query.lock_key,
            application_data: Text::new(),
        });
        match self.ask(message, self.once()).await? {
            Message::GlobalLockQueryResponse(response) => match response.result {
                TxResult::Success => Ok(response.lockable),
                TxResult::Failed { code, .. } if is_conflict(code) => Ok(false),
                failed => checked(failed).map(|()| false),
            },
            other => Err(wrong(&other)),
        }
    }

    /// A pause that needs no runtime: it is kept by the client's own thread, to a millisecond. It ends early only with the
    /// client.
    pub fn sleep(&self, pause: Duration) -> impl Future<Output = ()> + Send + 'static {
        let (sink, done) = ticket();
        let timer = self.inner.handle.after(pause, move || {
            let _ = sink.send(());
        });
        Sleep {
            done,
            timer: Some(timer),
        }
    }

    /// Has a future run beside the second phases, on the future that the host spawned: the place for what needs the host's
    /// runtime and no caller waits for. It has to end by itself: [`Seata::close`](super::Seata::close) waits for it within
    /// its grace. Dropped when the host's future was dropped, or the client is closed.
    pub fn spawn(&self, future: BoxFuture<()>) {
        self.inner.spawn(future);
    }

    /// As [`Rm::spawn`] for a future that never ends by itself: nobody waits for it, it is dropped when the client is closed.
    pub fn spawn_loop(&self, future: BoxFuture<()>) {
        self.inner.spawn_loop(future);
    }

    async fn ask(&self, message: Message, retry: RetryPolicy) -> Result<Message, Error> {
        let request = Request {
            role: Role::Rm,
            message,
            attempt: self.inner.options.rm_request_timeout,
            retry,
            not_after: None,
        };
        self.inner.ask(request).await.map(|reply| reply.message)
    }

    fn once(&self) -> RetryPolicy {
        RetryPolicy::once(self.inner.options.rm_request_timeout)
    }
}

impl fmt::Debug for Rm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rm").finish_non_exhaustive()
    }
}

struct Sleep {
    done: Ticket<()>,
    timer: Option<Timer<Wire>>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let polled = Pin::new(&mut self.done).poll(cx);
        polled.map(|_| drop(self.timer.take()))
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            timer.cancel();
        }
    }
}

fn check_resource_id(id: &str) -> Result<(), Error> {
    let what = match id {
        "" => "is empty".to_owned(),
        id if id.contains(',') => format!("{id:?} holds a comma, with which ids are joined"),
        id if id.len() > RESOURCE_ID_BYTES_MAX => {
            format!("has {} bytes, at most {RESOURCE_ID_BYTES_MAX}", id.len())
        }
        _ => return Ok(()),
    };
    Err(Error::Invalid(format!("the resource id {what}")))
}

fn branch_error(code: ExceptionCode, message: String) -> BranchError {
    match code {
        ExceptionCode::LockKeyConflict => BranchError::LockConflict { message },
        ExceptionCode::LockKeyConflictFailFast => BranchError::LockConflictFailFast { message },
        ExceptionCode::GlobalTransactionNotActive
        | ExceptionCode::GlobalTransactionNotExist
        | ExceptionCode::GlobalTransactionStatusInvalid
        | ExceptionCode::TransactionTimeout => BranchError::NotActive { message },
        code => BranchError::Refused { code, message },
    }
}

fn is_conflict(code: ExceptionCode) -> bool {
    matches!(
        code,
        ExceptionCode::LockKeyConflict | ExceptionCode::LockKeyConflictFailFast
    )
}

/// An answer that says no is an error, whatever the RPC says (client.md 1.6).
pub(super) fn checked(result: TxResult) -> Result<(), Error> {
    match result {
        TxResult::Success => Ok(()),
        TxResult::Failed { code, message } => Err(Error::Refused {
            code,
            message: message.to_string(),
        }),
    }
}

pub(super) fn wrong(answer: &Message) -> Error {
    Error::Protocol(format!("a message of type {}", answer.type_code()))
}

/// What coordinators keep of an id at most.
const RESOURCE_ID_BYTES_MAX: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_cannot_be_joined_are_refused() {
        assert_eq!(check_resource_id("jdbc:mysql://h:3306/d"), Ok(()));
        let long = "x".repeat(RESOURCE_ID_BYTES_MAX + 1);
        for id in ["", "a,b", long.as_str()] {
            assert!(check_resource_id(id).is_err(), "{id:.20}");
        }
    }

    #[test]
    fn every_code_has_its_kind_of_refusal() {
        let conflicts: Vec<_> = ExceptionCode::ALL
            .iter()
            .filter(|code| branch_error(**code, String::new()).is_lock_conflict())
            .collect();
        assert_eq!(
            conflicts,
            [
                &ExceptionCode::LockKeyConflict,
                &ExceptionCode::LockKeyConflictFailFast
            ]
        );
        let ended = branch_error(ExceptionCode::TransactionTimeout, "late".into());
        assert_eq!(
            ended,
            BranchError::NotActive {
                message: "late".into()
            }
        );
    }
}
