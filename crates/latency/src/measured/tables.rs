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
    /// The first point of an axis.
    pub(crate) const FIRST: Self = Self { low: 0, high: 0, weight: 0.0 };

    /// Brackets `question` on a strictly increasing `axis` that is not empty.
    pub(crate) fn of(axis: &[u32], question: u64) -> Self {
        let above = axis.partition_point(|&point| u64::from(point) <= question);
        if above == 0 || axis.len() == 1 {
            return Self::FIRST;
        }
        let high = above.min(axis.len() - 1);
        let low = high - 1;
        let (from, to) = (u64::from(axis[low]), u64::from(axis[high]));
        Self { low, high, weight: (question - from) as f64 / (to - from) as f64 }
    }

    /// The lower point.
    pub(crate) fn low(self) -> usize {
        self.low
    }

    /// Whether the question is on the lower point.
    pub(crate) fn is_on_point(self) -> bool {
        self.weight == 0.0
    }

    /// Blends what `time` says of the two points.
    pub(crate) fn blend(self, time: impl Fn(usize) -> f64) -> f64 {
        let [time] = self.blend_all(|point| [time(point)]);
        time
    }

    /// The same for several times at once.
    pub(crate) fn blend_all<const N: usize>(self, mut times: impl FnMut(usize) -> [f64; N]) -> [f64; N] {
        self.blend_ends(|end| times([self.low, self.high][end]))
    }

    /// The same of what `times` says of the lower end, 0, and the upper, 1.
    pub(crate) fn blend_ends<const N: usize>(self, mut times: impl FnMut(usize) -> [f64; N]) -> [f64; N] {
        let low = times(0);
        // On a point (often: 0 prefill tokens, 1 decode) the other end has no weight and need not be looked up.
        if self.weight == 0.0 {
            return low;
        }
        let high = times(1);
        std::array::from_fn(|index| low[index] + self.weight * (high[index] - low[index]))
    }

    /// What `map` makes of its two points; of the lower one twice where the upper has no weight.
    pub(crate) fn map_ends<T: Copy>(self, map: impl Fn(usize) -> T) -> [T; 2] {
        let low = map(self.low);
        [low, if self.weight == 0.0 { low } else { map(self.high) }]
    }
}

/// Whole nanoseconds of a blended time: cut, and at least 1.
pub(crate) fn whole_ns(time: f64) -> u64 {
    (time as u64).max(1)
}

/// `time` rounded half to even, without the call that `round_ties_even` is on processors of no special kind.
#[inline]
pub(crate) fn round_half_even(time: f64) -> f64 {
    /// A number of this size has no fraction, so adding it rounds, and what is below 2^51 does not leave its binade.
    const WHOLE: f64 = 3.0 * (1u64 << 51) as f64;
    if time.abs() < (1u64 << 51) as f64 { (time + WHOLE) - WHOLE } else { time.round_ties_even() }
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

    /// The last point measured.
    pub(crate) fn last(&self) -> u64 {
        self.axis.last().copied().unwrap_or(0).into()
    }

    /// The time at `question` in whole ns.
    pub(crate) fn time_ns(&self, question: u64) -> u64 {
        whole_ns(Bracket::of(&self.axis, question).blend(|point| self.times_ns[point]))
    }
}

/// Tables over two axes, each a sheet of rows, each row with keys of its own.
#[derive(Debug)]
pub(crate) struct Sheets {
    /// The rows of sheet `s` are those from `row_starts[s]` to `row_starts[s + 1]`.
    row_starts: Vec<u32>,
    /// The value of each row on the outer axis.
    rows: Vec<u32>,
    /// Where the points of each row stand.
    spans: Vec<Span>,
    /// The values of points on the inner axis; rows with the same may share them.
    keys: Vec<u32>,
    times_ns: Vec<f64>,
}

/// Questions along the keys, and where they fall on those of the row asked last: rows that share keys are bracketed once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyQuestions<const N: usize> {
    questions: [u64; N],
    brackets: [Bracket; N],
    /// Start and number of the keys that the brackets are of.
    keys: (u32, u32),
}

impl<const N: usize> KeyQuestions<N> {
    pub(crate) fn new(questions: [u64; N]) -> Self {
        Self { questions, brackets: [Bracket::FIRST; N], keys: (0, 0) }
    }
}

/// Two neighbouring rows of a sheet, and a place between them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowsAt {
    bracket: Bracket,
    spans: [Span; 2],
}

impl RowsAt {
    /// The row that the place is on, if it is on one.
    pub(crate) fn only(&self) -> Option<Span> {
        self.bracket.is_on_point().then_some(self.spans[0])
    }
}

/// Where the points of a row stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) keys_start: u32,
    pub(crate) times_start: u32,
    /// How many points there are.
    pub(crate) len: u32,
}

impl Span {
    pub(crate) fn keys(self) -> Range<usize> {
        self.keys_start as usize..self.keys_start as usize + self.len as usize
    }

    pub(crate) fn times(self) -> Range<usize> {
        self.times_start as usize..self.times_start as usize + self.len as usize
    }
}

impl Sheets {
    /// Sheets of rows that strictly increase on each, with points whose keys do so in each row.
    pub(crate) fn new(
        row_starts: Vec<u32>,
        rows: Vec<u32>,
        spans: Vec<Span>,
        keys: Vec<u32>,
        times_ns: Vec<f64>,
    ) -> Self {
        let sheets = Self { row_starts, rows, spans, keys, times_ns };
        assert!(sheets.sheets().all(|rows| is_rising(&sheets.rows[rows])), "rows out of order");
        assert!(sheets.spans.iter().all(|span| is_rising(&sheets.keys[span.keys()])), "points out of order");
        sheets
    }

    /// The rows of each sheet.
    fn sheets(&self) -> impl Iterator<Item = Range<usize>> {
        self.row_starts.windows(2).map(|pair| pair[0] as usize..pair[1] as usize)
    }

    /// The time on a sheet at `row` and `key` in ns, not yet whole: first along the keys, then between rows.
    pub(crate) fn time_ns(&self, sheet: usize, row: u64, key: u64) -> f64 {
        let [time_ns] = self.times_ns(sheet, row, &mut KeyQuestions::new([key]));
        time_ns
    }

    /// The same for several keys at once.
    pub(crate) fn times_ns<const N: usize>(&self, sheet: usize, row: u64, keys: &mut KeyQuestions<N>) -> [f64; N] {
        self.times_between(&self.rows_at(sheet, row), keys)
    }

    /// The rows of a sheet around `row`.
    pub(crate) fn rows_at(&self, sheet: usize, row: u64) -> RowsAt {
        let rows = self.row_starts[sheet] as usize..self.row_starts[sheet + 1] as usize;
        let bracket = Bracket::of(&self.rows[rows.clone()], row);
        RowsAt { bracket, spans: [self.spans[rows.start + bracket.low], self.spans[rows.start + bracket.high]] }
    }

    /// The time between two rows in ns, not yet whole, for each of several keys.
    pub(crate) fn times_between<const N: usize>(&self, rows: &RowsAt, keys: &mut KeyQuestions<N>) -> [f64; N] {
        rows.bracket.blend_ends(|end| {
            let span = rows.spans[end];
            if keys.keys != (span.keys_start, span.len) {
                let axis = &self.keys[span.keys()];
                keys.brackets = keys.questions.map(|question| Bracket::of(axis, question));
                keys.keys = (span.keys_start, span.len);
            }
            let times_ns = &self.times_ns[span.times()];
            keys.brackets.map(|bracket| bracket.blend(|point| times_ns[point]))
        })
    }

    /// The largest row, and the largest key of any row.
    pub(crate) fn last(&self) -> [u64; 2] {
        [&self.rows, &self.keys].map(|values| values.iter().copied().max().unwrap_or(0).into())
    }

    /// The part of a row around `key`.
    pub(crate) fn segment(&self, row: Span, key: u64) -> Segment {
        Segment::of(&self.keys[row.keys()], &self.times_ns[row.times()], key)
    }

    /// The rows of one sheet with their points, as text.
    #[cfg(test)]
    pub(crate) fn shown(&self, sheet: usize) -> String {
        let row = |row: usize| {
            let points = self.keys[self.spans[row].keys()].iter().zip(&self.times_ns[self.spans[row].times()]);
            let points: Vec<String> = points.map(|(key, time_ns)| format!("{key}={time_ns}")).collect();
            format!("{} ({})", self.rows[row], points.join(" "))
        };
        self.sheets().nth(sheet).expect("a sheet").map(row).collect::<Vec<_>>().join(" ")
    }
}

/// The part of a row between two neighbouring points, apart from the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    /// The first key that is on it, and the first that is not any more.
    keys: (u64, u64),
    /// Its two points: where the lower one is, how far apart they are, the time there and how much more it is at the upper.
    from: u64,
    length: f64,
    low_ns: f64,
    rise_ns: f64,
}

impl Segment {
    /// That of `axis`, with these times at its points, on which `key` is.
    fn of(axis: &[u32], times_ns: &[f64], key: u64) -> Self {
        let Bracket { low, high, .. } = Bracket::of(axis, key);
        let at = |point: usize| u64::from(axis[point]);
        let first = if low < high { at(low) } else { 0 };
        let last = axis.len() - 1;
        let end = if high == last { u64::MAX } else { at(high) };
        Self {
            keys: (first, end),
            from: first,
            length: (at(high) - at(low)).max(1) as f64,
            low_ns: times_ns[low],
            rise_ns: times_ns[high] - times_ns[low],
        }
    }

    /// Whether `key` is on it.
    pub(crate) fn has(&self, key: u64) -> bool {
        (self.keys.0..self.keys.1).contains(&key)
    }

    /// The time at a key that is on it, as [`Bracket::blend`] has it.
    pub(crate) fn time_ns(&self, key: u64) -> f64 {
        self.low_ns + (key - self.from) as f64 / self.length * self.rise_ns
    }
}

fn is_rising(values: &[u32]) -> bool {
    values.windows(2).all(|pair| pair[0] < pair[1])
}

#[cfg(test)]
mod tests {
    use super::super::points::Points;
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
    fn rounding() {
        let edges =
            [0.0, 0.5, 1.5, 2.5, 0.49999999999999994, 1e9 + 0.5, (1u64 << 51) as f64 - 0.5, (1u64 << 51) as f64];
        let larger = [(1u64 << 51) as f64 + 0.5, (1u64 << 52) as f64 - 0.5, 1e18, f64::INFINITY];
        for time in edges.into_iter().chain(larger).flat_map(|time| [time, -time, time * 0.999, time / 3.0]) {
            assert_eq!(round_half_even(time), time.round_ties_even(), "{time}");
        }
    }

    #[test]
    fn brackets() {
        let check = |question, low, high, weight| {
            let bracket = Bracket::of(&[0, 16, 32], question);
            assert_eq!((bracket.low, bracket.high, bracket.weight), (low, high, weight), "{question}");
        };
        check(0, 0, 1, 0.0);
        check(4, 0, 1, 0.25);
        check(16, 1, 2, 0.0);
        check(32, 1, 2, 1.0);
        check(64, 1, 2, 3.0);
    }

    #[test]
    fn two_axes_blend_keys_first() {
        let mut points = Points::default();
        points.push([0, 0, 0], 0, 10.0);
        points.push([0, 0, 0], 10, 20.0);
        points.push([0, 0, 100], 0, 110.0);
        points.push([0, 0, 100], 20, 210.0);
        points.push([0, 1, 5], 5, 1000.0);
        let sheets = points.into_sheets().1;
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
