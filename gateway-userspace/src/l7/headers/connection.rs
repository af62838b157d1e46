//! Fields that speak of one connection alone, and those that Connection names.
//!
//! Sources: RFC 9110, sections 7.6.1 (Connection), 7.8 (Upgrade) and 10.1.4 (TE); RFC 9113, section 3.1 for h2c.

use http::Version;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::seen::{Kind, Seen};
use super::{HTTP2_SETTINGS, KEEP_ALIVE, PROXY_CONNECTION};
use crate::l7::error::ProxyError;

/// Fields that a Connection field must not name: removing them would change what the request means.
const PROTECTED: [&str; 5] = ["host", "authorization", "cookie", "forwarded", "x-real-ip"];
/// Prefixes of such fields.
const PROTECTED_PREFIXES: [&str; 2] = ["content-", "x-forwarded-"];

/// What a request asks to switch to: the first protocol of its Upgrade other than `h2c`, which is ignored, because
/// common clients offer it with each request. `None`: nothing, or not rightly (RFC 9110 wants it in Connection).
///
/// Only HTTP/1.1 knows this: the caller asks for no other version.
pub(crate) fn upgrade(headers: &HeaderMap, seen: Seen) -> Option<HeaderValue> {
    let is_upgrade = |token: &[u8]| token.eq_ignore_ascii_case(b"upgrade");
    let is_offered = seen.has(Kind::Upgrade)
        && seen.has(Kind::Connection)
        && tokens(headers, &header::CONNECTION).any(is_upgrade);
    if !is_offered {
        return None;
    }
    let protocol = tokens(headers, &header::UPGRADE)
        .find(|token| !token.is_empty() && !token.eq_ignore_ascii_case(b"h2c"))?;
    HeaderValue::from_bytes(protocol).ok()
}

/// Says in an otherwise finished head that the connection is to switch, or does.
pub(crate) fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

/// Whether an HTTP/1 request is the last of its connection (RFC 9112, section 9.3).
pub(crate) fn is_last(headers: &HeaderMap, seen: Seen, version: Version) -> bool {
    let says = |what: &[u8]| {
        seen.has(Kind::Connection)
            && tokens(headers, &header::CONNECTION).any(|token| token.eq_ignore_ascii_case(what))
    };
    match version {
        Version::HTTP_11 => says(b"close"),
        Version::HTTP_10 => !says(b"keep-alive"),
        _ => false,
    }
}

/// The members of a list, over all fields of the name.
fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&b| b == b','))
        .map(<[u8]>::trim_ascii)
}

/// The names in Connection, but those that stand for the connection itself.
pub(super) fn named(headers: &HeaderMap) -> Vec<HeaderName> {
    let is_own = |token: &[u8]| {
        [&b"close"[..], b"keep-alive", b"upgrade"]
            .iter()
            .any(|own| token.eq_ignore_ascii_case(own))
    };
    tokens(headers, &header::CONNECTION)
        .filter(|token| !is_own(token))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .collect()
}

/// Removes Connection and what it names.
///
/// # Errors
/// [`ProxyError::ConnectionBad`]: it names what is not for it to name.
pub(super) fn remove_named(headers: &mut HeaderMap) -> Result<(), ProxyError> {
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

/// Removes what is hop by hop without being named.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
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

/// `trailers` is for the whole way, transfer codings are not.
pub(super) fn keep_trailers_only(headers: &mut HeaderMap) {
    if tokens(headers, &header::TE).any(|token| token.eq_ignore_ascii_case(b"trailers")) {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    } else {
        headers.remove(header::TE);
    }
}

#[cfg(test)]
mod tests {
    use super::super::map;
    use super::*;

    #[test]
    fn an_upgrade_is_what_both_fields_ask_for() {
        type Fields = &'static [(&'static str, &'static str)];
        let rows: &[(Fields, Option<&str>, &str)] = &[
            (&[], None, "nothing"),
            (
                &[("connection", "Upgrade"), ("upgrade", "websocket")],
                Some("websocket"),
                "as usual",
            ),
            (
                &[("connection", "keep-alive, UPGRADE"), ("upgrade", "WebSocket")],
                Some("WebSocket"),
                "in a list, as it is written",
            ),
            (&[("upgrade", "websocket")], None, "not in Connection"),
            (
                &[("connection", "keep-alive"), ("upgrade", "websocket")],
                None,
                "Connection without it",
            ),
            (&[("connection", "upgrade")], None, "no protocol"),
            (
                &[("connection", "upgrade"), ("upgrade", "")],
                None,
                "an empty one",
            ),
            (
                &[
                    ("connection", "Upgrade, HTTP2-Settings"),
                    ("upgrade", "h2c"),
                    ("http2-settings", "AAMAAABkAAQAAP__"),
                ],
                None,
                "h2c is ignored",
            ),
            (
                &[("connection", "upgrade"), ("upgrade", "H2C, websocket")],
                Some("websocket"),
                "the first but h2c",
            ),
        ];
        for (fields, expected, why) in rows {
            let headers = map(fields);
            let got = upgrade(&headers, Seen::scan(&headers));
            assert_eq!(got, expected.map(HeaderValue::from_static), "{why}");
        }
    }
}
