//! Frames: what is written and checked as a whole. A frame holds the records of one batch (of a segment) or some items
//! (of a snapshot), under one checksum that also covers the identity of the file, so that bytes of another file, or of
//! an earlier use of this one, are never taken for its own.

use bytes::Bytes;

use super::sums::Sums;

/// The identity of a file, mixed into every checksum in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Salt(u32);

impl Salt {
    pub(super) fn new(journal_id: u64, file_id: u64) -> Self {
        let mut identity = [0; 16];
        identity[..8].copy_from_slice(&journal_id.to_le_bytes());
        identity[8..].copy_from_slice(&file_id.to_le_bytes());
        Self(crc32c::crc32c(&identity))
    }
}

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    /// Bytes of records behind the head.
    pub(super) length: u32,
    /// Number of the first record, from 1.
    pub(super) first: u64,
    /// How many records.
    pub(super) count: u32,
    /// Every record up to this number was on stable storage before this frame was written.
    pub(super) durable: u64,
}

impl FrameHead {
    /// The number after the last record of this frame.
    pub(super) fn next(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    /// Where the next frame begins, relative to this one.
    pub(super) fn span(&self) -> usize {
        span(self.length as usize)
    }

    /// Reads a head without checking its sum; none when the bytes cannot be one.
    fn read(bytes: &[u8]) -> Option<(Self, u32)> {
        let head = bytes.get(..HEAD_BYTES)?;
        let word =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let frame = Self {
            length: word(4),
            first: long(8),
            count: word(16),
            durable: long(24),
        };
        let fits = bytes.len() - HEAD_BYTES >= frame.length as usize;
        let sound = frame.first > 0
            && frame.durable < frame.first
            && frame.first.checked_add(u64::from(frame.count)).is_some()
            // The shortest record is a length, a kind and a number.
            && (u64::from(frame.count) * RECORD_BYTES_MIN <= u64::from(frame.length))
            && (frame.count > 0 || frame.length == 0)
            && word(20) == 0;
        (fits && sound).then(|| (frame, word(0)))
    }
}

/// Bytes that a frame with so many bytes of records takes.
pub(super) fn span(length: usize) -> usize {
    (HEAD_BYTES + length).next_multiple_of(ALIGNMENT)
}

/// Makes room for a head at the end of `out`; returns where it starts.
pub(super) fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    debug_assert!(start.is_multiple_of(ALIGNMENT));
    out.resize(start + HEAD_BYTES, 0);
    start
}

/// Writes the head of the frame that starts at `start`, whose records follow it to the end of `out`, and pads.
pub(super) fn finish(
    out: &mut Vec<u8>,
    start: usize,
    salt: Salt,
    first: u64,
    count: u32,
    durable: u64,
) {
    let length = out.len() - start - HEAD_BYTES;
    let length = u32::try_from(length).expect("a frame is shorter than a segment");
    let head = &mut out[start..start + HEAD_BYTES];
    head[4..8].copy_from_slice(&length.to_le_bytes());
    head[8..16].copy_from_slice(&first.to_le_bytes());
    head[16..20].copy_from_slice(&count.to_le_bytes());
    head[24..32].copy_from_slice(&durable.to_le_bytes());
    let sum = crc32c::crc32c_append(salt.0, &out[start + 4..]);
    out[start..start + 4].copy_from_slice(&sum.to_le_bytes());
    out.resize(start + span(length as usize), 0);
}

/// The frame at `at`, if a sound one is there: its head and its records.
pub(super) fn read(bytes: &Bytes, at: usize, salt: Salt) -> Option<(FrameHead, Bytes)> {
    let (head, sum) = FrameHead::read(bytes.get(at..)?)?;
    let end = at + HEAD_BYTES + head.length as usize;
    (crc32c::crc32c_append(salt.0, &bytes[at + 4..end]) == sum)
        .then(|| (head, bytes.slice(at + HEAD_BYTES..end)))
}

/// Sound frames from `at` on whose records are numbered `expected` or later, wherever they begin. Takes a time in
/// proportion to the bytes, whatever they are.
pub(super) fn strays(
    bytes: &Bytes,
    mut at: usize,
    salt: Salt,
    expected: u64,
) -> Vec<(usize, FrameHead)> {
    let mut found = Vec::new();
    let start = at;
    let mut sums = None;
    while at + HEAD_BYTES <= bytes.len() {
        // The number comes first, since it rules out zeros and the remains of an earlier use without a sum.
        let first = u64::from_le_bytes(bytes[at + 8..at + 16].try_into().expect("eight bytes"));
        if first >= expected
            && let Some((head, sum)) = FrameHead::read(&bytes[at..])
            && let sums = sums.get_or_insert_with(|| Sums::new(bytes, start))
            && sums.append(salt.0, at + 4, at + HEAD_BYTES + head.length as usize) == sum
        {
            found.push((at, head));
            at += head.span();
        } else {
            at += ALIGNMENT;
        }
    }
    found
}

pub(super) const HEAD_BYTES: usize = 32;
/// Frames begin at multiples of this.
pub(super) const ALIGNMENT: usize = 8;
const RECORD_BYTES_MIN: u64 = 13;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_only_under_its_own_identity_and_unchanged() {
        let salt = Salt::new(7, 1);
        let mut out = Vec::new();
        let start = begin(&mut out);
        out.extend([9; 29]);
        finish(&mut out, start, salt, 5, 2, 3);
        assert_eq!(out.len(), 64);
        let bytes = Bytes::from(out.clone());
        let (head, records) = read(&bytes, 0, salt).expect("sound");
        assert_eq!((head.first, head.count, head.durable), (5, 2, 3));
        assert_eq!(records, [9; 29][..]);
        for other in [Salt::new(7, 2), Salt::new(8, 1)] {
            assert!(read(&bytes, 0, other).is_none());
        }
        for at in 0..61 {
            let mut flipped = out.clone();
            flipped[at] ^= 0x10;
            assert!(read(&Bytes::from(flipped), 0, salt).is_none(), "byte {at}");
        }
    }

    #[test]
    fn strays_are_found_behind_garbage() {
        let salt = Salt::new(7, 1);
        let mut out = vec![0xaa; 48];
        let start = begin(&mut out);
        out.extend([1; 13]);
        finish(&mut out, start, salt, 9, 1, 3);
        out.extend([0xee; 40]);
        let bytes = Bytes::from(out);
        let found = strays(&bytes, 0, salt, 4);
        assert_eq!(found.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [48]);
        assert!(strays(&bytes, 0, salt, 10).is_empty());
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "the time it takes is the point")]
    fn text_that_looks_like_heads_of_long_frames_takes_no_quadratic_time() {
        // What a client may have sent: valid text, and every 32 bytes a head whose records reach to the end.
        let mut out = Vec::new();
        let total: usize = 2 << 20;
        while out.len() < total {
            let length = (total - out.len() - HEAD_BYTES) as u32 & 0x7f7f_7f7f;
            out.extend([0x41; 4]);
            out.extend(length.to_le_bytes());
            out.extend([0x7f; 8]);
            out.extend(u32::from(length >= 13).to_le_bytes());
            out.extend([0; 12]);
        }
        assert!(std::str::from_utf8(&out).is_ok());
        let salt = Salt::new(7, 1);
        let at = begin(&mut out);
        out.extend([9; 20]);
        finish(&mut out, at, salt, 5, 1, 3);
        let bytes = Bytes::from(out);
        assert!(FrameHead::read(&bytes[64..]).is_some_and(|(head, _)| head.length > 1 << 20));
        let begun = std::time::Instant::now();
        let found = strays(&bytes, 0, salt, 5);
        let took = begun.elapsed();
        assert_eq!(found.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [at]);
        // Quadratic, these are more than 60 GB to sum.
        assert!(took < std::time::Duration::from_secs(10), "{took:?}");
    }
}
