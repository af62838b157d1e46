//! One endpoint asked: a connection, the request, its response head; again on a new connection where a reused one
//! turned out to be dead.

use std::rc::Rc;
use std::time::Duration;

use http::{Method, Request, Response};
use http_body::Body;
use hyper::body::Incoming;

use super::body::RequestBody;
use super::error::{Fault, ProxyError, Retry};
use super::pool::{Lease, Origin, Pool, Want};
use super::record::Record;
use super::worker::Worker;

/// An attempt that failed, with the request where nothing of it was sent.
pub(super) struct Failed {
    pub(super) error: ProxyError,
    pub(super) request: Option<Request<RequestBody>>,
}

/// Asks that endpoint.
///
/// # Errors
/// The last failure. The request comes back only if another endpoint may be asked.
///
/// # Cancel safety
/// The connection is closed or the stream reset.
pub(super) async fn attempt(
    worker: &Worker,
    pool: &Rc<Pool>,
    connect_timeout: Duration,
    mut request: Request<RequestBody>,
    record: &mut Record,
) -> Result<(Response<Incoming>, Lease), Box<Failed>> {
    let mut want = Want::Any;
    loop {
        record.tries(pool);
        let (mut lease, origin) = match pool.lease(want, connect_timeout).await {
            Ok(leased) => leased,
            Err(error) => {
                if error.fault() == Fault::Upstream {
                    pool.failed();
                }
                return Err(Box::new(Failed {
                    error,
                    request: Some(request),
                }));
            }
        };
        if let Origin::Fresh(time) = origin {
            record.connected(time);
        }
        let spare = match origin {
            Origin::Reused => copy(&request),
            Origin::Fresh(_) => None,
        };
        let mut failure = match lease.send(request).await {
            Ok(response) => {
                record.answered();
                return Ok((response, lease));
            }
            Err(failure) => failure,
        };
        let unsent = failure.take_message();
        let error = classify(&failure.into_error(), unsent.as_ref(), record);
        let again = match (origin, error.retry()) {
            (Origin::Reused, Retry::Safe) => unsent,
            (Origin::Reused, Retry::IfIdempotent) => spare,
            (Origin::Fresh(_), Retry::Safe) => {
                pool.failed();
                return Err(Box::new(Failed {
                    error,
                    request: unsent,
                }));
            }
            _ => None,
        };
        match again {
            // The keep-alive race: the endpoint closed an idle connection while the request was on its way. Once,
            // as a new connection is never `Reused`.
            Some(same) => {
                worker.counters.resent.add(1);
                request = same;
                want = Want::Fresh;
            }
            None => {
                if error.fault() == Fault::Upstream {
                    pool.failed();
                }
                return Err(Box::new(Failed { error, request: None }));
            }
        }
    }
}

/// A request that may be sent twice: idempotent (RFC 9110, section 9.2.2) and without a body.
fn copy(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let idempotent = [
        Method::GET,
        Method::HEAD,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
    ];
    if !request.body().is_end_stream() || !idempotent.contains(request.method()) {
        return None;
    }
    let mut copy = Request::new(RequestBody::EMPTY);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    *copy.version_mut() = request.version();
    copy.headers_mut().clone_from(request.headers());
    Some(copy)
}

fn classify(error: &hyper::Error, unsent: Option<&Request<RequestBody>>, record: &Record) -> ProxyError {
    let endpoint = record.endpoint().map(|pool| pool.address);
    tracing::debug!(%error, ?endpoint, "an attempt failed after it had a connection");
    if record.is_body_broken() {
        return ProxyError::RequestBodyBroken;
    }
    if unsent.is_some() {
        ProxyError::ConnectionLost
    } else if error.is_parse() {
        ProxyError::UpstreamProtocol
    } else {
        ProxyError::UpstreamClosed
    }
}
