//! TCP, UDP and ICMP.

use super::ip::{Carried, Extent, Place};
use super::{Decoder, hex};
use crate::packet_rows::checksum::{Checksum, State, pseudo_header, state};

/// The UDP port of GUE, by IANA.
const GUE_PORT: u16 = 6080;

impl<'f> Decoder<'f> {
    pub(super) fn tcp(&mut self, carried: &Carried<'f>) -> Option<()> {
        let ports = [self.peek_u16(0)?, self.peek_u16(2)?];
        let layer = self.transport_layer("TCP", carried.place);
        self.ports(layer, ports);
        let [sequence, acknowledged] = [self.peek_u32(4)?, self.peek_u32(8)?];
        self.add(layer, "sequence", sequence.to_string());
        self.add(layer, "acknowledged", acknowledged.to_string());
        let (offset, flags, window) = (self.peek_u8(12)?, self.peek_u8(13)?, self.peek_u16(14)?);
        let (found, urgent) = (self.peek_u16(16)?, self.peek_u16(18)?);
        let header_bytes = usize::from(offset >> 4) * 4;
        self.add(layer, "header bytes", header_bytes.to_string());
        self.add(layer, "flags", tcp_flags(flags));
        self.add(layer, "window", window.to_string());
        self.add(layer, "urgent", urgent.to_string());
        if let Some(options) = self.peek(0, header_bytes).and_then(|header| header.get(20..))
            && !options.is_empty()
        {
            self.add(layer, "options", hex(options));
        }
        self.transport_checksum("TCP", carried, found, 16);
        self.at += header_bytes.max(20).min(self.end - self.at);
        Some(())
    }

    pub(super) fn udp(&mut self, carried: &Carried<'f>) -> Option<()> {
        let ports = [self.peek_u16(0)?, self.peek_u16(2)?];
        let (length, found) = (self.peek_u16(4)?, self.peek_u16(6)?);
        let layer = self.transport_layer("UDP", carried.place);
        self.ports(layer, ports);
        self.add(layer, "length", length.to_string());
        self.transport_checksum("UDP", carried, found, 6);
        let udp_at = self.at;
        self.at += 8;
        match (ports, carried.place) {
            ([_, GUE_PORT], Place::First) => self.gue(carried, udp_at),
            _ => Some(()),
        }
    }

    pub(super) fn icmp(&mut self, carried: &Carried<'f>) -> Option<()> {
        let (kind, code, found, rest) = (
            self.peek_u8(0)?,
            self.peek_u8(1)?,
            self.peek_u16(2)?,
            self.peek_u32(4)?,
        );
        let is_v6 = carried.protocol == 58;
        let name = if is_v6 { "ICMPv6" } else { "ICMP" };
        let layer = self.transport_layer(name, carried.place);
        self.add(layer, "type", kind.to_string());
        self.add(layer, "code", code.to_string());
        self.add(layer, "rest of header", format!("{rest:#010x}"));
        self.transport_checksum(name, carried, found, 2);
        if carried.place == Place::First {
            // Whoever answers an echo or reports an error chooses the id of the packet.
            self.loose_identification(carried);
        }
        self.at += 8;
        match (is_v6, kind) {
            (false, 3 | 4 | 5 | 11 | 12) => self.ipv4(Place::Quoted),
            (true, 1..=4) => self.ipv6(Place::Quoted),
            _ => Some(()),
        }
    }

    fn transport_layer(&mut self, name: &str, place: Place) -> usize {
        let name = match place {
            Place::First => name.to_owned(),
            Place::Inner => format!("inner {name}"),
            Place::Quoted => format!("quoted {name}"),
        };
        self.layer(&name);
        self.decoded.layers.len() - 1
    }

    fn add(&mut self, layer: usize, name: &'static str, value: String) {
        if let Some(layer) = self.decoded.layers.get_mut(layer) {
            layer.add(name, value);
        }
    }

    fn ports(&mut self, layer: usize, [source, destination]: [u16; 2]) {
        self.add(layer, "source port", source.to_string());
        self.add(layer, "destination port", destination.to_string());
    }

    /// Verifies the checksum that stands `offset` bytes into the header here.
    fn transport_checksum(&mut self, name: &str, carried: &Carried<'f>, found: u16, offset: usize) {
        let covered = self.frame.get(self.at..self.end).unwrap_or_default();
        let has_pseudo_header = carried.protocol != 1;
        let pseudo = pseudo_header(
            carried.source,
            carried.destination,
            carried.protocol,
            covered.len(),
        );
        let pseudo: &[u8] = if has_pseudo_header { &pseudo } else { &[] };
        let state = match (carried.place, carried.extent) {
            _ if carried.protocol == 17 && found == 0 => State::Absent,
            (Place::Quoted, _) | (_, Extent::First | Extent::Later) => State::Unknown,
            _ => state(pseudo, covered, offset),
        };
        self.checksum(Checksum {
            name: name.to_owned(),
            at: self.at + offset,
            found,
            state,
        });
    }
}

fn tcp_flags(flags: u8) -> String {
    let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    let set: Vec<&str> = (names.iter().enumerate())
        .filter(|(bit, _)| flags >> bit & 1 != 0)
        .map(|(_, name)| *name)
        .collect();
    if set.is_empty() {
        "none".to_owned()
    } else {
        set.join(", ")
    }
}
