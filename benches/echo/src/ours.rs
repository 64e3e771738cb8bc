//! Our own echo, over the public API of the runtime.
//!
//! `ours [--workers N] [--spin] [--bulk] [--tell] [--listen 127.0.0.1:0]`. Without workers messages are handled inline; with them
//! each goes to the lane of its session. With `--tell` a thread answers each line of standard input with the reactor's
//! counters, as one line of JSON. `--bulk` gives a session more of each turn before the others get theirs, and more
//! unsent bytes before it is not read: what frames of many kilobytes gain by.

use std::collections::VecDeque;
use std::io::{self, BufRead};
use std::time::Instant;

use bytes::Bytes;
use seamio::net::{
    Codec, CodecError, Config, Cx, Decoded, Handle, Handler, IdleStrategy, Input, Lane, LaneId,
    LaneInput, Lanes, ListenOptions, Outbound, Output, Peer, Reactor, Session,
};
use seamio_echo::Arguments;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::of_process();
    let mut config = Config::default();
    config.workers.threads = arguments.get("--workers", 0);
    config.workers.lanes = config.workers.threads;
    if arguments.has("--bulk") {
        config.budget.read = 256 << 10;
        config.session.high_water = 1 << 20;
        config.session.low_water = 512 << 10;
    }
    if arguments.has("--spin") {
        config.idle = IdleStrategy::Never;
    }
    let mut reactor = Reactor::new(config, Echo)?;
    let at = arguments.get("--listen", String::from("127.0.0.1:0"));
    let listener = reactor.listen(at.parse()?, ListenOptions::default())?;
    let at = reactor.local_addr(listener).ok_or("closed")?;
    println!("listening on {at}");
    if arguments.has("--tell") {
        let handle = reactor.handle();
        std::thread::spawn(move || tell(&handle));
    }
    Ok(reactor.run()?)
}

/// Answers each line of standard input with the counters.
fn tell(handle: &Handle<Echo>) {
    for line in io::stdin().lock().lines() {
        if line.is_err() {
            return;
        }
        let metrics = handle.metrics();
        let counters = [
            ("turns", metrics.turns),
            ("frames_in", metrics.frames_in),
            ("polls", metrics.polls),
            ("events", metrics.events),
            ("spurious", metrics.spurious),
            ("reads", metrics.reads),
            ("writes", metrics.writes),
            ("accepts", metrics.accepts),
            ("registrations", metrics.registrations),
            ("wakes", metrics.wakes),
            ("timer_fires", metrics.timer_fires),
            ("budget_stops", metrics.budget_stops),
            ("system_calls", metrics.system_calls()),
        ];
        let fields = counters.map(|(name, count)| format!("\"{name}\":{count}"));
        println!("{{{}}}", fields.join(","));
    }
}

struct Echo;

impl Codec for Echo {
    type In = Bytes;
    type Out = Bytes;
    type State = ();

    fn open(&self, _peer: &Peer) {}

    fn decode(&self, _state: &mut (), input: &mut Input<'_>) -> Result<Decoded<Bytes>, CodecError> {
        let Some(length) = input.as_slice().first_chunk() else {
            return Ok(Decoded::Need(4));
        };
        let total = 4 + u32::from_be_bytes(*length) as usize;
        match input.len() >= total {
            true => Ok(Decoded::Message(input.take(total))),
            false => Ok(Decoded::Need(total)),
        }
    }

    fn encode(&self, message: &Bytes, output: &mut Output<'_>) -> Result<(), CodecError> {
        match message.len() < LINKED {
            true => output.put_slice(message),
            false => output.append(message.clone()),
        }
        Ok(())
    }
}

impl Handler for Echo {
    type Codec = Echo;
    type Lane = EchoLane;
    type Event = ();

    fn codec(&self) -> &Echo {
        self
    }

    fn lane(&self, _id: LaneId, _lanes: Lanes<Self>) -> EchoLane {
        EchoLane
    }

    fn on_message(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>, message: Bytes) {
        if cx.send(&message).is_err() {
            session.abort();
        }
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
            if let LaneInput::Message(from, message) = input {
                out.send(from, &message)
                    .expect("the codec takes every message");
            }
        }
    }
}

/// Frames from this size on are sent from where they were received; smaller ones are cheaper to copy than to count.
const LINKED: usize = 4096;
