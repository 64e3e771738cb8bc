//! A client of `echo` that stays connected: ten round trips, and a new attempt whenever the server is not there.
//! `cargo run --example echo_client -- [--connect 127.0.0.1:9000]`; start it before the server to see it try.
use bytes::Bytes;
use seamio::net::*;
use std::time::{Duration, Instant};

const ROUNDS: u64 = 10;

/// The time of sending and the number of the round, as text.
fn ping(round: u64, since: Duration) -> Bytes {
    Bytes::from(format!("{round} {}", since.as_nanos()))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let to = args.iter().skip_while(|a| *a != "--connect").nth(1);
    let to: Endpoint = to.map_or("127.0.0.1:9000", |to| to.as_str()).parse()?;

    let clock = Monotonic;
    let start = clock.now();
    let client = Callbacks::new(LengthDelimited)
        .on_open(move |cx, session, _| {
            println!("connected: {session}");
            let _ = cx.send(&ping(1, clock.now() - start));
            Ok(())
        })
        .on_message(move |cx, session, pong: Bytes| {
            let text = String::from_utf8_lossy(&pong);
            let (round, sent) = text.split_once(' ').expect("what was sent");
            let (round, sent): (u64, u64) = (round.parse().expect("n"), sent.parse().expect("n"));
            let took = clock.now() - start - Duration::from_nanos(sent);
            println!("round {round:2}: {took:?}");
            if round < ROUNDS {
                let _ = cx.send(&ping(round + 1, clock.now() - start));
            } else {
                println!("{:?}", session.stats());
                cx.handle().drain(Duration::from_secs(1));
            }
        })
        .on_close(|_, session, reason| println!("{session}: {reason}"))
        .on_connect_error(move |_, error, again: Option<Instant>| match again {
            Some(at) => println!("{error}; again in {:?}", at - clock.now()),
            None => println!("{error}; giving up"),
        });

    let mut reactor = Reactor::new(Config::default(), client)?;
    let options = ConnectOptions {
        backoff: Backoff {
            cap: Duration::from_secs(2),
            ..Backoff::default()
        },
        ..ConnectOptions::default()
    };
    reactor.connect(to, options);
    Ok(reactor.run()?) // until drained, which the last round asks for
}
