//! A client that stops existing at every step (client.md 10, 131): each request of a global transaction, to the coordinator and to
//! the databases, in phase one and in phase two, is once the last one that is heard of it. Then another client of the same
//! databases comes up, and in the end all is done or nothing, nothing is locked, and no undo log is left.
//!
//! Connections are lost at every step too, on either side of it, while the client lives on; and every step is once so late that
//! the transaction was rolled back meanwhile.
//!
//! The steps are counted where they leave the client ([`knife`]), so none is forgotten; a run says how many there were.

mod knife;
mod process;
mod speech;
mod victim;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use seamio::client::at::{At, Error};
use seamio::client::{LockQuery, NewBranch, Outcome, Seata, TxGuard, TxOptions};
use seamio::proto::Text;
use seamio::proto::status::{BranchType, GlobalStatus};
use seamio::tc::server::{Server, ServerConfig, ServerHandle};

use crate::database::{Kind, Place, Tried};
use crate::fixture::{PATIENCE, run};
use knife::{Counted, Cut, Fault, Knife};
use speech::{Speech, Step};
use victim::{Client, Severed, connect, resource_id};

/// What a client does in one global transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Play {
    /// One branch, committed.
    Committed,
    /// One branch, rolled back.
    RolledBack,
    /// A branch in each of two databases, rolled back.
    TwoRolledBack,
    /// One branch, and nobody who ends the transaction.
    TimedOut,
    /// A branch that is registered and has no phase one, rolled back.
    Empty,
}

/// How it ended, as the client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Committed,
    RolledBack,
    Unknown,
}

impl Play {
    fn databases(self) -> usize {
        match self {
            Self::TwoRolledBack => 2,
            _ => 1,
        }
    }

    fn timeout(self) -> Duration {
        match self {
            Self::TimedOut => Duration::from_millis(400),
            _ => Duration::from_secs(50),
        }
    }

    /// What happens to it. Only a transaction that would commit is changed by a rollback in between.
    fn faults(self) -> &'static [Fault] {
        use Fault::{Held, Kill, LostBefore, LostBehind};
        match self {
            Self::Committed => &[Kill, LostBefore, LostBehind, Held],
            Self::RolledBack | Self::Empty => &[Kill, LostBefore, LostBehind],
            Self::TwoRolledBack | Self::TimedOut => &[Kill],
        }
    }

    /// The client's part.
    async fn perform<DB: Tried>(self, client: &Client<DB>, begun: impl FnOnce(&Text)) -> Told {
        let options = TxOptions::new("cut").timeout(self.timeout());
        let Ok(tx) = client.seata.begin(options).await else {
            return Told::RolledBack;
        };
        begun(tx.xid());
        let worked = match self {
            Self::Empty => register_only(client, &tx).await,
            _ => work_in_all(&client.ats, &tx).await,
        };
        match (worked, self) {
            (Ok(()), Self::Committed) => match tx.commit().await {
                Outcome::Committed { .. } => Told::Committed,
                Outcome::RolledBack { .. } => Told::RolledBack,
                Outcome::Unknown { .. } => Told::Unknown,
            },
            (_, Self::TimedOut) => {
                tx.detach();
                Told::RolledBack
            }
            _ => {
                let _ = tx.rollback().await;
                Told::RolledBack
            }
        }
    }
}

async fn work_in_all<DB: Tried>(ats: &[At<DB>], tx: &TxGuard) -> Result<(), Error> {
    for at in ats {
        let mut branch = at.begin_pooled(tx).await?;
        for statement in [
            "UPDATE t SET v = v + 1 WHERE id <= 2",
            "DELETE FROM t WHERE id = 3",
            "INSERT INTO t (v) VALUES (40), (50)",
        ] {
            run(&mut branch, statement).await?;
        }
        branch.commit().await?;
    }
    Ok(())
}

async fn register_only<DB: Tried>(client: &Client<DB>, tx: &TxGuard) -> Result<(), Error> {
    let branch = NewBranch {
        xid: tx.xid().clone(),
        branch_type: BranchType::At,
        resource_id: resource_id(0).into(),
        lock_key: LOCK_KEY.to_owned().into(),
        application_data: Text::new(),
    };
    let registered = client.seata.rm().register_branch(branch).await;
    registered.map(drop).map_err(Error::NotRegistered)
}

const LOCK_KEY: &str = "t:1,2,3";
const BEFORE: [&str; 3] = ["10", "20", "30"];
const AFTER: [&str; 4] = ["11", "21", "40", "50"];

/// The databases and the coordinator of one test, and somebody who looks on.
struct Stage<DB: Severed> {
    places: Vec<Place<DB>>,
    coordinator: SocketAddr,
    handle: ServerHandle,
    watcher: Seata,
}

impl<DB: Severed> Drop for Stage<DB> {
    fn drop(&mut self) {
        self.handle.drain(Duration::ZERO);
    }
}

impl<DB: Severed> Stage<DB> {
    async fn open(databases: usize) -> Option<Self> {
        let _ = env_logger::builder().is_test(true).try_init();
        let key = match DB::KIND {
            Kind::MariaDb => "INT AUTO_INCREMENT PRIMARY KEY",
            Kind::Postgres => "SERIAL PRIMARY KEY",
            Kind::Sqlite => "INTEGER PRIMARY KEY",
        };
        let mut places = Vec::new();
        for _ in 0..databases {
            let place = DB::open().await?;
            let table = format!("CREATE TABLE t (id {key}, v INT)");
            DB::script(&place.pool, &table).await.expect("a table");
            places.push(place);
        }
        let mut config = ServerConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            ..ServerConfig::default()
        };
        config.coordinator.commit_retry_first = RETRY;
        config.coordinator.rollback_retry_first = RETRY;
        config.coordinator.retry_pause_max = RETRY;
        let server = Server::bind(config).expect("a free port");
        let (coordinator, handle) = (server.address(), server.handle());
        std::thread::spawn(move || server.run());
        let (watcher, background) = connect(coordinator).await;
        tokio::spawn(background);
        let stage = Self {
            places,
            coordinator,
            handle,
            watcher,
        };
        // Creates the undo log's table.
        stage.client().await.end().await;
        Some(stage)
    }

    /// A client that nobody cuts off.
    async fn client(&self) -> Client<DB> {
        let pools = self.places.iter().map(|place| place.pool.clone());
        Client::new(self.coordinator, pools.collect()).await
    }

    async fn reset(&self) {
        let script = "DELETE FROM undo_log; DELETE FROM t;
            INSERT INTO t (id, v) VALUES (1, 10), (2, 20), (3, 30);";
        for place in &self.places {
            let script = match DB::KIND {
                // Keys that were given by hand do not count.
                Kind::Postgres => format!("{script} SELECT setval('t_id_seq', 100);"),
                _ => script.to_owned(),
            };
            DB::script(&place.pool, &script).await.expect("rows");
        }
    }

    /// One play with this cut. The step that was cut at, and all that were met; none when the play was over before.
    async fn play(&self, play: Play, cut: Option<Cut>) -> (Option<Step>, Vec<Step>) {
        self.reset().await;
        let mut knife = Knife::new();
        let door = knife.door(Speech::Seata, self.coordinator.to_string());
        let pools: Vec<_> = self
            .places
            .iter()
            .map(|place| DB::through(place, &mut knife))
            .collect();
        let client = Client::new(door, pools).await;
        knife.count(counted(), cut);
        let (xid, told) = (OnceLock::new(), OnceLock::new());
        let performed = async {
            let performed = play.perform(&client, |begun| drop(xid.set(begun.clone())));
            let _ = told.set(performed.await);
            if let Some(xid) = xid.get() {
                // Its second phases are steps too.
                self.is_over(xid).await;
            }
        };
        let performed = async {
            let performed = tokio::time::timeout(PATIENCE, performed).await;
            performed.unwrap_or_else(|_| panic!("{play:?} {cut:?}: not over in time"));
        };
        match cut.map(|cut| cut.fault) {
            Some(Fault::Kill) => tokio::select! {
                () = performed => {}
                () = knife.struck() => {}
            },
            Some(Fault::Held) => {
                let meddle = async {
                    knife.struck().await;
                    self.meddle(xid.get()).await;
                    knife.release();
                    std::future::pending().await
                };
                tokio::select! { () = performed => {}, () = meddle => {} }
            }
            _ => performed.await,
        }
        // What it was told before it was killed is true.
        let told = told.get().copied();
        let (struck, steps) = (knife.struck_at(), knife.steps());
        let killed = struck.is_some() && cut.is_some_and(|cut| cut.fault == Fault::Kill);
        let next = match killed {
            true => Some(self.client().await),
            false => None,
        };
        let what = format!("{play:?} {cut:?} {struck:?} told={told:?}");
        self.audit(&what, play, told, xid.get()).await;
        drop(knife);
        client.end().await;
        if let Some(next) = next {
            next.end().await;
        }
        (struck, steps)
    }

    /// Rolls the transaction back while its client is at work.
    async fn meddle(&self, xid: Option<&Text>) {
        let Some(xid) = xid else { return };
        let rolled_back = async {
            let _ = self.watcher.reload(xid.clone()).rollback().await;
            self.end_of(xid).await
        };
        // Where the client holds what the rollback waits for, it has to go on.
        let _ = tokio::time::timeout(HELD_AT_MOST, rolled_back).await;
    }

    /// Waits until the coordinator has nothing more to do about it.
    async fn end_of(&self, xid: &Text) -> GlobalStatus {
        let tx = self.watcher.join(xid.clone());
        loop {
            match tx.status().await {
                Ok(
                    over @ (GlobalStatus::Committed
                    | GlobalStatus::Rollbacked
                    | GlobalStatus::TimeoutRollbacked
                    | GlobalStatus::Finished
                    | GlobalStatus::CommitFailed
                    | GlobalStatus::RollbackFailed
                    | GlobalStatus::TimeoutRollbackFailed),
                ) => return over,
                _ => tokio::time::sleep(GLANCE).await,
            }
        }
    }

    /// Waits until the coordinator is done, and no undo log is left.
    async fn is_over(&self, xid: &Text) {
        self.end_of(xid).await;
        self.settle().await;
    }

    /// Waits until no undo log is left.
    async fn settle(&self) {
        while self.undo_logs("0").await > 0 {
            tokio::time::sleep(GLANCE).await;
        }
    }

    async fn undo_logs(&self, status: &str) -> usize {
        let column = match DB::KIND {
            Kind::Postgres => "SELECT log_status::text FROM undo_log",
            _ => "SELECT CAST(log_status AS CHAR) FROM undo_log",
        };
        let mut count = 0;
        for place in &self.places {
            let rows = DB::column(&place.pool, column).await;
            count += rows.iter().filter(|row| *row == status).count();
        }
        count
    }

    /// Brings it to an end, and looks at what is there then.
    async fn audit(&self, what: &str, play: Play, told: Option<Told>, xid: Option<&Text>) {
        let status = match xid {
            Some(xid) => {
                if play != Play::TimedOut && told != Some(Told::Committed) {
                    // Instead of waiting for the timeout. What is decided stays decided.
                    let _ = self.watcher.reload(xid.clone()).rollback().await;
                }
                let ended = tokio::time::timeout(PATIENCE, self.end_of(xid)).await;
                ended.unwrap_or_else(|_| panic!("{what}: without an end"))
            }
            None => GlobalStatus::Rollbacked,
        };
        assert!(
            !matches!(
                status,
                GlobalStatus::CommitFailed
                    | GlobalStatus::RollbackFailed
                    | GlobalStatus::TimeoutRollbackFailed
            ),
            "{what}: ended as {status:?}"
        );
        let values = match DB::KIND {
            Kind::Postgres => "SELECT v::text FROM t ORDER BY id",
            _ => "SELECT CAST(v AS CHAR) FROM t ORDER BY id",
        };
        let mut found = Vec::new();
        for place in &self.places {
            found.push(DB::column(&place.pool, values).await);
        }
        // The coordinator does not tell any more how it ended. Everywhere the same way it has to be.
        let is_committed = found.iter().all(|values| *values == AFTER);
        let is_undone = found.iter().all(|values| *values == BEFORE);
        let is_right = match told {
            Some(Told::Committed) => is_committed,
            Some(Told::RolledBack) => is_undone,
            Some(Told::Unknown) | None => is_committed || is_undone,
        };
        assert!(is_right, "{what}: {found:?}");
        let settled = tokio::time::timeout(PATIENCE, self.settle()).await;
        assert!(settled.is_ok(), "{what}: an undo log is left");
        if is_committed {
            assert_eq!(
                self.undo_logs("1").await,
                0,
                "{what}: kept out what committed"
            );
        }
        for index in 0..self.places.len() {
            let query = LockQuery {
                xid: Text::new(),
                resource_id: resource_id(index).into(),
                lock_key: LOCK_KEY.to_owned().into(),
            };
            let free = self.watcher.rm().is_lockable(query).await;
            assert_eq!(free, Ok(true), "{what}: still locked");
        }
    }
}

/// The play with every cut there is. Left out, unless `SEAMIO_CUTS` is `all`, are those at what only prepares a statement, which
/// changes nothing on either side, and the faults that other plays have shown.
async fn every_cut<DB: Severed>(play: Play) {
    let may = |fault: &&Fault| {
        // There is little to cut for SQLite.
        let all = counted() == Counted::All || DB::KIND == Kind::Sqlite;
        all || play.faults().contains(fault)
    };
    let faults = DB::FAULTS.iter().filter(may);
    let lanes: Vec<_> = faults
        .map(|fault| tokio::spawn(every_cut_of::<DB>(play, *fault)))
        .collect();
    for lane in lanes {
        lane.await.expect("every cut is survived");
    }
}

async fn every_cut_of<DB: Severed>(play: Play, fault: Fault) {
    let Some(stage) = Stage::<DB>::open(play.databases()).await else {
        return;
    };
    let (_, steps) = stage.play(play, None).await;
    let (mut met, mut cuts) = (BTreeSet::new(), 0);
    for step in 1.. {
        let (Some(struck), _) = stage.play(play, Some(Cut { step, fault })).await else {
            break;
        };
        met.insert(struck.shape());
        cuts += 1;
    }
    let (kind, number) = (DB::KIND, steps.len());
    println!("{kind:?} {play:?}: {number} steps, {fault:?} at {cuts}");
    // On a busy machine the one that times out ends early.
    for step in steps.iter().filter(|_| play != Play::TimedOut) {
        let words = &step.words;
        let is_met = met.contains(&step.shape());
        assert!(is_met, "{fault:?} {play:?}: never at {words}");
    }
}

fn counted() -> Counted {
    match std::env::var("SEAMIO_CUTS") {
        Ok(cuts) if cuts == "all" => Counted::All,
        _ => Counted::Effective,
    }
}

async fn committed<DB: Severed>() {
    every_cut::<DB>(Play::Committed).await;
}

async fn rolled_back<DB: Severed>() {
    every_cut::<DB>(Play::RolledBack).await;
}

async fn two_rolled_back<DB: Severed>() {
    every_cut::<DB>(Play::TwoRolledBack).await;
}

async fn timed_out<DB: Severed>() {
    every_cut::<DB>(Play::TimedOut).await;
}

async fn without_a_phase_one<DB: Severed>() {
    every_cut::<DB>(Play::Empty).await;
}

on_every_database!(
    committed,
    rolled_back,
    two_rolled_back,
    timed_out,
    without_a_phase_one,
);

/// The pause before the coordinator asks again.
const RETRY: Duration = Duration::from_millis(20);
/// Between two looks at a status.
const GLANCE: Duration = Duration::from_millis(2);
/// Longer than a rollback takes that nothing is in the way of. On a busy machine it may take longer: then the client goes on
/// meanwhile, which is as good a case.
const HELD_AT_MOST: Duration = Duration::from_millis(300);
