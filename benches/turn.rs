//! What a turn costs that finds nothing to do, and what a message costs inside a turn that finds many.
//!
//! `cargo bench --bench turn [-- --csv]`. An empty turn is one poll that does not wait; `floor` is the bare poll. For
//! messages a burst of frames lies in the socket, and one turn reads it at once: `decode` drops each message, `decode and
//! answer` appends it to the outbox, which leaves with one write; `floor` is the bare read, or the read and the write, of
//! the same bytes. All per message.

mod report;

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use seamio::net::{
    Config, Cx, Endpoint, Handler, LaneId, Lanes, LengthDelimited, ListenOptions, Reactor, Route,
    Session,
};

use report::{Table, Times, measure};

fn main() {
    let table = Table::new(&["sessions", "payload"]);
    for sessions in [0, 1000] {
        let (mut reactor, _streams) = serve(Answer::Yes, sessions);
        let times = measure(2000, 100, |_| {
            reactor.poll_once(Some(Duration::ZERO)).expect("a turn")
        });
        let counts = [sessions as f64, 0.0];
        table.row("empty turn", &counts, Some(times), Some(bare_poll()));
    }
    for payload in [64, 1024] {
        for (name, answer) in [("decode", Answer::No), ("decode and answer", Answer::Yes)] {
            let times = burst(answer, payload);
            let floor = bare(answer, payload).p50;
            table.row(name, &[1.0, payload as f64], Some(times), Some(floor));
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Answer {
    Yes,
    No,
}

/// A reactor with its sessions open, and their other ends.
fn serve(answer: Answer, sessions: usize) -> (Reactor<Echo>, Vec<TcpStream>) {
    let mut reactor = Reactor::new(Config::default(), Echo { answer }).expect("a poller");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let listener = reactor
        .listen(Endpoint::from(any), ListenOptions::default())
        .expect("loopback");
    let at = reactor.local_addr(listener).expect("bound");
    let mut streams = Vec::new();
    for opened in 1..=sessions {
        streams.push(TcpStream::connect(at).expect("loopback"));
        while reactor.metrics().opened < opened as u64 {
            reactor.poll_once(Some(SOON)).expect("a turn");
        }
    }
    for _ in 0..10 {
        reactor.poll_once(Some(Duration::ZERO)).expect("a turn");
    }
    (reactor, streams)
}

fn bare_poll() -> f64 {
    let mut poll = mio::Poll::new().expect("epoll");
    let mut events = mio::Events::with_capacity(1024);
    let times = measure(2000, 100, |_| {
        poll.poll(&mut events, Some(Duration::ZERO)).expect("epoll")
    });
    times.p50
}

/// One burst per sample.
#[allow(clippy::disallowed_methods)] // A benchmark reads the clock.
fn burst(answer: Answer, payload: usize) -> Times {
    let (mut reactor, mut streams) = serve(answer, 1);
    let (burst, frames) = frames(payload);
    let mut space = vec![0; burst.len()];
    let mut times = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let before = reactor.metrics().frames_in;
        streams[0].write_all(&burst).expect("loopback");
        let start = Instant::now();
        while reactor.metrics().frames_in - before < frames as u64 {
            reactor.poll_once(Some(SOON)).expect("a turn");
        }
        times.push(start.elapsed().as_nanos() as f64 / frames as f64);
        if answer == Answer::Yes {
            streams[0].read_exact(&mut space).expect("loopback");
            assert_eq!(space, burst, "not what was sent");
        }
    }
    Times::of(times)
}

/// The same bytes through bare calls.
#[allow(clippy::disallowed_methods)] // A benchmark reads the clock.
fn bare(answer: Answer, payload: usize) -> Times {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let mut near = TcpStream::connect(listener.local_addr().expect("bound")).expect("loopback");
    let (mut far, _) = listener.accept().expect("loopback");
    far.set_nodelay(true).expect("a socket");
    let (burst, frames) = frames(payload);
    let mut space = vec![0; burst.len()];
    let mut times = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        near.write_all(&burst).expect("loopback");
        let start = Instant::now();
        far.read_exact(&mut space).expect("loopback");
        if answer == Answer::Yes {
            far.write_all(&space).expect("loopback");
        }
        times.push(start.elapsed().as_nanos() as f64 / frames as f64);
        if answer == Answer::Yes {
            near.read_exact(&mut space).expect("loopback");
        }
        black_box(&space);
    }
    Times::of(times)
}

/// A burst that one read takes, and how many frames it has.
fn frames(payload: usize) -> (Vec<u8>, usize) {
    let mut frame = (payload as u32).to_be_bytes().to_vec();
    frame.resize(4 + payload, 42);
    let count = (16 << 10) / frame.len();
    (frame.repeat(count), count)
}

struct Echo {
    answer: Answer,
}

impl Handler for Echo {
    type Codec = LengthDelimited;
    type Lane = ();
    type Event = ();

    fn codec(&self) -> &LengthDelimited {
        &LengthDelimited
    }

    fn lane(&self, _id: LaneId, _lanes: Lanes<Self>) {}

    fn route(&self, _session: &Session<Self>, _message: &Bytes) -> Route {
        match self.answer {
            Answer::Yes => Route::Inline,
            Answer::No => Route::Drop,
        }
    }

    fn on_message(&self, cx: &mut Cx<'_, Self>, _session: &Session<Self>, message: Bytes) {
        let _ = cx.send(&message).expect("an answer");
    }
}

const SAMPLES: usize = 3000;
const SOON: Duration = Duration::from_millis(10);
