//! From node to node: who is asked next, and when the stack resets.
//!
//! The first rows are those of Linux's selftest `cls_redirect` (tools/testing/selftests/bpf/prog_tests/cls_redirect.c),
//! by their names.

use gateway_common::verdict::{Fate, Reason};

use super::super::build::{ACK, FIN, Packet, RST, SYN};
use super::super::world::{CONNECTED_PORT, COOKIE_MARK, COOKIE_PORT, Situation, Version};
use super::{Case, FRESH_PORT, from_node, relayed, sent, tcp, udp};

pub fn cases(version: Version) -> Vec<Case> {
    let mut cases = cls_redirect(version);
    cases.extend(tables_differ(version));
    cases.extend(no_listener(version));
    cases
}

/// A packet that node `from` sent by so many hops, which goes on to another.
fn on(
    version: Version,
    name: &str,
    packet: &Packet,
    (from, hops): (u16, u16),
    to: u16,
    reason: Reason,
) -> Case {
    let frame = from_node(from, &sent(version, from, packet, hops));
    Case::new(
        version,
        name,
        frame,
        Fate::Transmit,
        reason,
        relayed(version, to, packet, hops + 1),
    )
    .hears(from)
}

fn cls_redirect(version: Version) -> Vec<Case> {
    let mine = Situation::Mine.port();
    let take = |name: &str, packet: &Packet, hops, reason| {
        Case::taken(
            version,
            &format!("cls_redirect: {name}"),
            &sent(version, 3, packet, hops),
            3,
            packet,
            reason,
        )
    };
    let go = |name: &str, packet: &Packet, hops| {
        on(
            version,
            &format!("cls_redirect: {name}"),
            packet,
            (3, hops),
            2,
            Reason::ToPreviousOwner,
        )
    };
    let segment = |client_port, flags| tcp(version, client_port, mine, flags);
    let cookie = {
        let mut packet = segment(COOKIE_PORT, ACK);
        packet.payload.splice(4..12, COOKIE_MARK);
        packet
    };
    vec![
        take(
            "TCP accept SYN, no hops",
            &segment(FRESH_PORT, SYN),
            3,
            Reason::ListenerFromNode,
        ),
        take(
            "TCP accept SYN, one hop",
            &segment(FRESH_PORT, SYN),
            2,
            Reason::ListenerFromNode,
        ),
        take(
            "TCP accept unknown ACK, no hops",
            &segment(FRESH_PORT, ACK),
            3,
            Reason::NoHopLeft,
        ),
        go("TCP forward unknown ACK, one hop", &segment(FRESH_PORT, ACK), 2),
        go("TCP forward unknown ACK, two hops", &segment(FRESH_PORT, ACK), 1),
        take(
            "TCP accept unknown FIN, no hops",
            &segment(FRESH_PORT, FIN | ACK),
            3,
            Reason::NoHopLeft,
        ),
        go(
            "TCP forward unknown FIN, one hop",
            &segment(FRESH_PORT, FIN | ACK),
            2,
        ),
        take(
            "TCP accept unknown RST, no hops",
            &segment(FRESH_PORT, RST),
            3,
            Reason::NoHopLeft,
        ),
        go("TCP forward unknown RST, one hop", &segment(FRESH_PORT, RST), 2),
        take(
            "TCP accept known ACK, no hops",
            &segment(CONNECTED_PORT, ACK),
            3,
            Reason::SocketFromNode,
        ),
        take(
            "TCP accept known ACK, one hop",
            &segment(CONNECTED_PORT, ACK),
            2,
            Reason::SocketFromNode,
        ),
        take(
            "TCP accept ACK of a SYN cookie, one hop",
            &cookie,
            2,
            Reason::HandshakeFromNode,
        ),
        take(
            "UDP accept, no hops",
            &udp(version, FRESH_PORT, mine),
            3,
            Reason::DatagramFromNode,
        ),
        take(
            "UDP accept, one hop",
            &udp(version, FRESH_PORT, mine),
            2,
            Reason::DatagramFromNode,
        ),
        go(
            "UDP forward what no socket takes, one hop",
            &udp(version, FRESH_PORT, mine + 100),
            2,
        ),
        take(
            "UDP accept what no socket takes, no hops",
            &udp(version, FRESH_PORT, mine + 100),
            3,
            Reason::NoHopLeft,
        ),
        Case::dropped(
            version,
            "cls_redirect: loop guard, more hops than there are",
            from_node(3, &sent(version, 3, &segment(FRESH_PORT, ACK), 4)),
            Reason::BadHops,
        ),
    ]
}

fn tables_differ(version: Version) -> Vec<Case> {
    let ack = |situation: Situation| tcp(version, FRESH_PORT, situation.port(), ACK);
    let previous = Reason::ToPreviousOwner;
    let other = Reason::ToOtherOwner;
    let reset = |name: &str, situation, from, hops, reason| {
        let packet = ack(situation);
        Case::taken(
            version,
            name,
            &sent(version, from, &packet, hops),
            from,
            &packet,
            reason,
        )
    };
    let (mine, second) = (Situation::Mine, Situation::Second);
    let (third, between) = (Situation::ThirdSecondMine, Situation::SecondMineThird);
    vec![
        on(
            version,
            "tables agree: the owner does not know it, so to the previous owner",
            &ack(mine),
            (3, 1),
            2,
            previous,
        ),
        on(
            version,
            "even if that is the sender: directors do not look",
            &ack(mine),
            (2, 1),
            2,
            previous,
        ),
        on(
            version,
            "sender newer: it names this node, whose tables still say another",
            &ack(second),
            (3, 1),
            2,
            other,
        ),
        on(
            version,
            "receiver newer: this node lost the slot, and its new owner sent it, so to the one before",
            &ack(between),
            (2, 1),
            3,
            previous,
        ),
        on(
            version,
            "both wrong: to the owner that this node knows, the director being neither",
            &ack(third),
            (7, 1),
            3,
            other,
        ),
        on(
            version,
            "owner looked before it sent: to the next previous owner",
            &ack(third),
            (3, 1),
            2,
            previous,
        ),
        on(
            version,
            "second previous owner, by the third hop",
            &ack(between),
            (2, 2),
            3,
            previous,
        ),
        on(
            version,
            "second hop comes back to the owner, if that did not send it",
            &ack(between),
            (4, 2),
            2,
            other,
        ),
        reset(
            "previous owner that nobody held it before",
            second,
            2,
            1,
            Reason::NoCandidateFromNode,
        ),
        reset(
            "second previous owner at the last hop",
            third,
            2,
            3,
            Reason::NoHopLeft,
        ),
    ]
}

fn no_listener(version: Version) -> Vec<Case> {
    let closed = |situation: Situation, flags| tcp(version, FRESH_PORT, situation.port() + 100, flags);
    let (third, second) = (Situation::MineThird, Situation::Second);
    let successor = Reason::ToSuccessor;
    let at_last = closed(third, SYN);
    vec![
        on(
            version,
            "SYN of a node without a listener here: to the successor",
            &closed(third, SYN),
            (2, 1),
            3,
            successor,
        ),
        on(
            version,
            "ACK of a node without a listener here: to the successor",
            &closed(third, ACK),
            (2, 1),
            3,
            successor,
        ),
        on(
            version,
            "SYN goes to the successor, even if that sent it",
            &closed(third, SYN),
            (3, 1),
            3,
            successor,
        ),
        on(
            version,
            "SYN goes to the successor by the third hop",
            &closed(third, SYN),
            (2, 2),
            3,
            successor,
        ),
        on(
            version,
            "SYN without a listener and not the owner: to the owner",
            &closed(second, SYN),
            (3, 1),
            2,
            Reason::ToOtherOwner,
        ),
        Case::taken(
            version,
            "SYN without a listener at the last hop is reset",
            &sent(version, 2, &at_last, 3),
            2,
            &at_last,
            Reason::NoHopLeft,
        ),
    ]
}
