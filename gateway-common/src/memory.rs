//! Frames and tables in memory, for tests, plans and explanations.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use crate::abi::{Budget, MacKey, mac_key};
use crate::flow::{FlowEntry, FlowKey};
use crate::fragment::{FragmentEntry, FragmentKey};
use crate::frame::{Frame, OutOfBounds, Wire};
use crate::maglev::{SLOTS, Slot};
use crate::node::{NodeEntry, NodeId, Settings};
use crate::parse::{About, Network};
use crate::prefix::Prefix;
use crate::protection::{Protection, SourceSet, VipBuckets};
use crate::tables::{Noted, Socket, Tables};
use crate::vip::{Address, TableId, VipEntry, VipId, VipKey};

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

    fn sum<const BYTES: usize>(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..at.checked_add(BYTES)?)?;
        let words = bytes.chunks_exact(2).map(|word| match word {
            [a, b] => u32::from(u16::from_ne_bytes([*a, *b])),
            _ => 0,
        });
        Some(words.sum())
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

    fn truncate(&mut self, bytes: usize) -> Result<(), OutOfBounds> {
        if bytes > self.bytes.len() {
            return Err(OutOfBounds);
        }
        self.bytes.truncate(bytes);
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
    /// Nodes by hardware address.
    pub node_macs: HashMap<MacKey, NodeId>,
    /// Whether frames come in by an interface that nodes are not reached by.
    pub foreign_interface: bool,
    /// The number of the interface that frames come in by.
    pub ingress: u32,
    /// What protects the VIPs; `None`: nothing does.
    pub protection: Option<Protection>,
    /// What protects VIPs that have bounds of their own.
    pub bounds: HashMap<VipId, Protection>,
    /// Denied prefixes, and until when.
    pub denied: HashMap<Prefix, u64>,
    /// Allowed prefixes.
    pub allowed: Vec<Prefix>,
    /// Sources by set; none that is missing has limits.
    pub sources: HashMap<u32, SourceSet>,
    /// Buckets of VIPs; none that is missing has limits.
    pub vip_buckets: HashMap<VipId, VipBuckets>,
    /// What was counted beside reasons.
    pub noted: RefCell<Vec<Noted>>,
    /// The flow table of TCP.
    pub flows: RefCell<HashMap<FlowKey, FlowEntry>>,
    /// The flow table of UDP.
    pub udp_flows: RefCell<HashMap<FlowKey, FlowEntry>>,
    /// Fragmented packets.
    pub fragments: RefCell<HashMap<FragmentKey, FragmentEntry>>,
    /// The clock.
    pub now_ns: Cell<u64>,
    /// When user space last said that it is alive; 0: it never did.
    pub lease_ns: u64,
    /// When nodes were last heard.
    pub heard: RefCell<HashMap<NodeId, u64>>,
    /// Of the ICMP errors that may be sent.
    pub budget: Cell<Budget>,
    /// Sockets by flow; listeners stand under a flow whose source and source port are zero.
    pub sockets: HashMap<FlowKey, Socket>,
}

impl MemoryTables {
    /// A table in which every slot says the same, in its live half.
    pub fn uniform(slot: Slot) -> [Vec<Slot>; 2] {
        [vec![slot; SLOTS as usize], vec![Slot::default(); SLOTS as usize]]
    }

    fn socket(&self, about: &About) -> Socket {
        let listener = FlowKey {
            source: Address::default(),
            ports: [0, about.flow.ports[1]],
            ..about.flow
        };
        let found = self
            .sockets
            .get(&about.flow)
            .or_else(|| self.sockets.get(&listener));
        match found {
            // Only the packet that ends a handshake can complete one.
            Some(Socket::Handshake) if !about.flags.acknowledges() => Socket::Listener,
            Some(socket) => *socket,
            None => Socket::None,
        }
    }
}

impl Tables for MemoryTables {
    fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref()
    }

    fn vip(&self, key: &VipKey) -> Option<&VipEntry> {
        self.vips.get(key)
    }

    fn half(&self, table: TableId) -> u32 {
        self.halves.get(&table).copied().unwrap_or(0) as u32
    }

    fn slot(&self, table: TableId, half: u32, slot: u32) -> Slot {
        let slots = self
            .slots
            .get(&table)
            .and_then(|halves| halves.get(half as usize));
        slots
            .and_then(|slots| slots.get(slot as usize))
            .copied()
            .unwrap_or_default()
    }

    fn node(&self, id: NodeId) -> Option<&NodeEntry> {
        self.nodes.get(&id)
    }

    fn node_at(&self, address: &Address) -> Option<NodeId> {
        self.node_addresses.get(address).copied()
    }

    fn node_with(&self, mac: [u16; 3]) -> Option<NodeId> {
        self.node_macs.get(&mac_key(mac)).copied()
    }

    fn is_cluster_interface(&self) -> bool {
        !self.foreign_interface
    }

    fn is_ingress(&self, interface: u32) -> bool {
        self.ingress == interface
    }

    fn protection(&self) -> Option<&Protection> {
        self.protection.as_ref()
    }

    fn bounds(&self, vip: VipId) -> Option<&Protection> {
        self.bounds.get(&vip).or(self.protection.as_ref())
    }

    fn denied_until_ns(&self, address: &Address) -> Option<u64> {
        let host = Prefix::host(*address);
        let around = self.denied.iter().filter(|(prefix, _)| prefix.covers(&host));
        around
            .max_by_key(|(prefix, _)| prefix.bits())
            .map(|(_, until)| *until)
    }

    fn is_allowed(&self, address: &Address) -> bool {
        let host = Prefix::host(*address);
        self.allowed.iter().any(|prefix| prefix.covers(&host))
    }

    fn sources(&self, set: u32) -> Option<&SourceSet> {
        self.sources.get(&set)
    }

    fn vip_buckets(&self, vip: VipId) -> Option<&VipBuckets> {
        self.vip_buckets.get(&vip)
    }

    fn note(&self, noted: Noted) {
        self.noted.borrow_mut().push(noted);
    }

    fn flow(&self, key: &FlowKey, _hash: u64) -> Option<FlowEntry> {
        self.flows.borrow().get(key).copied()
    }

    fn remember(&self, key: &FlowKey, _hash: u64, entry: FlowEntry) {
        self.flows.borrow_mut().insert(*key, entry);
    }

    fn udp_flow(&self, key: &FlowKey, _hash: u64) -> Option<FlowEntry> {
        self.udp_flows.borrow().get(key).copied()
    }

    fn remember_udp(&self, key: &FlowKey, _hash: u64, entry: FlowEntry) {
        self.udp_flows.borrow_mut().insert(*key, entry);
    }

    fn fragment(&self, key: &FragmentKey) -> Option<FragmentEntry> {
        self.fragments.borrow().get(key).copied()
    }

    fn remember_fragment(&self, key: &FragmentKey, entry: FragmentEntry) {
        self.fragments.borrow_mut().insert(*key, entry);
    }

    fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    fn lease_ns(&self) -> u64 {
        self.lease_ns
    }

    fn heard_ns(&self, node: NodeId) -> u64 {
        self.heard.borrow().get(&node).copied().unwrap_or(0)
    }

    fn hear(&self, node: NodeId) {
        self.heard.borrow_mut().insert(node, self.now_ns.get());
    }

    fn may_send_error(&self) -> bool {
        let mut budget = self.budget.get();
        let may = budget.take(self.now_ns.get());
        self.budget.set(budget);
        may
    }

    fn tcp_socket<F: Frame>(&self, _frame: &F, _packet: &Network, about: &About) -> Socket {
        self.socket(about)
    }

    fn udp_socket(&self, _packet: &Network, about: &About) -> Socket {
        self.socket(about)
    }
}
