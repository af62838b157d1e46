//! A response's body on its way to the client. The request ends with it: its [`Record`] is finished at the last byte,
//! or when the body is dropped before.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{BodyError, bytes_of};
use crate::l7::error::ProxyError;
use crate::l7::exchange::Exchange;
use crate::l7::grpc;
use crate::l7::headers;
use crate::l7::pool::Lease;
use crate::l7::record::{IsCall, Record};

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conversion {
    /// As it is: what breaks off upstream breaks off downstream.
    None,
    /// gRPC: what breaks off ends in trailers with a status.
    Grpc,
}

/// How long it may take.
pub(crate) struct Limits {
    /// The upstream's silence; `None`: any.
    pub(crate) idle: Option<Duration>,
    /// The whole request's end.
    pub(crate) deadline: Option<Instant>,
}

/// See the module.
pub(crate) struct ResponseBody {
    source: Source,
    record: Option<Box<Record>>,
}

enum Source {
    /// Of our own; taken when it was sent.
    Own(Option<Bytes>),
    Upstream(Box<Upstream>),
    /// What is said of a body that broke off.
    Trailers(Option<HeaderMap>),
}

struct Upstream {
    body: Incoming,
    lease: Option<Lease>,
    exchange: Rc<Exchange>,
    conversion: Conversion,
    idle: Option<Duration>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl ResponseBody {
    /// Our own answer.
    pub(crate) fn own(body: Bytes, record: Box<Record>) -> Self {
        let body = (!body.is_empty()).then_some(body);
        Self::new(Source::Own(body), record)
    }

    /// An endpoint's; `lease` ends with it.
    pub(crate) fn upstream(
        body: Incoming,
        lease: Lease,
        record: Box<Record>,
        conversion: Conversion,
        limits: Limits,
    ) -> Self {
        let upstream = Upstream {
            body,
            lease: Some(lease),
            exchange: Rc::clone(&record.exchange),
            conversion,
            idle: limits.idle,
            deadline: limits.deadline.map(|deadline| Box::pin(sleep_until(deadline))),
        };
        Self::new(Source::Upstream(Box::new(upstream)), record)
    }

    /// Nothing: the record goes on elsewhere, with a tunnel.
    pub(crate) fn none() -> Self {
        Self {
            source: Source::Own(None),
            record: None,
        }
    }

    fn new(source: Source, record: Box<Record>) -> Self {
        let mut this = Self {
            source,
            record: Some(record),
        };
        if this.is_end_stream() {
            // Nobody will poll it. The record stays until hyper took the head.
            this.release();
            let is_call = this.is_call();
            if let Some(record) = &mut this.record {
                record.ended(is_call);
                record.complete();
            }
        }
        this
    }

    /// The connection to the endpoint may be used again.
    fn release(&mut self) {
        if let Source::Upstream(upstream) = &mut self.source
            && let Some(lease) = upstream.lease.take()
        {
            upstream.exchange.waits_for_nobody();
            // The client has the whole answer. More came behind it: an endpoint that cannot count is not well.
            if lease.refusal().is_some()
                && let Some(record) = &mut self.record
            {
                record.answer_broke();
            }
            lease.finish();
        }
    }

    fn ended(&mut self) {
        self.release();
        if let Some(mut record) = self.record.take() {
            record.ended(self.is_call());
            record.complete();
        }
    }

    fn is_call(&self) -> IsCall {
        match &self.source {
            Source::Upstream(upstream) if upstream.conversion == Conversion::Grpc => IsCall::Yes,
            _ => IsCall::No,
        }
    }

    /// The response does not go on. With the lease goes the connection.
    fn break_off(&mut self, error: ProxyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(mut record) = self.record.take() {
            record.fail(error);
        }
        let conversion = match &self.source {
            Source::Upstream(upstream) => {
                upstream.exchange.waits_for_nobody();
                upstream.conversion
            }
            Source::Own(_) | Source::Trailers(_) => Conversion::None,
        };
        self.source = Source::Trailers(None);
        Poll::Ready(Some(match conversion {
            Conversion::Grpc => {
                let mut trailers = HeaderMap::new();
                let status = grpc::Status::of_http(error.status());
                status.write(&mut trailers, &format!("{}: {error}", error.reason()));
                Ok(Frame::trailers(trailers))
            }
            Conversion::None => Err(BodyError::Ended(error)),
        }))
    }
}

impl Upstream {
    fn poll(&mut self, record: Option<&mut Box<Record>>, context: &mut Context<'_>) -> Poll<Polled> {
        if let Some(error) = self.exchange.verdict() {
            return Poll::Ready(Polled::Broken(error));
        }
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Polled::Broken(ProxyError::DeadlineExceeded));
        }
        let Some(record) = record else {
            return Poll::Ready(Polled::End);
        };
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending => {
                self.exchange.waits_for_upstream(record.now(), self.idle, context);
                Poll::Pending
            }
            Poll::Ready(None) => Poll::Ready(Polled::End),
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, "a response broke off");
                Poll::Ready(Polled::Broken(ProxyError::ResponseBodyBroken))
            }
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    if self.conversion == Conversion::Grpc {
                        record.grpc_status(grpc::Status::read(trailers));
                    }
                    headers::filter_trailers(trailers);
                }
                record.sent(bytes_of(&frame));
                self.exchange.gives(record.now(), record.paces());
                Poll::Ready(Polled::Frame(frame))
            }
        }
    }
}

enum Polled {
    Frame(Frame<Bytes>),
    End,
    Broken(ProxyError),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let polled = match &mut this.source {
            Source::Upstream(upstream) => upstream.poll(this.record.as_mut(), context),
            Source::Own(body) => Poll::Ready(match body.take() {
                Some(bytes) => {
                    if let Some(record) = &mut this.record {
                        record.sent(bytes.len() as u64);
                    }
                    Polled::Frame(Frame::data(bytes))
                }
                None => Polled::End,
            }),
            Source::Trailers(trailers) => Poll::Ready(match trailers.take() {
                Some(trailers) => Polled::Frame(Frame::trailers(trailers)),
                None => Polled::End,
            }),
        };
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Polled::Broken(error)) => this.break_off(error),
            Poll::Ready(Polled::End) => {
                this.ended();
                Poll::Ready(None)
            }
            Poll::Ready(Polled::Frame(frame)) => {
                if this.is_end_stream() {
                    this.ended();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(body) => body.is_none(),
            Source::Upstream(upstream) => upstream.body.is_end_stream(),
            Source::Trailers(trailers) => trailers.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(body) => SizeHint::with_exact(body.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Source::Upstream(upstream) => upstream.body.size_hint(),
            Source::Trailers(_) => SizeHint::default(),
        }
    }
}
