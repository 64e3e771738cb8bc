//! Masks of client frames: where they come from and how they are applied (RFC 6455, 5.3).

use std::hash::{DefaultHasher, Hasher};

/// Where masks come from: a keyed hash of a counter, so that data chosen by others cannot be chosen to fit a mask, and so
/// that a simulation repeats itself.
#[derive(Debug)]
pub(super) struct Masks {
    seed: u64,
    count: u64,
}

impl Masks {
    pub(super) fn new(seed: u64) -> Self {
        Masks { seed, count: 0 }
    }

    pub(super) fn next(&mut self) -> [u8; 4] {
        (self.draw() as u32).to_ne_bytes()
    }

    /// Sixteen bytes for the key of a handshake.
    pub(super) fn nonce(&mut self) -> [u8; 16] {
        let halves = [self.draw(), self.draw()];
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&halves[0].to_ne_bytes());
        nonce[8..].copy_from_slice(&halves[1].to_ne_bytes());
        nonce
    }

    fn draw(&mut self) -> u64 {
        self.count += 1;
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        hasher.write_u64(self.count);
        hasher.finish()
    }
}

/// Masks or unmasks `bytes`, the first of which is byte number `at` of its frame's payload.
pub(super) fn apply(bytes: &mut [u8], mut mask: [u8; 4], at: u64) {
    mask.rotate_left((at % 4) as usize);
    let wide = u64::from_ne_bytes([
        mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3],
    ]);
    let mut words = bytes.chunks_exact_mut(8);
    for word in &mut words {
        if let Ok(eight) = <[u8; 8]>::try_from(&*word) {
            word.copy_from_slice(&(u64::from_ne_bytes(eight) ^ wide).to_ne_bytes());
        }
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standards_example() {
        // RFC 6455, 5.7: a masked "Hello".
        let mut bytes = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        apply(&mut bytes, [0x37, 0xfa, 0x21, 0x3d], 0);
        assert_eq!(&bytes, b"Hello");
    }

    #[test]
    fn any_piece_at_any_place() {
        let mask = [1, 2, 3, 4];
        let plain: Vec<u8> = (0..100).collect();
        let expected: Vec<u8> = plain
            .iter()
            .enumerate()
            .map(|(i, b)| b ^ mask[i % 4])
            .collect();
        for cut in 0..=plain.len() {
            let mut bytes = plain.clone();
            let (front, back) = bytes.split_at_mut(cut);
            apply(front, mask, 0);
            apply(back, mask, cut as u64);
            assert_eq!(bytes, expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_seed_repeats_itself_and_differs_from_others() {
        let draw = |seed| {
            let mut masks = Masks::new(seed);
            [masks.next(), masks.next(), masks.next()]
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_ne!(draw(1)[0], draw(1)[1]);
        assert_ne!(Masks::new(1).nonce(), Masks::new(2).nonce());
    }
}
