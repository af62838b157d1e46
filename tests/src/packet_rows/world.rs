//! From a configuration to what stands in the program's maps.
//!
//! Owners come from `gateway_common::maglev`, cookies and VIPs' keys from where production has them: so a file shows what a
//! cluster of such nodes would do.

use std::collections::HashMap;
use std::sync::Arc;

use gateway::config::snapshot::{Payload, Steering, Transport, Vip, VipProtection};
use gateway::l4::desired;
use gateway::l4::plan::Step;
use gateway::view;
use gateway_common::abi::mac_key;
use gateway_common::flow::UDP_IDLE_NS;
use gateway_common::forward::TABLE_OF_ALL;
use gateway_common::gue;
use gateway_common::headers::{PROTOCOL_TCP, mac_words};
use gateway_common::maglev::{self, Chooser, SLOTS, Slot};
use gateway_common::node::{NodeEntry, NodeId, Settings};
use gateway_common::vip::{Address, SteeringCode, TableId, VipEntry, VipId, VipKey};

use super::config::Config;
use super::nodes::NodeGiven;
use super::vips::VipGiven;

/// The life of every node's sockets: no row can tell one from another.
const INCARNATION: u32 = 1;

/// All that is written before the first frame.
#[derive(Debug)]
pub struct World {
    /// The writes, in an order that forwards at each step.
    pub steps: Vec<Step>,
    /// Maglev tables among them.
    pub tables: u32,
}

/// What all slots of a table follow from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct TableKey {
    shares: Vec<(NodeId, u32)>,
    previous: Vec<NodeId>,
    successor: Option<NodeId>,
}

/// What stands in the maps for that configuration.
pub fn world(config: &Config) -> World {
    let me = config.nodes.first().map(|node| node.id).unwrap_or_default();
    let mut steps = Vec::new();
    for node in &config.nodes {
        put_node(node, config.hash_key, &mut steps);
    }
    steps.push(Step::SwapSettings(settings(config, me)));
    let all = TableKey {
        shares: shares(
            config,
            &config.nodes.iter().map(|node| node.id).collect::<Vec<_>>(),
        ),
        previous: Vec::new(),
        successor: None,
    };
    let mut tables = HashMap::from([(all.clone(), TABLE_OF_ALL)]);
    steps.push(Step::SwapTable(TABLE_OF_ALL, slots(&all, me)));
    let mut vips = HashMap::new();
    for (index, vip) in config.vips.iter().enumerate() {
        let key = TableKey {
            shares: shares(config, &vip.nodes),
            previous: vip.previous.clone(),
            successor: vip.successor,
        };
        let next = TableId(tables.len() as u32);
        let table = *tables.entry(key.clone()).or_insert(next);
        if table == next {
            steps.push(Step::SwapTable(table, slots(&key, me)));
        }
        put_vip(vip, VipId(index as u16 + 1), table, &mut vips);
    }
    steps.push(Step::SwapVips(
        vips.into_iter().map(|(key, vip)| (key, Some(vip))).collect(),
    ));
    World {
        steps,
        tables: tables.len() as u32,
    }
}

fn settings(config: &Config, me: NodeId) -> Settings {
    let node = config.nodes.first();
    Settings {
        hash_key: config.hash_key,
        cookie: node.map(|node| cookie(node, config.hash_key)).unwrap_or_default(),
        udp_idle_ns: UDP_IDLE_NS,
        address: address(node.and_then(|node| node.address)),
        address_v6: address(node.and_then(|node| node.address_v6)),
        node: me,
        encapsulation: config.encapsulation,
        heartbeat_port: config.heartbeat_port.to_be(),
        zero: 0,
    }
}

fn address(given: Option<impl Into<Address>>) -> Address {
    given.map(Into::into).unwrap_or_default()
}

fn cookie(node: &NodeGiven, hash_key: [u64; 2]) -> u64 {
    node.cookie.unwrap_or_else(|| gue::cookie(hash_key, node.id))
}

fn put_node(node: &NodeGiven, hash_key: [u64; 2], steps: &mut Vec<Step>) {
    let mac = node.mac.map(mac_words).unwrap_or_default();
    let entry = NodeEntry {
        address: address(node.address),
        address_v6: address(node.address_v6),
        cookie: cookie(node, hash_key),
        mac: node.address.map(|_| mac).unwrap_or_default(),
        mac_v6: node.address_v6.map(|_| mac).unwrap_or_default(),
        incarnation: INCARNATION,
        mtu: node.mtu.unwrap_or(0),
        mtu_v6: node.mtu_v6.unwrap_or(0),
        ..NodeEntry::default()
    };
    steps.push(Step::PutNode(node.id, entry));
    for address in [entry.address, entry.address_v6] {
        if !address.is_unset() {
            steps.push(Step::PutNodeAddress(address, node.id));
        }
    }
    if mac != [0; 3] {
        steps.push(Step::PutNodeMac(mac_key(mac), node.id));
    }
}

/// The shares of those nodes, by number, as every node of a cluster lists them.
fn shares(config: &Config, ids: &[NodeId]) -> Vec<(NodeId, u32)> {
    let mut shares: Vec<(NodeId, u32)> = (config.nodes.iter())
        .filter(|node| ids.contains(&node.id) && node.weight > 0)
        .map(|node| (node.id, node.weight))
        .collect();
    shares.sort_unstable();
    shares
}

fn owners(shares: &[(NodeId, u32)]) -> Vec<NodeId> {
    let mut owners = vec![NodeId::NOBODY; SLOTS as usize];
    maglev::fill(shares, &mut vec![Chooser::default(); shares.len()], &mut owners);
    owners
}

fn slots(key: &TableKey, me: NodeId) -> Arc<[Slot]> {
    let without_me: Vec<_> = (key.shares.iter().copied()).filter(|(id, _)| *id != me).collect();
    let slot = |(owner, successor): (NodeId, NodeId)| {
        let mut earlier = key.previous.iter().copied().filter(|id| *id != owner);
        let previous = [(); 2].map(|()| earlier.next().unwrap_or_default());
        let successor = match (key.successor, owner == me) {
            (Some(given), true) => given,
            (None, true) => successor,
            (_, false) => NodeId::NOBODY,
        };
        Slot::new(owner, previous, successor)
    };
    owners(&key.shares)
        .into_iter()
        .zip(owners(&without_me))
        .map(slot)
        .collect()
}

/// Adds the keys of one VIP, as production does.
fn put_vip(given: &VipGiven, id: VipId, table: TableId, vips: &mut HashMap<VipKey, VipEntry>) {
    let vip = Vip {
        name: format!("vip {}", id.0),
        address: given.address,
        ports: given.ports.clone(),
        protocol: match given.protocol {
            PROTOCOL_TCP => Transport::Tcp,
            _ => Transport::Udp,
        },
        steering: if given.steering == SteeringCode::IP_HASH {
            Steering::IpHash
        } else {
            Steering::FlowHash
        },
        payload: if given.quic { Payload::Quic } else { Payload::Plain },
        protection: VipProtection::default(),
    };
    let table_of = view::keys(&vip).map(|key| (key, table)).collect();
    desired::put_vip(vips, &vip, id, &table_of);
}
