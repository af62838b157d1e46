//! Packages of PyPI, each in a folder of its own below the target directory: by pip, of whichever Python has it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::apt::Apt;
use crate::{programs, steps, workspace};

/// Longest time for pip: some 40 MB over a slow line.
const PIP_LIMIT: Duration = Duration::from_secs(600);

/// What is installed.
pub struct Package {
    /// As PyPI has it.
    pub name: &'static str,
    /// The one that is used.
    pub version: &'static str,
    /// Further options of `pip install`.
    pub options: &'static [&'static str],
    /// What it is for, in the heading.
    pub why: &'static str,
}

/// The folder that holds a package; `finish` makes of a new one what is wanted of it, by the Python that has pip.
///
/// A folder is there whole or not at all: it gets its name at the end.
///
/// # Errors
/// When Python's pip cannot be had, or not this package, or `finish` fails.
pub fn obtain(
    root: &Path,
    package: &Package,
    finish: impl FnOnce(&Path, &Path) -> Result<()>,
) -> Result<PathBuf> {
    let Package { name, version, .. } = package;
    let peers = workspace::host_target(root).join("peers");
    let folder = peers.join(format!("{name}-{version}"));
    if folder.is_dir() {
        return Ok(folder);
    }
    let python = python(package)?;
    let part = peers.join(format!("{name}-{version}.part"));
    if part.exists() {
        fs::remove_dir_all(&part).with_context(|| format!("removing {}", part.display()))?;
    }
    steps::step(&format!("installing {name} by pip: {}", package.why), || {
        let mut command = Command::new(&python);
        command
            .args(["-m", "pip", "install"])
            .args(package.options)
            .args([
                "--disable-pip-version-check",
                "--quiet",
                "--root-user-action=ignore",
            ])
            .arg("--target")
            .arg(&part)
            .arg(format!("{name}=={version}"));
        steps::run_within(&mut command, PIP_LIMIT)
    })?;
    finish(&part, &python)?;
    fs::rename(&part, &folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}

/// A Python that has pip.
fn python(package: &Package) -> Result<PathBuf> {
    if let Some(python) = programs::find("python3")
        && steps::ask(Command::new(&python).args(["-m", "pip", "--version"])).is_ok()
    {
        return Ok(python);
    }
    Apt::find()
        .and_then(|apt| apt.install(&["python3-pip"], &format!("it installs {}", package.name)))
        .context("install Python's pip by your system's own means")?;
    Ok(PathBuf::from("/usr/bin/python3"))
}
