//! What lies between a session's buffers and its socket. Plain TCP passes bytes through; encryption, WebSocket framing and
//! compression will be further kinds, each turning the same two steps into theirs: *read into the receive buffer* and
//! *write from the outbox*. The rest of the session does not know which one it has.

#[cfg(feature = "compress")]
#[allow(dead_code)]
mod compress;
#[allow(dead_code)]
pub(crate) mod layer;
mod tcp;

use std::io;

use bytes::BytesMut;
use socket2::SockRef;

use super::buffer::BufferPool;
use super::driver::Stream;
use super::outbox::{Outbox, Written};
use tcp::Tcp;

/// A session's transport over a stream of the driver.
#[derive(Debug)]
pub(crate) enum Transport<S> {
    Tcp(Tcp<S>),
}

/// How a read went.
#[derive(Debug)]
pub(crate) enum Received {
    /// Bytes came; whether the socket has no more for now.
    Bytes {
        count: usize,
        drained: bool,
    },
    /// Nothing there.
    Nothing,
    /// The peer will send no more.
    Finished,
    Failed(io::Error),
}

/// How a write went.
#[derive(Debug)]
pub(crate) enum Transmitted {
    /// The kernel took some; whether it can take more now.
    Bytes {
        written: Written,
        full: bool,
    },
    /// It took nothing.
    Nothing,
    Failed(io::Error),
}

impl<S: Stream> Transport<S> {
    /// A plain stream.
    pub(crate) fn tcp(stream: S) -> Self {
        Transport::Tcp(Tcp::new(stream))
    }

    /// Reads once, at most `limit` bytes, into the free room of `buffer`, which must have some.
    pub(crate) fn read(&mut self, buffer: &mut BytesMut, limit: usize) -> Received {
        match self {
            Transport::Tcp(tcp) => tcp.read(buffer, limit),
        }
    }

    /// Writes once.
    pub(crate) fn write(&mut self, outbox: &mut Outbox, pool: &mut BufferPool) -> Transmitted {
        match self {
            Transport::Tcp(tcp) => tcp.write(outbox, pool),
        }
    }

    /// From now on a read that brought few bytes does not mean that there are no more: the end is near and will not be
    /// announced again.
    pub(crate) fn hang_up(&mut self) {
        match self {
            Transport::Tcp(tcp) => tcp.hang_up(),
        }
    }

    /// Says goodbye and ends the sending direction.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match self {
            Transport::Tcp(tcp) => tcp.stream().shutdown_write(),
        }
    }

    /// Takes the pending error of the connection, if there is one.
    pub(crate) fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        match self {
            Transport::Tcp(tcp) => tcp.stream().take_error(),
        }
    }

    /// Makes the coming drop reset the connection.
    pub(crate) fn abort(&mut self) {
        match self {
            Transport::Tcp(tcp) => tcp.stream().abort(),
        }
    }

    /// The real socket, if there is one.
    pub(crate) fn socket(&mut self) -> Option<SockRef<'_>> {
        match self {
            Transport::Tcp(tcp) => tcp.stream().socket(),
        }
    }
}
