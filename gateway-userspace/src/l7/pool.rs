//! One worker's connections to one endpoint.
//!
//! HTTP/1: a stack of idle ones, the last used on top, so that surplus ones grow old and go. HTTP/2 (`pool/http2`):
//! several connections with many streams each, as one alone would be a bottleneck of its own.
//! A [`Lease`] is the right to use one; when it ends cleanly the connection is idle again, else it is closed.

mod connect;
mod held;
mod http2;
mod stream;
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
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout};

use super::body::RequestBody;
use super::ends::Ends;
use super::error::ProxyError;
use super::tunnel;
use crate::config::snapshot::{Endpoint, HttpMode, Upstream, UpstreamProtocol};
use crate::inspect::{Answer, Refusal};
use crate::registry::{Channel, EndpointState};
use connect::{Freed, Line1};
use held::Held;
use http2::{Connections, Stream};
pub(super) use ways::Ways;

/// How long a connection may take to be idle after its response ended; it is closed then.
const SETTLE_MAX: Duration = Duration::from_secs(1);

/// Bytes of an answer that nobody wants and that are read all the same: more costs more than a new connection.
const DISCARDED_BYTES_MAX: usize = 64 << 10;

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
    /// What failures of communication mean.
    ways: Ways,
    /// The channel's address as log lines have it.
    pub(super) address_text: Box<str>,
    pub(super) state: Arc<EndpointState>,
    /// By when its requests must have ended, once no snapshot in force has it.
    pub(super) ends: Arc<Ends>,
    terms: Cell<Terms>,
    /// The last used at the back.
    idle: RefCell<VecDeque<Idle>>,
    http2: Connections,
}

struct Idle {
    line: Line1,
    /// When a sweep found it first: so that nobody reads a clock for a connection that is taken again at once.
    since: Cell<Option<Instant>>,
}

impl Pool {
    pub(super) fn new(endpoint: &Endpoint, channel: Channel, ways: Ways, terms: Terms) -> Self {
        Self {
            endpoint: endpoint.address,
            channel,
            ways,
            address_text: channel.address.to_string().into(),
            state: Arc::clone(&endpoint.state),
            ends: Arc::default(),
            terms: Cell::new(terms),
            idle: RefCell::default(),
            http2: Connections::default(),
        }
    }

    /// Whether it can serve that endpoint over that way.
    pub(super) fn is_for(&self, endpoint: &Endpoint, channel: Channel, ways: Ways) -> bool {
        self.endpoint == endpoint.address
            && self.channel == channel
            && self.ways == ways
            && Arc::ptr_eq(&self.state, &endpoint.state)
    }

    /// Another snapshot says so.
    pub(super) fn set_terms(&self, terms: Terms) {
        self.terms.set(terms);
    }

    /// An attempt failed before a response head came.
    pub(super) fn failed(&self) {
        self.state.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection to send one request on.
    ///
    /// # Errors
    /// None could be made: all of [`Retry::Safe`](super::error::Retry::Safe).
    ///
    /// # Cancel safety
    /// An attempt to connect is given up.
    pub(super) async fn lease(self: &Rc<Self>, want: Want) -> Result<(Lease, Origin), ProxyError> {
        let idle = match (want, self.channel.protocol) {
            (Want::Fresh, _) => None,
            (Want::Any, UpstreamProtocol::Http1) => self.take_idle().map(Line::Http1),
            (Want::Any, UpstreamProtocol::Http2) => self.http2.take(&self.terms.get()).map(Line::Http2),
        };
        let (line, origin) = match idle {
            Some(line) => (line, Origin::Reused),
            // On the heap: what connects is large, and rare.
            None => Box::pin(self.connect(want)).await?,
        };
        self.state.requests.fetch_add(1, Ordering::Relaxed);
        self.state.active.fetch_add(1, Ordering::Relaxed);
        let pool = Rc::clone(self);
        let retired = false;
        let line = Some(line);
        Ok((Lease { line, retired, pool }, origin))
    }

    async fn connect(&self, want: Want) -> Result<(Line, Origin), ProxyError> {
        let terms = self.terms.get();
        match self.channel.protocol {
            UpstreamProtocol::Http1 => {
                let (line, time) = connect::http1(self.channel.address, &terms).await?;
                Ok((Line::Http1(line), Origin::Fresh(time)))
            }
            UpstreamProtocol::Http2 => {
                let (stream, origin) = self.http2.stream(want, self.channel.address, &terms).await?;
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
        let is_old = || terms.age_max.is_some() && terms.is_old(line.born, Instant::now());
        let mut idle = self.idle.borrow_mut();
        if !line.sender.is_closed() && idle.len() < terms.idle_max && !is_old() {
            let since = Cell::new(None);
            idle.push_back(Idle { line, since });
        }
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
    pool: Rc<Pool>,
}

impl Lease {
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
                    let Freed { stream, held } = freed.await.map_err(io::Error::other)?;
                    Ok((
                        Box::new(Held {
                            stream,
                            _lease: lease,
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

    /// Nobody wants the answer: what is left of it is read if it is short, so that the connection can be used again.
    pub(super) fn discard(self, response: Response<Incoming>) {
        let mut body = Limited::new(response.into_body(), DISCARDED_BYTES_MAX);
        drop(tokio::task::spawn_local(async move {
            let read = timeout(SETTLE_MAX, async {
                while let Some(frame) = body.frame().await {
                    frame.ok()?;
                }
                Some(())
            });
            if let Ok(Some(())) = read.await {
                self.finish();
            }
        }));
    }

    /// The response was read to its end: the connection may serve another request.
    pub(super) fn finish(mut self) {
        match self.line.take() {
            _ if self.retired => {}
            Some(Line::Http1(line)) if line.sender.is_ready() => self.pool.put_idle(line),
            Some(Line::Http1(line)) if !line.sender.is_closed() => settle(line, Rc::clone(&self.pool)),
            Some(Line::Http1(_) | Line::Http2(_)) | None => {}
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.state.active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The request's body may not have ended, or the connection's task did not run yet: idle only after that.
fn settle(mut line: Line1, pool: Rc<Pool>) {
    drop(tokio::task::spawn_local(async move {
        match timeout(SETTLE_MAX, line.sender.ready()).await {
            Ok(Ok(())) => pool.put_idle(line),
            Ok(Err(error)) => {
                tracing::debug!(%error, endpoint = %pool.endpoint, "a connection closed after its response")
            }
            Err(_) => tracing::debug!(endpoint = %pool.endpoint, "a connection was not idle in time; closed"),
        }
    }));
}
