//! The store on a database against the model that all stores are compared with (`tests/store`): outcomes operation by
//! operation, one at a time and in batches, and the tables at the end.
//!
//! What a database does not keep as the others do is left out of the comparison: lock keys of branches, to the
//! millisecond when a branch was registered or a row locked, and limits of live transactions and rows in all.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use seamio::proto::Text;
use seamio::tc::store::sql::{SqlConfig, SqlStore, schema};
use seamio::tc::store::{Global, Operation, Outcome, Store, StoreEvent, StoreLimits, Ticket};
use seamio::xid::Xid;

use crate::history::{History, limits};
use crate::life::pause;
use crate::model::Model;
use crate::place::Place;

on_every_database!(
    histories_one_by_one_agree_with_the_model,
    histories_in_batches_agree_with_the_model,
);

/// `SEAMIO_STORE_HISTORIES` as for the other stores, which are faster.
fn histories() -> u64 {
    let set = std::env::var("SEAMIO_STORE_HISTORIES").ok();
    set.and_then(|n| n.parse().ok()).unwrap_or(256) / 64
}

fn histories_one_by_one_agree_with_the_model(place: &Place) {
    for seed in 0..histories() {
        compare(place, seed, 1);
    }
}

fn histories_in_batches_agree_with_the_model(place: &Place) {
    for seed in 0..histories() {
        compare(place, 1_000_000 + seed, 12);
    }
}

pub(crate) fn open(place: &Place, change: impl FnOnce(&mut SqlConfig)) -> SqlStore {
    let mut config = SqlConfig::new(place.database(), "10.0.0.1:8091");
    config.limits = wide();
    config.connections = 1;
    change(&mut config);
    SqlStore::open(config, Arc::new(|| {})).expect("a store")
}

fn empty_tables(place: &Place) {
    schema::apply_to(&place.database()).expect("tables");
    for table in [
        "global_table",
        "branch_table",
        "lock_table",
        "seamio_node",
        "seamio_writer",
        "seamio_decision",
        "seamio_ended",
        "seamio_share",
    ] {
        place.run(&format!("DELETE FROM {table}"));
    }
}

/// What a database does not count has no limit.
fn wide() -> StoreLimits {
    StoreLimits {
        globals_max: usize::MAX,
        locks_max: usize::MAX,
        tombstones_max: usize::MAX,
        ..limits()
    }
}

fn compare(place: &Place, seed: u64, batch: usize) {
    empty_tables(place);
    let mut history = History::new(seed);
    let mut store = open(place, |_| {});
    let mut model = Model::new(wide());
    let mut steps = 0;
    while steps < 200 {
        let mut operations = Vec::new();
        let mut xids = BTreeSet::new();
        while operations.len() < batch {
            let operation = match history.random.chance(10) {
                true => match model.live().last() {
                    Some(global) => history.likely_status_set(global.xid.clone(), global.status),
                    None => history.next(),
                },
                false => history.next(),
            };
            let expected = model.run(&operation);
            history.learn(&operation, &expected);
            if is_beyond(&operation, &expected, &model) {
                continue;
            }
            // A coordinator has one operation on a transaction at the store at a time.
            let free = xid_of(&operation).is_none_or(|xid| xids.insert(xid));
            operations.push((operation, expected));
            if !free {
                break;
            }
        }
        steps += operations.len();
        // The one whose transaction was taken goes alone.
        let last = match operations.len() > 1 && batch > 1 {
            true => operations.split_off(operations.len() - 1),
            false => Vec::new(),
        };
        for some in [operations, last] {
            let outcomes = run(&mut store, some.iter().map(|(o, _)| o.clone()).collect());
            for ((operation, expected), outcome) in some.iter().zip(outcomes) {
                assert!(
                    agree(expected, &outcome),
                    "seed {seed} step {steps}: {operation:?}\n expected {expected:?}\n      got {outcome:?}"
                );
            }
        }
    }
    compare_tables(place, &model, seed);
}

/// Ids that are given twice, which no coordinator does: not noticed is a number that a live transaction of another address
/// has, or any branch.
fn is_beyond(operation: &Operation, expected: &Outcome, model: &Model) -> bool {
    match (operation, expected) {
        (Operation::Begin(new), Outcome::Duplicate) => {
            let id = new.xid.transaction_id();
            let mut live = model.live().into_iter();
            live.any(|g| g.xid.transaction_id() == id && g.xid != new.xid)
        }
        (Operation::Register(_), Outcome::Duplicate) => true,
        _ => false,
    }
}

fn compare_tables(place: &Place, model: &Model, seed: u64) {
    let live: BTreeSet<String> = model
        .live()
        .iter()
        .map(|global| format!("{} {}", global.xid, global.status.code()))
        .collect();
    let kept = place.run("SELECT xid, status FROM global_table");
    let kept: BTreeSet<String> = kept.iter().map(|row| text(row).join(" ")).collect();
    assert_eq!(kept, live, "seed {seed}");
    let locked: BTreeSet<String> = model
        .locked_rows()
        .iter()
        .map(|(resource, table, pk)| format!("{resource}^^^{table}^^^{pk}"))
        .collect();
    let kept = place.column("SELECT row_key FROM lock_table");
    assert_eq!(
        kept.into_iter().collect::<BTreeSet<_>>(),
        locked,
        "seed {seed}"
    );
    let branches: BTreeSet<String> = model
        .live()
        .iter()
        .flat_map(|g| {
            g.branches
                .iter()
                .map(|b| format!("{} {}", b.branch_id, b.status.code()))
        })
        .collect();
    let kept = place.run("SELECT branch_id, status FROM branch_table");
    let kept: BTreeSet<String> = kept.iter().map(|row| text(row).join(" ")).collect();
    assert_eq!(kept, branches, "seed {seed}");
    for orphans in [
        "SELECT xid FROM seamio_decision WHERE xid NOT IN (SELECT xid FROM global_table)",
        "SELECT row_key FROM seamio_share WHERE branch_id NOT IN (SELECT branch_id FROM branch_table)",
    ] {
        assert_eq!(
            place.column(orphans),
            Vec::<String>::new(),
            "seed {seed}: {orphans}"
        );
    }
}

fn text(row: &[Option<String>]) -> Vec<&str> {
    row.iter()
        .map(|cell| cell.as_deref().unwrap_or("NULL"))
        .collect()
}

fn xid_of(operation: &Operation) -> Option<Xid> {
    Some(match operation {
        Operation::Begin(new) => new.xid.clone(),
        Operation::Register(new) => new.xid.clone(),
        Operation::Report { xid, .. }
        | Operation::Decide { xid, .. }
        | Operation::EndBranch { xid, .. }
        | Operation::SetStatus { xid, .. }
        | Operation::Finish { xid, .. }
        | Operation::ReleaseLocks { xid }
        | Operation::LookUp { xid, .. }
        | Operation::Offer { xid, .. }
        | Operation::Adopt { xid }
        | Operation::Fetch { xid, .. } => xid.clone(),
        Operation::QueryLocks { xid, .. } => return Xid::parse(xid),
        Operation::Forget { .. } => return None,
    })
}

/// Submits operations in one turn, and gives their outcomes in order.
pub(crate) fn run(store: &mut SqlStore, operations: Vec<Operation>) -> Vec<Outcome> {
    let count = operations.len();
    for (i, operation) in operations.into_iter().enumerate() {
        store.submit(Ticket(i as u64), operation);
    }
    store.flush();
    let mut outcomes = vec![None; count];
    let until = now() + PATIENCE;
    while outcomes.iter().any(Option::is_none) {
        match store.poll_completion() {
            Some(completion) => {
                let place = &mut outcomes[completion.ticket.0 as usize];
                assert!(place.is_none(), "{completion:?} came twice");
                *place = Some(completion.outcome);
            }
            None => {
                assert!(now() < until, "no completion");
                pause(Duration::from_micros(200));
            }
        }
    }
    outcomes.into_iter().flatten().collect()
}

fn agree(expected: &Outcome, outcome: &Outcome) -> bool {
    masked(expected.clone()) == masked(outcome.clone())
}

fn masked(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Decided(global) => Outcome::Decided(masked_global(global)),
        Outcome::Found(global) => Outcome::Found(masked_global(global)),
        Outcome::Conflict(mut conflict) => {
            conflict.since_ms = 0;
            Outcome::Conflict(conflict)
        }
        outcome => outcome,
    }
}

fn masked_global(mut global: Global) -> Global {
    for branch in &mut global.branches {
        branch.lock_key = Text::new();
        branch.registered_ms = 0;
    }
    global
}

/// The first event of the store that is looked for.
pub(crate) fn event<T>(store: &mut SqlStore, mut wanted: impl FnMut(StoreEvent) -> Option<T>) -> T {
    let until = now() + PATIENCE;
    loop {
        match store.poll_event().and_then(&mut wanted) {
            Some(found) => return found,
            None => {
                assert!(now() < until, "it does not come");
                pause(Duration::from_millis(2));
            }
        }
    }
}

#[allow(clippy::disallowed_methods)] // for waiting only
pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
