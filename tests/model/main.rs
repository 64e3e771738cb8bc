//! The state machines of coordinator.md 1 as a small explicit-state model, explored exhaustively.
//!
//! What is modelled: a coordinator whose changes go through a log that becomes durable one record at a time, whose
//! outputs wait for the records before them; applications that begin, decide, repeat themselves and lose replies;
//! resource managers that register branches at any moment, refuse, answer twice or never; one crash, one partition,
//! and every timer at any moment. Breadth-first, each state once, so a violation is shown by a shortest path.
//!
//! What is checked in every state: invariants 1 to 6, 8, 10, 11, 15 and 16 of proof.md. What is checked on the whole
//! graph: 7 and 20, from every reachable state the steps that are no faults can still bring everything to its end.
//! Each `known bug` test puts one bug back and names the invariant that must catch it.
//!
//! What is left out: SAGA, old clients (their answers differ in wording only), branches that fail for good. The
//! simulation covers those on the real code.
//!
//! `SEAMIO_MODEL=full cargo test --release --test model` explores the larger bounds.

mod explore;
mod log;
mod machine;

use explore::{Report, explore};
use machine::{Bug, Place, Scenario};

/// One crash and one partition.
fn bounds() -> Scenario {
    Scenario {
        name: "",
        owners: [None; 2],
        branches: Vec::new(),
        crashes: 1,
        cuts: 1,
        refusals: 0,
        repeats: 0,
        queue: 2,
    }
}

fn partitioned(scenario: Scenario) -> Scenario {
    Scenario {
        cuts: 1,
        refusals: 0,
        repeats: 0,
        ..scenario
    }
}

/// Two applications decide about one transaction, which has two branches on the same row of one resource.
fn contended() -> Scenario {
    Scenario {
        name: "one transaction, commit against rollback against timeout",
        owners: [Some(0), Some(0)],
        branches: vec![Place::at(0, 0, 0b01), Place::at(0, 0, 0b10)],
        cuts: 0,
        refusals: 0,
        repeats: 1,
        ..bounds()
    }
}

/// Two transactions want the same row.
fn conflicting() -> Scenario {
    Scenario {
        name: "two transactions, one row",
        owners: [Some(0), Some(1)],
        branches: vec![Place::at(0, 0, 0b01), Place::at(1, 0, 0b10)],
        cuts: 0,
        queue: 3,
        ..bounds()
    }
}

/// Branches that are called before the application is answered (TCC), each on its own resource.
fn synchronous() -> Scenario {
    Scenario {
        name: "one transaction, two synchronous branches",
        owners: [Some(0), None],
        branches: vec![Place::tcc(0, 0, 0b01), Place::tcc(0, 1, 0b10)],
        cuts: 0,
        refusals: 1,
        repeats: 1,
        ..bounds()
    }
}

/// Everything at once; minutes and gigabytes.
fn full() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "two transactions, three branches, one crash, one partition",
            owners: [Some(0), Some(1)],
            branches: vec![
                Place::at(0, 0, 0b11),
                Place::at(0, 0, 0b11),
                Place::at(1, 0, 0b11),
            ],
            ..bounds()
        },
        Scenario {
            name: "one transaction, three branches, both parties",
            owners: [Some(0), Some(0)],
            branches: vec![
                Place::at(0, 0, 0b11),
                Place::tcc(0, 1, 0b01),
                Place::at(0, 0, 0b11),
            ],
            ..bounds()
        },
        Scenario {
            branches: vec![Place::at(0, 0, 0b11), Place::at(0, 0, 0b11)],
            cuts: 1,
            refusals: 1,
            ..contended()
        },
        Scenario {
            cuts: 1,
            ..conflicting()
        },
        Scenario {
            cuts: 1,
            queue: 4,
            ..synchronous()
        },
    ]
}

fn must_hold(scenario: &Scenario) {
    let report = explore(scenario, Bug::None);
    println!("{}: {report}", scenario.name);
    if let Report::Violated { .. } = report {
        panic!("{}: {report}", scenario.name);
    }
}

#[track_caller]
fn must_be_caught(scenario: &Scenario, bug: Bug, invariant: u8) {
    let report = explore(scenario, bug);
    println!("{bug:?}: {report}");
    match report {
        Report::Violated {
            invariant: found, ..
        } => {
            assert_eq!(found, invariant, "{bug:?} was caught as {report}");
        }
        Report::Holds { .. } => panic!("{bug:?} was not caught: {report}"),
    }
}

#[test]
fn one_transaction_decided_by_several_parties() {
    must_hold(&contended());
}

#[test]
fn one_transaction_decided_by_several_parties_across_a_partition() {
    must_hold(&partitioned(contended()));
}

#[test]
fn two_transactions_that_want_one_row() {
    must_hold(&conflicting());
}

#[test]
fn synchronous_branches() {
    must_hold(&synchronous());
}

#[test]
fn synchronous_branches_across_a_partition() {
    must_hold(&partitioned(synchronous()));
}

#[test]
fn larger_bounds_when_asked_for() {
    if std::env::var("SEAMIO_MODEL").is_ok_and(|v| v == "full") {
        full().iter().for_each(must_hold);
    } else {
        println!("skipped: set SEAMIO_MODEL=full");
    }
}

#[test]
fn known_bug_reply_before_sync() {
    must_be_caught(&contended(), Bug::ReplyBeforeSync, 2);
}

#[test]
fn known_bug_commit_and_timeout_race() {
    must_be_caught(&contended(), Bug::DecideWithoutCompare, 1);
}

#[test]
fn known_bug_branch_after_the_decision() {
    must_be_caught(&contended(), Bug::RegisterAfterDecision, 6);
}

#[test]
fn known_bug_forward_rollback_order() {
    must_be_caught(&contended(), Bug::ForwardRollback, 16);
}

#[test]
fn known_bug_locks_freed_before_the_decision() {
    must_be_caught(&conflicting(), Bug::ReleaseBeforeDecision, 10);
}

#[test]
fn known_bug_lock_taken_without_looking() {
    must_be_caught(&conflicting(), Bug::LockWithoutCheck, 8);
}

#[test]
fn known_bug_locks_left_behind_by_a_commit() {
    must_be_caught(&conflicting(), Bug::CommitKeepsLocks, 11);
}

#[test]
fn known_bug_late_commit_told_success() {
    must_be_caught(&contended(), Bug::TimeoutToldAsCommit, 5);
}

#[test]
fn known_bug_ended_transaction_forgotten_at_once() {
    must_be_caught(&synchronous(), Bug::NoTombstone, 15);
}

#[test]
fn known_bug_phase_two_forgotten_after_restart() {
    must_be_caught(&synchronous(), Bug::NoDriveAfterRestart, 20);
}

#[test]
fn known_bug_retry_of_a_commit_as_rollback() {
    must_be_caught(&synchronous(), Bug::RetryAsRollback, 3);
}

#[test]
fn known_bug_no_timeout_for_an_abandoned_transaction() {
    must_be_caught(&synchronous(), Bug::NoTimeout, 7);
}
