//! sslyze, which Debian does not have: a scanner of TLS, from PyPI, with a launcher that tests call.
//!
//! The other scanner, testssl.sh, is a program of Debian's (`programs.rs`).

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::pip::{self, Package};

/// By which variable tests find it.
pub const SSLYZE_VARIABLE: &str = "GATEWAY_SSLYZE";

/// The version that tests know the findings of. It comes as source, what it is made of as programs.
const SSLYZE: Package = Package {
    name: "sslyze",
    version: "6.3.1",
    options: &["--only-binary=:all:", "--no-binary=sslyze"],
    why: "it looks for faults in the listeners' TLS",
};

/// Where its program is; installs it below the target directory, if it is not there.
///
/// # Errors
/// When Python's pip cannot be had, or not this package.
pub fn sslyze(root: &Path) -> Result<PathBuf> {
    let folder = pip::obtain(root, &SSLYZE, |part, python| {
        let launcher = part.join("launch");
        // Modules beside the launcher, by the Python that they were installed for.
        let text = format!(
            "#!/bin/sh\nPYTHONPATH=$(dirname \"$(readlink -f \"$0\")\") exec \"{}\" -m sslyze \"$@\"\n",
            python.display()
        );
        fs::write(&launcher, text).with_context(|| format!("writing {}", launcher.display()))?;
        fs::set_permissions(&launcher, Permissions::from_mode(0o755))?;
        Ok(())
    })?;
    Ok(folder.join("launch"))
}
