//! Opening a journal: the newest snapshot, then every record behind it. Recovery only applies recorded changes, so it is
//! the same each time; it stops at damage instead of leaving records out.

use std::io;

use bytes::Bytes;

use super::super::state::State;
use super::disk::{Disk, DiskFile};
use super::frame::{FrameHead, HEAD_BYTES as FRAME_HEAD_BYTES};
use super::record::{self, Record};
use super::segment::{
    self, Frames, SEGMENT_BYTES_MAX, SEGMENT_SUFFIX, SegmentHead, TEMPORARY_SUFFIX,
};
use super::snapshot::{self, SNAPSHOT_SUFFIX};
use super::{Damage, OpenError};

/// What a journal holds, as far as reading tells.
pub(super) struct Contents {
    /// Of the journal; none when there is no file yet.
    pub(super) journal_id: Option<u64>,
    pub(super) state: State,
    /// The record the newest snapshot stands for; 0 without one.
    pub(super) snapshot: u64,
    /// Every segment, in the order of their numbers.
    pub(super) segments: Vec<Found>,
    /// Files that are not needed: older snapshots, unfinished files.
    pub(super) useless: Vec<String>,
    /// Records applied behind the snapshot.
    pub(super) replayed: u64,
}

/// A segment as it was found.
pub(super) struct Found {
    pub(super) name: String,
    pub(super) head: SegmentHead,
    /// Its last record; none when it has no frames.
    pub(super) last: Option<u64>,
    /// Where its frames stop.
    pub(super) end: u64,
    /// Sound frames behind the end, of a write that was torn.
    pub(super) strays: Vec<(u64, FrameHead)>,
    /// Bytes that the file lacks.
    pub(super) missing: u64,
}

/// Reads a journal and changes nothing. `visit` sees every segment with its frames.
pub(super) fn read<D: Disk>(
    disk: &D,
    visit: &mut dyn FnMut(&str, &SegmentHead, &Frames),
) -> Result<Contents, OpenError> {
    let mut names = disk.list().map_err(|error| OpenError::io(".", error))?;
    names.sort_unstable();
    let of_kind = |suffix: &str| -> Vec<String> {
        let has = |name: &&String| segment::number_in(name, suffix).is_some();
        names.iter().filter(has).cloned().collect()
    };
    let mut contents = Contents {
        journal_id: None,
        state: State::default(),
        snapshot: 0,
        segments: Vec::new(),
        useless: Vec::new(),
        replayed: 0,
    };
    let unfinished = names.iter().filter(|name| name.ends_with(TEMPORARY_SUFFIX));
    contents.useless.extend(unfinished.cloned());
    let mut snapshots = of_kind(SNAPSHOT_SUFFIX);
    if let Some(name) = snapshots.pop() {
        let bytes = read_whole(disk, &name, u64::MAX)?;
        let (head, state) = snapshot::read(&name, &bytes)?;
        if segment::number_in(&name, SNAPSHOT_SUFFIX) != Some(head.seq) {
            return Err(Damage::new(&name, 0, "the name is not that of this snapshot").into());
        }
        contents.journal_id = Some(head.journal_id);
        contents.snapshot = head.seq;
        contents.state = state;
    }
    contents.useless.extend(snapshots);
    let mut last = None;
    for name in of_kind(SEGMENT_SUFFIX) {
        last = contents.read_segment(disk, name, last, visit)?.or(last);
    }
    Ok(contents)
}

/// Applies the records of `segments`, which follow each other, to what `snapshot` holds: how a journal is compacted.
pub(super) fn replay<D: Disk>(
    disk: &D,
    journal_id: u64,
    snapshot: Option<&str>,
    segments: &[String],
) -> Result<State, OpenError> {
    let mut contents = Contents {
        journal_id: Some(journal_id),
        state: State::default(),
        snapshot: 0,
        segments: Vec::new(),
        useless: Vec::new(),
        replayed: 0,
    };
    if let Some(name) = snapshot {
        let (head, state) = snapshot::read(name, &read_whole(disk, name, u64::MAX)?)?;
        contents.snapshot = head.seq;
        contents.state = state;
    }
    let mut last = None;
    for name in segments {
        last = contents
            .read_segment(disk, name.clone(), last, &mut |_, _, _| {})?
            .or(last);
    }
    Ok(contents.state)
}

impl Contents {
    fn read_segment<D: Disk>(
        &mut self,
        disk: &D,
        name: String,
        before: Option<u64>,
        visit: &mut dyn FnMut(&str, &SegmentHead, &Frames),
    ) -> Result<Option<u64>, OpenError> {
        let (head, bytes) = read_segment_file(disk, &name)?;
        if segment::number_in(&name, SEGMENT_SUFFIX) != Some(head.id) {
            return Err(Damage::new(&name, 0, "the name is not that of this segment").into());
        }
        if *self.journal_id.get_or_insert(head.journal_id) != head.journal_id {
            return Err(Damage::new(&name, 0, "the segment is of another journal").into());
        }
        let frames = segment::walk(&name, &head, &bytes, before, self.snapshot)?;
        visit(&name, &head, &frames);
        for (at, frame, records) in &frames.frames {
            let damage = |why: &str| Damage::new(&name, *at, why);
            self.apply(frame, records.clone()).map_err(damage)?;
        }
        let last = frames.next().map(|next| next - 1);
        self.segments.push(Found {
            name,
            head,
            last,
            end: frames.end,
            strays: frames.strays,
            missing: head.size.saturating_sub(bytes.len() as u64),
        });
        Ok(last)
    }

    fn apply(&mut self, frame: &FrameHead, mut records: Bytes) -> Result<(), &'static str> {
        for seq in frame.first..frame.next() {
            let record = record::decode(&mut records).map_err(|unreadable| unreadable.0)?;
            let Record::Change(change) = record else {
                return Err("an item of a snapshot in a segment");
            };
            if seq > self.snapshot {
                self.state.apply(change).map_err(|misfit| misfit.0)?;
                self.replayed += 1;
            }
        }
        match records.is_empty() {
            true => Ok(()),
            false => Err("a frame is longer than its records"),
        }
    }
}

fn read_segment_file<D: Disk>(disk: &D, name: &str) -> Result<(SegmentHead, Bytes), OpenError> {
    let bytes = read_whole(disk, name, SEGMENT_BYTES_MAX)?;
    let head = SegmentHead::decode(&bytes).map_err(|fault| fault.of(name))?;
    let size = (head.size as usize).min(bytes.len());
    Ok((head, bytes.slice(..size)))
}

fn read_whole<D: Disk>(disk: &D, name: &str, most: u64) -> Result<Bytes, OpenError> {
    let read = || -> io::Result<Vec<u8>> {
        let file = disk.open(name)?;
        let length = usize::try_from(file.length()?.min(most)).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        let read = file.read_at(0, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    };
    let bytes = read().map_err(|error| OpenError::io(name, error))?;
    Ok(Bytes::from(bytes))
}

/// Makes what was read safe to go on from: unfinished files go, torn frames behind the end are broken for good (else a
/// new frame that ends where one begins would bring it back), and what is about to be told is synced.
pub(super) fn settle<D: Disk>(disk: &D, contents: &Contents) -> Result<(), OpenError> {
    for name in &contents.useless {
        disk.remove(name)
            .map_err(|error| OpenError::io(name, error))?;
    }
    let used = contents
        .segments
        .iter()
        .rposition(|found| found.last.is_some());
    for (index, found) in contents.segments.iter().enumerate() {
        let last = Some(index) == used;
        if !last && found.strays.is_empty() {
            continue;
        }
        let settle = || -> io::Result<()> {
            let mut file = disk.open(&found.name)?;
            for (at, _) in &found.strays {
                file.write_at(*at, &[0; FRAME_HEAD_BYTES])?;
            }
            if last && found.missing > 0 {
                file.write_at(found.head.size - 1, &[0])?;
            }
            file.sync_data()
        };
        settle().map_err(|error| OpenError::io(&found.name, error))?;
    }
    sync_names(disk)
}

fn sync_names<D: Disk>(disk: &D) -> Result<(), OpenError> {
    disk.sync_directory()
        .map_err(|error| OpenError::io(".", error))
}
