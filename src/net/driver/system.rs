//! The operating system's network, through mio.
//!
//! One stream and one listener type serve TCP and unix sockets: they differ in how they are made, not in how they move
//! bytes. Follows network.md B.1, B.6 to B.8.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use mio::unix::SourceFd;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

#[cfg(target_os = "linux")]
use super::busy;
use super::unix::{self, UnixListener};
use super::{
    Datagram, Driver, Event, Listener, ListenerOptions, Packet, PacketSpace, ReadSpace,
    SocketOptions, Stream, Token, WakeFn, mmsg,
};
use crate::net::address::{Address, Credentials};
#[cfg(target_os = "linux")]
use crate::net::alarm::Alarm;
#[cfg(target_os = "linux")]
use crate::net::config::BusyPoll;

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
    /// How long sockets poll their devices.
    #[cfg(target_os = "linux")]
    busy: Option<Duration>,
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
            #[cfg(target_os = "linux")]
            busy: None,
        })
    }
}

impl MioDriver {
    /// What every socket but a unix one gets.
    fn prepare(&self, socket: &Socket) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if let Some(time) = self.busy {
            return busy::set_socket(socket, time);
        }
        let _ = socket;
        Ok(())
    }

    fn register_fd(&self, socket: &Socket, token: Token) -> io::Result<()> {
        let both = mio::Interest::READABLE | mio::Interest::WRITABLE;
        let fd = socket.as_raw_fd();
        self.poll
            .registry()
            .register(&mut SourceFd(&fd), mio_token(token), both)
    }
}

impl Driver for MioDriver {
    type Stream = MioStream;
    type Listener = MioListener;
    type Datagram = MioDatagram;

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
        to: &Address,
        options: &SocketOptions,
        token: Token,
    ) -> io::Result<MioStream> {
        let socket = match to {
            Address::Ip(to) => {
                let domain = Domain::for_address(*to);
                let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
                socket.set_nonblocking(true)?;
                apply(&socket, options)?;
                self.prepare(&socket)?;
                match socket.connect(&SockAddr::from(*to)) {
                    Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {}
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    outcome => outcome?,
                }
                socket
            }
            Address::Unix(to) => {
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                socket.set_nonblocking(true)?;
                apply_buffers(&socket, options)?;
                unix::connect(to, &socket)?;
                socket
            }
        };
        let mut stream = MioStream { socket };
        self.register(&mut stream, token)?;
        Ok(stream)
    }

    fn listen(
        &mut self,
        at: &Address,
        options: &ListenerOptions,
        token: Token,
    ) -> io::Result<MioListener> {
        let mut inner = match at {
            Address::Ip(at) => {
                let socket = tcp_socket(*at, options)?;
                self.prepare(&socket)?;
                Acceptor::Tcp(listen_tcp(socket, *at, options)?)
            }
            Address::Unix(at) => Acceptor::Unix(UnixListener::bind(at, options)?),
        };
        let source: &mut dyn mio::event::Source = match &mut inner {
            Acceptor::Tcp(listener) => listener,
            Acceptor::Unix(listener) => &mut listener.inner,
        };
        self.poll
            .registry()
            .register(source, mio_token(token), mio::Interest::READABLE)?;
        Ok(MioListener {
            inner,
            socket: options.socket,
        })
    }

    fn bind_datagram(
        &mut self,
        at: SocketAddr,
        options: &ListenerOptions,
        token: Token,
    ) -> io::Result<MioDatagram> {
        let socket = udp_socket(at, &options.socket)?;
        self.prepare(&socket)?;
        // No SO_REUSEADDR: with datagrams it would let another process take the port over.
        if options.reuse_port {
            socket.set_reuse_port(true)?;
        }
        if let (Some(only), true) = (options.only_v6, at.is_ipv6()) {
            socket.set_only_v6(only)?;
        }
        socket.bind(&SockAddr::from(at))?;
        self.register_fd(&socket, token)?;
        Ok(MioDatagram { socket })
    }

    fn connect_datagram(
        &mut self,
        to: SocketAddr,
        options: &SocketOptions,
        token: Token,
    ) -> io::Result<MioDatagram> {
        let socket = udp_socket(to, options)?;
        self.prepare(&socket)?;
        socket.connect(&SockAddr::from(to))?;
        self.register_fd(&socket, token)?;
        Ok(MioDatagram { socket })
    }

    fn accept(&mut self, listener: &mut MioListener) -> io::Result<(MioStream, Address)> {
        match &listener.inner {
            Acceptor::Tcp(tcp) => {
                let (stream, peer) = tcp.accept()?;
                let socket = Socket::from(OwnedFd::from(stream));
                if !INHERITS_OPTIONS {
                    apply(&socket, &listener.socket)?;
                }
                Ok((MioStream { socket }, peer.into()))
            }
            Acceptor::Unix(unix) => {
                let (stream, peer) = unix.inner.accept()?;
                let socket = Socket::from(OwnedFd::from(stream));
                // Nothing is inherited here.
                apply_buffers(&socket, &listener.socket)?;
                Ok((MioStream { socket }, unix::accepted(&peer)))
            }
        }
    }

    fn register(&mut self, stream: &mut MioStream, token: Token) -> io::Result<()> {
        self.register_fd(&stream.socket, token)
    }

    fn shed(&mut self, listener: &mut MioListener) -> bool {
        if self.spare.take().is_none() {
            self.spare = spare();
            return false;
        }
        let shed = match &listener.inner {
            Acceptor::Tcp(tcp) => tcp.accept().is_ok(),
            Acceptor::Unix(unix) => unix.inner.accept().is_ok(),
        };
        self.spare = spare();
        shed
    }

    #[cfg(target_os = "linux")]
    fn alarm(&mut self, delay: Option<Duration>) -> io::Result<()> {
        if self.alarm.is_none() {
            let alarm = Alarm::new()?;
            self.poll.registry().register(
                &mut SourceFd(&alarm.as_raw_fd()),
                mio_token(Token::ALARM),
                mio::Interest::READABLE,
            )?;
            self.alarm = Some(alarm);
        }
        self.alarm.as_mut().map_or(Ok(()), |alarm| alarm.set(delay))
    }

    #[cfg(target_os = "linux")]
    fn busy_poll(&mut self, options: &BusyPoll) -> io::Result<()> {
        busy::set_up(self.poll.as_raw_fd(), options)?;
        self.busy = Some(options.time);
        Ok(())
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

/// A stream of the operating system: of TCP, or a unix socket.
///
/// A peer on a unix socket that sends descriptors or out-of-band bytes cuts reads short with them, which looks as if
/// nothing more had come: its next bytes are read when more arrive. What it sent so is dropped by the kernel.
#[derive(Debug)]
pub struct MioStream {
    socket: Socket,
}

impl Stream for MioStream {
    fn read(&mut self, space: &mut ReadSpace<'_>) -> io::Result<usize> {
        let n = self.socket.recv(space.unfilled())?;
        // SAFETY: recv initialised the first n bytes of the slice it was given.
        unsafe { space.assume_filled(n) };
        Ok(n)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.send_with_flags(bytes, NO_SIGNAL)
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.socket.send_vectored_with_flags(slices, NO_SIGNAL)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.socket.shutdown(std::net::Shutdown::Write)
    }

    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        self.socket.take_error()
    }

    fn abort(&mut self) {
        // A failure leaves an ordinary close, which the kernel ends in its own time.
        let _ = self.socket.set_linger(Some(Duration::ZERO));
    }

    fn peer_addr(&self) -> io::Result<Address> {
        unix::address(&self.socket.peer_addr()?)
    }

    fn local_addr(&self) -> io::Result<Address> {
        unix::address(&self.socket.local_addr()?)
    }

    fn credentials(&self) -> Option<Credentials> {
        unix::credentials(&self.socket)
    }

    fn socket(&self) -> Option<SockRef<'_>> {
        Some(SockRef::from(&self.socket))
    }
}

/// A listening socket of the operating system.
#[derive(Debug)]
pub struct MioListener {
    inner: Acceptor,
    socket: SocketOptions,
}

#[derive(Debug)]
enum Acceptor {
    Tcp(mio::net::TcpListener),
    Unix(UnixListener),
}

impl Listener for MioListener {
    fn local_addr(&self) -> io::Result<Address> {
        match &self.inner {
            Acceptor::Tcp(tcp) => tcp.local_addr().map(Address::Ip),
            Acceptor::Unix(unix) => Ok(unix.address()),
        }
    }
}

/// A UDP socket of the operating system.
#[derive(Debug)]
pub struct MioDatagram {
    socket: Socket,
}

impl Datagram for MioDatagram {
    fn receive(&mut self, space: &mut PacketSpace) -> io::Result<usize> {
        mmsg::receive(&self.socket, space)
    }

    fn send(&mut self, packets: &[Packet<'_>]) -> io::Result<usize> {
        mmsg::send(&self.socket, packets)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = self.socket.local_addr()?.as_socket();
        address.ok_or_else(|| io::Error::other("an address of another family"))
    }

    fn socket(&self) -> Option<SockRef<'_>> {
        Some(SockRef::from(&self.socket))
    }
}

fn udp_socket(at: SocketAddr, options: &SocketOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    apply_buffers(&socket, options)?;
    Ok(socket)
}

fn tcp_socket(at: SocketAddr, options: &ListenerOptions) -> io::Result<Socket> {
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
    Ok(socket)
}

fn listen_tcp(
    socket: Socket,
    at: SocketAddr,
    options: &ListenerOptions,
) -> io::Result<mio::net::TcpListener> {
    socket.bind(&SockAddr::from(at))?;
    socket.listen(options.backlog.min(i32::MAX as u32) as i32)?;
    Ok(mio::net::TcpListener::from_std(socket.into()))
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
    apply_buffers(socket, options)
}

/// The options that any kind of socket has.
fn apply_buffers(socket: &Socket, options: &SocketOptions) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::config::Keepalive;

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
            mode: None,
        };
        let any = Address::from(([127, 0, 0, 1], 0));
        let mut listener = driver.listen(&any, &options, Token(1)).expect("listen");
        let at = listener.local_addr().expect("address").ip();
        let at = at.expect("an internet address");
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
