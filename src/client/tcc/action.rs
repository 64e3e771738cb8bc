//! What an application implements: an action with its three phases.

use std::future::Future;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ActionContext;

/// An action in TCC mode: a try that reserves, a confirm that uses the reservation, a cancel that gives it back.
///
/// Plain `async fn`s implement it. Arguments travel with the branch as JSON, so the second phase may run in another process,
/// later, after a restart; serde's `rename` matches the names of a Java action that shares the name.
///
/// Without a [`Fence`](super::Fence) the action itself has to stand what a network does (client.md 6.4): a cancel for a try that never
/// ran, a try that comes after its cancel, and each second phase more than once. With one, the three phases run in a
/// transaction that knows.
pub trait TccAction: Send + Sync + 'static {
    /// What the try is asked for: a structure or a map, or `()`.
    type Args: Serialize + DeserializeOwned + Send + Sync;
    /// What a try answers.
    type Out: Send;
    /// Why a try failed. A try that fails is still cancelled: it may have done half of its work.
    type Error: Send;

    /// The name that the coordinator knows the action by, the same in every process that has it. Not empty, without commas.
    const NAME: &'static str;

    /// Reserves. Fails when it cannot; the transaction should then be rolled back.
    fn try_(
        &self,
        ctx: &mut ActionContext,
        args: &Self::Args,
    ) -> impl Future<Output = Result<Self::Out, Self::Error>> + Send;

    /// Uses what was reserved. Asked until it succeeds or says that it never will.
    fn confirm(
        &self,
        ctx: &mut ActionContext,
        args: Self::Args,
    ) -> impl Future<Output = Result<(), TccError>> + Send;

    /// Gives back what was reserved, or nothing when the try did nothing. Asked until it succeeds or says that it never will.
    /// There are no arguments when the branch carries none.
    fn cancel(
        &self,
        ctx: &mut ActionContext,
        args: Option<Self::Args>,
    ) -> impl Future<Output = Result<(), TccError>> + Send;
}

/// Why a second phase did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TccError {
    /// Ask again later. The text is for the log.
    Retryable(String),
    /// Asking again is of no use: the coordinator gives up and a human has to look. The text is for the log.
    Unretryable(String),
}

impl TccError {
    /// Ask again later, because of this.
    pub fn retryable(reason: impl std::fmt::Display) -> Self {
        Self::Retryable(reason.to_string())
    }

    /// Asking again is of no use, because of this.
    pub fn unretryable(reason: impl std::fmt::Display) -> Self {
        Self::Unretryable(reason.to_string())
    }
}

impl std::fmt::Display for TccError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Retryable(reason) => write!(f, "not now: {reason}"),
            Self::Unretryable(reason) => write!(f, "never: {reason}"),
        }
    }
}

impl std::error::Error for TccError {}

/// A database that fails may work later.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
impl From<sqlx::Error> for TccError {
    fn from(error: sqlx::Error) -> Self {
        Self::retryable(error)
    }
}

/// As its database.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
impl From<super::FenceError> for TccError {
    fn from(error: super::FenceError) -> Self {
        Self::retryable(error)
    }
}

/// Another version of the action may understand what is in the context.
impl From<super::ContextError> for TccError {
    fn from(error: super::ContextError) -> Self {
        Self::retryable(error)
    }
}
