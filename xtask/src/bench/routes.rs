//! What 10,000 routes cost beside a request: memory after the start, and reloads while requests go on.
//!
//! A reload is `gateway reload` as an operator calls it: it is timed from there to its end, and what it changed must hold
//! then. Meanwhile requests for another route come at a constant rate, as they do before without reloads; their 99th
//! percentiles are compared. For that the gateway has both cores: the change is compiled beside the worker, not by it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::accounts;
use super::client::Client;
use super::generator::{Figures, run_generators, start_generator};
use super::load::{FOREIGN_MAX, Plan, TRIES_PER_ROUND};
use super::process::Scratch;
use super::report::Row;
use super::scenario::{Generator, ROUTES, Scenario, open_loop};
use super::stage::Stage;
use super::statistics::{median, real};
use super::subject::{Running, Subject};
use super::template::{Setup, gateway_route, last_path};
use super::turn::Accounts;
use crate::steps;

/// Requests a second beside reloads: few enough that nobody waits for the others.
const RATE: u32 = 2_000;
/// Length of the load before that, in seconds.
const WARM_UP_SECONDS: u64 = 2;
/// From the start of a reload to that of the next, unless it takes longer.
const RELOAD_INTERVAL: Duration = Duration::from_millis(500);
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

/// Reloads of the gateway, and requests meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Reloads {
    rounds: Vec<Round>,
    disturbed: usize,
}

#[derive(Clone, Debug)]
struct Round {
    /// 99th percentiles without and with reloads, in milliseconds.
    quiet_ms: f64,
    busy_ms: f64,
    /// How long each reload took, in milliseconds.
    reloads_ms: Vec<f64>,
    foreign: f64,
}

impl Reloads {
    /// The 99th percentile with reloads over that without, of each undisturbed round.
    pub fn ratios(&self) -> Vec<f64> {
        self.rounds
            .iter()
            .map(|round| round.busy_ms / round.quiet_ms)
            .collect()
    }

    /// The longest time that a reload took, in milliseconds.
    pub fn slowest_ms(&self) -> Option<f64> {
        self.times().into_iter().reduce(f64::max)
    }

    /// How many there were.
    pub fn count(&self) -> usize {
        self.times().len()
    }

    fn times(&self) -> Vec<f64> {
        self.rounds
            .iter()
            .flat_map(|round| round.reloads_ms.iter().copied())
            .collect()
    }

    /// As rows of the output.
    pub fn rows(&self) -> Vec<Row> {
        let of = |what: fn(&Round) -> f64| median(&self.rounds.iter().map(what).collect::<Vec<_>>());
        let found = [
            ("reload_ms", "ms", median(&self.times())),
            ("reload_slowest_ms", "ms", self.slowest_ms()),
            ("latency_p99_ms_without_reloads", "ms", of(|round| round.quiet_ms)),
            ("latency_p99_ms_during_reloads", "ms", of(|round| round.busy_ms)),
            ("reloads", "reloads", Some(real(self.count()))),
            ("reload_rounds_disturbed", "rounds", Some(real(self.disturbed))),
        ];
        let rows = found
            .into_iter()
            .filter_map(|(metric, unit, value)| Some((metric, unit, value?)));
        rows.map(|(metric, unit, value)| row(Subject::Gateway, metric, value, unit))
            .collect()
    }
}

/// Measures reloads in rounds.
///
/// # Errors
/// When a request fails, a reload is refused, or what it changed does not hold after it.
pub fn reloads(stage: &Stage, plan: Plan) -> Result<Reloads> {
    let mut reloads = Reloads::default();
    for _ in 0..plan.rounds * TRIES_PER_ROUND {
        if reloads.rounds.len() == plan.rounds {
            break;
        }
        let round = reload_round(stage, plan.seconds).context("reloading 10,000 routes under load")?;
        steps::note(&format!(
            "round {} of {}: {} reloads of {:.0} ms; p99 {:.3} ms without, {:.3} ms with them, other work {:.0}%",
            reloads.rounds.len() + 1,
            plan.rounds,
            round.reloads_ms.len(),
            median(&round.reloads_ms).unwrap_or(f64::NAN),
            round.quiet_ms,
            round.busy_ms,
            round.foreign * 100.0
        ));
        if round.foreign > FOREIGN_MAX {
            reloads.disturbed += 1;
        } else {
            reloads.rounds.push(round);
        }
    }
    Ok(reloads)
}

fn reload_round(stage: &Stage, seconds: u64) -> Result<Round> {
    let both = format!("{},{}", stage.cores.subject, stage.cores.generator);
    let running = Running::start_as(stage, Subject::Gateway, Setup::Routes(ROUTES), |command, _| {
        on_cores(&both, &command)
    })?;
    let scratch = Scratch::new("generator")?;
    let aim = stage.aim(running.ports, RATE);
    let load = |seconds| open_loop(&aim, RATE, seconds, &last_path(ROUTES - 1));
    let quietly = |seconds| {
        let (figures, _) = run_generators(stage, &scratch, Generator::OpenLoop, &load(seconds), seconds, 1)?;
        p99_ms(&figures)
    };
    quietly(WARM_UP_SECONDS)?;
    let before = Accounts::read(stage, &running)?;
    let quiet_ms = quietly(seconds)?;
    let output = scratch.path().join("beside-reloads");
    let mut generator = start_generator(stage, &output, &load(seconds))?;
    let start = Instant::now();
    let mut change = Change::of(&running, &stage.gateway)?;
    let mut reloads_ms = Vec::new();
    while generator.ended()?.is_none() {
        if start.elapsed() > Duration::from_secs(seconds) + GENERATOR_SLACK {
            bail!("the load does not end");
        }
        let took = change.reload(running.ports.http1)?;
        // One that the load did not see to its end says nothing of it, but took its time all the same.
        reloads_ms.push(took.as_secs_f64() * 1e3);
        thread::sleep(RELOAD_INTERVAL.saturating_sub(took));
    }
    let text = fs::read_to_string(&output)?;
    generator
        .finish(GENERATOR_SLACK)
        .with_context(|| format!("the generator says: {}", text.trim()))?;
    let busy_ms = p99_ms(&Figures::read(Generator::OpenLoop, &text)?)?;
    let after = Accounts::read(stage, &running)?;
    Ok(Round {
        quiet_ms,
        busy_ms,
        reloads_ms,
        foreign: after.foreign_on_both(&before),
    })
}

/// The 99th percentile of a load of which no request failed.
fn p99_ms(figures: &Figures) -> Result<f64> {
    if figures.failed > 0 || figures.requests == 0 {
        bail!(
            "{} requests were answered and {} failed",
            figures.requests,
            figures.failed
        );
    }
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

/// Changes of the last route, one after the other.
struct Change<'r> {
    gateway: &'r Path,
    folder: &'r Path,
    configuration: std::path::PathBuf,
    original: String,
    number: usize,
}

impl<'r> Change<'r> {
    fn of(running: &'r Running, gateway: &'r Path) -> Result<Self> {
        let configuration = running.folder().join(Subject::Gateway.template());
        let original = fs::read_to_string(&configuration)?;
        Ok(Self {
            gateway,
            folder: running.folder(),
            configuration,
            original,
            number: 0,
        })
    }

    /// Has the last route answer with another text by itself, and says how long it took until it does.
    fn reload(&mut self, port: u16) -> Result<Duration> {
        self.number += 1;
        let body = format!("change {}", self.number);
        let text = changed(&self.original, &body).context("the file has not the route that is changed")?;
        fs::write(&self.configuration, text)?;
        let start = Instant::now();
        let output = Command::new(self.gateway)
            .args(["reload", "--admin"])
            .arg(format!("unix:{}", self.folder.join("admin.sock").display()))
            .arg("--token-file")
            .arg(self.folder.join("admin.token"))
            .output()
            .context("starting `gateway reload`")?;
        let took = start.elapsed();
        if !output.status.success() {
            bail!(
                "`gateway reload` says: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        let found = Client::connect(port)?.body(&last_path(ROUTES))?;
        if found != body {
            bail!("after a reload the changed route answers {found:?} instead of {body:?}");
        }
        Ok(took)
    }
}

/// The configuration with an answer of its own in the last route.
fn changed(original: &str, body: &str) -> Option<String> {
    let route = gateway_route(ROUTES - 1);
    let answer = format!("respond = {{ status = 200, body = \"{body}\" }}");
    let other = route.replace("upstream = \"backend\"", &answer);
    original
        .contains(&route)
        .then(|| original.replace(&route, &other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_last_route_is_changed_and_no_other() {
        let original = format!("{}{}", gateway_route(ROUTES - 2), gateway_route(ROUTES - 1));
        let text = changed(&original, "change 1").unwrap();
        assert!(text.starts_with(&gateway_route(ROUTES - 2)));
        assert!(text.contains("respond = { status = 200, body = \"change 1\" }"));
        assert_eq!(text.matches("upstream").count(), 1);
        assert_eq!(changed("", "x"), None);
    }

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
    fn the_slowest_reload_counts_and_each_round_is_compared_with_itself() {
        let round = |quiet_ms, busy_ms, reloads_ms: &[f64]| Round {
            quiet_ms,
            busy_ms,
            reloads_ms: reloads_ms.into(),
            foreign: 0.0,
        };
        let reloads = Reloads {
            rounds: vec![round(1.0, 1.5, &[90.0, 110.0]), round(2.0, 2.0, &[100.0])],
            disturbed: 0,
        };
        assert_eq!(reloads.ratios(), [1.5, 1.0]);
        assert_eq!((reloads.slowest_ms(), reloads.count()), (Some(110.0), 3));
        assert_eq!(reloads.rows().first().unwrap().value, 100.0);
    }
}
