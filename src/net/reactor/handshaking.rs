//! Streams whose layers are still coming to terms (network.md B.22, B.23): a slot of their own, one timer, a limit on how
//! many there are. A session begins when all layers are established; before that no callback knows of it.
//!
//! A handshake that failed may leave a last word for the peer (an alert, an HTTP status). It is written, the sending
//! direction ended, and what the peer still sends is read and forgotten until it finishes or the timer fires: closing at
//! once would reset the connection and could destroy that word.

use bytes::BytesMut;

use super::accepting::Arrival;
use super::{Reactor, Slot};
use crate::net::connector::LinkState;
use crate::net::driver::{Clock, Driver, Event};
use crate::net::endpoint::Origin;
use crate::net::engine::Timer;
use crate::net::error::Error;
use crate::net::handler::Handler;
use crate::net::id::ConnectorId;
use crate::net::slots::Key;
use crate::net::transport::plan::{Plan, Setting};
use crate::net::transport::{Advance, Establish, Received, Stack, Transport};
use crate::net::wheel::TimerId;

/// A stream with an unfinished handshake.
pub(super) struct Handshake<S> {
    transport: Transport<S>,
    arrival: Arrival,
    /// The connector and its link that wait for the outcome.
    link: Option<(ConnectorId, usize)>,
    timer: Option<TimerId>,
    /// On the ready list.
    pub(super) queued: bool,
    /// It failed; only the last word is still on its way.
    failed: bool,
    /// A client's first word has been said.
    spoke: bool,
    /// The elastic pool has its layers.
    lent: bool,
}

impl<H: Handler, D: Driver, C: Clock> Reactor<H, D, C> {
    /// Begins the handshakes of a stream that is registered under a held key.
    ///
    /// # Errors
    /// Why there is none: the stream is gone and the key released.
    pub(super) fn begin_handshake(
        &mut self,
        key: Key,
        stream: D::Stream,
        arrival: Arrival,
        plan: &Plan,
        link: Option<(ConnectorId, usize)>,
    ) -> Result<(), Error> {
        let setting = Setting {
            max_frame: arrival.config.max_frame,
            seed: self.driver.entropy(),
        };
        self.engine.metrics.handshakes += 1;
        let layers = match plan.make(&setting) {
            _ if self.handshakes >= self.engine.limits.handshakes => {
                Err(Error::Limit("handshakes"))
            }
            Ok(layers) => Ok(layers),
            Err(e) => Err(Error::Transport(e.to_string())),
        };
        let layers = match layers {
            Ok(layers) => layers,
            Err(e) => {
                self.engine.metrics.handshake_failures += 1;
                log::warn!("peer={} event=handshake-failed error={e}", arrival.remote);
                self.slots.release(key);
                return Err(e);
            }
        };
        let timer = Some(self.engine.set_timer(plan.timeout, Timer::Handshake(key)));
        let handshake = Handshake {
            transport: Transport::new(stream, layers),
            arrival,
            link,
            timer,
            queued: true,
            failed: false,
            spoke: false,
            lent: false,
        };
        self.slots.put(key, Slot::Handshake(Box::new(handshake)));
        self.handshakes += 1;
        self.engine.ready.push_back(key);
        Ok(())
    }

    /// Takes note of readiness.
    pub(super) fn note_handshake(&mut self, key: Key, event: &Event) {
        if let Some(Slot::Handshake(handshake)) = self.slots.get_mut(key) {
            if event.read_closed || event.error {
                handshake.transport.hang_up();
            }
            if !handshake.queued {
                handshake.queued = true;
                self.engine.ready.push_back(key);
            }
        }
    }

    /// Goes on with a handshake.
    pub(super) fn visit_handshake(&mut self, key: Key) {
        let Some(Slot::Handshake(handshake)) = self.slots.get_mut(key) else {
            return;
        };
        handshake.queued = false;
        if handshake.failed {
            return self.wait_for_end(key);
        }
        if handshake.lent {
            // The next read follows when the layers are back.
            return;
        }
        self.engine.metrics.reads += 1;
        if self.lends_handshakes {
            // What the layers said last may have found no room.
            if let Err(e) = handshake.transport.push(&mut self.engine.pools) {
                return self.handshake_failed(key, Error::Io(e));
            }
            return self.feed_handshake(key);
        }
        let outcome = handshake.transport.establish(&mut self.engine.pools);
        self.conclude_handshake(key, outcome);
    }

    /// Reads, and lets the elastic pool see what it means.
    fn feed_handshake(&mut self, key: Key) {
        let Some(Slot::Handshake(handshake)) = self.slots.get_mut(key) else {
            return;
        };
        // A client speaks first.
        let speaks = handshake.link.is_some() && !std::mem::replace(&mut handshake.spoke, true);
        let pools = &mut self.engine.pools;
        if !speaks && let Some(outcome) = handshake.transport.feed_handshake(pools) {
            return self.conclude_handshake(key, outcome);
        }
        let Some(stack) = handshake.transport.lend_layers() else {
            return;
        };
        match self.engine.blocking.shake_hands(key, stack) {
            Ok(()) => handshake.lent = true,
            Err(mut stack) => {
                // All threads are busy, maybe for long: better a moment of the reactor's time than none at all.
                let advance = stack.advance(pools);
                handshake.lent = true;
                self.handshaken(key, stack, advance);
            }
        }
    }

    /// The layers are back.
    pub(super) fn handshaken(&mut self, key: Key, stack: Box<Stack>, advance: Advance) {
        let Some(Slot::Handshake(handshake)) = self.slots.get_mut(key) else {
            return;
        };
        handshake.lent = false;
        if handshake.failed {
            return;
        }
        let pools = &mut self.engine.pools;
        match handshake.transport.return_layers(stack, advance, pools) {
            Some(outcome) => self.conclude_handshake(key, outcome),
            None if !handshake.queued => {
                handshake.queued = true;
                self.engine.ready.push_back(key);
            }
            None => {}
        }
    }

    fn conclude_handshake(&mut self, key: Key, outcome: Establish) {
        match outcome {
            Establish::Waiting => {}
            Establish::Done => self.established(key),
            Establish::Broken(e) => self.handshake_failed(key, Error::Transport(e.to_string())),
            Establish::Failed(e) => self.handshake_failed(key, Error::Io(e)),
        }
    }

    pub(super) fn handshake_timed_out(&mut self, key: Key) {
        let Some(Slot::Handshake(handshake)) = self.slots.get_mut(key) else {
            return;
        };
        handshake.timer = None;
        if handshake.failed {
            self.forget_handshake(key);
        } else {
            self.handshake_failed(key, Error::Timeout);
        }
    }

    /// Ends all handshakes without a word.
    pub(super) fn end_handshakes(&mut self) {
        for key in self.slots.keys() {
            if matches!(self.slots.get(key), Some(Slot::Handshake(_))) {
                self.forget_handshake(key);
            }
        }
    }

    /// Drops a handshake, whatever became of it.
    pub(super) fn forget_handshake(&mut self, key: Key) {
        let Some(Slot::Handshake(mut handshake)) = self.slots.remove(key) else {
            return;
        };
        self.engine.cancel_timer(&mut handshake.timer);
        handshake.transport.retire(&mut self.engine.pools);
        if let Origin::Accepted(listener) = handshake.arrival.origin
            && let Some(listener) = self.listeners.get(&listener)
        {
            self.left_listener(*listener);
        }
        self.handshake_over();
    }

    fn established(&mut self, key: Key) {
        let Some(Slot::Handshake(mut handshake)) = self.slots.take(key) else {
            return;
        };
        self.engine.cancel_timer(&mut handshake.timer);
        self.handshake_over();
        let Handshake {
            transport,
            arrival,
            link,
            ..
        } = *handshake;
        let (origin, remote) = (arrival.origin, arrival.remote.clone());
        let opened = self.open(key, transport, arrival);
        match (opened, origin, link) {
            (false, Origin::Accepted(listener), _) => {
                if let Some(listener) = self.listeners.get(&listener) {
                    self.left_listener(*listener);
                }
            }
            (false, _, Some((id, link))) => {
                self.lost(id, link, &remote.to_string());
            }
            (true, _, Some((id, link))) => {
                if let Some(connector) = self.connectors.get_mut(&id) {
                    connector.links[link].state = LinkState::Live(key);
                }
            }
            _ => {}
        }
        if let Some(Slot::Session(session)) = self.slots.get_mut(key) {
            // What came together with the end of the handshake was announced by no event of the session's own.
            let event = Event {
                token: key.token(),
                readable: true,
                writable: true,
                read_closed: false,
                error: false,
            };
            session.note(&mut self.engine, &event);
        }
    }

    fn handshake_failed(&mut self, key: Key, error: Error) {
        let Some(Slot::Handshake(handshake)) = self.slots.get_mut(key) else {
            return;
        };
        self.engine.metrics.handshake_failures += 1;
        let remote = handshake.arrival.remote.clone();
        match handshake.link {
            Some((id, link)) => {
                let error = match error {
                    Error::Io(e) => e,
                    other => std::io::Error::other(other.to_string()),
                };
                // The peer gets its alert; the link goes on without waiting for that.
                let _ = handshake.transport.push(&mut self.engine.pools);
                self.forget_handshake(key);
                self.attempt_over(id, link, &remote.to_string(), error);
            }
            None => {
                log::info!(
                    "listener={} peer={remote} event=handshake-failed error={error}",
                    handshake.arrival.name
                );
                handshake.failed = true;
                let pushed = handshake.transport.push(&mut self.engine.pools);
                let shut = pushed.is_ok() && handshake.transport.shutdown_write().is_ok();
                if shut && handshake.timer.is_some() {
                    self.wait_for_end(key);
                } else {
                    self.forget_handshake(key);
                }
            }
        }
    }

    /// Reads what nobody will hear, until the peer finishes.
    fn wait_for_end(&mut self, key: Key) {
        let Some(Slot::Handshake(handshake)) = self.slots.get_mut(key) else {
            return;
        };
        let mut nowhere = BytesMut::new();
        for _ in 0..ENDING_READS {
            self.engine.metrics.reads += 1;
            let pools = &mut self.engine.pools;
            match handshake.transport.read(&mut nowhere, 1, pools) {
                Received::Nothing | Received::Drained => return,
                Received::Bytes { drained: true, .. } => return,
                Received::Bytes { .. } | Received::Message { .. } => nowhere.clear(),
                Received::Finished
                | Received::Failed(_)
                | Received::Lost(_)
                | Received::Broken(_) => break,
            }
        }
        // It has finished, or it goes on and on.
        self.forget_handshake(key);
    }

    /// There is room for another handshake.
    fn handshake_over(&mut self) {
        self.handshakes -= 1;
        self.release_held();
    }

    /// Listeners that waited for room accept again.
    pub(super) fn release_held(&mut self) {
        for key in self.listeners.values() {
            if let Some(Slot::Listener(listener)) = self.slots.get_mut(*key)
                && std::mem::take(&mut listener.held)
                && !listener.queued
            {
                listener.queued = true;
                self.engine.ready.push_back(*key);
            }
        }
    }
}

/// Reads granted to a peer whose handshake failed, each time it sends something.
const ENDING_READS: usize = 16;
