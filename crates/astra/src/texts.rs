//! The three files as texts.

use std::sync::Arc;

use diagnostics::{Fault, Faults};
use documents::Document;

use crate::setup::{Options, Setup};
use crate::{Loaded, memory_file, network_file, read_documents, system_file};

const NETWORK: &str = "network.yml";
const SYSTEM: &str = "system.json";
const MEMORY: &str = "memory.json";

/// What the three files hold. ASTRA-Sim reads them, and so does [`read`](crate::read).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    /// `network.yml`.
    pub network_yml: String,
    /// `system.json`.
    pub system_json: String,
    /// `memory.json`.
    pub memory_json: String,
}

impl Texts {
    /// The texts of a setup, which read back to the same one: numbers are written so that no digit is lost.
    ///
    /// What ASTRA-Sim takes on its command line is not in the files: [`Options`], which have to be those of the setup
    /// when the texts are read back, with an injection scale of 1. A setup that was not read may differ from what is read
    /// back in how it puts the same thing: algorithms that are not listed are written as the rings they stand for, and a
    /// memory without devices is left out.
    ///
    /// # Errors
    /// When measured times stand in for computed ones, or something is beyond what [`read`](crate::read) allows, such as
    /// a bandwidth of 10^10 GB/s.
    pub fn of(setup: &Setup) -> Result<Self, Faults> {
        let mut faults = Faults::new();
        if setup.fabric.system.measured.is_some() {
            faults.push(Fault::new(SYSTEM, "there is no place in this file for measured times of collectives"));
        }
        let texts = Self {
            network_yml: network_file::text(&setup.fabric.topology),
            system_json: system_file::text(setup),
            memory_json: memory_file::text(setup),
        };
        if let Err(beyond) = texts.read(&Options::default()) {
            faults.extend(beyond);
        }
        faults.into_result(texts)
    }

    /// Reads and checks the texts. In faults they go by the names of the fields, with a dot.
    ///
    /// # Errors
    /// Everything that is wrong in any of them, at once.
    ///
    /// # Panics
    /// When `options` break the bounds that their fields state.
    pub fn read(&self, options: &Options) -> Result<Loaded, Faults> {
        let document = |name: &str, text: &String| Ok(Arc::new(Document { name: name.to_owned(), text: text.clone() }));
        let network_and_system = [document(NETWORK, &self.network_yml), document(SYSTEM, &self.system_json)];
        read_documents(network_and_system, Some(document(MEMORY, &self.memory_json)), options)
    }
}
