//! When a request must have ended.

use std::time::Duration;

use http::request::Parts;
use http::{Response, header};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::body::Conversion;
use super::grpc;

/// Limits from here on are looked at by the worker's sweep, up to a quarter of a second late.
pub(super) const SWEPT_MIN: Duration = Duration::from_secs(2);
/// Longer than any limit.
pub(super) const A_DAY: Duration = Duration::from_hours(24);

/// So much later, a day at most.
pub(super) fn later(start: Instant, limit: Duration) -> Instant {
    start.checked_add(limit.min(A_DAY)).unwrap_or(start)
}

/// What is special about gRPC, and when the whole must have ended: the smaller of our limit and the client's, passed
/// on shortened.
pub(super) fn terms(
    head: &mut Parts,
    start: Instant,
    timeout_total: Option<Duration>,
) -> (Conversion, Option<Instant>) {
    if !grpc::is_call(&head.method, &head.headers) {
        return (
            Conversion::None,
            timeout_total.and_then(|limit| start.checked_add(limit)),
        );
    }
    let limit = [grpc::timeout(&head.headers), timeout_total]
        .into_iter()
        .flatten()
        .min();
    if let Some(left) = limit.and_then(|limit| grpc::format_timeout(limit.saturating_sub(start.elapsed()))) {
        head.headers.insert(grpc::TIMEOUT, left);
    }
    (Conversion::Grpc, limit.and_then(|limit| start.checked_add(limit)))
}

/// Whether silence inside a response is meant: events come when they come.
pub(super) fn is_event_stream(response: &Response<Incoming>) -> bool {
    response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}
