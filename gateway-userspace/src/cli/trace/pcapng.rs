//! Packets as a file that tcpdump and Wireshark read: pcapng, each packet with its verdict as a comment.
//!
//! Four kinds of blocks, all of them written here: there is no crate for it that is looked after. Source:
//! draft-ietf-opsawg-pcapng, sections 4.1 to 4.3.

use std::io::{self, Write};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway::trace::Packet;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;

/// Tells readers in which order a number's bytes stand.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// `LINKTYPE_ETHERNET`.
const ETHERNET: u16 = 1;

const OPTION_END: u16 = 0;
const OPTION_COMMENT: u16 = 1;
const INTERFACE_NAME: u16 = 2;
const INTERFACE_TIME: u16 = 9;
/// Times count units of 10^-9 s.
const NANOSECONDS: u8 = 9;

/// A file of packets.
pub(super) struct Pcapng<W> {
    out: W,
    /// Those that stand in the file, in its order.
    interfaces: Vec<String>,
}

impl<W: Write> Pcapng<W> {
    /// A file without packets.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn new(mut out: W) -> io::Result<Self> {
        let mut body = Vec::new();
        body.extend(BYTE_ORDER.to_le_bytes());
        body.extend(1_u16.to_le_bytes());
        body.extend(0_u16.to_le_bytes());
        // Nobody knows how long the section will be.
        body.extend(u64::MAX.to_le_bytes());
        out.write_all(&block(SECTION, &body))?;
        Ok(Self {
            out,
            interfaces: Vec::new(),
        })
    }

    /// Adds a packet whose frame's start was told.
    ///
    /// # Errors
    /// It cannot be written, or is not as nodes tell packets.
    pub(super) fn packet(&mut self, packet: &Packet) -> io::Result<()> {
        let Some(frame) = &packet.frame else {
            return Ok(());
        };
        let frame = STANDARD.decode(frame).map_err(io::Error::other)?;
        let time = humantime::parse_rfc3339(&packet.time).map_err(io::Error::other)?;
        let since = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_err(io::Error::other)?;
        let nanoseconds = u64::try_from(since.as_nanos()).map_err(io::Error::other)?;
        let interface = self.interface(&packet.interface)?;
        let mut body = Vec::new();
        body.extend(interface.to_le_bytes());
        body.extend(((nanoseconds >> 32) as u32).to_le_bytes());
        body.extend((nanoseconds as u32).to_le_bytes());
        body.extend((frame.len() as u32).to_le_bytes());
        body.extend(packet.bytes.to_le_bytes());
        padded(&mut body, &frame);
        option(&mut body, OPTION_COMMENT, comment(packet).as_bytes());
        option(&mut body, OPTION_END, &[]);
        self.out.write_all(&block(ENHANCED_PACKET, &body))
    }

    /// The number of an interface in the file, to which it is added where it is missing.
    fn interface(&mut self, name: &str) -> io::Result<u32> {
        let known = self.interfaces.iter().position(|known| known == name);
        if let Some(index) = known {
            return Ok(index as u32);
        }
        let mut body = Vec::new();
        body.extend(ETHERNET.to_le_bytes());
        body.extend(0_u16.to_le_bytes());
        // No bound that holds for all packets.
        body.extend(0_u32.to_le_bytes());
        option(&mut body, INTERFACE_NAME, name.as_bytes());
        option(&mut body, INTERFACE_TIME, &[NANOSECONDS]);
        option(&mut body, OPTION_END, &[]);
        self.out.write_all(&block(INTERFACE, &body))?;
        self.interfaces.push(name.to_owned());
        Ok(self.interfaces.len() as u32 - 1)
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn comment(packet: &Packet) -> String {
    let mut text = format!("{} {}", packet.verdict, packet.reason);
    for (word, value) in [("VIP", &packet.vip), ("from", &packet.from), ("to", &packet.to)] {
        if let Some(value) = value {
            text.push_str(&format!(", {word} {value}"));
        }
    }
    text
}

/// A block: what it is, how long, what it says, and how long again.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let bytes = (body.len() as u32 + 12).to_le_bytes();
    [&kind.to_le_bytes()[..], &bytes, body, &bytes].concat()
}

fn option(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend(kind.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    padded(body, value);
}

/// Everything ends at a multiple of four bytes.
fn padded(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend(bytes);
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The blocks of a file: kind, and what each says.
    fn blocks(mut file: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
        let mut blocks = Vec::new();
        while !file.is_empty() {
            let (kind, bytes) = (number(&file[..4]), number(&file[4..8]) as usize);
            assert!(bytes.is_multiple_of(4));
            assert_eq!(number(&file[bytes - 4..bytes]) as usize, bytes, "how long again");
            blocks.push((kind, file[8..bytes - 4].to_vec()));
            file = &file[bytes..];
        }
        blocks
    }

    #[test]
    fn packets_stand_behind_their_interfaces_with_time_length_and_verdict() {
        let packet = |interface: &str, frame: &[u8]| Packet {
            time: "1970-01-01T00:00:05.000000007Z".to_owned(),
            verdict: "send".to_owned(),
            reason: "to-owner".to_owned(),
            vip: Some("public".to_owned()),
            protocol: "tcp".to_owned(),
            source: "a".to_owned(),
            destination: "b".to_owned(),
            flags: None,
            about: None,
            bytes: 74,
            interface: interface.to_owned(),
            from: None,
            hops: 0,
            node: "gw-1".to_owned(),
            to: Some("gw-2".to_owned()),
            frame: Some(STANDARD.encode(frame)),
        };
        let mut file = Pcapng::new(Vec::new()).unwrap();
        file.packet(&packet("eth0", &[1, 2, 3, 4, 5])).unwrap();
        file.packet(&packet("eth1", &[6])).unwrap();
        file.packet(&packet("eth0", &[7, 8, 9, 10])).unwrap();
        let mut silent = packet("eth0", &[]);
        silent.frame = None;
        file.packet(&silent).unwrap();
        let blocks = blocks(&file.out);
        let kinds: Vec<u32> = blocks.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(
            kinds,
            [
                SECTION,
                INTERFACE,
                ENHANCED_PACKET,
                INTERFACE,
                ENHANCED_PACKET,
                ENHANCED_PACKET
            ]
        );
        let nanoseconds = 5_000_000_007_u64;
        let mut first = Vec::new();
        for word in [0, (nanoseconds >> 32) as u32, nanoseconds as u32, 5, 74] {
            first.extend(word.to_le_bytes());
        }
        first.extend([1, 2, 3, 4, 5, 0, 0, 0]);
        let text = "send to-owner, VIP public, to gw-2";
        first.extend([1, 0, text.len() as u8, 0]);
        padded(&mut first, text.as_bytes());
        first.extend([0; 4]);
        assert_eq!(blocks[2].1, first);
        assert_eq!(blocks[4].1[..4], [1, 0, 0, 0], "the second interface");
        assert_eq!(blocks[5].1[..4], [0; 4], "the first one again");
        let name = &blocks[3].1[8..];
        assert_eq!(name[..8], [2, 0, 4, 0, b'e', b't', b'h', b'1']);
    }
}
