//! Circuit breaker of an endpoint or of a whole upstream: the same machine, which stops calls that would fail anyway.
//!
//! closed → open → half-open → ramping → closed, and forced either way by an operator. Opening is decided on a sliding
//! window of all calls, closing on a few trial calls that the machine hands out, each with a deadline. What a failure
//! or a slow call is, the caller knows. Source: the states of resilience4j, with the open time growing as in its
//! exponential interval function; the minimum of 20 calls is Hystrix's.

mod change;
#[cfg(test)]
mod tests;
mod trials;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use change::{Change, State, Why};
pub use trials::{Outcome, Trial};

use super::window::Window;
use super::{Totals, Tracker};
use trials::{Trials, Verdict};

/// Share of calls when the ramp begins, of a thousand.
pub const RAMP_FROM_PER_MILLE: u32 = 100;
/// All calls.
pub const ALL_PER_MILLE: u32 = 1_000;
/// Doublings of the open time that are computed; `open_for_max` is reached long before.
const DOUBLINGS_MAX: u32 = 20;

/// When to open, for how long, and how to come back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Share of failed calls from which it opens, above 0 and at most 1.
    pub failure_ratio: f64,
    /// Share of slow calls from which it opens; none: slowness never opens it.
    pub slow_ratio: Option<f64>,
    /// Over this time.
    pub window: Duration,
    /// Calls in the window without which nothing is decided.
    pub min_calls: u32,
    /// How long it stays open the first time; twice as long each time that it opens again before it was calm.
    pub open_for: Duration,
    /// But never longer.
    pub open_for_max: Duration,
    /// Trial calls of the half-open state, in all and so at most at once; at least 1.
    pub half_open_calls: u32,
    /// A trial call without a result counts as failed after this.
    pub trial_timeout: Duration,
    /// How long the share of calls takes from a tenth to all once it closed.
    pub ramp: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            failure_ratio: 0.5,
            slow_ratio: None,
            window: Duration::from_secs(10),
            min_calls: 20,
            open_for: Duration::from_secs(5),
            open_for_max: Duration::from_secs(60),
            half_open_calls: 5,
            trial_timeout: Duration::from_secs(15),
            ramp: Duration::from_secs(5),
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// What was counted up to now.
    Sample(Totals),
    /// A trial call ended. Its outcome is counted in the totals all the same.
    TrialEnded(Trial, Outcome),
    /// Time passed; to be told a few times in each of the settings' durations.
    Tick,
    /// An operator wants it so, until [`Event::Release`].
    Force(Force),
    /// The machine decides again.
    Release,
}

/// What an operator may force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Force {
    /// No calls.
    Open,
    /// All calls, whatever becomes of them.
    Closed,
}

/// Which calls may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Every one.
    All,
    /// So many of a thousand.
    Share(u32),
    /// Those that get a [`Trial`], of which so many are left.
    Trials(u32),
    /// None until then; without a time, until an operator says so.
    None(Option<Duration>),
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Closed { since: Duration },
    Ramping { since: Duration },
    Open { until: Duration },
    HalfOpen,
    Forced(Force),
}

/// The breaker of one thing.
#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
    phase: Phase,
    tracker: Tracker,
    window: Window,
    trials: Trials,
    /// Times it opened since it was last calm.
    openings: u32,
    era: u64,
    /// The latest time it was told: time never goes back.
    now: Duration,
}

impl Breaker {
    /// A closed one that counts from these totals on.
    pub fn new(settings: Settings, totals: Totals, now: Duration) -> Self {
        Self {
            settings,
            phase: Phase::Closed { since: now },
            tracker: Tracker::new(totals),
            window: Window::new(settings.window),
            trials: Trials::default(),
            openings: 0,
            era: 0,
            now,
        }
    }

    /// The machine's only way on; at most one change a step.
    pub fn step(&mut self, event: Event, now: Duration) -> Option<Change> {
        self.now = self.now.max(now);
        self.trials.expire(self.now);
        match event {
            Event::Sample(totals) => self.count(totals),
            Event::TrialEnded(trial, outcome) => self.trials.end(trial, outcome),
            Event::Tick => {}
            Event::Force(force) => return self.force(force),
            Event::Release => return self.release(),
        }
        self.decide()
    }

    /// A trial call's permit, while half-open and as long as there is one left.
    ///
    /// Whoever takes it owes [`Event::TrialEnded`], however the call ends.
    pub fn take_trial(&mut self, now: Duration) -> Option<Trial> {
        self.now = self.now.max(now);
        match self.phase {
            Phase::HalfOpen => self
                .trials
                .take(self.now.saturating_add(self.settings.trial_timeout)),
            _ => None,
        }
    }

    /// Other settings from now on; the state stays, and a round of trials goes on under those it began with.
    ///
    /// A window of another length begins empty. An open breaker does not stay so for longer than the new settings say.
    pub fn set(&mut self, settings: Settings, now: Duration) {
        self.now = self.now.max(now);
        if settings.window != self.settings.window {
            self.window = Window::new(settings.window);
        }
        self.settings = settings;
        if let Phase::Open { until } = self.phase {
            let until = until.min(self.now.saturating_add(self.open_time()));
            self.phase = Phase::Open { until };
        }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Closed { .. } => State::Closed,
            Phase::Ramping { .. } => State::Ramping,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen => State::HalfOpen,
            Phase::Forced(Force::Open) => State::ForcedOpen,
            Phase::Forced(Force::Closed) => State::ForcedClosed,
        }
    }

    /// Which calls may go at that time: what the caller publishes to its workers after each step.
    pub fn admits(&self, now: Duration) -> Admission {
        match self.phase {
            Phase::Closed { .. } | Phase::Forced(Force::Closed) => Admission::All,
            Phase::Ramping { since } => Admission::Share(self.share(now.saturating_sub(since))),
            Phase::HalfOpen => Admission::Trials(self.trials.left()),
            Phase::Open { until } => Admission::None(Some(until)),
            Phase::Forced(Force::Open) => Admission::None(None),
        }
    }

    /// Changes of state so far, but for the one from ramp to all calls, which is the same flow of calls. A call that
    /// began in another era says nothing about this one: a caller that remembers the era of a call's beginning does not
    /// count it, so that what hung before does not spoil the recovery.
    pub fn era(&self) -> u64 {
        self.era
    }

    fn count(&mut self, totals: Totals) {
        let new = self.tracker.advance(totals);
        if matches!(self.phase, Phase::Closed { .. } | Phase::Ramping { .. }) {
            self.window.add(new, self.now);
        }
    }

    fn decide(&mut self) -> Option<Change> {
        match self.phase {
            Phase::Closed { since } => {
                if self.now.saturating_sub(since) >= self.settings.window.max(self.open_time()) {
                    self.openings = 0;
                }
                let why = self.fault()?;
                Some(self.open(why))
            }
            Phase::Ramping { since } => {
                if let Some(why) = self.fault() {
                    return Some(self.open(why));
                }
                let over = self.settings.ramp;
                let ramped = self.now.saturating_sub(since) >= over;
                ramped.then(|| self.turn(Phase::Closed { since: self.now }, Why::Ramped { over }))
            }
            Phase::Open { until } => (self.now >= until).then(|| {
                let after = self.open_time();
                self.half_open(Why::Waited { after })
            }),
            Phase::HalfOpen => {
                let (why, passed) = match self.trials.verdict(&self.settings)? {
                    Verdict::Passed { passed, calls } => (Why::TrialsPassed { passed, calls }, true),
                    Verdict::Failed { failed, calls } => (Why::TrialsFailed { failed, calls }, false),
                    Verdict::Slow { slow, calls } => (Why::TrialsSlow { slow, calls }, false),
                };
                Some(if passed { self.close(why) } else { self.open(why) })
            }
            Phase::Forced(_) => None,
        }
    }

    /// What in the window is a reason to open.
    fn fault(&mut self) -> Option<Why> {
        let sum = self.window.sum(self.now);
        let within = self.settings.window;
        if sum.calls < u64::from(self.settings.min_calls.max(1)) {
            return None;
        }
        let reaches = |count: u64, ratio: f64| count > 0 && count as f64 >= ratio * sum.calls as f64;
        if reaches(sum.failures, self.settings.failure_ratio) {
            return Some(Why::Failures {
                failures: sum.failures,
                calls: sum.calls,
                within,
            });
        }
        let ratio = self.settings.slow_ratio?;
        reaches(sum.slow, ratio).then_some(Why::Slow {
            slow: sum.slow,
            calls: sum.calls,
            within,
        })
    }

    /// How long it is open after so many openings.
    fn open_time(&self) -> Duration {
        let doublings = self.openings.saturating_sub(1).min(DOUBLINGS_MAX);
        let grown = self.settings.open_for.saturating_mul(1 << doublings);
        grown.min(self.settings.open_for_max.max(self.settings.open_for))
    }

    fn open(&mut self, why: Why) -> Change {
        self.openings = self.openings.saturating_add(1);
        let until = self.now.saturating_add(self.open_time());
        self.turn(Phase::Open { until }, why)
    }

    fn half_open(&mut self, why: Why) -> Change {
        self.trials.begin(self.settings.half_open_calls.max(1));
        self.turn(Phase::HalfOpen, why)
    }

    fn close(&mut self, why: Why) -> Change {
        let since = self.now;
        if self.settings.ramp.is_zero() {
            self.turn(Phase::Closed { since }, why)
        } else {
            self.turn(Phase::Ramping { since }, why)
        }
    }

    fn force(&mut self, force: Force) -> Option<Change> {
        match self.phase {
            Phase::Forced(already) if already == force => None,
            _ => Some(self.turn(Phase::Forced(force), Why::Forced)),
        }
    }

    /// What was forced open comes back as what opened by itself does; what was forced closed has all calls already.
    fn release(&mut self) -> Option<Change> {
        match self.phase {
            Phase::Forced(Force::Open) => Some(self.half_open(Why::Released)),
            Phase::Forced(Force::Closed) => Some(self.turn(Phase::Closed { since: self.now }, Why::Released)),
            _ => None,
        }
    }

    fn turn(&mut self, phase: Phase, why: Why) -> Change {
        let from = self.state();
        // From the ramp to all calls the window goes on: it is the same flow of calls.
        if !matches!(self.phase, Phase::Ramping { .. }) || !matches!(phase, Phase::Closed { .. }) {
            self.window.clear();
            self.era = self.era.saturating_add(1);
        }
        self.phase = phase;
        Change {
            from,
            to: self.state(),
            why,
        }
    }

    fn share(&self, ramping: Duration) -> u32 {
        let whole = self.settings.ramp.as_nanos().max(1);
        let rise = u128::from(ALL_PER_MILLE - RAMP_FROM_PER_MILLE) * ramping.as_nanos().min(whole) / whole;
        RAMP_FROM_PER_MILLE + rise as u32
    }
}
