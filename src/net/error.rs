//! What can go wrong, and why a session ended.

use std::borrow::Cow;
use std::fmt;
use std::io;

/// What went wrong in the runtime.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The operating system said no. The session or the attempt it belongs to is over.
    Io(io::Error),
    /// Bytes that are no frame, or a message that has no bytes. A session that received such bytes is closed.
    Codec(CodecError),
    /// The session is closed; nothing more can be sent or expected.
    Closed(CloseReason),
    /// No answer within the time given. The reply, should it still come, is dropped.
    Timeout,
    /// A call with this id is already waiting on the session. Choose another id.
    DuplicateCall(u64),
    /// A configured limit was met; its name. Try again when there is less to do.
    Limit(&'static str),
    /// Encryption or WebSocket framing broke down; what about it.
    Transport(String),
    /// A codec or handler panicked; the text of the panic.
    Panic(String),
    /// The reactor is gone.
    ReactorGone,
    /// [`Pending::wait`](super::Pending::wait) in a callback of a reactor, which would have stopped it, for ever if the
    /// answer has to come by the same one. Use [`Pending::then`](super::Pending::then), or
    /// [`Route::Blocking`](super::Route::Blocking) with a pool. What was asked for is given up.
    OnReactor,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(e) => write!(f, "{e}"),
            Error::Codec(e) => write!(f, "{e}"),
            Error::Closed(reason) => write!(f, "session closed: {reason}"),
            Error::Timeout => f.write_str("no answer in time"),
            Error::DuplicateCall(id) => write!(f, "a call with id {id} is already waiting"),
            Error::Limit(name) => write!(f, "limit reached: {name}"),
            Error::Transport(text) => f.write_str(text),
            Error::Panic(text) => write!(f, "panicked: {text}"),
            Error::ReactorGone => f.write_str("the reactor is gone"),
            Error::OnReactor => f.write_str("a callback of the reactor must not wait"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io(e) => Some(e),
            Error::Codec(e) => Some(e),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(e: io::Error) -> Self {
        Error::Io(e)
    }
}

impl From<CodecError> for Error {
    fn from(e: CodecError) -> Self {
        Error::Codec(e)
    }
}

/// Why a session ended. Exactly one per session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer finished sending between two frames.
    Peer,
    /// The peer finished sending in the middle of a frame.
    Truncated,
    /// Closed by us, everything queued was handed to the kernel and the peer finished too.
    Local,
    /// Aborted by us.
    Aborted,
    /// A graceful close took longer than its limit.
    DrainTimeout,
    /// The peer was silent for too long.
    Idle,
    /// The peer took no bytes for too long.
    Stalled,
    /// More bytes waited than the hard limit allows.
    Overflow,
    /// The handler refused it in `on_open`.
    Refused,
    /// The peer sent bytes that are no frame.
    Codec,
    /// A codec or handler panicked.
    Panic,
    /// Encryption or WebSocket framing broke down; `on_error` was told what about it.
    Transport,
    /// The connection broke.
    Io(io::ErrorKind),
    /// The reactor was drained or dropped.
    Shutdown,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            CloseReason::Peer => "closed by peer",
            CloseReason::Truncated => "closed by peer within a frame",
            CloseReason::Local => "closed",
            CloseReason::Aborted => "aborted",
            CloseReason::DrainTimeout => "close took too long",
            CloseReason::Idle => "idle for too long",
            CloseReason::Stalled => "peer takes no bytes",
            CloseReason::Overflow => "too many bytes waiting",
            CloseReason::Refused => "refused",
            CloseReason::Codec => "malformed frame",
            CloseReason::Panic => "handler panicked",
            CloseReason::Transport => "transport protocol broken",
            CloseReason::Io(kind) => return write!(f, "broken: {kind}"),
            CloseReason::Shutdown => "shut down",
        };
        f.write_str(text)
    }
}

/// Bytes that are no frame, or a message that cannot be encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CodecError {
    /// A frame longer than the session allows.
    FrameTooLarge {
        /// Length the frame announces.
        bytes: usize,
        /// Longest frame allowed.
        limit: usize,
    },
    /// Anything else, said for a human.
    Malformed(Cow<'static, str>),
}

impl CodecError {
    /// A malformed frame or message, with what is wrong about it.
    pub fn malformed(what: impl Into<Cow<'static, str>>) -> Self {
        CodecError::Malformed(what.into())
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CodecError::FrameTooLarge { bytes, limit } => {
                write!(f, "frame of {bytes} bytes exceeds the limit of {limit}")
            }
            CodecError::Malformed(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for CodecError {}

/// How a send went. Either way the message is queued and will leave in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "`Congested` asks to slow down; `let _ =` says that something else bounds what is sent, as the requests do \
              that are answered"]
pub enum Sent {
    /// Queued.
    Ok,
    /// Queued, but the peer takes its bytes slower than they come: more than
    /// [`SessionConfig::high_water`](super::SessionConfig::high_water) waits. Send no more before `on_writable` if what is
    /// sent can wait.
    Congested,
}

/// Why nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The session is closing or closed. Give up.
    Closed,
    /// The hard limit of waiting bytes is reached. Wait, or close.
    Full,
    /// A session that hears many senders has to be told where to send to, and any other must not be.
    Address,
    /// The message has no bytes. Nothing of it was queued.
    Codec(CodecError),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Closed => f.write_str("session closed"),
            SendError::Full => f.write_str("too many bytes waiting"),
            SendError::Address => f.write_str("an address is missing, or one too many"),
            SendError::Codec(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for SendError {}

/// Said by `on_open`: this session is not wanted. What was sent before is still flushed, then it closes.
///
/// ```
/// use seamio::net::Refused;
/// assert_eq!(Refused("too many of you".into()).to_string(), "refused: too many of you");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub Cow<'static, str>);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused: {}", self.0)
    }
}

impl std::error::Error for Refused {}
