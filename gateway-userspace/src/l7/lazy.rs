//! A client's socket that the runtime gets to know only when somebody must wait for it.
//!
//! A request that came with its connection, and whose answer fits the socket's buffer, is read and answered without a
//! wait: most connections of one request never are registered with epoll, which saves two system calls of eight. All
//! operations on the descriptor are non-blocking; the first that would block registers it for good.

use std::io::{self, IoSlice, Write};
use std::net::{self, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::{SockAddr, SockAddrStorage, SockRef};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connected socket, non-blocking.
#[derive(Debug)]
pub(super) enum Lazy {
    /// The runtime does not know it.
    Direct {
        /// The socket.
        stream: net::TcpStream,
        /// Whether there is more to read, as far as the last read tells.
        input: Input,
    },
    /// It does.
    Registered(TcpStream),
    /// Registering failed.
    Broken,
}

/// What the last read leaves to be expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// There may be something: it was not read yet, or filled its buffer.
    Likely,
    /// It was read to its end for now: the next is waited for.
    Drained,
}

/// Accepts from a listening socket; what it accepts is non-blocking.
///
/// # Errors
/// As accept(2).
///
/// # Cancel safety
/// No connection is lost.
pub(super) async fn accept(listener: &AsyncFd<net::TcpListener>) -> io::Result<(Lazy, SocketAddr)> {
    loop {
        let mut guard = listener.readable().await?;
        if let Ok(accepted) = guard.try_io(|listener| accept_now(listener.get_ref())) {
            return accepted;
        }
    }
}

fn accept_now(listener: &net::TcpListener) -> io::Result<(Lazy, SocketAddr)> {
    let call = |storage: *mut SockAddrStorage, length: *mut libc::socklen_t| {
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: `try_init` gives a storage and its length that are valid for the call.
        let descriptor = unsafe { libc::accept4(listener.as_raw_fd(), storage.cast(), length, flags) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given it to us.
        Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
    };
    // SAFETY: where the call succeeds, it has written the address and its length.
    let (descriptor, address) = unsafe { SockAddr::try_init(call) }?;
    let client = address.as_socket().ok_or(io::ErrorKind::InvalidData)?;
    Ok((Lazy::new(descriptor.into()), client))
}

impl Lazy {
    /// A socket that is non-blocking already.
    pub(super) fn new(stream: net::TcpStream) -> Self {
        let input = Input::Likely;
        Self::Direct { stream, input }
    }

    /// The socket alone, which the runtime does not know.
    pub(super) fn into_direct(self) -> io::Result<net::TcpStream> {
        match self {
            Self::Direct { stream, .. } => Ok(stream),
            Self::Registered(stream) => stream.into_std(),
            Self::Broken => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Whether a wait for more would be the first one.
    pub(super) fn may_wait_unregistered(&self) -> bool {
        matches!(self, Self::Direct { input, .. } if *input == Input::Drained)
    }

    /// Nothing more is sent.
    pub(super) fn end_writing(&self) -> io::Result<()> {
        match self {
            Self::Direct { stream, .. } => stream.shutdown(net::Shutdown::Write),
            Self::Registered(stream) => SockRef::from(stream).shutdown(net::Shutdown::Write),
            Self::Broken => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Makes it known to the runtime, which must run here.
    fn register(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        if let Self::Direct { .. } = self
            && let Self::Direct { stream, .. } = std::mem::replace(self, Self::Broken)
        {
            *self = Self::Registered(TcpStream::from_std(stream)?);
        }
        match self {
            Self::Registered(stream) => Ok(Pin::new(stream)),
            Self::Direct { .. } | Self::Broken => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Does it at once where that is possible; `None`: it must be waited for.
    fn at_once<T>(
        &mut self,
        mut operation: impl FnMut(&mut net::TcpStream) -> io::Result<T>,
    ) -> Option<io::Result<T>> {
        let Self::Direct { stream, .. } = self else {
            return None;
        };
        loop {
            match operation(stream) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                done => return Some(done),
            }
        }
    }
}

impl AsyncRead for Lazy {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Self::Direct {
            input: Input::Likely, ..
        } = *self
        {
            // SAFETY: what is initialized there stays so: only the kernel writes to it, and never uninitialized bytes.
            let space = unsafe { buffer.unfilled_mut() };
            let room = space.len();
            if let Some(read) = self.at_once(|stream| SockRef::from(&*stream).recv(space)) {
                let count = read?;
                if let Self::Direct { input, .. } = &mut *self
                    && (1..room).contains(&count)
                {
                    *input = Input::Drained;
                }
                // SAFETY: the kernel has written so many.
                unsafe { buffer.assume_init(count) };
                buffer.advance(count);
                return Poll::Ready(Ok(()));
            }
        }
        self.register()?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Lazy {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.at_once(|stream| stream.write(bytes)) {
            Some(written) => Poll::Ready(written),
            None => self.register()?.poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.at_once(|stream| stream.write_vectored(slices)) {
            Some(written) => Poll::Ready(written),
            None => self.register()?.poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A TCP socket holds nothing back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.end_writing())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};

    use super::*;

    async fn accepted() -> (Lazy, TcpStream) {
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        // SAFETY: the listener keeps its descriptor.
        let listener = unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) }.unwrap();
        let (stream, lazy) = tokio::join!(TcpStream::connect(address), accept(&listener));
        let (stream, (lazy, from)) = (stream.unwrap(), lazy.unwrap());
        assert_eq!(from, stream.local_addr().unwrap());
        (lazy, stream)
    }

    #[tokio::test]
    async fn what_has_come_and_what_fits_is_done_without_the_runtime() {
        let (mut lazy, mut client) = accepted().await;
        client.write_all(b"question").await.unwrap();
        // On loopback what is sent lies in the other socket at once.
        let mut got = [0; 64];
        assert_eq!(lazy.read(&mut got).await.unwrap(), 8);
        assert!(lazy.may_wait_unregistered());
        lazy.write_all(b"answer").await.unwrap();
        assert!(matches!(lazy, Lazy::Direct { .. }));
        lazy.end_writing().unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
        drop(client);
        assert_eq!(lazy.read(&mut got).await.unwrap(), 0, "the end is seen");
    }

    #[tokio::test]
    async fn what_must_be_waited_for_comes_all_the_same() {
        let (mut lazy, mut client) = accepted().await;
        // More than the buffers of both sockets hold.
        let long = vec![7; 16 << 20];
        let (sent, taken) = tokio::join!(
            async {
                let mut first = [0; 1];
                lazy.read_exact(&mut first).await.unwrap();
                lazy.write_all(&long).await.unwrap();
                lazy.end_writing().unwrap();
                assert!(matches!(lazy, Lazy::Registered(_)));
                lazy.into_direct().unwrap()
            },
            async {
                tokio::task::yield_now().await;
                client.write_all(b"x").await.unwrap();
                let mut taken = Vec::new();
                client.read_to_end(&mut taken).await.unwrap();
                taken
            }
        );
        assert!(taken == long);
        drop(sent);
    }
}
