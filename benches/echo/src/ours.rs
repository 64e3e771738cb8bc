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

/// A frame with its head.
enum Frame {
    /// By value, as codecs hand out what they understood: one that fits is cheaper to copy than to count references to.
    Small {
        length: u8,
        bytes: Block,
    },
    Large(Bytes),
}

/// Aligned, so that it is moved in few steps.
#[derive(Clone, Copy)]
#[repr(align(16))]
struct Block([u8; SMALL]);

struct Echo;

impl Codec for Echo {
    type In = Frame;
    type Out = Frame;
    type State = ();

    fn open(&self, _peer: &Peer) {}

    #[inline]
    fn decode(&self, _state: &mut (), input: &mut Input<'_>) -> Result<Decoded<Frame>, CodecError> {
        let unread = input.as_slice();
        let Some(length) = unread.first_chunk() else {
            return Ok(Decoded::Need(4));
        };
        let total = 4 + u32::from_be_bytes(*length) as usize;
        let Some(frame) = unread.get(..total) else {
            return Ok(Decoded::Need(total));
        };
        if total > SMALL {
            return Ok(Decoded::Message(Frame::Large(input.take(total))));
        }
        // What comes behind is copied along: that is less work than to stop before it.
        let bytes = match unread.first_chunk() {
            Some(more) => Block(*more),
            None => padded(frame),
        };
        input.advance(total);
        let length = total as u8;
        Ok(Decoded::Message(Frame::Small { length, bytes }))
    }

    #[inline]
    fn encode(&self, frame: &Frame, output: &mut Output<'_>) -> Result<(), CodecError> {
        match frame {
            Frame::Small { length, bytes } => output.put_slice(&bytes.0[..usize::from(*length)]),
            Frame::Large(bytes) if bytes.len() < LINKED => output.put_slice(bytes),
            Frame::Large(bytes) => output.append(bytes.clone()),
        }
        Ok(())
    }
}

/// The last frames of a read.
#[cold]
fn padded(frame: &[u8]) -> Block {
    let mut bytes = [0; SMALL];
    bytes[..frame.len()].copy_from_slice(frame);
    Block(bytes)
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

    #[inline]
    fn on_message(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>, message: Frame) {
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

/// The longest frame that is handed on by value.
const SMALL: usize = 112;

/// Frames from this size on are sent from where they were received; smaller ones are cheaper to copy than to count.
const LINKED: usize = 4096;
