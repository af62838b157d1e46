//! What one try sends of a client's body: what was kept of it, then what comes.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Owed, Upload};
use crate::l7::body::BodyError;
use crate::l7::body::gate::{self, Gate};

/// What one try sends.
pub(crate) struct RequestBody(Option<View>);

struct View {
    upload: Rc<Upload>,
    /// Of what is kept, so many were sent.
    sent: usize,
    gate: Option<(Arc<Gate>, Pin<Box<Sleep>>)>,
}

impl RequestBody {
    /// The body from its beginning.
    pub(crate) fn new(upload: Option<&Rc<Upload>>) -> Self {
        Self(upload.map(|upload| View {
            upload: Rc::clone(upload),
            sent: 0,
            gate: None,
        }))
    }

    /// Held back until the gate opens, one second at most.
    pub(crate) fn behind(mut self, gate: &Arc<Gate>) -> Self {
        if let Some(view) = &mut self.0 {
            let limit = Box::pin(sleep_until(Instant::now() + gate::EXPECT_MAX));
            view.gate = Some((Arc::clone(gate), limit));
        }
        self
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(view) = &mut self.0 else {
            return Poll::Ready(None);
        };
        if let Some((gate, limit)) = &mut view.gate {
            if !gate.is_open(context) {
                ready!(limit.as_mut().poll(context));
            }
            view.gate = None;
        }
        {
            let source = view.upload.source.borrow();
            if let Some(data) = source.kept.get(view.sent) {
                view.sent += 1;
                return Poll::Ready(Some(Ok(Frame::data(data.clone()))));
            }
            if view.upload.owed.get() == Owed::Ended
                && let Some(trailers) = &source.trailers
                && view.sent != usize::MAX
            {
                view.sent = usize::MAX;
                return Poll::Ready(Some(Ok(Frame::trailers(trailers.clone()))));
            }
        }
        let next = ready!(view.upload.poll_next(context));
        if let Some(Ok(frame)) = &next {
            if frame.is_trailers() {
                view.sent = usize::MAX;
            } else {
                view.sent = view.sent.saturating_add(1);
            }
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|view| {
            let source = view.upload.source.borrow();
            view.upload.owed.get() == Owed::Ended
                && view.sent >= source.kept.len()
                && (source.trailers.is_none() || view.sent == usize::MAX)
        })
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            None => SizeHint::with_exact(0),
            // What is left of it for who reads from the beginning: only asked for before the first frame.
            Some(view) => {
                let source = view.upload.source.borrow();
                if source.bounds.text.is_some() {
                    return SizeHint::default();
                }
                let rest = source
                    .incoming
                    .as_ref()
                    .map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint);
                let kept = source.kept_bytes as u64;
                match rest.exact() {
                    Some(rest) if view.sent == 0 => SizeHint::with_exact(rest + kept),
                    _ => rest,
                }
            }
        }
    }
}
