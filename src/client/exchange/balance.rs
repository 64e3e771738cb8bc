//! Which of several coordinators is asked (client.md 1.5). Pure: candidates in, one of them out.

use sha2::{Digest, Sha256};

use super::chance::Chance;
use crate::client::LoadBalance;

/// A coordinator that can be asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    /// Its address, as configured.
    pub(super) address: &'a str,
    /// Requests under way to it.
    pub(super) active: usize,
}

/// The strategy with what it remembers.
#[derive(Debug)]
pub(super) struct Balancer {
    strategy: LoadBalance,
    chance: Chance,
    turn: usize,
}

impl Balancer {
    pub(super) fn new(strategy: LoadBalance, chance: Chance) -> Self {
        Self {
            strategy,
            chance,
            turn: 0,
        }
    }

    /// The index of the one to ask; None without candidates. `key` is the xid, if the request has one; `home` the candidate
    /// that began it.
    pub(super) fn choose(
        &mut self,
        candidates: &[Candidate<'_>],
        key: Option<&str>,
        home: Option<usize>,
    ) -> Option<usize> {
        if candidates.len() < 2 {
            return candidates.len().checked_sub(1);
        }
        Some(match (self.strategy, key) {
            (LoadBalance::Xid, _) => match home {
                Some(home) => home,
                None => self.chance.below(candidates.len()),
            },
            (LoadBalance::RoundRobin, _) => {
                self.turn = self.turn.wrapping_add(1);
                self.turn % candidates.len()
            }
            (LoadBalance::LeastActive, _) => self.least_active(candidates),
            (LoadBalance::ConsistentHash { virtual_nodes }, Some(key)) => {
                on_ring(candidates, key, virtual_nodes)
            }
            (LoadBalance::Random | LoadBalance::ConsistentHash { .. }, _) => {
                self.chance.below(candidates.len())
            }
        })
    }

    fn least_active(&mut self, candidates: &[Candidate<'_>]) -> usize {
        let least = candidates.iter().map(|c| c.active).min().unwrap_or(0);
        let idle: Vec<usize> = (0..candidates.len())
            .filter(|i| candidates[*i].active == least)
            .collect();
        idle[self.chance.below(idle.len())]
    }
}

/// The candidate with the first point at or after the key's, around the ring.
fn on_ring(candidates: &[Candidate<'_>], key: &str, virtual_nodes: u32) -> usize {
    let at = point(key);
    let mut best = None;
    for (index, candidate) in candidates.iter().enumerate() {
        for node in 0..virtual_nodes.max(1) {
            let distance = point(&format!("{}{node}", candidate.address)).wrapping_sub(at);
            if best.is_none_or(|(least, _)| distance < least) {
                best = Some((distance, index));
            }
        }
    }
    best.map_or(0, |(_, index)| index)
}

fn point(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    digest[..8]
        .iter()
        .fold(0, |all, byte| all << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates<'a>(addresses: &[&'a str]) -> Vec<Candidate<'a>> {
        addresses
            .iter()
            .map(|address| Candidate { address, active: 0 })
            .collect()
    }

    fn balancer(strategy: LoadBalance) -> Balancer {
        Balancer::new(strategy, Chance::new(5))
    }

    #[test]
    fn xid_keeps_to_the_home_and_is_random_without() {
        let all = candidates(&["a:1", "b:2", "c:3"]);
        let mut balancer = balancer(LoadBalance::Xid);
        for _ in 0..20 {
            assert_eq!(balancer.choose(&all, Some("b:2:77"), Some(1)), Some(1));
        }
        let mut seen = [false; 3];
        for _ in 0..50 {
            seen[balancer.choose(&all, None, None).expect("one")] = true;
        }
        assert_eq!(seen, [true; 3]);
        assert_eq!(balancer.choose(&all[..1], None, None), Some(0));
        assert_eq!(balancer.choose(&[], None, None), None);
    }

    #[test]
    fn round_robin_visits_each_in_turn_and_survives_the_wrap() {
        let all = candidates(&["a", "b", "c"]);
        let mut balancer = balancer(LoadBalance::RoundRobin);
        balancer.turn = usize::MAX - 2;
        let picks: Vec<_> = (0..6)
            .filter_map(|_| balancer.choose(&all, None, None))
            .collect();
        for pick in 0..3 {
            assert!(picks.contains(&pick), "{picks:?}");
        }
    }

    #[test]
    fn least_active_takes_the_idlest() {
        let mut all = candidates(&["a", "b", "c"]);
        all[0].active = 2;
        all[1].active = 1;
        all[2].active = 3;
        let mut balancer = balancer(LoadBalance::LeastActive);
        assert_eq!(balancer.choose(&all, None, None), Some(1));
    }

    #[test]
    fn a_hash_moves_only_the_keys_of_a_coordinator_that_left() {
        let mut balancer = balancer(LoadBalance::ConsistentHash { virtual_nodes: 10 });
        let all = candidates(&["a:1", "b:2", "c:3"]);
        let fewer = candidates(&["a:1", "b:2"]);
        let (mut moved, mut used) = (0, [0; 3]);
        for number in 0..200 {
            let key = format!("x:1:{number}");
            let before = balancer.choose(&all, Some(&key), None).expect("one");
            used[before] += 1;
            let after = balancer.choose(&fewer, Some(&key), None).expect("one");
            if before == 2 {
                moved += 1;
            } else {
                assert_eq!(before, after, "{key}");
            }
        }
        assert!(moved > 0 && used.iter().all(|n| *n > 10), "{used:?}");
    }
}
