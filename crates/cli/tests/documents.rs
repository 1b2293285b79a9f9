//! Every command that the documents show runs, and prints what they show. With `SERVINGSIM_REWRITE_DOCS=1` in the
//! environment, what is printed is written into them instead: no number there is typed.

mod blocks;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace is there")
}

/// Documents whose blocks other tests run, and which.
const RUN_ELSEWHERE: [(&str, &str); 3] = [
    ("docs/parquet.md", "parquet.rs, which has the feature and Python's readers"),
    ("docs/python.md", "the Python package's own tests"),
    ("docs/workloads.md", "workload_docs.rs, in the repository"),
];

/// The documents by name, with `/` between folders.
fn documents() -> Vec<String> {
    let mut names = vec!["README.md".to_owned()];
    for folder in ["docs", "docs/guides"] {
        let entries = fs::read_dir(root().join(folder)).expect("the folder is there");
        let files = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a plain name"));
        names.extend(files.filter(|file| file.ends_with(".md")).map(|file| format!("{folder}/{file}")));
    }
    names.sort();
    names
}

fn text(name: &str) -> String {
    fs::read_to_string(root().join(name)).expect("the document is there")
}

#[test]
fn what_is_shown_is_what_happens() {
    let bin = Path::new(env!("CARGO_BIN_EXE_servingsim")).parent().expect("the program is in a folder");
    let reference = testkit::reference_dir();
    let rewrites = std::env::var_os("SERVINGSIM_REWRITE_DOCS").is_some();
    let mut wrong = Vec::new();
    let documents = documents().into_iter().filter(|name| RUN_ELSEWHERE.iter().all(|(other, _)| name != other));
    for name in documents {
        let folder = tempfile::tempdir().expect("a temporary folder");
        if let Some(reference) = &reference {
            std::os::unix::fs::symlink(reference, folder.path().join("reference")).expect("a link to the reference");
        }
        let shown = text(&name);
        let (printed, faults) = blocks::run(&name, &shown, folder.path(), bin, reference.as_deref());
        wrong.extend(faults);
        if printed == shown {
            continue;
        }
        if rewrites {
            fs::write(root().join(&name), printed).expect("the document can be written");
        } else {
            let differ = shown.lines().zip(printed.lines()).zip(1..).find(|((shown, printed), _)| shown != printed);
            wrong.push(match differ {
                Some(((shown, printed), line)) => {
                    format!("{name}:{line}: shown\n  {shown}\nand printed is\n  {printed}")
                }
                None => format!("{name}: more or less is printed than shown"),
            });
        }
    }
    assert!(wrong.is_empty(), "{}\nSERVINGSIM_REWRITE_DOCS=1 writes what is printed", wrong.join("\n"));
}

/// What a heading is called in a link.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.chars()
        .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter))
        .collect::<String>()
        .replace(' ', "-")
}

/// The targets of links and images outside of blocks.
fn links(text: &str) -> Vec<String> {
    let mut is_block = false;
    let mut found = Vec::new();
    for line in text.lines() {
        is_block ^= line.starts_with("```");
        if !is_block {
            found.extend(line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).map(str::to_owned));
            found.extend(line.split("srcset=\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned));
        }
    }
    found.retain(|link| !link.contains("://"));
    found
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    for name in documents() {
        let document = root().join(&name);
        for link in links(&text(&name)) {
            let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { document.clone() } else { document.with_file_name("").join(file) };
            if !target.exists() {
                wrong.push(format!("{name}: {link}: no such file"));
            } else if !heading.is_empty() {
                let headings = fs::read_to_string(&target).expect("a document");
                if !headings.lines().any(|line| line.starts_with('#') && anchor(line) == heading) {
                    wrong.push(format!("{name}: {link}: no such heading"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_index_has_every_document() {
    let listed: BTreeSet<String> =
        links(&text("docs/README.md")).into_iter().map(|link| format!("docs/{link}")).collect();
    let missing: Vec<String> = documents()
        .into_iter()
        .filter(|name| name.starts_with("docs/") && name != "docs/README.md" && !listed.contains(name))
        .collect();
    assert!(missing.is_empty(), "docs/README.md does not name {missing:?}");
}

/// Flags that a guide says are the same here are flags of `run`, and what it says does nothing is told so.
#[test]
fn flags_of_llmservingsim_are_flags() {
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_servingsim"));
        let output = command.env_clear().arg("run").args(args).output().expect("the command starts");
        assert!(output.status.success(), "{args:?}");
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("UTF-8"))
    };
    let [help, _] = run(&["--help"]);
    let guide = text("docs/guides/from-llmservingsim.md");
    let mut num = 0;
    for row in guide.lines().filter(|line| line.starts_with("| `--")) {
        let cells: Vec<&str> = row.split(" | ").map(|cell| cell.trim_matches(['|', ' ', '`'])).collect();
        let flags = match cells[0].strip_prefix("--[no-]") {
            Some(name) => vec![format!("--{name}"), format!("--no-{name}")],
            None => vec![cells[0].to_owned()],
        };
        for flag in flags {
            num += 1;
            if cells[1] == "does nothing" {
                let value = if flag.ends_with("cleanup-inputs") { None } else { Some("x") };
                let args = [Some(flag.as_str()), value, Some("--num-reqs"), Some("1")];
                let [_, told] = run(&args.into_iter().flatten().collect::<Vec<_>>());
                assert!(told.contains(&format!("note: {flag} changes nothing")), "{flag}: {told}");
            } else {
                let is_there = help.lines().any(|line| line.split_whitespace().any(|word| word == flag));
                assert!(is_there, "{flag} is no flag of `run`");
            }
        }
    }
    // 29 options of LLMServingSim's parser, of which five also have a `--no-`.
    assert_eq!(num, 34);
}
