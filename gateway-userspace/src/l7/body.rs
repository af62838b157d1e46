//! Bodies on their way: streamed, counted, never collected.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::error::ProxyError;
use super::pool::Lease;
use super::record::Record;

/// What passed of a request's body.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    bytes: Cell<u64>,
    broken: Cell<bool>,
    /// Whoever waits for more of it waits for the client.
    owed: Cell<bool>,
}

impl Meter {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// The client's body broke off: what failed after that is the client's fault.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// The endpoint would take more than the client sent. Not so where the body has ended, and where the endpoint
    /// takes no more of it.
    pub(super) fn is_owed(&self) -> bool {
        self.owed.get()
    }
}

/// A client's body on its way to an endpoint.
#[derive(Debug)]
pub(crate) struct RequestBody(Option<Streamed>);

#[derive(Debug)]
struct Streamed {
    body: Incoming,
    meter: Rc<Meter>,
}

impl RequestBody {
    /// One that has nothing in it: it may be sent any number of times.
    pub(super) const EMPTY: Self = Self(None);

    /// The body, and its meter if there is something to measure.
    pub(super) fn new(body: Incoming) -> (Self, Option<Rc<Meter>>) {
        if body.is_end_stream() {
            return (Self::EMPTY, None);
        }
        let meter = Rc::new(Meter::default());
        (
            Self(Some(Streamed {
                body,
                meter: Rc::clone(&meter),
            })),
            Some(meter),
        )
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let Some(streamed) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(&mut streamed.body).poll_frame(context);
        streamed.meter.owed.set(polled.is_pending());
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let meter = &streamed.meter;
                meter.bytes.set(meter.bytes.get() + bytes_of(frame));
            }
            Poll::Ready(Some(Err(_))) => streamed.meter.broken.set(true),
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|streamed| streamed.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), |streamed| streamed.body.size_hint())
    }
}

/// A response's body on its way to the client. The request ends with it: [`Record`] is finished at its last byte,
/// or when it is dropped before.
pub(crate) struct ResponseBody {
    source: Source,
    record: Option<Box<Record>>,
}

enum Source {
    /// Of our own; taken when it was sent.
    Own(Option<Bytes>),
    Upstream {
        body: Incoming,
        lease: Option<Lease>,
    },
}

impl ResponseBody {
    /// Our own answer.
    pub(super) fn own(body: Bytes, record: Box<Record>) -> Self {
        let body = (!body.is_empty()).then_some(body);
        Self::new(Source::Own(body), record)
    }

    /// An endpoint's; `lease` ends with it.
    pub(super) fn upstream(body: Incoming, lease: Lease, record: Box<Record>) -> Self {
        Self::new(
            Source::Upstream {
                body,
                lease: Some(lease),
            },
            record,
        )
    }

    fn new(source: Source, record: Box<Record>) -> Self {
        let mut this = Self {
            source,
            record: Some(record),
        };
        if this.is_end_stream() {
            // Nobody will poll it. The record stays until hyper took the head.
            this.release();
            if let Some(record) = &mut this.record {
                record.complete();
            }
        }
        this
    }

    /// The connection to the endpoint may be used again.
    fn release(&mut self) {
        if let Source::Upstream { lease, .. } = &mut self.source
            && let Some(lease) = lease.take()
        {
            lease.finish();
        }
    }

    fn ended(&mut self) {
        self.release();
        if let Some(mut record) = self.record.take() {
            record.complete();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let polled = match &mut this.source {
            Source::Own(body) => Poll::Ready(body.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Upstream { body, .. } => Pin::new(body).poll_frame(context),
        };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(record) = &mut this.record {
                    record.sent(bytes_of(frame));
                }
                if this.is_end_stream() {
                    this.ended();
                }
            }
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, "a response broke off");
                if let Some(mut record) = this.record.take() {
                    record.fail(ProxyError::ResponseBodyBroken);
                }
            }
            Poll::Ready(None) => this.ended(),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(body) => body.is_none(),
            Source::Upstream { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(body) => SizeHint::with_exact(body.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Source::Upstream { body, .. } => body.size_hint(),
        }
    }
}

fn bytes_of(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, |bytes| bytes.len() as u64)
}
