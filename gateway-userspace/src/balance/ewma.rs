//! An endpoint's latency as one word: rises at once to a peak, and decays with time.
//!
//! Source: Twitter's Finagle, `PeakEwma`. A mean that rises slowly sends a hundred requests to an endpoint that has just
//! become slow; a peak sends one. Decay, also while nothing is sent, lets it back.

/// How latencies are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ewma {
    /// After how many milliseconds a memory has faded to 1/e.
    pub tau_ms: u32,
    /// What a failure counts as, in microseconds, if it took less: who fails fast must not look fast.
    pub failure_us: u32,
}

/// How many times [`Ewma::failure_us`] a failure counts as at most: as it fades exponentially, each doubling keeps an
/// endpoint away for 0.7 times tau more, and all of them for 4.2 times.
const FAILURES_MAX: u32 = 64;

/// What is left of a failure while others count as the same: after a hundredth of tau.
const KEPT_WITHIN_ONE: f64 = 0.99;

impl Default for Ewma {
    /// 10 s, as Finagle and Linkerd have it; a failure is a second, 200 times an answer of 5 ms: such an endpoint is
    /// asked again after some 50 s (5.3 times tau), or sooner if the others are that busy.
    fn default() -> Self {
        Self {
            tau_ms: 10_000,
            failure_us: 1_000_000,
        }
    }
}

impl Ewma {
    /// The word after an answer that took `sample_us`; 0 is the word of an endpoint that nothing is known of.
    ///
    /// For [`AtomicU64::fetch_update`](std::sync::atomic::AtomicU64::fetch_update), or a load and a store: a sample that
    /// is lost to another worker's does no harm. `now_ms` counts from anywhere. Several samples of one millisecond
    /// count once, but for peaks.
    pub fn observe(self, word: u64, now_ms: u64, sample_us: u32) -> u64 {
        let sample = sample_us.max(1);
        let (before, _) = unpack(word);
        let kept = self.kept(word, now_ms);
        let latency = if sample >= before {
            sample
        } else {
            // Between the two, so it fits.
            (f64::from(sample) * (1.0 - kept) + f64::from(before) * kept) as u32
        };
        pack(latency, now_ms)
    }

    /// The word after a failure: as if it had taken long, and ever longer while nothing else is heard of the endpoint.
    ///
    /// Twice as long as the failure before, up to 64 times; those within a hundredth of tau are one, as when an endpoint
    /// dies with many requests under way.
    pub fn observe_failure(self, word: u64, now_ms: u64, sample_us: u32) -> u64 {
        let (before, _) = unpack(word);
        let is_known = before >= self.failure_us;
        if is_known && sample_us <= before && self.kept(word, now_ms) > KEPT_WITHIN_ONE {
            return word;
        }
        let longest = self.failure_us.saturating_mul(FAILURES_MAX);
        let failure = if is_known {
            before.saturating_mul(2).min(longest)
        } else {
            self.failure_us
        };
        self.observe(word, now_ms, sample_us.max(failure))
    }

    /// Microseconds, decayed until now; 0 where nothing is known, or no more.
    pub fn read(self, word: u64, now_ms: u64) -> u32 {
        let (latency, _) = unpack(word);
        (f64::from(latency) * self.kept(word, now_ms)) as u32
    }

    /// How much of the word's latency is left, 0 to 1.
    fn kept(self, word: u64, now_ms: u64) -> f64 {
        let (_, at) = unpack(word);
        let passed = (now_ms as u32).wrapping_sub(at);
        // More than half of what 32 bits count is the past of another worker's clock, which read it a little later.
        if passed == 0 || passed > u32::MAX / 2 {
            return 1.0;
        }
        (-f64::from(passed) / f64::from(self.tau_ms.max(1))).exp()
    }
}

/// Microseconds above, milliseconds below: these go round after 49 days, after which an endpoint that got nothing for
/// that long may seem to have been asked just now.
fn pack(latency_us: u32, now_ms: u64) -> u64 {
    u64::from(latency_us) << 32 | u64::from(now_ms as u32)
}

fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EWMA: Ewma = Ewma {
        tau_ms: 1000,
        failure_us: 1_000_000,
    };

    #[test]
    fn a_peak_is_taken_at_once_and_fades_with_time() {
        for (samples, at, expected, description) in [
            (&[][..], 5, 0..=0, "nothing known"),
            (&[(0, 5_000)][..], 0, 5_000..=5_000, "the first sample"),
            (&[(0, 5_000), (1, 90_000)], 1, 90_000..=90_000, "a peak"),
            (
                &[(0, 90_000), (0, 5_000)],
                0,
                90_000..=90_000,
                "no time has passed",
            ),
            (
                &[(0, 90_000)],
                1000,
                33_000..=33_200,
                "1/e after tau, without a sample",
            ),
            (&[(0, 90_000)], 20_000, 0..=0, "forgotten"),
            (
                &[(0, 90_000), (5_000, 5_000)],
                5_000,
                5_000..=5_700,
                "good samples bring it down",
            ),
            (
                &[(7, 90_000)],
                6,
                90_000..=90_000,
                "a clock that is a little behind",
            ),
            (
                &[(0xffff_ffff, 90_000)],
                0x1_0000_03e7,
                33_000..=33_200,
                "milliseconds go round",
            ),
            (&[(0, 0)], 0, 1..=1, "an answer at once is still known"),
            (
                &[(0, u32::MAX), (1, u32::MAX)],
                1,
                u32::MAX..=u32::MAX,
                "the longest there is",
            ),
        ] {
            let word = samples
                .iter()
                .fold(0, |word, (now, us)| EWMA.observe(word, *now, *us));
            let found = EWMA.read(word, at);
            assert!(expected.contains(&found), "{description}: {found}");
        }
    }

    #[test]
    fn a_failure_is_a_long_latency_however_fast_it_came() {
        for (took, expected) in [(10, 1_000_000), (3_000_000, 3_000_000)] {
            assert_eq!(EWMA.read(EWMA.observe_failure(0, 9, took), 9), expected);
        }
    }

    #[test]
    fn failures_count_for_more_while_nothing_else_is_heard() {
        let all = |times: &[u64]| {
            times
                .iter()
                .fold(0, |word, now| EWMA.observe_failure(word, *now, 10))
        };
        for (times, expected, description) in [
            (&[0, 1, 2, 3, 9][..], 991_040, "many at once"),
            (&[0, 2_000, 4_000], 4_000_000, "three in turn"),
            (
                &[0, 200, 400, 600, 800, 1_000, 1_200, 1_400],
                64_000_000,
                "many in turn",
            ),
        ] {
            let last = *times.last().unwrap();
            assert_eq!(EWMA.read(all(times), last), expected, "{description}");
        }
        let healed = EWMA.observe(all(&[0, 200, 400]), 6_000, 5_000);
        assert!(EWMA.read(healed, 6_000) < 30_000, "an answer counts at once");
        assert_eq!(
            EWMA.read(EWMA.observe_failure(healed, 7_000, 10), 7_000),
            1_000_000
        );
    }
}
