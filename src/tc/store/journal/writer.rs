//! Writing: what waits becomes one frame, one write, one sync. Natural group commit: nothing waits for a timer, what
//! arrives during a sync goes with the next one.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::disk::{Disk, DiskFile};
use super::frame;
use super::segment::{self, Segment, SegmentHead};

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
    /// A segment had to be made at once.
    Made { id: u64, room: u64 },
    /// A spare segment is in use.
    SpareUsed(u64),
    /// A spare segment came too late to be used: another one with a higher number is in use.
    Late(SegmentHead),
}

impl<D: Disk> Writer<D> {
    /// Writes and syncs batches, which follow each other. After an error the writer must not be used any more.
    pub(super) fn write(
        &mut self,
        batches: &[Batch],
        progress: &mut dyn FnMut(Progress),
    ) -> io::Result<()> {
        let mut frame = None;
        for batch in batches {
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
                self.rotate(progress)?;
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
        Ok(())
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

    fn rotate(&mut self, progress: &mut dyn FnMut(Progress)) -> io::Result<()> {
        let next = loop {
            match self.spares.pop_front() {
                Some(spare) if spare.head.id > self.active.head.id => {
                    progress(Progress::SpareUsed(spare.head.id));
                    break spare;
                }
                Some(late) => progress(Progress::Late(late.head)),
                None => {
                    let head = SegmentHead {
                        journal_id: self.journal_id,
                        // Spare segments that are being made have numbers just behind the active one's.
                        id: self.active.head.id + SPARES_MAX,
                        size: self.urgent_bytes,
                    };
                    let made = segment::create(&self.disk, head)?;
                    progress(Progress::Made {
                        id: head.id,
                        room: head.room(),
                    });
                    break made;
                }
            }
        };
        let full = std::mem::replace(&mut self.active, next);
        progress(Progress::Sealed {
            head: full.head,
            unused: full.head.size - full.end,
        });
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
struct OpenFrame {
    start: usize,
    first: u64,
    count: u32,
}

/// Fewer spare segments than this are ever being made.
pub(super) const SPARES_MAX: u64 = 64;
