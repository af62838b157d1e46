//! The HTTP/2 side of an inspected stream: frames counted both ways, and a flood cut.
//!
//! hyper offers no hook to end a connection with a reason of ours, so GOAWAY is written between its frames.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::frames::{Flood, Frames};
use super::report::Report;

/// Frames of one connection, and its clock.
#[derive(Debug)]
pub(super) struct Counted {
    frames: Frames,
    began: Instant,
    cut: Option<Cut>,
}

/// A connection that is being cut.
#[derive(Clone, Copy, Debug)]
struct Cut {
    flood: Flood,
    /// Bytes of the GOAWAY that are written.
    written: usize,
}

impl Counted {
    pub(super) fn new() -> Self {
        Self {
            frames: Frames::new(0),
            began: Instant::now(),
            cut: None,
        }
    }

    /// Counts what the client sent; after a flood the connection is being cut.
    pub(super) fn received(&mut self, bytes: &[u8], report: &Report) {
        // Some 500 million years pass before it does not fit.
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Err(flood) = self.frames.received(bytes, now_ms) {
            report.cut(flood);
            self.cut.get_or_insert(Cut { flood, written: 0 });
        }
    }

    /// Counts what was written to the client.
    pub(super) fn sent(&mut self, bytes: &[u8]) {
        self.frames.sent(bytes);
    }

    pub(super) fn is_being_cut(&self) -> bool {
        self.cut.is_some()
    }

    /// Bytes that hyper may still write: the rest of the frame under way.
    pub(super) fn owed(&self) -> usize {
        match &self.cut {
            Some(cut) if cut.written > 0 => 0,
            _ => self.frames.owed(),
        }
    }

    /// Writes GOAWAY as soon as no frame is half written; then it is the flood, as an error.
    pub(super) fn poll_cut<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        report: &Report,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(cut) = &mut self.cut else {
            return Poll::Ready(Ok(()));
        };
        if !self.frames.at_boundary() && cut.written == 0 {
            // hyper writes the rest, and wakes us then.
            report.park(context.waker());
            return Poll::Pending;
        }
        let goaway = self.frames.goaway();
        while let Some(rest) = goaway.get(cut.written..)
            && !rest.is_empty()
        {
            let written = ready!(Pin::new(&mut *stream).poll_write(context, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            cut.written += written;
        }
        ready!(Pin::new(stream).poll_flush(context))?;
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, cut.flood)))
    }
}
