//! Runs the bodies of the fuzz targets on damaged real frames: a short pass in every test run, a long one on demand.
//!
//! - `SEAMIO_FUZZ_ITERATIONS`: runs per target (default 20,000)
//! - `SEAMIO_FUZZ_SEED`: where the damage starts (default 1); a failure prints the bytes that broke the promise
//! - `SEAMIO_FUZZ_CORPUS`: a folder to write the undamaged inputs to, as a start for libFuzzer

#[allow(unreachable_pub)] // Public in the package of the fuzzer.
#[path = "fuzz/targets.rs"]
mod targets;
#[allow(dead_code)] // The fields of the frames are for the conformance tests.
#[path = "wire/vectors.rs"]
mod vectors;

use std::fmt::Write as _;

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

/// Damages entries of the corpus and feeds them to the target.
fn run(name: &str, target: fn(&[u8]), corpus: Vec<Vec<u8>>) {
    assert!(corpus.len() > 50, "{name} has a corpus");
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
