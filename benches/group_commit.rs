//! What durable costs: records per second and latency of the journal, against bare `pwrite` and `fdatasync`.
//!
//! `cargo bench --bench group_commit [-- --csv] [-- --seconds N] [-- --directory DIR] [-- --recovery]`. So many
//! transactions run at once, each begins and commits and waits for both to be durable; times are from the submission of
//! an operation until it may be told. The floor is the median of one `pwrite` of 4 KiB and one `fdatasync` in a file that
//! was filled before, in the same directory. `--recovery` measures instead how long a start takes with 100,000 live
//! transactions, each with a branch and a lock, out of the log alone and out of a snapshot.

mod report;

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use report::{Table, Times, argument, now};
use seamio::proto::Text;
use seamio::proto::status::BranchType;
use seamio::tc::store::{
    Decision, Durable, JournalConfig, JournalStore, NewBranch, NewGlobal, Operation, Outcome, Seq,
    Store, Ticket,
};
use seamio::xid::{BranchId, Xid};

fn main() {
    let directory = argument("--directory").map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = directory.join(format!("seamio-group-commit-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("the directory can be made");
    match std::env::args().any(|argument| argument == "--recovery") {
        true => recovery(&directory),
        false => commits(&directory),
    }
    std::fs::remove_dir_all(&directory).expect("the directory can be removed");
}

fn commits(directory: &Path) {
    let seconds = argument("--seconds")
        .and_then(|n| n.parse().ok())
        .unwrap_or(3);
    let columns = ["records/s", "syncs", "records/sync", "sync_B", "lane_ns/op"];
    let table = Table::new(&columns);
    let floor = floor(&directory.join("floor"));
    table.row("pwrite 4 KiB + fdatasync", &[0.0; 5], Some(floor), None);
    for delay_ms in [0, 1] {
        for waiting in [1, 16, 64, 256] {
            let at = directory.join(format!("{delay_ms}-{waiting}"));
            let config = JournalConfig {
                sync_delay: Duration::from_millis(delay_ms),
                ..JournalConfig::default()
            };
            let seconds = Duration::from_secs(seconds);
            let run = commit_for(&at, config, waiting, seconds);
            let floor = floor.p50 + delay_ms as f64 * 1e6;
            let name = match delay_ms {
                0 => format!("{waiting} waiting"),
                _ => format!("{waiting} waiting, sync + {delay_ms} ms"),
            };
            table.row(&name, &run.0, Some(run.1), Some(floor));
        }
    }
}

/// One write and one sync at a time, in a file whose blocks are there.
fn floor(path: &Path) -> Times {
    let file = File::create(path).expect("the file can be made");
    file.write_all_at(&vec![0; 4 << 20], 0).expect("written");
    file.sync_all().expect("synced");
    let mut samples = Vec::new();
    for n in 0..400_u64 {
        let start = now();
        file.write_all_at(&[n as u8; 4096], n * 4096)
            .expect("written");
        file.sync_data().expect("synced");
        samples.push(start.elapsed().as_nanos() as f64);
    }
    Times::of(samples)
}

/// Begins and commits, `waiting` at once, as the coordinator's lane would: submit what may go on, flush, wait.
fn commit_for(
    directory: &Path,
    config: JournalConfig,
    waiting: usize,
    time: Duration,
) -> ([f64; 5], Times) {
    let (mut store, told) = open(directory, config);
    let (mut samples, mut busy) = (Vec::new(), Duration::ZERO);
    let mut parked: VecDeque<(Seq, Instant, Option<i64>)> = VecDeque::new();
    let mut next_id = 1_i64;
    let mut ready: Vec<Option<i64>> = vec![None; waiting];
    let start = now();
    while start.elapsed() < time {
        let turn = now();
        for begun in ready.drain(..) {
            let (operation, then) = match begun {
                None => {
                    next_id += 1;
                    (begin(next_id), Some(next_id))
                }
                Some(id) => (commit(id), None),
            };
            store.submit(Ticket(0), operation);
            let completion = store.poll_completion().expect("at once");
            parked.push_back((completion.after, turn, then));
        }
        store.flush();
        busy += turn.elapsed();
        match told.recv_timeout(Duration::from_secs(30)) {
            Ok(Durable::UpTo(_)) => {}
            other => panic!("{other:?}"),
        }
        let durable = store.durable();
        let ripe = parked
            .iter()
            .take_while(|parked| parked.0 <= durable)
            .count();
        for (_, since, then) in parked.drain(..ripe) {
            samples.push(since.elapsed().as_nanos() as f64);
            ready.push(then);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let stats = store.stats();
    let records = samples.len() as f64;
    let counts = [
        (records / seconds).round(),
        stats.syncs as f64,
        (records / stats.syncs as f64 * 10.0).round() / 10.0,
        (stats.bytes_written as f64 / stats.syncs as f64).round(),
        (busy.as_nanos() as f64 / records).round(),
    ];
    (counts, Times::of(samples))
}

fn recovery(directory: &Path) {
    const LIVE: i64 = 100_000;
    let table = Table::new(&["live", "log_bytes", "start_ms"]);
    for (name, compact_bytes) in [
        ("out of the log", u64::MAX),
        ("out of a snapshot", 16 << 20),
    ] {
        let at = directory.join(name);
        let config = JournalConfig {
            compact_bytes,
            ..JournalConfig::default()
        };
        let (mut store, told) = open(&at, config.clone());
        let mut last = Seq(0);
        for n in 0..LIVE {
            for operation in [begin(2 * n + 1), register(2 * n + 1, 2 * n + 2)] {
                store.submit(Ticket(0), operation);
                let completion = store.poll_completion().expect("at once");
                assert_eq!(completion.outcome, Outcome::Done);
                last = completion.after;
            }
            if n % 500 == 0 {
                store.flush();
            }
        }
        store.flush();
        while store.durable() < last {
            told.recv_timeout(Duration::from_secs(30)).expect("told");
        }
        let bytes = store.stats().bytes_written;
        drop(store);
        let samples: Vec<_> = (0..9)
            .map(|_| {
                let start = now();
                let (store, _) = open(&at, config.clone());
                let took = start.elapsed().as_nanos() as f64;
                assert_eq!(store.stats().globals, LIVE as usize);
                assert_eq!(store.stats().locks, LIVE as usize);
                took
            })
            .collect();
        let times = Times::of(samples);
        let start_ms = (times.p50 / 1e5).round() / 10.0;
        table.row(
            name,
            &[LIVE as f64, bytes as f64, start_ms],
            Some(times),
            None,
        );
    }
}

fn open(directory: &Path, config: JournalConfig) -> (JournalStore, mpsc::Receiver<Durable>) {
    let (sender, told) = mpsc::channel();
    let notify = Box::new(move |durable| {
        let _ = sender.send(durable);
    });
    let store = JournalStore::open(directory, config, notify);
    (store.expect("the journal opens"), told)
}

fn begin(id: i64) -> Operation {
    Operation::Begin(NewGlobal {
        xid: Xid::new("192.168.100.100:8091", id),
        application_id: Text::from_static("order-service"),
        transaction_service_group: Text::from_static("default_tx_group"),
        name: Text::from_static("createOrder(java.lang.String,int)"),
        timeout_ms: 60_000,
        begin_ms: 0,
    })
}

fn register(id: i64, branch: i64) -> Operation {
    Operation::Register(NewBranch {
        xid: Xid::new("192.168.100.100:8091", id),
        branch_id: BranchId(branch),
        branch_type: BranchType::At,
        resource_id: Text::from_static("jdbc:mysql://127.0.0.1:3306/orders"),
        client_id: Text::from_static("order-service:192.168.100.101:50000"),
        application_data: Text::from_static("{\"autoCommit\":false}"),
        lock_key: Text::from(format!("orders:{id}")),
        now_ms: 0,
    })
}

fn commit(id: i64) -> Operation {
    Operation::Decide {
        xid: Xid::new("192.168.100.100:8091", id),
        decision: Decision::Commit,
        now_ms: 0,
    }
}
