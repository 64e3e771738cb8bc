//! The TM's side: begin, commit, roll back.
//!
//! | module | what lives there |
//! |---|---|
//! | `options` | what a transaction is told: name, timeout, propagation |
//! | `propagation` | join, begin, suspend or refuse: a table |
//! | `outcome` | what a coordinator's answer to commit or rollback means: a table |
//! | `global` | a transaction, and the guard of who began it |
//! | `template` | begin, run the application's code, end |
//! | `hooks` | who is told |
//! | `bypass` | when code runs without although it asks for one |

mod bypass;
mod global;
mod hooks;
mod options;
mod outcome;
mod propagation;
mod template;

pub use bypass::DegradeCheck;
pub(super) use bypass::{Bypass, probe};
pub use global::{GlobalTx, TxGuard, TxRole};
pub(super) use hooks::LogFailures;
pub use hooks::{FailureHandler, TxHook};
pub use options::TxOptions;
pub use outcome::Outcome;
pub use propagation::Propagation;
pub use template::Decision;
