//! Four nodes whose tables agree on who is who, and on nothing else.
//!
//! Each node has its own slots, sockets and memory, as chosen by an input: views differ while they change.

mod tables;

use gateway_common::abi::mac_key;
use gateway_common::flow::{FlowEntry, FlowPhase};
use gateway_common::headers::mac_words;
use gateway_common::memory::MemoryTables;
use gateway_common::node::{EncapsulationCode, NodeEntry, NodeId, Settings};
use gateway_common::parse::About;
use gateway_common::tables::Socket;
use gateway_common::vip::{Address, SteeringCode, TableId, VipEntry, VipFlags, VipId, VipKey};

use super::script::Script;

/// Nodes of a world; numbered from 1.
pub const NODES: u8 = 4;
/// Where clients' frames come from.
pub const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
/// A client.
pub const CLIENT: [u8; 4] = [198, 51, 100, 7];
/// The same by IPv6.
pub const CLIENT_V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
/// The port of heartbeats.
const HEARTBEAT_PORT: u16 = 7_946;
/// The moment at which all happens: a day after the boot.
pub const NOW_NS: u64 = 86_400_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;
/// Different slots of a table.
const SLOTS: usize = 4;

/// A node's hardware address.
pub fn mac(node: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, node]
}

/// A node's address.
pub fn v4(node: u8) -> [u8; 4] {
    [10, 0, 0, node]
}

/// A node's address by IPv6.
pub fn v6(node: u8) -> [u8; 16] {
    [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, node]
}

/// A VIP's address.
pub fn vip_v4(vip: u8) -> [u8; 4] {
    [192, 0, 2, vip]
}

/// A VIP's address by IPv6.
pub fn vip_v6(vip: u8) -> [u8; 16] {
    [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, vip]
}

/// A node's cookie.
pub fn cookie(node: u8) -> u64 {
    0x6b65_6b73_6b65_6b00 | u64::from(node)
}

fn address_v4(bytes: [u8; 4]) -> Address {
    std::net::Ipv4Addr::from(bytes).into()
}

fn address_v6(bytes: [u8; 16]) -> Address {
    std::net::Ipv6Addr::from(bytes).into()
}

/// What is chosen for all nodes.
#[derive(Clone, Debug)]
pub struct Common {
    /// How packets get from node to node.
    pub encapsulation: EncapsulationCode,
    /// For each node, from the lowest bits up: no IPv4 address, no IPv6 address, no MAC for either, not a member.
    pub lacks: [u8; NODES as usize],
    /// Longest packet between nodes; 0: not known.
    pub mtu: u16,
    /// From the lowest bits up: a foreign interface, no heartbeats, UDP flows are not remembered, no errors left,
    /// no VIP is one of QUIC.
    pub odd: u8,
}

/// What is chosen for one node.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// Owner, previous ones, successor of each slot.
    pub slots: [[u16; 4]; SLOTS],
    /// Of TCP, then UDP, two bits each: none, listener, handshake, connection. Then two bits: VIPs are not known, there
    /// are no settings.
    pub sockets: u8,
    /// The node that its tables remember for flows, two bits of phase and one of a former life above it.
    pub flow: u8,
    /// The same for fragmented packets, without phase.
    pub fragment: u8,
    /// Two bits of lease (none, fresh, old, of the future), then one a node that was heard.
    pub lease: u8,
}

/// One node's tables.
#[derive(Debug)]
pub struct NodeTables {
    /// All that are real maps.
    pub memory: MemoryTables,
    own: Own,
}

/// The nodes.
#[derive(Debug)]
pub struct World {
    /// In their order, from number 1.
    pub nodes: Vec<NodeTables>,
    /// What is chosen for all.
    pub common: Common,
}

impl Common {
    /// From seven bytes: encapsulation, what each node lacks, MTU in units of 8, odd things.
    pub fn read(script: &mut Script<'_>) -> Self {
        Self {
            encapsulation: script.one_of([
                EncapsulationCode::GUE,
                EncapsulationCode::IPIP,
                EncapsulationCode::L2,
            ]),
            lacks: std::array::from_fn(|_| script.byte()),
            mtu: u16::from(script.byte()) * 8,
            odd: script.byte(),
        }
    }
}

impl Own {
    /// From twelve bytes: two a slot, sockets, flow, fragment, lease.
    pub fn read(script: &mut Script<'_>) -> Self {
        Self {
            slots: std::array::from_fn(|_| {
                let word = script.word();
                // Numbers 5 to 7 are nobody's.
                [word & 7, word >> 3 & 7, word >> 6 & 7, word >> 9 & 7]
            }),
            sockets: script.byte(),
            flow: script.byte(),
            fragment: script.byte(),
            lease: script.byte(),
        }
    }
}

impl World {
    /// From seven bytes and twelve a node.
    pub fn read(script: &mut Script<'_>) -> Self {
        let common = Common::read(script);
        let own = std::array::from_fn(|_| Own::read(script));
        Self::new(common, own)
    }

    /// Of these parts.
    pub fn new(common: Common, own: [Own; NODES as usize]) -> Self {
        let nodes = (1..=NODES)
            .zip(own)
            .map(|(node, own)| NodeTables::new(node, &common, own))
            .collect();
        Self { nodes, common }
    }

    /// Which node has that hardware address, if it has one at all.
    pub fn node_with(&self, wanted: &[u8]) -> Option<u8> {
        (1..=NODES).find(|node| wanted == mac(*node))
    }
}

impl NodeTables {
    fn new(node: u8, common: &Common, own: Own) -> Self {
        let mut memory = MemoryTables::default();
        let lacks = |node: u8, bit: u8| common.lacks[usize::from(node) - 1] >> bit & 1 == 1;
        let of_v4 = |node: u8| {
            if lacks(node, 0) {
                Address::default()
            } else {
                address_v4(v4(node))
            }
        };
        let of_v6 = |node: u8| {
            if lacks(node, 1) {
                Address::default()
            } else {
                address_v6(v6(node))
            }
        };
        let is_odd = |bit: u8| common.odd >> bit & 1 == 1;
        if own.sockets >> 5 & 1 == 0 {
            memory.settings = Some(Settings {
                hash_key: [1, 2],
                cookie: cookie(node),
                udp_idle_ns: if is_odd(2) { 0 } else { 30 * SECOND_NS },
                address: of_v4(node),
                address_v6: of_v6(node),
                node: if lacks(node, 4) {
                    NodeId::NOBODY
                } else {
                    NodeId(node.into())
                },
                encapsulation: common.encapsulation,
                heartbeat_port: if is_odd(1) { 0 } else { HEARTBEAT_PORT.to_be() },
                zero: 0,
            });
        }
        for other in (1..=NODES).filter(|other| !lacks(*other, 4)) {
            let id = NodeId(other.into());
            let words = mac_words(mac(other));
            let unless = |bit: u8| if lacks(other, bit) { [0; 3] } else { words };
            let entry = NodeEntry {
                address: of_v4(other),
                address_v6: of_v6(other),
                cookie: cookie(other),
                mac: unless(2),
                mac_v6: unless(3),
                incarnation: 1,
                mtu: common.mtu,
                mtu_v6: common.mtu,
                ..NodeEntry::default()
            };
            for address in [entry.address, entry.address_v6] {
                if !address.is_unset() {
                    memory.node_addresses.insert(address, id);
                }
            }
            // A node that is sent to by its hardware address is known by it.
            memory.node_macs.insert(mac_key(words), id);
            memory.nodes.insert(id, entry);
            if own.lease >> (1 + other) & 1 == 1 {
                memory.heard.borrow_mut().insert(id, NOW_NS - SECOND_NS / 10);
            }
        }
        memory.foreign_interface = is_odd(0);
        memory.now_ns.set(NOW_NS);
        memory.lease_ns = match own.lease & 3 {
            0 => 0,
            1 => NOW_NS - SECOND_NS / 10,
            2 => NOW_NS - 5 * SECOND_NS,
            _ => NOW_NS + 1,
        };
        if is_odd(3) {
            memory.budget.get_mut().empty_at_ns = NOW_NS;
        }
        if own.sockets >> 4 & 1 == 0 {
            add_vips(
                &mut memory,
                if is_odd(4) {
                    VipFlags::default()
                } else {
                    VipFlags::QUIC
                },
            );
        }
        Self { memory, own }
    }

    fn remembered(&self) -> Option<FlowEntry> {
        let flow = self.own.flow;
        let entry = FlowEntry {
            node: NodeId(u16::from(flow & 7)),
            phase: [
                FlowPhase::OPEN,
                FlowPhase::FINISHED,
                FlowPhase::RESET,
                FlowPhase(3),
            ][usize::from(flow >> 3 & 3)],
            incarnation: 1 + u32::from(flow >> 5 & 1),
            since_ns: [
                NOW_NS - 2 * SECOND_NS,
                NOW_NS - 40 * SECOND_NS,
                NOW_NS,
                NOW_NS + 1,
            ][usize::from(flow >> 6)],
        };
        (!entry.node.is_nobody()).then_some(entry)
    }

    fn socket(&self, shift: u8, about: &About) -> Socket {
        match self.own.sockets >> shift & 3 {
            0 => Socket::None,
            2 if about.flags.acknowledges() => Socket::Handshake,
            1 | 2 => Socket::Listener,
            // It has no bit of its own: odd ports have one that ended.
            _ if about.flow.ports[0] & u16::to_be(1) != 0 => Socket::TimeWait,
            _ => Socket::Connection,
        }
    }
}

/// 192.0.2.1 and 2001:db8::1 have ports 80 (TCP) and 443 (TCP, and QUIC), 192.0.2.2 and 2001:db8::2 have all of both.
fn add_vips(memory: &mut MemoryTables, quic: VipFlags) {
    for (salt, of) in [(1, 1), (2, 2)] {
        for address in [address_v4(vip_v4(of)), address_v6(vip_v6(of))] {
            let any = VipFlags::ANY_TCP_PORT.with(VipFlags::ANY_UDP_PORT);
            let rows = [
                (0, 0, if of == 2 { any } else { VipFlags::default() }),
                (if of == 2 { 0 } else { 80 }, 6, VipFlags::default()),
                (
                    if of == 2 { 0 } else { 443 },
                    17,
                    if of == 2 { VipFlags::default() } else { quic },
                ),
                (443, 6, VipFlags::default()),
            ];
            for (port, protocol, flags) in rows {
                let key = VipKey::new(address, u16::to_be(port), protocol);
                let entry = VipEntry {
                    id: VipId(of.into()),
                    steering: if of == 2 {
                        SteeringCode::IP_HASH
                    } else {
                        SteeringCode::FLOW_HASH
                    },
                    flags,
                    zero: 0,
                    table: TableId(of.into()),
                    salt,
                };
                memory.vips.insert(key, entry);
            }
        }
    }
}
