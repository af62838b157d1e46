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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::snapshot::Way;
    use Readiness::{Failing, Ready, Unknown};

    fn settings(interval: Duration, rise: u32, fall: u32) -> Settings {
        Settings {
            way: Way::Tcp,
            port: None,
            interval,
            timeout: Duration::from_secs(1),
            rise,
            fall,
        }
    }

    fn become_of(actions: &[Action]) -> Option<Readiness> {
        actions.iter().find_map(|action| match action {
            Action::Become(readiness) => Some(*readiness),
            Action::Probe | Action::WaitUntil(_) => None,
        })
    }

    #[test]
    fn outcomes_in_a_row_change_the_state() {
        // p: passed, f: failed, e: excused; expected: the state after each.
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
            (
                Unknown,
                "eeepepf",
                &[Unknown, Unknown, Unknown, Ready, Unknown, Ready, Ready],
                "what starts fails without failing",
            ),
            (
                Unknown,
                "eef",
                &[Unknown, Unknown, Failing],
                "and fails once that is over",
            ),
        ];
        for (start, outcomes, expected, why) in rows {
            let mut check = Check::new(&settings(Duration::from_secs(1), 2, 3), *start, 7);
            let now = Instant::now();
            let mut state = *start;
            for (outcome, expected) in outcomes.chars().zip(*expected) {
                let event = match outcome {
                    'p' => Event::Passed,
                    'f' => Event::Failed,
                    _ => Event::Excused,
                };
                let actions = check.step(event, now);
                state = become_of(&actions).unwrap_or(state);
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
        let mut check = Check::new(&settings(Duration::from_secs(1), 2, 3), Unknown, 0);
        let now = Instant::now();
        assert_eq!(check.step(Event::Started, now), [Action::Probe]);
        let mut waits = Vec::new();
        for _ in 0..100 {
            let Some(Action::WaitUntil(due)) = check.step(Event::Passed, now).pop() else {
                unreachable!("every outcome is followed by a wait");
            };
            waits.push(due - now);
            assert_eq!(check.step(Event::Due, due), [Action::Probe]);
        }
        assert!(waits.iter().all(|w| (900..=1100).contains(&w.as_millis())));
        assert!(waits.iter().max() > waits.iter().min());
    }

    /// Whatever an endpoint does, each turn takes as many outcomes in a row as the settings say, and one that flaps
    /// twice a second therefore does not take the verdict along.
    #[test]
    fn flapping_twice_a_second_turns_the_verdict_no_more_often_than_rise_and_fall_allow() {
        const SECONDS: u64 = 600;
        // Interval in milliseconds, rise, fall, and up and down times of the endpoint in milliseconds.
        let rows = [
            (500, 2, 2, 250, 250),
            (500, 2, 3, 250, 250),
            (1000, 2, 3, 250, 250),
            (100, 2, 3, 250, 250),
            (100, 3, 5, 100, 400),
            (1000, 2, 3, 450, 50),
        ];
        for (interval, rise, fall, up, down) in rows {
            for seed in 0..200_u64 {
                let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let interval = Duration::from_millis(interval);
                let mut check = Check::new(&settings(interval, rise, fall), Ready, seed);
                let start = Instant::now();
                let (mut now, mut state) = (start, Ready);
                let (mut history, mut turns) = (Vec::new(), 0_usize);
                while now < start + Duration::from_secs(SECONDS) {
                    let phase = (now - start).as_millis() % (up + down);
                    let is_up = phase < up;
                    history.push(is_up);
                    let event = if is_up { Event::Passed } else { Event::Failed };
                    let actions = check.step(event, now);
                    if let Some(next) = become_of(&actions) {
                        let wanted = if next == Ready { rise } else { fall };
                        let row = history.iter().rev().take(wanted as usize);
                        assert_eq!(row.clone().count(), wanted as usize);
                        assert!(row.into_iter().all(|is_up| *is_up == (next == Ready)), "{seed}");
                        assert_ne!(next, state);
                        state = next;
                        turns += 1;
                    }
                    let Some(Action::WaitUntil(due)) = actions.last() else {
                        unreachable!("every outcome is followed by a wait");
                    };
                    assert!(*due > now);
                    now = *due;
                }
                // A pair of turns takes rise and fall outcomes; the last pair may be begun.
                let most = 2 * (history.len() / (rise + fall) as usize + 1);
                assert!(
                    turns <= most,
                    "seed {seed}: {turns} turns in {} checks",
                    history.len()
                );
            }
        }
    }
}
