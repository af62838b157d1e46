//! The nodes and VIPs of the benchmark, as steps for the kernel's maps and as tables in memory.

use std::net::IpAddr;
use std::sync::Arc;

use gateway::config::limits;
use gateway::l4::plan::Step;
use gateway_common::abi::mac_key;
use gateway_common::flow::{FlowKey, UDP_IDLE_NS};
use gateway_common::gue;
use gateway_common::headers::mac_words;
use gateway_common::maglev::{SLOTS, Slot};
use gateway_common::memory::MemoryTables;
use gateway_common::node::{EncapsulationCode, NodeEntry, NodeId, Settings};
use gateway_common::parse::Family;
use gateway_common::protection::{Protection, Rate};
use gateway_common::tables::Socket;
use gateway_common::trace::{Trace, Traces};
use gateway_common::vip::{TableId, VipEntry, VipFlags, VipId, VipKey};

/// This node, which steers.
pub const ME: NodeId = NodeId(1);

/// Tables of this world.
pub const TABLES: u32 = 5;

/// Secret of the steering hash.
const HASH_KEY: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

/// Connections a second of one source or VIP, and at once, so many that a test run never meets the bound.
const NEVER_MET: u64 = 1_000_000_000;

/// Every bound is on, and no list has anything: as by default, but for how many are allowed.
pub fn protection() -> Protection {
    let rate = Rate::new(NEVER_MET, NEVER_MET);
    Protection {
        source_connections: rate,
        source_flows: rate,
        vip_connections: rate,
        vip_flows: rate,
        ..Protection::default()
    }
}

/// A trace of one of so many packets, at the rate of `[trace]`, that never ends; `None`: none.
pub fn traces(one_of: Option<u32>) -> Traces {
    let mut traces = Traces::default();
    if let Some(one_of) = one_of {
        traces.drawn_below = Trace::drawn_below(one_of);
        traces.each[0] = Trace {
            until_ns: u64::MAX,
            drawn_below: traces.drawn_below,
            rate: Trace::rate(u64::from(limits::TRACE_LOG_RATE)),
            ..Trace::default()
        };
    }
    traces
}

/// A port of the VIP, and whose its slots are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Nodes 2 and 3 share it; nothing of it was ever here.
    Others = 80,
    /// This node's, with a listener.
    Mine = 81,
    /// This node's, with a listener; node 2 had it before.
    MineOnceSecond = 82,
    /// This node's, and nothing listens; node 3 would have it without this one.
    MineElseThird = 83,
}

impl Port {
    /// All.
    pub const ALL: [Self; 4] = [
        Self::Others,
        Self::Mine,
        Self::MineOnceSecond,
        Self::MineElseThird,
    ];

    fn table(self) -> TableId {
        TableId(self as u32 - 79)
    }

    fn slots(self) -> Vec<Slot> {
        let slot = |owner, previous, successor| {
            Slot::new(NodeId(owner), [NodeId(previous), NodeId(0)], NodeId(successor))
        };
        let turns = match self {
            Self::Others => [slot(2, 0, 0), slot(3, 0, 0)],
            Self::Mine => [slot(1, 0, 0); 2],
            Self::MineOnceSecond => [slot(1, 2, 0); 2],
            Self::MineElseThird => [slot(1, 0, 3); 2],
        };
        turns.into_iter().cycle().take(SLOTS as usize).collect()
    }

    /// Whether something listens here.
    pub fn has_listener(self) -> bool {
        matches!(self, Self::Mine | Self::MineOnceSecond)
    }
}

/// The VIP of a family.
pub fn vip(family: Family) -> IpAddr {
    let text = if family == Family::V4 {
        "192.0.2.1"
    } else {
        "2001:db8::1"
    };
    parsed(text)
}

/// A node's address.
pub fn node(family: Family, id: u16) -> IpAddr {
    let text = if family == Family::V4 {
        format!("172.16.0.{id}")
    } else {
        format!("fd00::{id}")
    };
    parsed(&text)
}

fn parsed(text: &str) -> IpAddr {
    text.parse()
        .unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
}

/// The hardware address of a node.
pub const fn mac(id: u16) -> [u8; 6] {
    [2, 0, 0, 0, 0, id as u8]
}

/// What the program knows of this node.
pub fn settings(encapsulation: EncapsulationCode) -> Settings {
    Settings {
        hash_key: HASH_KEY,
        cookie: gue::cookie(HASH_KEY, ME),
        udp_idle_ns: UDP_IDLE_NS,
        address: node(Family::V4, ME.0).into(),
        address_v6: node(Family::V6, ME.0).into(),
        node: ME,
        encapsulation,
        heartbeat_port: 7_946_u16.to_be(),
        zero: 0,
    }
}

/// Fills the maps.
pub fn steps(encapsulation: EncapsulationCode) -> Vec<Step> {
    let mut steps = Vec::new();
    for id in 1..=3 {
        let entry = entry(id);
        steps.push(Step::PutNode(NodeId(id), entry));
        steps.push(Step::PutNodeAddress(entry.address, NodeId(id)));
        steps.push(Step::PutNodeAddress(entry.address_v6, NodeId(id)));
        steps.push(Step::PutNodeMac(mac_key(entry.mac), NodeId(id)));
    }
    steps.push(Step::SwapSettings(settings(encapsulation)));
    for port in Port::ALL {
        let slots: Arc<[Slot]> = port.slots().into();
        steps.push(Step::SwapTable(port.table(), slots));
    }
    steps.push(Step::SwapVips(
        vips().into_iter().map(|(key, vip)| (key, Some(vip))).collect(),
    ));
    steps
}

/// The same in memory.
pub fn tables(encapsulation: EncapsulationCode) -> MemoryTables {
    let mut tables = MemoryTables {
        settings: Some(settings(encapsulation)),
        protection: Some(protection()),
        vips: vips().into_iter().collect(),
        ..MemoryTables::default()
    };
    for id in 1..=3 {
        let entry = entry(id);
        tables.nodes.insert(NodeId(id), entry);
        tables.node_addresses.insert(entry.address, NodeId(id));
        tables.node_addresses.insert(entry.address_v6, NodeId(id));
        tables.node_macs.insert(mac_key(entry.mac), NodeId(id));
    }
    for port in Port::ALL {
        tables.slots.insert(port.table(), [port.slots(), Vec::new()]);
        for family in [Family::V4, Family::V6] {
            let listener = FlowKey {
                destination: vip(family).into(),
                ports: [0, (port as u16).to_be()],
                protocol: 6,
                ..FlowKey::default()
            };
            if port.has_listener() {
                tables.sockets.insert(listener, Socket::Listener);
            }
        }
    }
    tables
}

fn entry(id: u16) -> NodeEntry {
    NodeEntry {
        address: node(Family::V4, id).into(),
        address_v6: node(Family::V6, id).into(),
        cookie: gue::cookie(HASH_KEY, NodeId(id)),
        mac: mac_words(mac(id)),
        mac_v6: mac_words(mac(id)),
        incarnation: 100 + u32::from(id),
        mtu: 1_500,
        mtu_v6: 1_500,
        ..NodeEntry::default()
    }
}

fn vips() -> Vec<(VipKey, VipEntry)> {
    let mut vips = Vec::new();
    for family in [Family::V4, Family::V6] {
        let address = vip(family).into();
        let entry = |table, salt| VipEntry {
            id: VipId(1),
            flags: VipFlags::default(),
            table,
            salt,
            ..VipEntry::default()
        };
        vips.push((VipKey::of_address(address), entry(Port::Others.table(), 7)));
        for port in Port::ALL {
            for protocol in [6, 17] {
                let key = VipKey::new(address, (port as u16).to_be(), protocol);
                vips.push((key, entry(port.table(), u32::from(protocol))));
            }
        }
    }
    vips
}
