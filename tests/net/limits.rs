//! Limits are met with a clear answer, not with a hang.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::fixture::*;
use seamio::net::*;

#[test]
fn a_flood_over_the_limit_is_closed_and_the_rest_served() {
    let config = Config {
        limits: Limits {
            sessions: 10,
            ..Limits::default()
        },
        ..Config::default()
    };
    let server = Server::start(config, App::new());
    let mut clients: Vec<_> = (0..50).map(|_| server.client()).collect();
    server.wait_for("the flood", |m| m.accepts == 50);
    let mut served = 0;
    for client in &mut clients {
        let asked = client.stream.write_all(&frame(b"hello")).is_ok();
        let mut answer = [0; 9];
        if asked && client.stream.read_exact(&mut answer).is_ok() {
            served += 1;
        }
    }
    assert_eq!(served, 10);
    let metrics = server.wait_for("refusals", |m| m.refused == 40);
    assert_eq!((metrics.sessions, metrics.opened), (10, 10));
    drop(clients);
    server.wait_for("room", |m| m.sessions == 0);
    assert_eq!(server.client().ask(b"again"), b"again");
}

#[test]
fn a_listener_has_a_limit_of_its_own() {
    let options = ListenOptions {
        connections: 2,
        ..ListenOptions::default()
    };
    let server = Server::listening(Config::default(), options, App::new());
    let mut a = server.client();
    let mut b = server.client();
    assert_eq!((a.ask(b"a"), b.ask(b"b")), (b"a".to_vec(), b"b".to_vec()));
    let mut c = server.client();
    assert_eq!(c.rest().unwrap_or_default(), b"");
    drop(a);
    server.wait_for("room", |m| m.sessions == 1);
    assert_eq!(server.client().ask(b"d"), b"d");
    assert_eq!(b.ask(b"b"), b"b");
}

/// The descriptor limit is a property of the process, so the server runs in one of its own, and the flood comes from here.
#[test]
fn running_out_of_descriptors_sheds_connections_and_recovers() {
    let binary = std::env::current_exe().expect("test binary");
    let script = format!(
        "ulimit -n 40; exec {binary:?} --exact limits::with_few_descriptors --ignored --nocapture"
    );
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("child");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut tell = child.stdin.take().expect("piped");
    let mut next = |what: &str| loop {
        let line = lines.next().expect("the child talks").expect("text");
        if let Some(rest) = line.split(what).nth(1) {
            break rest.trim().to_owned();
        }
    };
    let address: SocketAddr = next("listening on").parse().expect("address");
    let mut kept = Client::connect(address);
    assert_eq!(kept.ask(b"first"), b"first");
    let mut flood: Vec<_> = (0..100).map(|_| Client::connect(address)).collect();
    // More of them one by one, each an edge of its own while the listener waits for its timer.
    for _ in 0..100 {
        assert_eq!(Client::connect(address).rest().unwrap_or_default(), b"");
    }
    // The last ones see the end at once instead of hanging in the backlog.
    for client in flood.iter_mut().rev().take(10) {
        assert_eq!(client.rest().unwrap_or_default(), b"");
    }
    assert_eq!(kept.ask(b"others go on"), b"others go on");
    // By now the listener waits for the longest time between two attempts.
    pause(1500);
    writeln!(tell, "count").expect("child reads");
    let shed: u64 = next("shed").parse().expect("number");
    let turns: u64 = next("turns in 1200 ms").parse().expect("number");
    assert!(shed >= 50, "{shed}");
    assert!(turns < 8, "one timer, whatever came meanwhile: {turns}");
    drop(flood);
    // Until the listener's timer has found that there is room.
    wait_until("room", || {
        let mut client = Client::connect(address);
        let asked = client.stream.write_all(&frame(b"again")).is_ok();
        asked && client.stream.read_exact(&mut [0; 9]).is_ok()
    });
    drop(tell);
    assert!(child.wait().expect("child").success());
}

#[test]
#[ignore = "needs a process with few descriptors; started by the test above"]
fn with_few_descriptors() {
    let server = Server::start(Config::default(), App::new());
    println!("listening on {}", server.address);
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("told");
    println!("shed {}", server.handle.metrics().shed);
    let turns = server.handle.metrics().turns;
    pause(1200);
    println!("turns in 1200 ms {}", server.handle.metrics().turns - turns);
    std::io::stdin().read_line(&mut line).expect("end");
}

#[test]
fn every_limit_is_finite_by_default() {
    // Whatever is unlimited is written as the largest number there is.
    let config = format!("{:?}", Config::default());
    assert!(!config.contains(&usize::MAX.to_string()), "{config}");
    assert!(!config.contains(&u64::MAX.to_string()), "{config}");
    let connect = format!("{:?}", ConnectOptions::default());
    assert!(!connect.contains(&usize::MAX.to_string()), "{connect}");
}

type Change = fn(&mut Config, usize, Duration);

/// Each limit at nothing and at the most there is, one at a time and all together: the reactor starts or says why not,
/// serves or closes, and ends in good order.
#[test]
fn no_value_of_a_limit_panics() {
    let changes: &[(&str, Change)] = &[
        ("max_frame", |c, n, _| c.session.max_frame = n),
        ("tick", |c, _, d| c.session.tick = d),
        ("idle_timeout", |c, _, d| c.session.idle_timeout = Some(d)),
        ("write_stall", |c, _, d| c.session.write_stall = d),
        ("drain_timeout", |c, _, d| c.session.drain_timeout = d),
        ("high_water", |c, n, _| c.session.high_water = n),
        ("low_water", |c, n, _| c.session.low_water = n),
        ("hard_limit", |c, n, _| c.session.hard_limit = n),
        ("threads", |c, n, _| c.workers.threads = n.min(100)),
        ("lanes", |c, n, _| c.workers.lanes = n),
        ("lane_depth", |c, n, _| {
            (c.workers.lanes, c.workers.lane_depth) = (1, n);
        }),
        ("blocking", |c, n, _| c.workers.blocking = n),
        ("spin", |c, _, d| c.idle = IdleStrategy::Spin(d)),
        ("sessions", |c, n, _| c.limits.sessions = n),
        ("handshakes", |c, n, _| c.limits.handshakes = n),
        ("buffered", |c, n, _| c.limits.buffered = n),
        ("lane_bytes", |c, n, _| c.limits.lane_bytes = n),
        ("lane_events", |c, n, _| c.limits.lane_events = n),
        ("blocking_queue", |c, n, _| {
            (c.workers.blocking, c.limits.blocking_queue) = (1, n);
        }),
        ("calls", |c, n, _| c.limits.calls = n),
        ("timers", |c, n, _| c.limits.timers = n),
        ("pool", |c, n, _| c.limits.pool = n),
        ("resolving", |c, n, _| c.limits.resolving = n),
        ("budget.read", |c, n, _| c.budget.read = n),
        ("budget.frames", |c, n, _| c.budget.frames = n),
        ("budget.write", |c, n, _| c.budget.write = n),
        ("budget.accepts", |c, n, _| c.budget.accepts = n),
        ("budget.visits", |c, n, _| c.budget.visits = n),
        ("budget.remote", |c, n, _| c.budget.remote = n),
        ("budget.timers", |c, n, _| c.budget.timers = n),
        ("budget.slice", |c, _, d| c.budget.slice = d),
    ];
    for (number, duration) in [(0, Duration::ZERO), (usize::MAX, Duration::MAX)] {
        let mut all = Config::default();
        for (what, change) in changes {
            let mut config = Config::default();
            change(&mut config, number, duration);
            change(&mut all, number, duration);
            serve_or_close(&format!("{what} = {number}"), config);
        }
        serve_or_close(&format!("everything = {number}"), all);
        let options = ConnectOptions {
            connections: number,
            timeout: duration,
            backoff: Backoff {
                base: duration,
                cap: duration,
                attempts: Some(number as u32),
                ..Backoff::default()
            },
            ..ConnectOptions::default()
        };
        let server = Server::start(Config::default(), App::new());
        let limits = Limits {
            sessions: 20,
            ..Limits::default()
        };
        let config = Config {
            limits,
            ..Config::default()
        };
        let client = Server::start(config, App::new());
        let id = client.handle.connect(server.address.into(), options);
        pause(20);
        client.handle.disconnect(id);
        client.wait_for("the end", |m| m.sessions == 0);
        assert_eq!(client.client().ask(b"alive"), b"alive", "{number}");
    }
}

fn serve_or_close(what: &str, config: Config) {
    let (mut app, notes) = App::new();
    app.route = Box::new(|_, m| match m.first() {
        Some(b'l') => Route::Keyed(7),
        Some(b'b') => Route::Blocking,
        _ => Route::Inline,
    });
    let mut reactor = match Reactor::new(config, app) {
        Ok(reactor) => reactor,
        Err(e) => return assert_eq!(e.kind(), io::ErrorKind::InvalidInput, "{what}: {e}"),
    };
    let id = reactor.listen(any_port(), ListenOptions::default());
    let address = reactor.local_addr(id.expect("listens")).expect("address");
    let handle = reactor.handle();
    let thread = std::thread::spawn(move || reactor.run());
    let mut client = Client::connect(address);
    client
        .stream
        .set_read_timeout(Some(Duration::from_millis(20)))
        .expect("set");
    for message in [&b"inline"[..], b"lane", b"blocking"] {
        // It may be refused, and its answer may come late.
        let _ = client.stream.write_all(&frame(message));
        let mut answer = [0; 10];
        let _ = client.stream.read(&mut answer);
    }
    let _timer = handle.after(Duration::ZERO, || {});
    handle.drain(Duration::from_secs(1));
    drop(client);
    let outcome = thread.join();
    let outcome = outcome.unwrap_or_else(|_| panic!("{what}: the reactor panicked"));
    outcome.unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(
        (handle.metrics().panics, handle.is_alive()),
        (0, false),
        "{what}"
    );
    drop(notes);
}

/// With room for none a listener that shakes hands would be deaf, and nothing would ever wake it.
#[test]
fn a_limit_of_no_handshakes_counts_as_one() {
    let (app, notes) = App::new();
    let mut config = Config::default();
    config.limits.handshakes = 0;
    let server = Server::start(config, (app, notes));
    let at = "ws://127.0.0.1:0/".parse().expect("an endpoint");
    let listening = server.handle.listen(at, ListenOptions::default());
    let address = listening.wait().expect("listening").address;
    let address = address.ip().expect("an internet address");
    for _ in 0..2 {
        let mut client = std::net::TcpStream::connect(address).expect("connected");
        client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        client.write_all(request.as_bytes()).expect("sent");
        let mut answer = [0; 12];
        client.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 101");
    }
}
