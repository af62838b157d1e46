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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::snapshot::Way;
    use Readiness::{Failing, Ready, Unknown};

    #[test]
    fn it_has_started_with_its_first_success_and_is_late_when_the_grace_is_over() {
        // Seconds and outcomes (p: passed, f: failed), and what becomes of it with each.
        type Row<'r> = (Readiness, u32, &'r [(u64, char, Option<Readiness>)], &'r str);
        let rows: &[Row<'_>] = &[
            (Unknown, 1, &[(0, 'p', Some(Ready))], "at once"),
            (
                Unknown,
                1,
                &[(0, 'f', None), (5, 'f', None), (9, 'p', Some(Ready))],
                "in time",
            ),
            (
                Unknown,
                2,
                &[
                    (0, 'p', None),
                    (1, 'f', None),
                    (2, 'p', None),
                    (3, 'p', Some(Ready)),
                ],
                "twice",
            ),
            (
                Unknown,
                1,
                &[
                    (0, 'f', None),
                    (10, 'f', Some(Failing)),
                    (11, 'f', None),
                    (12, 'p', Some(Ready)),
                ],
                "late, and then after all",
            ),
            (
                Failing,
                1,
                &[(11, 'f', None), (12, 'p', Some(Ready))],
                "late before an edit",
            ),
        ];
        for (before, rise, outcomes, row) in rows {
            let settings = Settings {
                way: Way::Tcp,
                port: None,
                interval: Duration::from_secs(1),
                timeout: Duration::from_secs(1),
                rise: *rise,
                fall: 1,
            };
            let start = Instant::now();
            let until = start + Duration::from_secs(10);
            let mut starting = Starting::new(&settings, until, *before, 7);
            for (seconds, outcome, expected) in *outcomes {
                let now = start + Duration::from_secs(*seconds);
                let event = if *outcome == 'p' {
                    Event::Passed
                } else {
                    Event::Failed
                };
                let actions = starting.step(event, now);
                let become_ = actions.iter().find_map(|action| match action {
                    Action::Become(readiness) => Some(*readiness),
                    Action::Probe | Action::WaitUntil(_) => None,
                });
                assert_eq!(become_, *expected, "{row}: {seconds} s");
                let goes_on = matches!(actions.last(), Some(Action::WaitUntil(_)));
                assert_eq!(goes_on, become_ != Some(Ready), "{row}: {seconds} s");
            }
        }
    }

    #[test]
    fn the_end_of_the_grace_is_not_slept_through() {
        let settings = Settings {
            way: Way::Tcp,
            port: None,
            interval: Duration::from_secs(600),
            timeout: Duration::from_secs(1),
            rise: 1,
            fall: 1,
        };
        let start = Instant::now();
        let until = start + Duration::from_secs(10);
        let mut starting = Starting::new(&settings, until, Unknown, 7);
        assert_eq!(starting.step(Event::Started, start), [Action::Probe]);
        assert_eq!(starting.step(Event::Failed, start), [Action::WaitUntil(until)]);
        assert_eq!(
            starting.step(Event::Due, until),
            [Action::Become(Failing), Action::Probe]
        );
    }
}
