//! `run`: the daemon from this checkout, with the kernel object of this checkout.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{ebpf, steps, workspace};

/// Builds the kernel object and the daemon, then becomes `gateway run ARGS`.
///
/// # Errors
/// When a build fails, or the daemon cannot be started; else it does not return.
pub fn run(root: &Path, arguments: &[String]) -> Result<()> {
    ebpf::build(root, ebpf::Way::Auto)?;
    steps::step("building the daemon", || {
        let build = ["build", "--package", "gateway-userspace", "--bin", "gateway"];
        steps::run(workspace::cargo(root).args(build))
    })?;
    become_program(
        Command::new(workspace::host_binary(root, "gateway"))
            .arg("run")
            .args(arguments),
    )
}

/// Replaces this process, so that signals and the exit status are the program's own.
///
/// # Errors
/// When the program cannot be started; else it does not return.
pub fn become_program(command: &mut Command) -> Result<()> {
    steps::note(&format!("$ {}", steps::shown(command)));
    Err(command.exec()).with_context(|| format!("starting {}", steps::shown(command)))
}
