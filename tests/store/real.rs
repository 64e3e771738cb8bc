//! The journal with its threads, in a real directory.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use seamio::tc::store::journal::{OpenError, inspect, verify};
use seamio::tc::store::{Durable, JournalConfig, JournalStore, MemoryStore, Seq, Store};

use crate::history::{History, limits};
use crate::run;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("seamio-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn config() -> JournalConfig {
    JournalConfig {
        limits: limits(),
        segment_bytes: 64 << 10,
        first_segment_bytes: 16 << 10,
        compact_bytes: 64 << 10,
        ..JournalConfig::default()
    }
}

fn open(directory: &Scratch) -> Result<(JournalStore, mpsc::Receiver<Durable>), OpenError> {
    let (sender, receiver) = mpsc::channel();
    let notify = Box::new(move |durable| {
        let _ = sender.send(durable);
    });
    Ok((
        JournalStore::open(&directory.0, config(), notify)?,
        receiver,
    ))
}

fn wait(told: &mpsc::Receiver<Durable>, seq: Seq) {
    loop {
        match told
            .recv_timeout(Duration::from_secs(60))
            .expect("the thread tells")
        {
            Durable::UpTo(up_to) if up_to >= seq => return,
            Durable::UpTo(_) => {}
            Durable::Failed(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_directory_is_written_locked_inspected_and_opened_again() {
    let directory = Scratch::new("journal");
    let (mut store, told) = open(&directory).expect("opens");
    assert!(matches!(open(&directory), Err(OpenError::InUse)));
    let mut memory = MemoryStore::new(limits());
    let mut history = History::new(11);
    for step in 0..6000 {
        let operation = history.next();
        let (outcome, after) = run(&mut store, operation.clone());
        let (expected, _) = run(&mut memory, operation.clone());
        assert_eq!(outcome, expected);
        history.learn(&operation, &outcome);
        if step % 10 == 0 {
            store.flush();
        }
        if step % 1000 == 999 && after > store.durable() {
            store.flush();
            wait(&told, after);
            assert!(store.durable() >= after);
        }
    }
    let stats = store.stats();
    assert!(
        stats.syncs > 0 && stats.syncs <= 610,
        "batches share syncs: {}",
        stats.syncs
    );
    let image = store.image();
    drop(store);
    let mut listing = Vec::new();
    let report = inspect(&directory.0, &mut listing).expect("is sound");
    assert_eq!(report, verify(&directory.0).expect("is sound"));
    assert!(report.snapshot > 0 && !report.torn, "{report:?}");
    assert_eq!(report.last, memory.durable().0);
    let listing = String::from_utf8(listing).expect("is text");
    assert_eq!(listing.matches("\nlive ").count(), report.globals);
    let (store, _) = open(&directory).expect("opens again");
    assert!(store.image() == image && image == memory.image());
    assert_eq!(store.durable(), memory.durable());
}

#[test]
fn what_another_version_wrote_is_refused_with_its_name() {
    let directory = Scratch::new("version");
    drop(open(&directory).expect("opens"));
    let mut names: Vec<_> = std::fs::read_dir(&directory.0)
        .expect("lists")
        .map(|entry| entry.expect("lists").path())
        .filter(|path| path.extension().is_some_and(|suffix| suffix == "segment"))
        .collect();
    names.sort();
    let mut bytes = std::fs::read(&names[0]).expect("reads");
    bytes[8] = 2;
    std::fs::write(&names[0], bytes).expect("writes");
    let error = open(&directory).expect_err("is refused");
    assert!(error.to_string().contains("has format 2"), "{error}");
    assert!(matches!(
        verify(&directory.0),
        Err(OpenError::Newer { version: 2, .. })
    ));
}
