//! What a turn comes to: counts and percentiles, as one line that `xtask` reads.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::call::Outcome;
use super::load::Sample;

/// From the beginning of a fault until it should be known.
pub const DETECTION: Duration = Duration::from_secs(2);

/// What a turn came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// Requests.
    pub sent: usize,
    /// Those without a good answer.
    pub failed: usize,
    /// Those of them that were due [`DETECTION`] after the fault began, or later.
    pub failed_late: usize,
    /// Half of all requests took no longer.
    pub p50: Duration,
    /// 99 of 100 requests took no longer.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
    /// How those that failed did.
    pub kinds: BTreeMap<String, usize>,
}

impl Figures {
    /// Of all requests of a turn whose fault began at `fault`, since the first was due. None of none.
    pub fn of(samples: &[Sample], fault: Duration) -> Option<Self> {
        let mut times: Vec<Duration> = samples.iter().map(|sample| sample.took).collect();
        times.sort_unstable();
        let failures = || samples.iter().filter(|sample| sample.outcome != Outcome::Good);
        let mut kinds = BTreeMap::new();
        for sample in failures() {
            *kinds.entry(format!("{:?}", sample.outcome)).or_default() += 1;
        }
        Some(Self {
            sent: samples.len(),
            failed: failures().count(),
            failed_late: failures()
                .filter(|sample| sample.due >= fault + DETECTION)
                .count(),
            p50: percentile(&times, 50)?,
            p99: percentile(&times, 99)?,
            max: *times.last()?,
            kinds,
        })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "sent={} failed={} failed_after_detection={} p50_us={} p99_us={} max_us={}",
            self.sent,
            self.failed,
            self.failed_late,
            self.p50.as_micros(),
            self.p99.as_micros(),
            self.max.as_micros()
        )?;
        for (kind, count) in &self.kinds {
            write!(out, " how:{kind}={count}")?;
        }
        Ok(())
    }
}

/// The least of `sorted` that `per_cent` of a hundred do not exceed (nearest rank).
fn percentile(sorted: &[Duration], per_cent: usize) -> Option<Duration> {
    let rank = (sorted.len() * per_cent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let times: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        let rows = [
            (200, 50, 100),
            (200, 99, 198),
            (100, 99, 99),
            (50, 99, 50),
            (1, 50, 1),
        ];
        for (count, per_cent, expected) in rows {
            let found = percentile(&times[..count], per_cent).unwrap();
            assert_eq!(found.as_millis(), expected, "{per_cent} of {count}");
        }
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn failures_count_as_late_two_seconds_into_the_fault() {
        let sample = |due, outcome| Sample {
            due: Duration::from_millis(due),
            took: Duration::from_millis(due / 100),
            outcome,
        };
        let samples = [
            sample(5_000, Outcome::Good),
            sample(5_100, Outcome::Status(502)),
            sample(6_999, Outcome::Broken),
            sample(7_000, Outcome::Status(502)),
        ];
        let figures = Figures::of(&samples, Duration::from_secs(5)).unwrap();
        assert_eq!(
            figures.to_string(),
            "sent=4 failed=3 failed_after_detection=1 p50_us=51000 p99_us=70000 max_us=70000 \
             how:Broken=1 how:Status(502)=2"
        );
        assert_eq!(Figures::of(&[], Duration::ZERO), None);
    }
}
