//! Distributed transactions for services that cannot lose one.
//!
//! seamio speaks Seata's wire protocol, so unmodified Seata clients in Java and Go work with it.
//!
//! | room | what lives there |
//! |---|---|
//! | [`net`] | the event-loop runtime: sockets, timers, sessions, workers. Knows nothing of Seata |
//! | [`proto`] | Seata's wire format: bytes to messages and back. No I/O |
//! | [`codec`] | where the two meet: Seata's frames as a codec of the runtime |
//! | [`tc`] | the transaction coordinator: decides. Its stores keep what was decided |
//! | `client` | the application's side: connections to the coordinators, TM, RM, AT, TCC (feature `client`) |
//! | [`manual`] | the long documentation |
//! | `config` | typed configuration: keys as data, file, environment (feature `server`) |
//! | `cli` | the commands of the `seamio` binary, which ties the rooms together (feature `server`) |
//!
//! The direction of `use` is one way: `proto` and `net` know no other room, `tc` and `client` know both and not each
//! other, `config` and `cli` know `tc`.

#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
pub mod codec;
#[cfg(feature = "server")]
pub mod config;
pub mod error;
pub mod manual;
pub mod net;
pub mod proto;
pub mod tc;
pub mod xid;

pub use error::{Error, Result};

#[cfg(feature = "sim")]
pub mod sim;
