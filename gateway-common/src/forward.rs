//! The packet's way, top to bottom: [`decide`] says what becomes of a frame, [`apply`] does it to the bytes.
//!
//! Both are generic over the frame and the tables, and run unchanged in the kernel and in tests. The steps are those of
//! the design: parse, decapsulate, look up the VIP, ask the flow tables, ask the Maglev table, see whether the packet is
//! for this node's sockets, send it on.

mod arrive;
mod candidates;
mod send;

use crate::encap;
use crate::flow::{FlowEntry, FlowKey, FlowPhase, UDP_REFRESH_NS};
use crate::fragment::FragmentKey;
use crate::frame::Frame;
use crate::hash;
use crate::headers::{PROTOCOL_TCP, UDP_BYTES};
use crate::icmp;
use crate::node::{NodeId, Settings};
use crate::parse::{self, About, Matter, Network};
use crate::quic::ShortHeader;
use crate::tables::{Socket, Tables};
use crate::verdict::{Action, Fate, Reason, Verdict};
use crate::vip::{TableId, VipEntry, VipFlags, VipKey};

use arrive::Arrival;
use candidates::Slots;
use send::Sending;

pub use candidates::{HEARD_NS, LEASE_NS};

/// The table that all members share: of what a node sends that is for no VIP here.
pub const TABLE_OF_ALL: TableId = TableId(0);

/// Decides what becomes of a frame.
#[inline(always)]
pub fn decide<'t, F: Frame, T: Tables>(frame: &F, tables: &'t T) -> Verdict<'t> {
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
    if is_for(settings, &outermost) {
        match arrive::encapsulated(frame, tables, settings, &link, &outermost) {
            Ok(Some((arrived, inner))) => {
                arrival = Some(arrived);
                packet = inner;
            }
            Ok(None) => {}
            Err(reason) => return Verdict::early(reason),
        }
    }

    // Look up the VIP.
    let about = match parse::about(frame, &packet) {
        Ok(about) => about,
        Err(reason) => return not_understood(tables, &packet, arrival, reason),
    };
    let Some(vip) = vip_of(tables, &about) else {
        return not_a_vip(tables, settings, &packet, &about, arrival);
    };
    let verdict = Verdict {
        vip: vip.id,
        ..Verdict::early(Reason::NoOwner)
    };
    if link.ethernet.is_for_a_group() {
        return verdict.dropped(Reason::GroupAddress);
    }
    if about.matter == Matter::Echo {
        return match arrival {
            None => verdict.done(
                Action::AnswerEcho {
                    packet: packet.shape(),
                },
                Reason::EchoAnswered,
            ),
            // Whoever gets one answers it.
            Some(_) => verdict.dropped(Reason::UnexpectedEncapsulation),
        };
    }
    if arrival.is_none() {
        arrival = arrive::by_mac(tables, settings, &link);
    }

    // Find the owner: at the director by what is remembered, else by the slot.
    let spread = hash::spread(settings.hash_key, vip, &about.flow);
    let slots = Slots::read(tables, vip.table, spread);
    let is_tcp = about.flow.protocol == u16::from(PROTOCOL_TCP);
    let opens = about.flags.opens();
    let remembered = match (about.matter, arrival) {
        (Matter::LaterFragment, _) => fragment_owner(tables, settings, &packet),
        (_, Some(_)) => None,
        (Matter::Segment | Matter::Error, None) if is_tcp => flow_owner(tables, settings, &about, opens),
        (_, None) => named_node(frame, tables, settings, &packet, &about, vip)
            .or_else(|| udp_flow_owner(tables, settings, &about)),
    };
    let (owner, reason) = match (remembered, arrival) {
        (Some(remembered), _) => remembered,
        // Another node found it to be this one.
        (None, Some(_)) => (settings.node, Reason::ToOwner),
        (None, None) => slots.owner(tables, settings),
    };
    if owner.is_nobody() && arrival.is_none() {
        return verdict;
    }
    if opens && arrival.is_none() {
        remember(tables, &about.flow, owner);
    }

    // Mine? Then the stack gets it. A flow that no table knows may have been accepted here before its slot moved away; a
    // flow that a table knows needs no look at the sockets.
    let is_for_here = owner == settings.node;
    let sending = Sending {
        tables,
        settings,
        packet: &packet,
        arrival,
        entropy: spread.entropy,
        verdict,
    };
    let has_no_hop_left = arrival.is_some_and(|arrival| arrival.hops >= encap::HOPS_MAX);
    if about.matter == Matter::LaterFragment {
        return if is_for_here || has_no_hop_left {
            sending.accept(Reason::FragmentHere, Reason::FragmentFromNode)
        } else {
            sending.send(owner, reason)
        };
    }
    let looks = is_for_here || (remembered.is_none() && !opens);
    let socket = match (looks, is_tcp) {
        (false, _) => Socket::None,
        (true, true) => tables.tcp_socket(frame, &packet, &about),
        (true, false) => tables.udp_socket(&packet, &about),
    };
    if !is_for_here && socket != Socket::Connection {
        remember_datagram(tables, settings, &about, remembered, owner);
        return sending.send(owner, reason);
    }
    match (about.matter, socket) {
        (Matter::Segment, Socket::Connection) => {
            return sending.accept(Reason::SocketHere, Reason::SocketFromNode);
        }
        (Matter::Segment, Socket::Handshake) => {
            return sending.accept(Reason::HandshakeHere, Reason::HandshakeFromNode);
        }
        (Matter::Segment, Socket::Listener) if opens => {
            return sending.accept(Reason::ListenerHere, Reason::ListenerFromNode);
        }
        (Matter::Datagram, Socket::Connection | Socket::Listener) => {
            if socket == Socket::Listener && arrival.is_none() {
                remember_datagram(tables, settings, &about, remembered, owner);
            }
            return sending.accept(Reason::DatagramHere, Reason::DatagramFromNode);
        }
        (Matter::Error, Socket::Connection) => {
            return sending.accept(Reason::ErrorHere, Reason::ErrorFromNode);
        }
        (Matter::Error, Socket::Listener) if !is_tcp => {
            return sending.accept(Reason::ErrorHere, Reason::ErrorFromNode);
        }
        _ => {}
    }

    // Not known here: to whoever may know it, while a hop is left; else the stack resets it.
    if has_no_hop_left {
        return sending.accept(Reason::NoCandidate, Reason::NoHopLeft);
    }
    match slots.next(tables, settings, socket, arrival) {
        Some((candidate, reason)) => sending.send(candidate, reason),
        None => sending.accept(Reason::NoCandidate, Reason::NoCandidateFromNode),
    }
}

/// Does to the frame what was decided, and says what the kernel does with it then.
///
/// The reason changes only where the frame has no headroom.
#[inline(always)]
pub fn apply<F: Frame>(frame: &mut F, verdict: &mut Verdict<'_>) -> Fate {
    let done = match &verdict.action {
        Action::Pass => return Fate::Pass,
        Action::Drop => return Fate::Drop,
        Action::Decapsulate { outer, inner } => encap::decapsulate(frame, outer, *inner),
        Action::Encapsulate { packet, hop } => encap::encapsulate(frame, packet, hop),
        Action::Relay { outer, packet, hop } => encap::relay(frame, outer, packet, hop),
        Action::AnswerEcho { packet } => icmp::answer_echo(frame, packet),
        Action::AnswerTooBig { packet, mtu } => icmp::answer_too_big(frame, packet, *mtu),
    };
    if done.is_err() {
        verdict.reason = Reason::NoHeadroom;
        return Fate::Drop;
    }
    verdict.reason.fate()
}

#[inline(always)]
fn is_for(settings: &Settings, packet: &Network) -> bool {
    let address = settings.address(packet.family);
    packet.destination == *address && !address.is_unset()
}

/// The VIP that a packet is about: of its port, or of all ports; of its address, if it has no ports.
#[inline(always)]
fn vip_of<'t, T: Tables>(tables: &'t T, about: &About) -> Option<&'t VipEntry> {
    let [_, port] = about.flow.ports;
    let mut key = VipKey {
        address: about.flow.destination,
        port,
        protocol: about.flow.protocol,
    };
    let has_ports = !matches!(about.matter, Matter::Echo | Matter::LaterFragment);
    if has_ports && let Some(vip) = tables.vip(&key) {
        return Some(vip);
    }
    key.port = 0;
    key.protocol = 0;
    let address = tables.vip(&key)?;
    if !has_ports {
        return Some(address);
    }
    let any_port = if about.flow.protocol == u16::from(PROTOCOL_TCP) {
        VipFlags::ANY_TCP_PORT
    } else {
        VipFlags::ANY_UDP_PORT
    };
    if !address.flags.has(any_port) {
        return None;
    }
    key.protocol = about.flow.protocol;
    tables.vip(&key)
}

/// What becomes of a packet that is about no flow, or whose flow cannot be read.
#[inline(always)]
fn not_understood<'t, T: Tables>(
    tables: &'t T,
    packet: &Network,
    arrival: Option<Arrival>,
    reason: Reason,
) -> Verdict<'t> {
    match (reason, arrival) {
        (Reason::NotAVip, None) => Verdict::early(Reason::NotAVip),
        (Reason::NotAVip, Some(_)) => Verdict::early(Reason::UnknownVipInside),
        (Reason::TooManyExtensions, None)
            if tables.vip(&VipKey::of_address(packet.destination)).is_none() =>
        {
            Verdict::early(Reason::NotAVip)
        }
        _ => Verdict::early(reason),
    }
}

/// What becomes of a packet that is for no VIP of ours: the stack's, unless another node thought that this one knew it.
#[inline(always)]
fn not_a_vip<'t, T: Tables>(
    tables: &'t T,
    settings: &'t Settings,
    packet: &Network,
    about: &About,
    arrival: Option<Arrival>,
) -> Verdict<'t> {
    let Some(arrived) = arrival else {
        return Verdict::early(Reason::NotAVip);
    };
    let spread = hash::spread(settings.hash_key, &VipEntry::default(), &about.flow);
    let slots = Slots::read(tables, TABLE_OF_ALL, spread);
    let Some(node) = slots.who_knows(settings, &arrived) else {
        return Verdict::early(Reason::UnknownVipInside);
    };
    let sending = Sending {
        tables,
        settings,
        packet,
        arrival,
        entropy: spread.entropy,
        verdict: Verdict::early(Reason::UnknownVipInside),
    };
    sending.send(node, Reason::ToNodeThatKnows)
}

/// Who owns a TCP flow by the table, if the life in which that node accepted it still serves. A packet that opens a
/// connection is none of an old one.
#[inline(always)]
fn flow_owner<T: Tables>(
    tables: &T,
    settings: &Settings,
    about: &About,
    opens: bool,
) -> Option<(NodeId, Reason)> {
    if opens {
        return None;
    }
    let entry = tables.flow(&about.flow)?;
    if entry.phase != FlowPhase::OPEN && !entry.is_live(tables.now_ns()) {
        return None;
    }
    if tables.node(entry.node)?.incarnation != entry.incarnation
        || candidates::is_lost(tables, settings, entry.node)
    {
        return None;
    }
    let phase = entry.phase.after(about.flags);
    if phase != entry.phase {
        tables.remember(
            &about.flow,
            FlowEntry {
                phase,
                since_ns: tables.now_ns(),
                ..entry
            },
        );
    }
    Some((entry.node, Reason::ToFlowOwner))
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

/// The node that a QUIC datagram names by its connection id, if it is a member.
#[inline(always)]
fn named_node<F: Frame, T: Tables>(
    frame: &F,
    tables: &T,
    settings: &Settings,
    packet: &Network,
    about: &About,
    vip: &VipEntry,
) -> Option<(NodeId, Reason)> {
    if about.matter != Matter::Datagram || !vip.flags.has(VipFlags::QUIC) {
        return None;
    }
    let header: ShortHeader = frame.read(packet.payload_at + UDP_BYTES)?;
    let node = header.node();
    tables.node(node)?;
    (!candidates::is_lost(tables, settings, node)).then_some((node, Reason::ToNamedNode))
}

/// Who owns a UDP flow by the table, if it is not idle for too long and the node's life is the same. Datagrams keep the
/// entry alive.
#[inline(always)]
fn udp_flow_owner<T: Tables>(tables: &T, settings: &Settings, about: &About) -> Option<(NodeId, Reason)> {
    let entry = tables.udp_flow(&about.flow)?;
    let now = tables.now_ns();
    let idle_ns = entry.idle_ns(now);
    if idle_ns >= settings.udp_idle_ns
        || tables.node(entry.node)?.incarnation != entry.incarnation
        || candidates::is_lost(tables, settings, entry.node)
    {
        return None;
    }
    if idle_ns >= UDP_REFRESH_NS && about.matter == Matter::Datagram {
        tables.remember_udp(
            &about.flow,
            FlowEntry {
                since_ns: now,
                ..entry
            },
        );
    }
    Some((entry.node, Reason::ToFlowOwner))
}

/// Remembers the owner of a UDP flow that no table knew, at the director.
#[inline(always)]
fn remember_datagram<T: Tables>(
    tables: &T,
    settings: &Settings,
    about: &About,
    remembered: Option<(NodeId, Reason)>,
    owner: NodeId,
) {
    if about.matter != Matter::Datagram || remembered.is_some() || settings.udp_idle_ns == 0 {
        return;
    }
    if let Some(node) = tables.node(owner) {
        let entry = FlowEntry {
            node: owner,
            phase: FlowPhase::OPEN,
            incarnation: node.incarnation,
            since_ns: tables.now_ns(),
        };
        tables.remember_udp(&about.flow, entry);
    }
}

/// Where the first fragment of this one's packet went, if that node is still a member.
#[inline(always)]
fn fragment_owner<T: Tables>(tables: &T, settings: &Settings, packet: &Network) -> Option<(NodeId, Reason)> {
    let entry = tables.fragment(&fragment_key(packet))?;
    if !entry.is_live(tables.now_ns()) {
        return None;
    }
    if entry.node != settings.node {
        tables.node(entry.node)?;
    }
    Some((entry.node, Reason::ToFragmentOwner))
}

/// What all fragments of this one's packet have in common.
#[inline(always)]
fn fragment_key(packet: &Network) -> FragmentKey {
    FragmentKey {
        source: packet.source,
        destination: packet.destination,
        identification: packet.identification,
        protocol: u32::from(packet.protocol),
    }
}
