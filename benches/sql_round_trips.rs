//! What a global transaction costs a database: round trips, statements and commits of the SQL store alone, no network and no
//! coordinator around it.
//!
//! `cargo bench --bench sql_round_trips [-- --csv] [-- --transactions N]`, on SQLite and on the servers that
//! `SEAMIO_MYSQL_URL` and `SEAMIO_POSTGRES_URL` name (`eval "$(tests/databases/run env)"`). So many transactions are in
//! flight at once, each asks for its next operation as soon as it has the outcome of the last one, as the coordinator does for its
//! clients. Counts come from the store and say what they say on any machine; times are those of a whole transaction.
//!
//! `java_trips` and `java_commits` are those of the Java coordinator 2.x in db mode for the same transaction, counted in
//! its sources (coordinator.md 6.2; a delete that finds nothing is no commit). `benches/sql/run` measures them.

mod report;

#[allow(dead_code, unused_macros)] // Made for the tests of the store.
#[path = "../tests/sql/place.rs"]
mod place;

use std::collections::HashMap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use place::{Kind, Place};
use report::{Table, Times, argument, now};
use seamio::proto::Text;
use seamio::proto::status::BranchType;
use seamio::tc::store::sql::{SqlConfig, SqlStore, schema};
use seamio::tc::store::{
    Decision, NewBranch, NewGlobal, Operation, Outcome, Store, StoreStats, Ticket, Urgency,
};
use seamio::xid::{BranchId, IdGenerator, Xid};

fn main() {
    let transactions = argument("--transactions")
        .and_then(|n| n.parse().ok())
        .unwrap_or(512);
    let table = Table::new(&[
        "round_trips",
        "statements",
        "commits",
        "ops/batch",
        "repeats",
        "java_trips",
        "java_commits",
    ]);
    for (name, kind) in [
        ("sqlite", Kind::Sqlite),
        ("mysql", Kind::MySql),
        ("postgres", Kind::Postgres),
    ] {
        let Some(place) = Place::open(kind) else {
            continue;
        };
        schema::apply_to(&place.database()).expect("tables");
        for case in CASES {
            for in_flight in [1, 16, 64] {
                let run = Run::new(&place, case, in_flight);
                let (counts, times) = run.play(transactions);
                let name = format!("{name}: {}, {in_flight} in flight", case.name);
                table.row(&name, &counts, Some(times), None);
            }
        }
    }
}

/// A transaction: its branches, and how it ends.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    branch_type: BranchType,
    branches: usize,
    decision: Decision,
    /// Of Java: statements and control round trips, and commits that wrote something.
    java: [f64; 2],
}

const CASES: [Case; 5] = [
    Case {
        name: "empty",
        branch_type: BranchType::At,
        branches: 0,
        decision: Decision::Commit,
        java: [8.0, 4.0],
    },
    Case {
        name: "AT 1, commit",
        branch_type: BranchType::At,
        branches: 1,
        decision: Decision::Commit,
        java: [16.0, 8.0],
    },
    Case {
        name: "AT 2, commit",
        branch_type: BranchType::At,
        branches: 2,
        decision: Decision::Commit,
        java: [24.0, 11.0],
    },
    Case {
        name: "AT 2, rollback",
        branch_type: BranchType::At,
        branches: 2,
        decision: Decision::Rollback,
        java: [28.0, 13.0],
    },
    Case {
        name: "TCC 1, commit",
        branch_type: BranchType::Tcc,
        branches: 1,
        decision: Decision::Commit,
        java: [13.0, 6.0],
    },
];

/// A store under so many transactions at once.
struct Run {
    case: Case,
    in_flight: usize,
    store: SqlStore,
    woken: mpsc::Receiver<()>,
    ids: IdGenerator,
    /// By ticket.
    open: HashMap<u64, Transaction>,
    next: u64,
    samples: Vec<f64>,
}

struct Transaction {
    xid: Xid,
    branches: Vec<BranchId>,
    registered: usize,
    ended: usize,
    decided: bool,
    since: Instant,
}

impl Run {
    fn new(place: &Place, case: Case, in_flight: usize) -> Self {
        let (sender, woken) = mpsc::channel();
        let mut config = SqlConfig::new(place.database(), ADDRESS);
        // The keeper's own work is none of a transaction's.
        config.lease = Duration::from_secs(600);
        // Nobody listens any more when the store is being dropped.
        let wake = Arc::new(move || sender.send(()).unwrap_or_default());
        let store = SqlStore::open(config, wake).expect("the store opens");
        let node = store.node().expect("a node");
        let mut ids = IdGenerator::new(node, wall_ms());
        ids.not_below(store.highest_id());
        Self {
            case,
            in_flight,
            ids,
            store,
            woken,
            open: HashMap::new(),
            next: 0,
            samples: Vec::new(),
        }
    }

    /// Counts per transaction, and how long one took.
    fn play(mut self, transactions: usize) -> ([f64; 7], Times) {
        for _ in 0..self.in_flight.min(transactions) {
            self.begin();
        }
        self.store.flush();
        let mut begun = self.open.len();
        let mut operations = 0;
        while self.samples.len() < transactions {
            let woken = self.woken.recv_timeout(Duration::from_secs(60));
            woken.expect("the store goes on");
            while let Some(completion) = self.store.poll_completion() {
                operations += 1;
                let over = self.go_on(completion.ticket, &completion.outcome);
                if over && begun < transactions {
                    self.begin();
                    begun += 1;
                }
            }
            self.store.flush();
        }
        let StoreStats {
            syncs,
            round_trips,
            statements,
            repeats,
            ..
        } = self.store.stats();
        let each = |count: u64| (count as f64 / transactions as f64 * 100.0).round() / 100.0;
        let counts = [
            each(round_trips),
            each(statements),
            each(syncs),
            (f64::from(operations) / syncs as f64 * 10.0).round() / 10.0,
            repeats as f64,
            self.case.java[0],
            self.case.java[1],
        ];
        (counts, Times::of(self.samples))
    }

    fn begin(&mut self) {
        let id = self.ids.next_id();
        let xid = Xid::new(ADDRESS, id);
        let branches = (0..self.case.branches)
            .map(|_| BranchId(self.ids.next_id()))
            .collect();
        let begin = Operation::Begin(NewGlobal {
            xid: xid.clone(),
            application_id: Text::from_static("order-service"),
            transaction_service_group: Text::from_static("default_tx_group"),
            name: Text::from_static("createOrder(java.lang.String,int)"),
            timeout_ms: 60_000,
            begin_ms: wall_ms(),
        });
        let transaction = Transaction {
            xid,
            branches,
            registered: 0,
            ended: 0,
            decided: false,
            since: now(),
        };
        self.submit(transaction, begin);
    }

    /// What an outcome leads to. Whether the transaction is over.
    fn go_on(&mut self, ticket: Ticket, outcome: &Outcome) -> bool {
        let mut transaction = self.open.remove(&ticket.0).expect("a ticket of ours");
        match outcome {
            Outcome::Done => {}
            Outcome::Decided(_) => transaction.decided = true,
            Outcome::Finished(_) => {
                let took = transaction.since.elapsed();
                self.samples.push(took.as_nanos() as f64);
                return true;
            }
            other => panic!("{}: {other:?}", transaction.xid),
        }
        let operation = self.operation_of(&mut transaction);
        self.submit(transaction, operation);
        false
    }

    fn operation_of(&self, transaction: &mut Transaction) -> Operation {
        let (xid, now_ms) = (transaction.xid.clone(), wall_ms());
        if transaction.registered < transaction.branches.len() {
            let branch_id = transaction.branches[transaction.registered];
            transaction.registered += 1;
            return register(self.case.branch_type, xid, branch_id);
        }
        if !transaction.decided {
            let decision = self.case.decision;
            return Operation::Decide {
                xid,
                decision,
                now_ms,
            };
        }
        let at = match self.case.decision {
            Decision::Commit => transaction.ended,
            _ => transaction.branches.len() - 1 - transaction.ended,
        };
        transaction.ended += 1;
        Operation::EndBranch {
            xid,
            branch_id: transaction.branches[at],
            urgency: Urgency::Now,
            now_ms,
        }
    }

    fn submit(&mut self, transaction: Transaction, operation: Operation) {
        self.next += 1;
        self.open.insert(self.next, transaction);
        self.store.submit(Ticket(self.next), operation);
    }
}

fn register(branch_type: BranchType, xid: Xid, branch_id: BranchId) -> Operation {
    let at = branch_type == BranchType::At;
    Operation::Register(NewBranch {
        xid,
        branch_id,
        branch_type,
        resource_id: Text::from_static("jdbc:mysql://127.0.0.1:3306/orders"),
        client_id: Text::from_static("order-service:192.168.100.101:50000"),
        application_data: Text::from_static("{\"autoCommit\":false}"),
        lock_key: match at {
            true => Text::from(format!("orders:{branch_id}")),
            false => Text::new(),
        },
        now_ms: wall_ms(),
    })
}

#[allow(clippy::disallowed_methods)] // As the coordinator's owner does.
fn wall_ms() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .expect("after 1970");
    since.as_millis() as i64
}

const ADDRESS: &str = "192.168.100.100:8091";
