//! Frames by their parts, each part a choice of the script's; also what the seeds are made of.

use super::script::Script;
use super::world::{CLIENT, CLIENT_V6, ROUTER_MAC, cookie, mac, v4, v6, vip_v4, vip_v6};

/// EtherTypes of the two versions.
pub const TYPES: [u16; 2] = [0x0800, 0x86dd];

/// The sum of RFC 1071 over bytes, an odd one padded; 0xffff, if a checksum is among them and right.
pub fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u64::from(*low));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// An Ethernet header with tags.
pub fn link(to: [u8; 6], from: [u8; 6], tags: &[u16], ether_type: u16) -> Vec<u8> {
    let mut bytes = [to, from].concat();
    for (index, tag) in tags.iter().enumerate() {
        let kind = if index + 1 < tags.len() {
            0x88a8_u16
        } else {
            0x8100
        };
        bytes.extend(kind.to_be_bytes());
        bytes.extend(tag.to_be_bytes());
    }
    bytes.extend(ether_type.to_be_bytes());
    bytes
}

/// An IPv4 packet; `mark` is the identification, `fragment` the word behind it.
pub fn ipv4(
    addresses: [[u8; 4]; 2],
    protocol: u8,
    ttl: u8,
    mark: u16,
    fragment: u16,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let mut options = options.to_vec();
    options.truncate(40);
    options.resize(options.len().div_ceil(4) * 4, 0);
    let header_bytes = 20 + options.len();
    let mut bytes = vec![0x40 | (header_bytes / 4) as u8, 0];
    bytes.extend(((header_bytes + payload.len()) as u16).to_be_bytes());
    bytes.extend(mark.to_be_bytes());
    bytes.extend(fragment.to_be_bytes());
    bytes.extend([ttl, protocol, 0, 0]);
    bytes.extend(addresses.concat());
    bytes.extend(options);
    let checksum = !sum(&[&bytes]);
    bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// An IPv6 packet; `label` is the low half of the flow label.
pub fn ipv6(addresses: [[u8; 16]; 2], next: u8, hop_limit: u8, label: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0];
    bytes.extend(label.to_be_bytes());
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend([next, hop_limit]);
    bytes.extend(addresses.concat());
    bytes.extend(payload);
    bytes
}

/// A TCP segment, without a checksum: nobody on the way looks at it.
pub fn tcp(ports: [u16; 2], flags: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = ports.map(u16::to_be_bytes).concat();
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend(data);
    bytes
}

/// A datagram without a checksum.
pub fn udp(ports: [u16; 2], data: &[u8]) -> Vec<u8> {
    let mut bytes = ports.map(u16::to_be_bytes).concat();
    bytes.extend(((8 + data.len()) as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(data);
    bytes
}

/// An ICMP packet with a right checksum; `pseudo` is what ICMPv6 sums, too.
pub fn icmp(kind: u8, code: u8, word: u32, data: &[u8], pseudo: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, code, 0, 0];
    bytes.extend(word.to_be_bytes());
    bytes.extend(data);
    let checksum = !sum(&[pseudo, &bytes]);
    bytes[2..4].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

/// What ICMPv6 sums beside the packet itself.
pub fn pseudo(source: &[u8], destination: &[u8], bytes: usize) -> Vec<u8> {
    [source, destination, &(bytes as u32).to_be_bytes(), &[0, 0, 0, 58]].concat()
}

/// A packet that a client may send, of either version, and which.
///
/// Choices: version, kind, client's port, VIP, VIP's port, how it is fragmented, how much stands between the headers
/// and what, and data.
pub fn client_packet(script: &mut Script<'_>) -> (usize, Vec<u8>) {
    let version = usize::from(script.byte() % 2);
    let kind = script.byte();
    let ports = [
        40_000 + u16::from(script.byte()),
        script.one_of([80, 443, 53, 8_080]),
    ];
    let vip = script.byte() % 3 + 1;
    let fragment = script.byte();
    let between = usize::from(script.byte() % 48);
    let between = script.take(between);
    let data = usize::from(script.byte());
    let data = script.take(data);
    let (source, destination) = ([CLIENT, vip_v4(vip)], [CLIENT_V6, vip_v6(vip)]);
    let (protocol, payload) = match kind % 8 {
        0..=2 => {
            let flags = [0x02, 0x10, 0x11, 0x04, 0x12, 0x18][usize::from(kind / 8) % 6];
            (6, tcp(ports, flags, data))
        }
        3 | 4 => (17, udp(ports, data)),
        5 if version == 0 => (1, icmp(8, 0, 0x0102_0304, data, &[])),
        5 => {
            let pseudo = pseudo(&destination[0], &destination[1], 8 + data.len());
            (58, icmp(128, 0, 0x0102_0304, data, &pseudo))
        }
        6 => {
            let back = [ports[1], ports[0]];
            let (protocol, quoted) = match kind / 8 % 2 {
                0 => (6, tcp(back, 0x18, data)),
                _ => (17, udp(back, data)),
            };
            if version == 0 {
                let quoted = ipv4([source[1], source[0]], protocol, 60, 7, 0x4000, &[], &quoted);
                (1, icmp(3, 4, 1_400, &quoted, &[]))
            } else {
                let quoted = ipv6([destination[1], destination[0]], protocol, 60, 7, &quoted);
                let pseudo = pseudo(&destination[0], &destination[1], 8 + quoted.len());
                (58, icmp(2, 0, 1_400, &quoted, &pseudo))
            }
        }
        _ => (kind, data.to_vec()),
    };
    if version == 0 {
        let word = [0x4000, 0x2000, 0x2010, 0x0010][usize::from(fragment) % 4];
        return (0, ipv4(source, protocol, 62, 0x1234, word, between, &payload));
    }
    let mut next = protocol;
    let mut payload = payload;
    if !fragment.is_multiple_of(4) {
        let word = [0, 0x0001, 0x0081, 0x0080][usize::from(fragment) % 4];
        let header = [next, 0, (word >> 8) as u8, word as u8, 0, 0, 0x12, 0x34];
        payload = [&header[..], &payload].concat();
        next = 44;
    }
    if !between.is_empty() {
        let kinds = [0, 60, 43];
        let kind = kinds[usize::from(fragment / 4) % 3];
        let mut header = vec![next, 0];
        header.extend(between);
        header.resize(header.len().div_ceil(8) * 8, 0);
        header[1] = (header.len() / 8 - 1) as u8;
        payload = [header, payload].concat();
        next = kind;
    }
    (1, ipv6(destination, next, 62, 0x5678, &payload))
}

/// What a node puts around a packet: GUE, or IP alone where `gue` is `None`; of that version, from `from` to `to`.
pub fn around(
    version: usize,
    gue: Option<u64>,
    from: u8,
    to: u8,
    hops: u16,
    inner: (usize, &[u8]),
) -> Vec<u8> {
    let inside = [4, 41][inner.0];
    let (protocol, payload, mark) = match gue {
        Some(cookie) => {
            let mut data = vec![3, inside, 0, 0, 0x67, 1];
            data.extend(hops.to_be_bytes());
            data.extend(cookie.to_be_bytes());
            data.extend(inner.1);
            (17, udp([50_000, 6_080], &data), 0)
        }
        None => (inside, inner.1.to_vec(), hops),
    };
    match version {
        0 => ipv4([v4(from), v4(to)], protocol, 64, mark, 0x4000, &[], &payload),
        _ => ipv6([v6(from), v6(to)], protocol, 64, mark, &payload),
    }
}

/// A frame for node `to`.
///
/// The first choice says whether the rest is the frame itself, or what it is made of: tags, hardware addresses, what is
/// around the client's packet, that packet, and a padding.
pub fn frame(script: &mut Script<'_>, to: u8) -> Vec<u8> {
    if script.byte() % 2 == 1 {
        return script.rest().to_vec();
    }
    let tags = [0x0064, 0x2065, 0x3066];
    let tags = &tags[..usize::from(script.byte() % 4)];
    let way = script.byte();
    let destination = if way & 1 == 0 { mac(to) } else { [0xff; 6] };
    let from = script.byte() % 5;
    let source = if way & 2 == 0 { ROUTER_MAC } else { mac(from) };
    let hops = u16::from(script.byte() % 5);
    let padding = usize::from(script.byte() % 8);
    let (version, inner) = client_packet(script);
    let (version, packet) = match way >> 2 & 7 {
        around_it @ 1..=4 => {
            let outer = usize::from(around_it - 1) % 2;
            let gue = (around_it <= 2).then_some(cookie(from));
            (outer, around(outer, gue, from, to, hops, (version, &inner)))
        }
        5 => {
            let beat = udp([7_946, 7_946], &inner);
            (0, ipv4([v4(from), v4(to)], 17, 64, 0, 0, &[], &beat))
        }
        _ => (version, inner),
    };
    let mut frame = link(destination, source, tags, TYPES[version]);
    frame.extend(packet);
    frame.resize(frame.len() + padding, 0);
    frame
}

/// Makes a packet's header say how long it is: at most 65,535 bytes.
pub fn set_length(packet: &mut [u8]) {
    let bytes = packet.len();
    if packet[0] >> 4 == 4 {
        let header_end = usize::from(packet[0] & 15) * 4;
        packet[2..4].copy_from_slice(&(bytes as u16).to_be_bytes());
        packet[10..12].fill(0);
        let checksum = !sum(&[&packet[..header_end]]);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    } else {
        packet[4..6].copy_from_slice(&((bytes - 40) as u16).to_be_bytes());
    }
}
