//! What is, and what is not, for a VIP: by port, by all ports, by hardware address.

use gateway_common::verdict::Reason;

use super::super::build::{ACK, Packet, SYN, frame};
use super::super::world::{ANY_PORT_LISTENER, MAC_HERE, MAC_ROUTER, ME, Situation, Version};
use super::{Case, FRESH_PORT, from_client, sent, tcp, udp};

pub fn cases(version: Version) -> Vec<Case> {
    let mut cases = none(version);
    cases.extend(all_ports(version));
    cases.extend(unknown_inside(version));
    cases
}

fn none(version: Version) -> Vec<Case> {
    let pass = |name: &str, packet: &Packet, reason| Case::passed(version, name, from_client(packet), reason);
    let mine = tcp(version, FRESH_PORT, Situation::Mine.port(), SYN);
    let at = |address, port| Packet::tcp((version.client(), FRESH_PORT), (address, port), SYN);
    let from_vip = Packet::tcp((version.vip(), 8000), (version.client(), FRESH_PORT), SYN | ACK);
    let protocol = |number| Packet {
        protocol: number,
        ..mine.clone()
    };
    let other_icmp = if version == Version::V4 { 58 } else { 1 };
    let mut cases = vec![
        pass(
            "address that is no VIP",
            &at(version.host(101), 8000),
            Reason::NotAVip,
        ),
        pass(
            "port of a VIP's address that is no VIP",
            &at(version.vip(), 9_999),
            Reason::NotAVip,
        ),
        pass(
            "port 0 of a VIP without all ports",
            &at(version.vip(), 0),
            Reason::NotAVip,
        ),
        pass(
            "UDP port that is no VIP",
            &udp(version, FRESH_PORT, 9_999),
            Reason::NotAVip,
        ),
        pass(
            "this node's own address",
            &at(version.node(ME.0), 22),
            Reason::NotAVip,
        ),
        pass("answer of a VIP", &from_vip, Reason::NotAVip),
        pass("before user space wrote anything", &mine, Reason::NotConfigured)
            .before(|before| before.settings = None),
    ];
    for (name, number) in [
        ("SCTP", 132),
        ("GRE", 47),
        ("ICMP of the other family", other_icmp),
        ("IP in IP for a VIP", 4),
    ] {
        cases.push(pass(name, &protocol(number), Reason::NotAVip));
    }
    for (name, packet) in [
        ("SYN", &mine),
        ("datagram", &udp(version, FRESH_PORT, Situation::Mine.port())),
    ] {
        for (kind, first) in [("a group's", 0x03), ("everybody's", 0xff)] {
            let mut group = from_client(packet);
            group.iter_mut().take(1).for_each(|byte| *byte = first);
            let name = format!("{name} for a VIP, to {kind} hardware address");
            cases.push(Case::dropped(version, &name, group, Reason::GroupAddress));
        }
    }
    let elsewhere = at(version.host(101), 80);
    let group = frame(
        [0xff; 6],
        MAC_ROUTER,
        &[],
        elsewhere.ether_type(),
        &elsewhere.bytes(),
    );
    cases.push(Case::passed(
        version,
        "for no VIP, to everybody's hardware address",
        group,
        Reason::NotAVip,
    ));
    if version == Version::V4 {
        for (name, ether_type) in [
            ("ARP", 0x0806),
            ("LLDP", 0x88cc),
            ("length instead of a type", 60),
            ("MPLS", 0x8847),
        ] {
            let bytes = frame(MAC_HERE, MAC_ROUTER, &[], ether_type, &[0; 46]);
            cases.push(Case::passed(version, name, bytes, Reason::NotIp));
            let bytes = frame(
                MAC_HERE,
                MAC_ROUTER,
                &[(0x88a8, 5), (0x8100, 6)],
                ether_type,
                &[0; 46],
            );
            let name = format!("{name} behind two VLAN tags");
            cases.push(Case::passed(version, &name, bytes, Reason::NotIp));
        }
    } else {
        for (name, kind) in [
            ("router solicitation", 133),
            ("router advertisement", 134),
            ("neighbour solicitation", 135),
            ("neighbour advertisement", 136),
            ("redirect", 137),
        ] {
            let data = [version.vip()].map(|_| [0; 24]).concat();
            let packet = Packet::icmp(version.client(), version.vip(), [kind, 0], [0; 4], &data);
            cases.push(pass(name, &packet, Reason::NotAVip));
        }
    }
    cases
}

fn all_ports(version: Version) -> Vec<Case> {
    let any = version.vip_of_all_ports();
    let to = |address, port, flags| Packet::tcp((version.client(), FRESH_PORT), (address, port), flags);
    let datagram = |address, port| Packet::udp((version.client(), FRESH_PORT), (address, port));
    let here = to(any, ANY_PORT_LISTENER, SYN);
    let nobody = to(any, 1, SYN);
    let exact = to(any, 8_500, SYN);
    let only_tcp = to(version.vip_of_all_tcp_ports(), 65_535, SYN);
    let zero = to(version.vip_of_all_tcp_ports(), 0, SYN);
    vec![
        Case::passed(
            version,
            "VIP of all ports, one with a listener",
            from_client(&here),
            Reason::ListenerHere,
        )
        .opens(&here, ME.0),
        Case::passed(
            version,
            "VIP of all ports, one without a listener",
            from_client(&nobody),
            Reason::NoCandidate,
        )
        .opens(&nobody, ME.0),
        Case::steered(
            version,
            "a port's own VIP beats that of all ports",
            &exact,
            2,
            Reason::ToOwner,
        )
        .opens(&exact, 2),
        Case::steered(
            version,
            "UDP VIP of all ports",
            &datagram(any, 5_353),
            2,
            Reason::ToOwner,
        )
        .notes(&datagram(any, 5_353), 2),
        Case::steered(
            version,
            "UDP VIP of all ports, where TCP has a port of its own",
            &datagram(any, 8_500),
            2,
            Reason::ToOwner,
        )
        .notes(&datagram(any, 8_500), 2),
        Case::steered(
            version,
            "VIP of all TCP ports, the last one",
            &only_tcp,
            2,
            Reason::ToOwner,
        )
        .opens(&only_tcp, 2),
        Case::steered(version, "VIP of all TCP ports, port 0", &zero, 2, Reason::ToOwner).opens(&zero, 2),
        Case::passed(
            version,
            "VIP of all TCP ports has no UDP",
            from_client(&datagram(version.vip_of_all_tcp_ports(), 53)),
            Reason::NotAVip,
        ),
    ]
}

/// A VIP that the sender knew and this node does not.
fn unknown_inside(version: Version) -> Vec<Case> {
    let packet = Packet::tcp((version.client(), FRESH_PORT), (version.host(101), 80), SYN);
    let sctp = Packet {
        protocol: 132,
        ..tcp(version, FRESH_PORT, 8000, SYN)
    };
    let on = |name: &str, from: u16, to: u16, all: Situation| {
        let bytes = super::relayed(version, to, &packet, 2);
        let frame = super::from_node(from, &sent(version, from, &packet, 1));
        let fate = gateway_common::verdict::Fate::Transmit;
        Case::new(version, name, frame, fate, Reason::ToNodeThatKnows, bytes)
            .before(|before| before.table_of_all = all)
            .hears(from)
    };
    let drop = |name: &str, packet: &Packet, from: u16, hops, all: Situation| {
        let frame = super::from_node(from, &sent(version, from, packet, hops));
        Case::dropped(version, name, frame, Reason::UnknownVipInside)
            .before(|before| before.table_of_all = all)
            .hears(from)
    };
    vec![
        on("unknown VIP inside goes on to the owner", 3, 2, Situation::Second),
        on(
            "unknown VIP inside goes on to the previous owner, if the owner sent it",
            2,
            3,
            Situation::SecondThird,
        ),
        on(
            "unknown VIP inside goes on to the second previous owner",
            2,
            3,
            Situation::Mine,
        ),
        drop(
            "unknown VIP inside goes on once, not twice",
            &packet,
            3,
            2,
            Situation::Second,
        ),
        drop(
            "unknown VIP inside, at the last hop",
            &packet,
            3,
            3,
            Situation::Second,
        ),
        drop(
            "unknown VIP inside, and nobody is left",
            &packet,
            2,
            1,
            Situation::Second,
        ),
        drop(
            "unknown VIP inside, and there is nobody else",
            &packet,
            2,
            1,
            Situation::MineAlways,
        ),
        drop(
            "what is inside is neither TCP, UDP nor ICMP",
            &sctp,
            2,
            1,
            Situation::Second,
        ),
    ]
}
