//! One worker's connections to one endpoint.
//!
//! HTTP/1: a stack of idle ones, the last used on top, so that surplus ones grow old and go. HTTP/2 (`pool/http2`):
//! several connections with many streams each, as one alone would be a bottleneck of its own.
//! A [`Lease`] is the right to use one; when it ends cleanly the connection is idle again, else it is closed.

mod connect;
mod http2;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::client::conn::{TrySendError, http1};
use tokio::time::{Instant, timeout};

use super::body::RequestBody;
use super::error::ProxyError;
use crate::config::snapshot::{Endpoint, UpstreamProtocol};
use crate::registry::EndpointState;
use http2::{Connections, Stream};

/// Idle connections older than this are closed: below what common servers keep (75 s and more).
const IDLE_AGE_MAX: Duration = Duration::from_secs(60);
/// How long a connection may take to be idle after its response ended; it is closed then.
const SETTLE_MAX: Duration = Duration::from_secs(1);

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

/// One worker's connections to one endpoint.
pub(crate) struct Pool {
    pub(super) address: SocketAddr,
    pub(super) state: Arc<EndpointState>,
    protocol: UpstreamProtocol,
    idle_max: Cell<usize>,
    /// The last used at the back.
    idle: RefCell<VecDeque<Idle>>,
    http2: Connections,
}

struct Idle {
    sender: SendRequest<RequestBody>,
    since: Instant,
}

impl Pool {
    pub(super) fn new(endpoint: &Endpoint, protocol: UpstreamProtocol) -> Self {
        Self {
            address: endpoint.address,
            state: Arc::clone(&endpoint.state),
            protocol,
            idle_max: Cell::new(1),
            idle: RefCell::default(),
            http2: Connections::default(),
        }
    }

    /// Whether it can serve that endpoint.
    pub(super) fn is_for(&self, endpoint: &Endpoint, protocol: UpstreamProtocol) -> bool {
        self.address == endpoint.address
            && self.protocol == protocol
            && Arc::ptr_eq(&self.state, &endpoint.state)
    }

    /// Idle connections kept at most, by this worker.
    pub(super) fn set_idle_max(&self, idle_max: usize) {
        self.idle_max.set(idle_max);
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
    pub(super) async fn lease(
        self: &Rc<Self>,
        want: Want,
        connect_timeout: Duration,
    ) -> Result<(Lease, Origin), ProxyError> {
        let (line, origin) = match self.protocol {
            UpstreamProtocol::Http1 => match self.take_idle(want) {
                Some(sender) => (Line::Http1(sender), Origin::Reused),
                None => {
                    let (sender, time) = connect::http1(self.address, connect_timeout).await?;
                    (Line::Http1(sender), Origin::Fresh(time))
                }
            },
            UpstreamProtocol::Http2 => {
                let (stream, origin) = self.http2.stream(want, self.address, connect_timeout).await?;
                (Line::Http2(stream), origin)
            }
        };
        self.state.requests.fetch_add(1, Ordering::Relaxed);
        self.state.active.fetch_add(1, Ordering::Relaxed);
        Ok((
            Lease {
                line: Some(line),
                pool: Rc::clone(self),
            },
            origin,
        ))
    }

    fn take_idle(&self, want: Want) -> Option<SendRequest<RequestBody>> {
        if want == Want::Fresh {
            return None;
        }
        let mut idle = self.idle.borrow_mut();
        while let Some(last) = idle.pop_back() {
            if last.sender.is_ready() {
                return Some(last.sender);
            }
        }
        None
    }

    fn put_idle(&self, sender: SendRequest<RequestBody>) {
        let mut idle = self.idle.borrow_mut();
        if !sender.is_closed() && idle.len() < self.idle_max.get() {
            idle.push_back(Idle {
                sender,
                since: Instant::now(),
            });
        }
    }

    /// Closes what was idle for too long, or was closed by the other side.
    pub(super) fn evict(&self, now: Instant) {
        let fresh = |since: Instant| now.saturating_duration_since(since) < IDLE_AGE_MAX;
        self.idle
            .borrow_mut()
            .retain(|idle| fresh(idle.since) && !idle.sender.is_closed());
        self.http2.evict(fresh);
    }
}

enum Line {
    Http1(http1::SendRequest<RequestBody>),
    Http2(Stream),
}

/// The right to send one request to an endpoint; counted as active while it lives.
pub(crate) struct Lease {
    line: Option<Line>,
    pool: Rc<Pool>,
}

impl Lease {
    /// Sends the request.
    ///
    /// # Errors
    /// What hyper says; with the request, if nothing of it was written.
    ///
    /// # Cancel safety
    /// An HTTP/1 connection is closed, an HTTP/2 stream reset.
    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        match &mut self.line {
            Some(Line::Http1(sender)) => sender.try_send_request(request).await,
            Some(Line::Http2(stream)) => stream.send(request).await,
            // Only `finish` takes it, which takes the lease.
            None => std::future::pending().await,
        }
    }

    /// The response was read to its end: the connection may serve another request.
    pub(super) fn finish(mut self) {
        match self.line.take() {
            Some(Line::Http1(sender)) if sender.is_ready() => self.pool.put_idle(sender),
            Some(Line::Http1(sender)) if !sender.is_closed() => settle(sender, Rc::clone(&self.pool)),
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
fn settle(mut sender: SendRequest<RequestBody>, pool: Rc<Pool>) {
    drop(tokio::task::spawn_local(async move {
        match timeout(SETTLE_MAX, sender.ready()).await {
            Ok(Ok(())) => pool.put_idle(sender),
            Ok(Err(error)) => {
                tracing::debug!(%error, endpoint = %pool.address, "a connection closed after its response")
            }
            Err(_) => tracing::debug!(endpoint = %pool.address, "a connection was not idle in time; closed"),
        }
    }));
}
