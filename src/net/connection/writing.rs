//! The sending side: what other threads encoded goes into the outbox, the outbox to the socket.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::reading::LOST_COST;
use super::{Connection, add};
use crate::net::codec::LINK_MIN;
use crate::net::driver::Stream;
use crate::net::engine::{Engine, SessionTimer, Timer};
use crate::net::error::{CloseReason, Error, SendError};
use crate::net::handler::Handler;
use crate::net::lifecycle::{Incident, Phase};
use crate::net::outgoing::Carriage;
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
        let frames = self.out.frames - self.out.flushed;
        if frames > 0 {
            self.out.flushed = self.out.frames;
            engine.metrics.frames_per_flush.note(frames);
        }
        let mut budget = engine.budget.write;
        let was_full = self.transport.is_full();
        while self.writable && self.has_unsent() {
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
        if !self.has_unsent() {
            self.out.outbox.recycle(&mut engine.pools.tails);
            self.progress = None;
            if matches!(self.life.phase(), Phase::Flushing { .. }) {
                self.transport.say_goodbye(&mut engine.pools);
                if self.has_unsent() {
                    return self.out.mark_dirty(engine);
                }
                self.incident(engine, Incident::Flushed);
            }
        } else if !self.writable {
            self.progress.get_or_insert(engine.tick().0);
            if self.timers.stall.is_none() {
                let timer = Timer::Session(self.key, SessionTimer::Stall);
                self.timers.stall = Some(engine.set_timer(self.config.write_stall, timer));
            }
        }
        if was_full && !self.transport.is_full() {
            self.resumed(engine);
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
        if !self.out.open {
            return self.uncount(&payload);
        }
        // Counted already, on the thread that sent them.
        self.published += payload.len();
        self.out.count_frames(engine, payload.frames);
        let mut bytes = payload.bytes;
        let ends = payload.ends;
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
        if payload.frames == 0 {
            // Nothing was sent.
        } else if ends.is_empty() {
            self.out.outbox.end_message(payload.to);
        } else {
            self.out.outbox.end_messages(&ends, payload.to);
        }
        self.publish();
    }

    /// Queues bytes a lane encoded.
    pub(crate) fn accept_piece(&mut self, engine: &mut Engine<H>, piece: &[u8], frames: u32) {
        if self.out.carriage() == Carriage::Addressed {
            if frames > 0 {
                self.refuse_lane(engine);
            }
            return;
        }
        if self.accepts(engine, piece.len()) {
            self.out.count_frames(engine, u64::from(frames));
            self.out.copy(engine, piece);
            if frames > 0 {
                self.out.outbox.end_message(None);
            }
        }
        if frames > 0 {
            self.out.skipping = false;
        }
    }

    /// Queues a datagram a lane encoded, for an address.
    pub(crate) fn accept_packet(&mut self, engine: &mut Engine<H>, bytes: &[u8], to: SocketAddr) {
        if self.out.carriage() != Carriage::Addressed {
            return self.refuse_lane(engine);
        }
        if self.accepts(engine, bytes.len()) {
            self.out.count_frames(engine, 1);
            self.out.copy(engine, bytes);
            self.out.outbox.end_message(Some(to));
        }
        self.out.skipping = false;
    }

    /// Queues a payload a lane linked.
    pub(crate) fn accept_linked(&mut self, engine: &mut Engine<H>, bytes: Bytes) {
        if self.out.carriage() != Carriage::Addressed && self.accepts(engine, bytes.len()) {
            self.out.append(engine, bytes);
        }
    }

    /// Whether a lane's bytes are taken. The lane cannot be told that they are too many, so the session ends for it; a
    /// datagram is dropped, from its first piece to its last.
    fn accepts(&mut self, engine: &mut Engine<H>, bytes: usize) -> bool {
        if self.out.skipping {
            return false;
        }
        let lossy = self.out.carriage().is_lossy();
        let begun = lossy && self.out.outbox.is_within_message();
        if self.out.open && !begun && self.out.would_overflow(bytes) {
            let error = Error::Limit("hard_limit");
            if lossy {
                self.out.skipping = true;
                self.lose_message(engine, &error);
                return false;
            }
            self.fail(engine, &error, CloseReason::Overflow);
        }
        self.out.open
    }

    /// Datagrams that could not leave for so long are of no use any more. No peer is to blame, so the session stays.
    pub(super) fn drop_waiting(&mut self, engine: &mut Engine<H>) {
        let waiting = self.out.outbox.messages();
        let bytes = (self.out.outbox).drop_messages(waiting, &mut engine.pools.tails);
        engine.buffered -= bytes;
        self.progress = None;
        self.out.mark_dirty(engine);
        if waiting > 0 {
            // The last one is counted where it is told.
            let others = waiting as u64 - 1;
            engine.metrics.dropped_messages += others;
            let counter = &self.session.inner.counters.dropped;
            counter.fetch_add(others, Ordering::Relaxed);
            self.lose_message(engine, &Error::Timeout);
        }
    }

    /// A lane gave an address where none belongs, or none where one does.
    fn refuse_lane(&mut self, engine: &mut Engine<H>) {
        let what = SendError::Address.to_string();
        let error = io::Error::new(io::ErrorKind::InvalidInput, what);
        self.lose_message(engine, &Error::Io(error));
    }

    /// Writes once. `None`: the connection broke.
    pub(super) fn transmit(&mut self, engine: &mut Engine<H>) -> Option<usize> {
        engine.metrics.writes += 1;
        let before = self.out.outbox.len();
        let outcome = self
            .transport
            .write(&mut self.out.outbox, &mut engine.pools);
        // Layers may have taken bytes that the socket then refused.
        engine.buffered -= before - self.out.outbox.len();
        match outcome {
            Transmitted::Bytes { written, full } => {
                self.writable = !full;
                self.progress = Some(engine.tick().0);
                engine.metrics.bytes_out += written.bytes as u64;
                engine.metrics.write_slices += written.slices as u64;
                engine.metrics.bytes_per_write.note(written.bytes as u64);
                add(&self.session.inner.counters.bytes_out, written.bytes as u64);
                Some(written.bytes)
            }
            Transmitted::Discarded(bytes) => Some(bytes),
            Transmitted::Nothing => {
                engine.metrics.spurious += 1;
                self.writable = false;
                Some(0)
            }
            Transmitted::Lost { bytes, error } => {
                self.lose_message(engine, &error);
                let open = self.life.closed().is_none();
                open.then_some(bytes.max(LOST_COST))
            }
            Transmitted::Failed(e) => {
                self.writable = false;
                let reason = CloseReason::Io(e.kind());
                self.fail(engine, &Error::Io(e), reason);
                None
            }
            Transmitted::Broken(e) => {
                self.break_layer(engine, e);
                // There may be a last word, and in a session that is closing already nobody else would see to it.
                self.out.mark_dirty(engine);
                None
            }
        }
    }

    /// Bytes of another thread that will not be sent.
    pub(super) fn uncount(&self, payload: &Payload) {
        let waiting = &self.session.inner.waiting;
        waiting.fetch_sub(payload.len(), Ordering::Relaxed);
    }

    /// Makes counters and fill level visible to the handles.
    fn publish(&mut self) {
        let inner = &self.session.inner;
        let (before, now) = (self.published, self.out.outbox.len());
        if now > before {
            inner.waiting.fetch_add(now - before, Ordering::Relaxed);
        } else if now < before {
            inner.waiting.fetch_sub(before - now, Ordering::Relaxed);
        }
        self.published = now;
        inner
            .counters
            .frames_out
            .store(self.out.frames, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use bytes::BytesMut;

    use super::*;
    use crate::net::address::Address;
    use crate::net::config::{Budget, Limits, SessionConfig, Workers};
    use crate::net::driver::{Event, ReadSpace};
    use crate::net::fixture::{self, Mute};
    use crate::net::slots::Slots;
    use crate::net::transport::Transport;
    use crate::net::transport::layer::{Layer, LayerError, Progress};

    /// A peer that takes as many bytes as it was given room for.
    struct Peer(Arc<AtomicUsize>);

    impl Stream for Peer {
        fn read(&mut self, _: &mut ReadSpace<'_>) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match bytes.len().min(self.0.load(Ordering::Relaxed)) {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                n => {
                    self.0.fetch_sub(n, Ordering::Relaxed);
                    Ok(n)
                }
            }
        }
        fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
            self.write(&slices[0])
        }
        fn shutdown_write(&mut self) -> io::Result<()> {
            Ok(())
        }
        fn take_error(&mut self) -> io::Result<Option<io::Error>> {
            Ok(None)
        }
        fn abort(&mut self) {}
        fn peer_addr(&self) -> io::Result<Address> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn local_addr(&self) -> io::Result<Address> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    #[test]
    fn a_stall_counts_from_when_the_peer_began_to_take_nothing() {
        let (shared, _remote) = fixture::shared(&Workers::default(), Limits::default());
        let mut engine = Engine::<Mute>::new(&shared, Budget::default(), 0, shared.epoch);
        let key = Slots::new().insert(());
        let room = Arc::new(AtomicUsize::new(10));
        let session = fixture::session(&shared, key);
        let mut peer = Connection::new(
            key,
            Transport::new(Peer(Arc::clone(&room)), Vec::new()),
            session,
            SessionConfig::default(),
            &engine,
        );
        let at = |engine: &mut Engine<Mute>, millis| {
            engine.begin_turn(shared.epoch + Duration::from_millis(millis));
        };
        let fires = |engine: &mut Engine<Mute>| engine.wheel.pop_expired(engine.tick()).is_some();
        // It takes a part, then the rest, long before the limit of 30 s.
        peer.accept_piece(&mut engine, &[1; 100], 1);
        peer.flush(&mut engine);
        room.store(90, Ordering::Relaxed);
        let event = Event {
            token: key.token(),
            readable: false,
            writable: true,
            read_closed: false,
            error: false,
        };
        peer.note(&mut engine, &event);
        peer.flush(&mut engine);
        assert!(peer.out.outbox.is_empty());
        // Nothing is sent for a long time, and then it takes none of the next bytes.
        at(&mut engine, 29_500);
        peer.accept_piece(&mut engine, &[1; 100], 1);
        peer.flush(&mut engine);
        at(&mut engine, 31_000);
        assert!(fires(&mut engine), "the timer of the first time");
        peer.timer(&mut engine, SessionTimer::Stall);
        assert!(peer.session.is_open(), "stuck for 1.5 s only");
        at(&mut engine, 59_400);
        assert!(!fires(&mut engine));
        at(&mut engine, 59_500);
        assert!(fires(&mut engine));
        peer.timer(&mut engine, SessionTimer::Stall);
        assert!(!peer.session.is_open(), "stuck for 30 s");
    }

    /// A peer that is gone.
    struct Gone;

    impl Stream for Gone {
        fn read(&mut self, _: &mut ReadSpace<'_>) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
            self.write(&slices[0])
        }
        fn shutdown_write(&mut self) -> io::Result<()> {
            Ok(())
        }
        fn take_error(&mut self) -> io::Result<Option<io::Error>> {
            Ok(None)
        }
        fn abort(&mut self) {}
        fn peer_addr(&self) -> io::Result<Address> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn local_addr(&self) -> io::Result<Address> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    /// A layer took bytes from the outbox, then the socket failed: they counted as waiting for ever, and after enough of
    /// such ends nobody was read any more. And a layer that fails drops what waits: that counts once.
    #[test]
    fn bytes_that_layers_took_are_given_back_once() {
        for breaks in [None, Some(3)] {
            let (shared, _remote) = fixture::shared(&Workers::default(), Limits::default());
            let mut engine = Engine::<Mute>::new(&shared, Budget::default(), 0, shared.epoch);
            let key = Slots::new().insert(());
            let session = fixture::session(&shared, key);
            let layer = Brittle { sends: breaks };
            let transport = Transport::new(Gone, vec![Box::new(layer)]);
            let config = SessionConfig::default();
            let mut connection = Connection::new(key, transport, session, config, &engine);
            for _ in 0..5 {
                connection.accept_linked(&mut engine, Bytes::from(vec![1; 5000]));
            }
            assert_eq!(engine.buffered, 25_000);
            for _ in 0..3 {
                connection.flush(&mut engine);
            }
            connection.bury(&mut engine);
            assert_eq!(engine.buffered, 0, "{breaks:?}");
        }
    }

    /// Passes so many pieces on, then fails.
    struct Brittle {
        sends: Option<usize>,
    }

    impl Layer for Brittle {
        fn start(&mut self, _: &mut BytesMut) -> Result<(), LayerError> {
            Ok(())
        }
        fn is_established(&self) -> bool {
            true
        }
        fn receive(
            &mut self,
            _: &mut BytesMut,
            _: &mut BytesMut,
            _: usize,
            _: &mut BytesMut,
        ) -> Result<Progress, LayerError> {
            Ok(Progress::Hungry)
        }
        fn send(&mut self, piece: &[u8], out: &mut BytesMut) -> Result<(), LayerError> {
            match &mut self.sends {
                Some(0) => return Err(LayerError::Limit("pieces")),
                Some(left) => *left -= 1,
                None => {}
            }
            out.extend_from_slice(piece);
            Ok(())
        }
        fn finish(&mut self, _: &mut BytesMut) {}
        fn ended(&mut self) -> Result<(), LayerError> {
            Ok(())
        }
    }
}
