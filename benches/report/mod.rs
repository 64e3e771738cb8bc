//! Rows of counts and times, for people or as CSV (`--csv`). Counts come first: they do not depend on the machine's mood.

#![allow(dead_code)] // Each benchmark uses its part.

use std::hint::black_box;
use std::time::Instant;

/// Prints one row per case.
pub(crate) struct Table {
    csv: bool,
    counts: usize,
}

impl Table {
    /// A table whose rows have these counts before the times.
    pub(crate) fn new(counts: &[&str]) -> Self {
        let csv = std::env::args().any(|argument| argument == "--csv");
        let times = ["p50_ns", "p99_ns", "p99.9_ns", "floor_ns"];
        if csv {
            println!("case,{}", [counts, &times].concat().join(","));
        } else {
            print!("{:<36}", "case");
            counts.iter().for_each(|name| print!("{name:>14}"));
            times.iter().for_each(|name| print!("{name:>11}"));
            println!();
        }
        Table {
            csv,
            counts: counts.len(),
        }
    }

    /// A case with its counts, its times, and the median of the same without what is measured.
    pub(crate) fn row(&self, case: &str, counts: &[f64], times: Option<Times>, floor: Option<f64>) {
        assert_eq!(counts.len(), self.counts);
        let times = times.map_or([None; 3], |t| [Some(t.p50), Some(t.p99), Some(t.p99_9)]);
        let times = times.into_iter().chain([floor]);
        if self.csv {
            let counts = counts.iter().map(|count| count.to_string());
            let times = times.map(|time| time.map_or(String::new(), |time| format!("{time:.1}")));
            println!(
                "{case},{}",
                counts.chain(times).collect::<Vec<_>>().join(",")
            );
        } else {
            print!("{case:<36}");
            for count in counts {
                match count.fract() == 0.0 {
                    true => print!("{count:>14}"),
                    false => print!("{count:>14.4}"),
                }
            }
            times.for_each(|time| match time {
                Some(time) => print!("{time:>11.1}"),
                None => print!("{:>11}", "-"),
            });
            println!();
        }
    }

    /// A remark below the rows; not part of the CSV.
    pub(crate) fn remark(&self, text: &str) {
        if !self.csv {
            println!("{text}");
        }
    }
}

/// Percentiles over samples, in nanoseconds per operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
}

impl Times {
    /// The percentiles of these samples.
    pub(crate) fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let at = |share: f64| samples[((samples.len() - 1) as f64 * share) as usize];
        Times {
            p50: at(0.5),
            p99: at(0.99),
            p99_9: at(0.999),
        }
    }
}

/// Times `samples` runs of `runs` operations each; the operation gets its number, counted over all of them.
pub(crate) fn measure<T>(samples: usize, runs: usize, mut work: impl FnMut(usize) -> T) -> Times {
    let mut times = Vec::with_capacity(samples);
    for sample in 0..samples {
        let start = now();
        for run in 0..runs {
            black_box(work(sample * runs + run));
        }
        times.push(start.elapsed().as_nanos() as f64 / runs as f64);
    }
    Times::of(times)
}

/// A cheap sequence of well-mixed numbers.
pub(crate) fn scatter(number: u64) -> u64 {
    let word = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// What stands behind a flag of the command line.
pub(crate) fn argument(name: &str) -> Option<String> {
    let mut arguments = std::env::args();
    arguments.find(|argument| argument == name)?;
    arguments.next()
}

#[allow(clippy::disallowed_methods)] // A benchmark reads the clock.
pub(crate) fn now() -> Instant {
    Instant::now()
}
