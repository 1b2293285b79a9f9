//! `servingsim report`: results and measurements drawn over each other.

use std::path::{Path, PathBuf};

use compare::Run;
use diagnostics::{Fault, Faults};
use report::{AtomicFile, Page, PageRun};

use crate::Failure;
use crate::args::ReportArgs;
use crate::parquet::read_run;
use crate::run::is_same_file;

pub(crate) fn report(args: &ReportArgs) -> Result<(), Failure> {
    let runs = read(&args.results)?;
    for result in &args.results {
        check_is_other(&args.output, result)?;
    }
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let page = Page::new(names.join(" · "));
    write(&args.output, &runs.iter().map(PageRun::of_requests).fold(page, Page::with))?;
    Ok(())
}

/// All runs, or what is wrong in any.
fn read(results: &[PathBuf]) -> Result<Vec<Run>, Faults> {
    let mut faults = Faults::new();
    let mut runs = Vec::new();
    for path in results {
        match read_run(path) {
            Ok(run) if run.requests.is_empty() => faults.push(Fault::new(&run.name, "no requests")),
            Ok(run) => runs.push(run),
            Err(more) => faults.extend(more),
        }
    }
    faults.into_result(runs)
}

/// A page must not replace what it is drawn from.
pub(crate) fn check_is_other(page: &Path, input: &Path) -> Result<(), Fault> {
    if is_same_file(page, input) {
        let fault = Fault::new(page.display().to_string(), "is a file that the page is drawn from");
        return Err(fault.hint("name another file: the page would replace it"));
    }
    Ok(())
}

/// Writes a page to a file, whole or not at all.
pub(crate) fn write(path: &Path, page: &Page) -> Result<(), Fault> {
    write_to(AtomicFile::create(path)?, page)
}

/// The same to a file that has begun.
pub(crate) fn write_to(mut file: AtomicFile, page: &Page) -> Result<(), Fault> {
    page.write(&mut file).map_err(|error| file.fault(&error))?;
    file.commit()
}
