//! What 10,000 routes cost beside a request: memory after the start, and changes while requests go on.
//!
//! A change is `gateway reload` of the whole file as an operator calls it, timed from there to its end; or one route by the
//! admin API, timed until a request has seen it. What changed must hold then. Meanwhile requests for another route come at
//! a constant rate, as they do before without changes; their 99th percentiles are compared. For reloads the gateway has
//! both cores: the file is read beside the worker, not by it. For single routes it has one.

mod change;

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::accounts;
use super::generator::{Figures, run_generators, start_generator};
use super::load::{FOREIGN_MAX, Plan, TRIES_PER_ROUND};
use super::process::Scratch;
use super::report::Row;
use super::scenario::{Generator, ROUTES, Scenario, open_loop};
use super::stage::Stage;
use super::statistics::{median, real};
use super::subject::{Running, Subject};
use super::template::{Setup, last_path};
use super::turn::Accounts;
use crate::steps;
use change::Change;

/// Requests a second beside reloads: few enough that nobody waits for the others.
const RATE: u32 = 2_000;
/// Length of the load before that, in seconds.
const WARM_UP_SECONDS: u64 = 2;
/// From the start of a change to that of the next, unless it takes longer.
const RELOAD_INTERVAL: Duration = Duration::from_millis(500);
const ROUTE_INTERVAL: Duration = Duration::from_millis(100);
/// Between a subject's start and the reading of its memory.
const SETTLE: Duration = Duration::from_secs(1);
/// How much longer than asked the load may take.
const GENERATOR_SLACK: Duration = Duration::from_secs(30);

/// Memory of every subject that has just started, `times` times.
///
/// # Errors
/// When one does not start.
pub fn memory(stage: &Stage, times: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for subject in stage.subjects(Scenario::Routes) {
        let mut values = Vec::new();
        for _ in 0..times {
            let running = Running::start(stage, subject, Setup::Routes(ROUTES))?;
            thread::sleep(SETTLE);
            values.push(real(accounts::resident_bytes(running.group())?) / 1e6);
        }
        if let Some(value) = median(&values) {
            steps::note(&format!(
                "{:<7}  started with {ROUTES} routes: {value:.1} MB",
                subject.name()
            ));
            rows.push(row(subject, "resident_started_mb", value, "MB"));
        }
    }
    Ok(rows)
}

fn row(subject: Subject, metric: &str, value: f64, unit: &str) -> Row {
    Row::new(Scenario::Routes.name(), subject.name(), metric, value, unit)
}

/// What is changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// The whole file, by `gateway reload`.
    File,
    /// One route, by the admin API.
    Route,
}

impl Kind {
    /// From the start of one to that of the next.
    fn interval(self) -> Duration {
        match self {
            Self::File => RELOAD_INTERVAL,
            Self::Route => ROUTE_INTERVAL,
        }
    }

    /// What messages call it.
    fn name(self) -> &'static str {
        match self {
            Self::File => "reloads",
            Self::Route => "changes of one route",
        }
    }

    /// Names of what is found, in the order of [`Changes::rows`].
    fn metrics(self) -> [&'static str; 7] {
        match self {
            Self::File => [
                "reload_ms",
                "reload_slowest_ms",
                "latency_p99_ms_without_reloads",
                "latency_p99_ms_during_reloads",
                "reload_failed_requests",
                "reloads",
                "reload_rounds_disturbed",
            ],
            Self::Route => [
                "route_change_ms",
                "route_change_slowest_ms",
                "latency_p99_ms_without_route_changes",
                "latency_p99_ms_during_route_changes",
                "route_change_failed_requests",
                "route_changes",
                "route_change_rounds_disturbed",
            ],
        }
    }
}

/// Changes of the gateway, and requests meanwhile.
#[derive(Clone, Debug)]
pub struct Changes {
    kind: Kind,
    rounds: Vec<Round>,
    disturbed: usize,
}

#[derive(Clone, Debug)]
struct Round {
    /// 99th percentiles without and with changes, in milliseconds.
    quiet_ms: f64,
    busy_ms: f64,
    /// How long each change took, in milliseconds.
    changes_ms: Vec<f64>,
    /// Requests beside them that were not answered with 200.
    failed: u64,
    foreign: f64,
}

impl Changes {
    /// The 99th percentile with changes over that without, of each undisturbed round.
    pub fn ratios(&self) -> Vec<f64> {
        self.rounds
            .iter()
            .map(|round| round.busy_ms / round.quiet_ms)
            .collect()
    }

    /// The longest time that a change took, in milliseconds.
    pub fn slowest_ms(&self) -> Option<f64> {
        self.times().into_iter().reduce(f64::max)
    }

    /// How many there were.
    pub fn count(&self) -> usize {
        self.times().len()
    }

    /// Requests that failed beside them; `None`: nothing was measured.
    pub fn failed(&self) -> Option<f64> {
        let failed = self
            .rounds
            .iter()
            .map(|round| round.failed)
            .reduce(|sum, more| sum + more);
        failed.map(real)
    }

    fn times(&self) -> Vec<f64> {
        self.rounds
            .iter()
            .flat_map(|round| round.changes_ms.iter().copied())
            .collect()
    }

    /// As rows of the output.
    pub fn rows(&self) -> Vec<Row> {
        let of = |what: fn(&Round) -> f64| median(&self.rounds.iter().map(what).collect::<Vec<_>>());
        let found = [
            ("ms", median(&self.times())),
            ("ms", self.slowest_ms()),
            ("ms", of(|round| round.quiet_ms)),
            ("ms", of(|round| round.busy_ms)),
            ("requests", self.failed()),
            ("changes", Some(real(self.count()))),
            ("rounds", Some(real(self.disturbed))),
        ];
        let rows = self.kind.metrics().into_iter().zip(found);
        let rows = rows.filter_map(|(metric, (unit, value))| Some((metric, unit, value?)));
        rows.map(|(metric, unit, value)| row(Subject::Gateway, metric, value, unit))
            .collect()
    }
}

/// Measures changes in rounds.
///
/// # Errors
/// When a change is refused, or does not hold after it; beside reloads, when a request fails.
pub fn changes(stage: &Stage, kind: Kind, plan: Plan) -> Result<Changes> {
    let mut changes = Changes {
        kind,
        rounds: Vec::new(),
        disturbed: 0,
    };
    for _ in 0..plan.rounds * TRIES_PER_ROUND {
        if changes.rounds.len() == plan.rounds {
            break;
        }
        let round = change_round(stage, kind, plan.seconds).context("changing 10,000 routes under load")?;
        steps::note(&format!(
            "round {} of {}: {} {} of {:.1} ms, the slowest {:.1} ms; p99 {:.3} ms without, {:.3} ms with them, {} \
             requests failed, other work {:.0}%",
            changes.rounds.len() + 1,
            plan.rounds,
            round.changes_ms.len(),
            kind.name(),
            median(&round.changes_ms).unwrap_or(f64::NAN),
            round.changes_ms.iter().copied().fold(f64::NAN, f64::max),
            round.quiet_ms,
            round.busy_ms,
            round.failed,
            round.foreign * 100.0
        ));
        if round.foreign > FOREIGN_MAX {
            changes.disturbed += 1;
        } else {
            changes.rounds.push(round);
        }
    }
    Ok(changes)
}

fn change_round(stage: &Stage, kind: Kind, seconds: u64) -> Result<Round> {
    let both = format!("{},{}", stage.cores.subject, stage.cores.generator);
    let setup = Setup::Routes(ROUTES);
    let running = match kind {
        Kind::File => Running::start_as(stage, Subject::Gateway, setup, |command, _| {
            on_cores(&both, &command)
        })?,
        Kind::Route => Running::start(stage, Subject::Gateway, setup)?,
    };
    let scratch = Scratch::new("generator")?;
    let aim = stage.aim(running.ports, RATE);
    let load = |seconds| open_loop(&aim, RATE, seconds, &last_path(ROUTES - 1));
    let quietly = |seconds| {
        let (figures, _) = run_generators(stage, &scratch, Generator::OpenLoop, &load(seconds), seconds, 1)?;
        all_answered(&figures)?;
        p99_ms(&figures)
    };
    quietly(WARM_UP_SECONDS)?;
    let before = Accounts::read(stage, &running)?;
    let quiet_ms = quietly(seconds)?;
    let output = scratch.path().join("beside-changes");
    let mut generator = start_generator(stage, &output, &load(seconds))?;
    let start = Instant::now();
    let mut change = Change::of(kind, &running, &stage.gateway)?;
    let mut changes_ms = Vec::new();
    while generator.ended()?.is_none() {
        if start.elapsed() > Duration::from_secs(seconds) + GENERATOR_SLACK {
            bail!("the load does not end");
        }
        let took = change.once(running.ports.http1)?;
        // One that the load did not see to its end says nothing of it, but took its time all the same.
        changes_ms.push(took.as_secs_f64() * 1e3);
        thread::sleep(kind.interval().saturating_sub(took));
    }
    let text = fs::read_to_string(&output)?;
    generator
        .finish(GENERATOR_SLACK)
        .with_context(|| format!("the generator says: {}", text.trim()))?;
    let figures = Figures::read(Generator::OpenLoop, &text)?;
    if kind == Kind::File {
        all_answered(&figures)?;
    }
    let after = Accounts::read(stage, &running)?;
    Ok(Round {
        quiet_ms,
        busy_ms: p99_ms(&figures)?,
        changes_ms,
        failed: figures.failed,
        foreign: after.foreign_on_both(&before),
    })
}

fn all_answered(figures: &Figures) -> Result<()> {
    if figures.failed > 0 || figures.requests == 0 {
        bail!(
            "{} requests were answered and {} failed",
            figures.requests,
            figures.failed
        );
    }
    Ok(())
}

fn p99_ms(figures: &Figures) -> Result<f64> {
    let found = figures
        .latencies
        .iter()
        .find(|(name, _)| *name == "latency_p99_ms");
    let (_, latency) = found.context("the load tells no 99th percentile")?;
    Ok(latency.as_secs_f64() * 1e3)
}

/// `command`, bound to these cores whatever it inherits.
fn on_cores(cores: &str, command: &Command) -> Command {
    let mut bound = Command::new("taskset");
    bound
        .args(["--cpu-list", cores])
        .arg(command.get_program())
        .args(command.get_args());
    bound
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_gateway_gets_both_cores() {
        let mut command = Command::new(Path::new("/x/gateway"));
        command.args(["run", "--config", "a"]);
        assert_eq!(
            steps::shown(&on_cores("0,1", &command)),
            "taskset --cpu-list 0,1 /x/gateway run --config a"
        );
    }

    #[test]
    fn the_slowest_change_counts_and_each_round_is_compared_with_itself() {
        let round = |quiet_ms, busy_ms, changes_ms: &[f64]| Round {
            quiet_ms,
            busy_ms,
            changes_ms: changes_ms.into(),
            failed: 1,
            foreign: 0.0,
        };
        let mut changes = Changes {
            kind: Kind::File,
            rounds: vec![round(1.0, 1.5, &[90.0, 110.0]), round(2.0, 2.0, &[100.0])],
            disturbed: 0,
        };
        assert_eq!(changes.ratios(), [1.5, 1.0]);
        assert_eq!((changes.slowest_ms(), changes.count()), (Some(110.0), 3));
        assert_eq!(changes.failed(), Some(2.0));
        let first = |changes: &Changes| changes.rows().first().map(|row| (row.metric.clone(), row.value));
        assert_eq!(first(&changes), Some(("reload_ms".to_owned(), 100.0)));
        changes.kind = Kind::Route;
        assert_eq!(first(&changes), Some(("route_change_ms".to_owned(), 100.0)));
    }
}
