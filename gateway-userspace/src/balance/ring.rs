//! Keys to members by a ring of points: a key belongs to the first point after it.
//!
//! Source: Karger et al., "Consistent Hashing and Random Trees", STOC 1997. Removing a member moves its own keys and
//! no other, and those to many: each of its points has another successor.

use super::maglev::Share;
use super::mix::mix;

/// Points of the heaviest member there may be, of 6 bytes each, by how many members there are.
///
/// A part of `p` is off by the square root of `p (1 - p)` over all points (standard deviation): with four members by half
/// a per cent at most, with a thousand by 4% of itself. Fewer points would be cheaper, but the weights would not hold.
/// They cost 1.5 MB at most, or 32 MB with [`MEMBERS_MAX`](super::MEMBERS_MAX) members. Adding the 33rd member moves
/// many keys, once.
const POINTS: [(usize, u64); 2] = [(32, 8192), (usize::MAX, 512)];

/// Points by their place.
#[derive(Debug)]
pub(super) struct Ring {
    places: Box<[u32]>,
    /// Whose the points are, in the same order.
    owners: Box<[u16]>,
}

impl Ring {
    /// Every member has at least one point.
    ///
    /// How many a member has depends on no other's weight, but for the power of two that all are below: else adding one
    /// would take points from all others, and move keys between these.
    pub(super) fn new(shares: &[Share]) -> Self {
        let heaviest = shares.iter().map(|(_, _, weight)| u64::from(*weight)).max();
        let heaviest = heaviest.unwrap_or(1).next_power_of_two();
        let most = POINTS.iter().find(|(members, _)| shares.len() <= *members);
        let most = most.map_or(0, |(_, points)| *points);
        let mut points: Vec<(u32, u16)> = Vec::new();
        for (index, identity, weight) in shares {
            let own = (u64::from(*weight) * most / heaviest).max(1);
            points.extend((0..own).map(|point| ((mix(mix(*identity) ^ point) >> 32) as u32, *index)));
        }
        points.sort_unstable();
        Self {
            places: points.iter().map(|(place, _)| *place).collect(),
            owners: points.iter().map(|(_, owner)| *owner).collect(),
        }
    }

    /// Who comes after a key, once round the ring; the same member may come several times.
    pub(super) fn after(&self, key: u64) -> impl Iterator<Item = usize> {
        let place = (mix(key) >> 32) as u32;
        let start = self.places.partition_point(|point| *point < place);
        let (before, after) = self.owners.split_at_checked(start).unwrap_or((&self.owners, &[]));
        after.iter().chain(before).map(|owner| usize::from(*owner))
    }
}
