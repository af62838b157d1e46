//! From bytes to what the decision asks for: link, network, and what the packet is about, each checked before it is
//! believed.
//!
//! Every walk is bounded: two VLAN tags, [`EXTENSIONS_MAX`] extension headers within [`EXTENSION_BYTES_MAX`] bytes.

use crate::flow::FlowKey;
use crate::frame::Frame;
use crate::headers::{
    ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, ETHER_TYPE_SERVICE_VLAN, ETHER_TYPE_VLAN, ETHERNET_BYTES, Ethernet,
    FRAGMENT_BYTES, IPV4_BYTES, IPV6_BYTES, Ipv4, Ipv6, Ipv6Extension, PROTOCOL_AUTHENTICATION,
    PROTOCOL_DESTINATION_OPTIONS, PROTOCOL_FRAGMENT, PROTOCOL_HOP_BY_HOP, PROTOCOL_ICMP, PROTOCOL_ICMPV6,
    PROTOCOL_IPIP, PROTOCOL_IPV6, PROTOCOL_ROUTING, PROTOCOL_TCP, PROTOCOL_UDP, TCP_BYTES, Tcp, TcpFlags,
    UDP_BYTES, Udp, VLAN_TAG_BYTES, VlanTag,
};
use crate::icmp;
use crate::verdict::Reason;
use crate::vip::Address;

/// IPv6 extension headers that are walked over: one of each kind that a sender may put before TCP or UDP (RFC 8200,
/// 4.1), and destination options twice.
pub const EXTENSIONS_MAX: usize = 6;

/// Bytes that they may take together: twice what real ones do, and little enough that all headers lie within
/// [`crate::frame::HEADERS_BYTES_MAX`].
pub const EXTENSION_BYTES_MAX: usize = 128;

/// Where the network header begins behind Ethernet, and what it is.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// 14, 18 or 22: behind no, one or two VLAN tags.
    pub network_at: usize,
    /// The last EtherType.
    pub ether_type: u16,
}

/// The version of IP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    #[default]
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Bytes of its header without options or extensions.
    #[inline(always)]
    pub const fn header_bytes(self) -> usize {
        match self {
            Self::V4 => IPV4_BYTES,
            Self::V6 => IPV6_BYTES,
        }
    }

    /// The other version.
    #[inline(always)]
    pub const fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }

    /// Its EtherType.
    #[inline(always)]
    pub const fn ether_type(self) -> u16 {
        match self {
            Self::V4 => ETHER_TYPE_IPV4,
            Self::V6 => ETHER_TYPE_IPV6,
        }
    }

    /// Its protocol number inside another IP packet.
    #[inline(always)]
    pub const fn protocol(self) -> u8 {
        match self {
            Self::V4 => PROTOCOL_IPIP,
            Self::V6 => PROTOCOL_IPV6,
        }
    }
}

/// Whether a packet is whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fragment {
    /// It is.
    #[default]
    Whole,
    /// It has ports, but more follows.
    First,
    /// It has no ports.
    Later,
}

/// An IP header, either version.
#[derive(Clone, Copy, Debug, Default)]
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
    /// What all fragments of a packet have in common; meaningless for a whole one.
    pub identification: u32,
    /// The sender.
    pub source: Address,
    /// The receiver.
    pub destination: Address,
}

/// What a packet is about.
#[derive(Clone, Copy, Debug, Default)]
pub struct About {
    /// The flow, as seen from the client, whichever way the packet goes; without ports for an echo or a later fragment.
    pub flow: FlowKey,
    /// None set but for a TCP segment.
    pub flags: TcpFlags,
    /// What it says about it.
    pub matter: Matter,
}

/// What a packet says about its flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Matter {
    /// A TCP segment of it.
    #[default]
    Segment,
    /// A UDP datagram of it.
    Datagram,
    /// An ICMP error about something that was sent to the client.
    Error,
    /// An ICMP echo request, whole.
    Echo,
    /// A fragment without ports.
    LaterFragment,
}

impl Matter {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::Segment,
        Self::Datagram,
        Self::Error,
        Self::Echo,
        Self::LaterFragment,
    ];
}

/// Reads Ethernet and up to two VLAN tags.
///
/// # Errors
/// The frame ends too early, or has a third tag.
#[inline(always)]
pub fn link<F: Frame>(frame: &F) -> Result<Link, Reason> {
    let ethernet: Ethernet = frame.read(0).ok_or(Reason::TruncatedLink)?;
    let mut link = Link {
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
pub fn network<F: Frame>(frame: &F, at: usize, ether_type: u16, network: &mut Network) -> Result<(), Reason> {
    match ether_type {
        ETHER_TYPE_IPV4 => ipv4(frame, at, network),
        ETHER_TYPE_IPV6 => ipv6(frame, at, network),
        _ => Err(Reason::NotIp),
    }
}

/// Reads the IPv4 header at `at`.
///
/// # Errors
/// The packet is cut short, or contradicts itself.
#[inline(always)]
pub fn ipv4<F: Frame>(frame: &F, at: usize, network: &mut Network) -> Result<(), Reason> {
    let header: Ipv4 = frame.read(at).ok_or(Reason::TruncatedNetwork)?;
    let header_bytes = header.header_bytes();
    if header.version() != 4 || header_bytes < IPV4_BYTES || header.total_bytes() < header_bytes {
        return Err(Reason::BadNetwork);
    }
    if at + header.total_bytes() > frame.len() {
        return Err(Reason::TruncatedNetwork);
    }
    *network = Network {
        family: Family::V4,
        header_at: at,
        payload_at: at + header_bytes,
        total_bytes: header.total_bytes(),
        protocol: header.protocol(),
        ttl: header.ttl(),
        traffic_class: header.traffic_class(),
        mark: header.identification(),
        fragment: if header.is_later_fragment() {
            Fragment::Later
        } else if header.has_more_fragments() {
            Fragment::First
        } else {
            Fragment::Whole
        },
        identification: u32::from(header.identification()),
        source: header.source(),
        destination: header.destination(),
    };
    Ok(())
}

/// Reads the IPv6 header at `at`, and walks over the extension headers behind it.
///
/// What lies behind the bounds of the walk is left as what it is: the protocol is then that of an extension header.
///
/// # Errors
/// The packet is cut short, or contradicts itself.
#[inline(always)]
pub fn ipv6<F: Frame>(frame: &F, at: usize, network: &mut Network) -> Result<(), Reason> {
    let header: Ipv6 = frame.read(at).ok_or(Reason::TruncatedNetwork)?;
    if header.version() != 6 {
        return Err(Reason::BadNetwork);
    }
    let total_bytes = IPV6_BYTES + header.payload_bytes();
    if at + total_bytes > frame.len() {
        return Err(Reason::TruncatedNetwork);
    }
    *network = Network {
        family: Family::V6,
        header_at: at,
        payload_at: at + IPV6_BYTES,
        total_bytes,
        protocol: header.next_header(),
        ttl: header.hop_limit(),
        traffic_class: header.traffic_class(),
        mark: header.flow_label_low(),
        fragment: Fragment::Whole,
        identification: 0,
        source: header.source(),
        destination: header.destination(),
    };
    // No such address is ever on a wire (RFC 4291, 2.5.5.2), and here it would pass for one of IPv4.
    if network.source.is_ipv4() || network.destination.is_ipv4() {
        return Err(Reason::BadNetwork);
    }
    if is_extension(network.protocol) {
        walk(frame, network)?;
    }
    Ok(())
}

/// Whether that protocol is an extension header that may stand before TCP or UDP.
#[inline(always)]
const fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        PROTOCOL_HOP_BY_HOP
            | PROTOCOL_ROUTING
            | PROTOCOL_FRAGMENT
            | PROTOCOL_AUTHENTICATION
            | PROTOCOL_DESTINATION_OPTIONS
    )
}

/// Walks over extension headers to what they precede, or to a fragment's bare bytes.
#[inline(never)]
fn walk<F: Frame>(frame: &F, network: &mut Network) -> Result<(), Reason> {
    let mut walked = 0;
    for _ in 0..EXTENSIONS_MAX {
        let at = network.header_at + IPV6_BYTES + walked;
        let extension: Ipv6Extension = frame.read(at).ok_or(Reason::TruncatedNetwork)?;
        let bytes = match network.protocol {
            PROTOCOL_FRAGMENT => {
                network.identification = extension.identification();
                if extension.is_later_fragment() {
                    network.fragment = Fragment::Later;
                } else if extension.has_more_fragments() {
                    network.fragment = Fragment::First;
                }
                FRAGMENT_BYTES
            }
            PROTOCOL_AUTHENTICATION => (extension.length() + 2) * 4,
            _ => (extension.length() + 1) * 8,
        };
        walked += bytes;
        if walked > EXTENSION_BYTES_MAX {
            return Ok(());
        }
        if IPV6_BYTES + walked > network.total_bytes {
            return Err(Reason::TruncatedNetwork);
        }
        network.payload_at = network.header_at + IPV6_BYTES + walked;
        network.protocol = extension.next_header();
        if network.fragment == Fragment::Later || !is_extension(network.protocol) {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether packets of that protocol are steered by themselves, not by what they quote.
#[inline(always)]
pub const fn is_steered(protocol: u8) -> bool {
    matches!(protocol, PROTOCOL_TCP | PROTOCOL_UDP)
}

/// Reads what a packet is about.
///
/// # Errors
/// It is about no flow (`NotAVip`), hides what it is about behind too many extension headers, or has a transport header
/// that is cut short or contradicts itself.
#[inline(always)]
pub fn about<F: Frame>(frame: &F, network: &Network, about: &mut About) -> Result<(), Reason> {
    *about = About {
        flow: FlowKey {
            source: network.source,
            destination: network.destination,
            ports: [0; 2],
            protocol: u16::from(network.protocol),
            zero: 0,
        },
        flags: TcpFlags(0),
        matter: Matter::LaterFragment,
    };
    let payload_bytes = network.total_bytes - (network.payload_at - network.header_at);
    match (network.protocol, network.family) {
        (PROTOCOL_TCP | PROTOCOL_UDP, _) if network.fragment == Fragment::Later => {}
        (PROTOCOL_TCP, _) => {
            if payload_bytes < TCP_BYTES {
                return Err(Reason::TruncatedTransport);
            }
            let header: Tcp = frame.read(network.payload_at).ok_or(Reason::TruncatedTransport)?;
            if header.header_bytes() < TCP_BYTES || header.header_bytes() > payload_bytes {
                return Err(Reason::BadTransport);
            }
            about.flow.ports = header.ports();
            about.flags = header.flags();
            about.matter = Matter::Segment;
        }
        (PROTOCOL_UDP, _) => {
            if payload_bytes < UDP_BYTES {
                return Err(Reason::TruncatedTransport);
            }
            let header: Udp = frame.read(network.payload_at).ok_or(Reason::TruncatedTransport)?;
            about.flow.ports = header.ports();
            about.matter = Matter::Datagram;
        }
        (PROTOCOL_ICMP, Family::V4) | (PROTOCOL_ICMPV6, Family::V6)
            if network.fragment == Fragment::Whole =>
        {
            about.matter = icmp::read(frame, network, &mut about.flow)?;
        }
        (protocol, Family::V6) if is_extension(protocol) => return Err(Reason::TooManyExtensions),
        _ => return Err(Reason::NotAVip),
    }
    Ok(())
}
