//! The request's way, top to bottom: [`serve`].
//!
//! Every request ends here: answered, refused or failed. Its [`Record`] goes out with the response's body and writes
//! the line when that ends. All decisions are made by one snapshot, which the record took hold of at its start. What waits
//! for nobody stands in [`admit`], which explanations go through as well.

use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::admit::{By, Rest, admit};
use super::answers::{Answer, Asker, Short};
use super::attempt::{Answered, Outgoing};
use super::body::{Conversion, Gate, Limits, RequestBody, ResponseBody, Upload};
use super::connection::Connection;
use super::deadline::{self, A_DAY, Blames, SWEPT_MIN, later};
use super::error::ProxyError;
use super::exchange::Exchange;
use super::filter;
use super::forward::{forward, lists};
use super::headers::{self, Seen};
use super::record::Record;
use super::resolved::ResolvedRoute;
use super::respond::respond;
use super::switch::Switch;
use super::target;
use super::transport::TlsFacts;
use super::worker::Worker;
use crate::config::snapshot::{Expect, Scheme, UpstreamProtocol};

/// A request that may be forwarded, once the filters of its route let it pass.
struct Admitted {
    route: Rc<ResolvedRoute>,
    outgoing: Box<Outgoing>,
    switch: Switch,
    conversion: Conversion,
    /// What the route answers by itself.
    own: Option<Box<Short>>,
}

/// Takes one request from its head to its response's head; the body follows on its own and ends the record.
///
/// What is large goes from step to step in boxes: hyper moves this future several times, and an async function holds
/// what it is given twice.
pub(super) async fn serve(
    connection: Rc<Connection>,
    exchange: Rc<Exchange>,
    request: Box<Request<Incoming>>,
) -> Result<Response<ResponseBody>, Infallible> {
    let asker = Asker::of(&request);
    let refused = connection.begin(asker.version);
    let seen = Seen::scan(request.headers());
    if headers::is_last(request.headers(), seen, asker.version) {
        connection.ends_with_this();
    }
    let mut record = Record::begin(&connection, exchange, &request, seen);
    let answer = match refused {
        Some(refusal) => {
            record.refused(connection.start_line());
            ProxyError::Refused(refusal).into()
        }
        None => match admitted(&connection, request, seen, &mut record) {
            Ok(admitted) => decide(&connection, admitted, &mut record).await,
            Err(short) => Answer::Short(short),
        },
    };
    Ok(respond(&connection, answer, &asker, record))
}

/// Reads, routes and rewrites a request that is to be forwarded, and takes hold of its body.
///
/// # Errors
/// The short way out: a refusal, or an answer of our own.
fn admitted(
    connection: &Rc<Connection>,
    request: Box<Request<Incoming>>,
    seen: Seen,
    record: &mut Record,
) -> Result<Admitted, Short> {
    #[cfg(test)]
    super::tests::panic_if_asked(&request);
    let (head, body) = request.into_parts();
    let rest = if body.is_end_stream() {
        Rest::Nothing
    } else {
        Rest::Body
    };
    let listener = connection.listens();
    let by = By {
        listener: &listener,
        scheme: match connection.tls() {
            Some(_) => Scheme::Https,
            None => Scheme::Http,
        },
        certificate: connection.tls().and_then(TlsFacts::certificate),
        start: record.start,
    };
    let mut passing = admit(by, head, rest, seen, record)?;
    let upload = match passing.switch {
        Switch::None => Upload::new(body, passing.bounds, record.start),
        // What follows is the tunnel's.
        Switch::To(_) => None,
    };
    record.body(upload.clone());
    if passing.protocol == UpstreamProtocol::Http1 && upload.is_some() {
        headers::frame(&mut passing.head.headers, &RequestBody::new(upload.as_ref()));
    }
    Ok(Admitted {
        route: passing.route,
        outgoing: Box::new(Outgoing {
            head: passing.head,
            upload,
            gate: (passing.expect == Expect::Forward).then(Arc::<Gate>::default),
            resends: passing.resends,
            is_call: passing.conversion.into(),
            mirrors: passing.mirrors,
        }),
        switch: passing.switch,
        conversion: passing.conversion,
        own: passing.own,
    })
}

/// Leads a request through the filters of its route, then does what the route does: forwards it within its limits of
/// time. `timeout` is counted anew while the client sends its body, for a slow client is no slow upstream.
async fn decide(connection: &Rc<Connection>, admitted: Admitted, record: &mut Record) -> Answer {
    let Admitted {
        route,
        mut outgoing,
        switch,
        conversion,
        own,
    } = admitted;

    // Filter, and rewrite: filters see the path that was asked for.
    if route.filters().is_empty() {
        drop(own);
    } else if let Err(short) =
        Box::pin(filtered(&connection.worker, &route, &mut outgoing, own, record)).await
    {
        // On the heap: most routes have none.
        return Answer::Short(short);
    }
    if let Err(error) = target::rewrite(&mut outgoing.head.uri, route.rewrite()) {
        return error.into();
    }

    // Forward.
    let deadline = record.deadline.as_ref().map(|deadline| deadline.at);
    let limit = route.http().timeout;
    let exchange = Rc::clone(&record.exchange);
    let upload = outgoing.upload.clone();
    let mut until = later(record.start, limit).min(deadline.unwrap_or_else(|| later(record.start, A_DAY)));
    let outcome = {
        let mut forwarded = pin!(forward(&connection.worker, &route, outgoing, record));
        loop {
            // A timer is exact, and costs something: for seconds the sweep will do.
            let outcome = if limit >= SWEPT_MIN && deadline.is_none() {
                exchange.head(until, forwarded.as_mut()).await
            } else {
                let timed = Box::pin(timeout_at(until, forwarded.as_mut())).await;
                timed.map_err(|_| ProxyError::Timeout)
            };
            match outcome {
                Ok(outcome) => break outcome,
                Err(ProxyError::Timeout) => {}
                Err(verdict) => break Err(verdict),
            }
            if deadline.is_some_and(|deadline| deadline <= until) {
                break Err(ProxyError::DeadlineExceeded);
            }
            let progress = upload.as_ref().and_then(|upload| upload.progress());
            let next = match progress {
                // The client's own limit ends this.
                Some(progress) if upload.as_ref().is_some_and(|upload| upload.is_owed()) => {
                    later(Instant::now().max(progress), limit)
                }
                Some(progress) => later(progress, limit),
                None => break Err(ProxyError::Timeout),
            };
            if next <= until {
                break Err(ProxyError::Timeout);
            }
            until = next.min(deadline.unwrap_or(next));
        }
    };
    let fallback = route.fallback();
    let Answered { response, lease, .. } = match outcome {
        Ok(answered) if fallback.respond.is_some() && lists(&fallback.on, &answered.response) => {
            answered.discard();
            return route.degraded(ProxyError::UpstreamStatus);
        }
        Ok(answered) => answered,
        Err(error) => {
            let blames = record
                .deadline
                .as_ref()
                .map_or(Blames::Endpoint, |deadline| deadline.blames);
            match error {
                ProxyError::Timeout => record.endpoint_failed(),
                ProxyError::DeadlineExceeded if blames == Blames::Endpoint => record.endpoint_failed(),
                _ => {}
            }
            return match record.body_fault() {
                Some(fault) => fault.into(),
                None => route.degraded(error),
            };
        }
    };
    if switch.is_made_by(&response) {
        return Answer::Switched {
            response,
            lease,
            switch,
            route,
        };
    }
    let streams = conversion == Conversion::Grpc || deadline::is_event_stream(&response);
    let idle = (!streams).then_some(route.http().response_idle_timeout);
    Answer::Upstream {
        response,
        lease,
        conversion,
        limits: Limits { idle, deadline },
    }
}

/// Leads a request through the filters of its route; `own` is what the route then answers by itself.
///
/// # Errors
/// The short way out.
async fn filtered(
    worker: &Worker,
    route: &Rc<ResolvedRoute>,
    outgoing: &mut Outgoing,
    own: Option<Box<Short>>,
    record: &mut Record,
) -> Result<(), Short> {
    filter::request(worker, route, outgoing, record).await?;
    own.map_or(Ok(()), |own| Err(*own))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn what_hyper_moves_for_each_request_stays_small() {
        // 1 kB is where the allocator's quick way ends; it was 4,320 bytes once, of which an HTTP/2 stream copied 17 kB
        // before it ran.
        let bytes = size(serve);
        assert!(bytes <= 1_024, "{bytes}");
    }
}
