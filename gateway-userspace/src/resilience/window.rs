//! Calls of the last while, in buckets of time, so that old outcomes leave in steps and nothing is kept per call.
//!
//! Source: the time-based sliding window of resilience4j. It decides nothing: `breaker` and `outliers` do.

use std::time::Duration;

use super::Totals;

/// Buckets of a window: the oldest tenth leaves at once.
pub const BUCKETS: usize = 10;
/// The narrowest bucket: a shorter one would be younger than the readings that fill it.
const BUCKET_MIN: Duration = Duration::from_millis(1);

/// What was counted in the last `length`: between nine and ten tenths of it, as the current bucket is not full.
#[derive(Clone, Debug)]
pub struct Window {
    bucket: Duration,
    buckets: [Totals; BUCKETS],
    /// Sum of the buckets.
    sum: Totals,
    /// Number of the current bucket since the origin of time.
    current: u128,
}

impl Window {
    /// An empty one; less than [`BUCKETS`] milliseconds is taken as that.
    pub fn new(length: Duration) -> Self {
        Self {
            bucket: (length / BUCKETS as u32).max(BUCKET_MIN),
            buckets: [Totals::default(); BUCKETS],
            sum: Totals::default(),
            current: 0,
        }
    }

    /// The time that it covers.
    pub fn length(&self) -> Duration {
        self.bucket * BUCKETS as u32
    }

    /// Counts these calls as of now. A `now` that lies before the last one counts as the last one.
    pub fn add(&mut self, calls: Totals, now: Duration) {
        self.advance(now);
        if let Some(bucket) = self.buckets.get_mut(slot(self.current)) {
            *bucket += calls;
            self.sum += calls;
        }
    }

    /// What is in it at that time.
    pub fn sum(&mut self, now: Duration) -> Totals {
        self.advance(now);
        self.sum
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.buckets = [Totals::default(); BUCKETS];
        self.sum = Totals::default();
    }

    fn advance(&mut self, now: Duration) {
        let target = now.as_nanos() / self.bucket.as_nanos().max(1);
        let passed = target.saturating_sub(self.current);
        if passed >= BUCKETS as u128 {
            self.clear();
        } else {
            for number in self.current + 1..=self.current + passed {
                if let Some(bucket) = self.buckets.get_mut(slot(number)) {
                    self.sum -= std::mem::take(bucket);
                }
            }
        }
        self.current += passed;
    }
}

fn slot(number: u128) -> usize {
    (number % BUCKETS as u128) as usize
}

#[cfg(test)]
mod tests {
    use super::super::seeded::Seeded;
    use super::*;

    #[test]
    fn calls_leave_after_the_window() {
        let rows: &[(&str, &[u64], u64, u64)] = &[
            ("nothing at first", &[], 0, 0),
            ("now", &[0], 0, 1),
            ("just inside", &[0], 9_999, 1),
            ("just outside", &[0], 10_000, 0),
            ("bucket by bucket", &[0, 1_000, 5_500], 11_000, 1),
            ("the current bucket counts", &[9_000, 9_999], 9_999, 2),
            ("after a long silence", &[1, 2, 3], 10_000_000, 0),
            (
                "a clock that goes back counts as standing",
                &[9_000, 100],
                9_000,
                2,
            ),
        ];
        for (what, at, then, expected) in rows {
            let mut window = Window::new(Duration::from_secs(10));
            let call = Totals {
                calls: 1,
                ..Totals::default()
            };
            for at in *at {
                window.add(call, Duration::from_millis(*at));
            }
            assert_eq!(
                window.sum(Duration::from_millis(*then)).calls,
                *expected,
                "{what}"
            );
        }
    }

    #[test]
    fn sum_equals_a_full_count_of_the_buckets_covered() {
        for seed in 0..50 {
            let mut random = Seeded::new(seed);
            let mut window = Window::new(Duration::from_millis(1_000));
            let mut all: Vec<(u64, Totals)> = Vec::new();
            let mut now = 0;
            for _ in 0..500 {
                now += if random.percent(2) {
                    random.below(3_000)
                } else {
                    random.below(40)
                };
                let calls = random.below(5);
                let added = Totals {
                    calls,
                    failures: random.below(calls + 1),
                    slow: random.below(calls + 1),
                };
                all.push((now / 100, added));
                window.add(added, Duration::from_millis(now));
                let expected = all
                    .iter()
                    .filter(|(bucket, _)| bucket + 10 > now / 100)
                    .fold(Totals::default(), |sum, (_, calls)| sum + *calls);
                assert_eq!(
                    window.sum(Duration::from_millis(now)),
                    expected,
                    "seed {seed} at {now}"
                );
            }
        }
    }

    #[test]
    fn windows_of_no_length_do_not_fail() {
        let mut window = Window::new(Duration::ZERO);
        assert_eq!(window.length(), Duration::from_millis(10));
        assert_eq!(window.sum(Duration::MAX), Totals::default());
    }
}
