//! Another upstream is asked whether a request may go on (`forward_auth`), by the same way as requests go: its balancer,
//! limits, breaker, pools and retries.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Response, Version};
use http_body_util::{BodyExt, Limited};
use tokio::time::timeout;

use super::attempt::{Answered, Outgoing, Resends};
use super::forward::forward;
use super::headers;
use super::mirror::Mirrors;
use super::record::{IsCall, Record};
use super::resolved::ResolvedRoute;
use super::worker::Worker;
use crate::filters::forward_auth::ForwardAuth;

/// Bytes of a refusal that are kept to be sent on: a page that asks for a login. Longer ones count as no answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What the service says of a request.
pub(super) enum Verdict {
    /// It may go on; the fields of the answer.
    Passes(HeaderMap),
    /// The client is to get this.
    Refuses(Box<Response<Bytes>>),
    /// Nothing that can be used, or not in time.
    Unknown,
}

/// Asks about that request, within the filter's `timeout`. `route` leads to the service.
///
/// # Cancel safety
/// The connection is closed or the stream reset.
pub(super) async fn ask(
    worker: &Worker,
    route: &ResolvedRoute,
    auth: &ForwardAuth,
    about: &Parts,
    record: &mut Record,
) -> Verdict {
    let outgoing = Box::new(Outgoing {
        head: auth.question(about),
        upload: None,
        gate: None,
        resends: Resends::No,
        is_call: IsCall::No,
        mirrors: Mirrors::No,
    });
    let share = record.begin_aside();
    let verdict = match timeout(auth.timeout, answer(worker, route, outgoing, record)).await {
        Ok(verdict) => verdict,
        Err(_) => {
            record.endpoint_failed();
            Verdict::Unknown
        }
    };
    record.end_aside(share);
    verdict
}

async fn answer(
    worker: &Worker,
    route: &ResolvedRoute,
    outgoing: Box<Outgoing>,
    record: &mut Record,
) -> Verdict {
    let Answered { response, lease, .. } = match forward(worker, route, outgoing, record).await {
        Ok(answered) => answered,
        Err(error) => {
            tracing::debug!(
                reason = error.reason(),
                "a service that is to say who may pass cannot be asked"
            );
            return Verdict::Unknown;
        }
    };
    if response.status().is_success() {
        let fields = response.headers().clone();
        lease.discard(response);
        return Verdict::Passes(fields);
    }
    let (mut head, body) = response.into_parts();
    if head.status.is_informational() || headers::to_downstream(&mut head.headers, head.version).is_err() {
        record.endpoint_failed();
        return Verdict::Unknown;
    }
    head.version = Version::HTTP_11;
    match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
        Ok(body) => {
            lease.finish();
            let body = body.to_bytes();
            Verdict::Refuses(Box::new(Response::from_parts(head, body)))
        }
        Err(error) => {
            tracing::debug!(%error, "the refusal of a service cannot be sent on");
            Verdict::Unknown
        }
    }
}
