//! One simulated run: a server, its clients, the network between them, and what has to hold at each step and at the end.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use seamio::net::{
    Address, Backoff, CloseReason, Config, ConnectOptions, ListenOptions, Reactor, SessionConfig,
    Workers,
};
use seamio::sim::{Faults, Machine, Network, Progress, Rng, SimClock, SimDriver};

use crate::medium::Medium;
use crate::party::{LANES, Ledger, Lie, Party, Role};

pub(crate) type SimReactor = Reactor<Party, SimDriver, SimClock>;

/// One run: a server, its clients, and what they saw.
pub(crate) struct Scene {
    pub(crate) network: Network,
    rng: Rng,
    /// The server first.
    reactors: Vec<SimReactor>,
    ledgers: Vec<Arc<Mutex<Ledger>>>,
    /// Connections that have to bring a session home, per client.
    wanted: Vec<usize>,
    storm_ends: Duration,
    healed: bool,
    pub(crate) medium: Medium,
    /// What the runtime is made to seem to do wrong.
    pub(crate) lie: Option<Lie>,
    /// The reactors' clocks run fast.
    pub(crate) fast: bool,
}

impl Scene {
    /// The network a seed chooses, with nobody in it.
    pub(crate) fn bare(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut scene = Scene::empty(rng.bits(), Faults::storm(&mut rng));
        scene.storm_ends = Duration::from_millis(rng.between(0, 20_000));
        scene
    }

    /// Brings in server and clients as the seed chooses.
    pub(crate) fn furnish(mut self) -> Self {
        let mut rng = self.rng.fork();
        let scene = &mut self;
        let role = if rng.chance(500) {
            Role::EchoInline
        } else {
            Role::EchoInLanes
        };
        let server = scene.party(role);
        let at = scene.add_server(server, |_| {});
        for _ in 0..rng.between(1, 3) {
            let client = scene.party(Role::Client);
            scene.add_client(client, &at);
        }
        self
    }

    pub(crate) fn empty(seed: u64, faults: Faults) -> Self {
        let mut rng = Rng::new(seed);
        let network = Network::new(rng.bits(), faults);
        Scene {
            network,
            rng,
            reactors: Vec::new(),
            ledgers: Vec::new(),
            wanted: Vec::new(),
            storm_ends: Duration::ZERO,
            healed: false,
            medium: Medium::Tcp,
            lie: None,
            fast: false,
        }
    }

    pub(crate) fn add_server(&mut self, party: Party, adapt: impl Fn(&mut Config)) -> Address {
        let mut config = self.config();
        if party.role == Role::EchoInLanes {
            config.workers.lanes = LANES;
        }
        adapt(&mut config);
        let at = self.add(party, config);
        let mut options = ListenOptions {
            backlog: self.rng.between(1, 20) as u32,
            ..ListenOptions::default()
        };
        let endpoint = self.medium.listen(&mut options);
        let server = &mut self.reactors[at];
        // Descriptors may have run out already.
        let listener = loop {
            match server.listen(endpoint.clone(), options.clone()) {
                Ok(listener) => break listener,
                Err(error) if error.kind() == io::ErrorKind::Unsupported => panic!("{error}"),
                Err(_) => self.network.clock().advance(Duration::from_millis(10)),
            }
        };
        server.address(listener).expect("it listens")
    }

    pub(crate) fn add_client(&mut self, party: Party, to: &Address) {
        let config = self.config();
        let at = self.add(party, config);
        let connections = self.rng.between(1, 4) as usize;
        let mut options = ConnectOptions {
            connections,
            timeout: Duration::from_secs(1),
            backoff: Backoff {
                cap: Duration::from_secs(2),
                seed: self.rng.bits() | 1,
                ..Backoff::default()
            },
            ..ConnectOptions::default()
        };
        let to = self.medium.dial(to, &mut options);
        self.reactors[at].connect(to, options);
        self.wanted.push(connections);
        self.set_timers(at);
    }

    fn add(&mut self, party: Party, config: Config) -> usize {
        self.ledgers.push(Arc::clone(&party.ledger));
        let driver = match self.reactors.first_mut() {
            Some(server) if self.medium == Medium::Unix => server.driver().neighbour(),
            _ => self.network.driver(),
        };
        let clock = match self.fast {
            true => self.network.clock().running_fast(),
            false => self.network.clock(),
        };
        let reactor = Reactor::with(config, party, driver, clock);
        self.reactors.push(reactor.expect("no threads to start"));
        self.reactors.len() - 1
    }

    pub(crate) fn party(&mut self, role: Role) -> Party {
        Party {
            role,
            number: self.ledgers.len() as u32,
            seed: self.rng.bits(),
            frames: self.rng.size(60) as u32,
            depth: self.rng.size(30) as u32,
            quits: if self.rng.chance(300) { 20 } else { 0 },
            ledger: Arc::default(),
            lie: self.lie,
        }
    }

    /// Small limits, so that they are met.
    fn config(&mut self) -> Config {
        let rng = &mut self.rng;
        let high_water = rng.size(64 << 10);
        let mut config = Config {
            session: SessionConfig {
                max_frame: 64 << 10,
                tick: Duration::from_millis(rng.between(0, 2000)),
                idle_timeout: Some(Duration::from_secs(4)),
                write_stall: Duration::from_secs(3),
                drain_timeout: Duration::from_secs(2),
                high_water,
                low_water: high_water / 2,
                pause_reads_when_congested: rng.chance(500),
                ..SessionConfig::default()
            },
            workers: Workers {
                lane_depth: rng.size(64),
                ..Workers::default()
            },
            budget: seamio::net::Budget {
                read: 64 + rng.size(64 << 10),
                frames: rng.size(64),
                write: rng.size(256 << 10),
                accepts: rng.size(8),
                visits: rng.size(64),
                remote: rng.size(64),
                timers: rng.size(64),
                ..Default::default()
            },
            ..Config::default()
        };
        self.medium.adapt(&mut config.session);
        config
    }

    /// Timers of the application, each with a note of when it may fire.
    fn set_timers(&mut self, at: usize) {
        for _ in 0..self.rng.between(0, 10) {
            let delay = Duration::from_micros(1 << self.rng.between(0, 24));
            let (clock, ledger) = (self.network.clock(), Arc::clone(&self.ledgers[at]));
            let due = clock.elapsed() + delay;
            self.reactors[at].handle().after(delay, move || {
                let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
                ledger.timers_fired += 1;
                if clock.elapsed() < due {
                    ledger.wrong(format!(
                        "a timer for {due:?} fired at {:?}",
                        clock.elapsed()
                    ));
                }
            });
        }
    }

    /// Steps until `done`, which has to be within a bounded time.
    fn run_until(&mut self, what: &str, within: Duration, done: impl Fn(&mut Scene) -> bool) {
        let until = self.network.clock().elapsed() + within;
        for step in 0.. {
            if done(self) {
                return;
            }
            let mut machines: Vec<&mut dyn Machine> = self
                .reactors
                .iter_mut()
                .map(|reactor| reactor as &mut dyn Machine)
                .collect();
            let progress = self.network.step(&mut machines).expect("no reactor fails");
            self.check();
            let now = self.network.clock().elapsed();
            if !self.healed && (now >= self.storm_ends || step >= STORM_STEPS_MAX) {
                self.network.set_faults(Faults::none());
                self.healed = true;
            }
            assert!(
                now < until,
                "{what}: not within {within:?}; {:?}",
                self.report()
            );
            assert!(
                step < STEPS_MAX,
                "{what}: {step} steps without an end; {:?}",
                self.report()
            );
            assert!(
                progress != Progress::Quiet || done(self),
                "{what}: silence; {:?}",
                self.report()
            );
        }
    }

    fn check(&self) {
        for ledger in &self.ledgers {
            let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
            assert!(ledger.wrong.is_empty(), "{:?}", ledger.wrong);
        }
    }

    fn all_home(&self) -> bool {
        let ledgers = self.ledgers.iter().skip(1);
        self.wanted.iter().zip(ledgers).all(|(&wanted, ledger)| {
            ledger
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .finished
                .len()
                >= wanted
        })
    }

    /// Sessions that ended as their owner wished, with everything acknowledged, lost nothing.
    fn check_clean_ends(&self) {
        let lock = |ledger: &Arc<Mutex<Ledger>>| {
            let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
            ledger
                .sessions
                .values()
                .map(|s| (s.tag, s.closed, s.sent, s.received))
                .collect::<Vec<_>>()
        };
        let server: BTreeMap<_, _> = lock(&self.ledgers[0])
            .into_iter()
            .map(|(tag, _, _, received)| (tag, received))
            .collect();
        for ledger in &self.ledgers[1..] {
            for (tag, closed, sent, received) in lock(ledger) {
                assert!(closed.is_some(), "a session was never closed");
                assert!(received <= sent);
                let arrived = server.get(&tag).copied().unwrap_or(0);
                assert!(
                    arrived <= sent && received <= arrived,
                    "{received} {arrived} {sent}"
                );
                if closed == Some(CloseReason::Local) {
                    assert_eq!(arrived, sent, "a clean end lost requests of {tag:?}");
                }
            }
        }
    }

    pub(crate) fn run_to_the_end(mut self) -> (u64, u64) {
        let within = self.storm_ends + HEALING;
        self.run_until("work", within, |scene| scene.all_home());
        for reactor in &mut self.reactors {
            reactor.drain(Duration::from_secs(5));
        }
        self.run_until("drain", within, |scene| {
            scene.reactors.iter().all(|reactor| {
                let metrics = reactor.metrics();
                (metrics.sessions, metrics.buffered, metrics.lane_depth) == (0, 0, 0)
            })
        });
        self.check_clean_ends();
        let network = self.network.clone();
        let trace = network.trace();
        drop(self);
        assert_eq!(network.handles(), 0, "sockets are left");
        trace
    }

    fn report(&self) -> Vec<String> {
        let each = self.reactors.iter().zip(&self.ledgers);
        each.map(|(reactor, ledger)| {
            let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
            let open = ledger
                .sessions
                .iter()
                .filter(|(_, seen)| seen.closed.is_none());
            let open: Vec<_> = open.collect();
            format!(
                "{} sessions, finished {}, open {open:?}, next timeout {:?}, {:?}",
                ledger.sessions.len(),
                ledger.finished.len(),
                reactor.next_timeout(),
                reactor.metrics(),
            )
        })
        .collect()
    }
}

/// Runs what a seed chose and returns the trace.
pub(crate) fn run(medium: Medium, seed: u64) -> (u64, u64) {
    let mut scene = Scene::bare(seed);
    scene.medium = medium.vary(&mut Rng::new(seed));
    scene.furnish().run_to_the_end()
}

/// Simulated time in which everything must be done once the network works again.
const HEALING: Duration = Duration::from_secs(120);
const STEPS_MAX: u32 = 500_000;
/// A storm without latency is over after this many steps, however little time has passed.
const STORM_STEPS_MAX: u32 = 50_000;
