//! IPv6 extension headers and IPv4 options: what is walked over, and where the walk ends.

use gateway_common::verdict::{Fate, Reason};

use super::super::build::{ACK, Packet, Piece, SYN, authentication, options};
use super::super::world::{ME, Situation, Version};
use super::{Case, FRESH_PORT, Way, entropy, flow_of, from_client, from_node, sent, tcp, to_node};

/// Extension headers in order: the number of each, and its bytes but for the first.
type Chain = Vec<(u8, Vec<u8>)>;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

pub fn cases() -> Vec<Case> {
    let mut cases = ipv4_options();
    cases.extend(walked());
    cases.extend(bounds());
    cases.extend(cut());
    cases
}

/// The packet behind extension headers, sent to node 2 by its flow.
fn steered(version: Version, name: &str, plain: &Packet, packet: &Packet) -> Case {
    let bytes = to_node(2, &Way::first(version, 2).wrap(packet, entropy(&flow_of(plain))));
    Case::new(
        version,
        name,
        from_client(packet),
        Fate::Transmit,
        Reason::ToOwner,
        bytes,
    )
}

fn ipv4_options() -> Vec<Case> {
    let version = Version::V4;
    let mut cases = Vec::new();
    for words in 1..=10 {
        let plain = tcp(version, FRESH_PORT, Situation::Second.port(), ACK);
        let packet = Packet {
            options: vec![1; words * 4],
            ..plain.clone()
        };
        cases.push(steered(
            version,
            &format!("{} bytes of options, sent on", words * 4),
            &plain,
            &packet,
        ));
        let packet = Packet {
            options: vec![1; words * 4],
            ..tcp(version, FRESH_PORT, Situation::Mine.port(), SYN)
        };
        let name = format!("{} bytes of options, taken from a node", words * 4);
        cases.push(Case::taken(
            version,
            &name,
            &sent(version, 2, &packet, 1),
            2,
            &packet,
            Reason::ListenerFromNode,
        ));
    }
    let here = Packet {
        options: vec![1; 8],
        ..tcp(version, FRESH_PORT, Situation::Mine.port(), SYN)
    };
    cases.push(
        Case::passed(
            version,
            "options before a SYN for a listener",
            from_client(&here),
            Reason::ListenerHere,
        )
        .opens(&here, ME.0),
    );
    cases
}

fn all() -> Chain {
    vec![
        (HOP_BY_HOP, options(8)),
        (DESTINATION, options(8)),
        (ROUTING, options(24)),
        (FRAGMENT, vec![0, 0, 0, 0, 0, 0, 1]),
        (AUTHENTICATION, authentication(24)),
        (DESTINATION, options(8)),
    ]
}

fn walked() -> Vec<Case> {
    let version = Version::V6;
    let plain = tcp(version, FRESH_PORT, Situation::Second.port(), ACK);
    let datagram = super::udp(version, FRESH_PORT, Situation::Second.port());
    let syn = tcp(version, FRESH_PORT, Situation::Mine.port(), SYN);
    let elsewhere = Packet {
        destination: version.host(101),
        ..syn.clone()
    };
    let mut cases = Vec::new();
    let kinds: [(&str, Chain); 8] = [
        ("hop-by-hop options", vec![(HOP_BY_HOP, options(8))]),
        ("longer hop-by-hop options", vec![(HOP_BY_HOP, options(64))]),
        ("a routing header", vec![(ROUTING, options(24))]),
        (
            "an atomic fragment header",
            vec![(FRAGMENT, vec![0, 0, 0, 0, 0, 0, 1])],
        ),
        (
            "an authentication header",
            vec![(AUTHENTICATION, authentication(24))],
        ),
        (
            "a short authentication header",
            vec![(AUTHENTICATION, authentication(12))],
        ),
        ("destination options", vec![(DESTINATION, options(8))]),
        ("all of them", all()),
    ];
    for (what, extensions) in kinds {
        cases.push(steered(
            version,
            &format!("behind {what}: sent on"),
            &plain,
            &plain.behind(&extensions),
        ));
        cases.push(
            steered(
                version,
                &format!("datagram behind {what}: sent on"),
                &datagram,
                &datagram.behind(&extensions),
            )
            .notes(&datagram, 2),
        );
        let packet = syn.behind(&extensions);
        cases.push(
            Case::passed(
                version,
                &format!("behind {what}: here"),
                from_client(&packet),
                Reason::ListenerHere,
            )
            .opens(&syn, ME.0),
        );
        let name = format!("behind {what}: taken from a node");
        cases.push(Case::taken(
            version,
            &name,
            &sent(version, 2, &packet, 1),
            2,
            &packet,
            Reason::ListenerFromNode,
        ));
        cases.push(Case::passed(
            version,
            &format!("behind {what}: for no VIP"),
            from_client(&elsewhere.behind(&extensions)),
            Reason::NotAVip,
        ));
    }
    let first = datagram
        .piece(Piece::First, 5)
        .behind(&[(HOP_BY_HOP, options(8)), (ROUTING, options(24))]);
    cases.push(
        steered(version, "first fragment behind other headers", &datagram, &first)
            .notes(&datagram, 2)
            .begins(super::fragments::key(version, &datagram, 17, 5), 2),
    );
    for (what, protocol) in [
        ("no next header", 59),
        ("an encrypted payload", 50),
        ("a mobility header", 135),
    ] {
        let packet = Packet {
            protocol,
            ..plain.clone()
        };
        cases.push(Case::passed(
            version,
            &format!("{what} is the stack's"),
            from_client(&packet),
            Reason::NotAVip,
        ));
    }
    cases
}

fn bounds() -> Vec<Case> {
    let version = Version::V6;
    let plain = tcp(version, FRESH_PORT, Situation::Second.port(), ACK);
    let elsewhere = Packet {
        destination: version.host(101),
        ..plain.clone()
    };
    let six = vec![(DESTINATION, options(8)); 6];
    let seven = vec![(DESTINATION, options(8)); 7];
    let long = [(HOP_BY_HOP, options(128))];
    let longer = [(HOP_BY_HOP, options(136))];
    let longest = [(HOP_BY_HOP, options(2_048))];
    let together = [(HOP_BY_HOP, options(64)), (DESTINATION, options(64))];
    let more_together = [(HOP_BY_HOP, options(64)), (DESTINATION, options(72))];
    let mut cases = Vec::new();
    for (what, extensions) in [
        ("six extension headers", six.as_slice()),
        ("128 bytes of one extension header", &long),
        ("128 bytes of two extension headers", &together),
    ] {
        cases.push(steered(
            version,
            &format!("behind {what}"),
            &plain,
            &plain.behind(extensions),
        ));
    }
    for (what, extensions) in [
        ("seven extension headers", seven.as_slice()),
        ("136 bytes of one extension header", &longer),
        ("136 bytes of two extension headers", &more_together),
        ("2,048 bytes of one extension header", &longest),
    ] {
        let drop = |name: String, bytes| Case::dropped(version, &name, bytes, Reason::TooManyExtensions);
        cases.push(drop(
            format!("for a VIP, behind {what}"),
            from_client(&plain.behind(extensions)),
        ));
        cases.push(Case::passed(
            version,
            &format!("for no VIP, behind {what}"),
            from_client(&elsewhere.behind(extensions)),
            Reason::NotAVip,
        ));
        let inside = sent(version, 2, &plain.behind(extensions), 1);
        cases.push(drop(format!("node sent what is behind {what}"), from_node(2, &inside)).hears(2));
    }
    cases
}

/// The packet's length says that it ends within an extension header, or right behind it.
fn cut() -> Vec<Case> {
    let version = Version::V6;
    let plain = tcp(version, FRESH_PORT, Situation::Second.port(), ACK);
    let elsewhere = Packet {
        destination: version.host(101),
        ..plain.clone()
    };
    let mut cases = Vec::new();
    let drop =
        |name: String, packet: &Packet, reason| Case::dropped(version, &name, from_client(packet), reason);
    for (what, kind, extension) in [
        ("hop-by-hop options", HOP_BY_HOP, options(16)),
        ("a routing header", ROUTING, options(16)),
        ("an authentication header", AUTHENTICATION, authentication(16)),
        ("destination options", DESTINATION, options(16)),
    ] {
        for bytes in [0, 1, 7, 8, 15] {
            for (whom, packet) in [("a VIP", &plain), ("no VIP", &elsewhere)] {
                let packet = packet.behind(&[(kind, extension.clone())]).cut(bytes);
                let name = format!("for {whom}: {what}, cut after {bytes} bytes");
                cases.push(drop(name, &packet, Reason::TruncatedNetwork));
            }
        }
        let packet = plain.behind(&[(kind, extension)]).cut(16);
        cases.push(drop(
            format!("{what}, and nothing behind"),
            &packet,
            Reason::TruncatedTransport,
        ));
    }
    for bytes in [0, 7] {
        let packet = plain.piece(Piece::First, 1).cut(bytes);
        cases.push(drop(
            format!("fragment header, cut after {bytes} bytes"),
            &packet,
            Reason::TruncatedNetwork,
        ));
    }
    cases
}
