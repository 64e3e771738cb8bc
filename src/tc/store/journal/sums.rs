//! Checksums of any parts of some bytes, each in a time that does not depend on its length.
//!
//! Behind the end of a segment lies what clients once sent, and they may have sent what looks like the heads of long
//! frames. To check each of those by reading all that it claims would take quadratic time. CRCs are linear: the one of a
//! part follows from those of the bytes up to its start and up to its end.

/// A linear map of checksums: the images of the 32 bits.
type Matrix = [u32; 32];

/// Checksums (CRC-32C) of the parts of some bytes from a start on.
pub(super) struct Sums<'a> {
    bytes: &'a [u8],
    start: usize,
    /// Of the bytes from the start to each multiple of [`STRIDE`] behind it.
    heads: Vec<u32>,
    /// At `k`: what appending 2^k zero bytes does to a checksum.
    zeros: Vec<Matrix>,
}

impl<'a> Sums<'a> {
    /// Reads the bytes from `start` on once.
    pub(super) fn new(bytes: &'a [u8], start: usize) -> Self {
        let mut heads = vec![0];
        let mut sum = 0;
        for part in bytes[start..].chunks_exact(STRIDE) {
            sum = crc32c::crc32c_append(sum, part);
            heads.push(sum);
        }
        let mut zeros = vec![zero_byte()];
        while (bytes.len() - start) >> zeros.len() > 0 {
            zeros.push(square(&zeros[zeros.len() - 1]));
        }
        Self {
            bytes,
            start,
            heads,
            zeros,
        }
    }

    /// What [`crc32c::crc32c_append`] gives for `sum` and the bytes from `from` to `to`, neither before the start.
    pub(super) fn append(&self, sum: u32, from: usize, to: usize) -> u32 {
        self.shift(sum ^ self.head(from), to - from) ^ self.head(to)
    }

    /// Of the bytes from the start to `to`.
    fn head(&self, to: usize) -> u32 {
        let index = (to - self.start) / STRIDE;
        let rest = &self.bytes[self.start + index * STRIDE..to];
        crc32c::crc32c_append(self.heads[index], rest)
    }

    fn shift(&self, sum: u32, bytes: usize) -> u32 {
        let powers = self.zeros.iter().enumerate();
        let needed = powers.filter(|(k, _)| (bytes >> k) & 1 == 1);
        needed.fold(sum, |sum, (_, zeros)| apply(zeros, sum))
    }
}

fn apply(matrix: &Matrix, mut sum: u32) -> u32 {
    let mut image = 0;
    while sum != 0 {
        image ^= matrix[sum.trailing_zeros() as usize];
        sum &= sum - 1;
    }
    image
}

fn square(matrix: &Matrix) -> Matrix {
    matrix.map(|image| apply(matrix, image))
}

/// What one zero byte does: eight times what one zero bit does.
fn zero_byte() -> Matrix {
    let bit = std::array::from_fn(|n| match n {
        0 => POLYNOMIAL,
        n => 1 << (n - 1),
    });
    square(&square(&square(&bit)))
}

/// Castagnoli's, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;
const STRIDE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_any_part_is_that_of_its_bytes() {
        let mut random = 7_u32;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 24) as u8
        })
        .take(700)
        .collect();
        for start in [0, 8, 640, 700] {
            let sums = Sums::new(&bytes, start);
            for from in start..=bytes.len() {
                for to in (from..=bytes.len()).step_by(13).chain([bytes.len()]) {
                    let plain = crc32c::crc32c_append(!start as u32, &bytes[from..to]);
                    assert_eq!(
                        sums.append(!start as u32, from, to),
                        plain,
                        "{from} to {to}"
                    );
                }
            }
        }
    }
}
