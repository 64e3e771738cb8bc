//! The shortest path: no worker, answers on the reactor's thread, and a reactor that does not sleep between two messages.
//! `cargo run --release --example spin`; prints round-trip times of a blocking client against both idle strategies.
//!
//! `IdleStrategy::Spin` polls without sleeping for the time given after the last work, and only then sleeps: it trades a core
//! for the wake-up of a sleeping thread. On a machine whose cores are taken it makes things worse, which the last column shows.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use seamio::net::*;

const BURSTS: usize = 20;
const ROUNDS: usize = 500;

fn main() -> Result<(), Box<dyn Error>> {
    let spin = IdleStrategy::Spin(Duration::from_millis(1));
    let ways = [("Block", IdleStrategy::Block), ("Spin(1 ms)", spin)];
    let mut servers = Vec::new();
    for (name, idle) in ways {
        let mut config = Config {
            idle,
            ..Config::default()
        };
        config.session.nodelay = true; // the default; a delayed answer would hide everything else
        let mut reactor = Reactor::new(config, echo())?;
        let id = reactor.listen("127.0.0.1:0".parse()?, ListenOptions::default())?;
        let address = reactor.local_addr(id).ok_or("not listening")?;
        let stop = reactor.handle();
        let thread = thread::spawn(move || reactor.run());
        servers.push((name, Client::new(address)?, Vec::new(), stop, thread));
    }
    // Turn about, so that what else the machine does meets both.
    for _ in 0..BURSTS {
        for (_, client, times, ..) in &mut servers {
            for _ in 0..ROUNDS {
                times.push(client.round_trip()?);
            }
        }
    }
    println!("{:12}{:>12}{:>12}{:>12}", "", "p50", "p99", "max");
    for (name, client, mut times, stop, thread) in servers {
        times.sort_unstable();
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
        println!(
            "{name:12}{:>12.1?}{:>12.1?}{:>12.1?}",
            at(0.5),
            at(0.99),
            at(1.0)
        );
        let m = stop.metrics();
        println!(
            "{:12}{:.2} polls and {:.2} other system calls per message",
            "",
            m.polls as f64 / m.frames_in as f64,
            (m.system_calls() - m.polls) as f64 / m.frames_in as f64
        );
        drop(client);
        stop.drain(Duration::from_secs(1));
        thread.join().map_err(|_| "the reactor panicked")??;
    }
    Ok(())
}

fn echo() -> Callbacks<LengthDelimited> {
    Callbacks::new(LengthDelimited).on_message(|cx, session, payload: Bytes| {
        if cx.send(&payload).is_err() {
            session.abort();
        }
    })
}

/// A blocking client, so that only the server's strategy differs.
struct Client {
    stream: TcpStream,
    frame: [u8; 68],
    clock: Monotonic,
}

impl Client {
    fn new(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut frame = [7; 68];
        frame[..4].copy_from_slice(&64u32.to_be_bytes());
        Ok(Client {
            stream,
            frame,
            clock: Monotonic,
        })
    }

    fn round_trip(&mut self) -> std::io::Result<Duration> {
        let start = self.clock.now();
        self.stream.write_all(&self.frame)?;
        self.stream.read_exact(&mut self.frame)?;
        Ok(self.clock.now() - start)
    }
}
