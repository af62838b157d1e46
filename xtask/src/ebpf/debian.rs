//! The way by Debian's packages: a stable rustc whose `core` for BPF is a package.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::compiler::Compiler;
use super::toolchain::TARGET;
use crate::apt::Apt;
use crate::steps;

/// Where Debian puts its compiler.
pub const FOLDER: &str = "/usr/bin";

/// Compiler, cargo and the `core` for BPF. Clippy is optional: `check` asks for it.
pub const PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];

/// The package with clippy for this compiler.
pub const CLIPPY_PACKAGE: &str = "rust-web-clippy";

/// Compiler, cargo and the compiled `core`.
///
/// # Errors
/// Says which of them is missing.
pub fn witnesses() -> Result<Vec<PathBuf>> {
    let folder = PathBuf::from(FOLDER);
    let mut witnesses = vec![folder.join("rustc"), folder.join("cargo")];
    for file in &witnesses {
        if !file.exists() {
            bail!("there is no {}", file.display());
        }
    }
    let sysroot = steps::ask(Compiler::Debian.rustc().args(["--print", "sysroot"]))?;
    let library = PathBuf::from(sysroot.trim())
        .join("lib/rustlib")
        .join(TARGET)
        .join("lib");
    let entries = fs::read_dir(&library)
        .with_context(|| format!("{FOLDER}/rustc has no core for {TARGET} ({})", library.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        if name.starts_with("libcore-") && name.ends_with(".rlib") {
            witnesses.push(path);
            return Ok(witnesses);
        }
    }
    bail!("{} has no libcore", library.display())
}

/// Installs the packages.
///
/// # Errors
/// When there is no apt-get, no right to use it, or no such package in the configured sources.
pub fn install() -> Result<Compiler> {
    let apt = Apt::find()?;
    apt.install(&PACKAGES, "a Rust compiler with a core library for BPF")?;
    witnesses().context("the packages are installed, yet incomplete")?;
    Ok(Compiler::Debian)
}
