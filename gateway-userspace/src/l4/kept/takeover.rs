//! New maps that take the place of pinned ones: filled, then pinned, then given to the link by its new program.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aya::Ebpf;
use aya::maps::{Map, MapData};
use gateway_common::abi;

use super::{Fate, Kept};
use crate::l4::flows::Moved;
use crate::l4::pins::Pins;
use crate::l4::{L4Error, bpf};

/// What is to be done before the program is replaced.
#[derive(Debug)]
pub struct Takeover {
    /// The new maps.
    fresh: Vec<(&'static str, MapData)>,
    /// What goes over: from where, and to where.
    copies: Vec<Copy>,
    hasher: RandomState,
}

#[derive(Debug)]
enum Copy {
    /// Flows in sets, each of which has its place by their number.
    Flows(Moved),
    /// Entries of a hash map, as they are.
    Hash(Entries),
}

#[derive(Debug)]
struct Entries {
    name: &'static str,
    from: MapData,
    to: OwnedFd,
    /// Hashes of the keys that went over; `None`: none was copied yet.
    known: Option<HashSet<u64>>,
}

impl Takeover {
    /// Of an object that was loaded over what is taken up, and none of whose maps was taken yet.
    ///
    /// # Errors
    /// The object is not what this program expects, or there are no descriptors left.
    pub fn of(kept: Kept, object: &Ebpf) -> Result<Self, L4Error> {
        let mut takeover = Self {
            fresh: Vec::new(),
            copies: Vec::new(),
            hasher: RandomState::new(),
        };
        for (name, fate, pinned) in kept.maps {
            if fate == Fate::TakenUp {
                continue;
            }
            let failed = |source| L4Error::File {
                action: "copy the descriptor of",
                path: name.into(),
                source,
            };
            let descriptor = descriptor_of(object, name)?
                .try_clone_to_owned()
                .map_err(failed)?;
            if let (Fate::Copied, Some(from)) = (fate, pinned) {
                let to = descriptor.try_clone().map_err(failed)?;
                takeover.copies.push(Copy::between(name, from, to)?);
            }
            let map = MapData::from_fd(descriptor).map_err(|source| L4Error::Map {
                action: "open",
                map: name,
                source,
            })?;
            takeover.fresh.push((name, map));
        }
        Ok(takeover)
    }

    /// Copies what is to be copied: all before the program is replaced, then once more what the old program noted in
    /// between. A map that is too small forgets what it would forget anyway. `hash_key` is that by which flows are spread.
    ///
    /// # Errors
    /// A map cannot be read or written.
    pub fn copy(&mut self, hash_key: [u64; 2]) -> Result<usize, L4Error> {
        let mut copied = 0;
        for copy in &mut self.copies {
            copied += match copy {
                Copy::Flows(flows) => flows.copy(hash_key)?,
                Copy::Hash(entries) => entries.copy(&self.hasher).map_err(|source| L4Error::File {
                    action: "copy the entries of the map",
                    path: entries.name.into(),
                    source,
                })?,
            };
        }
        Ok(copied)
    }

    /// Pins the new maps in the place of the old ones.
    ///
    /// # Errors
    /// A pin cannot be made.
    pub fn pin(&self, pins: &Pins) -> Result<(), L4Error> {
        self.fresh
            .iter()
            .try_for_each(|(name, map)| pins.replace(name, map))
    }
}

impl Copy {
    fn between(name: &'static str, from: MapData, to: OwnedFd) -> Result<Self, L4Error> {
        if Moved::moves(name) {
            return Ok(Self::Flows(Moved::between(name, from, to)?));
        }
        Ok(Self::Hash(Entries {
            name,
            from,
            to,
            known: None,
        }))
    }
}

impl Entries {
    fn copy(&mut self, hasher: &RandomState) -> std::io::Result<usize> {
        let info = self.from.info().map_err(std::io::Error::other)?;
        let (key_bytes, value_bytes) = (info.key_size() as usize, info.value_size() as usize);
        let mut batches = bpf::Batches::of(self.from.fd().as_fd(), key_bytes, value_bytes);
        let mut copied = 0;
        let Some(known) = &self.known else {
            let mut known = HashSet::new();
            while let Some((keys, values)) = batches.next()? {
                let count = keys.len() / key_bytes;
                bpf::write_all(self.to.as_fd(), count, keys, values).map_err(|unwritten| unwritten.source)?;
                known.extend(keys.chunks_exact(key_bytes).map(|key| hasher.hash_one(key)));
                copied += count;
            }
            self.known = Some(known);
            return Ok(copied);
        };
        while let Some((keys, values)) = batches.next()? {
            let entries = keys.chunks_exact(key_bytes).zip(values.chunks_exact(value_bytes));
            for (key, value) in entries.filter(|(key, _)| !known.contains(&hasher.hash_one(key))) {
                bpf::write_absent(self.to.as_fd(), key, value)?;
                copied += 1;
            }
        }
        Ok(copied)
    }
}

/// The descriptor of any kind of map.
fn descriptor_of<'o>(object: &'o Ebpf, name: &'static str) -> Result<BorrowedFd<'o>, L4Error> {
    let missing = L4Error::Missing { kind: "map", name };
    debug_assert!(abi::PINNED_MAPS.contains(&name));
    match object.map(name) {
        Some(
            Map::Array(data)
            | Map::HashMap(data)
            | Map::LruHashMap(data)
            | Map::PerCpuArray(data)
            | Map::LpmTrie(data)
            | Map::DevMapHash(data)
            | Map::ProgramArray(data),
        ) => Ok(data.fd().as_fd()),
        _ => Err(missing),
    }
}
