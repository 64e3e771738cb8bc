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
//! * what was sent as one datagram is received as one, whole, or not at all, or reported as truncated.

#[cfg(target_os = "linux")]
mod busy;
mod mmsg;
mod packets;
mod system;
mod unix;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::address::{Address, Credentials};
use super::config::{BusyPoll, Keepalive};

pub use packets::{Arrival, PACKET_BYTES_MAX, PACKETS_MAX, Packet, PacketSpace};
pub use system::{MioDatagram, MioDriver, MioListener, MioStream};

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
    /// A bound or connected socket for datagrams; [`NoDatagrams`] where there are none.
    type Datagram: Datagram;

    /// Waits until something happened, the waker was called or `timeout` passed (`None`: for ever), and appends what
    /// happened to `events`. Returns whether the waker was called. An interrupted wait returns early with no events.
    fn poll(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<bool>;

    /// Starts a connection attempt and registers it under `token`. The attempt is decided when a writable event comes:
    /// see [`Stream::take_error`] and [`Stream::peer_addr`]. An attempt that fails at once is an error here, whatever its
    /// kind.
    fn connect(
        &mut self,
        to: &Address,
        options: &SocketOptions,
        token: Token,
    ) -> io::Result<Self::Stream>;

    /// Binds, listens and registers under `token`.
    fn listen(
        &mut self,
        at: &Address,
        options: &ListenerOptions,
        token: Token,
    ) -> io::Result<Self::Listener>;

    /// Binds a socket for datagrams and registers it under `token`.
    ///
    /// # Errors
    /// `Unsupported` where there are none, else what the operating system says.
    fn bind_datagram(
        &mut self,
        at: SocketAddr,
        options: &ListenerOptions,
        token: Token,
    ) -> io::Result<Self::Datagram> {
        let _ = (at, options, token);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes a socket that exchanges datagrams with `to` alone and registers it under `token`. Nothing is sent.
    ///
    /// # Errors
    /// As [`Driver::bind_datagram`].
    fn connect_datagram(
        &mut self,
        to: SocketAddr,
        options: &SocketOptions,
        token: Token,
    ) -> io::Result<Self::Datagram> {
        let _ = (to, options, token);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Takes one waiting connection; `WouldBlock` when there is none. The stream is not registered yet.
    fn accept(&mut self, listener: &mut Self::Listener) -> io::Result<(Self::Stream, Address)>;

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

    /// A number nobody can guess, for what must not repeat. A simulation draws it.
    fn entropy(&mut self) -> u64 {
        RandomState::new().build_hasher().finish()
    }

    /// Has the kernel poll network devices for this poller and every socket made from now on.
    ///
    /// # Errors
    /// `Unsupported` where there is no such thing, else what the operating system says.
    fn busy_poll(&mut self, options: &BusyPoll) -> io::Result<()> {
        let _ = options;
        let what = "busy polling needs Linux and a real network";
        Err(io::Error::new(io::ErrorKind::Unsupported, what))
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
    fn peer_addr(&self) -> io::Result<Address>;
    /// This end.
    fn local_addr(&self) -> io::Result<Address>;
    /// Who is at the other end, if the system tells: of unix sockets.
    fn credentials(&self) -> Option<Credentials> {
        None
    }
    /// The real socket below, if there is one: for options this crate does not know.
    fn socket(&self) -> Option<SockRef<'_>> {
        None
    }
}

/// A listening socket.
pub trait Listener: Send + 'static {
    /// The bound address, with the port that was chosen.
    fn local_addr(&self) -> io::Result<Address>;
}

/// A socket for datagrams that never blocks.
///
/// An error concerns one datagram, or tells of one sent before; the socket goes on.
pub trait Datagram: Send + 'static {
    /// Receives what waits, as far as `space` has room, with as few system calls as can be; the number of datagrams.
    /// `WouldBlock` when none waits; only then the next edge announces more.
    fn receive(&mut self, space: &mut PacketSpace) -> io::Result<usize>;
    /// Sends datagrams, at most [`PACKETS_MAX`] of them, with as few system calls as can be; how many of the first ones
    /// were taken, at least one. An error is that of the first, which was not sent.
    fn send(&mut self, packets: &[Packet<'_>]) -> io::Result<usize>;
    /// This end.
    fn local_addr(&self) -> io::Result<SocketAddr>;
    /// The real socket below, if there is one: for options this crate does not know.
    fn socket(&self) -> Option<SockRef<'_>> {
        None
    }
}

/// For drivers without datagrams. There is no value of it.
#[derive(Debug)]
pub enum NoDatagrams {}

impl Datagram for NoDatagrams {
    fn receive(&mut self, _: &mut PacketSpace) -> io::Result<usize> {
        match *self {}
    }

    fn send(&mut self, _: &[Packet<'_>]) -> io::Result<usize> {
        match *self {}
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        match *self {}
    }
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
    /// Permission bits of the file of a unix socket; `None` leaves what the process's umask allows.
    pub mode: Option<u32>,
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
}
