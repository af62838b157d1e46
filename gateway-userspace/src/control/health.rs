//! Whether this node may get traffic, and if not, why: kept where the admin API reads it without asking anybody.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Panics in this time ...
const PANICS_WINDOW: Duration = Duration::from_secs(60);
/// ... beyond which the node is not fit to serve.
const PANICS_MAX: u64 = 10;

/// The reasons why the node may not get traffic; none where it may.
#[derive(Debug)]
pub struct Reasons(Mutex<Vec<String>>);

impl Default for Reasons {
    fn default() -> Self {
        Self(Mutex::new(vec!["the node is starting".to_owned()]))
    }
}

impl Reasons {
    /// Replaces them. A change is an event.
    pub fn set(&self, reasons: Vec<String>) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *now == reasons {
            return;
        }
        if reasons.is_empty() {
            tracing::info!("the node is ready");
        } else {
            tracing::info!(reasons = reasons.join("; "), "the node is not ready");
        }
        *now = reasons;
    }

    /// All of them.
    pub fn get(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Panics of the last minute, from a counter that only grows.
#[derive(Debug, Default)]
pub struct Panics {
    seen: VecDeque<(Instant, u64)>,
}

impl Panics {
    /// Takes the counter's value at that time; says how many panics came in the window, if those are too many.
    pub fn too_many(&mut self, now: Instant, total: u64) -> Option<u64> {
        self.seen.push_back((now, total));
        while self.seen.front().is_some_and(|(at, _)| now.duration_since(*at) > PANICS_WINDOW) {
            self.seen.pop_front();
        }
        let before = self.seen.front().map_or(total, |(_, total)| *total);
        let recent = total.saturating_sub(before);
        (recent > PANICS_MAX).then_some(recent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_count_for_a_minute() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut panics = Panics::default();
        assert_eq!(panics.too_many(at(0), 100), None, "what was before the start does not count");
        assert_eq!(panics.too_many(at(10), 110), None);
        assert_eq!(panics.too_many(at(20), 111), Some(11));
        assert_eq!(panics.too_many(at(81), 112), None, "a minute later, the first ten are forgotten");
    }
}
