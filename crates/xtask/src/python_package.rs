//! The Python package: its wheel is built, installed where nothing else of ours is, and tested.
//!
//! The wheel is that of users but for the profile, which is one that builds quickly; the tests compare it with the
//! released command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::python::{environment, install, run};

/// What builds the wheel.
const MAKERS: [&str; 1] = ["maturin==1.16.0"];

/// What tests it, and what reads its results there.
const USERS: [&str; 9] = [
    "pytest==9.2.0",
    "mypy==2.4.1",
    "typing_extensions==4.16.0",
    "numpy==2.4.6",
    "pyarrow==26.0.1",
    "polars==2.1.0",
    "pandas==3.1.1",
    "pandas-stubs==3.1.0.261029",
    "duckdb==2.0.1",
];

/// Builds the wheel, installs it and runs the tests of `crates/python/tests`, after the command was built as released.
pub(crate) fn test() -> Result<(), String> {
    let wheel = wheel()?;
    let python = environment("python-package", &USERS)?;
    install(&python, &["--force-reinstall", "--no-deps", &wheel.to_string_lossy()])?;
    let tests = super::root().join("crates/python/tests");
    let command = super::target_dir()?.join("release").join("servingsim");
    // Where the sources are not, so that the package is the one that was installed.
    run(Command::new(python)
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
        .arg(&tests)
        .env("SERVINGSIM_BINARY", command)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(super::target_dir()?))
}

/// The wheel, built anew.
fn wheel() -> Result<PathBuf, String> {
    let maturin = environment("python-wheel", &MAKERS)?;
    let folder = super::target_dir()?.join("wheels");
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let manifest = super::root().join("crates/python/Cargo.toml");
    run(Command::new(maturin)
        .args(["-m", "maturin", "build", "--profile", "wheel", "--quiet", "--manifest-path"])
        .arg(manifest)
        .arg("--out")
        .arg(&folder))?;
    only_file(&folder)
}

/// The file in a folder that has one.
fn only_file(folder: &Path) -> Result<PathBuf, String> {
    let files = folder.read_dir().map_err(|error| format!("{}: {error}", folder.display()))?;
    let files: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
    match &files[..] {
        [file] => Ok(file.clone()),
        files => Err(format!("{} has {} files instead of one wheel", folder.display(), files.len())),
    }
}
