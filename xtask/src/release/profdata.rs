//! `llvm-profdata`: the one that reads what the host's compiler wrote, found here or installed by apt.
//!
//! The form of raw profiles changes with LLVM; a tool reads those of its own version, and newer ones mostly older
//! profiles. So its major version is the compiler's, or a newer one where there is no such.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::host::Host;
use crate::apt::Apt;
use crate::{programs, steps};

const NAME: &str = "llvm-profdata";
/// Where Debian puts its LLVMs, each in a folder of its own.
const DEBIAN: &str = "/usr/lib";
/// How many versions newer than the compiler's are looked for on PATH by name.
const NEWER_MAX: u32 = 4;

/// Finds `llvm-profdata` for the compiler of `host`, or installs it.
///
/// # Errors
/// When there is none, with the remedies.
pub fn obtain(host: &Host) -> Result<PathBuf> {
    if let Some(found) = find(host) {
        return Ok(found);
    }
    let package = format!("llvm-{}", host.llvm);
    let installed = Apt::find().and_then(|apt| {
        apt.install(
            &[&package],
            &format!("its {NAME} reads what the compiler's counters write"),
        )
    });
    installed.with_context(|| remedy(host))?;
    match find(host) {
        Some(found) => Ok(found),
        None => bail!("{package} is installed; yet {}", remedy(host)),
    }
}

fn remedy(host: &Host) -> String {
    format!(
        "no {NAME} of LLVM {llvm} or newer is here, and a release is built by profile. Either let rustup add it, \
         `rustup component add llvm-tools`, or install llvm-{llvm} by your system's own means; then run this again. \
         `cargo build --release` builds a gateway without a profile: as correct, and slower",
        llvm = host.llvm
    )
}

fn find(host: &Host) -> Option<PathBuf> {
    let folders = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let names: Vec<String> = folders
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let versions = candidates(host, &names)
        .into_iter()
        .filter_map(|path| programs::find(path.to_str()?))
        .map(|path| {
            let said = steps::ask(Command::new(&path).arg("--version"));
            let major = said.ok().and_then(|text| major(&text));
            (path, major)
        });
    choose(versions, host.llvm)
}

/// Where it may be, in order: the compiler's own, Debian's, by its names on PATH.
fn candidates(host: &Host, debian: &[String]) -> Vec<PathBuf> {
    let mut majors: Vec<u32> = debian
        .iter()
        .filter_map(|name| name.strip_prefix("llvm-")?.parse().ok())
        .filter(|major| *major >= host.llvm)
        .collect();
    majors.sort_unstable();
    let mut paths = vec![host.tools().join(NAME)];
    paths.extend(
        majors
            .iter()
            .map(|major| Path::new(DEBIAN).join(format!("llvm-{major}/bin/{NAME}"))),
    );
    paths.extend((host.llvm..=host.llvm + NEWER_MAX).map(|major| format!("{NAME}-{major}").into()));
    paths.push(NAME.into());
    paths
}

/// The first that tells a version which fits.
fn choose(mut versions: impl Iterator<Item = (PathBuf, Option<u32>)>, least: u32) -> Option<PathBuf> {
    versions
        .find(|(_, major)| major.is_some_and(|major| major >= least))
        .map(|(path, _)| path)
}

/// Major version in what `--version` prints. Old ones, such as LLVM 14's, know no such option.
fn major(text: &str) -> Option<u32> {
    let (_, version) = text.split_once("LLVM version ")?;
    version.split('.').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host {
            triple: "t".into(),
            llvm: 22,
            sysroot: "/s".into(),
        }
    }

    #[test]
    fn the_version_is_read_from_what_the_program_says() {
        let rows = [
            (
                "Debian LLVM version 22.1.8\n  Optimized build.\n",
                Some(22),
                "Debian's",
            ),
            (
                "LLVM (http://llvm.org/):\n  LLVM version 22.1.2-rust-1.95.0-stable\n",
                Some(22),
                "rustup's",
            ),
            ("LLVM version 23.0.0git\n", Some(23), "built from source"),
            (
                "llvm-profdata: Unknown command!\nUSAGE: llvm-profdata <merge|show|overlap>\n",
                None,
                "an old one, which knows no such option",
            ),
            ("", None, "nothing"),
        ];
        for (text, expected, description) in rows {
            assert_eq!(major(text), expected, "{description}");
        }
    }

    #[test]
    fn the_compilers_own_comes_first_and_old_ones_are_passed_over() {
        let names = ["llvm-14", "llvm-23", "llvm-22", "locale", "llvm-x"].map(String::from);
        let found = candidates(&host(), &names);
        let expected = [
            "/s/lib/rustlib/t/bin/llvm-profdata",
            "/usr/lib/llvm-22/bin/llvm-profdata",
            "/usr/lib/llvm-23/bin/llvm-profdata",
            "llvm-profdata-22",
        ];
        for (index, path) in expected.iter().enumerate() {
            assert_eq!(found.get(index).unwrap(), Path::new(path));
        }
        assert_eq!(found.last().unwrap(), Path::new("llvm-profdata"));
    }

    #[test]
    fn the_first_that_fits_is_chosen() {
        let rows = [
            (
                vec![("a", Some(22)), ("b", Some(23))],
                Some("a"),
                "the same version",
            ),
            (
                vec![("a", Some(14)), ("b", None), ("c", Some(23))],
                Some("c"),
                "a newer one after those that do not fit",
            ),
            (vec![("a", Some(21))], None, "an older one only"),
            (vec![], None, "none"),
        ];
        for (versions, expected, description) in rows {
            let versions = versions.into_iter().map(|(path, major)| (path.into(), major));
            assert_eq!(choose(versions, 22), expected.map(PathBuf::from), "{description}");
        }
    }
}
