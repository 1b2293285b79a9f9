//! Times that a profiler measured, and the rules by which times between them are found.
//!
//! A [`Bundle`] has every degree that was profiled; [`Bundle::at`] resolves it for one architecture at one degree into a
//! [`Profile`], which answers without allocating. Tables are read when they are first needed, and shared.

mod attention;
mod bundle;
mod catalogue;
mod csv;
mod degree;
mod files;
mod meta;
mod points;
mod profile;
mod samples;
mod skew;
mod stretch;
mod tables;

pub use bundle::{Bundle, NoProfile};
pub use catalogue::{BundleName, Catalogue};
pub use files::OtherTables;
pub use meta::ProfiledLimits;
pub use profile::Profile;
pub use samples::{Op, Sample, read_samples, read_samples_with};
pub(crate) use stretch::Stretch;
