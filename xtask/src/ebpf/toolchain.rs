//! Compiler and linker together: looked for, installed where missing, refused in one sentence where neither way is open.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::compiler::Compiler;
use super::{Way, debian, linker, rustup, stamp};
use crate::{steps, workspace};

/// The kernel's target: BPF, little endian.
pub const TARGET: &str = "bpfel-unknown-none";

/// Flags of the kernel program: BTF is made of the debug information, and maps in maps need BTF.
const FLAGS: &str = "-C debuginfo=2 -C link-arg=--btf";

/// What builds the kernel object.
#[derive(Debug)]
pub struct Toolchain {
    /// The Rust compiler.
    pub compiler: Compiler,
    /// bpf-linker, by its path.
    pub linker: PathBuf,
    /// Both in a few words, for people.
    pub description: String,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.description)
    }
}

impl Toolchain {
    /// `cargo SUBCOMMAND` for the kernel program alone, in a target directory of its own.
    pub fn cargo(&self, root: &Path, subcommand: &str) -> Command {
        // By its own name: `cargo clippy` would look for it in rustup's folder first.
        let mut command = self.compiler.tool(if subcommand == "clippy" {
            "cargo-clippy"
        } else {
            "cargo"
        });
        command
            .args([subcommand, "--package", "gateway-ebpf", "--target", TARGET])
            .current_dir(root)
            .env("CARGO_TARGET_DIR", workspace::ebpf_target(root))
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker)
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_RUSTFLAGS", FLAGS);
        if let Compiler::Rustup(_) = self.compiler {
            command.args(["-Z", "build-std=core"]);
        }
        command
    }

    /// Whether this compiler has clippy.
    pub fn has_clippy(&self) -> bool {
        steps::ask(self.compiler.tool("cargo-clippy").arg("--version")).is_ok()
    }

    /// The Debian package with clippy for this compiler, if it comes by one.
    pub fn clippy_package(&self) -> Option<&'static str> {
        (self.compiler == Compiler::Debian).then_some(debian::CLIPPY_PACKAGE)
    }

    fn with(root: &Path, compiler: Compiler) -> Result<Self> {
        compiler.witnesses()?;
        let llvm = compiler.llvm_major()?;
        let linker = linker::obtain(root, llvm)?;
        let description = format!(
            "{compiler} {} and bpf-linker {}",
            compiler.release()?,
            linker::VERSION
        );
        Ok(Self {
            compiler,
            linker,
            description,
        })
    }
}

/// Finds a toolchain by `way`, or installs one.
///
/// # Errors
/// One error with what hindered each way, and the two remedies.
pub fn obtain(root: &Path, way: Way) -> Result<Toolchain> {
    if let Some(found) = stamp::load(root).filter(|found| allows(way, &found.compiler)) {
        return Ok(found);
    }
    steps::note("looking for a toolchain that builds for BPF");
    let mut refusals = Vec::new();
    for attempt in attempts(way) {
        match attempt
            .perform(root)
            .and_then(|compiler| Toolchain::with(root, compiler))
        {
            Ok(toolchain) => {
                stamp::store(root, &toolchain)?;
                return Ok(toolchain);
            }
            Err(error) => {
                let refusal = format!("{attempt}: {error:#}");
                steps::note(&refusal);
                refusals.push(refusal);
            }
        }
    }
    bail!(
        "no toolchain here can build the kernel object, and none could be installed. Either\n  \
         - let rustup fetch one and give bpf-linker an LLVM: `rustup toolchain install {} --component rust-src` and \
         `cargo binstall bpf-linker@{}`, or\n  \
         - on Debian 12 or newer with its security updates, as root: `apt-get install {}`;\n  \
         then run this again. What was tried:\n  {}",
        rustup::NIGHTLY,
        linker::VERSION,
        debian::PACKAGES.join(" "),
        refusals.join("\n  ")
    )
}

/// One way to a compiler.
enum Attempt {
    Present(Compiler),
    InstallByRustup,
    InstallByApt,
}

impl Attempt {
    fn perform(&self, root: &Path) -> Result<Compiler> {
        match self {
            Self::Present(compiler) => Ok(compiler.clone()),
            Self::InstallByRustup => rustup::install(root),
            Self::InstallByApt => debian::install(),
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present(compiler) => write!(formatter, "{compiler}"),
            Self::InstallByRustup => write!(formatter, "installing by rustup"),
            Self::InstallByApt => write!(formatter, "installing by apt"),
        }
    }
}

/// What to try, in order: first what is there, then rustup, which needs no root, then apt.
fn attempts(way: Way) -> Vec<Attempt> {
    let present = std::iter::once(Compiler::Debian).chain(rustup::candidates());
    let mut attempts: Vec<Attempt> = present
        .filter(|compiler| allows(way, compiler))
        .map(Attempt::Present)
        .collect();
    // Packages of the system first: they are compiled for it, and leave the user's own toolchains alone.
    if way != Way::Rustup {
        attempts.push(Attempt::InstallByApt);
    }
    if way != Way::Debian {
        attempts.push(Attempt::InstallByRustup);
    }
    attempts
}

fn allows(way: Way, compiler: &Compiler) -> bool {
    match way {
        Way::Auto => true,
        Way::Debian => *compiler == Compiler::Debian,
        Way::Rustup => *compiler != Compiler::Debian,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_tried_before_anything_is_installed() {
        let order = |way| attempts(way).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            order(Way::Auto),
            [
                "Debian's rustc".to_string(),
                format!("rustup's {}", rustup::NIGHTLY),
                "rustup's nightly".into(),
                "installing by apt".into(),
                "installing by rustup".into(),
            ]
        );
        assert_eq!(order(Way::Debian), ["Debian's rustc", "installing by apt"]);
        assert!(!order(Way::Rustup).contains(&"installing by apt".to_string()));
    }
}
