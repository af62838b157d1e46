//! What an endpoint or an upstream did since its cell was made, and what is new in it.
//!
//! Workers add, machines subtract: nothing on a request's way is ever reset.

use std::ops::{Add, AddAssign, SubAssign};

/// Calls whose outcome is known, since the cell was made. Each figure only grows.
///
/// A worker counts `failures` and `slow` before `calls`, and whoever reads them reads `calls` first: then a call is
/// never seen without its outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// All calls that ended.
    pub calls: u64,
    /// Of these, failed.
    pub failures: u64,
    /// Of these, slower than the caller's threshold.
    pub slow: u64,
}

impl Totals {
    /// Calls that did not fail.
    pub fn successes(self) -> u64 {
        self.calls.saturating_sub(self.failures)
    }
}

impl Add for Totals {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(other.calls),
            failures: self.failures.saturating_add(other.failures),
            slow: self.slow.saturating_add(other.slow),
        }
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Totals {
    fn sub_assign(&mut self, other: Self) {
        self.calls = self.calls.saturating_sub(other.calls);
        self.failures = self.failures.saturating_sub(other.failures);
        self.slow = self.slow.saturating_sub(other.slow);
    }
}

/// What of some totals was looked at.
#[derive(Clone, Copy, Debug)]
pub struct Tracker {
    seen: Totals,
}

impl Tracker {
    /// Looks at what comes after these totals: what was counted before a machine was made is not its concern.
    pub fn new(totals: Totals) -> Self {
        Self { seen: totals }
    }

    /// What is new, each call once.
    ///
    /// An older reading that comes late adds nothing. A failure whose call is not counted yet is left for the next
    /// reading, so `failures` and `slow` never exceed `calls`.
    pub fn advance(&mut self, totals: Totals) -> Totals {
        let calls = totals.calls.saturating_sub(self.seen.calls);
        let new = Totals {
            calls,
            failures: totals.failures.saturating_sub(self.seen.failures).min(calls),
            slow: totals.slow.saturating_sub(self.seen.slow).min(calls),
        };
        self.seen += new;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn totals(calls: u64, failures: u64, slow: u64) -> Totals {
        Totals {
            calls,
            failures,
            slow,
        }
    }

    #[test]
    fn each_call_is_seen_once_with_its_outcome() {
        let rows: &[(&str, &[Totals], Totals)] = &[
            (
                "what was before does not count",
                &[totals(10, 5, 5)],
                totals(0, 0, 0),
            ),
            ("growth counts", &[totals(12, 6, 5)], totals(2, 1, 0)),
            (
                "in parts as at once",
                &[totals(11, 5, 5), totals(12, 6, 5)],
                totals(2, 1, 0),
            ),
            (
                "an older reading adds nothing",
                &[totals(12, 6, 5), totals(11, 5, 5)],
                totals(2, 1, 0),
            ),
            (
                "a failure waits for its call",
                &[totals(10, 6, 5)],
                totals(0, 0, 0),
            ),
            (
                "and is seen with it",
                &[totals(10, 6, 5), totals(11, 6, 5)],
                totals(1, 1, 0),
            ),
            (
                "a counter that restarts is nothing new",
                &[totals(0, 0, 0)],
                totals(0, 0, 0),
            ),
        ];
        for (what, readings, expected) in rows {
            let mut tracker = Tracker::new(totals(10, 5, 5));
            let mut sum = Totals::default();
            for reading in *readings {
                sum += tracker.advance(*reading);
            }
            assert_eq!(sum, *expected, "{what}");
        }
    }
}
