//! The maps by their types, and the steps of a plan carried out on them.

use std::collections::BTreeMap;

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, MapError};
use gateway_common::abi::{self, MacKey};
use gateway_common::maglev::{SLOTS, Slot};
use gateway_common::node::{NodeEntry, NodeId, Settings};
use gateway_common::vip::{Address, TableId, VipEntry, VipKey};

use nix::time::{ClockId, clock_gettime};

use super::L4Error;
use super::descriptors::Descriptors;
use super::desired::Desired;
use super::mapped::Mapped;
use super::plan::Step;

/// The maps that user space writes.
pub struct Maps {
    settings: aya::maps::Array<MapData, Settings>,
    vips: HashMap<MapData, VipKey, VipEntry>,
    nodes: HashMap<MapData, u32, NodeEntry>,
    node_addresses: HashMap<MapData, Address, u32>,
    node_macs: HashMap<MapData, MacKey, u32>,
    cluster_interfaces: HashMap<MapData, u32, u32>,
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
        Self::made(tables, |name| take(object, name))
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
        Ok(Self {
            settings: typed(map(abi::SETTINGS)?, abi::SETTINGS)?,
            vips: typed(map(abi::VIPS)?, abi::VIPS)?,
            nodes: typed(map(abi::NODES)?, abi::NODES)?,
            node_addresses: typed(map(abi::NODE_ADDRESSES)?, abi::NODE_ADDRESSES)?,
            node_macs: typed(map(abi::NODE_MACS)?, abi::NODE_MACS)?,
            cluster_interfaces: typed(map(abi::CLUSTER_INTERFACES)?, abi::CLUSTER_INTERFACES)?,
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
        let nodes: Result<BTreeMap<_, _>, _> = self
            .nodes
            .iter()
            .map(|entry| entry.map(|(id, node)| (NodeId(id as u16), node)))
            .collect();
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
        let vips: Result<_, _> = self.vips.iter().collect();
        Ok(Desired {
            nodes: nodes.map_err(read(abi::NODES))?,
            node_addresses: node_addresses.map_err(read(abi::NODE_ADDRESSES))?,
            node_macs: node_macs.map_err(read(abi::NODE_MACS))?,
            vips: vips.map_err(read(abi::VIPS))?,
            ..Desired::default()
        })
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

    /// Says by which interfaces nodes are reached.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn set_cluster_interfaces(&mut self, indices: &[u32]) -> Result<(), L4Error> {
        let failed = |action| {
            move |source| L4Error::Map {
                action,
                map: abi::CLUSTER_INTERFACES,
                source,
            }
        };
        let old: Result<Vec<u32>, _> = self.cluster_interfaces.keys().collect();
        for index in old
            .map_err(failed("read"))?
            .iter()
            .filter(|index| !indices.contains(index))
        {
            self.cluster_interfaces.remove(index).map_err(failed("write"))?;
        }
        for index in indices {
            self.cluster_interfaces
                .insert(index, 1, 0)
                .map_err(failed("write"))?;
        }
        Ok(())
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
            Step::PutNode(id, node) => self
                .nodes
                .insert(u32::from(id.0), node, 0)
                .map_err(write(abi::NODES)),
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
            Step::PutVip(key, vip) => self.vips.insert(key, vip, 0).map_err(write(abi::VIPS)),
            Step::RemoveVip(key) => absent_is_fine(self.vips.remove(key)).map_err(write(abi::VIPS)),
            Step::RemoveNodeAddress(address) => {
                absent_is_fine(self.node_addresses.remove(address)).map_err(write(abi::NODE_ADDRESSES))
            }
            Step::RemoveNodeMac(mac) => {
                absent_is_fine(self.node_macs.remove(mac)).map_err(write(abi::NODE_MACS))
            }
            Step::RemoveNode(id) => {
                absent_is_fine(self.nodes.remove(&u32::from(id.0))).map_err(write(abi::NODES))
            }
        }
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
        let out_of_bounds = MapError::OutOfBounds {
            index: index as u32,
            max_entries: self.halves.len() as u32,
        };
        let failed = L4Error::Map {
            action: "write",
            map: abi::HALVES,
            source: out_of_bounds,
        };
        self.halves.flip(index, half).then_some(()).ok_or(failed)
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

fn mapped(map: Map, name: &'static str, entries: u32) -> Result<Mapped, L4Error> {
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

/// Waits until every packet is done that may have read what was live before.
///
/// # Kernel
/// `membarrier(MEMBARRIER_CMD_GLOBAL)` (4.3) waits for an RCU grace period, and XDP runs within one. Where it is
/// refused, a rest as long as any packet could take does the same.
fn wait_for_readers() {
    /// Packets take microseconds; this allows for a host that stole the CPU.
    const REST: std::time::Duration = std::time::Duration::from_millis(20);
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: a system call without pointers.
    let done = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if done != 0 {
        std::thread::sleep(REST);
    }
}
