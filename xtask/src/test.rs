//! `test`: every test there is, those included that need root and the kernel.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{demo, ebpf, fuzz, privilege, programs, scanners, steps, workspace};

/// What cannot run without root, for the refusal.
const ROOT_ONLY: &str = "without it the packet cases cannot run in the kernel, and neither the lab nor the \
     end-to-end tests (package gateway-tests) at all. What needs no root: \
     `cargo test --package gateway-common --package gateway-userspace --package xtask`";

/// Seconds of each fuzz target: enough to find a fault in what its seeds reach.
const FUZZ_SECONDS: u32 = 10;

/// Runs all tests, or those whose name contains `filter`.
///
/// # Errors
/// Without root, when something does not build, when a test fails, and when none ran.
pub fn test(root: &Path, filter: Option<&str>) -> Result<()> {
    privilege::require_root("test", ROOT_ONLY)?;
    let start = Instant::now();
    programs::install_missing()?;
    let sslyze = scanners::sslyze(root)?;
    ebpf::build(root, ebpf::Way::Auto)?;
    demo::build_binaries(root)?;
    let mut tally = Tally::default();
    let outcome = steps::step("running all tests", || {
        let mut command = workspace::cargo(root);
        command
            .args([
                "test",
                "--workspace",
                "--exclude",
                "gateway-ebpf",
                "--no-fail-fast",
            ])
            .args(filter)
            .env("GATEWAY_BIN", workspace::host_binary(root, "gateway"))
            .env(scanners::SSLYZE_VARIABLE, &sslyze);
        if std::io::stdout().is_terminal() {
            command.args(["--", "--color", "always"]);
        }
        stream(&mut command, &mut tally)
    });
    let fuzzed = match filter {
        None => fuzz::fuzz(root, None, FUZZ_SECONDS),
        Some(_) => Ok(()),
    };
    steps::note(&format!("all of it took {:.0} s", start.elapsed().as_secs_f64()));
    println!("tests: {} passed, {} failed", tally.passed, tally.failed);
    outcome?;
    fuzzed?;
    if tally.passed == 0 {
        bail!(
            "no test ran: {}",
            filter.map_or("none was found".into(), |name| format!(
                "none is named like `{name}`"
            ))
        );
    }
    Ok(())
}

/// Counts of all test binaries together.
#[derive(Debug, Default, Eq, PartialEq)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    /// Reads a line such as `test result: ok. 12 passed; 0 failed; 1 ignored; …`.
    fn count(&mut self, line: &str) {
        let Some((_, counts)) = line
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for part in counts.split(';') {
            match part.trim().split_once(' ') {
                Some((number, "passed")) => self.passed += number.parse().unwrap_or(0),
                Some((number, "failed")) => self.failed += number.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
}

/// Runs the tests, passes their output on as it comes, and counts.
fn stream(command: &mut Command, tally: &mut Tally) -> Result<()> {
    steps::note(&format!("$ {}", steps::shown(command)));
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("starting cargo test")?;
    if let Some(output) = child.stdout.take() {
        let mut screen = std::io::stdout().lock();
        for line in BufReader::new(output).split(b'\n') {
            let line = line.context("reading the output of cargo test")?;
            screen.write_all(&line)?;
            screen.write_all(b"\n")?;
            tally.count(&without_colours(&String::from_utf8_lossy(&line)));
        }
    }
    if !child.wait()?.success() {
        bail!("a test failed, or did not build");
    }
    Ok(())
}

fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, sequence)) = rest.split_once('\x1b') {
        plain.push_str(before);
        rest = sequence
            .split_once(|letter: char| letter.is_ascii_alphabetic())
            .map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_binaries_add_up() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test some::case ... ok",
        ] {
            tally.count(line);
        }
        assert_eq!(tally, Tally { passed: 8, failed: 2 });
    }

    #[test]
    fn colours_do_not_hide_a_result() {
        assert_eq!(
            without_colours("test result: \x1b[32mok\x1b(B\x1b[m. 1 passed"),
            "test result: ok. 1 passed"
        );
    }
}
