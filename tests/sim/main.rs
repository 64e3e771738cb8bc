//! The simulation: the real coordinator over real stores, with simulated clients, network, disk and clock, in one
//! thread under one seed (proof.md 1).
//!
//! A run has two phases. First come faults: connections lost at any byte, delays, partitions, clients that die or
//! answer anything, disks that are slow or fail, the coordinator killed at any step and started again with what
//! survived. Then everything heals, and all that was begun must come to its end in time. What is checked all the while
//! stands in `checker.rs`.
//!
//! - `SEAMIO_SIM_SEEDS=2000 cargo test --test sim seeds` runs that many seeds from `SEAMIO_SIM_FIRST` (default 0).
//! - `SEAMIO_SIM_SEED=7 cargo test --test sim seeds` runs one and shows its trace when it fails.
//! - `fleet` does the same with several coordinators on one store: see `fleet.rs`.
//! - `whole_server` does the same with the whole server on a simulated network instead of the coordinator alone.
//!
//! Left out: SAGA (its engine decides, so "one decision" does not apply).

mod checker;
mod clients;
mod counts;
mod env;
mod fleet;
mod host;
mod journal;
mod link;
mod medium;
mod server;
mod shadow;
mod wire;
mod world;

use std::time::Instant;

use env::SECOND;
use fleet::FleetBug;
use host::HostBug;
use medium::DiskBug;
use world::{Ending, Options, run};

/// Seeds of a run in which nobody asks for another number.
const SEEDS: u64 = 300;
/// The same for the whole server, whose every turn is simulated.
const SERVER_SEEDS: u64 = 40;
/// The same for several coordinators.
const FLEET_SEEDS: u64 = 60;

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().expect("a number"))
}

fn needs_assertions() {
    if !cfg!(debug_assertions) {
        panic!("a simulation without assertions proves little: build without --release");
    }
}

fn show(seed: u64, test: &str, ending: &Ending) -> String {
    let Some(violation) = &ending.violation else {
        return String::new();
    };
    format!(
        "seed {seed}: invariant {}: {} (at {:.6} s; SEAMIO_SIM_SEED={seed} cargo test --test sim {test})",
        violation.invariant,
        violation.text,
        ending.simulated as f64 / SECOND as f64,
    )
}

/// Runs the seeds that the environment names, or `usual` ones.
#[allow(clippy::disallowed_methods)]
fn run_seeds(test: &str, options: Options, usual: u64) {
    needs_assertions();
    if let Some(seed) = number("SEAMIO_SIM_SEED") {
        let ending = run(
            seed,
            Options {
                keep_lines: true,
                ..options
            },
        );
        println!(
            "{:016x}, {} events, {:?}",
            ending.hash, ending.events, ending.counts
        );
        if ending.violation.is_some() {
            ending.lines.iter().for_each(|line| println!("{line}"));
            panic!("{}", show(seed, test, &ending));
        }
        return;
    }
    let first = number("SEAMIO_SIM_FIRST").unwrap_or(0);
    let count = number("SEAMIO_SIM_SEEDS").unwrap_or(usual);
    let start = Instant::now();
    let (mut simulated, mut events, mut failures) = (0, 0, Vec::new());
    let mut counts = counts::Counts::default();
    for seed in first..first + count {
        let ending = run(seed, options);
        simulated += ending.simulated;
        events += ending.events;
        counts.add(&ending.counts);
        if ending.violation.is_some() {
            let line = show(seed, test, &ending);
            println!("{line}");
            failures.push(line);
        }
    }
    let real = start.elapsed().as_secs_f64();
    let simulated = simulated as f64 / SECOND as f64;
    println!(
        "{test}: {count} seeds: {events} events, {simulated:.0} s simulated in {real:.1} s: {:.0} times real time; \
         {counts:?}",
        simulated / real,
    );
    let failed = failures.len();
    assert!(
        failed == 0,
        "{failed} of {count} seeds failed; the first: {}",
        failures[0]
    );
}

#[test]
fn seeds() {
    run_seeds("seeds", Options::default(), SEEDS);
}

/// The same with the reactor, the codec at its edge and the server's lane in between, and with the network's own faults.
#[test]
fn whole_server() {
    let options = Options {
        server: true,
        ..Options::default()
    };
    run_seeds("whole_server", options, SERVER_SEEDS);
}

/// Several coordinators that share a store.
#[test]
fn fleet() {
    run_seeds("fleet", fleet_with(FleetBug::None), FLEET_SEEDS);
}

#[test]
fn one_seed_is_one_run() {
    for seed in 0..10 {
        let (one, two) = (run(seed, Options::default()), run(seed, Options::default()));
        assert_eq!(
            (one.hash, one.events),
            (two.hash, two.events),
            "seed {seed}"
        );
    }
    for seed in 0..5 {
        let options = fleet_with(FleetBug::None);
        let (one, two) = (run(seed, options), run(seed, options));
        assert_eq!(
            (one.hash, one.events),
            (two.hash, two.events),
            "fleet, seed {seed}"
        );
    }
    assert_ne!(
        run(0, Options::default()).hash,
        run(1, Options::default()).hash
    );
}

/// A calm run, repeated with the process killed after its n-th step (a store operation, a flush, a sync, a message that
/// left), for every n.
#[test]
fn every_crash_point() {
    needs_assertions();
    for (seed, journal) in [(1, true), (2, false)] {
        let mut points = 0;
        loop {
            let options = Options {
                kill_at: Some(points),
                journal: Some(journal),
                ..Options::default()
            };
            let ending = run(seed, options);
            if let Some(violation) = ending.violation {
                panic!("seed {seed}, killed after {points} steps: {violation:?}");
            }
            if !ending.killed {
                break;
            }
            points += 1;
        }
        println!("seed {seed}, journal {journal}: {points} crash points");
        assert!(points > 100, "{points} crash points only");
    }
}

/// Runs seeds until the bug shows, and says which invariants it broke first.
#[track_caller]
fn must_be_caught(options: Options, expected: &[u8]) {
    needs_assertions();
    for seed in 0..200 {
        if let Some(violation) = run(seed, options).violation {
            println!(
                "seed {seed}: invariant {}: {}",
                violation.invariant, violation.text
            );
            assert!(
                expected.contains(&violation.invariant),
                "caught as {violation:?} instead of {expected:?}"
            );
            return;
        }
    }
    panic!("{options:?} was not caught");
}

fn disk(disk_bug: DiskBug) -> Options {
    Options {
        disk_bug,
        ..Options::default()
    }
}

fn host(host_bug: HostBug) -> Options {
    Options {
        host_bug,
        ..Options::default()
    }
}

#[test]
fn known_bug_reply_before_sync() {
    must_be_caught(disk(DiskBug::EagerDurable), &[2, 21]);
}

#[test]
fn known_bug_disk_that_lies() {
    must_be_caught(disk(DiskBug::LyingSync), &[2, 21]);
}

#[test]
fn known_bug_failed_sync_forgiven() {
    must_be_caught(disk(DiskBug::ForgivenSync), &[23]);
}

#[test]
fn known_bug_commit_call_sent_as_rollback() {
    must_be_caught(host(HostBug::CallFlipped), &[2, 3, 4]);
}

#[test]
fn known_bug_lost_commit_told_success() {
    must_be_caught(host(HostBug::LossToldAsSuccess), &[5]);
}

#[test]
fn known_bug_branch_forgotten() {
    must_be_caught(host(HostBug::BranchForgotten), &[6]);
}

#[test]
fn known_bug_locks_not_asked_for() {
    must_be_caught(host(HostBug::LocksDropped), &[8]);
}

#[test]
fn known_bug_end_not_stored() {
    must_be_caught(host(HostBug::EndIgnored), &[32]);
}

#[test]
fn known_bug_locks_freed_before_the_decision() {
    must_be_caught(host(HostBug::LocksFreedEarly), &[8, 10]);
}

#[test]
fn known_bug_locks_left_behind() {
    must_be_caught(disk(DiskBug::OrphanedLock), &[11, 21]);
}

#[test]
fn known_bug_decision_read_back_as_another() {
    must_be_caught(disk(DiskBug::FlippedDecision), &[1, 2, 21]);
}

#[test]
fn known_bug_status_told_begin() {
    must_be_caught(host(HostBug::StatusToldBegin), &[15]);
}

#[test]
fn known_bug_commit_told_begin() {
    must_be_caught(host(HostBug::CommitToldUnknown), &[4]);
}

#[test]
fn known_bug_phase_two_to_the_wrong_channel() {
    must_be_caught(host(HostBug::WrongChannel), &[17]);
}

#[test]
fn known_bug_answers_to_the_wrong_connection() {
    must_be_caught(host(HostBug::WrongAsker), &[27]);
}

#[test]
fn known_bug_forward_rollback_order() {
    must_be_caught(host(HostBug::ForwardRollback), &[16]);
}

#[test]
fn known_bug_reused_id() {
    must_be_caught(host(HostBug::IdsRepeat), &[24]);
}

#[test]
fn known_bug_deadlines_lost_at_restart() {
    must_be_caught(host(HostBug::TimersLost), &[20, 32]);
}

fn fleet_with(fleet_bug: FleetBug) -> Options {
    Options {
        fleet: true,
        fleet_bug,
        ..Options::default()
    }
}

#[test]
fn known_bug_lease_that_never_ends() {
    must_be_caught(fleet_with(FleetBug::LeaseForEver), &[25]);
}

#[test]
fn known_bug_orphans_left() {
    must_be_caught(fleet_with(FleetBug::OrphansLeft), &[20]);
}

#[test]
fn known_bug_offer_taken_twice() {
    must_be_caught(fleet_with(FleetBug::OfferTakenTwice), &[25]);
}

#[test]
fn known_bug_replaced_and_not_told() {
    must_be_caught(fleet_with(FleetBug::NotReplaced), &[20, 25]);
}

#[test]
fn known_bug_driver_not_noted() {
    must_be_caught(fleet_with(FleetBug::DriverNotNoted), &[25]);
}
