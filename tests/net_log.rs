//! What the runtime logs: changes of state, never a message above the trace level, and nothing at all is formatted while
//! logging is off. The logger is the whole process's, so this test has a process of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use log::{Level, LevelFilter, Log, Metadata, Record};
use seamio::net::*;

/// Keeps what it is given.
struct Lines(Mutex<Vec<(Level, String)>>);

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = (record.level(), record.args().to_string());
        self.0.lock().expect("lock").push(line);
    }

    fn flush(&self) {}
}

static LINES: Lines = Lines(Mutex::new(Vec::new()));

fn take() -> Vec<(Level, String)> {
    std::mem::take(&mut *LINES.0.lock().expect("lock"))
}

struct Lengths;

impl Codec for Lengths {
    type In = Bytes;
    type Out = Bytes;
    type State = ();

    fn open(&self, _: &Peer) {}

    fn decode(&self, _: &mut (), input: &mut Input<'_>) -> Result<Decoded<Bytes>, CodecError> {
        match input.as_slice().first() {
            None => Ok(Decoded::Need(1)),
            Some(0) => Err(CodecError::malformed("nothing")),
            Some(n) if input.len() <= usize::from(*n) => Ok(Decoded::Need(1 + usize::from(*n))),
            Some(n) => {
                let n = usize::from(*n);
                Ok(Decoded::Message(input.take(1 + n)))
            }
        }
    }

    fn encode(&self, message: &Bytes, output: &mut Output<'_>) -> Result<(), CodecError> {
        output.put_slice(message);
        Ok(())
    }
}

struct Echo;

impl Handler for Echo {
    type Codec = Lengths;
    type Lane = ();
    type Event = ();

    fn codec(&self) -> &Lengths {
        &Lengths
    }

    fn lane(&self, _: LaneId, _: Lanes<Self>) {}

    fn route(&self, _: &Session<Self>, _: &Bytes) -> Route {
        Route::Inline
    }

    fn on_message(&self, cx: &mut Cx<'_, Self>, _: &Session<Self>, message: Bytes) {
        let _ = cx.send(&message);
    }
}

/// One session with a life: opened, a thousand messages, an error, closed.
fn life(reactor: &mut Reactor<Echo>, address: std::net::SocketAddr) {
    let mut client = TcpStream::connect(address).expect("connect");
    let opened = reactor.metrics().opened;
    for round in 0..1000u64 {
        client.write_all(b"\x05hello").expect("write");
        let before = reactor.metrics().frames_out;
        while reactor.metrics().frames_out == before {
            reactor
                .poll_once(Some(Duration::from_millis(10)))
                .expect("turn");
        }
        let mut echo = [0; 6];
        client.read_exact(&mut echo).expect("echo");
        assert_eq!(&echo, b"\x05hello", "{round}");
    }
    assert_eq!(reactor.metrics().opened, opened + 1);
    client.write_all(&[0]).expect("write");
    let mut rest = Vec::new();
    let closed = reactor.metrics().closed;
    client.set_nonblocking(true).expect("set");
    while reactor.metrics().closed == closed {
        reactor
            .poll_once(Some(Duration::from_millis(10)))
            .expect("turn");
        if matches!(client.read_to_end(&mut rest), Ok(0)) {
            let _ = client.shutdown(std::net::Shutdown::Write);
        }
    }
}

#[test]
fn nothing_is_logged_per_message_and_nothing_formatted_when_off() {
    log::set_logger(&LINES).expect("the first one");
    let mut reactor = Reactor::new(Config::default(), Echo).expect("reactor");
    let at = "tcp://127.0.0.1:0".parse().expect("endpoint");
    let id = reactor
        .listen(at, ListenOptions::default())
        .expect("listen");
    let address = reactor.local_addr(id).expect("address");
    log::set_max_level(LevelFilter::Off);
    life(&mut reactor, address);
    assert_eq!(take(), [], "a record was made though logging is off");
    log::set_max_level(LevelFilter::Debug);
    life(&mut reactor, address);
    let lines: Vec<_> = take()
        .into_iter()
        .filter(|(_, l)| l.contains("event="))
        .collect();
    let events: Vec<&str> = lines
        .iter()
        .filter_map(|(_, line)| line.split("event=").nth(1)?.split(' ').next())
        .collect();
    assert_eq!(events, ["open", "error", "close"], "{lines:?}");
    assert!(
        lines.iter().all(|(level, _)| *level == Level::Debug),
        "{lines:?}"
    );
    assert!(
        lines.iter().all(|(_, line)| line.starts_with("session=")),
        "{lines:?}"
    );
}
