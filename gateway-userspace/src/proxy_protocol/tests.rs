//! Headers of both versions, cut at every byte.

use super::*;

/// What is read of a whole header.
type Read = Result<Option<Ends>, Fault>;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ends(client: &str, server: &str) -> Option<Ends> {
    Some(Ends {
        client: address(client),
        server: address(server),
    })
}

/// A header of version 2 with that command and family, and what follows its length.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([command, family]);
    bytes.extend((rest.len() as u16).to_be_bytes());
    bytes.extend(rest);
    bytes
}

const IPV4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0x9c, 0x40, 1, 0xbb];

fn ipv4_and(more: &[u8]) -> Vec<u8> {
    v2(0x21, 0x11, &[&IPV4[..], more].concat())
}

/// An IPv4 header whose last extension is a checksum, right or not.
fn checked(change: u32) -> Vec<u8> {
    let mut bytes = ipv4_and(&[4, 0, 1, 7, 3, 0, 4, 0, 0, 0, 0]);
    let crc = crc32c::of(&[&bytes]) ^ change;
    let at = bytes.len() - 4;
    bytes[at..].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// What is read of the whole; before it is whole, nothing may be said but that it goes on, and what follows it is not
/// looked at.
fn check(bytes: &[u8], expected: Read, why: &str) {
    match expected {
        Ok(ends) => {
            for cut in 0..bytes.len() {
                assert_eq!(read(&bytes[..cut]), Ok(None), "{why}, cut at {cut}");
            }
            for more in [&b""[..], b"GET / HTTP/1.1\r\n", &[0; 300]] {
                let whole = [bytes, more].concat();
                let header = Header {
                    bytes: bytes.len(),
                    ends,
                };
                assert_eq!(read(&whole), Ok(Some(header)), "{why}");
            }
        }
        Err(fault) => {
            assert_eq!(read(bytes), Err(fault), "{why}");
            // Once it is bad it stays so, and before that it may go on.
            let mut was_bad = false;
            for cut in 0..=bytes.len() {
                match read(&bytes[..cut]) {
                    Ok(None) => assert!(!was_bad, "{why}, cut at {cut}"),
                    Err(_) => was_bad = true,
                    Ok(header) => panic!("{why}, cut at {cut}: {header:?}"),
                }
            }
        }
    }
}

#[test]
fn lines_say_who_connects_or_are_refused() {
    let longest =
        "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535 and some more text that is ignored by all";
    let longest = format!("{longest:.<105}\r\n");
    let too_long = format!("PROXY UNKNOWN {:.<100}\r\n", "");
    let rows: &[(&str, Read, &str)] = &[
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\r\n",
            Ok(ends("192.0.2.1:40000", "198.51.100.2:443")),
            "IPv4",
        ),
        (
            "PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n",
            Ok(ends("[2001:db8::1]:1", "[2001:db8::2]:65535")),
            "IPv6",
        ),
        ("PROXY UNKNOWN\r\n", Ok(None), "nobody"),
        ("PROXY UNKNOWN 1 2 3\r\n", Ok(None), "what follows is ignored"),
        (&longest, Ok(None), "the longest line"),
        (&too_long, Err(Fault::Malformed), "too long a line"),
        ("GET / HTTP/1.1\r\n", Err(Fault::Missing), "no header"),
        ("POST / HTTP/1.1\r\n", Err(Fault::Missing), "one letter alike"),
        (
            "PROXY  TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
            Err(Fault::Malformed),
            "two spaces",
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n",
            Err(Fault::Malformed),
            "a space at the end",
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n",
            Err(Fault::Malformed),
            "one port",
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n",
            Err(Fault::Malformed),
            "three ports",
        ),
        (
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            Err(Fault::Malformed),
            "IPv6 as TCP4",
        ),
        (
            "PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
            Err(Fault::Malformed),
            "IPv4 as TCP6",
        ),
        (
            "PROXY TCP4 192.0.2.01 198.51.100.2 1 2\r\n",
            Err(Fault::Malformed),
            "a zero before others",
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n",
            Err(Fault::Malformed),
            "a port with one",
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n",
            Err(Fault::Malformed),
            "a sign",
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n",
            Err(Fault::Malformed),
            "no port",
        ),
        (
            "PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
            Err(Fault::Malformed),
            "another family",
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n",
            Err(Fault::Malformed),
            "a line feed alone",
        ),
        (
            "PROXY UNKNOWN a\nb\r\n",
            Err(Fault::Malformed),
            "a line feed within the line",
        ),
        ("PROXY \r\n", Err(Fault::Malformed), "nothing"),
        ("PROXY UNKNOWNS\r\n", Err(Fault::Malformed), "nearly nobody"),
    ];
    for (line, expected, why) in rows {
        check(line.as_bytes(), *expected, why);
    }
    check(b"PROXY TCP4 \xff\r\n", Err(Fault::Malformed), "no text");
}

#[test]
fn binary_headers_say_who_connects_or_are_refused() {
    let ipv4 = Ok(ends("192.0.2.1:40000", "198.51.100.2:443"));
    let mut ipv6 = [0; 36];
    ipv6[..2].copy_from_slice(&[0x20, 1]);
    ipv6[15] = 1;
    ipv6[16..18].copy_from_slice(&[0x20, 1]);
    ipv6[31] = 2;
    ipv6[32..].copy_from_slice(&[0, 1, 0xff, 0xff]);
    let mut wrong_signature = ipv4_and(&[]);
    wrong_signature[11] = b'\r';
    let mut too_long = ipv4_and(&[]);
    too_long[14..16].copy_from_slice(&0x0ff1_u16.to_be_bytes());
    let longest = ipv4_and(&[&[0xee, 0x0f, 0xe1][..], &[7; 0x0fe1]].concat());
    assert_eq!(longest.len(), HEADER_BYTES_MAX);
    let rows: &[(Vec<u8>, Read, &str)] = &[
        (ipv4_and(&[]), ipv4, "IPv4"),
        (
            v2(0x21, 0x21, &ipv6),
            Ok(ends("[2001::1]:1", "[2001::2]:65535")),
            "IPv6",
        ),
        (
            ipv4_and(&[4, 0, 3, 1, 2, 3, 1, 0, 0]),
            ipv4,
            "extensions are skipped",
        ),
        (longest, ipv4, "the longest"),
        (checked(0), ipv4, "a checksum that is right"),
        (checked(1), Err(Fault::Checksum), "one that is not"),
        (
            ipv4_and(&[3, 0, 3, 0, 0, 0]),
            Err(Fault::Malformed),
            "one of three bytes",
        ),
        (
            ipv4_and(&[4, 0, 3, 1, 2]),
            Err(Fault::Malformed),
            "an extension that is cut",
        ),
        (
            ipv4_and(&[4, 0]),
            Err(Fault::Malformed),
            "an extension without a length",
        ),
        (v2(0x20, 0x00, &[]), Ok(None), "the proxy's own"),
        (
            v2(0x20, 0x11, &[1, 2, 3]),
            Ok(None),
            "the same, and what it says is discarded",
        ),
        (v2(0x21, 0x00, &[4, 0, 0]), Ok(None), "of no family"),
        (v2(0x21, 0x31, &[b'/'; 216]), Ok(None), "of unix sockets"),
        (v2(0x21, 0x12, &IPV4), Ok(None), "of datagrams"),
        (v2(0x21, 0x41, &IPV4), Err(Fault::Malformed), "of another family"),
        (
            v2(0x21, 0x13, &IPV4),
            Err(Fault::Malformed),
            "of another transport",
        ),
        (
            v2(0x21, 0x11, &IPV4[..11]),
            Err(Fault::Malformed),
            "addresses that are cut",
        ),
        (v2(0x22, 0x11, &IPV4), Err(Fault::Malformed), "another command"),
        (v2(0x31, 0x11, &IPV4), Err(Fault::Malformed), "another version"),
        (wrong_signature, Err(Fault::Missing), "another signature"),
        (too_long, Err(Fault::TooLong), "longer than may be"),
    ];
    for (bytes, expected, why) in rows {
        check(bytes, *expected, why);
    }
}

#[test]
fn what_is_written_is_read_the_same() {
    let rows = [
        (ends("192.0.2.1:40000", "198.51.100.2:443"), None),
        (ends("[2001:db8::1]:1", "[2001:db8::2]:2"), None),
        (
            ends("[::ffff:192.0.2.1]:1", "198.51.100.2:2"),
            ends("192.0.2.1:1", "198.51.100.2:2"),
        ),
        (
            ends("192.0.2.1:1", "[2001:db8::2]:2"),
            ends("[::ffff:192.0.2.1]:1", "[2001:db8::2]:2"),
        ),
        (None, None),
    ];
    for (given, otherwise) in rows {
        for version in [Version::V1, Version::V2] {
            let bytes = header(version, given);
            check(&bytes, Ok(otherwise.or(given)), &format!("{version:?} {given:?}"));
        }
    }
    let line = header(Version::V1, rows[0].0);
    assert_eq!(line, b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\r\n");
    assert_eq!(header(Version::V2, rows[0].0), ipv4_and(&[]));
    assert_eq!(header(Version::V1, None), b"PROXY UNKNOWN\r\n");
    assert_eq!(header(Version::V2, None), v2(0x20, 0, &[]));
}
