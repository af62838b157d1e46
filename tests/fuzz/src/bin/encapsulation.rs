//! A client's packet from node to node, in every format: the stack that gets it gets the client's bytes.
//!
//! An input's first byte says how nodes encapsulate, then which addresses they have, how often the packet is sent on,
//! tags, bytes behind the packet; two are the length of what the packet carries beyond the input's own, the rest is the
//! packet (`packets::client_packet`).

#![no_main]

use gateway_common::encap::HOPS_MAX;
use gateway_common::forward::Notes;
use gateway_common::node::EncapsulationCode;
use gateway_common::verdict::Reason;
use gateway_fuzz::steering::packets;
use gateway_fuzz::steering::script::Script;
use gateway_fuzz::steering::step::{Outcome, step};
use gateway_fuzz::steering::world::{Common, NODES, Own, ROUTER_MAC, World, mac};
use libfuzzer_sys::fuzz_target;

/// Longest packet that an outer header of either family can say the length of.
const PACKET_BYTES_MAX: usize = 65_535;

/// Bytes that nodes put around a packet, at most.
const OVERHEAD_BYTES_MAX: usize = 64;

/// Headroom that a driver gives.
const HEADROOM: usize = 256;

fuzz_target!(|input: &[u8]| {
    let mut script = Script::new(input);
    let encapsulation = script.one_of([
        EncapsulationCode::GUE,
        EncapsulationCode::IPIP,
        EncapsulationCode::L2,
    ]);
    let lacks = script.one_of([0, 1, 2]);
    let sent_on = script.byte() % HOPS_MAX as u8;
    let tags = [0x0064, 0x2065];
    let tags = &tags[..usize::from(script.byte() % 3)];
    let padding = usize::from(script.byte() % 16);
    let more = usize::from(script.word());
    let (version, mut packet) = packets::client_packet(&mut script);
    let longer = (packet.len() + more).min(PACKET_BYTES_MAX);
    packet.resize(longer, 0x5a);
    packets::set_length(&mut packet);

    let common = Common {
        encapsulation,
        lacks: [lacks; NODES as usize],
        mtu: 0,
        // Short headers of QUIC would name nodes, and skip some.
        odd: 1 << 4,
    };
    // Each node sends it to the next but for the last, which has a socket for whatever comes.
    let own = std::array::from_fn(|index| {
        let last = usize::from(sent_on) + 1;
        let next = (index.min(last - 1) + 2) as u16;
        Own {
            slots: [[next, 0, 0, 0]; 4],
            sockets: if index == last { 0b1111 } else { 0 },
            ..Own::default()
        }
    });
    let world = World::new(common, own);
    let mut original = packets::link(mac(1), ROUTER_MAC, tags, packets::TYPES[version]);
    original.extend(&packet);
    original.resize(original.len() + padding, 0x77);
    let mut frame = original.clone();
    let mut node = 1;
    let mut notes = Notes::default();
    loop {
        match step(&world, node, &frame, HEADROOM, &mut notes) {
            Outcome::Sent(to, bytes) => {
                assert_eq!(to, node + 1, "each node sends to the next");
                let ends_alike = bytes.ends_with(&original[original.len() - padding - packet.len()..]);
                assert!(ends_alike, "what is inside is what the client sent");
                (node, frame) = (to, bytes);
            }
            Outcome::Stack(bytes) => {
                assert_eq!(bytes[12..], original[12..], "the stack gets what the client sent");
                return;
            }
            Outcome::Answered(_) => return assert_eq!(node, 1, "only a director answers"),
            Outcome::Dropped(Reason::TooBigUnanswered) => {
                assert!(
                    packet.len() + OVERHEAD_BYTES_MAX > PACKET_BYTES_MAX,
                    "it does fit"
                );
                return;
            }
            Outcome::Dropped(
                Reason::TruncatedTransport
                | Reason::BadTransport
                | Reason::TooManyExtensions
                | Reason::TruncatedNetwork,
            ) => return assert_eq!(node, 1, "only a director finds fault with it"),
            Outcome::Dropped(reason) => panic!("node {node} drops it: {}", reason.name()),
        }
    }
});
