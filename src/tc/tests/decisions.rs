//! Every cell of the decision table, coordinator.md 1.7, for every client version that is told something else.

use super::*;
use crate::tc::store::{Decision, End, NewBranch, NewGlobal, Outcome, Ticket};
use crate::xid::BranchId;
use BranchStatus::{PhaseOneDone, PhaseOneFailed, PhaseTwoCommitted, Registered};
use ExceptionCode::{
    BranchTransactionNotExist, FailedStore, FailedToAddBranch, GlobalTransactionNotExist,
    GlobalTransactionStatusInvalid, LockableCheckFailed,
};
use GlobalStatus::*;

/// A row of the table: stored status, commit below 1.7, commit from 1.7, rollback, status. The last step, for what a
/// client can decode, is [`decodable`].
const ROWS: [(GlobalStatus, [GlobalStatus; 4]); 19] = [
    (Committing, [Committing, Committing, Committing, Committing]),
    (
        CommitRetrying,
        [
            CommitRetrying,
            CommitRetrying,
            CommitRetrying,
            CommitRetrying,
        ],
    ),
    (
        Rollbacking,
        [Rollbacking, TimeoutRollbacking, Rollbacking, Rollbacking],
    ),
    (
        RollbackRetrying,
        [
            RollbackRetrying,
            TimeoutRollbackRetrying,
            RollbackRetrying,
            RollbackRetrying,
        ],
    ),
    (
        Unknown,
        [
            RollbackRetrying,
            TimeoutRollbackRetrying,
            RollbackRetrying,
            RollbackRetrying,
        ],
    ),
    (TimeoutRollbacking, [TimeoutRollbacking; 4]),
    (TimeoutRollbackRetrying, [TimeoutRollbackRetrying; 4]),
    (
        AsyncCommitting,
        [Committed, Committed, AsyncCommitting, AsyncCommitting],
    ),
    (Committed, [Committed; 4]),
    (CommitFailed, [CommitFailed; 4]),
    (
        Rollbacked,
        [Rollbacked, TimeoutRollbacked, Rollbacked, Rollbacked],
    ),
    (
        RollbackFailed,
        [
            RollbackFailed,
            TimeoutRollbackFailed,
            RollbackFailed,
            RollbackFailed,
        ],
    ),
    (TimeoutRollbacked, [TimeoutRollbacked; 4]),
    (TimeoutRollbackFailed, [TimeoutRollbackFailed; 4]),
    (CommitRetryTimeout, [CommitRetryTimeout; 4]),
    (
        RollbackRetryTimeout,
        [
            RollbackRetryTimeout,
            TimeoutRollbackFailed,
            RollbackRetryTimeout,
            RollbackRetryTimeout,
        ],
    ),
    (Deleting, [Finished, Finished, Finished, Deleting]),
    (StopCommitOrCommitRetry, [StopCommitOrCommitRetry; 4]),
    (
        StopRollbackOrRollbackRetry,
        [
            StopRollbackOrRollbackRetry,
            TimeoutRollbackRetrying,
            StopRollbackOrRollbackRetry,
            StopRollbackOrRollbackRetry,
        ],
    ),
];

/// The last step below the table.
fn decodable(version: &str, status: GlobalStatus) -> GlobalStatus {
    let below_1_5 = matches!(version, "" | "1.4.2");
    let below_2_4 = version != "2.6.0";
    match status {
        CommitRetryTimeout if below_1_5 => CommitFailed,
        RollbackRetryTimeout if below_1_5 => RollbackFailed,
        Deleting if below_2_4 => Finished,
        StopCommitOrCommitRetry if below_2_4 => CommitRetrying,
        StopRollbackOrRollbackRetry if below_2_4 => RollbackRetrying,
        status => status,
    }
}

fn from_1_7(version: &str) -> bool {
    matches!(version, "1.7.1" | "2.2.0" | "2.6.0")
}

pub(super) fn xid() -> Text {
    Text::from("10.0.0.9:8091:77")
}

pub(super) const BRANCH: i64 = 78;

/// A store operation outside of any coordinator.
pub(super) fn apply(store: &mut MemoryStore, operation: Operation) -> Outcome {
    store.submit(Ticket(0), operation);
    store.poll_completion().unwrap().outcome
}

/// A store with one transaction in `status`. It has a branch on a resource that nobody serves.
pub(super) fn stored(status: GlobalStatus, saga: bool) -> MemoryStore {
    let mut store = MemoryStore::new(StoreLimits::default());
    let xid = parsed(&xid());
    let now_ms = START_MS;
    let begin = Operation::Begin(NewGlobal {
        xid: xid.clone(),
        application_id: "app".into(),
        transaction_service_group: "group".into(),
        name: Text::new(),
        timeout_ms: 60_000,
        begin_ms: now_ms,
    });
    assert_eq!(apply(&mut store, begin), Outcome::Done);
    let branch_type = match saga {
        true => BranchType::Saga,
        false => BranchType::Tcc,
    };
    let register = Operation::Register(NewBranch {
        xid: xid.clone(),
        branch_id: BranchId(BRANCH),
        branch_type,
        resource_id: "nobody".into(),
        client_id: "app:10.0.0.2:5".into(),
        application_data: "registered".into(),
        lock_key: Text::new(),
        now_ms,
    });
    assert_eq!(apply(&mut store, register), Outcome::Done);
    if status != Begin {
        decide(&mut store, status);
    }
    store
}

/// Brings the transaction of a store from Begin into another status.
pub(super) fn decide(store: &mut MemoryStore, status: GlobalStatus) {
    let commit = matches!(
        status,
        Committing
            | CommitRetrying
            | AsyncCommitting
            | Committed
            | CommitFailed
            | CommitRetryTimeout
            | StopCommitOrCommitRetry
    );
    let (decision, from) = match commit {
        true => (Decision::Commit, Committing),
        false => (Decision::Rollback, Rollbacking),
    };
    let (xid, now_ms) = (parsed(&xid()), START_MS);
    let decide = Operation::Decide {
        xid: xid.clone(),
        decision,
        now_ms,
    };
    assert!(matches!(apply(store, decide), Outcome::Decided(_)));
    let set = Operation::SetStatus {
        xid,
        from,
        to: status,
        now_ms,
    };
    assert_eq!(apply(store, set), Outcome::Done, "{status}");
}

fn world(status: GlobalStatus, saga: bool, version: &str, java: bool) -> (World, ChannelId) {
    let config = CoordinatorConfig {
        java_answers: java,
        ..CoordinatorConfig::default()
    };
    let mut world = World::over(config, stored(status, saga));
    let tm = world.tm("app", version);
    (world, tm)
}

#[test]
fn commit_rollback_and_status_of_every_stored_status_for_every_version() {
    let mut cells = 0;
    for java in [false, true] {
        for version in VERSIONS {
            for (status, [old, new, rollback, asked]) in ROWS {
                for saga in [true, false] {
                    if status == Unknown && !saga {
                        continue; // only a SAGA gets there
                    }
                    let (mut world, tm) = world(status, saga, version, java);
                    let commit = if from_1_7(version) && !java { new } else { old };
                    let context = format!("{status} version {version:?} saga {saga} java {java}");
                    let told = |status| decodable(version, status);
                    assert_eq!(world.commit(tm, &xid()), told(commit), "commit {context}");
                    assert_eq!(
                        world.rollback(tm, &xid()),
                        told(rollback),
                        "rollback {context}"
                    );
                    assert_eq!(world.status(tm, &xid()), told(asked), "status {context}");
                    assert_eq!(world.stored_status(&xid()), Some(status), "{context}");
                    assert_eq!(world.calls(), [], "nothing is driven by asking: {context}");
                    cells += 3;
                }
            }
        }
    }
    assert_eq!(cells, 2 * 6 * (19 * 2 - 1) * 3);
}

#[test]
fn a_row_left_as_finished_goes_and_is_told_as_finished() {
    for version in VERSIONS {
        let (mut world, tm) = world(Finished, true, version, false);
        assert_eq!(world.stored_status(&xid()), None);
        assert_eq!(world.commit(tm, &xid()), Finished);
        assert_eq!(world.rollback(tm, &xid()), Finished);
        assert_eq!(world.status(tm, &xid()), Finished);
        let refused = world.try_register(tm, at(&xid(), "r", "t:1")).unwrap_err();
        assert_eq!(refused.0, GlobalTransactionNotExist);
        let refused = world.report(tm, &xid(), BRANCH, PhaseOneDone, "");
        assert_eq!(refused, Err(GlobalTransactionNotExist));
    }
}

#[test]
fn unknown_malformed_and_empty_xids_are_finished() {
    for version in VERSIONS {
        for xid in ["10.0.0.9:8091:5", "nonsense", "", "a:b:c", "h:1:-3"] {
            let mut world = World::new();
            let tm = world.tm("app", version);
            let xid = Text::from(xid);
            assert_eq!(world.commit(tm, &xid), Finished);
            assert_eq!(world.rollback(tm, &xid), Finished);
            assert_eq!(world.status(tm, &xid), Finished);
            for kind in BranchType::ALL {
                let refused = world.try_register(tm, branch(&xid, *kind, "r", "t:1"));
                let (code, text) = refused.unwrap_err();
                assert_eq!(code, GlobalTransactionNotExist);
                assert_eq!(
                    text,
                    format!(
                        "TransactionException[Could not found global transaction xid = {xid}, \
                         may be has finished.]"
                    )
                    .as_str()
                );
            }
            let refused = world.report(tm, &xid, 1, PhaseOneFailed, "");
            assert_eq!(refused, Err(GlobalTransactionNotExist));
            for reported in GlobalStatus::ALL {
                let echoed = world.ask(tm, report(&xid, Some(*reported)));
                assert_eq!(told(echoed), *reported);
            }
            assert_eq!(world.stats().live, 0);
        }
    }
}

fn report(xid: &Text, global_status: Option<GlobalStatus>) -> Message {
    Message::GlobalReport(GlobalReport {
        xid: xid.clone(),
        extra_data: Text::new(),
        global_status,
    })
}

#[test]
fn what_has_ended_is_told_again_by_its_tombstone() {
    // end, commit below 1.7, commit from 1.7, rollback
    for (end, old, new, rollback) in [
        (End::Committed, Finished, Committed, AsyncCommitting),
        (End::RolledBack, Finished, Finished, Rollbacked),
        (
            End::TimedOut,
            Finished,
            TimeoutRollbacked,
            TimeoutRollbacked,
        ),
        (End::Finished, Finished, Finished, Finished),
    ] {
        for version in VERSIONS {
            for java in [false, true] {
                let mut store = stored(Committing, false);
                let finish = Operation::Finish {
                    xid: parsed(&xid()),
                    end,
                    now_ms: START_MS,
                };
                assert!(matches!(apply(&mut store, finish), Outcome::Finished(_)));
                let config = CoordinatorConfig {
                    java_answers: java,
                    ..CoordinatorConfig::default()
                };
                let mut world = World::over(config, store);
                let tm = world.tm("app", version);
                let commit = if from_1_7(version) && !java { new } else { old };
                for _ in 0..2 {
                    assert_eq!(world.commit(tm, &xid()), commit, "{end:?} {version:?}");
                    assert_eq!(world.rollback(tm, &xid()), rollback, "{end:?} {version:?}");
                    assert_eq!(world.status(tm, &xid()), Finished);
                }
                for kind in BranchType::ALL {
                    let refused = world.try_register(tm, branch(&xid(), *kind, "r", "t:1"));
                    assert_eq!(refused.unwrap_err().0, GlobalTransactionNotExist);
                }
                for status in [PhaseOneFailed, PhaseTwoCommitted] {
                    let refused = world.report(tm, &xid(), BRANCH, status, "");
                    assert_eq!(refused, Err(GlobalTransactionNotExist));
                }
                for reported in GlobalStatus::ALL {
                    let echoed = world.ask(tm, report(&xid(), Some(*reported)));
                    assert_eq!(told(echoed), *reported);
                }
                world.advance(Duration::from_secs(599));
                assert_eq!(world.commit(tm, &xid()), commit);
                world.advance(Duration::from_secs(12));
                assert_eq!(world.commit(tm, &xid()), Finished, "forgotten");
                assert_eq!(world.rollback(tm, &xid()), Finished, "forgotten");
            }
        }
    }
}

#[test]
fn registrations_at_every_stored_status() {
    for (status, _) in ROWS {
        for saga in [true, false] {
            if status == Unknown && !saga {
                continue;
            }
            for kind in BranchType::ALL {
                for version in VERSIONS {
                    let (mut world, tm) = world(status, saga, version, false);
                    let context = format!("{status} saga {saga} {kind}");
                    let ends = matches!(
                        status,
                        Committed | Rollbacked | TimeoutRollbacked | Deleting
                    );
                    let accepted = saga && *kind == BranchType::Saga && !ends;
                    let asked = world.try_register(tm, branch(&xid(), *kind, "r", "t:1"));
                    match asked {
                        Ok(_) => assert!(accepted, "{context}"),
                        Err((code, text)) => {
                            assert!(!accepted, "{context}");
                            assert_eq!(code, GlobalTransactionStatusInvalid, "{context}");
                            let ending = format!("status = {status} while expecting Begin]");
                            assert!(text.ends_with(&ending), "{text}");
                        }
                    }
                    assert_eq!(world.locks(), 0);
                    // What is wrong with the request itself does not change the answer of a decided transaction.
                    let mut bad = branch(&xid(), *kind, "r", "no colon");
                    bad.application_data = "x".repeat(70_000).as_str().into();
                    let code = world.try_register(tm, bad).unwrap_err().0;
                    let refused = match accepted {
                        true => FailedToAddBranch,
                        false => GlobalTransactionStatusInvalid,
                    };
                    assert_eq!(code, refused, "{context}");
                }
            }
        }
    }
}

#[test]
fn branch_reports_at_every_stored_status() {
    for (status, _) in ROWS {
        for saga in [true, false] {
            if status == Unknown && !saga {
                continue;
            }
            for reported in BranchStatus::ALL {
                let (mut world, tm) = world(status, saga, "2.2.0", false);
                let context = format!("{status} saga {saga} {reported}");
                let before = world.stored(&xid()).unwrap().branches;
                assert_eq!(
                    world.report(tm, &xid(), BRANCH, *reported, "new"),
                    Ok(()),
                    "{context}"
                );
                let after = world.stored(&xid()).unwrap().branches;
                if saga {
                    assert_eq!(after[0].status, *reported, "{context}");
                    assert_eq!(after[0].application_data, "new", "{context}");
                } else {
                    assert_eq!(before, after, "ignored: {context}");
                    assert_eq!(world.stats().reports_ignored, 1);
                }
                let unknown = world.report(tm, &xid(), 4711, *reported, "new");
                assert_eq!(unknown, Err(BranchTransactionNotExist), "{context}");
            }
        }
    }
}

#[test]
fn branch_reports_while_begin() {
    for kind in BranchType::ALL {
        for reported in BranchStatus::ALL {
            let mut world = World::new();
            let tm = world.tm("app", "1.4.2");
            let xid = world.begin(tm);
            let mut request = branch(&xid, *kind, "r", "");
            request.application_data = "old".into();
            let id = world.register(tm, request);
            for data in ["new", ""] {
                assert_eq!(world.report(tm, &xid, id, *reported, data), Ok(()));
                let stored = &world.stored(&xid).unwrap().branches[0];
                let kept = matches!(reported.code(), 1..=4 | 13 | 15) || *kind == BranchType::Saga;
                if kept {
                    assert_eq!(stored.status, *reported);
                    assert_eq!(
                        stored.application_data, "new",
                        "blank data replaces nothing"
                    );
                } else {
                    assert_eq!(stored.status, Registered, "{kind} {reported}");
                    assert_eq!(stored.application_data, "old");
                }
            }
            let unknown = world.report(tm, &xid, id + 1, *reported, "");
            assert_eq!(unknown, Err(BranchTransactionNotExist));
        }
    }
}

#[test]
fn global_reports_change_nothing_outside_of_a_saga() {
    let rows = ROWS.iter().filter(|(status, _)| *status != Unknown);
    let begin = (Begin, [Begin; 4]);
    for (status, [.., asked]) in rows.chain([&begin]) {
        for version in VERSIONS {
            for reported in GlobalStatus::ALL.iter().copied().map(Some).chain([None]) {
                let (mut world, tm) = world(*status, false, version, false);
                let answer = told(world.ask(tm, report(&xid(), reported)));
                assert_eq!(answer, decodable(version, *asked), "{status} {reported:?}");
                assert_eq!(world.stored_status(&xid()), Some(*status));
            }
        }
    }
}

#[test]
fn register_refusals_of_a_begin_session() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let xid = world.begin(tm);
    let mut big = tcc(&xid, "r");
    big.application_data = "é".repeat(32_000).as_str().into();
    world.register(tm, big.clone());
    big.application_data = format!("{}x", big.application_data).as_str().into();
    let (code, text) = world.try_register(tm, big).unwrap_err();
    assert_eq!(code, FailedToAddBranch);
    assert!(
        text.starts_with("TransactionException[") && text.contains("64001"),
        "{text}"
    );
    for key in ["t", "t:", "t:1;u", "t: , ", ":"] {
        let refused = world.try_register(tm, at(&xid, "r", key));
        assert_eq!(refused.unwrap_err().0, FailedToAddBranch, "{key:?}");
        world.register(tm, branch(&xid, BranchType::Xa, "r", key));
    }
    assert_eq!(world.locks(), 0);
    for key in ["", "t:1;", "t:1,,2", ";;t:3"] {
        world.register(tm, at(&xid, "r", key));
    }
    assert_eq!(world.locks(), 3);
}

#[test]
fn lock_queries_ask_about_rows_and_not_about_transactions() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let (one, two) = (world.begin(tm), world.begin(tm));
    world.register(tm, at(&one, "r", "t:1"));
    let query = |world: &mut World, request: BranchRegister| match world
        .ask(tm, Message::GlobalLockQuery(request))
    {
        Message::GlobalLockQueryResponse(r) => match r.result {
            TxResult::Success => Ok(r.lockable),
            TxResult::Failed { code, .. } => Err(code),
        },
        other => panic!("{other:?}"),
    };
    let unknown = Text::from("h:1:99");
    for asker in [&two, &unknown, &Text::new(), &Text::from("null")] {
        assert_eq!(query(&mut world, at(asker, "r", "t:1")), Ok(false));
        assert_eq!(query(&mut world, at(asker, "r", "t:2")), Ok(true));
        assert_eq!(query(&mut world, at(asker, "q", "t:1")), Ok(true));
        assert_eq!(query(&mut world, tcc(asker, "r")), Ok(true));
        assert_eq!(query(&mut world, at(asker, "r", "")), Ok(true));
        assert_eq!(
            query(&mut world, at(asker, "r", "nonsense")),
            Err(LockableCheckFailed)
        );
        let other = branch(asker, BranchType::Xa, "r", "t:1");
        assert_eq!(query(&mut world, other), Ok(true));
    }
    assert_eq!(query(&mut world, at(&one, "r", "t:1")), Ok(true));
    assert_eq!(world.stats().lock_queries_held, 4);
    world.failing = Some(|operation| matches!(operation, Operation::QueryLocks { .. }));
    assert_eq!(query(&mut world, at(&two, "r", "t:1")), Err(FailedStore));
    assert_eq!(
        query(&mut world, at(&Text::new(), "r", "t:1")),
        Err(FailedStore)
    );
}

#[test]
fn a_look_at_a_transaction_copies_no_branch_but_the_one_asked_for() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let xid = world.begin(tm);
    let branches: Vec<_> = (0..3).map(|_| world.register(tm, tcc(&xid, "r"))).collect();
    let shown = |world: &mut World, branch: Option<i64>| {
        let operation = Operation::Fetch {
            xid: parsed(&xid),
            branch_id: branch.map(BranchId),
            now_ms: world.now().wall_ms,
        };
        world.store.submit(Ticket(1), operation);
        match world.store.poll_completion().map(|done| done.outcome) {
            Some(Outcome::Found(global)) => {
                assert_eq!((global.status, global.name.as_str()), (Begin, "name"));
                let ids = global.branches.iter().map(|branch| branch.branch_id.0);
                ids.collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(shown(&mut world, None), [0i64; 0]);
    assert_eq!(shown(&mut world, Some(branches[1])), [branches[1]]);
    assert_eq!(shown(&mut world, Some(7)), [0i64; 0]);
}
