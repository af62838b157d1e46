//! VLAN tags, with each kind of verdict: they stay as they are.

use gateway_common::node::EncapsulationCode;
use gateway_common::verdict::{Fate, Reason};

use super::super::build::{Mac, Packet, SYN, frame};
use super::super::world::{MAC_HERE, MAC_ROUTER, ME, Situation, Version, node_mac};
use super::{Case, FRESH_PORT, Way, entropy, flow_of, sent, tcp};

type Tags = [(u16, u16)];

fn tagged(to: Mac, from: Mac, tags: &Tags, packet: &Packet) -> Vec<u8> {
    frame(to, from, tags, packet.ether_type(), &packet.bytes())
}

pub fn cases(version: Version) -> Vec<Case> {
    let mut cases = Vec::new();
    let one: &Tags = &[(0x8100, 0x2005)];
    let two: &Tags = &[(0x88a8, 5), (0x8100, 6)];
    let customer: &Tags = &[(0x8100, 5), (0x8100, 6)];
    for (name, tags) in [
        ("one VLAN tag", one),
        ("two VLAN tags", two),
        ("two customer tags", customer),
    ] {
        cases.extend(verdicts(version, name, tags));
    }
    let packet = tcp(version, FRESH_PORT, Situation::Second.port(), SYN);
    for (name, tags) in [
        ("three VLAN tags", [(0x88a8, 5), (0x8100, 6), (0x8100, 7)]),
        (
            "three VLAN tags, the last a service tag",
            [(0x8100, 5), (0x8100, 6), (0x88a8, 7)],
        ),
    ] {
        let bytes = tagged(MAC_HERE, MAC_ROUTER, &tags, &packet);
        cases.push(Case::dropped(version, name, bytes, Reason::TooManyTags));
    }
    cases
}

fn verdicts(version: Version, name: &str, tags: &Tags) -> Vec<Case> {
    let named = |what: &str| format!("{name}: {what}");
    let in_from_client = |packet: &Packet| tagged(MAC_HERE, MAC_ROUTER, tags, packet);
    let second = tcp(version, FRESH_PORT, Situation::Second.port(), SYN);
    let mine = tcp(version, FRESH_PORT, Situation::Mine.port(), SYN);
    let flow = entropy(&flow_of(&second));
    let mut cases = Vec::new();
    for (format, what) in [
        (EncapsulationCode::GUE, "GUE"),
        (EncapsulationCode::IPIP, "IP in IP"),
    ] {
        let outer = Way::first(version, 2).in_format(format).wrap(&second, flow);
        let after = tagged(node_mac(2), MAC_HERE, tags, &outer);
        cases.push(
            Case::new(
                version,
                &named(&format!("sent on in {what}")),
                in_from_client(&second),
                Fate::Transmit,
                Reason::ToOwner,
                after,
            )
            .set(|settings| settings.encapsulation = format)
            .opens(&second, 2),
        );
        let outer = Way::here(version, 2, 1).in_format(format).wrap(&mine, 7);
        cases.push(
            Case::new(
                version,
                &named(&format!("taken out of {what}")),
                tagged(MAC_HERE, node_mac(2), tags, &outer),
                Fate::Pass,
                Reason::ListenerFromNode,
                tagged(MAC_HERE, node_mac(2), tags, &mine),
            )
            .hears(2),
        );
    }
    // The outer header is of the other family, and so is the last tag's type.
    let only_other = if version == Version::V4 {
        Situation::OnlyV6
    } else {
        Situation::OnlyV4
    };
    let (packet, node) = (
        tcp(version, FRESH_PORT, only_other.port(), SYN),
        if version == Version::V4 { 6 } else { 5 },
    );
    let outer = Way::first(version.other(), node).wrap(&packet, entropy(&flow_of(&packet)));
    cases.push(
        Case::new(
            version,
            &named("sent on in the other family"),
            in_from_client(&packet),
            Fate::Transmit,
            Reason::ToOwner,
            tagged(node_mac(node), MAC_HERE, tags, &outer),
        )
        .opens(&packet, node),
    );
    let outer = sent(version.other(), 2, &mine, 1);
    cases.push(
        Case::new(
            version,
            &named("taken out of the other family"),
            tagged(MAC_HERE, node_mac(2), tags, &outer),
            Fate::Pass,
            Reason::ListenerFromNode,
            tagged(MAC_HERE, node_mac(2), tags, &mine),
        )
        .hears(2),
    );
    cases.push(
        Case::new(
            version,
            &named("sent on by hardware address"),
            in_from_client(&second),
            Fate::Transmit,
            Reason::ToOwner,
            tagged(node_mac(2), MAC_HERE, tags, &second),
        )
        .set(|settings| settings.encapsulation = EncapsulationCode::L2)
        .opens(&second, 2),
    );
    cases.push(
        Case::passed(
            version,
            &named("passed"),
            in_from_client(&mine),
            Reason::ListenerHere,
        )
        .opens(&mine, ME.0),
    );
    let elsewhere = Packet {
        destination: version.host(101),
        ..mine
    };
    cases.push(Case::passed(
        version,
        &named("for no VIP"),
        in_from_client(&elsewhere),
        Reason::NotAVip,
    ));
    let (request, reply) = super::echo::pair(version, [0, 9, 0, 1], b"payload!");
    cases.push(Case::new(
        version,
        &named("echo answered"),
        in_from_client(&request),
        Fate::Transmit,
        Reason::EchoAnswered,
        tagged(MAC_ROUTER, MAC_HERE, tags, &reply),
    ));
    let long = second.of_bytes(1_500);
    let error = super::mtu::error(version, &long);
    cases.push(
        Case::new(
            version,
            &named("too big, answered"),
            in_from_client(&long),
            Fate::Transmit,
            Reason::TooBigAnswered,
            tagged(MAC_ROUTER, MAC_HERE, tags, &error),
        )
        .opens(&long, 2),
    );
    cases
}
