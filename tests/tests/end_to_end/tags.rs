//! Frames with VLAN tags: what is sent on to another node leaves with the tags that it came with.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use gateway_common::gue;
use gateway_tests::lab::addresses::{self, Family, HTTP_PORT, NODES, UDP_PORT, Vip};
use gateway_tests::lab::settings::{Common, INTERFACE};
use gateway_tests::lab::tagged::{Port, tcp_syn, udp_datagram};
use gateway_tests::lab::wire;

use crate::routed::routed_lab;
use crate::support::one_at_a_time;

/// Client ports that are tried: one in 1,000,000,000 labs has none that belongs to another node.
const PORTS: u16 = 20;

/// A frame that is sent on comes back at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who the frames say that they come from.
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x77];

/// The outer IPv4, UDP, and GUE with its private data.
const OUTER_BYTES: usize = 20 + 8 + 16;

#[test]
fn tagged_frames_come_back_encapsulated_with_their_tags() {
    let _turn = one_at_a_time();
    let lab = routed_lab(NODES, &[0], Common::default());
    let director = &lab.nodes()[0];
    let macs = lab.nodes().iter().map(|node| {
        let mac = node.namespace().run(|| wire::hardware_address(INTERFACE));
        mac.expect("a job").expect("a hardware address")
    });
    let macs: Vec<_> = macs.collect();
    let name = director.name().to_owned();
    let port = lab
        .switch()
        .run(move || Port::open(&name))
        .expect("a job")
        .expect("a port");
    let client = addresses::client_behind_router().v4;
    let vip = |vip: Vip| match vip.address(Family::V4) {
        std::net::IpAddr::V4(address) => address,
        std::net::IpAddr::V6(_) => unreachable!("an IPv4 address was asked for"),
    };
    for tags in [&[7_u16][..], &[7, 4_094]] {
        for kind in ["SYN", "datagram"] {
            let mut sent = Vec::new();
            for source in (20_000..).take(usize::from(PORTS)) {
                let packet = match kind {
                    "SYN" => tcp_syn((client, source), (vip(Vip::FlowHash), HTTP_PORT)),
                    _ => udp_datagram((client, source), (vip(Vip::Udp), UDP_PORT)),
                };
                port.send(macs[0], CLIENT_MAC, tags, &packet)
                    .expect("a frame that is sent");
                sent.push(packet);
            }
            let mut owners = BTreeSet::new();
            let deadline = Instant::now() + PATIENCE;
            while owners.len() < NODES - 1
                && let Some(frame) = port.receive(deadline).expect("a port that works")
            {
                let Some(index) = macs.iter().position(|mac| frame.starts_with(mac)) else {
                    continue;
                };
                let head = 14 + 4 * tags.len();
                let Some((link, packet)) = frame.split_at_checked(head) else {
                    continue;
                };
                let is_gue = packet.get(22..24) == Some(&gue::PORT.to_be_bytes());
                let Some(inner) = packet.get(OUTER_BYTES..).filter(|_| is_gue) else {
                    continue;
                };
                // Other traffic of the lab has no tags.
                let Some(original) = sent.iter().find(|packet| inner == packet.as_slice()) else {
                    continue;
                };
                assert_eq!(
                    link,
                    Port::link(macs[index], macs[0], tags),
                    "{kind}, tags {tags:?}"
                );
                assert_eq!(packet[16..20], addresses::node(index).v4.octets());
                assert!(original.len() + OUTER_BYTES == packet.len());
                owners.insert(index);
            }
            assert_eq!(owners, BTreeSet::from([1, 2]), "{kind}, tags {tags:?}");
        }
    }
}
