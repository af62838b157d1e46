//! The packet's way, top to bottom: [`decide`] says what becomes of a frame, [`apply`] does it to the bytes.
//!
//! Both are generic over the frame and the tables, and run unchanged in the kernel and in tests. The steps are those of
//! the design: parse, decapsulate, look up the VIP, ask the flow table, ask the Maglev table, see whether the packet is
//! for this node's sockets, send it on.

use crate::encap::{self, HOPS_MASK, HOPS_MAX, Hop, OUTER_TTL};
use crate::flow::{FlowEntry, FlowKey, FlowPhase};
use crate::frame::Frame;
use crate::hash;
use crate::headers::{IPV4_BYTES, PROTOCOL_IPIP, PROTOCOL_IPV6, PROTOCOL_TCP};
use crate::maglev::{SLOTS, Slot};
use crate::node::{NodeId, Settings};
use crate::parse::{self, Family, Fragment, Link, Network, Transport};
use crate::tables::{Socket, Tables};
use crate::verdict::{Action, Fate, Reason, Verdict};
use crate::vip::VipKey;

/// A packet that another node sent to this one.
#[derive(Clone, Copy)]
struct Arrival {
    outer: Network,
    sender: NodeId,
    hops: u16,
}

/// Decides what becomes of a frame.
#[inline(always)]
pub fn decide<F: Frame, T: Tables>(frame: &F, tables: &T) -> Verdict {
    // Parse.
    let link = match parse::link(frame) {
        Ok(link) => link,
        Err(reason) => return Verdict::early(reason),
    };
    let outermost = match parse::network(frame, link.network_at, link.ether_type) {
        Ok(network) => network,
        Err(reason) => return Verdict::early(reason),
    };
    let Some(settings) = tables.settings() else {
        return Verdict::early(Reason::NotConfigured);
    };

    // Decapsulate what another node sent.
    let mut packet = outermost;
    let mut arrival = None;
    if is_encapsulated_for(&outermost, &settings) {
        match arrive(frame, tables, &link, &outermost) {
            Ok((arrived, inner)) => {
                arrival = Some(arrived);
                packet = inner;
            }
            Err(reason) => return Verdict::early(reason),
        }
    }

    // Look up the VIP.
    if packet.fragment == Fragment::Later {
        return Verdict::early(if arrival.is_some() {
            Reason::Fragment
        } else {
            Reason::FragmentWithoutPorts
        });
    }
    let not_a_vip = if arrival.is_some() {
        Reason::UnknownVipInside
    } else {
        Reason::NotAVip
    };
    let transport = match parse::transport(frame, &packet) {
        Ok(transport) => transport,
        Err(Reason::NotAVip) => return Verdict::early(not_a_vip),
        Err(reason) => return Verdict::early(reason),
    };
    let flow = flow_key(&packet, &transport);
    let key = VipKey {
        address: flow.destination,
        port: flow.ports[1],
        protocol: flow.protocol,
    };
    let Some(vip) = tables.vip(&key) else {
        return Verdict::early(not_a_vip);
    };
    let mut verdict = Verdict {
        vip: vip.id,
        ..Verdict::early(Reason::NoOwner)
    };
    if packet.fragment == Fragment::First {
        return Verdict {
            reason: Reason::Fragment,
            ..verdict
        };
    }
    if link.ethernet.is_for_a_group() {
        return Verdict {
            reason: Reason::GroupAddress,
            ..verdict
        };
    }

    // Find the owner: by the flow table, at the director only, else by the slot.
    let index = hash::slot(settings.hash_key, &vip, &flow, SLOTS);
    let slot = tables.slot(vip.table, index);
    let is_tcp = packet.protocol == PROTOCOL_TCP;
    let opens = is_tcp && transport.flags.opens();
    let (owner, reason) = if arrival.is_some() {
        // Another node found it to be this one.
        (settings.node, Reason::ToOwner)
    } else if opens {
        remember(tables, &flow, slot.owner());
        (slot.owner(), Reason::ToOwner)
    } else if let Some(owner) = remembered(tables, &flow, &transport, is_tcp) {
        (owner, Reason::ToFlowOwner)
    } else {
        (slot.owner(), Reason::ToOwner)
    };
    if owner.is_nobody() && arrival.is_none() {
        return verdict;
    }

    // Mine? Then the stack gets it. A flow that the table does not know may have been accepted here before its slot
    // moved away; a flow that it knows needs no look at the sockets.
    let is_for_here = arrival.is_some() || owner == settings.node;
    let looks = is_for_here || (!opens && reason == Reason::ToOwner);
    let socket = if is_tcp && looks {
        tables.socket(&flow, packet.family)
    } else {
        Socket::None
    };
    if !is_for_here && socket != Socket::Connection {
        return send(tables, &settings, &packet, None, index, owner, reason, verdict);
    }
    let is_mine = !is_tcp || socket == Socket::Connection || (opens && socket == Socket::Listener);
    if is_mine {
        let [here, from_node] = if !is_tcp {
            [Reason::DatagramHere, Reason::DatagramFromNode]
        } else if opens {
            [Reason::ListenerHere, Reason::ListenerFromNode]
        } else {
            [Reason::SocketHere, Reason::SocketFromNode]
        };
        return accept(arrival, here, from_node, verdict);
    }

    // Not known here: to whoever may know it, while a hop is left; else the stack resets it.
    verdict.reason = Reason::NoCandidate;
    let hops = arrival.map_or(0, |arrival| arrival.hops);
    if hops >= HOPS_MAX {
        return accept(arrival, Reason::NoCandidate, Reason::NoHopLeft, verdict);
    }
    let (candidate, reason) = next_candidate(slot, socket, &settings, arrival);
    if candidate.is_nobody() {
        return accept(arrival, Reason::NoCandidate, Reason::NoCandidateFromNode, verdict);
    }
    send(
        tables, &settings, &packet, arrival, index, candidate, reason, verdict,
    )
}

/// Does to the frame what was decided, and says what the kernel does with it then.
///
/// The reason changes only where the frame has no headroom.
#[inline(always)]
pub fn apply<F: Frame>(frame: &mut F, verdict: &mut Verdict) -> Fate {
    let done = match &verdict.action {
        Action::Pass => return Fate::Pass,
        Action::Drop => return Fate::Drop,
        Action::Decapsulate { outer } => encap::decapsulate(frame, outer),
        Action::Encapsulate { packet, hop } => encap::encapsulate(frame, packet, hop),
        Action::Readdress { outer, hop } => encap::readdress(frame, outer, hop),
    };
    if done.is_err() {
        verdict.reason = Reason::NoHeadroom;
        return Fate::Drop;
    }
    verdict.reason.fate()
}

#[inline(always)]
fn is_encapsulated_for(packet: &Network, settings: &Settings) -> bool {
    (packet.protocol == PROTOCOL_IPIP || packet.protocol == PROTOCOL_IPV6)
        && !settings.address(packet.family).is_unset()
        && packet.destination == *settings.address(packet.family)
}

/// Believes an encapsulated packet only if all of it says that a node sent it: a forged outer source must not get in.
#[inline(always)]
fn arrive<F: Frame, T: Tables>(
    frame: &F,
    tables: &T,
    link: &Link,
    outer: &Network,
) -> Result<(Arrival, Network), Reason> {
    let has_options = outer.family == Family::V4 && outer.payload_at - outer.header_at != IPV4_BYTES;
    let is_within_family = match outer.family {
        Family::V4 => outer.protocol == PROTOCOL_IPIP,
        Family::V6 => outer.protocol == PROTOCOL_IPV6,
    };
    if !is_within_family || has_options || outer.fragment != Fragment::Whole {
        return Err(Reason::UnexpectedEncapsulation);
    }
    if !tables.is_cluster_interface() {
        return Err(Reason::ForeignInterface);
    }
    let sender = tables.node_at(&outer.source).ok_or(Reason::UnknownNode)?;
    let node = tables.node(sender).ok_or(Reason::UnknownNode)?;
    if node.mac(outer.family) != Some(link.ethernet.source()) {
        return Err(Reason::WrongMac);
    }
    let hops = outer.mark & HOPS_MASK;
    if hops == 0 || hops > HOPS_MAX {
        return Err(Reason::BadHops);
    }
    let inner = match outer.family {
        Family::V4 => parse::ipv4(frame, outer.payload_at),
        Family::V6 => parse::ipv6(frame, outer.payload_at),
    }?;
    if inner.total_bytes > outer.total_bytes - outer.family.outer_bytes() {
        return Err(Reason::TruncatedNetwork);
    }
    Ok((
        Arrival {
            outer: *outer,
            sender,
            hops,
        },
        inner,
    ))
}

#[inline(always)]
fn flow_key(packet: &Network, transport: &Transport) -> FlowKey {
    FlowKey {
        source: packet.source,
        destination: packet.destination,
        ports: transport.ports,
        protocol: u16::from(packet.protocol),
        zero: 0,
    }
}

/// Remembers the owner of a connection that opens. Whoever is nobody's gets no entry.
#[inline(always)]
fn remember<T: Tables>(tables: &T, flow: &FlowKey, owner: NodeId) {
    if let Some(node) = tables.node(owner) {
        let entry = FlowEntry {
            node: owner,
            phase: FlowPhase::OPEN,
            incarnation: node.incarnation,
            since_ns: 0,
        };
        tables.remember(flow, entry);
    }
}

/// The remembered owner, if the life in which it accepted the connection still serves.
#[inline(always)]
fn remembered<T: Tables>(tables: &T, flow: &FlowKey, transport: &Transport, is_tcp: bool) -> Option<NodeId> {
    if !is_tcp {
        return None;
    }
    let entry = tables.flow(flow)?;
    let phase = entry.phase.after(transport.flags);
    if entry.phase != FlowPhase::OPEN && !entry.is_live(tables.now_ns()) {
        return None;
    }
    if tables.node(entry.node)?.incarnation != entry.incarnation {
        return None;
    }
    if phase != entry.phase {
        tables.remember(
            flow,
            FlowEntry {
                phase,
                since_ns: tables.now_ns(),
                ..entry
            },
        );
    }
    Some(entry.node)
}

/// Who else may know a packet that nothing here knows.
///
/// Without a listener here the proxy has crashed: its slots are the successor's. Otherwise the first of the owner and
/// the previous owners in this node's table that is not this node. An owner that sent the packet itself is passed over:
/// it looked for a socket before it sent. A sender that is a previous owner is not, for a director does not look.
#[inline(always)]
fn next_candidate(
    slot: Slot,
    socket: Socket,
    settings: &Settings,
    arrival: Option<Arrival>,
) -> (NodeId, Reason) {
    if socket == Socket::None && !slot.successor().is_nobody() && slot.owner() == settings.node {
        return (slot.successor(), Reason::ToSuccessor);
    }
    let sender = arrival.map_or(NodeId::NOBODY, |arrival| arrival.sender);
    if slot.owner() != settings.node && slot.owner() != sender {
        return (slot.owner(), Reason::ToOtherOwner);
    }
    if slot.previous() != settings.node && !slot.previous().is_nobody() {
        return (slot.previous(), Reason::ToPreviousOwner);
    }
    if slot.second_previous() != settings.node {
        return (slot.second_previous(), Reason::ToPreviousOwner);
    }
    (NodeId::NOBODY, Reason::NoCandidate)
}

/// Gives the packet to this node's stack.
#[inline(always)]
fn accept(arrival: Option<Arrival>, here: Reason, from_node: Reason, verdict: Verdict) -> Verdict {
    match arrival {
        None => Verdict {
            action: Action::Pass,
            reason: here,
            ..verdict
        },
        Some(arrival) => Verdict {
            action: Action::Decapsulate { outer: arrival.outer },
            reason: from_node,
            ..verdict
        },
    }
}

/// Sends the packet to another node.
#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "one step of one function; a struct would only rename its locals"
)]
fn send<T: Tables>(
    tables: &T,
    settings: &Settings,
    packet: &Network,
    arrival: Option<Arrival>,
    index: u32,
    to: NodeId,
    reason: Reason,
    verdict: Verdict,
) -> Verdict {
    let dropped = |reason| Verdict {
        action: Action::Drop,
        reason,
        node: to,
        ..verdict
    };
    let Some(node) = tables.node(to) else {
        return dropped(Reason::UnknownOwner);
    };
    let destination = *node.address(packet.family);
    let source = *settings.address(packet.family);
    if destination.is_unset() || source.is_unset() {
        return dropped(Reason::UnknownOwner);
    }
    let Some(mac) = node.mac(packet.family) else {
        return dropped(Reason::UnresolvedNextHop);
    };
    let mut hop = Hop {
        node: to,
        source,
        destination,
        mac,
        mark: 1,
        ttl: OUTER_TTL,
    };
    let action = match arrival {
        None => {
            if packet.family == Family::V6 {
                hop.mark |= (index as u16) << 2;
            }
            Action::Encapsulate { packet: *packet, hop }
        }
        Some(arrival) => {
            if arrival.outer.ttl <= 1 {
                return dropped(Reason::TtlExpired);
            }
            hop.ttl = arrival.outer.ttl - 1;
            hop.mark = arrival.outer.mark + 1;
            Action::Readdress {
                outer: arrival.outer,
                hop,
            }
        }
    };
    Verdict {
        action,
        reason,
        node: to,
        ..verdict
    }
}
