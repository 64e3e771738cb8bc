//! The load against a coordinator that answers from a script, in simulated time: what it counts, and what its check finds.

use std::time::{Duration, Instant};

use super::load::{Content, Frame, Load, Plan};
use super::scenario::Scenario;
use crate::proto::Text;
use crate::proto::message::{
    BranchEnd, BranchRegisterResponse, GlobalBeginResponse, GlobalEndResponse, Message,
    RegisterResponse, TxResult,
};
use crate::proto::status::{BranchType, ExceptionCode, GlobalStatus};

fn plan(scenario: Scenario, rate: Option<f64>) -> Plan {
    Plan {
        scenario,
        clients: 3,
        connections: 2,
        rate,
        warmup: Duration::ZERO,
        duration: Duration::from_secs(1),
        settle: Duration::from_secs(1),
        version: "1.4.2".into(),
        hot_rows: 1,
        salt: 0,
    }
}

/// A coordinator that answers at once, and then calls the branches.
#[derive(Default)]
struct Fake {
    ids: i64,
    open: Vec<(Text, i64, usize)>,
    conflicts: usize,
    forget_calls: bool,
}

impl Fake {
    fn answer(&mut self, frame: &Frame) -> Vec<(usize, i32, Message)> {
        let Content::Request(message) = &frame.content else {
            return Vec::new();
        };
        let identified = RegisterResponse {
            identified: true,
            version: Text::from("x"),
        };
        let mut answers = Vec::new();
        let answer = match message {
            Message::RegisterTm(_) => Message::RegisterTmResponse(identified),
            Message::RegisterRm(_) => Message::RegisterRmResponse(identified),
            Message::GlobalBegin(_) => {
                self.ids += 1;
                Message::GlobalBeginResponse(GlobalBeginResponse {
                    result: TxResult::Success,
                    xid: Text::from(format!("h:1:{}", self.ids)),
                    extra_data: Text::new(),
                })
            }
            Message::BranchRegister(register) => {
                self.ids += 1;
                let refused = self.conflicts > 0;
                self.conflicts = self.conflicts.saturating_sub(1);
                if !refused {
                    self.open.push((register.xid.clone(), self.ids, frame.link));
                }
                Message::BranchRegisterResponse(BranchRegisterResponse {
                    result: if refused {
                        let code = ExceptionCode::LockKeyConflict;
                        TxResult::Failed {
                            code,
                            message: Text::new(),
                        }
                    } else {
                        TxResult::Success
                    },
                    branch_id: self.ids,
                })
            }
            Message::GlobalCommit(end) => {
                self.call(&end.xid, true, &mut answers);
                Message::GlobalCommitResponse(ended(GlobalStatus::Committed))
            }
            Message::GlobalRollback(end) => {
                self.call(&end.xid, false, &mut answers);
                Message::GlobalRollbackResponse(ended(GlobalStatus::Rollbacked))
            }
            other => panic!("{other:?}"),
        };
        answers.push((frame.link, frame.id, answer));
        answers
    }

    fn call(&mut self, xid: &Text, commit: bool, calls: &mut Vec<(usize, i32, Message)>) {
        for (xid, branch_id, link) in self.open.extract_if(.., |(of, ..)| of == xid) {
            let end = BranchEnd {
                xid,
                branch_id,
                branch_type: BranchType::At,
                resource_id: Text::from("r"),
                application_data: Text::new(),
            };
            let call = if commit {
                Message::BranchCommit(end)
            } else {
                Message::BranchRollback(end)
            };
            if !self.forget_calls {
                calls.insert(0, (link, 1 << 30, call));
            }
        }
    }
}

fn ended(global_status: GlobalStatus) -> GlobalEndResponse {
    GlobalEndResponse {
        result: TxResult::Success,
        global_status,
    }
}

/// Runs a plan in simulated time, each round trip taking 1 ms, until it is over.
fn run(plan: Plan, mut fake: Fake, start: Instant) -> Load {
    let mut load = Load::new(plan.clone(), start);
    let mut out = Vec::new();
    let mut now = start;
    for link in 0..plan.links() {
        load.handle_open(link, &mut out);
    }
    while !load.is_over() {
        let frames = std::mem::take(&mut out);
        let idle = frames.is_empty();
        now = match load.next_deadline() {
            Some(deadline) if idle => now.max(deadline),
            _ => now + Duration::from_millis(1),
        };
        for frame in &frames {
            for (link, id, message) in fake.answer(frame) {
                load.handle_message(now, link, id, message, &mut out);
            }
        }
        load.handle_timeout(now, &mut out);
    }
    load
}

#[allow(clippy::disallowed_methods)] // the time to start simulated time from
fn start() -> Instant {
    Instant::now()
}

#[test]
fn every_scenario_runs_and_passes_its_check() {
    for scenario in [
        Scenario::Empty,
        Scenario::At1,
        Scenario::Tcc1,
        Scenario::Rollback2,
        Scenario::Hot,
    ] {
        let load = run(plan(scenario, None), Fake::default(), start());
        let (tally, audit) = load.into_results();
        let requests = 2 + scenario.branches() as u64;
        // Three clients, one round trip per request and ms, for a second.
        let expected = 3 * 1000 / requests;
        assert!(
            tally.completed.abs_diff(expected) <= 6,
            "{scenario}: {}",
            tally.completed
        );
        assert!(tally.errors.is_empty(), "{:?}", tally.errors);
        let verdict = audit.verdict();
        assert!(verdict.passed(), "{scenario}: {verdict:?}");
        assert_eq!(
            verdict.branches as u64,
            tally.completed * scenario.branches() as u64
        );
    }
}

#[test]
fn an_open_loop_keeps_its_rate_and_counts_from_the_due_time() {
    let load = run(plan(Scenario::Empty, Some(100.0)), Fake::default(), start());
    assert_eq!(load.unstarted(), 0);
    assert!(
        load.tally().completed.abs_diff(100) <= 1,
        "{}",
        load.tally().completed
    );
    assert!(load.tally().total.quantile(0.99) < 4.0);
    // Three clients at 2 ms each can do 1500 a second: 3000 is too much, and the delay is seen.
    let load = run(
        plan(Scenario::Empty, Some(3000.0)),
        Fake::default(),
        start(),
    );
    assert!(load.unstarted() > 1000, "{}", load.unstarted());
    assert!(load.tally().total.quantile(0.5) > 100.0);
}

#[test]
fn conflicts_are_tried_again_and_given_up_in_the_end() {
    let fake = Fake {
        conflicts: 5,
        ..Fake::default()
    };
    let load = run(plan(Scenario::Hot, None), fake, start());
    assert_eq!(load.tally().conflicts, 5);
    assert!(load.tally().errors.is_empty());
    let fake = Fake {
        conflicts: usize::MAX,
        ..Fake::default()
    };
    let load = run(plan(Scenario::Hot, None), fake, start());
    assert_eq!(load.tally().completed, 0);
    assert!(
        load.tally()
            .errors
            .contains_key("register: LockKeyConflict")
    );
    assert!(
        load.into_results().1.verdict().passed(),
        "nothing was promised a commit"
    );
}

#[test]
fn a_coordinator_that_forgets_phase_two_fails_the_check() {
    let fake = Fake {
        forget_calls: true,
        ..Fake::default()
    };
    let load = run(plan(Scenario::At1, None), fake, start());
    let (tally, audit) = load.into_results();
    assert_eq!(audit.verdict().missing as u64, tally.completed);
}

#[test]
fn a_lost_connection_fails_what_waited_on_it() {
    let (mut out, now) = (Vec::new(), start());
    let mut load = Load::new(plan(Scenario::Empty, None), now);
    let mut fake = Fake::default();
    for link in 0..2 {
        load.handle_open(link, &mut out);
    }
    for frame in std::mem::take(&mut out) {
        for (link, id, message) in fake.answer(&frame) {
            load.handle_message(now, link, id, message, &mut out);
        }
    }
    assert_eq!(out.len(), 3, "each client began");
    load.handle_closed(now, 0, &mut out);
    assert_eq!(load.tally().failed(), 2, "clients 0 and 2 use connection 0");
    assert_eq!(load.lost(), 1);
}
