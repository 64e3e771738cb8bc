//! The limit: an echo over bare epoll, one thread, edge-triggered, read until short, write at once.
//!
//! `raw [--unframed] [--listen 127.0.0.1:0]`. Without `--unframed` it looks for whole frames (4-byte big-endian length,
//! payload) and sends back only those, straight from the buffer they were read into. A connection is read once in each
//! round, 64 KiB at most, and written once: without such a limit one connection that is always full keeps the caches warm
//! and all others waiting. With `--unframed` bytes go back as they come, until there are none. What the peer does not
//! take is kept, and nothing is read from it meanwhile.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use seamio_echo::{Arguments, Epoll, listen, receive, send, set_nonblocking};

fn main() -> io::Result<()> {
    let arguments = Arguments::of_process();
    let at: SocketAddr = arguments.get("--listen", "127.0.0.1:0".parse().expect("an address"));
    let listener = listen(at)?;
    println!("listening on {}", listener.local_addr()?);
    let framing = match arguments.has("--unframed") {
        true => Framing::None,
        false => Framing::Length,
    };
    Server::new(listener, framing)?.run()
}

#[derive(Clone, Copy, PartialEq)]
enum Framing {
    None,
    Length,
}

struct Server {
    epoll: Epoll,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// Connections that were not read to the end.
    unread: VecDeque<usize>,
    scratch: Vec<u8>,
    framing: Framing,
}

struct Connection {
    stream: TcpStream,
    /// Read, not a whole frame yet.
    rest: Vec<u8>,
    /// To be sent, not taken yet.
    waiting: Vec<u8>,
}

/// How a connection goes on.
enum Then {
    Stay,
    ReadOn,
    Close,
}

impl Server {
    fn new(listener: TcpListener, framing: Framing) -> io::Result<Self> {
        let epoll = Epoll::new(1024)?;
        epoll.add(listener.as_raw_fd(), LISTENER)?;
        Ok(Server {
            epoll,
            listener,
            connections: Vec::new(),
            free: Vec::new(),
            unread: VecDeque::new(),
            scratch: vec![0; SCRATCH],
            framing,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        loop {
            let patience = if self.unread.is_empty() { -1 } else { 0 };
            let unread = self.unread.len();
            for index in 0..self.epoll.wait(patience)? {
                match self.epoll.event(index).token {
                    LISTENER => self.accept()?,
                    slot => self.serve(slot as usize),
                }
            }
            for _ in 0..unread {
                if let Some(slot) = self.unread.pop_front() {
                    self.serve(slot);
                }
            }
        }
    }

    fn serve(&mut self, slot: usize) {
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        match connection.serve(&mut self.scratch, self.framing) {
            Ok(Then::Stay) => {}
            Ok(Then::ReadOn) => self.unread.push_back(slot),
            Ok(Then::Close) | Err(_) => {
                self.connections[slot] = None;
                self.free.push(slot);
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => continue,
            };
            set_nonblocking(stream.as_raw_fd())?;
            let slot = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            self.epoll.add(stream.as_raw_fd(), slot as u64)?;
            self.connections[slot] = Some(Connection {
                stream,
                rest: Vec::new(),
                waiting: Vec::new(),
            });
        }
    }
}

impl Connection {
    fn serve(&mut self, scratch: &mut Vec<u8>, framing: Framing) -> io::Result<Then> {
        let fd = self.stream.as_raw_fd();
        if !self.waiting.is_empty() {
            let taken = or_none(send(fd, &self.waiting))?;
            self.waiting.drain(..taken);
            if !self.waiting.is_empty() {
                return Ok(Then::Stay);
            }
        }
        loop {
            let kept = self.rest.len();
            if scratch.len() < kept + SCRATCH {
                scratch.resize(kept + SCRATCH, 0);
            }
            scratch[..kept].copy_from_slice(&self.rest);
            let space = &mut scratch[kept..kept + SCRATCH];
            let count = match receive(fd, space) {
                Ok(0) => return Ok(Then::Close),
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Then::Stay),
                Err(e) => return Err(e),
            };
            let all = kept + count;
            let whole = match framing {
                Framing::None => all,
                Framing::Length => frames(&scratch[..all]),
            };
            self.rest.clear();
            self.rest.extend_from_slice(&scratch[whole..all]);
            if whole > 0 {
                let taken = or_none(send(fd, &scratch[..whole]))?;
                if taken < whole {
                    self.waiting.extend_from_slice(&scratch[taken..whole]);
                    return Ok(Then::Stay);
                }
            }
            if count < SCRATCH {
                return Ok(Then::Stay);
            }
            if framing == Framing::Length {
                return Ok(Then::ReadOn);
            }
        }
    }
}

/// Length of the whole frames at the start of `bytes`.
fn frames(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(length) = bytes[at..].first_chunk() {
        let total = 4 + u32::from_be_bytes(*length) as usize;
        if bytes.len() - at < total {
            break;
        }
        at += total;
    }
    at
}

fn or_none(outcome: io::Result<usize>) -> io::Result<usize> {
    match outcome {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

const LISTENER: u64 = u64::MAX;
const SCRATCH: usize = 64 << 10;
