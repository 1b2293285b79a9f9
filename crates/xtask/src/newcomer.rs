//! A newcomer's path: from a clean clone to a report of a cluster of one's own, by the commands that the README shows.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// More would be too many to ask.
const COMMANDS_MAX: usize = 5;

/// Stands before the commands in the README.
const MARK: &str = "<!-- a newcomer's path -->";

/// Clones the repository as it is committed, runs the commands there, with one change to the cluster before the last, and
/// tells how long each took.
pub(crate) fn test() -> Result<(), String> {
    let root = super::root();
    let readme = fs::read_to_string(root.join("README.md")).map_err(|error| format!("README.md: {error}"))?;
    let commands = commands(&readme)?;
    let clone = super::target_dir()?.join("newcomer");
    if clone.exists() {
        fs::remove_dir_all(&clone).map_err(|error| format!("{}: {error}", clone.display()))?;
    }
    run(Command::new("git").args(["clone", "--quiet", "--no-local"]).args([root, &clone]))?;
    let begin = Instant::now();
    for (index, command) in commands.iter().enumerate() {
        if index + 1 == commands.len() {
            edit(&clone.join("mine/moe-dp-ep.cluster.json"))?;
        }
        let since = Instant::now();
        // As in a shell of one's own: nothing of ours says where to build.
        let shell = ["-euo", "pipefail", "-c", &format!("{command} > said.txt")];
        run(Command::new("bash").args(shell).current_dir(&clone).env_remove("CARGO_TARGET_DIR"))?;
        println!("newcomer: {:6.1} s  {command}", since.elapsed().as_secs_f64());
    }
    println!("newcomer: {:6.1} s in all, {} commands", begin.elapsed().as_secs_f64(), commands.len());
    let page = fs::read_to_string(clone.join("report.html")).map_err(|error| format!("report.html: {error}"))?;
    if !page.contains(CHANGED) {
        return Err("the report does not show the cluster that was changed".to_owned());
    }
    Ok(())
}

const CHANGED: &str = "a cluster of my own";

/// Changes the cluster: its first group gets another name.
fn edit(cluster: &Path) -> Result<(), String> {
    let fault = |error: std::io::Error| format!("{}: {error}", cluster.display());
    let text = fs::read_to_string(cluster).map_err(fault)?;
    let changed = text.replace("\"dp_group\": \"A\"", &format!("\"dp_group\": \"{CHANGED}\""));
    if changed == text {
        return Err(format!("{} has no group A to be renamed", cluster.display()));
    }
    fs::write(cluster, changed).map_err(fault)
}

/// The commands in the block after the mark.
fn commands(readme: &str) -> Result<Vec<String>, String> {
    let block = readme.split_once(MARK).and_then(|(_, rest)| rest.trim_start().strip_prefix("```sh\n"));
    let block = block.and_then(|rest| rest.split_once("```")).map(|(block, _)| block);
    let commands: Vec<String> =
        block.ok_or("README.md has lost a newcomer's path")?.lines().map(str::to_owned).collect();
    match commands.len() {
        1..=COMMANDS_MAX => Ok(commands),
        number => Err(format!("{number} commands are too many for a newcomer, or none")),
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?} failed: {status}")),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_follow_the_mark() {
        let text = format!("a\n{MARK}\n\n```sh\none\ntwo --flag\n```\nb");
        assert_eq!(commands(&text), Ok(vec!["one".to_owned(), "two --flag".to_owned()]));
        assert!(commands("```sh\none\n```").is_err());
        assert!(commands(&format!("{MARK}\n```sh\n{}```", "x\n".repeat(6))).is_err());
    }
}
