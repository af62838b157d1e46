//! Which endpoint takes a request: smooth weighted round robin over those that may get traffic.
//!
//! Each worker picks for itself, so nobody waits for anybody. Smooth: weights 5, 1, 1 give a, a, b, a, c, a, a
//! and not five times the first in a row. Source: the algorithm of nginx,
//! <https://github.com/phusion/nginx/commit/27e94984486058d73157038f7950a0a36ecc6e35>.

use std::cell::Cell;

use crate::registry::Readiness;

/// An endpoint, as far as a pick needs to know it.
pub(crate) trait Candidate {
    /// 1 to 1000.
    fn weight(&self) -> u32;
    /// What the checks know.
    fn readiness(&self) -> Readiness;
}

/// Whether an endpoint was picked though its checks fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Known or presumed good.
    Normal,
    /// All fail: they are used all the same, for a check may be wrong and no traffic helps nobody.
    Panic,
}

/// One worker's turn among an upstream's endpoints.
#[derive(Debug)]
pub(crate) struct RoundRobin {
    /// How far each is ahead of its turn; in the order of the endpoints.
    ahead: Box<[Cell<i64>]>,
}

impl RoundRobin {
    /// Each worker begins at another endpoint, so that few requests do not all reach the first.
    pub(crate) fn new<C: Candidate>(endpoints: &[C], worker: usize) -> Self {
        let turn = Self {
            ahead: endpoints.iter().map(|_| Cell::new(0)).collect(),
        };
        for _ in 0..worker.checked_rem(endpoints.len()).unwrap_or(0) {
            turn.next(endpoints, |_| true);
        }
        turn
    }

    /// The next one that was not `tried`: among the ready, else the unknown, else all.
    pub(crate) fn pick<C: Candidate>(&self, endpoints: &[C], tried: &[usize]) -> Option<(usize, Mode)> {
        let mut best = None;
        for (index, endpoint) in endpoints.iter().enumerate() {
            if !tried.contains(&index) {
                best = best.max(Some(rank(endpoint.readiness())));
            }
        }
        let best = best?;
        let mode = if best == rank(Readiness::Failing) {
            Mode::Panic
        } else {
            Mode::Normal
        };
        let index = self.next(endpoints, |index| {
            !tried.contains(&index) && endpoints.get(index).is_some_and(|e| rank(e.readiness()) >= best)
        })?;
        Some((index, mode))
    }

    fn next<C: Candidate>(&self, endpoints: &[C], may: impl Fn(usize) -> bool) -> Option<usize> {
        let mut total = 0;
        let mut best: Option<(usize, i64)> = None;
        for (index, (endpoint, ahead)) in endpoints.iter().zip(&self.ahead).enumerate() {
            if !may(index) {
                continue;
            }
            let weight = i64::from(endpoint.weight());
            total += weight;
            let now = ahead.get().saturating_add(weight);
            ahead.set(now);
            if best.is_none_or(|(_, most)| now > most) {
                best = Some((index, now));
            }
        }
        let (index, most) = best?;
        self.ahead.get(index)?.set(most.saturating_sub(total));
        Some(index)
    }
}

fn rank(readiness: Readiness) -> u8 {
    match readiness {
        Readiness::Failing => 0,
        Readiness::Unknown => 1,
        Readiness::Ready => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Readiness::{Failing, Ready, Unknown};

    impl Candidate for (u32, Readiness) {
        fn weight(&self) -> u32 {
            self.0
        }

        fn readiness(&self) -> Readiness {
            self.1
        }
    }

    fn picks(endpoints: &[(u32, Readiness)], count: usize) -> Vec<usize> {
        let turn = RoundRobin::new(endpoints, 0);
        (0..count).map(|_| turn.pick(endpoints, &[]).unwrap().0).collect()
    }

    #[test]
    fn weights_are_shares_and_turns_are_smooth() {
        let ready = |weight| (weight, Ready);
        assert_eq!(picks(&[ready(5), ready(1), ready(1)], 7), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(picks(&[ready(1), ready(1), ready(1)], 6), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn unknown_ones_wait_for_the_ready_and_failing_ones_for_all() {
        assert_eq!(picks(&[(1, Unknown), (1, Ready), (1, Failing)], 3), [1, 1, 1]);
        assert_eq!(
            picks(&[(1, Unknown), (1, Unknown), (1, Failing)], 4),
            [0, 1, 0, 1]
        );
        assert_eq!(picks(&[(1, Failing), (1, Failing)], 4), [0, 1, 0, 1]);
        let turn = RoundRobin::new(&[(1, Failing)], 0);
        assert_eq!(turn.pick(&[(1, Failing)], &[]), Some((0, Mode::Panic)));
    }

    #[test]
    fn tried_ones_are_left_out_until_none_is_left() {
        let endpoints = [(1, Ready), (1, Unknown), (1, Failing)];
        let turn = RoundRobin::new(&endpoints, 0);
        assert_eq!(turn.pick(&endpoints, &[0]), Some((1, Mode::Normal)));
        assert_eq!(turn.pick(&endpoints, &[0, 1]), Some((2, Mode::Panic)));
        assert_eq!(turn.pick(&endpoints, &[0, 1, 2]), None);
        assert_eq!(
            RoundRobin::new::<(u32, Readiness)>(&[], 3).pick::<(u32, Readiness)>(&[], &[]),
            None
        );
    }

    #[test]
    fn workers_begin_at_different_endpoints() {
        let endpoints = [(1, Ready), (1, Ready)];
        let first = |worker| {
            RoundRobin::new(&endpoints, worker)
                .pick(&endpoints, &[])
                .unwrap()
                .0
        };
        assert_eq!([first(0), first(1), first(2)], [0, 1, 0]);
    }
}
