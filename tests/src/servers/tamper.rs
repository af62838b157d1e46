//! What a server sends, changed on its way out: answers that break off, and answers that lie about their length.
//!
//! HTTP/1 only, and answers that are written at once: head and body together, as short ones are.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// From the part that was sent to the end: who forwards as it comes has passed the head on by then.
const BEFORE_THE_END: Duration = Duration::from_millis(5);

/// What follows an answer that is longer than it says.
const SURPLUS: &[u8] = b" and more";

/// How an answer is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tampering {
    /// Half of its body, then a reset.
    Reset,
    /// Half of its body, then an orderly end: it said that it was longer.
    End,
    /// More bytes behind its body: it said that it was shorter.
    Surplus,
}

/// How the next answer on a connection is changed.
#[derive(Clone, Debug, Default)]
pub struct Order(Arc<AtomicU8>);

impl Order {
    /// Changes the next answer.
    pub fn set(&self, tampering: Tampering) {
        let code = match tampering {
            Tampering::Reset => 1,
            Tampering::End => 2,
            Tampering::Surplus => 3,
        };
        self.0.store(code, Ordering::Relaxed);
    }

    fn get(&self) -> Option<Tampering> {
        match self.0.load(Ordering::Relaxed) {
            1 => Some(Tampering::Reset),
            2 => Some(Tampering::End),
            3 => Some(Tampering::Surplus),
            _ => None,
        }
    }

    fn is_done(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// A connection whose answers are changed by order.
#[derive(Debug)]
pub struct Tampered {
    stream: TcpStream,
    order: Order,
    ending: Option<(Pin<Box<Sleep>>, Tampering)>,
}

impl Tampered {
    /// Wraps an accepted connection.
    pub fn new(stream: TcpStream, order: Order) -> Self {
        Self {
            stream,
            order,
            ending: None,
        }
    }
}

/// The bytes that are sent in the place of those of a whole answer; `None` where these hold no body.
fn changed(answer: &[u8], tampering: Tampering) -> Option<Vec<u8>> {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let body = answer.len().checked_sub(head).filter(|length| *length > 1)?;
    match tampering {
        Tampering::Reset | Tampering::End => answer.get(..head + body / 2).map(<[u8]>::to_vec),
        Tampering::Surplus => Some([answer, SURPLUS].concat()),
    }
}

impl AsyncWrite for Tampered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some((tampering, sent)) = self
            .order
            .get()
            .and_then(|tampering| Some((tampering, changed(bytes, tampering)?)))
        else {
            return Pin::new(&mut self.stream).poll_write(context, bytes);
        };
        self.order.is_done();
        // A peer that took its answers until now has room for this one.
        if self.stream.try_write(&sent)? < sent.len() {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        if tampering != Tampering::Surplus {
            let mut time = Box::pin(sleep(BEFORE_THE_END));
            // hyper has read before it writes, and reads again only when it is woken.
            let is_pending = time.as_mut().poll(context).is_pending();
            debug_assert!(is_pending);
            self.ending = Some((time, tampering));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl AsyncRead for Tampered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, ending, .. } = &mut *self;
        let Some((time, tampering)) = ending else {
            return Pin::new(stream).poll_read(context, buffer);
        };
        if time.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        if *tampering == Tampering::Reset {
            // The close that follows is a reset then.
            socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO))?;
        }
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_break_off_in_their_body_or_have_more_of_it() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nwell";
        let of = |tampering| changed(answer, tampering).unwrap();
        for broken in [Tampering::Reset, Tampering::End] {
            assert!(of(broken).ends_with(b"\r\n\r\nwe"), "{broken:?}");
        }
        assert!(of(Tampering::Surplus).ends_with(b"\r\n\r\nwell and more"));
        for part in [&b"HTTP/1.1 200"[..], b"HTTP/1.1 204 No Content\r\n\r\n"] {
            assert_eq!(changed(part, Tampering::Reset), None);
        }
    }
}
