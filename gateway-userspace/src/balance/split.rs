//! How traffic is split over levels: each takes what it can bear of what those above it left.
//!
//! Source: Envoy, "Priority levels" and "Panic threshold" in its architecture overview, in millionths instead of whole
//! per cent.

use super::{Mode, RosterTerms};

/// All traffic.
const WHOLE: u64 = 1_000_000;

/// What there is of a level, in weights.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strength {
    /// Of all members.
    pub(super) whole: u64,
    /// Of those that may be picked.
    pub(super) available: u64,
}

/// What a level gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    /// Millionths of all traffic.
    pub(super) load: u64,
    pub(super) mode: Mode,
}

/// Loads of the levels, in their order. All are 0 only if nobody may be picked.
///
/// Panic is only looked at when all levels together are too weak: else the others take what one cannot.
pub(super) fn split(levels: &[Strength], terms: &RosterTerms) -> Vec<Load> {
    let factor = u64::from(terms.overprovisioning_per_cent.max(100));
    let scores: Vec<u64> = levels.iter().map(|level| score(level, factor)).collect();
    let sum: u64 = scores.iter().sum();
    let threshold = u64::from(terms.panic_below_per_cent);
    let mut left = WHOLE;
    let mut loads: Vec<Load> = (levels.iter().zip(&scores))
        .map(|(level, score)| {
            let load = match sum {
                0 => 0,
                // Enough of all: the first ones take all that they can bear.
                WHOLE.. => (*score).min(left),
                _ => score * WHOLE / sum,
            };
            left -= load.min(left);
            let weak = level.available * 100 < threshold * level.whole;
            let mode = if sum < WHOLE && weak {
                Mode::Panic
            } else {
                Mode::Normal
            };
            Load { load, mode }
        })
        .collect();
    if sum == 0 && threshold > 0 {
        // Nobody is available: the first level has to bear it.
        let first = levels.iter().position(|level| level.whole > 0);
        if let Some(load) = first.and_then(|first| loads.get_mut(first)) {
            load.load = WHOLE;
        }
    }
    loads
}

/// What a level can bear, in millionths of all traffic.
fn score(level: &Strength, factor: u64) -> u64 {
    let scaled = WHOLE / 100 * factor * level.available;
    scaled.checked_div(level.whole).unwrap_or(0).min(WHOLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Per cent available of each level; per cent of the traffic and whether it panics, for each.
    type Row = (&'static [u64], &'static [(u64, Mode)]);

    use Mode::{Normal, Panic};

    /// The tables of Envoy's two pages. Left out are two rows of the second (50/60 and 25/100), which contradict the
    /// formula and the first page. 28 in the last row of three levels is what is left of 100 after rounding up.
    const ENVOY: [Row; 19] = [
        (&[100, 100], &[(100, Normal), (0, Normal)]),
        (&[72, 100], &[(100, Normal), (0, Normal)]),
        (&[71, 100], &[(99, Normal), (1, Normal)]),
        (&[50, 100], &[(70, Normal), (30, Normal)]),
        (&[25, 100], &[(35, Normal), (65, Normal)]),
        (&[0, 100], &[(0, Normal), (100, Normal)]),
        (&[72, 72], &[(100, Normal), (0, Normal)]),
        (&[71, 71], &[(99, Normal), (1, Normal)]),
        (&[50, 50], &[(70, Normal), (30, Normal)]),
        (&[25, 25], &[(50, Panic), (50, Panic)]),
        (&[5, 65], &[(7, Panic), (93, Normal)]),
        (&[0, 0], &[(100, Panic), (0, Panic)]),
        (&[100, 100, 100], &[(100, Normal), (0, Normal), (0, Normal)]),
        (&[72, 72, 100], &[(100, Normal), (0, Normal), (0, Normal)]),
        (&[71, 71, 100], &[(99, Normal), (1, Normal), (0, Normal)]),
        (&[50, 50, 100], &[(70, Normal), (30, Normal), (0, Normal)]),
        (&[25, 100, 100], &[(35, Normal), (65, Normal), (0, Normal)]),
        (&[25, 25, 100], &[(35, Normal), (35, Normal), (30, Normal)]),
        (&[25, 25, 20], &[(36, Panic), (36, Panic), (28, Panic)]),
    ];

    #[test]
    fn levels_split_traffic_as_envoys_tables_say() {
        let terms = RosterTerms {
            panic_below_per_cent: 50,
            ..RosterTerms::default()
        };
        for (available, expected) in ENVOY {
            let levels: Vec<Strength> = available
                .iter()
                .map(|available| Strength {
                    whole: 100,
                    available: *available,
                })
                .collect();
            let found = split(&levels, &terms);
            for (load, (per_cent, mode)) in found.iter().zip(expected) {
                let off = load.load.abs_diff(per_cent * WHOLE / 100);
                assert!(off <= WHOLE / 150, "{available:?}: {found:?}");
                assert_eq!(load.mode, *mode, "{available:?}: {found:?}");
            }
        }
    }

    #[test]
    fn thresholds_and_factors_do_what_they_say() {
        for (threshold, factor, available, expected, description) in [
            (
                0,
                140,
                &[0, 0][..],
                &[(0, Normal), (0, Normal)][..],
                "a threshold of 0 never panics",
            ),
            (
                1,
                140,
                &[1, 0],
                &[(100, Normal), (0, Panic)],
                "1 waits for the last",
            ),
            (
                1,
                140,
                &[0, 0],
                &[(100, Panic), (0, Panic)],
                "and panics without it",
            ),
            (100, 100, &[99], &[(100, Panic)], "100 wants all"),
            (
                50,
                100,
                &[99, 100],
                &[(99, Normal), (1, Normal)],
                "no overprovisioning",
            ),
            (
                50,
                0,
                &[99, 100],
                &[(99, Normal), (1, Normal)],
                "less than none is none",
            ),
            (
                50,
                1000,
                &[10, 100],
                &[(100, Normal), (0, Normal)],
                "a tenth bears it all",
            ),
            (50, 140, &[], &[], "no level"),
        ] {
            let terms = RosterTerms {
                overprovisioning_per_cent: factor,
                panic_below_per_cent: threshold,
                ..RosterTerms::default()
            };
            let strength = |available: &u64| Strength {
                whole: 100,
                available: *available,
            };
            let levels: Vec<Strength> = available.iter().map(strength).collect();
            let found: Vec<(u64, Mode)> = split(&levels, &terms)
                .iter()
                .map(|load| (load.load * 100 / WHOLE, load.mode))
                .collect();
            assert_eq!(found, expected, "{description}");
        }
    }
}
