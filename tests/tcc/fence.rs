//! The fence: each phase in each state, on every database that is there.

use std::time::Duration;

use seamio::client::resource::PhaseTwo;
use seamio::client::tcc::{Fence, FenceError, RegisterError, TccOptions, TryError};
use seamio::proto::Text;
use seamio::proto::status::BranchStatus;
use seamio::xid::{BranchId, Xid};

use crate::bank::{Amount, Bank, Failure, Ran, Withdraw};
use crate::databases::{self, Database, Kind};
use crate::fixture::{Coordinator, Log, commit, on_runtime, roll_back};

const TEN: Amount = Amount { amount: 10 };

/// Runs a test in a bank on each database, with a coordinator of its own.
fn on_each<F: Future<Output = Bank>>(test: impl Fn(Bank) -> F) {
    on_runtime(async {
        for database in databases::all().await {
            println!("{}", database.name());
            let coordinator = Coordinator::start();
            let seata = coordinator.client().await;
            let bank = Bank::open(&seata, &database).await;
            test(bank).await.close().await;
        }
    });
}

/// A fenced branch that takes ten, as the coordinator would ask about it.
fn branch(xid: &str, id: BranchId) -> PhaseTwo {
    PhaseTwo {
        xid: Text::from(xid),
        branch_id: id,
        application_data: Text::from(r#"{"actionContext":{"amount":10,"useTCCFence":true}}"#),
    }
}

async fn confirm(bank: &Bank, branch: &PhaseTwo) -> BranchStatus {
    bank.tcc.resource().commit(branch.clone()).await
}

async fn cancel(bank: &Bank, branch: &PhaseTwo) -> BranchStatus {
    bank.tcc.resource().rollback(branch.clone()).await
}

#[test]
fn money_moves_with_its_state() {
    on_each(|bank| async {
        let tx = bank.begin().await;
        let id = bank.tcc.try_in(&tx, TEN).await.expect("tried");
        assert_eq!((bank.account().await, bank.state(id).await), ((100, 10), 1));
        commit(tx).await;
        bank.log.wait_for(&Ran::Confirm(id), 1).await;
        assert_eq!((bank.account().await, bank.state(id).await), ((90, 0), 2));

        let tx = bank.begin().await;
        let id = bank.tcc.try_in(&tx, TEN).await.expect("tried");
        roll_back(tx).await;
        bank.log.wait_for(&Ran::Cancel(id), 1).await;
        assert_eq!((bank.account().await, bank.state(id).await), ((90, 0), 3));
        bank
    });
}

#[test]
fn second_phases_run_once_however_often_they_are_asked() {
    on_each(|bank| async {
        let tx = bank.begin().await;
        let (first, second) = (
            bank.tcc.try_in(&tx, TEN).await.expect("tried"),
            bank.tcc.try_in(&tx, TEN).await.expect("tried"),
        );
        let (first, second) = (branch(tx.xid(), first), branch(tx.xid(), second));
        for _ in 0..3 {
            assert_eq!(
                confirm(&bank, &first).await,
                BranchStatus::PhaseTwoCommitted
            );
            assert_eq!(
                cancel(&bank, &second).await,
                BranchStatus::PhaseTwoRollbacked
            );
        }
        assert_eq!(bank.log.count(&Ran::Confirm(first.branch_id)), 1);
        assert_eq!(bank.log.count(&Ran::Cancel(second.branch_id)), 1);
        assert_eq!(bank.account().await, (90, 0));

        // The other phase will never be possible: somebody has to look.
        let never = BranchStatus::PhaseTwoRollbackFailedUnretryable;
        assert_eq!(cancel(&bank, &first).await, never);
        let never = BranchStatus::PhaseTwoCommitFailedUnretryable;
        assert_eq!(confirm(&bank, &second).await, never);
        assert_eq!(bank.state(first.branch_id).await, 2);
        assert_eq!(bank.state(second.branch_id).await, 3);
        assert_eq!(bank.account().await, (90, 0));
        bank
    });
}

#[test]
fn a_cancel_without_a_try_does_nothing_and_the_try_stays_out_for_good() {
    on_each(|bank| async {
        let tx = bank.begin().await;
        // The coordinator of this test counts: the next branch of a transaction has the next number.
        let next = Xid::parse(tx.xid()).expect("an xid").transaction_id() + 1;
        let asked = branch(tx.xid(), BranchId(next));
        assert_eq!(
            cancel(&bank, &asked).await,
            BranchStatus::PhaseTwoRollbacked
        );
        assert_eq!(
            cancel(&bank, &asked).await,
            BranchStatus::PhaseTwoRollbacked
        );
        assert_eq!(bank.state(asked.branch_id).await, 4);

        let late = bank.tcc.try_in(&tx, TEN).await;
        assert!(matches!(late, Err(TryError::Refused)), "{late:?}");
        assert_eq!(bank.state(asked.branch_id).await, 4, "the row stays");
        assert_eq!(bank.log.entries(), [], "nothing ran");
        let never = BranchStatus::PhaseTwoCommitFailedUnretryable;
        assert_eq!(confirm(&bank, &asked).await, never);
        roll_back(tx).await;
        assert_eq!(bank.account().await, (100, 0));
        bank
    });
}

#[test]
fn a_confirm_without_a_try_waits_for_it() {
    on_each(|bank| async {
        let asked = branch("127.0.0.1:8091:7", BranchId(8));
        let later = BranchStatus::PhaseTwoCommitFailedRetryable;
        assert_eq!(confirm(&bank, &asked).await, later);
        assert_eq!(
            (bank.state(asked.branch_id).await, bank.log.entries()),
            (0, vec![])
        );
        bank
    });
}

#[test]
fn a_try_that_fails_leaves_nothing_and_is_cancelled_without_work() {
    on_each(|bank| async {
        let tx = bank.begin().await;
        bank.fail_next(&[Failure::Later]);
        let failed = bank.tcc.try_in(&tx, TEN).await;
        assert!(matches!(failed, Err(TryError::Action(_))), "{failed:?}");
        let [Ran::Try(id)] = bank.log.entries()[..] else {
            panic!("{:?}", bank.log.entries());
        };
        assert_eq!((bank.account().await, bank.state(id).await), ((100, 0), 0));
        roll_back(tx).await;
        assert_eq!(bank.state(id).await, 4);
        assert_eq!(bank.log.entries(), [Ran::Try(id)]);
        bank
    });
}

#[test]
fn a_second_phase_that_fails_or_panics_leaves_nothing_and_runs_again() {
    on_each(|bank| async {
        for rolls_back in [false, true] {
            let before = bank.account().await;
            let tx = bank.begin().await;
            let id = bank.tcc.try_in(&tx, TEN).await.expect("tried");
            bank.fail_next(&[Failure::Later, Failure::Panic, Failure::Later]);
            let (ran, expected, state) = if rolls_back {
                roll_back(tx).await;
                (Ran::Cancel(id), before, 3)
            } else {
                commit(tx).await;
                (Ran::Confirm(id), (before.0 - 10, before.1), 2)
            };
            bank.log.wait_for(&ran, 4).await;
            // The last one waits for nothing but its commit; asking once more waits for that.
            let again = branch("", id);
            settle(&bank, &again, state).await;
            assert_eq!(
                (bank.account().await, bank.state(id).await),
                (expected, state)
            );
        }
        let tx = bank.begin().await;
        let id = bank.tcc.try_in(&tx, TEN).await.expect("tried");
        bank.fail_next(&[Failure::Never]);
        let never = BranchStatus::PhaseTwoCommitFailedUnretryable;
        assert_eq!(confirm(&bank, &branch(tx.xid(), id)).await, never);
        assert_eq!(bank.state(id).await, 1, "as the try left it");
        roll_back(tx).await;
        bank
    });
}

/// Waits until the fence has this state for the branch.
async fn settle(bank: &Bank, branch: &PhaseTwo, state: i64) {
    let settled = async {
        while bank.state(branch.branch_id).await != state {
            bank.seata.rm().sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(crate::fixture::PATIENCE, settled).await;
    assert!(waited.is_ok(), "never {state}");
}

#[test]
fn many_second_phases_at_once_do_not_lock_each_other_out() {
    on_each(|bank| async {
        let resource = bank.tcc.resource();
        let tasks: Vec<_> = (0..60_i64)
            .map(|n| {
                // Three times each, next to each other in the index, and none was tried.
                let asked = branch("127.0.0.1:8091:9", BranchId(1000 + n / 3));
                let resource = resource.clone();
                tokio::spawn(async move { resource.rollback(asked).await })
            })
            .collect();
        for task in tasks {
            let status = task.await.expect("no panic");
            assert_eq!(status, BranchStatus::PhaseTwoRollbacked);
        }
        let table = bank.database.table("fence");
        let rows = bank
            .database
            .number(&format!("SELECT COUNT(*) FROM {table}"))
            .await;
        assert_eq!((rows, bank.log.entries()), (20, vec![]));
        bank
    });
}

#[test]
fn confirms_of_one_branch_at_once_run_once() {
    on_each(|bank| async {
        let tx = bank.begin().await;
        let id = bank.tcc.try_in(&tx, TEN).await.expect("tried");
        let asked = branch(tx.xid(), id);
        let tasks: Vec<_> = (0..8)
            .map(|_| tokio::spawn(bank.tcc.resource().commit(asked.clone())))
            .collect();
        for task in tasks {
            let status = task.await.expect("no panic");
            assert_eq!(status, BranchStatus::PhaseTwoCommitted);
        }
        assert_eq!(bank.log.count(&Ran::Confirm(id)), 1);
        assert_eq!(bank.account().await, (90, 0));
        commit(tx).await;
        bank
    });
}

#[test]
fn a_branch_tried_before_there_was_a_fence_is_finished_without() {
    on_each(|bank| async {
        let table = bank.database.table("account");
        bank.database
            .execute(&format!("UPDATE {table} SET frozen = 10"))
            .await;
        let mut asked = branch("127.0.0.1:8091:7", BranchId(8));
        asked.application_data = Text::from(r#"{"actionContext":{"amount":10}}"#);
        bank.fail_next(&[Failure::Later]);
        let later = BranchStatus::PhaseTwoCommitFailedRetryable;
        assert_eq!(confirm(&bank, &asked).await, later);
        assert_eq!(bank.account().await, (100, 10), "rolled back");
        assert_eq!(
            confirm(&bank, &asked).await,
            BranchStatus::PhaseTwoCommitted
        );
        assert_eq!(
            (bank.account().await, bank.state(BranchId(8)).await),
            ((90, 0), 0)
        );
        bank
    });
}

#[test]
fn a_try_that_is_dropped_leaves_nothing() {
    on_each(|bank| async {
        let tx = bank.begin().await;
        let mut dropped = Box::pin(bank.tcc.try_in(&tx, TEN));
        let tried = bank.log.wait_for_any();
        tokio::select! {
            biased;
            // The action has begun its work: from here on it is never polled again.
            () = tried => {}
            done = &mut dropped => println!("{}: not dropped in time: {done:?}", bank.database.name()),
        }
        drop(dropped);
        roll_back(tx).await;
        assert_eq!(bank.account().await, (100, 0));
        bank
    });
}

#[test]
fn cleaning_takes_ended_branches_that_are_old_and_no_others() {
    on_each(|bank| async {
        let tx = bank.begin().await;
        let tried = bank.tcc.try_in(&tx, TEN).await.expect("tried");
        let confirmed = bank.tcc.try_in(&tx, TEN).await.expect("tried");
        let cancelled = bank.tcc.try_in(&tx, TEN).await.expect("tried");
        let suspended = BranchId(7);
        confirm(&bank, &branch(tx.xid(), confirmed)).await;
        cancel(&bank, &branch(tx.xid(), cancelled)).await;
        cancel(&bank, &branch(tx.xid(), suspended)).await;
        let fence = bank.fence.clone().keep_for(Duration::from_secs(1800));
        assert_eq!(fence.clean().await.expect("cleaned"), 0, "none is old");
        bank.database.age_fence().await;
        let young = BranchId(8);
        cancel(&bank, &branch(tx.xid(), young)).await;
        assert_eq!(fence.clean().await.expect("cleaned"), 3);
        for (id, state) in [
            (tried, 1),
            (confirmed, 0),
            (cancelled, 0),
            (suspended, 0),
            (young, 4),
        ] {
            assert_eq!(bank.state(id).await, state, "{id}");
        }
        bank
    });
}

#[test]
fn registration_says_what_is_wrong_with_a_table() {
    on_runtime(async {
        for database in databases::all().await {
            let coordinator = Coordinator::start();
            let seata = coordinator.client().await;
            let refused = register(&seata, &database, &database.absent_fence()).await;
            assert!(refused.contains("CREATE TABLE"), "{refused}");

            let table = database.table("fence");
            let keyless = "(xid VARCHAR(128), branch_id BIGINT, action_name VARCHAR(64), status SMALLINT, \
                           gmt_create TIMESTAMP NULL, gmt_modified TIMESTAMP NULL)";
            database
                .execute(&format!("CREATE TABLE {table} {keyless}"))
                .await;
            let refused = register(&seata, &database, &database.absent_fence()).await;
            let what = if database.kind() == Kind::Sqlite || database.kind() == Kind::MySql {
                "takes two rows"
            } else {
                ""
            };
            assert!(refused.contains(what), "{refused}");
            database.drop_tables(&["fence"]).await;
            if database.kind() == Kind::MySql {
                let ddl = database.absent_fence().ddl().replace("InnoDB", "MyISAM");
                database.execute(&ddl).await;
                let refused = register(&seata, &database, &database.absent_fence()).await;
                assert!(refused.contains("rolled back"), "{refused}");
                database.drop_tables(&["fence"]).await;
            }
        }
    });
}

async fn register(seata: &seamio::client::Seata, database: &Database, fence: &Fence) -> String {
    let action = Withdraw {
        database: database.clone(),
        log: Log::new(),
        failures: Default::default(),
    };
    let options = TccOptions::new().fence(fence);
    match seata.register_tcc_with(action, options).await {
        Err(RegisterError::Fence(error @ FenceError::Unusable(_))) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_the_fences_own_kind_of_database_is_open() {
    on_runtime(async {
        let database = databases::sqlite().await;
        let asked = branch("127.0.0.1:8091:7", BranchId(8));
        let ctx = seamio::client::tcc::ActionContext::of_branch("withdraw", &asked);
        let mut ctx = ctx.expect("a context");
        let refused = database.execute_in(&mut ctx, "SELECT 1".to_owned()).await;
        assert!(
            matches!(refused, Err(FenceError::NoConnection)),
            "{refused:?}"
        );
    });
}
