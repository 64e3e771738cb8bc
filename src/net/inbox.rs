//! Bytes of a session received and not yet decoded (network.md B.13).
//!
//! Sockets are read into 80 KiB buffers all sessions share: 64 KiB for a read, beside the rest of an unfinished frame. A session keeps memory of its own only for an unfinished
//! frame, right-sized; a frame larger than 64 KiB gets a buffer that grows with what has arrived, so that announcing a
//! large frame costs the peer as much as it costs us.

use bytes::{Buf, BytesMut};

use super::buffer::{CHUNK, Pools, SCRATCH, SPARE};
use super::codec::{Arena, Input};

/// The receive buffer of one session; without memory while nothing is unread.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    pub(crate) bytes: BytesMut,
    /// Bytes at their front that the codec has taken off: dropped once for all frames of a read, since a buffer that is
    /// shared is moved slowly. Zero but while frames are decoded.
    taken: usize,
    class: Class,
}

/// Where the memory comes from and goes back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Class {
    #[default]
    None,
    Chunk,
    Spare,
    Scratch,
    /// Of this frame's own.
    Large,
}

impl Inbox {
    /// Number of unread bytes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// The unread bytes as a codec sees them.
    #[inline]
    pub(crate) fn input<'a>(&'a mut self, arena: &'a mut Arena) -> Input<'a> {
        Input::new(&mut self.bytes, &mut self.taken, arena)
    }

    /// Drops what codecs have taken off. After decoding, and before more is received.
    pub(crate) fn drop_taken(&mut self) {
        self.bytes.advance(std::mem::take(&mut self.taken));
    }

    /// Forgets what is unread and keeps the memory.
    pub(crate) fn forget(&mut self) {
        self.bytes.clear();
        self.taken = 0;
    }

    /// Sees to it that a read has room, when the codec asks for `need` unread bytes in all.
    pub(crate) fn make_room(&mut self, need: usize, pools: &mut Pools) {
        if need > SCRATCH {
            return self.grow(need, pools);
        }
        let room = self.bytes.capacity() - self.bytes.len();
        if self.class == Class::Scratch
            && (room >= READ_MIN || self.bytes.try_reclaim(SCRATCH - self.bytes.len()))
        {
            return;
        }
        let mut fresh = pools.scratches.take();
        fresh.extend_from_slice(&self.bytes);
        self.replace(fresh, Class::Scratch, pools);
    }

    /// Puts the unread rest away between two visits: nothing if there is none, a small copy if it is small, else the
    /// buffer itself.
    pub(crate) fn settle(&mut self, pools: &mut Pools) {
        let len = self.bytes.len();
        if len == 0 {
            return self.clear(pools);
        }
        if self.class != Class::Scratch {
            return;
        }
        let (mut small, class) = if len <= CHUNK {
            (pools.chunks.take(), Class::Chunk)
        } else if len <= SPARE {
            (pools.spares.take(), Class::Spare)
        } else {
            return;
        };
        small.extend_from_slice(&self.bytes);
        self.replace(small, class, pools);
    }

    /// Forgets what is unread and gives the memory back.
    pub(crate) fn clear(&mut self, pools: &mut Pools) {
        self.replace(BytesMut::new(), Class::None, pools);
    }

    /// A frame larger than the shared buffers: memory of its own, which doubles as bytes arrive.
    fn grow(&mut self, need: usize, pools: &mut Pools) {
        if self.class == Class::Large && self.bytes.capacity() > self.bytes.len() {
            return;
        }
        let len = self.bytes.len();
        let missing = need.saturating_sub(len).max(1);
        let mut larger = BytesMut::with_capacity(len + missing.min(len.max(SCRATCH)));
        larger.extend_from_slice(&self.bytes);
        self.replace(larger, Class::Large, pools);
    }

    fn replace(&mut self, bytes: BytesMut, class: Class, pools: &mut Pools) {
        let old = std::mem::replace(&mut self.bytes, bytes);
        self.taken = 0;
        match std::mem::replace(&mut self.class, class) {
            Class::None | Class::Large => {}
            Class::Chunk => pools.chunks.give(old),
            Class::Spare => pools.spares.give(old),
            Class::Scratch => pools.scratches.give(old),
        }
    }
}

/// Least room worth a read.
pub(crate) const READ_MIN: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(inbox: &mut Inbox, n: usize) {
        assert!(
            inbox.bytes.capacity() - inbox.bytes.len() >= n,
            "there is room"
        );
        let from = inbox.bytes.len();
        inbox.bytes.extend((from..from + n).map(|i| i as u8));
    }

    #[test]
    fn an_idle_inbox_has_no_memory_and_an_unfinished_frame_little() {
        let mut pools = Pools::new(1 << 20);
        let mut inbox = Inbox::default();
        for (rest, most) in [
            (0, 0),
            (10, CHUNK),
            (CHUNK + 1, SPARE),
            (SPARE + 1, SCRATCH),
        ] {
            inbox.make_room(1, &mut pools);
            let room = inbox.bytes.capacity() - inbox.bytes.len();
            assert!(room >= READ_MIN);
            fill(&mut inbox, rest);
            inbox.settle(&mut pools);
            assert!(inbox.bytes.capacity() <= most, "{rest}");
            assert_eq!(inbox.bytes, (0..rest).map(|i| i as u8).collect::<Vec<_>>());
            inbox.clear(&mut pools);
            assert_eq!(inbox.bytes.capacity(), 0);
        }
    }

    #[test]
    fn a_large_announcement_alone_pins_no_memory() {
        let mut pools = Pools::new(1 << 20);
        let mut inbox = Inbox::default();
        inbox.make_room(1, &mut pools);
        fill(&mut inbox, 4);
        let need = 16 << 20;
        let mut moves = 0;
        while inbox.bytes.len() < need {
            let before = inbox.bytes.as_ptr();
            inbox.make_room(need, &mut pools);
            moves += usize::from(inbox.bytes.as_ptr() != before);
            assert!(inbox.bytes.capacity() <= 2 * inbox.bytes.len() + SCRATCH);
            let room = (inbox.bytes.capacity() - inbox.bytes.len()).min(100_000);
            fill(&mut inbox, room);
        }
        assert_eq!(inbox.bytes.len(), need, "no more than the frame");
        assert!(moves <= 12, "doubling: {moves}");
        assert!(inbox.bytes.iter().enumerate().all(|(i, b)| *b == i as u8));
    }

    #[test]
    fn what_codecs_took_off_is_dropped_at_once_for_all_frames() {
        let (mut pools, mut arena) = (Pools::new(1 << 20), Arena::default());
        let mut inbox = Inbox::default();
        inbox.make_room(1, &mut pools);
        fill(&mut inbox, 2000);
        let start = inbox.bytes.as_ptr();
        inbox.input(&mut arena).advance(3);
        assert_eq!(inbox.input(&mut arena).take(2), [3, 4][..]);
        assert_eq!((inbox.len(), inbox.bytes.as_ptr()), (1995, start));
        // A large piece is split off, for which the others have to be dropped first.
        let large = inbox.input(&mut arena).take(1000);
        assert_eq!((large[0], inbox.len()), (5, 995));
        inbox.input(&mut arena).advance(5);
        inbox.drop_taken();
        assert_eq!((inbox.len(), inbox.bytes.len()), (990, 990));
        assert_eq!(inbox.bytes[0], 1010u16 as u8);
        inbox.input(&mut arena).advance(990);
        inbox.clear(&mut pools);
        assert_eq!(inbox.len(), 0);
    }

    #[test]
    fn a_rest_at_the_end_moves_to_the_front() {
        let mut pools = Pools::new(1 << 20);
        let mut inbox = Inbox::default();
        inbox.make_room(1, &mut pools);
        let all = inbox.bytes.capacity();
        fill(&mut inbox, all);
        let held = inbox.bytes.split_to(all - 100).freeze();
        inbox.make_room(200, &mut pools);
        assert!(inbox.bytes.capacity() - inbox.bytes.len() >= READ_MIN);
        assert_eq!((inbox.bytes.len(), held.len()), (100, all - 100));
        assert_eq!(inbox.bytes[0], (all - 100) as u8);
    }
}
