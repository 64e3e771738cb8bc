//! How branches and their transactions can end.

use seamio::client::GlobalTx;
use seamio::client::at::{Error, query};
use seamio::proto::status::GlobalStatus;
use sqlx::Sqlite;

use crate::database::{Kind, Tried};
use crate::fixture::{PATIENCE, run, scene, until};

const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY, v INT, s VARCHAR(20) UNIQUE);
    INSERT INTO t (id, v, s) VALUES (1, 10, 'one'), (2, 20, 'two');";

fn all(kind: Kind) -> &'static str {
    match kind {
        Kind::MariaDb => "SELECT CONCAT(id, ' ', v) FROM t ORDER BY id",
        _ => "SELECT CAST(id AS text) || ' ' || CAST(v AS text) FROM t ORDER BY id",
    }
}

/// Reads, and writes that meet no row, leave no branch.
async fn nothing_changed_is_no_branch<DB: Tried>() {
    let Some(scene) = scene::<DB>(TABLE).await else {
        return;
    };
    let tx = scene.begin().await;
    scene
        .branch(
            &tx,
            &[
                "SELECT id FROM t",
                "UPDATE t SET v = 1 WHERE id = 99",
                "DELETE FROM t WHERE id > 99",
            ],
        )
        .await;
    assert_eq!(scene.seata.metrics().branches, 0);
    assert!(scene.undo_rows().await.is_empty());
    scene.commit(tx).await;
}

/// sqlx's own queries run on a branch, with parameters, rows and results as without one.
async fn queries_of_sqlx_run_on_a_branch<DB: Tried>()
where
    for<'q> i32: sqlx::Encode<'q, DB> + sqlx::Type<DB> + sqlx::Decode<'q, DB>,
    usize: sqlx::ColumnIndex<DB::Row>,
    DB::Arguments: sqlx::IntoArguments<DB>,
{
    let Some(scene) = scene::<DB>(TABLE).await else {
        return;
    };
    let (update, select) = match DB::KIND {
        Kind::Postgres => (
            "UPDATE t SET v = v + $1 WHERE id = $2 AND v > $3",
            "SELECT v FROM t WHERE id = $1",
        ),
        _ => (
            "UPDATE t SET v = v + ? WHERE id = ? AND v > ?",
            "SELECT v FROM t WHERE id = ?",
        ),
    };
    let before = scene.rows(all(DB::KIND)).await;
    let tx = scene.begin().await;
    let mut branch = scene.at.begin_pooled(&tx).await.expect("a branch");
    let updated = sqlx::query::<DB>(update).bind(5).bind(1).bind(0);
    updated.execute(&mut branch).await.expect("updated");
    let read = sqlx::query_scalar::<DB, i32>(select).bind(1);
    assert_eq!(read.fetch_one(&mut branch).await.expect("read"), 15);
    let counted = branch.execute(query::<DB>(update).bind(1).bind(1).bind(0));
    counted.await.expect("updated again");
    branch.commit().await.expect("committed");
    assert_eq!(scene.seata.metrics().branches, 1);
    assert_eq!(scene.rows(all(DB::KIND)).await[0], "1 16");
    scene.roll_back(tx).await;
    assert_eq!(scene.rows(all(DB::KIND)).await, before);
}

/// A branch that is dropped or rolled back never was, and its connection is clean.
async fn an_unfinished_branch_never_was<DB: Tried>() {
    let Some(scene) = scene::<DB>(TABLE).await else {
        return;
    };
    let before = scene.rows(all(DB::KIND)).await;
    let tx = scene.begin().await;
    let mut conn = scene.pool().acquire().await.expect("a connection");
    let mut branch = scene.at.begin(&tx, &mut conn).await.expect("a branch");
    run(&mut branch, "UPDATE t SET v = 0")
        .await
        .expect("updated");
    drop(branch);
    let mut branch = scene.at.begin(&tx, &mut conn).await.expect("a branch");
    run(&mut branch, "DELETE FROM t").await.expect("deleted");
    branch.rollback().await.expect("rolled back");
    let branch = scene.at.begin(&tx, &mut conn).await.expect("a branch");
    branch.commit().await.expect("nothing to commit");
    drop(conn);
    assert_eq!(scene.seata.metrics().branches, 0);
    assert_eq!(scene.rows(all(DB::KIND)).await, before);
    scene.commit(tx).await;
}

/// What a savepoint takes back is neither undone nor locked.
async fn savepoints<DB: Tried>() {
    let Some(scene) = scene::<DB>(TABLE).await else {
        return;
    };
    let before = scene.rows(all(DB::KIND)).await;
    let tx = scene.begin().await;
    let mut branch = scene.at.begin_pooled(&tx).await.expect("a branch");
    branch.savepoint("A b").await.expect("set");
    run(&mut branch, "UPDATE t SET v = 0 WHERE id = 1")
        .await
        .expect("updated");
    run(&mut branch, "SAVEPOINT inner_one").await.expect("set");
    run(&mut branch, "DELETE FROM t").await.expect("deleted");
    run(&mut branch, "ROLLBACK TO SAVEPOINT inner_one")
        .await
        .expect("back");
    branch.rollback_to("A b").await.expect("back");
    branch.release("A b").await.expect("released");
    run(&mut branch, "UPDATE t SET v = 21 WHERE id = 2")
        .await
        .expect("updated");
    branch.commit().await.expect("committed");
    // The first row was let go: others may have it.
    let other = scene.begin().await;
    scene
        .branch(&other, &["UPDATE t SET v = 11 WHERE id = 1"])
        .await;
    scene.roll_back(tx).await;
    assert_eq!(scene.rows(all(DB::KIND)).await, ["1 11", "2 20"]);
    scene.roll_back(other).await;
    assert_eq!(scene.rows(all(DB::KIND)).await, before);
}

/// The branches of one transaction that touch one row are undone, the newest first.
async fn branches_of_one_row_are_undone_in_reverse<DB: Tried>() {
    let Some(scene) = scene::<DB>(TABLE).await else {
        return;
    };
    let before = scene.rows(all(DB::KIND)).await;
    let tx = scene.begin().await;
    for v in 1..=3 {
        let sql = format!("UPDATE t SET v = {v} WHERE id = 1");
        scene.branch(&tx, &[&sql]).await;
    }
    assert_eq!(scene.seata.metrics().branches, 3);
    scene.roll_back(tx).await;
    assert_eq!(scene.rows(all(DB::KIND)).await, before);
}

/// A statement that the database refuses: SQLite and MariaDB go on, PostgreSQL wants a savepoint.
async fn after_a_violated_key<DB: Tried>() {
    let Some(scene) = scene::<DB>(TABLE).await else {
        return;
    };
    let before = scene.rows(all(DB::KIND)).await;
    let tx = scene.begin().await;
    let mut branch = scene.at.begin_pooled(&tx).await.expect("a branch");
    branch.savepoint("s").await.expect("set");
    let failed = run(&mut branch, "INSERT INTO t (id, v) VALUES (1, 1)").await;
    match failed {
        Err(Error::Database(sqlx::Error::Database(error))) => assert!(error.is_unique_violation()),
        other => panic!("{:?}", other.map(|_| ())),
    }
    if DB::KIND == Kind::Postgres {
        let next = run(&mut branch, "UPDATE t SET v = 0").await;
        assert!(matches!(next, Err(Error::Unusable(_))));
        branch.rollback_to("s").await.expect("back");
    }
    run(&mut branch, "UPDATE t SET v = 5 WHERE id = 1")
        .await
        .expect("goes on");
    branch.commit().await.expect("committed");
    assert_eq!(scene.rows(all(DB::KIND)).await, ["1 5", "2 20"]);
    scene.roll_back(tx).await;
    assert_eq!(scene.rows(all(DB::KIND)).await, before);
}

/// What could not be undone is refused, and nothing of it ran.
async fn refused_statements_do_not_run<DB: Tried>() {
    let Some(scene) = scene::<DB>(TABLE).await else {
        return;
    };
    let before = scene.rows(all(DB::KIND)).await;
    let tx = scene.begin().await;
    let mut branch = scene.at.begin_pooled(&tx).await.expect("a branch");
    for sql in [
        "INSERT INTO t (id, v) SELECT id + 10, v FROM t",
        "UPDATE t SET v = 0 WHERE id IN (SELECT id FROM t)",
        "UPDATE t SET id = 5 WHERE id = 1",
        "DROP TABLE t",
        "CREATE TABLE u (id INT PRIMARY KEY)",
        "COMMIT",
        "UPDATE t SET v = 0; DELETE FROM t",
        "this is no statement",
    ] {
        let refused = run(&mut branch, sql).await;
        assert!(
            matches!(refused, Err(Error::Refused(_))),
            "{sql}: {:?}",
            refused.map(|_| ())
        );
    }
    run(&mut branch, "UPDATE t SET v = 1 WHERE id = 1")
        .await
        .expect("goes on");
    branch.rollback().await.expect("rolled back");
    assert_eq!(scene.rows(all(DB::KIND)).await, before);
    scene.commit(tx).await;
}

/// A global transaction that has ended takes no branch, and nothing of the branch stays.
async fn a_branch_that_comes_too_late_is_rolled_back<DB: Tried>() {
    let Some(scene) = scene::<DB>(TABLE).await else {
        return;
    };
    let before = scene.rows(all(DB::KIND)).await;
    let tx = scene.begin().await;
    let mut branch = scene.at.begin_pooled(&tx).await.expect("a branch");
    run(&mut branch, "UPDATE t SET v = 0")
        .await
        .expect("updated");
    scene.roll_back(tx).await;
    let late = branch.commit().await;
    assert!(matches!(late, Err(Error::NotActive { .. })), "{late:?}");
    assert_eq!(scene.rows(all(DB::KIND)).await, before);
    assert!(scene.undo_rows().await.is_empty());
}

/// Without a global transaction around it a branch is a plain local transaction.
async fn outside_of_transactions_nothing_is_recorded<DB: Tried>() {
    use seamio::client::{Propagation, TxOptions};
    let Some(scene) = scene::<DB>(TABLE).await else {
        return;
    };
    let at = scene.at.clone();
    let options = TxOptions::new("plain").propagation(Propagation::NotSupported);
    let done = scene.seata.transaction(options, |tx| async move {
        let mut branch = at.begin_pooled(&tx).await?;
        run(&mut branch, "UPDATE t SET v = v + 1").await?;
        branch.commit().await
    });
    done.await.expect("done");
    assert_eq!(scene.rows(all(DB::KIND)).await, ["1 11", "2 21"]);
    assert_eq!(scene.seata.metrics().branches, 0);
    assert!(scene.undo_rows().await.is_empty());
}

/// The business fails: what was committed locally is undone.
async fn a_failed_transaction_is_undone<DB: Tried>() {
    let Some(scene) = scene::<DB>(TABLE).await else {
        return;
    };
    let before = scene.rows(all(DB::KIND)).await;
    let at = scene.at.clone();
    let options = seamio::client::TxOptions::new("fails");
    let seen = std::sync::Arc::new(std::sync::Mutex::new(None));
    let kept = std::sync::Arc::clone(&seen);
    let failed = scene.seata.transaction(options, |tx| async move {
        *kept.lock().expect("a lock") = Some(tx.clone());
        at.run(&tx, |branch| {
            Box::pin(async move {
                run(branch, "UPDATE t SET v = 0").await?;
                Ok::<(), Error>(())
            })
        })
        .await?;
        Err::<(), Error>(Error::InTransaction)
    });
    assert!(failed.await.is_err());
    let tx = seen.lock().expect("a lock").take().expect("it began");
    until("rolled back", || async {
        matches!(
            tx.status().await,
            Ok(GlobalStatus::Rollbacked | GlobalStatus::Finished)
        )
    })
    .await;
    assert_eq!(scene.rows(all(DB::KIND)).await, before);
    assert!(scene.undo_rows().await.is_empty());
}

/// What the coordinator has asked for when the client is closed is done before it ends: here an undo log that somebody keeps from
/// being deleted.
async fn a_client_that_is_closed_deletes_its_undo_logs<DB: Tried>()
where
    for<'c> &'c mut DB::Connection: sqlx::Executor<'c, Database = DB>,
{
    let Some(scene) = scene::<DB>(TABLE).await else {
        return;
    };
    let tx = scene.begin().await;
    scene
        .branch(&tx, &["UPDATE t SET v = 0 WHERE id = 1"])
        .await;
    let mut other = scene.pool().begin().await.expect("begun");
    let kept = sqlx::raw_sql("UPDATE undo_log SET log_status = 0");
    kept.execute(&mut *other).await.expect("kept");
    let outcome = tx.commit().await;
    assert!(outcome.is_committed(), "{outcome:?}");
    until("asked", || async { scene.seata.metrics().phase_two == 1 }).await;
    let seata = scene.seata.clone();
    let closing = tokio::spawn(async move { seata.close(PATIENCE).await });
    other.rollback().await.expect("let go");
    closing.await.expect("closed");
    assert_eq!(scene.undo_rows().await, [""; 0]);
}

/// MySQL would put a row back that has 0 for its counted key, under another number.
async fn a_row_that_would_come_back_as_another_is_not_deleted<DB: Tried>() {
    if DB::KIND != Kind::MariaDb {
        return;
    }
    let table = "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v INT);
        INSERT INTO t (v) VALUES (10), (20); UPDATE t SET id = 0 WHERE id = 1;";
    let Some(scene) = scene::<DB>(table).await else {
        return;
    };
    let tx = scene.begin().await;
    let mut branch = scene.at.begin_pooled(&tx).await.expect("a branch");
    let refused = run(&mut branch, "DELETE FROM t WHERE v < 15").await;
    let Err(Error::Refused(refused)) = refused else {
        panic!("{:?}", refused.map(|_| ()));
    };
    assert!(refused.to_string().contains("another number"), "{refused}");
    run(&mut branch, "DELETE FROM t WHERE v > 15")
        .await
        .expect("goes on");
    branch.commit().await.expect("committed");
    assert_eq!(scene.rows(all(DB::KIND)).await, ["0 10"]);
    scene.roll_back(tx).await;
    assert_eq!(scene.rows(all(DB::KIND)).await, ["0 10", "2 20"]);
}

/// Nothing ties a branch to the thread that began it: runtimes with several move their tasks about.
#[tokio::test]
async fn branches_run_in_spawned_tasks() {
    let scene = scene::<Sqlite>(TABLE).await.expect("no server is needed");
    let tx = scene.begin().await;
    let (at, handle, pool) = (scene.at.clone(), GlobalTx::clone(&tx), scene.pool().clone());
    let task = tokio::spawn(async move {
        let mut conn = pool.acquire().await?;
        let mut branch = at.begin(&handle, &mut conn).await?;
        sqlx::query("UPDATE t SET v = 11 WHERE id = 1")
            .execute(&mut branch)
            .await?;
        branch.commit().await?;
        let mut branch = at.global_lock(&mut conn).await?;
        let found = sqlx::query("SELECT v FROM t")
            .fetch_all(&mut branch)
            .await?;
        branch.rollback().await?;
        drop(conn);
        let mut branch = at.begin_pooled(&handle).await?;
        branch
            .execute(query("UPDATE t SET v = 21 WHERE id = 2"))
            .await?;
        branch.commit().await?;
        at.run(&handle, |branch| {
            Box::pin(async move {
                branch
                    .execute(query("UPDATE t SET s = 'due' WHERE id = 2"))
                    .await?;
                Ok::<(), Error>(())
            })
        })
        .await?;
        Ok::<usize, Error>(found.len())
    });
    assert_eq!(task.await.expect("no panic").expect("done"), 2);
    assert_eq!(scene.rows(all(Kind::Sqlite)).await, ["1 11", "2 21"]);
    scene.roll_back(tx).await;
    assert_eq!(scene.rows(all(Kind::Sqlite)).await, ["1 10", "2 20"]);
}

on_every_database!(
    a_client_that_is_closed_deletes_its_undo_logs,
    nothing_changed_is_no_branch,
    queries_of_sqlx_run_on_a_branch,
    an_unfinished_branch_never_was,
    savepoints,
    branches_of_one_row_are_undone_in_reverse,
    after_a_violated_key,
    refused_statements_do_not_run,
    a_branch_that_comes_too_late_is_rolled_back,
    outside_of_transactions_nothing_is_recorded,
    a_failed_transaction_is_undone,
    a_row_that_would_come_back_as_another_is_not_deleted,
);
