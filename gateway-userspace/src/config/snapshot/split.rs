//! `route.split`: one route's requests among several upstreams, by weight.

use std::sync::Arc;

use super::{HashBy, Upstream};

/// Who takes which share of a route's requests.
#[derive(Debug)]
pub struct Split {
    /// In the file's order.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Of each, in the same order.
    pub shares: Shares,
    /// What keeps a client with its share; without, or where a request lacks it, chance decides.
    pub by: HashBy,
}

/// Weights, as the ends of parts of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares {
    ends: Box<[u32]>,
    total: u32,
}

impl Shares {
    /// Of these weights; `None`: all are 0, or there are none.
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Option<Self> {
        let mut total = 0_u32;
        let ends = weights.into_iter().map(|weight| {
            total = total.saturating_add(weight);
            total
        });
        let ends = ends.collect();
        (total > 0).then_some(Self { ends, total })
    }

    /// Whose part a key falls into, of keys that are spread evenly over all 64 bits.
    ///
    /// The parts lie on the line in their order, and the key at that fraction of it: where weights change, only the keys
    /// between the old end of a part and the new one go elsewhere.
    pub fn of(&self, key: u64) -> usize {
        let point = (u128::from(key) * u128::from(self.total)) >> 64;
        self.ends.partition_point(|end| u128::from(*end) <= point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 1,000 keys, evenly spread.
    fn counts(weights: &[u32]) -> Vec<usize> {
        let shares = Shares::new(weights.iter().copied()).unwrap();
        let mut counts = vec![0; weights.len()];
        for key in 0..1_000_u64 {
            counts[shares.of(key * (u64::MAX / 1_000))] += 1;
        }
        assert_eq!(shares.of(u64::MAX), weights.iter().rposition(|w| *w > 0).unwrap());
        counts
    }

    #[test]
    fn each_gets_what_it_weighs() {
        for (weights, expected) in [
            (&[95, 5][..], &[950, 50][..]),
            (&[1], &[1_000]),
            (&[0, 1, 0, 3, 0], &[0, 250, 0, 750, 0]),
            (&[1_000, 1_000], &[500, 500]),
        ] {
            for (got, expected) in counts(weights).into_iter().zip(expected) {
                assert!(got.abs_diff(*expected) <= 1, "{weights:?}: {got}");
                assert!(*expected > 0 || got == 0, "{weights:?}: weight 0 gets nothing");
            }
        }
        assert_eq!(Shares::new([0, 0]), None);
        assert_eq!(Shares::new([]), None);
    }

    #[test]
    fn a_changed_weight_moves_no_more_than_it_must() {
        let (old, new) = (Shares::new([95, 5]).unwrap(), Shares::new([180, 20]).unwrap());
        let moved = (0..1_000_u64)
            .map(|key| key * (u64::MAX / 1_000))
            .filter(|key| old.of(*key) != new.of(*key))
            .count();
        assert!((49..=51).contains(&moved), "{moved}");
    }
}
