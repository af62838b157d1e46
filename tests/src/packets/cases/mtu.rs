//! What does not fit into the way to its owner: the client is told what would have, within a budget.

use gateway_common::node::EncapsulationCode;
use gateway_common::verdict::{Fate, Reason};

use super::super::build::{ACK, Packet, Piece, SYN};
use super::super::world::{ME, MTU, MTU_NARROW, Situation, Version};
use super::{Case, ErrorsLeft, FRESH_PORT, from_client, from_node, sent, tcp, to_client, udp};

/// Bytes of GUE with its outer header.
const fn gue(outer: Version) -> u16 {
    match outer {
        Version::V4 => 44,
        Version::V6 => 64,
    }
}

const fn of(mtus: [u16; 2], version: Version) -> u16 {
    match version {
        Version::V4 => mtus[0],
        Version::V6 => mtus[1],
    }
}

/// What the client is told about a packet to node 2 that does not fit into GUE.
pub fn error(version: Version, packet: &Packet) -> Packet {
    told(version, packet, of(MTU, version) - gue(version))
}

fn told(version: Version, packet: &Packet, mtu: u16) -> Packet {
    let (kind, quoted) = match version {
        Version::V4 => ([3, 4], 68),
        Version::V6 => ([2, 0], 176),
    };
    let [high, low] = mtu.to_be_bytes();
    let bytes: Vec<u8> = packet.bytes().into_iter().take(quoted).collect();
    Packet::icmp(packet.destination, packet.source, kind, [0, 0, high, low], &bytes)
}

pub fn cases(version: Version) -> Vec<Case> {
    let mut cases = bounds(version);
    cases.extend(who_is_told(version));
    cases
}

fn answer(version: Version, name: &str, packet: &Packet, mtu: u16) -> Case {
    let bytes = to_client(&told(version, packet, mtu));
    Case::new(
        version,
        name,
        from_client(packet),
        Fate::Transmit,
        Reason::TooBigAnswered,
        bytes,
    )
}

fn bounds(version: Version) -> Vec<Case> {
    let second = Situation::Second.port();
    let fits = of(MTU, version) - gue(version);
    let of_bytes = |bytes: u16| tcp(version, FRESH_PORT, second, ACK).of_bytes(bytes.into());
    let datagram = |bytes: u16| udp(version, FRESH_PORT, second).of_bytes(bytes.into());
    let outer = if version == Version::V4 { 20 } else { 40 };
    let ipip = of(MTU, version) - outer;
    let narrow = of(MTU_NARROW, version) - gue(version);
    // An IPv6 host need not go below 1,280 bytes.
    let narrow_told = if version == Version::V6 { 1_280 } else { narrow };
    let to_narrow =
        |bytes: u16| tcp(version, FRESH_PORT, Situation::Narrow.port(), ACK).of_bytes(bytes.into());
    let not_known = tcp(version, FRESH_PORT, Situation::Third.port(), ACK).of_bytes(2_000);
    let in_ipip =
        |settings: &mut gateway_common::node::Settings| settings.encapsulation = EncapsulationCode::IPIP;
    let in_l2 =
        |settings: &mut gateway_common::node::Settings| settings.encapsulation = EncapsulationCode::L2;
    let ipip_bytes = {
        let packet = of_bytes(ipip);
        let way = super::Way::first(version, 2).in_format(EncapsulationCode::IPIP);
        super::to_node(2, &way.wrap(&packet, super::entropy(&super::flow_of(&packet))))
    };
    let l2_bytes = super::to_node(2, &of_bytes(of(MTU, version)));
    vec![
        Case::steered(
            version,
            "segment that just fits",
            &of_bytes(fits),
            2,
            Reason::ToOwner,
        ),
        answer(version, "segment of one byte more", &of_bytes(fits + 1), fits),
        answer(version, "segment of two bytes more", &of_bytes(fits + 2), fits),
        answer(
            version,
            "segment of a whole MTU",
            &of_bytes(of(MTU, version)),
            fits,
        ),
        Case::steered(
            version,
            "datagram that just fits",
            &datagram(fits),
            2,
            Reason::ToOwner,
        )
        .notes(&datagram(fits), 2),
        answer(version, "datagram of one byte more", &datagram(fits + 1), fits).notes(&datagram(fits + 1), 2),
        Case::new(
            version,
            "segment that just fits into IP in IP",
            from_client(&of_bytes(ipip)),
            Fate::Transmit,
            Reason::ToOwner,
            ipip_bytes,
        )
        .set(in_ipip),
        answer(
            version,
            "segment of one byte more than fits into IP in IP",
            &of_bytes(ipip + 1),
            ipip,
        )
        .set(in_ipip),
        Case::new(
            version,
            "by hardware address a whole MTU fits",
            from_client(&of_bytes(of(MTU, version))),
            Fate::Transmit,
            Reason::ToOwner,
            l2_bytes,
        )
        .set(in_l2),
        Case::steered(
            version,
            "segment that just fits into a narrow way",
            &to_narrow(narrow),
            7,
            Reason::ToOwner,
        ),
        answer(
            version,
            "segment of one byte more than fits into a narrow way",
            &to_narrow(narrow + 1),
            narrow_told,
        ),
        Case::steered(
            version,
            "way whose MTU is not known takes everything",
            &not_known,
            3,
            Reason::ToOwner,
        ),
    ]
}

fn who_is_told(version: Version) -> Vec<Case> {
    let second = Situation::Second.port();
    let long = tcp(version, FRESH_PORT, second, ACK).of_bytes(1_500);
    let syn = tcp(version, FRESH_PORT, second, SYN).of_bytes(1_500);
    let first = tcp(version, FRESH_PORT, second, ACK)
        .piece(Piece::First, 9)
        .of_bytes(1_500);
    let last = udp(version, FRESH_PORT, second)
        .piece(Piece::Last, 9)
        .of_bytes(1_500);
    let quoted = Packet::tcp((version.vip(), second), (version.client(), FRESH_PORT), ACK).bytes();
    let (kind, rest) = if version == Version::V4 {
        ([3, 1], [0; 4])
    } else {
        ([1, 0], [0; 4])
    };
    let error = Packet::icmp(
        version.client(),
        version.vip(),
        kind,
        rest,
        &[quoted, vec![0; 1_400]].concat(),
    )
    .of_bytes(1_500);
    let from_another = tcp(version, FRESH_PORT, Situation::Mine.port(), ACK).of_bytes(1_500);
    let drop = |name: &str, packet: &Packet| {
        Case::dropped(version, name, from_client(packet), Reason::TooBigUnanswered)
    };
    let fits = of(MTU, version) - gue(version);
    let mut cases = vec![
        answer(version, "SYN with too much data", &syn, fits).opens(&syn, 2),
        drop("too big, and too many were told already", &long)
            .before(|before| before.errors_left = ErrorsLeft::None),
        drop("SYN with too much data, and too many were told already", &syn)
            .before(|before| before.errors_left = ErrorsLeft::None)
            .opens(&syn, 2),
        drop("last fragment that is too big is not answered", &last),
        drop("ICMP error that is too big is not answered", &error),
        answer(version, "first fragment that is too big", &first, fits)
            .begins(super::fragments::key(version, &first, 6, 9), 2),
        Case::dropped(
            version,
            "too big for the way on from a node: nobody is told",
            from_node(3, &sent(version, 3, &from_another, 1)),
            Reason::TooBigUnanswered,
        )
        .hears(3),
    ];
    let padded: Vec<u8> = from_client(&long.of_bytes(fits.into()))
        .into_iter()
        .chain([0; 40])
        .collect();
    let bytes = super::steered(version, 2, &long.of_bytes(fits.into()))
        .into_iter()
        .chain([0; 40])
        .collect();
    cases.push(Case::new(
        version,
        "padding behind a packet that just fits does not count",
        padded,
        Fate::Transmit,
        Reason::ToOwner,
        bytes,
    ));
    let here = tcp(version, FRESH_PORT, Situation::Mine.port(), SYN).of_bytes(2_000);
    cases.push(
        Case::passed(
            version,
            "what stays here is never too big",
            from_client(&here),
            Reason::ListenerHere,
        )
        .opens(&here, ME.0),
    );
    cases
}
