//! Means and percentiles.
//!
//! Percentiles interpolate linearly between the two nearest ranks, as NumPy's `percentile` does by default (method 7 of
//! Hyndman and Fan, 1996): of `n` sorted values, `p` percent lies at rank `(n - 1) * p / 100` counted from 0.

/// How the values of one latency spread, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Their sum by their number.
    pub mean: f64,
    /// The smallest.
    pub min: f64,
    /// Half are below.
    pub median: f64,
    /// Nine in ten are below.
    pub p90: f64,
    /// All but one in a hundred are below.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// The spread of `nanoseconds`, which it sorts. `None` when there are none.
    pub(crate) fn of(mut nanoseconds: Vec<u64>) -> Option<Self> {
        nanoseconds.sort_unstable();
        let sum = nanoseconds.iter().map(|&ns| u128::from(ns)).sum();
        Self::ranked(nanoseconds.len() as u64, sum, |rank| nanoseconds[rank as usize])
    }

    /// The spread of `count` values that add up to `sum`, where `at` gives the value at a rank from 0.
    pub(crate) fn ranked(count: u64, sum: u128, at: impl Fn(u64) -> u64) -> Option<Self> {
        let last = count.checked_sub(1)?;
        let millis = |nanoseconds: f64| nanoseconds / 1e6;
        let percent = |percent| millis(interpolated(count, percent, &at));
        Some(Self {
            mean: millis(sum as f64 / count as f64),
            min: millis(at(0) as f64),
            median: percent(50.0),
            p90: percent(90.0),
            p99: percent(99.0),
            max: millis(at(last) as f64),
        })
    }
}

/// The value below which `percent` of `count` values lie, to the last bit as NumPy computes it.
pub(crate) fn interpolated(count: u64, percent: f64, at: impl Fn(u64) -> u64) -> f64 {
    let last = count - 1;
    let position = last as f64 * (percent / 100.0);
    let rank = (position as u64).min(last);
    let (low, high) = (at(rank) as f64, at((rank + 1).min(last)) as f64);
    let part = position - rank as f64;
    // From the nearer end, so that the result never leaves the interval.
    if part < 0.5 { low + (high - low) * part } else { high - (high - low) * (1.0 - part) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_numpy() {
        // Each row from `numpy.percentile` 2.4.6.
        let check = |sorted: &[u64], percent, expected: f64| {
            let found = interpolated(sorted.len() as u64, percent, |rank| sorted[rank as usize]);
            assert_eq!(found, expected, "{percent} % of {sorted:?}");
        };
        check(&[7], 0.0, 7.0);
        check(&[7], 99.0, 7.0);
        check(&[7], 100.0, 7.0);
        check(&[1, 2], 0.0, 1.0);
        check(&[1, 2], 25.0, 1.25);
        check(&[1, 2], 50.0, 1.5);
        check(&[1, 2], 90.0, 1.9);
        check(&[1, 2], 99.0, 1.99);
        check(&[1, 2], 100.0, 2.0);
        check(&[10, 20, 30, 40, 50], 0.0, 10.0);
        check(&[10, 20, 30, 40, 50], 25.0, 20.0);
        check(&[10, 20, 30, 40, 50], 50.0, 30.0);
        check(&[10, 20, 30, 40, 50], 90.0, 46.0);
        check(&[10, 20, 30, 40, 50], 99.0, 49.6);
        check(&[10, 20, 30, 40, 50], 100.0, 50.0);
        check(&[3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377], 10.0, 5.0);
        check(&[3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377], 33.3, 15.639999999999997);
        check(&[3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377], 50.0, 34.0);
        check(&[3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377], 90.0, 233.0);
        check(&[3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377], 99.0, 362.6);
        check(&[3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377], 99.9, 375.5600000000003);
        check(&[112764037, 112766810, 112766810, 112766817, 1371531711], 0.0, 112764037.0);
        check(&[112764037, 112766810, 112766810, 112766817, 1371531711], 25.0, 112766810.0);
        check(&[112764037, 112766810, 112766810, 112766817, 1371531711], 50.0, 112766810.0);
        check(&[112764037, 112766810, 112766810, 112766817, 1371531711], 90.0, 868025753.4000001);
        check(&[112764037, 112766810, 112766810, 112766817, 1371531711], 99.0, 1321181115.24);
        check(&[112764037, 112766810, 112766810, 112766817, 1371531711], 100.0, 1371531711.0);
        check(&[0, 0, 0, 9007199254740993], 0.0, 0.0);
        check(&[0, 0, 0, 9007199254740993], 25.0, 0.0);
        check(&[0, 0, 0, 9007199254740993], 50.0, 0.0);
        check(&[0, 0, 0, 9007199254740993], 90.0, 6305039478318696.0);
        check(&[0, 0, 0, 9007199254740993], 99.0, 8736983277098760.0);
        check(&[0, 0, 0, 9007199254740993], 100.0, 9007199254740992.0);
    }

    #[test]
    fn a_spread_is_in_milliseconds() {
        let spread = Spread::of(vec![3_000_000, 1_000_000]);
        let expected = Spread { mean: 2.0, min: 1.0, median: 2.0, p90: 2.8, p99: 2.98, max: 3.0 };
        assert_eq!(spread, Some(expected));
        assert_eq!(Spread::of(Vec::new()), None);
    }
}
