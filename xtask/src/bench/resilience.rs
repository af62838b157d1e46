//! `bench resilience`: what clients see of faults of upstream servers, through the gateway and through its peers.
//!
//! A turn is one proxy through one fault. It is played by `gateway-resilience`, a program of the package
//! `gateway-tests`, which has the servers that misbehave; here is what it needs (`lab`), rounds of turns (`rounds`), and
//! what they say about the targets (`judge`).

mod fault;
mod figures;
mod judge;
mod lab;
mod rounds;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Args;

use super::report::Report;
use super::write;
use crate::steps;
use fault::Fault;
use lab::Lab;

/// How it is measured.
#[derive(Args, Debug)]
pub struct Options {
    /// Write every figure and every target to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Undisturbed rounds of each fault; below six there is no 95% interval, and every target is inconclusive
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=99))]
    rounds: u16,
    /// Length of each turn, in seconds: the fault has its second and third quarter
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(4..=600))]
    seconds: u64,
    /// Requests a second
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Only these faults
    #[arg(long, value_name = "FAULT", value_enum)]
    only: Vec<Fault>,
    /// Measure this binary instead of building a release
    #[arg(long, value_name = "FILE")]
    gateway: Option<PathBuf>,
    /// Keep what each proxy logged in its last turn, in this folder
    #[arg(long, value_name = "FOLDER")]
    logs: Option<PathBuf>,
}

impl Options {
    fn faults(&self) -> Vec<Fault> {
        if self.only.is_empty() {
            Fault::ALL.to_vec()
        } else {
            self.only.clone()
        }
    }
}

/// Measures, prints the tables, writes the JSON; the exit code says whether the targets hold.
///
/// # Errors
/// When nothing can be measured here. A fault that cannot be measured is told, and the others go on.
pub fn bench(root: &Path, options: &Options) -> Result<ExitCode> {
    let start = Instant::now();
    let lab = Lab::set(root, options)?;
    let mut measured = Vec::new();
    let mut failures = 0;
    for fault in options.faults() {
        let heading = format!("measuring {}", fault.name());
        match steps::step(&heading, || rounds::measure(&lab, fault, options.rounds.into())) {
            Ok(rounds) => measured.push(rounds),
            Err(error) => {
                steps::note(&format!("not measured: {error:#}"));
                failures += 1;
            }
        }
    }
    let report = Report {
        rows: measured.iter().flat_map(rounds::Rounds::rows).collect(),
        targets: judge::judge(&measured),
    };
    print!("{}", report.table());
    if let Some(path) = &options.json {
        write(path, &report)?;
    }
    steps::note(&format!("all of it took {:.0} s", start.elapsed().as_secs_f64()));
    let faults = options.faults();
    let asked = |name: &str| faults.iter().any(|fault| fault.name() == name);
    Ok(ExitCode::from(super::code(&report, asked, failures)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn all_faults_are_measured_unless_some_are_named() {
        let faults = |line: &str| {
            let words = std::iter::once("resilience").chain(line.split_whitespace());
            Line::try_parse_from(words).map(|line| line.options.faults())
        };
        assert_eq!(faults("").unwrap().len(), 9);
        assert_eq!(
            faults("--only hangs --only 500-at-30-percent --rate 50").unwrap(),
            [Fault::Hangs, Fault::Fails]
        );
        for nonsense in ["--only x", "--seconds 1", "--rate 0", "--rounds 0"] {
            assert!(faults(nonsense).is_err(), "{nonsense}");
        }
    }
}
