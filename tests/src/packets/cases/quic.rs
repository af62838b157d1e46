//! QUIC: the node that a short header's connection id names.

use gateway_common::flow::FlowPhase;
use gateway_common::node::NodeId;
use gateway_common::quic::connection_id;
use gateway_common::verdict::Reason;

use super::super::build::Packet;
use super::super::world::{ME, QUIC_PORT, Situation, Version};
use super::{Case, FRESH_PORT, entry, flow_of, from_client, sent};

pub fn cases(version: Version) -> Vec<Case> {
    let to =
        |port, data: &[u8]| Packet::datagram((version.client(), FRESH_PORT), (version.vip(), port), data);
    let header = |first: u8, node: u16| {
        let mut data = vec![first];
        data.extend(connection_id(NodeId(node), [0x2b; 8]));
        data.extend([0; 16]);
        data
    };
    let other_scheme = {
        let mut data = header(0x40, 3);
        data.iter_mut().skip(1).take(1).for_each(|byte| *byte |= 0xc0);
        data
    };
    let named = to(QUIC_PORT, &header(0x40, 3));
    let key = flow_of(&named);
    let here = to(QUIC_PORT, &header(0x40, ME.0));
    let mut cases = vec![
        Case::steered(
            version,
            "QUIC: short header names another node",
            &named,
            3,
            Reason::ToNamedNode,
        ),
        Case::steered(
            version,
            "QUIC: connection id beats the flow table",
            &named,
            3,
            Reason::ToNamedNode,
        )
        .knowing(key, entry(2, FlowPhase::OPEN), 0),
        Case::passed(
            version,
            "QUIC: short header names this node",
            from_client(&here),
            Reason::DatagramHere,
        ),
        Case::taken(
            version,
            "QUIC: a datagram that a node sent is taken, whomever it names",
            &sent(version, 2, &named, 1),
            2,
            &named,
            Reason::DatagramFromNode,
        ),
    ];
    let not_named = [
        (
            "short header names a node that is no member",
            to(QUIC_PORT, &header(0x40, 9)),
        ),
        ("short header names nobody", to(QUIC_PORT, &header(0x40, 0))),
        ("long header", to(QUIC_PORT, &header(0xc0, 3))),
        ("no fixed bit", to(QUIC_PORT, &header(0x00, 3))),
        ("another scheme of ids", to(QUIC_PORT, &other_scheme)),
        ("too short for an id", to(QUIC_PORT, &[0x40, 1, 2, 3, 4])),
        ("empty", to(QUIC_PORT, &[])),
        (
            "VIP whose datagrams are not QUIC",
            to(Situation::Second.port(), &header(0x40, 3)),
        ),
    ];
    for (name, packet) in not_named {
        let name = format!("QUIC: {name}: by slot");
        cases.push(Case::steered(version, &name, &packet, 2, Reason::ToOwner).notes(&packet, 2));
    }
    cases
}
