//! The rules that compare members by their calls of the last interval: plain arithmetic.
//!
//! Source: Envoy's outlier detection (failure percentage, success rate). The standard deviation of n members, one of
//! them bad, puts that one `sqrt(n - 1)` deviations below the mean whatever it does, so with fewer than five and a
//! factor of 1.9 Envoy's rule can never hold. [`BehindOthers`] fills that gap: a two-proportion z-test against the
//! others' calls taken together.

use super::super::Totals;
use super::{Settings, Why};

/// Ejects what fails that share of its calls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FailureRatio {
    /// From this share on, above 0 and at most 1.
    pub ratio: f64,
    /// Calls in the interval without which a member is not judged.
    pub min_calls: u32,
    /// Members with as many calls without which nobody is judged.
    pub min_endpoints: u32,
}

impl Default for FailureRatio {
    /// Envoy's.
    fn default() -> Self {
        Self {
            ratio: 0.85,
            min_calls: 50,
            min_endpoints: 5,
        }
    }
}

/// Ejects what succeeds less often than `mean - stdev_factor × standard deviation` of the members' success rates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SuccessRate {
    /// Standard deviations below the mean.
    pub stdev_factor: f64,
    /// Calls in the interval without which a member is neither judged nor compared with.
    pub min_calls: u32,
    /// Members with as many calls without which nobody is judged.
    pub min_endpoints: u32,
}

impl Default for SuccessRate {
    /// Envoy's.
    fn default() -> Self {
        Self {
            stdev_factor: 1.9,
            min_calls: 100,
            min_endpoints: 5,
        }
    }
}

/// Ejects, where fewer members than [`SuccessRate::min_endpoints`] have enough calls for that rule, what succeeds less
/// often than the others: by `margin` at least, and by more than chance would.
///
/// It needs another member that does better: when all fail alike, nobody is ejected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BehindOthers {
    /// Least difference of success rates.
    pub margin: f64,
    /// Least difference in standard errors of that difference. As members are compared ten times an interval, this
    /// is more than the usual 2 or 3.
    pub standard_errors: f64,
    /// Calls in the interval without which a member is neither judged nor compared with.
    pub min_calls: u32,
}

impl Default for BehindOthers {
    fn default() -> Self {
        Self {
            margin: 0.1,
            standard_errors: 4.0,
            min_calls: 50,
        }
    }
}

/// One member's calls of the interval.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    totals: Totals,
    /// Share that succeeded; 1 without calls.
    pub(super) rate: f64,
}

impl Record {
    pub(super) fn of(totals: Totals) -> Self {
        Self {
            totals,
            rate: share(totals.successes(), totals.calls),
        }
    }

    /// Whether any call failed.
    pub(super) fn failed(&self) -> bool {
        self.totals.failures > 0
    }

    fn has(&self, min_calls: u32) -> bool {
        self.totals.calls >= u64::from(min_calls.max(1))
    }
}

/// What each member deserves, in the order given: the worst first.
pub(super) fn judge(settings: &Settings, all: &[Record]) -> Vec<Option<Why>> {
    let deviation = settings.success_rate.and_then(|rule| Deviation::of(&rule, all));
    let compared = |min_calls: u32| all.iter().filter(|record| record.has(min_calls)).count();
    let ratio = settings
        .failure_ratio
        .filter(|rule| compared(rule.min_calls) >= rule.min_endpoints as usize);
    let small = settings.behind_others.filter(|_| deviation.is_none());
    // What is found faulty is no measure for those after it.
    let mut sound = small.map_or(Totals::default(), |rule| sum(&rule, all));
    let one = |record: &Record| {
        let mut others = sound;
        if small.is_some_and(|rule| record.has(rule.min_calls)) {
            others -= record.totals;
        }
        let why = ratio
            .and_then(|rule| fails(&rule, record, settings))
            .or_else(|| deviation.as_ref()?.judge(record))
            .or_else(|| behind(&small?, record, &Record::of(others)));
        if why.is_some() {
            sound = others;
        }
        why
    };
    all.iter().map(one).collect()
}

fn fails(rule: &FailureRatio, record: &Record, settings: &Settings) -> Option<Why> {
    let Totals { calls, failures, .. } = record.totals;
    let reached = failures > 0 && failures as f64 >= rule.ratio * calls as f64;
    (record.has(rule.min_calls) && reached).then_some(Why::FailureRatio {
        failures,
        calls,
        within: settings.interval,
    })
}

/// What the success rates of enough members say.
struct Deviation {
    mean: f64,
    least: f64,
    min_calls: u32,
}

impl Deviation {
    fn of(rule: &SuccessRate, all: &[Record]) -> Option<Self> {
        let rates: Vec<f64> = all
            .iter()
            .filter(|record| record.has(rule.min_calls))
            .map(|record| record.rate)
            .collect();
        if rates.is_empty() || rates.len() < rule.min_endpoints as usize {
            return None;
        }
        let count = rates.len() as f64;
        let mean = rates.iter().sum::<f64>() / count;
        let variance = rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>() / count;
        Some(Self {
            mean,
            least: mean - rule.stdev_factor * variance.sqrt(),
            min_calls: rule.min_calls,
        })
    }

    fn judge(&self, record: &Record) -> Option<Why> {
        (record.has(self.min_calls) && record.rate < self.least).then_some(Why::SuccessRate {
            rate: record.rate,
            mean: self.mean,
            least: self.least,
        })
    }
}

/// Calls of all that can be compared with.
fn sum(rule: &BehindOthers, all: &[Record]) -> Totals {
    let able = all.iter().filter(|record| record.has(rule.min_calls));
    able.fold(Totals::default(), |sum, record| sum + record.totals)
}

fn behind(rule: &BehindOthers, record: &Record, others: &Record) -> Option<Why> {
    if !record.has(rule.min_calls) || !others.has(rule.min_calls) {
        return None;
    }
    let both = Record::of(record.totals + others.totals);
    let inverse = 1.0 / record.totals.calls as f64 + 1.0 / others.totals.calls as f64;
    let error = (both.rate * (1.0 - both.rate) * inverse).sqrt();
    let difference = others.rate - record.rate;
    let clear = difference > 0.0 && difference >= rule.margin && difference >= rule.standard_errors * error;
    clear.then_some(Why::BehindOthers {
        rate: record.rate,
        others: others.rate,
    })
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        1.0
    } else {
        part as f64 / whole as f64
    }
}
