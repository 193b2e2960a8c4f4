//! Distributions of durations in plain arrays: recording a value costs a search among a dozen bounds, and no lock.

use std::time::Duration;

/// A distribution of durations: how many were seen between each two bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// The upper bounds in microseconds, ascending. A value that equals a bound counts as below it.
    bounds: &'static [u64],
    /// The number of values per bound, and one more for the values above all bounds.
    counts: Box<[u64]>,
    /// The sum of all values in nanoseconds.
    sum_ns: u128,
}

/// The bounds for the duration of a flush, in microseconds: from a local disk to the longest timeout in use.
pub const DELIVERY: &[u64] = &[
    1_000, 2_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
    30_000_000, 60_000_000,
];

/// The bounds for the duration of a turn, in microseconds: from a turn in which nothing happens to one
/// far longer than what is logged.
pub const TURN: &[u64] = &[10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 1_000_000];

const SECOND: u64 = 1_000_000;
const HOUR: u64 = 3600 * SECOND;

/// The bounds for the age of a message, in microseconds: from one that goes straight through to 14 days, the
/// longest time that SQS keeps one.
pub const AGE: &[u64] = &[
    10_000,
    50_000,
    100_000,
    500_000,
    SECOND,
    5 * SECOND,
    10 * SECOND,
    30 * SECOND,
    60 * SECOND,
    300 * SECOND,
    900 * SECOND,
    HOUR,
    4 * HOUR,
    12 * HOUR,
    24 * HOUR,
    4 * 24 * HOUR,
    14 * 24 * HOUR,
];

impl Histogram {
    /// Returns an empty histogram with these upper bounds, in microseconds and ascending.
    pub fn new(bounds: &'static [u64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1].into(), sum_ns: 0 }
    }

    /// Records one value.
    pub fn observe(&mut self, value: Duration) {
        // 64 bits of nanoseconds are 584 years.
        let ns = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        // Most values are small, so that a search from the front finds them at once.
        let place = self.bounds.iter().take_while(|bound| **bound * 1000 < ns).count();
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
        self.sum_ns += u128::from(ns);
    }

    /// Returns the sum of all values in seconds.
    pub fn sum(&self) -> f64 {
        self.sum_ns as f64 / 1e9
    }

    /// Returns the number of values recorded.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns each upper bound in seconds, with the number of values above the bound before it and not above
    /// it. The last bound is infinite.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let bounds = self.bounds.iter().map(|bound| *bound as f64 / 1e6).chain([f64::INFINITY]);
        bounds.zip(self.counts.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_counted_once_at_the_first_bound_that_it_does_not_exceed() {
        let mut turns = Histogram::new(TURN);
        for micros in [0, 10, 11, 2_500, 2_000_000] {
            turns.observe(Duration::from_micros(micros));
        }
        let seen: Vec<_> = turns.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(seen, [(0.000_01, 2), (0.000_025, 1), (0.002_5, 1), (f64::INFINITY, 1)]);
        assert_eq!((turns.count(), turns.sum()), (5, 2.002_521));
    }

    #[test]
    fn bounds_ascend() {
        for bounds in [DELIVERY, AGE, TURN] {
            assert!(bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
        }
    }
}
