//! Request and response over one connection: `cargo run --example rpc`; takes about two seconds.
//!
//! Shows a codec of one's own (length, call id, text), three ways to take an answer (waiting, a callback, a future on an
//! executor of fifteen lines), a timeout whose answer comes late and is dropped, and a server that is restarted under a
//! client which connects again by itself. Answers are matched on the reactor's thread (`Route::Reply`), so a thread that
//! waits for one never stands in another's way.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use seamio::net::*;

type AnyError = Box<dyn std::error::Error>;

/// A request or its answer: both carry the id that the caller chose.
struct Message {
    id: u64,
    text: String,
}

/// Four bytes of length of what follows, eight of id, the text.
struct Calls;

impl Codec for Calls {
    type In = Message;
    type Out = Message;
    type State = ();

    fn open(&self, _: &Peer) {}

    fn decode(&self, _: &mut (), input: &mut Input<'_>) -> Result<Decoded<Message>, CodecError> {
        let (Some(length), Some(id)) = (input.u32_at(0), input.u64_at(4)) else {
            return Ok(Decoded::Need(12));
        };
        let whole = 4 + length as usize;
        if whole < 12 {
            return Err(CodecError::malformed("a frame without an id"));
        }
        if input.len() < whole {
            return Ok(Decoded::Need(whole));
        }
        let frame = input.take(whole);
        let text = String::from_utf8_lossy(&frame[12..]).into_owned();
        Ok(Decoded::Message(Message { id, text }))
    }

    fn encode(&self, message: &Message, output: &mut Output<'_>) -> Result<(), CodecError> {
        let length = output.reserve_u32();
        output.put_u64(message.id);
        output.put_slice(message.text.as_bytes());
        output.patch_u32(length, output.len() as u32 - 4);
        Ok(())
    }
}

type Rpc = Callbacks<Calls>;

/// Answers in capitals; a request that begins with "slow" a second later, without a thread that waits.
fn server() -> Rpc {
    Callbacks::new(Calls).on_message(|cx, session, Message { id, text }| {
        let answer = Message {
            id,
            text: text.to_uppercase(),
        };
        if text.starts_with("slow") {
            let session = session.clone();
            cx.handle()
                .after(Duration::from_secs(1), move || drop(session.send(answer)));
        } else if cx.send(&answer).is_err() {
            session.abort();
        }
    })
}

/// The client's own side: every answer goes to who waits for it, and each new session to `up`.
fn client(up: mpsc::Sender<Session<Rpc>>) -> Rpc {
    Callbacks::new(Calls)
        .route(|_, message| Route::Reply(message.id))
        .on_open(move |_, session, _| {
            println!("client: {session} is up");
            let _ = up.send(session.clone());
            Ok(())
        })
        .on_close(|_, session, reason| println!("client: {session}: {reason}"))
}

/// A request on its way.
fn call(session: &Session<Rpc>, text: &str, timeout: Duration) -> Pending<Message> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    session.call(
        id,
        Message {
            id,
            text: text.into(),
        },
        timeout,
    )
}

fn main() -> Result<(), AnyError> {
    let (address, stop, running) = start("127.0.0.1:0".parse()?)?;
    let (up, sessions) = mpsc::channel();
    let mut reactor = Reactor::new(Config::default(), client(up))?;
    let handle = reactor.handle();
    let client_thread = thread::spawn(move || reactor.run());
    let backoff = Backoff {
        base: Duration::from_millis(20),
        ..Backoff::default()
    };
    handle.connect(
        address.into(),
        ConnectOptions {
            backoff,
            ..ConnectOptions::default()
        },
    );
    let session = sessions.recv()?;
    let patience = Duration::from_secs(10);

    println!("waiting:  {}", call(&session, "one", patience).wait()?.text);

    let (done, answered) = mpsc::channel();
    call(&session, "two", patience).then(move |answer| drop(done.send(answer.map(|m| m.text))));
    println!("callback: {}", answered.recv()??);

    let both = async {
        let (third, fourth) = (
            call(&session, "three", patience),
            call(&session, "four", patience),
        );
        Ok::<_, Error>((fourth.await?.text, third.await?.text))
    };
    println!("future:   {:?}", block_on(both)?);

    match call(&session, "slow one", Duration::from_millis(100)).wait() {
        Ok(message) => println!("timeout:  too fast: {}", message.text),
        Err(error) => println!("timeout:  {error}"),
    }
    while handle.metrics().late_replies == 0 {
        call(&session, "anything", patience).wait()?; // meanwhile the session works
    }
    println!("          its answer came late and was dropped");

    // The server is stopped while a call waits for it, and comes back on the same port.
    let lost = call(&session, "slow two", patience);
    stop.drain(Duration::ZERO);
    running.join().map_err(|_| "the server panicked")??;
    println!(
        "restart:  {}",
        lost.wait()
            .err()
            .map_or("answered".into(), |e| e.to_string())
    );
    let (_, stop, running) = start(address)?;
    let session = sessions.recv()?; // the connector's next one
    println!(
        "          {}",
        call(&session, "again", patience).wait()?.text
    );

    handle.drain(patience);
    client_thread.join().map_err(|_| "the client panicked")??;
    stop.drain(patience);
    Ok(running.join().map_err(|_| "the server panicked")??)
}

type Running = JoinHandle<std::io::Result<()>>;

fn start(at: SocketAddr) -> Result<(SocketAddr, Handle<Rpc>, Running), AnyError> {
    let mut reactor = Reactor::new(Config::default(), server())?;
    let id = reactor.listen(at.into(), ListenOptions::default())?;
    let address = reactor.local_addr(id).ok_or("not listening")?;
    let handle = reactor.handle();
    Ok((address, handle, thread::spawn(move || reactor.run())))
}

/// The smallest executor: one future, one thread, asleep until it is woken.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}
