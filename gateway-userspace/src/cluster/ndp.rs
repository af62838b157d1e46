//! Neighbour discovery frames: solicitations read and checked, advertisements built. Pure.
//!
//! A solicitation that breaks a rule of RFC 4861 section 7.1.1 is nothing to us: it must come from this link
//! (hop limit 255) with a correct checksum.
//!
//! Source: RFC 4861 sections 4.3, 4.4, 7.1.1, 7.2.4, 7.2.6; RFC 2464 section 7; RFC 4443 section 2.3.

use std::net::Ipv6Addr;

use super::arp::Mac;

/// Bytes of an advertisement: Ethernet 14, IPv6 40, ICMPv6 24, one option of 8.
pub const FRAME_BYTES: usize = 86;

/// All nodes on this link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

const ETHERTYPE: [u8; 2] = [0x86, 0xdd];
const NEXT_HEADER_ICMPV6: u8 = 58;
/// Proof that no router has forwarded the packet.
const HOP_LIMIT: u8 = 255;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const OPTION_SOURCE: u8 = 1;
const OPTION_TARGET: u8 = 2;
const FLAG_SOLICITED: u8 = 0x40;
const FLAG_OVERRIDE: u8 = 0x20;
/// ICMPv6 header and target address.
const MESSAGE_BYTES: usize = 24;
/// The same with one link-layer address option.
const ADVERTISEMENT_BYTES: u16 = 32;

/// Somebody asks who has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solicitation {
    /// Who asks, on the link.
    pub sender_mac: Mac,
    /// Its address; unspecified where it asks before it takes one.
    pub sender: Ipv6Addr,
    /// The address asked for.
    pub target: Ipv6Addr,
}

/// Reads and checks a solicitation, `None` if the frame is none. Extension headers are not expected.
pub fn parse(frame: &[u8]) -> Option<Solicitation> {
    let (_to, rest) = frame.split_first_chunk::<6>()?;
    let (ethernet_source, rest) = rest.split_first_chunk::<6>()?;
    let (ethertype, rest) = rest.split_first_chunk::<2>()?;
    let (fixed, rest) = rest.split_first_chunk::<8>()?;
    let (source, rest) = rest.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    let [version, _, _, _, length_high, length_low, next_header, hop_limit] = *fixed;
    let is_ours = *ethertype == ETHERTYPE && version >> 4 == 6;
    if !is_ours || next_header != NEXT_HEADER_ICMPV6 || hop_limit != HOP_LIMIT {
        return None;
    }
    let length = u16::from_be_bytes([length_high, length_low]);
    let message = rest.get(..usize::from(length))?;
    let (head, options) = message.split_first_chunk::<MESSAGE_BYTES>()?;
    let [kind, code, _, _, _, _, _, _, target @ ..] = *head;
    if (kind, code) != (SOLICITATION, 0) || checksum(source, destination, length, message) != 0 {
        return None;
    }
    let (sender, target) = (Ipv6Addr::from(*source), Ipv6Addr::from(target));
    let option = source_option(options)?;
    // RFC 4861: who has no address yet asks the solicited-node group, and names no link-layer address.
    let is_consistent = !sender.is_unspecified() || (is_solicited_node(destination) && option.is_none());
    let sender_mac = option.unwrap_or(*ethernet_source);
    let is_station = sender_mac[0] & 1 == 0 && sender_mac != [0; 6];
    let is_valid = is_consistent && is_station && !target.is_multicast() && !sender.is_multicast();
    is_valid.then_some(Solicitation {
        sender_mac,
        sender,
        target,
    })
}

/// The source link-layer address among these options; `None` if they are malformed.
fn source_option(mut options: &[u8]) -> Option<Option<Mac>> {
    let mut found = None;
    while let Some((head, _)) = options.split_first_chunk::<2>() {
        let [kind, units] = *head;
        let length = usize::from(units) * 8;
        if length == 0 {
            return None;
        }
        let option = options.get(..length)?;
        if kind == OPTION_SOURCE && units == 1 {
            found = option.get(2..).and_then(|mac| mac.first_chunk::<6>()).copied();
        }
        options = options.get(length..)?;
    }
    options.is_empty().then_some(found)
}

/// The answer: the address asked for is at `mac`. To all nodes where the asking one has no address yet.
pub fn reply(solicitation: &Solicitation, mac: Mac) -> [u8; FRAME_BYTES] {
    if solicitation.sender.is_unspecified() {
        return announcement(solicitation.target, mac);
    }
    let flags = FLAG_SOLICITED | FLAG_OVERRIDE;
    frame(
        solicitation.sender_mac,
        solicitation.sender,
        mac,
        solicitation.target,
        flags,
    )
}

/// Tells all nodes of the link, unasked, that `address` is at `mac`, whatever they believed before.
pub fn announcement(address: Ipv6Addr, mac: Mac) -> [u8; FRAME_BYTES] {
    frame(multicast_mac(ALL_NODES), ALL_NODES, mac, address, FLAG_OVERRIDE)
}

/// The group that solicitations for this address are sent to, as the interface filters it.
pub fn solicited_node_mac(address: Ipv6Addr) -> Mac {
    let [.., a, b, c] = address.octets();
    [0x33, 0x33, 0xff, a, b, c]
}

fn is_solicited_node(destination: &[u8; 16]) -> bool {
    destination.starts_with(&[0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0xff])
}

fn multicast_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

fn frame(to_mac: Mac, to: Ipv6Addr, mac: Mac, address: Ipv6Addr, flags: u8) -> [u8; FRAME_BYTES] {
    let (source, destination) = (address.octets(), to.octets());
    let option = [[OPTION_TARGET, 1].as_slice(), &mac].concat();
    let body = [[flags, 0, 0, 0].as_slice(), &address.octets(), &option].concat();
    let unsummed = [[ADVERTISEMENT, 0, 0, 0].as_slice(), &body].concat();
    let sum = checksum(&source, &destination, ADVERTISEMENT_BYTES, &unsummed).to_be_bytes();
    let [length_high, length_low] = ADVERTISEMENT_BYTES.to_be_bytes();
    let fields: [&[u8]; 9] = [
        &to_mac,
        &mac,
        &ETHERTYPE,
        &[
            0x60,
            0,
            0,
            0,
            length_high,
            length_low,
            NEXT_HEADER_ICMPV6,
            HOP_LIMIT,
        ],
        &source,
        &destination,
        &[ADVERTISEMENT, 0],
        &sum,
        &body,
    ];
    let mut frame = [0; FRAME_BYTES];
    for (byte, value) in frame.iter_mut().zip(fields.into_iter().flatten()) {
        *byte = *value;
    }
    frame
}

/// The checksum over pseudo header and message; 0 for a message that carries its own, correct one.
fn checksum(source: &[u8; 16], destination: &[u8; 16], length: u16, message: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u64 {
        bytes
            .chunks(2)
            .map(|pair| match *pair {
                [high, low] => u64::from(u16::from_be_bytes([high, low])),
                [high] => u64::from(u16::from_be_bytes([high, 0])),
                _ => 0,
            })
            .sum()
    };
    let pseudo = u64::from(length) + u64::from(NEXT_HEADER_ICMPV6);
    let mut sum = pseudo + words(source) + words(destination) + words(message);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Mac = [2, 0, 0, 0, 0, 1];
    const OTHER: Mac = [2, 0, 0, 0, 0, 2];

    fn vip() -> Ipv6Addr {
        "2001:db8::1:10".parse().unwrap()
    }

    fn client() -> Ipv6Addr {
        "fe80::2".parse().unwrap()
    }

    /// A solicitation as Linux sends it, with a correct checksum.
    fn solicitation(source: Ipv6Addr, options: &[u8]) -> Vec<u8> {
        let destination: Ipv6Addr = "ff02::1:ff01:10".parse().unwrap();
        let mut message = [&[SOLICITATION, 0, 0, 0, 0, 0, 0, 0], &vip().octets()[..], options].concat();
        let length = u16::try_from(message.len()).unwrap();
        let sum = checksum(&source.octets(), &destination.octets(), length, &message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        [
            &solicited_node_mac(vip())[..],
            &OTHER,
            &ETHERTYPE,
            &[0x60, 0, 0, 0],
            &length.to_be_bytes(),
            &[58, 255],
            &source.octets(),
            &destination.octets(),
            &message,
        ]
        .concat()
    }

    fn with_option() -> Vec<u8> {
        solicitation(client(), &[1, 1, 2, 0, 0, 0, 0, 9])
    }

    #[test]
    fn solicitation_is_read() {
        let read = parse(&with_option()).unwrap();
        let option = [2, 0, 0, 0, 0, 9];
        assert_eq!(
            read,
            Solicitation {
                sender_mac: option,
                sender: client(),
                target: vip()
            }
        );
        let bare = parse(&solicitation(client(), &[])).unwrap();
        assert_eq!(bare.sender_mac, OTHER, "from the Ethernet header");
    }

    #[test]
    fn checksum_agrees_with_a_sum_by_hand() {
        let source: Ipv6Addr = "fd77::2".parse().unwrap();
        let destination: Ipv6Addr = "ff02::1:ff00:100".parse().unwrap();
        let target: Ipv6Addr = "fd77::100".parse().unwrap();
        let message = [
            &[135, 0, 0, 0, 0, 0, 0, 0],
            &target.octets()[..],
            &[1, 1, 2, 0, 0, 0, 0, 2],
        ]
        .concat();
        // Pseudo header fd77+2 + ff02+1+ff00+100 + 20+3a, message 8700+fd77+100+101+200+2.
        let by_hand: u32 = 0xfd77
            + 2
            + 0xff02
            + 1
            + 0xff00
            + 0x100
            + 0x20
            + 0x3a
            + 0x8700
            + 0xfd77
            + 0x100
            + 0x101
            + 0x200
            + 2;
        let folded = (by_hand & 0xffff) + (by_hand >> 16);
        assert_eq!(
            u32::from(!checksum(&source.octets(), &destination.octets(), 32, &message)),
            folded
        );
    }

    #[test]
    fn answer_is_solicited_overrides_and_has_a_checksum() {
        let frame = reply(&parse(&with_option()).unwrap(), ME);
        assert_eq!(frame[..14], [&[2, 0, 0, 0, 0, 9][..], &ME, &ETHERTYPE].concat());
        assert_eq!(frame[14..22], [0x60, 0, 0, 0, 0, 32, 58, 255]);
        assert_eq!(frame[22..38], vip().octets());
        assert_eq!(frame[38..54], client().octets());
        assert_eq!((frame[54], frame[55], frame[58]), (136, 0, 0x60));
        assert_eq!(frame[62..78], vip().octets());
        assert_eq!(frame[78..], [&[2, 1][..], &ME].concat());
        assert_eq!(checksum(&vip().octets(), &client().octets(), 32, &frame[54..]), 0);
    }

    #[test]
    fn announcement_goes_to_all_nodes_unsolicited() {
        let frame = announcement(vip(), ME);
        assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
        assert_eq!(frame[38..54], ALL_NODES.octets());
        assert_eq!(frame[58], FLAG_OVERRIDE);
        assert_eq!(
            checksum(&vip().octets(), &ALL_NODES.octets(), 32, &frame[54..]),
            0
        );
    }

    #[test]
    fn node_without_an_address_is_answered_through_all_nodes() {
        let probe = parse(&solicitation(Ipv6Addr::UNSPECIFIED, &[])).unwrap();
        assert_eq!(reply(&probe, ME), announcement(vip(), ME));
        let wrong = solicitation(Ipv6Addr::UNSPECIFIED, &[1, 1, 2, 0, 0, 0, 0, 9]);
        assert_eq!(parse(&wrong), None, "it must not name a link-layer address");
    }

    #[test]
    fn anything_else_is_nothing() {
        let good = with_option();
        for length in 0..good.len() {
            assert_eq!(parse(&good[..length]), None, "{length} bytes");
        }
        let changed = |at: usize, value: u8| {
            let mut frame = good.clone();
            frame[at] = value;
            frame
        };
        let rows = [
            ("IPv4", changed(12, 8)),
            ("version 4", changed(14, 0x40)),
            ("TCP", changed(20, 6)),
            ("forwarded", changed(21, 254)),
            ("another message", changed(54, 136)),
            ("another code", changed(55, 1)),
            ("wrong checksum", changed(57, good[57] ^ 1)),
            ("length beyond the frame", changed(19, 255)),
            (
                "option without length",
                solicitation(client(), &[1, 0, 2, 0, 0, 0, 0, 9]),
            ),
            (
                "option longer than the message",
                solicitation(client(), &[1, 2, 2, 0, 0, 0, 0, 9]),
            ),
            ("half an option", solicitation(client(), &[1])),
            (
                "from a group address",
                solicitation(client(), &[1, 1, 3, 0, 0, 0, 0, 9]),
            ),
        ];
        for (what, frame) in rows {
            assert_eq!(parse(&frame), None, "{what}");
        }
    }
}
