//! The receiving side: read, decode where the bytes lie, route.

use std::io;
use std::sync::atomic::Ordering;

use super::{Connection, Stalled, Target, add, complete};
use crate::net::codec::{Codec, Decoded};
use crate::net::driver::Stream;
use crate::net::engine::Engine;
use crate::net::error::{CloseReason, CodecError, Error};
use crate::net::handler::{Cx, Handler, In, Route};
use crate::net::inbox::READ_MIN;
use crate::net::lifecycle::Incident;
use crate::net::shared::Shared;
use crate::net::transport::Received;
use crate::net::transport::layer::LayerError;

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
    /// Reads, decodes and routes within the budget, and writes what was answered meanwhile.
    pub(crate) fn visit(&mut self, home: &Shared<H>, engine: &mut Engine<H>) {
        self.out.begin_visit();
        self.take_in(home, engine);
        if self.out.end_visit() {
            self.flush(engine);
        }
    }

    fn take_in(&mut self, home: &Shared<H>, engine: &mut Engine<H>) {
        if self.life.discards() {
            return self.discard(engine);
        }
        if self.blocked || !self.retry_stalled(engine) {
            return;
        }
        let mut frames_left = engine.budget.frames;
        let dropped = engine.metrics.dropped_messages;
        let mut read_left = engine.budget.read;
        loop {
            let stop = self.decode(home, engine, &mut frames_left);
            self.inbox.drop_taken();
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
            let need = if self.whole {
                self.inbox.len() + 1
            } else {
                self.need
            };
            self.inbox.make_room(need, &mut engine.pools);
            match self.receive(engine, read_left) {
                Some(count) => {
                    let cost = count.max(self.transport.filled());
                    read_left = read_left.saturating_sub(cost);
                    if read_left < READ_MIN {
                        read_left = 0; // a few bytes more are not worth a call
                    }
                }
                None => break,
            }
        }
        let dropped = (engine.metrics.dropped_messages - dropped) as usize;
        let frames = (engine.budget.frames - frames_left).saturating_sub(dropped);
        if frames > 0 {
            self.note_frames(engine, frames);
        }
        if self.life.receives() {
            self.inbox.settle(&mut engine.pools);
        } else {
            self.inbox.clear(&mut engine.pools);
        }
    }

    /// Whether the peer's next frame is wanted now.
    pub(super) fn wants_input(&self, engine: &Engine<H>) -> bool {
        let congested = self.out.congested && self.config.pause_reads_when_congested;
        self.life.receives()
            && self.stalled.is_none()
            && !congested
            && !self.transport.is_full()
            && (!engine.draining || !self.calls.is_empty())
    }

    /// Decodes and routes what the inbox holds, until there is a reason to stop.
    fn decode(
        &mut self,
        home: &Shared<H>,
        engine: &mut Engine<H>,
        frames_left: &mut usize,
    ) -> Stop {
        loop {
            if !self.wants_input(engine) {
                if self.out.congested && self.life.receives() {
                    engine.metrics.congestion_pauses += 1;
                }
                return Stop::Paused;
            }
            let enough = if self.whole {
                self.message
            } else {
                self.inbox.len() >= self.need
            };
            if !enough {
                return Stop::Hungry;
            }
            if *frames_left == 0 {
                return Stop::Budget;
            }
            if self.whole {
                *frames_left -= 1;
                self.decode_message(home, engine);
            } else if let Some(stop) = self.decode_frame(home, engine) {
                return stop;
            } else {
                *frames_left -= 1;
            }
        }
    }

    /// Decodes and routes the next frame of a stream. `None`: there was a whole one.
    #[inline]
    fn decode_frame(&mut self, home: &Shared<H>, engine: &mut Engine<H>) -> Option<Stop> {
        let unread = self.inbox.len();
        let mut input = self.inbox.input(&mut engine.arena);
        let limit = self.config.max_frame;
        let error = match home.handler.codec().decode(&mut self.state, &mut input) {
            Ok(Decoded::Message(message)) => {
                let bytes = unread - self.inbox.len();
                if bytes > 0 && bytes <= limit {
                    self.need = 1;
                    self.dispatch(home, engine, message, bytes);
                    return None;
                }
                wrong_size(bytes, limit)
            }
            Ok(Decoded::Need(bytes)) if bytes <= limit => {
                self.need = bytes.max(self.inbox.len() + 1);
                return Some(Stop::Hungry);
            }
            Ok(Decoded::Need(bytes)) => CodecError::FrameTooLarge { bytes, limit },
            Err(error) => error,
        };
        self.inbox.forget();
        self.fail(engine, &Error::Codec(error), CloseReason::Codec);
        Some(Stop::Paused)
    }

    /// Decodes and routes what comes next in a message of the transport.
    fn decode_message(&mut self, home: &Shared<H>, engine: &mut Engine<H>) {
        let unread = self.inbox.len();
        let sender = self.transport.sender();
        let mut input = self.inbox.input(&mut engine.arena).whole(sender);
        let limit = self.config.max_frame;
        let error = match home.handler.codec().decode(&mut self.state, &mut input) {
            Ok(Decoded::Message(message)) => {
                let bytes = unread - self.inbox.len();
                if (bytes > 0 || unread == 0) && bytes <= limit {
                    self.message = self.inbox.len() > 0;
                    self.out.reply_to = sender;
                    self.dispatch(home, engine, message, bytes);
                    self.out.reply_to = None;
                    return;
                }
                wrong_size(bytes, limit)
            }
            Ok(Decoded::Need(_)) => CodecError::malformed("the message ends within a frame"),
            Err(error) => error,
        };
        self.inbox.forget();
        self.drop_message(engine, &Error::Codec(error));
    }

    /// A message that cannot be decoded says nothing about the next one.
    fn drop_message(&mut self, engine: &mut Engine<H>, error: &Error) {
        self.message = false;
        self.lose_message(engine, error);
    }

    /// A message was lost, and no other: the handler is told, the session stays.
    pub(super) fn lose_message(&mut self, engine: &mut Engine<H>, error: &Error) {
        engine.metrics.dropped_messages += 1;
        self.session
            .inner
            .counters
            .dropped
            .fetch_add(1, Ordering::Relaxed);
        if let Error::Io(e) = error
            && e.kind() == io::ErrorKind::ConnectionRefused
            && self.greeted
            && !self.heard
        {
            return self.fail(engine, error, CloseReason::Io(e.kind()));
        }
        log::debug!(
            "session={} event=message-dropped error={error}",
            self.session
        );
        self.call_back(engine, |handler, cx, session| {
            handler.on_error(cx, session, error);
        });
    }

    #[inline(always)]
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
                self.blocked = true;
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

    /// Reads once. `None`: there is nothing more to do in this visit.
    fn receive(&mut self, engine: &mut Engine<H>, limit: usize) -> Option<usize> {
        if engine.is_overfull() {
            self.blocked = true;
            engine.starved.push(self.key);
            return None;
        }
        let inbox = &mut self.inbox.bytes;
        let received = self.transport.read(inbox, limit, &mut engine.pools);
        engine.metrics.reads += self.transport.take_reads();
        if self.transport.unsent() > 0 {
            // A layer answered by itself.
            self.out.mark_dirty(engine);
        }
        match received {
            Received::Bytes { count, drained } => {
                self.readable = !drained;
                self.note_bytes(engine, count);
                Some(count)
            }
            Received::Message { count } => {
                self.message = true;
                self.note_bytes(engine, count);
                Some(count)
            }
            Received::Nothing => {
                engine.metrics.spurious += 1;
                self.readable = false;
                None
            }
            Received::Drained => {
                self.readable = false;
                None
            }
            Received::Lost(e) => {
                self.lose_message(engine, &e);
                Some(LOST_COST)
            }
            Received::Finished => {
                self.readable = false;
                let truncated = self.inbox.len() > 0;
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
            Received::Broken(e) => {
                self.break_layer(engine, e);
                None
            }
        }
    }

    /// A layer of the transport gave up. It may have said a last word, which is flushed.
    pub(super) fn break_layer(&mut self, engine: &mut Engine<H>, error: LayerError) {
        self.readable = true;
        if error == LayerError::Truncated {
            let error = Error::Io(io::ErrorKind::UnexpectedEof.into());
            self.fail_truncated(engine, &error);
            return self.incident(engine, Incident::PeerFinished { truncated: true });
        }
        let reason = match error {
            LayerError::Dead => CloseReason::Idle,
            _ => CloseReason::Transport,
        };
        self.fail(engine, &Error::Transport(error.to_string()), reason);
    }

    fn note_bytes(&self, engine: &mut Engine<H>, count: usize) {
        engine.metrics.bytes_in += count as u64;
        add(&self.session.inner.counters.bytes_in, count as u64);
        let now = engine.tick().0;
        self.session.inner.last_active.store(now, Ordering::Relaxed);
    }

    fn fail_truncated(&mut self, engine: &mut Engine<H>, error: &Error) {
        self.call_back(engine, |handler, cx, session| {
            handler.on_error(cx, session, error);
        });
    }

    /// Reads and throws away, until the peer finishes.
    fn discard(&mut self, engine: &mut Engine<H>) {
        let mut left = engine.budget.read;
        let mut scratch = engine.pools.scratches.take();
        while self.readable && self.life.discards() {
            if left == 0 {
                self.mark_ready(engine);
                break;
            }
            scratch.clear();
            let received = self.transport.read(&mut scratch, left, &mut engine.pools);
            engine.metrics.reads += self.transport.take_reads();
            if self.transport.unsent() > 0 {
                self.out.mark_dirty(engine);
            }
            match received {
                Received::Bytes { count, drained } => {
                    self.readable = !drained;
                    left = left.saturating_sub(count.max(self.transport.filled()).max(1));
                }
                Received::Message { count } => {
                    left = left.saturating_sub(count.max(self.transport.filled()).max(1));
                }
                Received::Broken(_) => {
                    // Only the end itself matters now.
                    self.readable = true;
                }
                Received::Nothing | Received::Drained | Received::Lost(_) => {
                    self.readable = false;
                }
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
        engine.pools.scratches.give(scratch);
    }

    fn note_frames(&mut self, engine: &mut Engine<H>, frames: usize) {
        self.heard = true;
        engine.metrics.frames_in += frames as u64;
        engine.metrics.frames_per_visit.note(frames as u64);
        add(&self.session.inner.counters.frames_in, frames as u64);
    }
}

/// A codec took so many bytes off for one message, which are none or too many.
#[cold]
fn wrong_size(bytes: usize, limit: usize) -> CodecError {
    match bytes {
        0 => CodecError::malformed("a message of no bytes"),
        _ => CodecError::FrameTooLarge { bytes, limit },
    }
}

/// What a lost message counts against the bytes of a turn.
pub(super) const LOST_COST: usize = 1024;

/// A session with this much waiting is written before the end of the turn.
const FLUSH_EARLY: usize = 64 << 10;
