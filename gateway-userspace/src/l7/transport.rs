//! What a client's bytes come by: the socket as it is, or TLS on it.
//!
//! TLS is made by the connection's own task, at most so many handshakes at once, and what it found is kept for the whole
//! connection: its version, the name that the client asked for, and who the client is by its certificate.

use std::io::{self, IoSlice};
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rustls::ProtocolVersion;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::client_socket::ClientSocket;
use super::gather;
use crate::router::Certificate;
use crate::tls::{Choice, Chosen, ClientCertificate, ServerTls};

/// What a client's bytes come by.
pub(super) enum Transport {
    /// The socket itself.
    Plain(ClientSocket),
    /// A session of several kB, for those connections only that have one.
    Tls(Box<TlsStream<ClientSocket>>),
    /// A handshake is under way, or has failed: there is nothing to read or write.
    Gone,
}

/// What a handshake found.
pub(super) struct TlsFacts {
    /// As the access log has it.
    pub(super) version: &'static str,
    /// Who the client is.
    client: Option<ClientCertificate>,
    choice: Arc<Choice>,
    chosen: Chosen,
}

impl TlsFacts {
    /// Who the client is, as routes are told.
    pub(super) fn certificate(&self) -> Option<Certificate<'_>> {
        self.client.as_ref().map(ClientCertificate::facts)
    }

    /// The subject of the client's certificate.
    pub(super) fn subject(&self) -> Option<&str> {
        self.client.as_ref().map(|client| client.subject.as_str())
    }

    /// Whether the client would have got the same certificate, had it asked for that host.
    pub(super) fn fits(&self, host: &str) -> bool {
        self.choice.fits(self.chosen, host)
    }
}

/// How a handshake went.
pub(super) enum Handshake {
    /// Full, or resumed by a ticket.
    Done(TlsFacts, Kind),
    /// Neither side can go on.
    Failed(io::Error),
}

/// What a handshake cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Full,
    Resumed,
}

impl Transport {
    /// # Errors
    /// When epoll does not take the socket.
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        ClientSocket::new(stream).map(Self::Plain)
    }

    /// TLS on a plain socket.
    ///
    /// # Errors
    /// The handshake fails; the socket is closed then, after the alert was sent.
    pub(super) async fn secure(plain: ClientSocket, tls: &ServerTls) -> (Self, Handshake) {
        let stream = match TlsAcceptor::from(Arc::clone(&tls.config)).accept(plain).await {
            Ok(stream) => stream,
            Err(error) => return (Self::Gone, Handshake::Failed(error)),
        };
        let session = stream.get_ref().1;
        let kind = match session.handshake_kind() {
            Some(rustls::HandshakeKind::Resumed) => Kind::Resumed,
            _ => Kind::Full,
        };
        let name = session.server_name().map(str::to_ascii_lowercase);
        let facts = TlsFacts {
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "1.3",
                Some(ProtocolVersion::TLSv1_2) => "1.2",
                _ => "-",
            },
            client: ClientCertificate::of(session.peer_certificates()),
            chosen: tls.choice.choose(name.as_deref()),
            choice: Arc::clone(&tls.choice),
        };
        (Self::Tls(Box::new(stream)), Handshake::Done(facts, kind))
    }

    fn socket(&mut self) -> Option<&mut ClientSocket> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Tls(stream) => Some(stream.get_mut().0),
            Self::Gone => None,
        }
    }

    /// What is written next ends what is sent.
    pub(super) fn ends(&mut self) {
        if let Some(socket) = self.socket() {
            socket.ends();
        }
    }

    /// Sends what is held back, if anything is.
    pub(super) fn push(&mut self) {
        if let Some(socket) = self.socket() {
            socket.push();
        }
    }

    /// Whether a close alone would be taken for a broken connection, or drop something.
    pub(super) fn wants_end(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.holds_back(),
            Self::Tls(_) => true,
            Self::Gone => false,
        }
    }

    /// Says that it was all: with TLS by an alert first, without which the client could not tell the end from a cut
    /// (RFC 8446, section 6.1).
    ///
    /// # Errors
    /// What the kernel says; the client may be gone.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if let Self::Tls(stream) = self {
            let (socket, session) = stream.get_mut();
            session.send_close_notify();
            while session.wants_write() {
                session.write_tls(&mut AtOnce(socket))?;
            }
        }
        match self.socket() {
            Some(socket) => socket.end(),
            None => Ok(()),
        }
    }
}

/// Writes what a socket takes now.
struct AtOnce<'s>(&'s mut ClientSocket);

impl io::Write for AtOnce<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(&mut *self.0).poll_write(&mut context, bytes) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gone<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(context, buffer),
            Self::Gone => gone(),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
            Self::Gone => gone(),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(socket) => gather::poll_write(Pin::new(socket), context, slices),
            // Pieces become one record.
            Self::Tls(stream) => gather::poll_write(Pin::new(&mut **stream), context, slices),
            Self::Gone => gone(),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// A socket holds nothing but what is held back for the end; TLS holds records that the socket took no more of.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(_) | Self::Gone => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(context),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }
}
