//! How many retries may be under way: a share of what is live, so that retries cannot become the load that they answer.
//!
//! A retry counts from the moment it is decided on, so through its back-off, until it ends. Source: the retry budgets of
//! Finagle and of Envoy (`retry_budget`), whose figures are the defaults here.

use super::limits::{Count, Permit};

/// What share of the live requests may be retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Of a thousand live requests.
    pub share_per_mille: u32,
    /// Retries at once that are allowed however little is live.
    pub retries_min: u32,
}

impl Default for Budget {
    /// A fifth, and three at least.
    fn default() -> Self {
        Self {
            share_per_mille: 200,
            retries_min: 3,
        }
    }
}

impl Budget {
    /// Retries that may be under way at once while `active` requests are live, those in back-off included.
    pub fn limit(&self, active: u32) -> u32 {
        let share = u64::from(active) * u64::from(self.share_per_mille) / 1_000;
        u32::try_from(share).unwrap_or(u32::MAX).max(self.retries_min)
    }

    /// Whether one more may begin.
    pub fn may_retry(&self, active: u32, retrying: u32) -> bool {
        retrying < self.limit(active)
    }

    /// A retry's place in the count of an upstream, to be held through its back-off until it ended.
    ///
    /// Exact for the `active` given: no two threads get the last place.
    pub fn try_retry(&self, active: u32, retrying: &Count) -> Option<Permit> {
        retrying.try_acquire(self.limit(active))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use super::super::seeded::Seeded;
    use super::*;

    #[test]
    fn retries_are_a_share_of_what_is_live_and_a_minimum() {
        let budget = Budget::default();
        let rows = [
            ("idle: the minimum", 0, 2, true),
            ("idle: no more", 0, 3, false),
            ("the minimum is not added to the share", 15, 3, false),
            ("above it the share counts", 20, 3, true),
            ("of a hundred a fifth", 100, 19, true),
            ("and no more", 100, 20, false),
            ("rounded down", 104, 20, false),
            ("no overflow", u32::MAX, 858_993_458, true),
        ];
        for (what, active, retrying, expected) in rows {
            assert_eq!(budget.may_retry(active, retrying), expected, "{what}");
        }
        let none = Budget {
            share_per_mille: 0,
            retries_min: 0,
        };
        assert!(!none.may_retry(1_000, 0), "a budget of nothing allows nothing");
        let all = Budget {
            share_per_mille: u32::MAX,
            retries_min: 0,
        };
        assert_eq!(all.limit(u32::MAX), u32::MAX, "no overflow either");
    }

    #[test]
    fn budget_is_never_exceeded_in_any_order_of_beginnings_and_ends() {
        for seed in 0..50 {
            let mut random = Seeded::new(seed);
            let budget = Budget {
                share_per_mille: random.below(500) as u32,
                retries_min: random.below(4) as u32,
            };
            let retrying = Count::default();
            let mut held = Vec::new();
            for _ in 0..2_000 {
                let active = random.below(300) as u32;
                let before = retrying.taken();
                match random.below(3) {
                    0 if !held.is_empty() => drop(held.swap_remove(random.below(held.len() as u64) as usize)),
                    _ => {
                        let permit = budget.try_retry(active, &retrying);
                        assert_eq!(permit.is_some(), budget.may_retry(active, before), "seed {seed}");
                        assert!(
                            permit.is_none() || retrying.taken() <= budget.limit(active),
                            "seed {seed}"
                        );
                        held.extend(permit);
                    }
                }
                assert_eq!(retrying.taken() as usize, held.len(), "seed {seed}");
            }
        }
    }

    #[test]
    fn threads_never_exceed_the_budget() {
        const ACTIVE: u32 = 25;
        let budget = Budget::default();
        let retrying = Count::default();
        let inside = AtomicU32::new(0);
        let most = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let Some(permit) = budget.try_retry(ACTIVE, &retrying) else {
                            continue;
                        };
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(permit);
                    }
                });
            }
        });
        assert!(most.into_inner() <= budget.limit(ACTIVE));
        assert_eq!(retrying.taken(), 0);
    }
}
