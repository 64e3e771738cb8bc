//! Requests under way, from the moment they were asked until their answer.

use std::time::{Duration, Instant};

use super::roster::{LinkId, Role};
use crate::client::ticket::Sink;
use crate::client::{Error, RetryPolicy};
use crate::proto::Text;
use crate::proto::message::{GlobalEnd, Message};

/// Names a request of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CallId(pub(crate) u64);

/// What is asked, and how patiently.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) role: Role,
    pub(crate) message: Message,
    /// How long one attempt waits for its answer.
    pub(crate) attempt: Duration,
    /// How often it is tried.
    pub(crate) retry: RetryPolicy,
    /// Not to be sent after this.
    pub(crate) not_after: Option<Instant>,
}

/// An answer with its times.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) message: Message,
    /// When the request was asked.
    pub(crate) asked: Instant,
}

/// What a request comes to.
pub(crate) type Answer = Result<Reply, Error>;

/// A request under way.
pub(super) struct Call {
    pub(super) request: Request,
    /// None when nobody waits.
    pub(super) sink: Option<Sink<Answer>>,
    pub(super) place: Place,
    pub(super) asked: Instant,
    /// Attempts, those counted that found no connection.
    pub(super) tries: u32,
    /// Times it was sent.
    pub(super) sent: u32,
    /// When its place is left at the latest.
    pub(super) due: Instant,
    /// When it is given up.
    pub(super) until: Instant,
    /// Why the last attempt that was sent came to nothing.
    pub(super) lost: Option<Error>,
    /// Its caller went away while it was under way.
    pub(super) abandoned: bool,
}

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Waits for a connection.
    Parked,
    /// Waits for its next attempt.
    Paused,
    /// Sent, or about to leave with the next flush.
    Sent {
        id: i32,
        link: LinkId,
        /// The merged message it is in.
        outer: Option<i32>,
    },
}

impl Request {
    /// The transaction it is about, if there is one.
    pub(super) fn xid(&self) -> Option<&Text> {
        let xid = match &self.message {
            Message::GlobalCommit(end)
            | Message::GlobalRollback(end)
            | Message::GlobalStatus(end) => &end.xid,
            Message::GlobalReport(report) => &report.xid,
            Message::BranchRegister(branch) | Message::GlobalLockQuery(branch) => &branch.xid,
            Message::BranchReport(report) => &report.xid,
            _ => return None,
        };
        (!xid.is_empty()).then_some(xid)
    }

    /// Whether this is the answer that its coordinator owes.
    pub(super) fn is_answered_by(&self, answer: &Message) -> bool {
        answer.type_code() == self.message.type_code() + 1
    }

    /// Whether it opens new work, which a client that is closing refuses.
    pub(super) fn opens_work(&self) -> bool {
        matches!(
            self.message,
            Message::GlobalBegin(_) | Message::BranchRegister(_) | Message::GlobalLockQuery(_)
        )
    }

    /// The rollback of a transaction that nobody waits for.
    pub(crate) fn rollback(xid: Text, attempt: Duration, retry: RetryPolicy) -> Self {
        Self {
            role: Role::Tm,
            message: Message::GlobalRollback(GlobalEnd {
                xid,
                extra_data: Text::new(),
            }),
            attempt,
            retry,
            not_after: None,
        }
    }
}
