//! What an earlier life pinned, and what becomes of it at a start: taken up, copied into maps of other sizes, or lost.
//!
//! Maps that do not fit are made anew beside those that steer. The new ones are filled first: tables by the first
//! `publish`, flows by [`Takeover::copy`]. Only then are they pinned and the link's program replaced, so that no packet meets
//! an empty table. What is lost is said before anything is touched.

mod takeover;

use aya::maps::MapData;
use gateway_common::abi::{self, ABI_VERSION};

use super::L4Error;
use super::pins::Pins;

pub use takeover::Takeover;

/// What a map is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// User space writes it, from what it knows: all of them are of one generation.
    Control,
    /// User space writes it, and its entries name none of other maps.
    Lists,
    /// The program remembers flows in it.
    Memory,
    /// The program counts or stamps in it.
    Counts,
    /// Operators put programs of their own into it.
    Chain,
}

fn role(name: &str) -> Role {
    match name {
        abi::FLOWS | abi::FLOWS_V6 | abi::UDP_FLOWS | abi::UDP_FLOWS_V6 | abi::FRAGMENTS => Role::Memory,
        abi::HEARD
        | abi::ERROR_BUDGET
        | abi::REASON_COUNTS
        | abi::VIP_COUNTS
        | abi::NODE_COUNTS
        | abi::NOTED_COUNTS
        | abi::SOURCES
        | abi::VIP_BUCKETS => Role::Counts,
        abi::PROTECTION | abi::DENIED | abi::ALLOWED => Role::Lists,
        abi::CHAIN => Role::Chain,
        _ => Role::Control,
    }
}

/// What a pinned map is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    /// The version in its name.
    version: u32,
    /// Entries at most.
    entries: u32,
}

/// What becomes of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Nothing is pinned.
    Absent,
    /// It is taken up as it is.
    TakenUp,
    /// A new one gets its entries.
    Copied,
    /// A new one is filled by the first view.
    WrittenAnew,
    /// What it has is lost.
    Lost,
}

/// What becomes of a map of which so many entries are wanted (`None`: as many as ever).
fn fate(name: &str, wanted: Option<u32>, pinned: Option<Shape>) -> Fate {
    let Some(pinned) = pinned else {
        return Fate::Absent;
    };
    let is_of_this_version = pinned.version == ABI_VERSION;
    if is_of_this_version && wanted.is_none_or(|wanted| wanted == pinned.entries) {
        return Fate::TakenUp;
    }
    let is_same_layout = (abi::layout_since(name)..=ABI_VERSION).contains(&pinned.version);
    match role(name) {
        Role::Control | Role::Lists => Fate::WrittenAnew,
        Role::Memory if is_same_layout => Fate::Copied,
        Role::Memory | Role::Counts | Role::Chain => Fate::Lost,
    }
}

/// The maps of an earlier life.
#[derive(Debug, Default)]
pub struct Kept {
    maps: Vec<(&'static str, Fate, Option<MapData>)>,
}

impl Kept {
    /// Looks at what is pinned. `sizes` are the entries that are wanted of each map that has a choice.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn look(pins: &Pins, sizes: &[(&'static str, u32)]) -> Result<Self, L4Error> {
        let versions = pins.versions()?;
        let mut maps = Vec::new();
        for name in abi::PINNED_MAPS {
            let wanted = sizes
                .iter()
                .find(|(sized, _)| *sized == name)
                .map(|(_, entries)| *entries);
            let pinned = versions.iter().find_map(|version| {
                let map = MapData::from_pin(pins.map_of(*version, name)).ok()?;
                let info = map.info().ok()?;
                let shape = Shape {
                    version: *version,
                    entries: info.max_entries(),
                };
                Some((shape, map))
            });
            let (shape, map) = pinned.unzip();
            maps.push((name, fate(name, wanted, shape), map));
        }
        // Those that user space writes name each other's entries: they are all of one life.
        let is_mixed = maps
            .iter()
            .any(|(name, fate, _)| role(name) == Role::Control && *fate != Fate::TakenUp);
        if is_mixed {
            for (name, fate, _) in &mut maps {
                if role(name) == Role::Control && *fate == Fate::TakenUp {
                    *fate = Fate::WrittenAnew;
                }
            }
        }
        Ok(Self { maps })
    }

    /// Whether all is taken up as it is.
    pub fn is_all(&self) -> bool {
        self.maps.iter().all(|(_, fate, _)| *fate == Fate::TakenUp)
    }

    /// The maps that are taken up.
    pub fn taken_up(&self) -> impl Iterator<Item = &'static str> {
        self.with(Fate::TakenUp)
    }

    fn with(&self, wanted: Fate) -> impl Iterator<Item = &'static str> {
        let maps = self.maps.iter();
        maps.filter(move |(_, fate, _)| *fate == wanted)
            .map(|(name, ..)| *name)
    }

    /// Says what will be copied and what is lost, before anything is touched.
    pub fn tell(&self) {
        let list = |fate| self.with(fate).collect::<Vec<_>>().join(", ");
        let copied = list(Fate::Copied);
        if !copied.is_empty() {
            tracing::info!(
                maps = copied,
                "the pinned maps have other sizes or another version: their entries are copied"
            );
        }
        let lost = list(Fate::Lost);
        if !lost.is_empty() {
            tracing::warn!(
                maps = lost,
                "the pinned maps have other sizes or layouts, and what they hold is lost: flows go on by slot, previous owner \
                 and socket, counters start at zero, programs in CHAIN must be put in again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_map_has_its_fate() {
        let shape = |version, entries| Some(Shape { version, entries });
        let (now, older) = (ABI_VERSION, abi::layout_since(abi::FLOWS).saturating_sub(1));
        let rows = [
            ("nothing there", abi::FLOWS, Some(8), None, Fate::Absent),
            ("the same", abi::FLOWS, Some(8), shape(now, 8), Fate::TakenUp),
            (
                "of a size that never changes",
                abi::LEASE,
                None,
                shape(now, 1),
                Fate::TakenUp,
            ),
            ("flows, more", abi::FLOWS, Some(9), shape(now, 8), Fate::Copied),
            (
                "flows, fewer",
                abi::UDP_FLOWS,
                Some(7),
                shape(now, 8),
                Fate::Copied,
            ),
            (
                "flows of another layout",
                abi::FLOWS,
                Some(8),
                shape(older, 8),
                Fate::Lost,
            ),
            (
                "flows of a newer version",
                abi::FLOWS,
                Some(8),
                shape(now + 1, 8),
                Fate::Lost,
            ),
            (
                "tables, more",
                abi::SLOT_WORDS,
                Some(9),
                shape(now, 8),
                Fate::WrittenAnew,
            ),
            (
                "tables of another version",
                abi::SLOT_WORDS,
                Some(8),
                shape(now - 1, 8),
                Fate::WrittenAnew,
            ),
            (
                "counters, more",
                abi::REASON_COUNTS,
                Some(9),
                shape(now, 8),
                Fate::Lost,
            ),
            (
                "counters of another version",
                abi::REASON_COUNTS,
                Some(8),
                shape(now - 1, 8),
                Fate::Lost,
            ),
        ];
        for (what, name, wanted, pinned, expected) in rows {
            assert_eq!(fate(name, wanted, pinned), expected, "{what}");
        }
    }

    #[test]
    fn layouts_are_of_versions_that_were() {
        for name in abi::PINNED_MAPS {
            let since = abi::layout_since(name);
            assert!((1..=ABI_VERSION).contains(&since), "{name}: {since}");
        }
    }
}
