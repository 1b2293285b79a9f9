//! The native part of the Python package `servingsim`: `servingsim._native`.
//!
//! It runs what the command runs (`cli::Run`), and hands on results as Arrow tables and JSON. What is convenient in
//! Python is written in Python (`python/servingsim`), on top of the few functions and classes here. The interpreter's
//! lock is released while a run goes, and taken back for callables: policies, progress.

mod command;
mod faults;
mod policies;
mod rows;
mod run;
mod table;
mod watcher;

use pyo3::prelude::*;

/// The module; `python/servingsim/_native.pyi` describes it.
#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::command::{Flag, examples, flags, hint, run_command};
    #[pymodule_export]
    use crate::policies::{ExpertBlock, InstanceLoad, RoutedRequest};
    #[pymodule_export]
    use crate::rows::json_lines;
    #[pymodule_export]
    use crate::run::{RawResult, run};
    #[pymodule_export]
    use crate::table::Table;

    #[pymodule_init]
    fn init(module: &super::Bound<'_, super::PyModule>) -> super::PyResult<()> {
        use super::PyModuleMethods;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
