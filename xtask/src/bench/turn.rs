//! One subject's turn under a scenario's load: what it did, what it used, and what else worked meanwhile.
//!
//! The subject is started afresh and warmed up, and then the generator runs for a fixed time. The subject's CPU time is
//! read before and after, and so is what both cores did.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::accounts::{self, Core, Cpu};
use super::backend::CALL;
use super::generator::{Figures, run_generators};
use super::process::Scratch;
use super::scenario::Scenario;
use super::stage::Stage;
use super::statistics::real;
use super::subject::{Running, Subject};
use super::template::{Setup, last_path};

/// Load before a run, in seconds: pools fill, the allocator has what it needs.
const WARM_UP_SECONDS: u64 = 2;
/// Bytes that a connection of one request brings at least: a head with a status, a length and a body of 13 bytes.
const ANSWER_BYTES_MIN: f64 = 60.0;

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

/// What is told of runs: name, unit, and how it is read. What a generator does not tell is NaN.
type Metric = (&'static str, &'static str, fn(&Run) -> f64);

/// Metrics of a run: name, unit, and what it is.
pub const METRICS: [Metric; 13] = [
    ("requests_per_second", "1/s", Run::requests_per_second),
    ("latency_p50_ms", "ms", |run| run.latency_ms("latency_p50_ms")),
    ("latency_p99_ms", "ms", |run| run.latency_ms("latency_p99_ms")),
    ("latency_p99_9_ms", "ms", |run| run.latency_ms("latency_p99_9_ms")),
    ("latency_max_ms", "ms", |run| run.latency_ms("latency_max_ms")),
    ("latency_mean_ms", "ms", |run| run.latency_ms("latency_mean_ms")),
    ("cpu_us_per_request", "us", Run::cpu_us),
    ("cpu_user_us_per_request", "us", |run| {
        run.per_request(run.cpu.user)
    }),
    ("cpu_system_us_per_request", "us", |run| {
        run.per_request(run.cpu.system)
    }),
    ("resident_mb", "MB", |run| real(run.resident) / 1e6),
    ("idle_subject_core_percent", "%", |run| {
        run.beside.idle_subject * 100.0
    }),
    ("idle_generator_core_percent", "%", |run| {
        run.beside.idle_generator * 100.0
    }),
    ("other_work_percent", "%", |run| run.beside.foreign * 100.0),
];

impl Run {
    /// CPU time for each request, in microseconds.
    pub fn cpu_us(&self) -> f64 {
        self.per_request(self.cpu.total())
    }

    /// A latency, by its name in the output, in milliseconds; NaN where its generator tells none.
    pub fn latency_ms(&self, name: &str) -> f64 {
        let found = self.figures.latencies.iter().find(|(other, _)| *other == name);
        found.map_or(f64::NAN, |(_, latency)| latency.as_secs_f64() * 1e3)
    }

    fn per_request(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / real(self.figures.requests)
    }

    /// Requests that were answered each second.
    pub fn requests_per_second(&self) -> f64 {
        real(self.figures.requests) / self.figures.time.as_secs_f64()
    }

    /// Share of a core that other work took.
    pub fn foreign(&self) -> f64 {
        self.beside.foreign
    }

    /// One line that says how it went.
    pub fn shown(&self) -> String {
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

/// What one subject does once.
pub struct Turn {
    /// Under which load.
    pub scenario: Scenario,
    /// Who.
    pub subject: Subject,
    /// What of its file is wanted.
    pub setup: Setup,
    /// For how long.
    pub seconds: u64,
    /// Requests a second, where the rate is constant.
    pub rate: u32,
}

impl Turn {
    /// Takes the turn.
    ///
    /// # Errors
    /// When the subject does not start, or a request fails or is not what the scenario wants.
    pub fn play(&self, stage: &Stage) -> Result<Run> {
        let running = Running::start(stage, self.subject, self.setup)?;
        let scratch = Scratch::new("generator")?;
        let aim = stage.aim(running.ports, self.rate);
        let (generator, warm_up) = self.scenario.warm_up(&aim, WARM_UP_SECONDS);
        let (figures, text) = run_generators(
            stage,
            &scratch,
            generator,
            &self.aimed(warm_up),
            WARM_UP_SECONDS,
            1,
        )?;
        answered(&figures, &text)?;
        running.cut_logs(0)?;
        let command = self.aimed(self.scenario.command(&aim, self.seconds));
        let before = Accounts::read(stage, &running)?;
        let (figures, text) = run_generators(
            stage,
            &scratch,
            self.scenario.generator(),
            &command,
            self.seconds,
            self.scenario.copies(),
        )?;
        let after = Accounts::read(stage, &running)?;
        sound(self.scenario, &figures, &text)?;
        Ok(Run {
            figures,
            cpu: after.subject.since(before.subject),
            resident: accounts::resident_bytes(running.group())?,
            beside: after.beside(&before),
        })
    }

    /// Where there are fewer routes than the scenario has, the last of them is asked for.
    fn aimed(&self, command: Command) -> Command {
        let (Setup::Routes(count), Setup::Routes(usual)) = (self.setup, self.scenario.setup()) else {
            return command;
        };
        let mut aimed = Command::new(command.get_program());
        for word in command.get_args() {
            aimed.arg(
                word.to_string_lossy()
                    .replace(&last_path(usual), &last_path(count)),
            );
        }
        aimed
    }
}

/// All requests must succeed.
fn answered(figures: &Figures, text: &str) -> Result<()> {
    if figures.failed > 0 || figures.requests == 0 {
        bail!(
            "{} requests succeeded and {} failed: {}",
            figures.requests,
            figures.failed,
            text.trim()
        );
    }
    Ok(())
}

/// All requests must succeed, and be what the scenario says.
///
/// # Errors
/// When one does not, or is not.
pub fn sound(scenario: Scenario, figures: &Figures, text: &str) -> Result<()> {
    answered(figures, text)?;
    let bytes_min = match scenario {
        // A call that is refused has status 200, and no message.
        Scenario::GrpcUnary => real(CALL.len()),
        Scenario::TlsHandshakeFull | Scenario::TlsHandshakeResumed => ANSWER_BYTES_MIN,
        _ => 0.0,
    };
    let bytes = figures.bytes.map_or(0.0, real) / real(figures.requests);
    if bytes < bytes_min {
        bail!(
            "answers had {bytes:.0} bytes, and should have {bytes_min:.0} at least: {}",
            text.trim()
        );
    }
    let resumed = match scenario {
        Scenario::TlsHandshakeFull => 0,
        Scenario::TlsHandshakeResumed => figures.requests,
        _ => return Ok(()),
    };
    if figures.resumed != Some(resumed) {
        bail!(
            "{} of {} sessions were resumed, and {resumed} should have been",
            figures.resumed.unwrap_or(0),
            figures.requests
        );
    }
    Ok(())
}

/// All accounts at one moment.
pub struct Accounts {
    time: Instant,
    subject: Cpu,
    backend: Cpu,
    /// The bench's own, the generators that have ended among it.
    own: Cpu,
    subject_core: Core,
    generator_core: Core,
}

impl Accounts {
    /// Reads them.
    ///
    /// # Errors
    /// When one of the processes has ended.
    pub fn read(stage: &Stage, running: &Running) -> Result<Self> {
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

    /// As a run tells it, where the subject may be on both cores.
    pub fn foreign_on_both(&self, before: &Self) -> f64 {
        let user = |now: &Self| now.subject_core.user + now.generator_core.user;
        let ours = |now: &Self| now.subject.user + now.backend.user + now.own.user;
        let all = user(self).saturating_sub(user(before));
        let other = all.saturating_sub(ours(self).saturating_sub(ours(before)));
        other.as_secs_f64() / self.time.duration_since(before.time).as_secs_f64()
    }
}
