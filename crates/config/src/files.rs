//! Folders and the names of files.

use std::path::{Path, PathBuf};

/// What a folder holds, by name; nothing when it can't be read.
pub(crate) fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

/// The last part of a path.
pub(crate) fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The name of a JSON file without `.json`.
pub(crate) fn json_stem(path: &Path) -> Option<String> {
    name(path).strip_suffix(".json").map(str::to_owned)
}
