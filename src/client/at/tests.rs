//! Branches against a coordinator that answers as a test says: what is asked and reported, and when.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{Connection as _, Sqlite, SqlitePool};

use super::branch::{AtBranch, Mode, Unit};
use super::coordination::Coordination;
use super::local::Local;
use super::resource::AtResource;
use super::{AtOptions, Error, LockCall, LockStrategy, Purge, query, start};
use crate::client::resource::{BoxFuture, PhaseTwo, Resource as _};
use crate::client::{BranchError, Error as ClientError, LockQuery, NewBranch};
use crate::proto::Text;
use crate::proto::message::BranchReport;
use crate::proto::status::BranchStatus;
use crate::xid::BranchId;

/// A coordinator that does as it is told and writes down what it was asked.
#[derive(Default)]
struct Told {
    answers: Mutex<VecDeque<Result<BranchId, BranchError>>>,
    registered: Mutex<Vec<NewBranch>>,
    reported: Mutex<Vec<BranchStatus>>,
    spawned: Mutex<Vec<BoxFuture<()>>>,
}

impl Coordination for Told {
    fn register(&self, branch: NewBranch) -> BoxFuture<Result<BranchId, BranchError>> {
        self.registered.lock().expect("a lock").push(branch);
        let answer = self.answers.lock().expect("a lock").pop_front();
        Box::pin(std::future::ready(answer.unwrap_or(Ok(BranchId(7)))))
    }

    fn report(&self, report: BranchReport) -> BoxFuture<Result<(), ClientError>> {
        self.reported.lock().expect("a lock").push(report.status);
        Box::pin(std::future::ready(Ok(())))
    }

    fn is_lockable(&self, _: LockQuery) -> BoxFuture<Result<bool, ClientError>> {
        Box::pin(std::future::ready(Ok(true)))
    }

    fn sleep(&self, _: Duration) -> BoxFuture<()> {
        Box::pin(std::future::ready(()))
    }

    fn spawn(&self, future: BoxFuture<()>) {
        self.spawned.lock().expect("a lock").push(future);
    }
}

const XID: &str = "127.0.0.1:8091:1";

async fn resource(
    tables: &'static str,
    change: impl FnOnce(AtOptions) -> AtOptions,
) -> (Arc<AtResource<Sqlite>>, Arc<Told>) {
    let options = SqliteConnectOptions::new()
        .in_memory(true)
        .foreign_keys(true);
    // One connection: each has a database of its own in memory.
    let pool = SqlitePoolOptions::new().max_connections(1);
    let pool: SqlitePool = pool.connect_with(options).await.expect("memory");
    sqlx::raw_sql(tables).execute(&pool).await.expect(tables);
    let told = Arc::new(Told::default());
    let options = change(AtOptions::new("jdbc:sqlite:memory").create_undo_log());
    let opened = start::open(pool, options, Arc::clone(&told) as Arc<dyn Coordination>).await;
    (opened.expect("prepared"), told)
}

async fn branch(resource: &Arc<AtResource<Sqlite>>, unit: Unit) -> AtBranch<'static, Sqlite> {
    branch_of_call(resource, unit, None).await
}

async fn branch_of_call(
    resource: &Arc<AtResource<Sqlite>>,
    unit: Unit,
    call: Option<LockCall>,
) -> AtBranch<'static, Sqlite> {
    let conn = resource.pool.acquire().await.expect("a connection");
    let begun = Local::begin_checked(conn, &resource.session).await;
    let mode = Mode::Global(Text::from(XID.to_owned()));
    AtBranch::new(
        Arc::clone(resource),
        begun.expect("begun"),
        mode,
        unit,
        call,
    )
}

async fn number(resource: &AtResource<Sqlite>, sql: &'static str) -> i64 {
    let read = sqlx::query_scalar(sql).fetch_one(&resource.pool).await;
    read.expect(sql)
}

const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, v INT); INSERT INTO t VALUES (1, 10)";

#[tokio::test]
async fn a_branch_is_registered_with_its_rows() {
    let (resource, told) = resource(TABLE, |options| options).await;
    let mut branch = branch(&resource, Unit::Explicit).await;
    let update = query("UPDATE t SET v = ?1 WHERE id = 1").bind(11);
    branch.execute(update).await.expect("updated");
    let insert = query("INSERT INTO t (v) VALUES (1), (2)");
    branch.execute(insert).await.expect("inserted");
    branch.commit().await.expect("committed");
    let registered = told.registered.lock().expect("a lock").clone();
    assert_eq!(registered.len(), 1);
    assert_eq!(registered[0].xid.as_str(), XID);
    assert_eq!(registered[0].lock_key.as_str(), "t:1;t:2,3");
    assert_eq!(
        registered[0].application_data.as_str(),
        r#"{"autoCommit":false}"#
    );
    assert!(told.reported.lock().expect("a lock").is_empty());
    let log = "SELECT COUNT(*) FROM undo_log WHERE branch_id = 7 AND log_status = 0";
    assert_eq!(number(&resource, log).await, 1);
}

#[tokio::test]
async fn only_a_branch_that_cannot_be_repeated_asks_again() {
    let conflict = || {
        Err(BranchError::LockConflict {
            message: "held".to_owned(),
        })
    };
    let fail_fast = || {
        Err(BranchError::LockConflictFailFast {
            message: "rolls back".to_owned(),
        })
    };
    for (unit, answers, asked) in [
        (Unit::Explicit, vec![conflict(); 40], 31),
        (Unit::Explicit, vec![conflict(), fail_fast()], 2),
        (Unit::Replayed { attempt: 0 }, vec![conflict()], 1),
    ] {
        let (resource, told) = resource(TABLE, |options| options).await;
        *told.answers.lock().expect("a lock") = answers.into();
        let mut branch = branch(&resource, unit).await;
        let update = query("UPDATE t SET v = 11");
        branch.execute(update).await.expect("updated");
        let refused = branch.commit().await.expect_err("held");
        assert!(refused.is_lock_conflict(), "{refused}");
        assert_eq!(told.registered.lock().expect("a lock").len(), asked);
        assert_eq!(number(&resource, "SELECT v FROM t").await, 10);
        // Nothing was registered, so there is nothing to report.
        assert!(told.reported.lock().expect("a lock").is_empty());
    }
}

/// With a way of its own, a call has its locks taken unseen at the first attempt: always, or where all its rows are new.
#[tokio::test]
async fn a_call_may_have_its_locks_taken_unseen() {
    let conflict = || {
        Err(BranchError::LockConflict {
            message: "held".to_owned(),
        })
    };
    let calm = LockCall::default();
    let sure = LockCall {
        strategy: LockStrategy::Optimistic,
        ..calm
    };
    let once = LockCall {
        times: Some(0),
        ..sure
    };
    let again = Unit::Replayed { attempt: 1 };
    let (update, insert) = ("UPDATE t SET v = 11", "INSERT INTO t (v) VALUES (1)");
    let skip = r#"{"autoCommit":false,"skipCheckLock":true}"#;
    let look = r#"{"autoCommit":false,"skipCheckLock":false}"#;
    for (call, unit, statement, conflicts, said) in [
        (calm, Unit::Explicit, update, 0, vec![look]),
        (calm, Unit::Explicit, insert, 1, vec![skip, look]),
        (sure, Unit::Explicit, update, 2, vec![skip, look, look]),
        (once, Unit::Explicit, insert, 0, vec![look]),
        (sure, again, update, 0, vec![r#"{"skipCheckLock":false}"#]),
    ] {
        let (resource, told) = resource(TABLE, |options| options).await;
        let answers = (0..conflicts).map(|_| conflict());
        *told.answers.lock().expect("a lock") = answers.collect();
        let mut branch = branch_of_call(&resource, unit, Some(call)).await;
        branch.execute(query(statement)).await.expect(statement);
        branch.commit().await.expect("committed");
        let registered = told.registered.lock().expect("a lock").clone();
        let heard = registered
            .iter()
            .map(|branch| branch.application_data.as_str());
        assert_eq!(heard.collect::<Vec<_>>(), said, "{call:?} {statement}");
    }
}

/// A call that does not want to wait asks once, whatever the patience of the resource.
#[tokio::test]
async fn a_call_may_be_less_patient_than_its_resource() {
    let (resource, told) = resource(TABLE, |options| options).await;
    let conflict = BranchError::LockConflict {
        message: "held".to_owned(),
    };
    *told.answers.lock().expect("a lock") = vec![Err(conflict)].into();
    let call = LockCall {
        times: Some(0),
        ..LockCall::default()
    };
    let mut branch = branch_of_call(&resource, Unit::Explicit, Some(call)).await;
    let update = query("UPDATE t SET v = 11");
    branch.execute(update).await.expect("updated");
    let refused = branch.commit().await.expect_err("held");
    assert!(refused.is_lock_conflict(), "{refused}");
    assert_eq!(told.registered.lock().expect("a lock").len(), 1);
}

/// The row that keeps a late phase one out was written between the registration and the undo log.
#[tokio::test]
async fn a_branch_that_was_rolled_back_meanwhile_fails() {
    let (resource, told) = resource(TABLE, |options| options).await;
    let undone = super::undo::undo_branch(&resource, XID, 7).await;
    assert_eq!(undone.expect("kept out"), super::undo::Undone::Nothing);
    let mut branch = branch(&resource, Unit::Explicit).await;
    let update = query("UPDATE t SET v = 11");
    branch.execute(update).await.expect("updated");
    let late = branch.commit().await;
    assert!(matches!(late, Err(Error::NotActive { .. })), "{late:?}");
    let reported = told.reported.lock().expect("a lock").clone();
    assert_eq!(reported, [BranchStatus::PhaseOneFailed]);
    assert_eq!(number(&resource, "SELECT v FROM t").await, 10);
    // Asked again, the rollback finds its own row.
    let undone = super::undo::undo_branch(&resource, XID, 7).await;
    assert_eq!(undone.expect("known"), super::undo::Undone::Nothing);
}

/// The database refuses the COMMIT itself: known not to be committed, so it is reported.
#[tokio::test]
async fn a_refused_commit_is_reported() {
    let tables = "CREATE TABLE p (id INTEGER PRIMARY KEY);
        CREATE TABLE t (id INTEGER PRIMARY KEY, p INT REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED)";
    let (resource, told) = resource(tables, |options| options).await;
    let mut branch = branch(&resource, Unit::Explicit).await;
    let insert = query("INSERT INTO t (id, p) VALUES (1, 99)");
    branch.execute(insert).await.expect("inserted");
    let refused = branch.commit().await;
    assert!(matches!(refused, Err(Error::Database(_))), "{refused:?}");
    let reported = told.reported.lock().expect("a lock").clone();
    assert_eq!(reported, [BranchStatus::PhaseOneFailed]);
    assert_eq!(number(&resource, "SELECT COUNT(*) FROM t").await, 0);
    assert_eq!(number(&resource, "SELECT COUNT(*) FROM undo_log").await, 0);
}

/// A statement that was cancelled half-way leaves a branch that cannot commit.
#[tokio::test]
async fn a_cancelled_statement_ends_the_branch() {
    let (resource, told) = resource(TABLE, |options| options).await;
    let mut branch = branch(&resource, Unit::Explicit).await;
    // A fast database may be done at the first look; some time it is not.
    let mut cancelled = false;
    while !cancelled {
        let update = branch.execute(query("UPDATE t SET v = 11"));
        let mut update = std::pin::pin!(update);
        cancelled = std::future::poll_fn(|cx| {
            std::task::Poll::Ready(update.as_mut().poll(cx).is_pending())
        })
        .await;
    }
    let next = branch.execute(query("UPDATE t SET v = 12")).await;
    assert!(matches!(next, Err(Error::Unusable(_))));
    let ended = branch.commit().await;
    assert!(matches!(ended, Err(Error::Unusable(_))), "{ended:?}");
    assert!(told.registered.lock().expect("a lock").is_empty());
    assert_eq!(number(&resource, "SELECT v FROM t").await, 10);
}

/// A branch is committed when its undo log is gone: what could not be deleted, the coordinator asks for again.
#[tokio::test]
async fn a_committed_branch_has_no_undo_log() {
    let (resource, told) = resource(TABLE, |options| options).await;
    let mut branch = branch(&resource, Unit::Explicit).await;
    let update = query("UPDATE t SET v = 11");
    branch.execute(update).await.expect("updated");
    branch.commit().await.expect("committed");
    let second_phase = || {
        let phase_two = PhaseTwo {
            xid: Text::from(XID.to_owned()),
            branch_id: BranchId(7),
            application_data: Text::new(),
        };
        Arc::clone(&resource).commit(phase_two)
    };
    let work = || {
        let told = Arc::clone(&told);
        tokio::spawn(async move {
            loop {
                let spawned = told.spawned.lock().expect("a lock").pop();
                match spawned {
                    Some(worker) => return worker.await,
                    None => tokio::task::yield_now().await,
                }
            }
        })
    };
    let failed = BranchStatus::PhaseTwoCommitFailedRetryable;
    let hidden = sqlx::raw_sql("ALTER TABLE undo_log RENAME TO hidden");
    hidden.execute(&resource.pool).await.expect("renamed");
    let committing = tokio::spawn(second_phase());
    let working = work();
    assert_eq!(committing.await.expect("no panic"), failed);
    // As long as the database fails, nobody waits for it.
    assert_eq!(second_phase().await, failed);
    let shown = sqlx::raw_sql("ALTER TABLE hidden RENAME TO undo_log");
    shown.execute(&resource.pool).await.expect("renamed");
    working.await.expect("no panic");
    assert_eq!(number(&resource, "SELECT COUNT(*) FROM undo_log").await, 1);
    for _ in 0..2 {
        let committing = tokio::spawn(second_phase());
        work().await.expect("no panic");
        let committed = committing.await.expect("no panic");
        assert_eq!(committed, BranchStatus::PhaseTwoCommitted);
        assert_eq!(number(&resource, "SELECT COUNT(*) FROM undo_log").await, 0);
    }
}

#[tokio::test]
async fn old_rows_that_can_still_undo_are_kept() {
    for (purge, left) in [(Purge::Finished, 2), (Purge::All, 1)] {
        let (resource, _) = resource(TABLE, |mut options| {
            options.purge = purge;
            options
        })
        .await;
        let rows = "INSERT INTO undo_log VALUES (1, 'x:1:1', '', x'', 0, '2020-01-01', ''),
            (2, 'x:1:1', '', x'', 1, '2020-01-01', ''), (3, 'x:1:1', '', x'', 1, '9999-01-01', '')";
        let inserted = sqlx::raw_sql(rows).execute(&resource.pool).await;
        inserted.expect("inserted");
        Arc::clone(&resource).delete_undo_log(0).await;
        assert_eq!(
            number(&resource, "SELECT COUNT(*) FROM undo_log").await,
            left
        );
    }
}

/// A unique value that somebody else has taken meanwhile: the second of three items cannot be undone, so none is.
#[tokio::test]
async fn an_undo_that_fails_half_way_leaves_nothing() {
    let tables = "CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT UNIQUE);
        INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')";
    let (resource, _) = resource(tables, |options| options).await;
    let mut branch = branch(&resource, Unit::Explicit).await;
    for sql in [
        "UPDATE t SET s = 'x' WHERE id = 1",
        "DELETE FROM t WHERE id = 2",
        "UPDATE t SET s = 'z' WHERE id = 3",
    ] {
        branch.execute(query(sql)).await.expect(sql);
    }
    branch.commit().await.expect("committed");
    let taken = sqlx::raw_sql("INSERT INTO t VALUES (9, 'b')")
        .execute(&resource.pool)
        .await;
    taken.expect("inserted");
    let failure = super::undo::undo_branch(&resource, XID, 7).await;
    let failure = failure.expect_err("in the way");
    assert!(!failure.is_final(), "{failure}");
    let changed = "SELECT COUNT(*) FROM t WHERE s IN ('x', 'z')";
    assert_eq!(number(&resource, changed).await, 2);
    // Out of the way, it is undone.
    let freed = sqlx::raw_sql("DELETE FROM t WHERE id = 9")
        .execute(&resource.pool)
        .await;
    freed.expect("deleted");
    let undone = super::undo::undo_branch(&resource, XID, 7).await;
    assert_eq!(undone.expect("undone"), super::undo::Undone::Restored(3));
    let restored = "SELECT COUNT(*) FROM t WHERE s IN ('a', 'b', 'c')";
    assert_eq!(number(&resource, restored).await, 3);
    assert_eq!(number(&resource, "SELECT COUNT(*) FROM undo_log").await, 0);
}

/// What nobody can read is no reason to do nothing and call it done.
#[tokio::test]
async fn an_undo_log_that_cannot_be_read_is_final() {
    let (resource, _) = resource(TABLE, |options| options).await;
    for (id, context) in [(1, "serializer=kryo"), (2, "serializer=jackson")] {
        let insert = format!(
            "INSERT INTO undo_log VALUES ({id}, '{XID}', '{context}', x'00', 0, '2024-01-01', '')"
        );
        let inserted = sqlx::raw_sql(sqlx::AssertSqlSafe(insert));
        inserted.execute(&resource.pool).await.expect("inserted");
        let failure = super::undo::undo_branch(&resource, XID, id).await;
        assert!(failure.expect_err("unreadable").is_final());
        assert_eq!(number(&resource, "SELECT COUNT(*) FROM undo_log").await, id);
    }
}

/// Their connections are clean when they come back.
#[tokio::test]
async fn a_pool_survives_branches_that_were_dropped() {
    let (resource, _) = resource(TABLE, |options| options).await;
    for _ in 0..3 {
        let mut dropped = branch(&resource, Unit::Explicit).await;
        dropped
            .execute(query("DELETE FROM t"))
            .await
            .expect("deleted");
        drop(dropped);
    }
    let mut conn = resource.pool.acquire().await.expect("a connection");
    conn.ping().await.expect("alive");
    drop(conn);
    assert_eq!(number(&resource, "SELECT COUNT(*) FROM t").await, 1);
}
