//! What a distribution comes to, and how far two of them are apart.
//!
//! Percentiles interpolate linearly between the two nearest ranks, as NumPy's `percentile` does by default (method 7 of
//! Hyndman and Fan, 1996): of `n` sorted values, `p` per cent lies at rank `(n - 1) * p / 100` counted from 0.

/// Five numbers that a distribution is told by, in the unit of its values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Sum by number.
    pub mean: f64,
    /// Half are below.
    pub median: f64,
    /// Nine in ten are below.
    pub p90: f64,
    /// Nineteen in twenty are below.
    pub p95: f64,
    /// All but one in a hundred are below.
    pub p99: f64,
}

/// One of the [`Figures`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// The mean.
    Mean,
    /// The median.
    Median,
    /// The 90th percentile.
    P90,
    /// The 95th percentile.
    P95,
    /// The 99th percentile.
    P99,
}

impl Figure {
    /// All of them, in the order in which they are told.
    pub const ALL: [Figure; 5] = [Figure::Mean, Figure::Median, Figure::P90, Figure::P95, Figure::P99];

    /// As a table has it.
    pub const fn name(self) -> &'static str {
        match self {
            Figure::Mean => "mean",
            Figure::Median => "median",
            Figure::P90 => "P90",
            Figure::P95 => "P95",
            Figure::P99 => "P99",
        }
    }
}

impl Figures {
    /// The figures of `sorted` values; `None` when there are none.
    pub(crate) fn of(sorted: &[f64]) -> Option<Self> {
        if sorted.is_empty() {
            return None;
        }
        let [median, p90, p95, p99] = [50.0, 90.0, 95.0, 99.0].map(|percent| percentile(sorted, percent));
        Some(Self { mean: sorted.iter().sum::<f64>() / sorted.len() as f64, median, p90, p95, p99 })
    }

    /// One of them.
    pub const fn get(&self, figure: Figure) -> f64 {
        match figure {
            Figure::Mean => self.mean,
            Figure::Median => self.median,
            Figure::P90 => self.p90,
            Figure::P95 => self.p95,
            Figure::P99 => self.p99,
        }
    }
}

/// The value below which `percent` of the `sorted` ones lie, of which there is at least one.
pub(crate) fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let last = sorted.len() - 1;
    let position = last as f64 * (percent / 100.0);
    let rank = (position as usize).min(last);
    let (low, high) = (sorted[rank], sorted[(rank + 1).min(last)]);
    let part = position - rank as f64;
    // From the nearer end, so that the result never leaves the interval.
    if part < 0.5 { low + (high - low) * part } else { high - (high - low) * (1.0 - part) }
}

/// The largest distance between the empirical distribution functions of sorted values (Kolmogorov and Smirnov), from 0
/// to 1. Neither may be empty.
pub(crate) fn ks_distance(a: &[f64], b: &[f64]) -> f64 {
    let (mut num_a, mut num_b) = (0, 0);
    let mut largest: f64 = 0.0;
    // Past the end of one, the other only comes nearer.
    while num_a < a.len() && num_b < b.len() {
        let value = a[num_a].min(b[num_b]);
        num_a += a[num_a..].iter().take_while(|&&other| other <= value).count();
        num_b += b[num_b..].iter().take_while(|&&other| other <= value).count();
        largest = largest.max((num_a as f64 / a.len() as f64 - num_b as f64 / b.len() as f64).abs());
    }
    largest
}

/// A as a part of B that is too much (above 0) or missing (below 0). `None` where B is 0.
pub(crate) fn relative_error(a: f64, b: f64) -> Option<f64> {
    (b != 0.0).then(|| a / b - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_numpy() {
        let check = |sorted: &[f64], percent, expected| {
            assert_eq!(percentile(sorted, percent), expected, "{percent} % of {sorted:?}");
        };
        check(&[7.0], 50.0, 7.0);
        check(&[1.0, 2.0], 90.0, 1.9);
        check(&[1.0, 2.0], 99.0, 1.99);
        check(&[10.0, 20.0, 30.0, 40.0, 50.0], 25.0, 20.0);
        check(&[10.0, 20.0, 30.0, 40.0, 50.0], 90.0, 46.0);
        check(&[10.0, 20.0, 30.0, 40.0, 50.0], 95.0, 48.0);
        check(&[10.0, 20.0, 30.0, 40.0, 50.0], 100.0, 50.0);
    }

    #[test]
    fn figures_of_a_few_values() {
        let figures = Figures::of(&[1.0, 2.0, 3.0, 4.0]).expect("there are values");
        for (figure, expected) in Figure::ALL.into_iter().zip([2.5, 2.5, 3.7, 3.85, 3.97]) {
            let found = figures.get(figure);
            assert!((found - expected).abs() < 1e-12, "{}: {found}", figure.name());
        }
        assert_eq!(Figures::of(&[]), None);
    }

    #[test]
    fn distances_by_hand() {
        let check = |a: &[f64], b: &[f64], expected: f64| {
            for (a, b) in [(a, b), (b, a)] {
                let found = ks_distance(a, b);
                assert!((found - expected).abs() < 1e-12, "{a:?} and {b:?}: {found}");
            }
        };
        check(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0], 0.0);
        check(&[1.0, 2.0], &[3.0, 4.0], 1.0);
        check(&[1.0, 2.0, 3.0, 4.0], &[3.0, 4.0, 5.0, 6.0], 0.5);
        // Steps of 1/4 and 1/2: at 1, 0.25 and 0.5; at 2, 0.75 and 0.5.
        check(&[1.0, 2.0, 2.0, 3.0], &[1.0, 3.0], 0.25);
        check(&[1.0, 1.0, 1.0], &[1.0], 0.0);
        // At 5, all of one and a third of the other.
        check(&[5.0], &[5.0, 6.0, 7.0], 2.0 / 3.0);
    }
}
