//! Flows that go over into a table of another size: where a flow lies depends on how many sets there are.

use std::collections::HashSet;
use std::os::fd::OwnedFd;

use aya::Pod;
use aya::maps::{Array, Map, MapData};
use gateway_common::abi::{self, FlowSet, FlowSetV6};
use gateway_common::flow::set::{self, Key};
use gateway_common::flow::{FlowEntry, FlowKey};
use gateway_common::hash;

use super::{Copied, FlowsOf, read, write};
use crate::l4::L4Error;
use crate::l4::maps::{now_ns, typed};

/// The flows of one map on their way into another.
pub struct Moved {
    name: &'static str,
    maps: Pair,
    /// Hashes of those that went over.
    known: HashSet<u64>,
}

/// From where, and to where.
enum Pair {
    V4(FlowsOf, Array<MapData, FlowSet>, Array<MapData, FlowSet>),
    V6(FlowsOf, Array<MapData, FlowSetV6>, Array<MapData, FlowSetV6>),
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
            abi::FLOWS_V6 | abi::UDP_FLOWS_V6 => Pair::V6(of, opened(from, name)?, fresh(to, name)?),
            _ => Pair::V4(of, opened(from, name)?, fresh(to, name)?),
        };
        let known = HashSet::new();
        Ok(Self { name, maps, known })
    }

    /// Copies what has not gone over yet, and is not there by itself; how many flows. Some system calls for each set and
    /// flow: a second for a million.
    ///
    /// # Errors
    /// A map cannot be read or written.
    pub fn copy(&mut self, hash_key: [u64; 2]) -> Result<usize, L4Error> {
        let (name, known, now) = (self.name, &mut self.known, now_ns()?);
        let mut copied = 0;
        let mut is_new = |flow: &FlowKey| {
            let hash = hash::of_flow(hash_key, flow);
            known.insert(hash).then_some(hash)
        };
        match &mut self.maps {
            Pair::V4(of, from, to) => {
                for at in 0..from.len() {
                    for (flow, entry) in set::all_v4(&read(from, at, name)?, of.protocol(), now) {
                        if let Some(hash) = is_new(&flow) {
                            copied +=
                                usize::from(moved(to, &Key::<2>::words(&flow), entry, hash, now, name)?);
                        }
                    }
                }
            }
            Pair::V6(of, from, to) => {
                for at in 0..from.len() {
                    for (flow, entry) in set::all_v6(&read(from, at, name)?, of.protocol(), now) {
                        if let Some(hash) = is_new(&flow) {
                            copied +=
                                usize::from(moved(to, &Key::<5>::words(&flow), entry, hash, now, name)?);
                        }
                    }
                }
            }
        }
        Ok(copied)
    }
}

/// Remembers a flow that is not remembered; whether it was not.
fn moved<const WORDS: usize, const KEY_WORDS: usize>(
    to: &mut Array<MapData, [u64; WORDS]>,
    key: &[u64; KEY_WORDS],
    entry: FlowEntry,
    hash: u64,
    now_ns: u64,
    name: &'static str,
) -> Result<bool, L4Error>
where
    [u64; WORDS]: Pod,
{
    let at = set::set_of(hash, to.len());
    let words: Copied<WORDS> = read(to, at, name)?;
    if set::find(&words, key, || now_ns).is_some() {
        return Ok(false);
    }
    set::put(&words, key, entry, hash, now_ns);
    write(to, at, &words, name)?;
    Ok(true)
}

fn opened<V: Pod>(data: MapData, name: &'static str) -> Result<Array<MapData, V>, L4Error> {
    let failed = |source| L4Error::Map {
        action: "open",
        map: name,
        source,
    };
    typed(Map::from_map_data(data).map_err(failed)?, name)
}

fn fresh<V: Pod>(descriptor: OwnedFd, name: &'static str) -> Result<Array<MapData, V>, L4Error> {
    let failed = |source| L4Error::Map {
        action: "open",
        map: name,
        source,
    };
    opened(MapData::from_fd(descriptor).map_err(failed)?, name)
}

impl std::fmt::Debug for Moved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Moved")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
