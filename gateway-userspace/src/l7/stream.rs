//! A client's socket as HTTP sees it: it tells its connection what passes, and it is never shut down by HTTP.
//!
//! The connection keeps the socket: a tunnel goes on with it, and [`farewell`] ends it so that an answer is not lost.

use std::cell::{Cell, RefCell, RefMut};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use super::client_socket::ClientSocket;
use super::connection::Connection;
use super::transport::{Handshake, Transport};
use crate::tls::ServerTls;

/// Bytes that are read and discarded after an answer that came before the request's end.
const FAREWELL_BYTES_MAX: usize = 256 * 1024;
/// How long that may take.
const FAREWELL_MAX: Duration = Duration::from_secs(2);
/// Read at once while discarding.
const DISCARD_BYTES: usize = 8 * 1024;

/// A client's socket, which outlives HTTP on it.
pub(super) struct Socket {
    stream: RefCell<Transport>,
    /// The client closed its side, or the connection is broken: nothing more will come.
    ended: Cell<Ended>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    No,
    Yes,
}

impl Socket {
    /// # Errors
    /// When epoll does not take it.
    pub(super) fn new(stream: TcpStream) -> io::Result<Rc<Self>> {
        Ok(Rc::new(Self {
            stream: RefCell::new(Transport::new(stream)?),
            ended: Cell::new(Ended::No),
        }))
    }

    /// Makes TLS of it.
    ///
    /// # Cancel safety
    /// The socket is closed.
    pub(super) async fn secure(&self, tls: &ServerTls) -> Handshake {
        let plain = match self.stream.replace(Transport::Gone) {
            Transport::Plain(plain) => plain,
            other => {
                self.stream.replace(other);
                return Handshake::Failed(io::ErrorKind::AlreadyExists.into());
            }
        };
        let (transport, handshake) = Transport::secure(plain, tls).await;
        self.stream.replace(transport);
        if matches!(handshake, Handshake::Failed(_)) {
            self.ended.set(Ended::Yes);
        }
        handshake
    }

    /// Nothing more is done at once: what is held back for the end must not wait for it.
    pub(super) fn pauses(&self) {
        self.stream.borrow_mut().push();
    }

    /// Nothing more is written: what was held back for the end goes out with it. A close might drop it.
    pub(super) fn ends(&self) {
        let mut stream = self.stream.borrow_mut();
        if stream.wants_end()
            && let Err(error) = stream.end()
        {
            tracing::debug!(%error, "sending the end of a connection");
        }
    }

    /// Does something to the socket below all that is spoken on it.
    ///
    /// # Errors
    /// There is none any more, or what the kernel says.
    pub(super) fn below<T>(&self, act: impl FnOnce(&mut ClientSocket) -> io::Result<T>) -> io::Result<T> {
        match self.stream.borrow_mut().socket() {
            Some(socket) => act(socket),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Adds what has come. The space for it is there only while it is read, and what is held is as large as what came.
    pub(super) fn take_up(&self, context: &mut Context<'_>, held: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        let mut space = [const { MaybeUninit::uninit() }; FIRST_BYTES];
        let mut buffer = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_read(context, &mut buffer))?;
        held.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn note<T>(&self, outcome: &io::Result<T>) {
        if outcome.is_err() {
            self.ended.set(Ended::Yes);
        }
    }
}

/// What HTTP reads from and writes to.
pub(super) struct ClientStream {
    socket: Rc<Socket>,
    connection: Rc<Connection>,
}

impl ClientStream {
    pub(super) fn new(socket: Rc<Socket>, connection: Rc<Connection>) -> Self {
        Self { socket, connection }
    }

    fn to_write(&self) -> RefMut<'_, Transport> {
        let mut stream = self.socket.stream.borrow_mut();
        if self.connection.says_its_last() {
            stream.ends();
        }
        stream
    }

    fn written<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &outcome {
            Poll::Pending => self.connection.writes(Poll::Pending),
            Poll::Ready(result) => {
                self.socket.note(result);
                self.connection.writes(Poll::Ready(()));
            }
        }
        outcome
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.socket.ended.get() == Ended::Yes {
            return self.connection.ended().map(Ok);
        }
        let before = buffer.filled().len();
        let outcome = ready!(Pin::new(&mut *self.socket.stream.borrow_mut()).poll_read(context, buffer));
        self.socket.note(&outcome);
        outcome?;
        if buffer.filled().len() > before {
            self.connection.received();
            return Poll::Ready(Ok(()));
        }
        self.socket.ended.set(Ended::Yes);
        self.connection.ended().map(Ok)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut *self.to_write()).poll_write(context, bytes);
        self.written(outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut *self.to_write()).poll_write_vectored(context, slices);
        self.written(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is held back for the end goes out when the task pauses, or with the end.
        let flushed = Pin::new(&mut *self.socket.stream.borrow_mut()).poll_flush(context);
        match flushed {
            Poll::Ready(Ok(())) => flushed,
            // TLS has taken what the client does not take.
            other => self.written(other),
        }
    }

    /// Leaves the socket open: how it ends is the connection's to decide.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Ends a connection whose input may not have been read to its end: a socket that is closed with unread input is
/// reset, and the client loses the answer. So: no more from us, then read and discard, then close
/// (RFC 9112, section 9.6).
pub(super) async fn farewell(socket: &Socket) {
    if socket.ended.get() == Ended::Yes {
        return;
    }
    if let Err(error) = socket.stream.borrow_mut().end() {
        tracing::debug!(%error, "ending the answers of a connection");
        return;
    }
    let discarded = async {
        let mut discarded = 0;
        while discarded < FAREWELL_BYTES_MAX {
            match poll_fn(|context| discard(socket, context)).await {
                Ok(count) if count > 0 => discarded += count,
                Ok(_) | Err(_) => break,
            }
        }
    };
    drop(timeout(FAREWELL_MAX, discarded).await);
}

fn discard(socket: &Socket, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
    let mut space = [const { MaybeUninit::uninit() }; DISCARD_BYTES];
    let mut buffer = ReadBuf::uninit(&mut space);
    ready!(Pin::new(&mut *socket.stream.borrow_mut()).poll_read(context, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}

/// What began to come, as far as it tells the protocol.
pub(super) enum First {
    Http1(Vec<u8>),
    Http2(Vec<u8>),
    /// The client closed, or the connection broke, before that; had anything come?
    Ended(Vec<u8>),
}

/// How HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Read before the protocol is known: a small head whole, so that it is copied once.
const FIRST_BYTES: usize = 4 * 1024;

/// Reads until the bytes tell which protocol they are. Nothing is held for a client before its first byte.
pub(super) async fn first(socket: &Socket, connection: &Connection) -> First {
    let mut held: Vec<u8> = Vec::new();
    loop {
        match poll_fn(|context| socket.take_up(context, &mut held)).await {
            Ok(0) => {
                socket.ended.set(Ended::Yes);
                return First::Ended(held);
            }
            Ok(_) => {}
            Err(error) => {
                socket.ended.set(Ended::Yes);
                tracing::debug!(%error, client = %connection.client(), "reading a client's first bytes");
                return First::Ended(held);
            }
        }
        connection.received();
        if held.starts_with(PREFACE) {
            return First::Http2(held);
        }
        if !PREFACE.starts_with(&held) {
            return First::Http1(held);
        }
    }
}

/// A tunnel's client side.
pub(super) struct Raw(pub(super) Rc<Socket>);

impl AsyncRead for Raw {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_read(context, buffer)
    }
}

impl AsyncWrite for Raw {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_shutdown(context)
    }
}
