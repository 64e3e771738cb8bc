//! Datagrams on their way between a driver and the reactor: where they arrive, and how they leave (network.md B.25).

use std::fmt;
use std::io::IoSlice;
use std::net::SocketAddr;

/// Room for the datagrams of one receive, and those that came.
///
/// One piece of memory with [`PACKETS_MAX`] places, so that one system call fills many. A datagram that is longer than
/// its place is not cut to a shorter message in silence: see [`Arrival::Truncated`].
pub struct PacketSpace {
    memory: Box<[u8]>,
    /// Bytes of a place.
    limit: usize,
    /// Bytes from the start of one place to that of the next.
    stride: usize,
    /// Never more than there are places.
    arrived: Vec<Arrived>,
    /// Of those that came, how many have been taken.
    taken: usize,
}

#[derive(Debug, Clone, Copy)]
struct Arrived {
    from: SocketAddr,
    /// Length it was sent with, which may be more than the place holds.
    len: usize,
}

/// What lies in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival<'a> {
    /// A datagram, whole.
    Whole {
        /// Who sent it.
        from: SocketAddr,
        /// All of it; may be nothing.
        bytes: &'a [u8],
    },
    /// A datagram longer than the limit; the rest of it is lost.
    Truncated {
        /// Who sent it.
        from: SocketAddr,
        /// Bytes it had, or at least one more than the limit where the system does not tell.
        len: usize,
    },
}

impl PacketSpace {
    /// Room for [`PACKETS_MAX`] datagrams of any length. The system lends the memory when it is first written to.
    pub fn new() -> Self {
        PacketSpace {
            memory: vec![0; PACKETS_MAX * stride(PACKET_BYTES_MAX)].into_boxed_slice(),
            limit: PACKET_BYTES_MAX,
            stride: stride(PACKET_BYTES_MAX),
            arrived: Vec::with_capacity(PACKETS_MAX),
            taken: 0,
        }
    }

    /// Empties it for datagrams of at most `limit` bytes.
    pub fn begin(&mut self, limit: usize) {
        self.limit = limit.clamp(1, PACKET_BYTES_MAX);
        self.stride = stride(self.limit);
        self.arrived.clear();
        self.taken = 0;
    }

    /// Puts a datagram into the next free place. `false`: there is none.
    pub fn put(&mut self, from: SocketAddr, bytes: &[u8]) -> bool {
        if self.arrived.len() == PACKETS_MAX {
            return false;
        }
        let kept = bytes.len().min(self.limit);
        let at = self.arrived.len() * self.stride;
        self.memory[at..at + kept].copy_from_slice(&bytes[..kept]);
        self.note(from, bytes.len());
        true
    }

    /// Takes the next datagram.
    pub fn take(&mut self) -> Option<Arrival<'_>> {
        if self.is_empty() {
            return None;
        }
        let Arrived { from, len } = self.arrived[self.taken];
        let at = self.taken * self.stride;
        self.taken += 1;
        Some(if len > self.limit {
            Arrival::Truncated { from, len }
        } else {
            let bytes = &self.memory[at..at + len];
            Arrival::Whole { from, bytes }
        })
    }

    /// Whether every datagram that came has been taken.
    pub fn is_empty(&self) -> bool {
        self.taken == self.arrived.len()
    }

    /// Longest datagram that fits.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The free places, in order.
    pub(super) fn places(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let (limit, used) = (self.limit, self.arrived.len());
        self.memory[used * self.stride..]
            .chunks_mut(self.stride)
            .take(PACKETS_MAX - used)
            .map(move |place| &mut place[..limit])
    }

    /// The next free place was filled with the beginning of a datagram of `len` bytes.
    pub(super) fn note(&mut self, from: SocketAddr, len: usize) {
        self.arrived.push(Arrived { from, len });
    }
}

impl Default for PacketSpace {
    fn default() -> Self {
        PacketSpace::new()
    }
}

impl fmt::Debug for PacketSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketSpace")
            .field("limit", &self.limit)
            .field("waiting", &(self.arrived.len() - self.taken))
            .finish_non_exhaustive()
    }
}

/// A datagram to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// Where to; `None` on a connected socket.
    pub to: Option<SocketAddr>,
    /// Its bytes, in order.
    pub pieces: &'a [IoSlice<'a>],
}

impl Packet<'_> {
    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.len()).sum()
    }

    /// Whether it is one without bytes, which is a datagram all the same.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Most datagrams of one receive or send.
pub const PACKETS_MAX: usize = 32;

/// Longest datagram there is: the length field of UDP has 16 bits, and its header 8 bytes.
pub const PACKET_BYTES_MAX: usize = 65_535 - 8;

/// From one place to the next. At multiples of a large power of two they would share the same few lines of the cache.
const fn stride(limit: usize) -> usize {
    limit.next_multiple_of(LINE) + LINE
}

const LINE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_come_out_as_they_went_in_and_long_ones_are_told_apart() {
        let mut space = PacketSpace::new();
        let from = |n: u16| SocketAddr::from(([127, 0, 0, 1], n));
        for limit in [1, 100, PACKET_BYTES_MAX, usize::MAX] {
            space.begin(limit);
            let most = space.limit();
            let lengths = [0, 1, most - 1, most, most + 1];
            for n in 0..PACKETS_MAX {
                let bytes = vec![n as u8; lengths[n % 5]];
                assert!(space.put(from(n as u16), &bytes));
            }
            assert!(!space.put(from(0), b""), "full");
            for n in 0..PACKETS_MAX {
                let (from, len) = (from(n as u16), lengths[n % 5]);
                let bytes = &vec![n as u8; len][..];
                let expected = if len > most {
                    Arrival::Truncated { from, len }
                } else {
                    Arrival::Whole { from, bytes }
                };
                assert_eq!(space.take(), Some(expected), "limit {limit}, number {n}");
            }
            assert_eq!(space.take(), None);
            assert!(space.is_empty());
        }
    }
}
