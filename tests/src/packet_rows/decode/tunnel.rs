//! What nodes put around a packet: IP, or UDP and GUE; and what of it two right answers may differ in.

use super::ip::{Carried, Place};
use super::{Decoder, hex};

/// Bytes of private data as the gateway writes them: a mark, the hop count, a cookie.
const PRIVATE_BYTES: usize = 12;

impl<'f> Decoder<'f> {
    pub(super) fn ip_in_ip(&mut self, carried: &Carried<'f>) -> Option<()> {
        // The two low bits of a flow label count hops here.
        self.is_tunnel(carried, 0xfc);
        self.inner(carried.protocol)
    }

    pub(super) fn gue(&mut self, carried: &Carried<'f>, udp_at: usize) -> Option<()> {
        let (first, protocol, flags) = (self.peek_u8(0)?, self.peek_u8(1)?, self.peek_u16(2)?);
        let private_bytes = usize::from(first & 0x1f) * 4;
        let private = self.peek(4, private_bytes)?;
        // Another version, a control message, or something else than IP inside: a datagram like others.
        if first >> 5 != 0 || !matches!(protocol, 4 | 41) {
            return Some(());
        }
        let fields = match private.len() {
            PRIVATE_BYTES => vec![
                ("mark", hex(private.get(..2).unwrap_or_default())),
                ("hops", hex(private.get(2..4).unwrap_or_default())),
                ("cookie", hex(private.get(4..).unwrap_or_default())),
            ],
            _ => vec![("private data", hex(private))],
        };
        self.is_tunnel(carried, 0xff);
        self.loose("GUE source port", udp_at, 2, 0xff);
        self.loose("UDP checksum", udp_at + 6, 2, 0xff);
        if let Some(udp) = self.decoded.layers.last_mut() {
            udp.name = "outer UDP".to_owned();
        }
        let layer = self.layer("GUE");
        layer.add("version and kind", format!("{:#x}", first >> 5));
        layer.add("words of private data", (private_bytes / 4).to_string());
        layer.add("protocol", protocol.to_string());
        layer.add("flags", format!("{flags:#06x}"));
        for (name, value) in fields {
            layer.add(name, value);
        }
        self.at += 4 + private_bytes;
        self.inner(protocol)
    }

    fn inner(&mut self, protocol: u8) -> Option<()> {
        match protocol {
            4 => self.ipv4(Place::Inner),
            _ => self.ipv6(Place::Inner),
        }
    }

    /// Notes that the first IP header is an outer one, and what of it and of Ethernet may differ.
    fn is_tunnel(&mut self, carried: &Carried<'f>, label_mask: u8) {
        if let Some(layer) = self.decoded.layers.get_mut(carried.layer) {
            layer.name = format!("outer {}", layer.name);
        }
        self.loose("next-hop MACs", 0, 12, 0xff);
        let source_at = if carried.source.len() == 4 { 12 } else { 8 };
        self.loose(
            "outer source address",
            carried.header_at + source_at,
            carried.source.len(),
            0xff,
        );
        if carried.source.len() == 4 {
            self.loose_identification(carried);
        } else {
            // The class before it and the label begin in one byte: only the 16 low bits are written by anybody here.
            self.loose("outer flow label", carried.header_at + 2, 2, label_mask);
        }
    }

    /// Notes that the id of an IPv4 header, and with it its checksum, may differ.
    pub(super) fn loose_identification(&mut self, carried: &Carried<'f>) {
        if carried.source.len() == 4 {
            self.loose("IP id", carried.header_at + 4, 2, 0xff);
            self.loose("IP checksum", carried.header_at + 10, 2, 0xff);
        }
    }
}
