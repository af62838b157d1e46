//! IPv4 with options, IPv6 with extension headers, and what they carry.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Decoder, hex};
use crate::packet_rows::checksum::{Checksum, state};

/// Extension headers that are walked over: more than any real packet has.
const EXTENSIONS_MAX: usize = 16;

/// Which IP header of a frame it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The first, which may carry another one.
    First,
    /// One that another carries.
    Inner,
    /// One that an ICMP error quotes.
    Quoted,
}

impl Place {
    fn name(self, version: &str) -> String {
        match self {
            Self::First => version.to_owned(),
            Self::Inner => format!("inner {version}"),
            Self::Quoted => format!("quoted {version}"),
        }
    }
}

/// What a header says of what it carries.
pub(super) struct Carried<'f> {
    pub(super) place: Place,
    pub(super) protocol: u8,
    pub(super) source: &'f [u8],
    pub(super) destination: &'f [u8],
    /// Whether this frame has only a part of it.
    pub(super) extent: Extent,
    /// Which layer the header is.
    pub(super) layer: usize,
    /// Where the header begins.
    pub(super) header_at: usize,
}

/// How much of what a packet carries is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All.
    Whole,
    /// The beginning.
    First,
    /// Not the beginning.
    Later,
}

impl<'f> Decoder<'f> {
    pub(super) fn ipv4(&mut self, place: Place) -> Option<()> {
        let header_bytes = usize::from(self.peek_u8(0)? & 0xf) * 4;
        let header = self.peek(0, header_bytes.max(20))?;
        let (total, identification, fragment) = (self.peek_u16(2)?, self.peek_u16(4)?, self.peek_u16(6)?);
        let [source, destination] = [self.peek(12, 4)?, self.peek(16, 4)?];
        let (class, ttl, protocol) = (self.peek_u8(1)?, self.peek_u8(8)?, self.peek_u8(9)?);
        let (found, options) = (self.peek_u16(10)?, header.get(20..).unwrap_or_default());
        let header_at = self.at;
        let name = place.name("IPv4");
        let layer = self.layer(&name);
        layer.add("header bytes", header_bytes.to_string());
        layer.add("DSCP and ECN", format!("{class:#04x}"));
        layer.add("total bytes", total.to_string());
        layer.add("id", format!("{identification:#06x}"));
        layer.add("flags", flags(fragment));
        layer.add("fragment offset", ((fragment & 0x1fff) * 8).to_string());
        layer.add("TTL", ttl.to_string());
        layer.add("protocol", protocol.to_string());
        layer.add("source", ipv4(source));
        layer.add("destination", ipv4(destination));
        if !options.is_empty() {
            layer.add("options", hex(options));
        }
        self.checksum(Checksum {
            name,
            at: header_at + 10,
            found,
            state: state(&[], header, 10),
        });
        let extent = match (fragment & 0x1fff, fragment & 0x2000) {
            (0, 0) => Extent::Whole,
            (0, _) => Extent::First,
            _ => Extent::Later,
        };
        let extent = self.bounded(header_at + usize::from(total), extent);
        self.at += header.len();
        let layer = self.decoded.layers.len() - 1;
        self.carried(&Carried {
            place,
            protocol,
            source,
            destination,
            extent,
            layer,
            header_at,
        })
    }

    pub(super) fn ipv6(&mut self, place: Place) -> Option<()> {
        let first = self.peek_u32(0)?;
        let (payload, mut protocol, limit) = (self.peek_u16(4)?, self.peek_u8(6)?, self.peek_u8(7)?);
        let [source, destination] = [self.peek(8, 16)?, self.peek(24, 16)?];
        let header_at = self.at;
        let layer = self.layer(&place.name("IPv6"));
        layer.add("traffic class", format!("{:#04x}", first >> 20 & 0xff));
        layer.add("flow label", format!("{:#07x}", first & 0xf_ffff));
        layer.add("payload bytes", payload.to_string());
        layer.add("next header", protocol.to_string());
        layer.add("hop limit", limit.to_string());
        layer.add("source", ipv6(source));
        layer.add("destination", ipv6(destination));
        let layer = self.decoded.layers.len() - 1;
        let mut extent = self.bounded(header_at + 40 + usize::from(payload), Extent::Whole);
        self.at += 40;
        for _ in 0..EXTENSIONS_MAX {
            if extent == Extent::Later || !matches!(protocol, 0 | 43 | 44 | 51 | 60) {
                break;
            }
            let (next, length) = (self.peek_u8(0)?, usize::from(self.peek_u8(1)?));
            let bytes = match protocol {
                44 => 8,
                51 => (length + 2) * 4,
                _ => (length + 1) * 8,
            };
            let content = self.peek(0, bytes)?;
            if protocol == 44 {
                extent = match (self.peek_u16(2)? & 0xfff8, self.peek_u16(2)? & 1) {
                    (0, 0) => extent,
                    (0, _) => Extent::First,
                    _ => Extent::Later,
                };
            }
            let added = self.layer(&format!("extension header {protocol}"));
            added.add("next header", next.to_string());
            added.add("bytes", hex(content));
            protocol = next;
            self.at += bytes;
        }
        self.carried(&Carried {
            place,
            protocol,
            source,
            destination,
            extent,
            layer,
            header_at,
        })
    }

    /// Ends the packet where its header says; one that says more than there is, is not whole.
    fn bounded(&mut self, end: usize, extent: Extent) -> Extent {
        if end > self.end && extent == Extent::Whole {
            return Extent::First;
        }
        self.end = self.end.min(end);
        extent
    }

    fn carried(&mut self, carried: &Carried<'f>) -> Option<()> {
        if carried.extent == Extent::Later {
            return Some(());
        }
        match (carried.protocol, carried.place) {
            (4 | 41, Place::First) => self.ip_in_ip(carried),
            (6, _) => self.tcp(carried),
            (17, _) => self.udp(carried),
            (1 | 58, Place::First | Place::Inner) => self.icmp(carried),
            _ => Some(()),
        }
    }
}

fn flags(fragment: u16) -> String {
    let names = [(0x8000, "reserved"), (0x4000, "DF"), (0x2000, "MF")];
    let set: Vec<&str> = names
        .iter()
        .filter(|(bit, _)| fragment & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    if set.is_empty() {
        "none".to_owned()
    } else {
        set.join(", ")
    }
}

fn ipv4(bytes: &[u8]) -> String {
    bytes
        .first_chunk::<4>()
        .map_or_else(String::new, |bytes| Ipv4Addr::from(*bytes).to_string())
}

fn ipv6(bytes: &[u8]) -> String {
    bytes
        .first_chunk::<16>()
        .map_or_else(String::new, |bytes| Ipv6Addr::from(*bytes).to_string())
}
