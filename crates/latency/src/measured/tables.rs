//! Tables over one and two axes, and the rule by which a time between their points is found.
//!
//! On every axis a time is blended linearly between the two points around the question: `low + t (high − low)` with
//! `t = (x − x_low) / (x_high − x_low)`, in `f64` and in this order of operations, since results are compared bit by
//! bit. Below the first point the first counts; above the last the line through the last two goes on. A table of one
//! point is constant. Axes strictly increase, so no denominator is zero.

use std::ops::Range;

/// Where a question falls on an axis: between two points, and how far from the lower one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bracket {
    low: usize,
    high: usize,
    /// 0 at `low`, 1 at `high`, above 1 beyond the last point.
    weight: f64,
}

impl Bracket {
    /// Brackets `question` on a strictly increasing `axis` that is not empty.
    pub(crate) fn of(axis: &[u32], question: u64) -> Self {
        let above = axis.partition_point(|&point| u64::from(point) <= question);
        if above == 0 || axis.len() == 1 {
            return Self { low: 0, high: 0, weight: 0.0 };
        }
        let high = above.min(axis.len() - 1);
        let low = high - 1;
        let (from, to) = (u64::from(axis[low]), u64::from(axis[high]));
        Self { low, high, weight: (question - from) as f64 / (to - from) as f64 }
    }

    /// Blends what `time` says of the two points.
    pub(crate) fn blend(self, time: impl Fn(usize) -> f64) -> f64 {
        let low = time(self.low);
        // On a point (often: 0 prefill tokens, 1 decode) the other end has no weight and need not be looked up.
        if self.weight == 0.0 { low } else { low + self.weight * (time(self.high) - low) }
    }
}

/// Whole nanoseconds of a blended time: cut, and at least 1.
pub(crate) fn whole_ns(time: f64) -> u64 {
    (time as u64).max(1)
}

/// A time over one axis.
#[derive(Debug)]
pub(crate) struct Curve {
    axis: Box<[u32]>,
    times_ns: Box<[f64]>,
}

impl Curve {
    /// A curve through `points`, at least one, in any order; of points with the same key the first counts.
    pub(crate) fn new(mut points: Vec<(u32, f64)>) -> Self {
        assert!(!points.is_empty(), "a curve without points");
        points.sort_by_key(|point| point.0);
        points.dedup_by_key(|point| point.0);
        let (axis, times_ns): (Vec<_>, Vec<_>) = points.into_iter().unzip();
        Self { axis: axis.into(), times_ns: times_ns.into() }
    }

    /// The time at `question` in whole ns.
    pub(crate) fn time_ns(&self, question: u64) -> u64 {
        whole_ns(Bracket::of(&self.axis, question).blend(|point| self.times_ns[point]))
    }
}

/// A point of a table over two axes: the sheet it is on, its row there, its key in the row, and its time in ns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SheetPoint {
    pub(crate) sheet: u32,
    pub(crate) row: u32,
    pub(crate) key: u32,
    pub(crate) time_ns: f64,
}

/// Tables over two axes, each a sheet of rows, each row with keys of its own.
///
/// All rows of all sheets stand one after another, so that the points around a question are close in memory.
#[derive(Debug)]
pub(crate) struct Sheets {
    /// The rows of sheet `s` are those from `row_starts[s]` to `row_starts[s + 1]`.
    row_starts: Box<[u32]>,
    /// The value of each row on the outer axis.
    rows: Box<[u32]>,
    /// The points of row `r` are those from `point_starts[r]` to `point_starts[r + 1]`.
    point_starts: Box<[u32]>,
    /// The value of each point on the inner axis.
    keys: Box<[u32]>,
    times_ns: Box<[f64]>,
}

impl Sheets {
    /// Sheets of `points` that strictly increase by (sheet, row, key), with sheets numbered from 0 without a gap.
    pub(crate) fn new(points: impl ExactSizeIterator<Item = SheetPoint>) -> Self {
        let (mut row_starts, mut rows, mut point_starts) = (Vec::new(), Vec::new(), Vec::new());
        let mut keys = Vec::with_capacity(points.len());
        let mut times_ns = Vec::with_capacity(points.len());
        let mut last = None;
        for SheetPoint { sheet, row, key, time_ns } in points {
            assert!(last < Some((sheet, row, key)), "points out of order");
            if last.is_none_or(|(last_sheet, ..)| last_sheet != sheet) {
                assert_eq!(row_starts.len(), sheet as usize, "a sheet without points");
                row_starts.push(rows.len() as u32);
            }
            if last.is_none_or(|(last_sheet, last_row, _)| (last_sheet, last_row) != (sheet, row)) {
                point_starts.push(keys.len() as u32);
                rows.push(row);
            }
            keys.push(key);
            times_ns.push(time_ns);
            last = Some((sheet, row, key));
        }
        row_starts.push(rows.len() as u32);
        point_starts.push(keys.len() as u32);
        Self {
            row_starts: row_starts.into(),
            rows: rows.into(),
            point_starts: point_starts.into(),
            keys: keys.into(),
            times_ns: times_ns.into(),
        }
    }

    /// The time on a sheet at `row` and `key` in ns, not yet whole: first along the keys, then between rows.
    pub(crate) fn time_ns(&self, sheet: usize, row: u64, key: u64) -> f64 {
        let rows = range(&self.row_starts, sheet);
        Bracket::of(&self.rows[rows.clone()], row).blend(|row| {
            let points = range(&self.point_starts, rows.start + row);
            let times_ns = &self.times_ns[points.clone()];
            Bracket::of(&self.keys[points], key).blend(|point| times_ns[point])
        })
    }
}

fn range(starts: &[u32], index: usize) -> Range<usize> {
    starts[index] as usize..starts[index + 1] as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_axis() {
        let check = |points: &[(u32, f64)], question, expected| {
            assert_eq!(Curve::new(points.to_vec()).time_ns(question), expected, "{points:?} at {question}");
        };
        let line = [(2, 100.0), (4, 200.0), (8, 300.0)];
        check(&line, 0, 100); // clamped below
        check(&line, 2, 100);
        check(&line, 3, 150);
        check(&line, 4, 200);
        check(&line, 5, 225);
        check(&line, 8, 300);
        check(&line, 12, 400); // beyond: the line through the last two
        check(&[(7, 50.0)], 0, 50);
        check(&[(7, 50.0)], 1_000, 50); // one point: constant
        check(&[(8, 300.0), (2, 100.0), (4, 200.0), (4, 999.0)], 5, 225); // any order, the first of equals
        check(&[(0, 0.0), (3, 2.0)], 1, 1); // 0.67: never less than 1
        check(&[(0, 0.0), (3, 8.0)], 2, 5); // 5.33: cut
        check(&[(1, 100.0), (2, 10.0)], 100, 1); // extrapolated below nothing
        check(&[(0, 0.0), (1, 1.0)], 1 << 60, 1 << 60);
    }

    #[test]
    fn brackets() {
        let check = |question, low, high, weight| {
            assert_eq!(Bracket::of(&[0, 16, 32], question), Bracket { low, high, weight }, "{question}");
        };
        check(0, 0, 1, 0.0);
        check(4, 0, 1, 0.25);
        check(16, 1, 2, 0.0);
        check(32, 1, 2, 1.0);
        check(64, 1, 2, 3.0);
    }

    #[test]
    fn two_axes_blend_keys_first() {
        let point = |sheet, row, key, time_ns| SheetPoint { sheet, row, key, time_ns };
        let sheets = Sheets::new(
            [
                point(0, 0, 0, 10.0),
                point(0, 0, 10, 20.0),
                point(0, 100, 0, 110.0),
                point(0, 100, 20, 210.0),
                point(1, 5, 5, 1000.0),
            ]
            .into_iter(),
        );
        let check = |sheet, row, key, expected: f64| assert_eq!(sheets.time_ns(sheet, row, key), expected);
        check(0, 0, 5, 15.0);
        check(0, 100, 5, 135.0); // rows have keys of their own
        check(0, 50, 5, 75.0);
        check(0, 200, 5, 255.0);
        check(0, 200, 40, 570.0); // 50 and 310, beyond both axes
        check(1, 0, 0, 1000.0);
        check(1, 9, 9, 1000.0);
    }
}
