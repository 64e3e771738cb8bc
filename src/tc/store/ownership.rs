//! Who drives what when several coordinators share a store: the rules, as a value without a store.
//!
//! - A coordinator claims a node, whose number stands in the ids it makes, and renews its lease. Times are those of the
//!   store, the same for everybody.
//! - An undecided transaction belongs to the node that began it, a decided one to its driver: the node that decided it.
//! - A node whose lease is over is taken over by one whose lease is not, once: its heir owns from then on what it
//!   owned. A node that was taken over never comes back; its coordinator claims another one.
//! - A driver may offer what it cannot drive on. Who adopts it first is the driver.

use std::collections::{BTreeMap, HashMap};

use super::Global;
use crate::proto::Text;
use crate::proto::status::GlobalStatus;
use crate::xid::{NODE_MAX, node_of};

/// Nodes, their leases, and the drivers of decided transactions.
#[derive(Clone, Debug)]
pub struct Ownership {
    lease_ms: i64,
    members: BTreeMap<u16, Member>,
    /// By transaction id.
    drivers: HashMap<i64, Driver>,
}

/// A node that was claimed.
#[derive(Clone, Copy, Debug)]
struct Member {
    lease_until_ms: i64,
    heir: Option<u16>,
}

/// Who drives a decided transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Driver {
    Node(u16),
    /// Whoever has an RM of this resource.
    Offered(Text),
}

/// The node was taken over: what it owned is its heir's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced;

impl Ownership {
    /// Nobody is there. Leases last `lease_ms`.
    pub fn new(lease_ms: i64) -> Self {
        Self {
            lease_ms,
            members: BTreeMap::new(),
            drivers: HashMap::new(),
        }
    }

    /// Claims the lowest node that nobody ever had, with a lease from now on; none when there is none.
    pub fn claim(&mut self, now_ms: i64) -> Option<u16> {
        let node = (0..=NODE_MAX).find(|node| !self.members.contains_key(node))?;
        let member = Member {
            lease_until_ms: now_ms + self.lease_ms,
            heir: None,
        };
        self.members.insert(node, member);
        Some(node)
    }

    /// Renews a lease and gives its end. One that is over may be renewed as long as nobody took the node over.
    ///
    /// # Errors
    /// The node was taken over, or never claimed.
    pub fn renew(&mut self, node: u16, now_ms: i64) -> Result<i64, Replaced> {
        let until = now_ms + self.lease_ms;
        let member = self.members.get_mut(&node).filter(|m| m.heir.is_none());
        let member = member.ok_or(Replaced)?;
        member.lease_until_ms = member.lease_until_ms.max(until);
        Ok(member.lease_until_ms)
    }

    /// Whether a node was taken over, or never claimed.
    pub fn is_replaced(&self, node: u16) -> bool {
        self.members.get(&node).is_none_or(|m| m.heir.is_some())
    }

    /// The nodes that may be taken over.
    pub fn lapsed(&self, now_ms: i64) -> Vec<u16> {
        let lapsed = |m: &Member| m.heir.is_none() && m.lease_until_ms <= now_ms;
        let members = self.members.iter().filter(|(_, m)| lapsed(m));
        members.map(|(node, _)| *node).collect()
    }

    /// Makes `heir` the owner of what `node` owns. False when it may not: somebody was quicker, the lease of `node` was
    /// renewed, or that of `heir` is over.
    pub fn take_over(&mut self, heir: u16, node: u16, now_ms: i64) -> bool {
        let lives = |m: &Member| m.heir.is_none() && m.lease_until_ms > now_ms;
        if !self.members.get(&heir).is_some_and(lives) {
            return false;
        }
        match self.members.get_mut(&node) {
            Some(member) if member.heir.is_none() && member.lease_until_ms <= now_ms => {
                member.heir = Some(heir);
            }
            _ => return false,
        }
        for driver in self.drivers.values_mut() {
            if *driver == Driver::Node(node) {
                *driver = Driver::Node(heir);
            }
        }
        true
    }

    /// The node that a live transaction belongs to; none while it is on offer, or when its coordinator is no member.
    pub fn owner(&self, global: &Global) -> Option<u16> {
        let id = global.xid.transaction_id();
        match (global.status, self.drivers.get(&id)) {
            (_, Some(Driver::Node(node))) => Some(*node),
            (_, Some(Driver::Offered(_))) => None,
            (GlobalStatus::Begin, None) => self.heir_of(node_of(id)),
            (_, None) => None,
        }
    }

    /// `node` has decided a transaction: it drives it.
    pub fn decided(&mut self, transaction_id: i64, node: u16) {
        self.drivers.insert(transaction_id, Driver::Node(node));
    }

    /// Lets go of a decided transaction. False when it is not `node`'s.
    pub fn offer(&mut self, transaction_id: i64, node: u16, resource_id: &Text) -> bool {
        match self.drivers.get_mut(&transaction_id) {
            Some(driver) if *driver == Driver::Node(node) => {
                *driver = Driver::Offered(resource_id.clone());
                true
            }
            _ => false,
        }
    }

    /// Takes on a decided transaction that is on offer. True also when it is `node`'s already.
    pub fn adopt(&mut self, transaction_id: i64, node: u16) -> bool {
        match self.drivers.get_mut(&transaction_id) {
            Some(Driver::Node(driver)) => *driver == node,
            Some(driver) => {
                *driver = Driver::Node(node);
                true
            }
            None => false,
        }
    }

    /// A transaction has ended.
    pub fn ended(&mut self, transaction_id: i64) {
        self.drivers.remove(&transaction_id);
    }

    /// The transactions on offer with the resources that they need, in the order of their ids.
    pub fn offers(&self) -> Vec<(i64, Text)> {
        let offered = self.drivers.iter().filter_map(|(id, driver)| match driver {
            Driver::Offered(resource_id) => Some((*id, resource_id.clone())),
            Driver::Node(_) => None,
        });
        let mut offered: Vec<_> = offered.collect();
        offered.sort_unstable_by_key(|(id, _)| *id);
        offered
    }

    /// Who owns what a node owned.
    fn heir_of(&self, mut node: u16) -> Option<u16> {
        loop {
            match self.members.get(&node)?.heir {
                Some(heir) => node = heir,
                None => return Some(node),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xid::{IdGenerator, Xid};

    fn global(id: i64, status: GlobalStatus) -> Global {
        Global {
            xid: Xid::new("h:1", id),
            status,
            application_id: Text::new(),
            transaction_service_group: Text::new(),
            name: Text::new(),
            timeout_ms: 0,
            begin_ms: 0,
            decided_ms: 0,
            branches: Vec::new(),
            saga: false,
        }
    }

    fn begun(node: u16) -> Global {
        let id = IdGenerator::new(node, 1_700_000_000_000).next_id();
        global(id, GlobalStatus::Begin)
    }

    #[test]
    fn a_node_is_taken_over_once_and_only_after_its_lease() {
        let mut ownership = Ownership::new(10);
        let nodes = [0, 0, 5].map(|now| ownership.claim(now).unwrap());
        assert_eq!(nodes, [0, 1, 2]);
        assert!(!ownership.take_over(1, 0, 9), "its lease lasts");
        assert_eq!(ownership.renew(1, 9), Ok(19));
        assert_eq!(ownership.lapsed(10), [0]);
        assert!(
            !ownership.take_over(0, 0, 10),
            "nobody inherits from itself"
        );
        assert!(ownership.take_over(1, 0, 10));
        assert!(!ownership.take_over(2, 0, 10), "somebody was quicker");
        assert_eq!(ownership.renew(0, 10), Err(Replaced));
        assert!(ownership.is_replaced(0) && !ownership.is_replaced(1));
        assert_eq!(ownership.claim(10), Some(3), "no node is used again");
        // One that is late and was not missed goes on.
        assert_eq!(ownership.renew(2, 100), Ok(110));
        assert!(
            !ownership.take_over(1, 2, 105),
            "the heir's own lease is over"
        );
        assert_eq!(ownership.renew(7, 0), Err(Replaced));
    }

    #[test]
    fn what_a_node_owned_goes_from_heir_to_heir() {
        let mut ownership = Ownership::new(10);
        for _ in 0..3 {
            ownership.claim(0);
        }
        let undecided = begun(0);
        let driven = global(77, GlobalStatus::Committing);
        ownership.decided(77, 0);
        assert_eq!(ownership.owner(&undecided), Some(0));
        for (heir, node, now) in [(1, 0, 10), (2, 1, 30)] {
            ownership.renew(heir, now).unwrap();
            assert!(ownership.take_over(heir, node, now));
            assert_eq!(ownership.owner(&undecided), Some(heir));
            assert_eq!(ownership.owner(&driven), Some(heir));
        }
        assert_eq!(ownership.owner(&begun(9)), None, "no member began it");
    }

    #[test]
    fn an_offer_has_one_taker() {
        let mut ownership = Ownership::new(10);
        let (id, global) = (77, global(77, GlobalStatus::Committing));
        assert!(!ownership.adopt(id, 1), "it is not decided");
        ownership.decided(id, 0);
        assert!(!ownership.offer(id, 1, &"r".into()), "not its own");
        assert!(ownership.offer(id, 0, &"r".into()));
        assert!(!ownership.offer(id, 0, &"r".into()));
        assert_eq!(ownership.offers(), [(id, "r".into())]);
        assert_eq!(ownership.owner(&global), None);
        assert!(ownership.adopt(id, 1));
        assert!(ownership.adopt(id, 1), "it is its own");
        assert!(!ownership.adopt(id, 2));
        assert_eq!(ownership.owner(&global), Some(1));
        ownership.ended(id);
        assert_eq!(ownership.offers(), []);
        assert_eq!(ownership.owner(&global), None);
    }
}
