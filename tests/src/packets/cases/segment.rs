//! `l2`: the first hop by hardware address alone, all others by GUE.

use gateway_common::node::EncapsulationCode;
use gateway_common::verdict::{Fate, Reason};

use super::super::build::{ACK, Packet, Piece, SYN, frame};
use super::super::world::{CONNECTED_PORT, MAC_HERE, ME, Situation, Version, node_mac};
use super::{
    Case, FRESH_PORT, Interface, Way, entropy, entry, flow_of, from_client, from_node, sent, tcp, to_node,
    udp,
};

pub fn cases(version: Version) -> Vec<Case> {
    let mut cases = first_hop(version);
    cases.extend(arrivals(version));
    cases
        .into_iter()
        .map(|case| case.set(|settings| settings.encapsulation = EncapsulationCode::L2))
        .collect()
}

fn first_hop(version: Version) -> Vec<Case> {
    let to = |name: &str, packet: &Packet, node, reason| {
        Case::new(
            version,
            name,
            from_client(packet),
            Fate::Transmit,
            reason,
            to_node(node, packet),
        )
    };
    let syn = tcp(version, FRESH_PORT, Situation::Second.port(), SYN);
    let ack = tcp(version, FRESH_PORT, Situation::Second.port(), ACK);
    let datagram = udp(version, FRESH_PORT, Situation::Second.port());
    let unresolved = tcp(version, FRESH_PORT, Situation::Unresolved.port(), SYN);
    let only_other = if version == Version::V4 {
        Situation::OnlyV6
    } else {
        Situation::OnlyV4
    };
    let other = tcp(version, FRESH_PORT, only_other.port(), SYN);
    let other_node = if version == Version::V4 { 6 } else { 5 };
    let last = datagram.piece(Piece::Last, 7);
    vec![
        to("l2: SYN of another node", &syn, 2, Reason::ToOwner).opens(&syn, 2),
        to("l2: remembered flow", &ack, 3, Reason::ToFlowOwner).knowing(
            flow_of(&ack),
            entry(3, gateway_common::flow::FlowPhase::OPEN),
            0,
        ),
        to("l2: datagram", &datagram, 2, Reason::ToOwner).notes(&datagram, 2),
        to("l2: last fragment", &last, 2, Reason::ToOwner),
        to(
            "l2: hops left do not fall",
            &Packet {
                ttl: 1,
                ..ack.clone()
            },
            2,
            Reason::ToOwner,
        ),
        to(
            "l2: node without an address of the family",
            &other,
            other_node,
            Reason::ToOwner,
        )
        .opens(&other, other_node),
        Case::dropped(
            version,
            "l2: owner without a known hardware address",
            from_client(&unresolved),
            Reason::UnresolvedNextHop,
        )
        .opens(&unresolved, 4),
    ]
}

fn arrivals(version: Version) -> Vec<Case> {
    let by_mac =
        |id: u16, packet: &Packet| frame(MAC_HERE, node_mac(id), &[], packet.ether_type(), &packet.bytes());
    let pass =
        |name: &str, packet: &Packet, reason| Case::passed(version, name, by_mac(2, packet), reason).hears(2);
    let mine = Situation::Mine.port();
    let on = |name: &str, id: u16, packet: &Packet, to, reason| {
        let way = Way {
            hops: 2,
            ttl: 63,
            ..Way::first(version, to)
        };
        let bytes = to_node(to, &way.wrap(packet, entropy(&flow_of(packet))));
        Case::new(version, name, by_mac(id, packet), Fate::Transmit, reason, bytes).hears(id)
    };
    let syn = tcp(version, FRESH_PORT, mine, SYN);
    let known = tcp(version, CONNECTED_PORT, Situation::Second.port(), ACK);
    let unknown = tcp(version, FRESH_PORT, mine, ACK);
    let second = tcp(version, FRESH_PORT, Situation::Second.port(), ACK);
    let closed = tcp(version, FRESH_PORT, Situation::MineThird.port() + 100, SYN);
    let always = tcp(version, FRESH_PORT, Situation::MineAlways.port(), ACK);
    let elsewhere = Packet {
        destination: version.host(101),
        ..syn.clone()
    };
    let (request, reply) = super::echo::pair(version, [0; 4], b"by mac");
    let reply_bytes = frame(node_mac(2), MAC_HERE, &[], reply.ether_type(), &reply.bytes());
    let gue = sent(version, 2, &syn, 1);
    vec![
        pass(
            "l2: node sent a SYN for a listener",
            &syn,
            Reason::ListenerFromNode,
        ),
        pass(
            "l2: node sent a packet of a connection here, whoever owns the slot",
            &known,
            Reason::SocketFromNode,
        ),
        pass(
            "l2: node sent a datagram",
            &udp(version, FRESH_PORT, mine),
            Reason::DatagramFromNode,
        ),
        pass(
            "l2: node sent a packet that nobody may know",
            &always,
            Reason::NoCandidateFromNode,
        ),
        on(
            "l2: node sent an unknown packet, which goes on in GUE",
            3,
            &unknown,
            2,
            Reason::ToPreviousOwner,
        ),
        on(
            "l2: never twice by hardware address, not even to the owner",
            3,
            &second,
            2,
            Reason::ToOtherOwner,
        ),
        on(
            "l2: node sent a SYN without a listener here",
            2,
            &closed,
            3,
            Reason::ToSuccessor,
        ),
        on(
            "l2: flow table is not asked about what a node sent",
            3,
            &second,
            2,
            Reason::ToOtherOwner,
        )
        .knowing(
            flow_of(&second),
            entry(3, gateway_common::flow::FlowPhase::OPEN),
            0,
        ),
        Case::passed(
            version,
            "l2: node sent what is for no VIP",
            by_mac(2, &elsewhere),
            Reason::NotAVip,
        ),
        Case::new(
            version,
            "l2: node sent an echo request of its own",
            by_mac(2, &request),
            Fate::Transmit,
            Reason::EchoAnswered,
            reply_bytes,
        ),
        Case::passed(
            version,
            "l2: node's hardware address on another interface is a client's",
            by_mac(2, &syn),
            Reason::ListenerHere,
        )
        .before(|before| before.interface = Interface::Foreign)
        .opens(&syn, ME.0),
        Case::passed(
            version,
            "l2: this node's own hardware address is a client's",
            by_mac(ME.0, &syn),
            Reason::ListenerHere,
        )
        .opens(&syn, ME.0),
        Case::taken(
            version,
            "l2: node sent GUE",
            &gue,
            2,
            &syn,
            Reason::ListenerFromNode,
        ),
        Case::dropped(
            version,
            "l2: GUE needs its cookie all the same",
            from_node(2, &syn.in_gue([version.node(2), version.node(1)], 50_001, 1, 5)),
            Reason::BadCookie,
        ),
    ]
}
