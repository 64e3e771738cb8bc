//! Who is connected: roles, resources, and which connection may finish a branch (coordinator.md 5).
//!
//! A connection serves exactly the resources it registered itself as RM. Only such connections are ever chosen for a
//! branch; a TM connection is in no route. Order among equals is round-robin, so that it depends on nothing hidden.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::coordinator::ChannelId;
use crate::proto::Text;
use crate::proto::status::BranchType;
use crate::proto::version::{ExceptionTable, PeerVersion};
use crate::xid::Xid;

/// What a connection said of itself when it registered last.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) application_id: Text,
    pub(super) transaction_service_group: Text,
    pub(super) version: PeerVersion,
    /// `application:ip:port`.
    pub(super) client_id: Text,
}

/// An open connection.
#[derive(Debug)]
struct Channel {
    peer: SocketAddr,
    context: Option<Context>,
    /// Every client id it had, oldest first.
    client_ids: Vec<Text>,
    /// The resources it registered as RM, each with the application it named then.
    resources: BTreeMap<Text, Text>,
    /// UTF-8 bytes of their ids.
    resource_bytes: usize,
    /// Branch calls in flight to it.
    calls: BTreeSet<i32>,
    /// Requests of it taken whose answers have not left.
    held: usize,
    /// It sends no more, and closes when everything it asked is answered.
    finishing: bool,
    /// It is to be closed: nothing is read from it and nothing sent to it any more.
    condemned: bool,
}

/// The connections that serve one resource.
#[derive(Debug, Default)]
struct Resource {
    hosts: BTreeMap<(Text, IpAddr), Vec<ChannelId>>,
    routes: HashMap<ChannelId, Route>,
    turn: usize,
    /// The number of the last connection that joined, among all that ever joined a resource.
    joined: u64,
    /// Whether it holds undo logs: it looks like a JDBC address, or an AT branch was registered for it.
    at: bool,
}

/// One connection for one resource.
#[derive(Debug, Default)]
struct Route {
    in_flight: usize,
    /// Transactions that want to call when there is room, each once however many branches it wants to call.
    queue: VecDeque<Xid>,
    /// The same, to be asked.
    queued: HashSet<Xid>,
}

/// Whom to call for a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// This connection.
    Channel(ChannelId),
    /// Nobody before this instant, then perhaps another host of the application.
    NotBefore(Instant),
    /// Nobody who may.
    Nobody,
}

/// What a connection leaves behind when it closes.
#[derive(Debug, Default)]
pub(super) struct Departure {
    /// Calls in flight to it.
    pub(super) calls: Vec<i32>,
    /// Transactions that waited for room on it.
    pub(super) queued: Vec<Xid>,
}

/// All connections and the index of resources.
#[derive(Debug)]
pub(super) struct Roster {
    channels: HashMap<ChannelId, Channel>,
    clients: HashMap<Text, ChannelId>,
    /// Asked with a [`Text`] wherever that is at hand: texts compare as bytes, a `&str` would be checked at each step.
    resources: BTreeMap<Text, Resource>,
    /// When clients left, oldest first, and the same by client.
    departed: VecDeque<(Instant, Text)>,
    departed_at: HashMap<Text, Instant>,
    departed_max: usize,
    /// Clients that left before and are not remembered count as gone since then.
    departed_floor: Instant,
    /// How often a connection began to serve a resource.
    joins: u64,
}

impl Roster {
    pub(super) fn new(start: Instant, departed_max: usize) -> Self {
        Self {
            channels: HashMap::new(),
            clients: HashMap::new(),
            resources: BTreeMap::new(),
            departed: VecDeque::new(),
            departed_at: HashMap::new(),
            departed_max,
            departed_floor: start,
            joins: 0,
        }
    }

    pub(super) fn open(&mut self, channel: ChannelId, peer: SocketAddr) {
        let fresh = Channel {
            peer,
            context: None,
            client_ids: Vec::new(),
            resources: BTreeMap::new(),
            resource_bytes: 0,
            calls: BTreeSet::new(),
            held: 0,
            finishing: false,
            condemned: false,
        };
        let earlier = self.channels.insert(channel, fresh);
        debug_assert!(earlier.is_none(), "{channel:?} opened twice");
    }

    /// Forgets a connection. `takeover` is how long its going is remembered.
    pub(super) fn close(
        &mut self,
        channel: ChannelId,
        now: Instant,
        takeover: Duration,
    ) -> Departure {
        let Some(gone) = self.channels.remove(&channel) else {
            return Departure::default();
        };
        let mut queued = Vec::new();
        for (resource_id, application) in &gone.resources {
            let Some(resource) = self.resources.get_mut(resource_id) else {
                continue;
            };
            let route = resource.routes.remove(&channel).unwrap_or_default();
            queued.extend(route.queue);
            resource.leave(application, gone.peer.ip(), channel);
            if resource.routes.is_empty() {
                self.resources.remove(resource_id);
            }
        }
        for client in gone.client_ids {
            if self.clients.get(&client) == Some(&channel) {
                self.clients.remove(&client);
                self.depart(client, now, takeover);
            }
        }
        Departure {
            calls: gone.calls.into_iter().collect(),
            queued,
        }
    }

    /// Takes a registration of either role: the context is that of the last one.
    pub(super) fn introduce(
        &mut self,
        channel: ChannelId,
        version: &Text,
        application_id: &Text,
        transaction_service_group: &Text,
    ) {
        let Some(entry) = self.channels.get_mut(&channel) else {
            return;
        };
        let client_id = Text::from(format!(
            "{application_id}:{}:{}",
            entry.peer.ip(),
            entry.peer.port()
        ));
        entry.context = Some(Context {
            application_id: application_id.detached(),
            transaction_service_group: transaction_service_group.detached(),
            version: PeerVersion::parse(version),
            client_id: client_id.clone(),
        });
        if !entry.client_ids.contains(&client_id) {
            // One application per connection is the rule; a peer that changes it for ever shall not grow the list.
            if entry.client_ids.len() == CLIENT_IDS_MAX {
                let oldest = entry.client_ids.remove(0);
                self.clients.remove(&oldest);
            }
            entry.client_ids.push(client_id.clone());
        }
        self.departed_at.remove(&client_id);
        self.clients.insert(client_id, channel);
    }

    /// Adds a resource to what a connection serves. True when it did not serve it before.
    pub(super) fn serve(&mut self, channel: ChannelId, resource_id: &str, at: bool) -> bool {
        let Some(entry) = self.channels.get_mut(&channel) else {
            return false;
        };
        let Some(application) = entry.context.as_ref().map(|c| c.application_id.clone()) else {
            return false;
        };
        let key = Text::from(resource_id);
        let ip = entry.peer.ip();
        let earlier = entry.resources.insert(key.clone(), application.clone());
        if earlier.is_none() {
            entry.resource_bytes += resource_id.len();
        }
        let resource = self.resources.entry(key).or_default();
        resource.at |= at;
        if let Some(earlier) = &earlier {
            if *earlier == application {
                return false;
            }
            resource.leave(earlier, ip, channel);
        }
        resource
            .hosts
            .entry((application, ip))
            .or_default()
            .push(channel);
        resource.routes.entry(channel).or_default();
        self.joins += 1;
        resource.joined = self.joins;
        earlier.is_none()
    }

    /// How many resources a connection serves, and the bytes of their ids.
    pub(super) fn served(&self, channel: ChannelId) -> (usize, usize) {
        let channel = self.channels.get(&channel);
        channel.map_or((0, 0), |c| (c.resources.len(), c.resource_bytes))
    }

    /// Whether a connection serves a resource.
    pub(super) fn serves(&self, channel: ChannelId, resource_id: &str) -> bool {
        let channel = self.channels.get(&channel);
        channel.is_some_and(|c| c.resources.contains_key(resource_id))
    }

    /// How often a connection has begun to serve a resource, whichever.
    pub(super) fn joins(&self) -> u64 {
        self.joins
    }

    /// What [`Roster::joins`] was when the last connection of a resource joined; `None` when nobody serves it.
    pub(super) fn joined(&self, resource_id: &Text) -> Option<u64> {
        self.resources.get(resource_id).map(|r| r.joined)
    }

    /// Notes that a resource holds undo logs.
    pub(super) fn mark_at(&mut self, resource_id: &Text) {
        if let Some(resource) = self.resources.get_mut(resource_id) {
            resource.at = true;
        }
    }

    pub(super) fn context(&self, channel: ChannelId) -> Option<&Context> {
        self.channels.get(&channel)?.context.as_ref()
    }

    /// Whether messages of this connection count.
    pub(super) fn is_open(&self, channel: ChannelId) -> bool {
        self.channels.get(&channel).is_some_and(|c| !c.condemned)
    }

    /// Nothing is read from or sent to this connection any more. False when that was so before.
    pub(super) fn condemn(&mut self, channel: ChannelId) -> bool {
        match self.channels.get_mut(&channel) {
            Some(channel) => !std::mem::replace(&mut channel.condemned, true),
            None => false,
        }
    }

    /// How many connections are open.
    pub(super) fn len(&self) -> usize {
        self.channels.len()
    }

    /// The numbering of exception codes on a connection; `None` when nothing can be sent to it.
    pub(super) fn table(&self, channel: ChannelId) -> Option<ExceptionTable> {
        let channel = self.channels.get(&channel).filter(|c| !c.condemned)?;
        let context = channel.context.as_ref();
        Some(context.map_or_else(ExceptionTable::default, |c| c.version.exception_table()))
    }

    /// It sends no more: whether all its answers have left.
    pub(super) fn finish(&mut self, channel: ChannelId) -> bool {
        match self.channels.get_mut(&channel) {
            Some(channel) => {
                channel.finishing = true;
                channel.held == 0
            }
            None => false,
        }
    }

    /// So many of its requests are held no longer: whether it sends no more and these were the last.
    pub(super) fn release(&mut self, channel: ChannelId, requests: usize) -> bool {
        match self.channels.get_mut(&channel) {
            Some(channel) => {
                channel.held -= requests;
                channel.finishing && channel.held == 0
            }
            None => false,
        }
    }

    /// The requests of a connection whose answers have not left; the count may be changed.
    pub(super) fn held(&mut self, channel: ChannelId) -> Option<&mut usize> {
        self.channels.get_mut(&channel).map(|c| &mut c.held)
    }

    /// Whom to call for a branch of `branch_type` registered by `client_id` on `resource_id` (coordinator.md 5.2). A client
    /// that was never seen here counts as gone since `unseen_since`, or since the start.
    pub(super) fn choose(
        &mut self,
        resource_id: &Text,
        client_id: &Text,
        branch_type: BranchType,
        now: Instant,
        takeover: Duration,
        unseen_since: Option<Instant>,
    ) -> Choice {
        if resource_id.is_empty() {
            return Choice::Nobody;
        }
        let Some(resource) = self.resources.get_mut(resource_id) else {
            return Choice::Nobody;
        };
        if let Some(channel) = self.clients.get(client_id)
            && resource.routes.contains_key(channel)
        {
            return Choice::Channel(*channel);
        }
        let client = resource.locate(client_id);
        if let Some((application, ip)) = &client {
            let host = (application.clone(), *ip);
            if let Some(channel) = resource.pick(|key| *key == host) {
                return Choice::Channel(channel);
            }
        }
        let same_application = |key: &(Text, IpAddr)| match &client {
            Some((application, _)) => key.0 == *application,
            None => false,
        };
        match branch_type {
            BranchType::Saga => any(resource.pick(|_| true)),
            BranchType::At => any(resource
                .pick(same_application)
                .or_else(|| resource.pick(|_| true))),
            BranchType::Tcc | BranchType::SagaAnnotation => any(resource.pick(same_application)),
            BranchType::Xa => {
                if self.clients.contains_key(client_id) {
                    return Choice::Nobody;
                }
                let floor = self.departed_floor;
                let unseen = unseen_since.map_or(floor, |since| since.max(floor));
                let gone = self.departed_at.get(client_id).copied();
                let from = gone.unwrap_or(unseen) + takeover;
                match resource.pick(same_application) {
                    Some(_) if now < from => Choice::NotBefore(from),
                    picked => any(picked),
                }
            }
        }
    }

    /// Whether it is remembered when a client left.
    pub(super) fn saw_leave(&self, client_id: &Text) -> bool {
        self.departed_at.contains_key(client_id)
    }

    /// One connection for each resource with undo logs, to which old ones may be announced.
    pub(super) fn undo_log_channels(&self) -> Vec<(Text, ChannelId)> {
        let since = PeerVersion::parse("0.7.1");
        let able = |channel: &&ChannelId| {
            self.context(**channel)
                .is_some_and(|c| c.version == PeerVersion::UNKNOWN || c.version >= since)
        };
        self.resources
            .iter()
            .filter(|(_, resource)| resource.at)
            .filter_map(|(id, resource)| {
                let channel = resource.hosts.values().flatten().find(able)?;
                Some((id.clone(), *channel))
            })
            .collect()
    }

    /// Takes a place on a route; false when there is no room, and `xid` waits for it.
    pub(super) fn enter(
        &mut self,
        channel: ChannelId,
        resource_id: &Text,
        max: usize,
        xid: &Xid,
    ) -> bool {
        let Some(route) = self.route(channel, resource_id) else {
            return false;
        };
        if route.in_flight >= max {
            if route.queued.insert(xid.clone()) {
                route.queue.push_back(xid.clone());
            }
            return false;
        }
        route.in_flight += 1;
        true
    }

    /// Ties a call to the connection it goes to, so that it fails with it.
    pub(super) fn attach(&mut self, channel: ChannelId, call: i32) {
        if let Some(channel) = self.channels.get_mut(&channel) {
            channel.calls.insert(call);
        }
    }

    /// Gives the place of a call back.
    pub(super) fn leave(&mut self, channel: ChannelId, resource_id: &Text, call: i32) {
        if let Some(channel) = self.channels.get_mut(&channel) {
            channel.calls.remove(&call);
        }
        if let Some(route) = self.route(channel, resource_id) {
            route.in_flight = route.in_flight.saturating_sub(1);
        }
    }

    /// The next transaction that waits on a route which has room.
    pub(super) fn next_queued(
        &mut self,
        channel: ChannelId,
        resource_id: &Text,
        max: usize,
    ) -> Option<Xid> {
        let route = self.route(channel, resource_id)?;
        if route.in_flight >= max {
            return None;
        }
        let xid = route.queue.pop_front()?;
        route.queued.remove(&xid);
        Some(xid)
    }

    fn route(&mut self, channel: ChannelId, resource_id: &Text) -> Option<&mut Route> {
        let resource = self.resources.get_mut(resource_id)?;
        resource.routes.get_mut(&channel)
    }

    fn depart(&mut self, client: Text, now: Instant, takeover: Duration) {
        while let Some((at, oldest)) = self.departed.front() {
            let over = *at + takeover <= now;
            if !over && self.departed.len() < self.departed_max {
                break;
            }
            if !over {
                self.departed_floor = self.departed_floor.max(*at);
            }
            if self.departed_at.get(oldest) == Some(at) {
                self.departed_at.remove(oldest);
            }
            self.departed.pop_front();
        }
        self.departed_at.insert(client.clone(), now);
        self.departed.push_back((now, client));
    }
}

impl Resource {
    /// The application and address in a client id, which is text like `application:ip:port`. Both parts may hold
    /// colons, so an application that serves the resource decides where to cut.
    fn locate(&self, client_id: &str) -> Option<(Text, IpAddr)> {
        let (host, _port) = client_id.rsplit_once(':')?;
        let known = self.hosts.keys().find_map(|(application, _)| {
            let ip = host.strip_prefix(application.as_str())?.strip_prefix(':')?;
            Some((application.clone(), read_ip(ip)?))
        });
        known.or_else(|| {
            let (application, ip) = host.rsplit_once(':')?;
            Some((Text::from(application), read_ip(ip)?))
        })
    }

    /// The next connection in turn among those whose host fits; of two neighbours the less busy one.
    fn pick(&mut self, fits: impl Fn(&(Text, IpAddr)) -> bool) -> Option<ChannelId> {
        let fitting = || self.hosts.iter().filter(|(key, _)| fits(key));
        let count: usize = fitting().map(|(_, channels)| channels.len()).sum();
        if count == 0 {
            return None;
        }
        let nth = |n: usize| fitting().flat_map(|(_, c)| c).nth(n % count).copied();
        let (first, second) = (nth(self.turn)?, nth(self.turn + 1)?);
        let load = |channel| self.routes.get(&channel).map_or(0, |r| r.in_flight);
        let picked = match load(second) < load(first) {
            true => second,
            false => first,
        };
        self.turn = self.turn.wrapping_add(1) % (usize::MAX / 2);
        Some(picked)
    }

    fn leave(&mut self, application: &Text, ip: IpAddr, channel: ChannelId) {
        let key = (application.clone(), ip);
        if let Some(channels) = self.hosts.get_mut(&key) {
            channels.retain(|c| *c != channel);
            if channels.is_empty() {
                self.hosts.remove(&key);
            }
        }
    }
}

fn any(channel: Option<ChannelId>) -> Choice {
    channel.map_or(Choice::Nobody, Choice::Channel)
}

/// Reads an address as Java writes it: IPv6 may carry a scope.
fn read_ip(text: &str) -> Option<IpAddr> {
    text.split('%').next()?.parse().ok()
}

/// Client ids remembered for one connection.
const CLIENT_IDS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn a_transaction_stands_in_line_once_for_all_its_branches() {
        let mut roster = Roster::new(Instant::now(), 10);
        let (channel, r) = (ChannelId(1), Text::from("r"));
        roster.open(channel, "10.0.0.1:1".parse().unwrap());
        let (application, group) = (Text::from("app"), Text::from("group"));
        roster.introduce(channel, &Text::from("2.2.0"), &application, &group);
        assert!(roster.serve(channel, "r", false));
        let (one, two) = (Xid::new("h:1", 1), Xid::new("h:1", 2));
        assert!(roster.enter(channel, &r, 1, &one));
        for xid in [&one, &one, &two, &one, &two] {
            assert!(!roster.enter(channel, &r, 1, xid));
        }
        assert_eq!(roster.next_queued(channel, &r, 1), None, "there is no room");
        roster.leave(channel, &r, 7);
        assert_eq!(roster.next_queued(channel, &r, 1), Some(one.clone()));
        // Taken out, it may line up again, at the end.
        assert!(roster.enter(channel, &r, 1, &one));
        assert!(!roster.enter(channel, &r, 1, &one));
        roster.leave(channel, &r, 7);
        assert_eq!(roster.next_queued(channel, &r, 1), Some(two));
        assert_eq!(roster.next_queued(channel, &r, 1), Some(one));
        assert_eq!(roster.next_queued(channel, &r, 1), None);
    }
}
