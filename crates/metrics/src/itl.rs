//! Inter-token latencies, of which there are as many as tokens: too many to keep one by one.
//!
//! Tokens of one step share one latency, so there are far fewer different values than tokens. They are counted by value,
//! exactly, as long as there are at most [`VALUES_MAX`] different ones. Beyond that the counts move into a histogram of
//! three significant digits: the values at each rank are then known within 0.1 %, and memory stays below
//! a megabyte. Number, mean and extremes are exact always.

use hdrhistogram::Histogram;
use units::Duration;

use crate::{Distribution, Spread};

/// Most different values that are counted one by one, in about 32 MB.
const VALUES_MAX: usize = 1 << 20;

/// Digits that the histogram tells apart.
const SIGNIFICANT_DIGITS: u8 = 3;

/// All inter-token latencies of a run.
#[derive(Clone, Debug)]
pub(crate) struct InterTokenLatencies {
    counts: Counts,
    values_max: usize,
    num_values: u64,
    sum_ns: u128,
    min_ns: u64,
    max_ns: u64,
}

#[derive(Clone, Debug)]
enum Counts {
    /// Values with how often they came, as they came: one may stand there more than once.
    ByValue(Vec<(u64, u64)>),
    Histogram(Histogram<u64>),
}

impl Default for InterTokenLatencies {
    fn default() -> Self {
        Self::with_values_max(VALUES_MAX)
    }
}

impl InterTokenLatencies {
    fn with_values_max(values_max: usize) -> Self {
        let counts = Counts::ByValue(Vec::new());
        Self { counts, values_max, num_values: 0, sum_ns: 0, min_ns: u64::MAX, max_ns: 0 }
    }

    /// Adds so many tokens of this latency.
    pub(crate) fn record(&mut self, latency: Duration, num_tokens: u64) {
        let value_ns = latency.ns();
        self.num_values += num_tokens;
        self.sum_ns += u128::from(value_ns) * u128::from(num_tokens);
        self.min_ns = self.min_ns.min(value_ns);
        self.max_ns = self.max_ns.max(value_ns);
        match &mut self.counts {
            Counts::ByValue(counts) => {
                match counts.last_mut() {
                    Some((value, times)) if *value == value_ns => *times += num_tokens,
                    _ => counts.push((value_ns, num_tokens)),
                }
                if counts.len() >= 2 * self.values_max {
                    self.merge();
                }
            }
            Counts::Histogram(histogram) => add(histogram, value_ns, num_tokens),
        }
    }

    /// Has every value stand there once; moves them into a histogram when they are too many even so.
    fn merge(&mut self) {
        let Counts::ByValue(counts) = &mut self.counts else { return };
        merge(counts);
        if counts.len() > self.values_max {
            let mut histogram = Histogram::new(SIGNIFICANT_DIGITS).expect("up to five digits are allowed");
            counts.iter().for_each(|&(value, times)| add(&mut histogram, value, times));
            self.counts = Counts::Histogram(histogram);
        }
    }

    /// How they spread; `None` when there are none.
    pub(crate) fn spread(&self) -> Option<Spread> {
        self.ranked(|count, sum_ns, at| Spread::ranked(count, sum_ns, at))
    }

    /// Their whole distribution; `None` when there are none.
    pub(crate) fn distribution(&self) -> Option<Distribution> {
        self.ranked(|count, sum_ns, at| Distribution::ranked(count, sum_ns, at))
    }

    /// What `find` makes of their number, their sum, and the value at each rank from 0.
    fn ranked<T>(&self, find: impl FnOnce(u64, u128, &dyn Fn(u64) -> u64) -> T) -> T {
        match &self.counts {
            Counts::ByValue(counts) => {
                let mut by_value = counts.clone();
                merge(&mut by_value);
                // Each value with the rank after its last.
                let mut end = 0;
                for (_, times) in &mut by_value {
                    end += *times;
                    *times = end;
                }
                let at = |rank| by_value[by_value.partition_point(|&(_, end)| end <= rank)].0;
                find(self.num_values, self.sum_ns, &at)
            }
            Counts::Histogram(histogram) => find(self.num_values, self.sum_ns, &|rank| {
                // The ends of the range are known better than to three digits.
                match rank {
                    0 => self.min_ns,
                    _ if rank + 1 == self.num_values => self.max_ns,
                    // Half a rank on, so that no rounding leads to a neighbour.
                    _ => histogram.value_at_quantile((rank as f64 + 0.5) / self.num_values as f64),
                }
            }),
        }
    }
}

/// Sorts counts by value, and adds up those of the same.
fn merge(counts: &mut Vec<(u64, u64)>) {
    counts.sort_unstable();
    counts.dedup_by(|next, kept| {
        let is_same = next.0 == kept.0;
        kept.1 += if is_same { next.1 } else { 0 };
        is_same
    });
}

fn add(histogram: &mut Histogram<u64>, value: u64, times: u64) {
    histogram.record_n(value, times).expect("the histogram grows with its values");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(latencies: &mut InterTokenLatencies, nanoseconds: &[u64]) {
        for run in nanoseconds.chunk_by(|one, next| one == next) {
            latencies.record(Duration::from_ns(run[0]), run.len() as u64);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Counting by value is as good as keeping every value.
        #[test]
        fn counts_are_exact(values in prop::collection::vec(prop_oneof![0..5_u64, any::<u64>()], 0..200)) {
            let mut latencies = InterTokenLatencies::default();
            record(&mut latencies, &values);
            prop_assert_eq!(latencies.spread(), Spread::of(values));
        }

        /// Beyond the limit percentiles stay within a thousandth of the values around their rank.
        #[test]
        fn the_histogram_is_close(mut values in prop::collection::vec(1..4_000_000_000_u64, 50..200)) {
            let mut latencies = InterTokenLatencies::with_values_max(10);
            record(&mut latencies, &values);
            prop_assert!(matches!(latencies.counts, Counts::Histogram(_)));
            let found = latencies.spread().expect("there are values");
            let exact = Spread::of(values.clone()).expect("there are values");
            prop_assert_eq!((found.mean, found.min, found.max), (exact.mean, exact.min, exact.max));
            values.sort_unstable();
            for (percent, found) in [(0.5, found.median), (0.9, found.p90), (0.99, found.p99)] {
                let rank = ((values.len() - 1) as f64 * percent) as usize;
                let next = values[(rank + 1).min(values.len() - 1)];
                let bounds = values[rank] as f64 / 1e6 * 0.999..=next as f64 / 1e6 * 1.001;
                prop_assert!(bounds.contains(&found), "{} not in {:?}", found, bounds);
            }
        }
    }
}
