//! Connections whose settings would have statements read, or values put back, wrongly.

use seamio::client::at::{At, AtOptions, Error};
use sqlx::{Connection as _, Executor, MySql, Pool, Postgres};

use crate::database::Tried;
use crate::fixture::{Scene, run, scene, until};

const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY, v INT, s VARCHAR(20));
    INSERT INTO t (id, v, s) VALUES (1, 10, 'a');";

/// Tries to begin a branch on a connection that was set in this way, and gives the complaint.
async fn refused<DB: Tried>(scene: &Scene<DB>, set: &'static str) -> String
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    let tx = scene.begin().await;
    let mut conn = scene.pool().acquire().await.expect("a connection").detach();
    set_on::<DB>(&mut conn, set).await;
    let error = match scene.at.begin(&tx, &mut conn).await {
        Err(Error::Session(text)) => text,
        other => panic!("{set}: {other:?}"),
    };
    // The connection is as it was, and in no transaction.
    set_on::<DB>(&mut conn, "SELECT 1").await;
    let plain = conn.begin().await.expect("begun");
    plain.rollback().await.expect("rolled back");
    let _ = tx.rollback().await;
    error
}

async fn set_on<DB: Tried>(conn: &mut DB::Connection, sql: &'static str)
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    let done = sqlx::raw_sql(sql).execute(conn).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_sessions_that_read_otherwise_are_refused() {
    let Some(scene) = scene::<MySql>(TABLE).await else {
        return;
    };
    for (set, named) in [
        ("SET sql_mode = 'ANSI_QUOTES'", "ANSI_QUOTES"),
        ("SET sql_mode = 'ANSI'", "ANSI_QUOTES"),
        (
            "SET sql_mode = 'NO_BACKSLASH_ESCAPES'",
            "NO_BACKSLASH_ESCAPES",
        ),
        ("SET sql_mode = 'PAD_CHAR_TO_FULL_LENGTH'", "PAD_CHAR"),
        (
            "SET sql_mode = 'EMPTY_STRING_IS_NULL'",
            "EMPTY_STRING_IS_NULL",
        ),
        ("SET sql_select_limit = 1", "sql_select_limit"),
        ("SET NAMES latin1", "character_set_client"),
        (
            "SET character_set_results = utf8mb3",
            "character_set_client",
        ),
        ("SET time_zone = '+08:00'", "time_zone is +08:00"),
        ("USE mysql", "the database is mysql"),
    ] {
        let error = refused(&scene, set).await;
        assert!(error.contains(named), "{set}: {error}");
        assert!(error.contains("Set all connections"), "{set}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_sessions_that_read_otherwise_are_refused() {
    let Some(scene) = scene::<Postgres>(TABLE).await else {
        return;
    };
    scene.outside("CREATE SCHEMA other").await;
    for (set, named) in [
        (
            "SET standard_conforming_strings = off",
            "standard_conforming_strings is off and has to be on",
        ),
        ("SET client_encoding = 'LATIN1'", "client_encoding"),
        ("SET DateStyle = 'German'", "DateStyle is German"),
        ("SET extra_float_digits = 0", "extra_float_digits"),
        ("SET IntervalStyle = 'sql_standard'", "IntervalStyle"),
        ("SET TIME ZONE 'Asia/Shanghai'", "TimeZone is Asia/Shanghai"),
        ("SET bytea_output = 'escape'", "bytea_output"),
        (
            "SET search_path = other, public",
            "search_path is {other,public}",
        ),
    ] {
        let error = refused(&scene, set).await;
        assert!(error.contains(named), "{set}: {error}");
        assert!(error.contains("Set all connections"), "{set}: {error}");
    }
}

/// A connection of the pool that somebody set and gave back: refused, and not left in a transaction.
async fn a_pooled_session_is_looked_at_too<DB: Tried>(set: &'static str, back: &'static str)
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    let Some(scene) = scene::<DB>(TABLE).await else {
        return;
    };
    let tx = scene.begin().await;
    let mut all = Vec::new();
    while let Some(conn) = scene.pool().try_acquire() {
        all.push(conn);
    }
    while all.len() < 4 {
        all.push(scene.pool().acquire().await.expect("a connection"));
    }
    for conn in &mut all {
        set_on::<DB>(conn, set).await;
    }
    drop(all);
    for _ in 0..8 {
        let begun = scene.at.begin_pooled(&tx).await;
        assert!(matches!(begun, Err(Error::Session(_))), "{begun:?}");
    }
    // Without a global transaction nothing has to be read.
    let mut conn = scene.pool().acquire().await.expect("a connection");
    set_on::<DB>(&mut conn, back).await;
    let mut branch = scene.at.begin(&tx, &mut conn).await.expect("fits again");
    run(&mut branch, "UPDATE t SET v = 11 WHERE id = 1")
        .await
        .expect("updated");
    branch.commit().await.expect("committed");
    drop(conn);
    let mut all = Vec::new();
    while all.len() < 4 {
        all.push(scene.pool().acquire().await.expect("a connection"));
    }
    for conn in &mut all {
        set_on::<DB>(conn, back).await;
    }
    drop(all);
    scene.roll_back(tx).await;
    assert!(scene.undo_rows().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pooled_sessions_of_mariadb() {
    a_pooled_session_is_looked_at_too::<MySql>(
        "SET SESSION sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES')",
        "SET SESSION sql_mode = REPLACE(@@sql_mode, 'ANSI_QUOTES', '')",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pooled_sessions_of_postgres() {
    a_pooled_session_is_looked_at_too::<Postgres>(
        "SET standard_conforming_strings = off",
        "SET standard_conforming_strings = on",
    )
    .await;
}

/// What was done past a branch is found out before the next statement is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_made_past_a_branch_end_it() {
    let Some(scene) = scene::<MySql>(TABLE).await else {
        return;
    };
    let tx = scene.begin().await;
    let mut branch = scene.at.begin_pooled(&tx).await.expect("a branch");
    let past = sqlx::raw_sql("SET sql_mode = 'ANSI_QUOTES'");
    past.execute(branch.bypass()).await.expect("set");
    let done = run(&mut branch, "UPDATE t SET s = \"v\" WHERE id = 1").await;
    assert!(matches!(done, Err(Error::Session(_))), "{done:?}");
    let error = branch.commit().await.expect_err("it cannot go on");
    assert!(error.to_string().contains("ANSI_QUOTES"), "{error}");
    assert_eq!(scene.rows("SELECT s FROM t").await, ["a"]);
    let _ = tx.rollback().await;
}

/// Statements that set such things are not run, others are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn branches_do_not_change_what_they_are_read_by() {
    if let Some(scene) = scene::<MySql>(TABLE).await {
        let set = [
            "SET NAMES latin1",
            "SET CHARACTER SET latin1",
            "SET time_zone = '+08:00'",
        ];
        check_set(&scene, &set, "SET lock_wait_timeout = 50").await;
    }
    if let Some(scene) = scene::<Postgres>(TABLE).await {
        let set = [
            "SET TIME ZONE 'Asia/Shanghai'",
            "SET LOCAL TimeZone = 'Asia/Shanghai'",
            "SET DateStyle = 'SQL, DMY'",
            "SET SESSION AUTHORIZATION DEFAULT",
            "SELECT set_config('search_path', 'other', true)",
        ];
        // The guard left no snapshot, so the level of isolation can still be chosen.
        check_set(&scene, &set, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").await;
    }
}

async fn check_set<DB: Tried>(scene: &Scene<DB>, refused: &[&str], passed: &str) {
    let tx = scene.begin().await;
    let mut branch = scene.at.begin_pooled(&tx).await.expect("a branch");
    run(&mut branch, passed).await.expect("set");
    for sql in refused {
        let done = run(&mut branch, sql).await;
        assert!(
            matches!(done, Err(Error::Refused(_))),
            "{sql}: {}",
            done.is_ok()
        );
    }
    run(&mut branch, "UPDATE t SET v = 11 WHERE id = 1")
        .await
        .expect("updated");
    branch.commit().await.expect("committed");
    scene.roll_back(tx).await;
}

/// In another zone than UTC, TIMESTAMP cannot be put back for sure; everything else can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timestamps_of_mariadb_need_utc() {
    let tables = "CREATE TABLE t (id INT PRIMARY KEY, v INT);
        CREATE TABLE u (id INT PRIMARY KEY, at TIMESTAMP NULL);
        INSERT INTO t VALUES (1, 10); INSERT INTO u VALUES (1, '2026-01-01 00:00:00');";
    let Some(scene) = scene::<MySql>(tables).await else {
        return;
    };
    let options = (*scene.pool().connect_options()).clone();
    let pool: Pool<MySql> = Pool::connect_lazy_with(options.timezone("+08:00".to_owned()));
    let options = AtOptions::new("jdbc:test:local");
    let at: At<MySql> = scene.seata.at(pool, options).await.expect("prepared");
    let tx = scene.begin().await;
    let mut branch = at.begin_pooled(&tx).await.expect("a branch");
    run(&mut branch, "UPDATE t SET v = 11 WHERE id = 1")
        .await
        .expect("updated");
    let done = run(&mut branch, "DELETE FROM u WHERE id = 1").await;
    let error = done.expect_err("refused").to_string();
    assert!(error.contains("u.at is a TIMESTAMP"), "{error}");
    branch.commit().await.expect("committed");
    let _ = tx.rollback().await;
    until("undone", || async {
        scene.rows("SELECT CAST(v AS CHAR) FROM t").await == ["10"]
    })
    .await;
}

/// A pool that nothing could be read with is refused when it is prepared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_reads_otherwise_is_no_resource() {
    let Some(scene) = scene::<Postgres>(TABLE).await else {
        return;
    };
    let options = (*scene.pool().connect_options()).clone();
    let options = options.options([("standard_conforming_strings", "off")]);
    let pool = Pool::<Postgres>::connect_lazy_with(options);
    let prepared = scene.seata.at(pool, AtOptions::new("jdbc:test:off")).await;
    let error = prepared.expect_err("refused").to_string();
    assert!(
        error.contains("standard_conforming_strings is off"),
        "{error}"
    );
}
