//! Sessions over datagrams: bound sockets that hear everybody, and those with one peer (network.md A.1, B.25).
//!
//! There is nothing to accept and nothing to wait for: the session is there when the socket is.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::accepting::Arrival;
use super::{Reactor, socket_options};
use crate::net::address::Address;
use crate::net::config::ListenOptions;
use crate::net::connector::LinkState;
use crate::net::driver::{Clock, Driver};
use crate::net::endpoint::Origin;
use crate::net::handler::Handler;
use crate::net::id::{ConnectorId, ListenerId};
use crate::net::transport::{CONNECT_PING, Port, Transport};

impl<H: Handler, D: Driver, C: Clock> Reactor<H, D, C> {
    /// Binds a socket for datagrams and opens its session.
    pub(super) fn bind(
        &mut self,
        at: SocketAddr,
        options: &ListenOptions,
    ) -> io::Result<ListenerId> {
        if self.sessions + self.handshakes >= self.engine.limits.sessions {
            let what = "too many sessions";
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, what));
        }
        let (config, listener_options) = self.listener_options(options);
        let key = self.slots.hold();
        let socket = match self
            .driver
            .bind_datagram(at, &listener_options, key.token())
        {
            Ok(socket) => socket,
            Err(e) => {
                self.slots.release(key);
                return Err(e);
            }
        };
        self.engine.metrics.registrations += 1;
        let id = ListenerId(self.engine.shared.next_serial());
        let nobody = match at {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let arrival = Arrival {
            remote: Address::from((nobody, 0)),
            origin: Origin::Bound(id),
            name: options.name.as_str().into(),
            config,
        };
        self.listeners.insert(id, key);
        if self.open(key, Transport::datagram(Port::new(socket, None)), arrival) {
            Ok(id)
        } else {
            self.listeners.remove(&id);
            Err(io::Error::other("the session could not be made"))
        }
    }

    /// Makes a link's session with one peer.
    pub(super) fn associate(
        &mut self,
        id: ConnectorId,
        link: usize,
        to: SocketAddr,
    ) -> io::Result<()> {
        let Some(connector) = self.connectors.get(&id) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let greeting = connector.options.connect_ping.then_some(CONNECT_PING);
        let arrival = Arrival {
            remote: Address::Ip(to),
            origin: Origin::Connected(id),
            name: Arc::clone(&connector.name),
            config: connector.session.clone(),
        };
        let options = socket_options(&arrival.config);
        let key = self.slots.hold();
        self.engine.metrics.connects += 1;
        let socket = match self.driver.connect_datagram(to, &options, key.token()) {
            Ok(socket) => socket,
            Err(e) => {
                self.engine.metrics.connect_failures += 1;
                self.slots.release(key);
                return Err(e);
            }
        };
        let port = Port::new(socket, greeting);
        if !self.open(key, Transport::datagram(port), arrival) {
            return Err(io::Error::other("the session could not be made"));
        }
        if let Some(connector) = self.connectors.get_mut(&id) {
            connector.links[link].state = LinkState::Live(key);
        }
        Ok(())
    }
}
