//! What proxies before us say of the client: taken from those that are trusted, from nobody else.
//!
//! Sources: RFC 7239 for what the fields mean; X-Forwarded-For is a convention, read from the right because each
//! proxy appends: left of the first address that nobody vouches for stands what anybody may have written.

use std::net::{IpAddr, SocketAddr};

use bytes::{BufMut, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::seen::{Kind, Seen, is_forwarded};
use super::{FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO, Hop, REAL_IP};
use crate::config::snapshot::{Networks, Scheme};
use crate::router::Claims;

/// Whether the peer's word about clients is taken (`trusted_proxies`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// What it says is kept and added to.
    Trusted,
    /// What it says of the client is deleted.
    Untrusted,
}

impl Peer {
    /// By its address.
    pub(crate) fn new(address: IpAddr, trusted: &Networks) -> Self {
        if trusted.contains(address) {
            Self::Trusted
        } else {
            Self::Untrusted
        }
    }

    /// What routes make of what it says.
    pub(crate) fn claims(self) -> Claims {
        match self {
            Self::Trusted => Claims::Believed,
            Self::Untrusted => Claims::Ignored,
        }
    }
}

/// The client's address: the peer's, or, where that is trusted, the rightmost in X-Forwarded-For that is not.
///
/// An entry that is no address ends the walk: what stands left of it was vouched for by nobody.
pub(crate) fn client_address(headers: &HeaderMap, peer: IpAddr, trusted: &Networks) -> IpAddr {
    let mut client = peer.to_canonical();
    let fields = headers.get_all(FORWARDED_FOR);
    let mut entries = fields
        .iter()
        .rev()
        .flat_map(|value| value.as_bytes().rsplit(|&b| b == b','));
    while trusted.contains(client) {
        match entries.next().and_then(address) {
            Some(before) => client = before,
            None => break,
        }
    }
    client
}

/// The scheme by which the client came: as a trusted proxy says it, else `own`.
pub(crate) fn client_scheme(headers: &HeaderMap, peer: Peer, own: Scheme) -> Scheme {
    let said = headers.get(FORWARDED_PROTO).filter(|_| peer == Peer::Trusted);
    match said.map(HeaderValue::as_bytes) {
        Some(b"https") => Scheme::Https,
        Some(b"http") => Scheme::Http,
        _ => own,
    }
}

/// An address, with or without a port.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(entry.trim_ascii()).ok()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match bare {
        Some(v6) => IpAddr::V6(v6.parse().ok()?),
        None => text
            .parse()
            .or_else(|_| text.parse().map(|address: SocketAddr| address.ip()))
            .ok()?,
    };
    Some(address.to_canonical())
}

/// Sets what the upstream is told.
pub(super) fn set(headers: &mut HeaderMap, seen: Seen, hop: Hop<'_>) {
    if !seen.has(Kind::Forwarded) {
        set_anew(headers, hop);
        return;
    }
    match hop.peer {
        Peer::Untrusted => {
            remove(headers);
            set_anew(headers, hop);
        }
        Peer::Trusted => {
            append_client(headers, &hop.client);
            let ours = [
                (FORWARDED_PROTO, HeaderValue::from_static(hop.scheme)),
                (FORWARDED_HOST, hop.host.clone()),
            ];
            for (name, value) in ours {
                headers.entry(name).or_insert(value);
            }
        }
    }
}

fn set_anew(headers: &mut HeaderMap, hop: Hop<'_>) {
    headers.insert(FORWARDED_FOR, hop.client);
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(hop.scheme));
    headers.insert(FORWARDED_HOST, hop.host.clone());
}

/// One field with all that was said, and the peer at its end.
fn append_client(headers: &mut HeaderMap, client: &HeaderValue) {
    let mut list = BytesMut::new();
    for value in headers.get_all(FORWARDED_FOR).iter().chain([client]) {
        if !list.is_empty() {
            list.put_slice(b", ");
        }
        list.put_slice(value.as_bytes());
    }
    // Valid values joined by valid characters are valid.
    let list = HeaderValue::from_maybe_shared(list.freeze()).unwrap_or_else(|_| client.clone());
    headers.insert(FORWARDED_FOR, list);
}

fn remove(headers: &mut HeaderMap) {
    let theirs: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_forwarded(name.as_str()))
        .cloned()
        .collect();
    for name in theirs.into_iter().chain([header::FORWARDED, REAL_IP]) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::super::map;
    use super::*;

    #[test]
    fn the_client_is_the_rightmost_address_that_is_not_trusted() {
        let trusted = Networks(vec![
            "10.0.0.0/8".parse().unwrap(),
            "2001:db8::/32".parse().unwrap(),
        ]);
        let rows: &[(&str, &[&str], &str, &str)] = &[
            ("192.0.2.1", &["6.6.6.6"], "192.0.2.1", "nobody trusts the peer"),
            ("10.0.0.1", &[], "10.0.0.1", "a trusted peer says nothing"),
            ("10.0.0.1", &["192.0.2.7"], "192.0.2.7", "one hop"),
            (
                "10.0.0.1",
                &["6.6.6.6, 192.0.2.7"],
                "192.0.2.7",
                "what the client wrote itself",
            ),
            (
                "10.0.0.1",
                &["6.6.6.6,192.0.2.7 , 10.9.9.9"],
                "192.0.2.7",
                "two trusted hops",
            ),
            (
                "10.0.0.1",
                &["6.6.6.6", "192.0.2.7", "10.9.9.9"],
                "192.0.2.7",
                "over several fields",
            ),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3", "all are trusted"),
            (
                "10.0.0.1",
                &["192.0.2.7, unknown"],
                "10.0.0.1",
                "a bad entry ends it",
            ),
            (
                "10.0.0.1",
                &["192.0.2.7, , 10.0.0.2"],
                "10.0.0.2",
                "an empty one, too",
            ),
            ("10.0.0.1", &["192.0.2.7:4711"], "192.0.2.7", "with a port"),
            (
                "10.0.0.1",
                &["[2a00::7]:4711"],
                "2a00::7",
                "with a port, version 6",
            ),
            ("10.0.0.1", &["[2a00::7]"], "2a00::7", "in brackets"),
            ("10.0.0.1", &["2a00::7"], "2a00::7", "without"),
            ("10.0.0.1", &["::ffff:192.0.2.7"], "192.0.2.7", "mapped"),
            ("::ffff:10.0.0.1", &["192.0.2.7"], "192.0.2.7", "a mapped peer"),
            ("2001:db8::1", &["2a00::7, 2001:db8::2"], "2a00::7", "version 6"),
        ];
        assert_eq!(Peer::new("10.0.0.1".parse().unwrap(), &trusted), Peer::Trusted);
        assert_eq!(Peer::new("192.0.2.1".parse().unwrap(), &trusted), Peer::Untrusted);
        assert_eq!(
            Peer::new("10.0.0.1".parse().unwrap(), &Networks::default()),
            Peer::Untrusted
        );
        for (peer, fields, expected, why) in rows {
            let fields: Vec<_> = fields.iter().map(|value| ("x-forwarded-for", *value)).collect();
            let got = client_address(&map(&fields), peer.parse().unwrap(), &trusted);
            assert_eq!(got, expected.parse::<IpAddr>().unwrap(), "{why}");
        }
    }
}
