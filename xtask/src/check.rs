//! `check`: everything that needs no root and no running program. CI runs it after the tests.
//!
//! Every check runs, also after one failed, so that one run shows all there is to mend.

use std::path::Path;

use anyhow::{Result, bail};

use crate::apt::Apt;
use crate::ebpf::{self, Toolchain};
use crate::{deny, steps, tidy, workspace};

/// Whether cargo-deny is wanted beside xtask's own dependency rules.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CargoDeny {
    /// Run it only where it is installed.
    IfInstalled,
    /// Install it first: a build of several minutes.
    Install,
}

/// Runs all checks.
///
/// # Errors
/// Names every check that failed; the details are on the screen.
pub fn check(root: &Path, cargo_deny: CargoDeny, commands: &[String]) -> Result<()> {
    let results = [
        (
            "fmt",
            steps::step("fmt: layout of the source", || {
                cargo(root, &["fmt", "--all", "--check"])
            }),
        ),
        (
            "tidy",
            steps::step("tidy: the house rules", || tidy::tidy(root, commands)),
        ),
        (
            "dependencies",
            steps::step("dependencies: licences, sources, bans", || {
                deny::check(root, cargo_deny)
            }),
        ),
        (
            "clippy",
            steps::step("clippy: the host's crates", || {
                cargo(
                    root,
                    &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
                )
            }),
        ),
        ("clippy for bpf", kernel(root)),
        (
            "docs",
            steps::step("docs: every link in the documentation leads somewhere", || {
                let mut command = workspace::cargo(root);
                command
                    .args(["doc", "--no-deps", "--workspace"])
                    .env("RUSTDOCFLAGS", "-D warnings");
                steps::run(&mut command)
            }),
        ),
    ];
    let count = results.len();
    let mut failed = Vec::new();
    for (name, result) in results {
        if let Err(error) = result {
            eprintln!("{name}: {error:#}");
            failed.push(name);
        }
    }
    if failed.is_empty() {
        println!("check: all {count} checks hold");
        return Ok(());
    }
    bail!("{} of {count} checks failed: {}", failed.len(), failed.join(", "))
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<()> {
    steps::run(workspace::cargo(root).args(arguments))
}

/// Lints the kernel program with the compiler that builds it; without clippy, its warnings are errors all the same.
fn kernel(root: &Path) -> Result<()> {
    let toolchain = ebpf::obtain(root, ebpf::Way::Auto)?;
    if has_clippy(&toolchain) {
        return steps::step(&format!("clippy: the kernel program, with {toolchain}"), || {
            steps::run(
                toolchain
                    .cargo(root, "clippy")
                    .args(["--release", "--", "-D", "warnings"]),
            )
        });
    }
    let heading = "warnings of the kernel program, as errors (its compiler has no clippy)";
    steps::step(heading, || {
        steps::run(
            toolchain
                .cargo(root, "rustc")
                .args(["--release", "--", "-D", "warnings"]),
        )
    })
}

/// Looks for clippy; where it is a package that can be had, gets it.
fn has_clippy(toolchain: &Toolchain) -> bool {
    if toolchain.has_clippy() {
        return true;
    }
    let Some(package) = toolchain.clippy_package() else {
        return false;
    };
    match Apt::find().and_then(|apt| apt.install(&[package], "clippy for the kernel's compiler")) {
        Ok(()) => toolchain.has_clippy(),
        Err(error) => {
            steps::note(&format!("no clippy for the kernel's compiler: {error:#}"));
            false
        }
    }
}
