//! The seam between the reactor and the operating system: a clock, and a network that reports readiness.
//!
//! Everything above this file is generic over [`Driver`] and [`Clock`]; an application never names them. [`MioDriver`]
//! with [`Monotonic`] is the real pair, the simulated one lives in `crate::sim`.
//!
//! What a driver promises (network.md B.1, B.2, B.36):
//! * readiness is edge-triggered: an [`Event`] is reported when something changed, a source is registered once for
//!   reading and writing and never again. An event is a hint, so every operation may answer `WouldBlock`;
//! * a source leaves the driver when it is dropped, without a further call;
//! * nothing here blocks but [`Driver::poll`], and that no longer than its timeout.
//!
//! Left out: datagrams and unix sockets.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

#[cfg(target_os = "linux")]
use super::alarm::Alarm;
use super::config::Keepalive;

/// Where the reactor learns the time. Read once per turn.
pub trait Clock: Send + 'static {
    /// The present moment. Never runs backwards.
    fn now(&self) -> Instant;
}

/// The operating system's monotonic clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct Monotonic;

impl Clock for Monotonic {
    #[allow(clippy::disallowed_methods)]
    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// Names a registered source. The reactor puts slot and generation into it; a driver only hands it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

impl Token {
    /// Reserved for the driver's own waker: never given to a source.
    pub const WAKER: Token = Token(u64::MAX);
    /// Reserved for the driver's own timer.
    pub const ALARM: Token = Token(u64::MAX - 1);
}

/// One readiness report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The source it belongs to.
    pub token: Token,
    /// Bytes, an end of stream, an error or (listeners) a connection may be waiting.
    pub readable: bool,
    /// The source may take bytes, or (connecting streams) the attempt has been decided.
    pub writable: bool,
    /// The peer finished sending, or the connection broke: read until 0 or an error.
    pub read_closed: bool,
    /// An error is pending or both directions are gone.
    pub error: bool,
}

/// Called from any thread to end a sleeping [`Driver::poll`].
pub type WakeFn = Arc<dyn Fn() + Send + Sync>;

/// A network that reports readiness.
pub trait Driver: Send + 'static {
    /// A connected or connecting byte stream.
    type Stream: Stream;
    /// A bound, listening socket.
    type Listener: Listener;

    /// Waits until something happened, the waker was called or `timeout` passed (`None`: for ever), and appends what
    /// happened to `events`. Returns whether the waker was called. An interrupted wait returns early with no events.
    fn poll(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<bool>;

    /// Starts a connection attempt and registers it under `token`. The attempt is decided when a writable event comes:
    /// see [`Stream::take_error`] and [`Stream::peer_addr`].
    fn connect(
        &mut self,
        to: SocketAddr,
        options: &SocketOptions,
        token: Token,
    ) -> io::Result<Self::Stream>;

    /// Binds, listens and registers under `token`.
    fn listen(
        &mut self,
        at: SocketAddr,
        options: &ListenerOptions,
        token: Token,
    ) -> io::Result<Self::Listener>;

    /// Takes one waiting connection; `WouldBlock` when there is none. The stream is not registered yet.
    fn accept(&mut self, listener: &mut Self::Listener) -> io::Result<(Self::Stream, SocketAddr)>;

    /// Registers an accepted stream for reading and writing.
    fn register(&mut self, stream: &mut Self::Stream, token: Token) -> io::Result<()>;

    /// When descriptors ran out: gives up a reserved one, takes one waiting connection, closes it and reserves a
    /// descriptor again, so that the peer sees a close instead of a hang. `true` when a connection was shed.
    fn shed(&mut self, listener: &mut Self::Listener) -> bool;

    /// The function that ends a sleeping [`Driver::poll`].
    fn waker(&self) -> WakeFn;

    /// Makes the poller's descriptor readable after `delay`, in place of what was asked before; `None`: not by itself.
    ///
    /// # Errors
    /// `Unsupported` where there is no such timer.
    fn alarm(&mut self, delay: Option<Duration>) -> io::Result<()> {
        let _ = delay;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The order in which inline lanes with work run in this turn, and which of them wait for a later one (removed
    /// from `ready`). The real driver keeps them as they are; a simulation shuffles.
    fn schedule_lanes(&mut self, ready: &mut Vec<usize>) {
        let _ = ready;
    }

    /// How many of `waiting` inputs an inline lane takes as one batch. A simulation splits.
    fn batch_size(&mut self, waiting: usize) -> usize {
        waiting
    }
}

/// A byte stream that never blocks.
pub trait Stream: Send + 'static {
    /// Reads once into the free part of `space`; 0 bytes mean the peer finished. The number of bytes read is also
    /// recorded in `space`.
    fn read(&mut self, space: &mut ReadSpace<'_>) -> io::Result<usize>;
    /// Writes once; may take fewer bytes than given.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Writes several slices at once, at most 1024; may take fewer bytes than given.
    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize>;
    /// Ends the sending direction: the peer reads an end of stream after what was written.
    fn shutdown_write(&mut self) -> io::Result<()>;
    /// Takes the pending error of the socket, if there is one.
    fn take_error(&mut self) -> io::Result<Option<io::Error>>;
    /// Makes the coming drop discard what is unsent and reset the connection.
    fn abort(&mut self);
    /// The other end; `NotConnected` while an attempt is undecided.
    fn peer_addr(&self) -> io::Result<SocketAddr>;
    /// This end.
    fn local_addr(&self) -> io::Result<SocketAddr>;
    /// The real socket below, if there is one: for options this crate does not know.
    fn socket(&self) -> Option<SockRef<'_>> {
        None
    }
}

/// A listening socket.
pub trait Listener: Send + 'static {
    /// The bound address, with the port that was chosen.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// Options of one stream socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Send small segments at once (`TCP_NODELAY`).
    pub nodelay: bool,
    /// Probe silent connections.
    pub keepalive: Option<Keepalive>,
    /// Fixed receive buffer in bytes; `None` leaves the kernel's autotuning on.
    pub recv_buffer: Option<usize>,
    /// Fixed send buffer in bytes; `None` leaves the kernel's autotuning on.
    pub send_buffer: Option<usize>,
}

/// Options of one listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerOptions {
    /// What accepted streams get.
    pub socket: SocketOptions,
    /// Connections the kernel queues before they are accepted.
    pub backlog: u32,
    /// Let several sockets share the port (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// Whether an IPv6 wildcard address also takes IPv4; `None` leaves the system's default.
    pub only_v6: Option<bool>,
}

/// The free space of a receive buffer, and how much of it has been filled.
///
/// A stream can only fill it through [`ReadSpace::put`], or through the `unsafe` pair that promises initialised bytes;
/// so whoever owns the buffer may trust [`ReadSpace::filled`].
#[derive(Debug)]
pub struct ReadSpace<'a> {
    space: &'a mut [MaybeUninit<u8>],
    filled: usize,
}

impl<'a> ReadSpace<'a> {
    /// Free space, nothing filled yet.
    pub fn new(space: &'a mut [MaybeUninit<u8>]) -> Self {
        ReadSpace { space, filled: 0 }
    }

    /// Copies as much of `bytes` as fits and returns how much that was.
    pub fn put(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.remaining());
        let free = &mut self.space[self.filled..self.filled + n];
        for (to, from) in free.iter_mut().zip(bytes) {
            to.write(*from);
        }
        self.filled += n;
        n
    }

    /// The part not filled yet.
    pub fn unfilled(&mut self) -> &mut [MaybeUninit<u8>] {
        &mut self.space[self.filled..]
    }

    /// Counts `n` more bytes as filled.
    ///
    /// # Safety
    /// The first `n` bytes of [`ReadSpace::unfilled`] must have been initialised.
    pub unsafe fn assume_filled(&mut self, n: usize) {
        assert!(n <= self.remaining(), "more bytes than there was space for");
        self.filled += n;
    }

    /// Bytes filled so far.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Bytes that still fit.
    pub fn remaining(&self) -> usize {
        self.space.len() - self.filled
    }
}

/// The operating system's network, through mio.
#[derive(Debug)]
pub struct MioDriver {
    poll: mio::Poll,
    events: mio::Events,
    capacity: usize,
    waker: Arc<mio::Waker>,
    spare: Option<std::fs::File>,
    #[cfg(target_os = "linux")]
    alarm: Option<Alarm>,
}

impl MioDriver {
    /// A poller with its waker, and one descriptor in reserve.
    pub fn new() -> io::Result<Self> {
        let poll = mio::Poll::new()?;
        let waker = Arc::new(mio::Waker::new(poll.registry(), mio_token(Token::WAKER))?);
        Ok(MioDriver {
            poll,
            events: mio::Events::with_capacity(EVENTS_MIN),
            capacity: EVENTS_MIN,
            waker,
            spare: spare(),
            #[cfg(target_os = "linux")]
            alarm: None,
        })
    }
}

impl Driver for MioDriver {
    type Stream = MioStream;
    type Listener = MioListener;

    fn poll(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<bool> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(false),
            other => other?,
        }
        let mut woken = false;
        let mut seen = 0;
        for event in &self.events {
            seen += 1;
            let token = Token(event.token().0 as u64);
            if token == Token::WAKER {
                woken = true;
                continue;
            }
            if token == Token::ALARM {
                continue; // what it was set for is due by now
            }
            events.push(Event {
                token,
                readable: event.is_readable(),
                writable: event.is_writable(),
                read_closed: event.is_read_closed(),
                error: event.is_error() || event.is_write_closed(),
            });
        }
        if seen == self.capacity && self.capacity < EVENTS_MAX {
            self.capacity *= 2;
            self.events = mio::Events::with_capacity(self.capacity);
        }
        Ok(woken)
    }

    fn connect(
        &mut self,
        to: SocketAddr,
        options: &SocketOptions,
        token: Token,
    ) -> io::Result<MioStream> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        apply(&socket, options)?;
        match socket.connect(&SockAddr::from(to)) {
            Ok(()) => {}
            Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        let mut stream = MioStream {
            inner: mio::net::TcpStream::from_std(socket.into()),
        };
        self.register(&mut stream, token)?;
        Ok(stream)
    }

    fn listen(
        &mut self,
        at: SocketAddr,
        options: &ListenerOptions,
        token: Token,
    ) -> io::Result<MioListener> {
        let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if options.reuse_port {
            socket.set_reuse_port(true)?;
        }
        if let (Some(only), true) = (options.only_v6, at.is_ipv6()) {
            socket.set_only_v6(only)?;
        }
        // Accepted sockets inherit these, so no connection costs a setsockopt.
        apply(&socket, &options.socket)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::from(at))?;
        socket.listen(options.backlog.min(i32::MAX as u32) as i32)?;
        let mut inner = mio::net::TcpListener::from_std(socket.into());
        self.poll
            .registry()
            .register(&mut inner, mio_token(token), mio::Interest::READABLE)?;
        Ok(MioListener {
            inner,
            socket: options.socket,
        })
    }

    fn accept(&mut self, listener: &mut MioListener) -> io::Result<(MioStream, SocketAddr)> {
        let (inner, peer) = listener.inner.accept()?;
        if !INHERITS_OPTIONS {
            apply(&SockRef::from(&inner), &listener.socket)?;
        }
        Ok((MioStream { inner }, peer))
    }

    fn register(&mut self, stream: &mut MioStream, token: Token) -> io::Result<()> {
        let both = mio::Interest::READABLE | mio::Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream.inner, mio_token(token), both)
    }

    fn shed(&mut self, listener: &mut MioListener) -> bool {
        if self.spare.take().is_none() {
            self.spare = spare();
            return false;
        }
        let shed = listener.inner.accept().is_ok();
        self.spare = spare();
        shed
    }

    #[cfg(target_os = "linux")]
    fn alarm(&mut self, delay: Option<Duration>) -> io::Result<()> {
        if self.alarm.is_none() {
            let alarm = Alarm::new()?;
            self.poll.registry().register(
                &mut mio::unix::SourceFd(&alarm.as_raw_fd()),
                mio_token(Token::ALARM),
                mio::Interest::READABLE,
            )?;
            self.alarm = Some(alarm);
        }
        self.alarm.as_mut().map_or(Ok(()), |alarm| alarm.set(delay))
    }

    fn waker(&self) -> WakeFn {
        let waker = Arc::clone(&self.waker);
        Arc::new(move || {
            if let Err(e) = waker.wake() {
                log::error!("event=wake-failed error={e}");
            }
        })
    }
}

impl AsRawFd for MioDriver {
    fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}

/// A TCP stream of the operating system.
#[derive(Debug)]
pub struct MioStream {
    inner: mio::net::TcpStream,
}

impl Stream for MioStream {
    fn read(&mut self, space: &mut ReadSpace<'_>) -> io::Result<usize> {
        let n = SockRef::from(&self.inner).recv(space.unfilled())?;
        // SAFETY: recv initialised the first n bytes of the slice it was given.
        unsafe { space.assume_filled(n) };
        Ok(n)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        SockRef::from(&self.inner).send_with_flags(bytes, NO_SIGNAL)
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        SockRef::from(&self.inner).send_vectored_with_flags(slices, NO_SIGNAL)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.inner.shutdown(std::net::Shutdown::Write)
    }

    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        self.inner.take_error()
    }

    fn abort(&mut self) {
        // A failure leaves an ordinary close, which the kernel ends in its own time.
        let _ = SockRef::from(&self.inner).set_linger(Some(Duration::ZERO));
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.inner.peer_addr()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn socket(&self) -> Option<SockRef<'_>> {
        Some(SockRef::from(&self.inner))
    }
}

/// A listening TCP socket of the operating system.
#[derive(Debug)]
pub struct MioListener {
    inner: mio::net::TcpListener,
    socket: SocketOptions,
}

impl Listener for MioListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

fn apply(socket: &Socket, options: &SocketOptions) -> io::Result<()> {
    if options.nodelay {
        socket.set_tcp_nodelay(true)?;
    }
    if let Some(keepalive) = options.keepalive {
        let params = TcpKeepalive::new()
            .with_time(keepalive.idle)
            .with_interval(keepalive.interval)
            .with_retries(keepalive.probes);
        socket.set_tcp_keepalive(&params)?;
    }
    if let Some(bytes) = options.recv_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    Ok(())
}

fn mio_token(token: Token) -> mio::Token {
    mio::Token(token.0 as usize)
}

fn spare() -> Option<std::fs::File> {
    std::fs::File::open("/dev/null").ok()
}

const EVENTS_MIN: usize = 1024;
const EVENTS_MAX: usize = 16 * 1024;

/// A peer that went away is an error of the call, never a signal to the process.
const NO_SIGNAL: i32 = libc::MSG_NOSIGNAL;

/// Linux hands a listener's TCP options down to the sockets it accepts.
const INHERITS_OPTIONS: bool = cfg!(target_os = "linux");

// A token carries a 32-bit slot and a 32-bit generation in mio's usize.
const _: () = assert!(usize::BITS == 64, "net needs a 64-bit target");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_space_takes_no_more_than_fits() {
        let mut memory = [MaybeUninit::<u8>::uninit(); 4];
        let mut space = ReadSpace::new(&mut memory);
        assert_eq!(space.put(b"abc"), 3);
        assert_eq!(space.put(b"def"), 1);
        assert_eq!((space.filled(), space.remaining()), (4, 0));
    }

    #[test]
    fn accepted_sockets_inherit_the_listener_options() {
        let mut driver = MioDriver::new().expect("poller");
        let keepalive = Keepalive {
            idle: Duration::from_secs(77),
            interval: Duration::from_secs(7),
            probes: 4,
        };
        let options = ListenerOptions {
            socket: SocketOptions {
                nodelay: true,
                keepalive: Some(keepalive),
                recv_buffer: None,
                send_buffer: Some(64 * 1024),
            },
            backlog: 16,
            reuse_port: false,
            only_v6: None,
        };
        let any = "127.0.0.1:0".parse().expect("address");
        let mut listener = driver.listen(any, &options, Token(1)).expect("listen");
        let at = listener.local_addr().expect("address");
        let _client = std::net::TcpStream::connect(at).expect("connect");
        let mut events = Vec::new();
        while events.is_empty() {
            driver
                .poll(&mut events, Some(Duration::from_secs(5)))
                .expect("poll");
        }
        let (stream, _) = driver.accept(&mut listener).expect("accept");
        let socket = stream.socket().expect("real socket");
        assert!(socket.tcp_nodelay().expect("nodelay"));
        assert!(socket.keepalive().expect("keepalive"));
        assert_eq!(
            socket.tcp_keepalive_time().expect("time"),
            Duration::from_secs(77)
        );
        assert_eq!(socket.tcp_keepalive_retries().expect("retries"), 4);
        assert!(socket.send_buffer_size().expect("buffer") >= 64 * 1024);
    }
}
