//! Panics, cancellation at every await point, hooks, headers: how transactions end when code does not simply return.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use seamio::client::{
    Error, FailureHandler, GlobalTransactions, GlobalTx, GlobalTxError, NewBranch, Propagation,
    Seata, TxHook, TxOptions, TxRole, wait, without_transaction,
};
use seamio::proto::Text;
use seamio::proto::status::{BranchType, GlobalStatus};

use crate::fixture::{Coordinator, Ledger, PATIENCE, builder, connect};

fn named() -> TxOptions {
    TxOptions::new("test")
}

/// Asks until the transaction is decided, and says whether it was committed.
fn is_committed(seata: &Seata, xid: &Text) -> bool {
    let tx = seata.join(xid.clone());
    for _ in 0..PATIENCE.as_millis() / 10 {
        let status = wait(tx.status()).expect("a status");
        if !matches!(status, GlobalStatus::Begin | GlobalStatus::Rollbacking) {
            // One that is decided already stays so.
            return wait(seata.reload(xid.clone()).rollback()).is_committed();
        }
        wait(seata.rm().sleep(Duration::from_millis(10)));
    }
    panic!("{xid} is not decided");
}

/// Asks until the second phase is done too.
fn await_end(seata: &Seata, xid: &Text) {
    let tx = seata.join(xid.clone());
    for _ in 0..PATIENCE.as_millis() / 10 {
        if wait(tx.status()) == Ok(GlobalStatus::Finished) {
            return;
        }
        wait(seata.rm().sleep(Duration::from_millis(10)));
    }
    panic!("{xid} does not end");
}

#[test]
fn a_panic_rolls_back_and_leaves_no_trace() {
    let tc = Coordinator::start();
    let seata = connect(builder(&[tc.address]));
    let xid = Arc::new(Mutex::new(Text::new()));
    let seen = Arc::clone(&xid);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let done: Result<(), GlobalTxError<&str>> =
            wait(seata.transaction(named(), |tx| async move {
                *seen.lock().expect("seen") = tx.xid().clone();
                panic!("as the test says")
            }));
        done
    }));
    assert!(panicked.is_err());
    assert!(Seata::current().is_none());
    let xid = xid.lock().expect("seen").clone();
    assert!(!is_committed(&seata, &xid));
    assert_eq!(seata.metrics().dropped, 1, "exactly one rollback");
}

/// Polls a future at most so often, each time it is woken, and then drops it.
fn drop_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    struct Parked(Thread);
    impl Wake for Parked {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Parked(thread::current())));
    let mut future = pin!(future);
    for poll in 0..polls {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        if poll + 1 < polls {
            thread::park_timeout(PATIENCE);
        }
    }
    None
}

#[test]
fn dropped_at_any_await_point_it_leaves_nothing_or_rolls_back() {
    let tc = Coordinator::start();
    let seata = connect(builder(&[tc.address]));
    let rm = seata.rm();
    let ledger = Ledger::new("db", BranchType::At);
    wait(rm.register_resource(ledger)).expect("registered");
    let (mut finished, mut log) = (false, Vec::new());
    for polls in 0..40 {
        let seen = Arc::new(Mutex::new(None));
        let (note, rm) = (Arc::clone(&seen), rm.clone());
        let done = drop_after(
            polls,
            seata.transaction(named(), |tx| async move {
                *note.lock().expect("seen") = Some(tx.xid().clone());
                let branch = NewBranch {
                    xid: tx.xid().clone(),
                    branch_type: BranchType::At,
                    resource_id: "db".into(),
                    lock_key: "t:1".into(),
                    application_data: Text::new(),
                };
                rm.register_branch(branch).await?;
                rm.sleep(Duration::from_millis(1)).await;
                Ok::<_, seamio::client::BranchError>(())
            }),
        );
        assert!(Seata::current().is_none());
        let xid = seen.lock().expect("seen").clone();
        let Some(xid) = xid else {
            assert!(done.is_none());
            continue;
        };
        let committed = is_committed(&seata, &xid);
        // A client that is closed is asked nothing any more.
        await_end(&seata, &xid);
        match done {
            Some(done) => {
                done.expect("nobody else holds the row");
                assert!(committed, "{polls}");
                finished = true;
                break;
            }
            // Once the commit has left, the coordinator may have heard it.
            None => log.push(committed),
        }
    }
    assert!(finished, "40 polls are enough");
    assert_eq!(
        log.first(),
        Some(&false),
        "dropped within the code: {log:?}"
    );
    wait(seata.close(PATIENCE));
    let stopped = tc.stop();
    assert_eq!((stopped.undecided, stopped.live), (0, 0), "nothing is left");
}

#[test]
fn a_dropped_begin_leaves_no_transaction() {
    let tc = Coordinator::start();
    let seata = connect(builder(&[tc.address]));
    for polls in [0, 1, 1, 1] {
        // On a slow machine the first poll may find the answer: then it is a guard that is dropped.
        drop(drop_after(polls, seata.begin(named())));
    }
    wait(seata.close(PATIENCE));
    let stopped = tc.stop();
    assert_eq!((stopped.undecided, stopped.live), (0, 0));
}

#[derive(Default)]
struct Steps(Mutex<Vec<String>>);

impl Steps {
    fn note(&self, step: &str) {
        self.0.lock().expect("steps").push(step.to_owned());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("steps"))
    }
}

impl TxHook for Steps {
    fn before_begin(&self, name: &str) {
        self.note(&format!("before begin {name}"));
    }
    fn after_begin(&self, _: &GlobalTx) {
        self.note("after begin");
    }
    fn before_commit(&self, _: &GlobalTx) {
        self.note("before commit");
        panic!("a hook's own affair");
    }
    fn after_commit(&self, _: &GlobalTx) {
        self.note("after commit");
    }
    fn before_rollback(&self, _: &GlobalTx) {
        self.note("before rollback");
    }
    fn after_rollback(&self, _: &GlobalTx) {
        self.note("after rollback");
    }
    fn after_completion(&self, tx: Option<&GlobalTx>) {
        self.note(&format!("after completion {}", tx.is_some()));
    }
}

impl FailureHandler for Steps {
    fn on_begin_failure(&self, name: &str, _: &Error) {
        self.note(&format!("begin failure {name}"));
    }
}

#[test]
fn hooks_are_called_for_the_launcher_only_and_once() {
    let tc = Coordinator::start();
    let steps = Arc::new(Steps::default());
    let seata = connect(
        builder(&[tc.address])
            .hook(steps.clone())
            .failure_handler(steps.clone()),
    );
    let inner = seata.clone();
    let done: Result<(), GlobalTxError<&str>> = wait(seata.transaction(named(), |_| async move {
        let joined = inner.transaction(TxOptions::new("inner"), |_| async { Ok::<_, &str>(()) });
        joined.await.expect("joined");
        Ok(())
    }));
    assert_eq!(done, Ok(()));
    let expected = [
        "before begin test",
        "after begin",
        "before commit",
        "after commit",
        "after completion true",
    ];
    assert_eq!(steps.take(), expected);
    let failed: Result<(), _> = wait(seata.transaction(named(), |_| async { Err("no") }));
    assert!(failed.is_err());
    let expected = [
        "before begin test",
        "after begin",
        "before rollback",
        "after rollback",
        "after completion true",
    ];
    assert_eq!(steps.take(), expected);
    let options = named().timeout(Duration::ZERO);
    let failed: Result<(), GlobalTxError<&str>> =
        wait(seata.transaction(options, |_| async { Ok(()) }));
    assert!(matches!(
        failed,
        Err(GlobalTxError::NotBegun(Error::Invalid(_)))
    ));
    let expected = [
        "before begin test",
        "begin failure test",
        "after completion false",
    ];
    assert_eq!(steps.take(), expected);
}

#[test]
fn switched_off_code_runs_without() {
    let tc = Coordinator::start();
    let seata = connect(builder(&[tc.address]));
    let role = |seata: &Seata| {
        let options = named().propagation(Propagation::Required);
        wait(seata.transaction(options, |tx| async move { Ok::<_, &str>(tx.role()) }))
    };
    seata.switch(GlobalTransactions::Off);
    assert_eq!(role(&seata), Ok(TxRole::Absent));
    seata.switch(GlobalTransactions::On);
    assert_eq!(role(&seata), Ok(TxRole::Launcher));
}

#[test]
fn headers_carry_a_transaction_to_another_service() {
    let tc = Coordinator::start();
    let (caller, callee) = (
        connect(builder(&[tc.address])),
        connect(builder(&[tc.address])),
    );
    let tx = wait(caller.begin(named())).expect("begun");
    let mut headers = BTreeMap::new();
    tx.inject(BranchType::At, &mut headers);
    assert_eq!(headers["TX_XID"], tx.xid().as_str());
    assert_eq!(headers["TX_BRANCH_TYPE"], "AT");
    let joined = callee.extract(&headers).expect("sound").expect("there");
    assert_eq!(
        (joined.role(), joined.xid()),
        (TxRole::Participant, tx.xid())
    );
    wait(joined.scope(async {
        let options = named().propagation(Propagation::Mandatory);
        let done = callee.transaction(options, |tx| async move {
            let mut onward: Vec<(String, String)> = Vec::new();
            tx.inject(BranchType::Tcc, &mut onward);
            Ok::<_, &str>(onward.len())
        });
        assert_eq!(done.await, Ok(2));
        let hidden = without_transaction(async { Seata::current().is_none() });
        assert!(hidden.await);
    }));
    assert!(Seata::current().is_none());
    assert_eq!(
        wait(joined.status()),
        Ok(GlobalStatus::Begin),
        "the callee ends nothing"
    );
    assert!(wait(tx.commit()).is_committed());
}

#[test]
fn a_detached_transaction_is_ended_by_who_takes_it_over() {
    let tc = Coordinator::start();
    let seata = connect(builder(&[tc.address]));
    let xid = wait(seata.begin(named()))
        .expect("begun")
        .detach()
        .xid()
        .clone();
    assert!(wait(seata.reload(xid.clone()).commit()).is_committed());
    let again = wait(seata.reload(xid).rollback());
    assert!(again.is_committed(), "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn works_within_tokio() {
    let tc = Coordinator::start();
    let (seata, background) = builder(&[tc.address]).build().await.expect("built");
    let background = tokio::spawn(background);
    let rm = seata.rm();
    let ledger = Ledger::new("db", BranchType::Tcc);
    rm.register_resource(ledger.clone())
        .await
        .expect("registered");
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let (seata, rm) = (seata.clone(), rm.clone());
            tokio::spawn(async move {
                let options = TxOptions::new(format!("task {number}"));
                seata
                    .transaction(options, |tx| async move {
                        let branch = NewBranch {
                            xid: tx.xid().clone(),
                            branch_type: BranchType::Tcc,
                            resource_id: "db".into(),
                            lock_key: Text::new(),
                            application_data: Text::new(),
                        };
                        rm.register_branch(branch).await.map(|_| ())
                    })
                    .await
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic").expect("committed");
    }
    assert_eq!(ledger.wait_for(20).len(), 20);
    seata.close(PATIENCE).await;
    background.await.expect("it ends");
}
