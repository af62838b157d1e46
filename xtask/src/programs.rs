//! Programs that tests call, and the packages that have them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::apt::Apt;
use crate::steps;

/// Program, its Debian package, and what it is for.
const PROGRAMS: [(&str, &str, &str); 13] = [
    ("bpftool", "bpftool", "shows what the kernel has loaded"),
    (
        "curl",
        "curl",
        "asks what the README asks, and more, over each version of HTTP",
    ),
    (
        "haproxy",
        "haproxy",
        "speaks the PROXY protocol on either side of the gateway",
    ),
    ("h2load", "nghttp2-client", "asks ten thousand times over HTTP/2"),
    (
        "nghttp",
        "nghttp2-client",
        "speaks HTTP/2 without curl's library between",
    ),
    ("nginx", "nginx", "must count requests as the gateway does"),
    ("openssl", "openssl", "makes the benchmark's certificate"),
    ("pebble", "pebble", "issues certificates by ACME"),
    ("pebble-challtestsrv", "pebble", "tells pebble where names lead"),
    ("python3", "python3", "has another server that must"),
    ("tcpdump", "tcpdump", "reads the files of `gateway trace --pcap`"),
    ("testssl", "testssl.sh", "looks for faults in the listeners' TLS"),
    ("wrk", "wrk", "asks as fast as it can"),
];

/// Folders that are not on every user's PATH, yet have such programs.
const SYSTEM_FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Installs the packages of those programs that are not here.
///
/// # Errors
/// Names the programs that are missing, where they cannot be installed.
pub fn install_missing() -> Result<()> {
    install(&PROGRAMS, "the tests call them")
}

/// Installs the packages of those `programs` (program, package, purpose) that are not here; `why` stands in the heading.
///
/// # Errors
/// Names the programs that are missing, where they cannot be installed.
pub fn install(programs: &[(&str, &str, &str)], why: &str) -> Result<()> {
    let missing: Vec<_> = programs
        .iter()
        .filter(|(program, _, _)| find(program).is_none())
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
    // Programs of one package stand next to each other.
    packages.dedup();
    let names = packages.join(", ");
    Apt::find()
        .and_then(|apt| apt.install(&packages, why))
        .with_context(|| format!("install what holds these by your system's own means: {names}"))
}

/// Where `program` is: on PATH, or in a folder of the system's own programs.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(
            SYSTEM_FOLDERS
                .iter()
                .map(|folder| Path::new(folder).to_path_buf()),
        )
        .map(|folder| folder.join(program))
        .find(|place| place.exists())
}
