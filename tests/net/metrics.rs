//! Every counter and gauge of `Metrics` moves when what it counts happens (network.md B.37). The table is read from the
//! type's own text, so a new field without a scene here fails.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use bytes::Bytes;

use crate::fixture::*;
use seamio::net::*;

/// Told apart by `running_out_of_descriptors_sheds_connections_and_recovers`, which needs a process of its own.
const ELSEWHERE: [&str; 2] = ["shed", "accept_stalls"];

/// The names of all fields, and of those that are not zero.
fn fields(metrics: &Metrics) -> (BTreeSet<String>, BTreeSet<String>) {
    let text = format!("{metrics:#?}");
    let (mut all, mut moved) = (BTreeSet::new(), BTreeSet::new());
    let mut name = String::new();
    for line in text.lines() {
        let depth = line.len() - line.trim_start().len();
        if let Some((field, value)) = line.trim().split_once(": ") {
            if depth == 4 {
                name = field.to_owned();
                all.insert(name.clone());
            }
            let number = value.trim_end_matches(',').parse::<u64>();
            if depth == 4 && number.is_ok_and(|n| n > 0) {
                moved.insert(name.clone());
            }
        } else if line
            .trim()
            .trim_end_matches(',')
            .parse::<u64>()
            .is_ok_and(|n| n > 0)
        {
            moved.insert(name.clone()); // a bucket of a histogram
        }
    }
    (all, moved)
}

/// What moved in any scene so far.
#[derive(Default)]
struct Watch(BTreeSet<String>);

impl Watch {
    /// Looks at a reactor until these have moved.
    fn expect(&mut self, server: &Server, names: &[&str]) {
        server.wait_for(&format!("{names:?}"), |metrics| {
            let (_, moved) = fields(metrics);
            let there = names.iter().all(|name| moved.contains(*name));
            self.0.extend(moved);
            there
        });
    }
}

#[test]
fn every_metric_moves() {
    let mut watch = Watch::default();
    traffic(&mut watch);
    queues(&mut watch);
    calls_and_panics(&mut watch);
    connectors(&mut watch);
    handshakes(&mut watch);
    let (all, _) = fields(&Metrics::default());
    let still: Vec<_> = all
        .difference(&watch.0)
        .filter(|name| !ELSEWHERE.contains(&name.as_str()))
        .collect();
    assert!(still.is_empty(), "never moved: {still:?}");
}

fn traffic(watch: &mut Watch) {
    let config = Config {
        session: SessionConfig {
            tick: Duration::from_millis(2),
            high_water: 1000,
            low_water: 500,
            send_buffer: Some(4096),
            ..SessionConfig::default()
        },
        budget: Budget {
            frames: 2,
            ..Budget::default()
        },
        ..Config::default()
    };
    let server = Server::start(config, App::new());
    let mut client = server.client();
    let burst: Vec<u8> = (0..50).flat_map(|_| frame(&[1; 5])).collect();
    client.stream.write_all(&burst).expect("write");
    for _ in 0..50 {
        client.receive();
    }
    watch.expect(
        &server,
        &[
            "frames_out",
            "budget_stops",
            "timer_lateness",
            "sessions",
            "timers",
        ],
    );
    // The last read of a large frame fills its room exactly: another one has to look whether there is more.
    let large = vec![1; 1_000_000];
    assert_eq!(client.ask(&large), large);
    watch.expect(&server, &["spurious"]);
    // It does not read its answers.
    let deaf = client.stream.try_clone().expect("clone");
    let feeding = std::thread::spawn(move || {
        let mut deaf = deaf;
        let _ = deaf.write_all(&frame(&vec![2; 10 << 20]));
        while deaf.write_all(&frame(&vec![2; 60_000])).is_ok() {}
    });
    watch.expect(&server, &["buffered", "congestion_pauses"]);
    client
        .stream
        .shutdown(std::net::Shutdown::Both)
        .expect("shutdown");
    feeding.join().expect("gave up");
    watch.expect(&server, &["closed"]);
}

fn queues(watch: &mut Watch) {
    let (mut app, notes) = App::new();
    let gate = Arc::new(Barrier::new(3));
    let (of_lane, of_pool) = (Arc::clone(&gate), Arc::clone(&gate));
    app.route = Box::new(|_, m| match &m[..] {
        b"block" => Route::Blocking,
        b"echo" => Route::Inline,
        _ => Route::Keyed(0),
    });
    app.on_batch = Arc::new(move |batch, out, _| {
        for input in batch.drain(..) {
            if let LaneInput::Message(from, message) = input {
                if &message[..] == b"wait" {
                    of_lane.wait();
                }
                out.send(from, &message).expect("encodes");
            }
        }
    });
    app.on_blocking = Box::new(move |_, _| _ = of_pool.wait());
    let opened = Arc::new(std::sync::Mutex::new(None));
    let keep = Arc::clone(&opened);
    app.on_open = Box::new(move |_, session, _| {
        keep.lock()
            .expect("lock")
            .get_or_insert_with(|| session.clone());
        Ok(())
    });
    let config = Config {
        workers: Workers {
            threads: 1,
            lanes: 1,
            lane_depth: 2,
            blocking: 1,
            ..Workers::default()
        },
        budget: Budget {
            remote: 1,
            ..Budget::default()
        },
        limits: Limits {
            sessions: 1,
            ..Limits::default()
        },
        ..Config::default()
    };
    let server = Server::start(config, (app, notes));
    let mut client = server.client();
    server.expect(|n| matches!(n, Note::Open(_)));
    let _ = server.client().rest();
    watch.expect(&server, &["refused"]);
    for message in [&b"block"[..], b"wait", b"a", b"b", b"c", b"d"] {
        client.send(message);
    }
    watch.expect(
        &server,
        &[
            "blocking_depth",
            "lane_depth",
            "lane_pauses",
            "lane_batches",
        ],
    );
    gate.wait();
    let session: Session<App> = opened.lock().expect("lock").clone().expect("opened");
    let talking = session.clone();
    let sending = std::thread::spawn(move || {
        while talking.is_open() {
            let _ = talking.send(Bytes::from_static(b"echo"));
        }
    });
    let mut reader = client.stream.try_clone().expect("clone");
    let reading = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    watch.expect(
        &server,
        &["remote_depth", "wakes", "wakes_sent", "wakes_saved"],
    );
    client
        .stream
        .shutdown(std::net::Shutdown::Both)
        .expect("shutdown");
    sending.join().expect("sent");
    let _ = reading.join().expect("read");
    server.closed();
    session.abort();
    watch.expect(&server, &["stale"]);
}

fn calls_and_panics(watch: &mut Watch) {
    let (mut app, notes) = App::new();
    app.route = Box::new(|_, m| match &m[..] {
        b"late" => Route::Reply(1),
        _ => Route::Inline,
    });
    app.on_message = Box::new(|_, session, _| {
        let call = session.call(1, Bytes::from_static(b"?"), Duration::from_millis(1));
        call.then(|_| {});
    });
    let server = Server::start(Config::default(), (app, notes));
    let mut client = server.client();
    client.send(b"ask me");
    client.receive();
    watch.expect(&server, &["call_timeouts"]);
    client.send(b"late");
    watch.expect(&server, &["late_replies"]);
    client.send(b"panic!");
    watch.expect(&server, &["panics"]);
}

fn connectors(watch: &mut Watch) {
    let nobody = HeldPort::new();
    let server = Server::start(Config::default(), App::new());
    let to = nobody.address.into();
    server.handle.connect(to, ConnectOptions::default());
    watch.expect(&server, &["connects", "connect_failures"]);
}

fn handshakes(watch: &mut Watch) {
    let config = Config {
        limits: Limits {
            handshakes: 1,
            ..Limits::default()
        },
        ..Config::default()
    };
    let server = Server::start(config, App::new());
    let at = "ws://127.0.0.1:0/".parse().expect("endpoint");
    let listening = server.handle.listen(at, ListenOptions::default());
    let address = listening.wait().expect("listens").address;
    let address = address.ip().expect("an address of the network");
    let silent = [Client::connect(address), Client::connect(address)];
    watch.expect(&server, &["handshakes", "handshake_pauses"]);
    drop(silent);
    watch.expect(&server, &["handshake_failures"]);
    // A message of a WebSocket that cannot be decoded.
    let (mut app, notes) = App::new();
    app.on_open = Box::new(|_, session, _| {
        let _ = session.send(Bytes::from_static(b"malformed"));
        Ok(())
    });
    let client = Server::start(Config::default(), (app, notes));
    let to = format!("ws://{address}/").parse().expect("endpoint");
    client.handle.connect(to, ConnectOptions::default());
    watch.expect(&server, &["dropped_messages"]);
}
