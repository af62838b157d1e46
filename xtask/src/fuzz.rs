//! `fuzz`: random inputs for what reads the bytes of clients and nodes, on the stable toolchain.
//!
//! The targets are a workspace of their own, `tests/fuzz`, since all of it is built with the fuzzer's instrumentation.
//! That is LLVM's coverage alone: sanitizers need a nightly compiler, and there is no `unsafe` to find here.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::apt::Apt;
use crate::{steps, workspace};

/// Targets, in the order they run; one binary each.
const TARGETS: [&str; 9] = [
    "inspect",
    "response",
    "frames",
    "path",
    "router",
    "proxy_protocol",
    "client_hello",
    "decide",
    "encapsulation",
];

/// What the host's code is built for. Said aloud, it keeps the flags away from build scripts.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// libFuzzer's view of the code: edges, and what values are compared with.
const FLAGS: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg",
    "fuzzing",
];

/// Bytes of an input: room for a pipeline of some requests.
const INPUT_BYTES_MAX: u32 = 4_096;

/// Seconds that one input may take before it counts as a fault; they take microseconds.
const INPUT_SECONDS_MAX: u32 = 10;

/// Beyond its time a run may take this long to load its corpus and to write down what it found.
const GRACE: Duration = Duration::from_secs(120);

/// Lines of a failed run's output that are shown.
const LINES_SHOWN: usize = 40;

/// Runs every target, or one, for so many seconds each.
///
/// # Errors
/// When a target is unknown, does not build, or finds a fault.
pub fn fuzz(root: &Path, target: Option<&str>, seconds: u32) -> Result<()> {
    let targets = chosen(target)?;
    build(root)?;
    for target in targets {
        steps::step(&format!("fuzzing {target} for {seconds} s"), || {
            run(root, target, seconds)
        })?;
    }
    Ok(())
}

/// Gives a target one input, such as one that a run has found.
///
/// # Errors
/// When the target is unknown or does not build, or the fault is still there.
pub fn again(root: &Path, target: &str, input: &Path) -> Result<()> {
    chosen(Some(target))?;
    build(root)?;
    steps::run(Command::new(binary(root, target)).arg(input))
}

fn chosen(target: Option<&str>) -> Result<Vec<&'static str>> {
    let Some(target) = target else {
        return Ok(TARGETS.to_vec());
    };
    match TARGETS.into_iter().find(|known| *known == target) {
        Some(target) => Ok(vec![target]),
        None => bail!(
            "there is no fuzz target `{target}`; there are {}",
            TARGETS.join(", ")
        ),
    }
}

/// Builds all targets: they share everything but a few lines.
///
/// # Errors
/// When a compiler is missing and cannot be installed, or the build fails.
pub fn build(root: &Path) -> Result<()> {
    install_compiler()?;
    steps::step("building the fuzz targets", || {
        let mut command = workspace::cargo(root);
        command
            .current_dir(root.join("tests/fuzz"))
            .args(["build", "--bins", "--target", TRIPLE])
            .env("CARGO_TARGET_DIR", target_folder(root))
            // Wins over the caller's RUSTFLAGS.
            .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
        steps::run(&mut command)
    })
}

/// libFuzzer itself is C++, and is compiled here.
fn install_compiler() -> Result<()> {
    if steps::ask(Command::new("c++").arg("--version")).is_ok() {
        return Ok(());
    }
    Apt::find()
        .and_then(|apt| apt.install(&["g++"], "libFuzzer is written in C++"))
        .context("a C++ compiler is needed: install one by your system's own means")
}

fn target_folder(root: &Path) -> PathBuf {
    workspace::host_target(root).join("fuzz")
}

fn binary(root: &Path, target: &str) -> PathBuf {
    target_folder(root).join(TRIPLE).join("debug").join(target)
}

fn run(root: &Path, target: &str, seconds: u32) -> Result<()> {
    let folder = target_folder(root);
    // What earlier runs found worth keeping makes later ones start where those ended.
    let corpus = folder.join("corpus").join(target);
    let found = folder.join("found").join(target);
    for folder in [&corpus, &found] {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let log = folder.join(format!("{target}.log"));
    let output = File::create(&log).with_context(|| format!("making {}", log.display()))?;
    let mut command = Command::new(binary(root, target));
    command
        .arg(&corpus)
        .arg(root.join("tests/fuzz/seeds").join(target))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg("-print_final_stats=1")
        .stdout(output.try_clone()?)
        .stderr(output);
    let limit = Duration::from_secs(seconds.into()) + GRACE;
    let outcome = steps::run_within(&mut command, limit);
    let text = fs::read(&log).with_context(|| format!("reading {}", log.display()))?;
    let text = String::from_utf8_lossy(&text);
    if outcome.is_ok() {
        let tried = tried(&text).context("the fuzzer does not say how many inputs it tried")?;
        steps::note(&format!("{tried} inputs, no fault"));
        return Ok(());
    }
    let lines: Vec<&str> = text.lines().collect();
    for line in lines.iter().skip(lines.len().saturating_sub(LINES_SHOWN)) {
        eprintln!("{line}");
    }
    match input_of(&text) {
        Some(input) => bail!(
            "{target} found a fault; the input is {input}. Once more: `cargo xtask fuzz {target} --input {input}`"
        ),
        None => outcome.with_context(|| format!("{target} ended without an input; see {}", log.display())),
    }
}

/// How many inputs a run has tried, by its own word.
fn tried(output: &str) -> Option<u64> {
    let mut values = output
        .lines()
        .filter_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    values.next()?.trim().parse().ok()
}

/// Where a run wrote the input that it failed on.
fn input_of(output: &str) -> Option<&str> {
    let mut places = output.lines().filter_map(|line| {
        line.split_once("Test unit written to ")
            .map(|(_, place)| place.trim())
    });
    places.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runs_output_says_what_was_tried_and_found() {
        let output = "INFO: Seed: 1\nstat::number_of_executed_units: 4711\nstat::average_exec_per_sec: 2\n";
        assert_eq!(tried(output), Some(4_711));
        assert_eq!(input_of(output), None);
        let output = "artifact_prefix='a/'; Test unit written to a/crash-1\nBase64: AA==\n";
        assert_eq!(input_of(output), Some("a/crash-1"));
        assert_eq!(tried(output), None);
    }

    #[test]
    fn every_target_has_its_program_and_its_seeds() {
        let root = workspace::root().unwrap();
        for target in TARGETS {
            assert_eq!(chosen(Some(target)).unwrap(), [target]);
            let program = root.join(format!("tests/fuzz/src/bin/{target}.rs"));
            assert!(program.is_file(), "{}", program.display());
            let seeds = root.join("tests/fuzz/seeds").join(target);
            assert!(
                fs::read_dir(&seeds).unwrap().next().is_some(),
                "{}",
                seeds.display()
            );
        }
        assert!(chosen(Some("none")).is_err());
        assert_eq!(chosen(None).unwrap(), TARGETS);
    }
}
