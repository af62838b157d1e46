//! `tidy`: the house rules that a program can check.
//!
//! Each rule is a pure function from the tree's files to faults, so that its tests need no file. All faults of all
//! rules are shown at once, each with its place, its rule and its remedy.

mod architecture;
mod code;
mod layers;
mod markdown;
mod source;
mod words;

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::steps;
use code::Code;

/// Checks the tree; `commands` are xtask's own, for the texts that name them.
///
/// # Errors
/// When a rule is broken; the faults are on the screen.
pub fn tidy(root: &Path, commands: &[String]) -> Result<()> {
    let tree = Tree::read(root)?;
    let faults = check(&tree, commands);
    for fault in &faults {
        eprintln!("{fault}");
    }
    if !faults.is_empty() {
        bail!("tidy found {} faults in {} files", faults.len(), tree.files.len());
    }
    steps::note(&format!("{} files keep the house rules", tree.files.len()));
    Ok(())
}

fn check(tree: &Tree, commands: &[String]) -> Vec<Fault> {
    let mut faults = Vec::new();
    source::check(tree, &mut faults);
    layers::check(tree, &mut faults);
    words::check(tree, &mut faults);
    markdown::check(tree, commands, &mut faults);
    architecture::check(tree, &mut faults);
    faults.sort();
    faults
}

/// The files of the checkout that are text.
#[derive(Debug, Default)]
struct Tree {
    files: Vec<File>,
}

impl Tree {
    /// Reads what git knows or would add: neither build results nor what is ignored.
    fn read(root: &Path) -> Result<Self> {
        let mut list = Command::new("git");
        list.current_dir(root)
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let list = steps::ask(&mut list).context("tidy reads the list of files from git")?;
        let mut files = Vec::new();
        for path in list.split('\0').filter(|path| !path.is_empty()) {
            // A deleted file is still listed, and a submodule or a link to a folder is no file.
            let place = root.join(path);
            if !place.is_file() {
                continue;
            }
            let bytes = fs::read(&place).with_context(|| format!("reading {}", place.display()))?;
            if let Ok(text) = String::from_utf8(bytes) {
                files.push(File::new(path, &text));
            }
        }
        Ok(Self::new(files))
    }

    /// Marks the files that their parents declare to be for tests only.
    fn new(mut files: Vec<File>) -> Self {
        let modules: Vec<String> = files.iter().flat_map(File::test_modules).collect();
        for file in &mut files {
            let stem = file.path.trim_end_matches(".rs");
            let within = |module: &String| {
                stem.strip_prefix(module.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            file.is_test |= modules.iter().any(within);
        }
        Self { files }
    }

    /// Rust files.
    fn rust(&self) -> impl Iterator<Item = (&File, &Code)> {
        self.files
            .iter()
            .filter_map(|file| Some((file, file.code.as_ref()?)))
    }

    /// True when `path`, from the root, is a file or a folder with files.
    fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let inside = |file: &File| {
            file.path
                .strip_prefix(path)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        path.is_empty() || self.files.iter().any(|file| file.path == path || inside(file))
    }

    /// A tree for tests: paths and texts.
    #[cfg(test)]
    fn of(files: &[(&str, &str)]) -> Self {
        Self::new(files.iter().map(|(path, text)| File::new(path, text)).collect())
    }
}

/// One text file.
#[derive(Debug)]
struct File {
    /// From the root, with `/`.
    path: String,
    text: String,
    /// The text as Rust code, if it is any.
    code: Option<Code>,
    /// True for a file that holds nothing but tests.
    is_test: bool,
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        let code = path.ends_with(".rs").then(|| Code::new(text));
        // Integration tests: `tests/` inside a package. The package `tests` itself is a library.
        let is_test = path.split('/').skip(1).any(|part| part == "tests");
        Self {
            path: path.into(),
            text: text.into(),
            code,
            is_test,
        }
    }

    /// Modules in files of their own that this file declares for tests only, as paths without `.rs`.
    fn test_modules(&self) -> Vec<String> {
        let (folder, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let stem = name.trim_end_matches(".rs");
        let folder = if ["lib", "main"].contains(&stem) {
            folder.to_string()
        } else {
            format!("{folder}/{stem}")
        };
        let names = self.code.iter().flat_map(Code::test_modules);
        names.map(|name| format!("{folder}/{name}")).collect()
    }

    fn fault(&self, line: usize, rule: &'static str, remedy: impl Into<String>) -> Fault {
        Fault {
            path: self.path.clone(),
            line,
            rule,
            remedy: remedy.into(),
        }
    }
}

/// A broken rule.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Fault {
    path: String,
    /// From 1.
    line: usize,
    rule: &'static str,
    remedy: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}:{}: {}: {}",
            self.path, self.line, self.rule, self.remedy
        )
    }
}

/// Checks that `rule` finds in the one file `text` at `path` exactly the faults at `expected`, as (line, rule).
#[cfg(test)]
fn expect(rule: impl Fn(&Tree, &mut Vec<Fault>), path: &str, text: &str, expected: &[(usize, &str)]) {
    let mut faults = Vec::new();
    rule(&Tree::of(&[(path, text)]), &mut faults);
    let found: Vec<_> = faults.iter().map(|fault| (fault.line, fault.rule)).collect();
    assert_eq!(found, expected, "{path}: {text}\n{faults:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_all_rules_come_at_once_in_order_of_place() {
        let tree = Tree::of(&[
            ("b/src/lib.rs", "fn f() {}\n"),
            ("README.md", "[gone](docs/gone.md)\n"),
        ]);
        let faults = check(&tree, &[]);
        let shown: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), 2, "{shown:?}");
        assert!(
            shown.first().unwrap().starts_with("README.md:1: link: "),
            "{shown:?}"
        );
        assert!(
            shown.last().unwrap().starts_with("b/src/lib.rs:1: module-docs: "),
            "{shown:?}"
        );
    }

    #[test]
    fn modules_declared_for_tests_are_tests() {
        let parent = ("a/src/b.rs", "//! x\n#[cfg(test)]\nmod simulation;\nmod real;\n");
        let bad = "//! x\nfn f() { g().unwrap(); }\n";
        let files = [
            parent,
            ("a/src/b/simulation.rs", bad),
            ("a/src/b/simulation/runs.rs", bad),
            ("a/src/b/real.rs", bad),
        ];
        let faults = check(&Tree::of(&files), &[]);
        assert_eq!(
            faults.iter().map(|fault| fault.path.as_str()).collect::<Vec<_>>(),
            ["a/src/b/real.rs"]
        );
    }

    #[test]
    fn a_folder_exists_when_a_file_is_in_it() {
        let tree = Tree::of(&[("docs/a.md", "")]);
        assert!(tree.has("docs") && tree.has("docs/") && tree.has("docs/a.md"));
        assert!(!tree.has("doc") && !tree.has("docs/b.md"));
    }
}
