//! A socket in memory that gives its input in pieces and then waits, and a task that is polled until it does, too.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Polls of one task at most: far more than any input needs, so that one that spins is found.
const POLLS_MAX: usize = 100_000;

/// Where an input is cut into pieces.
#[derive(Clone, Copy, Debug)]
pub struct Splits(u32);

impl Splits {
    /// 0 cuts nowhere; every other number has its own way to cut.
    pub fn new(way: u8) -> Self {
        Self(u32::from(way))
    }

    /// The length of the next piece.
    pub fn next_len(&mut self) -> usize {
        if self.0 == 0 {
            return usize::MAX;
        }
        // A linear congruential generator (Numerical Recipes): nothing hangs on its quality.
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) | 1;
        match self.0 >> 29 {
            0 | 1 => 1,
            2 | 3 => 2,
            4 | 5 => 17,
            6 => 90,
            _ => 1_000,
        }
    }
}

/// Reads what it was given; takes every write.
#[derive(Debug)]
pub struct Socket {
    input: Vec<u8>,
    at: usize,
    splits: Splits,
}

impl Socket {
    /// With that input.
    pub fn new(input: &[u8], splits: Splits) -> Self {
        Self {
            input: input.to_vec(),
            at: 0,
            splits,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            return Poll::Pending;
        }
        let available = rest.len().min(buffer.remaining());
        let taken = self.splits.next_len().min(available);
        buffer.put_slice(self.input.get(self.at..self.at + taken).unwrap_or_default());
        self.at += taken;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls until the task is done, or waits for what will never come (`None`).
///
/// # Panics
/// Where it wakes itself for ever.
pub fn run<F: Future>(task: F) -> Option<F::Output> {
    let mut task = pin!(task);
    let flag = Arc::new(Flag(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&flag));
    let mut context = Context::from_waker(&waker);
    for _ in 0..POLLS_MAX {
        if !flag.0.swap(false, Ordering::Relaxed) {
            return None;
        }
        if let Poll::Ready(output) = task.as_mut().poll(&mut context) {
            return Some(output);
        }
    }
    panic!("the task wakes itself for ever");
}
