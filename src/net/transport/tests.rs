//! The stack with layers that do little, so that what it does itself can be seen.

use std::cell::RefCell;
use std::io::{self, IoSlice};

use std::rc::Rc;

use bytes::{Buf, Bytes, BytesMut};

use super::layer::{Layer, LayerError, Progress};
use super::{Establish, Received, Transmitted, Transport};
use crate::net::address::Address;
use crate::net::buffer::Pools;
use crate::net::driver::{ReadSpace, Stream};
use crate::net::outbox::Outbox;

/// Greets, is greeted, then frames pieces with a length and turns each byte around. A length of 0 is the goodbye, one of
/// 255 an error.
#[derive(Default)]
struct Twist {
    server: bool,
    greeted: bool,
    messages: bool,
    goodbye: bool,
    probes: usize,
}

const HELLO: &[u8] = b"hello!";

impl Layer for Twist {
    fn start(&mut self, out: &mut BytesMut) -> Result<(), LayerError> {
        if !self.server {
            out.extend_from_slice(HELLO);
        }
        Ok(())
    }

    fn is_established(&self) -> bool {
        self.greeted
    }

    fn receive(
        &mut self,
        below: &mut BytesMut,
        above: &mut BytesMut,
        limit: usize,
        out: &mut BytesMut,
    ) -> Result<Progress, LayerError> {
        if !self.greeted {
            if below.len() < HELLO.len() {
                return Ok(Progress::Hungry);
            }
            if &below[..HELLO.len()] != HELLO {
                out.extend_from_slice(b"what?!");
                return Err(LayerError::Handshake("no greeting".into()));
            }
            below.advance(HELLO.len());
            self.greeted = true;
            if self.server {
                out.extend_from_slice(HELLO);
            }
        }
        let before = above.len();
        loop {
            match below.first() {
                None => return Ok(Progress::Hungry),
                Some(0) => {
                    self.goodbye = true;
                    return Ok(Progress::Finished);
                }
                Some(255) => return Err(LayerError::Protocol("too long".into())),
                Some(n) if below.len() <= *n as usize => return Ok(Progress::Hungry),
                Some(n) => {
                    let n = *n as usize;
                    above.extend(below[1..=n].iter().map(|b| !b));
                    below.advance(n + 1);
                }
            }
            if self.messages {
                return Ok(Progress::Message);
            }
            if above.len() - before >= limit {
                return Ok(Progress::More);
            }
        }
    }

    fn send(&mut self, piece: &[u8], out: &mut BytesMut) -> Result<(), LayerError> {
        assert!(self.greeted, "nothing is sent before");
        for part in piece.chunks(200) {
            out.extend_from_slice(&[part.len() as u8]);
            out.extend(part.iter().map(|b| !b));
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(&[0]);
    }

    fn ended(&mut self) -> Result<(), LayerError> {
        if self.goodbye {
            Ok(())
        } else {
            Err(LayerError::Truncated)
        }
    }

    fn keeps_messages(&self) -> bool {
        self.messages
    }

    fn sends_after_failure(&self) -> bool {
        self.messages
    }

    fn probe(&mut self, _: &mut BytesMut) -> Result<(), LayerError> {
        self.probes += 1;
        if self.probes > 1 {
            return Err(LayerError::Dead);
        }
        Ok(())
    }
}

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    bytes: Vec<u8>,
    finished: bool,
}

/// A stream that takes and gives at most `step` bytes a time.
struct Half {
    from: Rc<RefCell<Pipe>>,
    to: Rc<RefCell<Pipe>>,
    step: usize,
}

// SAFETY: a test's stream never leaves its thread.
unsafe impl Send for Half {}

impl Stream for Half {
    fn read(&mut self, space: &mut ReadSpace<'_>) -> io::Result<usize> {
        let mut pipe = self.from.borrow_mut();
        if pipe.bytes.is_empty() {
            return if pipe.finished {
                Ok(0)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            };
        }
        let n = pipe.bytes.len().min(self.step);
        let n = space.put(&pipe.bytes[..n]);
        pipe.bytes.drain(..n);
        Ok(n)
    }
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut pipe = self.to.borrow_mut();
        let room = ROOM.saturating_sub(pipe.bytes.len()).min(self.step);
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let n = bytes.len().min(room);
        pipe.bytes.extend_from_slice(&bytes[..n]);
        Ok(n)
    }
    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write(&slices[0])
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.to.borrow_mut().finished = true;
        Ok(())
    }
    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }
    fn abort(&mut self) {}
    fn peer_addr(&self) -> io::Result<Address> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn local_addr(&self) -> io::Result<Address> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

const ROOM: usize = 1000;

struct End {
    transport: Transport<Half>,
    pools: Pools,
    outbox: Outbox,
    inbox: BytesMut,
    established: bool,
    finished: bool,
    messages: Vec<Vec<u8>>,
}

impl End {
    fn new(half: Half, layers: Vec<Box<dyn Layer>>) -> Self {
        let mut transport = Transport::new(half, layers);
        transport.hang_up(); // a short read says nothing about these pipes
        let mut outbox = Outbox::default();
        if transport.keeps_messages() {
            outbox.keep_messages();
        }
        End {
            transport,
            pools: Pools::new(1 << 20),
            outbox,
            inbox: BytesMut::new(),
            established: false,
            finished: false,
            messages: Vec::new(),
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.outbox.append(bytes, &mut self.pools.tails);
        self.outbox.end_message(None);
    }

    /// One visit and one flush.
    fn turn(&mut self) {
        if !self.established {
            match self.transport.establish(&mut self.pools) {
                Establish::Done => self.established = true,
                Establish::Waiting => return,
                other => panic!("{other:?}"),
            }
        }
        for _ in 0..1000 {
            self.inbox.reserve(64);
            match self.transport.read(&mut self.inbox, 32, &mut self.pools) {
                Received::Bytes { drained, .. } => {
                    assert!(!drained, "the wire was told that short reads mean nothing");
                }
                Received::Message { count } => {
                    assert_eq!(count, self.inbox.len());
                    self.messages.push(self.inbox.split().to_vec());
                }
                Received::Nothing => break,
                Received::Finished => {
                    self.finished = true;
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        while !self.outbox.is_empty() || self.transport.unsent() > 0 {
            match self.transport.write(&mut self.outbox, &mut self.pools) {
                Transmitted::Bytes { full: false, .. } => {}
                Transmitted::Bytes { full: true, .. } | Transmitted::Nothing => break,
                other => panic!("{other:?}"),
            }
        }
    }
}

fn twist(server: bool, messages: bool) -> Box<dyn Layer> {
    Box::new(Twist {
        server,
        messages,
        ..Twist::default()
    })
}

fn pair(step: usize, layers: impl Fn(bool) -> Vec<Box<dyn Layer>>) -> [End; 2] {
    let (one, two) = (Rc::default(), Rc::default());
    let half = |from: &Rc<RefCell<Pipe>>, to: &Rc<RefCell<Pipe>>| Half {
        from: Rc::clone(from),
        to: Rc::clone(to),
        step,
    };
    [
        End::new(half(&one, &two), layers(false)),
        End::new(half(&two, &one), layers(true)),
    ]
}

fn turns(ends: &mut [End; 2]) {
    for _ in 0..5000 {
        ends.iter_mut().for_each(End::turn);
    }
}

#[test]
fn bytes_pass_through_one_and_two_layers_in_any_step() {
    for depth in [1, 2] {
        for step in [1, 3, 7, 64, 10_000] {
            let mut ends = pair(step, |server| {
                (0..depth).map(|_| twist(server, false)).collect()
            });
            let sent: Vec<u8> = (0..3000).map(|i| (i / 7) as u8).collect();
            for part in sent.chunks(700) {
                ends.iter_mut().for_each(|end| end.send(part));
                ends.iter_mut().for_each(End::turn);
            }
            turns(&mut ends);
            for end in &ends {
                assert_eq!(&end.inbox[..], &sent[..], "depth {depth}, step {step}");
                assert_eq!(end.transport.unsent(), 0);
            }
        }
    }
}

#[test]
fn messages_stay_apart_also_above_another_layer() {
    for step in [1, 5, 10_000] {
        let mut ends = pair(step, |server| {
            vec![twist(server, false), twist(server, true)]
        });
        for text in ["a", "bc", "def"] {
            ends.iter_mut().for_each(|end| end.send(text.as_bytes()));
        }
        turns(&mut ends);
        for end in &ends {
            assert_eq!(
                end.messages,
                [b"a".to_vec(), b"bc".to_vec(), b"def".to_vec()]
            );
        }
    }
}

#[test]
fn goodbyes_go_down_from_the_top_and_an_end_without_one_is_told() {
    let mut ends = pair(10_000, |server| {
        vec![twist(server, false), twist(server, false)]
    });
    turns(&mut ends);
    let [one, two] = &mut ends;
    one.send(b"last");
    one.turn();
    one.transport.say_goodbye(&mut one.pools);
    one.transport.say_goodbye(&mut one.pools);
    assert_eq!(one.transport.unsent(), 3, "a framed 0 and a bare one");
    one.turn();
    two.turn();
    assert_eq!((&two.inbox[..], two.finished), (&b"last"[..], true));

    let mut ends = pair(10_000, |server| vec![twist(server, false)]);
    turns(&mut ends);
    let [one, two] = &mut ends;
    one.transport.finish().expect("shut down");
    let read = two.transport.read(&mut two.inbox, 32, &mut two.pools);
    assert!(
        matches!(read, Received::Broken(LayerError::Truncated)),
        "{read:?}"
    );
    let read = two.transport.read(&mut two.inbox, 32, &mut two.pools);
    assert!(
        matches!(read, Received::Finished),
        "then only the end is read: {read:?}"
    );
}

#[test]
fn a_refused_handshake_leaves_a_last_word_and_reads_on_without_understanding() {
    let [mut one, mut two] = pair(10_000, |_| vec![twist(true, false)]);
    let pipe = &two.transport.stream().from;
    pipe.borrow_mut()
        .bytes
        .extend_from_slice(b"GET / HTTP/1.1\r\n");
    let outcome = two.transport.establish(&mut two.pools);
    assert!(
        matches!(outcome, Establish::Broken(LayerError::Handshake(_))),
        "{outcome:?}"
    );
    two.transport.push(&mut two.pools).expect("a last word");
    assert_eq!(one.transport.stream().from.borrow().bytes, b"what?!");
    two.transport
        .stream()
        .from
        .borrow_mut()
        .bytes
        .extend_from_slice(b"more");
    let read = two.transport.read(&mut two.inbox, 32, &mut two.pools);
    assert!(matches!(read, Received::Bytes { count: 0, .. }), "{read:?}");
    assert!(two.inbox.is_empty());
}

#[test]
fn what_comes_with_the_end_of_the_handshake_is_not_lost() {
    for messages in [false, true] {
        let [mut one, _two] = pair(10_000, |_| vec![twist(false, messages)]);
        let arrived = [HELLO, &[2, !b'h', !b'i', 1, !b'!']].concat();
        one.transport
            .stream()
            .from
            .borrow_mut()
            .bytes
            .extend(arrived);
        one.turn();
        if messages {
            assert_eq!(one.messages, [b"hi".to_vec(), b"!".to_vec()]);
        } else {
            assert_eq!(&one.inbox[..], b"hi!");
        }
    }
}

/// A peer that asks and says goodbye in the flight that ends the handshake was taken for one that broke off.
#[test]
fn a_goodbye_with_the_end_of_the_handshake_is_told_after_what_came_before() {
    for messages in [false, true] {
        let [mut one, _two] = pair(10_000, |_| vec![twist(false, messages)]);
        let arrived = [HELLO, &[2, !b'h', !b'i', 0]].concat();
        one.transport
            .stream()
            .from
            .borrow_mut()
            .bytes
            .extend(arrived);
        one.turn();
        assert!(one.finished);
        if messages {
            assert_eq!(one.messages, [b"hi".to_vec()]);
        } else {
            assert_eq!(&one.inbox[..], b"hi");
        }
    }
}

#[test]
fn a_probe_without_an_answer_is_told() {
    let [mut one, _two] = pair(10_000, |_| vec![twist(false, false)]);
    assert_eq!(one.transport.probe(&mut one.pools), Ok(()));
    assert_eq!(one.transport.probe(&mut one.pools), Err(LayerError::Dead));
}

/// What waited behind a broken layer was neither sent nor dropped, so a flush never came to its end and the reactor stood
/// still: a peer had only to send one message that is answered and one byte that is wrong.
#[test]
fn what_waits_behind_a_broken_layer_is_dropped() {
    let [mut one, mut two] = pair(10_000, |server| vec![twist(server, false)]);
    for _ in 0..3 {
        one.turn();
        two.turn();
    }
    one.send(b"an answer");
    one.transport.stream().from.borrow_mut().bytes.extend([255]);
    let read = one.transport.read(&mut one.inbox, 32, &mut one.pools);
    assert!(matches!(read, Received::Broken(_)), "{read:?}");
    let written = one.transport.write(&mut one.outbox, &mut one.pools);
    assert!(matches!(written, Transmitted::Discarded(9)), "{written:?}");
    assert!(one.outbox.is_empty());
    one.transport.say_goodbye(&mut one.pools);
    assert_eq!(one.transport.unsent(), 0);
    one.transport.finish().expect("an end");
    assert!(one.transport.stream().to.borrow().finished);
}

/// A layer that has only stopped to understand sends what waits, then its goodbye, and waits for no answer.
#[test]
fn what_waits_behind_a_deaf_layer_is_sent() {
    let [mut one, mut two] = pair(10_000, |server| vec![twist(server, true)]);
    for _ in 0..3 {
        one.turn();
        two.turn();
    }
    one.send(b"an answer");
    one.transport
        .stream()
        .from
        .borrow_mut()
        .bytes
        .extend([255, 0]);
    let read = one.transport.read(&mut one.inbox, 32, &mut one.pools);
    assert!(matches!(read, Received::Broken(_)), "{read:?}");
    one.turn();
    one.transport.say_goodbye(&mut one.pools);
    one.turn();
    one.transport.finish().expect("an end");
    two.turn();
    assert_eq!(
        (&two.messages[..], two.finished),
        (&[b"an answer".to_vec()][..], true)
    );
    assert!(one.transport.stream().to.borrow().finished);
}

#[test]
fn a_layer_put_on_top_later_reads_what_came_early() {
    struct Open(Twist);
    impl Layer for Open {
        fn start(&mut self, _: &mut BytesMut) -> Result<(), LayerError> {
            Ok(())
        }
        fn is_established(&self) -> bool {
            true
        }
        fn receive(
            &mut self,
            below: &mut BytesMut,
            above: &mut BytesMut,
            limit: usize,
            out: &mut BytesMut,
        ) -> Result<Progress, LayerError> {
            self.0.receive(below, above, limit, out)
        }
        fn send(&mut self, piece: &[u8], out: &mut BytesMut) -> Result<(), LayerError> {
            self.0.send(piece, out)
        }
        fn finish(&mut self, _: &mut BytesMut) {}
        fn ended(&mut self) -> Result<(), LayerError> {
            Ok(())
        }
    }
    let [mut one, _two] = pair(10_000, |_| vec![twist(false, false)]);
    let inner = [2, !b'h', !b'i'];
    let mut arrived = [HELLO, &[inner.len() as u8]].concat();
    arrived.extend(inner.iter().map(|b| !b));
    one.transport
        .stream()
        .from
        .borrow_mut()
        .bytes
        .extend(arrived);
    let outcome = one.transport.establish(&mut one.pools);
    assert!(matches!(outcome, Establish::Done), "{outcome:?}");
    one.established = true;
    let greeted = Twist {
        greeted: true,
        ..Twist::default()
    };
    one.transport.cover(Box::new(Open(greeted)));
    one.turn();
    assert_eq!(&one.inbox[..], b"hi");
}
