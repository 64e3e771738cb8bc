//! Who drives what when several coordinators share a store: the rules, as a value without a store.
//!
//! - A coordinator claims a node, whose number stands in the ids it makes, and renews its lease. Times are those of the
//!   store, the same for everybody. One that was late renews its lease all the same, and has lost what others took meanwhile.
//! - A decided transaction belongs to its driver: the node that decided it. When the lease of that one is over, whoever is
//!   first takes it, each transaction for itself.
//! - An undecided transaction belongs to nobody: any coordinator may decide it. Its node begins with it again when it
//!   was late.
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
    /// Until when, by node.
    leases: BTreeMap<u16, i64>,
    /// By transaction id.
    drivers: HashMap<i64, Driver>,
}

/// Who drives a decided transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Driver {
    Node(u16),
    /// Whoever has an RM of this resource.
    Offered(Text),
}

impl Ownership {
    /// Nobody is there. Leases last `lease_ms`.
    pub fn new(lease_ms: i64) -> Self {
        Self {
            lease_ms,
            leases: BTreeMap::new(),
            drivers: HashMap::new(),
        }
    }

    /// Claims the lowest node that nobody ever had, with a lease from now on; none when there is none.
    pub fn claim(&mut self, now_ms: i64) -> Option<u16> {
        let node = (0..=NODE_MAX).find(|node| !self.leases.contains_key(node))?;
        self.leases.insert(node, now_ms + self.lease_ms);
        Some(node)
    }

    /// Renews a lease, also one that is over.
    pub fn renew(&mut self, node: u16, now_ms: i64) {
        let until = now_ms + self.lease_ms;
        let lease = self.leases.entry(node).or_insert(until);
        *lease = until.max(*lease);
    }

    /// The decided transactions whose drivers' leases are over, in the order of their ids.
    pub fn abandoned(&self, now_ms: i64) -> Vec<i64> {
        let drivers = self.drivers.iter();
        let abandoned = drivers.filter(|(_, driver)| self.is_gone(driver, now_ms));
        let mut abandoned: Vec<_> = abandoned.map(|(id, _)| *id).collect();
        abandoned.sort_unstable();
        abandoned
    }

    /// Makes `node` the driver of what another one has abandoned. False when it has not: somebody was quicker, or its lease
    /// was renewed.
    pub fn take(&mut self, transaction_id: i64, node: u16, now_ms: i64) -> bool {
        let driver = self.drivers.get(&transaction_id);
        let taken = driver.is_some_and(|driver| self.is_gone(driver, now_ms));
        if taken {
            self.drivers.insert(transaction_id, Driver::Node(node));
        }
        taken
    }

    /// The node that drives a decided transaction; none while it is on offer or undecided.
    pub fn driver(&self, transaction_id: i64) -> Option<u16> {
        match self.drivers.get(&transaction_id) {
            Some(Driver::Node(node)) => Some(*node),
            _ => None,
        }
    }

    /// Whether `node` drives a transaction, or began it and nobody has decided it.
    pub fn is_own(&self, global: &Global, node: u16) -> bool {
        let id = global.xid.transaction_id();
        match global.status {
            GlobalStatus::Begin => node_of(id) == node,
            _ => self.driver(id) == Some(node),
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

    fn is_gone(&self, driver: &Driver, now_ms: i64) -> bool {
        let Driver::Node(node) = driver else {
            return false;
        };
        self.leases.get(node).is_none_or(|until| *until < now_ms)
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
    fn what_is_abandoned_goes_to_whoever_takes_it_first() {
        let mut ownership = Ownership::new(10);
        let nodes = [0, 0, 5].map(|now| ownership.claim(now).unwrap());
        assert_eq!(nodes, [0, 1, 2], "no node is used again");
        for id in [70, 71] {
            ownership.decided(id, 0);
        }
        ownership.decided(80, 1);
        ownership.renew(1, 9);
        assert_eq!(ownership.abandoned(10), [0; 0]);
        assert!(!ownership.take(70, 1, 10), "its lease lasts");
        assert_eq!(ownership.abandoned(11), [70, 71]);
        assert!(ownership.take(70, 1, 11));
        assert!(!ownership.take(70, 2, 11), "somebody was quicker");
        assert!(ownership.take(71, 2, 11), "each for itself");
        assert!(!ownership.take(99, 2, 11), "it is not decided");
        assert_eq!([70, 71].map(|id| ownership.driver(id)), [Some(1), Some(2)]);
        assert_eq!(ownership.abandoned(16), [71], "from one to the next");
    }

    #[test]
    fn who_is_late_keeps_what_nobody_took() {
        let mut ownership = Ownership::new(10);
        for _ in 0..2 {
            ownership.claim(0);
        }
        ownership.decided(70, 0);
        ownership.decided(71, 0);
        ownership.renew(1, 20);
        assert!(ownership.take(70, 1, 20));
        ownership.renew(0, 21);
        assert!(!ownership.take(71, 1, 21));
        let own = |id| ownership.is_own(&global(id, GlobalStatus::Committing), 0);
        assert_eq!([70, 71].map(own), [false, true]);
        let undecided = begun(0);
        assert!(ownership.is_own(&undecided, 0) && !ownership.is_own(&undecided, 1));
    }

    #[test]
    fn an_offer_has_one_taker() {
        let mut ownership = Ownership::new(10);
        let id = 77;
        assert!(!ownership.adopt(id, 1), "it is not decided");
        ownership.decided(id, 0);
        assert!(!ownership.offer(id, 1, &"r".into()), "not its own");
        assert!(ownership.offer(id, 0, &"r".into()));
        assert!(!ownership.offer(id, 0, &"r".into()));
        assert_eq!(ownership.offers(), [(id, "r".into())]);
        assert_eq!(ownership.driver(id), None);
        assert!(ownership.adopt(id, 1));
        assert!(ownership.adopt(id, 1), "it is its own");
        assert!(!ownership.adopt(id, 2));
        assert_eq!(ownership.driver(id), Some(1));
        ownership.ended(id);
        assert_eq!(ownership.offers(), []);
        assert_eq!(ownership.driver(id), None);
    }
}
