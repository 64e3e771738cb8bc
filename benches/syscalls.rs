//! What system calls cost here, and how many of them the reactor makes for a message.
//!
//! `cargo bench --bench syscalls [-- --csv]`. The first table times each call by itself; `floor` is the cheapest call
//! there is (`getppid`) with the two clock readings around it. The second counts, by the reactor's own counters, what the
//! cases of network.md D.3 need for each echoed message, beside what they may need; `OVER` marks a case above its bar.

mod cases;
mod report;

use std::fs::File;
use std::hint::black_box;
use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::parent_id;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};
use report::{Table, Times};

fn main() {
    calls();
    println!();
    cases::run();
}

/// One call per sample.
#[allow(clippy::disallowed_methods)] // A benchmark reads the clock.
fn each<T>(samples: usize, mut call: impl FnMut() -> T) -> Times {
    let mut times = Vec::with_capacity(samples);
    for _ in 0..samples {
        let start = Instant::now();
        black_box(call());
        times.push(start.elapsed().as_nanos() as f64);
    }
    Times::of(times)
}

fn calls() {
    let table = Table::new(&["bytes", "slices"]);
    let floor = each(SAMPLES, parent_id);
    let row = |case: &str, bytes: usize, slices: usize, times: Times| {
        table.row(
            case,
            &[bytes as f64, slices as f64],
            Some(times),
            Some(floor.p50),
        );
    };
    row("getppid", 0, 0, floor);
    let mut poll = Poll::new().expect("epoll");
    let waker = Waker::new(poll.registry(), Token(0)).expect("eventfd");
    let mut events = Events::with_capacity(1024);
    let mut idle = Poll::new().expect("epoll");
    row(
        "poll, nothing ready",
        0,
        0,
        each(SAMPLES, || idle.poll(&mut events, Some(Duration::ZERO))),
    );
    row("eventfd write", 8, 0, each(SAMPLES, || waker.wake()));
    let ready = || {
        waker.wake().expect("eventfd write");
        poll.poll(&mut events, None)
    };
    row("eventfd write and poll", 8, 0, each(SAMPLES, ready));
    transfers(&row);
    row("accept", 0, 0, accept());
    for bytes in [512, 64 << 10] {
        row("append and fdatasync", bytes, 0, sync(bytes));
    }
}

fn transfers(row: &impl Fn(&str, usize, usize, Times)) {
    let (mut near, mut far) = pair();
    let mut space = vec![0; 64 << 10];
    let bytes = vec![7; 16 << 10];
    for len in [64, 1024, 16 << 10] {
        row(
            "write",
            len,
            1,
            drained(&mut far, len, || near.write(&bytes[..len])),
        );
    }
    for slices in [1, 2, 4, 16, 64] {
        let parts: Vec<_> = (0..slices).map(|_| IoSlice::new(&bytes[..64])).collect();
        let len = 64 * slices;
        row(
            "writev",
            len,
            slices,
            drained(&mut far, len, || near.write_vectored(&parts)),
        );
    }
    for len in [64, 1024, 16 << 10] {
        let mut times = Vec::with_capacity(SAMPLES);
        for _ in 0..SAMPLES {
            far.write_all(&bytes[..len]).expect("loopback");
            // All of it is there once it can be peeked, so one read takes it.
            while near.peek(&mut space).expect("loopback") < len {}
            times.push(each(1, || near.read(&mut space).expect("loopback")).p50);
        }
        row("read", len, 1, Times::of(times));
    }
    near.set_nonblocking(true).expect("a socket");
    row(
        "read, would block",
        0,
        1,
        each(SAMPLES, || near.read(&mut space)),
    );
}

/// Times a write of `len` bytes; the other end reads them outside the measurement.
fn drained<T>(far: &mut TcpStream, len: usize, mut write: impl FnMut() -> T) -> Times {
    let mut space = vec![0; len];
    let mut times = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        times.push(each(1, &mut write).p50);
        far.read_exact(&mut space).expect("loopback");
    }
    Times::of(times)
}

fn accept() -> Times {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let at = listener.local_addr().expect("bound");
    let mut times = Vec::with_capacity(ACCEPTS);
    for _ in 0..ACCEPTS {
        let near = TcpStream::connect(at).expect("loopback");
        let mut far = None;
        times.push(each(1, || far = listener.accept().ok()).p50);
        drop((near, far));
    }
    Times::of(times)
}

fn sync(bytes: usize) -> Times {
    let path = std::env::temp_dir().join(format!("seamio-bench-{}", std::process::id()));
    let mut file = File::create(&path).expect("a temporary file");
    let block = vec![1; bytes];
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let append = || {
            file.write_all(&block).expect("room on the disk");
            file.sync_data().expect("a disk that syncs");
        };
        times.push(each(1, append).p50);
    }
    drop(file);
    std::fs::remove_file(path).expect("our own file");
    Times::of(times)
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("loopback");
    let (far, _) = listener.accept().expect("loopback");
    near.set_nodelay(true).expect("a socket");
    far.set_nodelay(true).expect("a socket");
    (near, far)
}

const SAMPLES: usize = 20_000;
const ACCEPTS: usize = 2000;
const SYNCS: usize = 300;
