//! `bench l4`: what the kernel program costs a packet, beside a program that does nothing and one that only does and undoes
//! the same to the bytes.
//!
//! The clock is `BPF_PROG_TEST_RUN`, in `gateway-speed`, a program of the package `gateway-tests`, which knows maps and
//! frames; here is what it needs, and what its figures say about the targets (`judge`).

mod judge;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::report::{Report, Row};
use super::write;
use crate::{demo, ebpf, privilege, steps, workspace};

/// How it is measured.
#[derive(Args, Debug)]
pub struct Options {
    /// Write every figure and every target to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Rounds of each scenario: of each the empty program, the floor and the gateway run once
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=999))]
    rounds: u16,
    /// Cores that run a scenario at the same time: from one on up to this
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    cores: u16,
    /// Only what begins so: scenarios of packets, `program`, `forgotten` or `table`
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

/// Measures, prints the tables, writes the JSON; the exit code says whether the targets hold.
///
/// # Errors
/// When nothing can be measured here, or the kernel program does something else than the pure function.
pub fn bench(root: &Path, options: &Options) -> Result<ExitCode> {
    let start = Instant::now();
    privilege::require_root("bench l4", "it loads programs into the kernel")?;
    ebpf::build(root, ebpf::Way::Auto)?;
    demo::build_binaries(root)?;
    let rows = steps::step("measuring the kernel program", || measure(root, options))?;
    let targets = judge::judge(&rows);
    let report = Report { rows, targets };
    print!("{}", report.table());
    if let Some(path) = &options.json {
        write(path, &report)?;
    }
    steps::note(&format!("all of it took {:.0} s", start.elapsed().as_secs_f64()));
    let asked =
        |name: &str| options.only.is_empty() || options.only.iter().any(|only| name.starts_with(only));
    Ok(ExitCode::from(super::code(&report, asked, 0)))
}

fn measure(root: &Path, options: &Options) -> Result<Vec<Row>> {
    let mut command = Command::new(workspace::host_binary(root, "gateway-speed"));
    command
        .args(["--rounds", &options.rounds.to_string()])
        .args(["--cores", &options.cores.to_string()])
        .args(options.only.iter().flat_map(|name| ["--only", name]))
        .stdout(Stdio::piped());
    let output = command
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .context("running gateway-speed")?;
    if !output.status.success() {
        bail!("gateway-speed ended with {}", output.status);
    }
    let rows = read(&String::from_utf8_lossy(&output.stdout))?;
    if rows.is_empty() {
        bail!("nothing is called {}", options.only.join(" or "));
    }
    Ok(rows)
}

/// Reads the lines of figures.
fn read(text: &str) -> Result<Vec<Row>> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("row\t"));
    lines
        .map(|line| {
            let [scenario, subject, metric, value, unit] = line.split('\t').collect::<Vec<_>>()[..] else {
                bail!("no figure: {line}");
            };
            let value = value.parse().with_context(|| format!("no number: {line}"))?;
            Ok(Row::new(scenario, subject, metric, value, unit))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_figures_are_read_and_all_else_is_passed_over() {
        let rows = read("x\nrow\ttcp-v4-syn\tgateway-gue\tns_per_packet\t12.5\tns\n").unwrap();
        assert_eq!(
            rows,
            [Row::new("tcp-v4-syn", "gateway-gue", "ns_per_packet", 12.5, "ns")]
        );
        for bad in ["row\ta\tb\tc\tx\tns", "row\ta\tb"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
