//! Turns by weight: smooth round robin, and the least busy one with turns among equals.
//!
//! Smooth: weights 5, 1, 1 give a, a, b, a, c, a, a and not five times the first in a row. Source: the algorithm of
//! nginx, <https://github.com/phusion/nginx/commit/27e94984486058d73157038f7950a0a36ecc6e35>, and its `least_conn`,
//! which takes turns among equals in the same way.

use std::cell::Cell;

use super::Loads;
use super::level::Entry;

/// How far each member is ahead of its turn, by index; in thousandths of a weight of 1.
#[derive(Debug)]
pub(super) struct Turn {
    ahead: Box<[Cell<i64>]>,
}

impl Turn {
    pub(super) fn new(members: usize) -> Self {
        Self {
            ahead: (0..members).map(|_| Cell::new(0)).collect(),
        }
    }

    /// Whose turn it is, among those that may. O(n), without a division.
    pub(super) fn next(&self, entries: &[Entry], may: impl Fn(&Entry) -> bool) -> Option<usize> {
        let mut total = 0;
        let mut best: Option<(&Cell<i64>, usize, i64)> = None;
        for entry in entries.iter().filter(|entry| may(entry)) {
            let Some(cell) = self.ahead.get(entry.index) else {
                continue;
            };
            let weight = i64::from(entry.weight);
            total += weight;
            let now = cell.get().saturating_add(weight);
            cell.set(now);
            if best.is_none_or(|(_, _, most)| now > most) {
                best = Some((cell, entry.index, now));
            }
        }
        let (cell, index, most) = best?;
        cell.set(most.saturating_sub(total));
        Some(index)
    }

    /// Who has the fewest requests under way for its weight. O(n).
    pub(super) fn least(
        &self,
        entries: &[Entry],
        loads: &impl Loads,
        may: impl Fn(&Entry) -> bool,
    ) -> Option<usize> {
        let mut best: Option<(usize, Busy)> = None;
        for entry in entries.iter().filter(|entry| may(entry)) {
            let busy = Busy::of(entry, loads);
            if best.is_none_or(|(_, least)| busy.is_less_than(least)) {
                best = Some((entry.index, busy));
            }
        }
        let (index, least) = best?;
        let equal = |entry: &Entry| may(entry) && !least.is_less_than(Busy::of(entry, loads));
        // Other workers may have given them all more in the meantime: then the one that was found will do.
        self.next(entries, equal).or(Some(index))
    }
}

/// Requests under way for a weight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Busy {
    active: u64,
    weight: u64,
}

impl Busy {
    pub(super) fn of(entry: &Entry, loads: &impl Loads) -> Self {
        Self {
            active: u64::from(loads.active(entry.index)),
            weight: u64::from(entry.weight),
        }
    }

    /// Compares the ratios; 32 bits of requests times 20 of weight do not overflow.
    pub(super) fn is_less_than(self, other: Self) -> bool {
        self.active * other.weight < other.active * self.weight
    }
}
