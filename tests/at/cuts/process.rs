//! The same on SQLite, whose clients have no connection that could be cut: processes of this binary that end themselves at a
//! chosen step, without destructors and without a last word.
//!
//! What the client does it does in two futures, its host's and [`Background`](seamio::client::Background). Between two polls it
//! only waits for what it has asked for. So a process that ends at each poll ends once behind every step that was carried out,
//! and before the next.

use std::future::Future;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::task::{Context, Poll};

use seamio::proto::Text;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{ConnectOptions, Sqlite};
use tokio::sync::{mpsc, oneshot};

use super::victim::{Client, pool};
use super::{Play, Stage, Told};
use crate::fixture::PATIENCE;

#[test]
fn committed() {
    killed_at_every_poll("cuts::process::committed", Play::Committed);
}

#[test]
fn rolled_back() {
    killed_at_every_poll("cuts::process::rolled_back", Play::RolledBack);
}

#[test]
fn two_rolled_back() {
    killed_at_every_poll("cuts::process::two_rolled_back", Play::TwoRolledBack);
}

#[test]
fn without_a_phase_one() {
    killed_at_every_poll("cuts::process::without_a_phase_one", Play::Empty);
}

/// The test; or the client, when it is started as one.
fn killed_at_every_poll(test: &str, play: Play) {
    match std::env::var(ORDERS) {
        Ok(orders) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = runtime.expect("a runtime");
            runtime.block_on(be_killed(play, &orders));
        }
        Err(_) => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(kill(test, play));
        }
    }
}

async fn kill(test: &str, play: Play) {
    let stage = Stage::<Sqlite>::open(play.databases()).await;
    let stage = stage.expect("files");
    let mut kills = 0;
    for poll in 1.. {
        stage.reset().await;
        let mut process = Process::start(test, &stage, poll);
        let (mut told, mut xid) = (None, None);
        while let Some(line) = process.lines.recv().await {
            match line.split_once(' ') {
                Some(("xid", text)) => xid = Some(Text::from(text.to_owned())),
                Some(("told", "committed")) => told = Some(Told::Committed),
                Some(("told", "rolled-back")) => told = Some(Told::RolledBack),
                Some(("told", _)) => told = Some(Told::Unknown),
                _ => panic!("{line}"),
            }
            if let (Some(_), Some(xid)) = (told, &xid) {
                // Its second phases go on until it is killed, or all is over.
                tokio::select! {
                    () = stage.is_over(xid) => {}
                    line = process.lines.recv() => assert_eq!(line, None),
                }
                process.input = None;
            }
        }
        let status = process.child.wait().expect("an end");
        let next = stage.client().await;
        let what = format!("{play:?} killed at poll {poll} told={told:?}");
        stage.audit(&what, play, told, xid.as_ref()).await;
        next.end().await;
        if status.success() {
            assert!(told.is_some(), "{what}");
            break;
        }
        kills += 1;
    }
    println!("Sqlite {play:?}: {kills} kills");
    assert!(kills > KILLS_MIN, "{kills}");
}

/// A client, seen from outside.
struct Process {
    child: Child,
    input: Option<ChildStdin>,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Process {
    fn start(test: &str, stage: &Stage<Sqlite>, poll: usize) -> Self {
        let mut orders = format!("{} {poll}", stage.coordinator);
        for place in &stage.places {
            orders.push(' ');
            orders.push_str(place.pool.connect_options().to_url_lossy().as_str());
        }
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", test, "--nocapture"])
            .env(ORDERS, orders)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // The runner of tests writes to the same output.
                if let Some((_, said)) = line.split_once(SAID)
                    && sender.send(said.to_owned()).is_err()
                {
                    return;
                }
            }
        });
        Self {
            input: child.stdin.take(),
            child,
            lines,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The client itself.
async fn be_killed(play: Play, orders: &str) {
    let mut words = orders.split(' ');
    let coordinator: SocketAddr = words.next().expect("a word").parse().expect("an address");
    let polls = words.next().expect("a word").parse().expect("a number");
    let pools = words.map(|url| {
        let options = SqliteConnectOptions::from_str(url).expect("a URL");
        pool(SqlitePoolOptions::new()).connect_lazy_with(options.busy_timeout(PATIENCE))
    });
    let left = Arc::new(AtomicUsize::new(usize::MAX));
    let client = Client::new_with(coordinator, pools.collect(), |background| {
        tokio::spawn(Mortal::new(background, &left))
    });
    let client = client.await;
    left.store(polls, Ordering::Relaxed);
    let performed = async {
        let told = play.perform(&client, |xid| println!("{SAID}xid {xid}"));
        let told = match told.await {
            Told::Committed => "committed",
            Told::RolledBack => "rolled-back",
            Told::Unknown => "unknown",
        };
        println!("{SAID}told {told}");
    };
    Mortal::new(performed, &left).await;
    // Its second phases go on until the test has seen enough.
    let (sender, ended) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().lines().count();
        let _ = sender.send(());
    });
    let _ = ended.await;
    left.store(usize::MAX, Ordering::Relaxed);
    client.end().await;
}

/// A future with so many polls left.
struct Mortal<F> {
    future: Pin<Box<F>>,
    left: Arc<AtomicUsize>,
}

impl<F: Future> Mortal<F> {
    fn new(future: F, left: &Arc<AtomicUsize>) -> Self {
        Self {
            future: Box::pin(future),
            left: left.clone(),
        }
    }
}

impl<F: Future> Future for Mortal<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            std::process::abort();
        }
        self.future.as_mut().poll(cx)
    }
}

/// Makes a client of the test's process: the coordinator, at which poll it ends, the URLs of the databases.
const ORDERS: &str = "SEAMIO_CUTS_CLIENT";
/// Before what a client says.
const SAID: &str = "CUTS ";
/// Fewer would mean that steps are missing.
const KILLS_MIN: usize = 4;
