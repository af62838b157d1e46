//! IP headers of both versions, and the extension headers of IPv6.
//!
//! Source: RFC 791, RFC 8200, RFC 4302.

use super::halves::{join, split};
use crate::checksum;
use crate::frame::Wire;
use crate::vip::Address;

/// An IPv4 header without its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Ipv4(pub [u32; 5]);

// SAFETY: five u32, no padding, every pattern valid.
unsafe impl Wire for Ipv4 {}

impl Ipv4 {
    #[inline(always)]
    fn word(&self, index: usize) -> u32 {
        u32::from_be(self.0[index])
    }

    /// 4, if the packet keeps to its EtherType.
    #[inline(always)]
    pub fn version(&self) -> u8 {
        (self.word(0) >> 28) as u8
    }

    /// Bytes of the header with its options, 0 to 60; under 20 is malformed.
    #[inline(always)]
    pub fn header_bytes(&self) -> usize {
        ((self.word(0) >> 24) & 0xf) as usize * 4
    }

    /// DSCP and ECN.
    #[inline(always)]
    pub fn traffic_class(&self) -> u8 {
        (self.word(0) >> 16) as u8
    }

    /// Bytes of the packet with its header.
    #[inline(always)]
    pub fn total_bytes(&self) -> usize {
        self.word(0) as u16 as usize
    }

    /// The identification field; its low bits count hops in packets that nodes send each other.
    #[inline(always)]
    pub fn identification(&self) -> u16 {
        (self.word(1) >> 16) as u16
    }

    /// Whether more fragments follow.
    #[inline(always)]
    pub fn has_more_fragments(&self) -> bool {
        self.0[1] & 0x2000_u32.to_be() != 0
    }

    /// Whether this is a fragment that is not the first, and so has no ports.
    #[inline(always)]
    pub fn is_later_fragment(&self) -> bool {
        self.0[1] & 0x1fff_u32.to_be() != 0
    }

    /// Hops that are left.
    #[inline(always)]
    pub fn ttl(&self) -> u8 {
        self.0[2].to_ne_bytes()[0]
    }

    /// What the packet carries.
    #[inline(always)]
    pub fn protocol(&self) -> u8 {
        self.0[2].to_ne_bytes()[1]
    }

    /// The sender.
    #[inline(always)]
    pub fn source(&self) -> Address {
        Address::from_ipv4(self.0[3])
    }

    /// The receiver.
    #[inline(always)]
    pub fn destination(&self) -> Address {
        Address::from_ipv4(self.0[4])
    }

    /// A header without options, DF set; `marked` completes it. Both addresses are of IPv4.
    #[inline(always)]
    pub fn new(total_bytes: usize, protocol: u8, ttl: u8, source: Address, destination: Address) -> Self {
        Self([
            (0x4500_0000 | total_bytes as u32 & 0xffff).to_be(),
            0x4000_u32.to_be(),
            (u32::from(ttl) << 24 | u32::from(protocol) << 16).to_be(),
            source.ipv4(),
            destination.ipv4(),
        ])
    }

    /// The same with traffic class and identification, and the checksum of all.
    #[inline(always)]
    pub fn marked(mut self, traffic_class: u8, identification: u16) -> Self {
        self.0[0] |= (u32::from(traffic_class) << 16).to_be();
        self.0[1] |= (u32::from(identification) << 16).to_be();
        self.0[2] |= join([0, checksum::ipv4_header(&self.0)]);
        self
    }

    /// The header of the answer: the addresses change places, the TTL is a fresh one, the checksum follows.
    #[inline(always)]
    pub fn answered(self, ttl: u8) -> Self {
        let [first, mut checksum] = split(self.0[2]);
        let lives = (u16::from(ttl) << 8 | u16::from(self.protocol())).to_be();
        checksum = checksum::updated(checksum, first, lives);
        Self([
            self.0[0],
            self.0[1],
            join([lives, checksum]),
            self.0[4],
            self.0[3],
        ])
    }
}

/// An IPv6 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Ipv6(pub [u64; 5]);

// SAFETY: five u64, no padding, every pattern valid.
unsafe impl Wire for Ipv6 {}

impl Ipv6 {
    #[inline(always)]
    fn first(&self) -> u64 {
        u64::from_be(self.0[0])
    }

    /// 6, if the packet keeps to its EtherType.
    #[inline(always)]
    pub fn version(&self) -> u8 {
        (self.first() >> 60) as u8
    }

    /// DSCP and ECN.
    #[inline(always)]
    pub fn traffic_class(&self) -> u8 {
        (self.first() >> 52) as u8
    }

    /// The low half of the flow label; its low bits count hops in packets that nodes send each other.
    #[inline(always)]
    pub fn flow_label_low(&self) -> u16 {
        (self.first() >> 32) as u16
    }

    /// Bytes behind this header.
    #[inline(always)]
    pub fn payload_bytes(&self) -> usize {
        (self.first() >> 16) as u16 as usize
    }

    /// What follows this header.
    #[inline(always)]
    pub fn next_header(&self) -> u8 {
        (self.first() >> 8) as u8
    }

    /// Hops that are left.
    #[inline(always)]
    pub fn hop_limit(&self) -> u8 {
        self.first() as u8
    }

    /// The sender.
    #[inline(always)]
    pub fn source(&self) -> Address {
        Address::from_halves([self.0[1], self.0[2]])
    }

    /// The receiver.
    #[inline(always)]
    pub fn destination(&self) -> Address {
        Address::from_halves([self.0[3], self.0[4]])
    }

    /// A header without traffic class and label.
    #[inline(always)]
    pub fn new(
        payload_bytes: usize,
        next_header: u8,
        hop_limit: u8,
        source: Address,
        destination: Address,
    ) -> Self {
        let lengths = (payload_bytes as u64 & 0xffff) << 16;
        let first = 6 << 60 | lengths | u64::from(next_header) << 8 | u64::from(hop_limit);
        let ([a, b], [c, d]) = (source.halves(), destination.halves());
        Self([first.to_be(), a, b, c, d])
    }

    /// The same with traffic class, and the low half of the flow label.
    #[inline(always)]
    pub fn labelled(mut self, traffic_class: u8, label: u16) -> Self {
        self.0[0] |= (u64::from(traffic_class) << 52 | u64::from(label) << 32).to_be();
        self
    }
}

/// The first eight bytes of an IPv6 extension header: none is shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Ipv6Extension(pub [u16; 4]);

// SAFETY: four u16, no padding, every pattern valid.
unsafe impl Wire for Ipv6Extension {}

impl Ipv6Extension {
    /// What follows this header.
    #[inline(always)]
    pub fn next_header(&self) -> u8 {
        (u16::from_be(self.0[0]) >> 8) as u8
    }

    /// Its length as it says, in units that depend on what it is.
    #[inline(always)]
    pub fn length(&self) -> usize {
        (u16::from_be(self.0[0]) & 0xff) as usize
    }

    /// Of a fragment header: whether this is a fragment that is not the first.
    #[inline(always)]
    pub fn is_later_fragment(&self) -> bool {
        u16::from_be(self.0[1]) & 0xfff8 != 0
    }

    /// Of a fragment header: whether more fragments follow.
    #[inline(always)]
    pub fn has_more_fragments(&self) -> bool {
        u16::from_be(self.0[1]) & 1 != 0
    }

    /// Of a fragment header: what all fragments of a packet have in common.
    #[inline(always)]
    pub fn identification(&self) -> u32 {
        u32::from(u16::from_be(self.0[2])) << 16 | u32::from(u16::from_be(self.0[3]))
    }
}
