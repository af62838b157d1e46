//! CPU time for each request under load: rounds in which every subject has its turn, one after the other.
//!
//! A run is the subject started afresh, a warm-up, and then the generator for a fixed time. The subject's CPU time is
//! read before and after, and so is what both cores did: a run beside which something else worked is *disturbed*, and
//! its round is repeated.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::accounts::{self, Core, Cpu};
use super::generator::Figures;
use super::process::{Orphan, Output, Process, Scratch};
use super::report::Row;
use super::scenario::{Generator, Scenario};
use super::stage::Stage;
use super::statistics::{median, real};
use super::subject::{Ports, Running, Subject};
use crate::steps;

/// Load before a run, in seconds: pools fill, the allocator has what it needs.
const WARM_UP_SECONDS: u64 = 2;
/// How much longer than asked a generator may take: it starts, and waits for answers that are late.
const GENERATOR_SLACK: Duration = Duration::from_secs(30);
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

/// One subject's turn.
#[derive(Clone, Debug)]
pub struct Run {
    figures: Figures,
    /// What the subject used, and its memory at the end, in bytes.
    cpu: Cpu,
    resident: u64,
    beside: Beside,
}

/// What both cores did during a run, as shares of its time.
#[derive(Clone, Copy, Debug)]
struct Beside {
    idle_subject: f64,
    idle_generator: f64,
    foreign: f64,
}

/// One turn of each subject, in the order of [`Subject::ALL`].
#[derive(Clone, Debug)]
pub struct Round {
    runs: Vec<(Subject, Run)>,
}

/// All rounds of one scenario.
#[derive(Clone, Debug)]
pub struct Rounds {
    /// What was measured.
    pub scenario: Scenario,
    undisturbed: Vec<Round>,
    disturbed: Vec<Round>,
}

impl Run {
    /// CPU time for each request, in microseconds.
    pub fn cpu_us(&self) -> f64 {
        self.per_request(self.cpu.total())
    }

    fn per_request(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / real(self.figures.requests)
    }

    fn requests_per_second(&self) -> f64 {
        real(self.figures.requests) / self.figures.time.as_secs_f64()
    }

    fn shown(&self) -> String {
        format!(
            "{:.0} requests/s, {:.2} us CPU each ({:.2} + {:.2}), idle {:.0}% and {:.0}%, other work {:.0}%",
            self.requests_per_second(),
            self.cpu_us(),
            self.per_request(self.cpu.user),
            self.per_request(self.cpu.system),
            self.beside.idle_subject * 100.0,
            self.beside.idle_generator * 100.0,
            self.beside.foreign * 100.0,
        )
    }
}

impl Round {
    /// A subject's turn.
    pub fn of(&self, subject: Subject) -> Option<&Run> {
        self.runs
            .iter()
            .find(|(other, _)| *other == subject)
            .map(|(_, run)| run)
    }

    fn is_disturbed(&self) -> bool {
        self.runs.iter().any(|(_, run)| run.beside.foreign > FOREIGN_MAX)
    }
}

impl Rounds {
    /// Rounds that count.
    pub fn undisturbed(&self) -> &[Round] {
        &self.undisturbed
    }

    /// What a subject's runs had of something: of the undisturbed rounds, where there are any.
    pub fn values(&self, subject: Subject, what: impl Fn(&Run) -> f64) -> Vec<f64> {
        let rounds = if self.undisturbed.is_empty() {
            &self.disturbed
        } else {
            &self.undisturbed
        };
        rounds
            .iter()
            .filter_map(|round| round.of(subject))
            .map(what)
            .collect()
    }

    /// Every figure of every subject.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for subject in Subject::ALL {
            let mut row = |metric: &str, unit, what: &dyn Fn(&Run) -> f64| {
                if let Some(value) = median(&self.values(subject, what)) {
                    rows.push(Row::new(
                        self.scenario.name(),
                        subject.name(),
                        metric,
                        value,
                        unit,
                    ));
                }
            };
            row("requests_per_second", "1/s", &Run::requests_per_second);
            for metric in ["latency_p50_ms", "latency_p99_ms", "latency_mean_ms"] {
                row(metric, "ms", &|run| latency_ms(&run.figures, metric));
            }
            row("cpu_us_per_request", "us", &Run::cpu_us);
            row("cpu_user_us_per_request", "us", &|run| {
                run.per_request(run.cpu.user)
            });
            row("cpu_system_us_per_request", "us", &|run| {
                run.per_request(run.cpu.system)
            });
            row("resident_mb", "MB", &|run| real(run.resident) / 1e6);
            row("idle_subject_core_percent", "%", &|run| {
                run.beside.idle_subject * 100.0
            });
            row("idle_generator_core_percent", "%", &|run| {
                run.beside.idle_generator * 100.0
            });
            row("other_work_percent", "%", &|run| run.beside.foreign * 100.0);
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

fn latency_ms(figures: &Figures, name: &str) -> f64 {
    let found = figures.latencies.iter().find(|(other, _)| *other == name);
    found.map_or(f64::NAN, |(_, latency)| latency.as_secs_f64() * 1e3)
}

/// Measures one scenario.
///
/// # Errors
/// When a subject does not start, or fails requests.
pub fn measure(stage: &Stage, scenario: Scenario, plan: Plan) -> Result<Rounds> {
    let mut rounds = Rounds {
        scenario,
        undisturbed: Vec::new(),
        disturbed: Vec::new(),
    };
    for attempt in 1..=plan.rounds * TRIES_PER_ROUND {
        if rounds.undisturbed.len() == plan.rounds {
            break;
        }
        let number = rounds.undisturbed.len() + 1;
        let mut round = Round { runs: Vec::new() };
        for subject in Subject::ALL {
            let run = turn(stage, scenario, subject, plan.seconds)
                .with_context(|| format!("measuring {} of {}", scenario.name(), subject.name()))?;
            steps::note(&format!(
                "round {number} of {}, {:<7}  {}",
                plan.rounds,
                subject.name(),
                run.shown()
            ));
            round.runs.push((subject, run));
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
pub fn floor(stage: &Stage, scenario: Scenario, seconds: u64) -> Result<Vec<Row>> {
    let scratch = Scratch::new("floor")?;
    let port = stage.backend_port;
    let ports = Ports {
        http1: port,
        http2: port,
    };
    let figures = generate(stage, &scratch, scenario, ports, seconds)?;
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

fn turn(stage: &Stage, scenario: Scenario, subject: Subject, seconds: u64) -> Result<Run> {
    let running = Running::start(stage, subject)?;
    let scratch = Scratch::new("generator")?;
    generate(stage, &scratch, scenario, running.ports, WARM_UP_SECONDS)?;
    running.cut_logs(0)?;
    let before = Accounts::read(stage, &running)?;
    let figures = generate(stage, &scratch, scenario, running.ports, seconds)?;
    let after = Accounts::read(stage, &running)?;
    Ok(Run {
        figures,
        cpu: after.subject.since(before.subject),
        resident: accounts::resident_bytes(running.group())?,
        beside: after.beside(&before),
    })
}

/// Runs the scenario's generator, all of whose requests must succeed.
fn generate(
    stage: &Stage,
    scratch: &Scratch,
    scenario: Scenario,
    ports: Ports,
    seconds: u64,
) -> Result<Figures> {
    let command = scenario.command(ports, seconds);
    let (figures, text) = run_generator(stage, scratch, scenario.generator(), &command, seconds)?;
    if figures.failed > 0 || figures.requests == 0 {
        bail!(
            "{} requests succeeded and {} failed: {}",
            figures.requests,
            figures.failed,
            text.trim()
        );
    }
    Ok(figures)
}

/// Runs a generator's `command`, which takes this many seconds, to its end: its figures, and all that it printed.
///
/// # Errors
/// When it fails, takes much longer, or prints no figures.
pub fn run_generator(
    stage: &Stage,
    scratch: &Scratch,
    generator: Generator,
    command: &Command,
    seconds: u64,
) -> Result<(Figures, String)> {
    let output = scratch.path().join("output");
    fs::write(&output, "")?;
    let mut process = start_generator(stage, &output, command)?;
    let finished = process.finish(Duration::from_secs(seconds) + GENERATOR_SLACK);
    let text = fs::read_to_string(&output)?;
    finished.with_context(|| format!("the generator says: {}", text.trim()))?;
    let figures = Figures::read(generator, &text)?;
    Ok((figures, text))
}

/// Starts a generator on its core.
///
/// # Errors
/// When it cannot be started.
pub fn start_generator(stage: &Stage, output: &std::path::Path, command: &Command) -> Result<Process> {
    Process::start(
        command,
        stage.cores.generator,
        &Output::File(output),
        Orphan::Killed,
    )
}

/// All accounts at one moment.
struct Accounts {
    time: Instant,
    subject: Cpu,
    backend: Cpu,
    /// The bench's own, the generators that have ended among it.
    own: Cpu,
    subject_core: Core,
    generator_core: Core,
}

impl Accounts {
    fn read(stage: &Stage, running: &Running) -> Result<Self> {
        Ok(Self {
            time: Instant::now(),
            subject: accounts::cpu(running.group())?,
            backend: accounts::cpu(stage.backend.group())?,
            own: accounts::own_cpu()?,
            subject_core: accounts::core(stage.cores.subject)?,
            generator_core: accounts::core(stage.cores.generator)?,
        })
    }

    fn beside(&self, before: &Self) -> Beside {
        let time = self.time.duration_since(before.time).as_secs_f64();
        let idle = |now: Core, then: Core| (now.idle.saturating_sub(then.idle)).as_secs_f64() / time;
        // Time in programs only: what the kernel does is booked on whoever is there, interrupts included.
        let foreign = |now: Core, then: Core, ours: Duration| {
            let all = now.user.saturating_sub(then.user);
            all.saturating_sub(ours).as_secs_f64() / time
        };
        let subject = self.subject.since(before.subject).user;
        let others = self.backend.since(before.backend).user + self.own.since(before.own).user;
        Beside {
            idle_subject: idle(self.subject_core, before.subject_core),
            idle_generator: idle(self.generator_core, before.generator_core),
            foreign: foreign(self.subject_core, before.subject_core, subject).max(foreign(
                self.generator_core,
                before.generator_core,
                others,
            )),
        }
    }
}
