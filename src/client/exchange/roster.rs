//! The connections: one of the TM and one of the RM to each coordinator, where each of them is, and who is at home where.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::net::SessionId;
use crate::proto::version::ExceptionTable;

/// What a connection is registered as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Begins and ends global transactions.
    Tm,
    /// Registers branches and finishes them.
    Rm,
}

impl Role {
    /// For logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tm => "tm",
            Self::Rm => "rm",
        }
    }
}

/// A connection's place; kept across reconnects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkId(pub(crate) usize);

/// One connection, up or down.
#[derive(Debug)]
pub(super) struct Link {
    /// Index of its coordinator.
    pub(super) coordinator: usize,
    pub(super) role: Role,
    pub(super) state: LinkState,
    pub(super) session: Option<SessionId>,
    /// How its coordinator numbers exception codes.
    pub(super) table: ExceptionTable,
    pub(super) last_sent: Instant,
    /// When it is looked after next.
    pub(super) due: Option<Instant>,
    /// Message ids of the requests that leave with the next flush.
    pub(super) waiting: Vec<i32>,
    /// Requests under way.
    pub(super) active: usize,
    /// Why it is not there, once an attempt has failed.
    pub(super) failure: Option<String>,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkState {
    /// Not connected.
    Down,
    /// Connected, its registration under this message id not answered yet.
    Registering(i32),
    /// May be used.
    Ready,
    /// The coordinator did not identify it. It is closed later, so that it does not come back at once.
    Refused,
    /// Its coordinator has been taken off the list.
    Removed,
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Roster {
    coordinators: Vec<String>,
    links: Vec<Link>,
    sessions: BTreeMap<SessionId, LinkId>,
    /// Which coordinator gave out xids that begin so, where that is not its address.
    homes: BTreeMap<String, usize>,
}

impl Roster {
    /// Takes a new list: the places of what came, and of what left.
    pub(super) fn set_addresses(
        &mut self,
        now: Instant,
        addresses: &[String],
    ) -> (Vec<LinkId>, Vec<LinkId>) {
        let (mut came, mut left) = (Vec::new(), Vec::new());
        for address in addresses {
            if self.is_listed(address) {
                continue;
            }
            self.coordinators.push(address.clone());
            for role in [Role::Tm, Role::Rm] {
                came.push(LinkId(self.links.len()));
                self.links.push(Link {
                    coordinator: self.coordinators.len() - 1,
                    role,
                    state: LinkState::Down,
                    session: None,
                    table: ExceptionTable::default(),
                    last_sent: now,
                    due: None,
                    waiting: Vec::new(),
                    active: 0,
                    failure: None,
                });
            }
        }
        for (index, link) in self.links.iter_mut().enumerate() {
            let listed = addresses.contains(&self.coordinators[link.coordinator]);
            if !listed && link.state != LinkState::Removed {
                link.state = LinkState::Removed;
                left.push(LinkId(index));
            }
        }
        (came, left)
    }

    pub(super) fn link(&self, id: LinkId) -> &Link {
        &self.links[id.0]
    }

    pub(super) fn link_mut(&mut self, id: LinkId) -> &mut Link {
        &mut self.links[id.0]
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = LinkId> + use<> {
        (0..self.links.len()).map(LinkId)
    }

    /// The coordinator's address.
    pub(super) fn address(&self, id: LinkId) -> &str {
        &self.coordinators[self.link(id).coordinator]
    }

    /// Connections of this role that may be used.
    pub(super) fn ready(&self, role: Role) -> Vec<LinkId> {
        self.ids()
            .filter(|id| self.link(*id).role == role && self.link(*id).state == LinkState::Ready)
            .collect()
    }

    pub(super) fn open(&mut self, id: LinkId, session: SessionId) {
        self.sessions.insert(session, id);
        self.link_mut(id).session = Some(session);
    }

    /// The place of a connection that ended.
    pub(super) fn close(&mut self, session: SessionId) -> Option<LinkId> {
        let id = self.sessions.remove(&session)?;
        let link = self.link_mut(id);
        link.session = None;
        link.due = None;
        link.waiting.clear();
        if link.state != LinkState::Removed {
            link.state = LinkState::Down;
        }
        Some(id)
    }

    /// The place of a connection that is there.
    pub(super) fn of_session(&self, session: SessionId) -> Option<LinkId> {
        self.sessions.get(&session).copied()
    }

    /// Remembers where xids that begin like this one come from.
    pub(super) fn learn_home(&mut self, xid: &str, link: LinkId) {
        let Some(prefix) = home_prefix(xid) else {
            return;
        };
        let coordinator = self.link(link).coordinator;
        if self.coordinators[coordinator] == prefix || self.homes.len() >= HOMES_MAX {
            return;
        }
        if self.homes.get(prefix) != Some(&coordinator) {
            self.homes.insert(prefix.to_owned(), coordinator);
        }
    }

    /// The listed coordinator that gave out this xid, if that can be told.
    pub(super) fn home(&self, xid: &str) -> Option<usize> {
        let prefix = home_prefix(xid)?;
        let by_address = self.coordinators.iter().position(|a| a == prefix);
        let home = by_address.or_else(|| self.homes.get(prefix).copied())?;
        let listed = |link: &Link| link.coordinator == home && link.state != LinkState::Removed;
        self.links.iter().any(listed).then_some(home)
    }

    /// Why none of this role is ready, once every one of them has failed.
    pub(super) fn all_failed(&self, role: Role) -> Option<String> {
        let mut reasons = Vec::new();
        for id in self.ids().filter(|id| self.link(*id).role == role) {
            let link = self.link(id);
            match (link.state, &link.failure) {
                (LinkState::Removed, _) => {}
                (LinkState::Down | LinkState::Refused, Some(why)) => {
                    reasons.push(format!("{}: {why}", self.address(id)));
                }
                _ => return None,
            }
        }
        match reasons.is_empty() {
            true => Some("the list of coordinators is empty".to_owned()),
            false => Some(reasons.join("; ")),
        }
    }

    /// Why there is none of this role to be had at the moment, for people.
    pub(super) fn missing(&self, role: Role) -> String {
        self.all_failed(role)
            .unwrap_or_else(|| format!("no {} connection is registered yet", role.name()))
    }

    fn is_listed(&self, address: &str) -> bool {
        self.links.iter().any(|link| {
            link.state != LinkState::Removed && self.coordinators[link.coordinator] == address
        })
    }
}

/// What stands before the last colon.
fn home_prefix(xid: &str) -> Option<&str> {
    xid.rsplit_once(':').map(|(prefix, _)| prefix)
}

/// Most names of coordinators that differ from their addresses.
const HOMES_MAX: usize = 1024;
