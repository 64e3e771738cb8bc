//! The runtime under a simulated network: whatever the network does, what network.md B-36 promises holds.
//!
//! A server echoes numbered frames to clients that stay connected until one session brought all echoes home. For a
//! while everything goes wrong that a seed chooses (`Faults::storm`), then the network heals and the work must finish.
//!
//! Checked, for each seed:
//! - frames arrive whole, once and in order; a session that ended cleanly lost none;
//! - exactly one close per open, no callback and no lane input of a session after its close;
//! - no timer fires early;
//! - nobody waits for ever: the work is done within a bounded time after the network healed;
//! - everything is given back: no socket, no session, no buffered byte is left after draining, and no byte of the heap
//!   at the end;
//! - the same seed does the same again (every eighth seed runs twice).
//!
//! The same over everything that can lie between the two sides: unix sockets, compression, TLS, WebSocket. There an error
//! of a layer's protocol is the runtime's own, since the network cuts streams off but changes no byte.
//!
//! Each check is shown to fail when the network, the clock or the runtime breaks its promise.
//!
//! `SEAMIO_SIM_SEEDS=100000 cargo test --test net_sim` runs more seeds than the usual number, `SEAMIO_SIM_SEED=17` just
//! that one; with `-- --nocapture` the trace of each seed is printed.

#[path = "../net/certificates.rs"]
mod certificates;
mod datagrams;
mod heap;
mod medium;
mod party;
mod scene;

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use medium::Medium;
use party::{Lie, Role};
use scene::{Scene, run};
use seamio::sim::{Defect, Faults};

#[test]
fn whatever_the_network_does_the_promises_hold() {
    hold_promises(&[Medium::Tcp], SEEDS);
}

#[test]
fn the_promises_hold_over_every_kind_of_stream() {
    hold_promises(&Medium::ALL[1..], LAYERED_SEEDS);
}

/// Runs the seeds from 0 on, each over the next of the media.
fn hold_promises(media: &[Medium], seeds: u64) {
    let number = |name| {
        let text = std::env::var(name).ok();
        text.map(|text| text.parse().expect("a number"))
    };
    let (from, to) = match number("SEAMIO_SIM_SEED") {
        Some(seed) => (seed, seed + 1),
        None => (0, number("SEAMIO_SIM_SEEDS").unwrap_or(seeds)),
    };
    let medium = |seed: u64| media[seed as usize % media.len()];
    let (next, failed) = (AtomicU64::new(from), AtomicU64::new(u64::MAX));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                // What a thread allocates once and for all must not be taken for a leak.
                for medium in media {
                    let _ = catch_unwind(|| run(*medium, 0));
                }
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= to || failed.load(Ordering::Relaxed) != u64::MAX {
                        return;
                    }
                    if catch_unwind(|| check(medium(seed), seed)).is_err() {
                        failed.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    assert!(
        failed == u64::MAX,
        "over {:?}; reproduce with: SEAMIO_SIM_SEED={failed} cargo test --test net_sim",
        medium(failed)
    );
}

fn check(medium: Medium, seed: u64) {
    let before = heap::held();
    let trace = run(medium, seed);
    assert_eq!(heap::held(), before, "bytes of the heap are left");
    if seed.is_multiple_of(8) {
        assert_eq!(trace, run(medium, seed), "two runs of one seed differ");
    }
    let (hash, steps) = trace;
    println!(
        "{} seed={seed} trace={hash:016x} steps={steps}",
        medium.name()
    );
}

/// A turn can bring a lane more messages than it may hold, while the lane itself is still empty. The reactor once asked
/// it for room, was told there was plenty, and tried the same message again for ever.
#[test]
fn a_burst_larger_than_a_lane_holds_is_taken_in_parts() {
    let mut scene = Scene::empty(1, Faults::none());
    let server = scene.party(Role::EchoInLanes);
    let at = scene.add_server(server, |config| {
        config.workers.lane_depth = 2;
        config.budget = Default::default();
    });
    let mut client = scene.party(Role::Client);
    (client.frames, client.depth) = (50, 50);
    scene.add_client(client, &at);
    scene.run_to_the_end();
}

/// Each promise is broken on purpose, by the network below or by a handler that stands for a runtime gone wrong; some
/// run among a few has to notice, and for the right reason.
#[test]
fn every_promise_can_be_seen_to_break() {
    let network = |defect| move |scene: &mut Scene| scene.network.break_rule(defect);
    let runtime = |lie| move |scene: &mut Scene| scene.lie = Some(lie);
    // Which promise, how it is broken, and what the check has to say.
    let broken: [(&str, Breakage, &[&str]); 10] = [
        (
            "order",
            Box::new(network(Defect::Swap)),
            &["was due", "frame"],
        ),
        (
            "once",
            Box::new(network(Defect::Repeat)),
            &["was due", "frame"],
        ),
        (
            "whole",
            Box::new(network(Defect::Lose)),
            &["was due", "frame", "within", "silence"],
        ),
        (
            "no waiting for ever",
            Box::new(network(Defect::Deaf)),
            &["within", "silence", "steps"],
        ),
        (
            "sockets",
            Box::new(network(Defect::Keep)),
            &["sockets are left"],
        ),
        (
            "timers",
            Box::new(|scene: &mut Scene| scene.fast = true),
            &["a timer for"],
        ),
        (
            "one close",
            Box::new(runtime(Lie::CloseTwice)),
            &["close of session"],
        ),
        (
            "a close at all",
            Box::new(runtime(Lie::NoClose)),
            &["never closed"],
        ),
        (
            "nothing after it",
            Box::new(runtime(Lie::AfterClose)),
            &["tick of session"],
        ),
        (
            "memory",
            Box::new(runtime(Lie::Leak)),
            &["bytes of the heap"],
        ),
    ];
    for (promise, bend, texts) in broken {
        let noticed = (0..BROKEN_SEEDS).any(|seed| {
            let outcome = catch_unwind(std::panic::AssertUnwindSafe(|| {
                let before = heap::held();
                let mut scene = Scene::bare(seed);
                bend(&mut scene);
                scene.furnish().run_to_the_end();
                assert_eq!(heap::held(), before, "bytes of the heap are left");
            }));
            let Err(panic) = outcome else { return false };
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()))
                .unwrap_or_default();
            texts.iter().any(|expected| text.contains(expected))
        });
        assert!(noticed, "nobody noticed that this was broken: {promise}");
    }
}

type Breakage = Box<dyn Fn(&mut Scene)>;

/// Seeds of a usual run.
const SEEDS: u64 = 2000;
/// Seeds of a usual run, shared by all streams with layers.
const LAYERED_SEEDS: u64 = 1000;
/// Runs in which a broken promise has to be noticed at least once.
const BROKEN_SEEDS: u64 = 60;
