//! A histogram in the manner of HdrHistogram: 128 buckets for each power of two, so that any value is known to better than
//! one per cent, in memory of fixed size.

use crate::report::Fields;

/// Counts of values in nanoseconds.
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    sum: u128,
    max: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Histogram {
            buckets: vec![0; (65 - FINE_BITS as usize) * FINE],
            count: 0,
            sum: 0,
            max: 0,
        }
    }

    /// Counts `value` `times` over.
    pub(crate) fn note(&mut self, value: u64, times: u64) {
        self.buckets[bucket(value)] += times;
        self.count += times;
        self.sum += u128::from(value) * u128::from(times);
        self.max = self.max.max(value);
    }

    /// The value that `share` of all do not exceed; the upper edge of its bucket.
    pub(crate) fn at(&self, share: f64) -> u64 {
        let rank = (self.count as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper(index).min(self.max);
            }
        }
        self.max
    }

    pub(crate) fn fields(&self) -> Fields {
        let mut fields = Fields::default();
        fields.number("count", self.count as f64);
        if self.count > 0 {
            fields.number("mean", (self.sum / u128::from(self.count)) as f64);
            for (name, share) in [
                ("p50", 0.5),
                ("p90", 0.9),
                ("p99", 0.99),
                ("p99.9", 0.999),
                ("p99.99", 0.9999),
            ] {
                fields.number(name, self.at(share) as f64);
            }
            fields.number("max", self.max as f64);
        }
        fields
    }
}

/// Values below [`FINE`] have a bucket each; above, the leading bits after the first choose one of [`FINE`].
fn bucket(value: u64) -> usize {
    let high = (u64::BITS - value.leading_zeros()).saturating_sub(FINE_BITS + 1);
    ((high as usize) << FINE_BITS) + (value >> high) as usize
}

/// The largest value of a bucket.
fn upper(index: usize) -> u64 {
    let high = (index >> FINE_BITS).saturating_sub(1);
    let fine = (index - (high << FINE_BITS)) as u64;
    (fine << high) + ((1u64 << high) - 1)
}

const FINE_BITS: u32 = 7;
const FINE: usize = 1 << FINE_BITS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_to_one_per_cent() {
        let mut last = 0;
        for value in (0..4096).chain((12..63).flat_map(|p| [(1 << p) - 1, 1 << p, (1 << p) + 3])) {
            let index = bucket(value);
            let edge = upper(index);
            assert!(
                edge >= value && edge - value <= value / 100,
                "{value}: {edge}"
            );
            assert!(index >= last, "{value}");
            last = index;
        }
        assert!(bucket(u64::MAX) < (65 - FINE_BITS as usize) * FINE);
    }

    #[test]
    fn percentiles_are_ranks() {
        let mut histogram = Histogram::new();
        for value in 1..=100 {
            histogram.note(value, 10);
        }
        assert_eq!(
            (histogram.at(0.5), histogram.at(0.99), histogram.max),
            (50, 99, 100)
        );
        histogram.note(5000, 1);
        assert_eq!(histogram.at(1.0), 5000);
    }
}
