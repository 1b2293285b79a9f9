//! Input files as they stand: strict JSON with places, and names that were nearly right.
//!
//! Nothing here knows what an input means. A [`Document`] is a text under the name that faults give it; [`json`] reads
//! one so that every value knows where it stands and all faults come out at once; [`schema`] has tables of keys, for
//! readers and for who describes what they read; [`suggest`] finds the known name that
//! an unknown one was probably meant to be.

mod bounds;
mod document;
pub mod json;
pub mod schema;
pub mod suggest;

pub use bounds::Bounds;
pub use document::Document;
