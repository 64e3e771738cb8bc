//! Segments: files of fixed, pre-allocated size that hold frames one behind the other.
//!
//! Where the frames of a segment stop, zeros follow, or the remains of an earlier use, or a write that was torn. Which of
//! them it is does not matter unless a later frame says that what is missing had been durable: that is damage.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::disk::{Disk, DiskFile};
use super::frame::{self, FrameHead, Salt};
use super::{Damage, OpenError};

/// What the head of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHead {
    pub(super) journal_id: u64,
    pub(super) id: u64,
    /// Bytes of the file, head included.
    pub(super) size: u64,
}

impl SegmentHead {
    pub(super) fn salt(&self) -> Salt {
        Salt::new(self.journal_id, self.id)
    }

    /// Bytes for frames.
    pub(super) fn room(&self) -> u64 {
        self.size - HEAD_BYTES
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut head = encode_head(
            SEGMENT_MAGIC,
            [self.journal_id, self.id, self.size, 0, 0, 0],
        );
        head.resize(HEAD_BYTES as usize, 0);
        head
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeadFault> {
        let [journal_id, id, size, ..] = decode_head(SEGMENT_MAGIC, bytes)?;
        match (HEAD_BYTES..=SEGMENT_BYTES_MAX).contains(&size) {
            true => Ok(Self {
                journal_id,
                id,
                size,
            }),
            false => Err(HeadFault::Damaged("the segment's size is out of range")),
        }
    }
}

/// Why the head of a file cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadFault {
    Newer(u32),
    Damaged(&'static str),
}

impl HeadFault {
    pub(super) fn of(self, file: &str) -> OpenError {
        match self {
            Self::Newer(version) => OpenError::Newer {
                file: file.to_owned(),
                version,
            },
            Self::Damaged(why) => Damage::new(file, 0, why).into(),
        }
    }
}

/// Magic, version, checksum and six numbers: how every file of a journal begins.
pub(super) fn encode_head(magic: &[u8; 8], fields: [u64; 6]) -> Vec<u8> {
    let mut head = Vec::with_capacity(FILE_HEAD_BYTES);
    head.extend(magic);
    head.extend(VERSION.to_le_bytes());
    head.extend([0; 4]);
    fields
        .iter()
        .for_each(|field| head.extend(field.to_le_bytes()));
    let sum = head_sum(&head);
    head[12..16].copy_from_slice(&sum.to_le_bytes());
    head
}

/// Reads what [`encode_head`] wrote.
pub(super) fn decode_head(magic: &[u8; 8], bytes: &[u8]) -> Result<[u64; 6], HeadFault> {
    let Some(head) = bytes.first_chunk::<FILE_HEAD_BYTES>() else {
        return Err(HeadFault::Damaged("the file is shorter than its head"));
    };
    if &head[..8] != magic {
        return Err(HeadFault::Damaged(
            "the file does not begin as one of a journal",
        ));
    }
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if word(8) > VERSION {
        return Err(HeadFault::Newer(word(8)));
    }
    if word(8) != VERSION || word(12) != head_sum(head) {
        return Err(HeadFault::Damaged(
            "the checksum of the file's head is wrong",
        ));
    }
    let long = |field: usize| {
        let at = 16 + field * 8;
        u64::from(word(at)) | u64::from(word(at + 4)) << 32
    };
    Ok(std::array::from_fn(long))
}

fn head_sum(head: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&head[..12]), &head[16..FILE_HEAD_BYTES])
}

/// The frames of a segment, in order, and how they stop.
#[derive(Debug)]
pub(super) struct Frames {
    /// Offset, head, records.
    pub(super) frames: Vec<(u64, FrameHead, Bytes)>,
    /// Where they stop: the next frame would begin here.
    pub(super) end: u64,
    /// Sound frames behind the end: of a write of which an earlier part was lost.
    pub(super) strays: Vec<(u64, FrameHead)>,
}

impl Frames {
    /// The number after the last record.
    pub(super) fn next(&self) -> Option<u64> {
        self.frames.last().map(|(_, head, _)| head.next())
    }
}

/// Walks the frames of a whole segment file. Bytes that are missing at its end count as zeros.
///
/// `before` is the number of the last record in the segments before it, none when they have no records. Unless that is
/// behind the snapshot, the segment may begin anywhere up to the record after the snapshot's: what lies between is not
/// needed.
pub(super) fn walk(
    file: &str,
    head: &SegmentHead,
    bytes: &Bytes,
    before: Option<u64>,
    snapshot: u64,
) -> Result<Frames, Damage> {
    let salt = head.salt();
    let mut frames = Vec::new();
    let mut at = HEAD_BYTES as usize;
    let covered = before.is_none_or(|before| before <= snapshot);
    let mut next = before.unwrap_or(0).max(snapshot).saturating_add(1);
    while let Some((frame, records)) = frame::read(bytes, at, salt) {
        let fits = match frames.is_empty() && covered {
            true => frame.first <= next,
            false => frame.first == next,
        };
        if !fits {
            let why = format!("record {} follows where {next} should", frame.first);
            return Err(Damage::new(file, at as u64, why));
        }
        next = frame.next();
        frames.push((at as u64, frame, records));
        at += frame.span();
    }
    let strays = frame::strays(bytes, at.min(bytes.len()), salt, next);
    let strays: Vec<_> = strays
        .iter()
        .map(|(at, head)| (*at as u64, *head))
        .collect();
    // A frame behind the end that was written when the missing one was durable.
    if let Some((stray, _)) = strays.iter().find(|(_, head)| head.durable >= next) {
        let why = format!(
            "record {next} is damaged or missing; the frame at offset {stray} shows that it was durable"
        );
        return Err(Damage::new(file, at as u64, why));
    }
    Ok(Frames {
        frames,
        end: at as u64,
        strays,
    })
}

/// A segment that is open for writing.
#[derive(Debug)]
pub(super) struct Segment<F> {
    pub(super) head: SegmentHead,
    pub(super) file: F,
    /// Where the next frame goes.
    pub(super) end: u64,
}

/// The id of a segment that is about to be made. Two threads make segments, and a file that both write would lose what was
/// acknowledged: so no id is given twice, not even one whose segment could not be made.
pub(super) fn take_id(next_id: &AtomicU64) -> u64 {
    next_id.fetch_add(1, Ordering::Relaxed)
}

/// Makes an empty segment that is safe to write to: allocated, filled and named before it is used, so that a sync of it
/// has no metadata to write.
pub(super) fn create<D: Disk>(disk: &D, head: SegmentHead) -> io::Result<Segment<D::File>> {
    let file = disk.create(&temporary_name(head.id))?;
    finish(disk, head, file, fill)
}

/// Makes a segment of an old one whose records are not needed any more. Its bytes stay: under the new identity none of
/// them is a frame.
pub(super) fn recycle<D: Disk>(
    disk: &D,
    old: &str,
    head: SegmentHead,
) -> io::Result<Segment<D::File>> {
    let temporary = temporary_name(head.id);
    disk.rename(old, &temporary)?;
    let opened = disk.sync_directory().and_then(|()| disk.open(&temporary));
    let file = opened.inspect_err(|_| {
        let _ = disk.remove(&temporary);
    })?;
    finish(disk, head, file, |file, head| {
        file.write_at(0, &head.encode())?;
        file.sync_data()
    })
}

/// Writes to a new segment what it begins with and names it. Should that fail, the file goes: to give back what was
/// allocated is the only thing that helps when the disk is full.
fn finish<D: Disk>(
    disk: &D,
    head: SegmentHead,
    mut file: D::File,
    write: impl FnOnce(&mut D::File, &SegmentHead) -> io::Result<()>,
) -> io::Result<Segment<D::File>> {
    let (temporary, name) = (temporary_name(head.id), segment_name(head.id));
    let finished = write(&mut file, &head)
        .and_then(|()| disk.rename(&temporary, &name))
        .and_then(|()| disk.sync_directory());
    if let Err(error) = finished {
        drop(file);
        let _ = disk.remove(&temporary);
        // It has its name when only the last step failed, and nothing was ever written to it.
        let _ = disk.remove(&name);
        return Err(error);
    }
    Ok(Segment {
        head,
        file,
        end: HEAD_BYTES,
    })
}

fn fill<F: DiskFile>(file: &mut F, head: &SegmentHead) -> io::Result<()> {
    file.write_at(0, &head.encode())?;
    let zeros = vec![0; FILL_BYTES];
    let mut at = HEAD_BYTES;
    while at < head.size {
        let length = (head.size - at).min(FILL_BYTES as u64);
        file.write_at(at, &zeros[..length as usize])?;
        at += length;
    }
    file.sync_data()
}

pub(super) fn segment_name(id: u64) -> String {
    format!("{id:020}{SEGMENT_SUFFIX}")
}

fn temporary_name(id: u64) -> String {
    format!("{id:020}{SEGMENT_SUFFIX}{TEMPORARY_SUFFIX}")
}

/// The number in a name like those [`segment_name`] gives.
pub(super) fn number_in(name: &str, suffix: &str) -> Option<u64> {
    let number = name.strip_suffix(suffix)?;
    let digits = number.len() == 20 && number.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| number.parse().ok())?
}

pub(super) const SEGMENT_SUFFIX: &str = ".segment";
/// Files that were being made; they go at the next start.
pub(super) const TEMPORARY_SUFFIX: &str = ".tmp";
/// A page, so that no frame shares one with the head.
pub(super) const HEAD_BYTES: u64 = 4096;
pub(super) const SEGMENT_BYTES_MAX: u64 = 1 << 30;
pub(super) const FILE_HEAD_BYTES: usize = 64;
/// The format this program writes; it reads no other.
pub(super) const VERSION: u32 = 1;
const SEGMENT_MAGIC: &[u8; 8] = b"SEAMIOJ\n";
const FILL_BYTES: usize = 1 << 20;
