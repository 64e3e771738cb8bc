//! WebSocket: what is a message, what is refused, and how it is logged.
//!
//! Needs the feature `ws`, `wss://` also `tls`, compression also `compress`. A listener on `ws://ADDRESS` serves the paths in
//! `ListenOptions::ws`; a connector to `ws://HOST:PORT/PATH` asks as `ConnectOptions::ws` says. Handler and codec are the
//! ones of any other transport.
//!
//! # A message is a frame
//!
//! What the codec is given is one whole message and nothing else ([`Input::is_whole`]); what it encodes for one `send` leaves as
//! one message, in one WebSocket frame. Several messages of a turn share a write. A protocol with a length in front keeps it; one
//! without needs none. A message that cannot be decoded, or is more or less than one frame of the codec, is told to
//! `on_error`, counted as dropped, and the session goes on. Fragments are put together, control frames between them are
//! answered on the way; an application sees neither.
//!
//! Text and binary messages are both received, and the handler is not told which it was; text is checked to be UTF-8 as it
//! comes. What is sent as is `WsMessage`: binary, text, or as the peer's latest message came. A peer that sends both kinds
//! without waiting for answers gets the kind of its latest one for all that leave in the same turn.
//!
//! # Limits
//!
//! | what | where | beyond it |
//! |---|---|---|
//! | bytes of a message, inflated | `SessionConfig::max_frame` | close code 1009, told by the head of the frame |
//! | frames of a message | `max_fragments` | close code 1008 |
//! | bytes of a request or its answer | `max_head` | 431; the client gives the attempt up |
//! | time of the handshake, with that of TLS | `handshake_timeout` | the connection ends |
//! | time between signs of life | `ping`, checked once a period | close code 1011, [`CloseReason::Idle`] |
//!
//! # What is refused
//!
//! A server answers 400 for what is no proper request, 403 for an origin, 404 for a path, 405 for a method, 426 for another
//! version or no wish to upgrade, 431 for too long a head, and logs one line: `listener=… peer=… event=handshake-failed` with
//! the status and what it was about. No session begins. A client checks status, accept key, subprotocol and extensions; what the
//! server answered instead is the error of `on_connect_error`, and the next attempt waits its time.
//!
//! Frames that break the protocol end the session with [`CloseReason::Transport`]: `on_error` says what was wrong, what was sent
//! before still leaves, and the close frame carries code and reason: 1002 for framing, 1007 for text or compression, 1008 and
//! 1009 for limits. A connection that ends without a close frame is [`CloseReason::Truncated`].
//!
//! # Closing
//!
//! `Session::close` flushes, sends code 1000 and waits for the peer's answer as long as `drain_timeout`. A peer's close frame is
//! answered with its own code after what waits has been sent; its code and reason are logged at debug level. An application
//! cannot choose a code of its own.
//!
//! # Compression
//!
//! permessage-deflate is agreed on if both ends have `deflate` set. Windows of any size a peer asks for are kept to. Messages
//! below `min_bytes` go as they are. With `WsContext::Kept` each session that has sent holds about
//! 320 KiB; there is none in a session that has not.

#[cfg(doc)]
use crate::net::*;
