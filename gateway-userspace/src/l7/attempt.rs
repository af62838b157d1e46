//! One endpoint asked: a connection, the request, its response head; again on a new connection where a reused one
//! turned out to be dead.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::body::{Gate, RequestBody, Upload};
use super::error::{Fault, ProxyError, Retry};
use super::grpc;
use super::mirror::Mirrors;
use super::pool::{Lease, Origin, Pool, Want};
use super::record::{IsCall, Record};
use super::resolved::ResolvedRoute;
use super::target;
use super::worker::Worker;
use crate::registry::Blame;

/// A request as an upstream gets it, for as many tries as it takes.
pub(super) struct Outgoing {
    pub(super) head: Parts,
    pub(super) upload: Option<Rc<Upload>>,
    /// Holds the body back until the endpoint wants it.
    pub(super) gate: Option<Arc<Gate>>,
    /// Whether it may be sent again though its method does not say so: a gRPC call whose codes are retried.
    pub(super) resends: Resends,
    pub(super) is_call: IsCall,
    /// Whether another upstream gets a copy.
    pub(super) mirrors: Mirrors,
}

/// Whether requests may be sent again after they were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resends {
    No,
    Yes,
}

/// An answer's head, with the request where it may be sent again.
pub(super) struct Answered {
    pub(super) response: Response<Incoming>,
    pub(super) lease: Lease,
    pub(super) again: Option<Box<Outgoing>>,
}

impl Answered {
    /// Nobody gets it: another is asked for.
    pub(super) fn discard(self) {
        self.lease.discard(self.response);
    }
}

/// An attempt that failed, with the request where it may be sent again.
pub(super) struct Failed {
    pub(super) error: ProxyError,
    pub(super) again: Option<Box<Outgoing>>,
    /// Where it is the way's, the same endpoint may be asked over another one.
    pub(super) blame: Blame,
}

impl Failed {
    /// Nobody was asked, or it is no failure of communication.
    pub(super) fn new(error: ProxyError, again: Option<Box<Outgoing>>) -> Box<Self> {
        Box::new(Self {
            error,
            again,
            blame: Blame::Endpoint,
        })
    }

    /// A try at that endpoint; the record is told, if it was the endpoint that failed.
    fn at(pool: &Pool, error: ProxyError, again: Option<Box<Outgoing>>, record: &mut Record) -> Box<Self> {
        let blame = pool.blame(error);
        // To be busy is no failure.
        let is_failure = error.fault() == Fault::Upstream && error != ProxyError::UpstreamOverloaded;
        if blame == Blame::Endpoint && is_failure {
            record.endpoint_failed();
        }
        Box::new(Self { error, again, blame })
    }
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
    route: &ResolvedRoute,
    mut outgoing: Box<Outgoing>,
    record: &mut Record,
) -> Result<Answered, Box<Failed>> {
    let mut want = Want::Any;
    let try_timeout = route.http().try_timeout;
    let spoken = target::speak(&mut outgoing, pool.channel.protocol);
    if let Err(error) = spoken.and_then(|()| target::secure(&mut outgoing.head, pool.channel.security)) {
        return Err(Failed::new(error, Some(outgoing)));
    }
    loop {
        record.tries(pool);
        // It has one, but where the same request goes once more, or the way changed this very moment.
        if record.seat.as_ref().is_none_or(|seat| !seat.is_at(pool)) {
            record.seat = None;
            record.seat = pool.seat();
        }
        let (mut lease, origin) = match Lease::take(&mut record.seat, want).await {
            Ok(leased) => leased,
            Err(error) => {
                record.seat = None;
                return Err(Failed::at(pool, error, Some(outgoing), record));
            }
        };
        if let Origin::Fresh(time) = origin {
            record.connected(time);
        }
        if let Some(deadline) = &record.deadline {
            deadline.tell(&mut outgoing.head.headers);
        }
        let may_repeat = origin == Origin::Reused || route.resends() == Resends::Yes || pool.has_other_ways();
        let (upload, gate, resends) = (outgoing.upload.clone(), outgoing.gate.clone(), outgoing.resends);
        let is_call = outgoing.is_call;
        let (head, spare) =
            if may_repeat && (is_idempotent(&outgoing.head.method) || outgoing.resends == Resends::Yes) {
                (outgoing.head.clone(), Some(outgoing))
            } else {
                (outgoing.head, None)
            };
        let answer = {
            let sent = pin!(lease.send(request(head, upload.as_ref(), gate.as_ref())));
            match try_timeout {
                None => sent.await,
                Some(limit) => match Box::pin(timeout(limit, sent)).await {
                    Ok(answer) => answer,
                    Err(_) => {
                        record.endpoint_failed();
                        let again = spare.filter(|_| repeats(upload.as_ref()));
                        return Err(Failed::new(ProxyError::TryTimeout, again));
                    }
                },
            }
        };
        let mut failure = match answer {
            Ok(response) => {
                record.answered(response.status(), is_call);
                if is_call == IsCall::Yes {
                    record.head_says(grpc::Status::read(response.headers()));
                }
                let interim = lease.interim();
                if interim > 0 {
                    worker.counters.interim.add(interim);
                }
                if response.version() == Version::HTTP_10 {
                    lease.retire();
                }
                let again = spare.filter(|_| repeats(upload.as_ref()));
                return Ok(Answered {
                    response,
                    lease,
                    again,
                });
            }
            Err(failure) => failure,
        };
        let unsent = failure.take_message().map(|request| request.into_parts().0);
        let error = classify(&failure.into_error(), unsent.as_ref(), &lease, record);
        let again = match (origin, error.retry()) {
            (_, Retry::Safe) => unsent.map(|head| {
                Box::new(Outgoing {
                    head,
                    upload,
                    gate,
                    resends,
                    is_call,
                    // It has been.
                    mirrors: Mirrors::No,
                })
            }),
            _ => spare.filter(|_| repeats(upload.as_ref())),
        };
        match (origin, again) {
            // The keep-alive race: the endpoint closed an idle connection while the request was on its way. Once,
            // as a new connection is never `Reused`.
            (Origin::Reused, Some(same)) if error.retry() != Retry::Never => {
                worker.counters.resent.add(1);
                outgoing = same;
                want = Want::Fresh;
            }
            (_, again) => {
                return Err(Failed::at(pool, error, again, record));
            }
        }
    }
}

fn request(head: Parts, upload: Option<&Rc<Upload>>, gate: Option<&Arc<Gate>>) -> Request<RequestBody> {
    let body = RequestBody::new(upload);
    let Some(gate) = gate else {
        return Request::from_parts(head, body);
    };
    let mut request = Request::from_parts(head, body.behind(gate));
    let gate = Arc::clone(gate);
    hyper::ext::on_informational(&mut request, move |_| gate.open());
    request
}

fn repeats(upload: Option<&Rc<Upload>>) -> bool {
    upload.is_none_or(|upload| upload.can_repeat())
}

/// RFC 9110, section 9.2.2.
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS
    )
}

fn classify(error: &hyper::Error, unsent: Option<&Parts>, lease: &Lease, record: &Record) -> ProxyError {
    let endpoint = record.endpoint().map(|pool| pool.endpoint);
    let refusal = lease.refusal();
    tracing::debug!(%error, ?endpoint, ?refusal, "an attempt failed after it had a connection");
    if let Some(fault) = record.body_fault() {
        return fault;
    }
    if unsent.is_some() {
        ProxyError::ConnectionLost
    } else if error.is_parse() || refusal.is_some() {
        ProxyError::UpstreamProtocol
    } else {
        ProxyError::UpstreamClosed
    }
}
