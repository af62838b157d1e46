//! The kernel object: obtains a toolchain, builds `gateway-ebpf` with it, and puts the result where
//! `gateway-userspace/build.rs` embeds it from.
//!
//! Two ways lead to a compiler with a `core` for BPF: Debian's rustc with its prebuilt one, and a rustup nightly
//! with `rust-src`. Both need bpf-linker with an LLVM no older than the compiler's.

mod compiler;
mod debian;
mod linker;
mod llvm;
mod rustup;
mod stamp;
mod toolchain;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::{steps, workspace};
pub use compiler::field;
pub use toolchain::{Toolchain, obtain};

/// Where the kernel's compiler comes from.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Way {
    /// What is there; else apt, and where that fails rustup
    #[default]
    Auto,
    /// Debian's packages: found, else installed by apt
    Debian,
    /// A rustup nightly with rust-src: found, else installed by rustup
    Rustup,
}

/// Builds the kernel object into `target/ebpf/gateway.o`.
///
/// # Errors
/// When neither way gives a toolchain, or the program does not compile.
pub fn build(root: &Path, way: Way) -> Result<()> {
    let toolchain = obtain(root, way)?;
    steps::step(&format!("building the kernel object with {toolchain}"), || {
        steps::run(toolchain.cargo(root, "build").arg("--release"))?;
        publish(root)
    })
}

/// Copies the object to its stable place, only when it changed: a new time stamp would rebuild the daemon.
fn publish(root: &Path) -> Result<()> {
    let built = workspace::ebpf_target(root)
        .join(toolchain::TARGET)
        .join("release/gateway-ebpf");
    let object = workspace::kernel_object(root);
    let bytes = fs::read(&built).with_context(|| format!("reading the built object {}", built.display()))?;
    let size = bytes.len().div_ceil(1024);
    if fs::read(&object).is_ok_and(|present| present == bytes) {
        steps::note(&format!("{} is up to date ({size} KiB)", object.display()));
        return Ok(());
    }
    if let Some(folder) = object.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    // Written aside and renamed, so that a build that reads it meanwhile sees the old or the new one, never half.
    // Aside means outside target/ebpf: build.rs watches that folder.
    let aside = workspace::ebpf_target(root).join("gateway.o.new");
    fs::write(&aside, &bytes).with_context(|| format!("writing {}", aside.display()))?;
    fs::rename(&aside, &object).with_context(|| format!("putting {} in place", object.display()))?;
    steps::note(&format!("{} is new ({size} KiB)", object.display()));
    Ok(())
}
