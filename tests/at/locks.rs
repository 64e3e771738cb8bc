//! Global locks: two transactions and one row.

use std::time::Duration;

use seamio::client::TxGuard;
use seamio::client::at::{At, AtBranch, Error, LockCall, LockRetry, LockStrategy};
use tokio::task::JoinHandle;

use crate::database::{Kind, Tried};
use crate::fixture::{PATIENCE, run, scene, scene_with};

const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY, v INT);
    INSERT INTO t (id, v) VALUES (1, 10), (2, 20);";

fn all(kind: Kind) -> &'static str {
    match kind {
        Kind::MariaDb => "SELECT CONCAT(id, ' ', v) FROM t ORDER BY id",
        _ => "SELECT CAST(id AS text) || ' ' || CAST(v AS text) FROM t ORDER BY id",
    }
}

/// A unit of a transaction that waits for row 1 and doubles its value.
fn doubling<DB: Tried>(at: At<DB>, tx: &TxGuard) -> JoinHandle<Result<(), Error>> {
    let tx = (**tx).clone();
    tokio::spawn(async move {
        at.run(&tx, |branch| {
            Box::pin(async move {
                run(branch, "UPDATE t SET v = v * 2 WHERE id = 1").await?;
                Ok::<(), Error>(())
            })
        })
        .await
    })
}

async fn done(waiting: JoinHandle<Result<(), Error>>) {
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    waited.expect("in time").expect("no panic").expect("done");
}

/// Commits a branch that changes row 1, which another transaction holds.
async fn meets_a_held_row<DB: Tried>(mut branch: AtBranch<'_, DB>) {
    run(&mut branch, "UPDATE t SET v = 12 WHERE id = 1")
        .await
        .expect("updated");
    let refused = branch.commit().await.expect_err("held");
    assert!(refused.is_lock_conflict(), "{refused}");
}

/// A row of an undecided transaction is not for others; what they did is rolled back.
async fn a_held_row_is_refused<DB: Tried>() {
    let Some(scene) = scene::<DB>(TABLE).await else {
        return;
    };
    let first = scene.begin().await;
    scene
        .branch(&first, &["UPDATE t SET v = 11 WHERE id = 1"])
        .await;
    let second = scene.begin().await;
    let branch = scene.at.begin_pooled(&second).await;
    meets_a_held_row(branch.expect("a branch")).await;
    assert_eq!(scene.rows(all(DB::KIND)).await[0], "1 11");
    scene.commit(first).await;
    // Another row is free, and now this one too.
    scene
        .branch(&second, &["UPDATE t SET v = 22 WHERE id = 2"])
        .await;
    scene
        .branch(&second, &["UPDATE t SET v = 13 WHERE id = 1"])
        .await;
    scene.roll_back(second).await;
    assert_eq!(scene.rows(all(DB::KIND)).await, ["1 11", "2 20"]);
}

/// A unit is run again until the row is free, and lets go of it meanwhile, so that the other can be rolled back.
async fn a_unit_waits_for_a_rollback<DB: Tried>() {
    let patient = |mut options: seamio::client::at::AtOptions| {
        options.lock_retry = LockRetry {
            interval: Duration::from_millis(5),
            times: 10_000,
        };
        options
    };
    let Some(scene) = scene_with::<DB>(TABLE, patient).await else {
        return;
    };
    let first = scene.begin().await;
    scene
        .branch(&first, &["UPDATE t SET v = 11 WHERE id = 1"])
        .await;
    let second = scene.begin().await;
    let waiting = doubling(scene.at.clone(), &second);
    crate::fixture::until("refused once", || async {
        scene.seata.metrics().lock_conflicts > 0
    })
    .await;
    scene.roll_back(first).await;
    done(waiting).await;
    // Of the ten that were put back, not of the eleven.
    assert_eq!(scene.rows(all(DB::KIND)).await[0], "1 20");
    scene.commit(second).await;
}

/// A call with its own way: one that fails at once, and one that waits longer than the resource and has its locks taken unseen.
async fn a_call_has_its_own_patience<DB: Tried>() {
    let Some(scene) = scene::<DB>(TABLE).await else {
        return;
    };
    let first = scene.begin().await;
    scene
        .branch(&first, &["UPDATE t SET v = 11 WHERE id = 1"])
        .await;
    let second = scene.begin().await;
    let at_once = scene.at.with_lock(LockCall {
        times: Some(0),
        ..LockCall::default()
    });
    let before = scene.seata.metrics().lock_conflicts;
    let branch = at_once.begin_pooled(&second).await;
    meets_a_held_row(branch.expect("a branch")).await;
    assert_eq!(scene.seata.metrics().lock_conflicts, before + 1);
    let sure = scene.at.with_lock(LockCall {
        interval: Some(Duration::from_millis(5)),
        times: Some(10_000),
        strategy: LockStrategy::Optimistic,
    });
    let waiting = doubling(sure, &second);
    crate::fixture::until("refused again", || async {
        scene.seata.metrics().lock_conflicts > before + 1
    })
    .await;
    scene.roll_back(first).await;
    done(waiting).await;
    assert_eq!(scene.rows(all(DB::KIND)).await[0], "1 20");
    scene.commit(second).await;
}

/// SELECT … FOR UPDATE gives only rows that nobody holds.
async fn for_update_respects_the_locks<DB: Tried>() {
    if DB::KIND == Kind::Sqlite {
        // It has no FOR UPDATE.
        return;
    }
    let Some(scene) = scene::<DB>(TABLE).await else {
        return;
    };
    let first = scene.begin().await;
    scene
        .branch(&first, &["UPDATE t SET v = 11 WHERE id = 1"])
        .await;
    let second = scene.begin().await;
    let mut branch = scene.at.begin_pooled(&second).await.expect("a branch");
    let held = run(&mut branch, "SELECT v FROM t WHERE id = 1 FOR UPDATE").await;
    assert!(held.is_err_and(|error| error.is_lock_conflict()));
    run(&mut branch, "SELECT v FROM t WHERE id = 2 FOR UPDATE")
        .await
        .expect("free");
    branch.rollback().await.expect("rolled back");
    // The one that holds it may.
    let mut branch = scene.at.begin_pooled(&first).await.expect("a branch");
    run(&mut branch, "SELECT v FROM t WHERE id = 1 FOR UPDATE")
        .await
        .expect("its own");
    branch.rollback().await.expect("rolled back");
    scene.commit(first).await;
    scene.commit(second).await;
}

/// A local transaction that asks for the locks is no branch, and does not commit a row that is held.
async fn a_local_transaction_can_respect_the_locks<DB: Tried>() {
    let Some(scene) = scene::<DB>(TABLE).await else {
        return;
    };
    let first = scene.begin().await;
    scene
        .branch(&first, &["UPDATE t SET v = 11 WHERE id = 1"])
        .await;
    let branches = scene.seata.metrics().branches;
    let mut conn = scene.pool().acquire().await.expect("a connection");
    let mut local = scene
        .at
        .global_lock(&mut conn)
        .await
        .expect("a transaction");
    run(&mut local, "DELETE FROM t WHERE id = 1")
        .await
        .expect("deleted");
    let held = local.commit().await.expect_err("held");
    assert!(held.is_lock_conflict(), "{held}");
    let mut local = scene
        .at
        .global_lock(&mut conn)
        .await
        .expect("a transaction");
    run(&mut local, "DELETE FROM t WHERE id = 2")
        .await
        .expect("deleted");
    local.commit().await.expect("free");
    drop(conn);
    assert_eq!(scene.seata.metrics().branches, branches);
    assert_eq!(scene.rows(all(DB::KIND)).await, ["1 11"]);
    scene.roll_back(first).await;
    assert_eq!(scene.rows(all(DB::KIND)).await, ["1 10"]);
}

on_every_database!(
    a_held_row_is_refused,
    a_unit_waits_for_a_rollback,
    a_call_has_its_own_patience,
    for_update_respects_the_locks,
    a_local_transaction_can_respect_the_locks,
);
