//! Whether an endpoint has started: pure, no clock, socket or chance of its own.
//!
//! Failures are what everybody expects of it, so they count for nothing until the grace is over. Once it has passed
//! there is nothing more to ask.

use tokio::time::Instant;

use super::state::{Action, Event, Rhythm};
use crate::config::snapshot::Check as Settings;
use crate::registry::Readiness;

/// The startup check of one endpoint that has not passed it.
#[derive(Debug)]
pub(super) struct Starting {
    /// When the grace is over.
    until: Instant,
    rise: u32,
    /// Successes in a row.
    streak: u32,
    readiness: Readiness,
    rhythm: Rhythm,
}

impl Starting {
    /// One whose grace ends then; `seed` spreads its probes in time.
    pub(super) fn new(settings: &Settings, until: Instant, readiness: Readiness, seed: u64) -> Self {
        Self {
            until,
            rise: settings.rise.max(1),
            streak: 0,
            readiness,
            rhythm: Rhythm::new(settings.interval, seed),
        }
    }

    /// Successes in a row.
    pub(super) fn streak(&self) -> u32 {
        self.streak
    }

    /// The machine's only way on; nothing to probe or wait for once it is ready.
    pub(super) fn step(&mut self, event: Event, now: Instant) -> Vec<Action> {
        match event {
            Event::Started => return vec![Action::Probe],
            Event::Due => {
                let late = self.late(now);
                return late.into_iter().chain([Action::Probe]).collect();
            }
            Event::Passed => self.streak = self.streak.saturating_add(1),
            Event::Failed | Event::Excused => self.streak = 0,
        }
        if self.streak >= self.rise {
            return vec![Action::Become(Readiness::Ready)];
        }
        let late = self.late(now);
        let mut due = self.rhythm.next(now);
        if self.readiness == Readiness::Unknown {
            due = due.min(self.until);
        }
        late.into_iter().chain([Action::WaitUntil(due)]).collect()
    }

    fn late(&mut self, now: Instant) -> Option<Action> {
        let is_late = self.readiness == Readiness::Unknown && now >= self.until;
        is_late.then(|| {
            self.readiness = Readiness::Failing;
            Action::Become(Readiness::Failing)
        })
    }
}
