//! What only IPv4 has: fragments and options.

use gateway_common::verdict::{Fate, Reason};

use super::super::build::{Packet, SYN};
use super::super::world::{ME, Situation, Version};
use super::{Case, FRESH_PORT, from_client, from_node, steered, tcp};

pub fn cases() -> Vec<Case> {
    let version = Version::V4;
    let second = Situation::Second;
    let packet = tcp(version, FRESH_PORT, second.port(), SYN);
    let first = Packet {
        fragment: 0x2000,
        ..packet.clone()
    };
    let later = Packet {
        fragment: 0x0010,
        ..packet.clone()
    };
    let elsewhere = Packet {
        destination: version.host(101),
        ..first.clone()
    };
    let arrived = |packet: &Packet| from_node(2, &packet.within(version.node(2), version.node(ME.0), 1, 64));
    let mut cases = vec![
        Case::dropped(
            version,
            "first fragment for a VIP: the rest could not follow",
            from_client(&first),
            Reason::Fragment,
        ),
        Case::passed(
            version,
            "later fragment has no ports",
            from_client(&later),
            Reason::FragmentWithoutPorts,
        ),
        Case::passed(
            version,
            "first fragment for no VIP",
            from_client(&elsewhere),
            Reason::NotAVip,
        ),
        Case::dropped(
            version,
            "another node sent a first fragment",
            arrived(&first),
            Reason::Fragment,
        ),
        Case::dropped(
            version,
            "another node sent a later fragment",
            arrived(&later),
            Reason::Fragment,
        ),
    ];
    for words in [1_usize, 5, 10] {
        let with_options = Packet {
            options: vec![1; words * 4],
            ..packet.clone()
        };
        let bytes = steered(version, 2, &with_options, second.port());
        let name = format!("{} bytes of options", words * 4);
        let frame = from_client(&with_options);
        cases.push(Case::new(
            version,
            &name,
            frame,
            Fate::Transmit,
            Reason::ToOwner,
            bytes,
        ));
    }
    let here = Packet {
        options: vec![1; 8],
        ..tcp(version, FRESH_PORT, Situation::Mine.port(), SYN)
    };
    cases.push(Case::passed(
        version,
        "options before a SYN for a listener",
        from_client(&here),
        Reason::ListenerHere,
    ));
    cases
}
