//! Packets between nodes: IPv4 in IPv4 (RFC 2003) and IPv6 in IPv6 (RFC 2473), out and in.
//!
//! The outer header carries the hop count in a field that nothing on the way changes: IPv4's identification (free to
//! use, since DF is set: RFC 6864), or the low bits of IPv6's flow label, whose high bits spread flows over equal paths
//! (RFC 6438). The inner packet is not touched, so that the client's checksums hold.

use crate::checksum;
use crate::frame::{Frame, OutOfBounds};
use crate::headers::{
    ETHERNET_BYTES, Ethernet, IPV4_BYTES, IPV6_BYTES, Ipv4, Ipv6, PROTOCOL_IPIP, PROTOCOL_IPV6,
    VLAN_TAG_BYTES, VlanTag,
};
use crate::node::NodeId;
use crate::parse::{Family, Network};
use crate::vip::Address;

/// Times that a packet may be sent from node to node: to the owner, and once more.
pub const HOPS_MAX: u16 = 2;

/// The bits of the mark that count hops.
pub const HOPS_MASK: u16 = 0x3;

/// Hop limit of a fresh outer header: nodes stand close, and a loop must end.
pub const OUTER_TTL: u8 = 64;

/// Where an encapsulated packet goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The node.
    pub node: NodeId,
    /// This node's address.
    pub source: Address,
    /// That node's address.
    pub destination: Address,
    /// The next hop's hardware address.
    pub mac: [u16; 3],
    /// Hop count, and for IPv6 the bits that spread flows.
    pub mark: u16,
    /// Hop limit of the outer header.
    pub ttl: u8,
}

/// Puts `hop`'s outer header before the packet at `inner.header_at`.
///
/// # Errors
/// There is no headroom.
#[inline(always)]
pub fn encapsulate<F: Frame>(frame: &mut F, inner: &Network, hop: &Hop) -> Result<(), OutOfBounds> {
    let link = LinkHeader::read(frame, inner.header_at)?;
    match inner.family {
        Family::V4 => frame.grow_head::<IPV4_BYTES>()?,
        Family::V6 => frame.grow_head::<IPV6_BYTES>()?,
    }
    link.write(frame, hop.mac)?;
    write_outer(
        frame,
        link.bytes,
        inner.family,
        inner.total_bytes,
        inner.traffic_class,
        hop,
    )
}

/// Sends a packet that came encapsulated to another node: the same outer header with other addresses.
///
/// # Errors
/// The frame is shorter than it was when it was parsed, which cannot be.
#[inline(always)]
pub fn readdress<F: Frame>(frame: &mut F, outer: &Network, hop: &Hop) -> Result<(), OutOfBounds> {
    let link = LinkHeader::read(frame, outer.header_at)?;
    link.write(frame, hop.mac)?;
    let inner_bytes = outer.total_bytes - outer.family.outer_bytes();
    write_outer(
        frame,
        outer.header_at,
        outer.family,
        inner_bytes,
        outer.traffic_class,
        hop,
    )
}

/// Takes the outer header away.
///
/// # Errors
/// The frame is shorter than it was when it was parsed, which cannot be.
#[inline(always)]
pub fn decapsulate<F: Frame>(frame: &mut F, outer: &Network) -> Result<(), OutOfBounds> {
    let link = LinkHeader::read(frame, outer.header_at)?;
    match outer.family {
        Family::V4 => frame.shrink_head(IPV4_BYTES)?,
        Family::V6 => frame.shrink_head(IPV6_BYTES)?,
    }
    link.restore(frame)
}

/// Ethernet with up to two tags, held while the bytes behind it move.
#[derive(Clone, Copy)]
struct LinkHeader {
    ethernet: Ethernet,
    first_tag: VlanTag,
    second_tag: VlanTag,
    bytes: usize,
}

impl LinkHeader {
    #[inline(always)]
    fn read<F: Frame>(frame: &F, bytes: usize) -> Result<Self, OutOfBounds> {
        let ethernet = frame.read(0).ok_or(OutOfBounds)?;
        let (mut first_tag, mut second_tag) = (VlanTag([0; 2]), VlanTag([0; 2]));
        if bytes > ETHERNET_BYTES {
            first_tag = frame.read(ETHERNET_BYTES).ok_or(OutOfBounds)?;
        }
        if bytes > ETHERNET_BYTES + VLAN_TAG_BYTES {
            second_tag = frame.read(ETHERNET_BYTES + VLAN_TAG_BYTES).ok_or(OutOfBounds)?;
        }
        Ok(Self {
            ethernet,
            first_tag,
            second_tag,
            bytes,
        })
    }

    /// Writes it to the start of the frame, from this node (the address that the frame came to) to `mac`.
    #[inline(always)]
    fn write<F: Frame>(mut self, frame: &mut F, mac: [u16; 3]) -> Result<(), OutOfBounds> {
        self.ethernet = self.ethernet.with_addresses(mac, self.ethernet.destination());
        self.restore(frame)
    }

    /// Writes it to the start of the frame as it is.
    #[inline(always)]
    fn restore<F: Frame>(self, frame: &mut F) -> Result<(), OutOfBounds> {
        frame.write(0, self.ethernet)?;
        if self.bytes > ETHERNET_BYTES {
            frame.write(ETHERNET_BYTES, self.first_tag)?;
        }
        if self.bytes > ETHERNET_BYTES + VLAN_TAG_BYTES {
            frame.write(ETHERNET_BYTES + VLAN_TAG_BYTES, self.second_tag)?;
        }
        Ok(())
    }
}

#[inline(always)]
fn write_outer<F: Frame>(
    frame: &mut F,
    at: usize,
    family: Family,
    inner_bytes: usize,
    traffic_class: u8,
    hop: &Hop,
) -> Result<(), OutOfBounds> {
    match family {
        Family::V4 => frame.write(at, outer_ipv4(inner_bytes, traffic_class, hop)),
        Family::V6 => frame.write(at, outer_ipv6(inner_bytes, traffic_class, hop)),
    }
}

#[inline(always)]
fn outer_ipv4(inner_bytes: usize, traffic_class: u8, hop: &Hop) -> Ipv4 {
    let [source, destination] = [hop.source.ipv4_words(), hop.destination.ipv4_words()];
    let mut words = [
        (0x4500 | u16::from(traffic_class)).to_be(),
        ((inner_bytes + IPV4_BYTES) as u16).to_be(),
        hop.mark.to_be(),
        0x4000_u16.to_be(),
        (u16::from(hop.ttl) << 8 | u16::from(PROTOCOL_IPIP)).to_be(),
        0,
        source[0],
        source[1],
        destination[0],
        destination[1],
    ];
    words[5] = checksum::ipv4_header(&words);
    Ipv4(words)
}

#[inline(always)]
fn outer_ipv6(inner_bytes: usize, traffic_class: u8, hop: &Hop) -> Ipv6 {
    let [s, d] = [&hop.source.0, &hop.destination.0];
    Ipv6([
        (0x6000 | u16::from(traffic_class) << 4).to_be(),
        hop.mark.to_be(),
        (inner_bytes as u16).to_be(),
        (u16::from(PROTOCOL_IPV6) << 8 | u16::from(hop.ttl)).to_be(),
        s[0],
        s[1],
        s[2],
        s[3],
        s[4],
        s[5],
        s[6],
        s[7],
        d[0],
        d[1],
        d[2],
        d[3],
        d[4],
        d[5],
        d[6],
        d[7],
    ])
}
