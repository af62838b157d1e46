//! ARP frames: requests read, answers and announcements built. Pure.
//!
//! Ethernet and IPv4 only; anything else, and any frame that is short or inconsistent, is nothing to us.
//!
//! Source: RFC 826; RFC 5227 section 2.3 (announcements) and 2.4.

use std::net::Ipv4Addr;

/// A hardware address.
pub type Mac = [u8; 6];

/// Every station on the segment.
pub const BROADCAST: Mac = [0xff; 6];

/// Bytes of an ARP frame; drivers pad it to Ethernet's minimum.
pub const FRAME_BYTES: usize = 42;

const ETHERTYPE: [u8; 2] = [0x08, 0x06];
/// Ethernet, IPv4, address lengths 6 and 4.
const KINDS: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];
const REQUEST: [u8; 2] = [0, 1];
const REPLY: [u8; 2] = [0, 2];

/// Somebody asks who has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asks.
    pub sender_mac: Mac,
    /// Its address; 0.0.0.0 where it asks before it takes one (a probe).
    pub sender: Ipv4Addr,
    /// The address asked for.
    pub target: Ipv4Addr,
}

/// Reads a request, `None` if the frame is none.
///
/// An announcement has the form of a request for the sender's own address; nobody waits for an answer to it.
pub fn parse(frame: &[u8]) -> Option<Request> {
    let (_ethernet_addresses, rest) = frame.split_first_chunk::<12>()?;
    let (ethertype, rest) = rest.split_first_chunk::<2>()?;
    let (kinds, rest) = rest.split_first_chunk::<6>()?;
    let (operation, rest) = rest.split_first_chunk::<2>()?;
    let (sender_mac, rest) = rest.split_first_chunk::<6>()?;
    let (sender, rest) = rest.split_first_chunk::<4>()?;
    let (_target_mac, rest) = rest.split_first_chunk::<6>()?;
    let target = rest.first_chunk::<4>()?;
    let is_request = *ethertype == ETHERTYPE && *kinds == KINDS && *operation == REQUEST;
    let is_station = sender_mac[0] & 1 == 0 && *sender_mac != [0; 6];
    (is_request && is_station && sender != target).then(|| Request {
        sender_mac: *sender_mac,
        sender: Ipv4Addr::from(*sender),
        target: Ipv4Addr::from(*target),
    })
}

/// The answer: the address asked for is at `mac`.
pub fn reply(request: &Request, mac: Mac) -> [u8; FRAME_BYTES] {
    frame(
        request.sender_mac,
        mac,
        REPLY,
        request.target,
        request.sender_mac,
        request.sender,
    )
}

/// Tells the whole segment, unasked, that `address` is at `mac`.
///
/// In the form of a request, which RFC 5227 prefers and Linux takes over at once, as switches and routers do.
pub fn announcement(address: Ipv4Addr, mac: Mac) -> [u8; FRAME_BYTES] {
    frame(BROADCAST, mac, REQUEST, address, [0; 6], address)
}

fn frame(
    to: Mac,
    mac: Mac,
    operation: [u8; 2],
    sender: Ipv4Addr,
    target_mac: Mac,
    target: Ipv4Addr,
) -> [u8; FRAME_BYTES] {
    let mut frame = [0; FRAME_BYTES];
    let fields: [&[u8]; 9] = [
        &to,
        &mac,
        &ETHERTYPE,
        &KINDS,
        &operation,
        &mac,
        &sender.octets(),
        &target_mac,
        &target.octets(),
    ];
    for (byte, value) in frame.iter_mut().zip(fields.into_iter().flatten()) {
        *byte = *value;
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Mac = [2, 0, 0, 0, 0, 1];
    const OTHER: Mac = [2, 0, 0, 0, 0, 2];
    const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
    const CLIENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

    fn request() -> [u8; FRAME_BYTES] {
        frame(BROADCAST, OTHER, REQUEST, CLIENT, [0; 6], VIP)
    }

    #[test]
    fn request_is_read_and_answered() {
        let read = parse(&request()).unwrap();
        assert_eq!(
            read,
            Request {
                sender_mac: OTHER,
                sender: CLIENT,
                target: VIP
            }
        );
        let expected: Vec<u8> = [
            &OTHER[..],
            &ME,
            &[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 2],
            &ME,
            &[203, 0, 113, 10],
            &OTHER,
            &[203, 0, 113, 1],
        ]
        .concat();
        assert_eq!(reply(&read, ME).as_slice(), expected);
    }

    #[test]
    fn announcement_is_to_all_and_names_one_address_twice() {
        let expected: Vec<u8> = [
            &[0xff; 6][..],
            &ME,
            &[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1],
            &ME,
            &[203, 0, 113, 10],
            &[0; 6],
            &[203, 0, 113, 10],
        ]
        .concat();
        assert_eq!(announcement(VIP, ME).as_slice(), expected);
    }

    #[test]
    fn padding_and_probes_are_read() {
        let padded = [request().as_slice(), &[0; 18]].concat();
        assert_eq!(parse(&padded), parse(&request()));
        let probe = frame(BROADCAST, OTHER, REQUEST, Ipv4Addr::UNSPECIFIED, [0; 6], VIP);
        assert_eq!(
            parse(&probe).map(|r| (r.sender, r.target)),
            Some((Ipv4Addr::UNSPECIFIED, VIP))
        );
    }

    #[test]
    fn anything_else_is_nothing() {
        for length in 0..FRAME_BYTES {
            assert_eq!(parse(&request()[..length]), None, "{length} bytes");
        }
        let changed = |at: usize, value: u8| {
            let mut frame = request();
            frame[at] = value;
            frame
        };
        let rows = [
            ("IPv4, not ARP", changed(13, 0)),
            ("another medium", changed(15, 6)),
            ("another protocol", changed(17, 1)),
            ("long hardware addresses", changed(18, 8)),
            ("long addresses", changed(19, 16)),
            ("a reply", changed(21, 2)),
            ("from a group address", changed(22, 3)),
            ("an announcement", announcement(VIP, OTHER)),
        ];
        for (what, frame) in rows {
            assert_eq!(parse(&frame), None, "{what}");
        }
    }
}
