//! A simulated directory: it keeps what was synced and any part of what was not, and fails when it is told to.
//!
//! # What a crash leaves
//!
//! - Of every sector (512 bytes) written since the last sync of its file: the old bytes or the new ones, each sector on
//!   its own.
//! - Of a file's growth since its last sync: all or nothing.
//! - Of names made, changed or removed since the last sync of the directory: those up to some point in their order, as
//!   journaling file systems do.
//!
//! All choices come from the seed, so a run can be repeated.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::tc::store::journal::disk::{Disk, DiskFile};

/// A simulated directory. Clones are the same one; it outlives the "process" that uses it.
#[derive(Clone, Debug)]
pub struct SimDisk {
    inner: Arc<Mutex<Inner>>,
    /// Handles of an earlier process do not work any more.
    life: u64,
}

/// An open file of a [`SimDisk`].
#[derive(Debug)]
pub struct SimFile {
    disk: SimDisk,
    id: usize,
}

/// What goes wrong at an operation that changes the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails and does nothing; a failed sync may have synced any part.
    Fail,
    /// A write stops after some of its bytes and fails; other operations fail.
    Short,
    /// Power fails during the operation: everything fails from here on, until [`SimDisk::crash`].
    Power,
}

#[derive(Debug, Default)]
struct Inner {
    files: Vec<FileData>,
    /// Names as the process sees them.
    names: BTreeMap<String, usize>,
    /// Names after each directory operation since the last sync of the directory; the first is what is safe.
    history: Vec<BTreeMap<String, usize>>,
    random: u64,
    /// Operations that changed something, or tried to.
    operations: u64,
    fault: Option<(u64, Fault)>,
    power: bool,
    life: u64,
    /// Bytes that all files may have.
    capacity: Option<u64>,
    identities: u64,
    syncs: u64,
}

#[derive(Clone, Debug, Default)]
struct FileData {
    current: Vec<u8>,
    safe: Vec<u8>,
    /// Sectors that differ, perhaps, from what is safe.
    unsynced: BTreeMap<usize, ()>,
}

impl SimDisk {
    /// An empty directory.
    pub fn new(seed: u64) -> Self {
        let inner = Inner {
            random: seed,
            history: vec![BTreeMap::new()],
            ..Inner::default()
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            life: 0,
        }
    }

    /// Ends the process, and with it what was not synced, more or less. What it had open stays useless. The disk that is
    /// returned is for the next process.
    #[must_use]
    pub fn crash(&self) -> Self {
        let mut inner = self.lock();
        inner.lose_power();
        self.next_life(&mut inner)
    }

    /// Ends the process, but not the machine: everything written is still there, though perhaps not safe.
    #[must_use]
    pub fn kill(&self) -> Self {
        let mut inner = self.lock();
        if inner.power {
            inner.lose_power();
        }
        self.next_life(&mut inner)
    }

    /// An independent copy of all that is there, safe or not.
    #[must_use]
    pub fn fork(&self, seed: u64) -> Self {
        let inner = self.lock();
        let copy = Inner {
            files: inner.files.clone(),
            names: inner.names.clone(),
            history: inner.history.clone(),
            random: seed,
            capacity: inner.capacity,
            life: inner.life,
            identities: inner.identities,
            ..Inner::default()
        };
        Self {
            inner: Arc::new(Mutex::new(copy)),
            life: self.life,
        }
    }

    /// Lets the operation number `at` (see [`SimDisk::operations`]) go wrong.
    pub fn set_fault(&self, at: u64, fault: Fault) {
        self.lock().fault = Some((at, fault));
    }

    /// How many operations tried to change the disk so far.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// How many syncs of files succeeded.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Limits the bytes of all files together; none lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// Bytes of all files that have a name.
    pub fn used(&self) -> u64 {
        self.lock().used()
    }

    /// The bytes of a file as the process sees them.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let inner = self.lock();
        let id = *inner.names.get(name)?;
        Some(inner.files[id].current.clone())
    }

    /// Replaces a file, safely: for damage done by hand.
    pub fn set_contents(&self, name: &str, bytes: Vec<u8>) {
        let mut inner = self.lock();
        inner.files.push(FileData {
            current: bytes.clone(),
            safe: bytes,
            unsynced: BTreeMap::new(),
        });
        let id = inner.files.len() - 1;
        inner.names.insert(name.to_owned(), id);
        inner.history = vec![inner.names.clone()];
    }

    /// Flips one bit of a file, safely.
    pub fn flip(&self, name: &str, offset: usize, bit: u8) {
        let mut inner = self.lock();
        let id = inner.names[name];
        let file = &mut inner.files[id];
        file.current[offset] ^= 1 << bit;
        if let Some(byte) = file.safe.get_mut(offset) {
            *byte ^= 1 << bit;
        }
    }

    fn next_life(&self, inner: &mut Inner) -> Self {
        inner.life += 1;
        inner.power = false;
        inner.fault = None;
        Self {
            inner: self.inner.clone(),
            life: inner.life,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no user of the disk panicked")
    }

    /// Starts an operation that only reads.
    fn reading(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let inner = self.lock();
        match inner.power || inner.life != self.life {
            true => Err(io::Error::other("the power is off")),
            false => Ok(inner),
        }
    }

    /// Starts an operation that changes something.
    fn changing(&self) -> io::Result<(MutexGuard<'_, Inner>, Option<Fault>)> {
        let mut inner = self.reading()?;
        let number = inner.operations;
        inner.operations += 1;
        let fault = inner.fault.filter(|(at, _)| *at == number);
        let fault = fault.map(|(_, fault)| fault);
        inner.power |= fault == Some(Fault::Power);
        Ok((inner, fault))
    }

    fn change_names(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, usize>) -> io::Result<()>,
    ) -> io::Result<()> {
        let (mut inner, fault) = self.changing()?;
        // When power fails during the operation it may have been done.
        if fault.is_none() || (fault == Some(Fault::Power) && inner.random(2) == 0) {
            change(&mut inner.names)?;
            let names = inner.names.clone();
            inner.history.push(names);
        }
        failed(fault)
    }
}

impl Inner {
    fn random(&mut self, below: u64) -> u64 {
        // SplitMix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn used(&self) -> u64 {
        let files = self.names.values().map(|id| &self.files[*id]);
        files.map(|file| file.current.len() as u64).sum()
    }

    /// Makes any part of what was written to a file safe.
    fn sync_some(&mut self, id: usize) {
        let length = self.files[id].current.len();
        if length != self.files[id].safe.len() && self.random(2) == 0 {
            self.files[id].safe.resize(length, 0);
        }
        let sectors: Vec<_> = self.files[id].unsynced.keys().copied().collect();
        // Now and then all or nothing, else each sector on its own.
        let mode = self.random(4);
        for sector in sectors {
            let kept = match mode {
                0 => true,
                1 => false,
                _ => self.random(2) == 0,
            };
            let file = &mut self.files[id];
            let start = sector * SECTOR;
            let end = (start + SECTOR)
                .min(file.current.len())
                .min(file.safe.len());
            if kept && start < end {
                file.safe[start..end].copy_from_slice(&file.current[start..end]);
            }
        }
    }

    fn lose_power(&mut self) {
        for id in 0..self.files.len() {
            self.sync_some(id);
            let file = &mut self.files[id];
            file.current = file.safe.clone();
            file.unsynced.clear();
        }
        let kept = self.random(self.history.len() as u64) as usize;
        self.names = self.history.swap_remove(kept);
        self.history = vec![self.names.clone()];
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.reading()?.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<SimFile> {
        let id = {
            let mut inner = self.reading()?;
            inner.files.push(FileData::default());
            inner.files.len() - 1
        };
        self.change_names(|names| {
            names.insert(name.to_owned(), id);
            Ok(())
        })?;
        Ok(SimFile {
            disk: self.clone(),
            id,
        })
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        let inner = self.reading()?;
        let id = *inner.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(SimFile {
            disk: self.clone(),
            id,
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change_names(|names| {
            let id = names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            names.insert(to.to_owned(), id);
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change_names(|names| {
            names.remove(name).ok_or(io::ErrorKind::NotFound)?;
            Ok(())
        })
    }

    fn sync_directory(&self) -> io::Result<()> {
        let (mut inner, fault) = self.changing()?;
        if fault.is_none() {
            inner.history = vec![inner.names.clone()];
        }
        failed(fault)
    }

    fn new_identity(&self) -> u64 {
        let mut inner = self.lock();
        inner.identities += 1;
        inner.identities
    }

    fn delay(&self, _: std::time::Duration) {}
}

impl DiskFile for SimFile {
    fn length(&self) -> io::Result<u64> {
        let inner = self.disk.reading()?;
        Ok(inner.files[self.id].current.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let inner = self.disk.reading()?;
        let bytes = &inner.files[self.id].current;
        let start = (offset as usize).min(bytes.len());
        let length = into.len().min(bytes.len() - start);
        into[..length].copy_from_slice(&bytes[start..start + length]);
        Ok(length)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (mut inner, fault) = self.disk.changing()?;
        let written = match fault {
            None | Some(Fault::Power) => bytes,
            Some(Fault::Short) => &bytes[..inner.random(bytes.len() as u64 + 1) as usize],
            Some(Fault::Fail) => &[],
        };
        let start = offset as usize;
        let end = start + written.len();
        let grows = end.saturating_sub(inner.files[self.id].current.len()) as u64;
        if inner
            .capacity
            .is_some_and(|most| grows > 0 && inner.used() + grows > most)
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = &mut inner.files[self.id];
        if end > file.current.len() {
            file.current.resize(end, 0);
        }
        file.current[start..end].copy_from_slice(written);
        if start < end {
            for sector in start / SECTOR..=(end - 1) / SECTOR {
                file.unsynced.insert(sector, ());
            }
        }
        failed(fault)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let (mut inner, fault) = self.disk.changing()?;
        if fault.is_some() {
            // What failed to be synced is forgotten by the operating system too: a second sync would not bring it.
            inner.sync_some(self.id);
            return failed(fault);
        }
        inner.syncs += 1;
        let file = &mut inner.files[self.id];
        file.safe.resize(file.current.len(), 0);
        for sector in std::mem::take(&mut file.unsynced).into_keys() {
            let start = sector * SECTOR;
            let end = (start + SECTOR).min(file.current.len());
            file.safe[start..end].copy_from_slice(&file.current[start..end]);
        }
        Ok(())
    }
}

fn failed(fault: Option<Fault>) -> io::Result<()> {
    match fault {
        None => Ok(()),
        Some(_) => Err(io::Error::other("the disk was told to fail")),
    }
}

/// What a disk writes as a whole.
const SECTOR: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_keeps_what_was_synced_and_any_sectors_of_the_rest() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let disk = SimDisk::new(seed);
            let mut file = disk.create("f").unwrap();
            file.write_at(0, &[1; 2048]).unwrap();
            file.sync_data().unwrap();
            disk.sync_directory().unwrap();
            file.write_at(512, &[2; 1024]).unwrap();
            let disk = disk.crash();
            assert!(file.write_at(0, &[3]).is_err(), "a handle of the last life");
            let bytes = disk.contents("f").expect("the name was synced");
            assert_eq!((bytes[0], bytes[1536], bytes.len()), (1, 1, 2048));
            seen.insert((bytes[512], bytes[1024]));
        }
        assert_eq!(seen.len(), 4, "every subset of the two sectors");
    }

    #[test]
    fn a_name_that_was_not_synced_may_be_lost_and_a_full_disk_refuses_growth() {
        let lost = (0..50).filter(|seed| {
            let disk = SimDisk::new(*seed);
            disk.create("f").unwrap();
            disk.crash().contents("f").is_none()
        });
        let lost = lost.count();
        assert!(0 < lost && lost < 50, "{lost}");
        let disk = SimDisk::new(1);
        disk.set_capacity(Some(1000));
        let mut file = disk.create("f").unwrap();
        file.write_at(0, &[0; 1000]).unwrap();
        let error = file.write_at(1000, &[0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        file.write_at(10, &[5; 100]).unwrap();
    }
}
