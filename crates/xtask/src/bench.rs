//! `cargo xtask bench`: what runs cost, against the targets of docs/performance.md.
//!
//! Commands are measured as whole processes, in CPU seconds of user and system together. All that is compared takes
//! turns, so that other work on the machine falls on all of it alike, and medians are told. Two of these tasks at once
//! would overwrite each other's files in target/bench.

mod growth;
mod lab;
mod plot;
mod rows;
mod small;
mod targets;

pub(crate) use plot::mark_step;

use std::fs;
use std::path::Path;

use crate::marked::Marked;
use lab::Lab;
use plot::Plot;
use rows::Row;

/// Runs of each command, unless another number is asked for.
const NUM_RUNS: usize = 5;

/// What was found out about a group of targets.
#[derive(Default)]
struct Findings {
    rows: Vec<Row>,
    plots: Vec<Plot>,
    /// What else there is to tell, in Markdown.
    details: String,
}

impl Findings {
    fn rows(rows: impl IntoIterator<Item = Row>) -> Self {
        Self { rows: rows.into_iter().collect(), ..Self::default() }
    }

    fn all(findings: impl IntoIterator<Item = Self>) -> Self {
        let mut all = Self::default();
        for Self { rows, plots, details } in findings {
            all.rows.extend(rows);
            all.plots.extend(plots);
            if !details.is_empty() {
                all.details.push_str(&details);
                all.details.push('\n');
            }
        }
        all
    }
}

/// How a group of targets is measured.
type Group = fn(&Lab) -> Result<Findings, String>;

/// Groups of targets, by the name that `--only` takes.
const GROUPS: [(&str, Group); 8] = [
    ("start", targets::start),
    ("small", small::small),
    ("steady", targets::steady),
    ("limit", targets::limit),
    ("scale", growth::scale),
    ("waves", targets::waves),
    ("sweep", targets::sweep),
    ("batch", growth::batch),
];

/// What was asked for.
struct Options {
    num_runs: usize,
    /// All where it is empty.
    only: Vec<String>,
    writes: bool,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self { num_runs: NUM_RUNS, only: Vec::new(), writes: false };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--runs" => {
                    let number = value()?;
                    let number = number.parse().ok().filter(|&number| number > 0);
                    options.num_runs = number.ok_or("--runs needs a number from 1 up")?;
                }
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--write" => options.writes = true,
                _ => return Err(format!("cargo xtask bench does not know {arg}")),
            }
        }
        let names = GROUPS.map(|(name, _)| name);
        match options.only.iter().find(|name| !names.contains(&name.as_str())) {
            Some(name) => Err(format!("no group of targets is called `{name}`; there are {}", names.join(", "))),
            None if options.writes && !options.only.is_empty() => {
                Err("--write needs all targets; leave --only out".to_owned())
            }
            None => Ok(options),
        }
    }
}

/// Measures, prints the table, and writes it into docs/performance.md where that is asked for.
pub(crate) fn bench(reference: &Path, args: &[String]) -> Result<(), String> {
    let options = Options::parse(args)?;
    let document = options.writes.then(|| Marked::read("performance.md", "bench")).transpose()?;
    build()?;
    let lab = Lab::new(reference, options.num_runs)?;
    let is_wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    let groups = GROUPS.iter().filter(|(name, _)| is_wanted(name));
    let findings = groups.map(|(_, measure)| measure(&lab)).collect::<Result<Vec<_>, _>>()?;
    let Findings { rows, plots, details } = Findings::all(findings);
    println!("{}\n{details}", rows::table(&rows));
    let Some(document) = document else {
        plots.iter().for_each(|plot| println!("{}", plot.markdown()));
        return Ok(());
    };
    let folder = crate::root().join("docs/performance");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    plots.iter().try_for_each(|plot| plot.write(&folder))?;
    let mut parts = vec![format!("## Targets\n\nMedians of {} runs.\n", options.num_runs), rows::table(&rows), details];
    parts.push("## How cost grows\n".to_owned());
    parts.extend(plots.iter().map(Plot::markdown));
    document.write(&parts.join("\n"))
}

/// Builds what is measured, and what measures.
pub(crate) fn build() -> Result<(), String> {
    crate::cargo(&["build", "--release", "--quiet", "--package", "cli", "--package", "benches", "--bins"])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options, String> {
        Options::parse(&args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_told_when_they_are_wrong() {
        let options = parse(&["--runs", "7", "--only", "steady,scale"]).expect("these are right");
        assert_eq!((options.num_runs, options.only.len()), (7, 2));
        for (args, message) in [
            (&["--runs", "0"][..], "--runs needs a number from 1 up"),
            (&["--only"], "--only needs a value"),
            (&["--only", "start", "--write"], "--write needs all targets; leave --only out"),
            (&["--fast"], "cargo xtask bench does not know --fast"),
        ] {
            assert_eq!(parse(args).err().as_deref(), Some(message));
        }
    }
}
