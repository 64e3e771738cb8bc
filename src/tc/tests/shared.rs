//! One of several coordinators on a shared store: leases, transactions that come and go, and siblings that are quicker.
//!
//! The store is the memory store; what siblings do to it is done to it directly, what it tells is told by the test.

use super::*;
use crate::tc::store::{Completion, Decision, Outcome, Seq, StoreEvent, Ticket, Urgency};
use GlobalStatus::*;

pub(super) fn config() -> CoordinatorConfig {
    CoordinatorConfig {
        shared: true,
        ..CoordinatorConfig::default()
    }
}

pub(super) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A coordinator with a lease of an hour, a TM, and an RM of `resources`.
pub(super) fn world(resources: &str) -> (World, ChannelId, ChannelId) {
    let mut world = World::with(config());
    world.lease(secs(3600));
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm("app", resources);
    (world, tm, rm)
}

impl World {
    pub(super) fn event(&mut self, event: StoreEvent) {
        let now = self.now();
        self.coordinator.handle_store_event(now, event);
        self.pump();
    }

    /// The store tells a lease that lasts so long from now on.
    pub(super) fn lease(&mut self, time: Duration) {
        let until = self.now().instant + time;
        self.event(StoreEvent::Leased(until));
        self.advance(Duration::from_millis(1));
    }

    /// A sibling does something.
    pub(super) fn sibling(&mut self, operation: Operation) -> Outcome {
        self.store.submit(Ticket(0), operation);
        self.store.poll_completion().unwrap().outcome
    }

    pub(super) fn sibling_decides(&mut self, xid: &Text, decision: Decision) -> Outcome {
        let now_ms = self.now().wall_ms;
        let xid = parsed(xid);
        self.sibling(Operation::Decide {
            xid,
            decision,
            now_ms,
        })
    }

    pub(super) fn sibling_ends(&mut self, xid: &Text, branch: i64) -> Outcome {
        let now_ms = self.now().wall_ms;
        let (xid, branch_id) = (parsed(xid), crate::xid::BranchId(branch));
        self.sibling(Operation::EndBranch {
            xid,
            branch_id,
            urgency: Urgency::Now,
            now_ms,
        })
    }

    /// A sibling begins a transaction with one TCC branch on `resource`.
    pub(super) fn sibling_begins(&mut self, timeout_ms: i32, resource: &str) -> (Text, i64) {
        let now_ms = self.now().wall_ms;
        self.channels += 1;
        let number = (7 << 53) + 2 * self.channels as i64;
        let xid = Xid::new("other:8091", number);
        let begun = self.sibling(Operation::Begin(crate::tc::store::NewGlobal {
            xid: xid.clone(),
            application_id: "app".into(),
            transaction_service_group: "group".into(),
            name: "name".into(),
            timeout_ms,
            begin_ms: now_ms,
        }));
        assert_eq!(begun, Outcome::Done);
        let registered = self.sibling(Operation::Register(crate::tc::store::NewBranch {
            xid: xid.clone(),
            branch_id: crate::xid::BranchId(number + 1),
            branch_type: BranchType::Tcc,
            resource_id: resource.into(),
            client_id: "app:10.0.0.2:1".into(),
            application_data: Text::new(),
            lock_key: Text::new(),
            now_ms,
        }));
        assert_eq!(registered, Outcome::Done);
        (xid.as_text().clone(), number + 1)
    }

    pub(super) fn global(&self, xid: &Text) -> Global {
        self.stored(xid).expect("it is live")
    }

    pub(super) fn offered(&mut self, xid: &Text, resource: &str) {
        let (xid, resource_id) = (parsed(xid), resource.into());
        self.event(StoreEvent::Offered { xid, resource_id });
    }

    /// How often the coordinator has asked for a transaction.
    pub(super) fn adoptions(&self) -> usize {
        let adopts = |o: &&Operation| matches!(o, Operation::Adopt { .. });
        self.log.iter().filter(adopts).count()
    }

    /// The resources that the coordinator has offered transactions for.
    pub(super) fn offers(&self) -> Vec<&str> {
        let wanted = self.log.iter().filter_map(|o| match o {
            Operation::Offer { resource_id, .. } => Some(resource_id.as_str()),
            _ => None,
        });
        wanted.collect()
    }

    /// The store, which slept, carries out the next operation, or says this instead.
    pub(super) fn store_answers(&mut self, instead: Option<Outcome>) {
        let (ticket, operation) = self.coordinator.poll_operation().expect("an operation");
        self.log.push(operation.clone());
        let outcome = instead.unwrap_or_else(|| self.sibling(operation));
        let (now, after) = (self.now(), Seq(0));
        self.coordinator.handle_completion(
            now,
            Completion {
                ticket,
                outcome,
                after,
            },
        );
        self.pump();
    }

    /// Nothing is remembered of any transaction.
    pub(super) fn assert_forgotten(&self) {
        assert_eq!(self.coordinator.globals.len(), 0, "{:?}", self.stats());
        let stats = self.stats();
        assert_eq!((stats.live, stats.drives, stats.held), (0, 0, 0));
    }
}

#[test]
fn branches_are_called_only_while_the_lease_lasts() {
    let mut world = World::with(config());
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm("app", "r");
    let commit = |world: &mut World| {
        let xid = world.begin(tm);
        world.register(rm, tcc(&xid, "r"));
        let id = world.start_commit(tm, &xid);
        (xid, id)
    };
    let (first, first_id) = commit(&mut world);
    assert_eq!(world.stored_status(&first), Some(Committing));
    world.advance(secs(5));
    assert_eq!(world.calls(), [], "no lease was ever told");
    world.lease(secs(9));
    let call = world.call();
    world.reply(&call, BranchStatus::PhaseTwoCommitted);
    assert_eq!(world.told(tm, first_id), Some(Committed));

    world.advance(secs(9) - Duration::from_millis(2));
    let (_, second_id) = commit(&mut world);
    let call = world.call();
    world.advance(Duration::from_millis(1));
    let (third, third_id) = commit(&mut world);
    assert_eq!(world.calls(), [], "its last moment does not count");
    assert_eq!(world.status(tm, &third), Committing);
    // What was called before is done, whenever its answer comes.
    world.reply(&call, BranchStatus::PhaseTwoCommitted);
    assert_eq!(world.told(tm, second_id), Some(Committed));
    world.advance(secs(30));
    assert_eq!(world.told(tm, third_id), Some(Committing));
    world.lease(secs(9));
    assert_eq!(world.reply_all().len(), 1);
    assert_eq!(world.status(tm, &third), Finished);
    world.assert_forgotten();
}

#[test]
fn retries_and_deadlines_wait_for_the_lease_too() {
    let (mut world, tm, rm) = world("r");
    let xid = world.begin(tm);
    world.register(rm, tcc(&xid, "r"));
    world.start_rollback(tm, &xid);
    let late = world.begin_with(tm, "late", 60_000);
    world.register(rm, tcc(&late, "r"));
    let call = world.call();
    world.event(StoreEvent::Leased(world.start));
    world.reply(&call, BranchStatus::PhaseTwoRollbackFailedRetryable);
    world.advance(secs(120));
    assert_eq!(world.calls(), []);
    assert_eq!(world.stored_status(&xid), Some(RollbackRetrying));
    assert_eq!(world.stored_status(&late), Some(TimeoutRollbacking));
    // One that registers wakes nobody without a lease.
    world.rm("app", "r");
    assert_eq!(world.calls(), []);
    world.lease(secs(9));
    assert_eq!(world.reply_all().len(), 2);
    world.assert_forgotten();
}

#[test]
fn requests_are_served_without_a_lease() {
    let mut world = World::with(config());
    let tm = world.tm("app", "2.2.0");
    let xid = world.begin(tm);
    world.register(tm, at(&xid, "r", "t:1"));
    assert_eq!(world.status(tm, &xid), Begin);
    assert_eq!(world.commit(tm, &xid), Committed);
    let (foreign, _) = world.sibling_begins(60_000, "r");
    world.register(tm, tcc(&foreign, "r"));
    assert_eq!(world.status(tm, &foreign), Begin);
    world.start_rollback(tm, &foreign);
    assert_eq!(world.stored_status(&foreign), Some(Rollbacking));
    assert_eq!(world.calls(), []);
}

#[test]
fn an_adopted_transaction_keeps_its_deadline_or_is_driven_at_once() {
    let (mut world, _, _) = world("r");
    let (begun, _) = world.sibling_begins(5_000, "r");
    let (decided, _) = world.sibling_begins(60_000, "r");
    world.sibling_decides(&decided, Decision::Commit);
    for xid in [&begun, &decided, &begun, &decided] {
        world.event(StoreEvent::Adopted(world.global(xid)));
    }
    assert_eq!(world.stats().recovered, 2);
    let call = world.call();
    assert_eq!((&call.end.xid, call.commit), (&decided, true));
    world.reply(&call, BranchStatus::PhaseTwoCommitted);
    world.advance(secs(4));
    assert_eq!(world.calls(), []);
    world.advance(secs(2));
    let call = world.call();
    assert_eq!((&call.end.xid, call.commit), (&begun, false));
    world.reply(&call, BranchStatus::PhaseTwoRollbacked);
    world.assert_forgotten();
}

#[test]
fn what_waits_for_an_operator_is_adopted_and_left_alone() {
    let (mut world, _, _) = world("r");
    let (xid, _) = world.sibling_begins(60_000, "r");
    world.sibling_decides(&xid, Decision::Rollback);
    world.sibling(Operation::SetStatus {
        xid: parsed(&xid),
        from: Rollbacking,
        to: RollbackFailed,
        now_ms: 0,
    });
    let global = world.global(&xid);
    world.event(StoreEvent::Adopted(global.clone()));
    world.event(StoreEvent::Adopted(global));
    world.advance(secs(100));
    assert_eq!(world.calls(), []);
    assert_eq!((world.stats().live, world.stats().recovered), (1, 1));
    // An operator ends it at a sibling.
    world.sibling(Operation::Finish {
        xid: parsed(&xid),
        end: crate::tc::store::End::RolledBack,
        now_ms: 0,
    });
    let tm = world.tm("app", "2.2.0");
    assert_eq!(world.status(tm, &xid), Finished);
    world.assert_forgotten();
}

#[test]
fn a_transaction_adopted_during_a_request_is_driven_once_and_the_requester_answered() {
    for decided_here in [true, false] {
        let (mut world, tm, _) = world("r");
        let (xid, _) = world.sibling_begins(60_000, "r");
        if !decided_here {
            world.sibling_decides(&xid, Decision::Commit);
        }
        world.asleep = true;
        let id = world.start_commit(tm, &xid);
        if decided_here {
            // The store has decided, and its answer is on its way.
            world.sibling_decides(&xid, Decision::Commit);
        }
        let global = world.global(&xid);
        world.event(StoreEvent::Adopted(global.clone()));
        match decided_here {
            true => world.store_answers(Some(Outcome::Decided(global))),
            false => world.store_answers(None),
        }
        world.asleep = false;
        world.pump();
        assert_eq!(world.adoptions(), 1);
        let call = world.call();
        world.reply(&call, BranchStatus::PhaseTwoCommitted);
        let told = if decided_here { Committed } else { Committing };
        assert_eq!(world.told(tm, id), Some(told));
        assert_eq!(world.calls(), []);
        world.assert_forgotten();
    }
}

#[test]
fn a_transaction_that_could_not_be_taken_on_is_asked_for_again() {
    let (mut world, tm, _) = world("r");
    let (xid, _) = world.sibling_begins(60_000, "r");
    world.sibling_decides(&xid, Decision::Commit);
    world.asleep = true;
    // It is on offer first, then the one that offered it is gone.
    world.offered(&xid, "r");
    world.send(tm, Message::GlobalStatus(end(&xid)));
    world.event(StoreEvent::Adopted(world.global(&xid)));
    world.asleep = false;
    world.failing = Some(|operation| matches!(operation, Operation::Adopt { .. }));
    world.pump();
    assert_eq!(world.adoptions(), 2);
    world.assert_forgotten();
    world.advance(secs(11));
    assert_eq!(world.calls(), []);
    world.failing = None;
    world.advance(secs(11));
    assert_eq!(world.reply_all().len(), 1);
    world.assert_forgotten();
}

#[test]
fn one_that_shuts_down_takes_no_offers() {
    let (mut world, _, _) = world("r");
    let (xid, _) = world.sibling_begins(60_000, "r");
    world.sibling_decides(&xid, Decision::Commit);
    let now = world.now();
    world.coordinator.handle_drain(now);
    world.offered(&xid, "r");
    assert_eq!(world.adoptions(), 0);
}

#[test]
fn an_undecided_transaction_adopted_during_a_request_has_a_deadline() {
    let (mut world, tm, _) = world("r");
    let (xid, _) = world.sibling_begins(5_000, "r");
    world.asleep = true;
    let id = world.send(tm, Message::GlobalStatus(end(&xid)));
    world.event(StoreEvent::Adopted(world.global(&xid)));
    world.asleep = false;
    world.pump();
    assert_eq!(world.told(tm, id), Some(Begin));
    world.advance(secs(6));
    assert_eq!(world.reply_all().len(), 1);
    world.assert_forgotten();
}

#[test]
fn an_offer_is_taken_only_with_an_rm_and_a_lease() {
    let mut world = World::with(config());
    let (xid, _) = world.sibling_begins(60_000, "r");
    world.sibling_decides(&xid, Decision::Commit);
    let rm = world.rm("app", "r");
    world.offered(&xid, "r");
    assert_eq!(world.adoptions(), 0, "no lease");
    world.close(rm);
    world.lease(secs(3600));
    world.offered(&xid, "r");
    assert_eq!(world.adoptions(), 0, "no RM");
    let tm = world.tm("app", "2.2.0");
    world.offered(&xid, "r");
    assert_eq!(world.adoptions(), 0, "a TM is no RM, {tm:?}");
    world.rm("app", "r");
    world.offered(&xid, "r");
    assert_eq!(world.adoptions(), 1);
    let call = world.call();
    world.offered(&xid, "r");
    assert_eq!(world.adoptions(), 1, "it is driven here");
    world.reply(&call, BranchStatus::PhaseTwoCommitted);
    world.assert_forgotten();
}

#[test]
fn an_offer_that_a_sibling_took_leaves_nothing_behind() {
    let outcomes = [
        Outcome::Status(Committing),
        Outcome::Unknown,
        Outcome::Failed("no connection".to_owned()),
    ];
    for outcome in outcomes {
        let (mut world, _, _) = world("r");
        let (xid, _) = world.sibling_begins(60_000, "r");
        world.sibling_decides(&xid, Decision::Commit);
        world.asleep = true;
        world.offered(&xid, "r");
        world.offered(&xid, "r");
        world.store_answers(Some(outcome));
        assert_eq!(world.coordinator.poll_operation(), None);
        assert_eq!(world.calls(), []);
        world.assert_forgotten();
    }
}

#[test]
fn a_drive_without_an_rm_is_offered_and_taken_back_when_one_comes() {
    let (mut world, tm, rm) = world("other");
    let xid = world.begin(tm);
    world.register(rm, tcc(&xid, "r"));
    let id = world.start_commit(tm, &xid);
    assert_eq!(world.told_failed(tm, id), CommitRetrying);
    assert_eq!(world.offers(), ["r"]);
    assert_eq!(world.stats().passed_on, 1);
    world.assert_forgotten();
    for _ in 0..5 {
        world.offered(&xid, "r");
        world.advance(secs(1));
    }
    assert_eq!(world.adoptions(), 0);
    world.rm("app", "r");
    world.offered(&xid, "r");
    assert_eq!(world.reply_all().len(), 1);
    assert_eq!(world.offers().len(), 1);
    assert_eq!(world.status(tm, &xid), Finished);
    world.assert_forgotten();
}

#[test]
fn a_drive_that_cannot_be_offered_goes_on_here() {
    let (mut world, tm, rm) = world("other");
    world.failing = Some(|operation| matches!(operation, Operation::Offer { .. }));
    let xid = world.begin(tm);
    world.register(rm, tcc(&xid, "r"));
    world.start_rollback(tm, &xid);
    assert_eq!(world.offers(), ["r"]);
    world.advance(secs(30));
    let tried = world.offers().len();
    assert!((3..10).contains(&tried), "with the pauses of retries");
    world.rm("app", "r");
    assert_eq!(world.reply_all().len(), 1);
    world.assert_forgotten();
}

#[test]
fn an_rm_that_comes_while_the_offer_is_at_the_store_changes_nothing() {
    let (mut world, tm, rm) = world("other");
    let xid = world.begin(tm);
    world.register(rm, tcc(&xid, "r"));
    world.asleep = true;
    world.start_rollback(tm, &xid);
    world.store_answers(None);
    world.store_answers(None);
    assert_eq!(world.stored_status(&xid), Some(RollbackRetrying));
    let rm = world.connect("10.0.0.2", 99);
    world.register_rm(rm, "app", "r");
    world.advance(secs(2));
    assert_eq!(world.calls(), []);
    world.store_answers(None);
    world.asleep = false;
    assert_eq!(world.offers(), ["r"]);
    world.assert_forgotten();
    world.offered(&xid, "r");
    assert_eq!(world.reply_all().len(), 1);
    world.assert_forgotten();
}

#[test]
fn a_blank_resource_is_never_offered() {
    let (mut world, tm, _) = world("r");
    let xid = world.begin(tm);
    world.register(tm, tcc(&xid, ""));
    world.start_rollback(tm, &xid);
    world.advance(secs(60));
    assert_eq!(world.offers().len(), 0);
    assert_eq!(world.stats().drives, 1);
}

#[test]
fn what_can_be_done_here_is_done_before_the_offer() {
    for commit in [true, false] {
        let (mut world, tm, rm) = world("here");
        let xid = world.begin(tm);
        for resource in ["here", "there", "here"] {
            world.register(rm, tcc(&xid, resource));
        }
        match commit {
            true => world.start_commit(tm, &xid),
            false => world.start_rollback(tm, &xid),
        };
        assert_eq!(world.reply_all().len(), 2);
        assert_eq!(world.offers(), ["there"]);
        assert_eq!(world.global(&xid).branches.len(), 1);
        world.assert_forgotten();
    }
}

#[test]
fn a_call_in_flight_is_waited_for_before_the_offer() {
    let mut world = World::with(CoordinatorConfig {
        parallel_branches: true,
        ..config()
    });
    world.lease(secs(3600));
    let rm = world.rm("app", "here");
    let xid = world.begin(rm);
    world.register(rm, tcc(&xid, "here"));
    world.register(rm, tcc(&xid, "there"));
    world.start_rollback(rm, &xid);
    let call = world.call();
    world.advance(secs(5));
    assert_eq!(world.offers().len(), 0);
    world.reply(&call, BranchStatus::PhaseTwoRollbackFailedRetryable);
    assert_eq!(world.offers(), ["there"]);
    world.assert_forgotten();
}

#[test]
fn two_coordinators_with_half_of_the_rms_each_come_to_an_end() {
    let (mut world, tm, rm) = world("a");
    let xid = world.begin(tm);
    world.register(rm, tcc(&xid, "a"));
    let b = world.register(rm, tcc(&xid, "b"));
    world.start_commit(tm, &xid);
    // Its own branch fails for now, the other one can be called by the sibling only.
    let call = world.call();
    world.reply(&call, BranchStatus::PhaseTwoCommitFailedRetryable);
    assert_eq!(world.offers(), ["b"]);
    world.assert_forgotten();
    // The sibling has no RM of `a`, and offers in turn: the pause of the failed try is kept.
    assert_eq!(world.sibling_ends(&xid, b), Outcome::Done);
    world.offered(&xid, "a");
    assert_eq!(world.adoptions(), 0);
    world.advance(secs(2));
    world.offered(&xid, "a");
    assert_eq!(world.reply_all().len(), 1);
    assert_eq!(world.status(tm, &xid), Finished);
    world.assert_forgotten();
}

#[test]
fn an_rm_that_may_not_be_called_does_not_make_offers_go_in_circles() {
    // Another application serves the resource of a TCC branch: it is connected, and must not be called.
    let mut world = World::with(config());
    world.lease(secs(3600));
    let rm = world.rm("stranger", "r");
    let xid = world.begin(rm);
    let tm = world.tm("app", "2.2.0");
    world.register(tm, tcc(&xid, "r"));
    world.start_rollback(rm, &xid);
    assert_eq!(world.offers().len(), 1);
    for _ in 0..60 {
        world.offered(&xid, "r");
        world.advance(secs(1));
    }
    let tried = world.adoptions();
    assert!((2..8).contains(&tried), "{tried} times in a minute");
    assert_eq!(world.calls(), []);
    world.rm("app", "r");
    world.offered(&xid, "r");
    assert_eq!(
        world.reply_all().len(),
        1,
        "at once when the right one joins"
    );
    world.assert_forgotten();
}

#[test]
fn an_xa_branch_goes_first_to_whom_its_client_is_connected() {
    // Another process of the application serves the resource here; the client may be connected to a sibling.
    for (ip, others) in [("10.0.0.9", true), ("10.0.0.2", false)] {
        let (mut world, _, _) = world("r");
        world.advance(secs(100));
        let (xid, _) = world.sibling_begins(600_000, "none");
        let branch = world.global(&xid).branches[0].branch_id;
        let now_ms = world.now().wall_ms;
        world.sibling(Operation::Register(crate::tc::store::NewBranch {
            xid: parsed(&xid),
            branch_id: crate::xid::BranchId(branch.0 + 1000),
            branch_type: BranchType::Xa,
            resource_id: "r".into(),
            client_id: format!("app:{ip}:77").into(),
            application_data: Text::new(),
            lock_key: Text::new(),
            now_ms,
        }));
        world.sibling_decides(&xid, Decision::Rollback);
        world.sibling_ends(&xid, branch.0);
        world.event(StoreEvent::Adopted(world.global(&xid)));
        if others {
            assert_eq!(world.calls(), []);
            assert_eq!(world.offers(), ["r"]);
            for _ in 0..9 {
                world.offered(&xid, "r");
                world.advance(secs(1));
            }
            assert_eq!(world.adoptions(), 0, "others have their chance");
            world.advance(secs(2));
            world.offered(&xid, "r");
        }
        assert_eq!(world.reply_all().len(), 1);
        world.assert_forgotten();
    }
}

#[test]
fn an_offer_that_nobody_takes_is_given_up_in_time() {
    let mut world = World::with(CoordinatorConfig {
        rollback_retry_timeout: Some(secs(30)),
        ..config()
    });
    world.lease(secs(3600));
    let tm = world.tm("app", "2.2.0");
    let xid = world.begin(tm);
    world.register(tm, tcc(&xid, "r"));
    world.start_rollback(tm, &xid);
    // One that began elsewhere, whose coordinator is gone.
    let (orphan, _) = world.sibling_begins(60_000, "r");
    world.sibling_decides(&orphan, Decision::Rollback);
    for _ in 0..28 {
        world.offered(&xid, "r");
        world.offered(&orphan, "r");
        world.advance(secs(1));
    }
    assert_eq!(world.adoptions(), 0);
    for _ in 0..5 {
        world.offered(&xid, "r");
        world.offered(&orphan, "r");
        world.advance(secs(1));
    }
    assert_eq!(world.stored_status(&xid), Some(RollbackRetryTimeout));
    assert_eq!(world.stored_status(&orphan), Some(RollbackRetryTimeout));
    assert_eq!(world.stats().drives, 0);
}

#[test]
fn offers_that_are_told_no_more_are_forgotten() {
    let (mut world, tm, _) = world("other");
    let xid = world.begin(tm);
    world.register(tm, tcc(&xid, "r"));
    world.start_rollback(tm, &xid);
    assert_eq!(world.offers(), ["r"]);
    assert_eq!(world.coordinator.share.offers(), 1);
    world.advance(secs(700));
    assert_eq!(world.coordinator.share.offers(), 0);
}

#[test]
fn while_begins_are_barred_what_has_begun_goes_on() {
    let (mut world, tm, rm) = world("r");
    let xid = world.begin(tm);
    let reason = "a Java coordinator of version 1.4.2 works at 10.0.0.9:8091";
    world.event(StoreEvent::Barred(Some(reason.to_owned())));
    let begin = Message::GlobalBegin(GlobalBegin {
        timeout_ms: 60_000,
        transaction_name: "n".into(),
    });
    match world.ask(tm, begin) {
        Message::GlobalBeginResponse(r) => match r.result {
            TxResult::Failed { code, message } => {
                assert_eq!(code, ExceptionCode::BeginFailed);
                assert!(message.contains(reason), "{message}");
            }
            TxResult::Success => panic!("begun"),
        },
        other => panic!("{other:?}"),
    }
    assert_eq!(world.coordinator.stats().begins_refused, 1);
    world.register(rm, tcc(&xid, "r"));
    world.start_commit(tm, &xid);
    assert_eq!(world.coordinator.stats().commits_decided, 1);
    world.event(StoreEvent::Barred(None));
    world.begin(tm);
}
