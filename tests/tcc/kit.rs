//! Actions on the test kit: no ports, a clock that the test moves, faults that it orders.

use std::time::Duration;

use seamio::client::tcc::{ActionContext, Tcc, TccAction, TccError, TryError};
use seamio::client::{Background, Error, Outcome, RollbackReason, Seata, TxOptions, wait};
use seamio::proto::message::Message;
use seamio::proto::status::{BranchStatus, ExceptionCode, GlobalStatus};
use seamio::sim::kit::{Asked, Fate, Fault, Kit};

use crate::fixture::Log;

struct Stamp {
    log: Log<&'static str>,
}

impl TccAction for Stamp {
    type Args = ();
    type Out = ();
    type Error = TccError;
    const NAME: &'static str = "stamp";

    async fn try_(&self, _ctx: &mut ActionContext, (): &()) -> Result<(), TccError> {
        self.log.note("try");
        Ok(())
    }

    async fn confirm(&self, _ctx: &mut ActionContext, (): ()) -> Result<(), TccError> {
        self.log.note("confirm");
        Ok(())
    }

    async fn cancel(&self, _ctx: &mut ActionContext, _args: Option<()>) -> Result<(), TccError> {
        self.log.note("cancel");
        Ok(())
    }
}

/// Has second phases run on a thread, and waits until it does: one that is asked for earlier is put off, and the clock stands still.
fn run(seata: &Seata, background: Background) {
    std::thread::spawn(move || wait(background));
    let (sender, running) = std::sync::mpsc::channel();
    seata
        .rm()
        .spawn(Box::pin(async move { _ = sender.send(()) }));
    running.recv().expect("the thread runs");
}

struct Scene {
    kit: Kit,
    seata: Seata,
    tcc: Tcc<Stamp>,
    log: Log<&'static str>,
}

impl Scene {
    fn open() -> Self {
        let kit = Kit::start().expect("a thread");
        let built = wait(kit.client(Seata::builder().application("kit-test")));
        let (seata, background) = built.expect("the coordinator is there");
        run(&seata, background);
        let log = Log::new();
        let action = Stamp { log: log.clone() };
        let tcc = wait(seata.register_tcc(action)).expect("registered");
        Self {
            kit,
            seata,
            tcc,
            log,
        }
    }

    fn begin(&self) -> seamio::client::TxGuard {
        wait(self.seata.begin(TxOptions::new("kit"))).expect("begun")
    }
}

#[test]
fn a_transaction_runs_and_is_written_down_while_the_clock_stands_still() {
    let scene = Scene::open();
    let tx = scene.begin();
    wait(scene.tcc.try_in(&tx, ())).expect("tried");
    let outcome = wait(tx.commit());
    assert!(outcome.is_committed(), "{outcome:?}");
    scene.log.becomes(&["try", "confirm"]);
    assert_eq!(scene.kit.now(), Duration::ZERO);
    let history = scene.kit.history();
    let kinds: Vec<i16> = history
        .iter()
        .map(|entry| entry.message.type_code())
        .collect();
    // Begin, register, commit, branch commit, each with its answer; the commit's comes last.
    assert_eq!(kinds, [1, 2, 11, 12, 7, 3, 4, 8]);
    assert!(history.iter().all(|entry| entry.fate == Fate::Arrived));
}

#[test]
fn a_transaction_that_takes_too_long_is_cancelled() {
    let scene = Scene::open();
    let options = TxOptions::new("slow").timeout(Duration::from_secs(60));
    let tx = wait(scene.seata.begin(options)).expect("begun");
    wait(scene.tcc.try_in(&tx, ())).expect("tried");
    scene.kit.advance(Duration::from_secs(61));
    scene.log.becomes(&["try", "cancel"]);
    let outcome = wait(tx.commit());
    let Outcome::RolledBack { reason, .. } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(reason, RollbackReason::Timeout);
}

#[test]
fn a_refused_begin_is_an_error_and_the_next_succeeds() {
    let scene = Scene::open();
    let code = ExceptionCode::BeginFailed;
    scene.kit.next(
        Asked::Begin,
        Fault::Refuse(code, "as the test says".to_owned()),
    );
    assert_eq!(scene.kit.faults_left(), 1);
    let refused = wait(scene.seata.begin(TxOptions::new("kit")));
    assert!(
        matches!(
            &refused,
            Err(Error::Refused {
                code: ExceptionCode::BeginFailed,
                ..
            })
        ),
        "{:?}",
        refused.err()
    );
    assert_eq!(scene.kit.faults_left(), 0);
    assert!(wait(scene.begin().commit()).is_committed());
}

#[test]
fn a_refused_branch_is_not_tried() {
    let scene = Scene::open();
    let code = ExceptionCode::FailedStore;
    scene
        .kit
        .next(Asked::Register, Fault::Refuse(code, "disk full".to_owned()));
    let tx = scene.begin();
    let refused = wait(scene.tcc.try_in(&tx, ()));
    assert!(
        matches!(refused, Err(TryError::NotRegistered(_))),
        "{refused:?}"
    );
    assert!(scene.log.entries().is_empty());
}

/// Commits on another thread, since the test has to move the clock meanwhile.
fn commit_elsewhere(tx: seamio::client::TxGuard) -> std::thread::JoinHandle<Outcome> {
    std::thread::spawn(move || wait(tx.commit()))
}

#[test]
fn a_commit_whose_answer_is_lost_is_asked_again() {
    for fault in [
        Fault::LoseAnswer,
        Fault::LoseRequest,
        Fault::KillAfter,
        Fault::KillBefore,
        Fault::Delay(Duration::from_secs(5)),
    ] {
        let scene = Scene::open();
        let tx = scene.begin();
        wait(scene.tcc.try_in(&tx, ())).expect("tried");
        scene.kit.next(Asked::Commit, fault.clone());
        let commit = commit_elsewhere(tx);
        scene.kit.wait_for(Asked::Commit, 1);
        scene.kit.advance(Duration::from_secs(59));
        let outcome = commit.join().expect("no panic");
        assert!(outcome.is_committed(), "{fault:?}: {outcome:?}");
        scene.log.becomes(&["try", "confirm"]);
    }
}

#[test]
fn a_confirm_whose_answer_is_lost_is_asked_again() {
    for fault in [
        Fault::LoseAnswer,
        Fault::LoseRequest,
        Fault::KillAfter,
        Fault::Refuse(ExceptionCode::Unknown, String::new()),
    ] {
        let scene = Scene::open();
        let tx = scene.begin();
        wait(scene.tcc.try_in(&tx, ())).expect("tried");
        scene.kit.next(Asked::BranchCommit, fault.clone());
        let commit = commit_elsewhere(tx);
        scene.kit.wait_for(Asked::BranchCommit, 1);
        scene.kit.advance(Duration::from_secs(120));
        let outcome = commit.join().expect("no panic");
        assert!(outcome.is_committed(), "{fault:?}: {outcome:?}");
        scene.kit.wait_for(Asked::BranchCommit, 2);
        let answers = scene.kit.history().into_iter().filter(|entry| {
            let done = BranchStatus::PhaseTwoCommitted;
            matches!(&entry.message, Message::BranchCommitResponse(a) if a.branch_status == done)
                && entry.fate == Fate::Arrived
        });
        assert_eq!(answers.count(), 1, "{fault:?}: {:#?}", scene.kit.history());
    }
}

#[test]
fn clients_come_back_after_their_connections_were_killed() {
    let scene = Scene::open();
    let tx = scene.begin();
    let xid = tx.xid().clone();
    wait(scene.tcc.try_in(&tx, ())).expect("tried");
    scene.kit.kill_connections();
    scene.kit.advance(Duration::from_secs(5));
    let outcome = wait(tx.rollback());
    assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome:?}");
    scene.kit.advance(Duration::from_secs(5));
    scene.log.becomes(&["try", "cancel"]);
    // Who asks for the status of what has ended learns that it has.
    let again = scene.seata.join(xid);
    let status = wait(again.status()).expect("an answer");
    assert_eq!(status, GlobalStatus::Finished);
}

#[test]
fn several_clients_finish_each_others_branches() {
    let scene = Scene::open();
    let built = wait(scene.kit.client(Seata::builder().application("kit-test")));
    let (other, background) = built.expect("the coordinator is there");
    run(&other, background);
    let log = Log::new();
    let action = Stamp { log: log.clone() };
    let _registered = wait(other.register_tcc(action)).expect("registered");
    let tx = scene.begin();
    wait(scene.tcc.try_in(&tx, ())).expect("tried");
    wait(scene.seata.close(Duration::ZERO));
    let reloaded = other.reload(tx.xid().clone());
    let commit = commit_elsewhere(reloaded);
    scene.kit.wait_for(Asked::BranchCommit, 1);
    assert!(commit.join().expect("no panic").is_committed());
    // The first question may go to the client that just closed; then the other one is asked after a pause.
    for _ in 0..300 {
        if !log.entries().is_empty() {
            break;
        }
        scene.kit.advance(Duration::from_secs(1));
    }
    log.becomes(&["confirm"]);
    scene.log.becomes(&["try"]);
    drop(tx);
}

#[test]
fn a_kit_may_be_dropped_before_its_clients() {
    let scene = Scene::open();
    let Scene { kit, seata, .. } = scene;
    drop(kit);
    let gone = wait(seata.begin(TxOptions::new("kit")));
    assert!(matches!(gone, Err(Error::Closed)), "{:?}", gone.err());
}
