//! The short way of what most packets are: a client's TCP segment for a VIP, whole, untagged, without IP options, that
//! opens a connection or goes on with one, and whose owner is another node that is reached by the packet's own family.
//!
//! It asks the same questions by the same functions as [`super::decide`] and comes to the same end, so that nothing
//! depends on which of the two a packet took. It is shorter by what such a packet cannot be, made once for each family and
//! format, and keeps what it knows in registers instead of notes. Whatever is unusual in the packet, the tables or the node
//! ends it before anything was taken or written, and the long way begins anew.

use super::candidates::{self, Slots};
use super::filter::{self, Memory, Opening};
use crate::encap::{self, Format, Hop, OUTER_TTL};
use crate::flow::{FlowEntry, FlowKey, FlowPhase};
use crate::frame::{Frame, Wire};
use crate::hash;
use crate::headers::{
    ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, ETHERNET_BYTES, Ethernet, IPV4_BYTES, IPV6_BYTES, Ipv4, Ipv6,
    PROTOCOL_TCP, TCP_BYTES, Tcp, TcpFlags,
};
use crate::node::{EncapsulationCode, NodeEntry, NodeId, Settings};
use crate::parse::{Family, Fragment, Network};
use crate::protection::Protection;
use crate::tables::Tables;
use crate::verdict::{Action, Fate, Reason, Verdict};
use crate::vip::{VipEntry, VipKey};

/// Decides what becomes of a frame, does it, and says what the kernel does with it then; `None`: the long way has to, and
/// nothing was done.
///
/// The verdict is written, not returned: of one that is none the compiler would copy what was never written, which the
/// verifier refuses.
#[inline(always)]
pub fn short<F: Frame, T: Tables>(frame: &mut F, tables: &T, verdict: &mut Verdict) -> Option<Fate> {
    let ethernet: Ethernet = frame.read(0)?;
    match ethernet.ether_type() {
        ETHER_TYPE_IPV4 => parse::<F, T, Ipv4>(frame, tables, ethernet, verdict),
        ETHER_TYPE_IPV6 => parse::<F, T, Ipv6>(frame, tables, ethernet, verdict),
        _ => None,
    }
}

/// The header of one family.
trait Header: Wire {
    /// Which.
    const FAMILY: Family;
    /// Its bytes.
    const BYTES: usize;

    /// A packet of TCP, whole, and without options or extension headers.
    fn plain(&self) -> Option<Network>;
}

impl Header for Ipv4 {
    const FAMILY: Family = Family::V4;
    const BYTES: usize = IPV4_BYTES;

    #[inline(always)]
    fn plain(&self) -> Option<Network> {
        let is_whole = !self.is_later_fragment() && !self.has_more_fragments();
        let is_plain = self.version() == 4 && self.header_bytes() == IPV4_BYTES && is_whole;
        (is_plain && self.protocol() == PROTOCOL_TCP).then(|| Network {
            family: Family::V4,
            header_at: ETHERNET_BYTES,
            payload_at: ETHERNET_BYTES + IPV4_BYTES,
            total_bytes: self.total_bytes(),
            protocol: PROTOCOL_TCP,
            ttl: self.ttl(),
            traffic_class: self.traffic_class(),
            mark: self.identification(),
            fragment: Fragment::Whole,
            identification: 0,
            source: self.source(),
            destination: self.destination(),
        })
    }
}

impl Header for Ipv6 {
    const FAMILY: Family = Family::V6;
    const BYTES: usize = IPV6_BYTES;

    #[inline(always)]
    fn plain(&self) -> Option<Network> {
        let (source, destination) = (self.source(), self.destination());
        let is_plain = self.version() == 6 && !source.is_ipv4() && !destination.is_ipv4();
        (is_plain && self.next_header() == PROTOCOL_TCP).then(|| Network {
            family: Family::V6,
            header_at: ETHERNET_BYTES,
            payload_at: ETHERNET_BYTES + IPV6_BYTES,
            total_bytes: IPV6_BYTES + self.payload_bytes(),
            protocol: PROTOCOL_TCP,
            ttl: self.hop_limit(),
            traffic_class: self.traffic_class(),
            mark: self.flow_label_low(),
            fragment: Fragment::Whole,
            identification: 0,
            source,
            destination,
        })
    }
}

/// A segment, and what is known of the node and the VIP.
struct Segment<'t> {
    ethernet: Ethernet,
    packet: Network,
    flow: FlowKey,
    flags: TcpFlags,
    settings: &'t Settings,
    protection: Option<&'t Protection>,
    vip: &'t VipEntry,
}

/// Parses the segment, looks up its VIP, and goes on by the format of what nodes send each other.
#[inline(always)]
fn parse<F: Frame, T: Tables, H: Header>(
    frame: &mut F,
    tables: &T,
    ethernet: Ethernet,
    verdict: &mut Verdict,
) -> Option<Fate> {
    let (header, tcp): (H, Tcp) = frame.read_two(ETHERNET_BYTES)?;
    let packet = header.plain()?;
    let (tcp_bytes, flags) = (tcp.header_bytes(), tcp.flags());
    let is_all_there = ETHERNET_BYTES + packet.total_bytes <= frame.len();
    if !is_all_there || tcp_bytes < TCP_BYTES || H::BYTES + tcp_bytes > packet.total_bytes {
        return None;
    }
    // None of these flags is impossible.
    if !flags.opens() && !flags.acknowledges() {
        return None;
    }
    let settings = tables.settings()?;
    let protection = tables.protection();
    if filter::is_of_host(protection) {
        return None;
    }
    let flow = FlowKey {
        source: packet.source,
        destination: packet.destination,
        ports: tcp.ports(),
        protocol: u16::from(PROTOCOL_TCP),
        zero: 0,
    };
    let [_, port] = flow.ports;
    let Some(vip) = tables.vip(&VipKey::new(packet.destination, port, flow.protocol)) else {
        return is_no_vip(tables, &packet, verdict);
    };
    if ethernet.is_for_a_group() || filter::may_be_spread(protection, vip) {
        return None;
    }
    let segment = Segment {
        ethernet,
        packet,
        flow,
        flags,
        settings,
        protection,
        vip,
    };
    match settings.encapsulation {
        EncapsulationCode::GUE => steer::<F, T, H, InGue>(frame, tables, &segment, verdict),
        EncapsulationCode::IPIP => steer::<F, T, H, InIp>(frame, tables, &segment, verdict),
        _ => None,
    }
}

/// What is for none of our addresses is none of our business.
#[inline(always)]
fn is_no_vip<T: Tables>(tables: &T, packet: &Network, verdict: &mut Verdict) -> Option<Fate> {
    if tables.vip(&VipKey::of_address(packet.destination)).is_some() {
        return None;
    }
    *verdict = Verdict::early(Reason::NotAVip);
    Some(Fate::Pass)
}

/// What is put around a packet.
trait Around {
    /// That.
    const FORMAT: Format;
}

/// GUE.
struct InGue;

impl Around for InGue {
    const FORMAT: Format = Format::Gue;
}

/// IP in IP.
struct InIp;

impl Around for InIp {
    const FORMAT: Format = Format::Ipip;
}

/// Finds the owner and the way to it; then filters, remembers and sends.
#[inline(always)]
fn steer<F: Frame, T: Tables, H: Header, A: Around>(
    frame: &mut F,
    tables: &T,
    segment: &Segment<'_>,
    verdict: &mut Verdict,
) -> Option<Fate> {
    let Segment {
        packet,
        flow,
        settings,
        vip,
        ..
    } = segment;
    let flow_hash = hash::of_flow(settings.hash_key, flow);
    let (owner, node, reason) = owner(tables, segment, flow_hash)?;
    if candidates::is_lost(tables, settings, owner) {
        return None;
    }
    let hop = hop::<T, H, A>(tables, settings, packet.total_bytes, node, flow_hash as u16)?;

    // Nothing was taken or written yet. From here on this way goes to its end.
    let opening = match segment.flags.opens() {
        true => Opening::New,
        false => Opening::None,
    };
    let admitted = filter::sender(&packet.source, &packet.destination)
        .and_then(|()| filter::admit(tables, settings, segment.protection, &packet.source, opening, vip));
    let admitted = match admitted {
        Ok(admitted) => admitted,
        Err(reason) => {
            *verdict = Verdict::of(vip.id, Action::Drop, reason);
            return Some(Fate::Drop);
        }
    };
    if opening == Opening::New && admitted.memory == Memory::Kept && node.is_member() {
        tables.remember(flow, flow_hash, FlowEntry::new(owner, node.incarnation, 0));
    }
    *verdict = Verdict {
        action: Action::Send,
        reason,
        vip: vip.id,
        node: owner,
    };
    match encap::send_plain(frame, segment.ethernet, packet, &hop) {
        Ok(sent) => sent.map(|()| Fate::Transmit),
        Err(_) => {
            verdict.reason = Reason::NoHeadroom;
            Some(Fate::Drop)
        }
    }
}

/// Another node that owns the segment's flow, and why: by what is remembered of it, if the life of the node in which it was
/// accepted still serves; else by its slot, if this node cannot have it.
#[inline(always)]
fn owner<'t, T: Tables>(
    tables: &'t T,
    segment: &Segment<'_>,
    flow_hash: u64,
) -> Option<(NodeId, &'t NodeEntry, Reason)> {
    let settings = segment.settings;
    let opens = segment.flags.opens();
    // One that opens is none of an old connection, whatever is remembered.
    if !opens && let Some(entry) = tables.flow(&segment.flow, flow_hash) {
        if entry.phase != FlowPhase::OPEN || entry.node == settings.node {
            return None;
        }
        let node = tables.node(entry.node)?;
        let still_serves = node.incarnation == entry.incarnation;
        return still_serves.then_some((entry.node, node, Reason::ToFlowOwner));
    }
    let spread = hash::spread(settings.hash_key, Some(segment.vip), &segment.flow);
    let slots = Slots::read(tables, segment.vip.table, spread);
    let owner = slots.slot.owner();
    if owner == settings.node || (!opens && slots.may_be_known(settings)) {
        return None;
    }
    Some((owner, tables.node(owner)?, Reason::ToOwner))
}

/// How a node is reached by that family, if so long a packet fits into that way.
#[inline(always)]
fn hop<T: Tables, H: Header, A: Around>(
    tables: &T,
    settings: &Settings,
    total_bytes: usize,
    node: &NodeEntry,
    entropy: u16,
) -> Option<Hop> {
    let (outer, format) = (H::FAMILY, A::FORMAT);
    let (from, to) = (*settings.address(outer), *node.address(outer));
    let mac = node.mac(outer)?;
    // The long way knows how a frame leaves by another interface.
    let (interface, _) = node.exit(outer);
    if interface != 0 && !tables.is_ingress(interface) {
        return None;
    }
    // An outer header cannot say more than that.
    let mtu = node.mtu(outer).unwrap_or(u16::MAX as usize);
    let fits = total_bytes + format.bytes(outer) <= mtu;
    (fits && !from.is_unset() && !to.is_unset()).then_some(Hop {
        from,
        to,
        cookie: settings.cookie,
        mac,
        interface: 0,
        from_mac: [0; 3],
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
