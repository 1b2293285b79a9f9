//! The `servingsim` command.

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(cli::run_command(env::args_os()))
}
