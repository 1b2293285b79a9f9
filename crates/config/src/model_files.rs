//! Models and architectures by name, for those who need no cluster.

use std::path::PathBuf;
use std::sync::Arc;

use diagnostics::{Fault, Faults};
use model::{Architecture, Model};

use crate::architectures::Architectures;
use crate::models::Models;
use crate::report::Report;

/// Models with their architectures, from folders and from what ships, as [`load`](crate::load) finds them.
pub struct ModelFiles {
    models: Models,
    architectures: Architectures,
}

impl ModelFiles {
    /// Models beside the built-in ones in `model_dir`, architectures beside the built-in ones in `architecture_dir`.
    pub fn new(model_dir: Option<PathBuf>, architecture_dir: Option<PathBuf>) -> Self {
        Self { models: Models::new(model_dir), architectures: Architectures::new(architecture_dir) }
    }

    /// The model called `name`, such as `Qwen/Qwen3-32B`, and its family's architecture.
    ///
    /// # Errors
    /// When there is no such model or family, or its files can't be used. A file's faults are told once: asked again,
    /// the error is empty.
    pub fn get(&mut self, name: &str) -> Result<(Model, Architecture), Faults> {
        let mut report = Report::default();
        let at = |message| Fault::new(name, message);
        let found = self.models.get(name, &at, &mut report).and_then(|model| {
            let architecture = self.architectures.get(&model, &at, &mut report)?;
            Some((Arc::unwrap_or_clone(model), Arc::unwrap_or_clone(architecture)))
        });
        found.ok_or(report.faults)
    }
}
