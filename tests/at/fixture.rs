//! A coordinator, a client and a database: what every scenario begins with.

use std::future::Future;
use std::time::Duration;

use seamio::client::at::{At, AtBranch, AtOptions, Error, LockRetry, query};
use seamio::client::{ClientOptions, File, Seata, TxGuard, TxOptions};
use seamio::proto::status::GlobalStatus;
use seamio::tc::server::{Server, ServerConfig, ServerHandle};
use sqlx::{AssertSqlSafe, Pool};

use crate::database::{Place, Tried};

/// Longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// All that a scenario needs.
pub(crate) struct Scene<DB: Tried> {
    pub(crate) seata: Seata,
    pub(crate) at: At<DB>,
    place: Place<DB>,
    coordinator: ServerHandle,
}

impl<DB: Tried> Drop for Scene<DB> {
    fn drop(&mut self) {
        self.coordinator.drain(Duration::ZERO);
    }
}

/// A database with these tables, and a client. None when there is no server of this kind.
pub(crate) async fn scene<DB: Tried>(tables: &str) -> Option<Scene<DB>> {
    scene_with(tables, |options| options).await
}

/// The same with other options.
pub(crate) async fn scene_with<DB: Tried>(
    tables: &str,
    change: impl FnOnce(AtOptions) -> AtOptions,
) -> Option<Scene<DB>> {
    // With RUST_LOG set, a scenario that fails shows what was logged.
    let _ = env_logger::builder().is_test(true).try_init();
    let place = DB::open().await?;
    DB::script(&place.pool, tables)
        .await
        .unwrap_or_else(|error| panic!("{tables}: {error}"));
    let server = Server::bind(ServerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        ..ServerConfig::default()
    });
    let server = server.expect("a free port");
    let (address, coordinator) = (server.address(), server.handle());
    std::thread::spawn(move || server.run());
    let built = Seata::builder()
        .application("test")
        .registry(File::new([address.to_string()]))
        .options(ClientOptions {
            seed: 1,
            ..ClientOptions::default()
        })
        .build();
    let (seata, background) = built.await.expect("a coordinator");
    tokio::spawn(background);
    // Few attempts, so that a scenario of a conflict is soon over.
    let mut options = AtOptions::new("jdbc:test:one").create_undo_log();
    options.lock_retry = LockRetry {
        interval: Duration::from_millis(2),
        times: 3,
    };
    let at = seata.at(place.pool.clone(), change(options)).await;
    Some(Scene {
        at: at.expect("prepared"),
        seata,
        place,
        coordinator,
    })
}

impl<DB: Tried> Scene<DB> {
    pub(crate) fn pool(&self) -> &Pool<DB> {
        &self.place.pool
    }

    pub(crate) async fn begin(&self) -> TxGuard {
        let begun = self.seata.begin(TxOptions::new("test")).await;
        begun.expect("a transaction")
    }

    /// Runs statements in one branch and commits it.
    pub(crate) async fn branch(&self, tx: &TxGuard, statements: &[&str]) {
        let mut branch = self.at.begin_pooled(tx).await.expect("a branch");
        for statement in statements {
            run(&mut branch, statement)
                .await
                .unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        branch.commit().await.expect("committed");
    }

    /// Rows of a query, sorted by itself.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<String> {
        DB::column(self.pool(), sql).await
    }

    /// Runs a statement outside of everything.
    pub(crate) async fn outside(&self, sql: &str) {
        DB::script(self.pool(), sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Rolls back and waits until all branches are.
    pub(crate) async fn roll_back(&self, tx: TxGuard) {
        let handle = (*tx).clone();
        let _ = tx.rollback().await;
        until("rolled back", || async {
            matches!(
                handle.status().await,
                Ok(GlobalStatus::Rollbacked | GlobalStatus::Finished)
            )
        })
        .await;
    }

    /// Commits, and waits until all branches are: their undo logs are deleted then.
    pub(crate) async fn commit(&self, tx: TxGuard) {
        let handle = (*tx).clone();
        let outcome = tx.commit().await;
        assert!(outcome.is_committed(), "{outcome:?}");
        until("committed", || async {
            matches!(
                handle.status().await,
                Ok(GlobalStatus::Committed | GlobalStatus::Finished)
            )
        })
        .await;
        assert_eq!(self.undo_rows().await, [""; 0]);
    }

    /// Status of each row of the undo log.
    pub(crate) async fn undo_rows(&self) -> Vec<String> {
        let text = match DB::KIND {
            crate::database::Kind::Postgres => "SELECT log_status::text FROM undo_log",
            _ => "SELECT CAST(log_status AS CHAR) FROM undo_log",
        };
        self.rows(text).await
    }
}

/// Runs a statement without parameters.
pub(crate) async fn run<DB: Tried>(
    branch: &mut AtBranch<'_, DB>,
    sql: &str,
) -> Result<DB::QueryResult, Error> {
    branch.execute(query(AssertSqlSafe(sql.to_owned()))).await
}

/// Waits until something is so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "not {what} in time");
}
