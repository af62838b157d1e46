//! HTTP/2 connections to one endpoint: few, with many streams each.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http2};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::connect;
use super::{Origin, Pool, RequestBody, Terms, Want};
use crate::l7::error::ProxyError;
use crate::registry::Place;

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
    born: Instant,
}

impl Open {
    fn has_room(&self, streams_max: usize) -> bool {
        self.streams.get() < streams_max.min(self.allowed.get())
    }
}

impl Connections {
    /// A place for one stream on a connection that has room.
    pub(super) fn take(&self, terms: &Terms) -> Option<Stream> {
        self.with_room(terms).map(Stream::new)
    }

    /// A place for one stream: on the first connection that has room, else on a new one, else on the least used.
    pub(super) async fn stream(
        &self,
        want: Want,
        pool: &Pool,
        terms: &Terms,
    ) -> Result<(Stream, Origin), ProxyError> {
        loop {
            if want == Want::Any
                && let Some(stream) = self.take(terms)
            {
                return Ok((stream, Origin::Reused));
            }
            let held = self.open.borrow().len();
            if self.connecting.get() == 0 && (held < terms.h2_connections_max || want == Want::Fresh) {
                let place = match pool.state.place(&terms.limits) {
                    Some(place) => place,
                    // A stream too many waits at the endpoint, which it does not when no connection may be had.
                    None if want == Want::Any && held > 0 => match self.least_used() {
                        Some(open) => return Ok((Stream::new(open), Origin::Reused)),
                        None => continue,
                    },
                    None => match pool.turn(want, terms).await? {
                        Some(place) => place,
                        None => continue,
                    },
                };
                if want == Want::Any
                    && let Some(stream) = self.take(terms)
                {
                    return Ok((stream, Origin::Reused));
                }
                let made = self.connect(pool, terms.connect_timeout, place).await;
                if made.is_ok() {
                    pool.state.shares(pool.key());
                }
                return made;
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

    async fn connect(
        &self,
        pool: &Pool,
        limit: Duration,
        place: Place,
    ) -> Result<(Stream, Origin), ProxyError> {
        let _connecting = Connecting::begin(self);
        match connect::http2(pool, limit, place).await {
            Ok((sender, allowed, time)) => {
                let born = Instant::now();
                let (streams, since) = (Cell::new(0), Cell::new(born));
                let open = Rc::new(Open {
                    sender,
                    allowed,
                    streams,
                    since,
                    born,
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

    fn with_room(&self, terms: &Terms) -> Option<Rc<Open>> {
        let mut open = self.open.borrow_mut();
        open.retain(|one| !one.sender.is_closed());
        let mut open = open.iter();
        open.find(|one| one.has_room(terms.h2_streams_max)).cloned()
    }

    fn least_used(&self) -> Option<Rc<Open>> {
        self.open
            .borrow()
            .iter()
            .min_by_key(|one| one.streams.get())
            .cloned()
    }

    /// The least used takes no more streams, and ends with its last: its place is wanted elsewhere.
    pub(super) fn give_up_one(&self) {
        if let Some(least) = self.least_used() {
            self.open.borrow_mut().retain(|one| !Rc::ptr_eq(one, &least));
        }
    }

    /// Closes connections without streams that are not to be kept, by when they were used last and when they were
    /// made. One that is too old but has streams takes no more of them, and ends with the last.
    pub(super) fn evict(&self, keep: impl Fn(Instant, Instant) -> bool) {
        self.open.borrow_mut().retain(|one| {
            let is_busy = one.streams.get() > 0;
            let since = if is_busy { Instant::now() } else { one.since.get() };
            !one.sender.is_closed() && keep(since, one.born)
        });
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

    pub(super) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> {
        self.sender.try_send_request(request)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.open.streams.set(self.open.streams.get().saturating_sub(1));
        self.open.since.set(Instant::now());
    }
}
