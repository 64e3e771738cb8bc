//! A session as the reactor sees it: transport, buffers, life, timers. One visit reads, decodes and routes within the
//! budget; one flush writes.
//!
//! # Buffers
//!
//! Sockets are read into 64 KiB buffers shared by all sessions, and frames are decoded where they lie. A session keeps
//! memory only for an unfinished frame, right-sized; a frame larger than 64 KiB gets a buffer that grows with what has
//! arrived, so that announcing a large frame costs the peer as much as it costs us (network.md B.13, B.14).
//!
//! # When reading stops
//!
//! The lane is full, the peer does not take its answers, the budget is used up, the reactor drains or too many bytes
//! wait in all. TCP then pushes back. Silence that we caused so is not held against the peer (B.17, B.29, B.30).

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use super::codec::{Codec, Decoded, Input};
use super::config::SessionConfig;
use super::driver::{Event, Stream};
use super::engine::{CHUNK, Engine, SCRATCH, SessionTimer, Timer};
use super::error::{CloseReason, CodecError, Error};
use super::handler::{Cx, Handler, In, Route};
use super::lane::panic_text;
use super::lifecycle::{Action, Incident, Lifecycle, Phase};
use super::outgoing::Outgoing;
use super::pending::Completion;
use super::remote::{Call, Payload};
use super::session::Session;
use super::shared::Shared;
use super::slots::Key;
use super::transport::{Received, Transmitted, Transport};
use super::wheel::TimerId;

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
    input: BytesMut,
    /// `input` is one of the shared 64 KiB buffers.
    input_shared: bool,
    /// Unread bytes it takes for the next look of the codec.
    need: usize,
    pub(crate) out: Outgoing,
    /// A message for which its lane or the elastic pool had no room.
    stalled: Option<Stalled<In<H>>>,
    calls: BTreeMap<u64, Waiting<In<H>>>,
    timers: Timers,
    /// Milliseconds since the epoch at which the peer last took bytes, or had none to take.
    progress: u64,
}

#[derive(Debug, Default)]
struct Timers {
    tick: Option<TimerId>,
    idle: Option<TimerId>,
    stall: Option<TimerId>,
    drain: Option<TimerId>,
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

/// Why decoding stopped.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    /// More bytes are needed.
    Hungry,
    /// The frames of this turn are used up.
    Budget,
    /// Reading is paused or over.
    Paused,
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
        let tick = engine.tick().0;
        session.inner.last_active.store(tick, Ordering::Relaxed);
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
            input: BytesMut::new(),
            input_shared: false,
            need: 1,
            out: Outgoing::new(key, &config),
            stalled: None,
            calls: BTreeMap::new(),
            timers: Timers::default(),
            progress: tick,
            session,
            config,
        }
    }

    /// Calls `on_open` and applies what it configured.
    pub(crate) fn open(&mut self, engine: &mut Engine<H>) {
        engine.metrics.opened += 1;
        let mut config = self.config.clone();
        let outcome = self.call_back(engine, |handler, cx, session| {
            handler.on_open(cx, session, &mut config)
        });
        self.life.set_half_close(config.half_close);
        self.out.configure(&config);
        self.session.configure(&config);
        self.config = config;
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
        if event.writable || event.error {
            self.writable = true;
            if !self.out.outbox.is_empty() {
                self.out.mark_dirty(engine);
            }
        }
    }

    /// Reads, decodes and routes within the budget.
    pub(crate) fn visit(&mut self, engine: &mut Engine<H>) {
        if self.life.discards() {
            return self.discard(engine);
        }
        if !self.retry_stalled(engine) {
            return;
        }
        let home = Arc::clone(&engine.shared);
        let mut frames_left = engine.budget.frames;
        let mut read_left = engine.budget.read;
        let mut input = std::mem::take(&mut self.input);
        let mut shared = std::mem::take(&mut self.input_shared);
        let mut frames = 0;
        loop {
            let before = frames_left;
            let stop = self.decode(&home, engine, &mut input, &mut frames_left);
            frames += before - frames_left;
            match stop {
                Stop::Paused => break,
                Stop::Budget => {
                    engine.metrics.budget_stops += 1;
                    self.mark_ready(engine);
                    break;
                }
                Stop::Hungry => {}
            }
            if !self.readable || !self.wants_input(engine) {
                break;
            }
            if read_left == 0 {
                engine.metrics.budget_stops += 1;
                self.mark_ready(engine);
                break;
            }
            self.make_room(engine, &mut input, &mut shared);
            match self.receive(engine, &mut input, read_left) {
                Some(count) => read_left = read_left.saturating_sub(count),
                None => break,
            }
        }
        if frames > 0 {
            self.note_frames(engine, frames);
        }
        self.keep(engine, input, shared);
    }

    /// Writes within the budget.
    pub(crate) fn flush(&mut self, engine: &mut Engine<H>) {
        if self.life.closed().is_some() {
            return;
        }
        if self.out.overflowed {
            self.out.overflowed = false;
            return self.incident(engine, Incident::Abort(CloseReason::Overflow));
        }
        let mut budget = engine.budget.write;
        while self.writable && !self.out.outbox.is_empty() {
            if budget == 0 {
                engine.metrics.budget_stops += 1;
                self.out.mark_dirty(engine);
                break;
            }
            match self.transmit(engine) {
                Some(count) => budget = budget.saturating_sub(count),
                None => return,
            }
        }
        self.publish(engine);
        if self.out.outbox.is_empty() {
            self.out.outbox.recycle(&mut engine.chunks);
            self.progress = engine.tick().0;
            if matches!(self.life.phase(), Phase::Flushing { .. }) {
                self.incident(engine, Incident::Flushed);
            }
        } else if !self.writable && self.timers.stall.is_none() {
            let timer = Timer::Session(self.key, SessionTimer::Stall);
            self.timers.stall = Some(engine.set_timer(self.config.write_stall, timer));
        }
        if self.out.relax() {
            self.resumed(engine);
            self.call_back(engine, |handler, cx, session| {
                handler.on_writable(cx, session);
            });
        }
    }

    /// Reading may go on: the reason it was paused for is gone.
    pub(crate) fn resumed(&mut self, engine: &mut Engine<H>) {
        // The pause was ours, so the peer's silence starts anew.
        self.session
            .inner
            .last_active
            .store(engine.tick().0, Ordering::Relaxed);
        self.mark_ready(engine);
    }

    /// Something happened that concerns the life of the session.
    pub(crate) fn incident(&mut self, engine: &mut Engine<H>, incident: Incident) {
        let action = self.life.handle(incident);
        match action {
            Action::Nothing => {}
            Action::StopReading => {
                self.call_back(engine, |handler, cx, session| {
                    handler.on_finished(cx, session);
                });
            }
            Action::Flush => {
                self.stop_sends();
                self.drop_input(engine);
                if self.timers.drain.is_none() {
                    let timer = Timer::Session(self.key, SessionTimer::Drain);
                    self.timers.drain = Some(engine.set_timer(self.config.drain_timeout, timer));
                }
                self.out.mark_dirty(engine);
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
                    engine.dead.push(self.key);
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

    /// Queues bytes encoded on another thread.
    pub(crate) fn accept_payload(&mut self, engine: &mut Engine<H>, payload: Payload) {
        self.session
            .inner
            .underway
            .fetch_sub(payload.len(), Ordering::Relaxed);
        if !self.out.open {
            return;
        }
        self.out.count_frames(engine, payload.frames);
        let mut bytes = payload.bytes;
        if payload.links.is_empty() && bytes.len() < super::codec::LINK_MIN {
            self.out.copy(engine, &bytes);
            engine.shared.recycle_buffer(bytes);
        } else {
            let mut cut = 0;
            for link in payload.links {
                self.out
                    .append(engine, bytes.split_to(link.at - cut).freeze());
                cut = link.at;
                self.out.append(engine, link.bytes);
            }
            self.out.append(engine, bytes.freeze());
        }
        self.publish(engine);
    }

    /// Queues bytes a lane encoded.
    pub(crate) fn accept_piece(&mut self, engine: &mut Engine<H>, piece: &[u8], frames: u32) {
        if self.accepts(engine, piece.len()) {
            self.out.count_frames(engine, u64::from(frames));
            self.out.copy(engine, piece);
        }
    }

    /// Queues a payload a lane linked.
    pub(crate) fn accept_linked(&mut self, engine: &mut Engine<H>, bytes: Bytes) {
        if self.accepts(engine, bytes.len()) {
            self.out.append(engine, bytes);
        }
    }

    /// Queues a request and waits for its reply.
    pub(crate) fn accept_call(
        &mut self,
        engine: &mut Engine<H>,
        payload: Payload,
        call: Call<In<H>>,
    ) {
        if !self.out.open {
            self.session
                .inner
                .underway
                .fetch_sub(payload.len(), Ordering::Relaxed);
            let reason = self.life.closed().unwrap_or(engine.default_reason());
            return call.completion.complete(Err(Error::Closed(reason)));
        }
        let refused = if self.calls.contains_key(&call.id) {
            Some(Error::DuplicateCall(call.id))
        } else if self.calls.len() >= engine.limits.calls {
            Some(Error::Limit("calls"))
        } else {
            None
        };
        if let Some(error) = refused {
            self.session
                .inner
                .underway
                .fetch_sub(payload.len(), Ordering::Relaxed);
            return call.completion.complete(Err(error));
        }
        let timer = engine.set_timer(call.timeout, Timer::Call(self.key, call.id));
        let waiting = Waiting {
            serial: call.serial,
            timer: Some(timer),
            completion: call.completion,
        };
        self.calls.insert(call.id, waiting);
        self.accept_payload(engine, payload);
    }

    /// Nobody waits for the reply any more.
    pub(crate) fn forget_call(&mut self, engine: &mut Engine<H>, serial: u64) {
        let id = self
            .calls
            .iter()
            .find(|(_, c)| c.serial == serial)
            .map(|(id, _)| *id);
        if let Some(mut waiting) = id.and_then(|id| self.calls.remove(&id)) {
            engine.cancel_timer(&mut waiting.timer);
        }
    }

    /// A reply did not come in time.
    pub(crate) fn call_expired(&mut self, engine: &mut Engine<H>, id: u64) {
        if let Some(waiting) = self.calls.remove(&id) {
            engine.metrics.call_timeouts += 1;
            complete(engine, waiting.completion, Err(Error::Timeout));
        }
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
        ] {
            engine.cancel_timer(timer);
        }
        engine.buffered -= self.out.outbox.len();
        self.session.inner.outbox.store(0, Ordering::Relaxed);
        self.out.open = false;
        let hooks = self.session.set_closed(reason);
        for (_, mut waiting) in std::mem::take(&mut self.calls) {
            engine.cancel_timer(&mut waiting.timer);
            complete(engine, waiting.completion, Err(Error::Closed(reason)));
        }
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

    /// Whether replies are waited for.
    pub(crate) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Whether a message waits here for room elsewhere.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.is_some()
    }

    /// Whether a lane's bytes are taken. The lane cannot be told that they are too many, so the session ends for it.
    fn accepts(&mut self, engine: &mut Engine<H>, bytes: usize) -> bool {
        if self.out.open && self.out.would_overflow(bytes) {
            let error = Error::Limit("hard_limit");
            self.fail(engine, &error, CloseReason::Overflow);
        }
        self.out.open
    }

    /// Whether the peer's next frame is wanted now.
    fn wants_input(&self, engine: &Engine<H>) -> bool {
        self.life.receives()
            && self.stalled.is_none()
            && !(self.out.congested && self.config.pause_reads_when_congested)
            && (!engine.draining || !self.calls.is_empty())
    }

    fn decode(
        &mut self,
        home: &Shared<H>,
        engine: &mut Engine<H>,
        input: &mut BytesMut,
        frames_left: &mut usize,
    ) -> Stop {
        loop {
            if !self.wants_input(engine) {
                if self.out.congested && self.life.receives() {
                    engine.metrics.congestion_pauses += 1;
                }
                return Stop::Paused;
            }
            if input.is_empty() || input.len() < self.need {
                return Stop::Hungry;
            }
            if *frames_left == 0 {
                return Stop::Budget;
            }
            let before = input.len();
            let mut view = Input::new(input, &mut engine.arena);
            let error = match home.handler.codec().decode(&mut self.state, &mut view) {
                Ok(Decoded::Message(message)) => {
                    let bytes = before - input.len();
                    self.need = 1;
                    *frames_left -= 1;
                    if bytes == 0 {
                        CodecError::malformed("a message of no bytes")
                    } else if bytes > self.config.max_frame {
                        CodecError::FrameTooLarge {
                            bytes,
                            limit: self.config.max_frame,
                        }
                    } else {
                        self.dispatch(home, engine, message, bytes);
                        continue;
                    }
                }
                Ok(Decoded::Need(bytes)) if bytes <= self.config.max_frame => {
                    self.need = bytes.max(input.len() + 1);
                    return Stop::Hungry;
                }
                Ok(Decoded::Need(bytes)) => CodecError::FrameTooLarge {
                    bytes,
                    limit: self.config.max_frame,
                },
                Err(error) => error,
            };
            input.clear();
            self.fail(engine, &Error::Codec(error), CloseReason::Codec);
            return Stop::Paused;
        }
    }

    fn dispatch(&mut self, home: &Shared<H>, engine: &mut Engine<H>, message: In<H>, bytes: usize) {
        let lanes = home.lanes.len();
        match home.handler.route(&self.session, &message) {
            Route::Lane(lane) if lane.0 < lanes => {
                self.deliver(engine, Target::Lane(lane.0), message, bytes);
            }
            Route::Keyed(key) if lanes > 0 => {
                let lane = (key % lanes as u64) as usize;
                self.deliver(engine, Target::Lane(lane), message, bytes);
            }
            Route::Inline | Route::Lane(_) | Route::Keyed(_) => {
                let mut cx = Cx {
                    engine,
                    out: Some(&mut self.out),
                    closing: false,
                };
                home.handler.on_message(&mut cx, &self.session, message);
                if self.out.outbox.len() >= FLUSH_EARLY && self.writable {
                    self.transmit(engine);
                }
            }
            Route::Blocking => {
                self.deliver(engine, Target::Blocking, message, bytes);
            }
            Route::Reply(id) => match self.calls.remove(&id) {
                Some(mut waiting) => {
                    engine.cancel_timer(&mut waiting.timer);
                    complete(engine, waiting.completion, Ok(message));
                }
                None => engine.metrics.late_replies += 1,
            },
            Route::Drop => {}
        }
    }

    /// Passes a message on, or keeps it and stops reading. Whether it was passed on.
    fn deliver(
        &mut self,
        engine: &mut Engine<H>,
        target: Target,
        mut message: In<H>,
        bytes: usize,
    ) -> bool {
        loop {
            let refused = match target {
                Target::Lane(lane) => {
                    engine
                        .gather
                        .message(lane, self.session.id(), message, bytes)
                }
                Target::Blocking => engine.blocking.submit(&self.session, message),
            };
            let Err(back) = refused else { return true };
            let waits = match target {
                Target::Lane(lane) => engine.gather.wait_for_room(lane, self.key),
                Target::Blocking => engine.blocking.wait_for_room(self.key),
            };
            if waits {
                engine.metrics.lane_pauses += 1;
                self.stalled = Some(Stalled {
                    target,
                    message: back,
                    bytes,
                });
                return false;
            }
            message = back;
        }
    }

    /// Tries again to pass on the message that was kept. `false`: still no room.
    fn retry_stalled(&mut self, engine: &mut Engine<H>) -> bool {
        match self.stalled.take() {
            Some(Stalled {
                target,
                message,
                bytes,
            }) => self.deliver(engine, target, message, bytes),
            None => true,
        }
    }

    /// Sees to it that the next read has room, in one of the shared buffers unless the frame is larger than those.
    fn make_room(&mut self, engine: &mut Engine<H>, input: &mut BytesMut, shared: &mut bool) {
        if self.need > SCRATCH {
            let missing = self.need.saturating_sub(input.len()).max(1);
            if input.capacity() == input.len() || *shared {
                // Grows with what has arrived, so that a large announcement alone pins no memory.
                let grow = missing.min(input.len().max(SCRATCH)).max(READ_MIN);
                let mut larger = BytesMut::with_capacity(input.len() + grow);
                larger.extend_from_slice(input);
                let old = std::mem::replace(input, larger);
                give(engine, old, std::mem::take(shared));
            }
            return;
        }
        if input.capacity() - input.len() >= READ_MIN && *shared {
            return;
        }
        if *shared && input.try_reclaim(SCRATCH - input.len()) {
            return;
        }
        let mut fresh = engine.scratches.take();
        fresh.extend_from_slice(input);
        let old = std::mem::replace(input, fresh);
        give(engine, old, std::mem::replace(shared, true));
    }

    /// Reads once. `None`: there is nothing more to do in this visit.
    fn receive(
        &mut self,
        engine: &mut Engine<H>,
        input: &mut BytesMut,
        limit: usize,
    ) -> Option<usize> {
        if engine.is_overfull() {
            engine.starved.push(self.key);
            return None;
        }
        engine.metrics.reads += 1;
        match self.transport.read(input, limit) {
            Received::Bytes { count, drained } => {
                self.readable = !drained;
                engine.metrics.bytes_in += count as u64;
                add(&self.session.inner.counters.bytes_in, count as u64);
                let now = engine.tick().0;
                self.session.inner.last_active.store(now, Ordering::Relaxed);
                Some(count)
            }
            Received::Nothing => {
                engine.metrics.spurious += 1;
                self.readable = false;
                None
            }
            Received::Finished => {
                self.readable = false;
                let truncated = !input.is_empty();
                if truncated {
                    let error = Error::Io(io::ErrorKind::UnexpectedEof.into());
                    self.fail_truncated(engine, &error);
                }
                self.incident(engine, Incident::PeerFinished { truncated });
                None
            }
            Received::Failed(e) => {
                self.readable = false;
                let reason = CloseReason::Io(e.kind());
                self.fail(engine, &Error::Io(e), reason);
                None
            }
        }
    }

    fn fail_truncated(&mut self, engine: &mut Engine<H>, error: &Error) {
        self.call_back(engine, |handler, cx, session| {
            handler.on_error(cx, session, error);
        });
    }

    /// Reads and throws away, until the peer finishes.
    fn discard(&mut self, engine: &mut Engine<H>) {
        let mut left = engine.budget.read;
        let mut scratch = engine.scratches.take();
        while self.readable && self.life.discards() {
            if left == 0 {
                self.mark_ready(engine);
                break;
            }
            scratch.clear();
            engine.metrics.reads += 1;
            match self.transport.read(&mut scratch, left) {
                Received::Bytes { count, drained } => {
                    self.readable = !drained;
                    left = left.saturating_sub(count);
                }
                Received::Nothing => self.readable = false,
                Received::Finished => {
                    self.readable = false;
                    self.incident(engine, Incident::PeerFinished { truncated: false });
                }
                Received::Failed(e) => {
                    self.readable = false;
                    self.incident(engine, Incident::Failed(CloseReason::Io(e.kind())));
                }
            }
        }
        engine.scratches.give(scratch);
    }

    /// Puts the unread rest away: nothing if there is none, a small copy if it is small, else the buffer itself.
    fn keep(&mut self, engine: &mut Engine<H>, input: BytesMut, shared: bool) {
        let wanted = input.has_remaining() && self.life.receives();
        if !wanted {
            return give(engine, input, shared);
        }
        if shared && input.len() < SCRATCH / 2 {
            let mut small = if input.len() <= CHUNK {
                engine.chunks.take()
            } else {
                BytesMut::with_capacity(input.len().next_power_of_two())
            };
            small.extend_from_slice(&input);
            give(engine, input, true);
            (self.input, self.input_shared) = (small, false);
        } else {
            (self.input, self.input_shared) = (input, shared);
        }
    }

    fn drop_input(&mut self, engine: &mut Engine<H>) {
        let input = std::mem::take(&mut self.input);
        give(engine, input, std::mem::take(&mut self.input_shared));
        self.stalled = None;
    }

    /// Writes once. `None`: the connection broke.
    fn transmit(&mut self, engine: &mut Engine<H>) -> Option<usize> {
        engine.metrics.writes += 1;
        match self.transport.write(&mut self.out.outbox) {
            Transmitted::Bytes { written, full } => {
                self.writable = !full;
                self.progress = engine.tick().0;
                engine.buffered -= written.bytes;
                engine.metrics.bytes_out += written.bytes as u64;
                engine.metrics.write_slices += written.slices as u64;
                engine.metrics.bytes_per_write.note(written.bytes as u64);
                add(&self.session.inner.counters.bytes_out, written.bytes as u64);
                Some(written.bytes)
            }
            Transmitted::Nothing => {
                engine.metrics.spurious += 1;
                self.writable = false;
                Some(0)
            }
            Transmitted::Failed(e) => {
                self.writable = false;
                let reason = CloseReason::Io(e.kind());
                self.fail(engine, &Error::Io(e), reason);
                None
            }
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
        let paused = self.life.receives() && !self.wants_input(engine);
        if inner.touched.swap(false, Ordering::Relaxed) || paused {
            inner.last_active.store(engine.tick().0, Ordering::Relaxed);
        }
        let silent = self.session.last_active() + limit;
        if silent <= engine.now {
            return self.fail(engine, &Error::Timeout, CloseReason::Idle);
        }
        let timer = Timer::Session(self.key, SessionTimer::Idle);
        self.timers.idle = Some(engine.set_timer_at(silent, timer));
    }

    fn check_stall(&mut self, engine: &mut Engine<H>) {
        self.timers.stall = None;
        if self.out.outbox.is_empty() {
            return;
        }
        let stuck = engine.shared.epoch + Duration::from_millis(self.progress);
        let until = stuck + self.config.write_stall;
        if until <= engine.now {
            return self.fail(engine, &Error::Timeout, CloseReason::Stalled);
        }
        let timer = Timer::Session(self.key, SessionTimer::Stall);
        self.timers.stall = Some(engine.set_timer_at(until, timer));
    }

    fn arm_tick(&mut self, engine: &mut Engine<H>, first: bool) {
        let period = self.config.tick;
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

    fn note_frames(&mut self, engine: &mut Engine<H>, frames: usize) {
        self.heard = true;
        engine.metrics.frames_in += frames as u64;
        engine.metrics.frames_per_visit.note(frames as u64);
        add(&self.session.inner.counters.frames_in, frames as u64);
    }

    /// Makes counters and fill level visible to the handles.
    fn publish(&self, _: &Engine<H>) {
        let inner = &self.session.inner;
        inner.outbox.store(self.out.outbox.len(), Ordering::Relaxed);
        inner
            .counters
            .frames_out
            .store(self.out.frames, Ordering::Relaxed);
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

fn give<H: Handler>(engine: &mut Engine<H>, buffer: BytesMut, shared: bool) {
    if shared {
        engine.scratches.give(buffer);
    } else if buffer.capacity() > 0 {
        engine.chunks.give(buffer);
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

/// Least room worth a read.
const READ_MIN: usize = 16 << 10;

/// A session with this much waiting is written before the end of the turn.
const FLUSH_EARLY: usize = 64 << 10;

/// 2^32 divided by the golden ratio: spreads consecutive slots evenly.
const GOLDEN: u32 = 0x9e37_79b9;
