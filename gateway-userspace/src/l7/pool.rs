//! One worker's connections to one endpoint.
//!
//! HTTP/1: a stack of idle ones, the last used on top, so that surplus ones grow old and go. HTTP/2 (`pool/http2`):
//! several connections with many streams each, as one alone would be a bottleneck of its own.
//! A [`Lease`] is the right to use one; when it ends cleanly the connection is idle again, else it is closed.

mod connect;
mod heirs;
mod held;
mod http2;
mod seat;
mod settle;
mod stream;
mod turn;
mod watch;
mod ways;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::Either;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::body::RequestBody;
use super::ends::Ends;
use super::error::ProxyError;
use super::tunnel;
use crate::config::snapshot::{Endpoint, HttpMode, Upstream, UpstreamProtocol};
use crate::inspect::{Answer, Refusal};
use crate::registry::{Channel, EndpointState, Idle as IdleUse};
use crate::resilience::limits::Limits;
use crate::tls::ClientTls;
use connect::{Freed, Line1};
use held::Held;
use http2::{Connections, Stream};
pub(crate) use seat::Seat;
pub(super) use seat::Try;
use seat::connect_for;
use settle::idles;
use watch::Watcher;
pub(super) use ways::Ways;

/// Whether a connection carried a request before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Made for this request, in that time.
    Fresh(Duration),
    /// It did, and may have been closed meanwhile.
    Reused,
}

/// Which connections a request will have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Any,
    Fresh,
}

/// What an upstream says of its connections; the figures are this worker's share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    connect_timeout: Duration,
    mode: HttpMode,
    idle_max: usize,
    idle_timeout: Duration,
    age_max: Option<Duration>,
    h2_connections_max: usize,
    h2_streams_max: usize,
    /// Of the node.
    limits: Limits,
}

impl Terms {
    /// A worker's share of what the node may have.
    pub(super) fn share(upstream: &Upstream, workers: usize) -> Self {
        Self {
            connect_timeout: upstream.connect_timeout,
            mode: upstream.mode,
            idle_max: (upstream.idle_per_endpoint / workers.max(1)).max(1),
            idle_timeout: upstream.idle_timeout,
            age_max: upstream.connection_age,
            h2_connections_max: (upstream.h2_connections_max / workers.max(1)).max(1),
            h2_streams_max: upstream.h2_streams_max,
            limits: upstream.limits,
        }
    }

    fn is_old(&self, born: Instant, now: Instant) -> bool {
        self.age_max
            .is_some_and(|age| now.saturating_duration_since(born) >= age)
    }
}

/// One worker's connections to one endpoint.
pub(crate) struct Pool {
    /// The endpoint's own address, which it is known by.
    pub(super) endpoint: SocketAddr,
    /// The way to it that these connections take.
    pub(super) channel: Channel,
    /// The name that its address came from.
    host: Option<Arc<str>>,
    /// How TLS is spoken over a way that has it.
    tls: Option<Arc<ClientTls>>,
    /// What failures of communication mean.
    ways: Ways,
    /// The channel's address as log lines have it.
    pub(super) address_text: Box<str>,
    pub(super) state: Arc<EndpointState>,
    /// By when its requests must have ended, once no snapshot in force has it.
    pub(super) ends: Arc<Ends>,
    terms: Cell<Terms>,
    /// The last used at the back.
    idle: Rc<RefCell<VecDeque<Idle>>>,
    watcher: RefCell<Option<Watcher>>,
    /// For requests that were told to take one.
    reserved: RefCell<VecDeque<Line1>>,
    http2: Connections,
}

struct Idle {
    line: Line1,
    /// When a sweep found it first: so that nobody reads a clock for a connection that is taken again at once.
    since: Cell<Option<Instant>>,
}

impl Pool {
    pub(super) fn new(
        endpoint: &Endpoint,
        channel: Channel,
        tls: Option<&Arc<ClientTls>>,
        ways: Ways,
        terms: Terms,
    ) -> Self {
        Self {
            endpoint: endpoint.address,
            channel,
            host: endpoint.host.clone(),
            tls: tls.cloned(),
            ways,
            address_text: channel.address.to_string().into(),
            state: Arc::clone(&endpoint.state),
            ends: Arc::default(),
            terms: Cell::new(terms),
            idle: Rc::default(),
            watcher: RefCell::default(),
            reserved: RefCell::default(),
            http2: Connections::default(),
        }
    }

    /// Another snapshot says so.
    pub(super) fn set_terms(&self, terms: Terms) {
        self.terms.set(terms);
    }

    /// An attempt failed before a response head came.
    pub(super) fn failed(&self) {
        self.state.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection that is idle, or has room.
    fn take(&self, want: Want) -> Option<Line> {
        match (want, self.channel.protocol) {
            (Want::Fresh, _) => None,
            (Want::Any, UpstreamProtocol::Http1) => self.take_idle().map(Line::Http1),
            (Want::Any, UpstreamProtocol::Http2) => self.http2.take(&self.terms.get()).map(Line::Http2),
        }
    }

    async fn connect(&self, want: Want) -> Result<(Line, Origin), ProxyError> {
        let terms = self.terms.get();
        match self.channel.protocol {
            UpstreamProtocol::Http1 => {
                let Some(place) = self.turn(want, &terms).await? else {
                    let line = self.take_reserved().ok_or(ProxyError::ConnectionLost)?;
                    return Ok((Line::Http1(line), Origin::Reused));
                };
                let (line, time) = connect::http1(self, &terms, place).await?;
                Ok((Line::Http1(line), Origin::Fresh(time)))
            }
            UpstreamProtocol::Http2 => {
                let (stream, origin) = self.http2.stream(want, self, &terms).await?;
                Ok((Line::Http2(stream), origin))
            }
        }
    }

    fn take_idle(&self) -> Option<Line1> {
        let mut idle = self.idle.borrow_mut();
        while let Some(last) = idle.pop_back() {
            if last.line.sender.is_ready() {
                return Some(last.line);
            }
        }
        None
    }

    fn put_idle(&self, line: Line1) {
        let terms = self.terms.get();
        if line.sender.is_closed() || terms.age_max.is_some() && terms.is_old(line.born, Instant::now()) {
            return;
        }
        match self.state.idles(self.key()) {
            IdleUse::Keep => {
                let mut idle = self.idle.borrow_mut();
                if idle.len() < terms.idle_max {
                    let since = Cell::new(None);
                    idle.push_back(Idle { line, since });
                    drop(idle);
                    if terms.limits.bounds_connections() {
                        self.watch();
                    }
                }
            }
            IdleUse::Reserve => self.reserved.borrow_mut().push_back(line),
            IdleUse::Close => {}
        }
    }

    fn take_reserved(&self) -> Option<Line1> {
        self.reserved.borrow_mut().pop_front()
    }

    /// Closes what was idle for too long, is too old, or was closed by the other side.
    pub(super) fn evict(&self, now: Instant) {
        let terms = self.terms.get();
        let is_fresh = |since: Instant| now.saturating_duration_since(since) < terms.idle_timeout;
        self.idle.borrow_mut().retain(|idle| {
            let since = idle.since.get().unwrap_or(now);
            idle.since.set(Some(since));
            is_fresh(since) && !terms.is_old(idle.line.born, now) && !idle.line.sender.is_closed()
        });
        // Where connections are limited, others may wait for those that do nothing here.
        let wanted = self.state.wanted(self.key());
        if wanted > 0 {
            let mut idle = self.idle.borrow_mut();
            let given_up = wanted.min(idle.len());
            drop(idle.drain(..given_up));
            drop(idle);
            self.http2.give_up_one();
        }
        self.http2
            .evict(|since, born| is_fresh(since) && !terms.is_old(born, now));
    }
}

enum Line {
    Http1(Line1),
    Http2(Stream),
}

/// The right to send one request to an endpoint; counted as active while it lives.
pub(crate) struct Lease {
    line: Option<Line>,
    /// The connection is not used again.
    retired: bool,
    seat: Seat,
}

impl Lease {
    /// A connection to send one request on, for who has a seat: it is taken once there is a connection.
    ///
    /// Its arguments are few, as they live in the future of each request.
    ///
    /// # Errors
    /// None could be made: all of [`Retry::Safe`](super::error::Retry::Safe).
    ///
    /// # Cancel safety
    /// An attempt to connect is given up.
    pub(super) async fn take(seat: &mut Option<Seat>, want: Want) -> Result<(Self, Origin), ProxyError> {
        let idle = seat.as_ref().and_then(|seat| seat.pool.take(want));
        let (line, origin) = match idle {
            Some(line) => (line, Origin::Reused),
            // On the heap: what connects is large, and rare.
            None => Box::pin(connect_for(seat, want)).await?,
        };
        let seat = seat.take().ok_or(ProxyError::UpstreamOverloaded)?;
        seat.pool.state.requests.fetch_add(1, Ordering::Relaxed);
        let retired = false;
        let line = Some(line);
        Ok((Self { line, retired, seat }, origin))
    }

    /// Sends the request. Not an async function: it would hold the request, too, until the answer comes.
    ///
    /// # Errors
    /// What hyper says; with the request, if nothing of it was written.
    ///
    /// # Cancel safety
    /// An HTTP/1 connection is closed, an HTTP/2 stream reset.
    pub(super) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> {
        match &mut self.line {
            Some(Line::Http1(line)) => {
                line.report.expect(match *request.method() {
                    Method::HEAD => Answer::ToHead,
                    Method::CONNECT => Answer::ToConnect,
                    _ => Answer::ToOther,
                });
                Either::Left(line.sender.try_send_request(request))
            }
            Some(Line::Http2(stream)) => Either::Right(Either::Left(stream.send(request))),
            // Only `finish` takes it, which takes the lease.
            None => Either::Right(Either::Right(std::future::pending())),
        }
    }

    /// What the inspector found in the answer.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match &self.line {
            Some(Line::Http1(line)) => line.report.broken(),
            Some(Line::Http2(_)) | None => None,
        }
    }

    /// Interim answers (1xx) that came before the answer, and went no further. HTTP/2 does not tell.
    pub(super) fn interim(&mut self) -> u64 {
        let Some(Line::Http1(line)) = &mut self.line else {
            return 0;
        };
        let all = line.report.interim();
        all.saturating_sub(std::mem::replace(&mut line.interim, all))
    }

    /// The connection is not to be used again: the endpoint speaks HTTP/1.0, and hyper would do so, too.
    pub(super) fn retire(&mut self) {
        self.retired = true;
    }

    /// The endpoint switched protocols: its side of the tunnel, which keeps the lease.
    pub(super) fn into_tunnel(mut self, response: Response<Incoming>) -> tunnel::Upstream {
        let line = self.line.take();
        Box::pin(async move {
            let lease = self;
            match line {
                Some(Line::Http1(Line1 { sender, freed, .. })) => {
                    // The connection's task ends once HTTP on it has.
                    drop(sender);
                    let Freed { stream, held, place } = freed.await.map_err(io::Error::other)?;
                    Ok((
                        Box::new(Held {
                            stream,
                            _lease: (lease, place),
                        }) as Box<dyn tunnel::Io>,
                        held,
                    ))
                }
                Some(Line::Http2(held)) => {
                    let upgraded = hyper::upgrade::on(response).await.map_err(io::Error::other)?;
                    let stream = TokioIo::new(upgraded);
                    let io = Held {
                        stream,
                        _lease: (lease, held),
                    };
                    Ok((Box::new(io) as Box<dyn tunnel::Io>, Vec::new()))
                }
                None => Err(io::ErrorKind::NotConnected.into()),
            }
        })
    }

    /// The response was read to its end: the connection may serve another request.
    pub(super) fn finish(self) {
        let Self { line, retired, seat } = self;
        if !retired {
            idles(line, &seat.pool);
        }
    }
}
