//! Header fields between the two sides: hop-by-hop fields go, our own are set.
//!
//! Each part has its file: what one pass over the names finds (`seen`), what is of one connection alone
//! (`connection`), what proxies say of clients (`forwarded`), trace context, trailers, and what HTTP/2 adds.
//! Sources: RFC 9110, section 7.6.3 (Via) and 10.1.1 (Expect); RFC 9112, section 6.3.

mod connection;
mod forwarded;
mod http2;
mod seen;
mod trace;
mod trailers;

use http::Version;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http_body::Body;

use super::error::ProxyError;
use crate::config::snapshot::Expect;
use seen::Kind;

pub(crate) use connection::{is_last, set_upgrade, upgrade};
pub(crate) use forwarded::Peer;
pub(crate) use forwarded::{client_address, client_scheme};
pub(crate) use http2::{Lenience, check_http2};
pub(crate) use seen::Seen;
pub(crate) use trace::TraceId;
pub(crate) use trailers::filter_trailers;

/// Longest request id that is taken over, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// Hops that a request may have behind it, by its Via: no honest way is so long, and a circle soon is.
const HOPS_MAX: usize = 10;

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

/// What the gateway says of itself and of the client to an upstream.
pub(crate) struct Hop<'h> {
    /// The peer's address, which is the client's if no proxy is before us.
    pub(crate) client: HeaderValue,
    /// Whether the peer's word about clients is taken.
    pub(crate) peer: Peer,
    /// The client's scheme.
    pub(crate) scheme: &'static str,
    /// The host the client asked for.
    pub(crate) host: &'h HeaderValue,
    /// Of this request.
    pub(crate) request_id: &'h HeaderValue,
    /// What the client spoke ([`via`]).
    pub(crate) via: &'static str,
    /// Who answers `Expect: 100-continue`.
    pub(crate) expect: Expect,
}

/// What Via says of a client's hop.
pub(crate) fn via(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2 gateway",
        Version::HTTP_10 => "1.0 gateway",
        _ => "1.1 gateway",
    }
}

/// Makes a client's fields what an upstream gets, and says which trace the request belongs to.
///
/// # Errors
/// [`ProxyError::ConnectionBad`], [`ProxyError::ExpectationFailed`], [`ProxyError::LoopDetected`].
pub(crate) fn to_upstream(
    headers: &mut HeaderMap,
    seen: Seen,
    hop: Hop<'_>,
) -> Result<Option<TraceId>, ProxyError> {
    if seen.has(Kind::Via) && hops(headers) >= HOPS_MAX {
        return Err(ProxyError::LoopDetected);
    }
    if seen.has(Kind::Expect) {
        expect(headers, hop.expect)?;
    }
    if seen.has(Kind::Connection) {
        connection::remove_named(headers)?;
    }
    if seen.has(Kind::HopByHop) {
        connection::remove_hop_by_hop(headers);
    }
    if seen.has(Kind::Te) {
        connection::keep_trailers_only(headers);
    }
    if seen.has(Kind::Shadow) {
        remove_shadows(headers);
    }
    if seen.has(Kind::Cookie) {
        http2::join_cookies(headers);
    }
    let trace = if seen.has(Kind::Trace) {
        trace::pass(headers)
    } else {
        None
    };
    headers.insert(REQUEST_ID, hop.request_id.clone());
    headers.append(header::VIA, HeaderValue::from_static(hop.via));
    forwarded::set(headers, seen, hop);
    Ok(trace)
}

/// A value that no other request has. HPACK does not keep it (RFC 7541, section 7.1.3): there it would push out what comes
/// again, and each value of that name that was kept is compared with the next.
pub(crate) fn once(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

/// Entries of all Via fields; a comma inside a comment separates nothing.
fn hops(headers: &HeaderMap) -> usize {
    let mut count = 0;
    for value in headers.get_all(header::VIA) {
        let mut depth = 0_usize;
        let mut is_empty = true;
        for byte in value.as_bytes() {
            match byte {
                b'(' => depth += 1,
                b')' => depth = depth.saturating_sub(1),
                b',' if depth == 0 => is_empty = true,
                b' ' | b'\t' => {}
                _ if is_empty => {
                    is_empty = false;
                    count += 1;
                }
                _ => {}
            }
        }
    }
    count
}

/// Nothing but `100-continue` is known; who answers that is the route's to say.
fn expect(headers: &mut HeaderMap, answers: Expect) -> Result<(), ProxyError> {
    let is_known = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if !headers.get_all(header::EXPECT).iter().all(is_known) {
        return Err(ProxyError::ExpectationFailed);
    }
    if answers == Expect::Answer {
        headers.remove(header::EXPECT);
    }
    Ok(())
}

/// Only a lenient listener lets such names in; they go no further all the same.
fn remove_shadows(headers: &mut HeaderMap) {
    let shadows: Vec<HeaderName> = headers
        .keys()
        .filter(|name| seen::is_shadow(name.as_str()))
        .cloned()
        .collect();
    for name in shadows {
        headers.remove(name);
    }
}

/// Frames a request to an HTTP/1 endpoint: a body of unknown length (chunked, or HTTP/2 without Content-Length) is
/// sent in chunks. Left to itself hyper sends GET and HEAD without their body then. An empty body needs no framing.
pub(super) fn frame(headers: &mut HeaderMap, body: &impl Body) {
    if !body.is_end_stream() && !headers.contains_key(header::CONTENT_LENGTH) {
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Makes an upstream's fields what a client gets; where they came by HTTP/1 the inspector has judged their framing. Connection may name what it likes: all of it is dropped. Where the
/// answer is 101 the caller says so anew ([`set_upgrade`]).
///
/// # Errors
/// [`ProxyError::UpstreamProtocol`]: where the response ends can be read in two ways, or not at all.
pub(crate) fn to_downstream(headers: &mut HeaderMap, version: Version) -> Result<(), ProxyError> {
    let seen = Seen::scan(headers);
    if version == Version::HTTP_2 && seen.has(Kind::Framing) {
        check_framing(headers)?;
    }
    if seen.has(Kind::Connection) {
        for name in connection::named(headers) {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    if seen.has(Kind::HopByHop) {
        connection::remove_hop_by_hop(headers);
    }
    if seen.has(Kind::Te) {
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
pub(crate) fn request_id(headers: &HeaderMap, seen: Seen) -> Option<&HeaderValue> {
    if !seen.has(Kind::RequestId) {
        return None;
    }
    headers.get(&REQUEST_ID).filter(|value| {
        let bytes = value.as_bytes();
        let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
        !bytes.is_empty() && bytes.len() <= REQUEST_ID_BYTES_MAX && bytes.iter().all(plain)
    })
}

#[cfg(test)]
pub(super) use tests::map;

#[cfg(test)]
mod tests {
    use super::*;

    pub(in crate::l7) fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        headers
    }

    type Fields = &'static [(&'static str, &'static str)];

    fn forward_as(fields: &[(&str, &str)], peer: Peer, expect: Expect) -> Result<HeaderMap, ProxyError> {
        let mut headers = map(fields);
        let hop = Hop {
            client: HeaderValue::from_static("192.0.2.7"),
            peer,
            scheme: "http",
            host: &HeaderValue::from_static("a.example"),
            request_id: &HeaderValue::from_static("id-1"),
            via: "1.1 gateway",
            expect,
        };
        let seen = Seen::scan(&headers);
        to_upstream(&mut headers, seen, hop).map(|_| headers)
    }

    fn forward(fields: &[(&str, &str)]) -> Result<HeaderMap, ProxyError> {
        forward_as(fields, Peer::Untrusted, Expect::Answer)
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
            (
                &[
                    ("connection", "upgrade"),
                    ("upgrade", "websocket"),
                    ("http2-settings", "AAMAAABkAAQAAP__"),
                ],
                &[],
                "an upgrade that is not forwarded",
            ),
            (
                &[
                    ("x_forwarded_for", "6.6.6.6"),
                    ("content_length", "3"),
                    ("x_tenant", "a"),
                ],
                &[("x_tenant", "a")],
                "names that others take for ours",
            ),
            (
                &[("traceparent", "00-zz-1-1"), ("tracestate", "a=1")],
                &[],
                "a trace that cannot be read",
            ),
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
            "forwarded",
            "keep-alive, X-Real-IP",
        ] {
            assert_eq!(
                forward(&[("connection", name)]),
                Err(ProxyError::ConnectionBad),
                "{name}"
            );
        }
    }

    #[test]
    fn a_trusted_peer_is_believed_and_added_to() {
        let rows: &[(Fields, Fields)] = &[
            (&[], &OURS[..3]),
            (
                &[
                    ("x-forwarded-for", "192.0.2.1"),
                    ("x-forwarded-for", "10.0.0.9"),
                    ("x-forwarded-proto", "https"),
                ],
                &[
                    ("x-forwarded-for", "192.0.2.1, 10.0.0.9, 192.0.2.7"),
                    ("x-forwarded-proto", "https"),
                    ("x-forwarded-host", "a.example"),
                ],
            ),
            (
                &[
                    ("x-forwarded-host", "b.example"),
                    ("x-forwarded-port", "8443"),
                    ("forwarded", "for=192.0.2.1"),
                    ("x-real-ip", "192.0.2.1"),
                ],
                &[
                    ("x-forwarded-host", "b.example"),
                    ("x-forwarded-port", "8443"),
                    ("forwarded", "for=192.0.2.1"),
                    ("x-real-ip", "192.0.2.1"),
                    ("x-forwarded-for", "192.0.2.7"),
                    ("x-forwarded-proto", "http"),
                ],
            ),
        ];
        for (fields, left) in rows {
            let expected: Vec<_> = left.iter().chain(&OURS[3..]).copied().collect();
            let got = forward_as(fields, Peer::Trusted, Expect::Answer).unwrap();
            assert_eq!(got, map(&expected), "{fields:?}");
        }
    }

    #[test]
    fn a_way_of_ten_hops_is_a_circle() {
        let nine = ["1.1 a"; 9].join(", ");
        let ten = ["1.1 a"; 10].join(",");
        let rows: &[(&[&str], bool, &str)] = &[
            (&["1.1 a"], true, "one"),
            (&[&nine], true, "nine"),
            (&[&ten], false, "ten in one field"),
            (&[&nine, "2 b (c)"], false, "ten in two"),
            (&[&nine, " , ,"], true, "empty ones are none"),
            (
                &["1.1 a (b, c, d, e, f, g, h, i, j, k, l)"],
                true,
                "commas in a comment",
            ),
        ];
        for (values, passes, why) in rows {
            let fields: Vec<_> = values.iter().map(|value| ("via", *value)).collect();
            let got = forward(&fields).map(|_| ());
            let expected = if *passes {
                Ok(())
            } else {
                Err(ProxyError::LoopDetected)
            };
            assert_eq!(got, expected, "{why}");
        }
    }

    #[test]
    fn expect_is_answered_forwarded_or_failed() {
        let kept: Fields = &[("expect", "100-Continue")];
        let rows: &[(Fields, Expect, Result<bool, ProxyError>)] = &[
            (kept, Expect::Answer, Ok(false)),
            (kept, Expect::Forward, Ok(true)),
            (
                &[("expect", "the-best")],
                Expect::Answer,
                Err(ProxyError::ExpectationFailed),
            ),
            (
                &[("expect", "")],
                Expect::Answer,
                Err(ProxyError::ExpectationFailed),
            ),
            (
                &[("expect", "100-continue"), ("expect", "more")],
                Expect::Forward,
                Err(ProxyError::ExpectationFailed),
            ),
        ];
        for (fields, answers, expected) in rows {
            let got = forward_as(fields, Peer::Untrusted, *answers);
            let got = got.map(|headers| headers.contains_key("expect"));
            assert_eq!(got, *expected, "{fields:?} {answers:?}");
        }
    }

    #[test]
    fn an_upgrade_that_is_forwarded_is_said_anew() {
        let fields = [
            ("connection", "keep-alive, Upgrade, x-own"),
            ("upgrade", "h2c, websocket"),
            ("x-own", "1"),
            ("sec-websocket-version", "13"),
        ];
        let mut got = forward(&fields).unwrap();
        set_upgrade(&mut got, HeaderValue::from_static("websocket"));
        let theirs = [
            ("sec-websocket-version", "13"),
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
        ];
        let expected: Vec<_> = theirs.iter().chain(&OURS).copied().collect();
        assert_eq!(got, map(&expected));
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
            to_downstream(&mut headers, Version::HTTP_2).unwrap();
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
                to_downstream(&mut map(fields), Version::HTTP_2),
                Err(ProxyError::UpstreamProtocol),
                "{fields:?}"
            );
        }
    }

    fn request_id_of(headers: HeaderMap) -> Option<HeaderValue> {
        request_id(&headers, Seen::scan(&headers)).cloned()
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
                request_id_of(map(&[("x-request-id", id)])).is_some(),
                taken,
                "{id:?}"
            );
        }
        assert!(request_id_of(map(&[("x-request-id", &"a".repeat(129))])).is_none());
    }
}
