//! bpf-linker: found, or built from source against an LLVM that is no older than the compiler's.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::llvm;
use crate::apt::{self, Apt};
use crate::{steps, workspace};

/// The version in use: its command line and its BTF are what the kernel program was tried with.
pub const VERSION: &str = "0.13.0";

/// Releases of LLVM that this version can be built against.
const LLVMS: std::ops::RangeInclusive<u32> = 21..=23;

/// A linker that reads the bitcode of LLVM `needed`: an own one, one on PATH, else a new one.
///
/// # Errors
/// When there is no LLVM new enough and none can be installed, or the build fails.
pub fn obtain(root: &Path, needed: u32) -> Result<PathBuf> {
    if let Some(linker) = present(root, needed) {
        return Ok(linker);
    }
    let (major, prefix) = match installed_llvm(needed) {
        Some(found) => found,
        None => install_llvm(needed)?,
    };
    let place = own_place(root, major);
    steps::step(
        &format!("building bpf-linker {VERSION} against LLVM {major}: it links kernel objects"),
        || {
            let mut command = workspace::cargo(root);
            command
                .args([
                    "install",
                    "bpf-linker",
                    "--locked",
                    "--version",
                    VERSION,
                    "--no-default-features",
                ])
                .args(["--features", &format!("llvm-{major}"), "--root"])
                .arg(&place)
                .env("LLVM_PREFIX", &prefix)
                // LLVM, which is optimized already, does its work: what is saved here is build time.
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
                .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
                // A build of its own: nothing of it may land in the workspace's target, or come from its flags.
                .env_remove("CARGO_TARGET_DIR")
                .env_remove("RUSTFLAGS")
                .env_remove("CARGO_ENCODED_RUSTFLAGS");
            steps::run(&mut command)
        },
    )?;
    let linker = place.join("bin/bpf-linker");
    serves(&linker, needed).context("the new bpf-linker does not serve")?;
    Ok(linker)
}

/// Whether [`obtain`] has a chance, without changing anything.
///
/// # Errors
/// Says what is missing.
pub fn obtainable(root: &Path, needed: u32) -> Result<()> {
    if present(root, needed).is_some() || installed_llvm(needed).is_some() {
        return Ok(());
    }
    package(needed).map(|_| ())
}

/// A linker that is here and serves.
fn present(root: &Path, needed: u32) -> Option<PathBuf> {
    let own = majors(needed).map(|major| own_place(root, major).join("bin/bpf-linker"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("bpf-linker"));
    own.chain(on_path)
        .filter(|linker| linker.exists())
        .find(|linker| match serves(linker, needed) {
            Ok(()) => true,
            Err(error) => {
                steps::note(&format!("passing over {}: {error:#}", linker.display()));
                false
            }
        })
}

/// Checks that `linker` runs, is of our version, and knows LLVM `needed`.
fn serves(linker: &Path, needed: u32) -> Result<()> {
    let version = steps::ask(
        Command::new(linker)
            .arg("--version")
            .env_remove("LD_LIBRARY_PATH"),
    )?;
    let version = version.trim().trim_start_matches("bpf-linker ");
    if version != VERSION {
        bail!("it is version {version}, not {VERSION}");
    }
    match llvm::linked_with(linker) {
        Some(major) if major >= needed => Ok(()),
        Some(major) => bail!("it has LLVM {major}, and the compiler LLVM {needed}"),
        None => bail!("it does not tell its LLVM"),
    }
}

fn own_place(root: &Path, major: u32) -> PathBuf {
    workspace::tools(root).join(format!("bpf-linker-{VERSION}-llvm-{major}"))
}

/// LLVMs that read the bitcode of `needed`, the nearest first.
fn majors(needed: u32) -> impl Iterator<Item = u32> {
    LLVMS.filter(move |major| *major >= needed)
}

fn installed_llvm(needed: u32) -> Option<(u32, PathBuf)> {
    majors(needed).find_map(|major| Some((major, llvm::prefix(major)?)))
}

fn install_llvm(needed: u32) -> Result<(u32, PathBuf)> {
    let (apt, major) = package(needed)?;
    let name = format!("llvm-{major}-dev");
    apt.install(&[&name], "the LLVM that bpf-linker is built against")?;
    let prefix =
        llvm::prefix(major).with_context(|| format!("{name} is installed, yet has no libLLVM.so"))?;
    Ok((major, prefix))
}

/// The package manager and the LLVM to take from it.
fn package(needed: u32) -> Result<(Apt, u32)> {
    if majors(needed).next().is_none() {
        bail!(
            "bpf-linker {VERSION} knows LLVM {} at most, and the compiler has LLVM {needed}",
            LLVMS.end()
        );
    }
    let missing = format!("no LLVM {needed} or newer to build bpf-linker against");
    let apt = Apt::find().context(missing.clone())?;
    let find = || majors(needed).find(|major| apt::known(&[&format!("llvm-{major}-dev")]).unwrap_or(false));
    match find() {
        Some(major) => Ok((apt, major)),
        None => bail!("{missing}: apt has no llvm-{needed}-dev"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_llvms_that_can_read_the_compilers_bitcode_are_tried_nearest_first() {
        assert_eq!(majors(22).collect::<Vec<_>>(), [22, 23]);
        assert_eq!(majors(20).collect::<Vec<_>>(), [21, 22, 23]);
        assert_eq!(majors(24).count(), 0);
    }

    #[test]
    fn a_program_that_is_no_bpf_linker_does_not_serve() {
        assert!(serves(Path::new("/bin/false"), 22).is_err());
        assert!(serves(Path::new("/no/such/linker"), 22).is_err());
    }
}
