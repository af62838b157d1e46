//! The short way of what most packets are: a client's TCP segment for a VIP, whole, untagged, without IP options, that
//! opens a connection or goes on with one, and whose owner is another node of its own family.
//!
//! It asks the same questions by the same functions as [`super::decide`] and comes to the same end, so that nothing
//! depends on which of the two a packet took. It is shorter by what such a packet cannot be, and keeps what it knows in
//! registers instead of notes. Whatever is unusual in the packet, the tables or the node ends it before anything was
//! taken or written, and the long way begins anew.

use super::candidates::{self, Slots};
use super::filter::{self, Memory};
use super::remembered::{self, Opening};
use crate::encap::{self, Format, Hop, OUTER_TTL};
use crate::flow::FlowKey;
use crate::frame::Frame;
use crate::hash;
use crate::headers::{
    ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, ETHERNET_BYTES, Ethernet, IPV4_BYTES, IPV6_BYTES, Ipv4, Ipv6,
    PROTOCOL_TCP, TCP_BYTES, Tcp, TcpFlags,
};
use crate::node::{EncapsulationCode, NodeEntry, NodeId, Settings};
use crate::parse::{About, Family, Fragment, Matter, Network};
use crate::tables::Tables;
use crate::verdict::{Action, Fate, Reason, Verdict};
use crate::vip::{VipEntry, VipKey};

/// What became of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// Whose it was, and why.
    pub verdict: Verdict,
    /// What the kernel does with it.
    pub fate: Fate,
}

/// Decides what becomes of a frame, and does it; `None`: the long way has to, and nothing was done.
#[inline(always)]
pub fn short<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Option<Done> {
    let ethernet: Ethernet = frame.read(0)?;
    match ethernet.ether_type() {
        ETHER_TYPE_IPV4 => {
            let header: Ipv4 = frame.read(ETHERNET_BYTES)?;
            let packet = ipv4(&header)?;
            segment(frame, tables, ethernet, &packet)
        }
        ETHER_TYPE_IPV6 => {
            let header: Ipv6 = frame.read(ETHERNET_BYTES)?;
            let packet = ipv6(&header)?;
            segment(frame, tables, ethernet, &packet)
        }
        _ => None,
    }
}

/// An IPv4 packet of TCP, whole and without options.
#[inline(always)]
fn ipv4(header: &Ipv4) -> Option<Network> {
    let is_whole = !header.is_later_fragment() && !header.has_more_fragments();
    let is_plain = header.version() == 4 && header.header_bytes() == IPV4_BYTES && is_whole;
    (is_plain && header.protocol() == PROTOCOL_TCP).then(|| Network {
        family: Family::V4,
        header_at: ETHERNET_BYTES,
        payload_at: ETHERNET_BYTES + IPV4_BYTES,
        total_bytes: header.total_bytes(),
        protocol: PROTOCOL_TCP,
        ttl: header.ttl(),
        traffic_class: header.traffic_class(),
        mark: header.identification(),
        fragment: Fragment::Whole,
        identification: 0,
        source: header.source(),
        destination: header.destination(),
    })
}

/// An IPv6 packet of TCP without extension headers.
#[inline(always)]
fn ipv6(header: &Ipv6) -> Option<Network> {
    let (source, destination) = (header.source(), header.destination());
    let is_plain = header.version() == 6 && !source.is_ipv4() && !destination.is_ipv4();
    (is_plain && header.next_header() == PROTOCOL_TCP).then(|| Network {
        family: Family::V6,
        header_at: ETHERNET_BYTES,
        payload_at: ETHERNET_BYTES + IPV6_BYTES,
        total_bytes: IPV6_BYTES + header.payload_bytes(),
        protocol: PROTOCOL_TCP,
        ttl: header.hop_limit(),
        traffic_class: header.traffic_class(),
        mark: header.flow_label_low(),
        fragment: Fragment::Whole,
        identification: 0,
        source,
        destination,
    })
}

/// The way of one segment.
#[inline(always)]
fn segment<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    ethernet: Ethernet,
    packet: &Network,
) -> Option<Done> {
    // Parse.
    let header: Tcp = frame.read(packet.payload_at)?;
    let headers_bytes = packet.payload_at - ETHERNET_BYTES;
    let (tcp_bytes, flags) = (header.header_bytes(), header.flags());
    let is_all_there = ETHERNET_BYTES + packet.total_bytes <= frame.len();
    if !is_all_there || tcp_bytes < TCP_BYTES || headers_bytes + tcp_bytes > packet.total_bytes {
        return None;
    }
    if !flags.opens() && !flags.acknowledges() {
        return None;
    }
    let about = About {
        flow: FlowKey {
            source: packet.source,
            destination: packet.destination,
            ports: header.ports(),
            protocol: u16::from(PROTOCOL_TCP),
            zero: 0,
        },
        flags,
        matter: Matter::Segment,
    };
    let settings = tables.settings()?;
    if filter::is_of_host(tables) {
        return None;
    }

    // Look up the VIP.
    let [_, port] = about.flow.ports;
    let Some(vip) = tables.vip(&VipKey::new(packet.destination, port, u16::from(PROTOCOL_TCP))) else {
        return is_no_vip(tables, packet);
    };
    if ethernet.is_for_a_group() || filter::may_be_spread(tables, vip) {
        return None;
    }

    // Find who owns it, and how that node is reached.
    let flow_hash = hash::of_flow(settings.hash_key, &about.flow);
    let (owner, reason) = owner(tables, settings, &about, vip, flow_hash)?;
    let node = tables.node(owner)?;
    let hop = hop(settings, packet, node, flow_hash as u16)?;

    // Filter, and remember: from here on this way goes to its end.
    let admitted = match filter::client(tables, settings, packet, &about, vip) {
        Ok(admitted) => admitted,
        Err(reason) => {
            return Some(Done {
                verdict: Verdict::of(vip.id, Action::Drop, reason),
                fate: Fate::Drop,
            });
        }
    };
    if flags.opens() && admitted.memory == Memory::Kept {
        remembered::remember(tables, &about.flow, flow_hash, owner);
    }

    // Send it.
    let verdict = Verdict {
        action: Action::Send,
        reason,
        vip: vip.id,
        node: owner,
    };
    Some(match encap::send_untagged(frame, ethernet, packet, &hop) {
        Ok(()) => Done {
            verdict,
            fate: Fate::Transmit,
        },
        Err(_) => Done {
            verdict: Verdict {
                reason: Reason::NoHeadroom,
                ..verdict
            },
            fate: Fate::Drop,
        },
    })
}

/// What is for none of our addresses is none of our business.
#[inline(always)]
fn is_no_vip<T: Tables>(tables: &T, packet: &Network) -> Option<Done> {
    let address = tables.vip(&VipKey::of_address(packet.destination));
    address.is_none().then(|| Done {
        verdict: Verdict::early(Reason::NotAVip),
        fate: Fate::Pass,
    })
}

/// Another node that owns the segment's flow: by what is remembered of it, else by its slot, if this node cannot have it.
#[inline(always)]
fn owner<T: Tables>(
    tables: &T,
    settings: &Settings,
    about: &About,
    vip: &VipEntry,
    flow_hash: u64,
) -> Option<(NodeId, Reason)> {
    let opens = about.flags.opens();
    let known = remembered::flow_owner(tables, settings, about, flow_hash, Opening::Anew);
    let (owner, reason) = match known {
        Some(known) => known,
        None => {
            let spread = hash::spread(settings.hash_key, Some(vip), &about.flow);
            let slots = Slots::read(tables, vip.table, spread);
            let owner = slots.slot.owner();
            let may_be_here = !opens && slots.may_be_known(settings);
            if owner.is_nobody() || may_be_here || candidates::is_lost(tables, settings, owner) {
                return None;
            }
            (owner, Reason::ToOwner)
        }
    };
    (owner != settings.node).then_some((owner, reason))
}

/// How a node is reached by the packet's own family, if the packet fits into that way.
#[inline(always)]
fn hop(settings: &Settings, packet: &Network, node: &NodeEntry, entropy: u16) -> Option<Hop> {
    let format = match settings.encapsulation {
        EncapsulationCode::GUE => Format::Gue,
        EncapsulationCode::IPIP => Format::Ipip,
        _ => return None,
    };
    let outer = packet.family;
    let (from, to) = (*settings.address(outer), *node.address(outer));
    let mac = node.mac(outer)?;
    let fits = packet.total_bytes + format.bytes(outer) <= node.mtu(outer)?;
    (fits && !from.is_unset() && !to.is_unset()).then_some(Hop {
        from,
        to,
        cookie: settings.cookie,
        mac,
        format,
        outer,
        hops: 1,
        ttl: OUTER_TTL,
        entropy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_the_short_way_are_no_impossible_ones() {
        for flags in (0..=u8::MAX).map(TcpFlags) {
            if flags.opens() || flags.acknowledges() {
                assert!(!filter::is_impossible(flags), "{flags:?}");
            }
        }
    }
}
