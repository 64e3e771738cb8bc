//! The keeper: this coordinator's place among its siblings (coordinator.md 4.5, 4.6, 4.8).
//!
//! | table | what it says |
//! |---|---|
//! | `seamio_node` | which coordinator has which node for its ids, and until when it counts as alive, by the database's clock |
//! | `seamio_decision` | who drives phase two of a decided transaction: a node, or nobody (offered) |
//!
//! - A lease is renewed every tick. Its owner counts it from before it asked, the others by the database's clock from
//!   behind, so it ends for its owner first. Its owner calls no branch without a lease.
//! - What a node drove whose lease is over goes to whoever claims it first (`UPDATE … WHERE driver = that node`).
//! - A transaction whose time is over and that nobody has decided is adopted by everybody who sees it: the first decides.
//! - What a Java coordinator decided and did not finish within some seconds is claimed by a row in `seamio_decision`.
//! - A coordinator whose lease ran out forgets what it drove, and then adopts what is still its own.
//! - While a Java coordinator before 2.0 works on the tables, nothing begins and nothing of Java's is claimed (`foreign`).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::Sender;

use super::connection::{Fault, Link, Rows, runtime};
use super::foreign::Watch;
use super::reading::{Columns, Questions, list};
use super::turns::Turns;
use super::{Hub, JavaCoordinators, SqlConfig, Wake, foreign, schema};
use crate::proto::Text;
use crate::proto::status::GlobalStatus;
use crate::tc::store::{Completion, Global, Operation, StoreEvent};
use crate::xid::{IdGenerator, NODE_MAX, Xid};

/// What a keeper begins with.
pub(super) struct Plan {
    /// When the store was asked to open.
    pub(super) began: Instant,
    pub(super) config: SqlConfig,
    pub(super) wake: Wake,
    pub(super) completions: Sender<Completion>,
    pub(super) events: Sender<StoreEvent>,
}

/// What it has when the store is open.
pub(super) struct Opened {
    pub(super) hub: Arc<Hub>,
    /// What this coordinator had before, and drives again.
    pub(super) found: Vec<Global>,
    pub(super) not_below: i64,
}

/// Opens the store, then keeps its place until it is told to stop.
pub(super) fn run(plan: Plan, opening: &Sender<Result<Opened, String>>) {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = opening.send(Err(format!("no runtime can be started: {error}")));
            return;
        }
    };
    runtime.block_on(async {
        match Keeper::open(plan).await {
            Err(problem) => drop(opening.send(Err(problem))),
            Ok((mut keeper, opened)) => {
                if opening.send(Ok(opened)).is_ok() {
                    keeper.keep().await;
                }
            }
        }
    });
}

pub(super) struct Keeper {
    pub(super) hub: Arc<Hub>,
    link: Option<Link>,
    pub(super) place: Place,
    /// When the lease ends, by this process's clock.
    until: Instant,
    /// Decided by Java coordinators: the status each had, and since when it has been seen.
    pub(super) foreign: HashMap<Xid, (GlobalStatus, Instant)>,
    /// Who the others are.
    pub(super) watch: Watch,
    ticks: u64,
}

/// A node and the proof that it is ours.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) node: u16,
    token: String,
    not_below: i64,
}

impl Keeper {
    async fn open(plan: Plan) -> Result<(Self, Opened), String> {
        let Plan {
            began,
            config,
            wake,
            completions,
            events,
        } = plan;
        let connected = connect_patiently(&config, began).await;
        let had = usize::from(config.writers());
        let mut link = connected.map_err(|why| config.unconnected(had, &why))?;
        let schema = schema::inspect(&mut link)
            .await
            .map_err(|fault| fault.text().to_owned())?
            .map_err(|problems| schema::Error::Unfit(problems).to_string())?;
        log::info!("event=database product={}", schema.product);
        for warning in &schema.warnings {
            log::warn!("{warning}");
        }
        let watch = Watch::begin(&mut link, &config).await?;
        let asked = now();
        let place = claim(&mut link, &config, Claiming::AtStart).await?;
        let hub = Arc::new(Hub {
            columns: schema.limits,
            wake,
            completions,
            events,
            turns: Turns::default(),
            node: Mutex::new(place.node),
            stop: AtomicBool::new(false),
            reload: AtomicBool::new(false),
            commits: AtomicU64::new(0),
            round_trips: AtomicU64::new(0),
            statements: AtomicU64::new(0),
            repeats: AtomicU64::new(0),
            config,
        });
        let mut keeper = Self {
            until: asked + hub.config.lease - hub.config.lease / 10,
            hub: hub.clone(),
            link: Some(link),
            foreign: HashMap::new(),
            watch,
            ticks: 0,
            place,
        };
        let found = keeper
            .own()
            .await
            .map_err(|fault| fault.text().to_owned())?;
        keeper.hub.tell(StoreEvent::Leased(keeper.until));
        let opened = Opened {
            hub,
            found,
            not_below: keeper.place.not_below,
        };
        Ok((keeper, opened))
    }

    async fn keep(&mut self) {
        let tick = (self.hub.config.lease / 3).min(Duration::from_secs(1));
        while !self.hub.is_over() {
            let began = now();
            let full = match self.tick().await {
                Ok(full) => full,
                Err(fault) => {
                    // Perhaps something was claimed and not told.
                    self.hub.reload.store(true, Ordering::Relaxed);
                    self.trouble(&fault);
                    false
                }
            };
            if full {
                continue;
            }
            // In small steps: a stop need not wait.
            while began.elapsed() < tick && !self.hub.is_over() {
                tokio::time::sleep(STEP.min(tick)).await;
            }
        }
        self.leave().await;
    }

    fn trouble(&mut self, fault: &Fault) {
        match fault {
            Fault::Again(_) => {}
            Fault::Lost(why) => {
                log::warn!("event=database_lost writer=keeper reason={why}");
                self.link = None;
            }
            fault => log::error!("event=keeper_failed reason={}", fault.text()),
        }
    }

    /// Renews the lease and looks after what others left. Gives whether there is more of that.
    async fn tick(&mut self) -> Result<bool, Fault> {
        self.ticks += 1;
        if self.link.is_none() {
            let config = &self.hub.config;
            self.link = Some(Link::open(&config.url, config.statement_timeout).await?);
        }
        let results = self.renew().await?;
        let rows = |at: usize| results.get(at).map_or(&[][..], |rows| &rows.rows[..]);
        for row in rows(1) {
            let row = Columns(row);
            let xid = row.xid(0).map_err(Fault::Refused)?;
            let resource_id = Text::from(row.text(1));
            self.hub.tell(StoreEvent::Offered { xid, resource_id });
        }
        if let Some(clock) = rows(5).first() {
            self.compare_clocks(Columns(clock).number(0).map_err(Fault::Refused)?);
        }
        let dead = xids(rows(2))?;
        let mut overdue = xids(rows(3))?;
        let foreign = rows(4).to_vec();
        self.look_around(&foreign, results.get(6..).unwrap_or_default());
        let full = [dead.len(), overdue.len()].contains(&AT_ONCE);
        self.take_over(&dead).await?;
        // What may be decided by somebody who does not compare is left to that one.
        overdue.retain(|xid| self.watch.may_touch(xid));
        self.adopt(&overdue).await?;
        self.claim_foreign(&foreign).await?;
        if self.hub.reload.swap(false, Ordering::Relaxed) {
            for global in self.own().await? {
                self.hub.tell(StoreEvent::Adopted(global));
            }
        }
        if self.ticks.is_multiple_of(SWEEP_TICKS) {
            self.sweep().await?;
            if self.hub.config.java == JavaCoordinators::Beside {
                self.bring_back().await?;
            }
        }
        Ok(full)
    }

    /// Deadlines are counted by each coordinator's own clock: a wrong one is told, now and then.
    fn compare_clocks(&self, database_ms: i64) {
        let apart_ms = wall_ms() - database_ms;
        if apart_ms.abs() > CLOCKS_APART_MS && self.ticks % CLOCKS_TOLD_TICKS == 1 {
            log::warn!(
                "event=clocks_apart ms={apart_ms}: this machine's clock and the database's differ; deadlines of \
                 transactions are counted by the clock of the coordinator that looks"
            );
        }
    }

    /// Renews the lease; when it is too late for that, begins anew.
    async fn renew(&mut self) -> Result<Vec<Rows>, Fault> {
        let asked = now();
        let sql = self.questions();
        let results = self.link()?.run(&sql).await?;
        let lease = self.hub.config.lease;
        let until = asked + lease - lease / 10;
        let renewed = results.first().is_some_and(|rows| rows.affected == 1);
        if renewed && now() < self.until {
            self.until = until;
            self.hub.tell(StoreEvent::Leased(until));
            return Ok(results);
        }
        if !renewed {
            let config = self.hub.config.clone();
            let old = self.place.node;
            self.place = claim(self.link()?, &config, Claiming::Again)
                .await
                .map_err(Fault::Refused)?;
            let node = self.place.node;
            *self.hub.node.lock().unwrap_or_else(PoisonError::into_inner) = node;
            log::warn!("event=node_lost node={old} new_node={node}: another coordinator took it");
        }
        log::warn!(
            "event=lease_lost node={}: what it drove may be others' now",
            self.place.node
        );
        self.hub.tell(StoreEvent::Replaced {
            node: self.place.node,
            not_below: self.place.not_below,
        });
        for global in self.own().await? {
            self.hub.tell(StoreEvent::Adopted(global));
        }
        self.until = until;
        self.hub.tell(StoreEvent::Leased(until));
        Ok(results)
    }

    /// The renewal, and what is asked with it.
    fn questions(&self) -> String {
        let (dialect, node) = (self.hub.config.url.dialect(), self.place.node);
        let clock = dialect.clock_ms();
        let lease = millis(self.hub.config.lease);
        let grace = OVERDUE_GRACE_MS;
        // Also when the clock of the database is set back.
        let ids_until = format!("{clock} + {lease} + {IDS_AHEAD_MS}");
        let ids_until = dialect.greater("ids_until", &ids_until);
        format!(
            "UPDATE seamio_node SET lease_until = {clock} + {lease}, ids_until = {ids_until} WHERE node_id = {node} AND token = '{token}'; \
             SELECT xid, wanted FROM seamio_decision WHERE driver IS NULL ORDER BY decided_ms LIMIT {AT_ONCE}; \
             SELECT d.xid FROM seamio_decision d LEFT JOIN seamio_node n ON n.node_id = d.driver \
             WHERE d.driver <> {node} AND (n.node_id IS NULL OR n.lease_until < {clock}) LIMIT {AT_ONCE}; \
             SELECT xid FROM global_table WHERE status = 1 AND begin_time + timeout < {clock} - {grace} LIMIT {AT_ONCE}; \
             SELECT g.xid, g.status, g.begin_time FROM global_table g LEFT JOIN seamio_decision d ON d.xid = g.xid \
             WHERE g.status IN (0, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13) AND d.xid IS NULL AND (g.status NOT IN (9, 11, 13) \
             OR g.begin_time < {clock} - {LEFT_OVER_MS}) LIMIT {AT_ONCE}; \
             SELECT {clock}; {others}",
            token = self.place.token,
            others = foreign::others(dialect, foreign::Witnesses::Newest),
        )
    }

    /// What this node drives, and what it began and has not decided.
    async fn own(&mut self) -> Result<Vec<Global>, Fault> {
        let node = self.place.node;
        let (first, last) = ids_of(node);
        let sql = format!(
            "SELECT xid FROM seamio_decision WHERE driver = {node}; \
             SELECT xid FROM global_table WHERE status = 1 AND transaction_id BETWEEN {first} AND {last}"
        );
        let results = self.link()?.run(&sql).await?;
        let mut all = Vec::new();
        for rows in results {
            all.extend(xids(&rows.rows)?);
        }
        self.load(&all).await
    }

    /// Claims what a dead node drove.
    async fn take_over(&mut self, dead: &[Xid]) -> Result<(), Fault> {
        if dead.is_empty() {
            return Ok(());
        }
        let (dialect, node) = (self.hub.config.url.dialect(), self.place.node);
        let clock = dialect.clock_ms();
        let texts = list(dialect, dead.iter().map(|xid| xid.as_text().as_str()));
        let sql = format!(
            "{}; UPDATE seamio_decision SET driver = {node} WHERE xid IN ({texts}) AND driver <> {node} \
             AND driver NOT IN (SELECT node_id FROM seamio_node WHERE lease_until >= {clock}); \
             SELECT xid FROM seamio_decision WHERE xid IN ({texts}) AND driver = {node}; COMMIT",
            dialect.begin()
        );
        let results = self.in_transaction(&sql).await?;
        let ours = xids(results.get(2).map_or(&[], |rows| &rows.rows))?;
        log::info!("event=taken_over transactions={}", ours.len());
        self.adopt(&ours).await
    }

    /// Our records of transactions that a Java coordinator has ended meanwhile.
    async fn sweep(&mut self) -> Result<(), Fault> {
        let (dialect, node) = (self.hub.config.url.dialect(), self.place.node);
        let sql = format!(
            "DELETE FROM seamio_decision WHERE (driver = {node} OR driver IS NULL) AND decided_ms < {} - {ENDED_ELSEWHERE_MS} \
             AND NOT EXISTS (SELECT 1 FROM global_table g WHERE g.xid = seamio_decision.xid)",
            dialect.clock_ms()
        );
        self.link()?.run(&sql).await.map(drop)
    }

    pub(super) async fn adopt(&mut self, all: &[Xid]) -> Result<(), Fault> {
        for global in self.load(all).await? {
            self.hub.tell(StoreEvent::Adopted(global));
        }
        Ok(())
    }

    /// Transactions with their branches, as they are committed.
    async fn load(&mut self, all: &[Xid]) -> Result<Vec<Global>, Fault> {
        let mut loaded = Vec::new();
        for some in all.chunks(LOADED_AT_ONCE) {
            let asked: Vec<Operation> = some
                .iter()
                .map(|xid| Operation::Fetch {
                    xid: xid.clone(),
                    branch_id: None,
                    now_ms: 0,
                })
                .collect();
            let questions = Questions::of(asked.iter());
            let link = self.link()?;
            let reading = questions.reading(link.dialect(), "");
            let results = link.run(&reading.sql).await?;
            let found = questions.found(&reading, results).map_err(Fault::Refused)?;
            let here = Some(Some(i64::from(self.place.node)));
            for xid in some {
                let global = found.state.live(xid).map(|entry| &entry.global);
                // A decided one may have gone to a sibling meanwhile.
                let ours = |global: &&Global| {
                    global.status == GlobalStatus::Begin || found.drivers.get(xid).copied() == here
                };
                loaded.extend(global.filter(ours).cloned());
            }
        }
        Ok(loaded)
    }

    pub(super) async fn in_transaction(&mut self, sql: &str) -> Result<Vec<Rows>, Fault> {
        in_transaction(self.link()?, sql).await
    }

    /// The siblings need not wait for the lease to run out.
    async fn leave(&mut self) {
        let (node, token) = (self.place.node, self.place.token.clone());
        let sql = format!(
            "UPDATE seamio_node SET lease_until = 0 WHERE node_id = {node} AND token = '{token}'"
        );
        if let Some(mut link) = self.link.take() {
            // Else it runs out.
            let _ = link.run(&sql).await;
            link.close().await;
        }
    }

    pub(super) fn link(&mut self) -> Result<&mut Link, Fault> {
        self.link
            .as_mut()
            .ok_or_else(|| Fault::Lost("not connected".into()))
    }
}

async fn in_transaction(link: &mut Link, sql: &str) -> Result<Vec<Rows>, Fault> {
    match link.run(sql).await {
        Err(fault @ Fault::Lost(_)) => Err(fault),
        Err(fault) => {
            link.run("ROLLBACK").await?;
            Err(fault)
        }
        Ok(results) => Ok(results),
    }
}

/// Connects to a database that may not be up yet.
pub(super) async fn connect_patiently(config: &SqlConfig, began: Instant) -> Result<Link, String> {
    let mut told = false;
    loop {
        match Link::open(&config.url, config.statement_timeout).await {
            Ok(link) => return Ok(link),
            Err(Fault::Lost(why)) if began.elapsed() < config.start_within => {
                if !told {
                    log::warn!("event=waiting_for_database url={} reason={why}", config.url);
                    told = true;
                }
                tokio::time::sleep(RECONNECT).await;
            }
            Err(fault) => return Err(fault.text().to_owned()),
        }
    }
}

/// Takes a node: the one that was asked for, the one this address had before, or a free one.
async fn claim(link: &mut Link, config: &SqlConfig, claiming: Claiming) -> Result<Place, String> {
    for _ in 0..CLAIMS_MAX {
        match try_claim(link, config, claiming).await {
            Ok(place) => return place,
            // A sibling was quicker, or in the way.
            Err(Fault::Duplicate(_) | Fault::Again(_)) => tokio::time::sleep(STEP).await,
            Err(fault) => return Err(format!("no node can be claimed: {}", fault.text())),
        }
    }
    Err("no node can be claimed: others are always quicker".into())
}

/// The outer error may be gone with another try, the inner one is final.
async fn try_claim(
    link: &mut Link,
    config: &SqlConfig,
    claiming: Claiming,
) -> Result<Result<Place, String>, Fault> {
    let dialect = link.dialect();
    let clock = dialect.clock_ms();
    let sql = format!(
        "{}; SELECT node_id, address, lease_until, ids_until, {clock} FROM seamio_node ORDER BY node_id{}",
        dialect.begin(),
        dialect.for_update()
    );
    let results = in_transaction(link, &sql).await?;
    let mut known = Vec::new();
    for row in results.get(1).map_or(&[][..], |rows| &rows.rows) {
        known.push(Known::read(row).map_err(Fault::Refused)?);
    }
    let chosen = match choose(&known, config, claiming) {
        Ok(chosen) => chosen,
        Err(problem) => {
            link.run("ROLLBACK").await?;
            return Ok(Err(problem));
        }
    };
    let token = token();
    let (node, lease) = (chosen.node, millis(config.lease));
    let address = dialect.literal(&config.address);
    let until = format!("{clock} + {lease}");
    let ids_until = dialect.greater("ids_until", &format!("{until} + {IDS_AHEAD_MS}"));
    let row = match chosen.known {
        true => format!(
            "UPDATE seamio_node SET token = '{token}', address = {address}, lease_until = {until}, \
             ids_until = {ids_until} WHERE node_id = {node}"
        ),
        false => format!(
            "INSERT INTO seamio_node (node_id, token, address, lease_until, ids_until) \
             VALUES ({node}, '{token}', {address}, {until}, {until} + {IDS_AHEAD_MS})"
        ),
    };
    let writers: Vec<String> = (0..config.writers())
        .map(|number| format!("({node}, {number}, 0)"))
        .collect();
    let sql = format!(
        "{row}; DELETE FROM seamio_writer WHERE node_id = {node}; \
         INSERT INTO seamio_writer (node_id, writer, batch) VALUES {}; COMMIT",
        writers.join(",")
    );
    in_transaction(link, &sql).await?;
    log::info!("event=node_claimed node={node}");
    Ok(Ok(Place {
        node,
        token,
        not_below: chosen.not_below,
    }))
}

/// Why a node is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claiming {
    /// The process has just been started.
    AtStart,
    /// Another process has taken the one it had.
    Again,
}

/// A row of `seamio_node`.
struct Known {
    node: u16,
    address: String,
    /// For so long it counts as alive; 0 or less is not at all.
    left_ms: i64,
    ids_until: i64,
}

struct Chosen {
    node: u16,
    known: bool,
    not_below: i64,
}

impl Known {
    fn read(row: &[Option<String>]) -> Result<Self, String> {
        let row = Columns(row);
        let node = row.number(0)?;
        Ok(Self {
            node: u16::try_from(node).map_err(|_| format!("seamio_node: node {node}"))?,
            address: row.text(1).to_owned(),
            left_ms: row.number(2)? - row.number(4)?,
            ids_until: row.number(3)?,
        })
    }

    fn chosen(&self) -> Chosen {
        let mut ids = IdGenerator::new(self.node, self.ids_until);
        Chosen {
            node: self.node,
            known: true,
            not_below: ids.next_id(),
        }
    }
}

fn choose(known: &[Known], config: &SqlConfig, claiming: Claiming) -> Result<Chosen, String> {
    let fresh = |node| Chosen {
        node,
        known: false,
        not_below: 0,
    };
    // A coordinator that was started again at its address is the same one. Later it is another process that calls itself so.
    let same = |one: &&Known| {
        one.address == config.address && (claiming == Claiming::AtStart || one.left_ms <= 0)
    };
    if let Some(node) = config.node {
        return match known.iter().find(|one| one.node == node) {
            None => Ok(fresh(node)),
            Some(one) if one.left_ms <= 0 || same(&one) => Ok(one.chosen()),
            Some(one) => Err(format!(
                "node {node} is that of {}, which was alive {} ms ago; give each coordinator a node of its own, or none",
                one.address,
                millis(config.lease) - one.left_ms
            )),
        };
    }
    if let Some(one) = known.iter().find(same) {
        return Ok(one.chosen());
    }
    let taken = |node: &u16| known.iter().any(|one| one.node == *node);
    let start = usize::from(random_node(&config.address));
    let mut all = (0..=NODE_MAX)
        .cycle()
        .skip(start)
        .take(usize::from(NODE_MAX) + 1);
    if let Some(node) = all.find(|node| !taken(node)) {
        return Ok(fresh(node));
    }
    known
        .iter()
        .filter(|one| one.left_ms <= 0)
        .min_by_key(|one| one.left_ms)
        .map(Known::chosen)
        .ok_or_else(|| "all 1024 nodes are alive".to_owned())
}

/// Where the search for a free node begins: spread, so that coordinators that start together seldom meet.
fn random_node(address: &str) -> u16 {
    use std::hash::{BuildHasher, RandomState};
    let hash = RandomState::new().hash_one(address);
    u16::try_from(hash % u64::from(NODE_MAX + 1)).unwrap_or(0)
}

fn token() -> String {
    use std::hash::{BuildHasher, RandomState};
    let part = || RandomState::new().hash_one(SystemTime::UNIX_EPOCH);
    format!("{:016x}{:016x}", part(), part())
}

/// The ids that a node makes.
fn ids_of(node: u16) -> (i64, i64) {
    let first = i64::from(node) << 53;
    (first, first | ((1 << 53) - 1))
}

pub(super) fn xids(rows: &[Vec<Option<String>>]) -> Result<Vec<Xid>, Fault> {
    rows.iter()
        .map(|row| Columns(row).xid(0).map_err(Fault::Refused))
        .collect()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[allow(clippy::disallowed_methods)] // the keeper waits by it; records carry the database's time
pub(super) fn now() -> Instant {
    Instant::now()
}

#[allow(clippy::disallowed_methods)] // only compared with the database's clock
fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    millis(since.unwrap_or_default())
}

/// So far clocks may be apart without a word; about what a slow round trip makes of equal ones.
const CLOCKS_APART_MS: i64 = 2000;
/// Ticks between two words about clocks.
const CLOCKS_TOLD_TICKS: u64 = 600;
/// Rows that one tick takes of each kind.
const AT_ONCE: usize = 2000;
/// Transactions read in one round trip.
const LOADED_AT_ONCE: usize = 500;
/// Between two looks at whether to stop.
pub(super) const STEP: Duration = Duration::from_millis(50);
/// Between two tries to reach a database that is not up.
const RECONNECT: Duration = Duration::from_millis(500);
const CLAIMS_MAX: usize = 50;
/// So long after its deadline an undecided transaction is anybody's: whoever began it had its time.
const OVERDUE_GRACE_MS: i64 = 2000;
/// No id is made later than so long after the last renewal of the lease.
const IDS_AHEAD_MS: i64 = 60_000;
/// A Java coordinator keeps the row of an ended transaction so long after its begin, for a branch that comes late.
const LEFT_OVER_MS: i64 = 135_000;
/// Ticks between two sweeps.
const SWEEP_TICKS: u64 = 5;
/// A decision whose transaction is gone is forgotten after so long.
const ENDED_ELSEWHERE_MS: i64 = 60_000;
