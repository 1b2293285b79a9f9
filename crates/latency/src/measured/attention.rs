//! Attention over four axes.
//!
//! A profile sweeps the prefill tokens of a step, the KV history those find, the number of decodes and the KV length
//! all decodes share. Each measured pair (prefill tokens, decodes) is a sheet over the two KV axes. A question blends
//! along the decodes' KV first, then along the history, then between numbers of decodes, last between numbers of
//! prefill tokens.
//!
//! Not every pair can be measured (nothing at all, most plainly). Where one is missing, the nearest pair by squared
//! distance stands in for it, of equals the first in order.

use diagnostics::{Fault, Faults};

use super::csv::{self, Cells, Rows};
use super::files::TableFile;
use super::points::Points;
use super::tables::{Bracket, KeyQuestions, RowsAt, Segment, Sheets, Span, whole_ns};

/// More corners than this are no grid; each may cost a search for its nearest pair.
const CORNERS_MAX: usize = 1 << 14;

/// Rows of the file are seldom shorter.
const ROW_BYTES_MIN: u64 = 20;

/// Measured times of one attention layer.
#[derive(Debug)]
pub(crate) struct AttentionGrid {
    prefill_axis: Box<[u32]>,
    decodes_axis: Box<[u32]>,
    /// The sheet of each corner, prefill tokens first: that of the pair, or of the nearest one measured.
    corners: Box<[u32]>,
    sheets: Sheets,
    /// By number of decodes on the axis, the row of steps without prompts, where it was measured.
    decode_rows: Box<[Option<Span>]>,
}

/// The points of attention. Each pair of prefill tokens and decodes is a sheet, its rows are histories.
struct AttentionRows(Points);

impl Rows for AttentionRows {
    type Record<'a> = ([u32; 4], f64);

    fn parse<'a, C: Cells<'a>>(&self, cells: &mut C) -> Result<([u32; 4], f64), C::Fault> {
        let shape = [cells.whole(0)?, cells.whole(1)?, cells.whole(2)?, cells.whole(3)?];
        Ok((shape, cells.time_ns(4)?))
    }

    fn push(&mut self, ([prefill, history, decodes, kv], time_ns): ([u32; 4], f64)) {
        self.0.push([prefill, decodes, history], kv, time_ns);
    }
}

impl AttentionGrid {
    /// Reads `prefill_chunk,kv_prefill,n_decode,kv_decode,time_us`.
    pub(crate) fn read(source: &str, file: TableFile, faults: &mut Faults) -> Option<Self> {
        let columns = ["prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us"];
        let mut rows = AttentionRows(Points::with_capacity(file.num_rows(ROW_BYTES_MIN)));
        csv::read(source, file, columns, faults, &mut rows);
        let points = rows.0;
        if points.is_empty() {
            return None;
        }
        match Self::new(points) {
            Ok(grid) => Some(grid),
            Err(message) => {
                faults.push(
                    Fault::new(source, message).hint("sweep prefill_chunk and n_decode over the same few values"),
                );
                None
            }
        }
    }

    /// A grid of `points`, at least one; of points in one place the first counts.
    fn new(points: Points) -> Result<Self, String> {
        let (pairs, sheets) = points.into_sheets();
        let prefill_axis = axis(pairs.iter().map(|pair| pair[0]));
        let decodes_axis = axis(pairs.iter().map(|pair| pair[1]));
        let num_corners = prefill_axis.len() * decodes_axis.len();
        if num_corners > CORNERS_MAX {
            let (prefills, decodes) = (prefill_axis.len(), decodes_axis.len());
            return Err(format!("{prefills} values of prefill_chunk by {decodes} of n_decode are too many for a grid"));
        }
        let mut corners = Vec::with_capacity(num_corners);
        for &prefill in &prefill_axis {
            corners.extend(decodes_axis.iter().map(|&decodes| nearest(&pairs, prefill, decodes)));
        }
        let mut grid = Self {
            prefill_axis: prefill_axis.into(),
            decodes_axis: decodes_axis.into(),
            corners: corners.into(),
            sheets,
            decode_rows: Box::default(),
        };
        let prefill = Bracket::of(&grid.prefill_axis, 0);
        let row = |decodes| grid.rows_at(prefill.low(), decodes, 0).only().filter(|_| prefill.is_on_point());
        grid.decode_rows = (0..grid.decodes_axis.len()).map(row).collect();
        Ok(grid)
    }

    /// The time in whole ns when every decode has `kv` tokens of KV, for each `kv`.
    pub(crate) fn times_ns<const N: usize>(&self, [prefill, history, decodes]: [u64; 3], kv: [u64; N]) -> [u64; N] {
        let prefill = Bracket::of(&self.prefill_axis, prefill);
        let decodes = Bracket::of(&self.decodes_axis, decodes);
        let mut kv = KeyQuestions::new(kv);
        let times_ns = prefill.blend_all(|prefill| {
            decodes.blend_all(|decodes| self.sheets.times_between(&self.rows_at(prefill, decodes, history), &mut kv))
        });
        times_ns.map(whole_ns)
    }

    /// The largest value of each axis: prefill tokens, history, decodes, KV of each.
    pub(crate) fn last(&self) -> [u64; 4] {
        let last = |axis: &[u32]| u64::from(axis.last().copied().unwrap_or(0));
        let [history, kv] = self.sheets.last();
        [last(&self.prefill_axis), history, last(&self.decodes_axis), kv]
    }

    /// What steps without prompts take while each of their `decodes` decodes has about so many tokens of KV, for each of
    /// two; `None` where such were not measured.
    pub(crate) fn decode_lines(&self, decodes: u64, kv: [u64; 2]) -> Option<[DecodeLine; 2]> {
        let decodes = Bracket::of(&self.decodes_axis, decodes);
        let [low, high] = decodes.map_ends(|decodes| self.decode_rows[decodes]);
        let (low, high) = (low?, high?);
        let line = |kv| {
            let low_segment = self.sheets.segment(low, kv);
            let high_segment = if decodes.is_on_point() { low_segment } else { self.sheets.segment(high, kv) };
            DecodeLine { decodes, segments: [low_segment, high_segment] }
        };
        let mean = line(kv[0]);
        Some([mean, if kv[1] == kv[0] { mean } else { line(kv[1]) }])
    }

    /// The rows of the pair at two places of the axes around `history`.
    fn rows_at(&self, prefill: usize, decodes: usize, history: u64) -> RowsAt {
        let sheet = self.corners[prefill * self.decodes_axis.len() + decodes];
        self.sheets.rows_at(sheet as usize, history)
    }
}

/// The time of steps that decode, between two points of the KV axis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DecodeLine {
    decodes: Bracket,
    /// With the number of decodes that was measured below, and above.
    segments: [Segment; 2],
}

impl DecodeLine {
    /// The time in whole ns when every decode has `kv` tokens of KV, as [`AttentionGrid::times_ns`] has it; `None` where
    /// that is not on the line.
    pub(crate) fn time_ns(&self, kv: u64) -> Option<u64> {
        let is_on_it = self.segments.iter().all(|segment| segment.has(kv));
        let time_ns = || self.decodes.blend_ends(|end| [self.segments[end].time_ns(kv)])[0];
        is_on_it.then(|| whole_ns(time_ns()))
    }
}

/// The different values among `values`, sorted.
fn axis(values: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut axis: Vec<u32> = values.collect();
    axis.sort_unstable();
    axis.dedup();
    axis
}

/// The index of the pair nearest to (`prefill`, `decodes`), of equals the first; `pairs` are sorted.
fn nearest(pairs: &[[u32; 2]], prefill: u32, decodes: u32) -> u32 {
    let square = |a: u32, b: u32| u128::from(a.abs_diff(b)).pow(2);
    let index = pairs.binary_search(&[prefill, decodes]).unwrap_or_else(|_| {
        let distance = |index: &usize| square(pairs[*index][0], prefill) + square(pairs[*index][1], decodes);
        (0..pairs.len()).min_by_key(distance).expect("a grid has pairs")
    });
    index as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(rows: &[(u32, u32, u32, u32, f64)]) -> AttentionGrid {
        let mut points = AttentionRows(Points::default());
        rows.iter().for_each(|&(prefill, history, decodes, kv, ns)| points.push(([prefill, history, decodes, kv], ns)));
        AttentionGrid::new(points.0).unwrap()
    }

    #[test]
    fn four_axes() {
        // time = prefill + 2 history + 4 decodes + 8 kv is linear, so every blend and extrapolation is exact.
        let time = |prefill, history, decodes, kv| prefill + 2 * history + 4 * decodes + 8 * kv;
        let mut rows = Vec::new();
        for prefill in [16, 32] {
            for history in [0, 64] {
                for decodes in [1, 2, 4] {
                    for kv in [16, 32, 64] {
                        let ns = f64::from(time(prefill, history, decodes, kv));
                        rows.push((prefill, history, decodes, kv, ns));
                    }
                }
            }
        }
        rows.reverse();
        let grid = grid(&rows);
        for (prefill, history, decodes, kv) in [(16, 0, 1, 16), (24, 32, 3, 40), (32, 64, 4, 64), (64, 128, 8, 256)] {
            assert_eq!(
                grid.times_ns([prefill, history, decodes].map(u64::from), [kv.into(), 16]),
                [time(prefill, history, decodes, kv), time(prefill, history, decodes, 16)].map(u64::from)
            );
        }
        assert_eq!(grid.times_ns([0; 3], [0; 2]), [u64::from(time(16, 0, 1, 16)); 2], "clamped below on every axis");
    }

    /// Lines say what the grid does, as far as they go.
    #[test]
    fn lines_are_of_the_grid() {
        let mut rows = Vec::new();
        for (prefill, decodes) in [(0, 1), (0, 2), (0, 8), (16, 0), (16, 1), (64, 8)] {
            for kv in [16, 64, 256, 1024].into_iter().skip(decodes as usize % 2) {
                rows.push((prefill, 0, decodes, kv, f64::from(prefill * 3 + decodes * 7 + kv * kv % 977) / 3.0));
            }
        }
        let grid = grid(&rows);
        for decodes in 0..12 {
            let mut num_lines = 0;
            let mut line: Option<DecodeLine> = None;
            for kv in 0..3000 {
                let [expected] = grid.times_ns([0, 0, decodes], [kv]);
                let time_ns = line.as_ref().and_then(|line| line.time_ns(kv)).unwrap_or_else(|| {
                    num_lines += 1;
                    line.insert(grid.decode_lines(decodes, [kv, 9]).unwrap()[0]).time_ns(kv).unwrap()
                });
                assert_eq!(time_ns, expected, "{decodes} decodes of {kv}");
            }
            // Below the first point, and from each on but the last.
            assert!((3..=5).contains(&num_lines), "{num_lines} lines for {decodes} decodes");
        }
    }

    #[test]
    fn the_nearest_pair_stands_in() {
        let grid = grid(&[(0, 0, 1, 0, 10.0), (16, 0, 0, 0, 100.0), (16, 0, 1, 0, 200.0)]);
        let check =
            |prefill, decodes, expected| assert_eq!(grid.times_ns([prefill, 0, decodes], [0; 2]), [expected; 2]);
        check(0, 0, 10); // (0, 0) is missing; (0, 1) is one away
        check(8, 0, 55); // between that and (16, 0)
        check(8, 1, 105);
        let check = |pairs: &[[u32; 2]], prefill, decodes, expected| {
            assert_eq!(nearest(pairs, prefill, decodes), expected, "{pairs:?} from {prefill}, {decodes}");
        };
        check(&[[0, 1], [1, 0], [2, 1]], 1, 1, 0); // three equally near
        check(&[[0, 4], [3, 0]], 0, 0, 1);
        check(&[[0, u32::MAX], [u32::MAX, 0]], 0, 0, 0);
    }

    #[test]
    fn the_first_sample_of_a_place_counts() {
        assert_eq!(grid(&[(0, 0, 1, 16, 10.0), (0, 0, 1, 16, 99.0)]).times_ns([0, 0, 1], [16; 2]), [10; 2]);
    }

    #[test]
    fn scattered_samples_are_no_grid() {
        let mut points = Points::default();
        (0..200).for_each(|index| points.push([index, index, 0], 0, 1.0));
        let message = AttentionGrid::new(points).unwrap_err();
        assert!(message.contains("200 values of prefill_chunk by 200 of n_decode"), "{message}");
    }
}
