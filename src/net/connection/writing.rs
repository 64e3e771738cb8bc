//! The sending side: what other threads encoded goes into the outbox, the outbox to the socket.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::{Connection, add};
use crate::net::codec::LINK_MIN;
use crate::net::driver::Stream;
use crate::net::engine::{Engine, SessionTimer, Timer};
use crate::net::error::{CloseReason, Error};
use crate::net::handler::Handler;
use crate::net::lifecycle::{Incident, Phase};
use crate::net::remote::Payload;
use crate::net::transport::Transmitted;

impl<H: Handler, S: Stream> Connection<H, S> {
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
        self.publish();
        if self.out.outbox.is_empty() {
            self.out.outbox.recycle(&mut engine.pools.tails);
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
        if payload.links.is_empty() && bytes.len() < LINK_MIN {
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
        self.publish();
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

    /// Whether a lane's bytes are taken. The lane cannot be told that they are too many, so the session ends for it.
    fn accepts(&mut self, engine: &mut Engine<H>, bytes: usize) -> bool {
        if self.out.open && self.out.would_overflow(bytes) {
            let error = Error::Limit("hard_limit");
            self.fail(engine, &error, CloseReason::Overflow);
        }
        self.out.open
    }

    /// Writes once. `None`: the connection broke.
    pub(super) fn transmit(&mut self, engine: &mut Engine<H>) -> Option<usize> {
        engine.metrics.writes += 1;
        match self
            .transport
            .write(&mut self.out.outbox, &mut engine.pools.tails)
        {
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

    /// Makes counters and fill level visible to the handles.
    fn publish(&self) {
        let inner = &self.session.inner;
        inner.outbox.store(self.out.outbox.len(), Ordering::Relaxed);
        inner
            .counters
            .frames_out
            .store(self.out.frames, Ordering::Relaxed);
    }
}
