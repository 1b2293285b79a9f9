//! The `servingsim` command, as a library: the binary and the Python package run it.
//!
//! Data goes to standard output, everything else to standard error. The exit code is 0 when all went well, 2 when the
//! input was at fault, 3 when a run came to a standstill, and 1 when something else failed.
//!
//! [`Run`] is `servingsim run` for programs: the same flags and checks, with inputs in memory, somebody who watches and
//! policies of one's own.

mod args;
mod calibrate_command;
mod check_command;
mod collective_command;
mod compare_command;
mod console;
mod embedding;
mod examples_command;
mod page;
#[cfg(test)]
mod pages;
mod parquet;
mod profile_command;
mod recordings;
mod refused;
mod replay_command;
mod report_command;
mod run;
mod schedule;
mod schema_command;
mod timings;
mod traces;
mod workload_command;

use std::ffi::OsString;
use std::io;

use clap::Parser;
use diagnostics::{Fault, Faults};

use args::{Cli, Command};

pub use embedding::{Given, Outcome, Run, RunFlag, Text, Watcher, run_flags};

/// Runs the command line `args`, the name of the program first, and returns its exit code.
pub fn run_command<A: Into<OsString> + Clone>(args: impl IntoIterator<Item = A>) -> u8 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Where even that can't be told, the exit code does.
            let _ = error.print();
            return error.exit_code() as u8;
        }
    };
    let outcome = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check_command::check(*args),
        Command::Calibrate(args) => calibrate_command::calibrate(&args),
        Command::Examples(args) => examples_command::examples(&args),
        Command::Profile(command) => profile_command::profile(&command),
        Command::Replay(args) => replay_command::replay(&args),
        Command::Collective(args) => collective_command::collective(&args),
        Command::Schema { document } => schema_command::schema(&document),
        Command::Completions { shell } => schema_command::completions(shell),
        Command::Man(args) => schema_command::man(&args),
        Command::Compare(args) => compare_command::compare(&args),
        Command::Report(args) => report_command::report(&args),
        Command::Workload(command) => workload_command::workload(&command.0),
    };
    match outcome {
        Ok(()) => 0,
        Err(Failure::Input(faults)) => {
            eprintln!("{faults}");
            2
        }
        Err(Failure::Stuck(stuck)) => {
            eprintln!("error: --polling reference: {stuck}\n  hint: use --polling exact");
            3
        }
        Err(Failure::Deadlock(what)) => {
            eprintln!("error: {what}");
            3
        }
        // Whoever read our output has had enough of it.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(Failure::Output(error)) => {
            eprintln!("error: standard output: {error}");
            1
        }
    }
}

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub enum Failure {
    /// The user's input, or a file named by the user.
    Input(Faults),
    /// The run came to a standstill.
    Stuck(engine::Stuck),
    /// A replay came to a standstill: who waits for what.
    Deadlock(String),
    /// Standard output.
    Output(io::Error),
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Failure::Input(faults)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Failure::Input(fault.into())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Output(error)
    }
}
