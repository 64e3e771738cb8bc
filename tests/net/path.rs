//! Bytes in, frames through, bytes out; and what it costs.

use std::io::{Read, Write};
use std::time::Duration;

use crate::fixture::*;
use seamio::net::*;

fn echo_config(threads: usize, lanes: usize) -> Config {
    Config {
        workers: Workers {
            threads,
            lanes,
            ..Workers::default()
        },
        ..Config::default()
    }
}

fn echo_app(lanes: usize) -> (App, crossbeam_channel::Receiver<Note>) {
    let (mut app, notes) = App::new();
    if lanes > 0 {
        app.route = Box::new(|s, _| Route::Keyed(s.id().as_u64()));
    }
    (app, notes)
}

#[test]
fn echo_survives_any_split() {
    for (threads, lanes) in [(0, 0), (0, 2), (2, 3)] {
        let server = Server::start(echo_config(threads, lanes), echo_app(lanes));
        let clients = [1usize, 2, 3, 5, 7, 64, 1000, 65_536, 100_000, 1 << 20];
        let threads: Vec<_> = clients
            .into_iter()
            .map(|step| {
                let Client { mut stream } = server.client();
                std::thread::spawn(move || {
                    let frames = if step < 8 {
                        mixed(step as u64, 4)
                    } else {
                        mixed(9, 60)
                    };
                    let frames: Vec<_> = match step {
                        1..8 => frames
                            .into_iter()
                            .map(|f| f[..f.len().min(700)].to_vec())
                            .collect(),
                        _ => frames,
                    };
                    let bytes: Vec<u8> = frames.iter().flat_map(|f| frame(f)).collect();
                    let mut reader = stream.try_clone().expect("clone");
                    let expected = bytes.clone();
                    let check = std::thread::spawn(move || {
                        let mut got = vec![0; expected.len()];
                        reader.read_exact(&mut got).expect("echo");
                        assert!(got == expected, "step {step}");
                    });
                    for piece in bytes.chunks(step) {
                        stream.write_all(piece).expect("write");
                    }
                    check.join().expect("equal");
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().expect("client"));
        let metrics = server.wait_for("all bytes", |m| m.bytes_in == m.bytes_out);
        assert_eq!(metrics.frames_in, metrics.frames_out);
    }
}

/// Runs turns until the reactor has nothing left to do.
fn settle(reactor: &mut Reactor<App>, frames: u64) {
    turn_until(reactor, |m| m.frames_out >= frames && m.buffered == 0);
}

fn turn_until(reactor: &mut Reactor<App>, wanted: impl Fn(&Metrics) -> bool) {
    let until = now() + PATIENCE;
    while !wanted(reactor.metrics()) {
        reactor
            .poll_once(Some(std::time::Duration::from_millis(10)))
            .expect("turn");
        assert!(now() < until, "no progress: {:?}", reactor.metrics());
    }
}

fn in_thread(config: Config) -> (Reactor<App>, std::net::SocketAddr) {
    let mut reactor = Reactor::new(config, App::new().0).expect("reactor");
    let id = reactor
        .listen(any_port(), ListenOptions::default())
        .expect("listen");
    let address = reactor.local_addr(id).expect("address");
    (reactor, address)
}

#[test]
fn a_pipeline_of_sixteen_costs_two_system_calls_and_no_registration() {
    let (mut reactor, address) = in_thread(Config::default());
    let mut client = Client::connect(address);
    client.send(b"warm-up");
    settle(&mut reactor, 1);
    let before = reactor.metrics().clone();
    let burst: Vec<u8> = (0..16).flat_map(|_| frame(&[7; 64])).collect();
    for round in 1..=10 {
        client.stream.write_all(&burst).expect("write");
        settle(&mut reactor, 1 + 16 * round);
    }
    let after = reactor.metrics();
    assert_eq!(after.frames_in - before.frames_in, 160);
    assert_eq!(
        (after.reads - before.reads, after.writes - before.writes),
        (10, 10)
    );
    assert_eq!(after.registrations - before.registrations, 0);
    assert_eq!(
        after.write_slices - before.write_slices,
        10,
        "small frames leave as one piece"
    );
    assert_eq!((after.wakes, after.stale), (before.wakes, 0));
}

#[test]
fn many_connections_deep_cost_less_than_a_seventh_of_a_call_per_message() {
    let (mut reactor, address) = in_thread(Config::default());
    let mut clients: Vec<_> = (0..64).map(|_| Client::connect(address)).collect();
    clients[0].send(b"warm-up");
    settle(&mut reactor, 1);
    turn_until(&mut reactor, |m| m.sessions == 64);
    let before = reactor.metrics().clone();
    let burst: Vec<u8> = (0..16).flat_map(|_| frame(&[7; 64])).collect();
    for round in 1..=5 {
        for client in &mut clients {
            client.stream.write_all(&burst).expect("write");
        }
        settle(&mut reactor, 1 + 64 * 16 * round);
    }
    let after = reactor.metrics();
    let calls = after.system_calls() - before.system_calls();
    let frames = after.frames_in - before.frames_in;
    assert_eq!(frames, 5 * 64 * 16);
    assert!(
        calls as f64 / frames as f64 <= 0.15,
        "{calls} calls for {frames} frames"
    );
}

#[test]
fn a_hog_does_not_starve_a_polite_session() {
    let (mut reactor, address) = in_thread(Config::default());
    let mut hog = Client::connect(address);
    let mut polite = Client::connect(address);
    hog.send(b"hello");
    polite.send(b"hello");
    settle(&mut reactor, 2);
    // 20,000 frames are far more than one turn may take from one session.
    let burst: Vec<u8> = (0..20_000).flat_map(|_| frame(&[1; 8])).collect();
    let mut writer = hog.stream.try_clone().expect("clone");
    let mut reader = hog.stream.try_clone().expect("clone");
    let feeding = std::thread::spawn(move || writer.write_all(&burst).expect("write"));
    let eating = std::thread::spawn(move || {
        let mut got = vec![0; 20_000 * 12 + 9];
        reader.read_exact(&mut got).expect("read");
    });
    turn_until(&mut reactor, |m| m.budget_stops > 0);
    polite.receive();
    polite.send(b"me too");
    pause(5);
    let frames = reactor.metrics().frames_in;
    let budget = Config::default().budget.frames as u64;
    for _ in 0..3 {
        reactor
            .poll_once(Some(std::time::Duration::ZERO))
            .expect("turn");
    }
    polite
        .stream
        .set_read_timeout(Some(std::time::Duration::from_secs(5)))
        .expect("timeout");
    assert_eq!(polite.receive(), b"me too");
    assert!(
        reactor.metrics().frames_in - frames <= 3 * budget + 1,
        "the hog kept to its budget"
    );
    settle(&mut reactor, 20_003);
    feeding.join().expect("fed");
    eating.join().expect("eaten");
}

#[test]
fn idle_sessions_cost_no_turn_at_all() {
    let server = Server::start(Config::default(), App::new());
    let mut clients: Vec<_> = (0..20).map(|_| server.client()).collect();
    for client in &mut clients {
        client.ask(b"hi");
    }
    let before = server.wait_for("sessions", |m| m.sessions == 20).polls;
    pause(300);
    assert!(
        server.handle.metrics().polls - before <= 1,
        "an idle reactor sleeps"
    );
}

#[test]
fn options_reach_accepted_sockets() {
    let (mut app, notes) = App::new();
    let (sender, receiver) = crossbeam_channel::bounded(1);
    app.on_open = Box::new(move |_, session, _| {
        let sender = sender.clone();
        session.with_socket(move |socket| {
            sender
                .send(socket.tcp_nodelay().expect("option"))
                .expect("receiver");
        });
        Ok(())
    });
    let server = Server::start(Config::default(), (app, notes));
    let _client = server.client();
    assert!(receiver.recv_timeout(PATIENCE).expect("the socket"));
}

#[test]
fn budgets_of_zero_are_slow_and_not_a_standstill() {
    let config = Config {
        budget: Budget {
            read: 0,
            frames: 0,
            write: 0,
            accepts: 0,
            visits: 0,
            remote: 0,
            timers: 0,
            slice: Duration::ZERO,
        },
        ..Config::default()
    };
    let server = Server::start(config, App::new());
    assert_eq!(server.client().ask(b"slowly"), b"slowly");
}
