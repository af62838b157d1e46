//! When to probe an endpoint, and what the outcomes make of it: pure, no clock, socket or chance of its own.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::snapshot::Readiness as Settings;
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
}

/// What is to be done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Ask the endpoint; the outcome is the next event.
    Probe,
    /// Then [`Event::Due`].
    WaitUntil(Instant),
    /// The endpoint's state is this from now on.
    Become(Readiness),
}

/// The check of one endpoint.
#[derive(Debug)]
pub(super) struct Check {
    interval: Duration,
    rise: u32,
    fall: u32,
    readiness: Readiness,
    outcome: Outcome,
    /// Outcomes of that kind in a row.
    streak: u32,
    /// Why the last probe failed; for people.
    pub(super) why: String,
    random: u64,
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
            interval: settings.interval,
            rise: settings.rise.max(1),
            fall: settings.fall.max(1),
            readiness,
            outcome: Outcome::Passed,
            streak: 0,
            why: String::new(),
            // Xorshift stays at zero for ever.
            random: seed | 1,
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
    pub(super) fn step(&mut self, event: Event, now: Instant) -> impl Iterator<Item = Action> + use<> {
        let (first, second) = match event {
            Event::Started | Event::Due => (Some(Action::Probe), None),
            Event::Passed => (self.count(Outcome::Passed), Some(self.wait(now))),
            Event::Failed => (self.count(Outcome::Failed), Some(self.wait(now))),
        };
        first.into_iter().chain(second)
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
        (next != self.readiness).then(|| {
            self.readiness = next;
            Action::Become(next)
        })
    }

    fn wait(&mut self, now: Instant) -> Action {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let spread = u64::from(2 * JITTER_PERCENT + 1);
        let percent = 100 - JITTER_PERCENT + u32::try_from(self.random % spread).unwrap_or(JITTER_PERCENT);
        Action::WaitUntil(now + self.interval.saturating_mul(percent) / 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Readiness::{Failing, Ready, Unknown};

    fn settings() -> Settings {
        Settings {
            http: "/readyz".to_owned(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
        }
    }

    #[test]
    fn outcomes_in_a_row_change_the_state() {
        // p: passed, f: failed; expected: the state after each.
        let rows: &[(Readiness, &str, &[Readiness], &str)] = &[
            (Unknown, "p", &[Ready], "the first success counts"),
            (Unknown, "f", &[Failing], "the first failure counts"),
            (
                Ready,
                "ffpfff",
                &[Ready, Ready, Ready, Ready, Ready, Failing],
                "fall in a row",
            ),
            (
                Failing,
                "pfpp",
                &[Failing, Failing, Failing, Ready],
                "rise in a row",
            ),
            (Ready, "ppp", &[Ready; 3], "nothing changes"),
        ];
        for (start, outcomes, expected, why) in rows {
            let mut check = Check::new(&settings(), *start, 7);
            let now = Instant::now();
            let mut state = *start;
            for (outcome, expected) in outcomes.chars().zip(*expected) {
                let event = if outcome == 'p' {
                    Event::Passed
                } else {
                    Event::Failed
                };
                let actions: Vec<_> = check.step(event, now).collect();
                for action in &actions {
                    if let Action::Become(next) = action {
                        state = *next;
                    }
                }
                assert_eq!(state, *expected, "{why}");
                assert!(
                    matches!(actions.last(), Some(Action::WaitUntil(_))),
                    "{why}: it goes on"
                );
            }
        }
    }

    #[test]
    fn probes_begin_at_once_and_are_spread_around_the_interval() {
        let mut check = Check::new(&settings(), Unknown, 0);
        let now = Instant::now();
        assert_eq!(
            check.step(Event::Started, now).collect::<Vec<_>>(),
            [Action::Probe]
        );
        let mut waits = Vec::new();
        for _ in 0..100 {
            let Some(Action::WaitUntil(due)) = check.step(Event::Passed, now).last() else {
                unreachable!("every outcome is followed by a wait");
            };
            waits.push(due - now);
            assert_eq!(check.step(Event::Due, due).collect::<Vec<_>>(), [Action::Probe]);
        }
        assert!(waits.iter().all(|w| (900..=1100).contains(&w.as_millis())));
        assert!(waits.iter().max() > waits.iter().min());
    }
}
