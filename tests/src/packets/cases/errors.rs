//! ICMP errors about a VIP's flows: they go where the flow goes, by the packet that they quote.

use gateway_common::flow::FlowPhase;
use gateway_common::verdict::{Fate, Reason};

use super::super::build::{ACK, Packet, Piece};
use super::super::world::{CONNECTED_PORT, ME, Situation, Version};
use super::{
    Case, FRESH_PORT, Way, entropy, entry, flow_of, from_client, from_node, sent, tcp, to_node, udp,
};

/// "Fragmentation needed" or "packet too big".
const fn too_big(version: Version) -> [u8; 2] {
    match version {
        Version::V4 => [3, 4],
        Version::V6 => [2, 0],
    }
}

/// An error from a router on the way, about the answer to a client's packet.
fn about(version: Version, kind: [u8; 2], packet: &Packet) -> Packet {
    quoting(version, kind, &answer(packet))
}

/// What the VIP sent: the client's packet the other way round.
fn answer(packet: &Packet) -> Packet {
    let mut answer = packet.clone();
    (answer.source, answer.destination) = (packet.destination, packet.source);
    let ports: Vec<u8> = packet
        .payload
        .iter()
        .skip(2)
        .take(2)
        .chain(packet.payload.iter().take(2))
        .copied()
        .collect();
    answer.payload.splice(0..4, ports);
    answer
}

fn quoting(version: Version, kind: [u8; 2], quoted: &Packet) -> Packet {
    Packet::icmp(
        version.host(99),
        version.vip(),
        kind,
        [0, 0, 5, 0x14],
        &quoted.bytes(),
    )
}

pub fn cases(version: Version) -> Vec<Case> {
    let mut cases = kinds(version);
    cases.extend(owners(version));
    cases.extend(nodes(version));
    cases.extend(quotes(version));
    cases
}

/// An error about that packet, sent to another node.
fn steered(version: Version, name: &str, kind: [u8; 2], packet: &Packet, to: u16, reason: Reason) -> Case {
    let error = about(version, kind, packet);
    let bytes = to_node(
        to,
        &Way::first(version, to).wrap(&error, entropy(&flow_of(packet))),
    );
    Case::new(version, name, from_client(&error), Fate::Transmit, reason, bytes)
}

fn kinds(version: Version) -> Vec<Case> {
    let packet = tcp(version, FRESH_PORT, Situation::Second.port(), ACK);
    let (steers, not): (&[[u8; 2]], &[[u8; 2]]) = match version {
        Version::V4 => (
            &[[3, 0], [3, 1], [3, 3], [3, 4], [3, 13], [11, 0], [11, 1], [12, 0]],
            &[[4, 0], [5, 1], [13, 0], [17, 0], [30, 0]],
        ),
        Version::V6 => (
            &[[1, 0], [1, 3], [1, 4], [2, 0], [3, 0], [3, 1], [4, 0], [4, 1]],
            &[[0, 0], [5, 0], [100, 0], [127, 0], [139, 0]],
        ),
    };
    let mut cases = Vec::new();
    for kind in steers {
        let name = format!("ICMP error of type {} and code {} is steered", kind[0], kind[1]);
        cases.push(steered(version, &name, *kind, &packet, 2, Reason::ToOwner));
    }
    for kind in not {
        let name = format!("ICMP of type {} and code {} is the stack's", kind[0], kind[1]);
        let error = about(version, *kind, &packet);
        cases.push(Case::passed(version, &name, from_client(&error), Reason::NotAVip));
    }
    cases
}

fn owners(version: Version) -> Vec<Case> {
    let kind = too_big(version);
    let second = Situation::Second.port();
    let segment = tcp(version, FRESH_PORT, second, ACK);
    let datagram = udp(version, FRESH_PORT, second);
    let connected = tcp(version, CONNECTED_PORT, second, ACK);
    let here = tcp(version, CONNECTED_PORT, Situation::Mine.port(), ACK);
    let open = |node| entry(node, FlowPhase::OPEN);
    let pass = |name: &str, packet: &Packet, reason| {
        Case::passed(version, name, from_client(&about(version, kind, packet)), reason)
    };
    let mine = tcp(version, FRESH_PORT, Situation::Mine.port(), ACK);
    let always = tcp(version, FRESH_PORT, Situation::MineAlways.port(), ACK);
    let no_listener = tcp(version, FRESH_PORT, Situation::MineThird.port() + 100, ACK);
    let unknown = tcp(version, FRESH_PORT, 9_999, ACK);
    vec![
        steered(
            version,
            "error about a datagram goes to the owner",
            kind,
            &datagram,
            2,
            Reason::ToOwner,
        ),
        steered(
            version,
            "error about a remembered connection follows it",
            kind,
            &segment,
            3,
            Reason::ToFlowOwner,
        )
        .knowing(flow_of(&segment), open(3), 0),
        steered(
            version,
            "error about a remembered flow of datagrams follows it, and keeps nothing alive",
            kind,
            &datagram,
            3,
            Reason::ToFlowOwner,
        )
        .knowing(flow_of(&datagram), open(3), 10 * super::SECOND_NS),
        pass("error about a connection here", &here, Reason::ErrorHere),
        pass(
            "error about a connection here whose slot moved away",
            &connected,
            Reason::ErrorHere,
        ),
        pass(
            "error about a remembered connection here",
            &connected,
            Reason::ErrorHere,
        )
        .knowing(flow_of(&connected), open(ME.0), 0),
        pass(
            "error about a datagram of this node",
            &udp(version, FRESH_PORT, Situation::Mine.port()),
            Reason::ErrorHere,
        ),
        pass(
            "error about a datagram of a connected socket here",
            &udp(version, CONNECTED_PORT, second),
            Reason::ErrorHere,
        ),
        steered(
            version,
            "error about a connection that nothing here knows goes to the previous owner",
            kind,
            &mine,
            2,
            Reason::ToPreviousOwner,
        ),
        steered(
            version,
            "error without a listener here goes to the successor",
            kind,
            &no_listener,
            3,
            Reason::ToSuccessor,
        ),
        pass(
            "error about a connection that nobody knows is the stack's",
            &always,
            Reason::NoCandidate,
        ),
        pass("error about a port that is no VIP", &unknown, Reason::NotAVip),
    ]
}

fn nodes(version: Version) -> Vec<Case> {
    let kind = too_big(version);
    let here = about(
        version,
        kind,
        &tcp(version, CONNECTED_PORT, Situation::Second.port(), ACK),
    );
    let unknown = tcp(version, FRESH_PORT, Situation::Mine.port(), ACK);
    let error = about(version, kind, &unknown);
    let way = Way {
        hops: 2,
        ttl: 63,
        ..Way::first(version, 2)
    };
    let bytes = to_node(2, &way.wrap(&error, entropy(&flow_of(&unknown))));
    let datagram = about(version, kind, &udp(version, FRESH_PORT, Situation::Mine.port()));
    vec![
        Case::taken(
            version,
            "node sent an error about a connection here",
            &sent(version, 2, &here, 1),
            2,
            &here,
            Reason::ErrorFromNode,
        ),
        Case::taken(
            version,
            "node sent an error about a datagram of this node",
            &sent(version, 2, &datagram, 1),
            2,
            &datagram,
            Reason::ErrorFromNode,
        ),
        Case::new(
            version,
            "node sent an error that nothing here knows: to the previous owner",
            from_node(3, &sent(version, 3, &error, 1)),
            Fate::Transmit,
            Reason::ToPreviousOwner,
            bytes,
        )
        .hears(3),
        Case::taken(
            version,
            "node sent an error that nothing here knows, at the last hop",
            &sent(version, 3, &error, 3),
            3,
            &error,
            Reason::NoHopLeft,
        ),
    ]
}

fn quotes(version: Version) -> Vec<Case> {
    let kind = too_big(version);
    let packet = tcp(version, FRESH_PORT, Situation::Second.port(), ACK);
    let quoted = answer(&packet);
    let header_bytes = version.outer_bytes();
    let mut cases = Vec::new();
    let pass = |name: &str, error: &Packet| Case::passed(version, name, from_client(error), Reason::NotAVip);
    let of_another = Packet {
        source: version.host(101),
        ..quoted.clone()
    };
    let sctp = Packet {
        protocol: 132,
        ..quoted.clone()
    };
    let icmp = Packet {
        protocol: packet.protocol ^ 7,
        ..quoted.clone()
    };
    cases.push(pass(
        "error that quotes what the VIP did not send",
        &quoting(version, kind, &of_another),
    ));
    cases.push(pass("error that quotes SCTP", &quoting(version, kind, &sctp)));
    cases.push(pass("error that quotes ICMP", &quoting(version, kind, &icmp)));
    let other_version = quoting(version, kind, &quoted).with_byte(8, 0x55);
    cases.push(pass("error that quotes another version of IP", &other_version));
    cases.push(pass(
        "error that quotes a last fragment",
        &quoting(version, kind, &quoted.piece(Piece::Last, 7)),
    ));
    cases.push(pass(
        "first fragment of an error",
        &quoting(version, kind, &quoted).piece(Piece::First, 7),
    ));
    let enough = quoting(version, kind, &quoted).cut(8 + header_bytes + 8);
    let bytes = to_node(
        2,
        &Way::first(version, 2).wrap(&enough, entropy(&flow_of(&packet))),
    );
    cases.push(Case::new(
        version,
        "error that quotes eight bytes of TCP",
        from_client(&enough),
        Fate::Transmit,
        Reason::ToOwner,
        bytes,
    ));
    for (what, bytes) in [
        ("nothing", 8),
        ("one byte", 9),
        ("a part of an IP header", 8 + header_bytes - 1),
        ("an IP header alone", 8 + header_bytes),
        ("a part of the ports", 8 + header_bytes + 3),
        ("seven bytes of TCP", 8 + header_bytes + 7),
    ] {
        let cut = from_client(&quoting(version, kind, &quoted).cut(bytes));
        let name = format!("error that quotes {what}");
        cases.push(Case::dropped(
            version,
            &name,
            cut.clone(),
            Reason::TruncatedTransport,
        ));
        let padded = cut.into_iter().chain([0; 64]).collect();
        let case = Case::dropped(
            version,
            &format!("{name}, with padding behind it"),
            padded,
            Reason::TruncatedTransport,
        );
        if bytes >= 8 + header_bytes {
            cases.push(case);
        }
    }
    for bytes in [0, 4, 7] {
        let cut = from_client(&quoting(version, kind, &quoted).cut(bytes));
        cases.push(Case::dropped(
            version,
            &format!("error cut after {bytes} bytes"),
            cut,
            Reason::TruncatedTransport,
        ));
    }
    if version == Version::V4 {
        let with_options = Packet {
            options: vec![1; 40],
            ..quoted.clone()
        };
        let error = quoting(version, kind, &with_options);
        let bytes = to_node(
            2,
            &Way::first(version, 2).wrap(&error, entropy(&flow_of(&packet))),
        );
        cases.push(Case::new(
            version,
            "error that quotes options",
            from_client(&error),
            Fate::Transmit,
            Reason::ToOwner,
            bytes,
        ));
        let first = quoting(version, kind, &quoted.piece(Piece::First, 7));
        let bytes = to_node(
            2,
            &Way::first(version, 2).wrap(&first, entropy(&flow_of(&packet))),
        );
        cases.push(Case::new(
            version,
            "error that quotes a first fragment",
            from_client(&first),
            Fate::Transmit,
            Reason::ToOwner,
            bytes,
        ));
        cases.push(pass(
            "error that quotes an IP header of 16 bytes",
            &quoting(version, kind, &quoted).with_byte(8, 0x44),
        ));
    }
    cases
}
