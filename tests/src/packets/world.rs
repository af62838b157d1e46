//! The small world in which packet cases happen: five nodes, a VIP a situation, and both families.
//!
//! Each situation is a port of the VIP with a table of its own, in which all slots say the same; so a case needs not
//! know on which slot its flow falls.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gateway_common::flow::FlowKey;
use gateway_common::headers::mac_words;
use gateway_common::maglev::Slot;
use gateway_common::node::{NodeEntry, NodeId, Settings};
use gateway_common::vip::{Address, SteeringCode, TableId, VipEntry, VipId, VipKey};

use super::build::Mac;

/// Hardware address of this node.
pub const MAC_HERE: Mac = [2, 0, 0, 0, 0, 1];
/// Hardware address that client packets come from.
pub const MAC_ROUTER: Mac = [2, 0, 0, 0, 0, 99];
/// The node of this program.
pub const ME: NodeId = NodeId(1);

/// What a table says in all of its slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Situation {
    /// This node owns; node 2 did before, node 3 before that.
    Mine = 0,
    /// This node owns, and nobody did before.
    MineAlways = 1,
    /// Node 2 owns; this node did before.
    Second = 2,
    /// Node 2 owns, node 3 did before.
    SecondThird = 3,
    /// This node owns; node 3 would without it.
    MineThird = 4,
    /// Nobody owns.
    Nobody = 5,
    /// A node owns whose hardware address is not known.
    Unresolved = 6,
    /// A node owns that is no member.
    Unknown = 7,
    /// A node owns that has no IPv6 address.
    OnlyV4 = 8,
    /// Node 3 owns, node 2 did before, this node before that.
    ThirdSecondMine = 9,
    /// Node 2 owns, this node did before, node 3 before that.
    SecondMineThird = 10,
}

/// All situations, in the order of their tables.
pub const SITUATIONS: [Situation; 11] = [
    Situation::Mine,
    Situation::MineAlways,
    Situation::Second,
    Situation::SecondThird,
    Situation::MineThird,
    Situation::Nobody,
    Situation::Unresolved,
    Situation::Unknown,
    Situation::OnlyV4,
    Situation::ThirdSecondMine,
    Situation::SecondMineThird,
];

/// Tables of this world.
pub const TABLES: u32 = SITUATIONS.len() as u32;

impl Situation {
    /// The VIP's port. One that is 100 higher has no listener.
    pub fn port(self) -> u16 {
        8000 + self as u16
    }

    /// What the slots say.
    pub fn slot(self) -> Slot {
        let slot = |owner, first, second, successor| {
            Slot::new(NodeId(owner), [NodeId(first), NodeId(second)], NodeId(successor))
        };
        match self {
            Self::Mine => slot(1, 2, 3, 0),
            Self::MineAlways => slot(1, 0, 0, 0),
            Self::Second => slot(2, 1, 0, 0),
            Self::SecondThird => slot(2, 3, 0, 0),
            Self::MineThird => slot(1, 2, 0, 3),
            Self::Nobody => slot(0, 0, 0, 0),
            Self::Unresolved => slot(4, 0, 0, 0),
            Self::Unknown => slot(9, 0, 0, 0),
            Self::OnlyV4 => slot(5, 0, 0, 0),
            Self::ThirdSecondMine => slot(3, 2, 1, 0),
            Self::SecondMineThird => slot(2, 1, 3, 0),
        }
    }
}

/// A version of IP in these cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Version {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The address of a host of this world by its last number.
    pub fn host(self, number: u8) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(10, 77, 0, number).into(),
            Self::V6 => Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, u16::from(number)).into(),
        }
    }

    /// The client.
    pub fn client(self) -> IpAddr {
        self.host(200)
    }

    /// The VIP.
    pub fn vip(self) -> IpAddr {
        self.host(100)
    }

    /// A node.
    pub fn node(self, id: u16) -> IpAddr {
        self.host(10 + id as u8)
    }

    /// Bytes of the outer header.
    pub fn outer_bytes(self) -> usize {
        match self {
            Self::V4 => 20,
            Self::V6 => 40,
        }
    }
}

/// The hardware address of a node.
pub fn node_mac(id: u16) -> Mac {
    [2, 0, 0, 0, 1, id as u8]
}

/// What the program knows of its node.
pub fn settings() -> Settings {
    Settings {
        hash_key: [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210],
        address: Version::V4.node(ME.0).into(),
        address_v6: Version::V6.node(ME.0).into(),
        node: ME,
        zero: [0; 3],
    }
}

/// The members.
pub fn nodes() -> Vec<(NodeId, NodeEntry)> {
    let node = |id: u16| NodeEntry {
        address: Version::V4.node(id).into(),
        address_v6: if id == 5 {
            Address::default()
        } else {
            Version::V6.node(id).into()
        },
        mac: if id == 4 { [0; 3] } else { mac_words(node_mac(id)) },
        mac_v6: if id == 4 || id == 5 {
            [0; 3]
        } else {
            mac_words(node_mac(id))
        },
        incarnation: 100 + u32::from(id),
    };
    (1..=5).map(|id| (NodeId(id), node(id))).collect()
}

/// The VIPs: each situation with a listener at its port, and without at one 100 higher; TCP and UDP.
pub fn vips() -> Vec<(VipKey, VipEntry)> {
    let mut vips = Vec::new();
    for version in Version::BOTH {
        for situation in SITUATIONS {
            for port in [situation.port(), situation.port() + 100] {
                for protocol in [6, 17] {
                    let key = VipKey {
                        address: version.vip().into(),
                        port: port.to_be(),
                        protocol,
                    };
                    let entry = VipEntry {
                        id: VipId(1 + situation as u16),
                        steering: if protocol == 6 {
                            SteeringCode::FLOW_HASH
                        } else {
                            SteeringCode::IP_HASH
                        },
                        table: TableId(u32::from(situation as u16)),
                        salt: 7,
                    };
                    vips.push((key, entry));
                }
            }
        }
    }
    vips
}

/// The key of a flow from a client to the VIP.
pub fn flow(version: Version, client_port: u16, port: u16) -> FlowKey {
    FlowKey {
        source: version.client().into(),
        destination: version.vip().into(),
        ports: [client_port.to_be(), port.to_be()],
        protocol: 6,
        zero: 0,
    }
}

/// Client ports that have a connection here, at every port with a listener.
pub const CONNECTED_PORT: u16 = 40_001;
