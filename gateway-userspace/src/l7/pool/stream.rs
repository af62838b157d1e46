//! A socket to an endpoint, whose answer counts though it stopped reading.
//!
//! An endpoint may answer before it has the whole request, and close: then writing fails while the answer waits to be
//! read, and hyper would give both up. So what can be written no more is swallowed, and reading decides: it brings the
//! answer, or the end.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::l7::gather;

/// See the module.
pub(super) struct EndpointStream<S> {
    pub(super) stream: S,
    writing: Writing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Writing {
    Works,
    /// The endpoint takes nothing more.
    Swallows,
}

impl<S> EndpointStream<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            writing: Writing::Works,
        }
    }

    fn written(&mut self, outcome: Poll<io::Result<usize>>, bytes: usize) -> Poll<io::Result<usize>> {
        match outcome {
            Poll::Ready(Err(error)) if is_of_endpoint(&error) => {
                tracing::debug!(%error, "an endpoint takes no more of a request; its answer is waited for");
                self.writing = Writing::Swallows;
                Poll::Ready(Ok(bytes))
            }
            other => other,
        }
    }
}

fn is_of_endpoint(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

impl<S: AsyncRead + Unpin> AsyncRead for EndpointStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for EndpointStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.writing == Writing::Swallows {
            return Poll::Ready(Ok(bytes.len()));
        }
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(outcome, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        if self.writing == Writing::Swallows {
            return Poll::Ready(Ok(bytes));
        }
        let outcome = gather::poll_write(Pin::new(&mut self.stream), context, slices);
        self.written(outcome, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn an_answer_is_read_though_its_giver_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut stream = EndpointStream::new(stream);
        let (mut endpoint, _) = listener.accept().await.unwrap();
        stream.write_all(b"unread").await.unwrap();
        endpoint.readable().await.unwrap();
        endpoint.write_all(b"answer").await.unwrap();
        // With unread input: a reset.
        drop(endpoint);
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
        while stream.writing == Writing::Works {
            assert!(tokio::time::Instant::now() < deadline, "it never breaks");
            stream.write_all(b"more").await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
    }
}
