//! When a request must have ended, and what endpoints are told of it.

use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::body::Conversion;
use super::error::ProxyError;
use super::grpc;
use super::headers::{Peer, once};
use crate::config::snapshot::RouteHttp;

/// Limits from here on are looked at by the worker's sweep, up to a quarter of a second late.
pub(super) const SWEPT_MIN: Duration = Duration::from_secs(2);
/// Longer than any limit.
pub(super) const A_DAY: Duration = Duration::from_hours(24);
/// Digits of a deadline in milliseconds: thirty years, and far from what 64 bits hold.
const DIGITS_MAX: usize = 12;

/// So much later, a day at most.
pub(super) fn later(start: Instant, limit: Duration) -> Instant {
    start.checked_add(limit.min(A_DAY)).unwrap_or(start)
}

/// When a request must have ended: each try is told how much is left of it.
pub(super) struct Deadline {
    pub(super) at: Instant,
    conversion: Conversion,
    field: Option<HeaderName>,
    /// Whose fault it is that it passed.
    pub(super) blames: Blames,
}

/// Who is blamed where a deadline passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blames {
    /// The endpoint: it had the time that the configuration, or a client that is trusted, thinks enough.
    Endpoint,
    /// Nobody: anybody could write a millisecond, and have every endpoint ejected.
    Nobody,
}

impl Deadline {
    /// Tells an endpoint what is left.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        let left = self.at.saturating_duration_since(Instant::now());
        if self.conversion == Conversion::Grpc
            && let Some(value) = grpc::format_timeout(left)
        {
            headers.insert(grpc::TIMEOUT, once(value));
        }
        if let Some(field) = &self.field {
            let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            headers.insert(field.clone(), once(HeaderValue::from(left)));
        }
    }
}

/// What is special about gRPC, and when the whole must have ended: the smallest of our limit and those that the client
/// names. Its own field is taken out of the head.
///
/// # Errors
/// Its time is over already, or a trusted client names one that cannot be read. Of others such a field is removed: they
/// gain nothing by it, as it can only shorten.
pub(super) fn terms(
    head: &mut Parts,
    start: Instant,
    rules: &RouteHttp,
    peer: Peer,
) -> Result<(Conversion, Option<Deadline>), ProxyError> {
    let (conversion, called) = if grpc::is_call(&head.method, &head.headers) {
        (Conversion::Grpc, grpc::timeout(&head.headers))
    } else {
        (Conversion::None, None)
    };
    let named = match &rules.deadline_header {
        Some(field) => match (take(&mut head.headers, field), peer) {
            (Ok(named), _) => named,
            (Err(Unreadable), Peer::Trusted) => return Err(ProxyError::DeadlineBad),
            (Err(Unreadable), _) => None,
        },
        None => None,
    };
    let limit = [called, named, rules.timeout_total].into_iter().flatten().min();
    if limit.is_some_and(|limit| limit.is_zero()) {
        return Err(ProxyError::DeadlineExceeded);
    }
    let at = limit.and_then(|limit| start.checked_add(limit));
    let is_ours = rules.timeout_total.is_some() && limit == rules.timeout_total;
    let deadline = at.map(|at| Deadline {
        blames: if is_ours || peer == Peer::Trusted {
            Blames::Endpoint
        } else {
            Blames::Nobody
        },
        at,
        conversion,
        field: rules.deadline_header.clone(),
    });
    Ok((conversion, deadline))
}

/// A deadline that is no plain number of milliseconds, or that comes twice.
#[derive(Debug, PartialEq, Eq)]
struct Unreadable;

/// What a field says is left, in milliseconds.
fn take(headers: &mut HeaderMap, field: &HeaderName) -> Result<Option<Duration>, Unreadable> {
    if !headers.contains_key(field) {
        return Ok(None);
    }
    let is_single = headers.get_all(field).iter().nth(1).is_none();
    let value = headers.remove(field).filter(|_| is_single).ok_or(Unreadable)?;
    let digits = value.as_bytes();
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Unreadable);
    }
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number.map(Duration::from_millis).map(Some).ok_or(Unreadable)
}

/// Whether silence inside a response is meant: events come when they come.
pub(super) fn is_event_stream(response: &Response<Incoming>) -> bool {
    response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_plain_digits_and_stand_there_once() {
        let rows: [(&[&str], _); 11] = [
            (&[], Ok(None)),
            (&["0"], Ok(Some(0))),
            (&["1500"], Ok(Some(1_500))),
            (&["007"], Ok(Some(7))),
            (&["999999999999"], Ok(Some(999_999_999_999))),
            (&["1000000000000"], Err(Unreadable)),
            (&[""], Err(Unreadable)),
            (&["-1"], Err(Unreadable)),
            (&["1.5"], Err(Unreadable)),
            (&["100m"], Err(Unreadable)),
            (&["100", "100"], Err(Unreadable)),
        ];
        let field = HeaderName::from_static("x-left");
        for (values, expected) in rows {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(&field, HeaderValue::from_static(value));
            }
            let expected = expected.map(|left: Option<u64>| left.map(Duration::from_millis));
            assert_eq!(take(&mut headers, &field), expected, "{values:?}");
            assert!(headers.is_empty(), "{values:?}");
        }
    }

    #[test]
    fn what_is_left_is_told_by_values_that_hpack_does_not_keep() {
        let field = HeaderName::from_static("x-left");
        let deadline = Deadline {
            at: Instant::now() + Duration::from_secs(5),
            blames: Blames::Endpoint,
            conversion: Conversion::Grpc,
            field: Some(field.clone()),
        };
        let mut headers = HeaderMap::new();
        deadline.tell(&mut headers);
        assert!(headers.len() == 2 && headers.values().all(HeaderValue::is_sensitive));
        assert!(headers.contains_key(grpc::TIMEOUT) && headers.contains_key(field));
    }
}
