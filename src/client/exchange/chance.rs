//! Randomness from a seed (splitmix64), for jitter and choices.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// A source of numbers that a seed decides.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// Seed 0 takes one from the operating system.
    pub(crate) fn new(seed: u64) -> Self {
        Self(match seed {
            0 => RandomState::new().build_hasher().finish(),
            seed => seed,
        })
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// Anything from half of `step` to the whole of it.
    pub(crate) fn part_of(&mut self, step: Duration) -> Duration {
        let nanos = u64::try_from(step.as_nanos()).unwrap_or(u64::MAX);
        let half = nanos / 2;
        let more = (u128::from(self.next()) * (u128::from(nanos - half) + 1)) >> 64;
        Duration::from_nanos(half.saturating_add(more as u64))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_its_bounds_and_repeats_with_its_seed() {
        let (mut one, mut other) = (Chance::new(7), Chance::new(7));
        let step = Duration::from_millis(100);
        let mut seen = [false; 3];
        for _ in 0..100 {
            let number = one.below(3);
            seen[number] = true;
            assert_eq!(number, other.below(3));
            let part = one.part_of(step);
            assert!(part >= step / 2 && part <= step, "{part:?}");
            assert_eq!(part, other.part_of(step));
        }
        assert_eq!(seen, [true; 3]);
    }
}
