//! A response's body on its way through a codec: on the worker, in small portions, so that no other request waits for it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep_until};

use super::download::{Polled, Source, Upstream};
use crate::filters::compression::coder::Coder;
use crate::l7::error::ProxyError;
use crate::l7::record::Record;

/// Bytes that a codec takes before others have their turn: some 0.2 ms.
const PORTION_BYTES: usize = 16 << 10;
/// How long an upstream may pause before the client gets what was said so far.
const PAUSE: Duration = Duration::from_millis(50);

/// A body and its codec.
pub(super) struct Coded {
    source: Source,
    /// `None`: it has ended.
    coder: Option<Coder>,
    /// Came, and did not go in yet.
    input: Bytes,
    /// Went in since others had their turn.
    portion: usize,
    /// Something went in that may not have come out.
    holds: bool,
    pause: Option<Pin<Box<Sleep>>>,
    /// Whether that counts from the last thing that came.
    pauses: bool,
    trailers: Option<HeaderMap>,
}

impl Coded {
    pub(super) fn new(source: Source, coder: Coder) -> Self {
        Self {
            source,
            coder: Some(coder),
            input: Bytes::new(),
            portion: 0,
            holds: false,
            pause: None,
            pauses: false,
            trailers: None,
        }
    }

    pub(super) fn upstream(&mut self) -> Option<&mut Upstream> {
        self.source.upstream()
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.coder.is_none() && self.trailers.is_none()
    }

    pub(super) fn poll(
        &mut self,
        mut record: Option<&mut Box<Record>>,
        context: &mut Context<'_>,
    ) -> Poll<Polled> {
        if self.portion >= PORTION_BYTES {
            return self.yields(context);
        }
        loop {
            let frame = if !self.input.is_empty() {
                self.encode()
            } else if self.coder.is_none() {
                return Poll::Ready(match self.trailers.take() {
                    Some(trailers) => Polled::Frame(Frame::trailers(trailers)),
                    None => Polled::End,
                });
            } else {
                match self.source.poll(record.as_deref_mut(), context) {
                    Poll::Ready(Polled::Broken(error)) => return Poll::Ready(Polled::Broken(error)),
                    Poll::Ready(Polled::End) => self.finish(),
                    Poll::Ready(Polled::Frame(frame)) => {
                        self.pauses = false;
                        match frame.into_data() {
                            Ok(data) => {
                                self.input = data;
                                continue;
                            }
                            Err(other) => {
                                self.trailers = other.into_trailers().ok();
                                self.finish()
                            }
                        }
                    }
                    Poll::Pending => {
                        ready!(self.poll_pause(context));
                        self.flush()
                    }
                }
            };
            match frame {
                Err(error) => {
                    tracing::error!(%error, "a codec failed");
                    return Poll::Ready(Polled::Broken(ProxyError::CompressionFailed));
                }
                Ok(coded) if !coded.is_empty() => {
                    if let (Some(upstream), Some(record)) = (self.source.upstream(), record) {
                        upstream.gives(record);
                    }
                    return Poll::Ready(Polled::Frame(Frame::data(coded.into())));
                }
                Ok(_) if self.portion >= PORTION_BYTES => return self.yields(context),
                Ok(_) => {}
            }
        }
    }

    /// Others have their turn.
    fn yields(&mut self, context: &Context<'_>) -> Poll<Polled> {
        self.portion = 0;
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// A portion of what came goes in.
    fn encode(&mut self) -> std::io::Result<Vec<u8>> {
        let room = PORTION_BYTES.saturating_sub(self.portion);
        let piece = self.input.split_to(room.min(self.input.len()));
        self.portion += piece.len();
        self.holds = true;
        match &mut self.coder {
            Some(coder) => {
                coder.write(&piece)?;
                Ok(coder.take())
            }
            None => Ok(Vec::new()),
        }
    }

    /// Ready once the upstream has paused for long enough, if the client is owed something.
    fn poll_pause(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.holds {
            return Poll::Pending;
        }
        if !self.pauses {
            self.pauses = true;
            let until = Instant::now() + PAUSE;
            match &mut self.pause {
                Some(pause) => pause.as_mut().reset(until),
                None => self.pause = Some(Box::pin(sleep_until(until))),
            }
        }
        match &mut self.pause {
            Some(pause) => pause.as_mut().poll(context),
            None => Poll::Pending,
        }
    }

    fn flush(&mut self) -> std::io::Result<Vec<u8>> {
        self.holds = false;
        match &mut self.coder {
            Some(coder) => {
                coder.flush()?;
                Ok(coder.take())
            }
            None => Ok(Vec::new()),
        }
    }

    /// What is left, its end with it.
    fn finish(&mut self) -> std::io::Result<Vec<u8>> {
        self.holds = false;
        self.coder.take().map_or_else(|| Ok(Vec::new()), Coder::finish)
    }
}
