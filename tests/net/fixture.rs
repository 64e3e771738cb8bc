//! An application whose callbacks are closures, a server that runs it, and a plain blocking client.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};
use seamio::net::*;

/// u32 big-endian length, then the payload. A payload `panic!` makes decoding panic, `!encode` makes encoding fail,
/// `!encode-panic` makes it panic half-way and `!encode-much-panic` half-way through more than one buffer.
pub(crate) struct Frames;

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
        input.advance(4);
        let payload = input.take(length - 4);
        match &payload[..] {
            b"panic!" => panic!("asked to"),
            b"malformed" => Err(CodecError::malformed("asked to")),
            _ => Ok(Decoded::Message(payload)),
        }
    }

    fn encode(&self, payload: &Bytes, output: &mut Output<'_>) -> Result<(), CodecError> {
        let length = output.reserve_u32();
        output.append(payload.clone());
        output.patch_u32(length, output.len() as u32 - 4);
        match &payload[..] {
            b"!encode" => Err(CodecError::malformed("asked to")),
            b"!encode-panic" => panic!("asked to"),
            b"!encode-much-panic" => {
                output.put_slice(&[0; 40_000]);
                panic!("asked to")
            }
            _ => Ok(()),
        }
    }
}

/// What happened, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Note {
    Open(SessionId),
    /// Only with `half_close`.
    Finished(SessionId),
    Error(SessionId, String),
    Close(SessionId, CloseReason),
    Writable(SessionId),
    Tick(SessionId),
    ConnectError(Option<Duration>),
    Drain,
    Text(String),
}

type OnRoute = dyn Fn(&Session<App>, &Bytes) -> Route + Send + Sync;
type OnBlocking = dyn Fn(&Session<App>, Bytes) + Send + Sync;
type OnDrain = dyn Fn(&Lanes<App>) + Send + Sync;
type OnMessage = dyn Fn(&mut Cx<'_, App>, &Session<App>, Bytes) + Send + Sync;
type OnOpen = dyn Fn(&mut Cx<'_, App>, &Session<App>, &mut SessionConfig) -> Result<(), Refused>
    + Send
    + Sync;
type OnSession = dyn Fn(&mut Cx<'_, App>, &Session<App>) + Send + Sync;
type OnBatch = dyn Fn(&mut VecDeque<LaneInput<App>>, &mut Outbound<App>, &Notes) + Send + Sync;

/// An application made of closures. By default everything is echoed, inline.
pub(crate) struct App {
    pub(crate) route: Box<OnRoute>,
    pub(crate) on_open: Box<OnOpen>,
    pub(crate) on_message: Box<OnMessage>,
    pub(crate) on_blocking: Box<OnBlocking>,
    pub(crate) on_tick: Box<OnSession>,
    pub(crate) on_writable: Box<OnSession>,
    pub(crate) on_close: Box<OnSession>,
    pub(crate) on_error: Box<OnSession>,
    pub(crate) on_connect_error: Box<dyn Fn() + Send + Sync>,
    pub(crate) on_batch: Arc<OnBatch>,
    pub(crate) on_drain: Box<OnDrain>,
    pub(crate) held: Arc<dyn Fn() -> usize + Send + Sync>,
    pub(crate) deadline: Arc<Mutex<Option<Instant>>>,
    /// What `on_connect_error` was told.
    pub(crate) connect_errors: Arc<Mutex<Vec<String>>>,
    pub(crate) notes: Notes,
}

#[derive(Clone)]
pub(crate) struct Notes {
    pub(crate) sender: Sender<Note>,
}

impl Notes {
    pub(crate) fn say(&self, text: impl Into<String>) {
        let _ = self.sender.send(Note::Text(text.into()));
    }
}

impl App {
    pub(crate) fn new() -> (App, Receiver<Note>) {
        let (sender, receiver) = unbounded();
        let app = App {
            route: Box::new(|_, _| Route::Inline),
            on_open: Box::new(|_, _, _| Ok(())),
            on_message: Box::new(|cx, session, message| {
                if cx.send(&message).is_err() {
                    session.close();
                }
            }),
            on_blocking: Box::new(|session, message| {
                let _ = session.send(message);
            }),
            on_tick: Box::new(|_, _| {}),
            on_writable: Box::new(|_, _| {}),
            on_close: Box::new(|_, _| {}),
            on_error: Box::new(|_, _| {}),
            on_connect_error: Box::new(|| {}),
            on_batch: Arc::new(|batch, out, _| {
                for input in batch.drain(..) {
                    if let LaneInput::Message(from, message) = input {
                        out.send(from, &message).expect("encodes");
                    }
                }
            }),
            on_drain: Box::new(|_| {}),
            held: Arc::new(|| 0),
            deadline: Arc::new(Mutex::new(None)),
            connect_errors: Arc::default(),
            notes: Notes { sender },
        };
        (app, receiver)
    }

    fn note(&self, note: Note) {
        let _ = self.notes.sender.send(note);
    }
}

impl Handler for App {
    type Codec = Frames;
    type Lane = TestLane;
    type Event = String;

    fn codec(&self) -> &Frames {
        &Frames
    }

    fn lane(&self, _: LaneId, _: Lanes<Self>) -> TestLane {
        TestLane {
            on_batch: Arc::clone(&self.on_batch),
            held: Arc::clone(&self.held),
            deadline: Arc::clone(&self.deadline),
            notes: self.notes.clone(),
        }
    }

    fn on_open(
        &self,
        cx: &mut Cx<'_, Self>,
        session: &Session<Self>,
        config: &mut SessionConfig,
    ) -> Result<(), Refused> {
        if config.drain_timeout == SessionConfig::default().drain_timeout {
            config.drain_timeout = DRAIN_TIMEOUT;
        }
        // Said at the end, also by a panic: who sees the note finds what the application has kept.
        let _said = AtTheEnd(self, Note::Open(session.id()));
        (self.on_open)(cx, session, config)
    }

    fn route(&self, session: &Session<Self>, message: &Bytes) -> Route {
        (self.route)(session, message)
    }

    fn on_message(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>, message: Bytes) {
        (self.on_message)(cx, session, message);
    }

    fn on_blocking(&self, session: &Session<Self>, message: Bytes) {
        (self.on_blocking)(session, message);
    }

    fn on_tick(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>) {
        self.note(Note::Tick(session.id()));
        (self.on_tick)(cx, session);
    }

    fn on_writable(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>) {
        self.note(Note::Writable(session.id()));
        (self.on_writable)(cx, session);
    }

    fn on_finished(&self, _: &mut Cx<'_, Self>, session: &Session<Self>) {
        self.note(Note::Finished(session.id()));
    }

    fn on_error(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>, error: &Error) {
        self.note(Note::Error(session.id(), error.to_string()));
        (self.on_error)(cx, session);
    }

    fn on_close(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>, reason: CloseReason) {
        self.note(Note::Close(session.id(), reason));
        (self.on_close)(cx, session);
    }

    fn on_connect_error(&self, _: ConnectorId, error: &Error, again: Option<Instant>) {
        let text = error.to_string();
        self.connect_errors.lock().expect("lock").push(text);
        #[allow(clippy::disallowed_methods)]
        let again = again.map(|at| at.saturating_duration_since(Instant::now()));
        self.note(Note::ConnectError(again));
        (self.on_connect_error)();
    }

    fn on_drain(&self, lanes: &Lanes<Self>) {
        self.note(Note::Drain);
        (self.on_drain)(lanes);
    }
}

/// Tells a note when it is dropped.
struct AtTheEnd<'a>(&'a App, Note);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.note(self.1.clone());
    }
}

pub(crate) struct TestLane {
    on_batch: Arc<OnBatch>,
    held: Arc<dyn Fn() -> usize + Send + Sync>,
    deadline: Arc<Mutex<Option<Instant>>>,
    notes: Notes,
}

impl Lane<App> for TestLane {
    fn on_batch(
        &mut self,
        now: Instant,
        batch: &mut VecDeque<LaneInput<App>>,
        out: &mut Outbound<App>,
    ) {
        let mut deadline = self.deadline.lock().expect("lock");
        if deadline.is_some_and(|at| at <= now) {
            *deadline = None;
            self.notes.say("deadline");
        }
        drop(deadline);
        (self.on_batch)(batch, out, &self.notes);
    }

    fn next_deadline(&self) -> Option<Instant> {
        *self.deadline.lock().expect("lock")
    }

    fn held(&self) -> usize {
        (self.held)()
    }
}

/// A reactor with one listener, on its own thread.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) handle: Handle<App>,
    pub(crate) notes: Receiver<Note>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Server {
    pub(crate) fn start(config: Config, app: (App, Receiver<Note>)) -> Server {
        Server::listening(config, ListenOptions::default(), app)
    }

    pub(crate) fn listening(
        config: Config,
        options: ListenOptions,
        app: (App, Receiver<Note>),
    ) -> Server {
        Server::at(any_port(), config, options, app)
    }

    pub(crate) fn at(
        endpoint: Endpoint,
        config: Config,
        options: ListenOptions,
        (app, notes): (App, Receiver<Note>),
    ) -> Server {
        let mut reactor = Reactor::new(config, app).expect("reactor");
        let id = reactor.listen(endpoint, options).expect("listen");
        let address = reactor.local_addr(id).expect("address");
        let handle = reactor.handle();
        let thread = Some(std::thread::spawn(move || reactor.run()));
        Server {
            address,
            handle,
            notes,
            thread,
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// The next note that `wanted` accepts; fails after [`PATIENCE`].
    pub(crate) fn expect(&self, wanted: impl Fn(&Note) -> bool) -> Note {
        expect(&self.notes, wanted)
    }

    pub(crate) fn closed(&self) -> CloseReason {
        match self.expect(|n| matches!(n, Note::Close(..))) {
            Note::Close(_, reason) => reason,
            other => panic!("not a close: {other:?}"),
        }
    }

    pub(crate) fn join(mut self) -> std::io::Result<()> {
        self.thread
            .take()
            .expect("started")
            .join()
            .expect("no panic")
    }

    pub(crate) fn wait_for(
        &self,
        what: &str,
        mut condition: impl FnMut(&Metrics) -> bool,
    ) -> Metrics {
        let until = now() + PATIENCE;
        loop {
            let metrics = self.handle.metrics();
            if condition(&metrics) {
                return metrics;
            }
            assert!(now() < until, "waited in vain for {what}: {metrics:?}");
            pause(10);
        }
    }

    /// The counters once the reactor has done what was asked of it before.
    pub(crate) fn settled(&self) -> Metrics {
        // The second request is obeyed in a later turn than the first, and each turn ends with publishing its counters.
        for _ in 0..2 {
            let (sender, obeyed) = crossbeam_channel::bounded(1);
            let _timer = self
                .handle
                .after(Duration::ZERO, move || _ = sender.send(()));
            obeyed.recv_timeout(PATIENCE).expect("the reactor turns");
        }
        self.handle.metrics()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.handle.drain(Duration::ZERO);
            let _ = thread.join();
        }
    }
}

pub(crate) fn expect(notes: &Receiver<Note>, wanted: impl Fn(&Note) -> bool) -> Note {
    // For all of them together: sessions that tick always have another note.
    let until = now() + PATIENCE;
    let mut seen = Vec::new();
    loop {
        match notes.recv_deadline(until) {
            Ok(note) if wanted(&note) => return note,
            Ok(note) => seen.push(note),
            Err(e) => panic!("the note did not come ({e}); seen instead: {seen:?}"),
        }
    }
}

pub(crate) fn any_port() -> Endpoint {
    "tcp://127.0.0.1:0".parse().expect("endpoint")
}

#[allow(clippy::disallowed_methods)]
pub(crate) fn pause(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

#[allow(clippy::disallowed_methods)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// How long a test waits for what has to come before it fails: much longer than a busy machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// For sessions whose test says nothing else: with the default a busy machine would change the reason of a close.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// Asks again until it is so.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let until = now() + PATIENCE;
    while !condition() {
        assert!(now() < until, "waited in vain for {what}");
        pause(10);
    }
}

/// An address of TCP that nobody gets by chance while this lives, and where nobody listens but who asks for it by number.
pub(crate) struct HeldPort {
    _socket: socket2::Socket,
    pub(crate) address: SocketAddr,
}

impl HeldPort {
    pub(crate) fn new() -> HeldPort {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.expect("socket");
        // A socket that is bound and does not listen stands in nobody's way who asks for the same.
        socket.set_reuse_address(true).expect("option");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("address");
        socket.bind(&any.into()).expect("bind");
        let address = socket.local_addr().expect("address").as_socket();
        HeldPort {
            address: address.expect("an internet address"),
            _socket: socket,
        }
    }
}

/// A peer that does what it is told and no more.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("timeout");
        Client { stream }
    }

    pub(crate) fn send(&mut self, payload: &[u8]) {
        self.stream.write_all(&frame(payload)).expect("send");
    }

    pub(crate) fn receive(&mut self) -> Vec<u8> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).expect("head");
        let mut payload = vec![0; u32::from_be_bytes(head) as usize];
        self.stream.read_exact(&mut payload).expect("payload");
        payload
    }

    pub(crate) fn ask(&mut self, payload: &[u8]) -> Vec<u8> {
        self.send(payload);
        self.receive()
    }

    pub(crate) fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("shutdown");
    }

    /// Everything up to the end of the stream.
    pub(crate) fn rest(&mut self) -> std::io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).map(|_| rest)
    }
}

pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

/// Frames of a seeded mix of sizes.
pub(crate) fn mixed(seed: u64, count: usize) -> Vec<Vec<u8>> {
    let mut state = seed;
    let mut next = move || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as usize
    };
    let sizes = [
        0, 1, 3, 64, 200, 255, 256, 257, 1000, 4095, 4096, 4097, 16_384, 65_536, 200_000,
    ];
    (0..count)
        .map(|i| {
            let size = sizes[next() % sizes.len()];
            (0..size).map(|j| (i * 31 + j) as u8).collect()
        })
        .collect()
}
