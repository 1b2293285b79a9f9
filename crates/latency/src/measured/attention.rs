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
use super::tables::{Bracket, KeyQuestions, RowsAt, Sheets, whole_ns};

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
        Ok(Self {
            prefill_axis: prefill_axis.into(),
            decodes_axis: decodes_axis.into(),
            corners: corners.into(),
            sheets,
        })
    }

    /// The time in whole ns when every decode has `kv` tokens of KV, for each of two `kv`. `place` is where the question
    /// before fell in this grid; what has not changed is not looked up again.
    pub(crate) fn times_ns(
        &self,
        [prefill, history, decodes]: [u64; 3],
        kv: [u64; 2],
        place: &mut Option<Place>,
    ) -> [u64; 2] {
        let shape = [prefill, history, decodes];
        let place = match place {
            Some(place) if place.shape == shape => {
                place.kv.ask(kv, &self.sheets);
                place
            }
            place => place.insert(self.place(shape, kv)),
        };
        let Place { prefill, decodes, rows, kv, .. } = place;
        let times_ns = prefill
            .blend_ends(|prefill| decodes.blend_ends(|decodes| self.sheets.times_between(&rows[prefill][decodes], kv)));
        times_ns.map(whole_ns)
    }

    /// The largest value of each axis: prefill tokens, history, decodes, KV of each.
    pub(crate) fn last(&self) -> [u64; 4] {
        let last = |axis: &[u32]| u64::from(axis.last().copied().unwrap_or(0));
        let [history, kv] = self.sheets.last();
        [last(&self.prefill_axis), history, last(&self.decodes_axis), kv]
    }

    fn place(&self, shape: [u64; 3], kv: [u64; 2]) -> Place {
        let [prefill, history, decodes] = shape;
        let prefill = Bracket::of(&self.prefill_axis, prefill);
        let decodes = Bracket::of(&self.decodes_axis, decodes);
        let rows_at = |prefill: usize, decodes: usize| {
            let sheet = self.corners[prefill * self.decodes_axis.len() + decodes];
            self.sheets.rows_at(sheet as usize, history)
        };
        let rows = prefill.map_ends(|prefill| decodes.map_ends(|decodes| rows_at(prefill, decodes)));
        Place { shape, prefill, decodes, rows, kv: KeyQuestions::new(kv) }
    }
}

/// Where a question fell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Prefill tokens, their history, and decodes.
    shape: [u64; 3],
    prefill: Bracket,
    decodes: Bracket,
    /// By prefill tokens and decodes.
    rows: [[RowsAt; 2]; 2],
    kv: KeyQuestions<2>,
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
                grid.times_ns([prefill, history, decodes].map(u64::from), [kv.into(), 16], &mut None),
                [time(prefill, history, decodes, kv), time(prefill, history, decodes, 16)].map(u64::from)
            );
        }
        assert_eq!(
            grid.times_ns([0; 3], [0; 2], &mut None),
            [u64::from(time(16, 0, 1, 16)); 2],
            "clamped below on every axis"
        );
    }

    /// A question is answered the same whatever was asked before.
    #[test]
    fn places_make_no_difference() {
        let mut rows = Vec::new();
        for (prefill, decodes) in [(0, 1), (0, 8), (16, 0), (16, 1), (64, 8)] {
            for history in [0, 128] {
                for kv in [16, 64, 256, 1024].into_iter().skip((prefill / 16 % 2) as usize) {
                    let ns = f64::from(prefill * 3 + decodes * 7 + history + kv * kv % 977);
                    rows.push((prefill, history, decodes, kv, ns));
                }
            }
        }
        let grid = grid(&rows);
        let mut place = None;
        let mut state = 1_u64;
        let mut draw = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % bound
        };
        let mut kv = 0;
        for _ in 0..20_000 {
            let shape = [[0, 0, 20, 80][draw(4) as usize], [0, 100][draw(2) as usize], draw(3)];
            for _ in 0..draw(8) {
                kv = if draw(20) == 0 { draw(3000) } else { kv + draw(3) };
                let kv = [kv, kv + draw(100)];
                assert_eq!(
                    grid.times_ns(shape, kv, &mut place),
                    grid.times_ns(shape, kv, &mut None),
                    "{shape:?} {kv:?}"
                );
            }
        }
    }

    #[test]
    fn the_nearest_pair_stands_in() {
        let grid = grid(&[(0, 0, 1, 0, 10.0), (16, 0, 0, 0, 100.0), (16, 0, 1, 0, 200.0)]);
        let check = |prefill, decodes, expected| {
            assert_eq!(grid.times_ns([prefill, 0, decodes], [0; 2], &mut None), [expected; 2])
        };
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
        assert_eq!(grid(&[(0, 0, 1, 16, 10.0), (0, 0, 1, 16, 99.0)]).times_ns([0, 0, 1], [16; 2], &mut None), [10; 2]);
    }

    #[test]
    fn scattered_samples_are_no_grid() {
        let mut points = Points::default();
        (0..200).for_each(|index| points.push([index, index, 0], 0, 1.0));
        let message = AttentionGrid::new(points).unwrap_err();
        assert!(message.contains("200 values of prefill_chunk by 200 of n_decode"), "{message}");
    }
}
