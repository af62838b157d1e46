//! The way by rustup: a nightly whose `rust-src` is compiled for BPF on the spot (`-Z build-std`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::compiler::Compiler;
use super::linker;
use crate::steps;

/// The nightly that is installed where none serves yet.
///
/// A fixed one: rustc 1.97, which the kernel program is written for, with an LLVM that bpf-linker and the
/// distributions' packages have. A moving one breaks the build on a day nobody changed anything.
pub const NIGHTLY: &str = "nightly-2026-05-20";

/// LLVM of [`NIGHTLY`], to see before the download whether a linker for it can be had.
const NIGHTLY_LLVM: u32 = 22;

/// Longest time for the download and installation, some 300 MB with the documentation left out.
const INSTALL_LIMIT: Duration = Duration::from_secs(900);

/// Seconds without a byte after which rustup gives a download up; its own default is three minutes, four times.
const STALL_LIMIT_SECONDS: &str = "20";

/// The toolchains to look at: the fixed nightly, and one that the user has anyway.
pub fn candidates() -> Vec<Compiler> {
    [NIGHTLY, "nightly"]
        .map(|name| Compiler::Rustup(name.into()))
        .into()
}

/// The compiler and the source of `core`.
///
/// # Errors
/// When rustup, the toolchain or its `rust-src` is missing.
pub fn witnesses(name: &str) -> Result<Vec<PathBuf>> {
    let sysroot = steps::ask(Compiler::Rustup(name.into()).rustc().args(["--print", "sysroot"]))?;
    let sysroot = Path::new(sysroot.trim());
    let core = sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml");
    if !core.exists() {
        bail!("toolchain {name} has no rust-src");
    }
    Ok(vec![sysroot.join("bin/rustc"), core])
}

/// Installs the fixed nightly with `rust-src` and clippy.
///
/// # Errors
/// When there is no rustup, it cannot reach its server, or no linker for this nightly could be had anyway.
pub fn install(root: &Path) -> Result<Compiler> {
    steps::ask(Command::new("rustup").arg("--version")).context("there is no rustup here")?;
    linker::obtainable(root, NIGHTLY_LLVM)?;
    steps::step(
        &format!("installing {NIGHTLY} by rustup: a compiler that can build core for BPF"),
        || {
            let mut command = Command::new("rustup");
            command
                .args([
                    "toolchain",
                    "install",
                    NIGHTLY,
                    "--no-self-update",
                    "--profile",
                    "minimal",
                ])
                .args(["--component", "rust-src", "--component", "clippy"])
                .env("RUSTUP_DOWNLOAD_TIMEOUT", STALL_LIMIT_SECONDS)
                .env("RUSTUP_MAX_RETRIES", "1")
                .env("RUST_BACKTRACE", "0")
                .env_remove("RUSTUP_TOOLCHAIN");
            steps::run_within(&mut command, INSTALL_LIMIT)
        },
    )?;
    witnesses(NIGHTLY)?;
    Ok(Compiler::Rustup(NIGHTLY.into()))
}
