//! Inline echo, plain and compressed, allocates nothing per message once it is warm. The counting allocator is the whole process's, so this
//! test has a process of its own; only allocations of the reactor's thread count.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use seamio::net::*;

struct Counting;

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

fn note(bytes: usize) {
    // Not while the thread is being torn down.
    let _ = COUNTED.try_with(|counted| {
        if counted.get() {
            ALLOCATIONS.with(|n| n.set(n.get() + 1));
            BYTES.with(|n| n.set(n.get() + bytes));
        }
    });
}

// SAFETY: every call is passed on unchanged to the system's allocator; the counter allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Echo;

impl Handler for Echo {
    type Codec = LengthDelimited;
    type Lane = ();
    type Event = ();

    fn codec(&self) -> &LengthDelimited {
        &LengthDelimited
    }

    fn lane(&self, _: LaneId, _: Lanes<Self>) {}

    fn on_open(
        &self,
        _: &mut Cx<'_, Self>,
        _: &Session<Self>,
        config: &mut SessionConfig,
    ) -> Result<(), Refused> {
        // Timers run along: they must not allocate either.
        config.tick = Duration::from_millis(5);
        config.idle_timeout = Some(Duration::from_secs(5));
        Ok(())
    }

    fn on_message(&self, cx: &mut Cx<'_, Self>, _: &Session<Self>, message: Bytes) {
        let _ = cx.send(&message).expect("sent");
    }
}

fn burst(sizes: &[usize]) -> Vec<u8> {
    let frame = |n: &usize| [(*n as u32).to_be_bytes().to_vec(), vec![7; *n]].concat();
    sizes.iter().flat_map(frame).collect()
}

#[test]
fn inline_echo_allocates_nothing_once_warm() {
    let mut reactor = Reactor::new(Config::default(), Echo).expect("reactor");
    let at = "tcp://127.0.0.1:0".parse().expect("endpoint");
    let id = reactor
        .listen(at, ListenOptions::default())
        .expect("listen");
    let address = reactor.local_addr(id).expect("address");
    let mut clients: Vec<_> = (0..16)
        .map(|_| TcpStream::connect(address).expect("connect"))
        .collect();
    // Small frames, frames copied out of the buffer, shared and linked ones; bursts that end within a frame.
    let bursts = [
        burst(&[64; 16]),
        burst(&[1, 200, 300, 64]),
        burst(&[4096, 16_384, 10]),
        burst(&[1000; 20]),
    ];
    let mut echoed = 0;
    let mut round = |reactor: &mut Reactor<Echo>, counted: bool| {
        for (i, client) in clients.iter_mut().enumerate() {
            let bytes = &bursts[i % bursts.len()];
            let (first, second) = bytes.split_at(bytes.len() * (i + 1) / 17);
            for part in [first, second] {
                client.write_all(part).expect("write");
                echoed += part.len() as u64;
                // A frame cut in two is answered only when its other half has come.
                let until = if part.as_ptr() == second.as_ptr() {
                    echoed
                } else {
                    0
                };
                for _ in 0..3 {
                    COUNTED.set(counted);
                    reactor.poll_once(Some(Duration::ZERO)).expect("turn");
                    COUNTED.set(false);
                }
                while reactor.metrics().bytes_out < until {
                    COUNTED.set(counted);
                    reactor
                        .poll_once(Some(Duration::from_millis(10)))
                        .expect("turn");
                    COUNTED.set(false);
                }
            }
            let mut echo = vec![0; bytes.len()];
            client.read_exact(&mut echo).expect("echo");
            assert!(echo == *bytes);
        }
    };
    for _ in 0..30 {
        round(&mut reactor, false);
    }
    let before = reactor.metrics().frames_in;
    for _ in 0..50 {
        round(&mut reactor, true);
    }
    let frames = reactor.metrics().frames_in - before;
    let allocations = ALLOCATIONS.get();
    assert!(frames > 5000, "{frames}");
    assert_eq!(allocations, 0, "for {frames} frames");
}

/// Two reactors on one thread: a client that sends a burst and waits for its echo, and the server that is counted.
struct Pair {
    server: Reactor<Echo>,
    client: Reactor<Burst>,
    session: Arc<Mutex<Option<Session<Burst>>>>,
}

struct Burst {
    session: Arc<Mutex<Option<Session<Burst>>>>,
}

impl Handler for Burst {
    type Codec = LengthDelimited;
    type Lane = ();
    type Event = ();

    fn codec(&self) -> &LengthDelimited {
        &LengthDelimited
    }

    fn lane(&self, _: LaneId, _: Lanes<Self>) {}

    fn on_open(
        &self,
        _: &mut Cx<'_, Self>,
        session: &Session<Self>,
        _: &mut SessionConfig,
    ) -> Result<(), Refused> {
        *self.session.lock().expect("lock") = Some(session.clone());
        Ok(())
    }

    fn on_message(&self, _: &mut Cx<'_, Self>, _: &Session<Self>, _: Bytes) {}
}

impl Pair {
    fn new(compression: Compression) -> Pair {
        let mut config = Config::default();
        config.session.compression = compression;
        let session = Arc::new(Mutex::new(None));
        let handler = Burst {
            session: Arc::clone(&session),
        };
        let mut server = Reactor::new(config.clone(), Echo).expect("reactor");
        let mut client = Reactor::new(config, handler).expect("reactor");
        let at = "tcp://127.0.0.1:0".parse().expect("endpoint");
        let id = server.listen(at, ListenOptions::default()).expect("listen");
        let address = server.local_addr(id).expect("address");
        client.connect(address.into(), ConnectOptions::default());
        let mut pair = Pair {
            server,
            client,
            session,
        };
        while pair.session.lock().expect("lock").is_none() || pair.server.metrics().opened == 0 {
            pair.turn(false);
        }
        pair
    }

    fn turn(&mut self, counted: bool) {
        self.client.poll_once(Some(Duration::ZERO)).expect("turn");
        COUNTED.set(counted);
        self.server
            .poll_once(Some(Duration::from_millis(1)))
            .expect("turn");
        COUNTED.set(false);
    }

    fn round(&mut self, sizes: &[usize], counted: bool) {
        let session = self.session.lock().expect("lock").clone().expect("open");
        let wanted = self.client.metrics().frames_in + sizes.len() as u64;
        let payloads = sizes.iter().map(|n| Bytes::from(vec![7; *n]));
        let _ = session.send_all(payloads).expect("room");
        while self.client.metrics().frames_in < wanted {
            self.turn(counted);
        }
    }
}

#[test]
fn compressed_echo_allocates_nothing_once_warm() {
    let deflate = Compression::Deflate(DeflateLevel::Default);
    for compression in [deflate, Compression::Snappy] {
        let mut pair = Pair::new(compression);
        let bursts: [&[usize]; 4] = [
            &[64; 16],
            &[1, 200, 300, 64],
            &[4096, 16_384, 10],
            &[1000; 20],
        ];
        ALLOCATIONS.set(0);
        for burst in bursts.iter().cycle().take(100) {
            pair.round(burst, false);
        }
        for burst in bursts.iter().cycle().take(400) {
            pair.round(burst, true);
        }
        assert_eq!(ALLOCATIONS.get(), 0, "{compression:?}");
    }
}

/// What the documentation of `Compression` says a session costs once it has sent and received a little.
#[test]
fn compressed_sessions_take_the_memory_that_is_documented() {
    let deflate = Compression::Deflate(DeflateLevel::Default);
    let kib = |n: usize| n << 10;
    for (compression, documented) in [(deflate, kib(363)), (Compression::Snappy, kib(3))] {
        let taken = |compression| {
            let mut pair = Pair::new(compression);
            BYTES.set(0);
            pair.round(&[100; 3], true);
            BYTES.get()
        };
        let plain = taken(Compression::None);
        let more = taken(compression).saturating_sub(plain);
        assert!(
            more < documented + kib(100) && more > documented / 2,
            "{compression:?}: {more}"
        );
    }
}
