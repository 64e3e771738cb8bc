//! A coordinator on a free port, a client of it, and a log that can be waited for.

use std::fmt::Debug;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use seamio::client::{ClientOptions, File, Outcome, Seata, TxGuard};
use seamio::tc::CoordinatorConfig;
use seamio::tc::server::{Server, ServerConfig, ServerHandle};
use tokio::sync::watch;

/// Longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A coordinator with a memory store, stopped when dropped. It asks again soon.
pub(crate) struct Coordinator {
    address: String,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl Coordinator {
    pub(crate) fn start() -> Self {
        let soon = Duration::from_millis(20);
        let server = Server::bind(ServerConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            coordinator: CoordinatorConfig {
                commit_retry_first: soon,
                rollback_retry_first: soon,
                retry_pause_max: soon,
                ..CoordinatorConfig::default()
            },
            ..ServerConfig::default()
        });
        let server = server.expect("a free port");
        let (address, handle) = (server.address().to_string(), server.handle());
        let thread = std::thread::spawn(move || {
            server.run().expect("an orderly end");
        });
        Self {
            address,
            handle,
            thread: Some(thread),
        }
    }

    /// A client whose second phases run on this test's runtime.
    pub(crate) async fn client(&self) -> Seata {
        let built = Seata::builder()
            .application("tcc-test")
            .registry(File::new([self.address.as_str()]))
            .options(ClientOptions {
                seed: 1,
                ..ClientOptions::default()
            })
            .build();
        let (seata, background) = built.await.expect("the coordinator is there");
        tokio::spawn(background);
        seata
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.handle.drain(Duration::ZERO);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What happened, in order. Clones are the same log.
#[derive(Clone, Debug)]
pub(crate) struct Log<T> {
    entries: Arc<watch::Sender<Vec<T>>>,
}

impl<T: Clone + Debug + PartialEq> Log<T> {
    pub(crate) fn new() -> Self {
        Self {
            entries: Arc::new(watch::Sender::new(Vec::new())),
        }
    }

    pub(crate) fn note(&self, entry: T) {
        self.entries.send_modify(|entries| entries.push(entry));
    }

    pub(crate) fn entries(&self) -> Vec<T> {
        self.entries.borrow().clone()
    }

    pub(crate) fn count(&self, entry: &T) -> usize {
        let entries = self.entries.borrow();
        entries.iter().filter(|other| *other == entry).count()
    }

    /// Waits until it is as long as what is expected, for tests without a runtime: second phases run on threads of their own.
    pub(crate) fn becomes(&self, expected: &[T]) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let mut changes = self.entries.subscribe();
        let _ = runtime.block_on(async {
            let enough = changes.wait_for(|entries| entries.len() >= expected.len());
            tokio::time::timeout(PATIENCE, enough).await.is_ok()
        });
        assert_eq!(self.entries(), expected);
    }

    /// Waits until there is an entry.
    pub(crate) async fn wait_for_any(&self) {
        let mut changes = self.entries.subscribe();
        let waited =
            tokio::time::timeout(PATIENCE, changes.wait_for(|entries| !entries.is_empty()));
        assert!(waited.await.is_ok(), "nothing happened");
    }

    /// Waits until an entry is there so often.
    pub(crate) async fn wait_for(&self, entry: &T, times: usize) {
        let mut changes = self.entries.subscribe();
        let enough =
            |entries: &Vec<T>| entries.iter().filter(|other| *other == entry).count() >= times;
        let waited = tokio::time::timeout(PATIENCE, changes.wait_for(enough)).await;
        assert!(waited.is_ok(), "no {entry:?} in {:?}", self.entries());
    }
}

/// Commits, which has to succeed.
pub(crate) async fn commit(tx: TxGuard) {
    let outcome = tx.commit().await;
    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
}

/// Rolls back, which has to succeed.
pub(crate) async fn roll_back(tx: TxGuard) {
    let outcome = tx.rollback().await;
    assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome:?}");
}

/// Runs a test on a runtime of two threads.
pub(crate) fn on_runtime(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(test);
}
