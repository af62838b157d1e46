//! The table of packet cases: what comes in, and what must become of it.
//!
//! Rows stand by topic in files of their own. Each is made for both versions of IP where both have the topic.

mod client;
mod fragments;
mod malformed;
mod nodes;

use gateway_common::flow::{FlowEntry, FlowKey, FlowPhase};
use gateway_common::hash;
use gateway_common::maglev::SLOTS;
use gateway_common::node::NodeId;
use gateway_common::verdict::{Fate, Reason};

use super::build::{Packet, frame};
use super::world::{self, MAC_HERE, MAC_ROUTER, ME, Situation, Version, node_mac};

/// A client port without a connection.
const FRESH_PORT: u16 = 50_000;

/// What is unlike the usual world in a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twist {
    /// Nothing.
    None,
    /// The frame comes in by an interface that nodes are not reached by.
    ForeignInterface,
    /// User space has written nothing yet.
    NotConfigured,
}

/// What became of a frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What the kernel does with it.
    pub fate: Fate,
    /// Why, by the counter.
    pub reason: Reason,
    /// The frame after it.
    pub bytes: Vec<u8>,
    /// What the flow table says of the watched flow.
    pub remembers: Option<(NodeId, FlowPhase)>,
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes: String = self.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        write!(
            f,
            "{:?} for {}, flow {:?}\n  {bytes}",
            self.fate,
            self.reason.name(),
            self.remembers
        )
    }
}

/// One row.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// What is unlike the usual world.
    pub twist: Twist,
    /// The frame that comes in.
    pub frame: Vec<u8>,
    /// A flow that the table knows before, and how long ago its phase began.
    pub remembered: Option<(FlowKey, FlowEntry, u64)>,
    /// A flow that is looked up after.
    pub watched: Option<FlowKey>,
    /// What must become of it.
    pub expected: Outcome,
}

/// All rows.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for version in Version::BOTH {
        cases.extend(client::cases(version));
        cases.extend(nodes::cases(version));
        cases.extend(malformed::cases(version));
    }
    cases.extend(fragments::cases());
    cases
}

/// A frame from the client's side.
fn from_client(packet: &Packet) -> Vec<u8> {
    frame(MAC_HERE, MAC_ROUTER, &[], packet.ether_type(), &packet.bytes())
}

/// A frame from another node.
fn from_node(id: u16, outer: &Packet) -> Vec<u8> {
    frame(MAC_HERE, node_mac(id), &[], outer.ether_type(), &outer.bytes())
}

/// A frame from this node to another.
fn to_node(id: u16, outer: &Packet) -> Vec<u8> {
    frame(node_mac(id), MAC_HERE, &[], outer.ether_type(), &outer.bytes())
}

/// A TCP packet from the client to a situation's port.
fn tcp(version: Version, client_port: u16, port: u16, flags: u8) -> Packet {
    Packet::tcp((version.client(), client_port), (version.vip(), port), flags)
}

/// The outer header's mark that this node writes: one hop, and for IPv6 the slot.
fn first_mark(version: Version, packet: &Packet, port: u16) -> u16 {
    let client_port = packet
        .payload
        .first_chunk()
        .map(|bytes| u16::from_be_bytes(*bytes))
        .unwrap_or_default();
    let mut flow = world::flow(version, client_port, port);
    flow.protocol = u16::from(packet.protocol);
    let vip = world::vips().into_iter().find(|(key, _)| {
        key.address == flow.destination && key.port == flow.ports[1] && key.protocol == flow.protocol
    });
    match (version, vip) {
        (Version::V6, Some((_, vip))) => {
            (hash::slot(world::settings().hash_key, &vip, &flow, SLOTS) as u16) << 2 | 1
        }
        _ => 1,
    }
}

/// The packet as this node sends it to another as the first to do so.
fn steered(version: Version, id: u16, packet: &Packet, port: u16) -> Vec<u8> {
    let mark = first_mark(version, packet, port);
    to_node(id, &packet.within(version.node(ME.0), version.node(id), mark, 64))
}

impl Case {
    fn new(version: Version, name: &str, frame: Vec<u8>, fate: Fate, reason: Reason, bytes: Vec<u8>) -> Self {
        Self {
            name: format!("{version:?}: {name}"),
            twist: Twist::None,
            frame,
            remembered: None,
            watched: None,
            expected: Outcome {
                fate,
                reason,
                bytes,
                remembers: None,
            },
        }
    }

    /// A frame that is passed as it is.
    fn passed(version: Version, name: &str, frame: Vec<u8>, reason: Reason) -> Self {
        Self::new(version, name, frame.clone(), Fate::Pass, reason, frame)
    }

    /// A frame that is dropped as it is.
    fn dropped(version: Version, name: &str, frame: Vec<u8>, reason: Reason) -> Self {
        Self::new(version, name, frame.clone(), Fate::Drop, reason, frame)
    }

    fn twisted(self, twist: Twist) -> Self {
        Self { twist, ..self }
    }

    /// With a flow that the table knows.
    fn remembering(self, key: FlowKey, node: u16, phase: FlowPhase, age_ns: u64) -> Self {
        let entry = FlowEntry {
            node: NodeId(node),
            phase,
            incarnation: 100 + u32::from(node),
            since_ns: 0,
        };
        let mut case = Self {
            remembered: Some((key, entry, age_ns)),
            watched: Some(key),
            ..self
        };
        case.expected.remembers = Some((NodeId(node), phase));
        case
    }

    /// With what the table must say of a flow after.
    fn then_remembers(self, key: FlowKey, remembers: Option<(u16, FlowPhase)>) -> Self {
        let mut case = Self {
            watched: Some(key),
            ..self
        };
        case.expected.remembers = remembers.map(|(node, phase)| (NodeId(node), phase));
        case
    }
}

/// The flow of a client port to a situation's port.
fn flow_to(version: Version, client_port: u16, situation: Situation) -> FlowKey {
    world::flow(version, client_port, situation.port())
}
