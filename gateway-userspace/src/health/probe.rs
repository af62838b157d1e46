//! One endpoint asked once: a new connection, one GET, the status of the answer.
//!
//! Always a new connection: a check that reuses one does not notice that an endpoint takes no new ones.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::snapshot::{Readiness as Settings, UpstreamProtocol};

const USER_AGENT: HeaderValue = HeaderValue::from_static("gateway-health/1");

/// Why an endpoint is not ready.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// No connection.
    #[error("connecting failed: {0}")]
    Connect(#[source] std::io::Error),
    /// No answer that can be read.
    #[error("no answer: {0}")]
    Http(#[source] hyper::Error),
    /// An answer that says no.
    #[error("answered {0}")]
    Status(StatusCode),
    /// Nothing in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The path of the configuration is none.
    #[error("the check's path is not a path: {0}")]
    Path(#[source] http::Error),
}

/// Asks that endpoint; any 2xx or 3xx is ready.
pub(super) async fn probe(
    endpoint: SocketAddr,
    authority: &str,
    protocol: UpstreamProtocol,
    settings: &Settings,
) -> Result<(), Fault> {
    let answer = timeout(
        settings.timeout,
        ask(endpoint, authority, protocol, &settings.http),
    )
    .await;
    let status = answer.map_err(|_| Fault::Timeout(settings.timeout))??;
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(Fault::Status(status))
    }
}

async fn ask(
    endpoint: SocketAddr,
    authority: &str,
    protocol: UpstreamProtocol,
    path: &str,
) -> Result<StatusCode, Fault> {
    let stream = TcpStream::connect(endpoint).await.map_err(Fault::Connect)?;
    let io = TokioIo::new(stream);
    match protocol {
        UpstreamProtocol::Http1 => {
            let request = Request::get(path)
                .header(header::HOST, authority)
                .header(header::USER_AGENT, USER_AGENT)
                .header(header::CONNECTION, HeaderValue::from_static("close"))
                .body(Empty::<Bytes>::new())
                .map_err(Fault::Path)?;
            let (mut sender, connection) = http1::handshake(io).await.map_err(Fault::Http)?;
            until_answered(connection, sender.send_request(request)).await
        }
        UpstreamProtocol::Http2 => {
            let uri = Uri::builder()
                .scheme("http")
                .authority(authority)
                .path_and_query(path)
                .build()
                .map_err(Fault::Path)?;
            let request = Request::get(uri)
                .header(header::USER_AGENT, USER_AGENT)
                .body(Empty::<Bytes>::new())
                .map_err(Fault::Path)?;
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io)
                .await
                .map_err(Fault::Http)?;
            until_answered(connection, sender.send_request(request)).await
        }
    }
}

/// Drives the connection until the answer's head is there; both end with it.
async fn until_answered<B>(
    connection: impl Future<Output = hyper::Result<()>>,
    answer: impl Future<Output = hyper::Result<http::Response<B>>>,
) -> Result<StatusCode, Fault> {
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        head = &mut answer => head,
        ended = connection => {
            ended.map_err(Fault::Http)?;
            // It closed in order: what it read is with the answer.
            answer.await
        }
    }
    .map(|response| response.status())
    .map_err(Fault::Http)
}
