//! Odd rows and odd texts: what Java's tables do to them, what is refused, and what is never cut.

use std::sync::Arc;

use seamio::proto::Text;
use seamio::tc::store::sql::{SqlConfig, SqlStore, schema};
use seamio::tc::store::{Decision, NewGlobal, Operation, Outcome};

use crate::agreement::run;
use crate::life::{NOW_MS, begin, decide, look_up, register, xid};
use crate::place::{Kind, Place};

on_every_database!(
    keys_that_differ_in_case_are_one_lock_only_where_java_made_the_table,
    a_lock_without_its_transaction_is_a_conflict_that_names_it,
    what_does_not_fit_is_refused_and_leaves_nothing,
    a_name_is_cut_as_java_cuts_it,
    a_row_that_cannot_be_read_fails_its_own_operation_and_no_other,
    a_thousand_rows_and_more_are_one_registration,
);

fn open(place: &Place) -> SqlStore {
    schema::apply_to(&place.database()).expect("tables");
    let mut config = SqlConfig::new(place.database(), "10.0.0.1:8091");
    config.connections = 1;
    SqlStore::open(config, Arc::new(|| {})).expect("a store")
}

/// On the tables of Java Seata 2.0; SQLite has none.
fn open_javas(place: &Place) -> SqlStore {
    match place.kind {
        Kind::MySql => drop(place.run(include_str!("java_2_0_mysql.sql"))),
        Kind::Postgres => drop(place.run(include_str!("java_2_0_postgres.sql"))),
        Kind::Sqlite => {}
    }
    open(place)
}

fn one(store: &mut SqlStore, operation: Operation) -> Outcome {
    run(store, vec![operation]).remove(0)
}

fn keys_that_differ_in_case_are_one_lock_only_where_java_made_the_table(place: &Place) {
    let mut store = open_javas(place);
    let (first, second) = (xid(1), xid(2));
    for global in [&first, &second] {
        assert_eq!(one(&mut store, begin(global)), Outcome::Done);
    }
    assert_eq!(
        one(&mut store, register(&first, 11, "t:A,b")),
        Outcome::Done
    );
    let outcome = one(&mut store, register(&second, 12, "t:a,B"));
    if place.kind != Kind::MySql {
        assert_eq!(outcome, Outcome::Done);
        return;
    }
    let Outcome::Conflict(held) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!((&held.xid, held.branch_id.0), (&first, 11));
    assert_eq!(
        one(&mut store, register(&first, 13, "t:a")),
        Outcome::Done,
        "its own"
    );
}

fn a_lock_without_its_transaction_is_a_conflict_that_names_it(place: &Place) {
    let mut store = open(place);
    let stamp = place.choose("NOW()", "CURRENT_TIMESTAMP");
    place.run(&format!(
        "INSERT INTO lock_table (row_key, xid, transaction_id, branch_id, resource_id, table_name, pk, status, gmt_create, \
         gmt_modified) VALUES ('jdbc:mysql://a/db^^^t^^^1', '10.9.9.9:8091:77', 77, 5, 'jdbc:mysql://a/db', 't', '1', 0, \
         {stamp}, {stamp})"
    ));
    let global = xid(1);
    assert_eq!(one(&mut store, begin(&global)), Outcome::Done);
    let outcome = one(&mut store, register(&global, 11, "t:1"));
    let Outcome::Conflict(held) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        (held.xid.to_string(), held.branch_id.0),
        ("10.9.9.9:8091:77".to_owned(), 5)
    );
    let gone = seamio::xid::Xid::parse(&Text::from("10.9.9.9:8091:77")).expect("an xid");
    // In one batch, too, the lock does not bring its transaction back.
    let outcomes = run(
        &mut store,
        vec![look_up(&gone), register(&global, 12, "t:1")],
    );
    assert_eq!(outcomes[0], Outcome::Unknown);
    assert!(matches!(outcomes[1], Outcome::Conflict(_)), "{outcomes:?}");
}

fn what_does_not_fit_is_refused_and_leaves_nothing(place: &Place) {
    let mut store = open_javas(place);
    let global = xid(1);
    assert_eq!(one(&mut store, begin(&global)), Outcome::Done);
    let wide = match place.kind {
        Kind::Sqlite => 600,
        Kind::MySql | Kind::Postgres => 130,
    };
    let key = format!("t:{}", "9".repeat(wide));
    let outcome = one(&mut store, register(&global, 11, &key));
    assert!(matches!(outcome, Outcome::Limit(_)), "{outcome:?}");
    assert_eq!(place.column("SELECT COUNT(*) FROM branch_table"), ["0"]);
    assert_eq!(place.column("SELECT COUNT(*) FROM lock_table"), ["0"]);
    let outcome = one(&mut store, register(&global, 12, "t:a\0b"));
    match place.kind {
        Kind::Postgres => assert!(matches!(outcome, Outcome::Limit(_)), "{outcome:?}"),
        Kind::MySql | Kind::Sqlite => assert_eq!(outcome, Outcome::Done),
    }
    assert_eq!(
        one(&mut store, register(&global, 13, "t:' OR 'a'='a' -- \\")),
        Outcome::Done
    );
    let outcome = one(&mut store, decide(&global, Decision::Commit));
    assert!(matches!(outcome, Outcome::Decided(_)), "{outcome:?}");
    assert_eq!(place.column("SELECT COUNT(*) FROM lock_table"), ["0"]);
    let odd = seamio::xid::Xid::parse(&Text::from("a\0:8091:5")).expect("an xid");
    assert_eq!(one(&mut store, look_up(&odd)), Outcome::Unknown);
}

fn a_name_is_cut_as_java_cuts_it(place: &Place) {
    let mut store = open_javas(place);
    let name = "ä".repeat(1000);
    let new = NewGlobal {
        xid: xid(1),
        application_id: Text::from("app"),
        transaction_service_group: Text::from("group"),
        name: Text::from(name.as_str()),
        timeout_ms: 60_000,
        begin_ms: NOW_MS,
    };
    assert_eq!(one(&mut store, Operation::Begin(new)), Outcome::Done);
    let kept = place
        .column("SELECT transaction_name FROM global_table")
        .remove(0);
    assert!(
        kept.chars().count() >= 128 && name.starts_with(&kept),
        "{kept}"
    );
}

fn a_row_that_cannot_be_read_fails_its_own_operation_and_no_other(place: &Place) {
    let mut store = open(place);
    let (odd, fine) = (xid(1), xid(2));
    for global in [&odd, &fine] {
        assert_eq!(one(&mut store, begin(global)), Outcome::Done);
    }
    place.run("UPDATE global_table SET status = 99 WHERE transaction_id = 1");
    let outcomes = run(
        &mut store,
        vec![register(&odd, 11, "t:1"), register(&fine, 12, "t:2")],
    );
    let Outcome::Failed(reason) = &outcomes[0] else {
        panic!("{outcomes:?}")
    };
    assert!(reason.contains("status 99"), "{reason}");
    assert_eq!(outcomes[1], Outcome::Done);
}

fn a_thousand_rows_and_more_are_one_registration(place: &Place) {
    let mut store = open(place);
    let (first, second) = (xid(1), xid(2));
    for global in [&first, &second] {
        assert_eq!(one(&mut store, begin(global)), Outcome::Done);
    }
    let pks = |range: std::ops::Range<u32>| {
        let pks: Vec<_> = range.map(|n| n.to_string()).collect();
        format!("t:{}", pks.join(","))
    };
    assert_eq!(
        one(&mut store, register(&first, 11, &pks(0..2500))),
        Outcome::Done
    );
    assert_eq!(place.column("SELECT COUNT(*) FROM lock_table"), ["2500"]);
    let outcome = one(&mut store, register(&second, 12, &pks(2499..5000)));
    let Outcome::Conflict(held) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(held.row.ends_with("^^^2499"), "{held:?}");
    assert_eq!(place.column("SELECT COUNT(*) FROM lock_table"), ["2500"]);
    let outcome = one(&mut store, decide(&first, Decision::Commit));
    assert!(matches!(outcome, Outcome::Decided(_)), "{outcome:?}");
    assert_eq!(
        one(&mut store, register(&second, 13, &pks(2499..5000))),
        Outcome::Done
    );
}
