//! The event-loop runtime: sockets, timers, sessions, workers. Knows nothing of Seata, is usable alone.

mod config;
pub mod driver;
mod endpoint;
mod error;
mod id;
pub mod wake;
pub mod wheel;

pub use config::{
    Backoff, Budget, Compression, Config, ConnectOptions, Growth, IdleStrategy, Keepalive, Limits,
    ListenOptions, Overflow, SessionConfig, Workers,
};
pub use driver::{Clock, Driver, MioDriver, Monotonic};
pub use endpoint::{Endpoint, HostPort, MalformedEndpoint, Origin, Peer};
pub use error::{CloseReason, CodecError, Error, Refused, SendError, Sent};
pub use id::{ConnectorId, LaneId, ListenerId, SessionId};
