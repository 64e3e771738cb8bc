//! A session as the reactor sees it: transport, buffers, life, timers. One visit reads, decodes and routes within the
//! budget; one flush writes.
//!
//! # When reading stops
//!
//! The lane is full, the peer does not take its answers, the budget is used up, the reactor drains or too many bytes
//! wait in all. TCP then pushes back. Silence that we caused so is not held against the peer (B.17, B.29, B.30).

mod calls;
mod reading;
mod writing;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::net::codec::Codec;
use crate::net::config::{Compression, Overflow, SessionConfig};
use crate::net::driver::{Event, Stream};
use crate::net::endpoint::Origin;
use crate::net::engine::{Engine, FAR, SessionTimer, Timer, later};
use crate::net::error::{CloseReason, Error};
use crate::net::handler::{Cx, Handler, In};
use crate::net::inbox::Inbox;
use crate::net::lane::panic_text;
use crate::net::lifecycle::{Action, Incident, Lifecycle, Phase};
use crate::net::outgoing::{Carriage, Outgoing};
use crate::net::pending::Completion;
use crate::net::session::Session;
use crate::net::slots::Key;
use crate::net::transport::Transport;
use crate::net::wheel::TimerId;

/// A session's live half.
pub(crate) struct Connection<H: Handler, S> {
    key: Key,
    pub(crate) transport: Transport<S>,
    pub(crate) session: Session<H>,
    state: <H::Codec as Codec>::State,
    pub(crate) config: SessionConfig,
    life: Lifecycle,
    /// The socket may have bytes: set by an event, cleared by a read that found few or none.
    readable: bool,
    /// The socket may take bytes: set by an event, cleared by a write that was cut short.
    writable: bool,
    /// On the ready list.
    pub(crate) queued: bool,
    /// On the list of the dead.
    dead: bool,
    /// Sent at least one frame.
    pub(crate) heard: bool,
    /// A greeting was sent: somebody should be there.
    greeted: bool,
    inbox: Inbox,
    /// Messages of the transport are decoded one by one.
    whole: bool,
    /// The inbox holds one, or the rest of it.
    message: bool,
    /// Unread bytes it takes for the next look of the codec.
    need: usize,
    pub(crate) out: Outgoing,
    /// Bytes of the outbox that count as waiting in the handles' eyes.
    published: usize,
    /// A message for which its lane or the elastic pool had no room.
    stalled: Option<Stalled<In<H>>>,
    /// Somebody will call [`Connection::unblock`]: there is no use in trying before.
    blocked: bool,
    calls: BTreeMap<u64, Waiting<In<H>>>,
    timers: Timers,
    /// Milliseconds since the epoch at which the peer last took bytes or began to take none; `None` while none wait.
    progress: Option<u64>,
}

#[derive(Debug, Default)]
struct Timers {
    tick: Option<TimerId>,
    idle: Option<TimerId>,
    stall: Option<TimerId>,
    drain: Option<TimerId>,
    probe: Option<TimerId>,
}

struct Stalled<T> {
    target: Target,
    message: T,
    bytes: usize,
}

#[derive(Debug, Clone, Copy)]
enum Target {
    Lane(usize),
    Blocking,
}

struct Waiting<T> {
    serial: u64,
    timer: Option<TimerId>,
    completion: Completion<T>,
}

impl<H: Handler, S: Stream> Connection<H, S> {
    pub(crate) fn new(
        key: Key,
        transport: Transport<S>,
        session: Session<H>,
        config: SessionConfig,
        engine: &Engine<H>,
    ) -> Self {
        let state = engine.shared.handler.codec().open(session.peer());
        let whole = transport.keeps_messages();
        let carriage = match session.peer().origin {
            Origin::Bound(_) => Carriage::Addressed,
            _ if transport.is_datagram() => Carriage::Datagrams,
            _ if whole => Carriage::Messages,
            _ => Carriage::Stream,
        };
        if whole {
            engine.shared.keep_messages();
        }
        Connection {
            key,
            transport,
            state,
            life: Lifecycle::new(config.half_close),
            readable: false,
            writable: true,
            queued: false,
            dead: false,
            heard: false,
            greeted: false,
            inbox: Inbox::default(),
            whole,
            message: false,
            need: 1,
            out: Outgoing::new(key, &config, carriage),
            published: 0,
            stalled: None,
            blocked: false,
            calls: BTreeMap::new(),
            timers: Timers::default(),
            progress: None,
            session,
            config,
        }
    }

    /// Calls `on_open` and applies what it configured.
    pub(crate) fn open(&mut self, engine: &mut Engine<H>) {
        engine.metrics.opened += 1;
        self.greeted = self.transport.take_greeting().is_some_and(|greeting| {
            self.out.copy(engine, greeting);
            self.out.outbox.end_message(None);
            true
        });
        let mut config = self.config.clone();
        let outcome = self.call_back(engine, |handler, cx, session| {
            handler.on_open(cx, session, &mut config)
        });
        if self.out.carriage().is_lossy() {
            config.overflow = Overflow::Refuse;
        }
        self.life.set_half_close(config.half_close);
        self.out.configure(&config);
        self.session.configure(&config);
        self.config = config;
        self.transport.limit_message(self.config.max_frame);
        if self.whole && self.config.compression != Compression::None {
            log::warn!("session={} event=not-compressed why=messages", self.session);
        } else {
            self.transport.compress(self.config.compression);
        }
        self.arm_probe(engine);
        match outcome {
            Some(Ok(())) => {
                log::debug!("session={} event=open", self.session);
                self.arm_tick(engine, true);
                if let Some(idle) = self.config.idle_timeout {
                    let timer = Timer::Session(self.key, SessionTimer::Idle);
                    self.timers.idle = Some(engine.set_timer(idle, timer));
                }
            }
            Some(Err(refused)) => {
                log::info!("session={} event=refused why={:?}", self.session, refused.0);
                engine.metrics.refused += 1;
                self.incident(engine, Incident::Close(CloseReason::Refused));
            }
            None => {}
        }
    }

    /// Takes note of readiness.
    pub(crate) fn note(&mut self, engine: &mut Engine<H>, event: &Event) {
        if event.read_closed || event.error {
            self.transport.hang_up();
        }
        if event.readable || event.read_closed || event.error {
            self.readable = true;
            self.mark_ready(engine);
        }
        if event.error && self.life.phase() == Phase::WriteOnly {
            // Nothing is read any more and there may be nothing to write: nobody else would notice.
            match self.transport.take_error() {
                Ok(Some(e)) | Err(e) => {
                    let reason = CloseReason::Io(e.kind());
                    return self.fail(engine, &Error::Io(e), reason);
                }
                Ok(None) => {}
            }
        }
        if event.writable || event.error {
            self.writable = true;
            if self.has_unsent() {
                self.out.mark_dirty(engine);
            }
        }
    }

    /// Whether anything waits for the socket.
    fn has_unsent(&self) -> bool {
        !self.out.outbox.is_empty() || self.transport.unsent() > 0
    }

    /// Reading may go on: the reason it was paused for is gone.
    fn resumed(&mut self, engine: &mut Engine<H>) {
        // The pause was ours, so the peer's silence starts anew.
        self.session
            .inner
            .last_active
            .store(engine.tick().0, Ordering::Relaxed);
        self.mark_ready(engine);
    }

    /// What the session waited for (a lane, the pool, memory) has room again.
    pub(crate) fn unblock(&mut self, engine: &mut Engine<H>) {
        self.blocked = false;
        self.resumed(engine);
    }

    /// Something happened that concerns the life of the session.
    pub(crate) fn incident(&mut self, engine: &mut Engine<H>, incident: Incident) {
        let action = self.life.handle(incident);
        match action {
            Action::Nothing => {}
            Action::StopReading => {
                self.fail_calls(engine, CloseReason::Peer);
                self.call_back(engine, |handler, cx, session| {
                    handler.on_finished(cx, session);
                });
            }
            Action::Flush => {
                self.stop_sends();
                self.inbox.clear(&mut engine.pools);
                self.stalled = None;
                // No reply will be read any more.
                let reason = self.life.reason().unwrap_or(CloseReason::Local);
                self.fail_calls(engine, reason);
                if self.timers.drain.is_none() {
                    let timer = Timer::Session(self.key, SessionTimer::Drain);
                    self.timers.drain = Some(engine.set_timer(self.config.drain_timeout, timer));
                }
                self.out.mark_dirty(engine);
            }
            // Nobody is there to finish.
            Action::Discard if self.transport.is_datagram() => {
                self.incident(engine, Incident::PeerFinished { truncated: false });
            }
            Action::Discard => match self.transport.finish() {
                Ok(()) => {
                    self.readable = true;
                    self.mark_ready(engine);
                }
                Err(e) => self.incident(engine, Incident::Failed(CloseReason::Io(e.kind()))),
            },
            Action::Finish | Action::Reset => {
                self.stop_sends();
                if action == Action::Reset {
                    self.transport.abort();
                }
                if !self.dead {
                    self.dead = true;
                    engine.dead.push_back(self.key);
                }
            }
        }
    }

    /// Something went wrong: tells the handler, then ends the session; gracefully if the connection still works.
    pub(crate) fn fail(&mut self, engine: &mut Engine<H>, error: &Error, reason: CloseReason) {
        if self.life.closed().is_some() {
            return;
        }
        log::debug!("session={} event=error error={error}", self.session);
        let notify = self.life.sends();
        if notify {
            self.call_back(engine, |handler, cx, session| {
                handler.on_error(cx, session, error);
            });
        }
        let incident = match reason {
            CloseReason::Io(_) => Incident::Failed(reason),
            CloseReason::Stalled | CloseReason::Overflow => Incident::Abort(reason),
            _ => Incident::Close(reason),
        };
        self.incident(engine, incident);
    }

    /// A callback or the codec panicked outside of [`Connection::call_back`].
    pub(crate) fn panicked(&mut self, engine: &mut Engine<H>, text: String) {
        engine.metrics.panics += 1;
        log::error!("session={} event=panicked error={text}", self.session);
        self.out.repair(engine);
        if self.out.end_visit() {
            self.out.mark_dirty(engine);
        }
        self.out.reply_to = None;
        self.fail(engine, &Error::Panic(text), CloseReason::Panic);
    }

    /// A timer fired.
    pub(crate) fn timer(&mut self, engine: &mut Engine<H>, timer: SessionTimer) {
        match timer {
            SessionTimer::Tick => {
                self.arm_tick(engine, false);
                if self.life.sends() {
                    self.call_back(engine, |handler, cx, session| {
                        handler.on_tick(cx, session);
                    });
                }
            }
            SessionTimer::Idle => self.check_idle(engine),
            SessionTimer::Stall => self.check_stall(engine),
            SessionTimer::Probe => self.probe(engine),
            SessionTimer::Drain => {
                self.timers.drain = None;
                self.incident(engine, Incident::DrainExpired);
            }
        }
    }

    pub(crate) fn set_tick(&mut self, engine: &mut Engine<H>, period: Duration) {
        self.config.tick = period;
        engine.cancel_timer(&mut self.timers.tick);
        self.arm_tick(engine, true);
    }

    /// The session has left its slot: gives back what it holds and says goodbye.
    pub(crate) fn bury(mut self, engine: &mut Engine<H>) -> CloseReason {
        let reason = self.life.closed().unwrap_or(CloseReason::Shutdown);
        let timers = &mut self.timers;
        for timer in [
            &mut timers.tick,
            &mut timers.idle,
            &mut timers.stall,
            &mut timers.drain,
            &mut timers.probe,
        ] {
            engine.cancel_timer(timer);
        }
        engine.buffered -= self.out.outbox.len();
        self.transport.retire(&mut engine.pools);
        let waiting = &self.session.inner.waiting;
        waiting.fetch_sub(self.published, Ordering::Relaxed);
        self.out.open = false;
        let hooks = self.session.set_closed(reason);
        self.fail_calls(engine, reason);
        log::debug!("session={} event=close reason={reason}", self.session);
        engine.metrics.closed += 1;
        let shared = Arc::clone(&engine.shared);
        let session = &self.session;
        let mut cx = Cx {
            engine,
            out: None,
            closing: true,
        };
        guard(&mut cx, |cx| shared.handler.on_close(cx, session, reason));
        for hook in hooks {
            guard(&mut cx, |_| hook(reason));
        }
        reason
    }

    fn fail_calls(&mut self, engine: &mut Engine<H>, reason: CloseReason) {
        for (_, mut waiting) in std::mem::take(&mut self.calls) {
            engine.cancel_timer(&mut waiting.timer);
            complete(engine, waiting.completion, Err(Error::Closed(reason)));
        }
    }

    /// Whether a message waits here for room elsewhere.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.is_some()
    }

    /// Asks the peer for a sign of life, if the transport knows how.
    fn probe(&mut self, engine: &mut Engine<H>) {
        self.timers.probe = None;
        if !self.life.sends() {
            return;
        }
        // A peer that we do not read cannot be heard: its answer would be late for our own sake.
        let listening = !self.blocked && self.wants_input(engine);
        if listening && let Err(e) = self.transport.probe(&mut engine.pools) {
            return self.break_layer(engine, e);
        }
        self.out.mark_dirty(engine);
        self.arm_probe(engine);
    }

    fn arm_probe(&mut self, engine: &mut Engine<H>) {
        if let Some(period) = self.transport.probe_period() {
            let timer = Timer::Session(self.key, SessionTimer::Probe);
            self.timers.probe = Some(engine.set_timer(period, timer));
        }
    }

    fn check_idle(&mut self, engine: &mut Engine<H>) {
        self.timers.idle = None;
        let Some(limit) = self.config.idle_timeout else {
            return;
        };
        if !self.life.sends() {
            return;
        }
        let inner = &self.session.inner;
        let paused = self.life.receives() && (self.blocked || !self.wants_input(engine));
        if inner.touched.swap(false, Ordering::Relaxed) || paused {
            inner.last_active.store(engine.tick().0, Ordering::Relaxed);
        }
        let silent = later(self.session.last_active(), limit);
        if silent <= engine.now {
            return self.fail(engine, &Error::Timeout, CloseReason::Idle);
        }
        let timer = Timer::Session(self.key, SessionTimer::Idle);
        self.timers.idle = Some(engine.set_timer_at(silent, timer));
    }

    fn check_stall(&mut self, engine: &mut Engine<H>) {
        self.timers.stall = None;
        let Some(progress) = self.progress else {
            return;
        };
        let stuck = engine.shared.epoch + Duration::from_millis(progress);
        let until = later(stuck, self.config.write_stall);
        if until <= engine.now {
            if self.out.carriage().is_lossy() {
                return self.drop_waiting(engine);
            }
            return self.fail(engine, &Error::Timeout, CloseReason::Stalled);
        }
        let timer = Timer::Session(self.key, SessionTimer::Stall);
        self.timers.stall = Some(engine.set_timer_at(until, timer));
    }

    fn arm_tick(&mut self, engine: &mut Engine<H>, first: bool) {
        let period = self.config.tick.min(FAR);
        self.timers.tick = None;
        if period.is_zero() || !self.life.sends() {
            return;
        }
        // Sessions opened together tick apart: each starts at its own part of the period.
        let phase = (self.key.slot() as u32).wrapping_mul(GOLDEN) >> 16;
        let delay = if first {
            period.mul_f64(f64::from(phase + 1) / 65536.0)
        } else {
            period
        };
        let timer = Timer::Session(self.key, SessionTimer::Tick);
        self.timers.tick = Some(engine.set_timer(delay, timer));
    }

    fn stop_sends(&mut self) {
        self.out.open = false;
        self.session.inner.open.store(false, Ordering::Release);
    }

    fn mark_ready(&mut self, engine: &mut Engine<H>) {
        if !self.queued {
            self.queued = true;
            engine.ready.push_back(self.key);
        }
    }

    /// Runs a callback with this session's outbox. `None`: it panicked, and the session is closing for it.
    fn call_back<R>(
        &mut self,
        engine: &mut Engine<H>,
        f: impl FnOnce(&H, &mut Cx<'_, H>, &Session<H>) -> R,
    ) -> Option<R> {
        let shared = Arc::clone(&engine.shared);
        let outcome = {
            let mut cx = Cx {
                engine,
                out: Some(&mut self.out),
                closing: false,
            };
            let session = &self.session;
            catch_unwind(AssertUnwindSafe(|| f(&shared.handler, &mut cx, session)))
        };
        match outcome {
            Ok(value) => Some(value),
            Err(panic) => {
                let text = panic_text(&*panic);
                engine.metrics.panics += 1;
                log::error!("session={} event=panicked error={text}", self.session);
                self.out.repair(engine);
                self.incident(engine, Incident::Close(CloseReason::Panic));
                None
            }
        }
    }
}

/// Completes a call; whoever waits for it may run code of its own.
fn complete<H: Handler, T>(
    engine: &mut Engine<H>,
    completion: Completion<T>,
    result: Result<T, Error>,
) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| completion.complete(result))) {
        engine.metrics.panics += 1;
        log::error!("event=panicked error={}", panic_text(&*panic));
    }
}

fn guard<H: Handler>(cx: &mut Cx<'_, H>, f: impl FnOnce(&mut Cx<'_, H>)) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| f(cx))) {
        cx.engine.metrics.panics += 1;
        log::error!("event=panicked error={}", panic_text(&*panic));
    }
}

/// The counter has one writer, so a plain store will do.
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed) + n, Ordering::Relaxed);
}

/// 2^32 divided by the golden ratio: spreads consecutive slots evenly.
const GOLDEN: u32 = 0x9e37_79b9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_go_beyond_four_gib() {
        let counter = AtomicU64::new(u64::from(u32::MAX));
        add(&counter, 10);
        assert_eq!(counter.load(Ordering::Relaxed), 4_294_967_305);
    }
}
