//! The commands of docs/workloads.md run as they stand there, and leave the files that it names.

mod support;

use std::fs;
use std::path::Path;

use support::Folder;

#[test]
fn commands_of_the_documentation_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = fs::read_to_string(root.join("docs/workloads.md")).expect("the documentation");
    let folder = Folder::new();
    let samples = "crates/traffic/tests/samples";
    for file in fs::read_dir(root.join(samples)).expect("samples") {
        let file = file.expect("a sample");
        let name = format!("{samples}/{}", file.file_name().display());
        folder.write(&name, fs::read(file.path()).expect("a sample"));
    }
    let commands: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("servingsim ")).collect();
    assert!(commands.len() >= 9, "{commands:?}");
    for command in commands {
        let said = folder.run(&command.split_whitespace().collect::<Vec<_>>());
        assert_eq!(said.code, Some(0), "{command}: {said}");
    }
    let named = text.lines().find(|line| line.contains("together they leave")).expect("what is left is named");
    for file in fs::read_dir(folder.path("")).expect("the folder") {
        let name = file.expect("a file").file_name().display().to_string();
        assert!(name == "crates" || named.contains(&format!("`{name}`")), "{name} is left and not named");
    }
}
