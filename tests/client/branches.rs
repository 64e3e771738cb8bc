//! Branches, their locks, and what becomes of them in phase two.

use std::time::Duration;

use seamio::client::{BranchError, LockQuery, NewBranch, Outcome, Rm, Seata, TxOptions, wait};
use seamio::proto::Text;
use seamio::proto::message::BranchReport;
use seamio::proto::status::{BranchStatus, BranchType, GlobalStatus};

use crate::fixture::{Answer, Asked, Coordinator, Ledger, PATIENCE, builder, connect, run};

fn branch(xid: &Text, lock_key: &str) -> NewBranch {
    NewBranch {
        xid: xid.clone(),
        branch_type: BranchType::At,
        resource_id: "jdbc:test".into(),
        lock_key: lock_key.into(),
        application_data: "{\"autoCommit\":false}".into(),
    }
}

fn ready(seata: &Seata) -> (Rm, std::sync::Arc<Ledger>) {
    let rm = seata.rm();
    let ledger = Ledger::new("jdbc:test", BranchType::At);
    wait(rm.register_resource(ledger.clone())).expect("registered");
    (rm, ledger)
}

#[test]
fn a_branch_is_committed_or_rolled_back_with_its_transaction() {
    let tc = Coordinator::start();
    let seata = connect(builder(&[tc.address]));
    let (rm, ledger) = ready(&seata);

    let tx = wait(seata.begin(TxOptions::default())).expect("begun");
    let committed = wait(rm.register_branch(branch(tx.xid(), "t:1"))).expect("a branch");
    let xid = tx.xid().clone();
    assert!(wait(tx.commit()).is_committed());
    match &ledger.wait_for(1)[0] {
        Asked::Commit(asked) => {
            assert_eq!((&asked.xid, asked.branch_id), (&xid, committed));
            assert_eq!(asked.application_data, "{\"autoCommit\":false}");
        }
        other => panic!("{other:?}"),
    }

    let tx = wait(seata.begin(TxOptions::default())).expect("begun");
    let first = wait(rm.register_branch(branch(tx.xid(), "t:2"))).expect("a branch");
    let second = wait(rm.register_branch(branch(tx.xid(), "t:3"))).expect("a branch");
    let outcome = wait(tx.rollback());
    assert!(!outcome.is_committed());
    let asked = ledger.wait_for(3);
    let order: Vec<_> = asked[1..]
        .iter()
        .map(|asked| match asked {
            Asked::Rollback(branch) => branch.branch_id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(order, [second, first], "the last first");
    assert_eq!(seata.metrics().branches, 3);
}

#[test]
fn a_locked_row_is_a_conflict_until_its_transaction_ends() {
    let tc = Coordinator::start();
    let seata = connect(builder(&[tc.address]));
    let (rm, _) = ready(&seata);
    let holder = wait(seata.begin(TxOptions::default())).expect("begun");
    wait(rm.register_branch(branch(holder.xid(), "t:1"))).expect("a branch");
    let query = |xid: &Text| LockQuery {
        xid: xid.clone(),
        resource_id: "jdbc:test".into(),
        lock_key: "t:1,2".into(),
    };
    let other = wait(seata.begin(TxOptions::default())).expect("begun");
    let conflict = wait(rm.register_branch(branch(other.xid(), "t:1"))).expect_err("locked");
    assert!(
        matches!(conflict, BranchError::LockConflict { .. }),
        "{conflict:?}"
    );
    assert_eq!(wait(rm.is_lockable(query(other.xid()))), Ok(false));
    assert_eq!(wait(rm.is_lockable(query(&Text::new()))), Ok(false));
    assert_eq!(wait(rm.is_lockable(query(holder.xid()))), Ok(true));
    let _ = wait(holder.rollback());
    wait(rm.register_branch(branch(other.xid(), "t:1"))).expect("free");
    let _ = wait(other.rollback());
    assert_eq!(seata.metrics().lock_conflicts, 1);
}

#[test]
fn an_ended_transaction_takes_no_branches() {
    let tc = Coordinator::start();
    let seata = connect(builder(&[tc.address]));
    let (rm, _) = ready(&seata);
    let tx = wait(seata.begin(TxOptions::default())).expect("begun");
    let xid = tx.xid().clone();
    let _ = wait(tx.rollback());
    for xid in [xid, "127.0.0.1:1:77".into(), Text::new()] {
        let error = wait(rm.register_branch(branch(&xid, ""))).expect_err("not active");
        assert!(matches!(error, BranchError::NotActive { .. }), "{error:?}");
    }
}

#[test]
fn a_report_replaces_the_application_data() {
    let tc = Coordinator::start();
    let seata = connect(builder(&[tc.address]));
    let (rm, ledger) = ready(&seata);
    let tx = wait(seata.begin(TxOptions::default())).expect("begun");
    let id = wait(rm.register_branch(branch(tx.xid(), ""))).expect("a branch");
    let report = BranchReport {
        xid: tx.xid().clone(),
        branch_id: id.0,
        status: BranchStatus::Registered,
        resource_id: "jdbc:test".into(),
        application_data: "{\"more\":1}".into(),
        branch_type: BranchType::At,
    };
    assert_eq!(wait(rm.report_branch(report)), Ok(()));
    let _ = wait(tx.commit());
    let Asked::Commit(asked) = &ledger.wait_for(1)[0] else {
        panic!("a commit");
    };
    assert_eq!(asked.application_data, "{\"more\":1}");
}

#[test]
fn a_second_phase_that_fails_or_panics_is_asked_again() {
    let tc = Coordinator::start();
    let seata = connect(builder(&[tc.address]));
    let (rm, ledger) = ready(&seata);
    let retry = Answer::Status(BranchStatus::PhaseTwoRollbackFailedRetryable);
    ledger
        .answers
        .lock()
        .expect("ledger")
        .extend([retry, Answer::Panic]);
    let tx = wait(seata.begin(TxOptions::default())).expect("begun");
    wait(rm.register_branch(branch(tx.xid(), "t:1"))).expect("a branch");
    let _ = wait(tx.rollback());
    let asked = ledger.wait_for(3);
    assert!(
        asked
            .iter()
            .all(|asked| matches!(asked, Asked::Rollback(_)))
    );
    assert_eq!(seata.metrics().phase_two_panics, 1);
}

/// A coordinator asks as soon as it sees the resource: a service that has just come up again is asked before its `main` has got
/// as far as to spawn the future. It took that for a failure once, and its transactions were told to be rolled back some time.
#[test]
fn a_second_phase_waits_for_the_host_to_spawn_its_future() {
    let tc = Coordinator::start();
    let (seata, background) = wait(builder(&[tc.address]).build()).expect("a coordinator is there");
    let (rm, _) = ready(&seata);
    let tx = wait(seata.begin(TxOptions::default())).expect("begun");
    wait(rm.register_branch(branch(tx.xid(), "t:1"))).expect("a branch");
    let rolled_back = std::thread::spawn(move || wait(tx.rollback()));
    while seata.metrics().phase_two == 0 {
        std::thread::yield_now();
    }
    run(background);
    match rolled_back.join().expect("no panic") {
        Outcome::RolledBack { status, .. } => assert_eq!(status, GlobalStatus::Rollbacked),
        other => panic!("{other:?}"),
    }
    assert_eq!(seata.metrics().phase_two, 1, "asked once");
}

#[test]
fn a_resource_is_registered_once() {
    let tc = Coordinator::start();
    let seata = connect(builder(&[tc.address]));
    let (rm, _) = ready(&seata);
    let again = wait(rm.register_resource(Ledger::new("jdbc:test", BranchType::At)));
    assert!(again.is_err());
    let other = wait(rm.register_resource(Ledger::new("jdbc:test", BranchType::Tcc)));
    assert_eq!(other, Ok(()));
}

#[test]
fn closing_finishes_what_is_under_way() {
    let tc = Coordinator::start();
    let (seata, background) = wait(builder(&[tc.address]).build()).expect("built");
    let thread = std::thread::spawn(move || wait(background));
    wait(seata.close(PATIENCE));
    thread.join().expect("the background ends");
    let refused = wait(seata.begin(TxOptions::default())).map(|_| ());
    assert_eq!(refused, Err(seamio::client::Error::Closed));
    wait(seata.rm().sleep(Duration::from_secs(3600)));
}
