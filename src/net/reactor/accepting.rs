//! Taking connections and opening sessions (network.md B.6, B.7, B.39).

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::{Reactor, Slot};
use crate::net::address::Address;
use crate::net::config::SessionConfig;
use crate::net::connection::Connection;
use crate::net::driver::{Clock, Driver, Stream};
use crate::net::endpoint::{Origin, Peer};
use crate::net::engine::{Engine, Timer};
use crate::net::handler::Handler;
use crate::net::lane::panic_text;
use crate::net::listener::{AcceptFailure, ListenerSlot, classify};
use crate::net::session::Session;
use crate::net::slots::Key;
use crate::net::transport::Transport;

impl<H: Handler, D: Driver, C: Clock> Reactor<H, D, C> {
    /// Takes what waits at a listener, within the budget.
    pub(super) fn accept(&mut self, key: Key) {
        let Some(Slot::Listener(listener)) = self.slots.get_mut(key) else {
            return;
        };
        let engine = &mut self.engine;
        listener.queued = false;
        if engine.draining {
            return;
        }
        let mut again = true;
        for _ in 0..engine.budget.accepts {
            engine.metrics.accept_calls += 1;
            let error = match self.driver.accept(&mut listener.socket) {
                Ok((stream, peer)) => {
                    listener.recovered();
                    engine.metrics.accepts += 1;
                    let open = self.sessions + self.accepted.len();
                    if open < engine.limits.sessions && listener.has_room() {
                        listener.open += 1;
                        self.accepted.push((stream, peer));
                    } else {
                        engine.metrics.refused += 1;
                        log::debug!("listener={} peer={peer} event=limit", listener.name);
                    }
                    continue;
                }
                Err(error) => error,
            };
            match classify(&error) {
                AcceptFailure::Transient => continue,
                AcceptFailure::Empty => again = false,
                AcceptFailure::Exhausted => {
                    engine.metrics.accept_stalls += 1;
                    let budget = engine.budget.accepts;
                    let shed = (0..budget)
                        .take_while(|_| self.driver.shed(&mut listener.socket))
                        .count();
                    engine.metrics.shed += shed as u64;
                    // More may wait, and no edge will tell.
                    again = shed == budget;
                    try_later(engine, listener, key, &error);
                }
                AcceptFailure::Broken => {
                    again = false;
                    log::error!(
                        "listener={} event=accept-failed error={error}",
                        listener.name
                    );
                    try_later(engine, listener, key, &error);
                }
            }
            break;
        }
        if again && !listener.queued {
            listener.queued = true;
            engine.ready.push_back(key);
        }
        let origin = Origin::Accepted(listener.id);
        let (name, config) = (Arc::clone(&listener.name), listener.session.clone());
        let mut accepted = std::mem::take(&mut self.accepted);
        for (stream, peer) in accepted.drain(..) {
            if !self.open(stream, At::Accepted(peer), origin, &name, &config) {
                self.left_listener(key);
            }
        }
        self.accepted = accepted;
    }

    /// Makes a session of a connected stream. Whether there is one now.
    pub(super) fn open(
        &mut self,
        stream: D::Stream,
        at: At,
        origin: Origin,
        name: &Arc<str>,
        config: &SessionConfig,
    ) -> bool {
        let (key, accepted) = match at {
            At::Accepted(_) => (self.slots.next_key(), true),
            At::Connected(key) => (key, false),
        };
        match self.make_connection(stream, key, at, origin, name, config) {
            Some(connection) if accepted => {
                self.slots.insert(Slot::Session(connection));
            }
            Some(connection) => self.slots.put(key, Slot::Session(connection)),
            None => {
                if !accepted {
                    self.slots.release(key);
                }
                return false;
            }
        }
        self.sessions += 1;
        if let Some(Slot::Session(connection)) = self.slots.get_mut(key) {
            connection.open(&mut self.engine);
        }
        true
    }

    fn make_connection(
        &mut self,
        mut stream: D::Stream,
        key: Key,
        at: At,
        origin: Origin,
        name: &Arc<str>,
        config: &SessionConfig,
    ) -> Option<Box<Connection<H, D::Stream>>> {
        let accepted = matches!(at, At::Accepted(_));
        let remote = match at {
            At::Accepted(remote) => remote,
            At::Connected(_) => stream.peer_addr().ok()?,
        };
        let local = stream.local_addr().ok()?;
        if accepted {
            self.engine.metrics.registrations += 1;
            if let Err(e) = self.driver.register(&mut stream, key.token()) {
                log::error!("peer={remote} event=not-registered error={e}");
                return None;
            }
        }
        let credentials = match remote {
            Address::Ip(_) => None,
            Address::Unix(_) => stream.credentials(),
        };
        let peer = Peer {
            remote,
            local,
            credentials,
            origin,
        };
        let shared = Arc::clone(&self.engine.shared);
        let opened = self.engine.tick();
        let name = Arc::clone(name);
        let session = Session::new(key.session(), peer, name, shared, config, opened);
        let shown = session.clone();
        let (transport, config) = (Transport::tcp(stream), config.clone());
        let engine = &mut self.engine;
        let made = catch_unwind(AssertUnwindSafe(|| {
            Connection::new(key, transport, session, config, engine)
        }));
        match made {
            Ok(connection) => Some(Box::new(connection)),
            Err(panic) => {
                engine.metrics.panics += 1;
                log::error!(
                    "session={shown} event=panicked error={}",
                    panic_text(&*panic)
                );
                None
            }
        }
    }

    /// A listener has one session less.
    pub(super) fn left_listener(&mut self, key: Key) {
        if let Some(Slot::Listener(listener)) = self.slots.get_mut(key) {
            listener.open -= 1;
        }
    }
}

/// Sets the listener's timer, unless it is set already.
fn try_later<H: Handler, L>(
    engine: &mut Engine<H>,
    listener: &mut ListenerSlot<L>,
    key: Key,
    error: &io::Error,
) {
    if listener.timer.is_none() {
        let wait = listener.exhausted(error);
        listener.timer = Some(engine.set_timer(wait, Timer::Listener(key)));
    }
}

/// Where a connected stream comes from.
#[derive(Debug)]
pub(super) enum At {
    /// A listener, from this address; not registered yet.
    Accepted(Address),
    /// A connector; registered under this key, whose slot is held.
    Connected(Key),
}
