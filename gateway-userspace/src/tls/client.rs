//! TLS to endpoints: whom to believe, which name to ask for, and what to show.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::client_auth::Roots;
use super::pair::Pair;
use super::provider;
use crate::config::snapshot::UpstreamProtocol;

/// Sessions that are kept to be resumed, for each upstream and protocol.
const SESSIONS_MAX: usize = 1_024;

/// Where systems keep the authorities that they trust: Debian, Fedora, Alpine, SUSE.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// Whether a way to an endpoint is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Security {
    /// It is not.
    #[default]
    Plain,
    /// By TLS.
    Tls,
}

/// `upstream.tls`, its files read.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientSettings {
    /// Who may have issued the endpoints' certificates.
    pub roots: Roots,
    /// The name that is asked for and that certificates must have; `None`: the endpoint's own.
    pub name: Option<ServerName<'static>>,
    /// What is shown to endpoints that ask for a certificate.
    pub pair: Option<Pair>,
}

/// The file with the system's roots, if there is one.
pub fn system_roots() -> Option<PathBuf> {
    SYSTEM_ROOTS
        .iter()
        .map(Path::new)
        .find(|file| file.is_file())
        .map(Path::to_owned)
}

/// An upstream's TLS, ready for handshakes.
pub struct ClientTls {
    settings: ClientSettings,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl ClientTls {
    /// Makes it; no file is read.
    ///
    /// # Errors
    /// What rustls says; of what was validated never.
    pub fn new(settings: &ClientSettings) -> Result<Self, rustls::Error> {
        let make = |protocol: &[u8]| {
            let builder = ClientConfig::builder_with_provider(Arc::clone(provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(settings.roots.store()?);
            let mut config = match &settings.pair {
                None => builder.with_no_client_auth(),
                Some(pair) => builder.with_client_cert_resolver(Arc::new(
                    rustls::sign::SingleCertAndKey::from(Arc::clone(&pair.certified)),
                )),
            };
            config.alpn_protocols = vec![protocol.to_vec()];
            config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
            Ok::<_, rustls::Error>(Arc::new(config))
        };
        Ok(Self {
            settings: settings.clone(),
            http1: make(b"http/1.1")?,
            http2: make(b"h2")?,
        })
    }

    /// What it was made of.
    pub fn settings(&self) -> &ClientSettings {
        &self.settings
    }

    /// Whether what an endpoint proved to the other it would prove here, too: the same name is asked for, and nobody is
    /// trusted less. A certificate of ours changes nothing of that.
    pub fn believes_as(&self, other: &Self) -> bool {
        let (here, there) = (&self.settings, &other.settings);
        let mut roots = there.roots.certificates.iter();
        here.name == there.name && roots.all(|root| here.roots.certificates.contains(root))
    }

    /// Makes TLS on a new connection to an endpoint; `host` is the name that its address came from.
    ///
    /// # Errors
    /// The handshake fails, or the endpoint's certificate is not good.
    ///
    /// # Cancel safety
    /// The connection is closed.
    pub async fn connect(
        &self,
        stream: TcpStream,
        host: Option<&str>,
        address: IpAddr,
        protocol: UpstreamProtocol,
    ) -> io::Result<ClientStream> {
        let by_host = || ServerName::try_from(host?.trim_end_matches('.').to_owned()).ok();
        let name = self.settings.name.clone().or_else(by_host);
        let name = name.unwrap_or_else(|| ServerName::from(address));
        let config = match protocol {
            UpstreamProtocol::Http1 => &self.http1,
            UpstreamProtocol::Http2 => &self.http2,
        };
        let stream = TlsConnector::from(Arc::clone(config))
            .connect(name, stream)
            .await?;
        // Many HTTP/1 servers know no ALPN; what has not agreed to HTTP/2 could not read it.
        if protocol == UpstreamProtocol::Http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the endpoint does not agree to HTTP/2 by ALPN",
            ));
        }
        Ok(ClientStream::Tls(Box::new(stream)))
    }
}

impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

impl Eq for ClientTls {}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("name", &self.settings.name)
            .finish_non_exhaustive()
    }
}

/// A connection to an endpoint.
pub enum ClientStream {
    /// As it is.
    Plain(TcpStream),
    /// With TLS on it.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(context),
        }
    }
}
