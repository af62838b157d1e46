//! Events as the kernel tells them, and the words that come of them.

use gateway_common::node::NodeId;
use gateway_common::verdict::Verdict;
use gateway_common::vip::VipId;

use super::*;

fn names() -> Names {
    Names {
        node: "gw-1".to_owned(),
        vips: [(1, "public".to_owned())].into(),
        nodes: [(1, "gw-1".to_owned()), (2, "gw-2".to_owned())].into(),
    }
}

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn moment() -> Moment {
    Moment {
        wall: SystemTime::UNIX_EPOCH + Duration::from_secs(100),
        boot_ns: 50_000_000_000,
    }
}

fn decided(action: Action, reason: Reason, vip: u16, node: u16) -> PacketEvent {
    let mut event = PacketEvent {
        at_ns: 49_999_999_999,
        frame_bytes: 74,
        ..PacketEvent::default()
    };
    event.decide(&Verdict {
        action,
        reason,
        vip: VipId(vip),
        node: NodeId(node),
    });
    event
}

fn from_client(mut event: PacketEvent, protocol: u8, matter: Matter) -> PacketEvent {
    event.source = address("198.51.100.7");
    event.destination = address("203.0.113.10");
    event.protocol = u16::from(protocol);
    event.flow = FlowKey {
        source: event.source,
        destination: event.destination,
        ports: [40_000_u16.to_be(), 443_u16.to_be()],
        protocol: u16::from(protocol),
        zero: 0,
    };
    event.matter = matter as u16;
    event
}

#[test]
fn a_segment_is_told_with_ports_flags_names_and_its_time() {
    let mut event = from_client(
        decided(Action::Send, Reason::ToOwner, 1, 2),
        PROTOCOL_TCP,
        Matter::Segment,
    );
    event.flags = 0x12;
    let told = packet(&event, &names(), moment());
    assert_eq!(told.time, "1970-01-01T00:01:39.999999999Z");
    let words = [
        &told.verdict,
        &told.reason,
        &told.protocol,
        &told.source,
        &told.destination,
    ];
    assert_eq!(
        words,
        [
            "send",
            "to-owner",
            "tcp",
            "198.51.100.7:40000",
            "203.0.113.10:443"
        ]
    );
    assert_eq!(
        (told.vip.as_deref(), told.flags.as_deref()),
        (Some("public"), Some("S."))
    );
    assert_eq!(
        (told.from, told.to.as_deref(), told.hops),
        (None, Some("gw-2"), 0)
    );
    assert_eq!((told.node.as_str(), told.about, told.frame), ("gw-1", None, None));
}

#[test]
fn packets_of_other_kinds_are_told_as_what_they_are() {
    let of = |action, reason, protocol, matter| from_client(decided(action, reason, 1, 0), protocol, matter);
    let mut from_node = of(
        Action::Decapsulate,
        Reason::SocketFromNode,
        PROTOCOL_TCP,
        Matter::Segment,
    );
    from_node.sender = NodeId(2);
    from_node.hops = 1;
    let told = packet(&from_node, &names(), moment());
    assert_eq!(
        (told.verdict.as_str(), told.from.as_deref(), told.hops),
        ("decapsulate", Some("gw-2"), 1)
    );
    assert_eq!(told.flags.as_deref(), Some("none"));

    let echo = packet(
        &of(
            Action::AnswerEcho,
            Reason::EchoAnswered,
            PROTOCOL_ICMP,
            Matter::Echo,
        ),
        &names(),
        moment(),
    );
    assert_eq!(
        (echo.protocol.as_str(), echo.source.as_str(), echo.flags),
        ("icmp", "198.51.100.7", None)
    );

    let mut error = of(Action::Pass, Reason::ErrorHere, PROTOCOL_TCP, Matter::Error);
    error.source = address("192.0.2.1");
    error.protocol = u16::from(PROTOCOL_ICMP);
    let error = packet(&error, &names(), moment());
    assert_eq!(
        (error.protocol.as_str(), error.source.as_str()),
        ("icmp", "192.0.2.1")
    );
    assert_eq!(
        error.about.as_deref(),
        Some("tcp 198.51.100.7:40000 > 203.0.113.10:443")
    );

    // What was to be sent and had no room is dropped, and of a number that no configuration has the number is told.
    let mut full = of(Action::Send, Reason::NoHeadroom, PROTOCOL_UDP, Matter::Datagram);
    full.vip = VipId(9);
    full.node = NodeId(7);
    let full = packet(&full, &names(), moment());
    assert_eq!(
        (full.verdict.as_str(), full.vip.as_deref(), full.to.as_deref()),
        ("drop", Some("VIP 9"), Some("node 7"))
    );
}

#[test]
fn what_is_no_ip_is_told_by_hardware_addresses_and_a_short_frame_as_far_as_it_came() {
    let mut event = decided(Action::Pass, Reason::NotIp, 0, 0);
    let frame: [u8; 18] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 0, 7, 8, 6];
    for (word, two) in event.head.iter_mut().flatten().zip(frame.chunks(2)) {
        *word = u16::from_ne_bytes([two[0], two[1]]);
    }
    for (bytes, protocol, source, destination) in [
        (18, "arp", "02:00:00:00:00:02", "02:00:00:00:00:01"),
        (17, "-", "02:00:00:00:00:02", "02:00:00:00:00:01"),
        (11, "-", "-", "02:00:00:00:00:01"),
        (0, "-", "-", "-"),
    ] {
        event.frame_bytes = bytes;
        let told = packet(&event, &names(), moment());
        assert_eq!(
            [told.protocol.as_str(), &told.source, &told.destination],
            [protocol, source, destination],
            "{bytes} bytes"
        );
        let told = with_frame(&told, &event, 14);
        let bytes = STANDARD.decode(told.frame.unwrap()).unwrap();
        assert_eq!(bytes, frame[..bytes.len()]);
        assert_eq!(bytes.len(), (event.frame_bytes as usize).min(14));
    }
}
