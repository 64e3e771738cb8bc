//! Framed echo over TCP: u32 big-endian length of what follows, then that many bytes, sent back unchanged.
//! `cargo run --release --example echo -- [--listen 127.0.0.1:9000] [--workers N]`; ends on Ctrl-C.
use bytes::Bytes;
use seamio::net::*;
use std::{collections::VecDeque, time::Instant};

struct Echo;

impl Handler for Echo {
    type Codec = LengthDelimited;
    type Lane = Echo;
    type Event = ();

    fn codec(&self) -> &LengthDelimited {
        &LengthDelimited
    }
    fn lane(&self, _: LaneId, _: Lanes<Self>) -> Echo {
        Echo
    }
    /// Without workers: answered where it was read.
    fn on_message(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>, payload: Bytes) {
        if cx.send(&payload).is_err() {
            session.abort();
        }
    }
}

/// With workers: a session's messages are answered in order by the one lane that its id leads to.
impl Lane<Echo> for Echo {
    fn on_batch(
        &mut self,
        _now: Instant,
        batch: &mut VecDeque<LaneInput<Echo>>,
        out: &mut Outbound<Echo>,
    ) {
        while let Some(LaneInput::Message(from, payload)) = batch.pop_front() {
            out.send(from, &payload).expect("it came in a frame");
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let option = |name| args.iter().skip_while(|a| *a != name).nth(1);
    let config = Config {
        workers: Workers::of(option("--workers").map_or(Ok(0), |n| n.parse())?),
        ..Config::default()
    };
    let mut reactor = Reactor::new(config, Echo)?;
    let at = option("--listen").map_or("127.0.0.1:9000", |at| at.as_str());
    let id = reactor.listen(at.parse()?, ListenOptions::default())?;
    println!("listening on {}", reactor.local_addr(id).ok_or("closed")?);
    Ok(reactor.run()?)
}
