//! The flow tables as user space reads them, by the code by which the kernel program does (`gateway_common::flow::set`).

mod moved;

use std::cell::RefCell;

use aya::maps::{Array, Map, MapData, MapError};
use aya::{EbpfLoader, Pod};
use gateway_common::abi::{self, FlowSet, FlowSetV6};
use gateway_common::flow::set::{self, CELL_WORDS_V4, CELL_WORDS_V6, Key, SET_WORDS_V4, SET_WORDS_V6, Words};
use gateway_common::flow::{FlowEntry, FlowKey};
use gateway_common::hash;
use gateway_common::headers::{PROTOCOL_TCP, PROTOCOL_UDP};

use super::L4Error;
use super::maps::typed;

pub use moved::Moved;

/// Flows that the tables have room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowLimits {
    /// Of TCP.
    pub tcp: u32,
    /// Of UDP.
    pub udp: u32,
}

impl FlowLimits {
    /// The maps, and how many sets each has then.
    pub const fn sets(&self) -> [(&'static str, u32); 4] {
        [
            (abi::FLOWS, set::sets_v4(self.tcp)),
            (abi::FLOWS_V6, set::sets_v6(self.tcp)),
            (abi::UDP_FLOWS, set::sets_v4(self.udp)),
            (abi::UDP_FLOWS_V6, set::sets_v6(self.udp)),
        ]
    }

    /// Tells the loader: of the maps, and of the program's words.
    pub fn apply<'l>(&'l self, loader: &mut EbpfLoader<'l>) {
        for (name, sets) in self.sets() {
            loader.map_max_entries(name, sets);
        }
        loader.override_global(abi::FLOWS_MAX, &self.tcp, true);
        loader.override_global(abi::UDP_FLOWS_MAX, &self.udp, true);
    }
}

/// Which flows a table remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowsOf {
    /// Those of TCP.
    Tcp,
    /// Those of UDP.
    Udp,
}

impl FlowsOf {
    /// Names of its maps: of IPv4 and of IPv6.
    pub const fn maps(self) -> [&'static str; 2] {
        match self {
            Self::Tcp => [abi::FLOWS, abi::FLOWS_V6],
            Self::Udp => [abi::UDP_FLOWS, abi::UDP_FLOWS_V6],
        }
    }

    pub(super) fn protocol(self) -> u16 {
        match self {
            Self::Tcp => PROTOCOL_TCP.into(),
            Self::Udp => PROTOCOL_UDP.into(),
        }
    }
}

/// The table of flows of one protocol.
pub struct Flows {
    of: FlowsOf,
    v4: Array<MapData, FlowSet>,
    v6: Array<MapData, FlowSetV6>,
}

/// A copy of a set.
struct Copied<const WORDS: usize>(RefCell<[u64; WORDS]>);

impl<const WORDS: usize> Words for Copied<WORDS> {
    fn load(&self, index: usize) -> u64 {
        self.0.borrow().get(index).copied().unwrap_or(0)
    }

    fn store(&self, index: usize, word: u64) {
        if let Some(at) = self.0.borrow_mut().get_mut(index) {
            *at = word;
        }
    }
}

impl Flows {
    /// The table, by its two maps.
    ///
    /// # Errors
    /// There are no such maps.
    pub fn open(
        of: FlowsOf,
        mut map: impl FnMut(&'static str) -> Result<Map, L4Error>,
    ) -> Result<Self, L4Error> {
        let [v4, v6] = of.maps();
        Ok(Self {
            of,
            v4: typed(map(v4)?, v4)?,
            v6: typed(map(v6)?, v6)?,
        })
    }

    /// What is remembered of a flow, under the key by which the kernel program spreads flows.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn get(&self, hash_key: [u64; 2], flow: &FlowKey, now_ns: u64) -> Result<Option<FlowEntry>, L4Error> {
        let [v4, v6] = self.of.maps();
        let hash = hash::of_flow(hash_key, flow);
        if flow.source.is_ipv4() {
            let set = read(&self.v4, set::set_of(hash, self.v4.len()), v4)?;
            Ok(set::find(&set, &Key::<2>::words(flow), || now_ns))
        } else {
            let set = read(&self.v6, set::set_of(hash, self.v6.len()), v6)?;
            Ok(set::find(&set, &Key::<5>::words(flow), || now_ns))
        }
    }

    /// Remembers a flow. The kernel program may write the set at the same time: for tests.
    ///
    /// # Errors
    /// The map cannot be read or written.
    pub fn put(
        &mut self,
        hash_key: [u64; 2],
        flow: &FlowKey,
        entry: FlowEntry,
        now_ns: u64,
    ) -> Result<(), L4Error> {
        let [v4, v6] = self.of.maps();
        let hash = hash::of_flow(hash_key, flow);
        if flow.source.is_ipv4() {
            let at = set::set_of(hash, self.v4.len());
            let set = read(&self.v4, at, v4)?;
            set::put(&set, &Key::<2>::words(flow), entry, hash, now_ns);
            write(&mut self.v4, at, &set, v4)
        } else {
            let at = set::set_of(hash, self.v6.len());
            let set = read(&self.v6, at, v6)?;
            set::put(&set, &Key::<5>::words(flow), entry, hash, now_ns);
            write(&mut self.v6, at, &set, v6)
        }
    }

    /// Every flow that is remembered: for tests, for it takes a system call a set.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn all(&self, now_ns: u64) -> Result<Vec<(FlowKey, FlowEntry)>, L4Error> {
        let [v4, v6] = self.of.maps();
        let mut all = Vec::new();
        for at in 0..self.v4.len() {
            all.extend(set::all_v4(&read(&self.v4, at, v4)?, self.of.protocol(), now_ns));
        }
        for at in 0..self.v6.len() {
            all.extend(set::all_v6(&read(&self.v6, at, v6)?, self.of.protocol(), now_ns));
        }
        Ok(all)
    }

    /// Forgets all flows: for tests.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn clear(&mut self) -> Result<(), L4Error> {
        let [v4, v6] = self.of.maps();
        for at in 0..self.v4.len() {
            let set: Copied<SET_WORDS_V4> = read(&self.v4, at, v4)?;
            set::clear(&set, CELL_WORDS_V4);
            write(&mut self.v4, at, &set, v4)?;
        }
        for at in 0..self.v6.len() {
            let set: Copied<SET_WORDS_V6> = read(&self.v6, at, v6)?;
            set::clear(&set, CELL_WORDS_V6);
            write(&mut self.v6, at, &set, v6)?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Flows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flows")
            .field("of", &self.of)
            .finish_non_exhaustive()
    }
}

fn read<const WORDS: usize>(
    map: &Array<MapData, [u64; WORDS]>,
    at: u32,
    name: &'static str,
) -> Result<Copied<WORDS>, L4Error>
where
    [u64; WORDS]: Pod,
{
    let words = map.get(&at, 0).map_err(failed("read", name))?;
    Ok(Copied(RefCell::new(words)))
}

fn write<const WORDS: usize>(
    map: &mut Array<MapData, [u64; WORDS]>,
    at: u32,
    set: &Copied<WORDS>,
    name: &'static str,
) -> Result<(), L4Error>
where
    [u64; WORDS]: Pod,
{
    map.set(at, *set.0.borrow(), 0).map_err(failed("write", name))
}

fn failed(action: &'static str, map: &'static str) -> impl Fn(MapError) -> L4Error {
    move |source| L4Error::Map { action, map, source }
}
