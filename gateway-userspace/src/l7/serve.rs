//! The request's way, top to bottom: [`serve`].
//!
//! Every request ends here: answered, refused or failed. Its [`Record`] goes out with the response's body and writes
//! the line when that ends. All decisions are made by one snapshot, which the record took hold of at its start.

use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, Version, header};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::answers::{Answer, Asker, Short};
use super::attempt::{Answered, Outgoing, Resends, is_idempotent};
use super::body::{Bounds, Conversion, Gate, Limits, RequestBody, ResponseBody, Upload};
use super::connection::Connection;
use super::deadline::{self, A_DAY, Blames, SWEPT_MIN, later};
use super::error::ProxyError;
use super::exchange::Exchange;
use super::filter;
use super::forward::{forward, lists};
use super::grpc::web;
use super::headers::{self, Seen};
use super::host::Host;
use super::mirror::Mirrors;
use super::path;
use super::record::Record;
use super::resolved::{Action, ResolvedRoute};
use super::respond::respond;
use super::switch::{self, Switch};
use super::target;
use super::transport::TlsFacts;
use super::worker::Worker;
use crate::config::snapshot::{EncodedSlash, Expect, GrpcWeb, Scheme, UpstreamProtocol};
use crate::filters::cors;
use crate::inspect::Refusal;
use crate::router::Facts;

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
        None => match admit(&connection, request, seen, &mut record) {
            Ok(admitted) => decide(&connection, admitted, &mut record).await,
            Err(short) => Answer::Short(short),
        },
    };
    Ok(respond(&connection, answer, &asker, record))
}

/// Reads, routes and rewrites a request that is to be forwarded.
///
/// # Errors
/// The short way out: a refusal, or an answer of our own.
fn admit(
    connection: &Rc<Connection>,
    request: Box<Request<Incoming>>,
    seen: Seen,
    record: &mut Record,
) -> Result<Admitted, Short> {
    #[cfg(test)]
    super::tests::panic_if_asked(&request);
    let (mut head, body) = request.into_parts();

    // Admit: what can be read in two ways goes no further.
    let listener = connection.listens();
    if head.version == Version::HTTP_2
        && headers::check_http2(&head.headers, seen, listener.http())? == headers::Lenience::Used
    {
        connection.worker.counters.noted(Refusal::UnderscoreShadow);
    }
    let asked = switch::asked(&mut head, seen)?;
    let host = Host::read(&head.uri, &head.headers, head.version)?;
    record.host = Some(host.value.clone());
    if let Some(tls) = connection.tls()
        && !tls.fits(host.name())
    {
        return Err(ProxyError::Misdirected.into());
    }
    let path = path::normalise(head.uri.path()).map_err(ProxyError::from)?;
    let encoded_slash = path.encoded_slash;
    if path.merged == "*" && head.method != Method::OPTIONS {
        return Err(ProxyError::PathBad.into());
    }

    // Route.
    let own_scheme = match connection.tls() {
        Some(_) => Scheme::Https,
        None => Scheme::Http,
    };
    let peer = record.identify(&head.headers, &listener.http().trusted_proxies);
    let facts = Facts {
        headers: &head.headers,
        query: head.uri.query(),
        client: record.client(),
        claims: peer.claims(),
        certificate: connection.tls().and_then(TlsFacts::certificate),
    };
    let found = listener.route(host.name(), path, &head.method, &facts, cors::preflight(&head));
    let (route, path) = found.map_err(|error| {
        let allow = (error == ProxyError::MethodNotAllowed)
            .then(|| listener.allowed(host.name(), head.uri.path(), &facts))
            .flatten();
        Short::Refused { error, allow }
    })?;
    if let Cow::Owned(path) = path {
        head.uri = target::with_path(&head.uri, path)?;
        record.target(&head.uri);
    }
    record.routed(&route, route.share(&head, record.client()));
    let rules = route.http();
    if encoded_slash == path::Presence::Present && rules.encoded_slash == EncodedSlash::Refuse {
        return Err(ProxyError::PathEncodedSlash.into());
    }
    let (protocol, own) = match route.action(record.share)? {
        Action::Forward(upstream) => (upstream.protocol(), None),
        // These go no further than the filters, which see them in the words of this one.
        Action::Redirect(redirect) => {
            let scheme = headers::client_scheme(&head.headers, peer, own_scheme);
            let redirected = target::redirected(redirect, scheme, &host.value, &head.uri)?;
            (UpstreamProtocol::Http1, Some(redirected))
        }
        Action::Respond(respond) => (UpstreamProtocol::Http1, Some(Short::Own(Arc::clone(respond)))),
    };
    let own = match own {
        Some(own) if route.filters().is_empty() => return Err(own),
        own => own.map(Box::new),
    };

    // Rewrite.
    let mut switch = if body.is_end_stream() {
        asked.allowed_by(&rules.upgrades)?
    } else {
        Switch::None
    };
    let forwards_expect = rules.expect == Expect::Forward
        && protocol == UpstreamProtocol::Http1
        && head.version == Version::HTTP_11
        && head.headers.contains_key(header::EXPECT);
    let call = match rules.grpc_web {
        GrpcWeb::Translated => web::Call::read(&head.method, &head.headers),
        GrpcWeb::Passed => None,
    };
    if let Some(call) = call {
        call.to_grpc(&mut head.headers);
        record.web = Some(call);
    }
    let conversion;
    (conversion, record.deadline) = deadline::terms(&mut head, record.start, rules, peer)?;
    let hop = headers::Hop {
        peer,
        client: connection.client_text.forwarded_for(),
        scheme: own_scheme.as_str(),
        host: &host.value,
        request_id: &record.request_id,
        via: headers::via(head.version),
        expect: if forwards_expect {
            Expect::Forward
        } else {
            Expect::Answer
        },
    };
    record.traced(headers::to_upstream(&mut head.headers, seen, hop)?);
    if call.is_some() {
        head.headers
            .insert(header::TE, HeaderValue::from_static("trailers"));
    }
    let resends = match conversion {
        Conversion::Grpc if route.resends_calls() => Resends::Yes,
        _ => Resends::No,
    };
    let mirrors = match switch {
        Switch::None => route.mirrors(),
        Switch::To(_) => Mirrors::No,
    };
    let keeps = match (mirrors, resends) {
        (Mirrors::No, Resends::No) if !is_idempotent(&head.method) => Resends::No,
        _ => Resends::Yes,
    };
    let mut bounds = Bounds::new(rules, conversion, keeps, listener.http().stalled_timeout);
    bounds.text = call.and_then(|call| call.decoder());
    if bounds.exceeded_by(&head.headers) {
        return Err(ProxyError::BodyTooLarge.into());
    }
    let upload = match switch {
        Switch::None => Upload::new(body, bounds, record.start),
        // What follows is the tunnel's.
        Switch::To(_) => None,
    };
    record.body(upload.clone());
    let host = target::host(&mut head.headers, route.rewrite(), host.value);
    target::address(&mut head, host, protocol)?;
    head.extensions.clear();
    switch.ask_upstream(&mut head, protocol)?;
    if protocol == UpstreamProtocol::Http1 && upload.is_some() {
        headers::frame(&mut head.headers, &RequestBody::new(upload.as_ref()));
    }
    Ok(Admitted {
        route,
        outgoing: Box::new(Outgoing {
            head,
            upload,
            gate: forwards_expect.then(Arc::<Gate>::default),
            resends,
            is_call: conversion.into(),
            mirrors,
        }),
        switch,
        conversion,
        own,
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
    if let Err(error) = rewrite_path(&route, &mut outgoing) {
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

/// # Errors
/// [`ProxyError::PathBad`]: the path that the route wants cannot be one.
fn rewrite_path(route: &ResolvedRoute, outgoing: &mut Outgoing) -> Result<(), ProxyError> {
    let head = &mut outgoing.head;
    if let Some(path) = route
        .rewrite()
        .and_then(|rewrite| rewrite.path.of(head.uri.path()))
    {
        head.uri = target::with_path(&head.uri, path)?;
    }
    Ok(())
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
