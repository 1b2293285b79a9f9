//! What a command spends. This process runs nothing else, so what its children spent is what the command spent.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

#[derive(clap::Args)]
pub(crate) struct MeasureArgs {
    /// Where to write it.
    #[arg(long, value_name = "FILE")]
    usage: PathBuf,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true)]
    pub(crate) command: Vec<String>,
}

/// Runs the command, and returns the code it exits with.
pub(crate) fn measure(args: &MeasureArgs) -> io::Result<ExitCode> {
    let (program, rest) = args.command.split_first().expect("the parser requires a command");
    let start = Instant::now();
    let status = Command::new(program).args(rest).status()?;
    let wall_s = start.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu_us = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    let cpu_s = cpu_us as f64 / 1e6;
    let peak_kib = usage.max_rss();
    fs::write(&args.usage, format!("cpu_s {cpu_s}\nwall_s {wall_s}\npeak_kib {peak_kib}\n"))?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)))
}
