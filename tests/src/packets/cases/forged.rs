//! Whom to believe: what is encapsulated for this node is taken only if all of it says that a node sent it.

use gateway_common::node::EncapsulationCode;
use gateway_common::verdict::Reason;

use super::super::build::{Packet, Piece, SYN, options};
use super::super::world::{ME, Situation, Version, cookie};
use super::{Case, FRESH_PORT, Interface, Way, from_client, from_node, sent, tcp};

pub fn cases(version: Version) -> Vec<Case> {
    let mut cases = senders(version);
    cases.extend(gue_headers(version));
    cases.extend(ip_in_ip(version));
    cases.extend(lengths(version));
    cases
}

fn drop(version: Version, name: &str, outer: &Packet, reason: Reason) -> Case {
    Case::dropped(version, name, from_node(2, outer), reason)
}

fn in_ipip(version: Version, from: u16, packet: &Packet, hops: u16) -> Packet {
    Way::here(version, from, hops)
        .in_format(EncapsulationCode::IPIP)
        .wrap(packet, 0x1357)
}

fn senders(version: Version) -> Vec<Case> {
    let packet = tcp(version, FRESH_PORT, Situation::Mine.port(), SYN);
    let mut cases = Vec::new();
    for (format, outer) in [
        ("GUE", sent(version, 2, &packet, 1)),
        ("IP in IP", in_ipip(version, 2, &packet, 1)),
    ] {
        let from = |source| Packet {
            source,
            ..outer.clone()
        };
        let name = |what: &str| format!("{format} {what}");
        cases.push(drop(
            version,
            &name("from an address that is no node's"),
            &from(version.client()),
            Reason::UnknownNode,
        ));
        cases.push(drop(
            version,
            &name("from a VIP"),
            &from(version.vip()),
            Reason::UnknownNode,
        ));
        cases.push(drop(
            version,
            &name("from this node's own address"),
            &from(version.node(ME.0)),
            Reason::UnknownNode,
        ));
        cases.push(
            drop(
                version,
                &name("by an interface that nodes are not reached by"),
                &outer,
                Reason::ForeignInterface,
            )
            .before(|before| before.interface = Interface::Foreign),
        );
        let elsewhere = Packet {
            destination: version.host(50),
            ..outer.clone()
        };
        cases.push(Case::passed(
            version,
            &name("for somebody else"),
            from_client(&elsewhere),
            Reason::NotAVip,
        ));
        for hops in [0_u16, 4, 0x0101, 0xffff] {
            let bad = if format == "GUE" {
                sent(version, 2, &packet, hops)
            } else {
                in_ipip(version, 2, &packet, hops & 3)
            };
            if hops == 0 || format == "GUE" {
                cases.push(drop(
                    version,
                    &name(&format!("with {hops} hops")),
                    &bad,
                    Reason::BadHops,
                ));
            }
        }
    }
    cases
}

fn gue_headers(version: Version) -> Vec<Case> {
    let packet = tcp(version, FRESH_PORT, Situation::Mine.port(), SYN);
    let good = sent(version, 2, &packet, 1);
    let ends = [version.node(2), version.node(ME.0)];
    let with_cookie = |cookie| packet.in_gue(ends, 50_001, 1, cookie);
    let bad = |name: &str, at, value| {
        drop(
            version,
            name,
            &good.with_byte(at, value),
            Reason::UnexpectedEncapsulation,
        )
    };
    let mut cases = vec![
        drop(
            version,
            "GUE with a wrong cookie",
            &with_cookie(1),
            Reason::BadCookie,
        ),
        drop(
            version,
            "GUE without a cookie",
            &with_cookie(0),
            Reason::BadCookie,
        ),
        drop(
            version,
            "GUE with another node's cookie",
            &with_cookie(cookie(3)),
            Reason::BadCookie,
        ),
        drop(
            version,
            "GUE with this node's cookie",
            &with_cookie(cookie(ME.0)),
            Reason::BadCookie,
        ),
        drop(
            version,
            "GUE with a cookie that differs in its first bit",
            &with_cookie(cookie(2) ^ 1 << 63),
            Reason::BadCookie,
        ),
        drop(
            version,
            "GUE with a cookie that differs in its last bit",
            &with_cookie(cookie(2) ^ 1),
            Reason::BadCookie,
        ),
        bad("GUE of version 1", 8, 0x43),
        bad("GUE of version 2", 8, 0x83),
        bad("GUE control message", 8, 0x23),
        bad("GUE without private data", 8, 0),
        bad("GUE with two words of private data", 8, 2),
        bad("GUE with four words of private data", 8, 4),
        bad("GUE around TCP", 9, 6),
        bad("GUE around nothing", 9, 59),
        bad("GUE with flags in the first byte", 10, 0x80),
        bad("GUE with flags in the second byte", 11, 1),
        bad("GUE with private data of another kind", 12, 0x66),
        bad("GUE with private data of another version", 13, 2),
        bad(
            "GUE whose UDP length is one too much",
            5,
            (good.payload.len() + 1) as u8,
        ),
        bad(
            "GUE whose UDP length is one too little",
            5,
            (good.payload.len() - 1) as u8,
        ),
        bad("GUE whose UDP length is none", 5, 0),
        Case::passed(
            version,
            "UDP port above GUE's is the stack's",
            from_node(2, &good.with_byte(3, 0xc1)),
            Reason::NotAVip,
        ),
        Case::passed(
            version,
            "UDP port below GUE's is the stack's",
            from_node(2, &good.with_byte(3, 0xbf)),
            Reason::NotAVip,
        ),
        Case::passed(
            version,
            "first fragment of GUE is the stack's",
            from_node(2, &good.piece(Piece::First, 7)),
            Reason::NotAVip,
        ),
        Case::passed(
            version,
            "last fragment of GUE is the stack's",
            from_node(2, &good.piece(Piece::Last, 7)),
            Reason::NotAVip,
        ),
        Case::taken(
            version,
            "GUE says who sent it, whatever the hardware address",
            &good,
            3,
            &packet,
            Reason::ListenerFromNode,
        ),
    ];
    if let Some(case) = cases.last_mut() {
        case.expected.after.heard = vec![2];
    }
    let inside = if version == Version::V4 { 41 } else { 4 };
    cases.push(drop(
        version,
        "GUE around the other family than it says",
        &good.with_byte(9, inside),
        Reason::BadNetwork,
    ));
    cases.push(match version {
        Version::V4 => {
            let with_options = Packet {
                options: vec![1; 4],
                ..good.clone()
            };
            drop(
                version,
                "GUE behind options",
                &with_options,
                Reason::UnexpectedEncapsulation,
            )
        }
        Version::V6 => drop(
            version,
            "GUE behind an extension header",
            &good.behind(&[(60, options(8))]),
            Reason::UnexpectedEncapsulation,
        ),
    });
    cases
}

fn ip_in_ip(version: Version) -> Vec<Case> {
    let packet = tcp(version, FRESH_PORT, Situation::Mine.port(), SYN);
    let good = in_ipip(version, 2, &packet, 1);
    let other_family = Packet {
        protocol: if version == Version::V4 { 41 } else { 4 },
        ..good.clone()
    };
    let mut cases = vec![
        Case::dropped(
            version,
            "IP in IP with a node's address and the router's hardware address",
            from_client(&good),
            Reason::WrongMac,
        ),
        Case::dropped(
            version,
            "IP in IP with a node's address and another node's hardware address",
            from_node(3, &good),
            Reason::WrongMac,
        ),
        Case::dropped(
            version,
            "IP in IP from a node whose hardware address is not known",
            from_node(4, &in_ipip(version, 4, &packet, 1)),
            Reason::WrongMac,
        ),
        drop(
            version,
            "IP in IP around the other family than it says",
            &other_family,
            Reason::BadNetwork,
        ),
    ];
    cases.push(match version {
        Version::V4 => {
            let with_options = Packet {
                options: vec![1; 4],
                ..good.clone()
            };
            drop(
                version,
                "IP in IP behind options",
                &with_options,
                Reason::UnexpectedEncapsulation,
            )
        }
        Version::V6 => drop(
            version,
            "IP in IP behind an extension header",
            &good.behind(&[(60, options(8))]),
            Reason::UnexpectedEncapsulation,
        ),
    });
    cases.push(drop(
        version,
        "IP in IP in a first fragment",
        &good.piece(Piece::First, 1),
        Reason::UnexpectedEncapsulation,
    ));
    cases.push(drop(
        version,
        "IP in IP in a last fragment",
        &good.piece(Piece::Last, 1),
        Reason::UnexpectedEncapsulation,
    ));
    cases
}

/// What ends too early, or claims to be longer than what is around it.
fn lengths(version: Version) -> Vec<Case> {
    let packet = tcp(version, FRESH_PORT, Situation::Mine.port(), SYN);
    let header_bytes = version.outer_bytes();
    let mut cases = Vec::new();
    for (format, outer, around) in [
        ("GUE", sent(version, 2, &packet, 1), 24),
        ("IP in IP", in_ipip(version, 2, &packet, 1), 0),
    ] {
        let cut = |bytes: usize| {
            let mut cut = outer.cut(bytes);
            if around > 0 {
                cut.payload.splice(4..6, (bytes as u16).to_be_bytes());
            }
            cut
        };
        for (what, bytes) in [
            ("around nothing", around),
            ("around a part of an IP header", around + header_bytes - 1),
            ("around an IP header alone", around + header_bytes),
            ("that ends a byte before what is inside", outer.payload.len() - 1),
        ] {
            cases.push(drop(
                version,
                &format!("{format} {what}"),
                &cut(bytes),
                Reason::TruncatedNetwork,
            ));
        }
        let mut longer = from_node(2, &outer);
        let inner_length_at = 14 + header_bytes + around + if version == Version::V4 { 3 } else { 5 };
        longer
            .iter_mut()
            .skip(inner_length_at)
            .take(1)
            .for_each(|byte| *byte += 1);
        longer.push(0);
        cases.push(Case::dropped(
            version,
            &format!("{format} around what claims to be longer"),
            longer,
            Reason::TruncatedNetwork,
        ));
    }
    for bytes in [8, 12, 23] {
        let mut cut = sent(version, 2, &packet, 1).cut(bytes);
        cut.payload.splice(4..6, (bytes as u16).to_be_bytes());
        cases.push(drop(
            version,
            &format!("GUE cut after {bytes} bytes"),
            &cut,
            Reason::UnexpectedEncapsulation,
        ));
    }
    let inner = sent(version, 2, &packet.cut(19), 1);
    cases.push(
        drop(
            version,
            "GUE around a part of a TCP header",
            &inner,
            Reason::TruncatedTransport,
        )
        .hears(2),
    );
    cases
}
