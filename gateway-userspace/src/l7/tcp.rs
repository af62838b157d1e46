//! The way of a connection that is passed on, top to bottom: [`pass`]. What a request's is in `serve`, this is for
//! listeners of `tcp` and `tls_passthrough`.
//!
//! Every such connection ends here, and its [`Record`] writes the line: routed by nothing but its client and the name of its
//! TLS, it goes to an endpoint by the same picks, limits and breakers as requests, and then bytes pass both ways.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use http::request::Parts;
use tokio::io::AsyncWrite;
use tokio::time::timeout;

use super::admit::Witness;
use super::client_hello::{self, Reader};
use super::connection::{Connection, Ending, HandshakeFault};
use super::error::ProxyError;
use super::forward::dial;
use super::path;
use super::pool::Dialled;
use super::record::Record;
use super::resolved::ResolvedRoute;
use super::stream::{Raw, Socket, farewell};
use super::tunnel::{self, Broken};
use crate::config::snapshot::Carries;
use crate::filters::{Asked, Mark, Step, network};
use crate::proxy_protocol::Ends;
use crate::router::{Claims, Facts};

/// Takes a connection from its first byte to its end.
///
/// # Cancel safety
/// Both sides are closed; the line says so.
pub(super) async fn pass(connection: &Rc<Connection>, socket: &Rc<Socket>) -> Ending {
    let carries = connection.listens().carries();
    let mut held = Vec::new();
    let name = match carries {
        Carries::Tls => match hello(connection, socket, &mut held).await {
            Ok(name) => name,
            Err(ending) => return ending,
        },
        Carries::Bytes | Carries::Requests => None,
    };
    let mut record = Record::of_connection(connection, connection.is_one(), name.as_deref());
    match join(connection, socket, name.as_deref(), &mut record).await {
        Ok((endpoint, idle_timeout)) => {
            joined(socket, held, endpoint, idle_timeout, &mut record).await;
        }
        Err(error) => {
            tracing::debug!(%error, client = %connection.client(), "a connection is not passed on");
            record.fail(error);
            if carries == Carries::Tls {
                alert(socket, error).await;
            }
        }
    }
    drop(record);
    connection.finished()
}

/// The name that the client asks for, and in `held` all that was read for it: it is the endpoint's to answer. How long it may
/// take is the sweep's to say (`first_byte_timeout`).
async fn hello(
    connection: &Connection,
    socket: &Socket,
    held: &mut Vec<u8>,
) -> Result<Option<String>, Ending> {
    let mut reader = Reader::default();
    loop {
        let before = held.len();
        match poll_fn(|context| socket.take_up(context, held)).await {
            Ok(1..) => {}
            Ok(_) if held.is_empty() => return Err(Ending::Empty),
            Ok(_) => return Err(Ending::Handshake(HandshakeFault::Cut)),
            Err(error) => {
                tracing::debug!(%error, client = %connection.client(), "reading a client's hello");
                return Err(Ending::Handshake(HandshakeFault::Cut));
            }
        }
        match reader.feed(held.get(before..).unwrap_or_default()) {
            Ok(Some(hello)) => return Ok(hello.name),
            Ok(None) => {}
            Err(client_hello::Fault::Unreadable) => return Err(Ending::Handshake(HandshakeFault::NoTls)),
            Err(client_hello::Fault::TooLong) => {
                return Err(Ending::Handshake(HandshakeFault::HelloTooLong));
            }
        }
    }
}

/// Routes it, and finds an endpoint that takes it.
///
/// # Errors
/// Why there is none.
async fn join(
    connection: &Connection,
    socket: &Socket,
    name: Option<&str>,
    record: &mut Record,
) -> Result<(Dialled, Duration), ProxyError> {
    // Route.
    let listener = connection.listens();
    let mut head = http::Request::new(()).into_parts().0;
    let facts = Facts {
        headers: &head.headers,
        query: None,
        client: Record::client(record),
        claims: Claims::Ignored,
        certificate: None,
    };
    let (route, _) = listener.route(
        name.unwrap_or_default(),
        path::normalise("/")?,
        &head.method,
        &facts,
        None,
    )?;
    record.routed(&route, &head);

    // Filter.
    filter(&route, &mut head, record)?;

    // Forward.
    let ends = ends(connection, socket);
    let limit = route.http().timeout;
    let dialled = Box::pin(dial(&connection.worker, &route, &head, ends, record));
    match timeout(limit, dialled).await {
        Ok(dialled) => Ok((dialled?, route.http().tunnel_idle_timeout)),
        Err(_) => {
            record.endpoint_failed();
            Err(ProxyError::Timeout)
        }
    }
}

/// Of filters, connections pass those that look at addresses.
fn filter(route: &ResolvedRoute, head: &mut Parts, record: &Record) -> Result<(), ProxyError> {
    for named in route.filters() {
        let mut asked = Asked {
            head: &mut *head,
            client: Record::client(record),
            network: network(Record::client(record)),
            consumer: None,
            body_bytes_max: None,
        };
        if let Step::Deny(denial) = named.request(&mut asked, &mut Mark::default()) {
            return Err(denial.into());
        }
    }
    Ok(())
}

/// Who is connected with what, as endpoints are told.
fn ends(connection: &Connection, socket: &Socket) -> Option<Ends> {
    let own = || -> Option<SocketAddr> { socket.below(|socket| socket.local_address()).ok() };
    Some(Ends {
        client: connection.client(),
        server: connection.named_server().or_else(own)?,
    })
}

/// Passes bytes until both sides have ended, and an end that is no orderly one on to the other side.
async fn joined(
    socket: &Rc<Socket>,
    held: Vec<u8>,
    mut endpoint: Dialled,
    idle_timeout: Duration,
    record: &mut Record,
) {
    let mut client = Raw(Rc::clone(socket));
    match tunnel::pass(&mut client, held, &mut endpoint, Vec::new(), idle_timeout, record).await {
        Ok(()) => {
            record.complete();
            return;
        }
        Err(Broken::Idle) => record.fail(ProxyError::TunnelIdle),
        Err(Broken::Cut(verdict)) => record.fail(verdict),
        Err(Broken::Client(error)) => {
            tracing::debug!(%error, "a client broke its connection off");
            record.fail(ProxyError::ClientClosed);
        }
        Err(Broken::Upstream(error)) => {
            tracing::debug!(%error, "an endpoint broke a connection off");
            record.fail(ProxyError::TunnelBroken);
        }
    }
    // An end that looks like one in order would make what was cut look whole.
    endpoint.breaks_off();
    if let Err(error) = socket.below(|socket| socket.breaks_off()) {
        tracing::debug!(%error, "breaking a client's connection off");
    }
}

/// Tells the client of a handshake that nobody will make it.
///
/// Source: RFC 8446, section 6.
async fn alert(socket: &Socket, error: ProxyError) {
    const UNRECOGNIZED_NAME: u8 = 112;
    const ACCESS_DENIED: u8 = 49;
    const INTERNAL_ERROR: u8 = 80;
    let description = match error {
        ProxyError::NoRoute => UNRECOGNIZED_NAME,
        ProxyError::ClientDenied => ACCESS_DENIED,
        _ => INTERNAL_ERROR,
    };
    // Of content type 21, TLS 1.2 as every record of TLS says, two bytes, fatal.
    let record = [21, 3, 3, 0, 2, 2, description];
    // Seven bytes on a connection that nothing was written to: they fit, or the client is gone.
    let written = poll_fn(|context| {
        let mut polled = std::task::Poll::Pending;
        socket.below(|socket| {
            polled = Pin::new(socket).poll_write(context, &record);
            Ok(())
        })?;
        polled
    });
    match written.await {
        Ok(_) => farewell(socket).await,
        Err(error) => tracing::debug!(%error, "alerting a client"),
    }
}
