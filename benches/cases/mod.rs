//! System calls per echoed message, by the reactor's own counters (network.md D.3).
//!
//! The client is one thread with blocking sockets: it writes `depth` frames to each connection in one call, then reads all
//! echoes, round after round. So a round brings the server `connections * depth` messages, as many at once as it takes.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use seamio::net::{
    Codec, CodecError, Config, Cx, Decoded, Endpoint, Handle, Handler, Input, Lane, LaneId,
    LaneInput, Lanes, ListenOptions, Metrics, Outbound, Output, Peer, Reactor, Route, Session,
    Workers,
};

/// Runs every case and prints its counts beside its bar.
pub(crate) fn run() {
    let csv = std::env::args().any(|argument| argument == "--csv");
    let columns = [
        "polls",
        "reads",
        "writes",
        "wakes",
        "bar_poll",
        "bar_read",
        "bar_write",
        "bar_wake",
    ];
    match csv {
        true => println!("case,messages,{},verdict", columns.join(",")),
        false => {
            print!("{:<34}{:>9}", "per message", "messages");
            columns.iter().for_each(|name| print!("{name:>10}"));
            println!();
        }
    }
    for case in CASES {
        let (messages, metrics) = case.run();
        let each = |count: u64| count as f64 / messages as f64;
        let counts = [metrics.polls, metrics.reads, metrics.writes, metrics.wakes].map(each);
        let over = counts
            .iter()
            .zip(case.bar)
            .any(|(count, bar)| *count > bar * 1.02 + 0.005);
        let verdict = if over { "OVER" } else { "ok" };
        match csv {
            true => {
                let numbers = counts
                    .iter()
                    .chain(&case.bar)
                    .map(|number| format!("{number:.4}"));
                println!(
                    "{},{messages},{},{verdict}",
                    case.name,
                    numbers.collect::<Vec<_>>().join(",")
                );
            }
            false => {
                print!("{:<34}{messages:>9}", case.name);
                counts
                    .iter()
                    .chain(&case.bar)
                    .for_each(|number| print!("{number:>10.4}"));
                println!("  {verdict}");
            }
        }
    }
}

struct Case {
    name: &'static str,
    connections: usize,
    depth: usize,
    threads: usize,
    rounds: usize,
    /// Polls, reads, writes and wakes per message that it may need.
    bar: [f64; 4],
}

const SIXTEENTH: f64 = 1.0 / 16.0;
/// "About none": one in a hundred.
const NONE: f64 = 0.01;

const CASES: [Case; 6] = [
    Case {
        name: "1 connection, depth 1, inline",
        connections: 1,
        depth: 1,
        threads: 0,
        rounds: 5000,
        bar: [1.0, 1.0, 1.0, 0.0],
    },
    Case {
        name: "64 connections, depth 1, inline",
        connections: 64,
        depth: 1,
        threads: 0,
        rounds: 500,
        bar: [SIXTEENTH, 1.0, 1.0, 0.0],
    },
    Case {
        name: "1 connection, depth 16, inline",
        connections: 1,
        depth: 16,
        threads: 0,
        rounds: 5000,
        bar: [SIXTEENTH, SIXTEENTH, SIXTEENTH, 0.0],
    },
    Case {
        name: "64 connections, depth 16, inline",
        connections: 64,
        depth: 16,
        threads: 0,
        rounds: 500,
        bar: [NONE, SIXTEENTH, SIXTEENTH, 0.0],
    },
    Case {
        name: "64 connections, depth 16, worker",
        connections: 64,
        depth: 16,
        threads: 1,
        rounds: 500,
        bar: [NONE, SIXTEENTH, SIXTEENTH, NONE],
    },
    Case {
        name: "1 connection, depth 1, worker",
        connections: 1,
        depth: 1,
        threads: 1,
        rounds: 5000,
        bar: [2.0, 1.0, 1.0, 1.0],
    },
];

impl Case {
    /// Messages echoed, and what the reactor did for them.
    fn run(&self) -> (u64, Metrics) {
        let (tell, told) = mpsc::channel();
        let (threads, lanes) = (self.threads, self.threads);
        let server = thread::spawn(move || serve(threads, lanes, &tell));
        let (handle, at) = told.recv().expect("the server starts");
        let mut streams: Vec<_> = (0..self.connections).map(|_| connect(at)).collect();
        let round = Frames::round(self.depth);
        let mut space = vec![0; round.len()];
        let mut rounds = |count: usize| {
            for _ in 0..count {
                streams
                    .iter_mut()
                    .for_each(|stream| stream.write_all(&round).expect("loopback"));
                streams.iter_mut().for_each(|stream| {
                    stream.read_exact(&mut space).expect("loopback");
                    assert_eq!(space, round, "not what was sent");
                });
            }
        };
        rounds(self.rounds / 10 + 1);
        let before = settled(&handle);
        rounds(self.rounds);
        let after = settled(&handle);
        handle.drain(Duration::from_secs(1));
        drop(streams);
        server.join().expect("the server ends");
        let messages = (self.rounds * self.connections * self.depth) as u64;
        assert_eq!(after.frames_in - before.frames_in, messages);
        let spent = Metrics::default();
        (messages, difference(&after, &before, spent))
    }
}

fn difference(after: &Metrics, before: &Metrics, mut spent: Metrics) -> Metrics {
    spent.polls = after.polls - before.polls;
    spent.reads = after.reads - before.reads;
    spent.writes = after.writes - before.writes;
    spent.wakes = after.wakes - before.wakes;
    spent
}

/// The counters once the turn that sent the last echo has published them.
#[allow(clippy::disallowed_methods)] // A benchmark waits.
fn settled(handle: &Handle<Echo>) -> Metrics {
    let mut last = handle.metrics();
    loop {
        thread::sleep(Duration::from_millis(20));
        let now = handle.metrics();
        if now == last {
            return now;
        }
        last = now;
    }
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("loopback");
    stream.set_nodelay(true).expect("a socket");
    stream
}

fn serve(threads: usize, lanes: usize, tell: &mpsc::Sender<(Handle<Echo>, SocketAddr)>) {
    let workers = Workers {
        threads,
        lanes,
        ..Workers::default()
    };
    let config = Config {
        workers,
        ..Config::default()
    };
    let mut reactor = Reactor::new(config, Echo).expect("a poller");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let listener = reactor
        .listen(Endpoint::from(any), ListenOptions::default())
        .expect("loopback");
    let at = reactor.local_addr(listener).expect("bound");
    tell.send((reactor.handle(), at)).expect("the case waits");
    reactor.run().expect("the reactor ends in order");
}

struct Echo;
struct Frames;

impl Frames {
    /// `depth` frames of 64 bytes.
    fn round(depth: usize) -> Vec<u8> {
        let mut frame = 60u32.to_be_bytes().to_vec();
        frame.resize(64, 42);
        frame.repeat(depth)
    }
}

impl Codec for Frames {
    type In = Bytes;
    type Out = Bytes;
    type State = ();

    fn open(&self, _peer: &Peer) {}

    fn decode(&self, _state: &mut (), input: &mut Input<'_>) -> Result<Decoded<Bytes>, CodecError> {
        let Some(length) = input.as_slice().first_chunk() else {
            return Ok(Decoded::Need(4));
        };
        let total = 4 + u32::from_be_bytes(*length) as usize;
        if input.len() < total {
            return Ok(Decoded::Need(total));
        }
        Ok(Decoded::Message(input.take(total)))
    }

    fn encode(&self, message: &Bytes, output: &mut Output<'_>) -> Result<(), CodecError> {
        output.put_slice(message);
        Ok(())
    }
}

impl Handler for Echo {
    type Codec = Frames;
    type Lane = EchoLane;
    type Event = ();

    fn codec(&self) -> &Frames {
        &Frames
    }

    fn lane(&self, _id: LaneId, _lanes: Lanes<Self>) -> EchoLane {
        EchoLane
    }

    fn route(&self, session: &Session<Self>, _message: &Bytes) -> Route {
        Route::Keyed(session.id().as_u64())
    }

    fn on_message(&self, cx: &mut Cx<'_, Self>, _session: &Session<Self>, message: Bytes) {
        let _ = cx.send(&message);
    }
}

struct EchoLane;

impl Lane<Echo> for EchoLane {
    fn on_batch(
        &mut self,
        _now: Instant,
        batch: &mut VecDeque<LaneInput<Echo>>,
        out: &mut Outbound<Echo>,
    ) {
        for input in batch.drain(..) {
            if let LaneInput::Message(id, message) = input {
                out.send(id, &message)
                    .expect("the codec takes every message");
            }
        }
    }
}
