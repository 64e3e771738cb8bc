//! Row locks as transactions take and leave them (coordinator.md 3 and 10.2).

use seamio::proto::Text;
use seamio::proto::status::{BranchType, GlobalStatus};
use seamio::sim::disk::SimDisk;
use seamio::tc::store::{
    Conflict, Decision, JournalConfig, JournalStore, MemoryStore, NewBranch, NewGlobal, Operation,
    Outcome, Store, StoreLimits, Urgency,
};
use seamio::xid::{BranchId, Xid};

use crate::run;

fn xid(n: i64) -> Xid {
    Xid::new("10.0.0.1:8091", n)
}

fn begin(n: i64) -> Operation {
    Operation::Begin(NewGlobal {
        xid: xid(n),
        application_id: Text::from("app"),
        transaction_service_group: Text::from("group"),
        name: Text::from("order"),
        timeout_ms: 60_000,
        begin_ms: 1000,
    })
}

fn register(n: i64, branch: i64, lock_key: &str) -> Operation {
    Operation::Register(NewBranch {
        xid: xid(n),
        branch_id: BranchId(branch),
        branch_type: BranchType::At,
        resource_id: Text::from("db"),
        client_id: Text::from("app:1:2"),
        application_data: Text::new(),
        lock_key: Text::from(lock_key),
        now_ms: 1000 + branch,
    })
}

fn decide(n: i64, decision: Decision) -> Operation {
    Operation::Decide {
        xid: xid(n),
        decision,
        now_ms: 2000,
    }
}

fn end_branch(n: i64, branch: i64) -> Operation {
    Operation::EndBranch {
        xid: xid(n),
        branch_id: BranchId(branch),
        urgency: Urgency::Now,
        now_ms: 3000,
    }
}

fn query(lock_key: &str) -> Operation {
    Operation::QueryLocks {
        xid: Text::new(),
        resource_id: Text::from("db"),
        lock_key: Text::from(lock_key),
        now_ms: 3000,
    }
}

fn conflict(outcome: (Outcome, seamio::tc::store::Seq)) -> Conflict {
    match outcome.0 {
        Outcome::Conflict(conflict) => conflict,
        other => panic!("{other:?} is no conflict"),
    }
}

fn done(store: &mut dyn Store, operation: Operation) {
    let what = format!("{operation:?}");
    assert_eq!(run(store, operation).0, Outcome::Done, "{what}");
}

/// Two branches of one transaction lock the same row; rolled back in reverse order, the row is free only after the first
/// branch is undone. (Redis freed it with the second.)
#[test]
fn a_row_of_two_branches_stays_until_both_are_undone() {
    let mut store = MemoryStore::default();
    done(&mut store, begin(1));
    done(&mut store, register(1, 10, "t:1,2"));
    done(&mut store, register(1, 11, "t:2,3"));
    let Outcome::Decided(global) = run(&mut store, decide(1, Decision::Rollback)).0 else {
        panic!("a rollback is decided");
    };
    assert_eq!(global.branches.len(), 2);
    done(&mut store, end_branch(1, 11));
    done(&mut store, query("t:3"));
    let held = conflict(run(&mut store, query("t:2")));
    assert_eq!((held.branch_id, held.since_ms), (BranchId(10), 1010));
    assert_eq!(held.row, "db^^^t^^^2");
    assert!(held.rolling_back);
    assert!(matches!(
        run(&mut store, end_branch(1, 10)).0,
        Outcome::Finished(_)
    ));
    done(&mut store, query("t:1,2,3"));
    assert_eq!(store.stats().locks, 0);
}

/// A refused registration leaves nothing, wherever in its list the conflict is.
#[test]
fn a_conflict_takes_nothing_and_names_the_holder() {
    let mut store = MemoryStore::default();
    done(&mut store, begin(1));
    done(&mut store, begin(2));
    done(&mut store, register(1, 10, "t:5"));
    for key in ["t:5,6,7", "t:6,5,7", "u:1;t:6,7,5"] {
        let held = conflict(run(&mut store, register(2, 20, key)));
        assert_eq!((held.xid, held.branch_id), (xid(1), BranchId(10)));
        assert!(!held.rolling_back);
        assert_eq!(
            (store.stats().locks, store.stats().branches),
            (1, 1),
            "{key}"
        );
    }
    // Commit frees with the decision, before any branch is called.
    assert!(matches!(
        run(&mut store, decide(1, Decision::Commit)).0,
        Outcome::Decided(_)
    ));
    done(&mut store, register(2, 20, "t:5,6,7"));
    // A late commit of the one that now rolls back must not free its rows.
    assert!(matches!(
        run(&mut store, decide(2, Decision::Rollback)).0,
        Outcome::Decided(_)
    ));
    assert_eq!(
        run(&mut store, decide(2, Decision::Commit)).0,
        Outcome::Status(GlobalStatus::Rollbacking)
    );
    assert!(conflict(run(&mut store, query("t:6"))).rolling_back);
}

#[test]
fn only_at_branches_lock_and_own_rows_do_not_conflict() {
    let mut store = MemoryStore::default();
    done(&mut store, begin(1));
    done(&mut store, begin(2));
    for (branch, branch_type) in [(20, BranchType::Tcc), (21, BranchType::Xa)] {
        let Operation::Register(mut new) = register(2, branch, "t:1") else {
            unreachable!()
        };
        new.branch_type = branch_type;
        done(&mut store, Operation::Register(new));
    }
    assert_eq!(store.stats().locks, 0);
    done(&mut store, register(1, 10, "t:1"));
    done(&mut store, register(1, 11, "t:1"));
    done(&mut store, register(1, 12, ""));
    assert_eq!(store.stats().locks, 1);
    let own = Operation::QueryLocks {
        xid: xid(1).as_text().clone(),
        resource_id: Text::from("db"),
        lock_key: Text::from("t:1"),
        now_ms: 3000,
    };
    done(&mut store, own);
    conflict(run(&mut store, query("t:1")));
    let malformed = run(&mut store, register(1, 13, "t:1;u")).0;
    assert!(matches!(malformed, Outcome::Failed(_)), "{malformed:?}");
    assert_eq!(store.stats().branches, 5);
}

#[test]
fn thousands_of_rows_in_one_branch_with_duplicates() {
    for rows in [1001, 5000] {
        let mut store = MemoryStore::default();
        done(&mut store, begin(1));
        let pks: Vec<_> = (0..rows).chain(0..10).map(|n| n.to_string()).collect();
        done(&mut store, register(1, 10, &format!("t:{}", pks.join(","))));
        assert_eq!(store.stats().locks, rows);
        conflict(run(&mut store, query(&format!("t:{}", rows - 1))));
        let release = Operation::ReleaseLocks { xid: xid(1) };
        done(&mut store, release.clone());
        assert_eq!((store.stats().locks, store.stats().branches), (0, 1));
        done(&mut store, release);
    }
}

/// Ten transactions ask for overlapping rows in different orders: one gets them, the others see a plain conflict.
#[test]
fn shuffled_overlapping_sets_never_dead_lock() {
    let mut store = MemoryStore::default();
    let mut winners = 0;
    for n in 1..=10 {
        done(&mut store, begin(n));
        let pks: Vec<_> = (0..20).map(|k| ((k * 7 + n) % 20).to_string()).collect();
        let key = format!("t:{}", pks.join(","));
        match run(&mut store, register(n, 100 + n, &key)).0 {
            Outcome::Done => winners += 1,
            other => assert!(matches!(other, Outcome::Conflict(_)), "{other:?}"),
        }
    }
    assert_eq!((winners, store.stats().locks), (1, 20));
}

/// A rollback that failed for good keeps its rows, also over a restart; an operator frees them.
#[test]
fn rows_of_a_failed_rollback_survive_a_restart() {
    let disk = SimDisk::new(1);
    let open = |disk: &SimDisk| {
        JournalStore::open_inline(disk.clone(), JournalConfig::default()).expect("opens")
    };
    let mut store = open(&disk);
    done(&mut store, begin(1));
    done(&mut store, register(1, 10, "t:1"));
    run(&mut store, decide(1, Decision::Rollback));
    let failed = Operation::SetStatus {
        xid: xid(1),
        from: GlobalStatus::Rollbacking,
        to: GlobalStatus::RollbackFailed,
        now_ms: 4000,
    };
    done(&mut store, failed);
    store.flush();
    store.poll_sync();
    let disk = disk.crash();
    let mut store = open(&disk);
    assert!(conflict(run(&mut store, query("t:1"))).rolling_back);
    done(&mut store, Operation::ReleaseLocks { xid: xid(1) });
    done(&mut store, query("t:1"));
    store.flush();
    store.poll_sync();
    let mut store = open(&disk.crash());
    done(&mut store, query("t:1"));
    let mut live = 0;
    store.scan(&mut |global| {
        live += 1;
        assert_eq!(global.status, GlobalStatus::RollbackFailed);
        assert_eq!(
            global.branches[0].lock_key, "t:1",
            "what was registered is kept"
        );
    });
    assert_eq!(live, 1);
}

/// What is told about free rows waits for the change that freed them; what is told about a transaction waits for its
/// last change, and not for those of others.
#[test]
fn an_answer_waits_for_what_it_tells() {
    let disk = SimDisk::new(1);
    let mut store = JournalStore::open_inline(disk, JournalConfig::default()).expect("opens");
    done(&mut store, begin(1));
    done(&mut store, register(1, 10, "t:1"));
    let (_, decided) = run(&mut store, decide(1, Decision::Commit));
    let (_, other) = run(&mut store, begin(2));
    assert!(other > decided && store.durable() < decided);
    assert_eq!(run(&mut store, query("t:1")), (Outcome::Done, decided));
    let look = Operation::LookUp {
        xid: xid(1),
        now_ms: 2001,
    };
    let asked = run(&mut store, look);
    assert_eq!(
        asked,
        (Outcome::Status(GlobalStatus::AsyncCommitting), decided)
    );
    store.flush();
    assert!(store.durable() < decided);
    store.poll_sync();
    assert_eq!(store.durable(), other);
}

#[test]
fn limits_are_told_by_name() {
    let limits = StoreLimits {
        globals_max: 2,
        locks_max: 3,
        branches_per_global_max: 2,
        lock_key_bytes_max: 20,
        ..StoreLimits::default()
    };
    let mut store = MemoryStore::new(limits);
    done(&mut store, begin(1));
    done(&mut store, begin(2));
    let limit = |outcome: (Outcome, _)| match outcome.0 {
        Outcome::Limit(name) => name,
        other => panic!("{other:?} is no limit"),
    };
    assert_eq!(limit(run(&mut store, begin(3))), "live global transactions");
    assert_eq!(
        limit(run(&mut store, register(1, 10, "t:1,2,3,4"))),
        "locked rows"
    );
    let long = register(1, 10, "t:123456789,123456789");
    assert_eq!(limit(run(&mut store, long)), "bytes of a lock key");
    done(&mut store, register(1, 10, "t:1,2"));
    done(&mut store, register(1, 11, "t:1"));
    let third = run(&mut store, register(1, 12, ""));
    assert_eq!(limit(third), "branches of one transaction");
}
