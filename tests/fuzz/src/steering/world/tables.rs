//! A node's tables as the packet's way reads them.

use gateway_common::flow::{FlowEntry, FlowKey};
use gateway_common::fragment::{FragmentEntry, FragmentKey};
use gateway_common::frame::Frame;
use gateway_common::maglev::{self, Slot};
use gateway_common::node::{NodeEntry, NodeId, Settings};
use gateway_common::parse::{About, Network};
use gateway_common::protection::{Protection, SourceSet, VipBuckets};
use gateway_common::tables::{Noted, Socket, Tables};
use gateway_common::vip::{Address, TableId, VipEntry, VipId, VipKey};

use super::{NOW_NS, NodeTables, SECOND_NS, SLOTS};

/// The maps are those in memory. Slots, sockets and what is remembered at first do not hang on the flow.
impl Tables for NodeTables {
    fn settings(&self) -> Option<&Settings> {
        self.memory.settings()
    }

    fn vip(&self, key: &VipKey) -> Option<&VipEntry> {
        self.memory.vip(key)
    }

    fn half(&self, table: TableId) -> u32 {
        self.memory.half(table)
    }

    fn slot(&self, _table: TableId, _half: u32, slot: u32) -> Slot {
        assert!(slot < maglev::SLOTS, "slot {slot}");
        let [owner, first, second, successor] = self.own.slots[slot as usize % SLOTS].map(NodeId);
        Slot::new(owner, [first, second], successor)
    }

    fn node(&self, id: NodeId) -> Option<&NodeEntry> {
        self.memory.node(id)
    }

    fn node_at(&self, address: &Address) -> Option<NodeId> {
        self.memory.node_at(address)
    }

    fn node_with(&self, mac: [u16; 3]) -> Option<NodeId> {
        self.memory.node_with(mac)
    }

    fn is_cluster_interface(&self) -> bool {
        self.memory.is_cluster_interface()
    }

    fn is_ingress(&self, interface: u32) -> bool {
        self.memory.is_ingress(interface)
    }

    fn protection(&self) -> Option<&Protection> {
        self.memory.protection()
    }

    fn bounds(&self, vip: VipId) -> Option<&Protection> {
        self.memory.bounds(vip)
    }

    fn denied_until_ns(&self, address: &Address) -> Option<u64> {
        self.memory.denied_until_ns(address)
    }

    fn is_allowed(&self, address: &Address) -> bool {
        self.memory.is_allowed(address)
    }

    fn sources(&self, set: u32) -> Option<&SourceSet> {
        self.memory.sources(set)
    }

    fn vip_buckets(&self, vip: VipId) -> Option<&VipBuckets> {
        self.memory.vip_buckets(vip)
    }

    fn note(&self, noted: Noted) {
        self.memory.note(noted);
    }

    fn flow(&self, key: &FlowKey, hash: u64) -> Option<FlowEntry> {
        self.memory.flow(key, hash).or_else(|| self.remembered())
    }

    fn remember(&self, key: &FlowKey, hash: u64, entry: FlowEntry) {
        self.memory.remember(key, hash, entry);
    }

    fn udp_flow(&self, key: &FlowKey, hash: u64) -> Option<FlowEntry> {
        self.memory.udp_flow(key, hash).or_else(|| self.remembered())
    }

    fn remember_udp(&self, key: &FlowKey, hash: u64, entry: FlowEntry) {
        self.memory.remember_udp(key, hash, entry);
    }

    fn fragment(&self, key: &FragmentKey) -> Option<FragmentEntry> {
        let node = NodeId(u16::from(self.own.fragment & 7));
        let entry = FragmentEntry {
            node,
            zero: [0; 3],
            at_ns: NOW_NS - u64::from(self.own.fragment >> 3 & 1) * 60 * SECOND_NS,
        };
        let first = (!node.is_nobody()).then_some(entry);
        self.memory.fragment(key).or(first)
    }

    fn remember_fragment(&self, key: &FragmentKey, entry: FragmentEntry) {
        self.memory.remember_fragment(key, entry);
    }

    fn now_ns(&self) -> u64 {
        self.memory.now_ns()
    }

    fn lease_ns(&self) -> u64 {
        self.memory.lease_ns()
    }

    fn heard_ns(&self, node: NodeId) -> u64 {
        self.memory.heard_ns(node)
    }

    fn hear(&self, node: NodeId) {
        self.memory.hear(node);
    }

    fn may_send_error(&self) -> bool {
        self.memory.may_send_error()
    }

    fn tcp_socket<F: Frame>(&self, _frame: &F, _packet: &Network, about: &About) -> Socket {
        self.socket(0, about)
    }

    fn udp_socket(&self, _packet: &Network, about: &About) -> Socket {
        self.socket(2, about)
    }
}
