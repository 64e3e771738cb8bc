//! The same on SQLite, whose clients have no connection that could be cut: processes of this binary that end themselves at a
//! chosen step, without destructors and without a last word.
//!
//! What the client does it does in two futures, its host's and [`Background`](seamio::client::Background). The database works
//! on another thread, and only while neither is polled: so between two polls lies at most one step. A process that ends at each
//! poll ends once behind every step that was carried out, and before the next.

use std::future::Future;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
fn timed_out() {
    killed_at_every_poll("cuts::process::timed_out", Play::TimedOut);
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
    assert!(kills >= KILLS_MIN, "{kills}");
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
    let life = Arc::new(Life {
        left: AtomicUsize::new(usize::MAX),
        polled: AtomicBool::new(false),
    });
    let pools = words.map(|url| {
        let options = SqliteConnectOptions::from_str(url).expect("a URL");
        let life = life.clone();
        let pool = pool(SqlitePoolOptions::new()).after_connect(move |conn, _| {
            let life = life.clone();
            Box::pin(async move {
                let mut handle = conn.lock_handle().await?;
                let committing = life.clone();
                handle.set_commit_hook(move || committing.let_poll());
                handle.set_progress_handler(1, move || life.let_poll());
                Ok(())
            })
        });
        pool.connect_lazy_with(options.busy_timeout(PATIENCE))
    });
    let client = Client::new_with(coordinator, pools.collect(), |background| {
        tokio::spawn(Mortal::new(background, &life))
    });
    let client = client.await;
    life.left.store(polls, Ordering::Relaxed);
    let performed = async {
        let told = play.perform(&client, |xid| println!("{SAID}xid {xid}"));
        let told = match told.await {
            Told::Committed => "committed",
            Told::RolledBack => "rolled-back",
            Told::Unknown => "unknown",
        };
        println!("{SAID}told {told}");
    };
    Mortal::new(performed, &life).await;
    // Its second phases go on until the test has seen enough.
    let (sender, ended) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().lines().count();
        let _ = sender.send(());
    });
    let _ = ended.await;
    life.left.store(usize::MAX, Ordering::Relaxed);
    client.end().await;
}

/// How long the process lives.
struct Life {
    /// Polls that are left.
    left: AtomicUsize,
    /// Whether one is going on.
    polled: AtomicBool,
}

impl Life {
    /// Before a commit, and often in between. Whether to go on.
    fn let_poll(&self) -> bool {
        while self.polled.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        true
    }
}

/// A future whose polls are counted.
struct Mortal<F> {
    future: Pin<Box<F>>,
    life: Arc<Life>,
}

impl<F: Future> Mortal<F> {
    fn new(future: F, life: &Arc<Life>) -> Self {
        Self {
            future: Box::pin(future),
            life: life.clone(),
        }
    }
}

impl<F: Future> Future for Mortal<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if self.life.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            std::process::abort();
        }
        self.life.polled.store(true, Ordering::Release);
        let polled = self.future.as_mut().poll(cx);
        self.life.polled.store(false, Ordering::Release);
        polled
    }
}

/// Makes a client of the test's process: the coordinator, at which poll it ends, the URLs of the databases.
const ORDERS: &str = "SEAMIO_CUTS_CLIENT";
/// Before what a client says.
const SAID: &str = "CUTS ";
/// Fewer would mean that steps are missing: each asks the coordinator three times, and the database more often.
const KILLS_MIN: usize = 8;
