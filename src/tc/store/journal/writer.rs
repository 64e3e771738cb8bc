//! Writing: what waits becomes one frame, one write, one sync. Natural group commit: nothing waits for a timer, what
//! arrives during a sync goes with the next one.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::disk::{Disk, DiskFile};
use super::segment::{self, Segment, SegmentHead};
use super::{frame, is_full};

/// Records that were submitted together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) first: u64,
    pub(super) count: u32,
    pub(super) records: Vec<u8>,
}

/// Owns the segment that is being written.
#[derive(Debug)]
pub(super) struct Writer<D: Disk> {
    pub(super) disk: D,
    pub(super) journal_id: u64,
    pub(super) active: Segment<D::File>,
    pub(super) spares: VecDeque<Segment<D::File>>,
    /// The last record on stable storage.
    pub(super) durable: u64,
    pub(super) sync_delay: Duration,
    /// For a segment that has to be made at once, because no spare one is there.
    pub(super) urgent_bytes: u64,
    /// Of the next segment, whoever makes it.
    pub(super) next_id: Arc<AtomicU64>,
    /// Making a segment ahead was tried in vain since the last spare one came.
    pub(super) tried_ahead: bool,
    /// A frame takes no further batch above this.
    pub(super) frame_bytes: usize,
    pub(super) buffer: Vec<u8>,
}

/// What writing tells on its way.
#[derive(Debug)]
pub(super) enum Progress {
    /// Everything up to this record is durable; so many bytes were written for it.
    Synced { durable: u64, bytes: u64 },
    /// A segment is full, with so many bytes unused, and the next one is in use.
    Sealed { head: SegmentHead, unused: u64 },
    /// The writer made a spare segment itself, with so much room.
    Made { room: u64 },
    /// A spare segment is in use.
    SpareUsed,
    /// A spare segment came too late to be used: another one with a higher number is in use.
    Late(SegmentHead),
    /// The disk has no room for another segment.
    Full,
}

impl<D: Disk> Writer<D> {
    /// Writes and syncs batches, which follow each other. Returns how many are durable: fewer than there are when the
    /// disk is full and no spare segment is there. Nothing of the others was written; they may be tried again. After an
    /// error the writer must not be used any more.
    pub(super) fn write(
        &mut self,
        batches: &[Batch],
        progress: &mut dyn FnMut(Progress),
    ) -> io::Result<usize> {
        let mut frame = None;
        for (index, batch) in batches.iter().enumerate() {
            let mut open = match frame.take() {
                None => self.open_frame(batch.first),
                Some(open) => open,
            };
            let grown = self.buffer.len() - open.start - frame::HEAD_BYTES + batch.records.len();
            if open.count > 0 && grown > self.frame_bytes {
                self.close_frame(&open);
                open = self.open_frame(batch.first);
            }
            if !self.fits(&open, batch.records.len()) {
                if open.count > 0 {
                    self.close_frame(&open);
                }
                self.buffer.truncate(self.end_of_frames(&open));
                self.sync(batch.first - 1, progress)?;
                if !self.rotate(progress)? {
                    return Ok(index);
                }
                open = self.open_frame(batch.first);
                if !self.fits(&open, batch.records.len()) {
                    return Err(io::Error::other("a batch is larger than a segment"));
                }
            }
            self.buffer.extend_from_slice(&batch.records);
            open.count += batch.count;
            frame = Some(open);
        }
        if let Some(open) = frame {
            self.close_frame(&open);
            self.sync(open.first + u64::from(open.count) - 1, progress)?;
        }
        Ok(batches.len())
    }

    /// A spare segment came.
    pub(super) fn add_spare(&mut self, spare: Segment<D::File>) {
        let behind = |other: &Segment<D::File>| other.head.id < spare.head.id;
        let place = self.spares.partition_point(behind);
        self.spares.insert(place, spare);
        self.tried_ahead = false;
    }

    /// Spare segments came.
    pub(super) fn add_spares(&mut self, spares: impl IntoIterator<Item = Segment<D::File>>) {
        for spare in spares {
            self.add_spare(spare);
        }
    }

    /// Makes a segment when half of the last one is used and nobody else has made one in time. Should the disk be full,
    /// that half is what decisions are recorded in while begins are refused.
    pub(super) fn make_ahead(&mut self, progress: &mut dyn FnMut(Progress)) {
        let left = self.active.head.size - self.active.end;
        if !self.spares.is_empty() || left > self.active.head.room() / 2 || self.tried_ahead {
            return;
        }
        self.tried_ahead = true;
        match self.make(progress) {
            Ok(()) => {}
            Err(error) if is_full(&error) => progress(Progress::Full),
            Err(error) => log::warn!("journal: a segment could not be made ahead: {error}"),
        }
    }

    /// Writes a frame without records: it says that everything before it was durable, so that damage to the last record
    /// is not taken for a torn write after an orderly stop.
    pub(super) fn close(&mut self) -> io::Result<()> {
        if self.durable == 0 || self.active.end + frame::span(0) as u64 > self.active.head.size {
            return Ok(());
        }
        let open = self.open_frame(self.durable + 1);
        self.close_frame(&open);
        self.sync(self.durable, &mut |_| {})
    }

    /// Bytes left for frames in the segments that are there.
    pub(super) fn room(&self) -> u64 {
        let spares: u64 = self.spares.iter().map(|spare| spare.head.room()).sum();
        self.active.head.size - self.active.end + spares
    }

    fn open_frame(&mut self, first: u64) -> OpenFrame {
        OpenFrame {
            start: frame::begin(&mut self.buffer),
            first,
            count: 0,
        }
    }

    fn close_frame(&mut self, open: &OpenFrame) {
        let salt = self.active.head.salt();
        let buffer = &mut self.buffer;
        frame::finish(
            buffer,
            open.start,
            salt,
            open.first,
            open.count,
            self.durable,
        );
    }

    fn end_of_frames(&self, open: &OpenFrame) -> usize {
        match open.count {
            0 => open.start,
            _ => self.buffer.len(),
        }
    }

    fn fits(&self, open: &OpenFrame, more: usize) -> bool {
        let records = self.buffer.len() - open.start - frame::HEAD_BYTES + more;
        let end = self.active.end + (open.start + frame::span(records)) as u64;
        end <= self.active.head.size
    }

    fn sync(&mut self, durable: u64, progress: &mut dyn FnMut(Progress)) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.active.file.write_at(self.active.end, &self.buffer)?;
        if !self.sync_delay.is_zero() {
            self.disk.delay(self.sync_delay);
        }
        self.active.file.sync_data()?;
        let bytes = self.buffer.len() as u64;
        self.active.end += bytes;
        self.durable = durable;
        self.buffer.clear();
        progress(Progress::Synced { durable, bytes });
        Ok(())
    }

    /// Goes on to the next segment. False when there is none, and no room on the disk to make one.
    fn rotate(&mut self, progress: &mut dyn FnMut(Progress)) -> io::Result<bool> {
        let next = loop {
            match self.spares.pop_front() {
                Some(spare) if spare.head.id > self.active.head.id => {
                    progress(Progress::SpareUsed);
                    break spare;
                }
                Some(late) => progress(Progress::Late(late.head)),
                None => match self.make(progress) {
                    Ok(()) => {}
                    // A segment that could not be made is no sync that failed: all that was told is still true.
                    Err(error) if is_full(&error) => {
                        progress(Progress::Full);
                        return Ok(false);
                    }
                    Err(error) => return Err(error),
                },
            }
        };
        self.tried_ahead = false;
        let full = std::mem::replace(&mut self.active, next);
        progress(Progress::Sealed {
            head: full.head,
            unused: full.head.size - full.end,
        });
        Ok(true)
    }

    /// Makes a spare segment that is quick to fill.
    fn make(&mut self, progress: &mut dyn FnMut(Progress)) -> io::Result<()> {
        let head = SegmentHead {
            journal_id: self.journal_id,
            id: segment::take_id(&self.next_id),
            size: self.urgent_bytes,
        };
        let made = segment::create(&self.disk, head)?;
        progress(Progress::Made { room: head.room() });
        self.add_spare(made);
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
struct OpenFrame {
    start: usize,
    first: u64,
    count: u32,
}
