//! Filters, draws and rates of traces, and what is told of packets that cannot be read.

use core::net::IpAddr;

use super::*;
use crate::forward::{apply, decide};
use crate::memory::{MemoryFrame, MemoryTables};
use crate::node::Settings;
use crate::parse::Matter;
use crate::prefix::Prefix;
use crate::verdict::{Action, Reason};

const SECOND_NS: u64 = 1_000_000_000;

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn of_prefix(text: &str) -> Trace {
    let (network, bits) = text.split_once('/').unwrap();
    let prefix = Prefix::new(network.parse().unwrap(), bits.parse().unwrap()).unwrap();
    let (mask, prefix) = prefix.halves();
    Trace {
        mask,
        prefix,
        ..Trace::default()
    }
}

fn event(source: &str, destination: &str) -> PacketEvent {
    PacketEvent {
        source: address(source),
        destination: address(destination),
        ..PacketEvent::default()
    }
}

#[test]
fn a_trace_wants_the_packets_of_its_prefix_and_its_vip_and_no_others() {
    let rows = [
        (
            "the sender",
            "198.51.100.0/24",
            "198.51.100.7",
            "203.0.113.1",
            true,
        ),
        (
            "the receiver",
            "203.0.113.1/32",
            "198.51.100.7",
            "203.0.113.1",
            true,
        ),
        (
            "a neighbour of both",
            "203.0.113.2/32",
            "198.51.100.7",
            "203.0.113.1",
            false,
        ),
        (
            "half an octet",
            "198.51.100.0/28",
            "198.51.100.15",
            "203.0.113.1",
            true,
        ),
        (
            "half an octet, beyond",
            "198.51.100.0/28",
            "198.51.100.16",
            "203.0.113.1",
            false,
        ),
        ("all of IPv4", "0.0.0.0/0", "198.51.100.7", "203.0.113.1", true),
        (
            "all of IPv4, not IPv6",
            "0.0.0.0/0",
            "2001:db8::1",
            "2001:db8::2",
            false,
        ),
        ("IPv6", "2001:db8::/33", "2001:db8:7fff::1", "2001:db9::2", true),
        (
            "IPv6, beyond",
            "2001:db8::/33",
            "2001:db8:8000::1",
            "2001:db9::2",
            false,
        ),
        (
            "IPv6, second half",
            "2001:db8::1:0/112",
            "2001:db8::1:ffff",
            "2001:db9::2",
            true,
        ),
        (
            "IPv6, second half, beyond",
            "2001:db8::1:0/112",
            "2001:db8::2:0",
            "2001:db9::2",
            false,
        ),
    ];
    for (what, prefix, source, destination, expected) in rows {
        assert_eq!(
            of_prefix(prefix).wants(&event(source, destination)),
            expected,
            "{what}"
        );
    }
    // An error is about a client who did not send it.
    let mut error = event("192.0.2.1", "203.0.113.1");
    error.flow.source = address("198.51.100.7");
    assert!(of_prefix("198.51.100.0/24").wants(&error));

    let of_vip = |vip| Trace {
        vip,
        ..Trace::default()
    };
    let mut for_second = event("198.51.100.7", "203.0.113.1");
    for_second.vip = VipId(2);
    for (vip, expected) in [
        (Trace::ANY_VIP, true),
        (1, false),
        (2, true),
        (Trace::NO_VIP, false),
    ] {
        assert_eq!(of_vip(vip).wants(&for_second), expected, "VIP {vip}");
    }
    let both = Trace {
        vip: 1,
        ..of_prefix("198.51.100.0/24")
    };
    assert!(!both.wants(&for_second), "its address is wanted, its VIP is not");
}

#[test]
fn one_of_so_many_is_drawn() {
    for one_of in [0, 1] {
        assert!(u64::from(u32::MAX) < Trace::drawn_below(one_of), "every number");
    }
    for one_of in [2, 3, 1_000, u32::MAX] {
        let share = Trace::drawn_below(one_of) as f64 / NUMBERS as f64;
        let wanted = 1.0 / f64::from(one_of);
        assert!(share >= wanted && share - wanted < 1e-9, "{one_of}: {share}");
    }
}

#[test]
fn a_trace_tells_no_more_than_its_rate_and_counts_what_it_keeps_back() {
    let trace = Trace {
        drawn_below: Trace::drawn_below(2),
        rate: Trace::rate(100),
        ..Trace::default()
    };
    let (bucket, mut count) = (Bucket::default(), TraceCount::default());
    let mut told = 0;
    // Two seconds of 10,000 packets each, every other drawn.
    for packet in 0..20_000_u64 {
        let drawn = if packet.is_multiple_of(2) { 0 } else { NUMBERS - 1 };
        let now_ns = 100 * SECOND_NS + packet * (SECOND_NS / 10_000);
        told += u64::from(trace.takes(drawn, &bucket, &mut count, now_ns));
    }
    assert_eq!((count.seen, count.sampled), (20_000, 10_000));
    assert!((200..=212).contains(&told), "{told}");
    assert_eq!(count.limited, 10_000 - told);

    let slow = Trace {
        drawn_below: NUMBERS,
        rate: Trace::rate(1),
        ..Trace::default()
    };
    let bucket = Bucket::default();
    let mut taken = |at_ns| slow.takes(0, &bucket, &mut count, at_ns);
    let now_ns = 200 * SECOND_NS;
    assert!(taken(now_ns) && !taken(now_ns + SECOND_NS / 2) && taken(now_ns + SECOND_NS + 1));
}

#[test]
fn a_trace_ends_when_its_time_is_over() {
    let trace = Trace {
        until_ns: 10,
        ..Trace::default()
    };
    assert!(trace.runs(9) && !trace.runs(10));
    assert!(!Trace::default().runs(0), "there is none");
}

#[test]
fn nothing_of_an_earlier_packet_is_told_of_one_that_cannot_be_read() {
    let tables = MemoryTables {
        settings: Some(Settings {
            hash_key: [1, 2],
            ..Settings::default()
        }),
        ..MemoryTables::default()
    };
    let mut notes = Notes::default();
    // A SYN from 10.0.0.1:4096 to 10.0.0.2:80, then a frame that ends within its addresses.
    let mut syn = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    syn.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    syn.extend([0x10, 0, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]);
    let short = syn[..9].to_vec();
    let mut event = PacketEvent::default();
    for (bytes, source, flow_protocol, matter, reason) in [
        (
            syn,
            address("10.0.0.1"),
            6,
            Some(Matter::Segment),
            Reason::NotAVip,
        ),
        (short, Address::default(), 0, None, Reason::TruncatedLink),
    ] {
        let mut frame = MemoryFrame::new(bytes);
        notes.forget();
        let mut verdict = decide(&frame, &tables, &mut notes);
        apply(&mut frame, &mut verdict, &notes);
        event.note(&notes);
        event.decide(&verdict);
        assert_eq!(event.source, source);
        assert_eq!(event.flow.protocol, flow_protocol);
        assert_eq!(event.matter(), matter);
        assert_eq!(Reason::ALL[usize::from(event.reason)], reason);
        assert_eq!(Action::ALL[usize::from(event.action)], verdict.action);
    }
}
