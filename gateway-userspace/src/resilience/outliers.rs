//! Passive health of one upstream's endpoints: what real calls show ejects those that fail, for a while, and not too many.
//!
//! Four rules, each optional: failures in a row, the share of failures, a success rate far below the upstream's mean
//! (Envoy's outlier detection, its figures the defaults), and for upstreams too small for that one, a success rate far
//! below the others'. Members are keyed by the caller and keep their state through edits. A member comes back by itself;
//! to raise its share slowly, and to use all where too few are left (panic threshold), is the balancer's.

mod action;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

pub use action::{Action, Why};
pub use rules::{BehindOthers, FailureRatio, SuccessRate};

use super::window::{BUCKETS, Window};
use super::{Totals, Tracker};
use rules::Record;

/// Rounding that a share of endpoints may be off by, as 0.7 × 10 is not quite 7.
const SHARE_EPSILON: f64 = 1e-9;

/// What ejects, for how long, and how many at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Failures in a row that eject; none: they do not.
    pub consecutive_failures: Option<u32>,
    /// Share of failures that ejects.
    pub failure_ratio: Option<FailureRatio>,
    /// Distance from the mean success rate that ejects.
    pub success_rate: Option<SuccessRate>,
    /// Distance from the others' success rate that ejects where too few endpoints are compared for [`SuccessRate`].
    pub behind_others: Option<BehindOthers>,
    /// Calls of this last while are looked at, ten times in it; each such time without ejection takes one off the
    /// number by which the next ejection is multiplied.
    pub interval: Duration,
    /// Length of the first ejection; the nth lasts n times as long.
    pub base_ejection: Duration,
    /// But never longer.
    pub max_ejection: Duration,
    /// Share of the members that may be out at once: see [`Outliers::ejected_max`].
    pub max_ejected_share: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            consecutive_failures: Some(5),
            failure_ratio: None,
            success_rate: Some(SuccessRate::default()),
            behind_others: Some(BehindOthers::default()),
            interval: Duration::from_secs(10),
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(300),
            max_ejected_share: 0.5,
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<K> {
    /// What was counted of that endpoint up to now: after each failure, and before each [`Event::Tick`].
    Sample(K, Totals),
    /// Time passed; to be told a few times in each of the settings' durations.
    Tick,
    /// It is known to be well (an active check, an operator): it comes back at once.
    Restore(K),
}

/// The endpoints of one upstream.
#[derive(Debug)]
pub struct Outliers<K> {
    settings: Settings,
    members: BTreeMap<K, Member>,
    /// When members are next compared.
    due: Duration,
    /// The latest time it was told: time never goes back.
    now: Duration,
}

#[derive(Debug)]
struct Member {
    tracker: Tracker,
    window: Window,
    /// Failures since the last success.
    run: u32,
    ejected: Option<Duration>,
    /// Times ejected, less the intervals without ejection since.
    multiplier: u32,
    /// Since when it counts as not ejected.
    calm_since: Duration,
}

impl<K: Ord + Clone> Outliers<K> {
    /// No members yet.
    pub fn new(settings: Settings, now: Duration) -> Self {
        Self {
            settings,
            members: BTreeMap::new(),
            due: now,
            now,
        }
    }

    /// The endpoints from now on, each with what was counted of it so far, which matters for new ones only.
    ///
    /// Those that stay keep all state. Those that go are forgotten, without an action. If fewer members mean that fewer
    /// may be out, those whose time is nearest come back.
    pub fn set_members(&mut self, members: &[(K, Totals)], now: Duration) -> Vec<Action<K>> {
        self.now = self.now.max(now);
        let mut before = std::mem::take(&mut self.members);
        for (key, totals) in members {
            let member = before.remove(key).unwrap_or_else(|| Member {
                tracker: Tracker::new(*totals),
                window: Window::new(self.settings.interval),
                run: 0,
                ejected: None,
                multiplier: 0,
                calm_since: self.now,
            });
            self.members.insert(key.clone(), member);
        }
        self.restore_surplus()
    }

    /// Other settings from now on; those that are out stay until their time, unless fewer may be out.
    ///
    /// An interval of another length begins with no calls.
    pub fn set(&mut self, settings: Settings, now: Duration) -> Vec<Action<K>> {
        self.now = self.now.max(now);
        if settings.interval != self.settings.interval {
            for member in self.members.values_mut() {
                member.window = Window::new(settings.interval);
            }
            self.due = self.now;
        }
        self.settings = settings;
        self.restore_surplus()
    }

    /// The machine's only way on. What of a member that there is not is ignored.
    pub fn step(&mut self, event: Event<K>, now: Duration) -> Vec<Action<K>> {
        self.now = self.now.max(now);
        match event {
            Event::Sample(key, totals) => self.sample(key, totals),
            Event::Tick => {
                let mut actions = self.expire();
                self.forgive();
                if self.now >= self.due {
                    self.due = self.now.saturating_add(self.settings.interval / BUCKETS as u32);
                    actions.extend(self.compare());
                }
                actions
            }
            Event::Restore(key) => match self.members.get_mut(&key) {
                Some(member) if member.ejected.is_some() => {
                    member.restore(self.now);
                    vec![Action::Restore { key }]
                }
                _ => Vec::new(),
            },
        }
    }

    /// How many may be out at once: the share of the members, rounded down, but one if there are two or more and the
    /// share is not 0 (as in Envoy). The only member is never ejected. This is never exceeded, not by one either.
    pub fn ejected_max(&self) -> usize {
        let share = self.settings.max_ejected_share.clamp(0.0, 1.0);
        if self.members.len() < 2 || share == 0.0 {
            return 0;
        }
        // A cast from a float saturates, and the share is at most 1.
        let most = (self.members.len() as f64 * share + SHARE_EPSILON) as usize;
        most.max(1)
    }

    /// Members that are out, each with the time until which.
    pub fn ejected(&self) -> impl Iterator<Item = (&K, Duration)> {
        self.members
            .iter()
            .filter_map(|(key, member)| Some((key, member.ejected?)))
    }

    /// Whether that member is out.
    pub fn is_ejected(&self, key: &K) -> bool {
        self.members
            .get(key)
            .is_some_and(|member| member.ejected.is_some())
    }

    fn sample(&mut self, key: K, totals: Totals) -> Vec<Action<K>> {
        let now = self.now;
        let Some(member) = self.members.get_mut(&key) else {
            return Vec::new();
        };
        let new = member.count(totals, now);
        let why = member.fails_in_a_row(&self.settings).filter(|_| new.failures > 0);
        why.and_then(|why| self.eject(key, why)).into_iter().collect()
    }

    /// Brings back those whose time is over.
    fn expire(&mut self) -> Vec<Action<K>> {
        let now = self.now;
        let over = self.members.iter_mut().filter_map(|(key, member)| {
            (member.ejected? <= now).then(|| {
                member.restore(now);
                Action::Restore { key: key.clone() }
            })
        });
        over.collect()
    }

    /// Takes one off each multiplier for each interval without ejection.
    fn forgive(&mut self) {
        let interval = self.settings.interval;
        for member in self
            .members
            .values_mut()
            .filter(|member| member.ejected.is_none())
        {
            if member.multiplier == 0 || interval.is_zero() {
                member.multiplier = 0;
                continue;
            }
            while member.multiplier > 0 && self.now.saturating_sub(member.calm_since) >= interval {
                member.multiplier -= 1;
                member.calm_since = member.calm_since.saturating_add(interval);
            }
        }
    }

    /// Ejects, the worst first, what the rules find among the members that are in.
    fn compare(&mut self) -> Vec<Action<K>> {
        let mut faulty: Vec<(K, Why)> = Vec::new();
        let mut records: Vec<(K, Record)> = Vec::new();
        for (key, member) in self
            .members
            .iter_mut()
            .filter(|(_, member)| member.ejected.is_none())
        {
            let record = Record::of(member.window.sum(self.now));
            // Where the cap let it stay, a run that has ended with the calls is no reason any more.
            match member.fails_in_a_row(&self.settings).filter(|_| record.failed()) {
                Some(why) => faulty.push((key.clone(), why)),
                None => records.push((key.clone(), record)),
            }
        }
        records.sort_by(|(_, one), (_, other)| one.rate.total_cmp(&other.rate));
        let all: Vec<Record> = records.iter().map(|(_, record)| *record).collect();
        for ((key, _), why) in records.into_iter().zip(rules::judge(&self.settings, &all)) {
            faulty.extend(why.map(|why| (key, why)));
        }
        faulty
            .into_iter()
            .filter_map(|(key, why)| self.eject(key, why))
            .collect()
    }

    /// Takes the member out, if it is in and one more may be out.
    fn eject(&mut self, key: K, why: Why) -> Option<Action<K>> {
        if self.ejected().count() >= self.ejected_max() {
            return None;
        }
        let settings = self.settings;
        let member = self
            .members
            .get_mut(&key)
            .filter(|member| member.ejected.is_none())?;
        member.multiplier = member.multiplier.saturating_add(1);
        let longest = settings.max_ejection.max(settings.base_ejection);
        let length = settings
            .base_ejection
            .saturating_mul(member.multiplier)
            .min(longest);
        if length == longest {
            // More would only have to be forgiven again, interval by interval.
            member.multiplier = member
                .multiplier
                .min(multiplier_max(settings.base_ejection, longest));
        }
        let until = self.now.saturating_add(length);
        member.ejected = Some(until);
        Some(Action::Eject { key, until, why })
    }

    /// Brings back, nearest first, those above the cap.
    fn restore_surplus(&mut self) -> Vec<Action<K>> {
        let mut out: Vec<(Duration, K)> = self.ejected().map(|(key, until)| (until, key.clone())).collect();
        let surplus = out.len().saturating_sub(self.ejected_max());
        out.sort();
        let mut actions = Vec::new();
        for (_, key) in out.into_iter().take(surplus) {
            if let Some(member) = self.members.get_mut(&key) {
                member.restore(self.now);
                actions.push(Action::Restore { key });
            }
        }
        actions
    }
}

impl Member {
    /// Counts what is new, and says what that is; of a member that is out, nothing: those are calls from before.
    fn count(&mut self, totals: Totals, now: Duration) -> Totals {
        let new = self.tracker.advance(totals);
        if self.ejected.is_some() || new.calls == 0 {
            return Totals::default();
        }
        self.window.add(new, now);
        let failures = u32::try_from(new.failures).unwrap_or(u32::MAX);
        self.run = match (new.failures, new.successes()) {
            (0, _) => 0,
            (_, 0) => self.run.saturating_add(failures),
            // In which order is not known: one failure at least is the newest, as it is what caused the sample.
            _ => 1,
        };
        new
    }

    fn fails_in_a_row(&self, settings: &Settings) -> Option<Why> {
        let failures = self.run;
        let reached = failures >= settings.consecutive_failures?.max(1);
        (reached && self.ejected.is_none()).then_some(Why::Consecutive { failures })
    }

    /// Back in, with a clean sheet but for the multiplier.
    fn restore(&mut self, now: Duration) {
        self.ejected = None;
        self.run = 0;
        self.window.clear();
        self.calm_since = now;
    }
}

/// Ejections after which they do not get longer.
fn multiplier_max(base: Duration, longest: Duration) -> u32 {
    let times = longest.as_nanos().div_ceil(base.as_nanos().max(1));
    u32::try_from(times).unwrap_or(u32::MAX)
}
