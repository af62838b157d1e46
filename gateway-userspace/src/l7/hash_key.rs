//! What a request is told apart by where its upstream's balancer hashes: the hash of one of its fields, or of its client.
//!
//! FNV-1a, then mixed: the same on all nodes and in all releases, so that nodes agree on where a key goes.

use std::net::IpAddr;

use http::header;
use http::request::Parts;

use crate::balance::mix;
use crate::config::snapshot::HashBy;

/// The hash; `None`: the request lacks what is asked for, or nothing is.
pub(super) fn key(by: &HashBy, head: &Parts, client: IpAddr) -> Option<u64> {
    match by {
        HashBy::Nothing => None,
        HashBy::Header(name) => head.headers.get(name).map(|value| of(value.as_bytes())),
        HashBy::Cookie(name) => cookie(head, name).map(of),
        HashBy::Query(name) => query(head.uri.query()?, name).map(|value| of(value.as_bytes())),
        HashBy::Path => Some(of(head.uri.path().as_bytes())),
        HashBy::Client => Some(match client.to_canonical() {
            IpAddr::V4(ip) => of(&ip.octets()),
            IpAddr::V6(ip) => of(&ip.octets()),
        }),
    }
}

/// Source: RFC 6265, section 4.2.1.
fn cookie<'h>(head: &'h Parts, name: &str) -> Option<&'h [u8]> {
    let fields = head.headers.get_all(header::COOKIE).into_iter();
    let pairs = fields.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    pairs
        .filter_map(|pair| {
            pair.trim_ascii()
                .strip_prefix(name.as_bytes())?
                .strip_prefix(b"=")
        })
        .next()
}

fn query<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    let mut pairs = query.split('&');
    pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// FNV-1a of 64 bits. Source: the IETF draft "The FNV Non-Cryptographic Hash Algorithm".
fn of(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, Request};

    #[test]
    fn keys_are_read_from_where_they_stand() {
        let request = Request::get("/a/b?x=1&user=7&users=8")
            .header("cookie", "one=1; sid=abc")
            .header("cookie", "other=2")
            .header("x-tenant", "blue")
            .body(());
        let (head, ()) = request.unwrap().into_parts();
        let client = "192.0.2.1".parse().unwrap();
        let rows: [(HashBy, Option<&[u8]>); 10] = [
            (HashBy::Nothing, None),
            (HashBy::Header(HeaderName::from_static("x-tenant")), Some(b"blue")),
            (HashBy::Header(HeaderName::from_static("x-none")), None),
            (HashBy::Cookie("sid".to_owned()), Some(b"abc")),
            (HashBy::Cookie("other".to_owned()), Some(b"2")),
            (HashBy::Cookie("si".to_owned()), None),
            (HashBy::Query("user".to_owned()), Some(b"7")),
            (HashBy::Query("use".to_owned()), None),
            (HashBy::Path, Some(b"/a/b")),
            (HashBy::Client, Some(&[192, 0, 2, 1])),
        ];
        for (by, expected) in rows {
            assert_eq!(key(&by, &head, client), expected.map(of), "{by:?}");
        }
        let mapped = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(
            key(&HashBy::Client, &head, mapped),
            key(&HashBy::Client, &head, client)
        );
    }

    #[test]
    fn hashes_never_change_for_nodes_of_different_releases_compare_them() {
        assert_eq!([of(b""), of(b"blue")], [HASH_OF_NOTHING, HASH_OF_BLUE]);
    }

    const HASH_OF_NOTHING: u64 = 14_087_677_454_934_409_008;
    const HASH_OF_BLUE: u64 = 9_105_542_302_111_056_387;
}
