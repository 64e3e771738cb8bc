//! Beginning, and transactions without branches.

use super::*;

#[test]
fn a_transaction_without_branches_ends_with_its_decision() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let xid = world.begin(tm);
    assert_eq!(world.status(tm, &xid), GlobalStatus::Begin);
    assert_eq!(world.commit(tm, &xid), GlobalStatus::Committed);
    assert_eq!(world.stored_status(&xid), None);
    assert_eq!(world.status(tm, &xid), GlobalStatus::Finished);
    assert_eq!(world.commit(tm, &xid), GlobalStatus::Committed);
    assert_eq!(world.rollback(tm, &xid), GlobalStatus::AsyncCommitting);
    let other = world.begin(tm);
    assert_ne!(xid, other);
    assert_eq!(world.rollback(tm, &other), GlobalStatus::Rollbacked);
    assert_eq!(world.rollback(tm, &other), GlobalStatus::Rollbacked);
    let stats = world.stats();
    assert_eq!((stats.begun, stats.committed, stats.rolled_back), (2, 1, 1));
    assert_eq!(stats.live, 0);
}
