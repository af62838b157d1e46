//! The end of the packet's way: this node's stack, another node, or nowhere.

use super::arrive::Arrival;
use super::end::{End, Place};
use super::remembered::fragment_key;
use crate::encap::{Format, Hop, OUTER_TTL};
use crate::fragment::FragmentEntry;
use crate::node::{EncapsulationCode, NodeEntry, NodeId, Settings};
use crate::parse::{self, Family, Fragment, Network};
use crate::tables::Tables;
use crate::verdict::{Action, Reason, Verdict};
use crate::vip::VipId;

/// Where it is noted how a packet is sent on.
pub(super) struct Way<'n> {
    pub(super) hop: &'n mut Hop,
    pub(super) mtu: &'n mut u16,
}

/// The verdict for a packet that ends there.
#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "one step of `decide`; a struct would only rename its locals"
)]
pub(super) fn end<T: Tables>(
    tables: &T,
    settings: &Settings,
    packet: &Network,
    arrival: Option<Arrival>,
    entropy: u16,
    vip: VipId,
    end: End,
    noted: Way<'_>,
) -> Verdict {
    let End {
        place,
        node: to,
        reason,
        from_node,
    } = end;
    match place {
        Place::Nowhere => return Verdict::of(vip, Action::Drop, reason),
        Place::Here | Place::Nobody => {
            note_first_fragment(tables, packet, settings.node);
            return match arrival {
                None => Verdict::of(vip, Action::Pass, reason),
                Some(Arrival { outer: None, .. }) => Verdict::of(vip, Action::Pass, from_node),
                Some(_) => Verdict::of(vip, Action::Decapsulate, from_node),
            };
        }
        Place::Node => {}
    }
    note_first_fragment(tables, packet, to);
    let (action, reason) = match send(tables, settings, packet, arrival, entropy, to, noted) {
        Ok(action @ Action::AnswerTooBig) => (action, Reason::TooBigAnswered),
        Ok(action) => (action, reason),
        Err(reason) => (Action::Drop, reason),
    };
    Verdict {
        action,
        reason,
        vip,
        node: to,
    }
}

/// Sends the packet to another node; or tells its sender that it is too long.
#[inline(always)]
fn send<T: Tables>(
    tables: &T,
    settings: &Settings,
    packet: &Network,
    arrival: Option<Arrival>,
    entropy: u16,
    to: NodeId,
    noted: Way<'_>,
) -> Result<Action, Reason> {
    let node = tables.node(to).ok_or(Reason::UnknownOwner)?;
    let format = match (settings.encapsulation, arrival) {
        (EncapsulationCode::IPIP, _) => Format::Ipip,
        // Where nobody is known by hardware address the hops of what has nothing around it are not counted.
        (EncapsulationCode::L2, None) if tables.is_cluster_interface() => Format::L2,
        _ => Format::Gue,
    };
    let (outer, mac) = way(settings, packet.family, node, format)?;
    let (hops, ttl) = match arrival {
        None => (1, OUTER_TTL),
        Some(arrival) => {
            let ttl = arrival.outer.map_or(OUTER_TTL, |outer| outer.ttl);
            if ttl <= 1 {
                return Err(Reason::TtlExpired);
            }
            (arrival.hops + 1, ttl - 1)
        }
    };
    let (interface, from_mac) = node.exit(outer);
    let interface = if tables.is_ingress(interface) {
        0
    } else {
        interface
    };
    // An outer header cannot say more than that.
    let mtu = node.mtu(outer).unwrap_or(u16::MAX as usize);
    // A frame that gets nothing around it fits into the way that it came by.
    let may_be_long = format != Format::L2 || interface != 0;
    if packet.total_bytes + format.bytes(outer) > mtu && may_be_long {
        *noted.mtu = mtu.saturating_sub(format.bytes(outer)) as u16;
        return too_big(tables, packet, arrival);
    }
    *noted.hop = Hop {
        from: *settings.address(outer),
        to: *node.address(outer),
        cookie: settings.cookie,
        mac,
        interface,
        from_mac,
        format,
        outer,
        hops,
        ttl,
        entropy,
    };
    Ok(Action::Send)
}

/// By which family's outer header, and which hardware address: the packet's own family where both nodes have it.
#[inline(always)]
fn way(
    settings: &Settings,
    inner: Family,
    node: &NodeEntry,
    format: Format,
) -> Result<(Family, [u16; 3]), Reason> {
    let mut refusal = Reason::UnknownOwner;
    for family in [inner, inner.other()] {
        let has_addresses = !node.address(family).is_unset() && !settings.address(family).is_unset();
        if !has_addresses && format != Format::L2 {
            continue;
        }
        match node.mac(family) {
            Some(mac) => return Ok((family, mac)),
            None => refusal = Reason::UnresolvedNextHop,
        }
    }
    Err(refusal)
}

/// Tells the client what would have fitted. Between nodes nobody can be told, and of a fragment without ports or an ICMP
/// error nobody is (RFC 1122, 3.2.2).
#[inline(always)]
fn too_big<T: Tables>(tables: &T, packet: &Network, arrival: Option<Arrival>) -> Result<Action, Reason> {
    let may_be_told =
        arrival.is_none() && packet.fragment != Fragment::Later && parse::is_steered(packet.protocol);
    if !may_be_told || !tables.may_send_error() {
        return Err(Reason::TooBigUnanswered);
    }
    Ok(Action::AnswerTooBig)
}

/// Remembers where the first fragment of a packet goes, so that the rest can follow.
#[inline(always)]
fn note_first_fragment<T: Tables>(tables: &T, packet: &Network, node: NodeId) {
    if packet.fragment == Fragment::First {
        let entry = FragmentEntry {
            node,
            zero: [0; 3],
            at_ns: tables.now_ns(),
        };
        tables.remember_fragment(&fragment_key(packet), entry);
    }
}
