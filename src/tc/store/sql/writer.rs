//! A writer: takes what waits as one batch, carries it out, and says how it went. It never gives up a connection that
//! answers, and never guesses about one that does not.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};

use super::batch::{self, Answers, Done, Rules};
use super::connection::{Fault, Link, runtime};
use super::keeper::{connect_patiently, now};
use super::kept_back::KeptBack;
use super::{Hub, SqlConfig, Writer};
use crate::tc::store::{Completion, Operation, Outcome, Seq, StoreLimits, Ticket, Urgency};

/// An operation on its way.
pub(super) struct Job {
    ticket: Ticket,
    operation: Operation,
    since: Instant,
}

impl Job {
    #[allow(clippy::disallowed_methods)] // for waiting only
    pub(super) fn new(ticket: Ticket, operation: Operation) -> Self {
        Self {
            ticket,
            operation,
            since: Instant::now(),
        }
    }

    /// About how long it makes the statements.
    fn bytes(&self) -> usize {
        match &self.operation {
            Operation::Register(new) => {
                let rows = new.lock_key.len().saturating_mul(ROW_BYTES_OF_KEY_BYTE);
                rows.saturating_add(2 * new.application_data.len())
            }
            Operation::Report {
                application_data, ..
            } => 2 * application_data.len(),
            Operation::QueryLocks { lock_key, .. } => lock_key.len(),
            _ => 0,
        }
    }

    /// Whether nobody waits for it.
    pub(super) fn may_be_later(&self) -> bool {
        matches!(
            self.operation,
            Operation::EndBranch {
                urgency: Urgency::Later,
                ..
            }
        )
    }

    /// Whether it is refused as soon as there is no database: nothing is lost by it, and it can be asked again.
    fn is_refused_at_once(&self) -> bool {
        matches!(
            self.operation,
            Operation::Begin(_) | Operation::QueryLocks { .. } | Operation::Forget { .. }
        )
    }
}

/// What a writer begins with.
pub(super) struct Plan {
    pub(super) config: SqlConfig,
    /// When the store was asked to open.
    pub(super) began: Instant,
    pub(super) number: u16,
    /// Is told whether there is a connection.
    pub(super) connecting: Sender<Result<(), String>>,
    /// Tells that the store is open; is gone when it never will be.
    pub(super) started: Receiver<Arc<Hub>>,
    pub(super) jobs: Receiver<Job>,
}

/// Connects, waits for the store to open, and works until it goes and nothing waits.
pub(super) fn run(plan: Plan) {
    let Plan {
        config,
        began,
        number,
        connecting,
        started,
        jobs,
    } = plan;
    let connected = runtime()
        .map_err(|error| format!("no runtime can be started: {error}"))
        .and_then(|runtime| {
            let link = runtime.block_on(connect_patiently(&config, began))?;
            Ok((runtime, link))
        });
    let (runtime, link) = match connected {
        Ok(both) => both,
        Err(why) => return drop(connecting.send(Err(why))),
    };
    // Whoever opens the store listens to all of them.
    let _ = connecting.send(Ok(()));
    drop(connecting);
    let Ok(hub) = started.recv() else {
        return runtime.block_on(link.close());
    };
    let mut scribe = Scribe {
        hub: &hub,
        jobs: &jobs,
        number,
        kept_back: KeptBack::default(),
        link: Some(link),
        lost_session: None,
        batch: 0,
        forgotten: 0,
        limits: StoreLimits {
            globals_max: usize::MAX,
            locks_max: usize::MAX,
            tombstones_max: usize::MAX,
            text_bytes_max: usize::MAX,
            ..hub.config.limits
        },
    };
    runtime.block_on(async {
        while let Some(mut taken) = scribe.first() {
            let turn = hub.turns.take();
            scribe.take_more(&mut taken);
            let due = scribe.kept_back.sort_out(taken, now());
            scribe.work(due).await;
            drop(turn);
        }
        let rest = scribe.kept_back.take();
        scribe.work(rest).await;
        if let Some(link) = scribe.link.take() {
            link.close().await;
        }
    });
}

/// Why there are no answers.
enum Trouble {
    /// Nothing was changed.
    Fault(Fault),
    /// Perhaps it was, and nobody waited until the database could say.
    Unknown(String),
}

struct Scribe<'a> {
    hub: &'a Hub,
    jobs: &'a Receiver<Job>,
    number: u16,
    kept_back: KeptBack,
    link: Option<Link>,
    /// Ends the session of a connection that was lost, should the server still have it.
    lost_session: Option<String>,
    /// The number of the last batch.
    batch: i64,
    /// Grows while there is more to forget.
    forgotten: u64,
    limits: StoreLimits,
}

impl Scribe<'_> {
    /// Waits for something to do: a job, or none when it is time for those that were kept back. None at the end.
    fn first(&mut self) -> Option<Vec<Job>> {
        let Some(until) = self.kept_back.until() else {
            return self.jobs.recv().ok().map(|job| vec![job]);
        };
        match self.jobs.recv_deadline(until) {
            Ok(job) => Some(vec![job]),
            Err(RecvTimeoutError::Timeout) => Some(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    /// What waits, as far as the batch has room.
    fn take_more(&self, taken: &mut Vec<Job>) {
        let mut bytes: usize = taken.iter().map(Job::bytes).sum();
        while taken.len() < self.hub.config.batch_max && bytes < BATCH_BYTES_MAX {
            match self.jobs.try_recv() {
                Ok(job) => {
                    bytes += job.bytes();
                    taken.push(job);
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }

    /// Carries out jobs until each has its answer.
    async fn work(&mut self, mut jobs: Vec<Job>) {
        let (mut tries, mut losses) = (0, 0);
        while !jobs.is_empty() {
            if let Err(why) = self.connect().await {
                jobs = self.without_database(jobs, &why).await;
                continue;
            }
            let fault = match self.attempt(&jobs).await {
                Ok(answers) => return self.answer(jobs, answers),
                Err(Trouble::Fault(fault)) => fault,
                // Once more could be twice.
                Err(Trouble::Unknown(why)) => {
                    self.hub.reload.store(true, Ordering::Relaxed);
                    log::error!(
                        "event=commit_unknown operations={} reason={why}",
                        jobs.len()
                    );
                    return self.fail(
                        &jobs,
                        &format!("it is not known whether it was committed: {why}"),
                    );
                }
            };
            match fault {
                Fault::Lost(why) => {
                    self.lost(&why);
                    losses += 1;
                    // Another connection may do: a server that was started again cuts all there were.
                    if losses > 1 {
                        jobs = self.without_database(jobs, &why).await;
                    }
                }
                Fault::Again(_) | Fault::Duplicate(_) if tries < TRIES_TOGETHER => {
                    tries += 1;
                    self.hub.repeats.fetch_add(1, Ordering::Relaxed);
                    // Siblings that met once do not meet again at once.
                    let wait = u64::from(tries * tries) * (1 + u64::from(self.number) % 3);
                    tokio::time::sleep(Duration::from_millis(wait)).await;
                }
                // It may last: what cannot be put off goes on waiting for its turn.
                Fault::Again(_)
                    if jobs.len() == 1 && self.is_patient(&jobs[0]) && !self.hub.is_over() =>
                {
                    self.hub.repeats.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(PAUSE).await;
                }
                fault if jobs.len() == 1 => return self.refuse(jobs, &fault),
                fault => {
                    log::warn!(
                        "event=batch_split operations={} reason={}",
                        jobs.len(),
                        fault.text()
                    );
                    return self.one_by_one(jobs).await;
                }
            }
        }
    }

    async fn one_by_one(&mut self, jobs: Vec<Job>) {
        for job in jobs {
            Box::pin(self.work(vec![job])).await;
        }
    }

    async fn connect(&mut self) -> Result<(), String> {
        if self.link.is_some() {
            return Ok(());
        }
        let config = &self.hub.config;
        match Link::open(&config.url, config.statement_timeout).await {
            Ok(mut link) => {
                if let Some(end) = &self.lost_session {
                    match link.run(end).await {
                        Err(Fault::Lost(why)) => return Err(why),
                        // It is gone, or it may not be ended; then its transaction is waited for.
                        Ok(_) | Err(_) => self.lost_session = None,
                    }
                }
                self.link = Some(link);
                Ok(())
            }
            Err(fault) => Err(fault.text().to_owned()),
        }
    }

    /// One try. A connection that is lost on the way to the commit is asked about until there is an answer.
    async fn attempt(&mut self, jobs: &[Job]) -> Result<Answers, Trouble> {
        let Some(link) = &mut self.link else {
            return Err(Trouble::Fault(Fault::Lost("not connected".into())));
        };
        let writer = Writer {
            node: self.hub.node(),
            number: self.number,
        };
        let rules = Rules {
            writer,
            columns: &self.hub.columns,
            limits: &self.limits,
        };
        if self.batch == 0 {
            self.batch = first_batch();
        }
        self.batch += 1;
        let before = link.counts();
        let operations: Vec<&Operation> = jobs.iter().map(|job| &job.operation).collect();
        let done = batch::carry_out(link, &rules, self.batch, &operations).await;
        let after = link.counts();
        let hub = self.hub;
        hub.round_trips
            .fetch_add(after.round_trips - before.round_trips, Ordering::Relaxed);
        hub.statements
            .fetch_add(after.statements - before.statements, Ordering::Relaxed);
        match done {
            Done::Outcomes(answers) => Ok(self.count(answers)),
            Done::Not(fault) => Err(Trouble::Fault(fault)),
            Done::InDoubt(why, answers) => {
                self.lost(&why);
                match self.resolve(jobs, writer).await? {
                    true => Ok(self.count(answers)),
                    false => Err(Trouble::Fault(Fault::Again(why))),
                }
            }
        }
    }

    /// Counts a commit where there was one.
    fn count(&self, answers: Answers) -> Answers {
        let commits = u64::from(answers.wrote);
        self.hub.commits.fetch_add(commits, Ordering::Relaxed);
        answers
    }

    /// Asks whether the batch in doubt was committed, for as long as anybody waits for it.
    async fn resolve(&mut self, jobs: &[Job], writer: Writer) -> Result<bool, Trouble> {
        let mut why = String::from("the connection was lost during the commit");
        loop {
            if let Err(problem) = self.connect().await {
                why = problem;
            } else if let Some(link) = &mut self.link {
                match batch::was_committed(link, writer, self.batch).await {
                    Ok(committed) => {
                        log::info!(
                            "event=commit_resolved committed={committed} operations={}",
                            jobs.len()
                        );
                        return Ok(committed);
                    }
                    Err(Fault::Again(_)) => {}
                    Err(fault) => {
                        why = fault.text().to_owned();
                        self.lost(&why);
                    }
                }
            }
            let waits = jobs.iter().any(|job| self.is_patient(job));
            if !waits || self.hub.is_over() {
                return Err(Trouble::Unknown(why));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn lost(&mut self, why: &str) {
        if let Some(link) = self.link.take() {
            self.lost_session = link.end_of_session();
        }
        if !self.hub.is_over() {
            log::warn!("event=database_lost writer={} reason={why}", self.number);
        }
    }

    /// Whether an operation may still be tried again.
    #[allow(clippy::disallowed_methods)] // for waiting only
    fn is_patient(&self, job: &Job) -> bool {
        job.since.elapsed() < self.hub.config.retry_for
    }

    /// The database is away: refuses what is refused at once or has waited long enough, and pauses. Gives what is left,
    /// with what has come meanwhile.
    async fn without_database(&mut self, jobs: Vec<Job>, why: &str) -> Vec<Job> {
        let mut left = Vec::new();
        let refuse = |job: Job, left: &mut Vec<Job>| {
            let again = !job.is_refused_at_once() && self.is_patient(&job) && !self.hub.is_over();
            match again {
                true => left.push(job),
                false => self.tell(&job, Outcome::Failed(format!("no database: {why}")), 0),
            }
        };
        jobs.into_iter().for_each(|job| refuse(job, &mut left));
        let pause_ends = tokio::time::sleep(PAUSE);
        tokio::pin!(pause_ends);
        if !left.is_empty() {
            pause_ends.await;
            let mut more = Vec::new();
            self.take_more(&mut more);
            more.into_iter().for_each(|job| refuse(job, &mut left));
        }
        left
    }

    fn refuse(&self, jobs: Vec<Job>, fault: &Fault) {
        for job in jobs {
            let outcome = match (fault, &job.operation) {
                // Of one operation alone: the id is there already.
                (Fault::Duplicate(_), Operation::Begin(_) | Operation::Register(_)) => {
                    Outcome::Duplicate
                }
                (fault, _) => Outcome::Failed(fault.text().to_owned()),
            };
            self.tell(&job, outcome, 0);
        }
    }

    fn fail(&self, jobs: &[Job], why: &str) {
        for job in jobs {
            self.send(job, Outcome::Failed(why.to_owned()), 0);
        }
        (self.hub.wake)();
    }

    fn answer(&mut self, jobs: Vec<Job>, answers: Answers) {
        if answers.more_to_forget {
            self.forgotten += 1;
        }
        for (job, outcome) in jobs.iter().zip(answers.outcomes) {
            let after = match job.operation {
                Operation::Forget { .. } => self.forgotten,
                _ => 0,
            };
            self.send(job, outcome, after);
        }
        (self.hub.wake)();
    }

    fn tell(&self, job: &Job, outcome: Outcome, after: u64) {
        self.send(job, outcome, after);
        (self.hub.wake)();
    }

    fn send(&self, job: &Job, outcome: Outcome, after: u64) {
        let completion = Completion {
            ticket: job.ticket,
            outcome,
            after: Seq(after),
        };
        // Nobody listens any more when the store is being dropped.
        let _ = self.hub.completions.send(completion);
    }
}

/// A number that no earlier process has used for its batches.
#[allow(clippy::disallowed_methods)] // read once, for a number
fn first_batch() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos() >> 10).unwrap_or(1) << 8
}

/// About how long the statements of a batch may become, beside its last operation: far below what databases take at once
/// (16 MiB for a MariaDB as it comes).
const BATCH_BYTES_MAX: usize = 2 << 20;
/// A byte of a lock key may be a row, which is asked for and written with its resource.
const ROW_BYTES_OF_KEY_BYTE: usize = 64;
/// How often a batch starts over before its operations are carried out one by one.
const TRIES_TOGETHER: u32 = 8;
/// Between two tries while the database is away.
const PAUSE: Duration = Duration::from_millis(200);
