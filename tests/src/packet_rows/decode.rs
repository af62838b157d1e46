//! Frames taken apart for readers: layer by layer, field by field, independently of the parser under test.
//!
//! Ethernet and its tags here; IP, transport and tunnels in files of their own. What none of them knows is left over.
//! Sources: RFC 791, 8200, 9293, 768, 792, 4443, draft-ietf-intarea-gue-09.

mod ip;
mod transport;
mod tunnel;

use super::checksum::Checksum;

/// A field of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its value, as a reader wants it.
    pub value: String,
}

/// A header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    /// Its name, such as `outer IPv4`.
    pub name: String,
    /// Its fields in their order.
    pub fields: Vec<Field>,
}

/// What two right answers may differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loose {
    /// Its name.
    pub name: &'static str,
    /// Where it stands, in bytes from the frame's start.
    pub at: usize,
    /// Its bytes.
    pub bytes: usize,
    /// The bits of its last byte that belong to it.
    pub last_mask: u8,
}

/// A frame taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Its headers, from the outside in.
    pub layers: Vec<Layer>,
    /// Its checksums.
    pub checksums: Vec<Checksum>,
    /// What right answers may differ in; nothing where nobody put anything around the packet.
    pub loose: Vec<Loose>,
    /// Where that begins which no decoder knows.
    pub rest_at: usize,
}

/// Takes a frame apart, as far as it goes.
pub fn decode(frame: &[u8]) -> Decoded {
    let mut decoder = Decoder {
        frame,
        at: 0,
        end: frame.len(),
        decoded: Decoded::default(),
    };
    // A frame that ends within a header is taken apart up to there.
    let _is_whole = decoder.ethernet().is_some();
    decoder.decoded.rest_at = decoder.at;
    decoder.decoded
}

/// A place in a frame.
struct Decoder<'f> {
    frame: &'f [u8],
    at: usize,
    end: usize,
    decoded: Decoded,
}

impl<'f> Decoder<'f> {
    fn ethernet(&mut self) -> Option<()> {
        let [destination, source] = [self.peek(0, 6)?, self.peek(6, 6)?];
        let mut ether_type = self.peek_u16(12)?;
        let layer = self.layer("Ethernet");
        layer.add("destination", mac(destination));
        layer.add("source", mac(source));
        layer.add("EtherType", format!("{ether_type:#06x}"));
        self.at += 14;
        while matches!(ether_type, 0x8100 | 0x88a8) {
            let tag = self.peek_u16(0)?;
            ether_type = self.peek_u16(2)?;
            let layer = self.layer("VLAN tag");
            layer.add("priority", format!("{}", tag >> 12));
            layer.add("VLAN", format!("{}", tag & 0xfff));
            layer.add("EtherType", format!("{ether_type:#06x}"));
            self.at += 4;
        }
        match ether_type {
            0x0800 => self.ipv4(ip::Place::First),
            0x86dd => self.ipv6(ip::Place::First),
            _ => Some(()),
        }
    }

    /// Bytes from here, without going there; `None` beyond the end.
    fn peek(&self, offset: usize, bytes: usize) -> Option<&'f [u8]> {
        let start = self.at.checked_add(offset)?;
        let end = start.checked_add(bytes)?;
        if end > self.end {
            return None;
        }
        self.frame.get(start..end)
    }

    fn peek_u8(&self, offset: usize) -> Option<u8> {
        self.peek(offset, 1)?.first().copied()
    }

    fn peek_u16(&self, offset: usize) -> Option<u16> {
        Some(u16::from_be_bytes(*self.peek(offset, 2)?.first_chunk()?))
    }

    fn peek_u32(&self, offset: usize) -> Option<u32> {
        Some(u32::from_be_bytes(*self.peek(offset, 4)?.first_chunk()?))
    }

    /// Begins a header.
    fn layer(&mut self, name: &str) -> &mut Layer {
        self.decoded.layers.push_mut(Layer {
            name: name.to_owned(),
            fields: Vec::new(),
        })
    }

    /// Notes a checksum as a field of the header that was begun last.
    fn checksum(&mut self, checksum: Checksum) {
        if let Some(layer) = self.decoded.layers.last_mut() {
            layer.add("checksum", checksum.shown());
        }
        self.decoded.checksums.push(checksum);
    }

    fn loose(&mut self, name: &'static str, at: usize, bytes: usize, last_mask: u8) {
        self.decoded.loose.push(Loose {
            name,
            at,
            bytes,
            last_mask,
        });
    }
}

impl Layer {
    fn add(&mut self, name: &'static str, value: String) {
        self.fields.push(Field { name, value });
    }
}

fn mac(bytes: &[u8]) -> String {
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
