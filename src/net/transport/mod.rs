//! What lies between a session's buffers and its socket. A plain stream passes bytes through; encryption, WebSocket
//! framing and compression are layers on top of it, each turning the same two steps into theirs: *read into the receive
//! buffer* and *write from the outbox*. The rest of the session does not know which one it has.

#[cfg(feature = "compress")]
mod compress;
mod datagram;
#[cfg_attr(not(all(feature = "tls", feature = "ws")), allow(dead_code))]
pub(crate) mod layer;
#[cfg_attr(not(feature = "ws"), allow(dead_code))]
pub(crate) mod plan;
mod stack;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
pub(crate) mod tls;
mod wire;
#[cfg(feature = "ws")]
pub(crate) mod ws;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use socket2::SockRef;

use super::address::{Address, Credentials};
use super::buffer::Pools;
use super::config::Compression;
use super::driver::Stream;
use super::endpoint::Peer;
use super::error::Error;
use super::outbox::{Outbox, Written};
pub(crate) use datagram::{CONNECT_PING, Port};
use layer::{Layer, LayerError};
pub(crate) use stack::{Advance, Establish, Stack};
use wire::Wire;

/// A session's transport: a stream of the driver and the layers on it if there are any, or a socket for datagrams.
pub(crate) struct Transport<S> {
    base: Base<S>,
    /// Never on datagrams.
    stack: Option<Box<Stack>>,
}

/// What a transport stands on.
enum Base<S> {
    Wire(Wire<S>),
    Port(Box<Port>),
}

/// How a read went.
#[derive(Debug)]
pub(crate) enum Received {
    /// Bytes came, or at least the layers got further; whether there is no more for now.
    Bytes {
        count: usize,
        drained: bool,
    },
    /// The buffer now holds one whole message, maybe an empty one, and nothing else. Read again for the next.
    Message {
        count: usize,
    },
    /// Nothing there.
    Nothing,
    /// Nothing more, which can only be found out by trying.
    Drained,
    /// The peer will send no more.
    Finished,
    Failed(io::Error),
    /// One message is lost, this one or one sent before; nothing else is.
    Lost(Error),
    /// A layer gave up. It may have a last word to say, see [`Transport::unsent`].
    Broken(LayerError),
}

/// How a write went.
#[derive(Debug)]
pub(crate) enum Transmitted {
    /// Some was taken from the outbox; whether the kernel is full.
    Bytes {
        written: Written,
        full: bool,
    },
    /// The kernel took nothing.
    Nothing,
    /// So many bytes of the outbox can never be sent, since a layer is broken: they are gone.
    Discarded(usize),
    Failed(io::Error),
    /// One message is lost: this one, then so many bytes of it have left the outbox, or one sent before.
    Lost {
        bytes: usize,
        error: Error,
    },
    /// A layer gave up.
    Broken(LayerError),
}

impl<S: Stream> Transport<S> {
    /// A stream with layers on it, from the bottom up; with none it is a plain one.
    pub(crate) fn new(stream: S, layers: Vec<Box<dyn Layer>>) -> Self {
        let stack = (!layers.is_empty()).then(|| Box::new(Stack::new(layers)));
        Transport {
            base: Base::Wire(Wire::new(stream)),
            stack,
        }
    }

    /// A socket for datagrams.
    pub(crate) fn datagram(port: Port) -> Self {
        Transport {
            base: Base::Port(Box::new(port)),
            stack: None,
        }
    }

    /// Puts compression on top, if there is to be any. Nothing may have been written yet.
    pub(crate) fn compress(&mut self, compression: Compression) {
        #[cfg(feature = "compress")]
        if let Some(layer) = compress::layer(compression) {
            self.cover(layer);
        }
        let _ = compression;
    }

    /// Puts a further layer on top, which must need no handshake.
    #[cfg(any(test, feature = "compress"))]
    fn cover(&mut self, layer: Box<dyn Layer>) {
        self.stack.get_or_insert_default().cover(layer);
    }

    /// Goes on with the handshakes of the layers.
    pub(crate) fn establish(&mut self, pools: &mut Pools) -> Establish {
        match (&mut self.stack, &mut self.base) {
            (Some(stack), Base::Wire(wire)) => stack.establish(wire, pools),
            _ => Establish::Done,
        }
    }

    /// Lends the layers to another thread, for [`Stack::advance`].
    pub(crate) fn lend_layers(&mut self) -> Option<Box<Stack>> {
        self.stack.take()
    }

    /// Takes the layers back and writes what they left to be written. `None`: more of the peer is needed.
    pub(crate) fn return_layers(
        &mut self,
        stack: Box<Stack>,
        advance: Advance,
        pools: &mut Pools,
    ) -> Option<Establish> {
        let stack = self.stack.insert(stack);
        match &mut self.base {
            Base::Wire(wire) => stack.conclude(wire, advance, pools),
            Base::Port(_) => Some(Establish::Done),
        }
    }

    /// Reads more of the peer for the handshakes. `None`: there is more, or its end.
    pub(crate) fn feed_handshake(&mut self, pools: &mut Pools) -> Option<Establish> {
        match (&mut self.stack, &mut self.base) {
            (Some(stack), Base::Wire(wire)) => stack.feed(wire, pools),
            _ => Some(Establish::Waiting),
        }
    }

    /// Adds what the layers know about the other end.
    pub(crate) fn describe(&self, peer: &mut Peer) {
        for layer in self.stack.iter().flat_map(|s| s.layers()) {
            layer.describe(peer);
        }
    }

    /// The longest message wanted from now on, in bytes.
    pub(crate) fn limit_message(&mut self, bytes: usize) {
        if let Base::Port(port) = &mut self.base {
            port.limit_message(bytes);
        }
        for layer in self.stack.iter_mut().flat_map(|s| s.layers_mut()) {
            layer.limit_message(bytes);
        }
    }

    /// Reads once, about `limit` bytes at most, into the free room of `buffer`, which must have some.
    pub(crate) fn read(
        &mut self,
        buffer: &mut BytesMut,
        limit: usize,
        pools: &mut Pools,
    ) -> Received {
        match (&mut self.base, &mut self.stack) {
            (Base::Wire(wire), None) => wire.read(buffer, limit),
            (Base::Wire(wire), Some(stack)) => stack.read(wire, buffer, limit, pools),
            (Base::Port(port), _) => port.read(buffer, pools),
        }
    }

    /// System calls of the reads since this was asked; asked after each read.
    pub(crate) fn take_reads(&mut self) -> u64 {
        match (&mut self.base, &mut self.stack) {
            (Base::Wire(_), None) => 1,
            (Base::Wire(_), Some(stack)) => stack.take_reads(),
            (Base::Port(port), _) => port.take_reads(),
        }
    }

    /// Who sent the message that was read last, if any machine may send.
    pub(crate) fn sender(&self) -> Option<SocketAddr> {
        match &self.base {
            Base::Wire(_) => None,
            Base::Port(port) => port.sender(),
        }
    }

    /// Bytes of the socket behind the last read: what it cost, were its `count` zero.
    pub(crate) fn filled(&self) -> usize {
        self.stack.as_ref().map_or(0, |stack| stack.filled())
    }

    /// Writes once.
    pub(crate) fn write(&mut self, outbox: &mut Outbox, pools: &mut Pools) -> Transmitted {
        match (&mut self.base, &mut self.stack) {
            (Base::Wire(wire), None) => wire.write(outbox, &mut pools.tails),
            (Base::Wire(wire), Some(stack)) => stack.write(wire, outbox, pools),
            (Base::Port(port), _) => port.write(outbox, pools),
        }
    }

    /// Bytes that have left the outbox and have not been taken by the kernel.
    pub(crate) fn unsent(&self) -> usize {
        self.stack.as_ref().map_or(0, |stack| stack.unsent())
    }

    /// Whether the peer takes so little of what the layers say that it should not be heard for now.
    pub(crate) fn is_full(&self) -> bool {
        self.stack.as_ref().is_some_and(|stack| stack.is_full())
    }

    /// Whether every message is received, and has to be sent, by itself.
    pub(crate) fn keeps_messages(&self) -> bool {
        self.is_datagram() || self.stack.as_ref().is_some_and(|s| s.keeps_messages())
    }

    /// Whether there is no connection, so that nothing begins or ends but this end.
    pub(crate) fn is_datagram(&self) -> bool {
        matches!(self.base, Base::Port(_))
    }

    /// What is to be sent before anything else; given once.
    pub(crate) fn take_greeting(&mut self) -> Option<&'static [u8]> {
        match &mut self.base {
            Base::Wire(_) => None,
            Base::Port(port) => port.take_greeting(),
        }
    }

    /// From now on a read that brought few bytes does not mean that there are no more: the end is near and will not be
    /// announced again.
    pub(crate) fn hang_up(&mut self) {
        if let Base::Wire(wire) = &mut self.base {
            wire.hang_up();
        }
    }

    /// The layers' goodbye, which may leave something [`Transport::unsent`]. The first call counts.
    pub(crate) fn say_goodbye(&mut self, pools: &mut Pools) {
        if let Some(stack) = &mut self.stack {
            stack.say_goodbye(pools);
        }
    }

    /// Asks the peer for a sign of life, or says that it gave none.
    pub(crate) fn probe(&mut self, pools: &mut Pools) -> Result<(), LayerError> {
        match &mut self.stack {
            None => Ok(()),
            Some(stack) => stack.probe(pools),
        }
    }

    /// How often to probe, if at all.
    pub(crate) fn probe_period(&self) -> Option<Duration> {
        let layers = self.stack.iter().flat_map(|s| s.layers());
        layers.filter_map(Layer::probe_period).min()
    }

    /// Writes what the layers have to say, as far as that goes.
    pub(crate) fn push(&mut self, pools: &mut Pools) -> io::Result<usize> {
        match (&mut self.stack, &mut self.base) {
            (Some(stack), Base::Wire(wire)) => stack.push(wire, pools),
            _ => Ok(0),
        }
    }

    /// Ends the sending direction. A layer whose goodbye the peer answers does not want that: the answer ends it.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match &mut self.base {
            Base::Wire(wire) if !self.stack.as_ref().is_some_and(|s| s.awaits_answer()) => {
                wire.stream().shutdown_write()
            }
            _ => Ok(()),
        }
    }

    /// Takes the pending error of the connection, if there is one.
    pub(crate) fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        match &mut self.base {
            Base::Wire(wire) => wire.stream().take_error(),
            Base::Port(_) => Ok(None),
        }
    }

    /// Makes the coming drop reset the connection.
    pub(crate) fn abort(&mut self) {
        if let Base::Wire(wire) = &mut self.base {
            wire.stream().abort();
        }
    }

    /// Ends the sending direction of the stream below, whatever the layers think of it.
    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        match &mut self.base {
            Base::Wire(wire) => wire.stream().shutdown_write(),
            Base::Port(_) => Ok(()),
        }
    }

    /// The address of this end.
    pub(crate) fn local_addr(&mut self) -> io::Result<Address> {
        match &mut self.base {
            Base::Wire(wire) => wire.stream().local_addr(),
            Base::Port(port) => port.local_addr().map(Address::Ip),
        }
    }

    /// Who is at the other end, if the system tells.
    pub(crate) fn credentials(&mut self) -> Option<Credentials> {
        match &mut self.base {
            Base::Wire(wire) => wire.stream().credentials(),
            Base::Port(_) => None,
        }
    }

    /// The real socket, if there is one.
    pub(crate) fn socket(&mut self) -> Option<SockRef<'_>> {
        match &mut self.base {
            Base::Wire(wire) => wire.stream().socket(),
            Base::Port(port) => port.socket(),
        }
    }

    /// The stream below.
    #[cfg(test)]
    fn stream(&mut self) -> &mut S {
        match &mut self.base {
            Base::Wire(wire) => wire.stream(),
            Base::Port(_) => panic!("a socket for datagrams has no stream"),
        }
    }

    /// Gives back the buffers it holds.
    pub(crate) fn retire(&mut self, pools: &mut Pools) {
        if let Some(stack) = &mut self.stack {
            stack.retire(pools);
        }
        if let Base::Port(port) = &mut self.base {
            port.retire(pools);
        }
    }
}
