//! A frame for a tuple: the shortest that the packet's way takes for what it is.

use std::net::{IpAddr, SocketAddr};

use gateway_common::headers::{ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, PROTOCOL_TCP, PROTOCOL_UDP};
use gateway_common::memory::MemoryFrame;

use crate::config::snapshot::Transport;
use crate::explain::packet::{Flags, Question};

/// Hardware addresses of this node, as nobody looks at them, and of the router: locally administered ones.
const TO_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const FROM_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// The frame. Checksums are zero: nothing on the way reads them.
pub(super) fn frame(question: &Question) -> MemoryFrame {
    let Question {
        from,
        to,
        protocol,
        flags,
    } = *question;
    let mut payload = Vec::new();
    payload.extend_from_slice(&from.port().to_be_bytes());
    payload.extend_from_slice(&to.port().to_be_bytes());
    let number = match protocol {
        Transport::Tcp => {
            let flags = match flags {
                Flags::Syn => SYN,
                Flags::Ack => ACK,
            };
            payload.extend_from_slice(&[0; 8]);
            // Five words of header.
            payload.extend_from_slice(&[5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
            PROTOCOL_TCP
        }
        Transport::Udp => {
            payload.extend_from_slice(&[0, 8, 0, 0]);
            PROTOCOL_UDP
        }
    };
    let mut bytes = [TO_MAC, FROM_MAC].concat();
    bytes.extend_from_slice(&packet(from, to, number, &payload));
    MemoryFrame::new(bytes)
}

/// EtherType, header and payload.
fn packet(from: SocketAddr, to: SocketAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u16;
    let mut bytes = Vec::new();
    match (from.ip().to_canonical(), to.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let [high, low] = (20 + length).to_be_bytes();
            bytes.extend_from_slice(&ETHER_TYPE_IPV4.to_be_bytes());
            bytes.extend_from_slice(&[0x45, 0, high, low, 0, 1, 0x40, 0, 64, protocol, 0, 0]);
            bytes.extend_from_slice(&from.octets());
            bytes.extend_from_slice(&to.octets());
        }
        (from, to) => {
            let v6 = |ip: IpAddr| match ip {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            let [high, low] = length.to_be_bytes();
            bytes.extend_from_slice(&ETHER_TYPE_IPV6.to_be_bytes());
            bytes.extend_from_slice(&[0x60, 0, 0, 0, high, low, protocol, 64]);
            bytes.extend_from_slice(&v6(from).octets());
            bytes.extend_from_slice(&v6(to).octets());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}
