//! What an end of a simulated connection can do: read, write, finish, go away. The rules are those of a TCP socket on
//! Linux under edge-triggered readiness; what the network adds is in [`Faults`](super::Faults).
//!
//! A transfer that moves less than it could, or would block though it need not, is followed by a fresh report of
//! readiness: to the caller it looks as if the rest had arrived just afterwards. So "a short transfer means wait"
//! (network.md B-2) stays true.

use std::io;

use crate::net::Address;
use crate::net::driver::ReadSpace;

use super::fault::Defect;
use super::wire::{Conn, EndId, Happening, Loss, Phase, Source, Step, World};

impl World {
    pub(super) fn read(&mut self, id: EndId, space: &mut ReadSpace<'_>) -> io::Result<usize> {
        self.take(id, space.remaining(), &mut |bytes| {
            space.put(bytes);
        })
    }

    /// Takes at most `room` bytes that have arrived, in one or two pieces.
    pub(super) fn take(
        &mut self,
        id: EndId,
        room: usize,
        put: &mut dyn FnMut(&[u8]),
    ) -> io::Result<usize> {
        let (split, blocks) = (self.faults.split, self.faults.would_block);
        let (split, blocks) = (self.rng.chance(split), self.rng.chance(blocks));
        let Some(end) = self.end(id) else {
            return Ok(0);
        };
        let available = end.arrived.len();
        if end.phase == Phase::Connecting {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if available == 0 {
            return match end.error.take() {
                Some(error) => Err(io::Error::from_raw_os_error(error)),
                None if end.reset || end.fin || end.phase == Phase::Failed => Ok(0),
                None => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        if blocks {
            self.report_later(id);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let fits = available.min(room);
        let count = if split {
            self.rng.size(fits).min(fits)
        } else {
            fits
        };
        if count < fits {
            self.report_later(id);
        }
        let Some(end) = self.end(id) else {
            return Ok(0);
        };
        let (front, back) = end.arrived.as_slices();
        let first = front.len().min(count);
        put(&front[..first]);
        put(&back[..count - first]);
        end.arrived.drain(..count);
        end.unread -= count;
        let phase = end.phase;
        debug_assert!(phase != Phase::Dropped, "read through a dropped handle");
        self.note(Step::Read, id.conn * 2 + id.side as u64, count as u64);
        self.offer_room(id.other());
        Ok(count)
    }

    pub(super) fn write(&mut self, id: EndId, bytes: &[u8]) -> io::Result<usize> {
        let (split, blocks) = (self.faults.split, self.faults.would_block);
        let (split, blocks) = (self.rng.chance(split), self.rng.chance(blocks));
        let Some(conn) = self.conns.get_mut(&id.conn) else {
            return Err(broken_pipe());
        };
        let room = conn.window.saturating_sub(conn.ends[1 - id.side].unread);
        let end = &mut conn.ends[id.side];
        if end.phase == Phase::Connecting {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if let Some(error) = end.error.take() {
            return Err(io::Error::from_raw_os_error(error));
        }
        if end.reset || end.sent_fin || end.phase != Phase::Connected {
            return Err(broken_pipe());
        }
        if bytes.is_empty() {
            return Ok(0);
        }
        if room == 0 {
            end.wants_room = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if blocks {
            self.report_later(id);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let fits = bytes.len().min(room);
        let count = if split {
            self.rng.size(fits).min(fits)
        } else {
            fits
        };
        if count < bytes.len() {
            if let Some(end) = self.end(id) {
                end.wants_room = true;
            }
            if count < room {
                self.report_later(id);
            }
        }
        self.note(Step::Write, id.conn * 2 + id.side as u64, count as u64);
        self.send(id, &bytes[..count]);
        Ok(count)
    }

    pub(super) fn finish(&mut self, id: EndId) -> io::Result<()> {
        let Some(end) = self.end(id) else {
            return Err(not_connected());
        };
        if end.phase != Phase::Connected || end.reset {
            return Err(not_connected());
        }
        if !std::mem::replace(&mut end.sent_fin, true) {
            self.note(Step::Shutdown, id.conn, id.side as u64);
            self.in_order(id.other(), Happening::Fin { to: id.other() });
        }
        Ok(())
    }

    pub(super) fn take_error(&mut self, id: EndId) -> Option<io::Error> {
        let error = self.end(id)?.error.take()?;
        Some(io::Error::from_raw_os_error(error))
    }

    pub(super) fn peer_addr(&self, id: EndId) -> io::Result<Address> {
        let end = self.conns.get(&id.conn).map(|conn| &conn.ends[id.side]);
        match end {
            Some(end) if end.phase == Phase::Connected && !end.reset => Ok(end.peer.clone()),
            _ => Err(not_connected()),
        }
    }

    pub(super) fn local_addr(&self, id: EndId) -> io::Result<Address> {
        let end = self
            .conns
            .get(&id.conn)
            .map(|conn| conn.ends[id.side].local.clone());
        end.ok_or_else(not_connected)
    }

    /// The handle of an end goes away, with a finish or a reset as a socket would.
    pub(super) fn drop_end(&mut self, id: EndId) {
        if self.defect == Some(Defect::Keep) && self.breaks_now().is_some() {
            return;
        }
        self.forget(Source::End(id));
        let Some(end) = self.end(id) else { return };
        let before = std::mem::replace(&mut end.phase, Phase::Dropped);
        let (reset, finished) = (end.reset, end.sent_fin);
        // Closing with unread bytes resets: the peer must not take them for received.
        let resets = end.abort || before == Phase::Connecting || !end.arrived.is_empty();
        self.note(Step::Drop, id.conn * 2 + id.side as u64, u64::from(resets));
        if !reset && before != Phase::Failed {
            if resets {
                self.reset_to(id.other());
            } else if !finished {
                self.in_order(id.other(), Happening::Fin { to: id.other() });
            }
        }
        if self.conns.get(&id.conn).is_some_and(Conn::is_done) {
            self.conns.remove(&id.conn);
        }
    }

    /// A reset is on its way to this end.
    pub(super) fn reset_to(&mut self, id: EndId) {
        self.in_order(id, Happening::Reset { to: id });
    }

    /// Sends bytes towards the other end, in segments, unless the connection is lost on the way.
    fn send(&mut self, from: EndId, bytes: &[u8]) {
        let to = from.other();
        let Some(conn) = self.conns.get_mut(&from.conn) else {
            return;
        };
        conn.ends[to.side].unread += bytes.len();
        let mut arrives = bytes.len();
        let mut lost = None;
        if let Some((left, how)) = &mut conn.loss {
            let until = usize::try_from(*left).unwrap_or(usize::MAX);
            *left = left.saturating_sub(bytes.len() as u64);
            if bytes.len() > until {
                arrives = until;
                lost = Some(*how);
                conn.loss = None;
            }
        }
        let mut rest = &bytes[..arrives];
        while !rest.is_empty() {
            let split = self.faults.split;
            let split = self.rng.chance(split);
            let len = if split {
                self.rng.size(rest.len()).min(rest.len())
            } else {
                rest.len()
            };
            let (segment, after) = rest.split_at(len);
            self.in_order(
                to,
                Happening::Segment {
                    to,
                    bytes: segment.to_vec(),
                },
            );
            rest = after;
        }
        match lost {
            Some(Loss::Reset) => {
                self.reset_to(to);
                self.reset_to(from);
            }
            Some(Loss::Silence) => {
                if let Some(conn) = self.conns.get_mut(&from.conn) {
                    conn.silent = true;
                }
            }
            None => {}
        }
    }

    /// Schedules something that arrives at an end after everything sent to it before.
    fn in_order(&mut self, to: EndId, what: Happening) {
        let after = self.clock.nanos() + self.latency();
        let Some(conn) = self.conns.get_mut(&to.conn).filter(|conn| !conn.silent) else {
            return;
        };
        let end = &mut conn.ends[to.side];
        end.last_arrival = end.last_arrival.max(after);
        let at = end.last_arrival;
        self.at(at, what);
    }

    /// Room became free towards the other end: tells this one, if it waits for it.
    fn offer_room(&mut self, id: EndId) {
        let Some(conn) = self.conns.get_mut(&id.conn).filter(|conn| !conn.silent) else {
            return;
        };
        if std::mem::replace(&mut conn.ends[id.side].wants_room, false) {
            self.report_later(id);
        }
    }

    fn report_later(&mut self, id: EndId) {
        let after = self.latency();
        self.later(
            after,
            Happening::Report {
                source: Source::End(id),
            },
        );
    }
}

impl Conn {
    fn is_done(&self) -> bool {
        self.ends.iter().all(|end| end.phase == Phase::Dropped)
    }
}

fn broken_pipe() -> io::Error {
    io::Error::from_raw_os_error(libc::EPIPE)
}

fn not_connected() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOTCONN)
}
