//! `servingsim compare`: a result against another, or against measurements of a real server.

use std::io::{self, Write};

use compare::{FirstToken, Options, Run, Start};
use diagnostics::Faults;
use report::{Page, PageRun};

use crate::args::{CompareArgs, Format, FromName, ToName};
use crate::parquet::read_run;
use crate::{Failure, report_command};

pub(crate) fn compare(args: &CompareArgs) -> Result<(), Failure> {
    let (a, b) = read(args)?;
    let options = Options {
        from: match args.from {
            FromName::Auto => None,
            FromName::Arrival => Some(Start::Arrival),
            FromName::Queued => Some(Start::Queued),
        },
        to: match args.to {
            ToName::Auto => None,
            ToName::Computed => Some(FirstToken::Computed),
            ToName::Delivered => Some(FirstToken::Delivered),
        },
        window: args.window,
    };
    let comparison = compare::compare(&a, &b, &options)?;
    comparison.notes.iter().for_each(|note| eprintln!("note: {note}"));
    if let Some(path) = &args.report {
        [&args.a, &args.b].into_iter().try_for_each(|input| report_command::check_is_other(path, input))?;
        let page = Page::new(format!("{} · {}", a.name, b.name));
        let page = [&a, &b].into_iter().map(PageRun::of_requests).fold(page, Page::with);
        report_command::write(path, &page.with_comparison(report::comparison_text(&comparison)))?;
    }
    let text = match args.format {
        Format::Text => report::comparison_text(&comparison),
        Format::Json => report::comparison_json(&comparison),
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

/// Both runs, or what is wrong in either.
fn read(args: &CompareArgs) -> Result<(Run, Run), Faults> {
    match (read_run(&args.a), read_run(&args.b)) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (a, b) => {
            let mut faults = Faults::new();
            [a, b].into_iter().filter_map(Result::err).for_each(|more| faults.extend(more));
            Err(faults)
        }
    }
}
