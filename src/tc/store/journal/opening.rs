//! From what recovery found to a writer and a keeper that can go on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::disk::Disk;
use super::keeper::Keeper;
use super::recovery::{self, Contents, Found};
use super::segment::{self, Segment, SegmentHead};
use super::writer::Writer;
use super::{JournalConfig, OpenError, SPARES_MAX, Shared};
use crate::tc::store::state::State;

/// A recovered journal, ready to be written.
pub(super) struct Opened<D: Disk> {
    pub(super) state: State,
    pub(super) writer: Writer<D>,
    pub(super) keeper: Keeper<D>,
    pub(super) shared: Arc<Shared>,
}

/// Recovers a journal and makes it ready to be written.
pub(super) fn open<D: Disk>(disk: D, config: &JournalConfig) -> Result<Opened<D>, OpenError> {
    let contents = recovery::read(&disk, &mut |_, _, _| {})?;
    recovery::settle(&disk, &contents)?;
    let journal_id = contents.journal_id.unwrap_or_else(|| disk.new_identity());
    let highest = contents.segments.iter().map(|found| found.head.id).max();
    let next_id = Arc::new(AtomicU64::new(highest.unwrap_or(0) + 1));
    let mut roles = Roles::assign(&disk, &contents)?;
    let active = match roles.active.or_else(|| roles.spares.pop_front()) {
        Some(active) => active,
        None => {
            let head = SegmentHead {
                journal_id,
                id: segment::take_id(&next_id),
                size: config.first_segment_bytes,
            };
            let made = segment::create(&disk, head);
            made.map_err(|error| OpenError::io("the first segment", error))?
        }
    };
    let writer = Writer {
        disk: disk.clone(),
        journal_id,
        active,
        spares: roles.spares,
        durable: contents.state.seq().0,
        sync_delay: config.sync_delay,
        urgent_bytes: config.first_segment_bytes,
        next_id: next_id.clone(),
        tried_ahead: false,
        frame_bytes: config.batch_bytes(),
        buffer: Vec::new(),
    };
    let keeper = Keeper {
        disk,
        journal_id,
        segment_bytes: config.segment_bytes,
        spares_wanted: config.spare_segments,
        spares: writer.spares.len(),
        compact_bytes: config.compact_bytes,
        full: roles.full,
        free: roles.free,
        snapshot: contents.snapshot,
        next_id,
        starved: false,
    };
    let shared = Arc::new(Shared::default());
    shared.durable.store(writer.durable, Ordering::Release);
    shared.room.store(writer.room(), Ordering::Release);
    let uncompacted = keeper.uncompacted();
    shared.uncompacted.store(uncompacted, Ordering::Relaxed);
    log::info!(
        "journal: recovered up to record {}: {} live transactions, {} records behind the snapshot",
        writer.durable,
        contents.state.stats().globals,
        contents.replayed
    );
    Ok(Opened {
        state: contents.state,
        writer,
        keeper,
        shared,
    })
}

/// What each segment is for.
struct Roles<F> {
    /// The last one with frames.
    active: Option<Segment<F>>,
    /// Behind the active one, empty.
    spares: VecDeque<Segment<F>>,
    /// Before it, with records that no snapshot has.
    full: VecDeque<SegmentHead>,
    /// Of no use as they are; oldest first.
    free: VecDeque<SegmentHead>,
}

impl<F> Roles<F> {
    fn assign<D: Disk<File = F>>(disk: &D, contents: &Contents) -> Result<Self, OpenError> {
        let mut roles = Self {
            active: None,
            spares: VecDeque::new(),
            full: VecDeque::new(),
            free: VecDeque::new(),
        };
        let used = contents
            .segments
            .iter()
            .rposition(|found| found.last.is_some());
        for (index, found) in contents.segments.iter().enumerate() {
            match used {
                Some(used) if index == used => roles.active = Some(open_segment(disk, found)?),
                Some(used) if index < used => match found.last {
                    Some(last) if last > contents.snapshot => roles.full.push_back(found.head),
                    _ => roles.free.push_back(found.head),
                },
                // One that lacks bytes is no good as a spare: it was cut by hand.
                _ if found.missing > 0 || roles.spares.len() >= SPARES_MAX => {
                    roles.free.push_back(SegmentHead {
                        size: found.head.size - found.missing,
                        ..found.head
                    });
                }
                _ => roles.spares.push_back(open_segment(disk, found)?),
            }
        }
        Ok(roles)
    }
}

fn open_segment<D: Disk>(disk: &D, found: &Found) -> Result<Segment<D::File>, OpenError> {
    let file = disk.open(&found.name);
    Ok(Segment {
        head: found.head,
        file: file.map_err(|error| OpenError::io(&found.name, error))?,
        end: found.end,
    })
}
