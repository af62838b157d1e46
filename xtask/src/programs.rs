//! Programs that tests call, and the packages that have them.

use std::path::Path;

use anyhow::{Context, Result};

use crate::apt::Apt;
use crate::steps;

/// Program, its Debian package, and what it is for.
const PROGRAMS: [(&str, &str, &str); 7] = [
    ("bpftool", "bpftool", "shows what the kernel has loaded"),
    (
        "curl",
        "curl",
        "asks what the README asks, and more, over each version of HTTP",
    ),
    ("h2load", "nghttp2-client", "asks ten thousand times over HTTP/2"),
    (
        "nghttp",
        "nghttp2-client",
        "speaks HTTP/2 without curl's library between",
    ),
    ("nginx", "nginx", "must count requests as the gateway does"),
    ("python3", "python3", "has another server that must"),
    ("wrk", "wrk", "asks as fast as it can"),
];

/// Folders that are not on every user's PATH, yet have such programs.
const SYSTEM_FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Installs the packages of those programs that are not here.
///
/// # Errors
/// Names the programs that are missing, where they cannot be installed.
pub fn install_missing() -> Result<()> {
    let missing: Vec<_> = PROGRAMS
        .iter()
        .filter(|(program, _, _)| !exists(program))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    for (program, package, purpose) in &missing {
        steps::note(&format!(
            "`{program}` is missing: it {purpose}; Debian's package {package} has it"
        ));
    }
    let mut packages: Vec<&str> = missing.iter().map(|(_, package, _)| *package).collect();
    packages.dedup();
    let names = packages.join(", ");
    Apt::find()
        .and_then(|apt| apt.install(&packages, "the tests call them"))
        .with_context(|| format!("install what holds these by your system's own means: {names}"))
}

fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).any(|folder| folder.join(program).exists());
    on_path
        || SYSTEM_FOLDERS
            .iter()
            .any(|folder| Path::new(folder).join(program).exists())
}
