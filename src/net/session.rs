//! The handle of a live connection: cheap to clone, usable from any thread, never blocking (network.md C.1).

use std::any::{Any, TypeId};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use socket2::SockRef;

use super::codec::{Codec, Output};
use super::config::{Overflow, SessionConfig};
use super::endpoint::{Origin, Peer};
use super::error::{CloseReason, Error, SendError, Sent};
use super::handler::{Handler, In, Out};
use super::id::SessionId;
use super::pending::Pending;
use super::remote::{Call, Payload, Remote};
use super::shared::Shared;
use super::wheel::Tick;

/// A live connection, or what is left of it: identity and counters outlive the close.
///
/// A handle: cheap to clone, used from any thread, never blocking. It keeps neither the socket nor the buffers alive; one that
/// is kept beyond `on_close` costs a few hundred bytes and the reactor's shared state. Its [`Display`](fmt::Display) form, for
/// logs, is the name of its listener or connector, its id and the peer's address: `tcp-3.0 127.0.0.1:40312`.
///
/// ```no_run
/// use seamio::net::{Callbacks, Lines, SendError, Sent, Session};
///
/// /// From any thread.
/// fn tell(session: &Session<Callbacks<Lines>>, line: &str) {
///     match session.send(line.to_owned()) {
///         Ok(Sent::Ok) => {}
///         Ok(Sent::Congested) => println!("{session} reads slowly, {} bytes wait", session.stats().waiting),
///         Err(SendError::Closed) => println!("{session} is gone"),
///         Err(SendError::Full) => session.abort(),
///         Err(error) => println!("{error}"), // what the codec says
///     }
/// }
/// ```
pub struct Session<H: Handler> {
    pub(crate) inner: Arc<Inner<H>>,
}

pub(crate) struct Inner<H: Handler> {
    id: SessionId,
    peer: Peer,
    name: Arc<str>,
    shared: Arc<Shared<H>>,
    /// Sends are taken.
    pub(crate) open: AtomicBool,
    /// Bytes waiting to be sent. One number for those on their way to the reactor and those in the outbox: with two, bytes
    /// that change hands would be counted twice or not at all for a moment, and sends let in above the limit.
    pub(crate) waiting: AtomicUsize,
    high: AtomicUsize,
    hard: AtomicUsize,
    close_on_overflow: AtomicBool,
    pub(crate) counters: Counters,
    opened: Tick,
    /// Milliseconds since the reactor's epoch.
    pub(crate) last_active: AtomicU64,
    pub(crate) touched: AtomicBool,
    extensions: Extensions,
    hooks: Mutex<Hooks>,
}

/// Written by the reactor only, but for the last.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) frames_in: AtomicU64,
    pub(crate) frames_out: AtomicU64,
    pub(crate) dropped: AtomicU64,
}

/// What a session did, as of the last time the reactor worked on it: a callback does not see its own message counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionStats {
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes the kernel took.
    pub bytes_out: u64,
    /// Frames decoded.
    pub frames_in: u64,
    /// Frames queued for sending.
    pub frames_out: u64,
    /// Messages that came and could not be decoded or were cut short, and those that were to be sent and were refused by
    /// the hard limit or the kernel. The session outlived all of them.
    pub dropped: u64,
    /// Bytes waiting to be sent, those on their way to the reactor included.
    pub waiting: usize,
}

/// Names a hook of [`Session::on_closed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HookId(u64);

impl<H: Handler> Session<H> {
    pub(crate) fn new(
        id: SessionId,
        peer: Peer,
        name: Arc<str>,
        shared: Arc<Shared<H>>,
        config: &SessionConfig,
        opened: Tick,
    ) -> Self {
        let inner = Inner {
            id,
            peer,
            name,
            shared,
            open: AtomicBool::new(true),
            waiting: AtomicUsize::new(0),
            high: AtomicUsize::new(0),
            hard: AtomicUsize::new(0),
            close_on_overflow: AtomicBool::new(false),
            counters: Counters::default(),
            opened,
            last_active: AtomicU64::new(opened.0),
            touched: AtomicBool::new(false),
            extensions: Extensions::default(),
            hooks: Mutex::new(Hooks::default()),
        };
        let session = Session {
            inner: Arc::new(inner),
        };
        session.configure(config);
        session
    }

    /// Encodes a message on this thread and queues its bytes. In a callback of this session [`Cx::send`](super::Cx::send)
    /// does the same without the queue.
    ///
    /// Messages of one thread leave in the order of their sends. One that was queued is lost only if the session ends before
    /// it could be written.
    ///
    /// # Errors
    /// [`SendError::Closed`] once the session is closing, [`SendError::Full`] at its hard limit, or what the codec says. A
    /// session with nothing waiting takes any message, however long.
    pub fn send(&self, message: Out<H>) -> Result<Sent, SendError> {
        self.send_all([message])
    }

    /// Encodes several messages and queues them as one.
    ///
    /// # Errors
    /// As [`Session::send`]; then none of them is sent.
    pub fn send_all(&self, messages: impl IntoIterator<Item = Out<H>>) -> Result<Sent, SendError> {
        let (payload, sent) = self.encode(messages, None)?;
        self.push(Remote::Bytes(self.inner.id, payload))?;
        Ok(sent)
    }

    /// Encodes a message on this thread and queues it as a datagram to an address. Only for a bound socket, whose peers are
    /// many; a session with one peer sends with [`Session::send`].
    ///
    /// What the kernel does not take within the hard limit is refused here with [`SendError::Full`] and counted in
    /// [`SessionStats::dropped`]; what is lost on the way nobody tells.
    ///
    /// # Errors
    /// [`SendError::Address`] on any other session, else as [`Session::send`].
    pub fn send_to(&self, message: Out<H>, to: SocketAddr) -> Result<Sent, SendError> {
        let (payload, sent) = self.encode([message], Some(to))?;
        self.push(Remote::Bytes(self.inner.id, payload))?;
        Ok(sent)
    }

    /// Queues bytes that are encoded already; whole frames, or others will be cut in two.
    ///
    /// # Errors
    /// As [`Session::send`].
    pub fn send_bytes(&self, bytes: Bytes) -> Result<Sent, SendError> {
        self.check_address(None)?;
        let mut payload = Payload {
            bytes: self.inner.shared.buffer(),
            links: Vec::new(),
            frames: 1,
            ends: Vec::new(),
            to: None,
        };
        Output::new(&mut payload.bytes, &mut payload.links).append(bytes);
        let sent = self.admit(payload.len())?;
        self.push(Remote::Bytes(self.inner.id, payload))?;
        Ok(sent)
    }

    /// Sends a request and waits for the message that [`Route::Reply`](super::Route::Reply) sends to the same `id`. The
    /// caller chooses `id`, by counting up for example, and puts it into the message in whatever way the protocol has.
    ///
    /// The answer is an error when none comes within `timeout` ([`Error::Timeout`]), when the session closes first or is
    /// closed already, or the peer has finished sending ([`Error::Closed`]), when `id` waits already on this session ([`Error::DuplicateCall`]), when too many
    /// calls or bytes wait ([`Error::Limit`]), or when the message cannot be encoded ([`Error::Codec`]).
    pub fn call(&self, id: u64, message: Out<H>, timeout: Duration) -> Pending<In<H>> {
        let (completion, pending) = Pending::new();
        let payload = match self.encode([message], None) {
            Ok((payload, _)) => payload,
            Err(e) => {
                completion.complete(Err(match e {
                    SendError::Closed => Error::Closed(self.close_reason()),
                    SendError::Full => Error::Limit("hard_limit"),
                    SendError::Address => {
                        Error::Io(io::Error::new(io::ErrorKind::InvalidInput, e.to_string()))
                    }
                    SendError::Codec(e) => Error::Codec(e),
                }));
                return pending;
            }
        };
        let serial = self.inner.shared.next_serial();
        let call = Call {
            id,
            serial,
            timeout,
            completion,
        };
        // A push that fails drops the call, which answers that the reactor is gone.
        let _ = self.push(Remote::Call(self.inner.id, payload, call));
        let (shared, session) = (Arc::clone(&self.inner.shared), self.inner.id);
        pending.on_give_up(move || {
            let _ = shared
                .remote
                .push_always(Remote::ForgetCall(session, serial));
        })
    }

    /// Closes gracefully: what was sent before is flushed, then the peer is given time to finish, both within
    /// [`SessionConfig::drain_timeout`]. Returns at once; `on_close` says when it is over. No message of the peer is delivered
    /// any more.
    pub fn close(&self) {
        if !self.is_open() {
            return; // it is closing already
        }
        let _ = self
            .inner
            .shared
            .remote
            .push_always(Remote::Close(self.inner.id));
    }

    /// Ends the connection now; what waits is thrown away. The peer sees a reset.
    pub fn abort(&self) {
        let abort = Remote::Abort(self.inner.id, CloseReason::Aborted);
        let _ = self.inner.shared.remote.push_always(abort);
    }

    /// Calls `hook` once when the session is gone, on the reactor's thread; at once when it is already.
    pub fn on_closed(&self, hook: impl FnOnce(CloseReason) + Send + 'static) -> HookId {
        let mut hooks = self.hooks();
        hooks.next += 1;
        let id = HookId(hooks.next);
        match hooks.closed {
            Some(reason) => {
                drop(hooks);
                hook(reason);
            }
            None => hooks.list.push((id, Box::new(hook))),
        }
        id
    }

    /// Takes a hook back. Whether it was still there.
    pub fn remove_hook(&self, id: HookId) -> bool {
        let mut hooks = self.hooks();
        let before = hooks.list.len();
        hooks.list.retain(|(i, _)| *i != id);
        hooks.list.len() < before
    }

    /// Sets the period of `on_tick`, at least a millisecond; zero switches it off.
    pub fn set_tick(&self, period: Duration) {
        if !self.is_open() {
            return;
        }
        let _ = self
            .inner
            .shared
            .remote
            .push_always(Remote::Tick(self.inner.id, period));
    }

    /// Counts as a sign of life of the peer, for [`SessionConfig::idle_timeout`].
    pub fn touch(&self) {
        self.inner.touched.store(true, Ordering::Relaxed);
    }

    /// Runs `f` with the socket, on the reactor's thread, if the session is still open and its network has sockets.
    pub fn with_socket(&self, f: impl FnOnce(&SockRef<'_>) + Send + 'static) {
        let _ = self
            .inner
            .shared
            .remote
            .push_always(Remote::Socket(self.inner.id, Box::new(f)));
    }

    /// The session's id.
    pub fn id(&self) -> SessionId {
        self.inner.id
    }

    /// The other end; valid after the close too.
    pub fn peer(&self) -> &Peer {
        &self.inner.peer
    }

    /// The name given to its listener or connector.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Whether sends are taken.
    pub fn is_open(&self) -> bool {
        self.inner.open.load(Ordering::Acquire)
    }

    /// What the session did so far.
    pub fn stats(&self) -> SessionStats {
        let counters = &self.inner.counters;
        SessionStats {
            bytes_in: counters.bytes_in.load(Ordering::Relaxed),
            bytes_out: counters.bytes_out.load(Ordering::Relaxed),
            frames_in: counters.frames_in.load(Ordering::Relaxed),
            frames_out: counters.frames_out.load(Ordering::Relaxed),
            dropped: counters.dropped.load(Ordering::Relaxed),
            waiting: self.waiting(),
        }
    }

    /// When the session was opened.
    pub fn opened(&self) -> Instant {
        self.inner.shared.epoch + Duration::from_millis(self.inner.opened.0)
    }

    /// When the peer last sent something, to a millisecond; when the session was opened, if it never did.
    pub fn last_active(&self) -> Instant {
        let millis = self.inner.last_active.load(Ordering::Relaxed);
        self.inner.shared.epoch + Duration::from_millis(millis)
    }

    /// Values of the application that live with the session.
    pub fn extensions(&self) -> &Extensions {
        &self.inner.extensions
    }

    pub(crate) fn configure(&self, config: &SessionConfig) {
        self.inner.high.store(config.high_water, Ordering::Relaxed);
        self.inner.hard.store(config.hard_limit, Ordering::Relaxed);
        let close = config.overflow == Overflow::Close;
        self.inner.close_on_overflow.store(close, Ordering::Relaxed);
    }

    /// Ends the life of the handle and hands out its hooks.
    pub(crate) fn set_closed(&self, reason: CloseReason) -> Vec<Hook> {
        self.inner.open.store(false, Ordering::Release);
        let mut hooks = self.hooks();
        hooks.closed = Some(reason);
        std::mem::take(&mut hooks.list)
            .into_iter()
            .map(|(_, hook)| hook)
            .collect()
    }

    fn encode(
        &self,
        messages: impl IntoIterator<Item = Out<H>>,
        to: Option<SocketAddr>,
    ) -> Result<(Payload, Sent), SendError> {
        if !self.is_open() {
            return Err(SendError::Closed);
        }
        self.check_address(to)?;
        let shared = &self.inner.shared;
        let mut payload = Payload {
            bytes: shared.buffer(),
            links: Vec::new(),
            frames: 0,
            ends: Vec::new(),
            to,
        };
        let mut first = 0;
        for message in messages {
            let mut output = Output::new(&mut payload.bytes, &mut payload.links);
            if let Err(e) = shared.handler.codec().encode(&message, &mut output) {
                shared.recycle_buffer(payload.bytes);
                return Err(SendError::Codec(e));
            }
            payload.frames += 1;
            if payload.frames == 1 {
                first = payload.len();
                continue;
            }
            if payload.frames == 2 {
                payload.ends.push(first);
            }
            payload.ends.push(payload.len());
        }
        match self.admit(payload.len()) {
            Ok(sent) => Ok((payload, sent)),
            Err(e) => {
                shared.recycle_buffer(payload.bytes);
                Err(e)
            }
        }
    }

    /// Whether a message needs an address exactly if it has one.
    fn check_address(&self, to: Option<SocketAddr>) -> Result<(), SendError> {
        if to.is_some() == self.hears_many() {
            Ok(())
        } else {
            Err(SendError::Address)
        }
    }

    fn hears_many(&self) -> bool {
        matches!(self.inner.peer.origin, Origin::Bound(_))
    }

    /// Counts bytes as waiting, if the hard limit allows them. A session with nothing waiting takes any message.
    fn admit(&self, bytes: usize) -> Result<Sent, SendError> {
        if !self.is_open() {
            return Err(SendError::Closed);
        }
        let inner = &self.inner;
        let hard = inner.hard.load(Ordering::Relaxed);
        let more = |n: usize| (n == 0 || n + bytes <= hard).then_some(n + bytes);
        let counted = inner
            .waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        let Ok(before) = counted else {
            inner.counters.dropped.fetch_add(1, Ordering::Relaxed);
            if inner.close_on_overflow.load(Ordering::Relaxed) {
                let abort = Remote::Abort(inner.id, CloseReason::Overflow);
                let _ = inner.shared.remote.push_always(abort);
            }
            return Err(SendError::Full);
        };
        let high = inner.high.load(Ordering::Relaxed);
        Ok(if before + bytes > high {
            Sent::Congested
        } else {
            Sent::Ok
        })
    }

    fn push(&self, item: Remote<H>) -> Result<(), SendError> {
        self.inner
            .shared
            .remote
            .push_always(item)
            .map_err(|_| SendError::Closed)
    }

    fn waiting(&self) -> usize {
        self.inner.waiting.load(Ordering::Relaxed)
    }

    fn close_reason(&self) -> CloseReason {
        self.hooks().closed.unwrap_or(CloseReason::Local)
    }

    fn hooks(&self) -> MutexGuard<'_, Hooks> {
        self.inner
            .hooks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

// By hand: a derive would ask for `H: Clone`.
impl<H: Handler> Clone for Session<H> {
    fn clone(&self) -> Self {
        Session {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<H: Handler> fmt::Display for Session<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}-{} {}",
            self.name(),
            self.inner.id,
            self.inner.peer.remote
        )
    }
}

impl<H: Handler> fmt::Debug for Session<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.inner.id)
            .field("peer", self.peer())
            .finish()
    }
}

/// Values of an application by their type. `get` clones, so nothing is locked while a value is used. What is to be changed in
/// place goes in as an `Arc` of a mutex or an atomic.
///
/// ```
/// use seamio::net::Extensions;
///
/// #[derive(Clone, Debug, PartialEq)]
/// struct User(String);
///
/// let extensions = Extensions::default(); // that of a session: session.extensions()
/// extensions.insert(User("ann".into()));
/// assert_eq!(extensions.get::<User>(), Some(User("ann".into())));
/// ```
#[derive(Default)]
pub struct Extensions {
    values: Mutex<Vec<(TypeId, Box<dyn Any + Send>)>>,
}

impl Extensions {
    /// Puts a value in, and hands out the one of its type that was there.
    pub fn insert<T: Clone + Send + 'static>(&self, value: T) -> Option<T> {
        let mut values = self.lock();
        let before = remove(&mut values);
        values.push((TypeId::of::<T>(), Box::new(value)));
        before
    }

    /// A clone of the value of this type.
    pub fn get<T: Clone + Send + 'static>(&self) -> Option<T> {
        let values = self.lock();
        let found = values.iter().find(|(id, _)| *id == TypeId::of::<T>());
        found.and_then(|(_, value)| value.downcast_ref::<T>().cloned())
    }

    /// Takes the value of this type out.
    pub fn remove<T: Clone + Send + 'static>(&self) -> Option<T> {
        remove(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(TypeId, Box<dyn Any + Send>)>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove<T: 'static>(values: &mut Vec<(TypeId, Box<dyn Any + Send>)>) -> Option<T> {
    let at = values.iter().position(|(id, _)| *id == TypeId::of::<T>())?;
    values.swap_remove(at).1.downcast().ok().map(|value| *value)
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extensions")
            .field("len", &self.lock().len())
            .finish()
    }
}

pub(crate) type Hook = Box<dyn FnOnce(CloseReason) + Send>;

#[derive(Default)]
struct Hooks {
    closed: Option<CloseReason>,
    next: u64,
    list: Vec<(HookId, Hook)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_keep_one_value_per_type() {
        let extensions = Extensions::default();
        assert_eq!(extensions.insert(1u32), None);
        assert_eq!(extensions.insert(2u32), Some(1));
        assert_eq!(extensions.insert("text"), None);
        assert_eq!(
            (extensions.get::<u32>(), extensions.get::<u64>()),
            (Some(2), None)
        );
        assert_eq!(
            (extensions.remove::<u32>(), extensions.get::<u32>()),
            (Some(2), None)
        );
        assert_eq!(extensions.get::<&str>(), Some("text"));
    }
}
