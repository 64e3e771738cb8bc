//! A bank whose money may move and may not change (proof.md 1): services transfer between accounts in three databases while the
//! real coordinator, and in one of the tests the services too, are killed with `kill -9` at random and started again.
//!
//! Some transfers fail on purpose. In the end each that was told as committed is there, none that was told as rolled back is, the
//! sum is what it was, and no lock and no undo log is left.
//!
//! `SEAMIO_BANK_SECONDS` is how long it goes on, `SEAMIO_BANK_SEED` repeats the same random choices; a run prints its seed.
//! Timing is real, so a seed repeats what is tried, not when a kill meets it. The services are processes of this binary.

mod service;
mod vault;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use seamio::client::{ClientOptions, File, GlobalTx, Seata, Start, TxGuard, TxOptions};
use seamio::proto::status::GlobalStatus;

use crate::fixture::{PATIENCE, until};
use crate::peer::{Coordinator, Random, TestDir, now};
use service::{SERVICE, STOP, Service, serve};
use vault::{Bank, Counter};

#[test]
fn the_sum_never_changes_when_the_coordinator_is_killed() {
    let name = "bank::the_sum_never_changes_when_the_coordinator_is_killed";
    play(name, Victims::Coordinator);
}

#[test]
fn the_sum_never_changes_when_services_are_killed_too() {
    let name = "bank::the_sum_never_changes_when_services_are_killed_too";
    play(name, Victims::All);
}

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victims {
    Coordinator,
    /// The services as well.
    All,
}

/// How a transfer ended, as its service was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Committed,
    RolledBack,
    /// Not told: either is right.
    Unknown,
}

/// What the services were told, by transfer.
#[derive(Debug, Default)]
struct Ledger {
    told: BTreeMap<i64, Told>,
    /// Services that have no transfer under way any more.
    stopped: usize,
}

/// The test; or a service of it, when it is started as one.
fn play(test: &'static str, victims: Victims) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    match std::env::var(SERVICE) {
        Ok(orders) => runtime.block_on(serve(&orders)),
        Err(_) => runtime.block_on(watch(test, victims)),
    }
}

async fn watch(test: &'static str, victims: Victims) {
    let number = |name: &str, default| {
        let text = std::env::var(name).ok();
        text.map_or(default, |text| text.parse().expect(name))
    };
    let seconds = number("SEAMIO_BANK_SECONDS", 4);
    let seed = number("SEAMIO_BANK_SEED", u64::from(std::process::id()) << 20 | 1);
    println!("SEAMIO_BANK_SEED={seed} SEAMIO_BANK_SECONDS={seconds}");
    let mut random = Random(seed);
    let bank = Bank::open().await;
    let dir = TestDir::new();
    let mut coordinator = coordinate(&dir);
    // Before the services begin, so that they do not create the same tables at once.
    let seata = connect(&coordinator.address.to_string(), 1).await;
    drop(bank.counters(&seata).await);
    seata.close(PATIENCE).await;

    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let urls = bank.urls();
    let start = |index: u64, random: &mut Random, coordinator: &Coordinator| {
        let orders = format!("{index} {} {urls}", random.next() | 1);
        Service::start(test, &orders, coordinator.address, &ledger)
    };
    let mut services: Vec<Service> = (0..SERVICES)
        .map(|index| start(index, &mut random, &coordinator))
        .collect();
    let mut started = SERVICES;
    let (mut kills, end) = (0, now() + Duration::from_secs(seconds));
    while now() < end || kills < KILLS_MIN {
        let told = lock(&ledger).told.len();
        tokio::time::sleep(Duration::from_millis(300 + random.below(1200))).await;
        // A kill before anything was done tells little; on a busy machine that takes longer.
        until("at work", || async {
            lock(&ledger).told.len() >= told + TOLD_MIN
        })
        .await;
        kills += 1;
        if victims == Victims::All && kills % 2 == 0 {
            let index = usize::try_from(random.below(SERVICES)).expect("few");
            services[index].kill();
            services[index] = start(started, &mut random, &coordinator);
            started += 1;
        } else {
            coordinator.kill();
            tokio::time::sleep(Duration::from_millis(random.below(300))).await;
            coordinator = coordinate(&dir);
            for service in &mut services {
                service.say(&coordinator.address.to_string());
            }
        }
    }
    for service in &mut services {
        service.say(STOP);
    }
    until("stopped", || async {
        lock(&ledger).stopped == services.len()
    })
    .await;
    let told = lock(&ledger).told.clone();
    audit(&bank, &coordinator, &told).await;
    for service in services {
        service.close();
    }
    let ledger = lock(&ledger);
    println!("{kills} kills, {ledger}");
    assert!(
        ledger.count(Told::Committed) > 0 && ledger.count(Told::RolledBack) > 0,
        "{ledger}"
    );
}

/// Waits until no row is locked and everything is cleaned, and looks at what is there then.
async fn audit(bank: &Bank, coordinator: &Coordinator, told: &BTreeMap<i64, Told>) {
    let seata = connect(&coordinator.address.to_string(), 2).await;
    let counters = bank.counters(&seata).await;
    // Every transfer holds an account as long as it is undecided, and until it is rolled back.
    until("every lock let go", || async {
        let tx = seata.begin(TxOptions::new("every account")).await;
        let tx = tx.expect("a transaction");
        let free = change_all(&counters, &tx).await;
        roll_back(tx).await;
        free
    })
    .await;
    let patience = now() + PATIENCE;
    loop {
        let faults = bank.faults(told).await;
        if faults.is_empty() {
            break;
        }
        // The undo logs of what was decided last are deleted a little later.
        assert!(now() < patience, "{faults:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    seata.close(PATIENCE).await;
}

async fn change_all(counters: &[Counter], tx: &GlobalTx) -> bool {
    for counter in counters {
        if counter.touch_all(tx).await.is_err() {
            return false;
        }
    }
    true
}

async fn roll_back(tx: TxGuard) {
    let handle = GlobalTx::clone(&tx);
    let _ = tx.rollback().await;
    until("rolled back", || async {
        matches!(
            handle.status().await,
            Ok(GlobalStatus::Rollbacked | GlobalStatus::Finished)
        )
    })
    .await;
}

/// A client of the coordinator that is at this address for now.
async fn connect(address: &str, seed: u64) -> Seata {
    let built = Seata::builder()
        .application("bank")
        .registry(File::new([address]))
        .options(ClientOptions {
            start: Start::AtOnce,
            seed,
            ..ClientOptions::default()
        })
        .build();
    let (seata, background) = built.await.expect("it waits for nothing");
    tokio::spawn(background);
    seata
}

fn coordinate(dir: &TestDir) -> Coordinator {
    let variables = [
        ("SEAMIO_TRANSPORT_RPC_TC_REQUEST_TIMEOUT", "2s"),
        ("SEAMIO_SERVER_RECOVERY_COMMITTING_RETRY_PERIOD", "20ms"),
        ("SEAMIO_SERVER_RECOVERY_ROLLBACKING_RETRY_PERIOD", "20ms"),
        ("SEAMIO_SERVER_RETRY_PAUSE_MAX", "100ms"),
    ];
    Coordinator::start(&["--data", &dir.path("data")], &variables)
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().expect("nobody panicked")
}

impl Ledger {
    fn count(&self, told: Told) -> usize {
        self.told.values().filter(|other| **other == told).count()
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} transfers: {} told as committed, {} as rolled back, {} unknown",
            self.told.len(),
            self.count(Told::Committed),
            self.count(Told::RolledBack),
            self.count(Told::Unknown)
        )
    }
}

const SERVICES: u64 = 2;
const KILLS_MIN: u64 = 2;
/// Transfers whose end is told between one kill and the next.
const TOLD_MIN: usize = 10;
