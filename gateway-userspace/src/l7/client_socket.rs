//! A client's socket as the kernel sees it: watched for input alone, and able to send its last bytes with their end.
//!
//! Tokio's own asks epoll for output, too, which a new socket always takes: each accept was followed by an event that
//! told nothing. Here output is watched for from the first time that the socket takes none.
//!
//! The last answer of a connection is held back until the connection ends (`MSG_MORE`, tcp(7)), so that data and FIN
//! are one segment: two thirds of what a short connection costs the kernel are its segments. Who holds something back
//! must [`push`](ClientSocket::push) it if the end does not follow at once.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

/// See the module.
pub(super) struct ClientSocket {
    /// `None` only after it could not be watched anew: it is closed then.
    watched: Option<AsyncFd<TcpStream>>,
    output: Output,
    last: Last,
}

/// Whether epoll tells when the socket takes output again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    Unwatched,
    Watched,
}

/// Whether what is written is the end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// More may follow, or not soon.
    No,
    /// What is written now is the last.
    Next,
    /// The last was written, and the kernel may hold it.
    Held,
}

fn watch(stream: TcpStream, interest: Interest) -> io::Result<AsyncFd<TcpStream>> {
    // SAFETY: the stream has one descriptor, which it closes when it is dropped, by whoever has it then.
    let watched = unsafe { AsyncFd::register_with_interest(stream, interest) };
    Ok(watched?)
}

impl ClientSocket {
    /// A socket that is non-blocking already.
    ///
    /// # Errors
    /// When epoll does not take it.
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        Ok(Self {
            watched: Some(watch(stream, Interest::READABLE)?),
            output: Output::Unwatched,
            last: Last::No,
        })
    }

    /// What is written next ends what is sent.
    pub(super) fn ends(&mut self) {
        if self.last == Last::No {
            self.last = Last::Next;
        }
    }

    /// Sends what is held back, if anything is.
    pub(super) fn push(&mut self) {
        if self.last == Last::Held {
            self.last = Last::No;
            // Setting it sends what waits, though it was set before (tcp(7)).
            if let Ok(watched) = self.watched()
                && let Err(error) = SockRef::from(watched.get_ref()).set_tcp_nodelay(true)
            {
                tracing::debug!(%error, "sending what was held back");
            }
        }
    }

    /// Sends what is held back, and that it was all.
    ///
    /// # Errors
    /// What the kernel says; the client may be gone.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.last = Last::No;
        self.watched()?.get_ref().shutdown(Shutdown::Write)
    }

    /// Looks at what has come without taking it, as soon as there are more bytes than `known`, or as it is sure that no more
    /// will come. 0: nothing came, and nothing will.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn poll_peek(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
        known: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.watched()?.poll_read_ready(context))?;
            let is_last = guard.ready().is_read_closed();
            let Ok(outcome) = guard.try_io(|watched| watched.get_ref().peek(buffer)) else {
                continue;
            };
            match outcome {
                // Nothing new: what comes later is told anew.
                Ok(count) if 0 < count && count <= known && !is_last => guard.clear_ready(),
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    /// A close is to tell the other side that this is no orderly end.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn breaks_off(&self) -> io::Result<()> {
        SockRef::from(self.watched()?.get_ref()).set_linger(Some(Duration::ZERO))
    }

    /// What the client connected to.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn local_address(&self) -> io::Result<SocketAddr> {
        self.watched()?.get_ref().local_addr()
    }

    /// Whether a close would drop what was written last: it does where input is unread, which nobody knows.
    pub(super) fn holds_back(&self) -> bool {
        self.last == Last::Held
    }

    fn watched(&self) -> io::Result<&AsyncFd<TcpStream>> {
        self.watched
            .as_ref()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// It took no output: from now on epoll tells when it does.
    fn watch_output(&mut self, context: &Context<'_>) -> io::Result<()> {
        if let Some(watched) = self.watched.take() {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.watched = Some(watch(watched.into_inner(), interest)?);
            self.output = Output::Watched;
            // Who waits for input waits at what is no more: one task does both, and is to ask again.
            context.waker().wake_by_ref();
        }
        Ok(())
    }

    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        send: impl Fn(SockRef<'_>, i32) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let mut flags = libc::MSG_NOSIGNAL;
        if self.last != Last::No {
            flags |= libc::MSG_MORE;
            self.last = Last::Held;
        }
        if self.output == Output::Unwatched {
            match send(SockRef::from(self.watched()?.get_ref()), flags) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.watch_output(context)?,
                outcome => return Poll::Ready(outcome),
            }
        }
        loop {
            let mut guard = ready!(self.watched()?.poll_write_ready(context))?;
            if let Ok(outcome) = guard.try_io(|watched| send(SockRef::from(watched.get_ref()), flags)) {
                return Poll::Ready(outcome);
            }
        }
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.watched()?.poll_read_ready(context))?;
            // SAFETY: recv writes to it and reads nothing of it, and makes nothing uninitialised.
            let space = unsafe { buffer.unfilled_mut() };
            let wanted = space.len();
            let Ok(outcome) = guard.try_io(|watched| SockRef::from(watched.get_ref()).recv(space)) else {
                continue;
            };
            let count = outcome?;
            if 0 < count && count < wanted {
                // There was no more: what comes later is told anew.
                guard.clear_ready();
            }
            // SAFETY: the kernel wrote that many bytes to the start of it.
            unsafe { buffer.assume_init(count) };
            buffer.advance(count);
            return Poll::Ready(Ok(()));
        }
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(context, |socket, flags| socket.send_with_flags(bytes, flags))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(context, |socket, flags| {
            socket.send_vectored_with_flags(slices, flags)
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is held back goes out with the end, or when it is pushed.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A client, and our side of its connection.
    fn pair() -> (TcpStream, ClientSocket) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        ours.set_nodelay(true).unwrap();
        (client, ClientSocket::new(ours).unwrap())
    }

    /// Whether anything has come.
    fn has_any(client: &TcpStream) -> bool {
        client.set_nonblocking(true).unwrap();
        let has = client.peek(&mut [0]).is_ok();
        client.set_nonblocking(false).unwrap();
        has
    }

    #[tokio::test]
    async fn who_takes_nothing_for_a_while_gets_all_in_order_and_is_heard_all_the_same() {
        let (mut client, mut ours) = pair();
        let bytes: Vec<u8> = (0..8_000_000_u32).map(|number| (number % 251) as u8).collect();
        // More than both sides' buffers hold.
        let mut sent = 0;
        let mut write = |context: &mut Context<'_>| {
            while sent < bytes.len() {
                match Pin::new(&mut ours).poll_write(context, &bytes[sent..]) {
                    Poll::Ready(count) => sent += count.unwrap(),
                    Poll::Pending => return Poll::Ready(()),
                }
            }
            Poll::Ready(())
        };
        poll_fn(&mut write).await;
        assert!(sent < bytes.len(), "it takes everything: the test proves nothing");
        assert!(ours.output == Output::Watched);
        let expected = bytes.clone();
        let reader = std::thread::spawn(move || {
            client.write_all(b"still here").unwrap();
            let mut got = Vec::new();
            client.read_to_end(&mut got).unwrap();
            assert!(got == expected, "{} of {} bytes", got.len(), expected.len());
        });
        let mut heard = [0; 10];
        ours.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"still here");
        ours.write_all(&bytes[sent..]).await.unwrap();
        drop(ours);
        reader.join().unwrap();
    }

    #[tokio::test]
    async fn what_comes_after_a_short_read_is_told_anew() {
        let (mut client, mut ours) = pair();
        for word in [&b"one"[..], b"two", b"three"] {
            client.write_all(word).unwrap();
            let mut got = vec![0; 64];
            let count = ours.read(&mut got).await.unwrap();
            assert_eq!(&got[..count], word);
        }
        drop(client);
        assert_eq!(ours.read(&mut [0; 64]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn the_last_is_held_back_until_it_is_pushed() {
        // The kernel holds it for 200 ms at most, which a busy machine may let pass.
        let mut was_held = false;
        for _ in 0..20 {
            let (mut client, mut ours) = pair();
            ours.ends();
            ours.write_all(b"answer").await.unwrap();
            was_held |= ours.holds_back() && !has_any(&client);
            ours.push();
            assert!(!ours.holds_back());
            let mut got = [0; 6];
            client.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"answer");
            // The connection goes on all the same.
            ours.write_all(b"more").await.unwrap();
            assert!(!ours.holds_back());
            client.read_exact(&mut got[..4]).unwrap();
        }
        assert!(was_held);
    }

    #[tokio::test]
    async fn the_end_brings_what_was_held_though_input_is_unread() {
        let (mut client, mut ours) = pair();
        // A close alone would reset it, and what is held would be lost.
        client.write_all(b"unread").unwrap();
        ours.ends();
        ours.write_all(b"answer").await.unwrap();
        ours.end().unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert_eq!(got, b"answer");
    }
}
