//! What a trusted proxy says at the beginning of a connection: for whom it makes it (the PROXY protocol).
//!
//! The header is looked at where the kernel holds it and taken out once it is whole: what follows it is TLS, HTTP or
//! anything, and is found where it would be without one.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;

use tokio::io::{AsyncRead, ReadBuf};

use super::ending::HeaderFault;
use super::{Connection, Ending};
use crate::l7::client_text::ClientText;
use crate::l7::stream::Socket;
use crate::proxy_protocol::{self, Ends, HEADER_BYTES_MAX, Header};

/// Whose connection it is.
pub(super) struct Proxied {
    pub(super) ends: Ends,
    pub(super) text: ClientText,
}

/// Reads the header of a connection from a trusted proxy. How long it may take is the sweep's to say
/// (`first_byte_timeout`): nothing has come from the client before the header has ended.
///
/// # Errors
/// Why the connection ends.
pub(super) async fn introduce(connection: &Connection, socket: &Socket) -> Result<(), Ending> {
    let Header { bytes, ends } = header(connection, socket).await?;
    take(connection, socket, bytes).await?;
    let client = match ends {
        Some(ends) => {
            let ends = Ends {
                client: canonical(ends.client),
                server: canonical(ends.server),
            };
            let text = ClientText::new(ends.client);
            drop(connection.proxied.set(Box::new(Proxied { ends, text })));
            ends.client.ip()
        }
        None => connection.peer.ip(),
    };
    let worker = &connection.worker;
    if worker.shared.admission.name(client).is_err() {
        worker.counters.client_full.add(1);
        return Err(Ending::ClientFull);
    }
    connection.counted_for.set(Some(client));
    Ok(())
}

fn canonical(address: std::net::SocketAddr) -> std::net::SocketAddr {
    std::net::SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Waits until it is whole.
async fn header(connection: &Connection, socket: &Socket) -> Result<Header, Ending> {
    let buffer = RefCell::new(vec![0; HEADER_BYTES_MAX]);
    let mut known = 0;
    loop {
        let looked = poll_fn(|context| {
            let buffer = &mut *buffer.borrow_mut();
            let mut polled = std::task::Poll::Pending;
            socket.below(|socket| {
                polled = socket.poll_peek(context, buffer, known);
                Ok(())
            })?;
            polled
        });
        let count = match looked.await {
            Ok(0) => return Err(Ending::Empty),
            Ok(count) => count,
            Err(error) => {
                tracing::debug!(%error, proxy = %connection.peer, "reading whom a proxy connects for");
                return Err(Ending::ProxyHeader(HeaderFault::Cut));
            }
        };
        let buffer = buffer.borrow();
        let bytes = buffer.get(..count).unwrap_or_default();
        match proxy_protocol::read(bytes) {
            Ok(Some(header)) => return Ok(header),
            // The proxy ended its side within it.
            Ok(None) if count <= known => return Err(Ending::ProxyHeader(HeaderFault::Cut)),
            Ok(None) => known = count,
            Err(fault) => {
                tracing::debug!(?fault, proxy = %connection.peer, "a proxy does not say whom it connects for");
                return Err(Ending::ProxyHeader(HeaderFault::Bad(fault)));
            }
        }
    }
}

/// Takes so many bytes, which have come.
async fn take(connection: &Connection, socket: &Socket, bytes: usize) -> Result<(), Ending> {
    let mut space = vec![0; bytes];
    let mut buffer = ReadBuf::new(&mut space);
    while buffer.remaining() > 0 {
        let before = buffer.filled().len();
        let taken = poll_fn(|context| {
            let mut polled = std::task::Poll::Pending;
            socket.below(|socket| {
                polled = Pin::new(socket).poll_read(context, &mut buffer);
                Ok(())
            })?;
            polled
        });
        if let Err(error) = taken.await {
            tracing::debug!(%error, proxy = %connection.peer, "reading whom a proxy connects for");
            return Err(Ending::ProxyHeader(HeaderFault::Cut));
        }
        if buffer.filled().len() == before {
            return Err(Ending::ProxyHeader(HeaderFault::Cut));
        }
    }
    Ok(())
}
