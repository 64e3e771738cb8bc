//! Bytes of a session the kernel has not taken yet.
//!
//! Small messages are encoded straight into one growing tail, so that any number of them leaves with one `write` and no
//! list of slices. A large payload is linked between pieces of the tail and leaves with the same `writev`. A partial
//! write advances inside a piece; nothing is ever moved or sent twice (network.md B.15). The outbox knows how many bytes
//! wait; what that means (watermarks, stalls) is decided by its owner.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};

use super::buffer::{BufferPool, TAIL};
use super::codec::{LINK_MIN, Link};
use super::driver::{PACKETS_MAX, Packet};

/// Waiting bytes of one session, in order: the segments, then the tail.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    segments: VecDeque<Segment>,
    segment_bytes: usize,
    tail: BytesMut,
    /// Where messages end, for a transport that sends each by itself.
    marks: Option<Box<Marks>>,
}

/// The whole messages that wait, in order.
#[derive(Debug, Default)]
struct Marks {
    messages: VecDeque<Mark>,
    /// The sum of their lengths.
    bytes: usize,
    /// For a message that lies in several pieces.
    gathered: BytesMut,
}

/// A whole message.
#[derive(Debug, Clone, Copy)]
struct Mark {
    length: usize,
    /// Where it goes, if its session does not say.
    to: Option<SocketAddr>,
}

#[derive(Debug)]
enum Segment {
    /// A payload, or a piece of the tail before one.
    Shared(Bytes),
    /// A full tail, which goes back to the pool.
    Full(BytesMut),
}

impl Outbox {
    /// The buffer small messages are encoded into. It has memory once this was called.
    #[inline]
    pub(crate) fn tail(&mut self, pool: &mut BufferPool) -> &mut BytesMut {
        if self.tail.capacity() == 0 || self.tail.len() >= TAIL_FULL {
            self.begin_tail(pool);
        }
        &mut self.tail
    }

    #[cold]
    fn begin_tail(&mut self, pool: &mut BufferPool) {
        let full = std::mem::replace(&mut self.tail, pool.take());
        if !full.is_empty() {
            self.segment_bytes += full.len();
            self.segments.push_back(Segment::Full(full));
        }
    }

    /// From now on messages are kept apart.
    pub(crate) fn keep_messages(&mut self) {
        self.marks.get_or_insert_default();
    }

    /// Everything appended since the last message is one message, for `to` if its session does not say.
    #[inline]
    pub(crate) fn end_message(&mut self, to: Option<SocketAddr>) {
        let len = self.len();
        if let Some(marks) = &mut self.marks {
            let length = len - marks.bytes;
            marks.messages.push_back(Mark { length, to });
            marks.bytes = len;
        }
    }

    /// Several messages have been appended, which end after so many bytes of what was appended since the last.
    pub(crate) fn end_messages(&mut self, ends: &[usize], to: Option<SocketAddr>) {
        if let Some(marks) = &mut self.marks {
            let mut from = 0;
            for end in ends {
                let length = end - from;
                marks.messages.push_back(Mark { length, to });
                marks.bytes += length;
                from = *end;
            }
        }
    }

    /// Whether a message has been begun and not ended.
    pub(crate) fn is_within_message(&self) -> bool {
        self.marks.as_ref().is_some_and(|m| m.bytes < self.len())
    }

    /// Whole messages that wait.
    #[inline]
    pub(crate) fn messages(&self) -> usize {
        self.marks.as_ref().map_or(0, |m| m.messages.len())
    }

    /// Length of the first message.
    pub(crate) fn first_message(&self) -> Option<usize> {
        self.marks.as_ref()?.messages.front().map(|m| m.length)
    }

    /// Hands out the first messages where they lie: as many as are sent at once, at least one if there is any whose pieces
    /// are few enough for a datagram.
    pub(crate) fn with_packets<R>(&self, send: impl FnOnce(&[Packet<'_>]) -> R) -> R {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut ends = [(0, None); PACKETS_MAX];
        let (mut used, mut count) = (0, 0);
        let segments = self.segments.iter().map(Segment::bytes);
        let mut pieces = segments.chain([&self.tail[..]]);
        let mut piece: &[u8] = &[];
        let messages = self.marks.iter().flat_map(|m| &m.messages);
        'messages: for mark in messages.take(PACKETS_MAX) {
            let mut left = mark.length;
            let mut slice = used;
            while left > 0 {
                if piece.is_empty() {
                    match pieces.next() {
                        Some(next) => piece = next,
                        None => break 'messages,
                    }
                    continue;
                }
                if slice == SLICES_MAX {
                    break 'messages;
                }
                let (now, later) = piece.split_at(left.min(piece.len()));
                slices[slice] = IoSlice::new(now);
                slice += 1;
                left -= now.len();
                piece = later;
            }
            used = slice;
            ends[count] = (used, mark.to);
            count += 1;
        }
        let mut packets = [Packet {
            to: None,
            pieces: &[],
        }; PACKETS_MAX];
        let mut from = 0;
        for (packet, (end, to)) in packets.iter_mut().zip(&ends[..count]) {
            *packet = Packet {
                to: *to,
                pieces: &slices[from..*end],
            };
            from = *end;
        }
        send(&packets[..count])
    }

    /// Drops the first messages; how many bytes they had.
    pub(crate) fn drop_messages(&mut self, count: usize, pool: &mut BufferPool) -> usize {
        let Some(marks) = &mut self.marks else {
            return 0;
        };
        let gone = count.min(marks.messages.len());
        let bytes = marks.messages.drain(..gone).map(|m| m.length).sum();
        marks.bytes -= bytes;
        self.advance(bytes, pool);
        bytes
    }

    /// Hands out the first message, or else the first bytes that lie together, and drops them if they were taken.
    pub(crate) fn with_front<E>(
        &mut self,
        pool: &mut BufferPool,
        take: impl FnOnce(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let first_mark = self.marks.as_ref().and_then(|m| m.messages.front());
        let whole = first_mark.map(|m| m.length);
        let first = self.segments.front().map_or(&self.tail[..], Segment::bytes);
        let n = whole.unwrap_or(first.len().min(FRONT_MAX));
        if n <= first.len() {
            take(&first[..n])?;
        } else if let Some(marks) = &mut self.marks {
            marks.gathered.clear();
            let pieces = self.segments.iter().map(Segment::bytes);
            for piece in pieces.chain([&self.tail[..]]) {
                let part = piece.len().min(n - marks.gathered.len());
                marks.gathered.extend_from_slice(&piece[..part]);
            }
            take(&marks.gathered)?;
            if marks.gathered.capacity() > GATHERED_KEPT_MAX {
                marks.gathered = BytesMut::new();
            }
        }
        if let (Some(marks), Some(n)) = (&mut self.marks, whole) {
            marks.messages.pop_front();
            marks.bytes -= n;
        }
        self.advance(n, pool);
        Ok(())
    }

    /// Shortens the tail to `len` bytes: takes back what was just appended to it.
    pub(crate) fn cut_tail(&mut self, len: usize) {
        self.tail.truncate(len);
    }

    /// Puts linked payloads in their places: each `at` counts from the start of the tail.
    pub(crate) fn place(&mut self, links: &mut Vec<Link>) {
        let mut cut = 0;
        for link in links.drain(..) {
            let before = self.tail.split_to(link.at - cut);
            cut = link.at;
            self.push(before.freeze());
            self.push(link.bytes);
        }
    }

    /// Appends bytes that exist already: a few are copied, many are linked.
    pub(crate) fn append(&mut self, bytes: Bytes, pool: &mut BufferPool) {
        if bytes.len() < LINK_MIN {
            self.tail(pool).extend_from_slice(&bytes);
        } else {
            if !self.tail.is_empty() {
                let before = self.tail.split();
                self.push(before.freeze());
            }
            self.push(bytes);
        }
    }

    /// Writes once: a plain write for one piece, a vectored one for several. Returns how many bytes the kernel took and
    /// how many it was offered; the difference says that it is full.
    pub(crate) fn write(
        &mut self,
        sink: &mut impl Sink,
        pool: &mut BufferPool,
    ) -> io::Result<Written> {
        let written = if self.segments.is_empty() {
            let offered = self.tail.len();
            Written {
                bytes: sink.write(&self.tail)?,
                offered,
                slices: 1,
            }
        } else if self.segments.len() < SLICES_FEW {
            self.write_pieces::<SLICES_FEW>(sink)?
        } else {
            self.write_pieces::<SLICES_MAX>(sink)?
        };
        self.advance(written.bytes, pool);
        Ok(written)
    }

    /// Offers the first `N` pieces at once. Most often there are few, and even an empty list costs its length.
    fn write_pieces<const N: usize>(&self, sink: &mut impl Sink) -> io::Result<Written> {
        let mut slices = [IoSlice::new(&[]); N];
        let mut count = 0;
        let mut offered = 0;
        let segments = self.segments.iter().map(Segment::bytes);
        let pieces = segments.chain([&self.tail[..]]);
        for piece in pieces.filter(|p| !p.is_empty()).take(N) {
            slices[count] = IoSlice::new(piece);
            offered += piece.len();
            count += 1;
        }
        let bytes = match &slices[..count] {
            [only] => sink.write(only)?,
            several => sink.write_vectored(several)?,
        };
        Ok(Written {
            bytes,
            offered,
            slices: count,
        })
    }

    /// Gives the memory back once everything was sent.
    pub(crate) fn recycle(&mut self, pool: &mut BufferPool) {
        if self.is_empty() && self.tail.capacity() > 0 {
            pool.give(std::mem::take(&mut self.tail));
        }
    }

    /// Bytes waiting.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.segment_bytes + self.tail.len()
    }

    /// Whether nothing waits, not even an empty message.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0 && self.messages() == 0
    }

    fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.segment_bytes += bytes.len();
            self.segments.push_back(Segment::Shared(bytes));
        }
    }

    fn advance(&mut self, mut n: usize, pool: &mut BufferPool) {
        while let Some(first) = self.segments.front_mut() {
            if n == 0 {
                return;
            }
            let part = n.min(first.bytes().len());
            self.segment_bytes -= part;
            n -= part;
            match first {
                Segment::Shared(bytes) => bytes.advance(part),
                Segment::Full(bytes) => bytes.advance(part),
            }
            if first.bytes().is_empty()
                && let Some(Segment::Full(buffer)) = self.segments.pop_front()
            {
                pool.give(buffer);
            }
        }
        if n == self.tail.len() {
            self.tail.clear();
        } else {
            self.tail.advance(n);
        }
    }
}

impl Segment {
    fn bytes(&self) -> &[u8] {
        match self {
            Segment::Shared(bytes) => bytes,
            Segment::Full(bytes) => bytes,
        }
    }
}

/// Where an outbox writes to.
pub(crate) trait Sink {
    /// Takes some bytes of one slice.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Takes some bytes of several slices, in order.
    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
}

/// One write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) bytes: usize,
    pub(crate) offered: usize,
    pub(crate) slices: usize,
}

/// Bytes of a stream handed out at once.
const FRONT_MAX: usize = 64 << 10;

/// A larger buffer for a message in pieces is not kept.
const GATHERED_KEPT_MAX: usize = 64 << 10;

/// Slices of one vectored write.
const SLICES_MAX: usize = 64;

/// Slices of most vectored writes.
const SLICES_FEW: usize = 8;

/// A tail this long is sealed before the next message, so that it need not grow and never has to be moved.
const TAIL_FULL: usize = TAIL - LINK_MIN;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::codec::Output;

    struct Trickle {
        sent: Vec<u8>,
        step: usize,
        calls: usize,
    }

    impl Sink for Trickle {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            let n = bytes.len().min(self.step);
            self.sent.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            self.calls += 1;
            let mut left = self.step;
            for slice in slices {
                let n = slice.len().min(left);
                self.sent.extend_from_slice(&slice[..n]);
                left -= n;
            }
            Ok(self.step - left)
        }
    }

    fn encode(outbox: &mut Outbox, pool: &mut BufferPool, head: &[u8], payload: Bytes) {
        let mut links = Vec::new();
        let mut output = Output::new(outbox.tail(pool), &mut links);
        output.put_slice(head);
        output.append(payload);
        output.put_slice(b"!");
        outbox.place(&mut links);
    }

    #[test]
    fn order_survives_any_write_size() {
        for step in [1, 2, 3, 7, 100, 4096, 5000, 1 << 20] {
            let mut pool = BufferPool::new(1024, 1 << 20);
            let mut outbox = Outbox::default();
            let mut expected = Vec::new();
            let mut sink = Trickle {
                sent: Vec::new(),
                step,
                calls: 0,
            };
            for round in 0..6u8 {
                let size = [3, LINK_MIN, 0, LINK_MIN + 5, 100, 9][round as usize];
                let payload = vec![round; size];
                encode(
                    &mut outbox,
                    &mut pool,
                    &[round, 0xff],
                    payload.clone().into(),
                );
                expected.extend_from_slice(&[round, 0xff]);
                expected.extend_from_slice(&payload);
                expected.push(b'!');
                outbox.append(Bytes::from(vec![b'+'; size]), &mut pool);
                expected.extend_from_slice(&vec![b'+'; size]);
                outbox.write(&mut sink, &mut pool).expect("write");
            }
            while !outbox.is_empty() {
                assert_eq!(outbox.len(), expected.len() - sink.sent.len());
                outbox.write(&mut sink, &mut pool).expect("write");
            }
            assert_eq!(sink.sent, expected, "step {step}");
        }
    }

    #[test]
    fn small_messages_leave_with_one_plain_write() {
        let mut pool = BufferPool::new(1024, 1 << 20);
        let mut outbox = Outbox::default();
        for _ in 0..100 {
            encode(
                &mut outbox,
                &mut pool,
                b"head",
                Bytes::from_static(b"payload"),
            );
        }
        let mut sink = Trickle {
            sent: Vec::new(),
            step: 1 << 20,
            calls: 0,
        };
        let written = outbox.write(&mut sink, &mut pool).expect("write");
        assert_eq!((written.slices, written.bytes, sink.calls), (1, 1200, 1));
        outbox.recycle(&mut pool);
        assert_eq!(outbox.tail.capacity(), 0, "an idle outbox holds no memory");
    }

    #[test]
    fn messages_are_kept_apart_whatever_they_lie_in() {
        let mut pool = BufferPool::new(1024, 1 << 20);
        let mut outbox = Outbox::default();
        outbox.keep_messages();
        outbox.append(Bytes::from_static(b"one"), &mut pool);
        outbox.end_message(None);
        encode(&mut outbox, &mut pool, b"two", vec![7; LINK_MIN].into());
        outbox.end_message(None);
        outbox.end_message(None);
        outbox.append(Bytes::from_static(b"threefour"), &mut pool);
        outbox.end_messages(&[5, 9], None);
        let mut seen = Vec::new();
        while !outbox.is_empty() {
            let taken: Result<(), ()> = outbox.with_front(&mut pool, |message| {
                seen.push(message.to_vec());
                Ok(())
            });
            taken.expect("taken");
        }
        let two = [b"two", &vec![7; LINK_MIN][..], b"!"].concat();
        let expected: [&[u8]; 5] = [b"one", &two, b"", b"three", b"four"];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_long_tail_is_sealed_and_slices_are_bounded() {
        let mut pool = BufferPool::new(1024, 1 << 20);
        let mut outbox = Outbox::default();
        for _ in 0..200 {
            outbox.append(Bytes::from(vec![1; LINK_MIN]), &mut pool);
        }
        let mut sink = Trickle {
            sent: Vec::new(),
            step: 1 << 30,
            calls: 0,
        };
        let written = outbox.write(&mut sink, &mut pool).expect("write");
        assert_eq!(
            (written.slices, written.bytes),
            (SLICES_MAX, SLICES_MAX * LINK_MIN)
        );
        for _ in 0..3 * TAIL_FULL / 1000 {
            outbox.tail(&mut pool).extend_from_slice(&[2; 1000]);
        }
        assert!(outbox.tail.len() < TAIL_FULL + 1000);
    }
}
