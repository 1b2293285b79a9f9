//! Whole distributions, for those who draw them.

use crate::Spread;
use crate::spread::interpolated;

/// How the values of one latency are distributed, in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// How many values there are.
    pub count: u64,
    /// Mean, percentiles and extremes.
    pub spread: Spread,
    /// The values below which [`Distribution::percents`] lie.
    pub quantiles_ms: Vec<f64>,
}

impl Distribution {
    /// Every half percent, and in the last percent every tenth: tails are what people look at.
    pub fn percents() -> impl Iterator<Item = f64> {
        (0..198).map(|half| f64::from(half) / 2.0).chain((990..=1000).map(|tenth| f64::from(tenth) / 10.0))
    }

    /// That of `nanoseconds`; `None` when there are none.
    pub fn of(mut nanoseconds: Vec<u64>) -> Option<Self> {
        nanoseconds.sort_unstable();
        let sum = nanoseconds.iter().map(|&ns| u128::from(ns)).sum();
        Self::ranked(nanoseconds.len() as u64, sum, |rank| nanoseconds[rank as usize])
    }

    /// That of `count` values that add up to `sum`, where `at` gives the value at a rank from 0.
    pub(crate) fn ranked(count: u64, sum: u128, at: impl Fn(u64) -> u64) -> Option<Self> {
        let spread = Spread::ranked(count, sum, &at)?;
        let quantiles_ms = Self::percents().map(|percent| interpolated(count, percent, &at) / 1e6).collect();
        Some(Self { count, spread, quantiles_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_agree_with_the_spread() {
        let values: Vec<u64> = (0..1001).map(|value| value * value * 1_000_000).collect();
        let distribution = Distribution::of(values.clone()).expect("there are values");
        let percents: Vec<f64> = Distribution::percents().collect();
        assert_eq!((percents.len(), distribution.quantiles_ms.len()), (209, 209));
        assert!(percents.is_sorted() && distribution.quantiles_ms.is_sorted());
        let at = |percent| distribution.quantiles_ms[percents.iter().position(|&p| p == percent).expect("is told")];
        let Spread { min, median, p90, p99, max, .. } = distribution.spread;
        assert_eq!([at(0.0), at(50.0), at(90.0), at(99.0), at(100.0)], [min, median, p90, p99, max]);
        assert!((at(99.9) - 998_001.0).abs() < 1e-6, "{}", at(99.9));
        assert_eq!(Distribution::of(Vec::new()), None);
    }
}
