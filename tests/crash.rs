//! `kill -9` of the real binary under load, again and again, then an audit (proof.md 1, invariants 1 to 4, 6, 11, 14, 24).
//!
//! `SEAMIO_CRASH_CYCLES` sets the number of kills, `SEAMIO_CRASH_SEED` repeats the same random choices; a run prints its
//! seed. Timing is real, so a seed repeats what clients do, not when the kill meets them.

mod peer;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use peer::{Coordinator, PATIENCE, Peer, Random, TestDir, ended, now, pause};
use seamio::proto::Text;
use seamio::proto::message::Message;
use seamio::proto::status::{BranchType, GlobalStatus};

#[test]
fn nothing_acknowledged_is_lost_by_kills() {
    let number = |name: &str, default| {
        std::env::var(name)
            .ok()
            .map_or(default, |text| text.parse().expect(name))
    };
    let cycles = number("SEAMIO_CRASH_CYCLES", 5);
    let seed = number("SEAMIO_CRASH_SEED", u64::from(std::process::id()) << 20 | 1);
    println!("SEAMIO_CRASH_SEED={seed} SEAMIO_CRASH_CYCLES={cycles}");
    let dir = TestDir::new();
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let mut random = Random(seed);
    for cycle in 0..cycles {
        let mut server = start(&dir, cycle);
        let stop = Arc::new(AtomicBool::new(false));
        let load = Load::start(server.address, &ledger, &mut random, &stop);
        let told = lock(&ledger).told;
        pause(Duration::from_millis(50 + random.below(400)));
        // A kill before anything was answered tells little; on a busy machine that takes longer.
        let until = now() + PATIENCE;
        while lock(&ledger).told < told + TOLD_MIN && now() < until {
            pause(Duration::from_millis(10));
        }
        server.kill();
        stop.store(true, Ordering::Relaxed);
        load.join();
    }
    let server = start(&dir, cycles);
    audit(server.address, &ledger);
}

/// What clients know, by xid.
#[derive(Default)]
struct Ledger {
    globals: BTreeMap<String, Global>,
    branches: HashMap<i64, Branch>,
    /// How many answers told a decision.
    told: u64,
}

#[derive(Default)]
struct Global {
    /// Commit or rollback, as soon as an answer says which.
    told: Option<bool>,
    /// A request to end it was sent.
    asked: bool,
}

struct Branch {
    xid: String,
    committed: bool,
    rolled_back: bool,
}

impl Ledger {
    fn begun(&mut self, xid: &Text) {
        let old = self.globals.insert(xid.to_string(), Global::default());
        assert!(old.is_none(), "{xid} was given out twice");
    }

    fn registered(&mut self, xid: &Text, branch: i64) {
        let new = Branch {
            xid: xid.to_string(),
            committed: false,
            rolled_back: false,
        };
        assert!(
            self.branches.insert(branch, new).is_none(),
            "branch {branch} was given out twice"
        );
    }

    fn told(&mut self, xid: &Text, status: GlobalStatus) {
        let Some(commit) = direction(status) else {
            return;
        };
        let global = self.globals.get_mut(&**xid).expect("a begun transaction");
        assert!(
            global.told.is_none_or(|before| before == commit),
            "{xid} changed to {status}"
        );
        global.told = Some(commit);
        self.told += 1;
    }

    fn called(&mut self, xid: &Text, id: i64, commit: bool) {
        // A branch whose registration was not answered is unknown here, but must not get both either.
        let branch = self.branches.entry(id).or_insert_with(|| Branch {
            xid: xid.to_string(),
            committed: false,
            rolled_back: false,
        });
        *(if commit {
            &mut branch.committed
        } else {
            &mut branch.rolled_back
        }) = true;
        assert!(
            !(branch.committed && branch.rolled_back),
            "branch {id} of {xid} was told both"
        );
    }
}

/// The decision that a status tells; None tells nothing (a finished transaction of an old client).
fn direction(status: GlobalStatus) -> Option<bool> {
    use GlobalStatus as S;
    match status {
        S::Committing | S::CommitRetrying | S::AsyncCommitting | S::Committed => Some(true),
        S::Rollbacking | S::RollbackRetrying | S::Rollbacked => Some(false),
        S::TimeoutRollbacking | S::TimeoutRollbackRetrying | S::TimeoutRollbacked => Some(false),
        S::Begin | S::Finished => None,
        other => panic!("unexpected status {other}"),
    }
}

/// Threads that work until the coordinator is gone.
struct Load(Vec<JoinHandle<()>>);

impl Load {
    fn start(
        address: SocketAddr,
        ledger: &Arc<Mutex<Ledger>>,
        random: &mut Random,
        stop: &Arc<AtomicBool>,
    ) -> Self {
        let mut threads = Vec::new();
        for _ in 0..RMS {
            threads.push(spawn_rm(
                address,
                ledger.clone(),
                Random(random.next()),
                stop.clone(),
            ));
        }
        for _ in 0..TMS {
            let (ledger, mut random) = (ledger.clone(), Random(random.next()));
            threads.push(std::thread::spawn(move || {
                // The error is the kill.
                let _ = work(address, &ledger, &mut random);
            }));
        }
        Self(threads)
    }

    fn join(self) {
        for thread in self.0 {
            thread.join().expect("no client saw a broken promise");
        }
    }
}

/// Answers phase two, now and then not at all.
fn spawn_rm(
    address: SocketAddr,
    ledger: Arc<Mutex<Ledger>>,
    mut random: Random,
    stop: Arc<AtomicBool>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let Ok(mut rm) = Peer::try_connect(address) else {
            return;
        };
        if rm.register_rm().is_err() {
            return;
        }
        rm.stream
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("timeout");
        while !stop.load(Ordering::Relaxed) {
            let call = match rm.call() {
                Ok(call) => call,
                Err(error) if peer::would_block(&error) => continue,
                Err(_) => return,
            };
            match &call.message {
                Message::BranchCommit(end) => lock(&ledger).called(&end.xid, end.branch_id, true),
                Message::BranchRollback(end) => {
                    lock(&ledger).called(&end.xid, end.branch_id, false);
                }
                other => panic!("{other:?}"),
            }
            if random.below(40) > 0 && rm.obey(&call).is_err() {
                return;
            }
        }
    })
}

/// One transaction after another until the connection breaks.
fn work(address: SocketAddr, ledger: &Mutex<Ledger>, random: &mut Random) -> io::Result<()> {
    let mut tm = Peer::try_connect(address)?;
    tm.register_tm()?;
    repeat_unanswered(&mut tm, ledger, random)?;
    loop {
        let Ok(xid) = tm.try_begin(TIMEOUT_MS)? else {
            continue;
        };
        lock(ledger).begun(&xid);
        let at = random.below(2) == 0;
        for _ in 0..random.below(3) {
            let kind = if at { BranchType::At } else { BranchType::Tcc };
            let key = if at {
                format!("t:{}", random.below(ROWS))
            } else {
                String::new()
            };
            if let Ok(branch) = tm.try_branch(&xid, kind, &key)? {
                lock(ledger).registered(&xid, branch);
            }
        }
        if random.below(20) > 0 {
            finish(&mut tm, ledger, &xid, random.below(3) > 0)?;
        }
    }
}

fn finish(tm: &mut Peer, ledger: &Mutex<Ledger>, xid: &Text, commit: bool) -> io::Result<()> {
    lock(ledger)
        .globals
        .get_mut(&**xid)
        .expect("a begun transaction")
        .asked = true;
    let message = if commit {
        peer::commit(xid)
    } else {
        peer::rollback(xid)
    };
    let status = ended(tm.try_request(message)?);
    lock(ledger).told(xid, status);
    Ok(())
}

/// As a TM after a reconnect: asks again for a few that had no answer.
fn repeat_unanswered(tm: &mut Peer, ledger: &Mutex<Ledger>, random: &mut Random) -> io::Result<()> {
    let open: Vec<Text> = lock(ledger)
        .globals
        .iter()
        .filter(|(_, global)| global.asked && global.told.is_none())
        .map(|(xid, _)| Text::from(xid.as_str()))
        .collect();
    for xid in open {
        if random.below(4) == 0 {
            let status = ended(tm.try_request(peer::commit(&xid))?);
            lock(ledger).told(&xid, status);
        }
    }
    Ok(())
}

/// Everything ends, as it was told, and nothing is left.
fn audit(address: SocketAddr, ledger: &Arc<Mutex<Ledger>>) {
    let stop = Arc::new(AtomicBool::new(false));
    let rm = spawn_rm(address, ledger.clone(), Random(7), stop.clone());
    let mut tm = Peer::tm(address);
    let xids: Vec<Text> = lock(ledger)
        .globals
        .keys()
        .map(|xid| Text::from(xid.as_str()))
        .collect();
    let until = now() + 2 * PATIENCE;
    for xid in &xids {
        loop {
            let status = tm.status(xid);
            lock(ledger).told(xid, status);
            if status == GlobalStatus::Finished {
                break;
            }
            assert!(now() < until, "{xid} stays {status}");
            pause(Duration::from_millis(5));
        }
    }
    let all = (0..ROWS)
        .map(|row| row.to_string())
        .collect::<Vec<_>>()
        .join(",");
    let last = tm.begin();
    let free = tm.branch(&last, BranchType::At, &format!("t:{all}"));
    free.expect("no row is locked any more");
    stop.store(true, Ordering::Relaxed);
    rm.join().expect("no broken promise");

    let ledger = lock(ledger);
    let (mut committed, mut rolled_back) = (0, 0);
    for (id, branch) in &ledger.branches {
        // Branches of transactions whose begin had no answer can only be rolled back, by their timeout.
        match ledger
            .globals
            .get(&branch.xid)
            .and_then(|global| global.told)
        {
            Some(true) => assert!(
                branch.committed && !branch.rolled_back,
                "branch {id} {}",
                branch.xid
            ),
            Some(false) => assert!(
                branch.rolled_back && !branch.committed,
                "branch {id} {}",
                branch.xid
            ),
            None => assert!(
                branch.committed || branch.rolled_back,
                "branch {id} {}",
                branch.xid
            ),
        }
        committed += usize::from(branch.committed);
        rolled_back += usize::from(branch.rolled_back);
    }
    let told = ledger
        .globals
        .values()
        .filter(|global| global.told.is_some())
        .count();
    println!(
        "{} transactions begun, {told} answered, {committed} branches committed, {rolled_back} rolled back",
        ledger.globals.len()
    );
    assert!(
        told > 0 && committed > 0 && rolled_back > 0,
        "the load did nothing"
    );
}

fn start(dir: &TestDir, cycle: u64) -> Coordinator {
    let variables = [
        ("SEAMIO_TRANSPORT_RPC_TC_REQUEST_TIMEOUT", "300ms"),
        ("SEAMIO_SERVER_RECOVERY_COMMITTING_RETRY_PERIOD", "20ms"),
        ("SEAMIO_SERVER_RECOVERY_ROLLBACKING_RETRY_PERIOD", "20ms"),
        ("SEAMIO_SERVER_RETRY_PAUSE_MAX", "100ms"),
    ];
    let workers = (cycle % 2).to_string();
    let server = Coordinator::start(
        &["--data", &dir.path("data"), "--workers", &workers],
        &variables,
    );
    assert!(
        // Not by the clock: others may have had the processor meanwhile.
        server.ready_cost.is_none_or(|t| t < Duration::from_secs(1)),
        "ready only after {:?} of work\n{}",
        server.ready_cost,
        server.log()
    );
    server
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().expect("no client saw a broken promise")
}

const TMS: usize = 6;
const RMS: usize = 2;
const ROWS: u64 = 40;
/// Decisions that the clients of a cycle have to hear of before its kill.
const TOLD_MIN: u64 = 20;
/// Short, so that what a kill left undecided is rolled back while the audit waits.
const TIMEOUT_MS: i32 = 4000;
