//! Snapshots: the state after one record, so that the segments up to it can be used again.
//!
//! A snapshot is written beside what it replaces, synced, and only then named. One that cannot be read is therefore
//! damage, never the trace of a crash.

use std::io;

use bytes::Bytes;

use super::super::state::{KeptBranch, State};
use super::super::{Global, Seq};
use super::disk::{Disk, DiskFile};
use super::frame::{self, Salt};
use super::record::{self, Record};
use super::segment::{self, FILE_HEAD_BYTES, HeadFault, TEMPORARY_SUFFIX};
use super::{Damage, OpenError};

/// What the head of a snapshot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SnapshotHead {
    pub(super) journal_id: u64,
    /// The last record it contains.
    pub(super) seq: u64,
    pub(super) highest_id: i64,
    /// Items in all: transactions, branches, tombstones.
    pub(super) items: u64,
    /// Bytes of the file.
    pub(super) size: u64,
}

impl SnapshotHead {
    fn encode(&self) -> Vec<u8> {
        let highest_id = self.highest_id as u64;
        let fields = [
            self.journal_id,
            self.seq,
            highest_id,
            self.items,
            self.size,
            0,
        ];
        segment::encode_head(SNAPSHOT_MAGIC, fields)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeadFault> {
        let [journal_id, seq, highest_id, items, size, _] =
            segment::decode_head(SNAPSHOT_MAGIC, bytes)?;
        Ok(Self {
            journal_id,
            seq,
            highest_id: highest_id as i64,
            items,
            size,
        })
    }
}

/// Writes the state as the snapshot after its last change and gives it its name. Returns the bytes written.
pub(super) fn write<D: Disk>(disk: &D, journal_id: u64, state: &State) -> io::Result<u64> {
    let seq = state.seq().0;
    let temporary = format!("{}{TEMPORARY_SUFFIX}", snapshot_name(seq));
    let mut file = disk.create(&temporary)?;
    let written = write_items(&mut file, journal_id, state);
    let size = match written {
        Ok(size) => size,
        Err(error) => {
            drop(file);
            let _ = disk.remove(&temporary);
            return Err(error);
        }
    };
    disk.rename(&temporary, &snapshot_name(seq))?;
    disk.sync_directory()?;
    Ok(size)
}

fn write_items<F: DiskFile>(file: &mut F, journal_id: u64, state: &State) -> io::Result<u64> {
    let mut chunks = Chunks {
        salt: Salt::new(journal_id, !state.seq().0),
        buffer: Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8),
        start: 0,
        count: 0,
        items: 0,
        at: FILE_HEAD_BYTES as u64,
        file,
    };
    chunks.start = frame::begin(&mut chunks.buffer);
    for entry in state.entries() {
        record::encode_global(entry, &mut chunks.buffer);
        chunks.count += 1;
        for (branch, held) in entry.global.branches.iter().zip(&entry.held) {
            record::encode_branch(branch, held.is_some(), &mut chunks.buffer);
            chunks.count += 1;
            chunks.write_if(CHUNK_BYTES)?;
        }
        chunks.write_if(CHUNK_BYTES)?;
    }
    for (address, id, tombstone) in state.tombstones.iter() {
        record::encode_tombstone_item(address, id, tombstone, &mut chunks.buffer);
        chunks.count += 1;
        chunks.write_if(CHUNK_BYTES)?;
    }
    chunks.write_if(0)?;
    let head = SnapshotHead {
        journal_id,
        seq: state.seq().0,
        highest_id: state.highest_id(),
        items: chunks.items,
        size: chunks.at,
    };
    file.write_at(0, &head.encode())?;
    file.sync_data()?;
    Ok(head.size)
}

struct Chunks<'a, F> {
    salt: Salt,
    buffer: Vec<u8>,
    start: usize,
    count: u32,
    items: u64,
    at: u64,
    file: &'a mut F,
}

impl<F: DiskFile> Chunks<'_, F> {
    fn write_if(&mut self, above: usize) -> io::Result<()> {
        if self.count == 0 || self.buffer.len() <= above {
            return Ok(());
        }
        frame::finish(
            &mut self.buffer,
            self.start,
            self.salt,
            self.items + 1,
            self.count,
            0,
        );
        self.file.write_at(self.at, &self.buffer)?;
        self.at += self.buffer.len() as u64;
        self.items += u64::from(self.count);
        self.count = 0;
        self.buffer.clear();
        self.start = frame::begin(&mut self.buffer);
        Ok(())
    }
}

/// Reads a whole snapshot file.
pub(super) fn read(file: &str, bytes: &Bytes) -> Result<(SnapshotHead, State), OpenError> {
    let head = SnapshotHead::decode(bytes).map_err(|fault| fault.of(file))?;
    let mut loader = Loader {
        state: State::at(Seq(head.seq), head.highest_id),
        open: None,
    };
    let salt = Salt::new(head.journal_id, !head.seq);
    let mut at = FILE_HEAD_BYTES;
    let mut items = 0;
    while items < head.items {
        let damage = |why: &str| Damage::new(file, at as u64, why);
        let Some((frame, mut records)) = frame::read(bytes, at, salt) else {
            return Err(damage("the checksum of a snapshot's frame is wrong").into());
        };
        if frame.first != items + 1 || frame.count == 0 {
            return Err(damage("the items of a snapshot do not follow each other").into());
        }
        for _ in 0..frame.count {
            let item = record::decode(&mut records).map_err(|unreadable| damage(unreadable.0))?;
            loader.load(item).map_err(damage)?;
        }
        if !records.is_empty() {
            return Err(damage("a snapshot's frame is longer than its items").into());
        }
        items += u64::from(frame.count);
        at += frame.span();
    }
    let damage = |why: &str| Damage::new(file, at as u64, why);
    if loader.open.is_some() {
        return Err(damage(LACKS_BRANCHES).into());
    }
    if at as u64 != head.size || bytes.len() != at {
        return Err(damage("the snapshot's length is not what its head says").into());
    }
    if loader.state.highest_id() != head.highest_id {
        return Err(damage("an id is above the highest that the head says").into());
    }
    Ok((head, loader.state))
}

/// Builds a state from items.
struct Loader {
    state: State,
    /// A transaction whose branches are being read, and how many are to come.
    open: Option<OpenGlobal>,
}

struct OpenGlobal {
    global: Global,
    settled: bool,
    branches: Vec<KeptBranch>,
    missing: u32,
}

impl Loader {
    fn load(&mut self, item: Record) -> Result<(), &'static str> {
        let open = self.open.take();
        match (item, open) {
            (Record::Branch(branch), Some(mut open)) => {
                open.branches.push(branch);
                open.missing -= 1;
                self.keep(open)
            }
            (_, Some(_)) => Err(LACKS_BRANCHES),
            (
                Record::Global {
                    global,
                    settled,
                    branches,
                },
                None,
            ) => self.keep(OpenGlobal {
                global,
                settled,
                branches: Vec::new(),
                missing: branches,
            }),
            (Record::Tombstone { xid, tombstone }, None) => {
                let restored = self.state.restore_tombstone(&xid, tombstone);
                restored.map_err(|misfit| misfit.0)
            }
            (Record::Branch(_), None) => Err("a branch of a snapshot lacks its transaction"),
            (Record::Change(_), None) => Err("a change in a snapshot"),
        }
    }

    fn keep(&mut self, open: OpenGlobal) -> Result<(), &'static str> {
        if open.missing > 0 {
            self.open = Some(open);
            return Ok(());
        }
        let restored = self.state.restore(open.global, open.branches, open.settled);
        restored.map_err(|misfit| misfit.0)
    }
}

pub(super) fn snapshot_name(seq: u64) -> String {
    format!("{seq:020}{SNAPSHOT_SUFFIX}")
}

pub(super) const SNAPSHOT_SUFFIX: &str = ".snapshot";
const SNAPSHOT_MAGIC: &[u8; 8] = b"SEAMIOP\n";
const LACKS_BRANCHES: &str = "a transaction of a snapshot lacks branches";
const CHUNK_BYTES: usize = 256 << 10;
