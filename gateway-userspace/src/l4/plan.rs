//! The order in which the maps are changed.
//!
//! The kernel may run between any two writes, so each prefix of a plan must be a working state: nodes before the tables
//! that name them, tables before the VIPs that use them, removals the other way round and only after a grace period in
//! which every packet that saw the old state is done. Checked by `every_prefix_forwards`.

use std::collections::BTreeMap;
use std::sync::Arc;

use gateway_common::abi::MacKey;
use gateway_common::maglev::Slot;
use gateway_common::node::{NodeEntry, NodeId, Settings};
use gateway_common::vip::{Address, TableId, VipEntry, VipKey};

use super::desired::Desired;

/// One write, or one wait.
#[derive(Clone, Debug)]
pub enum Step {
    /// Waits until no packet reads what was live before.
    Grace,
    /// Adds a node, or swaps its entry.
    PutNode(NodeId, NodeEntry),
    /// Adds or changes a node's address.
    PutNodeAddress(Address, NodeId),
    /// Adds or changes a node's hardware address.
    PutNodeMac(MacKey, NodeId),
    /// Writes the idle half of the settings, and flips.
    SwapSettings(Settings),
    /// Writes the idle half of a table, and flips.
    SwapTable(TableId, Arc<[Slot]>),
    /// Adds a VIP, or swaps its entry.
    PutVip(VipKey, VipEntry),
    /// Removes a VIP.
    RemoveVip(VipKey),
    /// Removes a node's address.
    RemoveNodeAddress(Address),
    /// Removes a node's hardware address.
    RemoveNodeMac(MacKey),
    /// Removes a node.
    RemoveNode(NodeId),
}

/// The steps from what is in the maps to what should be.
pub fn plan(now: &Desired, next: &Desired) -> Vec<Step> {
    let mut steps = Vec::new();
    let tables: BTreeMap<_, _> = next
        .tables
        .iter()
        .filter(|(id, slots)| now.tables.get(id).is_none_or(|now| !same(now, slots)))
        .collect();
    if !tables.is_empty() || now.settings != next.settings {
        // Readers of the half that was live before the last flip must be done before it is written again.
        steps.push(Step::Grace);
    }
    for (id, node) in &next.nodes {
        if now.nodes.get(id) != Some(node) {
            steps.push(Step::PutNode(*id, *node));
        }
    }
    for (address, id) in &next.node_addresses {
        if now.node_addresses.get(address) != Some(id) {
            steps.push(Step::PutNodeAddress(*address, *id));
        }
    }
    for (mac, id) in &next.node_macs {
        if now.node_macs.get(mac) != Some(id) {
            steps.push(Step::PutNodeMac(*mac, *id));
        }
    }
    if now.settings != next.settings {
        steps.push(Step::SwapSettings(next.settings));
    }
    for (id, slots) in tables {
        steps.push(Step::SwapTable(*id, Arc::clone(slots)));
    }
    for (key, vip) in &next.vips {
        if now.vips.get(key) != Some(vip) {
            steps.push(Step::PutVip(*key, *vip));
        }
    }
    let removals: Vec<Step> = (now.vips.keys().filter(|key| !next.vips.contains_key(key)))
        .map(|key| Step::RemoveVip(*key))
        .chain(removed_nodes(now, next))
        .collect();
    let removes_nodes = removals.iter().any(|step| !matches!(step, Step::RemoveVip(_)));
    if removes_nodes {
        steps.push(Step::Grace);
    }
    steps.extend(removals);
    steps
}

/// What stands in the maps after a step that succeeded.
pub fn record(now: &mut Desired, step: &Step) {
    match step {
        Step::Grace => {}
        Step::PutNode(id, node) => {
            now.nodes.insert(*id, *node);
        }
        Step::PutNodeAddress(address, id) => {
            now.node_addresses.insert(*address, *id);
        }
        Step::PutNodeMac(mac, id) => {
            now.node_macs.insert(*mac, *id);
        }
        Step::SwapSettings(settings) => now.settings = *settings,
        Step::SwapTable(id, slots) => {
            now.tables.insert(*id, Arc::clone(slots));
        }
        Step::PutVip(key, vip) => {
            now.vips.insert(*key, *vip);
        }
        Step::RemoveVip(key) => {
            now.vips.remove(key);
        }
        Step::RemoveNodeAddress(address) => {
            now.node_addresses.remove(address);
        }
        Step::RemoveNodeMac(mac) => {
            now.node_macs.remove(mac);
        }
        Step::RemoveNode(id) => {
            now.nodes.remove(id);
        }
    }
}

fn removed_nodes<'a>(now: &'a Desired, next: &'a Desired) -> impl Iterator<Item = Step> + 'a {
    let addresses = now
        .node_addresses
        .keys()
        .filter(|address| !next.node_addresses.contains_key(address));
    let macs = now
        .node_macs
        .keys()
        .filter(|mac| !next.node_macs.contains_key(*mac));
    let nodes = now.nodes.keys().filter(|id| !next.nodes.contains_key(id));
    addresses
        .map(|address| Step::RemoveNodeAddress(*address))
        .chain(macs.map(|mac| Step::RemoveNodeMac(*mac)))
        .chain(nodes.map(|id| Step::RemoveNode(*id)))
}

fn same(now: &Arc<[Slot]>, next: &Arc<[Slot]>) -> bool {
    Arc::ptr_eq(now, next) || now == next
}

#[cfg(test)]
mod tests;
