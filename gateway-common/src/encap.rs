//! Packets between nodes, out and in: GUE, IP in IP in all four combinations (RFC 2003, RFC 2473, RFC 4213), or a new
//! hardware address.
//!
//! The outer header carries the hop count where nothing on the way changes it: in GUE's private data ([`crate::gue`]),
//! in IPv4's identification (free to use, since DF is set: RFC 6864), or in the low bits of IPv6's flow label, whose
//! high bits spread flows over equal paths (RFC 6438). The inner packet is not touched, so that the client's checksums
//! hold.

use crate::frame::{Frame, OutOfBounds};
use crate::gue::{self, Gue};
use crate::headers::{
    ETHERNET_BYTES, Ethernet, Ipv4, Ipv6, PROTOCOL_UDP, UDP_BYTES, Udp, VLAN_TAG_BYTES, VlanTag,
};
use crate::parse::{Family, Network};
use crate::vip::Address;

/// Times that a packet may be sent from node to node: to the owner of its slot, and to each of two previous owners.
///
/// One more than the design began with: where two changes overlap, the node that knows a connection can be the second
/// previous owner, and the others are asked first.
pub const HOPS_MAX: u16 = 3;

/// The bits of an outer IP header's mark that count hops.
pub const HOPS_MASK: u16 = 0x3;

/// Hop limit of a fresh outer header: nodes stand close, and a loop must end.
pub const OUTER_TTL: u8 = 64;

const _: () = assert!(HOPS_MAX <= HOPS_MASK);

/// What is put around a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// UDP and GUE within IP.
    #[default]
    Gue,
    /// IP.
    Ipip,
    /// Nothing: the frame gets another hardware address.
    L2,
}

impl Format {
    /// Bytes that it adds to a packet, with an outer header of that family.
    #[inline(always)]
    pub const fn bytes(self, outer: Family) -> usize {
        match self {
            Self::Gue => outer.header_bytes() + gue::BYTES,
            Self::Ipip => outer.header_bytes(),
            Self::L2 => 0,
        }
    }
}

/// Where a packet goes next, and in what.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hop {
    /// This node, by an address of the outer header's family.
    pub from: Address,
    /// That node, by the same.
    pub to: Address,
    /// What this node proves itself with.
    pub cookie: u64,
    /// The next hop's hardware address.
    pub mac: [u16; 3],
    /// The interface that it leaves by, where that is another than it came in by; else 0.
    pub interface: u32,
    /// The hardware address of that other interface.
    pub from_mac: [u16; 3],
    /// What is put around the packet.
    pub format: Format,
    /// The family of the outer header.
    pub outer: Family,
    /// Times that the packet was sent from node to node, this time included.
    pub hops: u16,
    /// Hop limit of the outer header.
    pub ttl: u8,
    /// What tells flows apart on equal paths.
    pub entropy: u16,
}

/// What was around a packet that came from another node.
#[derive(Clone, Copy, Debug)]
pub struct Outer {
    /// Where it begins in the frame.
    pub header_at: u16,
    /// Bytes of it.
    pub bytes: u16,
    /// Hops left of its header.
    pub ttl: u8,
}

/// Sends a packet to another node: a client's, or one that `arrived` from a third node, in an outer header of this node.
///
/// # Errors
/// There is no headroom.
#[inline(always)]
pub fn send<F: Frame>(
    frame: &mut F,
    packet: &Network,
    arrived: Option<Outer>,
    hop: &Hop,
) -> Result<(), OutOfBounds> {
    let mut link = match arrived {
        None => LinkHeader::read(frame, packet.header_at)?,
        Some(outer) => {
            let link = LinkHeader::read(frame, usize::from(outer.header_at))?;
            frame.shrink_head(usize::from(outer.bytes))?;
            link
        }
    };
    // Tags are of the link that the frame came by, and mean nothing on another.
    if hop.interface != 0 && link.bytes > ETHERNET_BYTES {
        frame.shrink_head(link.bytes - ETHERNET_BYTES)?;
        link.bytes = ETHERNET_BYTES;
    }
    wrap(frame, link, packet, hop)
}

/// Takes away what another node put around a packet.
///
/// # Errors
/// The frame is shorter than it was when it was parsed, which cannot be.
#[inline(always)]
pub fn decapsulate<F: Frame>(frame: &mut F, outer: Outer, inner: Family) -> Result<(), OutOfBounds> {
    let link = LinkHeader::read(frame, usize::from(outer.header_at))?;
    frame.shrink_head(usize::from(outer.bytes))?;
    link.before(inner).restore(frame)
}

/// Puts `hop`'s outer header before the packet. What stands in the place of the link header is overwritten.
#[inline(always)]
fn wrap<F: Frame>(frame: &mut F, link: LinkHeader, packet: &Network, hop: &Hop) -> Result<(), OutOfBounds> {
    let at = link.bytes;
    let outer_family = match hop.format {
        Format::L2 => packet.family,
        _ => hop.outer,
    };
    make_room(frame, hop)?;
    let link = match hop.interface {
        0 => link.sent_to(hop.mac),
        _ => link.between(hop.from_mac, hop.mac),
    };
    link.before(outer_family).restore(frame)?;
    let (protocol, bytes) = match hop.format {
        Format::L2 => return Ok(()),
        Format::Gue => (PROTOCOL_UDP, packet.total_bytes + gue::BYTES),
        Format::Ipip => (packet.family.protocol(), packet.total_bytes),
    };
    match hop.outer {
        Family::V4 => frame.write(at, outer_v4(packet, hop, protocol, bytes))?,
        Family::V6 => frame.write(at, outer_v6(packet, hop, protocol, bytes))?,
    }
    if hop.format == Format::Gue {
        let (udp, gue) = gue_headers(packet, hop);
        frame.write_two(at + hop.outer.header_bytes(), udp, gue)?;
    }
    Ok(())
}

/// Makes room for what `hop` puts around a packet.
#[inline(always)]
fn make_room<F: Frame>(frame: &mut F, hop: &Hop) -> Result<(), OutOfBounds> {
    match (hop.format, hop.outer) {
        (Format::L2, _) => Ok(()),
        (Format::Gue, Family::V4) => frame.grow_head::<{ Format::Gue.bytes(Family::V4) }>(),
        (Format::Gue, Family::V6) => frame.grow_head::<{ Format::Gue.bytes(Family::V6) }>(),
        (Format::Ipip, Family::V4) => frame.grow_head::<{ Format::Ipip.bytes(Family::V4) }>(),
        (Format::Ipip, Family::V6) => frame.grow_head::<{ Format::Ipip.bytes(Family::V6) }>(),
    }
}

/// The outer IPv4 header before so many bytes.
#[inline(always)]
fn outer_v4(packet: &Network, hop: &Hop, protocol: u8, bytes: usize) -> Ipv4 {
    let identification = match hop.format {
        Format::Ipip => hop.hops,
        _ => 0,
    };
    let bytes = bytes + Family::V4.header_bytes();
    Ipv4::new(bytes, protocol, hop.ttl, hop.from, hop.to).marked(packet.traffic_class, identification)
}

/// The outer IPv6 header before so many bytes.
#[inline(always)]
fn outer_v6(packet: &Network, hop: &Hop, protocol: u8, bytes: usize) -> Ipv6 {
    let label = match hop.format {
        Format::Ipip => hop.entropy << 2 | hop.hops,
        _ => hop.entropy,
    };
    Ipv6::new(bytes, protocol, hop.ttl, hop.from, hop.to).labelled(packet.traffic_class, label)
}

/// UDP and GUE before a packet.
#[inline(always)]
fn gue_headers(packet: &Network, hop: &Hop) -> (Udp, Gue) {
    let ports = [gue::source_port(hop.entropy).to_be(), gue::PORT.to_be()];
    let udp = Udp::new(ports, gue::BYTES - UDP_BYTES + packet.total_bytes);
    (udp, Gue::new(packet.family.protocol(), hop.hops, hop.cookie))
}

/// Puts a client's packet that stands behind an untagged Ethernet header into an outer header of its own family.
///
/// `None`: the frame is shorter than was just made sure, which cannot be.
///
/// # Errors
/// There is no headroom; nothing is changed.
#[inline(always)]
pub fn send_plain<F: Frame>(
    frame: &mut F,
    ethernet: Ethernet,
    packet: &Network,
    hop: &Hop,
) -> Result<Option<()>, OutOfBounds> {
    make_room(frame, hop)?;
    Ok(write_plain(frame, ethernet, packet, hop).ok())
}

#[inline(always)]
fn write_plain<F: Frame>(
    frame: &mut F,
    ethernet: Ethernet,
    packet: &Network,
    hop: &Hop,
) -> Result<(), OutOfBounds> {
    let (protocol, bytes) = match hop.format {
        Format::Gue => (PROTOCOL_UDP, packet.total_bytes + gue::BYTES),
        _ => (packet.family.protocol(), packet.total_bytes),
    };
    let ethernet = ethernet.with_addresses(hop.mac, ethernet.destination());
    match hop.outer {
        Family::V4 => frame.write_two(0, ethernet, outer_v4(packet, hop, protocol, bytes))?,
        Family::V6 => frame.write_two(0, ethernet, outer_v6(packet, hop, protocol, bytes))?,
    }
    if hop.format == Format::Gue {
        let (udp, gue) = gue_headers(packet, hop);
        frame.write_two(ETHERNET_BYTES + hop.outer.header_bytes(), udp, gue)?;
    }
    Ok(())
}

/// Ethernet with up to two tags, held while the bytes behind it move.
#[derive(Clone, Copy)]
pub struct LinkHeader {
    ethernet: Ethernet,
    first_tag: VlanTag,
    second_tag: VlanTag,
    bytes: usize,
}

impl LinkHeader {
    /// The link header of a frame whose network header begins at `bytes`.
    ///
    /// # Errors
    /// The frame is shorter than it was when it was parsed, which cannot be.
    #[inline(always)]
    pub fn read<F: Frame>(frame: &F, bytes: usize) -> Result<Self, OutOfBounds> {
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

    /// From this node, whose address is the one that the frame came to, to `mac`.
    #[inline(always)]
    fn sent_to(self, mac: [u16; 3]) -> Self {
        self.between(self.ethernet.destination(), mac)
    }

    #[inline(always)]
    fn between(mut self, from: [u16; 3], to: [u16; 3]) -> Self {
        self.ethernet = self.ethernet.with_addresses(to, from);
        self
    }

    /// Back to where the frame came from.
    #[inline(always)]
    pub fn returned(self) -> Self {
        let sender = self.ethernet.source();
        self.sent_to(sender)
    }

    /// Before a packet of that family.
    #[inline(always)]
    fn before(mut self, family: Family) -> Self {
        let ether_type = family.ether_type().to_be();
        if self.bytes > ETHERNET_BYTES + VLAN_TAG_BYTES {
            self.second_tag.0[1] = ether_type;
        } else if self.bytes > ETHERNET_BYTES {
            self.first_tag.0[1] = ether_type;
        } else {
            self.ethernet.0[6] = ether_type;
        }
        self
    }

    /// Writes it to the start of the frame.
    ///
    /// # Errors
    /// The frame is shorter.
    #[inline(always)]
    pub fn restore<F: Frame>(self, frame: &mut F) -> Result<(), OutOfBounds> {
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
