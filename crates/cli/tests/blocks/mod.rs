//! Documents whose commands run: what their fenced blocks are, and how what they show is held to what happens.
//!
//! A block's kind is the word behind its fence:
//!
//! - `console`: lines that begin with `$ ` are commands, which may go on after `\`, and what follows is what they print.
//!   `...` stands for any number of lines. A command must succeed, unless what it prints begins with `error`.
//! - `sh`: commands that run, and whose output is not shown. They must succeed.
//! - `json`, `jsonl`, `csv`, `yaml`, `text`: files and formulae. With `file=NAME` behind the kind, the file is written for
//!   the commands below.
//!
//! `reference` behind `console` or `sh` says that the commands read reference data, which stands in a folder `reference`;
//! they run where it is. Commands of other programs are in a list, with why they are not run.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Kinds that show something.
const SHOWN: [&str; 5] = ["json", "jsonl", "csv", "yaml", "text"];

/// Programs that commands may call besides ours.
const TOOLS: [&str; 7] = ["cat", "cmp", "cp", "cut", "head", "mkdir", "sed"];

/// What commands begin with that are not run, and why.
const NOT_RUN: [(&str, &str); 9] = [
    ("cargo ", "builds, which needs the sources and minutes"),
    ("pip install ", "installs, which needs a registry"),
    ("git clone ", "needs a network"),
    ("vllm ", "needs a GPU"),
    ("python -m sglang", "needs a GPU"),
    ("python -m serving", "is LLMServingSim"),
    ("python benchmarks/", "needs a GPU"),
    ("aiperf ", "needs a server"),
    ("guidellm ", "needs a server"),
];

/// One fenced block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The line of its opening fence, from 0.
    pub(crate) line: usize,
    /// What stands behind the fence.
    pub(crate) info: String,
    pub(crate) body: Vec<String>,
}

/// A command and what it is shown to print.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    /// As it stands there, `$ ` included.
    lines: Vec<String>,
    command: String,
    shown: Vec<String>,
}

pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (line, content) in text.lines().enumerate() {
        match (content.strip_prefix("```"), &mut open) {
            (Some(info), None) => open = Some(Block { line, info: info.trim().to_owned(), body: Vec::new() }),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.body.push(content.to_owned()),
            (None, None) => {}
        }
    }
    blocks
}

/// Runs the blocks of one document in `folder`, with the program in the folder `bin`, and returns the document with what
/// was printed in place of what it shows, and what is wrong with it, a line each.
pub(crate) fn run(
    name: &str,
    text: &str,
    folder: &Path,
    bin: &Path,
    reference: Option<&Path>,
) -> (String, Vec<String>) {
    let mut faults = Vec::new();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    // From the last on, lines of those before stay where they are; they run from the first on.
    let mut replaced: Vec<(usize, usize, Vec<String>)> = Vec::new();
    for block in blocks(text) {
        let at = format!("{name}:{}", block.line + 1);
        let mut words = block.info.split_whitespace();
        let kind = words.next().unwrap_or("");
        let options: Vec<&str> = words.collect();
        let needs_reference = options == ["reference"];
        let file = match options[..] {
            [option] => option.strip_prefix("file="),
            _ => None,
        };
        let runs = matches!(kind, "console" | "sh");
        let is_known = if runs {
            options.is_empty() || needs_reference
        } else {
            SHOWN.contains(&kind) && (options.is_empty() || file.is_some())
        };
        if !is_known {
            // A README shows what is printed elsewhere.
            if !(name == "README.md" && block.info.is_empty()) {
                faults.push(format!("{at}: `{}` is no kind of block that is known", block.info));
            }
            continue;
        }
        if let Some(file) = file {
            fs::write(folder.join(file), block.body.join("\n") + "\n").expect("a file in the temporary folder");
        }
        if !runs || (needs_reference && reference.is_none()) {
            continue;
        }
        let mut rewritten = Vec::new();
        for step in steps(kind, &block.body, &at, &mut faults) {
            rewritten.extend(step.lines.iter().cloned());
            rewritten.extend(match execute(&step, kind == "sh", folder, bin, &at) {
                Ok(printed) => printed,
                Err(fault) => {
                    faults.push(fault);
                    step.shown
                }
            });
        }
        if kind == "console" {
            replaced.push((block.line + 1, block.body.len(), rewritten));
        }
    }
    for (start, num, rewritten) in replaced.into_iter().rev() {
        lines.splice(start..start + num, rewritten);
    }
    (lines.join("\n") + "\n", faults)
}

/// The commands of a block.
fn steps(kind: &str, body: &[String], at: &str, faults: &mut Vec<String>) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut goes_on = false;
    for line in body {
        let command = if kind == "sh" { Some(line.as_str()) } else { line.strip_prefix("$ ") };
        let begins = command.filter(|command| !goes_on && !command.trim().is_empty());
        if let Some(command) = begins {
            steps.push(Step { lines: vec![line.clone()], command: command.to_owned(), shown: Vec::new() });
            goes_on = command.ends_with('\\');
        } else if let Some(step) = steps.last_mut() {
            if goes_on {
                step.lines.push(line.clone());
                step.command += &format!("\n{line}");
                goes_on = line.ends_with('\\');
            } else if kind == "console" {
                step.shown.push(line.clone());
            }
        } else if kind == "console" {
            faults.push(format!("{at}: begins without a command (`$ …`)"));
            return Vec::new();
        }
    }
    steps
}

/// Runs a command, and returns what is to be shown of what it printed. Its error when that is not what is shown.
fn execute(step: &Step, quietly: bool, folder: &Path, bin: &Path, at: &str) -> Result<Vec<String>, String> {
    let command = &step.command;
    if NOT_RUN.iter().any(|(prefix, _)| command.starts_with(prefix)) {
        return Ok(step.shown.clone());
    }
    let program = command.split_whitespace().next().unwrap_or("");
    if program != "servingsim" && !TOOLS.contains(&program) {
        return Err(format!("{at}: `{program}` is not among the programs that are run, or listed as not run"));
    }
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1\n{command}")])
        .current_dir(folder)
        .env_clear()
        .env("PATH", path)
        .output()
        .expect("a shell starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let printed: Vec<&str> = text.lines().map(str::trim_end).collect();
    let may_fail = step.shown.first().is_some_and(|line| line.starts_with("error"));
    if output.status.success() == may_fail {
        let how = if may_fail { "succeeds, and an error is shown" } else { "fails" };
        return Err(format!("{at}: `{command}` {how}:\n{text}"));
    }
    if quietly {
        return Ok(Vec::new());
    }
    let shown: Vec<&str> = step.shown.iter().map(String::as_str).collect();
    excerpt(&shown, &printed).ok_or_else(|| format!("{at}: `{command}` prints nothing like what is shown:\n{text}"))
}

/// The lines of `printed` that `shown` has, with `...` where it has that: the first ones that begin alike but for their
/// numbers, so that a label is enough to ask for its line.
fn excerpt(shown: &[&str], printed: &[&str]) -> Option<Vec<String>> {
    if !shown.contains(&"...") {
        return Some(printed.iter().map(|&line| line.to_owned()).collect());
    }
    let mut result: Vec<String> = Vec::new();
    let mut rest = printed;
    let parts: Vec<&[&str]> = shown.split(|&line| line == "...").collect();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            result.push("...".to_owned());
        }
        let (is_first, is_last) = (index == 0, index == parts.len() - 1);
        let begin = if is_first {
            0
        } else if is_last {
            rest.len().checked_sub(part.len())?
        } else {
            let alike = |window: &&[&str]| window.iter().zip(*part).all(|(a, b)| shape(a).starts_with(&shape(b)));
            rest.windows(part.len().max(1)).position(|window| alike(&window))?
        };
        let found = rest.get(begin..begin + part.len())?;
        result.extend(found.iter().map(|&line| line.to_owned()));
        rest = &rest[begin + part.len()..];
    }
    Some(result)
}

/// A line without its numbers and the room that they take.
fn shape(line: &str) -> String {
    let mut shape = String::new();
    for word in line.split_whitespace() {
        let without: String =
            word.chars().filter(|letter| !letter.is_ascii_digit() && !".,+-".contains(*letter)).collect();
        let _ = write!(shape, "{without} ");
    }
    shape
}

#[test]
fn blocks_and_steps() {
    let text = "a\n```console\n$ servingsim x \\\n  y\nout\n\n$ cat f\n```\nb\n```json file=f\n{}\n```\n";
    let found = blocks(text);
    assert_eq!(
        found.iter().map(|block| (block.line, block.info.as_str())).collect::<Vec<_>>(),
        [(1, "console"), (9, "json file=f")]
    );
    let mut faults = Vec::new();
    let steps = steps("console", &found[0].body, "d", &mut faults);
    let commands: Vec<_> = steps.iter().map(|step| (step.command.as_str(), step.shown.len())).collect();
    assert_eq!(commands, [("servingsim x \\\n  y", 2), ("cat f", 0)]);
    assert!(faults.is_empty());
}

#[test]
fn excerpts() {
    let printed = ["head", "a 1", "b 2", "c 3", "b 40", "end 5"];
    let check = |shown: &[&str], expected: Option<&[&str]>| {
        let found = excerpt(shown, &printed);
        assert_eq!(found, expected.map(|lines| lines.iter().map(|&line| line.to_owned()).collect()), "{shown:?}");
    };
    check(&[], Some(&printed));
    check(&["head", "..."], Some(&["head", "..."]));
    check(&["x", "...", "y 7"], Some(&["head", "...", "end 5"]));
    check(&["...", "c 8", "b   9", "..."], Some(&["...", "c 3", "b 40", "..."]));
    check(&["...", "d 8", "..."], None);
    check(&["head", "...", "a 0", "...", "end"], Some(&["head", "...", "a 1", "...", "end 5"]));
}

#[test]
fn what_is_wrong_is_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let told = |text: &str| run("d", text, folder.path(), Path::new("/nowhere"), None).1.join("\n");
    assert_eq!(told("```\nx\n```\n"), "d:1: `` is no kind of block that is known");
    assert_eq!(told("```ruby\nx\n```\n"), "d:1: `ruby` is no kind of block that is known");
    assert_eq!(told("```console\nx\n```\n"), "d:1: begins without a command (`$ …`)");
    assert_eq!(told("```sh\nrm x\n```\n"), "d:1: `rm` is not among the programs that are run, or listed as not run");
    assert!(told("```sh\ncat missing\n```\n").starts_with("d:1: `cat missing` fails:\n"));
    assert_eq!(told("```sh\ncargo build\n```\n```sh reference\nservingsim x\n```\n"), "");
    assert_eq!(told("```csv file=f\na,b\n```\n```sh\ncat f\n```\n"), "");
}
