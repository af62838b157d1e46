//! Frames and tables in memory, for tests, plans and explanations.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use crate::flow::{FlowEntry, FlowKey};
use crate::frame::{Frame, OutOfBounds, Wire};
use crate::maglev::{SLOTS, Slot};
use crate::node::{NodeEntry, NodeId, Settings};
use crate::parse::Family;
use crate::tables::{Socket, Tables};
use crate::vip::{Address, TableId, VipEntry, VipKey};

/// A frame in memory, with the headroom that a driver gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryFrame {
    /// The bytes, from the Ethernet header on.
    pub bytes: Vec<u8>,
    /// Bytes that may be added before them.
    pub headroom: usize,
}

impl MemoryFrame {
    /// A frame with the kernel's usual headroom of 256 bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, headroom: 256 }
    }
}

impl Frame for MemoryFrame {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn read<H: Wire>(&self, at: usize) -> Option<H> {
        let bytes = self.bytes.get(at..at.checked_add(size_of::<H>())?)?;
        // SAFETY: `bytes` is as long as `H`, and every pattern is a value of a `Wire` type.
        Some(unsafe { bytes.as_ptr().cast::<H>().read_unaligned() })
    }

    fn write<H: Wire>(&mut self, at: usize, header: H) -> Result<(), OutOfBounds> {
        let end = at.checked_add(size_of::<H>()).ok_or(OutOfBounds)?;
        let bytes = self.bytes.get_mut(at..end).ok_or(OutOfBounds)?;
        // SAFETY: `bytes` is as long as `H`.
        unsafe { bytes.as_mut_ptr().cast::<H>().write_unaligned(header) };
        Ok(())
    }

    fn grow_head<const BYTES: usize>(&mut self) -> Result<(), OutOfBounds> {
        self.headroom = self.headroom.checked_sub(BYTES).ok_or(OutOfBounds)?;
        self.bytes.splice(0..0, [0; BYTES]);
        Ok(())
    }

    fn shrink_head(&mut self, bytes: usize) -> Result<(), OutOfBounds> {
        if bytes > self.bytes.len() {
            return Err(OutOfBounds);
        }
        self.bytes.drain(..bytes);
        self.headroom += bytes;
        Ok(())
    }
}

/// The maps of one node in memory.
#[derive(Debug, Default)]
pub struct MemoryTables {
    /// What the program knows of its node.
    pub settings: Option<Settings>,
    /// VIPs.
    pub vips: HashMap<VipKey, VipEntry>,
    /// Both halves of each table; a table that is missing has no owners.
    pub slots: HashMap<TableId, [Vec<Slot>; 2]>,
    /// Which half of each table is live; 0 where missing.
    pub halves: HashMap<TableId, usize>,
    /// Nodes by number.
    pub nodes: HashMap<NodeId, NodeEntry>,
    /// Nodes by address.
    pub node_addresses: HashMap<Address, NodeId>,
    /// Whether frames come in by an interface that nodes are not reached by.
    pub foreign_interface: bool,
    /// The flow table.
    pub flows: RefCell<HashMap<FlowKey, FlowEntry>>,
    /// The clock.
    pub now_ns: Cell<u64>,
    /// Sockets by flow; listeners stand under a flow whose source and source port are zero.
    pub sockets: HashMap<FlowKey, Socket>,
}

impl MemoryTables {
    /// A table in which every slot says the same, in its live half.
    pub fn uniform(slot: Slot) -> [Vec<Slot>; 2] {
        [vec![slot; SLOTS as usize], vec![Slot::default(); SLOTS as usize]]
    }
}

impl Tables for MemoryTables {
    fn settings(&self) -> Option<Settings> {
        self.settings
    }

    fn vip(&self, key: &VipKey) -> Option<VipEntry> {
        self.vips.get(key).copied()
    }

    fn slot(&self, table: TableId, slot: u32) -> Slot {
        let half = self.halves.get(&table).copied().unwrap_or(0);
        let slots = self.slots.get(&table).and_then(|halves| halves.get(half));
        slots
            .and_then(|slots| slots.get(slot as usize))
            .copied()
            .unwrap_or_default()
    }

    fn node(&self, id: NodeId) -> Option<NodeEntry> {
        self.nodes.get(&id).copied()
    }

    fn node_at(&self, address: &Address) -> Option<NodeId> {
        self.node_addresses.get(address).copied()
    }

    fn is_cluster_interface(&self) -> bool {
        !self.foreign_interface
    }

    fn flow(&self, key: &FlowKey) -> Option<FlowEntry> {
        self.flows.borrow().get(key).copied()
    }

    fn remember(&self, key: &FlowKey, entry: FlowEntry) {
        self.flows.borrow_mut().insert(*key, entry);
    }

    fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    fn socket(&self, flow: &FlowKey, _family: Family) -> Socket {
        let listener = FlowKey {
            source: Address::default(),
            ports: [0, flow.ports[1]],
            ..*flow
        };
        self.sockets
            .get(flow)
            .or_else(|| self.sockets.get(&listener))
            .copied()
            .unwrap_or(Socket::None)
    }
}
