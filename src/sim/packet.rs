//! Simulated sockets for datagrams: each datagram arrives whole, twice, late or not at all, as [`Faults`] say.
//!
//! [`Faults`]: super::Faults

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::net::driver::{Datagram, Packet, PacketSpace};

use super::network::Network;
use super::wire::{Happening, Source, Step, World, address};

/// A socket and what waits in it.
#[derive(Debug)]
pub(super) struct PacketSocket {
    pub(super) node: usize,
    local: SocketAddr,
    /// The only one it hears, and sends to.
    peer: Option<SocketAddr>,
    pub(super) waiting: VecDeque<(SocketAddr, Vec<u8>)>,
    /// Bytes of those.
    bytes: usize,
    /// What the network said of a datagram sent before.
    pub(super) error: Option<i32>,
    last_arrival: u64,
}

impl World {
    /// Makes a socket at an address of the node, or one that exchanges datagrams with `peer` alone.
    pub(super) fn open_socket(
        &mut self,
        node: usize,
        at: Option<SocketAddr>,
        peer: Option<SocketAddr>,
    ) -> io::Result<u64> {
        self.take_descriptor(node)?;
        let here = |world: &World, at: SocketAddr| world.resolve(node, &at.into()).ip();
        let mut local = at
            .and_then(|at| here(self, at))
            .unwrap_or_else(|| SocketAddr::new(address(node), 0));
        if local.port() == 0 {
            local.set_port(self.ephemeral());
        }
        if self.sockets.values().any(|socket| socket.local == local) {
            return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
        }
        let id = self.fresh_id();
        let socket = PacketSocket {
            node,
            local,
            peer: peer.and_then(|to| here(self, to)),
            waiting: VecDeque::new(),
            bytes: 0,
            error: None,
            last_arrival: 0,
        };
        self.sockets.insert(id, socket);
        Ok(id)
    }

    pub(super) fn drop_socket(&mut self, id: u64) {
        self.forget(Source::Socket(id));
        self.sockets.remove(&id);
    }

    fn receive_packets(&mut self, id: u64, space: &mut PacketSpace) -> io::Result<usize> {
        let (split, blocks) = (self.faults.split, self.faults.would_block);
        let (split, blocks) = (self.rng.chance(split), self.rng.chance(blocks));
        let Some(socket) = self.sockets.get_mut(&id) else {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        };
        if let Some(error) = socket.error.take() {
            return Err(io::Error::from_raw_os_error(error));
        }
        let waiting = socket.waiting.len();
        if waiting == 0 || blocks {
            if waiting > 0 {
                self.report_socket(id);
            }
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let most = if split {
            self.rng.size(waiting).clamp(1, waiting)
        } else {
            waiting
        };
        let mut count = 0;
        let Some(socket) = self.sockets.get_mut(&id) else {
            return Ok(0);
        };
        while count < most
            && let Some((from, bytes)) = socket.waiting.front()
            && space.put(*from, bytes)
        {
            socket.bytes -= bytes.len();
            socket.waiting.pop_front();
            count += 1;
        }
        self.note(Step::Read, id, count as u64);
        Ok(count)
    }

    fn send_packets(&mut self, id: u64, packets: &[Packet<'_>]) -> io::Result<usize> {
        let (split, blocks) = (self.faults.split, self.faults.would_block);
        let (split, blocks) = (self.rng.chance(split), self.rng.chance(blocks));
        let Some(socket) = self.sockets.get_mut(&id) else {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        };
        if let Some(error) = socket.error.take() {
            return Err(io::Error::from_raw_os_error(error));
        }
        if blocks {
            self.report_socket(id);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let most = if split {
            self.rng.size(packets.len()).clamp(1, packets.len())
        } else {
            packets.len()
        };
        for (sent, packet) in packets[..most].iter().enumerate() {
            if let Err(e) = self.send_packet(id, packet) {
                return if sent == 0 { Err(e) } else { Ok(sent) };
            }
        }
        Ok(most)
    }

    fn send_packet(&mut self, id: u64, packet: &Packet<'_>) -> io::Result<()> {
        let refuse = |code| Err(io::Error::from_raw_os_error(code));
        let Some(socket) = self.sockets.get(&id) else {
            return refuse(libc::EBADF);
        };
        let (node, from) = (socket.node, socket.local);
        let to = match packet.to {
            Some(to) => self.resolve(node, &to.into()).ip(),
            None => socket.peer,
        };
        let Some(to) = to else {
            return refuse(libc::EDESTADDRREQ);
        };
        if packet.len() > PAYLOAD_MAX {
            return refuse(libc::EMSGSIZE);
        }
        self.note(Step::Write, id, packet.len() as u64);
        let (loss, copy) = (self.faults.packet_loss, self.faults.packet_copy);
        let late = self.faults.packet_late;
        if self.rng.chance(loss) {
            return Ok(());
        }
        let copies = 1 + usize::from(self.rng.chance(copy));
        for _ in 0..copies {
            let overtaken = self.rng.chance(late);
            let mut at = self.clock.nanos() + self.latency();
            if overtaken {
                at += self.latency().saturating_mul(LATE);
            } else if let Some(socket) = self.sockets.get_mut(&id) {
                socket.last_arrival = socket.last_arrival.max(at);
                at = socket.last_arrival;
            }
            let pieces = packet.pieces.iter();
            let bytes = pieces.flat_map(|piece| piece.iter().copied()).collect();
            let sender = id;
            let what = Happening::Packet {
                sender,
                from,
                to,
                bytes,
            };
            self.at(at, what);
        }
        Ok(())
    }

    /// A datagram has arrived where it was sent to.
    pub(super) fn packet(&mut self, sender: u64, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        let hears = |socket: &PacketSocket| {
            socket.local == to && socket.peer.is_none_or(|peer| peer == from)
        };
        let there = self.sockets.iter().find(|(_, socket)| hears(socket));
        let Some(id) = there.map(|(id, _)| *id) else {
            // Nobody: the machine says so, and a connected socket is told.
            let told = self.sockets.get(&sender).is_some_and(|s| s.peer.is_some());
            if told {
                let back = self.latency();
                self.later(back, Happening::Unreachable { socket: sender });
            }
            return;
        };
        let room = self.faults.window_max;
        if let Some(socket) = self.sockets.get_mut(&id)
            && (socket.waiting.is_empty() || socket.bytes + bytes.len() <= room)
        {
            socket.bytes += bytes.len();
            socket.waiting.push_back((from, bytes));
            self.mark(Source::Socket(id));
        }
    }

    pub(super) fn unreachable(&mut self, id: u64) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.error = Some(libc::ECONNREFUSED);
            self.mark(Source::Socket(id));
        }
    }

    fn report_socket(&mut self, id: u64) {
        let after = self.latency();
        let source = Source::Socket(id);
        self.later(after, Happening::Report { source });
    }
}

/// A simulated socket for datagrams.
pub struct SimDatagram {
    network: Network,
    id: u64,
}

impl SimDatagram {
    pub(super) fn new(network: &Network, id: u64) -> Self {
        SimDatagram {
            network: network.clone(),
            id,
        }
    }
}

impl Datagram for SimDatagram {
    fn receive(&mut self, space: &mut PacketSpace) -> io::Result<usize> {
        self.network.lock().receive_packets(self.id, space)
    }

    fn send(&mut self, packets: &[Packet<'_>]) -> io::Result<usize> {
        self.network.lock().send_packets(self.id, packets)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        let world = self.network.lock();
        let socket = world.sockets.get(&self.id);
        socket
            .map(|socket| socket.local)
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))
    }
}

impl Drop for SimDatagram {
    fn drop(&mut self) {
        self.network.lock().drop_socket(self.id);
    }
}

impl fmt::Debug for SimDatagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimDatagram({})", self.id)
    }
}

/// Longest datagram.
const PAYLOAD_MAX: usize = 65_507;

/// How many times longer a late one is under way at most.
const LATE: u64 = 10;
