//! Framed echo over TCP: u32 big-endian length of what follows, then that many bytes, sent back unchanged.
//! `cargo run --release --example echo -- --listen 127.0.0.1:9000 [--workers N]`
use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use seamio::net::*;

struct Frames;

impl Codec for Frames {
    type In = Bytes;
    type Out = Bytes;
    type State = ();
    fn open(&self, _: &Peer) {}
    fn decode(&self, _: &mut (), input: &mut Input<'_>) -> Result<Decoded<Bytes>, CodecError> {
        let Some(head) = input.as_slice().first_chunk() else {
            return Ok(Decoded::Need(4));
        };
        let length = 4 + u32::from_be_bytes(*head) as usize;
        if input.len() < length {
            return Ok(Decoded::Need(length));
        }
        Ok(Decoded::Message(input.take(length)))
    }
    fn encode(&self, frame: &Bytes, output: &mut Output<'_>) -> Result<(), CodecError> {
        output.append(frame.clone());
        Ok(())
    }
}

struct Echo;

impl Handler for Echo {
    type Codec = Frames;
    type Lane = Lines;
    type Event = ();
    fn codec(&self) -> &Frames {
        &Frames
    }
    fn lane(&self, _: LaneId, _: Lanes<Self>) -> Lines {
        Lines
    }
    fn on_message(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>, message: Bytes) {
        if cx.send(&message).is_err() {
            session.close();
        }
    }
}

struct Lines;

impl Lane<Echo> for Lines {
    fn on_batch(
        &mut self,
        _: Instant,
        batch: &mut VecDeque<LaneInput<Echo>>,
        out: &mut Outbound<Echo>,
    ) {
        for input in batch.drain(..) {
            if let LaneInput::Message(from, message) = input {
                out.send(from, &message).expect("a frame that was decoded");
            }
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let option = |name| {
        args.iter()
            .position(|a| a == name)
            .and_then(|i| args.get(i + 1))
    };
    let at: Endpoint = option("--listen")
        .ok_or("--listen HOST:PORT is missing")?
        .parse()?;
    let threads = option("--workers").map_or(Ok(0), |n| n.parse())?;
    let workers = Workers {
        threads,
        lanes: threads,
        ..Workers::default()
    };
    let mut reactor = Reactor::new(
        Config {
            workers,
            ..Config::default()
        },
        Echo,
    )?;
    let id = reactor.listen(at, ListenOptions::default())?;
    println!(
        "listening on {}",
        reactor.local_addr(id).ok_or("no address")?
    );
    Ok(reactor.run()?)
}
