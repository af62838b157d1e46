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

/// A part of a packet that was cut in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The one with the ports.
    First,
    /// One between two others.
    Middle,
    /// The one that nothing follows.
    Last,
    /// All of it, in a fragment's clothes (RFC 6946).
    Whole,
}

/// An IPv6 extension header of options that is so many bytes long, a multiple of 8; but for its first byte.
pub fn options(bytes: usize) -> Vec<u8> {
    let mut extension = vec![0; bytes - 1];
    if let Some(length) = extension.first_mut() {
        *length = (bytes / 8 - 1) as u8;
    }
    extension
}

/// An authentication header that is so many bytes long, a multiple of 4; but for its first byte.
pub fn authentication(bytes: usize) -> Vec<u8> {
    let mut extension = vec![0; bytes - 1];
    if let Some(length) = extension.first_mut() {
        *length = (bytes / 4 - 2) as u8;
    }
    extension
}

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

    /// A UDP datagram with that data.
    pub fn datagram(source: (IpAddr, u16), destination: (IpAddr, u16), data: &[u8]) -> Self {
        let mut payload = Vec::new();
        payload.extend(source.1.to_be_bytes());
        payload.extend(destination.1.to_be_bytes());
        payload.extend(((8 + data.len()) as u16).to_be_bytes());
        payload.extend([0xab, 0xcd]);
        payload.extend(data);
        Self::new(source.0, destination.0, 17, payload)
    }

    /// An ICMP or ICMPv6 message: type and code, the four bytes behind the checksum, and what follows.
    pub fn icmp(source: IpAddr, destination: IpAddr, kind: [u8; 2], rest: [u8; 4], data: &[u8]) -> Self {
        let mut payload = kind.to_vec();
        payload.extend([0, 0]);
        payload.extend(rest);
        payload.extend(data);
        let (protocol, mut summed) = match (source, destination) {
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let mut pseudo = from.octets().to_vec();
                pseudo.extend(to.octets());
                pseudo.extend((payload.len() as u32).to_be_bytes());
                pseudo.extend([0, 0, 0, 58]);
                (58, pseudo)
            }
            _ => (1, Vec::new()),
        };
        summed.extend(&payload);
        payload.splice(2..4, internet_checksum(&summed).to_be_bytes());
        Self::new(source, destination, protocol, payload)
    }

    /// This packet filled up with zeros, or cut, to so many bytes with its IP header.
    pub fn of_bytes(&self, bytes: usize) -> Self {
        let mut packet = self.clone();
        let header_bytes = self.bytes().len() - self.payload.len();
        packet.payload.resize(bytes.saturating_sub(header_bytes), 0);
        packet
    }

    /// This packet behind IPv6 extension headers: the number of each, and its bytes but for the first.
    pub fn behind(&self, extensions: &[(u8, Vec<u8>)]) -> Self {
        let mut packet = self.clone();
        for (kind, bytes) in extensions.iter().rev() {
            let mut payload = vec![packet.protocol];
            payload.extend(bytes);
            payload.extend(&packet.payload);
            packet.payload = payload;
            packet.protocol = *kind;
        }
        packet
    }

    /// That piece of this packet, with that identification. The bytes are all of it: nobody puts it together again.
    pub fn piece(&self, piece: Piece, identification: u16) -> Self {
        let mut packet = self.clone();
        if self.source.is_ipv4() {
            packet.mark = identification;
            packet.fragment = match piece {
                Piece::First => 0x2000,
                Piece::Middle => 0x2010,
                Piece::Last => 0x0010,
                Piece::Whole => 0,
            };
            return packet;
        }
        let field: u16 = match piece {
            Piece::First => 1,
            Piece::Middle => 0x81,
            Piece::Last => 0x80,
            Piece::Whole => 0,
        };
        let mut extension = vec![0];
        extension.extend(field.to_be_bytes());
        extension.extend(u32::from(identification).to_be_bytes());
        packet.behind(&[(44, extension)])
    }

    /// This packet in GUE from node to node, as RFC and draft have it, with that source port.
    pub fn in_gue(&self, ends: [IpAddr; 2], source_port: u16, hops: u16, cookie: u64) -> Self {
        let [source, destination] = ends;
        let protocol = if self.source.is_ipv4() { 4 } else { 41 };
        let inner = self.bytes();
        let mut payload = source_port.to_be_bytes().to_vec();
        payload.extend(6080_u16.to_be_bytes());
        payload.extend(((24 + inner.len()) as u16).to_be_bytes());
        payload.extend([0, 0, 3, protocol, 0, 0, 0x67, 0x01]);
        payload.extend(hops.to_be_bytes());
        payload.extend(cookie.to_be_bytes());
        payload.extend(inner);
        let mut outer = Self::new(source, destination, 17, payload);
        outer.traffic_class = self.traffic_class;
        outer
    }

    /// This packet with another byte at a place behind its IP header.
    pub fn with_byte(&self, at: usize, value: u8) -> Self {
        let mut packet = self.clone();
        if let Some(byte) = packet.payload.get_mut(at) {
            *byte = value;
        }
        packet
    }

    /// This packet cut to so many bytes behind its IP header, whose length says so.
    pub fn cut(&self, bytes: usize) -> Self {
        let mut packet = self.clone();
        packet.payload.truncate(bytes);
        packet
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
pub fn internet_checksum(bytes: &[u8]) -> u16 {
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
