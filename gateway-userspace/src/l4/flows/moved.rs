//! Flows that go over into a table of another size: where a flow lies depends on how many sets there are.

use std::collections::HashSet;
use std::os::fd::OwnedFd;

use aya::Pod;
use aya::maps::{Array, Map, MapData};
use gateway_common::abi;
use gateway_common::flow::set::{self, Key, SET_WORDS_V4, SET_WORDS_V6};
use gateway_common::flow::{FlowEntry, FlowKey};
use gateway_common::hash;

use super::{Copied, FlowsOf, read, write};
use crate::l4::L4Error;
use crate::l4::maps::{now_ns, typed};

/// The flows of one map on their way into another.
pub struct Moved {
    name: &'static str,
    of: FlowsOf,
    maps: Pair,
    /// Hashes of those that went over.
    known: HashSet<u64>,
}

/// From where, and to where.
enum Pair {
    V4(Maps<SET_WORDS_V4>),
    V6(Maps<SET_WORDS_V6>),
}

struct Maps<const WORDS: usize> {
    from: Array<MapData, [u64; WORDS]>,
    to: Array<MapData, [u64; WORDS]>,
}

impl Moved {
    /// Whether the map of that name has flows in sets.
    pub fn moves(name: &str) -> bool {
        matches!(
            name,
            abi::FLOWS | abi::FLOWS_V6 | abi::UDP_FLOWS | abi::UDP_FLOWS_V6
        )
    }

    /// Between two maps of that name.
    ///
    /// # Errors
    /// They are not what they should be.
    pub fn between(name: &'static str, from: MapData, to: OwnedFd) -> Result<Self, L4Error> {
        let of = match name {
            abi::UDP_FLOWS | abi::UDP_FLOWS_V6 => FlowsOf::Udp,
            _ => FlowsOf::Tcp,
        };
        let maps = match name {
            abi::FLOWS_V6 | abi::UDP_FLOWS_V6 => Pair::V6(Maps::open(from, to, name)?),
            _ => Pair::V4(Maps::open(from, to, name)?),
        };
        let known = HashSet::new();
        Ok(Self {
            name,
            of,
            maps,
            known,
        })
    }

    /// Copies what has not gone over yet, and is not there by itself; how many flows. Some system calls for each set and
    /// flow: a second for a million.
    ///
    /// # Errors
    /// A map cannot be read or written.
    pub fn copy(&mut self, hash_key: [u64; 2]) -> Result<usize, L4Error> {
        let (name, protocol, now) = (self.name, self.of.protocol(), now_ns()?);
        let known = &mut self.known;
        let mut is_new = |flow: &FlowKey| {
            let hash = hash::of_flow(hash_key, flow);
            known.insert(hash).then_some(hash)
        };
        match &mut self.maps {
            Pair::V4(maps) => maps.copy(name, now, |set| {
                let flows = set::all_v4(set, protocol, now);
                let new =
                    flows.filter_map(|(flow, entry)| Some((Key::<2>::words(&flow), entry, is_new(&flow)?)));
                new.collect()
            }),
            Pair::V6(maps) => maps.copy(name, now, |set| {
                let flows = set::all_v6(set, protocol, now);
                let new =
                    flows.filter_map(|(flow, entry)| Some((Key::<5>::words(&flow), entry, is_new(&flow)?)));
                new.collect()
            }),
        }
    }
}

impl<const WORDS: usize> Maps<WORDS>
where
    [u64; WORDS]: Pod,
{
    fn open(from: MapData, to: OwnedFd, name: &'static str) -> Result<Self, L4Error> {
        let failed = |source| L4Error::Map {
            action: "open",
            map: name,
            source,
        };
        let open = |data| typed(Map::from_map_data(data).map_err(failed)?, name);
        let to = MapData::from_fd(to).map_err(failed)?;
        Ok(Self {
            from: open(from)?,
            to: open(to)?,
        })
    }

    /// Remembers what is `new` of each set, by its key's words and its hash, and is not remembered; how many flows.
    fn copy<const KEY_WORDS: usize>(
        &mut self,
        name: &'static str,
        now_ns: u64,
        mut new: impl FnMut(&Copied<WORDS>) -> Vec<([u64; KEY_WORDS], FlowEntry, u64)>,
    ) -> Result<usize, L4Error> {
        let mut copied = 0;
        for at in 0..self.from.len() {
            for (key, entry, hash) in new(&read(&self.from, at, name)?) {
                let at = set::set_of(hash, self.to.len());
                let words: Copied<WORDS> = read(&self.to, at, name)?;
                if set::find(&words, &key, || now_ns).is_none() {
                    set::put(&words, &key, entry, hash, now_ns);
                    write(&mut self.to, at, &words, name)?;
                    copied += 1;
                }
            }
        }
        Ok(copied)
    }
}

impl std::fmt::Debug for Moved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Moved")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
