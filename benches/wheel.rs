//! What a timer costs: insert, cancel, re-arm and expiry with 10 thousand and with 1 million timers live.
//!
//! `cargo bench --bench wheel [-- --csv]`. Deadlines are spread over one minute, as idle checks and request timeouts are.
//! `floor` is one random write into a table of as many entries of the same size: what the memory alone costs.

#[path = "../tests/wire/allocation.rs"]
mod allocation;
mod report;

use report::{Table, Times, measure, scatter};
use seamio::net::wheel::{Tick, TimerId, Wheel};

fn main() {
    let table = Table::new(&["timers", "allocs/op"]);
    for timers in [10_000, 1_000_000] {
        let mut bench = Bench::new(timers);
        let floor = bench.floor();
        let mut case = |name: &str, work: fn(&mut Bench) -> Times| {
            let before = bench.operations;
            let (spent, times) = allocation::measured(|| work(&mut bench));
            // A few belong to the samples and to the bench's own lists.
            let each =
                spent.count.saturating_sub(OWN) as f64 / (bench.operations - before).max(1) as f64;
            table.row(name, &[timers as f64, each], Some(times), Some(floor));
        };
        case("insert", Bench::insert);
        case("cancel", Bench::cancel);
        case("re-arm", Bench::rearm);
        case("next_deadline", Bench::next_deadline);
        case("expire, a step at a time", Bench::expire_steadily);
        case("expire, all after one jump", Bench::expire_at_once);
    }
}

struct Bench {
    wheel: Wheel<u64>,
    ids: Vec<TimerId>,
    table: Vec<[u64; 5]>,
    now: u64,
    operations: usize,
}

impl Bench {
    /// `timers` live timers, and room for those the insert case adds.
    fn new(timers: usize) -> Self {
        let mut wheel = Wheel::with_capacity(timers + OPERATIONS);
        let ids = (0..timers as u64)
            .map(|n| wheel.insert(Tick(delay(n)), n))
            .collect();
        Bench {
            wheel,
            ids,
            table: vec![[0; 5]; timers],
            now: 0,
            operations: 0,
        }
    }

    fn run<T>(&mut self, mut work: impl FnMut(&mut Self, usize) -> T) -> Times {
        self.operations += OPERATIONS;
        measure(OPERATIONS / RUNS, RUNS, |n| work(self, n))
    }

    fn floor(&mut self) -> f64 {
        let entries = self.table.len() as u64;
        self.run(|bench, n| bench.table[(scatter(n as u64) % entries) as usize][0] += 1)
            .p50
    }

    fn insert(&mut self) -> Times {
        let before = self.ids.len();
        self.ids.reserve(OPERATIONS);
        let times = self.run(|bench, n| {
            let deadline = Tick(bench.now + delay(!(n as u64)));
            let id = bench.wheel.insert(deadline, 0);
            bench.ids.push(id);
        });
        for id in self.ids.drain(before..) {
            self.wheel.cancel(id);
        }
        times
    }

    /// Cancels timers in random order, and puts them back outside the measurement.
    fn cancel(&mut self) -> Times {
        let timers = self.ids.len();
        let mut order: Vec<usize> = (0..timers).collect();
        for last in (1..timers).rev() {
            order.swap(last, scatter(last as u64) as usize % (last + 1));
        }
        order.truncate(OPERATIONS.min(timers / 2));
        self.operations += order.len();
        let samples = order.len() / RUNS;
        let times = measure(samples, RUNS, |n| self.wheel.cancel(self.ids[order[n]]));
        for at in order {
            self.wheel.cancel(self.ids[at]);
            self.ids[at] = self.wheel.insert(Tick(self.now + delay(at as u64)), 0);
        }
        times
    }

    fn rearm(&mut self) -> Times {
        let timers = self.ids.len() as u64;
        self.run(|bench, n| {
            let id = bench.ids[(scatter(n as u64) % timers) as usize];
            bench
                .wheel
                .reset(id, Tick(bench.now + delay(n as u64 ^ timers)))
        })
    }

    fn next_deadline(&mut self) -> Times {
        self.run(|bench, _| bench.wheel.next_deadline())
    }

    /// Sleeps to each next deadline; what fires is inserted again, so the number of timers stays. Per expired timer,
    /// with its insertion.
    fn expire_steadily(&mut self) -> Times {
        self.run(|bench, n| {
            loop {
                if let Some((id, value)) = bench.wheel.pop_expired(Tick(bench.now)) {
                    return (
                        id,
                        bench.wheel.insert(Tick(bench.now + delay(n as u64)), value),
                    );
                }
                bench.now = bench.wheel.next_deadline().map_or(bench.now, |next| next.0);
            }
        })
    }

    /// Everything is due after one jump of an hour.
    fn expire_at_once(&mut self) -> Times {
        let then = Tick(self.now + 3_600_000);
        let timers = self.wheel.len();
        self.operations += timers;
        let times = measure(timers / RUNS, RUNS, |_| self.wheel.pop_expired(then));
        assert!(
            self.wheel.len() < RUNS,
            "all but the last incomplete sample fired"
        );
        times
    }
}

/// Up to a minute.
fn delay(number: u64) -> u64 {
    1 + scatter(number) % 60_000
}

const OPERATIONS: usize = 200_000;
const RUNS: usize = 100;
/// Allocations a case makes for itself.
const OWN: usize = 4;
