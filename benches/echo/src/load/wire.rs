//! What the generator sends through: sockets, or an echo in memory that has no kernel in it.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use seamio_echo::{
    Epoll, Ready, discard, now, receive, send, set_nodelay, set_nonblocking, set_reset_on_close,
};

use crate::Plan;

/// Connections by number, none of which ever blocks.
pub(crate) trait Wire {
    /// Sends some of `bytes`; 0 when it takes none now.
    fn send(&mut self, connection: usize, bytes: &[u8]) -> io::Result<usize>;
    /// Receives and forgets; the number of bytes, 0 when there are none now.
    fn receive(&mut self, connection: usize) -> io::Result<usize>;
    /// Waits a little, or not at all; how many connections are ready.
    fn wait(&mut self) -> io::Result<usize>;
    /// One of those that are ready.
    fn ready(&self, index: usize) -> Ready;
}

pub(crate) struct Sockets {
    epoll: Epoll,
    streams: Vec<TcpStream>,
    patience: i32,
}

impl Sockets {
    pub(crate) fn connect(to: SocketAddr, connections: usize, patience: i32) -> io::Result<Self> {
        let epoll = Epoll::new(1024)?;
        let mut streams = Vec::with_capacity(connections);
        for number in 0..connections {
            let stream = TcpStream::connect(to)?;
            set_nodelay(stream.as_raw_fd())?;
            set_reset_on_close(stream.as_raw_fd())?;
            set_nonblocking(stream.as_raw_fd())?;
            epoll.add(stream.as_raw_fd(), number as u64)?;
            streams.push(stream);
        }
        Ok(Sockets {
            epoll,
            streams,
            patience,
        })
    }

    /// Each connection echoes as many frames as the plan is deep; every byte must come back.
    pub(crate) fn compare(&mut self, plan: &Plan) -> io::Result<()> {
        let all = plan.depth * plan.frame();
        let mut space = vec![0; 64 << 10];
        // Some at a time: all of them together could be more than the buffers of the sockets hold.
        for stream in &self.streams {
            let fd = stream.as_raw_fd();
            let (mut sent, mut back) = (0, 0);
            let patience = now() + PATIENCE_NANOS;
            while back < all {
                if sent < all {
                    sent += or_none(send(fd, &plan.template[sent..all]))?;
                }
                let count = match receive(fd, &mut space) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    outcome => or_none(outcome)?,
                };
                let expected = plan.template.get(back..back + count);
                if expected != Some(&space[..count]) {
                    return Err(io::Error::other("the echo is not what was sent"));
                }
                back += count;
                if now() > patience {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
        }
        while self.epoll.wait(0)? > 0 {}
        Ok(())
    }
}

impl Wire for Sockets {
    fn send(&mut self, connection: usize, bytes: &[u8]) -> io::Result<usize> {
        or_none(send(self.streams[connection].as_raw_fd(), bytes))
    }

    fn receive(&mut self, connection: usize) -> io::Result<usize> {
        match discard(self.streams[connection].as_raw_fd(), 8 << 20) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            outcome => or_none(outcome),
        }
    }

    fn wait(&mut self) -> io::Result<usize> {
        self.epoll.wait(self.patience)
    }

    fn ready(&self, index: usize) -> Ready {
        self.epoll.event(index)
    }
}

/// Gives back what it is given.
pub(crate) struct Memory {
    waiting: Vec<usize>,
    /// Connections that have something, and those told of by the last wait.
    filled: Vec<usize>,
    told: Vec<usize>,
}

impl Memory {
    pub(crate) fn new(connections: usize) -> Self {
        Memory {
            waiting: vec![0; connections],
            filled: Vec::with_capacity(connections),
            told: Vec::with_capacity(connections),
        }
    }
}

impl Wire for Memory {
    fn send(&mut self, connection: usize, bytes: &[u8]) -> io::Result<usize> {
        let waiting = &mut self.waiting[connection];
        if *waiting == 0 {
            self.filled.push(connection);
        }
        *waiting += bytes.len();
        Ok(bytes.len())
    }

    fn receive(&mut self, connection: usize) -> io::Result<usize> {
        Ok(std::mem::take(&mut self.waiting[connection]))
    }

    fn wait(&mut self) -> io::Result<usize> {
        self.told.clear();
        std::mem::swap(&mut self.told, &mut self.filled);
        Ok(self.told.len())
    }

    fn ready(&self, index: usize) -> Ready {
        Ready {
            token: self.told[index] as u64,
            readable: true,
            writable: false,
        }
    }
}

fn or_none(outcome: io::Result<usize>) -> io::Result<usize> {
    match outcome {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

/// How long the first echoes of one connection may take.
const PATIENCE_NANOS: u64 = 20_000_000_000;
