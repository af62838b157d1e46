//! The better of two at random: nearly as even as the best of all, in O(log n), and without all workers running to
//! the same endpoint at once.
//!
//! Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001; costs as in Finagle's
//! `PeakEwma`. Both are drawn by weight, and where they are equally good the first is taken: so weights hold while
//! nobody is busy, too.

use super::level::{Entry, Level};
use super::turn::Busy;
use super::{Loads, mix};

/// Microseconds that an answer is taken to need from an endpoint that has requests under way but gave none yet: a new
/// one gets one request at first, and not all there are until that one has ended. Long, but not for ever.
const UNKNOWN_LATENCY_US: u32 = 1_000_000;

/// By how much the second must be cheaper, as a part: an eighth.
///
/// Two endpoints that are equally fast never cost the same: the one that was asked longer ago has faded a little more.
/// Without this it would always win, and weights would mean nothing while nobody is busy.
const CHEAPER_BY: u128 = 8;

/// The less busy of two.
pub(super) fn two_choices(level: &Level, loads: &impl Loads, bits: u64, tried: &[usize]) -> Option<usize> {
    better(level, bits, tried, |first, second| {
        Busy::of(second, loads).is_less_than(Busy::of(first, loads))
    })
}

/// The cheaper of two.
pub(super) fn peak_ewma(level: &Level, loads: &impl Loads, bits: u64, tried: &[usize]) -> Option<usize> {
    let mean = (level.weight() / (level.entries.len() as u64).max(1)).max(1);
    better(level, bits, tried, |first, second| {
        let (first, second) = (Cost::of(first, loads, mean), Cost::of(second, loads, mean));
        second.is_clearly_less_than(first)
    })
}

fn better(
    level: &Level,
    bits: u64,
    tried: &[usize],
    is_second_better: impl Fn(&Entry, &Entry) -> bool,
) -> Option<usize> {
    let (first, second) = level.draw_two([bits, mix(bits)], tried)?;
    match second {
        Some(second) if is_second_better(first, second) => Some(second.index),
        _ => Some(first.index),
    }
}

/// Latency times one more than the requests under way for a mean weight, as a fraction.
///
/// Finagle multiplies by the requests and this one; by weight, that would starve light endpoints while nobody is busy.
#[derive(Clone, Copy, Debug)]
struct Cost {
    over: u128,
    under: u128,
}

impl Cost {
    fn of(entry: &Entry, loads: &impl Loads, mean: u64) -> Self {
        let active = u64::from(loads.active(entry.index));
        let latency = match loads.latency(entry.index) {
            0 if active > 0 => UNKNOWN_LATENCY_US,
            known => known,
        };
        let weight = u64::from(entry.weight);
        Self {
            over: u128::from(latency) * (u128::from(weight) + u128::from(active) * u128::from(mean)),
            under: u128::from(weight),
        }
    }

    /// 32 bits of latency, 52 of requests and weight, 20 of weight and 3 of the part do not overflow.
    fn is_clearly_less_than(self, other: Self) -> bool {
        self.over * other.under * CHEAPER_BY < other.over * self.under * (CHEAPER_BY - 1)
    }
}
