//! The load against the real coordinator, both in one thread and in simulated time: every scenario passes its check.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::load::{Content, Frame, Load, Plan};
use super::scenario::Scenario;
use crate::proto::codec::Rpc;
use crate::proto::message::Message;
use crate::tc::store::{MemoryStore, Store, StoreLimits};
use crate::tc::{ChannelId, Coordinator, CoordinatorConfig, Now, Output};
use crate::xid::IdGenerator;

/// A coordinator whose connections are those of the load.
struct Tc {
    coordinator: Coordinator,
    store: MemoryStore,
    start: Instant,
}

impl Tc {
    fn new(plan: &Plan, start: Instant) -> Self {
        let now = Now {
            instant: start,
            wall_ms: WALL_MS,
        };
        let ids = IdGenerator::new(1, WALL_MS);
        let mut coordinator = Coordinator::new(CoordinatorConfig::default(), ids, now);
        for link in 0..plan.links() {
            let peer = SocketAddr::from(([10, 0, 0, 1], 1000 + link as u16));
            coordinator.handle_open(now, ChannelId(link as u64), peer);
        }
        Self {
            coordinator,
            store: MemoryStore::new(StoreLimits::default()),
            start,
        }
    }

    /// Takes frames and gives what is sent back.
    fn turn(&mut self, instant: Instant, frames: Vec<Frame>) -> Vec<(usize, i32, Message)> {
        let since = instant.duration_since(self.start).as_millis() as i64;
        let now = Now {
            instant,
            wall_ms: WALL_MS + since,
        };
        for frame in frames {
            let rpc = match frame.content {
                Content::Request(message) => Rpc::request(frame.id, message),
                Content::Response(message) => {
                    Rpc::request(frame.id, Message::HeartbeatPing).reply(message)
                }
                Content::Ping => continue,
            };
            self.coordinator
                .handle_message(now, ChannelId(frame.link as u64), rpc);
        }
        self.coordinator.handle_timeout(now);
        while let Some((ticket, operation)) = self.coordinator.poll_operation() {
            self.store.submit(ticket, operation);
            while let Some(completion) = self.store.poll_completion() {
                self.coordinator.handle_completion(now, completion);
            }
        }
        self.store.flush();
        self.coordinator.handle_durable(self.store.durable());
        let mut sent = Vec::new();
        while let Some(output) = self.coordinator.poll_output() {
            match output {
                Output::Send { to, rpc, .. } => sent.push((to.0 as usize, rpc.id, rpc.message)),
                Output::Close { reason, .. } => panic!("{reason:?}"),
            }
        }
        sent
    }
}

#[test]
#[allow(clippy::disallowed_methods)] // the time to start simulated time from
fn every_scenario_passes_against_the_coordinator() {
    for (scenario, rate) in [
        (Scenario::Empty, None),
        (Scenario::At1, None),
        (Scenario::Tcc1, Some(200.0)),
        (Scenario::Rollback2, None),
        (Scenario::Hot, None),
    ] {
        let start = Instant::now();
        let plan = Plan {
            scenario,
            clients: 8,
            connections: 2,
            rate,
            warmup: Duration::ZERO,
            duration: Duration::from_millis(500),
            settle: Duration::from_secs(5),
            version: "1.4.2".into(),
            hot_rows: 2,
            salt: 1,
        };
        let mut tc = Tc::new(&plan, start);
        let mut load = Load::new(plan.clone(), start);
        let (mut out, mut now) = (Vec::new(), start);
        for link in 0..plan.links() {
            load.handle_open(link, &mut out);
        }
        while !load.is_over() {
            now += Duration::from_millis(1);
            for (link, id, message) in tc.turn(now, std::mem::take(&mut out)) {
                load.handle_message(now, link, id, message, &mut out);
            }
            load.handle_timeout(now, &mut out);
        }
        let (tally, audit) = load.into_results();
        assert!(tally.errors.is_empty(), "{scenario}: {:?}", tally.errors);
        assert!(tally.completed >= 90, "{scenario}: {}", tally.completed);
        let verdict = audit.verdict();
        assert!(verdict.passed(), "{scenario}: {verdict:?}");
        assert_eq!(
            verdict.branches as u64,
            tally.completed * scenario.branches() as u64
        );
        assert_eq!(
            (tc.store.stats().globals, tc.store.stats().locks),
            (0, 0),
            "{scenario}"
        );
    }
}

const WALL_MS: i64 = 1_700_000_000_000;
