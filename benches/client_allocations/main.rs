//! Allocations of the client per empty global transaction, begin and commit, once it is warm.
//!
//! `cargo bench --all-features --bench client_allocations [-- --csv] [-- --where FRAMES]`. The coordinator is a process of its own;
//! so many transactions are under way at once, on one thread of the host. `--where` lists the callers of the allocations instead,
//! by thread, with so many functions each: most of what is counted was asked for by the innermost.

#[path = "../allocations/mod.rs"]
mod allocations;
#[path = "../coordinator/mod.rs"]
mod coordinator;
#[path = "../report/mod.rs"]
mod report;

use allocations::Counting;
use coordinator::{Coordinator, serve_if_asked};
use report::{Table, Times, argument, now};
use seamio::client::{File, Seata, TxOptions};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    serve_if_asked();
    let coordinator = Coordinator::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let frames = argument("--where").map(|n| n.parse().expect("--where takes a number"));
    runtime.block_on(async {
        let built = Seata::builder()
            .application("bench")
            .registry(File::new([coordinator.address.as_str()]))
            .build();
        let (seata, background) = built.await.expect("a coordinator");
        tokio::spawn(background);
        match frames {
            Some(frames) => callers(&seata, frames).await,
            None => table(&seata).await,
        }
    });
}

async fn table(seata: &Seata) {
    let table = Table::new(&["allocations", "bytes"]);
    for at_once in [1, 16, 64] {
        transactions(seata, at_once, WARM).await;
        let before = allocations::switch_on();
        let samples = transactions(seata, at_once, COUNTED).await;
        let counted = allocations::switch_off(before);
        let each = |count: u64| (count as f64 / f64::from(COUNTED) * 100.0).round() / 100.0;
        let counts = [each(counted.count), each(counted.bytes)];
        let name = format!("empty, {at_once} at once");
        table.row(&name, &counts, Some(Times::of(samples)), None);
    }
}

async fn callers(seata: &Seata, frames: u64) {
    transactions(seata, 1, WARM).await;
    allocations::trace_on(frames);
    transactions(seata, 1, COUNTED).await;
    for (caller, allocations) in allocations::trace_off() {
        let each = allocations.count as f64 / f64::from(COUNTED);
        if each >= 0.01 {
            println!(
                "{each:>7.2} {:>6} B  {caller}",
                allocations.bytes / u64::from(COUNTED)
            );
        }
    }
}

/// Runs so many transactions, so many at once; gives the nanoseconds of each.
async fn transactions(seata: &Seata, at_once: u32, count: u32) -> Vec<f64> {
    let tasks: Vec<_> = (0..at_once)
        .map(|_| {
            let seata = seata.clone();
            tokio::spawn(async move {
                let mut samples = Vec::with_capacity((count / at_once) as usize);
                for _ in 0..count / at_once {
                    let began = now();
                    let tx = seata.begin(TxOptions::new("bench")).await;
                    let outcome = tx.expect("a transaction").commit().await;
                    assert!(outcome.is_committed(), "{outcome:?}");
                    samples.push(began.elapsed().as_nanos() as f64);
                }
                samples
            })
        })
        .collect();
    let mut samples = Vec::new();
    for task in tasks {
        samples.extend(task.await.expect("no panic"));
    }
    samples
}

const WARM: u32 = 2000;
/// Divisible by what runs at once.
const COUNTED: u32 = 6400;
