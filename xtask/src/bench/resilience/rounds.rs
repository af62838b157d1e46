//! Rounds of turns: each proxy has its turn, one after the other, so that what changes with time meets all alike.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::fault::Fault;
use super::figures::Figures;
use super::lab::{Lab, Subject};
use crate::bench::accounts::{self, Core, Cpu};
use crate::bench::load::{FOREIGN_MAX, TRIES_PER_ROUND};
use crate::bench::report::Row;
use crate::bench::statistics::{median, real};
use crate::steps;

/// One proxy's turn.
#[derive(Clone, Debug)]
pub struct Turn {
    /// What it came to.
    pub figures: Figures,
    /// Share of a core that other work took beside it.
    pub foreign: f64,
}

/// A turn of each.
#[derive(Clone, Debug)]
pub struct Round(pub Vec<(Subject, Turn)>);

/// All rounds of one fault.
#[derive(Clone, Debug)]
pub struct Rounds {
    /// What went wrong.
    pub fault: Fault,
    /// Rounds that count.
    pub undisturbed: Vec<Round>,
    /// Rounds beside which other work took much of a core.
    pub disturbed: Vec<Round>,
}

impl Round {
    /// A proxy's turn.
    pub fn of(&self, subject: Subject) -> Option<&Turn> {
        let Self(turns) = self;
        turns
            .iter()
            .find(|(other, _)| *other == subject)
            .map(|(_, turn)| turn)
    }

    fn is_disturbed(&self) -> bool {
        let Self(turns) = self;
        turns.iter().any(|(_, turn)| turn.foreign > FOREIGN_MAX)
    }
}

impl Rounds {
    /// The median of what a proxy's turns had of something: of the undisturbed rounds, where there are any.
    pub fn median(&self, subject: Subject, what: impl Fn(&Turn) -> f64) -> Option<f64> {
        let rounds = if self.undisturbed.is_empty() {
            &self.disturbed
        } else {
            &self.undisturbed
        };
        let turns = rounds.iter().filter_map(|round| round.of(subject));
        median(&turns.map(what).collect::<Vec<_>>())
    }

    /// Every figure of every proxy.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for subject in Subject::ALL {
            let mut row = |metric, unit, what: fn(&Turn) -> f64| {
                if let Some(value) = self.median(subject, what) {
                    rows.push(Row::new(self.fault.name(), subject.name(), metric, value, unit));
                }
            };
            row("requests", "requests", |turn| turn.figures.sent);
            row("failed_requests", "requests", |turn| turn.figures.failed);
            row("failed_after_detection", "requests", |turn| {
                turn.figures.failed_late
            });
            row("latency_p50_ms", "ms", |turn| turn.figures.p50_ms);
            row("latency_p99_ms", "ms", |turn| turn.figures.p99_ms);
            row("latency_max_ms", "ms", |turn| turn.figures.max_ms);
            row("other_work_percent", "%", |turn| turn.foreign * 100.0);
        }
        for (metric, rounds) in [
            ("rounds_undisturbed", &self.undisturbed),
            ("rounds_disturbed", &self.disturbed),
        ] {
            rows.push(Row::new(
                self.fault.name(),
                Subject::Gateway.name(),
                metric,
                real(rounds.len()),
                "rounds",
            ));
        }
        rows
    }
}

/// Measures one fault.
///
/// # Errors
/// When a turn cannot be played.
pub fn measure(lab: &Lab, fault: Fault, wanted: usize) -> Result<Rounds> {
    let mut rounds = Rounds {
        fault,
        undisturbed: Vec::new(),
        disturbed: Vec::new(),
    };
    for attempt in 1..=wanted * TRIES_PER_ROUND {
        if rounds.undisturbed.len() == wanted {
            break;
        }
        let number = rounds.undisturbed.len() + 1;
        let mut turns = Vec::new();
        for subject in Subject::ALL {
            let turn = turn(lab, fault, subject)
                .with_context(|| format!("measuring {} of {}", fault.name(), subject.name()))?;
            steps::note(&format!(
                "round {number} of {wanted}, {:<7}  {}",
                subject.name(),
                shown(&turn)
            ));
            turns.push((subject, turn));
        }
        let round = Round(turns);
        if round.is_disturbed() {
            steps::note(&format!(
                "disturbed: other work took over {:.0}% of a core; try {attempt} of {} at most",
                FOREIGN_MAX * 100.0,
                wanted * TRIES_PER_ROUND
            ));
            rounds.disturbed.push(round);
        } else {
            rounds.undisturbed.push(round);
        }
    }
    Ok(rounds)
}

fn shown(turn: &Turn) -> String {
    let figures = &turn.figures;
    format!(
        "{:.0} requests, {:.0} failed, {:.0} of them late; p50 {:.2}, p99 {:.2}, longest {:.2} ms; other work {:.0}%  {}",
        figures.sent,
        figures.failed,
        figures.failed_late,
        figures.p50_ms,
        figures.p99_ms,
        figures.max_ms,
        turn.foreign * 100.0,
        figures.how,
    )
}

fn turn(lab: &Lab, fault: Fault, subject: Subject) -> Result<Turn> {
    let before = Accounts::read(lab)?;
    let figures = lab.turn(fault, subject)?;
    let foreign = Accounts::read(lab)?.foreign(&before);
    Ok(Turn { figures, foreign })
}

/// The accounts of both cores, and of all that the bench started and has waited for.
struct Accounts {
    time: Instant,
    own: Cpu,
    cores: [Core; 2],
}

impl Accounts {
    fn read(lab: &Lab) -> Result<Self> {
        Ok(Self {
            time: Instant::now(),
            own: accounts::own_cpu()?,
            cores: [
                accounts::core(lab.cores.subject)?,
                accounts::core(lab.cores.generator)?,
            ],
        })
    }

    /// Time in programs only: what the kernel does is booked on whoever is there.
    fn foreign(&self, before: &Self) -> f64 {
        let time = self.time.duration_since(before.time).as_secs_f64();
        let all: Duration = self
            .cores
            .iter()
            .zip(&before.cores)
            .map(|(now, then)| now.user.saturating_sub(then.user))
            .sum();
        all.saturating_sub(self.own.since(before.own).user).as_secs_f64() / time
    }
}
