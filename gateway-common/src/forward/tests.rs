//! Frames that nobody would send: `decide` and `apply` take whatever comes.

use core::net::IpAddr;

use super::{Notes, TABLE_OF_ALL, apply, decide};
use crate::encap::HOPS_MAX;
use crate::gue::Gue;
use crate::headers::{Udp, mac_words};
use crate::maglev::Slot;
use crate::memory::{MemoryFrame, MemoryTables};
use crate::node::{EncapsulationCode, NodeEntry, NodeId, Settings};
use crate::tables::Socket;
use crate::verdict::{Fate, Reason};
use crate::vip::{Address, TableId, VipEntry, VipFlags, VipId, VipKey};
use crate::{abi, flow::FlowKey, frame::Frame};

/// Frames that are tried.
const FRAMES: usize = 200_000;

/// Different reasons that they must come to: fewer would mean that mutation leaves nothing but noise.
const REASONS_MIN: usize = 20;

/// Numbers that are the same each time: splitmix64 (Steele, Lea and Flood, OOPSLA 2014).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ (word >> 31)) % end as u64) as usize
    }
}

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

/// Node 1 of 3: owns nothing, previously owned by 3, with a listener on one of two ports.
fn tables(encapsulation: EncapsulationCode) -> MemoryTables {
    let mut tables = MemoryTables {
        settings: Some(Settings {
            address: address("10.0.0.1"),
            address_v6: address("fd00::1"),
            node: NodeId(1),
            cookie: 1,
            udp_idle_ns: 30_000_000_000,
            encapsulation,
            heartbeat_port: 7_946_u16.to_be(),
            ..Settings::default()
        }),
        ..MemoryTables::default()
    };
    tables.now_ns.set(1 << 40);
    for node in 1..=3 {
        let id = NodeId(node);
        let mac = mac_words([2, 0, 0, 0, 0, node as u8]);
        let entry = NodeEntry {
            address: address(&format!("10.0.0.{node}")),
            address_v6: address(&format!("fd00::{node}")),
            cookie: u64::from(node),
            mac,
            mac_v6: mac,
            mtu: 1_280,
            ..NodeEntry::default()
        };
        tables.node_addresses.insert(entry.address, id);
        tables.node_addresses.insert(entry.address_v6, id);
        tables.node_macs.insert(abi::mac_key(mac), id);
        tables.nodes.insert(id, entry);
    }
    let slot = Slot::new(NodeId(2), [NodeId(3), NodeId(0)], NodeId(0));
    for table in [TABLE_OF_ALL, TableId(1)] {
        tables.slots.insert(table, MemoryTables::uniform(slot));
    }
    for vip in ["192.0.2.1", "2001:db8::1"].map(address) {
        for (port, protocol) in [(0_u16, 0), (80, 6), (443, 17)] {
            let entry = VipEntry {
                id: VipId(1),
                flags: VipFlags::QUIC,
                table: TableId(1),
                ..VipEntry::default()
            };
            tables
                .vips
                .insert(VipKey::new(vip, port.to_be(), protocol), entry);
        }
        let listener = FlowKey {
            destination: vip,
            ports: [0, 80_u16.to_be()],
            protocol: 6,
            ..FlowKey::default()
        };
        tables.sockets.insert(listener, Socket::Listener);
    }
    tables
}

/// A packet of either version from a client, for a VIP.
fn packet(version: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let [client, vip] = match version {
        4 => ["198.51.100.7", "192.0.2.1"],
        _ => ["2001:db8:7::7", "2001:db8::1"],
    };
    between(client, vip, protocol, payload)
}

fn between(from: &str, to: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = match (from.parse().unwrap(), to.parse().unwrap()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let [high, low] = (20 + payload.len() as u16).to_be_bytes();
            let mut bytes = vec![0x45, 0, high, low, 0, 1, 0x40, 0, 64, protocol, 0, 0];
            bytes.extend([from.octets(), to.octets()].concat());
            bytes
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let [high, low] = (payload.len() as u16).to_be_bytes();
            let mut bytes = vec![0x60, 0, 0, 1, high, low, protocol, 64];
            bytes.extend([from.octets(), to.octets()].concat());
            bytes
        }
        _ => panic!("addresses of two families"),
    };
    bytes.extend(payload);
    bytes
}

/// What other nodes send: `inner` in GUE.
fn from_node(from: &str, to: &str, hops: u16, inner: &[u8]) -> Vec<u8> {
    let inside = if inner[0] >> 4 == 4 { 4 } else { 41 };
    let mut gue = MemoryFrame::new(vec![0; 24]);
    let ports = [50_000_u16.to_be(), crate::gue::PORT.to_be()];
    gue.write(0, Udp::new(ports, 16 + inner.len())).unwrap();
    gue.write(8, Gue::new(inside, hops, 2)).unwrap();
    between(from, to, 17, &[&gue.bytes, inner].concat())
}

/// Frames from which all others are made.
fn originals() -> Vec<Vec<u8>> {
    let tcp = |flags: u8| {
        let mut bytes = vec![0; 20];
        bytes[..4].copy_from_slice(&[0x9c, 0x40, 0, 80]);
        bytes[12..14].copy_from_slice(&[0x50, flags]);
        bytes
    };
    let udp = [
        &[0x9c, 0x40, 1, 0xbb, 0, 16, 0, 0, 0x40, 0][..],
        &[0, 3, 0, 0, 0, 0],
    ]
    .concat();
    let long = [tcp(0x10), vec![7; 1_400]].concat();
    let quoted = between("192.0.2.1", "198.51.100.7", 6, &[0, 80, 0x9c, 0x40, 0, 0, 0, 1]);
    let error = [&[3, 4, 0, 0, 0, 0, 5, 0][..], &quoted].concat();
    let extensions = [
        &[60, 0, 1, 4, 0, 0, 0, 0][..],
        &[44, 0, 1, 4, 0, 0, 0, 0],
        &[6, 0, 0, 1, 0, 0, 0, 1],
        &tcp(2),
    ]
    .concat();
    let ack = packet(4, 6, &tcp(0x10));
    let packets = [
        packet(4, 6, &tcp(2)),
        packet(6, 6, &tcp(2)),
        ack.clone(),
        packet(4, 17, &udp),
        packet(6, 17, &udp),
        packet(4, 6, &long),
        packet(6, 6, &long),
        packet(4, 1, &[8, 0, 0, 0, 0, 1, 0, 1]),
        packet(6, 58, &[128, 0, 0, 0, 0, 1, 0, 1]),
        packet(4, 1, &error),
        packet(6, 0, &extensions),
        from_node("10.0.0.2", "10.0.0.1", 1, &ack),
        from_node("fd00::2", "fd00::1", HOPS_MAX, &packet(6, 6, &tcp(0x10))),
        from_node("fd00::2", "fd00::1", 1, &packet(4, 17, &udp)),
        between("10.0.0.2", "10.0.0.1", 4, &ack),
        between("10.0.0.2", "10.0.0.1", 17, &[31, 10, 31, 10, 0, 8, 0, 0]),
    ];
    let mut frames = Vec::new();
    for packet in packets {
        let ether_type: &[u8] = if packet[0] >> 4 == 4 {
            &[8, 0]
        } else {
            &[0x86, 0xdd]
        };
        for tags in [&[][..], &[0x81, 0, 0, 1], &[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2]] {
            let macs = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
            frames.push([&macs[..], tags, ether_type, &packet].concat());
        }
    }
    frames
}

/// Changes a frame in one to four places: bytes, single bits, its end, a piece that is cut out or doubled.
fn mutate(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    for _ in 0..=numbers.below(4) {
        if bytes.is_empty() {
            return;
        }
        // Headers lie in front.
        let front = bytes.len().min(96);
        let at = numbers.below(front);
        match numbers.below(8) {
            0 => bytes.truncate(at),
            1 => bytes.extend_from_within(at..),
            2 => drop(bytes.drain(at..(at + 1 + numbers.below(24)).min(bytes.len()))),
            3 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][numbers.below(5)],
            4 => bytes[at] = numbers.below(256) as u8,
            _ => bytes[at] ^= 1 << numbers.below(8),
        }
    }
}

#[test]
fn mutated_frames_neither_panic_nor_change_unless_they_are_sent() {
    let mut numbers = Numbers(4);
    let originals = originals();
    let nodes = [
        EncapsulationCode::GUE,
        EncapsulationCode::IPIP,
        EncapsulationCode::L2,
    ]
    .map(tables);
    let mut reasons = std::collections::HashSet::new();
    // As in the kernel, what was noted of one frame is still there for the next.
    let mut notes = Notes::default();
    for index in 0..FRAMES {
        let mut bytes = originals[numbers.below(originals.len())].clone();
        mutate(&mut bytes, &mut numbers);
        let node = &nodes[numbers.below(nodes.len())];
        node.now_ns.set(node.now_ns.get() + 1_000_000);
        let mut frame = MemoryFrame::new(bytes);
        let before = frame.clone();
        let mut verdict = decide(&frame, node, &mut notes);
        let decided = verdict.reason;
        let fate = apply(&mut frame, &mut verdict, &notes);
        let name = verdict.reason.name();
        assert_eq!(fate, verdict.reason.fate(), "frame {index}: {name}");
        match (fate, verdict.reason) {
            (_, Reason::NoHeadroom) => {}
            (Fate::Drop, _) => assert_eq!(frame, before, "frame {index}: {name}"),
            (Fate::Pass, _) => assert!(before.bytes.len() >= frame.bytes.len(), "frame {index}: {name}"),
            (Fate::Transmit | Fate::Redirect, _) => assert_ne!(frame, before, "frame {index}: {name}"),
        }
        reasons.insert(decided);
    }
    assert!(
        reasons.len() >= REASONS_MIN,
        "{} reasons: {reasons:?}",
        reasons.len()
    );
}
