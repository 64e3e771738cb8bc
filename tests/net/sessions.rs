//! What a session's handle offers, and what a session costs while it lives and when it is gone.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use crate::fixture::*;
use seamio::net::*;
use seamio::sim::SimClock;

pub(crate) type Kept = Arc<Mutex<Vec<Session<App>>>>;

/// An echoing application that remembers its sessions.
fn keeping() -> (App, crossbeam_channel::Receiver<Note>, Kept) {
    let (mut app, notes) = App::new();
    let kept: Kept = Arc::default();
    let keep = Arc::clone(&kept);
    app.on_open = Box::new(move |_, session, _| {
        keep.lock().expect("lock").push(session.clone());
        Ok(())
    });
    (app, notes, kept)
}

/// A reactor on real sockets and a clock that stands still, run by the test's own thread.
pub(crate) struct Bench {
    pub(crate) reactor: Reactor<App, MioDriver, SimClock>,
    clock: SimClock,
    pub(crate) address: SocketAddr,
    kept: Kept,
    pub(crate) notes: crossbeam_channel::Receiver<Note>,
}

impl Bench {
    pub(crate) fn new(config: Config) -> Bench {
        let (app, notes, kept) = keeping();
        Bench::of(config, app, notes, kept)
    }

    pub(crate) fn of(
        config: Config,
        app: App,
        notes: crossbeam_channel::Receiver<Note>,
        kept: Kept,
    ) -> Bench {
        let (driver, clock) = (MioDriver::new().expect("poller"), SimClock::new());
        let mut reactor = Reactor::with(config, app, driver, clock.clone()).expect("reactor");
        let id = reactor
            .listen(any_port(), ListenOptions::default())
            .expect("listen");
        let address = reactor.local_addr(id).expect("address");
        Bench {
            reactor,
            clock,
            address,
            kept,
            notes,
        }
    }

    /// Turns until the counters are as wanted.
    pub(crate) fn until(&mut self, what: &str, wanted: impl Fn(&Metrics) -> bool) {
        let until = now() + PATIENCE;
        while !wanted(self.reactor.metrics()) {
            let wait = Some(Duration::from_millis(10));
            self.reactor.poll_once(wait).expect("turn");
            let metrics = self.reactor.metrics();
            assert!(now() < until, "waited in vain for {what}: {metrics:?}");
        }
    }

    /// A few turns at this moment.
    fn settle(&mut self) {
        for _ in 0..4 {
            self.reactor.poll_once(Some(Duration::ZERO)).expect("turn");
        }
    }

    pub(crate) fn pass(&mut self, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
        self.settle();
    }

    fn ticks(&self) -> usize {
        let notes = self.notes.try_iter();
        notes.filter(|n| matches!(n, Note::Tick(_))).count()
    }

    fn session(&self) -> Session<App> {
        self.kept.lock().expect("lock")[0].clone()
    }
}

pub(crate) fn of_sessions(session: SessionConfig) -> Config {
    Config {
        session,
        ..Config::default()
    }
}

#[test]
fn ids_of_listeners_connectors_and_sessions_are_never_given_twice() {
    let (app, notes, kept) = keeping();
    let server = Server::start(Config::default(), (app, notes));
    for _ in 0..20 {
        // One after the other, so that the slot is used again.
        assert_eq!(server.client().ask(b"hi"), b"hi");
        server.closed();
    }
    let ids: BTreeSet<_> = kept.lock().expect("lock").iter().map(Session::id).collect();
    assert_eq!(ids.len(), 20);
    let listen = || server.handle.listen(any_port(), ListenOptions::default());
    let listeners: BTreeSet<_> = (0..5)
        .map(|_| listen().wait().expect("listens").id)
        .collect();
    let connect = || {
        server
            .handle
            .connect(server.address.into(), ConnectOptions::default())
    };
    let connectors: BTreeSet<_> = (0..5).map(|_| connect()).collect();
    assert_eq!((listeners.len(), connectors.len()), (5, 5));
}

#[test]
fn statistics_count_both_ways_and_survive_the_close() {
    let (app, notes, kept) = keeping();
    let options = ListenOptions {
        name: "front".into(),
        ..ListenOptions::default()
    };
    let server = Server::listening(Config::default(), options, (app, notes));
    let mut client = server.client();
    for _ in 0..3 {
        client.ask(b"hello");
    }
    client.finish();
    client.rest().expect("a clean end");
    server.closed();
    let session = kept.lock().expect("lock")[0].clone();
    let stats = session.stats();
    assert_eq!((stats.frames_in, stats.frames_out), (3, 3));
    assert_eq!(
        (stats.bytes_in, stats.bytes_out, stats.waiting),
        (27, 27, 0)
    );
    assert!(session.to_string().starts_with("front-"), "{session}");
    assert!(matches!(session.peer().origin, Origin::Accepted(_)));
    let here = client.stream.local_addr().expect("address");
    assert_eq!(session.peer().remote, here.into());
}

#[test]
fn a_touch_counts_as_a_sign_of_life() {
    let mut bench = Bench::new(of_sessions(SessionConfig {
        idle_timeout: Some(Duration::from_secs(1)),
        ..SessionConfig::default()
    }));
    let _client = Client::connect(bench.address);
    bench.until("a session", |m| m.sessions == 1);
    bench.pass(900);
    bench.session().touch();
    bench.pass(900);
    assert!(bench.session().is_open(), "touched");
    assert!(bench.session().last_active() > bench.session().opened());
    bench.pass(900);
    assert!(bench.session().is_open(), "a second has not passed since");
    bench.pass(200);
    assert!(!bench.session().is_open(), "silent for more than a second");
}

#[test]
fn a_tick_changes_its_period_and_stops() {
    let mut bench = Bench::new(of_sessions(SessionConfig {
        tick: Duration::from_millis(100),
        ..SessionConfig::default()
    }));
    let _client = Client::connect(bench.address);
    bench.until("a session", |m| m.sessions == 1);
    let ticked = |bench: &mut Bench, times: u64| {
        bench.settle();
        bench.ticks();
        (0..times).for_each(|_| bench.pass(100));
        bench.ticks()
    };
    let of_ten = ticked(&mut bench, 10);
    assert!((9..=10).contains(&of_ten), "{of_ten}");
    bench.session().set_tick(Duration::from_millis(500));
    let of_ten = ticked(&mut bench, 10);
    assert!((1..=3).contains(&of_ten), "{of_ten}");
    bench.session().set_tick(Duration::ZERO);
    assert_eq!(ticked(&mut bench, 10), 0);
}

#[test]
fn sends_of_many_threads_never_interleave() {
    let (app, notes, kept) = keeping();
    let server = Server::start(Config::default(), (app, notes));
    let mut client = server.client();
    server.expect(|n| matches!(n, Note::Open(_)));
    let session = kept.lock().expect("lock")[0].clone();
    let senders: Vec<_> = (0..4u8)
        .map(|who| {
            let session = session.clone();
            std::thread::spawn(move || {
                for number in 0..300u32 {
                    // From a few bytes to more than a large piece.
                    let size = 4 + (number as usize * 37) % 9000;
                    let mut message = vec![who; size];
                    message.extend_from_slice(&number.to_be_bytes());
                    while let Err(e) = session.send(Bytes::from(message.clone())) {
                        assert_eq!(e, SendError::Full);
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let mut next = [0u32; 4];
    for _ in 0..1200 {
        let message = client.receive();
        let (body, number) = message.split_at(message.len() - 4);
        let who = usize::from(body[0]);
        assert!(body.iter().all(|b| usize::from(*b) == who), "mixed up");
        assert_eq!(number, next[who].to_be_bytes(), "in order");
        next[who] += 1;
    }
    senders.into_iter().for_each(|s| s.join().expect("sent"));
}

#[test]
fn bytes_and_many_messages_are_sent_as_one() {
    let mut bench = Bench::new(Config::default());
    let mut client = Client::connect(bench.address);
    bench.until("a session", |m| m.sessions == 1);
    let before = bench.reactor.metrics().writes;
    let session = bench.session();
    let all = (0..10u8).map(|i| Bytes::from(vec![i; 20]));
    assert_eq!(session.send_all(all), Ok(Sent::Ok));
    assert_eq!(session.send_bytes(frame(b"raw").into()), Ok(Sent::Ok));
    bench.until("the bytes", |m| m.bytes_out == 247);
    assert_eq!(bench.reactor.metrics().writes - before, 1);
    for i in 0..10u8 {
        assert_eq!(client.receive(), [i; 20]);
    }
    assert_eq!(client.receive(), b"raw");
    assert_eq!(session.stats().frames_out, 11);
}

#[test]
fn bytes_on_their_way_to_the_reactor_count() {
    let mut bench = Bench::new(of_sessions(SessionConfig {
        high_water: 100,
        low_water: 50,
        hard_limit: 200,
        ..SessionConfig::default()
    }));
    let mut client = Client::connect(bench.address);
    bench.until("a session", |m| m.sessions == 1);
    // No turn in between: the outbox is empty all the time.
    let session = bench.session();
    let message = || Bytes::from(vec![7; 76]);
    assert_eq!(session.send(message()), Ok(Sent::Ok));
    assert_eq!(session.send(message()), Ok(Sent::Congested));
    assert_eq!(session.send(message()), Err(SendError::Full));
    assert_eq!(session.stats().waiting, 160);
    bench.until("the bytes", |m| m.bytes_out == 160);
    assert_eq!((client.receive().len(), client.receive().len()), (76, 76));
    assert_eq!(session.send(message()), Ok(Sent::Ok));
}

#[test]
fn closing_takes_every_timer_off_the_wheel() {
    let mut bench = Bench::new(of_sessions(SessionConfig {
        tick: Duration::from_secs(3600),
        idle_timeout: Some(Duration::from_secs(3600)),
        ..SessionConfig::default()
    }));
    let mut clients: Vec<_> = (0..10).map(|_| Client::connect(bench.address)).collect();
    bench.until("sessions", |m| m.sessions == 10 && m.timers == 20);
    let call = bench
        .session()
        .call(7, Bytes::from_static(b"?"), Duration::from_secs(3600));
    bench.until("the call's timer", |m| m.timers == 21);
    let (aborted, closed) = clients.split_at_mut(5);
    aborted
        .iter()
        .for_each(|c| drop(c.stream.set_linger_zero()));
    closed.iter_mut().for_each(Client::finish);
    drop(clients);
    bench.until("the end", |m| m.sessions == 0 && m.timers == 0);
    assert!(call.wait().is_err());
}

/// So that a drop resets.
trait Abrupt {
    fn set_linger_zero(&self) -> std::io::Result<()>;
}

impl Abrupt for std::net::TcpStream {
    fn set_linger_zero(&self) -> std::io::Result<()> {
        socket2::SockRef::from(self).set_linger(Some(Duration::ZERO))
    }
}

#[test]
fn a_closed_session_costs_no_further_turn() {
    let (app, notes, kept) = keeping();
    let server = Server::start(Config::default(), (app, notes));
    let mut asked = server.client();
    asked.ask(b"hi");
    let mut finished = server.client();
    finished.finish();
    assert_eq!(finished.rest().expect("a clean end"), b"");
    server.closed();
    let session = kept.lock().expect("lock")[0].clone();
    session.close();
    assert_eq!(asked.rest().expect("a clean end"), b"");
    drop(asked);
    server.closed();
    let before = server.wait_for("the end", |m| m.sessions == 0).polls;
    pause(300);
    let polls = server.handle.metrics().polls - before;
    assert!(polls <= 2, "{polls} turns after the last close");
}

#[test]
fn traffic_costs_no_timer() {
    let mut bench = Bench::new(of_sessions(SessionConfig {
        idle_timeout: Some(Duration::from_secs(10)),
        ..SessionConfig::default()
    }));
    let mut client = Client::connect(bench.address);
    client.send(b"hi");
    bench.until("an echo", |m| m.frames_out == 1);
    let before = bench.reactor.metrics().timer_inserts;
    for round in 2..200 {
        client.send(b"hi");
        bench.pass(1);
        bench.until("an echo", |m| m.frames_out == round);
    }
    assert_eq!(bench.reactor.metrics().timer_inserts, before);
}

#[test]
fn sessions_are_served_in_turn() {
    let (mut app, notes, kept) = keeping();
    let order: Arc<Mutex<Vec<SessionId>>> = Arc::default();
    let seen = Arc::clone(&order);
    app.on_message = Box::new(move |_, session, _| seen.lock().expect("lock").push(session.id()));
    let config = Config {
        budget: Budget {
            frames: 2,
            ..Budget::default()
        },
        ..Config::default()
    };
    let mut bench = Bench::of(config, app, notes, kept);
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(bench.address)).collect();
    bench.until("sessions", |m| m.sessions == 3);
    let burst: Vec<u8> = (0..20).flat_map(|_| frame(b"x")).collect();
    for client in &mut clients {
        client.stream.write_all(&burst).expect("write");
    }
    // Time for the bytes to be there before anybody looks.
    pause(50);
    bench.until("all frames", |m| m.frames_in == 60);
    let order = order.lock().expect("lock");
    for round in order.chunks(6) {
        let sessions: BTreeSet<_> = round.iter().collect();
        assert_eq!(sessions.len(), 3, "each in every round: {order:?}");
    }
}

#[test]
fn signals_disturb_nobody() {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: the action is fully initialised and its handler does nothing, which is safe at any moment.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as libc::sighandler_t;
        // Without SA_RESTART, so that calls are interrupted.
        assert_eq!(
            libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()),
            0
        );
    }
    let (mut app, notes) = App::new();
    let thread = Arc::new(AtomicUsize::new(0));
    let here = Arc::clone(&thread);
    app.on_open = Box::new(move |_, _, _| {
        // SAFETY: it has no preconditions.
        here.store(unsafe { libc::pthread_self() } as usize, Ordering::SeqCst);
        Ok(())
    });
    let server = Server::start(Config::default(), (app, notes));
    let mut client = server.client();
    server.expect(|n| matches!(n, Note::Open(_)));
    for round in 0..300u32 {
        let thread = thread.load(Ordering::SeqCst) as libc::pthread_t;
        // SAFETY: the reactor's thread lives until `server` is dropped.
        assert_eq!(unsafe { libc::pthread_kill(thread, libc::SIGUSR1) }, 0);
        assert_eq!(client.ask(&round.to_be_bytes()), round.to_be_bytes());
    }
    assert_eq!(server.handle.metrics().sessions, 1);
}

#[test]
fn the_default_limits_take_a_long_branch_registration() {
    let server = Server::start(Config::default(), App::new());
    // Ten thousand lock keys of a hundred bytes.
    let keys = vec![b'k'; 1_000_000];
    assert_eq!(server.client().ask(&keys), keys);
}
