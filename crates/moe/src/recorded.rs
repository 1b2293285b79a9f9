//! Routing that was recorded on a real engine.
//!
//! Two formats, told apart by their first character; `docs/routing-files.md` shows both to users.
//!
//! - **Shares** (CSV): how often each expert of each layer is chosen. What ranks get are expected values.
//! - **Choices** (JSON Lines): which experts single tokens chose, layer by layer. What ranks get are counts.
//!
//! Which to take is a matter of what was recorded: choices keep what goes together, and how loads scatter from step to
//! step; shares are small, and every engine with an expert load balancer counts them.

mod choices;
mod choices_file;
mod shares;
mod shares_file;

use std::sync::Arc;

use diagnostics::{Fault, Faults, Position};

use crate::{ExpertGate, ExpertRouting};
use choices::{ChoiceGate, Choices};
use shares::{ShareGate, Shares};

/// The mixture-of-experts blocks of a model, which a recording must fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MoeShape {
    /// Blocks of the model. Layers are numbered from 0, blocks without experts included.
    pub num_layers: u32,
    /// Experts of a block.
    pub num_experts: u32,
    /// Experts that each token takes.
    pub experts_per_token: u32,
}

/// Routing as it was recorded. Copies share one recording.
#[derive(Clone, Debug)]
pub struct RecordedRouting(Recording);

#[derive(Clone, Debug)]
enum Recording {
    Shares(Arc<Shares>),
    Choices(Arc<Choices>),
}

impl RecordedRouting {
    /// Reads the recording in `text` for a model of the given shape; `name` stands for the file in faults.
    ///
    /// # Errors
    /// Everything wrong in the file, with its place; the first 20 of many.
    ///
    /// # Panics
    /// When the shape has no layers, no experts, or more experts for a token than there are.
    pub fn read(name: &str, text: &str, shape: &MoeShape) -> Result<Self, Faults> {
        let MoeShape { num_layers, num_experts, experts_per_token } = *shape;
        assert!(num_layers > 0 && (1..=num_experts).contains(&experts_per_token), "a routing file for {shape:?}");
        let faults = FileFaults::new(name);
        // Spreadsheets mark their files so.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let recording = if text.trim_start().starts_with('{') {
            Recording::Choices(Arc::new(choices_file::read(text, shape, faults)?))
        } else {
            Recording::Shares(Arc::new(shares_file::read(text, shape, faults)?))
        };
        Ok(Self(recording))
    }
}

impl ExpertRouting for RecordedRouting {
    /// A gate at the start of the recording. There is nothing random about it: the seed is not used, and the instances
    /// of one data-parallel group, which route equal numbers of tokens, agree on where they went.
    fn gate(&self, _seed: u64) -> Box<dyn ExpertGate> {
        match &self.0 {
            Recording::Shares(shares) => Box::new(ShareGate::new(Arc::clone(shares))),
            Recording::Choices(choices) => Box::new(ChoiceGate::new(Arc::clone(choices))),
        }
    }
}

/// The faults of one file, the first ones in full and the others counted.
struct FileFaults<'a> {
    name: &'a str,
    listed: Faults,
    num_faults: usize,
}

impl<'a> FileFaults<'a> {
    /// Faults listed in full.
    const LISTED_MAX: usize = 20;

    fn new(name: &'a str) -> Self {
        Self { name, listed: Faults::new(), num_faults: 0 }
    }

    /// Records a fault in line `line_number`, at byte `offset` of `line`.
    fn push(&mut self, (line_number, line): (usize, &str), offset: usize, message: impl Into<String>, hint: &str) {
        let position = Position { line: line_number, ..Position::of(line, offset) };
        self.push_fault(Fault::new(self.name, message).at(position), hint);
    }

    /// Records a fault of the file as a whole.
    fn push_whole(&mut self, message: impl Into<String>, hint: &str) {
        self.push_fault(Fault::new(self.name, message), hint);
    }

    fn push_fault(&mut self, fault: Fault, hint: &str) {
        self.num_faults += 1;
        if self.num_faults <= Self::LISTED_MAX {
            self.listed.push(if hint.is_empty() { fault } else { fault.hint(hint) });
        }
    }

    fn is_empty(&self) -> bool {
        self.num_faults == 0
    }

    fn into_faults(mut self) -> Faults {
        if let unlisted @ 1.. = self.num_faults.saturating_sub(Self::LISTED_MAX) {
            let faults = if unlisted == 1 { "fault" } else { "faults" };
            self.listed.push(Fault::new(self.name, format!("{unlisted} more {faults}")));
        }
        self.listed
    }

    fn into_result<T>(self, value: T) -> Result<T, Faults> {
        self.into_faults().into_result(value)
    }
}

/// The lines of `text` that are not blank, with their numbers from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty())
}

#[cfg(test)]
mod tests;
