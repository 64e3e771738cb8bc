//! Limits are met with a clear answer, not with a hang.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

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
    pause(1500);
    assert_eq!(Client::connect(address).ask(b"again"), b"again");
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
