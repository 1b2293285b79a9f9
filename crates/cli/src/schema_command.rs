//! `servingsim schema`, `completions`, `man`: what describes documents and commands to other programs.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use diagnostics::Fault;
use documents::schema::DocumentKind;

use crate::Failure;
use crate::args::{Cli, ManArgs};
use crate::calibrate_command::MEASURED_RUN;

/// The kinds of documents that users write.
pub(crate) const DOCUMENTS: &[&DocumentKind] = &[
    &config::schema::CLUSTER,
    &workload::schema::LINE,
    &config::schema::MODEL,
    &config::schema::ARCHITECTURE,
    &config::schema::PRESET,
    &MEASURED_RUN,
];

/// Prints the JSON schema of the documents that are called `name`.
pub(crate) fn schema(name: &str) -> Result<(), Failure> {
    let document = DOCUMENTS.iter().find(|document| document.name == name);
    let document = document.expect("the parser lets through the names of documents alone");
    Ok(write!(io::stdout().lock(), "{}", report::json_schema(document))?)
}

/// Prints completions for a shell.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "servingsim", &mut text);
    Ok(io::stdout().lock().write_all(&text)?)
}

/// Prints the manual page of the whole, or writes those of all commands into a folder.
pub(crate) fn man(args: &ManArgs) -> Result<(), Failure> {
    // Built, so that commands know what they are called from outside.
    let mut command = Cli::command();
    command.build();
    let Some(dir) = &args.write else {
        return Ok(io::stdout().lock().write_all(&page(&command, "servingsim")?)?);
    };
    fs::create_dir_all(dir).map_err(|error| unwritable(dir, &error))?;
    write_pages(&command, "servingsim", dir)
}

fn write_pages(command: &Command, name: &str, dir: &Path) -> Result<(), Failure> {
    let path = dir.join(format!("{name}.1"));
    fs::write(&path, page(command, name)?).map_err(|error| unwritable(&path, &error))?;
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help" && !inner.is_hide_set()) {
        write_pages(inner, &format!("{name}-{}", inner.get_name()), dir)?;
    }
    Ok(())
}

fn page(command: &Command, name: &str) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let command = command.clone().name(name.to_owned()).version(env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(command).title(name.to_uppercase()).manual("servingsim").render(&mut text)?;
    Ok(text)
}

fn unwritable(path: &Path, error: &io::Error) -> Fault {
    Fault::new(path.display().to_string(), format!("can't be written: {error}"))
}
