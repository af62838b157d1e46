//! Pingora, which is a library: the program in `tests/bench/pingora` is built of it, once, where that is asked for.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{programs, steps, workspace};

/// The version that is measured; the program's own manifest names it, too.
const VERSION: &str = "0.9.1";

/// What the program is made of.
const FILES: [&str; 2] = ["Cargo.toml", "main.rs"];

/// Where the program is; builds it below the target directory, if it is not there as it is now.
///
/// # Errors
/// When crates cannot be had, or it does not build.
pub fn build(root: &Path) -> Result<PathBuf> {
    programs::install(
        &[("cmake", "cmake", "builds the zlib that pingora is built with")],
        "to build pingora",
    )?;
    let folder = workspace::host_target(root)
        .join("peers")
        .join(format!("pingora-{VERSION}"));
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    for name in FILES {
        let source = root.join("tests/bench/pingora").join(name);
        let text = fs::read_to_string(&source).with_context(|| format!("reading {}", source.display()))?;
        let copy = folder.join(name);
        // A file that is written anew is built anew.
        if fs::read_to_string(&copy).ok().as_deref() != Some(&text) {
            fs::write(&copy, text).with_context(|| format!("writing {}", copy.display()))?;
        }
    }
    steps::step("building pingora (some ten minutes, the first time)", || {
        let mut command = workspace::cargo(root);
        command
            .args(["build", "--release", "--manifest-path"])
            .arg(folder.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(folder.join("target"));
        steps::run(&mut command)
    })?;
    Ok(folder.join("target/release/bench-pingora"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_names_the_same_version() {
        let manifest = workspace::root().unwrap().join("tests/bench/pingora/Cargo.toml");
        let text = fs::read_to_string(manifest).unwrap();
        assert!(text.contains(&format!("version = \"={VERSION}\"")), "{text}");
    }
}
