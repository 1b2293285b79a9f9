//! Which bundles there are in a tree `<dir>/<hardware>/<org>/<model>/<variant>/`.
//!
//! A bundle is a folder with a `meta.yaml`. Model names hold a slash where they have an owner, so a model may lie one
//! or two folders deep.

use std::cmp::Reverse;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use diagnostics::Fault;

/// Hardware, owner, model, variant.
const DEPTH_MAX: usize = 4;
/// So many bundles are named in a hint.
const HINTED_MAX: usize = 8;

/// What a bundle is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BundleName {
    /// The GPU type, such as `RTXPRO6000`.
    pub hardware: String,
    /// The model with its owner, such as `Qwen/Qwen3-32B`.
    pub model: String,
    /// The element types, such as `bf16` or `bf16-kvfp8`.
    pub variant: String,
}

impl fmt::Display for BundleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.hardware, self.model, self.variant)
    }
}

impl BundleName {
    /// The name of the bundle that lies in `folders`.
    fn of(folders: &[String]) -> Option<Self> {
        match folders {
            [hardware, model @ .., variant] if !model.is_empty() => {
                Some(Self { hardware: hardware.clone(), model: model.join("/"), variant: variant.clone() })
            }
            _ => None,
        }
    }

    /// The folders that a bundle of this name lies in; `None` when no folders make this name.
    fn folders(&self) -> Option<Vec<&str>> {
        let mut folders = vec![self.hardware.as_str()];
        folders.extend(self.model.split('/'));
        folders.push(&self.variant);
        let is_folder = |name: &&str| {
            let mut components = Path::new(name).components();
            matches!(components.next(), Some(Component::Normal(only)) if only == *name) && components.next().is_none()
        };
        (folders.len() <= DEPTH_MAX && folders.iter().all(is_folder)).then_some(folders)
    }

    /// In how many parts two names agree.
    fn likeness(&self, other: &Self) -> usize {
        [self.hardware == other.hardware, self.model == other.model, self.variant == other.variant]
            .iter()
            .filter(|&&same| same)
            .count()
    }
}

/// The bundles in one tree. The tree is looked through only for those who want to know what there is.
#[derive(Clone, Debug)]
pub struct Catalogue {
    dir: PathBuf,
    names: OnceLock<Vec<BundleName>>,
}

impl Catalogue {
    /// The tree in `dir`. Folders in it that can't be read count as empty.
    ///
    /// # Errors
    /// When `dir` itself can't be read.
    pub fn scan(dir: &Path) -> Result<Self, Fault> {
        fs::read_dir(dir).map_err(|error| {
            let what = match error.kind() {
                io::ErrorKind::NotFound => "no such folder".to_owned(),
                _ => format!("can't be read: {error}"),
            };
            Fault::new(dir.display().to_string(), what).hint("--profile-dir or SERVINGSIM_PROFILE_DIR names it")
        })?;
        Ok(Self { dir: dir.to_owned(), names: OnceLock::new() })
    }

    /// The bundles there are, in alphabetical order.
    pub fn names(&self) -> &[BundleName] {
        self.names.get_or_init(|| {
            let mut names = Vec::new();
            collect(&self.dir, &mut Vec::new(), &mut names);
            names.sort();
            names
        })
    }

    /// The folder of one bundle.
    ///
    /// # Errors
    /// When there is none; the hint names those there are, the most alike first.
    pub fn find(&self, name: &BundleName) -> Result<PathBuf, Fault> {
        if let Some(dir) = self.lookup(name) {
            return Ok(dir);
        }
        let fault = Fault::new(self.dir.display().to_string(), format!("no profile for {name}"));
        let mut others: Vec<&BundleName> = self.names().iter().collect();
        others.sort_by_key(|other| Reverse(other.likeness(name)));
        let listed: Vec<String> = others.iter().take(HINTED_MAX).map(ToString::to_string).collect();
        Err(match others.len().saturating_sub(HINTED_MAX) {
            _ if others.is_empty() => fault.hint("there is no folder with a meta.yaml"),
            0 => fault.hint(format!("there are: {}", listed.join(", "))),
            more => fault.hint(format!("there are: {}, and {more} more", listed.join(", "))),
        })
    }

    /// The folder of one bundle if looking through the tree would find it.
    fn lookup(&self, name: &BundleName) -> Option<PathBuf> {
        let folders = name.folders()?;
        let mut dir = self.dir.clone();
        for folder in folders {
            // Nothing is looked for inside a bundle.
            if is_bundle(&dir) {
                return None;
            }
            dir.push(folder);
        }
        is_bundle(&dir).then_some(dir)
    }
}

fn is_bundle(dir: &Path) -> bool {
    dir.join("meta.yaml").is_file()
}

/// Adds the bundles below `dir`, which lies in `folders`.
fn collect(dir: &Path, folders: &mut Vec<String>, names: &mut Vec<BundleName>) {
    if is_bundle(dir) {
        names.extend(BundleName::of(folders));
        return;
    }
    if folders.len() == DEPTH_MAX {
        return;
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if let Ok(name) = entry.file_name().into_string()
            && entry.path().is_dir()
        {
            folders.push(name);
            collect(&entry.path(), folders, names);
            folders.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(hardware: &str, model: &str, variant: &str) -> BundleName {
        BundleName { hardware: hardware.into(), model: model.into(), variant: variant.into() }
    }

    fn tree(bundles: &[&str]) -> (tempfile::TempDir, Catalogue) {
        let dir = tempfile::tempdir().unwrap();
        for bundle in bundles {
            fs::create_dir_all(dir.path().join(bundle)).unwrap();
            fs::write(dir.path().join(bundle).join("meta.yaml"), "").unwrap();
        }
        let catalogue = Catalogue::scan(dir.path()).unwrap();
        (dir, catalogue)
    }

    #[test]
    fn bundles_are_found() {
        let (dir, catalogue) = tree(&["H100/Qwen/Qwen3-32B/bf16", "H100/own/fp8", "A/b/c/d/too-deep", "shallow/bf16"]);
        let expected = [name("H100", "Qwen/Qwen3-32B", "bf16"), name("H100", "own", "fp8")];
        assert_eq!(catalogue.names(), expected);
        assert_eq!(catalogue.find(&expected[0]).unwrap(), dir.path().join("H100/Qwen/Qwen3-32B/bf16"));
    }

    #[test]
    fn what_is_found_is_what_there_is() {
        let bundles =
            ["H100/Qwen/Qwen3-32B/bf16", "H100/own/fp8", "H100/own/fp8/inner", "A/b/c/d/too-deep", "shallow/bf16"];
        let (_dir, catalogue) = tree(&bundles);
        fs::create_dir_all(catalogue.dir.join("H100/empty/bf16")).unwrap();
        let names = catalogue.names();
        let models =
            ["own", "own/", "own/fp8", "Qwen/Qwen3-32B", "Qwen", "b/c/d", "", ".", "..", "../H100/own", "empty"];
        for hardware in ["H100", "A", "shallow", "", ".", "H100/.", "H100/Qwen", "/H100"] {
            for model in models {
                for variant in ["bf16", "fp8", "inner", "too-deep", "bf16/", ""] {
                    let name = name(hardware, model, variant);
                    assert_eq!(catalogue.find(&name).is_ok(), names.contains(&name), "{name:?}");
                }
            }
        }
        assert!(!names.is_empty());
    }

    #[test]
    fn what_is_there_is_hinted() {
        let check = |bundles: &[&str], expected: &str| {
            let (_dir, catalogue) = tree(bundles);
            let fault = catalogue.find(&name("H100", "q/x", "bf16")).unwrap_err();
            assert_eq!(fault.message, "no profile for H100/q/x/bf16");
            assert_eq!(fault.hint.as_deref(), Some(expected), "{bundles:?}");
        };
        check(&[], "there is no folder with a meta.yaml");
        check(&["A100/z/x/fp8", "H100/q/x/fp8"], "there are: H100/q/x/fp8, A100/z/x/fp8");
        let many: Vec<String> = (0..10).map(|index| format!("A100/z/{index}/fp8")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let listed = many[..HINTED_MAX].join(", ");
        check(&many, &format!("there are: {listed}, and 2 more"));
    }

    #[test]
    fn a_missing_tree_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let fault = Catalogue::scan(&dir.path().join("nowhere")).unwrap_err();
        assert!(fault.message.starts_with("no such folder"), "{fault}");
    }
}
