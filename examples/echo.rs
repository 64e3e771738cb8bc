//! Framed echo over TCP: u32 big-endian length of what follows, then that many bytes, sent back unchanged.
//! `cargo run --release --example echo -- --listen 127.0.0.1:9000 [--workers N]`
use bytes::Bytes;
use seamio::net::*;
use std::{collections::VecDeque, time::Instant};

type Batch = VecDeque<LaneInput<Echo>>;
struct Echo;
impl Codec for Echo {
    type In = Bytes;
    type Out = Bytes;
    type State = ();
    fn open(&self, _: &Peer) {}
    fn decode(&self, _: &mut (), input: &mut Input<'_>) -> Result<Decoded<Bytes>, CodecError> {
        let head = input.as_slice().first_chunk();
        let length = 4 + head.map_or(0, |n| u32::from_be_bytes(*n) as usize);
        match head.is_some() && input.len() >= length {
            true => Ok(Decoded::Message(input.take(length))),
            false => Ok(Decoded::Need(length)),
        }
    }
    fn encode(&self, frame: &Bytes, output: &mut Output<'_>) -> Result<(), CodecError> {
        output.append(frame.clone());
        Ok(())
    }
}
impl Lane<Echo> for Echo {
    fn on_batch(&mut self, _: Instant, batch: &mut Batch, out: &mut Outbound<Echo>) {
        while let Some(LaneInput::Message(from, frame)) = batch.pop_front() {
            out.send(from, &frame).expect("a frame that was decoded");
        }
    }
}
impl Handler for Echo {
    type Codec = Echo;
    type Lane = Echo;
    type Event = ();
    fn codec(&self) -> &Echo {
        self
    }
    fn lane(&self, _: LaneId, _: Lanes<Self>) -> Echo {
        Echo
    }
    fn on_message(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>, frame: Bytes) {
        cx.send(&frame).map_or_else(|_| session.abort(), |_| ());
    }
}
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let option = |name| args.iter().skip_while(|a| *a != name).nth(1);
    let mut config = Config::default();
    config.workers.threads = option("--workers").map_or(Ok(0), |n| n.parse())?;
    config.workers.lanes = config.workers.threads;
    let mut reactor = Reactor::new(config, Echo)?;
    let at = option("--listen").ok_or("--listen HOST:PORT")?.parse()?;
    let id = reactor.listen(at, ListenOptions::default())?;
    println!("listening on {}", reactor.local_addr(id).ok_or("closed")?);
    Ok(reactor.run()?)
}
