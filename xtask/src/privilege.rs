//! Whether this process may load kernel programs and make network namespaces.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, bail};

/// Capabilities that the lab and the loader use, by number: `linux/capability.h`.
const NEEDED: [(u32, &str); 3] = [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN"), (39, "CAP_BPF")];

/// True when the effective user is root.
pub fn is_root() -> bool {
    // The owner of /proc/self is the effective user: no library is needed to ask.
    fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

/// Checks for root with the capabilities of [`NEEDED`].
///
/// # Errors
/// Names what `command` cannot do without them, and the command line that gives them.
pub fn require_root(command: &str, what: &str) -> Result<()> {
    if !is_root() {
        bail!(
            "`cargo xtask {command}` needs root: {what}. Run it as root, for example \
             `sudo --preserve-env=HOME env \"PATH=$PATH\" cargo xtask {command}`"
        );
    }
    let status = fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let lacking = lacking(&status);
    if !lacking.is_empty() {
        bail!(
            "`cargo xtask {command}` runs as root, but without {}: {what}. \
             In a container, give it these capabilities or run it privileged",
            lacking.join(", ")
        );
    }
    Ok(())
}

fn lacking(status: &str) -> Vec<&'static str> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(effective) = line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()) else {
        // A kernel that does not tell is asked by doing.
        return Vec::new();
    };
    NEEDED
        .iter()
        .filter(|(bit, _)| effective & (1 << bit) == 0)
        .map(|(_, name)| *name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::lacking;

    #[test]
    fn lacking_capabilities_are_named() {
        assert!(lacking("Name:\tx\nCapEff:\t000001ffffffffff\n").is_empty());
        assert_eq!(
            lacking("CapEff:\t00000000a80425fb\n"),
            ["CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_BPF"],
            "the default set of a container"
        );
    }
}
