//! Slow start: a new endpoint, or one whose breaker closes again, gets its traffic little by little.

use super::SHARE_WHOLE;

/// The share at the start: 10%, so that even a quiet upstream sends it requests to warm up by.
const SHARE_START: u64 = 100;

/// Per mille of its weight for an endpoint that has been in for `since_ms` of `window_ms`.
///
/// It rises linearly; a window of 0 is none. Source: Envoy's slow start with an aggression of 1.
pub fn share(since_ms: u64, window_ms: u64) -> u16 {
    let whole = u64::from(SHARE_WHOLE);
    if since_ms >= window_ms {
        return SHARE_WHOLE;
    }
    let risen = u128::from(since_ms) * u128::from(whole) / u128::from(window_ms);
    u16::try_from(risen)
        .unwrap_or(SHARE_WHOLE)
        .max(SHARE_START as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_rises_from_a_tenth_to_the_whole() {
        for (since, window, expected, description) in [
            (0, 0, 1000, "no window"),
            (0, 60_000, 100, "at once"),
            (5_999, 60_000, 100, "not less than a tenth"),
            (6_060, 60_000, 101, "from there on linearly"),
            (30_000, 60_000, 500, "half"),
            (59_999, 60_000, 999, "nearly all"),
            (60_000, 60_000, 1000, "the window is over"),
            (u64::MAX, 60_000, 1000, "long over"),
            (u64::MAX - 1, u64::MAX, 999, "the longest window there is"),
        ] {
            assert_eq!(share(since, window), expected, "{description}");
        }
    }
}
