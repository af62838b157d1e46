//! A server in memory that speaks when it is spoken to: each answer comes after its request, then the input ends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::socket::Splits;

/// How a request without a body ends.
const REQUEST_END: &[u8] = b"\r\n\r\n";

/// Gives the answers in pieces, each as soon as its request was written, and takes every write.
#[derive(Debug)]
pub struct Turns {
    input: Vec<u8>,
    at: usize,
    /// Where each answer but the first begins.
    begins: Vec<usize>,
    splits: Splits,
    written: Vec<u8>,
    reader: Option<Waker>,
}

impl Turns {
    /// With these answers in one piece, of which all but the first begin at `begins`.
    pub fn new(input: &[u8], begins: &[usize], splits: Splits) -> Self {
        Self {
            input: input.to_vec(),
            at: 0,
            begins: begins.to_vec(),
            splits,
            written: Vec::new(),
            reader: None,
        }
    }

    /// What was not read.
    pub fn rest(&self) -> &[u8] {
        &self.input[self.at..]
    }

    /// How far the answers to what was asked so far reach.
    fn available(&self) -> usize {
        let ends = self.written.windows(REQUEST_END.len());
        let asked = ends.filter(|bytes| *bytes == REQUEST_END).count();
        match asked.checked_sub(1) {
            None => 0,
            Some(answer) => self.begins.get(answer).copied().unwrap_or(self.input.len()),
        }
    }
}

impl AsyncRead for Turns {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let available = self.available() - self.at;
        if available == 0 && self.at < self.input.len() {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let taken = self.splits.next_len().min(available).min(buffer.remaining());
        buffer.put_slice(&self.input[self.at..self.at + taken]);
        self.at += taken;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Turns {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.written.extend_from_slice(bytes);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
