//! What should be in the maps: a pure function of snapshot, view and resolved neighbours.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use gateway_common::hash::vip_salt;
use gateway_common::headers::{Mac, PROTOCOL_TCP, PROTOCOL_UDP, mac_words};
use gateway_common::maglev::Slot;
use gateway_common::node::{NodeEntry, NodeId, Settings};
use gateway_common::vip::{Address, SteeringCode, TableId, VipEntry, VipId, VipKey};

use super::owners::{self, OwnersCache};
use crate::config::snapshot::{Snapshot, Steering, Transport};
use crate::view::{Member, View};

/// The contents of the maps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// What the program knows of its node.
    pub settings: Settings,
    /// Nodes by number.
    pub nodes: BTreeMap<NodeId, NodeEntry>,
    /// Nodes by address.
    pub node_addresses: HashMap<Address, NodeId>,
    /// Tables by number.
    pub tables: BTreeMap<TableId, Arc<[Slot]>>,
    /// VIPs by address, port and protocol.
    pub vips: HashMap<VipKey, VipEntry>,
}

/// Hardware addresses of next hops, by the address of the node behind them.
pub type Neighbours = HashMap<IpAddr, Mac>;

/// The contents of the maps for that snapshot and view, on the node of that name.
///
/// `vip_ids` are those of the counters, one for each VIP of the snapshot that is to be counted apart.
pub fn desired(
    snapshot: &Snapshot,
    view: &View,
    neighbours: &Neighbours,
    vip_ids: &HashMap<String, VipId>,
    cache: &mut OwnersCache,
) -> Desired {
    let me = view
        .member(&snapshot.node.name)
        .map(|member| member.id)
        .unwrap_or_default();
    let table = TableId(0);
    let mut desired = Desired {
        settings: settings(snapshot, view, me),
        tables: BTreeMap::from([(table, owners::slots(cache, view, me).into())]),
        ..Desired::default()
    };
    for member in &view.members {
        desired.nodes.insert(member.id, node_entry(member, neighbours));
        for address in addresses(member) {
            desired.node_addresses.insert(address.into(), member.id);
        }
    }
    for vip in &snapshot.vips {
        let address = Address::from(vip.address);
        let protocol = u16::from(match vip.protocol {
            Transport::Tcp => PROTOCOL_TCP,
            Transport::Udp => PROTOCOL_UDP,
        });
        let steering = match vip.steering {
            Steering::FlowHash => SteeringCode::FLOW_HASH,
            Steering::IpHash => SteeringCode::IP_HASH,
        };
        let id = vip_ids.get(&vip.name).copied().unwrap_or_default();
        let entry = VipEntry {
            id,
            steering,
            table,
            salt: vip_salt(&address, protocol),
        };
        for port in &vip.ports {
            desired.vips.insert(
                VipKey {
                    address,
                    port: port.to_be(),
                    protocol,
                },
                entry,
            );
        }
    }
    desired
}

fn settings(snapshot: &Snapshot, view: &View, me: NodeId) -> Settings {
    Settings {
        hash_key: view.hash_key,
        address: snapshot.node.address.map(Address::from).unwrap_or_default(),
        address_v6: snapshot.node.address_v6.map(Address::from).unwrap_or_default(),
        node: me,
        zero: [0; 3],
    }
}

/// The addresses of a member.
pub fn addresses(member: &Member) -> impl Iterator<Item = IpAddr> {
    member
        .address
        .map(IpAddr::V4)
        .into_iter()
        .chain(member.address_v6.map(IpAddr::V6))
}

fn node_entry(member: &Member, neighbours: &Neighbours) -> NodeEntry {
    let mac = |address: Option<IpAddr>| {
        let mac = address
            .and_then(|address| neighbours.get(&address))
            .copied()
            .unwrap_or_default();
        mac_words(mac)
    };
    NodeEntry {
        address: member.address.map(Address::from).unwrap_or_default(),
        address_v6: member.address_v6.map(Address::from).unwrap_or_default(),
        mac: mac(member.address.map(IpAddr::V4)),
        mac_v6: mac(member.address_v6.map(IpAddr::V6)),
        incarnation: member.incarnation,
    }
}
