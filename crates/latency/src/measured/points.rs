//! Points of a table on sheets, from the rows of a file to [`Sheets`].
//!
//! A point is in a place, a sheet told by two values and a row on it, and has a key in the row. Profilers sweep the key
//! innermost, so a file is a sequence of runs in which the place stays and the key rises. Runs stay where they were
//! read, and only their places, a tenth as many, are put in order. Sweeps repeat as well: a run with the keys of the
//! one before it shares them. A file in any other order is sorted.

use super::tables::{Sheets, Span};

/// Two values that tell a sheet, and the value of a row on it.
pub(crate) type Place = [u32; 3];

/// Points in the order in which they are read.
#[derive(Debug, Default)]
pub(crate) struct Points {
    runs: Vec<Run>,
    keys: Vec<u32>,
    times_ns: Vec<f64>,
}

/// Points of one place whose keys rise.
#[derive(Clone, Copy, Debug)]
struct Run {
    place: Place,
    span: Span,
}

impl Points {
    /// No points yet, with room for `count`.
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self { times_ns: Vec::with_capacity(count), ..Self::default() }
    }

    /// Whether there is no point.
    pub(crate) fn is_empty(&self) -> bool {
        self.times_ns.is_empty()
    }

    /// Adds a point.
    #[inline]
    pub(crate) fn push(&mut self, place: Place, key: u32, time_ns: f64) {
        match self.runs.last_mut() {
            Some(run) if run.place == place && self.keys.last() < Some(&key) => run.span.len += 1,
            _ => self.begin_run(place),
        }
        self.keys.push(key);
        self.times_ns.push(time_ns);
    }

    fn begin_run(&mut self, place: Place) {
        self.share_keys();
        let (keys_start, times_start) = (self.keys.len() as u32, self.times_ns.len() as u32);
        self.runs.push(Run { place, span: Span { keys_start, times_start, len: 1 } });
    }

    /// Lets the last run have the keys of the one before it where they are the same.
    fn share_keys(&mut self) {
        let [.., before, last] = &mut self.runs[..] else { return };
        if self.keys[before.span.keys()] == self.keys[last.span.keys()] {
            self.keys.truncate(last.span.keys_start as usize);
            last.span.keys_start = before.span.keys_start;
        }
    }

    /// The sheets with what tells each of them, in rising order; of equal points the first counts.
    pub(crate) fn into_sheets(self) -> (Vec<[u32; 2]>, Sheets) {
        let order = self.order();
        let is_twice = |pair: &[usize]| self.runs[pair[0]].place == self.runs[pair[1]].place;
        if order.windows(2).any(is_twice) {
            let points = self.merged(&order);
            let order = (0..points.runs.len()).collect();
            return points.in_order(order);
        }
        self.in_order(order)
    }

    /// The runs by place, those of one place as they were read.
    fn order(&self) -> Vec<usize> {
        let packed = |(index, run): (usize, &Run)| {
            run.place.iter().fold(0, |packed, &value| packed << 32 | u128::from(value)) << 32 | index as u128
        };
        let mut order: Vec<u128> = self.runs.iter().enumerate().map(packed).collect();
        order.sort_unstable();
        order.into_iter().map(|packed| packed as u32 as usize).collect()
    }

    /// One run a place.
    fn merged(&self, order: &[usize]) -> Self {
        let mut all = Vec::with_capacity(self.times_ns.len());
        for Run { place, span } in order.iter().map(|&index| self.runs[index]) {
            let points = self.keys[span.keys()].iter().zip(&self.times_ns[span.times()]);
            all.extend(points.map(|(&key, &time_ns)| (place, key, time_ns)));
        }
        all.sort_by_key(|&(place, key, _)| (place, key));
        all.dedup_by_key(|&mut (place, key, _)| (place, key));
        let mut merged = Self::with_capacity(all.len());
        all.into_iter().for_each(|(place, key, time_ns)| merged.push(place, key, time_ns));
        merged
    }

    /// Sheets of runs that strictly rise in `order`.
    fn in_order(self, order: Vec<usize>) -> (Vec<[u32; 2]>, Sheets) {
        let mut sheets = Vec::new();
        let mut row_starts = Vec::new();
        let (mut rows, mut spans) = (Vec::with_capacity(order.len()), Vec::with_capacity(order.len()));
        for Run { place: [first, second, row], span } in order.into_iter().map(|index| self.runs[index]) {
            if sheets.last() != Some(&[first, second]) {
                sheets.push([first, second]);
                row_starts.push(rows.len() as u32);
            }
            rows.push(row);
            spans.push(span);
        }
        row_starts.push(rows.len() as u32);
        (sheets, Sheets::new(row_starts, rows, spans, self.keys, self.times_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows the sheets of `points`, each row with its points.
    fn shown(points: &[(Place, u32, f64)]) -> Vec<String> {
        let mut read = Points::with_capacity(0);
        points.iter().for_each(|&(place, key, time_ns)| read.push(place, key, time_ns));
        let (sheets, table) = read.into_sheets();
        let show = |(index, sheet): (usize, &[u32; 2])| format!("{sheet:?}: {}", table.shown(index));
        sheets.iter().enumerate().map(show).collect()
    }

    #[test]
    fn runs_in_any_order() {
        let points = [
            ([0, 1, 0], 16, 1.0),
            ([0, 1, 0], 32, 2.0),
            ([0, 2, 0], 16, 3.0), // shares the keys of the run before
            ([0, 2, 0], 32, 4.0),
            ([0, 1, 8], 32, 5.0), // back on the first sheet
            ([7, 0, 0], 0, 6.0),
        ];
        let expected = ["[0, 1]: 0 (16=1 32=2) 8 (32=5)", "[0, 2]: 0 (16=3 32=4)", "[7, 0]: 0 (0=6)"];
        assert_eq!(shown(&points), expected);
        for first in 0..points.len() {
            for second in 0..points.len() {
                let mut points = points;
                points.swap(first, second);
                assert_eq!(shown(&points), expected, "{points:?}");
                points.reverse();
                assert_eq!(shown(&points), expected, "{points:?}");
            }
        }
    }

    #[test]
    fn the_first_of_equal_points_counts() {
        let place = [1, 2, 3];
        let expected = ["[1, 2]: 3 (4=1 5=2)"];
        assert_eq!(shown(&[(place, 4, 1.0), (place, 4, 9.0), (place, 5, 2.0), (place, 4, 8.0)]), expected);
        assert_eq!(shown(&[(place, 5, 2.0), (place, 4, 1.0), (place, 5, 9.0), (place, 4, 8.0)]), expected);
    }
}
