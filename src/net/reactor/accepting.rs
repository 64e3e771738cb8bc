//! Taking connections and opening sessions (network.md B.6, B.7, B.39).

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::{Reactor, Slot};
use crate::net::address::Address;
use crate::net::config::SessionConfig;
use crate::net::connection::Connection;
use crate::net::driver::{Clock, Driver};
use crate::net::endpoint::{Origin, Peer};
use crate::net::engine::{Engine, Timer};
use crate::net::handler::Handler;
use crate::net::lane::panic_text;
use crate::net::listener::{AcceptFailure, ListenerSlot, classify};
use crate::net::session::Session;
use crate::net::slots::Key;
use crate::net::transport::Transport;
use crate::net::transport::plan::Plan;

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
            if self.handshakes + self.accepted.len() >= engine.limits.handshakes
                && !listener.plan.is_plain()
            {
                engine.metrics.handshake_pauses += 1;
                listener.held = true;
                again = false;
                break;
            }
            engine.metrics.accept_calls += 1;
            let error = match self.driver.accept(&mut listener.socket) {
                Ok((stream, peer)) => {
                    listener.recovered();
                    engine.metrics.accepts += 1;
                    let open = self.sessions + self.handshakes + self.accepted.len();
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
        let plan = listener.plan.clone();
        let (name, config) = (Arc::clone(&listener.name), listener.session.clone());
        let mut accepted = std::mem::take(&mut self.accepted);
        for (stream, remote) in accepted.drain(..) {
            let arrival = Arrival {
                remote,
                origin,
                name: Arc::clone(&name),
                config: config.clone(),
            };
            if !self.welcome(stream, arrival, &plan) {
                self.left_listener(key);
            }
        }
        self.accepted = accepted;
        if self.handshakes < self.engine.limits.handshakes {
            self.release_held();
        }
    }

    /// Registers an accepted stream and begins its session or its handshake. Whether it lives.
    fn welcome(&mut self, mut stream: D::Stream, arrival: Arrival, plan: &Plan) -> bool {
        let key = self.slots.hold();
        self.engine.metrics.registrations += 1;
        if let Err(e) = self.driver.register(&mut stream, key.token()) {
            log::error!("peer={} event=not-registered error={e}", arrival.remote);
            self.slots.release(key);
            return false;
        }
        if !plan.is_plain() {
            return self
                .begin_handshake(key, stream, arrival, plan, None)
                .is_ok();
        }
        self.open(key, Transport::new(stream, Vec::new()), arrival)
    }

    /// Makes a session of an established stream, whose key is held. Whether there is one now.
    pub(super) fn open(
        &mut self,
        key: Key,
        transport: Transport<D::Stream>,
        arrival: Arrival,
    ) -> bool {
        let Some(connection) = self.make_connection(key, transport, arrival) else {
            self.slots.release(key);
            return false;
        };
        self.slots.put(key, Slot::Session(connection));
        self.sessions += 1;
        if let Some(Slot::Session(connection)) = self.slots.get_mut(key) {
            connection.open(&mut self.engine);
        }
        true
    }

    fn make_connection(
        &mut self,
        key: Key,
        mut transport: Transport<D::Stream>,
        arrival: Arrival,
    ) -> Option<Box<Connection<H, D::Stream>>> {
        let Arrival {
            remote,
            origin,
            name,
            config,
        } = arrival;
        let local = transport.local_addr().ok()?;
        let credentials = match remote {
            Address::Ip(_) => None,
            Address::Unix(_) => transport.credentials(),
        };
        let mut peer = Peer {
            #[cfg(feature = "ws")]
            ws: None,
            #[cfg(feature = "tls")]
            tls: None,
            remote,
            local,
            credentials,
            origin,
        };
        transport.describe(&mut peer);
        let shared = Arc::clone(&self.engine.shared);
        let opened = self.engine.tick();
        let session = Session::new(key.session(), peer, name, shared, &config, opened);
        let shown = session.clone();
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

/// A stream on its way to becoming a session.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) remote: Address,
    pub(crate) origin: Origin,
    pub(crate) name: Arc<str>,
    pub(crate) config: SessionConfig,
}
