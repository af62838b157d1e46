//! How long to wait before a retry, and how many there may be.
//!
//! A retry is load that the upstream did not ask for: when all of it fails, retries multiply that. So those of requests
//! that were sent already are bounded to a share of the requests under way.
//! Sources: "Exponential Backoff And Jitter" (AWS architecture blog) for full jitter, Finagle's retry budgets.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::resolved::ResolvedUpstream;
use crate::config::snapshot::Retries;
use crate::registry::UpstreamState;

/// The wait before the retry that follows `retries` others: a random part, given in `[0, 1)`, of the back-off.
pub(super) fn backoff(rules: &Retries, retries: u32, random: f64) -> Duration {
    let factor = 1_u32.checked_shl(retries).unwrap_or(u32::MAX);
    let most = rules.backoff.saturating_mul(factor).min(rules.backoff_max);
    most.mul_f64(random.clamp(0.0, 1.0))
}

/// The right to one retry; it returns itself.
pub(super) struct Permit(Arc<UpstreamState>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.retrying.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ResolvedUpstream {
    /// The right to one more retry of a request that was sent already; exact for the node.
    pub(super) fn may_retry(&self) -> Option<Permit> {
        let budget = self.upstream.retry_budget;
        let live: u64 = self
            .endpoints
            .iter()
            .map(|endpoint| u64::from(endpoint.pool.state.active.load(Ordering::Relaxed)))
            .sum();
        let state = &self.upstream.state;
        let counted = state
            .retrying
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |retrying| {
                let allowed = retrying < budget.min || f64::from(retrying) < live as f64 * budget.share;
                allowed.then(|| retrying.saturating_add(1))
            });
        if counted.is_err() {
            self.counters.retries_denied.add(1);
            return None;
        }
        Some(Permit(Arc::clone(state)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_a_random_part_of_that() {
        let rules = Retries {
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_millis(300),
            ..Retries::default()
        };
        let rows = [
            (0, 1.0, 100),
            (0, 0.5, 50),
            (0, 0.0, 0),
            (1, 1.0, 200),
            (2, 1.0, 300),
            (40, 0.5, 150),
        ];
        for (retries, random, expected) in rows {
            let wait = backoff(&rules, retries, random);
            assert_eq!(wait, Duration::from_millis(expected), "{retries} {random}");
        }
    }
}
