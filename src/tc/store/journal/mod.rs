//! The durable store without a database: the resident state and an append-only log of what changed it.
//!
//! # What it guarantees
//!
//! - What [`Store::durable`] has reached survives `kill -9` and power loss. Recovery gives the state after a prefix of
//!   the log that contains all of it.
//! - A torn tail is cut. Damage to anything that had been durable stops the start with the file and the offset.
//! - A sync error is final: nothing is acknowledged after it, every later operation answers [`Outcome::Failed`].
//! - When the disk is full, transactions and branches that would begin are refused, while there is still room to record
//!   decisions in space that was allocated before.
//!   The log is compacted then, however short it is. What was taken and finds no room waits until there is some: a full
//!   disk is no failure.
//! - A panic of one of its threads is a failure, like a sync error.
//! - One process owns a directory.
//!
//! # How
//!
//! An operation is decided on the state and applied at once; its change is encoded into a buffer that
//! [`Store::flush`] hands to a sync thread. That thread takes everything that waits, writes it with one call, syncs once
//! and publishes how far the log is durable. It never waits for more to come. A second thread makes spare segments and
//! snapshots. The thread that owns the store makes no system call but the wake-up of a sleeping sync thread.
//!
//! The format is in [`manual::journal_format`](crate::manual::journal_format). It follows design.md 1, 3 and 4 and proof.md 21 to 25. It leaves out
//! replication and more than one writer.

pub mod disk;
mod frame;
mod inspect;
mod keeper;
mod opening;
mod record;
mod recovery;
mod segment;
mod snapshot;
mod sums;
#[cfg(test)]
mod tests;
mod threads;
mod writer;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use disk::{Directory, Disk};
use keeper::Keeper;
use opening::open;
use threads::Threads;
use writer::{Batch, Progress, Writer};

pub use inspect::{
    Report, inspect, read_records, read_segment, read_snapshot, verify, verify_disk,
};

use super::change::Change;
use super::state::State;
use super::{Completion, Global, Operation, Outcome, Seq, Store, StoreLimits, StoreStats, Ticket};

/// Settings of a journal.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// What the store accepts.
    pub limits: StoreLimits,
    /// Bytes of a segment. At most 1 GiB; at least four times the largest record that the limits allow.
    pub segment_bytes: u64,
    /// Bytes of the first segment, and of one that has to be made in a hurry: quick to fill with zeros.
    pub first_segment_bytes: u64,
    /// Spare segments made ahead. With two, one is left while a snapshot is made and the other one fills up.
    pub spare_segments: usize,
    /// A snapshot is made when full segments have this many bytes.
    pub compact_bytes: u64,
    /// When the disk is full, what would begin is refused below this many bytes of allocated space.
    pub reserve_bytes: u64,
    /// An artificial delay before each sync, to measure with.
    pub sync_delay: Duration,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            limits: StoreLimits::default(),
            segment_bytes: 8 << 20,
            first_segment_bytes: 5 << 20,
            spare_segments: 2,
            compact_bytes: 64 << 20,
            reserve_bytes: 12 << 20,
            sync_delay: Duration::ZERO,
        }
    }
}

impl JournalConfig {
    fn check(&self) -> Result<(), OpenError> {
        let least = 4 * self.limits.change_bytes_max() as u64 + segment::HEAD_BYTES;
        let range = least..=segment::SEGMENT_BYTES_MAX;
        let sizes = [self.segment_bytes, self.first_segment_bytes];
        if !sizes.iter().all(|size| range.contains(size)) {
            return Err(OpenError::Config(format!(
                "a segment must have {} to {} bytes with these limits",
                range.start(),
                range.end()
            )));
        }
        if self.spare_segments > SPARES_MAX / 2 {
            return Err(OpenError::Config("too many spare segments".to_owned()));
        }
        Ok(())
    }

    /// A batch is handed over at this size, so that it fits into every segment.
    fn batch_bytes(&self) -> usize {
        let segment = self.segment_bytes.min(self.first_segment_bytes);
        (segment as usize / 4).min(1 << 20)
    }
}

/// What the sync thread tells.
#[derive(Debug)]
pub enum Durable {
    /// Everything up to here is on stable storage.
    UpTo(Seq),
    /// The journal failed, for good.
    Failed(io::Error),
}

/// Called on a thread of the journal whenever there is something to tell; it should wake the thread that owns the store.
pub type Notify = Box<dyn Fn(Durable) + Send + Sync>;

/// Damage to a journal: what had been durable cannot be read any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file's name in the journal's directory.
    pub file: String,
    /// Where, in bytes from its start.
    pub offset: u64,
    /// What is wrong.
    pub why: String,
}

impl Damage {
    fn new(file: &str, offset: u64, why: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            offset,
            why: why.into(),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is damaged at offset {}: {}",
            self.file, self.offset, self.why
        )
    }
}

impl std::error::Error for Damage {}

/// Why a journal cannot be opened or read.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The operating system refused.
    Io {
        /// What it was about.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// The journal is damaged. Restore it from a copy; it is never started without what is missing.
    Damage(Damage),
    /// A newer version of this program wrote the journal.
    Newer {
        /// The file.
        file: String,
        /// The format it has.
        version: u32,
    },
    /// Another process owns the directory.
    InUse,
    /// The settings do not fit together.
    Config(String),
}

impl OpenError {
    fn io(file: &str, error: io::Error) -> Self {
        Self::Io {
            file: file.to_owned(),
            error,
        }
    }

    fn is_full(&self) -> bool {
        matches!(self, Self::Io { error, .. } if is_full(error))
    }
}

impl From<Damage> for OpenError {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { file, error } => write!(f, "journal: {file}: {error}"),
            Self::Damage(damage) => write!(f, "journal: {damage}"),
            Self::Newer { file, version } => write!(
                f,
                "journal: {file} has format {version}, this program reads {}: use a newer one",
                segment::VERSION
            ),
            Self::InUse => f.write_str("journal: another process owns the directory"),
            Self::Config(why) => write!(f, "journal: {why}"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// What the threads of a journal tell each other without waiting.
#[derive(Debug, Default)]
struct Shared {
    durable: AtomicU64,
    /// Why the journal failed; set once, read without waiting.
    failed: OnceLock<String>,
    /// The last try to make a segment found the disk full.
    full: AtomicBool,
    /// Bytes of full segments that no snapshot stands for.
    uncompacted: AtomicU64,
    /// Bytes for frames in the segments that are there.
    room: AtomicU64,
    /// Bytes of records that were handed over and are synced.
    taken: AtomicU64,
    syncs: AtomicU64,
    bytes: AtomicU64,
}

/// The durable store. See the module for what it guarantees.
pub struct JournalStore<D: Disk = Directory> {
    state: State,
    limits: StoreLimits,
    completions: VecDeque<Completion>,
    /// Records since the last batch was handed over.
    records: Vec<u8>,
    count: u32,
    batch_bytes: usize,
    reserve_bytes: u64,
    /// Bytes that were handed over, or will be, as the room they take at most.
    handed: u64,
    shared: Arc<Shared>,
    link: Link<D>,
}

enum Link<D: Disk> {
    Threads(Threads),
    Inline(Box<Inline<D>>),
}

/// Writer and keeper of a journal without threads.
struct Inline<D: Disk> {
    writer: Writer<D>,
    keeper: Keeper<D>,
    waiting: Vec<Batch>,
}

impl JournalStore {
    /// Opens the journal in `directory`, which is made when it is not there, and starts its threads.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]. Nothing that was durable is changed by a refused start.
    pub fn open(
        directory: &Path,
        config: JournalConfig,
        notify: Notify,
    ) -> Result<Self, OpenError> {
        config.check()?;
        let disk = Directory::take(directory).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::InUse,
            _ => OpenError::io(&directory.display().to_string(), error),
        })?;
        let opened = open(disk, &config)?;
        let shared = opened.shared.clone();
        let threads = Threads::start(opened.writer, opened.keeper, shared, notify)
            .map_err(|error| OpenError::io("threads", error))?;
        Ok(Self::new(
            opened.state,
            &config,
            opened.shared,
            Link::Threads(threads),
        ))
    }
}

impl<D: Disk> JournalStore<D> {
    /// Opens a journal without threads: [`JournalStore::poll_sync`] does their work. For simulations and tests.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open_inline(disk: D, config: JournalConfig) -> Result<Self, OpenError> {
        config.check()?;
        let opened = open(disk, &config)?;
        let inline = Box::new(Inline {
            writer: opened.writer,
            keeper: opened.keeper,
            waiting: Vec::new(),
        });
        Ok(Self::new(
            opened.state,
            &config,
            opened.shared,
            Link::Inline(inline),
        ))
    }

    /// Writes and syncs what was flushed, then does the housekeeping. None when there was nothing to write, or for a
    /// journal with threads. What finds no room on a full disk waits for the next call.
    pub fn poll_sync(&mut self) -> Option<Durable> {
        let Link::Inline(inline) = &mut self.link else {
            return None;
        };
        if self.shared.failed.get().is_some() {
            return None;
        }
        if inline.waiting.is_empty() {
            if self.shared.full.load(Ordering::Relaxed) {
                inline.keep(&self.shared);
            }
            return None;
        }
        if let Err(error) = inline.write(&self.shared) {
            self.shared.fail(&error);
            return Some(Durable::Failed(error));
        }
        Some(Durable::UpTo(self.durable()))
    }

    /// Whether batches wait for [`JournalStore::poll_sync`].
    pub fn is_sync_due(&self) -> bool {
        matches!(&self.link, Link::Inline(inline) if !inline.waiting.is_empty())
            && self.shared.failed.get().is_none()
    }

    /// Writes the mark of an orderly stop. A journal with threads does so when it is dropped.
    ///
    /// # Errors
    ///
    /// The mark could not be written; what was durable still is.
    pub fn close(&mut self) -> io::Result<()> {
        if let Some(why) = self.shared.failed.get() {
            return Err(io::Error::other(why.clone()));
        }
        match &mut self.link {
            Link::Inline(inline) if inline.waiting.is_empty() && self.records.is_empty() => {
                inline.writer.close()
            }
            _ => Ok(()),
        }
    }

    /// The state as a snapshot would hold it: equal for equal states, whatever their history.
    pub fn image(&self) -> Vec<u8> {
        image_of(&self.state)
    }

    fn new(state: State, config: &JournalConfig, shared: Arc<Shared>, link: Link<D>) -> Self {
        Self {
            state,
            limits: config.limits,
            completions: VecDeque::new(),
            records: Vec::new(),
            count: 0,
            batch_bytes: config.batch_bytes(),
            reserve_bytes: config.reserve_bytes,
            handed: 0,
            shared,
            link,
        }
    }

    fn carry_out(&mut self, operation: Operation) -> (Outcome, Seq) {
        if let Some(why) = self.shared.failed.get() {
            return (Outcome::Failed(why.clone()), Seq(0));
        }
        let verdict = self.state.decide(&self.limits, operation);
        if let Some(change) = verdict.change {
            let start = self.records.len();
            record::encode_change(&change, &mut self.records);
            if let Some(refusal) = self.refuse_for_room(&change, self.records.len() - start) {
                self.records.truncate(start);
                return (refusal, Seq(0));
            }
            self.count += 1;
            let applied = self.state.apply(change);
            applied.expect("a change that was just decided fits the state");
            if self.records.len() >= self.batch_bytes {
                self.hand_over();
            }
        }
        (verdict.outcome, verdict.after)
    }

    /// Only a full disk makes room short: otherwise segments are made as fast as they are needed.
    fn refuse_for_room(&self, change: &Change, bytes: usize) -> Option<Outcome> {
        if !self.shared.full.load(Ordering::Relaxed) {
            return None;
        }
        // In this order: what is synced in between then counts twice against the operation, not in its favour.
        let taken = self.shared.taken.load(Ordering::Acquire);
        let room = self.shared.room.load(Ordering::Acquire);
        // Each batch may take a frame of its own, and what is handed over may end a segment early.
        let waiting = self.handed - taken + (self.records.len() + frame::span(0) + bytes) as u64;
        let margin = 2 * self.batch_bytes as u64 + self.limits.change_bytes_max() as u64;
        let left = room.saturating_sub(waiting);
        let grows = matches!(change, Change::Began(_) | Change::Registered { .. });
        if grows && left < self.reserve_bytes {
            return Some(Outcome::Limit("space on the journal's disk"));
        }
        (left < margin).then(|| Outcome::Failed("the journal's disk is full".to_owned()))
    }

    fn hand_over(&mut self) {
        let spare = match &mut self.link {
            Link::Threads(threads) => threads.spare_buffer(),
            Link::Inline(_) => None,
        };
        let records = std::mem::replace(&mut self.records, spare.unwrap_or_default());
        let batch = Batch {
            first: self.state.seq().0 + 1 - u64::from(self.count),
            count: std::mem::take(&mut self.count),
            records,
        };
        self.handed += room_of(&batch);
        match &mut self.link {
            Link::Threads(threads) => threads.send(batch),
            Link::Inline(inline) => inline.waiting.push(batch),
        }
    }
}

impl<D: Disk> Store for JournalStore<D> {
    fn submit(&mut self, ticket: Ticket, operation: Operation) {
        let (outcome, after) = self.carry_out(operation);
        self.completions.push_back(Completion {
            ticket,
            outcome,
            after,
        });
    }

    fn poll_completion(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    fn flush(&mut self) {
        if self.count > 0 {
            self.hand_over();
        }
    }

    fn durable(&self) -> Seq {
        Seq(self.shared.durable.load(Ordering::Acquire))
    }

    fn scan(&self, visit: &mut dyn FnMut(&Global)) {
        self.state.scan(visit);
    }

    fn highest_id(&self) -> i64 {
        self.state.highest_id()
    }

    fn failure(&self) -> Option<String> {
        self.shared.failed.get().cloned()
    }

    fn stats(&self) -> StoreStats {
        StoreStats {
            syncs: self.shared.syncs.load(Ordering::Relaxed),
            bytes_written: self.shared.bytes.load(Ordering::Relaxed),
            uncompacted_bytes: self.shared.uncompacted.load(Ordering::Relaxed),
            ..self.state.stats()
        }
    }
}

impl<D: Disk> Drop for JournalStore<D> {
    fn drop(&mut self) {
        self.flush();
        if let Link::Threads(threads) = &mut self.link {
            threads.stop();
        }
    }
}

impl<D: Disk> fmt::Debug for JournalStore<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JournalStore")
            .field("seq", &self.state.seq())
            .field("durable", &self.durable())
            .finish_non_exhaustive()
    }
}

impl<D: Disk> Inline<D> {
    /// Writes what waits, as far as there is room or the keeper can make some.
    fn write(&mut self, shared: &Shared) -> io::Result<()> {
        loop {
            let keeper = &mut self.keeper;
            let progress = &mut |progress: Progress| {
                shared.note(&progress);
                tell_keeper(keeper, &progress);
            };
            let written = self.writer.write(&self.waiting, progress)?;
            shared.taken(&self.waiting[..written]);
            self.waiting.drain(..written);
            self.keep(shared);
            if self.waiting.is_empty() || self.writer.spares.is_empty() {
                return Ok(());
            }
        }
    }

    fn keep(&mut self, shared: &Shared) {
        self.take_steps(shared);
        shared
            .uncompacted
            .store(self.keeper.uncompacted(), Ordering::Relaxed);
    }

    fn take_steps(&mut self, shared: &Shared) {
        loop {
            match self.keeper.step(true) {
                Ok(keeper::Step::Idle) => {
                    shared.full.store(false, Ordering::Release);
                    return;
                }
                Ok(keeper::Step::Spare(spare)) => {
                    shared.add_room(spare.head.room());
                    self.writer.add_spare(spare);
                }
                Ok(keeper::Step::Compacted(_) | keeper::Step::Removed) => {}
                Ok(keeper::Step::NotCompacted(error)) | Err(error) => {
                    if error.is_full() {
                        shared.full.store(true, Ordering::Release);
                    }
                    return;
                }
            }
        }
    }
}

impl Shared {
    fn fail(&self, error: &io::Error) {
        // The first error is the one that counts.
        let _ = self.failed.set(format!(
            "the journal failed and stays so until a restart: {error}"
        ));
    }

    fn note(&self, progress: &Progress) {
        match progress {
            Progress::Synced { durable, bytes } => {
                self.sub_room(*bytes);
                self.bytes.fetch_add(*bytes, Ordering::Relaxed);
                self.syncs.fetch_add(1, Ordering::Relaxed);
                self.durable.store(*durable, Ordering::Release);
            }
            Progress::Sealed { unused, .. } => self.sub_room(*unused),
            Progress::Made { room } => self.add_room(*room),
            Progress::SpareUsed => {}
            Progress::Late(head) => self.sub_room(head.room()),
            Progress::Full => self.full.store(true, Ordering::Release),
        }
    }

    /// What batches were thought to take is now known from the room that is left.
    fn taken(&self, batches: &[Batch]) {
        let bytes = batches.iter().map(room_of).sum();
        self.taken.fetch_add(bytes, Ordering::Release);
    }

    fn add_room(&self, bytes: u64) {
        self.room.fetch_add(bytes, Ordering::Release);
    }

    fn sub_room(&self, bytes: u64) {
        let sub = |room: u64| Some(room.saturating_sub(bytes));
        let _ = self
            .room
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, sub);
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// What a batch takes of a segment at most.
fn room_of(batch: &Batch) -> u64 {
    frame::span(batch.records.len()) as u64
}

fn tell_keeper<D: Disk>(keeper: &mut Keeper<D>, progress: &Progress) {
    match progress {
        Progress::Synced { .. } => {}
        Progress::Sealed { head, .. } => keeper.handle_sealed(*head),
        Progress::Made { .. } => keeper.handle_made(),
        Progress::SpareUsed => keeper.handle_spare_used(),
        Progress::Late(head) => keeper.handle_late(*head),
        Progress::Full => keeper.handle_full(),
    }
}

/// The items of a state in the order of a snapshot.
pub(super) fn image_of(state: &State) -> Vec<u8> {
    let mut image = Vec::new();
    image.extend(state.highest_id().to_le_bytes());
    for entry in state.entries() {
        record::encode_global(entry, &mut image);
        for (branch, held) in entry.global.branches.iter().zip(&entry.held) {
            record::encode_branch(branch, held.is_some(), &mut image);
        }
    }
    for (address, id, tombstone) in state.tombstones.iter() {
        record::encode_tombstone_item(address, id, tombstone, &mut image);
    }
    image
}

/// More spare segments than this are never kept.
const SPARES_MAX: usize = 64;
