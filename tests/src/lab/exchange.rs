//! One HTTP/1.1 exchange on one connection, for the admin API and for tests.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};

/// One exchange, connection and all; a request that outlasts it hangs.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(15);

/// Sends a request over a new connection, from `source` where given, and reads the whole answer.
///
/// # Errors
/// Where the connection or the exchange fails, or takes longer than 15 seconds.
pub async fn exchange(
    target: SocketAddr,
    source: Option<SocketAddr>,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>> {
    tokio::time::timeout(EXCHANGE_TIMEOUT, async {
        let stream = connect(target, source)
            .await
            .with_context(|| format!("connect to {target}"))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .with_context(|| format!("speak HTTP to {target}"))?;
        let pump = tokio::spawn(connection);
        let exchanged = async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok::<_, hyper::Error>(Response::from_parts(head, body))
        }
        .await;
        pump.abort();
        exchanged.with_context(|| format!("send a request to {target}"))
    })
    .await
    .with_context(|| format!("no answer from {target} within {} s", EXCHANGE_TIMEOUT.as_secs()))?
}

/// Opens a TCP connection, from `source` where given.
///
/// # Errors
/// Those of the socket.
pub async fn connect(target: SocketAddr, source: Option<SocketAddr>) -> std::io::Result<TcpStream> {
    let socket = match target {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(source) = source {
        socket.bind(source)?;
    }
    let stream = socket.connect(target).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
