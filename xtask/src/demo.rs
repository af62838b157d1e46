//! `demo`: from a fresh checkout to real traffic through the lab.
//!
//! The lab and the story it tells are `gateway-demo`'s, in the package `gateway-tests`; here is only what it needs.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::run::become_program;
use crate::{ebpf, privilege, steps, workspace};

/// Gets and builds what is missing, then becomes `gateway-demo ARGS`.
///
/// # Errors
/// Without root, or when a build fails; else it does not return.
pub fn demo(root: &Path, arguments: &[String]) -> Result<()> {
    privilege::require_root(
        "demo",
        "it makes network namespaces and loads a kernel program into them",
    )?;
    ebpf::build(root, ebpf::Way::Auto)?;
    build_binaries(root)?;
    let demo = workspace::host_binary(root, "gateway-demo");
    let gateway = workspace::host_binary(root, "gateway");
    become_program(Command::new(demo).args(arguments).env("GATEWAY_BIN", gateway))
}

/// Builds the daemon and the demo.
///
/// The same packages at once as `test` builds: cargo unites the features of what it builds together, and another
/// choice would build the dependencies twice.
///
/// # Errors
/// When they do not compile.
pub fn build_binaries(root: &Path) -> Result<()> {
    steps::step(
        "building the daemon and the lab (some minutes the first time)",
        || {
            let build = [
                "build",
                "--workspace",
                "--exclude",
                "gateway-ebpf",
                "--exclude",
                "xtask",
                "--bins",
            ];
            steps::run(workspace::cargo(root).args(build))
        },
    )
}
