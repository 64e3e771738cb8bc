//! A connector keeps a number of connections to one endpoint alive (network.md B.8 to B.10). This file holds its state;
//! the reactor moves it.
//!
//! Each link resolves, connects, lives, waits and starts again. It ends for good when we close its session gracefully,
//! when its attempts are used up, or with its connector.

use std::collections::VecDeque;
use std::sync::Arc;

use super::address::Address;
use super::backoff::Retry;
use super::config::{ConnectOptions, SessionConfig};
use super::endpoint::{Endpoint, HostPort};
use super::id::ConnectorId;
use super::slots::Key;
use super::transport::plan::Plan;
use super::wheel::TimerId;

/// A connector as the reactor sees it.
pub(crate) struct Connector {
    pub(crate) to: Endpoint,
    pub(crate) options: ConnectOptions,
    pub(crate) name: Arc<str>,
    pub(crate) session: SessionConfig,
    pub(crate) links: Vec<Link>,
    pub(crate) plan: Plan,
}

/// One of a connector's connections.
pub(crate) struct Link {
    pub(crate) retry: Retry,
    pub(crate) state: LinkState,
    /// Addresses still to be tried in this round.
    pub(crate) addresses: VecDeque<Address>,
}

/// Where a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// About to start, or between two steps.
    Idle,
    Resolving,
    Connecting(Key),
    Live(Key),
    Waiting(TimerId),
    Ended,
}

/// An undecided attempt.
pub(crate) struct Connecting<S> {
    pub(crate) stream: S,
    pub(crate) to: Address,
    pub(crate) connector: ConnectorId,
    pub(crate) link: usize,
    pub(crate) timer: Option<TimerId>,
}

impl Connector {
    pub(crate) fn new(
        to: Endpoint,
        options: ConnectOptions,
        session: SessionConfig,
        plan: Plan,
    ) -> Self {
        let link = |i| Link {
            retry: Retry::new(options.backoff, i as u64),
            state: LinkState::Idle,
            addresses: VecDeque::new(),
        };
        let links = (0..options.connections).map(link).collect();
        Connector {
            to,
            name: options.name.as_str().into(),
            session,
            links,
            plan,
            options,
        }
    }

    /// The name to be resolved before each round, or the address that is known.
    pub(crate) fn target(&self) -> Target<'_> {
        match &self.to {
            Endpoint::Unix(address) => Target::Address(Address::Unix(address.clone())),
            Endpoint::Tcp(at) | Endpoint::Tls(at) | Endpoint::Udp(at) => Target::of(at),
            Endpoint::Ws(at) | Endpoint::Wss(at) => Target::of(&at.at),
        }
    }

    /// The link whose session or attempt lies in this slot.
    pub(crate) fn link_of(&self, key: Key) -> Option<usize> {
        let holds = |state| state == LinkState::Live(key) || state == LinkState::Connecting(key);
        self.links.iter().position(|link| holds(link.state))
    }

    /// Whether no link will ever live again.
    pub(crate) fn is_over(&self) -> bool {
        self.links.iter().all(|link| link.state == LinkState::Ended)
    }
}

/// What a connector connects to.
pub(crate) enum Target<'a> {
    Address(Address),
    Name(&'a str, u16),
}

impl<'a> Target<'a> {
    fn of(at: &'a HostPort) -> Self {
        match at {
            HostPort::Address(address) => Target::Address(Address::Ip(*address)),
            HostPort::Name(name, port) => Target::Name(name, *port),
        }
    }
}
