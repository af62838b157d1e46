//! Two streams joined: what a connection is after an upgrade (WebSocket), or where it is passed on (`tcp`).
//!
//! Bytes pass both ways until both sides have ended, one breaks, or nobody said anything for too long. Nothing is held
//! for a tunnel that is idle: buffers live on the stack, and only what one side does not take is kept, at most one
//! buffer each way.

use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::error::ProxyError;
use super::patience::Patience;
use super::record::Record;

/// Read at once, each way.
const BUFFER_BYTES: usize = 16 * 1024;

/// A stream to tunnel.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Io for S {}

/// The upstream's side, as soon as HTTP on it has ended, with what it sent already.
pub(super) type Upstream = Pin<Box<dyn Future<Output = io::Result<(Box<dyn Io>, Vec<u8>)>>>>;

/// A tunnel that waits for its client's side.
pub(super) struct Tunnel {
    pub(super) upstream: Upstream,
    pub(super) record: Box<Record>,
    pub(super) idle_timeout: Duration,
}

impl Tunnel {
    /// Joins the two; `held` is what the client sent already.
    ///
    /// # Cancel safety
    /// Both sides are closed; the request's line says so.
    pub(super) async fn run(mut self: Box<Self>, mut client: impl Io, held: Vec<u8>) {
        let mut upstream = match self.upstream.as_mut().await {
            Ok((stream, early)) => (stream, early),
            Err(error) => {
                tracing::debug!(%error, "an upstream closed a tunnel as it began");
                self.record.fail(ProxyError::UpstreamClosed);
                return;
            }
        };
        let (stream, early) = (&mut *upstream.0, upstream.1);
        let record = &mut self.record;
        match pass(&mut client, held, stream, early, self.idle_timeout, record).await {
            Ok(()) => record.complete(),
            Err(Broken::Idle) => record.fail(ProxyError::TunnelIdle),
            Err(Broken::Cut(verdict)) => record.fail(verdict),
            Err(Broken::Client(error) | Broken::Upstream(error)) => {
                tracing::debug!(%error, "a tunnel broke");
                record.complete();
            }
        }
    }
}

/// Joins two streams until both have ended; `held` and `early` are what they said already. The record is told how much
/// passed while it passes.
///
/// # Errors
/// What ends it before.
///
/// # Cancel safety
/// What was read and not taken is lost.
pub(super) async fn pass<C: Io + ?Sized, U: Io + ?Sized>(
    client: &mut C,
    held: Vec<u8>,
    upstream: &mut U,
    early: Vec<u8>,
    idle_timeout: Duration,
    record: &mut Record,
) -> Result<(), Broken> {
    let (mut up, mut down) = (Way::new(held), Way::new(early));
    let mut patience = Patience::new(idle_timeout);
    let exchange = Rc::clone(&record.exchange);
    poll_fn(|context| {
        if let Poll::Ready(verdict) = exchange.poll_verdict(context) {
            return Poll::Ready(Err(Broken::Cut(verdict)));
        }
        let before = up.bytes + down.bytes;
        let mut upward = up.poll(client, upstream, context);
        if matches!(upward, Poll::Ready(Err(Side::To(_)))) && down.state != State::Open {
            up.is_over();
            upward = Poll::Ready(Ok(()));
        }
        let mut downward = down.poll(upstream, client, context);
        if matches!(downward, Poll::Ready(Err(Side::To(_)))) && up.state != State::Open {
            down.is_over();
            downward = Poll::Ready(Ok(()));
        }
        if up.bytes + down.bytes > before {
            patience.progress();
        }
        record.tunnelled(up.bytes, down.bytes);
        match (upward, downward) {
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            (Poll::Ready(Err(Side::From(error))), _) | (_, Poll::Ready(Err(Side::To(error)))) => {
                Poll::Ready(Err(Broken::Client(error)))
            }
            (Poll::Ready(Err(Side::To(error))), _) | (_, Poll::Ready(Err(Side::From(error)))) => {
                Poll::Ready(Err(Broken::Upstream(error)))
            }
            _ => patience.poll(context).map(|()| Err(Broken::Idle)),
        }
    })
    .await
}

/// What ends a tunnel before both sides do.
pub(super) enum Broken {
    Idle,
    /// The sweep found that it must end.
    Cut(ProxyError),
    /// The client's side failed.
    Client(io::Error),
    /// The upstream's side failed.
    Upstream(io::Error),
}

/// Where a way failed.
enum Side {
    /// Reading.
    From(io::Error),
    /// Writing.
    To(io::Error),
}

/// One way through a tunnel.
struct Way {
    /// Read and not taken yet.
    pending: Vec<u8>,
    /// Of these, taken.
    taken: usize,
    state: State,
    bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// One side said its last; the other is to hear it.
    Ending,
    Ended,
}

impl Way {
    fn new(pending: Vec<u8>) -> Self {
        Self {
            bytes: pending.len() as u64,
            pending,
            taken: 0,
            state: State::Open,
        }
    }

    fn poll<F: Io + ?Sized, T: Io + ?Sized>(
        &mut self,
        from: &mut F,
        to: &mut T,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Side>> {
        let mut to = pin!(to);
        let mut from = pin!(from);
        loop {
            while let Some(rest) = self.pending.get(self.taken..).filter(|rest| !rest.is_empty()) {
                let written = ready!(to.as_mut().poll_write(context, rest)).map_err(Side::To)?;
                if written == 0 {
                    return Poll::Ready(Err(Side::To(io::ErrorKind::WriteZero.into())));
                }
                self.taken += written;
            }
            if !self.pending.is_empty() {
                self.pending = Vec::new();
                self.taken = 0;
            }
            match self.state {
                State::Ended => return Poll::Ready(Ok(())),
                State::Ending => {
                    ready!(to.as_mut().poll_shutdown(context)).map_err(Side::To)?;
                    self.state = State::Ended;
                    return Poll::Ready(Ok(()));
                }
                State::Open => {}
            }
            let mut space = [const { MaybeUninit::uninit() }; BUFFER_BYTES];
            let mut buffer = ReadBuf::uninit(&mut space);
            if from
                .as_mut()
                .poll_read(context, &mut buffer)
                .map_err(Side::From)?
                .is_pending()
            {
                ready!(to.as_mut().poll_flush(context)).map_err(Side::To)?;
                return Poll::Pending;
            }
            let read = buffer.filled();
            if read.is_empty() {
                self.state = State::Ending;
                continue;
            }
            self.bytes += read.len() as u64;
            match to.as_mut().poll_write(context, read).map_err(Side::To)? {
                Poll::Ready(written) => self.keep(read.get(written..)),
                Poll::Pending => self.keep(Some(read)),
            }
        }
    }

    /// Who was to take more has said its last before, and is gone by now: nobody misses the rest. Where it said no last, what it
    /// does not take is a reset, which reading would not always tell once writing has been told.
    fn is_over(&mut self) {
        self.pending = Vec::new();
        self.taken = 0;
        self.state = State::Ended;
    }

    fn keep(&mut self, rest: Option<&[u8]>) {
        self.pending.extend_from_slice(rest.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    async fn pass(way: &mut Way, from: &mut impl Io, to: &mut impl Io) -> Result<(), Side> {
        poll_fn(|context| way.poll(from, to, context)).await
    }

    #[tokio::test]
    async fn a_way_carries_all_bytes_in_order_and_then_the_end() {
        let (mut client, mut from) = duplex(7);
        let (mut to, mut upstream) = duplex(5);
        let text: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let sent = text.clone();
        let writer = tokio::spawn(async move {
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
        });
        let reader = tokio::spawn(async move {
            let mut got = Vec::new();
            upstream.read_to_end(&mut got).await.unwrap();
            got
        });
        let mut way = Way::new(b"early".to_vec());
        assert!(pass(&mut way, &mut from, &mut to).await.is_ok());
        drop(to);
        writer.await.unwrap();
        let got = reader.await.unwrap();
        assert_eq!(got.strip_prefix(b"early"), Some(text.as_slice()));
        assert_eq!(way.bytes, 100_005);
    }
}
