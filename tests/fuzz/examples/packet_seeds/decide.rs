//! Seeds of `decide`.

use gateway_fuzz::steering::packets::{self, TYPES, around, icmp, ipv4, ipv6, link, pseudo, tcp, udp};
use gateway_fuzz::steering::world::{CLIENT, CLIENT_V6, ROUTER_MAC, cookie, mac, vip_v4, vip_v6};

use super::world::{SEED, Seed};
use super::{IPIP, L2};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const FIN: u8 = 0x11;

/// Sockets of `Own`, TCP in the low two bits.
const TCP_LISTENER: u8 = 1;
const TCP_HANDSHAKE: u8 = 2;
const TCP_CONNECTION: u8 = 3;
const UDP_LISTENER: u8 = 4;
const UDP_CONNECTION: u8 = 12;
const NO_VIPS: u8 = 16;
const NO_SETTINGS: u8 = 32;

fn frame(version: usize, packet: &[u8]) -> Vec<u8> {
    [link(mac(1), ROUTER_MAC, &[], TYPES[version]), packet.to_vec()].concat()
}

fn from_node(node: u8, version: usize, packet: &[u8]) -> Vec<u8> {
    [link(mac(1), mac(node), &[], TYPES[version]), packet.to_vec()].concat()
}

fn v4_of(vip: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4([CLIENT, vip_v4(vip)], protocol, 62, 7, 0x4000, &[], payload)
}

fn v6_of(vip: u8, next: u8, payload: &[u8]) -> Vec<u8> {
    ipv6([CLIENT_V6, vip_v6(vip)], next, 62, 7, payload)
}

/// An IPv6 extension header of eight bytes.
fn extension(next: u8) -> [u8; 8] {
    [next, 0, 1, 4, 0, 0, 0, 0]
}

pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let web = [40_000, 80];
    let quic = [40_000, 443];
    let syn = v4_of(1, 6, &tcp(web, SYN, b""));
    let ack = v4_of(1, 6, &tcp(web, ACK, b"data"));
    let syn6 = v6_of(1, 6, &tcp(web, SYN, b""));
    let datagram = v4_of(1, 17, &udp(quic, b"\xc0long"));
    let long = v4_of(1, 6, &tcp(web, ACK, &[b'x'; 1_460]));
    let long6 = v6_of(1, 6, &tcp(web, ACK, &[b'x'; 1_440]));
    let not_mine = Seed {
        slot: [3, 1, 0, 0],
        ..SEED
    };
    let here = Seed {
        slot: [1, 2, 3, 4],
        ..SEED
    };
    let echo = icmp(8, 0, 1, b"ping", &[]);
    let echo_pseudo = pseudo(&CLIENT_V6, &vip_v6(1), 12);
    let echo6 = icmp(128, 0, 1, b"ping", &echo_pseudo);
    let quoted = ipv4(
        [vip_v4(1), CLIENT],
        6,
        60,
        1,
        0x4000,
        &[],
        &tcp([80, 40_000], ACK, b""),
    );
    let quoted6 = ipv6([vip_v6(1), CLIENT_V6], 6, 60, 1, &tcp([80, 40_000], ACK, b""));
    let error6_pseudo = pseudo(&CLIENT_V6, &vip_v6(1), 8 + quoted6.len());
    let error6 = icmp(2, 0, 1_400, &quoted6, &error6_pseudo);
    let gue = |hops, inner: &[u8]| around(0, Some(cookie(2)), 2, 1, hops, (0, inner));
    let other = ipv4([CLIENT, [203, 0, 113, 1]], 6, 62, 7, 0, &[], &tcp(web, ACK, b""));
    let to_group = |packet: &[u8]| [link([0xff; 6], mac(2), &[], TYPES[0]), packet.to_vec()].concat();
    let tagged = [link(mac(1), ROUTER_MAC, &[100, 101], TYPES[0]), ack.clone()].concat();
    let three = [link(mac(1), ROUTER_MAC, &[1, 2, 3], TYPES[0]), ack.clone()].concat();
    // An outer IPv6 header with destination options, which no node writes.
    let gue6 = around(1, Some(cookie(2)), 2, 1, 1, (0, &ack));
    let mut extended = gue6.clone();
    extended[6] = 60;
    extended.splice(40..40, extension(17));
    packets::set_length(&mut extended);
    // Its ICMP header lies in Ethernet's padding.
    let mut cut_echo = ipv4([CLIENT, vip_v4(1)], 1, 62, 7, 0, &[], b"");
    cut_echo.extend(&echo);
    let first = ipv4(
        [CLIENT, vip_v4(2)],
        17,
        62,
        7,
        0x2000,
        &[],
        &udp([40_000, 53], &[1; 32]),
    );
    let later = ipv4([CLIENT, vip_v4(2)], 17, 62, 7, 0x0005, &[], &[1; 32]);
    let fragment6 = v6_of(2, 44, &[&[17, 0, 0, 0x81, 0, 0, 0, 1][..], &[1; 32]].concat());
    let options = ipv4(
        [CLIENT, vip_v4(1)],
        6,
        62,
        7,
        0x4000,
        &[7, 7, 4, 0, 0, 0, 0, 0],
        &tcp(web, SYN, b""),
    );
    let extensions = [
        &extension(60)[..],
        &extension(43),
        &extension(6),
        &tcp(web, SYN, b""),
    ]
    .concat();
    let many = [[60; 8]; 7].concat();
    let named = udp(quic, &[0x40, 0, 0, 3, 0, 0, 0, 0]);
    let beat = around(0, None, 2, 1, 0, (0, &[]));
    let beat = ipv4(
        [
            [beat[12], beat[13], beat[14], beat[15]],
            [beat[16], beat[17], beat[18], beat[19]],
        ],
        17,
        64,
        0,
        0,
        &[],
        &udp([7_946; 2], b"beat"),
    );
    let l2 = |seed: Seed| Seed {
        encapsulation: L2,
        ..seed
    };
    let ipip = Seed {
        encapsulation: IPIP,
        ..SEED
    };
    let short_way = |seed: Seed| Seed { mtu: 187, ..seed };
    vec![
        ("syn-to-owner", SEED.with(&frame(0, &syn))),
        ("syn-to-owner-v6", SEED.with(&frame(1, &syn6))),
        (
            "syn-listener",
            Seed {
                sockets: [TCP_LISTENER; 4],
                ..here
            }
            .with(&frame(0, &syn)),
        ),
        ("syn-no-listener", here.with(&frame(0, &syn))),
        (
            "syn-all-ports",
            SEED.with(&frame(0, &v4_of(2, 6, &tcp([40_000, 8_080], SYN, b"")))),
        ),
        (
            "ack-socket",
            Seed {
                sockets: [TCP_CONNECTION; 4],
                ..not_mine
            }
            .with(&frame(0, &ack)),
        ),
        (
            "ack-handshake",
            Seed {
                sockets: [TCP_HANDSHAKE; 4],
                ..here
            }
            .with(&frame(0, &ack)),
        ),
        ("ack-flow-table", Seed { flow: 3, ..SEED }.with(&frame(0, &ack))),
        (
            "ack-former-life",
            Seed { flow: 0x23, ..SEED }.with(&frame(0, &ack)),
        ),
        (
            "fin-flow-table",
            Seed { flow: 3, ..SEED }.with(&frame(0, &v4_of(1, 6, &tcp(web, FIN, b"")))),
        ),
        ("ack-nobody-knows", not_mine.with(&frame(0, &ack))),
        ("no-owner", Seed { slot: [0; 4], ..SEED }.with(&frame(0, &syn))),
        (
            "unknown-owner",
            Seed { slot: [7; 4], ..SEED }.with(&frame(0, &syn)),
        ),
        (
            "unresolved-owner",
            Seed {
                lacks: [0, 12, 0, 0],
                ..SEED
            }
            .with(&frame(0, &syn)),
        ),
        (
            "only-v6-between",
            Seed {
                lacks: [1; 4],
                ..SEED
            }
            .with(&frame(0, &syn)),
        ),
        (
            "only-v4-between",
            Seed {
                lacks: [2; 4],
                ..SEED
            }
            .with(&frame(1, &syn6)),
        ),
        (
            "no-settings",
            Seed {
                sockets: [NO_SETTINGS; 4],
                ..SEED
            }
            .with(&frame(0, &syn)),
        ),
        (
            "no-headroom",
            Seed {
                headroom: 138,
                ..SEED
            }
            .with(&frame(0, &syn)),
        ),
        ("udp-to-owner", SEED.with(&frame(0, &datagram))),
        (
            "udp-listener",
            Seed {
                sockets: [UDP_LISTENER; 4],
                ..here
            }
            .with(&frame(0, &datagram)),
        ),
        (
            "udp-connection",
            Seed {
                sockets: [UDP_CONNECTION; 4],
                ..SEED
            }
            .with(&frame(0, &datagram)),
        ),
        (
            "udp-flow-table",
            Seed { flow: 4, ..SEED }.with(&frame(0, &datagram)),
        ),
        ("quic-node", SEED.with(&frame(0, &v4_of(1, 17, &named)))),
        ("fragment-first", SEED.with(&frame(0, &first))),
        ("fragment-later", SEED.with(&frame(0, &later))),
        (
            "fragment-follows",
            Seed { fragment: 3, ..SEED }.with(&frame(0, &later)),
        ),
        (
            "fragment-v6",
            Seed { fragment: 3, ..SEED }.with(&frame(1, &fragment6)),
        ),
        ("options", SEED.with(&frame(0, &options))),
        ("extensions", SEED.with(&frame(1, &v6_of(1, 0, &extensions)))),
        ("extensions-many", SEED.with(&frame(1, &v6_of(1, 60, &many)))),
        ("tags", SEED.with(&tagged)),
        ("tags-three", SEED.with(&three)),
        ("group", SEED.with(&to_group(&ack))),
        ("echo", SEED.with(&frame(0, &v4_of(1, 1, &echo)))),
        ("echo-cut", SEED.with(&frame(0, &cut_echo))),
        ("echo-v6", SEED.with(&frame(1, &v6_of(1, 58, &echo6)))),
        (
            "echo-extension",
            SEED.with(&frame(1, &v6_of(1, 60, &[&extension(58)[..], &echo6].concat()))),
        ),
        (
            "echo-between-nodes",
            SEED.with(&from_node(2, 0, &gue(1, &v4_of(1, 1, &echo)))),
        ),
        (
            "error",
            Seed { flow: 3, ..SEED }.with(&frame(0, &v4_of(1, 1, &icmp(3, 4, 1_400, &quoted, &[])))),
        ),
        ("error-v6", SEED.with(&frame(1, &v6_of(1, 58, &error6)))),
        ("too-big", short_way(SEED).with(&frame(0, &long))),
        ("too-big-v6", short_way(SEED).with(&frame(1, &long6))),
        (
            "too-big-budget",
            Seed {
                odd: 8,
                ..short_way(SEED)
            }
            .with(&frame(0, &long)),
        ),
        (
            "too-big-relayed",
            short_way(not_mine).with(&from_node(2, 0, &gue(1, &long))),
        ),
        (
            "gue-accepted",
            Seed {
                sockets: [TCP_CONNECTION; 4],
                ..SEED
            }
            .with(&from_node(2, 0, &gue(1, &ack))),
        ),
        ("gue-relayed", not_mine.with(&from_node(2, 0, &gue(1, &ack)))),
        ("gue-no-hop-left", not_mine.with(&from_node(2, 0, &gue(3, &ack)))),
        ("gue-bad-hops", not_mine.with(&from_node(2, 0, &gue(4, &ack)))),
        (
            "gue-bad-cookie",
            not_mine.with(&from_node(2, 0, &around(0, Some(9), 2, 1, 1, (0, &ack)))),
        ),
        (
            "gue-no-node",
            not_mine.with(&from_node(9, 0, &around(0, Some(cookie(9)), 9, 1, 1, (0, &ack)))),
        ),
        ("gue-v6", not_mine.with(&from_node(2, 1, &gue6))),
        ("gue-v6-extension", not_mine.with(&from_node(2, 1, &extended))),
        (
            "gue-unknown-vip",
            not_mine.with(&from_node(2, 0, &gue(1, &other))),
        ),
        ("gue-unknown-vip-group", not_mine.with(&to_group(&gue(1, &other)))),
        (
            "gue-vips-missing",
            Seed {
                sockets: [NO_VIPS; 4],
                ..not_mine
            }
            .with(&from_node(2, 0, &gue(1, &ack))),
        ),
        (
            "gue-foreign",
            Seed { odd: 1, ..not_mine }.with(&from_node(2, 0, &gue(1, &ack))),
        ),
        ("heartbeat", SEED.with(&from_node(2, 0, &beat))),
        (
            "ipip",
            Seed {
                encapsulation: IPIP,
                ..not_mine
            }
            .with(&from_node(2, 0, &around(0, None, 2, 1, 1, (0, &ack)))),
        ),
        (
            "ipip-4in6",
            ipip.with(&from_node(2, 1, &around(1, None, 2, 1, 2, (0, &ack)))),
        ),
        (
            "ipip-6in4",
            ipip.with(&from_node(2, 0, &around(0, None, 2, 1, 1, (1, &syn6)))),
        ),
        (
            "ipip-wrong-mac",
            ipip.with(&from_node(3, 0, &around(0, None, 2, 1, 1, (0, &ack)))),
        ),
        ("l2-first-hop", l2(SEED).with(&frame(0, &ack))),
        ("l2-second-hop", l2(not_mine).with(&from_node(2, 0, &ack))),
        (
            "l2-foreign",
            Seed { odd: 1, ..l2(SEED) }.made_of(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ),
        (
            "lease-old",
            Seed {
                lease: 0b1_1010,
                ..SEED
            }
            .with(&frame(0, &syn)),
        ),
        (
            "lease-old-heard",
            Seed {
                lease: 0b10_0010,
                ..SEED
            }
            .with(&frame(0, &syn)),
        ),
        (
            "parts-gue",
            SEED.made_of(&[1, 6, 2, 1, 3, 0, 8, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4]),
        ),
        (
            "parts-v6",
            SEED.made_of(&[2, 0, 0, 0, 0, 1, 3, 0, 1, 0, 1, 6, 1, 2, 3, 4, 5, 6, 2, 0x40, 0]),
        ),
        (
            "arp",
            SEED.with(
                &[
                    &link([0xff; 6], ROUTER_MAC, &[], 0x0806)[..],
                    &[0, 1, 8, 0, 6, 4, 0, 1],
                ]
                .concat(),
            ),
        ),
        ("cut", SEED.with(&frame(0, &ack)[..30])),
        ("not-a-vip", SEED.with(&frame(0, &other))),
    ]
}
