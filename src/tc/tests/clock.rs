//! Clocks that are set while the coordinator is stopped.

use super::*;
use crate::tc::store::{NewGlobal, Ticket};

/// The simulation restarted a coordinator on a machine whose clock had gone back an hour: transactions begun before kept
/// their locks for an hour and their timeout, and commits of them were accepted all the while. Time now goes on from the
/// latest record.
#[test]
fn a_clock_set_back_before_a_start_delays_no_deadline() {
    let mut store = MemoryStore::new(StoreLimits::default());
    for id in 1..=2 {
        let begin = Operation::Begin(NewGlobal {
            xid: Xid::new("10.0.0.100:8091", id),
            application_id: "app".into(),
            transaction_service_group: "group".into(),
            name: Text::new(),
            timeout_ms: 1_000,
            begin_ms: START_MS + 3_600_000 + id,
        });
        store.submit(Ticket(0), begin);
        assert!(store.poll_completion().is_some());
    }
    let mut world = World::over(CoordinatorConfig::default(), store);
    world.advance(Duration::from_millis(900));
    assert_eq!(world.stats().timeouts_decided, 0);
    world.advance(Duration::from_millis(200));
    assert_eq!(world.stats().timeouts_decided, 2);
    // What begins from now on is dated after what was found.
    let tm = world.tm("app", "2.2.0");
    let xid = world.begin(tm);
    assert!(world.stored(&xid).expect("live").begin_ms > START_MS + 3_600_000);
}

/// The simulation restarted a coordinator on a machine whose clock had gone forward an hour: ended transactions were
/// forgotten ten seconds later, so a client that repeated its commit because the answer was lost was told Finished, which
/// it reads as "perhaps rolled back". What is found at start is now kept for a whole tombstone life.
#[test]
fn a_clock_set_forward_before_a_start_forgets_no_outcome_early() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let xid = world.begin(tm);
    assert_eq!(world.commit(tm, &xid), GlobalStatus::Committed);
    let store = std::mem::replace(&mut world.store, MemoryStore::new(StoreLimits::default()));
    let mut world = World::over(CoordinatorConfig::default(), store);
    // The coordinator is told an hour more than has passed.
    world.wall_ahead_ms = 3_600_000;
    let tm = world.tm("app", "2.2.0");
    world.advance(Duration::from_secs(590));
    assert_eq!(world.commit(tm, &xid), GlobalStatus::Committed);
    world.advance(Duration::from_secs(30));
    assert_eq!(world.commit(tm, &xid), GlobalStatus::Finished);
}
