//! What contradicts itself or ends too early, at the boundary of each header.

use gateway_common::verdict::Reason;

use super::super::build::{Packet, SYN, frame};
use super::super::world::{MAC_HERE, MAC_ROUTER, ME, Situation, Version};
use super::{Case, FRESH_PORT, from_client, tcp};

pub fn cases(version: Version) -> Vec<Case> {
    let mut cases = truncated(version);
    cases.extend(contradictions(version));
    cases
}

fn truncated(version: Version) -> Vec<Case> {
    let drop = |name: String, frame: Vec<u8>, reason| Case::dropped(version, &name, frame, reason);
    let tcp = tcp(version, FRESH_PORT, Situation::Mine.port(), SYN);
    let udp = Packet::udp(
        (version.client(), FRESH_PORT),
        (version.vip(), Situation::Mine.port()),
    );
    let header_bytes = version.outer_bytes();
    let whole = from_client(&tcp);
    let mut cases = Vec::new();
    let ends = [
        ("right behind Ethernet", 14),
        ("within the IP header", 14 + header_bytes - 1),
        ("right behind the IP header", 14 + header_bytes),
        ("a byte before its length", whole.len() - 1),
    ];
    for (name, bytes) in ends {
        let cut = whole.iter().take(bytes).copied().collect();
        cases.push(drop(format!("ends {name}"), cut, Reason::TruncatedNetwork));
    }
    let tagged = frame(
        MAC_HERE,
        MAC_ROUTER,
        &[(0x8100, 1), (0x8100, 2)],
        tcp.ether_type(),
        &tcp.bytes(),
    );
    for bytes in [14, 17, 18, 21] {
        let cut = tagged.iter().take(bytes).copied().collect();
        cases.push(drop(
            format!("ends within its VLAN tags, after {bytes} bytes"),
            cut,
            Reason::TruncatedLink,
        ));
    }
    for bytes in [0, 1, 13, 19] {
        let cut = from_client(&tcp.cut(bytes));
        cases.push(drop(
            format!("TCP header of {bytes} bytes"),
            cut,
            Reason::TruncatedTransport,
        ));
    }
    for bytes in [0, 7] {
        let cut = from_client(&udp.cut(bytes));
        cases.push(drop(
            format!("UDP header of {bytes} bytes"),
            cut,
            Reason::TruncatedTransport,
        ));
    }
    cases
}

fn contradictions(version: Version) -> Vec<Case> {
    let packet = tcp(version, FRESH_PORT, Situation::Mine.port(), SYN);
    let good = from_client(&packet);
    let changed = |name: &str, at: usize, value: u8, reason| {
        let mut frame = good.clone();
        if let Some(byte) = frame.get_mut(at) {
            *byte = value;
        }
        Case::dropped(version, name, frame, reason)
    };
    let header_bytes = version.outer_bytes();
    let mut cases = vec![
        changed(
            "TCP header shorter than it can be",
            14 + header_bytes + 12,
            0x40,
            Reason::BadTransport,
        ),
        changed(
            "TCP header longer than the packet",
            14 + header_bytes + 12,
            0xf0,
            Reason::BadTransport,
        ),
        changed(
            "version that is not its EtherType's",
            14,
            0x55,
            Reason::BadNetwork,
        ),
    ];
    let padded: Vec<u8> = good.iter().copied().chain([0; 6]).collect();
    cases.push(
        Case::passed(
            version,
            "padding behind the packet is not part of it",
            padded,
            Reason::ListenerHere,
        )
        .opens(&packet, ME.0),
    );
    if version == Version::V4 {
        cases.push(changed(
            "IPv4 header shorter than it can be",
            14,
            0x44,
            Reason::BadNetwork,
        ));
        cases.push(changed(
            "IPv4 packet shorter than its header",
            17,
            19,
            Reason::BadNetwork,
        ));
        cases.push(changed(
            "IPv4 options reach behind the packet",
            14,
            0x4f,
            Reason::BadNetwork,
        ));
    }
    cases
}
