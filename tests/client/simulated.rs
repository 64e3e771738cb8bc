//! The whole client and the whole coordinator in a simulated network that loses connections, splits bytes and jumps in
//! time: whatever goes wrong, what the application was told is what its branches were told. A failing run prints its seed.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use seamio::client::resource::{BoxFuture, PhaseTwo, Resource};
use seamio::client::{
    BranchError, ClientOptions, File, GlobalTxError, NewBranch, Outcome, Rm, Seata, TxOptions,
};
use seamio::proto::Text;
use seamio::proto::status::{BranchStatus, BranchType};
use seamio::sim::{Faults, Machine, Network, Progress, Rng, SimClient, SimServer};
use seamio::tc::server::ServerConfig;
use seamio::tc::store::{MemoryStore, StoreLimits};

/// What happened, in the eyes of the application.
#[derive(Default)]
struct Books {
    /// Branches that were registered, by transaction.
    branches: BTreeMap<Text, BTreeSet<i64>>,
    /// What each transaction came to.
    told: BTreeMap<Text, Told>,
    /// Branches that were committed, and that were rolled back.
    done: [BTreeMap<Text, BTreeSet<i64>>; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Committed,
    RolledBack,
    Unknown,
}

struct Shelf(Arc<Mutex<Books>>);

impl Shelf {
    fn note(&self, which: usize, branch: PhaseTwo) {
        let mut books = self.0.lock().expect("books");
        let branches = books.done[which].entry(branch.xid.detached());
        branches.or_default().insert(branch.branch_id.0);
    }
}

impl Resource for Shelf {
    fn id(&self) -> &str {
        "shelf"
    }

    fn branch_type(&self) -> BranchType {
        BranchType::At
    }

    fn commit(self: Arc<Self>, branch: PhaseTwo) -> BoxFuture<BranchStatus> {
        Box::pin(async move {
            self.note(0, branch);
            BranchStatus::PhaseTwoCommitted
        })
    }

    fn rollback(self: Arc<Self>, branch: PhaseTwo) -> BoxFuture<BranchStatus> {
        Box::pin(async move {
            self.note(1, branch);
            BranchStatus::PhaseTwoRollbacked
        })
    }
}

/// One piece of work of the application.
async fn work(seata: Seata, rm: Rm, books: Arc<Mutex<Books>>, plan: Plan) {
    rm.sleep(plan.starts).await;
    let note = Arc::clone(&books);
    let options = TxOptions::new("work").timeout(Duration::from_secs(20));
    let xid = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&xid);
    let done = seata.transaction(options, |tx| async move {
        *seen.lock().expect("seen") = Some(tx.xid().clone());
        for row in &plan.rows {
            let branch = NewBranch {
                xid: tx.xid().clone(),
                branch_type: BranchType::At,
                resource_id: "shelf".into(),
                lock_key: format!("t:{row}").into(),
                application_data: Text::new(),
            };
            let id = rm.register_branch(branch).await?;
            {
                let mut books = note.lock().expect("books");
                let branches = books.branches.entry(tx.xid().clone());
                branches.or_default().insert(id.0);
            }
            rm.sleep(plan.works).await;
        }
        Ok::<_, BranchError>(())
    });
    let told = match done.await {
        Ok(()) => Told::Committed,
        Err(GlobalTxError::RolledBack { .. }) => Told::RolledBack,
        Err(GlobalTxError::Unknown { .. }) => Told::Unknown,
        Err(GlobalTxError::NotBegun(_)) => return,
        Err(other) => panic!("{other}"),
    };
    let xid = xid.lock().expect("seen").take().expect("it began");
    books.lock().expect("books").told.insert(xid, told);
}

struct Plan {
    starts: Duration,
    works: Duration,
    rows: Vec<u64>,
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Scene {
    seed: u64,
    network: Network,
    server: SimServer,
    client: SimClient,
    tasks: Vec<Task>,
    background: Task,
    /// Steps in a row in which nobody had anything to do.
    quiet: u32,
}

impl Scene {
    /// A step of the network, then everybody who can go on does.
    fn step(&mut self) {
        let machines: &mut [&mut dyn Machine] = &mut [&mut self.server, &mut self.client];
        let progress = self.network.step(machines).expect("the machines run");
        let mut cx = Context::from_waker(Waker::noop());
        self.tasks
            .retain_mut(|task| task.as_mut().poll(&mut cx) == Poll::Pending);
        let _ = self.background.as_mut().poll(&mut cx);
        // What was polled just now may have given the network something to do.
        self.quiet = match progress {
            Progress::Quiet => self.quiet + 1,
            _ => 0,
        };
        assert!(self.quiet < 3, "seed {}: nothing will happen", self.seed);
    }

    /// Steps until it is so, for at most so long.
    fn until(&mut self, most: Duration, mut is_so: impl FnMut(&Self) -> bool) {
        let end = self.network.clock().elapsed() + most;
        while !is_so(self) {
            let now = self.network.clock().elapsed();
            assert!(now < end, "seed {}: not within {most:?}", self.seed);
            self.step();
        }
    }
}

fn run(seed: u64) -> BTreeMap<Text, Told> {
    let mut rng = Rng::new(seed);
    let network = Network::new(seed, Faults::none());
    let store = Box::new(MemoryStore::new(StoreLimits::default()));
    let config = ServerConfig {
        listen: ([0, 0, 0, 0], 8091).into(),
        ..ServerConfig::default()
    };
    let server = SimServer::bind(&config, store, &network, 1_700_000_000_000).expect("it listens");
    let options = ClientOptions {
        seed: seed + 1,
        ..ClientOptions::default()
    };
    let builder = Seata::builder()
        .application("simulated")
        .registry(File::new([server.address().to_string()]))
        .options(options);
    let (client, seata, background) = SimClient::build(builder, &network).expect("sound");
    let books = Arc::new(Mutex::new(Books::default()));
    let rm = seata.rm();
    let shelf = Arc::new(Shelf(Arc::clone(&books)));
    let registration = {
        let rm = rm.clone();
        async move { rm.register_resource(shelf).await.expect("registered") }
    };
    let mut scene = Scene {
        seed,
        network: network.clone(),
        server,
        client,
        tasks: vec![Box::pin(registration)],
        background: Box::pin(background),
        quiet: 0,
    };
    scene.until(Duration::from_secs(60), |scene| scene.tasks.is_empty());
    network.set_faults(Faults::storm(&mut rng));
    for _ in 0..WORKS {
        let plan = Plan {
            starts: Duration::from_millis(rng.below(5_000)),
            works: Duration::from_millis(rng.below(2_000)),
            rows: (0..rng.below(3)).map(|_| rng.below(4)).collect(),
        };
        let work = work(seata.clone(), rm.clone(), Arc::clone(&books), plan);
        scene.tasks.push(Box::pin(work));
    }
    let storm = network.clock().elapsed() + Duration::from_secs(30);
    while network.clock().elapsed() < storm && !scene.tasks.is_empty() {
        scene.step();
    }
    network.set_faults(Faults::none());
    scene.until(Duration::from_secs(300), |scene| scene.tasks.is_empty());
    // What was told to somebody is told to every branch in the end.
    let finished = Arc::clone(&books);
    scene.until(Duration::from_secs(300), |_| {
        let books = finished.lock().expect("books");
        books.told.keys().all(|xid| {
            let done = |which: usize| books.done[which].get(xid).map_or(0, BTreeSet::len);
            let registered = books.branches.get(xid).map_or(0, BTreeSet::len);
            done(0) >= registered || done(1) >= registered
        })
    });
    let books = books.lock().expect("books");
    for (xid, told) in &books.told {
        let (committed, rolled_back) = (books.done[0].get(xid), books.done[1].get(xid));
        let what = format!("seed {seed}: {xid} was told {told:?}");
        match told {
            Told::Committed => assert_eq!(rolled_back, None, "{what}"),
            Told::RolledBack => assert_eq!(committed, None, "{what}"),
            Told::Unknown => assert!(committed.is_none() || rolled_back.is_none(), "{what}"),
        }
        if *told == Told::Committed {
            assert_eq!(committed, books.branches.get(xid), "{what}");
        }
    }
    books.told.clone()
}

#[test]
fn whatever_goes_wrong_the_application_and_its_branches_are_told_the_same() {
    let seeds = match std::env::var("SEAMIO_SEED").ok() {
        Some(seed) => {
            let seed = seed.parse().expect("SEAMIO_SEED is a number");
            seed..seed + 1
        }
        None => 0..SEEDS,
    };
    let mut counts = [0; 3];
    for seed in seeds.clone() {
        for told in run(seed).into_values() {
            counts[told as usize] += 1;
        }
    }
    println!("{seeds:?}: committed, rolled back, unknown: {counts:?}");
    if seeds.end == SEEDS {
        assert!(counts[0] > 0 && counts[1] > 0, "{counts:?}");
    }
}

#[test]
fn a_seed_gives_the_same_run_again() {
    assert_eq!(run(7), run(7));
}

/// Only a commit is a commit.
#[test]
fn an_outcome_says_what_it_is() {
    let outcome = Outcome::Committed {
        status: seamio::proto::status::GlobalStatus::Committing,
    };
    assert!(outcome.is_committed());
    assert_eq!(outcome.into_result::<&str>(), Ok(()));
}

const WORKS: usize = 12;
const SEEDS: u64 = 40;
