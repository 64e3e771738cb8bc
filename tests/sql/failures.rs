//! When the database misbehaves: what is told is true, nothing is done twice, and everything goes on by itself.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use seamio::proto::status::GlobalStatus;
use seamio::tc::store::sql::{DatabaseUrl, SqlConfig, SqlStore, schema};
use seamio::tc::store::{Decision, Operation, Outcome};
use seamio::xid::Xid;
use sqlx::Connection;
use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;

use crate::agreement::{PATIENCE, now, open, run};
use crate::life::{begin, decide, end_branch, look_up, pause, register, xid};
use crate::place::{Kind, Place};
use crate::proxy::{Proxy, Way};

on_every_database!(
    a_commit_whose_answer_is_lost_is_asked_about,
    a_commit_that_did_not_arrive_is_sent_again,
    every_kind_of_operation_survives_a_lost_answer,
    without_a_database_begins_are_refused_and_decisions_wait,
    a_decision_that_cannot_be_stored_fails_and_is_none,
    a_database_that_says_nothing_counts_as_lost,
    a_start_waits_for_the_database_and_gives_up_in_the_end,
    whoever_is_not_let_in_is_told_at_once,
    a_start_without_enough_connections_waits_and_then_says_how_many,
    when_others_have_all_connections_begins_are_refused_and_decisions_wait,
    overlapping_registrations_of_two_coordinators_end_in_locks_or_conflicts,
);

fn through(proxy: &Proxy, place: &Place, change: impl FnOnce(&mut SqlConfig)) -> SqlStore {
    schema::apply_to(&place.database()).expect("tables");
    let url = DatabaseUrl::parse(&proxy.url(place)).expect("a URL");
    let mut config = SqlConfig::new(url, "10.0.0.1:8091");
    config.connections = 1;
    change(&mut config);
    SqlStore::open(config, Arc::new(|| {})).expect("a store")
}

fn one(store: &mut SqlStore, operation: Operation) -> Outcome {
    run(store, vec![operation]).remove(0)
}

fn a_commit_whose_answer_is_lost_is_asked_about(place: &Place) {
    let Some(proxy) = Proxy::to(place) else {
        return;
    };
    let mut store = through(&proxy, place, |_| {});
    let global = xid(1);
    assert_eq!(one(&mut store, begin(&global)), Outcome::Done);
    assert_eq!(one(&mut store, register(&global, 11, "t:1")), Outcome::Done);
    proxy.set(Way::CutBehindCommit);
    let outcome = one(&mut store, decide(&global, Decision::Commit));
    assert!(matches!(outcome, Outcome::Decided(_)), "{outcome:?}");
    assert_eq!(proxy.way(), Way::Open, "it was cut");
    assert_eq!(place.column("SELECT status FROM global_table"), ["8"]);
    assert_eq!(place.column("SELECT COUNT(*) FROM seamio_decision"), ["1"]);
    assert_eq!(place.column("SELECT COUNT(*) FROM lock_table"), ["0"]);
}

fn a_commit_that_did_not_arrive_is_sent_again(place: &Place) {
    let Some(proxy) = Proxy::to(place) else {
        return;
    };
    let mut store = through(&proxy, place, |_| {});
    let global = xid(1);
    assert_eq!(one(&mut store, begin(&global)), Outcome::Done);
    proxy.set(Way::CutBeforeCommit);
    assert_eq!(one(&mut store, register(&global, 11, "t:1")), Outcome::Done);
    assert_eq!(proxy.way(), Way::Open, "it was cut");
    assert_eq!(place.column("SELECT branch_id FROM branch_table"), ["11"]);
    assert_eq!(place.column("SELECT branch_id FROM lock_table"), ["11"]);
}

fn every_kind_of_operation_survives_a_lost_answer(place: &Place) {
    let Some(proxy) = Proxy::to(place) else {
        return;
    };
    let mut store = through(&proxy, place, |_| {});
    for (i, way) in [Way::CutBehindCommit, Way::CutBeforeCommit]
        .into_iter()
        .enumerate()
    {
        let global = xid(10 + i as i64);
        let branch = 100 + i as i64;
        let mut asked = |operation| {
            proxy.set(way);
            one(&mut store, operation)
        };
        assert_eq!(asked(begin(&global)), Outcome::Done);
        assert_eq!(asked(register(&global, branch, "t:1,2")), Outcome::Done);
        let outcome = asked(decide(&global, Decision::Rollback));
        assert!(matches!(outcome, Outcome::Decided(_)), "{outcome:?}");
        let outcome = asked(end_branch(&global, branch));
        assert!(matches!(outcome, Outcome::Finished(_)), "{outcome:?}");
        let outcome = asked(look_up(&global));
        assert!(matches!(outcome, Outcome::Ended(_)), "{outcome:?}");
        proxy.set(Way::Open);
    }
    for table in [
        "global_table",
        "branch_table",
        "lock_table",
        "seamio_decision",
    ] {
        let left = place.column(&format!("SELECT COUNT(*) FROM {table}"));
        assert_eq!(left, ["0"], "{table}");
    }
    assert_eq!(place.column("SELECT COUNT(*) FROM seamio_ended"), ["2"]);
}

fn without_a_database_begins_are_refused_and_decisions_wait(place: &Place) {
    let Some(proxy) = Proxy::to(place) else {
        return;
    };
    let mut store = through(&proxy, place, |_| {});
    let global = xid(1);
    assert_eq!(one(&mut store, begin(&global)), Outcome::Done);
    proxy.set(Way::Closed);
    let outcome = one(&mut store, begin(&xid(2)));
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pause(Duration::from_millis(700));
            proxy.set(Way::Open);
        });
        let outcome = one(&mut store, decide(&global, Decision::Commit));
        assert!(matches!(outcome, Outcome::Finished(_)), "{outcome:?}");
    });
    assert_eq!(one(&mut store, begin(&xid(3))), Outcome::Done);
    assert_eq!(
        place.column("SELECT xid FROM global_table"),
        ["10.0.0.1:8091:3"]
    );
}

fn a_decision_that_cannot_be_stored_fails_and_is_none(place: &Place) {
    let Some(proxy) = Proxy::to(place) else {
        return;
    };
    let mut store = through(&proxy, place, |config| {
        config.retry_for = Duration::from_millis(300)
    });
    let global = xid(1);
    assert_eq!(one(&mut store, begin(&global)), Outcome::Done);
    proxy.set(Way::Closed);
    let outcome = one(&mut store, decide(&global, Decision::Commit));
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    proxy.set(Way::Open);
    let outcome = one(&mut store, look_up(&global));
    assert_eq!(outcome, Outcome::Status(GlobalStatus::Begin));
}

fn a_database_that_says_nothing_counts_as_lost(place: &Place) {
    let Some(proxy) = Proxy::to(place) else {
        return;
    };
    let mut store = through(&proxy, place, |config| {
        config.statement_timeout = Duration::from_millis(500);
    });
    let global = xid(1);
    assert_eq!(one(&mut store, begin(&global)), Outcome::Done);
    proxy.set(Way::Silent);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pause(Duration::from_millis(1500));
            proxy.set(Way::Open);
        });
        assert_eq!(one(&mut store, register(&global, 11, "t:1")), Outcome::Done);
    });
    assert_eq!(place.column("SELECT branch_id FROM branch_table"), ["11"]);
}

fn a_start_waits_for_the_database_and_gives_up_in_the_end(place: &Place) {
    let Some(proxy) = Proxy::to(place) else {
        return;
    };
    schema::apply_to(&place.database()).expect("tables");
    let url = DatabaseUrl::parse(&proxy.url(place)).expect("a URL");
    let mut config = SqlConfig::new(url, "10.0.0.1:8091");
    proxy.set(Way::Closed);
    config.start_within = Duration::from_millis(300);
    let error = SqlStore::open(config.clone(), Arc::new(|| {})).map(drop);
    let error = error.expect_err("no database");
    assert!(
        error.contains("://") && !error.contains("seamio:seamio"),
        "{error}"
    );
    config.start_within = Duration::from_secs(60);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pause(Duration::from_millis(700));
            proxy.set(Way::Open);
        });
        SqlStore::open(config, Arc::new(|| {}))
            .map(drop)
            .expect("a store");
    });
}

/// A user of the place's database who may have so many connections at once; goes with this value.
struct Limited<'a> {
    place: &'a Place,
    name: String,
}

impl<'a> Limited<'a> {
    /// None where there are no users.
    fn to(place: &'a Place, connections: u8) -> Option<Self> {
        let database = place.url.rsplit_once('/').expect("a database").1;
        let name = format!("few_{database}");
        match place.kind {
            Kind::Sqlite => return None,
            Kind::MySql => drop(place.run(&format!(
                "CREATE USER '{name}'@'%' IDENTIFIED BY 'few' WITH MAX_USER_CONNECTIONS {connections}; \
                 GRANT ALL ON {database}.* TO '{name}'@'%'"
            ))),
            Kind::Postgres => drop(place.run(&format!(
                "CREATE ROLE {name} LOGIN PASSWORD 'few' CONNECTION LIMIT {connections}; \
                 GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}"
            ))),
        }
        Some(Self { place, name })
    }

    fn url(&self) -> String {
        let (scheme, rest) = self.place.url.split_once("://").expect("a URL");
        let server = rest.rsplit_once('@').expect("a user").1;
        format!("{scheme}://{}:few@{server}", self.name)
    }

    fn config(&self) -> SqlConfig {
        let url = DatabaseUrl::parse(&self.url()).expect("a URL");
        SqlConfig::new(url, "10.0.0.1:8091")
    }

    fn allow(&self, connections: u8) {
        let name = &self.name;
        self.place.run(&match self.place.kind {
            Kind::MySql => {
                format!("ALTER USER '{name}'@'%' WITH MAX_USER_CONNECTIONS {connections}")
            }
            _ => format!("ALTER ROLE {name} CONNECTION LIMIT {connections}"),
        });
    }

    /// Has the last connection of a user that may have one, whoever else wants it.
    fn hold(&self) -> Box<dyn Any + Send> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let until = now() + PATIENCE;
        loop {
            self.cut();
            let url = self.url();
            let held: Result<Box<dyn Any + Send>, _> = runtime.block_on(async {
                Ok::<_, sqlx::Error>(match self.place.kind {
                    Kind::MySql => Box::new(MySqlConnection::connect(&url).await?) as _,
                    _ => Box::new(PgConnection::connect(&url).await?) as _,
                })
            });
            match held {
                Ok(connection) => return Box::new((connection, runtime)),
                Err(error) => assert!(now() < until, "{error}"),
            }
        }
    }

    /// Ends all connections of the user.
    fn cut(&self) {
        let name = &self.name;
        match self.place.kind {
            Kind::MySql => self.place.run(&format!("KILL USER '{name}'@'%'")),
            _ => self.place.run(&format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'"
            )),
        };
    }
}

impl Drop for Limited<'_> {
    fn drop(&mut self) {
        self.cut();
        let name = &self.name;
        self.place.run(&match self.place.kind {
            Kind::MySql => format!("DROP USER '{name}'@'%'"),
            _ => format!("DROP OWNED BY {name}; DROP ROLE {name}"),
        });
    }
}

fn a_start_without_enough_connections_waits_and_then_says_how_many(place: &Place) {
    schema::apply_to(&place.database()).expect("tables");
    let Some(user) = Limited::to(place, 1) else {
        return;
    };
    let mut config = user.config();
    config.start_within = Duration::from_millis(700);
    let error = SqlStore::open(config.clone(), Arc::new(|| {})).map(drop);
    let error = error.expect_err("too few connections").to_lowercase();
    for part in [
        "only 1 of 3 connections",
        "store.sql.connections = 2",
        &user.name,
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    config.start_within = Duration::from_secs(60);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pause(Duration::from_millis(700));
            user.allow(3);
        });
        let mut store = SqlStore::open(config, Arc::new(|| {})).expect("a store");
        assert_eq!(one(&mut store, begin(&xid(1))), Outcome::Done);
    });
}

fn when_others_have_all_connections_begins_are_refused_and_decisions_wait(place: &Place) {
    schema::apply_to(&place.database()).expect("tables");
    let Some(user) = Limited::to(place, 3) else {
        return;
    };
    let mut store = SqlStore::open(user.config(), Arc::new(|| {})).expect("a store");
    let (global, other) = (xid(1), xid(2));
    let begins = vec![begin(&global), begin(&other)];
    assert_eq!(run(&mut store, begins), [Outcome::Done, Outcome::Done]);
    // Others are quicker than the store: whoever may have one connection at most has none left.
    user.allow(1);
    let taken = user.hold();
    let outcome = one(&mut store, begin(&xid(3)));
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pause(Duration::from_millis(700));
            drop(taken);
            user.allow(3);
        });
        let outcome = one(&mut store, decide(&global, Decision::Commit));
        assert!(matches!(outcome, Outcome::Finished(_)), "{outcome:?}");
    });
    assert_eq!(one(&mut store, register(&other, 11, "t:1")), Outcome::Done);
    assert_eq!(one(&mut store, begin(&xid(4))), Outcome::Done);
    let left = place.column("SELECT xid FROM global_table ORDER BY transaction_id");
    assert_eq!(left, ["10.0.0.1:8091:2", "10.0.0.1:8091:4"]);
}

fn whoever_is_not_let_in_is_told_at_once(place: &Place) {
    let Some(_proxy) = Proxy::to(place) else {
        return;
    };
    let url = place.url.replace("://", "://nobody-");
    let url = DatabaseUrl::parse(&url).expect("a URL");
    let mut config = SqlConfig::new(url, "10.0.0.1:8091");
    config.start_within = Duration::from_secs(3600);
    let error = SqlStore::open(config, Arc::new(|| {})).map(drop);
    let error = error.expect_err("nobody of this name").to_lowercase();
    assert!(error.contains("nobody-"), "{error}");
}

fn overlapping_registrations_of_two_coordinators_end_in_locks_or_conflicts(place: &Place) {
    schema::apply_to(&place.database()).expect("tables");
    let keys = ["t:1,2,3,4", "t:4,3,2,1", "t:2,4,1,3", "t:3,1,4,2"];
    let work = |number: i64| {
        let mut store = open(place, |config| {
            config.address = format!("10.0.0.{number}:8091");
            config.connections = 2;
        });
        let mut done = 0;
        for round in 0..20 {
            let xids: Vec<Xid> = (0..8)
                .map(|i| xid(number * 10_000 + round * 100 + i))
                .collect();
            let begun = run(&mut store, xids.iter().map(begin).collect());
            assert!(begun.iter().all(|o| *o == Outcome::Done), "{begun:?}");
            let registers = xids
                .iter()
                .enumerate()
                .map(|(i, xid)| register(xid, xid.transaction_id() + 50, keys[i % keys.len()]));
            for (xid, outcome) in xids.iter().zip(run(&mut store, registers.collect())) {
                match outcome {
                    Outcome::Done => done += 1,
                    Outcome::Conflict(held) => assert!(held.row.contains("^^^t^^^"), "{held:?}"),
                    outcome => panic!("{xid}: {outcome:?}"),
                }
            }
            let ends = xids.iter().map(|xid| decide(xid, Decision::Commit));
            for outcome in run(&mut store, ends.collect()) {
                assert!(
                    matches!(outcome, Outcome::Decided(_) | Outcome::Finished(_)),
                    "{outcome:?}"
                );
            }
        }
        done
    };
    let done = std::thread::scope(|scope| {
        let workers: Vec<_> = (1..=2).map(|n| scope.spawn(move || work(n))).collect();
        workers
            .into_iter()
            .map(|w| w.join().expect("no panic"))
            .sum::<i32>()
    });
    assert!(done > 0);
    assert_eq!(place.column("SELECT COUNT(*) FROM lock_table"), ["0"]);
    let held = place.column("SELECT COUNT(*) FROM branch_table");
    assert_eq!(held, [done.to_string()]);
}
