//! A gRPC answer's body as gRPC-Web has it: its trailers become a last frame.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;

use super::download::{Polled, Source, Upstream};
use crate::l7::grpc::web::Form;
use crate::l7::record::Record;

/// A body, and how the client wants it.
pub(super) struct Framed {
    pub(super) source: Source,
    pub(super) form: Form,
}

impl Framed {
    pub(super) fn upstream(&mut self) -> Option<&mut Upstream> {
        self.source.upstream()
    }

    pub(super) fn poll(
        &mut self,
        record: Option<&mut Box<Record>>,
        context: &mut Context<'_>,
    ) -> Poll<Polled> {
        let frame = match ready!(self.source.poll(record, context)) {
            Polled::Frame(frame) => frame,
            other => return Poll::Ready(other),
        };
        let data: Bytes = match frame.into_data() {
            Ok(piece) => self.form.written(piece),
            Err(other) => match other.into_trailers() {
                Ok(trailers) => self.form.trailers(&trailers),
                // There is nothing else yet.
                Err(other) => return Poll::Ready(Polled::Frame(other)),
            },
        };
        Poll::Ready(Polled::Frame(Frame::data(data)))
    }
}
