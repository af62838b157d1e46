//! Headers as they stand on the wire, read and written as whole words.
//!
//! Words keep the network's byte order; the methods convert. Each is as long as the header's alignment on paper: of
//! shorter ones, whatever is longer would be put together, and taken apart, by a shift for each.
//! Source: RFC 791, RFC 8200, RFC 9293, RFC 768, RFC 4302, IEEE 802.1Q.

use crate::frame::Wire;
use halves::{join, split};

pub(crate) mod halves;
mod network;

pub use network::{Ipv4, Ipv6, Ipv6Extension};

/// EtherType of IPv4.
pub const ETHER_TYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const ETHER_TYPE_IPV6: u16 = 0x86dd;
/// EtherType of a customer VLAN tag (802.1Q).
pub const ETHER_TYPE_VLAN: u16 = 0x8100;
/// EtherType of a service VLAN tag (802.1ad).
pub const ETHER_TYPE_SERVICE_VLAN: u16 = 0x88a8;

/// Protocol number of IPv6's hop-by-hop options (RFC 8200, 4.3).
pub const PROTOCOL_HOP_BY_HOP: u8 = 0;
/// Protocol number of ICMP.
pub const PROTOCOL_ICMP: u8 = 1;
/// Protocol number of IPv4 inside.
pub const PROTOCOL_IPIP: u8 = 4;
/// Protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// Protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// Protocol number of IPv6 inside.
pub const PROTOCOL_IPV6: u8 = 41;

/// Protocol number of IPv6's routing header (RFC 8200, 4.4).
pub const PROTOCOL_ROUTING: u8 = 43;
/// Protocol number of IPv6's fragment header (RFC 8200, 4.5).
pub const PROTOCOL_FRAGMENT: u8 = 44;
/// Protocol number of the authentication header (RFC 4302).
pub const PROTOCOL_AUTHENTICATION: u8 = 51;
/// Protocol number of ICMPv6.
pub const PROTOCOL_ICMPV6: u8 = 58;
/// Protocol number of IPv6's destination options (RFC 8200, 4.6).
pub const PROTOCOL_DESTINATION_OPTIONS: u8 = 60;

/// Bytes of an Ethernet header without tags.
pub const ETHERNET_BYTES: usize = 14;
/// Bytes of one VLAN tag.
pub const VLAN_TAG_BYTES: usize = 4;
/// Bytes of an IPv4 header without options.
pub const IPV4_BYTES: usize = 20;
/// Bytes of an IPv6 header.
pub const IPV6_BYTES: usize = 40;
/// Bytes of a TCP header without options.
pub const TCP_BYTES: usize = 20;
/// Bytes of a UDP header.
pub const UDP_BYTES: usize = 8;
/// Bytes of IPv6's fragment header.
pub const FRAGMENT_BYTES: usize = 8;

/// A hardware address.
pub type Mac = [u8; 6];

/// An Ethernet header up to its first EtherType.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Ethernet(pub [u16; 7]);

// SAFETY: seven u16, no padding, every pattern valid.
unsafe impl Wire for Ethernet {}

impl Ethernet {
    /// Where the frame goes.
    #[inline(always)]
    pub fn destination(&self) -> [u16; 3] {
        [self.0[0], self.0[1], self.0[2]]
    }

    /// Where it comes from.
    #[inline(always)]
    pub fn source(&self) -> [u16; 3] {
        [self.0[3], self.0[4], self.0[5]]
    }

    /// Whether it is for a group: a node is never a packet's owner by a broadcast.
    #[inline(always)]
    pub fn is_for_a_group(&self) -> bool {
        u16::from_be(self.0[0]) & 0x0100 != 0
    }

    /// What follows.
    #[inline(always)]
    pub fn ether_type(&self) -> u16 {
        u16::from_be(self.0[6])
    }

    /// The same header with other addresses.
    #[inline(always)]
    pub fn with_addresses(self, destination: [u16; 3], source: [u16; 3]) -> Self {
        let [d0, d1, d2] = destination;
        let [s0, s1, s2] = source;
        Self([d0, d1, d2, s0, s1, s2, self.0[6]])
    }
}

/// A hardware address as the words of an [`Ethernet`] header.
#[inline(always)]
pub const fn mac_words(mac: Mac) -> [u16; 3] {
    [
        u16::from_ne_bytes([mac[0], mac[1]]),
        u16::from_ne_bytes([mac[2], mac[3]]),
        u16::from_ne_bytes([mac[4], mac[5]]),
    ]
}

/// One VLAN tag behind its EtherType: the tag and the next EtherType.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct VlanTag(pub [u16; 2]);

// SAFETY: two u16, no padding, every pattern valid.
unsafe impl Wire for VlanTag {}

impl VlanTag {
    /// What follows the tag.
    #[inline(always)]
    pub fn ether_type(&self) -> u16 {
        u16::from_be(self.0[1])
    }
}

/// A TCP header without its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Tcp(pub [u32; 5]);

// SAFETY: five u32, no padding, every pattern valid.
unsafe impl Wire for Tcp {}

impl Tcp {
    /// The ports, source first, in the network's order.
    #[inline(always)]
    pub fn ports(&self) -> [u16; 2] {
        split(self.0[0])
    }

    /// Bytes of the header with its options; under 20 is malformed.
    #[inline(always)]
    pub fn header_bytes(&self) -> usize {
        (self.0[3].to_ne_bytes()[0] >> 4) as usize * 4
    }

    /// The control bits.
    #[inline(always)]
    pub fn flags(&self) -> TcpFlags {
        TcpFlags(self.0[3].to_ne_bytes()[1])
    }
}

/// The control bits of a TCP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// FIN.
    pub const FIN: u8 = 0x01;
    /// SYN.
    pub const SYN: u8 = 0x02;
    /// RST.
    pub const RST: u8 = 0x04;
    /// ACK.
    pub const ACK: u8 = 0x10;

    /// Whether it only acknowledges: the third packet of a handshake is one.
    #[inline(always)]
    pub fn acknowledges(self) -> bool {
        self.0 & (Self::SYN | Self::ACK | Self::RST | Self::FIN) == Self::ACK
    }

    /// Whether it asks for a new connection: SYN and nothing that answers or ends one.
    #[inline(always)]
    pub fn opens(self) -> bool {
        self.0 & (Self::SYN | Self::ACK | Self::RST | Self::FIN) == Self::SYN
    }

    /// Whether the sender has no more to say.
    #[inline(always)]
    pub fn finishes(self) -> bool {
        self.0 & Self::FIN != 0
    }

    /// Whether it says that there is no such connection.
    #[inline(always)]
    pub fn resets(self) -> bool {
        self.0 & Self::RST != 0
    }
}

/// A UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Udp(pub [u32; 2]);

// SAFETY: two u32, no padding, every pattern valid.
unsafe impl Wire for Udp {}

impl Udp {
    /// A header before so many bytes, without a checksum; ports in the network's order.
    #[inline(always)]
    pub fn new(ports: [u16; 2], payload_bytes: usize) -> Self {
        let bytes = (UDP_BYTES + payload_bytes) as u32;
        Self([join(ports), (bytes << 16).to_be()])
    }

    /// The ports, source first, in the network's order.
    #[inline(always)]
    pub fn ports(&self) -> [u16; 2] {
        split(self.0[0])
    }

    /// Bytes of the datagram with its header, as it says.
    #[inline(always)]
    pub fn total_bytes(&self) -> usize {
        (u32::from_be(self.0[1]) >> 16) as usize
    }
}
