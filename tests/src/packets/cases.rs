//! The table of packet cases: what comes in, what must become of it, and what the tables must remember then.
//!
//! Rows stand by topic in files of their own. Each is made for both versions of IP where both have the topic. Nothing
//! is remembered but what a row says: the tables are compared whole.

mod arrivals;
mod echo;
mod encapsulated;
mod ended;
mod errors;
mod exits;
mod extensions;
mod flags;
mod flows;
mod forged;
mod former;
mod fragments;
mod heartbeats;
mod hops;
mod lease;
mod limits;
mod malformed;
mod mtu;
mod protection;
mod quic;
mod segment;
mod slots;
mod state;
mod tags;
mod udp;
mod vips;

use gateway_common::flow::{FlowEntry, FlowKey, FlowPhase};
use gateway_common::fragment::{FragmentEntry, FragmentKey};
use gateway_common::hash;
use gateway_common::node::{EncapsulationCode, NodeId, Settings};
use gateway_common::verdict::{Fate, Reason};

pub use state::{After, Before, ErrorsLeft, Interface, Kept, Lasts, Outcome, Spent, Written};

use super::build::{Packet, frame};
use super::world::{self, MAC_HERE, MAC_ROUTER, ME, Version, node_mac};

/// A client port without a connection.
const FRESH_PORT: u16 = 50_000;

const SECOND_NS: u64 = 1_000_000_000;

/// One row.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// What is unlike the usual world.
    pub before: Before,
    /// The frame that comes in.
    pub frame: Vec<u8>,
    /// What must become of it.
    pub expected: Outcome,
}

/// All rows.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for version in Version::BOTH {
        for topic in [
            vips::cases,
            slots::cases,
            flows::cases,
            ended::cases,
            flags::cases,
            udp::cases,
            quic::cases,
            tags::cases,
            malformed::cases,
            fragments::cases,
            echo::cases,
            errors::cases,
            mtu::cases,
            forged::cases,
            former::cases,
            heartbeats::cases,
            encapsulated::cases,
            exits::cases,
            arrivals::cases,
            hops::cases,
            segment::cases,
            lease::cases,
            protection::cases,
            limits::cases,
        ] {
            cases.extend(topic(version));
        }
    }
    cases.extend(extensions::cases());
    cases
}

/// A frame from the client's side.
fn from_client(packet: &Packet) -> Vec<u8> {
    frame(MAC_HERE, MAC_ROUTER, &[], packet.ether_type(), &packet.bytes())
}

/// A frame back to the client's side.
fn to_client(packet: &Packet) -> Vec<u8> {
    frame(MAC_ROUTER, MAC_HERE, &[], packet.ether_type(), &packet.bytes())
}

/// A frame from another node.
fn from_node(id: u16, outer: &Packet) -> Vec<u8> {
    frame(MAC_HERE, node_mac(id), &[], outer.ether_type(), &outer.bytes())
}

/// A frame from this node to another.
fn to_node(id: u16, outer: &Packet) -> Vec<u8> {
    frame(node_mac(id), MAC_HERE, &[], outer.ether_type(), &outer.bytes())
}

/// A TCP packet from the client to the VIP.
fn tcp(version: Version, client_port: u16, port: u16, flags: u8) -> Packet {
    Packet::tcp((version.client(), client_port), (version.vip(), port), flags)
}

/// A datagram from the client to the VIP.
fn udp(version: Version, client_port: u16, port: u16) -> Packet {
    Packet::udp((version.client(), client_port), (version.vip(), port))
}

/// The flow of a packet that has ports right behind its header.
fn flow_of(packet: &Packet) -> FlowKey {
    let ports = |at: usize| {
        let bytes = packet
            .payload
            .get(at..at + 2)
            .and_then(|bytes| bytes.first_chunk());
        bytes.map_or(0, |bytes| u16::from_ne_bytes(*bytes))
    };
    FlowKey {
        source: packet.source.into(),
        destination: packet.destination.into(),
        ports: [ports(0), ports(2)],
        protocol: u16::from(packet.protocol),
        zero: 0,
    }
}

/// What tells a flow for the VIP apart on the way between nodes.
fn entropy(flow: &FlowKey) -> u16 {
    hash::of_flow(world::settings().hash_key, flow) as u16
}

/// The way of a packet from node to node.
#[derive(Clone, Copy)]
struct Way {
    format: EncapsulationCode,
    outer: Version,
    from: u16,
    to: u16,
    hops: u16,
    ttl: u8,
}

impl Way {
    /// From this node, the director, to that one.
    fn first(outer: Version, to: u16) -> Self {
        Self {
            format: EncapsulationCode::GUE,
            outer,
            from: ME.0,
            to,
            hops: 1,
            ttl: 64,
        }
    }

    /// From that node to this one.
    fn here(outer: Version, from: u16, hops: u16) -> Self {
        Self {
            from,
            to: ME.0,
            hops,
            ..Self::first(outer, ME.0)
        }
    }

    fn in_format(self, format: EncapsulationCode) -> Self {
        Self { format, ..self }
    }

    /// The packet with what stands around it on this way.
    fn wrap(self, packet: &Packet, entropy: u16) -> Packet {
        let ends @ [from, to] = [self.outer.node(self.from), self.outer.node(self.to)];
        let mut outer = if self.format == EncapsulationCode::IPIP {
            let mark = match self.outer {
                Version::V4 => self.hops,
                Version::V6 => entropy << 2 | self.hops,
            };
            packet.within(from, to, mark, 64)
        } else {
            let port = 0xc000 | entropy & 0x3fff;
            let mut outer = packet.in_gue(ends, port, self.hops, world::cookie(self.from));
            if self.outer == Version::V6 {
                outer.mark = entropy;
            }
            outer
        };
        outer.ttl = self.ttl;
        outer
    }
}

/// The packet as node `from` sends it here.
fn sent(version: Version, from: u16, packet: &Packet, hops: u16) -> Packet {
    Way::here(version, from, hops).wrap(packet, 0x1357)
}

/// The packet as this node sends it to another as the first to do so; its ports stand right behind its header.
fn steered(version: Version, to: u16, packet: &Packet) -> Vec<u8> {
    to_node(
        to,
        &Way::first(version, to).wrap(packet, entropy(&flow_of(packet))),
    )
}

/// The packet as this node sends it to another after a third one, by so many hops in all.
fn relayed(version: Version, to: u16, packet: &Packet, hops: u16) -> Vec<u8> {
    let way = Way {
        hops,
        ttl: 63,
        ..Way::first(version, to)
    };
    to_node(to, &way.wrap(packet, entropy(&flow_of(packet))))
}

/// An entry for a node's present life.
fn entry(node: u16, phase: FlowPhase) -> FlowEntry {
    FlowEntry {
        node: NodeId(node),
        phase,
        incarnation: 100 + u32::from(node),
        since_ns: 0,
    }
}

impl Case {
    fn new(version: Version, name: &str, frame: Vec<u8>, fate: Fate, reason: Reason, bytes: Vec<u8>) -> Self {
        Self {
            name: format!("{version:?}: {name}"),
            before: Before::default(),
            frame,
            expected: Outcome {
                fate,
                reason,
                bytes,
                after: After::default(),
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

    /// A client's packet, with ports right behind its header, that is sent to another node.
    fn steered(version: Version, name: &str, packet: &Packet, to: u16, reason: Reason) -> Self {
        let bytes = steered(version, to, packet);
        Self::new(version, name, from_client(packet), Fate::Transmit, reason, bytes)
    }

    /// A packet of another node that is taken out of what that put around it, and passed.
    fn taken(
        version: Version,
        name: &str,
        outer: &Packet,
        from: u16,
        inner: &Packet,
        reason: Reason,
    ) -> Self {
        let bytes = frame(MAC_HERE, node_mac(from), &[], inner.ether_type(), &inner.bytes());
        Self::new(version, name, from_node(from, outer), Fate::Pass, reason, bytes).hears(from)
    }

    /// With other things than usual before.
    fn before(mut self, change: impl FnOnce(&mut Before)) -> Self {
        change(&mut self.before);
        self
    }

    /// With other settings than usual.
    fn set(self, change: impl FnOnce(&mut Settings)) -> Self {
        self.before(|before| {
            if let Some(settings) = &mut before.settings {
                change(settings);
            }
        })
    }

    /// After it, the tables know that the node lives.
    fn hears(mut self, node: u16) -> Self {
        self.expected.after.heard.push(node);
        self
    }

    /// After it, the flow table knows the packet's connection for new.
    fn opens(self, packet: &Packet, node: u16) -> Self {
        self.keeps(flow_of(packet), entry(node, FlowPhase::OPEN), Written::Before)
    }

    /// After it, the flow table has that entry.
    fn keeps(mut self, key: FlowKey, entry: FlowEntry, since: Written) -> Self {
        let kept = Kept {
            key,
            node: entry.node,
            incarnation: entry.incarnation,
            phase: entry.phase,
            since,
        };
        let list = if key.protocol == 6 {
            &mut self.expected.after.flows
        } else {
            &mut self.expected.after.udp_flows
        };
        list.retain(|kept| kept.key != key);
        list.push(kept);
        self.expected.after = self.expected.after.in_order();
        self
    }

    /// After it, the table of UDP flows knows the packet's flow for new, or anew.
    fn notes(self, packet: &Packet, node: u16) -> Self {
        self.keeps(flow_of(packet), entry(node, FlowPhase::OPEN), Written::Now)
    }

    /// Before it, the flow table has that entry, as old as said; and after, unless it is said otherwise.
    fn knowing(mut self, key: FlowKey, entry: FlowEntry, age_ns: u64) -> Self {
        let list = if key.protocol == 6 {
            &mut self.before.flows
        } else {
            &mut self.before.udp_flows
        };
        list.push((key, entry, age_ns));
        self.keeps(key, entry, Written::Before)
    }

    /// Before it, the first fragment went to a node; and it is remembered after.
    fn after_first(mut self, key: FragmentKey, node: u16, age_ns: u64) -> Self {
        let entry = FragmentEntry {
            node: NodeId(node),
            ..FragmentEntry::default()
        };
        self.before.fragments.push((key, entry, age_ns));
        self.expected
            .after
            .fragments
            .push((key, NodeId(node), Written::Before));
        self
    }

    /// After it, the tables know where the first fragment went.
    fn begins(mut self, key: FragmentKey, node: u16) -> Self {
        self.expected
            .after
            .fragments
            .push((key, NodeId(node), Written::Now));
        self
    }
}
