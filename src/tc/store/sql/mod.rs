//! The store on MySQL, MariaDB, PostgreSQL or SQLite, which several coordinators may share, also with Java's.
//!
//! It works on Java Seata's own tables, with a few of our own beside them (coordinator.md 4.2, `schema`). What waits becomes
//! one database transaction (`batch`); decisions are compared and set while the transaction's row is locked, so it does
//! not matter which coordinator a client asks. Writers (threads, each with one connection) carry batches out; the keeper
//! (one more) holds this coordinator's lease, and takes over what a dead sibling or a Java coordinator has left (`keeper`).
//! It asks the others for their versions (`neighbours`): one before 2.0 stops a start, and later keeps transactions from
//! beginning.
//!
//! # Isolation and retries
//!
//! - READ COMMITTED: the rows of the transactions concerned are locked (`FOR UPDATE`, in the order of their xids), gaps are
//!   not. A row lock is a primary key, so it needs no gap.
//! - A dead-lock, a lock wait of 5 s, or a key that a sibling inserted a moment ago starts the whole batch over, from
//!   reading; nobody is told of it. After some tries each operation is carried out alone.
//! - A connection lost before the COMMIT was sent: nothing happened, the batch starts over. Lost behind it: the writer's
//!   marker, written with the batch, tells whether it was committed, once the database answers.
//! - While there is no database, begins and lock queries are refused at once; everything else is tried again for
//!   [`SqlConfig::retry_for`] and then fails, which never reads as a decision.
//!
//! # Left out
//!
//! Column names and table names are Java's defaults. Text with NUL is refused (PostgreSQL cannot keep it).

mod batch;
mod connection;
mod dialect;
mod foreign;
mod inquiry;
mod keeper;
mod kept_back;
mod neighbours;
mod reading;
pub mod schema;
mod turns;
mod writer;
mod writing;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

pub use connection::DatabaseUrl;

use self::turns::Turns;
use self::writer::Job;
use super::{
    Completion, Global, Operation, Seq, Store, StoreEvent, StoreLimits, StoreStats, Ticket,
};

/// What a [`SqlStore`] is told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlConfig {
    /// Where the database is.
    pub url: DatabaseUrl,
    /// Writers, each with a connection of its own; the keeper has one more. SQLite has one writer.
    pub connections: usize,
    /// Operations in one database transaction.
    pub batch_max: usize,
    /// How long the database may take for one round trip, and for a new connection.
    pub statement_timeout: Duration,
    /// How long an operation on a transaction is tried again while the database is away.
    pub retry_for: Duration,
    /// How long after its last sign of life a coordinator counts as dead. Renewed every third of it.
    pub lease: Duration,
    /// How long a start waits for a database that does not answer.
    pub start_within: Duration,
    /// `host:port` of this coordinator, which names its node in the database.
    pub address: String,
    /// The node for ids, 0 to 1023; None takes one that is free.
    pub node: Option<u16>,
    /// Whether Java coordinators use the tables.
    pub java: JavaCoordinators,
    /// What is accepted, beside the widths of the columns.
    pub limits: StoreLimits,
}

/// Who else uses the tables. One that is found to be older than 2.0 is refused, whatever is said here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JavaCoordinators {
    /// Nobody: what a Java coordinator left is taken over at once.
    None,
    /// Java coordinators from 2.0 on may run beside: what one of them decided is left to it for some seconds.
    Beside,
}

/// Global transactions in a database.
pub struct SqlStore {
    /// Operations of the turn that goes on.
    waiting: Vec<Job>,
    jobs: Option<Sender<Job>>,
    completions: Receiver<Completion>,
    events: Receiver<StoreEvent>,
    hub: Arc<Hub>,
    threads: Vec<JoinHandle<()>>,
    found: Vec<Global>,
    /// An id; later ones are made with a later time.
    not_below: i64,
    node: u16,
    forgotten: Seq,
}

/// Tells the owner that there are completions or events. Called from any thread, must not block.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// What the threads share.
pub(crate) struct Hub {
    config: SqlConfig,
    columns: schema::Limits,
    wake: Wake,
    completions: Sender<Completion>,
    events: Sender<StoreEvent>,
    turns: Turns,
    /// The node in force.
    node: Mutex<u16>,
    stop: AtomicBool,
    /// The keeper is to look again for what is this coordinator's.
    reload: AtomicBool,
    commits: AtomicU64,
    round_trips: AtomicU64,
    statements: AtomicU64,
    repeats: AtomicU64,
}

/// Who writes: the node, and the number of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Writer {
    pub(crate) node: u16,
    pub(crate) number: u16,
}

impl SqlStore {
    /// Connects, checks the tables, claims a node and starts the threads.
    ///
    /// # Errors
    /// Says what is wrong with the database and what to do about it.
    pub fn open(config: SqlConfig, wake: Wake) -> Result<Self, String> {
        let (completions, completed) = unbounded();
        let (events, happened) = unbounded();
        let (jobs, taken) = unbounded();
        let (opening, opened) = crossbeam_channel::bounded(1);
        let began = keeper::now();
        // What it cannot have later had better not be missed by a request.
        let (mut threads, starts) = connected_writers(&config, began, &taken)?;
        let plan = keeper::Plan {
            began,
            config,
            wake,
            completions,
            events,
        };
        let keeper = std::thread::Builder::new()
            .name("seamio-keeper".into())
            .spawn(move || keeper::run(plan, &opening))
            .map_err(|error| format!("no thread can be started: {error}"))?;
        let opened = opened
            .recv()
            .map_err(|_| "the keeper ended early".to_owned())?;
        let keeper::Opened {
            hub,
            found,
            not_below,
        } = match opened {
            Ok(opened) => opened,
            Err(problem) => {
                // It has said why.
                let _ = keeper.join();
                return Err(problem);
            }
        };
        threads.push(keeper);
        for start in starts {
            // A writer waits for it.
            let _ = start.send(hub.clone());
        }
        let node = hub.node();
        Ok(Self {
            waiting: Vec::new(),
            jobs: Some(jobs),
            completions: completed,
            events: happened,
            hub,
            threads,
            found,
            not_below,
            node,
            forgotten: Seq(0),
        })
    }
}

/// Threads of writers, each connected and waiting for what it shares with the others. When it does not come they end.
type Writers = (Vec<JoinHandle<()>>, Vec<Sender<Arc<Hub>>>);

fn connected_writers(
    config: &SqlConfig,
    began: Instant,
    jobs: &Receiver<Job>,
) -> Result<Writers, String> {
    let (connecting, connected) = unbounded();
    let (mut threads, mut starts) = (Vec::new(), Vec::new());
    for number in 0..config.writers() {
        let (start, started) = crossbeam_channel::bounded(1);
        let plan = writer::Plan {
            config: config.clone(),
            began,
            number,
            connecting: connecting.clone(),
            started,
            jobs: jobs.clone(),
        };
        let writer = std::thread::Builder::new()
            .name(format!("seamio-sql-{number}"))
            .spawn(move || writer::run(plan))
            .map_err(|error| format!("no thread can be started: {error}"))?;
        threads.push(writer);
        starts.push(start);
    }
    drop(connecting);
    let (mut had, mut problem) = (0, None);
    for connected in connected {
        match connected {
            Ok(()) => had += 1,
            Err(why) => problem = Some(why),
        }
    }
    match problem {
        None => Ok((threads, starts)),
        Some(why) => Err(config.unconnected(had, &why)),
    }
}

impl Store for SqlStore {
    fn submit(&mut self, ticket: Ticket, operation: Operation) {
        self.waiting.push(Job::new(ticket, operation));
    }

    fn poll_completion(&mut self) -> Option<Completion> {
        let completion = self.completions.try_recv().ok()?;
        self.forgotten = self.forgotten.max(completion.after);
        Some(completion)
    }

    fn poll_event(&mut self) -> Option<StoreEvent> {
        self.events.try_recv().ok()
    }

    fn flush(&mut self) {
        let Some(jobs) = &self.jobs else { return };
        for job in self.waiting.drain(..) {
            // The writers live as long as the store.
            let _ = jobs.send(job);
        }
    }

    /// What a completion tells was committed before it came.
    fn durable(&self) -> Seq {
        self.forgotten
    }

    fn scan(&self, visit: &mut dyn FnMut(&Global)) {
        self.found.iter().for_each(visit);
    }

    fn highest_id(&self) -> i64 {
        self.not_below
    }

    fn node(&self) -> Option<u16> {
        Some(self.node)
    }

    /// Syncs are commits that wrote something; what is live in the database is not counted here.
    fn stats(&self) -> StoreStats {
        StoreStats {
            syncs: self.hub.commits.load(Ordering::Relaxed),
            round_trips: self.hub.round_trips.load(Ordering::Relaxed),
            statements: self.hub.statements.load(Ordering::Relaxed),
            repeats: self.hub.repeats.load(Ordering::Relaxed),
            ..StoreStats::default()
        }
    }
}

impl Drop for SqlStore {
    fn drop(&mut self) {
        self.jobs = None;
        self.hub.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // One that panicked has nothing more to write.
            let _ = thread.join();
        }
    }
}

impl SqlConfig {
    /// The usual settings for a database and the coordinator at `address`.
    pub fn new(url: DatabaseUrl, address: impl Into<String>) -> Self {
        Self {
            url,
            connections: 2,
            batch_max: 256,
            statement_timeout: Duration::from_secs(10),
            retry_for: Duration::from_secs(20),
            lease: Duration::from_secs(9),
            start_within: Duration::from_secs(60),
            address: address.into(),
            node: None,
            java: JavaCoordinators::Beside,
            limits: StoreLimits::default(),
        }
    }

    /// Why a start fails that got no more than so many connections.
    fn unconnected(&self, had: usize, why: &str) -> String {
        match had {
            0 => format!("{}: {why}", self.url),
            _ => format!(
                "{}: only {had} of {} connections can be had (store.sql.connections = {}, and one that keeps the lease); \
                 let the user have more, or give a smaller number: {why}",
                self.url,
                self.writers() + 1,
                self.writers()
            ),
        }
    }

    /// SQLite lets one write at a time.
    fn writers(&self) -> u16 {
        match self.url.dialect() {
            dialect::Dialect::Sqlite => 1,
            _ => u16::try_from(self.connections.max(1)).unwrap_or(u16::MAX),
        }
    }
}

impl Hub {
    fn node(&self) -> u16 {
        *self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: StoreEvent) {
        // Fails only when the store is being dropped.
        let _ = self.events.send(event);
        (self.wake)();
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
