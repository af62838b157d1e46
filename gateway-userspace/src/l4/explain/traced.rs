//! Tables that note what a decision asks of them, and remember nothing of what it tells them.

use std::cell::RefCell;

use gateway_common::flow::{FlowEntry, FlowKey};
use gateway_common::fragment::{FragmentEntry, FragmentKey};
use gateway_common::frame::Frame;
use gateway_common::maglev::Slot;
use gateway_common::node::{NodeEntry, NodeId, Settings};
use gateway_common::parse::{About, Network};
use gateway_common::protection::{Protection, SourceSet, VipBuckets};
use gateway_common::tables::{Noted, Socket, Tables};
use gateway_common::vip::{Address, TableId, VipEntry, VipId, VipKey};

/// One thing that was asked, and what was answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Look {
    /// The VIP of a key.
    Vip(VipKey, Option<VipEntry>),
    /// Until when the sender is denied; `None`: it is not listed.
    Denied(Option<u64>),
    /// The bounds of new connections that hold for it.
    Bounds(Option<Protection>),
    /// Whether it is allowed all the same.
    Allowed(bool),
    /// What would be counted beside the reason.
    Noted(Noted),
    /// A slot.
    Slot {
        /// Of that table.
        table: TableId,
        /// Its number.
        index: u32,
        /// What it says.
        slot: Slot,
    },
    /// What is remembered of the flow.
    Flow(Option<FlowEntry>),
    /// The socket that would take the packet.
    Socket(Socket),
    /// The flow would be remembered to be that node's.
    Remembers(NodeId),
}

/// Tables, and what they were asked.
pub(super) struct Traced<'t, T> {
    tables: &'t T,
    looks: RefCell<Vec<Look>>,
}

impl<'t, T> Traced<'t, T> {
    pub(super) fn new(tables: &'t T) -> Self {
        Self {
            tables,
            looks: RefCell::default(),
        }
    }

    /// All of it, in its order.
    pub(super) fn into_looks(self) -> Vec<Look> {
        self.looks.into_inner()
    }

    fn looked(&self, look: Look) {
        self.looks.borrow_mut().push(look);
    }
}

impl<T: Tables> Tables for Traced<'_, T> {
    fn settings(&self) -> Option<&Settings> {
        self.tables.settings()
    }

    fn vip(&self, key: &VipKey) -> Option<&VipEntry> {
        let found = self.tables.vip(key);
        self.looked(Look::Vip(*key, found.copied()));
        found
    }

    fn half(&self, table: TableId) -> u32 {
        self.tables.half(table)
    }

    fn slot(&self, table: TableId, half: u32, index: u32) -> Slot {
        let slot = self.tables.slot(table, half, index);
        self.looked(Look::Slot { table, index, slot });
        slot
    }

    fn node(&self, id: NodeId) -> Option<&NodeEntry> {
        self.tables.node(id)
    }

    fn node_at(&self, address: &Address) -> Option<NodeId> {
        self.tables.node_at(address)
    }

    fn node_with(&self, mac: [u16; 3]) -> Option<NodeId> {
        self.tables.node_with(mac)
    }

    fn is_cluster_interface(&self) -> bool {
        self.tables.is_cluster_interface()
    }

    fn is_ingress(&self, interface: u32) -> bool {
        self.tables.is_ingress(interface)
    }

    fn protection(&self) -> Option<&Protection> {
        self.tables.protection()
    }

    fn bounds(&self, vip: VipId) -> Option<&Protection> {
        let bounds = self.tables.bounds(vip);
        self.looked(Look::Bounds(bounds.copied()));
        bounds
    }

    fn denied_until_ns(&self, address: &Address) -> Option<u64> {
        let until = self.tables.denied_until_ns(address);
        self.looked(Look::Denied(until));
        until
    }

    fn is_allowed(&self, address: &Address) -> bool {
        let is_allowed = self.tables.is_allowed(address);
        self.looked(Look::Allowed(is_allowed));
        is_allowed
    }

    fn sources(&self, set: u32) -> Option<&SourceSet> {
        self.tables.sources(set)
    }

    fn vip_buckets(&self, vip: VipId) -> Option<&VipBuckets> {
        self.tables.vip_buckets(vip)
    }

    fn note(&self, noted: Noted) {
        self.looked(Look::Noted(noted));
    }

    fn flow(&self, key: &FlowKey, hash: u64) -> Option<FlowEntry> {
        let found = self.tables.flow(key, hash);
        self.looked(Look::Flow(found));
        found
    }

    fn remember(&self, _: &FlowKey, _: u64, entry: FlowEntry) {
        self.looked(Look::Remembers(entry.node));
    }

    fn udp_flow(&self, key: &FlowKey, hash: u64) -> Option<FlowEntry> {
        let found = self.tables.udp_flow(key, hash);
        self.looked(Look::Flow(found));
        found
    }

    fn remember_udp(&self, _: &FlowKey, _: u64, entry: FlowEntry) {
        self.looked(Look::Remembers(entry.node));
    }

    fn fragment(&self, key: &FragmentKey) -> Option<FragmentEntry> {
        self.tables.fragment(key)
    }

    fn remember_fragment(&self, _: &FragmentKey, _: FragmentEntry) {}

    fn now_ns(&self) -> u64 {
        self.tables.now_ns()
    }

    fn lease_ns(&self) -> u64 {
        self.tables.lease_ns()
    }

    fn heard_ns(&self, node: NodeId) -> u64 {
        self.tables.heard_ns(node)
    }

    fn hear(&self, _: NodeId) {}

    fn may_send_error(&self) -> bool {
        true
    }

    fn tcp_socket<F: Frame>(&self, frame: &F, packet: &Network, about: &About) -> Socket {
        let socket = self.tables.tcp_socket(frame, packet, about);
        self.looked(Look::Socket(socket));
        socket
    }

    fn udp_socket(&self, packet: &Network, about: &About) -> Socket {
        let socket = self.tables.udp_socket(packet, about);
        self.looked(Look::Socket(socket));
        socket
    }
}
