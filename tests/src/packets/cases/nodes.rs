//! What other nodes send: whom to believe, how often a packet may go on, and to whom.

use gateway_common::verdict::{Fate, Reason};

use super::super::build::{ACK, Packet, SYN, frame};
use super::super::world::{CONNECTED_PORT, MAC_HERE, ME, Situation, Version, node_mac};
use super::{Case, FRESH_PORT, Twist, flow_to, from_client, from_node, tcp, to_node};

pub fn cases(version: Version) -> Vec<Case> {
    let mut cases = trust(version);
    cases.extend(arrivals(version));
    cases.extend(onward(version));
    cases
}

/// The packet as node `id` sends it here.
fn sent(version: Version, id: u16, packet: &Packet, mark: u16) -> Packet {
    packet.within(version.node(id), version.node(ME.0), mark, 64)
}

fn trust(version: Version) -> Vec<Case> {
    let packet = tcp(version, FRESH_PORT, Situation::Mine.port(), SYN);
    let good = sent(version, 2, &packet, 1);
    let drop = |name: &str, frame: Vec<u8>, reason| Case::dropped(version, name, frame, reason);
    let from = |source| packet.within(source, version.node(ME.0), 1, 64);
    let other_family = Packet {
        protocol: if version == Version::V4 { 41 } else { 4 },
        ..good.clone()
    };
    let elsewhere = packet.within(version.node(2), version.host(50), 1, 64);
    let no_vip = Packet::tcp((version.client(), FRESH_PORT), (version.host(101), 80), SYN);
    let icmp = Packet::new(version.client(), version.vip(), 1, vec![8, 0, 0, 0, 0, 0, 0, 0]);
    let mut cases = vec![
        drop(
            "from an address that is no node's",
            from_node(2, &from(version.client())),
            Reason::UnknownNode,
        ),
        drop(
            "a node's address with another hardware address",
            from_client(&good),
            Reason::WrongMac,
        ),
        drop(
            "a node's address with another node's hardware address",
            from_node(3, &good),
            Reason::WrongMac,
        ),
        drop(
            "from a node whose hardware address is not known",
            from_node(4, &sent(version, 4, &packet, 1)),
            Reason::WrongMac,
        ),
        drop(
            "by an interface that nodes are not reached by",
            from_node(2, &good),
            Reason::ForeignInterface,
        )
        .twisted(Twist::ForeignInterface),
        drop(
            "of the other family",
            from_node(2, &other_family),
            Reason::UnexpectedEncapsulation,
        ),
        drop(
            "without a hop",
            from_node(2, &sent(version, 2, &packet, 0)),
            Reason::BadHops,
        ),
        drop(
            "with three hops",
            from_node(2, &sent(version, 2, &packet, 3)),
            Reason::BadHops,
        ),
        drop(
            "what is inside is for no VIP",
            from_node(2, &sent(version, 2, &no_vip, 1)),
            Reason::UnknownVipInside,
        ),
        drop(
            "what is inside is neither TCP nor UDP",
            from_node(2, &sent(version, 2, &icmp, 1)),
            Reason::UnknownVipInside,
        ),
        Case::passed(
            version,
            "encapsulated for somebody else",
            from_client(&elsewhere),
            Reason::NotAVip,
        ),
    ];
    let mut longer = from_node(2, &good);
    let inner_length_at = 14 + version.outer_bytes() + if version == Version::V4 { 3 } else { 5 };
    if let Some(byte) = longer.get_mut(inner_length_at) {
        *byte += 1;
    }
    longer.push(0);
    cases.push(drop(
        "what is inside claims to be longer than the outside",
        longer,
        Reason::TruncatedNetwork,
    ));
    if version == Version::V4 {
        let with_options = Packet {
            options: vec![1, 1, 1, 1],
            ..good.clone()
        };
        cases.push(drop(
            "outer header with options",
            from_node(2, &with_options),
            Reason::UnexpectedEncapsulation,
        ));
        let fragment = Packet {
            fragment: 0x2000,
            ..good
        };
        cases.push(drop(
            "outer packet is a fragment",
            from_node(2, &fragment),
            Reason::UnexpectedEncapsulation,
        ));
    }
    cases
}

/// What stays here.
fn arrivals(version: Version) -> Vec<Case> {
    let accept = |name: &str, packet: &Packet, mark, reason| {
        let frame_in = from_node(2, &sent(version, 2, packet, mark));
        let frame_out = frame(MAC_HERE, node_mac(2), &[], packet.ether_type(), &packet.bytes());
        Case::new(version, name, frame_in, Fate::Pass, reason, frame_out)
    };
    let mine = Situation::Mine.port();
    let syn = tcp(version, FRESH_PORT, mine, SYN);
    let known = tcp(version, CONNECTED_PORT, Situation::Second.port(), ACK);
    let unknown = tcp(version, FRESH_PORT, Situation::MineAlways.port(), ACK);
    let datagram = Packet::udp((version.client(), FRESH_PORT), (version.vip(), mine));
    let tags = [(0x8100, 9)];
    let outer = sent(version, 2, &syn, 1);
    vec![
        accept("SYN for a listener is taken", &syn, 1, Reason::ListenerFromNode)
            .then_remembers(flow_to(version, FRESH_PORT, Situation::Mine), None),
        accept(
            "SYN for a listener is taken at the last hop",
            &syn,
            2,
            Reason::ListenerFromNode,
        ),
        accept(
            "packet of a connection here is taken, whoever owns the slot",
            &known,
            1,
            Reason::SocketFromNode,
        ),
        accept(
            "packet of a connection here is taken at the last hop",
            &known,
            2,
            Reason::SocketFromNode,
        ),
        accept("datagram is taken", &datagram, 1, Reason::DatagramFromNode),
        accept(
            "unknown packet at the last hop is reset by the stack",
            &tcp(version, FRESH_PORT, mine, ACK),
            2,
            Reason::NoHopLeft,
        ),
        accept(
            "unknown packet without previous owner is reset by the stack",
            &unknown,
            1,
            Reason::NoCandidateFromNode,
        ),
        Case::new(
            version,
            "VLAN tag stays when the outer header goes",
            frame(MAC_HERE, node_mac(2), &tags, outer.ether_type(), &outer.bytes()),
            Fate::Pass,
            Reason::ListenerFromNode,
            frame(MAC_HERE, node_mac(2), &tags, syn.ether_type(), &syn.bytes()),
        ),
    ]
}

/// What goes on to another node.
fn onward(version: Version) -> Vec<Case> {
    let on = |name: &str, sender: u16, port: u16, flags, node: u16, reason| {
        let packet = tcp(version, FRESH_PORT, port, flags);
        // The sender's mark carries more than the hop count for IPv6, and all of it stays.
        let mark = if version == Version::V6 {
            0x1234 << 2 | 1
        } else {
            1
        };
        let outer = packet.within(version.node(ME.0), version.node(node), mark + 1, 63);
        let frame_in = from_node(sender, &sent(version, sender, &packet, mark));
        Case::new(
            version,
            name,
            frame_in,
            Fate::Transmit,
            reason,
            to_node(node, &outer),
        )
    };
    let last_ttl = {
        let packet = tcp(version, FRESH_PORT, Situation::Mine.port(), ACK);
        let outer = packet.within(version.node(2), version.node(ME.0), 1, 1);
        Case::dropped(
            version,
            "no time to live left to go on",
            from_node(2, &outer),
            Reason::TtlExpired,
        )
    };
    let no_listener = Situation::MineThird.port() + 100;
    vec![
        on(
            "owner does not know it: to the previous owner",
            3,
            Situation::Mine.port(),
            ACK,
            2,
            Reason::ToPreviousOwner,
        ),
        on(
            "even if that is the sender: directors do not look",
            2,
            Situation::Mine.port(),
            ACK,
            2,
            Reason::ToPreviousOwner,
        ),
        on(
            "sender's tables are older: to the owner",
            3,
            Situation::Second.port(),
            ACK,
            2,
            Reason::ToOtherOwner,
        ),
        on(
            "owner looked before it sent: to the next previous owner",
            3,
            Situation::ThirdSecondMine.port(),
            ACK,
            2,
            Reason::ToPreviousOwner,
        ),
        on(
            "SYN without a listener here: to the successor",
            2,
            no_listener,
            SYN,
            3,
            Reason::ToSuccessor,
        ),
        on(
            "SYN without a listener and not the owner: to the owner",
            3,
            Situation::Second.port() + 100,
            SYN,
            2,
            Reason::ToOtherOwner,
        ),
        on(
            "owner sent it, and this node held the slot after another: to that other",
            2,
            Situation::SecondMineThird.port(),
            ACK,
            3,
            Reason::ToPreviousOwner,
        ),
        on(
            "SYN without a listener here goes to the successor, even if that sent it",
            3,
            no_listener,
            SYN,
            3,
            Reason::ToSuccessor,
        ),
        last_ttl,
    ]
}
