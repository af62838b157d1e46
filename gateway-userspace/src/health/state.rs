//! When to probe an endpoint, and what the outcomes make of it: pure, no clock, socket or chance of its own.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::snapshot::Check as Settings;
use crate::registry::Readiness;

/// Intervals are spread by as much each way, so that checks of many endpoints do not march in step.
const JITTER_PERCENT: u32 = 10;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The check begins.
    Started,
    /// The wait is over.
    Due,
    /// A probe succeeded.
    Passed,
    /// A probe failed.
    Failed,
    /// A probe failed while the endpoint is still starting.
    Excused,
}

/// What is to be done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Ask the endpoint; the outcome is the next event.
    Probe,
    /// Then [`Event::Due`].
    WaitUntil(Instant),
    /// What the check knows is this from now on.
    Become(Readiness),
}

/// One check of one endpoint.
#[derive(Debug)]
pub(super) struct Check {
    rise: u32,
    fall: u32,
    readiness: Readiness,
    outcome: Outcome,
    /// Outcomes of that kind in a row.
    streak: u32,
    rhythm: Rhythm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
}

impl Check {
    /// One that begins with what is known; `seed` spreads its probes in time.
    pub(super) fn new(settings: &Settings, readiness: Readiness, seed: u64) -> Self {
        Self {
            rise: settings.rise.max(1),
            fall: settings.fall.max(1),
            readiness,
            outcome: Outcome::Passed,
            streak: 0,
            rhythm: Rhythm::new(settings.interval, seed),
        }
    }

    /// Outcomes of the last kind in a row.
    pub(super) fn streak(&self) -> u32 {
        self.streak
    }

    /// The machine's only way on.
    ///
    /// An endpoint of which nothing is known becomes what the first probe says: to wait for `rise` would keep a
    /// node that just started from its work, and to wait for `fall` would send requests to what does not answer.
    pub(super) fn step(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let change = match event {
            Event::Started | Event::Due => return vec![Action::Probe],
            Event::Passed => self.count(Outcome::Passed),
            Event::Failed => self.count(Outcome::Failed),
            Event::Excused => self.forget(),
        };
        let wait = Action::WaitUntil(self.rhythm.next(now));
        change.into_iter().chain([wait]).collect()
    }

    fn count(&mut self, outcome: Outcome) -> Option<Action> {
        self.streak = if self.outcome == outcome {
            self.streak.saturating_add(1)
        } else {
            1
        };
        self.outcome = outcome;
        let next = match (self.readiness, outcome) {
            (Readiness::Unknown, Outcome::Passed) => Readiness::Ready,
            (Readiness::Unknown, Outcome::Failed) => Readiness::Failing,
            (Readiness::Failing, Outcome::Passed) if self.streak >= self.rise => Readiness::Ready,
            (Readiness::Ready, Outcome::Failed) if self.streak >= self.fall => Readiness::Failing,
            (same, _) => same,
        };
        self.turn(next)
    }

    /// What starts may answer now and not a moment later: nothing is known again.
    fn forget(&mut self) -> Option<Action> {
        self.streak = 0;
        self.turn(Readiness::Unknown)
    }

    fn turn(&mut self, next: Readiness) -> Option<Action> {
        (next != self.readiness).then(|| {
            self.readiness = next;
            Action::Become(next)
        })
    }
}

/// When the next probe is due: an interval, and a little chance.
#[derive(Debug)]
pub(super) struct Rhythm {
    interval: Duration,
    random: u64,
}

impl Rhythm {
    pub(super) fn new(interval: Duration, seed: u64) -> Self {
        Self {
            interval,
            // Xorshift stays at zero for ever.
            random: seed | 1,
        }
    }

    pub(super) fn next(&mut self, now: Instant) -> Instant {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let spread = u64::from(2 * JITTER_PERCENT + 1);
        let percent = 100 - JITTER_PERCENT + u32::try_from(self.random % spread).unwrap_or(JITTER_PERCENT);
        now + self.interval.saturating_mul(percent) / 100
    }
}
