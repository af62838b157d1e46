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

use super::coded::Coded;
use super::web::Framed;
use super::{BodyError, bytes_of};
use crate::filters::compression::coder::Coder;
use crate::l7::error::ProxyError;
use crate::l7::exchange::Exchange;
use crate::l7::grpc::{self, web};
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

pub(super) enum Source {
    /// Of our own; taken when it was sent.
    Own(Option<Bytes>),
    Upstream(Box<Upstream>),
    /// What one of these gives, compressed.
    Coded(Box<Coded>),
    /// What an upstream gives, as gRPC-Web.
    Web(Box<Framed>),
    /// What is said of a body that broke off.
    Trailers(Option<HeaderMap>),
}

pub(super) struct Upstream {
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

    /// Compresses what is left of it, which is all.
    pub(crate) fn encode(&mut self, coder: Coder) {
        let source = std::mem::replace(&mut self.source, Source::Trailers(None));
        self.source = Source::Coded(Box::new(Coded::new(source, coder)));
    }

    /// Writes what there is of it as gRPC-Web has it.
    pub(crate) fn write_as(&mut self, form: web::Form) {
        if !self.is_end_stream() {
            let source = std::mem::replace(&mut self.source, Source::Trailers(None));
            self.source = Source::Web(Box::new(Framed { source, form }));
        }
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
        if let Some(upstream) = self.source.upstream()
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
        let is_call = self.is_call();
        if let Some(mut record) = self.record.take() {
            record.ended(is_call);
            record.complete();
        }
    }

    fn is_call(&mut self) -> IsCall {
        match self.source.upstream() {
            Some(upstream) if upstream.conversion == Conversion::Grpc => IsCall::Yes,
            _ => IsCall::No,
        }
    }

    /// The response does not go on. With the lease goes the connection.
    fn break_off(&mut self, error: ProxyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(mut record) = self.record.take() {
            record.fail(error);
        }
        let conversion = match self.source.upstream() {
            Some(upstream) => {
                upstream.exchange.waits_for_nobody();
                upstream.conversion
            }
            None => Conversion::None,
        };
        let form = match &self.source {
            Source::Web(framed) => Some(framed.form),
            _ => None,
        };
        self.source = Source::Trailers(None);
        Poll::Ready(Some(match conversion {
            Conversion::Grpc => {
                let mut trailers = HeaderMap::new();
                let status = grpc::Status::of_http(error.status());
                status.write(&mut trailers, &format!("{}: {error}", error.reason()));
                Ok(match form {
                    Some(form) => Frame::data(form.trailers(&trailers)),
                    None => Frame::trailers(trailers),
                })
            }
            Conversion::None => Err(BodyError::Ended(error)),
        }))
    }
}

impl Source {
    pub(super) fn poll(
        &mut self,
        record: Option<&mut Box<Record>>,
        context: &mut Context<'_>,
    ) -> Poll<Polled> {
        match self {
            Self::Upstream(upstream) => upstream.poll(record, context),
            Self::Coded(coded) => coded.poll(record, context),
            Self::Web(framed) => framed.poll(record, context),
            Self::Own(body) => Poll::Ready(match body.take() {
                Some(bytes) => Polled::Frame(Frame::data(bytes)),
                None => Polled::End,
            }),
            Self::Trailers(trailers) => Poll::Ready(match trailers.take() {
                Some(trailers) => Polled::Frame(Frame::trailers(trailers)),
                None => Polled::End,
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_none(),
            Self::Upstream(upstream) => upstream.body.is_end_stream(),
            Self::Coded(coded) => coded.is_end_stream(),
            Self::Web(framed) => framed.source.is_end_stream(),
            Self::Trailers(trailers) => trailers.is_none(),
        }
    }

    /// The endpoint's body in it.
    pub(super) fn upstream(&mut self) -> Option<&mut Upstream> {
        match self {
            Self::Upstream(upstream) => Some(upstream),
            Self::Coded(coded) => coded.upstream(),
            Self::Web(framed) => framed.upstream(),
            Self::Own(_) | Self::Trailers(_) => None,
        }
    }
}

impl Upstream {
    /// The client was given something that was held back.
    pub(super) fn gives(&self, record: &Record) {
        self.exchange.gives(record.now(), record.paces());
    }

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
                self.gives(record);
                Poll::Ready(Polled::Frame(frame))
            }
        }
    }
}

pub(super) enum Polled {
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
        let polled = this.source.poll(this.record.as_mut(), context);
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Polled::Broken(error)) => this.break_off(error),
            Poll::Ready(Polled::End) => {
                this.ended();
                Poll::Ready(None)
            }
            Poll::Ready(Polled::Frame(frame)) => {
                if let Some(record) = &mut this.record {
                    record.sent(bytes_of(&frame));
                }
                if this.is_end_stream() {
                    this.ended();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(body) => SizeHint::with_exact(body.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Source::Upstream(upstream) => upstream.body.size_hint(),
            Source::Coded(_) | Source::Web(_) | Source::Trailers(_) => SizeHint::default(),
        }
    }
}
