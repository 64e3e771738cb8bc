//! Requests of ours and their replies.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;

use crate::fixture::*;
use seamio::net::*;

const LONG: Duration = PATIENCE;

/// A server whose session asks its peer; replies carry the id in their first byte.
fn asking() -> (Server, Client, Session<App>) {
    let (mut app, notes) = App::new();
    let kept: Arc<Mutex<Option<Session<App>>>> = Arc::default();
    let keep = Arc::clone(&kept);
    app.on_open = Box::new(move |_, session, _| {
        *keep.lock().expect("lock") = Some(session.clone());
        Ok(())
    });
    app.route = Box::new(|_, m| {
        m.first()
            .map_or(Route::Drop, |id| Route::Reply(u64::from(*id)))
    });
    let server = Server::start(Config::default(), (app, notes));
    let client = server.client();
    server.expect(|n| matches!(n, Note::Open(_)));
    let session = kept.lock().expect("lock").take().expect("opened");
    (server, client, session)
}

#[test]
fn replies_find_their_calls_in_any_order() {
    let (_server, mut client, session) = asking();
    let calls: Vec<_> = (0..50u8)
        .map(|i| session.call(i.into(), Bytes::from(vec![i]), LONG))
        .collect();
    let mut questions: Vec<_> = (0..50).map(|_| client.receive()).collect();
    questions.reverse();
    questions
        .iter()
        .for_each(|q| client.send(&[q[0], q[0] + 1]));
    for (i, call) in calls.into_iter().enumerate() {
        assert_eq!(&call.wait().expect("a reply")[..], [i as u8, i as u8 + 1]);
    }
}

#[test]
fn a_call_times_out_and_its_late_reply_is_counted() {
    let (server, mut client, session) = asking();
    let began = now();
    let call = session.call(7, Bytes::from_static(&[7]), Duration::from_millis(50));
    assert!(matches!(call.wait(), Err(Error::Timeout)));
    assert!(began.elapsed() >= Duration::from_millis(50), "never early");
    assert_eq!(client.receive(), [7]);
    client.send(&[7]);
    server.wait_for("the late reply", |m| {
        m.late_replies == 1 && m.call_timeouts == 1
    });
    let call = session.call(7, Bytes::from_static(&[7]), LONG);
    assert_eq!(client.receive(), [7]);
    client.send(&[7, 7]);
    assert_eq!(&call.wait().expect("the id is free again")[..], [7, 7]);
}

#[test]
fn closing_fails_what_waits_at_once() {
    let (_server, client, session) = asking();
    let call = session.call(1, Bytes::new(), 2 * LONG);
    drop(client);
    let began = now();
    assert!(matches!(call.wait(), Err(Error::Closed(_))));
    assert!(began.elapsed() < LONG);
    assert!(matches!(
        session.call(2, Bytes::new(), LONG).wait(),
        Err(Error::Closed(_))
    ));
}

#[test]
fn an_id_that_waits_is_refused_and_a_dropped_call_frees_it() {
    let (server, mut client, session) = asking();
    let first = session.call(3, Bytes::from_static(b"first"), LONG);
    let second = session.call(3, Bytes::from_static(b"second"), LONG);
    assert!(matches!(second.wait(), Err(Error::DuplicateCall(3))));
    assert_eq!(client.receive(), b"first");
    drop(first);
    server.settled();
    client.send(&[3, 1]);
    server.wait_for("a reply nobody waits for", |m| m.late_replies == 1);
    let third = session.call(3, Bytes::from_static(b"third"), LONG);
    assert_eq!(client.receive(), b"third", "the refused call was not sent");
    client.send(&[3, 2]);
    assert_eq!(&third.wait().expect("reply")[..], [3, 2]);
}

/// A peer that has finished sending cannot answer; whoever asked it waited for the whole time limit.
#[test]
fn a_call_to_a_peer_that_finished_sending_fails_at_once() {
    let (mut app, notes) = App::new();
    let (finished, when_finished) = crossbeam_channel::unbounded();
    app.on_open = Box::new(move |_, session, config| {
        config.half_close = true;
        finished.send(session.clone()).expect("somebody waits");
        Ok(())
    });
    let server = Server::start(Config::default(), (app, notes));
    let mut client = server.client();
    let session = when_finished.recv().expect("opened");
    let before = session.call(1, Bytes::from_static(b"before"), LONG);
    assert_eq!(client.receive(), b"before");
    client.finish();
    let peer = |answer| matches!(answer, Err(Error::Closed(CloseReason::Peer)));
    assert!(peer(before.wait()));
    let after = session.call(2, Bytes::from_static(b"after"), LONG);
    assert!(peer(after.wait()));
    let _ = session.send(Bytes::from_static(b"goodbye"));
    assert_eq!(client.receive(), b"goodbye", "the call was not sent");
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn a_call_is_a_future_for_any_executor() {
    let (_server, mut client, session) = asking();
    let mut call = session.call(9, Bytes::from_static(&[9]), LONG);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    assert!(Pin::new(&mut call).poll(&mut cx).is_pending());
    let answering = std::thread::spawn(move || {
        let question = client.receive();
        client.send(&question);
        client
    });
    loop {
        match Pin::new(&mut call).poll(&mut cx) {
            Poll::Ready(reply) => break assert_eq!(&reply.expect("reply")[..], [9]),
            Poll::Pending => std::thread::park_timeout(LONG),
        }
    }
    answering.join().expect("answered");
}

/// The pit this design is there for: every worker waits for a reply that only the reactor can bring.
#[test]
fn handlers_that_wait_for_replies_do_not_wait_for_themselves() {
    let (mut app, notes) = App::new();
    app.route = Box::new(|_, m| match m[0] {
        b'?' => Route::Blocking,
        id => Route::Reply(u64::from(id)),
    });
    app.on_blocking = Box::new(|session, message| {
        let reply = session
            .call(u64::from(message[1]), message.slice(1..2), LONG)
            .wait();
        let _ = session.send(reply.expect("a reply while every thread waits"));
    });
    let config = Config {
        workers: Workers {
            blocking: 2,
            ..Workers::default()
        },
        ..Config::default()
    };
    let server = Server::start(config, (app, notes));
    let mut client = server.client();
    for id in 100..110u8 {
        client.send(&[b'?', id]);
    }
    // Each question of the server is answered; each answer comes back as the result.
    let mut results = 0;
    let mut asked = [0; 256];
    while results < 10 {
        let message = client.receive();
        let id = usize::from(message[0]);
        asked[id] += 1;
        match asked[id] {
            1 => client.send(&message),
            _ => results += 1,
        }
    }
}

/// The pit in its plainest form: a callback that waits for a reply which only its own thread can bring.
#[test]
fn a_callback_that_waits_is_refused_instead_of_stopping_the_reactor() {
    let (mut app, notes) = App::new();
    app.on_message = Box::new(|cx, session, message| {
        let reply = match &message[..] {
            b"call" => session
                .call(1, Bytes::from_static(b"question"), LONG)
                .wait(),
            _ => {
                let any = "127.0.0.1:0".parse().expect("an endpoint");
                let listening = cx.handle().listen(any, ListenOptions::default());
                listening.wait().map(|_| Bytes::new())
            }
        };
        let error = reply.expect_err("nobody could have answered");
        assert!(matches!(error, Error::OnReactor), "{error}");
        let _ = cx.send(&Bytes::from_static(b"refused"));
    });
    app.on_blocking = Box::new(|session, _| {
        let reply = session.call(2, Bytes::new(), Duration::ZERO).wait();
        assert!(matches!(reply, Err(Error::OnReactor)));
        let _ = session.send(Bytes::from_static(b"refused there too"));
    });
    app.route = Box::new(|_, m| match &m[..] {
        b"blocking" => Route::Blocking,
        _ => Route::Inline,
    });
    let server = Server::start(Config::default(), (app, notes));
    let mut client = server.client();
    for (message, answers) in [
        ("call", &["refused", "question"][..]),
        ("listen", &["refused"]),
        // Without a pool this runs on the reactor's thread.
        ("blocking", &["", "refused there too"]),
    ] {
        client.send(message.as_bytes());
        for answer in answers {
            assert_eq!(client.receive(), answer.as_bytes());
        }
    }
}

/// The peer may take its time with its own goodbye: whoever waits for a reply that is not read any more learns at once.
#[test]
fn a_graceful_close_fails_its_calls_before_it_flushes() {
    let (server, mut client, session) = asking();
    let call = session.call(7, Bytes::from_static(&[7]), Duration::from_secs(60));
    assert_eq!(client.receive(), [7]);
    session.close();
    // The client has not finished, so the session is still flushing and discarding.
    assert!(matches!(
        call.wait(),
        Err(Error::Closed(CloseReason::Local))
    ));
    assert_eq!(server.handle.metrics().closed, 0);
    client.finish();
    assert_eq!(server.closed(), CloseReason::Local);
}
