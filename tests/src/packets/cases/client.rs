//! What comes from the client's side: VIPs, the flow table, owners, sockets, successors.

use gateway_common::flow::{FINISHED_NS, FlowPhase, RESET_NS};
use gateway_common::verdict::{Fate, Reason};

use super::super::build::{ACK, FIN, Packet, RST, SYN, frame};
use super::super::world::{CONNECTED_PORT, MAC_HERE, MAC_ROUTER, ME, Situation, Version, node_mac};
use super::{Case, FRESH_PORT, Twist, first_mark, flow_to, from_client, steered, tcp};

const SECOND_NS: u64 = 1_000_000_000;

pub fn cases(version: Version) -> Vec<Case> {
    let mut cases = vips(version);
    cases.extend(slots(version));
    cases.extend(flows(version));
    cases.extend(tags(version));
    cases
}

/// What is, and what is not, for a VIP.
fn vips(version: Version) -> Vec<Case> {
    let pass = |name: &str, packet: &Packet, reason| Case::passed(version, name, from_client(packet), reason);
    let elsewhere = Packet::tcp((version.client(), FRESH_PORT), (version.host(101), 8000), SYN);
    let other_port = tcp(version, FRESH_PORT, 9_999, SYN);
    let icmp = Packet::new(version.client(), version.vip(), 1, vec![8, 0, 0, 0, 0, 0, 0, 0]);
    let extended = Packet {
        protocol: 0,
        ..tcp(version, FRESH_PORT, Situation::Mine.port(), SYN)
    };
    let mine = tcp(version, FRESH_PORT, Situation::Mine.port(), SYN);
    let mut group = from_client(&mine);
    if let Some(first) = group.first_mut() {
        *first |= 1;
    }
    vec![
        pass("address that is no VIP", &elsewhere, Reason::NotAVip),
        pass(
            "port of a VIP's address that is no VIP",
            &other_port,
            Reason::NotAVip,
        ),
        pass("neither TCP nor UDP", &icmp, Reason::NotAVip),
        pass(
            "TCP behind an extension header, or a protocol of that number",
            &extended,
            Reason::NotAVip,
        ),
        pass("before user space wrote anything", &mine, Reason::NotConfigured).twisted(Twist::NotConfigured),
        Case::dropped(
            version,
            "for a VIP, to a group's hardware address",
            group,
            Reason::GroupAddress,
        ),
    ]
}

/// Owners by slot, and what is known here.
fn slots(version: Version) -> Vec<Case> {
    let to = |name: &str, situation: Situation, flags, node, reason| {
        let packet = tcp(version, FRESH_PORT, situation.port(), flags);
        let bytes = steered(version, node, &packet, situation.port());
        Case::new(version, name, from_client(&packet), Fate::Transmit, reason, bytes)
    };
    let pass = |name: &str, client_port, port, flags, reason| {
        Case::passed(
            version,
            name,
            from_client(&tcp(version, client_port, port, flags)),
            reason,
        )
    };
    let drop = |name: &str, situation: Situation, reason| {
        let packet = tcp(version, FRESH_PORT, situation.port(), SYN);
        Case::dropped(version, name, from_client(&packet), reason)
    };
    let mine = Situation::Mine;
    let no_listener = Situation::MineThird.port() + 100;
    let to_successor = |name: &str, flags| {
        let packet = tcp(version, FRESH_PORT, no_listener, flags);
        let bytes = steered(version, 3, &packet, no_listener);
        Case::new(
            version,
            name,
            from_client(&packet),
            Fate::Transmit,
            Reason::ToSuccessor,
            bytes,
        )
    };
    let datagram =
        |situation: Situation| Packet::udp((version.client(), FRESH_PORT), (version.vip(), situation.port()));
    let steered_datagram = {
        let packet = datagram(Situation::Second);
        let bytes = steered(version, 2, &packet, Situation::Second.port());
        Case::new(
            version,
            "datagram of another node",
            from_client(&packet),
            Fate::Transmit,
            Reason::ToOwner,
            bytes,
        )
    };
    let mut unresolved_family = drop(
        "owner without an address of the family",
        Situation::OnlyV4,
        Reason::UnknownOwner,
    );
    if version == Version::V4 {
        unresolved_family = to(
            "owner with an address of the family",
            Situation::OnlyV4,
            SYN,
            5,
            Reason::ToOwner,
        );
        unresolved_family = unresolved_family.then_remembers(
            flow_to(version, FRESH_PORT, Situation::OnlyV4),
            Some((5, FlowPhase::OPEN)),
        );
    }
    vec![
        pass(
            "SYN for a listener here",
            FRESH_PORT,
            mine.port(),
            SYN,
            Reason::ListenerHere,
        )
        .then_remembers(flow_to(version, FRESH_PORT, mine), Some((ME.0, FlowPhase::OPEN))),
        pass(
            "ACK of a connection here",
            CONNECTED_PORT,
            mine.port(),
            ACK,
            Reason::SocketHere,
        )
        .then_remembers(flow_to(version, CONNECTED_PORT, mine), None),
        pass(
            "SYN for a connection here",
            CONNECTED_PORT,
            mine.port(),
            SYN,
            Reason::ListenerHere,
        ),
        to(
            "ACK that no socket here knows goes to the previous owner",
            mine,
            ACK,
            2,
            Reason::ToPreviousOwner,
        ),
        to(
            "FIN that no socket here knows goes to the previous owner",
            mine,
            FIN | ACK,
            2,
            Reason::ToPreviousOwner,
        ),
        to(
            "RST that no socket here knows goes to the previous owner",
            mine,
            RST,
            2,
            Reason::ToPreviousOwner,
        ),
        to(
            "SYN with ACK opens nothing",
            mine,
            SYN | ACK,
            2,
            Reason::ToPreviousOwner,
        ),
        to(
            "SYN with RST opens nothing",
            mine,
            SYN | RST,
            2,
            Reason::ToPreviousOwner,
        ),
        pass(
            "ACK that no socket knows, without previous owner, is reset by the stack",
            FRESH_PORT,
            Situation::MineAlways.port(),
            ACK,
            Reason::NoCandidate,
        ),
        to("SYN of another node", Situation::Second, SYN, 2, Reason::ToOwner).then_remembers(
            flow_to(version, FRESH_PORT, Situation::Second),
            Some((2, FlowPhase::OPEN)),
        ),
        pass(
            "ACK of a connection here whose slot moved away, unknown to the flow table",
            CONNECTED_PORT,
            Situation::Second.port(),
            ACK,
            Reason::SocketHere,
        )
        .then_remembers(flow_to(version, CONNECTED_PORT, Situation::Second), None),
        to(
            "ACK of another node is not remembered",
            Situation::Second,
            ACK,
            2,
            Reason::ToOwner,
        )
        .then_remembers(flow_to(version, FRESH_PORT, Situation::Second), None),
        to_successor("SYN without a listener here goes to the successor", SYN),
        to_successor("ACK without a listener here goes to the successor", ACK),
        pass(
            "SYN without a listener or successor is reset by the stack",
            FRESH_PORT,
            Situation::MineAlways.port() + 100,
            SYN,
            Reason::NoCandidate,
        ),
        pass(
            "with a listener here the successor gets nothing",
            FRESH_PORT,
            Situation::MineThird.port(),
            SYN,
            Reason::ListenerHere,
        ),
        drop("slot of nobody", Situation::Nobody, Reason::NoOwner),
        drop(
            "owner without a known hardware address",
            Situation::Unresolved,
            Reason::UnresolvedNextHop,
        ),
        drop(
            "owner that is no member",
            Situation::Unknown,
            Reason::UnknownOwner,
        )
        .then_remembers(flow_to(version, FRESH_PORT, Situation::Unknown), None),
        unresolved_family,
        Case::passed(
            version,
            "datagram of this node",
            from_client(&datagram(mine)),
            Reason::DatagramHere,
        ),
        steered_datagram,
    ]
}

/// The flow table.
fn flows(version: Version) -> Vec<Case> {
    let second = Situation::Second;
    let key = flow_to(version, FRESH_PORT, second);
    let to = |name: &str, flags, node, reason| {
        let packet = tcp(version, FRESH_PORT, second.port(), flags);
        let bytes = steered(version, node, &packet, second.port());
        Case::new(version, name, from_client(&packet), Fate::Transmit, reason, bytes)
    };
    let here = flow_to(version, CONNECTED_PORT, second);
    let other_life = {
        let mut case = to("entry of an earlier life is passed over", ACK, 2, Reason::ToOwner);
        case = case.remembering(key, 3, FlowPhase::OPEN, 0);
        if let Some((_, entry, _)) = &mut case.remembered {
            entry.incarnation += 1;
        }
        case
    };
    vec![
        to("remembered flow goes to its node", ACK, 3, Reason::ToFlowOwner).remembering(
            key,
            3,
            FlowPhase::OPEN,
            0,
        ),
        to("SYN passes the flow table over", SYN, 2, Reason::ToOwner)
            .remembering(key, 3, FlowPhase::OPEN, 0)
            .then_remembers(key, Some((2, FlowPhase::OPEN))),
        to(
            "FIN begins the end of an entry",
            FIN | ACK,
            3,
            Reason::ToFlowOwner,
        )
        .remembering(key, 3, FlowPhase::OPEN, 0)
        .then_remembers(key, Some((3, FlowPhase::FINISHED))),
        to("RST begins a nearer end", RST, 3, Reason::ToFlowOwner)
            .remembering(key, 3, FlowPhase::OPEN, 0)
            .then_remembers(key, Some((3, FlowPhase::RESET))),
        to("entry holds 59 s after a FIN", ACK, 3, Reason::ToFlowOwner).remembering(
            key,
            3,
            FlowPhase::FINISHED,
            FINISHED_NS - SECOND_NS,
        ),
        to("entry ends 60 s after a FIN", ACK, 2, Reason::ToOwner).remembering(
            key,
            3,
            FlowPhase::FINISHED,
            FINISHED_NS + SECOND_NS,
        ),
        to("entry holds 4 s after a RST", ACK, 3, Reason::ToFlowOwner).remembering(
            key,
            3,
            FlowPhase::RESET,
            RESET_NS - SECOND_NS,
        ),
        to("entry ends 5 s after a RST", ACK, 2, Reason::ToOwner).remembering(
            key,
            3,
            FlowPhase::RESET,
            RESET_NS + SECOND_NS,
        ),
        to(
            "entry of a node that left is passed over",
            ACK,
            2,
            Reason::ToOwner,
        )
        .remembering(key, 9, FlowPhase::OPEN, 0),
        other_life,
        Case::dropped(
            version,
            "remembered flow of a node without a known hardware address",
            from_client(&tcp(version, FRESH_PORT, second.port(), ACK)),
            Reason::UnresolvedNextHop,
        )
        .remembering(key, 4, FlowPhase::OPEN, 0),
        Case::passed(
            version,
            "remembered flow of this node whose slot moved away",
            from_client(&tcp(version, CONNECTED_PORT, second.port(), ACK)),
            Reason::SocketHere,
        )
        .remembering(here, ME.0, FlowPhase::OPEN, 0),
        to(
            "remembered flow of this node that no socket knows goes to the owner",
            ACK,
            2,
            Reason::ToOtherOwner,
        )
        .remembering(key, ME.0, FlowPhase::OPEN, 0),
    ]
}

/// VLAN tags and what the outer header inherits.
fn tags(version: Version) -> Vec<Case> {
    let second = Situation::Second;
    let packet = tcp(version, FRESH_PORT, second.port(), SYN);
    let steered_behind = |name: &str, tags: &[(u16, u16)]| {
        let mark = first_mark(version, &packet, second.port());
        let outer = packet.within(version.node(ME.0), version.node(2), mark, 64);
        let before = frame(MAC_HERE, MAC_ROUTER, tags, packet.ether_type(), &packet.bytes());
        let after = frame(node_mac(2), MAC_HERE, tags, outer.ether_type(), &outer.bytes());
        Case::new(version, name, before, Fate::Transmit, Reason::ToOwner, after)
    };
    let three = [(0x88a8, 5), (0x8100, 6), (0x8100, 7)];
    let marked = Packet {
        traffic_class: 0xb9,
        ..packet.clone()
    };
    let bytes = steered(version, 2, &marked, second.port());
    vec![
        steered_behind("one VLAN tag stays", &[(0x8100, 0x2005)]),
        steered_behind("two VLAN tags stay", &[(0x88a8, 5), (0x8100, 6)]),
        Case::dropped(
            version,
            "three VLAN tags",
            frame(MAC_HERE, MAC_ROUTER, &three, packet.ether_type(), &packet.bytes()),
            Reason::TooManyTags,
        ),
        Case::new(
            version,
            "outer header inherits the traffic class",
            from_client(&marked),
            Fate::Transmit,
            Reason::ToOwner,
            bytes,
        ),
    ]
}
