//! The small world in which packet cases happen: some nodes, a VIP a situation, and both families.
//!
//! Each situation is a port of the VIP with a table of its own, in which nearly always all slots say the same; so a case
//! needs not know on which slot its flow falls.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gateway_common::flow::{FlowKey, UDP_IDLE_NS};
use gateway_common::headers::mac_words;
use gateway_common::maglev::{SLOTS, Slot};
use gateway_common::node::{EncapsulationCode, NodeEntry, NodeId, Settings};
use gateway_common::vip::{Address, SteeringCode, TableId, VipEntry, VipFlags, VipId, VipKey};

use super::build::Mac;

/// Hardware address of this node.
pub const MAC_HERE: Mac = [2, 0, 0, 0, 0, 1];
/// Hardware address that client packets come from.
pub const MAC_ROUTER: Mac = [2, 0, 0, 0, 0, 99];
/// The node of this program.
pub const ME: NodeId = NodeId(1);
/// A node that is no member any more, and whose kernel program still steers.
pub const FORMER: NodeId = NodeId(8);
/// A node that is reached by [`EXIT`].
pub const ELSEWHERE: NodeId = NodeId(10);
/// The number of this node's other interface: no client's packet comes in by it.
pub const EXIT: u32 = 1_077;
/// Its hardware address.
pub const MAC_EXIT: Mac = [2, 0, 0, 0, 0, 2];

/// What a table says in its slots: the same in all, but where the name says "or".
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
    /// This node owns, node 2 did before; node 3 would without it.
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
    /// A node owns that has no IPv4 address.
    OnlyV6 = 11,
    /// A node owns on whose way only short packets fit.
    Narrow = 12,
    /// Node 2 or node 3 owns, by turns.
    SecondOrThird = 13,
    /// This node owns and node 3 would without it, or node 2 owns, by turns.
    MineOrSecond = 14,
    /// Node 3 owns; its way's MTU is not known.
    Third = 15,
    /// A node owns that is no member any more: the next table is not live yet.
    Former = 16,
    /// A node owns that is reached by another interface than packets come in by.
    Elsewhere = 17,
}

/// All situations, in the order of their tables.
pub const SITUATIONS: [Situation; 18] = [
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
    Situation::OnlyV6,
    Situation::Narrow,
    Situation::SecondOrThird,
    Situation::MineOrSecond,
    Situation::Third,
    Situation::Former,
    Situation::Elsewhere,
];

/// Tables of this world: that of all members, and one a situation.
pub const TABLES: u32 = 1 + SITUATIONS.len() as u32;

impl Situation {
    /// The VIP's port. One that is 100 higher has no listener.
    pub fn port(self) -> u16 {
        8000 + self as u16
    }

    /// The table that says so.
    pub fn table(self) -> TableId {
        TableId(1 + u32::from(self as u16))
    }

    /// What the slots say.
    pub fn slots(self) -> Vec<Slot> {
        self.turns().into_iter().cycle().take(SLOTS as usize).collect()
    }

    /// What they say by turns.
    pub fn turns(self) -> [Slot; 2] {
        let slot = |owner, first, second, successor| {
            Slot::new(NodeId(owner), [NodeId(first), NodeId(second)], NodeId(successor))
        };
        match self {
            Self::Mine => [slot(1, 2, 3, 0); 2],
            Self::MineAlways => [slot(1, 0, 0, 0); 2],
            Self::Second => [slot(2, 1, 0, 0); 2],
            Self::SecondThird => [slot(2, 3, 0, 0); 2],
            Self::MineThird => [slot(1, 2, 0, 3); 2],
            Self::Nobody => [slot(0, 0, 0, 0); 2],
            Self::Unresolved => [slot(4, 0, 0, 0); 2],
            Self::Unknown => [slot(9, 0, 0, 0); 2],
            Self::OnlyV4 => [slot(5, 0, 0, 0); 2],
            Self::ThirdSecondMine => [slot(3, 2, 1, 0); 2],
            Self::SecondMineThird => [slot(2, 1, 3, 0); 2],
            Self::OnlyV6 => [slot(6, 0, 0, 0); 2],
            Self::Narrow => [slot(7, 0, 0, 0); 2],
            Self::SecondOrThird => [slot(2, 0, 0, 0), slot(3, 0, 0, 0)],
            Self::MineOrSecond => [slot(1, 0, 0, 3), slot(2, 0, 0, 0)],
            Self::Third => [slot(3, 0, 0, 0); 2],
            Self::Former => [slot(FORMER.0, 0, 0, 0); 2],
            Self::Elsewhere => [slot(ELSEWHERE.0, 0, 0, 0); 2],
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

    /// The VIP of all ports: of TCP here, always; of UDP at node 2. Its port 8500 is a VIP of its own, at node 2.
    pub fn vip_of_all_ports(self) -> IpAddr {
        self.host(102)
    }

    /// A VIP of all TCP ports, and of no UDP port.
    pub fn vip_of_all_tcp_ports(self) -> IpAddr {
        self.host(103)
    }

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
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

/// What a node proves itself with.
pub fn cookie(id: u16) -> u64 {
    0xc0de_1234_5678_9a00 | u64::from(id)
}

/// The port of heartbeats.
pub const HEARTBEAT_PORT: u16 = 7_946;

/// What the program knows of its node.
pub fn settings() -> Settings {
    Settings {
        hash_key: [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210],
        cookie: cookie(ME.0),
        udp_idle_ns: UDP_IDLE_NS,
        address: Version::V4.node(ME.0).into(),
        address_v6: Version::V6.node(ME.0).into(),
        node: ME,
        encapsulation: EncapsulationCode::GUE,
        heartbeat_port: HEARTBEAT_PORT.to_be(),
        zero: 0,
    }
}

/// Longest IP packet on the way to node 2, by IPv4 and by IPv6.
pub const MTU: [u16; 2] = [1_500, 1_400];

/// The same for node 7.
pub const MTU_NARROW: [u16; 2] = [1_000, 1_300];

/// The members: node 4 has no known hardware address, node 5 no IPv6 address, node 6 no IPv4 address; another interface leads
/// to the last one.
pub fn nodes() -> Vec<(NodeId, NodeEntry)> {
    let node = |id: u16| {
        let [mtu, mtu_v6] = match id {
            2 => MTU,
            7 => MTU_NARROW,
            _ => [0; 2],
        };
        let mac = if id == 4 { [0; 3] } else { mac_words(node_mac(id)) };
        let mut entry = NodeEntry {
            address: Version::V4.node(id).into(),
            address_v6: Version::V6.node(id).into(),
            cookie: cookie(id),
            mac,
            mac_v6: mac,
            incarnation: if id == FORMER.0 {
                NodeEntry::FORMER
            } else {
                100 + u32::from(id)
            },
            mtu,
            mtu_v6,
            ..NodeEntry::default()
        };
        if id == ELSEWHERE.0 {
            (entry.interface, entry.interface_v6) = (EXIT, EXIT);
            (entry.from_mac, entry.from_mac_v6) = (mac_words(MAC_EXIT), mac_words(MAC_EXIT));
        }
        if id == 5 {
            (entry.address_v6, entry.mac_v6) = (Address::default(), [0; 3]);
        }
        if id == 6 {
            (entry.address, entry.mac) = (Address::default(), [0; 3]);
        }
        entry
    };
    let ids = (1..=FORMER.0).chain([ELSEWHERE.0]);
    ids.map(|id| (NodeId(id), node(id))).collect()
}

/// The port of the VIP whose datagrams are QUIC; node 2 owns it.
pub const QUIC_PORT: u16 = 8_443;

/// A port of [`Version::vip_of_all_ports`] with a listener.
pub const ANY_PORT_LISTENER: u16 = 9_000;

/// The port of the VIP that keeps each client on one node; slots of nodes 2 and 3 take turns.
pub const HOT_PORT: u16 = 8_600;

/// VIPs that bounds of connections are used up for: those of situations.
pub const SITUATION_VIPS: std::ops::RangeInclusive<u16> = 1..=SITUATIONS.len() as u16;

/// The number of the VIP at [`HOT_PORT`] in the counters.
pub const HOT_VIP: u16 = 58;

/// The key of a VIP; of all ports of a protocol for port 0, of the address for protocol 0.
pub fn vip_key(address: IpAddr, port: u16, protocol: u8) -> VipKey {
    let mut key = VipKey::of_address(address.into());
    key.port = port.to_be();
    key.protocol = protocol.into();
    key
}

/// The VIPs: each situation with a listener at its port, and without at one 100 higher; TCP and UDP. What has no ports
/// goes to node 2 for the VIP, and stays here for the VIP of all ports.
pub fn vips() -> Vec<(VipKey, VipEntry)> {
    let entry = |id: u16, situation: Situation, flags| VipEntry {
        id: VipId(id),
        steering: SteeringCode::FLOW_HASH,
        flags,
        zero: 0,
        table: situation.table(),
        salt: 7,
    };
    let none = VipFlags::default();
    let mut vips = Vec::new();
    for version in Version::BOTH {
        for situation in SITUATIONS {
            for port in [situation.port(), situation.port() + 100] {
                let mut vip = entry(1 + situation as u16, situation, none);
                vips.push((vip_key(version.vip(), port, 6), vip));
                vip.steering = SteeringCode::IP_HASH;
                vips.push((vip_key(version.vip(), port, 17), vip));
            }
        }
        let any = version.vip_of_all_ports();
        let both = VipFlags::ANY_TCP_PORT.with(VipFlags::ANY_UDP_PORT);
        let only_tcp = version.vip_of_all_tcp_ports();
        vips.extend([
            (vip_key(version.vip(), 0, 0), entry(50, Situation::Second, none)),
            (
                vip_key(version.vip(), QUIC_PORT, 17),
                entry(51, Situation::Second, VipFlags::QUIC),
            ),
            (vip_key(any, 0, 0), entry(52, Situation::MineAlways, both)),
            (vip_key(any, 0, 6), entry(53, Situation::MineAlways, none)),
            (vip_key(any, 0, 17), entry(54, Situation::Second, none)),
            (vip_key(any, 8_500, 6), entry(55, Situation::Second, none)),
            (
                vip_key(only_tcp, 0, 0),
                entry(56, Situation::Second, VipFlags::ANY_TCP_PORT),
            ),
            (vip_key(only_tcp, 0, 6), entry(57, Situation::Second, none)),
            (
                vip_key(version.vip(), HOT_PORT, 6),
                VipEntry {
                    steering: SteeringCode::IP_HASH,
                    ..entry(HOT_VIP, Situation::SecondOrThird, none)
                },
            ),
        ]);
    }
    vips
}

/// The key of a TCP flow from a client to the VIP.
pub fn flow(version: Version, client_port: u16, port: u16) -> FlowKey {
    FlowKey {
        source: version.client().into(),
        destination: version.vip().into(),
        ports: [client_port.to_be(), port.to_be()],
        protocol: 6,
        zero: 0,
    }
}

/// The client port that has a connection here, at every port with a listener; and a UDP socket of its own.
pub const CONNECTED_PORT: u16 = 40_001;

/// The client port whose connection here has ended, at every port with a listener: this side keeps it in TIME_WAIT.
pub const ENDED_PORT: u16 = 40_004;

/// The client port whose SYN to [`Situation::Mine`] a SYN cookie answered.
pub const COOKIE_PORT: u16 = 40_002;

/// Stands in frames for the sequence numbers with which that client acknowledges its cookie: only the kernel knows them.
pub const COOKIE_MARK: [u8; 8] = *b"cookie\xfe\x01";
