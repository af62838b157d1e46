//! Owners by slot, and what is known here: sockets, listeners, previous owners, successors.

use gateway_common::verdict::{Fate, Reason};

use super::super::build::{ACK, FIN, Packet, RST, SYN};
use super::super::world::{CONNECTED_PORT, COOKIE_MARK, COOKIE_PORT, ME, Situation, Version};
use super::{Case, FRESH_PORT, Way, entropy, flow_of, from_client, tcp, to_node};

pub fn cases(version: Version) -> Vec<Case> {
    let mut cases = here(version);
    cases.extend(elsewhere(version));
    cases.extend(handshakes(version));
    cases.extend(ways(version));
    cases
}

fn here(version: Version) -> Vec<Case> {
    let pass = |name: &str, client_port, port, flags, reason| {
        let packet = tcp(version, client_port, port, flags);
        let case = Case::passed(version, name, from_client(&packet), reason);
        if flags == SYN {
            case.opens(&packet, ME.0)
        } else {
            case
        }
    };
    let mine = Situation::Mine.port();
    let always = Situation::MineAlways.port();
    let second = Situation::Second.port();
    vec![
        pass(
            "SYN for a listener here",
            FRESH_PORT,
            mine,
            SYN,
            Reason::ListenerHere,
        ),
        pass(
            "ACK of a connection here",
            CONNECTED_PORT,
            mine,
            ACK,
            Reason::SocketHere,
        ),
        pass(
            "FIN of a connection here",
            CONNECTED_PORT,
            mine,
            FIN | ACK,
            Reason::SocketHere,
        ),
        pass(
            "RST of a connection here",
            CONNECTED_PORT,
            mine,
            RST,
            Reason::SocketHere,
        ),
        pass(
            "SYN for a connection here",
            CONNECTED_PORT,
            mine,
            SYN,
            Reason::SocketHere,
        ),
        pass(
            "ACK that no socket knows, without previous owner, is reset by the stack",
            FRESH_PORT,
            always,
            ACK,
            Reason::NoCandidate,
        ),
        pass(
            "ACK of a connection here whose slot moved away, unknown to the flow table",
            CONNECTED_PORT,
            second,
            ACK,
            Reason::SocketHere,
        ),
        pass(
            "SYN without a listener or successor is reset by the stack",
            FRESH_PORT,
            always + 100,
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
    ]
}

fn elsewhere(version: Version) -> Vec<Case> {
    let to = |name: &str, port: u16, flags, node, reason| {
        let packet = tcp(version, FRESH_PORT, port, flags);
        let case = Case::steered(version, name, &packet, node, reason);
        match (flags == SYN, reason) {
            (false, _) => case,
            // The connection is its owner's, wherever it is looked for.
            (true, Reason::ToSuccessor | Reason::ToPreviousOwner) => case.opens(&packet, ME.0),
            (true, _) => case.opens(&packet, node),
        }
    };
    let drop = |name: &str, situation: Situation, reason| {
        Case::dropped(
            version,
            name,
            from_client(&tcp(version, FRESH_PORT, situation.port(), SYN)),
            reason,
        )
    };
    let mine = Situation::Mine.port();
    let no_listener = Situation::MineThird.port() + 100;
    let unresolved = tcp(version, FRESH_PORT, Situation::Unresolved.port(), SYN);
    vec![
        to(
            "SYN of another node",
            Situation::Second.port(),
            SYN,
            2,
            Reason::ToOwner,
        ),
        to(
            "ACK of another node is not remembered",
            Situation::Second.port(),
            ACK,
            2,
            Reason::ToOwner,
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
            "SYN without a listener, successor or socket goes to the previous owner",
            mine + 100,
            SYN,
            2,
            Reason::ToPreviousOwner,
        ),
        to(
            "SYN without a listener here goes to the successor",
            no_listener,
            SYN,
            3,
            Reason::ToSuccessor,
        ),
        to(
            "ACK without a listener here goes to the successor",
            no_listener,
            ACK,
            3,
            Reason::ToSuccessor,
        ),
        to(
            "FIN without a listener here goes to the successor",
            no_listener,
            FIN | ACK,
            3,
            Reason::ToSuccessor,
        ),
        to(
            "ACK with a listener and no socket here goes to the previous owner, not to the successor",
            Situation::MineThird.port(),
            ACK,
            2,
            Reason::ToPreviousOwner,
        ),
        drop("slot of nobody", Situation::Nobody, Reason::NoOwner),
        drop(
            "owner without a known hardware address",
            Situation::Unresolved,
            Reason::UnresolvedNextHop,
        )
        .opens(&unresolved, 4),
        drop(
            "owner that is no member",
            Situation::Unknown,
            Reason::UnknownOwner,
        ),
    ]
}

/// SYN cookies: only the packet that answers one of this node's own is known here.
fn handshakes(version: Version) -> Vec<Case> {
    let mine = Situation::Mine.port();
    let numbered = |client_port, port, flags| {
        let mut packet = tcp(version, client_port, port, flags);
        packet.payload.splice(4..12, COOKIE_MARK);
        packet
    };
    let to = |name: &str, packet: &Packet| Case::steered(version, name, packet, 2, Reason::ToPreviousOwner);
    let second = numbered(COOKIE_PORT, Situation::Second.port(), ACK);
    vec![
        Case::passed(
            version,
            "ACK that completes a SYN-cookie handshake here",
            from_client(&numbered(COOKIE_PORT, mine, ACK)),
            Reason::HandshakeHere,
        ),
        to(
            "ACK with the numbers of another client's SYN cookie",
            &numbered(COOKIE_PORT + 1, mine, ACK),
        ),
        to(
            "FIN with the numbers of a SYN cookie completes nothing",
            &numbered(COOKIE_PORT, mine, FIN | ACK),
        ),
        to(
            "RST with the numbers of a SYN cookie completes nothing",
            &numbered(COOKIE_PORT, mine, RST | ACK),
        ),
        Case::steered(version, "SYN cookie of another port", &second, 2, Reason::ToOwner),
    ]
}

/// By which family's outer header.
fn ways(version: Version) -> Vec<Case> {
    let mut cases = Vec::new();
    for (situation, node, only) in [
        (Situation::OnlyV4, 5, Version::V4),
        (Situation::OnlyV6, 6, Version::V6),
    ] {
        let packet = tcp(version, FRESH_PORT, situation.port(), SYN);
        for format in [
            gateway_common::node::EncapsulationCode::GUE,
            gateway_common::node::EncapsulationCode::IPIP,
        ] {
            let way = Way::first(only, node).in_format(format);
            let bytes = to_node(node, &way.wrap(&packet, entropy(&flow_of(&packet))));
            let name = format!("owner with an {only:?} address alone, format {}", format.0);
            let case = Case::new(
                version,
                &name,
                from_client(&packet),
                Fate::Transmit,
                Reason::ToOwner,
                bytes,
            );
            cases.push(
                case.set(|settings| settings.encapsulation = format)
                    .opens(&packet, node),
            );
        }
    }
    let packet = tcp(version, FRESH_PORT, Situation::Second.port(), SYN);
    let only_other = version.other();
    let bytes = to_node(
        2,
        &Way::first(only_other, 2).wrap(&packet, entropy(&flow_of(&packet))),
    );
    let without = |settings: &mut gateway_common::node::Settings, version| match version {
        Version::V4 => settings.address = Default::default(),
        Version::V6 => settings.address_v6 = Default::default(),
    };
    cases.push(
        Case::new(
            version,
            "this node has an address of the other family alone",
            from_client(&packet),
            Fate::Transmit,
            Reason::ToOwner,
            bytes,
        )
        .set(|settings| without(settings, version))
        .opens(&packet, 2),
    );
    cases.push(
        Case::dropped(
            version,
            "this node has no address",
            from_client(&packet),
            Reason::UnknownOwner,
        )
        .set(|settings| {
            without(settings, Version::V4);
            without(settings, Version::V6);
        })
        .opens(&packet, 2),
    );
    let situation = if version == Version::V4 {
        Situation::OnlyV6
    } else {
        Situation::OnlyV4
    };
    let packet = tcp(version, FRESH_PORT, situation.port(), SYN);
    let node = if version == Version::V4 { 6 } else { 5 };
    cases.push(
        Case::dropped(
            version,
            "both nodes have an address, and no family in common",
            from_client(&packet),
            Reason::UnknownOwner,
        )
        .set(|settings| without(settings, version.other()))
        .opens(&packet, node),
    );
    let packet = tcp(version, FRESH_PORT, Situation::Second.port(), SYN);
    let marked = Packet {
        traffic_class: 0xb9,
        ..packet
    };
    cases.push(
        Case::steered(
            version,
            "outer header inherits the traffic class",
            &marked,
            2,
            Reason::ToOwner,
        )
        .opens(&marked, 2),
    );
    cases
}
