//! Frames read by offsets: link, IP, and what nodes put around a packet.

use super::packets::sum;

/// Ethernet with its tags.
#[derive(Debug)]
pub struct Link<'b> {
    /// Where it goes.
    pub to: &'b [u8],
    /// Where it comes from.
    pub from: &'b [u8],
    /// Between the addresses and the last EtherType.
    pub tags: &'b [u8],
    /// The last EtherType.
    pub ether_type: u16,
    /// All behind it.
    pub rest: &'b [u8],
}

/// An IP packet.
#[derive(Debug)]
pub struct Packet<'b> {
    /// 4 or 6.
    pub version: u8,
    /// The packet, as long as it says.
    pub bytes: &'b [u8],
    /// Where its header ends, without IPv6's extensions.
    pub header_end: usize,
}

/// What a node puts around a packet.
#[derive(Debug)]
pub struct Outer<'b> {
    /// Sender and receiver, as long as their family's are.
    pub from: &'b [u8],
    /// Likewise.
    pub to: &'b [u8],
    /// Times that the packet was sent.
    pub hops: u16,
    /// Hops left of the outer header.
    pub ttl: u8,
    /// Only GUE has one.
    pub cookie: Option<u64>,
    /// 4 or 6.
    pub inner_version: u8,
    /// Bytes before what is inside.
    pub bytes: usize,
    /// What is inside, to the end that the outer header says.
    pub inner: &'b [u8],
}

/// Two bytes at `at`, the high one first.
pub fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Reads Ethernet; `None` if it is cut short or has three tags.
pub fn link(frame: &[u8]) -> Option<Link<'_>> {
    let mut at = 12;
    for _ in 0..3 {
        let kind = u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?);
        if kind != 0x8100 && kind != 0x88a8 {
            return Some(Link {
                to: &frame[..6],
                from: &frame[6..12],
                tags: &frame[12..at],
                ether_type: kind,
                rest: &frame[at + 2..],
            });
        }
        at += 4;
    }
    None
}

impl<'b> Link<'b> {
    /// The packet behind it.
    pub fn packet(&self) -> Option<Packet<'b>> {
        match self.ether_type {
            0x0800 => packet(4, self.rest),
            0x86dd => packet(6, self.rest),
            _ => None,
        }
    }
}

/// Reads a packet of that version at the start of `bytes`.
pub fn packet(version: u8, bytes: &[u8]) -> Option<Packet<'_>> {
    let header = bytes.get(..if version == 4 { 20 } else { 40 })?;
    if header[0] >> 4 != version {
        return None;
    }
    let (header_end, total) = match version {
        4 => (usize::from(header[0] & 15) * 4, usize::from(word(header, 2))),
        _ => (40, 40 + usize::from(word(header, 4))),
    };
    let bytes = bytes.get(..total)?;
    (20..=total).contains(&header_end).then_some(Packet {
        version,
        bytes,
        header_end,
    })
}

impl<'b> Packet<'b> {
    /// DSCP and ECN.
    pub fn traffic_class(&self) -> u8 {
        match self.version {
            4 => self.bytes[1],
            _ => self.bytes[0] << 4 | self.bytes[1] >> 4,
        }
    }

    /// The sender.
    pub fn from(&self) -> &'b [u8] {
        if self.version == 4 {
            &self.bytes[12..16]
        } else {
            &self.bytes[8..24]
        }
    }

    /// The receiver.
    pub fn to(&self) -> &'b [u8] {
        if self.version == 4 {
            &self.bytes[16..20]
        } else {
            &self.bytes[24..40]
        }
    }

    /// Whether its header's checksum is right; IPv6 has none.
    pub fn is_whole(&self) -> bool {
        self.version == 6 || sum(&[&self.bytes[..self.header_end]]) == 0xffff
    }

    /// What it carries behind options and extensions, and where that begins.
    pub fn upper(&self) -> Option<(u8, usize)> {
        if self.version == 4 {
            return Some((self.bytes[9], self.header_end));
        }
        let (mut next, mut at) = (self.bytes[6], 40);
        while matches!(next, 0 | 43 | 44 | 51 | 60) {
            let header = self.bytes.get(at..at + 2)?;
            at += match next {
                44 => 8,
                51 => 8 + 4 * usize::from(header[1]),
                _ => 8 + 8 * usize::from(header[1]),
            };
            next = header[0];
        }
        (at <= self.bytes.len()).then_some((next, at))
    }

    /// What a node has put around another packet; `None` if this is nothing that one writes.
    pub fn outer(&self) -> Option<Outer<'b>> {
        let end = if self.version == 4 { 20 } else { 40 };
        if self.header_end != end {
            return None;
        }
        let (ttl, protocol, mark) = match self.version {
            4 if word(self.bytes, 6) & 0x3fff != 0 => return None,
            4 => (self.bytes[8], self.bytes[9], word(self.bytes, 4)),
            _ => (self.bytes[7], self.bytes[6], word(self.bytes, 2)),
        };
        let outer = Outer {
            from: self.from(),
            to: self.to(),
            hops: mark & 3,
            ttl,
            cookie: None,
            inner_version: if protocol == 4 { 4 } else { 6 },
            bytes: end,
            inner: &self.bytes[end..],
        };
        match protocol {
            4 | 41 => Some(outer),
            17 => {
                let header = self.bytes.get(end..end + 24)?;
                let is_gue = word(header, 2) == 6_080
                    && usize::from(word(header, 4)) == self.bytes.len() - end
                    && header[8] == 3
                    && matches!(header[9], 4 | 41)
                    && header[10..14] == [0, 0, 0x67, 1];
                is_gue.then_some(Outer {
                    hops: word(header, 14),
                    cookie: Some(u64::from_be_bytes(header[16..].try_into().ok()?)),
                    inner_version: if header[9] == 4 { 4 } else { 6 },
                    bytes: end + 24,
                    inner: &self.bytes[end + 24..],
                    ..outer
                })
            }
            _ => None,
        }
    }
}
