//! The journal across crashes: what comes back is the state after a prefix that holds all that was acknowledged.

use seamio::sim::disk::{Fault, SimDisk};
use seamio::tc::store::journal::JournalConfig;
use seamio::tc::store::{Durable, JournalStore, MemoryStore, Operation, Outcome, Seq, Store};

use crate::history::{History, limits};
use crate::{histories, run};

pub(crate) fn small() -> JournalConfig {
    JournalConfig {
        limits: limits(),
        segment_bytes: 12 << 10,
        first_segment_bytes: 8 << 10,
        spare_segments: 1,
        compact_bytes: 16 << 10,
        reserve_bytes: 6 << 10,
        ..JournalConfig::default()
    }
}

/// Operations that changed something, with the number of their change.
#[derive(Default)]
pub(crate) struct Past(Vec<(Seq, Operation)>);

impl Past {
    pub(crate) fn keep(&mut self, operation: &Operation, after: Seq) {
        if self.0.last().is_none_or(|(seq, _)| *seq < after) {
            self.0.push((after, operation.clone()));
        }
    }

    /// The state after the change `seq`, as the reference has it.
    pub(crate) fn at(&self, seq: Seq) -> MemoryStore {
        let mut memory = MemoryStore::new(limits());
        for (_, operation) in self.0.iter().take_while(|(at, _)| *at <= seq) {
            run(&mut memory, operation.clone());
        }
        assert_eq!(memory.durable(), seq, "every number is one change");
        memory
    }

    fn cut(&mut self, seq: Seq) {
        self.0.retain(|(at, _)| *at <= seq);
    }
}

/// Opens after a crash and checks what came back. Returns the reference at the same place.
pub(crate) fn reopen(disk: &SimDisk, past: &mut Past, told: Seq, what: &str) -> Opened {
    let journal = JournalStore::open_inline(disk.clone(), small());
    let journal = journal.unwrap_or_else(|error| panic!("{what}: {error}"));
    let back = journal.durable();
    assert!(
        back >= told,
        "{what}: {back:?} came back, {told:?} was told"
    );
    past.cut(back);
    let memory = past.at(back);
    assert!(
        journal.image() == memory.image(),
        "{what}: another state came back"
    );
    assert_eq!(journal.stats().locks, memory.stats().locks, "{what}");
    assert_eq!(journal.highest_id(), memory.highest_id(), "{what}");
    Opened { journal, memory }
}

pub(crate) struct Opened {
    pub(crate) journal: JournalStore<SimDisk>,
    pub(crate) memory: MemoryStore,
}

impl Opened {
    /// Runs an operation on both. Returns false when the journal has failed.
    pub(crate) fn both(
        &mut self,
        operation: &Operation,
        past: &mut Past,
        what: &str,
    ) -> Option<Outcome> {
        let before = self.memory.durable();
        let (outcome, after) = run(&mut self.journal, operation.clone());
        if matches!(outcome, Outcome::Failed(_)) {
            return None;
        }
        let (expected, _) = run(&mut self.memory, operation.clone());
        assert_eq!(outcome, expected, "{what}: {operation:?}");
        assert!(after <= self.memory.durable(), "{what}");
        if self.memory.durable() > before {
            past.keep(operation, self.memory.durable());
        }
        Some(outcome)
    }
}

#[test]
fn the_journal_agrees_with_the_memory_store_across_crashes() {
    let mut crashes = [0; 4];
    let mut lost = 0;
    for seed in 0..histories() {
        let mut history = History::new(seed ^ 0x5eed);
        let mut past = Past::default();
        let mut disk = SimDisk::new(seed);
        let mut told = Seq(0);
        let mut opened = reopen(&disk, &mut past, told, "first start");
        for step in 0..400 {
            let what = format!("seed {seed} step {step}");
            let operation = history.next();
            let outcome = opened.both(&operation, &mut past, &what);
            let failed = outcome.is_none();
            if let Some(outcome) = outcome {
                history.learn(&operation, &outcome);
            }
            if history.random.chance(40) {
                opened.journal.flush();
            }
            if history.random.chance(30)
                && let Some(Durable::UpTo(seq)) = opened.journal.poll_sync()
            {
                assert!(seq >= told, "{what}");
                told = seq;
            }
            told = told.max(opened.journal.durable());
            if history.random.chance(2) {
                let at = disk.operations() + history.random.below(12) as u64;
                let faults = [Fault::Fail, Fault::Short, Fault::Power];
                disk.set_fault(at, history.random.pick(&faults));
            }
            if failed || history.random.chance(1) {
                let kind = history.random.below(4);
                crashes[kind] += 1;
                let before = opened.memory.durable();
                if kind == 3 {
                    // An orderly stop.
                    opened.journal.flush();
                    opened.journal.poll_sync();
                    told = told.max(opened.journal.durable());
                    let _ = opened.journal.close();
                }
                disk = if kind == 0 { disk.kill() } else { disk.crash() };
                opened = reopen(&disk, &mut past, told, &what);
                lost += usize::from(opened.journal.durable() < before);
                told = opened.journal.durable();
                // A state is the same however often it is recovered.
                let again = JournalStore::open_inline(disk.fork(1), small()).expect("opens again");
                assert!(again.image() == opened.journal.image(), "{what}");
                let live = crate::scan(&opened.memory);
                let live: Vec<_> = live.into_iter().map(|global| global.xid).collect();
                history.keep_only(&live);
            }
        }
    }
    assert!(crashes.iter().all(|n| *n > 20), "{crashes:?}");
    assert!(lost > 20, "crashes lose what was not told: {lost}");
}

/// A run of the same operations; every write or sync of it fails, is torn, or is the last before the power fails.
#[test]
fn every_write_and_sync_may_be_the_one_that_goes_wrong() {
    let script = |disk: &SimDisk, past: &mut Past, until: u64| -> Seq {
        let mut history = History::new(77);
        let mut told = Seq(0);
        let Ok(journal) = JournalStore::open_inline(disk.clone(), small()) else {
            return told;
        };
        let memory = MemoryStore::new(limits());
        let mut opened = Opened { journal, memory };
        for step in 0..900 {
            let operation = history.next();
            let Some(outcome) = opened.both(&operation, past, "script") else {
                break;
            };
            history.learn(&operation, &outcome);
            if step % 8 == 0 {
                opened.journal.flush();
                if let Some(Durable::Failed(_)) = opened.journal.poll_sync() {
                    assert!(matches!(
                        run(&mut opened.journal, history.next()),
                        (Outcome::Failed(_), _)
                    ));
                }
            }
            told = opened.journal.durable();
            // Some way behind the fault, to see that the store goes on or stays failed, is enough.
            if disk.operations() > until {
                break;
            }
        }
        told
    };
    let calm = SimDisk::new(0);
    script(&calm, &mut Past::default(), u64::MAX);
    let operations = calm.operations();
    assert!(
        operations > 200,
        "the run rotates and makes snapshots: {operations}"
    );
    let snapshot = |name: &str| name.ends_with(".snapshot");
    use seamio::tc::store::journal::disk::Disk;
    assert!(
        calm.list()
            .expect("lists")
            .iter()
            .any(|name| snapshot(name))
    );
    for n in 0..operations {
        for fault in [Fault::Fail, Fault::Short, Fault::Power] {
            let what = format!("operation {n}, {fault:?}");
            let disk = SimDisk::new(n);
            disk.set_fault(n, fault);
            let mut past = Past::default();
            let told = script(&disk, &mut past, n + 12);
            let killed = disk.fork(n).kill();
            let mut same = Past(past.0.clone());
            reopen(&killed, &mut same, told, &format!("{what}, killed"));
            reopen(&disk.crash(), &mut past, told, &format!("{what}, crashed"));
        }
    }
}

/// A snapshot and what follows it give the state that the whole log gives.
#[test]
fn a_snapshot_and_its_tail_equal_the_full_log() {
    for seed in 0..histories() / 16 + 1 {
        let mut history = History::new(seed);
        let (few, many) = (SimDisk::new(1), SimDisk::new(2));
        let full = JournalConfig {
            compact_bytes: u64::MAX,
            ..small()
        };
        let mut plain = JournalStore::open_inline(few.clone(), full.clone()).expect("opens");
        let mut compacted = JournalStore::open_inline(many.clone(), small()).expect("opens");
        for step in 0..1500 {
            let operation = history.next();
            let (outcome, _) = run(&mut plain, operation.clone());
            let (same, _) = run(&mut compacted, operation.clone());
            assert_eq!(outcome, same);
            history.learn(&operation, &outcome);
            if step % 5 == 0 {
                for store in [&mut plain, &mut compacted] {
                    store.flush();
                    store.poll_sync();
                }
            }
        }
        assert!(plain.image() == compacted.image());
        drop((plain, compacted));
        let plain = JournalStore::open_inline(few.crash(), full).expect("opens");
        let compacted = JournalStore::open_inline(many.crash(), small()).expect("opens");
        assert!(plain.durable() == compacted.durable() && plain.image() == compacted.image());
        assert!(many.used() < few.used(), "segments are used again");
    }
}
