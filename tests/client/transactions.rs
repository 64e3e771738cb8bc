//! Begin, commit, roll back, alone and as one call.

use std::time::Duration;

use seamio::client::{
    Decision, Error, GlobalTxError, Outcome, Propagation, PropagationError, RollbackReason, Seata,
    TxOptions, TxRole, wait,
};
use seamio::proto::status::GlobalStatus;

use crate::fixture::{Coordinator, builder, connect};

fn named() -> TxOptions {
    TxOptions::new("test")
}

#[test]
fn commits_and_rolls_back() {
    let tc = Coordinator::start();
    let seata = connect(builder(&[tc.address]));
    let tx = wait(seata.begin(named())).expect("begun");
    assert!(tx.xid().starts_with(&tc.address.to_string()));
    assert_eq!(wait(tx.status()), Ok(GlobalStatus::Begin));
    assert!(wait(tx.commit()).is_committed());

    let tx = wait(seata.begin(named())).expect("begun");
    let outcome = wait(tx.rollback());
    let Outcome::RolledBack { reason, status } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(reason, RollbackReason::Requested);
    assert_eq!(status, GlobalStatus::Rollbacked);
    let metrics = seata.metrics();
    assert_eq!(
        (metrics.begun, metrics.committed, metrics.rolled_back),
        (2, 1, 1)
    );
}

#[test]
fn a_dropped_guard_rolls_back() {
    let tc = Coordinator::start();
    let seata = connect(builder(&[tc.address]));
    let tx = wait(seata.begin(named())).expect("begun");
    let left = seata.join(tx.xid().clone());
    drop(tx);
    let status = wait(left.await_end(Duration::from_millis(10), 3000)).expect("a status");
    assert!(
        matches!(status, GlobalStatus::Rollbacked | GlobalStatus::Finished),
        "{status}"
    );
    assert_eq!(seata.metrics().dropped, 1);
}

#[test]
fn code_in_a_transaction_is_committed_or_rolled_back() {
    let tc = Coordinator::start();
    let seata = connect(builder(&[tc.address]));
    let done: Result<_, GlobalTxError<&str>> = wait(seata.transaction(named(), |tx| async move {
        assert_eq!(
            Seata::current().map(|t| t.xid().clone()),
            Some(tx.xid().clone())
        );
        assert_eq!(tx.role(), TxRole::Launcher);
        Ok(7)
    }));
    assert_eq!(done, Ok(7));
    assert!(Seata::current().is_none(), "nothing is left behind");

    let failed: Result<(), _> = wait(seata.transaction(named(), |_| async { Err("no stock") }));
    let expected = GlobalTxError::RolledBack {
        reason: RollbackReason::Requested,
        source: Some("no stock"),
        settled: true,
        status: GlobalStatus::Rollbacked,
    };
    assert_eq!(failed, Err(expected));

    let rule = |error: &&str| match *error {
        "ignored" => Decision::Commit,
        _ => Decision::Rollback,
    };
    let failed: Result<(), _> =
        wait(seata.transaction_with(named(), rule, |_| async { Err("ignored") }));
    assert_eq!(failed, Err(GlobalTxError::Committed("ignored")));
}

#[test]
fn a_call_finds_its_place_by_its_propagation() {
    let tc = Coordinator::start();
    let seata = connect(builder(&[tc.address]));
    let role_of = |propagation| {
        let seata = seata.clone();
        async move {
            let options = named().propagation(propagation);
            seata
                .transaction(options, |tx| async move {
                    let current = Seata::current().map(|tx| tx.xid().clone());
                    Ok::<_, &str>((tx.role(), tx.xid().clone(), current))
                })
                .await
        }
    };
    let inside: Result<(), GlobalTxError<&str>> =
        wait(seata.transaction(named(), |outer| async move {
            for joining in [
                Propagation::Required,
                Propagation::Supports,
                Propagation::Mandatory,
            ] {
                let (role, xid, current) = role_of(joining).await.expect("joined");
                assert_eq!(
                    (role, &xid),
                    (TxRole::Participant, outer.xid()),
                    "{joining:?}"
                );
                assert_eq!(current.as_ref(), Some(outer.xid()));
            }
            let (role, xid, current) = role_of(Propagation::RequiresNew).await.expect("its own");
            assert_eq!(role, TxRole::Launcher);
            assert_ne!(&xid, outer.xid());
            assert_eq!(current, Some(xid));
            let (role, xid, current) = role_of(Propagation::NotSupported).await.expect("none");
            assert_eq!(
                (role, xid.is_empty(), current),
                (TxRole::Absent, true, None)
            );
            let never = role_of(Propagation::Never).await;
            let expected = PropagationError::Never {
                xid: outer.xid().clone(),
            };
            assert_eq!(
                never,
                Err(GlobalTxError::NotBegun(Error::Propagation(expected)))
            );
            let back = Seata::current().map(|tx| tx.xid().clone());
            assert_eq!(back.as_ref(), Some(outer.xid()), "the outer one is back");
            assert_eq!(
                outer.status().await,
                Ok(GlobalStatus::Begin),
                "and not ended"
            );
            Ok(())
        }));
    assert_eq!(inside, Ok(()));
    for without in [
        Propagation::NotSupported,
        Propagation::Supports,
        Propagation::Never,
    ] {
        let (role, ..) = wait(role_of(without)).expect("runs");
        assert_eq!(role, TxRole::Absent, "{without:?}");
    }
    let mandatory = wait(role_of(Propagation::Mandatory));
    let expected = Error::Propagation(PropagationError::Mandatory);
    assert_eq!(mandatory, Err(GlobalTxError::NotBegun(expected)));
}

#[test]
fn a_transaction_whose_time_is_over_is_not_committed() {
    let tc = Coordinator::start();
    let seata = connect(builder(&[tc.address]));
    let options = named().timeout(Duration::from_millis(5));
    let tx = wait(seata.begin(options)).expect("begun");
    wait(seata.rm().sleep(Duration::from_millis(20)));
    let outcome = wait(tx.commit());
    assert!(
        matches!(
            outcome,
            Outcome::RolledBack {
                reason: RollbackReason::Timeout,
                ..
            }
        ),
        "{outcome:?}"
    );
}
