//! A profile bundle: what one model takes on one GPU type, as its profiler wrote it down.
//!
//! ```text
//! <variant>/meta.yaml                limits that were swept, skew fit
//! <variant>/tp<N>/dense.csv          layer,tokens,time_us
//! <variant>/tp<N>/per_sequence.csv   layer,sequences,time_us
//! <variant>/tp<N>/attention.csv      prefill_chunk,kv_prefill,n_decode,kv_decode,time_us
//! <variant>/tp<N>/moe.csv            tokens,activated_experts,time_us (mixture of experts; the lowest degree counts)
//! <variant>/tp<N>/skew_fit.csv       pc,n_label,skew_rate_label,kv_big_label,kp_label,alpha (where meta.yaml says so)
//! ```
//!
//! A table may be in another format, in the place of its CSV ([`OtherTables`]).
//!
//! The tables are long and a cluster asks for few of them, so each is read when it is first asked for, and once.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::mem;
use std::path::{Path, PathBuf};

use diagnostics::{Fault, Faults};
use model::{Architecture, Table};

use super::degree::{Degree, Wanted};
use super::files::{OtherTables, unreadable};
use super::meta::{Meta, MetaFit, ProfiledLimits};
use super::profile::Profile;
use super::skew::SkewFit;

/// The measured tables of one model on one GPU type, at every tensor-parallel degree that was profiled.
pub struct Bundle {
    dir: PathBuf,
    others: Option<OtherTables>,
    limits: ProfiledLimits,
    /// At least one.
    degrees: BTreeMap<u64, Degree>,
    /// What is wrong with `meta.yaml`, until it is told; `None` when that is sound.
    meta_faults: Option<Faults>,
}

/// Why a bundle gives no profile.
#[derive(Debug)]
pub enum NoProfile {
    /// What was asked for was not profiled.
    Absent(Fault),
    /// Files that are needed are faulty. Each fault is told once: whoever asks again may find none here.
    Faulty(Faults),
}

impl Bundle {
    /// Finds the bundle in `variant_dir`, such as `RTX4090/meta-llama/Llama-3.1-8B/bf16`, and reads its `meta.yaml`.
    ///
    /// Tables are read by [`at`](Bundle::at), which tells what is wrong with them and with `meta.yaml`.
    ///
    /// # Errors
    /// When there is no such folder, or no degree in it.
    pub fn open(variant_dir: &Path) -> Result<Self, Faults> {
        Self::open_with(variant_dir, None)
    }

    /// The same, with tables in another format too.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(variant_dir: &Path, others: Option<OtherTables>) -> Result<Self, Faults> {
        let mut faults = Faults::new();
        let dirs = degree_dirs(variant_dir)?;

        let meta_path = variant_dir.join("meta.yaml");
        let meta_source = meta_path.display().to_string();
        let mut meta = match fs::read(&meta_path) {
            Ok(bytes) => Meta::read(&meta_source, &String::from_utf8_lossy(&bytes), &mut faults),
            Err(error) => {
                faults.push(unreadable(&meta_source, &error));
                Meta::default()
            }
        };

        let mut degrees = BTreeMap::new();
        for (tp, dir) in dirs {
            let constant = MetaFit { fit: SkewFit::constant(meta.alpha_default), table: None };
            let mut fit = meta.fits.remove(&tp).unwrap_or(constant);
            fit.table = fit.table.map(|table| variant_dir.join(table));
            degrees.insert(tp, Degree::new(dir, fit));
        }
        let meta_faults = (!faults.is_empty()).then_some(faults);
        Ok(Self { dir: variant_dir.to_owned(), others, limits: meta.limits, degrees, meta_faults })
    }

    /// Opens the bundle in `variant_dir` and reads all of it.
    ///
    /// # Errors
    /// Everything that is wrong with it: missing files and columns, and malformed rows with their line and column.
    pub fn load(variant_dir: &Path) -> Result<Self, Faults> {
        Self::load_with(variant_dir, None)
    }

    /// The same, with tables in another format too.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with(variant_dir: &Path, others: Option<OtherTables>) -> Result<Self, Faults> {
        let mut bundle = Self::open_with(variant_dir, others)?;
        let mut faults = bundle.meta_faults.take().unwrap_or_default();
        for degree in bundle.degrees.values_mut() {
            degree.read(Wanted::ALL, others, &mut faults);
        }
        faults.into_result(bundle)
    }

    /// The tensor-parallel degrees that were profiled, in rising order.
    pub fn tp_degrees(&self) -> impl Iterator<Item = u64> {
        self.degrees.keys().copied()
    }

    /// The limits of the engine that was profiled.
    pub fn profiled_limits(&self) -> ProfiledLimits {
        self.limits
    }

    /// The times of a model of this `architecture` at tensor-parallel degree `tp`.
    ///
    /// Reads the tables that this needs and that were not needed before. Layers that take the same time at every degree
    /// are taken from degree 1 where that was profiled, experts from the lowest degree. Layers that the architecture
    /// runs and the bundle lacks are not an error: see [`Profile::missing_layers`].
    ///
    /// # Errors
    /// When `tp` was not profiled, or the architecture has experts and the bundle has not, or a file that is needed is
    /// faulty.
    pub fn at(&mut self, architecture: &Architecture, tp: u64) -> Result<Profile, NoProfile> {
        let mut is_sound = self.meta_faults.is_none();
        let mut faults = self.meta_faults.as_mut().map(mem::take).unwrap_or_default();

        let lowest = self.degrees.keys().next().copied().expect("a bundle has degrees");
        let stable = if self.degrees.contains_key(&1) { 1 } else { tp };
        if self.degrees.contains_key(&tp) {
            for (&degree_tp, degree) in &mut self.degrees {
                let needed = Wanted::of(architecture, degree_tp == tp, degree_tp == stable, degree_tp == lowest);
                is_sound &= degree.read(needed, self.others, &mut faults);
            }
        }
        if !is_sound {
            return Err(NoProfile::Faulty(faults));
        }
        self.resolve(architecture, tp, stable, lowest).map_err(NoProfile::Absent)
    }

    /// The profile, once all tables that it needs are read.
    fn resolve(&self, architecture: &Architecture, tp: u64, stable: u64, lowest: u64) -> Result<Profile, Fault> {
        let Some(degree) = self.degrees.get(&tp) else {
            let known: Vec<String> = self.tp_degrees().map(|tp| tp.to_string()).collect();
            return Err(Fault::new(self.dir.display().to_string(), format!("tp {tp} is not profiled"))
                .hint(format!("there is tp {}", known.join(", "))));
        };
        let experts = self.degrees[&lowest].experts();
        let has_experts = |layer| architecture.table(layer) == Some(Table::Moe);
        if experts.is_none() && architecture.sequence.layers().any(has_experts) {
            let message = format!("experts are not profiled, and {} has them", architecture.model_type);
            return Err(Fault::new(self.dir.display().to_string(), message).hint("they belong in tp1/moe.csv"));
        }
        Ok(Profile::new(architecture, tp, degree, &self.degrees[&stable], experts))
    }
}

impl fmt::Debug for Bundle {
    /// The place and the degrees; the tables are too long to read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let degrees: Vec<u64> = self.tp_degrees().collect();
        f.debug_struct("Bundle").field("dir", &self.dir).field("tp_degrees", &degrees).finish_non_exhaustive()
    }
}

/// The folders `tp<N>` of a bundle with their degrees.
fn degree_dirs(variant_dir: &Path) -> Result<BTreeMap<u64, PathBuf>, Faults> {
    let source = variant_dir.display().to_string();
    let entries =
        fs::read_dir(variant_dir).map_err(|error| Fault::new(source.clone(), format!("no profile here: {error}")))?;
    let dirs: BTreeMap<u64, PathBuf> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let tp = entry.file_name().to_str()?.strip_prefix("tp")?.parse().ok().filter(|&tp| tp > 0)?;
            Some((tp, entry.path()))
        })
        .collect();
    if dirs.is_empty() {
        return Err(Fault::new(source, "no tensor-parallel degree is profiled").hint("each has a folder tp<N>").into());
    }
    Ok(dirs)
}
