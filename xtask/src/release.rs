//! `release`: the daemon as it is meant to run, optimised by a profile of real load.
//!
//! Built twice: with counters in it, which is put under load (`bench::train`), and then again by what they counted.
//! Reading order: `host` (the compiler), `profdata` (the tool that reads its counts), `profile` (what is kept and when
//! it is made anew). Source: The rustc book, "Profile-guided Optimization". `cargo build --release` needs none of this,
//! and gives a program that is as correct and slower; `docs/performance.md` says by how much.

mod host;
mod profdata;
mod profile;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::{bench, ebpf, steps, workspace};
use host::Host;
use profile::Folder;

/// Flags for the host's compiler, one by one; this variable goes before `RUSTFLAGS`, and lets a path hold blanks.
const FLAGS: &str = "CARGO_ENCODED_RUSTFLAGS";
/// Stands between two of them.
const FLAG_END: &str = "\x1f";

/// Builds the release, in as few steps as needed; returns where it is: `dist/gateway` in the target directory.
///
/// # Errors
/// When a build or the training fails, or something for them cannot be had.
pub fn release(root: &Path) -> Result<PathBuf> {
    let mut times = Times::default();
    times.of("kernel object", || ebpf::build(root, ebpf::Way::Auto))?;
    let (host, profdata) = times.of("tools", || {
        let host = Host::ask(root)?;
        let profdata = profdata::obtain(&host)?;
        bench::install_for_training()?;
        Ok((host, profdata))
    })?;
    let target = std::path::absolute(workspace::host_target(root))?;
    let folder = Folder::new(target.join("pgo"));
    let counted = times.of("build with counters", || {
        let heading = "building the daemon with counters in it (some minutes, when it has changed)";
        let flag = format!("-Cprofile-generate={}", folder.raw().display());
        let built = steps::step(heading, || build(root, &host, &folder, &flag))?;
        publish(&built, &folder.counted())
    })?;
    if profile::is_current(&folder.merged(), &inputs(root, &counted)) {
        steps::note("the profile is newer than what it is made of: no training");
    } else {
        times.of("training", || {
            let heading = "training the daemon: some twenty kinds of load, a minute and a half";
            steps::step(heading, || train(root, &folder, &counted))
        })?;
        times.of("profile", || {
            steps::step("merging what was counted", || folder.merge(&profdata))
        })?;
    }
    let profile = folder.name_by_content()?;
    let gateway = times.of("build by the profile", || {
        let heading = "building the daemon by its profile (some minutes, when either has changed)";
        let flag = format!("-Cprofile-use={}", profile.display());
        let built = steps::step(heading, || build(root, &host, &folder, &flag))?;
        publish(&built, &target.join("dist/gateway"))
    })?;
    let bytes = fs::metadata(&gateway)?.len();
    steps::note(&times.shown());
    steps::note(&format!(
        "the release is {} ({} KiB)",
        gateway.display(),
        bytes.div_ceil(1024)
    ));
    Ok(gateway)
}

/// Builds the daemon with one flag more; returns where cargo puts it.
///
/// With a triple, so that the flag is not for build scripts and macros, and both times with the same one: the triple
/// is part of what names are mangled with, and the profile knows functions by name.
fn build(root: &Path, host: &Host, folder: &Folder, flag: &str) -> Result<PathBuf> {
    let mut command = workspace::cargo(root);
    command
        .args([
            "build",
            "--release",
            "--package",
            "gateway-userspace",
            "--bin",
            "gateway",
        ])
        .args(["--target", &host.triple])
        .env("CARGO_TARGET_DIR", folder.path())
        .env(
            FLAGS,
            flags(std::env::var_os(FLAGS), std::env::var_os("RUSTFLAGS"), flag),
        );
    steps::note(&format!("with the flag {flag}"));
    steps::run(&mut command)?;
    Ok(folder.path().join(&host.triple).join("release/gateway"))
}

/// The caller's flags, from whichever variable cargo would have read, and one more.
fn flags(encoded: Option<OsString>, plain: Option<OsString>, more: &str) -> OsString {
    let split = || {
        let plain = plain.unwrap_or_default();
        let words = plain.to_string_lossy().into_owned();
        words.split_whitespace().collect::<Vec<_>>().join(FLAG_END).into()
    };
    let mut all: OsString = encoded.unwrap_or_else(split);
    if !all.is_empty() {
        all.push(FLAG_END);
    }
    all.push(more);
    all
}

/// What the profile is made of.
fn inputs(root: &Path, counted: &Path) -> Vec<PathBuf> {
    let loads = [
        "tests/bench/training.toml",
        "tests/bench/chunked.lua",
        "tests/bench/gateway.toml",
        "xtask/src/bench/training.rs",
    ];
    let mut inputs: Vec<PathBuf> = loads.iter().map(|path| root.join(path)).collect();
    inputs.push(counted.into());
    inputs
}

/// By a process of its own, which goes to one core and takes care of signals: neither is for the builds that follow.
fn train(root: &Path, folder: &Folder, counted: &Path) -> Result<()> {
    folder.empty_raw()?;
    let this = std::env::current_exe().context("asking where this program is")?;
    let mut command = Command::new("setpriv");
    // Should this process be ended alone, the training ends, too, and what it started.
    command
        .args(["--pdeathsig", "TERM"])
        .arg(this)
        .arg("release-training")
        .arg("--gateway")
        .arg(counted)
        .arg("--profiles")
        .arg(folder.raw())
        .current_dir(root);
    steps::run(&mut command)
}

/// Copies a built file to where it stays, only when it differs: its time says when it changed.
fn publish(built: &Path, place: &Path) -> Result<PathBuf> {
    let bytes = fs::read(built).with_context(|| format!("reading the built {}", built.display()))?;
    if !fs::read(place).is_ok_and(|present| present == bytes) {
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        // Written aside and renamed: a program that runs cannot be written to.
        let aside = place.with_extension("new");
        fs::copy(built, &aside).with_context(|| format!("writing {}", aside.display()))?;
        fs::rename(&aside, place).with_context(|| format!("putting {} in place", place.display()))?;
    }
    Ok(place.into())
}

/// How long each part took.
#[derive(Default)]
struct Times {
    parts: Vec<(&'static str, Duration)>,
}

impl Times {
    fn of<T>(&mut self, part: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let result = work();
        self.parts.push((part, start.elapsed()));
        result
    }

    fn shown(&self) -> String {
        let parts = self
            .parts
            .iter()
            .map(|(part, time)| format!("{part} {:.0} s", time.as_secs_f64()));
        parts.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_flags_stay_and_come_first() {
        let rows = [
            (None, None, "-Cx=/a b", "nothing set"),
            (None, Some("-Ca  -C b"), "-Ca\x1f-C\x1fb\x1f-Cx=/a b", "RUSTFLAGS"),
            (
                Some("-Cc\x1f-Cd"),
                Some("-Ca"),
                "-Cc\x1f-Cd\x1f-Cx=/a b",
                "both: cargo reads the encoded ones",
            ),
            (
                Some(""),
                Some("-Ca"),
                "-Cx=/a b",
                "none, said by an empty variable",
            ),
        ];
        for (encoded, plain, expected, description) in rows {
            let found = flags(encoded.map(Into::into), plain.map(Into::into), "-Cx=/a b");
            assert_eq!(found, expected, "{description}");
        }
    }

    #[test]
    fn what_the_profile_is_made_of_is_there() {
        let root = workspace::root().unwrap();
        for path in inputs(&root, &root.join("Cargo.toml")) {
            assert!(path.exists(), "{}", path.display());
        }
    }
}
