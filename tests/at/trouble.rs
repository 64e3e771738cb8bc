//! What others do meanwhile, and what is too large, too old or not there.

use seamio::client::NewBranch;
use seamio::client::at::undo_log::Compressor;
use seamio::client::at::{AtOptions, Error, query};
use seamio::proto::status::{BranchType, GlobalStatus};

use crate::database::{Kind, Tried};
use crate::fixture::{run, scene, scene_with, until};

const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY, v INT, w INT);
    INSERT INTO t (id, v, w) VALUES (1, 10, 1), (2, 20, 2);";

fn all(kind: Kind) -> &'static str {
    match kind {
        Kind::MariaDb => "SELECT CONCAT(id, ' ', v, ' ', w) FROM t ORDER BY id",
        _ => {
            "SELECT CAST(id AS text) || ' ' || CAST(v AS text) || ' ' || CAST(w AS text) FROM t ORDER BY id"
        }
    }
}

/// A row that somebody else changed since is not overwritten: the rollback stops, and keeps what could undo it.
async fn a_dirty_row_is_not_overwritten<DB: Tried>() {
    let Some(scene) = scene::<DB>(TABLE).await else {
        return;
    };
    let tx = scene.begin().await;
    scene
        .branch(
            &tx,
            &[
                "UPDATE t SET v = 11 WHERE id = 1",
                "UPDATE t SET v = 21 WHERE id = 2",
            ],
        )
        .await;
    scene.outside("UPDATE t SET v = 999 WHERE id = 1").await;
    let handle = (*tx).clone();
    let _ = tx.rollback().await;
    until("given up", || async {
        handle.status().await == Ok(GlobalStatus::RollbackFailed)
    })
    .await;
    // The second row was undone first, and is taken back with all the rest.
    assert_eq!(scene.rows(all(DB::KIND)).await, ["1 999 1", "2 21 2"]);
    assert_eq!(scene.undo_rows().await, ["0"]);
}

/// Changes of other columns are nobody's harm, and survive.
async fn other_columns_may_change<DB: Tried>() {
    let Some(scene) = scene::<DB>(TABLE).await else {
        return;
    };
    let tx = scene.begin().await;
    scene
        .branch(&tx, &["UPDATE t SET v = 11 WHERE id = 1"])
        .await;
    scene.outside("UPDATE t SET w = 77 WHERE id = 1").await;
    scene.roll_back(tx).await;
    assert_eq!(scene.rows(all(DB::KIND)).await, ["1 10 77", "2 20 2"]);
}

/// Somebody has put the row back by hand already.
async fn a_row_that_is_undone_already_is_fine<DB: Tried>() {
    let Some(scene) = scene::<DB>(TABLE).await else {
        return;
    };
    let tx = scene.begin().await;
    scene.branch(&tx, &["DELETE FROM t WHERE id = 1"]).await;
    scene.outside("INSERT INTO t VALUES (1, 10, 1)").await;
    scene.roll_back(tx).await;
    assert_eq!(scene.rows(all(DB::KIND)).await, ["1 10 1", "2 20 2"]);
    assert!(scene.undo_rows().await.is_empty());
}

/// A branch that was registered and never committed here: its rollback leaves a row that a late commit would meet.
async fn a_late_phase_one_is_kept_out<DB: Tried>() {
    let Some(scene) = scene::<DB>(TABLE).await else {
        return;
    };
    let tx = scene.begin().await;
    let branch = NewBranch {
        xid: tx.xid().clone(),
        branch_type: BranchType::At,
        resource_id: scene.at.resource_id().to_owned().into(),
        lock_key: "t:1".to_owned().into(),
        application_data: String::new().into(),
    };
    let branch_id = scene.seata.rm().register_branch(branch).await;
    let branch_id = branch_id.expect("registered").0;
    let xid = tx.xid().to_string();
    scene.roll_back(tx).await;
    assert_eq!(scene.undo_rows().await, ["1"]);
    let (now, blob) = match DB::KIND {
        Kind::MariaDb => ("NOW(6)", "'{}'"),
        Kind::Postgres => ("now()", "'\\x7b7d'"),
        Kind::Sqlite => ("'2024-01-01'", "x'7b7d'"),
    };
    let late = format!(
        "INSERT INTO undo_log (branch_id, xid, context, rollback_info, log_status, log_created, log_modified) \
         VALUES ({branch_id}, '{xid}', 'serializer=jackson', {blob}, 0, {now}, {now})"
    );
    let late = DB::script(scene.pool(), &late).await;
    match late {
        Err(sqlx::Error::Database(error)) => assert!(error.is_unique_violation()),
        other => panic!("{other:?}"),
    }
}

/// A column that came after the table was described.
async fn an_altered_table_is_described_again<DB: Tried>() {
    let Some(scene) = scene::<DB>(TABLE).await else {
        return;
    };
    let tx = scene.begin().await;
    scene
        .branch(&tx, &["UPDATE t SET v = 11 WHERE id = 1"])
        .await;
    scene.commit(tx).await;
    scene
        .outside("ALTER TABLE t ADD COLUMN x INT DEFAULT 5")
        .await;
    let tx = scene.begin().await;
    scene
        .branch(&tx, &["UPDATE t SET x = 6 WHERE id = 1"])
        .await;
    scene.roll_back(tx).await;
    let text = match DB::KIND {
        Kind::MariaDb => "char",
        _ => "text",
    };
    let sql = format!("SELECT CAST(x AS {text}) FROM t ORDER BY id");
    assert_eq!(scene.rows(&sql).await, ["5", "5"]);
}

/// More rows than one query of an image takes.
async fn thousands_of_rows<DB: Tried>() {
    let Some(scene) = scene::<DB>("CREATE TABLE t (id INT PRIMARY KEY, v INT, w INT);").await
    else {
        return;
    };
    let rows: Vec<String> = (0..2500).map(|id| format!("({id}, {id}, 0)")).collect();
    let insert = format!("INSERT INTO t (id, v, w) VALUES {}", rows.join(", "));
    let tx = scene.begin().await;
    scene.branch(&tx, &[&insert]).await;
    scene.commit(tx).await;
    let before = scene.rows(all(DB::KIND)).await;
    assert_eq!(before.len(), 2500);
    let tx = scene.begin().await;
    scene
        .branch(
            &tx,
            &["UPDATE t SET v = v + 1", "DELETE FROM t WHERE id >= 1000"],
        )
        .await;
    assert_eq!(scene.rows(all(DB::KIND)).await.len(), 1000);
    scene.roll_back(tx).await;
    assert!(scene.rows(all(DB::KIND)).await == before);
}

/// An undo log larger than a packet lies in several rows.
async fn an_undo_log_beyond_a_packet<DB: Tried>() {
    let plain = |mut options: AtOptions| {
        options.format.compressor = Compressor::None;
        options
    };
    let tables = "CREATE TABLE t (id INT PRIMARY KEY, v INT, w LONGTEXT);";
    if DB::KIND != Kind::MariaDb {
        return;
    }
    let Some(scene) = scene_with::<DB>(tables, plain).await else {
        return;
    };
    for id in 1..=3 {
        let large = "x".repeat(4 << 20);
        scene
            .outside(&format!("INSERT INTO t VALUES ({id}, 0, '{large}')"))
            .await;
    }
    let lengths = "SELECT CONCAT(id, ' ', LENGTH(w), ' ', MD5(w)) FROM t ORDER BY id";
    let before = scene.rows(lengths).await;
    let tx = scene.begin().await;
    scene
        .branch(&tx, &["UPDATE t SET w = REVERSE(CONCAT(w, 'y'))"])
        .await;
    assert!(scene.undo_rows().await.len() > 1);
    scene.roll_back(tx).await;
    assert!(scene.rows(lengths).await == before);
    assert!(scene.undo_rows().await.is_empty());
    let tx = scene.begin().await;
    scene
        .branch(&tx, &["UPDATE t SET w = REVERSE(CONCAT(w, 'y'))"])
        .await;
    scene.commit(tx).await;
}

/// Without the table of the undo log a resource does not start, and says how to make it.
async fn the_undo_log_has_to_be_there<DB: Tried>() {
    let Some(scene) = scene::<DB>(TABLE).await else {
        return;
    };
    let mut options = AtOptions::new("jdbc:test:two");
    options.undo_table = "undo_of_another".to_owned();
    let refused = scene.seata.at(scene.pool().clone(), options.clone()).await;
    let Err(Error::NotPrepared(text)) = refused else {
        panic!("started without an undo log");
    };
    assert!(text.contains("CREATE TABLE"), "{text}");
    // A table without the index that keeps a late phase one out is none.
    let blob = match DB::KIND {
        Kind::Postgres => "BYTEA",
        _ => "BLOB",
    };
    scene
        .outside(&format!(
            "CREATE TABLE undo_of_another (branch_id BIGINT, xid VARCHAR(128), context VARCHAR(128), rollback_info {blob}, \
             log_status INT, log_created TIMESTAMP, log_modified TIMESTAMP)"
        ))
        .await;
    let refused = scene.seata.at(scene.pool().clone(), options).await;
    let Err(Error::NotPrepared(text)) = refused else {
        panic!("started without the index");
    };
    assert!(text.contains("unique index"), "{text}");
}

/// Tables that rows cannot be found in again.
async fn tables_without_a_key_and_views_are_refused<DB: Tried>() {
    let tables = "CREATE TABLE t (id INT, v INT); CREATE VIEW w AS SELECT id, v FROM t;";
    let Some(scene) = scene::<DB>(tables).await else {
        return;
    };
    let tx = scene.begin().await;
    let mut branch = scene.at.begin_pooled(&tx).await.expect("a branch");
    let keyless = branch.execute(query("UPDATE t SET v = 1")).await;
    assert!(matches!(keyless, Err(Error::Refused(_))));
    let view = branch.execute(query("UPDATE w SET v = 1")).await;
    assert!(matches!(view, Err(Error::NoTable { .. })));
    branch.rollback().await.expect("rolled back");
}

/// A trigger of the table keeps a row from being changed: the image shows another count, and the branch cannot commit.
async fn a_statement_that_changes_other_rows_is_rolled_back<DB: Tried>() {
    if DB::KIND != Kind::Postgres {
        return;
    }
    let tables = format!(
        "{TABLE} CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
         CREATE TRIGGER skip BEFORE UPDATE ON t FOR EACH ROW WHEN (OLD.id = 1) EXECUTE FUNCTION skip();"
    );
    let Some(scene) = scene::<DB>(&tables).await else {
        return;
    };
    let tx = scene.begin().await;
    let mut branch = scene.at.begin_pooled(&tx).await.expect("a branch");
    let differs = run(&mut branch, "UPDATE t SET v = 0").await;
    assert!(matches!(differs, Err(Error::RowsDiffer { .. })));
    let ended = branch.commit().await;
    assert!(matches!(ended, Err(Error::Unusable(_))), "{ended:?}");
    assert_eq!(scene.rows(all(DB::KIND)).await, ["1 10 1", "2 20 2"]);
}

/// The connection is lost while the database commits: nothing is reported, so the branch is not forgotten.
async fn an_unknown_commit_reports_nothing<DB: Tried>() {
    if DB::KIND != Kind::Postgres {
        return;
    }
    let tables = format!(
        "{TABLE} CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(5); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER die AFTER UPDATE ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die();"
    );
    let Some(scene) = scene::<DB>(&tables).await else {
        return;
    };
    let tx = scene.begin().await;
    let mut branch = scene.at.begin_pooled(&tx).await.expect("a branch");
    run(&mut branch, "UPDATE t SET v = 0")
        .await
        .expect("updated");
    let ended = branch.commit().await;
    assert!(
        matches!(
            ended,
            Err(Error::OutcomeUnknown {
                branch_id: Some(_),
                ..
            })
        ),
        "{ended:?}"
    );
    // The branch is still known: its rollback keeps the lost one out.
    scene.roll_back(tx).await;
    assert_eq!(scene.rows(all(DB::KIND)).await, ["1 10 1", "2 20 2"]);
    assert_eq!(scene.undo_rows().await, ["1"]);
}

on_every_database!(
    a_dirty_row_is_not_overwritten,
    other_columns_may_change,
    a_row_that_is_undone_already_is_fine,
    a_late_phase_one_is_kept_out,
    an_altered_table_is_described_again,
    thousands_of_rows,
    an_undo_log_beyond_a_packet,
    the_undo_log_has_to_be_there,
    tables_without_a_key_and_views_are_refused,
    a_statement_that_changes_other_rows_is_rolled_back,
    an_unknown_commit_reports_nothing,
);
