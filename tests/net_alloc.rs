//! Inline echo allocates nothing per message once it is warm. The counting allocator is the whole process's, so this
//! test has a process of its own; only allocations of the reactor's thread count.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use seamio::net::*;

struct Counting;

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn note() {
    // Not while the thread is being torn down.
    let _ = COUNTED.try_with(|counted| {
        if counted.get() {
            ALLOCATIONS.with(|n| n.set(n.get() + 1));
        }
    });
}

// SAFETY: every call is passed on unchanged to the system's allocator; the counter allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
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
