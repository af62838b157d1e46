//! What should be in the maps: a pure function of snapshot, view and resolved neighbours.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use gateway_common::abi::{MacKey, mac_key};
use gateway_common::gue;
use gateway_common::hash::vip_salt;
use gateway_common::headers::{Mac, PROTOCOL_TCP, PROTOCOL_UDP, mac_words};
use gateway_common::maglev::Slot;
use gateway_common::node::{EncapsulationCode, NodeEntry, NodeId, Settings};
use gateway_common::vip::{Address, SteeringCode, TableId, VipEntry, VipFlags, VipId, VipKey};

use super::owners::OwnersCache;
use super::tables;
use crate::config::snapshot::{Dataplane, Encapsulation, Payload, Snapshot, Steering, Transport, Vip};
use crate::view::{Member, View, keys};

/// The contents of the maps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// What the program knows of its node.
    pub settings: Settings,
    /// Nodes by number.
    pub nodes: BTreeMap<NodeId, NodeEntry>,
    /// Nodes by address.
    pub node_addresses: HashMap<Address, NodeId>,
    /// Nodes by hardware address.
    pub node_macs: HashMap<MacKey, NodeId>,
    /// Tables by number.
    pub tables: BTreeMap<TableId, Arc<[Slot]>>,
    /// VIPs by address, port and protocol.
    pub vips: HashMap<VipKey, VipEntry>,
    /// Keys of VIPs that want a table of their own, but go by that of all members: `dataplane.tables` are used up.
    pub without_table: usize,
}

/// Next hops, by the address of the node behind them.
pub type Neighbours = HashMap<IpAddr, Neighbour>;

/// The next hop to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its hardware address.
    pub mac: Mac,
    /// Longest IP packet that the interface there takes, in bytes.
    pub mtu: u32,
    /// That interface.
    pub interface: u32,
    /// Its hardware address.
    pub from: Mac,
}

/// The contents of the maps for that snapshot and view, on the node of that name.
///
/// `vip_ids` are those of the counters, one for each VIP of the snapshot that is to be counted apart; `now` is what stands
/// in the maps, for VIPs stay on the tables that they are on.
pub fn desired(
    snapshot: &Snapshot,
    dataplane: &Dataplane,
    view: &View,
    neighbours: &Neighbours,
    vip_ids: &HashMap<String, VipId>,
    now: &Desired,
    cache: &mut OwnersCache,
) -> Desired {
    let me = view
        .member(&snapshot.node.name)
        .map(|member| member.id)
        .unwrap_or_default();
    let keys: Vec<VipKey> = snapshot.vips.iter().flat_map(keys).collect();
    let steering = tables::steering(view, me, &keys, &now.vips, dataplane.tables, cache);
    let mut desired = Desired {
        settings: settings(snapshot, dataplane, view, me),
        tables: steering.tables,
        without_table: steering.without_table,
        ..Desired::default()
    };
    for member in &view.members {
        let entry = node_entry(member, dataplane, view, neighbours);
        desired.nodes.insert(member.id, entry);
        for address in addresses(member) {
            desired.node_addresses.insert(address.into(), member.id);
        }
        for mac in [entry.mac, entry.mac_v6] {
            if mac != [0; 3] {
                desired.node_macs.insert(mac_key(mac), member.id);
            }
        }
    }
    for vip in &snapshot.vips {
        let id = vip_ids.get(&vip.name).copied().unwrap_or_default();
        put_vip(&mut desired.vips, vip, id, &steering.table_of);
    }
    keep_former(&mut desired, now);
    desired
}

/// Former members that are still believed as senders, at most: as many as a cluster has members.
const FORMER_NODES_MAX: usize = 64;

/// Goes on believing what former members send. A node whose process died is no member, but its kernel program may still
/// get packets and steer them here; without this, clients behind such a director would reach nobody.
///
/// Nothing is sent to them once the tables are live: no slot names them, and no flow is remembered to be theirs.
fn keep_former(desired: &mut Desired, now: &Desired) {
    let mut kept = 0;
    for (id, entry) in &now.nodes {
        let addresses = [entry.address, entry.address_v6];
        let own = || addresses.into_iter().filter(|address| !address.is_unset());
        let is_taken = own().any(|address| desired.node_addresses.contains_key(&address));
        if desired.nodes.contains_key(id) || is_taken || kept == FORMER_NODES_MAX {
            continue;
        }
        kept += 1;
        desired.node_addresses.extend(own().map(|address| (address, *id)));
        for mac in [entry.mac, entry.mac_v6] {
            if mac != [0; 3] {
                desired.node_macs.entry(mac_key(mac)).or_insert(*id);
            }
        }
        desired.nodes.insert(
            *id,
            NodeEntry {
                incarnation: NodeEntry::FORMER,
                ..*entry
            },
        );
    }
}

/// Adds the keys of one VIP, and what its address needs.
pub fn put_vip(
    vips: &mut HashMap<VipKey, VipEntry>,
    vip: &Vip,
    id: VipId,
    table_of: &HashMap<VipKey, TableId>,
) {
    let table = |key: &VipKey| table_of.get(key).copied().unwrap_or_default();
    let address = Address::from(vip.address);
    let (protocol, any_port) = match vip.protocol {
        Transport::Tcp => (u16::from(PROTOCOL_TCP), VipFlags::ANY_TCP_PORT),
        Transport::Udp => (u16::from(PROTOCOL_UDP), VipFlags::ANY_UDP_PORT),
    };
    let entry = VipEntry {
        id,
        steering: match vip.steering {
            Steering::FlowHash => SteeringCode::FLOW_HASH,
            Steering::IpHash => SteeringCode::IP_HASH,
        },
        flags: match vip.payload {
            Payload::Plain => VipFlags::default(),
            Payload::Quic => VipFlags::QUIC,
        },
        zero: 0,
        table: TableId::default(),
        salt: vip_salt(&address, protocol),
    };
    // Of the address itself: what comes without ports goes by addresses, and their table is that of the
    // nodes that serve any VIP of the address.
    let of_address = vips
        .entry(VipKey::of_address(address))
        .or_insert_with(|| VipEntry {
            steering: SteeringCode::IP_HASH,
            flags: VipFlags::default(),
            salt: vip_salt(&address, 0),
            table: table(&VipKey::of_address(address)),
            ..entry
        });
    if vip.ports.is_empty() {
        of_address.flags = of_address.flags.with(any_port);
    }
    for key in keys(vip).filter(|key| key.protocol != 0) {
        let table = table(&key);
        vips.insert(key, VipEntry { table, ..entry });
    }
}

fn settings(snapshot: &Snapshot, dataplane: &Dataplane, view: &View, me: NodeId) -> Settings {
    Settings {
        hash_key: view.hash_key,
        cookie: gue::cookie(view.hash_key, me),
        udp_idle_ns: u64::try_from(dataplane.udp_idle.as_nanos()).unwrap_or(u64::MAX),
        address: snapshot.node.address.map(Address::from).unwrap_or_default(),
        address_v6: snapshot.node.address_v6.map(Address::from).unwrap_or_default(),
        node: me,
        encapsulation: match dataplane.encapsulation {
            Encapsulation::Gue => EncapsulationCode::GUE,
            Encapsulation::Ipip => EncapsulationCode::IPIP,
            Encapsulation::L2 => EncapsulationCode::L2,
        },
        heartbeat_port: dataplane.heartbeat_port.to_be(),
        zero: 0,
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

fn node_entry(member: &Member, dataplane: &Dataplane, view: &View, neighbours: &Neighbours) -> NodeEntry {
    let way = |address: Option<IpAddr>| {
        let neighbour = address.and_then(|address| neighbours.get(&address))?;
        // What the network between nodes was said to carry, or what the interface does, if that is less.
        let mtu = neighbour.mtu.min(u32::from(dataplane.path_mtu));
        let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
        let (mac, from) = (mac_words(neighbour.mac), mac_words(neighbour.from));
        Some((mac, mtu, neighbour.interface, from))
    };
    let (mac, mtu, interface, from_mac) = way(member.address.map(IpAddr::V4)).unwrap_or_default();
    let (mac_v6, mtu_v6, interface_v6, from_mac_v6) =
        way(member.address_v6.map(IpAddr::V6)).unwrap_or_default();
    NodeEntry {
        address: member.address.map(Address::from).unwrap_or_default(),
        address_v6: member.address_v6.map(Address::from).unwrap_or_default(),
        cookie: gue::cookie(view.hash_key, member.id),
        mac,
        mac_v6,
        incarnation: member.incarnation,
        mtu,
        mtu_v6,
        interface,
        interface_v6,
        from_mac,
        from_mac_v6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(host: u8, incarnation: u32) -> NodeEntry {
        NodeEntry {
            address: IpAddr::from([10, 0, 0, host]).into(),
            mac: [1, 2, u16::from(host)],
            incarnation,
            ..NodeEntry::default()
        }
    }

    fn with(nodes: &[(u16, u8, u32)]) -> Desired {
        let mut desired = Desired::default();
        for (id, host, incarnation) in nodes {
            let entry = entry(*host, *incarnation);
            desired.nodes.insert(NodeId(*id), entry);
            desired.node_addresses.insert(entry.address, NodeId(*id));
        }
        desired
    }

    #[test]
    fn former_members_are_believed_until_somebody_has_their_number_or_address() {
        let now = with(&[(1, 1, 7), (2, 2, 8)]);
        let mut died = with(&[(1, 1, 7)]);
        keep_former(&mut died, &now);
        let former = entry(2, NodeEntry::FORMER);
        assert_eq!(died.nodes.get(&NodeId(2)), Some(&former));
        assert_eq!(died.node_addresses.get(&former.address), Some(&NodeId(2)));
        assert_eq!(died.node_macs.get(&mac_key(former.mac)), Some(&NodeId(2)));

        for (name, mut next) in [
            ("back again", with(&[(1, 1, 7), (2, 2, 9)])),
            ("its number is another's", with(&[(1, 1, 7), (2, 3, 9)])),
            ("its address is another's", with(&[(1, 1, 7), (3, 2, 9)])),
        ] {
            let expected = next.nodes.clone();
            keep_former(&mut next, &died);
            assert_eq!(next.nodes, expected, "{name}");
        }
    }

    #[test]
    fn former_members_are_bounded() {
        let many: Vec<_> = (1..=200).map(|id: u16| (id, id as u8, 7)).collect();
        let mut next = Desired::default();
        keep_former(&mut next, &with(&many));
        assert_eq!(next.nodes.len(), FORMER_NODES_MAX);
    }
}
