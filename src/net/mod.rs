//! The event-loop runtime: sockets, timers, sessions, workers. Knows nothing of Seata, is usable alone.
//!
//! One thread, the [`Reactor`], owns every socket. An application is a [`Handler`] (what happens) with a [`Codec`] (how
//! bytes become messages) and, if it has work that takes longer than a moment, a [`Lane`] (state with its own queue and
//! thread). Everything else hands the reactor something to do through a cheap, cloneable handle: [`Session`], [`Handle`],
//! [`Lanes`].
//!
//! # Guarantees
//!
//! - The reactor's thread waits for nothing but readiness: no lane, pool, name server or slow peer holds it up.
//! - A session sees `on_open`, its messages in order, and exactly one `on_close` with the reason; nothing after it.
//! - A peer that does not read, and a lane that does not keep up, stop the reading of the sessions concerned. Nothing is
//!   dropped for it, and no queue grows beyond its limit.
//! - A panic in a codec or a callback ends one session. A panic in a lane ends the reactor, with an error.
//! - Under load there is about one read and one write for all that a session brought in a turn, no wake-up and no
//!   allocation (`tests/net`, `tests/net_alloc.rs`). When idle there is no system call.
//!
//! # Left out
//!
//! TLS, WebSocket, compression and datagrams; `transport` is where they will go. Windows.
//!
//! Follows network.md, parts B and C. `examples/echo.rs` is a complete program.

mod address;
#[cfg(target_os = "linux")]
mod alarm;
mod backoff;
mod blocking;
mod buffer;
mod callbacks;
mod codec;
mod config;
mod connection;
mod connector;
pub mod driver;
mod endpoint;
mod engine;
mod error;
#[cfg(test)]
mod fixture;
mod framing;
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
mod turning;
pub mod wake;
pub mod wheel;
mod workers;

pub use address::{Address, Credentials, UnixAddress};
pub use callbacks::Callbacks;
pub use codec::{Codec, Decoded, Input, Output, Reserved};
#[cfg(feature = "compress")]
pub use config::DeflateLevel;
pub use config::{
    Backoff, Budget, Compression, Config, ConnectOptions, Growth, IdleStrategy, Keepalive, Limits,
    ListenOptions, Overflow, SessionConfig, Workers,
};
pub use driver::{Clock, Driver, MioDriver, Monotonic};
pub use endpoint::{Endpoint, HostPort, MalformedEndpoint, Origin, Peer, WsAddr};
pub use error::{CloseReason, CodecError, Error, Refused, SendError, Sent};
pub use framing::{LengthDelimited, Lines};
pub use handler::{Cx, Handler, In, Out, Route};
pub use id::{ConnectorId, LaneId, ListenerId, SessionId};
pub use lane::{Lane, LaneInput, Lanes};
pub use metrics::{Histogram, Metrics};
pub use outbound::Outbound;
pub use pending::Pending;
pub use reactor::{Handle, Listening, Reactor, Timer, Turn};
pub use session::{Extensions, HookId, Session, SessionStats};
#[cfg(feature = "tls")]
pub use transport::tls::{
    ClientAuth, ClientTls, ClientTlsOptions, Identity, Pem, ServerTls, ServerTlsOptions, TlsError,
    TlsPeer, TlsVersion, Trust, Versions,
};

/// The TLS library underneath, for configurations made by hand.
#[cfg(feature = "tls")]
pub use rustls;
#[cfg(feature = "ws")]
pub use transport::ws::{WsClient, WsMessage, WsOrigins, WsPeer, WsServer};
#[cfg(all(feature = "ws", feature = "compress"))]
pub use transport::ws::{WsContext, WsDeflate};
