//! `servingsim examples`.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use diagnostics::{Fault, Faults};

use crate::Failure;
use crate::args::ExamplesArgs;

pub(crate) fn examples(args: &ExamplesArgs) -> Result<(), Failure> {
    match &args.write {
        None => list(),
        Some(dir) => write(dir),
    }
}

fn list() -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let width = examples::EXAMPLES.iter().map(|example| example.name.len()).max().unwrap_or(0);
    for example in examples::EXAMPLES {
        writeln!(out, "{:width$}  {}", example.name, example.summary)?;
    }
    writeln!(out, "\nRun one:          servingsim run --example NAME")?;
    writeln!(out, "Write the files:  servingsim examples --write DIR")?;
    Ok(())
}

/// Writes every file, or none where one is in the way; then tells how to run them.
fn write(dir: &Path) -> Result<(), Failure> {
    let unwritable =
        |path: &Path, error: io::Error| Fault::new(path.display().to_string(), format!("can't be written: {error}"));
    if dir.exists() && !dir.is_dir() {
        return Err(Fault::new(dir.display().to_string(), "is not a folder")
            .hint("name a folder for the files")
            .into());
    }
    let files = examples::files();
    let mut faults = Faults::new();
    for file in &files {
        let path = dir.join(file.name);
        if fs::read(&path).is_ok_and(|text| text != file.text.as_bytes()) {
            let fault = Fault::new(path.display().to_string(), "is there already, and differs from the example");
            faults.push(fault.hint("move it away, or write to another folder"));
        }
    }
    faults.into_result(())?;
    fs::create_dir_all(dir).map_err(|error| unwritable(dir, error))?;
    for file in &files {
        let path = dir.join(file.name);
        fs::write(&path, file.text).map_err(|error| unwritable(&path, error))?;
    }
    let mut out = io::stdout().lock();
    for example in examples::EXAMPLES {
        let path = |name: &str| dir.join(name).display().to_string();
        let (cluster, workload) = (path(example.cluster.name), path(example.workload.name));
        writeln!(out, "# {}\nservingsim run --cluster-config {cluster} --dataset {workload}", example.summary)?;
    }
    Ok(())
}
