//! What is remembered of a packet's flow: by the flow tables, by the id in a QUIC datagram, by its first fragment.

use super::candidates;
use crate::flow::{FlowEntry, FlowKey, FlowPhase, UDP_REFRESH_NS};
use crate::fragment::FragmentKey;
use crate::frame::Frame;
use crate::headers::UDP_BYTES;
use crate::node::{NodeId, Settings};
use crate::parse::{About, Matter, Network};
use crate::quic::ShortHeader;
use crate::tables::Tables;
use crate::verdict::Reason;
use crate::vip::{VipEntry, VipFlags};

/// What a packet that opens a connection is to the flow table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// None of an old connection, whatever is remembered.
    Anew,
    /// Perhaps the same packet again: it goes where the first one went, while neither side has ended what that began.
    Again,
}

/// Who owns a TCP flow by the table, if the life in which that node accepted it still serves.
#[inline(always)]
pub(super) fn flow_owner<T: Tables>(
    tables: &T,
    settings: &Settings,
    about: &About,
    hash: u64,
    opening: Opening,
) -> Option<(NodeId, Reason)> {
    let opens = about.flags.opens();
    if opens && opening == Opening::Anew {
        return None;
    }
    let entry = tables.flow(&about.flow, hash)?;
    if opens && entry.phase != FlowPhase::OPEN {
        return None;
    }
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
            hash,
            FlowEntry {
                phase,
                since_ns: tables.now_ns(),
                ..entry
            },
        );
    }
    Some((entry.node, Reason::ToFlowOwner))
}

/// Remembers the owner of a connection that opens. Whoever is nobody's gets no entry; nor whose owner is a former member,
/// which a slot may name until the next table is live: nothing may go on going there for that.
#[inline(always)]
pub(super) fn remember<T: Tables>(tables: &T, flow: &FlowKey, hash: u64, owner: NodeId) {
    if let Some(node) = tables.node(owner)
        && node.is_member()
    {
        tables.remember(flow, hash, FlowEntry::new(owner, node.incarnation, 0));
    }
}

/// The node that a QUIC datagram names by its connection id, if it is a member.
#[inline(always)]
pub(super) fn named_node<F: Frame, T: Tables>(
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
    let is_member = tables.node(node)?.is_member();
    (is_member && !candidates::is_lost(tables, settings, node)).then_some((node, Reason::ToNamedNode))
}

/// Who owns a UDP flow by the table, if it is not idle for too long and the node's life is the same. Datagrams keep the
/// entry alive.
#[inline(always)]
pub(super) fn udp_flow_owner<T: Tables>(
    tables: &T,
    settings: &Settings,
    about: &About,
    hash: u64,
) -> Option<(NodeId, Reason)> {
    let entry = tables.udp_flow(&about.flow, hash)?;
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
            hash,
            FlowEntry {
                since_ns: now,
                ..entry
            },
        );
    }
    Some((entry.node, Reason::ToFlowOwner))
}

/// Remembers the owner of a UDP flow that no table knew, at the director; as for `remember`.
#[inline(always)]
pub(super) fn remember_datagram<T: Tables>(
    tables: &T,
    settings: &Settings,
    about: &About,
    hash: u64,
    owner: NodeId,
) {
    if settings.udp_idle_ns == 0 {
        return;
    }
    if let Some(node) = tables.node(owner)
        && node.is_member()
    {
        let entry = FlowEntry::new(owner, node.incarnation, tables.now_ns());
        tables.remember_udp(&about.flow, hash, entry);
    }
}

/// Where the first fragment of this one's packet went, if that node is still a member.
#[inline(always)]
pub(super) fn fragment_owner<T: Tables>(
    tables: &T,
    settings: &Settings,
    packet: &Network,
) -> Option<(NodeId, Reason)> {
    let entry = tables.fragment(&fragment_key(packet))?;
    if !entry.is_live(tables.now_ns()) {
        return None;
    }
    let is_there = entry.node == settings.node || tables.node(entry.node)?.is_member();
    is_there.then_some((entry.node, Reason::ToFragmentOwner))
}

/// What all fragments of this one's packet have in common.
#[inline(always)]
pub(super) fn fragment_key(packet: &Network) -> FragmentKey {
    FragmentKey {
        source: packet.source,
        destination: packet.destination,
        identification: packet.identification,
        protocol: u32::from(packet.protocol),
    }
}
