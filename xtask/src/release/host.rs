//! The host's compiler, as far as a profile depends on it: its triple, its LLVM, where its own tools are.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::ebpf::field;
use crate::steps;

/// The host's compiler.
#[derive(Debug, Eq, PartialEq)]
pub struct Host {
    /// What it builds for when not told otherwise.
    pub triple: String,
    /// Major version of its LLVM, which writes the raw profiles.
    pub llvm: u32,
    /// Its folder.
    pub sysroot: PathBuf,
}

impl Host {
    /// Asks the compiler that cargo would call in `root`.
    ///
    /// # Errors
    /// When it does not run or does not tell.
    pub fn ask(root: &Path) -> Result<Self> {
        let rustc = || {
            let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
            command.current_dir(root);
            command
        };
        let version = steps::ask(rustc().arg("-vV"))?;
        let sysroot = steps::ask(rustc().args(["--print", "sysroot"]))?;
        Self::read(&version, &sysroot).context("`rustc -vV` names no host or no LLVM version")
    }

    fn read(version: &str, sysroot: &str) -> Option<Self> {
        Some(Self {
            triple: field(version, "host")?.into(),
            llvm: field(version, "LLVM version")?.split('.').next()?.parse().ok()?,
            sysroot: sysroot.trim().into(),
        })
    }

    /// Where rustup's component llvm-tools puts its programs.
    pub fn tools(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib").join(&self.triple).join("bin")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triple_and_llvm_are_read_from_what_the_compiler_says() {
        let version =
            "rustc 1.95.0 (59807616e 2026-04-14)\nhost: x86_64-unknown-linux-gnu\nLLVM version: 22.1.2\n";
        let host = Host::read(version, "/opt/rust\n").unwrap();
        assert_eq!(host.llvm, 22);
        assert_eq!(
            host.tools(),
            Path::new("/opt/rust/lib/rustlib/x86_64-unknown-linux-gnu/bin")
        );
        assert_eq!(Host::read("host: a\n", "/"), None);
    }
}
