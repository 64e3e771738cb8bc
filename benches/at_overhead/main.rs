//! What a statement costs in AT mode: the same local transaction on the same connection, plain and as a branch.
//!
//! `cargo bench --all-features --bench at_overhead [-- --csv] [-- --samples N] [-- --show] [-- --where FRAMES]`, on SQLite and on the servers that
//! `SEAMIO_MYSQL_URL` and `SEAMIO_POSTGRES_URL` name (`eval "$(tests/databases/run env)"`). The coordinator is a process of its
//! own with its store in memory.
//!
//! | column | per local transaction with one statement |
//! |---|---|
//! | `stmt` | statements besides BEGIN and COMMIT: plain, as a branch, and the least that AT can do with |
//! | `trips` | round trips to the database with BEGIN and COMMIT, at a counting proxy; 0 for SQLite, which has none |
//! | `asks` | requests to the coordinator |
//! | `allocs` | allocations of the process, all threads |
//! | `cpu_us` | CPU time of the process, all threads, kernel and user |
//! | p50 … | from BEGIN to the answer of COMMIT, as a branch; `floor_ns` is the median of the plain one |
//!
//! Counts are of a warm connection: tables described, statements prepared. CPU and times are of transactions that take turns.
//! The row `phase two` says what a committed branch costs later. `--show` prints the statements of a branch
//! instead of measuring, `--where` who asks for its allocations, with so many functions each.

#[path = "../allocations/mod.rs"]
mod allocations;
#[path = "../coordinator/mod.rs"]
mod coordinator;
#[allow(dead_code, unused_macros)] // Made for the tests of AT.
#[path = "../../tests/at/database.rs"]
mod database;
#[path = "../report/mod.rs"]
mod report;
mod scene;
mod statements;
mod wire;

use std::time::Duration;

use allocations::{Allocations, Counting};
use coordinator::{Coordinator, serve_if_asked};
use database::Kind;
use report::{Table, Times, argument, now};
use scene::{Case, Measured, Scene, Way};
use statements::LOG;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    serve_if_asked();
    log::set_logger(&LOG).expect("no other log");
    let samples = argument("--samples")
        .and_then(|n| n.parse().ok())
        .unwrap_or(200);
    let coordinator = Coordinator::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let wanted = if std::env::args().any(|argument| argument == "--show") {
        Wanted::Statements
    } else if let Some(frames) = argument("--where") {
        Wanted::Callers(frames.parse().expect("--where takes a number"))
    } else {
        Wanted::Figures(Table::new(&COLUMNS), samples)
    };
    runtime.block_on(async {
        look_at::<sqlx::Sqlite>(&coordinator, &wanted).await;
        look_at::<sqlx::MySql>(&coordinator, &wanted).await;
        look_at::<sqlx::Postgres>(&coordinator, &wanted).await;
    });
}

const COLUMNS: [&str; 11] = [
    "stmt_plain",
    "stmt_at",
    "stmt_least",
    "trips_plain",
    "trips_at",
    "asks_at",
    "allocs_plain",
    "allocs_at",
    "cpu_us_plain",
    "cpu_us_at",
    "at_bytes",
];

/// What is told of each case.
enum Wanted {
    /// With so many samples.
    Figures(Table, u32),
    Statements,
    /// With so many functions.
    Callers(u64),
}

async fn look_at<DB: Measured>(coordinator: &Coordinator, wanted: &Wanted) {
    let Some(mut scene) = Scene::<DB>::open(&coordinator.address).await else {
        return;
    };
    for case in Case::of(DB::KIND) {
        let name = format!("{}: {}", name_of(DB::KIND), case.name);
        match wanted {
            Wanted::Figures(table, samples) => {
                measure_case(&mut scene, &case, table, &name, *samples).await;
            }
            Wanted::Statements => show(&mut scene, &case, &name).await,
            Wanted::Callers(frames) => callers(&mut scene, &case, &name, *frames).await,
        }
    }
    if let Wanted::Figures(table, _) = wanted {
        let statements = scene.phase_two(BRANCHES).await;
        let mut counts = [0.0; COLUMNS.len()];
        counts[1] = statements;
        let name = format!("{}: phase two", name_of(DB::KIND));
        table.row(&name, &counts, None, None);
    }
}

async fn measure_case<DB: Measured>(
    scene: &mut Scene<DB>,
    case: &Case,
    table: &Table,
    name: &str,
    samples: u32,
) {
    let each = |count: u64| (count as f64 / f64::from(COUNTED) * 100.0).round() / 100.0;
    let plain = counted(scene, case, Way::Plain).await;
    let at = counted(scene, case, Way::Branch).await;
    let timed = timed(scene, case, samples).await;
    let micros = |time: Duration| (time.as_micros() as f64 / f64::from(samples)).round();
    let counts = [
        each(plain.statements),
        each(at.statements),
        case.least,
        each(plain.trips),
        each(at.trips),
        each(at.asks),
        each(plain.allocations.count),
        each(at.allocations.count),
        micros(timed.cpu[0]),
        micros(timed.cpu[1]),
        each(at.allocations.bytes).round(),
    ];
    table.row(name, &counts, Some(timed.at), Some(timed.plain.p50));
}

async fn show<DB: Measured>(scene: &mut Scene<DB>, case: &Case, name: &str) {
    scene.local(case, Way::Branch).await;
    LOG.listen();
    scene.local(case, Way::Branch).await;
    let (_, texts) = LOG.heard();
    println!("{name}");
    texts
        .iter()
        .for_each(|text| println!("    {}", text.replace('\n', " ")));
    scene.settle().await;
}

async fn callers<DB: Measured>(scene: &mut Scene<DB>, case: &Case, name: &str, frames: u64) {
    for _ in 0..WARM {
        scene.local(case, Way::Branch).await;
    }
    allocations::trace_on(frames);
    for _ in 0..COUNTED {
        scene.local(case, Way::Branch).await;
    }
    println!("{name}");
    for (caller, allocations) in allocations::trace_off() {
        let each = allocations.count as f64 / f64::from(COUNTED);
        if each >= 0.5 {
            println!("{each:>8.2}  {caller}");
        }
    }
    scene.settle().await;
}

/// What some local transactions took.
struct Counted {
    statements: u64,
    trips: u64,
    asks: u64,
    allocations: Allocations,
}

async fn counted<DB: Measured>(scene: &mut Scene<DB>, case: &Case, way: Way) -> Counted {
    for _ in 0..WARM {
        scene.local(case, way).await;
        scene.local_counted(case, way).await;
    }
    let (trips, asks) = (scene.trips(), scene.seata.metrics().requests);
    LOG.listen();
    for _ in 0..COUNTED {
        scene.local_counted(case, way).await;
    }
    let (statements, _) = LOG.heard();
    let (trips, asks) = (scene.trips() - trips, scene.seata.metrics().requests - asks);
    let before = allocations::switch_on();
    for _ in 0..COUNTED {
        scene.local(case, way).await;
    }
    let allocations = allocations::switch_off(before);
    scene.settle().await;
    Counted {
        statements,
        trips,
        asks,
        allocations,
    }
}

struct Timed {
    plain: Times,
    at: Times,
    /// Plain, as a branch.
    cpu: [Duration; 2],
}

/// The two take turns, and so does who is first.
async fn timed<DB: Measured>(scene: &mut Scene<DB>, case: &Case, samples: u32) -> Timed {
    let mut taken = [Vec::new(), Vec::new()];
    let mut cpu = [Duration::ZERO; 2];
    scene.begin().await;
    for sample in 0..samples {
        let mut ways = [Way::Plain, Way::Branch];
        if sample % 2 == 1 {
            ways.reverse();
        }
        for way in ways {
            let (began, busy) = (now(), cpu_time());
            scene.local(case, way).await;
            taken[way as usize].push(began.elapsed().as_nanos() as f64);
            cpu[way as usize] += cpu_time() - busy;
        }
    }
    scene.settle().await;
    let [plain, at] = taken.map(Times::of);
    Timed { plain, at, cpu }
}

fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::MariaDb => "mariadb",
        Kind::Postgres => "postgres",
        Kind::Sqlite => "sqlite",
    }
}

/// CPU time of this process so far.
fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the clock exists, and the place for its answer is ours.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    assert_eq!(answer, 0, "the system has no clock of a process' CPU time");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

const WARM: u32 = 20;
const COUNTED: u32 = 50;
const BRANCHES: u32 = 200;
