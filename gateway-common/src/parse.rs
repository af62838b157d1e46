//! From bytes to what the decision asks for: link, network and transport, each checked before it is believed.
//!
//! Leaves IPv6 extension headers and the reassembly of fragments to whoever owns the packet: such packets are counted
//! and never steered by guess.

use crate::frame::Frame;
use crate::headers::{
    ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, ETHER_TYPE_SERVICE_VLAN, ETHER_TYPE_VLAN, ETHERNET_BYTES, Ethernet,
    IPV4_BYTES, IPV6_BYTES, Ipv4, Ipv6, PROTOCOL_TCP, PROTOCOL_UDP, Tcp, TcpFlags, Udp, VLAN_TAG_BYTES,
    VlanTag,
};
use crate::verdict::Reason;
use crate::vip::Address;

/// Bytes of a TCP header without options.
const TCP_BYTES: usize = 20;

/// Ethernet, and where the network header begins behind it.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// The header without tags.
    pub ethernet: Ethernet,
    /// 14, 18 or 22: behind no, one or two VLAN tags.
    pub network_at: usize,
    /// The last EtherType.
    pub ether_type: u16,
}

/// The version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Bytes of the outer header that encapsulation within one family adds.
    #[inline(always)]
    pub const fn outer_bytes(self) -> usize {
        match self {
            Self::V4 => IPV4_BYTES,
            Self::V6 => IPV6_BYTES,
        }
    }
}

/// Whether a packet is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// It is.
    Whole,
    /// It has ports, but more follows.
    First,
    /// It has no ports.
    Later,
}

/// An IP header, either version.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// Its version.
    pub family: Family,
    /// Where it begins in the frame.
    pub header_at: usize,
    /// Where what it carries begins.
    pub payload_at: usize,
    /// Bytes of the whole packet.
    pub total_bytes: usize,
    /// What it carries.
    pub protocol: u8,
    /// Hops left.
    pub ttl: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// The field that counts hops in packets between nodes: IPv4's identification, or the low half of IPv6's label.
    pub mark: u16,
    /// Whether it is whole.
    pub fragment: Fragment,
    /// The sender.
    pub source: Address,
    /// The receiver.
    pub destination: Address,
}

/// Ports and, for TCP, flags.
#[derive(Clone, Copy, Debug)]
pub struct Transport {
    /// Source, destination, in the network's order.
    pub ports: [u16; 2],
    /// None set for UDP.
    pub flags: TcpFlags,
}

/// Reads Ethernet and up to two VLAN tags.
///
/// # Errors
/// The frame ends too early, or has a third tag.
#[inline(always)]
pub fn link<F: Frame>(frame: &F) -> Result<Link, Reason> {
    let ethernet: Ethernet = frame.read(0).ok_or(Reason::TruncatedLink)?;
    let mut link = Link {
        ethernet,
        network_at: ETHERNET_BYTES,
        ether_type: ethernet.ether_type(),
    };
    if is_vlan(link.ether_type) {
        let tag: VlanTag = frame.read(ETHERNET_BYTES).ok_or(Reason::TruncatedLink)?;
        link.network_at = ETHERNET_BYTES + VLAN_TAG_BYTES;
        link.ether_type = tag.ether_type();
        if is_vlan(link.ether_type) {
            let tag: VlanTag = frame
                .read(ETHERNET_BYTES + VLAN_TAG_BYTES)
                .ok_or(Reason::TruncatedLink)?;
            link.network_at = ETHERNET_BYTES + 2 * VLAN_TAG_BYTES;
            link.ether_type = tag.ether_type();
            if is_vlan(link.ether_type) {
                return Err(Reason::TooManyTags);
            }
        }
    }
    Ok(link)
}

#[inline(always)]
const fn is_vlan(ether_type: u16) -> bool {
    ether_type == ETHER_TYPE_VLAN || ether_type == ETHER_TYPE_SERVICE_VLAN
}

/// Reads the IP header at `at`, of the version that `ether_type` says.
///
/// # Errors
/// The packet is not IP, is cut short, or contradicts itself.
#[inline(always)]
pub fn network<F: Frame>(frame: &F, at: usize, ether_type: u16) -> Result<Network, Reason> {
    match ether_type {
        ETHER_TYPE_IPV4 => ipv4(frame, at),
        ETHER_TYPE_IPV6 => ipv6(frame, at),
        _ => Err(Reason::NotIp),
    }
}

/// Reads the IPv4 header at `at`.
///
/// # Errors
/// The packet is cut short, or contradicts itself.
#[inline(always)]
pub fn ipv4<F: Frame>(frame: &F, at: usize) -> Result<Network, Reason> {
    let header: Ipv4 = frame.read(at).ok_or(Reason::TruncatedNetwork)?;
    let header_bytes = header.header_bytes();
    if header.version() != 4 || header_bytes < IPV4_BYTES || header.total_bytes() < header_bytes {
        return Err(Reason::BadNetwork);
    }
    if at + header.total_bytes() > frame.len() {
        return Err(Reason::TruncatedNetwork);
    }
    let fragment = if header.is_later_fragment() {
        Fragment::Later
    } else if header.has_more_fragments() {
        Fragment::First
    } else {
        Fragment::Whole
    };
    Ok(Network {
        family: Family::V4,
        header_at: at,
        payload_at: at + header_bytes,
        total_bytes: header.total_bytes(),
        protocol: header.protocol(),
        ttl: header.ttl(),
        traffic_class: header.traffic_class(),
        mark: header.identification(),
        fragment,
        source: Address::from_ipv4_words(header.source()),
        destination: Address::from_ipv4_words(header.destination()),
    })
}

/// Reads the IPv6 header at `at`.
///
/// # Errors
/// The packet is cut short, or contradicts itself.
#[inline(always)]
pub fn ipv6<F: Frame>(frame: &F, at: usize) -> Result<Network, Reason> {
    let header: Ipv6 = frame.read(at).ok_or(Reason::TruncatedNetwork)?;
    if header.version() != 6 {
        return Err(Reason::BadNetwork);
    }
    let total_bytes = IPV6_BYTES + header.payload_bytes();
    if at + total_bytes > frame.len() {
        return Err(Reason::TruncatedNetwork);
    }
    Ok(Network {
        family: Family::V6,
        header_at: at,
        payload_at: at + IPV6_BYTES,
        total_bytes,
        protocol: header.next_header(),
        ttl: header.hop_limit(),
        traffic_class: header.traffic_class(),
        mark: header.flow_label_low(),
        fragment: Fragment::Whole,
        source: Address(header.source()),
        destination: Address(header.destination()),
    })
}

/// Reads the transport header of a packet that is not a later fragment.
///
/// # Errors
/// The packet carries neither TCP nor UDP, or its transport header is cut short or contradicts itself.
#[inline(always)]
pub fn transport<F: Frame>(frame: &F, network: &Network) -> Result<Transport, Reason> {
    let payload_bytes = network.total_bytes - (network.payload_at - network.header_at);
    match network.protocol {
        PROTOCOL_TCP => {
            if payload_bytes < TCP_BYTES {
                return Err(Reason::TruncatedTransport);
            }
            let header: Tcp = frame.read(network.payload_at).ok_or(Reason::TruncatedTransport)?;
            if header.header_bytes() < TCP_BYTES || header.header_bytes() > payload_bytes {
                return Err(Reason::BadTransport);
            }
            Ok(Transport {
                ports: header.ports(),
                flags: header.flags(),
            })
        }
        PROTOCOL_UDP => {
            if payload_bytes < size_of::<Udp>() {
                return Err(Reason::TruncatedTransport);
            }
            let header: Udp = frame.read(network.payload_at).ok_or(Reason::TruncatedTransport)?;
            Ok(Transport {
                ports: header.ports(),
                flags: TcpFlags(0),
            })
        }
        _ => Err(Reason::NotAVip),
    }
}
