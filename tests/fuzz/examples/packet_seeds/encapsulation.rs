//! Seeds of `encapsulation`.

use super::{GUE, IPIP, L2};

/// Each format, with each outer family, for packets of all kinds: named by format, outer family and packet.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    // Version, kind, port, VIP's port, VIP, fragment, between, data: as `packets::client_packet` reads them.
    let packets: [(&str, [u8; 2], &[u8]); 8] = [
        ("ack-v4", [0, 0], &[0, 8, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4]),
        ("ack-v6", [0, 0], &[1, 8, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4]),
        ("udp-v4", [0, 9], &[0, 3, 0, 1, 0, 0, 0, 0]),
        ("udp-v6", [0, 9], &[1, 3, 0, 1, 0, 0, 0, 0]),
        ("options", [0, 0], &[0, 0, 0, 0, 0, 0, 4, 7, 4, 0, 0, 0]),
        ("extension", [0, 0], &[1, 8, 0, 0, 0, 4, 6, 1, 4, 0, 0, 0, 0, 0]),
        ("fragment", [0, 99], &[0, 3, 0, 2, 1, 2, 0, 0]),
        ("longest", [0xff, 0xff], &[0, 8, 0, 0, 0, 0, 0, 0]),
    ];
    let mut seeds = Vec::new();
    for (format, code) in [("gue", GUE), ("ipip", IPIP), ("l2", L2)] {
        for (index, (name, length, packet)) in packets.iter().enumerate() {
            // Outer families, times sent on, tags and padding take turns.
            let lacks = (index / 2 % 3) as u8;
            let outer = ["any", "v6", "v4"][usize::from(lacks)];
            let turns = [
                lacks,
                (index % 3) as u8,
                ((index + 1) % 3) as u8,
                (index % 2 * 5) as u8,
            ];
            let bytes = [&[code][..], &turns, length, packet].concat();
            seeds.push((format!("{format}-{outer}-{name}"), bytes));
        }
    }
    seeds
}
