//! Reactors inside a host's own loop.

use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::fixture::*;
use seamio::net::*;

#[test]
fn a_host_sleeps_on_the_descriptor_and_the_timeout() {
    let (app, _notes) = App::new();
    let mut reactor = Reactor::new(Config::default(), app).expect("reactor");
    let id = reactor
        .listen(any_port(), ListenOptions::default())
        .expect("listen");
    let address = reactor.local_addr(id).expect("address");
    assert_eq!(
        reactor.next_timeout(),
        None,
        "nothing to do, nothing to wait for"
    );
    assert_eq!(
        reactor.poll_once(Some(Duration::ZERO)).expect("turn"),
        Turn::Idle
    );

    let mut host = mio::Poll::new().expect("poll");
    let fd = reactor.as_raw_fd();
    let mut source = mio::unix::SourceFd(&fd);
    let registry = host.registry();
    registry
        .register(&mut source, mio::Token(0), mio::Interest::READABLE)
        .expect("nested");
    let client = std::thread::spawn(move || {
        let mut client = Client::connect(address);
        (0..20u8).all(|i| client.ask(&[i]) == [i])
    });
    let mut events = mio::Events::with_capacity(4);
    while !client.is_finished() {
        let timeout = reactor
            .next_timeout()
            .map_or(Duration::from_millis(100), |t| t);
        host.poll(&mut events, Some(timeout)).expect("host");
        while reactor.poll_once(Some(Duration::ZERO)).expect("turn") == Turn::Worked {}
    }
    assert!(
        client.join().expect("no panic"),
        "every question was answered"
    );
}

#[test]
fn the_next_timer_bounds_the_sleep_of_the_host() {
    let (app, _notes) = App::new();
    let mut reactor = Reactor::new(Config::default(), app).expect("reactor");
    let (sender, fired) = crossbeam_channel::unbounded();
    let hour = Duration::from_secs(3600);
    let _timer = reactor.handle().after(hour, || {});
    assert_eq!(
        reactor.next_timeout(),
        Some(Duration::ZERO),
        "the request waits in the queue"
    );
    reactor.poll_once(None).expect("turn");
    let timeout = reactor.next_timeout().expect("a timer");
    assert!(timeout <= hour + Duration::from_millis(1) && timeout > hour / 2);
    let (began, soon) = (now(), Duration::from_millis(60));
    let _timer = reactor.handle().after(soon, move || {
        sender.send(()).expect("receiver");
    });
    while fired.is_empty() {
        reactor.poll_once(None).expect("sleeps until the timer");
    }
    assert!(began.elapsed() >= soon);
    assert!(
        reactor.metrics().polls <= 6,
        "no turns in between: {}",
        reactor.metrics().polls
    );
}

#[test]
fn a_reactor_may_move_between_threads() {
    let (app, _notes) = App::new();
    let config = Config {
        workers: Workers {
            threads: 0,
            lanes: 2,
            ..Workers::default()
        },
        ..Config::default()
    };
    let mut reactor = Reactor::new(config, app).expect("reactor");
    let id = reactor
        .listen(any_port(), ListenOptions::default())
        .expect("listen");
    let address = reactor.local_addr(id).expect("address");
    for round in 0..3u8 {
        let client = std::thread::spawn(move || Client::connect(address).ask(&[round]));
        reactor = std::thread::spawn(move || {
            while !client.is_finished() {
                reactor
                    .poll_once(Some(Duration::from_millis(5)))
                    .expect("turn");
            }
            assert_eq!(client.join().expect("no panic"), [round]);
            reactor
        })
        .join()
        .expect("no panic");
    }
}

#[test]
fn every_idle_strategy_serves() {
    for idle in [
        IdleStrategy::Block,
        IdleStrategy::Spin(Duration::from_millis(2)),
        IdleStrategy::Never,
    ] {
        let server = Server::start(
            Config {
                idle,
                ..Config::default()
            },
            App::new(),
        );
        let mut client = server.client();
        for i in 0..20u8 {
            assert_eq!(client.ask(&[i]), [i]);
        }
    }
}

#[test]
fn several_reactors_share_a_port_and_a_process() {
    let options = ListenOptions {
        reuse_port: true,
        ..ListenOptions::default()
    };
    let first = Server::listening(Config::default(), options.clone(), App::new());
    let (app, notes) = App::new();
    let mut reactor = Reactor::new(Config::default(), app).expect("reactor");
    reactor
        .listen(first.address.into(), options)
        .expect("the same port");
    let handle = reactor.handle();
    let thread = std::thread::spawn(move || reactor.run());
    for i in 0..60u8 {
        assert_eq!(first.client().ask(&[i]), [i]);
    }
    let opened = notes
        .try_iter()
        .filter(|n| matches!(n, Note::Open(_)))
        .count();
    let here = first
        .notes
        .try_iter()
        .filter(|n| matches!(n, Note::Open(_)))
        .count();
    assert_eq!(opened + here, 60);
    assert!(opened > 0 && here > 0, "{opened} and {here}");
    handle.drain(Duration::ZERO);
    thread.join().expect("no panic").expect("drained");
}

#[test]
fn what_another_thread_asks_wakes_a_host_that_sleeps_on_the_descriptor() {
    let (app, _notes) = App::new();
    let mut reactor = Reactor::new(Config::default(), app).expect("reactor");
    let handle = reactor.handle();
    let (sender, fired) = crossbeam_channel::unbounded();
    let mut host = mio::Poll::new().expect("poll");
    let fd = reactor.as_raw_fd();
    host.registry()
        .register(
            &mut mio::unix::SourceFd(&fd),
            mio::Token(0),
            mio::Interest::READABLE,
        )
        .expect("nested");
    let mut events = mio::Events::with_capacity(4);
    for round in 0..3 {
        while reactor.poll_once(Some(Duration::ZERO)).expect("turn") == Turn::Worked {}
        assert_eq!(
            reactor.next_timeout(),
            None,
            "round {round}: sleep for ever"
        );
        // Between the host's question and its sleep, or during it: there is no difference for the descriptor.
        let sender = sender.clone();
        let _timer = handle.after(Duration::ZERO, move || {
            sender.send(round).expect("receiver");
        });
        host.poll(&mut events, Some(PATIENCE)).expect("host");
        assert!(!events.is_empty(), "round {round}: the host slept on");
        while fired.is_empty() {
            reactor.poll_once(reactor.next_timeout()).expect("turn");
        }
        assert_eq!(fired.recv(), Ok(round));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_descriptor_alone_is_enough_where_so_configured() {
    let (app, notes) = App::new();
    let config = Config {
        descriptor_tells_all: true,
        // One frame a visit: work is left over from turn to turn.
        budget: Budget {
            frames: 1,
            ..Budget::default()
        },
        ..Config::default()
    };
    let mut reactor = Reactor::new(config, app).expect("reactor");
    let id = reactor
        .listen(any_port(), ListenOptions::default())
        .expect("listen");
    let address = reactor.local_addr(id).expect("address");
    let handle = reactor.handle();
    let mut host = mio::Poll::new().expect("poll");
    let fd = reactor.as_raw_fd();
    host.registry()
        .register(
            &mut mio::unix::SourceFd(&fd),
            mio::Token(0),
            mio::Interest::READABLE,
        )
        .expect("nested");
    let client = std::thread::spawn(move || {
        let mut client = Client::connect(address);
        for i in 0..20 {
            client.send(&[i]);
        }
        let answered = (0..20).all(|i| client.receive() == [i]);
        let (sender, fired) = crossbeam_channel::unbounded();
        let began = now();
        let _timer = handle.after(Duration::from_millis(60), move || {
            sender.send(now()).expect("receiver");
        });
        let after = fired.recv().expect("fired") - began;
        drop(client);
        pause(100); // the reactor sleeps without a timer
        handle.drain(PATIENCE);
        (answered, after)
    });
    let mut events = mio::Events::with_capacity(4);
    let mut turn = reactor.poll_once(Some(Duration::ZERO)).expect("turn");
    while turn != Turn::Drained {
        host.poll(&mut events, Some(PATIENCE)).expect("host");
        assert!(!events.is_empty(), "the host slept on: {notes:?}");
        turn = reactor.poll_once(Some(Duration::ZERO)).expect("turn");
    }
    let (answered, after) = client.join().expect("no panic");
    assert!(answered && after >= Duration::from_millis(60));
    let polls = reactor.metrics().polls;
    assert!(polls < 150, "no busy loop: {polls}");
}

/// It was promised that the sessions are closed when polling fails; they were left as they were.
#[test]
fn a_reactor_that_cannot_poll_says_so_and_is_over() {
    let (app, notes) = App::new();
    let mut reactor = Reactor::new(Config::default(), app).expect("reactor");
    let id = reactor
        .listen(any_port(), ListenOptions::default())
        .expect("listen");
    let address = reactor.local_addr(id).expect("address");
    let _client = Client::connect(address);
    while notes.is_empty() {
        reactor.poll_once(None).expect("turn");
    }
    let null = std::fs::File::open("/dev/null").expect("a file");
    // SAFETY: both descriptors are open; the poller's number stays its own and now means the file.
    assert!(unsafe { libc::dup2(null.as_raw_fd(), reactor.as_raw_fd()) } >= 0);
    reactor.poll_once(None).expect_err("no poller");
    expect(&notes, |n| {
        matches!(n, Note::Close(_, CloseReason::Shutdown))
    });
    assert_eq!(reactor.poll_once(None).expect("over"), Turn::Drained);
    assert_eq!(reactor.metrics().closed, 1);
}
