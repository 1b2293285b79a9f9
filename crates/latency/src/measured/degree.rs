//! The tables of one tensor-parallel degree, a folder `tp<N>` of a bundle.

use std::path::PathBuf;
use std::sync::Arc;

use diagnostics::Faults;
use model::{Architecture, Layer, Table};

use super::attention::AttentionGrid;
use super::csv::{self, Cells, Rows};
use super::files::{OtherTables, TableFile, is_there, open};
use super::meta::MetaFit;
use super::points::Points;
use super::skew::SkewFit;
use super::tables::{Curve, Sheets, whole_ns};

/// The curve of each layer that has one, by the layer's place in [`Layer::ALL`].
pub(crate) type LayerCurves = [Option<Arc<Curve>>; Layer::ALL.len()];

/// What was measured at one degree. Each table is read once, when it is first wanted.
pub(crate) struct Degree {
    dir: PathBuf,
    /// What `meta.yaml` says of the fit, until that is read.
    fit: Option<MetaFit>,
    dense: Slot<LayerCurves>,
    per_sequence: Slot<LayerCurves>,
    attention: Slot<Arc<AttentionGrid>>,
    /// Experts are profiled at one degree only.
    experts: Slot<Option<Arc<Experts>>>,
    skew: Slot<Arc<SkewFit>>,
}

/// Which tables of a degree are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    dense: bool,
    per_sequence: bool,
    attention: bool,
    experts: bool,
}

impl Wanted {
    /// The whole degree.
    pub(crate) const ALL: Self = Self { dense: true, per_sequence: true, attention: true, experts: true };

    /// What a profile of `architecture` takes from a degree: from the one it is of, from the one that stands for all
    /// where layers take the same time at each, and from the lowest.
    pub(crate) fn of(architecture: &Architecture, is_own: bool, is_stable: bool, is_lowest: bool) -> Self {
        let has = |table| Layer::ALL.iter().any(|&layer| architecture.table(layer) == Some(table));
        let has_stable = |table| {
            let is_such = |layer| architecture.table(layer) == Some(table) && architecture.is_tp_stable(layer);
            Layer::ALL.iter().any(|&layer| is_such(layer))
        };
        Self {
            dense: is_own || is_stable && has_stable(Table::Dense),
            per_sequence: is_own || is_stable && has_stable(Table::PerSequence),
            attention: is_own,
            experts: is_lowest && has(Table::Moe),
        }
    }
}

/// A table.
enum Slot<T> {
    /// It was not wanted yet.
    Unread,
    /// It was read, and was faulty.
    Faulty,
    Read(T),
}

impl<T> Slot<T> {
    /// Reads the table if that was not done yet. Faults are told then and not again; whether there are none.
    fn read(&mut self, faults: &mut Faults, read: impl FnOnce(&mut Faults) -> Option<T>) -> bool {
        if let Slot::Unread = self {
            let mut own = Faults::new();
            *self = match read(&mut own) {
                Some(table) if own.is_empty() => Slot::Read(table),
                _ => Slot::Faulty,
            };
            faults.extend(own);
        }
        matches!(self, Slot::Read(_))
    }

    /// The table, which was read before.
    fn get(&self) -> &T {
        match self {
            Slot::Read(table) => table,
            _ => panic!("a table that was not read"),
        }
    }
}

impl Degree {
    /// The degree in the folder `dir`, with a fit whose table has its whole path.
    pub(crate) fn new(dir: PathBuf, fit: MetaFit) -> Self {
        Self {
            dir,
            fit: Some(fit),
            dense: Slot::Unread,
            per_sequence: Slot::Unread,
            attention: Slot::Unread,
            experts: Slot::Unread,
            skew: Slot::Unread,
        }
    }

    /// Reads what is `wanted` and was not read before, tables in other formats with `others`; whether all that is wanted
    /// is sound.
    pub(crate) fn read(&mut self, wanted: Wanted, others: Option<OtherTables>, faults: &mut Faults) -> bool {
        let Self { dir, fit, .. } = self;
        let curves = |file: &str, key, faults: &mut Faults| {
            let (source, file) = open(&dir.join(file), others, faults)?;
            Some(read_curves(&source, file, key, faults))
        };
        let mut is_sound = true;
        if wanted.dense {
            is_sound &= self.dense.read(faults, |faults| curves("dense.csv", "tokens", faults));
        }
        if wanted.per_sequence {
            is_sound &= self.per_sequence.read(faults, |faults| curves("per_sequence.csv", "sequences", faults));
        }
        if wanted.attention {
            is_sound &= self.attention.read(faults, |faults| {
                let (source, file) = open(&dir.join("attention.csv"), others, faults)?;
                AttentionGrid::read(&source, file, faults).map(Arc::new)
            });
        }
        if wanted.experts {
            is_sound &= self.experts.read(faults, |faults| {
                let path = dir.join("moe.csv");
                if !is_there(&path, others) {
                    return Some(None);
                }
                let (source, file) = open(&path, others, faults)?;
                Experts::read(&source, file, faults).map(|experts| Some(Arc::new(experts)))
            });
        }
        // What decodes of unequal length cost is a part of attention.
        if wanted.attention {
            is_sound &= self.skew.read(faults, |faults| fit.take()?.read(others, faults).map(Arc::new));
        }
        is_sound
    }

    /// By tokens of the step.
    pub(crate) fn dense(&self, layer: Layer) -> Option<&Arc<Curve>> {
        self.dense.get()[layer as usize].as_ref()
    }

    /// By sequences of the step.
    pub(crate) fn per_sequence(&self, layer: Layer) -> Option<&Arc<Curve>> {
        self.per_sequence.get()[layer as usize].as_ref()
    }

    pub(crate) fn attention(&self) -> &Arc<AttentionGrid> {
        self.attention.get()
    }

    pub(crate) fn skew(&self) -> &Arc<SkewFit> {
        self.skew.get()
    }

    /// The experts, where they are wanted and profiled.
    pub(crate) fn experts(&self) -> Option<Arc<Experts>> {
        match &self.experts {
            Slot::Read(experts) => experts.clone(),
            _ => None,
        }
    }
}

impl MetaFit {
    /// The fit with its table, where it has one.
    fn read(self, others: Option<OtherTables>, faults: &mut Faults) -> Option<SkewFit> {
        let Self { mut fit, table } = self;
        if let Some(path) = table {
            let (source, file) = open(&path, others, faults)?;
            fit.read(&source, file, faults);
        }
        Some(fit)
    }
}

/// Reads `layer,<key>,time_us`. Layers we have no name for are left out: no architecture can name them either.
fn read_curves(source: &str, file: TableFile, key: &str, faults: &mut Faults) -> LayerCurves {
    let mut rows = CurveRows { points: [const { Vec::new() }; Layer::ALL.len()], name: Vec::new(), layer: None };
    csv::read(source, file, ["layer", key, "time_us"], faults, &mut rows);
    rows.points.map(|points| (!points.is_empty()).then(|| Arc::new(Curve::new(points))))
}

/// The points of each layer, as they are read.
struct CurveRows {
    points: [Vec<(u32, f64)>; Layer::ALL.len()],
    /// The name in the row before, and which layer that is. Most rows have the same.
    name: Vec<u8>,
    layer: Option<Layer>,
}

impl Rows for CurveRows {
    type Record<'a> = (&'a [u8], (u32, f64));

    fn parse<'a, C: Cells<'a>>(&self, cells: &mut C) -> Result<Self::Record<'a>, C::Fault> {
        Ok((cells.text(0)?.bytes, (cells.whole(1)?, cells.time_ns(2)?)))
    }

    fn push(&mut self, (name, point): Self::Record<'_>) {
        if self.name != name {
            self.name = name.to_vec();
            self.layer = layer(name);
        }
        if let Some(layer) = self.layer {
            self.points[layer as usize].push(point);
        }
    }
}

/// The layer called `name`.
pub(crate) fn layer(name: &[u8]) -> Option<Layer> {
    std::str::from_utf8(name).ok()?.parse().ok()
}

/// Measured times of the experts of one rank, by tokens and by experts that have any.
#[derive(Debug)]
pub(crate) struct Experts(Sheets);

impl Experts {
    /// Reads `tokens,activated_experts,time_us`.
    fn read(source: &str, file: TableFile, faults: &mut Faults) -> Option<Self> {
        let mut rows = ExpertRows(Points::default());
        csv::read(source, file, ["tokens", "activated_experts", "time_us"], faults, &mut rows);
        (!rows.0.is_empty()).then(|| Self(rows.0.into_sheets().1))
    }

    /// Most tokens, and most active experts.
    pub(crate) fn last(&self) -> [u64; 2] {
        let [active, tokens] = self.0.last();
        [tokens, active]
    }

    /// The time in whole ns of `tokens` tokens on `active` experts: along the tokens first, then between experts.
    pub(crate) fn time_ns(&self, tokens: u64, active: u64) -> u64 {
        whole_ns(self.0.time_ns(0, active, tokens))
    }
}

/// The points of experts, all on one sheet.
struct ExpertRows(Points);

impl Rows for ExpertRows {
    type Record<'a> = (u32, u32, f64);

    fn parse<'a, C: Cells<'a>>(&self, cells: &mut C) -> Result<(u32, u32, f64), C::Fault> {
        Ok((cells.whole(0)?, cells.whole(1)?, cells.time_ns(2)?))
    }

    fn push(&mut self, (tokens, active, time_ns): (u32, u32, f64)) {
        self.0.push([0, 0, active], tokens, time_ns);
    }
}
