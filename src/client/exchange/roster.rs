//! The connections: one of the TM and one of the RM to each coordinator, where each of them is, and who is at home where.
//!
//! Coordinators that leave the list are forgotten with their last connection, so that lists that change for years leave nothing.

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
    /// Number of its coordinator.
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
    /// Their addresses. One that left and came back is another one.
    coordinators: BTreeMap<usize, String>,
    links: BTreeMap<LinkId, Link>,
    next_coordinator: usize,
    next_link: usize,
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
            let coordinator = self.next_coordinator;
            self.next_coordinator += 1;
            self.coordinators.insert(coordinator, address.clone());
            for role in [Role::Tm, Role::Rm] {
                let id = LinkId(self.next_link);
                self.next_link += 1;
                came.push(id);
                let link = Link {
                    coordinator,
                    role,
                    state: LinkState::Down,
                    session: None,
                    table: ExceptionTable::default(),
                    last_sent: now,
                    due: None,
                    waiting: Vec::new(),
                    active: 0,
                    failure: None,
                };
                self.links.insert(id, link);
            }
        }
        for (id, link) in &mut self.links {
            let listed = addresses.contains(&self.coordinators[&link.coordinator]);
            if !listed && link.state != LinkState::Removed {
                link.state = LinkState::Removed;
                left.push(*id);
            }
        }
        for id in &left {
            self.forget_idle(*id);
        }
        (came, left)
    }

    /// Forgets a place whose coordinator has left, once its connection has ended and nothing is under way on it; with the last
    /// one, the coordinator and the names it was known by.
    pub(super) fn forget_idle(&mut self, id: LinkId) {
        let idle = |link: &Link| {
            link.state == LinkState::Removed && link.session.is_none() && link.active == 0
        };
        if !self.links.get(&id).is_some_and(idle) {
            return;
        }
        let Some(link) = self.links.remove(&id) else {
            return;
        };
        let gone = link.coordinator;
        if self.links.values().all(|link| link.coordinator != gone) {
            self.coordinators.remove(&gone);
            self.homes.retain(|_, home| *home != gone);
        }
    }

    /// Whether this is the place of a connection, and of a coordinator that is on the list.
    pub(super) fn is_wanted(&self, id: LinkId) -> bool {
        let link = self.links.get(&id);
        link.is_some_and(|link| link.state != LinkState::Removed)
    }

    pub(super) fn link(&self, id: LinkId) -> &Link {
        &self.links[&id]
    }

    pub(super) fn link_mut(&mut self, id: LinkId) -> &mut Link {
        let link = self.links.get_mut(&id);
        link.expect("a place is forgotten after all that names it")
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = LinkId> {
        self.links.keys().copied()
    }

    /// The coordinator's address.
    pub(super) fn address(&self, id: LinkId) -> &str {
        &self.coordinators[&self.link(id).coordinator]
    }

    /// Connections of this role that may be used.
    pub(super) fn ready(&self, role: Role) -> impl Iterator<Item = LinkId> {
        let ready = move |link: &Link| link.role == role && link.state == LinkState::Ready;
        let links = self.links.iter().filter(move |(_, link)| ready(link));
        links.map(|(id, _)| *id)
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
        if self.coordinators[&coordinator] == prefix || self.homes.len() >= HOMES_MAX {
            return;
        }
        if self.homes.get(prefix) != Some(&coordinator) {
            self.homes.insert(prefix.to_owned(), coordinator);
        }
    }

    /// The listed coordinator that gave out this xid, if that can be told.
    pub(super) fn home(&self, xid: &str) -> Option<usize> {
        let prefix = home_prefix(xid)?;
        let mut listed = self
            .links
            .values()
            .filter(|link| link.state != LinkState::Removed);
        let known = self.homes.get(prefix);
        // A coordinator that came back may stand beside what is left of its former connections.
        let home = listed
            .clone()
            .find(|link| self.coordinators[&link.coordinator] == prefix);
        let home = home.or_else(|| listed.find(|link| Some(&link.coordinator) == known));
        home.map(|link| link.coordinator)
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
        self.links.values().any(|link| {
            link.state != LinkState::Removed && self.coordinators[&link.coordinator] == address
        })
    }
}

/// What stands before the last colon.
fn home_prefix(xid: &str) -> Option<&str> {
    xid.rsplit_once(':').map(|(prefix, _)| prefix)
}

/// Most names of coordinators that differ from their addresses.
const HOMES_MAX: usize = 1024;
