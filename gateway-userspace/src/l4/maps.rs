//! The maps by their types, and the steps of a plan carried out on them.

mod interfaces;

use std::collections::BTreeMap;

use aya::Ebpf;
use aya::maps::{DevMapHash, HashMap, Map, MapData, MapError};
use gateway_common::abi::{self, MacKey, NodeCell};
use gateway_common::maglev::{SLOTS, Slot};
use gateway_common::node::{NodeEntry, NodeId, Settings};
use gateway_common::vip::table::{self, CELLS, VipCell, VipHalf};
use gateway_common::vip::{Address, TableId, VipEntry, VipKey};

use nix::time::{ClockId, clock_gettime};

use super::L4Error;
use super::descriptors::Descriptors;
use super::desired::Desired;
use super::mapped::{Mapped, wait_for_readers};
use super::plan::Step;

/// Words of a cell of [`abi::VIPS`].
const VIP_CELL_WORDS: u32 = (size_of::<VipCell>() / 8) as u32;

/// Words of one half of it.
const VIP_HALF_WORDS: u32 = CELLS * VIP_CELL_WORDS;

/// Words of a cell of [`abi::NODES`], and of an entry in it.
const NODE_WORDS: u32 = (size_of::<NodeCell>() / 8) as u32;
const NODE_ENTRY_WORDS: usize = size_of::<NodeEntry>() / 8;

/// The maps that user space writes.
pub struct Maps {
    settings: aya::maps::Array<MapData, Settings>,
    vips: Mapped,
    nodes: Mapped,
    node_addresses: HashMap<MapData, Address, u32>,
    node_macs: HashMap<MapData, MacKey, u32>,
    cluster_interfaces: HashMap<MapData, u32, u32>,
    /// `None`: nobody writes by this one.
    exits: Option<DevMapHash<MapData>>,
    slots: Mapped,
    halves: Mapped,
    lease: Mapped,
    tables: u32,
}

impl std::fmt::Debug for Maps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maps")
            .field("tables", &self.tables)
            .finish_non_exhaustive()
    }
}

impl Maps {
    /// Takes the maps out of a loaded object that was made for so many tables.
    ///
    /// # Errors
    /// The object is not what this program expects, or its tables cannot be mapped into memory.
    pub fn take(object: &mut Ebpf, tables: u32) -> Result<Self, L4Error> {
        let exits = typed(take(object, abi::EXITS)?, abi::EXITS)?;
        let mut maps = Self::made(tables, |name| take(object, name))?;
        maps.exits = Some(exits);
        Ok(maps)
    }

    /// The same maps once more, by other descriptors and in other memory: for who reads them beside whoever writes.
    ///
    /// # Errors
    /// As [`Maps::take`].
    pub(super) fn again(descriptors: &Descriptors, tables: u32) -> Result<Self, L4Error> {
        Self::made(tables, |name| descriptors.map(name))
    }

    fn made(tables: u32, mut map: impl FnMut(&'static str) -> Result<Map, L4Error>) -> Result<Self, L4Error> {
        let slots = map(abi::SLOT_WORDS)?;
        let halves = map(abi::HALVES)?;
        let lease = map(abi::LEASE)?;
        let vips = map(abi::VIPS)?;
        let nodes = map(abi::NODES)?;
        Ok(Self {
            settings: typed(map(abi::SETTINGS)?, abi::SETTINGS)?,
            vips: mapped(vips, abi::VIPS, 2 * VIP_HALF_WORDS)?,
            nodes: mapped(nodes, abi::NODES, (abi::NODES_MAX + 1) * NODE_WORDS)?,
            node_addresses: typed(map(abi::NODE_ADDRESSES)?, abi::NODE_ADDRESSES)?,
            node_macs: typed(map(abi::NODE_MACS)?, abi::NODE_MACS)?,
            cluster_interfaces: typed(map(abi::CLUSTER_INTERFACES)?, abi::CLUSTER_INTERFACES)?,
            exits: None,
            slots: mapped(slots, abi::SLOT_WORDS, abi::slot_words(tables))?,
            halves: mapped(halves, abi::HALVES, abi::table_half(tables))?,
            lease: mapped(lease, abi::LEASE, 1)?,
            tables,
        })
    }

    /// What stands in the maps but for the tables: at the start this is what an earlier life left.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn contents(&self) -> Result<Desired, L4Error> {
        let read = |map| {
            move |source| L4Error::Map {
                action: "read",
                map,
                source,
            }
        };
        let node_addresses: Result<_, _> = self
            .node_addresses
            .iter()
            .map(|entry| entry.map(|(address, id)| (address, NodeId(id as u16))))
            .collect();
        let node_macs: Result<_, _> = self
            .node_macs
            .iter()
            .map(|entry| entry.map(|(mac, id)| (mac, NodeId(id as u16))))
            .collect();
        Ok(Desired {
            nodes: self.live_nodes(),
            node_addresses: node_addresses.map_err(read(abi::NODE_ADDRESSES))?,
            node_macs: node_macs.map_err(read(abi::NODE_MACS))?,
            vips: self.live_vips(),
            ..Desired::default()
        })
    }

    fn live_nodes(&self) -> BTreeMap<NodeId, NodeEntry> {
        let entry = |id: u16| {
            let at = node_word(NodeId(id));
            let half = self.nodes.half(at)?.min(1);
            let entry: NodeEntry = self.nodes.load_all(at + 1 + half as usize * NODE_ENTRY_WORDS)?;
            entry.is_there().then_some((NodeId(id), entry))
        };
        (0..=abi::NODES_MAX as u16).filter_map(entry).collect()
    }

    fn live_vips(&self) -> std::collections::HashMap<VipKey, VipEntry> {
        let half = self.vip_half().half();
        let cells = (0..CELLS).filter_map(|cell| {
            let cell: VipCell = self
                .vips
                .load_all((half * VIP_HALF_WORDS + cell * VIP_CELL_WORDS) as usize)?;
            cell.content()
        });
        cells.collect()
    }

    fn vip_half(&self) -> VipHalf {
        VipHalf(self.halves.half(abi::VIPS_HALF as usize).unwrap_or(0))
    }

    /// The settings in the half that is live.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn live_settings(&self) -> Result<Settings, L4Error> {
        let half = self.halves.half(abi::SETTINGS_HALF as usize).unwrap_or(0);
        self.settings.get(&half, 0).map_err(|source| L4Error::Map {
            action: "read",
            map: abi::SETTINGS,
            source,
        })
    }

    /// The slots in the half of a table that is live; empty where there is no such table.
    pub fn live_slots(&self, table: TableId) -> Vec<Slot> {
        if table.0 >= self.tables {
            return Vec::new();
        }
        let half = self
            .halves
            .half(abi::table_half(table.0) as usize)
            .unwrap_or(0)
            .min(1);
        let words = (0..SLOTS).map_while(|slot| {
            let word = abi::slot_word(table.0, half, slot) as usize;
            self.slots.load(word).map(Slot)
        });
        words.collect()
    }

    /// When user space last said that it is alive, in nanoseconds since the boot; 0: never.
    pub fn lease_ns(&self) -> u64 {
        self.lease.load(0).unwrap_or(0)
    }

    /// Says that user space is alive: without it for [`gateway_common::forward::LEASE_NS`], the program sends nothing to
    /// nodes that it does not hear itself.
    ///
    /// # Errors
    /// The clock cannot be read.
    pub fn renew_lease(&self) -> Result<(), L4Error> {
        let nanoseconds = now_ns()?;
        // The map has this one word.
        let stored = self.lease.store(0, nanoseconds);
        debug_assert!(stored);
        Ok(())
    }

    /// Carries out one step.
    ///
    /// # Errors
    /// A map cannot be written; what was written before stays, and forwards.
    pub fn carry_out(&mut self, step: &Step) -> Result<(), L4Error> {
        let write = |map| {
            move |source| L4Error::Map {
                action: "write",
                map,
                source,
            }
        };
        match step {
            Step::Grace => {
                wait_for_readers();
                Ok(())
            }
            Step::PutNode(id, node) => self.set_node(*id, node),
            Step::PutNodeAddress(address, id) => self
                .node_addresses
                .insert(address, u32::from(id.0), 0)
                .map_err(write(abi::NODE_ADDRESSES)),
            Step::PutNodeMac(mac, id) => self
                .node_macs
                .insert(mac, u32::from(id.0), 0)
                .map_err(write(abi::NODE_MACS)),
            Step::SwapSettings(settings) => {
                let index = abi::SETTINGS_HALF as usize;
                let half = self.idle_half(index);
                self.settings
                    .set(half, settings, 0)
                    .map_err(write(abi::SETTINGS))?;
                self.flip(index, half)
            }
            Step::SwapTable(table, slots) => self.swap_table(*table, slots),
            Step::SwapVips(changes) => self.swap_vips(changes),
            Step::RemoveNodeAddress(address) => {
                absent_is_fine(self.node_addresses.remove(address)).map_err(write(abi::NODE_ADDRESSES))
            }
            Step::RemoveNodeMac(mac) => {
                absent_is_fine(self.node_macs.remove(mac)).map_err(write(abi::NODE_MACS))
            }
            Step::RemoveNode(id) => self.set_node(*id, &NodeEntry::default()),
        }
    }

    /// Writes the half of a node's entry that is not live, and flips.
    fn set_node(&mut self, id: NodeId, node: &NodeEntry) -> Result<(), L4Error> {
        let at = node_word(id);
        let half = 1 - self.nodes.half(at).unwrap_or(0).min(1);
        let start = at + 1 + half as usize * NODE_ENTRY_WORDS;
        let written = self.nodes.store_all(start, &[*node]) && self.nodes.flip(at, half);
        written
            .then_some(())
            .ok_or_else(|| out_of_bounds(abi::NODES, u32::from(id.0), abi::NODES_MAX + 1))
    }

    /// Fills the half of the VIPs that is not live with those of the other one, changed, and flips.
    fn swap_vips(&mut self, changes: &[(VipKey, Option<VipEntry>)]) -> Result<(), L4Error> {
        let mut vips = self.live_vips();
        for (key, entry) in changes {
            match entry {
                Some(entry) => drop(vips.insert(*key, *entry)),
                None => drop(vips.remove(key)),
            }
        }
        let full = || out_of_bounds(abi::VIPS, vips.len() as u32, abi::VIP_ENTRIES_MAX);
        if vips.len() > abi::VIP_ENTRIES_MAX as usize {
            return Err(full());
        }
        let mut cells = vec![VipCell::default(); CELLS as usize];
        let seed = table::fill(&vips, &mut cells).ok_or_else(full)?;
        let half = 1 - self.vip_half().half();
        let start = (half * VIP_HALF_WORDS) as usize;
        if !self.vips.store_all(start, &cells) {
            return Err(full());
        }
        self.flip(abi::VIPS_HALF as usize, VipHalf::new(half, seed).0)
    }

    fn swap_table(&mut self, table: TableId, slots: &[Slot]) -> Result<(), L4Error> {
        let too_many = L4Error::TooManyTables {
            needed: table.0 as usize + 1,
            available: self.tables,
        };
        if table.0 >= self.tables || slots.len() != SLOTS as usize {
            return Err(too_many);
        }
        let index = abi::table_half(table.0) as usize;
        let half = self.idle_half(index);
        let start = abi::slot_word(table.0, half, 0) as usize;
        if !self.slots.store_all(start, slots) {
            return Err(too_many);
        }
        self.flip(index, half)
    }

    fn idle_half(&self, index: usize) -> u32 {
        1 - self.halves.half(index).unwrap_or(0).min(1)
    }

    fn flip(&self, index: usize, half: u32) -> Result<(), L4Error> {
        let flipped = self.halves.flip(index, half);
        flipped
            .then_some(())
            .ok_or_else(|| out_of_bounds(abi::HALVES, index as u32, self.halves.len() as u32))
    }
}

/// Where a node's cell begins: its half, then both its entries.
const fn node_word(id: NodeId) -> usize {
    id.0 as usize * NODE_WORDS as usize
}

fn out_of_bounds(map: &'static str, index: u32, max_entries: u32) -> L4Error {
    L4Error::Map {
        action: "write",
        map,
        source: MapError::OutOfBounds { index, max_entries },
    }
}

/// Nanoseconds since the boot, by the clock of the kernel program.
///
/// # Errors
/// The clock cannot be read.
pub fn now_ns() -> Result<u64, L4Error> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map_err(|error| L4Error::File {
        action: "read the clock of",
        path: "CLOCK_BOOTTIME".into(),
        source: error.into(),
    })?;
    Ok(now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
}

/// Takes one map out of a loaded object.
///
/// # Errors
/// The object has no such map.
pub fn take(object: &mut Ebpf, name: &'static str) -> Result<Map, L4Error> {
    object
        .take_map(name)
        .ok_or(L4Error::Missing { kind: "map", name })
}

pub(super) fn typed<T: TryFrom<Map, Error = MapError>>(map: Map, name: &'static str) -> Result<T, L4Error> {
    T::try_from(map).map_err(|source| L4Error::Map {
        action: "read",
        map: name,
        source,
    })
}

pub(super) fn mapped(map: Map, name: &'static str, entries: u32) -> Result<Mapped, L4Error> {
    let failed = |source| L4Error::File {
        action: "map into memory the map",
        path: name.into(),
        source,
    };
    let Map::Array(data) = map else {
        return Err(L4Error::Missing {
            kind: "array map",
            name,
        });
    };
    Mapped::new(data.fd(), entries).map_err(failed)
}

fn absent_is_fine(removed: Result<(), MapError>) -> Result<(), MapError> {
    match removed {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}
