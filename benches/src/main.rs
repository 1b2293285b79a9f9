//! The benchmark programs, each a command: `limit`, `sweep`, `bundle`, `read` and `measure`.
//!
//! They print figures one a line, a name and a number in the unit that the name ends in.

mod limit;
mod measure;
mod sweep;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use diagnostics::{Fault, Faults};

#[derive(Parser)]
#[command(about = "Benchmark programs of servingsim.")]
enum Program {
    /// A run against the least it could cost: reading its workload and writing its results.
    Limit(limit::LimitArgs),
    /// Many small runs over threads.
    Sweep(sweep::SweepArgs),
    /// Load one latency bundle.
    Bundle {
        /// Its folder, with meta.yaml in it.
        dir: PathBuf,
    },
    /// Read one workload file.
    Read {
        /// The file.
        file: PathBuf,
    },
    /// Run a command, and write what it spent.
    Measure(measure::MeasureArgs),
}

fn main() -> ExitCode {
    let outcome = match Program::parse() {
        Program::Limit(args) => limit::limit(&args),
        Program::Sweep(args) => sweep::sweep(&args),
        Program::Bundle { dir } => bundle(&dir),
        Program::Read { file } => {
            benches::read(&file, &mut |_| ()).map(|workload| println!("requests {}", workload.num_requests))
        }
        Program::Measure(args) => match measure::measure(&args) {
            Ok(code) => return code,
            Err(error) => Err(Fault::new(args.command[0].clone(), error.to_string()).into()),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(faults) => {
            eprintln!("{faults}");
            ExitCode::FAILURE
        }
    }
}

fn bundle(dir: &std::path::Path) -> Result<(), Faults> {
    let (bundle, time) = benches::cpu_time(|| latency::Bundle::load(dir));
    let bundle = bundle?;
    println!("degrees {}\nload_cpu_s {}", bundle.tp_degrees().count(), time.as_secs_f64());
    Ok(())
}
