//! Picks by key: the member that a table names, or where it may not be used, the next one that the table names.
//!
//! Tables hold the members that are configured, not those that are well: so one that fails moves its own keys and no
//! other, and gets them back.

use super::level::Level;
use super::maglev::{Maglev, Share};
use super::mix::{below, mix};
use super::ring::Ring;
use super::roster::Roster;
use super::turn::Turn;
use super::{Hashing, LOAD_MAX_PER_CENT_MIN, Loads, SHARE_WHOLE};

/// Slots that are asked for a key: with half of the members failing, one key in 4 billion finds none.
const SLOTS_TRIED_MAX: u32 = 32;

/// Points that are passed on the ring; some in a row may be one member's.
const POINTS_TRIED_MAX: usize = 256;

/// The keys of one level.
#[derive(Debug)]
pub(super) enum Table {
    Maglev(Maglev),
    Ring { ring: Ring, load_max_per_cent: u16 },
}

impl Table {
    pub(super) fn new(hashing: Hashing, shares: &[Share]) -> Self {
        match hashing {
            Hashing::Maglev => Self::Maglev(Maglev::new(shares)),
            Hashing::Ring { load_max_per_cent } => Self::Ring {
                ring: Ring::new(shares),
                load_max_per_cent: load_max_per_cent.max(LOAD_MAX_PER_CENT_MIN),
            },
        }
    }
}

/// The member of a level that takes a key. O(1) for Maglev; a bound on loads wants all of them, O(n).
pub(super) fn hashed(
    table: &Table,
    roster: &Roster,
    level: &Level,
    loads: &impl Loads,
    turn: &Turn,
    key: u64,
    tried: &[usize],
) -> Option<usize> {
    let may = |index: usize| admits(roster, index, key) && !tried.contains(&index);
    match table {
        Table::Maglev(maglev) => {
            let mut owners = (0..SLOTS_TRIED_MAX).filter_map(|attempt| maglev.owner(key, attempt));
            owners
                .find(|index| may(*index))
                .or_else(|| Some(level.draw(mix(!key), tried)?.index))
        }
        Table::Ring {
            ring,
            load_max_per_cent,
        } => {
            let bound = Bound::new(level, loads, *load_max_per_cent);
            let mut owners = ring.after(key).take(POINTS_TRIED_MAX);
            owners
                .find(|index| may(*index) && bound.admits(roster, loads, *index))
                .or_else(|| turn.least(&level.entries, loads, |entry| !tried.contains(&entry.index)))
        }
    }
}

/// Whether a member may have a key. One that starts slowly has a part of its keys, always the same, and ever more.
fn admits(roster: &Roster, index: usize, key: u64) -> bool {
    roster.seat(index).is_some_and(|seat| {
        seat.share >= SHARE_WHOLE
            || below(mix(key ^ mix(index as u64)), u64::from(SHARE_WHOLE)) < u64::from(seat.share)
    })
}

/// How busy a member may be: no more than `load_max_per_cent` of its part of all requests, with the one to come.
struct Bound {
    /// Of all members, with the one to come, times per cent.
    load: u128,
    /// Of all members, times 100.
    weight: u128,
}

impl Bound {
    fn new(level: &Level, loads: &impl Loads, load_max_per_cent: u16) -> Self {
        let active: u64 = level
            .entries
            .iter()
            .map(|entry| u64::from(loads.active(entry.index)))
            .sum();
        Self {
            load: u128::from(active + 1) * u128::from(load_max_per_cent),
            weight: u128::from(level.weight()) * 100,
        }
    }

    /// Rounded up, as in the paper: each may have one.
    fn admits(&self, roster: &Roster, loads: &impl Loads, index: usize) -> bool {
        roster.seat(index).is_some_and(|seat| {
            u128::from(loads.active(index)) * self.weight < self.load * u128::from(seat.weight)
        })
    }
}
