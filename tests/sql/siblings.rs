//! Several coordinators on one database: nodes, leases, who drives what, and what Java coordinators left.

use std::sync::Arc;
use std::time::Duration;

use seamio::proto::Text;
use seamio::proto::status::GlobalStatus;
use seamio::tc::store::sql::{DatabaseUrl, SqlConfig, SqlStore, schema};
use seamio::tc::store::{Decision, Global, Operation, Outcome, Store, StoreEvent};
use seamio::xid::Xid;

use crate::agreement::{PATIENCE, event, now, run};
use crate::life::{NOW_MS, begin, begin_at, decide, pause, register, xid};
use crate::place::Place;
use crate::proxy::{Proxy, Way};

on_every_database!(
    each_coordinator_has_a_node_of_its_own,
    a_coordinator_that_comes_back_has_its_node_and_what_it_drove,
    a_node_that_is_alive_is_refused_to_another,
    ids_are_never_made_again_by_the_next_one_on_a_node,
    two_that_call_themselves_the_same_end_with_a_node_each,
    what_a_dead_coordinator_drove_is_taken_over_by_one,
    what_nobody_decided_in_time_is_adopted,
    what_is_offered_is_adopted_once,
    a_coordinator_that_was_cut_off_forgets_what_it_drove,
    what_a_java_coordinator_decided_is_taken_over,
    a_decision_of_one_is_seen_by_the_other,
    a_branch_that_java_adds_behind_the_end_is_brought_back,
);

fn open(place: &Place, number: u8, change: impl FnOnce(&mut SqlConfig)) -> SqlStore {
    schema::apply_to(&place.database()).expect("tables");
    let mut config = SqlConfig::new(place.database(), address(number));
    config.lease = LEASE;
    config.connections = 1;
    change(&mut config);
    SqlStore::open(config, Arc::new(|| {})).expect("a store")
}

fn address(number: u8) -> String {
    format!("10.0.0.{number}:8091")
}

fn one(store: &mut SqlStore, operation: Operation) -> Outcome {
    run(store, vec![operation]).remove(0)
}

fn adopted(store: &mut SqlStore, xid: &Xid) -> Global {
    event(store, |event| match event {
        StoreEvent::Adopted(global) if global.xid == *xid => Some(global),
        _ => None,
    })
}

fn each_coordinator_has_a_node_of_its_own(place: &Place) {
    let stores: Vec<_> = (1..=5).map(|n| open(place, n, |_| {})).collect();
    let nodes: std::collections::BTreeSet<_> = stores.iter().map(Store::node).collect();
    assert_eq!(nodes.len(), 5, "{nodes:?}");
    drop(stores);
    let left = place.column("SELECT COUNT(*) FROM seamio_node WHERE lease_until > 0");
    assert_eq!(left, ["0"], "who leaves says so");
}

fn a_coordinator_that_comes_back_has_its_node_and_what_it_drove(place: &Place) {
    let mut store = open(place, 1, |_| {});
    let node = store.node();
    let first = i64::from(node.expect("a node")) << 53 | 1;
    let (undecided, decided) = (xid(first), xid(first + 1));
    for global in [&undecided, &decided] {
        assert_eq!(one(&mut store, begin(global)), Outcome::Done);
        let branch = global.transaction_id() + 100;
        assert_eq!(one(&mut store, register(global, branch, "")), Outcome::Done);
    }
    let outcome = one(&mut store, decide(&decided, Decision::Rollback));
    assert!(matches!(outcome, Outcome::Decided(_)), "{outcome:?}");
    drop(store);
    let store = open(place, 1, |_| {});
    assert_eq!(store.node(), node);
    let mut found = Vec::new();
    store
        .scan(&mut |global| found.push((global.xid.clone(), global.status, global.branches.len())));
    found.sort();
    let expected = [
        (undecided, GlobalStatus::Begin, 1),
        (decided, GlobalStatus::Rollbacking, 1),
    ];
    assert_eq!(found, expected);
}

fn a_node_that_is_alive_is_refused_to_another(place: &Place) {
    let store = open(place, 1, |config| config.node = Some(7));
    assert_eq!(store.node(), Some(7));
    let mut config = SqlConfig::new(place.database(), address(2));
    config.node = Some(7);
    let error = SqlStore::open(config.clone(), Arc::new(|| {})).map(drop);
    let error = error.expect_err("it is alive");
    assert!(error.contains("node 7 is that of 10.0.0.1:8091"), "{error}");
    drop(store);
    let store = SqlStore::open(config, Arc::new(|| {})).expect("it has left");
    assert_eq!(store.node(), Some(7));
}

fn ids_are_never_made_again_by_the_next_one_on_a_node(place: &Place) {
    let store = open(place, 1, |config| config.node = Some(7));
    drop(store);
    // The clock of the next one is an hour behind.
    let store = open(place, 2, |config| config.node = Some(7));
    let ahead: i64 = place.column("SELECT ids_until FROM seamio_node")[0]
        .parse()
        .expect("a number");
    let mut ids = seamio::xid::IdGenerator::new(7, ahead - 3_600_000);
    ids.not_below(store.highest_id());
    let mut earlier = seamio::xid::IdGenerator::new(7, ahead - 120_000);
    assert!(ids.next_id() > earlier.next_id());
    assert_eq!(store.highest_id() >> 53, 7);
}

fn two_that_call_themselves_the_same_end_with_a_node_each(place: &Place) {
    let mut first = open(place, 1, |_| {});
    let second = open(place, 1, |_| {});
    assert_eq!(second.node(), first.node(), "started again, it seems");
    let node = event(&mut first, |event| match event {
        StoreEvent::Replaced { node, .. } => Some(node),
        _ => None,
    });
    assert_ne!(Some(node), second.node());
    let nodes = place.column("SELECT COUNT(*) FROM seamio_node WHERE lease_until > 0");
    assert_eq!(nodes, ["2"]);
}

fn what_a_dead_coordinator_drove_is_taken_over_by_one(place: &Place) {
    let mut siblings = [open(place, 2, |_| {}), open(place, 3, |_| {})];
    let mut dying = open(place, 1, |_| {});
    let global = xid(1);
    assert_eq!(one(&mut dying, begin(&global)), Outcome::Done);
    assert_eq!(one(&mut dying, register(&global, 11, "t:1")), Outcome::Done);
    let outcome = one(&mut dying, decide(&global, Decision::Rollback));
    assert!(matches!(outcome, Outcome::Decided(_)), "{outcome:?}");
    let node = dying.node().expect("a node");
    drop(dying);
    let mut takers = 0;
    let until = now() + PATIENCE;
    while takers == 0 {
        assert!(now() < until, "nobody takes it");
        for store in &mut siblings {
            while let Some(event) = store.poll_event() {
                if let StoreEvent::Adopted(taken) = event {
                    assert_eq!(taken.xid, global);
                    assert_eq!(taken.status, GlobalStatus::Rollbacking);
                    assert_eq!(taken.branches.len(), 1);
                    assert_eq!(taken.decided_ms, NOW_MS);
                    takers += 1;
                }
            }
        }
    }
    let driver = place.column("SELECT driver FROM seamio_decision");
    assert_ne!(driver, [node.to_string()]);
    // One claimed it: it does not go to the other as well.
    pause(2 * TICK);
    for store in &mut siblings {
        while let Some(event) = store.poll_event() {
            assert!(!matches!(event, StoreEvent::Adopted(_)), "{event:?}");
        }
    }
}

fn what_nobody_decided_in_time_is_adopted(place: &Place) {
    let mut dying = open(place, 1, |_| {});
    let global = xid(1);
    assert_eq!(one(&mut dying, begin_at(&global, 1, 100)), Outcome::Done);
    drop(dying);
    let mut sibling = open(place, 2, |_| {});
    let taken = adopted(&mut sibling, &global);
    assert_eq!(taken.status, GlobalStatus::Begin);
    assert_eq!(taken.timeout_ms, 100);
}

fn what_is_offered_is_adopted_once(place: &Place) {
    let mut stores = [
        open(place, 1, |_| {}),
        open(place, 2, |_| {}),
        open(place, 3, |_| {}),
    ];
    let global = xid(1);
    assert_eq!(one(&mut stores[0], begin(&global)), Outcome::Done);
    assert_eq!(
        one(&mut stores[0], register(&global, 11, "t:1")),
        Outcome::Done
    );
    let outcome = one(&mut stores[0], decide(&global, Decision::Rollback));
    assert!(matches!(outcome, Outcome::Decided(_)), "{outcome:?}");
    let offer = Operation::Offer {
        xid: global.clone(),
        resource_id: Text::from("jdbc:mysql://a/db"),
    };
    let adopt = Operation::Adopt {
        xid: global.clone(),
    };
    let rollbacking = Outcome::Status(GlobalStatus::Rollbacking);
    assert_eq!(
        one(&mut stores[1], offer.clone()),
        rollbacking,
        "it is another's"
    );
    assert_eq!(
        one(&mut stores[1], adopt.clone()),
        rollbacking,
        "it is not offered"
    );
    assert_eq!(one(&mut stores[0], offer), Outcome::Done);
    for store in &mut stores[1..] {
        let wanted = event(store, |event| match event {
            StoreEvent::Offered { xid, resource_id } if xid == global => Some(resource_id),
            _ => None,
        });
        assert_eq!(wanted, "jdbc:mysql://a/db");
    }
    let outcome = one(&mut stores[1], adopt.clone());
    assert!(matches!(outcome, Outcome::Decided(_)), "{outcome:?}");
    assert_eq!(one(&mut stores[2], adopt), rollbacking);
}

fn a_coordinator_that_was_cut_off_forgets_what_it_drove(place: &Place) {
    let Some(proxy) = Proxy::to(place) else {
        return;
    };
    schema::apply_to(&place.database()).expect("tables");
    let url = DatabaseUrl::parse(&proxy.url(place)).expect("a URL");
    let mut cut_off = open(place, 1, |config| config.url = url);
    let mut sibling = open(place, 2, |_| {});
    let (taken, kept) = (xid(1), xid(2));
    for global in [&taken, &kept] {
        assert_eq!(one(&mut cut_off, begin(global)), Outcome::Done);
        let branch = global.transaction_id() + 10;
        assert_eq!(
            one(&mut cut_off, register(global, branch, "")),
            Outcome::Done
        );
    }
    let outcome = one(&mut cut_off, decide(&taken, Decision::Rollback));
    assert!(matches!(outcome, Outcome::Decided(_)), "{outcome:?}");
    let lease = event(&mut cut_off, |event| match event {
        StoreEvent::Leased(until) => Some(until),
        _ => None,
    });
    proxy.set(Way::Closed);
    assert_eq!(
        adopted(&mut sibling, &taken).status,
        GlobalStatus::Rollbacking
    );
    assert!(lease < now(), "it was not taken before the lease was over");
    proxy.set(Way::Open);
    event(&mut cut_off, |event| match event {
        StoreEvent::Replaced { .. } => Some(()),
        StoreEvent::Adopted(global) => panic!("{global:?} before it forgot"),
        _ => None,
    });
    let later = event(&mut cut_off, |event| match event {
        StoreEvent::Leased(until) => Some(until > lease),
        StoreEvent::Adopted(global) => {
            assert_eq!(global.status, GlobalStatus::Begin, "{global:?}");
            None
        }
        _ => None,
    });
    assert!(later, "a lease of its own again");
}

fn what_a_java_coordinator_decided_is_taken_over(place: &Place) {
    schema::apply_to(&place.database()).expect("tables");
    let stamp = place.choose("NOW()", "CURRENT_TIMESTAMP");
    for (id, status) in [(1, 8), (2, 5), (3, 2), (4, 12), (5, 1)] {
        place.run(&format!(
            "INSERT INTO global_table (xid, transaction_id, status, application_id, transaction_service_group, \
             transaction_name, timeout, begin_time, gmt_create, gmt_modified) VALUES ('10.9.9.9:8091:{id}', {id}, \
             {status}, 'app', 'group', 'java', 60000, 9000000000000, {stamp}, {stamp}); \
             INSERT INTO branch_table (branch_id, xid, transaction_id, resource_id, branch_type, status, client_id, \
             application_data, gmt_create, gmt_modified) VALUES ({id}0, '10.9.9.9:8091:{id}', {id}, 'r', 'AT', 1, \
             'app:1.1.1.1:1', '{{}}', {stamp}, {stamp})"
        ));
    }
    use seamio::tc::store::sql::JavaCoordinators;
    let mut store = open(place, 1, |config| config.java = JavaCoordinators::None);
    let mut taken = std::collections::BTreeMap::new();
    while taken.len() < 3 {
        let global = event(&mut store, |event| match event {
            StoreEvent::Adopted(global) => Some(global),
            _ => None,
        });
        assert_eq!(global.branches.len(), 1);
        taken.insert(global.xid.transaction_id(), global.status.code());
    }
    assert_eq!(
        taken,
        [(1, 8), (2, 5), (3, 2)].into(),
        "what waits for a human and what is not over stay"
    );
    assert_eq!(place.column("SELECT COUNT(*) FROM seamio_decision"), ["3"]);
    // Another one alive does not take them too.
    let mut sibling = open(place, 2, |config| config.java = JavaCoordinators::None);
    pause(2 * TICK);
    while let Some(event) = sibling.poll_event() {
        assert!(!matches!(event, StoreEvent::Adopted(_)), "{event:?}");
    }
}

fn a_decision_of_one_is_seen_by_the_other(place: &Place) {
    let mut stores = [open(place, 1, |_| {}), open(place, 2, |_| {})];
    let global = xid(1);
    assert_eq!(one(&mut stores[0], begin(&global)), Outcome::Done);
    assert_eq!(
        one(&mut stores[1], register(&global, 11, "t:1")),
        Outcome::Done
    );
    let other = xid(2);
    assert_eq!(one(&mut stores[0], begin(&other)), Outcome::Done);
    let outcome = one(&mut stores[0], register(&other, 12, "t:1"));
    let Outcome::Conflict(held) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!((&held.xid, held.branch_id.0), (&global, 11));
    let outcome = one(&mut stores[1], decide(&global, Decision::Commit));
    let Outcome::Decided(decided) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(decided.branches.len(), 1);
    let driver = place.column("SELECT driver FROM seamio_decision");
    assert_eq!(driver, [stores[1].node().expect("a node").to_string()]);
    let outcome = one(&mut stores[0], decide(&global, Decision::Rollback));
    assert_eq!(outcome, Outcome::Status(GlobalStatus::AsyncCommitting));
    let outcome = one(&mut stores[0], register(&global, 13, "t:9"));
    assert_eq!(outcome, Outcome::Status(GlobalStatus::AsyncCommitting));
    assert_eq!(
        one(&mut stores[0], register(&other, 14, "t:1")),
        Outcome::Done
    );
}

fn a_branch_that_java_adds_behind_the_end_is_brought_back(place: &Place) {
    let mut store = open(place, 1, |_| {});
    let global = xid(1);
    assert_eq!(one(&mut store, begin(&global)), Outcome::Done);
    let outcome = one(&mut store, decide(&global, Decision::Rollback));
    assert!(matches!(outcome, Outcome::Finished(_)), "{outcome:?}");
    let stamp = place.choose("NOW()", "CURRENT_TIMESTAMP");
    place.run(&format!(
        "INSERT INTO lock_table (row_key, xid, transaction_id, branch_id, resource_id, table_name, pk, status, gmt_create, \
         gmt_modified) VALUES ('r^^^t^^^1', '{global}', 1, 10, 'r', 't', '1', 0, {stamp}, {stamp}); \
         INSERT INTO branch_table (branch_id, xid, transaction_id, resource_id, branch_type, status, client_id, \
         application_data, gmt_create, gmt_modified) VALUES (10, '{global}', 1, 'r', 'AT', 1, 'app:1.1.1.1:1', '{{}}', \
         {stamp}, {stamp})"
    ));
    let back = adopted(&mut store, &global);
    assert_eq!(
        (back.status, back.branches.len()),
        (GlobalStatus::Rollbacked, 1)
    );
    let end = Operation::Finish {
        xid: global.clone(),
        end: seamio::tc::store::End::RolledBack,
        now_ms: NOW_MS,
    };
    let outcome = one(&mut store, end);
    assert!(matches!(outcome, Outcome::Finished(_)), "{outcome:?}");
    for table in [
        "global_table",
        "branch_table",
        "lock_table",
        "seamio_decision",
    ] {
        let left = place.column(&format!("SELECT COUNT(*) FROM {table}"));
        assert_eq!(left, ["0"], "{table}");
    }
}

/// Short, so that tests need not wait; a machine that stops for longer makes a take-over of it, which they allow for.
const LEASE: Duration = Duration::from_secs(3);
const TICK: Duration = Duration::from_secs(1);
