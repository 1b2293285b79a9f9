//! A Python of our own, for tests that compare with programs in Python.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is installed: the reader and writer of Chakra traces that ours is compared with, and readers and writers of
/// Parquet files, and a validator of JSON schemas.
const PACKAGES: [&str; 6] =
    ["protobuf==7.36.2", "pyarrow==25.0.1", "polars==1.44.2", "pandas==2.3.3", "duckdb==1.4.3", "jsonschema==4.26.0"];

/// The interpreter of the virtual environment `python` in the target folder, with these packages.
pub(crate) fn set_up() -> Result<String, String> {
    let python = environment("python", &PACKAGES)?;
    python.into_os_string().into_string().map_err(|path| format!("{} is not UTF-8", path.display()))
}

/// Makes a virtual environment in the target folder, unless it is there with these packages, and returns its
/// interpreter.
pub(crate) fn environment(name: &str, packages: &[&str]) -> Result<PathBuf, String> {
    let folder = super::target_dir()?.join(name);
    let python = folder.join("bin").join("python");
    let installed = folder.join("installed");
    let wanted = packages.join("\n");
    if fs::read_to_string(&installed).ok().as_deref() != Some(wanted.as_str()) {
        let make = || run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
        // Debian's own Python leaves the module out of its package.
        make()
            .or_else(|_| run(Command::new("apt-get").args(["install", "-y", "python3-venv"])).and_then(|()| make()))?;
        install(&python, packages)?;
        fs::write(&installed, wanted).map_err(|error| format!("{}: {error}", installed.display()))?;
    }
    Ok(python)
}

/// Installs packages, given as names or as what else pip takes.
pub(crate) fn install(python: &Path, packages: &[&str]) -> Result<(), String> {
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(Command::new(python).args(pip).args(packages))
}

/// Runs a command, and says what it runs.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    println!("> {command:?}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?} failed: {status}")),
        Err(error) => Err(format!("{command:?}: {error}; the tests need Python 3.10 or later")),
    }
}
