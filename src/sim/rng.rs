//! Seeded random numbers. The only source of chance in a simulation, so that a seed names a run.
//!
//! xoshiro256** started through splitmix64: small, quick, the same on every machine. Not for secrets.

/// A generator. Its numbers depend on its seed alone.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The generator of a seed. Any seed will do, 0 as well.
    pub fn new(seed: u64) -> Self {
        let mut state = [0; 4];
        let mut at = seed;
        for word in &mut state {
            at = at.wrapping_add(0x9e37_79b9_7f4a_7c15);
            *word = mix(at);
        }
        Rng { state }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number below `end`; 0 when `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // The bias is below end / 2^64, which no test can see.
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included. `low` when they are the wrong way round.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        if high <= low {
            return low;
        }
        match (high - low).checked_add(1) {
            Some(width) => low + self.below(width),
            None => self.bits(),
        }
    }

    /// An index below `len`; 0 when `len` is 0.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// `true` in `per_mille` of 1000 cases.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.below(1000) < u64::from(per_mille)
    }

    /// A size of any magnitude from 1 to `max`: small ones are as likely as large ones.
    pub fn size(&mut self, max: usize) -> usize {
        let max = max.max(1) as u64;
        let bits = self.below(u64::from(max.ilog2()) + 1) as u32;
        self.between(1, (2u64 << bits).min(max)) as usize
    }

    /// Puts a slice into random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }

    /// Another generator, whose numbers do not depend on how many are drawn from this one later.
    pub fn fork(&mut self) -> Rng {
        Rng::new(self.bits())
    }
}

/// Spreads every bit of a word over all of it (the last step of splitmix64).
pub(crate) fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_names_a_sequence() {
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            (0..8).map(|_| rng.bits()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        // Pinned: a seed printed by an old failure must still mean the same run.
        assert_eq!(Rng::new(0).bits(), PINNED);
    }

    const PINNED: u64 = 0x99ec_5f36_cb75_f2b4;

    #[test]
    fn numbers_stay_in_their_range_and_reach_its_ends() {
        let mut rng = Rng::new(1);
        let mut seen = [0; 5];
        for _ in 0..1000 {
            seen[rng.between(3, 7) as usize - 3] += 1;
            assert!((1..=9).contains(&rng.size(9)));
        }
        assert!(seen.iter().all(|&times| times > 100), "{seen:?}");
        assert_eq!(
            (
                rng.below(0),
                rng.between(5, 5),
                rng.between(6, 2),
                rng.size(0)
            ),
            (0, 5, 6, 1)
        );
        assert!(!(0..1000).any(|_| rng.chance(0)));
        assert!((0..1000).all(|_| rng.chance(1000)));
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<_> = (0..50).collect();
        Rng::new(3).shuffle(&mut items);
        assert!(!items.is_sorted());
        items.sort_unstable();
        assert!(items.into_iter().eq(0..50));
    }
}
