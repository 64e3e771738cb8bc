//! The event-loop runtime: sockets, timers, sessions, workers. Knows nothing of Seata, is usable alone.
//!
//! ```text
//!    other threads                     the reactor's thread                        worker threads
//!                          ┌────────────────────────────────────────────┐
//!  Handle, Session, Lanes ─┼─► queue ─┐                                 │
//!                          │          ▼           Codec::decode         │
//!   peers ──── sockets ────┼─► read ──┼──► Session ────► Handler::route ┼─ Lane, Keyed ► Lane::on_batch
//!     ▲                    │          │                    │   │   └────┼─ Blocking ───► Handler::on_blocking
//!     │                    │        timers                 │   └─ Reply ┼──────────────► Pending: wait, then, .await
//!     │                    │          ▼                    ▼ Inline     │
//!     └─── one write ──────┼─◄ outbox ◄── Handler::on_open, on_message, │
//!        per session, turn │       ▲      on_tick, on_writable, on_close│
//!                          └───────┼────────────────────────────────────┘
//!                                  └─── answers of a lane, as one batch with at most one wake-up
//! ```
//!
//! One thread, the [`Reactor`]'s, owns every socket and timer. An application is a [`Handler`] (what happens) with a
//! [`Codec`] (how bytes become messages) and, if it has work that takes longer than a moment, a [`Lane`] (state with its own
//! queue and thread). Everything else asks the reactor for something through a cheap handle that can be cloned and used from
//! any thread: [`Session`], [`Handle`], [`Lanes`].
//!
//! ```
//! use std::time::Duration;
//! use seamio::net::{Callbacks, Config, ConnectOptions, Lines, ListenOptions, Reactor};
//!
//! // A handler of closures around a codec of text lines; a handler with lanes is a type of its own.
//! let echo = Callbacks::new(Lines).on_message(|cx, session, line: String| {
//!     println!("{session}: {line}");
//!     if cx.send(&line).is_err() {
//!         session.abort();
//!     }
//! });
//! let mut reactor = Reactor::new(Config::default(), echo)?;
//! let id = reactor.listen("127.0.0.1:0".parse()?, ListenOptions::default())?;
//! println!("listening on {}", reactor.local_addr(id).expect("it listens"));
//! // Something that ends it: any thread may, a signal handler's thread too.
//! let handle = reactor.handle();
//! std::thread::spawn(move || handle.drain(Duration::from_secs(1)));
//! reactor.run()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Callbacks`] shows a client too. In `examples/`: `echo`, `echo_client`, `rpc`, `embed_epoll`, `game_tick`, `shared_port`,
//! `spin` and one for each transport. Who comes from getty finds each of its concepts in [`crate::manual::from_getty`].
//!
//! # Transports
//!
//! One handler and one codec serve all of them; [`Reactor::listen`] and [`Reactor::connect`] take an [`Endpoint`], which is
//! parsed from text:
//!
//! | text | what | options | feature |
//! |---|---|---|---|
//! | `HOST:PORT`, `tcp://HOST:PORT` | TCP | | |
//! | `tls://HOST:PORT` | TCP with TLS 1.2 or 1.3 | `ServerTls` in [`ListenOptions`], `ClientTls` in [`ConnectOptions`] | `tls` |
//! | `ws://HOST:PORT/PATH` | WebSocket: each message is decoded alone | `WsServer`, `WsClient` | `ws` |
//! | `wss://HOST:PORT/PATH` | WebSocket within TLS | both | `tls`, `ws` |
//! | `unix:///PATH`, `unix://@NAME` | a stream within the machine; abstract names on Linux | `mode` in [`ListenOptions`] | |
//! | `udp://HOST:PORT` | datagrams: each is decoded alone | | |
//!
//! Streams may be compressed besides, [`SessionConfig::compression`] (feature `compress`).
//!
//! # Datagrams
//!
//! A socket for datagrams is a session like any other, with the same lanes, calls, ticks, watermarks and close. Listening on
//! `udp://` opens one session at once that hears all senders; connecting opens sessions with one peer each, whether anybody is
//! there or not ([`ConnectOptions::connect_ping`] finds out). Each datagram is decoded alone ([`Input::is_whole`]), and
//! [`Input::sender`] tells the codec who sent it. [`Cx::send`] answers the sender of the one being handled;
//! [`Session::send_to`], [`Cx::send_to`] and [`Outbound::send_to`] take an address.
//!
//! Up to 32 datagrams move with one system call. What happens to one of them (too long, malformed, refused by the other
//! machine, not taken by the kernel) is told to `on_error`, counted in [`SessionStats::dropped`] and
//! [`Metrics::dropped_messages`], and ends nothing. A full queue refuses the next one. Nothing is sent twice and nothing put in
//! order: that is the application's, as with UDP itself. Answers leave from the address the system chooses; on a machine with
//! several, bind to the one they shall come from.
//!
//! # Unix sockets
//!
//! [`Peer::credentials`] says who is at the other end. The file of a listener has the permissions of [`ListenOptions::mode`] from
//! the start and is removed with the listener; one left behind by a server that died is replaced once a connection to it was
//! refused, and nothing else is ever removed. A client finds a listener whose queue is full as it finds none: it waits and
//! tries again.
//!
//! # What runs where
//!
//! | code | thread | may block |
//! |---|---|---|
//! | all `on_*` of [`Handler`] but `on_blocking`, [`Handler::route`], timers of [`Handle::after`] and [`Handle::every`], hooks of [`Session::on_closed`], callbacks of [`Pending::then`] | the reactor's | no |
//! | [`Codec::decode`] | the reactor's | no |
//! | [`Codec::encode`] | that of who sends | better not |
//! | [`Lane::on_batch`] | a worker's, always the same; the reactor's with [`Workers::threads`] 0 | only its own lane suffers; with 0 threads no |
//! | [`Handler::on_blocking`] | one of the elastic pool; the reactor's with [`Workers::blocking`] 0 | yes; with 0 no |
//! | [`Reactor::listen`], [`Reactor::run`] and the like | the host's | |
//!
//! No thread is started that [`Workers`] does not ask for, except one to resolve names when a *name* is connected to. Signals
//! are left alone. There is nothing global: several reactors live in one process, each on a thread of its own, and a reactor
//! may be moved to another thread between two turns.
//!
//! Callbacks never overlap and none of them runs within another. What one asks for through a handle (a send to another
//! session, a close, a timer, a connection) is queued and takes effect after it; [`Cx::send`] writes to the running session's
//! outbox at once. To wait for a [`Pending`] in a callback is refused with [`Error::OnReactor`], since it would wait for
//! itself.
//!
//! A handler is made before its reactor. What it needs of it comes with each callback ([`Cx::handle`]); what the application
//! needs of it (sessions, counts) it shares by an `Arc` or a channel inside the handler, filled in `on_open` and emptied in
//! `on_close`.
//!
//! # Choosing a route
//!
//! [`Handler::route`] is asked for each message:
//!
//! | route | for | order | when there is no room |
//! |---|---|---|---|
//! | [`Route::Inline`] | heartbeats, whatever is answered from memory in microseconds | as received | |
//! | [`Route::Lane`] | state with one owner: a coordinator, an order book | as received, over all sessions | the session is not read |
//! | [`Route::Keyed`] (the default, by session) | work that takes longer than a moment, spread over the lanes | as received for equal keys | the session is not read |
//! | [`Route::Blocking`] | handlers that wait for a database or another service | none | the session is not read |
//! | [`Route::Reply`] | answers to [`Session::call`] | as received | |
//! | [`Route::Drop`] | nobody | | |
//!
//! Without lanes, which is the default, keyed messages are handled inline. [`Workers::of`] asks for some.
//!
//! # Back-pressure
//!
//! Sends never block. [`Sent::Congested`] says that more than [`SessionConfig::high_water`] waits: stop, if you can, until
//! `on_writable`. At [`SessionConfig::hard_limit`] sends fail with [`SendError::Full`]. A session that is congested is not
//! read either, so a server that only answers needs to do nothing. A peer that takes nothing for
//! [`SessionConfig::write_stall`] is closed. The other way round, a lane or pool that has no room stops the reading of the
//! sessions that feed it, and the peer's TCP stack stops the peer. A session that is not read is not expired for its silence.
//!
//! # Time
//!
//! `on_tick` comes every [`SessionConfig::tick`], spread over the period for many sessions; [`SessionConfig::idle_timeout`]
//! closes silent peers. Both run on the reactor, so no busy worker delays a heartbeat. Timers of the application:
//! [`Handle::after`], [`Handle::every`]; for thousands of an application's own, [`wheel::Wheel`] is usable alone. They are
//! exact to a millisecond, never early.
//!
//! # Connecting
//!
//! [`Reactor::connect`] returns at once and keeps [`ConnectOptions::connections`] sessions alive until
//! [`Handle::disconnect`]: whatever ends one, or an attempt, leads through the [`Backoff`] to the next attempt, which resolves
//! a name anew. Each session is a new one and begins with `on_open`, the place to introduce oneself to the server; failed
//! attempts are told to `on_connect_error`.
//!
//! # The end
//!
//! [`Handle::drain`] stops accepting and reading, lets lanes and pool finish, flushes and closes the sessions, and ends
//! [`Reactor::run`]; what is not done at the deadline, or when it is called again, is cut off. [`Session::close`] flushes and
//! waits for the peer up to [`SessionConfig::drain_timeout`]; [`Session::abort`] does not. A reactor that is dropped aborts
//! everything. Each session that saw `on_open` sees one `on_close`, whatever happened. Handles that are left over stay valid
//! and answer that all is gone.
//!
//! # In a host's own loop
//!
//! [`Reactor::poll_once`] does one turn. Between turns a host may sleep on the descriptor of
//! [`AsRawFd`](std::os::fd::AsRawFd), level-triggered, in one of two ways:
//!
//! - with [`Config::descriptor_tells_all`] the descriptor alone is enough, from the first turn on;
//! - without, it becomes readable for sockets and other threads only: ask [`Reactor::next_timeout`] right before each sleep
//!   and sleep no longer. Work left over from a turn says so by a timeout of zero.
//!
//! `examples/embed_epoll.rs` has both, `examples/game_tick.rs` the third way: turns whenever the host has a moment.
//! [`Budget`] bounds what one turn does, [`IdleStrategy`] what [`Reactor::run`] does between two.
//!
//! # Guarantees
//!
//! - The reactor's thread waits for nothing but readiness: no lane, pool, name server or slow peer holds it up.
//! - A session sees `on_open`, its messages in order, and exactly one `on_close` with the reason; nothing after it.
//! - A peer that does not read, and a lane that does not keep up, stop the reading of the sessions concerned. Nothing is
//!   dropped for it, and no queue grows beyond its limit.
//! - A panic in a codec or a callback ends one session (not with `panic = "abort"`). A panic in a lane ends the reactor, with
//!   an error: the lane's state may be half changed.
//! - Under load there is about one read and one write for all that a session brought in a turn, no wake-up and no
//!   allocation (`tests/net`, `tests/net_alloc.rs`). When idle there is no system call.
//!
//! [`crate::manual::runtime`] names the test of each of these and of many more.
//!
//! # Left out
//!
//! Windows. 32-bit targets: a session's id is one machine word. Files. io_uring.
//!
//! Follows network.md, parts B and C.

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
    Backoff, Budget, BusyPoll, Compression, Config, ConnectOptions, Growth, IdleStrategy,
    Keepalive, Limits, ListenOptions, Overflow, Prepare, SessionConfig, Workers,
};
pub use driver::{Clock, Driver, MioDriver, Monotonic};
pub use endpoint::{Endpoint, HostPort, MalformedEndpoint, Origin, Peer, WsAddr};
pub use error::{CloseReason, CodecError, Error, Refused, SendError, Sent};
pub use framing::{LengthDelimited, Lines, Messages};
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
