//! The order in which the maps are changed.
//!
//! The kernel may run between any two writes, so each prefix of a plan must be a working state: nodes before the tables
//! that name them, tables before the VIPs that move to them, VIPs before a table that they leave is filled anew, removals
//! the other way round and only after a grace period in which every packet that saw the old state is done. Checked by
//! `every_prefix_forwards`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use gateway_common::abi::MacKey;
use gateway_common::forward::TABLE_OF_ALL;
use gateway_common::maglev::Slot;
use gateway_common::node::{NodeEntry, NodeId, Settings};
use gateway_common::vip::{Address, TableId, VipEntry, VipKey};

use super::desired::Desired;

/// One write, or one wait.
#[derive(Clone, Debug)]
pub enum Step {
    /// Waits until no packet reads what was live before.
    Grace,
    /// Adds a node, or changes its entry: writes the idle half of it, and flips.
    PutNode(NodeId, NodeEntry),
    /// Adds or changes a node's address.
    PutNodeAddress(Address, NodeId),
    /// Adds or changes a node's hardware address.
    PutNodeMac(MacKey, NodeId),
    /// Writes the idle half of the settings, and flips.
    SwapSettings(Settings),
    /// Writes the idle half of a table, and flips.
    SwapTable(TableId, Arc<[Slot]>),
    /// Adds VIPs, changes their entries, or removes them, where there is none: writes the idle half of all, and flips.
    SwapVips(Vec<(VipKey, Option<VipEntry>)>),
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
    if !tables.is_empty() || now.settings != next.settings || now.nodes != next.nodes || now.vips != next.vips
    {
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
    steer(&mut steps, now, next, tables);
    let removals: Vec<Step> = removed_nodes(now, next).collect();
    if !removals.is_empty() {
        steps.push(Step::Grace);
    }
    steps.extend(removals);
    steps
}

/// The steps that fill tables, move VIPs between them and remove VIPs.
///
/// A table that a VIP leaves is filled with its new owners only after that VIP has moved, which may have to wait for its
/// own new table: so this goes in rounds. Where VIPs leave tables in a circle, they go by all members for a moment. That
/// table is never waited for: whoever goes by it must expect any member.
fn steer(steps: &mut Vec<Step>, now: &Desired, next: &Desired, changed: BTreeMap<&TableId, &Arc<[Slot]>>) {
    let mut standing: HashMap<VipKey, VipEntry> = now.vips.clone();
    let mut waiting = changed;
    loop {
        let leaving = |(key, entry): &(&VipKey, &VipEntry)| {
            next.vips.get(key).is_none_or(|next| next.table != entry.table)
        };
        let left: HashSet<TableId> = standing
            .iter()
            .filter(leaving)
            .map(|(_, entry)| entry.table)
            .collect();
        let is_blocked = |id: &TableId| *id != TABLE_OF_ALL && left.contains(id);
        let (blocked, ready): (BTreeMap<_, _>, BTreeMap<_, _>) =
            waiting.into_iter().partition(|(id, _)| is_blocked(id));
        for (id, slots) in &ready {
            steps.push(Step::SwapTable(**id, Arc::clone(slots)));
        }
        let mut changes = Vec::new();
        for (key, vip) in &next.vips {
            if standing.get(key) != Some(vip) && !blocked.contains_key(&vip.table) {
                changes.push((*key, Some(*vip)));
                standing.insert(*key, *vip);
            }
        }
        for key in now.vips.keys().filter(|key| !next.vips.contains_key(*key)) {
            if standing.remove(key).is_some() {
                changes.push((*key, None));
            }
        }
        let is_left = |(key, entry): &(&VipKey, &mut VipEntry)| {
            blocked.contains_key(&entry.table)
                && next.vips.get(*key).is_some_and(|next| next.table != entry.table)
        };
        if !blocked.is_empty()
            && ready.is_empty()
            && blocked.keys().all(|id| left_still(&standing, next, **id))
        {
            for (key, entry) in standing.iter_mut().filter(is_left) {
                entry.table = TABLE_OF_ALL;
                changes.push((*key, Some(*entry)));
            }
        }
        if !changes.is_empty() {
            steps.push(Step::SwapVips(changes));
        }
        if blocked.is_empty() {
            return;
        }
        // Whoever read of a VIP that it goes by the table that it has left must be done with that table.
        steps.push(Step::Grace);
        waiting = blocked;
    }
}

/// Whether a VIP is on that table that is to leave it.
fn left_still(standing: &HashMap<VipKey, VipEntry>, next: &Desired, table: TableId) -> bool {
    let leaves = |key: &VipKey| next.vips.get(key).is_none_or(|next| next.table != table);
    standing
        .iter()
        .any(|(key, entry)| entry.table == table && leaves(key))
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
        Step::SwapVips(changes) => {
            for (key, vip) in changes {
                match vip {
                    Some(vip) => drop(now.vips.insert(*key, *vip)),
                    None => drop(now.vips.remove(key)),
                }
            }
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
