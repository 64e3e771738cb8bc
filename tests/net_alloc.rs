//! Nothing is allocated per message once the reactor is warm, plain or compressed, inline or in lanes, or from the first
//! message on if it was prepared; idle sessions hold little. The counting allocator is the whole process's, so this test
//! has a process of its own; only allocations of the reactor's thread count.

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
    static HELD: Cell<i64> = const { Cell::new(0) };
}

fn note(bytes: usize) {
    // Not while the thread is being torn down.
    let _ = COUNTED.try_with(|counted| {
        if counted.get() {
            ALLOCATIONS.with(|n| n.set(n.get() + 1));
            BYTES.with(|n| n.set(n.get() + bytes));
            HELD.with(|n| n.set(n.get() + bytes as i64));
        }
    });
}

fn note_freed(bytes: usize) {
    let _ = COUNTED.try_with(|counted| {
        if counted.get() {
            HELD.with(|n| n.set(n.get() - bytes as i64));
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
        note_freed(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note_freed(layout.size());
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
        config.idle_timeout = Some(Duration::from_secs(60));
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
        let tcp = "tcp://127.0.0.1:0".parse().expect("endpoint");
        Pair::over(tcp, config)
    }

    fn over(at: Endpoint, config: Config) -> Pair {
        let session = Arc::new(Mutex::new(None));
        let handler = Burst {
            session: Arc::clone(&session),
        };
        let mut server = Reactor::new(config.clone(), Echo).expect("reactor");
        let mut client = Reactor::new(config, handler).expect("reactor");
        let datagrams = matches!(at, Endpoint::Udp(_));
        let id = server.listen(at, ListenOptions::default()).expect("listen");
        let address = server.local_addr(id).expect("address");
        let to = if datagrams {
            Endpoint::Udp(HostPort::Address(address))
        } else {
            address.into()
        };
        client.connect(to, ConnectOptions::default());
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

#[test]
fn datagrams_are_echoed_without_allocating_once_warm() {
    let udp = "udp://127.0.0.1:0".parse().expect("endpoint");
    let mut pair = Pair::over(udp, Config::default());
    let bursts: [&[usize]; 5] = [
        &[64; 40],
        &[0, 1, 200, 300, 1400],
        &[4096, 9000, 10],
        &[1000; 20],
        &[16_000, 30],
    ];
    ALLOCATIONS.set(0);
    for burst in bursts.iter().cycle().take(100) {
        pair.round(burst, false);
    }
    for burst in bursts.iter().cycle().take(400) {
        pair.round(burst, true);
    }
    assert_eq!(ALLOCATIONS.get(), 0);
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

/// One turn with the thread's allocations counted.
fn turn<H: Handler>(reactor: &mut Reactor<H>) {
    COUNTED.set(true);
    let outcome = reactor.poll_once(Some(Duration::from_millis(1)));
    COUNTED.set(false);
    outcome.expect("turn");
}

/// A reactor that listens, and where.
fn listening<H: Handler>(config: Config, handler: H) -> (Reactor<H>, std::net::SocketAddr) {
    let mut reactor = Reactor::new(config, handler).expect("reactor");
    let at = "tcp://127.0.0.1:0".parse().expect("endpoint");
    let id = reactor
        .listen(at, ListenOptions::default())
        .expect("listen");
    let address = reactor.local_addr(id).expect("address");
    (reactor, address)
}

fn clients<H: Handler>(
    reactor: &mut Reactor<H>,
    address: std::net::SocketAddr,
    count: usize,
) -> Vec<TcpStream> {
    let connect = |_| TcpStream::connect(address).expect("connect");
    let clients = (0..count).map(connect).collect();
    while reactor.metrics().sessions < count as u64 {
        turn(reactor);
    }
    clients
}

#[test]
fn a_prepared_reactor_allocates_nothing_from_the_first_message_on() {
    let config = Config {
        prepare: Prepare {
            sessions: 10,
            timers: 40,
            buffers: 10,
        },
        ..Config::default()
    };
    let (mut reactor, address) = listening(config, Echo);
    let mut clients = clients(&mut reactor, address, 8);
    ALLOCATIONS.set(0);
    let bytes = burst(&[64, 1, 200, 300, 1000, 64]);
    for _ in 0..5 {
        for client in &mut clients {
            let (first, second) = bytes.split_at(bytes.len() / 3);
            client.write_all(first).expect("write");
            turn(&mut reactor);
            client.write_all(second).expect("write");
        }
        for client in &mut clients {
            let mut echo = vec![0; bytes.len()];
            client.set_nonblocking(true).expect("set");
            let mut got = 0;
            while got < echo.len() {
                match client.read(&mut echo[got..]) {
                    Ok(0) => panic!("closed after {got} bytes"),
                    Ok(n) => got += n,
                    Err(_) => turn(&mut reactor),
                }
            }
            client.set_nonblocking(false).expect("set");
            assert!(echo == bytes);
        }
    }
    let frames = reactor.metrics().frames_in;
    assert_eq!((frames, ALLOCATIONS.get()), (5 * 8 * 6, 0));
}

#[test]
fn idle_sessions_hold_less_than_two_kilobytes() {
    const SESSIONS: usize = 500;
    let (mut reactor, address) = listening(Config::default(), Echo);
    drop(clients(&mut reactor, address, 1));
    while reactor.metrics().sessions > 0 {
        turn(&mut reactor);
    }
    HELD.set(0);
    let mut clients = clients(&mut reactor, address, SESSIONS);
    let bytes = burst(&[100]);
    for client in &mut clients {
        client.write_all(&bytes).expect("write");
    }
    while reactor.metrics().frames_out < SESSIONS as u64 {
        turn(&mut reactor);
    }
    for _ in 0..20 {
        turn(&mut reactor);
    }
    let each = HELD.get() as usize / SESSIONS;
    assert!(each < 2048, "{each} bytes per idle session");
}

/// Echoes in lanes, and calls back by timers.
struct InLanes;

struct EchoLane;

impl Lane<InLanes> for EchoLane {
    fn on_batch(
        &mut self,
        _: std::time::Instant,
        batch: &mut std::collections::VecDeque<LaneInput<InLanes>>,
        out: &mut Outbound<InLanes>,
    ) {
        for input in batch.drain(..) {
            if let LaneInput::Message(from, message) = input {
                out.send(from, &message).expect("encodes");
            }
        }
    }
}

impl Handler for InLanes {
    type Codec = LengthDelimited;
    type Lane = EchoLane;
    type Event = ();

    fn codec(&self) -> &LengthDelimited {
        &LengthDelimited
    }

    fn lane(&self, _: LaneId, _: Lanes<Self>) -> EchoLane {
        EchoLane
    }

    fn on_open(
        &self,
        _: &mut Cx<'_, Self>,
        _: &Session<Self>,
        config: &mut SessionConfig,
    ) -> Result<(), Refused> {
        config.tick = Duration::from_millis(2);
        Ok(())
    }

    fn on_message(&self, _: &mut Cx<'_, Self>, _: &Session<Self>, _: Bytes) {}
}

#[test]
fn lanes_and_timers_allocate_nothing_once_warm() {
    let config = Config {
        workers: Workers {
            lanes: 3,
            ..Workers::default()
        },
        ..Config::default()
    };
    let (mut reactor, address) = listening(config, InLanes);
    let handle = reactor.handle();
    let fired = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&fired);
    let _timer = handle.every(Duration::from_millis(1), move || {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    });
    let mut clients = clients(&mut reactor, address, 8);
    let bytes = burst(&[64; 16]);
    let mut round = |reactor: &mut Reactor<InLanes>| {
        for client in &mut clients {
            client.write_all(&bytes).expect("write");
        }
        for client in &mut clients {
            let mut echo = vec![0; bytes.len()];
            client.set_nonblocking(true).expect("set");
            let mut got = 0;
            while got < echo.len() {
                match client.read(&mut echo[got..]) {
                    Ok(0) => panic!("closed after {got} bytes"),
                    Ok(n) => got += n,
                    Err(_) => turn(reactor),
                }
            }
            client.set_nonblocking(false).expect("set");
        }
    };
    for _ in 0..50 {
        round(&mut reactor);
    }
    let ticks = |reactor: &Reactor<InLanes>| reactor.metrics().timer_fires;
    ALLOCATIONS.set(0);
    let (before, fires) = (reactor.metrics().lane_messages, ticks(&reactor));
    while reactor.metrics().lane_messages - before < 5000 || ticks(&reactor) - fires < 50 {
        round(&mut reactor);
    }
    assert!(fired.load(std::sync::atomic::Ordering::Relaxed) > 0);
    assert_eq!(ALLOCATIONS.get(), 0, "5000 messages and 50 timers");
}
