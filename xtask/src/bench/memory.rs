//! Resident memory: of a subject that has just started, for each connection, and over minutes of load.
//!
//! Each figure is read from a subject of its own, started afresh. Memory of the kernel (socket buffers) is not in it.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::accounts;
use super::client::Client;
use super::generator::{Figures, start_generator};
use super::process::Scratch;
use super::report::Row;
use super::scenario::Scenario;
use super::stage::Stage;
use super::statistics::{median, real, slope};
use super::subject::{Running, Subject};
use super::template::Setup;
use crate::steps;

/// Connections that are held.
const CONNECTIONS: usize = 8_000;
/// Between the last thing a client did and the reading: what is deferred gets done.
const SETTLE: Duration = Duration::from_secs(1);
/// Longest wait until a subject has accepted all connections.
const ACCEPT_LIMIT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Share of the load's time that is not looked at: pools and allocator fill.
const SOAK_WARM_UP: f64 = 0.2;
/// Between two readings under load.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// Readings at least for a slope.
const SAMPLES_MIN: usize = 10;
/// Between two lines that say how far a long run is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(60);
/// Logs are emptied above this size, in bytes, while load runs for minutes.
const LOG_BYTES_MAX: u64 = 64_000_000;
/// How much longer than asked a generator may take.
const GENERATOR_SLACK: Duration = Duration::from_secs(30);

/// What a connection has done before it is held.
#[derive(Clone, Copy)]
enum Held {
    Silent,
    AfterOneRequest,
}

/// Measures every subject `times` times.
///
/// # Errors
/// When a subject does not hold the connections.
pub fn measure(stage: &Stage, times: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for subject in stage.subjects(Scenario::Memory) {
        let mut values: [(&str, &str, Vec<f64>); 3] = [
            ("resident_started_mb", "MB", Vec::new()),
            ("kb_per_silent_connection", "kB", Vec::new()),
            ("kb_per_idle_connection", "kB", Vec::new()),
        ];
        for number in 1..=times {
            let figures = once(stage, subject).with_context(|| format!("memory of {}", subject.name()))?;
            let [started, silent, idle] = figures;
            steps::note(&format!(
                "{number} of {times}, {:<7}  started {started:.1} MB; a connection {silent:.2} kB silent, \
                 {idle:.2} kB after a request",
                subject.name(),
            ));
            for ((_, _, all), figure) in values.iter_mut().zip(figures) {
                all.push(figure);
            }
        }
        for (metric, unit, all) in &values {
            if let Some(value) = median(all) {
                rows.push(Row::new(
                    Scenario::Memory.name(),
                    subject.name(),
                    metric,
                    value,
                    unit,
                ));
            }
        }
    }
    Ok(rows)
}

/// Started (MB), and for each silent and each idle connection (kB).
fn once(stage: &Stage, subject: Subject) -> Result<[f64; 3]> {
    let (started, silent) = held(stage, subject, Held::Silent)?;
    let (_, idle) = held(stage, subject, Held::AfterOneRequest)?;
    Ok([started / 1e6, silent / 1e3, idle / 1e3])
}

/// Bytes after the start, and bytes for each connection.
fn held(stage: &Stage, subject: Subject, held: Held) -> Result<(f64, f64)> {
    let running = Running::start(stage, subject, Setup::Plain)?;
    thread::sleep(SETTLE);
    let started = accounts::resident_bytes(running.group())?;
    let mut clients = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let mut client = Client::connect(running.ports.http1)?;
        if matches!(held, Held::AfterOneRequest) {
            client.ask()?;
            client.answer()?;
        }
        clients.push(client);
    }
    let deadline = Instant::now() + ACCEPT_LIMIT;
    while accounts::open_files(running.group())? < CONNECTIONS {
        if Instant::now() >= deadline {
            bail!("it did not accept {CONNECTIONS} connections");
        }
        thread::sleep(POLL_INTERVAL);
    }
    thread::sleep(SETTLE);
    let full = accounts::resident_bytes(running.group())?;
    if accounts::open_files(running.group())? < CONNECTIONS {
        bail!("it closed connections before its memory was read");
    }
    Ok((real(started), (real(full) - real(started)) / real(CONNECTIONS)))
}

/// What minutes of load did to the gateway's memory.
#[derive(Clone, Copy, Debug)]
pub struct Soak {
    /// Slope of its resident memory, in kB a minute.
    pub kb_per_minute: f64,
    /// What the slope adds up to over the time that was looked at, in kB.
    pub rise_kb: f64,
    /// At the end.
    pub resident_mb: f64,
    /// Requests in all.
    pub requests: u64,
}

impl Soak {
    /// As rows of the output.
    pub fn rows(&self) -> Vec<Row> {
        let row = |metric, value, unit| {
            Row::new(
                Scenario::Soak.name(),
                Subject::Gateway.name(),
                metric,
                value,
                unit,
            )
        };
        vec![
            row("resident_slope_kb_per_minute", self.kb_per_minute, "kB/min"),
            row("resident_rise_kb", self.rise_kb, "kB"),
            row("resident_mb", self.resident_mb, "MB"),
            row("requests", real(self.requests), "requests"),
        ]
    }
}

/// Loads the gateway with small requests for `time`, and follows its memory.
///
/// # Errors
/// When requests fail, or `time` is too short for a slope.
pub fn soak(stage: &Stage, time: Duration) -> Result<Soak> {
    let running = Running::start(stage, Subject::Gateway, Setup::Plain)?;
    let scratch = Scratch::new("generator")?;
    let output = scratch.path().join("output");
    let seconds = time.as_secs();
    let command = Scenario::Soak.command(&stage.aim(running.ports, 0), seconds);
    let mut generator = start_generator(stage, &output, &command)?;
    let start = Instant::now();
    let mut told = start;
    let mut samples = Vec::new();
    while generator.ended()?.is_none() {
        if start.elapsed() > time + GENERATOR_SLACK {
            bail!("the generator does not end");
        }
        thread::sleep(SAMPLE_INTERVAL);
        let resident = real(accounts::resident_bytes(running.group())?);
        let at = start.elapsed();
        if at > time.mul_f64(SOAK_WARM_UP) && at <= time {
            samples.push((at.as_secs_f64() / 60.0, resident / 1e3));
        }
        running.cut_logs(LOG_BYTES_MAX)?;
        if told.elapsed() >= PROGRESS_INTERVAL {
            told = Instant::now();
            steps::note(&format!(
                "{} s of {seconds}: {:.2} MB",
                at.as_secs(),
                resident / 1e6
            ));
        }
    }
    let figures = Figures::read(Scenario::Soak.generator(), &fs::read_to_string(&output)?)?;
    if figures.failed > 0 {
        bail!("{} requests failed under load", figures.failed);
    }
    let kb_per_minute = slope(&samples)
        .filter(|_| samples.len() >= SAMPLES_MIN)
        .with_context(|| {
            format!(
                "{} readings of memory are too few for a slope: load it for longer",
                samples.len()
            )
        })?;
    let minutes = time.as_secs_f64() * (1.0 - SOAK_WARM_UP) / 60.0;
    let soak = Soak {
        kb_per_minute,
        rise_kb: kb_per_minute * minutes,
        resident_mb: real(accounts::resident_bytes(running.group())?) / 1e6,
        requests: figures.requests,
    };
    steps::note(&format!(
        "{} requests: {:.1} MB, {:+.1} kB a minute",
        soak.requests, soak.resident_mb, soak.kb_per_minute
    ));
    Ok(soak)
}
