//! Several reactors in one process that share a port: `cargo run --example shared_port`; ends by itself.
//!
//! Each reactor has a thread, a socket bound with `reuse_port` and no idea of the others; the kernel spreads connections over
//! them by the hash of their addresses. There is nothing to hand over and no lock between them. A connection stays with the
//! reactor that accepted it, so what sessions share must be reachable from both threads (here: nothing).

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use seamio::net::*;

const REACTORS: usize = 2;
const CONNECTIONS: usize = 400;

fn main() -> Result<(), Box<dyn Error>> {
    // The first one picks the port, the others join it: all must ask for `reuse_port`.
    let mut at = "127.0.0.1:0".parse()?;
    let (mut threads, mut stops) = (Vec::new(), Vec::new());
    for number in 0..REACTORS {
        let mut reactor = Reactor::new(Config::default(), named(number))?;
        let options = ListenOptions {
            reuse_port: true,
            ..ListenOptions::default()
        };
        let id = reactor.listen(at, options)?;
        at = reactor.local_addr(id).ok_or("not listening")?.into();
        stops.push(reactor.handle());
        threads.push(thread::spawn(move || {
            reactor.run().map(|()| reactor.metrics().clone())
        }));
    }
    println!("{REACTORS} reactors listen on {at}");

    for (number, sessions) in count_greetings(at)? {
        println!("{number}: {sessions} sessions {}", "*".repeat(sessions / 8));
    }

    for stop in &stops {
        stop.drain(Duration::from_secs(1));
    }
    for (number, thread) in threads.into_iter().enumerate() {
        let metrics = thread.join().map_err(|_| "a reactor panicked")??;
        println!(
            "reactor {number} accepted {} with {} calls of accept, and closed {}",
            metrics.accepts, metrics.accept_calls, metrics.closed
        );
    }
    Ok(())
}

/// A server that greets with its name.
fn named(number: usize) -> Callbacks<Lines> {
    Callbacks::new(Lines).on_open(move |cx, _, _| {
        let _ = cx.send(&format!("reactor {number}"));
        Ok(())
    })
}

/// Connects many times and counts who answered.
fn count_greetings(at: Endpoint) -> Result<BTreeMap<String, usize>, Box<dyn Error>> {
    let (tell, heard) = mpsc::channel();
    let client = Callbacks::new(Lines).on_message(move |_, _, line| drop(tell.send(line)));
    let mut reactor = Reactor::new(Config::default(), client)?;
    let options = ConnectOptions {
        connections: CONNECTIONS,
        ..ConnectOptions::default()
    };
    reactor.connect(at, options);
    let mut counts = BTreeMap::new();
    while counts.values().sum::<usize>() < CONNECTIONS {
        reactor.poll_once(None)?;
        for name in heard.try_iter() {
            *counts.entry(name).or_default() += 1;
        }
    }
    Ok(counts)
}
