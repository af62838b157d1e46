//! HTTP/2 connections to one endpoint: few, with many streams each.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http2};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::connect;
use super::{Origin, RequestBody, Want};
use crate::l7::error::ProxyError;

/// Connections to one endpoint, per worker.
const CONNECTIONS_MAX: usize = 8;
/// Streams on one connection before another is opened, whatever more the endpoint allows.
const STREAMS_MAX: usize = 100;

/// All connections to one endpoint.
#[derive(Default)]
pub(super) struct Connections {
    open: RefCell<Vec<Rc<Open>>>,
    connecting: Cell<usize>,
    /// Counts attempts to connect that failed, so that those who waited for one fail with it.
    failures: Cell<u64>,
    changed: Notify,
}

struct Open {
    sender: http2::SendRequest<RequestBody>,
    /// Streams that the endpoint allows now.
    allowed: Rc<Cell<usize>>,
    streams: Cell<usize>,
    since: Cell<Instant>,
}

impl Open {
    fn has_room(&self) -> bool {
        self.streams.get() < STREAMS_MAX.min(self.allowed.get())
    }
}

impl Connections {
    /// A place for one stream: on the first connection that has room, else on a new one, else on the least used.
    pub(super) async fn stream(
        &self,
        want: Want,
        address: SocketAddr,
        limit: Duration,
    ) -> Result<(Stream, Origin), ProxyError> {
        loop {
            if want == Want::Any
                && let Some(open) = self.with_room()
            {
                return Ok((Stream::new(open), Origin::Reused));
            }
            let held = self.open.borrow().len();
            if self.connecting.get() == 0 && (held < CONNECTIONS_MAX || want == Want::Fresh) {
                return self.connect(address, limit).await;
            }
            if self.connecting.get() == 0
                && let Some(open) = self.least_used()
            {
                return Ok((Stream::new(open), Origin::Reused));
            }
            // Another request is connecting: its outcome is ours.
            let failures = self.failures.get();
            self.changed.notified().await;
            if self.failures.get() != failures {
                return Err(ProxyError::ConnectFailed);
            }
        }
    }

    async fn connect(&self, address: SocketAddr, limit: Duration) -> Result<(Stream, Origin), ProxyError> {
        let _connecting = Connecting::begin(self);
        match connect::http2(address, limit).await {
            Ok((sender, allowed, time)) => {
                let (streams, since) = (Cell::new(0), Cell::new(Instant::now()));
                let open = Rc::new(Open {
                    sender,
                    allowed,
                    streams,
                    since,
                });
                self.open.borrow_mut().push(Rc::clone(&open));
                Ok((Stream::new(open), Origin::Fresh(time)))
            }
            Err(error) => {
                self.failures.set(self.failures.get() + 1);
                Err(error)
            }
        }
    }

    fn with_room(&self) -> Option<Rc<Open>> {
        let mut open = self.open.borrow_mut();
        open.retain(|one| !one.sender.is_closed());
        open.iter().find(|one| one.has_room()).cloned()
    }

    fn least_used(&self) -> Option<Rc<Open>> {
        self.open
            .borrow()
            .iter()
            .min_by_key(|one| one.streams.get())
            .cloned()
    }

    /// Closes connections without streams that are not `fresh`.
    pub(super) fn evict(&self, fresh: impl Fn(Instant) -> bool) {
        self.open
            .borrow_mut()
            .retain(|one| !one.sender.is_closed() && (one.streams.get() > 0 || fresh(one.since.get())));
    }
}

/// Marks that a connection is being made; woken are those who wait for it, also where it was given up.
struct Connecting<'c>(&'c Connections);

impl<'c> Connecting<'c> {
    fn begin(connections: &'c Connections) -> Self {
        connections.connecting.set(connections.connecting.get() + 1);
        Self(connections)
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.0.connecting.set(self.0.connecting.get().saturating_sub(1));
        self.0.changed.notify_waiters();
    }
}

/// A stream on a connection, counted while it lives.
pub(super) struct Stream {
    open: Rc<Open>,
    sender: http2::SendRequest<RequestBody>,
}

impl Stream {
    fn new(open: Rc<Open>) -> Self {
        open.streams.set(open.streams.get() + 1);
        Self {
            sender: open.sender.clone(),
            open,
        }
    }

    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        self.sender.try_send_request(request).await
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.open.streams.set(self.open.streams.get().saturating_sub(1));
        self.open.since.set(Instant::now());
    }
}
