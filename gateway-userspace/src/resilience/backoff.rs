//! How long a retry waits: a random part of a bound that doubles with each attempt, or what the endpoint asked for.
//!
//! Source: full jitter, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015); `Retry-After`, RFC 9110, section 10.2.3,
//! whose seconds or date the caller has made a duration.

use std::time::Duration;

/// Doublings that are computed; the bound is reached long before.
const DOUBLINGS_MAX: u32 = 31;

/// How to wait between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Longest wait before the first retry; with none, no retry waits of its own accord.
    pub base: Duration,
    /// Longest wait before any.
    pub max: Duration,
    /// Longest `Retry-After` that is waited for; a longer one ends the tries.
    pub retry_after_max: Duration,
}

impl Default for Backoff {
    /// 25 ms and 250 ms, as in Envoy; an endpoint may ask for 1 s, as the client waits too.
    fn default() -> Self {
        Self {
            base: Duration::from_millis(25),
            max: Duration::from_millis(250),
            retry_after_max: Duration::from_secs(1),
        }
    }
}

/// What becomes of a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Try again after this.
    For(Duration),
    /// The endpoint asked for more patience than there is: answer with what came.
    TooLong,
}

impl Backoff {
    /// The wait before the retry of that number, the first being 0; `random` is any number, uniform.
    ///
    /// Anything from nothing up to `min(max, base × 2^retry)`.
    pub fn delay(&self, retry: u32, random: u64) -> Duration {
        let bound = self
            .base
            .saturating_mul(1 << retry.min(DOUBLINGS_MAX))
            .min(self.max);
        part(bound, random)
    }

    /// The same where the endpoint may have asked to wait: for as long as it asked and then a jittered while, so that
    /// those who were told the same do not come back together; at most `retry_after_max + max`.
    pub fn wait(&self, retry: u32, random: u64, retry_after: Option<Duration>) -> Wait {
        let delay = self.delay(retry, random);
        match retry_after {
            None => Wait::For(delay),
            Some(asked) if asked <= self.retry_after_max => Wait::For(asked.saturating_add(delay)),
            Some(_) => Wait::TooLong,
        }
    }
}

/// That part of `whole` which `random` is of all numbers.
pub(super) fn part(whole: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(((u128::from(nanos) * u128::from(random)) >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::super::seeded::Seeded;
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn bound_doubles_up_to_the_maximum() {
        let backoff = Backoff::default();
        let rows = [
            (0, 25),
            (1, 50),
            (2, 100),
            (3, 200),
            (4, 250),
            (5, 250),
            (u32::MAX, 250),
        ];
        for (retry, bound) in rows {
            assert_eq!(backoff.delay(retry, 0), Duration::ZERO, "retry {retry}, least");
            let most = backoff.delay(retry, u64::MAX);
            assert!(
                most < ms(bound) && most > ms(bound) * 99 / 100,
                "retry {retry}: {most:?}"
            );
            let half = backoff.delay(retry, 1 << 63);
            assert_eq!(half, ms(bound) / 2, "retry {retry}, half");
        }
    }

    #[test]
    fn waits_are_spread_evenly_below_the_bound() {
        let mut random = Seeded::new(1);
        let mut tenths = [0_u32; 10];
        for _ in 0..100_000 {
            let delay = Backoff::default().delay(2, random.number());
            tenths[(delay.as_micros() / 10_000) as usize] += 1;
        }
        assert!(
            tenths.iter().all(|count| (9_500..10_500).contains(count)),
            "{tenths:?}"
        );
    }

    #[test]
    fn a_base_of_nothing_waits_for_nothing_but_what_the_endpoint_asked_for() {
        let backoff = Backoff {
            base: Duration::ZERO,
            ..Backoff::default()
        };
        for retry in [0, 1, 5, u32::MAX] {
            assert_eq!(backoff.wait(retry, u64::MAX, None), Wait::For(Duration::ZERO));
            assert_eq!(backoff.wait(retry, u64::MAX, Some(ms(7))), Wait::For(ms(7)));
        }
        let deaf = Backoff {
            retry_after_max: Duration::ZERO,
            ..backoff
        };
        assert_eq!(deaf.wait(0, 1, Some(ms(1))), Wait::TooLong);
    }

    #[test]
    fn retry_after_is_honoured_within_its_bound() {
        let rows = [
            ("none asked", None, Wait::For(ms(25) / 2)),
            ("none at all asked", Some(ms(0)), Wait::For(ms(25) / 2)),
            (
                "asked within the bound",
                Some(ms(500)),
                Wait::For(ms(500) + ms(25) / 2),
            ),
            (
                "asked for just the bound",
                Some(ms(1_000)),
                Wait::For(ms(1_000) + ms(25) / 2),
            ),
            ("asked for more", Some(ms(1_001)), Wait::TooLong),
            ("asked for for ever", Some(Duration::MAX), Wait::TooLong),
        ];
        for (what, asked, expected) in rows {
            assert_eq!(Backoff::default().wait(0, 1 << 63, asked), expected, "{what}");
        }
    }
}
