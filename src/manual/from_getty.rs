//! The runtime for people who come from getty: where each of its concepts went, and what behaves differently.
//!
//! What was verified of each row, and by which test, is in [`runtime`](crate::manual::runtime).
//!
//! # The same program
//!
//! A server that echoes packages of a length and a payload, closes sessions that are silent for 20 s and handles packages off
//! the network thread. In getty: a reader and a writer (`ReadWriter`), a listener with five methods (`EventListener`), a
//! session callback that sets them, a task pool. Here:
//!
//! ```
//! use std::collections::VecDeque;
//! use std::time::{Duration, Instant};
//!
//! use bytes::Bytes;
//! use seamio::net::*;
//!
//! struct Server;
//!
//! // Reader and Writer are a Codec, one for all sessions; LengthDelimited is a ready one.
//! // EventListener is a Handler. OnMessage on a task pool is a Lane: bounded, and in order for each session.
//! impl Handler for Server {
//!     type Codec = LengthDelimited;
//!     type Lane = Worker;
//!     type Event = ();
//!
//!     fn codec(&self) -> &LengthDelimited {
//!         &LengthDelimited
//!     }
//!     fn lane(&self, _: LaneId, _: Lanes<Self>) -> Worker {
//!         Worker
//!     }
//!     // NewSessionCallback and OnOpen: what is not wanted is refused, and the session's settings can be changed.
//!     fn on_open(
//!         &self,
//!         _cx: &mut Cx<'_, Self>,
//!         session: &Session<Self>,
//!         config: &mut SessionConfig,
//!     ) -> Result<(), Refused> {
//!         config.tick = Duration::from_secs(10); // SetCronPeriod
//!         println!("{session} is up");
//!         Ok(())
//!     }
//!     // OnMessage without a task pool.
//!     fn on_message(&self, _: &mut Cx<'_, Self>, _: &Session<Self>, _: Bytes) {}
//!     // OnCron; always on the network thread, so that no busy pool delays a heartbeat.
//!     fn on_tick(&self, _: &mut Cx<'_, Self>, session: &Session<Self>) {
//!         println!("{session}: {:?}", session.stats()); // Stat
//!     }
//!     // OnError comes before OnClose, which comes exactly once.
//!     fn on_close(&self, _: &mut Cx<'_, Self>, session: &Session<Self>, reason: CloseReason) {
//!         println!("{session}: {reason}");
//!     }
//! }
//!
//! struct Worker;
//!
//! impl Lane<Server> for Worker {
//!     fn on_batch(
//!         &mut self,
//!         _: Instant,
//!         batch: &mut VecDeque<LaneInput<Server>>,
//!         out: &mut Outbound<Server>,
//!     ) {
//!         while let Some(LaneInput::Message(from, payload)) = batch.pop_front() {
//!             let _ = out.send(from, &payload); // WritePkg
//!         }
//!     }
//! }
//!
//! let mut config = Config { workers: Workers::of(2), ..Config::default() }; // WithServerTaskPool
//! config.session.max_frame = 4096; // SetMaxMsgLen
//! config.session.idle_timeout = Some(Duration::from_secs(20)); // GetActive, compared in OnCron
//! config.session.write_stall = Duration::from_secs(5); // SetWriteTimeout
//! config.session.drain_timeout = Duration::from_secs(1); // SetWaitTime
//! let mut reactor = Reactor::new(config, Server)?; // NewTCPServer
//! let options = ListenOptions { name: "orders".into(), ..ListenOptions::default() }; // SetName
//! reactor.listen("127.0.0.1:0".parse()?, options)?; // WithLocalAddress
//! // reactor.run()?; // RunEventLoop, which ends when it is drained
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Endpoints
//!
//! | getty | here |
//! |---|---|
//! | `NewTCPServer`, `NewWSServer`, `NewWSSServer`, `NewUDPEndPoint` | [`Reactor::listen`] with an [`Endpoint`]: `tcp://`, `ws://`, `wss://`, `udp://`, also `tls://` and `unix://`. Errors instead of panics |
//! | `NewTCPClient`, `NewUDPClient`, `NewWSClient`, `NewWSSClient` | [`Reactor::connect`] with an [`Endpoint`] |
//! | `RunEventLoop` | [`Reactor::run`], or [`Reactor::poll_once`] in a loop of the host's own. Connecting never blocks |
//! | `EndPoint.ID`, `EndPointType` | [`ListenerId`], [`ConnectorId`]; which one a session came from is in [`Peer::origin`] |
//! | `EndPoint.IsClosed`, `Close` | [`Handle::is_alive`], [`Handle::drain`]; [`Handle::disconnect`] for one client. Live sessions are closed too, in order |
//! | `GetTaskPool` | [`Workers`], [`Route`] |
//! | `Listener`, `PacketConn` | [`Reactor::local_addr`], [`Reactor::address`] |
//! | `NewSessionCallback` | [`Codec::open`] and [`Handler::on_open`], whose refusal is a normal close |
//! | an address without a port | port 0 |
//!
//! # Options
//!
//! | getty | here |
//! |---|---|
//! | `WithLocalAddress`, `WithServerAddress` | the endpoint |
//! | `WithWebsocketServerPath` | the path of the endpoint: `ws://HOST:PORT/PATH` |
//! | `WithWebsocketServerCert`, `WithWebsocketServerPrivateKey`, `WithWebsocketServerRootCert`, `WithServerSslEnabled`, `WithServerTlsConfigBuilder` | `ServerTls` in [`ListenOptions`]: from PEM files or a rustls configuration |
//! | `WithRootCertificateFile`, `WithClientSslEnabled`, `WithClientTlsConfigBuilder`, `TlsConfigBuilder` | `ClientTls` in [`ConnectOptions`]. The server is verified unless it is said in so many words that it is not |
//! | `WithConnectionNumber` | [`ConnectOptions::connections`], 1 by default |
//! | `WithReconnectInterval`, `WithReconnectAttempts` | [`Backoff::base`], [`Backoff::attempts`]. Exponential with jitter; getty's own steps are [`Growth::Linear`] |
//! | `WithServerTaskPool`, `WithClientTaskPool` | [`Config::workers`] |
//!
//! # Session
//!
//! | getty | here |
//! |---|---|
//! | `ID`, `LocalAddr`, `RemoteAddr` | [`Session::id`], [`Session::peer`]: valid after the close too |
//! | `Conn` | options for what is usual ([`SessionConfig::nodelay`], [`SessionConfig::keepalive`], buffers); [`Session::with_socket`] for the rest |
//! | `Stat`, `IncReadPkgNum`, `IncWritePkgNum` | [`Session::stats`], 64 bits; [`Session`] prints as name, id and address |
//! | `IsClosed`, `Close`, `CloseConn` | [`Session::is_open`], [`Session::close`], [`Session::abort`] |
//! | `SetName` | `name` in the options |
//! | `SetMaxMsgLen` | [`SessionConfig::max_frame`], 16 MiB by default instead of 4096 bytes |
//! | `SetEventListener`, `SetPkgHandler`, `SetReader`, `SetWriter`, `SetSession` | the [`Handler`] and its [`Codec`], there from the beginning |
//! | `SetCronPeriod` | [`SessionConfig::tick`], [`Session::set_tick`]; off by default |
//! | `SetWaitTime` | [`SessionConfig::drain_timeout`], 3 s as there |
//! | `SetReadTimeout`, `ReadTimeout` | none is needed: reading never blocks. Silence is [`SessionConfig::idle_timeout`] |
//! | `SetWriteTimeout`, `WriteTimeout`, the timeout of `WritePkg` | [`SessionConfig::write_stall`]: no caller sees another's |
//! | `GetAttribute`, `SetAttribute`, `RemoveAttribute` | [`Session::extensions`], by type |
//! | `UpdateActive`, `GetActive` | [`Session::touch`], [`Session::last_active`] |
//! | `SetCompressType` | [`SessionConfig::compression`], the same bytes on the wire (feature `compress`) |
//! | `WritePkg` | [`Session::send`], [`Cx::send`]: queued, one write per session and turn |
//! | `WriteBytes`, `WriteBytesArray`, `Send` | [`Session::send_bytes`], [`Session::send_all`] |
//! | `AddCloseCallback`, `RemoveCloseCallback` | [`Session::on_closed`], [`Session::remove_hook`] |
//! | `Reset`, `EndPoint` | nothing to reset; [`Peer::origin`] |
//! | session closed, session blocked, self connect | [`SendError::Closed`], [`SendError::Full`], and a self-connection counts as a failed attempt |
//! | `Read` returning (nil, 0, nil), (nil, n, nil), (pkg, n, nil), error | [`Decoded::Need`] of what is known, `Need(n)`, [`Decoded::Message`] with the bytes taken off, [`CodecError`] |
//! | UDP and WebSocket: a bad message is dropped, the session lives | the same; it is told to `on_error` |
//! | UDP packages with the peer's address | [`Input::sender`](crate::net::Input::sender) for the codec; [`Cx::send`] answers the sender, [`Session::send_to`] any address |
//! | `OnOpen`, `OnMessage`, `OnCron`, `OnError`, `OnClose` | [`Handler::on_open`], [`Handler::on_message`] or [`Lane::on_batch`], [`Handler::on_tick`], [`Handler::on_error`], [`Handler::on_close`] |
//!
//! # Inside
//!
//! | getty | here |
//! |---|---|
//! | a goroutine or two per session | one thread for all of them; an idle session costs no buffer and no wake-up |
//! | a write for each package (since 1.4.1) | what a turn brings for a session leaves with one vectored write |
//! | `connect-ping` datagrams | swallowed; sent with [`ConnectOptions::connect_ping`] |
//! | connect timeout 3 s, flat 500 ms sleep, linear steps | [`ConnectOptions::timeout`] 3 s, [`Backoff`] on the timing wheel, reset by the first frame of the peer |
//! | accept errors | retried by timer when descriptors run out; the client sees a close, not a hang |
//! | task pool `AddTask`, `AddTaskAlways`, `AddTaskBalance` | [`Route::Keyed`], [`Route::Lane`], [`Route::Blocking`]: bounded, and what has no room is not read |
//! | `After`, `AfterFunc`, `Ticker`, `GetTimeWheel` | [`Handle::after`], [`Handle::every`], both cancelled by [`Timer::cancel`]; [`Wheel`](crate::net::wheel::Wheel) alone |
//! | `SetLogger` | the `log` crate |
//! | a map of futures by request id (seata-golang) | [`Session::call`] and [`Route::Reply`] |
//!
//! # Talking to a getty that stays
//!
//! One end can be moved before the other: getty 1.3.10, 1.4.3, 1.4.9 and 1.5.0 converse with this runtime in both directions
//! over every transport that both have, which `tests/interop/getty/run` tries with the published modules. What to set:
//!
//! | on getty's side | here |
//! |---|---|
//! | no `SetCompressType` | `Compression::None`, the default |
//! | `CompressZip`, `CompressBestSpeed`, `CompressBestCompression`, `CompressHuffman` | `Compression::Deflate` with any level: the level is the sender's own affair |
//! | `SetCompressType(CompressNone)` | `Compression::Deflate` too: that getty sends stored deflate blocks and expects deflate |
//! | `CompressSnappy` | `Compression::Snappy`, but not for questions and answers: getty keeps what it writes until 64 KiB are together or it closes |
//! | WebSocket with `SetCompressType` | `WsDeflate` in the options; without it the peer is told no, and does without |
//! | `NewTCPServer` with TLS from its own builders | a client certificate in `ClientTls`: those builders demand one, any one |
//! | `NewUDPClient` | nothing: its `connect-ping` is swallowed |
//!
//! What goes wrong there whatever is set here:
//!
//! - 1.5.0 does not come back after its peer has ended a connection in order, as a restarted server does.
//! - With compression, `WriteBytesArray` and the queued `WritePkg` of 1.3 bypass the compressor; the session ends with
//!   [`CloseReason::Transport`].
//! - Up to 1.4.9 a WebSocket's close frame has free text where the code belongs; everything before it is delivered and the
//!   session ends with [`CloseReason::Transport`] instead of [`CloseReason::Peer`].
//! - Its WebSocket client reads no message above 4096 bytes.
//! - The TLS client of 1.3 dereferences nil when the server refuses the connection.
//!
//! Compression is worth its memory and time on slow or metered links; its costs are listed at [`Compression`].
//!
//! # What to unlearn
//!
//! - A handler that waited for a reply on its own connection made getty deaf. Here the reply is matched on the network thread,
//!   so any pool thread may wait for it, and the network thread itself is kept from waiting ([`Error::OnReactor`]).
//! - Sending never blocks and never fails half-way. What to do at the limit is your choice: [`Overflow`].
//! - Messages of a session do not overtake each other on [`Route::Keyed`].
//! - `close` returns at once; `on_close` says when it is over.
//! - A handle of a session that is gone is harmless: sends say [`SendError::Closed`].

#[cfg(doc)]
use crate::net::*;
