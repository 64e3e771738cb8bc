//! Connecting and staying connected (network.md B.8 to B.10).

use std::io;
use std::sync::Arc;

use super::accepting::Arrival;
use super::{Reactor, Slot, socket_options};
use crate::net::address::Address;
use crate::net::config::ConnectOptions;
use crate::net::connector::{Connecting, Connector, LinkState, Target};
use crate::net::driver::{Clock, Driver, Event, Stream};
use crate::net::endpoint::{Endpoint, Origin};
use crate::net::engine::{Timer, later};
use crate::net::error::{CloseReason, Error};
use crate::net::handler::Handler;
use crate::net::id::ConnectorId;
use crate::net::lifecycle::Incident;
use crate::net::remote::Resolved;
use crate::net::slots::Key;
use crate::net::transport::Transport;
use crate::net::transport::plan::Plan;

impl<H: Handler, D: Driver, C: Clock> Reactor<H, D, C> {
    pub(super) fn start_connector(
        &mut self,
        id: ConnectorId,
        to: Endpoint,
        mut options: ConnectOptions,
    ) {
        if self.engine.draining {
            return;
        }
        options.name = to.name_or_scheme(options.name);
        let session = options
            .session
            .clone()
            .unwrap_or_else(|| self.session_config.clone());
        let plan = match Plan::dial(&to, &options) {
            Ok(plan) => plan,
            Err(e) => {
                log::error!("connector={} to={to} event=gave-up error={e}", options.name);
                let shared = Arc::clone(&self.engine.shared);
                return self.guarded(|_| shared.handler.on_connect_error(id, &Error::Io(e), None));
            }
        };
        if plan.keeps_messages {
            self.engine.shared.keep_messages();
        }
        options.connections = options.connections.min(self.engine.limits.sessions);
        let connector = Connector::new(to, options, session, plan);
        let links = connector.links.len();
        self.connectors.insert(id, connector);
        for link in 0..links {
            self.start_round(id, link);
        }
    }

    /// A new round of attempts for one link: resolve if need be, then try each address.
    pub(super) fn start_round(&mut self, id: ConnectorId, link: usize) {
        let Some(connector) = self.connectors.get_mut(&id) else {
            return;
        };
        let outcome = match connector.target() {
            Target::Address(address) => {
                connector.links[link].addresses = [address].into();
                return self.try_next(id, link, None);
            }
            Target::Name(name, port) => {
                let remote = &self.engine.shared.remote;
                let limit = self.engine.limits.resolving;
                self.resolver
                    .resolve(remote, limit, (id, link), (name, port))
            }
        };
        connector.links[link].state = LinkState::Resolving;
        if let Err(e) = outcome {
            self.round_failed(id, link, e);
        }
    }

    pub(super) fn resolved(&mut self, resolved: Resolved) {
        let Resolved {
            connector: id,
            link,
            outcome,
        } = resolved;
        let Some(connector) = self.connectors.get_mut(&id) else {
            return;
        };
        let at = &mut connector.links[link];
        if at.state != LinkState::Resolving {
            return;
        }
        match outcome {
            Ok(addresses) => {
                at.addresses = addresses.into_iter().map(Address::Ip).collect();
                self.try_next(id, link, None);
            }
            Err(e) => self.round_failed(id, link, e),
        }
    }

    /// Tries the next address of the round; `last` is why the one before failed.
    fn try_next(&mut self, id: ConnectorId, link: usize, mut last: Option<io::Error>) {
        loop {
            let Some(connector) = self.connectors.get_mut(&id) else {
                return;
            };
            let at = &mut connector.links[link];
            let Some(to) = at.addresses.pop_front() else {
                let error = last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into());
                return self.round_failed(id, link, error);
            };
            if self.sessions + self.handshakes >= self.engine.limits.sessions {
                last = Some(io::Error::new(
                    io::ErrorKind::QuotaExceeded,
                    "too many sessions",
                ));
                continue;
            }
            if let (Endpoint::Udp(_), Some(to)) = (&connector.to, to.ip()) {
                match self.associate(id, link, to) {
                    Ok(()) => return,
                    Err(e) => last = Some(e),
                }
                continue;
            }
            let key = self.slots.next_key();
            let options = socket_options(&connector.session);
            self.engine.metrics.connects += 1;
            match self.driver.connect(&to, &options, key.token()) {
                Ok(stream) => {
                    at.state = LinkState::Connecting(key);
                    let timeout = connector.options.timeout;
                    let timer = Some(self.engine.set_timer(timeout, Timer::Connecting(key)));
                    let connecting = Connecting {
                        stream,
                        to,
                        connector: id,
                        link,
                        timer,
                    };
                    self.slots.insert(Slot::Connecting(Box::new(connecting)));
                    return;
                }
                Err(e) => {
                    self.engine.metrics.connect_failures += 1;
                    last = Some(e);
                }
            }
        }
    }

    /// Every address failed: wait, or give up.
    fn round_failed(&mut self, id: ConnectorId, link: usize, error: io::Error) {
        let Some(connector) = self.connectors.get_mut(&id) else {
            return;
        };
        let draining = self.engine.draining;
        let wait = connector.links[link].retry.failed().filter(|_| !draining);
        let again = wait.map(|wait| later(self.engine.now, wait));
        connector.links[link].state = match wait {
            Some(wait) => {
                let timer = Timer::Connector(id.0, link);
                LinkState::Waiting(self.engine.set_timer(wait, timer))
            }
            None => LinkState::Ended,
        };
        match wait {
            Some(wait) => log::debug!(
                "connector={} to={} event=failed again={wait:?} error={error}",
                connector.name,
                connector.to
            ),
            None => log::warn!(
                "connector={} to={} event=gave-up error={error}",
                connector.name,
                connector.to
            ),
        }
        if connector.is_over() {
            self.connectors.remove(&id);
        }
        let shared = Arc::clone(&self.engine.shared);
        self.guarded(|_| {
            shared
                .handler
                .on_connect_error(id, &Error::Io(error), again)
        });
    }

    /// Readiness of an undecided attempt.
    pub(super) fn connecting_ready(&mut self, key: Key, event: &Event) {
        let Some(Slot::Connecting(attempt)) = self.slots.get_mut(key) else {
            return;
        };
        let outcome = match attempt.stream.take_error() {
            Ok(Some(e)) | Err(e) => Err(e),
            Ok(None) => match attempt.stream.peer_addr() {
                Ok(peer) => match attempt.stream.local_addr() {
                    // A port of the ephemeral range with no listener can be connected to itself.
                    Ok(local) if local == peer && local.ip().is_some() => {
                        Err(io::ErrorKind::ConnectionRefused.into())
                    }
                    Ok(_) => Ok(()),
                    Err(e) => Err(e),
                },
                Err(e) if e.kind() == io::ErrorKind::NotConnected && !event.error => {
                    self.engine.metrics.spurious += 1;
                    return;
                }
                Err(e) => Err(e),
            },
        };
        match outcome {
            Ok(()) => self.connected(key, event),
            Err(e) => self.attempt_failed(key, e),
        }
    }

    pub(super) fn connect_timed_out(&mut self, key: Key) {
        if let Some(Slot::Connecting(attempt)) = self.slots.get_mut(key) {
            attempt.timer = None;
            self.attempt_failed(key, io::ErrorKind::TimedOut.into());
        }
    }

    /// A session made by a connector is gone.
    pub(super) fn link_closed(
        &mut self,
        id: ConnectorId,
        key: Key,
        reason: CloseReason,
        heard: bool,
    ) {
        let Some(connector) = self.connectors.get_mut(&id) else {
            return;
        };
        let Some(link) = connector.link_of(key) else {
            return;
        };
        if heard {
            connector.links[link].retry.heard();
        }
        let ours = matches!(
            reason,
            CloseReason::Local | CloseReason::DrainTimeout | CloseReason::Shutdown
        );
        if ours {
            connector.links[link].state = LinkState::Ended;
            if connector.is_over() {
                self.connectors.remove(&id);
            }
        } else {
            let error = match reason {
                CloseReason::Io(kind) => kind.into(),
                other => io::Error::other(other.to_string()),
            };
            self.round_failed(id, link, error);
        }
    }

    /// Gives up what a connector attempts; its live sessions stay for now.
    pub(super) fn end_attempts(&mut self, id: ConnectorId) {
        let Some(connector) = self.connectors.get_mut(&id) else {
            return;
        };
        let mut ending = Vec::new();
        for link in &mut connector.links {
            match link.state {
                LinkState::Live(_) => continue,
                LinkState::Waiting(timer) => self.engine.cancel_timer(&mut Some(timer)),
                LinkState::Connecting(key) => {
                    ending.push(key);
                }
                LinkState::Idle | LinkState::Resolving | LinkState::Ended => {}
            }
            link.state = LinkState::Ended;
        }
        for key in ending {
            if matches!(self.slots.get(key), Some(Slot::Handshake(_))) {
                self.forget_handshake(key);
            } else if let Some(Slot::Connecting(mut attempt)) = self.slots.remove(key) {
                self.engine.cancel_timer(&mut attempt.timer);
            }
        }
    }

    /// Ends a connector: attempts are dropped, sessions closed gracefully.
    pub(super) fn disconnect(&mut self, id: ConnectorId, reason: CloseReason) {
        self.end_attempts(id);
        let Some(connector) = self.connectors.remove(&id) else {
            return;
        };
        for link in connector.links {
            if let LinkState::Live(key) = link.state
                && let Some(Slot::Session(session)) = self.slots.get_mut(key)
            {
                session.incident(&mut self.engine, Incident::Close(reason));
            }
        }
    }

    /// The stream keeps its slot, since it is registered under that key.
    fn connected(&mut self, key: Key, event: &Event) {
        let Some(Slot::Connecting(mut attempt)) = self.slots.take(key) else {
            return;
        };
        self.engine.cancel_timer(&mut attempt.timer);
        let Connecting {
            stream,
            connector: id,
            link,
            to,
            ..
        } = *attempt;
        let Some(connector) = self.connectors.get(&id) else {
            return self.slots.release(key);
        };
        let Ok(remote) = stream.peer_addr() else {
            self.slots.release(key);
            return self.lost(id, link, &to.to_string());
        };
        let arrival = Arrival {
            remote,
            origin: Origin::Connected(id),
            name: Arc::clone(&connector.name),
            config: connector.session.clone(),
        };
        let plan = connector.plan.clone();
        if !plan.is_plain() {
            // The slot stays the link's attempt until the handshakes are done.
            let begun = self.begin_handshake(key, stream, arrival, &plan, Some((id, link)));
            if let Err(e) = begun {
                let error = io::Error::other(e.to_string());
                self.attempt_over(id, link, &to.to_string(), error);
            }
            return;
        }
        if !self.open(key, Transport::new(stream, Vec::new()), arrival) {
            return self.lost(id, link, &to.to_string());
        }
        if let Some(connector) = self.connectors.get_mut(&id) {
            connector.links[link].state = LinkState::Live(key);
        }
        if let Some(Slot::Session(session)) = self.slots.get_mut(key) {
            session.note(&mut self.engine, event);
        }
    }

    fn attempt_failed(&mut self, key: Key, error: io::Error) {
        let Some(Slot::Connecting(mut attempt)) = self.slots.remove(key) else {
            return;
        };
        self.engine.cancel_timer(&mut attempt.timer);
        attempt.stream.abort();
        let (id, link, to) = (attempt.connector, attempt.link, attempt.to.clone());
        drop(attempt);
        self.attempt_over(id, link, &to.to_string(), error);
    }

    /// An attempt failed, whose slot is gone: on to the next address.
    pub(super) fn attempt_over(
        &mut self,
        id: ConnectorId,
        link: usize,
        to: &str,
        error: io::Error,
    ) {
        self.engine.metrics.connect_failures += 1;
        log::trace!("to={to} event=attempt-failed error={error}");
        self.try_next(id, link, Some(error));
    }

    /// A connection was gone before there was a session.
    pub(super) fn lost(&mut self, id: ConnectorId, link: usize, to: &str) {
        let error = io::Error::new(io::ErrorKind::NotConnected, format!("lost {to}"));
        self.try_next(id, link, Some(error));
    }
}
