//! Tests of the future in which second phases run, polled by hand.

use std::task::Waker;

use super::*;
use crate::client::ticket::{Sink, Ticket, ticket};
use crate::proto::frame::MessageKind;
use crate::proto::message::{BranchEnd, UndoLogDelete};
use crate::proto::status::BranchType;

/// A resource whose second phases end when the test says so.
#[derive(Default)]
struct Slow {
    started: Mutex<Vec<(i64, Sink<BranchStatus>)>>,
    deletions: Mutex<Vec<i16>>,
}

impl Slow {
    fn begin(&self, branch: &PhaseTwo) -> Ticket<BranchStatus> {
        let (sink, done) = ticket();
        let mut started = self.started.lock().expect("not poisoned");
        started.push((branch.branch_id.0, sink));
        done
    }

    /// Branches that were started and have not been ended.
    fn at_work(&self) -> Vec<i64> {
        let started = self.started.lock().expect("not poisoned");
        started.iter().map(|(branch, _)| *branch).collect()
    }

    fn end(&self, branch: i64, status: BranchStatus) {
        let mut started = self.started.lock().expect("not poisoned");
        let at = started.iter().position(|(other, _)| *other == branch);
        let (_, sink) = started.remove(at.expect("it is at work"));
        drop(started);
        sink.send(status).expect("it waits");
    }
}

impl Resource for Slow {
    fn id(&self) -> &str {
        "slow"
    }

    fn branch_type(&self) -> BranchType {
        BranchType::At
    }

    fn commit(self: Arc<Self>, branch: PhaseTwo) -> BoxFuture<BranchStatus> {
        assert!(
            branch.application_data != "panic at once",
            "as the test says"
        );
        Box::pin(async move {
            assert!(branch.application_data != "panic", "as the test says");
            let done = self.begin(&branch);
            done.await.unwrap_or(BranchStatus::Unknown)
        })
    }

    fn rollback(self: Arc<Self>, branch: PhaseTwo) -> BoxFuture<BranchStatus> {
        self.commit(branch)
    }

    fn delete_undo_log(self: Arc<Self>, save_days: i16) -> BoxFuture<()> {
        Box::pin(async move { self.deletions.lock().expect("not poisoned").push(save_days) })
    }
}

struct Scene {
    jobs: Arc<Jobs>,
    inbox: Arc<Inbox>,
    counters: Arc<Counters>,
    slow: Arc<Slow>,
    background: Option<Background>,
}

impl Scene {
    fn new(concurrency: usize, queue_max: usize) -> Self {
        let (jobs, inbox) = (Arc::new(Jobs::new(queue_max)), Arc::new(Inbox::default()));
        let counters = Arc::new(Counters::default());
        let background = Background::new(
            Arc::clone(&jobs),
            Arc::clone(&inbox),
            Arc::clone(&counters),
            concurrency,
        );
        Self {
            jobs,
            inbox,
            counters,
            slow: Arc::default(),
            background: Some(background),
        }
    }

    fn poll(&mut self) -> Poll<()> {
        let background = self.background.as_mut().expect("not dropped");
        Pin::new(background).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn commit(&self, xid: &str, branch: i64) -> Result<Queued, String> {
        self.commit_with(xid, branch, "")
    }

    fn commit_with(&self, xid: &str, branch: i64, data: &str) -> Result<Queued, String> {
        let asked = Asked::Commit(BranchEnd {
            xid: xid.into(),
            branch_id: branch,
            branch_type: BranchType::At,
            resource_id: "slow".into(),
            application_data: data.into(),
        });
        self.push(asked, branch as i32)
    }

    fn push(&self, asked: Asked, id: i32) -> Result<Queued, String> {
        let head = FrameHead {
            kind: MessageKind::Request,
            serializer: 1,
            compressor: 0,
            id,
            head_map: Default::default(),
        };
        let work = Work {
            session: SessionId::from_u64(1),
            head,
            asked,
        };
        let slow: Arc<dyn Resource> = self.slow.clone();
        self.jobs
            .push(work, slow)
            .map_err(|unserved| unserved.why.to_owned())
    }

    /// What was answered since: the id of the request, the status.
    fn answers(&self) -> Vec<(i32, Option<BranchStatus>)> {
        let answers = self.inbox.take().into_iter().map(|command| match command {
            Command::Served { head, answer, .. } => {
                let status = answer.map(|answer| match answer {
                    Message::BranchCommitResponse(end) => end.branch_status,
                    other => panic!("{other:?}"),
                });
                (head.id, status)
            }
            _ => panic!("not an answer"),
        });
        answers.collect()
    }
}

const DONE: BranchStatus = BranchStatus::PhaseTwoCommitted;
const RETRY: Option<BranchStatus> = Some(BranchStatus::PhaseTwoCommitFailedRetryable);

/// The coordinator asks as soon as it sees the resource, which may be before the host has spawned the future.
#[test]
fn what_comes_before_it_is_spawned_waits_for_it() {
    let mut scene = Scene::new(4, 2);
    assert_eq!(scene.commit("x", 1), Ok(Queued::Unspawned));
    assert_eq!(scene.commit("y", 2), Ok(Queued::Soon));
    let why = scene.commit("z", 3).expect_err("full");
    assert!(why.contains("phase_two_queue"), "{why}");
    assert!(scene.poll().is_pending());
    assert_eq!(scene.slow.at_work(), [1, 2]);
    // Its time comes when there is nothing to give up any more.
    assert!(scene.jobs.give_up().is_empty());
    scene.slow.end(1, DONE);
    scene.slow.end(2, DONE);
    assert!(scene.poll().is_pending());
    assert_eq!(scene.answers(), [(1, Some(DONE)), (2, Some(DONE))]);
}

#[test]
fn nobody_waits_for_a_spawn_for_ever() {
    let mut scene = Scene::new(4, 4);
    scene.commit("x", 1).expect("waits");
    let given_up: Vec<i32> = scene
        .jobs
        .give_up()
        .iter()
        .map(|u| u.work.head.id)
        .collect();
    assert_eq!(given_up, [1]);
    let why = scene.commit("x", 1).expect_err("late");
    assert!(why.contains("spawned"), "{why}");
    assert!(scene.poll().is_pending());
    assert_eq!(scene.commit("x", 1), Ok(Queued::Soon));
}

#[test]
fn what_is_under_way_when_it_is_dropped_is_tried_again() {
    let mut scene = Scene::new(4, 4);
    assert!(scene.poll().is_pending());
    scene.commit("x", 1).expect("polled once");
    assert!(scene.poll().is_pending());
    scene.commit("x", 2).expect("waits for the first");
    scene.commit("y", 3).expect("waits for a poll");
    scene.background = None;
    let mut answers = scene.answers();
    answers.sort();
    assert_eq!(answers, [(1, RETRY), (2, RETRY), (3, RETRY)]);
    assert!(scene.commit("x", 1).is_err(), "dropped");
}

#[test]
fn one_transaction_at_a_time_others_at_once() {
    let mut scene = Scene::new(4, 9);
    let _ = scene.poll();
    for (xid, branch) in [("x", 1), ("x", 2), ("y", 3)] {
        scene.commit(xid, branch).expect("room");
    }
    let _ = scene.poll();
    assert_eq!(scene.slow.at_work(), [1, 3]);
    scene.slow.end(1, DONE);
    let _ = scene.poll();
    assert_eq!(scene.slow.at_work(), [3, 2]);
    scene
        .slow
        .end(2, BranchStatus::PhaseTwoCommitFailedUnretryable);
    scene.slow.end(3, DONE);
    let _ = scene.poll();
    let failed = Some(BranchStatus::PhaseTwoCommitFailedUnretryable);
    assert_eq!(
        scene.answers(),
        [(1, Some(DONE)), (2, failed), (3, Some(DONE))]
    );
    let background = scene.background.as_ref().expect("there");
    assert!(background.orders.is_empty() && background.running.is_empty());
    assert_eq!(scene.counters.snapshot().phase_two_failed, 1);
}

#[test]
fn no_more_than_so_many_at_once_and_no_more_than_so_many_wait() {
    let mut scene = Scene::new(2, 3);
    let _ = scene.poll();
    for branch in 0..3 {
        scene.commit(&format!("x{branch}"), branch).expect("room");
    }
    let why = scene.commit("y", 9).expect_err("full");
    assert!(why.contains("phase_two_queue"), "{why}");
    let _ = scene.poll();
    assert_eq!(scene.slow.at_work(), [0, 1]);
    scene.slow.end(0, DONE);
    let _ = scene.poll();
    assert_eq!(scene.slow.at_work(), [1, 2]);
}

#[test]
fn a_request_that_waits_and_comes_again_is_worked_on_once() {
    let mut scene = Scene::new(4, 9);
    let _ = scene.poll();
    scene.commit("x", 1).expect("room");
    scene.commit("x", 2).expect("room");
    let _ = scene.poll();
    scene.commit("x", 2).expect("room");
    let _ = scene.poll();
    // The earlier one is under way no more: an orderly end does not wait for it.
    let told = scene.inbox.take();
    assert!(matches!(told.front(), Some(Command::Release)));
    scene.slow.end(1, DONE);
    let _ = scene.poll();
    scene.slow.end(2, DONE);
    let _ = scene.poll();
    assert_eq!(scene.slow.at_work(), [0i64; 0]);
    assert_eq!(scene.answers().len(), 2);
}

#[test]
fn a_panic_is_a_failure_to_be_tried_again() {
    let mut scene = Scene::new(4, 9);
    let _ = scene.poll();
    scene.commit_with("x", 1, "panic").expect("room");
    scene.commit_with("x", 2, "panic at once").expect("room");
    scene.commit("x", 3).expect("room");
    let _ = scene.poll();
    assert_eq!(scene.answers(), [(1, RETRY), (2, RETRY)]);
    assert_eq!(scene.slow.at_work(), [3]);
    assert_eq!(scene.counters.snapshot().phase_two_panics, 2);
}

#[test]
fn old_undo_logs_are_deleted_without_an_answer() {
    let mut scene = Scene::new(4, 9);
    let _ = scene.poll();
    let delete = UndoLogDelete {
        branch_type: BranchType::At,
        resource_id: "slow".into(),
        save_days: 7,
    };
    scene.push(Asked::DeleteUndoLog(delete), 5).expect("room");
    let _ = scene.poll();
    assert_eq!(*scene.slow.deletions.lock().expect("not poisoned"), [7]);
    assert_eq!(scene.answers(), [(5, None)]);
}

#[test]
fn what_a_resource_spawns_runs_beside() {
    let mut scene = Scene::new(1, 9);
    let (sink, told) = ticket();
    let (go, gone) = ticket::<()>();
    let finite = Spawned::Finite(Box::pin(async move {
        gone.await;
        let _ = sink.send(1);
    }));
    assert!(scene.jobs.spawn(finite).is_ok());
    let _ = scene.poll();
    scene.commit("x", 1).expect("room");
    let _ = scene.poll();
    assert_eq!(scene.slow.at_work(), [1], "it takes no place");
    go.send(()).expect("it waits");
    let _ = scene.poll();
    assert_eq!(crate::client::wait(told), Some(1));
    assert!(matches!(
        scene.inbox.take().pop_front(),
        Some(Command::Release)
    ));
}

#[test]
fn what_never_ends_ends_with_the_client() {
    let mut scene = Scene::new(1, 9);
    let endless = || {
        Box::pin(std::future::poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::Pending
        }))
    };
    assert!(scene.jobs.spawn(Spawned::Loop(endless())).is_ok());
    assert!(scene.jobs.spawn(Spawned::Finite(endless())).is_ok());
    assert!(scene.poll().is_pending(), "and others get their turn");
    scene.jobs.close();
    assert!(scene.poll().is_ready());
    scene.background = None;
    assert!(matches!(
        scene.inbox.take().pop_front(),
        Some(Command::Release)
    ));
    assert!(scene.jobs.spawn(Spawned::Loop(endless())).is_err());
}

#[test]
fn it_ends_when_the_client_is_gone_and_its_work_is_done() {
    let mut scene = Scene::new(4, 9);
    let _ = scene.poll();
    scene.commit("x", 1).expect("room");
    let _ = scene.poll();
    scene.jobs.close();
    assert!(scene.poll().is_pending());
    assert!(scene.commit("x", 2).is_err(), "closed");
    scene.slow.end(1, DONE);
    assert!(scene.poll().is_ready());
}
