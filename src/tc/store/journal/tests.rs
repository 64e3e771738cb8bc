//! What the writer and the keeper do to each other: segments that both make, a disk that is full, threads that end.

use std::sync::mpsc;
use std::time::Duration;

use super::opening::Opened;
use super::writer::Progress;
use super::*;
use crate::proto::Text;
use crate::sim::disk::SimDisk;
use crate::tc::store::{Decision, NewGlobal};
use crate::xid::Xid;

fn config() -> JournalConfig {
    JournalConfig {
        limits: StoreLimits {
            globals_max: 1000,
            branches_per_global_max: 5,
            locks_max: 40,
            tombstones_max: 9,
            application_data_bytes_max: 64,
            lock_key_bytes_max: 256,
            text_bytes_max: 64,
        },
        segment_bytes: 12 << 10,
        first_segment_bytes: 8 << 10,
        spare_segments: 1,
        compact_bytes: 16 << 10,
        reserve_bytes: 6 << 10,
        sync_delay: Duration::ZERO,
    }
}

fn opened(disk: &SimDisk, config: &JournalConfig) -> Opened<SimDisk> {
    open(disk.clone(), config).expect("opens")
}

/// A journal with its threads over a simulated disk.
fn threaded(
    opened: Opened<SimDisk>,
    config: &JournalConfig,
) -> (JournalStore<SimDisk>, mpsc::Receiver<Durable>) {
    let (sender, told) = mpsc::channel();
    let notify = Box::new(move |durable| {
        let _ = sender.send(durable);
    });
    let shared = opened.shared.clone();
    let threads = Threads::start(opened.writer, opened.keeper, shared, notify);
    let link = Link::Threads(threads.expect("threads start"));
    let store = JournalStore::new(opened.state, config, opened.shared, link);
    (store, told)
}

fn batch(first: u64, bytes: usize) -> Batch {
    Batch {
        first,
        count: 1,
        records: vec![0; bytes],
    }
}

fn run(store: &mut JournalStore<SimDisk>, operation: Operation) -> Outcome {
    store.submit(Ticket(1), operation);
    store.poll_completion().expect("answers at once").outcome
}

fn begin(n: i64) -> Operation {
    Operation::Begin(NewGlobal {
        xid: Xid::new("h:1", n),
        application_id: Text::from("app"),
        transaction_service_group: Text::from("g"),
        name: Text::from("a transaction that takes some space"),
        timeout_ms: 60_000,
        begin_ms: 0,
    })
}

fn roll_back(n: i64) -> Operation {
    Operation::Decide {
        xid: Xid::new("h:1", n),
        decision: Decision::Rollback,
        now_ms: 1,
    }
}

#[test]
fn writer_and_keeper_never_make_the_same_segment() {
    for failures in 0..80 {
        let disk = SimDisk::new(1);
        let Opened {
            mut writer,
            mut keeper,
            ..
        } = opened(&disk, &config());
        disk.set_capacity(Some(disk.used()));
        for _ in 0..failures {
            assert!(keeper.step(true).is_err(), "the disk is full");
        }
        disk.set_capacity(None);
        // The second batch does not fit behind the first: the writer makes a segment before the keeper hears of it.
        let written = writer.write(&[batch(1, 3000), batch(2, 3000)], &mut |_| {});
        assert_eq!(written.expect("writes"), 2);
        let Ok(keeper::Step::Spare(spare)) = keeper.step(true) else {
            panic!("a spare segment is made");
        };
        assert_ne!(spare.head.id, writer.active.head.id, "{failures} failures");
        let mut names = disk.list().expect("lists");
        names.sort();
        assert_eq!(names.len(), 3, "{names:?}");
    }
}

#[test]
fn a_segment_that_cannot_be_made_leaves_no_file_behind() {
    let disk = SimDisk::new(1);
    let mut opened = opened(&disk, &config());
    let before = disk.list().expect("lists");
    // The file, its bytes, their sync, its name, the sync of the directory.
    for step in 0..6 {
        disk.set_fault(disk.operations() + step, crate::sim::disk::Fault::Fail);
        assert!(opened.keeper.step(true).is_err(), "step {step}");
        assert_eq!(disk.list().expect("lists"), before, "step {step}");
    }
}

#[test]
fn half_a_segment_is_left_when_the_writer_finds_the_disk_full() {
    let disk = SimDisk::new(1);
    let mut writer = opened(&disk, &config()).writer;
    let ahead = |writer: &mut Writer<SimDisk>| {
        let (mut full, mut made) = (false, false);
        writer.make_ahead(&mut |progress| {
            full |= matches!(progress, Progress::Full);
            made |= matches!(progress, Progress::Made { .. });
        });
        (full, made)
    };
    disk.set_capacity(Some(disk.used()));
    assert_eq!(ahead(&mut writer), (false, false), "it is empty");
    writer
        .write(&[batch(1, 2500)], &mut |_| {})
        .expect("writes");
    assert_eq!(ahead(&mut writer), (true, false), "half of it is used");
    assert!(writer.active.head.size - writer.active.end > 1500);
    // It costs a sync, so it is not tried at each write.
    let operations = disk.operations();
    assert_eq!(ahead(&mut writer), (false, false));
    assert_eq!(disk.operations(), operations);
    disk.set_capacity(None);
    writer
        .write(&[batch(2, 3000)], &mut |_| {})
        .expect("writes");
    writer.write(&[batch(3, 800)], &mut |_| {}).expect("writes");
    assert_eq!(ahead(&mut writer), (false, true), "there is room again");
    assert_eq!(writer.spares.len(), 1);
}

/// Threads whose sync thread finds no room for the second of two batches.
fn stuck(disk: &SimDisk) -> (Threads, mpsc::Receiver<Durable>) {
    let Opened {
        mut keeper,
        writer,
        shared,
        ..
    } = opened(disk, &config());
    keeper.spares_wanted = 0;
    disk.set_capacity(Some(disk.used()));
    let (sender, told) = mpsc::channel();
    let notify = Box::new(move |durable| {
        let _ = sender.send(durable);
    });
    let threads = Threads::start(writer, keeper, shared, notify).expect("threads start");
    threads.send(batch(1, 3000));
    threads.send(batch(2, 3000));
    let first = told.recv_timeout(LONG);
    assert!(matches!(first, Ok(Durable::UpTo(Seq(1)))), "{first:?}");
    (threads, told)
}

#[test]
fn the_sync_thread_waits_for_room_on_a_full_disk() {
    let disk = SimDisk::new(1);
    let (mut threads, told) = stuck(&disk);
    let waits = told.recv_timeout(Duration::from_millis(300));
    assert!(waits.is_err(), "{waits:?}");
    disk.set_capacity(None);
    let second = told.recv_timeout(LONG);
    assert!(matches!(second, Ok(Durable::UpTo(Seq(2)))), "{second:?}");
    threads.stop();
    assert!(told.iter().next().is_none(), "and it stops in order");
}

#[test]
fn a_stop_does_not_wait_for_a_full_disk() {
    let (mut threads, told) = stuck(&SimDisk::new(1));
    threads.stop();
    let last = told.iter().last();
    assert!(matches!(last, Some(Durable::Failed(_))), "{last:?}");
}

#[test]
fn a_panic_of_the_housekeeping_is_told_as_a_failure() {
    let disk = SimDisk::new(1);
    let config = config();
    let opened = opened(&disk, &config);
    let broken = disk.clone();
    let panicked = std::thread::spawn(move || broken.flip("no such file", 0, 0)).join();
    assert!(
        panicked.is_err(),
        "every use of the disk panics from here on"
    );
    let (mut store, told) = threaded(opened, &config);
    let Ok(Durable::Failed(error)) = told.recv_timeout(LONG) else {
        panic!("the failure is told although nothing is written");
    };
    assert!(error.to_string().contains("housekeeping"), "{error}");
    assert!(matches!(run(&mut store, begin(1)), Outcome::Failed(_)));
}

#[test]
fn a_snapshot_that_fails_is_not_tried_while_it_may_not() {
    let disk = SimDisk::new(1);
    let Opened {
        mut writer,
        mut keeper,
        ..
    } = opened(&disk, &config());
    let mut sealed = Vec::new();
    // Records that no reader understands: a full segment that cannot be read.
    for first in 1..9 {
        let written = writer.write(&[batch(first, 3000)], &mut |progress| {
            if let Progress::Sealed { head, .. } = progress {
                sealed.push(head);
            }
        });
        assert_eq!(written.expect("writes"), 1);
    }
    sealed
        .into_iter()
        .for_each(|head| keeper.handle_sealed(head));
    let uncompacted = keeper.uncompacted();
    assert!(uncompacted > config().compact_bytes);
    while let Ok(keeper::Step::Spare(_)) = keeper.step(false) {}
    assert!(matches!(keeper.step(false), Ok(keeper::Step::Idle)));
    let tried = keeper.step(true);
    assert!(matches!(
        tried,
        Ok(keeper::Step::NotCompacted(OpenError::Damage(_)))
    ));
    assert_eq!(keeper.uncompacted(), uncompacted, "and nothing is given up");
}

#[test]
fn one_spare_segment_is_left_while_the_other_one_fills_up() {
    let disk = SimDisk::new(1);
    let mut keeper = opened(&disk, &JournalConfig::default()).keeper;
    let mut spares = 0;
    while let Ok(keeper::Step::Spare(_)) = keeper.step(true) {
        spares += 1;
    }
    assert_eq!(spares, 2);
    assert_eq!(disk.list().expect("lists").len(), 3);
}

#[test]
fn a_full_disk_is_compacted_however_little_there_is_to_compact() {
    let disk = SimDisk::new(1);
    let config = JournalConfig {
        compact_bytes: u64::MAX,
        ..config()
    };
    let mut store = JournalStore::open_inline(disk.clone(), config.clone()).expect("opens");
    let one = |store: &mut JournalStore<SimDisk>, n: i64| {
        assert_eq!(run(store, begin(n)), Outcome::Done, "{n}");
        assert!(
            matches!(run(store, roll_back(n)), Outcome::Finished(_)),
            "{n}"
        );
        store.flush();
        assert!(matches!(store.poll_sync(), Some(Durable::UpTo(_))), "{n}");
    };
    for n in 1..200 {
        one(&mut store, n);
    }
    assert!(store.stats().uncompacted_bytes > 20 << 10);
    // Room for a snapshot beside an older one, not for a segment.
    disk.set_capacity(Some(disk.used() + (6 << 10)));
    for n in 200..2000 {
        one(&mut store, n);
    }
    let image = store.image();
    drop(store);
    let back = JournalStore::open_inline(disk.crash(), config).expect("opens");
    assert!(back.image() == image);
}

#[test]
fn a_disk_that_fills_up_during_a_write_ends_nothing() {
    let disk = SimDisk::new(1);
    let config = config();
    let mut store = JournalStore::open_inline(disk.clone(), config.clone()).expect("opens");
    assert_eq!(run(&mut store, begin(1)), Outcome::Done);
    store.flush();
    store.poll_sync();
    disk.set_capacity(Some(disk.used()));
    // More than the two segments that are there, and nobody has looked at the disk since.
    for n in 2..300 {
        assert_eq!(run(&mut store, begin(n)), Outcome::Done);
        if n % 4 == 0 {
            store.flush();
        }
    }
    store.flush();
    let last = store.state.seq();
    for _ in 0..3 {
        let Some(Durable::UpTo(durable)) = store.poll_sync() else {
            panic!("the journal goes on");
        };
        assert!(Seq(30) < durable && durable < last, "{durable:?}");
        assert!(store.is_sync_due());
        let refused = run(&mut store, begin(1000));
        assert!(matches!(refused, Outcome::Limit(_)), "{refused:?}");
    }
    let (durable, forked) = (store.durable(), disk.fork(7).crash());
    disk.set_capacity(None);
    assert!(matches!(store.poll_sync(), Some(Durable::UpTo(seq)) if seq == last));
    assert!(!store.is_sync_due());
    assert_eq!(run(&mut store, begin(1000)), Outcome::Done);
    store.flush();
    store.poll_sync();
    let image = store.image();
    drop(store);
    let back = JournalStore::open_inline(disk.crash(), config.clone()).expect("opens");
    assert!(back.image() == image);
    // What was told before is there too when the process ends while it waits.
    forked.set_capacity(None);
    let back = JournalStore::open_inline(forked, config).expect("opens");
    assert!(back.durable() >= durable);
}

/// Long for anything that happens at once.
const LONG: Duration = Duration::from_secs(30);
