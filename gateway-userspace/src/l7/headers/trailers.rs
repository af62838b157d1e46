//! Which trailer fields go on: not those that frame, route, authorise, steer or describe content.
//!
//! A program that merges trailers into its head would take them for what the head did not say, after all checks
//! of the head. Source: RFC 9110, sections 6.5.1 and 6.5.2; RFC 9530 for the digests, which are made for trailers.

use http::header::{HeaderMap, HeaderName};

use super::seen::{is_forwarded, is_shadow};

/// Removes from trailers, of either direction, what must not stand there.
pub(crate) fn filter_trailers(trailers: &mut HeaderMap) {
    // `keys` borrows; a map has few trailers, usually none to remove.
    let barred: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| is_barred(name.as_str()))
        .cloned()
        .collect();
    for name in barred {
        trailers.remove(name);
    }
}

fn is_barred(name: &str) -> bool {
    let framing = matches!(
        name,
        "connection"
            | "expect"
            | "http2-settings"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    );
    let routing = matches!(
        name,
        "forwarded"
            | "host"
            | "location"
            | "max-forwards"
            | "via"
            | "x-gateway-node"
            | "x-real-ip"
            | "x-request-id"
    ) || is_forwarded(name);
    let authority = matches!(
        name,
        "authentication-info"
            | "authorization"
            | "cookie"
            | "origin"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "set-cookie"
            | "strict-transport-security"
            | "www-authenticate"
    ) || name.starts_with("access-control-");
    let control = matches!(
        name,
        "age"
            | "cache-control"
            | "date"
            | "expires"
            | "pragma"
            | "range"
            | "retry-after"
            | "vary"
            | "warning"
    ) || name.starts_with("if-");
    let content = name.starts_with("content-") && name != "content-digest";
    let trace = matches!(name, "traceparent" | "tracestate");
    framing || routing || authority || control || content || trace || is_shadow(name)
}

#[cfg(test)]
mod tests {
    use super::super::map;
    use super::*;

    #[test]
    fn trailers_that_mean_something_before_the_body_are_dropped() {
        let stays = [
            ("grpc-status", "0"),
            ("grpc-message", "fine"),
            ("grpc-status-details-bin", "AAAA"),
            ("content-digest", "sha-256=:x:"),
            ("repr-digest", "sha-256=:x:"),
            ("etag", "\"a\""),
            ("server-timing", "total;dur=1"),
            ("x-checksum", "1"),
        ];
        let goes = [
            "transfer-encoding",
            "content-length",
            "content-type",
            "content-encoding",
            "content-range",
            "content_length",
            "host",
            "connection",
            "keep-alive",
            "upgrade",
            "te",
            "trailer",
            "expect",
            "authorization",
            "cookie",
            "set-cookie",
            "access-control-allow-origin",
            "cache-control",
            "if-none-match",
            "range",
            "location",
            "x-forwarded-for",
            "x_forwarded_for",
            "x-real-ip",
            "forwarded",
            "x-request-id",
            "via",
            "traceparent",
        ];
        let all: Vec<_> = stays.into_iter().chain(goes.map(|name| (name, "1"))).collect();
        let mut trailers = map(&all);
        filter_trailers(&mut trailers);
        assert_eq!(trailers, map(&stays));
    }
}
