//! Branch calls in flight, the ids of the coordinator's own requests, the pauses between tries, and who waits for which
//! resource.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::coordinator::ChannelId;
use crate::net::wheel::TimerId;
use crate::proto::Text;
use crate::xid::{BranchId, Xid};

/// A branch call that has no answer yet.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) xid: Xid,
    pub(super) branch_id: BranchId,
    /// Its place in the drive of `xid`.
    pub(super) step: usize,
    pub(super) channel: ChannelId,
    pub(super) resource_id: Text,
    pub(super) timer: TimerId,
}

/// All calls in flight.
#[derive(Debug)]
pub(super) struct Calls {
    in_flight: HashMap<i32, Call>,
    last_id: i32,
    jitter: u64,
    waiting: BTreeMap<Text, BTreeSet<Xid>>,
    /// Transactions whose resource came back, with the resource.
    pub(super) woken: VecDeque<(Text, Xid)>,
    /// A timer for `woken` is set.
    pub(super) waking: bool,
}

impl Calls {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            in_flight: HashMap::new(),
            last_id: FIRST_ID - 1,
            jitter: seed,
            waiting: BTreeMap::new(),
            woken: VecDeque::new(),
            waking: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.in_flight.len()
    }

    /// The id of the next request. Ids start at 2^30: some clients keep the coordinator's requests and their own in one
    /// table by id (peers.md 2). None is used again while its call is in flight.
    pub(super) fn next_id(&mut self) -> i32 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(FIRST_ID);
            if !self.in_flight.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }

    pub(super) fn insert(&mut self, id: i32, call: Call) {
        self.in_flight.insert(id, call);
    }

    /// The call that an answer belongs to: id, xid and branch all have to fit.
    pub(super) fn matches(&self, id: i32, xid: &str, branch_id: i64) -> bool {
        self.in_flight
            .get(&id)
            .is_some_and(|c| c.xid.as_text() == xid && c.branch_id.0 == branch_id)
    }

    pub(super) fn remove(&mut self, id: i32) -> Option<Call> {
        self.in_flight.remove(&id)
    }

    /// The pause before the next try after `failures` tries: doubling from `first` to `max`, give or take a tenth, so
    /// that transactions that failed together do not all come back together.
    pub(super) fn pause(&mut self, failures: u32, first: Duration, max: Duration) -> Duration {
        let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let base = doubled.min(max);
        let tenth = u64::try_from(base.as_millis() / 10).unwrap_or(u64::MAX / 4);
        let jitter = Duration::from_millis(self.random() % (2 * tenth + 1));
        (base + jitter)
            .saturating_sub(Duration::from_millis(tenth))
            .min(max)
            .max(Duration::from_millis(1))
    }

    /// A transaction waits for a resource.
    pub(super) fn wait_for(&mut self, resource_id: &Text, xid: &Xid) {
        match self.waiting.get_mut(resource_id) {
            Some(waiting) => {
                waiting.insert(xid.clone());
            }
            None => {
                let waiting = BTreeSet::from([xid.clone()]);
                self.waiting.insert(resource_id.clone(), waiting);
            }
        }
    }

    pub(super) fn wait_no_more(&mut self, resource_id: &Text, xid: &Xid) {
        if let Some(waiting) = self.waiting.get_mut(resource_id) {
            waiting.remove(xid);
            if waiting.is_empty() {
                self.waiting.remove(resource_id);
            }
        }
    }

    /// Who waits for which resource.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn waiting(&self) -> impl Iterator<Item = (&Text, &Xid)> {
        let all = self.waiting.iter();
        all.flat_map(|(resource, xids)| xids.iter().map(move |xid| (resource, xid)))
    }

    /// A resource came back: whoever waits for it goes to `woken`. False when nobody does.
    pub(super) fn wake(&mut self, resource_id: &str) -> bool {
        let Some((resource, waiting)) = self.waiting.remove_entry(resource_id) else {
            return false;
        };
        let woken = waiting.into_iter().map(|xid| (resource.clone(), xid));
        self.woken.extend(woken);
        true
    }

    /// The next number of a splitmix64 sequence.
    fn random(&mut self) -> u64 {
        self.jitter = self.jitter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.jitter;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The first id of the coordinator's own requests.
const FIRST_ID: i32 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_in_the_upper_half_and_wrap_within_it() {
        let mut calls = Calls::new(0);
        assert_eq!(calls.next_id(), FIRST_ID);
        calls.last_id = i32::MAX - 1;
        assert_eq!(calls.next_id(), i32::MAX);
        assert_eq!(calls.next_id(), FIRST_ID);
    }

    #[test]
    fn pauses_double_to_the_most_and_spread() {
        let (first, max) = (Duration::from_secs(1), Duration::from_secs(10));
        let mut calls = Calls::new(7);
        let mut seen = BTreeSet::new();
        for _ in 0..100 {
            for (failures, middle) in [(1, 1000), (2, 2000), (4, 8000)] {
                let pause = calls.pause(failures, first, max).as_millis();
                assert!(
                    (middle * 9 / 10..=middle * 11 / 10).contains(&pause),
                    "{pause}"
                );
                seen.insert(pause);
            }
            for failures in [5, 30, u32::MAX] {
                let pause = calls.pause(failures, first, max);
                assert!(pause <= max && pause >= max * 9 / 10);
            }
        }
        assert!(seen.len() > 100);
        assert!(calls.pause(1, Duration::ZERO, max) > Duration::ZERO);
    }
}
