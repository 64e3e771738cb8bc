//! Looking at a journal without changing it: what `seamio journal inspect` and `verify` show.

use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;

use super::super::state::State;
use super::disk::{Directory, Disk};
use super::record::{self, Record};
use super::segment::{self, Frames, SegmentHead};
use super::{OpenError, recovery, snapshot};

/// What a sound journal holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The record the snapshot stands for; 0 without one.
    pub snapshot: u64,
    /// The last record.
    pub last: u64,
    /// Segments, spare ones included.
    pub segments: usize,
    /// Frames in them.
    pub frames: u64,
    /// Bytes of torn writes behind the last record, which the next start cuts off, were found.
    pub torn: bool,
    /// Live transactions.
    pub globals: usize,
    /// Live branches.
    pub branches: usize,
    /// Locked rows.
    pub locks: usize,
    /// Tombstones.
    pub tombstones: usize,
    /// The highest id ever given out.
    pub highest_id: i64,
}

/// Reads a whole journal, as a start would, and changes nothing. Another process may own it; what that one writes
/// meanwhile may then look like a torn tail.
///
/// # Errors
///
/// What would stop a start.
pub fn verify(directory: &Path) -> Result<Report, OpenError> {
    verify_disk(&Directory::look(directory))
}

/// As [`verify`], on any disk.
///
/// # Errors
///
/// What would stop a start.
pub fn verify_disk<D: Disk>(disk: &D) -> Result<Report, OpenError> {
    let mut frames = 0;
    let contents = recovery::read(disk, &mut |_, _, walked| {
        frames += walked.frames.len() as u64;
    })?;
    Ok(report(&contents, frames))
}

/// Lists the snapshot, segments, frames, records and live transactions of a journal, for a reader.
///
/// # Errors
///
/// What would stop a start, after what could be listed up to there; or `out` failed.
pub fn inspect(directory: &Path, out: &mut dyn Write) -> Result<Report, OpenError> {
    let disk = Directory::look(directory);
    let mut frames = 0;
    let mut failed = Ok(());
    let contents = recovery::read(&disk, &mut |name, head, walked| {
        frames += walked.frames.len() as u64;
        if failed.is_ok() {
            failed = list_segment(out, name, head, walked);
        }
    })?;
    let report = report(&contents, frames);
    failed
        .and_then(|()| list_state(out, &contents.state, &report))
        .map_err(|error| OpenError::io("output", error))?;
    Ok(report)
}

/// Reads bytes as a segment and then its records, as a start would: the entry of the fuzzer. Returns how many records
/// were applied.
///
/// # Errors
///
/// What would stop a start.
pub fn read_segment(bytes: &[u8]) -> Result<u64, OpenError> {
    let bytes = Bytes::copy_from_slice(bytes);
    let head = SegmentHead::decode(&bytes).map_err(|fault| fault.of("segment"))?;
    let walked = segment::walk("segment", &head, &bytes, None, 0)?;
    let mut state = State::default();
    let mut applied = 0;
    for (at, _, records) in walked.frames {
        applied += apply(&mut state, records, at)?;
    }
    Ok(applied)
}

/// Reads bytes as the records of a segment, from an empty state on: the fuzzer's way past the checksums. Returns how
/// many records were applied.
///
/// # Errors
///
/// What would stop a start.
pub fn read_records(bytes: &[u8]) -> Result<u64, OpenError> {
    apply(&mut State::default(), Bytes::copy_from_slice(bytes), 0)
}

/// Reads bytes as a snapshot: the entry of the fuzzer. Returns how many live transactions it holds.
///
/// # Errors
///
/// What would stop a start.
pub fn read_snapshot(bytes: &[u8]) -> Result<usize, OpenError> {
    let (_, state) = snapshot::read("snapshot", &Bytes::copy_from_slice(bytes))?;
    Ok(state.stats().globals)
}

/// Applies the records of a frame that begins at `at`; returns how many they are.
fn apply(state: &mut State, mut records: Bytes, at: u64) -> Result<u64, OpenError> {
    let damage = |why: &str| super::Damage::new("segment", at, why);
    let mut applied = 0;
    while !records.is_empty() {
        match record::decode(&mut records).map_err(|unreadable| damage(unreadable.0))? {
            Record::Change(change) => state.apply(change).map_err(|misfit| damage(misfit.0))?,
            _ => return Err(damage("an item of a snapshot in a segment").into()),
        }
        applied += 1;
    }
    Ok(applied)
}

fn report(contents: &recovery::Contents, frames: u64) -> Report {
    let stats = contents.state.stats();
    Report {
        snapshot: contents.snapshot,
        last: contents.state.seq().0,
        segments: contents.segments.len(),
        frames,
        torn: contents
            .segments
            .iter()
            .any(|found| !found.strays.is_empty()),
        globals: stats.globals,
        branches: stats.branches,
        locks: stats.locks,
        tombstones: stats.tombstones,
        highest_id: contents.state.highest_id(),
    }
}

fn list_segment(
    out: &mut dyn Write,
    name: &str,
    head: &SegmentHead,
    walked: &Frames,
) -> io::Result<()> {
    writeln!(
        out,
        "segment {name}: {} bytes, {} frames, free from offset {}",
        head.size,
        walked.frames.len(),
        walked.end
    )?;
    for (at, frame, records) in &walked.frames {
        writeln!(
            out,
            "  frame at {at}: records {} to {}, {} bytes, written when {} was durable",
            frame.first,
            frame.next() - 1,
            frame.length,
            frame.durable
        )?;
        let mut records = records.clone();
        for seq in frame.first..frame.next() {
            match record::decode(&mut records) {
                Ok(record) => writeln!(out, "    {seq} {record:?}")?,
                Err(unreadable) => writeln!(out, "    {seq} cannot be read: {}", unreadable.0)?,
            }
        }
    }
    for (at, frame) in &walked.strays {
        writeln!(out, "  torn: a frame of record {} at {at}", frame.first)?;
    }
    Ok(())
}

fn list_state(out: &mut dyn Write, state: &State, report: &Report) -> io::Result<()> {
    let mut listed = Ok(());
    state.scan(&mut |global| {
        if listed.is_ok() {
            listed = list_global(out, global);
        }
    });
    listed?;
    writeln!(
        out,
        "snapshot of record {}, last record {}, highest id {}: {} live transactions, {} branches, \
         {} locked rows, {} tombstones",
        report.snapshot,
        report.last,
        report.highest_id,
        report.globals,
        report.branches,
        report.locks,
        report.tombstones
    )
}

fn list_global(out: &mut dyn Write, global: &super::Global) -> io::Result<()> {
    writeln!(
        out,
        "live {} {} application={:?} group={:?} name={:?} timeout_ms={} begin_ms={} decided_ms={}",
        global.xid,
        global.status,
        global.application_id,
        global.transaction_service_group,
        global.name,
        global.timeout_ms,
        global.begin_ms,
        global.decided_ms
    )?;
    for branch in &global.branches {
        writeln!(
            out,
            "  branch {} {} {} resource={:?} client={:?} lock_key={:?}",
            branch.branch_id,
            branch.branch_type,
            branch.status,
            branch.resource_id,
            branch.client_id,
            branch.lock_key
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::change::Change;
    use super::super::super::{End, NewGlobal, Tombstone};
    use super::*;
    use crate::proto::Text;
    use crate::xid::Xid;

    /// The count of forgotten tombstones was once believed whatever it was, and a start with a damaged one went on for
    /// four billion steps.
    #[test]
    fn a_record_cannot_forget_more_than_there_is() {
        let records = |forgotten| {
            let began = Change::Began(NewGlobal {
                xid: Xid::new("127.0.0.1:8091", 7),
                application_id: Text::new(),
                transaction_service_group: Text::new(),
                name: Text::new(),
                timeout_ms: 1,
                begin_ms: 1,
            });
            let ended = Change::Ended {
                transaction_id: 7,
                tombstone: Tombstone {
                    end: End::Committed,
                    decided_ms: 2,
                    ended_ms: 2,
                },
                forgotten,
            };
            let mut out = Vec::new();
            record::encode_change(&began, &mut out);
            record::encode_change(&ended, &mut out);
            out
        };
        assert_eq!(read_records(&records(0)).expect("sound"), 2);
        for forgotten in [1, u32::MAX] {
            let error = read_records(&records(forgotten)).expect_err("nothing is there yet");
            assert!(error.to_string().contains("forgotten"), "{error}");
        }
    }
}
