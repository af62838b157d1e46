//! What an HTTP/2 request's fields must still be asked that h2 does not ask.
//!
//! h2 0.4.20 itself refuses upper case, CR, LF, NUL and other controls, Connection and its kin, `te` other than
//! `trailers`, pseudo fields that are doubled, late or unknown, no method or scheme, and a Content-Length unlike
//! the data. It bounds a head's bytes, not the number of its fields; it takes a Content-Length twice if the two are equal, with
//! leading zeros or empty, and any value with white space around it. `host` looks at the authority.
//! Source: RFC 9113, sections 8.1.1, 8.2.1 and 8.2.3.

use bytes::{BufMut, BytesMut};
use http::header::{self, Entry, HeaderMap, HeaderValue};

use super::is_length;
use super::seen::{Kind, Seen};
use crate::config::snapshot::{HttpMode, ListenerHttp};
use crate::inspect::Refusal;
use crate::l7::error::ProxyError;

/// Whether a name was let through that `strict` would have refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lenience {
    /// None was there.
    Unused,
    /// One was: to be counted where the mode is `monitor`.
    Used,
}

/// Looks at the fields of a request that came by HTTP/2; in HTTP/1 the inspector has done as much.
///
/// # Errors
/// [`Refusal::FieldsTooMany`], [`ProxyError::LengthBad`], [`ProxyError::FieldAmbiguous`].
pub(crate) fn check_http2(
    headers: &HeaderMap,
    seen: Seen,
    limits: &ListenerHttp,
) -> Result<Lenience, ProxyError> {
    // Every value counts, so each crumb of a cookie, too.
    if headers.len() > limits.fields_max {
        return Err(ProxyError::Refused(Refusal::FieldsTooMany));
    }
    if seen.has(Kind::Framing) {
        let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
        let is_one = lengths.next().is_none_or(|length| is_length(length.as_bytes()));
        if !is_one || lengths.next().is_some() {
            return Err(ProxyError::LengthBad);
        }
    }
    // An HTTP/1 endpoint would take the space away, and so see another value than was judged here.
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let is_padded = |value: &HeaderValue| {
        let bytes = value.as_bytes();
        is_space(bytes.first()) || is_space(bytes.last())
    };
    if headers.values().any(is_padded) {
        return Err(ProxyError::FieldAmbiguous);
    }
    match limits.mode {
        _ if !seen.has(Kind::Shadow) => Ok(Lenience::Unused),
        HttpMode::Strict => Err(ProxyError::FieldAmbiguous),
        HttpMode::Lenient | HttpMode::Monitor => Ok(Lenience::Used),
    }
}

/// HTTP/2 clients split cookies for compression; HTTP/1 servers know one field (RFC 9113, section 8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let mut joined = BytesMut::new();
    if let Entry::Occupied(cookies) = headers.entry(header::COOKIE) {
        let (_, crumbs) = cookies.remove_entry_mult();
        for crumb in crumbs {
            if !joined.is_empty() {
                joined.put_slice(b"; ");
            }
            joined.put_slice(crumb.as_bytes());
        }
    }
    // Valid values joined by valid characters are valid.
    if let Ok(value) = HeaderValue::from_maybe_shared(joined.freeze()) {
        headers.insert(header::COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::map;
    use super::*;

    #[test]
    fn what_h2_lets_through_is_refused_here() {
        use HttpMode::{Lenient, Monitor, Strict};
        type Row = (
            &'static [(&'static str, &'static str)],
            HttpMode,
            Result<Lenience, ProxyError>,
        );
        let rows: &[Row] = &[
            (&[("accept", "*/*")], Strict, Ok(Lenience::Unused)),
            (&[("content-length", "0")], Strict, Ok(Lenience::Unused)),
            (
                &[("content-length", "2"), ("content-length", "2")],
                Lenient,
                Err(ProxyError::LengthBad),
            ),
            (&[("content-length", "002")], Lenient, Err(ProxyError::LengthBad)),
            (&[("content-length", "")], Lenient, Err(ProxyError::LengthBad)),
            (&[("x-a", " b")], Lenient, Err(ProxyError::FieldAmbiguous)),
            (&[("x-a", "b\t")], Lenient, Err(ProxyError::FieldAmbiguous)),
            (&[("x-a", "b c"), ("x-b", "")], Strict, Ok(Lenience::Unused)),
            (
                &[("x_forwarded_for", "b")],
                Strict,
                Err(ProxyError::FieldAmbiguous),
            ),
            (&[("x_forwarded_for", "b")], Lenient, Ok(Lenience::Used)),
            (&[("content_length", "3")], Monitor, Ok(Lenience::Used)),
            (&[("x_tenant", "b")], Strict, Ok(Lenience::Unused)),
        ];
        for (fields, mode, expected) in rows {
            let headers = map(fields);
            let limits = ListenerHttp {
                mode: *mode,
                ..ListenerHttp::default()
            };
            let got = check_http2(&headers, Seen::scan(&headers), &limits);
            assert_eq!(got, *expected, "{fields:?} {mode:?}");
        }
    }

    #[test]
    fn fields_are_counted_in_every_mode_and_so_is_each_crumb() {
        for mode in [HttpMode::Strict, HttpMode::Lenient, HttpMode::Monitor] {
            for (name, count, expected) in [
                ("x-a", 16, Ok(Lenience::Unused)),
                ("x-a", 17, Err(ProxyError::Refused(Refusal::FieldsTooMany))),
                ("cookie", 17, Err(ProxyError::Refused(Refusal::FieldsTooMany))),
            ] {
                let headers = map(&vec![(name, "1"); count]);
                let limits = ListenerHttp {
                    mode,
                    fields_max: 16,
                    ..ListenerHttp::default()
                };
                let got = check_http2(&headers, Seen::scan(&headers), &limits);
                assert_eq!(got, expected, "{count} of {name}, {mode:?}");
            }
        }
    }
}
