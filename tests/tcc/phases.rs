//! The phases of an action without a fence: what runs, with which arguments, and what is answered.

use std::sync::Mutex;

use seamio::client::resource::PhaseTwo;
use seamio::client::tcc::{
    ActionContext, AddError, ContextError, RegisterError, ReportTime, TccAction, TccError,
    TccOptions, TryError,
};
use seamio::client::{BranchError, Error, Seata, TxOptions};
use seamio::proto::Text;
use seamio::proto::status::{BranchStatus, BranchType};
use seamio::xid::BranchId;
use serde::{Deserialize, Serialize};

use crate::fixture::{Coordinator, Log, commit, on_runtime, roll_back};

#[derive(Clone, Debug, PartialEq)]
enum Event {
    Tried(i64),
    Confirmed(i64, Option<String>),
    Cancelled(Option<i64>, Option<String>),
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Order {
    amount: i64,
}

/// What a phase does instead of succeeding.
#[derive(Clone, Copy, Debug)]
enum Failure {
    Later,
    Never,
    Panic,
}

/// An action that writes down what it is asked, and leaves a word for its second phase.
struct Recorder {
    log: Log<Event>,
    /// Of the next second phases.
    failures: Mutex<Vec<Failure>>,
    word: &'static str,
}

impl Recorder {
    fn new(log: &Log<Event>) -> Self {
        Self {
            log: log.clone(),
            failures: Mutex::new(Vec::new()),
            word: "",
        }
    }

    fn failing(log: &Log<Event>, failures: &[Failure]) -> Self {
        let failures = Mutex::new(failures.iter().rev().copied().collect());
        Self {
            failures,
            ..Self::new(log)
        }
    }

    /// Writes down what was asked and fails as the test says. What the test orders after it saw the entry is for the next one.
    fn outcome(&self, event: Event) -> Result<(), TccError> {
        let failure = self.failures.lock().expect("no panic within").pop();
        self.log.note(event);
        match failure {
            None => Ok(()),
            Some(Failure::Later) => Err(TccError::retryable("as the test says")),
            Some(Failure::Never) => Err(TccError::unretryable("as the test says")),
            Some(Failure::Panic) => panic!("as the test says"),
        }
    }
}

impl TccAction for Recorder {
    type Args = Order;
    type Out = BranchId;
    type Error = String;
    const NAME: &'static str = "recorder";

    async fn try_(&self, ctx: &mut ActionContext, order: &Order) -> Result<BranchId, String> {
        self.log.note(Event::Tried(order.amount));
        if !self.word.is_empty() {
            ctx.add("word", self.word)
                .await
                .map_err(|error| error.to_string())?;
        }
        match order.amount {
            0 => Err("nothing to do".to_owned()),
            _ => Ok(ctx.branch_id()),
        }
    }

    async fn confirm(&self, ctx: &mut ActionContext, order: Order) -> Result<(), TccError> {
        self.outcome(Event::Confirmed(order.amount, ctx.get("word")?))
    }

    async fn cancel(&self, ctx: &mut ActionContext, order: Option<Order>) -> Result<(), TccError> {
        let amount = order.map(|order| order.amount);
        self.outcome(Event::Cancelled(amount, ctx.get("word")?))
    }
}

const ORDER: Order = Order { amount: 7 };

async fn begin(seata: &Seata) -> seamio::client::TxGuard {
    seata.begin(TxOptions::new("test")).await.expect("begun")
}

#[test]
fn a_commit_confirms_and_a_rollback_cancels() {
    on_runtime(async {
        let coordinator = Coordinator::start();
        let (seata, log) = (coordinator.client().await, Log::new());
        let tcc = seata
            .register_tcc(Recorder::new(&log))
            .await
            .expect("registered");

        let tx = begin(&seata).await;
        tcc.try_in(&tx, ORDER).await.expect("tried");
        commit(tx).await;
        log.wait_for(&Event::Confirmed(7, None), 1).await;

        let tx = begin(&seata).await;
        tcc.try_in(&tx, Order { amount: 8 }).await.expect("tried");
        roll_back(tx).await;
        log.wait_for(&Event::Cancelled(Some(8), None), 1).await;
        let all = [
            Event::Tried(7),
            Event::Confirmed(7, None),
            Event::Tried(8),
            Event::Cancelled(Some(8), None),
        ];
        assert_eq!(log.entries(), all);
    });
}

#[test]
fn a_failing_try_is_told_to_its_caller_only_and_cancelled() {
    on_runtime(async {
        let coordinator = Coordinator::start();
        let (seata, log) = (coordinator.client().await, Log::new());
        let tcc = seata
            .register_tcc(Recorder::new(&log))
            .await
            .expect("registered");
        let tx = begin(&seata).await;
        let failed = tcc.try_in(&tx, Order { amount: 0 }).await;
        assert!(
            matches!(&failed, Err(TryError::Action(reason)) if reason == "nothing to do"),
            "{failed:?}"
        );
        roll_back(tx).await;
        log.wait_for(&Event::Cancelled(Some(0), None), 1).await;
    });
}

#[test]
fn without_a_transaction_that_takes_branches_nothing_is_tried() {
    on_runtime(async {
        let coordinator = Coordinator::start();
        let (seata, log) = (coordinator.client().await, Log::new());
        let tcc = seata
            .register_tcc(Recorder::new(&log))
            .await
            .expect("registered");
        let tx = begin(&seata).await;
        let handle = (*tx).clone();
        commit(tx).await;
        let late = tcc.try_in(&handle, ORDER).await;
        assert!(
            matches!(
                late,
                Err(TryError::NotRegistered(BranchError::NotActive { .. }))
            ),
            "{late:?}"
        );
        assert_eq!(log.entries(), []);
    });
}

#[test]
fn second_phases_are_asked_until_they_succeed() {
    on_runtime(async {
        let coordinator = Coordinator::start();
        let (seata, log) = (coordinator.client().await, Log::new());
        let failures = [Failure::Later, Failure::Panic, Failure::Later];
        let action = Recorder::failing(&log, &failures);
        let tcc = seata.register_tcc(action).await.expect("registered");
        let tx = begin(&seata).await;
        tcc.try_in(&tx, ORDER).await.expect("tried");
        commit(tx).await;
        log.wait_for(&Event::Confirmed(7, None), 4).await;

        *tcc.action().failures.lock().expect("free") = failures.to_vec();
        let tx = begin(&seata).await;
        tcc.try_in(&tx, ORDER).await.expect("tried");
        roll_back(tx).await;
        log.wait_for(&Event::Cancelled(Some(7), None), 4).await;
    });
}

/// A branch as the coordinator would ask about it.
fn branch(application_data: &str) -> PhaseTwo {
    PhaseTwo {
        xid: Text::from("127.0.0.1:8091:1"),
        branch_id: BranchId(2),
        application_data: Text::from(application_data),
    }
}

#[test]
fn every_outcome_has_its_status() {
    on_runtime(async {
        let coordinator = Coordinator::start();
        let (seata, log) = (coordinator.client().await, Log::new());
        let failures = [
            Failure::Later,
            Failure::Never,
            Failure::Later,
            Failure::Never,
        ];
        let action = Recorder::failing(&log, &failures);
        let tcc = seata.register_tcc(action).await.expect("registered");
        let resource = tcc.resource();
        assert_eq!(
            (resource.id(), resource.branch_type()),
            ("recorder", BranchType::Tcc)
        );
        let asked = branch(r#"{"actionContext":{"amount":"7"}}"#);
        for status in [
            BranchStatus::PhaseTwoCommitFailedRetryable,
            BranchStatus::PhaseTwoCommitFailedUnretryable,
        ] {
            assert_eq!(resource.clone().commit(asked.clone()).await, status);
        }
        for status in [
            BranchStatus::PhaseTwoRollbackFailedRetryable,
            BranchStatus::PhaseTwoRollbackFailedUnretryable,
            BranchStatus::PhaseTwoRollbacked,
        ] {
            assert_eq!(resource.clone().rollback(asked.clone()).await, status);
        }
        let committed = resource.commit(asked).await;
        assert_eq!(committed, BranchStatus::PhaseTwoCommitted);
    });
}

#[test]
fn what_cannot_be_read_is_no_panic_and_cancels_without_arguments_run() {
    on_runtime(async {
        let coordinator = Coordinator::start();
        let (seata, log) = (coordinator.client().await, Log::new());
        let tcc = seata
            .register_tcc(Recorder::new(&log))
            .await
            .expect("registered");
        let resource = tcc.resource();
        for data in ["nonsense", "[1]", r#"{"actionContext":{"amount":"many"}}"#] {
            let later = resource.clone().commit(branch(data)).await;
            assert_eq!(later, BranchStatus::PhaseTwoCommitFailedRetryable, "{data}");
            let later = resource.clone().rollback(branch(data)).await;
            assert_eq!(
                later,
                BranchStatus::PhaseTwoRollbackFailedRetryable,
                "{data}"
            );
        }
        assert_eq!(log.entries(), [], "nothing ran");
        let done = resource.rollback(branch("")).await;
        assert_eq!(done, BranchStatus::PhaseTwoRollbacked);
        assert_eq!(log.entries(), [Event::Cancelled(None, None)]);
    });
}

#[test]
fn a_fenced_branch_needs_a_fence() {
    on_runtime(async {
        let coordinator = Coordinator::start();
        let (seata, log) = (coordinator.client().await, Log::new());
        let tcc = seata
            .register_tcc(Recorder::new(&log))
            .await
            .expect("registered");
        let asked = branch(r#"{"actionContext":{"amount":7,"useTCCFence":true}}"#);
        let later = tcc.resource().commit(asked).await;
        assert_eq!(later, BranchStatus::PhaseTwoCommitFailedRetryable);
        assert_eq!(log.entries(), [], "nothing ran");
    });
}

#[test]
fn what_a_try_adds_reaches_its_second_phase() {
    on_runtime(async {
        for time in [ReportTime::AtOnce, ReportTime::AfterTry] {
            let coordinator = Coordinator::start();
            let (seata, log) = (coordinator.client().await, Log::new());
            let action = Recorder {
                word: "hold-1",
                ..Recorder::new(&log)
            };
            let options = TccOptions::new().report(time);
            let tcc = seata
                .register_tcc_with(action, options)
                .await
                .expect("registered");
            let word = Some("hold-1".to_owned());
            let tx = begin(&seata).await;
            tcc.try_in(&tx, ORDER).await.expect("tried");
            commit(tx).await;
            log.wait_for(&Event::Confirmed(7, word.clone()), 1).await;

            let tx = begin(&seata).await;
            let failed = tcc.try_in(&tx, Order { amount: 0 }).await;
            assert!(matches!(failed, Err(TryError::Action(_))), "{failed:?}");
            roll_back(tx).await;
            log.wait_for(&Event::Cancelled(Some(0), word), 1).await;
        }
    });
}

#[test]
fn a_context_that_is_too_long_is_refused_before_anything_happens() {
    on_runtime(async {
        let coordinator = Coordinator::start();
        let (seata, log) = (coordinator.client().await, Log::new());
        let options = TccOptions::new().context_characters_max(100);
        let tcc = seata
            .register_tcc_with(Recorder::new(&log), options)
            .await
            .expect("registered");
        let tx = begin(&seata).await;
        let refused = tcc.try_in(&tx, ORDER).await;
        let Err(TryError::Context(ContextError::TooLong { limit, .. })) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!((limit, log.entries()), (100, vec![]));
        roll_back(tx).await;
    });
}

#[test]
fn a_second_phase_cannot_add() {
    on_runtime(async {
        let mut ctx = ActionContext::of_branch("recorder", &branch("")).expect("nothing");
        let refused = ctx.add("word", "x").await;
        assert!(matches!(refused, Err(AddError::NotInTry)), "{refused:?}");
    });
}

#[test]
fn a_name_is_registered_once_and_has_to_be_fit() {
    struct Unfit;

    impl TccAction for Unfit {
        type Args = ();
        type Out = ();
        type Error = String;
        const NAME: &'static str = "a,b";

        async fn try_(&self, _: &mut ActionContext, (): &()) -> Result<(), String> {
            Ok(())
        }

        async fn confirm(&self, _: &mut ActionContext, (): ()) -> Result<(), TccError> {
            Ok(())
        }

        async fn cancel(&self, _: &mut ActionContext, _: Option<()>) -> Result<(), TccError> {
            Ok(())
        }
    }

    on_runtime(async {
        let coordinator = Coordinator::start();
        let (seata, log) = (coordinator.client().await, Log::new());
        let first = seata.register_tcc(Recorder::new(&log)).await;
        assert!(first.is_ok());
        let second = seata.register_tcc(Recorder::new(&log)).await;
        assert!(
            matches!(second, Err(RegisterError::Client(Error::Invalid(_)))),
            "{second:?}"
        );
        let unfit = seata.register_tcc(Unfit).await;
        assert!(matches!(unfit, Err(RegisterError::Name(_))), "{unfit:?}");
    });
}

#[test]
fn many_transactions_at_once_are_kept_apart() {
    on_runtime(async {
        let coordinator = Coordinator::start();
        let (seata, log) = (coordinator.client().await, Log::new());
        let tcc = seata
            .register_tcc(Recorder::new(&log))
            .await
            .expect("registered");
        let tasks: Vec<_> = (1..=50_i64)
            .map(|amount| {
                let (seata, tcc) = (seata.clone(), tcc.clone());
                tokio::spawn(async move {
                    let tx = begin(&seata).await;
                    tcc.try_in(&tx, Order { amount }).await.expect("tried");
                    match amount % 2 {
                        0 => commit(tx).await,
                        _ => roll_back(tx).await,
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        for amount in 1..=50 {
            let ended = match amount % 2 {
                0 => Event::Confirmed(amount, None),
                _ => Event::Cancelled(Some(amount), None),
            };
            log.wait_for(&ended, 1).await;
        }
        assert_eq!(log.entries().len(), 100);
    });
}
