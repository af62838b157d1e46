//! A request's body on its way to an endpoint.
//!
//! [`Upload`] is the body itself, which outlives tries; [`RequestBody`] is what one try reads of it. What was read is
//! kept while it may be sent again and is small enough.

mod request;

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use tokio::sync::oneshot::{Receiver, Sender, channel};
use tokio::time::Instant;

use super::bounds::Bounds;
use super::{BodyError, bytes_of};
use crate::l7::error::ProxyError;
use crate::l7::headers;
use crate::l7::patience::Patience;

pub(crate) use request::RequestBody;

/// Kept of all request bodies of the node; beyond it, requests with a body are not sent again.
const KEPT_BYTES_MAX: u64 = 64 << 20;
/// Kept now.
static KEPT_BYTES: AtomicU64 = AtomicU64::new(0);

/// A client's body, and what passed of it.
pub(crate) struct Upload {
    source: RefCell<Source>,
    bytes: Cell<u64>,
    fault: Cell<Option<ProxyError>>,
    owed: Cell<Owed>,
    /// When something of it passed last, or the request began.
    progress: Cell<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Owed {
    /// Nobody waits for more of it.
    No,
    /// The endpoint would take more than the client sent.
    Yes,
    /// It passed whole.
    Ended,
}

struct Source {
    /// What the client sends; `None`: a copy of what it sent.
    incoming: Option<Incoming>,
    bounds: Bounds,
    patience: Option<Patience>,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    keeping: Keeping,
    trailers: Option<HeaderMap>,
    /// Who wants a copy once all of it passed.
    copy: Option<Sender<Copied>>,
}

/// A copy of a body.
pub(crate) enum Copied {
    /// All of it.
    Whole(Rc<Upload>),
    /// There is more of it than is kept.
    TooLarge,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeping {
    /// All that passed is kept.
    Whole,
    /// Something passed that is not kept.
    Spilled,
}

impl Upload {
    /// The body; `None` if it is empty.
    pub(crate) fn new(incoming: Incoming, bounds: Bounds, now: Instant) -> Option<Rc<Self>> {
        if incoming.is_end_stream() {
            return None;
        }
        Some(Rc::new(Self {
            bytes: Cell::new(0),
            fault: Cell::new(None),
            owed: Cell::new(Owed::No),
            progress: Cell::new(now),
            source: RefCell::new(Source {
                incoming: Some(incoming),
                patience: bounds.stalled_timeout.map(Patience::new),
                bounds,
                kept: Vec::new(),
                kept_bytes: 0,
                keeping: Keeping::Whole,
                trailers: None,
                copy: None,
            }),
        }))
    }

    /// A copy of it, once all of it passed; nothing, where it never does. It counts among what the node keeps of bodies.
    pub(crate) fn copied(&self) -> Receiver<Copied> {
        let (sender, receiver) = channel();
        let source = &mut *self.source.borrow_mut();
        source.copy = Some(sender);
        if self.owed.get() == Owed::Ended || source.keeping == Keeping::Spilled {
            source.give_copy();
        }
        receiver
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// What ended it before its end: what failed after that is no fault of the endpoint.
    pub(crate) fn fault(&self) -> Option<ProxyError> {
        self.fault.get()
    }

    /// Lowers the bound of its bytes, where it has one. Nothing of it may have been read.
    ///
    /// # Errors
    /// The head announces too much already.
    pub(crate) fn limit(&self, bytes_max: u64, headers: &HeaderMap) -> Result<(), ProxyError> {
        let bounds = &mut self.source.borrow_mut().bounds;
        bounds.lower(bytes_max);
        if bounds.exceeded_by(headers) {
            return Err(ProxyError::BodyTooLarge);
        }
        Ok(())
    }

    /// Whether the endpoint would take more than the client sent.
    pub(crate) fn is_owed(&self) -> bool {
        self.owed.get() == Owed::Yes
    }

    /// When something of it passed last; `None`: it passed whole.
    pub(crate) fn progress(&self) -> Option<Instant> {
        (self.owed.get() != Owed::Ended).then(|| self.progress.get())
    }

    /// Whether it can be read from its beginning.
    pub(crate) fn can_repeat(&self) -> bool {
        self.bytes.get() == 0 || self.source.borrow().keeping == Keeping::Whole
    }

    fn ended_by(&self, error: ProxyError) -> BodyError {
        self.fault.set(Some(error));
        BodyError::Ended(error)
    }

    /// The next frame that no try has read.
    fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(error) = self.fault.get() {
            return Poll::Ready(Some(Err(BodyError::Ended(error))));
        }
        if self.owed.get() == Owed::Ended {
            return Poll::Ready(None);
        }
        let source = &mut *self.source.borrow_mut();
        let Poll::Ready(polled) = source.poll_incoming(context) else {
            self.owed.set(Owed::Yes);
            if let Some(patience) = &mut source.patience {
                ready!(patience.poll(context));
                return Poll::Ready(Some(Err(self.ended_by(ProxyError::RequestBodyTimeout))));
            }
            return Poll::Pending;
        };
        self.owed.set(Owed::No);
        if let Some(patience) = &mut source.patience {
            patience.progress();
        }
        let mut frame = match polled {
            None => {
                self.owed.set(Owed::Ended);
                source.give_copy();
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                self.fault.set(Some(match error {
                    BodyError::Broken(_) => ProxyError::RequestBodyBroken,
                    BodyError::Ended(fault) => fault,
                }));
                return Poll::Ready(Some(Err(error)));
            }
            Some(Ok(frame)) => frame,
        };
        self.progress.set(Instant::now());
        self.bytes.set(self.bytes.get() + bytes_of(&frame));
        if source.bounds.bytes_max.is_some_and(|max| self.bytes.get() > max) {
            return Poll::Ready(Some(Err(self.ended_by(ProxyError::BodyTooLarge))));
        }
        if let (Some(meter), Some(data)) = (&mut source.bounds.messages, frame.data_ref())
            && meter.take(data).is_err()
        {
            return Poll::Ready(Some(Err(self.ended_by(ProxyError::GrpcMessageTooLarge))));
        }
        if let Some(trailers) = frame.trailers_mut() {
            headers::filter_trailers(trailers);
        }
        source.keep(&frame);
        if source.incoming.as_ref().is_none_or(Incoming::is_end_stream) {
            self.owed.set(Owed::Ended);
            source.give_copy();
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

impl Source {
    /// What comes next of the client's body; nothing of a copy.
    fn poll_incoming(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        let Some(decoder) = &mut self.bounds.text else {
            let polled = ready!(Pin::new(incoming).poll_frame(context));
            return Poll::Ready(polled.map(|frame| frame.map_err(BodyError::Broken)));
        };
        let bad = || Poll::Ready(Some(Err(BodyError::Ended(ProxyError::GrpcWebBad))));
        loop {
            let frame = match ready!(Pin::new(&mut *incoming).poll_frame(context)) {
                None if decoder.is_whole() => return Poll::Ready(None),
                None => return bad(),
                Some(Err(error)) => return Poll::Ready(Some(Err(BodyError::Broken(error)))),
                Some(Ok(frame)) => frame,
            };
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(other) => return Poll::Ready(Some(Ok(other))),
            };
            match decoder.decode(&data) {
                Ok(_) if incoming.is_end_stream() && !decoder.is_whole() => return bad(),
                Ok(plain) if plain.is_empty() => {}
                Ok(plain) => return Poll::Ready(Some(Ok(Frame::data(plain.into())))),
                Err(_) => return bad(),
            }
        }
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        if self.keeping == Keeping::Spilled {
            return;
        }
        if let Some(trailers) = frame.trailers_ref() {
            self.trailers = Some(trailers.clone());
        }
        let Some(data) = frame.data_ref() else { return };
        let bytes = data.len() as u64;
        let fits = self.kept_bytes.saturating_add(data.len()) <= self.bounds.replay_bytes_max;
        if !fits
            || KEPT_BYTES
                .fetch_add(bytes, Ordering::Relaxed)
                .saturating_add(bytes)
                > KEPT_BYTES_MAX
        {
            if fits {
                KEPT_BYTES.fetch_sub(bytes, Ordering::Relaxed);
            }
            self.spill();
            self.give_copy();
            return;
        }
        self.kept.push(data.clone());
        self.kept_bytes += data.len();
    }

    /// Who wants a copy gets it, or learns that there is none.
    fn give_copy(&mut self) {
        let Some(wanted) = self.copy.take() else { return };
        let copied = match self.keeping {
            Keeping::Whole => Copied::Whole(self.to_upload()),
            Keeping::Spilled => Copied::TooLarge,
        };
        // Nobody waits for it any more: then it is not needed.
        drop(wanted.send(copied));
    }

    /// What is kept, as a body that passed already.
    fn to_upload(&self) -> Rc<Upload> {
        let bytes = self.kept_bytes as u64;
        KEPT_BYTES.fetch_add(bytes, Ordering::Relaxed);
        Rc::new(Upload {
            bytes: Cell::new(bytes),
            fault: Cell::new(None),
            owed: Cell::new(Owed::Ended),
            progress: Cell::new(Instant::now()),
            source: RefCell::new(Source {
                incoming: None,
                bounds: Bounds {
                    text: None,
                    bytes_max: None,
                    replay_bytes_max: 0,
                    messages: None,
                    stalled_timeout: None,
                },
                patience: None,
                kept: self.kept.clone(),
                kept_bytes: self.kept_bytes,
                keeping: Keeping::Whole,
                trailers: self.trailers.clone(),
                copy: None,
            }),
        })
    }

    fn spill(&mut self) {
        self.keeping = Keeping::Spilled;
        self.kept = Vec::new();
        KEPT_BYTES.fetch_sub(self.kept_bytes as u64, Ordering::Relaxed);
        self.kept_bytes = 0;
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.spill();
    }
}
