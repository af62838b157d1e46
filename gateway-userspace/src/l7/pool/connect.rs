//! New connections to an endpoint, and the tasks that drive them.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::stream::EndpointStream;
use super::{Pool, RequestBody, Terms};
use crate::config::snapshot::HttpMode;
use crate::inspect::{Inspected, Mode, Report, Rules};
use crate::l7::error::ProxyError;
use crate::registry::Place;
use crate::tls::{ClientStream, Security};

/// Bytes buffered per HTTP/1 connection, which bounds a response's head too.
const BUFFER_BYTES_MAX: usize = 72 * 1024;
/// HTTP/2: bytes of a response body in flight, per stream.
const H2_STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// HTTP/2: bytes of response bodies in flight, per connection.
const H2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// HTTP/2: request bytes buffered per stream.
const H2_SEND_BUFFER_BYTES: usize = 64 * 1024;
/// HTTP/2: bytes of a decoded response head.
const H2_HEAD_BYTES_MAX: u32 = 64 * 1024;
/// HTTP/2: between two pings, and how long one may stay without answer.
const H2_PING_INTERVAL: Duration = Duration::from_secs(20);

/// An HTTP/1 connection.
pub(super) struct Line1 {
    pub(super) sender: http1::SendRequest<RequestBody>,
    /// What the inspector found in its answers.
    pub(super) report: Rc<Report>,
    /// Interim answers that were counted.
    pub(super) interim: u64,
    pub(super) born: Instant,
    /// Its stream, after a switch of protocols.
    pub(super) freed: oneshot::Receiver<Freed>,
}

/// A stream on which HTTP has ended, and what came on it after that.
pub(super) struct Freed {
    pub(super) stream: ClientStream,
    pub(super) held: Vec<u8>,
    /// Where it is counted.
    pub(super) place: Place,
}

/// A new HTTP/1 connection, and how long it took.
pub(super) async fn http1(pool: &Pool, terms: &Terms, place: Place) -> Result<(Line1, Duration), ProxyError> {
    let address = pool.channel.address;
    let (stream, time) = stream(pool, terms.connect_timeout).await?;
    let report = Rc::<Report>::default();
    let rules = Rules {
        mode: mode(terms.mode),
        ..Rules::default()
    };
    let stream = Inspected::client(EndpointStream::new(stream), rules, Rc::clone(&report));
    let handshake = http1::Builder::new()
        .max_buf_size(BUFFER_BYTES_MAX)
        .handshake(TokioIo::new(stream));
    let (sender, mut connection) = handshake.await.map_err(|error| unusable(address, &error))?;
    let (free, freed) = oneshot::channel();
    drop(tokio::task::spawn_local(async move {
        let ended = Pin::new(&mut connection).await;
        if let Err(error) = &ended {
            tracing::debug!(%error, endpoint = %address, "a connection to an endpoint ended");
        }
        let (endpoint, held) = connection.into_parts().io.into_inner().into_inner();
        let stream = endpoint.stream;
        // Somebody waits for it only after a switch of protocols; else it closes here.
        drop(free.send(Freed { stream, held, place }));
    }));
    let born = Instant::now();
    let line = Line1 {
        sender,
        report,
        interim: 0,
        born,
        freed,
    };
    Ok((line, time))
}

fn mode(mode: HttpMode) -> Mode {
    match mode {
        HttpMode::Strict => Mode::Strict,
        HttpMode::Lenient => Mode::Lenient,
        HttpMode::Monitor => Mode::Monitor,
    }
}

/// A new HTTP/2 connection, the streams that the endpoint allows on it at any time, and how long it took.
pub(super) async fn http2(
    pool: &Pool,
    limit: Duration,
    place: Place,
) -> Result<(http2::SendRequest<RequestBody>, Rc<Cell<usize>>, Duration), ProxyError> {
    let address = pool.channel.address;
    let (stream, time) = stream(pool, limit).await?;
    let handshake = http2::Builder::new(Local)
        .timer(TokioTimer::new())
        .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(H2_SEND_BUFFER_BYTES)
        .max_header_list_size(H2_HEAD_BYTES_MAX)
        .keep_alive_interval(H2_PING_INTERVAL)
        .keep_alive_timeout(H2_PING_INTERVAL)
        .handshake(TokioIo::new(stream));
    let (sender, connection) = handshake.await.map_err(|error| unusable(address, &error))?;
    let allowed = Rc::new(Cell::new(connection.current_max_send_streams()));
    let told = Rc::clone(&allowed);
    drop(tokio::task::spawn_local(async move {
        let mut connection = pin!(connection);
        let end = poll_fn(|context| {
            let outcome = connection.as_mut().poll(context);
            told.set(connection.as_ref().get_ref().current_max_send_streams());
            outcome
        });
        if let Err(error) = end.await {
            tracing::debug!(%error, endpoint = %address, "a connection to an endpoint ended");
        }
        drop(place);
    }));
    Ok((sender, allowed, time))
}

/// TCP, and TLS where the way has it, within one limit.
async fn stream(pool: &Pool, limit: Duration) -> Result<(ClientStream, Duration), ProxyError> {
    let address = pool.channel.address;
    let (stream, time) = tcp(address, limit).await?;
    if pool.channel.security == Security::Plain {
        return Ok((ClientStream::Plain(stream), time));
    }
    let Some(tls) = &pool.tls else {
        return Err(ProxyError::UpstreamTlsFailed);
    };
    let begin = Instant::now();
    let host = pool.host.as_deref();
    let secured = tls.connect(stream, host, pool.endpoint.ip(), pool.channel.protocol);
    // A worker's sweep is too coarse for it, and a connection rare: a timer, and on the heap.
    match Box::pin(timeout(limit.saturating_sub(time), secured)).await {
        Ok(Ok(stream)) => Ok((stream, time + begin.elapsed())),
        Ok(Err(error)) => {
            tracing::debug!(%error, endpoint = %address, "a TLS handshake with an endpoint failed");
            Err(ProxyError::UpstreamTlsFailed)
        }
        Err(_) => {
            tracing::debug!(endpoint = %address, ?limit, "a TLS handshake with an endpoint took too long");
            Err(ProxyError::ConnectTimeout)
        }
    }
}

pub(super) async fn tcp(address: SocketAddr, limit: Duration) -> Result<(TcpStream, Duration), ProxyError> {
    let begin = Instant::now();
    match timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, endpoint = %address, "setting TCP_NODELAY");
            }
            Ok((stream, begin.elapsed()))
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, endpoint = %address, "connecting to an endpoint");
            Err(cause(&error))
        }
        Err(_) => {
            tracing::debug!(endpoint = %address, ?limit, "connecting to an endpoint took too long");
            Err(ProxyError::ConnectTimeout)
        }
    }
}

/// The endpoint's fault, or that of this machine.
fn cause(error: &io::Error) -> ProxyError {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS | libc::EADDRNOTAVAIL) => {
            ProxyError::LocalExhausted
        }
        _ => ProxyError::ConnectFailed,
    }
}

fn unusable(address: SocketAddr, error: &hyper::Error) -> ProxyError {
    tracing::debug!(%error, endpoint = %address, "beginning HTTP with an endpoint");
    ProxyError::ConnectFailed
}

/// Runs hyper's tasks on the worker's own thread.
#[derive(Clone, Copy)]
struct Local;

impl<F> hyper::rt::Executor<F> for Local
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        // On the heap: all of hyper's have the size of the largest, 3.5 kB, which a task copies a dozen times.
        let future = Box::pin(future);
        drop(tokio::task::spawn_local(async move { drop(future.await) }));
    }
}
