//! All commands with their flags.

use clap::{Arg, ArgAction, Command, CommandFactory};

use crate::args::Cli;

pub(super) fn page() -> String {
    let mut command = Cli::command();
    command.build();
    let mut text = "# Commands\n\n".to_owned();
    text += &format!("{}.\n\n", about(&command));
    text += "Data goes to standard output, everything else to standard error. The exit code is 0 when all went well, 2 \
             when the input was at fault, 3 when a run came to a standstill, and 1 when something else failed.\n\n";
    let shown: Vec<_> = leaves(&command);
    for (path, leaf) in &shown {
        text += &format!("- [{path}](#{}): {}\n", path.replace(' ', "-"), first_sentence(&about(leaf)));
    }
    for (path, leaf) in &shown {
        text += &section(path, leaf);
    }
    text
}

/// Every command that does something, with what it is called.
fn leaves(command: &Command) -> Vec<(String, &Command)> {
    fn add<'c>(command: &'c Command, path: &str, found: &mut Vec<(String, &'c Command)>) {
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help" && !inner.is_hide_set()) {
            let path = format!("{path} {}", inner.get_name());
            match inner.has_subcommands() {
                true => add(inner, &path, found),
                false => found.push((path, inner)),
            }
        }
    }
    let mut found = Vec::new();
    add(command, "servingsim", &mut found);
    found
}

fn about(command: &Command) -> String {
    command
        .get_long_about()
        .or(command.get_about())
        .map(|about| about.to_string().trim_end_matches('.').to_owned())
        .unwrap_or_default()
}

fn first_sentence(text: &str) -> &str {
    text.split(". ").next().unwrap_or_default().trim_end_matches('.')
}

fn section(path: &str, command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let mut text = format!("\n## {path}\n\n{}.\n\n```\n{usage}\n```\n", about(command));
    let mut headings: Vec<Option<&str>> = Vec::new();
    let args: Vec<&Arg> = command.get_arguments().filter(|arg| !arg.is_hide_set() && !is_help(arg)).collect();
    for arg in &args {
        if !headings.contains(&heading(arg)) {
            headings.push(heading(arg));
        }
    }
    // Those without a heading come first, as in the help.
    headings.sort_by_key(|heading| heading.is_some());
    for heading_of_table in headings {
        if let Some(name) = heading_of_table {
            text += &format!("\n### {name} of {}\n", path.trim_start_matches("servingsim "));
        }
        text += "\n| flag | meaning |\n|---|---|\n";
        for arg in args.iter().filter(|arg| heading(arg) == heading_of_table) {
            text += &format!("| {} | {} |\n", name(arg), meaning(arg));
        }
    }
    text
}

fn is_help(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version)
}

fn heading(arg: &Arg) -> Option<&str> {
    arg.get_help_heading()
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

fn name(arg: &Arg) -> String {
    let values: Vec<_> = arg.get_value_names().into_iter().flatten().map(ToString::to_string).collect();
    let value = if takes_value(arg) { format!(" <{}>", values.join(" ")) } else { String::new() };
    let name = match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}{value}"),
        (None, Some(long)) => format!("--{long}{value}"),
        (Some(short), None) => format!("-{short}{value}"),
        (None, None) => value.trim_start().to_owned(),
    };
    format!("`{}`", name.replace('|', "\\|"))
}

fn meaning(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut parts = vec![help.trim_end_matches('.').to_owned()];
    let listed = |names: Vec<String>| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let possible = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect::<Vec<_>>();
    if takes_value(arg) && !possible.is_empty() {
        parts.push(format!("One of {}", listed(possible)));
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    if takes_value(arg) && defaults.iter().any(|value| !value.is_empty()) {
        parts.push(format!("Default: {}", listed(defaults)));
    }
    if let Some(variable) = arg.get_env() {
        parts.push(format!("From the environment: `{}`", variable.to_string_lossy()));
    }
    if arg.is_required_set() {
        parts.push("Required".to_owned());
    }
    parts.join(". ").replace('|', "\\|").replace('\n', " ") + "."
}
