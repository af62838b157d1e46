//! A compiler that can build for BPF, and the commands to run it undisturbed by the cargo that runs xtask.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{debian, rustup};
use crate::steps;

/// What the outer cargo and rustup put into the environment, and what a user's settings for host builds say:
/// each would send the kernel's build to another compiler or give it another target's flags.
const FOREIGN: [&str; 13] = [
    "CARGO",
    "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "LD_LIBRARY_PATH",
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];

/// A Rust compiler for BPF.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Compiler {
    /// `/usr/bin/rustc` with the `core` that Debian compiled for BPF.
    Debian,
    /// A rustup toolchain by name; `core` is built from its `rust-src`.
    Rustup(String),
}

impl Compiler {
    /// Files that must exist for this compiler to serve; the stamp notices when they change.
    ///
    /// # Errors
    /// Says what is missing.
    pub fn witnesses(&self) -> Result<Vec<PathBuf>> {
        match self {
            Self::Debian => debian::witnesses(),
            Self::Rustup(name) => rustup::witnesses(name),
        }
    }

    /// `rustc` of this compiler.
    pub fn rustc(&self) -> Command {
        self.tool("rustc")
    }

    /// A tool of this compiler, in an environment of its own.
    pub fn tool(&self, name: &str) -> Command {
        let mut command = match self {
            Self::Debian => Command::new(Path::new(debian::FOLDER).join(name)),
            Self::Rustup(_) => Command::new("rustup"),
        };
        for variable in FOREIGN {
            command.env_remove(variable);
        }
        match self {
            Self::Debian => {
                // rustup's proxies must not come first: Debian's cargo looks for rustc on PATH.
                command.env("PATH", path_with_first(debian::FOLDER));
                // aya-ebpf needs nightly's inline assembly for BPF; Debian's compiler is a stable one.
                command.env("RUSTC_BOOTSTRAP", "1");
            }
            Self::Rustup(toolchain) => {
                command
                    .args(["run", toolchain, name])
                    .env("RUSTUP_AUTO_INSTALL", "0");
            }
        }
        command
    }

    /// Major version of the LLVM that writes this compiler's bitcode.
    ///
    /// # Errors
    /// When the compiler does not run or does not tell.
    pub fn llvm_major(&self) -> Result<u32> {
        let version = steps::ask(self.rustc().arg("-vV"))?;
        field(&version, "LLVM version")
            .and_then(|number| number.split('.').next()?.parse().ok())
            .with_context(|| format!("`rustc -vV` of {self} names no LLVM version"))
    }

    /// This compiler's own version, such as `1.96.0`.
    ///
    /// # Errors
    /// When the compiler does not run or does not tell.
    pub fn release(&self) -> Result<String> {
        let version = steps::ask(self.rustc().arg("-vV"))?;
        match field(&version, "release") {
            Some(release) => Ok(release.to_string()),
            None => bail!("`rustc -vV` of {self} names no release"),
        }
    }
}

impl fmt::Display for Compiler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Debian => write!(formatter, "Debian's rustc"),
            Self::Rustup(name) => write!(formatter, "rustup's {name}"),
        }
    }
}

/// The value of `name: value` in what `rustc -vV` prints.
pub fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn path_with_first(folder: &str) -> OsString {
    let mut path = OsString::from(folder);
    if let Some(rest) = std::env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_fields_are_found_by_name() {
        let text = "rustc 1.96.0 (ac68faa20 2026-05-25)\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(field(text, "release"), Some("1.96.0"));
        assert_eq!(field(text, "LLVM version"), Some("22.1.8"));
        assert_eq!(field(text, "host"), None);
    }

    #[test]
    fn debian_comes_before_the_proxies_on_path() {
        let command = Compiler::Debian.tool("cargo");
        assert_eq!(command.get_program(), "/usr/bin/cargo");
        let path = command
            .get_envs()
            .find(|(name, _)| *name == "PATH")
            .and_then(|(_, value)| value);
        assert!(path.unwrap().to_string_lossy().starts_with("/usr/bin:"));
    }

    #[test]
    fn the_outer_toolchain_does_not_leak_in() {
        for compiler in [Compiler::Debian, Compiler::Rustup("nightly".into())] {
            let command = compiler.tool("cargo");
            for variable in ["RUSTUP_TOOLCHAIN", "RUSTFLAGS", "CARGO"] {
                let removed = command
                    .get_envs()
                    .any(|(name, value)| name == variable && value.is_none());
                assert!(removed, "{variable} reaches {compiler}");
            }
        }
    }
}
