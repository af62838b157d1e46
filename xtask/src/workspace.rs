//! Where things are: the workspace, the kernel object, the tools that xtask installed for itself.
//!
//! The kernel object always lies under the workspace's own `target/`, whatever `CARGO_TARGET_DIR` says, because
//! `gateway-userspace/build.rs` looks for it there; host builds go where the caller wants them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// The workspace's root folder, absolute.
///
/// # Errors
/// When xtask was built outside a workspace.
pub fn root() -> Result<PathBuf> {
    // At run time cargo tells which checkout it runs for; two worktrees may share one target directory, and with
    // it one xtask binary, so the folder known at compile time is only the second choice.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = manifest
        .parent()
        .context("xtask's manifest lies in no workspace")?;
    Ok(root.to_path_buf())
}

/// The kernel object, by the name that `gateway-userspace/build.rs` looks for.
pub fn kernel_object(root: &Path) -> PathBuf {
    root.join("target/ebpf/gateway.o")
}

/// Target directory of the kernel's build: another compiler than the host's must not share one with it.
pub fn ebpf_target(root: &Path) -> PathBuf {
    root.join("target/ebpf-build")
}

/// Where host builds go: the caller's `CARGO_TARGET_DIR`, else `target/`.
pub fn host_target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}

/// The host binary `name` of the dev profile.
pub fn host_binary(root: &Path, name: &str) -> PathBuf {
    host_target(root).join("debug").join(name)
}

/// Folder of tools that xtask builds for itself: outside `target/`, so that a clean build does not pay again.
pub fn tools(root: &Path) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    match cache.or_else(|| home.map(|home| home.join(".cache"))) {
        Some(cache) => cache.join("gateway-xtask"),
        None => root.join("target/tools"),
    }
}

/// The host's cargo, run in the workspace's root.
pub fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}
