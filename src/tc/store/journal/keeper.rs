//! Housekeeping beside the writer: spare segments are made ahead, full segments become a snapshot and are used again.
//!
//! A snapshot is made from what is on the disk, by replaying the last snapshot and the full segments behind it. The lane
//! that owns the live state has no part in it and never waits for it. The price is a second state in memory while it
//! runs, and that the full segments are read once more, which also proves that they can be read.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::disk::Disk;
use super::recovery;
use super::segment::{self, Segment, SegmentHead};
use super::snapshot;
use super::{OpenError, is_full};

/// Owns every file but the segment that is being written and the spare ones that are handed out.
#[derive(Debug)]
pub(super) struct Keeper<D: Disk> {
    pub(super) disk: D,
    pub(super) journal_id: u64,
    pub(super) segment_bytes: u64,
    /// Spare segments to have at hand.
    pub(super) spares_wanted: usize,
    /// Spare segments handed out and not used yet.
    pub(super) spares: usize,
    /// Full segments are compacted when they have this many bytes.
    pub(super) compact_bytes: u64,
    /// Full segments behind the snapshot, oldest first.
    pub(super) full: VecDeque<SegmentHead>,
    /// Segments that nothing needs.
    pub(super) free: VecDeque<SegmentHead>,
    /// Of the newest snapshot; 0 without one.
    pub(super) snapshot: u64,
    /// Of the next segment, whoever makes it.
    pub(super) next_id: Arc<AtomicU64>,
    /// The writer found the disk full, and no spare segment was made since.
    pub(super) starved: bool,
}

/// What a step did.
#[derive(Debug)]
pub(super) enum Step<F> {
    /// A spare segment for the writer.
    Spare(Segment<F>),
    /// A snapshot was written, of so many bytes.
    Compacted(u64),
    /// No snapshot could be made. It costs much to try, so the next try should wait a while.
    NotCompacted(OpenError),
    /// A segment that nothing needs was removed.
    Removed,
    /// There is nothing to do.
    Idle,
}

impl<D: Disk> Keeper<D> {
    /// A segment became full and another one is in use.
    pub(super) fn handle_sealed(&mut self, head: SegmentHead) {
        self.full.push_back(head);
    }

    /// The writer took a spare segment.
    pub(super) fn handle_spare_used(&mut self) {
        self.spares = self.spares.saturating_sub(1);
    }

    /// The writer made a spare segment itself.
    pub(super) fn handle_made(&mut self) {
        self.spares += 1;
    }

    /// The writer could not make a segment, because the disk is full.
    pub(super) fn handle_full(&mut self) {
        self.starved = true;
    }

    /// Bytes of full segments that no snapshot stands for.
    pub(super) fn uncompacted(&self) -> u64 {
        self.full.iter().map(|head| head.size).sum()
    }

    /// A spare segment was not used.
    pub(super) fn handle_late(&mut self, head: SegmentHead) {
        self.spares = self.spares.saturating_sub(1);
        self.free.push_back(head);
    }

    /// Does the most urgent thing there is; makes a snapshot only if it may.
    ///
    /// # Errors
    ///
    /// The step failed; it may be tried again later. The writer can go on as long as it has room.
    pub(super) fn step(&mut self, may_compact: bool) -> Result<Step<D::File>, OpenError> {
        let may_compact = may_compact && !self.full.is_empty();
        if self.spares < self.spares_wanted || self.starved {
            return match self.make_spare() {
                // A snapshot takes less than the segments it frees, as a rule.
                Err(error) if is_full(&error) && may_compact => Ok(self.compact()),
                made => made.map_err(|error| OpenError::io("a spare segment", error)),
            };
        }
        if may_compact && self.uncompacted() >= self.compact_bytes {
            return Ok(self.compact());
        }
        if self.free.len() > FREE_MAX || self.free.front().is_some_and(|old| self.is_odd(old)) {
            let removed = self.remove_oldest();
            return removed.map_err(|error| OpenError::io("a free segment", error));
        }
        Ok(Step::Idle)
    }

    fn make_spare(&mut self) -> io::Result<Step<D::File>> {
        let head = SegmentHead {
            journal_id: self.journal_id,
            id: segment::take_id(&self.next_id),
            size: self.segment_bytes,
        };
        // The oldest goes first, so that what is left of the log has no gap.
        while self.free.front().is_some_and(|old| self.is_odd(old)) {
            self.remove_oldest()?;
        }
        let segment = match self.free.pop_front() {
            Some(old) => segment::recycle(&self.disk, &segment::segment_name(old.id), head)?,
            None => segment::create(&self.disk, head)?,
        };
        self.spares += 1;
        self.starved = false;
        Ok(Step::Spare(segment))
    }

    fn remove_oldest(&mut self) -> io::Result<Step<D::File>> {
        if let Some(old) = self.free.pop_front() {
            self.disk.remove(&segment::segment_name(old.id))?;
            self.disk.sync_directory()?;
        }
        Ok(Step::Removed)
    }

    /// Has a size that new segments do not have, so it cannot be used again.
    fn is_odd(&self, head: &SegmentHead) -> bool {
        head.size != self.segment_bytes
    }

    fn compact(&mut self) -> Step<D::File> {
        match self.make_snapshot() {
            Ok(bytes) => Step::Compacted(bytes),
            Err(error) => Step::NotCompacted(error),
        }
    }

    /// Turns the full segments into a snapshot; returns its bytes.
    fn make_snapshot(&mut self) -> Result<u64, OpenError> {
        let names: Vec<_> = self
            .full
            .iter()
            .map(|head| segment::segment_name(head.id))
            .collect();
        let old = (self.snapshot > 0).then(|| snapshot::snapshot_name(self.snapshot));
        let state = recovery::replay(&self.disk, self.journal_id, old.as_deref(), &names)?;
        let seq = state.seq().0;
        let file = snapshot::snapshot_name(seq);
        let written = snapshot::write(&self.disk, self.journal_id, &state);
        let bytes = written.map_err(|error| OpenError::io(&file, error))?;
        self.snapshot = seq;
        self.free.extend(self.full.drain(..));
        if let Some(old) = old {
            // Should this fail, the next start removes it.
            if let Err(error) = self.disk.remove(&old) {
                log::warn!("journal: the old snapshot {old} stays: {error}");
            }
        }
        Ok(bytes)
    }
}

/// Segments kept to be used again.
const FREE_MAX: usize = 4;
