//! Every store against one model, and the journal against a disk that loses, tears and refuses.

mod crash;
mod damage;
mod history;
mod locks;
mod model;
mod real;

use history::{History, limits};
use model::Model;
use seamio::tc::store::{Completion, Global, MemoryStore, Operation, Outcome, Seq, Store, Ticket};

/// How many random histories each test takes; `SEAMIO_STORE_HISTORIES` sets it.
fn histories() -> u64 {
    let set = std::env::var("SEAMIO_STORE_HISTORIES").ok();
    set.and_then(|n| n.parse().ok()).unwrap_or(256)
}

/// Submits one operation and takes its completion.
fn run(store: &mut dyn Store, operation: Operation) -> (Outcome, Seq) {
    store.submit(Ticket(9), operation);
    let Completion {
        ticket,
        outcome,
        after,
    } = store
        .poll_completion()
        .expect("a resident store answers at once");
    assert_eq!(ticket, Ticket(9));
    assert_eq!(store.poll_completion(), None);
    (outcome, after)
}

fn scan(store: &dyn Store) -> Vec<Global> {
    let mut live = Vec::new();
    store.scan(&mut |global| live.push(global.clone()));
    live
}

/// Outcomes, live transactions and locks are those of the model, operation by operation.
#[test]
fn the_memory_store_agrees_with_the_model() {
    let mut kinds = std::collections::BTreeMap::new();
    for seed in 0..histories() {
        let mut history = History::new(seed);
        let mut store = MemoryStore::new(limits());
        let mut model = Model::new(limits());
        for step in 0..200 {
            let operation = match history.random.chance(10) {
                true => match model.live().last() {
                    Some(global) => history.likely_status_set(global.xid.clone(), global.status),
                    None => history.next(),
                },
                false => history.next(),
            };
            let expected = model.run(&operation);
            let (outcome, after) = run(&mut store, operation.clone());
            assert_eq!(outcome, expected, "seed {seed} step {step}: {operation:?}");
            assert!(after <= store.durable());
            let stats = store.stats();
            assert_eq!(
                stats.locks,
                model.locked_rows().len(),
                "seed {seed} step {step}"
            );
            assert_eq!(stats.tombstones, model.ended());
            history.learn(&operation, &outcome);
            let name = format!("{outcome:?}");
            let name = name.split(['(', ' ']).next().unwrap_or_default().to_owned();
            *kinds.entry(name).or_insert(0) += 1;
            if step % 20 == 0 {
                let live = scan(&store);
                assert_eq!(live, model.live(), "seed {seed} step {step}");
                assert_eq!(stats.globals, live.len());
                let branches: usize = live.iter().map(|global| global.branches.len()).sum();
                assert_eq!(stats.branches, branches);
            }
        }
    }
    // The histories are worth something only if they reach every outcome.
    for kind in [
        "Done",
        "Expired",
        "Status",
        "Ended",
        "Unknown",
        "NoBranch",
        "Duplicate",
        "Conflict",
        "Found",
        "Decided",
        "Finished",
        "Limit",
    ] {
        assert!(
            kinds.get(kind).is_some_and(|n| *n > 20),
            "{kind}: {kinds:?}"
        );
    }
}
