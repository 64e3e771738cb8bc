//! Runs the bodies of the fuzz targets on damaged real frames and journals: a short pass in every test run, a long one
//! on demand.
//!
//! - `SEAMIO_FUZZ_ITERATIONS`: runs per target (default 20,000)
//! - `SEAMIO_FUZZ_SEED`: where the damage starts (default 1); a failure prints the bytes that broke the promise
//! - `SEAMIO_FUZZ_CORPUS`: a folder to write the undamaged inputs to, as a start for libFuzzer

#[allow(dead_code)] // Its other parts are for the tests of the stores.
#[path = "store/history.rs"]
mod history;
#[allow(unreachable_pub)] // Public in the package of the fuzzer.
#[path = "fuzz/targets.rs"]
mod targets;
#[cfg(feature = "sql")]
#[allow(dead_code)] // Its other parts are for the tests of undo logs.
#[path = "undo_log/vectors.rs"]
mod undo_logs;
#[allow(dead_code)] // The fields of the frames are for the conformance tests.
#[path = "wire/vectors.rs"]
mod vectors;

use std::fmt::Write as _;

use history::{History, limits};
use seamio::sim::disk::SimDisk;
use seamio::tc::store::journal::JournalConfig;
use seamio::tc::store::journal::disk::Disk;
use seamio::tc::store::{JournalStore, Store, Ticket};

#[test]
fn frames() {
    let corpus = vectors::all().into_iter().map(|v| v.bytes.to_vec());
    run("frame", targets::frame, corpus.collect());
}

#[test]
fn bodies_of_the_seata_serializer() {
    let plain = |v: &vectors::Vector| v.bytes.len() > 16 && v.bytes[7..12] == [0, 16, 0, 1, 0];
    let answer = |v: &vectors::Vector| v.bytes.len() > 16 && v.bytes[7..12] == [0, 16, 1, 1, 0];
    let corpus = vectors::all().into_iter().filter(|v| plain(v) || answer(v));
    let corpus = corpus.map(|v| {
        let mut input = vec![v.table() as u8];
        input.extend_from_slice(&v.bytes[16..]);
        input
    });
    run("seata_body", targets::seata_body, corpus.collect());
}

#[test]
fn files_of_a_journal() {
    let journals = (1..=10).map(journal);
    let files = journals.flat_map(|disk| {
        let names = disk.list().expect("lists");
        let files = names.into_iter().map(move |name| disk.contents(&name));
        files.map(|file| file.expect("is there"))
    });
    // The end of a segment is zeros; they would take most of the damage.
    let files = files.map(|mut file| {
        let used = file.iter().rposition(|byte| *byte != 0);
        file.truncate(used.map_or(0, |at| at + 64));
        file
    });
    run("journal", targets::journal, files.collect());
}

#[test]
fn records_of_a_journal() {
    let mut batches = Vec::new();
    for seed in 1..=10 {
        let disk = journal(seed);
        for name in disk.list().expect("lists") {
            if name.ends_with(".segment") {
                batches.extend(records(&disk.contents(&name).expect("is there")));
            }
        }
    }
    run("journal_records", targets::journal_records, batches);
}

#[cfg(feature = "sql")]
#[test]
fn statements() {
    let statements = [
        "UPDATE stock SET qty = qty - ? WHERE id = ? ORDER BY id LIMIT ?",
        "UPDATE stock AS s SET s.qty = ?, sku = 'a?''b' WHERE s.id IN (?, 7) -- why?",
        "UPDATE stock SET (qty, sku) = ($1, $$ ' $$) WHERE id = $2 RETURNING *",
        "UPDATE stock a JOIN stock b ON a.id = ? SET a.qty = ?, b.qty = 2 WHERE b.id = ?",
        "DELETE FROM `stock` WHERE id BETWEEN ? AND ? /* all? */;",
        "INSERT INTO stock (id, sku) VALUES (?, ?), (NULL, DEFAULT), (-1, x'00')",
        "INSERT INTO stock (id, sku) VALUES (?1, ?2) ON CONFLICT (sku) DO UPDATE SET qty = 1",
        "INSERT stock SET id = ?, qty = lower(?) ON DUPLICATE KEY UPDATE qty = VALUES(qty) + ?",
        "INSERT INTO stock DEFAULT VALUES RETURNING id",
        "SELECT ?, qty FROM stock WHERE id = ? FOR UPDATE",
        "WITH a AS (SELECT 1) SELECT * FROM a WHERE \"b\" = [c]",
        "ROLLBACK TO SAVEPOINT a",
    ];
    let corpus = statements
        .iter()
        .flat_map(|sql| [0, 1, 2, 128].map(|choice: u8| [&[choice], sql.as_bytes()].concat()));
    run("statement", targets::statement, corpus.collect());
}

#[cfg(feature = "sql")]
#[test]
fn undo_logs_of_java_clients() {
    use seamio::client::at::undo_log::{Format, Serializer, encode};
    let dialects = ["jackson", "fastjson", "seamio-json"];
    let containers = ["NONE", "GZIP", "ZIP", "BZIP2", "LZ4", "DEFLATER", "ZSTD"];
    let mut corpus =
        vec![b"\xFFserializer=jackson&compressorType=NONE&map=1024&subId=1,2,".to_vec()];
    for case in undo_logs::kept() {
        for log in case.undo_logs() {
            let named = |names: &[&str]| {
                let mut names = names.iter();
                names.position(|name| log.context.contains(&format!("={name}")))
            };
            let (Some(container), Some(dialect)) = (named(&containers), named(&dialects)) else {
                continue;
            };
            if log.content.len() > 3000 {
                continue;
            }
            let kind = container * 3 + dialect;
            corpus.push([&[kind as u8], log.content.as_slice()].concat());
            let read = case.format().map(|format| log.decoded(&format));
            if let Some(Ok(read)) = read {
                let native = Format {
                    serializer: Serializer::Native,
                    ..Format::default()
                };
                let written = encode(&read, &native, None).expect("it was read");
                corpus.push([&[2_u8], written.content.as_slice()].concat());
            }
        }
    }
    run("undo_log", targets::undo_log, corpus);
}

/// The journal of a random history.
fn journal(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    let config = JournalConfig {
        limits: limits(),
        segment_bytes: 12 << 10,
        first_segment_bytes: 8 << 10,
        spare_segments: 1,
        compact_bytes: 16 << 10,
        reserve_bytes: 6 << 10,
        ..JournalConfig::default()
    };
    let mut store = JournalStore::open_inline(disk.clone(), config).expect("opens");
    let mut history = History::new(seed);
    for _ in 0..60 {
        for _ in 0..8 {
            let operation = history.next();
            store.submit(Ticket(1), operation.clone());
            let done = store.poll_completion().expect("answered at once");
            history.learn(&operation, &done.outcome);
        }
        store.flush();
        store.poll_sync();
    }
    disk
}

/// The records of each frame of a segment, read off the format.
fn records(segment: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut at = 4096;
    while let Some(length) = segment.get(at + 4..at + 8) {
        let length = u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
        let Some(records) = segment.get(at + 32..at + 32 + length) else {
            break;
        };
        if length == 0 {
            break;
        }
        frames.push(records.to_vec());
        at = (at + 32 + length).next_multiple_of(8);
    }
    frames
}

/// Damages entries of the corpus and feeds them to the target.
fn run(name: &str, target: fn(&[u8]), corpus: Vec<Vec<u8>>) {
    assert!(corpus.len() >= 20, "{name} has a corpus");
    if let Some(folder) = std::env::var_os("SEAMIO_FUZZ_CORPUS") {
        let folder = std::path::Path::new(&folder).join(name);
        std::fs::create_dir_all(&folder).expect("a folder for the corpus");
        for (at, input) in corpus.iter().enumerate() {
            std::fs::write(folder.join(format!("{at:04}")), input).expect("a file of the corpus");
        }
    }
    for input in &corpus {
        let _report = Report(input);
        target(input);
    }
    let iterations = number("SEAMIO_FUZZ_ITERATIONS", 20_000);
    let mut random = Random(number("SEAMIO_FUZZ_SEED", 1).max(1));
    let mut input = Vec::new();
    for _ in 0..iterations {
        input.clear();
        input.extend_from_slice(random.pick::<Vec<u8>>(&corpus));
        for _ in 0..=random.below(4) {
            damage(&mut input, &mut random, &corpus);
        }
        let _report = Report(&input);
        target(&input);
    }
    println!("{name}: {iterations} damaged inputs");
}

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable} must be a number, not {text}")),
        Err(_) => default,
    }
}

fn damage(input: &mut Vec<u8>, random: &mut Random, corpus: &[Vec<u8>]) {
    const TELLING: [i32; 12] = [
        0,
        1,
        -1,
        2,
        16,
        127,
        128,
        255,
        32767,
        32768,
        0x0080_0000,
        i32::MIN,
    ];
    let at = random.below(input.len() + 1);
    match random.below(7) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = random.next() as u8,
        2 => input.truncate(at),
        3 => input.insert(at, random.next() as u8),
        4 if at < input.len() => {
            let end = (at + 1 + random.below(8)).min(input.len());
            input.drain(at..end);
        }
        5 => {
            let value = random.pick(&TELLING).to_be_bytes();
            let value = &value[4 - [1, 2, 4][random.below(3)]..];
            let end = (at + value.len()).min(input.len());
            input.splice(at..end, value.iter().copied());
        }
        _ => {
            let other = random.pick(corpus);
            let from = random.below(other.len() + 1);
            let end = (from + random.below(64)).min(other.len());
            input.splice(at..at, other[from..end].iter().copied());
        }
    }
}

/// Prints the input when the target panics.
struct Report<'a>(&'a [u8]);

impl Drop for Report<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let hex = self.0.iter().fold(String::new(), |mut hex, byte| {
                write!(hex, "{byte:02x}").expect("a string takes all");
                hex
            });
            eprintln!("input: {hex}");
        }
    }
}

/// xorshift64*: small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}
