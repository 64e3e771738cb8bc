//! The client: sends on every connection and checks what comes back.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use seamio::net::{
    CloseReason, Cx, Error, Handler, LaneId, Lanes, LengthDelimited, Reactor, Refused, Route,
    Session, SessionConfig, SessionId, Turn,
};

use crate::{CLOSE, Failure, Mode, Options};

pub(crate) fn run(options: Options) -> Result<(), Failure> {
    let (to, connecting, config) = (options.endpoint()?, options.connecting()?, options.config());
    let patience = options.patience;
    let driver = Driver {
        options,
        state: Mutex::new(State::default()),
    };
    let mut reactor = Reactor::new(config, driver)?;
    reactor.connect(to, connecting);
    end_with_stdin();
    let mut quiet = Quiet::new(patience);
    while !matches!(
        reactor.poll_once(Some(Duration::from_millis(200)))?,
        Turn::Drained
    ) {
        let metrics = reactor.metrics();
        let seen = metrics.frames_in + metrics.opened + metrics.closed;
        if quiet.is_over(seen) {
            return Err(format!(
                "no progress after {} echoes, {} sessions opened, {} closed",
                metrics.frames_in, metrics.opened, metrics.closed
            )
            .into());
        }
    }
    Ok(())
}

fn end_with_stdin() {
    thread::spawn(|| {
        // Whatever the end looks like, the runner is gone.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
}

/// How long nothing has happened.
struct Quiet {
    limit: Duration,
    seen: u64,
    since: Instant,
}

#[allow(clippy::disallowed_methods)] // The watch over a test program is no part of what it tests.
impl Quiet {
    fn new(limit: Duration) -> Self {
        Quiet {
            limit,
            seen: 0,
            since: Instant::now(),
        }
    }

    fn is_over(&mut self, seen: u64) -> bool {
        if seen != self.seen {
            self.seen = seen;
            self.since = Instant::now();
        }
        self.since.elapsed() > self.limit
    }
}

struct Driver {
    options: Options,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Echoes of each open session.
    echoes: HashMap<SessionId, usize>,
    opened: usize,
    /// Sessions that have all their echoes.
    finished: usize,
    closed: usize,
    beats: usize,
}

impl Driver {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The payload of message `n`, which may be the last word.
    fn message(&self, n: usize) -> Option<Bytes> {
        let Options { messages, mode, .. } = self.options;
        match n {
            _ if n < messages => Some(self.options.payload(n)),
            _ if n == messages && mode == Mode::Remote => Some(Bytes::from_static(CLOSE)),
            _ => None,
        }
    }

    fn send(&self, cx: &mut Cx<'_, Self>, n: usize) {
        if let Some(payload) = self.message(n)
            && let Err(e) = cx.send(&payload)
        {
            failed(&format!("message {n}: {e}"));
        }
    }

    /// All echoes of a session are there.
    fn complete(&self, session: &Session<Self>) {
        match self.options.mode {
            Mode::Echo | Mode::Split => session.close(),
            Mode::Restart => {
                let mut state = self.state();
                state.finished += 1;
                match state.finished {
                    1 => println!("ready"),
                    _ => done(self.options.messages),
                }
            }
            _ => {}
        }
    }
}

impl Handler for Driver {
    type Codec = LengthDelimited;
    type Lane = ();
    type Event = ();

    fn codec(&self) -> &LengthDelimited {
        &LengthDelimited
    }

    fn lane(&self, _id: LaneId, _lanes: Lanes<Self>) {}

    fn route(&self, _session: &Session<Self>, _payload: &Bytes) -> Route {
        Route::Inline
    }

    fn on_open(
        &self,
        cx: &mut Cx<'_, Self>,
        session: &Session<Self>,
        _config: &mut SessionConfig,
    ) -> Result<(), Refused> {
        let mut state = self.state();
        state.opened += 1;
        if state.opened > self.options.sessions && self.options.mode != Mode::Restart {
            return Ok(());
        }
        state.echoes.insert(session.id(), 0);
        drop(state);
        match self.options.mode {
            Mode::Beats => {}
            Mode::Split => {
                let payloads = (0..self.options.messages).map(|n| self.options.payload(n));
                send_in_parts(session.clone(), payloads.collect());
            }
            Mode::Mute => {
                (0..self.options.messages).for_each(|n| self.send(cx, n));
                session.close();
            }
            _ => (0..self.options.window).for_each(|n| self.send(cx, n)),
        }
        Ok(())
    }

    fn on_message(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>, payload: Bytes) {
        let mut state = self.state();
        if self.options.mode == Mode::Beats {
            state.beats += 1;
            if state.beats == self.options.messages {
                done(state.beats);
            }
            return;
        }
        let Some(echoes) = state.echoes.get_mut(&session.id()) else {
            return;
        };
        let n = *echoes;
        *echoes += 1;
        drop(state);
        if self.message(n) != Some(payload) {
            failed(&format!("echo {n} is another"));
        }
        if self.options.mode != Mode::Split {
            self.send(cx, n + self.options.window);
        }
        if n + 1 == self.options.messages {
            self.complete(session);
        }
    }

    fn on_tick(&self, cx: &mut Cx<'_, Self>, _session: &Session<Self>) {
        if self.options.mode == Mode::Beats
            && let Err(e) = cx.send(&Bytes::from_static(b"beat"))
        {
            println!("error {e}");
        }
    }

    fn on_error(&self, _cx: &mut Cx<'_, Self>, _session: &Session<Self>, error: &Error) {
        println!("error {error}");
    }

    fn on_close(&self, _cx: &mut Cx<'_, Self>, session: &Session<Self>, reason: CloseReason) {
        let mut state = self.state();
        let Some(echoes) = state.echoes.remove(&session.id()) else {
            return;
        };
        state.closed += 1;
        println!("closed {echoes} {reason}");
        let wanted = match self.options.mode {
            Mode::Restart | Mode::Beats => return,
            Mode::Mute => 0,
            Mode::Remote => self.options.messages + 1,
            Mode::Echo | Mode::Split => self.options.messages,
        };
        if echoes < wanted {
            failed(&format!("closed after {echoes} echoes of {wanted}"));
        }
        if state.closed == self.options.sessions {
            done(self.options.messages * self.options.sessions);
        }
    }
}

/// Sends every frame such that its head and its body arrive in parts.
#[allow(clippy::disallowed_methods)] // Between the parts the reactor has to have its turn.
fn send_in_parts(session: Session<Driver>, payloads: Vec<Bytes>) {
    thread::spawn(move || {
        for payload in payloads {
            let mut frame = BytesMut::new();
            frame.put_u32(payload.len() as u32);
            frame.put_slice(&payload);
            let mut sent = 0;
            for part in [1, 3, 4, 5, frame.len() - 1, frame.len()] {
                if part <= sent || part > frame.len() {
                    continue;
                }
                let bytes = Bytes::copy_from_slice(&frame[sent..part]);
                if let Err(e) = session.send_bytes(bytes) {
                    failed(&e.to_string());
                }
                sent = part;
                thread::sleep(Duration::from_millis(2));
            }
        }
    });
}

fn done(messages: usize) -> ! {
    println!("done {messages}");
    std::process::exit(0);
}

fn failed(why: &str) -> ! {
    println!("failed {why}");
    std::process::exit(1);
}
