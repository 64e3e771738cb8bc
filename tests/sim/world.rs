//! One run: the world of a seed, its faults, its healing, and what came of it.

use seamio::sim::Faults;
use seamio::tc::CoordinatorConfig;
use seamio::tc::server::ServerConfig;
use seamio::tc::store::Store;

use crate::checker::{Checker, Violation};
use crate::clients::{Clients, Manners};
use crate::counts::Counts;
use crate::env::{Env, Event, MS, Micros, SECOND};
use crate::fleet::{Fleet, FleetBug};
use crate::host::{Host, HostBug, Peer, Site, Treatment};
use crate::journal::JournalMedium;
use crate::medium::{DiskBug, Medium, OperationLog};
use crate::server::ServerSite;
use crate::wire::{Weather, Wire};

/// What a run is made of, besides its seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) disk_bug: DiskBug,
    pub(crate) host_bug: HostBug,
    /// No fault but one: the process is killed after so many steps.
    pub(crate) kill_at: Option<u32>,
    /// The whole server under the simulated network, not the coordinator alone.
    pub(crate) server: bool,
    /// Several coordinators over one store.
    pub(crate) fleet: bool,
    pub(crate) fleet_bug: FleetBug,
    /// Which store; none: the seed chooses.
    pub(crate) journal: Option<bool>,
    pub(crate) keep_lines: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            disk_bug: DiskBug::None,
            host_bug: HostBug::None,
            kill_at: None,
            server: false,
            fleet: false,
            fleet_bug: FleetBug::None,
            journal: None,
            keep_lines: false,
        }
    }
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) violation: Option<Violation>,
    pub(crate) hash: u64,
    pub(crate) events: u64,
    /// Whether the process that was to be killed was.
    pub(crate) killed: bool,
    pub(crate) simulated: Micros,
    pub(crate) counts: Counts,
    pub(crate) lines: Vec<String>,
}

/// How long everything may take once faults have ended.
const HEALING: Micros = 300 * SECOND;

/// Runs a seed to its end.
pub(crate) fn run(seed: u64, options: Options) -> Ending {
    let mut world = World::new(seed, options);
    while world.checker.violation.is_none() {
        if world.advance() {
            continue;
        }
        let Some(event) = world.env.next() else { break };
        if world.env.healing && world.is_over() {
            world.finish();
            break;
        }
        if world.env.now > world.faults_until + HEALING {
            world.finish();
            world.checker.broken(20, "not everything is over in time");
            break;
        }
        world.happen(event);
    }
    Ending {
        violation: world.checker.violation,
        hash: world.env.hash() ^ world.host.hash(),
        events: world.env.events,
        killed: world.checker.counts.recoveries > 1,
        simulated: world.env.now,
        counts: world.checker.counts,
        lines: world.env.take_lines(),
    }
}

struct World {
    env: Env,
    wire: Wire,
    host: Box<dyn Site>,
    clients: Clients,
    checker: Checker,
    plan: Plan,
    faults_until: Micros,
    quiet_since: Option<Micros>,
}

/// Which faults there are: each kind is left out of many runs, so that one does not hide what another would show.
struct Plan {
    pause_max: Micros,
    kills: u32,
    losses: u32,
    cuts: u32,
    deaths: u32,
    failures: bool,
}

impl World {
    fn new(seed: u64, options: Options) -> Self {
        let mut env = Env::new(seed, options.keep_lines);
        let calm = options.kill_at.is_some();
        let faults_until = match calm {
            true => 5 * SECOND,
            false => env.rng.between(10 * SECOND, 60 * SECOND),
        };
        let mut some = |most: u64| {
            if env.rng.chance(600) && !calm {
                env.rng.below(most) as u32
            } else {
                0
            }
        };
        let weather = Weather {
            delay_max: 200 + u64::from(some(50 * MS)),
            split: some(900),
            late: some(50),
        };
        let treatment = Treatment {
            sync_max: 100 + u64::from(some(5 * MS)),
            sync_slow: some(30),
            sync_fails: some(8),
            disk_fills: some(100),
            clock_jumps: some(2) > 0,
        };
        let mut manners = Manners {
            retryable: some(200),
            unretryable: 0,
            nonsense: some(60),
            never: some(60),
            late: some(80),
            twice: some(100),
        };
        let plan = Plan {
            pause_max: u64::from(some(8_000)) * MS + 200 * MS,
            kills: some(100),
            losses: some(100),
            cuts: some(60),
            deaths: some(40),
            failures: some(5) > 2,
        };
        if plan.failures {
            manners.unretryable = 30;
        }
        let config = CoordinatorConfig {
            advertised: "10.0.0.100:8091".to_owned(),
            seed,
            parallel_branches: env.rng.chance(300),
            batch_responses: env.rng.chance(500),
            java_answers: false,
            ..CoordinatorConfig::default()
        };
        let journal = match options.journal {
            Some(journal) => journal,
            None => options.disk_bug == DiskBug::None && env.rng.chance(600),
        };
        let medium: Box<dyn Medium> = match journal {
            true => Box::new(JournalMedium::new(seed)),
            false => Box::new(OperationLog::new(options.disk_bug)),
        };
        let processes = env.rng.between(2, 5) as usize;
        let txs = env.rng.between(5, if calm { 8 } else { 40 }) as usize;
        let servers = match options.fleet {
            true => env.rng.between(2, 4) as usize,
            false => 1,
        };
        let clients = Clients::new(&mut env, processes, servers, txs, faults_until, manners);
        for server in 0..servers {
            env.at(
                0,
                Event::Start {
                    life: server as u32,
                },
            );
        }
        env.at(faults_until, Event::Heal);
        env.after(SECOND, Event::Fault);
        env.after(SECOND, Event::Audit);
        let mut host: Box<dyn Site> = match options.server {
            false if options.fleet => Box::new(Fleet::new(
                &mut env,
                config,
                servers,
                2 * processes,
                options.fleet_bug,
            )),
            false => Box::new(Host::new(medium, config, treatment, options.host_bug)),
            true => {
                let config = ServerConfig {
                    advertised_host: "10.0.0.100".to_owned(),
                    advertised_port: Some(8091),
                    listen: "0.0.0.0:8091".parse().expect("an address"),
                    node: 1,
                    coordinator: config,
                    ..ServerConfig::default()
                };
                let faults = Faults::storm(&mut env.rng);
                Box::new(ServerSite::new(medium, config, treatment, seed, faults))
            }
        };
        if let Some(steps) = options.kill_at {
            host.kill_after(steps);
        }
        Self {
            host,
            wire: Wire::new(weather, 2 * processes),
            checker: Checker::new(),
            env,
            clients,
            plan,
            faults_until,
            quiet_since: None,
        }
    }

    fn happen(&mut self, event: Event) {
        let Self {
            env,
            wire,
            host,
            clients,
            checker,
            ..
        } = self;
        checker.now = env.now;
        match event {
            Event::Arrive {
                conn,
                to_server: true,
            } => host.arrive(env, wire, checker, conn),
            Event::Arrive {
                conn,
                to_server: false,
            } => clients.arrive(env, wire, checker, conn),
            Event::Gone { conn, server: true } => host.gone(env, wire, checker, conn),
            Event::Gone {
                conn,
                server: false,
            } => clients.gone(env, wire, conn),
            Event::Connect { link } => {
                let server = clients.server(link);
                let mut accept = |env: &Env, conn, address| {
                    host.open(env, checker, conn, Peer { address, server })
                };
                clients.connect(env, wire, link, &mut accept);
            }
            Event::Flush { link } => clients.flush(env, wire, link),
            Event::Patience { link } => clients.patience(env, wire, link),
            Event::Step { tx } => clients.step(env, wire, tx),
            Event::Serve { job } => clients.serve(env, wire, job),
            Event::Wake { life } => host.wake(env, wire, checker, life),
            Event::Synced { life } => host.synced(env, wire, checker, life),
            Event::Start { life } => {
                host.start(env, checker, life);
                // Whatever the coordinator wants first, it wants without an input.
                host.wake(env, wire, checker, life);
            }
            Event::Store { step, life } => host.store(env, wire, checker, step, life),
            Event::Fault => self.fault(),
            Event::Audit => {
                host.look(&mut |store| checker.audit(store));
                host.check_books(checker);
                host.rest(env);
                env.after(SECOND, Event::Audit);
            }
            Event::Heal => {
                env.trace(format_args!("healing"));
                env.healing = true;
                wire.heal();
                host.heal();
                clients.heal();
            }
        }
    }

    fn advance(&mut self) -> bool {
        self.host
            .advance(&mut self.env, &mut self.wire, &mut self.checker)
    }

    fn fault(&mut self) {
        let Self {
            env,
            wire,
            host,
            clients,
            plan,
            ..
        } = self;
        if env.healing {
            return;
        }
        let link = env.rng.index(clients.links());
        let dice = env
            .rng
            .below(u64::from(plan.kills + plan.losses + plan.cuts + plan.deaths) + 1);
        let dice = dice as u32;
        if dice < plan.kills {
            host.trouble(env);
        } else if dice < plan.kills + plan.losses {
            if let Some(conn) = wire.any(env) {
                wire.lose(env, conn);
            }
        } else if dice < plan.kills + plan.losses + plan.cuts {
            let length = env.rng.size(30_000) as u64 * MS;
            wire.cut(env, link, length);
        } else if dice < plan.kills + plan.losses + plan.cuts + plan.deaths {
            clients.kill(env, wire, link);
        }
        let pause = env.rng.between(100 * MS, plan.pause_max);
        env.after(pause, Event::Fault);
    }

    /// Nothing is left to do, and has not been for two seconds.
    fn is_over(&mut self) -> bool {
        let mut empty = false;
        let failures = self.plan.failures;
        let look = &mut |store: &dyn Store| empty = store.stats().globals == 0 || failures;
        self.host.look(look);
        if !(empty && self.host.is_idle() && self.clients.is_done()) {
            self.quiet_since = None;
            return false;
        }
        let since = *self.quiet_since.get_or_insert(self.env.now);
        let pause = if self.plan.failures {
            90 * SECOND
        } else {
            2 * SECOND
        };
        self.env.now >= since + pause
    }

    fn finish(&mut self) {
        self.host.check_books(&mut self.checker);
        let (checker, failures) = (&mut self.checker, self.plan.failures);
        let mut up = false;
        self.host.look(&mut |store| {
            up = true;
            checker.finish(store, failures);
        });
        if !up {
            checker.broken(20, "the coordinator is down at the end");
        }
    }
}
