//! Frames of the benchmark: 64 bytes of Ethernet or what the headers need, as small as packets are that cost most.

use std::net::IpAddr;

use gateway_common::checksum;
use gateway_common::gue::{self, Gue};
use gateway_common::node::NodeId;
use gateway_common::parse::Family;

use super::world;

/// Flags of TCP.
pub const SYN: u8 = 2;
/// The same.
pub const RST: u8 = 4;
/// The same.
pub const ACK: u8 = 16;

/// Where the client's last four bytes stand in a frame that comes from a client.
pub const fn client_at(family: Family) -> u32 {
    match family {
        Family::V4 => 26,
        Family::V6 => 34,
    }
}

/// An address of the client; the benchmark changes its last three bytes.
pub fn client(family: Family) -> IpAddr {
    let text = if family == Family::V4 {
        "10.0.0.0"
    } else {
        "2001:db8:7::a00:0"
    };
    text.parse()
        .unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
}

/// A TCP header.
pub fn tcp(port: u16, flags: u8) -> Vec<u8> {
    let mut bytes = vec![0; 20];
    bytes[..2].copy_from_slice(&40_000_u16.to_be_bytes());
    bytes[2..4].copy_from_slice(&port.to_be_bytes());
    bytes[12..14].copy_from_slice(&[0x50, flags]);
    bytes
}

/// A UDP datagram.
pub fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = from.to_be_bytes().to_vec();
    bytes.extend(to.to_be_bytes());
    bytes.extend((8 + payload.len() as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    bytes
}

/// An IP packet.
pub fn ip(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let [high, low] = (20 + payload.len() as u16).to_be_bytes();
            let mut bytes = vec![0x45, 0, high, low, 0, 1, 0x40, 0, 64, protocol, 0, 0];
            bytes.extend([from.octets(), to.octets()].concat());
            let words: Vec<u32> = bytes
                .chunks(4)
                .map(|four| u32::from_ne_bytes([four[0], four[1], four[2], four[3]]))
                .collect();
            let sum = checksum::ipv4_header(&std::array::from_fn(|index| words[index]));
            bytes[10..12].copy_from_slice(&sum.to_ne_bytes());
            bytes
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let [high, low] = (payload.len() as u16).to_be_bytes();
            let mut bytes = vec![0x60, 0, 0, 1, high, low, protocol, 64];
            bytes.extend([from.octets(), to.octets()].concat());
            bytes
        }
        _ => Vec::new(),
    };
    bytes.extend(payload);
    bytes
}

/// A frame from the router to this node.
pub fn frame(packet: &[u8]) -> Vec<u8> {
    let ether_type: [u8; 2] = if packet.first().is_some_and(|first| first >> 4 == 4) {
        [8, 0]
    } else {
        [0x86, 0xdd]
    };
    [&world::mac(1)[..], &world::mac(99), &ether_type, packet].concat()
}

/// A frame with a VLAN tag.
pub fn tagged(packet: &[u8]) -> Vec<u8> {
    let plain = frame(packet);
    [&plain[..12], &[0x81, 0, 0, 7], &plain[12..]].concat()
}

/// What node 2 sends: the packet in GUE.
pub fn in_gue(family: Family, packet: &[u8]) -> Vec<u8> {
    let protocol = if family == Family::V4 { 4 } else { 41 };
    let cookie = gue::cookie(world::settings(Default::default()).hash_key, NodeId(2));
    let header = Gue::new(protocol, 1, cookie);
    let payload = [&header.bytes()[..], packet].concat();
    let datagram = udp(50_000, gue::PORT, &payload);
    let outer = ip(world::node(family, 2), world::node(family, 1), 17, &datagram);
    let mut frame = frame(&outer);
    frame[6..12].copy_from_slice(&world::mac(2));
    frame
}
