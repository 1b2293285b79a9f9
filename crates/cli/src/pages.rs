//! The reference pages in docs/reference, made from the code.
//!
//! A test holds them to it. `cargo xtask docs` writes them anew: it runs the test with `SERVINGSIM_WRITE_PAGES` set.

mod commands;
mod tables;

use std::fs;
use std::path::Path;

/// What a page begins with.
const MADE: &str = "<!-- Made from the code by `cargo xtask docs`; changes here are lost. -->\n\n";

/// The pages by name, without what they begin with.
fn pages() -> Vec<(&'static str, String)> {
    vec![
        ("cli.md", commands::page()),
        ("cluster.md", tables::cluster()),
        ("documents.md", tables::documents()),
        ("csv.md", tables::csv()),
        ("metrics.md", tables::metrics()),
    ]
}

#[test]
fn pages_are_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    let writes = std::env::var_os("SERVINGSIM_WRITE_PAGES").is_some();
    let mut stale = Vec::new();
    for (name, text) in pages() {
        let (path, text) = (folder.join(name), format!("{MADE}{text}"));
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        if writes {
            fs::create_dir_all(&folder).expect("a folder for the pages");
            fs::write(&path, text).expect("a page");
        } else {
            stale.push(name);
        }
    }
    assert!(stale.is_empty(), "docs/reference is not up to date: {stale:?}; run `cargo xtask docs`");
}
