//! The system calls that the generator and the raw servers make, one function each, and the arguments of all programs.
//!
//! Nothing here allocates after its creation. Linux only.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// An epoll descriptor with room for the events of one wait.
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

/// What may be done with a descriptor.
#[derive(Clone, Copy)]
pub struct Ready {
    /// The number given to [`Epoll::add`].
    pub token: u64,
    /// Bytes, the end or an error can be read.
    pub readable: bool,
    /// Bytes can be written.
    pub writable: bool,
}

impl Epoll {
    /// A poller that takes up to `events` events at once.
    pub fn new(events: usize) -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked and owned at once.
        let fd = unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        Ok(Epoll {
            fd,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; events],
        })
    }

    /// Watches `fd` edge-triggered, for reading and writing.
    pub fn add(&self, fd: RawFd, token: u64) -> io::Result<()> {
        let flags = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        let mut event = libc::epoll_event {
            events: flags as u32,
            u64: token,
        };
        // SAFETY: the event lives through the call.
        check(unsafe {
            libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event)
        })?;
        Ok(())
    }

    /// Waits at most `millis` (-1: for ever); returns how many events there are.
    pub fn wait(&mut self, millis: i32) -> io::Result<usize> {
        let (at, room) = (self.events.as_mut_ptr(), self.events.len() as i32);
        // SAFETY: the kernel writes at most `room` events to a buffer of that length.
        match check(unsafe { libc::epoll_wait(self.fd.as_raw_fd(), at, room, millis) }) {
            Ok(count) => Ok(count as usize),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(e) => Err(e),
        }
    }

    /// One of the events of the last wait.
    pub fn event(&self, index: usize) -> Ready {
        let event = self.events[index];
        let bits = event.events as i32;
        Ready {
            token: event.u64,
            readable: bits & !libc::EPOLLOUT != 0,
            writable: bits & libc::EPOLLOUT != 0,
        }
    }
}

/// Reads once.
pub fn receive(fd: RawFd, space: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `len` bytes to a buffer of that length.
    uninterrupted(|| unsafe { libc::recv(fd, space.as_mut_ptr().cast(), space.len(), 0) })
}

/// Reads once and lets the kernel throw the bytes away without copying them.
pub fn discard(fd: RawFd, most: usize) -> io::Result<usize> {
    // SAFETY: with MSG_TRUNC a TCP socket writes nothing to the buffer, so there need be none.
    uninterrupted(|| unsafe { libc::recv(fd, std::ptr::null_mut(), most, libc::MSG_TRUNC) })
}

/// Writes once.
pub fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    let (at, len) = (bytes.as_ptr().cast(), bytes.len());
    // SAFETY: the kernel reads `len` bytes of a buffer of that length.
    uninterrupted(|| unsafe { libc::send(fd, at, len, libc::MSG_NOSIGNAL) })
}

/// Makes a socket fail instead of wait.
pub fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: no pointers.
    unsafe {
        let flags = check(libc::fcntl(fd, libc::F_GETFL))?;
        check(libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK))?;
    }
    Ok(())
}

/// Sends small segments at once.
pub fn set_nodelay(fd: RawFd) -> io::Result<()> {
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, &1i32)
}

/// Closes with a reset, so that no port waits for the end of its time.
pub fn set_reset_on_close(fd: RawFd) -> io::Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    set_option(fd, libc::SOL_SOCKET, libc::SO_LINGER, &linger)
}

fn set_option<T>(fd: RawFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes of a value of that size.
    check(unsafe { libc::setsockopt(fd, level, name, std::ptr::from_ref(value).cast(), len) })?;
    Ok(())
}

/// A non-blocking listening socket with a backlog of 4096, whose connections have no delay.
pub fn listen(at: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(at)?;
    set_nodelay(listener.as_raw_fd())?;
    set_nonblocking(listener.as_raw_fd())?;
    // SAFETY: no pointers. Listening again only changes the backlog.
    check(unsafe { libc::listen(listener.as_raw_fd(), 4096) })?;
    Ok(listener)
}

/// Nanoseconds of a clock: `CLOCK_MONOTONIC`, or one of the CPU clocks.
pub fn nanos(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one timespec.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Nanoseconds since some moment.
pub fn now() -> u64 {
    nanos(libc::CLOCK_MONOTONIC)
}

fn uninterrupted(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match call() {
            count if count >= 0 => return Ok(count as usize),
            _ => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => {}
                e => return Err(e),
            },
        }
    }
}

fn check(outcome: i32) -> io::Result<i32> {
    match outcome {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

/// `--name value` and `--name` of the command line.
pub struct Arguments(Vec<String>);

impl Arguments {
    /// Those of this process.
    pub fn of_process() -> Self {
        Arguments(std::env::args().skip(1).collect())
    }

    /// The value after `--name`, or `default`. Ends the process when it is not of the type.
    pub fn get<T: std::str::FromStr>(&self, name: &str, default: T) -> T {
        match self.0.iter().skip_while(|a| *a != name).nth(1) {
            None => default,
            Some(text) => text.parse().unwrap_or_else(|_| {
                eprintln!("{name} cannot be {text}");
                std::process::exit(2)
            }),
        }
    }

    /// Whether `--name` is there.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|a| a == name)
    }
}
