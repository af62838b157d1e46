//! Header fields between the two sides: hop-by-hop fields go, our own are set.
//!
//! Sources: RFC 9110, section 7.6.1 (Connection) and 7.6.3 (Via); RFC 9113, section 8.2.2 and 8.2.3.
//! One pass over the names finds what is there, so that a plain request pays for no look-up it does not need.

use http::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};
use http_body::Body;

use super::error::ProxyError;

/// Fields that a Connection field must not name: removing them would change what the request means.
const PROTECTED: [&str; 4] = ["host", "authorization", "cookie", "te"];
/// Prefixes of such fields.
const PROTECTED_PREFIXES: [&str; 2] = ["content-", "x-forwarded-"];
/// Longest request id that is taken over, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// Identifies a request in logs, on both sides.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Names the node that answered.
pub(crate) const NODE: HeaderName = HeaderName::from_static("x-gateway-node");

/// What was seen in one pass over the names.
#[derive(Default)]
struct Seen {
    connection: Presence,
    te: Presence,
    hop_by_hop: Presence,
    framing: Presence,
    forwarded: Presence,
    expect: Presence,
    cookies: usize,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Presence {
    #[default]
    Absent,
    Present,
}

impl Seen {
    fn scan(headers: &HeaderMap) -> Self {
        let mut seen = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "connection" => seen.connection = Presence::Present,
                "te" => seen.te = Presence::Present,
                "keep-alive" | "proxy-connection" | "upgrade" | "http2-settings" => {
                    seen.hop_by_hop = Presence::Present;
                }
                "transfer-encoding" => {
                    seen.hop_by_hop = Presence::Present;
                    seen.framing = Presence::Present;
                }
                "content-length" => seen.framing = Presence::Present,
                "expect" => seen.expect = Presence::Present,
                "forwarded" | "x-real-ip" => seen.forwarded = Presence::Present,
                "cookie" => seen.cookies = headers.get_all(header::COOKIE).iter().count(),
                other if other.starts_with("x-forwarded-") => seen.forwarded = Presence::Present,
                _ => {}
            }
        }
        seen
    }
}

/// What the gateway says of itself and of the client to an upstream.
pub(crate) struct Hop<'h> {
    /// The client's address.
    pub(crate) client: &'h HeaderValue,
    /// The client's scheme.
    pub(crate) scheme: &'static str,
    /// The host the client asked for.
    pub(crate) host: &'h HeaderValue,
    /// Of this request.
    pub(crate) request_id: &'h HeaderValue,
    /// `1.1 gateway` or `2 gateway`: what the client spoke.
    pub(crate) via: &'static str,
}

/// Makes a client's fields what an upstream gets.
///
/// # Errors
/// [`ProxyError::ConnectionBad`].
pub(crate) fn to_upstream(headers: &mut HeaderMap, hop: &Hop<'_>) -> Result<(), ProxyError> {
    let seen = Seen::scan(headers);
    if seen.connection == Presence::Present {
        remove_named(headers)?;
    }
    if seen.hop_by_hop == Presence::Present {
        remove_hop_by_hop(headers);
    }
    if seen.te == Presence::Present {
        keep_trailers_only(headers);
    }
    if seen.expect == Presence::Present {
        headers.remove(header::EXPECT);
    }
    if seen.forwarded == Presence::Present {
        // Nobody is trusted yet: what a client says of itself is worth nothing.
        remove_forwarded(headers);
    }
    if seen.cookies > 1 {
        join_cookies(headers);
    }
    headers.insert(FORWARDED_FOR, hop.client.clone());
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(hop.scheme));
    headers.insert(FORWARDED_HOST, hop.host.clone());
    headers.insert(REQUEST_ID, hop.request_id.clone());
    headers.append(header::VIA, HeaderValue::from_static(hop.via));
    Ok(())
}

/// Frames a request to an HTTP/1 endpoint: a body of unknown length (chunked, or HTTP/2 without Content-Length) is
/// sent in chunks. Left to itself hyper sends GET and HEAD without their body then. An empty body needs no framing.
pub(super) fn frame(headers: &mut HeaderMap, body: &impl Body) {
    if !body.is_end_stream() && !headers.contains_key(header::CONTENT_LENGTH) {
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Makes an upstream's fields what a client gets. Connection may name what it likes: all of it is dropped.
///
/// # Errors
/// [`ProxyError::UpstreamProtocol`]: where the response ends can be read in two ways, or not at all.
pub(crate) fn to_downstream(headers: &mut HeaderMap) -> Result<(), ProxyError> {
    let seen = Seen::scan(headers);
    if seen.framing == Presence::Present {
        check_framing(headers)?;
    }
    if seen.connection == Presence::Present {
        for name in named(headers) {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    if seen.hop_by_hop == Presence::Present {
        remove_hop_by_hop(headers);
    }
    if seen.te == Presence::Present {
        headers.remove(header::TE);
    }
    Ok(())
}

/// One Content-Length, or one Transfer-Encoding that is `chunked`, and never both (RFC 9112, section 6.3). Hyper
/// reads such a response by its Transfer-Encoding and leaves both fields: the client would get a false length, or
/// a body whose other coding nobody names any more.
fn check_framing(headers: &HeaderMap) -> Result<(), ProxyError> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_one = match (lengths.next(), codings.next()) {
        (Some(length), None) => is_length(length.as_bytes()),
        (None, Some(coding)) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
        (None, None) => true,
    };
    if is_one && lengths.next().is_none() && codings.next().is_none() {
        Ok(())
    } else {
        Err(ProxyError::UpstreamProtocol)
    }
}

/// Digits as a number is written: no sign, no list, no leading zero.
fn is_length(text: &[u8]) -> bool {
    match text {
        [b'0'] => true,
        [b'0', ..] | [] => false,
        digits => digits.iter().all(u8::is_ascii_digit),
    }
}

/// The client's request id, if it is one that can stand in a log line.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(&REQUEST_ID).filter(|value| {
        let bytes = value.as_bytes();
        let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
        !bytes.is_empty() && bytes.len() <= REQUEST_ID_BYTES_MAX && bytes.iter().all(plain)
    })
}

/// The names in Connection, but those that stand for the connection itself.
fn named(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&b| b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.eq_ignore_ascii_case(b"close") && !token.eq_ignore_ascii_case(b"keep-alive"))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .collect()
}

fn remove_named(headers: &mut HeaderMap) -> Result<(), ProxyError> {
    for name in named(headers) {
        let text = name.as_str();
        if text == "te" {
            // Removed below, but for `trailers`.
            continue;
        }
        if PROTECTED.contains(&text) || PROTECTED_PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
            return Err(ProxyError::ConnectionBad);
        }
        headers.remove(name);
    }
    headers.remove(header::CONNECTION);
    Ok(())
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in [
        KEEP_ALIVE,
        PROXY_CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HTTP2_SETTINGS,
    ] {
        headers.remove(name);
    }
}

fn keep_trailers_only(headers: &mut HeaderMap) {
    let trailers = headers
        .get_all(header::TE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&b| b == b','))
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"trailers"));
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    } else {
        headers.remove(header::TE);
    }
}

fn remove_forwarded(headers: &mut HeaderMap) {
    let theirs: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-forwarded-"))
        .cloned()
        .collect();
    for name in theirs.into_iter().chain([header::FORWARDED, REAL_IP]) {
        headers.remove(name);
    }
}

/// HTTP/2 clients split cookies for compression; HTTP/1 servers know one field (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut joined = Vec::new();
    if let Entry::Occupied(cookies) = headers.entry(header::COOKIE) {
        let (_, crumbs) = cookies.remove_entry_mult();
        for crumb in crumbs {
            if !joined.is_empty() {
                joined.extend_from_slice(b"; ");
            }
            joined.extend_from_slice(crumb.as_bytes());
        }
    }
    // Valid values joined by valid characters are valid.
    if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
        headers.insert(header::COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        headers
    }

    fn forward(fields: &[(&str, &str)]) -> Result<HeaderMap, ProxyError> {
        let mut headers = map(fields);
        let hop = Hop {
            client: &HeaderValue::from_static("192.0.2.7"),
            scheme: "http",
            host: &HeaderValue::from_static("a.example"),
            request_id: &HeaderValue::from_static("id-1"),
            via: "1.1 gateway",
        };
        to_upstream(&mut headers, &hop).map(|()| headers)
    }

    const OURS: [(&str, &str); 5] = [
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "a.example"),
        ("x-request-id", "id-1"),
        ("via", "1.1 gateway"),
    ];

    #[test]
    fn hop_by_hop_fields_and_the_clients_claims_go() {
        type Fields = &'static [(&'static str, &'static str)];
        let rows: &[(Fields, Fields, &str)] = &[
            (&[("accept", "*/*")], &[("accept", "*/*")], "others stay"),
            (
                &[("connection", "close, X-Own"), ("x-own", "1")],
                &[],
                "what Connection names",
            ),
            (
                &[
                    ("keep-alive", "timeout=5"),
                    ("proxy-connection", "x"),
                    ("upgrade", "h2c"),
                ],
                &[],
                "the usual",
            ),
            (&[("transfer-encoding", "chunked")], &[], "framing is our own"),
            (
                &[("te", "gzip, trailers")],
                &[("te", "trailers")],
                "trailers stay",
            ),
            (&[("te", "gzip"), ("connection", "te")], &[], "other codings go"),
            (
                &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-user", "root")],
                &[],
                "claims",
            ),
            (
                &[("forwarded", "for=6.6.6.6"), ("x-real-ip", "6.6.6.6")],
                &[],
                "more claims",
            ),
            (&[("x-request-id", "theirs")], &[], "ours is set"),
            (
                &[("cookie", "a=1"), ("cookie", "b=2")],
                &[("cookie", "a=1; b=2")],
                "crumbs",
            ),
            (&[("expect", "100-continue")], &[], "we answer it"),
        ];
        for (fields, left, why) in rows {
            let expected: Vec<_> = left.iter().chain(&OURS).copied().collect();
            assert_eq!(forward(fields).unwrap(), map(&expected), "{why}");
        }
        let via = forward(&[("via", "1.0 other")]).unwrap();
        let via: Vec<_> = via.get_all("via").iter().collect();
        assert_eq!(via, ["1.0 other", "1.1 gateway"], "the way is kept");
    }

    #[test]
    fn connection_that_names_what_must_stay_is_refused() {
        for name in [
            "host",
            "Authorization",
            "cookie",
            "content-length",
            "x-forwarded-for",
        ] {
            assert_eq!(
                forward(&[("connection", name)]),
                Err(ProxyError::ConnectionBad),
                "{name}"
            );
        }
    }

    #[test]
    fn responses_lose_their_hop_by_hop_fields() {
        for (framing, left) in [
            (("transfer-encoding", "Chunked"), map(&[])),
            (("content-length", "3"), map(&[("content-length", "3")])),
        ] {
            let mut headers = map(&[
                ("connection", "keep-alive, x-own"),
                ("x-own", "1"),
                ("keep-alive", "timeout=5"),
                framing,
            ]);
            to_downstream(&mut headers).unwrap();
            assert_eq!(headers, left);
        }
    }

    #[test]
    fn responses_whose_end_is_doubtful_are_refused() {
        let rows: [&[(&str, &str)]; 10] = [
            &[("transfer-encoding", "chunked"), ("content-length", "3")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "gzip")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "chunked;q=1")],
            &[("content-length", "3"), ("content-length", "3")],
            &[("content-length", "3, 3")],
            &[("content-length", "03")],
            &[("content-length", "+3")],
            &[("content-length", "")],
        ];
        for fields in rows {
            assert_eq!(
                to_downstream(&mut map(fields)),
                Err(ProxyError::UpstreamProtocol),
                "{fields:?}"
            );
        }
    }

    #[test]
    fn only_plain_request_ids_are_taken_over() {
        for (id, taken) in [
            ("abc-1_2.3:4", true),
            ("", false),
            ("a b", false),
            ("a\"b", false),
        ] {
            assert_eq!(
                request_id(&map(&[("x-request-id", id)])).is_some(),
                taken,
                "{id:?}"
            );
        }
        assert!(request_id(&map(&[("x-request-id", &"a".repeat(129))])).is_none());
    }
}
