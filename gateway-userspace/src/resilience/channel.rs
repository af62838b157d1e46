//! Alternate channels: other ways to the same endpoint or upstream, for when the communication fails, not the service.
//!
//! What counts as a failure here is a connection that cannot be made, a handshake that fails, a reset before any byte of
//! an answer; never a status. The first such failure moves to the next channel at once. While away, the first channel
//! is probed, less often the longer it fails, and it is taken again only after several good probes and a minimum stay,
//! which doubles if it fails again soon: so a first channel that flaps is left alone ever longer.
//! To send calls and probes, and to know what a failure is, is the caller's.

mod action;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use action::{Action, Why};

use super::backoff::part;

/// Doublings of the time between probes that are computed; `probe_interval_max` is reached long before.
const DOUBLINGS_MAX: u32 = 20;

/// How to go back to the first channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Good probes in a row without which the first channel is not taken again; at least 1.
    pub rise: u32,
    /// Least time away from the first channel.
    pub stay_min: Duration,
    /// Longest time that this grows to if the first channel fails again within `stay_max` of its return.
    pub stay_max: Duration,
    /// Time between probes, of which each takes a random part between half and all. Where all channels fail, the
    /// current one is left after this, too.
    pub probe_interval: Duration,
    /// What that time doubles up to while probes fail.
    pub probe_interval_max: Duration,
    /// A probe without a result counts as failed after this; the caller ends probes before.
    pub probe_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rise: 3,
            stay_min: Duration::from_secs(5),
            stay_max: Duration::from_secs(60),
            probe_interval: Duration::from_secs(1),
            probe_interval_max: Duration::from_secs(30),
            probe_timeout: Duration::from_secs(2),
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<K> {
    /// Communication over that channel failed.
    Failed(K),
    /// The probe that was asked for succeeded.
    ProbePassed,
    /// It failed.
    ProbeFailed,
    /// Time passed; to be told a few times in each of the settings' durations.
    Tick,
}

/// The channels of one endpoint or upstream: the first, and the others in the order in which they are to be tried.
#[derive(Debug)]
pub struct Channels<K> {
    settings: Settings,
    first: Channel<K>,
    others: Vec<Channel<K>>,
    /// 0: the first.
    current: usize,
    /// Since when it is the current one.
    since: Duration,
    /// Whether good probes brought the first one back.
    arrival: Arrival,
    /// Since when the first is not the current one, if it is not.
    away_since: Duration,
    /// Least time away.
    stay: Duration,
    probing: Probing,
    /// The latest time it was told: time never goes back.
    now: Duration,
}

#[derive(Clone, Debug)]
struct Channel<K> {
    key: K,
    /// When it last failed; none since a good probe.
    failed: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    ByProbes,
    Otherwise,
}

#[derive(Clone, Copy, Debug, Default)]
struct Probing {
    next: Duration,
    /// Deadline of the one that is out.
    out: Option<Duration>,
    /// In a row.
    passes: u32,
    /// In a row.
    failures: u32,
}

impl<K: Clone + Eq> Channels<K> {
    /// The first is the current one.
    pub fn new(settings: Settings, first: K, others: &[K], now: Duration) -> Self {
        Self {
            settings,
            first: Channel::new(first),
            others: others.iter().cloned().map(Channel::new).collect(),
            current: 0,
            since: now,
            arrival: Arrival::Otherwise,
            away_since: now,
            stay: settings.stay_min,
            probing: Probing::default(),
            now,
        }
    }

    /// The channel for calls that begin now.
    pub fn current(&self) -> &K {
        &self.at(self.current).key
    }

    /// Its place: 0 is the first, then the others in their order.
    pub fn position(&self) -> usize {
        self.current
    }

    /// Whether the current one did not fail lately: so that what failed was a way, not the service behind it.
    pub fn is_hopeful(&self) -> bool {
        !self.suspect(self.current)
    }

    /// Whether that is the first.
    pub fn is_first(&self) -> bool {
        self.current == 0
    }

    /// The machine's only way on; `random` is any number, uniform. What of a channel that there is not is ignored.
    pub fn step(&mut self, event: Event<K>, now: Duration, random: u64) -> Vec<Action<K>> {
        self.now = self.now.max(now);
        let mut actions = Vec::new();
        match event {
            Event::Failed(key) => {
                if let Some(index) = self.find(&key) {
                    self.at_mut(index).failed = Some(self.now);
                    if index == self.current {
                        actions.extend(self.leave(random));
                    }
                }
            }
            Event::ProbePassed => self.probe_passed(random),
            Event::ProbeFailed => self.probe_failed(random),
            Event::Tick => {}
        }
        // One change a step: what is due besides comes with the next tick.
        if actions.is_empty() && !self.is_first() {
            actions.extend(self.away(random));
        }
        actions
    }

    /// Other channels from now on. Those that stay keep what is known of them, the current one stays the current one;
    /// if it is gone, the first is.
    pub fn set_channels(&mut self, first: K, others: &[K], now: Duration) -> Option<Action<K>> {
        self.now = self.now.max(now);
        let from = self.current().clone();
        let keep = |key: K| Channel {
            failed: self.find(&key).and_then(|index| self.at(index).failed),
            key,
        };
        let others = others.iter().cloned().map(keep).collect();
        let other_first = first != self.first.key;
        let was_first = self.is_first();
        self.first = keep(first);
        self.others = others;
        let found = self.find(&from);
        self.current = found.unwrap_or(0);
        if other_first || self.is_first() {
            self.probing = Probing {
                next: self.now,
                ..Probing::default()
            };
        }
        if was_first {
            self.away_since = self.now;
        }
        if found.is_some() {
            return None;
        }
        self.since = self.now;
        self.arrival = Arrival::Otherwise;
        Some(Action::Switch {
            from,
            to: self.current().clone(),
            why: Why::Removed,
        })
    }

    /// Other settings from now on; the state stays.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
        self.stay = self
            .stay
            .clamp(settings.stay_min, settings.stay_max.max(settings.stay_min));
    }

    /// Away from the first: back to it, or a probe of it, or nothing.
    fn away(&mut self, random: u64) -> Option<Action<K>> {
        if self.probing.out.is_some_and(|deadline| deadline <= self.now) {
            self.probe_failed(random);
        }
        let away = self.now.saturating_sub(self.away_since);
        if self.probing.passes >= self.settings.rise.max(1) && away >= self.stay {
            let passes = self.probing.passes;
            return Some(self.switch(0, Why::Recovered { passes, away }, random));
        }
        if self.probing.out.is_some() || self.now < self.probing.next {
            return None;
        }
        self.probing.out = Some(self.now.saturating_add(self.settings.probe_timeout));
        Some(Action::Probe {
            key: self.first.key.clone(),
        })
    }

    /// Leaves the current channel for the next one that did not fail lately, the first one last, as it comes back by
    /// probes. If all did, for the one that failed longest ago, but not before the current one had its time: so that
    /// when nothing works, the channels take turns at the pace of probes instead of that of calls.
    fn leave(&mut self, random: u64) -> Option<Action<K>> {
        let count = self.others.len();
        let after_current = (self.current + 1..=count).chain(1..self.current);
        let order: Vec<usize> = after_current
            .chain(std::iter::once(0))
            .filter(|index| *index != self.current)
            .collect();
        if let Some(next) = order.iter().find(|index| !self.suspect(**index)) {
            return Some(self.switch(*next, Why::Failed, random));
        }
        let oldest = order.into_iter().min_by_key(|index| self.at(*index).failed)?;
        let had_its_time = self.now.saturating_sub(self.since) >= self.settings.probe_interval;
        had_its_time.then(|| self.switch(oldest, Why::AllFail, random))
    }

    /// Whether it failed lately: since long enough that, when all fail and take turns, none is past it.
    fn suspect(&self, index: usize) -> bool {
        let count = u32::try_from(self.others.len()).unwrap_or(u32::MAX);
        let turns = self
            .settings
            .probe_interval
            .saturating_mul(count.saturating_add(2));
        let lately = self.settings.stay_min.max(turns);
        let failed = self.at(index).failed;
        failed.is_some_and(|failed| self.now.saturating_sub(failed) < lately)
    }

    fn switch(&mut self, to: usize, why: Why, random: u64) -> Action<K> {
        let from = self.current().clone();
        if self.is_first() {
            self.leave_first(random);
        }
        self.current = to;
        self.since = self.now;
        self.arrival = match why {
            Why::Recovered { .. } => Arrival::ByProbes,
            Why::Failed | Why::AllFail | Why::Removed => Arrival::Otherwise,
        };
        if to == 0 {
            self.probing = Probing::default();
        }
        Action::Switch {
            from,
            to: self.current().clone(),
            why,
        }
    }

    fn leave_first(&mut self, random: u64) {
        let held = self.now.saturating_sub(self.since);
        let longest = self.settings.stay_max.max(self.settings.stay_min);
        if held >= longest {
            self.stay = self.settings.stay_min;
        } else if self.arrival == Arrival::ByProbes {
            self.stay = self.stay.saturating_mul(2).min(longest);
        }
        self.away_since = self.now;
        self.probing = Probing {
            next: self.now.saturating_add(self.pause(0, random)),
            ..Probing::default()
        };
    }

    fn probe_passed(&mut self, random: u64) {
        if self.probing.out.take().is_some() {
            self.first.failed = None;
            self.probing.passes = self.probing.passes.saturating_add(1);
            self.probing.failures = 0;
            self.probing.next = self.now.saturating_add(self.pause(0, random));
        }
    }

    fn probe_failed(&mut self, random: u64) {
        if self.probing.out.take().is_some() {
            self.first.failed = Some(self.now);
            self.probing.passes = 0;
            self.probing.failures = self.probing.failures.saturating_add(1);
            self.probing.next = self.now.saturating_add(self.pause(self.probing.failures, random));
        }
    }

    /// Time to the next probe after so many that failed in a row.
    fn pause(&self, failures: u32, random: u64) -> Duration {
        let longest = self.settings.probe_interval_max.max(self.settings.probe_interval);
        let doubled = self
            .settings
            .probe_interval
            .saturating_mul(1 << failures.min(DOUBLINGS_MAX));
        let half = doubled.min(longest) / 2;
        half.saturating_add(part(half, random))
    }

    fn find(&self, key: &K) -> Option<usize> {
        (0..=self.others.len()).find(|index| self.at(*index).key == *key)
    }

    fn at(&self, index: usize) -> &Channel<K> {
        let other = index.checked_sub(1).and_then(|index| self.others.get(index));
        other.unwrap_or(&self.first)
    }

    fn at_mut(&mut self, index: usize) -> &mut Channel<K> {
        let other = index.checked_sub(1).and_then(|index| self.others.get_mut(index));
        other.unwrap_or(&mut self.first)
    }
}

impl<K> Channel<K> {
    fn new(key: K) -> Self {
        Self { key, failed: None }
    }
}
