//! A service of the bank: a process that transfers until it is told to stop, or killed. It hears where the coordinator is on its
//! standard input, and says on its standard output how each transfer ended.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use seamio::client::at::Error;
use seamio::client::{GlobalTxError, Seata, TxOptions};
use tokio::sync::mpsc;

use super::vault::{ACCOUNTS, Counter, Way};
use super::{Ledger, Told, connect, lock};
use crate::fixture::PATIENCE;
use crate::peer::Random;

/// Makes a service of the test's process: its number, its seed and the URLs of the databases.
pub(super) const SERVICE: &str = "SEAMIO_BANK_SERVICE";
/// Said to a service: no more transfers. It goes on to finish branches until its input ends.
pub(super) const STOP: &str = "stop";

/// Before what a service says: the runner of tests writes to the same output.
const SAID: &str = "BANK ";
const STOPPED: &str = "stopped";
const CLIENTS: u64 = 4;

/// A service, seen from outside.
pub(super) struct Service {
    child: Child,
    input: Option<ChildStdin>,
    heard: Option<JoinHandle<()>>,
}

impl Service {
    pub(super) fn start(
        test: &str,
        orders: &str,
        coordinator: SocketAddr,
        ledger: &Arc<Mutex<Ledger>>,
    ) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", test, "--nocapture"])
            .env(SERVICE, orders)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let ledger = ledger.clone();
        let heard = std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some((_, said)) = line.split_once(SAID) {
                    hear(&mut lock(&ledger), said);
                }
            }
        });
        let mut service = Self {
            input: child.stdin.take(),
            child,
            heard: Some(heard),
        };
        service.say(&coordinator.to_string());
        service
    }

    pub(super) fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("open until it is closed");
        writeln!(input, "{line}").expect("the service runs");
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().expect("kill -9");
        self.child.wait().expect("wait");
        // What it said until then counts.
        let heard = self.heard.take().expect("killed once");
        heard.join().expect("what it said is sound");
    }

    /// Ends it in an orderly way.
    pub(super) fn close(mut self) {
        self.input = None;
        let status = self.child.wait().expect("wait");
        assert!(status.success(), "a service failed: {status}");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hear(ledger: &mut Ledger, said: &str) {
    if said == STOPPED {
        ledger.stopped += 1;
        return;
    }
    let (id, told) = said.split_once(' ').expect("two words");
    let told = match told {
        "committed" => Told::Committed,
        "rolled-back" => Told::RolledBack,
        _ => Told::Unknown,
    };
    let old = ledger.told.insert(id.parse().expect("a number"), told);
    assert!(old.is_none(), "{id} ended twice");
}

/// The service itself.
pub(super) async fn serve(orders: &str) {
    let mut words = orders.split(' ');
    let mut number = || {
        let word = words.next().expect("a word");
        word.parse::<u64>().expect("a number")
    };
    let (index, mut random) = (number(), Random(number()));
    let urls: Vec<&str> = words.collect();
    let mut lines = input();
    let address = lines.recv().await.expect("an address");
    let seata = connect(&address, random.next()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let obeying = tokio::spawn(obey(lines, seata.clone(), stop.clone()));
    let counters = Counter::open_all(&urls, &seata).await;
    let clients = (0..CLIENTS).map(|client| {
        let work = Work {
            seata: seata.clone(),
            counters: counters.clone(),
            random: Random(random.next() | 1),
            stop: stop.clone(),
        };
        tokio::spawn(work.run(index << 32 | client << 24))
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("a sound client");
    }
    println!("{SAID}{STOPPED}");
    obeying.await.expect("an end");
    seata.close(PATIENCE).await;
}

fn input() -> mpsc::UnboundedReceiver<String> {
    let (sender, lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

async fn obey(mut lines: mpsc::UnboundedReceiver<String>, seata: Seata, stop: Arc<AtomicBool>) {
    while let Some(line) = lines.recv().await {
        match line.as_str() {
            STOP => stop.store(true, Ordering::Relaxed),
            address => seata.set_addresses([address]).expect("an address"),
        }
    }
    // The test is gone, or has seen enough.
    stop.store(true, Ordering::Relaxed);
}

/// One client of a service.
struct Work {
    seata: Seata,
    counters: Vec<Counter>,
    random: Random,
    stop: Arc<AtomicBool>,
}

/// One transfer.
#[derive(Clone, Copy)]
struct Transfer {
    id: u64,
    from: Account,
    to: Account,
    cents: u64,
    fails: Fails,
    way: Way,
}

#[derive(Clone, Copy)]
struct Account {
    counter: usize,
    number: u64,
}

/// Where a transfer gives up on purpose.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fails {
    Never,
    HalfWay,
    AtTheEnd,
}

#[derive(Debug)]
enum Failure {
    OnPurpose,
    /// A conflict, a deadlock, or no coordinator: the transfer is rolled back.
    Branch {
        _why: Error,
    },
}

impl Work {
    async fn run(mut self, first: u64) {
        let mut id = first;
        while !self.stop.load(Ordering::Relaxed) {
            id += 1;
            let transfer = self.choose(id);
            let options = TxOptions::new("transfer").timeout(TIMEOUT);
            let counters = &self.counters;
            let made = self
                .seata
                .transaction(options, |tx| async move {
                    let (from, to) = (transfer.from, transfer.to);
                    let cents = i64::try_from(transfer.cents).expect("little");
                    let half = &counters[from.counter];
                    half.change(&tx, transfer.way, 2 * id, from.number, -cents)
                        .await?;
                    if transfer.fails == Fails::HalfWay {
                        return Err(Failure::OnPurpose);
                    }
                    let half = &counters[to.counter];
                    half.change(&tx, transfer.way, 2 * id + 1, to.number, cents)
                        .await?;
                    match transfer.fails {
                        Fails::AtTheEnd => Err(Failure::OnPurpose),
                        _ => Ok(()),
                    }
                })
                .await;
            let told = match &made {
                Ok(()) => "committed",
                Err(GlobalTxError::NotBegun(_) | GlobalTxError::RolledBack { .. }) => "rolled-back",
                Err(GlobalTxError::Unknown { .. }) => "unknown",
                Err(other) => panic!("{other:?}"),
            };
            println!("{SAID}{} {told}", transfer.id);
            if matches!(made, Err(GlobalTxError::NotBegun(_))) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    fn choose(&mut self, id: u64) -> Transfer {
        let counters = self.counters.len() as u64;
        let mut account = || Account {
            counter: usize::try_from(self.random.below(counters)).expect("few"),
            number: self.random.below(ACCOUNTS),
        };
        Transfer {
            id,
            from: account(),
            to: account(),
            cents: 1 + self.random.below(100),
            fails: match self.random.below(8) {
                0 => Fails::HalfWay,
                1 => Fails::AtTheEnd,
                _ => Fails::Never,
            },
            way: match self.random.below(2) {
                0 => Way::Once,
                _ => Way::Replayed,
            },
        }
    }
}

impl From<Error> for Failure {
    fn from(_why: Error) -> Self {
        Self::Branch { _why }
    }
}

/// Short, so that what a kill left undecided is soon rolled back.
const TIMEOUT: Duration = Duration::from_secs(3);
