//! How each request ends: with one log line, one reason, and its counters.
//!
//! A [`Record`] is begun when a request's head is read and travels with the request; whatever happens to that
//! (answered, refused, broken off, dropped with its connection, unwound by a panic), its end writes the line.

mod aside;
mod call;
mod connection;
mod ending;
mod witness;

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, StatusCode, Version};
use tokio::time::Instant;

use super::body::{Conversion, Upload};
use super::connection::Connection;
use super::deadline::Deadline;
use super::error::{Fault, ProxyError};
use super::exchange::{Exchange, Pace};
use super::filter::Passage;
use super::grpc::{self, web};
use super::headers::{self, Seen, TraceId};
use super::pool::{Pool, Seat};
use super::resolved::{ListenerTag, ResolvedRoute, ResolvedUpstream};
use crate::config::snapshot::Choice;
use crate::registry::{Begun, Trying, UpstreamState};
use crate::resilience::breaker::Outcome;
use crate::resilience::limits::Permit;
use crate::telemetry::access_log::line::Line;
use ending::{Delay, End};

/// What is known of a request so far.
pub(crate) struct Record {
    connection: Rc<Connection>,
    pub(super) exchange: Rc<Exchange>,
    /// Of the snapshot that decides.
    pub(super) listener: Rc<ListenerTag>,
    route: Option<Rc<ResolvedRoute>>,
    /// Which of the route's upstreams it goes to.
    pub(super) share: usize,
    /// Where it was last tried.
    endpoint: Option<Rc<Pool>>,
    /// Whose turn it is, or was.
    upstream: Option<Rc<ResolvedUpstream>>,
    /// When its head was read.
    pub(super) start: Instant,
    method: Method,
    /// `None`: of HTTP nothing is known, for it is a connection that is passed on.
    version: Option<Version>,
    /// As the client sent it, readable or not.
    pub(super) host: Option<HeaderValue>,
    path: Option<PathAndQuery>,
    /// Instead of all these: how a head began that the inspector refused.
    start_line: Option<Box<str>>,
    pub(super) request_id: HeaderValue,
    trace: Option<TraceId>,
    /// Who the client is, behind proxies.
    client: Option<IpAddr>,
    upload: Option<Rc<Upload>>,
    status: Option<StatusCode>,
    tries: u32,
    /// When the last one began.
    try_start: Instant,
    call: Call,
    begun: Begun,
    /// Owed to breakers: the outcome of the last try.
    trials: Vec<(Arc<UpstreamState>, Trying)>,
    /// What its upstream's balancer tells it apart by.
    pub(super) key: Option<u64>,
    /// When it must have ended, as endpoints are told.
    pub(super) deadline: Option<Deadline>,
    /// Its place at the endpoint of the next try.
    pub(super) seat: Option<Seat>,
    /// Its place among the retries there.
    pub(super) retrying: Option<Permit>,
    /// Its place at its upstream, where requests are limited.
    pub(super) place: Option<Permit>,
    /// The endpoint of its upstream that the client's cookie names.
    pub(super) stays_at: Option<usize>,
    /// Whom of its upstream it may go to.
    pub(super) choice: Choice,
    /// The filters that saw it, until its answer's head is made.
    pub(super) passage: Option<Passage>,
    /// Who it is, as a filter found out.
    pub(super) consumer: Option<HeaderValue>,
    /// How it came, where it is a call of gRPC-Web that is translated.
    pub(super) web: Option<web::Call>,
    connect: Option<Duration>,
    first_byte: Option<Duration>,
    upstream_status: Option<StatusCode>,
    bytes_in: u64,
    bytes_out: u64,
    grpc_status: Option<grpc::Status>,
    delay: Delay,
    end: End,
}

/// Whether the last try is counted among its endpoint's calls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Open,
    Counted,
    /// As a failure: a try fails once, whatever ends the request after it.
    Failed,
}

/// Whether a request is a gRPC call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum IsCall {
    No,
    Yes,
}

impl From<Conversion> for IsCall {
    fn from(conversion: Conversion) -> Self {
        match conversion {
            Conversion::Grpc => Self::Yes,
            Conversion::None => Self::No,
        }
    }
}

impl Record {
    /// A request's head is read.
    pub(super) fn begin<B>(
        connection: &Rc<Connection>,
        exchange: Rc<Exchange>,
        request: &Request<B>,
        seen: Seen,
    ) -> Box<Self> {
        let listener = Rc::clone(&connection.listener(&connection.worker.resolved()).tag);
        exchange.decided_by(&listener.ends);
        let start = Instant::now();
        Box::new(Self {
            exchange,
            listener,
            route: None,
            share: 0,
            endpoint: None,
            upstream: None,
            start,
            try_start: start,
            call: Call::Counted,
            begun: Begun::default(),
            trials: Vec::new(),
            key: None,
            stays_at: None,
            choice: Choice::Whole,
            passage: None,
            consumer: None,
            web: None,
            method: request.method().clone(),
            version: Some(request.version()),
            host: request.headers().get(http::header::HOST).cloned(),
            path: request.uri().path_and_query().cloned(),
            request_id: headers::once(
                headers::request_id(request.headers(), seen)
                    .cloned()
                    .unwrap_or_else(|| connection.worker.request_ids.next()),
            ),
            start_line: None,
            trace: None,
            client: None,
            upload: None,
            status: None,
            tries: 0,
            deadline: None,
            seat: None,
            retrying: None,
            place: None,
            connect: None,
            first_byte: None,
            upstream_status: None,
            bytes_in: 0,
            bytes_out: 0,
            grpc_status: None,
            delay: Delay::None,
            end: End::Open,
            connection: Rc::clone(connection),
        })
    }

    /// The inspector refused the head; it began so.
    pub(super) fn refused(&mut self, start_line: Option<Box<str>>) {
        self.start_line = start_line;
        self.host = None;
        self.path = None;
    }

    /// The time of the last sweep: good enough for waits of seconds.
    pub(super) fn now(&self) -> Instant {
        self.connection.worker.clock.coarse()
    }

    /// What tells whether the client takes the answer.
    pub(super) fn paces(&self) -> Pace {
        if self.version == Some(Version::HTTP_2) {
            Pace::Stream
        } else {
            Pace::Connection
        }
    }

    /// Who the client is, as far as is known.
    pub(super) fn client(&self) -> IpAddr {
        self.client.unwrap_or_else(|| self.connection.client().ip())
    }

    /// The answer of our own to a gRPC call.
    pub(super) fn says(&mut self, status: grpc::Status) {
        self.grpc_status = Some(status);
    }

    /// So much passed through a tunnel.
    pub(super) fn tunnelled(&mut self, bytes_in: u64, bytes_out: u64) {
        self.bytes_in = bytes_in;
        self.bytes_out = bytes_out;
    }

    pub(super) fn body(&mut self, upload: Option<Rc<Upload>>) {
        self.upload = upload;
    }

    /// It is that upstream's turn.
    pub(super) fn goes_to(&mut self, upstream: &Rc<ResolvedUpstream>) {
        // A trial call of the one before that was not made: its place is free again.
        self.end_trials(Outcome::Unknown);
        self.upstream = Some(Rc::clone(upstream));
        (self.seat, self.retrying, self.place) = (None, None, None);
    }

    /// The name of its route.
    pub(super) fn route_name(&self) -> &str {
        self.route.as_ref().map_or("-", |route| route.name())
    }

    /// Where it was last tried.
    pub(super) fn endpoint(&self) -> Option<&Rc<Pool>> {
        self.endpoint.as_ref()
    }

    /// The cookie by which the client is to stay where it was last tried, if it has not got that already.
    pub(super) fn new_cookie(&self) -> Option<&HeaderValue> {
        let upstream = self.upstream.as_ref()?;
        let sticky = upstream.upstream.sticky.as_ref()?;
        let asked = self.endpoint.as_ref()?;
        let is_asked = |index: &usize| {
            let endpoint = upstream.endpoints.get(*index);
            endpoint.is_some_and(|endpoint| endpoint.pool.endpoint == asked.endpoint)
        };
        match self.stays_at.filter(is_asked) {
            Some(_) => None,
            None => sticky.set_cookie((0..upstream.endpoints.len()).find(is_asked)?),
        }
    }

    pub(super) fn connected(&mut self, time: Duration) {
        self.connect = Some(time);
    }

    /// What ended the client's body before its end.
    pub(super) fn body_fault(&self) -> Option<ProxyError> {
        let fault = self.upload.as_ref().and_then(|upload| upload.fault())?;
        match (fault, self.connection.report.broken()) {
            (ProxyError::RequestBodyBroken, Some(refusal)) => Some(ProxyError::Refused(refusal)),
            _ => Some(fault),
        }
    }

    /// The client gets this status.
    pub(super) fn status(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// Bytes of the response's body went to the client.
    pub(super) fn sent(&mut self, bytes: u64) {
        self.bytes_out += bytes;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.end_trials(Outcome::Unknown);
        let worker = &self.connection.worker;
        let failure = self.failure();
        let total = self.start.elapsed();
        let status = self.status.map(|status| status.as_u16());
        let counters = self
            .route
            .as_ref()
            .map_or(&self.listener.unrouted, |route| &route.counters);
        if self.version.is_some() {
            counters.count(status, total);
        } else {
            counters.passed_on(failure, self.bytes_in, self.bytes_out);
        }
        let route = self.route.as_ref();
        if self.version.is_some()
            && let Some(share) = route.and_then(|route| route.share_counters(self.share))
        {
            share.count(status);
        }
        let upstream = self.upstream.as_ref().filter(|_| self.tries > 0);
        if let Some(upstream) = upstream.filter(|_| self.version.is_none()) {
            upstream.counters.passed_on(self.connect);
        } else if let Some(upstream) = upstream {
            upstream.counters.count(
                self.upstream_status.map(|status| status.as_u16()),
                self.first_byte,
            );
        }
        worker.counters.ended.add(1);
        if let Some(error) = failure {
            worker.counters.failed(error);
        }
        let peer = self.connection.client_text().as_str();
        let proxied = self.client.map(|client| client.to_string());
        let line = Line {
            time: worker.clock.stamp(self.start),
            client: proxied.as_deref().unwrap_or(peer),
            peer: proxied.as_ref().map(|_| peer).or(self.connection.proxy()),
            listener: &self.listener.name,
            route: self.route.as_ref().map(|route| route.name()),
            consumer: self.consumer.as_ref().map(|name| name.as_bytes()),
            upstream: upstream.map(|upstream| upstream.upstream.name.as_str()),
            endpoint: self.endpoint.as_ref().map(|pool| &*pool.address_text),
            method: match &self.start_line {
                Some(_) => "-",
                None => self.method.as_str(),
            },
            host: self.host.as_ref().map_or(b"-", |host| host.as_bytes()),
            path: match (&self.start_line, &self.path) {
                (Some(start_line), _) => start_line,
                (None, Some(path)) => path.path(),
                (None, None) => "-",
            },
            version: self.version.map_or("-", version),
            status,
            reason: failure.map_or("ok", ProxyError::reason),
            fault: failure.map_or(Fault::None, ProxyError::fault).as_str(),
            option: failure.and_then(ProxyError::admitted_by),
            tries: self.tries,
            bytes_in: self.bytes_in + self.upload.as_ref().map_or(0, |upload| upload.bytes()),
            bytes_out: self.bytes_out,
            connect: self.connect,
            first_byte: self.first_byte,
            total,
            grpc_status: self.grpc_status.map(grpc::Status::code),
            tls: self.connection.tls().map(|tls| tls.version),
            client_certificate: self.connection.tls().and_then(|tls| tls.subject()),
            trace: self.trace.as_ref().map(|trace| trace.as_str().as_bytes()),
            snapshot: self.listener.snapshot,
            request_id: self.request_id.as_bytes(),
        };
        worker.log.add(|out| line.write(out));
        self.exchange.end();
        self.connection.end();
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}
