//! The application's side of global transactions: connections to the coordinators, TM and RM.
//!
//! | module | what lives there |
//! |---|---|
//! | [`Seata`] | the client: builder, handle, end |
//! | [`GlobalTx`], [`TxGuard`], [`Seata::transaction`] | TM: begin, commit, roll back |
//! | [`Rm`] | RM: resources, branches, lock queries |
//! | [`HeaderCarrier`], [`Incoming`] | the way of a transaction from service to service |
//! | `tower` | layers that do so for HTTP servers and clients (feature `tower`) |
//! | `reqwest` | a middleware that does so for reqwest's requests (feature `reqwest`) |
//! | [`resource`] | what a resource manager offers the coordinator, and what it is asked to do |
//! | [`Background`] | the future in which second phases run; the host spawns it |
//! | [`tcc`] | actions of the application with a try, a confirm and a cancel |
//! | `at` | local transactions on the host's own connections that can be undone (features `mysql`, `postgres`, `sqlite`) |
//!
//! The client brings no async runtime: its futures work with any executor, and what has to run in the background is a future
//! that the host spawns. Its sockets live on a reactor of [`crate::net`] with a thread of its own. [`wait`] is the blocking
//! form of every call.
//!
//! Follows client.md.

#[cfg(feature = "sql")]
pub mod at;
mod background;
mod blocking;
mod carrier;
mod context;
mod credentials;
mod error;
mod exchange;
#[cfg(any(feature = "reqwest", feature = "tower"))]
mod headers;
mod inbox;
mod json;
mod metrics;
mod options;
mod registry;
#[cfg(feature = "reqwest")]
pub mod reqwest;
pub mod resource;
mod rm;
pub(crate) mod seata;
pub mod tcc;
mod ticket;
mod tm;
#[cfg(feature = "tower")]
pub mod tower;
mod wire;

pub use background::Background;
pub use blocking::wait;
pub use carrier::{
    BRANCH_TYPE_HEADER, HeaderCarrier, HeaderError, Incoming, XID_CHARS_MAX, XID_HEADER,
};
pub use context::{Scope, without_transaction};
pub use error::{BranchError, Error, GlobalTxError, PropagationError, RollbackReason};
pub use metrics::Metrics;
pub use options::{ClientOptions, GlobalTransactions, LoadBalance, RetryPolicy, Sending, Start};
pub use registry::File;
pub use rm::{LockQuery, NewBranch, Rm};
#[cfg(feature = "sim")]
pub(crate) use seata::Assembled;
pub use seata::{Seata, SeataBuilder};
pub use tm::{
    Decision, DegradeCheck, FailureHandler, GlobalTx, Outcome, Propagation, TxGuard, TxHook,
    TxOptions, TxRole,
};
