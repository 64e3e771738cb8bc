//! Waiting times between attempts to connect (network.md B.10). A pure value; its randomness has a seed.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use super::config::{Backoff, Growth};

/// The attempts of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Retry {
    policy: Backoff,
    failures: u32,
    random: u64,
}

impl Retry {
    /// No attempt yet. `stream` makes the connections of one connector jitter apart.
    pub(crate) fn new(policy: Backoff, stream: u64) -> Self {
        let seed = match policy.seed {
            0 => RandomState::new().build_hasher().finish(),
            seed => seed,
        };
        Retry {
            policy,
            failures: 0,
            random: seed ^ stream.wrapping_mul(STEP),
        }
    }

    /// An attempt or its connection failed: how long to wait before the next one. `None`: give up.
    pub(crate) fn failed(&mut self) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        if self
            .policy
            .attempts
            .is_some_and(|limit| self.failures >= limit)
        {
            return None;
        }
        let Backoff { base, cap, .. } = self.policy;
        Some(match self.policy.growth {
            Growth::Linear => base.saturating_mul(self.failures.min(LINEAR_MAX)).min(cap),
            Growth::Exponential => {
                let doubled = 2u32.checked_pow(self.failures - 1).unwrap_or(u32::MAX);
                self.jitter(base.saturating_mul(doubled).min(cap))
            }
        })
    }

    /// The peer has spoken: the next failure is the first one again.
    pub(crate) fn heard(&mut self) {
        self.failures = 0;
    }

    /// Anything from nothing to the whole of `step`.
    fn jitter(&mut self, step: Duration) -> Duration {
        let nanos = u64::try_from(step.as_nanos()).unwrap_or(u64::MAX);
        let part = (u128::from(self.next()) * (u128::from(nanos) + 1)) >> 64;
        Duration::from_nanos(part as u64)
    }

    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(STEP);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

const LINEAR_MAX: u32 = 10;

/// Increment of the generator (splitmix64).
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn policy(growth: Growth) -> Backoff {
        Backoff {
            growth,
            base: 300 * MS,
            cap: 30_000 * MS,
            attempts: None,
            seed: 7,
        }
    }

    #[test]
    fn exponential_steps_double_to_the_cap_with_full_jitter() {
        let mut largest = [Duration::ZERO; 12];
        let mut smallest = [Duration::MAX; 12];
        for stream in 0..2000 {
            let mut retry = Retry::new(policy(Growth::Exponential), stream);
            for i in 0..12 {
                let wait = retry.failed().expect("no limit");
                assert!(wait <= (300 * MS * 2u32.pow(i as u32)).min(30_000 * MS));
                largest[i] = largest[i].max(wait);
                smallest[i] = smallest[i].min(wait);
            }
        }
        assert!(largest[0] > 290 * MS && smallest[0] < 10 * MS);
        assert!(largest[3] > 2300 * MS && smallest[3] < 100 * MS);
        assert!(largest[11] > 29_000 * MS && smallest[11] < 500 * MS);
    }

    #[test]
    fn one_seed_one_sequence_and_a_word_of_the_peer_resets() {
        let mut a = Retry::new(policy(Growth::Exponential), 1);
        let mut b = Retry::new(policy(Growth::Exponential), 1);
        let mut c = Retry::new(policy(Growth::Exponential), 2);
        let sequence = |r: &mut Retry| (0..8).map(|_| r.failed()).collect::<Vec<_>>();
        let (x, y, z) = (sequence(&mut a), sequence(&mut b), sequence(&mut c));
        assert_eq!(x, y);
        assert_ne!(x, z);
        a.heard();
        assert!(a.failed().expect("no limit") <= 300 * MS);
    }

    #[test]
    fn linear_grows_to_ten_times_the_base() {
        let mut retry = Retry::new(policy(Growth::Linear), 0);
        let waits: Vec<_> = (0..12).map(|_| retry.failed().expect("no limit")).collect();
        assert_eq!(
            (waits[0], waits[1], waits[9], waits[11]),
            (300 * MS, 600 * MS, 3000 * MS, 3000 * MS)
        );
    }

    #[test]
    fn gives_up_after_the_attempts_allowed() {
        let mut retry = Retry::new(
            Backoff {
                attempts: Some(3),
                ..policy(Growth::Linear)
            },
            0,
        );
        assert!(retry.failed().is_some() && retry.failed().is_some());
        assert_eq!(retry.failed(), None);
    }
}
