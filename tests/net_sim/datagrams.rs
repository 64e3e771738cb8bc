//! Datagrams over a network that loses, copies and delays them: what arrives is what was sent, every session is opened
//! and closed once, and work goes on when the network heals. And unix sockets, which reach no further than their machine.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use seamio::net::*;
use seamio::sim::{Faults, Machine, Network, Progress, Rng, SimClock, SimDriver};

type Party = Reactor<Talker, SimDriver, SimClock>;

/// A message is a number, and bytes that follow from it.
struct Numbered {
    log: Arc<Mutex<Log>>,
}

/// What both ends saw.
#[derive(Debug, Default)]
struct Log {
    opened: BTreeMap<SessionId, u32>,
    closed: BTreeMap<SessionId, u32>,
    sent: u64,
    refused: u64,
    /// How often each number came.
    heard: BTreeMap<u64, u64>,
    last: u64,
    /// Numbers that came after a higher one.
    late: u64,
    wrong: Vec<String>,
}

fn body(number: u64) -> Vec<u8> {
    let length = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 3000;
    let byte = |i: u64| (number.wrapping_mul(31).wrapping_add(i * 7)) as u8;
    (0..length).map(byte).collect()
}

impl Codec for Numbered {
    type In = u64;
    type Out = u64;
    type State = ();

    fn open(&self, _: &Peer) {}

    fn decode(&self, (): &mut (), input: &mut Input<'_>) -> Result<Decoded<u64>, CodecError> {
        let mut log = lock(&self.log);
        let bytes = input.take(input.len());
        let number = bytes.first_chunk().map(|head| u64::from_be_bytes(*head));
        let right = number.is_some_and(|number| bytes[8..] == body(number)[..]);
        if !right || !input.is_whole() || input.sender().is_none() {
            log.wrong
                .push(format!("{} bytes of {number:?}", bytes.len()));
        }
        let number = number.unwrap_or_default();
        *log.heard.entry(number).or_default() += 1;
        log.late += u64::from(number < log.last);
        log.last = log.last.max(number);
        Ok(Decoded::Message(number))
    }

    fn encode(&self, number: &u64, output: &mut Output<'_>) -> Result<(), CodecError> {
        output.put_u64(*number);
        // Small and linked parts, in one datagram all the same.
        output.append(body(*number).into());
        Ok(())
    }
}

/// Sends the next number with each tick, or answers each message with itself.
struct Talker {
    codec: Numbered,
    asks: bool,
}

impl Handler for Talker {
    type Codec = Numbered;
    type Lane = ();
    type Event = ();

    fn codec(&self) -> &Numbered {
        &self.codec
    }

    fn lane(&self, _: LaneId, _: Lanes<Self>) {}

    fn on_open(
        &self,
        _: &mut Cx<'_, Self>,
        session: &Session<Self>,
        config: &mut SessionConfig,
    ) -> Result<(), Refused> {
        *lock(&self.codec.log)
            .opened
            .entry(session.id())
            .or_default() += 1;
        if self.asks {
            config.tick = Duration::from_millis(10);
            config.hard_limit = 16 << 10;
        }
        Ok(())
    }

    fn on_message(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>, number: u64) {
        self.check_open(session);
        if !self.asks {
            let _ = cx.send(&number);
        }
    }

    fn on_tick(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>) {
        self.check_open(session);
        let mut log = lock(&self.codec.log);
        log.sent += 1;
        let number = log.sent;
        drop(log);
        if cx.send(&number).is_err() {
            lock(&self.codec.log).refused += 1;
        }
    }

    fn on_close(&self, _: &mut Cx<'_, Self>, session: &Session<Self>, _: CloseReason) {
        *lock(&self.codec.log)
            .closed
            .entry(session.id())
            .or_default() += 1;
    }
}

impl Talker {
    fn check_open(&self, session: &Session<Self>) {
        let mut log = lock(&self.codec.log);
        if log.opened.get(&session.id()) != Some(&1) || log.closed.contains_key(&session.id()) {
            log.wrong.push(format!("a callback of {session}"));
        }
    }
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().expect("lock")
}

fn party(network: &Network, asks: bool) -> (Party, Arc<Mutex<Log>>) {
    let log: Arc<Mutex<Log>> = Arc::default();
    let codec = Numbered {
        log: Arc::clone(&log),
    };
    let talker = Talker { codec, asks };
    let reactor = Reactor::with(Config::default(), talker, network.driver(), network.clock());
    (reactor.expect("reactor"), log)
}

/// Moves the world until `done`, which must come within `limit`.
fn run_until(
    network: &Network,
    parties: &mut [Party],
    limit: Duration,
    mut done: impl FnMut(&mut [Party]) -> bool,
) {
    let end = network.clock().elapsed() + limit;
    while !done(parties) {
        assert!(
            network.clock().elapsed() < end,
            "not done within {limit:?}: {:?}",
            parties.iter().map(|p| p.metrics()).collect::<Vec<_>>()
        );
        let mut machines: Vec<_> = parties.iter_mut().map(|p| p as &mut dyn Machine).collect();
        let progress = network.step(&mut machines).expect("turns");
        if progress == Progress::Quiet {
            assert!(done(parties), "nothing will ever happen");
            return;
        }
    }
}

/// What became of the datagrams of one seed, and the trace.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    lost: u64,
    copied: u64,
    late: u64,
    trace: (u64, u64),
}

fn talk(seed: u64) -> Outcome {
    let network = Network::new(seed, Faults::none());
    let (mut server, heard) = party(&network, false);
    let at = "udp://0.0.0.0:9000".parse().expect("endpoint");
    let id = server.listen(at, ListenOptions::default()).expect("listen");
    let to = Endpoint::Udp(HostPort::Address(server.local_addr(id).expect("bound")));
    let mut parties = vec![server];
    let mut logs = Vec::new();
    for _ in 0..2 {
        let (mut client, log) = party(&network, true);
        client.connect(to.clone(), ConnectOptions::default());
        parties.push(client);
        logs.push(log);
    }
    network.set_faults(Faults::storm(&mut Rng::new(seed)));
    let storm = network.clock().elapsed() + Duration::from_millis(500);
    let clock = network.clock();
    run_until(&network, &mut parties, Duration::from_secs(1000), |_| {
        clock.elapsed() >= storm
    });
    network.set_faults(Faults::none());
    let sent: Vec<u64> = logs.iter().map(|log| lock(log).sent).collect();
    // Answers to what is sent from now on.
    run_until(&network, &mut parties, Duration::from_secs(60), |_| {
        logs.iter()
            .zip(&sent)
            .all(|(log, sent)| lock(log).last > *sent)
    });
    parties
        .iter_mut()
        .for_each(|p| p.drain(Duration::from_secs(5)));
    run_until(&network, &mut parties, Duration::from_secs(60), |parties| {
        parties.iter().all(|p| p.metrics().sessions == 0)
    });
    let mut outcome = Outcome::default();
    for log in logs.iter().chain([&heard]) {
        let log = lock(log);
        assert_eq!(log.wrong, Vec::<String>::new(), "seed {seed}");
        assert!(log.opened.values().all(|n| *n == 1), "seed {seed}");
        assert_eq!(log.opened, log.closed, "seed {seed}: one close for each");
        outcome.late += log.late;
        if log.sent > 0 {
            assert!(log.heard.keys().all(|number| *number <= log.sent));
            outcome.lost += log.sent - log.heard.len() as u64;
            outcome.copied += log.heard.values().filter(|n| **n > 1).count() as u64;
        }
    }
    for party in &parties {
        assert_eq!(party.metrics().buffered, 0, "seed {seed}");
    }
    outcome.trace = network.trace();
    drop(parties);
    assert_eq!(
        network.handles(),
        0,
        "seed {seed}: everything is given back"
    );
    outcome
}

#[test]
fn no_datagram_is_altered_whatever_the_network_does() {
    let mut all = Outcome::default();
    for seed in 0..SEEDS {
        let outcome = talk(seed);
        if seed % 16 == 0 {
            assert_eq!(talk(seed), outcome, "seed {seed} does the same again");
        }
        all.lost += outcome.lost;
        all.copied += outcome.copied;
        all.late += outcome.late;
    }
    assert!(all.lost > 0 && all.copied > 0 && all.late > 0, "{all:?}");
}

/// A socket that takes nothing fills the queue; what does not fit is refused and counted, and the rest leaves in the end.
#[test]
fn datagrams_wait_up_to_the_limit_and_then_are_dropped_and_counted() {
    let network = Network::new(1, Faults::none());
    let (mut server, heard) = party(&network, false);
    let at = "udp://0.0.0.0:9000".parse().expect("endpoint");
    let id = server.listen(at, ListenOptions::default()).expect("listen");
    let to = Endpoint::Udp(HostPort::Address(server.local_addr(id).expect("bound")));
    let (mut client, log) = party(&network, true);
    client.connect(to, ConnectOptions::default());
    let mut parties = vec![server, client];
    network.set_faults(Faults {
        would_block: 1000,
        ..Faults::none()
    });
    run_until(&network, &mut parties, Duration::from_secs(10), |_| {
        lock(&log).sent >= 100
    });
    let refused = lock(&log).refused;
    assert!(refused > 50, "16 KiB are about 11 of these: {refused}");
    assert_eq!(parties[1].metrics().dropped_messages, refused);
    assert!(parties[1].metrics().buffered <= 16 << 10);
    assert_eq!(parties[1].metrics().closed, 0);
    assert_eq!(lock(&heard).heard.len(), 0);
    network.set_faults(Faults::none());
    run_until(&network, &mut parties, Duration::from_secs(10), |parties| {
        parties[1].metrics().buffered == 0
    });
    let taken = |log: &Log| log.sent - log.refused;
    let sent = taken(&lock(&log));
    run_until(&network, &mut parties, Duration::from_secs(10), |_| {
        lock(&heard).heard.len() as u64 >= sent
    });
}

/// A bound socket hears many: it must not close because one moment was long. The simulation found that it did.
#[test]
fn datagrams_that_wait_for_too_long_are_dropped_and_the_session_stays() {
    let network = Network::new(1, Faults::none());
    let (mut server, heard) = party(&network, false);
    let at = "udp://0.0.0.0:9000".parse().expect("endpoint");
    let id = server.listen(at, ListenOptions::default()).expect("listen");
    let to = Endpoint::Udp(HostPort::Address(server.local_addr(id).expect("bound")));
    let (mut client, log) = party(&network, true);
    client.connect(to, ConnectOptions::default());
    let mut parties = vec![server, client];
    run_until(&network, &mut parties, Duration::from_secs(10), |_| {
        lock(&log).last > 3
    });
    network.set_faults(Faults {
        would_block: 1000,
        latency_min: Duration::from_millis(500),
        latency_max: Duration::from_millis(900),
        ..Faults::none()
    });
    run_until(&network, &mut parties, Duration::from_secs(60), |parties| {
        let metrics = parties[1].metrics();
        metrics.dropped_messages > lock(&log).refused
    });
    network.set_faults(Faults::none());
    let sent = lock(&log).sent;
    run_until(&network, &mut parties, Duration::from_secs(10), |_| {
        lock(&log).last > sent
    });
    assert!(lock(&heard).closed.is_empty() && lock(&log).closed.is_empty());
}

#[test]
fn a_unix_socket_reaches_its_own_machine_only() {
    let network = Network::new(1, Faults::none());
    let (mut here, _) = party(&network, true);
    let (mut there, log) = party(&network, true);
    let at: Endpoint = "unix:///run/talk".parse().expect("endpoint");
    let id = here
        .listen(at.clone(), ListenOptions::default())
        .expect("listen");
    let address = UnixAddress::Path("/run/talk".into());
    assert_eq!(here.address(id), Some(Address::Unix(address)));
    let taken = here.listen(at.clone(), ListenOptions::default());
    assert_eq!(taken.map_err(|e| e.kind()), Err(io::ErrorKind::AddrInUse));
    here.connect(at.clone(), ConnectOptions::default());
    there.connect(at, ConnectOptions::default());
    let mut parties = vec![here, there];
    run_until(&network, &mut parties, Duration::from_secs(10), |parties| {
        parties[0].metrics().opened == 2 && parties[1].metrics().connect_failures > 2
    });
    assert_eq!(lock(&log).opened.len(), 0);
}

const SEEDS: u64 = 100;
