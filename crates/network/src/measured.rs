//! Measured collectives: what they took, by size, in place of what a formula says.
//!
//! A curve belongs to one dimension and one kind of collective. Its points are those of NCCL tests: the size column and
//! the time beside it. Between two points time is linear in size; below the first it is the first's; above the last the
//! line through the last two goes on. A curve stands for the whole collective in that dimension: it begins when the
//! last member is there and ends for all at once.

use crate::CollectiveKind;
use units::Duration;

/// One measured curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve(Vec<(u64, f64)>);

impl Curve {
    /// A curve through points of bytes and nanoseconds.
    ///
    /// Sizes count as in NCCL tests: of an all-gather, what all members bring together, of the others, what each brings.
    ///
    /// # Panics
    /// Unless there is a point, sizes ascend, and times are finite and not negative.
    pub fn new(points: Vec<(u64, f64)>) -> Self {
        assert!(!points.is_empty(), "a curve without points");
        assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0), "sizes do not ascend");
        assert!(points.iter().all(|point| point.1.is_finite() && point.1 >= 0.0), "not a time");
        Self(points)
    }

    /// The time at `bytes`, rounded to whole nanoseconds.
    pub fn time(&self, bytes: u64) -> Duration {
        let points = &self.0;
        let above = points.partition_point(|point| point.0 <= bytes);
        let ns = match above {
            0 => points[0].1,
            _ if points.len() == 1 => points[0].1,
            _ => {
                let upper = above.min(points.len() - 1);
                let ((low, low_ns), (high, high_ns)) = (points[upper - 1], points[upper]);
                let share = (bytes as f64 - low as f64) / (high as f64 - low as f64);
                low_ns + share * (high_ns - low_ns)
            }
        };
        // Beyond the last point, a line that falls would end below zero.
        Duration::from_ns(ns.max(0.0).round() as u64)
    }
}

/// The curves of a network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured(Vec<[Option<Curve>; 4]>);

impl Measured {
    /// Sets the curve of a kind of collective in a dimension, counted from 0, innermost first.
    pub fn set(&mut self, dim: usize, kind: CollectiveKind, curve: Curve) {
        if self.0.len() <= dim {
            self.0.resize_with(dim + 1, Default::default);
        }
        self.0[dim][kind.index()] = Some(curve);
    }

    /// The curve of a kind of collective in a dimension.
    pub fn get(&self, dim: usize, kind: CollectiveKind) -> Option<&Curve> {
        self.0.get(dim)?[kind.index()].as_ref()
    }

    /// All curves there are, by dimension and kind.
    pub fn curves(&self) -> impl Iterator<Item = (usize, CollectiveKind)> {
        let kinds = |(dim, curves): (usize, &[Option<Curve>; 4])| {
            let is_there = curves.each_ref().map(Option::is_some);
            CollectiveKind::ALL.into_iter().filter(move |kind| is_there[kind.index()]).map(move |kind| (dim, kind))
        };
        self.0.iter().enumerate().flat_map(kinds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_linear_between_points_and_beyond_the_last() {
        let check = |points: &[(u64, f64)], bytes, ns| {
            assert_eq!(Curve::new(points.to_vec()).time(bytes).ns(), ns, "{bytes} bytes on {points:?}");
        };
        let points = &[(100, 1000.0), (200, 1500.0), (1000, 5500.0)];
        check(points, 0, 1000);
        check(points, 100, 1000);
        check(points, 150, 1250);
        check(points, 200, 1500);
        check(points, 600, 3500);
        check(points, 1000, 5500);
        check(points, 2000, 10_500);
        check(&[(8, 12.5)], 1_000_000, 13);
        check(&[(10, 100.0), (20, 50.0)], 1000, 0);
    }
}
