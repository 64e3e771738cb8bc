//! The transaction coordinator: it decides. No I/O of its own; the stores keep what was decided.
//!
//! [`Coordinator`] is a value: messages in, answers and store operations out. [`store`] is where decisions are kept.

mod admission;
mod answers;
mod application_data;
#[cfg(any(test, feature = "sim"))]
mod audit;
mod branch;
mod calls;
mod config;
mod coordinator;
mod drive;
mod global;
pub mod lock;
mod outbox;
mod phase_two;
mod recovery;
mod requests;
mod roster;
mod saga;
pub mod server;
mod settlement;
mod shared;
mod stats;
pub mod store;
#[cfg(test)]
mod tests;
mod timers;

pub use config::CoordinatorConfig;
pub use coordinator::{ChannelId, CloseReason, Coordinator, Now, Output};
pub use stats::CoordinatorStats;
