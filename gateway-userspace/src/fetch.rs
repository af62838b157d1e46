//! One HTTP request of the control side to somebody outside: a connection of its own, and an answer of bounded length.
//!
//! Used where a node asks now and then, for keys of issuers (`jwks`) or of an authority for certificates (`acme`). Names are
//! asked of the configured servers, redirects are not followed, and what an answer means is the caller's matter.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header, uri};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::config::snapshot::UpstreamProtocol;
use crate::names::Asker;
use crate::tls::{ClientStream, ClientTls};

/// Bytes of an answer at most: sets of keys have some thousand, chains of certificates some ten thousand.
pub const BODY_BYTES_MAX: usize = 1 << 20;
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The URL names nobody who could be asked.
    #[error("the URL has no host")]
    Url,
    /// Its host has no address.
    #[error("resolving {host}: {why}")]
    Resolve {
        /// As the URL has it.
        host: String,
        /// What servers said, or did not.
        why: String,
    },
    /// No address of its host takes a connection.
    #[error("connecting to {host} failed")]
    Connect {
        /// As the URL has it.
        host: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No TLS, or a certificate that is not good.
    #[error("the TLS handshake with {host} failed")]
    Tls {
        /// As the URL has it.
        host: String,
        /// What rustls said.
        #[source]
        source: io::Error,
    },
    /// The request cannot be made.
    #[error("the request cannot be made")]
    Request(#[source] http::Error),
    /// No answer that can be read.
    #[error("no answer")]
    Http(#[source] hyper::Error),
    /// Its body broke off, or is too long.
    #[error("the answer cannot be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Sends a request whose URI is a whole URL, to the addresses that its host has now; with `tls`, by HTTPS. Takes as long as it
/// takes: the caller has a limit.
///
/// # Errors
/// See [`Fault`]; a status is none.
///
/// # Cancel safety
/// The connection is closed.
pub async fn send<B>(
    mut request: Request<B>,
    tls: Option<&ClientTls>,
    names: &Asker,
) -> Result<Response<Bytes>, Fault>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let url = request.uri().clone();
    let authority = url.authority().ok_or(Fault::Url)?;
    let stream = connect(authority, tls, names).await?;
    let host = HeaderValue::from_str(authority.as_str());
    let headers = request.headers_mut();
    headers.insert(header::HOST, host.map_err(|error| Fault::Request(error.into()))?);
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    *request.uri_mut() = target(&url).map_err(|error| Fault::Request(error.into()))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(Fault::Http)?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(Fault::Http)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        Ok(Response::from_parts(head, body.map_err(Fault::Body)?.to_bytes()))
    };
    tokio::pin!(answered, connection);
    tokio::select! {
        biased;
        answered = &mut answered => answered,
        // The body may be there already.
        ended = &mut connection => match ended {
            Ok(()) => answered.await,
            Err(error) => Err(Fault::Http(error)),
        },
    }
}

async fn connect(
    authority: &uri::Authority,
    tls: Option<&ClientTls>,
    names: &Asker,
) -> Result<ClientStream, Fault> {
    // An IPv6 address stands in brackets there.
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = authority.port_u16().unwrap_or(match tls {
        Some(_) => HTTPS_PORT,
        None => HTTP_PORT,
    });
    let addresses = names.addresses(host).await.map_err(|why| Fault::Resolve {
        host: host.to_owned(),
        why,
    })?;
    let addresses: Vec<SocketAddr> = addresses
        .into_iter()
        .map(|address| SocketAddr::new(address, port))
        .collect();
    let failed = |source| Fault::Connect {
        host: authority.to_string(),
        source,
    };
    let stream = TcpStream::connect(&addresses[..]).await.map_err(failed)?;
    let Some(tls) = tls else {
        return Ok(ClientStream::Plain(stream));
    };
    let address = stream.peer_addr().map_err(failed)?.ip();
    tls.connect(stream, Some(host), address, UpstreamProtocol::Http1)
        .await
        .map_err(|source| Fault::Tls {
            host: authority.to_string(),
            source,
        })
}

/// What stands in the request's first line.
fn target(url: &Uri) -> Result<Uri, http::uri::InvalidUri> {
    let target = url.path_and_query().map_or("/", |target| target.as_str());
    Uri::try_from(target)
}
