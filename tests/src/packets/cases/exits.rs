//! Nodes that another interface leads to: from its hardware address, and without the tags of the link that a frame came by.

use gateway_common::node::EncapsulationCode;
use gateway_common::verdict::{Fate, Reason};

use super::super::build::{Mac, Packet, SYN, frame};
use super::super::world::{ELSEWHERE, MAC_EXIT, MAC_HERE, MAC_ROUTER, Situation, Version, node_mac};
use super::{Case, FRESH_PORT, Way, entropy, flow_of, from_node, sent, tcp};

/// A frame that leaves by the other interface.
fn leaving(packet: &Packet) -> Vec<u8> {
    let to: Mac = node_mac(ELSEWHERE.0);
    frame(to, MAC_EXIT, &[], packet.ether_type(), &packet.bytes())
}

pub fn cases(version: Version) -> Vec<Case> {
    let packet = tcp(version, FRESH_PORT, Situation::Elsewhere.port(), SYN);
    let flow = entropy(&flow_of(&packet));
    let mut cases = Vec::new();
    for (format, what) in [
        (EncapsulationCode::GUE, "in GUE"),
        (EncapsulationCode::IPIP, "in IP"),
        (EncapsulationCode::L2, "by hardware address"),
    ] {
        let after = match format {
            EncapsulationCode::L2 => leaving(&packet),
            _ => leaving(
                &Way::first(version, ELSEWHERE.0)
                    .in_format(format)
                    .wrap(&packet, flow),
            ),
        };
        for (tags, tagged) in [
            (&[][..], ""),
            (&[(0x8100, 0x2005)][..], ", without its tag"),
            (&[(0x88a8, 5), (0x8100, 6)][..], ", without its tags"),
        ] {
            let before = frame(MAC_HERE, MAC_ROUTER, tags, packet.ether_type(), &packet.bytes());
            let name = format!("by another interface {what}{tagged}");
            cases.push(
                Case::new(
                    version,
                    &name,
                    before,
                    Fate::Redirect,
                    Reason::ToOwner,
                    after.clone(),
                )
                .set(|settings| settings.encapsulation = format)
                .opens(&packet, ELSEWHERE.0),
            );
        }
    }
    // What a node sent here by the one interface goes on by the other.
    let inside = Packet {
        destination: version.host(101),
        ..tcp(version, FRESH_PORT, 80, SYN)
    };
    let relayed = Way {
        hops: 2,
        ttl: 63,
        ..Way::first(version, ELSEWHERE.0)
    };
    cases.push(
        Case::new(
            version,
            "a node's packet goes on by another interface",
            from_node(2, &sent(version, 2, &inside, 1)),
            Fate::Redirect,
            Reason::ToNodeThatKnows,
            leaving(&relayed.wrap(&inside, entropy(&flow_of(&inside)))),
        )
        .before(|before| before.table_of_all = Situation::Elsewhere)
        .hears(2),
    );
    cases
}
