//! The load generator: one thread, bare epoll, nothing allocated while it measures.
//!
//! `load closed|open|accept|memory|jitter --to 127.0.0.1:PORT [options]` prints one JSON object.
//!
//! * *closed*: every connection keeps `--depth` messages under way. Finds the peak.
//! * *open*: messages leave by a fixed schedule of `--rate` per second, whatever comes back; latency counts from the
//!   scheduled time, so that a stall of the server is not hidden by the generator waiting for it.
//! * *accept*: connections one after the other, each with one message.
//! * *memory*: the closed mode against an echo in memory: what the generator itself can do.
//! * *jitter*: its own unsteadiness: a byte through a socket pair and an epoll on this thread, and gaps of the clock.
//!
//! It never sleeps while measuring (`--block` makes it), so that waking it costs the server nothing. Each connection first
//! echoes `--depth` messages whose every byte is compared; afterwards the kernel throws the echoes away uncopied
//! (`MSG_TRUNC`) and only their number counts, which keeps the generator faster than what it measures. Frames of a
//! connection are taken to come back in order: a server that reorders them only swaps the latencies of equals.

mod accept;
mod closed;
mod histogram;
mod jitter;
mod open;
mod report;
mod watch;
mod wire;

use std::io;
use std::net::SocketAddr;

use seamio_echo::Arguments;

use report::Fields;
use wire::{Memory, Sockets};

fn main() -> io::Result<()> {
    let arguments = Arguments::of_process();
    let mode = std::env::args().nth(1).unwrap_or_default();
    let plan = Plan::of(&arguments);
    let fields = match mode.as_str() {
        "jitter" => jitter::measure()?,
        "memory" => closed::run(&plan, &mut Memory::new(plan.connections))?,
        "accept" => accept::run(&plan, target(&arguments))?,
        "closed" | "open" => {
            let to = target(&arguments);
            let mut wire = Sockets::connect(to, plan.connections, plan.patience())?;
            wire.compare(&plan)?;
            let jitter = jitter::gaps(GAP_NANOS);
            let mut fields = match mode.as_str() {
                "closed" => closed::run(&plan, &mut wire)?,
                _ => open::run(&plan, &mut wire)?,
            };
            fields.part("gaps", &jitter);
            fields
        }
        _ => {
            eprintln!("load closed|open|accept|memory|jitter --to HOST:PORT");
            std::process::exit(2);
        }
    };
    println!("{}", fields.finish());
    Ok(())
}

fn target(arguments: &Arguments) -> SocketAddr {
    arguments.get("--to", SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// What is asked for.
pub(crate) struct Plan {
    pub(crate) connections: usize,
    pub(crate) payload: usize,
    pub(crate) depth: usize,
    /// Messages per second of the open mode, over all connections.
    pub(crate) rate: f64,
    pub(crate) warm_nanos: u64,
    pub(crate) nanos: u64,
    /// Whose CPU and memory to look at.
    pub(crate) server: Option<u32>,
    /// Sleep when nothing is ready.
    block: bool,
    /// The first connection keeps this many messages under way, and is not part of the latencies.
    pub(crate) hog: usize,
    /// The last connections send without end and never read; not part of the latencies.
    pub(crate) mute: usize,
    /// Frames of every length the plan can need, one after the other.
    pub(crate) template: Vec<u8>,
}

impl Plan {
    fn of(arguments: &Arguments) -> Self {
        let seconds = |name, default| (arguments.get(name, default) * 1e9) as u64;
        let payload = arguments.get("--payload", 64usize);
        let depth = arguments.get("--depth", 1usize).max(1);
        let hog = arguments.get("--hog", 0usize);
        let server = arguments.get("--server", 0u32);
        Plan {
            connections: arguments.get("--connections", 1usize).max(1),
            payload,
            depth,
            rate: arguments.get("--rate", 1000.0),
            warm_nanos: seconds("--warmup", 1.0),
            nanos: seconds("--seconds", 3.0),
            server: (server > 0).then_some(server),
            block: arguments.has("--block"),
            hog,
            mute: arguments.get("--mute", 0usize),
            template: template(payload, depth.max(hog).max(16)),
        }
    }

    /// Bytes of a frame.
    pub(crate) fn frame(&self) -> usize {
        4 + self.payload
    }

    /// Milliseconds to wait when nothing is ready.
    pub(crate) fn patience(&self) -> i32 {
        if self.block { 20 } else { 0 }
    }

    /// How deep this connection goes.
    pub(crate) fn depth_of(&self, connection: usize) -> usize {
        match self.hog {
            depth if depth > 0 && connection == 0 => depth,
            _ => self.depth,
        }
    }

    /// Whether the latencies of this connection count.
    pub(crate) fn counts(&self, connection: usize) -> bool {
        !(self.hog > 0 && connection == 0) && !self.is_mute(connection)
    }

    /// Whether this connection never reads.
    pub(crate) fn is_mute(&self, connection: usize) -> bool {
        connection >= self.connections - self.mute
    }
}

/// `count` equal frames, and one more so that a piece of the stream may start anywhere in the first.
fn template(payload: usize, count: usize) -> Vec<u8> {
    let mut frame = (payload as u32).to_be_bytes().to_vec();
    let mut word = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..payload {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        frame.push(word as u8);
    }
    frame.repeat(count + 1)
}

/// How long the clock is watched before each measurement.
const GAP_NANOS: u64 = 30_000_000;

/// Starts a report with what every mode has in common.
pub(crate) fn fields_of(plan: &Plan, mode: &str) -> Fields {
    let mut fields = Fields::default();
    fields.text("mode", mode);
    fields.number("connections", plan.connections as f64);
    fields.number("payload", plan.payload as f64);
    fields.number("depth", plan.depth as f64);
    fields
}
