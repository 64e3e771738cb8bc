//! The event-loop runtime: sockets, timers, sessions, workers. Knows nothing of Seata, is usable alone.

mod backoff;
mod blocking;
mod buffer;
mod codec;
mod config;
mod connection;
mod connector;
pub mod driver;
mod endpoint;
mod engine;
mod error;
mod handler;
mod id;
mod inbox;
mod lane;
mod lifecycle;
mod listener;
mod metrics;
mod outbound;
mod outbox;
mod outgoing;
mod pending;
mod reactor;
mod remote;
mod resolver;
mod session;
mod shared;
mod slots;
mod transport;
pub mod wake;
pub mod wheel;
mod workers;

pub use codec::{Codec, Decoded, Input, Output, Reserved};
pub use config::{
    Backoff, Budget, Compression, Config, ConnectOptions, Growth, IdleStrategy, Keepalive, Limits,
    ListenOptions, Overflow, SessionConfig, Workers,
};
pub use driver::{Clock, Driver, MioDriver, Monotonic};
pub use endpoint::{Endpoint, HostPort, MalformedEndpoint, Origin, Peer};
pub use error::{CloseReason, CodecError, Error, Refused, SendError, Sent};
pub use handler::{Cx, Handler, In, Out, Route};
pub use id::{ConnectorId, LaneId, ListenerId, SessionId};
pub use lane::{Lane, LaneInput, Lanes};
pub use metrics::{Histogram, Metrics};
pub use outbound::Outbound;
pub use pending::Pending;
pub use reactor::{Handle, Listening, Reactor, Timer, Turn};
pub use session::{Extensions, HookId, Session, SessionStats};
