//! IP headers of both versions, and the extension headers of IPv6.
//!
//! Source: RFC 791, RFC 8200, RFC 4302.

use crate::checksum;
use crate::frame::Wire;
use crate::vip::Address;

/// An IPv4 header without its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Ipv4(pub [u16; 10]);

// SAFETY: ten u16, no padding, every pattern valid.
unsafe impl Wire for Ipv4 {}

impl Ipv4 {
    #[inline(always)]
    fn word(&self, index: usize) -> u16 {
        u16::from_be(self.0[index])
    }

    /// 4, if the packet keeps to its EtherType.
    #[inline(always)]
    pub fn version(&self) -> u8 {
        (self.word(0) >> 12) as u8
    }

    /// Bytes of the header with its options, 0 to 60; under 20 is malformed.
    #[inline(always)]
    pub fn header_bytes(&self) -> usize {
        ((self.word(0) >> 8) & 0xf) as usize * 4
    }

    /// DSCP and ECN.
    #[inline(always)]
    pub fn traffic_class(&self) -> u8 {
        self.word(0) as u8
    }

    /// Bytes of the packet with its header.
    #[inline(always)]
    pub fn total_bytes(&self) -> usize {
        self.word(1) as usize
    }

    /// The identification field; its low bits count hops in packets that nodes send each other.
    #[inline(always)]
    pub fn identification(&self) -> u16 {
        self.word(2)
    }

    /// Whether more fragments follow.
    #[inline(always)]
    pub fn has_more_fragments(&self) -> bool {
        self.word(3) & 0x2000 != 0
    }

    /// Whether this is a fragment that is not the first, and so has no ports.
    #[inline(always)]
    pub fn is_later_fragment(&self) -> bool {
        self.word(3) & 0x1fff != 0
    }

    /// Hops that are left.
    #[inline(always)]
    pub fn ttl(&self) -> u8 {
        (self.word(4) >> 8) as u8
    }

    /// What the packet carries.
    #[inline(always)]
    pub fn protocol(&self) -> u8 {
        self.word(4) as u8
    }

    /// The sender, in the network's order.
    #[inline(always)]
    pub fn source(&self) -> [u16; 2] {
        [self.0[6], self.0[7]]
    }

    /// The receiver, in the network's order.
    #[inline(always)]
    pub fn destination(&self) -> [u16; 2] {
        [self.0[8], self.0[9]]
    }

    /// A header without options, DF set; `marked` completes it.
    #[inline(always)]
    pub fn new(total_bytes: usize, protocol: u8, ttl: u8, source: [u16; 2], destination: [u16; 2]) -> Self {
        Self([
            0x4500_u16.to_be(),
            (total_bytes as u16).to_be(),
            0,
            0x4000_u16.to_be(),
            (u16::from(ttl) << 8 | u16::from(protocol)).to_be(),
            0,
            source[0],
            source[1],
            destination[0],
            destination[1],
        ])
    }

    /// The same with traffic class and identification, and the checksum of all.
    #[inline(always)]
    pub fn marked(mut self, traffic_class: u8, identification: u16) -> Self {
        self.0[0] = (0x4500 | u16::from(traffic_class)).to_be();
        self.0[2] = identification.to_be();
        self.0[5] = 0;
        self.0[5] = checksum::ipv4_header(&self.0);
        self
    }

    /// The header of the answer: the addresses change places, the TTL is a fresh one, the checksum follows.
    #[inline(always)]
    pub fn answered(self, ttl: u8) -> Self {
        let mut words = self.0;
        [words[6], words[7], words[8], words[9]] = [self.0[8], self.0[9], self.0[6], self.0[7]];
        words[4] = (u16::from(ttl) << 8 | u16::from(self.protocol())).to_be();
        words[5] = checksum::updated(self.0[5], self.0[4], words[4]);
        Self(words)
    }
}

/// An IPv6 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Ipv6(pub [u16; 20]);

// SAFETY: twenty u16, no padding, every pattern valid.
unsafe impl Wire for Ipv6 {}

impl Ipv6 {
    #[inline(always)]
    fn word(&self, index: usize) -> u16 {
        u16::from_be(self.0[index])
    }

    /// 6, if the packet keeps to its EtherType.
    #[inline(always)]
    pub fn version(&self) -> u8 {
        (self.word(0) >> 12) as u8
    }

    /// DSCP and ECN.
    #[inline(always)]
    pub fn traffic_class(&self) -> u8 {
        (self.word(0) >> 4) as u8
    }

    /// The low half of the flow label; its low bits count hops in packets that nodes send each other.
    #[inline(always)]
    pub fn flow_label_low(&self) -> u16 {
        self.word(1)
    }

    /// Bytes behind this header.
    #[inline(always)]
    pub fn payload_bytes(&self) -> usize {
        self.word(2) as usize
    }

    /// What follows this header.
    #[inline(always)]
    pub fn next_header(&self) -> u8 {
        (self.word(3) >> 8) as u8
    }

    /// Hops that are left.
    #[inline(always)]
    pub fn hop_limit(&self) -> u8 {
        self.word(3) as u8
    }

    /// The sender, in the network's order.
    #[inline(always)]
    pub fn source(&self) -> [u16; 8] {
        let w = &self.0;
        [w[4], w[5], w[6], w[7], w[8], w[9], w[10], w[11]]
    }

    /// The receiver, in the network's order.
    #[inline(always)]
    pub fn destination(&self) -> [u16; 8] {
        let w = &self.0;
        [w[12], w[13], w[14], w[15], w[16], w[17], w[18], w[19]]
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
        let [s, d] = [source.words(), destination.words()];
        Self([
            0x6000_u16.to_be(),
            0,
            (payload_bytes as u16).to_be(),
            (u16::from(next_header) << 8 | u16::from(hop_limit)).to_be(),
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

    /// The same with traffic class, and the low half of the flow label.
    #[inline(always)]
    pub fn labelled(mut self, traffic_class: u8, label: u16) -> Self {
        self.0[0] = (0x6000 | u16::from(traffic_class) << 4).to_be();
        self.0[1] = label.to_be();
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
