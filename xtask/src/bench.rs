//! `bench`: the gateway beside its peers, in one run, on this machine.
//!
//! Reading order: `scenario` (what is measured), `subject` (who), `stage` (where), then how: `turn`, `load`, `routes`,
//! `memory`, `instructions`; `targets` judges, `report` says it. How each figure is taken, and why so, is told in
//! `docs/performance.md`. `resilience` and `l4` are other measurements with the same report. `training` is the load by which `release` makes a profile, with the same means.

mod accounts;
mod backend;
mod client;
mod envoy;
mod files;
mod generator;
mod instructions;
mod l4;
mod load;
mod memory;
mod open_loop;
mod pingora;
mod process;
mod profile;
mod report;
mod resilience;
mod routes;
mod scenario;
mod stage;
mod statistics;
mod subject;
mod targets;
mod template;
mod training;
mod turn;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::{steps, workspace};
use load::Plan;
use report::{Report, Row, Verdict};
use scenario::{Generator, Scenario};
use stage::{Pingora, Stage};
use targets::Found;
use template::Setup;

pub use backend::serve as backend;
pub use open_loop::{Order, ask as open_loop};
pub use stage::install_for_training;
pub use training::train;

/// Exit code when a target is missed.
pub const MISSED: u8 = 1;
/// Exit code when something could not be measured, or the measurement decides nothing.
pub const NOT_MEASURED: u8 = 2;

/// Times that memory is read of each subject, at most: it varies little.
const MEMORY_TIMES_MAX: usize = 3;

/// What can be measured.
#[derive(Debug, Subcommand)]
pub enum What {
    /// The proxy beside nginx, haproxy and envoy: CPU time for each request, latency, and memory
    ///
    /// Takes some two hours on a quiet machine, and 20 minutes more where the release is not built yet. Exits with 1 when a
    /// target is missed, with 2 when something could not be measured or is inconclusive.
    L7(Options),
    /// What clients see of faults of upstream servers, beside haproxy and envoy: failed requests, and latency (needs root)
    ///
    /// Takes some 50 minutes on a quiet machine, and some 20 more where the release is not built yet. Exits as `l7` does.
    Resilience(resilience::Options),
    /// What the kernel program costs a packet, over a program that does nothing and one that decides nothing (needs root)
    ///
    /// Takes some ten minutes, and some more where the lab is not built yet. Exits as `l7` does.
    L4(l4::Options),
}

/// How it is measured.
#[derive(Args, Debug)]
pub struct Options {
    /// Write every figure and every target to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Undisturbed rounds of each load; below six there is no 95% interval, and every ratio is inconclusive
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=99))]
    rounds: u16,
    /// Length of each run under load, in seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Length of the load under which memory is followed, in minutes (may be a fraction)
    #[arg(long, value_name = "MINUTES", default_value_t = 10.0, value_parser = minutes)]
    soak: f64,
    /// Only these scenarios
    #[arg(long, value_name = "SCENARIO", value_enum)]
    only: Vec<Scenario>,
    /// Count instructions instead, which wants no quiet machine: the same as `--only instructions`
    #[arg(long, conflicts_with = "only")]
    callgrind: bool,
    /// Measure pingora, too, where the load is plain HTTP/1.1; building it takes some ten minutes, once
    #[arg(long)]
    pingora: bool,
    /// Measure this binary instead of building a release
    #[arg(long, value_name = "FILE")]
    gateway: Option<PathBuf>,
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(minutes) if (0.1..=1_440.0).contains(&minutes) => Ok(minutes),
        _ => Err("0.1 to 1440 minutes".into()),
    }
}

impl Options {
    /// What is asked for. Instructions are counted only by request: they are no target, and take long.
    fn scenarios(&self) -> Vec<Scenario> {
        if self.callgrind {
            return vec![Scenario::Instructions];
        }
        if !self.only.is_empty() {
            return self.only.clone();
        }
        let mut all = Scenario::LOADS.to_vec();
        all.extend([Scenario::LatencyHalfLoad, Scenario::Memory, Scenario::Soak]);
        all
    }
}

/// Measures, prints the tables, writes the JSON; the exit code says whether the targets hold.
///
/// # Errors
/// When nothing can be measured here. A scenario that fails is told, and the others go on.
pub fn bench(what: &What) -> Result<ExitCode> {
    let root = workspace::root()?;
    match what {
        What::L7(options) => l7(&root, options),
        What::Resilience(options) => resilience::bench(&root, options),
        What::L4(options) => l4::bench(&root, options),
    }
}

fn l7(root: &Path, options: &Options) -> Result<ExitCode> {
    let start = Instant::now();
    let scenarios = options.scenarios();
    let with_pingora = if options.pingora {
        Pingora::Measured
    } else {
        Pingora::No
    };
    let stage = Stage::set(root, &scenarios, options.gateway.as_deref(), with_pingora)?;
    let mut found = Found::default();
    let mut failures = 0;
    for scenario in &scenarios {
        let heading = format!("measuring {}", scenario.name());
        let outcome = steps::step(&heading, || add(&mut found, &stage, *scenario, options));
        if let Err(error) = outcome {
            steps::note(&format!("not measured: {error:#}"));
            failures += 1;
        }
    }
    drop(stage);
    let targets = targets::judge(&found);
    let report = Report {
        rows: found.rows,
        targets,
    };
    print!("{}", report.table());
    if let Some(path) = &options.json {
        write(path, &report)?;
    }
    steps::note(&format!("all of it took {:.0} s", start.elapsed().as_secs_f64()));
    let asked = |name: &str| scenarios.iter().any(|scenario| scenario.name() == name);
    Ok(ExitCode::from(code(&report, asked, failures)))
}

fn write(path: &Path, report: &Report) -> Result<()> {
    fs::write(path, report.json()).with_context(|| format!("writing {}", path.display()))
}

/// Counts only the targets of what was asked for.
fn code(report: &Report, asked: impl Fn(&str) -> bool, failures: usize) -> u8 {
    let verdicts: Vec<Verdict> = report
        .targets
        .iter()
        .filter(|target| asked(target.scenario))
        .map(|target| target.verdict)
        .collect();
    if verdicts.contains(&Verdict::Fails) {
        MISSED
    } else if failures > 0 || verdicts.iter().any(|verdict| *verdict != Verdict::Holds) {
        NOT_MEASURED
    } else {
        0
    }
}

/// Measures a scenario, and adds what it finds.
fn add(found: &mut Found, stage: &Stage, scenario: Scenario, options: &Options) -> Result<()> {
    let plan = Plan {
        rounds: options.rounds.into(),
        seconds: options.seconds,
    };
    let times = plan.rounds.min(MEMORY_TIMES_MAX);
    match scenario {
        Scenario::Memory => found.rows.extend(memory::measure(stage, times)?),
        Scenario::Soak => {
            let soak = memory::soak(stage, Duration::from_secs_f64(options.soak * 60.0))?;
            found.rows.extend(soak.rows());
            found.soak = Some(soak);
        }
        Scenario::Instructions => found.rows.extend(instructions::measure(stage)?),
        Scenario::LatencyHalfLoad => {
            let (slowest, maximum) = load::slowest_peer(stage, scenario, plan.seconds)?;
            let rate = half(maximum);
            steps::note(&format!(
                "{} answers {maximum:.0} requests a second at most: half of it is {rate}",
                slowest.name()
            ));
            rounds(found, stage, scenario, plan, rate)?;
            let all = Row::new(scenario.name(), "all", "rate", rate.into(), "1/s");
            found.rows.push(all);
        }
        Scenario::Routes => {
            found.rows.extend(routes::memory(stage, times)?);
            rounds(found, stage, scenario, plan, 0)?;
            let route_changes = routes::changes(stage, routes::Kind::Route, plan)?;
            let reloads = routes::changes(stage, routes::Kind::File, plan)?;
            found.rows.extend(reloads.rows());
            found.reloads = Some(reloads);
            found.rows.extend(route_changes.rows());
            found.route_changes = Some(route_changes);
        }
        _ => rounds(found, stage, scenario, plan, 0)?,
    }
    Ok(())
}

/// Half of so many requests a second.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate of requests is a small positive number"
)]
fn half(maximum: f64) -> u32 {
    (maximum / 2.0).round().max(1.0) as u32
}

fn rounds(found: &mut Found, stage: &Stage, scenario: Scenario, plan: Plan, rate: u32) -> Result<()> {
    let rounds = load::measure(stage, scenario, plan, rate)?;
    found.rows.extend(rounds.rows());
    found.loads.push(rounds);
    // The backend alone speaks neither TLS nor is it needed as a floor of what h2load does.
    let plain = scenario.setup() == Setup::Plain;
    if plain && matches!(scenario.generator(), Generator::Wrk | Generator::OpenLoop) {
        found
            .rows
            .extend(load::floor(stage, scenario, plan.seconds, rate)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        what: What,
    }

    fn options(line: &str) -> Options {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        let What::L7(options) = Line::try_parse_from(words).unwrap().what else {
            panic!("another measurement");
        };
        options
    }

    #[test]
    fn without_options_everything_but_the_instructions_is_measured() {
        let scenarios = options("l7").scenarios();
        assert_eq!(scenarios.len(), 13);
        assert!(!scenarios.contains(&Scenario::Instructions));
        assert_eq!(options("l7 --callgrind").scenarios(), [Scenario::Instructions]);
        assert_eq!(
            options("l7 --only soak --only h1-64k").scenarios(),
            [Scenario::Soak, Scenario::H1Large]
        );
    }

    #[test]
    fn nonsense_is_refused() {
        let rows = [
            "l7 --rounds 0",
            "l7 --seconds 0",
            "l7 --soak 0",
            "l7 --soak NaN",
            "l7 --only x",
            "l4 --rounds 0",
            "l5",
        ];
        for row in rows {
            let words = std::iter::once("bench").chain(row.split_whitespace());
            assert!(Line::try_parse_from(words).is_err(), "{row}");
        }
    }

    #[test]
    fn the_exit_code_counts_what_was_asked_for() {
        let target = |scenario, verdict| report::Target {
            scenario,
            metric: "x",
            limit: 1.0,
            value: None,
            interval: None,
            verdict,
            note: String::new(),
        };
        let report = |first, second| Report {
            rows: Vec::new(),
            targets: vec![target("h1-small", first), target("soak", second)],
        };
        let only = [Scenario::H1Small];
        let both = [Scenario::H1Small, Scenario::Soak];
        let rows = [
            (
                report(Verdict::Holds, Verdict::Holds),
                &both[..],
                0,
                0,
                "all hold",
            ),
            (
                report(Verdict::Holds, Verdict::NotMeasured),
                &only[..],
                0,
                0,
                "nobody asked for the other",
            ),
            (
                report(Verdict::Holds, Verdict::NotMeasured),
                &both[..],
                1,
                2,
                "one failed",
            ),
            (
                report(Verdict::Inconclusive, Verdict::Holds),
                &both[..],
                0,
                2,
                "one decides nothing",
            ),
            (
                report(Verdict::Inconclusive, Verdict::Fails),
                &both[..],
                0,
                1,
                "one is missed",
            ),
        ];
        for (report, scenarios, failures, expected, description) in rows {
            let asked = |name: &str| scenarios.iter().any(|scenario| scenario.name() == name);
            assert_eq!(code(&report, asked, failures), expected, "{description}");
        }
    }
}
