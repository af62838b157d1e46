//! What workers write and read of an endpoint's and an upstream's health: calls by outcome, and what a breaker lets through.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::resilience::breaker::{self, Admission, Outcome, State};
use crate::resilience::{Totals, outliers};

/// What guards an upstream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GuardSettings {
    /// `upstream.circuit_breaker`: for the whole, and for each endpoint.
    pub breaker: Option<breaker::Settings>,
    /// `upstream.outlier`.
    pub outliers: Option<outliers::Settings>,
}

impl GuardSettings {
    /// Whether calls must be counted at all.
    pub fn is_any(&self) -> bool {
        self.breaker.is_some() || self.outliers.is_some()
    }
}

/// Calls that were counted; each figure only grows. On a cache line of its own: all workers write it, and read what lies
/// beside it with each request.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Calls {
    calls: AtomicU64,
    failures: AtomicU64,
    slow: AtomicU64,
    /// Of all these, those that began before the breaker's last change.
    late: Figures,
}

#[derive(Debug, Default)]
struct Figures {
    calls: AtomicU64,
    failures: AtomicU64,
    slow: AtomicU64,
}

impl Calls {
    /// Counts a call.
    pub fn add(&self, outcome: Outcome, age: Age) {
        // Before the whole, so that nobody sees a late call as one that is not.
        if age == Age::Late {
            count(&self.late.calls, &self.late.failures, &self.late.slow, outcome);
        }
        count(&self.calls, &self.failures, &self.slow, outcome);
    }

    /// A call that was counted as it began to be answered failed after all.
    pub fn spoil(&self, age: Age) {
        if age == Age::Late {
            self.late.failures.fetch_add(1, Ordering::Release);
        }
        self.failures.fetch_add(1, Ordering::Release);
    }

    /// What was counted so far.
    pub fn totals(&self) -> Totals {
        Totals {
            calls: self.calls.load(Ordering::Acquire),
            failures: self.failures.load(Ordering::Acquire),
            slow: self.slow.load(Ordering::Acquire),
        }
    }

    /// Of these, what a breaker goes by: calls that began since its last change. While others count, a reading may lack
    /// some, which the next one has.
    pub fn timely(&self) -> Totals {
        let mut totals = self.totals();
        totals -= Totals {
            calls: self.late.calls.load(Ordering::Relaxed),
            failures: self.late.failures.load(Ordering::Relaxed),
            slow: self.late.slow.load(Ordering::Relaxed),
        };
        totals
    }
}

fn count(calls: &AtomicU64, failures: &AtomicU64, slow: &AtomicU64, outcome: Outcome) {
    match outcome {
        Outcome::Failed => drop(failures.fetch_add(1, Ordering::Release)),
        Outcome::Slow => drop(slow.fetch_add(1, Ordering::Release)),
        Outcome::Passed => {}
        Outcome::Unknown => return,
    }
    calls.fetch_add(1, Ordering::Release);
}

/// When a call began, by the changes of the breakers that it is counted for until then.
#[derive(Clone, Copy, Debug, Default)]
pub struct Begun {
    pub(super) endpoint: u32,
    pub(super) whole: u32,
}

/// Whether a call began since its breaker's last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// It did.
    Timely,
    /// It says nothing about what is now.
    Late,
}

impl Age {
    pub(super) fn of(begun: u32, era: &AtomicU32) -> Self {
        if begun == era.load(Ordering::Relaxed) {
            Self::Timely
        } else {
            Self::Late
        }
    }
}

/// What a breaker lets through, as workers read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// So many of a thousand calls.
    Share(u16),
    /// Trial calls.
    Trials,
    /// Nothing.
    Shut,
}

const GATE_TRIALS: u32 = 1_001;
const GATE_SHUT: u32 = 1_002;

impl Gate {
    pub(super) fn read(word: &AtomicU32) -> Self {
        match word.load(Ordering::Relaxed) {
            GATE_TRIALS => Self::Trials,
            GATE_SHUT => Self::Shut,
            share => Self::Share(u16::try_from(share).unwrap_or(1_000).min(1_000)),
        }
    }

    pub(super) fn word(admission: Admission) -> u32 {
        match admission {
            Admission::All => 1_000,
            Admission::Share(share) => share.min(1_000),
            Admission::Trials(_) => GATE_TRIALS,
            Admission::None(_) => GATE_SHUT,
        }
    }
}

/// How one breaker stands, for people.
#[derive(Clone, Debug)]
pub struct BreakerStatus {
    /// The endpoint; `None`: of the whole upstream.
    pub endpoint: Option<SocketAddr>,
    /// Where it stands.
    pub state: State,
}

/// The upstream has no circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has no circuit breaker")]
pub struct NoBreaker;
