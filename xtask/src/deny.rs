//! Dependency rules: which licences, sources and crates the lock file may hold.
//!
//! The rules stand in `deny.toml`, in the form of cargo-deny. That tool takes longer to build than the whole project,
//! so the rules that need no database are checked here on what `cargo tree` says; cargo-deny itself runs where it is
//! installed. Known vulnerabilities (`cargo deny check advisories`) need its database, and are left to it.

mod licence;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::check::CargoDeny;
use crate::{steps, workspace};
use rules::Rules;

/// The version that `check --deny` installs.
const CARGO_DENY_VERSION: &str = "0.19";

/// Parts of cargo-deny's check that need no database.
const CARGO_DENY_CHECKS: [&str; 3] = ["bans", "licenses", "sources"];

/// Checks the dependency rules.
///
/// # Errors
/// Lists every dependency that breaks a rule.
pub fn check(root: &Path, cargo_deny: CargoDeny) -> Result<()> {
    let place = root.join("deny.toml");
    let text = fs::read_to_string(&place).with_context(|| format!("reading {}", place.display()))?;
    let rules = Rules::parse(&text).context("deny.toml")?;
    let packages = packages(root, &rules)?;
    for (name, versions) in duplicates(&packages) {
        steps::note(&format!(
            "{name} is there more than once: {}",
            versions.join(", ")
        ));
    }
    let faults = faults(&rules, &packages);
    for fault in &faults {
        eprintln!("{fault}");
    }
    if !faults.is_empty() {
        bail!(
            "{} of {} dependencies break a rule of deny.toml",
            faults.len(),
            packages.len()
        );
    }
    steps::note(&format!(
        "{} packages keep the rules of deny.toml",
        packages.len()
    ));
    run_cargo_deny(root, cargo_deny)
}

/// A package of the dependency tree.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Package {
    name: String,
    version: String,
    /// Where it comes from, if not from the default registry: a path, or an address.
    source: Option<String>,
    /// Its licence expression, empty if it names none.
    licence: String,
}

impl Package {
    /// Reads a line of `cargo tree`: `name v1.2.3 (source)|licence`, where the source may be absent.
    fn parse(line: &str) -> Option<Self> {
        let (package, licence) = line.split_once('|')?;
        let mut words = package.splitn(3, ' ');
        let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
        let marks = words
            .next()
            .unwrap_or_default()
            .split(") ")
            .map(|mark| mark.trim_matches(['(', ')', ' ']));
        let source = marks
            .filter(|mark| !mark.is_empty() && *mark != "proc-macro" && *mark != "*")
            .last();
        Some(Self {
            name: name.into(),
            version: version.into(),
            source: source.map(Into::into),
            licence: licence.trim_end_matches(" (*)").into(),
        })
    }

    /// True for a member of this workspace, or a crate beside it.
    fn is_local(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.starts_with('/'))
    }
}

fn packages(root: &Path, rules: &Rules) -> Result<BTreeSet<Package>> {
    let mut command = workspace::cargo(root);
    command.args([
        "tree",
        "--workspace",
        "--prefix",
        "none",
        "--format",
        "{p}|{l}",
        "--no-dedupe",
    ]);
    command.args(["--edges", "normal,build,dev"]);
    for target in &rules.targets {
        command.args(["--target", target]);
    }
    // May take longer than a question, as it downloads what the lock file names.
    let output = command.output().context("running cargo tree")?;
    if !output.status.success() {
        bail!(
            "cargo tree failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| Package::parse(line).with_context(|| format!("cargo tree printed `{line}`")))
        .collect()
}

fn faults(rules: &Rules, packages: &BTreeSet<Package>) -> Vec<String> {
    let mut faults = Vec::new();
    for package in packages.iter().filter(|package| !package.is_local()) {
        let name = format!("{} {}", package.name, package.version);
        if let Some(source) = &package.source {
            faults.push(format!(
                "{name}: source: comes from {source}; take it from the registry"
            ));
        }
        if let Some(reason) = rules.banned.get(&package.name) {
            faults.push(format!("{name}: banned: {reason}"));
        }
        if !licence::allowed(&package.licence, &|id| rules.licences.contains(id)) {
            let licence = if package.licence.is_empty() {
                "none"
            } else {
                &package.licence
            };
            faults.push(format!(
                "{name}: licence: {licence} is not among those that deny.toml allows"
            ));
        }
    }
    faults
}

fn duplicates(packages: &BTreeSet<Package>) -> BTreeMap<&str, Vec<&str>> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages {
        versions.entry(&package.name).or_default().push(&package.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    versions
}

fn run_cargo_deny(root: &Path, wanted: CargoDeny) -> Result<()> {
    let place = workspace::tools(root).join(format!("cargo-deny-{CARGO_DENY_VERSION}"));
    let own = place.join("bin/cargo-deny");
    let program = if steps::ask(Command::new("cargo-deny").arg("--version")).is_ok() {
        "cargo-deny".into()
    } else if own.exists() {
        own
    } else if wanted == CargoDeny::Install {
        steps::step("building cargo-deny, which takes several minutes, once", || {
            let mut command = workspace::cargo(root);
            command.args([
                "install",
                "cargo-deny",
                "--locked",
                "--version",
                CARGO_DENY_VERSION,
                "--root",
            ]);
            steps::run(command.arg(&place).env_remove("CARGO_TARGET_DIR"))
        })?;
        own
    } else {
        steps::note(
            "cargo-deny is not installed (`cargo xtask check --deny` installs it): only the checks above ran",
        );
        return Ok(());
    };
    let mut command = Command::new(program);
    steps::run(command.current_dir(root).arg("check").args(CARGO_DENY_CHECKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str =
        "[licenses]\nallow = [\"MIT\"]\n[bans]\ndeny = [\n{ crate = \"bad\", reason = \"use good\" },\n]\n";

    fn check(lines: &[&str], expected: &[&str]) {
        let packages = lines.iter().map(|line| Package::parse(line).unwrap()).collect();
        let faults = faults(&Rules::parse(RULES).unwrap(), &packages);
        assert_eq!(faults.len(), expected.len(), "{faults:?}");
        for (fault, expected) in faults.iter().zip(expected) {
            assert!(fault.contains(expected), "{fault} lacks {expected}");
        }
    }

    #[test]
    fn dependencies_that_break_a_rule_are_named() {
        check(
            &[
                "good v1.0.0|MIT",
                "ours v0.1.0 (/somewhere/ours)|",
                "macros v1.0.0 (proc-macro)|MIT",
            ],
            &[],
        );
        check(&["bad v1.0.0|MIT"], &["bad 1.0.0: banned: use good"]);
        check(&["left v2.0.0|GPL-3.0"], &["left 2.0.0: licence: GPL-3.0"]);
        check(&["none v2.0.0|"], &["licence: none"]);
        check(
            &["fork v0.1.0 (https://example.org/fork#1234)|MIT"],
            &["source: comes from https://example.org"],
        );
        check(
            &["m v0.1.0 (proc-macro) (https://example.org/m#1)|MIT (*)"],
            &["source: comes from"],
        );
    }

    #[test]
    fn two_versions_of_a_crate_are_a_duplicate() {
        let lines = [
            "syn v1.0.0|MIT",
            "syn v2.0.0|MIT",
            "one v1.0.0|MIT",
            "one v1.0.0|MIT (*)",
        ];
        let packages = lines.iter().map(|line| Package::parse(line).unwrap()).collect();
        assert_eq!(
            duplicates(&packages).into_iter().collect::<Vec<_>>(),
            [("syn", vec!["1.0.0", "2.0.0"])]
        );
    }
}
