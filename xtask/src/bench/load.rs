//! CPU time for each request under load: rounds in which every subject has its turn, one after the other.
//!
//! A turn is told in `turn`. A round in which something else worked beside one of them is *disturbed*, and is repeated.

use anyhow::{Context, Result};

use super::generator::run_generators;
use super::process::Scratch;
use super::report::Row;
use super::scenario::{Generator, ROUTES_FEW, Scenario};
use super::stage::Stage;
use super::statistics::{median, real};
use super::subject::{Ports, Subject};
use super::template::Setup;
use super::turn::{METRICS, Run, Turn, sound};
use crate::steps;

/// Largest share of a core that other work may take beside a run. The ticks by which a core's time is told apart
/// are off by some 2% over ten seconds.
pub const FOREIGN_MAX: f64 = 0.05;
/// A scenario is given up after this many times the rounds that were asked for.
pub const TRIES_PER_ROUND: usize = 2;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Undisturbed rounds that are wanted.
    pub rounds: usize,
    /// Length of a run, in seconds.
    pub seconds: u64,
}

/// One turn of each subject.
#[derive(Clone, Debug)]
pub struct Round {
    runs: Vec<(Subject, Run)>,
    /// The gateway with few routes, where the scenario is that of many.
    few: Option<Run>,
}

/// All rounds of one scenario.
#[derive(Clone, Debug)]
pub struct Rounds {
    /// What was measured.
    pub scenario: Scenario,
    /// Who had turns, in their order.
    pub subjects: Vec<Subject>,
    undisturbed: Vec<Round>,
    disturbed: Vec<Round>,
}

impl Round {
    /// A subject's turn.
    pub fn of(&self, subject: Subject) -> Option<&Run> {
        self.runs
            .iter()
            .find(|(other, _)| *other == subject)
            .map(|(_, run)| run)
    }

    /// The gateway with few routes.
    pub fn few(&self) -> Option<&Run> {
        self.few.as_ref()
    }

    fn is_disturbed(&self) -> bool {
        let runs = self.runs.iter().map(|(_, run)| run).chain(&self.few);
        runs.into_iter().any(|run| run.foreign() > FOREIGN_MAX)
    }
}

impl Rounds {
    /// Rounds that count.
    pub fn undisturbed(&self) -> &[Round] {
        &self.undisturbed
    }

    /// What a subject's runs had of something: of the undisturbed rounds, where there are any.
    pub fn values(&self, subject: Subject, what: impl Fn(&Run) -> f64) -> Vec<f64> {
        let runs = self.shown().iter().filter_map(|round| round.of(subject));
        runs.map(what).collect()
    }

    /// The undisturbed rounds, where there are any.
    fn shown(&self) -> &[Round] {
        if self.undisturbed.is_empty() {
            &self.disturbed
        } else {
            &self.undisturbed
        }
    }

    /// Every figure of every subject.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for subject in self.subjects.iter().copied() {
            for (metric, unit, what) in METRICS {
                if let Some(value) = median(&self.values(subject, what)) {
                    rows.push(Row::new(
                        self.scenario.name(),
                        subject.name(),
                        metric,
                        value,
                        unit,
                    ));
                }
            }
            if self.scenario.generator() == Generator::Openssl
                && let Some(value) = median(&self.values(subject, |run| 1e6 / run.cpu_us()))
            {
                let metric = "handshakes_per_cpu_second";
                rows.push(Row::new(
                    self.scenario.name(),
                    subject.name(),
                    metric,
                    value,
                    "1/s",
                ));
            }
        }
        let few: Vec<f64> = self
            .shown()
            .iter()
            .filter_map(Round::few)
            .map(Run::cpu_us)
            .collect();
        if let Some(value) = median(&few) {
            let subject = format!("gateway, {ROUTES_FEW} routes");
            rows.push(Row::new(
                self.scenario.name(),
                &subject,
                "cpu_us_per_request",
                value,
                "us",
            ));
        }
        rows.retain(|row| row.value.is_finite());
        let gateway = Subject::Gateway.name();
        for (metric, rounds) in [
            ("rounds_undisturbed", &self.undisturbed),
            ("rounds_disturbed", &self.disturbed),
        ] {
            rows.push(Row::new(
                self.scenario.name(),
                gateway,
                metric,
                real(rounds.len()),
                "rounds",
            ));
        }
        rows
    }
}

/// Measures one scenario. `rate` is that of the generator that asks at a constant one.
///
/// # Errors
/// When a subject does not start, or fails requests.
pub fn measure(stage: &Stage, scenario: Scenario, plan: Plan, rate: u32) -> Result<Rounds> {
    let mut rounds = Rounds {
        scenario,
        subjects: stage.subjects(scenario),
        undisturbed: Vec::new(),
        disturbed: Vec::new(),
    };
    for attempt in 1..=plan.rounds * TRIES_PER_ROUND {
        if rounds.undisturbed.len() == plan.rounds {
            break;
        }
        let number = rounds.undisturbed.len() + 1;
        let play = |subject: Subject, setup: Setup| -> Result<Run> {
            let turn = Turn {
                scenario,
                subject,
                setup,
                seconds: plan.seconds,
                rate,
            };
            let run = turn
                .play(stage)
                .with_context(|| format!("measuring {} of {}", scenario.name(), subject.name()))?;
            steps::note(&format!(
                "round {number} of {}, {:<7}  {}",
                plan.rounds,
                subject.name(),
                run.shown()
            ));
            Ok(run)
        };
        let mut round = Round {
            runs: Vec::new(),
            few: None,
        };
        for subject in rounds.subjects.iter().copied() {
            round.runs.push((subject, play(subject, scenario.setup())?));
        }
        if scenario == Scenario::Routes {
            round.few = Some(play(Subject::Gateway, Setup::Routes(ROUTES_FEW))?);
        }
        if round.is_disturbed() {
            steps::note(&format!(
                "disturbed: other work took over {:.0}% of a core; try {attempt} of {} at most",
                FOREIGN_MAX * 100.0,
                plan.rounds * TRIES_PER_ROUND
            ));
            rounds.disturbed.push(round);
        } else {
            rounds.undisturbed.push(round);
        }
    }
    Ok(rounds)
}

/// How fast the generator is against the backend alone, HTTP/1.1 only: what no subject can exceed.
///
/// # Errors
/// When requests fail.
pub fn floor(stage: &Stage, scenario: Scenario, seconds: u64, rate: u32) -> Result<Vec<Row>> {
    let scratch = Scratch::new("floor")?;
    let port = stage.backend_port;
    let ports = Ports {
        http1: port,
        http2: port,
    };
    let command = scenario.command(&stage.aim(ports, rate), seconds);
    let (figures, text) = run_generators(stage, &scratch, scenario.generator(), &command, seconds, 1)?;
    sound(scenario, &figures, &text)?;
    let row = |metric, value, unit| Row::new(scenario.name(), "floor", metric, value, unit);
    let mut rows = vec![row(
        "requests_per_second",
        real(figures.requests) / figures.time.as_secs_f64(),
        "1/s",
    )];
    for (name, latency) in &figures.latencies {
        rows.push(row(name, latency.as_secs_f64() * 1e3, "ms"));
    }
    Ok(rows)
}

/// What the slowest of the peers answers at most, in small requests a second.
///
/// # Errors
/// When one does not start, or fails requests.
pub fn slowest_peer(stage: &Stage, scenario: Scenario, seconds: u64) -> Result<(Subject, f64)> {
    let mut slowest: Option<(Subject, f64)> = None;
    for subject in stage.subjects(scenario) {
        if subject == Subject::Gateway {
            continue;
        }
        let turn = Turn {
            scenario: Scenario::H1Small,
            subject,
            setup: Setup::Plain,
            seconds,
            rate: 0,
        };
        let run = turn
            .play(stage)
            .with_context(|| format!("finding the maximum of {}", subject.name()))?;
        let maximum = run.requests_per_second();
        if slowest.is_none_or(|(_, least)| maximum < least) {
            slowest = Some((subject, maximum));
        }
    }
    slowest.context("no peer is measured")
}
