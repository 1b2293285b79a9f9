//! The command itself, and what there is to know about its flags and examples.

use std::ffi::OsString;
use std::io::{self, Write};

use pyo3::prelude::*;

/// Runs the command line `args`, the name of the program first, and returns its exit code.
#[pyfunction]
pub(crate) fn run_command(py: Python<'_>, args: Vec<OsString>) -> u8 {
    py.detach(|| {
        let code = cli::run_command(args);
        // Nobody flushes it when the interpreter ends. A reader that is gone has had enough.
        let _ = io::stdout().flush();
        code
    })
}

/// A flag of `servingsim run`.
#[pyclass(frozen, get_all, module = "servingsim._native")]
pub(crate) struct Flag {
    name: String,
    aliases: Vec<String>,
    takes_value: bool,
    takes_list: bool,
    value_name: Option<String>,
    values: Vec<String>,
    default: Option<String>,
    help: Option<String>,
}

/// All flags of `servingsim run`.
#[pyfunction]
pub(crate) fn flags() -> Vec<Flag> {
    let flag = |flag: cli::RunFlag| {
        let cli::RunFlag { name, aliases, takes_value, takes_list, value_name, values, default, help } = flag;
        Flag { name, aliases, takes_value, takes_list, value_name, values, default, help }
    };
    cli::run_flags().into_iter().map(flag).collect()
}

/// What to write instead of `name`: the nearest of `known`, or all of them.
#[pyfunction]
pub(crate) fn hint(name: &str, known: Vec<String>) -> String {
    documents::suggest::hint(name, &known.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The built-in examples: name, what it shows, cluster (JSON), workload (JSON Lines).
#[pyfunction]
pub(crate) fn examples() -> Vec<(&'static str, &'static str, &'static str, &'static str)> {
    let example =
        |example: &::examples::Example| (example.name, example.summary, example.cluster.text, example.workload.text);
    ::examples::EXAMPLES.iter().map(example).collect()
}
