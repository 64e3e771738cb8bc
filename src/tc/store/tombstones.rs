//! What is remembered of transactions that ended, oldest first out.

use std::collections::{BTreeSet, HashMap};

use super::{Seq, Tombstone};
use crate::xid::Xid;

/// Tombstones by transaction id. The address part of their xids is kept once, since a store sees very few.
#[derive(Debug, Default)]
pub(crate) struct Tombstones {
    by_id: HashMap<i64, Entry>,
    /// (ended, transaction id).
    by_age: BTreeSet<(i64, i64)>,
    addresses: Vec<Box<str>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    tombstone: Tombstone,
    address: u32,
    after: Seq,
}

impl Tombstones {
    pub(crate) fn insert(&mut self, address: &str, id: i64, tombstone: Tombstone, after: Seq) {
        let known = self.addresses.iter().position(|a| &**a == address);
        let index = known.unwrap_or_else(|| {
            self.addresses.push(address.into());
            self.addresses.len() - 1
        });
        let entry = Entry {
            tombstone,
            address: u32::try_from(index).expect("a store sees few addresses"),
            after,
        };
        if let Some(old) = self.by_id.insert(id, entry) {
            self.by_age.remove(&(old.tombstone.ended_ms, id));
        }
        self.by_age.insert((tombstone.ended_ms, id));
    }

    pub(crate) fn get(&self, xid: &Xid) -> Option<(Tombstone, Seq)> {
        let entry = self.by_id.get(&xid.transaction_id())?;
        let address = &self.addresses[entry.address as usize];
        (**address == *address_of(xid)).then_some((entry.tombstone, entry.after))
    }

    pub(crate) fn has_id(&self, transaction_id: i64) -> bool {
        self.by_id.contains_key(&transaction_id)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Forgets the oldest; false when there is none.
    pub(crate) fn forget_oldest(&mut self) -> bool {
        match self.by_age.pop_first() {
            Some((_, id)) => self.by_id.remove(&id).is_some(),
            None => false,
        }
    }

    /// Up to when to forget, so that not many more than `max` go that ended before `before_ms`; none when there is none.
    pub(crate) fn some_before(&self, before_ms: i64, max: usize) -> Option<i64> {
        let (oldest, _) = self
            .by_age
            .first()
            .filter(|(ended, _)| *ended < before_ms)?;
        // What ended within one millisecond goes together.
        let kept = self.by_age.iter().nth(max).map(|(ended, _)| *ended);
        Some(kept.map_or(before_ms, |ended| before_ms.min(ended.max(*oldest + 1))))
    }

    pub(crate) fn forget_before(&mut self, before_ms: i64) {
        while self
            .by_age
            .first()
            .is_some_and(|(ended, _)| *ended < before_ms)
        {
            self.forget_oldest();
        }
    }

    /// Every tombstone, oldest first: address, transaction id, tombstone.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, i64, &Tombstone)> {
        self.by_age.iter().map(|(_, id)| {
            let entry = &self.by_id[id];
            (
                &*self.addresses[entry.address as usize],
                *id,
                &entry.tombstone,
            )
        })
    }
}

/// The part of an xid before its last colon.
pub(crate) fn address_of(xid: &Xid) -> &str {
    xid.as_text()
        .rsplit_once(':')
        .map_or("", |(address, _)| address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tc::store::End;

    #[test]
    fn one_sweep_forgets_a_bounded_share_and_the_next_one_goes_on() {
        let mut tombstones = Tombstones::default();
        for id in 0..100 {
            let tombstone = Tombstone {
                end: End::Committed,
                decided_ms: 0,
                ended_ms: if id < 50 { id } else { 50 },
            };
            tombstones.insert("h:1", id + 1, tombstone, Seq(0));
        }
        let mut left = Vec::new();
        while let Some(before_ms) = tombstones.some_before(51, 20) {
            assert!(before_ms <= 51);
            tombstones.forget_before(before_ms);
            left.push(tombstones.len());
        }
        assert_eq!(
            left,
            [80, 60, 50, 0],
            "what ended in one millisecond goes at once"
        );
        assert_eq!(tombstones.some_before(51, 20), None);
    }
}
