//! Damage by hand: a torn tail is cut, anything else stops the start with the file and the offset.

use seamio::sim::disk::SimDisk;
use seamio::tc::store::journal::disk::Disk;
use seamio::tc::store::journal::{Damage, OpenError, read_segment, read_snapshot, verify_disk};
use seamio::tc::store::{Durable, JournalStore, Outcome, Seq, Store};

use crate::crash::small;
use crate::history::History;
use crate::run;

/// A journal of a few frames in one segment, without the mark of an orderly stop: the disk, the number of the last
/// record of each frame and the state after it.
fn journal() -> (SimDisk, Vec<(Seq, Vec<u8>)>) {
    let disk = SimDisk::new(3);
    let mut history = History::new(5);
    let mut store = JournalStore::open_inline(disk.clone(), small()).expect("opens");
    let mut states = Vec::new();
    while states.len() < 6 {
        for _ in 0..6 {
            let operation = history.next();
            let (outcome, _) = run(&mut store, operation.clone());
            history.learn(&operation, &outcome);
        }
        store.flush();
        if let Some(Durable::UpTo(seq)) = store.poll_sync() {
            states.push((seq, store.image()));
        }
    }
    let segments = segments(&disk);
    assert_eq!(segments.len(), 2, "one in use, one spare");
    (disk, states)
}

fn segments(disk: &SimDisk) -> Vec<String> {
    let mut names = disk.list().expect("lists");
    names.retain(|name| name.ends_with(".segment"));
    names.sort();
    names
}

/// Offsets of the frames and where the last one ends, read off the format.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let mut at = 4096;
    let mut frames = vec![at];
    loop {
        let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().expect("four"));
        if length == 0 {
            return frames;
        }
        at = (at + 32 + length as usize).next_multiple_of(8);
        frames.push(at);
    }
}

fn open(disk: &SimDisk) -> Result<JournalStore<SimDisk>, OpenError> {
    JournalStore::open_inline(disk.clone(), small())
}

fn damage(disk: &SimDisk) -> Damage {
    match open(disk) {
        Err(OpenError::Damage(damage)) => damage,
        other => panic!("{other:?} is no damage"),
    }
}

#[test]
fn any_change_to_the_last_frame_cuts_it_and_nothing_else() {
    let (disk, states) = journal();
    let name = &segments(&disk)[0];
    let sound = disk.contents(name).expect("is there");
    let frames = frames(&sound);
    let (start, end) = (frames[frames.len() - 2], frames[frames.len() - 1]);
    let (before, last) = (&states[states.len() - 2], &states[states.len() - 1]);
    assert!(open(&disk.fork(0)).expect("opens").image() == last.1);
    let length = u32::from_le_bytes(sound[start + 4..start + 8].try_into().expect("four"));
    let padding = start + 32 + length as usize;
    for at in start..end {
        let mut flipped = sound.clone();
        flipped[at] ^= 1 << (at % 8);
        // What the write had not reached, as zeros and as a file that ends there.
        let mut torn = sound.clone();
        torn[at..].fill(0);
        for (bytes, how) in [
            (flipped, "flipped"),
            (torn, "torn"),
            (sound[..at].to_vec(), "cut"),
        ] {
            let disk = disk.fork(0);
            let same = bytes.get(start..padding) == sound.get(start..padding);
            disk.set_contents(name, bytes);
            let mut store = open(&disk).unwrap_or_else(|error| panic!("{how} at {at}: {error}"));
            let expected = if same { last } else { before };
            assert_eq!(store.durable(), expected.0, "{how} at {at}");
            assert!(store.image() == expected.1, "{how} at {at}");
            // It goes on from there.
            let mut history = History::apart(99);
            let outcome = loop {
                let operation = history.next();
                if let seamio::tc::store::Operation::Begin(_) = operation {
                    break run(&mut store, operation);
                }
            };
            assert_eq!(outcome.0, Outcome::Done);
            store.flush();
            assert!(matches!(store.poll_sync(), Some(Durable::UpTo(seq)) if seq == outcome.1));
            let image = store.image();
            assert!(
                open(&disk.crash()).expect("opens").image() == image,
                "{how} at {at}"
            );
        }
    }
}

#[test]
fn damage_before_the_last_frame_stops_the_start_at_its_offset() {
    let (disk, _) = journal();
    let name = &segments(&disk)[0];
    let sound = disk.contents(name).expect("is there");
    let frames = frames(&sound);
    // Of the last two frames the earlier one was durable when the last was written, as the last one says.
    for pair in frames.windows(2).take(frames.len() - 2) {
        let length = u32::from_le_bytes(sound[pair[0] + 4..pair[0] + 8].try_into().expect("four"));
        for at in pair[0]..pair[0] + 32 + length as usize {
            let disk = disk.fork(0);
            disk.flip(name, at, (at % 8) as u8);
            let damage = damage(&disk);
            assert_eq!(
                (&damage.file, damage.offset),
                (name, pair[0] as u64),
                "byte {at}"
            );
        }
    }
    // A lost sector, as a disk that lied about a sync leaves it.
    let fork = disk.fork(0);
    let mut bytes = sound.clone();
    bytes[frames[1]..frames[2]].fill(0);
    fork.set_contents(name, bytes);
    assert_eq!(damage(&fork).offset, frames[1] as u64);
    // A hole in the numbers: a frame taken out.
    let fork = disk.fork(0);
    let mut bytes = sound.clone();
    bytes.copy_within(frames[2]..frames[4], frames[1]);
    fork.set_contents(name, bytes);
    let damage = damage(&fork);
    assert_eq!(damage.offset, frames[1] as u64);
    assert!(damage.why.contains("follows where"), "{damage}");
}

#[test]
fn after_an_orderly_stop_damage_to_the_last_record_is_seen() {
    let (disk, states) = journal();
    let mut store = open(&disk).expect("opens");
    store.close().expect("closes");
    drop(store);
    let name = &segments(&disk)[0];
    let sound = disk.contents(name).expect("is there");
    let fork = disk.fork(0);
    let last = states.len() - 1;
    assert!(open(&fork).expect("opens").image() == states[last].1);
    let mut at = 4096;
    for _ in 0..last {
        let length = u32::from_le_bytes(sound[at + 4..at + 8].try_into().expect("four"));
        at = (at + 32 + length as usize).next_multiple_of(8);
    }
    disk.flip(name, at + 40, 1);
    assert_eq!(damage(&disk).offset, at as u64);
}

#[test]
fn heads_snapshots_and_missing_segments_are_checked() {
    let (disk, _) = journal();
    let name = segments(&disk)[0].clone();
    for at in 0..64 {
        let fork = disk.fork(0);
        fork.flip(&name, at, 3);
        match open(&fork) {
            Err(OpenError::Damage(damage)) => {
                assert_eq!((damage.file, damage.offset), (name.clone(), 0))
            }
            Err(OpenError::Newer { file, version }) => {
                assert!(file == name && version > 1 && (8..12).contains(&at));
            }
            other => panic!("byte {at}: {other:?}"),
        }
    }
    // A journal with snapshots.
    let disk = SimDisk::new(8);
    let mut history = History::new(5);
    let mut store = open(&disk).expect("opens");
    for _ in 0..900 {
        let operation = history.next();
        let (outcome, _) = run(&mut store, operation.clone());
        history.learn(&operation, &outcome);
        store.flush();
        store.poll_sync();
    }
    let image = store.image();
    drop(store);
    assert!(open(&disk.fork(0)).expect("opens").image() == image);
    let names = disk.list().expect("lists");
    let snapshot = names.iter().find(|name| name.ends_with(".snapshot"));
    let snapshot = snapshot.expect("there is one").clone();
    let length = disk.contents(&snapshot).expect("is there").len();
    for at in (0..length).step_by(7) {
        let fork = disk.fork(0);
        fork.flip(&snapshot, at, 2);
        match open(&fork) {
            Err(OpenError::Damage(damage)) => assert_eq!(damage.file, snapshot, "byte {at}"),
            Err(OpenError::Newer { file, .. }) => assert_eq!(file, snapshot),
            // The padding of a frame means nothing.
            Ok(store) => assert!(store.image() == image, "byte {at}"),
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    let fork = disk.fork(0);
    fork.remove(&snapshot).expect("removes");
    let missing = damage(&fork);
    assert!(missing.why.contains("follows where 1 should"), "{missing}");
}

/// A segment that was used before holds sound frames of its earlier life all over. None is ever read again, wherever the
/// new frames end.
#[test]
fn records_of_an_earlier_use_are_never_read() {
    let disk = SimDisk::new(8);
    let mut history = History::new(5);
    let mut store = open(&disk).expect("opens");
    let mut reused = 0;
    for step in 0..2500 {
        let operation = history.next();
        let (outcome, _) = run(&mut store, operation.clone());
        history.learn(&operation, &outcome);
        if step % 3 == 0 {
            store.flush();
            store.poll_sync();
        }
        if step % 50 == 0 {
            store.flush();
            store.poll_sync();
            let stale = segments(&disk).into_iter().filter(|name| {
                let bytes = disk.contents(name).expect("is there");
                let first = u64::from_le_bytes(bytes[4104..4112].try_into().expect("eight"));
                let empty = read_segment(&bytes).is_ok_and(|records| records == 0);
                first != 0 && empty
            });
            reused += stale.count();
            let again = open(&disk.fork(step)).expect("opens");
            assert!(again.durable() == store.durable() && again.image() == store.image());
        }
    }
    assert!(reused > 0, "some spare segment had been used before");
}

/// Frames of one write that is torn in the middle: the later ones are sound, but nothing says that the missing one had
/// been durable. They are cut, and stay cut when the place is written again.
#[test]
fn sound_frames_behind_a_torn_one_are_broken_for_good() {
    use seamio::sim::disk::Fault;
    let (mut torn, mut lost) = (0, 0);
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        let mut config = small();
        config.segment_bytes = 12 << 10;
        config.first_segment_bytes = 12 << 10;
        let mut store = JournalStore::open_inline(disk.clone(), config.clone()).expect("opens");
        let mut history = History::new(seed);
        for _ in 0..120 {
            let operation = history.next();
            let (outcome, _) = run(&mut store, operation.clone());
            history.learn(&operation, &outcome);
            store.flush();
        }
        disk.set_fault(disk.operations() + 1, Fault::Power);
        assert!(matches!(store.poll_sync(), Some(Durable::Failed(_))));
        let disk = disk.crash();
        torn += usize::from(verify_disk(&disk).expect("is sound").torn);
        let mut store = JournalStore::open_inline(disk.clone(), config.clone()).expect("opens");
        assert!(!verify_disk(&disk).expect("is sound").torn);
        lost += usize::from(store.durable() == Seq(0));
        // The same operations again: their frames end where the torn ones did.
        let mut again = History::new(seed);
        for _ in 0..20 {
            let operation = again.next();
            let (outcome, _) = run(&mut store, operation.clone());
            again.learn(&operation, &outcome);
        }
        store.flush();
        store.poll_sync();
        let (back, image) = (store.durable(), store.image());
        drop(store);
        let again = JournalStore::open_inline(disk, config).expect("opens");
        assert!(again.durable() == back && again.image() == image);
    }
    assert!(torn > 5 && lost > 5, "{torn} {lost}");
}

/// A full disk: begins are refused in time, decisions go on, and when there is room again everything does.
#[test]
fn a_full_disk_refuses_begins_and_keeps_deciding() {
    use seamio::proto::Text;
    use seamio::tc::store::{Decision, NewGlobal, Operation};
    use seamio::xid::Xid;
    let disk = SimDisk::new(4);
    let mut config = small();
    config.limits.globals_max = 1000;
    config.segment_bytes = 64 << 10;
    config.reserve_bytes = 32 << 10;
    let mut store = JournalStore::open_inline(disk.clone(), config.clone()).expect("opens");
    let begin = |n: i64| {
        Operation::Begin(NewGlobal {
            xid: Xid::new("h:1", n),
            application_id: Text::from("app"),
            transaction_service_group: Text::from("g"),
            name: Text::from("a transaction that takes some space"),
            timeout_ms: 60_000,
            begin_ms: 0,
        })
    };
    let decide = |n: i64| Operation::Decide {
        xid: Xid::new("h:1", n),
        decision: Decision::Rollback,
        now_ms: 1,
    };
    let sync = |store: &mut JournalStore<SimDisk>| {
        store.flush();
        if let Some(Durable::Failed(error)) = store.poll_sync() {
            panic!("the journal fails: {error}");
        }
    };
    run(&mut store, begin(1));
    sync(&mut store);
    disk.set_capacity(Some(disk.used()));
    let mut live = vec![1];
    for n in 2.. {
        match run(&mut store, begin(n)).0 {
            Outcome::Done => live.push(n),
            outcome => {
                assert_eq!(outcome, Outcome::Limit("space on the journal's disk"));
                break;
            }
        }
        sync(&mut store);
    }
    assert!(live.len() > 50, "{}", live.len());
    for n in &live {
        let outcome = run(&mut store, decide(*n)).0;
        assert!(matches!(outcome, Outcome::Finished(_)), "{n}: {outcome:?}");
        sync(&mut store);
    }
    assert!(matches!(run(&mut store, begin(5000)).0, Outcome::Limit(_)));
    disk.set_capacity(None);
    sync(&mut store);
    assert_eq!(run(&mut store, begin(5001)).0, Outcome::Done);
    sync(&mut store);
    let image = store.image();
    drop(store);
    let back = JournalStore::open_inline(disk.crash(), config).expect("opens");
    assert!(back.image() == image);
}

#[test]
fn arbitrary_bytes_are_read_without_a_panic() {
    let (disk, _) = journal();
    let sound = disk.contents(&segments(&disk)[0]).expect("is there");
    let mut random = crate::history::Random(1);
    for _ in 0..300 {
        let mut bytes = sound[..random.below(sound.len())].to_vec();
        for _ in 0..random.below(20) {
            if !bytes.is_empty() {
                let at = random.below(bytes.len());
                bytes[at] = random.below(256) as u8;
            }
        }
        let _ = read_segment(&bytes);
        let _ = read_snapshot(&bytes);
    }
    assert!(read_segment(&sound).expect("reads") > 5);
}
