//! A socket for datagrams as a session's transport: each datagram is one message (network.md A.4, B.25).
//!
//! Datagrams come by the batch and are handed out one at a time; those a session cannot take yet stay where they are until
//! it can. They leave by the batch too, once per turn. What happens to one says nothing about the next: a truncated
//! one, one the kernel did not take and one the other machine refused are reported as [`Received::Lost`] or
//! [`Transmitted::Lost`], and the socket goes on.
//!
//! Left out: UDP_GRO and UDP_SEGMENT, which save work only for runs of equally long datagrams to one receiver; sending
//! from a chosen address of several (IP_PKTINFO).

use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;
use socket2::SockRef;

use super::{Received, Transmitted};
use crate::net::buffer::Pools;
use crate::net::driver::{Arrival, Datagram, PACKET_BYTES_MAX, PacketSpace};
use crate::net::error::{CodecError, Error};
use crate::net::outbox::{Outbox, Written};

/// A socket, and the datagrams received and not handed out yet.
pub(crate) struct Port {
    socket: Box<dyn Datagram>,
    waiting: Option<PacketSpace>,
    /// Longest datagram wanted.
    limit: usize,
    /// Of the datagram handed out last.
    sender: Option<SocketAddr>,
    /// Receives made since they were counted.
    reads: u64,
    greeting: Option<&'static [u8]>,
}

impl Port {
    /// `greeting` is to be sent before anything else.
    pub(crate) fn new(socket: impl Datagram, greeting: Option<&'static [u8]>) -> Self {
        Port {
            socket: Box::new(socket),
            waiting: None,
            limit: PACKET_BYTES_MAX,
            sender: None,
            reads: 0,
            greeting,
        }
    }

    pub(super) fn limit_message(&mut self, bytes: usize) {
        self.limit = bytes;
    }

    /// Puts the next datagram into `buffer`, which is empty.
    pub(super) fn read(&mut self, buffer: &mut BytesMut, pools: &mut Pools) -> Received {
        if let Some(received) = self.hand_out(buffer, pools) {
            return received;
        }
        let mut space = pools.packets.take();
        space.begin(self.limit);
        let outcome = loop {
            self.reads += 1;
            match self.socket.receive(&mut space) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome,
            }
        };
        match outcome {
            Ok(count) if count > 0 => {
                self.waiting = Some(space);
                // Nothing but greetings may have come.
                self.hand_out(buffer, pools).unwrap_or(Received::Bytes {
                    count: count * CONNECT_PING.len(),
                    drained: false,
                })
            }
            Ok(_) => {
                pools.packets.give(space);
                Received::Drained
            }
            Err(e) => {
                pools.packets.give(space);
                if e.kind() == io::ErrorKind::WouldBlock {
                    Received::Drained
                } else {
                    Received::Lost(Error::Io(e))
                }
            }
        }
    }

    /// The next datagram of those that came before.
    fn hand_out(&mut self, buffer: &mut BytesMut, pools: &mut Pools) -> Option<Received> {
        let space = self.waiting.as_mut()?;
        let received = loop {
            match space.take() {
                Some(Arrival::Whole { bytes, .. }) if bytes == CONNECT_PING => {}
                Some(Arrival::Whole { from, bytes }) => {
                    if buffer.capacity() - buffer.len() < bytes.len()
                        && !buffer.try_reclaim(bytes.len())
                    {
                        buffer.reserve(bytes.len());
                    }
                    buffer.extend_from_slice(bytes);
                    self.sender = Some(from);
                    let count = bytes.len();
                    break Some(Received::Message { count });
                }
                Some(Arrival::Truncated { from, len }) => {
                    log::trace!("from={from} event=truncated bytes={len}");
                    break Some(Received::Lost(Error::Codec(CodecError::FrameTooLarge {
                        bytes: len,
                        limit: space.limit(),
                    })));
                }
                None => break None,
            }
        };
        if space.is_empty()
            && let Some(space) = self.waiting.take()
        {
            pools.packets.give(space);
        }
        received
    }

    /// Sends the first messages with one system call.
    pub(super) fn write(&mut self, outbox: &mut Outbox, pools: &mut Pools) -> Transmitted {
        let first = outbox.first_message().unwrap_or_default();
        if first > PACKET_BYTES_MAX {
            return lose(outbox, pools, too_long());
        }
        let outcome = loop {
            let socket = &mut self.socket;
            match outbox.with_packets(|packets| socket.send(packets)) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome,
            }
        };
        match outcome {
            Ok(count) => {
                let bytes = outbox.drop_messages(count, &mut pools.tails);
                let written = Written {
                    bytes,
                    offered: bytes,
                    slices: count,
                };
                Transmitted::Bytes {
                    written,
                    full: false,
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Transmitted::Nothing,
            // That was about one sent before: the next attempt sends this one.
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => Transmitted::Lost {
                bytes: 0,
                error: Error::Io(e),
            },
            Err(e) => lose(outbox, pools, e),
        }
    }

    /// Who sent the message that was read last.
    pub(super) fn sender(&self) -> Option<SocketAddr> {
        self.sender
    }

    /// System calls of the reads since this was asked.
    pub(super) fn take_reads(&mut self) -> u64 {
        std::mem::take(&mut self.reads)
    }

    /// What to send first, given once.
    pub(super) fn take_greeting(&mut self) -> Option<&'static [u8]> {
        self.greeting.take()
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    pub(super) fn socket(&self) -> Option<SockRef<'_>> {
        self.socket.socket()
    }

    pub(super) fn retire(&mut self, pools: &mut Pools) {
        if let Some(space) = self.waiting.take() {
            pools.packets.give(space);
        }
    }
}

/// Gives the first message up.
fn lose(outbox: &mut Outbox, pools: &mut Pools, error: io::Error) -> Transmitted {
    let bytes = outbox.drop_messages(1, &mut pools.tails);
    let error = Error::Io(error);
    Transmitted::Lost { bytes, error }
}

fn too_long() -> io::Error {
    io::Error::from_raw_os_error(libc::EMSGSIZE)
}

/// What getty's clients send to see whether somebody is there. Every receiver swallows it, and nothing else of its length.
pub(crate) const CONNECT_PING: &[u8] = b"connect-ping";
