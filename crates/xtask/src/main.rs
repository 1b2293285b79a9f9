//! Development tasks.
//!
//! `cargo xtask test` sets up and runs every test there is; `.ci/run` calls it. It needs Rust, Python and Node, whose
//! packages it installs for itself as it does valgrind and a browser, and says which tests it had to skip for want of the
//! reference data.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

mod bench;
mod browser;
mod fences;
mod instructions;
mod marked;
mod newcomer;
mod python;
mod python_package;
mod validate;

const USAGE: &str = "usage: cargo xtask <task>

  test           format, lints, dependency fences, every test, the README's first command, Python, pages in a browser, instructions
  test           format, lints, dependency fences, every test, the README's first command, pages in a browser, instructions
  test           format, lints, dependency fences, every test, the README's first command, instructions
  docs           write docs/reference anew, which is made from the code
  validate       write anew what docs/validation.md says of recorded runs of vLLM
  instructions   count what a few commands execute, and compare with benches/instructions.toml
                 --accept           write what was counted there
  bench          measure what runs cost, against the targets of docs/performance.md
                 --runs N           of each command; medians are told (5)
                 --only NAME,...    start, small, steady, limit, scale, waves, sweep or batch
                 --write            write the table and plots into docs/performance.md
";

/// Builds the command with everything; as it is released, it is built without.
const PARQUET: &str = "--features=cli/parquet";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let outcome = match args.split_first().map(|(task, rest)| (task.as_str(), rest)) {
        Some(("test", _)) => test(),
        Some(("docs", _)) => docs(),
        Some(("validate", _)) => needed_reference_dir().and_then(|dir| validate::validate(&dir, false)),
        Some(("instructions", rest)) => instructions::instructions(rest),
        Some(("bench", rest)) => needed_reference_dir().and_then(|dir| bench::bench(&dir, rest)),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn test() -> Result<(), String> {
    let reference = reference_dir();
    if reference.is_none() && env::var_os("SERVINGSIM_REFERENCE_REQUIRED").is_some() {
        return Err("the reference data is required and not there; set SERVINGSIM_REFERENCE".to_owned());
    }
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--workspace", PARQUET, "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    cargo(&["clippy", "--package", "cli", "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    fences::check()?;
    let python = python::set_up()?;
    // What tests print is their result too: the worst deviation from the reference, say.
    let test = ["test", "--workspace", PARQUET, "--quiet", "--", "--show-output"];
    cargo_with(&[("SERVINGSIM_PYTHON", &python)], &test)?;
    cargo(&["test", "--package", "cli", "--test", "without_parquet", "--quiet"])?;
    // A test of every day tries the engine's properties on few cases.
    cargo_with(&[("PROPTEST_CASES", "1000")], &["test", "--package", "engine", "--test", "it", "--quiet"])?;
    cargo(&["run", "--release", "--quiet", "--", "run", "--quiet"])?;
    python_package::test()?;
    browser::test()?;
    newcomer::test()?;
    instructions::instructions(&[])?;
    match reference {
        Some(dir) => {
            validate::validate(&dir, true)?;
            println!("reference data: {}", dir.display());
        }
        None => println!(
            "SKIPPED: {} test targets compare with reference data that is not here (set SERVINGSIM_REFERENCE)",
            reference_targets()?
        ),
    }
    Ok(())
}

/// Has the test that holds the pages of docs/reference to the code write them.
fn docs() -> Result<(), String> {
    let test = ["test", "--package", "cli", "--lib", "--quiet", "pages::pages_are_up_to_date"];
    cargo_with(&[("SERVINGSIM_WRITE_PAGES", "1")], &test)
}

/// Where the reference data is, if it is there; the same places as `testkit::reference_dir`.
fn reference_dir() -> Option<PathBuf> {
    let dir = env::var_os("SERVINGSIM_REFERENCE").map_or_else(|| root().join("../shared/reference"), PathBuf::from);
    dir.is_dir().then_some(dir)
}

/// Where the reference data is, for tasks that need it.
fn needed_reference_dir() -> Result<PathBuf, String> {
    reference_dir().ok_or_else(|| "the reference data is not there; set SERVINGSIM_REFERENCE".to_owned())
}

/// How many test targets need the reference data.
fn reference_targets() -> Result<usize, String> {
    let crates = root().join("crates");
    let entries = crates.read_dir().map_err(|error| format!("{}: {error}", crates.display()))?;
    let tests = entries.flatten().filter_map(|krate| krate.path().join("tests").read_dir().ok());
    Ok(tests.flatten().flatten().filter(|file| file.file_name().to_string_lossy().starts_with("reference_")).count())
}

/// Where cargo puts what it builds.
fn target_dir() -> Result<PathBuf, String> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    std::path::absolute(&target).map_err(|error| format!("{}: {error}", target.display()))
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Runs cargo in the repository, and says what it runs.
fn cargo(args: &[&str]) -> Result<(), String> {
    cargo_with(&[], args)
}

fn cargo_with(variables: &[(&str, &str)], args: &[&str]) -> Result<(), String> {
    let set: String = variables.iter().map(|(name, value)| format!("{name}={value} ")).collect();
    println!("> {set}cargo {}", args.join(" "));
    let variables = variables.iter().copied();
    let status = Command::new(env!("CARGO")).args(args).envs(variables).current_dir(root()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cargo {} failed: {status}", args.join(" "))),
        Err(error) => Err(format!("cargo {}: {error}", args.join(" "))),
    }
}
