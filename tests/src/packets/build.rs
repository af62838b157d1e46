//! Frames, built byte by byte and independently of the code under test.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Hardware addresses in these frames.
pub type Mac = [u8; 6];

/// TCP flags.
pub const SYN: u8 = 0x02;
/// TCP flags.
pub const ACK: u8 = 0x10;
/// TCP flags.
pub const FIN: u8 = 0x01;
/// TCP flags.
pub const RST: u8 = 0x04;

/// A packet from its transport header up.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// Protocol number.
    pub protocol: u8,
    /// IPv4 options, a multiple of 4 bytes.
    pub options: Vec<u8>,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Hop limit.
    pub ttl: u8,
    /// IPv4 identification, or the low 16 bits of IPv6's flow label.
    pub mark: u16,
    /// IPv4 flags and fragment offset.
    pub fragment: u16,
    /// All behind the IP header.
    pub payload: Vec<u8>,
}

impl Packet {
    /// A packet without options or fragments.
    pub fn new(source: IpAddr, destination: IpAddr, protocol: u8, payload: Vec<u8>) -> Self {
        let fragment = 0x4000;
        Self {
            source,
            destination,
            protocol,
            options: Vec::new(),
            traffic_class: 0,
            ttl: 64,
            mark: 0,
            fragment,
            payload,
        }
    }

    /// A TCP segment with 8 bytes of data.
    pub fn tcp(source: (IpAddr, u16), destination: (IpAddr, u16), flags: u8) -> Self {
        let mut payload = Vec::new();
        payload.extend(source.1.to_be_bytes());
        payload.extend(destination.1.to_be_bytes());
        payload.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0x20, 0, 0xab, 0xcd, 0, 0]);
        payload.extend(b"segment!");
        Self::new(source.0, destination.0, 6, payload)
    }

    /// A UDP datagram with 8 bytes of data.
    pub fn udp(source: (IpAddr, u16), destination: (IpAddr, u16)) -> Self {
        let mut payload = Vec::new();
        payload.extend(source.1.to_be_bytes());
        payload.extend(destination.1.to_be_bytes());
        payload.extend([0, 16, 0xab, 0xcd]);
        payload.extend(b"datagram");
        Self::new(source.0, destination.0, 17, payload)
    }

    /// This packet within another from node to node.
    pub fn within(&self, source: IpAddr, destination: IpAddr, mark: u16, ttl: u8) -> Self {
        let protocol = if self.source.is_ipv4() { 4 } else { 41 };
        let mut outer = Self::new(source, destination, protocol, self.bytes());
        outer.mark = mark;
        outer.ttl = ttl;
        outer.traffic_class = self.traffic_class;
        outer
    }

    /// The EtherType of its family.
    pub fn ether_type(&self) -> u16 {
        if self.source.is_ipv4() { 0x0800 } else { 0x86dd }
    }

    /// The packet as it stands on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => self.ipv4(source, destination),
            (IpAddr::V6(source), IpAddr::V6(destination)) => self.ipv6(source, destination),
            _ => Vec::new(),
        }
    }

    fn ipv4(&self, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
        let header_bytes = 20 + self.options.len();
        let mut header = vec![0x40 | (header_bytes / 4) as u8, self.traffic_class];
        header.extend(((header_bytes + self.payload.len()) as u16).to_be_bytes());
        header.extend(self.mark.to_be_bytes());
        header.extend(self.fragment.to_be_bytes());
        header.extend([self.ttl, self.protocol, 0, 0]);
        header.extend(source.octets());
        header.extend(destination.octets());
        header.extend(&self.options);
        let sum = internet_checksum(&header);
        header.splice(10..12, sum.to_be_bytes());
        header.extend(&self.payload);
        header
    }

    fn ipv6(&self, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        let mut header = vec![0x60 | self.traffic_class >> 4, self.traffic_class << 4];
        header.extend(self.mark.to_be_bytes());
        header.extend((self.payload.len() as u16).to_be_bytes());
        header.extend([self.protocol, self.ttl]);
        header.extend(source.octets());
        header.extend(destination.octets());
        header.extend(&self.payload);
        header
    }
}

/// The checksum of RFC 1071, straight from its text.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(pair.first().copied().unwrap_or(0)) << 8 | u32::from(low);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A frame: Ethernet, tags (their EtherType and number), and what follows.
pub fn frame(destination: Mac, source: Mac, tags: &[(u16, u16)], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(destination);
    bytes.extend(source);
    for (kind, tag) in tags {
        bytes.extend(kind.to_be_bytes());
        bytes.extend(tag.to_be_bytes());
    }
    bytes.extend(ether_type.to_be_bytes());
    bytes.extend(payload);
    bytes
}
