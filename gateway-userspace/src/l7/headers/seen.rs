//! One pass over the names of a head, so that a plain message pays for no look-up that it does not need.

use http::header::HeaderMap;

/// Kinds of fields that something is to be done about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Connection = 1,
    Te = 1 << 1,
    /// Keep-Alive, Proxy-Connection, Upgrade, HTTP2-Settings, Transfer-Encoding.
    HopByHop = 1 << 2,
    Upgrade = 1 << 3,
    /// Content-Length, Transfer-Encoding.
    Framing = 1 << 4,
    Expect = 1 << 5,
    /// X-Forwarded-*, Forwarded, X-Real-IP.
    Forwarded = 1 << 6,
    Cookie = 1 << 7,
    Via = 1 << 8,
    Trace = 1 << 9,
    /// An underscore away from a name that means something to us, and the same to many programs behind us.
    Shadow = 1 << 10,
    RequestId = 1 << 11,
}

/// Which kinds of fields a head has. Holds until a field is added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen(u16);

impl Seen {
    /// Looks at each name once.
    pub(crate) fn scan(headers: &HeaderMap) -> Self {
        Self(headers.keys().fold(0, |seen, name| seen | kinds(name.as_str())))
    }

    pub(super) fn has(self, kind: Kind) -> bool {
        self.0 & kind as u16 != 0
    }
}

/// By length first: most names are settled by that alone.
fn kinds(name: &str) -> u16 {
    let known = match (name.len(), name) {
        (2, "te") => Kind::Te as u16,
        (3, "via") => Kind::Via as u16,
        (6, "cookie") => Kind::Cookie as u16,
        (6, "expect") => Kind::Expect as u16,
        (7, "upgrade") => Kind::HopByHop as u16 | Kind::Upgrade as u16,
        (9, "forwarded" | "x-real-ip") => Kind::Forwarded as u16,
        (10, "connection") => Kind::Connection as u16,
        (10, "keep-alive") => Kind::HopByHop as u16,
        (10, "tracestate") | (11, "traceparent") => Kind::Trace as u16,
        (12, "x-request-id") => Kind::RequestId as u16,
        (14, "content-length") => Kind::Framing as u16,
        (14, "http2-settings") | (16, "proxy-connection") => Kind::HopByHop as u16,
        (17, "transfer-encoding") => Kind::HopByHop as u16 | Kind::Framing as u16,
        _ => 0,
    };
    if known != 0 {
        return known;
    }
    match name.as_bytes().first() {
        Some(b'x') if is_forwarded(name) => Kind::Forwarded as u16,
        Some(b'x' | b'c' | b't') if is_shadow(name) => Kind::Shadow as u16,
        _ => 0,
    }
}

/// What proxies say of clients.
pub(super) fn is_forwarded(name: &str) -> bool {
    name.starts_with("x-forwarded-")
}

/// Whether programs that make no difference between `-` and `_` would take it for a field that we vouch for.
pub(super) fn is_shadow(name: &str) -> bool {
    const SHORTEST: usize = "x-real-ip".len();
    if name.len() < SHORTEST || !name.as_bytes().contains(&b'_') {
        return false;
    }
    let is_same = |a: u8, b: u8| a == b || (a == b'_' && b == b'-');
    let begins = |prefix: &str| {
        let mut pairs = name.bytes().zip(prefix.bytes());
        name.len() >= prefix.len() && pairs.all(|(a, b)| is_same(a, b))
    };
    let is = |other: &str| name.len() == other.len() && begins(other);
    begins("x-forwarded-")
        || [
            "x-real-ip",
            "x-request-id",
            "x-gateway-node",
            "content-length",
            "content-type",
            "transfer-encoding",
        ]
        .into_iter()
        .any(is)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    #[test]
    fn names_are_known_whole_and_shadows_by_their_underscores() {
        let rows: &[(&str, &[Kind])] = &[
            ("accept", &[]),
            ("te", &[Kind::Te]),
            ("upgrade", &[Kind::HopByHop, Kind::Upgrade]),
            ("transfer-encoding", &[Kind::HopByHop, Kind::Framing]),
            ("content-length", &[Kind::Framing]),
            ("x-forwarded-for", &[Kind::Forwarded]),
            ("x-forwarded-anything", &[Kind::Forwarded]),
            ("x-forwarded", &[]),
            ("x-real-ip", &[Kind::Forwarded]),
            ("tracestate", &[Kind::Trace]),
            ("x_forwarded_for", &[Kind::Shadow]),
            ("x-forwarded_for", &[Kind::Shadow]),
            ("x_forwarded-user", &[Kind::Shadow]),
            ("x_real_ip", &[Kind::Shadow]),
            ("content_length", &[Kind::Shadow]),
            ("transfer_encoding", &[Kind::Shadow]),
            ("x_request_id", &[Kind::Shadow]),
            ("x-forwarded-client_cert", &[Kind::Forwarded]),
            ("x_tenant_name", &[]),
            ("content_lengths", &[]),
        ];
        for (name, expected) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_static("x"),
            );
            let expected = expected.iter().fold(0, |seen, kind| seen | *kind as u16);
            assert_eq!(Seen::scan(&headers), Seen(expected), "{name}");
        }
    }
}
